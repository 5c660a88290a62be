//! Published messages on their way to those who listen.
//!
//! ```text
//! PUBLISH ─► node.channels: how many, on which cores
//!            ├─ this core ──────► outputs of its subscribers, at once
//!            └─ others ─► leaving ─► their inboxes, when the batch ends ─► outputs, as their turn begins
//! ```
//!
//! In a cluster `PUBLISH` also goes to all other nodes, and `SPUBLISH` to those of the shard, by this core's links (`links`); the core there that the link
//! leads to publishes it on its node as if it had come from a client, and tells no third node. Links are made again and
//! full ones lose messages, but none overtakes another that came from the same core.
//!
//! A core knows its own subscribers only. A message is encoded once; what cores hand to one another is a
//! pointer to it. Invariants:
//!
//! * A core looks into its inbox before it runs anything: who subscribes or unsubscribes does so after all
//!   that was published before, and who publishes after having moved here comes behind what he published
//!   there.
//! * Messages are in the inboxes before the reply to `PUBLISH` can leave.
//! * A connection that is being served is not in the table: what it misses meanwhile, of its own or of
//!   others, it gets behind the reply that is being written, as in Redis.
//! * A connection that listens to anything stays on its core.

use std::sync::Arc;

use hashbrown::HashSet;

use super::connection::{Block, Connection, Port, State};
use super::core::Core;
use super::dispatch::{CROSS_SLOT, Flow};
use super::ring::Token;
use super::table::Connections;
use crate::command::pubsub::{Published, address, confirm};
use crate::command::table::Entry;
use crate::command::{Error, Flags};
use crate::limits::PUBLISHED_BYTES_MAX;
use crate::metrics::CoreMetrics;
use crate::node::channels::{Kind, Message, Name, NameMap, random_hasher};
use crate::protocol::{Args, Proto, Reply};
use crate::replica::link::News;
use crate::types::{CoreId, ShardId, key_slot};

/// The subscribers of one core, and messages on their way.
#[derive(Debug)]
pub(super) struct PubSub {
    channels: Subscribers,
    patterns: Subscribers,
    shard_channels: Subscribers,
    /// Messages for other cores; the lists are kept for their memory.
    leaving: Vec<(CoreId, Vec<Arc<Message>>)>,
    /// Messages of other cores, empty but while they are delivered.
    arrived: Vec<Arc<Message>>,
    /// What connections have missed while they were served, in RESP2.
    missed: Vec<(Token, Vec<u8>)>,
}

type Subscribers = NameMap<HashSet<Token>>;

impl PubSub {
    /// Nobody listens.
    pub(super) fn new() -> Self {
        let [channels, patterns, shard_channels] =
            std::array::from_fn(|_| NameMap::with_hasher(random_hasher()));
        let (leaving, arrived, missed) = (Vec::new(), Vec::new(), Vec::new());
        Self { channels, patterns, shard_channels, leaving, arrived, missed }
    }

    fn of(&mut self, kind: Kind) -> &mut Subscribers {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shard_channels,
        }
    }

    /// A connection begins to listen.
    pub(super) fn add(&mut self, kind: Kind, name: Name, token: Token) {
        self.of(kind).entry(name).or_default().insert(token);
    }

    /// A connection no longer listens.
    pub(super) fn remove(&mut self, kind: Kind, name: &[u8], token: Token) {
        let subscribers = self.of(kind);
        if let Some(tokens) = subscribers.get_mut(name) {
            tokens.remove(&token);
            if tokens.is_empty() {
                subscribers.remove(name);
            }
        }
    }

    fn leave_for(&mut self, core: CoreId, message: Arc<Message>) {
        match self.leaving.iter_mut().find(|(to, _)| *to == core) {
            Some((_, messages)) => messages.push(message),
            None => self.leaving.push((core, vec![message])),
        }
    }
}

/// What is needed to append messages to the outputs of connections.
struct Delivery<'d> {
    connections: &'d mut Connections,
    dirty: &'d mut Vec<Token>,
    missed: &'d mut Vec<(Token, Vec<u8>)>,
    metrics: &'d CoreMetrics,
    limit_bytes: u64,
}

impl Delivery<'_> {
    fn give_to_all(&mut self, tokens: &HashSet<Token>, bytes: &[u8]) {
        for token in tokens {
            match self.connections.get_mut(*token) {
                None => self.missed.push((*token, bytes.to_vec())),
                Some(connection) => {
                    push(connection, bytes, self.limit_bytes, self.metrics);
                    if !connection.dirty {
                        connection.dirty = true;
                        self.dirty.push(*token);
                    }
                }
            }
        }
    }
}

