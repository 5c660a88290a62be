//! The replicas of this core's shards and what comes for them over links.
// Not there yet: what comes is dropped, as if it were lost on the way.

use super::core::Core;
use crate::replica::ShardMessage;
use crate::types::NodeId;

impl Core<'_> {
    /// A message of another node for a shard, whichever core runs that. It is one that a replica of that node
    /// could send to this one.
    pub(super) fn peer_message(&mut self, from: NodeId, message: ShardMessage) {
        tracing::trace!(from = from.0, ?message, "dropped");
    }

    /// This core's link to a node is there; `incarnation` is another one after every start of that node.
    pub(super) fn node_is_up(&mut self, node: NodeId, incarnation: u64) {
        tracing::trace!(node = node.0, incarnation, "up");
    }

    /// This core's link to a node is gone, and what was on it may be lost.
    pub(super) fn node_is_down(&mut self, node: NodeId) {
        tracing::trace!(node = node.0, "down");
    }
}
