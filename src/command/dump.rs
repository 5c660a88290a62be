//! `DUMP` and `RESTORE`: a key's value as bytes that another server can take, Redis included.

use super::rdb::Restored;
use super::{Command, Error, Exec, Flags, Group, Handler, Keys, numbers, rdb};
use crate::cache::{Expiry, Whole};
use crate::collection::list::End;
use crate::collection::{Collection, Edit, Hash, List, Set, SortedSet};
use crate::protocol::{Args, Reply};
use crate::types::{Key, UnixMs};

/// The rows of this group.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "dump",
        arity: 2,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: Handler::Keyed(dump),
        group: Group::Generic,
        summary: "Serialize a key's value, to be restored here or on another server",
        since: "2.6.0",
        steps: None,
        complexity: "O(N) in the length of the value",
    },
    Command {
        name: "restore",
        arity: -4,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::DANGEROUS),
        keys: Keys::ONE,
        handler: Handler::Keyed(restore),
        group: Group::Generic,
        summary: "Create a key from what DUMP answered",
        since: "2.6.0",
        steps: None,
        complexity: "O(N) in the length of the value",
    },
];

fn dump(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (key, now, access) = (exec.key(args.at(1)), exec.now.unix, exec.read_access());
    match exec.keyspace(key).get(key, now, access) {
        Some(_) => {
            let value = exec.peek_value(key).ok_or(Error::NoSuchKey)?;
            reply.bulk(&rdb::dump(&value));
        }
        None => reply.null(),
    }
    Ok(())
}

/// The options of a `RESTORE`.
#[derive(Clone, Copy, Debug, Default)]
struct RestoreOptions {
    replace: bool,
    absolute: bool,
    idle_s: Option<u64>,
    /// Seen and checked, but no policy here counts accesses.
    frequency: Option<u8>,
}

