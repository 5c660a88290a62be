//! Replays scripts of commands and compares the replies, byte for byte: against this crate's
//! handlers over any number of shards, and against a real Redis, which is where the expectations
//! come from.
//!
//! A script is a list of command lines and replies. Replies are written without the last line break,
//! other line breaks as `⏎`, bytes that can't be shown as `\xNN`. Lines that are no commands:
//!
//! - `@sleep MS` lets time pass;
//! - `~KEYS …` and `~SCAN …` (all calls of the walk together) reply with the keys in order.

mod redis;

use std::sync::Arc;
use std::time::Duration;

use crate::cache::{EvictionPolicy, Keyspace, KeyspaceOptions};
use crate::command::exec::{Keyspaces, RoutedKey};
use crate::command::{Command, Error, Exec, Flags, Group, Handler, Handover, Keys, View};
use crate::command::{
    bitmap, cluster_keys, counters, databases, dump, expire, hashes, keys, lcs, lists, object,
    scan, sets, sort, sorted_sets, strings,
};
use crate::limits::BULK_BYTES_MAX;
use crate::node::Owners;
use crate::protocol::args::ArgRange;
use crate::protocol::{Args, Proto, Reply};
use crate::types::{DbIndex, MonoUs, Now, ShardId, SlotMap, key_slot};

/// The commands under test.
const GROUPS: &[&[Command]] = &[
    CONTAINERS,
    strings::COMMANDS,
    counters::COMMANDS,
    bitmap::COMMANDS,
    lcs::COMMANDS,
    hashes::COMMANDS,
    sets::COMMANDS,
    sorted_sets::COMMANDS,
    lists::COMMANDS,
    sort::COMMANDS,
    keys::COMMANDS,
    expire::COMMANDS,
    scan::COMMANDS,
    databases::COMMANDS,
    object::COMMANDS,
    dump::COMMANDS,
];

/// The containers of single subcommands.
const CONTAINERS: &[Command] = &[
    container("debug", &[object::DEBUG_OBJECT]),
    container("memory", &[object::MEMORY_USAGE]),
    container("cluster", &[cluster_keys::COUNTKEYSINSLOT, cluster_keys::GETKEYSINSLOT]),
];

const fn container(name: &'static str, subcommands: &'static [Command]) -> Command {
    Command {
        name,
        arity: -2,
        flags: Flags::empty(),
        keys: Keys::None,
        handler: Handler::Container(subcommands),
        group: Group::Server,
        summary: "",
        since: "",
        steps: None,
        complexity: "",
    }
}

/// The handlers over some shards, with a clock that stands still unless told.
pub(crate) struct Shards {
    pub(crate) keyspaces: Vec<Keyspace>,
    pub(crate) owners: Arc<Owners>,
    pub(crate) now: Now,
    pub(crate) db: DbIndex,
    pub(crate) proto: Proto,
    pub(crate) policy: EvictionPolicy,
    pub(crate) no_touch: bool,
    pub(crate) view: View,
}

impl Shards {
    /// Runs a line; answers how many changes, hits and misses it counted.
    pub(crate) fn counted(&mut self, line: &str) -> [u64; 3] {
        let before = self.counts();
        self.line(line);
        let after = self.counts();
        std::array::from_fn(|at| after[at] - before[at])
    }

    /// Changes, hits and misses of all shards.
    fn counts(&self) -> [u64; 3] {
        let counts = self.keyspaces.iter().map(|keyspace| keyspace.counts());
        counts.fold([0; 3], |[changes, hits, misses], more| {
            [changes + more.changes, hits + more.hits, misses + more.misses]
        })
    }

    pub(crate) fn new(shard_count: u16) -> Self {
        let slots = SlotMap::new(shard_count, 1);
        let keyspace = |shard: u16| {
            let slots = slots.slots_of(ShardId(shard));
            Keyspace::new(KeyspaceOptions { slots, seed: 0x5eed + u64::from(shard), sequence: 0 })
        };
        Self {
            keyspaces: (0..shard_count).map(keyspace).collect(),
            owners: Arc::new(Owners::at_start(slots)),
            now: Now::new(Duration::from_secs(1_700_000_000), MonoUs(0)),
            db: DbIndex(0),
            proto: Proto::Resp2,
            policy: EvictionPolicy::NoEviction,
            no_touch: false,
            view: View::default(),
        }
    }

