//! Versions: greater after every change, the same after everything else.

use super::{DB, NOW, key, keyspace, maintain, name, set};
use crate::cache::{Access, Expiry, Keyspace};
use crate::types::UnixMs;

fn version(keyspace: &mut Keyspace, bytes: &[u8]) -> u64 {
    keyspace.get(key(bytes), NOW, Access::Peek).map_or(0, |entry| entry.version)
}

/// A change of a keyspace, or something that is none.
type Step<'a> = &'a dyn Fn(&mut Keyspace);

#[test]
fn every_change_gives_a_greater_version_and_nothing_else_does() {
    let later = Some(UnixMs(NOW.0 + 1000));
    let changes: &[(&str, Step<'_>)] = &[
        ("a new key", &|k| set(k, b"k", b"v")),
        ("the same value", &|k| set(k, b"k", b"v")),
        ("with an expiry", &|k| k.set(key(b"k"), b"v", Expiry::At(UnixMs(NOW.0 + 9)), NOW)),
        ("a longer value that moves", &|k| set(k, b"k", &[7; 300])),
        ("a large value", &|k| set(k, b"k", &[7; 100_000])),
        ("an edit", &|k| k.edit(key(b"k"), 3, 0..3, NOW, |bytes| bytes.fill(1))),
        ("an expiry", &|k| assert!(k.set_expiry(key(b"k"), later, NOW))),
        ("no expiry", &|k| assert!(k.set_expiry(key(b"k"), None, NOW))),
    ];
    let others: &[(&str, Step<'_>)] = &[
        ("a read", &|k| assert!(k.get(key(b"k"), NOW, Access::Read).is_some())),
        ("a touch", &|k| assert!(k.contains(key(b"k"), NOW, Access::Write))),
        ("an access time", &|k| assert!(k.set_accessed_at(key(b"k"), UnixMs(5), NOW))),
        ("another key", &|k| set(k, b"other", b"v")),
        ("maintenance", &|k| {
            maintain(k);
        }),
    ];
    let mut keyspace = keyspace();
    let mut before = 0;
    for (what, change) in changes {
        change(&mut keyspace);
        let after = version(&mut keyspace, b"k");
        assert!(after > before, "{what}: {before}, then {after}");
        assert_eq!(after, keyspace.sequence(), "{what}");
        before = after;
        for (what, step) in others {
            step(&mut keyspace);
            assert_eq!(version(&mut keyspace, b"k"), after, "{what}");
        }
    }
    assert!(keyspace.remove(key(b"k"), NOW));
    let removed = keyspace.sequence();
    assert!(removed > before);
    assert!(!keyspace.remove(key(b"k"), NOW));
    assert_eq!(keyspace.sequence(), removed, "there was nothing to remove");
    set(&mut keyspace, b"k", b"v");
    assert!(version(&mut keyspace, b"k") > removed);
    keyspace.flush(DB);
    assert!(keyspace.sequence() > removed + 1);
    keyspace.check();
}

#[test]
fn entries_that_are_moved_keep_their_versions() {
    const KEYS: usize = 20_000;
    let mut keyspace = keyspace();
    for number in 0..KEYS {
        set(&mut keyspace, &name(number), &[1; 80]);
    }
    let versions: Vec<_> = (0..KEYS).map(|number| version(&mut keyspace, &name(number))).collect();
    for number in (0..KEYS).filter(|number| number % 5 != 0) {
        keyspace.remove(key(&name(number)), NOW);
    }
    maintain(&mut keyspace);
    for number in (0..KEYS).step_by(5) {
        assert_eq!(version(&mut keyspace, &name(number)), versions[number], "key {number}");
    }
}
