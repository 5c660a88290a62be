//! Unions, intersections and differences of sorted sets. Sets may be among them, with a score of 1 for each member.
//!
//! They are made in steps (`steps`): what comes out of walking over the sets is put in order, then answered or kept.

use super::Shape;
use super::made::Made;
use crate::collection::table::{Table, Word};
use crate::collection::{Digits, Element, Garbage, Set, SortedSet, Value, set, sorted_set};
use crate::command::events;
use crate::command::numbers::{integer, parse_i64};
use crate::command::sorter::Sorter;
use crate::command::steps::{self, Progress, Steps};
use crate::command::storing::Storing;
use crate::command::strings::reply_length;
use crate::command::{Error, Exec};
use crate::double;
use crate::limits::{STEP_ELEMENTS, STEP_LONG_ELEMENTS};
use crate::protocol::{Args, Reply};
use std::cmp::Ordering;
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// How the scores of one member are made one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn named(word: &[u8]) -> Result<Self, Error> {
        let names: [(&[u8], Self); 3] =
            [(b"sum", Self::Sum), (b"min", Self::Min), (b"max", Self::Max)];
        let found = names.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        found.map(|(_, aggregate)| *aggregate).ok_or(Error::Syntax)
    }

    /// A sum of opposite infinities is zero.
    fn of(self, score: f64, other: f64) -> f64 {
        match self {
            Self::Sum => zero_if_nan(score + other),
            Self::Min if other < score => other,
            Self::Max if other > score => other,
            Self::Min | Self::Max => score,
        }
    }
}

fn zero_if_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// What a command's name says already; the rest is options.
#[derive(Clone, Copy, Debug)]
struct Form {
    name: &'static str,
    operation: Operation,
    /// Index of the argument that is the number of keys.
    count_at: usize,
    /// Only the number of members is asked for.
    counts: bool,
}

impl Form {
    fn answer(name: &'static str, operation: Operation) -> Self {
        Self { name, operation, count_at: 1, counts: false }
    }

    fn store(name: &'static str, operation: Operation) -> Self {
        Self { count_at: 2, ..Self::answer(name, operation) }
    }

    fn stores(self) -> bool {
        self.count_at == 2
    }

    /// The arguments that are the keys of what is combined.
    fn keys(self, args: &Args<'_>) -> Result<Range<usize>, Error> {
        let first = self.count_at + 1;
        let count = integer(args.at(self.count_at))?;
        if count < 1 {
            let text = format!("ERR at least 1 input key is needed for '{}' command", self.name);
            return Err(Error::Text(text));
        }
        let count = usize::try_from(count).map_err(|_| Error::Syntax)?;
        if count > args.len() - first {
            return Err(Error::Syntax);
        }
        Ok(first..first + count)
    }
}

/// What may follow the keys.
#[derive(Debug)]
struct Options {
    /// One for each key.
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Where counting ends; 0 for nowhere.
    limit: usize,
}

