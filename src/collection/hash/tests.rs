//! Hashes against a map, their operations made again, what is saved of them while they change.

use std::collections::BTreeMap;

use super::{Hash, LargeHash};
use crate::collection::{Collection, Edit, Form, Large, OpReader, Thresholds};
use crate::types::UnixMs;

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<UnixMs>)>;

const NOW: UnixMs = UnixMs(1_000);

/// A generator that gives the same numbers again for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }

    fn field(&mut self, fields: usize) -> Vec<u8> {
        match self.below(fields) {
            number if number % 3 == 0 => number.to_string().into_bytes(),
            number => format!("field-{number}-{}", "x".repeat(number % 50)).into_bytes(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let number = self.below(1 << 20);
        match number % 4 {
            0 => (number as i64 - 1000).to_string().into_bytes(),
            1 => Vec::new(),
            _ => vec![b'v'; number % 50],
        }
    }
}

fn thresholds(entries: usize) -> Thresholds {
    Thresholds { hash_entries: entries, ..Thresholds::default() }
}

fn contents(hash: &Hash) -> Model {
    let entries = hash.view().live(UnixMs(0));
    entries.map(|e| (e.field.to_vec(), (e.value.to_vec(), e.expires_at))).collect()
}

/// Makes a random change to a hash and to a map.
fn change(
    random: &mut Random,
    fields: usize,
    hash: &mut Hash,
    model: &mut Model,
    edit: &mut Edit<'_>,
) {
    let (field, value) = (random.field(fields), random.value());
    let before = model.get(&field).cloned();
    let is_there = before.as_ref().is_some_and(|(_, at)| at.is_none_or(|at| at > NOW));
    match random.below(8) {
        0..3 => {
            assert_eq!(hash.set(&field, &value, NOW, edit), !is_there);
            model.insert(field, (value, None));
        }
        3 => {
            hash.update(&field, &value, NOW, edit);
            let expires_at = before.filter(|_| is_there).and_then(|(_, at)| at);
            model.insert(field, (value, expires_at));
        }
        4..6 => {
            let at = random.below(3) * 600 + random.below(100);
            let at = (at >= 100).then_some(UnixMs(at as u64));
            hash.set_expiry(&field, at, edit);
            if let Some((_, expires_at)) = model.get_mut(&field) {
                *expires_at = at;
            }
        }
        6 => {
            assert_eq!(hash.remove(&field, NOW, edit), is_there);
            model.remove(&field);
        }
        _ if random.below(20) == 0 => {
            let (now, most) = (UnixMs(random.below(1300) as u64), 1 + random.below(5));
            let mut expired: Vec<_> = model.iter().filter_map(|(_, (_, at))| *at).collect();
            expired.retain(|at| *at <= now);
            expired.sort_unstable();
            assert_eq!(hash.remove_expired(now, most, edit), expired.len().min(most));
            model.retain(|field, _| hash.view().get(field, UnixMs(0)).is_some());
        }
        _ => {}
    }
}

fn compare(hash: &Hash, model: &Model) {
    assert_eq!(contents(hash), *model);
    assert_eq!(hash.len(), model.len());
    assert_eq!(hash.soonest_expiry(), model.values().filter_map(|(_, at)| *at).min());
    let live = model.values().filter(|(_, at)| at.is_none_or(|at| at > NOW)).count();
    assert_eq!(hash.view().live_len(NOW), live);
    for (field, (value, expires_at)) in model {
        let found = hash.view().get(field, UnixMs(0)).expect("there");
        assert_eq!((found.value.to_vec(), found.expires_at), (value.clone(), *expires_at));
        assert_eq!(found.value.len(), value.len());
    }
}

fn kept(hash: Hash) -> Hash {
    if let Form::Block(block) = hash.into_form() {
        assert!(Hash::check(&block));
        return Hash::of(Form::Block(block));
    }
    unreachable!("for blocks")
}

#[test]
fn a_hash_is_a_map_in_either_form() {
    for (seed, fields, entries, encoding) in [
        (1, 20, 128, "listpackex"),
        (2, 300, 128, "hashtable"),
        (3, 300, 1000, "listpackex"),
        (4, 2000, 3, "hashtable"),
    ] {
        let mut random = Random(seed);
        let (mut hash, mut model) = (Hash::empty(Vec::new()), Model::new());
        let mut out = Vec::new();
        let mut edit = Edit::new(thresholds(entries), 0, Some(&mut out));
        for round in 0..6_000 {
            change(&mut random, fields, &mut hash, &mut model, &mut edit);
            if round % 97 == 0 {
                compare(&hash, &model);
                if hash.view().encoding() != "hashtable" {
                    hash = kept(hash);
                }
            }
        }
        compare(&hash, &model);
        assert_eq!(hash.view().encoding(), encoding);
        let mut again = Hash::empty(Vec::new());
        for _ in 0..2 {
            let mut edit = Edit::new(thresholds(entries), 0, None);
            again.replay(&mut OpReader::of(&out), &mut edit).expect("operations");
            compare(&again, &model);
        }
    }
}

/// A hash that has seen some of the operations already comes to the same by all of them.
#[test]
fn operations_may_be_made_again() {
    let mut random = Random(7);
    let (mut hash, mut model) = (Hash::empty(Vec::new()), Model::new());
    let mut out = Vec::new();
    let mut ends = Vec::new();
    for _ in 0..400 {
        let mut edit = Edit::new(thresholds(30), 0, Some(&mut out));
        change(&mut random, 60, &mut hash, &mut model, &mut edit);
        ends.push(out.len());
    }
    for from in (0..400).step_by(13) {
        for to in (from..400).step_by(29) {
            let mut again = Hash::empty(Vec::new());
            let mut edit = Edit::new(thresholds(30), 0, None);
            again.replay(&mut OpReader::of(&out[..ends[to]]), &mut edit).expect("operations");
            again.replay(&mut OpReader::of(&out[ends[from]..]), &mut edit).expect("operations");
            compare(&again, &model);
        }
    }
}

#[test]
fn what_is_saved_while_it_changes_and_the_changes_are_all() {
    for seed in 0..5 {
        let mut random = Random(seed);
        let (mut hash, mut model) = (Hash::empty(Vec::new()), Model::new());
        let mut quiet = Edit::new(thresholds(3), 0, None);
        for _ in 0..3_000 {
            change(&mut random, 1_500, &mut hash, &mut model, &mut quiet);
        }
        let mut out = Vec::new();
        let mut at = 0;
        loop {
            let Form::Large(large) = hash.into_form() else { panic!("it is large") };
            at = large.save(at, 500, &mut out);
            hash = Hash::of(Form::Large(large));
            if at == 0 {
                break;
            }
            let mut edit = Edit::new(thresholds(3), 0, Some(&mut out));
            for _ in 0..40 {
                change(&mut random, 1_500, &mut hash, &mut model, &mut edit);
            }
        }
        let mut again = Hash::empty(Vec::new());
        again.replay(&mut OpReader::of(&out), &mut quiet).expect("operations");
        compare(&again, &model);
    }
}

#[test]
fn thresholds_are_those_of_redis() {
    let mut edit = Edit::new(thresholds(2), 0, None);
    let long = [b'x'; 65];
    let encoding = |hash: &Hash| hash.view().encoding();
    let mut hash = Hash::empty(Vec::new());
    for field in [b"a", b"b", b"b"] {
        hash.set(field, &long[..64], NOW, &mut edit);
        assert_eq!(encoding(&hash), "listpack");
    }
    hash.set(b"c", b"", NOW, &mut edit);
    assert_eq!(encoding(&hash), "hashtable");
    for (field, value) in [(&long[..], &b"1"[..]), (b"1", &long)] {
        let mut hash = Hash::empty(Vec::new());
        hash.set(b"a", b"1", NOW, &mut edit);
        hash.set_expiry(b"a", Some(UnixMs(2_000)), &mut edit);
        assert_eq!(encoding(&hash), "listpackex");
        hash.set(field, value, NOW, &mut edit);
        assert_eq!(encoding(&hash), "hashtable");
        assert_eq!(hash.soonest_expiry(), Some(UnixMs(2_000)));
    }
    let mut hash = Hash::empty(Vec::new());
    hash.prepare(2, &edit);
    assert_eq!(encoding(&hash), "listpack");
    hash.prepare(3, &edit);
    assert_eq!(encoding(&hash), "hashtable");
    // Triples of so many fields would be too many elements for a block.
    let mut edit = Edit::new(thresholds(usize::MAX), 0, None);
    let mut block = super::block::empty(Vec::new());
    for number in 0..30_000_i64 {
        block.push(crate::collection::Element::Int(number));
        block.push(crate::collection::Element::Int(number));
    }
    let mut hash = Hash::of(Form::Block(block.into_block()));
    assert_eq!(encoding(&hash), "listpack");
    hash.set_expiry(b"77", Some(UnixMs(2_000)), &mut edit);
    assert_eq!((encoding(&hash), hash.len()), ("hashtable", 30_000));
}

#[test]
fn damaged_blocks_are_refused() {
    let mut edit = Edit::new(Thresholds::default(), 0, None);
    for timed in [false, true] {
        let mut hash = Hash::empty(Vec::new());
        for field in [&b"a"[..], b"12", b"bcd", b""] {
            hash.set(field, field, NOW, &mut edit);
        }
        if timed {
            hash.set_expiry(b"12", Some(UnixMs(1 << 40)), &mut edit);
            hash.set_expiry(b"a", Some(UnixMs(1 << 41)), &mut edit);
        }
        let Form::Block(block) = hash.into_form() else { panic!("it is small") };
        assert!(Hash::check(&block));
        (0..block.len()).for_each(|cut| assert!(!Hash::check(&block[..cut])));
        let mut other = block.clone();
        other[0] = 0x24;
        assert!(!Hash::check(&other));
    }
    let blocks: [&[u8]; 7] = [
        // A field twice, a field without a value.
        &[0x04, 4, 0, 1, 1, 2, 1, 1, 1, 3, 1],
        &[0x04, 3, 0, 1, 1, 2, 1, 3, 1],
        // Times out of order, a negative one, one that is no number.
        &[0x14, 6, 0, 1, 1, 2, 1, 9, 1, 2, 1, 2, 1, 8, 1],
        &[0x14, 6, 0, 1, 1, 2, 1, 0, 1, 2, 1, 2, 1, 8, 1],
        &[0x14, 3, 0, 1, 1, 2, 1, 0xdf, 0xff, 2],
        &[0x14, 3, 0, 1, 1, 2, 1, 0x81, b'x', 2],
        // Another kind.
        &[0x02, 2, 0, 1, 1, 2, 1],
    ];
    for block in blocks {
        assert!(!Hash::check(block), "{block:x?}");
    }
    assert!(Hash::check(&[0x14, 6, 0, 1, 1, 2, 1, 8, 1, 2, 1, 2, 1, 0, 1]));
}

#[test]
fn operations_that_make_no_sense_are_refused() {
    let refused: [&[u8]; 6] = [
        &[9, 1, b'a'],
        &[1, 1, b'a'],
        &[1, 5, b'a'],
        &[3, 1, b'a', 1],
        &[4],
        &[3, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0x80],
    ];
    for ops in refused {
        let mut edit = Edit::new(Thresholds::default(), 0, None);
        let result = Hash::empty(Vec::new()).replay(&mut OpReader::of(ops), &mut edit);
        assert!(result.is_err(), "{ops:?}");
    }
}

#[test]
fn every_field_may_be_chosen_and_none_whose_time_has_come() {
    for entries in [3, 128] {
        let mut random = Random(11);
        let mut edit = Edit::new(thresholds(entries), 0, None);
        let mut hash = Hash::empty(Vec::new());
        for number in 0..100 {
            let field = number.to_string();
            hash.set(field.as_bytes(), b"v", NOW, &mut edit);
            if number >= 5 {
                hash.set_expiry(field.as_bytes(), Some(NOW), &mut edit);
            }
        }
        let mut chosen = BTreeMap::new();
        for _ in 0..500 {
            let entry = hash.view().choose(NOW, |bound| random.below(bound)).expect("there is one");
            *chosen.entry(entry.field.to_vec()).or_insert(0) += 1;
        }
        let fields: Vec<_> = chosen.keys().cloned().collect();
        assert_eq!(fields, [b"0", b"1", b"2", b"3", b"4"]);
        assert!(chosen.values().all(|count| *count > 50), "{chosen:?}");
        (0..5).for_each(|number| {
            hash.set_expiry(number.to_string().as_bytes(), Some(NOW), &mut edit)
        });
        assert_eq!(hash.view().choose(NOW, |bound| random.below(bound)), None);
        assert_eq!(hash.remove_expired(NOW, 1000, &mut edit), 100);
        assert!(hash.is_empty());
    }
}

/// What a large hash says it takes, and that it is freed in steps.
#[test]
fn a_large_hash_is_freed_in_steps() {
    let mut edit = Edit::new(thresholds(3), 0, None);
    let mut hash = Hash::empty(Vec::new());
    for number in 0..2_000 {
        let field = format!("field-{number}");
        hash.set(field.as_bytes(), b"value", NOW, &mut edit);
        if number % 2 == 0 {
            hash.set_expiry(field.as_bytes(), Some(UnixMs(5_000 + number % 7)), &mut edit);
        }
    }
    let Form::Large(mut large) = hash.into_form() else { panic!("it is large") };
    let full = large.memory_bytes();
    assert!(full > 2_000 * 15 + 1_000 * 24 && full < 2_000 * 60, "{full}");
    let mut steps = 1;
    while !large.free_some(100) {
        steps += 1;
    }
    assert!(steps > 5, "{steps}");
    assert!(large.memory_bytes() < 1_000 + size_of::<LargeHash>());
}
