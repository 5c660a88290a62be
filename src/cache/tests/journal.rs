//! Changes that are made again, together with entries that were saved while they came.

use super::{DB, NOW, key, keyspace, name, set};
use crate::cache::{Access, Changes, Expiry, SaveCursor, Saved};
use crate::limits::BULK_BYTES_MAX;
use crate::types::UnixMs;

/// A change of a key is in the log; by the time the snapshot comes to it, the key has expired.
#[test]
fn what_has_expired_is_saved_until_it_is_removed() {
    let (name, at, later) = (name(1), UnixMs(NOW.0 + 10), UnixMs(NOW.0 + 20));
    let mut old = keyspace();
    old.set(key(&name), b"0123456789", Expiry::At(at), NOW);
    old.set_journal(true);
    old.edit(key(&name), 10, 4..5, NOW, |value| value[4] = b'x');
    let changes = old.changes(NOW).expect("a short value").to_vec();
    let mut saved = Saved::default();
    assert!(old.save_entries(SaveCursor::default(), 1 << 20, later, &mut saved).is_done());
    let mut new = keyspace();
    assert_eq!(new.restore_entries(saved.bytes().expect("a short value")), Ok(1));
    assert_eq!(new.replay(&changes, true), Ok(1));
    let entry = new.get(key(&name), NOW, Access::Peek).expect("it has not expired then");
    assert_eq!(
        (entry.string().expect("a string"), entry.expires_at),
        (&b"0123x56789"[..], Some(at))
    );
    assert!(new.get(key(&name), later, Access::Peek).is_none());
    assert_eq!(new.len(DB), 0);
    set(&mut new, &name, b"another");
    new.check();
}

#[test]
fn a_value_that_is_longer_than_any_is_refused() {
    for (length, is_read) in [(BULK_BYTES_MAX, true), (BULK_BYTES_MAX + 1, false)] {
        let mut payload = vec![0; 16];
        payload.extend_from_slice(&[0x82, 0, 1]);
        let mut rest = length;
        while rest >= 0x80 {
            payload.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
            rest >>= 7;
        }
        payload.extend_from_slice(&[u8::try_from(rest).expect("seven bits"), 0, 1, b'k', b'x']);
        let changed = Changes::of(&payload).expect("its head is whole").next();
        assert_eq!(changed.expect("there is a change").is_ok(), is_read, "{length}");
    }
}
