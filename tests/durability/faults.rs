//! What a client meets when the disk is full, fails or stalls.

use std::fs;
use std::time::Duration;

use crate::disk::{Disk, fill};
use crate::harness::client::{Client, encode, info_number};
use crate::harness::server::{Server, skip_on_other_server};
use crate::harness::value::Value;
use crate::harness::wait_until;
use crate::server::{bytes_in, data_dir, launch, persistence, start};

const VALUE_BYTES: usize = 20_000;

fn key(index: usize) -> String {
    format!("key{index}")
}

fn value(index: usize) -> String {
    format!("{index}:{}", "v".repeat(VALUE_BYTES))
}

/// Writes keys from `first` on until one is refused, or `most` are written; answers which are acknowledged
/// up to.
fn write_until_refused(client: &mut Client, first: usize, most: usize) -> (usize, Option<String>) {
    for index in first..first + most {
        match client.command(&["SET", &key(index), &value(index)]) {
            Value::Error(text) => return (index, Some(text)),
            reply => assert_eq!(reply, Value::ok()),
        }
    }
    (first + most, None)
}

fn expect_keys(server: &Server, keys: impl Iterator<Item = usize>) {
    let mut client = server.client();
    for index in keys {
        let found = client.words(&format!("GET {}", key(index)));
        assert_eq!(found, Value::bulk(value(index)), "{index}");
    }
}

/// Writes until the disk is full, makes room, and goes on; answers how many keys are acknowledged.
fn fill_up_and_make_room(server: &Server, disk: &Disk, shards: u16, durability: &str) -> usize {
    let mut client = server.client();
    let (before, _) = write_until_refused(&mut client, 0, 50);
    let ballast = fill(&disk.folder(), 100_000);
    // With `sync` a write that is not refused waits for room: that is for another connection.
    client.ok("CLIENT DURABILITY async");
    let mut writer = server.client();
    writer.ok(&format!("CLIENT DURABILITY {durability}"));
    let mut sent = before;
    wait_until("writes are refused", || {
        writer.request(&["SET", &key(sent), &value(sent)]);
        sent += 1;
        let refused = client.command(&["SETRANGE", "probe", "0", "x"]);
        matches!(&refused, Value::Error(text) if text.starts_with("MISCONF "))
    });
    // Reads go on, of both kinds, and whatever else does not write.
    assert_eq!(client.words("GET key0"), Value::bulk(value(0)));
    assert_eq!(
        client.words("STRLEN key1").integer(),
        i64::try_from(value(1).len()).expect("short")
    );
    assert_eq!(client.words("PING"), Value::Simple("PONG".into()));
    // Other shards may have room; what needs several is done by all of them or by none.
    for write in [
        "SET {probe}k v",
        "DEL probe",
        "EXPIRE probe 10",
        "INCR {probe}n",
        "MSET a b {probe}c d e f",
        "FLUSHALL",
    ] {
        let refused = client.words(write);
        let text = refused.error();
        assert!(text.starts_with("MISCONF Errors writing to the log: "), "{write}: {text}");
        assert!(text.contains("when there is room again"), "{write}: {text}");
    }
    assert_eq!(client.words("GET key0"), Value::bulk(value(0)));
    assert_eq!(client.words("EXISTS a e {probe}c"), Value::Integer(0));
    assert_eq!(persistence(&mut client, "aof_last_write_status"), "err");
    assert!(persistence(&mut client, "log_error").starts_with("MISCONF "));

    // Whoever reads the server's log learns of it, once.
    let lines = |text: &str| server.output().lines().filter(|line| line.contains(text)).count();
    let refused = lines("MISCONF Errors writing to the log: No space left on device");
    assert!((1..=usize::from(shards)).contains(&refused), "{}", server.output());

    fs::remove_file(ballast).expect("remove the ballast");
    wait_until("writes go on", || persistence(&mut client, "log_error") == "none");
    client.ok("CLIENT DURABILITY default");
    client.ok("SET probe now");
    assert_eq!(persistence(&mut client, "aof_last_write_status"), "ok");
    assert_eq!(lines("the log is written again"), refused, "{}", server.output());
    // What was sent meanwhile is done, or was refused; it is all sent again.
    for _ in before..sent {
        let reply = writer.read().expect("a reply");
        assert!(
            reply == Value::ok()
                || matches!(&reply, Value::Error(text) if text.starts_with("MISCONF"))
        );
    }
    let after = sent + 50;
    for index in before..after {
        // A shard that finds the disk full looks again only after a while.
        wait_until("writes go on", || match client.command(&["SET", &key(index), &value(index)]) {
            Value::Error(text) => {
                assert!(text.starts_with("MISCONF "), "{text}");
                false
            }
            reply => reply == Value::ok(),
        });
    }
    after
}

