//! Payloads of a log's records in memory: composed for tests, and made again under every condition. The
//! tests and the fuzz target share it.

#![allow(dead_code, reason = "each user of it takes a part")]

use std::collections::BTreeMap;

use ringmain::cache::{
    Change, Changes, Keyspace, KeyspaceOptions, SaveCursor, Saved, SavedEntries, SavedWhat,
};
use ringmain::limits::LONG_BYTES_MIN;
use ringmain::types::{DbIndex, Key, UnixMs};

/// A value, its expiry, and whether it was changed in place.
type Value = (Vec<u8>, Option<UnixMs>, bool);
/// All that a keyspace holds.
type Content = BTreeMap<(u8, Vec<u8>), Value>;

/// What stands in braces in composed keys, and so decides their slot.
const TAG: &[u8] = b"own";
/// Bytes of values that changes in place may announce: what is only announced takes address space.
const ANNOUNCED_BYTES_MAX: usize = 3 << 20;

/// The slots of the keyspaces here, among them that of the composed keys; few, since whatever looks at all of
/// a keyspace looks at all of its slots.
fn slots() -> std::ops::Range<u16> {
    let slot = Key::new(DbIndex(0), TAG).slot.0;
    slot - 3..slot + 5
}

fn keyspace() -> Keyspace {
    Keyspace::new(KeyspaceOptions { slots: slots(), seed: 1, sequence: 0 })
}

fn is_own(db: DbIndex, key: &[u8]) -> bool {
    slots().contains(&Key::new(db, key).slot.0)
}

/// Has a keyspace look for contradictions, after one payload of eight: its look at all lists that there might
/// be takes longer than all else here.
fn check(keyspace: &Keyspace, payload: &[u8]) {
    #[cfg(debug_assertions)]
    if payload.len().is_multiple_of(8) {
        keyspace.check();
    }
    let _ = (keyspace, payload);
}

/// All entries, expired or not, and the highest of their versions.
fn content(keyspace: &Keyspace) -> (Content, u64) {
    let (mut content, mut version) = (Content::new(), 0);
    let mut cursor = SaveCursor::default();
    while !cursor.is_done() {
        cursor = keyspace.visit_entries(cursor, UnixMs(0), |entry, _| {
            if !entry.what.has_slot() {
                return;
            }
            let value = (entry.value.to_vec(), entry.expires_at, entry.modified_in_place);
            content.insert((entry.db.0, entry.key.to_vec()), value);
            version = version.max(entry.version);
        });
    }
    (content, version)
}

/// What is known of clients' writes, as it is saved.
fn outcomes(keyspace: &Keyspace) -> Vec<(Vec<u8>, Vec<u8>, u64)> {
    let (mut all, mut cursor) = (Vec::new(), SaveCursor::default());
    while !cursor.is_done() {
        cursor = keyspace.visit_entries(cursor, UnixMs(0), |entry, _| {
            if !entry.what.has_slot() {
                all.push((entry.key.to_vec(), entry.value.to_vec(), entry.version));
            }
        });
    }
    all
}

/// What must hold for any bytes as the payload of a record of changes: they are made again, all of them, as a
/// plain map makes them, or refused; and where keys are of slots that are another shard's, they are refused.
pub(crate) fn check_changes(payload: &[u8]) {
    let Ok(changes) = Changes::of(payload) else {
        assert!(keyspace().replay(payload, false).is_err());
        return;
    };
    if changes.clone().flatten().any(|changed| is_of_collection(&changed.change)) {
        return check_collections(|keyspace| _ = keyspace.replay(payload, false));
    }
    let mut announced = 0;
    let (mut model, mut count, mut sequence) = (Content::new(), 0, 0);
    let mut makes_sense = true;
    for changed in changes {
        let Ok(changed) = changed else {
            makes_sense = false;
            break;
        };
        let db = changed.db.0;
        makes_sense &= changed.change.key().is_none_or(|key| is_own(changed.db, key));
        if let Change::Edit { length, .. } = changed.change {
            announced += length;
            if announced > ANNOUNCED_BYTES_MAX {
                return;
            }
        }
        make_again(&mut model, db, &changed.change);
        (count, sequence) = (count + 1, changed.sequence.max(sequence));
    }
    let mut whole = keyspace();
    let answer = whole.replay(payload, false);
    check(&whole, payload);
    if makes_sense {
        assert_eq!(answer, Ok(count));
        assert!(content(&whole).0 == model, "{:?}, not {model:?}", content(&whole).0);
        assert_eq!(whole.sequence(), sequence);
        check_saved(&whole, &model);
    } else {
        assert!(answer.is_err());
    }
    // What a snapshot may have seen is made again or left, but is no more and no less than before.
    assert_eq!(whole.replay(payload, true), answer);
    check(&whole, payload);
}

