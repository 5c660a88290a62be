//! Writing one key: set, edit, remove, expiry.

use std::ops::Range;

use super::events::{EventClasses, Why};
use super::extent::{Extent, SharedBytes};
use super::form::{Form, Kind, MODIFIED};
use super::index::{Position, Table};
use super::slab::Handle;
use super::{Expiry, Keyspace, Spot};
use crate::limits::LONG_BYTES_MIN;
use crate::types::{Key, UnixMs};

/// Slab pages that one write may need: one for the entry, the rest for segments of the index.
const WRITE_PAGES: usize = 4;
/// Longest time without use that is remembered: 4 years, well within half of what an entry's bits hold.
const IDLE_MS_MAX: u64 = 1000 << 27;

impl Keyspace {
    /// Sets `key` to `value`, whether it was there or not. One lookup. Clears `modified_in_place`.
    #[inline]
    pub fn set(&mut self, key: Key<'_>, value: &[u8], expiry: Expiry, now: UnixMs) {
        let entry = self.place(key, value.len(), expiry, now);
        self.store.value_mut(entry).copy_from_slice(value);
        if self.journal.is_on() {
            self.note_set(key, entry, value);
        }
    }

    /// Notes in the journal that a key was set.
    #[inline]
    pub(super) fn note_set(&mut self, key: Key<'_>, entry: Handle, value: &[u8]) {
        let at = self.store.expires_at(entry);
        if value.len() > LONG_BYTES_MIN
            && let Some(value) = self.store.shared_value(entry)
        {
            return self.journal.set_long((key.db, key.bytes), value, at, self.sequence);
        }
        self.journal.set((key.db, key.bytes), value, at, self.sequence);
    }

    /// The same with a value that is kept where it lies, unless the key is so long that the two
    /// stand together.
    pub fn set_shared(&mut self, key: Key<'_>, value: SharedBytes, expiry: Expiry, now: UnixMs) {
        let entry = self.place(key, value.len(), expiry, now);
        if self.journal.is_on() {
            let at = self.store.expires_at(entry);
            self.journal.set_long((key.db, key.bytes), value.clone(), at, self.sequence);
        }
        let form = self.store.form(entry);
        if form.kind == Kind::LargeValue {
            let buffer = self.store.buffer(entry, &form);
            self.store.large.adopt(buffer, value);
        } else {
            self.store.value_mut(entry).copy_from_slice(value.bytes());
        }
    }

    /// Memory of a long value that was just overwritten or removed, no longer than `bytes_max`, for the next.
    pub fn take_freed(&mut self, bytes_max: usize) -> Option<Extent> {
        self.store.large.take_freed(bytes_max)
    }

    /// Makes an entry of `key` with room for a value, which is still to be written.
    #[inline]
    pub(super) fn place(
        &mut self,
        key: Key<'_>,
        length: usize,
        expiry: Expiry,
        now: UnixMs,
    ) -> Handle {
        self.make_room(now);
        let spot = self.spot(key);
        let position = self.live(spot, key.bytes, now);
        self.place_at(spot, position, key, length, expiry, now)
    }

    /// The same where it has been looked for, after room was made.
    #[inline]
    pub(super) fn place_at(
        &mut self,
        spot: Spot,
        position: Option<Position>,
        key: Key<'_>,
        length: usize,
        expiry: Expiry,
        now: UnixMs,
    ) -> Handle {
        let entry = match position {
            Some(position) => {
                let entry = position.entry;
                if self.store.is_collection(entry) {
                    self.store.bury_structure(entry);
                }
                let expires_at = match expiry {
                    Expiry::Clear => None,
                    Expiry::Keep => self.store.expires_at(entry),
                    Expiry::At(at) => Some(at),
                };
                let entry = self.rewrite(spot, entry, length, expires_at, None);
                Table::replace(&mut self.store, position, entry);
                entry
            }
            None => {
                let expires_at = match expiry {
                    Expiry::Clear | Expiry::Keep => None,
                    Expiry::At(at) => Some(at),
                };
                self.insert(spot, key, length, expires_at)
            }
        };
        self.advance(entry);
        self.store.set_kind_and_access(entry, 0, now);
        entry
    }

