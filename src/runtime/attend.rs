//! Who is to hear of what commands have changed.
//!
//! ```text
//! command ─► cache::observe: notes ──┬► attend ─► WATCH: the transaction must not run
//!            cache::events: events ──┘       └──► news ─► keyspace events: published
//! ```
//!
//! Whoever holds a shard looks at its notes behind each command, or behind a transaction as a whole, and
//! once more before the token goes to somebody else: so who takes a token finds that all have been told.
//! What the engine has no means to tell becomes news, which the core spreads when the batch ends.

use super::core::Core;
use super::engine::Engine;
use crate::cache::{Event, EventClasses};
use crate::command::pubsub::address;
use crate::node::Node;
use crate::node::channels::Kind;
use crate::shard::Shard;

/// What others are to hear of, and the engine can't tell them.
#[derive(Debug)]
pub(crate) enum News {
    /// What has become of a key.
    Event(Event),
}

impl Engine<'_> {
    /// Tells all who are to hear of what has changed on a shard.
    #[inline]
    pub(super) fn attend(&mut self, shard: &mut Shard) {
        if shard.keyspace().has_news() {
            self.tell(shard);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell(&mut self, shard: &mut Shard) {
        tell_observers(self.node, shard);
        self.note_events(shard);
    }

    /// Takes over the events of a shard. Behind each command of a transaction, so that they stay in order.
    pub(super) fn note_events(&mut self, shard: &mut Shard) {
        self.news.extend(shard.keyspace_mut().take_events().into_iter().map(News::Event));
    }

    /// The same for several shards.
    #[inline]
    pub(super) fn attend_all(&mut self, shards: &mut [Option<&mut Shard>]) {
        for shard in shards.iter_mut().flatten() {
            self.attend(shard);
        }
    }
}

/// Tells the clients that observe keys of a shard which of them have changed.
fn tell_observers(node: &Node, shard: &mut Shard) {
    for observed in shard.keyspace_mut().take_notes() {
        for observer in observed.observers {
            // It may be gone.
            if let Some(client) = node.clients.get(observer.client) {
                client.transaction.touch(observer.serial);
            }
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
