//! Fields of hashes that expire, and that nobody looks at.

use super::{DB, NOW, key, keyspace, maintain, name, set};
use crate::cache::{Access, Keyspace, Missing, SaveCursor, Saved};
use crate::collection::{Hash, Thresholds};
use crate::types::{DbIndex, Key, UnixMs};

const OTHER_DB: DbIndex = DbIndex(1);

fn after(ms: u64) -> UnixMs {
    UnixMs(NOW.0 + ms)
}

/// Sets fields `0` to `fields` of a hash, of which field `n` expires `n` milliseconds from now, field 0 never.
fn set_fields(keyspace: &mut Keyspace, key: Key<'_>, fields: u64) {
    let changed = keyspace.change::<Hash, _>(key, Missing::Create, NOW, |hash, edit| {
        for field in 0..fields {
            hash.set(field.to_string().as_bytes(), b"v", NOW, edit);
            if field > 0 {
                hash.set_expiry(field.to_string().as_bytes(), Some(after(field)), edit);
            }
        }
    });
    assert_eq!(changed, Ok(Some(())));
}

fn remove_field(keyspace: &mut Keyspace, key: Key<'_>, field: &[u8]) {
    let changed = keyspace
        .change::<Hash, _>(key, Missing::Skip, NOW, |hash, edit| hash.remove(field, NOW, edit));
    assert!(matches!(changed, Ok(Some(_))));
}

/// How many fields lie there, expired or not.
fn len(keyspace: &Keyspace, key: Key<'_>) -> Option<usize> {
    keyspace.peek_at::<Hash>(key, NOW).map(|hash| hash.len())
}

fn expire(keyspace: &mut Keyspace, now: UnixMs) {
    for _ in 0..1_000_000 {
        if !keyspace.expire_due(now, 100) {
            return;
        }
    }
    panic!("there is no end to what expires");
}

#[test]
fn fields_go_in_time_and_the_key_with_the_last() {
    for entries in [512, 4] {
        let mut keyspace = keyspace();
        keyspace.set_thresholds(Thresholds { hash_entries: entries, ..Thresholds::default() });
        set_fields(&mut keyspace, key(b"stays"), 101);
        set_fields(&mut keyspace, key(b"goes"), 101);
        remove_field(&mut keyspace, key(b"goes"), b"0");
        for (ms, left) in [(0, 101), (1, 100), (50, 51), (99, 2)] {
            expire(&mut keyspace, after(ms));
            assert_eq!(len(&keyspace, key(b"stays")), Some(left));
            assert_eq!(len(&keyspace, key(b"goes")), Some(left - 1));
        }
        expire(&mut keyspace, after(1000));
        assert_eq!((len(&keyspace, key(b"stays")), len(&keyspace, key(b"goes"))), (Some(1), None));
        assert_eq!(keyspace.counts().expired_fields, 200);
        assert_eq!(keyspace.counts().expired, 0);
        assert_eq!(keyspace.field_expiries.memory_bytes(), 0);
    }
}

#[test]
fn a_step_is_bounded() {
    let mut keyspace = keyspace();
    set_fields(&mut keyspace, key(b"large"), 10_001);
    for number in 0..1000 {
        set_fields(&mut keyspace, key(&name(number)), 2);
    }
    let mut steps = 0;
    let mut before = 0;
    while keyspace.expire_due(after(100_000), 100) {
        let expired = keyspace.counts().expired_fields;
        assert!(expired - before <= 200, "{} at once", expired - before);
        (before, steps) = (expired, steps + 1);
    }
    assert_eq!(keyspace.counts().expired_fields, 11_000);
    assert!(steps > 50);
}

