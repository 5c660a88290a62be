//! The durability that a server, a connection or a request asks for, changed while all is running.

use std::time::{Duration, Instant};

use ringmain::protocol::binary::{Opcode, Status};

use crate::harness::binary::{BinaryClient, Request};
use crate::harness::client::{Client, encode, info, info_number};
use crate::harness::server::{Server, skip_on_other_server};
use crate::harness::slots::keys_over_shards;
use crate::harness::value::Value;
use crate::harness::{PATIENCE, wait_until};
use crate::server::{data_dir, launch, persistence, start};

/// Waits until a log that was begun while there was data holds all of it.
fn wait_for_first_snapshot(client: &mut Client) {
    wait_until("the log is begun and the first snapshot taken", || {
        persistence(client, "aof_enabled") == "1"
            && info_number(client, "persistence", "rdb_saves") > 0
            && info_number(client, "persistence", "log_records_not_durable") == 0
    });
}

fn set_all(client: &mut Client, keys: &[String], value: &str) {
    for key in keys {
        client.request(&["SET", key, value]);
    }
    keys.iter().for_each(|key| assert_eq!(client.read(), Ok(Value::ok()), "{key}"));
}

fn expect_all(server: &Server, keys: &[String], value: &str) {
    let mut client = server.client();
    for key in keys {
        assert_eq!(client.words(&format!("GET {key}")), Value::bulk(value), "{key}");
    }
}

#[test]
fn durability_changes_in_all_directions() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let keys = keys_over_shards("k", 2, 40);
    let (first, rest) = keys.split_at(10);
    // What was written without a log is there once one was begun.
    let mut server = launch(dir.path(), 2, "memory").start();
    let mut client = server.client();
    set_all(&mut client, first, "in memory");
    client.ok("CONFIG SET durability async");
    assert_eq!(client.words("CONFIG GET durability").elements()[1], Value::bulk("async"));
    wait_for_first_snapshot(&mut client);
    client.ok("CONFIG SET durability sync");
    set_all(&mut client, rest, "sync");
    server.kill();

    let mut server = start(&launch(dir.path(), 2, "async"));
    expect_all(&server, first, "in memory");
    expect_all(&server, rest, "sync");
    let mut client = server.client();
    client.ok("CONFIG SET durability memory");
    assert_eq!(persistence(&mut client, "aof_enabled"), "0");
    set_all(&mut client, first, "without a log");
    client.words(&format!("DEL {}", rest[0]));
    client.ok("CONFIG SET durability sync");
    assert_eq!(persistence(&mut client, "aof_enabled"), "1");
    // Acknowledged with it is all that is in the log's first snapshot.
    set_all(&mut client, &rest[1..], "sync again");
    server.kill();

    let mut server = start(&launch(dir.path(), 2, "sync"));
    expect_all(&server, first, "without a log");
    expect_all(&server, &rest[1..], "sync again");
    let mut client = server.client();
    assert_eq!(client.words(&format!("GET {}", rest[0])), Value::NullBulk);
    client.ok("CONFIG SET durability async");
    set_all(&mut client, rest, "async");
    client.ok("CONFIG SET durability sync");
    client.ok("SET last one");
    wait_until("all is on disk", || {
        info_number(&mut client, "persistence", "log_records_not_durable") == 0
    });
    server.kill();
    let server = start(&launch(dir.path(), 2, "sync"));
    expect_all(&server, rest, "async");
    expect_all(&server, &["last".to_owned()], "one");
}

/// Changes while others write: nobody waits for ever, and at the end all is there.
#[test]
fn durability_changes_under_load() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let mut server = start(&launch(dir.path(), 2, "sync"));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let _raise = crate::harness::Raise(&is_over);
        let mut threads = Vec::new();
        for number in 0..3 {
            let (mut client, is_over) = (server.client(), &is_over);
            threads.push(scope.spawn(move || {
                let mut round = 0;
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    round += 1;
                    for key in 0..20 {
                        let value = format!("{round}{}", "v".repeat(1000));
                        client.request(&["SET", &format!("c{number}-{key}"), &value]);
                    }
                    for _ in 0..20 {
                        assert_eq!(client.read(), Ok(Value::ok()));
                    }
                }
                round
            }));
        }
        let mut control = server.client();
        for durability in ["memory", "async", "sync", "memory", "sync"].repeat(8) {
            control.ok(&format!("CONFIG SET durability {durability}"));
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("a writer")).collect::<Vec<_>>()
    });
    set_all(&mut server.client(), &keys_over_shards("last", 2, 4), "sync");
    server.kill();
    let server = start(&launch(dir.path(), 2, "sync"));
    for (number, round) in written.into_iter().enumerate() {
        let keys: Vec<String> = (0..20).map(|key| format!("c{number}-{key}")).collect();
        expect_all(&server, &keys, &format!("{round}{}", "v".repeat(1000)));
    }
}

