//! Keys that hold collections: changed at random beside a model, made again from the journal, saved while they
//! change and put back, and freed a little at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{DB, NOW, has, key, keyspace, maintain, set};
use crate::cache::{
    Access, EvictionPolicy, Keyspace, Missing, Nonsense, Random, SaveCursor, Saved, WrongType,
};
use crate::collection::list::End;
use crate::collection::{List, Set, Thresholds, Value};
use crate::types::UnixMs;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    String(Vec<u8>),
    List(VecDeque<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
}

type Model = BTreeMap<Vec<u8>, Content>;

fn content(keyspace: &Keyspace) -> Model {
    let mut keys = Vec::new();
    let mut cursor = 0;
    loop {
        cursor = keyspace.scan(DB, cursor, 100, NOW, |entry| keys.push(entry.key.to_vec()));
        if cursor == 0 {
            break;
        }
    }
    let held = |name: Vec<u8>| {
        let content = match keyspace.peek(key(&name), NOW).expect("it was just seen") {
            Value::String(value) => Content::String(value.to_vec()),
            Value::List(list) => Content::List(list.iter().map(|e| e.to_vec()).collect()),
            Value::Set(set) => Content::Set(set.iter().map(|member| member.to_vec()).collect()),
            Value::SortedSet(_) | Value::Hash(_) => panic!("nobody makes these here"),
        };
        (name, content)
    };
    keys.into_iter().map(held).collect()
}

/// A keyspace where by some seeds lists of more than a few elements are structures.
fn keyspace_of(seed: u64) -> Keyspace {
    let mut keyspace = keyspace();
    let list_size = if seed.is_multiple_of(2) { 16 } else { -2 };
    keyspace.set_thresholds(Thresholds { list_size, ..Thresholds::default() });
    keyspace
}

/// Does something at random to a key, and the same to the model.
fn step(keyspace: &mut Keyspace, model: &mut Model, random: &mut Random) {
    let name = format!("k{}", random.below(12)).into_bytes();
    let element = |random: &mut Random| {
        let number = random.below(3000).to_string();
        if number.ends_with('7') {
            format!("{number:>60}").into_bytes()
        } else {
            number.into_bytes()
        }
    };
    match random.below(40) {
        0 => {
            set(keyspace, &name, b"a string");
            model.insert(name, Content::String(b"a string".to_vec()));
        }
        1 => {
            assert_eq!(keyspace.remove(key(&name), NOW), model.remove(&name).is_some());
        }
        2 => {
            let to = format!("k{}", random.below(12)).into_bytes();
            if let Some(whole) = keyspace.take_collection_of(key(&name), NOW) {
                keyspace.put_collection(key(&to), whole, None, NOW).expect("little enough");
                let held = model.remove(&name).expect("there");
                model.insert(to, held);
            }
        }
        3 => {
            let to = format!("k{}", random.below(12)).into_bytes();
            if let Some(whole) = keyspace.copy_collection(key(&name), NOW) {
                keyspace.put_collection(key(&to), whole, None, NOW).expect("little enough");
                let held = model[&name].clone();
                model.insert(to, held);
            }
        }
        4..22 => step_list(keyspace, model, &name, random, element),
        _ => step_set(keyspace, model, &name, random, element),
    }
}

fn step_list(
    keyspace: &mut Keyspace,
    model: &mut Model,
    name: &[u8],
    random: &mut Random,
    element: impl Fn(&mut Random) -> Vec<u8>,
) {
    let elements: Vec<_> = (0..random.below(60)).map(|_| element(random)).collect();
    let pops = if random.below(20) == 0 { usize::MAX } else { random.below(50) };
    let (index, other) = (random.below(100), element(random));
    let done = keyspace.change::<List, _>(key(name), Missing::Create, NOW, |list, edit| {
        list.push(End::Right, elements.iter().map(Vec::as_slice), edit);
        list.pop(End::Left, pops, edit);
        list.insert(index, &other, edit);
        list.set(index + 5, &other, edit);
        list.remove_equal(&other, End::Left, 1, edit);
    });
    let held = model.entry(name.to_vec()).or_insert(Content::List(VecDeque::new()));
    let Content::List(list) = held else { return assert_eq!(done, Err(WrongType)) };
    assert_eq!(done, Ok(Some(())));
    list.extend(elements);
    list.drain(..pops.min(list.len()));
    if index <= list.len() {
        list.insert(index, other.clone());
    }
    if let Some(element) = list.get_mut(index + 5) {
        element.clone_from(&other);
    }
    if let Some(first) = list.iter().position(|element| *element == other) {
        list.remove(first);
    }
    if list.is_empty() {
        model.remove(name);
    }
}

