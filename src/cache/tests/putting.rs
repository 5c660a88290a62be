//! Collections that are put under keys, in one go or little by little: what is written down of that, and what is left of
//! it if it is too much.

use super::{NOW, key, keyspace, maintain, set};
use crate::cache::{Access, Keyspace, Missing, TooMuch, Written};
use crate::cache::{Expiry, SharedBytes};
use crate::collection::{Set, Value};
use crate::limits::{CHANGES_PIECE_BYTES, LONG_BYTES_MIN};
use crate::types::UnixMs;

fn add(keyspace: &mut Keyspace, name: &[u8], members: usize) {
    let made = keyspace.change::<Set, _>(key(name), Missing::Create, NOW, |set, edit| {
        for n in 0..members {
            set.add(format!("member:{n:020}").as_bytes(), edit);
        }
    });
    assert_eq!(made, Ok(Some(())));
}

fn canonical(keyspace: &Keyspace, name: &[u8]) -> Option<Vec<u8>> {
    keyspace.peek(key(name), NOW).as_ref().map(Value::canonical)
}

/// All changes as the bytes of one record, and in how many pieces they were.
fn take(keyspace: &mut Keyspace) -> (Vec<u8>, usize) {
    let waiting = keyspace.changes_len();
    let parts = keyspace.take_changes(NOW);
    let bytes: Vec<&[u8]> = parts
        .iter()
        .map(|part| match part {
            Written::Bytes(bytes) => &bytes[..],
            Written::Value(value) => value.bytes(),
        })
        .collect();
    let bytes = bytes.concat();
    assert_eq!((bytes.len(), keyspace.changes_len()), (waiting, 0));
    (bytes, parts.len())
}

fn long_value(keyspace: &mut Keyspace) -> SharedBytes {
    keyspace.set(key(b"long"), &vec![b'v'; LONG_BYTES_MIN + 1], Expiry::Clear, NOW);
    keyspace.shared_value(key(b"long"), NOW).expect("a long value")
}

#[test]
fn what_is_put_little_by_little_comes_back_from_the_journal() {
    let (mut first, mut second) = (keyspace(), keyspace());
    first.set_journal(true);
    add(&mut first, b"from", 100_000);
    set(&mut first, b"to", b"what is there before");
    let value = long_value(&mut first);
    first.set_shared(key(b"shared"), value, Expiry::Clear, NOW);
    second.replay(&take(&mut first).0, false).expect("what was just written");

    for (round, at) in [(0, None), (1, Some(UnixMs(NOW.0 + 1000)))] {
        let whole = first.copy_collection(key(b"from"), NOW).expect("a set");
        let mut putting = first.begin_put(key(b"to"), whole, at, NOW);
        let mut steps = 0;
        while !first.write_down_some(key(b"to"), &mut putting, 64 * 1024).expect("little enough") {
            steps += 1;
            let held = first.get(key(b"to"), NOW, Access::Peek).expect("it is there");
            assert_eq!(held.string().is_ok(), round == 0, "it holds what it held");
        }
        assert!(steps > 30, "{steps} steps");
        first.end_put(key(b"to"), putting, NOW);
        let (bytes, pieces) = take(&mut first);
        assert!(pieces > 2 && bytes.len() > 2 * CHANGES_PIECE_BYTES, "{pieces} pieces");
        second.replay(&bytes, false).expect("what was just written");
        for keyspace in [&mut first, &mut second] {
            let both = [b"from", &b"to"[..]].map(|name| canonical(keyspace, name));
            assert!(both[0].is_some() && both[0] == both[1]);
            let held = keyspace.get(key(b"to"), NOW, Access::Peek).expect("it is there");
            assert_eq!(held.expires_at, at);
            keyspace.check();
        }
        // The versions are the same too, so that a snapshot of the one does for the log of the other.
        assert_eq!(first.sequence(), second.sequence());
        let versions = [&mut first, &mut second]
            .map(|keyspace| keyspace.get(key(b"to"), NOW, Access::Peek).expect("there").version);
        assert_eq!(versions[0], versions[1]);
    }
    assert!(maintain(&mut first) > 50, "what was there before is freed in steps");
}

#[test]
fn what_is_too_much_leaves_all_as_it_was() {
    // With what stands before it in the journal: nothing, little, pieces, a long value, and both.
    for before in 0..5 {
        let (mut first, mut second) = (keyspace(), keyspace());
        add(&mut first, b"from", 60_000);
        add(&mut second, b"from", 60_000);
        set(&mut first, b"to", b"what is there before");
        set(&mut second, b"to", b"what is there before");
        let value = long_value(&mut first);
        long_value(&mut second);
        first.set_journal(true);
        second.raise_sequence(first.sequence());
        if before == 1 {
            set(&mut first, b"other", b"value");
        }
        if before == 2 || before == 4 {
            let whole = first.copy_collection(key(b"from"), NOW).expect("a set");
            first.put_collection(key(b"other"), whole, None, NOW).expect("little enough");
        }
        if before >= 3 {
            first.set_shared(key(b"shared"), value, Expiry::Clear, NOW);
        }
        let (waiting, sequence) = (first.changes_len(), first.sequence());
        for name in [b"to", &b"new"[..]] {
            let whole = first.copy_collection(key(b"from"), NOW).expect("a set");
            first.set_changes_bytes_max(waiting + CHANGES_PIECE_BYTES + 200_000);
            let put = first.put_collection(key(name), whole, None, NOW);
            assert_eq!(put, Err(TooMuch), "{before}");
            assert_eq!((first.changes_len(), first.sequence()), (waiting, sequence), "{before}");
        }
        // What comes behind is written where it belongs.
        set(&mut first, b"behind", b"value");
        first.set_changes_bytes_max(usize::MAX);
        let whole = first.copy_collection(key(b"from"), NOW).expect("a set");
        first.put_collection(key(b"again"), whole, None, NOW).expect("little enough");
        second.replay(&take(&mut first).0, false).expect("what was just written");
        for name in ["from", "to", "new", "long", "other", "shared", "behind", "again"] {
            let held = [&first, &second].map(|keyspace| canonical(keyspace, name.as_bytes()));
            assert!(held[0] == held[1], "{before}: {name}");
        }
        assert_eq!(first.sequence(), second.sequence());
        first.check();
        second.check();
    }
}