    /// Makes the value of `key` `length` bytes long, creating the key (without expiry) if it is not
    /// there, and lets `edit` change the bytes in `range` of it. Bytes beyond the old length are zero
    /// when `edit` sees them. Keeps the expiry, sets `modified_in_place`. Answers what `edit` answers. A
    /// key that is there holds a string.
    pub fn edit<R>(
        &mut self,
        key: Key<'_>,
        length: usize,
        range: Range<usize>,
        now: UnixMs,
        edit: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        self.make_room(now);
        let spot = self.spot(key);
        let entry = match self.live(spot, key.bytes, now) {
            Some(position) => {
                let entry = position.entry;
                debug_assert!(!self.store.is_collection(entry), "only strings are edited");
                let expires_at = self.store.expires_at(entry);
                let keep = self.store.form(entry).value_len;
                let entry = self.rewrite(spot, entry, length, expires_at, Some(keep));
                Table::replace(&mut self.store, position, entry);
                entry
            }
            None => {
                let entry = self.insert(spot, key, length, None);
                self.store.zero_new_value(entry);
                entry
            }
        };
        self.advance(entry);
        self.store.set_kind_and_access(entry, MODIFIED, now);
        let value = self.store.value_mut(entry);
        let answer = edit(value);
        if self.journal.is_on() {
            let changed = (range.start, &value[range]);
            self.journal.edit((key.db, key.bytes), length, changed, self.sequence);
        }
        answer
    }

    /// Removes `key`; whether it was there.
    pub fn remove(&mut self, key: Key<'_>, now: UnixMs) -> bool {
        let spot = self.spot(key);
        let Some(position) = self.live(spot, key.bytes, now) else { return false };
        self.take_out(spot, position);
        self.note_removed(key);
        true
    }

    /// A key was removed because somebody asked for it.
    pub(super) fn note_removed(&mut self, key: Key<'_>) {
        self.sequence += 1;
        if self.observations.are_any() {
            self.note_key(key.db, key.bytes);
        }
        if self.journal.is_on() {
            self.journal.remove((key.db, key.bytes), true, self.sequence);
        }
    }

    /// Sets or clears the expiry; whether the key was there. A time that has passed removes the key.
    pub fn set_expiry(&mut self, key: Key<'_>, expires_at: Option<UnixMs>, now: UnixMs) -> bool {
        self.make_room(now);
        let spot = self.spot(key);
        let Some(position) = self.live(spot, key.bytes, now) else { return false };
        let entry = position.entry;
        if expires_at.is_some_and(|at| at <= now) && !self.store.spares_expired {
            self.take_out(spot, position);
            self.note_removed(key);
            return true;
        }
        let kind = self.store.kind(entry);
        let length = self.store.form(entry).value_len;
        let entry = self.rewrite(spot, entry, length, expires_at, Some(length));
        Table::replace(&mut self.store, position, entry);
        self.advance(entry);
        self.store.set_kind_and_access(entry, kind, now);
        if self.journal.is_on() {
            self.journal.expire((key.db, key.bytes), expires_at, self.sequence);
        }
        true
    }

    /// Sets the time of the last use; whether the key was there. Does not count as use. What has not
    /// been used for longer than anything else becomes the oldest; else the place in the order of use
    /// stays what it is, since finding the right one would take a search.
    pub fn set_accessed_at(&mut self, key: Key<'_>, accessed_at: UnixMs, now: UnixMs) -> bool {
        let spot = self.spot(key);
        let Some(position) = self.live(spot, key.bytes, now) else { return false };
        let entry = position.entry;
        let earliest = UnixMs(now.0.saturating_sub(IDLE_MS_MAX));
        let accessed_at = accessed_at.max(earliest);
        let is_oldest = self
            .lru
            .oldest()
            .is_none_or(|oldest| accessed_at < self.store.view(oldest, now).accessed_at);
        self.store.set_accessed(entry, accessed_at);
        if is_oldest {
            self.lru.make_oldest(&mut self.store, entry);
        }
        true
    }

