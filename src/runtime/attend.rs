//! Who is to hear of what commands have changed.
//!
//! ```text
//! command ─► cache::observe: notes ──┬► attend ─┬► WATCH: the transaction must not run
//!            cache::events: events ──┤          ├► blocking commands: served here ─┐
//!            cache::track: changes ──┘          ├► keyspace events ────────────────┼► news ─► connections, mail
//!                                               └► clients that keep copies ───────┘
//! ```
//!
//! Whoever holds a shard looks at its notes behind each command, or behind a transaction as a whole, and
//! once more before the token goes to somebody else: so who takes a token finds that all have been told.
//! What the engine can't tell by itself, for it has neither mail nor connections, it leaves as news to its core.

use std::sync::Arc;

use super::connection::{Block, Connection, State};
use super::core::Core;
use super::dispatch::Flow;
use super::engine::Engine;
use super::gate::Gate;
use super::mail::Message;
use super::tracking::ByPrefix;
use crate::cache::{Event, EventClasses, Observer, OutdatedKey, Tracker};
use crate::command::Flags;
use crate::command::pubsub::address;
use crate::limits::PUBLISHED_BYTES_MAX;
use crate::node::ClientInfo;
use crate::node::channels::Kind;
use crate::protocol::Args;
use crate::shard::{Call, Shard, Wait};
use crate::types::{ClientId, Key, key_slot};

/// What a core is to tell others once the engine has found it out.
#[derive(Debug)]
pub(crate) enum News {
    /// What has become of a key.
    Event(Event),
    /// A client that waited has been served.
    Served {
        /// What it waited for.
        wait: Arc<Wait>,
        /// Its reply.
        reply: Vec<u8>,
        /// What the reply has to wait for.
        gate: Gate,
    },
    /// A client that waited can be served, but not here: its command needs several shards.
    Called(Arc<Wait>),
    /// A key that clients keep copies of has changed.
    Changed {
        /// The key, and who keeps copies.
        changed: OutdatedKey,
        /// Who changed it, if it was a client's command that named it.
        by: Option<ClientId>,
    },
    /// Databases were flushed or exchanged: all copies are old.
    Flushed,
}

/// A command that has just been run.
#[derive(Clone, Copy)]
pub(super) struct Ran<'r> {
    /// Who asked for it.
    pub(super) client: &'r ClientInfo,
    pub(super) call: &'r Call,
    pub(super) args: &'r Args<'r>,
}

impl Ran<'_> {
    /// Whether it wrote this key because it was asked to. What expires or is evicted on the way is nobody's
    /// doing.
    fn wrote(&self, key: &[u8]) -> bool {
        let command = self.call.entry.command;
        command.flags.contains(Flags::WRITE)
            && command
                .keys
                .positions(self.args)
                .any(|position| self.args.get(position) == Some(key))
    }

    /// As whom the client is to be registered with the keys that it has read, if it is.
    #[inline]
    fn reader(&self) -> Option<Tracker> {
        let serial = self.call.tracker;
        let is_reader = serial != 0 && self.call.entry.command.flags.contains(Flags::READONLY);
        is_reader.then_some(Tracker { client: self.client.id, serial })
    }
}

