//! Commands on keys that another node leads, for clients that do not speak cluster: they are left to that node, and
//! its replies take their places among the others.
//!
//! ```text
//! client ─► common port ─► route ── served here: run
//!                            │ MOVED
//!                            └─► upstream: the client's own connection to that node ─► a guest there
//!                                  │  SELECT, HELLO, ... as far as they are news          │ commands run as
//! client ◄── output, in order ◄────┴────────────────────────── replies ◄──────────────────┘ any client's
//! ```
//!
//! An upstream (`upstream`) is made when it is first needed, stays for the next command, and ends with its client. It
//! begins with the handshake of links, so that the other node knows that it is one of the cluster who speaks; what
//! the client was let in by counts there too. There it is a client as any other, a guest (`guest`), whose commands
//! are never left to a third node. So transactions, `WATCH`, blocking commands and the order of one upstream's
//! commands need nothing of their own.
//!
//! Invariants:
//!
//! * Commands of one connection for one shard never overtake one another. While some are with a node, others for the
//!   same shard go to that node or wait: whoever leads it by then.
//! * A command for which no leader is known, or none that is there, waits, but no longer than an election may take, and a
//!   client that has waited in vain does not wait again at once.
//! * Every command that was left to another node is answered: by that node, or, when it is lost or leads no more
//!   and does not say so, with an error which says whether the command may have been carried out.
//! * What is under way for one client is bounded as what other cores owe it is. A client that does not read its
//!   replies is not sent more, and no more is received for it.
//! * A connection that has upstreams stays on its core.

mod guest;
mod replies;
mod traffic;
mod transaction;
mod upstream;

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::connection::{Block, Connection, Port, State};
use super::core::Core;
use super::dispatch::{Flow, Route};
use super::ring::Token;
use crate::command::table::Entry;
use crate::command::{Error, Flags, Handler};
use crate::limits::{
    LEADER_AWAITED_AGAIN_MS, LEADER_AWAITED_TIMEOUTS, LEFT_BYTES_MAX, OWED_REPLIES_MAX,
};
use crate::node::Node;
use crate::protocol::Args;
use crate::shard::Call;
use crate::types::{MonoUs, NodeId, ShardId, Slot, key_slot};
use upstream::Upstream;

/// What a client is answered that asks for a token of its writes, when one of the nodes that carried them out was lost.
const NO_TOKEN: Error = Error::Static(
    "ERR There is no token any more of what this connection has written: a node that has carried out some of it for \
     another was lost. A new connection has one",
);

/// The upstreams of one core.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    all: HashMap<Token, Box<Upstream>>,
    last_token: u32,
    /// Those that have something to send, perhaps.
    unsent: Vec<Token>,
    /// Those that wait until others are made.
    waiting: VecDeque<Token>,
    /// How many are being made.
    dialing: usize,
    /// Connections that wait for a leader.
    leaderless: Vec<Token>,
    /// Whether somebody may lead now who did not when they were last looked at.
    has_news: bool,
    /// Nodes that are not heard from, as of the beginning of this turn.
    silent: Vec<NodeId>,
    /// Whether this node was removed from the cluster: others take nothing from it any more.
    is_removed: bool,
    ticked_at: MonoUs,
}

/// What a connection has of them.
#[derive(Debug, Default)]
pub(crate) struct Forwarding {
    upstreams: Vec<(NodeId, Token)>,
    /// Shards of commands that are with a node; some may have been answered.
    under_way: Vec<(ShardId, NodeId)>,
    /// Shards of keys that are watched at a node, by this upstream.
    watched: Vec<(ShardId, NodeId, Token)>,
    /// Whether there is no telling any more what was written by ways that are gone.
    has_lost_token: bool,
    /// Since when it has found no leader, and when it last looked.
    leaderless: Option<(MonoUs, MonoUs)>,
}

/// What becomes of a command that is not served here.
enum Target {
    /// It is left to this node.
    Node(NodeId),
    /// There may be one soon.
    Nobody,
    /// It is refused.
    Refused,
}

impl Forwarding {
    fn to(&self, node: NodeId) -> Option<Token> {
        self.upstreams.iter().find(|(to, _)| *to == node).map(|(_, token)| *token)
    }

    /// Whether node `to` leads all that is under way there.
    fn all_led(&self, to: NodeId, leads: impl Fn(ShardId) -> bool) -> bool {
        self.under_way.iter().filter(|(_, node)| *node == to).all(|(shard, _)| leads(*shard))
    }

    /// Whether keys are watched by an upstream.
    fn watches_by(&self, upstream: Token) -> bool {
        self.watched.iter().any(|(.., by)| *by == upstream)
    }

    fn note(&mut self, shards: &[ShardId], to: NodeId) {
        for shard in shards {
            if !self.under_way.contains(&(*shard, to)) {
                self.under_way.push((*shard, to));
            }
        }
    }
}

impl Connection {
    /// Whether commands for `shard` are with another node, so that later ones must not overtake them.
    #[inline]
    pub(super) fn is_forwarding(&self, shard: ShardId) -> bool {
        let Some(forward) = &self.forward else { return false };
        forward.under_way.iter().any(|(of, _)| *of == shard)
    }

