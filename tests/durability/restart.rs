//! A server that was stopped and started again: all is as it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringmain::protocol::binary::{Opcode, Status};

use crate::harness::binary::{BinaryClient, Request};
use crate::harness::client::{Client, info_number, scan};
use crate::harness::server::{Launch, Server, skip_on_other_server};
use crate::harness::slots::keys_over_shards;
use crate::harness::value::Value;
use crate::harness::wait_until;
use crate::server::{data_dir, launch, save, start, stop};

const DATABASES: usize = 16;

/// All keys of all databases: value, expiry, encoding.
type Content = BTreeMap<(usize, String), (Value, Value, Value)>;

fn content(server: &Server) -> Content {
    let mut client = server.client();
    let mut found = Content::new();
    for db in 0..DATABASES {
        client.ok(&format!("SELECT {db}"));
        for key in scan(&mut client, "COUNT 1000") {
            let value = client.words(&format!("GET {key}"));
            let expires = client.words(&format!("PEXPIRETIME {key}"));
            let encoding = client.words(&format!("OBJECT ENCODING {key}"));
            found.insert((db, key), (value, expires, encoding));
        }
        let count = i64::try_from(found.keys().filter(|(of, _)| *of == db).count());
        assert_eq!(client.words("DBSIZE"), Value::Integer(count.expect("few keys")));
    }
    found
}

/// Stops a server in some way.
fn end(mut server: Server, how: &str) {
    if how.starts_with("SHUTDOWN") {
        let mut client = server.client();
        client.request(&how.split(' ').collect::<Vec<_>>());
        client.expect_close();
    } else {
        server.signal(how);
    }
    let status = server.wait_for_exit();
    assert!(status.success(), "{how}: {status}: {}", server.output());
}

/// Changes of each kind, over all databases; another `round` changes other keys, and some the same.
fn change(client: &mut Client, round: usize) {
    let long = "v".repeat(200_000);
    for db in 0..DATABASES {
        client.ok(&format!("SELECT {db}"));
        for key in keys_over_shards(&format!("k{round}-"), 3, 12) {
            client.ok(&format!("SET {key} value-{db}-{round}"));
        }
        client.ok(&format!("MSET int {round}{db} float 1.5 raw {} db {db}", "r".repeat(60)));
        client.ok(&format!("SET long{round} {long}"));
        client.words(&format!("SETRANGE long{round} 100000 {db}-{round}"));
        client.words(&format!("APPEND log round-{round};"));
        client.words("INCRBYFLOAT float 0.25");
        client.words("INCRBY int 5");
        client.words(&format!("SETBIT bits {} 1", 100 * round + db));
        client.words(&format!("SETBIT bits {} 1", 8 * 1000 + round));
        client.words("BITFIELD bits SET u8 #3 200 INCRBY i16 #2 -3");
        client.words("BITOP NOT notbits bits");
        client.words(&format!("SET ttl{round} x EX {}", 10_000 + db));
        client.words(&format!("EXPIRE k{round}-0 {}", 20_000 + round));
        client.words(&format!("SET gone{round} x EX 1000"));
        client.words(&format!("GETEX gone{round} PERSIST"));
        client.words(&format!("GETDEL gone{round}"));
        client.words(&format!("COPY log copy{round} REPLACE"));
        client.words(&format!("COPY log moved{round} DB {} REPLACE", (db + 1) % DATABASES));
        client.ok(&format!("SET name{round} renamed"));
        client.ok(&format!("RENAME name{round} other-name{round}"));
        client.ok(&format!("SET walk{round}-{db} far"));
        client.words(&format!("MOVE walk{round}-{db} {}", (db + 7) % DATABASES));
        client.words(&format!("DEL k{round}-1 k{round}-2 nothing"));
        client.words(&format!("SET only{round} x NX KEEPTTL"));
    }
    client.ok("SWAPDB 1 2");
    client.ok(&format!("SWAPDB 0 {}", 3 + round));
    client.ok("SELECT 9");
    client.ok(if round.is_multiple_of(2) { "FLUSHDB" } else { "FLUSHDB ASYNC" });
    client.ok("SET after the-flush");
    client.ok("SELECT 0");
}

