//! Hashes: their fields set, read, counted and removed. What is random lies in `random`, what lets fields
//! expire in `expiry`.
//!
//! A field whose time has come counts as absent for every command but `HLEN`, which counts it until it has been
//! removed, as in Redis.

mod expiry;
mod random;

use super::drawing;
use super::elements::{Scan, Walk, reply_element};
use super::exec::Exec;
use super::long_double::LongDouble;
use super::numbers::{integer, parse_i64};
use super::scan::KeyList;
use super::steps::{self, Progress, Steps};
use super::strings::reply_length;
use super::{Command, DataHandler, Error, Flags, Group};
use crate::cache::Missing;
use crate::collection::hash::Entry;
use crate::collection::{Collection, Digits, Edit, Element, Hash};
use crate::limits::STEP_ELEMENTS;
use crate::protocol::{Args, Reply};
use crate::types::Key;

const READ: Flags = Flags::READONLY;
const READ_STEPWISE: Flags = READ.union(Flags::LONG).union(Flags::STEPWISE);
const READ_FAST: Flags = READ.union(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);
const GROW_FAST: Flags = WRITE_FAST.union(Flags::DENYOOM);

/// What `HLEN` and its like cost, and what those that answer whole hashes do.
const CONSTANT: &str = "O(1)";
const WHOLE: &str = "O(N) with the number of fields of the hash";
const EACH: &str = "O(N) with the number of fields named";

const fn row(
    name: &'static str,
    (arity, flags): (i8, Flags),
    handler: DataHandler,
    (since, complexity): (&'static str, &'static str),
    summary: &'static str,
) -> Command {
    Command::keyed(name, arity, Group::Hash, handler)
        .with(flags)
        .doc(since, summary)
        .cost(complexity)
}

/// The rows of this group.
pub const COMMANDS: &[Command] = &[
    row("hdel", (-3, WRITE_FAST), hdel, ("2.0.0", EACH), "Removes fields of a hash."),
    row("hexists", (3, READ_FAST), hexists, ("2.0.0", CONSTANT), "Tells whether a field is there."),
    row(
        "hexpire",
        (-6, GROW_FAST),
        expiry::hexpire,
        ("7.4.0", EACH),
        "Lets fields expire after so many seconds.",
    ),
    row(
        "hexpireat",
        (-6, GROW_FAST),
        expiry::hexpireat,
        ("7.4.0", EACH),
        "Lets fields expire at a Unix time in seconds.",
    ),
    row(
        "hexpiretime",
        (-5, READ_FAST),
        expiry::hexpiretime,
        ("7.4.0", EACH),
        "Tells the Unix times in seconds at which fields expire.",
    ),
    row("hget", (3, READ_FAST), hget, ("2.0.0", CONSTANT), "Answers the value of a field."),
    row(
        "hgetall",
        (2, READ_STEPWISE),
        hgetall,
        ("2.0.0", WHOLE),
        "Answers all fields with their values.",
    ),
    row(
        "hincrby",
        (4, GROW_FAST),
        hincrby,
        ("2.0.0", CONSTANT),
        "Adds a number to the integer in a field; a missing one counts as 0.",
    ),
    row(
        "hincrbyfloat",
        (4, GROW_FAST),
        hincrbyfloat,
        ("2.6.0", CONSTANT),
        "Adds a number to the floating-point number in a field; a missing one counts as 0.",
    ),
    row("hkeys", (2, READ_STEPWISE), hkeys, ("2.0.0", WHOLE), "Names all fields."),
    row("hlen", (2, READ_FAST), hlen, ("2.0.0", CONSTANT), "Counts the fields of a hash."),
    row("hmget", (-3, READ_FAST), hmget, ("2.0.0", EACH), "Answers the values of several fields."),
    row(
        "hmset",
        (-4, GROW_FAST),
        hmset,
        ("2.0.0", EACH),
        "Sets fields of a hash; the old name of HSET.",
    ),
    row(
        "hpersist",
        (-5, WRITE_FAST),
        expiry::hpersist,
        ("7.4.0", EACH),
        "Takes the expiry of fields away, so that they stay.",
    ),
    row(
        "hpexpire",
        (-6, GROW_FAST),
        expiry::hpexpire,
        ("7.4.0", EACH),
        "Lets fields expire after so many milliseconds.",
    ),
    row(
        "hpexpireat",
        (-6, GROW_FAST),
        expiry::hpexpireat,
        ("7.4.0", EACH),
        "Lets fields expire at a Unix time in milliseconds.",
    ),
    row(
        "hpexpiretime",
        (-5, READ_FAST),
        expiry::hpexpiretime,
        ("7.4.0", EACH),
        "Tells the Unix times in milliseconds at which fields expire.",
    ),
    row(
        "hpttl",
        (-5, READ_FAST),
        expiry::hpttl,
        ("7.4.0", EACH),
        "Tells the milliseconds that fields have left.",
    ),
    row(
        "hrandfield",
        (-2, READ),
        random::hrandfield,
        (
            "6.2.0",
            "O(N) with the number of fields answered, or of the hash if a good part is asked for",
        ),
        "Names fields chosen at random.",
    )
    .in_steps(drawing::STEPS),
    row(
        "hscan",
        (-3, READ),
        hscan,
        ("2.8.0", "O(COUNT) a call, O(N) over the fields for a whole walk"),
        "Walks over the fields of a hash, a few at a time.",
    ),
    row("hset", (-4, GROW_FAST), hset, ("2.0.0", EACH), "Sets fields of a hash."),
    row(
        "hsetnx",
        (4, GROW_FAST),
        hsetnx,
        ("2.0.0", CONSTANT),
        "Sets a field unless it is there already.",
    ),
    row(
        "hstrlen",
        (3, READ_FAST),
        hstrlen,
        ("3.2.0", CONSTANT),
        "Answers the length of the value of a field in bytes.",
    ),
    row(
        "httl",
        (-5, READ_FAST),
        expiry::httl,
        ("7.4.0", EACH),
        "Tells the seconds that fields have left.",
    ),
    row("hvals", (2, READ_STEPWISE), hvals, ("2.0.0", WHOLE), "Answers the values of all fields."),
];