fn step_set(
    keyspace: &mut Keyspace,
    model: &mut Model,
    name: &[u8],
    random: &mut Random,
    element: impl Fn(&mut Random) -> Vec<u8>,
) {
    let members: Vec<_> = (0..random.below(60)).map(|_| element(random)).collect();
    let removed: Vec<_> = (0..random.below(30)).map(|_| element(random)).collect();
    let done = keyspace.change::<Set, _>(key(name), Missing::Create, NOW, |set, edit| {
        for member in &members {
            set.add(member, edit);
        }
        for member in &removed {
            set.remove(member, edit);
        }
    });
    let held = model.entry(name.to_vec()).or_insert(Content::Set(BTreeSet::new()));
    let Content::Set(set) = held else { return assert_eq!(done, Err(WrongType)) };
    assert_eq!(done, Ok(Some(())));
    set.extend(members);
    for member in &removed {
        set.remove(member);
    }
    if set.is_empty() {
        model.remove(name);
    }
}

#[test]
fn collections_are_what_a_model_says_and_come_back_from_the_journal() {
    for seed in 0..6 {
        let (mut random, mut model) = (Random::new(seed), Model::new());
        let (mut keyspace, mut replica) = (keyspace_of(seed), keyspace_of(seed));
        keyspace.set_journal(true);
        for round in 0..1500 {
            step(&mut keyspace, &mut model, &mut random);
            if round % 50 == 49 {
                assert_eq!(content(&keyspace), model, "seed {seed}, round {round}");
                let changes = keyspace.changes(NOW).expect("short values").to_vec();
                keyspace.clear_changes();
                if !changes.is_empty() {
                    replica.replay(&changes, false).expect("what was just written");
                }
                assert_eq!(content(&replica), model, "seed {seed}, round {round}: made again");
                keyspace.check();
                replica.check();
            }
        }
        // The versions are the same too, so that a snapshot of the one does for the log of the other.
        assert_eq!(keyspace.sequence(), replica.sequence());
    }
}

/// A snapshot whose parts are taken between changes, and the log from its beginning on, make the keyspace as it is
/// at the end.
#[test]
fn what_is_saved_while_it_changes_comes_back() {
    for seed in 0..12 {
        let (mut random, mut model) = (Random::new(100 + seed), Model::new());
        let mut keyspace = keyspace_of(seed);
        (0..600).for_each(|_| step(&mut keyspace, &mut model, &mut random));
        keyspace.set_journal(true);
        let (mut cursor, mut parts) = (SaveCursor::default(), Vec::new());
        while !cursor.is_done() {
            (0..random.below(4)).for_each(|_| step(&mut keyspace, &mut model, &mut random));
            let mut part = Saved::default();
            cursor = keyspace.save_entries(cursor, 1, NOW, &mut part);
            parts.push(part.bytes().expect("short values").to_vec());
        }
        let changes = keyspace.changes(NOW).map(<[u8]>::to_vec).unwrap_or_default();
        let mut restored = keyspace_of(seed);
        for part in &parts {
            restored.restore_entries(part).expect("what was just saved");
            restored.check();
        }
        if !changes.is_empty() {
            restored.replay(&changes, true).expect("what was just written");
        }
        assert_eq!(content(&restored), model, "seed {seed}");
        restored.check();
    }
}

fn big_set(keyspace: &mut Keyspace, name: &[u8], members: usize) {
    let made = keyspace.change::<Set, _>(key(name), Missing::Create, NOW, |set, edit| {
        for n in 0..members {
            set.add(format!("member:{n}").as_bytes(), edit);
        }
    });
    assert_eq!(made, Ok(Some(())));
}

#[test]
fn memory_of_collections_counts_until_it_is_freed_in_steps() {
    type Way = fn(&mut Keyspace);
    let ways: [(&str, Way); 5] = [
        ("removed", |k| assert!(k.remove(key(b"s"), NOW))),
        ("overwritten", |k| set(k, b"s", b"v")),
        ("expired", |k| {
            assert!(k.set_expiry(key(b"s"), Some(UnixMs(NOW.0 + 1)), NOW));
            assert!(!k.contains(key(b"s"), UnixMs(NOW.0 + 2), Access::Peek));
        }),
        ("evicted", |k| assert!(k.evict(EvictionPolicy::AllKeysLru, NOW))),
        ("flushed", |k| k.flush(DB)),
    ];
    for (how, go) in ways {
        let mut keyspace = keyspace();
        let before = keyspace.memory().total_bytes();
        big_set(&mut keyspace, b"s", 200_000);
        let full = keyspace.memory().total_bytes();
        assert!(full - before > 200_000 * 14, "{how}: {} bytes", full - before);
        let told = keyspace.get(key(b"s"), NOW, Access::Peek).expect("there").memory_bytes;
        assert!(told > 200_000 * 14 && told <= full, "{how}: {told}");
        go(&mut keyspace);
        assert!(keyspace.memory().total_bytes() + 64 * 1024 > full, "{how}: freed at once");
        let steps = maintain(&mut keyspace);
        assert!(steps > 50, "{how}: freed in {steps} steps");
        let after = keyspace.memory().total_bytes();
        assert!(after < before + 512 * 1024, "{how}: {after} bytes stay of {full}");
        keyspace.check();
    }
}