#[test]
fn everything_is_there_after_a_clean_stop() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let ends = ["TERM", "SHUTDOWN", "INT", "SHUTDOWN NOSAVE", "SHUTDOWN SAVE", "SHUTDOWN NOW"];
    let mut before = Content::new();
    for (round, how) in ends.into_iter().enumerate() {
        let durability = ["async", "sync"][round % 2];
        let server = start(&launch(dir.path(), 3, durability));
        assert_eq!(content(&server), before, "after {round} rounds");
        let mut client = server.client();
        if round == 4 {
            client.ok("FLUSHALL");
        }
        change(&mut client, round);
        if round % 3 == 1 {
            // So that some of it is in the snapshot, and some is not.
            save(&mut client);
            change(&mut client, round);
        }
        before = content(&server);
        end(server, how);
        assert!(!before.is_empty());
    }
    let server = start(&launch(dir.path(), 3, "async"));
    assert_eq!(content(&server), before);
    // And a crash right after the start loses nothing of it.
    let mut server = server;
    server.kill();
    let server = start(&launch(dir.path(), 3, "async"));
    assert_eq!(content(&server), before);
}

#[test]
fn memory_forgets_and_leaves_what_others_wrote() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let server = start(&launch(dir.path(), 2, "sync"));
    server.client().ok("SET k v");
    end(server, "TERM");
    let server = start(&launch(dir.path(), 2, "memory"));
    assert_eq!(content(&server), Content::new());
    server.client().ok("SET k other");
    end(server, "SHUTDOWN");
    let server = start(&launch(dir.path(), 2, "sync"));
    assert_eq!(server.client().words("GET k"), Value::bulk("v"));
}

#[test]
fn idle_times_survive_in_a_snapshot() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let server = start(&launch(dir.path(), 1, "async"));
    let mut client = server.client();
    client.ok("SET k v");
    let Value::Bulk(payload) = client.words("DUMP k") else { panic!("DUMP gives bytes") };
    let restore = |key: &str, seconds: &str| {
        let words = [b"RESTORE", key.as_bytes(), b"0", &payload, b"IDLETIME", seconds.as_bytes()];
        words.map(<[u8]>::to_vec)
    };
    assert_eq!(client.command(&restore("old", "5000")), Value::ok());
    assert_eq!(client.command(&restore("older", "9000")), Value::ok());
    save(&mut client);
    end(server, "TERM");
    let server = start(&launch(dir.path(), 1, "async"));
    let mut client = server.client();
    let mut idle_s = |key: &str| client.words(&format!("OBJECT IDLETIME {key}")).integer();
    // As much later as the test is slow.
    let (old, older, fresh) = (idle_s("old"), idle_s("older"), idle_s("k"));
    assert!((5000..8000).contains(&old) && (9000..12_000).contains(&older), "{old} {older}");
    assert!(fresh < 3000, "{fresh}");
}

fn unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("before the year 292 million")
}

#[test]
fn keys_that_expired_meanwhile_do_not_come_back() {
    if skip_on_other_server() {
        return;
    }
    for (durability, saves, is_killed) in
        [("async", false, false), ("sync", true, false), ("sync", false, true)]
    {
        let dir = data_dir();
        let mut server = start(&launch(dir.path(), 2, durability));
        let mut client = server.client();
        for key in keys_over_shards("short", 2, 6) {
            client.ok(&format!("SET {key} v PX 400"));
        }
        for key in keys_over_shards("long", 2, 6) {
            client.ok(&format!("SET {key} v"));
            client.words(&format!("EXPIRE {key} 100000"));
        }
        // Short at first, and then not any more.
        client.ok("SET kept v PX 400");
        client.words("PERSIST kept");
        if saves {
            save(&mut client);
        }
        let last = unix_ms() + 400;
        if is_killed {
            server.kill();
        } else {
            end(server, "TERM");
        }
        wait_until("the keys have expired", || unix_ms() > last);
        let server = start(&launch(dir.path(), 2, durability));
        let mut client = server.client();
        for key in keys_over_shards("short", 2, 6) {
            assert_eq!(client.words(&format!("EXISTS {key}")), Value::Integer(0));
            assert_eq!(client.words(&format!("GET {key}")), Value::NullBulk);
        }
        for key in keys_over_shards("long", 2, 6) {
            let ttl = client.words(&format!("TTL {key}")).integer();
            assert!((99_000..=100_000).contains(&ttl), "{key}: {ttl}");
        }
        assert_eq!(client.words("TTL kept"), Value::Integer(-1));
        wait_until("expired keys are removed", || client.words("DBSIZE") == Value::Integer(7));
    }
}

