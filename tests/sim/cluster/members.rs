//! Who takes part: an operator adds nodes and removes some, whatever goes wrong meanwhile.

use super::{Cluster, Event};
use crate::node::replica_stats::{ReplicaRequest, ReplicaState};
use crate::types::NodeId;

/// Voters that are left at least: one of them may be lost.
const VOTERS_MIN: usize = 3;
/// After which a request has been carried out, or never will be.
const PATIENCE_US: u64 = 2_500_000;

impl Cluster {
    pub(super) fn are_members_changing(&self) -> bool {
        self.settings.founders < self.nodes
    }

    /// An operator asks the leader for a change, if there is one.
    pub(super) fn change_members(&mut self) {
        if self.time >= self.busy_until {
            return;
        }
        let us = if self.dice.one_in(3) { 60_000 } else { 500_000 };
        let time = self.soon(us);
        self.at(time, Event::Change);
        let node = NodeId(1 + self.dice.below(self.nodes) as u64);
        let leads = self.dice.one_in(3);
        let shard = self.dice.below(self.shards);
        let Some((leader, state)) = self.leader(shard) else { return };
        let is_voter = state.voters.contains(&node);
        // Another may be on its way out.
        let is_pending = self.removing[shard]
            .is_some_and(|(node, until)| self.time < until && state.voters.contains(&node));
        let is_spare = state.voters.len() > VOTERS_MIN && !is_pending;
        let is_removable = is_spare || state.learners.contains(&node);
        let request = match is_voter || state.learners.contains(&node) {
            false => ReplicaRequest::Add(node),
            true if is_voter && leads => ReplicaRequest::Lead(node),
            true if is_removable => ReplicaRequest::Remove(node),
            true => return,
        };
        if matches!(request, ReplicaRequest::Remove(_)) {
            self.removing[shard] = Some((node, self.time + PATIENCE_US));
        }
        self.note(format_args!("{leader} is asked for {request:?}"));
        if let Some(process) = &mut self.parts[leader].process {
            process.shard.request_of_replica(request);
        }
    }

    fn leader(&self, shard: usize) -> Option<(usize, ReplicaState)> {
        self.parts_in(shard).find_map(|index| {
            let shard = &self.parts[index].process.as_ref()?.shard;
            let state = shard.replica_published(true)?.state?;
            shard.is_serving().then_some((index, state))
        })
    }

    /// Whether no replica of the shard that runs counts on a node, nor does it itself.
    pub(super) fn is_outside(&self, index: usize) -> bool {
        let id = self.parts[index].id;
        let knows = |node: &super::Part| {
            let shard = node.process.as_ref().map(|process| &process.shard);
            let state = shard.and_then(|shard| shard.replica_published(true)?.state);
            state.is_some_and(|it| it.voters.contains(&id) || it.learners.contains(&id))
        };
        !self.parts[self.parts_in(self.shard_of(index))].iter().any(knows)
    }

    /// Whether so many nodes vote, and none learns.
    pub(super) fn is_settled(&self, shard: usize, members: usize) -> bool {
        self.leader(shard)
            .is_some_and(|(_, state)| state.voters.len() == members && state.learners.is_empty())
    }
}