#[test]
fn a_log_that_cannot_be_begun_is_not_promised() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let server = launch(dir.path(), 2, "async").start();
    let mut client = server.client();
    client.ok("CONFIG SET durability memory");
    // Where the folder of a shard was is something else.
    let in_the_way = dir.path().join("shard-0001");
    wait_until("the folder is out of use", || {
        // What the log's end still does there may come between.
        let _ = std::fs::remove_dir_all(&in_the_way);
        std::fs::write(&in_the_way, "").is_ok()
    });
    let refused = client.words("CONFIG SET durability async");
    assert!(refused.error().starts_with("ERR the log can't be begun: "), "{refused:?}");
    assert_eq!(client.words("CONFIG GET durability").elements()[1], Value::bulk("memory"));
    let refused = client.words("CLIENT DURABILITY sync");
    assert!(refused.error().starts_with("NODURABILITY"), "{refused:?}");
    wait_until("no shard has a log", || persistence(&mut client, "aof_enabled") == "0");
    client.ok("SET k v");

    std::fs::remove_file(&in_the_way).expect("removed");
    client.ok("CONFIG SET durability async");
    assert_eq!(persistence(&mut client, "aof_enabled"), "1");
    wait_for_first_snapshot(&mut client);
}

/// Whoever waits for a snapshot when the log is ended is told so.
#[test]
fn a_save_ends_with_the_log() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let server = start(&launch(dir.path(), 2, "async"));
    let (mut client, mut control) = (server.client(), server.client());
    set_all(&mut client, &keys_over_shards("k", 2, 2000), &"v".repeat(2000));
    for _ in 0..3 {
        client.request(&["SAVE"]);
        control.ok("CONFIG SET durability memory");
        let reply = client.read().expect("a reply to SAVE");
        assert!(reply == Value::ok() || matches!(reply, Value::Error(_)), "{reply:?}");
        control.ok("CONFIG SET durability async");
        wait_for_first_snapshot(&mut control);
    }
}

#[test]
fn a_connection_chooses_for_itself() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let mut server = start(&launch(dir.path(), 2, "async"));
    let mut client = server.client();
    let level = |client: &mut Client| client.words("CLIENT DURABILITY").text();
    assert_eq!(level(&mut client), "async");
    for word in ["memory", "async", "sync", "SYNC", "Memory"] {
        client.ok(&format!("CLIENT DURABILITY {word}"));
        assert_eq!(level(&mut client), word.to_lowercase());
        // Nobody else's is changed.
        assert_eq!(level(&mut server.client()), "async");
    }
    client.ok("CLIENT DURABILITY default");
    assert_eq!(level(&mut client), "async");
    for wrong in ["CLIENT DURABILITY disk", "CLIENT DURABILITY sync now"] {
        assert_eq!(client.words(wrong).error(), "ERR syntax error", "{wrong}");
        assert_eq!(level(&mut client), "async");
    }
    // It follows the server's, unless it chose.
    let mut other = server.client();
    other.ok("CLIENT DURABILITY sync");
    server.client().ok("CONFIG SET durability memory");
    assert_eq!(level(&mut client), "memory");
    for word in ["async", "sync"] {
        let refused = client.words(&format!("CLIENT DURABILITY {word}"));
        assert!(refused.error().starts_with("NODURABILITY there is no log"), "{refused:?}");
        assert_eq!(level(&mut client), "memory");
    }
    client.ok("CLIENT DURABILITY memory");
    server.client().ok("CONFIG SET durability async");
    wait_for_first_snapshot(&mut client);
    assert_eq!(level(&mut client), "memory");
    assert_eq!(client.words("RESET"), Value::Simple("RESET".into()));
    assert_eq!(level(&mut client), "async");

    // What was asked for with a pipeline holds from the next command on.
    client.send(
        [
            encode(&["SET", "first", "async"]),
            encode(&["CLIENT", "DURABILITY", "sync"]),
            encode(&["SET", "second", "sync"]),
            encode(&["GET", "second"]),
        ]
        .concat(),
    );
    for expected in [Value::ok(), Value::ok(), Value::ok(), Value::bulk("sync")] {
        assert_eq!(client.read(), Ok(expected));
    }
    server.kill();
    let server = start(&launch(dir.path(), 2, "async"));
    expect_all(&server, &["second".to_owned()], "sync");
}