fn version(client: &mut BinaryClient, key: &str) -> u64 {
    client.get(key).ok().head.version
}

#[test]
fn versions_stay_and_rise() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let launch = launch(dir.path(), 2, "sync").binary();
    let keys = keys_over_shards("k", 2, 8);
    let mut versions: BTreeMap<&String, u64> = BTreeMap::new();
    let mut removed = 0;
    for round in 0..5 {
        let mut server = start(&launch);
        let mut client = BinaryClient::connect(server.binary_address());
        for (index, key) in keys.iter().enumerate() {
            if let Some(known) = versions.get(key) {
                assert_eq!(version(&mut client, key), *known, "{key}");
                let swap = |version| {
                    let request = Request::keyed(Opcode::CompareAndSwap, key, format!("{round}"));
                    request.version(version)
                };
                let wrong = client.one(swap(known - 1));
                assert_eq!(wrong.status(), Status::VersionMismatch);
                let swapped = client.one(swap(*known)).ok().head.version;
                assert!(swapped > *known);
                assert_eq!(client.one(swap(*known)).status(), Status::VersionMismatch);
                versions.insert(key, swapped);
            }
            // Written in other ways as well: each counts.
            let written = match index % 3 {
                0 => client.set(key, "new").head.version,
                1 => {
                    client.one(Request::keyed(Opcode::Append, key, "more")).ok();
                    version(&mut client, key)
                }
                _ => {
                    client.one(Request::keyed(Opcode::Expire, key, "").ttl(1_000_000)).head.version
                }
            };
            let written = if written == 0 { client.set(key, "v").head.version } else { written };
            assert!(versions.insert(key, written).is_none_or(|before| written > before));
        }
        // One that is removed never has its version again.
        let gone = client.set("gone", "v").head.version;
        assert!(gone > removed);
        removed =
            client.one(Request::keyed(Opcode::Delete, "gone", "")).ok().head.version.max(gone);
        if round == 2 {
            save(&mut server.client());
        }
        if round % 2 == 0 {
            server.kill();
        } else {
            stop(server);
        }
    }
}

/// CPUs that this process may use.
fn cpus() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).expect("the CPUs of this process");
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

#[test]
fn another_number_of_cores_opens_the_same_directory() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let cpus = cpus();
    let one = cpus[0].to_string();
    let all = cpus.iter().take(4).map(usize::to_string).collect::<Vec<_>>().join(",");
    let keys = keys_over_shards("k", 4, 400);
    for (round, cpus) in [&one, &all, &one, &all].into_iter().enumerate() {
        let launch = launch(dir.path(), 4, "async").flag("--cpus", cpus);
        let mut server = start(&launch);
        let mut client = server.client();
        for (index, key) in keys.iter().enumerate() {
            let expected = if index < 100 * round {
                Value::bulk(format!("round{}", index / 100))
            } else {
                Value::NullBulk
            };
            assert_eq!(client.words(&format!("GET {key}")), expected, "{key} in round {round}");
        }
        client.ok("CLIENT DURABILITY sync");
        for key in &keys[100 * round..100 * (round + 1)] {
            client.ok(&format!("SET {key} round{round}"));
        }
        if round == 1 {
            server.kill();
        } else {
            stop(server);
        }
    }
}

