//! A list that is too large for one block: groups of chunks.
//!
//! ```text
//! list    group, group, …     how many elements each has: 800 groups are a list of ten million short elements
//! group   chunk, chunk, …     up to 128, how many elements each has
//! chunk   element, element, … some kilobytes
//! ```
//!
//! An element is found from the nearer end by these counts, without a look at what is skipped. Groups and chunks are
//! shared with snapshots: a snapshot is a copy of the groups' addresses, and whoever changes a group or chunk that
//! is shared copies it first.
//!
//! Two neighbours in a group have more than half a chunk of elements together, so that a list that shrinks in the
//! middle gives memory back.

use std::collections::VecDeque;

use triomphe::Arc;

use super::super::edit::Op;
use super::super::heap::heap_bytes;
use super::super::packed::Encoded;
use super::super::{Digits, Element, Large, SaveElements};
use super::chunk::{Chunk, Run, Search};
use super::limits::Limits;
use super::{End, PUSH_RIGHT};

/// Most chunks of a group.
const GROUP_CHUNKS: usize = 128;
/// Chunks that are freed cost as much as so many elements at least.
const CHUNK_COST: usize = 16;

type Group = VecDeque<Chunk>;

#[derive(Clone, Debug)]
struct Slot {
    group: Arc<Group>,
    /// Elements of the group.
    count: usize,
}

/// A large list.
#[derive(Clone, Debug, Default)]
pub struct LargeList {
    groups: VecDeque<Slot>,
    totals: Totals,
}

/// What some chunks are together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    elements: usize,
    chunks: usize,
    /// Bytes that the chunks take in the heap.
    bytes: usize,
}

/// Where an element is.
#[derive(Clone, Copy, Debug)]
struct Place {
    group: usize,
    chunk: usize,
    /// Its position in the chunk.
    index: usize,
}

impl Totals {
    fn of<'c>(chunks: impl IntoIterator<Item = &'c Chunk>) -> Self {
        let mut totals = Self::default();
        chunks.into_iter().for_each(|chunk| totals.add(chunk));
        totals
    }

    fn add(&mut self, chunk: &Chunk) {
        self.elements += chunk.count();
        self.chunks += 1;
        self.bytes += chunk.memory_bytes();
    }

    /// What `before` was has become `after`.
    fn replace(&mut self, before: Self, after: Self) {
        self.elements = self.elements + after.elements - before.elements;
        self.chunks = self.chunks + after.chunks - before.chunks;
        self.bytes = self.bytes + after.bytes - before.bytes;
    }
}

impl LargeList {
    /// The elements of a block.
    pub(super) fn of(run: Run<'_>) -> Self {
        let mut list = Self::default();
        if run.count > 0 {
            list.push_chunk(End::Right, Chunk::of(run));
        }
        list
    }

    /// How many elements it has.
    #[inline]
    pub fn len(&self) -> usize {
        self.totals.elements
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy that is not changed when the list is.
    pub fn snapshot(&self) -> LargeListSnapshot {
        LargeListSnapshot { list: self.clone() }
    }

    /// All elements as one run, if they lie in one chunk.
    pub(super) fn only_run(&self) -> Option<Run<'_>> {
        match self.totals.chunks {
            0 => Some(Run { bytes: &[], count: 0 }),
            1 => self.runs().next(),
            _ => None,
        }
    }

