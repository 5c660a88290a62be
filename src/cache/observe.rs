//! Keys that somebody observes: who wants to know when they change, and which of them have.
//!
//! Whoever observes a key is told once, of its first change from then on: that its value or its expiry
//! was written, that it came, or that it went, for whatever reason. A key that is written while it is
//! not there changes too, so what is observed need not exist. What has changed is noted here and handed
//! to whoever holds the shard, who knows what it means to the observer: a transaction that must not run
//! (`WATCH`), or clients that wait for it to hold something (`BLPOP`).
//!
//! ```text
//! observe ──► keys ── change ──► notes ──► take_notes
//!               └── stop_observing
//! ```
//!
//! Where nothing is observed a change costs a look at one flag. Every change of an entry passes
//! `advance`, and every removal one of three places; so nothing that changes keys need know of this, but for
//! a command that counts as a change where it changes nothing.
//! Flushing and exchanging databases take time by the keys that are observed.

use hashbrown::HashTable;

use super::Keyspace;
use super::slab::Handle;
use super::track::Tracking;
use crate::types::{ClientId, DbIndex, Key, UnixMs};

/// Who observes a key. The keyspace hands it back and does not look into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observer {
    /// A transaction that must not run if the key has changed.
    Transaction {
        /// The client.
        client: ClientId,
        /// Tells what the client observes now from what it observed before.
        serial: u64,
    },
    /// Clients that wait for the key to hold something; the shard knows which.
    Waiting,
}

/// A key and who observes it; as a note, a key that has changed and who is to be told.
#[derive(Debug, PartialEq, Eq)]
pub struct Observed {
    /// The database.
    pub db: DbIndex,
    /// The key.
    pub key: Box<[u8]>,
    /// At least one.
    pub observers: Vec<Observer>,
    hash: u64,
}

/// All observed keys of a shard, and those among them that have changed.
#[derive(Debug, Default)]
pub(super) struct Observations {
    keys: HashTable<Observed>,
    notes: Vec<Observed>,
    pub(super) tracking: Tracking,
    /// Whether any key is observed or tracked: all that a change looks at.
    is_any: bool,
    /// Whether there is something to be taken: all that a command looks at.
    has_news: bool,
}

impl Observations {
    /// Whether any key is observed or tracked.
    #[inline]
    pub(super) fn are_any(&self) -> bool {
        self.is_any
    }

    /// Something was added or taken.
    pub(super) fn settle(&mut self) {
        self.is_any = !self.keys.is_empty() || self.tracking.is_any();
        self.has_news = !self.notes.is_empty() || self.tracking.has_changes();
    }

    fn add(&mut self, hash: u64, (db, key): (DbIndex, &[u8]), observer: Observer) {
        let is_it = |observed: &Observed| observed.db == db && *observed.key == *key;
        match self.keys.find_mut(hash, is_it) {
            Some(observed) if observed.observers.contains(&observer) => {}
            Some(observed) => observed.observers.push(observer),
            None => {
                let observed = Observed { db, key: key.into(), observers: vec![observer], hash };
                self.keys.insert_unique(hash, observed, |observed| observed.hash);
            }
        }
        self.settle();
    }

    fn remove(&mut self, hash: u64, (db, key): (DbIndex, &[u8]), observer: Observer) {
        let is_it = |observed: &Observed| observed.db == db && *observed.key == *key;
        let Ok(mut found) = self.keys.find_entry(hash, is_it) else { return };
        found.get_mut().observers.retain(|other| *other != observer);
        if found.get().observers.is_empty() {
            found.remove();
        }
        self.settle();
    }

    /// A key has changed.
    fn note(&mut self, hash: u64, (db, key): (DbIndex, &[u8])) {
        let is_it = |observed: &Observed| observed.db == db && *observed.key == *key;
        if let Ok(found) = self.keys.find_entry(hash, is_it) {
            self.notes.push(found.remove().0);
        }
        self.tracking.note(hash, key);
        self.settle();
    }

