//! What a command on data works with: the shards it may touch, the time, the session's database.
//!
//! A handler is written once, whether its keys lie in one shard or in many: it asks for the keyspace
//! of each key. The runtime holds all the shards that the command's keys name before it starts.

use std::sync::Arc;

use super::Error;
use super::steps::Steps;
use crate::cache::{
    Access, EvictionPolicy, Extent, Keyspace, Missing, PREFETCH_KEYS_MAX, Random, SharedBytes,
};
use crate::collection::{Collection, Edit, Value};
use crate::node::Owners;
use crate::types::{CoreId, DbIndex, Key, Now, ShardId, Slot, key_slot};

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

/// Values too long to be copied in passing, on their way in and out of a command.
#[derive(Debug, Default)]
pub struct Handover {
    /// What the request lies in, if a value may be kept as it lies there.
    pub request: Option<Arc<Extent>>,
    /// The reply, if it is one value that can be sent from where it lies; then nothing was written.
    pub reply: Option<SharedBytes>,
    /// Memory of a long value that another has taken the place of, for the next long request.
    pub freed: Option<Extent>,
    /// How long the client waits, where the command has found nothing and may block; 0 for ever.
    pub wait_ms: Option<u64>,
    /// Whether a command may leave most of its work as `steps`.
    pub may_pause: bool,
    /// What is left of the command, which has not answered yet; only if it may pause.
    pub steps: Option<Box<dyn Steps>>,
}

/// What a client sees of the server: settled by the port it came in on and by how the server was
/// started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The core whose own port the client uses. It sees that core as a cluster node of its own: a
    /// command over all keys is one over the keys of the shards that this core owns at that moment.
    /// `None` on the common port.
    pub core: Option<CoreId>,
    /// Whether the server is in cluster mode, where there is one database.
    pub cluster: bool,
}

