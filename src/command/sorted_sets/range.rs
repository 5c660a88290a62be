//! `ZRANGE` with its older forms, `ZRANGESTORE`, and the removal of ranges.
//!
//! Long ranges are answered, or copied, in steps (`steps`).

use super::made::Made;
use super::weighing::Weighing;
use super::{Shape, bounds};
use crate::cache::Missing;
use crate::collection::sorted_set::{Edge, View};
use crate::collection::{Digits, Edit, Garbage, SortedSet, Value};
use crate::command::elements;
use crate::command::events::{self, Event};
use crate::command::numbers::{integer, parse_i64};
use crate::command::steps::{self, Progress, Steps};
use crate::command::storing::Storing;
use crate::command::strings::reply_length;
use crate::command::{Error, Exec, Stepwise};
use crate::limits::{STEP_ELEMENTS, STEP_LONG_ELEMENTS};
use crate::protocol::{Args, Reply};
use std::ops::Range;

/// What the ends of a range are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// What a command's name says already; the rest is options.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// Index of the argument that is the key.
    key: usize,
    by: Option<By>,
    reverse: Option<bool>,
    /// Elements are kept, not answered.
    stores: bool,
}

impl Form {
    const ANY: Self = Self { key: 1, by: None, reverse: None, stores: false };
    const STORE: Self = Self { key: 2, stores: true, ..Self::ANY };

    const fn of(by: By, reverse: bool) -> Self {
        Self { by: Some(by), reverse: Some(reverse), ..Self::ANY }
    }
}

/// What a command asks for.
#[derive(Clone, Copy, Debug)]
struct Query<'a> {
    ends: Ends<'a>,
    reverse: bool,
    with_scores: bool,
    limit: (i64, i64),
}

#[derive(Clone, Copy, Debug)]
enum Ends<'a> {
    Ranks(i64, i64),
    Edges(Edge<'a>, Edge<'a>),
}

impl Ends<'_> {
    /// The ranks in the range, counted in order.
    fn ranks(self, set: View<'_>, reverse: bool) -> Range<usize> {
        let count = set.len();
        match self {
            Self::Edges(from, to) => set.between(from, to),
            Self::Ranks(start, stop) => {
                let ranks = bounds::ranks(start, stop, count);
                if reverse { count - ranks.end..count - ranks.start } else { ranks }
            }
        }
    }
}

impl<'a> Query<'a> {
    const NO_LIMIT: (i64, i64) = (0, -1);

    fn parse(args: &Args<'a>, form: Form) -> Result<Self, Error> {
        let (mut by, mut reverse) = (form.by, form.reverse);
        let (mut with_scores, mut limit) = (false, Self::NO_LIMIT);
        let mut rest = args.from(form.key + 3);
        while let Some(word) = rest.next() {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if !form.stores && is(b"withscores") {
                with_scores = true;
            } else if is(b"limit") && rest.len() >= 2 {
                let mut number = || integer(rest.next().unwrap_or_default());
                limit = (number()?, number()?);
            } else if reverse.is_none() && is(b"rev") {
                reverse = Some(true);
            } else if by.is_none() && is(b"bylex") {
                by = Some(By::Lex);
            } else if by.is_none() && is(b"byscore") {
                by = Some(By::Score);
            } else {
                return Err(Error::Syntax);
            }
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if by == By::Rank && limit.1 != -1 {
            let text = "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
            return Err(Error::Static(text));
        }
        if by == By::Lex && with_scores {
            let text = "ERR syntax error, WITHSCORES not supported in combination with BYLEX";
            return Err(Error::Static(text));
        }
        let ends = ends(by, args.at(form.key + 1), args.at(form.key + 2), reverse)?;
        Ok(Self { ends, reverse, with_scores, limit })
    }

    fn ranks(self, set: View<'_>) -> Range<usize> {
        let ranks = self.ends.ranks(set, self.reverse);
        match self.ends {
            Ends::Ranks(..) => ranks,
            Ends::Edges(..) => bounds::limited(ranks, self.limit, self.reverse),
        }
    }
}

/// Of what is asked for by rank, unless options say otherwise.
pub(super) const RANKS: Stepwise = Stepwise::if_asked(|args| match most(args, 4) {
    Most::Named => elements::covers_much(args),
    Most::Edges => true,
    Most::Few => false,
});
/// By score or name.
pub(super) const EDGES: Stepwise = Stepwise::if_asked(|args| !matches!(most(args, 4), Most::Few));
/// Of what is kept.
pub(super) const STORED: Stepwise = Stepwise::if_asked(|args| !matches!(most(args, 5), Most::Few));

/// What the options of a range say of how many elements it covers at most.
enum Most {
    /// As many as its ends say, unless they are scores or names.
    Named,
    /// They are scores or names.
    Edges,
    /// They are few: `LIMIT` says so.
    Few,
}

/// See [`Most`]; the options begin with this argument.
fn most(args: &Args<'_>, options: usize) -> Most {
    let mut most = Most::Named;
    let mut words = args.from(options.min(args.len()));
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case(b"byscore") || word.eq_ignore_ascii_case(b"bylex") {
            most = Most::Edges;
        }
        if word.eq_ignore_ascii_case(b"limit") {
            let count = words.nth(1).and_then(parse_i64).unwrap_or(0);
            if (0..=STEP_ELEMENTS as i64).contains(&count) {
                return Most::Few;
            }
        }
    }
    most
}

