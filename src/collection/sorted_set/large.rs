//! A large sorted set: a tree of its elements in order, and a table from member to score.

use super::save_put;
use super::tree::Tree;
use crate::collection::Large;
use crate::collection::edit::Edit;
use crate::collection::heap::heap_bytes;
use crate::collection::table::{Table, Word};
use std::ops::Range;

/// Both hold all members.
#[derive(Debug)]
pub struct LargeSortedSet {
    pub(super) tree: Tree,
    /// Scores as their bits.
    pub(super) table: Table<Word>,
}

impl LargeSortedSet {
    pub(super) fn new(seed: u64) -> Self {
        Self { tree: Tree::default(), table: Table::new(seed) }
    }

    /// How many members.
    pub(super) fn len(&self) -> usize {
        self.tree.len()
    }

    /// The score of a member.
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.table.get(member).map(f64::from_bits)
    }

    #[inline]
    pub(super) fn update(
        &mut self,
        member: &[u8],
        edit: &mut Edit<'_>,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> super::Update {
        let found = self.table.seek(member);
        let before = found.ok().map(|spot| f64::from_bits(self.table.entry(spot).1));
        let Some(score) = decide(before).filter(|score| before != Some(*score)) else {
            return super::Update { before, after: before };
        };
        super::note_put(edit, member, score);
        match found {
            Ok(spot) => self.table.set(spot, member, score.to_bits()),
            Err(vacant) => self.table.add(vacant, member, score.to_bits()),
        }
        if let Some(before) = before {
            self.tree.remove(before, member);
        }
        self.tree.insert(score, member);
        super::Update { before, after: Some(score) }
    }

    /// Adds a member that is not there.
    pub(super) fn put(&mut self, member: &[u8], score: f64) {
        self.table.insert(member, score.to_bits());
        self.tree.insert(score, member);
    }

    /// Removes a member; whether it was there.
    pub(super) fn remove(&mut self, member: &[u8]) -> bool {
        let Ok(spot) = self.table.seek(member) else { return false };
        let score = f64::from_bits(self.table.entry(spot).1);
        self.table.remove_at(spot);
        self.tree.remove(score, member);
        true
    }

    /// Removes the elements of these ranks after having shown each.
    pub(super) fn remove_ranks(&mut self, ranks: Range<usize>, mut visit: impl FnMut(&[u8], f64)) {
        for _ in ranks.clone() {
            let Some((leaf, index)) = self.tree.leaf(ranks.start) else { return };
            let (score, member) = leaf.get(index);
            visit(member, score);
            self.table.remove(member);
            self.tree.remove_at(ranks.start);
        }
    }
}

impl Large for LargeSortedSet {
    fn memory_bytes(&self) -> usize {
        heap_bytes(size_of::<Self>()) + self.tree.memory_bytes() + self.table.memory_bytes()
    }

    fn free_some(&mut self, elements: usize) -> bool {
        self.tree.free_some(elements) && self.table.free_some(elements)
    }

    fn save(&self, from: u64, bytes: usize, out: &mut Vec<u8>) -> u64 {
        const FEW: usize = 16;
        let (mut cursor, end) = (from, out.len().saturating_add(bytes));
        loop {
            cursor = self.table.scan(cursor, FEW, |member, score| {
                save_put(out, member, f64::from_bits(score));
            });
            if cursor == 0 || out.len() >= end {
                return cursor;
            }
        }
    }
}
