//! The commands that are known: what they do, and what a server that works answers them.
//!
//! A command that is not in the table may be asked all the same; anything but an error is then right.

use super::Kind;
use super::mix::{Piece, Words};

/// The reply that a command has when it goes well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// Anything.
    Any,
    /// `+OK`.
    Ok,
    /// `+OK`, or nothing if a condition was not met.
    OkOrNull,
    /// A line of text.
    Simple,
    Integer,
    /// A bulk string.
    Bulk,
    /// A bulk string, or nothing if there is none: a hit or a miss.
    Value,
    /// One of them for each of so many keys.
    Values(usize),
    /// An array, set or map.
    Aggregate,
}

/// What a command does to the values that `--verify` follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It leaves them as they are and does not show them.
    Nothing,
    /// It answers with them.
    Reads,
    /// It replaces them.
    Writes,
    /// It may make them vanish.
    Removes,
    /// It changes them in a way of its own, or nobody knows.
    Changes,
}

/// What is known about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) kind: Kind,
    pub(super) expect: Expect,
    pub(super) effect: Effect,
    /// Whether what it touches may be gone some time later.
    pub(super) vanishes: bool,
    /// Whether it works on keys.
    pub(super) has_keys: bool,
}

/// A built-in command: its name in a mix, what it stands for, and what it stands for with `--ttl`.
pub(super) struct BuiltIn {
    pub(super) name: &'static str,
    pub(super) template: &'static str,
    pub(super) with_ttl: Option<&'static str>,
}

const fn built_in(name: &'static str, template: &'static str) -> BuiltIn {
    BuiltIn { name, template, with_ttl: None }
}

const TEN_KEYS: &str = "mget {key} {key} {key} {key} {key} {key} {key} {key} {key} {key}";
const TEN_VALUES: &str = "mset {key} {value} {key} {value} {key} {value} {key} {value} {key} {value} \
                          {key} {value} {key} {value} {key} {value} {key} {value} {key} {value}";

/// Single words that a mix may name. Lists, sets, hashes and counters are those of redis-benchmark.
pub(super) const BUILT_IN: [BuiltIn; 27] = [
    built_in("get", "get {key}"),
    BuiltIn {
        name: "set",
        template: "set {key} {value}",
        with_ttl: Some("set {key} {value} px {ttl_ms}"),
    },
    BuiltIn {
        name: "setnx",
        template: "set {key} {value} nx",
        with_ttl: Some("set {key} {value} nx px {ttl_ms}"),
    },
    built_in("mget", TEN_KEYS),
    built_in("mset", TEN_VALUES),
    built_in("incr", "incr counter:{n}"),
    built_in("decr", "decr counter:{n}"),
    built_in("append", "append {key} {value}"),
    built_in("strlen", "strlen {key}"),
    built_in("getrange", "getrange {key} 0 -1"),
    built_in("exists", "exists {key}"),
    built_in("ttl", "ttl {key}"),
    built_in("touch", "touch {key}"),
    built_in("expire", "pexpire {key} {ttl_ms}"),
    built_in("del", "del {key}"),
    built_in("unlink", "unlink {key}"),
    built_in("ping", "ping"),
    built_in("lpush", "lpush {=mylist} {value}"),
    built_in("rpush", "rpush {=mylist} {value}"),
    built_in("lpop", "lpop {=mylist}"),
    built_in("rpop", "rpop {=mylist}"),
    built_in("lrange", "lrange {=mylist} 0 99"),
    built_in("sadd", "sadd {=myset} element:{n}"),
    built_in("spop", "spop {=myset}"),
    built_in("hset", "hset {=myhash} element:{n} {value}"),
    built_in("hget", "hget {=myhash} element:{n}"),
    built_in("zadd", "zadd {=myzset} {random} element:{n}"),
];

/// Commands that work on no key.
const KEYLESS: [&str; 9] =
    ["PING", "ECHO", "TIME", "INFO", "DBSIZE", "COMMAND", "CLIENT", "CONFIG", "FLUSHALL"];

/// Commands by reply and effect; those whose reply depends on their arguments are in [`meaning`].
const KNOWN: [(Kind, Expect, Effect, &[&str]); 13] = [
    (Kind::Read, Expect::Value, Effect::Reads, &["GET"]),
    (Kind::Read, Expect::Value, Effect::Nothing, &["HGET", "LINDEX", "ZSCORE"]),
    (Kind::Read, Expect::Bulk, Effect::Nothing, &["GETRANGE", "SUBSTR", "ECHO"]),
    (
        Kind::Read,
        Expect::Integer,
        Effect::Nothing,
        &[
            "STRLEN",
            "EXISTS",
            "TTL",
            "PTTL",
            "TOUCH",
            "LLEN",
            "SCARD",
            "SISMEMBER",
            "HLEN",
            "HEXISTS",
            "HSTRLEN",
            "ZCARD",
            "BITCOUNT",
            "GETBIT",
        ],
    ),
    (
        Kind::Read,
        Expect::Aggregate,
        Effect::Nothing,
        &["LRANGE", "SMEMBERS", "HGETALL", "HMGET", "HKEYS", "HVALS", "ZRANGE"],
    ),
    (Kind::Read, Expect::Simple, Effect::Nothing, &["TYPE"]),
    (Kind::Other, Expect::Integer, Effect::Nothing, &["DBSIZE", "PERSIST"]),
    (Kind::Other, Expect::Aggregate, Effect::Nothing, &["TIME"]),
    (
        Kind::Write,
        Expect::Ok,
        Effect::Changes,
        &["MSET", "HMSET", "SETEX", "PSETEX", "LSET", "LTRIM"],
    ),
    (
        Kind::Write,
        Expect::Integer,
        Effect::Changes,
        &[
            "INCR", "DECR", "INCRBY", "DECRBY", "APPEND", "SETRANGE", "SETNX", "MSETNX", "SETBIT",
            "LPUSH", "RPUSH", "LPUSHX", "RPUSHX", "SADD", "SREM", "HSET", "HSETNX", "HDEL",
            "HINCRBY", "ZREM", "PFADD",
        ],
    ),
    (Kind::Write, Expect::Value, Effect::Changes, &["GETSET"]),
    (
        Kind::Write,
        Expect::Integer,
        Effect::Removes,
        &["DEL", "UNLINK", "EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"],
    ),
    (Kind::Write, Expect::Ok, Effect::Removes, &["FLUSHALL", "FLUSHDB"]),
];

