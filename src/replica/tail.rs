//! The end of a replica's log in memory, as the `raft` crate reads it: what other replicas may still lack, and
//! what is not applied yet. What is older is on disk only; who lacks that is sent a snapshot.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

use crate::log::Configuration;
use crate::types::{LogIndex, Term};

/// Bytes that an entry takes beside its data.
const ENTRY_BYTES: usize = size_of::<Entry>();

fn bytes_of(entry: &Entry) -> usize {
    ENTRY_BYTES + entry.data.len() + entry.context.len()
}

/// The last entries of a log.
#[derive(Debug)]
pub(super) struct Tail {
    hard_state: HardState,
    conf_state: ConfState,
    /// The entry before the first that is here, and its term.
    base: (u64, u64),
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The last entry that is committed: what a snapshot that is asked for begins with.
    committed: u64,
    /// Whether a snapshot can be sent now.
    pub(super) may_send_snapshot: bool,
}

impl Tail {
    /// The tail behind an entry, of a replica that voted as `hard_state` says.
    pub(super) fn new(
        (index, term): (LogIndex, Term),
        hard_state: HardState,
        conf_state: ConfState,
    ) -> Self {
        Self {
            hard_state,
            conf_state,
            base: (index.0, term.0),
            entries: VecDeque::new(),
            bytes: 0,
            committed: 0,
            may_send_snapshot: true,
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    /// The entry before the first that is here.
    pub(super) fn base(&self) -> LogIndex {
        LogIndex(self.base.0)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn set_hard_state(&mut self, state: &HardState) {
        self.hard_state = state.clone();
        self.committed = state.commit;
    }

    pub(super) fn set_conf_state(&mut self, state: ConfState) {
        self.conf_state = state;
    }

    /// The last configuration that is here, committed or not.
    pub(super) fn last_configuration(&self) -> Option<Configuration> {
        let brings = |entry: &&Entry| entry.entry_type == EntryType::EntryConfChange;
        let last = self.entries.iter().rev().find(brings);
        last.and_then(|it| Configuration::decode((Term(it.term), LogIndex(it.index)), &it.context))
    }

    /// Appends an entry, which is the next.
    pub(super) fn push(&mut self, entry: Entry) {
        debug_assert_eq!(entry.index, self.last() + 1, "entries come one after another");
        self.bytes += bytes_of(&entry);
        self.entries.push_back(entry);
    }

    /// Forgets the entries from this one on.
    pub(super) fn truncate(&mut self, index: u64) {
        while self.last() >= index
            && let Some(entry) = self.entries.pop_back()
        {
            self.bytes -= bytes_of(&entry);
        }
    }

    /// Begins anew behind an entry.
    pub(super) fn restart(&mut self, index: LogIndex, term: Term) {
        self.entries.clear();
        (self.base, self.bytes) = ((index.0, term.0), 0);
    }

    /// Forgets entries up to `index` while there are more than so many bytes.
    pub(super) fn trim(&mut self, index: LogIndex, bytes_max: usize) {
        while self.bytes > bytes_max
            && self.entries.front().is_some_and(|entry| entry.index <= index.0)
            && let Some(entry) = self.entries.pop_front()
        {
            self.bytes -= bytes_of(&entry);
            self.base = (entry.index, entry.term);
        }
    }

    /// An entry that is here.
    pub(super) fn get(&self, index: LogIndex) -> Option<&Entry> {
        let at = index.0.checked_sub(self.base.0 + 1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// The term of an entry that is here, or of the one before.
    pub(super) fn term_of(&self, index: LogIndex) -> Option<Term> {
        if index.0 == self.base.0 {
            return Some(Term(self.base.1));
        }
        self.get(index).map(|entry| Term(entry.term))
    }
}

impl Storage for Tail {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low <= self.base.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let max_size = max_size.into().unwrap_or(u64::MAX);
        let (mut entries, mut size) = (Vec::new(), 0);
        for index in low..high {
            let Some(entry) = self.get(LogIndex(index)) else {
                return Err(Error::Store(StorageError::Unavailable));
            };
            size += bytes_of(entry) as u64;
            if size > max_size && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> Result<u64> {
        match self.term_of(LogIndex(index)) {
            Some(term) => Ok(term.0),
            None if index < self.base.0 => Err(Error::Store(StorageError::Compacted)),
            None => Err(Error::Store(StorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.base.0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    /// No more than the head: what is in it is sent piece by piece (`super::transfer`).
    fn snapshot(&self, request_index: u64, _: u64) -> Result<Snapshot> {
        let term = self.term_of(LogIndex(self.committed));
        let is_there = self.committed > 0 && self.committed >= request_index;
        let (Some(term), true, true) = (term, is_there, self.may_send_snapshot) else {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        };
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = self.committed;
        metadata.term = term.0;
        metadata.set_conf_state(self.conf_state.clone());
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::{ConfState, ENTRY_BYTES, Entry, HardState, Tail};
    use crate::types::{LogIndex, Term};
    use raft::{GetEntriesContext, Storage};

    fn tail(base: (u64, u64), terms: &[u64]) -> Tail {
        let (index, term) = (LogIndex(base.0), Term(base.1));
        let mut tail = Tail::new((index, term), HardState::default(), ConfState::default());
        for (index, term) in (base.0 + 1..).zip(terms) {
            let entry = Entry { index, term: *term, data: vec![0; 100].into(), ..Entry::default() };
            tail.push(entry);
        }
        tail
    }

    #[test]
    fn entries_are_found_by_their_index() {
        let tail = tail((10, 2), &[2, 3, 3]);
        assert_eq!((tail.first_index().ok(), tail.last_index().ok()), (Some(11), Some(13)));
        let terms = [9, 10, 11, 12, 13, 14].map(|index| tail.term(index).ok());
        assert_eq!(terms, [None, Some(2), Some(2), Some(3), Some(3), None]);
        let all = |low, high, max: u64| {
            let entries = tail.entries(low, high, max, GetEntriesContext::empty(false));
            entries.map(|all| all.iter().map(|entry| entry.index).collect::<Vec<_>>()).ok()
        };
        assert_eq!(all(11, 14, u64::MAX), Some(vec![11, 12, 13]));
        // One at least, however long.
        assert_eq!(all(12, 14, 1), Some(vec![12]));
        assert_eq!((all(10, 12, 1), all(13, 15, u64::MAX)), (None, None));
    }

    #[test]
    fn what_is_cut_or_trimmed_is_not_counted_any_more() {
        let mut tail = tail((10, 2), &[2, 3, 3]);
        let one = ENTRY_BYTES + 100;
        assert_eq!(tail.bytes(), 3 * one);
        tail.truncate(13);
        tail.truncate(13);
        assert_eq!((tail.last(), tail.bytes()), (12, 2 * one));
        // What may still be needed stays, however much it is.
        tail.trim(LogIndex(11), 0);
        assert_eq!((tail.base(), tail.last(), tail.bytes()), (LogIndex(11), 12, one));
        assert_eq!(tail.term_of(LogIndex(11)), Some(Term(2)));
        tail.restart(LogIndex(50), Term(4));
        assert_eq!((tail.last(), tail.bytes(), tail.term(50).ok()), (50, 0, Some(4)));
    }
}
