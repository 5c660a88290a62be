//! The memory limit, shared out among the shards.
//!
//! `maxmemory` is the whole server's, and what clients hold counts towards it. So that a shard need ask nobody
//! when it writes, each has a [`Room`] of its own, which its owner settles ten times a second, and whoever writes
//! again before keys are evicted for it or a write is refused.
//!
//! As long as the server is within its limit, a shard may take an equal share of what is free. Beyond, it may grow
//! up to an equal share of the whole as far as shards that hold more than theirs have something to evict: they
//! give way. Where they do not, as with `noeviction`, who comes later has what they left. When the server is over
//! its limit, a shard gives up as much as it is over by, but never for others that hold more than their share and
//! can give way themselves.

use crate::cache::{EvictionPolicy, MemoryUse};
use crate::config::Config;
use crate::limits::DATABASES;
use crate::node::{Node, ShardStats};
use crate::shard::{Room, Shard};
use crate::types::DbIndex;

/// What the operator has set.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MemoryLimit {
    /// `maxmemory`; 0 for none.
    bytes: u64,
    policy: EvictionPolicy,
}

impl MemoryLimit {
    /// What `config` says of it.
    pub(super) fn of(config: &Config) -> Self {
        Self { bytes: config.maxmemory_bytes, policy: config.maxmemory_policy }
    }
}

/// What there is to share, as the shards' owners published it.
#[derive(Debug)]
pub(super) struct Budget {
    policy: EvictionPolicy,
    /// `maxmemory`, and the shards it is for; nothing without a limit.
    limit: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    /// What all shards together may hold: clients hold the rest.
    bytes: u64,
    shards: u64,
    /// What all shards hold.
    held: u64,
    /// What shards that hold more than their share can evict of the rest.
    yielding: u64,
}

impl Budget {
    /// What there is to share now.
    pub(super) fn of(node: &Node, limit: MemoryLimit) -> Self {
        let MemoryLimit { bytes, policy } = limit;
        if bytes == 0 {
            return Self { policy, limit: None };
        }
        let mut limit = Limit {
            bytes: bytes.saturating_sub(node.client_bytes()),
            shards: node.shards.len() as u64,
            held: 0,
            yielding: 0,
        };
        for stats in &node.shards {
            limit.held += bytes_of(stats.memory());
            limit.yielding += limit.yielded_by(stats, policy);
        }
        Self { policy, limit: Some(limit) }
    }

    /// The room of `shard`, whose owner has published `stats`.
    pub(super) fn room_of(&self, shard: &Shard, stats: &ShardStats) -> Room {
        let limit_bytes = self.limit.as_ref().map_or(u64::MAX, |limit| {
            // Of this shard the newest is known.
            let mine = bytes_of(shard.keyspace().memory());
            let others = limit.held.saturating_sub(bytes_of(stats.memory()));
            let yielding = limit.yielding.saturating_sub(limit.yielded_by(stats, self.policy));
            limit.of_shard(mine, others + mine, yielding)
        });
        let limit_bytes = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        Room { limit_bytes, policy: self.policy }
    }
}

impl Limit {
    /// An equal share.
    fn share(&self) -> u64 {
        self.bytes / self.shards
    }

    /// What a shard can evict of what it holds beyond its share. How long its keys with an expiry are is taken for
    /// the average.
    fn yielded_by(&self, stats: &ShardStats, policy: EvictionPolicy) -> u64 {
        let held = bytes_of(stats.memory());
        let beyond = held.saturating_sub(self.share());
        if beyond == 0 {
            return 0;
        }
        match policy {
            EvictionPolicy::NoEviction => 0,
            EvictionPolicy::AllKeysLru | EvictionPolicy::AllKeysRandom => beyond,
            EvictionPolicy::VolatileLru
            | EvictionPolicy::VolatileRandom
            | EvictionPolicy::VolatileTtl => {
                let databases = (0..DATABASES).map(|db| stats.keys(DbIndex(db)));
                let (keys, expiring) =
                    databases.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
                beyond.min(held / keys.max(1) * expiring)
            }
        }
    }

    /// What a shard that holds `mine` of all that is `held` may hold, where others can evict `yielding` bytes
    /// beyond their shares.
    fn of_shard(&self, mine: u64, held: u64, yielding: u64) -> u64 {
        let free = self.bytes.saturating_sub(held) / self.shards;
        let over = held.saturating_sub(self.bytes);
        let grown = (mine + free).saturating_sub(over);
        let made_way = (mine + free + yielding).saturating_sub(over);
        grown.max(made_way.min(self.share()))
    }
}

fn bytes_of(memory: MemoryUse) -> u64 {
    memory.total_bytes() as u64
}

#[cfg(test)]
mod tests {
    use super::{EvictionPolicy, Limit, MemoryUse, ShardStats, bytes_of};
    use crate::cache::KeyspaceCounts;

    /// What each of the shards that hold `held` of 120 bytes may hold; of their 10 keys so many expire.
    fn shared_out<const N: usize>(
        policy: EvictionPolicy,
        held: [usize; N],
        expiring: u64,
    ) -> [u64; N] {
        let stats = held.map(|entries_bytes| {
            let stats = ShardStats::default();
            let memory = MemoryUse { entries_bytes, ..MemoryUse::default() };
            stats.set_for_tests((10, expiring), memory, KeyspaceCounts::default());
            stats
        });
        let mut limit = Limit { bytes: 120, shards: N as u64, held: 0, yielding: 0 };
        limit.held = held.iter().sum::<usize>() as u64;
        limit.yielding = stats.iter().map(|stats| limit.yielded_by(stats, policy)).sum();
        stats.each_ref().map(|stats| {
            let yielding = limit.yielding - limit.yielded_by(stats, policy);
            limit.of_shard(bytes_of(stats.memory()), limit.held, yielding)
        })
    }

    #[test]
    fn a_limit_is_shared_out() {
        use EvictionPolicy::{AllKeysLru, NoEviction, VolatileTtl};
        for (policy, held, expiring, expected) in [
            // What is free is there for all alike.
            (NoEviction, [0, 0, 0], 0, [40, 40, 40]),
            (AllKeysLru, [0, 0, 0], 0, [40, 40, 40]),
            (NoEviction, [60, 30, 0], 0, [70, 40, 10]),
            // Who has too much gives way to who has less, if it can.
            (AllKeysLru, [60, 30, 0], 0, [70, 40, 30]),
            (AllKeysLru, [100, 20, 0], 0, [100, 40, 40]),
            (NoEviction, [100, 20, 0], 0, [100, 20, 0]),
            (VolatileTtl, [100, 20, 0], 0, [100, 20, 0]),
            (VolatileTtl, [100, 20, 0], 1, [100, 30, 10]),
            // All that is over is given up, by the largest as far as they can.
            (AllKeysLru, [100, 40, 40], 0, [40, 40, 40]),
            (AllKeysLru, [50, 50, 50], 0, [40, 40, 40]),
            (AllKeysLru, [90, 45, 15], 0, [60, 40, 40]),
            (VolatileTtl, [90, 45, 15], 0, [60, 15, 0]),
            (NoEviction, [90, 45, 15], 0, [60, 15, 0]),
        ] {
            let limits = shared_out(policy, held, expiring);
            assert_eq!(limits, expected, "{policy:?} {held:?}");
        }
        assert_eq!(shared_out(AllKeysLru, [300], 0), [120]);
    }
}