    /// A copy of the names of what is observed in some databases.
    fn names_in(&self, dbs: &[DbIndex]) -> Vec<(DbIndex, Box<[u8]>)> {
        let there = self.keys.iter().filter(|observed| dbs.contains(&observed.db));
        there.map(|observed| (observed.db, observed.key.clone())).collect()
    }
}

impl Keyspace {
    /// Has `observer` told of the next change of `key`. That its time has come already is none: then it
    /// goes before it is observed.
    pub fn observe(&mut self, key: Key<'_>, observer: Observer, now: UnixMs) {
        let spot = self.spot(key);
        self.live(spot, key.bytes, now);
        self.observations.add(spot.hash, (key.db, key.bytes), observer);
    }

    /// Does not have `observer` told any more, unless it is noted already.
    pub fn stop_observing(&mut self, (db, key): (DbIndex, &[u8]), observer: Observer) {
        if self.observations.are_any() {
            self.observations.remove(self.store.hash_key(key), (db, key), observer);
        }
    }

    /// Whether somebody is to be told of something: of keys that have changed, or of events.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.observations.has_news || self.events.are_any()
    }

    /// Whether nobody is to be told of anything, whatever comes next.
    pub fn is_unobserved(&self) -> bool {
        !self.observations.are_any() && !self.wants_events() && !self.has_news()
    }

    /// The observed keys that have changed, in order. They are observed no longer.
    pub fn take_notes(&mut self) -> Vec<Observed> {
        let notes = std::mem::take(&mut self.observations.notes);
        self.observations.settle();
        notes
    }

    /// Notes that an entry has changed or is about to go.
    #[cold]
    #[inline(never)]
    pub(super) fn note_entry(&mut self, entry: Handle) {
        // What was flushed was noted then.
        let Some(db) = self.databases.db_of(self.store.table(entry)) else { return };
        let key = self.store.key(entry);
        self.observations.note(self.store.hash_key(key), (db, key));
    }

    /// Notes that a key has gone.
    #[cold]
    #[inline(never)]
    pub(super) fn note_key(&mut self, db: DbIndex, key: &[u8]) {
        self.observations.note(self.store.hash_key(key), (db, key));
    }

    /// Has those who observe or track a key told, though it stays as it is: for a command that Redis takes for a
    /// change whatever it does.
    pub fn note_unchanged(&mut self, key: Key<'_>) {
        if self.observations.are_any() {
            self.note_key(key.db, key.bytes);
        }
    }

    /// Notes what a flush is about to remove.
    pub(super) fn note_flush(&mut self, db: DbIndex) {
        for (_, key) in self.observations.names_in(&[db]) {
            if self.stored(self.spot(Key::new(db, &key)), &key).is_some() {
                self.note_key(db, &key);
            }
        }
    }

    /// Notes that whatever clients keep copies of may have gone.
    /// Tells all who observe or track keys that these may have changed: the keyspace is about to be somebody else's to
    /// change.
    pub fn outdate_all(&mut self) {
        (0..crate::limits::DATABASES).for_each(|db| self.note_flush(DbIndex(db)));
        self.note_all_tracked();
    }

    pub(super) fn note_all_tracked(&mut self) {
        self.observations.tracking.note_all();
        self.observations.settle();
    }

    /// Notes what exchanging two databases is about to change: all keys that one of them has at least.
    /// A key that is gone by its time is none, whichever it is in.
    pub(super) fn note_swap(&mut self, a: DbIndex, b: DbIndex, now: UnixMs) {
        for (db, key) in self.observations.names_in(&[a, b]) {
            let spots = [a, b].map(|db| self.spot(Key::new(db, &key)));
            for spot in spots {
                self.live(spot, &key, now);
            }
            if spots.iter().any(|spot| self.stored(*spot, &key).is_some()) {
                self.note_key(db, &key);
            }
        }
    }
}
