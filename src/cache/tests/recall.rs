//! Changes and entries made again from bytes that somebody else may have written.

use super::{DB, NOW, key, keyspace, name, set};
use crate::cache::{Keyspace, KeyspaceOptions, Nonsense, SaveCursor, Saved};
use crate::types::{DbIndex, SLOT_COUNT};

/// Keys of both halves of the slots: a log of one shard that is read as if it were one of two.
#[test]
fn keys_of_slots_that_are_not_the_keyspaces_are_refused() {
    let halves = [0..SLOT_COUNT / 2, SLOT_COUNT / 2..SLOT_COUNT];
    let half_of = |bytes: &[u8]| usize::from(halves[1].contains(&key(bytes).slot.0));
    let mut whole = keyspace();
    whole.set_journal(true);
    let (mut ends, mut names) = (vec![16], Vec::new());
    // More than are looked at at once, and the last alone in its half.
    let mut candidates = (0..).map(name);
    names.extend(candidates.by_ref().filter(|name| half_of(name) == 0).take(100));
    names.extend(candidates.find(|name| half_of(name) == 1));
    for name in &names {
        set(&mut whole, name, b"value");
        ends.push(whole.changes_len());
    }
    let mut saved = Saved::default();
    let cursor = whole.save_entries(SaveCursor::default(), 1 << 20, NOW, &mut saved);
    assert!(cursor.is_done());
    let (changes, entries) =
        (whole.changes(NOW).expect("short values"), saved.bytes().expect("short values"));
    let half = |half: usize| {
        Keyspace::new(KeyspaceOptions { slots: halves[half].clone(), seed: 3, sequence: 0 })
    };
    for overlaps in [false, true] {
        assert_eq!(half(0).replay(changes, overlaps), Err(Nonsense { at: ends[100] }));
        assert_eq!(half(1).replay(changes, overlaps), Err(Nonsense { at: ends[0] }));
        assert_eq!(half(0).replay(&changes[..ends[100]], overlaps), Ok(100));
    }
    for (part, most) in [(0, 100), (1, 1)] {
        let mut keyspace = half(part);
        assert!(keyspace.restore_entries(entries).is_err());
        assert!(keyspace.len(DB) <= most);
        keyspace.check();
    }
    // What names no key but a database is every shard's.
    whole.clear_changes();
    whole.swap_databases(DB, DbIndex(1));
    let changes = whole.changes(NOW).expect("no values");
    assert_eq!((half(0).replay(changes, false), half(1).replay(changes, false)), (Ok(1), Ok(1)));
}