/// Lets `change` change the hash of `key`, which is made if it is not there.
#[inline]
fn change<R>(
    exec: &mut Exec<'_>,
    key: Key<'_>,
    change: impl FnOnce(&mut Hash, &mut Edit<'_>) -> R,
) -> Result<R, Error> {
    let result = exec.change::<Hash, R>(key, Missing::Create, change)?;
    Ok(result.expect("what is missing is made"))
}

// --- setting and removing ------------------------------------------------------------------------

fn hset(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply_length(reply, set_fields(exec, args, "hset")?);
    Ok(())
}

fn hmset(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    set_fields(exec, args, "hmset")?;
    reply.ok();
    Ok(())
}

/// Sets fields to the values behind them; answers how many are new.
fn set_fields(exec: &mut Exec<'_>, args: &Args<'_>, command: &str) -> Result<usize, Error> {
    if !args.len().is_multiple_of(2) {
        return Err(Error::Arity(command.into()));
    }
    let (key, now) = (exec.key(args.at(1)), exec.now.unix);
    change(exec, key, |hash, edit| {
        let pairs = args.from(2).step_by(2).zip(args.from(3).step_by(2));
        hash.prepare(pairs.len(), edit);
        pairs.filter(|(field, value)| hash.set(field, value, now, edit)).count()
    })
}

fn hsetnx(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (key, now) = (exec.key(args.at(1)), exec.now.unix);
    let (field, value) = (args.at(2), args.at(3));
    let sets = change(exec, key, |hash, edit| {
        let is_there = hash.view().get(field, now).is_some();
        !is_there && hash.set(field, value, now, edit)
    })?;
    reply.integer(i64::from(sets));
    Ok(())
}

fn hdel(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (key, now) = (exec.key(args.at(1)), exec.now.unix);
    let removed = exec.change::<Hash, _>(key, Missing::Skip, |hash, edit| {
        args.from(2).filter(|field| hash.remove(field, now, edit)).count()
    })?;
    reply_length(reply, removed.unwrap_or(0));
    Ok(())
}

fn hincrby(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let amount = integer(args.at(3))?;
    let (key, now, field) = (exec.key(args.at(1)), exec.now.unix, args.at(2));
    let sum = change(exec, key, |hash, edit| -> Result<i64, Error> {
        let old = match hash.view().get(field, now).map(|entry| entry.value) {
            None => 0,
            Some(Element::Int(number)) => number,
            Some(Element::Bytes(text)) => {
                parse_i64(text).ok_or(Error::Static("ERR hash value is not an integer"))?
            }
        };
        let sum = old
            .checked_add(amount)
            .ok_or(Error::Static("ERR increment or decrement would overflow"))?;
        hash.update(field, itoa::Buffer::new().format(sum).as_bytes(), now, edit);
        Ok(sum)
    })??;
    reply.integer(sum);
    Ok(())
}

fn hincrbyfloat(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let amount = match LongDouble::parse(args.at(3)).ok_or(Error::NotAFloat)? {
        LongDouble::Infinite => return Err(Error::Static("ERR value is NaN or Infinity")),
        finite @ LongDouble::Finite { .. } => finite,
    };
    let (key, now, field) = (exec.key(args.at(1)), exec.now.unix, args.at(2));
    let text = change(exec, key, |hash, edit| -> Result<Vec<u8>, Error> {
        let old = match hash.view().get(field, now) {
            None => LongDouble::ZERO,
            Some(entry) => LongDouble::parse(entry.value.bytes(&mut Digits::new()))
                .ok_or(Error::Static("ERR hash value is not a float"))?,
        };
        let sum = old
            .checked_add(amount)
            .ok_or(Error::Static("ERR increment would produce NaN or Infinity"))?;
        let mut text = Vec::new();
        sum.write(&mut text);
        hash.update(field, &text, now, edit);
        Ok(text)
    })??;
    reply.bulk(&text);
    Ok(())
}

// --- reading -------------------------------------------------------------------------------------

/// The field that argument 2 names, if it is there.
#[inline]
fn read_field<'e>(exec: &'e mut Exec<'_>, args: &Args<'_>) -> Result<Option<Entry<'e>>, Error> {
    let (key, now) = (exec.key(args.at(1)), exec.now.unix);
    Ok(exec.read::<Hash>(key)?.and_then(|hash| hash.get(args.at(2), now)))
}