#[test]
fn what_is_no_such_hash_any_more_is_forgotten() {
    type Change = fn(&mut Keyspace);
    let changes: [(&str, Change); 8] = [
        ("removed", |keyspace| assert!(keyspace.remove(key(b"h"), NOW))),
        ("emptied", |keyspace| {
            for field in 0..5 {
                remove_field(keyspace, key(b"h"), field.to_string().as_bytes());
            }
        }),
        ("persisted", |keyspace| {
            for field in 1..5_u64 {
                let field = field.to_string();
                keyspace
                    .change::<Hash, _>(key(b"h"), Missing::Skip, NOW, |hash, edit| {
                        hash.set_expiry(field.as_bytes(), None, edit);
                    })
                    .expect("a hash");
            }
        }),
        ("flushed", |keyspace| {
            keyspace.flush(DB);
            maintain(keyspace);
        }),
        ("expired", |keyspace| {
            assert!(keyspace.set_expiry(key(b"h"), Some(after(1)), NOW));
            assert!(!keyspace.contains(key(b"h"), after(5), Access::Peek));
        }),
        ("overwritten and removed", |keyspace| {
            set(keyspace, b"h", b"v");
            assert!(keyspace.remove(key(b"h"), NOW));
        }),
        ("overwritten and due", |keyspace| {
            set(keyspace, b"h", b"v");
            expire(keyspace, after(10));
            assert!(keyspace.contains(key(b"h"), NOW, Access::Peek));
        }),
        ("replaced", |keyspace| {
            keyspace.remove(key(b"h"), NOW);
            let put = keyspace.change::<Hash, _>(key(b"h"), Missing::Create, NOW, |hash, edit| {
                hash.set(b"f", b"v", NOW, edit);
            });
            assert_eq!(put, Ok(Some(())));
        }),
    ];
    for (what, change) in changes {
        for entries in [512, 2] {
            let mut keyspace = keyspace();
            keyspace.set_thresholds(Thresholds { hash_entries: entries, ..Thresholds::default() });
            set_fields(&mut keyspace, key(b"h"), 5);
            assert!(keyspace.field_expiries.are_any(), "{what}");
            change(&mut keyspace);
            assert!(!keyspace.field_expiries.are_any(), "{what}");
            assert_eq!(keyspace.field_expiries.memory_bytes(), 0, "{what}");
        }
    }
}

#[test]
fn it_is_found_again_wherever_it_went() {
    for entries in [512, 2] {
        let mut keyspace = keyspace();
        keyspace.set_thresholds(Thresholds { hash_entries: entries, ..Thresholds::default() });
        // One of the same name in a database that is flushed.
        set_fields(&mut keyspace, key(b"swapped"), 3);
        keyspace.flush(DB);
        for name in [b"renamed".as_slice(), b"copied", b"swapped"] {
            set_fields(&mut keyspace, key(name), 3);
        }
        let whole = keyspace.take_collection_of(key(b"renamed"), NOW).expect("a hash");
        keyspace.put_collection(key(b"new name"), whole, None, NOW).expect("little enough");
        let whole = keyspace.copy_collection(key(b"copied"), NOW).expect("a hash");
        keyspace.put_collection(key(b"copy"), whole, None, NOW).expect("little enough");
        keyspace.swap_databases(DB, OTHER_DB, NOW);
        expire(&mut keyspace, after(10));
        for name in [b"new name".as_slice(), b"copied", b"copy", b"swapped"] {
            assert_eq!(len(&keyspace, Key::new(OTHER_DB, name)), Some(1), "{entries}");
        }
        maintain(&mut keyspace);
        assert!(!keyspace.field_expiries.are_any());
    }
}

#[test]
fn it_is_so_after_replay_and_from_a_snapshot_too() {
    for entries in [512, 2] {
        let thresholds = Thresholds { hash_entries: entries, ..Thresholds::default() };
        let mut first = keyspace();
        first.set_thresholds(thresholds);
        first.set_journal(true);
        set_fields(&mut first, key(b"h"), 5);
        let made = first.changes(NOW).expect("no long values").to_vec();
        first.clear_changes();

        let mut saved = Saved::default();
        let mut cursor = SaveCursor::default();
        while !cursor.is_done() {
            cursor = first.save_entries(cursor, usize::MAX, NOW, &mut saved);
        }
        let mut restored = keyspace();
        restored.set_thresholds(thresholds);
        restored.restore_entries(saved.bytes().expect("short values")).expect("good bytes");

        let mut replayed = keyspace();
        replayed.set_thresholds(thresholds);
        replayed.replay(&made, false).expect("good bytes");

        // What expires is written down as what was removed.
        expire(&mut first, after(3));
        let removed = first.changes(after(3)).expect("no long values").to_vec();
        let mut follower = keyspace();
        follower.set_thresholds(thresholds);
        follower.replay(&made, false).expect("good bytes");
        follower.replay(&removed, false).expect("good bytes");
        assert_eq!(len(&follower, key(b"h")), Some(2));

        for keyspace in [&mut restored, &mut replayed, &mut follower] {
            expire(keyspace, after(3));
            assert_eq!(len(keyspace, key(b"h")), Some(2), "{entries}");
            expire(keyspace, after(10));
            assert_eq!(len(keyspace, key(b"h")), Some(1), "{entries}");
        }
    }
}