    pub(super) fn runs(&self) -> impl DoubleEndedIterator<Item = Run<'_>> {
        self.groups.iter().flat_map(|slot| slot.group.iter().map(Chunk::run))
    }

    /// The run that holds the element at position `index`, the runs behind it, and its position in the first of them.
    pub(super) fn runs_from(&self, index: usize) -> (impl Iterator<Item = Run<'_>>, usize) {
        let Place { group, chunk, index } = self.locate(index);
        let first = self.groups.get(group).map(|slot| slot.group.range(chunk..));
        let others = self.groups.range(self.groups.len().min(group + 1)..);
        let others = others.flat_map(|slot| slot.group.iter());
        (first.into_iter().flatten().chain(others).map(Chunk::run), index)
    }

    pub(super) fn get(&self, index: usize) -> Option<Element<'_>> {
        let place = (index < self.len()).then(|| self.locate(index))?;
        let chunk = self.groups.get(place.group)?.group.get(place.chunk)?;
        Some(chunk.run().nth(place.index)?.element)
    }

    /// The element at an end.
    #[inline]
    pub(super) fn peek(&self, end: End) -> Option<Element<'_>> {
        let run = end.of(&end.of(&self.groups)?.group)?.run();
        let placed = match end {
            End::Left => run.iter().next(),
            End::Right => run.iter().next_back(),
        };
        placed.map(|placed| placed.element)
    }

    // --- at the ends -----------------------------------------------------------------------------

    #[inline]
    pub(super) fn push(&mut self, end: End, element: Element<'_>, limits: Limits) {
        if let Some(slot) = end.of_mut(&mut self.groups)
            && let Some(group) = Arc::get_mut(&mut slot.group)
            && end.of_mut(group).is_some_and(|chunk| chunk.push_short(end, element, limits))
        {
            slot.count += 1;
            self.totals.elements += 1;
            return;
        }
        self.push_any(end, element, limits);
    }

    #[inline(never)]
    fn push_any(&mut self, end: End, element: Element<'_>, limits: Limits) {
        let encoded = Encoded::of(element);
        if let Some(slot) = end.of_mut(&mut self.groups)
            && end.of(&slot.group).is_some_and(|chunk| chunk.takes(end, encoded.len(), limits))
            && let Some(chunk) = end.of_mut(Arc::make_mut(&mut slot.group))
        {
            let before = chunk.memory_bytes();
            chunk.push(end, &encoded, limits);
            slot.count += 1;
            self.totals.elements += 1;
            self.totals.bytes = self.totals.bytes + chunk.memory_bytes() - before;
            return;
        }
        self.push_chunk(end, Chunk::of_one(end, &encoded, limits));
    }

    #[cold]
    fn push_chunk(&mut self, end: End, chunk: Chunk) {
        self.totals.add(&chunk);
        let count = chunk.count();
        if let Some(slot) = end.of_mut(&mut self.groups) {
            let group = Arc::make_mut(&mut slot.group);
            if let Some(before) = end.of_mut(group) {
                // It does not grow any more.
                self.totals.bytes -= before.memory_bytes();
                before.trim();
                self.totals.bytes += before.memory_bytes();
            }
            if group.len() < GROUP_CHUNKS {
                slot.count += count;
                return end.push(group, chunk);
            }
        }
        end.push(&mut self.groups, Slot { group: Arc::new(VecDeque::from([chunk])), count });
    }

    /// Removes `count` elements, no more than there are, from an end; answers those of whole groups, which are many and are
    /// to be freed a little at a time.
    #[must_use]
    pub(super) fn pop(&mut self, end: End, count: usize) -> Self {
        let (mut rest, mut gone) = (count, Self::default());
        while rest > 0
            && let Some(slot) = end.of_mut(&mut self.groups)
        {
            if slot.count <= rest {
                rest -= slot.count;
                let totals = Totals::of(&*slot.group);
                self.totals.replace(totals, Totals::default());
                gone.totals.replace(Totals::default(), totals);
                gone.groups.extend(end.pop(&mut self.groups));
                continue;
            }
            let group = Arc::make_mut(&mut slot.group);
            let Some(chunk) = end.of_mut(group) else { break };
            let popped = chunk.count().min(rest);
            if popped == chunk.count() {
                self.totals.replace(Totals::of([&*chunk]), Totals::default());
                end.pop(group);
            } else {
                chunk.pop(end, popped);
                self.totals.elements -= popped;
            }
            slot.count -= popped;
            rest -= popped;
        }
        gone
    }

    /// How many groups there are.
    pub(super) fn parts(&self) -> usize {
        self.groups.len()
    }

    // --- in the middle ---------------------------------------------------------------------------

    /// Where the element at position `index` is, found from the nearer end.
    fn locate(&self, index: usize) -> Place {
        let groups = self.groups.iter().map(|slot| slot.count);
        let (group, index) = seek(groups, self.len(), index);
        let Some(slot) = self.groups.get(group) else { return Place { group, chunk: 0, index } };
        let (chunk, index) = seek(slot.group.iter().map(Chunk::count), slot.count, index);
        Place { group, chunk, index }
    }

    /// Puts an element in place of the one at position `index`, which there is.
    pub(super) fn set(&mut self, index: usize, element: Element<'_>, limits: Limits) {
        self.replace(index, 1, Some(element), limits);
    }

    /// Puts an element before the one at position `index`, which there is.
    pub(super) fn insert(&mut self, index: usize, element: Element<'_>, limits: Limits) {
        self.replace(index, 0, Some(element), limits);
    }

    /// Removes `count` elements from position `index` on.
    pub(super) fn remove(&mut self, index: usize, count: usize, limits: Limits) {
        let mut rest = count;
        while rest > 0 {
            let removed = self.replace(index, rest, None, limits);
            if removed == 0 {
                return;
            }
            rest -= removed;
        }
    }

    /// Puts `with` in place of as many of the `removed` elements from position `index` on as lie in one chunk; how many
    /// that is.
    fn replace(
        &mut self,
        index: usize,
        removed: usize,
        with: Option<Element<'_>>,
        limits: Limits,
    ) -> usize {
        let Place { group, chunk: at, index } = self.locate(index);
        let with = with.map(Encoded::of);
        self.change_group(group, |group| {
            let chunk = &mut group[at];
            let removed = removed.min(chunk.count() - index);
            chunk.replace(index, removed, with.as_ref());
            mend(group, at, limits);
            removed
        })
    }

    /// Removes the elements that are searched from those of one group, the first of which not all elements are `passed`,
    /// and passes the others; tells the position of each as it is when it is removed. Whether there was such a group.
    pub(super) fn remove_equal(
        &mut self,
        search: &mut Search<'_>,
        passed: &mut usize,
        limits: Limits,
        mut removed: impl FnMut(usize),
    ) -> bool {
        let from = search.from;
        let Some((at, before)) = self.group_behind(from, *passed) else { return false };
        // The position of the first element of the chunk in hand. Those removed behind it do not change it.
        let mut first = if from == End::Left { before } else { self.len() - before };
        let group = &*self.groups[at].group;
        let mut found = Vec::new();
        *passed = before + self.groups[at].count;
        for chunk in (0..group.len()).map(|step| from.nth(step, group.len())) {
            let count = group[chunk].count();
            let positions = group[chunk].run().positions(*search);
            search.most -= positions.len();
            *passed -= positions.len();
            first -= if from == End::Right { count } else { 0 };
            from.each_removed(first, &positions, &mut removed);
            first += if from == End::Left { count - positions.len() } else { 0 };
            if !positions.is_empty() {
                found.push((chunk, positions));
            }
        }
        self.sift(at, &found, limits);
        true
    }

    /// The first group from an end on that goes beyond so many elements, and how many are before it.
    fn group_behind(&self, from: End, passed: usize) -> Option<(usize, usize)> {
        let mut before = 0;
        for at in (0..self.groups.len()).map(|nth| from.nth(nth, self.groups.len())) {
            let count = self.groups[at].count;
            if before + count > passed {
                return Some((at, before));
            }
            before += count;
        }
        None
    }

    /// Removes the elements at some positions in some chunks of a group.
    fn sift(&mut self, group: usize, found: &[(usize, Vec<usize>)], limits: Limits) {
        if found.is_empty() {
            return;
        }
        self.change_group(group, |group| {
            found.iter().for_each(|(chunk, positions)| group[*chunk].remove(positions));
            (0..group.len()).rev().for_each(|chunk| mend(group, chunk, limits));
        });
    }

    /// Calls `change` with a group, which then has as many chunks as it should, or is gone.
    fn change_group<R>(&mut self, at: usize, change: impl FnOnce(&mut Group) -> R) -> R {
        let slot = &mut self.groups[at];
        let group = Arc::make_mut(&mut slot.group);
        let before = Totals::of(&*group);
        let result = change(group);
        let after = Totals::of(&*group);
        let behind = (group.len() > GROUP_CHUNKS).then(|| group.split_off(group.len() / 2));
        slot.count = after.elements;
        self.totals.replace(before, after);
        if let Some(behind) = behind {
            let count = Totals::of(&behind).elements;
            slot.count -= count;
            self.groups.insert(at + 1, Slot { group: Arc::new(behind), count });
        } else if after.chunks == 0 {
            self.groups.remove(at);
        }
        result
    }

    #[cfg(test)]
    pub(super) fn check_totals(&self) {
        let chunks = self.groups.iter().flat_map(|slot| slot.group.iter());
        assert_eq!(self.totals, Totals::of(chunks));
        for slot in &self.groups {
            assert_eq!(slot.count, Totals::of(&*slot.group).elements);
            assert!((1..=GROUP_CHUNKS).contains(&slot.group.len()));
        }
    }
}