fn is_of_collection(change: &Change<'_>) -> bool {
    matches!(change, Change::Put { .. } | Change::Elements { .. })
}

/// What must hold where collections are among what is made again: whatever comes of it is sound, can be saved, and
/// comes back. What operations do is checked beside a model where collections are tested.
fn check_collections(make: impl FnOnce(&mut Keyspace)) {
    let mut whole = keyspace();
    make(&mut whole);
    #[cfg(debug_assertions)]
    whole.check();
    let (mut saved, mut cursor) = (Saved::default(), SaveCursor::default());
    while !cursor.is_done() {
        cursor = whole.save_entries(cursor, usize::MAX, UnixMs(0), &mut saved);
    }
    if let Some(bytes) = saved.bytes() {
        let mut restored = keyspace();
        assert_eq!(restored.restore_entries(bytes), Ok(saved.entries));
        #[cfg(debug_assertions)]
        restored.check();
    }
}

fn make_again(model: &mut Content, db: u8, change: &Change<'_>) {
    match *change {
        Change::Set { key, value, expires_at } => {
            model.insert((db, key.to_vec()), (value.to_vec(), expires_at, false));
        }
        Change::Edit { key, length, offset, bytes } => {
            let (value, _, modified) = model.entry((db, key.to_vec())).or_default();
            value.resize(length, 0);
            value[offset..offset + bytes.len()].copy_from_slice(bytes);
            *modified = true;
        }
        Change::Expire { key, expires_at } => {
            if let Some((_, at, _)) = model.get_mut(&(db, key.to_vec())) {
                *at = expires_at;
            }
        }
        Change::Put { .. } | Change::Elements { .. } => unreachable!("looked for before"),
        Change::Remove { key } => drop(model.remove(&(db, key.to_vec()))),
        // They are no keys'.
        Change::Outcome { .. } | Change::Forget { .. } | Change::Floor { .. } => {}
        Change::Flush => model.retain(|(of, _), _| *of != db),
        Change::Swap { with } => {
            let other = |of: u8| match of {
                of if of == db => with.0,
                of if of == with.0 => db,
                of => of,
            };
            let all = std::mem::take(model);
            model.extend(all.into_iter().map(|((of, key), value)| ((other(of), key), value)));
        }
    }
}

/// What was saved of a keyspace comes back.
fn check_saved(keyspace: &Keyspace, model: &Content) {
    let (mut saved, mut cursor) = (Saved::default(), SaveCursor::default());
    while !cursor.is_done() {
        cursor = keyspace.save_entries(cursor, usize::MAX, UnixMs(0), &mut saved);
    }
    assert_eq!(saved.entries, model.len() as u64);
    // Long values are not among the bytes.
    if let Some(bytes) = saved.bytes() {
        let mut restored = self::keyspace();
        assert_eq!(restored.restore_entries(bytes), Ok(saved.entries));
        check(&restored, bytes);
        assert!(content(&restored) == content(keyspace));
        assert_eq!(outcomes(&restored), outcomes(keyspace));
    }
}

/// What must hold for any bytes as the payload of a snapshot's part: all entries are there or the part is
/// refused, as it is where a key is of a slot that is another shard's.
pub(crate) fn check_entries(payload: &[u8]) {
    if SavedEntries::of(payload).flatten().any(|entry| entry.what != SavedWhat::String) {
        return check_collections(|keyspace| _ = keyspace.restore_entries(payload));
    }
    let (mut model, mut count, mut version) = (Content::new(), 0, 0);
    let mut makes_sense = true;
    for entry in SavedEntries::of(payload) {
        let Ok(entry) = entry else {
            makes_sense = false;
            break;
        };
        makes_sense &= is_own(entry.db, entry.key);
        let value = (entry.value.to_vec(), entry.expires_at, entry.modified_in_place);
        model.insert((entry.db.0, entry.key.to_vec()), value);
        (count, version) = (count + 1, entry.version.max(version));
    }
    let mut whole = keyspace();
    let answer = whole.restore_entries(payload);
    check(&whole, payload);
    if makes_sense {
        assert_eq!(answer, Ok(count));
        assert!(content(&whole).0 == model);
        assert_eq!(whole.sequence(), version);
        // The server goes on from there.
        whole.swap_databases(DbIndex(0), DbIndex(1), UnixMs(0));
        assert!(whole.sequence() > version);
    } else {
        assert!(answer.is_err());
    }
}

/// Keys of all forms that an entry has; one is of another shard's slot.
fn key(number: u8) -> Vec<u8> {
    let name = match number {
        255 => "other".to_owned(),
        number => format!("k{}{{own}}", number % 8),
    };
    match number / 8 % 8 {
        6 => name.repeat(150).into_bytes(),
        7 => name.repeat(700).into_bytes(),
        _ => name.into_bytes(),
    }
}

