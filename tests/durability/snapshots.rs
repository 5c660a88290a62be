//! Snapshots: asked for, told of, and taken often enough that the directory does not grow without end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::client::{Client, encode, info, info_number};
use crate::harness::server::skip_on_other_server;
use crate::harness::value::Value;
use crate::harness::wait_until;
use crate::server::{bytes_in, data_dir, launch, launch_plain, persistence, save, start, stop};

/// So many that each shard's log has more than one segment.
const KEYS: usize = 8000;
const KEYS_BYTES: u64 = 500 * KEYS as u64;

fn number(client: &mut Client, field: &str) -> u64 {
    info_number(client, "persistence", field)
}

fn fill(client: &mut Client, keys: usize) {
    for index in 0..keys {
        client.request(&["SET", &format!("key{index}"), &"v".repeat(500)]);
    }
    (0..keys).for_each(|_| assert_eq!(client.read(), Ok(Value::ok())));
}

fn unix_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("a time")
}

#[test]
fn snapshots_are_taken_and_told_of() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    // None unasked.
    let launch = launch(dir.path(), 2, "async").flag("--auto-aof-rewrite-percentage", "0");
    let server = start(&launch);
    let mut client = server.client();
    for (field, value) in [
        ("loading", "0"),
        ("aof_enabled", "1"),
        ("durability", "async"),
        ("rdb_bgsave_in_progress", "0"),
        ("rdb_last_bgsave_status", "ok"),
        ("aof_last_write_status", "ok"),
        ("rdb_changes_since_last_save", "0"),
        ("rdb_saves", "0"),
        ("snapshot_bytes", "0"),
        ("log_error", "none"),
    ] {
        assert_eq!(persistence(&mut client, field), value, "{field}");
    }
    let started = client.words("LASTSAVE").integer();
    assert!((0..60).contains(&(unix_s() - started)), "{started}");

    fill(&mut client, KEYS);
    assert_eq!(number(&mut client, "rdb_changes_since_last_save"), KEYS as u64);
    wait_until("all is on disk", || number(&mut client, "log_records_not_durable") == 0);
    let log_bytes = number(&mut client, "aof_current_size");
    assert!(log_bytes > KEYS_BYTES, "{log_bytes}");
    assert!(number(&mut client, "log_payload_bytes") >= KEYS_BYTES);
    assert!(number(&mut client, "log_written_bytes") >= number(&mut client, "log_payload_bytes"));
    assert!(number(&mut client, "log_syncs") > 0 && number(&mut client, "log_segments") > 0);
    assert_eq!(number(&mut client, "log_sync_behind_ms"), 0);

    wait_until("the second is over", || unix_s() > started);
    save(&mut client);
    assert_eq!(number(&mut client, "rdb_changes_since_last_save"), 0);
    assert_eq!(number(&mut client, "rdb_saves"), 1);
    assert_eq!(number(&mut client, "aof_rewrites"), 1);
    assert!(number(&mut client, "snapshot_bytes") > KEYS_BYTES);
    assert!(number(&mut client, "aof_current_size") < log_bytes, "the log is shorter");
    let saved = client.words("LASTSAVE").integer();
    assert!(saved > started && saved <= unix_s(), "{started} {saved}");
    assert_eq!(i64::try_from(number(&mut client, "rdb_last_save_time")), Ok(saved));

    for (command, answer) in [
        ("BGSAVE", "Background saving started"),
        ("BGREWRITEAOF", "Background append only file rewriting started"),
        ("BGSAVE SCHEDULE", "Background saving started"),
    ] {
        let before = number(&mut client, "rdb_saves");
        client.ok("SET another change");
        assert_eq!(client.words(command), Value::Simple(answer.into()), "{command}");
        wait_until("the snapshot is taken", || number(&mut client, "rdb_saves") > before);
        let fields = info(&mut client, "persistence");
        assert_eq!(fields["rdb_bgsave_in_progress"], "0");
        assert_eq!(fields["aof_rewrite_in_progress"], "0");
        assert_eq!(fields["rdb_changes_since_last_save"], "0");
    }
    assert_eq!(client.words("BGSAVE now").error(), "ERR syntax error");

    // One at a time: the second is told so, or comes after the first.
    client
        .send([encode(&["BGSAVE"]), encode(&["BGSAVE"]), encode(&["BGSAVE", "SCHEDULE"])].concat());
    assert_eq!(client.read(), Ok(Value::Simple("Background saving started".into())));
    let busy = Value::Error("ERR Background save already in progress".into());
    assert_eq!(client.read(), Ok(busy));
    assert_eq!(client.read(), Ok(Value::Simple("Background saving scheduled".into())));
    stop(server);

    // What the snapshot holds and what came after it are put together.
    let server = start(&launch);
    let mut client = server.client();
    assert_eq!(client.words("DBSIZE"), Value::Integer(KEYS as i64 + 1));
    assert_eq!(number(&mut client, "rdb_saves"), 0);
}