impl View {
    /// The shards that a command over all keys covers, in order; none on the port of a core that has
    /// none. In a cluster only those that this node serves.
    pub fn shards(self, owners: &Owners) -> impl Iterator<Item = ShardId> + '_ {
        let all = (0..owners.slots().shard_count()).map(ShardId);
        all.filter(move |shard| self.covers(owners, *shard))
    }

    /// The first of those shards whose number is `number` or higher.
    pub fn shard_from(self, owners: &Owners, number: u16) -> Option<ShardId> {
        let mut rest = (number..owners.slots().shard_count()).map(ShardId);
        rest.find(|shard| self.covers(owners, *shard))
    }

    fn covers(self, owners: &Owners, shard: ShardId) -> bool {
        owners.serves(shard) && self.core.is_none_or(|core| owners.core_of(shard) == core)
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
    /// Slots to shards, and shards to cores as the core that runs the command knows them.
    pub owners: &'a Owners,
    /// What the client sees of the server.
    pub view: View,
    /// `proto-max-bulk-len`: how long a command may make a value.
    pub value_bytes_max: usize,
    /// The command's first key, whose slot is known from routing it.
    pub routed: RoutedKey<'a>,
    /// The keyspaces.
    pub keyspaces: Keyspaces<'a>,
    /// Long values that come and go.
    pub handover: &'a mut Handover,
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
            Keyspaces::Many(all) => all[usize::from(self.owners.slots().shard_of(key.slot).0)]
                .as_deref_mut()
                .expect("the command's row names this key"),
        }
    }

    /// The collection of `key`, for a command that only reads; counts as a hit or a miss.
    ///
    /// # Errors
    /// If the key holds a value of another type.
    #[inline]
    pub fn read<C: Collection>(&mut self, key: Key<'_>) -> Result<Option<C::View<'_>>, Error> {
        let (now, access) = (self.now.unix, self.read_access());
        Ok(self.keyspace(key).collection::<C>(key, now, access)?)
    }

    /// The same for one of several keys, which are then [looked at](Self::peek) together; whether it is there.
    ///
    /// # Errors
    /// If the key holds a value of another type.
    pub fn meet<C: Collection>(&mut self, key: Key<'_>) -> Result<bool, Error> {
        Ok(self.read::<C>(key)?.is_some())
    }

    /// The collection of `key`; nothing if there is none of this kind. Does not count.
    pub fn peek<C: Collection>(&self, key: Key<'_>) -> Option<C::View<'_>> {
        self.keyspace_of(key).peek_at::<C>(key, self.now.unix)
    }

    /// What `key` holds. Does not count.
    pub fn peek_value(&self, key: Key<'_>) -> Option<Value<'_>> {
        self.keyspace_of(key).peek(key, self.now.unix)
    }

    /// Lets `change` change the collection of `key`, which goes if nothing is left in it; nothing is
    /// answered if the key is not there and is not to be made. Counts a change if there is one.
    ///
    /// # Errors
    /// If the key holds a value of another type.
    #[inline]
    pub fn change<C: Collection, R>(
        &mut self,
        key: Key<'_>,
        missing: Missing,
        change: impl FnOnce(&mut C, &mut Edit<'_>) -> R,
    ) -> Result<Option<R>, Error> {
        let now = self.now.unix;
        Ok(self.keyspace(key).change::<C, R>(key, missing, now, change)?)
    }

    /// Removes `key`, whatever it holds; whether it was there. Counts the change.
    pub fn delete(&mut self, key: Key<'_>) -> bool {
        let (now, keyspace) = (self.now.unix, self.keyspace(key));
        let was_there = keyspace.remove(key, now);
        if was_there {
            keyspace.count_change();
        }
        was_there
    }

    /// A sequence of random numbers, another each time.
    pub fn random(&mut self, key: Key<'_>) -> Random {
        Random::new(self.keyspace(key).random())
    }

    /// How a reading command looks keys up, given what the client asked for.
    #[inline]
    pub(crate) fn read_access(&self) -> Access {
        if self.no_touch { Access::ReadNoTouch } else { Access::Read }
    }

    /// How a writing command looks keys up, given what the client asked for.
    pub(crate) fn write_access(&self) -> Access {
        if self.no_touch { Access::Peek } else { Access::Write }
    }

    /// The keyspace that holds `key`, to be looked at.
    fn keyspace_of(&self, key: Key<'_>) -> &Keyspace {
        match &self.keyspaces {
            Keyspaces::One(_, keyspace) => keyspace,
            Keyspaces::Many(all) => all[usize::from(self.owners.slots().shard_of(key.slot).0)]
                .as_deref()
                .expect("the command's row names this key"),
        }
    }

    /// Calls `visit` with each of many names as a key of the session's database, in order, and what goes
    /// with it. A few keys ahead, the processor is told to load what they will touch: many keys wait for
    /// memory once in a while instead of several times each.
    pub fn for_each_key<'k, T>(
        &mut self,
        names: impl ExactSizeIterator<Item = (&'k [u8], T)>,
        mut visit: impl FnMut(&mut Self, Key<'k>, T),
    ) {
        const FEW: usize = 3;
        if names.len() <= FEW {
            return names.for_each(|(name, with)| visit(self, self.key(name), with));
        }
        let mut names = names;
        let mut ahead = Vec::with_capacity(names.len().min(PREFETCH_KEYS_MAX));
        while names.len() > 0 {
            let next = names.by_ref().take(PREFETCH_KEYS_MAX);
            ahead.extend(next.map(|(name, with)| (self.key(name), with)));
            self.prefetch(ahead.iter().map(|(key, _)| *key));
            ahead.drain(..).for_each(|(key, with)| visit(self, key, with));
        }
    }

    fn prefetch<'k>(&self, keys: impl Iterator<Item = Key<'k>> + Clone) {
        match &self.keyspaces {
            Keyspaces::One(_, keyspace) => keyspace.prefetch_all(keys),
            Keyspaces::Many(all) => {
                for (shard, keyspace) in all.iter().enumerate() {
                    let Some(keyspace) = keyspace else { continue };
                    let here = |key: &Key<'_>| {
                        usize::from(self.owners.slots().shard_of(key.slot).0) == shard
                    };
                    keyspace.prefetch_all(keys.clone().filter(here));
                }
            }
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
