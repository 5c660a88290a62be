//! Changes taken out as bytes, and made again from them; entries saved for a snapshot, and restored.

use super::extent::SharedBytes;
use super::form::{COLLECTION, MODIFIED};
use super::heap::HeapId;
use super::index::Position;
use super::journal::{
    Change, Changed, Changes, Nonsense, Saved, SavedEntries, SavedEntry, SavedWhat, Written,
};
use super::outcomes::OutcomesCursor;
use super::slab::Handle;
use super::{EntryRef, Expiry, Held, Keyspace, PREFETCH_KEYS_MAX};
use crate::collection::{SaveElements, Tag};
use crate::limits::{DATABASES, LONG_BYTES_MIN};
use crate::types::{DbIndex, Key, UnixMs};

/// Entries that one look at the table asks for while a snapshot is taken.
const SAVED_AT_ONCE: usize = 4;
/// Values from which on each comes by itself: a part of a snapshot, which is one record, has a bound. Short ones take that
/// way in tests.
const SAVED_APART_BYTES_MIN: usize = if cfg!(test) { 24 } else { 16 << 20 };

/// Bytes of a structure's elements that are saved at once.
const SAVED_ELEMENTS_BYTES: usize = 16 * 1024;

/// How far entries have been saved.
#[derive(Debug, Default)]
pub struct SaveCursor {
    outcomes: OutcomesCursor,
    db: u8,
    cursor: u64,
    /// Structures that have been met, and whose elements are still to be saved.
    unfinished: Vec<Unfinished>,
    /// Keys that were met with a very long value each, which comes by itself.
    apart: Vec<(DbIndex, Vec<u8>)>,
    /// Elements, or outcomes, on their way out.
    elements: Vec<u8>,
}

/// A structure whose elements are still to be saved.
#[derive(Debug)]
struct Unfinished {
    db: DbIndex,
    key: Vec<u8>,
    tag: Tag,
    version: u64,
    accessed_at: UnixMs,
    elements: Elements,
    /// Where to go on.
    from: u64,
}

/// Where elements are saved from.
#[derive(Debug)]
enum Elements {
    /// The structure itself, if it is still the one that was met: then changes of it since are in the log.
    Structure(HeapId, u32),
    /// What it held then.
    Copy(Box<dyn SaveElements>),
}

impl SaveCursor {
    /// Whether all has been visited.
    pub fn is_done(&self) -> bool {
        self.db == DATABASES && self.unfinished.is_empty() && self.apart.is_empty()
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

    /// Whether there are so many changes since the last cut that the [next](Keyspace::cut_changes) is due.
    #[inline]
    pub fn has_many_changes(&self) -> bool {
        self.journal.is_long()
    }

    /// Makes the changes since the last cut a record by themselves, if they are many. Nobody is in the middle of a command:
    /// what it changes is one record.
    #[inline]
    pub fn cut_changes(&mut self) {
        if self.has_many_changes() {
            self.journal.cut();
        }
    }

    /// How many records the changes are that have not been taken yet.
    #[inline]
    pub fn changes_records(&self) -> u64 {
        self.journal.records() as u64
    }

    /// Bytes of the first of them.
    pub fn next_changes_len(&self) -> usize {
        self.journal.next_bytes()
    }

    /// Bytes that a command may still write down of what keys hold.
    pub fn room_for_changes(&self) -> usize {
        self.journal.room_bytes()
    }

    /// Changes how many bytes of changes there may be where a command writes down what keys hold.
    #[cfg(test)]
    pub(crate) fn set_changes_bytes_max(&mut self, bytes: usize) {
        self.journal.set_bytes_max(bytes);
    }

    /// Has the next record be written even if nothing changes: somebody has to wait for one.
    pub fn ask_for_record(&mut self) {
        if self.journal.is_on() {
            self.journal.open(self.sequence);
        }
    }

    /// Bytes of memory that they take, without long values that are a key's as well.
    pub fn changes_memory_bytes(&self) -> usize {
        self.journal.memory_bytes()
    }

    /// The changes that have not been taken yet, stamped with the time, unless long values are among
    /// them, or they are several records. Whoever has written them forgets them: see [`Keyspace::clear_changes`].
    pub fn changes(&mut self, now: UnixMs) -> Option<&[u8]> {
        self.journal.stamped(now)
    }

    /// Takes the changes of the next record, stamped with the time: bytes and long values by turns.
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
        let mut cursor = from;
        while !cursor.is_done() && out.len() < bytes {
            cursor = self.visit_entries(cursor, now, |entry, long| out.add(entry, long));
        }
        cursor
    }

