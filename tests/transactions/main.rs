//! Transactions over several shards and connections: each is run whole, at one moment, or not at all.
//! What each command answers is in `tests/cases/transactions.txt`.
//!
//! `RINGMAIN_TRANSACTIONS=5000` lets every client of the random histories make that many.

mod data;
#[path = "../harness/mod.rs"]
mod harness;
mod history;
mod isolation;
mod mixture;
mod recorder;
mod search;

use harness::client::{Client, encode, encode_words, info_number};
use harness::server::Launch;
use harness::slots::keys_over_shards;
use harness::value::Value;
use harness::wait_until;

const SHARDS: u16 = 4;

/// Sends the requests in one go, and reads as many replies.
fn pipeline(client: &mut Client, lines: &[String]) -> Vec<Value> {
    client.send(lines.iter().flat_map(|line| encode_words(line)).collect::<Vec<u8>>());
    lines.iter().map(|_| client.read().expect("a reply in time")).collect()
}

/// Reads a number, 0 if there is none.
fn number(value: &Value) -> u64 {
    if value.is_null() { 0 } else { value.text().parse().expect("a number") }
}

#[test]
fn increments_guarded_by_watch_add_up() {
    const CLIENTS: usize = 6;
    const INCREMENTS: usize = 40;
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("counter", SHARDS, 4);
    std::thread::scope(|scope| {
        for index in 0..CLIENTS {
            let (server, keys) = (&server, &keys);
            scope.spawn(move || {
                let mut client = server.client();
                for turn in 0..INCREMENTS {
                    // Two keys of different shards go up together.
                    let pair = [&keys[(index + turn) % 4], &keys[(index + turn + 1) % 4]];
                    while !increment(&mut client, pair, turn % 2 == 0) {}
                }
            });
        }
    });
    let mut client = server.client();
    let reply = client.words(&format!("MGET {}", keys.join(" ")));
    let sum: u64 = reply.elements().iter().map(number).sum();
    assert_eq!(sum, 2 * (CLIENTS * INCREMENTS) as u64);
}

/// Adds one to both keys, unless somebody else writes one of them meanwhile.
fn increment(client: &mut Client, keys: [&String; 2], at_once: bool) -> bool {
    client.ok(&format!("WATCH {} {}", keys[0], keys[1]));
    let values = client.words(&format!("MGET {} {}", keys[0], keys[1]));
    let mut lines = vec!["MULTI".to_owned()];
    for (key, value) in keys.iter().zip(values.elements()) {
        lines.push(format!("SET {key} {}", number(value) + 1));
    }
    lines.push("EXEC".to_owned());
    let replies = if at_once {
        pipeline(client, &lines)
    } else {
        lines.iter().map(|line| client.words(line)).collect()
    };
    let last = replies.last().expect("as many replies as requests");
    assert!(last.is_null() || *last == Value::Array(vec![Value::ok(), Value::ok()]), "{last:?}");
    !last.is_null()
}

/// While one transaction holds the shards for a while, another that needs them waits.
#[test]
fn a_transaction_waits_for_shards_that_another_holds() {
    let server = Launch::shards(SHARDS).debug().start();
    let keys = keys_over_shards("k", SHARDS, 4);
    // Clients on each of the cores, where all of their keys are at home.
    let mut clients: Vec<Client> = keys
        .iter()
        .map(|key| {
            let mut client = server.client();
            assert!(client.words(&format!("GET {key}")).is_null());
            client
        })
        .collect();
    let set_all = |value: usize, middle: &str| {
        let mut lines = vec!["MULTI".to_owned()];
        lines.extend(keys.iter().map(|key| format!("SET {key} {value}")));
        lines.push(middle.to_owned());
        lines.push(format!("MGET {}", keys.join(" ")));
        lines.push("EXEC".to_owned());
        lines.iter().flat_map(|line| encode_words(line)).collect::<Vec<u8>>()
    };
    for (value, client) in clients.iter_mut().enumerate() {
        client.send(set_all(value, "DEBUG SLEEP 0.05"));
    }
    for (value, client) in clients.iter_mut().enumerate() {
        client.expect_bytes(b"+OK\r\n");
        client.expect_bytes(b"+QUEUED\r\n".repeat(keys.len() + 2));
        let reply = client.read().expect("the transaction was run");
        let mut expected = vec![Value::ok(); keys.len() + 1];
        expected.push(Value::Array(vec![Value::bulk(value.to_string()); keys.len()]));
        assert_eq!(reply, Value::Array(expected));
    }
}