    /// Whether it has upstreams, which are its core's.
    pub(super) fn has_upstreams(&self) -> bool {
        self.forward.as_ref().is_some_and(|forward| !forward.upstreams.is_empty())
    }
}

/// The node that leads a shard, as far as this one knows.
fn leader_of(node: &Node, shard: ShardId) -> Option<NodeId> {
    node.leader_of(shard)
}

/// Whether only a client that speaks cluster asks for this.
fn is_of_cluster_clients(entry: &Entry) -> bool {
    matches!(
        entry.full_name,
        "asking"
            | "client|topology"
            | "cluster|nodes"
            | "cluster|shards"
            | "cluster|slots"
            | "readonly"
            | "readwrite"
    )
}

impl Core<'_> {
    /// A command on the session is about to run.
    pub(super) fn note_session_command(&mut self, connection: &mut Connection, entry: &Entry) {
        if entry.full_name == "reset" {
            self.forward_unwatch(connection);
            connection.speaks_cluster = false;
        }
        connection.speaks_cluster |= is_of_cluster_clients(entry);
    }

    /// Whether commands of a connection may be left to other nodes at all.
    fn may_forward(&self, connection: &Connection) -> bool {
        self.config.cluster_forward
            && connection.port == Port::Common
            && connection.binary.is_none()
            && !connection.speaks_cluster
            && connection.session.tracking.is_none()
            && !self.forwards.is_removed
    }

    /// What becomes of a command that is refused here with `error`, the first of whose keys is in `slot`.
    fn forward_target(
        &self,
        connection: &Connection,
        (entry, slot): (&Entry, Slot),
        error: &Error,
    ) -> Target {
        let is_elsewhere = matches!(error, Error::Moved { .. } | Error::SlotNotServed);
        // What listens does so on its own connection.
        if !is_elsewhere || entry.command.flags.contains(Flags::PUSHES) {
            return Target::Refused;
        }
        let shard = self.node.slots.shard_of(slot);
        if connection.port == Port::Guest && self.leads_soon(shard) {
            return Target::Nobody;
        }
        if !self.may_forward(connection) {
            return Target::Refused;
        }
        let leader = leader_of(self.node, shard);
        let leader = leader.filter(|leader| Some(*leader) != self.node.id && self.is_up(*leader));
        leader.map_or(Target::Nobody, Target::Node)
    }

    /// Whether this node has been elected to lead a shard, and is not ready.
    fn leads_soon(&self, shard: ShardId) -> bool {
        leader_of(self.node, shard) == self.node.id && !self.serves(shard)
    }

    #[inline]
    fn is_up(&self, node: NodeId) -> bool {
        !self.forwards.silent.contains(&node)
    }

    /// Looks at who leads, and who is there, when something of that has changed.
    pub(super) fn follow_leaders(&mut self) {
        self.forwards.has_news = true;
        let members = self.node.members.load();
        let silent = members.iter().filter(|member| !member.is_up).map(|member| member.id);
        self.forwards.silent = silent.collect();
        self.forwards.is_removed = self.node.id.is_some_and(|id| self.node.members.is_removed(id));
    }

    /// Whether a command that is refused here with `error` would be left to another node.
    pub(super) fn would_forward(
        &self,
        connection: &Connection,
        command: (&Entry, Slot),
        error: &Error,
    ) -> bool {
        match self.forward_target(connection, command, error) {
            Target::Node(_) | Target::Nobody => true,
            Target::Refused => false,
        }
    }

    /// Has a request wait until there is a leader. [`Flow::Taken`] if that takes too long.
    fn hold_for_leader(&mut self, connection: &mut Connection) -> Flow {
        let now = self.engine.now.mono;
        let forward = connection.forward.get_or_insert_default();
        let since = match forward.leaderless {
            Some((since, seen)) if now.0 - seen.0 < LEADER_AWAITED_AGAIN_MS * 1000 => since,
            Some(_) | None => now,
        };
        forward.leaderless = Some((since, now));
        let patience_ms = LEADER_AWAITED_TIMEOUTS * self.config.election_timeout_ms;
        if now.0 - since.0 >= patience_ms * 1000 {
            return Flow::Taken;
        }
        connection.state = State::Blocked(Block::Leader);
        self.forwards.leaderless.push(connection.token);
        Flow::Left
    }

    /// Lets connections look again that wait for a leader, if there may be one.
    #[inline]
    pub(super) fn look_for_leaders(&mut self) {
        if std::mem::take(&mut self.forwards.has_news) {
            for token in std::mem::take(&mut self.forwards.leaderless) {
                self.unblock(token, Block::Leader);
            }
        }
    }

    /// Has other nodes tell how far what they have carried out for a connection has come, so that its token stands for
    /// that too.
    pub(super) fn gather_tokens(&mut self, connection: &mut Connection) -> Result<Flow, Error> {
        let Some(forward) = &connection.forward else { return Ok(Flow::Taken) };
        if forward.has_lost_token {
            return Err(NO_TOKEN);
        }
        let mut is_awaited = false;
        for (_, token) in &forward.upstreams {
            let has_untold = self.forwards.get(*token).is_some_and(|it| it.has_untold);
            if has_untold && let Some(upstream) = self.forwards.get_to_send(*token) {
                upstream.ask_token();
            }
            is_awaited |= self.forwards.get(*token).is_some_and(Upstream::owes_token);
        }
        if !is_awaited {
            return Ok(Flow::Taken);
        }
        // Nothing waits inside a transaction.
        if connection.session.transaction.is_running {
            return Err(Error::Static(
                "ERR What other nodes have carried out can't be told inside a transaction",
            ));
        }
        connection.state = State::Blocked(Block::Replies);
        Ok(Flow::Left)
    }

    /// The shards that the keys, or channels, of a command are in.
    fn shards_named(&self, entry: &Entry, args: &Args<'_>) -> Vec<ShardId> {
        let slots = self.node.slots;
        let mut shards: Vec<ShardId> = entry
            .command
            .keys
            .positions(args)
            .map(|at| slots.shard_of(key_slot(args.at(at))))
            .collect();
        if let Handler::KeyedOrAll(_, is_for_all) = entry.command.handler
            && is_for_all(args)
        {
            shards.extend((0..slots.shard_count()).map(ShardId));
        }
        shards.sort_unstable();
        shards.dedup();
        shards
    }

    /// Leaves a command to the node that leads its keys, or answers with the error that it is refused with.
    #[cold]
    pub(super) fn forward_or_refuse(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
        error: &Error,
    ) -> Flow {
        let flow = match self.forward_target(connection, (call.entry, call.slot), error) {
            Target::Node(to) => self.forward(connection, call, args, to),
            Target::Nobody if self.hold_for_leader(connection) == Flow::Left => Some(Flow::Left),
            Target::Nobody if matches!(error, Error::Moved { .. }) => {
                return self.refuse(connection, Some(call.entry), &Error::SlotNotServed);
            }
            Target::Nobody | Target::Refused => None,
        };
        flow.unwrap_or_else(|| self.refuse(connection, Some(call.entry), error))
    }

    /// Leaves a command to another node. None if there is no room for a way there.
    fn forward(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
        to: NodeId,
    ) -> Option<Flow> {
        let shards = self.shards_named(call.entry, args);
        let is_blocking = call.entry.command.flags.contains(Flags::BLOCKING);
        let has_to_wait = is_blocking || self.goes_another_way(connection, to, &shards);
        if has_to_wait && self.wait_for_replies(connection) == Flow::Left {
            return Some(Flow::Left);
        }
        let token = self.upstream_for(connection, to, &shards)?;
        let muted = self.is_muted(connection);
        let upstream = self.forwards.get_to_send(token)?;
        upstream.follow(&connection.session);
        let ticket = *upstream.ticket.get_or_insert_with(|| connection.next_ticket());
        let bytes = upstream.request(args, ticket);
        upstream.has_untold |= call.entry.command.flags.contains(Flags::WRITE);
        self.note_forwarded(connection, &shards, to, (ticket, muted, bytes));
        if is_blocking {
            connection.state = State::Blocked(Block::Forwarding);
        }
        Some(Flow::Taken)
    }

    /// Whether commands for these shards are under way that did not go to node `to`.
    fn goes_another_way(&self, connection: &Connection, to: NodeId, shards: &[ShardId]) -> bool {
        let forward = connection.forward.as_ref();
        let elsewhere = forward.iter().flat_map(|forward| &forward.under_way);
        let mut elsewhere = elsewhere.filter(|(_, node)| *node != to);
        elsewhere.any(|(shard, _)| shards.contains(shard))
            || shards.iter().any(|shard| connection.has_outstanding_here(*shard))
            || self.leaving.iter().any(|batch| shards.contains(&batch.shard))
    }

    /// A request of the client has been given to an upstream: reserves the place of its reply, and has the client
    /// wait if it is owed much.
    fn note_forwarded(
        &mut self,
        connection: &mut Connection,
        shards: &[ShardId],
        to: NodeId,
        (ticket, muted, bytes): (u64, bool, usize),
    ) {
        self.engine.metrics.commands_forwarded.increment();
        connection.forward.get_or_insert_default().note(shards, to);
        connection.output.wait_for(ticket, muted);
        connection.left_bytes += bytes;
        if connection.output.slot_count() >= OWED_REPLIES_MAX
            || connection.left_bytes >= LEFT_BYTES_MAX
        {
            connection.state = State::Blocked(Block::Replies);
        }
    }

    /// Has a request that is served here wait while commands for the same shards are with another node.
    #[inline]
    pub(super) fn hold_behind_forwarded(
        &mut self,
        connection: &mut Connection,
        route: &Route,
    ) -> Flow {
        if connection.forward.is_none() {
            return Flow::Taken;
        }
        let is_behind = match route {
            Route::None => false,
            Route::One(shard) => connection.is_forwarding(*shard),
            Route::Many(shards) => shards.iter().any(|shard| connection.is_forwarding(*shard)),
        };
        if is_behind { self.wait_for_replies(connection) } else { Flow::Taken }
    }
}
