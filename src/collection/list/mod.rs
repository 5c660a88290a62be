//! Lists: elements in an order, pushed to and popped from both ends.
//!
//! A small list is one block; a large one is groups of chunks (`large`). Which of the two it is follows
//! `list-max-listpack-size` as in Redis; a large list that has shrunk to half of that is a block again.
//!
//! Operations name elements by position. They can't be made twice: they are replayed exactly once, on exactly the
//! list that they were made on.

mod chunk;
mod large;
mod limits;
#[cfg(test)]
mod tests;

pub use large::{LargeList, LargeListSnapshot};

use std::collections::VecDeque;

use super::packed::{HEADER_BYTES, Packed, PackedBuf, element_bytes_max};
use super::{Collection, Edit, Element, Form, Kind, Nonsense, OpReader, Tag};
use chunk::{Run, Search};
use limits::Limits;

// Operations.
/// The element.
const PUSH_LEFT: u8 = 1;
/// The element.
const PUSH_RIGHT: u8 = 2;
/// How many.
const POP_LEFT: u8 = 3;
/// How many.
const POP_RIGHT: u8 = 4;
/// Position, element.
const SET: u8 = 5;
/// Position that it has then, element.
const INSERT: u8 = 6;
/// Position of the first, how many.
const REMOVE: u8 = 7;

const TAG: u8 = Tag::block(Kind::List, 0).0;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The head.
    Left,
    /// The tail.
    Right,
}

impl End {
    fn of<T>(self, deque: &VecDeque<T>) -> Option<&T> {
        match self {
            Self::Left => deque.front(),
            Self::Right => deque.back(),
        }
    }

    fn of_mut<T>(self, deque: &mut VecDeque<T>) -> Option<&mut T> {
        match self {
            Self::Left => deque.front_mut(),
            Self::Right => deque.back_mut(),
        }
    }

    fn push<T>(self, deque: &mut VecDeque<T>, item: T) {
        match self {
            Self::Left => deque.push_front(item),
            Self::Right => deque.push_back(item),
        }
    }

    fn pop<T>(self, deque: &mut VecDeque<T>) -> Option<T> {
        match self {
            Self::Left => deque.pop_front(),
            Self::Right => deque.pop_back(),
        }
    }

    /// The position of the `nth` of `count` items from this end on.
    fn nth(self, nth: usize, count: usize) -> usize {
        match self {
            Self::Left => nth,
            Self::Right => count - 1 - nth,
        }
    }

    /// Calls `visit` with the position that each of some elements has when it is removed, if they are removed from this
    /// end on; `first` is where their positions are counted from.
    fn each_removed(self, first: usize, positions: &[usize], mut visit: impl FnMut(usize)) {
        match self {
            Self::Left => {
                positions.iter().enumerate().for_each(|(gone, at)| visit(first + at - gone));
            }
            Self::Right => positions.iter().rev().for_each(|at| visit(first + at)),
        }
    }

    fn push_code(self) -> u8 {
        match self {
            Self::Left => PUSH_LEFT,
            Self::Right => PUSH_RIGHT,
        }
    }

    fn pop_code(self) -> u8 {
        match self {
            Self::Left => POP_LEFT,
            Self::Right => POP_RIGHT,
        }
    }
}

/// A list in the hands of a command that changes it.
#[derive(Debug)]
pub enum List {
    /// A small one.
    Block(PackedBuf),
    /// A large one.
    Large(Box<LargeList>),
}

/// How far equal elements have been removed from a list.
#[derive(Clone, Copy, Debug)]
pub struct Removal {
    from: End,
    /// How many may still be removed.
    most: usize,
    /// Elements from that end on that stay.
    passed: usize,
}

impl Removal {
    /// At most so many are to be removed, from one end on.
    pub fn new(from: End, most: usize) -> Self {
        Self { from, most, passed: 0 }
    }

    /// How many may still be removed.
    pub fn most(self) -> usize {
        self.most
    }
}