#[test]
fn a_transaction_does_not_overtake_what_came_before_it() {
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("k", SHARDS, 8);
    std::thread::scope(|scope| {
        for client in 0..4_u64 {
            let (server, keys) = (&server, &keys);
            scope.spawn(move || {
                let mut connection = server.client();
                let own: Vec<String> = keys.iter().map(|key| format!("{key}:{client}")).collect();
                for turn in 1..100_u64 {
                    let mut lines: Vec<String> =
                        own.iter().map(|key| format!("SET {key} {turn}")).collect();
                    lines.push("MULTI".into());
                    lines.extend(own.iter().map(|key| format!("INCRBY {key} 1000")));
                    lines.push("EXEC".into());
                    lines.extend(own.iter().map(|key| format!("GET {key}")));
                    let replies = pipeline(&mut connection, &lines);
                    let exec = &replies[2 * own.len() + 1];
                    let sum = i64::try_from(turn).expect("small") + 1000;
                    assert_eq!(*exec, Value::Array(vec![Value::Integer(sum); own.len()]));
                    let last = &replies[2 * own.len() + 2..];
                    assert!(last.iter().all(|value| *value == Value::bulk(sum.to_string())));
                }
            });
        }
    });
}

/// A connection that comes in on any core moves to that of its first key, with what it has begun.
#[test]
fn a_connection_moves_with_its_transaction() {
    let server = Launch::shards(SHARDS).start();
    for key in keys_over_shards("k", SHARDS, 8) {
        for lines in [
            vec!["MULTI".to_owned(), "PING".into(), format!("SET {key} v"), "EXEC".into()],
            vec!["MULTI".to_owned(), format!("GET {key}"), "PING".into(), "EXEC".into()],
        ] {
            let replies = pipeline(&mut server.client(), &lines);
            assert_eq!(replies.last().map(|reply| reply.elements().len()), Some(2), "{replies:?}");
        }
    }
}

#[test]
fn in_a_cluster_a_transaction_has_one_slot() {
    const CROSS: &str = "CROSSSLOT Keys in request don't hash to the same slot";
    const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";
    let server = Launch::shards(2).cluster().start();
    let mut client = server.client();
    let aborted = Value::Error(ABORTED.into());
    let refused = |reply: Value| assert_eq!(reply, Value::Error(CROSS.into()));
    client.ok("MULTI");
    refused(client.words("MSET a 1 b 1"));
    assert_eq!(client.words("EXEC"), aborted);
    client.ok("MULTI");
    client.words("SET a 1");
    client.words("SET b 1");
    refused(client.words("EXEC"));
    assert_eq!(client.words("EXEC"), Value::Error("ERR EXEC without MULTI".into()));
    refused(client.words("WATCH a b"));
    client.ok("MULTI");
    client.words("SET {t}a 1");
    client.words("GET {t}b");
    client.words("PING");
    assert_eq!(client.words("EXEC").elements().len(), 3);
    // On a core's own port a key of another core is refused, and with it the transaction.
    let foreign = keys_over_shards("k", 2, 2).remove(1);
    let mut client = Client::connect(server.core_address(0));
    client.ok("MULTI");
    let moved = client.words(&format!("SET {foreign} 1"));
    assert!(matches!(&moved, Value::Error(text) if text.starts_with("MOVED ")), "{moved:?}");
    assert_eq!(client.words("EXEC"), aborted);
}

