//! Who takes part in the shard, and how that changes while it serves.
//!
//! ```text
//! nobody ─► learner ─► voter ─► nobody
//!      asked      caught up    asked
//! ```
//!
//! A configuration is an entry of the log, which holds from when it is committed; the leader changes one node at a time.
//! Who learns is sent everything and counts for nothing; the leader has it vote as soon as it keeps up. Quorums of two
//! configurations that follow one another have a node in common, but only as long as what is committed is not lost: so the
//! next change waits until a quorum has the one before, and an entry of the leader's own term, on disk. Where the entry
//! that brought a configuration was lost with the disks or the power of all, the leader that knows it still makes it an
//! entry again before it changes it. A replica that takes no part any more forgets all but its vote.

use std::collections::VecDeque;

use raft::eraftpb::{ConfChange, ConfChangeType, Entry, EntryType};
use raft::{Progress, ProgressState};

use super::{Body, Replica, conf_state};
use crate::limits::REPLICA_REQUESTS_MAX;
use crate::log::{Configuration, Version};
use crate::node::replica_stats::ReplicaRequest;
use crate::types::{LogIndex, MonoUs, NodeId, Term};

/// Election timeouts for which a request is tried.
const PATIENCE: u64 = 5;

/// What a replica keeps for changes of its configuration.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// What an operator has asked for, and at which tick.
    pub(super) asked: VecDeque<(ReplicaRequest, u64)>,
    /// The generation of the hard state that has the configuration.
    pub(super) generation: u64,
    /// The last configuration whose entry this replica has seen committed.
    committed: Version,
    /// The first entry of the term that this replica leads.
    pub(super) term_begins: LogIndex,
    /// This replica takes no part as of now.
    has_left: bool,
    /// The configuration by which this replica has left: others may not know of it.
    left_by: Option<Configuration>,
    /// The keyspace is to be emptied.
    is_keyspace_void: bool,
    /// The heir is to lead as soon as it can.
    pub(super) is_heir_urgent: bool,
}

/// An entry that brings a configuration.
pub(super) fn configuration_entry(bytes: bytes::Bytes) -> Entry {
    // The crate reads what stands in `data`, where nothing is a change of nothing.
    let entry_type = EntryType::EntryConfChange;
    Entry { entry_type, context: bytes, ..Entry::default() }
}

impl Replica {
    /// What was found may be of a replica that has not finished leaving.
    pub(super) fn resume_membership(&mut self) {
        let is_left = self.configuration().voters.is_empty()
            && self.configuration().version > Version::default();
        self.membership.has_left = is_left && self.last() > LogIndex(0);
        self.leave_if_removed();
    }

    pub(super) fn configuration(&self) -> &Configuration {
        &self.hard_state.configuration
    }

    /// Whether this replica takes part.
    pub(crate) fn is_member(&self) -> bool {
        self.configuration().has(self.options.node)
    }

    /// Whether the configuration is on disk beside the log, so that the log may forget it.
    pub(crate) fn is_configuration_saved(&self) -> bool {
        self.held.saved() >= self.membership.generation
    }

    // --- what is asked ---------------------------------------------------------------------------

    /// An operator asks for a change.
    pub(crate) fn request(&mut self, request: ReplicaRequest) {
        if self.has_failed {
            return;
        }
        match request {
            ReplicaRequest::Found(voters) => self.found(voters),
            ReplicaRequest::Reset => self.reset(),
            ReplicaRequest::Add(_) | ReplicaRequest::Remove(_) | ReplicaRequest::Lead(_) => {
                if self.membership.asked.len() < REPLICA_REQUESTS_MAX {
                    self.membership.asked.push_back((request, self.ticks));
                }
            }
        }
    }

    /// Begins a shard: whoever belongs to nobody and has seen nothing is told by whom it is kept.
    fn found(&mut self, voters: Vec<NodeId>) {
        let is_blank = self.configuration() == &Configuration::default()
            && (self.term().0, self.last().0) == (0, 0);
        let first = Configuration::first(voters);
        if is_blank && first.has_voter(self.options.node) && first.is_possible() {
            self.change_raft(&first);
            self.adopt(first);
            self.set_timeout();
        }
    }

