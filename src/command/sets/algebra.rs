//! What several sets have in common, have together, or have and others have not: answered, counted or kept.
//!
//! The sets are walked over in steps (`steps`), so that sets of millions need not hold a core for as long as it
//! takes. Between two steps nobody changes them.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Range;

use crate::collection::set::View;
use crate::collection::table::{Nothing, Table};
use crate::collection::{Digits, Element, Garbage, Set};
use crate::command::elements::reply_element;
use crate::command::events;
use crate::command::numbers::parse_i64;
use crate::command::steps::{self, Progress, Steps};
use crate::command::storing::Storing;
use crate::command::strings::reply_length;
use crate::command::{Error, Exec};
use crate::limits::STEP_ELEMENTS;
use crate::protocol::{Args, Reply};

/// How a set is made of several, the first of them apart.
#[derive(Clone, Copy, Debug)]
enum Operation {
    /// Of the members that all have.
    Intersection,
    /// Of all members.
    Union,
    /// Of the members of the first that no other has.
    Difference,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Answer,
    /// Its members are counted, up to so many.
    Count(usize),
    /// It is kept under the first key, by the command of this name.
    Store(&'static str),
}

/// A set that is being made.
#[derive(Debug)]
struct Making {
    purpose: Purpose,
    /// The arguments that name the sets.
    names: Range<usize>,
    plan: Plan,
    /// Which of the walked sets is being walked over, and from where on.
    at: usize,
    cursor: usize,
    made: Made,
    /// Whether it has been answered how many members come.
    has_head: bool,
}

/// What is to be done; sets are named by their places among all of them.
#[derive(Debug)]
struct Plan {
    /// The sets that are walked over, one after the other.
    walked: Vec<usize>,
    /// The sets in which each member is looked for.
    searched: Vec<usize>,
    each: Each,
}

/// What is done with each member of a walked set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Each {
    /// It is kept if all searched sets have it.
    KeepIfInAll,
    /// It is kept if none of them has it.
    KeepIfInNone,
    /// It is kept, once.
    Keep,
    /// It is kept if the set is the first that is walked over, and given up otherwise.
    KeepOrGiveUp,
}

/// The members that have come out.
#[derive(Debug)]
enum Made {
    /// As they are answered, where none can come twice.
    Replies {
        /// A part for each step.
        encoded: VecDeque<Vec<u8>>,
        count: usize,
    },
    Counted(usize),
    Table(Table<Nothing>),
    /// They are on their way under the first key.
    Stored(Storing),
}

// --- commands ------------------------------------------------------------------------------------

pub(super) fn sinter(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    make(exec, args, reply, (Operation::Intersection, Purpose::Answer, 1..args.len()))
}

pub(super) fn sunion(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    make(exec, args, reply, (Operation::Union, Purpose::Answer, 1..args.len()))
}

pub(super) fn sdiff(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    make(exec, args, reply, (Operation::Difference, Purpose::Answer, 1..args.len()))
}

pub(super) fn sinterstore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    make(exec, args, reply, (Operation::Intersection, Purpose::Store("sinterstore"), 2..args.len()))
}

pub(super) fn sunionstore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    make(exec, args, reply, (Operation::Union, Purpose::Store("sunionstore"), 2..args.len()))
}

pub(super) fn sdiffstore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    make(exec, args, reply, (Operation::Difference, Purpose::Store("sdiffstore"), 2..args.len()))
}

pub(super) fn sintercard(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    const NO_COUNT: Error = Error::Static("ERR numkeys should be greater than 0");
    const TOO_MANY: Error =
        Error::Static("ERR Number of keys can't be greater than number of args");
    let number = |arg| parse_i64(arg).and_then(|number| usize::try_from(number).ok());
    let key_count = number(args.at(1)).filter(|&count| count > 0).ok_or(NO_COUNT)?;
    if key_count > args.len() - 2 {
        return Err(TOO_MANY);
    }
    let mut limit = 0;
    let mut options = args.from(2 + key_count);
    while let Some(option) = options.next() {
        if !option.eq_ignore_ascii_case(b"limit") {
            return Err(Error::Syntax);
        }
        let most = options.next().ok_or(Error::Syntax)?;
        limit = number(most).ok_or(Error::Static("ERR LIMIT can't be negative"))?;
    }
    let limit = if limit == 0 { usize::MAX } else { limit };
    make(exec, args, reply, (Operation::Intersection, Purpose::Count(limit), 2..2 + key_count))
}