/// What a start says that does not succeed: one sentence.
fn refusal(launch: &Launch) -> String {
    let (status, output) = launch.refused();
    assert!(!status.success() && status.code().is_some(), "{status}: {output}");
    let sentence = output.trim_end().strip_prefix("ringmain: ");
    let sentence = sentence.unwrap_or_else(|| panic!("{output}"));
    assert_eq!(sentence.lines().count(), 1, "{output}");
    sentence.to_owned()
}

#[test]
fn another_number_of_shards_is_refused() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let with = |shards| launch(dir.path(), shards, "sync");
    let server = start(&with(3));
    server.client().ok("SET k v");
    stop(server);
    for shards in [1, 2, 4] {
        let sentence = refusal(&with(shards));
        let reshard = format!("ringmain reshard {} --shards {shards}", dir.path().display());
        assert!(sentence.contains(&reshard), "{sentence}");
        assert!(sentence.contains("3 shards") && sentence.contains("--shards 3"), "{sentence}");
    }
    // Who names no number gets the directory's.
    let server = start(&with(1).shards_unnamed());
    assert_eq!(server.client().words("GET k"), Value::bulk("v"));
    assert!(server.output().contains(" 3 shards"), "{}", server.output());
    stop(server);
    // Without a log it does not matter; with one begun later it does.
    let server = start(&launch(dir.path(), 2, "memory"));
    let mut client = server.client();
    let refused = client.words("CONFIG SET durability sync");
    assert!(refused.error().contains("in 3 shards, not 2"), "{refused:?}");
    assert_eq!(client.words("CLIENT DURABILITY"), Value::bulk("memory"));
    client.ok("SET k v");
}

#[test]
fn two_servers_do_not_open_one_directory() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let launch = launch(dir.path(), 2, "sync");
    let server = start(&launch);
    let mut client = server.client();
    client.ok("SET k v");
    let sentence = refusal(&launch);
    assert!(sentence.contains("in use by another server"), "{sentence}");
    assert!(sentence.contains(&dir.path().display().to_string()), "{sentence}");
    // One without a log may run beside it, and may not begin one there.
    let beside = start(&crate::server::launch(dir.path(), 2, "memory"));
    let refused = beside.client().words("CONFIG SET durability async");
    assert!(refused.error().contains("in use by another server"), "{refused:?}");
    client.ok("SET k2 v");
    drop(beside);
    stop(server);
    let server = start(&launch);
    assert_eq!(server.client().words("MGET k k2").elements(), [Value::bulk("v"), Value::bulk("v")]);
}

/// A directory that can't be read is named, and left as it is.
#[test]
fn a_directory_that_is_damaged_is_refused() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let launch = launch(dir.path(), 2, "sync");
    let server = start(&launch);
    let mut client = server.client();
    for index in 0..50 {
        client.ok(&format!("SET key{index} {}", "v".repeat(100)));
    }
    stop(server);
    let segment = newest_segment(&dir.path().join("shard-0000"));
    let mut bytes = std::fs::read(&segment).expect("a segment");
    // In a record with good ones behind it.
    bytes[4096 + 512 + 100] ^= 1;
    std::fs::write(&segment, &bytes).expect("a segment");
    let (status, output) = launch.refused();
    assert!(!status.success(), "{output}");
    let name = segment.file_name().and_then(|name| name.to_str()).expect("a name");
    for words in
        ["shard 0", name, "is damaged at byte 4", "ringmain log verify", "ringmain log repair"]
    {
        assert!(output.contains(words), "{words}: {output}");
    }
    assert_eq!(std::fs::read(&segment).expect("a segment"), bytes);
    bytes[4096 + 512 + 100] ^= 1;
    std::fs::write(&segment, &bytes).expect("a segment");
    let server = start(&launch);
    assert_eq!(server.client().words("DBSIZE"), Value::Integer(50));
}

