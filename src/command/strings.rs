//! The string commands: whole values, parts of values, several keys at once.
//!
//! Each handler looks a key up as seldom as it can, since these are the commands that most requests
//! are. A relative time to live is added to the turn's clock here, so what reaches the keyspace is
//! always a point in time.

use std::ops::Range;

use super::events;
use super::exec::Exec;
use super::numbers::{ExpiryUnit, clamp_range, integer, is_backwards};
use super::{Command, Error, Flags, Group, Handler, Keys};
use crate::cache::{Access, EntryRef, Expiry, SharedBytes};
use crate::limits::{LONG_BYTES_MIN, SPARE_VALUE_BYTES_MAX};
use crate::protocol::{Args, Reply};
use crate::types::Key;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.union(Flags::FAST);
const GROW: Flags = Flags::WRITE.union(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.union(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);

/// The commands of this group, all of them by name.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "append",
        arity: 3,
        flags: GROW_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(append),
        group: Group::String,
        summary: "Adds bytes to the end of a value, or sets the value where there is none.",
        since: "2.0.0",
        steps: None,
        complexity: "O(1) amortized, with the length added small against the length there is",
    },
    Command {
        name: "get",
        arity: 2,
        flags: READ_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(get),
        group: Group::String,
        summary: "Answers the value of a key.",
        since: "1.0.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "getdel",
        arity: 2,
        flags: WRITE_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(getdel),
        group: Group::String,
        summary: "Answers the value of a key and removes the key.",
        since: "6.2.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "getex",
        arity: -2,
        flags: WRITE_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(getex),
        group: Group::String,
        summary: "Answers the value of a key and sets or clears its expiry.",
        since: "6.2.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "getrange",
        arity: 4,
        flags: READ,
        keys: Keys::ONE,
        handler: Handler::Keyed(getrange),
        group: Group::String,
        summary: "Answers the part of a value between two positions.",
        since: "2.4.0",
        steps: None,
        complexity: "O(N) with the number of bytes answered",
    },
    Command {
        name: "getset",
        arity: 3,
        flags: GROW_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(getset),
        group: Group::String,
        summary: "Sets a key and answers the value it had.",
        since: "1.0.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "mget",
        arity: -2,
        flags: READ_FAST,
        keys: Keys::ALL,
        handler: Handler::Keyed(mget),
        group: Group::String,
        summary: "Answers the values of several keys as they are at one moment.",
        since: "1.0.0",
        steps: None,
        complexity: "O(N) with the number of keys",
    },
    Command {
        name: "mset",
        arity: -3,
        flags: GROW,
        keys: Keys::PAIRS,
        handler: Handler::Keyed(mset),
        group: Group::String,
        summary: "Sets several keys at once.",
        since: "1.0.1",
        steps: None,
        complexity: "O(N) with the number of keys",
    },
    Command {
        name: "msetnx",
        arity: -3,
        flags: GROW,
        keys: Keys::PAIRS,
        handler: Handler::Keyed(msetnx),
        group: Group::String,
        summary: "Sets several keys at once, or none if one of them is there already.",
        since: "1.0.1",
        steps: None,
        complexity: "O(N) with the number of keys",
    },
    Command {
        name: "psetex",
        arity: 4,
        flags: GROW,
        keys: Keys::ONE,
        handler: Handler::Keyed(psetex),
        group: Group::String,
        summary: "Sets a key that expires after a number of milliseconds.",
        since: "2.6.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "set",
        arity: -3,
        flags: GROW,
        keys: Keys::ONE,
        handler: Handler::Keyed(set),
        group: Group::String,
        summary: "Sets a key, with an expiry or under a condition if asked to.",
        since: "1.0.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "setex",
        arity: 4,
        flags: GROW,
        keys: Keys::ONE,
        handler: Handler::Keyed(setex),
        group: Group::String,
        summary: "Sets a key that expires after a number of seconds.",
        since: "2.0.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "setnx",
        arity: 3,
        flags: GROW_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(setnx),
        group: Group::String,
        summary: "Sets a key unless it is there already.",
        since: "1.0.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "setrange",
        arity: 4,
        flags: GROW,
        keys: Keys::ONE,
        handler: Handler::Keyed(setrange),
        group: Group::String,
        summary: "Overwrites a value from a position on, filling up with zero bytes.",
        since: "2.2.0",
        steps: None,
        complexity: "O(N) with the number of bytes written or filled up",
    },
    Command {
        name: "strlen",
        arity: 2,
        flags: READ_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(strlen),
        group: Group::String,
        summary: "Answers the length of a value in bytes.",
        since: "2.2.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "substr",
        arity: 4,
        flags: READ,
        keys: Keys::ONE,
        handler: Handler::Keyed(getrange),
        group: Group::String,
        summary: "Answers the part of a value between two positions; the old name of GETRANGE.",
        since: "1.0.0",
        steps: None,
        complexity: "O(N) with the number of bytes answered",
    },
];

