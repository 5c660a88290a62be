//! Some dozens of entries in one allocation.
//!
//! ```text
//! bytes   tags, a byte for each slot     lengths, a byte for each slot     entries, one behind the other
//! ```
//!
//! A tag is part of the entry's hash: looking for an entry compares tags first, then the few entries whose tag is
//! the wanted one. Where an entry begins is the sum of the lengths before it. There are a few slots more than
//! entries, for the next ones. A removal closes its gap at once.
//!
//! An entry of more than 254 bytes has an allocation of its own: its length is written as 255, and the nth such
//! length belongs to the nth of the long entries.

use crate::collection::heap::{HEADER_BYTES, heap_bytes, vec_bytes};

/// In place of the length of an entry that has an allocation of its own.
const LONG: u8 = u8::MAX;
/// Slots come and go by so many.
const SLOT_STEP: usize = 16;
/// Bytes that an allocation grows by at least, and the fraction of its length.
const GROWTH_BYTES: usize = 64;
const GROWTH_FRACTION: usize = 8;

/// Entries of a table.
#[derive(Debug, Default)]
pub(super) struct Segment {
    bytes: Vec<u8>,
    long: Option<Box<LongEntries>>,
    count: u32,
    slots: u32,
}

/// Those of a segment's entries that have an allocation of their own, in the order of all.
#[derive(Debug, Default)]
struct LongEntries {
    entries: Vec<LongEntry>,
    /// What the allocator takes for `bytes` of all.
    heap: usize,
}

#[derive(Debug)]
struct LongEntry {
    /// Kept, so that splitting a segment does not read long keys.
    hash: u64,
    bytes: Box<[u8]>,
}

/// An entry on its way to another segment.
#[derive(Debug)]
enum Moving<'a> {
    Short(&'a [u8]),
    Long(LongEntry),
}

#[inline]
fn tag_of(hash: u64) -> u8 {
    hash.to_be_bytes()[0]
}

/// Bytes that entries of these lengths take inside the segment.
fn sum_of_short(lengths: &[u8]) -> usize {
    let short = lengths.iter().filter(|&&length| length != LONG);
    short.map(|&length| usize::from(length)).sum()
}

/// The sum of lengths, eight a step: there are few, and this is on the way to every entry.
#[inline]
fn sum(lengths: &[u8]) -> usize {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    const ONES: u64 = 0x0001_0001_0001_0001;
    let (words, rest) = lengths.as_chunks::<8>();
    let of_words = words.iter().map(|word| {
        let word = u64::from_le_bytes(*word);
        // Four sums of two, whose sum comes to stand at the top.
        ((word & EVEN) + (word >> 8 & EVEN)).wrapping_mul(ONES) >> 48
    });
    let sum = of_words.sum::<u64>() + rest.iter().map(|&length| u64::from(length)).sum::<u64>();
    usize::try_from(sum).unwrap_or(usize::MAX)
}

fn long_before(lengths: &[u8]) -> usize {
    lengths.iter().filter(|&&length| length == LONG).count()
}

impl Segment {
    /// How many entries it has.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes of all that is not in long entries.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What the allocator takes for it.
    pub(super) fn heap_bytes(&self) -> usize {
        let long = self.long.as_ref().map_or(0, |long| {
            heap_bytes(size_of::<LongEntries>()) + vec_bytes(&long.entries) + long.heap
        });
        vec_bytes(&self.bytes) + long
    }

    #[inline]
    fn tags(&self) -> &[u8] {
        &self.bytes[..self.count as usize]
    }

    #[inline]
    fn lengths(&self) -> &[u8] {
        &self.bytes[self.slots as usize..][..self.count as usize]
    }

    #[inline]
    fn entries_start(&self) -> usize {
        2 * self.slots as usize
    }

    /// Where an entry inside the segment begins that has these lengths before it.
    #[inline]
    fn start_behind(&self, before: &[u8]) -> usize {
        let bytes = if self.long.is_none() { sum(before) } else { sum_of_short(before) };
        self.entries_start() + bytes
    }