/// What a client has asked to have kept is refused once nobody keeps it, whoever has seen to that.
#[test]
fn what_was_asked_for_is_kept_or_refused() {
    const SYNC: u8 = 3;
    if skip_on_other_server() {
        return;
    }
    for (shards, of_server) in [(1, "async"), (2, "sync")] {
        let dir = data_dir();
        let mut server = start(&launch(dir.path(), shards, of_server).binary());
        let (mut control, mut usual) = (server.client(), server.client());
        let mut binary = BinaryClient::connect(server.binary_address());
        let keys = keys_over_shards("k", shards, 20);
        let many = format!("MSET {} v {} v", keys[0], keys[1]);
        for level in ["async", "sync"] {
            let mut client = server.client();
            client.ok(&format!("CLIENT DURABILITY {level}"));
            let escaped = Request::command(&format!("CLIENT DURABILITY {level}"));
            let mut by_default = BinaryClient::connect(server.binary_address());
            by_default.one(escaped);
            set_all(&mut client, &keys, "kept");
            control.ok("CONFIG SET durability memory");
            for write in [format!("SET {} lost", keys[0]), many.clone(), "FLUSHALL".to_owned()] {
                let refused = client.words(&write);
                let expected =
                    format!("NODURABILITY there is no log yet: durability {level} can't be given");
                assert_eq!(refused.error(), expected, "{write}");
            }
            assert_eq!(client.words(&format!("GET {}", keys[0])), Value::bulk("kept"));
            assert_eq!(client.words("CLIENT DURABILITY"), Value::bulk(level));
            // In bursts of plain requests as well, and for a request by itself.
            let sets: Vec<_> =
                keys.iter().map(|key| Request::keyed(Opcode::Set, key, "lost")).collect();
            let asking = sets.iter().map(|set| set.clone().durability(SYNC)).collect::<Vec<_>>();
            for reply in binary.all(&asking) {
                assert_eq!(reply.status(), Status::DurabilityUnavailable);
            }
            expect_all(&server, &keys, "kept");
            // Who asks for nothing in particular gets what the server has.
            set_all(&mut usual, &keys, "by default");
            assert!(binary.all(&sets).iter().all(|reply| reply.status() == Status::Ok));
            control.ok(&format!("CONFIG SET durability {of_server}"));
            set_all(&mut client, &keys, "kept again");
        }
        control.ok("CONFIG SET durability sync");
        set_all(&mut usual, &keys, "at the end");
        server.kill();
        expect_all(&start(&launch(dir.path(), shards, "sync")), &keys, "at the end");
    }
}

/// While others change the durability, no write is acknowledged at a level that it does not have: those that
/// wait for the disk are on it before the log ends.
#[test]
fn replies_that_wait_when_a_log_ends_are_kept() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let server = start(&launch(dir.path(), 2, "async"));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let counts = std::thread::scope(|scope| {
        let _raise = crate::harness::Raise(&is_over);
        let writers: Vec<_> = (0..3)
            .map(|number| {
                let (mut client, is_over) = (server.client(), &is_over);
                client.ok("CLIENT DURABILITY sync");
                scope.spawn(move || {
                    let (mut kept, mut refused) = (0, 0);
                    while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                        (0..10).for_each(|key| {
                            client.request(&["SET", &format!("{number}{key}"), "v"])
                        });
                        for _ in 0..10 {
                            match client.read().expect("a reply") {
                                Value::Error(text) => {
                                    assert!(text.starts_with("NODURABILITY "), "{text}");
                                    refused += 1;
                                }
                                reply => {
                                    assert_eq!(reply, Value::ok());
                                    kept += 1;
                                }
                            }
                        }
                    }
                    (kept, refused)
                })
            })
            .collect();
        let mut control = server.client();
        for durability in ["memory", "async", "memory", "sync"].repeat(10) {
            control.ok(&format!("CONFIG SET durability {durability}"));
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().expect("a writer")).collect::<Vec<_>>()
    });
    assert!(counts.iter().all(|(kept, _)| *kept > 0), "{counts:?}");
    assert!(counts.iter().any(|(_, refused)| *refused > 0), "{counts:?}");
}

