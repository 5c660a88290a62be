//! In a cluster: which shards this node serves, and where a client is sent whose keys are in others.
//!
//! A node serves the shards that it leads. Every request on keys is looked at before it is run, or left for
//! whoever holds its shard, and once more by the shard itself where it is run. Commands over all keys are over
//! those that the node serves ([`View`](crate::command::View)). A server on its own serves every shard.

use super::connection::Connection;
use super::core::Core;
use super::dispatch::{CROSS_SLOT, Route};
use crate::command::Error;
use crate::node::Node;
use crate::types::{NodeId, ShardId, Slot};

impl Core<'_> {
    /// Whether this node is one of a cluster.
    #[inline]
    pub(super) fn is_in_cluster(&self) -> bool {
        self.node.id.is_some()
    }

    /// Whether this node serves a shard, as far as it knows.
    #[inline]
    pub(super) fn serves(&self, shard: ShardId) -> bool {
        self.node.id.is_none() || self.node.replica(shard).is_serving()
    }

    /// Lets a command go where its keys, the first of them in `slot`, are served here.
    ///
    /// # Errors
    /// Where else they are, if one node serves all of them.
    #[inline]
    pub(super) fn admit_route(
        &self,
        connection: &Connection,
        slot: Slot,
        route: Route,
    ) -> Result<Route, Error> {
        if self.is_in_cluster() { self.admit_served(connection, slot, route) } else { Ok(route) }
    }

    fn admit_served(
        &self,
        connection: &Connection,
        slot: Slot,
        route: Route,
    ) -> Result<Route, Error> {
        let shards = match &route {
            Route::None => &[],
            Route::One(shard) => std::slice::from_ref(shard),
            Route::Many(shards) => &shards[..],
        };
        // What has begun is not refused half way: its tokens are held, and with them the leadership.
        let is_running = connection.session.transaction.is_running;
        let may_run = is_running || connection.follows;
        if may_run || shards.iter().all(|shard| self.serves(*shard)) {
            return Ok(route);
        }
        let mut leaders = shards.iter().map(|shard| self.node.leader_of(*shard));
        let first = leaders.next().flatten();
        let are_apart = leaders.any(|leader| leader.is_some() && leader != first);
        Err(if are_apart && first.is_some() { CROSS_SLOT } else { self.served_elsewhere(slot) })
    }

    /// Tells who serves a slot that this node does not serve.
    #[cold]
    pub(super) fn served_elsewhere(&self, slot: Slot) -> Error {
        led_elsewhere(self.node, slot)
    }
}

/// Tells who leads the shard of a slot that this node does not lead.
#[cold]
pub(super) fn led_elsewhere(node: &Node, slot: Slot) -> Error {
    let shard = node.slots.shard_of(slot);
    // This node itself may have been elected, and not be ready.
    let is_other = |leader: &NodeId| Some(*leader) != node.id;
    let leader = node.leader_of(shard).filter(is_other);
    let member = leader.and_then(|leader| node.members.find_server(leader));
    match member.and_then(|member| Some((member.ip?, member.port_of(shard)))) {
        Some((ip, port)) => Error::Moved { slot, ip, port },
        None => Error::SlotNotServed,
    }
}
