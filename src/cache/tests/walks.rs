//! Scans, slots and random keys.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::{DB, NOW, key, keyspace, maintain, name, scan_all, set, tagged};
use crate::cache::random::Random;
use crate::cache::{Access, Expiry, Keyspace, KeyspaceOptions};
use crate::types::{SLOT_COUNT, Slot, UnixMs, key_slot};

#[test]
fn an_empty_database_is_scanned_in_one_call() {
    let mut keyspace = keyspace();
    assert_eq!(keyspace.scan(DB, 0, 10, NOW, |_| panic!("visited")), 0);
    set(&mut keyspace, b"k", b"v");
    let mut seen = 0;
    assert_eq!(keyspace.scan(DB, 0, 10, NOW, |_| seen += 1), 0);
    assert_eq!(seen, 1);
    keyspace.remove(key(b"k"), NOW);
    assert_eq!(keyspace.scan(DB, 0, 10, NOW, |_| panic!("visited")), 0);
    assert_eq!(keyspace.scan(DB, u64::MAX, 10, NOW, |_| panic!("visited")), 0);
}

#[test]
fn a_scan_call_is_bounded_when_all_has_expired() {
    let mut keyspace = keyspace();
    for number in 0..5_000 {
        keyspace.set(key(&tagged(number)), b"v", Expiry::At(NOW), NOW);
    }
    let late = UnixMs(NOW.0 + 1);
    let (mut cursor, mut calls) = (0, 0);
    loop {
        cursor = keyspace.scan(DB, cursor, 10, late, |_| panic!("visited"));
        calls += 1;
        if cursor == 0 {
            break;
        }
    }
    assert!((5..50).contains(&calls), "{calls}");
}

#[test]
fn slots_know_their_keys() {
    let mut keyspace =
        Keyspace::new(KeyspaceOptions { slots: 8_000..SLOT_COUNT, seed: 5, sequence: 0 });
    let mut expected: BTreeMap<Slot, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for number in 0..3_000 {
        let bytes =
            if number % 3 == 0 { format!("{{foo}}{number}").into_bytes() } else { name(number) };
        let key = key(&bytes);
        if key.slot.0 >= 8_000 {
            keyspace.set(key, b"v", Expiry::Clear, NOW);
            expected.entry(key.slot).or_default().insert(bytes.clone());
        }
    }
    for (slot, keys) in &expected {
        assert_eq!(keyspace.slot_len(DB, *slot), keys.len());
        let mut found = BTreeSet::new();
        keyspace.slot_keys(DB, *slot, usize::MAX, NOW, |key| assert!(found.insert(key.to_vec())));
        assert_eq!(found, *keys);
        let mut some = 0;
        keyspace.slot_keys(DB, *slot, 2, NOW, |_| some += 1);
        assert_eq!(some, keys.len().min(2));
    }
    assert_eq!(keyspace.slot_len(DB, Slot(3)), 0);
    keyspace.slot_keys(DB, Slot(3), 2, NOW, |_| panic!("visited"));
    keyspace.check();
}

#[test]
fn all_keys_may_share_one_slot() {
    const KEYS: usize = 30_000;
    let mut keyspace = keyspace();
    for number in 0..KEYS {
        set(&mut keyspace, &tagged(number), &number.to_le_bytes());
    }
    keyspace.check();
    assert_eq!(keyspace.slot_len(DB, key_slot(b"{one}")), KEYS);
    for number in 0..KEYS {
        let bytes = tagged(number);
        let entry = keyspace.get(key(&bytes), NOW, Access::Read).expect("it is there");
        assert_eq!(entry.string().expect("a string"), number.to_le_bytes());
    }
    assert_eq!(scan_all(&keyspace, 100).into_iter().collect::<BTreeSet<_>>().len(), KEYS);
    for number in 0..KEYS - 5 {
        assert!(keyspace.remove(key(&tagged(number)), NOW));
    }
    maintain(&mut keyspace);
    keyspace.check();
    assert_eq!(scan_all(&keyspace, 100).len(), 5);
    let memory = keyspace.memory();
    assert!(memory.total_bytes() < 1 << 20, "{memory:?}");
}

#[test]
fn random_keys_are_spread_evenly() {
    const KEYS: usize = 4_000;
    let mut keyspace = keyspace();
    // A slot with a directory, some with a few keys, many with one.
    let names: Vec<_> = (0..KEYS).map(|n| if n < 3_000 { tagged(n) } else { name(n) }).collect();
    for bytes in &names {
        set(&mut keyspace, bytes, b"v");
    }
    let (mut found, mut counts) = (Vec::new(), BTreeMap::<Vec<u8>, usize>::new());
    for _ in 0..KEYS * 10 {
        assert!(keyspace.random_key(DB, NOW, &mut found));
        *counts.entry(found.clone()).or_default() += 1;
    }
    // Poisson with mean 10: nearly all are met, none far too often; the two kinds alike.
    assert!(counts.len() > KEYS - 5, "{}", counts.len());
    assert!(counts.values().all(|count| *count < 35));
    let squares: usize = counts.values().map(|count| count.abs_diff(10).pow(2)).sum();
    let missing = (KEYS - counts.len()) * 100;
    let chi_square = (squares + missing) as f64 / 10.0 / KEYS as f64;
    assert!((0.9..1.1).contains(&chi_square), "{chi_square}");
    keyspace.flush(DB);
    assert!(!keyspace.random_key(DB, NOW, &mut found));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Between the calls of a scan the keyspace grows and shrinks, slots double, halve, split and
    /// merge, and entries move; what is there all the time is visited.
    #[test]
    fn scan_misses_nothing_that_stays(
        seed in any::<u64>(),
        start in 1..6_000usize,
        changes in prop::collection::vec((any::<bool>(), 1..4_000usize), 1..12),
        count in 1..400usize,
        spread in any::<bool>(),
    ) {
        let mut random = Random::new(seed);
        let mut keyspace = Keyspace::new(KeyspaceOptions { slots: 0..SLOT_COUNT, seed, sequence: 0 });
        let naming = if spread { |n: usize| format!("{{{}}}{n}", n % 4).into_bytes() } else { tagged };
        let mut present: BTreeSet<usize> = (0..start).collect();
        for number in 0..start {
            set(&mut keyspace, &naming(number), b"v");
        }
        let mut stayed = present.clone();
        let (mut cursor, mut seen, mut next) = (0, BTreeSet::new(), start);
        let mut changes = changes.into_iter().cycle();
        for _ in 0..100_000 {
            cursor = keyspace.scan(DB, cursor, count, NOW, |entry| {
                seen.insert(entry.key.to_vec());
            });
            if cursor == 0 {
                break;
            }
            let (grow, amount) = changes.next().expect("a cycle");
            if random.below(4) != 0 {
                continue;
            }
            if grow && present.len() < 12_000 {
                for number in next..next + amount {
                    set(&mut keyspace, &naming(number), b"v");
                    present.insert(number);
                }
                next += amount;
            } else {
                let order: Vec<_> = present.iter().copied().collect();
                for _ in 0..amount {
                    let number = order[random.below(order.len())];
                    if present.len() > 3 && present.remove(&number) {
                        keyspace.remove(key(&naming(number)), NOW);
                        stayed.remove(&number);
                    }
                }
            }
            keyspace.maintain();
        }
        assert_eq!(cursor, 0);
        for number in stayed {
            assert!(seen.contains(&naming(number)), "{number} was missed");
        }
        keyspace.check();
    }
}