/// The string in `entry`, if there is an entry. The one place where a key of another type is told
/// from a string.
#[inline]
pub(super) fn string_of(entry: Option<EntryRef<'_>>) -> Result<Option<&[u8]>, Error> {
    Ok(entry.map(|entry| entry.string()).transpose()?)
}

/// The string at `key` for a command that only reads.
#[inline]
pub(super) fn read<'e>(exec: &'e mut Exec<'_>, key: Key<'_>) -> Result<Option<&'e [u8]>, Error> {
    let access = exec.read_access();
    look_up(exec, key, access)
}

/// The string at `key` for a command that is going to change it.
#[inline]
pub(super) fn read_to_write<'e>(
    exec: &'e mut Exec<'_>,
    key: Key<'_>,
) -> Result<Option<&'e [u8]>, Error> {
    look_up(exec, key, Access::Write)
}

/// The string at `key`.
#[inline]
pub(super) fn look_up<'e>(
    exec: &'e mut Exec<'_>,
    key: Key<'_>,
    access: Access,
) -> Result<Option<&'e [u8]>, Error> {
    let now = exec.now.unix;
    string_of(exec.keyspace(key).get(key, now, access))
}

/// Sets `key` and counts the change.
#[inline]
pub(super) fn write(exec: &mut Exec<'_>, key: Key<'_>, value: &[u8], expiry: Expiry) {
    let now = exec.now.unix;
    let request = exec.handover.request.as_ref();
    let kept = request.and_then(|request| SharedBytes::of(request, value));
    let keyspace = exec.keyspace(key);
    keyspace.count_change();
    match kept {
        None => keyspace.set(key, value, expiry, now),
        Some(value) => {
            keyspace.set_shared(key, value, expiry, now);
            // What it took the place of is likely to be as long as what comes next.
            exec.handover.freed = keyspace.take_freed(SPARE_VALUE_BYTES_MAX);
        }
    }
}

/// Sets `key` as a command does that is about the whole value.
#[inline]
pub(super) fn set_whole(exec: &mut Exec<'_>, key: Key<'_>, value: &[u8], expiry: Expiry) {
    write(exec, key, value, expiry);
    exec.tell(key, events::SET);
    if matches!(expiry, Expiry::At(_)) {
        exec.tell(key, events::EXPIRE);
    }
}

/// Changes the bytes in `range` of the value of `key` in place, at a length of `length`; does not count a
/// change.
pub(super) fn edit<R>(
    exec: &mut Exec<'_>,
    key: Key<'_>,
    length: usize,
    range: Range<usize>,
    change: impl FnOnce(&mut [u8]) -> R,
) -> R {
    let now = exec.now.unix;
    exec.keyspace(key).edit(key, length, range, now, change)
}

/// Counts one change of `key`.
pub(super) fn count_change(exec: &mut Exec<'_>, key: Key<'_>) {
    exec.keyspace(key).count_change();
}

/// A length as it is answered.
pub(super) fn reply_length(reply: &mut Reply<'_>, length: usize) {
    reply.integer(i64::try_from(length).unwrap_or(i64::MAX));
}

/// A value as it is answered, or that there is none.
#[inline]
fn reply_value(reply: &mut Reply<'_>, value: Option<&[u8]>) {
    match value {
        Some(value) => reply.bulk(value),
        None => reply.null(),
    }
}

// --- whole values --------------------------------------------------------------------------------

/// Answers the value of `key` and nothing else; whether there is one. A long value is not copied: it is
/// sent from where it lies.
#[inline]
fn answer(exec: &mut Exec<'_>, key: Key<'_>, reply: &mut Reply<'_>) -> Result<bool, Error> {
    let value = read(exec, key)?;
    if value.is_some_and(|value| value.len() > LONG_BYTES_MIN) {
        answer_long(exec, key, reply);
        return Ok(true);
    }
    reply_value(reply, value);
    Ok(value.is_some())
}

#[cold]
fn answer_long(exec: &mut Exec<'_>, key: Key<'_>, reply: &mut Reply<'_>) {
    let now = exec.now.unix;
    exec.handover.reply = exec.keyspace(key).shared_value(key, now);
    if exec.handover.reply.is_none() {
        let entry = exec.keyspace(key).get(key, now, Access::Peek);
        reply_value(reply, entry.and_then(|entry| entry.string().ok()));
    }
}

