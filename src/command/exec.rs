//! What a command on data works with: the shards it may touch, the time, the session's database.
//!
//! A handler is written once, whether its keys lie in one shard or in many: it asks for the keyspace
//! of each key. The runtime holds all the shards that the command's keys name before it starts.

use crate::cache::{EvictionPolicy, Keyspace};
use crate::types::{CoreId, DbIndex, Key, Now, ShardId, Slot, SlotMap, key_slot};

/// The keyspaces a command may touch.
#[derive(Debug)]
pub enum Keyspaces<'a> {
    /// All keys of the command lie in this one.
    One(ShardId, &'a mut Keyspace),
    /// Indexed by shard; those the command does not name are absent.
    Many(&'a mut [Option<&'a mut Keyspace>]),
}

/// A key whose slot has been computed: the very bytes of the request.
#[derive(Clone, Copy, Debug)]
pub struct RoutedKey<'a> {
    /// The key.
    pub bytes: &'a [u8],
    /// Its slot.
    pub slot: Slot,
}

impl RoutedKey<'_> {
    /// No key: none is empty and static.
    pub const NONE: Self = Self { bytes: &[], slot: Slot(0) };
}

/// What a client sees of the server: settled by the port it came in on and by how the server was
/// started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The core whose own port the client uses. It sees that core as a cluster node of its own: a
    /// command over all keys is one over the keys of this core's shards. `None` on the common port.
    pub core: Option<CoreId>,
    /// Whether the server is in cluster mode, where there is one database.
    pub cluster: bool,
}

impl View {
    /// The numbers of the shards that a command over all keys covers.
    pub fn shards(self, slots: SlotMap) -> std::ops::Range<u16> {
        match self.core {
            Some(core) => slots.shard_range_of(core),
            None => 0..slots.shard_count(),
        }
    }
}

/// The surroundings of one command on data.
#[derive(Debug)]
pub struct Exec<'a> {
    /// Both clocks, the same for all that a turn runs.
    pub now: Now,
    /// The session's database.
    pub db: DbIndex,
    /// Whether the client asked not to count as a user of keys (`CLIENT NO-TOUCH`).
    pub no_touch: bool,
    /// `maxmemory-policy`.
    pub policy: EvictionPolicy,
    /// Slots to shards.
    pub slots: SlotMap,
    /// What the client sees of the server.
    pub view: View,
    /// The command's first key, whose slot is known from routing it.
    pub routed: RoutedKey<'a>,
    /// The keyspaces.
    pub keyspaces: Keyspaces<'a>,
}

impl<'a> Exec<'a> {
    /// `bytes` as a key of the session's database.
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        self.key_in(self.db, bytes)
    }

    /// `bytes` as a key of database `db`.
    pub fn key_in<'k>(&self, db: DbIndex, bytes: &'k [u8]) -> Key<'k> {
        let routed = std::ptr::eq(bytes, self.routed.bytes);
        let slot = if routed { self.routed.slot } else { key_slot(bytes) };
        Key { db, slot, bytes }
    }

    /// The keyspace that holds `key`.
    ///
    /// # Panics
    /// If the command's row does not name `key` among its keys: the shard is then not held.
    pub fn keyspace(&mut self, key: Key<'_>) -> &mut Keyspace {
        match &mut self.keyspaces {
            Keyspaces::One(_, keyspace) => keyspace,
            Keyspaces::Many(all) => all[usize::from(self.slots.shard_of(key.slot).0)]
                .as_deref_mut()
                .expect("the command's row names this key"),
        }
    }

    /// All keyspaces at hand, with their shards, in shard order.
    pub fn each(&mut self) -> impl Iterator<Item = (ShardId, &mut Keyspace)> {
        let (one, many) = match &mut self.keyspaces {
            Keyspaces::One(shard, keyspace) => (Some((*shard, &mut **keyspace)), None),
            Keyspaces::Many(all) => (None, Some(all)),
        };
        let many = many.into_iter().flat_map(|all| all.iter_mut().enumerate());
        one.into_iter().chain(many.filter_map(|(index, keyspace)| {
            let shard = ShardId(u16::try_from(index).ok()?);
            keyspace.as_deref_mut().map(|keyspace| (shard, keyspace))
        }))
    }
}
