//! `ZPOPMIN`, `ZPOPMAX`, `ZMPOP`: members are answered and removed.

use super::Shape;
use crate::cache::Missing;
use crate::collection::{Collection, Digits, Edit, Element, SortedSet};
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
    let key = exec.key(args.at(1));
    let popped = exec.change(key, Missing::Skip, |set: &mut SortedSet, edit: &mut Edit<'_>| {
        pop_some(set, edit, (end, count), shape, reply);
    })?;
    if popped.is_none() {
        reply.array(0);
    }
    Ok(())
}

/// A number that is not below `least`.
fn at_least(arg: &[u8], least: i64, otherwise: &'static str) -> Result<usize, Error> {
    let number = parse_i64(arg).filter(|number| *number >= least);
    number.and_then(|number| usize::try_from(number).ok()).ok_or(Error::Static(otherwise))
}

/// Removes up to so many members from an end, and answers them in the order in which they go.
fn pop_some(
    set: &mut SortedSet,
    edit: &mut Edit<'_>,
    (end, count): (End, usize),
    shape: Shape,
    reply: &mut Reply<'_>,
) {
    let count = count.min(set.len());
    shape.write_head(count, reply);
    let mut digits = Digits::new();
    let mut write = |member: Element<'_>, score| {
        shape.write(member.bytes(&mut digits), score, reply);
    };
    match end {
        End::Min => set.remove_ranks(0..count, edit, write),
        End::Max => {
            let left = set.len() - count;
            for rank in (left..set.len()).rev() {
                set.remove_ranks(rank..rank + 1, edit, &mut write);
            }
        }
    }
}

pub(super) fn zmpop(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let keys = at_least(args.at(1), 1, "ERR numkeys should be greater than 0")?;
    let end = match keys.checked_add(2).and_then(|at| args.get(at)) {
        Some(word) if word.eq_ignore_ascii_case(b"min") => End::Min,
        Some(word) if word.eq_ignore_ascii_case(b"max") => End::Max,
        Some(_) | None => return Err(Error::Syntax),
    };
    let mut rest = args.from(keys + 3);
    let mut count = None;
    while let Some(word) = rest.next() {
        let number = rest.next().filter(|_| count.is_none() && word.eq_ignore_ascii_case(b"count"));
        let number = number.ok_or(Error::Syntax)?;
        count = Some(at_least(number, 1, "ERR count should be greater than 0")?);
    }
    for name in args.from(2).take(keys) {
        let key = exec.key(name);
        let popped =
            exec.change(key, Missing::Skip, |set: &mut SortedSet, edit: &mut Edit<'_>| {
                reply.array(2);
                reply.bulk(name);
                pop_some(set, edit, (end, count.unwrap_or(1)), Shape::Pairs, reply);
            })?;
        if popped.is_some() {
            return Ok(());
        }
    }
    reply.null_array();
    Ok(())
}
