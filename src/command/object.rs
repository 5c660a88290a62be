//! Commands that tell how a key is kept: `OBJECT`, and the rows of `MEMORY USAGE` and `DEBUG OBJECT`.

use super::session::SessionCx;
use super::{Command, Error, Exec, Flags, Group, Handler, Keys, numbers, rdb};
use crate::cache::{Access, EntryRef, EvictionPolicy};
use crate::protocol::{Args, Reply};
use crate::types::UnixMs;

/// The rows of this group.
pub const COMMANDS: &[Command] = &[Command {
    name: "object",
    arity: -2,
    flags: Flags::empty(),
    keys: Keys::None,
    handler: Handler::Container(OBJECT),
    group: Group::Generic,
    summary: "Commands that tell how a key's value is kept",
    since: "2.2.3",
    steps: None,
    complexity: "Depends on the subcommand",
}];

const OBJECT: &[Command] = &[
    Command {
        name: "encoding",
        handler: Handler::Keyed(encoding),
        summary: "Name the encoding of a key's value",
        ..SUBCOMMAND
    },
    Command {
        name: "freq",
        handler: Handler::Keyed(freq),
        summary: "Tell how often a key is used, under a policy that counts it",
        since: "4.0.0",
        ..SUBCOMMAND
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.union(Flags::STALE),
        keys: Keys::None,
        handler: Handler::Session(help),
        summary: "Describe the subcommands",
        since: "6.2.0",
        ..SUBCOMMAND
    },
    Command {
        name: "idletime",
        handler: Handler::Keyed(idletime),
        summary: "Seconds since a key was last used",
        ..SUBCOMMAND
    },
    Command {
        name: "refcount",
        handler: Handler::Keyed(refcount),
        summary: "Count the references to a key's value",
        ..SUBCOMMAND
    },
];

const SUBCOMMAND: Command = Command {
    name: "",
    arity: 3,
    flags: Flags::READONLY,
    keys: Keys::SECOND,
    handler: Handler::Keyed(encoding),
    group: Group::Generic,
    summary: "",
    since: "2.2.3",
    steps: None,
    complexity: "O(1)",
};

/// `MEMORY USAGE key [SAMPLES n]`, for the container.
pub const MEMORY_USAGE: Command = Command {
    name: "usage",
    arity: -3,
    handler: Handler::Keyed(memory_usage),
    group: Group::Server,
    summary: "Bytes of memory that a key takes, its value and its share of the index included",
    since: "4.0.0",
    ..SUBCOMMAND
};

/// `DEBUG OBJECT key`, for the container.
pub const DEBUG_OBJECT: Command = Command {
    name: "object",
    flags: Flags::ADMIN
        .union(Flags::NOSCRIPT)
        .union(Flags::LOADING)
        .union(Flags::STALE)
        .union(Flags::PROTECTED),
    handler: Handler::Keyed(debug_object),
    group: Group::Server,
    summary: "Tell everything known about how a key is kept",
    since: "1.0.0",
    steps: None,
    complexity: "O(N) in the length of the value",
    ..SUBCOMMAND
};

/// Longest string that Redis keeps in one piece with its header.
const EMBSTR_BYTES_MAX: usize = 44;
/// Redis keeps one object for each integer below this, shared by all keys...
const SHARED_INTEGERS: std::ops::Range<i64> = 0..10_000;
/// ...and shows this as the number of its references.
const SHARED_REFERENCES: i64 = 2_147_483_647;
/// Bits of the clock in seconds that `DEBUG OBJECT` shows.
const LRU_CLOCK_BITS: u32 = 24;

fn lookup<'a>(exec: &'a mut Exec<'_>, args: &Args<'_>, access: Access) -> Option<EntryRef<'a>> {
    let (key, now) = (exec.key(args.at(2)), exec.now.unix);
    exec.keyspace(key).get(key, now, access)
}

fn encoding(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match lookup(exec, args, Access::ReadNoTouch) {
        Some(entry) => match entry.string() {
            Ok(value) => reply.bulk(encoding_of(&entry, value).as_bytes()),
            Err(_) => {
                let key = exec.key(args.at(2));
                reply.bulk(exec.peek_value(key).map_or("", |value| value.encoding()).as_bytes());
            }
        },
        None => reply.null(),
    }
    Ok(())
}

