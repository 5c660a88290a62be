//! Commands over all keys of a database: `KEYS`, `SCAN`, `RANDOMKEY`, `DBSIZE`.
//!
//! A `SCAN` cursor walks the client's shards (all, or on a core's own port that core's) one after
//! another in the order of their numbers, each from its first key to its last:
//!
//! ```text
//! bit 63      58                          10              0
//!      | zero | cursor within the keyspace | shard's number |
//! ```
//!
//! Within a shard the keyspace's own cursor gives Redis's guarantee, and a key never changes shard,
//! so the whole walk gives it too. The number 0 is the start of the first shard; at the end of a
//! shard the cursor names the next at 0, which is another number, because the shard's is not 0; the
//! end of the last shard is 0 again. A cursor that was never given out leads nowhere or to some place
//! in the walk, as in Redis.
//!
//! Shards that move to another core change nothing for a client on the common port. On a core's own
//! port the guarantee holds for the keys of every shard that the core owns when the walk comes to it:
//! a walk that has begun in a shard goes through it to the end wherever the shard is now; a shard that
//! leaves before is left out; one that comes is visited if its number is still ahead. A client that
//! walks all cores in turn while shards move may so miss one, as with slots that migrate in a Redis
//! Cluster: it compares the epochs before and after, or walks on the common port.

use super::elements::{Scan, Walk};
use super::glob::{self, Case};
use super::steps::{self, Progress, Steps};
use super::{Command, Error, Exec, Flags, Group, Handler, Keys, Stepwise, View};
use crate::cache::EntryRef;
use crate::limits::SHARDS_MAX;
use crate::node::Owners;
use crate::protocol::{Args, Proto, Reply};
use crate::types::{DbIndex, ShardId};

/// The rows of this group.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "keys",
        arity: 2,
        flags: Flags::READONLY.union(Flags::DANGEROUS).union(Flags::LONG).union(Flags::STEPWISE),
        keys: Keys::None,
        handler: Handler::AllShards(keys),
        group: Group::Generic,
        summary: "Name all keys that match a pattern",
        since: "1.0.0",
        steps: Some(Stepwise::ALWAYS),
        complexity: "O(N) over the keys of the database",
    },
    Command {
        name: "scan",
        arity: -2,
        flags: Flags::READONLY,
        keys: Keys::None,
        handler: Handler::Cursor(scan, 1),
        group: Group::Generic,
        summary: "Walk over all keys, a few at a time",
        since: "2.8.0",
        steps: None,
        complexity: "O(COUNT) a call, O(N) over the keys for a whole walk",
    },
    Command {
        name: "randomkey",
        arity: 1,
        flags: Flags::READONLY,
        keys: Keys::None,
        handler: Handler::AllShards(randomkey),
        group: Group::Generic,
        summary: "Name a key chosen at random",
        since: "1.0.0",
        steps: None,
        complexity: "O(S) over the shards",
    },
    Command {
        name: "dbsize",
        arity: 1,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::None,
        handler: Handler::AllShards(dbsize),
        group: Group::Server,
        summary: "Count the keys of the selected database",
        since: "1.0.0",
        steps: None,
        complexity: "O(S) over the shards",
    },
];

/// Bits of a cursor that hold the shard.
const SHARD_BITS: u32 = 10;
/// Bits of a cursor that hold the keyspace's own cursor.
const LOCAL_BITS: u32 = 48;
/// Entries that `KEYS` visits in one step.
const KEYS_STEP: usize = 1024;
/// Bytes that it answers in one.
const KEYS_STEP_BYTES: usize = 256 * 1024;

const _: () = assert!(SHARDS_MAX as u64 <= 1 << SHARD_BITS);
const _: () = assert!(SHARD_BITS + LOCAL_BITS < 63);

/// Keys found before it is known how many there are.
#[derive(Debug)]
pub(crate) struct KeyList {
    encoded: Vec<u8>,
    count: usize,
    proto: Proto,
}

