//! Operations on one value.

use super::{Answer, CONDITIONS, Failure, Request};
use crate::cache::{Access, Expiry};
use crate::command::Exec;
use crate::command::counters::add;
use crate::command::strings::{append_to, set_whole};
use crate::protocol::binary::{RequestFlags, Status};
use crate::types::{Key, UnixMs};

pub(super) fn get(
    exec: &mut Exec<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    let (key, now, access) = (request.key(exec), exec.now.unix, exec.read_access());
    let (status, version) = match exec.keyspace(key).get(key, now, access) {
        Some(entry) => {
            out.extend_from_slice(entry.string()?);
            (Status::Ok, entry.version)
        }
        None => (Status::NotFound, 0),
    };
    Ok(Answer::about(exec, key, status, version))
}

pub(super) fn set(
    exec: &mut Exec<'_>,
    request: &Request<'_>,
    _: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    let key = request.key(exec);
    let mut expiry = Expiry::Clear;
    if !request.head.flags.is_empty() {
        expiry = expiry_of(exec, request)?;
        if let Some(answer) = hold_back(exec, key, request)? {
            return Ok(answer);
        }
    }
    set_whole(exec, key, request.value(), expiry);
    Ok(Answer::written(exec, key))
}

pub(super) fn compare_and_swap(
    exec: &mut Exec<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    if !request.has(RequestFlags::VERSION) {
        return Err(Failure::bad("BADREQUEST compare-and-swap names a version"));
    }
    set(exec, request, out)
}

/// What becomes of the key's expiry.
pub(super) fn expiry_of(exec: &Exec<'_>, request: &Request<'_>) -> Result<Expiry, Failure> {
    let is_time = request.has(RequestFlags::TTL_IS_TIME);
    match request.extras().ttl_ms {
        None if is_time => Err(Failure::bad("BADREQUEST there is no ttl that could be a time")),
        None if request.has(RequestFlags::KEEP_TTL) => Ok(Expiry::Keep),
        None => Ok(Expiry::Clear),
        Some(_) if request.has(RequestFlags::KEEP_TTL) => {
            Err(Failure::bad("BADREQUEST a new ttl is given and the old one is to be kept"))
        }
        Some(0) => Err(Failure::bad("BADREQUEST a ttl of 0 is no time to live")),
        Some(ttl) => Ok(Expiry::At(expires_at(exec, ttl, is_time)?)),
    }
}

/// The point in time that a ttl gives.
pub(super) fn expires_at(exec: &Exec<'_>, ttl: u64, is_time: bool) -> Result<UnixMs, Failure> {
    let at = if is_time { Some(ttl) } else { exec.now.unix.0.checked_add(ttl) };
    // As Redis, whose times are signed.
    let at = at.filter(|at| i64::try_from(*at).is_ok());
    at.map(UnixMs).ok_or(Failure::bad("BADREQUEST the ttl is beyond all times"))
}

/// Why a write with a condition is not to be done, if so: the condition does not hold.
pub(super) fn hold_back(
    exec: &mut Exec<'_>,
    key: Key<'_>,
    request: &Request<'_>,
) -> Result<Option<Answer>, Failure> {
    let conditions = request.head.flags & CONDITIONS;
    if conditions.is_empty() {
        return Ok(None);
    }
    if conditions.bits().count_ones() > 1 {
        return Err(Failure::bad("BADREQUEST there is more than one condition"));
    }
    let (now, access) = (exec.now.unix, exec.write_access());
    let present = exec.keyspace(key).get(key, now, access).map(|entry| entry.version);
    let status = match (request.extras().version, present) {
        (Some(wanted), Some(version)) if wanted != version => Status::VersionMismatch,
        (Some(wanted), None) if wanted != 0 => Status::NotFound,
        (None, Some(_)) if conditions == RequestFlags::IF_ABSENT => Status::Exists,
        (None, None) if conditions == RequestFlags::IF_PRESENT => Status::NotFound,
        _ => return Ok(None),
    };
    Ok(Some(Answer::about(exec, key, status, present.unwrap_or(0))))
}

pub(super) fn increment(
    exec: &mut Exec<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    let amount = request.value().try_into().map(i64::from_le_bytes);
    let amount = amount.map_err(|_| Failure::bad("BADREQUEST what is added has eight bytes"))?;
    let key = request.key(exec);
    let sum = add(exec, key, amount)?;
    out.extend_from_slice(&sum.to_le_bytes());
    Ok(Answer::written(exec, key))
}

pub(super) fn append(
    exec: &mut Exec<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    let key = request.key(exec);
    let length = append_to(exec, key, request.value())?;
    out.extend_from_slice(&(length as u64).to_le_bytes());
    Ok(Answer::written(exec, key))
}

/// The version of a key, without counting as anything.
pub(super) fn version_of(exec: &mut Exec<'_>, key: Key<'_>) -> Option<u64> {
    let now = exec.now.unix;
    exec.keyspace(key).get(key, now, Access::Peek).map(|entry| entry.version)
}
