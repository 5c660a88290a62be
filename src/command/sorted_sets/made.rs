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
    /// One without elements, for `key`.
    pub(super) fn new(exec: &mut Exec<'_>, key: Key<'_>) -> Self {
        let keyspace = exec.keyspace(key);
        let (thresholds, seed) = (keyspace.thresholds(), keyspace.element_seed());
        Self { set: SortedSet::empty(Vec::new()), thresholds, seed }
    }

    /// Puts in an element.
    pub(super) fn put(&mut self, member: &[u8], score: f64) {
        self.set.put(member, score, &mut Edit::new(self.thresholds, self.seed, None));
    }

    /// All that has been made.
    pub(super) fn take(&mut self) -> SortedSet {
        std::mem::replace(&mut self.set, SortedSet::empty(Vec::new()))
    }
}