fn a_full_disk(disk: &Disk, shards: u16, durability: &'static str) {
    let launch = disk.launch(shards, durability);
    let mut server = start(&launch);
    let count = fill_up_and_make_room(&server, disk, shards, durability);
    wait_until("all is on disk", || {
        info_number(&mut server.client(), "persistence", "log_records_not_durable") == 0
    });
    server.kill();
    // And once more, over what was recovered; this time the end comes while it is full.
    let mut server = start(&launch);
    expect_keys(&server, 0..count);
    assert_eq!(server.client().words("GET probe"), Value::bulk("now"));
    let ballast = fill(&disk.folder(), 50_000);
    let mut writer = server.client();
    writer.ok("CLIENT DURABILITY sync");
    writer.send(
        (count..count + 100).flat_map(|i| encode(&["SET", &key(i), &value(i)])).collect::<Vec<_>>(),
    );
    let mut client = server.client();
    client.ok("CLIENT DURABILITY async");
    wait_until("writes are refused", || {
        matches!(client.command(&["SETRANGE", "probe", "0", "x"]), Value::Error(_))
    });
    // Some were done in time, in order; other shards may have had more room.
    let mut acknowledged = Vec::new();
    for index in count..count + 100 {
        if !writer.is_readable_within(Duration::from_millis(100)) {
            break;
        }
        match writer.read().expect("a reply") {
            Value::Error(text) => assert!(text.starts_with("MISCONF "), "{text}"),
            reply => {
                assert_eq!(reply, Value::ok());
                acknowledged.push(index);
            }
        }
    }
    server.kill();
    fs::remove_file(ballast).expect("remove the ballast");
    let server = start(&launch);
    expect_keys(&server, (0..count).chain(acknowledged));
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    if skip_on_other_server() {
        return;
    }
    for (shards, durability) in [(1, "async"), (2, "sync")] {
        let Some(disk) = Disk::in_memory(24) else { return };
        a_full_disk(&disk, shards, durability);
    }
}

#[test]
fn a_full_disk_with_blocks_refuses_writes_until_there_is_room() {
    if skip_on_other_server() {
        return;
    }
    let Some(disk) = Disk::on_a_loop_device(32) else { return };
    a_full_disk(&disk, 1, "sync");
}

/// A limit on the length of files is met by writes like a full disk, and needs no rights: it can be
/// taken back.
#[test]
fn a_limit_on_files_refuses_writes_while_it_lasts() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let launch = launch(dir.path(), 1, "async");
    let mut server = start(&launch);
    let mut client = server.client();
    client.ok("SET before v");
    wait_until("all is on disk", || {
        info_number(&mut client, "persistence", "log_records_not_durable") == 0
    });
    server.limit_files(Some(0));

    // A sync write waits for room; whoever else reads or writes does not wait for it.
    let mut waiting = server.client();
    waiting.ok("CLIENT DURABILITY sync");
    waiting.send([encode(&["SET", "waiting", "v"]), encode(&["GET", "before"])].concat());
    wait_until(
        "writes are refused",
        || matches!(client.words("SET probe v"), Value::Error(text) if text.starts_with("MISCONF ")),
    );
    assert!(server.is_running());
    assert_eq!(client.words("GET before"), Value::bulk("v"));
    // It is there for others already, though its own client has not been told.
    assert_eq!(client.words("GET waiting"), Value::bulk("v"));
    assert!(!waiting.is_readable_within(Duration::from_millis(50)));

    server.limit_files(None);
    assert_eq!(waiting.read(), Ok(Value::ok()));
    assert_eq!(waiting.read(), Ok(Value::bulk("v")));
    wait_until("writes go on", || client.words("SET after v") == Value::ok());
    client.ok("CLIENT DURABILITY sync");
    client.ok("SET last v");
    server.kill();
    let server = start(&launch);
    let mut client = server.client();
    for key in ["before", "waiting", "after", "last"] {
        assert_eq!(client.words(&format!("GET {key}")), Value::bulk("v"), "{key}");
    }
}

