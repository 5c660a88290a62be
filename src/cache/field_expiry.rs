//! Hashes with fields that expire, by the time of the first: so such fields go in time, whether anybody looks at
//! them or not.
//!
//! A hash is found again by its table and key: those stay the same when databases are exchanged, and a flushed
//! table keeps its number until it is empty. A hash that makes place for a value of another kind stays here until
//! its time, and is nothing then.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};

use super::slab::Handle;
use super::{EventClasses, Keyspace, Missing};
use crate::collection::{Hash, Kind};
use crate::types::{Key, UnixMs};

/// Fields of one hash that are removed at once.
const FIELDS_AT_ONCE: usize = 64;
/// What a hash takes here besides its key: two nodes and a count, about.
const BYTES_PER_HASH: usize = 112;

/// A table and a key in it.
type Name = (u8, Arc<[u8]>);

/// The same, not owned: to look it up.
#[derive(Hash)]
struct NameRef<'a>(u8, &'a [u8]);

impl Equivalent<Name> for NameRef<'_> {
    fn equivalent(&self, (table, key): &Name) -> bool {
        self.0 == *table && *self.1 == **key
    }
}

/// All hashes with fields that expire.
#[derive(Debug, Default)]
pub(super) struct FieldExpiries {
    by_time: BTreeSet<(UnixMs, Name)>,
    times: HashMap<Name, UnixMs>,
    keys_bytes: usize,
}

impl FieldExpiries {
    #[inline]
    pub(super) fn are_any(&self) -> bool {
        !self.times.is_empty()
    }

    /// Bytes of memory, about.
    pub(super) fn memory_bytes(&self) -> usize {
        self.times.len() * BYTES_PER_HASH + self.keys_bytes
    }

    fn set(&mut self, table: u8, key: &[u8], at: UnixMs) {
        let name: Name = (table, key.into());
        match self.times.insert(name.clone(), at) {
            Some(before) if before == at => return,
            Some(before) => {
                self.by_time.remove(&(before, name.clone()));
            }
            None => self.keys_bytes += key.len(),
        }
        self.by_time.insert((at, name));
    }

    pub(super) fn remove(&mut self, table: u8, key: &[u8]) {
        if let Some((name, at)) = self.times.remove_entry(&NameRef(table, key)) {
            self.by_time.remove(&(at, name));
            self.keys_bytes -= key.len();
        }
    }

    fn first_due(&self, now: UnixMs) -> Option<Name> {
        let (at, name) = self.by_time.first()?;
        (*at <= now).then(|| name.clone())
    }
}

impl Keyspace {
    /// Notes when the first field of a collection expires that has changed, if it is a hash.
    #[inline]
    pub(super) fn note_fields(&mut self, entry: Handle, kind: Kind) {
        if kind == Kind::Hash {
            let soonest = self.view_of::<Hash>(entry).and_then(|hash| hash.soonest_expiry());
            self.note_first_field(entry, kind, soonest);
        }
    }

    /// The same where it is known.
    #[inline]
    pub(super) fn note_first_field(&mut self, entry: Handle, kind: Kind, soonest: Option<UnixMs>) {
        if kind == Kind::Hash && (soonest.is_some() || self.field_expiries.are_any()) {
            self.set_first_field(entry, soonest);
        }
    }

    #[cold]
    #[inline(never)]
    fn set_first_field(&mut self, entry: Handle, soonest: Option<UnixMs>) {
        let (table, key) = (self.store.table(entry), self.store.key(entry));
        match soonest {
            Some(at) => self.field_expiries.set(table, key, at),
            None => self.field_expiries.remove(table, key),
        }
    }

    /// Forgets an entry that is about to go.
    #[inline]
    pub(super) fn forget_fields(&mut self, entry: Handle) {
        if self.field_expiries.are_any() {
            self.field_expiries.remove(self.store.table(entry), self.store.key(entry));
        }
    }

    /// Removes fields whose time has come, about as many as are `left`.
    pub(super) fn expire_fields(&mut self, now: UnixMs, left: &mut usize) {
        while *left > 0
            && let Some((table, key)) = self.field_expiries.first_due(now)
        {
            let db = self.databases.db_of(table);
            let removed = db.map_or(0, |db| self.remove_fields(Key::new(db, &key), now));
            self.cut_changes();
            if removed == 0 {
                // It is no such hash any more.
                self.field_expiries.remove(table, &key);
            }
            *left = left.saturating_sub(1 + removed);
        }
    }

    fn remove_fields(&mut self, key: Key<'_>, now: UnixMs) -> usize {
        let removed = self.change::<Hash, _>(key, Missing::Skip, now, |hash, edit| {
            hash.remove_expired(now, FIELDS_AT_ONCE, edit)
        });
        let removed = removed.ok().flatten().unwrap_or(0);
        self.counts.expired_fields += removed as u64;
        if removed > 0 && self.wants_events() {
            self.tell(EventClasses::HASH, "hexpired", key);
            if self.find_live(key, now).is_none() {
                self.tell(EventClasses::GENERIC, "del", key);
            }
        }
        removed
    }
}
