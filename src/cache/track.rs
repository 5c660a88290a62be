//! Keys that clients keep copies of (`CLIENT TRACKING`), and which of them have changed.
//!
//! Two kinds of clients want to know. Some are registered with each key that they have read; they are told
//! once, of its first change from then on. Others want to know of all keys that begin with a prefix, each
//! time. Keys go by their names alone here: which database they are in is nothing to a client's copies, as in
//! Redis. The table of keys is bounded: a key that finds it full has another given up, and whoever is
//! registered with that one is told as if it had changed.
//!
//! What has changed is kept until whoever holds the shard takes it. A client that is gone, or tracks no longer,
//! may still be registered.

use std::sync::Arc;

use hashbrown::HashTable;

use super::Keyspace;
use crate::types::ClientId;

/// A client that keeps copies. The keyspace hands it back and does not look into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracker {
    /// The client.
    pub client: ClientId,
    /// Tells what the client tracks now from what it tracked before.
    pub serial: u64,
}

/// A key that has changed, or was given up, and who is to be told.
#[derive(Debug, PartialEq, Eq)]
pub struct OutdatedKey {
    /// The key.
    pub key: Box<[u8]>,
    /// Who has read it.
    pub readers: Vec<Tracker>,
    /// Who wants to know of all keys with this prefix.
    pub by_prefix: Vec<(Arc<[u8]>, Tracker)>,
}

/// What clients are to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outdated {
    /// All keys of a database have gone, or have become others: whatever anybody keeps is old.
    pub is_flushed: bool,
    /// Keys, in order.
    pub keys: Vec<OutdatedKey>,
}

#[derive(Debug)]
struct Tracked {
    hash: u64,
    key: Box<[u8]>,
    /// In the order of their clients.
    readers: Vec<Tracker>,
}

/// All tracked keys and prefixes of a shard, and what has changed.
#[derive(Debug, Default)]
pub(super) struct Tracking {
    keys: Vec<Tracked>,
    /// Places in `keys`.
    index: HashTable<usize>,
    /// Clients registered with keys, those registered with several keys several times.
    items: usize,
    /// Bytes of the names of all keys.
    name_bytes: usize,
    /// Most keys; 0 for no limit.
    pub(super) keys_max: usize,
    /// The place of the key that is given up next.
    hand: usize,
    prefixes: Vec<(Arc<[u8]>, Tracker)>,
    changes: Outdated,
}

impl Tracking {
    pub(super) fn is_any(&self) -> bool {
        !(self.keys.is_empty() && self.prefixes.is_empty())
    }

    pub(super) fn has_changes(&self) -> bool {
        self.changes.is_flushed || !self.changes.keys.is_empty()
    }

    fn add(&mut self, hash: u64, key: &[u8], reader: Tracker) {
        if let Some(place) = self.index.find(hash, |place| *self.keys[*place].key == *key) {
            let readers = &mut self.keys[*place].readers;
            match readers.binary_search_by_key(&reader.client, |other| other.client) {
                // What the client has registered before may be from before it began anew.
                Ok(at) => readers[at] = reader,
                Err(at) => {
                    readers.insert(at, reader);
                    self.items += 1;
                }
            }
            return;
        }
        if self.keys_max > 0 && self.keys.len() >= self.keys_max {
            self.give_up_one();
        }
        let keys = &self.keys;
        self.index.insert_unique(hash, keys.len(), |place| keys[*place].hash);
        self.keys.push(Tracked { hash, key: key.into(), readers: vec![reader] });
        self.items += 1;
        self.name_bytes += key.len();
    }

    /// About the memory that the table takes.
    #[inline]
    pub(super) fn memory_bytes(&self) -> usize {
        const KEY_BYTES: usize = size_of::<Tracked>() + 2 * size_of::<usize>();
        self.name_bytes + self.keys.len() * KEY_BYTES + self.items * size_of::<Tracker>()
    }