/// What a list holds.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// A small one.
    Block(Packed<'a>),
    /// A large one.
    Large(&'a LargeList),
}

impl<'a> View<'a> {
    /// How many elements it has.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a list that is kept is not empty")]
    pub fn len(self) -> usize {
        match self {
            Self::Block(packed) => packed.count(),
            Self::Large(large) => large.len(),
        }
    }

    /// In how many parts equal elements are removed from it.
    pub fn parts(self) -> usize {
        match self {
            Self::Block(_) => 1,
            Self::Large(large) => large.parts(),
        }
    }

    /// What `OBJECT ENCODING` answers.
    pub fn encoding(self) -> &'static str {
        match self {
            Self::Block(_) => "listpack",
            Self::Large(_) => "quicklist",
        }
    }

    /// The element at a position.
    pub fn get(self, index: usize) -> Option<Element<'a>> {
        match self {
            Self::Block(packed) => packed.nth(index).map(|placed| placed.element),
            Self::Large(large) => large.get(index),
        }
    }

    /// The element at an end.
    #[inline]
    pub fn peek(self, end: End) -> Option<Element<'a>> {
        let placed = match (self, end) {
            (Self::Large(large), _) => return large.peek(end),
            (Self::Block(packed), End::Left) => packed.iter().next(),
            (Self::Block(packed), End::Right) => packed.iter().next_back(),
        };
        placed.map(|placed| placed.element)
    }

    /// All elements in order, from both ends.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Element<'a>> {
        let (block, large) = match self {
            Self::Block(packed) => (Some(run_of(packed)), None),
            Self::Large(large) => (None, Some(large)),
        };
        let runs = block.into_iter().chain(large.into_iter().flat_map(LargeList::runs));
        runs.flat_map(|run| run.iter().map(|placed| placed.element))
    }

    /// Calls `visit` with `count` elements, or as many as there are, from position `start` on.
    #[inline]
    pub fn visit(self, start: usize, count: usize, mut visit: impl FnMut(Element<'a>)) {
        let mut left = count.min(self.len().saturating_sub(start));
        if left == 0 {
            return;
        }
        let mut visit_run = |run: Run<'a>, skipped: usize| {
            for placed in run.iter_from(skipped).take(left) {
                visit(placed.element);
                left -= 1;
            }
            left > 0
        };
        match self {
            Self::Block(packed) => drop(visit_run(run_of(packed), start)),
            Self::Large(large) => {
                let (mut runs, mut skipped) = large.runs_from(start);
                let mut go_on = |run| visit_run(run, std::mem::take(&mut skipped));
                while runs.next().is_some_and(&mut go_on) {}
            }
        }
    }
}

/// Elements of a list that are gathered to be visited in either direction: they are found by their positions.
const VISITED_AT_ONCE: usize = 128;

