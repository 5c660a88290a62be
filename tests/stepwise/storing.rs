//! What commands store: it is written down in steps, all of it or nothing.

use super::harness::client::Client;
use super::harness::server::{Launch, Server, skip_on_other_server};
use super::harness::value::Value;
use super::harness::wait_until;
use super::{MANY, begin, fill, interrupted, start, steps};

/// Commands that store many elements under `to`.
const STORING: [&str; 8] = [
    "SUNIONSTORE to a a",
    "SINTERSTORE to a a",
    "SDIFFSTORE to a none",
    "ZUNIONSTORE to 2 a z",
    "ZINTERSTORE to 2 a z",
    "ZDIFFSTORE to 1 z",
    "ZRANGESTORE to z 0 -1",
    "SORT a ALPHA STORE to",
];

fn durable(dir: &std::path::Path) -> Server {
    Launch::shards(1).durable("async").dir(dir).start()
}

fn fill_both(client: &mut Client) {
    fill(client, "a", 0..MANY);
    assert_eq!(client.words("ZUNIONSTORE z 1 a"), Value::Integer(MANY as i64));
}

/// How many elements a key has.
fn count(client: &mut Client, key: &str) -> Value {
    let command = match client.words(&format!("TYPE {key}")).text().as_str() {
        "set" => "SCARD",
        "zset" => "ZCARD",
        "list" => "LLEN",
        "string" => "STRLEN",
        _ => "EXISTS",
    };
    client.words(&format!("{command} {key}"))
}

#[test]
fn it_is_written_down_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (server, plain) = (durable(dir.path()), start(1));
    let [mut client, mut unlogged] = [server.client(), plain.client()];
    fill_both(&mut client);
    fill_both(&mut unlogged);
    let many = Value::Integer(MANY as i64);
    for line in STORING {
        let [logged, unlogged] = [&mut client, &mut unlogged].map(|client| {
            let before = steps(client);
            assert_eq!(client.words(line), many, "{line}");
            steps(client) - before
        });
        // Without a log there is nothing to be written down.
        assert!(logged > unlogged + 20, "{line}: {logged} steps, {unlogged} without a log");
    }
    let mut other = server.client();
    assert_eq!(interrupted(&mut client, &mut other, STORING[0]), many);
    server.stop();
    let server = durable(dir.path());
    let mut client = server.client();
    assert_eq!(client.words("SINTERCARD 2 a to"), many);
    assert_eq!(count(&mut client, "z"), many);
}

#[test]
fn a_crash_in_the_midst_leaves_all_or_nothing() {
    if skip_on_other_server() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let launch = Launch::shards(1).durable("sync").dir(dir.path());
    let mut server = launch.start();
    let mut client = server.client();
    fill_both(&mut client);
    client.ok("SET to old");
    let lines = STORING.into_iter().chain(["COPY a to REPLACE", "RENAME a to"]);
    let (many, old) = (Value::Integer(MANY as i64), Value::Integer(3));
    for line in lines {
        let (mut client, mut other) = (server.client(), server.client());
        let all = steps(&mut other);
        begin(&mut client, &mut other, line);
        // Somewhere between its first step and a moment after its last.
        let most = all + u64::from(server.pid() % 60);
        wait_until("some steps are taken", || {
            steps(&mut other) > most
                || client.is_readable_within(std::time::Duration::from_millis(1))
        });
        server.kill();
        server = launch.start();
        let mut client = server.client();
        let held = count(&mut client, "to");
        assert!(held == many || held == old, "{line}: {held:?}");
        let moved = line.starts_with("RENAME") && held == many;
        let left = if moved { Value::Integer(0) } else { many.clone() };
        assert_eq!(count(&mut client, "a"), left, "{line}");
        assert_eq!(client.words("SET to old"), Value::ok());
        assert_eq!(client.words("GET to"), Value::bulk("old"));
    }
}

#[test]
fn it_is_told_once() {
    if skip_on_other_server() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let server = durable(dir.path());
    let [mut client, mut other, mut listener] = [server.client(), server.client(), server.client()];
    fill_both(&mut client);
    client.ok("SET to old");
    client.ok("CONFIG SET notify-keyspace-events KA");
    listener.words("SUBSCRIBE __keyspace@0__:to");
    for line in STORING.into_iter().chain(["SUNIONSTORE to none none"]) {
        match line.contains("none none") {
            false => drop(begin(&mut client, &mut other, line)),
            true => client.request(&line.split(' ').collect::<Vec<_>>()),
        }
        client.read().expect("a reply");
        let name = line.split(' ').next().unwrap_or_default().to_lowercase();
        let name = match name.as_str() {
            "sort" => "sortstore",
            "sunionstore" if line.contains("none none") => "del",
            name => name,
        };
        let told = listener.read().expect("an event");
        assert_eq!(told.elements()[2], Value::bulk(name), "{line}");
    }
    // Nothing else was told of meanwhile.
    client.ok("SET to end");
    assert_eq!(listener.read().expect("an event").elements()[2], Value::bulk("set"));
}
