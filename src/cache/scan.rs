//! Walks over a table: `SCAN`, the keys of a slot, a random entry.
//!
//! `SCAN` visits the entries in an order that does not depend on where they stand at the moment:
//! by slot, then by the top 21 bits of the hash (what directories choose segments by), then by the
//! six bits of the home chunk, read backwards. A segment of `1 << k` chunks chooses the chunk by the
//! last `k` of the six bits, so each chunk holds one interval of the backward order, whatever `k`
//! is: this is the reverse-binary cursor of Redis's `dictScan`. The cursor is a position in this
//! order, so doubling, halving and splitting in between lose nothing. A merge may put entries into
//! the segment under the cursor that have been passed over by its chunk number only; so the cursor
//! keeps the depth of its segment, and a segment that has become wider is begun again.
//!
//! ```text
//! bit   45 ......... 32   31 .......... 11   10 .... 6   5 .......... 0
//!       slot (of shard)   prefix of segment  its depth   home, reversed
//! ```

use super::chunk::PLACES;
use super::class::SEGMENT_LOG2_MAX;
use super::directory::DEPTH_MAX;
use super::entry::Store;
use super::index::{Root, SLOTS_PER_SUM, Segment, Table, home_of};
use super::random::Random;
use super::slab::Handle;

const HOMES: u32 = 1 << SEGMENT_LOG2_MAX;
const PREFIXES: u32 = 1 << DEPTH_MAX;
const DEPTH_BITS: u32 = 5;
/// Chunks that one call visits at least if it must, and at most for each entry asked for.
const CHUNKS_MIN: usize = 64;
const CHUNKS_PER_ENTRY: usize = 10;
/// How often a random place of a slot is tried before any entry of it will do.
const PICK_TRIES: usize = 512;

const _: () = assert!(14 + DEPTH_MAX + DEPTH_BITS + SEGMENT_LOG2_MAX <= 48);
const _: () = assert!(DEPTH_MAX < 1 << DEPTH_BITS);

/// A position in the order of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    slot: usize,
    prefix: u32,
    depth: u32,
    /// Home chunk, its six bits reversed.
    home: u32,
}

impl Cursor {
    const fn start_of(slot: usize) -> Self {
        Self { slot, prefix: 0, depth: 0, home: 0 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "each field is cut to its width")]
    fn decode(cursor: u64) -> Self {
        let field = |shift: u32, bits: u32| (cursor >> shift & ((1 << bits) - 1)) as u32;
        let depth_at = SEGMENT_LOG2_MAX;
        let prefix_at = depth_at + DEPTH_BITS;
        Self {
            slot: (cursor >> (prefix_at + DEPTH_MAX)) as usize,
            prefix: field(prefix_at, DEPTH_MAX),
            depth: field(depth_at, DEPTH_BITS),
            home: field(0, SEGMENT_LOG2_MAX),
        }
    }

    fn encode(self) -> u64 {
        let above_prefix = (self.slot as u64) << DEPTH_MAX | u64::from(self.prefix);
        let above_home = above_prefix << DEPTH_BITS | u64::from(self.depth);
        above_home << SEGMENT_LOG2_MAX | u64::from(self.home)
    }
}

/// Reverses the six bits of a home chunk's number.
fn reverse(home: u32) -> u32 {
    home.reverse_bits() >> (u32::BITS - SEGMENT_LOG2_MAX)
}

impl Table {
    /// Visits about `count` entries from `cursor` on; answers the cursor to go on from, 0 at the
    /// end. `visit` tells whether the entry counts.
    pub(super) fn scan(
        &self,
        store: &Store,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(Handle) -> bool,
    ) -> u64 {
        let mut at = Cursor::decode(cursor);
        let mut chunks_left = count.saturating_mul(CHUNKS_PER_ENTRY).max(CHUNKS_MIN);
        let mut visited = 0;
        while visited < count.max(1) && chunks_left > 0 {
            let Some(slot) = self.next_slot(at.slot) else { return 0 };
            if slot != at.slot {
                at = Cursor::start_of(slot);
            }
            let (segment, prefix, depth, prefix_end) = self.segment_under(store, at);
            if depth < at.depth {
                at.home = 0;
            }
            (at.prefix, at.depth) = (prefix, depth);
            // The chunk's entries are those whose reversed home starts like the cursor's.
            let width = HOMES >> segment.log2;
            let first = at.home & !(width - 1);
            let chunk = reverse(first) as usize & ((1 << segment.log2) - 1);
            visited += visit_home(store, segment, chunk, &mut visit, &mut chunks_left);
            at.home = first + width;
            if at.home == HOMES {
                at = Cursor { slot, prefix: prefix_end, depth: 0, home: 0 };
                if prefix_end == PREFIXES {
                    at = Cursor::start_of(slot + 1);
                }
            }
        }
        match self.next_slot(at.slot) {
            None => 0,
            Some(slot) if slot != at.slot => Cursor::start_of(slot).encode(),
            Some(_) => at.encode(),
        }
    }

