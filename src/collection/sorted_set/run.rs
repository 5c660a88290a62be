//! Scores and members in order, in one piece of memory: a leaf of the tree, or the separators of an inner node.
//!
//! ```text
//! run      records, the bytes of all members
//! record   score f64, end of its member among the bytes of all members u32
//! ```
//!
//! Numbers are little-endian. Elements are ordered by score, those of one score by the bytes of their members.

use super::Edge;
use crate::collection::heap::{HEADER_BYTES, vec_bytes};

const SCORE_BYTES: usize = 8;
const RECORD_BYTES: usize = 12;
/// Bytes of a full leaf: longer ones are split. With the allocator's header it fills one of its units.
pub(super) const LEAF_BYTES: usize = 1024 - HEADER_BYTES;

/// Elements in order. The members together are less than 4 GiB.
#[derive(Debug, Default)]
pub(super) struct Run {
    bytes: Vec<u8>,
    count: u32,
}

impl Run {
    /// How many elements.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes of what it holds.
    pub(super) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of one element.
    pub(super) fn element_bytes(member: &[u8]) -> usize {
        RECORD_BYTES + member.len()
    }

    /// Bytes of memory that it holds beside itself.
    pub(super) fn memory_bytes(&self) -> usize {
        vec_bytes(&self.bytes)
    }

    /// The element at a position.
    #[inline]
    pub(super) fn get(&self, index: usize) -> (f64, &[u8]) {
        let members = self.count() * RECORD_BYTES;
        let (start, end) = (self.member_start(index), self.member_start(index + 1));
        (self.score(index), &self.bytes[members + start..members + end])
    }

    /// How many elements of those from `from` on, and all before, come before an edge.
    #[inline]
    pub(super) fn partition(&self, from: usize, edge: Edge<'_>) -> usize {
        let (mut low, mut high) = (from, self.count());
        while low < high {
            let middle = low.midpoint(high);
            let (score, member) = self.get(middle);
            if edge.is_behind(score, member) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Puts an element in before the one at `index`.
    pub(super) fn insert(&mut self, index: usize, score: f64, member: &[u8]) {
        let start = self.member_start(index);
        let (old_len, record) = (self.bytes.len(), index * RECORD_BYTES);
        let member_at = self.count() * RECORD_BYTES + start;
        self.grow_to(old_len + RECORD_BYTES + member.len());
        self.bytes.copy_within(member_at..old_len, member_at + RECORD_BYTES + member.len());
        self.bytes.copy_within(record..member_at, record + RECORD_BYTES);
        self.bytes[member_at + RECORD_BYTES..][..member.len()].copy_from_slice(member);
        self.bytes[record..][..SCORE_BYTES].copy_from_slice(&score.to_le_bytes());
        let end = record + SCORE_BYTES..record + RECORD_BYTES;
        self.bytes[end].copy_from_slice(&short(start).to_le_bytes());
        self.count += 1;
        self.move_ends(index, short(member.len()));
    }

    /// Removes the element at `index`.
    pub(super) fn remove(&mut self, index: usize) {
        let (start, end) = (self.member_start(index), self.member_start(index + 1));
        let (members, record) = (self.count() * RECORD_BYTES, index * RECORD_BYTES);
        self.move_ends(index, short(end - start).wrapping_neg());
        self.bytes.copy_within(record + RECORD_BYTES..members + start, record);
        self.bytes.copy_within(members + end.., members + start - RECORD_BYTES);
        self.bytes.truncate(self.bytes.len() - RECORD_BYTES - (end - start));
        self.count -= 1;
        self.shrink();
    }

    /// Takes the elements from `index` on away, as a run of their own.
    pub(super) fn split_off(&mut self, index: usize) -> Self {
        let mut right = Self::default();
        right.append(self, index);
        let members = self.count() * RECORD_BYTES;
        let start = self.member_start(index);
        self.bytes.copy_within(members..members + start, index * RECORD_BYTES);
        self.bytes.truncate(index * RECORD_BYTES + start);
        self.count -= right.count;
        self.shrink();
        right
    }

    /// Adds the elements of `other` from `from` on, which come after all that are here.
    pub(super) fn append(&mut self, other: &Self, from: usize) {
        let (members, other_members) = (self.count() * RECORD_BYTES, other.count() * RECORD_BYTES);
        let (start, other_start) = (self.member_start(self.count()), other.member_start(from));
        let records = from * RECORD_BYTES..other_members;
        let (old_len, old_count) = (self.bytes.len(), self.count());
        self.grow_to(old_len + records.len() + other.bytes.len() - other_members - other_start);
        self.bytes.copy_within(members..old_len, members + records.len());
        self.bytes[old_len + records.len()..]
            .copy_from_slice(&other.bytes[other_members + other_start..]);
        self.bytes[members..][..records.len()].copy_from_slice(&other.bytes[records]);
        self.count += other.count - short(from);
        self.move_ends(old_count, short(start).wrapping_sub(short(other_start)));
    }

    /// Puts an element in place of the one at `index`; it is in order there.
    pub(super) fn replace(&mut self, index: usize, score: f64, member: &[u8]) {
        self.remove(index);
        self.insert(index, score, member);
    }

    /// Position at which the bytes before and behind are about as many, not at an end if there are two elements.
    pub(super) fn middle(&self) -> usize {
        let half = self.bytes.len() / 2;
        let weight = |index: usize| self.member_start(index + 1) + (index + 1) * RECORD_BYTES;
        let found = (0..self.count()).find(|&index| weight(index) >= half).unwrap_or(0);
        found.clamp(1, self.count().max(2) - 1)
    }

    fn score(&self, index: usize) -> f64 {
        let bytes = self.bytes[index * RECORD_BYTES..].first_chunk();
        f64::from_le_bytes(*bytes.expect("a record is longer"))
    }

    /// Where the member at `index` begins among the members; that of no element is where the last ends.
    #[inline]
    fn member_start(&self, index: usize) -> usize {
        if index == 0 {
            return 0;
        }
        let bytes = self.bytes[index * RECORD_BYTES - RECORD_BYTES + SCORE_BYTES..].first_chunk();
        u32::from_le_bytes(*bytes.expect("a record is longer")) as usize
    }

    /// Adds `by`, which wraps around, to the ends from those of the element at `from` on.
    fn move_ends(&mut self, from: usize, by: u32) {
        let records = from * RECORD_BYTES..self.count() * RECORD_BYTES;
        for record in self.bytes[records].chunks_exact_mut(RECORD_BYTES) {
            let end = record.last_chunk_mut().expect("a record is longer");
            *end = u32::from_le_bytes(*end).wrapping_add(by).to_le_bytes();
        }
    }

    /// Makes it longer. The room that is left over is an eighth at most: most leaves do not grow for long.
    fn grow_to(&mut self, length: usize) {
        const ROOM_MIN: usize = 40;
        if length > self.bytes.capacity() {
            let roomy = (length + ROOM_MIN.max(length / 8)).next_multiple_of(16) - HEADER_BYTES;
            let wanted = roomy.min(LEAF_BYTES.max(length));
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.resize(length, 0);
    }

    fn shrink(&mut self) {
        if self.bytes.len() < self.bytes.capacity() / 2 {
            self.bytes.shrink_to(self.bytes.len() + self.bytes.len() / 8);
        }
    }
}

/// # Panics
/// If it is too much for a run.
fn short(number: usize) -> u32 {
    u32::try_from(number).expect("a run is less than 4 GiB")
}
