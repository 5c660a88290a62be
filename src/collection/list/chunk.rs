//! A part of a large list: elements one after another in one allocation, with room to grow at one end.
//!
//! ```text
//! bytes   room | elements, written as in a block | room
//!              start                             end
//! ```
//!
//! Elements go from either end without a byte being moved or written. The allocation may be shared with a
//! snapshot: it is written to only while nobody else holds it, and copied otherwise. To see whether anybody does takes
//! no more than a load: these `Arc`s have no weak references.

use std::ops::Range;

use triomphe::Arc;

use super::super::Element;
use super::super::heap::heap_bytes;
use super::super::packed::{Encoded, Iter, Placed, Short};
use super::End;
use super::limits::Limits;

/// Least bytes of an allocation that is going to grow: with what the allocator and the count take, 256.
const BYTES_MIN: usize = 240;

/// Elements in the order of the list.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    bytes: Arc<[u8]>,
    start: u32,
    end: u32,
    count: u32,
}

/// The elements of a chunk or of a block, to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) count: usize,
}

/// Which elements are searched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search<'a> {
    pub(super) wanted: Element<'a>,
    /// Where the search begins.
    pub(super) from: End,
    pub(super) most: usize,
}

impl<'a> Run<'a> {
    #[inline]
    pub(super) fn iter(self) -> Iter<'a> {
        Iter::over(self.bytes)
    }

    /// The elements from a position on.
    #[inline]
    pub(super) fn iter_from(self, index: usize) -> Iter<'a> {
        Iter::over(&self.bytes[self.offset(index)..])
    }

    /// Where the element at a position begins; the end if there is none.
    #[inline]
    pub(super) fn offset(self, index: usize) -> usize {
        if index == 0 { 0 } else { self.nth(index).map_or(self.bytes.len(), |placed| placed.start) }
    }

    /// The element at a position; walks from the nearer end.
    #[inline]
    pub(super) fn nth(self, index: usize) -> Option<Placed<'a>> {
        if index < self.count / 2 {
            self.iter().nth(index)
        } else {
            self.iter().nth_back(self.count.checked_sub(index + 1)?)
        }
    }

    /// The positions of the elements that are searched, in ascending order.
    pub(super) fn positions(self, search: Search<'_>) -> Vec<usize> {
        let is_wanted = |(index, placed): (usize, Placed<'_>)| {
            (placed.element == search.wanted).then_some(index)
        };
        match search.from {
            End::Left => self.iter().enumerate().filter_map(is_wanted).take(search.most).collect(),
            End::Right => {
                let backwards = (0..self.count).rev().zip(self.iter().rev());
                let mut positions: Vec<_> =
                    backwards.filter_map(is_wanted).take(search.most).collect();
                positions.reverse();
                positions
            }
        }
    }

    /// The bytes of the elements but for those at some positions.
    fn without(self, positions: &[usize]) -> Vec<u8> {
        let mut kept = Vec::with_capacity(self.bytes.len());
        let mut left_out = positions;
        for (index, placed) in self.iter().enumerate() {
            match left_out {
                [first, others @ ..] if *first == index => left_out = others,
                _ => kept.extend_from_slice(&self.bytes[placed.start..placed.end]),
            }
        }
        kept
    }
}

impl Chunk {
    /// The elements in `bytes`, copied.
    pub(super) fn of(run: Run<'_>) -> Self {
        Self {
            bytes: allocate(run.bytes.len(), |bytes| bytes.copy_from_slice(run.bytes)),
            start: 0,
            end: offset(run.bytes.len()),
            count: offset(run.count),
        }
    }

    /// One element, with room for more towards `end`.
    pub(super) fn of_one(end: End, encoded: &Encoded<'_>, limits: Limits) -> Self {
        let mut chunk = Self { bytes: allocate(0, |_| ()), start: 0, end: 0, count: 0 };
        chunk.push(end, encoded, limits);
        chunk
    }

