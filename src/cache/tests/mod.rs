//! What a user of a keyspace would notice, case by case; `model` has the random operations.

mod ahead;
mod collections;
mod databases;
mod expiry;
mod fields;
mod journal;
mod memory;
mod model;
mod observe;
mod order;
mod outcomes;
mod putting;
mod recall;
mod versions;
mod walks;

use super::{Access, EvictionPolicy, Expiry, Keyspace, KeyspaceOptions};
use crate::types::{DbIndex, Key, SLOT_COUNT, UnixMs};

pub(super) const DB: DbIndex = DbIndex(0);
pub(super) const NOW: UnixMs = UnixMs(1_700_000_000_000);

pub(super) fn keyspace() -> Keyspace {
    Keyspace::new(KeyspaceOptions { slots: 0..SLOT_COUNT, seed: 11, sequence: 0 })
}

pub(super) fn key(bytes: &[u8]) -> Key<'_> {
    Key::new(DB, bytes)
}

pub(super) fn name(number: usize) -> Vec<u8> {
    format!("key:{number:08}").into_bytes()
}

/// A name that shares its slot with all others like it.
pub(super) fn tagged(number: usize) -> Vec<u8> {
    format!("{{one}}{number}").into_bytes()
}

pub(super) fn set(keyspace: &mut Keyspace, bytes: &[u8], value: &[u8]) {
    keyspace.set(key(bytes), value, Expiry::Clear, NOW);
}

pub(super) fn has(keyspace: &mut Keyspace, bytes: &[u8]) -> bool {
    keyspace.contains(key(bytes), NOW, Access::Peek)
}

pub(super) fn maintain(keyspace: &mut Keyspace) -> usize {
    (0..1_000_000).take_while(|_| keyspace.maintain()).count()
}

/// Evicts one key. Memory that waits to be given back would come first.
pub(super) fn evict(keyspace: &mut Keyspace, policy: EvictionPolicy) -> bool {
    while keyspace.has_something_to_give_back() {
        assert!(keyspace.evict(policy, NOW));
    }
    keyspace.evict(policy, NOW)
}

pub(super) fn scan_all(keyspace: &Keyspace, count: usize) -> Vec<Vec<u8>> {
    let (mut cursor, mut keys) = (0, Vec::new());
    loop {
        cursor = keyspace.scan(DB, cursor, count, NOW, |entry| keys.push(entry.key.to_vec()));
        if cursor == 0 {
            return keys;
        }
    }
}