    /// Who takes no part any more begins as one that has found nothing: of no shard, with no term and no vote. To those whom
    /// it knew it is as good as one that has lost its disk.
    fn reset(&mut self) {
        let is_blank = self.configuration() == &Configuration::default() && self.term() == Term(0);
        if self.is_member() || is_blank {
            return;
        }
        (self.hard_state.term, self.hard_state.vote) = (Term(0), None);
        self.hard_state.has_begun = false;
        self.hard_state.configuration = Configuration::default();
        self.membership.left_by = None;
        if self.forget_entries() {
            self.forget_doubt();
            self.membership.is_keyspace_void = true;
            self.save_configuration();
        }
    }

    /// Gives up what can't be done, and does what needs no entry; every tick.
    pub(super) fn look_after_requests(&mut self, now: MonoUs) {
        if !self.is_configuration_saved() && self.held.is_idle() {
            self.save_configuration();
        }
        let (ticks, patience) = (self.ticks, PATIENCE * self.election_ticks);
        let is_serving = self.is_serving();
        self.membership.asked.retain(|(_, since)| is_serving && ticks - since <= patience);
        if !is_serving {
            self.membership.is_heir_urgent = false;
        }
        // Another has to carry it out.
        let own = ReplicaRequest::Remove(self.options.node);
        if self.membership.asked.front().is_some_and(|(request, _)| *request == own) {
            self.resign(now);
        }
    }

    /// Makes a change of the configuration the next entry, if one is due; answers the entry. The keyspace must have
    /// seen all that there is, since the entry counts as seen.
    pub(crate) fn propose_configuration(&mut self) -> Option<LogIndex> {
        if !self.may_propose() || self.leaving_until.is_some() || self.raw.raft.has_pending_conf() {
            return None;
        }
        let is_lost = !self.has_entry_of_configuration();
        let begun = self.membership.term_begins;
        let needed = if is_lost { begun } else { begun.max(self.configuration().version.1) };
        if self.synced(self.durable) < needed {
            self.want_sync(needed);
            return None;
        }
        let next = if is_lost {
            // Of an entry that is no newer nobody would take notice.
            let is_newer =
                (self.term(), LogIndex(self.last().0 + 1)) > self.configuration().version;
            is_newer.then(|| self.configuration().clone())?
        } else {
            self.next_asked().or_else(|| self.next_promoted())?
        };
        let before = self.last();
        let context = next.encode();
        let change = ConfChange::default();
        if self.raw.propose_conf_change(context, change).is_err() || self.last() == before {
            return None;
        }
        self.applied = self.last();
        tracing::info!(
            shard = self.shard.0,
            voters = ?next.voters.iter().map(|node| node.0).collect::<Vec<_>>(),
            learners = ?next.learners.iter().map(|node| node.0).collect::<Vec<_>>(),
            "the shard's replicas are to be these"
        );
        self.want_sync(self.last());
        Some(self.last())
    }

    /// Whether the entry that brought the configuration is at hand. Otherwise it may have been lost, and only nodes that had
    /// come to know it do still: before another follows a quorum has to have it as an entry again.
    fn has_entry_of_configuration(&self) -> bool {
        let version = self.configuration().version;
        let (term, index) = version;
        version == self.membership.committed || self.raw.store().term_of(index) == Some(term)
    }

    /// Whether it might be time for [`Self::propose_configuration`].
    pub(crate) fn wants_configuration(&self) -> bool {
        let has_work =
            !self.membership.asked.is_empty() || !self.configuration().learners.is_empty();
        has_work && self.is_serving()
    }