impl Engine<'_> {
    // --- behind commands ---------------------------------------------------------------------------

    /// Tells all who are to hear of what has changed on a shard.
    #[inline]
    pub(super) fn attend(&mut self, shard: &mut Shard) {
        if shard.keyspace().has_news() {
            self.tell_all(shard, None);
        }
    }

    /// The same for several shards.
    #[inline]
    pub(super) fn attend_all(&mut self, shards: &mut [Option<&mut Shard>]) {
        for shard in shards.iter_mut().flatten() {
            self.attend(shard);
        }
    }

    /// Tells all who are to hear of what a command has changed, and notes who has read what.
    #[inline]
    pub(super) fn attend_to(&mut self, shard: &mut Shard, ran: Ran<'_>) {
        if shard.keyspace().has_news() {
            self.tell_all(shard, Some(ran));
        }
        if let Some(reader) = ran.reader() {
            self.register(shard, ran, reader);
        }
    }

    /// The same for a command over several shards.
    pub(super) fn attend_to_all(&mut self, shards: &mut [Option<&mut Shard>], ran: Ran<'_>) {
        for shard in shards.iter_mut().flatten() {
            if shard.keyspace().has_news() {
                self.tell_all(shard, Some(ran));
            }
        }
        if let Some(reader) = ran.reader() {
            self.register_over(shards, ran, reader);
        }
    }

    /// The same for a command of a transaction: what is to be told is noted, and told when the transaction has
    /// ended.
    pub(super) fn note_within(&mut self, shard: &mut Shard, ran: Ran<'_>) {
        if shard.keyspace().has_news() {
            self.note(shard, Some(ran));
        }
        if let Some(reader) = ran.reader() {
            self.register(shard, ran, reader);
        }
    }

    /// The same for one over several shards.
    pub(super) fn note_within_all(&mut self, shards: &mut [Option<&mut Shard>], ran: Ran<'_>) {
        for shard in shards.iter_mut().flatten() {
            self.note(shard, Some(ran));
        }
        if let Some(reader) = ran.reader() {
            self.register_over(shards, ran, reader);
        }
    }

    // --- what a shard has to tell ------------------------------------------------------------------

    /// Tells who observes keys of a shard which of them have changed, and notes the rest. Who is served changes
    /// more.
    #[cold]
    #[inline(never)]
    fn tell_all(&mut self, shard: &mut Shard, mut ran: Option<Ran<'_>>) {
        loop {
            self.note(shard, ran.take());
            let notes = shard.keyspace_mut().take_notes();
            if notes.is_empty() {
                return;
            }
            for observed in notes {
                for observer in &observed.observers {
                    self.tell(shard, Key::new(observed.db, &observed.key), *observer);
                }
            }
        }
    }

    /// Takes over, in order, what a shard has for subscribers and for clients that keep copies.
    #[cold]
    fn note(&mut self, shard: &mut Shard, ran: Option<Ran<'_>>) {
        let keyspace = shard.keyspace_mut();
        self.news.extend(keyspace.take_events().into_iter().map(News::Event));
        let changes = keyspace.take_outdated();
        if changes.is_flushed {
            self.news.push(News::Flushed);
        }
        for changed in changes.keys {
            let by = ran.filter(|ran| ran.wrote(&changed.key)).map(|ran| ran.client.id);
            self.news.push(News::Changed { changed, by });
        }
    }

    fn tell(&mut self, shard: &mut Shard, key: Key<'_>, observer: Observer) {
        match observer {
            Observer::Transaction { client, serial } => {
                // It may be gone.
                if let Some(client) = self.node.clients.get(client) {
                    client.transaction.touch(serial);
                }
            }
            Observer::Waiting => self.serve(shard, key),
        }
    }

    // --- who reads what ----------------------------------------------------------------------------

    #[cold]
    fn register(&mut self, shard: &mut Shard, ran: Ran<'_>, reader: Tracker) {
        for position in ran.call.entry.command.keys.positions(ran.args) {
            shard.keyspace_mut().track(ran.args.at(position), reader);
        }
        // Keys may have been given up for these.
        self.note(shard, None);
    }

    #[cold]
    fn register_over(&mut self, shards: &mut [Option<&mut Shard>], ran: Ran<'_>, reader: Tracker) {
        for position in ran.call.entry.command.keys.positions(ran.args) {
            let key = ran.args.at(position);
            let id = self.node.slots.shard_of(key_slot(key));
            if let Some(Some(shard)) = shards.get_mut(usize::from(id.0)) {
                shard.keyspace_mut().track(key, reader);
            }
        }
        shards.iter_mut().flatten().for_each(|shard| self.note(shard, None));
    }
}

impl Core<'_> {
    /// Whether writes have to wait, because what others are told of them piles up in the inbox of some core.
    #[inline]
    pub(super) fn is_flooded(&self) -> bool {
        self.node.channels.undelivered_bytes() > PUBLISHED_BYTES_MAX
            && (!self.config.notify_keyspace_events.is_empty() || self.node.tracking.clients() > 0)
    }

    /// Has a command wait for a turn if it is a write that has to wait so.
    #[inline]
    pub(super) fn hold_teller(&mut self, connection: &mut Connection, flags: Flags) -> Flow {
        if !(flags.contains(Flags::WRITE) && self.is_flooded()) {
            return Flow::Taken;
        }
        connection.state = State::Blocked(Block::Turn);
        self.yielding.push(connection.token);
        Flow::Left
    }

    /// Tells all who are to hear of it what the commands have changed that this core has run.
    #[inline]
    pub(super) fn spread_news(&mut self) {
        if !self.engine.news.is_empty() {
            self.spread();
        }
    }

    #[cold]
    #[inline(never)]
    fn spread(&mut self) {
        let (mut by_prefix, mut is_flushed) = (ByPrefix::new(), false);
        for news in std::mem::take(&mut self.engine.news) {
            match news {
                News::Event(event) => self.publish_event(&event),
                News::Served { wait, reply, gate } => {
                    self.post(wait.client.core(), Message::Served { wait, reply, gate });
                }
                News::Called(wait) => self.post(wait.client.core(), Message::Called(wait)),
                News::Changed { changed, by } => self.tell_changed(&changed, by, &mut by_prefix),
                News::Flushed => is_flushed = true,
            }
        }
        self.tell_together(by_prefix, is_flushed);
        self.send_published();
    }

    fn publish_event(&mut self, Event { db, key, name, channels }: &Event) {
        if channels.contains(EventClasses::KEYSPACE) {
            let channel = [format!("__keyspace@{}__:", db.0).as_bytes(), key].concat();
            self.publish_news(&channel, name.as_bytes());
        }
        if channels.contains(EventClasses::KEYEVENT) {
            self.publish_news(format!("__keyevent@{}__:{name}", db.0).as_bytes(), key);
        }
    }

    fn publish_news(&mut self, channel: &[u8], text: &[u8]) {
        if let (_, Some(published)) = address(self.node, Kind::Channel, channel, text) {
            self.publish_message(&published);
        }
    }
}
