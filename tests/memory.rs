//! What a client sees of memory: eviction by each policy, the `OOM` error, the limit kept while values
//! of all sizes are written, keys that expire by themselves, and memory that comes back.
//!
//! `RINGMAIN_MEMORY_SECONDS=60` and `RINGMAIN_MEMORY_KEYS=1000000` make the runs as long as the promises.

mod harness;

use harness::client::{Client, encode, info_number, scan};
use harness::random::Random;
use harness::server::{Launch, Server, is_other_server, skip_on_other_server};
use harness::slots::keys_over_shards;
use harness::value::Value;
use harness::{PATIENCE, Raise, number_from_env, wait_until};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// Writes `count` keys with values of `bytes` in pipelines; gives how many were refused.
fn fill(client: &mut Client, prefix: &str, count: usize, bytes: usize, more: &[&str]) -> usize {
    const DEPTH: usize = 500;
    let value = "v".repeat(bytes);
    let mut refused = 0;
    for first in (0..count).step_by(DEPTH) {
        let last = (first + DEPTH).min(count);
        let mut requests = Vec::new();
        for index in first..last {
            let key = format!("{prefix}{index}");
            requests.extend_from_slice(&encode(&[&["SET", &key, &value], more].concat()));
        }
        client.send(requests);
        for _ in first..last {
            match client.read().expect("a reply to SET") {
                Value::Error(text) => {
                    assert_eq!(text, OOM);
                    refused += 1;
                }
                reply => assert_eq!(reply, Value::ok()),
            }
        }
    }
    refused
}

fn count_existing(client: &mut Client, prefix: &str, count: usize) -> i64 {
    let mut found = 0;
    for first in (0..count).step_by(500) {
        let mut request = vec!["EXISTS".to_owned()];
        request.extend((first..(first + 500).min(count)).map(|index| format!("{prefix}{index}")));
        found += client.command(&request).integer();
    }
    found
}

/// A limit that holds some thousands of keys of a kilobyte beside what the server has from the start.
fn limit_above_start(client: &mut Client, room: u64) -> String {
    let limit = info_number(client, "memory", "used_memory") + room;
    assert_eq!(client.command(&["CONFIG", "SET", "maxmemory", &limit.to_string()]), Value::ok());
    limit.to_string()
}

#[test]
fn noeviction_refuses_writes_and_serves_reads() {
    const KEYS: usize = 20_000;
    let server = Launch::shards(2).start();
    let mut client = server.client();
    client.ok("SET before v");
    limit_above_start(&mut client, 8 * MIB);
    let refused = fill(&mut client, "k", KEYS, 1_000, &[]);
    assert!(refused > KEYS / 4, "only {refused} of {KEYS} were refused");
    assert!(refused < KEYS * 9 / 10, "{refused} of {KEYS} were refused");
    let kept = client.words("DBSIZE").integer();
    assert_eq!(kept, i64::try_from(KEYS - refused + 1).expect("few"));
    for write in
        ["SET k v", "APPEND k v", "INCR n", "MSET a 1 b 2", "SETBIT k 1 1", "COPY before c"]
    {
        assert_eq!(client.words(write).error(), OOM, "{write}");
    }
    assert_eq!(client.words("GET before"), Value::bulk("v"));
    for harmless in ["EXISTS before", "TTL before", "DBSIZE", "EXPIRE before 1000", "DEL none"] {
        assert!(matches!(client.words(harmless), Value::Integer(_)), "{harmless}");
    }
    assert_eq!(info_number(&mut client, "stats", "evicted_keys"), 0);
    // What is deleted can be written again.
    for index in 0..KEYS {
        client.request(&["DEL", &format!("k{index}")]);
    }
    for _ in 0..KEYS {
        client.read().expect("a reply to DEL");
    }
    wait_until("there is room again", || client.words("SET k v") == Value::ok());
}

/// Commands that add an element, one for each type of collection.
const GROW: [&str; 4] = ["RPUSH", "SADD", "HSET", "ZADD"];

