//! What `COMMAND` and `ACL CAT` tell of a command beyond its row: categories, hints for clients, and
//! how its keys are used.
//!
//! Nearly all of it follows from a row's flags, group and keys; the exceptions are listed here by
//! name, because they serve these answers only and would clutter every row.

use super::table::Entry;
use super::{Flags, Group, Keys};

bitflags::bitflags! {
    /// Categories by which Redis's access lists speak of commands.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Categories: u32 {
        /// Works on keys whatever they hold.
        const KEYSPACE = 1 << 0;
        /// Reads data.
        const READ = 1 << 1;
        /// Writes data.
        const WRITE = 1 << 2;
        /// Works on strings.
        const STRING = 1 << 3;
        /// Works on bitmaps.
        const BITMAP = 1 << 4;
        /// Publishes or subscribes.
        const PUBSUB = 1 << 5;
        /// Administers the server.
        const ADMIN = 1 << 6;
        /// Takes constant or logarithmic time.
        const FAST = 1 << 7;
        /// Does not.
        const SLOW = 1 << 8;
        /// May block the client.
        const BLOCKING = 1 << 9;
        /// May do harm.
        const DANGEROUS = 1 << 10;
        /// Works on the connection.
        const CONNECTION = 1 << 11;
        /// Works on lists.
        const LIST = 1 << 12;
        /// Works on sets.
        const SET = 1 << 13;
        /// Works on sorted sets.
        const SORTED_SET = 1 << 14;
        /// Works on hashes.
        const HASH = 1 << 15;
        /// Begins, ends or guards a transaction.
        const TRANSACTION = 1 << 16;
    }
}

impl Categories {
    /// All categories with their names, in Redis's order. Those without a flag have no members yet.
    pub const ORDER: &[(Self, &str)] = &[
        (Self::KEYSPACE, "keyspace"),
        (Self::READ, "read"),
        (Self::WRITE, "write"),
        (Self::SET, "set"),
        (Self::SORTED_SET, "sortedset"),
        (Self::LIST, "list"),
        (Self::HASH, "hash"),
        (Self::STRING, "string"),
        (Self::BITMAP, "bitmap"),
        (Self::empty(), "hyperloglog"),
        (Self::empty(), "geo"),
        (Self::empty(), "stream"),
        (Self::PUBSUB, "pubsub"),
        (Self::ADMIN, "admin"),
        (Self::FAST, "fast"),
        (Self::SLOW, "slow"),
        (Self::BLOCKING, "blocking"),
        (Self::DANGEROUS, "dangerous"),
        (Self::CONNECTION, "connection"),
        (Self::TRANSACTION, "transaction"),
        (Self::empty(), "scripting"),
    ];

    /// The category called `name`, in any case, if Redis has it.
    pub fn named(name: &[u8]) -> Option<Self> {
        let mut all = Self::ORDER.iter();
        all.find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(flag, _)| *flag)
    }

    /// Whether a command in these categories is in `category`, one of [`ORDER`](Self::ORDER).
    pub fn includes(self, category: Self) -> bool {
        !category.is_empty() && self.contains(category)
    }
}

/// The categories of a command.
pub fn categories(entry: &Entry) -> Categories {
    let flags = entry.command.flags;
    let mut all = match entry.command.group {
        _ if entry.is_container() => Categories::empty(),
        _ if matches!(entry.full_name, "sort" | "sort_ro") => {
            Categories::LIST | Categories::SET | Categories::SORTED_SET
        }
        Group::String => Categories::STRING,
        Group::Bitmap => Categories::BITMAP,
        Group::List => Categories::LIST,
        Group::Set => Categories::SET,
        Group::SortedSet => Categories::SORTED_SET,
        Group::Hash => Categories::HASH,
        Group::Generic if entry.full_name == "wait" => Categories::empty(),
        Group::Generic => Categories::KEYSPACE,
        Group::Connection => Categories::CONNECTION,
        Group::Transactions => Categories::TRANSACTION,
        Group::Server | Group::Cluster | Group::PubSub => Categories::empty(),
    };
    for (flag, implied) in [
        (Flags::WRITE, Categories::WRITE),
        (Flags::READONLY, Categories::READ),
        (Flags::ADMIN, Categories::ADMIN.union(Categories::DANGEROUS)),
        (Flags::PUBSUB, Categories::PUBSUB),
        (Flags::BLOCKING, Categories::BLOCKING),
        (Flags::DANGEROUS, Categories::DANGEROUS),
    ] {
        if flags.contains(flag) {
            all |= implied;
        }
    }
    let speed = if flags.contains(Flags::FAST) { Categories::FAST } else { Categories::SLOW };
    all | speed | exceptional_categories(entry.full_name)
}

