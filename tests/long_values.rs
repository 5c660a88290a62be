//! Values of megabytes: they are kept where they were received and sent from where they lie, and nobody
//! must notice. Whoever is being sent a value gets it as it was, whatever becomes of the key meanwhile.

mod harness;

use std::time::Duration;

use harness::binary::{BinaryClient, Request, frame};
use harness::client::{Client, encode, info_number};
use harness::random::Random;
use harness::server::{Launch, Server};
use harness::slots::keys_over_shards;
use harness::value::Value;
use harness::wait_until;
use ringmain::protocol::binary::Opcode;

const MIB: usize = 1 << 20;

fn long(seed: u64, bytes: usize) -> Vec<u8> {
    Random::new(seed).bytes(bytes)
}

fn set(client: &mut Client, key: &str, value: &[u8]) {
    assert_eq!(client.command(&[b"SET".as_slice(), key.as_bytes(), value]), Value::ok());
}

#[track_caller]
fn holds(client: &mut Client, key: &str, value: &[u8]) {
    assert!(
        client.command(&["GET", key]) == Value::Bulk(value.to_vec()),
        "{key} holds another value"
    );
}

/// Lengths around every bound that there is on the way, whole and in pieces, pipelined with others.
#[test]
fn values_of_any_length_come_back_in_order() {
    let server = Launch::shards(2).start();
    let mut client = server.client();
    let lengths = [16 << 10, MIB - 1, MIB, MIB + 1, MIB + 100, 2 * MIB, 3 * MIB + 7, 9_999_999];
    for (seed, length) in (0..).zip(lengths) {
        let value = long(seed, length);
        for key in keys_over_shards("key", 2, 2) {
            let mut requests = encode(&["PING"]);
            requests.extend(encode(&[b"SET".as_slice(), key.as_bytes(), &value]));
            requests.extend(encode(&["STRLEN", &key]));
            requests.extend(encode(&["GET", &key]));
            requests.extend(encode(&["ECHO", "after"]));
            // The last piece ends in the middle of the next request.
            requests.extend(b"*1\r\n$4\r\nPI");
            for piece in requests.chunks(length / 3 + 11) {
                client.send(piece);
            }
            client.send("NG\r\n");
            assert_eq!(client.read(), Ok(Value::Simple("PONG".into())));
            assert_eq!(client.read(), Ok(Value::ok()));
            assert_eq!(client.read(), Ok(Value::Integer(i64::try_from(length).expect("short"))));
            assert!(client.read() == Ok(Value::Bulk(value.clone())), "{length} bytes of {key}");
            assert_eq!(client.read(), Ok(Value::bulk("after")));
            assert_eq!(client.read(), Ok(Value::Simple("PONG".into())));
        }
    }
}

