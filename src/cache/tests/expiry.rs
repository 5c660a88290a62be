//! Keys that expire.

use super::{DB, NOW, key, keyspace, name};
use crate::cache::{Access, Expiry, Keyspace};
use crate::types::{UnixMs, key_slot};

#[test]
fn an_expired_key_is_not_there() {
    let mut keyspace = keyspace();
    let at = UnixMs(NOW.0 + 100);
    keyspace.set(key(b"k"), b"v", Expiry::At(at), NOW);
    assert!(keyspace.contains(key(b"k"), at, Access::Read));
    let late = UnixMs(at.0 + 1);
    assert_eq!(keyspace.scan(DB, 0, 10, late, |_| panic!("visited")), 0);
    keyspace.slot_keys(DB, key_slot(b"k"), 10, late, |_| panic!("visited"));
    assert_eq!(keyspace.len(DB), 1);
    assert!(!keyspace.set_expiry(key(b"k"), None, late));
    assert_eq!((keyspace.len(DB), keyspace.counts().expired), (0, 1));
    keyspace.set(key(b"k"), b"v", Expiry::At(at), NOW);
    keyspace.set(key(b"k"), b"w", Expiry::Keep, late);
    assert_eq!(
        keyspace.get(key(b"k"), late, Access::Read).and_then(|entry| entry.expires_at),
        None
    );
    assert!(keyspace.set_expiry(key(b"k"), Some(late), late));
    assert!(!keyspace.contains(key(b"k"), late, Access::Read));
}

#[test]
fn where_it_is_kept_what_has_expired_is_not_seen_and_stays() {
    let (at, late) = (UnixMs(NOW.0 + 100), UnixMs(NOW.0 + 101));
    let mut keyspace = keyspace();
    keyspace.keep_expired(true);
    keyspace.set(key(b"k"), b"v", Expiry::At(at), NOW);
    assert!(keyspace.contains(key(b"k"), at, Access::Read));
    for access in [Access::Read, Access::ReadNoTouch, Access::Peek, Access::Write] {
        assert!(keyspace.get(key(b"k"), late, access).is_none());
    }
    assert!(keyspace.shared_value(key(b"k"), late).is_none());
    assert!(!keyspace.random_key(DB, late, &mut Vec::new()));
    assert_eq!((keyspace.len(DB), keyspace.counts().expired), (1, 0));
    assert!(keyspace.fresh().keeps_expired, "as another in its place does");
    // Whoever says what goes sees it go.
    keyspace.keep_expired(false);
    assert!(!keyspace.contains(key(b"k"), late, Access::Read));
    assert_eq!((keyspace.len(DB), keyspace.counts().expired), (0, 1));
}

#[test]
fn many_keys_expire_in_bounded_pieces() {
    const KEYS: usize = 60_000;
    let mut keyspace = keyspace();
    let at = UnixMs(NOW.0 + 500);
    for number in 0..KEYS {
        keyspace.set(key(&name(number)), b"value", Expiry::At(at), NOW);
    }
    while keyspace.expire_due(at, 1_000) {}
    assert_eq!(keyspace.len(DB), KEYS);
    let later = UnixMs(at.0 + 128);
    let mut calls = 0;
    loop {
        let before = keyspace.len(DB);
        let more = keyspace.expire_due(later, 500);
        assert!(before - keyspace.len(DB) <= 500);
        calls += 1;
        if !more {
            break;
        }
    }
    // Pages that come free count as work as well.
    assert!((KEYS / 500..KEYS / 400).contains(&calls), "{calls}");
    assert_eq!(keyspace.len(DB), 0);
    assert_eq!(keyspace.counts().expired, KEYS as u64);
    keyspace.check();
}

#[test]
fn expiry_survives_pauses_and_clock_jumps() {
    const HOUR: u64 = 3_600_000;
    let mut keyspace = keyspace();
    let hours = [0, 1, 2, 24, 24 * 365];
    let set_all = |keyspace: &mut Keyspace, now: u64| {
        for (number, hours) in hours.into_iter().enumerate() {
            let at = Expiry::At(UnixMs(now + hours * HOUR + 1_000));
            keyspace.set(key(&name(number)), b"v", at, UnixMs(now));
        }
    };
    let expire = |keyspace: &mut Keyspace, now| {
        while keyspace.expire_due(UnixMs(now), 3) {}
        keyspace.check();
        keyspace.len(DB)
    };
    set_all(&mut keyspace, NOW.0);
    assert_eq!(expire(&mut keyspace, NOW.0 + 900), 5);
    assert_eq!(expire(&mut keyspace, NOW.0 + 2_000), 4);
    assert_eq!(expire(&mut keyspace, NOW.0 + 3 * HOUR), 2);
    assert_eq!(expire(&mut keyspace, NOW.0 + 24 * 366 * HOUR), 0);
    // Back by a year; what is set now must not wait for the clock to catch up.
    set_all(&mut keyspace, NOW.0);
    assert_eq!(expire(&mut keyspace, NOW.0 + 900), 5);
    assert_eq!(expire(&mut keyspace, NOW.0 + 2_000), 4);
    // What is set while the wheel is ahead, and due soon after the clock has gone back.
    assert_eq!(expire(&mut keyspace, NOW.0 + HOUR / 2), 4);
    set_all(&mut keyspace, NOW.0);
    assert_eq!(expire(&mut keyspace, NOW.0 + HOUR / 2 + 200), 4);
}