fn exceptional_categories(name: &str) -> Categories {
    match name {
        "dbsize" => Categories::KEYSPACE,
        "flushall" | "flushdb" | "swapdb" => Categories::KEYSPACE.union(Categories::DANGEROUS),
        "info" | "keys" | "restore" => Categories::DANGEROUS,
        "role" | "lastsave" => Categories::ADMIN.union(Categories::DANGEROUS),
        "asking" | "readonly" | "readwrite" | "command" | "wait" => Categories::CONNECTION,
        name if name.starts_with("command|") => Categories::CONNECTION,
        _ => Categories::empty(),
    }
}

/// What Redis runs while a script that takes too long keeps it busy.
const BUSY: &[&str] =
    &["auth", "hello", "quit", "reset", "shutdown", "multi", "discard", "watch", "unwatch"];

/// Names of a command's flags, in Redis's order.
pub fn flag_names(entry: &Entry) -> Vec<&'static str> {
    const BEFORE: &[(Flags, &str)] = &[
        (Flags::WRITE, "write"),
        (Flags::READONLY, "readonly"),
        (Flags::DENYOOM, "denyoom"),
        (Flags::ADMIN, "admin"),
        (Flags::PUBSUB, "pubsub"),
        (Flags::NOSCRIPT, "noscript"),
        (Flags::BLOCKING, "blocking"),
        (Flags::LOADING, "loading"),
        (Flags::STALE, "stale"),
        (Flags::SKIP_MONITOR, "skip_monitor"),
        (Flags::SKIP_SLOWLOG, "skip_slowlog"),
        (Flags::FAST, "fast"),
        (Flags::NO_AUTH, "no_auth"),
        (Flags::NO_ASYNC_LOADING, "no_async_loading"),
        (Flags::NO_MULTI, "no_multi"),
        (Flags::MOVABLE_KEYS, "movablekeys"),
    ];
    let flags = entry.command.flags;
    let known = BEFORE.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name);
    let busy = BUSY.contains(&entry.full_name);
    known.chain(busy.then_some("allow_busy")).collect()
}

/// Hints for clients and proxies (Redis calls them command tips).
pub fn tips(entry: &Entry) -> &'static [&'static str] {
    const VARIES: &str = "nondeterministic_output";
    const ORDER_VARIES: &str = "nondeterministic_output_order";
    const ALL_NODES: &str = "request_policy:all_nodes";
    const ALL_SHARDS: &str = "request_policy:all_shards";
    const MULTI_SHARD: &str = "request_policy:multi_shard";
    const SUCCEEDED: &str = "response_policy:all_succeeded";
    const SUM: &str = "response_policy:agg_sum";
    const SPECIAL: &str = "response_policy:special";
    match entry.full_name {
        "ping" | "memory|purge" | "flushall" | "flushdb" => &[ALL_SHARDS, SUCCEEDED],
        "config|set" | "latency|reset" | "slowlog|reset" => &[ALL_NODES, SUCCEEDED],
        "info" | "memory|doctor" | "memory|malloc-stats" | "memory|stats" => {
            &[VARIES, ALL_SHARDS, SPECIAL]
        }
        "latency|doctor" | "latency|graph" | "latency|histogram" | "latency|history"
        | "latency|latest" => &[VARIES, ALL_NODES, SPECIAL],
        "slowlog|len" => &[ALL_NODES, SUM, VARIES],
        "slowlog|get" => &[ALL_NODES, VARIES],
        "command" | "command|docs" | "command|info" | "command|list" | "hgetall" | "hkeys"
        | "hvals" => &[ORDER_VARIES],
        "client|info"
        | "client|list"
        | "lastsave"
        | "time"
        | "dump"
        | "ttl"
        | "pttl"
        | "hpttl"
        | "hrandfield"
        | "hscan"
        | "httl"
        | "object|encoding"
        | "object|freq"
        | "object|idletime"
        | "object|refcount"
        | "cluster|count-failure-reports"
        | "cluster|getkeysinslot"
        | "cluster|info"
        | "cluster|links"
        | "cluster|myshardid"
        | "cluster|nodes"
        | "cluster|replicas"
        | "cluster|shards"
        | "cluster|slaves"
        | "cluster|slots"
        | "spop"
        | "srandmember"
        | "sscan"
        | "shard|list"
        | "zrandmember"
        | "zscan" => &[VARIES],
        "sdiff" | "sinter" | "smembers" | "sunion" => &[ORDER_VARIES],
        "del" | "exists" | "touch" | "unlink" => &[MULTI_SHARD, SUM],
        "dbsize" => &[ALL_SHARDS, SUM],
        "mget" => &[MULTI_SHARD],
        "mset" => &[MULTI_SHARD, SUCCEEDED],
        "msetnx" => &[MULTI_SHARD, "response_policy:agg_min"],
        "wait" => &[ALL_SHARDS, "response_policy:agg_min"],
        "keys" => &[ALL_SHARDS, ORDER_VARIES],
        "randomkey" => &[ALL_SHARDS, VARIES],
        "scan" => &[VARIES, "request_policy:special"],
        _ => &[],
    }
}

