//! The list commands.
//!
//! Elements are written from where they lie straight into the reply. A command that moves an element from one list to
//! another looks at both before it changes either, so that an error changes nothing.

mod blocking;
mod search;
mod table;
#[cfg(test)]
pub(crate) mod tests;

pub use table::COMMANDS;

use super::elements::reply_element;
use super::events::{self, Event};
use super::exec::Exec;
use super::numbers::integer;
use super::steps::{self, Progress, Steps};
use super::strings::reply_length;
use super::weighing::{Room, step_bytes};
use super::{Error, Stepwise};
use crate::cache::Missing;
use crate::collection::list::{End, Removal, View};
use crate::collection::{Collection, Edit, Element, List, Value};
use crate::limits::STEP_ELEMENTS;
use crate::protocol::{Args, Reply};
use crate::types::Key;
use std::ops::Range;

type Answer = Result<(), Error>;

const NOT_POSITIVE: Error = Error::Static("ERR value is out of range, must be positive");

// --- pushing and popping -------------------------------------------------------------------------

fn lpush(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    push(exec, args, reply, (End::Left, Missing::Create))
}

fn rpush(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    push(exec, args, reply, (End::Right, Missing::Create))
}

fn lpushx(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    push(exec, args, reply, (End::Left, Missing::Skip))
}

fn rpushx(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    push(exec, args, reply, (End::Right, Missing::Skip))
}

#[inline]
fn push(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    (end, missing): (End, Missing),
) -> Answer {
    let key = exec.key(args.at(1));
    let length = exec.change(key, missing, |list: &mut List, edit| {
        list.push(end, args.from(2), edit);
        list.view().len()
    })?;
    reply_length(reply, length.unwrap_or(0));
    Ok(())
}

fn lpop(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    pop(exec, args, reply, (End::Left, "lpop"))
}

fn rpop(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    pop(exec, args, reply, (End::Right, "rpop"))
}

#[inline]
fn pop(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    (end, name): (End, &str),
) -> Answer {
    if args.len() > 3 {
        return Err(Error::Arity(name.to_owned()));
    }
    let count = args.get(2).map(positive).transpose()?;
    let key = exec.key(args.at(1));
    if let Some(count) = count.filter(|count| *count > STEP_ELEMENTS)
        && let Some(left) = many(exec, key, count)?
    {
        reply.array(left);
        // What is removed at once, its row tells.
        let tells = exec.handover.may_pause;
        return steps::run(exec, args, reply, Popping { at: 1, end, left, popped: 0, tells });
    }
    let popped = exec.change(key, Missing::Skip, |list: &mut List, edit| match count {
        Some(count) => pop_many(list, (end, count), edit, reply),
        None => {
            if let Some(element) = list.view().peek(end) {
                reply_element(reply, element);
            }
            list.pop(end, 1, edit);
        }
    })?;
    match (popped, count) {
        (Some(()), _) => {}
        (None, Some(_)) => reply.null_array(),
        (None, None) => reply.null(),
    }
    Ok(())
}

/// How many elements are popped if there are very many of them.
fn many(exec: &Exec<'_>, key: Key<'_>, count: usize) -> Result<Option<usize>, Error> {
    let count = look_at(exec, key)?.map_or(0, |list| count.min(list.len()));
    Ok(Some(count).filter(|count| *count > STEP_ELEMENTS))
}

/// Very many elements that are being answered and removed.
#[derive(Debug)]
struct Popping {
    /// The argument that is the key.
    at: usize,
    end: End,
    /// How many are to be answered yet.
    left: usize,
    popped: usize,
    /// Whether it is to be told that they are gone.
    tells: bool,
}

impl Steps for Popping {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let Self { at, end, left, popped, tells } = self;
        let key = exec.key(args.at(*at));
        let count = (*left).min(STEP_ELEMENTS);
        if let Some(list) = exec.peek::<List>(key) {
            list.visit_from((*end, *popped), count, |_, element| {
                reply_element(reply, element);
                false
            });
        }
        (*left, *popped) = (*left - count, *popped + count);
        if *left > 0 {
            return Ok(Progress::Begun);
        }
        if exec.peek::<List>(key).is_some_and(|list| list.len() == *popped) {
            // It is freed bit by bit later.
            exec.delete(key);
        } else {
            exec.change(key, Missing::Skip, |list: &mut List, edit| list.pop(*end, *popped, edit))?;
        }
        if *tells {
            exec.tell(key, popped_from(*end));
        }
        Ok(Progress::Done)
    }
}

/// If a request asks for many.
const POPPED: Stepwise = Stepwise::if_asked_for_more_than::<{ STEP_ELEMENTS as i64 }>(3);
/// The same of `LMPOP`, if it says how many.
const POPPED_OF_SEVERAL: Stepwise = Stepwise { args_min: 6, ..POPPED };

