//! Methods on whole databases and slots.

use super::events::Why;
use super::{EntryRef, Keyspace};
use crate::types::{DbIndex, Slot, UnixMs};

/// Expired keys that one call for a random key removes before it gives up.
const RANDOM_KEY_TRIES: usize = 1000;

impl Keyspace {
    /// Keys in `db`, those included whose time has come but that have not been removed yet (as Redis).
    pub fn len(&self, db: DbIndex) -> usize {
        self.databases.of(db).len
    }

    /// Whether `db` has no keys.
    pub fn is_empty(&self, db: DbIndex) -> bool {
        self.len(db) == 0
    }

    /// Keys in `db` that have an expiry.
    pub fn expiring_len(&self, db: DbIndex) -> usize {
        self.databases.of(db).expiring
    }

    /// Visits about `count` entries of `db` from `cursor` on (0 starts) and answers where to go on
    /// (0: the end). Every key that is there from the first call of an iteration to the last is
    /// visited at least once, however the keyspace grows and shrinks meanwhile. Cursors fit 48 bits.
    /// Expired keys are not visited. Does not count as use.
    pub fn scan(
        &self,
        db: DbIndex,
        cursor: u64,
        count: usize,
        now: UnixMs,
        mut visit: impl FnMut(EntryRef<'_>),
    ) -> u64 {
        self.databases.of(db).scan(&self.store, cursor, count, |entry| {
            let live = !self.store.is_expired(entry, now);
            if live {
                visit(self.store.view(entry, now));
            }
            live
        })
    }

    /// Keys of `db` in `slot`.
    pub fn slot_len(&self, db: DbIndex, slot: Slot) -> usize {
        let heads = &self.databases.of(db).heads;
        self.slot_index(slot).and_then(|slot| heads.get(slot)).map_or(0, |head| head.len as usize)
    }

    /// Visits at most `count` keys of `db` in `slot`.
    pub fn slot_keys(
        &self,
        db: DbIndex,
        slot: Slot,
        count: usize,
        now: UnixMs,
        mut visit: impl FnMut(&[u8]),
    ) {
        let Some(slot) = self.slot_index(slot) else { return };
        let mut left = count;
        self.databases.of(db).visit_slot(&self.store, slot, |entry| {
            if left > 0 && !self.store.is_expired(entry, now) {
                visit(self.store.key(entry));
                left -= 1;
            }
            left > 0
        });
    }

    /// A random key of `db`, copied into `key`; false if there is none. Expired keys that are met
    /// are removed; after a thousand of them the answer is false.
    pub fn random_key(&mut self, db: DbIndex, now: UnixMs, key: &mut Vec<u8>) -> bool {
        key.clear();
        for _ in 0..RANDOM_KEY_TRIES {
            let Some(entry) = self.databases.of(db).pick(&self.store, &mut self.random) else {
                return false;
            };
            if !self.store.is_expired(entry, now) {
                key.extend_from_slice(self.store.key(entry));
                return true;
            }
            // In a transaction all that goes is one record, and names may be long.
            if !self.keeps_expired && !self.has_many_changes() {
                self.remove_unasked(entry, Why::Expired);
                self.counts.expired += 1;
            }
        }
        false
    }

    /// Empties `db`; constant time, the memory comes back through `maintain`.
    ///
    /// Constant as long as fewer than 239 flushed databases wait to be cleared; with more, the
    /// oldest of them is cleared first.
    pub fn flush(&mut self, db: DbIndex) {
        self.note_all_tracked();
        if self.databases.of(db).len == 0 {
            return;
        }
        if self.observations.are_any() {
            self.note_flush(db);
        }
        while !self.databases.can_retire() && self.sweep(usize::MAX / 1024) {}
        self.databases.retire(db);
        self.sequence += 1;
        self.upheavals += 1;
        if self.journal.is_on() {
            self.journal.flush(db, self.sequence);
        }
    }

    /// Exchanges two databases; constant time, where none of their keys is observed.
    pub fn swap_databases(&mut self, a: DbIndex, b: DbIndex, now: UnixMs) {
        self.note_all_tracked();
        if self.observations.are_any() {
            self.note_swap(a, b, now);
        }
        self.databases.swap(a, b);
        self.sequence += 1;
        self.upheavals += 1;
        if self.journal.is_on() {
            self.journal.swap(a, b, self.sequence);
        }
    }

    /// The slot counted from the shard's first; none if the shard does not own it.
    fn slot_index(&self, slot: Slot) -> Option<usize> {
        usize::from(slot.0).checked_sub(usize::from(self.slots.start))
    }
}
