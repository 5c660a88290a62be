//! Transactions and watched keys at another node. What is queued stays with the connection until `EXEC`; then all of
//! it goes there, if one node leads all of its keys. Keys are watched where they are led, at once.

use super::super::connection::{Connection, Port};
use super::super::core::Core;
use super::super::dispatch::{CROSS_SLOT, Flow};
use super::upstream::Expected;
use super::{Target, leader_of};
use crate::command::table::Entry;
use crate::command::{Error, Flags, Handler, Keys};
use crate::protocol::{Args, Reply};
use crate::shard::Call;
use crate::types::{NodeId, ShardId};

/// Where a transaction is to run.
enum Place {
    /// Here, or nowhere: whoever runs it here finds out.
    Here,
    /// At another node.
    At(NodeId, Vec<ShardId>),
    /// Nobody is known who could.
    Unknown,
    /// Nowhere any more: what it watches can't be relied on.
    Broken,
}

/// Whether a command on the session or the server does the same at another node.
fn is_same_everywhere(entry: &Entry) -> bool {
    matches!(entry.full_name, "echo" | "ping" | "time" | "unwatch")
}

impl Core<'_> {
    /// Watches keys at the node that leads them, if they can be left to it.
    pub(in crate::runtime) fn forward_watch(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
        error: &Error,
    ) -> Flow {
        let target = self.forward_target(connection, (call.entry, call.slot), error);
        let flow = self.forward_or_refuse(connection, call, args, error);
        if flow == Flow::Taken
            && let Target::Node(to) = target
            && let Some(forward) = &mut connection.forward
            && let Some(token) = forward.to(to)
        {
            let shards = self.shards_named(call.entry, args);
            forward.watched.extend(shards.into_iter().map(|shard| (shard, to, token)));
        }
        flow
    }

    /// Ends a watch at other nodes.
    pub(in crate::runtime) fn forward_unwatch(&mut self, connection: &mut Connection) {
        let Some(forward) = &mut connection.forward else { return };
        let mut tokens: Vec<_> = forward.watched.drain(..).map(|(_, _, token)| token).collect();
        tokens.dedup();
        for token in tokens {
            if let Some(upstream) = self.forwards.get_to_send(token) {
                upstream.say(&[b"UNWATCH"], Expected::Any);
            }
        }
    }

    /// Has another node run a transaction. None if it is to be run here.
    pub(in crate::runtime) fn forward_exec(
        &mut self,
        connection: &mut Connection,
        call: &Call,
    ) -> Option<Flow> {
        match self.place_of_transaction(connection) {
            Ok(Place::Here) => None,
            Ok(Place::At(to, shards)) => self.exec_at(connection, to, &shards),
            Ok(Place::Unknown) if self.hold_for_leader(connection) == Flow::Left => {
                Some(Flow::Left)
            }
            Ok(Place::Unknown) => {
                self.end_transaction(connection);
                Some(self.reject(connection, Some(call.entry), &Error::SlotNotServed))
            }
            Ok(Place::Broken) => {
                if !self.is_muted(connection) {
                    Reply::new(connection.output.tail(), call.proto).null_array();
                }
                self.end_transaction(connection);
                Some(Flow::Taken)
            }
            Err(error) => {
                self.end_transaction(connection);
                Some(self.reject(connection, Some(call.entry), &error))
            }
        }
    }

    fn exec_at(
        &mut self,
        connection: &mut Connection,
        to: NodeId,
        shards: &[ShardId],
    ) -> Option<Flow> {
        let goes_another_way = self.goes_another_way(connection, to, shards);
        if goes_another_way && self.wait_for_replies(connection) == Flow::Left {
            return Some(Flow::Left);
        }
        let token = self.upstream_for(connection, to, shards)?;
        let muted = self.is_muted(connection);
        let upstream = self.forwards.get_to_send(token)?;
        upstream.follow(&connection.session);
        let ticket = *upstream.ticket.get_or_insert_with(|| connection.next_ticket());
        upstream.say(&[b"MULTI"], Expected::Any);
        let mut bytes = 0;
        if let Some(queue) = &connection.queue {
            for (_, args) in queue.all() {
                bytes += upstream.push(&args, Expected::Any);
            }
        }
        upstream.say(&[b"EXEC"], Expected::Reply(ticket));
        upstream.owed += 1;
        upstream.has_untold = true;
        if let Some(forward) = &mut connection.forward {
            // It ends the watch there.
            forward.watched.clear();
        }
        self.end_transaction(connection);
        self.note_forwarded(connection, shards, to, (ticket, muted, bytes));
        Some(Flow::Taken)
    }

    fn place_of_transaction(&self, connection: &Connection) -> Result<Place, Error> {
        let watched = connection.forward.iter().flat_map(|forward| &forward.watched);
        let mut shards: Vec<ShardId> = watched.clone().map(|(shard, ..)| *shard).collect();
        let is_watching = !shards.is_empty();
        let commands = || connection.queue.iter().flat_map(|queue| queue.all());
        let is_guest = connection.port == Port::Guest;
        if !is_watching && !is_guest && !self.may_forward(connection) {
            return Ok(Place::Here);
        }
        let ways = connection.forward.iter().flat_map(|forward| &forward.upstreams);
        for (shard, to, token) in watched {
            let is_there = ways.clone().any(|way| way == &(*to, *token));
            if !is_there || leader_of(self.node, *shard) != Some(*to) {
                return Ok(Place::Broken);
            }
        }
        let mut watched_here = connection.session.transaction.watches.keys();
        if watched_here.any(|shard| !self.serves(*shard)) {
            return Ok(if self.may_forward(connection) { Place::Broken } else { Place::Here });
        }
        shards.extend(connection.session.transaction.watches.keys());
        commands().for_each(|(entry, args)| shards.extend(self.shards_named(entry, &args)));
        shards.sort_unstable();
        shards.dedup();
        if shards.iter().all(|shard| self.serves(*shard)) {
            return Ok(Place::Here);
        }
        if shards.iter().any(|shard| self.leads_soon(*shard)) {
            return Ok(Place::Unknown);
        }
        if is_guest {
            return Ok(Place::Here);
        }
        let leader = |shard: &ShardId| leader_of(self.node, *shard);
        let leaders: Option<Vec<NodeId>> = shards.iter().map(leader).collect();
        let Some(leaders) = leaders else { return Ok(Place::Unknown) };
        let to = leaders[0];
        if leaders.iter().any(|leader| *leader != to) {
            return Err(CROSS_SLOT);
        }
        if Some(to) == self.node.id || !self.is_up(to) {
            return Ok(Place::Unknown);
        }
        match commands().find(|(entry, args)| !can_be_there(entry, args)) {
            None => Ok(Place::At(to, shards)),
            Some((entry, _)) => {
                let name = entry.full_name.to_uppercase().replace('|', " ");
                Err(Error::Text(format!(
                    "EXECABORT Transaction discarded because of: {name} can't be part of a \
                     transaction on keys that another node leads"
                )))
            }
        }
    }
}

/// Whether a queued command means the same to the client where all keys of the transaction are led.
fn can_be_there(entry: &Entry, args: &Args<'_>) -> bool {
    match entry.command.handler {
        Handler::Keyed(_) => true,
        Handler::KeyedOrAll(_, is_for_all) => !is_for_all(args),
        Handler::Session(_) if entry.command.flags.contains(Flags::PUSHES) => false,
        Handler::Session(_) => entry.command.keys != Keys::None || is_same_everywhere(entry),
        Handler::AllShards(_) | Handler::Container(_) | Handler::Cursor(..) | Handler::Slot(..) => {
            false
        }
    }
}
