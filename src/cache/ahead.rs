//! Keys that are looked at ahead of their use, and hashed and searched for once for both.
//!
//! Looking ahead finds most entries already. They are still there when they are used, unless anything was
//! freed or moved in between, which is rare and known; then the search is done again.
//!
//! Whoever asks names the slot as well, and is not believed: a key that is found in a slot's table is in
//! that slot, since it was put there so; only of one that is not found the slot is computed.

use super::form::Form;
use super::slab::Handle;
use super::{Access, EntryRef, Expiry, Keyspace, Spot};
use crate::types::{Key, UnixMs, key_slot};

/// Where a key is, or is to be looked for, in the keyspace that told.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    spot: Spot,
    /// Its entry, as long as nothing has been freed since; or none.
    entry: Handle,
    /// Objects that had been taken back by then.
    frees: u64,
}

/// The key is not in the slot that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongSlot;

impl Keyspace {
    /// Appends where `keys` are, and has the processor load what commands on them will touch, as
    /// [`prefetch_all`](Self::prefetch_all) does. Their slots must be this keyspace's.
    pub fn look_ahead<'k>(
        &self,
        keys: impl Iterator<Item = Key<'k>> + Clone,
        places: &mut Vec<Place>,
    ) {
        let (first, frees) = (places.len(), self.store.slab.frees());
        let spots = keys.clone().map(|key| self.prefetch_spot(key));
        places.extend(spots.map(|spot| Place { spot, entry: Handle::NONE, frees }));
        for Place { spot, entry, .. } in &mut places[first..] {
            let table = self.databases.table(spot.table);
            *entry = table.likely(&self.store, spot.slot, spot.hash).unwrap_or_default();
            self.store.prefetch(*entry);
        }
        for (Place { entry, .. }, key) in places[first..].iter_mut().zip(keys) {
            if !entry.is_none() && self.store.is_key(*entry, key.bytes) {
                self.lru.prefetch_neighbours(&self.store, *entry);
            } else {
                *entry = Handle::NONE;
            }
        }
    }

    /// The entry that was found ahead, if it is there still and its time has not come.
    #[inline]
    fn found(&self, place: &Place, now: UnixMs) -> Option<Handle> {
        let is_there = !place.entry.is_none()
            && place.frees == self.store.slab.frees()
            && !self.store.is_expired(place.entry, now);
        is_there.then_some(place.entry)
    }

    /// Looks up the key at `place`, as [`get`](Self::get) does.
    ///
    /// # Errors
    /// When it is not there, and can't be.
    #[inline]
    pub fn get_at(
        &mut self,
        place: Place,
        key: Key<'_>,
        now: UnixMs,
        access: Access,
    ) -> Result<Option<EntryRef<'_>>, WrongSlot> {
        let entry = match self.found(&place, now) {
            Some(entry) => Some(entry),
            None => self.live(place.spot, key.bytes, now).map(|position| position.entry),
        };
        if entry.is_none() && key_slot(key.bytes) != key.slot {
            return Err(WrongSlot);
        }
        self.count_lookup(entry, now, access);
        Ok(entry.map(|entry| self.store.view(entry, now)))
    }

    /// Sets the key at `place` to `value` without an expiry, as [`set`](Self::set) does. Answers its
    /// version.
    ///
    /// # Errors
    /// When it can't be there. Nothing has changed then.
    #[inline]
    pub fn set_at(
        &mut self,
        place: Place,
        key: Key<'_>,
        value: &[u8],
        now: UnixMs,
    ) -> Result<u64, WrongSlot> {
        let found = self.found(&place, now);
        let entry = match found.filter(|entry| self.stays(*entry, value.len())) {
            Some(entry) => {
                self.overwrite(entry, value.len(), now);
                entry
            }
            None => {
                self.make_room(now);
                let position = self.live(place.spot, key.bytes, now);
                if position.is_none() && key_slot(key.bytes) != key.slot {
                    return Err(WrongSlot);
                }
                self.place_at(place.spot, position, key, value.len(), Expiry::Clear, now)
            }
        };
        self.store.value_mut(entry).copy_from_slice(value);
        if self.has_journal() {
            self.note_set(key, entry, value);
        }
        Ok(self.sequence())
    }

    /// Whether a string that does not expire stays where it is with a value of another length.
    #[inline]
    fn stays(&self, entry: Handle, length: usize) -> bool {
        let old = self.store.form(entry);
        !old.expires && !self.store.is_collection(entry) && self.store.fits(entry, &old, length)
    }

    /// Gives such an entry a value of another length, which is still to be written.
    #[inline]
    fn overwrite(&mut self, entry: Handle, length: usize, now: UnixMs) {
        let old = self.store.form(entry);
        let new = Form::new(old.key_len, length, false);
        self.store.resize_in_place(entry, &old, &new, None);
        self.lru.touch(&mut self.store, entry);
        self.advance(entry);
        self.store.set_kind_and_access(entry, 0, now);
    }
}