fn length(number: u8) -> usize {
    match number {
        0..200 => usize::from(number),
        200..230 => usize::from(number) * 64,
        // Beyond what a page holds.
        230..255 => usize::from(number) * 128,
        // In an extent of its own.
        255 => LONG_BYTES_MIN + 1,
    }
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).expect("the last seven bits"));
}

/// Changes that make sense, as `script` tells: four bytes each.
pub(crate) fn compose_changes(script: &[u8]) -> Vec<u8> {
    let mut out = [&7_u64.to_le_bytes()[..], &1_700_000_000_000_u64.to_le_bytes()].concat();
    for step in script.chunks_exact(4) {
        let [kind, name, size, more] = *step else { continue };
        let (advances, expiry) = (kind & 0x80, kind & 0x40);
        let (db, key) = (more % 3, key(name));
        let at = 1_700_000_000_000 + u64::from(more) * 10 - 1280;
        let mut head = |kind: u8, expiry: u8| {
            out.extend([kind | advances | expiry, db]);
            if expiry > 0 {
                out.extend(at.to_le_bytes());
            }
        };
        match kind % 14 {
            0..4 => {
                head(1, expiry);
                put_length(&mut out, key.len());
                put_length(&mut out, length(size));
                out.extend(&key);
                out.extend((0..length(size)).map(|at| if at % 97 == 0 { more } else { b'v' }));
            }
            4..7 => {
                head(2, 0);
                let (offset, bytes) = (length(more), usize::from(name >> 4));
                put_length(&mut out, key.len());
                put_length(&mut out, length(size).max(offset + bytes));
                put_length(&mut out, offset);
                put_length(&mut out, bytes);
                out.extend(&key);
                out.extend(&b"0123456789abcdef"[..bytes]);
            }
            7 | 8 => {
                head(3, expiry);
                put_length(&mut out, key.len());
                out.extend(&key);
            }
            9 => {
                head(4, 0);
                put_length(&mut out, key.len());
                out.extend(&key);
            }
            10 => head(5, 0),
            11 => {
                out.extend([12, 0]);
                let numbers = [name % 4, size, size.saturating_sub(more % 8)].map(u64::from);
                out.extend(numbers.map(u64::to_le_bytes).as_flattened());
                out.push(8 * (more >> 7));
                out.extend(&[more; 8][..usize::from(8 * (more >> 7))]);
            }
            12 => {
                out.extend([13, 0]);
                out.extend([name % 4, size].map(u64::from).map(u64::to_le_bytes).as_flattened());
            }
            _ => {
                head(6, 0);
                out.push(size % 3);
            }
        }
    }
    out
}

/// Entries that make sense, as `script` tells: four bytes each.
pub(crate) fn compose_entries(script: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for step in script.chunks_exact(4) {
        let [kind, name, size, more] = *step else { continue };
        let (flags, key) = (kind & 0x60, key(name));
        out.extend([7 | flags, more % 3]);
        if flags & 0x40 > 0 {
            out.extend((1_700_000_000_000 + u64::from(more)).to_le_bytes());
        }
        out.extend((u64::from(kind) << 8 | u64::from(more)).to_le_bytes());
        out.extend((1_700_000_000 + u32::from(more)).to_le_bytes());
        put_length(&mut out, key.len());
        put_length(&mut out, length(size));
        out.extend(&key);
        out.extend((0..length(size)).map(|at| if at % 97 == 0 { more } else { b'e' }));
    }
    out
}

/// Splits off what says how bytes are to be changed, and answers how: places and what is changed in them.
pub(crate) fn faults(input: &[u8]) -> (&[u8], &[u8]) {
    let count = input.first().map_or(0, |count| usize::from(count % 4) * 4);
    input.split_at_checked(1 + count).map_or((&[], &[]), |(faults, rest)| (&faults[1..], rest))
}

/// Changes bytes as [`faults`] says.
pub(crate) fn damage(bytes: &mut [u8], faults: &[u8]) {
    for fault in faults.chunks_exact(4) {
        let [a, b, c, changed] = *fault else { continue };
        let at = u32::from_le_bytes([a, b, c, 0]) as usize;
        if let Some(byte) = at.checked_rem(bytes.len()).and_then(|at| bytes.get_mut(at)) {
            *byte ^= changed;
        }
    }
}

/// What must hold for any bytes, as payloads and as what payloads are composed by.
pub(crate) fn check_invariants(input: &[u8]) {
    check_changes(input);
    check_entries(input);
    let (faults, script) = faults(input);
    let script = &script[..script.len().min(400)];
    let mut changes = compose_changes(script);
    damage(&mut changes, faults);
    check_changes(&changes);
    let mut entries = compose_entries(script);
    damage(&mut entries, faults);
    check_entries(&entries);
}