/// The ends of a range. In reverse the greater of two edges comes first.
fn ends<'a>(by: By, first: &'a [u8], second: &'a [u8], reverse: bool) -> Result<Ends<'a>, Error> {
    let (min, max) = if reverse { (second, first) } else { (first, second) };
    let (from, to) = match by {
        By::Rank => return Ok(Ends::Ranks(integer(first)?, integer(second)?)),
        By::Score => bounds::scores(min, max)?,
        By::Lex => bounds::members(min, max)?,
    };
    Ok(Ends::Edges(from, to))
}

fn answer(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    form: Form,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let query = Query::parse(args, form)?;
    let key = exec.key(args.at(form.key));
    let Some(set) = exec.read::<SortedSet>(key)? else {
        reply.array(0);
        return Ok(());
    };
    let (shape, ranks) = (Shape::of(query.with_scores, reply.proto()), query.ranks(set));
    shape.write_head(ranks.len(), reply);
    let mut rest = Rest { key: form.key, ranks, reverse: query.reverse, shape };
    if rest.ranks.len() > STEP_ELEMENTS {
        return steps::run(exec, args, reply, rest);
    }
    rest.write_some(set, reply);
    Ok(())
}

/// The elements of a range that are left to be answered.
#[derive(Debug)]
struct Rest {
    /// Index of the argument that is the key.
    key: usize,
    ranks: Range<usize>,
    reverse: bool,
    shape: Shape,
}

impl Rest {
    fn write_some(&mut self, set: View<'_>, reply: &mut Reply<'_>) {
        let Self { ranks, shape, .. } = self;
        let count = ranks.len().min(STEP_ELEMENTS);
        if self.reverse {
            let elements = set.elements(ranks.end - count..ranks.end).rev();
            elements.for_each(|element| shape.write_element(element, reply));
            ranks.end -= count;
        } else {
            let elements = set.elements(ranks.start..ranks.start + count);
            elements.for_each(|element| shape.write_element(element, reply));
            ranks.start += count;
        }
    }
}

impl Steps for Rest {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        if let Some(set) = exec.peek::<SortedSet>(exec.key(args.at(self.key))) {
            self.write_some(set, reply);
        }
        Ok(Progress::done_if(self.ranks.is_empty()))
    }
}

pub(super) fn zrange(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    answer(exec, args, Form::ANY, reply)
}

pub(super) fn zrevrange(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    answer(exec, args, Form::of(By::Rank, true), reply)
}

pub(super) fn zrangebyscore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    answer(exec, args, Form::of(By::Score, false), reply)
}

pub(super) fn zrevrangebyscore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    answer(exec, args, Form::of(By::Score, true), reply)
}