/// The longest step of a core has a name, also where it is one of the log.
#[test]
fn the_longest_step_is_told_with_its_cause() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let server = start(&launch(dir.path(), 1, "async"));
    let mut client = server.client();
    let step = |client: &mut Client| {
        let all = info(client, "ringmain");
        let us: u64 = all["longest_step_us"].parse().expect("a number");
        let of_core = format!("longest_step_us={us},longest_step={},", all["longest_step"]);
        assert!(all["core_0"].contains(&of_core), "{} in {}", of_core, all["core_0"]);
        (us, all["longest_step"].clone())
    };
    client.ok("CONFIG RESETSTAT");
    let (before, _) = step(&mut client);
    // So long that nothing else is.
    let keys: Vec<String> = (0..100_000).map(|key| format!("k{key}")).collect();
    let many: Vec<&str> = ["DEL"].into_iter().chain(keys.iter().map(String::as_str)).collect();
    assert_eq!(client.command(&many), Value::Integer(0));
    let (us, name) = step(&mut client);
    assert!(us > before && name == "del", "{us} {name}");
}

#[test]
fn without_a_log_there_is_nothing_to_take_a_snapshot_for() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let server = launch(dir.path(), 2, "memory").start();
    let mut client = server.client();
    for command in ["SAVE", "BGSAVE", "BGREWRITEAOF"] {
        let answer = client.words(command);
        assert!(answer.error().contains("durability is memory"), "{command}: {answer:?}");
    }
    assert_eq!(persistence(&mut client, "aof_enabled"), "0");
    assert_eq!(persistence(&mut client, "durability"), "memory");
}

/// Writes the same keys over and over, and looks at the directory all the while.
fn overwrite(flags: &[(&str, &str)], bytes_max: u64) {
    const KEYS: usize = 100;
    const VALUE_BYTES: usize = 5000;
    const ROUNDS: usize = 300;
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    // So that what is written waits for the disk, and not in memory.
    let mut launch = launch(dir.path(), 2, "sync");
    for (name, value) in flags {
        launch = launch.flag(name, value);
    }
    let mut server = start(&launch);
    let mut client = server.client();
    let value = |round: usize, key: usize| format!("{round}-{key}-{}", "v".repeat(VALUE_BYTES));
    let mut most = 0;
    for round in 0..ROUNDS {
        for key in 0..KEYS {
            client.request(&["SET", &format!("key{key}"), &value(round, key)]);
        }
        (0..KEYS).for_each(|_| assert_eq!(client.read(), Ok(Value::ok())));
        most = most.max(bytes_in(dir.path()));
    }
    let written = (KEYS * VALUE_BYTES * ROUNDS) as u64;
    assert!(most < bytes_max && written > 2 * bytes_max, "{most} bytes, of {written} written");
    wait_until("all is on disk", || number(&mut client, "log_records_not_durable") == 0);
    server.kill();
    let server = start(&launch);
    let mut client = server.client();
    for key in 0..KEYS {
        let found = client.words(&format!("GET key{key}"));
        assert_eq!(found, Value::bulk(value(ROUNDS - 1, key)), "key{key}");
    }
}

#[test]
fn the_directory_is_bounded_by_the_growth_of_the_log() {
    overwrite(&[], 48 << 20);
}

#[test]
fn the_directory_is_bounded_by_the_length_of_the_log() {
    overwrite(&[("--auto-aof-rewrite-percentage", "0"), ("--log-bytes-max", "6mb")], 48 << 20);
}

/// A snapshot is taken while others write; what it needs beside the data is a part of the entries at a time.
#[test]
fn a_snapshot_takes_little_memory() {
    const KEYS: usize = 8_000;
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let launch = launch_plain(dir.path(), 1, "async").flag("--auto-aof-rewrite-percentage", "0");
    let server = start(&launch);
    let mut client = server.client();
    let value = "v".repeat(8_000);
    let mut overwrite = |keys: std::ops::Range<usize>| {
        for key in keys.clone() {
            client.request(&["SET", &format!("key{key}"), &value]);
        }
        keys.for_each(|_| assert_eq!(client.read(), Ok(Value::ok())));
    };
    // Twice, so that what the log needs is there already.
    (0..2).for_each(|_| (0..KEYS).step_by(100).for_each(|key| overwrite(key..key + 100)));
    let mut saver = server.client();
    save(&mut saver);
    let before = server.resident_bytes();
    server.forget_peak_of_memory();
    let mut next = 0;
    for _ in 0..3 {
        saver.request(&["SAVE"]);
        wait_until("the snapshot is taken", || {
            overwrite(next..next + 20);
            next = (next + 20) % KEYS;
            saver.is_readable_within(Duration::from_millis(1))
        });
        assert_eq!(saver.read(), Ok(Value::ok()));
    }
    let (peak, data) = (server.peak_of_memory(), (KEYS * value.len()) as u64);
    assert!(peak < before + data / 20, "{before} bytes before, {peak} at most");
}