/// Adds `count` elements of 100 bytes to one collection, from number `first` on, in pipelines; gives how many were
/// refused.
fn grow(client: &mut Client, name: &str, key: &str, first: usize, count: usize) -> usize {
    const DEPTH: usize = 500;
    let mut refused = 0;
    for start in (first..first + count).step_by(DEPTH) {
        let end = (start + DEPTH).min(first + count);
        let requests = (start..end).flat_map(|number| {
            let element = format!("{number:0100}");
            match name {
                "HSET" => encode(&[name, key, &element, "v"]),
                "ZADD" => encode(&[name, key, &number.to_string(), &element]),
                _ => encode(&[name, key, &element]),
            }
        });
        client.send(requests.collect::<Vec<u8>>());
        for _ in start..end {
            match client.read().expect("a reply") {
                Value::Error(text) => {
                    assert_eq!(text, OOM, "{name}");
                    refused += 1;
                }
                reply => assert!(matches!(reply, Value::Integer(1..)), "{name}: {reply:?}"),
            }
        }
    }
    refused
}

/// How many elements a collection has that [`grow`] has made.
fn length(client: &mut Client, name: &str, key: &str) -> usize {
    let counts = match name {
        "RPUSH" => "LLEN",
        "SADD" => "SCARD",
        "HSET" => "HLEN",
        _ => "ZCARD",
    };
    usize::try_from(client.command(&[counts, key]).integer()).expect("a length")
}

/// One key that grows and grows comes to the limit as many keys do.
#[test]
fn a_collection_that_grows_is_refused_at_the_limit() {
    const ELEMENTS: usize = 30_000;
    for name in GROW {
        let server = Launch::shards(2).start();
        let mut client = server.client();
        client.ok("SET before v");
        let limit = info_number(&mut client, "memory", "used_memory") + 2 * MIB;
        client.ok(&format!("CONFIG SET maxmemory {limit}"));
        let refused = grow(&mut client, name, "k", 0, ELEMENTS);
        let kept = length(&mut client, name, "k");
        assert_eq!(kept + refused, ELEMENTS, "{name}");
        assert!(kept > 4_000 && refused > 8_000, "{name}: {kept} kept, {refused} refused");
        // What is used may be seen a turn late, and a table grows by doubling.
        let used = info_number(&mut client, "memory", "used_memory");
        println!("{name}: {kept} kept, {used} of {limit} bytes used");
        assert!(used <= limit + MIB / 2, "{name}: {used} of {limit} bytes used");
        // There may be room for some more when the requests above no longer take any: each try brings something new.
        let mut tries = 0;
        for write in ["RPUSH l", "LPUSH l", "SADD s", "HSET h f", "ZADD z 1"] {
            wait_until(write, || {
                tries += 1;
                client.words(&format!("{write} {tries:04000}")) == Value::Error(OOM.into())
            });
        }
        // What reads or takes away is served.
        assert_eq!(client.words("GET before"), Value::bulk("v"));
        let element = format!("{:0100}", 0);
        let (reads, takes) = match name {
            "RPUSH" => (vec!["LRANGE", "k", "0", "0"], vec!["LPOP", "k", "1"]),
            "SADD" => (vec!["SISMEMBER", "k", &element], vec!["SREM", "k", &element]),
            "HSET" => (vec!["HGET", "k", &element], vec!["HDEL", "k", &element]),
            _ => (vec!["ZSCORE", "k", &element], vec!["ZREM", "k", &element]),
        };
        for request in [reads, takes] {
            let reply = client.command(&request);
            assert!(!matches!(reply, Value::Error(_)) && !reply.is_null(), "{name}: {reply:?}");
        }
        assert_eq!(length(&mut client, name, "k"), kept - 1, "{name}");
        assert_eq!(client.words("DEL k"), Value::Integer(1), "{name}");
        wait_until("there is room again", || grow(&mut client, name, "k", 0, 1) == 0);
        assert_eq!(info_number(&mut client, "stats", "evicted_keys"), 0, "{name}");
    }
}

