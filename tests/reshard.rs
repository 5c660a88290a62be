//! `ringmain reshard`: the same data in another number of shards, whenever it is interrupted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use harness::client::Client;
use harness::server::{Launch, skip_on_other_server};
use tempfile::TempDir;

fn ringmain(words: &[&str], dir: &Path, rest: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain"));
    command.args(words).arg(dir).args(rest).stdin(Stdio::null());
    command
}

#[track_caller]
fn run(words: &[&str], dir: &Path, rest: &[&str], code: i32) -> (String, String) {
    let Output { status, stdout, stderr } = ringmain(words, dir, rest).output().unwrap();
    let texts = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert_eq!(status.code(), Some(code), "{words:?} {rest:?}: {texts:?}");
    texts.into()
}

#[track_caller]
fn reshard(dir: &Path, shards: u16) {
    let (out, _) = run(&["reshard"], dir, &["--shards", &shards.to_string()], 0);
    assert!(out.contains(&format!("keys in {shards} shards")), "{out}");
}

/// All that is in a directory whose data is in snapshots alone, by shard: every line but for the shard is
/// the same wherever the entry lies.
fn entries(dir: &Path) -> BTreeMap<String, u64> {
    let (out, _) = run(&["log", "dump"], dir, &["--json"], 0);
    let mut entries = BTreeMap::new();
    for line in out.lines() {
        let (shard, entry) = line.strip_prefix("{\"shard\":").unwrap().split_once(',').unwrap();
        assert!(entry.starts_with("\"index\":null"), "not from a snapshot: {line}");
        let other = entries.insert(entry.to_owned(), shard.parse().unwrap());
        assert_eq!(other, None, "twice: {line}");
    }
    entries
}

fn shards_of(dir: &Path) -> u16 {
    let text = fs::read_to_string(dir.join("layout")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("shards = ")).unwrap();
    line.parse().unwrap()
}

const LONG_BYTES: usize = 3 << 20;

/// Keys with and without expiry in all databases; some are changed in place, some will have expired.
fn fill(client: &mut Client, keys: usize) {
    for db in 0..16 {
        client.ok(&format!("SELECT {db}"));
        for key in 0..keys {
            let expiry = if key % 3 == 0 { " EX 5000" } else { "" };
            client.ok(&format!("SET key:{key} value:{db}:{key}{expiry}"));
        }
        client.words("APPEND key:1 +more");
        client.ok("SET {tag}:a 1 PX 1");
        client.ok("SET {tag}:b 2");
    }
    // Written in pieces: beside others in a part, and alone.
    for (key, byte) in [("long:a", "a"), ("long:b", "b")] {
        client.ok(&format!("SET {key} {}", byte.repeat(LONG_BYTES)));
    }
    client.ok("SELECT 7");
    client.words("DEL key:2");
    client.ok("SWAPDB 7 8");
}

#[track_caller]
fn check(client: &mut Client, keys: usize) {
    for db in 0..16 {
        // 7 and 8 have changed places.
        let of = match db {
            7 => 8,
            8 => 7,
            other => other,
        };
        client.ok(&format!("SELECT {db}"));
        for key in 0..keys {
            let found = client.words(&format!("GET key:{key}"));
            let more = if key == 1 { "+more" } else { "" };
            if of == 7 && key == 2 {
                assert!(found.is_null(), "{found:?}");
            } else {
                assert_eq!(found.text(), format!("value:{of}:{key}{more}"));
            }
            let ttl = client.words(&format!("TTL key:{key}")).integer();
            let expires = key % 3 == 0;
            assert_eq!(ttl > 4000, expires, "key:{key} in {db}: {ttl}");
        }
        assert!(client.words("GET {tag}:a").is_null());
        assert_eq!(client.words("GET {tag}:b").text(), "2");
    }
    client.ok("SELECT 15");
    for (key, byte) in [("long:a", "a"), ("long:b", "b")] {
        assert!(client.words(&format!("GET {key}")).text() == byte.repeat(LONG_BYTES), "{key}");
    }
}