    /// Runs one command as the runtime would: with the shards that its row asks for, no others.
    pub(crate) fn run(&mut self, args: &[Vec<u8>]) -> Vec<u8> {
        let bytes = args.concat();
        let mut ranges = Vec::new();
        let mut start = 0;
        for arg in args {
            let length = u32::try_from(arg.len()).expect("short");
            ranges.push(ArgRange { start, length });
            start += length;
        }
        let args = Args::new(&bytes, &ranges);
        let mut out = Vec::new();
        if let Err(error) = self.dispatch(&args, &mut out) {
            out.clear();
            Reply::new(&mut out, self.proto).error(&error.to_string());
        }
        out
    }

    fn dispatch(&mut self, args: &Args<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        if args.at(0).eq_ignore_ascii_case(b"select") {
            self.db = keys::db_argument(args.at(1))?;
            Reply::new(out, self.proto).ok();
            return Ok(());
        }
        let (row, name) = find(args)?;
        if !row.takes(args.len()) {
            return Err(Error::Arity(name));
        }
        let owners = self.owners.clone();
        let slots = owners.slots();
        let (handler, shards): (_, Vec<u16>) = match row.handler {
            Handler::Keyed(handler) => {
                let slot = |index| slots.shard_of(key_slot(args.at(index))).0;
                (handler, row.keys.positions(args).map(slot).collect())
            }
            Handler::KeyedOrAll(handler, is_for_all) if is_for_all(args) => {
                (handler, (0..slots.shard_count()).collect())
            }
            Handler::KeyedOrAll(handler, _) => {
                let slot = |index| slots.shard_of(key_slot(args.at(index))).0;
                (handler, row.keys.positions(args).map(slot).collect())
            }
            Handler::AllShards(handler) => {
                (handler, self.view.shards(&owners).map(|shard| shard.0).collect())
            }
            Handler::Cursor(handler, at) => {
                let shard = scan::cursor_shard(args.at(at.into()), self.view, &owners);
                (handler, shard.into_iter().map(|shard| shard.0).collect())
            }
            Handler::Slot(handler, at) => {
                let slot = cluster_keys::slot_argument(args.at(at.into()));
                (handler, vec![slot.map_or(0, |slot| slots.shard_of(slot).0)])
            }
            Handler::Session(_) | Handler::Container(_) => unreachable!("{name} is not for data"),
        };
        self.call(handler, &shards, args, out)
    }

    fn call(
        &mut self,
        handler: crate::command::DataHandler,
        shards: &[u16],
        args: &Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mut held: Vec<Option<&mut Keyspace>> = Vec::new();
        for (shard, keyspace) in self.keyspaces.iter_mut().enumerate() {
            let named = shards.iter().any(|&named| usize::from(named) == shard);
            held.push(named.then_some(keyspace));
        }
        let alone = shards.iter().all(|shard| Some(shard) == shards.first());
        let keyspaces = match shards.first() {
            Some(&shard) if alone => {
                let keyspace = held.swap_remove(shard.into()).expect("it is held");
                Keyspaces::One(ShardId(shard), keyspace)
            }
            _ => Keyspaces::Many(&mut held),
        };
        let mut handover = Handover::default();
        let mut exec = Exec {
            routed: RoutedKey::NONE,
            now: self.now,
            db: self.db,
            no_touch: self.no_touch,
            policy: self.policy,
            owners: &self.owners,
            view: self.view,
            value_bytes_max: BULK_BYTES_MAX,
            keyspaces,
            handover: &mut handover,
        };
        let result = handler(&mut exec, args, &mut Reply::new(out, self.proto));
        if let Some(value) = handover.reply {
            Reply::new(out, self.proto).bulk(value.bytes());
        }
        result
    }
}

impl Peer for Shards {
    fn send(&mut self, args: &[Vec<u8>]) -> Vec<u8> {
        self.run(args)
    }

    fn sleep(&mut self, ms: u64) {
        let unix = Duration::from_micros(self.now.unix_us) + Duration::from_millis(ms);
        self.now = Now::new(unix, MonoUs(self.now.mono.0 + ms * 1000));
    }
}

fn find(args: &Args<'_>) -> Result<(&'static Command, String), Error> {
    let named = |rows: &'static [Command], name: &[u8]| {
        rows.iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(name))
    };
    let name = args.at(0);
    let row = GROUPS.iter().find_map(|rows| named(rows, name)).expect("a command under test");
    match (row.handler, args.get(1)) {
        (Handler::Container(rows), Some(sub)) => {
            let sub = named(rows, sub).expect("a subcommand under test");
            Ok((sub, format!("{}|{}", row.name, sub.name)))
        }
        (Handler::Container(_), None) => Err(Error::Arity(row.name.to_owned())),
        _ => Ok((row, row.name.to_owned())),
    }
}

