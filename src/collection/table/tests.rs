//! Tables against maps of the standard library.

use super::{Bytes, Nothing, Payload, SEGMENT_ENTRIES, Table, Word};
use std::collections::{HashMap, HashSet};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }
}

impl<P: Payload> Table<P> {
    /// Panics unless all that is counted is what is there.
    fn check(&self) {
        let segments: Vec<_> = self.chunks.iter().flatten().collect();
        assert_eq!(segments.len(), self.segments);
        let sum = |of: fn(&super::Segment) -> usize| segments.iter().map(|s| of(s)).sum::<usize>();
        assert_eq!(sum(super::Segment::count), self.len);
        assert_eq!(sum(super::Segment::bytes), self.bytes);
        let heads = self.chunks.iter().map(super::vec_bytes).sum::<usize>();
        let heap = sum(super::Segment::heap_bytes) + heads + super::vec_bytes(&self.chunks);
        assert_eq!(heap, self.heap);
        for (index, segment) in segments.iter().enumerate() {
            for entry in segment.entries() {
                assert_eq!(self.index_of(self.hash(P::read(entry).0)), index);
            }
        }
    }
}

fn numbered(number: usize) -> Vec<u8> {
    format!("member:{number}").into_bytes()
}

/// A key of a length of every kind, always the same for a number.
fn key_of(number: usize) -> Vec<u8> {
    let mut key = numbered(number);
    match number % 16 {
        0 => key.resize(250 + number / 16 % 10, b'.'),
        1 => key.resize(120 + number / 16 % 16, b'.'),
        2 => key.resize(3000, b'.'),
        _ => {}
    }
    key
}

/// Random changes to a table and a map; `value` makes up a value.
fn compare_with_map<P: Payload>(
    seed: u64,
    rounds: usize,
    value: impl for<'a> Fn(&'a [u8]) -> P::Value<'a>,
    seen: impl Fn(P::Value<'_>) -> Vec<u8>,
) {
    let mut random = Random(seed);
    let mut table = Table::<P>::new(seed);
    let mut map: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    for round in 0..rounds {
        // Waves of growth and decline.
        let grows = random.below(10) < if round / 2000 % 2 == 0 { 8 } else { 2 };
        let key = key_of(random.below(3000));
        if grows {
            let length = [8, 8, 8, 240, 250, 260, 900][random.below(7)];
            let bytes = random.next().to_le_bytes().repeat(length / 8);
            let is_new = table.insert(&key, value(&bytes));
            assert_eq!(is_new, map.insert(key, seen(value(&bytes))).is_none());
        } else {
            assert_eq!(table.remove(&key), map.remove(&key).is_some());
        }
        let other = key_of(random.below(3000));
        assert_eq!(table.get(&other).map(&seen), map.get(&other).cloned());
        assert_eq!(table.contains(&other), map.contains_key(&other));
        assert_eq!(table.len(), map.len());
        if round % 1000 == 0 {
            table.check();
            let all: HashMap<_, _> = table.iter().map(|(k, v)| (k.to_vec(), seen(v))).collect();
            assert_eq!(all, map);
        }
    }
    table.check();
}

#[test]
fn a_table_is_what_a_map_is() {
    compare_with_map::<Nothing>(1, 12_000, |_| (), |()| Vec::new());
    compare_with_map::<Word>(
        2,
        12_000,
        |bytes| u64::from_le_bytes(*bytes.first_chunk().expect("eight")),
        |word| word.to_le_bytes().to_vec(),
    );
    compare_with_map::<Bytes>(3, 12_000, |bytes| bytes, <[u8]>::to_vec);
}

#[test]
fn empty_keys_and_values_are_keys_and_values() {
    let mut table = Table::<Bytes>::new(0);
    assert!(table.insert(b"", b""));
    assert!(!table.insert(b"", b"v"));
    assert_eq!((table.get(b""), table.len()), (Some(&b"v"[..]), 1));
    assert!(table.remove(b"") && table.is_empty());
}

#[test]
fn a_scan_meets_all_that_stay_whatever_comes_and_goes() {
    let mut random = Random(7);
    for (grown, shrunk) in [(0, 0), (200, 0), (0, 200), (300, 300), (0, 2000), (2000, 0)] {
        let mut table = Table::<Nothing>::new(random.next());
        let stay: Vec<_> = (0..500).map(numbered).collect();
        let mut others: Vec<_> = (500..20_000).map(numbered).collect();
        stay.iter().chain(&others[..10_000]).for_each(|key| {
            table.insert(key, ());
        });
        let mut absent = others.split_off(10_000);
        let (mut seen, mut cursor, mut steps) = (HashSet::new(), 0, 0);
        loop {
            cursor = table.scan(cursor, 100, |key, ()| {
                seen.insert(key.to_vec());
            });
            if cursor == 0 {
                break;
            }
            steps += 1;
            assert!(steps < 10_000);
            for _ in 0..grown.min(absent.len()) {
                let key = absent.swap_remove(random.below(absent.len()));
                table.insert(&key, ());
                others.push(key);
            }
            for _ in 0..shrunk.min(others.len()) {
                let key = others.swap_remove(random.below(others.len()));
                table.remove(&key);
                absent.push(key);
            }
        }
        assert!(stay.iter().all(|key| seen.contains(key)), "{grown} {shrunk}");
        table.check();
    }
}

