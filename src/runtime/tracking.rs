//! Invalidation messages on their way to clients that keep copies of values (`CLIENT TRACKING`).
//!
//! ```text
//! read ──► cache::track, under the token ── change ──► attend ──► Engine::news
//!                                                                   │ before the token goes on,
//!                                                                   ▼ before the reply leaves
//!      outputs of this core's clients, at once ◄── spread_news ──► inboxes of other cores ──► outputs
//! ```
//!
//! Invariants:
//!
//! * A key is registered behind the command that read it, before its token goes on; and the reply, or the
//!   place for it, is in the output before anybody can tell of a change. So the client has the value before
//!   it is told to forget it.
//! * A change is in the inboxes before the reply to the command that made it can leave, and before anybody
//!   else sees the new value. A core looks into its inbox before it runs anything: what a client asks after
//!   others know of a change is answered behind the message.
//! * A connection that is being served is not in the table: what concerns it meanwhile it gets behind its
//!   replies. So does one that is moving to this core.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::connection::Connection;
use super::core::Core;
use super::dispatch::Flow;
use super::pubsub::push;
use super::ring::Token;
use super::shards::Queued;
use crate::cache::{OutdatedKey, Tracker};
use crate::node::ClientInfo;
use crate::node::tracking::{ClientTracking, TrackingMode};
use crate::protocol::{Args, Proto, Reply};
use crate::shard::Call;
use crate::types::{ClientId, CoreId, ShardId};

/// What Redis names the channel by which clients of RESP2 are told.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// A message for one client.
#[derive(Debug)]
pub(crate) struct Told {
    to: ClientId,
    /// Whether it gets it for another client.
    is_redirected: bool,
    what: What,
}

/// Bytes of messages on their way to a core.
fn bytes_of(all: &[Told]) -> usize {
    let names = |told: &Told| match &told.what {
        What::Keys(keys) => keys.iter().map(|key| size_of_val(key) + key.len()).sum(),
        What::All | What::Broken(_) => 0,
    };
    all.iter().map(|told| size_of::<Told>() + names(told)).sum()
}

#[derive(Debug)]
enum What {
    /// These keys have changed.
    Keys(Vec<Box<[u8]>>),
    /// All keys have.
    All,
    /// The client that was to be told is gone.
    Broken(ClientId),
}

/// What a core knows of clients that are told of changes.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    /// Where clients of this core are in the table, as far as it was looked up.
    tokens: HashMap<ClientId, Token>,
    /// Messages for other cores.
    leaving: Vec<(CoreId, Vec<Told>)>,
    /// Messages for clients that are being served, or on their way here.
    missed: Vec<Told>,
}

/// The keys with a client's prefix that have changed, and who changed each last.
pub(super) type ByPrefix =
    BTreeMap<(Arc<[u8]>, ClientId), (Tracker, BTreeMap<Box<[u8]>, Option<ClientId>>)>;

/// Keeps the prefix groups of one spreading.
fn add_by_prefix(groups: &mut ByPrefix, changed: &OutdatedKey, by: Option<ClientId>) {
    for (prefix, tracker) in &changed.by_prefix {
        let key = (prefix.clone(), tracker.client);
        let (known, keys) = groups.entry(key).or_insert_with(|| (*tracker, BTreeMap::new()));
        *known = *tracker;
        keys.insert(changed.key.clone(), by);
    }
}

