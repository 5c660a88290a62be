//! Comparison with a real Redis 7.0, on demand: the scripts, the rows, dumps, and random commands.
//!
//! Start `redis-server --port 7000 --save '' --enable-debug-command yes`, then run
//! `RINGMAIN_TEST_REDIS=127.0.0.1:7000 cargo test --lib redis:: -- --ignored --test-threads 1`.
//! The server is emptied.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{GROUPS, Peer, Shards, bulks, play, reply_length};
use crate::command::{Command, Flags, Group, Handler};
use crate::command::{
    bitmap, counters, databases, dump, expire, hashes, keys, lcs, lists, object, scan, sets, sort,
    sorted_sets, strings,
};
use crate::protocol::{Proto, Reply};
use crate::types::UnixMs;

/// A Redis server at the address in this environment variable.
const REDIS_VARIABLE: &str = "RINGMAIN_TEST_REDIS";

/// A connection to a real Redis.
struct Redis(TcpStream);

impl Redis {
    fn connect() -> Self {
        let address = std::env::var(REDIS_VARIABLE).expect("an address like 127.0.0.1:6379");
        let mut redis = Self(TcpStream::connect(address).expect("a Redis server"));
        assert_eq!(redis.line("FLUSHALL"), "+OK");
        redis
    }
}

impl Peer for Redis {
    fn send(&mut self, args: &[Vec<u8>]) -> Vec<u8> {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            Reply::new(&mut request, Proto::Resp2).bulk(arg);
        }
        self.0.write_all(&request).expect("the server takes the request");
        let mut reply = Vec::new();
        let mut chunk = [0; 65536];
        while reply_length(&reply).is_none() {
            let length = self.0.read(&mut chunk).expect("the server replies");
            assert!(length > 0, "the server closed the connection");
            reply.extend_from_slice(&chunk[..length]);
        }
        reply
    }

    fn sleep(&mut self, ms: u64) {
        std::thread::sleep(std::time::Duration::from_millis(ms));
    }
}

/// The scripts expect what Redis does.
#[test]
#[ignore = "needs a Redis server"]
fn scripts_match_redis() {
    for script in [
        lists::tests::SCRIPT,
        sort::tests::SCRIPT,
        strings::tests::SCRIPT,
        counters::tests::SCRIPT,
        bitmap::tests::SCRIPT,
        lcs::tests::SCRIPT,
        hashes::tests::SCRIPT,
        sets::tests::SCRIPT,
        sorted_sets::tests::SCRIPT,
        lists::tests::SCRIPT,
        sort::tests::SCRIPT,
        keys::tests::SCRIPT,
        expire::tests::SCRIPT,
        scan::tests::SCRIPT,
        databases::tests::SCRIPT,
        object::tests::SCRIPT,
        dump::tests::SCRIPT,
    ] {
        play(&mut Redis::connect(), script, "Redis");
    }
}

/// Every row under test says of itself what Redis's `COMMAND INFO` says.
#[test]
#[ignore = "needs a Redis server"]
fn rows_match_redis() {
    let mut redis = Redis::connect();
    for row in GROUPS.iter().flat_map(|rows| rows.iter()) {
        match row.handler {
            Handler::Container(subcommands) => {
                for subcommand in subcommands.iter().filter(|_| row.name != "debug") {
                    check_row(&mut redis, subcommand, &format!("{}|{}", row.name, subcommand.name));
                }
            }
            _ => check_row(&mut redis, row, row.name),
        }
    }
}