    /// The configuration that an operator has asked for, one change further.
    fn next_asked(&mut self) -> Option<Configuration> {
        while let Some((request, since)) = self.membership.asked.pop_front() {
            let configuration = self.configuration();
            let next = match request {
                ReplicaRequest::Add(node) => configuration.with_learner(node),
                ReplicaRequest::Remove(node) => {
                    let next = configuration.without(node);
                    let is_own = node == self.options.node;
                    if next.as_ref().is_some_and(|next| is_own || !self.has_quorum_of(next)) {
                        self.membership.asked.push_back((request, since));
                        return None;
                    }
                    next
                }
                ReplicaRequest::Lead(node) => {
                    let is_other = configuration.heir != Some(node);
                    let next = configuration.with_heir(node);
                    self.membership.is_heir_urgent = next.is_some();
                    next.filter(|_| is_other)
                }
                ReplicaRequest::Found(_) | ReplicaRequest::Reset => None,
            };
            if next.is_some() {
                return next;
            }
        }
        None
    }

    /// Has a learner vote that keeps up.
    fn next_promoted(&self) -> Option<Configuration> {
        let last = self.last().0;
        // It knows that it learns, at least.
        let needed = (last.saturating_sub(super::SLACK)).max(self.configuration().version.1.0);
        let keeps_up = |node: &&NodeId| {
            let progress = self.raw.raft.prs().get(node.0);
            let is_awaited = self.outgoing.as_ref().is_some_and(|it| it.to() == **node);
            progress.is_some_and(|it| {
                it.recent_active && it.state != ProgressState::Snapshot && it.matched >= needed
            }) && !is_awaited
                && !self.doubt.is_doubted(**node)
        };
        let node = self.configuration().learners.iter().find(keeps_up)?;
        self.configuration().with_voter(*node)
    }

    /// Whether a majority of these voters has answered lately: otherwise nothing could be committed any more.
    fn has_quorum_of(&self, next: &Configuration) -> bool {
        self.is_majority(&next.voters, |progress| progress.recent_active)
    }

    /// Whether a majority of these voters is, as this leader sees them, what is asked; it is itself.
    pub(super) fn is_majority(&self, voters: &[NodeId], is: impl Fn(&Progress) -> bool) -> bool {
        self.is_majority_of_nodes(voters, |node| self.raw.raft.prs().get(node.0).is_some_and(&is))
    }

    /// The same, by what is known of each node.
    pub(super) fn is_majority_of_nodes(
        &self,
        voters: &[NodeId],
        is: impl Fn(NodeId) -> bool,
    ) -> bool {
        let counts = |node: &&NodeId| **node == self.options.node || is(**node);
        voters.iter().filter(counts).count() > voters.len() / 2
    }

    // --- what comes to be ------------------------------------------------------------------------

    /// An entry that brings a configuration is committed.
    pub(super) fn follow_configuration(&mut self, entry: &Entry) {
        let version = (Term(entry.term), LogIndex(entry.index));
        self.membership.committed = version;
        if version <= self.configuration().version {
            return;
        }
        let Some(new) = Configuration::decode(version, &entry.context) else {
            // It was looked at when it came.
            self.has_failed = true;
            return;
        };
        // Of several at once the last counts.
        let is_in = new.has(self.options.node);
        self.membership.has_left = !is_in && (self.membership.has_left || self.is_member());
        if !self.membership.has_left {
            self.change_raft(&new);
        }
        self.adopt(new);
    }

    /// This configuration holds from now on.
    pub(super) fn adopt(&mut self, new: Configuration) {
        self.synced.retain(|node, _| new.has(*node));
        self.hard_state.configuration = new;
        let state = conf_state(&self.hard_state.configuration);
        self.raw.mut_store().set_conf_state(state);
        self.save_configuration();
    }

    pub(super) fn save_configuration(&mut self) {
        self.membership.generation = self.save_hard_state();
    }

