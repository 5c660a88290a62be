//! Many requests sent before the first is answered: run one after another as if each had been sent alone, whoever else
//! is to be told of them. Where there is one shard they run in turn, where there are several shard by shard.

mod harness;

use harness::client::{Client, encode, encode_words, info_number};
use harness::server::{Launch, Server, skip_on_other_server};
use harness::value::Value;

const SHARDS: [u16; 2] = [1, 4];

/// Sends all of `lines` at once; the replies.
fn pipeline(client: &mut Client, lines: &[&str]) -> Vec<Value> {
    client.send(lines.iter().flat_map(|line| encode_words(line)).collect::<Vec<_>>());
    lines
        .iter()
        .map(|line| client.read().unwrap_or_else(|none| panic!("{line}: {none:?}")))
        .collect()
}

/// A client that has found the core of its key: what it sends from now on need not be asked where it belongs first.
fn placed(server: &Server) -> Client {
    let mut client = server.client();
    assert_eq!(client.words("GET list"), Value::NullBulk);
    client
}

fn error(text: &str) -> Value {
    Value::Error(text.to_owned())
}

fn on_each(test: impl Fn(&Server)) {
    for shards in SHARDS {
        test(&Launch::shards(shards).start());
    }
}

#[test]
fn an_error_is_answered_in_its_place_and_changes_nothing() {
    const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
    on_each(|server| {
        let mut client = placed(server);
        let replies = pipeline(
            &mut client,
            &[
                "RPUSH list a",
                "RPUSH list 12",
                "GET list",
                "HSET list f v",
                "INCRBY list x",
                "LPOP list",
                "NOSUCH list",
                "RPUSH list",
                "LRANGE list 0 -1",
                "LPOP list",
                "LPOP list",
                "GET list",
            ],
        );
        let expected = [
            Value::Integer(1),
            Value::Integer(2),
            error(WRONG_TYPE),
            error(WRONG_TYPE),
            error("ERR value is not an integer or out of range"),
            Value::bulk("a"),
            error("ERR unknown command 'NOSUCH', with args beginning with: 'list' "),
            error("ERR wrong number of arguments for 'rpush' command"),
            Value::Array(vec![Value::bulk("12")]),
            Value::bulk("12"),
            Value::NullBulk,
            Value::NullBulk,
        ];
        assert_eq!(replies, expected);
    });
}

#[test]
fn requests_may_end_anywhere_in_what_is_sent() {
    on_each(|server| {
        let mut client = placed(server);
        let long = "v".repeat(100_000);
        let lines = ["SET a 1", "INCR a", &format!("SET b {long}"), "STRLEN b", "GET b", "GET a"];
        let bytes: Vec<u8> = lines.iter().flat_map(|line| encode_words(line)).collect();
        for cut in [1, 5, 27, 40, 90, 70_000, bytes.len() - 1] {
            client.send(&bytes[..cut]);
            // Its reply tells that what comes before the cut was read by itself.
            let rest = if cut > encode_words(lines[0]).len() { &lines[1..] } else { &lines[..] };
            if rest.len() < lines.len() {
                assert_eq!(client.read(), Ok(Value::ok()), "cut at {cut}");
            }
            client.send(&bytes[cut..]);
            let replies: Vec<_> = rest.iter().map(|_| client.read().expect("a reply")).collect();
            let (length, value) = (Value::Integer(100_000), Value::bulk(&long));
            let expected =
                [Value::ok(), Value::Integer(2), Value::ok(), length, value, Value::bulk("2")];
            assert_eq!(replies, expected[lines.len() - rest.len()..], "cut at {cut}");
        }
    });
}

#[test]
fn who_waits_for_a_key_is_served_between_two_requests() {
    on_each(|server| {
        let (mut first, mut second, mut client) =
            (server.client(), server.client(), server.client());
        for (waiting, count) in [(&mut first, 1), (&mut second, 2)] {
            waiting.request(&["BLPOP", "list", "0"]);
            harness::wait_until("it waits", || {
                info_number(&mut client, "clients", "blocked_clients") == count
            });
        }
        let lines = ["RPUSH list a", "RPUSH list b c", "RPUSH list d", "LLEN list"];
        let replies = pipeline(&mut client, &lines);
        assert_eq!(replies, [1, 2, 2, 2].map(Value::Integer));
        for (waiting, element) in [(&mut first, "a"), (&mut second, "b")] {
            let popped = Value::Array(vec![Value::bulk("list"), Value::bulk(element)]);
            assert_eq!(waiting.read(), Ok(popped));
        }
    });
}

