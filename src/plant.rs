//! Faults that tests plant, to see that the simulator catches them. Nothing of this is in a real build.

/// A mistake that the code could have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Count a write as on disk when the disk has it, synced or not.
    AcknowledgeBeforeSync,
    /// Believe any record whose header looks right.
    SkipChecksum,
    /// Count on a file being there that the folder was not synced for.
    ForgetDirectorySync,
    /// Take damage for a torn tail.
    CutDamage,
    /// Let a snapshot count before the log that belongs to it is on disk.
    SnapshotBeforeLog,
    /// Build on what a start has found without syncing it.
    TrustWhatWasFound,
    /// Keep no term and no vote.
    ForgetVote,
    /// Vote, and be counted, before the vote is on disk.
    VoteBeforeSaved,
    /// Vote after a crash as if nothing had been lost.
    VoteInDoubt,
    /// Count what a start has found as on disk before it was synced.
    CountWhatWasFound,
    /// Tell clients that a quorum has what this replica alone has.
    AcknowledgeBeforeQuorum,
    /// Count on a lease without a look at the clock.
    LeaseWithoutClock,
    /// Let a reply go when the entry that it waits for is committed, lease or not.
    EntryForLease,
    /// Show the keyspace an entry twice.
    ApplyTwice,
    /// Leave entries in the log on disk that have given way to others.
    ForgetCut,
    /// Count a follower's freshness from when it was told, not from when it asked.
    FreshAsOfAnswer,
    /// Let a follower answer a read before it has come as far as the session's token.
    ForgetToken,
    /// Keep who takes part in the log alone, which forgets it.
    ForgetConfiguration,
    /// Do a write again that is asked for again.
    ApplyRetry,
    /// Keep nothing of a retry that has changed nothing.
    ForgetUnchanged,
    /// Make a keyspace again over what it held.
    RebuildOverTainted,
}

/// Whether a fault is planted: never.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn is_planted(_: Fault) -> bool {
    false
}

#[cfg(test)]
pub(crate) use planted::{is_planted, plant};

#[cfg(test)]
mod planted {
    use super::Fault;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Plants a fault on this thread, or none.
    pub(crate) fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }

    pub(crate) fn is_planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }
}
