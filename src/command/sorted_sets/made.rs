//! A sorted set that is made little by little, where nobody sees it, and then kept under a key.

use crate::collection::{Collection, Edit, SortedSet, Thresholds};
use crate::command::Exec;
use crate::types::Key;

/// Such a set.
#[derive(Debug)]
pub(super) struct Made {
    set: SortedSet,
    thresholds: Thresholds,
    seed: u64,
}

impl Made {
    /// Elements that are put in in one step: putting one in takes longer than looking at one.
    pub(super) const STEP_ELEMENTS: usize = 1024;

    /// One without elements, for `key`.
    pub(super) fn new(exec: &mut Exec<'_>, key: Key<'_>) -> Self {
        let thresholds = exec.keyspace(key).thresholds();
        Self { set: SortedSet::empty(Vec::new()), thresholds, seed: exec.random(key).next() }
    }

    /// Puts in an element.
    pub(super) fn put(&mut self, member: &[u8], score: f64) {
        self.set.put(member, score, &mut Edit::new(self.thresholds, self.seed, None));
    }

    /// Has the key of this name hold what has been made, and nothing else; how many elements these are.
    pub(super) fn keep(&mut self, exec: &mut Exec<'_>, name: &[u8]) -> usize {
        let made = std::mem::replace(&mut self.set, SortedSet::empty(Vec::new()));
        let (key, count) = (exec.key(name), made.len());
        if count == 0 {
            exec.delete(key);
        } else {
            exec.replace(key, |set: &mut SortedSet, edit| set.fill(made, edit));
        }
        count
    }
}