#[test]
fn a_key_of_another_type_is_told() {
    let mut keyspace = keyspace();
    set(&mut keyspace, b"string", b"v");
    big_set(&mut keyspace, b"set", 1000);
    let change = keyspace.change::<Set, ()>(key(b"string"), Missing::Create, NOW, |_, _| ());
    assert_eq!(change, Err(WrongType));
    let change = keyspace.change::<List, ()>(key(b"set"), Missing::Skip, NOW, |_, _| ());
    assert_eq!(change, Err(WrongType));
    assert!(keyspace.collection::<List>(key(b"set"), NOW, Access::Read).is_err());
    assert!(keyspace.collection::<Set>(key(b"none"), NOW, Access::Read).is_ok_and(|v| v.is_none()));
    let entry = keyspace.get(key(b"set"), NOW, Access::Read).expect("there");
    assert_eq!((entry.string(), entry.type_name()), (Err(WrongType), "set"));
    // A change that puts nothing in makes no key.
    let change = keyspace.change::<Set, ()>(key(b"none"), Missing::Create, NOW, |_, _| ());
    assert_eq!(change, Ok(Some(())));
    assert!(!has(&mut keyspace, b"none"));
    keyspace.check();
}

#[test]
fn a_collection_keeps_its_expiry_and_gets_a_new_version() {
    let mut keyspace = keyspace();
    big_set(&mut keyspace, b"s", 3);
    let at = UnixMs(NOW.0 + 1000);
    assert!(keyspace.set_expiry(key(b"s"), Some(at), NOW));
    let before = keyspace.get(key(b"s"), NOW, Access::Peek).expect("there").version;
    for members in [5, 5000] {
        big_set(&mut keyspace, b"s", members);
        let entry = keyspace.get(key(b"s"), NOW, Access::Peek).expect("there");
        assert_eq!(entry.expires_at, Some(at));
        assert!(entry.version > before);
        assert!(
            keyspace
                .collection::<Set>(key(b"s"), NOW, Access::Read)
                .is_ok_and(|v| { v.is_some_and(|set| set.len() == members) })
        );
    }
    assert!(!keyspace.contains(key(b"s"), UnixMs(at.0 + 1), Access::Peek));
    keyspace.check();
}

#[test]
fn operations_and_blocks_that_make_no_sense_are_refused() {
    let head = [&0u64.to_le_bytes()[..], &NOW.0.to_le_bytes()].concat();
    let changes: [(&str, &[u8]); 6] = [
        ("an unknown kind", b"\x88\x00\x0f\x01k\x00\x00\x00\x00"),
        ("an unknown operation", b"\x88\x00\xf2\x01k\x01\x00\x00\x00\xee"),
        ("operations that are cut", b"\x88\x00\xf2\x01k\x05\x00\x00\x00\x01"),
        ("a member that is cut", b"\x88\x00\xf2\x01k\x02\x00\x00\x00\x01\x09"),
        ("a block of no kind", b"\x8b\x00\x01\x03k\x0f\x00\x00"),
        ("a block that is damaged", b"\x8b\x00\x01\x04k\x01\x01\x00\xff"),
    ];
    for (what, change) in changes {
        let mut keyspace = keyspace();
        let record = [&head[..], change].concat();
        assert_eq!(keyspace.replay(&record, false), Err(Nonsense { at: 16 }), "{what}");
        keyspace.check();
    }
    // An edit of a string, or elements of another kind, where there is a set.
    let others: [(&str, &[u8]); 2] = [
        ("an edit", b"\x82\x00\x03\x01\x00\x01setx"),
        ("another kind", b"\x88\x00\xf1\x03set\x00\x00\x00\x00"),
    ];
    for (what, change) in others {
        let mut keyspace = keyspace();
        big_set(&mut keyspace, b"set", 3);
        let record = [&head[..], change].concat();
        assert!(keyspace.replay(&record, false).is_err(), "{what}");
        keyspace.check();
    }
}