impl Large for LargeList {
    fn memory_bytes(&self) -> usize {
        const COUNT: usize = size_of::<usize>();
        heap_bytes(size_of::<Self>())
            + heap_bytes(self.groups.capacity() * size_of::<Slot>())
            + self.groups.len() * heap_bytes(COUNT + size_of::<Group>())
            + self.totals.chunks * size_of::<Chunk>()
            + self.totals.bytes
    }

    fn free_some(&mut self, elements: usize) -> bool {
        let mut freed = 0;
        while freed < elements
            && let Some(slot) = self.groups.back_mut()
        {
            // A group that a snapshot holds is freed by it.
            match Arc::get_mut(&mut slot.group).and_then(VecDeque::pop_back) {
                Some(chunk) => {
                    freed += chunk.count().max(CHUNK_COST);
                    self.totals.replace(Totals::of([&chunk]), Totals::default());
                }
                None => {
                    self.totals.replace(Totals::of(&*slot.group), Totals::default());
                    self.groups.pop_back();
                    freed += CHUNK_COST;
                }
            }
        }
        self.groups.is_empty()
    }

    fn save(&self, from: u64, bytes: usize, out: &mut Vec<u8>) -> u64 {
        let mut at = usize::try_from(from).unwrap_or(usize::MAX);
        if at >= self.len() {
            return 0;
        }
        let (runs, mut skipped) = self.runs_from(at);
        let (until, mut digits) = (out.len().saturating_add(bytes), Digits::new());
        for run in runs {
            for placed in run.iter_from(std::mem::take(&mut skipped)) {
                Op::append_to(out, PUSH_RIGHT).bytes(placed.element.bytes(&mut digits));
                at += 1;
                if out.len() >= until && at < self.len() {
                    return at as u64;
                }
            }
        }
        0
    }

