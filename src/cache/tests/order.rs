//! Which key is evicted, and what counts as use.

use std::collections::BTreeMap;

use super::{DB, NOW, evict, has, key, keyspace, name, scan_all, set, tagged};
use crate::cache::{Access, EvictionPolicy, Expiry, KeyspaceCounts};
use crate::types::{DbIndex, Key, UnixMs};

#[test]
fn lru_evicts_in_the_order_of_use_over_all_databases() {
    let mut keyspace = keyspace();
    for number in 0..9 {
        let bytes = name(number);
        let db = DbIndex(u8::try_from(number % 3).expect("small"));
        keyspace.set(Key::new(db, &bytes), b"v", Expiry::Clear, NOW);
    }
    let touched = name(0);
    assert!(keyspace.get(key(&touched), NOW, Access::Read).is_some());
    let peeked = name(3);
    assert!(keyspace.get(key(&peeked), NOW, Access::Peek).is_some());
    assert!(keyspace.get(key(&peeked), NOW, Access::ReadNoTouch).is_some());
    for number in [1, 2, 3, 4, 5, 6, 7, 8, 0] {
        let (bytes, db) = (name(number), DbIndex(u8::try_from(number % 3).expect("small")));
        assert!(keyspace.contains(Key::new(db, &bytes), NOW, Access::Peek));
        assert!(evict(&mut keyspace, EvictionPolicy::AllKeysLru));
        assert!(!keyspace.contains(Key::new(db, &bytes), NOW, Access::Peek), "{number}");
    }
    assert!(!evict(&mut keyspace, EvictionPolicy::AllKeysLru));
    assert!(!keyspace.evictable(EvictionPolicy::AllKeysLru));
    assert_eq!(keyspace.counts().evicted, 9);
}

/// As after a snapshot, which holds keys in the order of their hashes.
#[test]
fn what_was_restored_is_evicted_in_the_order_of_its_last_use() {
    let mut old = keyspace();
    let mut saved = crate::cache::Saved::default();
    let used_at = |number: usize| UnixMs(NOW.0 + number as u64 * 7 % 500 * 1000);
    for number in 0..500 {
        let expiry = match number % 3 {
            0 => Expiry::At(UnixMs(NOW.0 + 10_000_000)),
            _ => Expiry::Clear,
        };
        old.set(key(&name(number)), b"v", expiry, used_at(number));
    }
    let cursor = old.save_entries(crate::cache::SaveCursor::default(), 1 << 20, NOW, &mut saved);
    assert!(cursor.is_done() && saved.entries == 500);
    let mut new = keyspace();
    let bytes = saved.bytes().expect("short values");
    assert_eq!(new.restore_entries(bytes), Ok(500));
    new.order_by_use(UnixMs(NOW.0 + 600_000));
    new.check();
    let mut order: Vec<usize> = (0..500).collect();
    order.sort_by_key(|number| used_at(*number));
    for (count, number) in order.into_iter().enumerate() {
        let (bytes, now) = (name(number), UnixMs(NOW.0 + 600_000));
        assert!(new.contains(key(&bytes), now, Access::Peek), "{number} went too early");
        assert!(new.evict(EvictionPolicy::AllKeysLru, now));
        assert_eq!(new.len(DB), 499 - count);
        assert!(!new.contains(key(&bytes), now, Access::Peek), "{number} stayed");
    }
}

#[test]
fn volatile_lru_passes_what_does_not_expire_once_and_in_bounded_steps() {
    let mut keyspace = keyspace();
    let at = Expiry::At(UnixMs(NOW.0 + 60_000));
    keyspace.set(key(&name(9_001)), b"v", at, NOW);
    for number in 0..5_000 {
        set(&mut keyspace, &name(number), b"v");
    }
    keyspace.set(key(&name(9_002)), b"v", at, NOW);
    assert!(evict(&mut keyspace, EvictionPolicy::VolatileLru));
    assert!(!has(&mut keyspace, &name(9_001)));
    keyspace.set(key(&name(9_003)), b"v", at, NOW);
    let mut calls = 0;
    while has(&mut keyspace, &name(9_002)) {
        assert!(keyspace.evictable(EvictionPolicy::VolatileLru));
        evict(&mut keyspace, EvictionPolicy::VolatileLru);
        calls += 1;
    }
    assert!((6..50).contains(&calls), "{calls}");
    // An old key that gains an expiry becomes the newest, and is found after 9,003.
    assert!(keyspace.set_expiry(key(&name(17)), Some(UnixMs(NOW.0 + 5)), NOW));
    assert!(evict(&mut keyspace, EvictionPolicy::VolatileLru));
    assert!(!has(&mut keyspace, &name(9_003)));
    assert!(evict(&mut keyspace, EvictionPolicy::VolatileLru));
    assert!(!has(&mut keyspace, &name(17)));
    while evict(&mut keyspace, EvictionPolicy::VolatileLru) {}
    assert!(!keyspace.evictable(EvictionPolicy::VolatileLru));
    assert_eq!((keyspace.len(DB), keyspace.counts().evicted), (4_999, 4));
}

