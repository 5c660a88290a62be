//! `SORT` and `SORT_RO`: the elements of a list, a set or a sorted set in another order.
//!
//! Elements are ordered by themselves or by what other keys hold (`BY`), and answered as they are or as what other
//! keys hold (`GET`): each pattern names a key for each element. The row can't tell these keys, so that with
//! patterns the command holds all shards. It is run in steps (`steps`): elements are copied with what they are ordered
//! by, put in order, and answered or stored.

mod order;

use std::ops::Range;

use super::elements::reply_element;
use super::events;
use super::exec::Exec;
use super::numbers::integer;
use super::sorter::Sorter;
use super::steps::{self, Progress, Steps};
use super::storing::Storing;
use super::{Command, DataHandler, Error, Flags, Group, Handler, Keys, Stepwise};
use crate::collection::list::End;
use crate::collection::{Collection, Edit, Element, Garbage, List, Value};
use crate::limits::STEP_LONG_ELEMENTS;
use crate::protocol::{Args, Reply};
use crate::types::{Slot, key_slot};
use order::{Weighed, Weight, ascending, descending, look_up};

type Answer = Result<(), Error>;

/// The commands of this group.
pub const COMMANDS: &[Command] = &[
    Command {
        flags: Flags::WRITE.union(Flags::DENYOOM).union(COMMON),
        keys: Keys::FirstAndStore,
        ..row("sort", sort)
    }
    .doc(
        "1.0.0",
        "Answers the elements of a list, a set or a sorted set in order, or stores them.",
    ),
    Command { flags: Flags::READONLY.union(COMMON), ..row("sort_ro", sort_ro) }
        .doc("7.0.0", "Answers the elements of a list, a set or a sorted set in order."),
];

const COMMON: Flags =
    Flags::MOVABLE_KEYS.union(Flags::DANGEROUS).union(Flags::LONG).union(Flags::STEPWISE);

const fn row(name: &'static str, handler: DataHandler) -> Command {
    Command {
        name,
        arity: -2,
        flags: Flags::empty(),
        keys: Keys::ONE,
        handler: Handler::KeyedOrAll(handler, names_patterns),
        group: Group::Generic,
        summary: "",
        since: "",
        steps: Some(Stepwise::SORTING),
        complexity: "O(N * log(N) + M) with the number of elements and the number of those answered",
    }
}

/// Options with a number of arguments of their own.
const OPTIONS: [(&[u8], usize); 4] = [(b"LIMIT", 2), (b"STORE", 1), (b"BY", 1), (b"GET", 1)];

/// Whether a request looks at keys that it does not name.
fn names_patterns(args: &Args<'_>) -> bool {
    let mut names = false;
    each_option(args, |option, at| {
        let is_pattern = args.get(at + 1).is_some_and(|pattern| pattern.contains(&b'*'));
        names |= matches!(option, b"BY" | b"GET") && is_pattern;
    });
    names
}

/// Where the key stands that the answer is stored at, if it is.
pub(super) fn store_position(args: &Args<'_>) -> Option<usize> {
    let mut position = None;
    each_option(args, |option, at| {
        if option == b"STORE" && at + 1 < args.len() {
            position = Some(at + 1);
        }
    });
    position
}

/// Calls `visit` with each option that takes arguments, and where it stands.
fn each_option(args: &Args<'_>, mut visit: impl FnMut(&[u8], usize)) {
    let mut at = 2;
    while let Some(word) = args.get(at) {
        let option = OPTIONS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        if let Some((name, taken)) = option {
            visit(name, at);
            at += taken;
        }
        at += 1;
    }
}

/// What follows the key. Arguments are named by their positions.
#[derive(Debug, Default)]
struct Options {
    by: Option<usize>,
    get: Vec<usize>,
    store: Option<usize>,
    /// How many elements are left out, and how many are answered at most; all if that is none.
    limit: (i64, Option<i64>),
    descending: bool,
    alpha: bool,
}

