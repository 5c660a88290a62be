//! Changes and entries made again from bytes that somebody else may have written.

use super::{DB, NOW, key, keyspace, name, set};
use crate::cache::{Access, Keyspace, KeyspaceOptions, Nonsense, SaveCursor, Saved};
use crate::limits::BULK_BYTES_MAX;
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
    whole.swap_databases(DB, DbIndex(1), NOW);
    let changes = whole.changes(NOW).expect("no values");
    assert_eq!((half(0).replay(changes, false), half(1).replay(changes, false)), (Ok(1), Ok(1)));
}

/// However many there are next to one another in the table: a part is one record of a snapshot.
#[test]
fn a_part_of_a_snapshot_has_no_more_than_one_very_long_value() {
    const KEYS: usize = 500;
    let mut whole = keyspace();
    for number in 0..KEYS {
        set(
            &mut whole,
            &name(number),
            format!("value {number}, longer than most in tests").as_bytes(),
        );
    }
    let (mut other, mut cursor, mut parts, mut goes) = (keyspace(), SaveCursor::default(), 0, 0);
    while !cursor.is_done() {
        let mut part = Saved::default();
        cursor = whole.save_entries(cursor, 1, NOW, &mut part);
        assert!(part.entries <= 1, "{}", part.entries);
        other.restore_entries(part.bytes().expect("no value is shared")).expect("just saved");
        parts += 1;
        // What goes meanwhile need not be in a part, and what comes need not either.
        if parts % 10 == 0 {
            whole.remove(key(&name(goes)), NOW);
            goes += 1;
        }
    }
    assert!(parts >= KEYS - goes && goes > 10, "{parts} parts, {goes} gone");
    for number in goes..KEYS {
        let name = name(number);
        let [here, there] =
            [&whole, &other].map(|it| it.peek(key(&name), NOW).map(|it| it.canonical()));
        assert!(here.is_some() && here == there, "{number}");
    }
    other.check();
}

/// A record of one change that begins at this sequence.
fn record(sequence: u64, change: &[&[u8]]) -> Vec<u8> {
    [&sequence.to_le_bytes()[..], &NOW.0.to_le_bytes(), &change.concat()].concat()
}

/// What is only announced takes memory too.
#[test]
fn values_longer_than_clients_may_have_are_refused() {
    // Seven bits at a time, the lowest first.
    let leb = |length: usize| -> Vec<u8> {
        let bits = |index: usize| u8::try_from(length >> (7 * index) & 0x7f).expect("seven bits");
        vec![bits(0) | 0x80, bits(1) | 0x80, bits(2) | 0x80, bits(3) | 0x80, bits(4)]
    };
    for (length, is_one) in
        [(BULK_BYTES_MAX, true), (BULK_BYTES_MAX + 1, false), ((1 << 35) - 1, false)]
    {
        let edit = record(1, &[b"\x82\x00\x01", &leb(length), b"\x00\x01kx"]);
        let mut keyspace = keyspace();
        assert_eq!(keyspace.replay(&edit, false).is_ok(), is_one, "{length}");
        let found = keyspace
            .get(key(b"k"), NOW, Access::Peek)
            .map(|entry| entry.string().expect("a string").len());
        assert_eq!(found, Some(length).filter(|_| is_one));
        keyspace.check();
    }
}

/// Every change has a greater sequence than the one before it.
#[test]
fn sequences_that_could_not_be_counted_on_from_are_refused() {
    for (sequence, is_one) in
        [(0, true), (1 << 62, true), (1 << 63, false), (u64::MAX - 1, false), (u64::MAX, false)]
    {
        let changes = record(sequence, &[b"\x81\x00\x01\x01kv"]);
        let entry = [b"\x07\x00", &sequence.to_le_bytes()[..], b"\x00\x00\x00\x00\x01\x01kv"];
        let entries = [&entry.concat()[..]; 2].concat();
        let (mut again, mut restored) = (keyspace(), keyspace());
        assert_eq!(again.replay(&changes, false).is_ok(), is_one, "{sequence}");
        assert_eq!(restored.restore_entries(&entries).is_ok(), is_one, "{sequence}");
        for mut keyspace in [again, restored] {
            set(&mut keyspace, b"k", b"after");
            assert!(!is_one || keyspace.sequence() > sequence);
        }
    }
}