/// Answers elements from an end on, and removes them.
fn pop_many(
    list: &mut List,
    (end, count): (End, usize),
    edit: &mut Edit<'_>,
    reply: &mut Reply<'_>,
) {
    let view = list.view();
    let count = count.min(view.len());
    reply.array(count);
    match end {
        End::Left => view.visit(0, count, |element| reply_element(reply, element)),
        End::Right => {
            view.iter().rev().take(count).for_each(|element| reply_element(reply, element));
        }
    }
    list.pop(end, count, edit);
}

/// A count that may be 0.
fn positive(text: &[u8]) -> Result<usize, Error> {
    let count = integer(text).map_err(|_| NOT_POSITIVE)?;
    usize::try_from(count).map_err(|_| NOT_POSITIVE)
}

fn lmpop(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (keys, end, count) = lmpop_options(args, 1)?;
    if !pop_from_first(exec, args, 2..2 + keys, (end, count), reply)? {
        reply.null_array();
    }
    Ok(())
}

/// Pops elements of the first list that has any, of the keys that these arguments name, and answers its name and them;
/// whether there is one.
fn pop_from_first(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    names: Range<usize>,
    (end, count): (End, usize),
    reply: &mut Reply<'_>,
) -> Result<bool, Error> {
    for at in names {
        let (name, key) = (args.at(at), exec.key(args.at(at)));
        if count > STEP_ELEMENTS
            && let Some(left) = many(exec, key, count)?
        {
            reply.array(2);
            reply.bulk(name);
            reply.array(left);
            steps::run(exec, args, reply, Popping { at, end, left, popped: 0, tells: true })?;
            return Ok(true);
        }
        let popped = exec.change(key, Missing::Skip, |list: &mut List, edit| {
            reply.array(2);
            reply.bulk(name);
            pop_many(list, (end, count), edit, reply);
        })?;
        if popped.is_some() {
            exec.tell(key, popped_from(end));
            return Ok(true);
        }
    }
    Ok(false)
}

/// How many keys there are, as argument `at` says, from which end elements are popped and how many.
fn lmpop_options(args: &Args<'_>, at: usize) -> Result<(usize, End, usize), Error> {
    let at_least_one = |text: &[u8], error| match integer(text).map(usize::try_from) {
        Ok(Ok(count)) if count > 0 => Ok(count),
        _ => Err(Error::Static(error)),
    };
    let keys = at_least_one(args.at(at), "ERR numkeys should be greater than 0")?;
    let mut options = args.from(at + 1).skip(keys);
    let end = end_named(options.next().ok_or(Error::Syntax)?)?;
    let mut count = None;
    while let Some(word) = options.next() {
        let argument = options.next().ok_or(Error::Syntax)?;
        if count.is_some() || !word.eq_ignore_ascii_case(b"COUNT") {
            return Err(Error::Syntax);
        }
        count = Some(at_least_one(argument, "ERR count should be greater than 0")?);
    }
    Ok((keys, end, count.unwrap_or(1)))
}

fn end_named(word: &[u8]) -> Result<End, Error> {
    if word.eq_ignore_ascii_case(b"LEFT") {
        Ok(End::Left)
    } else if word.eq_ignore_ascii_case(b"RIGHT") {
        Ok(End::Right)
    } else {
        Err(Error::Syntax)
    }
}

fn lmove(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let ends = (end_named(args.at(3))?, end_named(args.at(4))?);
    move_or_nothing(exec, args, reply, ends)
}

fn rpoplpush(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    move_or_nothing(exec, args, reply, (End::Right, End::Left))
}

fn move_or_nothing(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    ends: (End, End),
) -> Answer {
    if !move_between(exec, args, reply, ends)? {
        reply.null();
    }
    Ok(())
}

/// Moves an element from an end of the list that argument 1 names to an end of that of argument 2, and answers it;
/// whether there is one.
fn move_between(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    (from_end, to_end): (End, End),
) -> Result<bool, Error> {
    let (from, to) = (exec.key(args.at(1)), exec.key(args.at(2)));
    let Some(source) = look_at(exec, from)? else { return Ok(false) };
    let moved = source.peek(from_end).map(|element| element.to_vec()).unwrap_or_default();
    look_at(exec, to)?;
    let push = |list: &mut List, edit: &mut Edit<'_>| {
        list.push(to_end, std::iter::once(moved.as_slice()), edit);
    };
    exec.change(from, Missing::Skip, |list: &mut List, edit| {
        list.pop(from_end, 1, edit);
        if from == to {
            push(list, edit);
        }
    })?;
    if from != to {
        exec.change(to, Missing::Create, push)?;
    }
    exec.tell(to, pushed_at(to_end));
    exec.tell(from, popped_from(from_end));
    reply.bulk(&moved);
    Ok(true)
}