/// The last segment that holds a record.
fn newest_segment(folder: &Path) -> std::path::PathBuf {
    let mut files = crate::server::files(folder).into_iter().map(|(path, _, _)| path);
    let is_begun = |path: &std::path::PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("log-")
            && std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"RINGSEG1"))
    };
    files.rfind(is_begun).expect("a segment")
}

/// Whoever stops a server while it loads stops it at once, and nothing is lost.
#[test]
fn a_stop_while_loading_loses_nothing() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let launch = launch(dir.path(), 2, "async");
    let server = start(&launch);
    let mut client = server.client();
    for index in 0..2000 {
        client.request(&["SET", &format!("key{index}"), &"v".repeat(1000)]);
    }
    (0..2000).for_each(|_| assert_eq!(client.read(), Ok(Value::ok())));
    stop(server);
    for delay_ms in [0, 3, 10] {
        let server = launch.start();
        std::thread::sleep(Duration::from_millis(delay_ms));
        stop(server);
    }
    assert_eq!(start(&launch).client().words("DBSIZE"), Value::Integer(2000));
}

/// What was evicted does not come back, though it is in the log.
#[test]
fn evicted_keys_stay_away() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let launch = launch(dir.path(), 2, "sync")
        .flag("--maxmemory", "24mb")
        .flag("--maxmemory-policy", "allkeys-lru");
    let keys = |client: &mut Client| {
        let mut keys: Vec<String> =
            client.words("KEYS *").elements().iter().map(Value::text).collect();
        keys.sort_unstable();
        keys
    };
    let mut server = start(&launch);
    let mut client = server.client();
    let value = "v".repeat(4_000);
    let mut written = 0;
    while info_number(&mut client, "stats", "evicted_keys") < 500 {
        for _ in 0..200 {
            client.request(&["SET", &format!("key{written}"), &value]);
            written += 1;
        }
        (0..200).for_each(|_| assert_eq!(client.read(), Ok(Value::ok())));
        assert!(written < 100_000, "nothing is evicted");
    }
    let before = keys(&mut client);
    assert!(before.len() < written && !before.contains(&"key0".to_owned()));
    // The last write's evictions are in the log with it, or behind it.
    client.ok("SET last v");
    let before = [before, vec!["last".to_owned()]].concat();
    server.kill();
    let server = start(&launch);
    let after = keys(&mut server.client());
    let came_back: Vec<_> = after.iter().filter(|key| !before.contains(key)).collect();
    assert!(came_back.is_empty(), "{came_back:?}");
    assert!(after.len() + 500 > before.len(), "{} of {}", after.len(), before.len());
}

/// Each time all of it is written down, which takes the client no more than a line.
#[test]
fn a_long_value_that_is_renamed_again_and_again_is_many_records() {
    if skip_on_other_server() {
        return;
    }
    const RENAMES: usize = 48;
    let dir = data_dir();
    for durability in ["sync", "async"] {
        let launch = Launch::shards(1).dir(dir.path()).durable(durability);
        let mut server = start(&launch);
        let mut client = server.client();
        let value = "v".repeat(2_000_000);
        client.command(&["SET", "a", &value]);
        let before = info_number(&mut client, "persistence", "log_records");
        for round in 0..RENAMES {
            let [from, to] = if round % 2 == 0 { ["a", "b"] } else { ["b", "a"] };
            client.request(&["RENAME", from, to]);
        }
        (0..RENAMES).for_each(|_| assert_eq!(client.read(), Ok(Value::ok())));
        client.ok("SET last one");
        wait_until("there are several records", || {
            info_number(&mut client, "persistence", "log_records") - before > 3
        });
        if durability == "sync" {
            server.kill();
        } else {
            stop(server);
        }
        let server = start(&launch);
        let mut client = server.client();
        assert!(client.words("GET a") == Value::bulk(&value));
        assert_eq!(
            client.words("MGET b last"),
            Value::Array(vec![Value::NullBulk, Value::bulk("one")])
        );
        assert_eq!(client.words("DEL last"), Value::Integer(1));
        stop(server);
    }
}
