//! One cache line of the index: twelve entries by seven bits of their hash.
//!
//! After F14 (Bronson and Shi, "Open-sourcing F14 for faster, more memory-efficient hash tables",
//! 2019): a key is found by comparing all tags of its home chunk at once, and the search goes on to
//! the next chunk only while the overflow counter says that some key had to.
//!
//! ```text
//! byte  0           12        13         16                                    64
//!       | 12 tags   | overflow | note     | 12 handles of entries                |
//! ```

use super::region::Plain;
use super::slab::Handle;

/// Entries of a chunk.
pub(super) const PLACES: usize = 12;

const OVERFLOW_MASK: u32 = 0xff;
const NOTE_SHIFT: u32 = 8;
const PLACES_MASK: u32 = (1 << PLACES) - 1;

/// Twelve entries of the index.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Chunk {
    /// 0 where the place is free, else seven bits of the hash with the top bit set.
    tags: [u8; PLACES],
    /// Low byte: how many entries probed past this chunk; 255 stays 255. The other three bytes are
    /// a note of whoever owns the segment. Word 3 of the object, as the slab wants it.
    meta: u32,
    handles: [u32; PLACES],
}

// SAFETY: integers throughout, no padding (12 + 4 + 48 bytes), alignment 64.
unsafe impl Plain for Chunk {}

const _: () = assert!(size_of::<Chunk>() == 64);

/// Places of a chunk, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places(u32);

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let place = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(place)
    }
}

impl Places {
    /// How many there are.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

/// The tag of a hash: its lowest seven bits.
#[inline]
pub(super) fn tag_of(hash: u64) -> u8 {
    (hash & 0x7f) as u8 | 0x80
}

impl Chunk {
    pub(super) const EMPTY: Self =
        Self { tags: [0; PLACES], meta: 0, handles: [Handle::NONE.0; PLACES] };

    /// The places whose tag is `tag`.
    #[inline]
    pub(super) fn matches(&self, tag: u8) -> Places {
        Places(self.equal(tag))
    }

    /// The places in use.
    #[inline]
    pub(super) fn occupied(&self) -> Places {
        Places(!self.equal(0) & PLACES_MASK)
    }

    /// The entry at `place`.
    #[inline]
    pub(super) fn handle(&self, place: usize) -> Handle {
        Handle(self.handles[place])
    }

    /// The first free place.
    #[inline]
    pub(super) fn free_place(&self) -> Option<usize> {
        Places(self.equal(0)).next()
    }

    /// Fills a place.
    #[inline]
    pub(super) fn put(&mut self, place: usize, tag: u8, handle: Handle) {
        self.tags[place] = tag;
        self.handles[place] = handle.0;
    }

    /// Names another handle for the entry at `place`.
    #[inline]
    pub(super) fn replace(&mut self, place: usize, handle: Handle) {
        self.handles[place] = handle.0;
    }

    /// Empties a place.
    #[inline]
    pub(super) fn clear(&mut self, place: usize) {
        self.tags[place] = 0;
        self.handles[place] = Handle::NONE.0;
    }

    /// Whether some entry had to look for a place beyond this chunk.
    #[inline]
    pub(super) fn has_overflowed(&self) -> bool {
        self.meta & OVERFLOW_MASK != 0
    }

    /// An entry goes on past this chunk.
    #[inline]
    pub(super) fn count_overflow(&mut self) {
        if self.meta & OVERFLOW_MASK != OVERFLOW_MASK {
            self.meta += 1;
        }
    }

    /// An entry that had gone past this chunk is gone. Once the counter was full nobody knows.
    #[inline]
    pub(super) fn uncount_overflow(&mut self) {
        if self.meta & OVERFLOW_MASK != OVERFLOW_MASK {
            debug_assert!(self.has_overflowed());
            self.meta -= 1;
        }
    }

    /// The owner's note: 24 bits.
    #[inline]
    pub(super) fn note(&self) -> u32 {
        self.meta >> NOTE_SHIFT
    }

    /// Sets the owner's note.
    #[inline]
    pub(super) fn set_note(&mut self, note: u32) {
        debug_assert!(note < 1 << 24);
        self.meta = note << NOTE_SHIFT | self.meta & OVERFLOW_MASK;
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn equal(&self, tag: u8) -> u32 {
        use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi32, _mm_set1_epi8};
        let [a, b, c] = self.tag_words().map(u32::cast_signed);
        // SAFETY: SSE2 is part of x86-64; the instructions work on registers only.
        let mask = unsafe {
            let tags = _mm_set_epi32(0, c, b, a);
            _mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8(tag.cast_signed())))
        };
        mask.cast_unsigned() & PLACES_MASK
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline]
    fn equal(&self, tag: u8) -> u32 {
        self.equal_portable(tag)
    }

    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn equal_portable(&self, tag: u8) -> u32 {
        let mut mask = 0;
        for (place, each) in self.tags.iter().enumerate() {
            mask |= u32::from(*each == tag) << place;
        }
        mask
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn tag_words(&self) -> [u32; 3] {
        let (words, _) = self.tags.as_chunks::<4>();
        [words[0], words[1], words[2]].map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{Chunk, PLACES, Places, tag_of};
    use crate::cache::slab::Handle;

    #[test]
    fn places_are_found_by_tag() {
        let mut chunk = Chunk::EMPTY;
        assert_eq!(chunk.free_place(), Some(0));
        for (place, handle) in (100..).enumerate().take(PLACES) {
            assert_eq!(chunk.free_place(), Some(place));
            chunk.put(place, tag_of(place as u64 % 5), Handle(handle));
        }
        assert_eq!(chunk.free_place(), None);
        assert_eq!(chunk.matches(tag_of(3)).collect::<Vec<_>>(), [3, 8]);
        assert_eq!(chunk.handle(8), Handle(108));
        chunk.clear(3);
        assert_eq!(chunk.matches(tag_of(3)).collect::<Vec<_>>(), [8]);
        assert_eq!((chunk.occupied().len(), chunk.free_place()), (11, Some(3)));
    }

    #[test]
    fn both_ways_to_compare_agree() {
        let mut chunk = Chunk::EMPTY;
        for round in 0..500u64 {
            let hash = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57;
            chunk.put((round % 12) as usize, tag_of(hash), Handle(1));
            for tag in [0, tag_of(hash), tag_of(hash + 1)] {
                assert_eq!(chunk.matches(tag), Places(chunk.equal_portable(tag)));
            }
        }
    }

    #[test]
    fn a_full_overflow_counter_sticks() {
        let mut chunk = Chunk::EMPTY;
        chunk.set_note(0xab_cdef);
        chunk.count_overflow();
        chunk.uncount_overflow();
        assert!(!chunk.has_overflowed());
        (0..300).for_each(|_| chunk.count_overflow());
        (0..300).for_each(|_| chunk.uncount_overflow());
        assert!(chunk.has_overflowed());
        assert_eq!(chunk.note(), 0xab_cdef);
    }
}