    /// Visits the entries of a slot until `visit` says that it is enough.
    pub(super) fn visit_slot(
        &self,
        store: &Store,
        slot: usize,
        mut visit: impl FnMut(Handle) -> bool,
    ) {
        let mut at = Cursor::start_of(slot);
        while at.prefix < PREFIXES && self.heads.get(slot).is_some_and(|head| head.len > 0) {
            let (segment, _, _, prefix_end) = self.segment_under(store, at);
            for chunk in segment.chunks(store) {
                for place in chunk.occupied() {
                    if !visit(chunk.handle(place)) {
                        return;
                    }
                }
            }
            at.prefix = prefix_end;
        }
    }

    /// A random entry, each as likely as any other.
    pub(super) fn pick(&self, store: &Store, random: &mut Random) -> Option<Handle> {
        if self.len == 0 {
            return None;
        }
        let mut nth = random.below(self.len);
        let group = self.sums.iter().position(|sum| skip(&mut nth, *sum))?;
        let first = group * SLOTS_PER_SUM;
        let slot = first + self.heads[first..].iter().position(|head| skip(&mut nth, head.len))?;
        for _ in 0..PICK_TRIES {
            if let Some(entry) = self.try_pick(store, slot, random) {
                return Some(entry);
            }
        }
        let mut any = None;
        self.visit_slot(store, slot, |entry| {
            any = Some(entry);
            false
        });
        any
    }

    /// Looks at a random place of a slot. Segments of less depth stand more often in their
    /// directory, and are passed over as much more often.
    fn try_pick(&self, store: &Store, slot: usize, random: &mut Random) -> Option<Handle> {
        let hash = random.next();
        let segment = self.segment(slot, hash)?;
        if let Root::Directory(number) = self.root(slot)
            && !self.directory(number).accepts(store, segment, random)
        {
            return None;
        }
        let chunk = &segment.chunks(store)[random.below(1 << segment.log2)];
        let place = random.below(PLACES);
        let entry = chunk.handle(place);
        (!entry.is_none()).then_some(entry)
    }

    /// The first slot from `slot` on that has entries.
    fn next_slot(&self, mut slot: usize) -> Option<usize> {
        while let Some(head) = self.heads.get(slot) {
            if head.len > 0 {
                return Some(slot);
            }
            let empty_group =
                slot.is_multiple_of(SLOTS_PER_SUM) && self.sums[slot / SLOTS_PER_SUM] == 0;
            slot += if empty_group { SLOTS_PER_SUM } else { 1 };
        }
        None
    }

    /// The segment at a position: itself, its prefix and depth, and where the next one starts.
    fn segment_under(&self, store: &Store, at: Cursor) -> (Segment, u32, u32, u32) {
        if let Root::Directory(number) = self.root(at.slot)
            && let Some(leaf) = self.directory(number).leaf_at(store, at.prefix)
        {
            return (leaf.segment, leaf.prefix, leaf.depth, leaf.prefix_end());
        }
        match self.root(at.slot) {
            Root::Segment(segment) => (segment, 0, 0, PREFIXES),
            Root::Empty | Root::Directory(_) => unreachable!("the slot has entries"),
        }
    }
}

/// Visits the entries whose home is chunk `home` of the segment, wherever they stand.
fn visit_home(
    store: &Store,
    segment: Segment,
    home: usize,
    visit: &mut impl FnMut(Handle) -> bool,
    chunks_left: &mut usize,
) -> usize {
    let chunks = segment.chunks(store);
    let (mut at, mask, mut visited) = (home, chunks.len() - 1, 0);
    for _ in 0..chunks.len() {
        *chunks_left = chunks_left.saturating_sub(1);
        for place in chunks[at].occupied() {
            let entry = chunks[at].handle(place);
            if home_of(store.hash(entry)) & mask == home {
                visited += usize::from(visit(entry));
            }
        }
        if !chunks[at].has_overflowed() {
            break;
        }
        at = (at + 1) & mask;
    }
    visited
}

/// Whether the `nth` item is among the next `count`; if not, they are passed over.
fn skip(nth: &mut usize, count: u32) -> bool {
    let here = *nth < count as usize;
    if !here {
        *nth -= count as usize;
    }
    here
}

#[cfg(test)]
mod tests {
    use super::{Cursor, HOMES, PREFIXES, reverse};

    #[test]
    fn cursors_fit_48_bits_and_come_back() {
        let last = Cursor { slot: 16_383, prefix: PREFIXES - 1, depth: 21, home: HOMES - 1 };
        for at in [Cursor::start_of(0), Cursor::start_of(7), last] {
            assert_eq!(Cursor::decode(at.encode()), at);
            assert!(at.encode() < 1 << 48);
        }
        assert_eq!(Cursor::start_of(0).encode(), 0);
        assert_eq!((reverse(1), reverse(0b110)), (32, 0b011_000));
    }
}