    #[inline]
    pub(super) fn run(&self) -> Run<'_> {
        Run { bytes: &self.bytes[self.range()], count: self.count() }
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes of its elements.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.range().len()
    }

    /// Bytes of heap memory that it takes.
    #[inline]
    pub(super) fn memory_bytes(&self) -> usize {
        const COUNT: usize = size_of::<usize>();
        heap_bytes(COUNT + self.bytes.len())
    }

    /// Whether an element of `length` bytes may be pushed: not if there is no room at that end and to make some, much
    /// would be moved for little.
    #[inline]
    pub(super) fn takes(&self, end: End, length: usize, limits: Limits) -> bool {
        limits.allow(self.len() + length, self.count() + 1)
            && (length <= self.room(end) || self.len() <= limits.bytes / 2)
    }

    /// Adds an element at an end if it is a short one, as most are, and there is room for it; whether it has.
    #[inline]
    pub(super) fn push_short(&mut self, end: End, element: Element<'_>, limits: Limits) -> bool {
        let Some(short) = Short::of(element) else { return false };
        let length = short.len();
        if self.room(end) < length || !limits.allow(self.len() + length, self.count() + 1) {
            return false;
        }
        let Some(bytes) = Arc::get_mut(&mut self.bytes) else { return false };
        let at = match end {
            End::Left => self.start as usize - length,
            End::Right => self.end as usize,
        };
        short.write(&mut bytes[at..at + length]);
        match end {
            End::Left => self.start -= offset(length),
            End::Right => self.end += offset(length),
        }
        self.count += 1;
        true
    }

    /// Adds an element at an end.
    #[inline]
    pub(super) fn push(&mut self, end: End, encoded: &Encoded<'_>, limits: Limits) {
        let length = encoded.len();
        if self.room(end) < length || !self.bytes.is_unique() {
            self.make_room(end, length, limits);
        }
        let Range { start, end: behind } = self.range();
        let bytes = Arc::get_mut(&mut self.bytes).expect("copied if anybody else holds it");
        match end {
            End::Left => {
                encoded.write(&mut bytes[start - length..]);
                self.start -= offset(length);
            }
            End::Right => {
                encoded.write(&mut bytes[behind..]);
                self.end += offset(length);
            }
        }
        self.count += 1;
    }

    #[cold]
    fn make_room(&mut self, end: End, length: usize, limits: Limits) {
        let needed = self.len() + length;
        let roomy = if needed > limits.bytes / 2 { limits.bytes } else { needed + needed / 2 };
        let capacity = needed.max(roomy).max(BYTES_MIN.min(limits.bytes));
        let start = match end {
            End::Left => capacity - self.len(),
            End::Right => 0,
        };
        self.move_to(capacity, start);
    }

    /// Moves the elements to an allocation of `capacity` bytes, from offset `start` on.
    fn move_to(&mut self, capacity: usize, start: usize) {
        let end = start + self.len();
        let elements = self.run().bytes;
        let bytes = allocate(capacity, |bytes| bytes[start..end].copy_from_slice(elements));
        (self.bytes, self.start, self.end) = (bytes, offset(start), offset(end));
    }

    /// Gives back the room that it has, if it is worth it.
    pub(super) fn trim(&mut self) {
        if (self.bytes.len() - self.len()) * 16 > self.bytes.len() {
            self.move_to(self.len(), 0);
        }
    }

    /// Removes `count` elements, less than there are, from an end.
    #[inline]
    pub(super) fn pop(&mut self, end: End, count: usize) {
        debug_assert!(count < self.count());
        let cut = match end {
            End::Left => self.run().iter().nth(count - 1).map(|placed| placed.end),
            End::Right => self.run().iter().nth_back(count - 1).map(|placed| placed.start),
        };
        let cut = self.start + offset(cut.unwrap_or_default());
        match end {
            End::Left => self.start = cut,
            End::Right => self.end = cut,
        }
        self.count -= offset(count);
    }

    /// Puts an element, or none, in place of the `removed` elements from position `index` on.
    pub(super) fn replace(&mut self, index: usize, removed: usize, with: Option<&Encoded<'_>>) {
        let run = self.run();
        let (from, to, old_len) = (run.offset(index), run.offset(index + removed), run.bytes.len());
        let behind = from + with.map_or(0, Encoded::len);
        let new_len = old_len - to + behind;
        let (start, capacity) = (self.start as usize, self.bytes.len());
        let fits = start + new_len <= capacity && new_len >= capacity - capacity / 4;
        match Arc::get_mut(&mut self.bytes).filter(|_| fits) {
            Some(bytes) => {
                bytes.copy_within(start + to..start + old_len, start + behind);
                with.map(|with| with.write(&mut bytes[start + from..]));
            }
            None => {
                let run = self.run();
                let bytes = allocate(new_len, |bytes| {
                    bytes[..from].copy_from_slice(&run.bytes[..from]);
                    with.map(|with| with.write(&mut bytes[from..]));
                    bytes[behind..].copy_from_slice(&run.bytes[to..]);
                });
                (self.bytes, self.start) = (bytes, 0);
            }
        }
        self.end = self.start + offset(new_len);
        self.count = self.count + u32::from(with.is_some()) - offset(removed);
    }

    /// Removes the elements at some positions.
    pub(super) fn remove(&mut self, positions: &[usize]) {
        let run = self.run();
        *self =
            Self::of(Run { bytes: &run.without(positions), count: run.count - positions.len() });
    }

    /// Adds the elements of another behind its own.
    pub(super) fn append(&mut self, other: &Self) {
        let bytes = [self.run().bytes, other.run().bytes].concat();
        *self = Self::of(Run { bytes: &bytes, count: self.count() + other.count() });
    }

    /// Parts of about the same size that are as small as they should be.
    pub(super) fn cut(&self, limits: Limits) -> Vec<Self> {
        let run = self.run();
        let enough = limits.bytes.min(run.bytes.len().div_ceil(2));
        let enough_count = limits.count.min(run.count.div_ceil(2));
        let (mut parts, mut from, mut count) = (Vec::new(), 0, 0);
        for Placed { start, end, .. } in run.iter() {
            let is_enough = start - from >= enough || count >= enough_count;
            if count > 0 && (is_enough || end - from > limits.bytes) {
                parts.push(Self::of(Run { bytes: &run.bytes[from..start], count }));
                (from, count) = (start, 0);
            }
            count += 1;
        }
        parts.push(Self::of(Run { bytes: &run.bytes[from..], count }));
        parts
    }

    #[inline]
    fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Bytes of room at an end.
    #[inline]
    fn room(&self, end: End) -> usize {
        match end {
            End::Left => self.start as usize,
            End::Right => self.bytes.len() - self.end as usize,
        }
    }
}

/// An allocation, which `fill` writes to.
fn allocate(bytes: usize, fill: impl FnOnce(&mut [u8])) -> Arc<[u8]> {
    let mut allocated: Arc<[u8]> = std::iter::repeat_n(0, bytes).collect();
    fill(Arc::get_mut(&mut allocated).expect("nobody else knows it yet"));
    allocated
}

/// An offset or a length within a chunk: of some chunks of the usual size, or of one element.
#[inline]
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("an element is less than 4 GiB")
}
