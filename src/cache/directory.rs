//! A slot with more entries than one segment takes: extendible hashing (Fagin et al., 1979).
//!
//! The top bits of the hash choose a segment of 64 chunks. A segment that is full splits in two by
//! one more bit, and only it; the directory doubles when a segment needs more bits than it has. So a
//! slot grows to any size in steps of one segment. Two halves with few entries merge again.
//!
//! Notes of a segment's chunks: 0 its owner, 1 its length, 2 its depth (the number of hash bits that
//! all its entries share), 3 these bits, left-aligned in 21.

use super::class::SEGMENT_LOG2_MAX;
use super::entry::Store;
use super::index::{Position, Segment};
use super::random::Random;

/// Most hash bits of a directory: with 672 entries a segment, more than handles can name.
pub(super) const DEPTH_MAX: u32 = 21;

const LEN_NOTE: usize = 1;
const DEPTH_NOTE: usize = 2;
const PREFIX_NOTE: usize = 3;
/// Two halves merge when they have at most this many entries together: half of what one takes.
const MERGED_LEN_MAX: usize = 336;
/// A segment below `MERGED_LEN_MAX / 2` looks for its other half once in so many removals.
const MERGE_INTERVAL: usize = 16;

/// The segments of one slot by the top bits of the hash.
#[derive(Debug)]
pub(super) struct Directory {
    depth: u32,
    /// Index of a segment's first chunk; a segment stands once for each prefix that leads to it. 0
    /// where a retired table's segment has been freed.
    lines: Vec<u32>,
    /// Segments by depth.
    by_depth: Box<[u32; DEPTH_MAX as usize + 1]>,
}

/// A segment and what its notes say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    pub(super) segment: Segment,
    pub(super) depth: u32,
    /// Left-aligned in `DEPTH_MAX` bits.
    pub(super) prefix: u32,
}

impl Leaf {
    fn at(store: &Store, line: u32) -> Self {
        let segment = Segment { line: line as usize, log2: SEGMENT_LOG2_MAX };
        let chunks = segment.chunks(store);
        Self { segment, depth: chunks[DEPTH_NOTE].note(), prefix: chunks[PREFIX_NOTE].note() }
    }

    fn write(&self, store: &mut Store, len: usize) {
        let chunks = self.segment.chunks_mut(store);
        chunks[DEPTH_NOTE].set_note(self.depth);
        chunks[PREFIX_NOTE].set_note(self.prefix);
        set_len(store, self.segment, len);
    }

    /// One past the prefixes that lead to it.
    pub(super) fn prefix_end(&self) -> u32 {
        self.prefix + (1 << (DEPTH_MAX - self.depth))
    }
}

impl Directory {
    /// A directory of one segment with `len` entries.
    pub(super) fn new(store: &mut Store, segment: Segment, len: usize) -> Self {
        Leaf { segment, depth: 0, prefix: 0 }.write(store, len);
        let mut by_depth = Box::new([0; DEPTH_MAX as usize + 1]);
        by_depth[0] = 1;
        Self { depth: 0, lines: vec![line_of(segment)], by_depth }
    }

    /// The segment for a hash; none if it has been freed.
    #[inline]
    pub(super) fn segment(&self, hash: u64) -> Option<Segment> {
        let line = self.lines[self.index(hash)] as usize;
        (line != 0).then_some(Segment { line, log2: SEGMENT_LOG2_MAX })
    }

    /// The segment for a hash, split as often as it takes to have room.
    pub(super) fn segment_with_room(&mut self, store: &mut Store, hash: u64) -> Segment {
        loop {
            let leaf = Leaf::at(store, self.lines[self.index(hash)]);
            if len_of(store, leaf.segment) < leaf.segment.len_max() {
                return leaf.segment;
            }
            self.split(store, leaf);
        }
    }

    /// The segment to which prefix `prefix` leads, left-aligned in `DEPTH_MAX` bits.
    pub(super) fn leaf_at(&self, store: &Store, prefix: u32) -> Option<Leaf> {
        let line = self.lines[self.index_of_prefix(prefix)];
        (line != 0).then(|| Leaf::at(store, line))
    }

