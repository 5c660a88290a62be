//! Very many elements that are removed from what keeps others.

use super::harness::server::{Launch, skip_on_other_server};
use super::harness::value::Value;
use super::{MANY, begin, fill, member, members, steps};
use std::collections::BTreeSet;
use std::ops::Range;

#[test]
fn many_elements_are_removed_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let launch = Launch::shards(1).durable("async").dir(dir.path());
    let server = launch.start();
    let [mut client, mut other, mut listener] = [server.client(), server.client(), server.client()];
    fill(&mut client, "a", 0..MANY);
    let many = MANY as i64;
    for key in ["rank", "score", "lex"] {
        assert_eq!(client.words(&format!("ZUNIONSTORE {key} 1 a")), Value::Integer(many));
    }
    client.ok("CONFIG SET notify-keyspace-events EA");
    listener.words("PSUBSCRIBE __keyevent@0__:*");
    let (first, last) = (member(100), member(MANY - 101));
    let lines = [
        format!("ZREMRANGEBYRANK rank 100 {}", MANY - 101),
        format!("ZREMRANGEBYLEX lex [{first} [{last}"),
        "ZREMRANGEBYSCORE score 1 1".to_owned(),
        "SPOP a 40000".to_owned(),
        "SPOP a 100000".to_owned(),
    ];
    let mut popped = BTreeSet::new();
    for line in &lines {
        if line.ends_with("score 1 1") || line.ends_with("100000") {
            // All of it goes, or less than is worth steps.
            client.request(&line.split(' ').collect::<Vec<_>>());
        } else {
            begin(&mut client, &mut other, line);
        }
        let reply = client.read().expect("a reply");
        match line.split(' ').next() {
            Some("SPOP") => popped.extend(members(&reply)),
            Some("ZREMRANGEBYSCORE") => assert_eq!(reply, Value::Integer(many)),
            _ => assert_eq!(reply, Value::Integer(many - 200), "{line}"),
        }
        let name = line.split(' ').next().unwrap_or_default().to_lowercase();
        let mut told = vec![name.as_str()];
        if line.ends_with("score 1 1") || line.ends_with("100000") {
            told.push("del");
        }
        for name in told {
            let event = listener.read().expect("an event").elements()[2].text();
            assert_eq!(event, format!("__keyevent@0__:{name}"), "{line}");
        }
    }
    assert!(popped == (0..MANY).map(member).collect(), "each of them once");
    server.stop();

    let server = launch.start();
    let mut client = server.client();
    let left: Vec<Value> =
        (0..100).chain(MANY - 100..MANY).map(|number| Value::bulk(member(number))).collect();
    for key in ["rank", "lex"] {
        assert!(client.words(&format!("ZRANGE {key} 0 -1")).elements() == left, "{key}");
    }
    assert_eq!(client.words("EXISTS a score"), Value::Integer(0));
}