#[test]
fn collections_are_evicted_as_strings_are() {
    const KEYS: usize = 60;
    const ELEMENTS: usize = 600;
    // Redis looks at a sample, and may take one that is growing.
    if skip_on_other_server() {
        return;
    }
    for name in GROW {
        let server = Launch::shards(2).flag("--maxmemory-policy", "allkeys-lru").start();
        let mut client = server.client();
        let limit = info_number(&mut client, "memory", "used_memory") + 2 * MIB;
        client.ok(&format!("CONFIG SET maxmemory {limit}"));
        for key in 0..KEYS {
            assert_eq!(grow(&mut client, name, &format!("k{key}"), 0, ELEMENTS), 0, "{name}");
        }
        wait_until("the limit is kept", || {
            info_number(&mut client, "memory", "used_memory") <= limit
        });
        let mut kept = 0;
        let mut evicted = 0;
        wait_until("nothing more is evicted", || {
            evicted = info_number(&mut client, "stats", "evicted_keys");
            kept = 0;
            for key in 0..KEYS {
                let found = length(&mut client, name, &format!("k{key}"));
                assert!([0, ELEMENTS].contains(&found), "{name}: {found} elements are left");
                kept += usize::from(found > 0);
            }
            info_number(&mut client, "stats", "evicted_keys") == evicted
        });
        println!("{name}: {kept} of {KEYS} keys kept, {evicted} evicted");
        assert!((3..KEYS).contains(&kept), "{name}: {kept} of {KEYS} keys are left");
        assert_eq!(evicted, (KEYS - kept) as u64, "{name}");
        // The first ones were used the longest ago.
        assert_eq!(client.words("EXISTS k0 k1 k2"), Value::Integer(0), "{name}");
    }
}

#[test]
fn each_policy_evicts_what_its_name_says() {
    const KEYS: usize = 20_000;
    for policy in
        ["allkeys-lru", "allkeys-random", "volatile-lru", "volatile-random", "volatile-ttl"]
    {
        println!("{policy}");
        let server = Launch::shards(2).flag("--maxmemory-policy", policy).start();
        let mut client = server.client();
        // A few keys without a time to live, and many with one.
        fill(&mut client, "kept", 500, 1_000, &[]);
        limit_above_start(&mut client, 8 * MIB);
        let refused = fill(&mut client, "k", KEYS, 1_000, &["EX", "10000"]);
        assert_eq!(refused, 0, "{policy}");
        let evicted = info_number(&mut client, "stats", "evicted_keys");
        let left = client.words("DBSIZE").integer();
        assert!(evicted > 5_000, "{policy}: {evicted} evicted");
        assert_eq!(left + i64::try_from(evicted).expect("few"), 20_500, "{policy}");
        assert!(left > 3_000, "{policy}: only {left} keys are left of 8 MiB");
        let kept = count_existing(&mut client, "kept", 500);
        if policy.starts_with("volatile") {
            assert_eq!(kept, 500, "{policy} evicts keys with a time to live only");
            // When no such key is left, writes are refused.
            let refused = fill(&mut client, "more", KEYS, 1_000, &[]);
            assert!(refused > 5_000, "{policy}: {refused} refused");
            assert_eq!(count_existing(&mut client, "kept", 500), 500, "{policy}");
        } else if policy == "allkeys-lru" {
            // Redis looks at a sample of five and may miss some.
            let left_most = if is_other_server() { 250 } else { 0 };
            assert!(kept <= left_most, "{kept} of the oldest keys are left");
        }
    }
}

/// A limit that is lowered is kept without any client writing.
#[test]
fn a_lowered_limit_evicts_unasked() {
    const KEYS: usize = 20_000;
    let server = Launch::shards(2).flag("--maxmemory-policy", "allkeys-lru").start();
    let mut client = server.client();
    assert_eq!(fill(&mut client, "k", KEYS, 1_000, &[]), 0);
    // What is used is published at the end of a turn.
    wait_until("the keys count", || info_number(&mut client, "memory", "used_memory") > 20 * MIB);
    let limit = info_number(&mut client, "memory", "used_memory") - 8 * MIB;
    client.ok(&format!("CONFIG SET maxmemory {limit}"));
    wait_until("the limit is kept", || info_number(&mut client, "memory", "used_memory") <= limit);
    let evicted = info_number(&mut client, "stats", "evicted_keys");
    assert!((4_000..14_000).contains(&evicted), "{evicted} of {KEYS} keys were evicted");
}

/// A watched key that is evicted has changed.
#[test]
fn who_watches_a_key_hears_that_it_was_evicted() {
    let server = Launch::shards(2).flag("--maxmemory-policy", "allkeys-lru").start();
    let (mut client, mut watching) = (server.client(), server.client());
    client.ok("SET first 1");
    fill(&mut client, "k", 2_000, 1_000, &[]);
    watching.ok("WATCH first");
    limit_above_start(&mut client, 0);
    fill(&mut client, "new", 4_000, 1_000, &[]);
    wait_until("it is evicted", || client.words("EXISTS first") == Value::Integer(0));
    let queued = Value::Simple("QUEUED".into());
    watching.ok("MULTI");
    assert_eq!(watching.words("GET first"), queued);
    assert_eq!(watching.words("EXEC"), Value::NullArray);
}

