//! Databases that are flushed and exchanged.

use super::{DB, NOW, has, key, keyspace, maintain, name, scan_all, set, tagged};
use crate::cache::{Access, EvictionPolicy, Expiry, Keyspace, KeyspaceOptions};
use crate::types::{DbIndex, Key, SLOT_COUNT, UnixMs};

#[test]
fn flushed_databases_are_empty_at_once_and_cleared_in_steps() {
    let mut keyspace = keyspace();
    for number in 0..20_000 {
        let expiry =
            if number % 3 == 0 { Expiry::Clear } else { Expiry::At(UnixMs(NOW.0 + 5_000)) };
        let bytes = if number % 2 == 0 { name(number) } else { tagged(number) };
        keyspace.set(key(&bytes), &[7; 40], expiry, NOW);
    }
    let full = keyspace.memory().total_bytes();
    keyspace.flush(DB);
    assert_eq!((keyspace.len(DB), keyspace.expiring_len(DB)), (0, 0));
    assert!(!has(&mut keyspace, &name(4)));
    set(&mut keyspace, &name(4), b"new");
    for step in 0..40 {
        assert!(keyspace.maintain());
        if step % 10 == 0 {
            keyspace.check();
            // What is still linked expires and is moved about like anything else.
            keyspace.expire_due(UnixMs(NOW.0 + 9_000), 50);
        }
    }
    assert!(maintain(&mut keyspace) > 10);
    keyspace.check();
    assert_eq!(scan_all(&keyspace, 10), [name(4)]);
    assert_eq!(keyspace.counts().expired, 0);
    let left = keyspace.memory().total_bytes();
    assert!(left < full / 4, "{left} of {full}");
}

#[test]
fn flushing_again_and_again_works() {
    let mut keyspace = keyspace();
    for round in 0..600u16 {
        for number in 0..3 {
            set(&mut keyspace, &name(number), b"v");
        }
        keyspace.swap_databases(DB, DbIndex(1), NOW);
        keyspace.flush(if round % 2 == 0 { DB } else { DbIndex(1) });
        assert!(keyspace.len(DB) + keyspace.len(DbIndex(1)) <= 3);
    }
    keyspace.check();
    maintain(&mut keyspace);
    keyspace.check();
}

#[test]
fn eviction_takes_flushed_keys_first() {
    let mut keyspace = keyspace();
    for number in 0..100 {
        set(&mut keyspace, &name(number), b"v");
    }
    keyspace.swap_databases(DB, DbIndex(3), NOW);
    set(&mut keyspace, b"kept", b"v");
    keyspace.flush(DbIndex(3));
    while keyspace.has_something_to_give_back() {
        assert!(keyspace.evict(EvictionPolicy::VolatileLru, NOW));
    }
    assert_eq!((keyspace.counts().evicted, keyspace.len(DB)), (0, 1));
    keyspace.check();
}

/// Such a change names no key: whichever slots a keyspace has, it is made again.
#[test]
fn flushes_and_exchanges_are_made_again_whichever_slots_there_are() {
    let slots = SLOT_COUNT / 2..SLOT_COUNT;
    let keyspace = || Keyspace::new(KeyspaceOptions { slots: slots.clone(), seed: 3, sequence: 0 });
    let name = (0..).map(name).find(|name| slots.contains(&key(name).slot.0)).expect("one");
    let (mut first, mut second) = (keyspace(), keyspace());
    first.set_journal(true);
    set(&mut first, &name, b"flushed");
    first.flush(DB);
    set(&mut first, &name, b"exchanged");
    first.swap_databases(DB, DbIndex(1), NOW);
    let changes = first.changes(NOW).expect("short changes").to_vec();
    assert_eq!(second.replay(&changes, true), Ok(4));
    assert!(!has(&mut second, &name));
    assert!(second.contains(Key::new(DbIndex(1), &name), NOW, Access::Peek));
}
