//! `ZPOPMIN`, `ZPOPMAX`, `ZMPOP`, and those that wait for a member: members are answered and removed.
//!
//! Very many are in steps (`steps`), but by who may wait for one.

use super::Shape;
use super::weighing::Weighing;
use crate::cache::Missing;
use crate::collection::sorted_set::View;
use crate::collection::{Collection, Digits, Edit, Element, SortedSet};
use crate::command::blocking::timeout_ms;
use crate::command::events::{self, Event};
use crate::command::numbers::parse_i64;
use crate::command::steps::{self, Progress, Steps};
use crate::command::{Error, Exec, Stepwise};
use crate::limits::{STEP_ELEMENTS, STEP_LONG_ELEMENTS};
use crate::protocol::{Args, Reply};
use std::ops::Range;

/// From which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The lowest scores.
    Min,
    /// The highest.
    Max,
}

impl End {
    fn event(self) -> Event {
        match self {
            Self::Min => events::ZPOPMIN,
            Self::Max => events::ZPOPMAX,
        }
    }

    /// The first `count` of some ranks from this end on.
    fn ranks(self, of: &Range<usize>, count: usize) -> Range<usize> {
        match self {
            Self::Min => of.start..of.start + count,
            Self::Max => of.end - count..of.end,
        }
    }

    /// Takes the first `count` away from some ranks.
    fn leave_out(self, of: &mut Range<usize>, count: usize) {
        match self {
            Self::Min => of.start += count,
            Self::Max => of.end -= count,
        }
    }
}

pub(super) fn zpopmin(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    pop(exec, args, End::Min, reply)
}

pub(super) fn zpopmax(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    pop(exec, args, End::Max, reply)
}

fn pop(exec: &mut Exec<'_>, args: &Args<'_>, end: End, reply: &mut Reply<'_>) -> Result<(), Error> {
    if args.len() > 3 {
        return Err(Error::Syntax);
    }
    let (count, shape) = match args.get(2) {
        None => (1, Shape::Flat),
        Some(count) => {
            let text = "ERR value is out of range, must be positive";
            (at_least(count, 0, text)?, Shape::of(true, reply.proto()))
        }
    };
    // What is removed at once, its row tells.
    let tells = exec.handover.may_pause;
    let wanted = Wanted { end, count, shape, form: Form::Members, tells };
    if !wanted.pop_from(exec, args, 1, reply)? {
        reply.array(0);
    }
    Ok(())
}

/// If a request asks for many.
pub(super) const POPPED: Stepwise =
    Stepwise::if_asked_for_more_than::<{ STEP_LONG_ELEMENTS as i64 }>(3);
/// The same of `ZMPOP`, if it says how many.
pub(super) const POPPED_OF_SEVERAL: Stepwise = Stepwise { args_min: 6, ..POPPED };

/// A number that is not below `least`.
fn at_least(arg: &[u8], least: i64, otherwise: &'static str) -> Result<usize, Error> {
    let number = parse_i64(arg).filter(|number| *number >= least);
    number.and_then(|number| usize::try_from(number).ok()).ok_or(Error::Static(otherwise))
}

/// What is to be removed, and how it is answered.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    end: End,
    /// At most.
    count: usize,
    shape: Shape,
    form: Form,
    /// Whether it is to be told that they are gone.
    tells: bool,
}

/// What is answered besides members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Nothing.
    Members,
    /// The key, and then an array of members.
    Named,
    /// The key, and one member in the same array.
    One,
}

impl Wanted {
    /// Removes members of the key that argument `at` names, and answers them in the order in which they go; false if it is
    /// not there.
    fn pop_from(
        self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        at: usize,
        reply: &mut Reply<'_>,
    ) -> Result<bool, Error> {
        let (name, key) = (args.at(at), exec.key(args.at(at)));
        if self.count > 1
            && let Some(set) = exec.peek::<SortedSet>(key)
        {
            let (length, bytes_max) = (set.len(), set.names_bytes_max());
            let count = self.count.min(length);
            let ranks = self.end.ranks(&(0..length), count);
            let weighing = match count == length {
                // A set of which nothing is left is freed bit by bit later, and its members are not written down.
                true => None,
                false => Weighing::begin(exec, key, ranks.clone(), bytes_max)?,
            };
            if count > STEP_LONG_ELEMENTS || count == length || weighing.is_some() {
                self.write_head(count, name, reply);
                let left = ranks;
                let popping = Popping { wanted: self, at, left, is_all: count == length, weighing };
                steps::run(exec, args, reply, popping)?;
                return Ok(true);
            }
        }
        let popped =
            exec.change(key, Missing::Skip, |set: &mut SortedSet, edit: &mut Edit<'_>| {
                let count = self.count.min(set.len());
                self.write_head(count, name, reply);
                self.pop(set, edit, count, reply);
            })?;
        if self.tells && popped.is_some() {
            exec.tell(key, self.end.event());
        }
        Ok(popped.is_some())
    }

    /// Removes so many members that are there.
    fn pop(self, set: &mut SortedSet, edit: &mut Edit<'_>, count: usize, reply: &mut Reply<'_>) {
        let mut digits = Digits::new();
        let mut write = |member: Element<'_>, score| {
            self.shape.write(member.bytes(&mut digits), score, reply);
        };
        match self.end {
            End::Min => set.remove_ranks(0..count, edit, write),
            End::Max => {
                let left = set.len() - count;
                for rank in (left..set.len()).rev() {
                    set.remove_ranks(rank..rank + 1, edit, &mut write);
                }
            }
        }
    }

    /// Answers the members of these ranks.
    fn write(self, set: View<'_>, ranks: Range<usize>, reply: &mut Reply<'_>) {
        let elements = set.elements(ranks);
        match self.end {
            End::Min => elements.for_each(|element| self.shape.write_element(element, reply)),
            End::Max => elements.rev().for_each(|element| self.shape.write_element(element, reply)),
        }
    }

    fn write_head(self, count: usize, name: &[u8], reply: &mut Reply<'_>) {
        match self.form {
            Form::Members => {}
            Form::Named => {
                reply.array(2);
                reply.bulk(name);
            }
            Form::One => {
                reply.array(3);
                return reply.bulk(name);
            }
        }
        self.shape.write_head(count, reply);
    }
}

