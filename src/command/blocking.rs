//! What commands that block have in common: their timeouts, and which keys they wait for.
//!
//! The handler of such a command tries once, over all its keys. Where it finds nothing it answers what is to be
//! answered at once, where nothing may block, and leaves the timeout with what is handed over
//! ([`Handover::wait_ms`](super::Handover)): whether the client waits is the runtime's to decide
//! (`runtime::blocking`). `WAIT` is here too.

use std::collections::HashSet;

use super::numbers::{integer, parse_i64};
use super::replication::Standing;
use super::table::Entry;
use super::{Action, Command, Error, Flags, Group, Keys, SessionCx};
use crate::double;
use crate::protocol::args::ArgRange;
use crate::protocol::{Args, Reply};

/// The rows of this file.
pub const COMMANDS: &[Command] = &[Command::session("wait", 3, Group::Generic, wait)
    .with(Flags::NOSCRIPT)
    .doc("3.0.0", "Waits until so many replicas have all writes of this connection.")];

const NEGATIVE: Error = Error::Static("ERR timeout is negative");
const OUT_OF_RANGE: Error = Error::Static("ERR timeout is out of range");

/// The timeout that `text` names in seconds, in milliseconds: what is less than one is one, 0 is for ever.
///
/// # Errors
/// As Redis has them.
pub fn timeout_ms(text: &[u8]) -> Result<u64, Error> {
    const MOST_MS: f64 = i64::MAX as f64;
    let seconds =
        double::parse(text).ok_or(Error::Static("ERR timeout is not a float or out of range"))?;
    let ms = (seconds * 1000.0).ceil();
    if ms >= MOST_MS {
        return Err(OUT_OF_RANGE);
    }
    if ms < 0.0 {
        return Err(NEGATIVE);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number within the range, as has just been seen"
    )]
    Ok(ms as u64)
}

/// A server on its own has no replicas: none of them has acknowledged anything, and none ever will. On a node of a
/// cluster what has been acknowledged is on a quorum. Who asks for more waits, and not only for its own writes: for all
/// that the node's shards hold by then.
fn wait(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let replicas = integer(args.at(1))?;
    let timeout_ms = parse_i64(args.at(2))
        .ok_or(Error::Static("ERR timeout is not an integer or out of range"))?;
    let timeout_ms = u64::try_from(timeout_ms).map_err(|_| NEGATIVE)?;
    if let Some(standing) = Standing::of(cx) {
        let acknowledged = standing.acknowledged()?;
        let wanted = usize::try_from(replicas).unwrap_or(0);
        // The answer in a transaction, where nothing waits.
        reply.integer(i64::try_from(acknowledged).unwrap_or(i64::MAX));
        if wanted > acknowledged {
            cx.actions.push(Action::AwaitReplicas(wanted, timeout_ms));
        }
        return Ok(());
    }
    reply.integer(0);
    if replicas > 0 {
        cx.actions.push(Action::Wait(timeout_ms));
    }
    Ok(())
}

/// Positions of the keys that a command waits for, each key once. One that moves an element waits for its source.
pub fn waited_keys(entry: &Entry, args: &Args<'_>) -> Vec<usize> {
    let keys = entry.command.keys;
    let most = if keys == Keys::TWO { 1 } else { usize::MAX };
    let mut names = HashSet::new();
    keys.positions(args).take(most).filter(|at| names.insert(args.at(*at))).collect()
}

/// The arguments of a command that pops from the first of several keys with one of these keys only. `bytes` is
/// what `ranges` lie in; a number may be appended to it.
pub fn narrow(entry: &Entry, at: usize, bytes: &mut Vec<u8>, ranges: &[ArgRange]) -> Vec<ArgRange> {
    let keys = entry.command.keys;
    if keys == Keys::TWO {
        return ranges.to_vec();
    }
    // In ascending order.
    let positions: Vec<usize> = keys.positions(&Args::new(bytes, ranges)).collect();
    let is_other = |index: &usize| *index != at && positions.binary_search(index).is_ok();
    let mut narrowed: Vec<ArgRange> =
        (0..ranges.len()).filter(|index| !is_other(index)).map(|index| ranges[index]).collect();
    if let Keys::Counted { count } = keys {
        let start = u32::try_from(bytes.len()).expect("arguments are bounded below 4 GiB");
        bytes.push(b'1');
        narrowed[usize::from(count)] = ArgRange { start, length: 1 };
    }
    narrowed
}

#[cfg(test)]
mod tests {
    use super::{ArgRange, Args, narrow, timeout_ms, waited_keys};
    use crate::command::table::Table;

    #[test]
    fn timeouts() {
        let texts = [
            ("0", "0"),
            ("1", "1000"),
            ("0.0001", "1"),
            ("1.5", "1500"),
            ("0x1", "1000"),
            ("1e-3", "1"),
            ("9223372036854", "9223372036854000"),
            ("-0.5", "ERR timeout is negative"),
            ("-inf", "ERR timeout is negative"),
            ("inf", "ERR timeout is out of range"),
            ("1e300", "ERR timeout is out of range"),
            ("9223372036854776", "ERR timeout is out of range"),
            ("", "ERR timeout is not a float or out of range"),
            ("x", "ERR timeout is not a float or out of range"),
            ("nan", "ERR timeout is not a float or out of range"),
        ];
        for (text, expected) in texts {
            let found = timeout_ms(text.as_bytes())
                .map_or_else(|error| error.to_string(), |ms| ms.to_string());
            assert_eq!(found, expected, "{text}");
        }
    }

    fn parts(line: &str) -> (Vec<u8>, Vec<ArgRange>) {
        let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
        for word in line.split(' ') {
            let range = ArgRange {
                start: u32::try_from(bytes.len()).unwrap(),
                length: u32::try_from(word.len()).unwrap(),
            };
            ranges.push(range);
            bytes.extend_from_slice(word.as_bytes());
        }
        (bytes, ranges)
    }

    #[test]
    fn a_command_is_narrowed_to_one_of_its_keys() {
        for (line, waited, narrowed) in [
            ("blpop a b c 5", "a b c", "blpop b 5"),
            ("bzpopmin a b a 5", "a b", "bzpopmin b 5"),
            ("blmpop 5 3 a b c left count 2", "a b c", "blmpop 5 1 b left count 2"),
            ("bzmpop 5 2 a b max", "a b", "bzmpop 5 1 b max"),
            ("blmove a b left right 5", "a", "blmove a b left right 5"),
            ("brpoplpush b b 5", "b", "brpoplpush b b 5"),
        ] {
            let (mut bytes, ranges) = parts(line);
            let args = Args::new(&bytes, &ranges);
            let entry = Table::get().resolve(&args).unwrap();
            let keys = waited_keys(entry, &args);
            let names: Vec<_> = keys.iter().map(|at| str::from_utf8(&args[*at]).unwrap()).collect();
            assert_eq!(names.join(" "), waited, "{line}");
            let at = keys.iter().copied().find(|at| args[*at] == *b"b").unwrap_or(1);
            let ranges = narrow(entry, at, &mut bytes, &ranges);
            let args = Args::new(&bytes, &ranges);
            let words: Vec<_> = args.from(0).map(|arg| str::from_utf8(arg).unwrap()).collect();
            assert_eq!(words.join(" "), narrowed);
        }
    }
}