/// A log that can't be written may be given up. Whoever waits for it is not told that all is well.
#[test]
fn a_log_that_ends_on_a_full_disk_acknowledges_nothing() {
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let mut server = start(&launch(dir.path(), 1, "async"));
    let mut client = server.client();
    client.ok("SET before v");
    wait_until("all is on disk", || {
        info_number(&mut client, "persistence", "log_records_not_durable") == 0
    });
    server.limit_files(Some(0));
    let mut waiting = server.client();
    waiting.ok("CLIENT DURABILITY sync");
    waiting.send([encode(&["SET", "waiting", "v"]), encode(&["GET", "before"])].concat());
    wait_until("the write is done, and waits", || client.words("GET waiting") == Value::bulk("v"));
    wait_until(
        "writes are refused",
        || matches!(client.words("SET probe v"), Value::Error(text) if text.starts_with("MISCONF ")),
    );
    client.ok("CONFIG SET durability memory");
    let reply = waiting.read().expect("a last reply");
    assert!(reply.error().starts_with("MISCONF Errors writing to the log: "), "{reply:?}");
    waiting.expect_close();
    client.ok("SET probe v");
    assert!(server.is_running());
}

/// A log that is begun while the server runs means nothing before its first snapshot: where that can't be taken
/// writes are refused, and it is tried until it can.
#[test]
fn the_first_snapshot_of_a_log_is_tried_until_it_succeeds() {
    const KEYS: usize = 200;
    if skip_on_other_server() {
        return;
    }
    for durability in ["async", "sync"] {
        let dir = data_dir();
        let mut server = start(&launch(dir.path(), 1, "async"));
        let mut client = server.client();
        client.ok("CONFIG SET durability memory");
        assert_eq!(write_until_refused(&mut client, 0, KEYS), (KEYS, None));
        // Segments fit, the snapshot of what there is does not.
        server.limit_files(Some(2 << 20));
        client.ok(&format!("CONFIG SET durability {durability}"));
        let mut refused = String::new();
        wait_until("writes are refused", || match server.client().words("GET key0") {
            Value::Error(text) => panic!("{text}"),
            _ => {
                refused = persistence(&mut client, "log_error");
                refused.contains("the snapshot that it begins with can't be taken")
            }
        });
        assert!(refused.starts_with("MISCONF Errors writing to the log: "), "{refused}");
        assert_eq!(client.words("SET probe v").error(), refused);
        assert_eq!(client.words("GET key0"), Value::bulk(value(0)));
        server.limit_files(None);
        wait_until("writes go on", || client.words("SET after v") == Value::ok());
        assert_eq!(persistence(&mut client, "log_error"), "none");
        client.ok("CLIENT DURABILITY sync");
        client.ok("SET last v");
        server.kill();
        let server = start(&launch(dir.path(), 1, durability));
        expect_keys(&server, 0..KEYS);
        assert_eq!(server.client().words("GET last"), Value::bulk("v"));
    }
}

/// A log that was there before counts until the one that is begun in its place does.
#[test]
fn a_log_counts_until_the_next_one_does() {
    const KEYS: usize = 150;
    if skip_on_other_server() {
        return;
    }
    let dir = data_dir();
    let launch = launch(dir.path(), 1, "sync").flag("--auto-aof-rewrite-percentage", "0");
    for saved in [false, true] {
        let mut server = start(&launch);
        let mut client = server.client();
        assert_eq!(write_until_refused(&mut client, 0, KEYS), (KEYS, None));
        if saved {
            // Of what is behind it nothing has been written yet.
            client.ok("SAVE");
        }
        client.ok("CONFIG SET durability memory");
        client.ok("SET key0 changed");
        client.ok("SET more v");
        for round in 0..3 {
            server.limit_files(Some(2 << 20));
            client.ok("CONFIG SET durability async");
            let _ = client.words(&format!("SET round v{round}"));
            wait_until("the snapshot can't be taken", || {
                persistence(&mut client, "log_error").contains("the snapshot that it begins with")
            });
            client.ok("CONFIG SET durability memory");
        }
        client.ok("CONFIG SET durability sync");
        server.kill();
        let mut server = start(&launch);
        expect_keys(&server, 0..KEYS);
        let mut client = server.client();
        assert_eq!(client.words("EXISTS more round"), Value::Integer(0));
        assert!(
            server.output().contains("was not finished: nothing in it counts"),
            "{}",
            server.output()
        );
        // Once the next one counts nothing is left of it.
        client.ok("CONFIG SET durability memory");
        client.ok("FLUSHALL");
        client.ok("SET only v");
        client.ok("CONFIG SET durability sync");
        client.ok("SET other v");
        wait_until("the log before is gone", || bytes_in(dir.path()) < 5 << 20);
        server.kill();
        let server = start(&launch);
        assert_eq!(server.client().words("DBSIZE"), Value::Integer(2));
        server.client().ok("FLUSHALL");
    }
}