    /// Shows some entries from `from` on to `visit`, expired ones too, with the value as it lies in memory if
    /// it is long; answers where to go on. The elements of a structure come in parts after its entry.
    pub fn visit_entries(
        &self,
        from: SaveCursor,
        now: UnixMs,
        mut visit: impl FnMut(&SavedEntry<'_>, Option<SharedBytes>),
    ) -> SaveCursor {
        let mut cursor = from;
        if cursor.outcomes != OutcomesCursor::End {
            let (from, value) = (cursor.outcomes, &mut cursor.elements);
            cursor.outcomes = self.outcomes.visit(from, value, &mut |entry| visit(entry, None));
            return cursor;
        }
        if let Some((db, key)) = cursor.apart.pop() {
            // If it is gone, or something else by now, that is in the log.
            let position = self.stored(self.spot(Key::new(db, &key)), &key);
            if let Some(Position { entry, .. }) =
                position.filter(|it| !self.store.is_collection(it.entry))
            {
                let seen = (entry, self.store.view(entry, now));
                self.visit_entry(db, seen, &mut cursor.unfinished, &mut visit);
            }
            return cursor;
        }
        if let Some(unfinished) = cursor.unfinished.pop() {
            self.visit_elements(&mut cursor, unfinished, &mut visit);
            return cursor;
        }
        let db = DbIndex(cursor.db);
        let table = self.databases.of(db);
        let (unfinished, apart) = (&mut cursor.unfinished, &mut cursor.apart);
        cursor.cursor = table.scan(&self.store, cursor.cursor, SAVED_AT_ONCE, |handle| {
            let entry = self.store.view(handle, now);
            match entry.value {
                Held::String(value) if value.len() > SAVED_APART_BYTES_MIN => {
                    apart.push((db, entry.key.to_vec()));
                }
                _ => self.visit_entry(db, (handle, entry), unfinished, &mut visit),
            }
            true
        });
        if cursor.cursor == 0 {
            cursor.db += 1;
        }
        cursor
    }

    fn visit_entry(
        &self,
        db: DbIndex,
        (handle, entry): (Handle, EntryRef<'_>),
        unfinished: &mut Vec<Unfinished>,
        visit: &mut impl FnMut(&SavedEntry<'_>, Option<SharedBytes>),
    ) {
        let mut saved = SavedEntry {
            db,
            key: entry.key,
            value: &[],
            what: SavedWhat::String,
            expires_at: entry.expires_at,
            version: entry.version,
            accessed_at: entry.accessed_at,
            modified_in_place: entry.modified_in_place,
        };
        match entry.value {
            Held::String(value) => saved.value = value,
            Held::Collection(value) => {
                saved.what = SavedWhat::Collection;
                saved.value = value;
                if let Some(id) = HeapId::in_value(value) {
                    saved.value = &value[..1];
                    unfinished.push(self.unfinished(&saved, id));
                }
            }
        }
        let is_long = saved.value.len() > LONG_BYTES_MIN;
        visit(&saved, if is_long { self.store.shared_value(handle) } else { None });
    }

    /// A structure that was met while entries are saved.
    fn unfinished(&self, entry: &SavedEntry<'_>, id: HeapId) -> Unfinished {
        let elements = match self.store.heap.get(id).copy_to_save() {
            Some(copy) => Elements::Copy(copy),
            None => Elements::Structure(id, self.store.heap.generation(id)),
        };
        Unfinished {
            db: entry.db,
            key: entry.key.to_vec(),
            tag: Tag(entry.value[0]),
            version: entry.version,
            accessed_at: entry.accessed_at,
            elements,
            from: 0,
        }
    }

    /// Shows some elements of a structure, unless its key has been removed meanwhile, which is in the log.
    fn visit_elements(
        &self,
        cursor: &mut SaveCursor,
        mut unfinished: Unfinished,
        visit: &mut impl FnMut(&SavedEntry<'_>, Option<SharedBytes>),
    ) {
        let (out, from, bytes) = (&mut cursor.elements, unfinished.from, SAVED_ELEMENTS_BYTES);
        out.clear();
        out.push(unfinished.tag.0);
        unfinished.from = match &unfinished.elements {
            Elements::Copy(copy) => copy.save(from, bytes, out),
            Elements::Structure(id, generation) => {
                let Some(object) = self.store.heap.find(*id, *generation) else { return };
                object.save(from, bytes, out)
            }
        };
        let entry = SavedEntry {
            db: unfinished.db,
            key: &unfinished.key,
            value: out,
            what: SavedWhat::More,
            expires_at: None,
            version: unfinished.version,
            accessed_at: unfinished.accessed_at,
            modified_in_place: false,
        };
        visit(&entry, None);
        if unfinished.from > 0 {
            cursor.unfinished.push(unfinished);
        }
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
                if entry.what.has_slot() {
                    ahead.push((self.own_key(entry.db, entry.key, at)?, entry, at));
                } else {
                    self.restore_outcomes(&entry).map_err(|_| Nonsense { at })?;
                }
            }
            if ahead.is_empty() {
                return Ok(count);
            }
            self.prefetch_all(ahead.iter().map(|(key, ..)| *key));
            for (key, entry, at) in ahead.drain(..) {
                count += u64::from(entry.what.is_key());
                self.restore_entry(key, &entry).map_err(|_| Nonsense { at })?;
            }
        }
    }

    /// A key that was read at `at`. In a slot that is not this keyspace's no client would find it, and there
    /// is no table for it.
    fn own_key<'k>(&self, db: DbIndex, bytes: &'k [u8], at: usize) -> Result<Key<'k>, Nonsense> {
        let key = Key::new(db, bytes);
        if self.slots.contains(&key.slot.0) { Ok(key) } else { Err(Nonsense { at }) }
    }