fn make(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    (operation, purpose, names): (Operation, Purpose, Range<usize>),
) -> Result<(), Error> {
    // What is stored is walked over as other sets are (`SSCAN`).
    let seed = exec.keyspace(exec.key(args.at(names.start))).element_seed();
    for name in args.from(names.start).take(names.len()) {
        exec.meet::<Set>(exec.key(name))?;
    }
    let lengths: Vec<_> = sets(exec, args, &names).iter().map(|set| set.map(View::len)).collect();
    let plan = Plan::of(operation, &lengths);
    let made = match purpose {
        Purpose::Count(_) => Made::Counted(0),
        Purpose::Answer if plan.keeps_each_once() => {
            Made::Replies { encoded: VecDeque::new(), count: 0 }
        }
        Purpose::Answer | Purpose::Store(_) => Made::Table(Table::new(seed)),
    };
    let has_head = false;
    let making = Making { purpose, names, plan, at: 0, cursor: 0, made, has_head };
    steps::run(exec, args, reply, making)
}

/// The sets that some arguments name, absent ones as none.
fn sets<'e>(exec: &'e Exec<'_>, args: &Args<'_>, names: &Range<usize>) -> Vec<Option<View<'e>>> {
    let names = args.from(names.start).take(names.len());
    names.map(|name| exec.peek::<Set>(exec.key(name))).collect()
}

// --- what is to be done --------------------------------------------------------------------------

impl Plan {
    const NOTHING: Self =
        Self { walked: Vec::new(), searched: Vec::new(), each: Each::KeepIfInAll };

    /// For sets with so many members; absent ones have none.
    fn of(operation: Operation, lengths: &[Option<usize>]) -> Self {
        match operation {
            Operation::Intersection => Self::intersection(lengths),
            Operation::Union => Self::union(lengths),
            Operation::Difference => Self::difference(lengths),
        }
    }

    /// Looks for the members of the smallest set in the others.
    fn intersection(lengths: &[Option<usize>]) -> Self {
        if lengths.contains(&None) {
            return Self::NOTHING;
        }
        let mut searched: Vec<_> = (0..lengths.len()).collect();
        searched.sort_by_key(|set| lengths[*set]);
        let walked = searched.drain(..1).collect();
        Self { walked, searched, each: Each::KeepIfInAll }
    }

    fn union(lengths: &[Option<usize>]) -> Self {
        let walked: Vec<_> = present(lengths).collect();
        let each = if walked.len() == 1 { Each::KeepIfInAll } else { Each::Keep };
        Self { walked, searched: Vec::new(), each }
    }

    /// As Redis, either looks for each member of the first set in the others, the largest of them first, or takes
    /// the members of the others out of a copy of the first, whichever seems to be less work.
    fn difference(lengths: &[Option<usize>]) -> Self {
        let Some(Some(first)) = lengths.first() else { return Self::NOTHING };
        let mut others: Vec<_> = present(lengths).filter(|set| *set > 0).collect();
        let looks = first * (1 + others.len()) / 2;
        let removals = lengths.iter().flatten().sum();
        if looks <= removals {
            others.sort_by_key(|set| Reverse(lengths[*set]));
            return Self { walked: vec![0], searched: others, each: Each::KeepIfInNone };
        }
        others.insert(0, 0);
        Self { walked: others, searched: Vec::new(), each: Each::KeepOrGiveUp }
    }

    /// Whether no member is kept twice, or given up again.
    fn keeps_each_once(&self) -> bool {
        matches!(self.each, Each::KeepIfInAll | Each::KeepIfInNone)
    }
}

fn present(lengths: &[Option<usize>]) -> impl Iterator<Item = usize> {
    lengths.iter().enumerate().filter_map(|(set, length)| length.map(|_| set))
}

// --- doing it ------------------------------------------------------------------------------------