fn check_row(redis: &mut Redis, row: &Command, name: &str) {
    let named = [
        (Flags::WRITE, "+write"),
        (Flags::READONLY, "+readonly"),
        (Flags::DENYOOM, "+denyoom"),
        (Flags::ADMIN, "+admin"),
        (Flags::FAST, "+fast"),
        (Flags::NOSCRIPT, "+noscript"),
        (Flags::LOADING, "+loading"),
        (Flags::STALE, "+stale"),
        (Flags::DANGEROUS, "+@dangerous"),
    ];
    let info = redis.line(&format!("COMMAND INFO {name}"));
    let words: Vec<_> = info.split('⏎').collect();
    for (flag, word) in named {
        assert_eq!(row.flags.contains(flag), words.contains(&word), "{name}: {word}");
    }
    // `WITHSCORE` came later.
    let arity = if ["zrank", "zrevrank"].contains(&name) { 3 } else { row.arity };
    assert_eq!(words[4], format!(":{arity}"), "{name}: arity");
    let (first, last, step) = row.keys.range();
    let keys = format!(":{first}⏎:{last}⏎:{step}");
    assert!(info.contains(&keys), "{name}: keys are not {keys} in {info}");
    let docs = redis.line(&format!("COMMAND DOCS {name}"));
    assert!(docs.contains(&format!("⏎since⏎$5⏎{}⏎", row.since)), "{name}: since {docs}");
    let group = match row.group {
        Group::SortedSet => "sorted-set".to_owned(),
        group => format!("{group:?}").to_lowercase(),
    };
    assert!(docs.contains(&format!("⏎{group}⏎")), "{name}: group {docs}");
}

/// What one side dumps the other restores.
#[test]
#[ignore = "needs a Redis server"]
fn dumps_are_exchanged_with_redis() {
    let mut redis = Redis::connect();
    let mut shards = Shards::new(3);
    let mut random = Random(7);
    for round in 0..500 {
        let word: Vec<_> = (0..random.below(60)).map(|_| random.next().to_le_bytes()[0]).collect();
        let value = match round % 3 {
            0 => (random.next().cast_signed() >> random.below(64)).to_string().into_bytes(),
            1 => word,
            _ => word.repeat(usize::try_from(random.below(2000)).expect("small")),
        };
        let command = |args: &[&[u8]]| args.iter().map(|arg| arg.to_vec()).collect::<Vec<_>>();
        let set = command(&[b"SET", b"from", &value]);
        let get = command(&[b"GET", b"to"]);
        assert_eq!(redis.send(&set), shards.send(&set));
        let exchange = |from: &mut dyn Peer, to: &mut dyn Peer| {
            let payload = bulks(&from.send(&command(&[b"DUMP", b"from"]))).remove(0);
            let restore = command(&[b"RESTORE", b"to", b"0", &payload, b"REPLACE"]);
            assert_eq!(to.send(&restore), b"+OK\r\n", "{}", value.escape_ascii());
            assert_eq!(bulks(&to.send(&get)), vec![value.clone()]);
        };
        exchange(&mut shards, &mut redis);
        exchange(&mut redis, &mut shards);
    }
}

/// The same random commands to the handlers and to Redis get the same replies.
#[test]
#[ignore = "needs a Redis server"]
fn random_commands_match_redis() {
    for seed in 1..=60 {
        let mut redis = Redis::connect();
        let mut random = Random(seed);
        let mut shards = Shards::new(1 + u16::from(random.next().to_le_bytes()[0]) % 16);
        let mut done = Vec::new();
        for _ in 0..400 {
            let line = random.line();
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let ms = now.expect("a clock after 1970").as_millis();
            shards.now.unix = UnixMs(u64::try_from(ms).expect("a clock before the far future"));
            let expect = redis.line(&line);
            let actual = shards.line(&line);
            done.push(line);
            if !differs_by_nature(done.last().map_or("", String::as_str), &actual, &expect) {
                assert_eq!(actual, expect, "seed {seed}, after {done:#?}");
            }
        }
    }
}

/// Whether two servers may answer so differently: cursors and compression are each one's own, and
/// their clocks are read at different times.
fn differs_by_nature(line: &str, ours: &str, theirs: &str) -> bool {
    let number = |reply: &str| reply.strip_prefix(':').and_then(|n| n.parse::<i64>().ok());
    match line.split(' ').next() {
        Some("SCAN") => ours.starts_with('*') && theirs.starts_with('*'),
        Some("DUMP") => [ours, theirs].iter().all(|reply| reply.contains("⏎\\x00\\xc3")),
        Some("TTL" | "EXPIRETIME" | "PEXPIRETIME") => match (number(ours), number(theirs)) {
            (Some(a), Some(b)) => a.min(b) > 0 && a.abs_diff(b) < 100,
            _ => false,
        },
        _ => false,
    }
}

