//! What is known of a shard without holding it. Its owner publishes this every turn.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::{Keyspace, KeyspaceCounts, MemoryUse, OutcomeFigures};
use crate::limits::DATABASES;
use crate::metrics::{Counter, Gauge};
use crate::types::DbIndex;

/// One shard's figures as of its owner's last turn.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardStats {
    databases: [Database; DATABASES as usize],
    entries_bytes: Gauge,
    large_bytes: Gauge,
    heap_bytes: Gauge,
    index_bytes: Gauge,
    expired: Counter,
    expired_fields: Counter,
    evicted: Counter,
    hits: Counter,
    misses: Counter,
    changes: Counter,
    waited_keys: Gauge,
    tracked_keys: Gauge,
    tracked_items: Gauge,
    outcome_clients: Gauge,
    outcomes: Gauge,
    repeated: Counter,
    forgotten: Counter,
}

#[derive(Debug, Default)]
struct Database {
    keys: AtomicU64,
    expires: AtomicU64,
}

impl ShardStats {
    /// Takes over the figures of `keyspace`. Only the holder of the shard calls it.
    pub fn publish(&self, keyspace: &Keyspace) {
        for (database, db) in self.databases.iter().zip((0..).map(DbIndex)) {
            update(&database.keys, keyspace.len(db) as u64);
            update(&database.expires, keyspace.expiring_len(db) as u64);
        }
        let (memory, counts) = (keyspace.memory(), keyspace.counts());
        if memory != self.memory() {
            self.publish_memory(memory);
        }
        self.publish_counts(counts);
        let (keys, items) = keyspace.tracked();
        self.tracked_keys.set(keys as u64);
        self.tracked_items.set(items as u64);
        self.publish_outcomes(keyspace.outcome_figures());
    }

    fn publish_outcomes(&self, figures: OutcomeFigures) {
        self.outcome_clients.set(figures.clients);
        self.outcomes.set(figures.outcomes);
        self.repeated.set_total(figures.repeated);
        self.forgotten.set_total(figures.forgotten);
    }

    /// What is kept of writes that clients may ask for again, and how often they have.
    pub fn outcome_figures(&self) -> OutcomeFigures {
        OutcomeFigures {
            clients: self.outcome_clients.get(),
            outcomes: self.outcomes.get(),
            repeated: self.repeated.get(),
            forgotten: self.forgotten.get(),
        }
    }

    /// Tracked keys, and clients registered with them.
    pub fn tracked(&self) -> (u64, u64) {
        (self.tracked_keys.get(), self.tracked_items.get())
    }

    /// Number of keys that clients wait for.
    pub fn waited_keys(&self) -> u64 {
        self.waited_keys.get()
    }

    /// That number has changed. Only the holder of the shard calls it.
    pub fn set_waited_keys(&self, count: usize) {
        self.waited_keys.set(count as u64);
    }

    /// Publishes figures for database 0 that no keyspace has.
    #[cfg(test)]
    pub(crate) fn set_for_tests(
        &self,
        (keys, expires): (u64, u64),
        memory: MemoryUse,
        counts: KeyspaceCounts,
    ) {
        self.databases[0].keys.store(keys, Ordering::Relaxed);
        self.databases[0].expires.store(expires, Ordering::Relaxed);
        self.publish_memory(memory);
        self.publish_counts(counts);
    }

    fn publish_memory(&self, memory: MemoryUse) {
        self.entries_bytes.set(memory.entries_bytes as u64);
        self.large_bytes.set(memory.large_bytes as u64);
        self.heap_bytes.set(memory.heap_bytes as u64);
        self.index_bytes.set(memory.index_bytes as u64);
    }

    fn publish_counts(&self, counts: KeyspaceCounts) {
        self.expired.set_total(counts.expired);
        self.expired_fields.set_total(counts.expired_fields);
        self.evicted.set_total(counts.evicted);
        self.hits.set_total(counts.hits);
        self.misses.set_total(counts.misses);
        self.changes.set_total(counts.changes);
    }

    /// Keys of `db`, and how many of them have an expiry.
    pub fn keys(&self, db: DbIndex) -> (u64, u64) {
        let database = &self.databases[usize::from(db.0)];
        (database.keys.load(Ordering::Relaxed), database.expires.load(Ordering::Relaxed))
    }

    /// Memory the shard holds.
    pub fn memory(&self) -> MemoryUse {
        let bytes = |gauge: &Gauge| usize::try_from(gauge.get()).unwrap_or(usize::MAX);
        MemoryUse {
            entries_bytes: bytes(&self.entries_bytes),
            large_bytes: bytes(&self.large_bytes),
            heap_bytes: bytes(&self.heap_bytes),
            index_bytes: bytes(&self.index_bytes),
        }
    }

    /// What happened since the last reset; changes are counted since the start.
    pub fn counts(&self) -> KeyspaceCounts {
        KeyspaceCounts {
            expired: self.expired.get(),
            expired_fields: self.expired_fields.get(),
            evicted: self.evicted.get(),
            hits: self.hits.get(),
            misses: self.misses.get(),
            changes: self.changes.total(),
        }
    }

    /// Counts from zero again.
    pub fn reset(&self) {
        let of_keys =
            [&self.expired, &self.expired_fields, &self.evicted, &self.hits, &self.misses];
        of_keys.into_iter().chain([&self.repeated, &self.forgotten]).for_each(Counter::reset);
    }
}

/// Stores what is new only: a line that nobody stores to stays in the caches of all cores.
#[inline]
fn update(published: &AtomicU64, value: u64) {
    if published.load(Ordering::Relaxed) != value {
        published.store(value, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyspaceCounts, MemoryUse, ShardStats};

    #[test]
    fn a_reset_keeps_the_changes() {
        let stats = ShardStats::default();
        let memory = MemoryUse { entries_bytes: 1, large_bytes: 2, heap_bytes: 4, index_bytes: 3 };
        stats.publish_memory(memory);
        assert_eq!(stats.memory(), memory);
        let mut counts = KeyspaceCounts {
            expired: 1,
            expired_fields: 6,
            evicted: 2,
            hits: 3,
            misses: 4,
            changes: 5,
        };
        stats.publish_counts(counts);
        assert_eq!(stats.counts(), counts);
        stats.reset();
        counts.hits += 1;
        stats.publish_counts(counts);
        let since = KeyspaceCounts { hits: 1, changes: 5, ..KeyspaceCounts::default() };
        assert_eq!(stats.counts(), since);
    }
}
