//! Who is to hear of what commands have changed.
//!
//! ```text
//! command ─► cache::observe: notes ─► attend ─► WATCH: the transaction must not run
//! ```
//!
//! Whoever holds a shard looks at its notes behind each command, or behind a transaction as a whole, and
//! once more before the token goes to somebody else: so who takes a token finds that all have been told.

use super::engine::Engine;
use crate::node::Node;
use crate::shard::Shard;

impl Engine<'_> {
    /// Tells all who are to hear of what has changed on a shard.
    #[inline]
    pub(super) fn attend(&mut self, shard: &mut Shard) {
        if shard.keyspace().has_notes() {
            tell_observers(self.node, shard);
        }
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
#[cold]
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
