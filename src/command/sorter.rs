//! Items that come in any order and are handed out in order, so that neither takes long at a time: they are sorted some
//! thousand at a time, and what has come out of that is merged.
//!
//! Equal items are handed out in the order in which they came.

use std::cmp::Ordering;
use std::vec::IntoIter;

use crate::collection::Garbage;

/// Items that are sorted at once.
const RUN_ITEMS: usize = 4096;
/// A run that is freed costs as much as so many items at least.
const RUN_COST: usize = 256;

/// Which of two items comes first.
pub(super) type Order<T> = fn(&T, &T) -> Ordering;

/// Items, of which none is taken before all have been put in.
#[derive(Debug)]
pub(super) struct Sorter<T> {
    order: Order<T>,
    /// The items that came last.
    fresh: Vec<T>,
    /// In order, each.
    runs: Vec<IntoIter<T>>,
    /// The first of each run, with the number of the run, once items are taken: a heap, the least at its top.
    heads: Vec<(T, usize)>,
    len: usize,
}

impl<T> Sorter<T> {
    /// Without items.
    pub(super) fn new(order: Order<T>) -> Self {
        Self { order, fresh: Vec::new(), runs: Vec::new(), heads: Vec::new(), len: 0 }
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
        run.sort_by(self.order);
        self.runs.push(run.into_iter());
    }

    /// Takes the least item.
    pub(super) fn take(&mut self) -> Option<T> {
        if !self.fresh.is_empty() {
            self.end_run();
        }
        if self.heads.is_empty() && self.len > 0 {
            self.begin_merge();
        }
        let run = self.heads.first()?.1;
        self.len -= 1;
        let least = match self.runs[run].next() {
            Some(next) => std::mem::replace(&mut self.heads[0], (next, run)),
            None => {
                self.runs[run] = IntoIter::default();
                self.heads.swap_remove(0)
            }
        };
        self.sink(0);
        Some(least.0)
    }

    fn begin_merge(&mut self) {
        let firsts = self.runs.iter_mut().enumerate();
        self.heads = firsts.filter_map(|(run, items)| Some((items.next()?, run))).collect();
        (0..self.heads.len() / 2).rev().for_each(|at| self.sink(at));
    }

    /// Puts a head below those that come before it.
    fn sink(&mut self, from: usize) {
        let heads = &mut self.heads;
        let is_before = |(item, run): &(T, usize), (other, other_run): &(T, usize)| {
            (self.order)(item, other).then_with(|| run.cmp(other_run)) == Ordering::Less
        };
        let mut at = from;
        loop {
            let mut child = 2 * at + 1;
            if child >= heads.len() {
                return;
            }
            child +=
                usize::from(child + 1 < heads.len() && is_before(&heads[child + 1], &heads[child]));
            if !is_before(&heads[child], &heads[at]) {
                return;
            }
            heads.swap(at, child);
            at = child;
        }
    }

    /// Takes so many items, or all if there are no more.
    pub(super) fn take_some(&mut self, count: usize) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.take()).take(count)
    }

    /// All that is in it, which is left empty.
    pub(super) fn take_all(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.order))
    }
}

impl<T: std::fmt::Debug + Send> Garbage for Sorter<T> {
    fn memory_bytes(&self) -> usize {
        self.runs.len() * RUN_ITEMS * size_of::<T>()
    }

    fn free_some(&mut self, elements: usize) -> bool {
        if !self.fresh.is_empty() {
            self.runs.push(std::mem::take(&mut self.fresh).into_iter());
        }
        let heads = std::mem::take(&mut self.heads).into_iter().map(|(item, _)| item);
        if heads.len() > 0 {
            self.runs.push(heads.collect::<Vec<_>>().into_iter());
        }
        let mut left = elements;
        while left > 0
            && let Some(run) = self.runs.last_mut()
        {
            let count = run.len().min(left);
            run.by_ref().take(count).for_each(drop);
            left -= count;
            if run.len() == 0 {
                self.runs.pop();
                left = left.saturating_sub(RUN_COST);
            }
        }
        self.runs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{RUN_ITEMS, Sorter};
    use crate::cache::Random;
    use crate::collection::Garbage;

    #[test]
    fn all_come_out_as_a_stable_sort_has_them() {
        let mut random = Random::new(7);
        for count in [0, 1, 5, RUN_ITEMS, RUN_ITEMS + 1, 5 * RUN_ITEMS + 77] {
            let mut items: Vec<_> = (0..count).map(|nth| (random.below(100), nth)).collect();
            // By the first only.
            let mut sorter = Sorter::new(|one: &(usize, usize), other| one.0.cmp(&other.0));
            items.iter().for_each(|item| sorter.add(*item));
            items.sort_by_key(|(by, _)| *by);
            for (left, item) in (0..count).rev().zip(items) {
                assert_eq!(sorter.take(), Some(item));
                assert_eq!(sorter.len(), left);
            }
            assert_eq!(sorter.take(), None);
        }
    }

    #[test]
    fn what_is_left_is_freed_a_little_at_a_time() {
        for taken in [0, 1, 2 * RUN_ITEMS] {
            let mut sorter = Sorter::new(usize::cmp);
            (0..5 * RUN_ITEMS + 77).for_each(|item| sorter.add(item));
            sorter.take_some(taken).for_each(drop);
            let mut garbage = sorter.take_all();
            assert!(sorter.take().is_none());
            let mut steps = 1;
            while !garbage.free_some(1024) {
                steps += 1;
            }
            let items = 5 * RUN_ITEMS + 77 - taken;
            assert!((items / 1024..items / 500).contains(&steps), "{steps} steps for {items}");
        }
    }
}