#[test]
fn volatile_ttl_prefers_little_time_left() {
    let mut keyspace = keyspace();
    for number in 0..200 {
        let at = UnixMs(NOW.0 + 1_000 * (1 + (number * 77 % 200) as u64));
        keyspace.set(key(&name(number)), b"v", Expiry::At(at), NOW);
    }
    while keyspace.expire_due(NOW, 10) {}
    for _ in 0..100 {
        assert!(evict(&mut keyspace, EvictionPolicy::VolatileTtl));
    }
    let left = scan_all(&keyspace, 1000);
    assert!(left.len() >= 100);
    let far = |number: usize| number * 77 % 200 >= 100;
    let right = (0..200).filter(|number| far(*number) == left.contains(&name(*number))).count();
    assert!(right > 195, "{right}");
}

/// Keys that expire within days, in any order: what goes is what expires first, but for keys that
/// expire within the same minutes.
#[test]
fn volatile_ttl_looks_days_ahead() {
    const KEYS: usize = 5_000;
    const DAY_MS: usize = 24 * 3_600_000;
    let mut keyspace = keyspace();
    while keyspace.expire_due(NOW, 10) {}
    let rank = |number: usize| number * 7_919 % KEYS;
    for number in 0..KEYS {
        let ms = 1_000 + rank(number) * 20 * DAY_MS / KEYS;
        keyspace.set(key(&name(number)), b"v", Expiry::At(UnixMs(NOW.0 + ms as u64)), NOW);
    }
    for _ in 0..KEYS / 2 {
        assert!(evict(&mut keyspace, EvictionPolicy::VolatileTtl));
    }
    let wrong = (0..KEYS)
        .filter(|number| has(&mut keyspace, &name(*number)) != (rank(*number) >= KEYS / 2))
        .count();
    assert!(wrong <= 4, "{wrong}");
    // The same once the horizon has come to them, and nothing expires early or late.
    let later = UnixMs(NOW.0 + 15 * DAY_MS as u64);
    while keyspace.expire_due(later, 100) {}
    keyspace.check();
    let left = keyspace.len(DB);
    assert!(left.abs_diff(KEYS / 4) <= 1, "{left}");
    for _ in 0..left / 2 {
        assert!(keyspace.evict(EvictionPolicy::VolatileTtl, later));
    }
    let last_half = |number: usize| rank(number) >= KEYS - left / 2;
    let kept = (0..KEYS).filter(|number| last_half(*number));
    let missing = kept.filter(|number| !has(&mut keyspace, &name(*number))).count();
    assert!(missing <= 4, "{missing}");
}

#[test]
fn random_policies_take_every_key_with_equal_chance() {
    let mut first = BTreeMap::new();
    let mut keyspace = keyspace();
    for _ in 0..4_000 {
        for number in 0..40 {
            let expiry =
                if number % 2 == 0 { Expiry::Clear } else { Expiry::At(UnixMs(NOW.0 + 9)) };
            let bytes = if number < 20 { name(number) } else { tagged(number) };
            keyspace.set(key(&bytes), b"v", expiry, NOW);
        }
        assert!(evict(&mut keyspace, EvictionPolicy::AllKeysRandom));
        for number in 0..40 {
            let bytes = if number < 20 { name(number) } else { tagged(number) };
            if !has(&mut keyspace, &bytes) {
                *first.entry(number).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(first.len(), 40);
    assert!(first.values().all(|count| (60..150).contains(count)), "{first:?}");
    for _ in 0..19 {
        while !evict(&mut keyspace, EvictionPolicy::VolatileRandom) {}
    }
    assert!(keyspace.expiring_len(DB) <= 1 && keyspace.len(DB) >= 19);
}

#[test]
fn access_times_are_kept_in_seconds() {
    let mut keyspace = keyspace();
    for seconds in [1, 1_700_000_000, 4_000_000_000] {
        set(&mut keyspace, b"k", b"v");
        let then = UnixMs(seconds * 1000 + 678);
        assert!(keyspace.contains(key(b"k"), then, Access::Read));
        for later in [0, 5, 100_000_000] {
            let now = UnixMs(then.0 + later * 1000);
            let entry = keyspace.get(key(b"k"), now, Access::Peek).expect("it is there");
            assert_eq!(entry.accessed_at, UnixMs(seconds * 1000));
        }
    }
}

#[test]
fn lookups_count_as_their_access_says() {
    let mut keyspace = keyspace();
    set(&mut keyspace, b"k", b"v");
    for access in [Access::Read, Access::ReadNoTouch, Access::Write, Access::Peek] {
        assert!(keyspace.contains(key(b"k"), NOW, access));
        assert!(!keyspace.contains(key(b"none"), NOW, access));
    }
    keyspace.count_change();
    let counts = keyspace.counts();
    assert_eq!((counts.hits, counts.misses, counts.changes), (2, 2, 1));
    keyspace.reset_counts();
    assert_eq!(keyspace.counts(), KeyspaceCounts::default());
}
