//! Very many elements that are removed from what keeps others.

use super::harness::server::{Launch, skip_on_other_server};
use super::harness::value::Value;
use super::{MANY, begin, fill, member, members};
use std::collections::BTreeSet;

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