#[test]
fn monitors_see_commands_as_they_run() {
    let server = Launch::shards(2).start();
    let mut monitor = server.client();
    monitor.ok("MONITOR");
    let mut client = server.client();
    let lines = ["MULTI", "SET a 1", "PING", "EXEC"].map(str::to_owned);
    pipeline(&mut client, &lines);
    let seen: Vec<String> = lines
        .iter()
        .map(|_| monitor.read().expect("a line").text())
        .map(|line| line.split_once("] ").expect("an address").1.to_owned())
        .collect();
    assert_eq!(seen, [r#""MULTI""#, r#""SET" "a" "1""#, r#""PING""#, r#""EXEC""#]);
}

#[test]
fn a_queue_counts_towards_the_limit_of_requests() {
    let server = Launch::shards(1).flag("--client-query-buffer-limit", "1mb").start();
    let mut client = server.client();
    client.ok("MULTI");
    let set = encode(&[&b"SET"[..], b"k", &[b'x'; 100_000]]);
    for _ in 0..20 {
        if client.try_send(&set).is_err() {
            break;
        }
    }
    client.read_to_close();
    assert!(server.client().words("GET k").is_null());
}

/// A pause of writes holds `EXEC` back if there is a write in the queue.
#[test]
fn a_pause_holds_transactions_that_write() {
    let server = Launch::shards(2).start();
    let (mut client, mut other) = (server.client(), server.client());
    client.ok("MULTI");
    client.words("SET k v");
    other.ok("CLIENT PAUSE 100000 WRITE");
    let lines = ["MULTI", "GET k", "EXEC"].map(str::to_owned);
    assert_eq!(pipeline(&mut server.client(), &lines)[2].elements().len(), 1);
    client.request(&["EXEC"]);
    wait_until("EXEC is held", || info_number(&mut other, "clients", "blocked_clients") == 1);
    assert!(other.words("GET k").is_null());
    other.ok("CLIENT UNPAUSE");
    assert_eq!(client.read(), Ok(Value::Array(vec![Value::ok()])));
    assert_eq!(other.words("GET k"), Value::bulk("v"));
}

/// Long values are queued, set and answered as they are.
#[test]
fn long_values_in_a_transaction() {
    let server = Launch::shards(2).start();
    let mut client = server.client();
    let [first, second] = [b'x', b'y'].map(|byte| vec![byte; 3_000_000]);
    client.ok("MULTI");
    for request in [
        encode(&[&b"SET"[..], b"a", &first]),
        encode_words("GET a"),
        encode(&[&b"SET"[..], b"b", &second]),
        encode_words("GET b"),
        encode_words("STRLEN a"),
    ] {
        client.send(request);
        assert_eq!(client.read(), Ok(Value::Simple("QUEUED".into())));
    }
    let expected = vec![
        Value::ok(),
        Value::Bulk(first),
        Value::ok(),
        Value::Bulk(second),
        Value::Integer(3_000_000),
    ];
    assert_eq!(client.words("EXEC"), Value::Array(expected));
}

/// Who leaves with keys watched is forgotten, and harms nobody who writes them.
#[test]
fn clients_leave_while_they_watch() {
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("k", SHARDS, 4);
    let mut writer = server.client();
    for turn in 0..50 {
        let mut client = server.client();
        client.ok(&format!("WATCH {}", keys.join(" ")));
        client.ok("MULTI");
        client.request(&["SET", &keys[0], "never"]);
        if turn % 2 == 0 {
            drop(client);
        }
        for key in &keys {
            writer.ok(&format!("SET {key} {turn}"));
        }
    }
    let values = writer.words(&format!("MGET {}", keys.join(" ")));
    assert_eq!(values, Value::Array(vec![Value::bulk("49"); keys.len()]));
    assert!(info_number(&mut writer, "clients", "connected_clients") >= 1);
}
