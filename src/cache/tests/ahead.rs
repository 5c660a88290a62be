//! Places that were found ahead: right as long as anything, and never wrong.

use std::collections::HashMap;

use super::{DB, NOW, key, keyspace, maintain, name, set, tagged};
use crate::cache::random::Random;
use crate::cache::{Access, Expiry, WrongSlot};
use crate::types::{Key, Slot, UnixMs};

#[test]
fn whatever_happens_in_between_the_right_entry_is_found() {
    let mut random = Random::new(3);
    let (mut keyspace, mut model) = (keyspace(), HashMap::<Vec<u8>, Vec<u8>>::new());
    let lengths = [0, 10, 64, 70, 300, 5_000, 20_000];
    for _ in 0..500 {
        let any = |random: &mut Random| match random.below(3) {
            0 => tagged(random.below(100)),
            _ => name(random.below(40)),
        };
        let names: Vec<Vec<u8>> = (0..64).map(|_| any(&mut random)).collect();
        let mut places = Vec::new();
        keyspace.look_ahead(names.iter().map(|name| key(name)), &mut places);
        for (name, place) in names.iter().zip(places) {
            let value = vec![b"abcdefgh"[random.below(8)]; lengths[random.below(lengths.len())]];
            match random.below(32) {
                // Changes that nobody looked ahead for.
                0 => {
                    let other = any(&mut random);
                    keyspace.remove(key(&other), NOW);
                    model.remove(&other);
                }
                1 => {
                    let other = any(&mut random);
                    set(&mut keyspace, &other, &value);
                    model.insert(other, value.clone());
                }
                2..=12 => {
                    let before = keyspace.sequence();
                    assert_eq!(keyspace.set_at(place, key(name), &value, NOW), Ok(before + 1));
                    model.insert(name.clone(), value);
                    continue;
                }
                _ => {}
            }
            let found = keyspace.get_at(place, key(name), NOW, Access::Read);
            let found = found
                .expect("the slot is right")
                .map(|entry| entry.string().expect("a string").to_vec());
            assert_eq!(found.as_ref(), model.get(name));
        }
        if random.below(8) == 0 {
            maintain(&mut keyspace);
        }
        keyspace.check();
    }
}

#[test]
fn an_entry_that_was_found_ahead_expires_all_the_same() {
    let mut keyspace = keyspace();
    keyspace.set(key(b"k"), b"v", Expiry::At(UnixMs(NOW.0 + 5)), NOW);
    let mut places = Vec::new();
    keyspace.look_ahead([key(b"k"), key(b"k")].into_iter(), &mut places);
    let later = UnixMs(NOW.0 + 6);
    assert!(matches!(keyspace.get_at(places[0], key(b"k"), later, Access::Read), Ok(None)));
    assert_eq!((keyspace.counts().expired, keyspace.counts().misses), (1, 1));
    // What is set where something expired does not expire.
    assert!(keyspace.set_at(places[1], key(b"k"), b"w", later).is_ok());
    let entry = keyspace.get(key(b"k"), later, Access::Peek).expect("it was just set");
    assert_eq!((entry.string().expect("a string"), entry.expires_at), (b"w".as_slice(), None));
}

#[test]
fn a_key_is_not_set_in_a_slot_that_is_not_its_own() {
    let mut keyspace = keyspace();
    let wrong = Key { db: DB, slot: Slot(key(b"k").slot.0 ^ 1), bytes: b"k" };
    let mut places = Vec::new();
    keyspace.look_ahead([wrong].into_iter(), &mut places);
    assert_eq!(keyspace.set_at(places[0], wrong, b"v", NOW), Err(WrongSlot));
    assert!(matches!(keyspace.get_at(places[0], wrong, NOW, Access::Read), Err(WrongSlot)));
    assert_eq!((keyspace.len(DB), keyspace.counts().misses, keyspace.sequence()), (0, 0, 0));
}