/// From either end, of what keeps some and of what keeps none, in a transaction too.
#[test]
fn very_many_elements_are_popped_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let launch = Launch::shards(1).durable("async").dir(dir.path());
    let server = launch.start();
    let [mut client, mut other, mut listener] = [server.client(), server.client(), server.client()];
    let names: Vec<String> = (0..MANY).map(member).collect();
    for names in names.chunks(1000) {
        let words = ["RPUSH", "list"].into_iter().chain(names.iter().map(String::as_str));
        client.command(&words.collect::<Vec<_>>());
    }
    fill(&mut client, "a", 0..MANY);
    for key in ["zset", "zmulti"] {
        assert_eq!(client.words(&format!("ZUNIONSTORE {key} 1 a")), Value::Integer(MANY as i64));
    }
    assert_eq!(client.words("COPY list multi"), Value::Integer(1));
    client.ok("CONFIG SET notify-keyspace-events EA");
    listener.words("PSUBSCRIBE __keyevent@0__:*");
    // What each takes from the lower end or the other, and what is told of it.
    let rows: [(&str, &str, bool, usize, &[&str]); 10] = [
        ("LMPOP 2 no list LEFT COUNT 10000", "list", true, 10_000, &["lpop"]),
        ("LPOP list 20000", "list", true, 20_000, &["lpop"]),
        ("RPOP list 20000", "list", false, 20_000, &["rpop"]),
        ("LMPOP 2 no list RIGHT COUNT 5000", "list", false, 5_000, &["rpop"]),
        ("ZMPOP 2 no zset MIN COUNT 10000", "zset", true, 10_000, &["zpopmin"]),
        ("ZPOPMIN zset 20000", "zset", true, 20_000, &["zpopmin"]),
        ("ZPOPMAX zset 20000", "zset", false, 20_000, &["zpopmax"]),
        ("ZMPOP 2 no zset MAX COUNT 5000", "zset", false, 5_000, &["zpopmax"]),
        ("RPOP multi 100000", "multi", false, MANY, &["rpop", "del"]),
        ("ZPOPMAX zmulti 100000", "zmulti", false, MANY, &["zpopmax", "del"]),
    ];
    let mut left: std::collections::BTreeMap<&str, Range<usize>> = Default::default();
    for (line, key, from_start, count, told) in rows {
        let left = left.entry(key).or_insert(0..MANY);
        let before = steps(&mut other);
        client.request(&line.split(' ').collect::<Vec<_>>());
        let reply = client.read().expect("a reply");
        // Where less is left it is not worth any.
        assert!(steps(&mut other) > before || left.len() < MANY * 3 / 4, "{line} took no steps");
        let elements = match line.contains("MPOP") {
            true => reply.elements()[1].clone(),
            false => reply,
        };
        let scored = |element: &Value| element.elements().first().map(Value::text);
        let popped: Vec<String> = match line.split(' ').next() {
            Some("ZMPOP") => elements.elements().iter().filter_map(scored).collect(),
            Some("ZPOPMIN" | "ZPOPMAX") => {
                elements.elements().iter().step_by(2).map(Value::text).collect()
            }
            _ => elements.elements().iter().map(Value::text).collect(),
        };
        let expected: Vec<String> = if from_start {
            (left.start..left.start + count).map(member).collect()
        } else {
            (left.end - count..left.end).rev().map(member).collect()
        };
        assert!(popped == expected, "{line}");
        if from_start {
            left.start += count;
        } else {
            left.end -= count;
        }
        for name in told {
            let event = listener.read().expect("an event").elements()[2].text();
            assert_eq!(event, format!("__keyevent@0__:{name}"), "{line}");
        }
    }
    // Nobody sees it half done, and in a transaction it is told once as well.
    client.ok("MULTI");
    for line in ["LPOP list 4999", "ZPOPMIN zset 4999", "LPOP list", "ZPOPMIN zset"] {
        client.request(&line.split(' ').collect::<Vec<_>>());
        client.read().expect("queued");
    }
    assert_eq!(client.words("EXEC").elements().len(), 4);
    for name in ["lpop", "zpopmin", "lpop", "del", "zpopmin", "del"] {
        let event = listener.read().expect("an event").elements()[2].text();
        assert_eq!(event, format!("__keyevent@0__:{name}"));
    }
    server.stop();
    let server = launch.start();
    let mut client = server.client();
    assert_eq!(client.words("EXISTS list zset multi zmulti"), Value::Integer(0));
}

#[test]
fn others_are_served_between_the_steps_of_a_pop() {
    if skip_on_other_server() {
        return;
    }
    let server = super::start(1);
    let (mut client, mut other) = (server.client(), server.client());
    let names: Vec<String> = (0..MANY).map(member).collect();
    fill(&mut client, "a", 0..MANY);
    for line in ["LPOP to 59000", "RPOP to 70000", "ZPOPMIN to 59000", "ZPOPMAX to 70000"] {
        let is_list = !line.starts_with('Z');
        super::harness::wait_until(
            &format!("somebody is served between the steps of {line}"),
            || {
                client.words("DEL to");
                if is_list {
                    for names in names.chunks(1000) {
                        let words =
                            ["RPUSH", "to"].into_iter().chain(names.iter().map(String::as_str));
                        client.command(&words.collect::<Vec<_>>());
                    }
                } else {
                    client.words("ZUNIONSTORE to 1 a");
                }
                let seen = begin(&mut client, &mut other, line);
                let popped = client.read().expect("a reply").elements().len();
                let expected = if line.ends_with("59000") { 59_000 } else { MANY };
                assert_eq!(popped, expected * if is_list { 1 } else { 2 }, "{line}");
                steps(&mut other) > seen
            },
        );
    }
}
