//! Gets and sets without conditions, as bursts of the binary protocol are made of: the same work as the
//! commands', with the key looked for once.

use super::Shard;
use crate::cache::{Access, EntryRef, Place, WrongSlot};
use crate::config::Durability;
use crate::types::{Key, Now};

impl Shard {
    /// Whether a write needs no room made for it first, and can be given `durability`, if any is asked for.
    #[inline]
    pub fn has_room(&self, durability: Option<Durability>) -> bool {
        self.is_serving() && !self.is_over_limit() && self.check_log(durability).is_ok()
    }

    /// What `get` of the binary protocol finds.
    ///
    /// # Errors
    /// When the key is in another slot than was named.
    #[inline]
    pub fn get_plain(
        &mut self,
        place: Place,
        key: Key<'_>,
        now: Now,
        access: Access,
    ) -> Result<Option<EntryRef<'_>>, WrongSlot> {
        self.keyspace.get_at(place, key, now.unix, access)
    }

    /// What `set` of the binary protocol does, where there [is room](Self::has_room). Answers the key's
    /// version.
    ///
    /// # Errors
    /// When the key is in another slot than was named. Nothing has changed then.
    #[inline]
    pub fn set_plain(
        &mut self,
        place: Place,
        key: Key<'_>,
        value: &[u8],
        now: Now,
    ) -> Result<u64, WrongSlot> {
        let version = self.keyspace.set_at(place, key, value, now.unix)?;
        self.keyspace.count_change();
        Ok(version)
    }
}