impl Options {
    fn parse(args: &Args<'_>, form: Form, keys: Range<usize>) -> Result<Self, Error> {
        let combines = form.operation != Operation::Diff && !form.counts;
        let mut options = Self {
            weights: vec![1.0; keys.len()],
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: 0,
        };
        let mut rest = args.from(keys.end);
        while let Some(word) = rest.next() {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if combines && is(b"weights") && rest.len() >= keys.len() {
                for (weight, text) in options.weights.iter_mut().zip(&mut rest) {
                    let invalid = Error::Static("ERR weight value is not a float");
                    *weight = double::parse(text).ok_or(invalid)?;
                }
            } else if combines && is(b"aggregate") && rest.len() > 0 {
                options.aggregate = Aggregate::named(rest.next().unwrap_or_default())?;
            } else if !form.stores() && !form.counts && is(b"withscores") {
                options.with_scores = true;
            } else if form.counts && is(b"limit") && rest.len() > 0 {
                let limit = rest.next().and_then(parse_i64);
                let limit = limit.and_then(|limit| usize::try_from(limit).ok());
                options.limit = limit.ok_or(Error::Static("ERR LIMIT can't be negative"))?;
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(options)
    }
}

/// One of the sets that are combined.
#[derive(Clone, Copy, Debug)]
enum Input<'a> {
    Absent,
    Set(set::View<'a>),
    SortedSet(sorted_set::View<'a>),
}

impl<'a> Input<'a> {
    fn len(self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Set(set) => set.len(),
            Self::SortedSet(set) => set.len(),
        }
    }

    /// Visits about `count` members from `cursor` on, as [`set::View::scan`] does.
    fn scan(self, cursor: u64, count: usize, mut visit: impl FnMut(Element<'a>, f64)) -> u64 {
        match self {
            Self::Absent => 0,
            Self::Set(set) => set.scan(cursor, count, |member| visit(member, 1.0)),
            Self::SortedSet(set) => set.scan(cursor, count, visit),
        }
    }

    fn score(self, member: Element<'_>) -> Option<f64> {
        match self {
            Self::Absent => None,
            Self::Set(set) => set.contains(member).then_some(1.0),
            Self::SortedSet(sorted) => sorted.score(member.bytes(&mut Digits::new())),
        }
    }
}

/// Looks the keys up as reads; they are looked at together afterwards.
fn meet(exec: &mut Exec<'_>, args: &Args<'_>, keys: Range<usize>) -> Result<(), Error> {
    for name in args.from(keys.start).take(keys.len()) {
        let key = exec.key(name);
        if let Some(Value::Set(_)) = exec.peek_value(key) {
            exec.meet::<Set>(key)?;
        } else {
            exec.meet::<SortedSet>(key)?;
        }
    }
    Ok(())
}

/// The sets with their weights; in order of their sizes where that makes no difference but to the rounding of sums.
fn inputs<'e>(
    exec: &'e Exec<'_>,
    args: &Args<'_>,
    form: Form,
    weights: &[f64],
) -> Vec<(Input<'e>, f64)> {
    let names = args.from(form.count_at + 1).zip(weights);
    let mut inputs: Vec<_> = names
        .map(|(name, weight)| match exec.peek_value(exec.key(name)) {
            Some(Value::Set(set)) => (Input::Set(set), *weight),
            Some(Value::SortedSet(set)) => (Input::SortedSet(set), *weight),
            Some(Value::String(_) | Value::List(_) | Value::Hash(_)) | None => {
                (Input::Absent, *weight)
            }
        })
        .collect();
    if form.operation != Operation::Diff {
        inputs.sort_by_key(|(input, _)| input.len());
    }
    inputs
}

/// Sorted sets that are being combined.
#[derive(Debug)]
struct Combining {
    form: Form,
    options: Options,
    /// Which of the inputs is being walked over, and from where on.
    at: usize,
    cursor: u64,
    /// The scores of a union's members so far, as their bits.
    scores: Table<Word>,
    /// Members that come out.
    sorter: Sorter<Scored>,
    /// How many do, where nothing else is asked for.
    count: usize,
    stage: Stage,
}

/// What is being done.
#[derive(Debug)]
enum Stage {
    /// Inputs are walked over.
    Walk,
    /// The members of a union are put in order.
    Order,
    /// All that comes out is put in order.
    Answer(Shape),
    /// The same is made a set.
    Make(Made),
    /// That is put under the first key.
    Store(Storing),
    Done,
}

/// A member with its score.
#[derive(Debug)]
struct Scored {
    score: f64,
    member: Vec<u8>,
}

/// The order of a sorted set.
fn by_score(one: &Scored, other: &Scored) -> Ordering {
    let by_score = one.score.partial_cmp(&other.score).unwrap_or(Ordering::Equal);
    by_score.then_with(|| one.member.cmp(&other.member))
}

fn combine(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    form: Form,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let keys = form.keys(args)?;
    meet(exec, args, keys.clone())?;
    let options = Options::parse(args, form, keys.clone())?;
    let seed = exec.random(exec.key(args.at(keys.start))).next();
    let combining = Combining {
        form,
        options,
        at: 0,
        cursor: 0,
        scores: Table::new(seed),
        sorter: Sorter::new(by_score),
        count: 0,
        stage: Stage::Walk,
    };
    steps::run(exec, args, reply, combining)
}

impl Steps for Combining {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let is_over = match &mut self.stage {
            Stage::Walk => self.walk(exec, args),
            Stage::Order => self.order(),
            Stage::Answer(shape) => {
                for Scored { score, member } in self.sorter.take_some(STEP_ELEMENTS) {
                    shape.write(&member, score, reply);
                }
                self.sorter.len() == 0
            }
            Stage::Make(made) => {
                for Scored { score, member } in self.sorter.take_some(STEP_LONG_ELEMENTS) {
                    made.put(&member, score);
                }
                self.sorter.len() == 0
            }
            Stage::Store(storing) => storing.step(exec, args, reply)? == Progress::Done,
            Stage::Done => return Ok(Progress::Done),
        };
        if is_over {
            self.next_stage(exec, args, reply);
        }
        Ok(Progress::done_if(matches!(self.stage, Stage::Done)))
    }

    fn take_garbage(&mut self) -> Vec<Box<dyn Garbage>> {
        let stored = match &mut self.stage {
            Stage::Store(storing) => storing.garbage(),
            Stage::Walk | Stage::Order | Stage::Answer(_) | Stage::Make(_) | Stage::Done => None,
        };
        let scores = std::mem::replace(&mut self.scores, Table::new(0));
        let gathered: [Box<dyn Garbage>; 2] = [Box::new(scores), Box::new(self.sorter.take_all())];
        gathered.into_iter().chain(stored).collect()
    }
}

impl Combining {
    /// Looks at some members of the inputs whose turn it is; whether that was all there is to look at.
    fn walk(&mut self, exec: &Exec<'_>, args: &Args<'_>) -> bool {
        let inputs = inputs(exec, args, self.form, &self.options.weights);
        let is_union = self.form.operation == Operation::Union;
        let walked = if is_union { inputs.len() } else { inputs.len().min(1) };
        let (aggregate, limit) = (self.options.aggregate, self.options.limit);
        let (scores, sorter, count) = (&mut self.scores, &mut self.sorter, &mut self.count);
        // Where others are looked into for each, there is as much more to be done.
        let others = if is_union { 2 } else { inputs.len().max(1) };
        let (most, mut looked_at) = ((STEP_ELEMENTS / others).max(1), 0);
        let is_enough = |count| limit != 0 && count >= limit;
        while self.at < walked && looked_at < most && !is_enough(*count) {
            let (input, weight) = inputs[self.at];
            let mut keep = |member: Element<'_>, score| match self.form.counts {
                true => *count += 1,
                false => sorter.add(Scored { score, member: member.to_vec() }),
            };
            // One for the input, which may be empty.
            looked_at += 1;
            self.cursor = input.scan(self.cursor, most - looked_at, |member, score| {
                looked_at += 1;
                let score = zero_if_nan(weight * score);
                match self.form.operation {
                    Operation::Union => add(scores, (member, score), aggregate),
                    Operation::Inter => {
                        let mut others = inputs[1..].iter();
                        let combined = others.try_fold(score, |score, (other, weight)| {
                            other.score(member).map(|other| aggregate.of(score, weight * other))
                        });
                        if let Some(score) = combined {
                            keep(member, score);
                        }
                    }
                    Operation::Diff => {
                        if inputs[1..].iter().all(|(other, _)| other.score(member).is_none()) {
                            keep(member, score);
                        }
                    }
                }
            });
            self.at += usize::from(self.cursor == 0);
        }
        self.at >= walked || is_enough(*count)
    }