/// Every command that takes a whole value or answers one.
#[test]
fn commands_on_long_values() {
    for resp3 in [false, true] {
        let server = Launch::shards(2).start();
        let mut client = if resp3 { server.client_resp3() } else { server.client() };
        let (a, b) = (long(1, 3 * MIB), long(2, 2 * MIB));
        let [first, second] = &keys_over_shards("key", 2, 2)[..] else { panic!("two shards") };
        set(&mut client, first, &a);
        let old = client.command(&[b"SET".as_slice(), first.as_bytes(), &b, b"GET"]);
        assert!(old == Value::Bulk(a.clone()));
        let old = client.command(&[b"GETSET".as_slice(), first.as_bytes(), &a]);
        assert!(old == Value::Bulk(b.clone()));
        let refused = client.command(&[b"SET".as_slice(), first.as_bytes(), &b, b"NX", b"GET"]);
        assert!(refused == Value::Bulk(a.clone()));
        let none = client.command(&[b"SETNX".as_slice(), first.as_bytes(), &b]);
        assert_eq!(none, Value::Integer(0));
        let kept = client.command(&["GETEX", first, "EX", "1000"]);
        assert!(kept == Value::Bulk(a.clone()));
        assert!((1..=1000).contains(&client.command(&["TTL", first]).integer()));
        let mset = [b"MSET".as_slice(), first.as_bytes(), &b, second.as_bytes(), &a];
        assert_eq!(client.command(&mset), Value::ok());
        holds(&mut client, first, &b);
        let both = client.command(&["MGET", first, second]);
        assert!(both == Value::Array(vec![Value::Bulk(b.clone()), Value::Bulk(a.clone())]));
        // Renamed within its shard and over to another; what is copied is another value.
        client.ok(&format!("RENAME {first} {second}"));
        client.ok(&format!("RENAME {second} {{{second}}}2"));
        let other = format!("{{{second}}}2");
        assert_eq!(client.command(&["COPY", &other, first]), Value::Integer(1));
        let end = i64::try_from(b.len() + 4).expect("short");
        assert_eq!(client.command(&["APPEND", &other, "tail"]), Value::Integer(end));
        assert_eq!(client.command(&["SETRANGE", &other, "1", "xy"]), Value::Integer(end));
        holds(&mut client, first, &b);
        let mut changed = [b.as_slice(), b"tail"].concat();
        changed[1..3].copy_from_slice(b"xy");
        holds(&mut client, &other, &changed);
        let taken = client.command(&["GETDEL", &other]);
        assert!(taken == Value::Bulk(changed));
        assert_eq!(client.command(&["EXISTS", &other]), Value::Integer(0));
        // Errors and muted replies leave nothing behind.
        assert!(client.command(&["GETEX", first, "EX", "0"]).error().starts_with("ERR invalid"));
        client.send(encode(&["CLIENT", "REPLY", "OFF"]));
        client.send(encode(&["GET", first]));
        client.send(encode(&["CLIENT", "REPLY", "ON"]));
        assert_eq!(client.read(), Ok(Value::ok()));
        holds(&mut client, first, &b);
    }
}

/// What a slow reader is sent is what was there when it asked.
#[test]
fn a_value_stays_as_it_was_for_whoever_is_being_sent_it() {
    const BYTES: usize = 20 * MIB;
    let server = Launch::shards(2).start();
    let mut writer = server.client();
    let changes: [&[&str]; 6] = [
        &["DEL", "key"],
        &["SET", "key", "small"],
        &["APPEND", "key", "more"],
        &["SETRANGE", "key", "0", "changed"],
        &["SETBIT", "key", "7", "1"],
        &["RENAME", "key", "other"],
    ];
    for (seed, change) in (0..).zip(changes) {
        let value = long(seed, BYTES);
        set(&mut writer, "key", &value);
        // Two readers, so that the value is shared by more than two.
        let mut readers = [server.client(), server.client()];
        for reader in &mut readers {
            reader.request(&["GET", "key"]);
            assert!(reader.is_readable_within(harness::PATIENCE));
        }
        writer.command(change);
        // New memory that could take the place of what is still being sent.
        set(&mut writer, "fill", &vec![0; BYTES]);
        for reader in &mut readers {
            assert!(reader.read() == Ok(Value::Bulk(value.clone())), "after {change:?}");
        }
        writer.command(&["DEL", "key", "other", "fill"]);
    }
    memory_falls_below(&server, 32 * MIB as u64);
}