#[test]
fn the_data_stays_the_same_in_any_number_of_shards() {
    if skip_on_other_server() {
        return;
    }
    const KEYS: usize = 40;
    let folder = TempDir::with_prefix("ringmain-test-").unwrap();
    let launch = |shards| Launch::shards(shards).durable("sync").dir(folder.path());
    let mut server = launch(2).start();
    fill(&mut server.client(), KEYS);
    server.kill();
    let mut before = None;
    for shards in [5, 1, 3, 64, 2] {
        reshard(folder.path(), shards);
        assert!(!folder.path().join("reshard").exists());
        assert_eq!(shards_of(folder.path()), shards);
        run(&["log", "verify"], folder.path(), &[], 0);
        // Versions, expiries, times of last use, and what was changed in place.
        let entries = entries(folder.path());
        let used = entries.values().max().unwrap() + 1;
        assert!(u16::try_from(used).unwrap() <= shards && (shards > 5 || used == shards.into()));
        let lines: Vec<String> = entries.into_keys().collect();
        if let Some(before) = before.replace(lines.clone()) {
            assert!(before == lines, "in {shards} shards there is something else");
        }
    }
    let output = launch(3).fail_to_start();
    assert!(
        output.contains("in 2 shards, not 3") && output.contains("ringmain reshard"),
        "{output}"
    );
    let mut server = launch(2).start();
    check(&mut server.client(), KEYS);
    // It goes on being written, and read.
    let mut client = server.client();
    client.ok("SET key:0 again");
    server.kill();
    reshard(folder.path(), 3);
    let server = launch(3).start();
    assert_eq!(server.client().words("GET key:0").text(), "again");
    server.stop();
}

#[test]
fn what_makes_no_sense_changes_nothing() {
    if skip_on_other_server() {
        return;
    }
    let folder = TempDir::with_prefix("ringmain-test-").unwrap();
    let dir = folder.path();
    let (_, error) = run(&["reshard"], dir, &["--shards", "2"], 2);
    assert!(error.contains("is no data directory"), "{error}");
    let server = Launch::shards(2).durable("sync").dir(dir).start();
    let mut client = server.client();
    for key in 0..50 {
        client.ok(&format!("SET {key} {key}"));
    }
    let (_, error) = run(&["reshard"], dir, &["--shards", "3"], 2);
    assert!(error.contains("is in use by another server or tool"), "{error}");
    server.stop();
    for shards in ["0", "1025", "x"] {
        run(&["reshard"], dir, &["--shards", shards], 2);
    }
    run(&["reshard"], dir, &[], 2);
    let (out, _) = run(&["reshard"], dir, &["--shards", "2"], 0);
    assert!(out.contains("there is nothing to do"), "{out}");
    // Damage is not carried over in silence.
    let segment = fs::read_dir(dir.join("shard-0001")).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.to_string_lossy().contains("log-")).min().unwrap();
    let file = OpenOptions::new().write(true).open(segment).unwrap();
    file.write_all_at(b"damage", 4096 + 60).unwrap();
    let (_, error) = run(&["reshard"], dir, &["--shards", "3"], 1);
    assert!(error.contains("is damaged at byte") && error.contains("log repair"), "{error}");
    assert_eq!((shards_of(dir), dir.join("reshard").exists()), (2, false));
}

/// Kills a child that runs for longer than `limit`; true if it ended by itself.
fn kill_after(mut child: Child, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return true;
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            return child.wait().unwrap().success();
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn an_interruption_does_no_harm() {
    if skip_on_other_server() {
        return;
    }
    let folder = TempDir::with_prefix("ringmain-test-").unwrap();
    let dir = folder.path();
    let server = Launch::shards(2).durable("async").dir(dir).start();
    let mut client = server.client();
    let value = "v".repeat(1000);
    let requests = (0..2000).map(|key| format!("SET key:{key} {value}\r\n"));
    client.send(requests.collect::<String>());
    for _ in 0..2000 {
        assert_eq!(client.read().unwrap(), harness::value::Value::ok());
    }
    client.ok("SAVE");
    server.stop();
    let expected: Vec<String> = entries(dir).into_keys().collect();
    assert_eq!(expected.len(), 2000);
    let started = Instant::now();
    reshard(dir, 40);
    let whole = started.elapsed();
    let (mut interrupted, mut finished) = (0, 0);
    for round in 0..40_u32 {
        let before = shards_of(dir);
        let shards = if before == 40 { 3 } else { 40 };
        let child = ringmain(&["reshard"], dir, &["--shards", &shards.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The first are killed early, the last hardly any more.
        let limit = whole * (round + 1) / 36;
        match kill_after(child, limit) {
            true => finished += 1,
            false => interrupted += 1,
        }
        // Whoever looks next finds all of it.
        let found: Vec<String> = entries(dir).into_keys().collect();
        assert!(found == expected, "round {round}: other data after {limit:?}");
        assert!([before, shards].contains(&shards_of(dir)), "round {round}");
        assert!(!dir.join("reshard").exists(), "round {round}");
    }
    assert!(interrupted >= 5, "{interrupted} were interrupted, {finished} finished");
    let shards = shards_of(dir);
    let server = Launch::shards(shards).durable("async").dir(dir).start();
    assert_eq!(server.client().words("DBSIZE").integer(), 2000);
    server.stop();
}