/// A disk that fails: what is not on it can't be promised any more, so no write is taken until the
/// server is started again.
#[test]
fn a_failing_disk_ends_writes() {
    if skip_on_other_server() {
        return;
    }
    let Some(disk) = Disk::on_a_loop_device(64) else { return };
    let launch = disk.launch(1, "sync").flag("--auto-aof-rewrite-percentage", "0");
    let mut server = start(&launch);
    let mut client = server.client();
    let (written, _) = write_until_refused(&mut client, 0, 20);
    disk.break_down();

    let mut writer = server.client();
    let mut failed = None;
    let mut acknowledged = written;
    while failed.is_none() && acknowledged < 2000 {
        match writer.command(&["SET", &key(acknowledged), &value(acknowledged)]) {
            Value::Error(text) => failed = Some(text),
            reply => {
                assert_eq!(reply, Value::ok());
                acknowledged += 1;
            }
        }
    }
    let failed = failed.expect("the disk fails");
    assert!(failed.starts_with("MISCONF Errors writing to the log: "), "{failed}");
    // Its connection ends: what it was told before and what not must be clear.
    writer.expect_close();

    assert_eq!(client.words("GET key0"), Value::bulk(value(0)));
    for write in ["SET k v", "DEL key0", "FLUSHALL"] {
        let refused = client.words(write);
        assert!(refused.error().starts_with("MISCONF Errors writing to the log: "), "{refused:?}");
        assert!(refused.error().contains("restart the server"), "{refused:?}");
    }
    assert!(persistence(&mut client, "log_error").starts_with("MISCONF "));
    assert!(matches!(client.words("SAVE"), Value::Error(_)));
    assert!(client.words("SET k v").error().contains("restart the server"));
    assert!(server.is_running());
    assert_eq!(client.words("GET key1"), Value::bulk(value(1)));
    // It still ends in order.
    server.signal("TERM");
    assert!(server.wait_for_exit().code().is_some(), "{}", server.output());
}

/// While a write waits for a disk that stalls, everybody else is served.
#[test]
fn a_stalled_disk_keeps_nobody_from_reading() {
    if skip_on_other_server() {
        return;
    }
    for shards in [1, 2] {
        let Some(disk) = Disk::on_a_loop_device(32) else { return };
        let mut server = start(&disk.launch(shards, "async"));
        let mut client = server.client();
        (0..50).for_each(|index| client.ok(&format!("SET k{index} before")));
        let Some(stalled) = disk.stall() else {
            return crate::harness::skip("the file system can't be stalled");
        };
        let mut waiting = server.client();
        waiting.ok("CLIENT DURABILITY sync");
        let mut requests = Vec::new();
        for index in 0..50 {
            requests.extend(encode(&["GET", &format!("k{index}")]));
            requests.extend(encode(&["SET", &format!("k{index}"), "after"]));
            requests.extend(encode(&["GET", &format!("k{index}")]));
        }
        waiting.send(&requests);
        wait_until("the writes are done, and wait", || {
            client.words("GET k49") == Value::bulk("after")
        });
        for index in 0..50 {
            assert_eq!(client.words(&format!("GET k{index}")), Value::bulk("after"));
            // As long as they wait for no disk, writes do not either.
            client.ok(&format!("SET other{index} v"));
        }
        assert!(!waiting.is_readable_within(Duration::from_millis(50)));
        // How far the disk is behind is told, and grows.
        wait_until("the sync is behind", || {
            info_number(&mut client, "persistence", "log_sync_behind_ms") > 200
        });
        drop(stalled);
        for index in 0..50 {
            assert_eq!(waiting.read(), Ok(Value::bulk("before")), "k{index}");
            assert_eq!(waiting.read(), Ok(Value::ok()), "k{index}");
            assert_eq!(waiting.read(), Ok(Value::bulk("after")), "k{index}");
        }
        server.kill();
        let server = start(&disk.launch(shards, "async"));
        let mut client = server.client();
        for index in 0..50 {
            assert_eq!(client.words(&format!("GET k{index}")), Value::bulk("after"));
        }
    }
}