impl KeyList {
    /// An empty list for a reply in form `proto`.
    pub(crate) fn new(proto: Proto) -> Self {
        Self { encoded: Vec::new(), count: 0, proto }
    }

    /// Appends `key`.
    pub(crate) fn push(&mut self, key: &[u8]) {
        Reply::new(&mut self.encoded, self.proto).bulk(key);
        self.count += 1;
    }

    /// Writes the list as an array.
    pub(crate) fn write(&self, reply: &mut Reply<'_>) {
        reply.array(self.count);
        reply.raw(&self.encoded);
    }
}

fn keys(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let found = KeyList::new(reply.proto());
    steps::run(exec, args, reply, Finding { shard: 0, cursor: 0, found, answered_bytes: None })
}

/// All keys that match a pattern are being found, shard by shard.
#[derive(Debug)]
struct Finding {
    /// The first shard that has not been gone through.
    shard: u16,
    /// Where to go on there.
    cursor: u64,
    found: KeyList,
    /// How much has been answered, once all are found.
    answered_bytes: Option<usize>,
}

impl Steps for Finding {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let encoded = &self.found.encoded;
        if let Some(answered) = self.answered_bytes {
            let end = encoded.len().min(answered + KEYS_STEP_BYTES);
            reply.raw(&encoded[answered..end]);
            self.answered_bytes = Some(end);
            return Ok(Progress::done_if(end == encoded.len()));
        }
        let (db, now, pattern) = (exec.db, exec.now.unix, Pattern::new(args.at(1)));
        let Some((id, keyspace)) = exec.each().find(|(id, _)| id.0 >= self.shard) else {
            reply.array(self.found.count);
            self.answered_bytes = Some(0);
            return Ok(Progress::Begun);
        };
        self.cursor = keyspace.scan(db, self.cursor, KEYS_STEP, now, |entry| {
            if pattern.matches(entry.key) {
                self.found.push(entry.key);
            }
        });
        self.shard = id.0 + u16::from(self.cursor == 0);
        Ok(Progress::Begun)
    }
}

/// What keys `KEYS` and `SCAN` answer with: `*` is all of them, the empty key included.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pattern<'a> {
    All,
    Glob(&'a [u8]),
}

impl<'a> Pattern<'a> {
    pub(super) fn new(pattern: &'a [u8]) -> Self {
        if pattern == b"*" { Self::All } else { Self::Glob(pattern) }
    }

    pub(super) fn matches(self, key: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Glob(pattern) => glob::matches(pattern, key, Case::Sensitive),
        }
    }
}

/// A place in the walk over all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    shard: u64,
    local: u64,
}

impl Cursor {
    const START: Self = Self { shard: 0, local: 0 };

    fn from_number(number: u64) -> Self {
        Self { shard: number & ((1 << SHARD_BITS) - 1), local: number >> SHARD_BITS }
    }

    fn number(self) -> u64 {
        self.local << SHARD_BITS | self.shard
    }

    /// The shard that the walk goes on in: the one it is in the middle of, or the next that `view`
    /// covers. `None` at the end, and for a cursor that was never given out.
    fn target(self, view: View, owners: &Owners) -> Option<ShardId> {
        let shard = u16::try_from(self.shard).ok()?;
        if shard >= owners.slots().shard_count() || self.local >> LOCAL_BITS != 0 {
            return None;
        }
        // Where another node of the cluster serves the shard by now, the rest of its keys is there.
        let is_within = self.local != 0 && owners.serves(ShardId(shard));
        if is_within { Some(ShardId(shard)) } else { view.shard_from(owners, shard) }
    }

    /// Where the walk goes on when `shard`'s keyspace answered `local`; the start is the end.
    fn after(shard: ShardId, local: u64, view: View, owners: &Owners) -> Self {
        debug_assert!(local >> LOCAL_BITS == 0, "cursors of a keyspace fit {LOCAL_BITS} bits");
        match local {
            0 => view
                .shard_from(owners, shard.0 + 1)
                .map_or(Self::START, |next| Self { shard: u64::from(next.0), local }),
            local => Self { shard: u64::from(shard.0), local },
        }
    }
}