fn hget(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match read_field(exec, args)? {
        Some(entry) => reply_element(reply, entry.value),
        None => reply.null(),
    }
    Ok(())
}

fn hexists(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let is_there = read_field(exec, args)?.is_some();
    reply.integer(i64::from(is_there));
    Ok(())
}

fn hstrlen(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply_length(reply, read_field(exec, args)?.map_or(0, |entry| entry.value.len()));
    Ok(())
}

fn hlen(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    reply_length(reply, exec.read::<Hash>(key)?.map_or(0, |hash| hash.len()));
    Ok(())
}

fn hmget(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (key, now) = (exec.key(args.at(1)), exec.now.unix);
    let hash = exec.read::<Hash>(key)?;
    reply.array(args.len() - 2);
    for field in args.from(2) {
        match hash.and_then(|hash| hash.get(field, now)) {
            Some(entry) => reply_element(reply, entry.value),
            None => reply.null(),
        }
    }
    Ok(())
}

/// What is answered of each field of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Fields,
    Values,
    Both,
}

fn hgetall(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    read_all(exec, args, reply, Part::Both)
}

fn hkeys(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    read_all(exec, args, reply, Part::Fields)
}

fn hvals(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    read_all(exec, args, reply, Part::Values)
}

fn read_all(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    part: Part,
) -> Result<(), Error> {
    let (key, now) = (exec.key(args.at(1)), exec.now.unix);
    let hash = exec.read::<Hash>(key)?;
    let length = hash.map_or(0, |hash| hash.live_len(now));
    match part {
        Part::Both => reply.map(length),
        Part::Fields | Part::Values => reply.array(length),
    }
    if length > STEP_ELEMENTS {
        return steps::run(exec, args, reply, Rest { part, cursor: 0 });
    }
    let entries = hash.into_iter().flat_map(|hash| hash.live(now));
    entries.for_each(|entry| reply_part(reply, part, &entry));
    Ok(())
}

fn reply_part(reply: &mut Reply<'_>, part: Part, entry: &Entry<'_>) {
    if part != Part::Values {
        reply_element(reply, entry.field);
    }
    if part != Part::Fields {
        reply_element(reply, entry.value);
    }
}

/// The fields of a hash that are left to be answered.
#[derive(Debug)]
struct Rest {
    part: Part,
    cursor: u64,
}

impl Steps for Rest {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let now = exec.now.unix;
        let Some(hash) = exec.peek::<Hash>(exec.key(args.at(1))) else {
            return Ok(Progress::Done);
        };
        self.cursor = hash.scan(self.cursor, STEP_ELEMENTS, |entry| {
            if entry.is_live(now) {
                reply_part(reply, self.part, &entry);
            }
        });
        Ok(Progress::done_if(self.cursor == 0))
    }
}

fn hscan(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let cursor = Scan::cursor(args, Walk::Fields)?;
    let (key, now) = (exec.key(args.at(1)), exec.now.unix);
    let mut found = KeyList::new(reply.proto());
    let mut next = 0;
    if let Some(hash) = exec.read::<Hash>(key)? {
        let scan = Scan::parse(args, Walk::Fields)?;
        next = hash.scan(cursor, scan.count, |entry| {
            let mut digits = Digits::new();
            let field = entry.field.bytes(&mut digits);
            if entry.is_live(now) && scan.pattern.matches(field) {
                found.push(field);
                if !scan.no_values {
                    found.push(entry.value.bytes(&mut Digits::new()));
                }
            }
        });
    }
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    found.write(reply);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
