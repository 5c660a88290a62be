//! Unions, intersections and differences of sorted sets. Sets may be among them, with a score of 1 for each member.

use super::Shape;
use crate::collection::table::{Table, Word};
use crate::collection::{Digits, Edit, Element, Set, SortedSet, Value, set, sorted_set};
use crate::command::numbers::{integer, parse_i64};
use crate::command::strings::reply_length;
use crate::command::{Error, Exec};
use crate::double;
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

    fn elements(self) -> impl Iterator<Item = (Element<'a>, f64)> {
        let (set, sorted) = match self {
            Self::Absent => (None, None),
            Self::Set(set) => (Some(set), None),
            Self::SortedSet(sorted) => (None, Some(sorted)),
        };
        let set = set.into_iter().flat_map(set::View::iter).map(|member| (member, 1.0));
        set.chain(sorted.into_iter().flat_map(|sorted| sorted.elements(0..sorted.len())))
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

type Elements = Vec<(Vec<u8>, f64)>;

fn union(inputs: &[(Input<'_>, f64)], aggregate: Aggregate, seed: u64) -> Elements {
    let mut scores: Table<Word> = Table::new(seed);
    for (input, weight) in inputs {
        for (member, score) in input.elements() {
            let mut digits = Digits::new();
            let (member, score) = (member.bytes(&mut digits), zero_if_nan(weight * score));
            match scores.seek(member) {
                Err(vacant) => scores.add(vacant, member, score.to_bits()),
                Ok(spot) => {
                    let other = f64::from_bits(scores.entry(spot).1);
                    scores.set(spot, member, aggregate.of(other, score).to_bits());
                }
            }
        }
    }
    scores.iter().map(|(member, score)| (member.to_vec(), f64::from_bits(score))).collect()
}

/// Calls `visit` with each member that all have, and its score, until it answers false.
fn intersect<'a>(
    inputs: &[(Input<'a>, f64)],
    aggregate: Aggregate,
    mut visit: impl FnMut(Element<'a>, f64) -> bool,
) {
    let Some(((smallest, weight), others)) = inputs.split_first() else { return };
    for (member, score) in smallest.elements() {
        let combined =
            others.iter().try_fold(zero_if_nan(weight * score), |score, (other, weight)| {
                other.score(member).map(|other| aggregate.of(score, weight * other))
            });
        if let Some(score) = combined
            && !visit(member, score)
        {
            return;
        }
    }
}

fn difference(inputs: &[(Input<'_>, f64)]) -> Elements {
    let Some(((first, _), others)) = inputs.split_first() else { return Vec::new() };
    let is_alone = |member| others.iter().all(|(other, _)| other.score(member).is_none());
    let alone = first.elements().filter(|(member, _)| is_alone(*member));
    alone.map(|(member, score)| (member.to_vec(), score)).collect()
}

/// Members and scores in order, and whether scores are to be answered.
fn combine(exec: &mut Exec<'_>, args: &Args<'_>, form: Form) -> Result<(Elements, bool), Error> {
    let keys = form.keys(args)?;
    meet(exec, args, keys.clone())?;
    let options = Options::parse(args, form, keys.clone())?;
    let seed = exec.random(exec.key(args.at(keys.start))).next();
    let inputs = inputs(exec, args, form, &options.weights);
    let mut elements = match form.operation {
        Operation::Union => union(&inputs, options.aggregate, seed),
        Operation::Diff => difference(&inputs),
        Operation::Inter => {
            let mut elements = Vec::new();
            intersect(&inputs, options.aggregate, |member, score| {
                elements.push((member.to_vec(), score));
                true
            });
            elements
        }
    };
    elements.sort_by(|(member, score), (other, other_score)| {
        score.partial_cmp(other_score).unwrap_or(Ordering::Equal).then_with(|| member.cmp(other))
    });
    Ok((elements, options.with_scores))
}

fn answer(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    (name, operation): (&'static str, Operation),
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let form = Form { name, operation, count_at: 1, counts: false };
    let (elements, with_scores) = combine(exec, args, form)?;
    let shape = Shape::of(with_scores, reply.proto());
    shape.write_head(elements.len(), reply);
    for (member, score) in &elements {
        shape.write(member, *score, reply);
    }
    Ok(())
}

fn store(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    (name, operation): (&'static str, Operation),
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let form = Form { name, operation, count_at: 2, counts: false };
    let (elements, _) = combine(exec, args, form)?;
    keep(exec, args.at(1), &elements);
    reply_length(reply, elements.len());
    Ok(())
}

/// Has `name` hold these elements, which are in order, and nothing else.
pub(super) fn keep(exec: &mut Exec<'_>, name: &[u8], elements: &[(Vec<u8>, f64)]) {
    let key = exec.key(name);
    if elements.is_empty() {
        exec.delete(key);
        return;
    }
    exec.replace(key, |set: &mut SortedSet, edit: &mut Edit<'_>| {
        for (member, score) in elements {
            set.put(member, *score, edit);
        }
    });
}

pub(super) fn zunion(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    answer(exec, args, ("zunion", Operation::Union), reply)
}

pub(super) fn zinter(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    answer(exec, args, ("zinter", Operation::Inter), reply)
}

pub(super) fn zdiff(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    answer(exec, args, ("zdiff", Operation::Diff), reply)
}

pub(super) fn zunionstore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    store(exec, args, ("zunionstore", Operation::Union), reply)
}

pub(super) fn zinterstore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    store(exec, args, ("zinterstore", Operation::Inter), reply)
}

pub(super) fn zdiffstore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    store(exec, args, ("zdiffstore", Operation::Diff), reply)
}

pub(super) fn zintercard(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let operation = Operation::Inter;
    let form = Form { name: "zintercard", operation, count_at: 1, counts: true };
    let keys = form.keys(args)?;
    meet(exec, args, keys.clone())?;
    let options = Options::parse(args, form, keys)?;
    let mut count = 0;
    intersect(&inputs(exec, args, form, &options.weights), options.aggregate, |_, _| {
        count += 1;
        count != options.limit
    });
    reply_length(reply, count);
    Ok(())
}
