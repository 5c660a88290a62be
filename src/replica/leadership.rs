//! Reigns: from when a replica that was elected serves until it does not, and how leadership is handed over to whoever
//! should have it.

use raft::eraftpb::MessageType;
use raft::{INVALID_ID, StateRole};

use super::{Replica, SLACK};
use crate::types::{LogIndex, MonoUs, NodeId, Term};

/// How long the replica that should lead has to have kept up before it does.
const HEIR_PATIENCE_US: u64 = 5_000_000;

impl Replica {
    /// Ends a reign that is over; true if one has ended. The shard makes no more changes then, and changes that
    /// are in no entry yet are lost (`lost`).
    pub(crate) fn end_reign(&mut self, lost: bool) -> bool {
        // Whoever leaves of his own will proposes everything first.
        let leaves = self.leaving_until.is_some() && !lost;
        let is_over = !self.is_leader() || self.has_failed || leaves;
        if !self.is_serving() || !is_over {
            return false;
        }
        self.reign += 1;
        self.lease.end();
        self.fresh.forget();
        self.is_tainted |= lost;
        self.let_go();
        true
    }

    /// Begins a reign if this replica has been elected, knows all that is committed, and its keyspace has seen it.
    pub(crate) fn begin_reign(&mut self) -> bool {
        let raft = &self.raw.raft;
        let is_ready = raft.state == StateRole::Leader
            && raft.commit_to_current_term()
            && self.applied == self.last()
            && self.applied >= self.overlap
            && self.leaving_until.is_none()
            && !self.is_tainted
            && !self.has_failed;
        if self.is_serving() || !is_ready {
            return false;
        }
        self.reign += 1;
        true
    }

    /// Leads no more if no quorum has answered anything for an election timeout: who waits here hears of it then. The crate
    /// looks once in that time for who has answered since it looked last, and so takes up to twice as long.
    pub(super) fn step_down_unheard(&mut self) {
        if !self.is_serving() || self.leaving_until.is_some() {
            return;
        }
        let is_heard = |node| {
            let last = self.answered.get(&node).copied().unwrap_or(self.leads_since);
            self.ticks - last <= self.election_ticks
        };
        if !self.is_majority_of_nodes(&self.configuration().voters, is_heard) {
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, INVALID_ID);
        }
    }

    /// A node has said something in answer to this one, of this term, if that leads.
    pub(super) fn note_answer(&mut self, from: NodeId, kind: MessageType, term: Term) {
        let answers =
            matches!(kind, MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse);
        if answers && term == self.term() && self.is_leader() && self.configuration().has(from) {
            self.answered.insert(from, self.ticks);
        }
    }

    /// Notes changes of the role that others must hear of.
    pub(super) fn follow_role(&mut self) {
        let is_leader = self.is_leader();
        if is_leader && !self.was_leader {
            self.elections_won += 1;
            self.leads_since = self.ticks;
            self.answered.clear();
            self.membership.term_begins = self.last();
            self.synced.clear();
            self.sync_asked = LogIndex(0);
        }
        if !is_leader && self.was_leader {
            self.lease.end();
            self.fresh.forget_asked();
            self.forget_owed_goals();
            self.outgoing = None;
            self.raw.mut_store().may_send_snapshot = true;
            (self.leaving_until, self.successor) = (None, None);
            self.heir_ready = None;
        }
        self.was_leader = is_leader;
    }

    /// Gives leadership to another replica that has everything, if there is one, and rather to one that has room on its
    /// disk; for who is about to stop. True while it is on its way.
    pub fn resign(&mut self, now: MonoUs) -> bool {
        let others = self.configuration().voters.iter().filter_map(|node| {
            let answers = self.keeps_up(*node)?;
            let matched = self.raw.raft.prs().get(node.0)?.matched;
            Some((answers, self.has_room(*node), matched, *node))
        });
        match others.max() {
            Some((true, .., node)) => self.hand_over(node, now),
            // The crate has just forgotten who answers; it will know soon.
            Some((false, ..)) => return self.is_leader(),
            None => {}
        }
        self.leaving_until.is_some()
    }

    pub(super) fn hand_over(&mut self, to: NodeId, now: MonoUs) {
        if !self.is_leader() || self.leaving_until.is_some() {
            return;
        }
        let timeout_us = self.options.election_timeout_ms * 1000;
        self.leaving_until = Some(MonoUs(now.0 + timeout_us));
        self.successor = Some(to);
        self.let_go();
    }

    /// Lets the successor have leadership, once the reign has ended and all of it is in entries: who gives it away
    /// takes no proposals.
    fn let_go(&mut self) {
        if !self.is_serving()
            && let Some(to) = self.successor.take()
        {
            self.raw.transfer_leader(to.0);
        }
    }

    /// Moves leadership to the replica that should have it, once that has kept up, and had room, for a while. If it is not
    /// taken in time this replica steps down: the word to take it may still be on its way, and whoever gets it
    /// asks nobody whether there is a leader.
    pub(super) fn look_after_heir(&mut self, now: MonoUs) {
        if self.leaving_until.is_some_and(|until| now >= until) {
            (self.leaving_until, self.successor) = (None, None);
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, raft::INVALID_ID);
            self.set_timeout();
            return;
        }
        if self.is_leader() && self.is_tainted && self.leaving_until.is_none() {
            self.resign(now);
            return;
        }
        let heir = self.heir();
        let is_welcome = self.is_serving() && self.has_room(heir);
        let Some(answers) = self.keeps_up(heir).filter(|_| is_welcome) else {
            self.heir_ready = None;
            return;
        };
        let (since, heard) = self.heir_ready.unwrap_or((now, now));
        let heard = if answers { now } else { heard };
        // The crate forgets once every election timeout who has answered, to see who does so again.
        let is_silent = now.0 - heard.0 > self.options.election_timeout_ms * 1000;
        self.heir_ready = Some((since, heard)).filter(|_| !is_silent);
        let has_waited = now.0 - since.0 >= HEIR_PATIENCE_US || self.membership.is_heir_urgent;
        if !is_silent && answers && has_waited {
            self.heir_ready = None;
            self.membership.is_heir_urgent = false;
            self.hand_over(heir, now);
        }
    }

    /// Whether another replica has answered lately; nothing if it lacks too much to lead.
    pub(super) fn keeps_up(&self, node: NodeId) -> Option<bool> {
        let progress = self.raw.raft.prs().get(node.0).filter(|_| node != self.options.node)?;
        (progress.matched + SLACK >= self.last().0).then_some(progress.recent_active)
    }
}