impl RestoreOptions {
    fn parse(args: &Args<'_>) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut rest = args.from(4);
        while let Some(option) = rest.next() {
            if option.eq_ignore_ascii_case(b"replace") {
                options.replace = true;
            } else if option.eq_ignore_ascii_case(b"absttl") {
                options.absolute = true;
            } else if option.eq_ignore_ascii_case(b"idletime") && options.frequency.is_none() {
                let idle_s = numbers::integer(rest.next().ok_or(Error::Syntax)?)?;
                let idle_s = u64::try_from(idle_s)
                    .map_err(|_| Error::Static("ERR Invalid IDLETIME value, must be >= 0"))?;
                options.idle_s = Some(idle_s);
            } else if option.eq_ignore_ascii_case(b"freq") && options.idle_s.is_none() {
                let frequency = numbers::integer(rest.next().ok_or(Error::Syntax)?)?;
                let frequency = u8::try_from(frequency).map_err(|_| {
                    Error::Static("ERR Invalid FREQ value, must be >= 0 and <= 255")
                })?;
                options.frequency = Some(frequency);
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(options)
    }
}

fn restore(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let options = RestoreOptions::parse(args)?;
    let (key, now, access) = (exec.key(args.at(1)), exec.now.unix, exec.write_access());
    if !options.replace && exec.keyspace(key).contains(key, now, access) {
        return Err(Error::Static("BUSYKEY Target key name already exists."));
    }
    let ttl = u64::try_from(numbers::integer(args.at(2))?)
        .map_err(|_| Error::Static("ERR Invalid TTL value, must be >= 0"))?;
    let value = rdb::restore(args.at(3)).map_err(|error| Error::Text(error.to_string()))?;
    let expires_at = match ttl {
        0 => None,
        at if options.absolute => Some(UnixMs(at)),
        // A time beyond 63 bits can't be told to clients; Redis wraps around and drops the key.
        ttl => Some(UnixMs(now.0.saturating_add(ttl).min(i64::MAX.unsigned_abs()))),
    };
    match expires_at {
        Some(at) if at <= now => {
            exec.delete(key);
        }
        Some(_) | None => {
            put(exec, key, value, expires_at)?;
            let keyspace = exec.keyspace(key);
            if let Some(idle_s) = options.idle_s {
                let idle_ms = idle_s.saturating_mul(1000);
                keyspace.set_accessed_at(key, UnixMs(now.0.saturating_sub(idle_ms)), now);
            }
            keyspace.count_change();
        }
    }
    reply.ok();
    Ok(())
}

/// Puts a value in place of whatever `key` holds.
///
/// # Errors
/// If it is more than can be written down; all is as it was.
fn put(
    exec: &mut Exec<'_>,
    key: Key<'_>,
    value: Restored,
    expires_at: Option<UnixMs>,
) -> Result<(), Error> {
    let now = exec.now.unix;
    let whole = match value {
        Restored::String(value) => {
            let expiry = expires_at.map_or(Expiry::Clear, Expiry::At);
            exec.keyspace(key).set(key, &value, expiry, now);
            return Ok(());
        }
        Restored::List(elements) => make::<List>(exec, key, |list, edit| {
            list.push(End::Right, elements.iter().map(Vec::as_slice), edit);
        }),
        Restored::Set(members) => make::<Set>(exec, key, |set, edit| {
            for member in &members {
                set.add(member, edit);
            }
        }),
        Restored::SortedSet(members) => make::<SortedSet>(exec, key, |set, edit| {
            for (member, score) in &members {
                set.put(member, *score, edit);
            }
        }),
        Restored::Hash(fields) => make::<Hash>(exec, key, |hash, edit| {
            let is_live = |at: UnixMs| at > now;
            for field in fields.iter().filter(|field| field.expires_at.is_none_or(is_live)) {
                hash.set(&field.name, &field.value, now, edit);
                if field.expires_at.is_some() {
                    hash.set_expiry(&field.name, field.expires_at, edit);
                }
            }
        }),
    };
    match whole {
        Some(whole) => exec.keyspace(key).put_collection(key, whole, expires_at, now)?,
        None => drop(exec.keyspace(key).remove(key, now)),
    }
    Ok(())
}

/// A collection as `make` fills it, for `key`; nothing if nothing is in it.
fn make<C: Collection>(
    exec: &mut Exec<'_>,
    key: Key<'_>,
    make: impl FnOnce(&mut C, &mut Edit<'_>),
) -> Option<Whole> {
    let keyspace = exec.keyspace(key);
    let (thresholds, seed) = (keyspace.thresholds(), keyspace.element_seed());
    let mut made = C::empty(Vec::new());
    make(&mut made, &mut Edit::new(thresholds, seed, None));
    (!made.is_empty()).then(|| Whole::of(made))
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::cache::EvictionPolicy;
    use crate::command::replay::{Peer, Shards, check};

    pub(crate) const SCRIPT: &[(&str, &str)] = &[
        ("DUMP", "-ERR wrong number of arguments for 'dump' command"),
        ("DUMP a", "$-1"),
        ("SET a 1", "+OK"),
        ("DUMP a", "$13⏎\\x00\\xc0\\x01⏎\\x00&x\\xe7\\xb6\\xd1\\x01\\x11\\xfc"),
        ("RESTORE a 0", "-ERR wrong number of arguments for 'restore' command"),
        // Options first, then the key, the time, the payload.
        ("RESTORE a x x foo", "-ERR syntax error"),
        ("RESTORE a x x IDLETIME", "-ERR syntax error"),
        ("RESTORE a x x IDLETIME x", "-ERR value is not an integer or out of range"),
        ("RESTORE a x x IDLETIME -1", "-ERR Invalid IDLETIME value, must be >= 0"),
        ("RESTORE a x x FREQ x", "-ERR value is not an integer or out of range"),
        ("RESTORE a x x FREQ -1", "-ERR Invalid FREQ value, must be >= 0 and <= 255"),
        ("RESTORE a x x FREQ 256", "-ERR Invalid FREQ value, must be >= 0 and <= 255"),
        ("RESTORE a x x FREQ 1 IDLETIME 1", "-ERR syntax error"),
        ("RESTORE a x x IDLETIME 1 FREQ 1", "-ERR syntax error"),
        ("RESTORE a x x", "-BUSYKEY Target key name already exists."),
        ("RESTORE b x x", "-ERR value is not an integer or out of range"),
        ("RESTORE a x x REPLACE", "-ERR value is not an integer or out of range"),
        ("RESTORE b -1 x", "-ERR Invalid TTL value, must be >= 0"),
        ("RESTORE b 0 x", "-ERR DUMP payload version or checksum are wrong"),
        ("RESTORE b 0 \"\"", "-ERR DUMP payload version or checksum are wrong"),
        (
            "RESTORE b 0 \\x00\\xc0\\x02\\x0a\\x00&x\\xe7\\xb6\\xd1\\x01\\x11\\xfc",
            "-ERR DUMP payload version or checksum are wrong",
        ),
        ("EXISTS b", ":0"),
        ("RESTORE b 0 \\x00\\xc0\\x01\\x0a\\x00&x\\xe7\\xb6\\xd1\\x01\\x11\\xfc", "+OK"),
        ("GET b", "$1⏎1"),
        ("OBJECT ENCODING b", "$3⏎int"),
        ("TTL b", ":-1"),
        (
            "RESTORE b 5000 \\x00\\xc0\\x01\\x0a\\x00&x\\xe7\\xb6\\xd1\\x01\\x11\\xfc",
            "-BUSYKEY Target key name already exists.",
        ),
        (
            "RESTORE b 50000 \\x00\\xc0\\x01\\x0a\\x00&x\\xe7\\xb6\\xd1\\x01\\x11\\xfc REPLACE FREQ 7",
            "+OK",
        ),
        ("TTL b", ":50"),
        (
            "RESTORE b 0 \\x00\\xc0\\x01\\x0a\\x00&x\\xe7\\xb6\\xd1\\x01\\x11\\xfc replace absttl",
            "+OK",
        ),
        ("TTL b", ":-1"),
        (
            "RESTORE b 33177117420000 \\x00\\xc0\\x01\\x0a\\x00&x\\xe7\\xb6\\xd1\\x01\\x11\\xfc REPLACE ABSTTL",
            "+OK",
        ),
        ("PEXPIRETIME b", ":33177117420000"),
        // A time that has passed: what was there goes, nothing comes.
        (
            "RESTORE b 1000 \\x00\\xc0\\x01\\x0a\\x00&x\\xe7\\xb6\\xd1\\x01\\x11\\xfc ABSTTL REPLACE",
            "+OK",
        ),
        ("EXISTS b", ":0"),
        ("RESTORE b 1 \\x00\\xc0\\x01\\x0a\\x00&x\\xe7\\xb6\\xd1\\x01\\x11\\xfc ABSTTL", "+OK"),
        ("EXISTS b", ":0"),
        (
            "RESTORE b 0 \\x00\\xc0\\x01\\x0a\\x00&x\\xe7\\xb6\\xd1\\x01\\x11\\xfc IDLETIME 1000",
            "+OK",
        ),
        ("OBJECT IDLETIME b", ":1000"),
        ("GET b", "$1⏎1"),
        ("OBJECT IDLETIME b", ":0"),
        // A hundred times `a`, compressed.
        (
            "RESTORE c 0 \\x00\\xc3\\x09@d\\x01aa\\xe0W\\x00\\x01aa\\x0a\\x00\\xe8\\xa3\\xb5\\x07\\xb0m\\xf2q",
            "+OK",
        ),
        (
            "GET c",
            "$100⏎aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
             aaaaaaaaaaaaaaaaaaaa",
        ),
        ("OBJECT ENCODING c", "$3⏎raw"),
    ];

    #[test]
    fn script() {
        check(SCRIPT);
    }

    #[test]
    fn a_collection_that_is_too_much_for_the_log_is_refused_and_all_is_as_it_was() {
        let mut shards = Shards::new(1);
        for number in 0..2000 {
            for command in ["SADD set {}", "ZADD zset 1 {}", "RPUSH list {}", "HSET hash {} x"] {
                shards.line(&command.replace("{}", &format!("{number:020}")));
            }
        }
        shards.line("SET to x");
        shards.keyspaces[0].set_journal(true);
        for key in ["set", "zset", "list", "hash"] {
            let dumped = shards.run(&[b"DUMP".to_vec(), key.into()]);
            let start = dumped.iter().position(|byte| *byte == b'\n').expect("a head") + 1;
            let payload = dumped[start..dumped.len() - 2].to_vec();
            let words = ["RESTORE", "to", "100000"].map(|word| word.as_bytes().to_vec());
            let words = [&words[..], &[payload, b"REPLACE".to_vec()]].concat();
            let (waiting, sequence) =
                (shards.keyspaces[0].changes_len(), shards.keyspaces[0].sequence());
            shards.keyspaces[0].set_changes_bytes_max(waiting + 20_000);
            let refused = shards.run(&words);
            assert!(refused.starts_with(b"-ERR the change is too large"), "{key}");
            let keyspace = &shards.keyspaces[0];
            assert_eq!((keyspace.changes_len(), keyspace.sequence()), (waiting, sequence), "{key}");
            assert_eq!(shards.line("GET to"), "$1⏎x");
            shards.keyspaces[0].set_changes_bytes_max(waiting + 200_000);
            assert_eq!(shards.run(&words), b"+OK\r\n", "{key}");
            assert_eq!(shards.line("PTTL to"), ":100000");
            let held = |name: &str| {
                let key = crate::types::Key::new(shards.db, name.as_bytes());
                shards.keyspaces[0].peek(key, shards.now.unix).map(|value| value.canonical())
            };
            assert!(held("to") == held(key), "{key}");
            shards.line("SET to x");
        }
        shards.keyspaces[0].check();
    }

    #[test]
    fn a_time_beyond_all_times_keeps_the_key() {
        let mut shards = Shards::new(1);
        let payload = "\\x00\\xc0\\x01\\x0a\\x00&x\\xe7\\xb6\\xd1\\x01\\x11\\xfc";
        assert_eq!(shards.line(&format!("RESTORE a 9223372036854775807 {payload}")), "+OK");
        assert_eq!(shards.line("PEXPIRETIME a"), ":9223372036854775807");
    }

    #[test]
    fn what_was_idle_longest_is_evicted_first() {
        let payload = "\\x00\\xc0\\x01\\x0a\\x00&x\\xe7\\xb6\\xd1\\x01\\x11\\xfc";
        for ttl in [0, 1_000_000] {
            let mut shards = Shards::new(1);
            shards.line("SET old 1 PX 1000000");
            shards.line("SET older 1");
            shards.sleep(60_000);
            for (key, idle_s) in [("oldest", 5_000), ("new", 1), ("aged", u64::MAX / 2)] {
                let line = format!("RESTORE {key} {ttl} {payload} IDLETIME {idle_s}");
                assert_eq!(shards.line(&line), "+OK");
            }
            assert_eq!(shards.line("OBJECT IDLETIME new"), ":1");
            assert_eq!(shards.line("OBJECT IDLETIME oldest"), ":5000");
            let now = shards.now.unix;
            for gone in ["aged", "oldest", "old", "older", "new"] {
                assert_eq!(shards.line(&format!("EXISTS {gone}")), ":1", "{gone}");
                let evicted = |shards: &Shards| shards.keyspaces[0].counts().evicted;
                let before = evicted(&shards);
                while evicted(&shards) == before {
                    assert!(shards.keyspaces[0].evict(EvictionPolicy::AllKeysLru, now));
                }
                assert_eq!(shards.line(&format!("EXISTS {gone}")), ":0", "{gone}");
            }
        }
    }
}
