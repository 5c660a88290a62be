//! Operations on several keys.

use super::values::expiry_of;
use super::{Answer, Failure, Request};
use crate::cache::Access;
use crate::command::Exec;
use crate::command::scan::{self, Pattern};
use crate::command::strings::set_whole;
use crate::limits::{BINARY_REPLY_BODY_BYTES_MAX, SCAN_COUNT_MAX};
use crate::protocol::binary::body::{Found, ScanStep, write_string, write_value};
use crate::protocol::binary::{ReplyHead, RequestFlags, Status, Token};
use crate::types::ShardId;

/// The values would be longer together than a reply may be.
const TOO_LONG: Failure =
    Failure::new(Status::TooLarge, "TOOLARGE the reply would be longer than a reply may be");

/// Keys that a step of a scan looks at when the client leaves it to the server.
const SCAN_COUNT_DEFAULT: usize = 10;

pub(super) fn get_many(
    exec: &mut Exec<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    let (now, access, start) = (exec.now.unix, exec.read_access(), out.len());
    write_count(out, request.args.len() - 1);
    for bytes in request.args.from(1) {
        let key = exec.key(bytes);
        let entry = exec.keyspace(key).get(key, now, access);
        // A key of another type counts as missing here, as in MGET.
        let found = entry
            .and_then(|entry| Some(Found { version: entry.version, value: entry.string().ok()? }));
        let more = found.map_or(0, |found| found.value.len());
        if out.len() - start + more > BINARY_REPLY_BODY_BYTES_MAX {
            return Err(TOO_LONG);
        }
        write_value(out, found);
    }
    Ok(Answer::DONE)
}

pub(super) fn set_many(
    exec: &mut Exec<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    let expiry = expiry_of(exec, request)?;
    let pairs = request.args.from(1).step_by(2).zip(request.args.from(2).step_by(2));
    if request.has(RequestFlags::IF_ABSENT) {
        let now = exec.now.unix;
        for (bytes, _) in pairs.clone() {
            let key = exec.key(bytes);
            let entry = exec.keyspace(key).get(key, now, Access::Write);
            if let Some(version) = entry.map(|entry| entry.version) {
                return Ok(Answer::about(exec, key, Status::Exists, version));
            }
        }
    }
    let mut answer = Answer::DONE;
    for (bytes, value) in pairs {
        let key = exec.key(bytes);
        set_whole(exec, key, value, expiry);
        answer = Answer::written(exec, key);
    }
    let tokens: Vec<Token> = exec
        .each()
        .map(|(shard, keyspace)| Token { shard, sequence: keyspace.sequence() })
        .collect();
    write_count(out, tokens.len());
    tokens.iter().for_each(|token| token.write(out));
    Ok(answer)
}

/// Where the step of a `scan` runs: `None` at the end of the walk, and for a step that is none.
pub fn scan_shard(
    value: &[u8],
    view: crate::command::View,
    owners: &crate::node::Owners,
) -> Option<ShardId> {
    scan::shard_of(ScanStep::read(value).ok()?.cursor, view, owners)
}

pub(super) fn scan(
    exec: &mut Exec<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    let step = ScanStep::read(request.value())?;
    let pattern = match request.args.at(1) {
        [] => Pattern::All,
        pattern => Pattern::new(pattern),
    };
    let count = match step.count {
        0 => SCAN_COUNT_DEFAULT,
        count => usize::try_from(count).unwrap_or(usize::MAX).min(SCAN_COUNT_MAX),
    };
    let start = out.len();
    out.extend_from_slice(&[0; size_of::<u64>() + size_of::<u32>()]);
    let mut found = 0u32;
    let next = scan::walk(exec, step.cursor, count, |entry| {
        if pattern.matches(entry.key) {
            write_string(out, entry.key);
            found += 1;
        }
    });
    let (head, _) = out[start..].split_at_mut(size_of::<u64>() + size_of::<u32>());
    head[..8].copy_from_slice(&next.to_le_bytes());
    head[8..].copy_from_slice(&found.to_le_bytes());
    Ok(Answer { shard: ReplyHead::NO_SHARD, ..Answer::DONE })
}

fn write_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("arguments are bounded in number");
    out.extend_from_slice(&count.to_le_bytes());
}
