//! Sets: their members put in, taken out and looked for. What is random lies in `random`, what makes sets of
//! sets in `algebra`.

mod algebra;
mod random;
#[cfg(test)]
pub(super) mod tests;

use super::drawing;
use super::elements::{Scan, Walk, reply_element};
use super::events;
use super::exec::Exec;
use super::scan::KeyList;
use super::steps::{self, Progress, Steps};
use super::strings::reply_length;
use super::{Command, DataHandler, Error, Flags, Group, Keys};
use crate::cache::Missing;
use crate::collection::{Digits, Edit, Element, Set, Value};
use crate::limits::STEP_ELEMENTS;
use crate::protocol::{Args, Reply};
use crate::types::Key;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.union(Flags::FAST);
const READ_LONG: Flags = READ.union(Flags::LONG);
const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);
const GROW_FAST: Flags = WRITE_FAST.union(Flags::DENYOOM);
const READ_STEPWISE: Flags = READ_LONG.union(Flags::STEPWISE);
const GROW_STEPWISE: Flags =
    Flags::WRITE.union(Flags::DENYOOM).union(Flags::LONG).union(Flags::STEPWISE);

const CONSTANT: &str = "O(1)";
const EACH: &str = "O(N) with the number of members named";
const WHOLE: &str = "O(N) with the number of members of the set";
const ALL: &str = "O(N) with the number of members of all the sets";
const SMALLEST: &str = "O(N*M) with the members of the smallest set and the number of sets";
const DRAWN: &str = "O(1) for one member, O(N) with the number of members asked for";
const STEP: &str = "O(COUNT) a call, O(N) over the members for a whole walk";

const fn row(
    name: &'static str,
    (arity, flags): (i8, Flags),
    handler: DataHandler,
    (since, complexity): (&'static str, &'static str),
    summary: &'static str,
) -> Command {
    Command::keyed(name, arity, Group::Set, handler)
        .with(flags)
        .doc(since, summary)
        .cost(complexity)
}

const fn with_keys(keys: Keys, row: Command) -> Command {
    Command { keys, ..row }
}

/// The rows of this group.
pub const COMMANDS: &[Command] = &[
    row("sadd", (-3, GROW_FAST), sadd, ("1.0.0", EACH), "Puts members into a set."),
    row("scard", (2, READ_FAST), scard, ("1.0.0", CONSTANT), "Counts the members of a set."),
    with_keys(
        Keys::ALL,
        row(
            "sdiff",
            (-2, READ_STEPWISE),
            algebra::sdiff,
            ("1.0.0", ALL),
            "Answers the members of a set that are in none of others.",
        ),
    ),
    with_keys(
        Keys::ALL,
        row(
            "sdiffstore",
            (-3, GROW_STEPWISE),
            algebra::sdiffstore,
            ("1.0.0", ALL),
            "Keeps the members of a set that are in none of others under a key.",
        ),
    ),
    with_keys(
        Keys::ALL,
        row(
            "sinter",
            (-2, READ_STEPWISE),
            algebra::sinter,
            ("1.0.0", SMALLEST),
            "Answers the members that all of several sets have.",
        ),
    ),
    with_keys(
        Keys::Counted { count: 1 },
        row(
            "sintercard",
            (-3, READ_STEPWISE.union(Flags::MOVABLE_KEYS)),
            algebra::sintercard,
            ("7.0.0", SMALLEST),
            "Counts the members that all of several sets have.",
        ),
    ),
    with_keys(
        Keys::ALL,
        row(
            "sinterstore",
            (-3, GROW_STEPWISE),
            algebra::sinterstore,
            ("1.0.0", SMALLEST),
            "Keeps the members that all of several sets have under a key.",
        ),
    ),
    row(
        "sismember",
        (3, READ_FAST),
        sismember,
        ("1.0.0", CONSTANT),
        "Tells whether a member is in a set.",
    ),
    row(
        "smembers",
        (2, READ_STEPWISE),
        smembers,
        ("1.0.0", WHOLE),
        "Answers all members of a set.",
    ),
    row(
        "smismember",
        (-3, READ_FAST),
        smismember,
        ("6.2.0", EACH),
        "Tells of each of several members whether it is in a set.",
    ),
    with_keys(
        Keys::TWO,
        row(
            "smove",
            (4, WRITE_FAST),
            smove,
            ("1.0.0", CONSTANT),
            "Moves a member from one set to another.",
        ),
    ),
    row(
        "spop",
        (-2, WRITE_FAST),
        random::spop,
        ("1.0.0", DRAWN),
        "Takes members out of a set at random and answers them.",
    )
    .in_steps(random::POPPED),
    row(
        "srandmember",
        (-2, READ),
        random::srandmember,
        ("1.0.0", DRAWN),
        "Answers members of a set chosen at random.",
    )
    .in_steps(drawing::STEPS),
    row("srem", (-3, WRITE_FAST), srem, ("1.0.0", EACH), "Takes members out of a set."),
    row("sscan", (-3, READ), sscan, ("2.8.0", STEP), "Walks over the members of a set."),
    with_keys(
        Keys::ALL,
        row(
            "sunion",
            (-2, READ_STEPWISE),
            algebra::sunion,
            ("1.0.0", ALL),
            "Answers the members that any of several sets has.",
        ),
    ),
    with_keys(
        Keys::ALL,
        row(
            "sunionstore",
            (-3, GROW_STEPWISE),
            algebra::sunionstore,
            ("1.0.0", ALL),
            "Keeps the members that any of several sets has under a key.",
        ),
    ),
];