/// The least recently used key is exactly that, not one of a sample.
#[test]
fn the_order_of_eviction_is_exact() {
    const KEYS: usize = 6_000;
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(1).flag("--maxmemory-policy", "allkeys-lru").start();
    let mut client = server.client();
    fill(&mut client, "k", KEYS, 1_000, &[]);
    // Every third is read, so that the other two thirds are older, in the order they were written.
    for index in (0..KEYS).step_by(3) {
        client.request(&["GET", &format!("k{index}")]);
    }
    for _ in (0..KEYS).step_by(3) {
        assert!(matches!(client.read(), Ok(Value::Bulk(_))));
    }
    limit_above_start(&mut client, 0);
    assert_eq!(fill(&mut client, "new", 2_000, 1_000, &[]), 0);
    client.ok("CONFIG SET maxmemory 0");
    let mut quiet = server.client();
    quiet.ok("CLIENT NO-TOUCH ON");
    let exists = |client: &mut Client, index: usize| {
        client.words(&format!("EXISTS k{index}")) == Value::Integer(1)
    };
    let unread: Vec<bool> =
        (0..KEYS).filter(|index| index % 3 != 0).map(|index| exists(&mut quiet, index)).collect();
    let first_left = unread.iter().position(|&left| left).expect("some are left");
    assert!(first_left > 500, "only {first_left} were evicted");
    let out_of_order = unread[first_left..].iter().filter(|&&left| !left).count();
    assert_eq!(out_of_order, 0, "keys were evicted before older ones");
    let read = (0..KEYS).step_by(3).all(|index| exists(&mut quiet, index));
    assert!(read, "a key that was read was evicted before one that was not");
}

#[test]
fn volatile_ttl_evicts_what_expires_first() {
    const KEYS: usize = 5_000;
    let server = Launch::shards(1).flag("--maxmemory-policy", "volatile-ttl").start();
    let mut client = server.client();
    fill(&mut client, "soon", KEYS, 1_000, &["EX", "1000"]);
    fill(&mut client, "late", KEYS, 1_000, &["EX", "1000000"]);
    limit_above_start(&mut client, 0);
    fill(&mut client, "new", 3_000, 1_000, &["EX", "1000000"]);
    let soon = count_existing(&mut client, "soon", KEYS);
    let late = count_existing(&mut client, "late", KEYS);
    // Redis looks at a sample, so a few others may go as well.
    println!("{soon} and {late} of {KEYS} are left");
    assert!(soon < 4_000, "{soon} are left of those that expire first");
    assert!(late > 4_700, "{late} are left of those that expire last");
}

