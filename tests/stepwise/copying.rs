//! Large structures that are copied to other keys, or renamed, and how they come back from the log.

use super::harness::client::Client;
use super::harness::server::{Launch, Server, skip_on_other_server};
use super::harness::slots::keys_over_shards;
use super::harness::value::Value;
use super::{MANY, begin, fill, interrupted, start, steps};

/// Large ones of every kind, which may expire where their name says so.
const KEYS: [&str; 4] = ["a", "list", "hash", "zset"];

fn fill_all(client: &mut Client) {
    fill(client, "a", 0..MANY);
    let numbers: Vec<String> = (0..MANY).map(|number| format!("{number:020}")).collect();
    for numbers in numbers.chunks(500) {
        let texts = numbers.iter().map(String::as_str);
        let pairs = || numbers.iter().flat_map(|number| [&**number, number]);
        for (command, words) in [
            (["RPUSH", "list"], texts.collect::<Vec<_>>()),
            (["HSET", "hash"], pairs().collect()),
            (["ZADD", "zset"], pairs().collect()),
        ] {
            client.command(&command.into_iter().chain(words).collect::<Vec<_>>());
        }
    }
    client.command(&["HPEXPIRE", "hash", "1000000", "FIELDS", "1", &numbers[7]]);
}

/// Asserts that a key holds what its namesake did.
fn check(client: &mut Client, name: &str, like: &str) {
    let many = Value::Integer(MANY as i64);
    let line = match like {
        "a" => format!("SCARD {name}"),
        "list" => format!("LLEN {name}"),
        "hash" => format!("HLEN {name}"),
        _ => format!("ZCARD {name}"),
    };
    assert_eq!(client.words(&line), many, "{name}");
    match like {
        "list" => {
            let number = Value::bulk("00000000000000054321");
            assert_eq!(client.words(&format!("LINDEX {name} 54321")), number);
        }
        "hash" => {
            let field = format!("HPTTL {name} FIELDS 2 00000000000000000007 00000000000000000008");
            let left = client.words(&field);
            assert!(left.elements()[0].integer() > 0 && left.elements()[1].integer() == -1);
        }
        "zset" => {
            let line = format!("ZRANK {name} 00000000000000054321");
            assert_eq!(client.words(&line), Value::Integer(54_321));
        }
        _ => {
            let both = client.words(&format!("SINTERCARD 2 a {name}"));
            assert_eq!(both, Value::Integer(MANY as i64));
        }
    }
}

fn durable(shards: u16, dir: &std::path::Path) -> Server {
    Launch::shards(shards).durable("async").dir(dir).start()
}

#[test]
fn large_structures_are_copied_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut client, mut other) = (server.client(), server.client());
    fill_all(&mut client);
    client.ok("SET to x");
    for key in KEYS {
        client.words(&format!("PEXPIRE {key} 1000000"));
        let copied = interrupted(&mut client, &mut other, &format!("COPY {key} to REPLACE"));
        assert_eq!(copied, Value::Integer(1));
        check(&mut client, "to", key);
        assert!(client.words("PTTL to").integer() > 900_000, "{key}");
    }
    assert_eq!(client.words("COPY a list"), Value::Integer(0));
    assert_eq!(client.words("COPY a a DB 3"), Value::Integer(1));
    client.ok("SELECT 3");
    assert_eq!(client.words("SCARD a"), Value::Integer(MANY as i64));
}

#[test]
fn large_structures_are_written_down_in_steps_when_they_are_renamed() {
    if skip_on_other_server() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let server = durable(1, dir.path());
    let (mut client, mut other) = (server.client(), server.client());
    fill_all(&mut client);
    client.words("RPUSH b x");
    client.words("COPY a b REPLACE");
    for key in KEYS {
        client.words(&format!("PEXPIRE {key} 10000000"));
        let before = steps(&mut other);
        begin(&mut client, &mut other, &format!("RENAME {key} {key}:renamed"));
        assert_eq!(client.read().expect("a reply"), Value::ok());
        let taken = steps(&mut other) - before;
        assert!(taken > 10, "{key}: {taken} steps");
        assert_eq!(client.words(&format!("EXISTS {key}")), Value::Integer(0));
    }
    assert_eq!(client.words("RENAMENX zset:renamed hash:renamed"), Value::Integer(0));
    assert_eq!(client.words("RENAMENX zset:renamed zset:again"), Value::Integer(1));
    assert_eq!(client.words("MOVE zset:again 2"), Value::Integer(1));
    assert_eq!(client.words("RENAME b a"), Value::ok());
    server.stop();
    let server = durable(1, dir.path());
    let mut client = server.client();
    for key in &KEYS[..3] {
        let name = format!("{key}:renamed");
        check(&mut client, &name, key);
        assert!(client.words(&format!("PTTL {name}")).integer() > 9_000_000, "{key}");
    }
    assert_eq!(client.words("DBSIZE"), Value::Integer(4));
    client.ok("SELECT 2");
    check(&mut client, "zset:again", "zset");
}

#[test]
fn a_server_that_stops_ends_what_it_has_begun() {
    if skip_on_other_server() {
        return;
    }
    let keys = keys_over_shards("key", 2, 2);
    let [here, there] = &keys[..] else { unreachable!("two were asked for") };
    let dir = tempfile::tempdir().expect("a directory");
    let server = durable(2, dir.path());
    fill(&mut server.client(), &format!("{{{there}}}0"), 0..MANY);
    server.stop();
    for round in 0..2 {
        let server = durable(2, dir.path());
        let (mut client, mut other) = (server.client(), server.client());
        // It is run on the core that has no shard to close.
        client.words(&format!("GET {here}"));
        let [from, to] = [round, round + 1].map(|round| format!("{{{there}}}{round}"));
        begin(&mut client, &mut other, &format!("RENAME {from} {to}"));
        server.stop();
        let server = durable(2, dir.path());
        let mut client = server.client();
        assert_eq!(client.words(&format!("EXISTS {from}")), Value::Integer(0), "round {round}");
        let count = client.words(&format!("SCARD {to}"));
        assert_eq!(count, Value::Integer(MANY as i64), "round {round}");
        server.stop();
    }
}