pub(super) fn zrangebylex(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    answer(exec, args, Form::of(By::Lex, false), reply)
}

pub(super) fn zrevrangebylex(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    answer(exec, args, Form::of(By::Lex, true), reply)
}

pub(super) fn zrangestore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let query = Query::parse(args, Form::STORE)?;
    let key = exec.key(args.at(2));
    let ranks = exec.read::<SortedSet>(key)?.map_or(0..0, |set| query.ranks(set));
    let made = Made::new(exec, exec.key(args.at(1)));
    steps::run(exec, args, reply, Copying { ranks, made, storing: None })
}

/// A range that is being copied: the two keys may be in different shards, or one key.
#[derive(Debug)]
struct Copying {
    /// Of the elements that have not been.
    ranks: Range<usize>,
    made: Made,
    /// All of it, once it is copied.
    storing: Option<Storing>,
}

impl Steps for Copying {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let Self { ranks, made, storing } = self;
        if let Some(storing) = storing {
            return storing.step(exec, args, reply);
        }
        let end = ranks.end.min(ranks.start + STEP_LONG_ELEMENTS);
        if let Some(set) = exec.peek::<SortedSet>(exec.key(args.at(2))) {
            for (member, score) in set.elements(ranks.start..end) {
                made.put(member.bytes(&mut Digits::new()), score);
            }
        }
        ranks.start = end;
        if ranks.start == ranks.end {
            let event = events::stored_sorted_set("zrangestore");
            *storing = Some(Storing::new(exec, args, (1, event), made.take()));
        }
        Ok(Progress::Begun)
    }

    fn take_garbage(&mut self) -> Vec<Box<dyn Garbage>> {
        self.storing.as_mut().and_then(Storing::garbage).into_iter().collect()
    }
}

// --- removal -------------------------------------------------------------------------------------

pub(super) fn zremrangebyrank(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    remove(exec, args, (By::Rank, events::ZREMRANGEBYRANK), reply)
}

pub(super) fn zremrangebyscore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    remove(exec, args, (By::Score, events::ZREMRANGEBYSCORE), reply)
}

pub(super) fn zremrangebylex(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    remove(exec, args, (By::Lex, events::ZREMRANGEBYLEX), reply)
}

fn remove(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    (by, event): (By, Event),
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let ends = ends(by, args.at(2), args.at(3), false)?;
    let key = exec.key(args.at(1));
    let (ranks, length, bytes_max) = match exec.peek_value(key) {
        Some(Value::SortedSet(set)) => (ends.ranks(set, false), set.len(), set.names_bytes_max()),
        None => (0..0, 0, 0),
        Some(_) => return Err(Error::WrongType),
    };
    if ranks.len() < length {
        let (start, count) = (ranks.start, ranks.len());
        let weighing = Weighing::begin(exec, key, ranks, bytes_max)?;
        return steps::run(
            exec,
            args,
            reply,
            Removing { event, weighing, start, left: count, count },
        );
    }
    // A set of which nothing is left is freed bit by bit later.
    if exec.delete(key) {
        exec.tell(key, event);
    }
    reply_length(reply, length);
    Ok(())
}

/// Elements of a range that are being removed.
#[derive(Debug)]
struct Removing {
    event: Event,
    /// Before any are.
    weighing: Option<Weighing>,
    /// The rank of the first.
    start: usize,
    /// How many are left of them.
    left: usize,
    count: usize,
}

impl Steps for Removing {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let (key, start) = (exec.key(args.at(1)), self.start);
        if Weighing::goes_on(&mut self.weighing, exec, key)? {
            return Ok(Progress::Begun);
        }
        let end = start + self.left.min(STEP_LONG_ELEMENTS);
        exec.change(key, Missing::Skip, |set: &mut SortedSet, edit: &mut Edit<'_>| {
            set.remove_ranks(start..end, edit, |_, _| {});
        })?;
        self.left -= end - start;
        if self.left > 0 {
            return Ok(Progress::Begun);
        }
        if self.count > 0 {
            exec.tell(key, self.event);
        }
        reply_length(reply, self.count);
        Ok(Progress::Done)
    }
}
