//! Keys that are looked at ahead of their use, and hashed once for both.
//!
//! Whoever asks names the slot as well, and is not believed: a key that is found in a slot's table is in
//! that slot, since it was put there so; only of one that is not found the slot is computed.

use super::{Access, EntryRef, Expiry, Keyspace, Spot};
use crate::types::{Key, UnixMs, key_slot};

/// Where a key is to be looked for, in the keyspace that told.
#[derive(Clone, Copy, Debug)]
pub struct Place(Spot);

/// The key is not in the slot that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongSlot;

impl Keyspace {
    /// Appends where `keys` are to be looked for, and has the processor load what commands on them will
    /// touch, as [`prefetch_all`](Self::prefetch_all) does. Their slots must be this keyspace's.
    pub fn look_ahead<'k>(&self, keys: impl Iterator<Item = Key<'k>>, places: &mut Vec<Place>) {
        let first = places.len();
        places.extend(keys.map(|key| Place(self.prefetch_spot(key))));
        for places in places[first..].chunks(super::PREFETCH_KEYS_MAX) {
            self.prefetch_entries(places.iter().map(|place| place.0));
        }
    }

    /// Looks up the key at `place`, as [`get`](Self::get) does.
    ///
    /// # Errors
    /// When it is not there, and can't be.
    #[inline]
    pub fn get_at(
        &mut self,
        Place(spot): Place,
        key: Key<'_>,
        now: UnixMs,
        access: Access,
    ) -> Result<Option<EntryRef<'_>>, WrongSlot> {
        let entry = self.live(spot, key.bytes, now).map(|position| position.entry);
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
        Place(spot): Place,
        key: Key<'_>,
        value: &[u8],
        now: UnixMs,
    ) -> Result<u64, WrongSlot> {
        self.make_room(now);
        let position = self.live(spot, key.bytes, now);
        if position.is_none() && key_slot(key.bytes) != key.slot {
            return Err(WrongSlot);
        }
        let entry = self.place_at(spot, position, key, value.len(), Expiry::Clear, now);
        self.store.value_mut(entry).copy_from_slice(value);
        if self.has_journal() {
            self.note_set(key, entry, value);
        }
        Ok(self.sequence())
    }
}