    /// Whether a segment that a random prefix led to is to be taken, so that in the end all are
    /// taken equally often: a segment of depth `d` is met with probability `2^-d`.
    pub(super) fn accepts(&self, store: &Store, segment: Segment, random: &mut Random) -> bool {
        let depth = Leaf::at(store, line_of(segment)).depth;
        // The directory is as deep as its deepest segment.
        random.next() >> 1 >> (u64::BITS - 1 - (self.depth - depth)) == 0
    }

    /// A segment has one entry more.
    pub(super) fn count_in(&mut self, store: &mut Store, segment: Segment) {
        let len = len_of(store, segment) + 1;
        set_len(store, segment, len);
    }

    /// A segment has one entry less.
    pub(super) fn count_out(&mut self, store: &mut Store, segment: Segment) {
        let len = len_of(store, segment) - 1;
        set_len(store, segment, len);
    }

    /// Merges the segment of `hash` with its other half if both have few entries, and the result
    /// with its other half, and so on.
    pub(super) fn merge(&mut self, store: &mut Store, hash: u64) {
        let mut leaf = Leaf::at(store, self.lines[self.index(hash)]);
        let len = len_of(store, leaf.segment);
        if len > MERGED_LEN_MAX / 2 || !len.is_multiple_of(MERGE_INTERVAL) {
            return;
        }
        while leaf.depth > 0 {
            let other_prefix = leaf.prefix ^ (1 << (DEPTH_MAX - leaf.depth));
            let other = Leaf::at(store, self.lines[self.index_of_prefix(other_prefix)]);
            let len = len_of(store, leaf.segment) + len_of(store, other.segment);
            if other.depth != leaf.depth || len > MERGED_LEN_MAX {
                break;
            }
            leaf = self.join(store, leaf, other, len);
        }
        self.halve(store);
    }

    /// The segment, if it is the only one.
    pub(super) fn only_segment(&self) -> Option<Segment> {
        (self.depth == 0)
            .then_some(Segment { line: self.lines[0] as usize, log2: SEGMENT_LOG2_MAX })
    }

    /// Frees all segments.
    pub(super) fn free(self, store: &mut Store) {
        let mut lines = self.lines;
        lines.dedup();
        for line in lines.into_iter().filter(|line| *line != 0) {
            store.slab.free(Leaf::at(store, line).segment.handle());
        }
    }

    /// Frees one segment of a retired table, whose entries are gone.
    pub(super) fn free_leaf(&mut self, store: &mut Store, leaf: Leaf) {
        self.set_lines(leaf, 0);
        store.slab.free(leaf.segment.handle());
    }

    /// A segment has been copied and is now at `line`.
    pub(super) fn moved(&mut self, store: &Store, line: usize) {
        let segment = Segment { line, log2: SEGMENT_LOG2_MAX };
        let line = line_of(segment);
        self.set_lines(Leaf::at(store, line), line);
    }

