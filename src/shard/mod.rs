//! One shard: its keyspace, its share of the memory limit, and how commands run on it.
//!
//! Synchronous and without I/O: the time comes in, replies go out. Whoever holds the shard's token
//! calls it (see `runtime::token`); the shard neither knows nor cares which core that is.

use crate::cache::{EvictionPolicy, Keyspace, KeyspaceOptions};
use crate::command::exec::{Keyspaces, RoutedKey};
use crate::command::table::Entry;
use crate::command::{Error, Exec, Flags, Handler, View};
use crate::limits::{EVICT_BUDGET, EXPIRE_BUDGET};
use crate::protocol::{Args, Proto, Reply};
use crate::types::{DbIndex, Now, ShardId, Slot, SlotMap};

/// A command and what it needs to know of the client that sent it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The command.
    pub entry: &'static Entry,
    /// The client's database.
    pub db: DbIndex,
    /// The client's protocol version.
    pub proto: Proto,
    /// Whether its reads don't count as use.
    pub no_touch: bool,
    /// The slot of its first key, if it names one.
    pub slot: Slot,
    /// What the client sees of the server.
    pub view: View,
}

/// How much memory a shard may use and what gives way when it is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Most bytes the keyspace may hold; `usize::MAX` for no limit.
    pub limit_bytes: usize,
    /// What is evicted.
    pub policy: EvictionPolicy,
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    keyspace: Keyspace,
    room: Room,
}

impl Shard {
    /// An empty shard without a memory limit.
    pub fn new(id: ShardId, options: KeyspaceOptions) -> Self {
        let room = Room { limit_bytes: usize::MAX, policy: EvictionPolicy::NoEviction };
        Self { id, keyspace: Keyspace::new(options), room }
    }

    /// Which shard this is.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The data.
    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// The data, to be changed.
    pub fn keyspace_mut(&mut self) -> &mut Keyspace {
        &mut self.keyspace
    }

    /// Sets the share of the memory limit; holds from the next command on.
    pub fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    /// One bounded step of what the shard does unasked: removes expired keys, frees what was deleted,
    /// makes room if it is over its limit. True while there is more to do.
    pub fn maintain(&mut self, now: Now, expire: bool) -> bool {
        let expiring = expire && self.keyspace.expire_due(now.unix, EXPIRE_BUDGET);
        let freeing = self.keyspace.maintain();
        let evicting = self.evict_some(now);
        expiring | freeing | evicting
    }

    /// Evicts a little if the shard is over its limit, as after a `CONFIG SET maxmemory`. True if it
    /// still is and there may be more to evict.
    fn evict_some(&mut self, now: Now) -> bool {
        let Room { limit_bytes, policy } = self.room;
        if policy == EvictionPolicy::NoEviction {
            return false;
        }
        let over = |keyspace: &Keyspace| keyspace.memory().total_bytes() > limit_bytes;
        for _ in 0..EVICT_BUDGET {
            if !over(&self.keyspace) || !self.keyspace.evict(policy, now.unix) {
                return false;
            }
        }
        over(&self.keyspace)
    }

    /// Evicts until the shard is within its limit.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if nothing is left to evict by the policy.
    pub fn make_room(&mut self, now: Now) -> Result<(), Error> {
        if self.room.limit_bytes == usize::MAX {
            return Ok(());
        }
        while self.keyspace.memory().total_bytes() > self.room.limit_bytes {
            if self.keyspace.evict(self.room.policy, now.unix) {
                continue;
            }
            if !self.keyspace.evictable(self.room.policy) {
                return Err(Error::OutOfMemory);
            }
            // The bounded search found nothing this time: the next write searches on.
            break;
        }
        Ok(())
    }

    /// Runs one command whose keys all lie here.
    #[inline]
    pub fn execute(
        &mut self,
        call: &Call,
        args: &Args<'_>,
        now: Now,
        slots: SlotMap,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        if call.entry.command.flags.contains(Flags::DENYOOM) {
            self.make_room(now)?;
        }
        let policy = self.room.policy;
        run(call, args, now, slots, policy, Keyspaces::One(self.id, &mut self.keyspace), out)
    }
}

/// Runs one command over several shards; `shards` is indexed by shard and lacks those not needed.
pub fn execute_over(
    shards: &mut [Option<&mut Shard>],
    call: &Call,
    args: &Args<'_>,
    now: Now,
    slots: SlotMap,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut policy = EvictionPolicy::default();
    for shard in shards.iter_mut().flatten() {
        policy = shard.room.policy;
        if call.entry.command.flags.contains(Flags::DENYOOM) {
            shard.make_room(now)?;
        }
    }
    let mut keyspaces: Vec<Option<&mut Keyspace>> =
        shards.iter_mut().map(|shard| shard.as_mut().map(|shard| &mut shard.keyspace)).collect();
    run(call, args, now, slots, policy, Keyspaces::Many(&mut keyspaces), out)
}

/// Runs the handler; an error leaves nothing of its reply behind.
#[inline]
fn run<'a>(
    call: &Call,
    args: &Args<'a>,
    now: Now,
    slots: SlotMap,
    policy: EvictionPolicy,
    keyspaces: Keyspaces<'a>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let first = call.entry.command.keys.first().and_then(|first| args.get(first));
    let routed = RoutedKey { bytes: first.unwrap_or_default(), slot: call.slot };
    let Call { db, no_touch, view, .. } = *call;
    let mut exec = Exec { now, db, no_touch, policy, slots, view, routed, keyspaces };
    let start = out.len();
    let handler = match call.entry.command.handler {
        Handler::Keyed(handler)
        | Handler::Slot(handler, _)
        | Handler::Cursor(handler, _)
        | Handler::AllShards(handler) => handler,
        Handler::Session(_) | Handler::Container(_) => {
            unreachable!("not a command on data: {}", call.entry.full_name)
        }
    };
    let result = handler(&mut exec, args, &mut Reply::new(out, call.proto));
    if result.is_err() {
        out.truncate(start);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::{EVICT_BUDGET, EvictionPolicy, KeyspaceOptions, Now, Room, Shard, ShardId};
    use crate::cache::Expiry;
    use crate::types::{DbIndex, Key};

    #[test]
    fn a_shard_over_its_limit_evicts_a_bounded_number_of_keys_a_step() {
        const KEYS: usize = 20_000;
        let (db, now) = (DbIndex(0), Now::default());
        let mut shard = Shard::new(ShardId(0), KeyspaceOptions { slots: 0..16_384, seed: 7 });
        for index in 0..KEYS {
            let key = format!("key{index}");
            let key = Key::new(db, key.as_bytes());
            shard.keyspace.set(key, &[b'v'; 1000], Expiry::Clear, now.unix);
        }
        let limit_bytes = shard.keyspace.memory().total_bytes() / 2;
        shard.set_room(Room { limit_bytes, policy: EvictionPolicy::NoEviction });
        while shard.maintain(now, true) {}
        assert_eq!(shard.keyspace.len(db), KEYS);
        shard.set_room(Room { limit_bytes, policy: EvictionPolicy::AllKeysLru });
        let (mut before, mut steps) = (KEYS, 0);
        while shard.maintain(now, true) {
            let left = shard.keyspace.len(db);
            assert!(before - left <= EVICT_BUDGET, "{before} keys, then {left}");
            (before, steps) = (left, steps + 1);
        }
        assert!(shard.keyspace.memory().total_bytes() <= limit_bytes);
        assert!(steps > KEYS / 4 / EVICT_BUDGET, "{steps} steps");
        assert!(shard.keyspace.len(db) > KEYS / 4, "{} keys left", shard.keyspace.len(db));
    }
}