/// Appends a message, in RESP2, to the output of a connection that goes on. One that would have more
/// waiting than `limit_bytes` is closed instead: nobody waits for it.
pub(super) fn push(
    connection: &mut Connection,
    bytes: &[u8],
    limit_bytes: u64,
    metrics: &CoreMetrics,
) {
    if !matches!(connection.state, State::Running | State::Blocked(_)) {
        return;
    }
    let pending = connection.output.pending_bytes() + bytes.len();
    if limit_bytes > 0 && pending as u64 > limit_bytes {
        return connection.close_at_output_limit(pending, metrics);
    }
    let out = connection.output.tail();
    let start = out.len();
    out.extend_from_slice(bytes);
    if connection.session.proto == Proto::Resp3 {
        // All that a push differs in from an array.
        out[start] = b'>';
    }
}

impl Core<'_> {
    // --- publishing ------------------------------------------------------------------------------

    /// Sends a message to all who are to have it. Besides `PUBLISH`, whatever the server itself has to tell
    /// on a channel goes this way: [`address`](crate::command::pubsub::address) makes a channel and a text
    /// such a message, or none where nobody listens.
    pub(super) fn publish_message(&mut self, published: &Published) {
        for core in &published.cores {
            if *core == self.id {
                self.deliver_message(&published.message);
            } else {
                self.pubsub.leave_for(*core, published.message.clone());
            }
        }
    }

    /// A client of another node has published something. It is dropped where a client of this one would have to
    /// wait: whoever sends on links does not.
    pub(super) fn take_news(&mut self, kind: Kind, news: &News) {
        let metrics = self.engine.metrics;
        metrics.link_news_received.increment();
        if self.node.channels.undelivered_bytes() > PUBLISHED_BYTES_MAX {
            return metrics.link_news_dropped.increment();
        }
        if let (_, Some(published)) = address(self.node, kind, &news.channel, &news.text) {
            self.publish_message(&published);
        }
    }

    /// Puts what was published for subscribers of other cores into those cores' inboxes.
    #[inline]
    pub(super) fn send_published(&mut self) {
        for index in 0..self.pubsub.leaving.len() {
            let (core, messages) = &mut self.pubsub.leaving[index];
            if messages.is_empty() {
                continue;
            }
            self.node.channels.note_sent(bytes_of(messages));
            if let Some(ring) = self.mail.publish(*core, messages) {
                self.engine.metrics.wake_ups.increment();
                self.ring.ring(ring);
            }
        }
    }

    /// Whether a publisher has to wait for a turn, because some core has too much in its inbox.
    pub(super) fn hold_publisher(&mut self, connection: &mut Connection, entry: &Entry) -> Flow {
        let publishes = Flags::PUBSUB | Flags::MAY_REPLICATE;
        let is_full = self.node.channels.undelivered_bytes() > PUBLISHED_BYTES_MAX;
        if !is_full || !entry.command.flags.contains(publishes) {
            return Flow::Taken;
        }
        connection.state = State::Blocked(Block::Turn);
        self.yielding.push(connection.token);
        Flow::Left
    }

    // --- delivering ------------------------------------------------------------------------------

    /// Delivers what was published on other cores.
    #[inline]
    pub(super) fn read_published(&mut self) {
        if self.mail.has_published() {
            self.deliver_arrived();
        }
    }

    #[cold]
    fn deliver_arrived(&mut self) {
        let mut arrived = std::mem::take(&mut self.pubsub.arrived);
        self.mail.take_published(&mut arrived);
        self.node.channels.note_arrived(bytes_of(&arrived));
        arrived.iter().for_each(|message| self.deliver_message(message));
        arrived.clear();
        self.pubsub.arrived = arrived;
    }

    /// Appends a message to the outputs of this core's subscribers.
    fn deliver_message(&mut self, message: &Message) {
        let PubSub { channels, patterns, shard_channels, missed, .. } = &mut self.pubsub;
        let mut delivery = Delivery {
            connections: &mut self.connections,
            dirty: &mut self.dirty,
            missed,
            metrics: self.engine.metrics,
            limit_bytes: self.config.client_output_buffer_limits.pubsub.hard_bytes,
        };
        let of_kind = if message.kind() == Kind::Shard { shard_channels } else { channels };
        if let Some(tokens) = of_kind.get(message.channel()) {
            delivery.give_to_all(tokens, message.bytes());
        }
        for pattern in message.patterns() {
            if let Some(tokens) = patterns.get(pattern) {
                delivery.give_to_all(tokens, &message.bytes_for(pattern));
            }
        }
    }

    /// Gives a connection the messages that it missed while it was served.
    #[inline]
    pub(super) fn give_missed(&mut self, connection: &mut Connection) {
        self.give_missed_told(connection);
        if !self.pubsub.missed.is_empty() {
            let metrics = self.engine.metrics;
            let limit_bytes = self.config.client_output_buffer_limits.pubsub.hard_bytes;
            self.pubsub.missed.retain(|(token, bytes)| {
                let is_other = *token != connection.token;
                if !is_other {
                    push(connection, bytes, limit_bytes, metrics);
                }
                is_other
            });
        }
    }

    // --- subscriptions that end, and where they may be -------------------------------------------

    /// Ends the subscriptions of a connection that takes no more requests.
    #[inline]
    pub(super) fn end_subscriptions(&mut self, connection: &mut Connection) {
        if connection.session.subscriptions.is_some() {
            self.leave_all_channels(connection);
        }
    }

    #[cold]
    fn leave_all_channels(&mut self, connection: &mut Connection) {
        let all = connection.session.subscriptions.iter().flat_map(|all| all.iter());
        let all: Vec<(Kind, Name)> = all.map(|(kind, name)| (kind, name.clone())).collect();
        for (kind, name) in all {
            connection.session.leave(self.node, self.id, kind, &name);
            self.pubsub.remove(kind, &name, connection.token);
        }
    }

    /// Whether a command may name these shard channels here: in cluster mode they are refused as keys are.
    pub(super) fn admit_channels(
        &self,
        connection: &Connection,
        entry: &Entry,
        args: &Args<'_>,
    ) -> Result<(), Error> {
        if !self.config.cluster_enabled && !self.is_in_cluster() {
            return Ok(());
        }
        let mut slots = entry.command.keys.positions(args).map(|at| key_slot(args.at(at)));
        let Some(slot) = slots.next() else { return Ok(()) };
        if slots.any(|other| other != slot) {
            return Err(CROSS_SLOT);
        }
        let shard = self.node.slots.shard_of(slot);
        let is_here = self.serves(shard)
            && (!self.config.cluster_enabled
                || connection.port != Port::Core
                || self.is_owner(shard));
        let listens = entry.command.flags.contains(Flags::PUSHES);
        if is_here || listens && self.hears_as_follower(connection, shard) {
            return Ok(());
        }
        Err(self.moved(connection, slot))
    }

    /// Whether a client may listen to the shard's channels here though another node leads the shard: it agrees to
    /// followers, and this node is one of those that the leader tells.
    fn hears_as_follower(&self, connection: &Connection, shard: ShardId) -> bool {
        let Some(me) = self.node.id else { return false };
        let replica = self.node.replica(shard);
        connection.session.reads_followers
            && connection.port != Port::Core
            && replica.leader().is_some()
            && replica.takes_part(me)
    }

    /// Shards have new owners: whoever listens, on this core's own port, to a channel whose slot is no
    /// longer served there is told that he does not any more, as by a Redis Cluster; and so is, on any port,
    /// whose channel another node of the cluster serves now, but for who agrees to followers and is told here
    /// too.
    pub(super) fn end_moved_subscriptions(&mut self) {
        if !self.config.cluster_enabled && !self.is_in_cluster() {
            return;
        }
        let channels = self.pubsub.shard_channels.iter();
        let moved = channels.filter(|(name, _)| {
            let shard = self.node.slots.shard_of(key_slot(name));
            !self.is_owner(shard) || !self.serves(shard)
        });
        let moved: Vec<(Name, Vec<Token>)> =
            moved.map(|(name, tokens)| (name.clone(), tokens.iter().copied().collect())).collect();
        for (name, tokens) in moved {
            tokens.into_iter().for_each(|token| self.end_moved_subscription(token, &name));
        }
    }

    fn end_moved_subscription(&mut self, token: Token, channel: &[u8]) {
        let Some(mut connection) = self.connections.take(token) else { return };
        let shard = self.node.slots.shard_of(key_slot(channel));
        let is_served = self.serves(shard) || self.hears_as_follower(&connection, shard);
        if !is_served || (self.config.cluster_enabled && connection.port == Port::Core) {
            let (session, node) = (&mut connection.session, self.node);
            session.leave(node, self.id, Kind::Shard, channel);
            self.pubsub.remove(Kind::Shard, channel, token);
            let mut reply = Reply::new(connection.output.tail(), session.proto);
            confirm(session, (Kind::Shard, false), Some(channel), &mut reply);
            self.mark_dirty(&mut connection);
        }
        self.connections.put(connection);
    }
}

fn bytes_of(messages: &[Arc<Message>]) -> usize {
    messages.iter().map(|message| message.bytes().len()).sum()
}
