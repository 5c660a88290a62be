//! After a crash: whether this replica may vote.
//!
//! Replicas count entries that they have in memory, and a leader tells clients that their writes are safe when a
//! quorum has. A replica that crashed may have lost the last of them. If it voted as if nothing had happened, it
//! could help a replica to leadership that lacks what the two of them had promised to have. So it is *in doubt*:
//! it takes entries, but neither votes nor stands for election, until a leader of its term has told it how far it
//! must come, and it has come so far. Where a quorum of replicas is in doubt there is nothing left to protect that
//! was not on disk: then they all vote again.
//!
//! Besides, whoever is started anew has forgotten which leader's sign it had heard last, and so sits out one
//! election timeout (see `lease`).

use std::collections::BTreeMap;

use super::{Body, Replica};
use crate::plant::{Fault, is_planted};
use crate::types::{LogIndex, NodeId, Term};

/// Whether a replica may vote.
#[derive(Debug)]
pub(super) struct Doubt {
    is_doubtful: bool,
    /// Ticks to sit out.
    deaf_ticks: u64,
    /// Ticks since the start.
    ticks: u64,
    /// How long others' doubts are believed.
    believed_ticks: u64,
    /// When others said last that they are in doubt.
    others: BTreeMap<NodeId, u64>,
    /// What the leader of a term had when it was told of the doubt.
    goal: Option<(Term, LogIndex)>,
}

impl Doubt {
    pub(super) fn new(is_first: bool, is_doubtful: bool, election_ticks: u64) -> Self {
        let is_doubtful = is_doubtful && !is_first && !is_planted(Fault::VoteInDoubt);
        Self {
            is_doubtful,
            deaf_ticks: if is_first { 0 } else { election_ticks + 1 },
            ticks: 0,
            believed_ticks: 2 * election_ticks,
            others: BTreeMap::new(),
            goal: None,
        }
    }

    pub(super) fn tick(&mut self) {
        self.ticks += 1;
        self.deaf_ticks = self.deaf_ticks.saturating_sub(1);
    }

    pub(super) fn may_vote(&self) -> bool {
        !self.is_doubtful && self.deaf_ticks == 0
    }

    /// Whether so many are in doubt, this replica among them.
    fn are(&self, quorum: usize) -> bool {
        let since = self.ticks.saturating_sub(self.believed_ticks);
        let others = self.others.values().filter(|heard| **heard >= since).count();
        self.is_doubtful && others + 1 >= quorum
    }
}

impl Replica {
    /// Tells all others of the doubt, as long as there is one.
    pub(super) fn tell_doubt(&mut self) {
        let voters = &self.hard_state.voters;
        if self.doubt.are(voters.len() / 2 + 1) {
            self.doubt.is_doubtful = false;
        }
        if !self.doubt.is_doubtful {
            return;
        }
        let (term, last) = (self.term(), self.last());
        for node in self.others() {
            self.outbox.push((node, Body::Restarted { term, last }));
        }
    }

    /// Another replica has been started anew: it has no more than this, whatever it had said before.
    pub(super) fn note_restarted(&mut self, from: NodeId, term: Term, last: LogIndex) {
        self.doubt.others.insert(from, self.doubt.ticks);
        if !self.is_leader() || term > self.term() {
            return;
        }
        self.synced.remove(&from);
        let goal = Body::CatchUp { term: self.term(), index: self.last() };
        self.outbox.push((from, goal));
        if let Some(progress) = self.raw.raft.mut_prs().get_mut(from.0)
            && progress.matched > last.0
        {
            progress.matched = last.0;
            progress.become_probe();
            progress.next_idx = last.0 + 1;
        }
    }

    /// A leader has told how far this replica must come.
    pub(super) fn note_goal(&mut self, from: NodeId, term: Term, index: LogIndex) {
        if term == self.term() && from.0 == self.raw.raft.leader_id {
            self.doubt.goal = Some((term, index));
            self.resolve_doubt();
        }
    }

    /// Ends the doubt if this replica has come so far.
    pub(super) fn resolve_doubt(&mut self) {
        if let Some((term, index)) = self.doubt.goal
            && self.doubt.is_doubtful
            && self.agreed.0 == term
            && term == self.term()
            && self.agreed.1 >= index
        {
            self.doubt.is_doubtful = false;
        }
    }
}
