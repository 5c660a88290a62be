//! Client-side caching, seen by clients: who is told of which keys when they change, in which form and in which
//! order, and that a client that does as it is told never keeps an old value.

mod harness;

use harness::binary::{BinaryClient, Request};
use harness::client::{Client, encode, info_number};
use harness::random::Random;
use harness::server::{Launch, Server, is_other_server, skip_on_other_server};
use harness::slots::keys_over_shards;
use harness::value::Value;
use harness::{number_from_env, skip, wait_until};
use ringmain::protocol::binary::Opcode;
use std::collections::HashMap;
use std::thread;

const SHARDS: [u16; 2] = [1, 4];

fn start(shards: u16) -> Server {
    Launch::shards(shards).core_ports().start()
}

/// A reader in RESP3 and a writer, on different cores if there are several.
fn reader_and_writer(server: &Server) -> (Client, Client) {
    let mut reader = server.client_on_core(0);
    reader.words("HELLO 3");
    (reader, server.client_on_core(1))
}

/// A message as a word: the keys, `*` for all, or what else it says.
fn shown(value: &Value) -> Option<String> {
    let (Value::Push(parts) | Value::Array(parts)) = value else { return None };
    let parts = match parts.as_slice() {
        [kind, channel, rest] if *kind == Value::bulk("message") => {
            assert_eq!(*channel, Value::bulk("__redis__:invalidate"));
            rest
        }
        [kind, rest] if *kind == Value::bulk("invalidate") => rest,
        [kind, Value::Integer(_)] if *kind == Value::bulk("tracking-redir-broken") => {
            return Some("broken".to_owned());
        }
        _ => return None,
    };
    let Value::Array(keys) = parts else {
        assert!(matches!(parts, Value::Null | Value::NullBulk), "{value:?}");
        return Some("*".to_owned());
    };
    let key = |key: &Value| match key {
        Value::Bulk(key) => String::from_utf8_lossy(key).into_owned(),
        other => panic!("{other:?} is no key"),
    };
    Some(keys.iter().map(key).collect::<Vec<_>>().join("+"))
}

/// All that a client has been told until the server answers what it asks now. In order of the alphabet: the
/// order of changes on different shards is nobody's to know.
fn told(client: &mut Client) -> String {
    client.request(&["PING", "end"]);
    let mut messages = Vec::new();
    loop {
        let value = client.read().expect("a reply");
        if let Some(message) = shown(&value) {
            messages.push(message);
        } else {
            let listening = Value::Array(vec![Value::bulk("pong"), Value::bulk("end")]);
            assert!(value == Value::bulk("end") || value == listening, "{value:?}");
            messages.sort();
            return messages.join(" ");
        }
    }
}

/// Runs a request and throws its reply away, and what comes before it.
fn run(client: &mut Client, line: &str) {
    client.words(line);
}

/// Redis takes what expires or is evicted during a client's command for the client's own change; that leaves
/// an old value with it.
fn all_but_own() -> &'static str {
    if is_other_server() { "CLIENT TRACKING ON" } else { "CLIENT TRACKING ON NOLOOP" }
}