    fn restore_entry(&mut self, key: Key<'_>, saved: &SavedEntry<'_>) -> Result<(), Nonsense> {
        // Whether it has expired meanwhile is seen when it is looked up.
        const NEVER: UnixMs = UnixMs(0);
        let expiry = saved.expires_at.map_or(Expiry::Clear, Expiry::At);
        let highest = self.sequence.max(saved.version);
        let (entry, kind) = match saved.what {
            SavedWhat::String => {
                let entry = self.place(key, saved.value.len(), expiry, NEVER);
                self.store.value_mut(entry).copy_from_slice(saved.value);
                (entry, if saved.modified_in_place { MODIFIED } else { 0 })
            }
            SavedWhat::Collection | SavedWhat::More => {
                let entry = self.restore_collection(key, saved.what, saved.value, expiry)?;
                (entry, COLLECTION)
            }
            SavedWhat::Outcomes | SavedWhat::Horizon => return self.restore_outcomes(saved),
        };
        self.store.set_version(entry, saved.version);
        self.store.set_kind_and_access(entry, kind, saved.accessed_at);
        self.sequence = highest;
        Ok(())
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
        let mut ahead: Vec<(Option<Key<'_>>, Changed<'_>, usize)> =
            Vec::with_capacity(PREFETCH_KEYS_MAX);
        let mut count = 0;
        let mut highest = self.sequence;
        loop {
            while ahead.len() < PREFETCH_KEYS_MAX {
                let at = changes.at();
                let Some(changed) = changes.next().transpose()? else { break };
                let key = changed.change.key().map(|key| self.own_key(changed.db, key, at));
                ahead.push((key.transpose()?, changed, at));
            }
            if ahead.is_empty() {
                self.sequence = highest;
                return Ok(count);
            }
            count += ahead.len() as u64;
            self.prefetch_all(ahead.iter().filter_map(|(key, ..)| *key));
            for (key, changed, at) in ahead.drain(..) {
                let has_seen = |key| overlaps_snapshot && self.has_seen(key, &changed);
                if !key.is_some_and(has_seen) {
                    self.make_again(key, &changed, time).map_err(|_| Nonsense { at })?;
                }
                highest = highest.max(changed.sequence);
            }
        }
    }

    /// Whether a key's entry is newer than a change. The snapshot may also have missed what was changed, because it
    /// was gone by then: a change of its elements is left out, for there is nothing that it could be made on.
    fn has_seen(&self, key: Key<'_>, changed: &Changed<'_>) -> bool {
        let Some(position) = self.stored(self.spot(key), key.bytes) else {
            return matches!(changed.change, Change::Elements { creates: false, .. });
        };
        let version = self.store.version(position.entry);
        let is_removal = matches!(changed.change, Change::Remove { .. });
        version > changed.sequence || version == changed.sequence && !is_removal
    }

    fn make_again(
        &mut self,
        key: Option<Key<'_>>,
        changed: &Changed<'_>,
        time: UnixMs,
    ) -> Result<(), Nonsense> {
        // What a change of the value or the expiry raises it by.
        self.sequence = changed.sequence.saturating_sub(1);
        match (changed.change, key) {
            (Change::Set { value, expires_at, .. }, Some(key)) => {
                self.set(key, value, expires_at.map_or(Expiry::Clear, Expiry::At), time);
            }
            (Change::Edit { length, offset, bytes, .. }, Some(key)) => {
                if self.holds_collection(key) {
                    return Err(Nonsense { at: 0 });
                }
                let range = offset..offset + bytes.len();
                self.edit(key, length, range.clone(), time, |value| {
                    value[range].copy_from_slice(bytes);
                });
            }
            (Change::Expire { expires_at, .. }, Some(key)) => {
                self.set_expiry(key, expires_at, time);
            }
            (Change::Remove { .. }, Some(key)) => self.remove_whatever_its_time(key),
            (Change::Put { block, .. }, Some(key)) => return self.put_again(key, block, time),
            (Change::Elements { kind, operations, .. }, Some(key)) => {
                return self.make_elements_again(key, kind, operations, time);
            }
            (Change::Flush, _) => self.flush(changed.db),
            (Change::Swap { with }, _) => self.swap_databases(changed.db, with, time),
            (Change::Outcome { client, sequence, floor, outcome }, _) => {
                self.keep_outcome_again(client, (sequence, floor), outcome, changed.sequence);
            }
            (Change::Forget { client, horizon }, _) => {
                self.forget_client_again(client, horizon, changed.sequence);
            }
            (Change::Floor { client, floor }, _) => self.raise_floor_again(client, floor),
            (
                Change::Set { .. }
                | Change::Edit { .. }
                | Change::Expire { .. }
                | Change::Put { .. }
                | Change::Elements { .. }
                | Change::Remove { .. },
                None,
            ) => unreachable!("a change of one key names it"),
        }
        Ok(())
    }

    fn remove_whatever_its_time(&mut self, key: Key<'_>) {
        let spot = self.spot(key);
        if let Some(position) = self.stored(spot, key.bytes) {
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