fn sadd(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let added = exec.change::<Set, _>(key, Missing::Create, |set, edit| {
        set.prepare(args.len() - 2, args.at(2), edit);
        args.from(2).filter(|member| set.add(member, edit)).count()
    })?;
    reply_length(reply, added.unwrap_or(0));
    Ok(())
}

fn srem(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let removed = exec.change::<Set, _>(key, Missing::Skip, |set, edit| {
        args.from(2).filter(|member| set.remove(member, edit)).count()
    })?;
    reply_length(reply, removed.unwrap_or(0));
    Ok(())
}

fn scard(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    reply_length(reply, exec.read::<Set>(key)?.map_or(0, |set| set.len()));
    Ok(())
}

fn sismember(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let set = exec.read::<Set>(key)?;
    let is_member = set.is_some_and(|set| set.contains(Element::Bytes(args.at(2))));
    reply.integer(i64::from(is_member));
    Ok(())
}

fn smismember(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let set = exec.read::<Set>(key)?;
    reply.array(args.len() - 2);
    for member in args.from(2) {
        let is_member = set.is_some_and(|set| set.contains(Element::Bytes(member)));
        reply.integer(i64::from(is_member));
    }
    Ok(())
}

fn smembers(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let set = exec.read::<Set>(key)?;
    let length = set.map_or(0, |set| set.len());
    reply.set(length);
    if length > STEP_ELEMENTS {
        return steps::run(exec, args, reply, Members { cursor: 0 });
    }
    set.into_iter().flat_map(|set| set.iter()).for_each(|member| reply_element(reply, member));
    Ok(())
}

/// The members of a set that are left to be answered.
#[derive(Debug)]
struct Members {
    cursor: u64,
}

impl Steps for Members {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let Some(set) = exec.peek::<Set>(exec.key(args.at(1))) else {
            return Ok(Progress::Done);
        };
        let visit = |member| reply_element(reply, member);
        self.cursor = set.scan(self.cursor, STEP_ELEMENTS, visit);
        Ok(Progress::done_if(self.cursor == 0))
    }
}

/// The member is in one of the sets at every moment, for both keys are held.
fn smove(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (from, to, member) = (exec.key(args.at(1)), exec.key(args.at(2)), args.at(3));
    let has_moved = match set_at(exec, from)? {
        None => false,
        Some(set) if from.bytes == to.bytes => set.contains(Element::Bytes(member)),
        Some(_) => {
            set_at(exec, to)?;
            let taken =
                exec.change::<Set, _>(from, Missing::Skip, |set, edit| set.remove(member, edit))?;
            if taken == Some(true) {
                let add = |set: &mut Set, edit: &mut Edit<'_>| set.add(member, edit);
                let is_new = exec.change(to, Missing::Create, add)?;
                exec.tell(from, events::SREM);
                if is_new == Some(true) {
                    exec.tell(to, events::SADD);
                }
            }
            taken == Some(true)
        }
    };
    reply.integer(i64::from(has_moved));
    Ok(())
}

/// The set of a key, for a command that goes on to change it.
fn set_at<'e>(
    exec: &'e Exec<'_>,
    key: Key<'_>,
) -> Result<Option<crate::collection::set::View<'e>>, Error> {
    match exec.peek_value(key) {
        None => Ok(None),
        Some(Value::Set(set)) => Ok(Some(set)),
        Some(_) => Err(Error::WrongType),
    }
}

fn sscan(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (key, cursor) = (exec.key(args.at(1)), Scan::cursor(args, Walk::Members)?);
    let mut found = KeyList::new(reply.proto());
    let mut next = 0;
    if let Some(set) = exec.read::<Set>(key)? {
        let options = Scan::parse(args, Walk::Members)?;
        next = set.scan(cursor, options.count, |member| {
            let mut digits = Digits::new();
            let member = member.bytes(&mut digits);
            if options.pattern.matches(member) {
                found.push(member);
            }
        });
    }
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    found.write(reply);
    Ok(())
}
