//! Who is to hear of what commands have changed.
//!
//! ```text
//! command ─► cache::observe: notes ──┬► attend ─┬► WATCH: the transaction must not run
//!            cache::events: events ──┘          ├► blocking commands: served here ─┬► news ─► their cores
//!                                               └► keyspace events ────────────────┘        ─► subscribers
//! ```
//!
//! Whoever holds a shard looks at its notes behind each command, or behind a transaction as a whole, and
//! once more before the token goes to somebody else: so who takes a token finds that all have been told.
//! What the engine can't tell by itself, for it has neither mail nor connections, it leaves as news to its core.

use std::sync::Arc;

use super::core::Core;
use super::engine::Engine;
use super::gate::Gate;
use super::mail::Message;
use crate::cache::{Event, EventClasses, Observer};
use crate::command::pubsub::address;
use crate::node::channels::Kind;
use crate::shard::{Shard, Wait};
use crate::types::Key;

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
}

impl Engine<'_> {
    /// Tells all who are to hear of what has changed on a shard.
    #[inline]
    pub(super) fn attend(&mut self, shard: &mut Shard) {
        if shard.keyspace().has_news() {
            self.tell_all(shard);
        }
    }

    /// The same for several shards.
    #[inline]
    pub(super) fn attend_all(&mut self, shards: &mut [Option<&mut Shard>]) {
        for shard in shards.iter_mut().flatten() {
            self.attend(shard);
        }
    }

    /// Tells who observes keys of a shard which of them have changed, and the events. Who is served changes more.
    #[cold]
    #[inline(never)]
    fn tell_all(&mut self, shard: &mut Shard) {
        loop {
            self.note_events(shard);
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

    /// Takes over the events of a shard. Behind each command of a transaction, so that they stay in order.
    pub(super) fn note_events(&mut self, shard: &mut Shard) {
        self.news.extend(shard.keyspace_mut().take_events().into_iter().map(News::Event));
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
}

impl Core<'_> {
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
        for news in std::mem::take(&mut self.engine.news) {
            match news {
                News::Event(event) => self.publish_event(&event),
                News::Served { wait, reply, gate } => {
                    self.post(wait.client.core(), Message::Served { wait, reply, gate });
                }
                News::Called(wait) => self.post(wait.client.core(), Message::Called(wait)),
            }
        }
        self.send_published();
    }

    fn publish_event(&mut self, Event { db, key, name }: &Event) {
        let classes = self.config.notify_keyspace_events;
        if classes.contains(EventClasses::KEYSPACE) {
            let channel = [format!("__keyspace@{}__:", db.0).as_bytes(), key].concat();
            self.publish_news(&channel, name.as_bytes());
        }
        if classes.contains(EventClasses::KEYEVENT) {
            self.publish_news(format!("__keyevent@{}__:{name}", db.0).as_bytes(), key);
        }
    }

    fn publish_news(&mut self, channel: &[u8], text: &[u8]) {
        if let (_, Some(published)) = address(self.node, Kind::Channel, channel, text) {
            self.publish_message(&published);
        }
    }
}