/// Random commands on strings: words of one or two capitals stand for a random one of their kind.
const STRING_COMMANDS: &[&str] = &[
    "SET K V X",
    "SET K V J",
    "SET K V J J",
    "SET K V J X",
    "SET K V X J",
    "SETNX K V",
    "SETEX K I V",
    "PSETEX K N V",
    "GETSET K V",
    "GETDEL K",
    "GETEX K",
    "GETEX K X",
    "GETEX K J",
    "GETEX K X J",
    "APPEND K V",
    "APPEND K V",
    "STRLEN K",
    "SETRANGE K I V",
    "SETRANGE K I \"\"",
    "GETRANGE K I I",
    "SUBSTR K I I",
    "INCR K",
    "DECR K",
    "INCRBY K I",
    "DECRBY K I",
    // A key of its own: Redis does not store what comes of this as an integer even if it is one.
    "SET float Z",
    "INCRBYFLOAT float Z",
    "INCRBYFLOAT float Z",
    "MGET K K K",
    "MSET K V K V",
    "MSETNX K V K V",
    "LCS K K",
    "LCS K K L",
    "LCS K K L L",
    "SETBIT K B Y",
    "SETBIT K B 1",
    "GETBIT K B",
    "BITCOUNT K",
    "BITCOUNT K I I",
    "BITCOUNT K I I U",
    "BITPOS K Y",
    "BITPOS K Y I",
    "BITPOS K Y I I",
    "BITPOS K Y I I U",
    "BITOP Q K K",
    "BITOP Q K K K",
    "BITFIELD K H T B",
    "BITFIELD K SET T B I H T B",
    "BITFIELD K OVERFLOW OF INCRBY T B I INCRBY T B N",
    "BITFIELD_RO K H T B H T B",
    "BITFIELD_RO K SET T B I",
];

/// The same random patterns find the same keys.
#[test]
#[ignore = "needs a Redis server"]
fn random_patterns_match_redis() {
    let mut redis = Redis::connect();
    let mut shards = Shards::new(1);
    let mut random = Random(3);
    let mut text = |bytes: &[u8], longest: u64| -> Vec<u8> {
        let pick = |random: &mut Random| {
            bytes[usize::try_from(random.below(bytes.len() as u64)).expect("small")]
        };
        (0..random.below(longest + 1)).map(|_| pick(&mut random)).collect()
    };
    for _ in 0..200 {
        let set = [b"SET".to_vec(), text(b"abAB]-[^\\*?\x00\xff", 5), b"x".to_vec()];
        assert_eq!(shards.send(&set), redis.send(&set));
    }
    for _ in 0..5_000 {
        let keys = [b"KEYS".to_vec(), text(b"abcA]]--[[[^^\\\\***?\x00\xff", 9)];
        let [mut ours, mut theirs] = [bulks(&shards.send(&keys)), bulks(&redis.send(&keys))];
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "{}", keys[1].escape_ascii());
    }
}