    /// Lets the crate know who takes part from now on.
    fn change_raft(&mut self, new: &Configuration) {
        use ConfChangeType::{AddLearnerNode, AddNode, RemoveNode};
        let conf = self.raw.raft.prs().conf();
        let is_voter = |node: &NodeId| conf.voters().contains(node.0);
        let is_learner = |node: &NodeId| conf.learners().contains(&node.0);
        let mut changes: Vec<(ConfChangeType, NodeId)> = Vec::new();
        let voters = new.voters.iter().filter(|node| !is_voter(node));
        changes.extend(voters.map(|node| (AddNode, *node)));
        let learners = new.learners.iter().filter(|node| !is_learner(node));
        changes.extend(learners.map(|node| (AddLearnerNode, *node)));
        let all = self.raw.raft.prs().iter().map(|(node, _)| NodeId(*node));
        changes.extend(all.filter(|node| !new.has(*node)).map(|node| (RemoveNode, node)));
        for (change_type, node) in changes {
            let change = ConfChange { change_type, node_id: node.0, ..ConfChange::default() };
            if let Err(error) = self.raw.apply_conf_change(&change) {
                tracing::error!(shard = self.shard.0, "the configuration can't be: {error}");
                self.has_failed = true;
            }
        }
    }

    /// Forgets what belongs to a shard that this replica has no part in any more.
    pub(super) fn leave_if_removed(&mut self) {
        if !std::mem::take(&mut self.membership.has_left) {
            return;
        }
        tracing::info!(shard = self.shard.0, "this node has no replica of the shard any more");
        let version = self.configuration().version;
        let nobody = Configuration::nobody(version);
        let left = std::mem::replace(&mut self.hard_state.configuration, nobody);
        if !left.voters.is_empty() {
            self.membership.left_by = Some(left);
        }
        if self.forget_entries() {
            self.membership.is_keyspace_void = true;
            self.save_configuration();
        }
    }

    /// Whether the keyspace is to be emptied; it is then.
    pub(crate) fn take_void(&mut self) -> bool {
        let is_void = std::mem::take(&mut self.membership.is_keyspace_void);
        self.is_tainted &= !is_void;
        is_void
    }

    // --- who hears of no leader ----------------------------------------------------------------------

    /// Whether this replica has heard from a leader within an election timeout.
    pub(super) fn is_led(&self) -> bool {
        let raft = &self.raw.raft;
        raft.leader_id != raft::INVALID_ID && raft.election_elapsed < raft.election_timeout()
    }

    /// Tells the others which configuration this replica knows, if it hears of no leader: it may have been removed, or
    /// have lost the last one.
    pub(super) fn tell_configuration(&mut self) {
        if self.is_leader() || self.is_led() {
            return;
        }
        let mut all: Vec<NodeId> = self.others().collect();
        if !self.is_member() {
            // It may be one by an entry that it does not know to be committed. What else comes to who has left was
            // under way.
            let version = self.configuration().version;
            let last = self.raw.store().last_configuration();
            let may_be_in = last.as_ref().is_some_and(|last| last.version > version);
            if !may_be_in && version > Version::default() && self.last() > LogIndex(0) {
                self.membership.has_left = true;
                return self.leave_if_removed();
            }
            all.extend(last.iter().flat_map(Configuration::nodes));
            all.extend(self.leader());
            all.retain(|node| *node != self.options.node);
        }
        for node in all {
            self.outbox.push((node, Body::Configuration(self.configuration().clone())));
        }
    }

    /// A node that hears of no leader tells what it knows, or answers what this one had told it.
    pub(super) fn compare_configurations(&mut self, from: NodeId, theirs: Configuration) {
        let own = self.configuration();
        let is_older = theirs.version < own.version;
        // Who finds nothing does not know with whom the shard began.
        let is_newer =
            theirs.version > own.version || theirs.version == own.version && own.voters.is_empty();
        let known = Some(own).filter(|_| self.is_member()).or(self.membership.left_by.as_ref());
        if let Some(known) = known.filter(|known| theirs.version < known.version) {
            self.outbox.push((from, Body::Configuration(known.clone())));
        }
        if is_older && theirs.has(self.options.node) {
            // They may have lost the one by which this replica has left.
            self.tell_doubt_to(from, self.term());
        }
        let is_led = self.is_leader() || self.is_led();
        if !is_newer || is_led || theirs.voters.is_empty() {
            return;
        }
        if theirs.has(self.options.node) {
            self.change_raft(&theirs);
            self.adopt(theirs);
        } else if self.is_member() || self.last() > LogIndex(0) {
            self.adopt(theirs);
            self.membership.has_left = true;
            self.leave_if_removed();
        }
    }
}