/// Where some of a command's keys stand and what it does with them (Redis calls it a key spec).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// What is peculiar, in words.
    pub notes: Option<&'static str>,
    /// `RO`, `RW`, `OW` or `RM`, then what becomes of the value.
    pub flags: &'static [&'static str],
    /// Index of the first key.
    pub first: i64,
    /// Index of the last key counted from the first one; if negative, from the end.
    pub last: i64,
    /// Distance between keys.
    pub step: i64,
    /// How they are found.
    pub find: Find,
}

/// How the keys of a [`KeySpec`] are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// From the first to the last.
    Range,
    /// The first is the number of keys, which follow it.
    Counted,
    /// By an option, or not at all: where they begin is a guess.
    Unknown,
}

impl KeySpec {
    /// What this very request does with the keys: some commands do less without certain options.
    pub fn flags_in<'a>(
        &self,
        request: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> &'static [&'static str] {
        if !self.flags.contains(&"variable_flags") {
            return self.flags;
        }
        let has = |word: &[u8]| request.clone().skip(2).any(|arg| arg.eq_ignore_ascii_case(word));
        let is_set = request.clone().next().is_some_and(|name| name.eq_ignore_ascii_case(b"set"));
        match (is_set, has(b"get"), has(b"set") || has(b"incrby")) {
            (true, false, _) => OVERWRITE,
            (false, _, false) => READ,
            (true, true, _) | (false, _, true) => CHANGE,
        }
    }
}

const LOOK: &[&str] = &["RO"];
const READ: &[&str] = &["RO", "access"];
const CHANGE: &[&str] = &["RW", "access", "update"];
const CHANGE_UNREAD: &[&str] = &["RW", "update"];
const MAYBE_CHANGE: &[&str] = &["RW", "access", "update", "variable_flags"];
const TAKE: &[&str] = &["RW", "access", "delete"];
const PUT: &[&str] = &["RW", "insert"];
const INSERT: &[&str] = &["OW", "insert"];
const OVERWRITE: &[&str] = &["OW", "update"];

const NOTE_PATTERNS: &str = "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive \
                             from the content of the key we sort";
const NOTE_STORE: &str = "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear \
                          anywhere in the argument array";