/// The shard that a `SCAN` with this cursor runs on. `None` if there is nothing left to walk, or `arg`
/// is no cursor: the handler, run without any shard, ends the walk or gives the error.
pub fn cursor_shard(arg: &[u8], view: View, owners: &Owners) -> Option<ShardId> {
    shard_of(parse_cursor(arg)?, view, owners)
}

/// The shard that a walk goes on in at the cursor `number`, if it does.
pub(super) fn shard_of(number: u64, view: View, owners: &Owners) -> Option<ShardId> {
    Cursor::from_number(number).target(view, owners)
}

/// Reads a cursor as C's `strtoul` would: a sign is allowed, a minus counts from 2^64 down, nothing
/// at all is 0, and a zero byte ends the number.
pub(super) fn parse_cursor(arg: &[u8]) -> Option<u64> {
    let text = arg.split(|&byte| byte == 0).next().unwrap_or(arg);
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0u64;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(if negative { number.wrapping_neg() } else { number })
}

fn wants(options: &Scan<'_>, entry: &EntryRef<'_>) -> bool {
    let is_type = |name: &[u8]| name.eq_ignore_ascii_case(entry.type_name().as_bytes());
    options.type_name.is_none_or(is_type) && options.pattern.matches(entry.key)
}

fn scan(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let number = Scan::cursor(args, Walk::Keys)?;
    let options = Scan::parse(args, Walk::Keys)?;
    let mut found = KeyList::new(reply.proto());
    let next = walk(exec, number, options.count, |entry| {
        if wants(&options, &entry) {
            found.push(entry.key);
        }
    });
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    found.write(reply);
    Ok(())
}