    /// Bytes of the directory beside its segments.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.by_depth) + self.lines_bytes()
    }

    fn lines_bytes(&self) -> usize {
        self.lines.capacity() * size_of::<u32>()
    }

    fn set_all_lines(&mut self, store: &mut Store, lines: Vec<u32>) {
        store.tables_bytes -= self.lines_bytes();
        self.lines = lines;
        store.tables_bytes += self.lines_bytes();
    }

    /// Each segment once.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn leaves(&self, store: &Store) -> Vec<Leaf> {
        let mut lines = self.lines.clone();
        lines.dedup();
        lines.into_iter().filter(|line| *line != 0).map(|line| Leaf::at(store, line)).collect()
    }

    /// Panics unless lengths, depths and prefixes are what the segments say.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self, store: &Store) {
        let mut by_depth = [0; DEPTH_MAX as usize + 1];
        for leaf in self.leaves(store) {
            by_depth[leaf.depth as usize] += 1;
            let len = leaf
                .segment
                .chunks(store)
                .iter()
                .map(|chunk| chunk.occupied().len())
                .sum::<usize>();
            assert_eq!(len, len_of(store, leaf.segment));
            for prefix in [leaf.prefix, leaf.prefix_end() - 1] {
                let line = self.lines[self.index_of_prefix(prefix)];
                assert_eq!(line as usize, leaf.segment.line);
            }
        }
        assert_eq!(by_depth, *self.by_depth);
        assert_eq!(self.lines.len(), 1 << self.depth);
    }

    fn index(&self, hash: u64) -> usize {
        // Two shifts, because a shift by 64 is not defined.
        (hash >> 1 >> (u64::BITS - 1 - self.depth)) as usize
    }

    fn index_of_prefix(&self, prefix: u32) -> usize {
        (prefix >> (DEPTH_MAX - self.depth)) as usize
    }

    fn split(&mut self, store: &mut Store, leaf: Leaf) {
        assert!(leaf.depth < DEPTH_MAX, "more entries in a slot than handles can name");
        if leaf.depth == self.depth {
            let mut lines = Vec::with_capacity(2 * self.lines.len());
            lines.extend(self.lines.iter().flat_map(|line| [*line; 2]));
            self.set_all_lines(store, lines);
            self.depth += 1;
        }
        let depth = leaf.depth + 1;
        let owner = leaf.segment.chunks(store)[0].note();
        let low = Leaf { depth, ..leaf };
        let high = Leaf {
            segment: Segment::alloc(store, SEGMENT_LOG2_MAX, owner),
            depth,
            prefix: leaf.prefix | 1 << (DEPTH_MAX - depth),
        };
        let moved = move_upper_half(store, low.segment, high.segment, depth);
        let len = len_of(store, low.segment);
        low.write(store, len - moved);
        high.write(store, moved);
        self.set_lines(high, line_of(high.segment));
        self.by_depth[leaf.depth as usize] -= 1;
        self.by_depth[depth as usize] += 2;
    }

    fn join(&mut self, store: &mut Store, leaf: Leaf, other: Leaf, len: usize) -> Leaf {
        let into = Leaf {
            segment: leaf.segment,
            depth: leaf.depth - 1,
            prefix: leaf.prefix.min(other.prefix),
        };
        other.segment.each_hashed(store, |store, hash, entry| into.segment.put(store, hash, entry));
        store.slab.free(other.segment.handle());
        into.write(store, len);
        self.set_lines(into, line_of(into.segment));
        self.by_depth[leaf.depth as usize] -= 2;
        self.by_depth[into.depth as usize] += 1;
        into
    }

    /// Halves the directory as long as no segment needs its last bit.
    fn halve(&mut self, store: &mut Store) {
        while self.depth > 0 && self.by_depth[self.depth as usize] == 0 {
            let lines = self.lines.iter().copied().step_by(2).collect();
            self.set_all_lines(store, lines);
            self.depth -= 1;
        }
    }

    fn set_lines(&mut self, leaf: Leaf, line: u32) {
        let first = self.index_of_prefix(leaf.prefix);
        self.lines[first..first + (1 << (self.depth - leaf.depth))].fill(line);
    }
}

/// Moves the entries whose `depth`th hash bit is set from `low` to `high`; answers how many.
fn move_upper_half(store: &mut Store, low: Segment, high: Segment, depth: u32) -> usize {
    let mut moved = 0;
    for line in low.line..low.line + (1 << low.log2) {
        let chunk = store.slab.chunks()[line];
        for place in chunk.occupied() {
            store.slab.prefetch(chunk.handle(place).byte());
        }
        for place in chunk.occupied() {
            let entry = chunk.handle(place);
            let hash = store.hash(entry);
            if hash >> (u64::BITS - depth) & 1 == 1 {
                low.take(store, hash, Position { line, place, entry });
                high.put(store, hash, entry);
                moved += 1;
            }
        }
    }
    moved
}

fn len_of(store: &Store, segment: Segment) -> usize {
    segment.chunks(store)[LEN_NOTE].note() as usize
}

#[expect(clippy::cast_possible_truncation, reason = "a segment has 768 places")]
fn set_len(store: &mut Store, segment: Segment, len: usize) {
    segment.chunks_mut(store)[LEN_NOTE].set_note(len as u32);
}

#[expect(clippy::cast_possible_truncation, reason = "the slab has at most 2^29 lines")]
fn line_of(segment: Segment) -> u32 {
    segment.line as u32
}