/// `maxmemory` while clients write values of all sizes and overwrite them with others: what the process
/// holds stays within a tenth and 32 MiB per core.
#[test]
fn resident_memory_keeps_to_the_limit() {
    const LIMIT_MIB: u64 = 192;
    if skip_on_other_server() {
        return;
    }
    let seconds = number_from_env("RINGMAIN_MEMORY_SECONDS").unwrap_or(6);
    let limit = format!("{LIMIT_MIB}mb");
    let launch = Launch::shards(2).flag("--maxmemory-policy", "allkeys-lru");
    let server = launch.flag("--maxmemory", &limit).start();
    let mut client = server.client();
    let cores = info_number(&mut client, "ringmain", "cores");
    let bound = LIMIT_MIB * MIB * 11 / 10 + cores * 32 * MIB;
    let done = AtomicBool::new(false);
    let (highest, evicted) = std::thread::scope(|scope| {
        let finish = Raise(&done);
        for seed in 0..3 {
            let (server, done) = (&server, &done);
            scope.spawn(move || write_mixed_sizes(&mut server.client(), seed, done));
        }
        let started = Instant::now();
        let (mut highest, mut evicted) = (0, 0);
        // On a slow machine until there is something to see.
        while started.elapsed() < Duration::from_secs(seconds)
            || evicted == 0 && started.elapsed() < PATIENCE
        {
            highest = highest.max(server.resident_bytes());
            evicted = info_number(&mut client, "stats", "evicted_keys");
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(finish);
        (highest, evicted)
    });
    println!("at most {} MiB resident, {evicted} keys evicted", highest / MIB);
    assert!(evicted > 0, "the run did not reach the limit");
    assert!(highest <= bound, "{} MiB resident, allowed are {}", highest / MIB, bound / MIB);
    assert!(client.words("DBSIZE").integer() > 100);
    // Enough of the limit is in use for data.
    let used = info_number(&mut client, "memory", "used_memory");
    assert!(used <= LIMIT_MIB * MIB * 102 / 100, "{} MiB used", used / MIB);
    assert!(used >= LIMIT_MIB * MIB / 2, "{} MiB used", used / MIB);
}

fn write_mixed_sizes(client: &mut Client, seed: u64, done: &AtomicBool) {
    const DEPTH: usize = 50;
    let mut random = Random::new(seed);
    let value = random.bytes(256 * 1024);
    while !done.load(Ordering::Relaxed) {
        let mut requests = Vec::new();
        for _ in 0..DEPTH {
            let length = match random.below(100) {
                0..=59 => random.index(100),
                60..=89 => random.index(2_000),
                90..=98 => random.index(20_000),
                _ => random.index(value.len()),
            };
            // Few enough keys that many are overwritten by another size, or grow.
            let key = format!("key{}", random.below(150_000));
            let name = if random.one_in(20) { "APPEND" } else { "SET" };
            requests.extend_from_slice(&encode(&[
                name.as_bytes(),
                key.as_bytes(),
                &value[..length],
            ]));
        }
        client.send(requests);
        for _ in 0..DEPTH {
            let reply = client.read().expect("a reply in time");
            assert!(matches!(reply, Value::Simple(_) | Value::Integer(_)), "{reply:?}");
        }
    }
}

/// What clients hold counts: requests whose end has not come, and replies that nobody reads.
#[test]
fn buffers_of_clients_count_towards_the_limit() {
    const LIMIT: u64 = 48 * MIB;
    const CLIENTS: usize = 8;
    if skip_on_other_server() {
        return;
    }
    let launch = Launch::shards(2).flag("--maxmemory-policy", "allkeys-lru");
    let server = launch.flag("--maxmemory", &LIMIT.to_string()).start();
    let mut client = server.client();
    assert_eq!(fill(&mut client, "k", 60_000, 1_000, &[]), 0);
    let number = |client: &mut Client, field: &str| info_number(client, "memory", field);
    wait_until("data fills the limit", || number(&mut client, "used_memory") > LIMIT * 9 / 10);
    // A request of 3 MiB each, of which a third is missing.
    let mut senders: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
    for (index, sender) in senders.iter_mut().enumerate() {
        let request = encode(&["SET", &format!("sent{index}"), &"s".repeat(3 << 20)]);
        sender.send(&request[..2 << 20]);
    }
    let requested = 2 * MIB * CLIENTS as u64;
    wait_until("they count", || number(&mut client, "mem_clients_normal") >= requested);
    // Far more replies each than the kernel takes.
    assert_eq!(client.command(&["SET", "asked", &"a".repeat(256 << 10)]), Value::ok());
    let mut askers: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
    askers.iter_mut().for_each(|asker| asker.send(b"GET asked\r\n".repeat(100)));
    let held = requested + MIB * CLIENTS as u64;
    wait_until("these too", || number(&mut client, "mem_clients_normal") >= held);
    let keeps_to_it = |client: &mut Client| number(client, "used_memory") <= LIMIT;
    wait_until("data gives way to them", || keeps_to_it(&mut client));
    // So it stays while data comes in.
    assert_eq!(fill(&mut client, "more", 20_000, 1_000, &[]), 0);
    wait_until("the limit is kept", || keeps_to_it(&mut client));
    let (clients, data) =
        (number(&mut client, "mem_clients_normal"), number(&mut client, "used_memory_dataset"));
    assert!(clients >= held && clients + data <= LIMIT, "{clients} and {data} bytes");
    let kept = client.words("DBSIZE").integer();
    assert!((5_000..25_000).contains(&kept), "{kept} keys are left beside them");
    // When they leave, data has the room again.
    drop((senders, askers));
    wait_until("they have left", || number(&mut client, "mem_clients_normal") < MIB);
    assert_eq!(fill(&mut client, "k", 60_000, 1_000, &[]), 0);
    assert!(client.words("DBSIZE").integer() > 30_000);
    assert!(number(&mut client, "used_memory") <= LIMIT * 102 / 100);
}

/// Without eviction it is the writes that are refused, until the clients have left.
#[test]
fn buffers_of_clients_leave_no_room_for_writes() {
    let server = Launch::shards(2).start();
    let mut client = server.client();
    assert_eq!(fill(&mut client, "k", 5_000, 1_000, &[]), 0);
    let mut sender = server.client();
    let request = encode(&["SET", "sent", &"s".repeat(24 << 20)]);
    wait_until("data counts", || info_number(&mut client, "memory", "used_memory") > 5 * MIB);
    limit_above_start(&mut client, 8 * MIB);
    client.ok("SET before v");
    sender.send(&request[..16 << 20]);
    wait_until("a write is refused", || client.words("SET k v") == Value::Error(OOM.into()));
    assert_eq!(client.words("EXISTS before k0"), Value::Integer(2));
    drop(sender);
    wait_until("it is not any more", || client.words("SET k v") == Value::ok());
    assert_eq!(info_number(&mut client, "stats", "evicted_keys"), 0);
}

/// The limit is the whole server's, however unevenly its keys lie in the shards.
#[test]
fn uneven_shards_keep_to_the_limit_together() {
    const LIMIT: u64 = 32 * MIB;
    for policy in ["noeviction", "volatile-lru", "allkeys-lru"] {
        println!("{policy}");
        let launch = Launch::shards(4).flag("--maxmemory-policy", policy);
        let server = launch.flag("--maxmemory", &LIMIT.to_string()).start();
        let mut client = server.client();
        let tags = keys_over_shards("tag", 4, 4);
        // One may hold more than its share as long as there is room.
        assert_eq!(fill(&mut client, &format!("{{{}}}", tags[0]), 20_000, 1_000, &[]), 0);
        assert_eq!(client.words("DBSIZE").integer(), 20_000, "{policy}");
        // Each in turn is filled with all that it takes.
        for tag in &tags {
            fill(&mut client, &format!("{{{tag}}}"), 40_000, 1_000, &[]);
        }
        wait_until("the limit is kept", || {
            info_number(&mut client, "memory", "used_memory") <= LIMIT * 102 / 100
        });
        assert!(client.words("DBSIZE").integer() > 20_000);
    }
}

#[test]
fn expired_keys_go_without_being_asked_for() {
    let server = Launch::shards(3).start();
    let mut client = server.client();
    fill(&mut client, "stays", 1_000, 10, &[]);
    fill(&mut client, "goes", 5_000, 10, &["PX", "300"]);
    assert!(client.words("DBSIZE").integer() >= 1_000);
    wait_until("DBSIZE falls", || client.words("DBSIZE") == Value::Integer(1_000));
    assert!(info_number(&mut client, "stats", "expired_keys") >= 5_000);
}

/// A client that pings while `server` is busy otherwise; gives how long the slowest reply took.
fn ping_until(server: &Server, done: &AtomicBool) -> Duration {
    let mut client = server.client();
    let mut slowest = Duration::ZERO;
    while !done.load(Ordering::Relaxed) {
        let started = Instant::now();
        assert_eq!(client.words("PING"), Value::Simple("PONG".into()));
        assert!(matches!(client.words("GET probe"), Value::NullBulk));
        slowest = slowest.max(started.elapsed());
        std::thread::sleep(Duration::from_micros(200));
    }
    slowest
}

/// Writes `count` keys that expire in the same second, and all of them before it comes.
fn write_to_expire_at_once(client: &mut Client, count: usize) {
    let all = Value::Integer(i64::try_from(count).expect("few"));
    let mut seconds = 5;
    loop {
        let now = client.words("TIME").elements()[0].text().parse::<u64>().expect("seconds");
        fill(client, "k", count, 64, &["EXAT", &(now + seconds).to_string()]);
        if client.words("DBSIZE") == all {
            return;
        }
        // A slow machine: some have expired already.
        client.ok("FLUSHALL");
        seconds *= 2;
        assert!(seconds < 300, "{count} keys are not written in minutes");
    }
}

#[test]
fn many_keys_that_expire_in_the_same_second() {
    let count = number_from_env("RINGMAIN_MEMORY_KEYS").unwrap_or(100_000);
    let count = usize::try_from(count).expect("a number of keys");
    let server = Launch::shards(2).start();
    let mut client = server.client();
    write_to_expire_at_once(&mut client, count);
    let done = AtomicBool::new(false);
    let slowest = std::thread::scope(|scope| {
        let finish = Raise(&done);
        let pinging = scope.spawn(|| ping_until(&server, &done));
        wait_until("all keys are gone", || client.words("DBSIZE") == Value::Integer(0));
        drop(finish);
        pinging.join().expect("pinging")
    });
    println!("slowest PING and GET while {count} keys expired: {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(info_number(&mut client, "stats", "expired_keys") >= count as u64);
}

#[test]
fn flushall_gives_memory_back() {
    const KEYS: usize = 200_000;
    let server = Launch::shards(2).start();
    let mut client = server.client();
    client.ok("FLUSHALL");
    let used_before = info_number(&mut client, "memory", "used_memory");
    let resident_before = server.resident_bytes();
    fill(&mut client, "k", KEYS, 300, &[]);
    let used_full = info_number(&mut client, "memory", "used_memory");
    let resident_full = server.resident_bytes();
    assert!(used_full > used_before + KEYS as u64 * 300);
    let done = AtomicBool::new(false);
    let slowest = std::thread::scope(|scope| {
        let finish = Raise(&done);
        let pinging = scope.spawn(|| ping_until(&server, &done));
        client.ok("FLUSHALL");
        assert_eq!(client.words("DBSIZE"), Value::Integer(0));
        wait_until("memory is given back", || {
            let used = info_number(&mut client, "memory", "used_memory");
            let resident = server.resident_bytes();
            used < used_before + (used_full - used_before) / 4
                && resident < resident_before + (resident_full - resident_before) / 2
        });
        drop(finish);
        pinging.join().expect("pinging")
    });
    println!("slowest PING and GET meanwhile: {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    // And it can be filled again.
    fill(&mut client, "k", KEYS, 300, &[]);
    assert_eq!(client.words("DBSIZE"), Value::Integer(KEYS as i64));
}

/// Huge values come, change and go without holding others up for long, and leave no memory behind.
#[test]
fn huge_values_come_and_go() {
    const BYTES: usize = 64 << 20;
    let server = Launch::shards(2).start();
    let mut client = server.client();
    let before = server.resident_bytes();
    let done = AtomicBool::new(false);
    let slowest = std::thread::scope(|scope| {
        let finish = Raise(&done);
        let pinging = scope.spawn(|| ping_until(&server, &done));
        let value = vec![b'x'; BYTES];
        for _ in 0..3 {
            assert_eq!(client.command(&[b"SET".as_slice(), b"huge", &value]), Value::ok());
        }
        assert_eq!(client.words("STRLEN huge"), Value::Integer(BYTES as i64));
        assert_eq!(client.words("APPEND huge y"), Value::Integer(BYTES as i64 + 1));
        assert_eq!(client.words("GETRANGE huge -2 -1"), Value::bulk("xy"));
        assert_eq!(client.words("SETRANGE far 67108863 z"), Value::Integer(BYTES as i64));
        client.ok("SET huge small");
        assert_eq!(client.words("DEL far"), Value::Integer(1));
        assert_eq!(client.words("GET huge"), Value::bulk("small"));
        drop(finish);
        pinging.join().expect("pinging")
    });
    println!("slowest PING and GET meanwhile: {slowest:?}");
    wait_until("memory is given back", || server.resident_bytes() < before + 24 * MIB);
}

/// A whole `SCAN` gives every key that is there all the time, while others come and go and the tables
/// grow and shrink.
#[test]
fn scan_misses_no_key_while_tables_grow_and_shrink() {
    const STABLE: usize = 3_000;
    let server = Launch::shards(3).start();
    let mut client = server.client();
    fill(&mut client, "stable", STABLE, 5, &[]);
    let expected: HashSet<String> = (0..STABLE).map(|index| format!("stable{index}")).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let finish = Raise(&done);
        let churning = scope.spawn(|| {
            let mut client = server.client();
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) || rounds == 0 {
                fill(&mut client, "passing", 20_000, 5, &[]);
                for index in 0..20_000 {
                    client.request(&["DEL", &format!("passing{index}")]);
                }
                for _ in 0..20_000 {
                    assert_eq!(client.read(), Ok(Value::Integer(1)));
                }
                rounds += 1;
            }
        });
        for count in [1, 10, 100, 1_000, 10_000] {
            let found = scan(&mut client, &format!("COUNT {count}")).into_iter().collect();
            let missed: Vec<_> = expected.difference(&found).collect();
            assert!(missed.is_empty(), "COUNT {count} missed {} keys", missed.len());
        }
        drop(finish);
        churning.join().expect("churning");
    });
}
