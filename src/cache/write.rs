//! Writing one key: set, edit, remove, expiry.

use super::extent::SharedBytes;
use super::form::{Form, Kind};
use super::index::{Position, Table};
use super::slab::Handle;
use super::{Expiry, Keyspace, Spot};
use crate::types::{Key, UnixMs};

/// Slab pages that one write may need: one for the entry, the rest for segments of the index.
const WRITE_PAGES: usize = 4;
/// Longest time without use that is remembered: 8 years, well within half of what an entry's bits hold.
const IDLE_MS_MAX: u64 = 1000 << 28;

impl Keyspace {
    /// Sets `key` to `value`, whether it was there or not. One lookup. Clears `modified_in_place`.
    #[inline]
    pub fn set(&mut self, key: Key<'_>, value: &[u8], expiry: Expiry, now: UnixMs) {
        let entry = self.place(key, value.len(), expiry, now);
        self.store.value_mut(entry).copy_from_slice(value);
    }

    /// The same with a value that is kept where it lies, unless the key is so long that the two
    /// stand together.
    pub fn set_shared(&mut self, key: Key<'_>, value: SharedBytes, expiry: Expiry, now: UnixMs) {
        let entry = self.place(key, value.len(), expiry, now);
        let form = self.store.form(entry);
        if form.kind == Kind::LargeValue {
            let buffer = self.store.buffer(entry, &form);
            self.store.large.adopt(buffer, value);
        } else {
            self.store.value_mut(entry).copy_from_slice(value.bytes());
        }
    }

    /// Makes an entry of `key` with room for a value, which is still to be written.
    #[inline]
    fn place(&mut self, key: Key<'_>, length: usize, expiry: Expiry, now: UnixMs) -> Handle {
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
        self.store.set_accessed(entry, now);
        self.store.set_modified(entry, false);
        entry
    }

    /// Makes the value of `key` `length` bytes long, creating the key (without expiry) if it is not
    /// there, and lets `edit` change it. Bytes beyond the old length are zero when `edit` sees them.
    /// Keeps the expiry, sets `modified_in_place`. Answers what `edit` answers.
    pub fn edit<R>(
        &mut self,
        key: Key<'_>,
        length: usize,
        now: UnixMs,
        edit: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        self.make_room(now);
        let spot = self.spot(key);
        let entry = match self.live(spot, key.bytes, now) {
            Some(position) => {
                let entry = position.entry;
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
        self.store.set_accessed(entry, now);
        self.store.set_modified(entry, true);
        edit(self.store.value_mut(entry))
    }

    /// Removes `key`; whether it was there.
    pub fn remove(&mut self, key: Key<'_>, now: UnixMs) -> bool {
        let spot = self.spot(key);
        let Some(position) = self.live(spot, key.bytes, now) else { return false };
        self.take_out(spot, position);
        self.sequence += 1;
        true
    }

    /// Sets or clears the expiry; whether the key was there. A time that has passed removes the key.
    pub fn set_expiry(&mut self, key: Key<'_>, expires_at: Option<UnixMs>, now: UnixMs) -> bool {
        self.make_room(now);
        let spot = self.spot(key);
        let Some(position) = self.live(spot, key.bytes, now) else { return false };
        let entry = position.entry;
        if expires_at.is_some_and(|at| at <= now) {
            self.take_out(spot, position);
            self.sequence += 1;
            return true;
        }
        let modified = self.store.is_modified(entry);
        let length = self.store.form(entry).value_len;
        let entry = self.rewrite(spot, entry, length, expires_at, Some(length));
        Table::replace(&mut self.store, position, entry);
        self.advance(entry);
        self.store.set_accessed(entry, now);
        self.store.set_modified(entry, modified);
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
    fn insert(&mut self, spot: Spot, key: Key<'_>, length: usize, at: Option<UnixMs>) -> Handle {
        let form = Form::new(key.bytes.len(), length, at.is_some());
        let entry = self.store.create(form, key.bytes, spot.table, key.slot, spot.hash);
        let table = self.databases.table_mut(spot.table);
        table.insert(&mut self.store, spot.slot, spot.hash, entry);
        self.link(spot, entry, at);
        entry
    }

    /// Gives an entry another length and expiry, and makes it the newest. The answer is where it is
    /// now: the index still has to be told.
    fn rewrite(
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
        self.unlink(spot, entry, self.store.expires(entry));
        let table = self.databases.table_mut(spot.table);
        table.remove(&mut self.store, spot.slot, spot.hash, position);
        self.store.free(entry)
    }

    /// Removes an entry of any table.
    pub(super) fn remove_entry(&mut self, entry: Handle) -> usize {
        let spot = self.spot_of(entry);
        match self.position_of(spot, entry) {
            Some(position) => self.take_out(spot, position),
            None => unreachable!("every entry stands in the index"),
        }
    }
}