/// Members that are being answered and removed.
#[derive(Debug)]
struct Popping {
    wanted: Wanted,
    /// The argument that is the key.
    at: usize,
    /// The ranks of those that are left, as they were before the first was removed.
    left: Range<usize>,
    /// Whether these are all: then they stay until all have been answered.
    is_all: bool,
    /// Before any is removed.
    weighing: Option<Weighing>,
}

impl Steps for Popping {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let key = exec.key(args.at(self.at));
        if Weighing::goes_on(&mut self.weighing, exec, key)? {
            return Ok(Progress::Begun);
        }
        let Self { wanted, left, .. } = self;
        if self.is_all {
            let some = wanted.end.ranks(left, left.len().min(STEP_ELEMENTS));
            if let Some(set) = exec.peek::<SortedSet>(key) {
                wanted.write(set, some.clone(), reply);
            }
            wanted.end.leave_out(left, some.len());
            if left.start == left.end {
                exec.delete(key);
            }
        } else {
            let count = left.len().min(STEP_LONG_ELEMENTS);
            exec.change(key, Missing::Skip, |set: &mut SortedSet, edit: &mut Edit<'_>| {
                wanted.pop(set, edit, count, reply);
            })?;
            wanted.end.leave_out(left, count);
        }
        if left.start == left.end && wanted.tells {
            exec.tell(key, wanted.end.event());
        }
        Ok(Progress::done_if(left.start == left.end))
    }
}

pub(super) fn zmpop(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let (keys, wanted) = zmpop_options(args, 1)?;
    if !pop_from_first(exec, args, 2..2 + keys, wanted, reply)? {
        reply.null_array();
    }
    Ok(())
}

/// How many keys there are, as argument `at` says, and what is popped.
fn zmpop_options(args: &Args<'_>, at: usize) -> Result<(usize, Wanted), Error> {
    let keys = at_least(args.at(at), 1, "ERR numkeys should be greater than 0")?;
    let end = match keys.checked_add(at + 1).and_then(|at| args.get(at)) {
        Some(word) if word.eq_ignore_ascii_case(b"min") => End::Min,
        Some(word) if word.eq_ignore_ascii_case(b"max") => End::Max,
        Some(_) | None => return Err(Error::Syntax),
    };
    let mut rest = args.from(keys + at + 2);
    let mut count = None;
    while let Some(word) = rest.next() {
        let number = rest.next().filter(|_| count.is_none() && word.eq_ignore_ascii_case(b"count"));
        let number = number.ok_or(Error::Syntax)?;
        count = Some(at_least(number, 1, "ERR count should be greater than 0")?);
    }
    let count = count.unwrap_or(1);
    let wanted = Wanted { end, count, shape: Shape::Pairs, form: Form::Named, tells: true };
    Ok((keys, wanted))
}

/// Pops from the first sorted set that is there, of the keys that these arguments name; whether there is one.
fn pop_from_first(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    names: Range<usize>,
    wanted: Wanted,
    reply: &mut Reply<'_>,
) -> Result<bool, Error> {
    for at in names {
        if wanted.pop_from(exec, args, at, reply)? {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn bzmpop(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let (keys, wanted) = zmpop_options(args, 2)?;
    let wait_ms = timeout_ms(args.at(1))?;
    pop_or_wait(exec, args, 3..3 + keys, (wanted, wait_ms), reply)
}

pub(super) fn bzpopmin(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    pop_one(exec, args, End::Min, reply)
}

pub(super) fn bzpopmax(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    pop_one(exec, args, End::Max, reply)
}

fn pop_one(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    end: End,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let last = args.len() - 1;
    let wait_ms = timeout_ms(args.at(last))?;
    let wanted = Wanted { end, count: 1, shape: Shape::Flat, form: Form::One, tells: true };
    pop_or_wait(exec, args, 1..last, (wanted, wait_ms), reply)
}

fn pop_or_wait(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    names: Range<usize>,
    (wanted, wait_ms): (Wanted, u64),
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    if !pop_from_first(exec, args, names, wanted, reply)? {
        exec.handover.wait_ms = Some(wait_ms);
        reply.null_array();
    }
    Ok(())
}