    /// Puts some members of a union in order; whether these were the last.
    fn order(&mut self) -> bool {
        let sorter = &mut self.sorter;
        self.cursor = self.scores.scan(self.cursor, STEP_ELEMENTS, |member, score| {
            sorter.add(Scored { score: f64::from_bits(score), member: member.to_vec() });
        });
        self.cursor == 0
    }

    /// A stage is over: goes on with what comes next.
    fn next_stage(&mut self, exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) {
        let is_to_order = matches!(self.stage, Stage::Walk) && !self.scores.is_empty();
        self.stage = match &mut self.stage {
            Stage::Walk if is_to_order => Stage::Order,
            Stage::Walk if self.form.counts => {
                let limit = if self.options.limit == 0 { usize::MAX } else { self.options.limit };
                reply_length(reply, self.count.min(limit));
                Stage::Done
            }
            Stage::Walk | Stage::Order if self.form.stores() => {
                Stage::Make(Made::new(exec, exec.key(args.at(1))))
            }
            Stage::Walk | Stage::Order => {
                let shape = Shape::of(self.options.with_scores, reply.proto());
                shape.write_head(self.sorter.len(), reply);
                Stage::Answer(shape)
            }
            Stage::Make(made) => {
                let event = events::stored_sorted_set(self.form.name);
                Stage::Store(Storing::new(exec, args, (1, event), made.take()))
            }
            Stage::Answer(_) | Stage::Store(_) | Stage::Done => Stage::Done,
        };
    }
}

/// Adds a member to a union, or its score to the one that it has.
fn add(scores: &mut Table<Word>, (member, score): (Element<'_>, f64), aggregate: Aggregate) {
    let mut digits = Digits::new();
    let member = member.bytes(&mut digits);
    match scores.seek(member) {
        Err(vacant) => scores.add(vacant, member, score.to_bits()),
        Ok(spot) => {
            let other = f64::from_bits(scores.entry(spot).1);
            scores.set(spot, member, aggregate.of(other, score).to_bits());
        }
    }
}

pub(super) fn zunion(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    combine(exec, args, Form::answer("zunion", Operation::Union), reply)
}

pub(super) fn zinter(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    combine(exec, args, Form::answer("zinter", Operation::Inter), reply)
}

pub(super) fn zdiff(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    combine(exec, args, Form::answer("zdiff", Operation::Diff), reply)
}

pub(super) fn zunionstore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    combine(exec, args, Form::store("zunionstore", Operation::Union), reply)
}

pub(super) fn zinterstore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    combine(exec, args, Form::store("zinterstore", Operation::Inter), reply)
}

pub(super) fn zdiffstore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    combine(exec, args, Form::store("zdiffstore", Operation::Diff), reply)
}

pub(super) fn zintercard(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let form = Form { counts: true, ..Form::answer("zintercard", Operation::Inter) };
    combine(exec, args, form, reply)
}