    /// Takes the key at a place out; the last takes its place.
    fn take(&mut self, place: usize) -> Tracked {
        let taken = self.keys.swap_remove(place);
        self.items -= taken.readers.len();
        self.name_bytes -= taken.key.len();
        if let Ok(entry) = self.index.find_entry(taken.hash, |other| *other == place) {
            entry.remove();
        }
        if let Some(moved) = self.keys.get(place)
            && let Some(entry) = self.index.find_mut(moved.hash, |at| *at == self.keys.len())
        {
            *entry = place;
        }
        taken
    }

    fn give_up_one(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        // Keys move when others are taken out, so that this is about as good as a random one.
        self.hand = (self.hand + 1) % self.keys.len();
        let Tracked { key, readers, .. } = self.take(self.hand);
        self.changes.keys.push(OutdatedKey { key, readers, by_prefix: Vec::new() });
    }

    /// A key has changed.
    pub(super) fn note(&mut self, hash: u64, key: &[u8]) {
        let matching = self.prefixes.iter().filter(|(prefix, _)| key.starts_with(prefix));
        let by_prefix: Vec<_> = matching.cloned().collect();
        let place = self.index.find(hash, |place| *self.keys[*place].key == *key).copied();
        let tracked = place.map(|place| self.take(place));
        if tracked.is_some() || !by_prefix.is_empty() {
            let readers = tracked.map_or(Vec::new(), |tracked| tracked.readers);
            self.changes.keys.push(OutdatedKey { key: key.into(), readers, by_prefix });
        }
    }

    /// All keys have changed. Takes time by the keys that are tracked, which are bounded.
    pub(super) fn note_all(&mut self) {
        self.keys = Vec::new();
        self.index = HashTable::new();
        self.items = 0;
        self.name_bytes = 0;
        self.changes.is_flushed = true;
    }
}

impl Keyspace {
    /// Has `reader` told of the next change of `key`, whose value it has just been given. The key need not
    /// exist.
    pub fn track(&mut self, key: &[u8], reader: Tracker) {
        let hash = self.store.hash_key(key);
        self.observations.tracking.add(hash, key, reader);
        self.observations.settle();
    }

    /// Has `client` told of every change of a key that begins with `prefix`.
    pub fn track_prefix(&mut self, prefix: Arc<[u8]>, client: Tracker) {
        self.observations.tracking.prefixes.push((prefix, client));
        self.observations.settle();
    }

    /// Ends what [`track_prefix`](Self::track_prefix) began.
    pub fn stop_tracking_prefixes(&mut self, client: Tracker) {
        self.observations.tracking.prefixes.retain(|(_, other)| *other != client);
        self.observations.settle();
    }

    /// This keyspace comes in place of another, whatever that held: clients that keep copies are told so, and those that
    /// want to know of prefixes are told of this one's changes from now on. Settings may have changed since it was begun.
    pub fn take_place_of(&mut self, before: &mut Self) {
        self.thresholds = before.thresholds;
        self.take_settings_of(before);
        self.observations.tracking.prefixes =
            std::mem::take(&mut before.observations.tracking.prefixes);
        self.note_all_tracked();
    }

    /// Sets how many keys may be tracked; 0 for no limit.
    pub fn set_tracked_keys_max(&mut self, keys_max: usize) {
        let tracking = &mut self.observations.tracking;
        tracking.keys_max = keys_max;
        while keys_max > 0 && tracking.keys.len() > keys_max {
            tracking.give_up_one();
        }
        self.observations.settle();
    }

    /// Tracked keys, and clients registered with them.
    pub fn tracked(&self) -> (usize, usize) {
        (self.observations.tracking.keys.len(), self.observations.tracking.items)
    }

    /// What has changed that nobody has been told of.
    pub fn take_outdated(&mut self) -> Outdated {
        let outdated = std::mem::take(&mut self.observations.tracking.changes);
        self.observations.settle();
        outdated
    }
}
