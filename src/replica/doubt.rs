//! After a crash: whether this replica may vote.
//!
//! Replicas count entries that they have in memory, and a leader tells clients that their writes are safe when a
//! quorum has. A replica that crashed may have lost the last of them. If it voted as if nothing had happened, it
//! could help a replica to leadership that lacks what the two of them had promised to have. So it is *in doubt*:
//! it takes entries, but neither votes nor stands for election, until a leader of its term has told it how far it
//! must come, and it has come so far. Where a quorum of replicas is in doubt there is nothing left that must be kept
//! but what was on disk: then they all vote again. If there may be one that is not in doubt, it may have more, and can
//! be elected now: they let it stand first.
//!
//! A replica that finds nothing at all can't tell whether its shard is new or its disk is: it is in doubt as well,
//! and a quorum of such is none. Only where all voters find nothing is the shard new. So a replica that lost its disk
//! never votes against what it once said: it votes again when it has everything, and counts as having voted for
//! the leader that told it so.
//!
//! Besides, whoever is started anew has forgotten which leader's sign it had heard last, and so sits out one
//! election timeout (see `lease`).

use std::collections::BTreeMap;

use super::{Body, Replica};
use crate::plant::{Fault, is_planted};
use crate::types::{LogIndex, MonoUs, NodeId, Term};

/// What another replica says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Other {
    /// It is in doubt.
    Doubtful,
    /// It is, and has found nothing.
    First,
    /// It is in doubt no more: all had found nothing.
    Begun,
}

/// Whether a replica may vote.
#[derive(Debug)]
pub(super) struct Doubt {
    is_doubtful: bool,
    /// Whether there has been a doubt: then what was told before it counts for nothing.
    pub(super) was_doubtful: bool,
    /// The term of the leader that may count on what has been lost, until it has been told; only that one's term:
    /// who leads a later one counts nothing that this replica told before.
    untold: Option<Term>,
    /// Whether what was found may be all that there is left of a lost disk.
    is_first: bool,
    /// Ticks to sit out.
    deaf_ticks: u64,
    /// Ticks for which others may stand for election and this replica does not.
    yielding_ticks: u64,
    /// Ticks since the start.
    ticks: u64,
    /// How long others' doubts are believed.
    believed_ticks: u64,
    /// What others said last of their doubts, and when.
    pub(super) others: BTreeMap<NodeId, (u64, Other)>,
    /// Of a leader: whom it has yet to tell how far they must come, and the round after which it may.
    pub(super) owed: Vec<(NodeId, u64)>,
    /// What the leader of a term had when it was told of the doubt.
    goal: Option<(Term, LogIndex)>,
}

impl Doubt {
    pub(super) fn new(
        (is_first, term): (bool, Term),
        is_doubtful: bool,
        election_ticks: u64,
    ) -> Self {
        let is_doubtful = (is_doubtful || is_first) && !is_planted(Fault::VoteInDoubt);
        Self {
            is_doubtful,
            was_doubtful: is_doubtful,
            // Nobody leads before the first term.
            untold: Some(term).filter(|term| is_doubtful && *term > Term(0)),
            is_first,
            deaf_ticks: if is_first { 0 } else { election_ticks + 1 },
            yielding_ticks: 0,
            ticks: 0,
            believed_ticks: 2 * election_ticks,
            others: BTreeMap::new(),
            owed: Vec::new(),
            goal: None,
        }
    }

    /// A node votes: it is not in doubt.
    pub(super) fn believe(&mut self, node: NodeId) {
        self.others.remove(&node);
    }

    /// All that was ever told to be here is gone.
    pub(super) fn begin(&mut self, term: Term) {
        (self.is_doubtful, self.untold, self.goal) = (true, Some(term), None);
        self.was_doubtful = true;
        // What they said was about what they had lost before.
        self.others.clear();
    }

