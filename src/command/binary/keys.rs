//! Operations on one key, whatever its value.

use super::values::{expires_at, hold_back, version_of};
use super::{Answer, Failure, Request};
use crate::cache::Access;
use crate::command::{Exec, events};
use crate::protocol::binary::{RequestFlags, Status};

pub(super) fn delete(
    exec: &mut Exec<'_>,
    request: &Request<'_>,
    _: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    let key = request.key(exec);
    if let Some(answer) = hold_back(exec, key, request)? {
        return Ok(answer);
    }
    if exec.delete(key) {
        exec.tell(key, events::DEL);
        Ok(Answer::written(exec, key))
    } else {
        Ok(Answer::about(exec, key, Status::NotFound, 0))
    }
}

/// Counts as use even for a client that asked not to (`CLIENT NO-TOUCH`): use is what it is for.
pub(super) fn touch(
    exec: &mut Exec<'_>,
    request: &Request<'_>,
    _: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    let (key, now) = (request.key(exec), exec.now.unix);
    let version = exec.keyspace(key).get(key, now, Access::Read).map(|entry| entry.version);
    let status = if version.is_some() { Status::Ok } else { Status::NotFound };
    Ok(Answer::about(exec, key, status, version.unwrap_or(0)))
}

/// Sets the expiry, or without a ttl clears it; a time that has passed removes the key.
pub(super) fn expire(
    exec: &mut Exec<'_>,
    request: &Request<'_>,
    _: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    let (ttl, is_time) = (request.extras().ttl_ms, request.has(RequestFlags::TTL_IS_TIME));
    if is_time && ttl.is_none() {
        return Err(Failure::bad("BADREQUEST there is no ttl that could be a time"));
    }
    let at = ttl.map(|ttl| expires_at(exec, ttl, is_time)).transpose()?;
    let (key, now, access) = (request.key(exec), exec.now.unix, exec.write_access());
    let keyspace = exec.keyspace(key);
    let Some(present) = keyspace.get(key, now, access).map(|entry| entry.expires_at) else {
        return Ok(Answer::about(exec, key, Status::NotFound, 0));
    };
    if at.is_some() || present.is_some() {
        keyspace.set_expiry(key, at, now);
        keyspace.count_change();
        exec.tell(key, if at.is_some() { events::EXPIRE } else { events::PERSIST });
        return Ok(Answer::written(exec, key));
    }
    let version = version_of(exec, key).unwrap_or(0);
    Ok(Answer::about(exec, key, Status::Ok, version))
}
