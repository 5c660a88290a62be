//! Making room, and removing what has expired.
//!
//! The first thing that gives way to a shortage is what nobody can read any more: freed large
//! values and flushed databases. Then the policy chooses entries; and since these lie
//! scattered over the pages, each eviction also moves a few entries out of the sparsest page of its
//! size, so that whole pages come free.

use super::events::Why;
use super::index::Table;
use super::reclaim::BYTES_PER_ENTRY_OF_WORK;
use super::slab::{Effort, Handle};
use super::{EvictionPolicy, Keyspace};
use crate::types::UnixMs;

/// Entries that the search of `volatile-lru` passes in one call.
const HAND_STEPS: usize = 1000;
/// Entries among which `volatile-ttl` chooses.
const TTL_SAMPLE: usize = 32;
/// Random entries that `volatile-random` looks at for one with an expiry.
const RANDOM_TRIES: usize = 16;
/// Entries of one wheel bucket among which `volatile-random` chooses if it finds none that way.
const RANDOM_SAMPLE: usize = 32;
/// Entries that one eviction moves to empty a page.
const MOVES_PER_EVICTION: usize = 32;

/// Entries moved for the price of one removed.
const MOVES_PER_WORK: usize = 2;
/// Giving back a piece of memory costs as much as removing so many entries.
const PIECE_OF_WORK: usize = 128;

impl Keyspace {
    /// Removes one key by `policy`; false if the policy finds none, or none within a bounded search
    /// (then `evictable` tells whether there is one at all).
    ///
    /// True stands for progress: memory of keys that are gone already is given back first, a piece a
    /// call, and where no key is found entries may be moved to gain a page, under any policy.
    pub fn evict(&mut self, policy: EvictionPolicy, now: UnixMs) -> bool {
        self.evict_one(policy, now).is_some()
    }

    /// The same; answers how much work it was, or nothing instead of false. Removing one small entry
    /// is 1, about a quarter of a microsecond.
    pub fn evict_one(&mut self, policy: EvictionPolicy, now: UnixMs) -> Option<usize> {
        if self.give_back_piece() {
            return Some(PIECE_OF_WORK);
        }
        let Some(entry) = self.victim(policy) else {
            self.store.slab.start_any_drain(Effort::Pressing);
            let moves = self.drain(MOVES_PER_EVICTION)?;
            return Some(1 + moves / MOVES_PER_WORK);
        };
        let class = self.store.slab.class_of(entry);
        let expired = self.store.is_expired(entry, now);
        self.remove_unasked(entry, if expired { Why::Expired } else { Why::Evicted });
        self.counts.expired += u64::from(expired);
        self.counts.evicted += u64::from(!expired);
        self.store.slab.start_drain(class, Effort::Pressing);
        let moves = self.drain(MOVES_PER_EVICTION).unwrap_or(0);
        Some(1 + moves / MOVES_PER_WORK)
    }

    /// Whether `policy` has anything to remove.
    pub fn evictable(&self, policy: EvictionPolicy) -> bool {
        let has_candidate = match policy {
            EvictionPolicy::NoEviction => false,
            EvictionPolicy::AllKeysLru | EvictionPolicy::AllKeysRandom => {
                self.lru.oldest().is_some()
            }
            EvictionPolicy::VolatileLru
            | EvictionPolicy::VolatileRandom
            | EvictionPolicy::VolatileTtl => self.databases.all().any(|table| table.expiring > 0),
        };
        has_candidate || self.has_something_to_give_back()
    }

    /// Removes up to `budget` expired keys; true if more may be due now. Every entry looked at
    /// counts, and a large value as several.
    pub fn expire_due(&mut self, now: UnixMs, budget: usize) -> bool {
        let mut left = budget;
        while let Some(entry) = self.wheel.next_due(&mut self.store, now, &mut left) {
            let flushed = self.databases.table(self.store.table(entry)).retired;
            let given_back = self.remove_unasked(entry, Why::Expired);
            // A name may be long.
            self.cut_changes();
            self.counts.expired += u64::from(!flushed);
            left = left.saturating_sub(given_back / BYTES_PER_ENTRY_OF_WORK);
        }
        self.expire_fields(now, &mut left);
        left == 0 || !self.wheel.is_caught_up(now)
    }

    fn victim(&mut self, policy: EvictionPolicy) -> Option<Handle> {
        match policy {
            EvictionPolicy::NoEviction => None,
            EvictionPolicy::AllKeysLru => self.lru.oldest(),
            EvictionPolicy::VolatileLru => self.lru.oldest_expiring(&self.store, HAND_STEPS),
            EvictionPolicy::AllKeysRandom => {
                let table = self.random_table(|table| table.len)?;
                self.databases.table(table).pick(&self.store, &mut self.random)
            }
            EvictionPolicy::VolatileRandom => self.random_expiring(),
            EvictionPolicy::VolatileTtl => self.wheel.soonest(&self.store, TTL_SAMPLE),
        }
    }

    fn random_expiring(&mut self) -> Option<Handle> {
        let number = self.random_table(|table| table.expiring)?;
        let table = self.databases.table(number);
        for _ in 0..RANDOM_TRIES {
            let entry = table.pick(&self.store, &mut self.random)?;
            if self.store.expires(entry) {
                return Some(entry);
            }
        }
        let start = self.random.below(super::expiry::BUCKETS);
        let nth = self.random.below(RANDOM_SAMPLE);
        self.wheel.any(&self.store, start, nth)
    }

    /// The number of a random database's table, each as likely as its `weight` says.
    fn random_table(&mut self, weight: impl Fn(&Table) -> usize) -> Option<u8> {
        let total = self.databases.live().map(&weight).sum::<usize>();
        if total == 0 {
            return None;
        }
        let mut nth = self.random.below(total);
        let mut tables = self.databases.live();
        let chosen = tables.find(|table| {
            let here = nth < weight(table);
            nth = nth.saturating_sub(weight(table));
            here
        });
        chosen.map(|table| table.number)
    }
}
