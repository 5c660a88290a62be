//! Changes taken out as bytes, and made again from them; entries saved for a snapshot, and restored.

use super::extent::SharedBytes;
use super::index::Table;
use super::journal::{
    Change, Changed, Changes, Nonsense, Saved, SavedEntries, SavedEntry, Written,
};
use super::{Expiry, Keyspace, PREFETCH_KEYS_MAX};
use crate::limits::{DATABASES, LONG_BYTES_MIN};
use crate::types::{DbIndex, Key, UnixMs};

/// Entries that one look at the table asks for while a snapshot is taken.
const SAVED_AT_ONCE: usize = 4;

/// How far entries have been saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaveCursor {
    db: u8,
    cursor: u64,
}

impl SaveCursor {
    /// Whether all databases have been visited.
    pub fn is_done(self) -> bool {
        self.db == DATABASES
    }
}

impl Keyspace {
    /// Turns the journal on or off; changes that it holds are forgotten.
    pub fn set_journal(&mut self, on: bool) {
        self.journal.turn(on);
    }

    /// Whether changes are written down.
    pub fn has_journal(&self) -> bool {
        self.journal.is_on()
    }

    /// Bytes of changes that have not been taken yet.
    #[inline]
    pub fn changes_len(&self) -> usize {
        self.journal.len()
    }

    /// Bytes of memory that they take, without long values that are a key's as well.
    pub fn changes_memory_bytes(&self) -> usize {
        self.journal.memory_bytes()
    }

    /// The changes that have not been taken yet, stamped with the time, unless long values are among
    /// them. Whoever has written them forgets them: see [`Keyspace::clear_changes`].
    pub fn changes(&mut self, now: UnixMs) -> Option<&[u8]> {
        self.journal.stamped(now)
    }

    /// Takes the changes, stamped with the time: bytes and long values by turns.
    pub fn take_changes(&mut self, now: UnixMs) -> Vec<Written> {
        self.journal.take(now)
    }

    /// Forgets the changes.
    pub fn clear_changes(&mut self) {
        self.journal.clear();
    }

    /// Counts flushes and exchanges of databases: what a snapshot can't be taken across.
    pub fn upheavals(&self) -> u64 {
        self.upheavals
    }

    /// Adds entries to `out` from `from` on until it holds `bytes`, or a little more; answers where to go
    /// on. Whatever is there from the first call to the last is saved, what has expired and is not removed
    /// yet included: changes of it may be in the log, and can't be made again without it.
    pub fn save_entries(
        &self,
        from: SaveCursor,
        bytes: usize,
        now: UnixMs,
        out: &mut Saved,
    ) -> SaveCursor {
        let mut at = from;
        while !at.is_done() && out.len() < bytes {
            at = self.visit_entries(at, now, |entry, long| out.add(entry, long));
        }
        at
    }

