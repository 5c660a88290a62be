//! How fresh a follower's keyspace is: as of when it has seen all that had been committed.
//!
//! ```text
//! follower  asks ────────────┐                ┌─► has seen up to `index`: it is as of when it asked
//! leader                     └► round ─ quorum ┘ commit index when the round began
//! ```
//!
//! A follower asks its leader, and the leader answers with the commit index that it had when the question was
//! there, once a quorum has answered a round that began after that: so nobody else led at that moment, and
//! whatever had been acknowledged before the question left is among the entries up to that index. The follower
//! counts from when it *asked*, by its own monotonic clock. When an answer came says nothing: it may have been
//! long on its way. Nobody asks unless somebody wants to read, and one question is under way at a time.

use super::{Body, Replica};
use crate::plant::{Fault, is_planted};
use crate::types::{LogIndex, MonoUs, NodeId, Term};

/// What is known of a replica's freshness, and what others want to know of theirs.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    /// The keyspace has all that had been committed then; 0 for never.
    as_of: MonoUs,
    question: Option<Question>,
    /// The number of the last question.
    last: u64,
    /// Of a leader: who has asked, by which number, and the round that answers it. At most one a node.
    pub(super) asked: Vec<(NodeId, u64, u64)>,
}

/// A question that is under way.
#[derive(Clone, Copy, Debug)]
struct Question {
    number: u64,
    term: Term,
    at: MonoUs,
    /// The entry that the keyspace must have seen.
    answer: Option<LogIndex>,
}

impl Fresh {
    /// Nothing is known any more: the keyspace is another, or has seen what may not be committed.
    pub(super) fn forget(&mut self) {
        (self.as_of, self.question) = (MonoUs(0), None);
    }

    /// This replica leads no more.
    pub(super) fn forget_asked(&mut self) {
        self.asked.clear();
    }

    /// A number for a question of a replica's `life`. No other life asks by it: what is on its way to an earlier one
    /// answers nothing.
    fn number(&mut self, life: u64, at: MonoUs) -> u64 {
        let number = (life & 0x7fff_ffff) << 32 | at.0 & 0xffff_ffff;
        self.last = number.max(self.last + 1);
        self.last
    }
}

impl Replica {
    /// As of when the keyspace has all that had been committed, if it is one to read from; else 0.
    pub(crate) fn fresh_as_of(&self) -> MonoUs {
        if self.is_readable() { self.fresh.as_of } else { MonoUs(0) }
    }

    /// The last entry that a follower's keyspace has seen, if it is one to read from; else 0.
    pub(crate) fn readable(&self) -> LogIndex {
        if self.is_readable() { self.applied } else { LogIndex(0) }
    }

    /// Whether the keyspace is, as a follower's, one that was a leader's at some time.
    fn is_readable(&self) -> bool {
        !self.is_leader()
            && self.can_serve()
            && self.applied >= self.overlap
            && self.applied <= self.committed()
            && !self.has_doubt()
            && !self.has_failed
    }

    /// Somebody wants to read what is as of a later moment than this: asks the leader, unless a question is under way.
    pub(crate) fn want_fresh(&mut self, since: MonoUs, now: MonoUs) {
        let term = self.term();
        let leader = NodeId(self.raw.raft.leader_id);
        let is_asking = self.fresh.question.is_some_and(|question| {
            let is_recent = now.0 < question.at.0 + self.options.election_timeout_ms * 500;
            question.answer.is_some() || question.term == term && is_recent
        });
        let has_leader = leader.0 != 0 && leader != self.options.node;
        if is_asking || !has_leader || !self.is_readable() || !self.has_begun() {
            return;
        }
        if self.fresh.as_of > since {
            return;
        }
        let number = self.fresh.number(self.hard_state.generation, now);
        self.fresh.question = Some(Question { number, term, at: now, answer: None });
        self.outbox.push((leader, Body::FreshAsk { term, number }));
    }

    /// A follower wants to know how far it must come: a round tells whether this replica still leads.
    pub(super) fn note_fresh_ask(&mut self, from: NodeId, term: Term, number: u64, now: MonoUs) {
        let is_known = self.raw.raft.prs().get(from.0).is_some();
        if term != self.term() || !self.is_serving() || self.leaving_until.is_some() || !is_known {
            return;
        }
        let round = self.begin_round(now);
        self.fresh.asked.retain(|(node, ..)| *node != from);
        self.fresh.asked.push((from, number, round));
    }

    /// A quorum has answered a round, when which began entries up to `index` were committed.
    pub(super) fn answer_fresh(&mut self, round: u64, index: LogIndex) {
        let term = self.term();
        let outbox = &mut self.outbox;
        self.fresh.asked.retain(|(node, number, of)| {
            if *of <= round {
                outbox.push((*node, Body::FreshAnswer { term, number: *number, index }));
            }
            *of > round
        });
    }

    /// The leader has answered.
    pub(super) fn note_fresh_answer(
        &mut self,
        (term, number, index): (Term, u64, LogIndex),
        now: MonoUs,
    ) {
        if let Some(question) = &mut self.fresh.question
            && (question.term, question.number) == (term, number)
        {
            question.answer = Some(index);
            if is_planted(Fault::FreshAsOfAnswer) {
                question.at = now;
            }
        }
        self.follow_fresh();
    }

    /// Notes that the keyspace has come as far as the leader's answer said.
    pub(crate) fn follow_fresh(&mut self) {
        if let Some(Question { at, answer: Some(index), .. }) = self.fresh.question
            && self.is_readable()
            && self.applied >= index
        {
            self.fresh.as_of = self.fresh.as_of.max(at);
            self.fresh.question = None;
        }
    }
}
