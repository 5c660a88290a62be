//! Who is to hear of what commands have changed.
//!
//! ```text
//! command ─► cache::observe: notes ─► attend ─┬► WATCH: the transaction must not run
//!                                             └► blocking commands: served here ─► news ─► their cores
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
use crate::cache::Observer;
use crate::shard::{Shard, Wait};
use crate::types::Key;

/// What a core is to tell others once the engine has found it out.
#[derive(Debug)]
pub(crate) enum News {
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
        if shard.keyspace().has_notes() {
            self.tell_observers(shard);
        }
    }

    /// The same for several shards.
    #[inline]
    pub(super) fn attend_all(&mut self, shards: &mut [Option<&mut Shard>]) {
        for shard in shards.iter_mut().flatten() {
            self.attend(shard);
        }
    }

    /// Tells those who observe keys of a shard which of them have changed. Who is served changes more.
    #[cold]
    fn tell_observers(&mut self, shard: &mut Shard) {
        while shard.keyspace().has_notes() {
            for observed in shard.keyspace_mut().take_notes() {
                for observer in &observed.observers {
                    self.tell(shard, Key::new(observed.db, &observed.key), *observer);
                }
            }
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
}

impl Core<'_> {
    /// Has all cores told what the engine has found out.
    #[inline]
    pub(super) fn spread_news(&mut self) {
        if !self.engine.news.is_empty() {
            self.send_news();
        }
    }

    #[cold]
    fn send_news(&mut self) {
        for news in std::mem::take(&mut self.engine.news) {
            match news {
                News::Served { wait, reply, gate } => {
                    self.post(wait.client.core(), Message::Served { wait, reply, gate });
                }
                News::Called(wait) => self.post(wait.client.core(), Message::Called(wait)),
            }
        }
    }
}