#[test]
fn a_scan_of_a_table_at_rest_meets_each_once_whatever_the_cursor() {
    let mut table = Table::<Word>::new(7);
    (0..777).for_each(|n| assert!(table.insert(&numbered(n), n as u64)));
    let mut seen = Vec::new();
    let mut cursor = 0;
    loop {
        cursor = table.scan(cursor, 1, |_, n| seen.push(n));
        if cursor == 0 {
            break;
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..777).collect::<Vec<_>>());
    for cursor in [1, u64::from(u32::MAX), u64::MAX, 1 << 32] {
        table.scan(cursor, usize::MAX, |_, _| ());
    }
    assert_eq!(Table::<Nothing>::new(0).scan(5, 10, |_, ()| ()), 0);
}

#[test]
fn what_a_pass_meets_fills_another_table_evenly() {
    let mut table = Table::<Word>::new(7);
    (0..50_000).for_each(|n| assert!(table.insert(&numbered(n), n as u64)));
    let mut other = Table::<Word>::new(7);
    let (mut at, mut fullest) = (0, 0);
    loop {
        at = table.pass(at, 100, |key, n| assert!(other.insert(key, n)));
        let counts = (0..other.segments).map(|segment| other.segment(segment).count());
        fullest = fullest.max(counts.max().unwrap_or_default());
        if at == 0 {
            break;
        }
    }
    assert_eq!(other.len(), table.len());
    assert!(fullest < 4 * SEGMENT_ENTRIES, "{fullest}");
    assert_eq!(table.pass(usize::MAX, 100, |_, _| panic!("visited")), 0);
    assert_eq!(Table::<Nothing>::new(0).pass(0, 10, |_, ()| ()), 0);
}

/// The greatest deviation is a matter of the seeds.
#[test]
fn each_entry_is_picked_equally_often() {
    for len in [1, 2, 57, 60, 85, 300] {
        let mut random = Random(len as u64);
        let mut table = Table::<Word>::new(9);
        (0..len).for_each(|n| assert!(table.insert(&numbered(n), n as u64)));
        let mut hits = vec![0; len];
        for _ in 0..1000 * len {
            let spot = table.random(|bound| random.below(bound)).expect("one");
            hits[usize::try_from(table.entry(spot).1).expect("small")] += 1;
        }
        assert!(hits.iter().all(|hits| (840..1160).contains(hits)), "{len}: {hits:?}");
    }
    assert_eq!(Table::<Word>::new(9).random(|_| 0), None);
}

#[test]
fn picking_until_nothing_is_left_gives_memory_back() {
    let mut random = Random(1);
    let mut table = Table::<Nothing>::new(1);
    (0..50_000).for_each(|n| assert!(table.insert(&numbered(n), ())));
    let full = table.memory_bytes();
    assert!(full < 50_000 * (12 + 6), "{full}");
    let mut popped = HashSet::new();
    while let Some(spot) = table.random(|bound| random.below(bound)) {
        assert!(popped.insert(table.entry(spot).0.to_vec()));
        table.remove_at(spot);
        if table.len() == 5_000 {
            assert!(table.memory_bytes() < full / 5, "{} {full}", table.memory_bytes());
        }
    }
    assert_eq!(popped.len(), 50_000);
    assert!(table.memory_bytes() < 1000);
    table.check();
}

#[test]
fn keys_that_all_meet_in_one_segment_are_kept_all_the_same() {
    let mut table = Table::<Bytes>::new(3);
    let all: Vec<_> = (0..400_000).map(numbered).collect();
    let unlucky: Vec<_> = all.iter().filter(|key| table.hash(key) & 0x3f == 0).collect();
    for key in &unlucky {
        assert!(table.insert(key, &[b'v'; 200]));
    }
    table.check();
    let mut random = Random(3);
    assert!(table.random(|bound| random.below(bound)).is_some());
    for key in &unlucky {
        assert_eq!(table.get(key), Some(&[b'v'; 200][..]));
        assert!(table.remove(key));
    }
    assert_eq!(table.len(), 0);
    table.check();
}

#[test]
fn a_table_is_freed_step_by_step() {
    let mut table = Table::<Bytes>::new(3);
    (0..10_000).for_each(|n| assert!(table.insert(&key_of(n), b"value")));
    let mut steps = 1;
    while !table.free_some(100) {
        steps += 1;
        table.check();
    }
    assert!((10_000 / (4 * SEGMENT_ENTRIES)..=100).contains(&steps), "{steps}");
    assert_eq!((table.len(), table.memory_bytes(), table.iter().count()), (0, 0, 0));
    assert!(table.free_some(1) && !table.contains(b"a"));
}