impl<'a> View<'a> {
    /// Calls `visit` with elements and their positions, from the `nth` from an end on, until it says that it is enough or
    /// `count` have been visited.
    pub fn visit_from(
        self,
        (end, nth): (End, usize),
        count: usize,
        mut is_enough: impl FnMut(usize, Element<'a>) -> bool,
    ) {
        let length = self.len();
        let last = length.min(nth.saturating_add(count));
        let (mut at, mut few) = (nth, Vec::new());
        while at < last {
            let next = last.min(at + VISITED_AT_ONCE);
            let mut position = if end == End::Left { at } else { length - next };
            self.visit(position, next - at, |element| {
                few.push((position, element));
                position += 1;
            });
            if end == End::Right {
                few.reverse();
            }
            if few.drain(..).any(|(at, element)| is_enough(at, element)) {
                return;
            }
            at = next;
        }
    }
}

fn run_of(packed: Packed<'_>) -> Run<'_> {
    Run { bytes: packed.body(), count: packed.count() }
}

impl List {
    /// Adds elements at an end, one after the other.
    pub fn push<'b>(
        &mut self,
        end: End,
        elements: impl Iterator<Item = &'b [u8]> + Clone,
        edit: &mut Edit<'_>,
    ) {
        let limits = Limits::of(edit.thresholds.list_size);
        self.enlarge_for(elements.clone(), limits);
        for bytes in elements {
            if let Some(mut op) = edit.note(end.push_code()) {
                op.bytes(bytes);
            }
            let element = Element::of(bytes);
            match (&mut *self, end) {
                (Self::Large(large), _) => large.push(end, element, limits),
                (Self::Block(buf), End::Left) => buf.insert(HEADER_BYTES, &[element]),
                (Self::Block(buf), End::Right) => buf.push(element),
            }
        }
    }

    /// Removes `count` elements, or all if there are less, from an end.
    pub fn pop(&mut self, end: End, count: usize, edit: &mut Edit<'_>) {
        let count = count.min(self.len());
        if count == 0 {
            return;
        }
        if let Some(mut op) = edit.note(end.pop_code()) {
            op.number(count as u64);
        }
        match self {
            Self::Large(large) => {
                let gone = large.pop(end, count);
                if !gone.is_empty() {
                    edit.discard(gone);
                }
            }
            Self::Block(buf) => {
                let start = if end == End::Left { 0 } else { buf.view().count() - count };
                remove_from_block(buf, start, count);
            }
        }
        self.shrink(edit);
    }

    /// Leaves `count` elements from position `start` on and removes those before and behind.
    pub fn trim(&mut self, start: usize, count: usize, edit: &mut Edit<'_>) {
        let behind = self.len().saturating_sub(start.saturating_add(count));
        // Emptied from the right if nothing is left, so that each element is removed once.
        self.pop(End::Right, behind, edit);
        self.pop(End::Left, start, edit);
    }

    /// Puts `bytes` in place of the element at a position; whether there is one.
    pub fn set(&mut self, index: usize, bytes: &[u8], edit: &mut Edit<'_>) -> bool {
        if index >= self.len() {
            return false;
        }
        let limits = Limits::of(edit.thresholds.list_size);
        self.enlarge_for([bytes].into_iter(), limits);
        if let Some(mut op) = edit.note(SET) {
            op.number(index as u64).bytes(bytes);
        }
        let element = Element::of(bytes);
        match self {
            Self::Large(large) => large.set(index, element, limits),
            Self::Block(buf) => {
                if let Some(placed) = buf.view().nth(index) {
                    buf.replace(placed.start..placed.end, 1, &[element]);
                }
            }
        }
        self.shrink(edit);
        true
    }

    /// Puts `bytes` in before the element at a position, or at the end; whether that position is there.
    pub fn insert(&mut self, index: usize, bytes: &[u8], edit: &mut Edit<'_>) -> bool {
        if index == 0 || index == self.len() {
            let end = if index == 0 { End::Left } else { End::Right };
            self.push(end, [bytes].into_iter(), edit);
            return true;
        }
        if index > self.len() {
            return false;
        }
        let limits = Limits::of(edit.thresholds.list_size);
        self.enlarge_for([bytes].into_iter(), limits);
        if let Some(mut op) = edit.note(INSERT) {
            op.number(index as u64).bytes(bytes);
        }
        let element = Element::of(bytes);
        match self {
            Self::Large(large) => large.insert(index, element, limits),
            Self::Block(buf) => {
                let at = buf.view().nth(index).map_or(buf.len(), |placed| placed.start);
                buf.insert(at, &[element]);
            }
        }
        true
    }

    /// Removes elements that are `wanted`, at most `most` of them, from one end on; how many.
    pub fn remove_equal(
        &mut self,
        wanted: &[u8],
        from: End,
        most: usize,
        edit: &mut Edit<'_>,
    ) -> usize {
        let mut removal = Removal::new(from, most);
        while self.remove_some_equal(wanted, &mut removal, edit) {}
        most - removal.most
    }

    /// The same for the next some ten thousand elements of a large list; whether there are others.
    pub fn remove_some_equal(
        &mut self,
        wanted: &[u8],
        removal: &mut Removal,
        edit: &mut Edit<'_>,
    ) -> bool {
        let Removal { from, most, passed } = removal;
        let mut search = Search { wanted: Element::of(wanted), from: *from, most: *most };
        let limits = Limits::of(edit.thresholds.list_size);
        let mut removals = Removals { edit: &mut *edit, index: 0, count: 0 };
        let is_any = match self {
            Self::Large(large) => {
                large.remove_equal(&mut search, passed, limits, |index| removals.add(index))
            }
            Self::Block(buf) => {
                let positions = run_of(buf.view()).positions(search);
                from.each_removed(0, &positions, |index| removals.add(index));
                leave_out(buf, &positions);
                search.most -= positions.len();
                false
            }
        };
        removals.note();
        *most = search.most;
        self.shrink(edit);
        is_any && *most > 0 && *passed < self.len()
    }

    /// Removes `count` elements from position `index` on; whether they were there.
    fn remove(&mut self, index: usize, count: usize, edit: &mut Edit<'_>) -> bool {
        if index.checked_add(count).is_none_or(|end| end > self.len()) {
            return false;
        }
        note_removal(edit, index, count);
        match self {
            Self::Large(large) => {
                large.remove(index, count, Limits::of(edit.thresholds.list_size));
            }
            Self::Block(buf) => remove_from_block(buf, index, count),
        }
        self.shrink(edit);
        true
    }

    /// Becomes large if with these elements more it would no longer be small.
    #[inline]
    fn enlarge_for<'b>(&mut self, more: impl Iterator<Item = &'b [u8]>, limits: Limits) {
        let Self::Block(buf) = self else { return };
        let run = run_of(buf.view());
        let (mut count, mut bytes, mut bytes_max) = (0, 0, 0);
        for element in more {
            count += 1;
            bytes += element.len();
            bytes_max += element_bytes_max(Element::Bytes(element));
        }
        if !limits.allow_block(run.bytes.len() + bytes, run.count + count)
            || !buf.takes(count, bytes_max)
        {
            *self = Self::Large(Box::new(LargeList::of(run)));
        }
    }