/// What the reader asks, what the writer asks then, and what the reader is told.
type Case<'c> = (&'c [&'c str], &'c [&'c str], &'c str);

fn check(mode: &str, cases: &[Case<'_>]) {
    for shards in SHARDS {
        let server = start(shards);
        let (mut reader, mut writer) = reader_and_writer(&server);
        reader.ok(mode);
        for (reads, writes, expected) in cases {
            reads.iter().for_each(|line| run(&mut reader, line));
            writes.iter().for_each(|line| run(&mut writer, line));
            assert_eq!(told(&mut reader), *expected, "{shards} shards: {reads:?}, {writes:?}");
        }
    }
}

#[test]
fn a_key_that_was_read_is_told_of_once() {
    check(
        "CLIENT TRACKING ON",
        &[
            (&[], &["SET a 1"], ""),
            (&["GET a"], &["SET a 2", "SET a 3"], "a"),
            (&["GET a"], &["SET b 2"], ""),
            (&[], &["DEL a"], "a"),
            // What is not there was read as well.
            (&["GET a"], &["SET a 1"], "a"),
            (&["GET a"], &["DEL nokey"], ""),
            (&["MGET a b c"], &["MSET a 1 b 1 c 1"], "a b c"),
            (&["EXISTS a b"], &["EXPIRE a 100", "PERSIST b"], "a"),
            (&["STRLEN a", "TYPE b"], &["APPEND a x", "RENAME b bb"], "a b"),
            (&["HGET h f"], &["HSET h f 1"], "h"),
            (&["HGET h f"], &["HDEL h f"], "h"),
            (&["LRANGE l 0 -1"], &["RPUSH l 1"], "l"),
            (&["LRANGE l 0 -1"], &["LTRIM l 0 -1"], "l"),
            // The names alone count.
            (&["GET a"], &["SELECT 1", "SET a 1", "SELECT 0"], "a"),
            // Who writes has not read.
            (&["SET a 1", "INCR a", "GETSET a 1"], &["SET a 2"], ""),
            (&["KEYS *", "DBSIZE", "SCAN 0"], &["SET a 3"], ""),
        ],
    );
}

#[test]
fn own_writes_are_told_of_behind_their_replies() {
    for shards in SHARDS {
        let server = start(shards);
        let (mut reader, _) = reader_and_writer(&server);
        reader.ok("CLIENT TRACKING ON");
        run(&mut reader, "GET a");
        reader.request(&["SET", "a", "1"]);
        reader.expect_bytes("+OK\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n");
        // With NOLOOP only those of others are.
        reader.ok("CLIENT TRACKING ON NOLOOP");
        run(&mut reader, "GET a");
        reader.ok("SET a 2");
        assert_eq!(told(&mut reader), "");
    }
}

#[test]
fn with_noloop_a_blocking_command_of_ones_own_is_not_told_of() {
    if skip_on_other_server() {
        return;
    }
    for shards in [1, 4] {
        let server = start(shards);
        let (mut reader, mut writer) = reader_and_writer(&server);
        reader.ok("CLIENT TRACKING ON BCAST NOLOOP");
        reader.words("RPUSH l x");
        reader.words("BLPOP l 1");
        assert_eq!(told(&mut reader), "");
        writer.words("RPUSH l x");
        assert_eq!(told(&mut reader), "l");
    }
}

#[test]
fn with_noloop_what_others_do_and_what_expires_is_told_of() {
    check(
        "CLIENT TRACKING ON NOLOOP",
        &[
            (&["GET a", "SET a 1"], &["SET a 2"], ""),
            (&["GET a"], &["SET a 2"], "a"),
            (&["MGET a b", "MSET a 1 b 2"], &[], ""),
            (&["MGET a b", "MULTI", "SET a 1", "SET b 2", "EXEC"], &[], ""),
            (&["FLUSHALL"], &[], "*"),
        ],
    );
}

#[test]
fn optin_and_optout_hold_for_one_command_or_transaction() {
    check(
        "CLIENT TRACKING ON OPTIN",
        &[
            (&["GET a"], &["SET a 1"], ""),
            (&["CLIENT CACHING YES", "GET a", "GET b"], &["MSET a 1 b 1"], "a"),
            (&["CLIENT CACHING YES", "CLIENT ID", "MGET a b"], &["MSET a 1 b 1"], "a b"),
            (&["CLIENT CACHING YES", "PING", "GET b"], &["MSET a 1 b 1"], ""),
            (
                &["CLIENT CACHING YES", "MULTI", "GET a", "GET b", "EXEC", "GET c"],
                &["MSET a 1 b 1 c 1"],
                "a b",
            ),
            (
                &["MULTI", "GET a", "CLIENT CACHING YES", "GET b", "EXEC", "GET c"],
                &["MSET a 1 b 1 c 1"],
                "b",
            ),
        ],
    );
    check(
        "CLIENT TRACKING ON OPTOUT",
        &[
            (&["GET a"], &["SET a 1"], "a"),
            (&["CLIENT CACHING NO", "GET a", "GET b"], &["MSET a 1 b 1"], "b"),
            (&["CLIENT CACHING NO", "MULTI", "GET a", "EXEC", "GET b"], &["MSET a 1 b 1"], "b"),
        ],
    );
}

/// A pipeline is run shard by shard where it can be; `CLIENT CACHING` concerns its next command all the same.
#[test]
fn caching_concerns_the_next_command_of_a_pipeline() {
    for shards in SHARDS {
        let server = start(shards);
        let (mut reader, mut writer) = reader_and_writer(&server);
        reader.ok("CLIENT TRACKING ON OPTIN");
        let keys = keys_over_shards("k", shards, 6);
        let mut bytes = encode(&["CLIENT", "CACHING", "YES"]);
        keys.iter().for_each(|key| bytes.extend(encode(&["GET", key])));
        reader.send(bytes);
        (0..=keys.len()).for_each(|_| drop(reader.read().expect("a reply")));
        keys.iter().for_each(|key| run(&mut writer, &format!("SET {key} 1")));
        assert_eq!(told(&mut reader), keys[0]);
    }
}

#[test]
fn prefixes_are_told_of_every_time_and_together() {
    check(
        "CLIENT TRACKING ON BCAST PREFIX a PREFIX bb",
        &[
            (&[], &["SET a 1"], "a"),
            (&[], &["SET a 1", "SET c 1", "SET b 1", "SET bbc 1"], "a bbc"),
            (&[], &["SELECT 3", "SET a3 1", "SELECT 0"], "a3"),
            (&["CLIENT TRACKING ON BCAST PREFIX c"], &["SET cc 1"], "cc"),
            (&["FLUSHALL"], &[], "*"),
            (&["CLIENT TRACKING OFF"], &["SET a 1"], ""),
        ],
    );
    check("CLIENT TRACKING ON BCAST NOLOOP", &[(&["SET a 1"], &["SET b 1"], "b")]);
    // Those of one command are one message, where it finds all shards free.
    check(
        "CLIENT TRACKING ON BCAST PREFIX a PREFIX b",
        &[(&[], &["MULTI", "SET a2 1", "SET b1 1", "SET a1 1", "SET a2 2", "EXEC"], "a1+a2 b1")],
    );
}

#[test]
fn reads_and_writes_in_transactions() {
    check(
        "CLIENT TRACKING ON",
        &[
            (&["MULTI", "GET a", "GET b", "EXEC"], &["MSET a 1 b 1"], "a b"),
            (&["MULTI", "GET a", "DISCARD"], &["SET a 1"], ""),
            (&["MGET a b"], &["MULTI", "SET a 1", "SET b 1", "SET a 2", "EXEC"], "a b"),
            (&["MULTI", "GET a", "SET a 1", "GET b", "EXEC"], &["SET b 1"], "a b"),
            (&["MULTI", "CLIENT TRACKING OFF", "GET a", "EXEC"], &["SET a 1"], ""),
            (&["MULTI", "CLIENT TRACKING ON BCAST", "EXEC"], &["SET a 1"], "a"),
        ],
    );
}

#[test]
fn what_expires_and_what_is_flushed() {
    for shards in SHARDS {
        let server = Launch::shards(shards).core_ports().debug().start();
        let (mut reader, mut writer) = reader_and_writer(&server);
        reader.ok(all_but_own());
        writer.ok("SET a 1 PX 500");
        run(&mut reader, "GET a");
        wait_until("it is told", || told(&mut reader) == "a");
        // An own look at an expired key is no own change.
        writer.ok("DEBUG SET-ACTIVE-EXPIRE 0");
        writer.ok("SET b 1 PX 500");
        run(&mut reader, "GET b");
        wait_until("it is told", || {
            run(&mut reader, "EXISTS b");
            told(&mut reader) == "b"
        });
        for flush in ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC"] {
            writer.ok("SET a 1");
            assert_eq!(told(&mut reader), "");
            run(&mut reader, "GET a");
            writer.ok(flush);
            assert_eq!(told(&mut reader), "*");
            // That was all.
            writer.ok("SET a 1");
            assert_eq!(told(&mut reader), "");
        }
        writer.ok("FLUSHDB");
        writer.ok("FLUSHDB");
        assert_eq!(told(&mut reader), "* *");
        if !is_other_server() {
            writer.ok("SET a 1");
            writer.ok("SWAPDB 0 1");
            assert_eq!(told(&mut reader), "*");
        }
    }
}

#[test]
fn what_is_evicted() {
    let server = start(1);
    let (mut reader, mut writer) = reader_and_writer(&server);
    writer.ok("SET first 1");
    reader.ok(all_but_own());
    run(&mut reader, "GET first");
    writer.ok("CONFIG SET maxmemory-policy allkeys-lru maxmemory 8mb");
    let value = "x".repeat(10_000);
    let mut messages = String::new();
    for index in 0..4000 {
        // Its own writes drive it out, but do not write it.
        reader.request(&["SET", &format!("k{index}"), &value]);
        match reader.read().expect("a reply") {
            Value::Simple(_) => {}
            push => messages = shown(&push).expect("a message"),
        }
        if !messages.is_empty() {
            break;
        }
        messages = told(&mut reader);
        if !messages.is_empty() {
            break;
        }
    }
    assert_eq!(messages, "first");
}

#[test]
fn a_full_table_gives_keys_up() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut reader, mut writer) = reader_and_writer(&server);
    writer.ok("CONFIG SET tracking-table-max-keys 4");
    reader.ok("CLIENT TRACKING ON");
    let mut kept: Vec<String> = (0..10).map(|index| format!("k{index}")).collect();
    kept.iter().for_each(|key| reader.request(&["GET", key]));
    let mut replies = 0;
    let mut given_up = Vec::new();
    while replies < kept.len() {
        match reader.read().expect("a reply") {
            Value::Null => replies += 1,
            push => given_up.push(shown(&push).expect("a message")),
        }
    }
    given_up.extend(told(&mut reader).split_whitespace().map(str::to_owned));
    assert_eq!(given_up.len(), 6, "{given_up:?}");
    kept.retain(|key| !given_up.contains(key));
    wait_until("the number of keys", || {
        info_number(&mut writer, "stats", "tracking_total_keys") == 4
    });
    assert_eq!(info_number(&mut writer, "stats", "tracking_total_items"), 4);
    given_up.iter().for_each(|key| run(&mut writer, &format!("SET {key} 1")));
    assert_eq!(told(&mut reader), "");
    kept.iter().for_each(|key| run(&mut writer, &format!("SET {key} 1")));
    assert_eq!(told(&mut reader), kept.join(" "));
    // A lower limit holds at once.
    ["GET a", "GET b", "GET c"].iter().for_each(|line| run(&mut reader, line));
    writer.ok("CONFIG SET tracking-table-max-keys 1");
    wait_until("the number of keys", || {
        info_number(&mut writer, "stats", "tracking_total_keys") == 1
    });
    assert_eq!(told(&mut reader).split(' ').count(), 2);
}

