//! Who is to hear of what commands have changed.
//!
//! ```text
//! command ─► cache::observe: notes ─► attend ─► WATCH: the transaction must not run
//!            cache::track: changes ─┘    └────► news ─► clients that keep copies (`tracking`)
//! ```
//!
//! Whoever holds a shard looks at its notes behind each command, or behind a transaction as a whole, and
//! once more before the token goes to somebody else: so who takes a token finds that all have been told.
//! What needs more than an engine has, mail and connections, is news, which the core spreads.

use super::engine::Engine;
use crate::cache::{Observer, OutdatedKey};
use crate::command::Flags;
use crate::node::{ClientInfo, Node};
use crate::protocol::Args;
use crate::shard::{Call, Shard};
use crate::types::{ClientId, key_slot};

/// What the core is to tell clients.
#[derive(Debug)]
pub(crate) enum News {
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
    fn reader(&self) -> Option<Observer> {
        let serial = self.call.tracker;
        let is_reader = serial != 0 && self.call.entry.command.flags.contains(Flags::READONLY);
        is_reader.then_some(Observer { client: self.client.id, serial })
    }
}

impl Engine<'_> {
    /// Tells all who are to hear of what has changed on a shard.
    #[inline]
    pub(super) fn attend(&mut self, shard: &mut Shard) {
        if shard.keyspace().has_news() {
            self.tell(shard, None);
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
            self.tell(shard, Some(ran));
        }
        if let Some(reader) = ran.reader() {
            self.register(shard, ran, reader);
        }
    }

    /// The same for a command over several shards.
    pub(super) fn attend_to_all(&mut self, shards: &mut [Option<&mut Shard>], ran: Ran<'_>) {
        for shard in shards.iter_mut().flatten() {
            if shard.keyspace().has_news() {
                self.tell(shard, Some(ran));
            }
        }
        if let Some(reader) = ran.reader() {
            self.register_over(shards, ran, reader);
        }
    }

    #[cold]
    fn register(&mut self, shard: &mut Shard, ran: Ran<'_>, reader: Observer) {
        for position in ran.call.entry.command.keys.positions(ran.args) {
            shard.keyspace_mut().track(ran.args.at(position), reader);
        }
        self.attend(shard);
    }

    #[cold]
    fn register_over(&mut self, shards: &mut [Option<&mut Shard>], ran: Ran<'_>, reader: Observer) {
        for position in ran.call.entry.command.keys.positions(ran.args) {
            let key = ran.args.at(position);
            let id = self.node.slots.shard_of(key_slot(key));
            if let Some(Some(shard)) = shards.get_mut(usize::from(id.0)) {
                shard.keyspace_mut().track(key, reader);
            }
        }
        self.attend_all(shards);
    }

    #[cold]
    fn tell(&mut self, shard: &mut Shard, ran: Option<Ran<'_>>) {
        tell_observers(self.node, shard);
        let changes = shard.keyspace_mut().take_outdated();
        if changes.is_flushed {
            self.news.push(News::Flushed);
        }
        for changed in changes.keys {
            let by = ran.filter(|ran| ran.wrote(&changed.key)).map(|ran| ran.client.id);
            self.news.push(News::Changed { changed, by });
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
