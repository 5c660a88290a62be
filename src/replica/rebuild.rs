//! A keyspace that is made again from this replica's own log.
//!
//! A tainted replica asks its leader for a snapshot, but there may be none that could send one: two of three replicas
//! are tainted, say, and the third has lost its disk. The log of a tainted replica is right all the same. So if none has
//! come for a while, it makes its keyspace as a start does: from the snapshot on its disk and the entries behind that,
//! up to one that is committed. What is behind that one comes from memory, as ever.
//!
//! ```text
//! on disk     snapshot ──┼── entries ──────────┼─ ─►
//! in memory                     base ──┼───────┼── entries ──►
//!                                           `up_to`: committed, and on disk
//! ```
//!
//! Meanwhile it takes part as before: it takes entries, votes, and leads if nobody else has as much of the log, though
//! it does not serve. A snapshot that comes after all goes first.

use super::Replica;
use crate::types::{LogIndex, Term};

/// How often the patience is doubled at most.
const DOUBLED_MAX: u32 = 8;

/// What a replica keeps for it.
#[derive(Debug)]
pub(super) struct Rebuild {
    /// Ticks since the keyspace has been of no use, and no other was on its way.
    waited_ticks: u64,
    /// How many of them it waits.
    patience_ticks: u64,
    /// How many have failed in a row: what is wrong with the log may stay so, and reading it takes time.
    failures: u32,
    /// How many have been begun.
    count: u64,
    under_way: Option<UnderWay>,
}

/// One that is under way.
#[derive(Debug)]
struct UnderWay {
    number: u64,
    up_to: LogIndex,
    /// The last entry that was read, or the one that the log begins behind, and its term.
    reached: (LogIndex, Term),
    /// Whether that is as far as it was to come.
    is_read: bool,
}

impl Rebuild {
    pub(super) fn new(patience_ticks: u64) -> Self {
        Self { waited_ticks: 0, patience_ticks, failures: 0, count: 0, under_way: None }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// It is not needed any more, or of no use: another keyspace comes, or the log is another.
    pub(super) fn cancel(&mut self) {
        (self.under_way, self.waited_ticks) = (None, 0);
    }
}

impl Replica {
    /// Counts how long the keyspace has been of no use; every tick.
    pub(super) fn look_after_rebuild(&mut self) {
        let is_coming = self.staging.is_some() || self.rebuild.is_under_way();
        let waits = self.is_tainted && !is_coming && !self.is_serving();
        self.rebuild.waited_ticks = if waits { self.rebuild.waited_ticks + 1 } else { 0 };
    }

    /// Whether the keyspace is to be made again as soon as the log can be read.
    pub(crate) fn wants_rebuild(&self) -> bool {
        let patience = self.rebuild.patience_ticks << self.rebuild.failures;
        let has_waited = self.rebuild.waited_ticks > patience;
        has_waited && self.is_tainted && self.staging.is_none() && !self.has_failed
    }

    /// The entry before the first that is in memory: up to this one the log has to be on disk.
    pub(crate) fn base(&self) -> LogIndex {
        self.raw.store().base()
    }

    /// The keyspace, which is empty now, is to see all up to `up_to`, from the log on disk, which begins behind `base`.
    /// Answers the number by which this is known.
    ///
    /// # Panics
    /// If not all of that is committed.
    pub(crate) fn begin_rebuild(&mut self, base: (LogIndex, Term), up_to: LogIndex) -> u64 {
        assert!(up_to <= self.committed(), "what is not committed may have to give way yet");
        let rebuild = &mut self.rebuild;
        (rebuild.count, rebuild.waited_ticks) = (rebuild.count + 1, 0);
        let number = rebuild.count;
        rebuild.under_way = Some(UnderWay { number, up_to, reached: base, is_read: false });
        number
    }

    /// Whether the one of this number is under way.
    pub(crate) fn is_rebuilding(&self, number: u64) -> bool {
        self.rebuild.under_way.as_ref().is_some_and(|it| it.number == number)
    }

    /// An entry was read; whether the keyspace is to see it.
    pub(crate) fn note_read(&mut self, entry: (LogIndex, Term)) -> bool {
        let Some(it) = &mut self.rebuild.under_way else { return false };
        it.is_read = entry.0 >= it.up_to;
        let is_wanted = entry.0 <= it.up_to;
        if is_wanted {
            it.reached = entry;
        }
        is_wanted
    }

    /// Whether all that was to be read has been.
    pub(crate) fn is_read(&self) -> bool {
        self.rebuild.under_way.as_ref().is_some_and(|it| it.is_read)
    }

    /// Nothing more is read: whether the keyspace has seen all that it was to see, and what comes behind that is in
    /// memory.
    pub(crate) fn end_rebuild(&mut self) -> bool {
        let Some(UnderWay { up_to, reached, .. }) = self.rebuild.under_way.take() else {
            return false;
        };
        if reached.0 != up_to || self.term_of(up_to) != Some(reached.1) {
            self.fail_rebuild();
            return false;
        }
        self.rebuild.failures = 0;
        (self.applied, self.is_tainted) = (up_to, false);
        // A snapshot on disk counts only when all that it has seen is committed.
        (self.overlap, self.overlap_of) = (LogIndex(0), None);
        self.fresh.forget();
        true
    }

    /// The log can't be read, or makes no sense. It is tried again, ever later.
    pub(crate) fn fail_rebuild(&mut self) {
        self.rebuild.cancel();
        self.rebuild.failures = (self.rebuild.failures + 1).min(DOUBLED_MAX);
    }
}