fn get(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    answer(exec, key, reply).map(drop)
}

fn set(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    if args.len() > 3 {
        return set_with_options(exec, args, reply);
    }
    let key = exec.key(args.at(1));
    set_whole(exec, key, args.at(2), Expiry::Clear);
    reply.ok();
    Ok(())
}

/// When `SET` sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// `NX`
    Absent,
    /// `XX`
    Present,
}

/// What may follow the value of a `SET`.
#[derive(Debug, Default)]
struct SetOptions<'a> {
    condition: Option<Condition>,
    get: bool,
    keep_ttl: bool,
    expiry: Option<(ExpiryUnit, &'a [u8])>,
}

impl<'a> SetOptions<'a> {
    /// An option may stand twice, but two that contradict one another may not.
    fn parse(args: &Args<'a>) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut rest = args.from(3);
        while let Some(word) = rest.next() {
            if word.eq_ignore_ascii_case(b"NX") && options.condition != Some(Condition::Present) {
                options.condition = Some(Condition::Absent);
            } else if word.eq_ignore_ascii_case(b"XX")
                && options.condition != Some(Condition::Absent)
            {
                options.condition = Some(Condition::Present);
            } else if word.eq_ignore_ascii_case(b"GET") {
                options.get = true;
            } else if word.eq_ignore_ascii_case(b"KEEPTTL") && options.expiry.is_none() {
                options.keep_ttl = true;
            } else if !options.keep_ttl {
                options.expiry = Some(expiry_option(options.expiry, word, rest.next())?);
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(options)
    }
}

/// The expiry that option `word` with its argument gives. Another of the same unit may have stood
/// `before`.
fn expiry_option<'a>(
    before: Option<(ExpiryUnit, &[u8])>,
    word: &[u8],
    argument: Option<&'a [u8]>,
) -> Result<(ExpiryUnit, &'a [u8]), Error> {
    let unit = ExpiryUnit::named(word).ok_or(Error::Syntax)?;
    if before.is_some_and(|(other, _)| other != unit) {
        return Err(Error::Syntax);
    }
    argument.map(|argument| (unit, argument)).ok_or(Error::Syntax)
}

fn set_with_options(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let options = SetOptions::parse(args)?;
    let expiry = match options.expiry {
        Some((unit, text)) => Expiry::At(unit.expires_at(text, exec.now.unix, "set")?),
        None if options.keep_ttl => Expiry::Keep,
        None => Expiry::Clear,
    };
    let key = exec.key(args.at(1));
    let present = if options.get {
        answer(exec, key, reply)?
    } else {
        options.condition.is_some() && is_there(exec, key)
    };
    let sets = match options.condition {
        None => true,
        Some(Condition::Absent) => !present,
        Some(Condition::Present) => present,
    };
    if sets {
        set_whole(exec, key, args.at(2), expiry);
    }
    match (options.get, sets) {
        (true, _) => {}
        (false, true) => reply.ok(),
        (false, false) => reply.null(),
    }
    Ok(())
}

/// Whether a key of any type is there, for a command that is going to set it if not.
fn is_there(exec: &mut Exec<'_>, key: Key<'_>) -> bool {
    let now = exec.now.unix;
    exec.keyspace(key).contains(key, now, Access::Write)
}

fn setnx(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let sets = !is_there(exec, key);
    if sets {
        set_whole(exec, key, args.at(2), Expiry::Clear);
    }
    reply.integer(i64::from(sets));
    Ok(())
}

fn setex(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let expires_at = ExpiryUnit::Seconds.expires_at(args.at(2), exec.now.unix, "setex")?;
    let key = exec.key(args.at(1));
    set_whole(exec, key, args.at(3), Expiry::At(expires_at));
    reply.ok();
    Ok(())
}

fn psetex(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let expires_at = ExpiryUnit::Milliseconds.expires_at(args.at(2), exec.now.unix, "psetex")?;
    let key = exec.key(args.at(1));
    set_whole(exec, key, args.at(3), Expiry::At(expires_at));
    reply.ok();
    Ok(())
}

fn getset(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    answer(exec, key, reply)?;
    set_whole(exec, key, args.at(2), Expiry::Clear);
    Ok(())
}

fn getdel(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    answer(exec, key, reply)?;
    exec.delete(key);
    Ok(())
}

/// What may follow the key of a `GETEX`.
#[derive(Debug, Default)]
struct GetexOptions<'a> {
    persist: bool,
    expiry: Option<(ExpiryUnit, &'a [u8])>,
}

impl<'a> GetexOptions<'a> {
    fn parse(args: &Args<'a>) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut rest = args.from(2);
        while let Some(word) = rest.next() {
            if word.eq_ignore_ascii_case(b"PERSIST") && options.expiry.is_none() {
                options.persist = true;
            } else if !options.persist {
                options.expiry = Some(expiry_option(options.expiry, word, rest.next())?);
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(options)
    }
}

fn getex(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let options = GetexOptions::parse(args)?;
    let (now, key) = (exec.now.unix, exec.key(args.at(1)));
    // A time that makes no sense is not even looked at if there is no key to give it to.
    if !answer(exec, key, reply)? {
        return Ok(());
    }
    if let Some((unit, text)) = options.expiry {
        let expires_at = unit.expires_at(text, now, "getex")?;
        let keyspace = exec.keyspace(key);
        keyspace.count_change();
        keyspace.set_expiry(key, Some(expires_at), now);
        exec.tell(key, events::EXPIRE);
    } else if options.persist {
        let keyspace = exec.keyspace(key);
        let entry = keyspace.get(key, now, Access::Peek);
        if entry.is_some_and(|entry| entry.expires_at.is_some()) {
            keyspace.set_expiry(key, None, now);
            keyspace.count_change();
            exec.tell(key, events::PERSIST);
        }
    }
    Ok(())
}

// --- parts of values -----------------------------------------------------------------------------

/// The sum of two lengths, unless a value must not be as long as that.
fn checked_length(exec: &Exec<'_>, a: usize, b: usize) -> Result<usize, Error> {
    a.checked_add(b).filter(|&length| length <= exec.value_bytes_max).ok_or(Error::StringTooLong)
}

fn strlen(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    reply_length(reply, read(exec, key)?.map_or(0, <[u8]>::len));
    Ok(())
}

fn append(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    reply_length(reply, append_to(exec, key, args.at(2))?);
    Ok(())
}

/// Adds `tail` to the end of the value at `key`; answers its length then.
pub(super) fn append_to(exec: &mut Exec<'_>, key: Key<'_>, tail: &[u8]) -> Result<usize, Error> {
    let Some(start) = read_to_write(exec, key)?.map(<[u8]>::len) else {
        write(exec, key, tail, Expiry::Clear);
        exec.tell(key, events::APPEND);
        return Ok(tail.len());
    };
    let length = checked_length(exec, start, tail.len())?;
    edit(exec, key, length, start..length, |value| value[start..].copy_from_slice(tail));
    count_change(exec, key);
    exec.tell(key, events::APPEND);
    Ok(length)
}

fn setrange(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (key, part) = (exec.key(args.at(1)), args.at(3));
    let start = usize::try_from(integer(args.at(2))?)
        .map_err(|_| Error::Static("ERR offset is out of range"))?;
    let length = read_to_write(exec, key)?.map_or(0, <[u8]>::len);
    if part.is_empty() {
        reply_length(reply, length);
        return Ok(());
    }
    let end = checked_length(exec, start, part.len())?;
    let length = length.max(end);
    edit(exec, key, length, start..end, |value| value[start..end].copy_from_slice(part));
    count_change(exec, key);
    reply_length(reply, length);
    Ok(())
}

fn getrange(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
    let key = exec.key(args.at(1));
    let value = read(exec, key)?.unwrap_or_default();
    let range = clamp_range(start, end, value.len()).filter(|_| !is_backwards(start, end));
    reply.bulk(range.map_or(&[][..], |range| &value[range]));
    Ok(())
}

// --- several keys --------------------------------------------------------------------------------

fn mget(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.array(args.len() - 1);
    exec.for_each_key(args.from(1).map(|name| (name, ())), |exec, key, ()| {
        // A key of another type counts as missing here.
        reply_value(reply, read(exec, key).unwrap_or_default());
    });
    Ok(())
}

/// The keys and values of an `MSET` or `MSETNX`, if every key has a value.
fn pairs<'a>(
    args: &Args<'a>,
    command: &str,
) -> Result<impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a>, Error> {
    if args.len().is_multiple_of(2) {
        return Err(Error::Arity(command.into()));
    }
    Ok(args.from(1).step_by(2).zip(args.from(2).step_by(2)))
}

fn mset(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    exec.for_each_key(pairs(args, "mset")?, |exec, key, value| {
        set_whole(exec, key, value, Expiry::Clear);
    });
    reply.ok();
    Ok(())
}

fn msetnx(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let pairs = pairs(args, "msetnx")?;
    let sets = !pairs.clone().any(|(key, _)| is_there(exec, exec.key(key)));
    if sets {
        for (key, value) in pairs {
            let key = exec.key(key);
            set_whole(exec, key, value, Expiry::Clear);
        }
    }
    reply.integer(i64::from(sets));
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
