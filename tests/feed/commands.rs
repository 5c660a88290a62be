//! A shard without a server: any bytes are a sequence of commands on data, which it runs and writes down. The
//! fuzz target and its short run share it.

use std::collections::BTreeMap;

use ringmain::cache::{Keyspace, KeyspaceOptions, SaveCursor, SavedWhat};
use ringmain::collection::Thresholds;
use ringmain::command::table::{Entry, Table};
use ringmain::command::{Handler, Handover, View};
use ringmain::node::Owners;
use ringmain::protocol::args::ArgRange;
use ringmain::protocol::client::reply_bytes;
use ringmain::protocol::{Args, Proto};
use ringmain::shard::{Admission, Around, Call, Shard};
use ringmain::types::{DbIndex, Key, MonoUs, Now, ShardId, Slot, SlotMap, UnixMs, key_slot};

/// Longest value a command may make here: nothing is so long that it is shared.
const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Commands of one input.
const COMMANDS_MAX: usize = 200;

/// What arguments are made of besides numbers and bytes: options, patterns, ranges.
const WORDS: [&str; 96] = [
    "k0",
    "k1",
    "k2",
    "k3",
    "k4",
    "k5",
    "k6",
    "k7",
    "a",
    "b",
    "c",
    "d",
    "0",
    "1",
    "2",
    "3",
    "-1",
    "-2",
    "10",
    "100",
    "1000",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "inf",
    "-inf",
    "nan",
    "0.5",
    "(1",
    "[a",
    "(b",
    "[",
    "-",
    "+",
    "",
    "*",
    "k*",
    "EX",
    "PX",
    "EXAT",
    "PXAT",
    "NX",
    "XX",
    "GT",
    "LT",
    "CH",
    "INCR",
    "KEEPTTL",
    "GET",
    "PERSIST",
    "LEFT",
    "RIGHT",
    "BEFORE",
    "AFTER",
    "COUNT",
    "WITHSCORES",
    "WITHVALUES",
    "WITHSCORE",
    "LIMIT",
    "BYSCORE",
    "BYLEX",
    "REV",
    "MIN",
    "MAX",
    "SUM",
    "WEIGHTS",
    "AGGREGATE",
    "STORE",
    "BY",
    "ASC",
    "DESC",
    "ALPHA",
    "FIELDS",
    "MATCH",
    "TYPE",
    "NOVALUES",
    "REPLACE",
    "ABSTTL",
    "IDLETIME",
    "FREQ",
    "DB",
    "RANK",
    "MAXLEN",
    "LEN",
    "IDX",
    "AND",
    "OR",
    "XOR",
    "NOT",
    "u8",
    "i64",
    "SET",
    "OVERFLOW",
    "SAT",
    "list",
    "hash",
];

fn keyspace(options: u8) -> Keyspace {
    let mut keyspace = Keyspace::new(KeyspaceOptions { slots: 0..16_384, seed: 1, sequence: 0 });
    if options & 1 == 1 {
        keyspace.set_thresholds(Thresholds {
            hash_entries: 2,
            list_size: 2,
            set_intset_entries: 2,
            set_entries: 3,
            zset_entries: 2,
            ..Thresholds::default()
        });
    }
    keyspace
}

/// The commands that run on data.
fn commands() -> Vec<&'static Entry> {
    let on_data = |entry: &&Entry| {
        !matches!(entry.command.handler, Handler::Session(_) | Handler::Container(_))
    };
    Table::get().entries().filter(on_data).collect()
}

/// An argument, from the bytes that come next.
fn argument(bytes: &mut impl Iterator<Item = u8>) -> Vec<u8> {
    let Some(first) = bytes.next() else { return Vec::new() };
    match usize::from(first) {
        word if word < WORDS.len() => WORDS[word].as_bytes().to_vec(),
        // Keys more often than all else.
        key @ 96..160 => format!("k{}", key % 8).into_bytes(),
        number @ 160..200 => number.to_string().into_bytes(),
        element @ 200..240 => format!("e{element}").into_bytes(),
        length => bytes.by_ref().take(length - 239).collect(),
    }
}

/// What a keyspace holds: value, expiry and version by database and key.
type Content = BTreeMap<(u8, Vec<u8>), (Vec<u8>, Option<UnixMs>, u64)>;

fn content(keyspace: &Keyspace) -> Content {
    let mut content = Content::new();
    let mut cursor = SaveCursor::default();
    while !cursor.is_done() {
        // At this time nothing has expired.
        cursor = keyspace.visit_entries(cursor, UnixMs(0), |entry, _| {
            if entry.what != SavedWhat::More {
                let held = keyspace.peek(Key::new(entry.db, entry.key), UnixMs(0));
                let held = held.expect("it was just visited").canonical();
                let value = (held, entry.expires_at, entry.version);
                content.insert((entry.db.0, entry.key.to_vec()), value);
            }
        });
    }
    content
}