fn pushed_at(end: End) -> Event {
    match end {
        End::Left => events::LPUSH,
        End::Right => events::RPUSH,
    }
}

fn popped_from(end: End) -> Event {
    match end {
        End::Left => events::LPOP,
        End::Right => events::RPOP,
    }
}

/// The list of a key that is going to be changed.
fn look_at<'e>(exec: &'e Exec<'_>, key: Key<'_>) -> Result<Option<View<'e>>, Error> {
    match exec.peek_value(key) {
        None => Ok(None),
        Some(Value::List(view)) => Ok(Some(view)),
        Some(_) => Err(Error::WrongType),
    }
}

// --- reading -------------------------------------------------------------------------------------

fn llen(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let key = exec.key(args.at(1));
    let length = exec.read::<List>(key)?.map_or(0, View::len);
    reply_length(reply, length);
    Ok(())
}

fn lindex(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let key = exec.key(args.at(1));
    let Some(view) = exec.read::<List>(key)? else {
        reply.null();
        return Ok(());
    };
    let index = position(integer(args.at(2))?, view.len());
    match index.and_then(|index| view.get(index)) {
        Some(element) => reply_element(reply, element),
        None => reply.null(),
    }
    Ok(())
}

fn lrange(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
    let key = exec.key(args.at(1));
    let view = exec.read::<List>(key)?;
    let covered = view.and_then(|view| Some((view, range(start, end, view.len())?)));
    let Some((view, (start, count))) = covered else {
        reply.array(0);
        return Ok(());
    };
    reply.array(count);
    if count > STEP_ELEMENTS {
        return steps::run(exec, args, reply, Rest { start, count });
    }
    view.visit(start, count, |element| reply_element(reply, element));
    Ok(())
}

/// The elements of a list that are left to be answered.
#[derive(Debug)]
struct Rest {
    start: usize,
    count: usize,
}

impl Steps for Rest {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let Some(list) = exec.peek::<List>(exec.key(args.at(1))) else {
            return Ok(Progress::Done);
        };
        let count = self.count.min(STEP_ELEMENTS);
        list.visit(self.start, count, |element| reply_element(reply, element));
        (self.start, self.count) = (self.start + count, self.count - count);
        Ok(Progress::done_if(self.count == 0))
    }
}

/// A position that may be counted from the end, if it is in the list or right behind it.
fn position(index: i64, length: usize) -> Option<usize> {
    let from_start = if index < 0 { index.checked_add_unsigned(length as u64)? } else { index };
    usize::try_from(from_start).ok()
}

/// Where the range from one position to another begins and how many elements it covers, both ends included; nothing if it
/// covers none.
fn range(start: i64, end: i64, length: usize) -> Option<(usize, usize)> {
    let start =
        if start < 0 { position(start, length).unwrap_or(0) } else { position(start, length)? };
    let end = position(end, length)?.min(length.checked_sub(1)?);
    (start <= end).then(|| (start, end - start + 1))
}

// --- changing what is in the middle --------------------------------------------------------------

fn lset(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let key = exec.key(args.at(1));
    let set = |list: &mut List, edit: &mut Edit<'_>| {
        let index = position(integer(args.at(2))?, list.view().len());
        let is_there = index.is_some_and(|index| list.set(index, args.at(3), edit));
        if is_there { Ok(()) } else { Err(Error::Static("ERR index out of range")) }
    };
    exec.change(key, Missing::Skip, set)?.ok_or(Error::NoSuchKey)??;
    reply.ok();
    Ok(())
}

fn linsert(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let behind = match args.at(2) {
        word if word.eq_ignore_ascii_case(b"AFTER") => 1,
        word if word.eq_ignore_ascii_case(b"BEFORE") => 0,
        _ => return Err(Error::Syntax),
    };
    match look_at(exec, exec.key(args.at(1)))? {
        Some(_) => steps::run(exec, args, reply, Inserting { behind, at: 0 }),
        None => {
            reply.integer(0);
            Ok(())
        }
    }
}

/// An element that is to be put in beside another, which is searched.
#[derive(Debug)]
struct Inserting {
    /// How far behind it.
    behind: usize,
    /// Where to go on.
    at: usize,
}

