//! `ZPOPMIN`, `ZPOPMAX`, `ZMPOP`, and those that wait for a member: members are answered and removed.

use super::Shape;
use crate::cache::Missing;
use crate::collection::sorted_set::View;
use crate::collection::{Collection, Digits, Edit, Element, SortedSet};
use crate::command::blocking::timeout_ms;
use crate::command::events::{self, Event};
use crate::command::numbers::parse_i64;
use crate::command::{Error, Exec};
use crate::protocol::{Args, Reply};

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
    let wanted = Wanted { end, count, shape, form: Form::Members };
    if !wanted.pop_from(exec, args.at(1), reply)? {
        reply.array(0);
    }
    Ok(())
}

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
    /// Removes members and answers them in the order in which they go; false if the key is not there.
    fn pop_from(
        self,
        exec: &mut Exec<'_>,
        name: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<bool, Error> {
        let key = exec.key(name);
        if self.count > 1
            && let Some(set) = exec.peek::<SortedSet>(key)
            && set.len() <= self.count
        {
            // A set of which nothing is left is freed bit by bit later.
            self.write_all(set, name, reply);
            exec.delete(key);
            return Ok(true);
        }
        let popped =
            exec.change(key, Missing::Skip, |set: &mut SortedSet, edit: &mut Edit<'_>| {
                self.pop(set, edit, name, reply);
            })?;
        Ok(popped.is_some())
    }

    fn pop(self, set: &mut SortedSet, edit: &mut Edit<'_>, name: &[u8], reply: &mut Reply<'_>) {
        let count = self.count.min(set.len());
        self.write_head(count, name, reply);
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

    fn write_all(self, set: View<'_>, name: &[u8], reply: &mut Reply<'_>) {
        self.write_head(set.len(), name, reply);
        let elements = set.elements(0..set.len());
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

pub(super) fn zmpop(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let (keys, wanted) = zmpop_options(args, 1)?;
    if !pop_from_first(exec, args.from(2).take(keys), wanted, reply)? {
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
    Ok((keys, Wanted { end, count, shape: Shape::Pairs, form: Form::Named }))
}

/// Pops from the first sorted set that is there; whether there is one.
fn pop_from_first<'a>(
    exec: &mut Exec<'_>,
    names: impl Iterator<Item = &'a [u8]>,
    wanted: Wanted,
    reply: &mut Reply<'_>,
) -> Result<bool, Error> {
    for name in names {
        if wanted.pop_from(exec, name, reply)? {
            exec.tell(exec.key(name), wanted.end.event());
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
    pop_or_wait(exec, args.from(3).take(keys), (wanted, wait_ms), reply)
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
    let wanted = Wanted { end, count: 1, shape: Shape::Flat, form: Form::One };
    pop_or_wait(exec, args.from(1).take(last - 1), (wanted, wait_ms), reply)
}

fn pop_or_wait<'a>(
    exec: &mut Exec<'_>,
    names: impl Iterator<Item = &'a [u8]>,
    (wanted, wait_ms): (Wanted, u64),
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    if !pop_from_first(exec, names, wanted, reply)? {
        exec.handover.wait_ms = Some(wait_ms);
        reply.null_array();
    }
    Ok(())
}