#[test]
fn a_request_of_the_binary_protocol_chooses_for_itself() {
    const SYNC: u8 = 3;
    if skip_on_other_server() {
        return;
    }
    for (shards, durability) in [(1, "async"), (3, "async"), (2, "sync")] {
        let dir = data_dir();
        let launch = launch(dir.path(), shards, durability).binary();
        let mut server = start(&launch);
        let mut client = BinaryClient::connect(server.binary_address());
        let keys = keys_over_shards("k", shards, 60);
        let mut requests = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            // Memory, async and sync, by turns, and some that ask for nothing.
            let level = u8::try_from(index % 4).expect("small");
            requests.push(Request::keyed(Opcode::Set, key, key).durability(level));
        }
        let strings = [&keys[0], "many", &keys[1], "many", &keys[2], "many"];
        requests.push(Request::many(Opcode::SetMany, &strings).durability(SYNC));
        requests.push(Request::command("SET escaped command").durability(SYNC));
        requests.push(Request::keyed(Opcode::Append, &keys[3], "+").durability(SYNC));
        requests.push(Request::keyed(Opcode::Increment, "n", 7i64.to_le_bytes()).durability(SYNC));
        requests.push(Request::keyed(Opcode::Delete, &keys[7], "").durability(SYNC));
        for reply in client.all(&requests) {
            assert_eq!(reply.status(), Status::Ok, "{}", reply.text());
        }
        server.kill();
        let server = start(&launch);
        for (index, key) in keys.iter().enumerate().skip(4).filter(|(index, _)| index % 4 == 3) {
            let expected = if index == 7 { Value::NullBulk } else { Value::bulk(key) };
            assert_eq!(server.client().words(&format!("GET {key}")), expected, "{key}");
        }
        expect_all(&server, &keys[..3], "many");
        expect_all(&server, &[keys[3].clone()], &format!("{}+", keys[3]));
        expect_all(&server, &["escaped".to_owned()], "command");
        expect_all(&server, &["n".to_owned()], "7");
    }
}

/// A value that no key holds any more is in memory for as long as the log has not written it.
#[test]
fn memory_of_what_is_on_its_way_to_the_disk_is_shown() {
    const VALUE_BYTES: u64 = 64 << 20;
    const LITTLE_BYTES: u64 = 4 << 20;
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let server = start(&launch(dir.path(), 1, "sync"));
    let (mut writer, mut reader) = (server.client(), server.client());
    let value = vec![b'v'; usize::try_from(VALUE_BYTES).unwrap()];
    let value = [encode(&[b"SET", b"big", &value[..]]), encode(&["DEL", "big"])].concat();
    let mut seen = false;
    wait_until("INFO shows what the log holds", || {
        // The replies come when the disk has the value.
        writer.send(&value);
        let sent = Instant::now();
        while !writer.is_readable_within(Duration::from_millis(1)) && sent.elapsed() < PATIENCE {
            let info = info(&mut reader, "memory");
            let number = |field: &str| info[field].parse::<u64>().unwrap();
            let buffers = number("mem_aof_buffer");
            assert_eq!(number("mem_not_counted_for_evict"), buffers);
            assert!(number("used_memory") >= buffers);
            assert!(number("used_memory_dataset") < number("used_memory"));
            seen |= buffers >= VALUE_BYTES;
        }
        writer.expect_bytes("+OK\r\n:1\r\n");
        seen
    });
    wait_until("all is written", || {
        info_number(&mut reader, "memory", "mem_aof_buffer") < LITTLE_BYTES
    });
    assert!(info_number(&mut reader, "memory", "used_memory_peak") >= VALUE_BYTES);
}
