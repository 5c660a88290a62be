//! Items that come in any order and are handed out in order, so that neither takes long at a time: they are sorted some
//! thousand at a time, and what has come out of that is merged.
//!
//! Equal items are handed out in the order in which they came.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::vec::IntoIter;

/// Items that are sorted at once.
const RUN_ITEMS: usize = 4096;

/// Items, of which none is taken before all have been put in.
#[derive(Debug)]
pub(super) struct Sorter<T> {
    /// The items that came last.
    fresh: Vec<T>,
    /// In order, each.
    runs: Vec<IntoIter<T>>,
    /// The first of each run, with the number of the run, once items are taken.
    heads: BinaryHeap<Head<T>>,
    len: usize,
}

/// The first of what is left of a run. The greatest is the one to be taken next.
#[derive(Debug)]
struct Head<T> {
    item: T,
    run: usize,
}

impl<T: Ord> Ord for Head<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.item.cmp(&self.item).then_with(|| other.run.cmp(&self.run))
    }
}

impl<T: Ord> PartialOrd for Head<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Head<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T: Ord> Eq for Head<T> {}

impl<T: Ord> Sorter<T> {
    /// Without items.
    pub(super) fn new() -> Self {
        Self { fresh: Vec::new(), runs: Vec::new(), heads: BinaryHeap::new(), len: 0 }
    }

    /// How many items have not been taken.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts an item in.
    pub(super) fn add(&mut self, item: T) {
        debug_assert!(self.heads.is_empty(), "items are taken when all are in");
        self.len += 1;
        self.fresh.push(item);
        if self.fresh.len() == RUN_ITEMS {
            self.end_run();
        }
    }

    fn end_run(&mut self) {
        let mut run = std::mem::take(&mut self.fresh);
        run.sort();
        self.runs.push(run.into_iter());
    }

    /// Takes the least item.
    pub(super) fn take(&mut self) -> Option<T> {
        if !self.fresh.is_empty() {
            self.end_run();
        }
        if self.heads.is_empty() && self.len > 0 {
            let firsts = self.runs.iter_mut().enumerate();
            let firsts = firsts.filter_map(|(run, items)| Some(Head { item: items.next()?, run }));
            self.heads = firsts.collect();
        }
        let mut least = self.heads.peek_mut()?;
        self.len -= 1;
        match self.runs[least.run].next() {
            Some(next) => Some(std::mem::replace(&mut least.item, next)),
            None => Some(PeekMut::pop(least).item),
        }
    }

    /// Takes so many items, or all if there are no more.
    pub(super) fn take_some(&mut self, count: usize) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.take()).take(count)
    }

    /// Drops some items that nobody wants any more; true once there are none.
    pub(super) fn free_some(&mut self) -> bool {
        self.heads.clear();
        self.fresh.clear();
        self.runs.pop();
        self.runs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{RUN_ITEMS, Sorter};
    use crate::cache::Random;
    use std::cmp::Ordering;

    /// Ordered by the first only.
    #[derive(Debug, PartialEq, Eq)]
    struct Item(usize, usize);

    impl Ord for Item {
        fn cmp(&self, other: &Self) -> Ordering {
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Item {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    #[test]
    fn all_come_out_as_a_stable_sort_has_them() {
        let mut random = Random::new(7);
        for count in [0, 1, 5, RUN_ITEMS, RUN_ITEMS + 1, 5 * RUN_ITEMS + 77] {
            let mut items: Vec<_> = (0..count).map(|nth| (random.below(100), nth)).collect();
            let mut sorter = Sorter::new();
            items.iter().for_each(|(by, nth)| sorter.add(Item(*by, *nth)));
            items.sort_by_key(|(by, _)| *by);
            for (left, (by, nth)) in (0..count).rev().zip(items) {
                assert_eq!(sorter.take(), Some(Item(by, nth)));
                assert_eq!(sorter.len(), left);
            }
            assert_eq!(sorter.take(), None);
            assert!(sorter.free_some() || count > RUN_ITEMS);
        }
    }
}
