//! Counters: strings that spell a number.
//!
//! A counter keeps its expiry when it changes, and is written as the text of the number, so that every
//! string command works on it too.

use super::events;
use super::exec::Exec;
use super::long_double::LongDouble;
use super::numbers::{integer, parse_i64};
use super::strings::{read_to_write, write};
use super::{Command, Error, Flags, Group, Handler, Keys};
use crate::cache::Expiry;
use crate::protocol::{Args, Reply};
use crate::types::Key;

const GROW_FAST: Flags = Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST);

/// The commands of this part of the string group, all of them by name.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "decr",
        arity: 2,
        flags: GROW_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(decr),
        group: Group::String,
        summary: "Takes one from an integer; a missing key counts as 0.",
        since: "1.0.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "decrby",
        arity: 3,
        flags: GROW_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(decrby),
        group: Group::String,
        summary: "Takes a number from an integer; a missing key counts as 0.",
        since: "1.0.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "incr",
        arity: 2,
        flags: GROW_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(incr),
        group: Group::String,
        summary: "Adds one to an integer; a missing key counts as 0.",
        since: "1.0.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "incrby",
        arity: 3,
        flags: GROW_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(incrby),
        group: Group::String,
        summary: "Adds a number to an integer; a missing key counts as 0.",
        since: "1.0.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "incrbyfloat",
        arity: 3,
        flags: GROW_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(incrbyfloat),
        group: Group::String,
        summary: "Adds a number to a floating-point number; a missing key counts as 0.",
        since: "2.6.0",
        steps: None,
        complexity: "O(1)",
    },
];

fn incr(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    increment(exec, key, 1, reply)
}

fn decr(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    increment(exec, key, -1, reply)
}

fn incrby(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    increment(exec, key, integer(args.at(2))?, reply)
}

fn decrby(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let amount =
        integer(args.at(2))?.checked_neg().ok_or(Error::Static("ERR decrement would overflow"))?;
    let key = exec.key(args.at(1));
    increment(exec, key, amount, reply)
}

fn increment(
    exec: &mut Exec<'_>,
    key: Key<'_>,
    amount: i64,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    reply.integer(add(exec, key, amount)?);
    Ok(())
}

/// The sum has no place in 64 bits.
pub(crate) const SUM_OVERFLOWS: Error = Error::Static("ERR increment or decrement would overflow");

/// Adds to the number at `key`; answers the sum.
pub(super) fn add(exec: &mut Exec<'_>, key: Key<'_>, amount: i64) -> Result<i64, Error> {
    let old = match read_to_write(exec, key)? {
        Some(value) => parse_i64(value).ok_or(Error::NotAnInteger)?,
        None => 0,
    };
    let sum = old.checked_add(amount).ok_or(SUM_OVERFLOWS)?;
    write(exec, key, itoa::Buffer::new().format(sum).as_bytes(), Expiry::Keep);
    exec.tell(key, events::INCRBY);
    Ok(sum)
}

fn incrbyfloat(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let old = match read_to_write(exec, key)? {
        Some(value) => LongDouble::parse(value).ok_or(Error::NotAFloat)?,
        None => LongDouble::ZERO,
    };
    let amount = LongDouble::parse(args.at(2)).ok_or(Error::NotAFloat)?;
    let sum = old
        .checked_add(amount)
        .ok_or(Error::Static("ERR increment would produce NaN or Infinity"))?;
    let mut text = Vec::new();
    sum.write(&mut text);
    write(exec, key, &text, Expiry::Keep);
    reply.bulk(&text);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