    pub(super) fn tick(&mut self) {
        self.ticks += 1;
        self.deaf_ticks = self.deaf_ticks.saturating_sub(1);
        self.yielding_ticks = self.yielding_ticks.saturating_sub(1);
    }

    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    pub(super) fn may_vote(&self) -> bool {
        !self.is_doubtful && self.deaf_ticks == 0
    }

    pub(super) fn may_stand(&self) -> bool {
        self.may_vote() && self.yielding_ticks == 0
    }

    /// Whether another is in doubt, as far as it has said so lately.
    pub(super) fn is_doubted(&self, node: NodeId) -> bool {
        let since = self.ticks.saturating_sub(self.believed_ticks);
        let heard = self.others.get(&node).filter(|(_, other)| *other != Other::Begun);
        heard.is_some_and(|(heard, _)| *heard >= since)
    }

    /// Whether so many of the voters, of which `me` is one, are in doubt that those who are not are no quorum: then there
    /// is nothing left to protect.
    fn is_void(&self, voters: &[NodeId], me: NodeId) -> bool {
        let since = self.ticks.saturating_sub(self.believed_ticks);
        // What others found matters to who found nothing; to who knows how it voted all doubts are alike.
        let needed = if self.is_first { voters.len() } else { voters.len().div_ceil(2) };
        let counts = |node: &&NodeId| {
            **node == me
                || self.others.get(*node).is_some_and(|(heard, other)| {
                    *heard >= since
                        && match other {
                            Other::Doubtful => !self.is_first,
                            Other::First => true,
                            Other::Begun => self.is_first,
                        }
                })
        };
        let is_voter = voters.contains(&me);
        self.is_doubtful && is_voter && voters.iter().filter(counts).count() >= needed
    }
}

impl Replica {
    /// Whether this replica lacks what it had told others to have, or a leader has not been told so.
    pub(crate) fn has_doubt(&self) -> bool {
        self.doubt.is_doubtful || self.doubt.untold == Some(self.term())
    }

    /// Tells all others of the doubt, as long as there is one.
    pub(super) fn tell_doubt(&mut self) {
        let (voters, me) = (&self.hard_state.configuration.voters, self.options.node);
        if self.doubt.is_void(voters, me) {
            let mut others = voters.iter().filter(|voter| **voter != me);
            if !self.doubt.is_first && !others.all(|voter| self.doubt.is_doubted(*voter)) {
                // As long as it takes one that hears no leader to stand.
                self.doubt.yielding_ticks = 2 * self.election_ticks;
            }
            self.end_doubt();
        }
        let term = self.term();
        if !self.has_doubt() && !self.is_member() {
            return;
        }
        if !self.has_doubt() {
            // In a new shard all must hear it of all; and of two voters one who has lost its disk needs the other's word,
            // who has all that the two had promised.
            let is_new = self.last() == LogIndex(0);
            let is_one_of_two = self.configuration().voters.len() == 2 && !self.is_led();
            let is_heard = is_new || is_one_of_two && !self.is_leader();
            let hearers = if is_heard { self.others().collect() } else { Vec::new() };
            self.outbox.extend(hearers.into_iter().map(|node| (node, Body::Begun)));
            return;
        }
        // The log may hold entries that had given way to the leader's: only what it has sent since is known to be the same.
        let last = self.agreed_in(term);
        for node in self.others() {
            self.outbox.push((node, Body::Restarted { term, last }));
        }
    }

    /// Who belongs to nobody knows not whom to tell of the doubt: then whoever takes it for a follower is told.
    pub(super) fn tell_doubt_to(&mut self, node: NodeId, term: Term) {
        if self.doubt.is_doubtful && !self.configuration().has(node) && term >= self.term() {
            let last = self.agreed_in(term);
            self.outbox.push((node, Body::Restarted { term, last }));
        }
    }