impl Core<'_> {
    // --- spreading -------------------------------------------------------------------------------

    /// Tells who has read a key that it has changed, and keeps who is told by its prefix.
    pub(super) fn tell_changed(
        &mut self,
        changed: &OutdatedKey,
        by: Option<ClientId>,
        together: &mut ByPrefix,
    ) {
        add_by_prefix(together, changed, by);
        for reader in &changed.readers {
            self.tell_reader(*reader, &changed.key, by);
        }
    }

    /// Tells what is told of all keys together, and sends it all.
    pub(super) fn tell_together(&mut self, together: ByPrefix, is_flushed: bool) {
        for (tracker, keys) in together.into_values() {
            self.tell_by_prefix(tracker, keys);
        }
        if is_flushed && self.node.tracking.clients() > 0 {
            self.tell_all();
        }
        self.send_told();
    }

    fn tell_reader(&mut self, reader: Tracker, key: &[u8], by: Option<ClientId>) {
        let Some((client, tracking)) = self.tracking_of(reader, false) else { return };
        if !(tracking.no_loop && by == Some(client.id)) {
            self.tell(&client, &tracking, What::Keys(vec![key.into()]));
        }
    }

    fn tell_by_prefix(&mut self, tracker: Tracker, keys: BTreeMap<Box<[u8]>, Option<ClientId>>) {
        let Some((client, tracking)) = self.tracking_of(tracker, true) else { return };
        let is_wanted = |by: Option<ClientId>| !(tracking.no_loop && by == Some(client.id));
        let keys: Vec<_> =
            keys.into_iter().filter(|(_, by)| is_wanted(*by)).map(|(key, _)| key).collect();
        if !keys.is_empty() {
            self.tell(&client, &tracking, What::Keys(keys));
        }
    }

    fn tell_all(&mut self) {
        for client in self.node.clients.all() {
            if let Some(tracking) = client.tracking.get() {
                self.tell(&client, &tracking, What::All);
            }
        }
    }

    /// The client that is registered as `tracker`, and its tracking, if it is the same still.
    fn tracking_of(
        &self,
        tracker: Tracker,
        by_prefix: bool,
    ) -> Option<(Arc<ClientInfo>, ClientTracking)> {
        let client = self.node.clients.get(tracker.client)?;
        let tracking = client.tracking.get_if(tracker.serial)?;
        let is_same = (tracking.mode == TrackingMode::Broadcast) == by_prefix;
        is_same.then_some((client, tracking))
    }

    fn tell(&mut self, client: &ClientInfo, tracking: &ClientTracking, what: What) {
        let Some(id) = tracking.redirect else {
            return self.send_to(client, Told { to: client.id, is_redirected: false, what });
        };
        match self.node.clients.get(id) {
            Some(other) => self.send_to(&other, Told { to: id, is_redirected: true, what }),
            None => {
                client.tracking.set_broken();
                let what = What::Broken(id);
                self.send_to(client, Told { to: client.id, is_redirected: false, what });
            }
        }
    }

    fn send_to(&mut self, client: &ClientInfo, told: Told) {
        let core = client.core();
        if core == self.id {
            return self.deliver_told(told);
        }
        match self.tracked.leaving.iter_mut().find(|(to, _)| *to == core) {
            Some((_, all)) => all.push(told),
            None => self.tracked.leaving.push((core, vec![told])),
        }
    }

    /// Puts messages for other cores' clients into those cores' inboxes.
    fn send_told(&mut self) {
        for (core, told) in std::mem::take(&mut self.tracked.leaving) {
            self.node.channels.note_sent(bytes_of(&told));
            if let Some(ring) = self.mail.tell(core, told) {
                self.engine.metrics.wake_ups.increment();
                self.ring.ring(ring);
            }
        }
    }

    // --- delivering ------------------------------------------------------------------------------

    /// Delivers what other cores have to tell this core's clients.
    #[inline]
    pub(super) fn read_told(&mut self) {
        if self.mail.has_told() {
            self.deliver_all_told();
        }
    }

    #[cold]
    fn deliver_all_told(&mut self) {
        let told = self.mail.take_told();
        self.node.channels.note_arrived(bytes_of(&told));
        told.into_iter().for_each(|told| self.deliver_told(told));
        self.send_told();
    }

    /// Tries again to deliver what clients have missed: at the end of a turn none is being served.
    #[inline]
    pub(super) fn deliver_missed(&mut self) {
        if !self.tracked.missed.is_empty() {
            for told in std::mem::take(&mut self.tracked.missed) {
                self.deliver_told(told);
            }
            self.send_told();
        }
    }

    fn deliver_told(&mut self, told: Told) {
        let token = self.token_of(told.to);
        if let Some(token) = token
            && let Some(mut connection) = self.connections.take(token)
        {
            self.append_told(&mut connection, &told);
            self.mark_dirty(&mut connection);
            return self.connections.put(connection);
        }
        // It is being served, has moved, is about to come, or is gone.
        let Some(client) = self.node.clients.get(told.to) else { return };
        if client.core() == self.id {
            self.tracked.missed.push(told);
        } else {
            self.send_to(&client, told);
        }
    }

    /// Where a client is in the table, if it is this core's.
    fn token_of(&mut self, id: ClientId) -> Option<Token> {
        if let Some(token) = self.tracked.tokens.get(&id)
            && self.connections.is_current(*token)
        {
            return Some(*token);
        }
        let found = self.connections.iter().find(|connection| connection.session.id == id);
        let token = found.map(|connection| connection.token)?;
        self.tracked.tokens.insert(id, token);
        Some(token)
    }

    /// Forgets where clients were that have left.
    pub(super) fn forget_tracked(&mut self) {
        let connections = &self.connections;
        self.tracked.tokens.retain(|_, token| connections.is_current(*token));
    }

    /// Gives a connection what it has missed while it was served or moved.
    #[inline]
    pub(super) fn give_missed_told(&mut self, connection: &mut Connection) {
        if self.tracked.missed.is_empty() {
            return;
        }
        let (for_it, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.tracked.missed)
            .into_iter()
            .partition(|told| told.to == connection.session.id);
        self.tracked.missed = others;
        for_it.iter().for_each(|told| self.append_told(connection, told));
    }

    /// Appends a message to a connection's output, if it can be said to it at all.
    fn append_told(&self, connection: &mut Connection, told: &Told) {
        let (proto, listens) =
            (connection.session.proto, connection.session.subscriptions.is_some());
        if connection.binary.is_some() {
            return;
        }
        let mut bytes = Vec::new();
        // In the form of RESP2, of which `push` makes the other.
        let mut reply = Reply::new(&mut bytes, Proto::Resp2);
        match (&told.what, proto) {
            (What::Broken(id), Proto::Resp3) => {
                reply.array(2);
                reply.bulk(b"tracking-redir-broken");
                reply.integer(i64::try_from(id.0).unwrap_or(i64::MAX));
            }
            (What::Broken(_), Proto::Resp2) => return,
            (_, Proto::Resp3) => {
                reply.array(2);
                reply.bulk(b"invalidate");
            }
            (_, Proto::Resp2) if told.is_redirected && listens => {
                reply.array(3);
                reply.bulk(b"message");
                reply.bulk(CHANNEL);
            }
            (_, Proto::Resp2) => return,
        }
        let mut reply = Reply::new(&mut bytes, proto);
        match &told.what {
            What::Broken(_) => {}
            What::All => reply.null(),
            What::Keys(keys) => {
                reply.array(keys.len());
                keys.iter().for_each(|key| reply.bulk(key));
            }
        }
        let limits = &self.config.client_output_buffer_limits;
        let limit = if listens { &limits.pubsub } else { &limits.normal };
        push(connection, &bytes, limit.hard_bytes, self.engine.metrics);
    }

    // --- beginning and ending --------------------------------------------------------------------

    /// Runs `CLIENT TRACKING`. A client that has prefixes is registered with all shards, so that it is told of
    /// whatever changes after its reply.
    pub(super) fn run_tracking(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
    ) -> Flow {
        let has_prefixes = args.from(3).any(|word| word.eq_ignore_ascii_case(b"bcast"));
        if has_prefixes && self.hold_all_shards(connection) == Flow::Left {
            return Flow::Left;
        }
        self.run_session(connection, call, args)
    }

    /// A connection tracks keys now, and those with these prefixes. The tokens of all shards are at hand if
    /// there are any.
    pub(super) fn begin_tracking(&mut self, connection: &mut Connection, prefixes: &[Arc<[u8]>]) {
        connection.placed = true;
        self.tracked.tokens.insert(connection.session.id, connection.token);
        let Some(tracker) = connection.session.tracker() else { return };
        for id in (0..self.node.slots.shard_count()).map(ShardId) {
            if let Some(shard) = self.shards.held(id) {
                for prefix in prefixes {
                    shard.keyspace_mut().track_prefix(prefix.clone(), tracker);
                }
            }
        }
    }

    /// A client has no prefixes any more. Shards whose tokens are not at hand are told by whoever holds them.
    pub(super) fn forget_prefixes(&mut self, tracker: Tracker) {
        for id in (0..self.node.slots.shard_count()).map(ShardId) {
            if let Some(shard) = self.shards.held(id) {
                shard.keyspace_mut().stop_tracking_prefixes(tracker);
            } else {
                self.leave_in_queue(id, Queued::Untrack(tracker));
            }
        }
    }

    /// Ends the tracking of a connection that takes no more requests.
    #[inline]
    pub(super) fn end_tracking(&mut self, connection: &mut Connection) {
        if connection.session.tracking.is_some() {
            self.tracked.tokens.remove(&connection.session.id);
            if let Some(tracker) = connection.session.end_tracking(self.node) {
                self.forget_prefixes(tracker);
            }
        }
    }
}