/// What the command does.
pub(super) fn meaning(words: &Words) -> Meaning {
    let name = upper(&words[0]);
    let options: Vec<String> = words[1..].iter().map(|word| upper(word)).collect();
    let has = |wanted: &[&str]| options.iter().any(|option| wanted.contains(&option.as_str()));
    let expires = has(&["EX", "PX", "EXAT", "PXAT"]);
    let has_keys = !KEYLESS.contains(&name.as_str());
    let (kind, expect, effect) = match (name.as_str(), options.len()) {
        ("SET", _) => set(has(&["GET"]), has(&["NX", "XX", "IFEQ", "IFNE"])),
        ("MGET", count) => (Kind::Read, Expect::Values(count), Effect::Reads),
        ("GETEX", _) => (Kind::Read, Expect::Value, Effect::Reads),
        ("GETDEL", _) => (Kind::Write, Expect::Value, Effect::Reads),
        // With a count they answer an array.
        ("LPOP" | "RPOP" | "SPOP" | "SRANDMEMBER", 1) => {
            (Kind::Write, Expect::Value, Effect::Changes)
        }
        // With `INCR` it answers the score.
        ("ZADD", _) if !has(&["INCR"]) => (Kind::Write, Expect::Integer, Effect::Changes),
        ("PING", 0) => (Kind::Other, Expect::Simple, Effect::Nothing),
        ("PING", _) => (Kind::Other, Expect::Bulk, Effect::Nothing),
        _ => KNOWN
            .iter()
            .find(|(.., names)| names.contains(&name.as_str()))
            .map_or((Kind::Other, Expect::Any, Effect::Changes), |row| (row.0, row.1, row.2)),
    };
    let vanishes = expires || effect == Effect::Removes || name == "GETDEL";
    Meaning { kind, expect, effect, vanishes, has_keys }
}

fn set(answers_old: bool, has_condition: bool) -> (Kind, Expect, Effect) {
    match (answers_old, has_condition) {
        (true, _) => (Kind::Write, Expect::Value, Effect::Changes),
        (false, true) => (Kind::Write, Expect::OkOrNull, Effect::Writes),
        (false, false) => (Kind::Write, Expect::Ok, Effect::Writes),
    }
}

/// A word in capitals; empty if it holds placeholders, which are no options.
fn upper(word: &[Piece]) -> String {
    match word {
        [Piece::Text(text)] => String::from_utf8_lossy(text).to_ascii_uppercase(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{BUILT_IN, Effect, Expect, Kind, meaning};
    use crate::work::mix::words;

    #[test]
    fn commands_mean_what_redis_documents() {
        for (command, kind, expect, effect, vanishes) in [
            ("get {key}", Kind::Read, Expect::Value, Effect::Reads, false),
            ("GETEX {key} EX 5", Kind::Read, Expect::Value, Effect::Reads, true),
            ("getdel {key}", Kind::Write, Expect::Value, Effect::Reads, true),
            ("set {key} {value}", Kind::Write, Expect::Ok, Effect::Writes, false),
            ("set {key} {value} ex {ttl}", Kind::Write, Expect::Ok, Effect::Writes, true),
            ("set {key} {value} NX", Kind::Write, Expect::OkOrNull, Effect::Writes, false),
            ("set {key} {value} xx get", Kind::Write, Expect::Value, Effect::Changes, false),
            ("mget {key} {key} a", Kind::Read, Expect::Values(3), Effect::Reads, false),
            ("incr {key}", Kind::Write, Expect::Integer, Effect::Changes, false),
            ("del {key}", Kind::Write, Expect::Integer, Effect::Removes, true),
            ("lpop l", Kind::Write, Expect::Value, Effect::Changes, false),
            ("lpop l 2", Kind::Other, Expect::Any, Effect::Changes, false),
            ("zadd z 1 {key}", Kind::Write, Expect::Integer, Effect::Changes, false),
            ("zadd z incr 1 {key}", Kind::Other, Expect::Any, Effect::Changes, false),
            ("ping", Kind::Other, Expect::Simple, Effect::Nothing, false),
            ("ping a", Kind::Other, Expect::Bulk, Effect::Nothing, false),
            ("whatever {key}", Kind::Other, Expect::Any, Effect::Changes, false),
        ] {
            let meaning = meaning(&words(command).unwrap());
            let seen = (meaning.kind, meaning.expect, meaning.effect, meaning.vanishes);
            assert_eq!(seen, (kind, expect, effect, vanishes), "{command}");
        }
    }

    #[test]
    fn built_in_commands_are_known_and_named_once() {
        for (index, built_in) in BUILT_IN.iter().enumerate() {
            assert!(!BUILT_IN[..index].iter().any(|other| other.name == built_in.name));
            for template in [Some(built_in.template), built_in.with_ttl].into_iter().flatten() {
                let meaning = meaning(&words(template).unwrap());
                assert_ne!(meaning.expect, Expect::Any, "{template}");
            }
        }
    }
}