    /// Another replica has been started anew: it has no more than this, whatever it had said before.
    pub(super) fn note_restarted(
        &mut self,
        from: NodeId,
        (term, last): (Term, LogIndex),
        now: MonoUs,
    ) {
        let is_first = (term, last) == (Term(0), LogIndex(0));
        let other = if is_first { Other::First } else { Other::Doubtful };
        self.doubt.others.insert(from, (self.doubt.ticks, other));
        if !self.is_leader() || term > self.term() {
            return;
        }
        self.synced.remove(&from);
        self.tell_goal(from, last, now);
        if let Some(progress) = self.raw.raft.mut_prs().get_mut(from.0)
            && progress.matched > last.0
        {
            let matched = std::mem::replace(&mut progress.matched, last.0);
            progress.become_probe();
            progress.next_idx = matched + 1;
        }
    }

    /// Another replica found nothing, as did all, and is in doubt no more.
    pub(super) fn note_begun(&mut self, from: NodeId) {
        self.doubt.others.insert(from, (self.doubt.ticks, Other::Begun));
    }

    /// There is nothing left that might have been promised, and is not here. It is as well to know that at the next
    /// start.
    fn end_doubt(&mut self) {
        self.doubt.is_doubtful = false;
        if !std::mem::replace(&mut self.hard_state.has_begun, true) {
            self.doubt.is_first = false;
            self.save_hard_state();
        }
    }

    /// How far another must come.
    pub(super) fn goal(&self) -> Body {
        Body::CatchUp { term: self.term(), index: self.last() }
    }

    /// Tells a replica how far it must come. It may have lost its disk, and with it a vote for a leader of a later term,
    /// with whom it made a quorum: so a quorum must say first that there is none. Of two voters the other one knows.
    fn tell_goal(&mut self, to: NodeId, last: LogIndex, now: MonoUs) {
        if last > LogIndex(0) || self.configuration().voters.len() <= 2 {
            self.outbox.push((to, self.goal()));
        } else if self.doubt.owed.iter().all(|(node, _)| *node != to) {
            let round = self.begin_round(now);
            self.doubt.owed.push((to, round));
        }
    }

    /// A quorum has answered a round, in which whoever has lost his disk takes no part.
    pub(super) fn tell_owed_goals(&mut self, round: u64) {
        let goal = self.goal();
        let outbox = &mut self.outbox;
        self.doubt.owed.retain(|(node, of)| {
            if *of <= round {
                outbox.push((*node, goal.clone()));
            }
            *of > round
        });
    }

    /// Nothing that was ever promised to anybody counts any more: this replica is as one that finds nothing.
    pub(super) fn forget_doubt(&mut self) {
        self.doubt = Doubt::new((true, Term(0)), true, self.election_ticks);
    }

    /// This replica leads no more.
    pub(super) fn forget_owed_goals(&mut self) {
        self.doubt.owed.clear();
    }

    /// Whether nothing that a leader of this term says may be heard, since this replica may have lost a vote for another;
    /// it is told so.
    pub(super) fn is_deaf_to(&mut self, leader: NodeId, term: Term) -> bool {
        let has_goal = self.doubt.goal.is_some_and(|(of, _)| of == term);
        let is_deaf = self.doubt.is_doubtful && self.doubt.is_first && !has_goal;
        if is_deaf && term >= self.term() {
            self.outbox.push((leader, Body::Restarted { term, last: LogIndex(0) }));
        }
        is_deaf
    }

    /// A leader has told how far this replica must come.
    pub(super) fn note_goal(&mut self, from: NodeId, term: Term, index: LogIndex) {
        if self.doubt.is_doubtful && self.doubt.is_first && term >= self.term() {
            // Others have confirmed that it leads.
            self.doubt.goal = Some((term, index));
            self.doubt.untold = None;
        } else if term == self.term() && from.0 == self.raw.raft.leader_id {
            // A committed entry of this term is the leader's own: then it is the word that is late.
            let of_committed = self.term_of(self.committed()).unwrap_or_default();
            if index < self.committed() && of_committed < term {
                return self.begin_afresh();
            }
            self.doubt.goal = Some((term, index));
            self.doubt.untold = None;
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
            self.end_doubt();
            let raft = &mut self.raw.raft;
            if raft.vote == raft::INVALID_ID {
                raft.vote = raft.leader_id;
            }
        }
    }
}