/// Bytes of the reply at the start of `bytes`, if it is all there. Knows what the commands under
/// test answer in RESP2.
fn reply_length(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (head, body) = (&bytes[..line], line + 2);
    let number = || -> Option<usize> { std::str::from_utf8(&head[1..]).ok()?.parse().ok() };
    match (head[0], number()) {
        (b'$', Some(length)) => Some(body + length + 2).filter(|&end| end <= bytes.len()),
        (b'*', Some(count)) => {
            (0..count).try_fold(body, |at, _| Some(at + reply_length(bytes.get(at..)?)?))
        }
        _ => Some(body),
    }
}

/// The bulk strings in a reply.
pub(crate) fn bulks(reply: &[u8]) -> Vec<Vec<u8>> {
    let line = reply.windows(2).position(|pair| pair == b"\r\n").expect("a line");
    let (head, mut at) = (&reply[..line], line + 2);
    match head[0] {
        b'$' if head != b"$-1" => vec![reply[at..reply.len() - 2].to_vec()],
        b'*' => {
            let mut all = Vec::new();
            while at < reply.len() {
                let length = reply_length(&reply[at..]).expect("a whole reply");
                all.extend(bulks(&reply[at..at + length]));
                at += length;
            }
            all
        }
        _ => Vec::new(),
    }
}

/// Who answers the commands of a script.
pub(crate) trait Peer {
    /// Runs one command; the bytes of the reply.
    fn send(&mut self, args: &[Vec<u8>]) -> Vec<u8>;
    /// Lets so many milliseconds pass.
    fn sleep(&mut self, ms: u64);

    /// Runs one line of a script; the reply as scripts show it.
    fn line(&mut self, line: &str) -> String {
        if let Some(ms) = line.strip_prefix("@sleep ") {
            self.sleep(ms.parse().expect("milliseconds"));
            return String::new();
        }
        if let Some(line) = line.strip_prefix("~SCAN") {
            return in_order(self.walk(line));
        }
        if let Some(line) = line.strip_prefix('~') {
            return in_order(bulks(&self.send(&split(line))));
        }
        show(&self.send(&split(line)))
    }

    /// All keys of a walk with `SCAN` and these options.
    fn walk(&mut self, options: &str) -> Vec<Vec<u8>> {
        let (mut found, mut cursor) = (Vec::new(), b"0".to_vec());
        loop {
            let mut args = vec![b"SCAN".to_vec(), cursor];
            args.extend(split(options));
            let mut keys = bulks(&self.send(&args));
            cursor = keys.remove(0);
            found.extend(keys);
            if cursor == b"0" {
                return found;
            }
        }
    }
}

/// The words of a command line; quotes hold blanks and nothing, `\xNN` any byte.
fn split(line: &str) -> Vec<Vec<u8>> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None, false);
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                quoted = !quoted;
                word.get_or_insert_with(Vec::new);
            }
            b' ' if !quoted => words.extend(word.take()),
            b'\\' => {
                let digits = [bytes.nth(1), bytes.next()].map(|digit| digit.expect("\\xNN"));
                let digits = std::str::from_utf8(&digits).expect("ASCII");
                let byte = u8::from_str_radix(digits, 16).expect("hexadecimal digits");
                word.get_or_insert_with(Vec::new).push(byte);
            }
            byte => word.get_or_insert_with(Vec::new).push(byte),
        }
    }
    words.extend(word);
    words
}

fn show(reply: &[u8]) -> String {
    let body = reply.strip_suffix(b"\r\n").expect("a reply ends with a line break");
    let mut shown = String::new();
    for &byte in body {
        match byte {
            b'\r' => {}
            b'\n' => shown.push('⏎'),
            b' '..=b'~' if byte != b'\\' => shown.push(char::from(byte)),
            byte => shown.push_str(&format!("\\x{byte:02x}")),
        }
    }
    shown
}

fn in_order(mut keys: Vec<Vec<u8>>) -> String {
    keys.sort();
    keys.dedup();
    let shown: Vec<_> = keys.iter().map(|key| key.escape_ascii().to_string()).collect();
    shown.join(" ")
}

fn play(peer: &mut dyn Peer, script: &[(&str, &str)], who: &str) {
    for (index, (line, expect)) in script.iter().enumerate() {
        let actual = peer.line(line);
        assert_eq!(actual, *expect, "{who}, line {index}: {line}");
    }
}

/// Plays a script to the handlers over one shard and over several.
pub(crate) fn check(script: &[(&str, &str)]) {
    for shard_count in [1, 2, 7] {
        play(&mut Shards::new(shard_count), script, &format!("{shard_count} shards"));
    }
}
