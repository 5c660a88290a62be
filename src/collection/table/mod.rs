//! A hash table of byte strings, each with a payload: what large sets, hashes and sorted sets are made of.
//!
//! Linear hashing (Litwin, 1980) over segments of some dozens of entries (`segment.rs`). With `s` segments and
//! `2^l <= s < 2^(l+1)`, an entry is in the segment whose index the lowest `l+1` bits of its hash are, or, if there
//! is none of that index yet, the lowest `l` bits. So the table grows by splitting one segment and shrinks by joining
//! the last one with the one it was split from, whatever its size; there is never anything to be moved but one
//! segment. Segments are filled to a number of entries or bytes on average, so that the memory for one entry is
//! hardly more than its bytes.
//!
//! ```text
//! hash   63 ... 56   ...   31 ............ 0
//!        tag               index of segment
//! ```
//!
//! **Scans** go by the index bits read backwards, as Redis's `dictScan` does: in this order every segment is one
//! interval, which splitting cuts in two and joining widens again. A cursor is a position in this order; a segment
//! is visited as a whole, and the next cursor is the end of its interval.

mod payload;
mod segment;
#[cfg(test)]
mod tests;

pub use payload::{Bytes, Nothing, Payload, Word};

use super::Garbage;
use super::heap::vec_bytes;
use ahash::RandomState;
use segment::Segment;
use std::hash::{BuildHasher as _, Hasher as _};
use std::marker::PhantomData;

/// Entries of a segment on average, at most; it is split before the average gets higher. As long as not all
/// segments are split, one is twice as full as another.
const SEGMENT_ENTRIES: usize = 56;
/// The same in bytes, long entries not counted.
const SEGMENT_BYTES: usize = 2 << 10;
/// Segments are joined when the average gets below this fraction of both.
const JOIN_FRACTION: usize = 3;
/// Segments whose heads are in one allocation.
const CHUNK_SEGMENTS: usize = 512;
/// Bits of a cursor, and of a segment's index.
const CURSOR_BITS: u32 = u32::BITS;
/// How often a random segment is tried before any entry will do.
const PICK_TRIES: usize = 128;

/// Byte strings ("keys") with payloads of kind `P`.
///
/// Every operation takes a time that does not depend on the number of entries, [`Table::iter`] excepted.
#[derive(Debug)]
pub struct Table<P> {
    /// All but the last have [`CHUNK_SEGMENTS`].
    chunks: Vec<Vec<Segment>>,
    segments: usize,
    len: usize,
    /// Bytes of all segments, long entries not counted.
    bytes: usize,
    /// What the allocator takes.
    heap: usize,
    hasher: RandomState,
    payload: PhantomData<P>,
}

/// Where an entry stands, until the table is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    segment: usize,
    index: usize,
}

/// That a key is not there, see [`Table::add`].
#[derive(Clone, Copy, Debug)]
pub struct Vacant {
    hash: u64,
}

impl<P: Payload> Table<P> {
    /// An empty table. Who does not know `seed` can't choose keys that meet in one segment.
    pub fn new(seed: u64) -> Self {
        let hasher = RandomState::with_seeds(seed, !seed, seed.rotate_left(32), seed.swap_bytes());
        let (chunks, payload) = (Vec::new(), PhantomData);
        Self { chunks, segments: 0, len: 0, bytes: 0, heap: 0, hasher, payload }
    }

    /// How many entries it has.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that it takes, about as the allocator counts them; the table's own
    /// `size_of` not included.
    pub fn memory_bytes(&self) -> usize {
        self.heap
    }

    // --- keys --------------------------------------------------------------------------------

