//! What a command changes is one record of the log, and a record has a bound.
//!
//! ```text
//! journal   ├── record ──┤├── record ──┤├── changes ─ ─
//!                         cut           cut            between two commands, where many changes wait
//! ```
//!
//! So a record holds little that other commands have changed. What one command writes down of its request is no longer
//! than that, once or twice; what it writes down of what keys hold it bounds itself, or is one value. The commands of a
//! transaction are one record too: whichever no longer fits is refused.

use super::{Admission, Call, Shard};
use crate::command::{Error, Flags};
use crate::protocol::Args;

impl Shard {
    /// Has the changes of a command be a record that is not too long, where many wait already.
    ///
    /// # Errors
    /// If it is one of a transaction, and what its request holds is more than there is room for.
    #[cold]
    pub(super) fn bound_record(&mut self, call: &Call, args: &Args<'_>) -> Result<(), Error> {
        if call.admission != Admission::Granted {
            self.keyspace.cut_changes();
            return Ok(());
        }
        let bytes: usize = args.from(0).map(<[u8]>::len).sum();
        let is_too_much = bytes > self.keyspace.room_for_changes();
        let may_change = call.entry.command.flags.contains(Flags::WRITE);
        if is_too_much && may_change { Err(Error::TooMuch) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::cache::{Expiry, Keyspace, KeyspaceOptions, Written};
    use crate::command::{Error, Handover};
    use crate::limits::{BULK_BYTES_MAX, CHANGES_BYTES_PARTS, LONG_BYTES_MIN};
    use crate::node::Owners;
    use crate::protocol::Args;
    use crate::shard::tests::{call, joined};
    use crate::shard::{Admission, Around, Call, Shard};
    use crate::types::{DbIndex, Key, MonoUs, Now, ShardId, SlotMap};

    const DB: DbIndex = DbIndex(0);
    const BOUND: usize = 1 << 20;
    const LONG: usize = BOUND / CHANGES_BYTES_PARTS;

    fn options() -> KeyspaceOptions {
        KeyspaceOptions { slots: 0..16_384, seed: 7, sequence: 0 }
    }

    fn now() -> Now {
        Now::new(Duration::from_secs(1_700_000_000), MonoUs(0))
    }

    /// A shard whose log takes little.
    fn shard() -> Shard {
        let mut shard = Shard::new(ShardId(0), options());
        shard.keyspace.set_journal(true);
        shard.keyspace.set_changes_bytes_max(BOUND);
        shard
    }

    /// What a command is run with.
    fn with<T>(
        words: &[&[u8]],
        admission: Admission,
        run: impl FnOnce(&Call, &Args<'_>, Around<'_>) -> T,
    ) -> T {
        let (bytes, ranges) = joined(words);
        let args = Args::new(&bytes, &ranges);
        let call = Call { admission, ..call(&args) };
        let (owners, mut handover) = (Owners::at_start(SlotMap::new(1, 1)), Handover::default());
        let around = Around {
            now: now(),
            owners: &owners,
            value_bytes_max: BULK_BYTES_MAX,
            handover: &mut handover,
        };
        run(&call, &args, around)
    }

    fn run(shard: &mut Shard, words: &[&[u8]], admission: Admission) -> Result<Vec<u8>, Error> {
        with(words, admission, |call, args, around| {
            let mut out = Vec::new();
            shard.execute(call, args, around, &mut out).map(|()| out)
        })
    }

    /// All records that the changes are.
    fn take(shard: &mut Shard) -> Vec<Vec<u8>> {
        let keyspace = &mut shard.keyspace;
        let count = keyspace.changes_records();
        let mut records = Vec::new();
        while keyspace.changes_len() > 0 {
            let (waiting, next) = (keyspace.changes_len(), keyspace.next_changes_len());
            assert_eq!(keyspace.changes_records() + records.len() as u64, count);
            let parts = match keyspace.changes(now().unix) {
                Some(bytes) => vec![Written::Bytes(bytes.to_vec())],
                None => keyspace.take_changes(now().unix),
            };
            if keyspace.changes_len() == waiting {
                keyspace.clear_changes();
            }
            let bytes = parts.iter().map(|part| match part {
                Written::Bytes(bytes) => bytes,
                Written::Value(value) => value.bytes(),
            });
            records.push(bytes.collect::<Vec<_>>().concat());
            assert_eq!(
                (records.last().unwrap().len(), keyspace.changes_len()),
                (next, waiting - next)
            );
        }
        assert_eq!((keyspace.changes_records(), records.len() as u64), (0, count));
        records
    }

    /// Whoever sees the records comes to what the shard holds.
    fn check_replay(shard: &Shard, records: &[Vec<u8>], keys: &[&[u8]]) {
        let mut other = Keyspace::new(options());
        for record in records {
            other.replay(record, false).expect("what was just written");
        }
        for key in keys.iter().map(|key| Key::new(DB, key)) {
            let [here, there] = [shard.keyspace(), &other]
                .map(|keyspace| keyspace.peek(key, now().unix).map(|value| value.canonical()));
            assert!(here == there);
        }
        assert_eq!(shard.keyspace().sequence(), other.sequence());
    }

    #[test]
    fn commands_in_turn_end_where_many_changes_wait() {
        let mut shard = shard();
        let words: [&[u8]; 3] = [b"SET", b"key", &[b'v'; LONG / 3]];
        let ran = with(&words, Admission::Unasked, |call, args, around| {
            let (mut ran, mut in_turn) = (0, shard.in_turn(call, around));
            while !in_turn.must_end_before(call.entry) {
                in_turn.execute(call, args, &mut Vec::new()).expect("the key is a string");
                ran += 1;
            }
            ran
        });
        assert_eq!((ran, shard.keyspace.changes_records()), (3, 1));
        // Whatever comes next begins another record.
        run(&mut shard, &words, Admission::Unasked).expect("the key is a string");
        assert_eq!(shard.keyspace.changes_records(), 2);
        let records = take(&mut shard);
        check_replay(&shard, &records, &[b"key"]);
    }

    /// A long value takes no time to be renamed, however often.
    #[test]
    fn many_long_changes_in_a_turn_are_many_records() {
        let mut shard = shard();
        let value = vec![b'v'; LONG_BYTES_MIN + 1];
        run(&mut shard, &[b"SET", b"a", &value], Admission::Unasked).unwrap();
        for _ in 0..10 {
            for words in [[&b"RENAME"[..], b"a", b"b"], [b"RENAME", b"b", b"a"]] {
                assert_eq!(run(&mut shard, &words, Admission::Unasked).unwrap(), b"+OK\r\n");
            }
        }
        let records = take(&mut shard);
        assert_eq!(records.len(), 21);
        assert!(records.iter().all(|record| record.len() < value.len() + 100));
        check_replay(&shard, &records, &[b"a", b"b"]);
    }

    #[test]
    fn few_changes_stay_one_record() {
        let mut shard = shard();
        let (mut written, value) = (0, [b'v'; 64]);
        while shard.keyspace.changes_len() < 3 * LONG {
            run(&mut shard, &[b"APPEND", b"a", &value], Admission::Unasked).unwrap();
            run(&mut shard, &[b"GET", b"a"], Admission::Unasked).unwrap();
            written += 1;
        }
        let records = take(&mut shard);
        assert_eq!(records.len(), 3, "{written} changes");
        assert!(records.iter().all(|record| record.len() < LONG + 200));
        check_replay(&shard, &records, &[b"a"]);
    }

    /// Long names whose time has come, unasked and where somebody looks for them.
    #[test]
    fn what_expires_is_many_records() {
        let mut shard = shard();
        let names: Vec<Vec<u8>> = (b'a'..b'k').map(|letter| vec![letter; 2 * LONG]).collect();
        let later = Now::new(Duration::from_secs(1_700_000_100), MonoUs(0));
        let expire = |shard: &mut Shard| {
            for name in &names {
                let at = crate::types::UnixMs(now().unix.0 + 10);
                shard.keyspace.set(Key::new(DB, name), b"v", Expiry::At(at), now().unix);
            }
            take(shard);
        };
        expire(&mut shard);
        while shard.maintain(later, true) {}
        assert_eq!((shard.keyspace.len(DB), take(&mut shard).len()), (0, names.len()));
        expire(&mut shard);
        let mut key = Vec::new();
        assert!(!shard.keyspace.random_key(DB, later.unix, &mut key));
        assert_eq!((shard.keyspace.len(DB), take(&mut shard).len()), (names.len() - 1, 1));
    }

    /// Each has a record to itself, but in a transaction.
    #[test]
    fn collections_that_are_put_one_after_another_do_not_take_each_others_room() {
        let mut shard = shard();
        let members: Vec<String> = (0..20_000).map(|number| format!("{number:030}")).collect();
        let words = [&b"SADD"[..], b"set"].into_iter();
        let words: Vec<&[u8]> = words.chain(members.iter().map(String::as_bytes)).collect();
        run(&mut shard, &words, Admission::Unasked).unwrap();
        for (to, admission, is_put) in [
            (b"a", Admission::Unasked, true),
            (b"b", Admission::Waited, true),
            (b"c", Admission::Granted, false),
            (b"d", Admission::Unasked, true),
        ] {
            let put = run(&mut shard, &[b"SUNIONSTORE", to, b"set"], admission);
            assert_eq!(put, if is_put { Ok(b":20000\r\n".to_vec()) } else { Err(Error::TooMuch) });
        }
        let records = take(&mut shard);
        assert_eq!(records.len(), 4);
        assert!(records.iter().all(|record| record.len() < BOUND));
        check_replay(&shard, &records, &[b"set", b"a", b"b", b"c", b"d"]);
    }

    #[test]
    fn a_transaction_is_one_record_and_what_no_longer_fits_is_refused() {
        let mut shard = shard();
        let value = vec![b'v'; BOUND / 4];
        let names: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
        let mut refused = Vec::new();
        for name in names {
            if let Err(error) = run(&mut shard, &[b"SET", name, &value], Admission::Granted) {
                assert_eq!(error, Error::TooMuch);
                refused.push(name);
            }
            // Who only looks is answered.
            run(&mut shard, &[b"GET", &value], Admission::Granted).unwrap();
        }
        assert_eq!(refused, [b"d", b"e"]);
        run(&mut shard, &[b"SET", b"d", b"short"], Admission::Granted).unwrap();
        // The next command is another record.
        run(&mut shard, &[b"SET", b"e", &value], Admission::Unasked).unwrap();
        let records = take(&mut shard);
        assert_eq!(records.len(), 2);
        check_replay(&shard, &records, &names);
    }
}
