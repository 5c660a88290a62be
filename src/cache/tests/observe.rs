//! Keys that somebody observes: what is noted of them, and what is not.

use super::{DB, NOW, key, keyspace, set};
use crate::cache::{Access, EventClasses, EvictionPolicy, Expiry, Keyspace, Observer, Tracker};
use crate::types::{ClientId, DbIndex, Key, UnixMs};

const ME: Observer = Observer::Transaction { client: ClientId(1), serial: 1 };
const OTHER: Observer = Observer::Transaction { client: ClientId(2), serial: 1 };
const LATER: UnixMs = UnixMs(NOW.0 + 1000);

/// The keys that have changed, as text.
fn noted(keyspace: &mut Keyspace) -> Vec<String> {
    let notes = keyspace.take_notes();
    notes.iter().map(|note| String::from_utf8_lossy(&note.key).into_owned()).collect()
}

/// A keyspace where `there` and `gone` are observed, and one of them exists; `short` expires soon.
fn observed() -> Keyspace {
    let mut keyspace = keyspace();
    set(&mut keyspace, b"there", b"v");
    keyspace.set(key(b"short"), b"v", Expiry::At(UnixMs(NOW.0 + 500)), NOW);
    for name in [&b"there"[..], b"gone", b"short"] {
        keyspace.observe(key(name), ME, NOW);
    }
    keyspace
}

#[test]
fn every_way_to_change_a_key_is_noted_once() {
    type Change = fn(&mut Keyspace);
    let changes: &[(&str, &[&str], Change)] = &[
        ("set", &["there"], |keys| set(keys, b"there", b"w")),
        ("set to the same", &["there"], |keys| set(keys, b"there", b"v")),
        ("set what is not there", &["gone"], |keys| set(keys, b"gone", b"w")),
        ("set and remove", &["gone"], |keys| {
            set(keys, b"gone", b"w");
            keys.remove(key(b"gone"), NOW);
        }),
        ("edit", &["there"], |keys| {
            keys.edit(key(b"there"), 2, 1..2, NOW, |value| value[1] = b'x')
        }),
        ("remove", &["there"], |keys| {
            keys.remove(key(b"there"), NOW);
        }),
        ("remove what is not there", &[], |keys| {
            keys.remove(key(b"gone"), NOW);
        }),
        ("give an expiry", &["there"], |keys| {
            keys.set_expiry(key(b"there"), Some(LATER), NOW);
        }),
        ("expire at once", &["there"], |keys| {
            keys.set_expiry(key(b"there"), Some(NOW), NOW);
        }),
        ("meet after its time", &["short"], |keys| {
            keys.get(key(b"short"), LATER, Access::Read);
        }),
        ("expire", &["short"], |keys| while keys.expire_due(LATER, 100) {}),
        ("evict", &["there"], |keys| {
            keys.evict(EvictionPolicy::AllKeysLru, NOW);
        }),
        ("flush", &["short", "there"], |keys| keys.flush(DB)),
        ("flush another", &[], |keys| keys.flush(DbIndex(1))),
        ("read", &[], |keys| {
            keys.contains(key(b"there"), NOW, Access::Read);
        }),
        ("use", &[], |keys| {
            keys.set_accessed_at(key(b"there"), UnixMs(1), NOW);
        }),
        ("write others", &[], |keys| {
            set(keys, b"other", b"v");
            keys.set(Key::new(DbIndex(1), b"there"), b"v", Expiry::Clear, NOW);
        }),
    ];
    for (name, expected, change) in changes {
        let mut keyspace = observed();
        assert!(!keyspace.has_news(), "{name}");
        change(&mut keyspace);
        let mut found = noted(&mut keyspace);
        found.sort();
        assert_eq!(found, *expected, "{name}");
        // It is observed no longer.
        change(&mut keyspace);
        for noted in noted(&mut keyspace) {
            assert!(!expected.contains(&noted.as_str()), "{name}: {noted} twice");
        }
    }
}