#[test]
fn another_client_is_told_instead() {
    for shards in SHARDS {
        let server = start(shards);
        let (mut reader, mut writer) = reader_and_writer(&server);
        run(&mut reader, "HELLO 2");
        let mut listener = server.client_on_core(1);
        let id = listener.words("CLIENT ID").integer();
        run(&mut listener, "SUBSCRIBE __redis__:invalidate");
        reader.ok(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        assert_eq!(reader.words("CLIENT GETREDIR"), Value::Integer(id));
        run(&mut reader, "MGET a b");
        run(&mut writer, "MSET a 1 b 1 c 1");
        assert_eq!((told(&mut listener), told(&mut reader)), ("a b".into(), String::new()));
        writer.ok("FLUSHALL");
        assert_eq!((told(&mut listener), told(&mut reader)), ("*".into(), String::new()));
        reader.ok("CLIENT TRACKING OFF");
        reader.ok(&format!("CLIENT TRACKING ON BCAST PREFIX a REDIRECT {id}"));
        run(&mut writer, "MSET a 1 b 1");
        assert_eq!(told(&mut listener), "a");
        // In RESP3 it need not listen to anything, and its own messages are no different.
        let mut other = server.client_on_core(0);
        run(&mut other, "HELLO 3");
        let id = other.words("CLIENT ID").integer();
        reader.ok("CLIENT TRACKING OFF");
        reader.ok(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        run(&mut reader, "GET a");
        writer.ok("SET a 2");
        assert_eq!((told(&mut other), told(&mut listener)), ("a".into(), String::new()));
    }
}

#[test]
fn a_client_whose_listener_is_gone_is_told_so() {
    for shards in SHARDS {
        let server = start(shards);
        let (mut reader, mut writer) = reader_and_writer(&server);
        let mut listener = server.client_on_core(1);
        let id = listener.words("CLIENT ID").integer();
        run(&mut listener, "SUBSCRIBE __redis__:invalidate");
        reader.ok(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        run(&mut reader, "GET a");
        drop(listener);
        let list = |writer: &mut Client| match writer.words("CLIENT LIST") {
            Value::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
            other => panic!("{other:?}"),
        };
        wait_until("it is gone", || !list(&mut writer).contains(&format!("id={id} ")));
        writer.ok("SET a 1");
        assert_eq!(told(&mut reader), "broken");
        let text = list(&mut writer);
        assert!(text.contains("flags=tR") && text.contains(&format!("redir={id}")), "{text}");
        let info = reader.words("CLIENT TRACKINGINFO");
        let Value::Set(flags) = info.field("flags") else { panic!("{info:?}") };
        assert!(flags.contains(&Value::bulk("broken_redirect")), "{info:?}");
    }
}

/// A client finds its core with the first key that it names, and what it is told finds the client.
#[test]
fn a_client_is_told_while_it_moves_to_its_core() {
    let server = start(4);
    let (mut reader, mut writer) = reader_and_writer(&server);
    let keys = keys_over_shards("k", 4, 40);
    for key in &keys {
        let mut other = server.client_resp3();
        let id = other.words("CLIENT ID").integer();
        reader.ok("CLIENT TRACKING OFF");
        reader.ok(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        run(&mut reader, &format!("GET {key}"));
        writer.request(&["SET", key, "1"]);
        other.request(&["STRLEN", key]);
        assert_eq!(writer.read(), Ok(Value::ok()));
        other.request(&["PING"]);
        let mut messages = Vec::new();
        loop {
            match other.read().expect("a reply") {
                Value::Integer(_) => {}
                Value::Simple(_) => break,
                push => messages.extend(shown(&push)),
            }
        }
        assert_eq!(messages, [key.as_str()]);
    }
}

/// What clients of the binary protocol write is told of as well, one by one and in bursts. They are not
/// told of anything themselves: it has no message for that.
#[test]
fn what_is_written_in_the_binary_protocol() {
    if skip_on_other_server() {
        return;
    }
    for shards in SHARDS {
        let server = start(shards);
        let (mut reader, _) = reader_and_writer(&server);
        let mut writer = BinaryClient::connect(server.core_address(0));
        reader.ok("CLIENT TRACKING ON");
        let mut keys = keys_over_shards("k", shards, 40);
        keys.iter().for_each(|key| run(&mut reader, &format!("GET {key}")));
        let requests: Vec<_> =
            keys.iter().map(|key| Request::keyed(Opcode::Set, key, "1")).collect();
        writer.all(&requests).into_iter().for_each(|reply| drop(reply.ok()));
        keys.sort();
        assert_eq!(told(&mut reader), keys.join(" "));
        run(&mut reader, "GET k0");
        writer.set("k0", "2").ok();
        assert_eq!(told(&mut reader), "k0");
        let refused = writer.one(Request::command("CLIENT TRACKING ON"));
        assert!(refused.text().starts_with("NOTALLOWED"));
    }
}

#[test]
fn who_tracks_is_counted_until_he_is_gone() {
    let server = start(4);
    let (mut reader, mut writer) = reader_and_writer(&server);
    let clients = |writer: &mut Client| info_number(writer, "clients", "tracking_clients");
    let prefixes = |writer: &mut Client| info_number(writer, "stats", "tracking_total_prefixes");
    reader.ok("CLIENT TRACKING ON");
    reader.ok("CLIENT TRACKING ON NOLOOP");
    let mut other = server.client_on_core(1);
    other.ok("CLIENT TRACKING ON BCAST PREFIX a PREFIX b");
    writer.ok("CLIENT TRACKING ON BCAST PREFIX a");
    assert_eq!((clients(&mut writer), prefixes(&mut writer)), (3, 2));
    writer.ok("CLIENT TRACKING OFF");
    writer.ok("CLIENT TRACKING OFF");
    assert_eq!((clients(&mut writer), prefixes(&mut writer)), (2, 2));
    assert_eq!(reader.words("RESET"), Value::Simple("RESET".into()));
    assert_eq!(clients(&mut writer), 1);
    drop(other);
    wait_until("it is gone", || clients(&mut writer) == 0 && prefixes(&mut writer) == 0);
    writer.ok("SET a 1");
    assert_eq!(told(&mut reader), "");
}

#[test]
fn what_is_refused() {
    const NO_SWITCH: &str = "-ERR You can't switch BCAST mode on/off before disabling tracking for this \
                             client, and then re-enabling it with a different mode.";
    const NO_OPT_SWITCH: &str = "-ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for \
                                 this client, and then re-enabling it with a different mode.";
    let server = start(4);
    let mut client = server.client_on_core(0);
    for (line, expected) in [
        ("CLIENT TRACKING", "-ERR wrong number of arguments for 'client|tracking' command"),
        ("CLIENT TRACKING x", "-ERR syntax error"),
        ("CLIENT TRACKING ON x", "-ERR syntax error"),
        ("CLIENT TRACKING ON REDIRECT", "-ERR syntax error"),
        ("CLIENT TRACKING ON PREFIX", "-ERR syntax error"),
        ("CLIENT TRACKING ON REDIRECT x", "-ERR value is not an integer or out of range"),
        (
            "CLIENT TRACKING ON REDIRECT 99999",
            "-ERR The client ID you want redirect to does not exist",
        ),
        (
            "CLIENT TRACKING ON REDIRECT -1",
            "-ERR The client ID you want redirect to does not exist",
        ),
        ("CLIENT TRACKING ON PREFIX a", "-ERR PREFIX option requires BCAST mode to be enabled"),
        ("CLIENT TRACKING ON BCAST OPTIN", "-ERR OPTIN and OPTOUT are not compatible with BCAST"),
        (
            "CLIENT TRACKING ON OPTIN OPTOUT",
            "-ERR You can't specify both OPTIN mode and OPTOUT mode",
        ),
        (
            "CLIENT TRACKING ON BCAST PREFIX ab PREFIX b PREFIX a",
            "-ERR Prefix 'ab' overlaps with another provided prefix 'a'. Prefixes for a single client \
             must not overlap.",
        ),
        (
            "CLIENT CACHING YES",
            "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
             OPTOUT mode enabled",
        ),
        ("CLIENT GETREDIR", ":-1"),
        ("CLIENT TRACKING ON BCAST PREFIX a", "+OK"),
        (
            "CLIENT TRACKING ON BCAST PREFIX ab",
            "-ERR Prefix 'ab' overlaps with an existing prefix 'a'. Prefixes for a single client must \
             not overlap.",
        ),
        ("CLIENT TRACKING ON", NO_SWITCH),
        ("CLIENT GETREDIR", ":0"),
        ("CLIENT TRACKING OFF", "+OK"),
        ("CLIENT TRACKING ON OPTIN", "+OK"),
        ("CLIENT TRACKING ON OPTOUT", NO_OPT_SWITCH),
        ("CLIENT TRACKING ON BCAST", NO_SWITCH),
        ("CLIENT CACHING x", "-ERR syntax error"),
        (
            "CLIENT CACHING NO",
            "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        ),
        ("CLIENT TRACKING OFF", "+OK"),
        ("CLIENT TRACKING ON OPTOUT", "+OK"),
        (
            "CLIENT CACHING YES",
            "-ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
        ),
    ] {
        println!("{line}");
        client.request(&line.split(' ').collect::<Vec<_>>());
        client.expect_bytes(format!("{expected}\r\n"));
    }
}

/// A client that keeps what it reads until it is told that it is old.
struct Cache {
    client: Client,
    values: HashMap<String, Value>,
}

impl Cache {
    /// What comes until so many replies have come; those are given.
    fn replies(&mut self, count: usize) -> Vec<Value> {
        let mut replies = Vec::new();
        while replies.len() < count {
            let value = self.client.read().expect("a reply");
            match shown(&value) {
                None => replies.push(value),
                Some(all) if all == "*" => self.values.clear(),
                Some(keys) => keys.split('+').for_each(|key| drop(self.values.remove(key))),
            }
        }
        replies
    }

    /// Reads keys in one pipeline. A value counts from the moment that its reply is read.
    fn read(&mut self, keys: &[&String]) {
        let bytes: Vec<u8> = keys.iter().flat_map(|key| encode(&["GET", key])).collect();
        self.client.send(bytes);
        for key in keys {
            let value = self.replies(1).remove(0);
            self.values.insert((*key).clone(), value);
        }
    }

    fn read_together(&mut self, keys: &[&String]) {
        let words: Vec<&str> =
            ["MGET"].into_iter().chain(keys.iter().map(|key| key.as_str())).collect();
        self.client.request(&words);
        let Value::Array(values) = self.replies(1).remove(0) else { panic!("an array") };
        for (key, value) in keys.iter().zip(values) {
            self.values.insert((*key).clone(), value);
        }
    }
}

fn keep_up(mode: &str, seed: u64) {
    let server = start(4);
    let keys = keys_over_shards("key:", 4, 24);
    let mut client = server.client_on_core(0);
    run(&mut client, "HELLO 3");
    client.ok(mode);
    let mut cache = Cache { client, values: HashMap::new() };
    for round in 0..6 {
        thread::scope(|scope| {
            for writer in 0..3_usize {
                let (keys, server) = (&keys, &server);
                scope.spawn(move || {
                    let mut random = Random::new(seed + 100 * round + writer as u64);
                    let mut client = server.client_on_core(writer);
                    for step in 0..120 {
                        let mut bytes = Vec::new();
                        let count = 1 + random.below(6);
                        for _ in 0..count {
                            let [a, b] = [0; 2].map(|_| &keys[random.index(24)]);
                            let value = format!("{round}.{writer}.{step}");
                            bytes.extend(match random.below(5) {
                                0 => encode(&["DEL", a]),
                                1 => encode(&["MSET", a, &value, b, &value]),
                                2 => encode(&["SET", a, &value, "PX", "3"]),
                                _ => encode(&["SET", a, &value]),
                            });
                        }
                        client.send(bytes);
                        (0..count).for_each(|_| drop(client.read().expect("a reply")));
                    }
                });
            }
            let mut random = Random::new(seed + 7 + round);
            for _ in 0..300 {
                let some: Vec<&String> =
                    (0..1 + random.below(5)).map(|_| &keys[random.index(24)]).collect();
                if random.below(3) == 0 { cache.read_together(&some) } else { cache.read(&some) }
            }
        });
        let mut other = server.client_on_core(1);
        // What is to expire has, and is told of, when somebody looks.
        wait_until("nothing is left to expire", || {
            keys.iter().all(|key| other.words(&format!("PTTL {key}")).integer() < 0)
        });
        cache.client.request(&["PING"]);
        cache.replies(1);
        for (key, value) in &cache.values {
            let now = other.words(&format!("GET {key}"));
            let same = match (&now, value) {
                (Value::NullBulk | Value::Null, Value::NullBulk | Value::Null) => true,
                (now, value) => now == value,
            };
            assert!(same, "seed {seed}, round {round}: {key} is {now:?}, not {value:?}");
        }
    }
}

#[test]
fn a_cache_that_does_as_it_is_told_is_never_old() {
    let seed = number_from_env("RINGMAIN_SEED").unwrap_or(1);
    keep_up("CLIENT TRACKING ON", seed);
    keep_up("CLIENT TRACKING ON BCAST PREFIX key:", seed);
}

/// With a client that others have written.
#[test]
fn a_client_of_python_with_a_cache() {
    const SCRIPT: &str = "\
import sys, time, redis, redis.connection
from redis.cache import CacheConfig
redis.connection.CacheProxyConnection.MIN_ALLOWED_VERSION = '7.0.0'
port = int(sys.argv[1])
r = redis.Redis(port=port, protocol=3, cache_config=CacheConfig())
w = redis.Redis(port=port)
for value in range(50):
    w.set('a', value)
    end = time.monotonic() + 20
    while r.get('a') != str(value).encode():
        assert time.monotonic() < end, value
    assert r.get('a') == str(value).encode(), value
";
    let has_cache = std::process::Command::new("python3")
        .args(["-c", "import redis.cache"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_cache {
        return skip("no redis-py with a cache");
    }
    let server = start(4);
    let mut command = std::process::Command::new("python3");
    command.args(["-c", SCRIPT, &server.port().to_string()]);
    let output = harness::output_of(&mut command).expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
