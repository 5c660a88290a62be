//! Shards that come and go while the core runs, and the clients that want to know.
//!
//! ```text
//! SHARD MOVE ─► node.owners, epoch + 1 ─► cores are rung ─► turn: epoch is new ─► own shards, pushes
//! ```
//!
//! A core that has not seen the new epoch yet goes on as before: it may take the token of a shard that
//! is no longer its own, and what it leaves to the old owner is passed on by the shard's queue.

use super::connection::{Connection, Port, State};
use super::core::Core;
use super::frames::low_half;
use super::ring::Token;
use crate::command::binary::topology_of;
use crate::command::cluster;
use crate::limits::TOPOLOGY_OUTPUT_BYTES_MAX;
use crate::protocol::binary::{Opcode, ReplyFrame, ReplyHead, Status};
use crate::protocol::{Proto, Reply};
use crate::types::ShardId;

impl Core<'_> {
    /// Whether shards have changed owners since this core last looked, or the cluster what is told of it.
    #[inline]
    pub(super) fn has_new_owners(&self) -> bool {
        self.node.topology_epoch() != self.engine.owners.epoch()
    }

    /// Looks at the owners again, between turns. Shards that left are simply not taken any more; those
    /// that came are looked after from this turn on: their room, and what they do unasked.
    pub(super) fn follow_owners(&mut self) {
        self.engine.owners = self.node.served_owners();
        self.shards.set_own(self.engine.owners.shards_of(self.id).collect());
        self.shards.take_own();
        self.update_room();
        self.maintaining.clear();
        self.maintaining.extend_from_slice(self.shards.own());
        self.tell_subscribers();
        self.end_moved_subscriptions();
        self.blocked.has_new_owners = true;
        self.follow_leaders();
    }

    /// Whether this core is the owner of `shard`.
    #[inline]
    pub(super) fn is_owner(&self, shard: ShardId) -> bool {
        self.engine.owners.core_of(shard) == self.id
    }

    /// Lets a connection on the common port find its core anew, by the next key it names, when the
    /// shard that brought it here belongs to another core now. Not while replies are under way: they
    /// come here.
    pub(super) fn release_if_home_moved(&self, connection: &mut Connection) {
        let moved = connection.home.is_some_and(|home| !self.is_owner(home));
        // A client that monitors or listens is known to its core by its token.
        let session = &connection.session;
        let stays = session.monitor
            || session.subscriptions.is_some()
            || session.tracking.is_some()
            || connection.has_upstreams();
        let may_move = !stays && !connection.is_waiting();
        if moved && may_move && connection.port == Port::Common {
            connection.placed = false;
        }
    }

    // --- telling clients -------------------------------------------------------------------------

    /// Has every subscribed connection of this core told of the new epoch at the end of the turn.
    fn tell_subscribers(&mut self) {
        let subscribed = |connection: &&Connection| connection.session.topology_told.is_some();
        let tokens: Vec<Token> =
            self.connections.iter().filter(subscribed).map(|connection| connection.token).collect();
        for token in tokens {
            if let Some(mut connection) = self.connections.take(token) {
                self.mark_dirty(&mut connection);
                self.connections.put(connection);
            }
        }
    }

    /// Tells a connection of the topology if it is subscribed and has not been told of this epoch: the
    /// one place where that is decided, for all protocols. Replies written so far go first. A client
    /// that does not read hears of the newest epoch alone, once it has read what was waiting.
    #[inline]
    pub(super) fn tell_topology(&self, connection: &mut Connection) {
        if connection.session.topology_told.is_some_and(|told| told < self.engine.owners.epoch()) {
            self.push_topology(connection);
        }
    }

    #[cold]
    fn push_topology(&self, connection: &mut Connection) {
        let going_on = matches!(connection.state, State::Running | State::Blocked(_));
        if !going_on || connection.output.pending_bytes() > TOPOLOGY_OUTPUT_BYTES_MAX {
            return;
        }
        let (session, owners) = (&mut connection.session, &self.engine.owners);
        session.topology_told = Some(owners.epoch());
        if connection.binary.is_some() {
            let mut body = Vec::new();
            topology_of(self.node, owners, &session.info).write(&mut body);
            let opcode = Opcode::SubscribeTopology.number() | Opcode::PUSH;
            let head = ReplyHead::new(0, opcode, Status::Ok);
            let epoch = low_half(owners.epoch());
            return ReplyFrame::single(connection.output.tail(), head, &body, epoch);
        }
        match session.proto {
            // Such a client can't subscribe, and one that goes back to RESP2 no longer is.
            Proto::Resp2 => {}
            Proto::Resp3 => {
                let mut reply = Reply::new(connection.output.tail(), session.proto);
                cluster::push_topology(self.node, owners, &session.info, &mut reply);
            }
        }
    }
}