/// The key specs of a command, in order of position.
pub fn key_specs(entry: &Entry) -> Vec<KeySpec> {
    let Keys::Range { first, last, step } = entry.command.keys else {
        return counted_key_specs(entry);
    };
    let first = i64::from(first);
    let (end, step) = (i64::from(last), i64::from(step));
    let spec = |first: i64, last: i64, flags| {
        let last = if last < 0 { last } else { last - first };
        KeySpec { notes: None, flags, first, last, step, find: Find::Range }
    };
    match entry.full_name {
        "rename" => vec![spec(1, 1, TAKE), spec(2, 2, OVERWRITE)],
        "renamenx" => vec![spec(1, 1, TAKE), spec(2, 2, INSERT)],
        "copy" => vec![spec(1, 1, READ), spec(2, 2, OVERWRITE)],
        "lmove" | "rpoplpush" | "blmove" | "brpoplpush" => vec![spec(1, 1, TAKE), spec(2, 2, PUT)],
        "sort_ro" => vec![spec(1, 1, READ), unknown(READ, NOTE_PATTERNS)],
        "bitop" => vec![spec(2, 2, OVERWRITE), spec(3, -1, READ)],
        "smove" => vec![spec(1, 1, TAKE), spec(2, 2, PUT)],
        "sdiffstore" | "sunionstore" => vec![spec(1, 1, OVERWRITE), spec(2, -1, READ)],
        "sinterstore" => vec![spec(1, 1, CHANGE_UNREAD), spec(2, -1, READ)],
        "zrangestore" => vec![spec(1, 1, OVERWRITE), spec(2, 2, READ)],
        name => {
            let notes = notes(name);
            vec![KeySpec { notes, ..spec(first, end, key_flags(entry)) }]
        }
    }
}

/// Those of a command that is told how many keys it has.
fn counted_key_specs(entry: &Entry) -> Vec<KeySpec> {
    let flags = key_flags(entry);
    let spec = KeySpec { notes: None, flags, first: 1, last: 0, step: 1, find: Find::Range };
    let counted = |at: i64, flags| KeySpec { first: at, flags, find: Find::Counted, ..spec };
    match entry.command.keys {
        Keys::None | Keys::Range { .. } => Vec::new(),
        Keys::Counted { count } => vec![counted(i64::from(count), flags)],
        Keys::StoreCounted => vec![KeySpec { flags: OVERWRITE, ..spec }, counted(2, READ)],
        Keys::FirstAndStore => vec![
            KeySpec { flags: READ, ..spec },
            unknown(READ, NOTE_PATTERNS),
            unknown(OVERWRITE, NOTE_STORE),
        ],
    }
}

/// Keys that stand somewhere behind the first.
fn unknown(flags: &'static [&'static str], notes: &'static str) -> KeySpec {
    KeySpec { notes: Some(notes), flags, first: 2, last: 0, step: 0, find: Find::Unknown }
}

fn key_flags(entry: &Entry) -> &'static [&'static str] {
    match entry.full_name {
        "spublish" | "ssubscribe" | "sunsubscribe" => &["not_key"],
        "exists" | "hexists" | "hlen" | "hstrlen" | "llen" | "scard" | "sismember" | "strlen"
        | "touch" | "type" | "zcard" | "memory|usage" | "watch" => LOOK,
        name if name.starts_with("object|") => LOOK,
        "append" | "hsetnx" | "linsert" | "lpush" | "lpushx" | "rpush" | "rpushx" | "sadd" => PUT,
        "srem" => &["RW", "delete"],
        "bitfield" | "set" => MAYBE_CHANGE,
        "del" | "unlink" => &["RM", "delete"],
        "hdel" | "lrem" | "ltrim" => &["RW", "delete"],
        "expire" | "expireat" | "persist" | "pexpire" | "pexpireat" | "setrange" => CHANGE_UNREAD,
        "hexpire" | "hexpireat" | "hmset" | "hpersist" | "hpexpire" | "hpexpireat" | "hset"
        | "lset" => CHANGE_UNREAD,
        "getdel" | "lmpop" | "lpop" | "rpop" | "spop" | "zmpop" | "zpopmax" | "zpopmin" => TAKE,
        "blmpop" | "blpop" | "brpop" | "bzmpop" | "bzpopmax" | "bzpopmin" => TAKE,
        "zadd" => CHANGE_UNREAD,
        "zrem" | "zremrangebylex" | "zremrangebyrank" | "zremrangebyscore" => &["RW", "delete"],
        "msetnx" | "setnx" => INSERT,
        "mset" | "psetex" | "restore" | "setex" => OVERWRITE,
        _ if entry.command.flags.contains(Flags::WRITE) => CHANGE,
        _ => READ,
    }
}

fn notes(name: &str) -> Option<&'static str> {
    match name {
        "set" => Some("RW and ACCESS only with the GET option"),
        "getex" => Some("RW and UPDATE because it can change the time to live"),
        "bitfield" => Some("RW and UPDATE only with SET or INCRBY"),
        _ => None,
    }
}
