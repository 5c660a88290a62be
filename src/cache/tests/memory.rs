//! What is counted is what the system holds, and it comes back.

use super::{DB, NOW, has, key, keyspace, maintain, name, scan_all, set};
use crate::cache::random::Random;
use crate::cache::slab::Slab;
use crate::cache::{Access, EvictionPolicy, Keyspace};

/// Sets keys of lengths that `length` chooses under a limit, and checks after each that the limit
/// holds. Answers how many bytes of keys and values are left in the end.
fn churn(
    keyspace: &mut Keyspace,
    limit: usize,
    ops: usize,
    length: impl Fn(usize, u64) -> usize,
) -> usize {
    let mut random = Random::new(3);
    let value = vec![1; 300_000];
    for op in 0..ops {
        let bytes = name(random.below(200_000));
        let length = length(op, random.next());
        set(keyspace, &bytes, &value[..length]);
        for _ in 0..2_000 {
            if keyspace.memory().total_bytes() <= limit {
                break;
            }
            assert!(keyspace.evict(EvictionPolicy::AllKeysLru, NOW));
        }
        assert!(keyspace.memory().total_bytes() <= limit + 300_000, "{op}");
    }
    let mut payload = 0;
    let mut cursor = 0;
    loop {
        cursor = keyspace.scan(DB, cursor, 1000, NOW, |entry| {
            payload += entry.key.len() + entry.string().expect("a string").len();
        });
        if cursor == 0 {
            return payload;
        }
    }
}

#[test]
fn memory_is_what_the_system_holds_while_sizes_change() {
    const LIMIT: usize = 24 << 20;
    let mut keyspace = keyspace();
    // Mixed sizes; then ever larger ones, so that small pages must be given up.
    let mixed = |_, random: u64| (random % 1_000) as usize;
    let payload = churn(&mut keyspace, LIMIT, 60_000, mixed);
    assert!(payload > LIMIT * 7 / 10, "{payload}");
    let drifting = |op: usize, random: u64| op / 20 + (random % 400) as usize;
    let payload = churn(&mut keyspace, LIMIT, 40_000, drifting);
    assert!(payload > LIMIT * 6 / 10, "{payload}");
    let with_large = |_, random: u64| {
        if random.is_multiple_of(50) { (random >> 32) as usize % 300_000 } else { 200 }
    };
    let payload = churn(&mut keyspace, LIMIT, 20_000, with_large);
    assert!(payload > LIMIT * 6 / 10, "{payload}");
    keyspace.check();
    let counted = keyspace.memory();
    let resident = keyspace.store.slab.resident_bytes() + keyspace.store.large.resident_bytes();
    let (entries, index) = keyspace.store.slab.touched_bytes();
    let spare = 2 << 20;
    assert!(resident <= entries + index + counted.large_bytes + spare, "{resident}, {counted:?}");
    assert!(resident * 100 >= LIMIT * 90, "{resident}");
}

#[test]
fn sparse_pages_are_emptied() {
    const KEYS: usize = 40_000;
    let mut keyspace = keyspace();
    for number in 0..KEYS {
        set(&mut keyspace, &name(number), &[1; 80]);
    }
    let full = keyspace.memory().entries_bytes;
    for number in (0..KEYS).filter(|number| number % 5 != 0) {
        keyspace.remove(key(&name(number)), NOW);
    }
    assert!(keyspace.memory().entries_bytes > full / 2);
    maintain(&mut keyspace);
    let left = keyspace.memory().entries_bytes;
    assert!(left < full * 26 / 100 + (1 << 19), "{left} of {full}");
    assert_eq!(scan_all(&keyspace, 1000).len(), KEYS / 5);
    keyspace.check();
}

#[test]
fn large_values_are_counted_and_given_back_in_pieces() {
    let mut keyspace = keyspace();
    let value = vec![5; 30 << 20];
    set(&mut keyspace, b"large", &value);
    assert!(keyspace.memory().large_bytes >= value.len());
    assert_eq!(
        keyspace.get(key(b"large"), NOW, Access::Read).map(|e| e.string() == Ok(&value[..])),
        Some(true)
    );
    keyspace.edit(key(b"large"), value.len() + 9, 0..value.len() + 9, NOW, |bytes| {
        assert!(bytes[value.len()..] == [0; 9]);
    });
    set(&mut keyspace, b"large", b"small");
    assert!(keyspace.memory().large_bytes >= value.len(), "given back in one step");
    assert!(maintain(&mut keyspace) >= 30);
    assert!(keyspace.memory().large_bytes < 1 << 16);
    assert_eq!(
        keyspace.get(key(b"large"), NOW, Access::Read).map(|e| e.string().expect("a string").len()),
        Some(5)
    );
    keyspace.check();
}

#[test]
fn a_keyspace_without_address_space_evicts() {
    let mut keyspace = keyspace();
    keyspace.store.slab = Slab::with_reservation(4 << 20);
    let mut refused = 0;
    for number in 0..60_000 {
        refused += usize::from(!keyspace.has_room());
        set(&mut keyspace, &name(number), &[1; 100 + 37]);
    }
    assert!(refused > 1_000 && keyspace.counts().evicted > 10_000);
    assert!(has(&mut keyspace, &name(59_999)));
    keyspace.check();
}

#[test]
fn an_unused_keyspace_is_small() {
    let keyspace = keyspace();
    assert!(keyspace.memory().total_bytes() < 100_000, "{:?}", keyspace.memory());
}

#[test]
fn a_keyspace_may_change_threads() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&keyspace());
}