    /// Shows some entries from `from` on to `visit`, expired ones too, with the value as it lies in memory if
    /// it is long; answers where to go on.
    pub fn visit_entries(
        &self,
        from: SaveCursor,
        now: UnixMs,
        mut visit: impl FnMut(&SavedEntry<'_>, Option<SharedBytes>),
    ) -> SaveCursor {
        let mut at = from;
        let db = DbIndex(at.db);
        let table = self.databases.of(db);
        at.cursor = table.scan(&self.store, at.cursor, SAVED_AT_ONCE, |handle| {
            let entry = self.store.view(handle, now);
            let saved = SavedEntry {
                db,
                key: entry.key,
                value: entry.value,
                expires_at: entry.expires_at,
                version: entry.version,
                accessed_at: entry.accessed_at,
                modified_in_place: entry.modified_in_place,
            };
            let is_long = entry.value.len() > LONG_BYTES_MIN;
            visit(&saved, if is_long { self.store.shared_value(handle) } else { None });
            true
        });
        if at.cursor == 0 {
            at.db += 1;
        }
        at
    }

    /// Puts back the entries of a snapshot's part; answers how many.
    ///
    /// # Errors
    /// If the bytes make no sense, or name a key of a slot that is not this keyspace's; entries before that
    /// place may be there.
    pub fn restore_entries(&mut self, payload: &[u8]) -> Result<u64, Nonsense> {
        let mut ahead = Vec::with_capacity(PREFETCH_KEYS_MAX);
        let mut entries = SavedEntries::of(payload);
        let mut count = 0;
        loop {
            while ahead.len() < PREFETCH_KEYS_MAX {
                let at = entries.at();
                let Some(entry) = entries.next().transpose()? else { break };
                ahead.push((self.own_key(entry.db, entry.key, at)?, entry));
            }
            if ahead.is_empty() {
                return Ok(count);
            }
            count += ahead.len() as u64;
            self.prefetch_all(ahead.iter().map(|(key, _)| *key));
            for (key, entry) in ahead.drain(..) {
                self.restore_entry(key, &entry);
            }
        }
    }

    /// A key that was read at `at`. In a slot that is not this keyspace's no client would find it, and there
    /// is no table for it.
    fn own_key<'k>(&self, db: DbIndex, bytes: &'k [u8], at: usize) -> Result<Key<'k>, Nonsense> {
        let key = Key::new(db, bytes);
        if self.slots.contains(&key.slot.0) { Ok(key) } else { Err(Nonsense { at }) }
    }

    fn restore_entry(&mut self, key: Key<'_>, saved: &SavedEntry<'_>) {
        // Whether it has expired meanwhile is seen when it is looked up.
        const NEVER: UnixMs = UnixMs(0);
        let expiry = saved.expires_at.map_or(Expiry::Clear, Expiry::At);
        let highest = self.sequence.max(saved.version);
        let entry = self.place(key, saved.value.len(), expiry, NEVER);
        self.store.value_mut(entry).copy_from_slice(saved.value);
        self.store.set_version(entry, saved.version);
        self.store.set_accessed(entry, saved.accessed_at);
        self.store.set_modified(entry, saved.modified_in_place);
        self.sequence = highest;
    }

    /// Makes the changes of a record again; answers how many. With `overlaps_snapshot`, entries that were
    /// restored from a snapshot may have seen some of them, as their versions tell.
    ///
    /// # Errors
    /// If the bytes make no sense, or name a key of a slot that is not this keyspace's; changes before that
    /// place may have been made.
    pub fn replay(&mut self, payload: &[u8], overlaps_snapshot: bool) -> Result<u64, Nonsense> {
        // The record is stamped with the time of its writing, not with that of each change: what was there
        // then may have expired by that time.
        self.store.spares_expired = true;
        let result = self.replay_all(payload, overlaps_snapshot);
        self.store.spares_expired = false;
        result
    }

    fn replay_all(&mut self, payload: &[u8], overlaps_snapshot: bool) -> Result<u64, Nonsense> {
        let mut changes = Changes::of(payload)?;
        let time = changes.time();
        // A change of whole databases has no key, and so no slot that this shard might not own.
        let mut ahead: Vec<(Option<Key<'_>>, Changed<'_>)> = Vec::with_capacity(PREFETCH_KEYS_MAX);
        let mut count = 0;
        let mut highest = self.sequence;
        loop {
            while ahead.len() < PREFETCH_KEYS_MAX {
                let at = changes.at();
                let Some(changed) = changes.next().transpose()? else { break };
                let key = changed.change.key().map(|key| self.own_key(changed.db, key, at));
                ahead.push((key.transpose()?, changed));
            }
            if ahead.is_empty() {
                self.sequence = highest;
                return Ok(count);
            }
            count += ahead.len() as u64;
            self.prefetch_all(ahead.iter().filter_map(|(key, _)| *key));
            for (key, changed) in ahead.drain(..) {
                let has_seen = |key| overlaps_snapshot && self.has_seen(key, &changed);
                if !key.is_some_and(has_seen) {
                    self.make_again(key, &changed, time);
                }
                highest = highest.max(changed.sequence);
            }
        }
    }

    /// Whether a key's entry is newer than a change.
    fn has_seen(&mut self, key: Key<'_>, changed: &Changed<'_>) -> bool {
        let spot = self.spot(key);
        let table = self.databases.table(spot.table);
        let is_it = |entry| self.store.is_key(entry, key.bytes);
        let Some(position) = table.find(&self.store, spot.slot, spot.hash, is_it) else {
            return false;
        };
        let version = self.store.version(position.entry);
        let is_removal = matches!(changed.change, Change::Remove { .. });
        version > changed.sequence || version == changed.sequence && !is_removal
    }

    fn make_again(&mut self, key: Option<Key<'_>>, changed: &Changed<'_>, time: UnixMs) {
        // What a change of the value or the expiry raises it by.
        self.sequence = changed.sequence.saturating_sub(1);
        match (changed.change, key) {
            (Change::Set { value, expires_at, .. }, Some(key)) => {
                self.set(key, value, expires_at.map_or(Expiry::Clear, Expiry::At), time);
            }
            (Change::Edit { length, offset, bytes, .. }, Some(key)) => {
                let range = offset..offset + bytes.len();
                self.edit(key, length, range.clone(), time, |value| {
                    value[range].copy_from_slice(bytes);
                });
            }
            (Change::Expire { expires_at, .. }, Some(key)) => {
                self.set_expiry(key, expires_at, time);
            }
            (Change::Remove { .. }, Some(key)) => self.remove_whatever_its_time(key),
            (Change::Flush, _) => self.flush(changed.db),
            (Change::Swap { with }, _) => self.swap_databases(changed.db, with),
            (
                Change::Set { .. }
                | Change::Edit { .. }
                | Change::Expire { .. }
                | Change::Remove { .. },
                None,
            ) => unreachable!("a change of one key names it"),
        }
    }

    fn remove_whatever_its_time(&mut self, key: Key<'_>) {
        let spot = self.spot(key);
        let table: &Table = self.databases.table(spot.table);
        let is_it = |entry| self.store.is_key(entry, key.bytes);
        if let Some(position) = table.find(&self.store, spot.slot, spot.hash, is_it) {
            self.take_out(spot, position);
        }
    }

    /// Puts all keys into the order of their last use, as far as whole seconds tell it. For a keyspace that
    /// was restored in another order; takes time by its size.
    pub fn order_by_use(&mut self, now: UnixMs) {
        self.lru.sort_by_key(&mut self.store, |store, entry| store.accessed_at(entry, now).0);
    }

    /// Sees to it that changes from now on have a sequence of at least `sequence`.
    pub fn raise_sequence(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }
}