/// Clients that leave in the middle of a long request or reply leave no memory behind.
#[test]
fn clients_that_leave_take_their_memory_with_them() {
    const BYTES: usize = 30 * MIB;
    let server = Launch::shards(2).start();
    let mut client = server.client();
    for _ in 0..3 {
        set(&mut client, "key", &long(1, BYTES));
        let mut reader = server.client();
        reader.request(&["GETDEL", "key"]);
        assert!(reader.is_readable_within(harness::PATIENCE));
        let mut writer = server.client();
        writer.send(format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n${BYTES}\r\n"));
        writer.send(vec![b'x'; BYTES - 1]);
    }
    wait_until("they are gone", || client.words("CLIENT LIST").text().lines().count() == 1);
    memory_falls_below(&server, 32 * MIB as u64);
    assert_eq!(client.words("EXISTS key"), Value::Integer(0));
}

/// Requests that come in pieces of all sizes on many connections at once, of both protocols.
#[test]
fn long_values_come_in_pieces_on_many_connections() {
    let server = Launch::shards(2).binary().start();
    std::thread::scope(|scope| {
        for number in 0..6 {
            let server = &server;
            scope.spawn(move || {
                let mut random = Random::new(number);
                let mut client = server.client();
                let mut native = BinaryClient::connect(server.binary_address());
                for round in 0..12 {
                    let names = ["a", "b", "c"].map(|name| format!("{name}{number}"));
                    let lengths = [70_000, 300_000, MIB, 2 * MIB + 5];
                    let values = names.each_ref().map(|_| {
                        let length = lengths[random.index(lengths.len())];
                        long(random.next(), length)
                    });
                    let mut bytes = Vec::new();
                    let mut requests = Vec::new();
                    for (name, value) in names.iter().zip(&values) {
                        bytes.extend(encode(&[b"SET".as_slice(), name.as_bytes(), value]));
                        bytes.extend(encode(&["GET", name]));
                        requests.push(Request::keyed(Opcode::Set, name, value));
                    }
                    if round % 2 == 0 {
                        bytes = frame(&requests);
                    }
                    while !bytes.is_empty() {
                        let length = 1 + random.index(200_000);
                        let piece: Vec<u8> = bytes.drain(..length.min(bytes.len())).collect();
                        match round % 2 {
                            0 => native.send_bytes(&piece),
                            _ => client.send(piece),
                        }
                        if random.one_in(4) {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                    for (name, value) in names.iter().zip(&values) {
                        if round % 2 == 0 {
                            native.next().expect("a reply").ok();
                        } else {
                            assert_eq!(client.read(), Ok(Value::ok()));
                            assert!(client.read() == Ok(Value::Bulk(value.clone())), "{name}");
                        }
                    }
                    for (name, value) in names.iter().zip(&values) {
                        assert!(native.get(name).ok().body == *value, "{name}");
                    }
                }
            });
        }
    });
}

/// A request that is long but not ended is bounded as any other: in time, in memory, and by whoever kills
/// its client.
#[test]
fn a_long_request_that_does_not_end_is_bounded() {
    let begin = |server: &Server, sent: usize| {
        let mut client = server.client();
        client.send(format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n${}\r\n", 3 * MIB));
        client.send(vec![b'x'; sent]);
        client
    };
    let server = Launch::shards(1).flag("--request-timeout", "1").start();
    begin(&server, 4_000).expect_close();
    let server = Launch::shards(1).flag("--client-query-buffer-limit", "1mb").start();
    begin(&server, MIB + 100).expect_close();
    let server = Launch::shards(1).start();
    let mut other = server.client();
    for _ in 0..3 {
        let mut half = begin(&server, 500_000);
        wait_until("the bytes are there", || {
            other.words("CLIENT LIST").text().lines().any(|line| {
                let bytes = line.split(' ').find_map(|field| field.strip_prefix("qbuf="));
                bytes.is_some_and(|bytes| bytes.parse::<usize>().is_ok_and(|bytes| bytes > 400_000))
            })
        });
        let address = half.local_address();
        assert_eq!(other.words(&format!("CLIENT KILL {address}")), Value::ok());
        half.expect_close();
    }
    // A pause that begins meanwhile holds the request back when it has come.
    let mut paused = begin(&server, 2 * MIB);
    other.ok("CLIENT PAUSE 300 WRITE");
    paused.send(vec![b'x'; MIB]);
    paused.send("\r\n*1\r\n$4\r\nPING\r\n");
    assert_eq!(paused.read(), Ok(Value::ok()));
    assert_eq!(paused.read(), Ok(Value::Simple("PONG".into())));
    assert_eq!(other.words("STRLEN key").integer(), 3 << 20);
}

/// Before its client has authenticated no request may announce much.
#[test]
fn nothing_long_is_received_before_the_password() {
    let server = Launch::shards(1).flag("--requirepass", "secret").start();
    let mut client = server.client();
    client.send(format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n${MIB}\r\n"));
    let expected = Value::Error("ERR Protocol error: unauthenticated bulk length".into());
    assert_eq!(client.read(), Ok(expected));
    client.expect_close();
    let mut client = server.client();
    client.ok("AUTH secret");
    set(&mut client, "key", &long(1, MIB));
    holds(&mut client, "key", &long(1, MIB));
}

fn memory_falls_below(server: &Server, bytes: u64) {
    let mut client = server.client();
    wait_until("memory is given back", || {
        info_number(&mut client, "memory", "used_memory") < bytes
            && server.resident_bytes() < bytes + (32 * MIB) as u64
    });
}