    /// Becomes a block again if there is little left.
    #[inline]
    fn shrink(&mut self, edit: &Edit<'_>) {
        let Self::Large(large) = self else { return };
        let limits = Limits::of(edit.thresholds.list_size).halved();
        if let Some(run) = large.only_run()
            && limits.allow_block(run.bytes.len(), run.count)
        {
            let mut buf = PackedBuf::new(TAG, Vec::with_capacity(HEADER_BYTES + run.bytes.len()));
            run.iter().for_each(|placed| buf.push(placed.element));
            *self = Self::Block(buf);
        }
    }

    fn replay_one(
        &mut self,
        code: u8,
        ops: &mut OpReader<'_>,
        edit: &mut Edit<'_>,
    ) -> Result<(), Nonsense> {
        let makes_sense = match code {
            PUSH_LEFT | PUSH_RIGHT => {
                let end = if code == PUSH_LEFT { End::Left } else { End::Right };
                self.push(end, [ops.bytes()?].into_iter(), edit);
                true
            }
            POP_LEFT | POP_RIGHT => {
                let end = if code == POP_LEFT { End::Left } else { End::Right };
                let count = position(ops)?;
                let are_there = (1..=self.len()).contains(&count);
                if are_there {
                    self.pop(end, count, edit);
                }
                are_there
            }
            SET => self.set(position(ops)?, ops.bytes()?, edit),
            INSERT => self.insert(position(ops)?, ops.bytes()?, edit),
            REMOVE => self.remove(position(ops)?, position(ops)?, edit),
            _ => false,
        };
        if makes_sense { Ok(()) } else { Err(Nonsense) }
    }
}

impl Collection for List {
    const KIND: Kind = Kind::List;
    type Large = LargeList;
    type View<'a> = View<'a>;

    fn empty(memory: Vec<u8>) -> Self {
        Self::Block(PackedBuf::new(TAG, memory))
    }

    fn of(form: Form<LargeList>) -> Self {
        match form {
            Form::Block(block) => Self::Block(PackedBuf::of(block)),
            Form::Large(large) => Self::Large(large),
        }
    }

    fn into_form(self) -> Form<LargeList> {
        match self {
            Self::Block(buf) => Form::Block(buf.into_block()),
            Self::Large(large) => Form::Large(large),
        }
    }

    fn check(block: &[u8]) -> bool {
        block.first() == Some(&TAG) && Packed::check(block, 1).is_some()
    }

    fn len(&self) -> usize {
        self.view().len()
    }

    fn view_block(block: &[u8]) -> View<'_> {
        View::Block(Packed::new(block))
    }

    fn view_large(large: &LargeList) -> View<'_> {
        View::Large(large)
    }

    fn view(&self) -> View<'_> {
        match self {
            Self::Block(buf) => View::Block(buf.view()),
            Self::Large(large) => View::Large(large),
        }
    }

    fn replay(&mut self, ops: &mut OpReader<'_>, edit: &mut Edit<'_>) -> Result<(), Nonsense> {
        while let Some(code) = ops.next() {
            self.replay_one(code, ops, edit)?;
        }
        Ok(())
    }
}

/// A position or a number of elements.
fn position(ops: &mut OpReader<'_>) -> Result<usize, Nonsense> {
    usize::try_from(ops.number()?).map_err(|_| Nonsense)
}

/// Removals of single elements, noted together where they adjoin.
struct Removals<'e, 'o> {
    edit: &'e mut Edit<'o>,
    index: usize,
    count: usize,
}

impl Removals<'_, '_> {
    /// One more is removed, at the position that it then has.
    fn add(&mut self, index: usize) {
        if index + 1 == self.index && self.count > 0 {
            self.index = index;
        } else if index != self.index {
            self.note();
            self.index = index;
        }
        self.count += 1;
    }

    fn note(&mut self) {
        note_removal(self.edit, self.index, std::mem::take(&mut self.count));
    }
}

fn note_removal(edit: &mut Edit<'_>, index: usize, count: usize) {
    if count > 0
        && let Some(mut op) = edit.note(REMOVE)
    {
        op.number(index as u64).number(count as u64);
    }
}

fn remove_from_block(buf: &mut PackedBuf, index: usize, count: usize) {
    let run = run_of(buf.view());
    let range = run.offset(index) + HEADER_BYTES..run.offset(index + count) + HEADER_BYTES;
    buf.remove(range, count);
}

/// Removes the elements at some positions.
fn leave_out(buf: &mut PackedBuf, positions: &[usize]) {
    let mut kept = PackedBuf::new(TAG, Vec::with_capacity(buf.len()));
    let mut left_out = positions;
    for (index, placed) in buf.view().iter().enumerate() {
        match left_out {
            [first, others @ ..] if *first == index => left_out = others,
            _ => kept.push(placed.element),
        }
    }
    *buf = kept;
}