#[test]
fn whoever_wants_to_know_is_told_of_each() {
    on_each(|server| {
        let (mut reader, mut listener, mut client) =
            (server.client_resp3(), server.client(), server.client());
        client.ok("SET a 1");
        reader.ok("CLIENT TRACKING ON");
        assert_eq!(reader.words("GET a"), Value::bulk("1"));
        client.ok("CONFIG SET notify-keyspace-events Ke$");
        listener.words("PSUBSCRIBE __keyspace@0__:*");
        let replies = pipeline(&mut client, &["SET a 2", "INCR a", "APPEND a 4", "GET a"]);
        let (three, two) = (Value::Integer(3), Value::Integer(2));
        assert_eq!(replies, [Value::ok(), three, two, Value::bulk("34")]);
        for event in ["set", "incrby", "append"] {
            let Ok(Value::Array(message)) = listener.read() else { panic!("{event} is told") };
            assert_eq!(message[3], Value::bulk(event));
        }
        let keys = Value::Array(vec![Value::bulk("a")]);
        assert_eq!(reader.read(), Ok(Value::Push(vec![Value::bulk("invalidate"), keys])));
        // What a pipeline reads is remembered as well.
        assert_eq!(
            pipeline(&mut reader, &["GET a", "GET a"]),
            [Value::bulk("34"), Value::bulk("34")]
        );
        client.ok("SET a 5");
        let Ok(Value::Push(_)) = reader.read() else { panic!("the reader is told again") };
    });
}

#[test]
fn writes_beyond_the_memory_limit_are_refused_and_reads_are_not() {
    if skip_on_other_server() {
        return;
    }
    on_each(|server| {
        let mut client = server.client();
        client.ok("SET small v");
        client.ok("CONFIG SET maxmemory 1");
        let lines =
            ["GET small", "SET other v", "RPUSH list v", "GET small", "DEL small", "GET small"];
        let replies = pipeline(&mut client, &lines);
        let refused = error("OOM command not allowed when used memory > 'maxmemory'.");
        let value = Value::bulk("v");
        let expected =
            [value.clone(), refused.clone(), refused, value, Value::Integer(1), Value::NullBulk];
        assert_eq!(replies, expected);
    });
}

#[test]
fn every_request_is_counted_by_itself() {
    if skip_on_other_server() {
        return;
    }
    on_each(|server| {
        let mut client = placed(server);
        client.ok("CONFIG SET slowlog-log-slower-than 0");
        client.ok("CONFIG RESETSTAT");
        client.words("SLOWLOG RESET");
        let lines = ["RPUSH list a", "RPUSH list b", "GET list", "LPOP list", "LLEN list"];
        pipeline(&mut client, &lines);
        let Value::Integer(slow) = client.words("SLOWLOG LEN") else { panic!("a number") };
        // RESET is one as well.
        assert_eq!(slow, 6);
        let Value::Bulk(stats) = client.words("INFO commandstats") else { panic!("a text") };
        let stats = String::from_utf8_lossy(&stats).into_owned();
        let count = |command: &str, field: &str| {
            let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
            let line = line.unwrap_or_else(|| panic!("{command} in {stats}"));
            let value =
                line.split([',', ':']).find_map(|pair| pair.strip_prefix(&format!("{field}=")));
            value.and_then(|value| value.parse::<u64>().ok()).expect("a number")
        };
        assert_eq!(
            (count("rpush", "calls"), count("lpop", "calls"), count("llen", "calls")),
            (2, 1, 1)
        );
        assert_eq!((count("get", "calls"), count("get", "failed_calls")), (1, 1));
    });
}

#[test]
fn long_values_come_and_go_amid_short_ones() {
    on_each(|server| {
        let mut client = placed(server);
        let long: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
        let mut bytes = encode_words("SET short 1");
        bytes.extend(encode(&[b"SET", &b"long"[..], &long]));
        for line in ["INCR short", "GET long", "GET short", "GET long", "STRLEN long"] {
            bytes.extend(encode_words(line));
        }
        client.send(bytes);
        let long = Value::Bulk(long);
        let expected = [
            Value::ok(),
            Value::ok(),
            Value::Integer(2),
            long.clone(),
            Value::bulk("2"),
            long,
            Value::Integer(3_000_000),
        ];
        for value in expected {
            assert!(client.read() == Ok(value));
        }
    });
}