/// One step of a walk over all keys from the cursor `number` on; answers the cursor to go on with.
pub(super) fn walk(
    exec: &mut Exec<'_>,
    number: u64,
    count: usize,
    mut visit: impl FnMut(EntryRef<'_>),
) -> u64 {
    let cursor = Cursor::from_number(number);
    let (db, now, view, owners) = (exec.db, exec.now.unix, exec.view, exec.owners);
    // The shard at hand is the one that the cursor leads to. It is not looked up again: owners may
    // have changed since, and this walk is in that shard now.
    match exec.each().next() {
        None => 0,
        Some((shard, keyspace)) => {
            let is_within = u64::from(shard.0) == cursor.shard;
            let local = if is_within { cursor.local } else { 0 };
            let local = keyspace.scan(db, local, count, now, &mut visit);
            Cursor::after(shard, local, view, owners).number()
        }
    }
}

/// Chooses a shard by its share of the keys, then a key in it. A shard whose keys have all expired
/// has none to give; then the shards after it are asked.
fn randomkey(exec: &mut Exec<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (db, now) = (exec.db, exec.now.unix);
    let total = key_count(exec, db);
    let random = exec.each().next().map_or(0, |(_, keyspace)| keyspace.random());
    // The high half of the product: below `total`, and as uniform as 64 bits allow.
    let mut rank = (u128::from(random) * u128::from(total)) >> 64;
    let mut first = 0;
    for (index, (_, keyspace)) in exec.each().enumerate() {
        first = index;
        let share = keyspace.len(db) as u128;
        if rank < share {
            break;
        }
        rank -= share;
    }
    let mut key = Vec::new();
    let mut give = |(_, keyspace): (ShardId, &mut crate::cache::Keyspace)| {
        keyspace.len(db) > 0 && keyspace.random_key(db, now, &mut key)
    };
    let found = exec.each().skip(first).any(&mut give) || exec.each().take(first).any(&mut give);
    if found {
        reply.bulk(&key)
    } else {
        reply.null()
    }
    Ok(())
}

fn dbsize(exec: &mut Exec<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let db = exec.db;
    reply.integer(i64::try_from(key_count(exec, db)).unwrap_or(i64::MAX));
    Ok(())
}

fn key_count(exec: &mut Exec<'_>, db: DbIndex) -> u64 {
    exec.each().map(|(_, keyspace)| keyspace.len(db) as u64).sum()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{Cursor, cursor_shard, parse_cursor};
    use crate::command::View;
    use crate::command::replay::{Peer, Shards, bulks, check};
    use crate::limits::{SCAN_COUNT_MAX, SHARDS_MAX};
    use crate::node::OwnerTable;
    use crate::types::{CoreId, DbIndex, ShardId, SlotMap, key_slot};

    pub(crate) const SCRIPT: &[(&str, &str)] = &[
        ("DBSIZE", ":0"),
        ("KEYS *", "*0"),
        ("RANDOMKEY", "$-1"),
        ("~SCAN", ""),
        ("DBSIZE x", "-ERR wrong number of arguments for 'dbsize' command"),
        ("KEYS", "-ERR wrong number of arguments for 'keys' command"),
        ("KEYS a b", "-ERR wrong number of arguments for 'keys' command"),
        ("SCAN", "-ERR wrong number of arguments for 'scan' command"),
        ("RANDOMKEY x", "-ERR wrong number of arguments for 'randomkey' command"),
        ("SET one 1", "+OK"),
        ("DBSIZE", ":1"),
        ("RANDOMKEY", "$3⏎one"),
        ("KEYS *", "*1⏎$3⏎one"),
        ("SET two 2", "+OK"),
        ("SET three 3", "+OK"),
        ("SET \"\" 0", "+OK"),
        ("SET a\\x00b 0", "+OK"),
        ("SET {three}x 3 PX 20", "+OK"),
        ("DBSIZE", ":6"),
        ("@sleep 30", ""),
        ("~KEYS *", " a\\x00b one three two"),
        ("~SCAN", " a\\x00b one three two"),
        ("~KEYS **", "a\\x00b one three two"),
        ("~KEYS t*", "three two"),
        ("~KEYS ?????", "three"),
        ("~KEYS *\\x00?", "a\\x00b"),
        ("~KEYS [^t]*", "a\\x00b one"),
        ("~KEYS T*", ""),
        ("~KEYS \"\"", ""),
        ("KEYS \"\"", "*1⏎$0⏎"),
        ("~SCAN COUNT 1", " a\\x00b one three two"),
        ("~SCAN COUNT 1000000000", " a\\x00b one three two"),
        ("~SCAN MATCH t*", "three two"),
        ("~SCAN match *e count 2", "one three"),
        ("~SCAN COUNT 3 MATCH o* MATCH *", " a\\x00b one three two"),
        ("~SCAN MATCH * TYPE string", " a\\x00b one three two"),
        ("~SCAN TYPE STRING", " a\\x00b one three two"),
        ("~SCAN TYPE list", ""),
        ("~SCAN TYPE nosuchtype", ""),
        ("~SCAN TYPE list TYPE string", " a\\x00b one three two"),
        ("SCAN x", "-ERR invalid cursor"),
        ("SCAN 1x", "-ERR invalid cursor"),
        ("SCAN \" 1\"", "-ERR invalid cursor"),
        ("SCAN -", "-ERR invalid cursor"),
        ("SCAN 18446744073709551616", "-ERR invalid cursor"),
        ("SCAN x COUNT x", "-ERR invalid cursor"),
        ("SCAN 0 COUNT", "-ERR syntax error"),
        ("SCAN 0 COUNT 0", "-ERR syntax error"),
        ("SCAN 0 COUNT -5", "-ERR syntax error"),
        ("SCAN 0 COUNT x", "-ERR value is not an integer or out of range"),
        ("SCAN 0 COUNT 10 MATCH", "-ERR syntax error"),
        ("SCAN 0 TYPE", "-ERR syntax error"),
        ("SCAN 0 NOVALUES", "-ERR NOVALUES option can only be used in HSCAN"),
        ("SCAN 0 COUNT 1 novalues MATCH", "-ERR NOVALUES option can only be used in HSCAN"),
        ("SCAN 0 foo", "-ERR syntax error"),
        ("SCAN 0 foo bar", "-ERR syntax error"),
        ("SELECT 1", "+OK"),
        ("~SCAN", ""),
        ("RANDOMKEY", "$-1"),
    ];

    #[test]
    fn script() {
        check(SCRIPT);
    }

    #[test]
    fn cursors_are_read_as_redis_reads_them() {
        for (text, expect) in [
            ("0", Some(0)),
            ("", Some(0)),
            ("+17", Some(17)),
            ("00017", Some(17)),
            ("-1", Some(u64::MAX)),
            ("-18446744073709551615", Some(1)),
            ("18446744073709551615", Some(u64::MAX)),
            ("5\0junk", Some(5)),
            ("+", None),
            ("--1", None),
            ("0x10", None),
            ("18446744073709551616", None),
            ("99999999999999999999", None),
            ("-18446744073709551616", None),
            ("1 ", None),
            ("\t1", None),
        ] {
            assert_eq!(parse_cursor(text.as_bytes()), expect, "{text:?}");
        }
    }

    /// The view of the common port.
    const ALL: View = View { core: None, cluster: false };

    /// Owners of so many shards of which core 1 has `own`, and core 0 the rest.
    fn table(shard_count: u16, own: &[u16]) -> OwnerTable {
        let table = OwnerTable::new(SlotMap::new(shard_count, 2.min(shard_count)));
        for shard in 0..shard_count {
            let core = CoreId(u16::from(own.contains(&shard)));
            table.set_owner(ShardId(shard), core);
        }
        table
    }

    #[test]
    fn a_walk_visits_the_shards_in_turn_and_ends_at_its_start() {
        let last = ShardId(SHARDS_MAX - 1);
        let own = View { core: Some(CoreId(1)), cluster: false };
        for (shard, local, shards, view, expect) in [
            (ShardId(0), 0, 1, ALL, 0),
            (ShardId(0), 1, 1, ALL, 1 << 10),
            (ShardId(0), 0, 2, ALL, 1),
            (ShardId(1), 0, 2, ALL, 0),
            (ShardId(1), 5, 2, ALL, 5 << 10 | 1),
            (last, (1 << 48) - 1, SHARDS_MAX, ALL, (1 << 58) - 1),
            (last, 0, SHARDS_MAX, ALL, 0),
            (ShardId(4), 0, 9, own, 7),
            (ShardId(4), 7, 9, own, 7 << 10 | 4),
            // In a shard that is not the core's any more the walk goes on, and then to the next.
            (ShardId(5), 7, 9, own, 7 << 10 | 5),
            (ShardId(5), 0, 9, own, 7),
            (ShardId(7), 0, 9, own, 0),
        ] {
            let table = if shards == 9 { table(9, &[4, 7]) } else { table(shards, &[]) };
            let next = Cursor::after(shard, local, view, &table.load());
            assert_eq!(next.number(), expect, "after {local} of {shard:?} of {shards:?}");
            assert_eq!(Cursor::from_number(expect), next);
        }
        for (cursor, view, expect) in [
            ("0", ALL, Some(0)),
            ("3", ALL, Some(3)),
            ("5123", ALL, Some(3)),
            ("9", ALL, None),
            ("-1", ALL, None),
            ("x", ALL, None),
            ("0", own, Some(4)),
            ("3", own, Some(4)),
            ("4", own, Some(4)),
            ("5", own, Some(7)),
            ("5125", own, Some(5)),
            ("8", own, None),
        ] {
            let shard = cursor_shard(cursor.as_bytes(), view, &table(9, &[4, 7]).load());
            assert_eq!(shard, expect.map(ShardId), "{cursor} as {view:?}");
        }
        assert_eq!(cursor_shard(b"0", own, &table(9, &[]).load()), None, "a core without shards");
    }

    #[test]
    fn a_cursor_that_was_never_given_out_ends_the_walk() {
        let mut shards = Shards::new(3);
        for index in 0..50 {
            shards.line(&format!("SET key:{index} x"));
        }
        // Shards that are not there, and places beyond what a keyspace gives out.
        for cursor in ["3", "1023", "-1", "18446744073709551615", "9223372036854775808"] {
            assert_eq!(shards.line(&format!("SCAN {cursor}")), "*2⏎$1⏎0⏎*0", "{cursor}");
        }
        // Places that may or may not be there: no more is asked than a reply.
        for cursor in [1u64 << 10, 77 << 10, (1 << 58) - 1024, 0x1234_5678_9abc << 10 | 1] {
            let reply = shards.line(&format!("SCAN {cursor}"));
            assert!(reply.starts_with("*2⏎$"), "{reply}");
        }
    }

    #[test]
    fn a_core_s_walk_stays_on_its_shards() {
        let mut shards = Shards::new(5);
        for index in 0..200 {
            shards.line(&format!("SET key:{index} x"));
        }
        let owners = table(5, &[1, 4]).load();
        shards.owners = owners.clone();
        let mut sizes = 0;
        for core in 0..2 {
            shards.view.core = Some(CoreId(core));
            let mut keys = shards.walk(" COUNT 7");
            keys.sort();
            let mut named = bulks(&shards.run(&[b"KEYS".to_vec(), b"*".to_vec()]));
            named.sort();
            assert_eq!(keys, named);
            assert!(!keys.is_empty());
            for key in &keys {
                assert_eq!(owners.core_of(owners.slots().shard_of(key_slot(key))).0, core);
            }
            assert_eq!(shards.line("DBSIZE"), format!(":{}", keys.len()));
            sizes += keys.len();
        }
        assert_eq!(sizes, 200);
        shards.view.core = Some(CoreId(1));
        assert_eq!(shards.line("FLUSHALL"), "+OK");
        assert_eq!(shards.line("RANDOMKEY"), "$-1");
        shards.view.core = None;
        assert_ne!(shards.line("DBSIZE"), ":0");
        assert_ne!(shards.line("DBSIZE"), ":200");
    }

    #[test]
    fn a_walk_goes_on_while_shards_change_owners() {
        let mut shards = Shards::new(6);
        for index in 0..600 {
            shards.line(&format!("SET key:{index} x"));
        }
        let table = table(6, &[1, 2, 4]);
        shards.owners = table.load();
        shards.view.core = Some(CoreId(1));
        let (mut found, mut cursor, mut calls) =
            (BTreeMap::<u16, BTreeSet<_>>::new(), b"0".to_vec(), 0);
        loop {
            let mut keys =
                bulks(&shards.run(&[b"SCAN".to_vec(), cursor, b"COUNT".to_vec(), b"5".to_vec()]));
            cursor = keys.remove(0);
            keys.into_iter().for_each(|key| {
                found.entry(shard_of_key(&key)).or_default().insert(key);
            });
            calls += 1;
            if calls == 3 {
                // In the middle of shard 1: it leaves, and so does 4; 0 and 5 come.
                for (shard, core) in [(1, 0), (4, 0), (0, 1), (5, 1)] {
                    assert!(table.set_owner(ShardId(shard), CoreId(core)));
                }
                shards.owners = table.load();
            }
            if cursor == b"0" {
                break;
            }
        }
        // 1 was begun and is whole, 2 stayed, 5 came ahead of the walk; 0 came behind it.
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [1, 2, 5]);
        shards.view.core = None;
        for (shard, keys) in found {
            let all = bulks(&shards.run(&[b"KEYS".to_vec(), b"*".to_vec()]));
            let all: BTreeSet<_> =
                all.into_iter().filter(|key| shard_of_key(key) == shard).collect();
            assert_eq!(keys, all, "of shard {shard}");
        }
        // A core without shards has nothing to walk and counts nothing.
        for shard in 0..6 {
            table.set_owner(ShardId(shard), CoreId(0));
        }
        shards.owners = table.load();
        shards.view.core = Some(CoreId(1));
        for (line, expect) in [
            ("SCAN 0", "*2⏎$1⏎0⏎*0"),
            ("SCAN x", "-ERR invalid cursor"),
            ("DBSIZE", ":0"),
            ("KEYS *", "*0"),
            ("RANDOMKEY", "$-1"),
            ("FLUSHALL", "+OK"),
        ] {
            assert_eq!(shards.line(line), expect, "{line}");
        }
        shards.view.core = None;
        assert_eq!(shards.line("DBSIZE"), ":600");
    }

    fn shard_of_key(key: &[u8]) -> u16 {
        SlotMap::new(6, 2).shard_of(key_slot(key)).0
    }

    #[test]
    fn one_call_visits_a_bounded_number_of_keys() {
        let mut shards = Shards::new(1);
        for index in 0..2 * SCAN_COUNT_MAX {
            shards.run(&[b"SET".to_vec(), index.to_string().into_bytes(), b"x".to_vec()]);
        }
        let reply = shards.run(&["SCAN", "0", "COUNT", "1000000"].map(|a| a.as_bytes().to_vec()));
        let found = bulks(&reply).len() - 1;
        assert!((SCAN_COUNT_MAX / 2..SCAN_COUNT_MAX * 3 / 2).contains(&found), "{found} keys");
        let all: BTreeSet<_> = shards.walk(" COUNT 1000000").into_iter().collect();
        assert_eq!(all.len(), 2 * SCAN_COUNT_MAX);
    }

    #[test]
    fn keys_that_stay_are_found_while_others_come_and_go() {
        let mut shards = Shards::new(4);
        for index in 0..500 {
            shards.line(&format!("SET stays:{index} x"));
            shards.line(&format!("SET goes:{index} x"));
        }
        let (mut found, mut cursor, mut turn) = (BTreeSet::new(), b"0".to_vec(), 0);
        loop {
            let mut keys = bulks(&shards.run(&[b"SCAN".to_vec(), cursor]));
            cursor = keys.remove(0);
            found.extend(keys);
            if cursor == b"0" {
                break;
            }
            for _ in 0..20 {
                shards.line(&format!("DEL goes:{turn}"));
                shards.line(&format!("SET comes:{turn} x"));
                turn += 1;
            }
            assert!(turn < 200_000, "the walk does not end");
        }
        for index in 0..500 {
            let key = format!("stays:{index}").into_bytes();
            assert!(found.contains(&key), "stays:{index} was not found");
        }
    }

    #[test]
    fn random_keys_come_from_all_shards_alike() {
        let mut shards = Shards::new(5);
        for index in 0..40 {
            shards.line(&format!("SET key:{index} x"));
        }
        let mut drawn = BTreeMap::<Vec<u8>, u32>::new();
        for _ in 0..8_000 {
            let reply = shards.run(&[b"RANDOMKEY".to_vec()]);
            *drawn.entry(bulks(&reply).remove(0)).or_default() += 1;
        }
        assert_eq!(drawn.len(), 40);
        for (key, times) in drawn {
            assert!((50..600).contains(&times), "{} was drawn {times} times", key.escape_ascii());
        }
    }

    #[test]
    fn a_random_key_is_found_behind_expired_ones() {
        let mut shards = Shards::new(5);
        for index in 0..40 {
            shards.line(&format!("SET key:{index} x PX 10"));
        }
        shards.line("SET alive x");
        shards.sleep(20);
        for _ in 0..50 {
            assert_eq!(shards.line("RANDOMKEY"), "$5⏎alive");
        }
        shards.line("DEL alive");
        assert_eq!(shards.line("RANDOMKEY"), "$-1");
    }

    #[test]
    fn null_is_null_in_resp3() {
        let mut shards = Shards::new(2);
        shards.proto = crate::protocol::Proto::Resp3;
        shards.db = DbIndex(15);
        for line in ["RANDOMKEY", "DUMP a", "OBJECT ENCODING a", "MEMORY USAGE a"] {
            assert_eq!(shards.line(line), "_", "{line}");
        }
    }
}