impl Steps for Making {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        if self.is_enough() {
            (self.at, self.cursor) = (self.plan.walked.len(), 0);
        } else if self.at < self.plan.walked.len() {
            self.walk(exec, args, reply);
            return Ok(Progress::Begun);
        }
        match (self.purpose, &mut self.made) {
            (Purpose::Store(name), Made::Table(table)) => {
                let members = std::mem::replace(table, Table::new(0));
                let (key, event) = (exec.key(args.at(1)), events::stored_set(name));
                let keyspace = exec.keyspace(key);
                let (thresholds, seed) = (keyspace.thresholds(), keyspace.element_seed());
                let set = Set::of_members(members, &thresholds, seed);
                self.made = Made::Stored(Storing::new(exec, args, (1, event), set));
                Ok(Progress::Begun)
            }
            (_, Made::Stored(storing)) => storing.step(exec, args, reply),
            _ => Ok(self.answer(reply)),
        }
    }

    fn take_garbage(&mut self) -> Vec<Box<dyn Garbage>> {
        let garbage: Option<Box<dyn Garbage>> = match &mut self.made {
            Made::Table(table) => Some(Box::new(std::mem::replace(table, Table::new(0)))),
            Made::Stored(storing) => storing.garbage(),
            Made::Replies { .. } | Made::Counted(_) => None,
        };
        garbage.into_iter().collect()
    }
}

impl Making {
    /// Whether the sets that have not been walked over can't change what comes out.
    fn is_enough(&self) -> bool {
        match (&self.made, self.purpose) {
            (Made::Counted(count), Purpose::Count(most)) => *count >= most,
            (Made::Table(table), _) => {
                let is_walking = (1..self.plan.walked.len()).contains(&self.at);
                self.plan.each == Each::KeepOrGiveUp && is_walking && table.is_empty()
            }
            _ => false,
        }
    }

    /// Looks at some members of the set whose turn it is.
    fn walk(&mut self, exec: &Exec<'_>, args: &Args<'_>, reply: &Reply<'_>) {
        let sets = sets(exec, args, &self.names);
        let Plan { walked, searched, each } = &self.plan;
        let searched: Vec<_> = searched.iter().filter_map(|set| sets[*set]).collect();
        let is_wanted = |member: &Element<'_>| match each {
            Each::KeepIfInAll => searched.iter().all(|set| set.contains(*member)),
            Each::KeepIfInNone => !searched.iter().any(|set| set.contains(*member)),
            Each::Keep => true,
            Each::KeepOrGiveUp => self.at == 0,
        };
        let (made, proto) = (&mut self.made, reply.proto());
        if let Made::Replies { encoded, .. } = made {
            encoded.push_back(Vec::new());
        }
        let visit = |member: Element<'_>| match (is_wanted(&member), &mut *made) {
            (true, Made::Replies { encoded, count }) => {
                let part = encoded.back_mut().expect("there is one for this step");
                reply_element(&mut Reply::new(part, proto), member);
                *count += 1;
            }
            (true, Made::Counted(count)) => *count += 1,
            (true, Made::Table(table)) => {
                table.insert_new(member.bytes(&mut Digits::new()), ());
            }
            (false, Made::Table(table)) if *each == Each::KeepOrGiveUp => {
                table.remove(member.bytes(&mut Digits::new()));
            }
            _ => {}
        };
        let set = sets[walked[self.at]];
        self.cursor = set.map_or(0, |set| set.pass(self.cursor, STEP_ELEMENTS, visit));
        if self.cursor == 0 {
            self.at += 1;
        }
    }

    /// Answers what has come out, some of it if it is much.
    fn answer(&mut self, reply: &mut Reply<'_>) -> Progress {
        match &mut self.made {
            Made::Replies { encoded, count } => {
                if !self.has_head {
                    reply.set(*count);
                    self.has_head = true;
                }
                reply.raw(&encoded.pop_front().unwrap_or_default());
                return Progress::done_if(encoded.is_empty());
            }
            Made::Counted(count) => {
                let limit = if let Purpose::Count(limit) = self.purpose { limit } else { *count };
                reply_length(reply, (*count).min(limit));
            }
            Made::Table(table) => {
                if self.cursor == 0 {
                    reply.set(table.len());
                }
                let visit = |member: &[u8], ()| reply.bulk(member);
                self.cursor = table.pass(self.cursor, STEP_ELEMENTS, visit);
                return Progress::done_if(self.cursor == 0);
            }
            Made::Stored(_) => unreachable!("what is stored is not answered"),
        }
        Progress::Done
    }
}