    /// What is kept with `key`.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<P::Value<'_>> {
        self.seek(key).ok().map(|spot| self.entry(spot).1)
    }

    /// Whether `key` is there.
    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.seek(key).is_ok()
    }

    /// Puts `key` in; tells whether it is new. If it is there already, `value` is put in place of its own.
    #[inline]
    pub fn insert(&mut self, key: &[u8], value: P::Value<'_>) -> bool {
        match self.seek(key) {
            Ok(spot) => self.set(spot, key, value),
            Err(vacant) => {
                self.add(vacant, key, value);
                return true;
            }
        }
        false
    }

    /// Puts `key` in unless it is there; tells whether it is new.
    #[inline]
    pub fn insert_new(&mut self, key: &[u8], value: P::Value<'_>) -> bool {
        let found = self.seek(key);
        if let Err(vacant) = found {
            self.add(vacant, key, value);
        }
        found.is_err()
    }

    /// Takes `key` out; tells whether it was there.
    #[inline]
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let found = self.seek(key);
        if let Ok(spot) = found {
            self.remove_at(spot);
        }
        found.is_ok()
    }

    // --- spots -------------------------------------------------------------------------------

    /// The hash of `key`, by which [`Table::seek_hash`] finds it again.
    #[inline]
    pub fn hash_of(&self, key: &[u8]) -> u64 {
        self.hash(key)
    }

    /// Looks for an entry whose key has this hash and for which `is_it` holds.
    pub fn seek_hash(
        &self,
        hash: u64,
        is_it: impl Fn(&[u8], P::Value<'_>) -> bool,
    ) -> Option<Spot> {
        if self.segments == 0 {
            return None;
        }
        let segment = self.index_of(hash);
        let found = self.segment(segment).find(hash, |entry| {
            let (key, value) = P::read(entry);
            self.hash(key) == hash && is_it(key, value)
        });
        found.map(|index| Spot { segment, index })
    }

    /// Looks for `key`.
    ///
    /// # Errors
    /// If it is not there; what is answered then can be given to [`Table::add`].
    #[inline]
    pub fn seek(&self, key: &[u8]) -> Result<Spot, Vacant> {
        let hash = self.hash(key);
        let vacant = Vacant { hash };
        if self.segments == 0 {
            return Err(vacant);
        }
        let segment = self.index_of(hash);
        let found = self.segment(segment).find(hash, |entry| P::read(entry).0 == key);
        found.map(|index| Spot { segment, index }).ok_or(vacant)
    }

    /// Key and value of the entry at a spot.
    #[inline]
    pub fn entry(&self, spot: Spot) -> (&[u8], P::Value<'_>) {
        P::read(self.segment(spot.segment).entry(spot.index))
    }

    /// Adds the key that was looked for and not found.
    #[inline]
    pub fn add(&mut self, vacant: Vacant, key: &[u8], value: P::Value<'_>) {
        if self.segments == 0 {
            self.push_segment(Segment::default());
        }
        let (hash, length) = (vacant.hash, P::entry_bytes(key, value));
        self.change(self.index_of(hash), |segment| {
            segment.push(hash, length, |into| P::write(into, key, value));
        });
        self.len += 1;
        self.grow();
    }

    /// Puts another value with the key at a spot, which is `key`.
    #[inline]
    pub fn set(&mut self, spot: Spot, key: &[u8], value: P::Value<'_>) {
        let length = P::entry_bytes(key, value);
        if let Some(entry) = self.segment_mut(spot.segment).entry_mut(spot.index, length) {
            return P::write(entry, key, value);
        }
        let hash = self.hash(key);
        self.change(spot.segment, |segment| {
            segment.remove(spot.index);
            segment.push(hash, length, |into| P::write(into, key, value));
        });
        self.grow();
    }

    /// Takes out the entry at a spot.
    #[inline]
    pub fn remove_at(&mut self, spot: Spot) {
        self.change(spot.segment, |segment| segment.remove(spot.index));
        self.len -= 1;
        self.shrink();
    }

    /// A random entry, each as likely as any other; none if the table is empty. `below` answers a random number
    /// below the one it is given.
    pub fn random(&self, mut below: impl FnMut(usize) -> usize) -> Option<Spot> {
        let level = self.segments.checked_ilog2()?;
        if self.len == 0 {
            return None;
        }
        // Numbers of one bit more than `level` lead to a segment that is not split yet twice as often as to one that
        // is, and on average it has twice as many entries: so few are refused. The bounds are such that hardly
        // ever a segment has more entries, which then are a little less likely.
        let average = self.len >> level;
        let bound_of_split = average / 2 + average / 4 + 16;
        let mut segment = 0;
        for _ in 0..PICK_TRIES {
            segment = self.index_of(below(2 << level) as u64);
            let count = self.segment(segment).count();
            let bound = bound_of_split << (level + 1 - self.depth_of(segment));
            let index = below(bound.max(count));
            if index < count {
                return Some(Spot { segment, index });
            }
        }
        let mut from = (segment..self.segments).chain(0..segment);
        let segment = from.find(|segment| self.segment(*segment).count() > 0)?;
        Some(Spot { segment, index: below(self.segment(segment).count()) })
    }

    // --- all entries -------------------------------------------------------------------------

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], P::Value<'_>)> {
        self.chunks.iter().flatten().flat_map(Segment::entries).map(P::read)
    }

    /// Visits `count` entries from `cursor` on, 0 for the first, or some more; answers the cursor to go on from,
    /// 0 at the end. An entry that is there from the first call to the last is visited, whatever comes and goes in
    /// between; some are visited twice then.
    pub fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(&'a [u8], P::Value<'a>),
    ) -> u64 {
        let mut at = cursor & ((1 << CURSOR_BITS) - 1);
        let mut visited = 0;
        while self.segments > 0 && visited < count.max(1) {
            #[expect(clippy::cast_possible_truncation, reason = "`CURSOR_BITS` wide")]
            let index = self.index_of(u64::from((at as u32).reverse_bits()));
            let segment = self.segment(index);
            for (key, value) in segment.entries().map(P::read) {
                visit(key, value);
            }
            // An empty segment counts as well: there may be many in a row.
            visited += segment.count().max(1);
            let width = 1 << (CURSOR_BITS - self.depth_of(index));
            at = (at & !(width - 1)) + width;
            if at >> CURSOR_BITS != 0 {
                return 0;
            }
        }
        if self.segments == 0 { 0 } else { at }
    }

    /// Visits `count` entries from `at` on, 0 for the first, or some more, of a table that is not changed meanwhile; answers
    /// where to go on, 0 at the end. Segments come in the order in which tables grow. So another table with the same seed
    /// is filled evenly with what comes, which in the order of [`Table::scan`] it is not: there, all that comes first
    /// belongs to the other's first segment.
    pub fn pass<'a>(
        &'a self,
        at: usize,
        count: usize,
        mut visit: impl FnMut(&'a [u8], P::Value<'a>),
    ) -> usize {
        let (mut at, mut visited) = (at, 0);
        while at < self.segments && visited < count.max(1) {
            let segment = self.segment(at);
            segment.entries().map(P::read).for_each(|(key, value)| visit(key, value));
            visited += segment.count().max(1);
            at += 1;
        }
        if at < self.segments { at } else { 0 }
    }

    /// Frees `elements` entries or some more; true once all are freed. In between nothing else may be done.
    pub fn free_some(&mut self, elements: usize) -> bool {
        let mut freed = 0;
        while freed < elements.max(1)
            && let Some(segment) = self.pop_segment()
        {
            self.len -= segment.count();
            freed += segment.count().max(1);
        }
        self.segments == 0
    }

    // --- segments ----------------------------------------------------------------------------

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    /// The index of the segment for a hash. There is at least one segment.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "cut to the bits of an index")]
    fn index_of(&self, hash: u64) -> usize {
        let top = 1 << self.segments.ilog2();
        let index = hash as usize & (2 * top - 1);
        if index < self.segments { index } else { index - top }
    }

    /// How many bits all hashes in a segment have in common.
    #[inline]
    fn depth_of(&self, index: usize) -> u32 {
        let level = self.segments.ilog2();
        let is_split = index + (1 << level) < self.segments || index >> level != 0;
        level + u32::from(is_split)
    }

    #[inline]
    fn segment(&self, index: usize) -> &Segment {
        &self.chunks[index / CHUNK_SEGMENTS][index % CHUNK_SEGMENTS]
    }

    #[inline]
    fn segment_mut(&mut self, index: usize) -> &mut Segment {
        &mut self.chunks[index / CHUNK_SEGMENTS][index % CHUNK_SEGMENTS]
    }

    /// Changes a segment and counts what it then takes.
    #[inline]
    fn change<R>(&mut self, index: usize, change: impl FnOnce(&mut Segment) -> R) -> R {
        let segment = self.segment_mut(index);
        let (bytes, heap) = (segment.bytes(), segment.heap_bytes());
        let result = change(segment);
        let (bytes_after, heap_after) = (segment.bytes(), segment.heap_bytes());
        self.bytes = self.bytes + bytes_after - bytes;
        self.heap = self.heap + heap_after - heap;
        result
    }

    /// Splits a segment if they are full on average. One is enough, since one change adds less than one may hold.
    #[inline]
    fn grow(&mut self) {
        let is_full = self.len > self.segments * SEGMENT_ENTRIES
            || self.bytes > self.segments * SEGMENT_BYTES;
        if is_full && self.segments < 1 << (CURSOR_BITS - 1) {
            self.split();
        }
    }

    /// Joins a segment with another if they are rather empty on average.
    #[inline]
    fn shrink(&mut self) {
        if self.segments > 1
            && self.len * JOIN_FRACTION < self.segments * SEGMENT_ENTRIES
            && self.bytes * JOIN_FRACTION < self.segments * SEGMENT_BYTES
            && let Some(last) = self.pop_segment()
        {
            let other = self.segments - (1 << self.segments.ilog2());
            self.change(other, |segment| segment.append(last));
        }
    }

    fn split(&mut self) {
        let top = 1 << self.segments.ilog2();
        let hasher = self.hasher.clone();
        let hash_of = |entry: &[u8]| {
            let mut hasher = hasher.build_hasher();
            hasher.write(P::read(entry).0);
            hasher.finish()
        };
        let other = self.segments - top;
        let new = self.change(other, |segment| segment.split_off(top as u64, hash_of));
        self.push_segment(new);
    }

    fn push_segment(&mut self, segment: Segment) {
        self.bytes += segment.bytes();
        self.heap += segment.heap_bytes();
        if self.segments.is_multiple_of(CHUNK_SEGMENTS) {
            let before = vec_bytes(&self.chunks);
            self.chunks.push(Vec::new());
            self.heap = self.heap + vec_bytes(&self.chunks) - before;
        }
        let chunk = self.chunks.last_mut().expect("just now there is one");
        let before = vec_bytes(chunk);
        chunk.push(segment);
        self.heap = self.heap + vec_bytes(chunk) - before;
        self.segments += 1;
    }

    fn pop_segment(&mut self) -> Option<Segment> {
        let chunk = self.chunks.last_mut()?;
        let segment = chunk.pop()?;
        let before = vec_bytes(chunk);
        if chunk.len() <= chunk.capacity() / 4 {
            chunk.shrink_to(2 * chunk.len());
        }
        self.heap = self.heap + vec_bytes(chunk) - before;
        if chunk.is_empty() {
            let before = vec_bytes(&self.chunks);
            self.chunks.pop();
            if self.chunks.len() <= self.chunks.capacity() / 4 {
                self.chunks.shrink_to(2 * self.chunks.len());
            }
            self.heap = self.heap + vec_bytes(&self.chunks) - before;
        }
        self.segments -= 1;
        self.bytes -= segment.bytes();
        self.heap -= segment.heap_bytes();
        Some(segment)
    }
}

impl<P: Payload + std::fmt::Debug + Send> Garbage for Table<P> {
    fn memory_bytes(&self) -> usize {
        self.memory_bytes()
    }

    fn free_some(&mut self, elements: usize) -> bool {
        self.free_some(elements)
    }
}