impl Steps for Inserting {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let (key, pivot) = (exec.key(args.at(1)), Element::of(args.at(3)));
        let (mut found, mut is_over) = (None, true);
        if let Some(list) = exec.peek::<List>(key) {
            list.visit_from((End::Left, self.at), STEP_ELEMENTS, |at, element| {
                found = (element == pivot).then_some(at);
                found.is_some()
            });
            self.at += STEP_ELEMENTS;
            is_over = self.at >= list.len();
        }
        let Some(at) = found else {
            if is_over {
                reply.integer(-1);
            }
            return Ok(Progress::done_if(is_over));
        };
        let length = exec.change(key, Missing::Skip, |list: &mut List, edit| {
            list.insert(at + self.behind, args.at(4), edit);
            list.view().len()
        })?;
        exec.tell(key, events::LINSERT);
        reply_length(reply, length.unwrap_or(0));
        Ok(Progress::Done)
    }
}

fn lrem(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let count = not_least(args.at(2))?;
    let end = if count < 0 { End::Right } else { End::Left };
    let most = match usize::try_from(count.unsigned_abs()) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(most) => most,
    };
    let removal = Removal::new(end, most);
    let key = exec.key(args.at(1));
    let (length, parts) = look_at(exec, key)?.map_or((0, 0), |list| (list.len(), list.parts()));
    let room = Room::of(exec, key, 0)?;
    let weighing = Weighing { room, parts, end, compared: 0, met: 0 };
    let has_room = weighing.check(key, length.min(most)).is_ok();
    let weighing = (!has_room).then_some(weighing);
    steps::run(exec, args, reply, Removing { weighing, removal, removed: 0 })
}

/// Bytes with which the removal of an element is written down, at most, beside what it is.
const REMOVAL_BYTES: usize = 8;

/// Elements that are compared before any is removed.
#[derive(Debug)]
struct Weighing {
    room: Room,
    /// Parts of the list.
    parts: usize,
    end: End,
    compared: usize,
    /// How many of them are to be removed.
    met: usize,
}

impl Weighing {
    /// Whether there is room for so many removals.
    fn check(&self, key: Key<'_>, removals: usize) -> Result<(), Error> {
        // A part may become two, and there are no more steps than that with something to remove.
        let steps = removals.min(2 * self.parts);
        self.room.check(removals, removals * REMOVAL_BYTES + step_bytes(key, steps))
    }

    /// Compares some; whether there are others.
    fn goes_on(
        &mut self,
        key: Key<'_>,
        list: View<'_>,
        wanted: Element<'_>,
        most: usize,
    ) -> Result<bool, Error> {
        let Self { end, compared, met, .. } = self;
        list.visit_from((*end, *compared), STEP_ELEMENTS, |_, element| {
            *met += usize::from(element == wanted);
            *met == most
        });
        *compared += STEP_ELEMENTS;
        self.check(key, self.met)?;
        Ok(self.compared < list.len() && self.met < most)
    }
}

/// Elements that are being removed.
#[derive(Debug)]
struct Removing {
    /// Before any is.
    weighing: Option<Weighing>,
    removal: Removal,
    removed: usize,
}

impl Steps for Removing {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let (key, before) = (exec.key(args.at(1)), self.removal.most());
        if let Some(weighing) = &mut self.weighing {
            let (list, wanted) = (exec.peek::<List>(key), Element::of(args.at(3)));
            if !list.map_or(Ok(false), |list| weighing.goes_on(key, list, wanted, before))? {
                self.weighing = None;
            }
            return Ok(Progress::Begun);
        }
        let go_on = exec.change(key, Missing::Skip, |list: &mut List, edit| {
            list.remove_some_equal(args.at(3), &mut self.removal, edit)
        })?;
        self.removed += before - self.removal.most();
        if go_on == Some(true) {
            return Ok(Progress::Begun);
        }
        if self.removed > 0 {
            exec.tell(key, events::LREM);
        }
        reply_length(reply, self.removed);
        Ok(Progress::Done)
    }
}

/// An integer whose negative is one too.
fn not_least(text: &[u8]) -> Result<i64, Error> {
    const OUT_OF_RANGE: Error = Error::Static(
        "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
    );
    let number = integer(text)?;
    if number == i64::MIN { Err(OUT_OF_RANGE) } else { Ok(number) }
}

fn ltrim(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
    let key = exec.key(args.at(1));
    let has_trimmed = exec.change(key, Missing::Skip, |list: &mut List, edit| {
        let (start, count) = range(start, end, list.view().len()).unwrap_or((0, 0));
        list.trim(start, count, edit);
        edit.has_changed()
    })?;
    // Also where nothing had to go, as Redis does; the log need not know of that.
    if has_trimmed == Some(false) {
        exec.keyspace(key).note_unchanged(key);
    }
    if has_trimmed.is_some() {
        exec.tell(key, events::LTRIM);
    }
    reply.ok();
    Ok(())
}