#[test]
fn all_observers_of_a_key_are_told_and_nobody_who_has_stopped() {
    let mut keyspace = keyspace();
    let newer = Observer::Transaction { client: ClientId(1), serial: 2 };
    for observer in [ME, OTHER, newer, ME] {
        keyspace.observe(key(b"k"), observer, NOW);
    }
    keyspace.stop_observing((DB, b"k"), ME);
    keyspace.stop_observing((DB, b"other"), ME);
    keyspace.stop_observing((DbIndex(1), b"k"), OTHER);
    set(&mut keyspace, b"k", b"v");
    let notes = keyspace.take_notes();
    assert_eq!(notes.len(), 1);
    assert_eq!((notes[0].db, &*notes[0].key), (DB, &b"k"[..]));
    assert_eq!(notes[0].observers, [OTHER, newer]);
    keyspace.observe(key(b"k"), ME, NOW);
    keyspace.stop_observing((DB, b"k"), ME);
    set(&mut keyspace, b"k", b"v");
    assert!(!keyspace.has_news());
}

#[test]
fn a_key_whose_time_had_come_before_does_not_go_again() {
    let mut keyspace = keyspace();
    keyspace.set(key(b"k"), b"v", Expiry::At(UnixMs(NOW.0 + 500)), NOW);
    keyspace.observe(key(b"k"), OTHER, NOW);
    keyspace.observe(key(b"k"), ME, LATER);
    // To who observed it while it was there, it has gone.
    assert_eq!(keyspace.take_notes()[0].observers, [OTHER]);
    while keyspace.expire_due(LATER, 100) {}
    assert!(!keyspace.has_news());
    keyspace.set(key(b"k"), b"v", Expiry::Clear, LATER);
    assert_eq!(noted(&mut keyspace), ["k"]);
}

#[test]
fn an_exchange_changes_what_either_database_has() {
    let second = DbIndex(1);
    let soon = Expiry::At(UnixMs(NOW.0 + 500));
    // Key, whether it is in the first and in the second database, and whether it is noted.
    type Row<'a> = (&'a [u8], Option<Expiry>, Option<Expiry>, bool);
    let keys: [Row<'_>; 6] = [
        (b"first", Some(Expiry::Clear), None, true),
        (b"second", None, Some(Expiry::Clear), true),
        (b"both", Some(Expiry::Clear), Some(Expiry::Clear), true),
        (b"none", None, None, false),
        // It has gone by its time, which is a change of its own.
        (b"first but late", Some(soon), None, true),
        (b"second but late", None, Some(soon), false),
    ];
    for (name, in_first, in_second, expected) in keys {
        let mut keyspace = keyspace();
        for (db, expiry) in [(DB, in_first), (second, in_second)] {
            if let Some(expiry) = expiry {
                keyspace.set(Key::new(db, name), b"v", expiry, NOW);
            }
        }
        keyspace.observe(key(name), ME, NOW);
        keyspace.swap_databases(DbIndex(2), DbIndex(3), LATER);
        assert!(noted(&mut keyspace).is_empty());
        keyspace.swap_databases(DB, second, LATER);
        assert_eq!(!noted(&mut keyspace).is_empty(), expected, "{}", name.escape_ascii());
    }
}

#[test]
fn a_keyspace_in_place_of_another_tells_who_keeps_copies() {
    let reader = Tracker { client: ClientId(7), serial: 1 };
    let mut before = keyspace();
    set(&mut before, b"k", b"v");
    before.track(b"k", reader);
    before.track_prefix(b"user:"[..].into(), reader);
    let mut after = before.fresh();
    after.take_place_of(&mut before);
    assert!(after.has_news() && after.take_outdated().is_flushed);
    assert!(!after.has_news());
    set(&mut after, b"user:1", b"v");
    let outdated = after.take_outdated();
    assert_eq!(outdated.keys.len(), 1);
    assert_eq!(outdated.keys[0].by_prefix[0].1, reader);
}

#[test]
fn a_keyspace_in_place_of_another_goes_by_the_settings_of_then() {
    let mut before = keyspace();
    let mut after = before.fresh();
    before.want_events(EventClasses::NEW | EventClasses::KEYEVENT);
    after.take_place_of(&mut before);
    set(&mut after, b"k", b"v");
    assert_eq!(after.take_events().len(), 1);
}
