//! What is committed is what a quorum has in memory. If more replicas crash than a shard can do without, those that are
//! left, or that had more on disk, have entries committed that the others elect a leader without. Nobody was promised
//! that those survive, but they can't be taken back one by one: the keyspace has seen them. Such a replica begins
//! anew, as if it had lost its disk, but for its vote: it is sent a snapshot. Until it has that on disk, the log that
//! is there counts at the next start, and leads here again.

use super::tail::Tail;
use super::{LogIndex, LogOrder, Replica, Term, conf_state, raft_hard_state, raw_node};

impl Replica {
    /// Begins anew.
    pub(super) fn begin_afresh(&mut self) {
        let committed = self.committed();
        // What is sent brings one that may come before.
        self.hard_state.configuration.version = Default::default();
        if self.forget_entries() {
            self.save_configuration();
            tracing::warn!(
                shard = self.shard.0,
                committed = committed.0,
                "a quorum has lost what was committed here: this replica begins anew, from its leader's data"
            );
        }
    }

    /// Forgets all entries, and is in doubt about what it had told others; false if it can't, and takes no part any more.
    pub(super) fn forget_entries(&mut self) -> bool {
        let nothing = (LogIndex(0), Term(0));
        self.hard_state.commit = LogIndex(0);
        // A term or a vote that has not been noted has not been told either.
        let hard_state = raft_hard_state(&self.hard_state, LogIndex(0));
        let tail = Tail::new(nothing, hard_state, conf_state(&self.hard_state.configuration));
        let raw = raw_node(&self.options, self.election_ticks, LogIndex(0), tail);
        let Ok(raw) = raw else {
            self.has_failed = true;
            return false;
        };
        self.raw = raw;
        self.forget_held();
        self.orders.push(LogOrder::Restart(nothing.0, nothing.1));
        (self.applied, self.overlap, self.durable) = (LogIndex(0), LogIndex(0), LogIndex(0));
        (self.is_tainted, self.overlap_of, self.staging) = (true, None, None);
        self.rebuild.cancel();
        (self.agreed, self.synced_told) = ((Term(0), LogIndex(0)), (Term(0), LogIndex(0)));
        self.fresh.forget();
        self.doubt.begin(self.term());
        self.set_timeout();
        true
    }
}