/// A small generator of random commands (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.below(from.len() as u64)).expect("small")]
    }

    fn line(&mut self) -> String {
        let commands = [
            "SET K V",
            "SET K V",
            "SET K V",
            "SET K V XX KEEPTTL",
            "APPEND K V",
            "INCR K",
            "GET K",
            "DEL K",
            "DEL K K K",
            "UNLINK K K",
            "EXISTS K K K",
            "TYPE K",
            "TOUCH K K",
            "RENAME K K",
            "RENAME K K",
            "RENAMENX K K",
            "COPY K K",
            "COPY K K O",
            "COPY K K O O",
            "COPY K K O O O",
            "MOVE K D",
            "MOVE K D",
            "SWAPDB D D",
            "SELECT D",
            "SELECT D",
            "EXPIRE K N",
            "EXPIRE K x C",
            "EXPIRE nokey N C C",
            "PEXPIRE K N",
            "EXPIREAT K A C",
            "PEXPIREAT K A",
            "PEXPIREAT K A C",
            "PEXPIREAT K A C C",
            "PERSIST K",
            "TTL K",
            "EXPIRETIME K",
            "PEXPIRETIME K",
            "~KEYS P",
            "~KEYS P",
            "~SCAN",
            "~SCAN MATCH P COUNT 3",
            "SCAN 0 S",
            "SCAN 0 S S",
            "DBSIZE",
            "OBJECT ENCODING K",
            "OBJECT FREQ K",
            "DUMP K",
            "RESTORE K N x",
            "RESTORE K A W ABSTTL R",
            "RESTORE K A W R ABSTTL R",
            "FLUSHDB M",
            "MEMORY USAGE nokey S",
        ];
        let template = match self.below(2) {
            0 => self.pick(&commands),
            _ => self.pick(STRING_COMMANDS),
        };
        let words: Vec<_> = template.split(' ').map(|word| self.word(word)).collect();
        words.join(" ")
    }

    fn word(&mut self, word: &str) -> String {
        let options = match word {
            "K" => {
                &["a", "b", "c", "{a}d", "{a}e", "f:1", "f:2", "\"\"", "\\xff\\x00", "nokey"][..]
            }
            "V" => &["1", "-5", "007", "text", "9223372036854775807", "x\\x00y", "\"\"", "99999"],
            "D" => &["0", "1", "2", "2", "15", "16", "-1", "x", "2147483648"],
            "O" => &["REPLACE", "replace", "DB 1", "db 0", "DB 2", "DB", "DB x", "DB 16", "foo"],
            "C" => &["NX", "XX", "GT", "LT", "xx", "lt", "foo"],
            "N" => &["1000", "2000", "3000", "0", "-1", "x", "9223372036854775807", "100000000"],
            "A" => &["33177117420000", "33177117420500", "33177117419999", "1", "0", "-7", "1.5"],
            "P" => {
                &["*", "**", "?", "[a-c]", "f:*", "*[^a]", "\\x5ca", "{*}*", "[", "\"\"", "*\\x00*"]
            }
            "S" => {
                &["MATCH", "COUNT 0", "COUNT x", "COUNT", "foo", "TYPE", "SAMPLES -1", "SAMPLES x"]
            }
            "R" => &["ABSTTL", "REPLACE", "absttl replace", "FREQ 1", "IDLETIME -1", "FREQ 256"],
            "W" => &["\\x00\\xc0\\x01\\x0a\\x00&x\\xe7\\xb6\\xd1\\x01\\x11\\xfc", "x"],
            "M" => &["SYNC", "async", "x", "y", "z", "SYNC SYNC"],
            "I" => &["0", "1", "-1", "3", "-4", "9", "100", "-100", "-99", "x", "4294967296"],
            "Z" => &["0.1", "-2.5e3", "1e17", "0x1p-4", "3.0", "inf", "nan", "-0", "1e-19", "x"],
            "B" => &["0", "1", "7", "9", "#1", "#3", "63", "100", "-1", "x", "4294967296"],
            "T" => &["u1", "u8", "i8", "i5", "u33", "i64", "u63", "u64", "i65", "x8"],
            "Y" => &["0", "1", "0", "1", "2", "x"],
            "U" => &["BIT", "bit", "byte", "foo"],
            "X" => &["EX 1000", "px 90000", "EXAT 33177117420", "PXAT 1", "EX 0", "PX x", "EX"],
            "J" => &["NX", "XX", "GET", "get", "KEEPTTL", "PERSIST", "foo"],
            "L" => &["LEN", "IDX", "idx WITHMATCHLEN", "MINMATCHLEN 2", "MINMATCHLEN", "foo"],
            "Q" => &["AND", "OR", "xor", "NOT", "NAND"],
            "H" => &["GET", "GET", "OVERFLOW SAT GET", "OVERFLOW fail GET", "OVERFLOW foo GET"],
            "OF" => &["WRAP", "SAT", "FAIL", "sat"],
            word => return word.to_owned(),
        };
        self.pick(options).to_owned()
    }
}