fn encoding_of(entry: &EntryRef<'_>, value: &[u8]) -> &'static str {
    if entry.modified_in_place {
        "raw"
    } else if numbers::parse_i64(value).is_some() {
        "int"
    } else if value.len() <= EMBSTR_BYTES_MAX {
        "embstr"
    } else {
        "raw"
    }
}

fn freq(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match lookup(exec, args, Access::ReadNoTouch) {
        Some(_) => Err(Error::Static(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. \
             Please note that when switching between policies at runtime LRU and LFU data \
             will take some time to adjust.",
        )),
        None => {
            reply.null();
            Ok(())
        }
    }
}

fn idletime(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let now = exec.now.unix;
    match lookup(exec, args, Access::ReadNoTouch) {
        Some(entry) => {
            reply.integer(i64::try_from(idle_s(&entry, now)).unwrap_or(i64::MAX));
        }
        None => reply.null(),
    }
    Ok(())
}

fn idle_s(entry: &EntryRef<'_>, now: UnixMs) -> u64 {
    now.0.saturating_sub(entry.accessed_at.0) / 1000
}

fn refcount(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let policy = exec.policy;
    match lookup(exec, args, Access::ReadNoTouch) {
        Some(entry) => reply.integer(references(&entry, policy)),
        None => reply.null(),
    }
    Ok(())
}

/// Values are never shared here. What is told is what Redis would: clients use this to see which
/// integers it shares, which it can't do while every key needs an access time of its own. (What `COPY`
/// makes of a shared integer counts as shared here and not in Redis.)
fn references(entry: &EntryRef<'_>, policy: EvictionPolicy) -> i64 {
    let shares = match policy {
        EvictionPolicy::AllKeysLru | EvictionPolicy::VolatileLru => false,
        EvictionPolicy::NoEviction
        | EvictionPolicy::AllKeysRandom
        | EvictionPolicy::VolatileRandom
        | EvictionPolicy::VolatileTtl => true,
    };
    let shared = shares
        && !entry.modified_in_place
        && entry
            .string()
            .ok()
            .and_then(numbers::parse_i64)
            .is_some_and(|value| SHARED_INTEGERS.contains(&value));
    if shared { SHARED_REFERENCES } else { 1 }
}

fn help(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let lines = [
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ENCODING <key>",
        "    Name the encoding in which the value of <key> is kept.",
        "FREQ <key>",
        "    Tell how often <key> is used, on a logarithmic scale. Needs an LFU policy.",
        "IDLETIME <key>",
        "    Tell how many seconds ago <key> was last used.",
        "REFCOUNT <key>",
        "    Count the references to the value of <key>.",
        "HELP",
        "    Print this help.",
    ];
    reply.array(lines.len());
    for line in lines {
        reply.simple(line);
    }
    Ok(())
}

fn memory_usage(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut options = args.from(3);
    while let Some(option) = options.next() {
        // How many elements of a nested value to look at; a string has none, so it only has to be
        // a number.
        let samples = options.next().filter(|_| option.eq_ignore_ascii_case(b"samples"));
        if numbers::integer(samples.ok_or(Error::Syntax)?)? < 0 {
            return Err(Error::Syntax);
        }
    }
    match lookup(exec, args, Access::Peek) {
        Some(entry) => reply.integer(i64::try_from(entry.memory_bytes).unwrap_or(i64::MAX)),
        None => reply.null(),
    }
    Ok(())
}

fn debug_object(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (now, policy, key) = (exec.now.unix, exec.policy, exec.key(args.at(2)));
    let value = exec.peek_value(key).ok_or(Error::NoSuchKey)?;
    let (encoding, length) = (value.encoding(), rdb::value_length(&value));
    let entry = lookup(exec, args, Access::Peek).ok_or(Error::NoSuchKey)?;
    let encoding = entry.string().map_or(encoding, |value| encoding_of(&entry, value));
    // The address would tell an attacker about the process and a debugger nothing: values move.
    reply.simple(&format!(
        "Value at:0x0 refcount:{} encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        references(&entry, policy),
        encoding,
        length,
        (entry.accessed_at.0 / 1000) & ((1 << LRU_CLOCK_BITS) - 1),
        idle_s(&entry, now),
    ));
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::cache::EvictionPolicy;
    use crate::command::replay::{Peer, Shards, check};

    pub(crate) const SCRIPT: &[(&str, &str)] = &[
        ("OBJECT", "-ERR wrong number of arguments for 'object' command"),
        ("OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command"),
        ("OBJECT FREQ a b", "-ERR wrong number of arguments for 'object|freq' command"),
        ("OBJECT ENCODING a", "$-1"),
        ("OBJECT FREQ a", "$-1"),
        ("OBJECT IDLETIME a", "$-1"),
        ("OBJECT REFCOUNT a", "$-1"),
        ("DEBUG OBJECT a", "-ERR no such key"),
        ("MEMORY USAGE a", "$-1"),
        ("MEMORY USAGE a SAMPLES 0", "$-1"),
        ("MEMORY USAGE a SAMPLES 5 samples 3", "$-1"),
        ("MEMORY USAGE a foo", "-ERR syntax error"),
        ("MEMORY USAGE a SAMPLES", "-ERR syntax error"),
        ("MEMORY USAGE a SAMPLES x", "-ERR value is not an integer or out of range"),
        ("MEMORY USAGE a SAMPLES -1", "-ERR syntax error"),
        ("MEMORY USAGE", "-ERR wrong number of arguments for 'memory|usage' command"),
        // Encodings
        ("SET a 1", "+OK"),
        ("OBJECT ENCODING a", "$3⏎int"),
        ("OBJECT encoding a", "$3⏎int"),
        ("SET a -9223372036854775808", "+OK"),
        ("OBJECT ENCODING a", "$3⏎int"),
        ("SET a 9223372036854775808", "+OK"),
        ("OBJECT ENCODING a", "$6⏎embstr"),
        ("SET a 007", "+OK"),
        ("OBJECT ENCODING a", "$6⏎embstr"),
        ("SET a \"\"", "+OK"),
        ("OBJECT ENCODING a", "$6⏎embstr"),
        ("SET a 01234567890123456789012345678901234567890123", "+OK"),
        ("OBJECT ENCODING a", "$6⏎embstr"),
        ("SET a 012345678901234567890123456789012345678901234", "+OK"),
        ("OBJECT ENCODING a", "$3⏎raw"),
        ("SET a 1", "+OK"),
        ("APPEND a 2", ":2"),
        ("OBJECT ENCODING a", "$3⏎raw"),
        ("OBJECT REFCOUNT a", ":1"),
        // References
        ("SET a 0", "+OK"),
        ("OBJECT REFCOUNT a", ":2147483647"),
        ("SET a 9999", "+OK"),
        ("OBJECT REFCOUNT a", ":2147483647"),
        ("SET a 10000", "+OK"),
        ("OBJECT REFCOUNT a", ":1"),
        ("SET a -1", "+OK"),
        ("OBJECT REFCOUNT a", ":1"),
        ("SET a x", "+OK"),
        ("OBJECT REFCOUNT a", ":1"),
        // Use
        ("OBJECT IDLETIME a", ":0"),
        (
            "OBJECT FREQ a",
            "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
             that when switching between policies at runtime LRU and LFU data will take some time to \
             adjust.",
        ),
    ];

    #[test]
    fn script() {
        check(SCRIPT);
    }

    #[test]
    fn idle_time_counts_from_the_last_use() {
        let mut shards = Shards::new(2);
        shards.line("SET a 1");
        shards.sleep(5_000);
        assert_eq!(shards.line("OBJECT IDLETIME a"), ":5");
        assert_eq!(shards.line("OBJECT ENCODING a"), "$3⏎int");
        assert_eq!(shards.line("TTL a"), ":-1");
        assert_eq!(shards.line("EXISTS a"), ":1");
        assert_eq!(shards.line("OBJECT IDLETIME a"), ":5");
        shards.line("GET a");
        assert_eq!(shards.line("OBJECT IDLETIME a"), ":0");
    }

    #[test]
    fn nothing_is_shared_under_an_lru_policy() {
        let mut shards = Shards::new(1);
        shards.line("SET a 1");
        shards.policy = EvictionPolicy::AllKeysLru;
        assert_eq!(shards.line("OBJECT REFCOUNT a"), ":1");
        shards.policy = EvictionPolicy::VolatileTtl;
        assert_eq!(shards.line("OBJECT REFCOUNT a"), ":2147483647");
    }

    #[test]
    fn memory_of_a_key_grows_with_its_value() {
        let mut shards = Shards::new(1);
        let mut usage = |length: usize| {
            shards.line(&format!("SET a {}", "x".repeat(length)));
            shards.line("MEMORY USAGE a").trim_start_matches(':').parse::<usize>()
        };
        assert!(usage(1).is_ok_and(|bytes| (2..100).contains(&bytes)));
        assert!(usage(10_000).is_ok_and(|bytes| (10_001..20_000).contains(&bytes)));
    }

    #[test]
    fn debug_tells_what_redis_tells() {
        let mut shards = Shards::new(1);
        shards.line("SET a 0123456789abcdef");
        shards.sleep(7_000);
        // 1,700,000,000 seconds in 24 bits.
        assert_eq!(
            shards.line("DEBUG OBJECT a"),
            "+Value at:0x0 refcount:1 encoding:embstr serializedlength:17 lru:5501184 lru_seconds_idle:7"
        );
    }
}