impl Options {
    fn parse(exec: &Exec<'_>, args: &Args<'_>, may_store: bool) -> Result<Self, Error> {
        let slot = exec.view.cluster.then(|| key_slot(args.at(1)));
        let leaves = |pattern: &[u8]| slot.is_some_and(|slot| !stays_in(pattern, slot));
        let (mut options, mut at) = (Self::default(), 2);
        while let Some(word) = args.get(at) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            at += 1;
            if is(b"ASC") || is(b"DESC") {
                options.descending = is(b"DESC");
                continue;
            } else if is(b"ALPHA") {
                options.alpha = true;
                continue;
            }
            let argument = args.get(at).ok_or(Error::Syntax)?;
            if is(b"LIMIT") {
                let count = args.get(at + 1).ok_or(Error::Syntax)?;
                options.limit = (integer(argument)?, Some(integer(count)?));
                at += 1;
            } else if is(b"STORE") && may_store {
                options.store = Some(at);
            } else if is(b"BY") {
                if argument.contains(&b'*') && leaves(argument) {
                    return Err(denied("BY"));
                }
                options.by = Some(at);
            } else if is(b"GET") {
                if argument != b"#" && leaves(argument) {
                    return Err(denied("GET"));
                }
                options.get.push(at);
            } else {
                return Err(Error::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }

    /// Which of `length` elements are answered.
    fn window(&self, length: usize) -> Range<usize> {
        let at_most = |number: i64| usize::try_from(number).map_or(length, |it| it.min(length));
        let start = at_most(self.limit.0.max(0));
        start..start + at_most(self.limit.1.unwrap_or(-1)).min(length - start)
    }
}

#[cold]
fn denied(option: &str) -> Error {
    Error::Text(format!(
        "ERR {option} option of SORT denied in cluster mode when keys formed by the pattern may be in different \
         slots."
    ))
}

/// Whether all keys that a pattern can name are of this slot: it has a hash tag before anything that is replaced, or
/// nothing is.
fn stays_in(pattern: &[u8], slot: Slot) -> bool {
    let fixed = pattern.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'));
    match fixed {
        None => key_slot(pattern) == slot,
        Some(end) => {
            let before = &pattern[..end];
            let tag = before.iter().position(|byte| *byte == b'{').map(|open| &before[open + 1..]);
            // `{}` is no tag: the whole key is hashed.
            tag.and_then(|tag| tag.iter().position(|byte| *byte == b'}')).is_some_and(|at| at > 0)
                && key_slot(before) == slot
        }
    }
}

// --- the commands --------------------------------------------------------------------------------

fn sort(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let options = Options::parse(exec, args, true)?;
    run(exec, args, options, reply)
}

fn sort_ro(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let options = Options::parse(exec, args, false)?;
    run(exec, args, options, reply)
}

fn run(exec: &mut Exec<'_>, args: &Args<'_>, options: Options, reply: &mut Reply<'_>) -> Answer {
    let (key, now, access) = (exec.key(args.at(1)), exec.now.unix, exec.read_access());
    // Counts as a lookup.
    exec.keyspace(key).contains(key, now, access);
    let (length, is_set) = match exec.peek_value(key) {
        None => (0, false),
        Some(Value::List(list)) => (list.len(), false),
        Some(Value::SortedSet(set)) => (set.len(), false),
        Some(Value::Set(set)) => (set.len(), true),
        Some(Value::String(_) | Value::Hash(_)) => return Err(Error::WrongType),
    };
    let sorting = Sorting::new(args, options, (length, is_set));
    steps::run(exec, args, reply, sorting)
}

// --- what is done --------------------------------------------------------------------------------

/// Elements that are being sorted.
#[derive(Debug)]
struct Sorting {
    options: Options,
    order: Order,
    /// Which of the elements are copied, and how many have been looked at.
    copied: Range<usize>,
    met: usize,
    /// Where to go on in a set.
    cursor: u64,
    sorter: Sorter<Weighed>,
    /// Which of those that have not been taken from there are answered.
    window: Range<usize>,
    stage: Stage,
}

/// How elements are ordered. By what a pattern gets for each if there is one, else by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// As they lie.
    None,
    /// As they lie, from the last to the first.
    Backwards,
    Numbers(Option<usize>),
    Texts(Option<usize>),
}

/// What is being done.
#[derive(Debug)]
enum Stage {
    /// Elements are copied.
    Copy,
    /// They are answered.
    Answer,
    /// What would be answered is put into a list.
    Make(List),
    /// That is put under the key that is named.
    Store(Storing),
    Done,
}

impl Steps for Sorting {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let is_over = match &mut self.stage {
            Stage::Copy => self.copy(exec, args)?,
            Stage::Answer => {
                self.answer(exec, args, reply);
                self.window.is_empty()
            }
            Stage::Make(_) => {
                self.make(exec, args);
                self.window.is_empty()
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
            Stage::Copy | Stage::Answer | Stage::Make(_) | Stage::Done => None,
        };
        let sorter: Box<dyn Garbage> = Box::new(self.sorter.take_all());
        std::iter::once(sorter).chain(stored).collect()
    }
}

impl Sorting {
    fn new(args: &Args<'_>, options: Options, (length, is_set): (usize, bool)) -> Self {
        let window = options.window(length);
        let by = options.by.filter(|by| args.at(*by).contains(&b'*'));
        let is_sorted = options.by.is_none() || by.is_some();
        let order = match (is_sorted, options.alpha) {
            // What is stored must not depend on where members happen to lie.
            (false, _) if is_set && options.store.is_some() => Order::Texts(None),
            (false, _) if options.descending && !is_set => Order::Backwards,
            (false, _) => Order::None,
            (true, true) => Order::Texts(by),
            (true, false) => Order::Numbers(by),
        };
        let (copied, window) = match order {
            Order::None | Order::Backwards => (window.clone(), 0..window.len()),
            Order::Numbers(_) | Order::Texts(_) => (0..length, window),
        };
        let (met, cursor) = (if is_set { 0 } else { copied.start }, 0);
        let sorter = Sorter::new(if options.descending { descending } else { ascending });
        let stage = Stage::Copy;
        Self { options, order, copied, met, cursor, sorter, window, stage }
    }