    /// Sees to it that the slab can serve the write that follows. Only where the address space of
    /// the shard is used up does this remove entries, whatever the policy: see `has_room`.
    #[inline]
    pub(super) fn make_room(&mut self, now: UnixMs) {
        while !self.store.slab.has_pages(WRITE_PAGES) {
            if !self.evict(super::EvictionPolicy::AllKeysLru, now) {
                break;
            }
        }
    }

    /// Makes an entry for a key that is not there, with a value that is still to be written.
    pub(super) fn insert(
        &mut self,
        spot: Spot,
        key: Key<'_>,
        length: usize,
        at: Option<UnixMs>,
    ) -> Handle {
        let form = Form::new(key.bytes.len(), length, at.is_some());
        let entry = self.store.create(form, key.bytes, spot.table, key.slot, spot.hash);
        let table = self.databases.table_mut(spot.table);
        table.insert(&mut self.store, spot.slot, spot.hash, entry);
        self.link(spot, entry, at);
        self.tell(EventClasses::NEW, "new", key);
        entry
    }

    /// Gives an entry another length and expiry, and makes it the newest. The answer is where it is
    /// now: the index still has to be told.
    pub(super) fn rewrite(
        &mut self,
        spot: Spot,
        entry: Handle,
        length: usize,
        at: Option<UnixMs>,
        keep: Option<usize>,
    ) -> Handle {
        let old = self.store.form(entry);
        if old.expires || at.is_some() || !self.store.fits(entry, &old, length) {
            self.unlink(spot, entry, old.expires);
            let entry = self.store.reform(entry, length, at.is_some(), keep);
            self.link(spot, entry, at);
            return entry;
        }
        let entry = self.store.reform(entry, length, false, keep);
        self.lru.touch(&mut self.store, entry);
        entry
    }

    /// Links an entry into the order of use and, if it expires, the wheel.
    fn link(&mut self, spot: Spot, entry: Handle, at: Option<UnixMs>) {
        self.lru.push(&mut self.store, entry);
        if let Some(at) = at {
            self.store.set_expires_at(entry, at);
            self.wheel.insert(&mut self.store, entry);
            self.databases.table_mut(spot.table).expiring += 1;
        }
    }

    fn unlink(&mut self, spot: Spot, entry: Handle, expires: bool) {
        self.lru.remove(&mut self.store, entry);
        if expires {
            self.wheel.remove(&mut self.store, entry);
            self.databases.table_mut(spot.table).expiring -= 1;
        }
    }

    /// Removes the entry at `position`. Answers how many bytes went back to the system.
    pub(super) fn take_out(&mut self, spot: Spot, position: Position) -> usize {
        let entry = position.entry;
        self.forget_fields(entry);
        self.unlink(spot, entry, self.store.expires(entry));
        let table = self.databases.table_mut(spot.table);
        table.remove(&mut self.store, spot.slot, spot.hash, position);
        self.store.free(entry)
    }

    /// Removes an entry that expired or gives way, and notes it unless its database was flushed, which
    /// was noted then.
    pub(super) fn remove_unasked(&mut self, entry: Handle, why: Why) -> usize {
        if self.observations.are_any() {
            self.note_entry(entry);
        }
        if self.wants_events() {
            self.tell_of_entry(entry, why);
        }
        if self.journal.is_on()
            && let Some(db) = self.databases.db_of(self.store.table(entry))
        {
            self.journal.remove((db, self.store.key(entry)), false, self.sequence);
        }
        self.remove_entry(entry)
    }

    /// Removes an entry of any table.
    fn remove_entry(&mut self, entry: Handle) -> usize {
        let spot = self.spot_of(entry);
        match self.position_of(spot, entry) {
            Some(position) => self.take_out(spot, position),
            None => unreachable!("every entry stands in the index"),
        }
    }
}