/// Runs the commands that `data` describes on a shard: each answers one reply, and all that they have done is
/// in what the shard writes down. Answers the replies.
pub(crate) fn run(data: &[u8]) -> Vec<Vec<u8>> {
    let mut bytes = data.iter().copied();
    let options = bytes.next().unwrap_or(0);
    let mut shard =
        Shard::new(ShardId(0), KeyspaceOptions { slots: 0..16_384, seed: 1, sequence: 0 });
    *shard.keyspace_mut() = keyspace(options);
    shard.keyspace_mut().set_journal(true);
    let mut copy = keyspace(options);
    let owners = Owners::at_start(SlotMap::new(1, 1));
    let proto = if options & 2 == 2 { Proto::Resp3 } else { Proto::Resp2 };
    let entries = commands();
    let mut replies = Vec::new();
    let mut us = 1_000_000;
    for _ in 0..COMMANDS_MAX {
        let (Some(command), Some(shape)) = (bytes.next(), bytes.next()) else { break };
        us += u64::from(shape >> 4) * 300;
        let now =
            Now::new(std::time::Duration::from_micros(1_700_000_000_000_000 + us), MonoUs(us));
        let entry = entries[usize::from(command) % entries.len()];
        let mut name: Vec<Vec<u8>> =
            entry.full_name.split('|').map(|part| part.as_bytes().to_vec()).collect();
        // At least as many as it takes.
        let least = usize::from(entry.command.arity.unsigned_abs()).saturating_sub(name.len());
        let extra = if entry.command.arity > 0 { 0 } else { usize::from(shape & 7) };
        name.extend((0..least + extra).map(|_| argument(&mut bytes)));
        replies.extend(run_one(&mut shard, (&owners, proto, now), &name));
        make_again(&mut shard, &mut copy, now.unix);
        if shape & 8 == 8 {
            shard.maintain(now, true);
        }
    }
    // What was removed meanwhile because its time had come.
    make_again(&mut shard, &mut copy, UnixMs(0));
    assert_eq!(content(shard.keyspace()), content(&copy));
    #[cfg(debug_assertions)]
    if data.len().is_multiple_of(8) {
        shard.keyspace().check();
    }
    replies
}

/// Makes what the shard has written down again.
fn make_again(shard: &mut Shard, copy: &mut Keyspace, now: UnixMs) {
    let keyspace = shard.keyspace_mut();
    if keyspace.changes_len() > 0 {
        let changes = keyspace.changes(now).expect("short values").to_vec();
        keyspace.clear_changes();
        copy.replay(&changes, false).expect("what was just written down");
    }
}

/// Runs one command, if it is one; answers its reply.
fn run_one(
    shard: &mut Shard,
    (owners, proto, now): (&Owners, Proto, Now),
    words: &[Vec<u8>],
) -> Option<Vec<u8>> {
    let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
    for word in words {
        let start = u32::try_from(bytes.len()).expect("short");
        ranges.push(ArgRange { start, length: u32::try_from(word.len()).expect("short") });
        bytes.extend_from_slice(word);
    }
    let args = Args::new(&bytes, &ranges);
    let entry = Table::get().resolve(&args).ok()?;
    let first = entry.command.keys.positions(&args).next();
    let slot = first.map_or(Slot(0), |at| key_slot(args.at(at)));
    let call = Call {
        entry,
        db: DbIndex(0),
        proto,
        no_touch: false,
        slot,
        view: View::default(),
        native: None,
        durability: None,
        admission: Admission::default(),
        follower: None,
        tracker: 0,
    };
    let mut handover = Handover::default();
    let around = Around { now, owners, value_bytes_max: VALUE_BYTES_MAX, handover: &mut handover };
    let mut out = Vec::new();
    match shard.execute(&call, &args, around, &mut out) {
        Ok(()) => {
            let length = reply_bytes(&out).expect("a reply");
            assert_eq!(length, Some(out.len()), "{}: {}", entry.full_name, out.escape_ascii());
            Some(out)
        }
        Err(error) => {
            assert!(out.is_empty(), "{}: {error}", entry.full_name);
            let text = error.to_string();
            assert!(!text.contains(['\r', '\n']) || text.len() > 1, "{text}");
            Some(format!("-{text}").into_bytes())
        }
    }
}

/// The fuzz target.
#[allow(dead_code, reason = "the short run looks at the replies")]
pub(crate) fn check_invariants(data: &[u8]) {
    run(data);
}