    /// Copies some elements; whether these were the last.
    fn copy(&mut self, exec: &Exec<'_>, args: &Args<'_>) -> Result<bool, Error> {
        let Self { order, copied, met, cursor, sorter, .. } = self;
        let mut result = Ok(());
        let mut copy = |element: Element<'_>| match Weight::of(exec, args, element, *order) {
            Ok(weight) => sorter.add(Weighed { weight, element: element.to_vec() }),
            Err(error) => result = Err(error),
        };
        let next = *met..copied.end.min(*met + STEP_LONG_ELEMENTS);
        let is_backwards = *order == Order::Backwards;
        *met = next.end;
        match exec.peek_value(exec.key(args.at(1))) {
            Some(Value::List(list)) if is_backwards => {
                let mut elements = Vec::with_capacity(next.len());
                list.visit(list.len() - next.end, next.len(), |element| elements.push(element));
                elements.into_iter().rev().for_each(copy);
            }
            Some(Value::List(list)) => list.visit(next.start, next.len(), copy),
            Some(Value::SortedSet(set)) if is_backwards => {
                let elements = set.elements(set.len() - next.end..set.len() - next.start);
                elements.rev().for_each(|(member, _)| copy(member));
            }
            Some(Value::SortedSet(set)) => set.elements(next).for_each(|(member, _)| copy(member)),
            Some(Value::Set(set)) => {
                *met = next.start;
                *cursor = set.scan(*cursor, STEP_LONG_ELEMENTS, |member| {
                    if copied.contains(met) {
                        copy(member);
                    }
                    *met += 1;
                });
            }
            Some(Value::String(_) | Value::Hash(_)) | None => {}
        }
        result.map(|()| self.met >= self.copied.end)
    }

    /// The next elements that are answered.
    fn taken(&mut self) -> Vec<Weighed> {
        let mut taken = Vec::new();
        let most = if self.window.is_empty() { 0 } else { STEP_LONG_ELEMENTS };
        for item in self.sorter.take_some(most) {
            if self.window.start == 0 {
                taken.push(item);
            }
            self.window.start = self.window.start.saturating_sub(1);
            self.window.end -= 1;
            if self.window.is_empty() {
                break;
            }
        }
        taken
    }

    /// Answers some elements, or what patterns get for them.
    fn answer(&mut self, exec: &Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) {
        for Weighed { element, .. } in self.taken() {
            let element = Element::Bytes(&element);
            if self.options.get.is_empty() {
                reply_element(reply, element);
            }
            for pattern in &self.options.get {
                match look_up(exec, args.at(*pattern), element) {
                    Some(value) => reply.bulk(&value),
                    None => reply.null(),
                }
            }
        }
    }

    /// Puts the same into the list that is to be stored: nothing is no bytes there.
    fn make(&mut self, exec: &mut Exec<'_>, args: &Args<'_>) {
        let taken = self.taken();
        let mut results = Vec::with_capacity(taken.len() * self.options.get.len().max(1));
        for Weighed { element, .. } in taken {
            let values = self.options.get.iter();
            let values = values.map(|at| look_up(exec, args.at(*at), Element::Bytes(&element)));
            results.extend(values.map(|value| value.unwrap_or_default().into_owned()));
            if self.options.get.is_empty() {
                results.push(element);
            }
        }
        let Stage::Make(list) = &mut self.stage else { return };
        let key = exec.key(args.at(1));
        let mut edit = Edit::new(exec.keyspace(key).thresholds(), 0, None);
        list.push(End::Right, results.iter().map(Vec::as_slice), &mut edit);
    }

    /// A stage is over: goes on with what comes next.
    fn next_stage(&mut self, exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) {
        let stage = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Copy if self.options.store.is_some() => Stage::Make(List::empty(Vec::new())),
            Stage::Copy => {
                reply.array(self.window.len() * self.options.get.len().max(1));
                Stage::Answer
            }
            Stage::Make(list) => {
                let to = (self.options.store.unwrap_or_default(), events::SORTSTORE);
                Stage::Store(Storing::new(exec, args, to, list))
            }
            Stage::Answer | Stage::Store(_) | Stage::Done => Stage::Done,
        };
        self.stage = stage;
    }
}

#[cfg(test)]
pub(crate) mod tests;