    /// Where the entry with this hash stands for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&[u8]) -> bool) -> Option<usize> {
        memchr::memchr_iter(tag_of(hash), self.tags()).find(|index| is_it(self.entry(*index)))
    }

    /// The entry at `index`.
    #[inline]
    pub(super) fn entry(&self, index: usize) -> &[u8] {
        let (before, rest) = self.lengths().split_at(index);
        match rest[0] {
            LONG => &self.long_entries()[long_before(before)].bytes,
            length => &self.bytes[self.start_behind(before)..][..usize::from(length)],
        }
    }

    /// All entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[self.entries_start()..];
        let mut long = self.long_entries().iter();
        self.lengths().iter().map(move |length| match *length {
            LONG => &*long.next().expect("there is one for each such length").bytes,
            length => {
                let (entry, behind) = rest.split_at(usize::from(length));
                rest = behind;
                entry
            }
        })
    }

    /// Adds an entry of `length` bytes, which `write` fills in.
    #[inline]
    pub(super) fn push(&mut self, hash: u64, length: usize, write: impl FnOnce(&mut [u8])) {
        match u8::try_from(length) {
            Ok(short) if short != LONG => {
                let start = self.push_slot(tag_of(hash), short);
                write(&mut self.bytes[start..]);
            }
            _ => {
                let mut bytes = vec![0; length].into_boxed_slice();
                write(&mut bytes);
                self.push_long(tag_of(hash), LongEntry { hash, bytes });
            }
        }
    }

    /// Removes the entry at `index`; the last one behind it move up.
    pub(super) fn remove(&mut self, index: usize) {
        let (before, rest) = self.lengths().split_at(index);
        let length = rest[0];
        if length == LONG {
            self.remove_long(long_before(before));
        } else {
            let start = self.start_behind(before);
            let end = self.bytes.len();
            self.bytes.copy_within(start + usize::from(length)..end, start);
            self.bytes.truncate(end - usize::from(length));
        }
        let (slots, count) = (self.slots as usize, self.count as usize);
        self.bytes.copy_within(index + 1..count, index);
        self.bytes.copy_within(slots + index + 1..slots + count, slots + index);
        self.count -= 1;
        if slots - (count - 1) >= 2 * SLOT_STEP {
            self.remove_slots();
        }
        self.shrink();
    }

    /// The entry at `index`, to be written anew, if it is `length` bytes long.
    #[inline]
    pub(super) fn entry_mut(&mut self, index: usize, length: usize) -> Option<&mut [u8]> {
        let (before, rest) = self.lengths().split_at(index);
        let own = rest[0];
        if own == LONG {
            let nth = long_before(before);
            let long = &mut self.long.as_mut()?.entries[nth].bytes;
            return (long.len() == length).then_some(long);
        }
        let start = self.start_behind(before);
        (usize::from(own) == length).then(|| &mut self.bytes[start..start + length])
    }

    /// Takes over the entries of another.
    pub(super) fn append(&mut self, other: Self) {
        other.drain(|tag, entry| self.push_moving(tag, entry));
    }

    /// Moves those entries to a new segment whose hash has `bit` set; `hash_of` tells a short entry's hash.
    pub(super) fn split_off(&mut self, bit: u64, hash_of: impl Fn(&[u8]) -> u64) -> Self {
        let (mut low, mut high) = (Self::default(), Self::default());
        std::mem::take(self).drain(|tag, entry| {
            let hash = match &entry {
                Moving::Short(bytes) => hash_of(bytes),
                Moving::Long(entry) => entry.hash,
            };
            let into = if hash & bit == 0 { &mut low } else { &mut high };
            into.push_moving(tag, entry);
        });
        *self = low;
        high
    }

    /// Hands out all entries with their tags.
    fn drain(self, mut visit: impl FnMut(u8, Moving<'_>)) {
        let mut rest = &self.bytes[self.entries_start()..];
        let mut long = self.long.map(|long| long.entries).unwrap_or_default().into_iter();
        let (slots, count) = (self.slots as usize, self.count as usize);
        for index in 0..count {
            let length = self.bytes[slots + index];
            let moving = if length == LONG {
                Moving::Long(long.next().expect("there is one for each such length"))
            } else {
                let (entry, behind) = rest.split_at(usize::from(length));
                rest = behind;
                Moving::Short(entry)
            };
            visit(self.bytes[index], moving);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "shorter than `LONG`")]
    fn push_moving(&mut self, tag: u8, entry: Moving<'_>) {
        match entry {
            Moving::Short(bytes) => {
                let start = self.push_slot(tag, bytes.len() as u8);
                self.bytes[start..].copy_from_slice(bytes);
            }
            Moving::Long(entry) => self.push_long(tag, entry),
        }
    }

    /// Adds an entry of `length` bytes, which are zero; answers where it begins.
    #[inline]
    fn push_slot(&mut self, tag: u8, length: u8) -> usize {
        let inside = if length == LONG { 0 } else { usize::from(length) };
        let is_full = self.count == self.slots;
        self.reserve(inside + if is_full { 2 * SLOT_STEP } else { 0 });
        if is_full {
            self.add_slots();
        }
        let (slots, count) = (self.slots as usize, self.count as usize);
        self.bytes[count] = tag;
        self.bytes[slots + count] = length;
        self.count += 1;
        let start = self.bytes.len();
        self.bytes.resize(start + inside, 0);
        start
    }

    fn push_long(&mut self, tag: u8, entry: LongEntry) {
        self.push_slot(tag, LONG);
        let long = self.long.get_or_insert_default();
        long.heap += heap_bytes(entry.bytes.len());
        if long.entries.len() == long.entries.capacity() {
            long.entries.reserve_exact(1 + long.entries.len() / 4);
        }
        long.entries.push(entry);
    }

    fn remove_long(&mut self, nth: usize) {
        let Some(long) = &mut self.long else { return };
        let entry = long.entries.remove(nth);
        long.heap -= heap_bytes(entry.bytes.len());
        if long.entries.is_empty() {
            self.long = None;
        } else if long.entries.capacity() > 2 * long.entries.len() {
            long.entries.shrink_to_fit();
        }
    }

    fn long_entries(&self) -> &[LongEntry] {
        self.long.as_ref().map_or(&[], |long| &long.entries)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a constant")]
    fn add_slots(&mut self) {
        let (slots, end) = (self.slots as usize, self.bytes.len());
        self.bytes.resize(end + 2 * SLOT_STEP, 0);
        self.bytes.copy_within(2 * slots..end, 2 * (slots + SLOT_STEP));
        self.bytes.copy_within(slots..2 * slots, slots + SLOT_STEP);
        self.slots += SLOT_STEP as u32;
    }

    #[expect(clippy::cast_possible_truncation, reason = "a constant")]
    fn remove_slots(&mut self) {
        let (slots, end) = (self.slots as usize, self.bytes.len());
        self.bytes.copy_within(slots..2 * slots - SLOT_STEP, slots - SLOT_STEP);
        self.bytes.copy_within(2 * slots..end, 2 * (slots - SLOT_STEP));
        self.bytes.truncate(end - 2 * SLOT_STEP);
        self.slots -= SLOT_STEP as u32;
    }

    /// Makes room for `bytes` more.
    #[inline]
    fn reserve(&mut self, bytes: usize) {
        let wanted = self.bytes.len() + bytes;
        if wanted > self.bytes.capacity() {
            self.bytes.reserve_exact(roomy(wanted) - self.bytes.len());
        }
    }

    /// Gives memory back once a third of it is not used.
    fn shrink(&mut self) {
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        if capacity > length + length / 2 + 2 * GROWTH_BYTES {
            self.bytes.shrink_to(roomy(length));
        }
    }
}

/// A capacity for `length` bytes and some more, such that the allocator has nothing to round up.
fn roomy(length: usize) -> usize {
    heap_bytes(length + GROWTH_BYTES.max(length / GROWTH_FRACTION)) - HEADER_BYTES
}