    fn copy_to_save(&self) -> Option<Box<dyn SaveElements>> {
        Some(Box::new(self.snapshot()))
    }
}

/// A large list as it was at one moment.
#[derive(Debug)]
pub struct LargeListSnapshot {
    list: LargeList,
}

impl SaveElements for LargeListSnapshot {
    fn save(&self, from: u64, bytes: usize, out: &mut Vec<u8>) -> u64 {
        self.list.save(from, bytes, out)
    }
}

/// Which of some counts a position falls into and how far, found from the nearer end.
fn seek(
    counts: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator,
    total: usize,
    index: usize,
) -> (usize, usize) {
    if index < total / 2 {
        let mut rest = index;
        for (at, count) in counts.enumerate() {
            if rest < count {
                return (at, rest);
            }
            rest -= count;
        }
    } else {
        let mut first = total;
        for (at, count) in counts.enumerate().rev() {
            first -= count;
            if index >= first {
                return (at, index - first);
            }
        }
    }
    unreachable!("positions are checked before")
}

/// Makes a chunk that has been changed as large as it should be.
fn mend(group: &mut Group, at: usize, limits: Limits) {
    let Some(chunk) = group.get(at) else { return };
    let mut behind = at + 1;
    if chunk.count() == 0 {
        group.remove(at);
        behind = at;
    } else if chunk.count() > 1 && !limits.allow(chunk.len(), chunk.count()) {
        let parts = chunk.cut(limits);
        behind = at + parts.len();
        group.remove(at);
        parts.into_iter().rev().for_each(|part| group.insert(at, part));
    }
    join(group, behind, limits);
    join(group, at, limits);
}

/// Puts a chunk and the one before it together if they are small.
fn join(group: &mut Group, at: usize, limits: Limits) {
    let before = at.checked_sub(1).and_then(|before| group.get(before));
    if let (Some(before), Some(chunk)) = (before, group.get(at))
        && limits.halved().allow(before.len() + chunk.len(), before.count() + chunk.count())
    {
        let mut joined = before.clone();
        joined.append(chunk);
        group[at - 1] = joined;
        group.remove(at);
    }
}
