//! Sets, lists and hashes that are read and combined.

use super::harness::client::{Client, encode, info_number};
use super::harness::server::{Launch, skip_on_other_server};
use super::harness::slots::keys_over_shards;
use super::harness::value::Value;
use super::{MANY, begin, fill, interrupted, member, members, start, steps};
use std::collections::BTreeSet;
use std::ops::Range;

#[test]
fn others_are_served_between_the_steps() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut client, mut other) = (server.client(), server.client());
    fill(&mut client, "a", 0..MANY);
    fill(&mut client, "b", MANY / 2..MANY * 3 / 2);
    let mut names = |numbers: Range<usize>, line: &str| {
        let reply = interrupted(&mut client, &mut other, line);
        let expected: BTreeSet<_> = numbers.map(member).collect();
        assert!(members(&reply) == expected, "{line}");
        assert_eq!(reply.elements().len(), expected.len(), "{line}");
    };
    names(0..MANY * 3 / 2, "SUNION a b");
    names(MANY / 2..MANY, "SINTER a b");
    names(0..MANY / 2, "SDIFF a b");
    names(0..MANY, "SMEMBERS a");
    let count = interrupted(&mut client, &mut other, "SINTERCARD 2 a b");
    assert_eq!(count, Value::Integer(MANY as i64 / 2));
}

#[test]
fn whole_lists_and_hashes_are_answered_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut client, mut other) = (server.client(), server.client());
    let numbers: Vec<String> = (0..MANY).map(|number| format!("number {number:020}")).collect();
    for numbers in numbers.chunks(500) {
        let of_list = ["RPUSH", "list"].into_iter().chain(numbers.iter().map(String::as_str));
        client.command(&of_list.collect::<Vec<_>>());
        let fields = numbers.iter().flat_map(|number| [&**number, &number[7..]]);
        client.command(&["HSET", "hash"].into_iter().chain(fields).collect::<Vec<_>>());
    }
    let all: Vec<Value> = numbers.iter().map(Value::bulk).collect();
    let list = interrupted(&mut client, &mut other, "LRANGE list 0 -1");
    assert!(list.elements() == all, "the elements in their order");
    let list = interrupted(&mut client, &mut other, "LRANGE list 5 -9");
    assert!(list.elements() == &all[5..MANY - 8], "the elements of the range");
    assert!(client.words("LRANGE list 10 19").elements() == &all[10..20]);
    let fields = members(&interrupted(&mut client, &mut other, "HKEYS hash"));
    assert!(fields.iter().eq(&numbers), "the fields");
    let values = members(&interrupted(&mut client, &mut other, "HVALS hash"));
    assert!(values.iter().eq(numbers.iter().map(|number| &number[7..])), "the values");
    let both = interrupted(&mut client, &mut other, "HGETALL hash");
    assert_eq!(both.elements().len(), 2 * MANY);
    assert!(both.pairs().iter().all(|(field, value)| field.text()[7..] == value.text()));
}

#[test]
fn what_changes_the_sets_waits_until_the_command_is_done() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut client, mut other, mut writer) = (server.client(), server.client(), server.client());
    fill(&mut client, "a", 0..MANY);
    fill(&mut client, "b", MANY..2 * MANY);
    begin(&mut client, &mut other, "SUNIONSTORE all a b");
    // Wherever the walk has come to, some of these are behind it.
    writer.request(&["SADD", "a", "new"]);
    writer.request(&["SREM", "b", &member(2 * MANY - 1)]);
    assert_eq!(client.read().expect("a reply"), Value::Integer(2 * MANY as i64));
    assert_eq!(writer.read().expect("a reply"), Value::Integer(1));
    assert_eq!(writer.read().expect("a reply"), Value::Integer(1));
    assert_eq!(client.words("SISMEMBER all new"), Value::Integer(0));
    assert_eq!(client.words("SCARD all"), Value::Integer(2 * MANY as i64));
    assert_eq!(client.words("SCARD a"), Value::Integer(MANY as i64 + 1));
}

#[test]
fn what_expires_meanwhile_is_there_until_the_command_is_done() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let mut client = server.client();
    fill(&mut client, "a", 0..MANY);
    fill(&mut client, "b", MANY..2 * MANY);
    for ttl_ms in (1..80).step_by(8) {
        client.send(encode(&["COPY", "a", "going", "REPLACE"]));
        client.send(encode(&["PEXPIRE", "going", &ttl_ms.to_string()]));
        client.send(encode(&["SUNIONSTORE", "all", "b", "going"]));
        assert_eq!(client.read().expect("a reply"), Value::Integer(1));
        assert_eq!(client.read().expect("a reply"), Value::Integer(1));
        let count = client.read().expect("a reply").integer();
        // All of it if it was there when the command began, which nobody knows; never a part.
        let expected = [MANY as i64, 2 * MANY as i64];
        assert!(expected.contains(&count), "{count} of {expected:?} after {ttl_ms} ms");
    }
}

#[test]
fn sets_of_several_shards_are_walked_over_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let server = start(2);
    let (mut client, mut other) = (server.client(), server.client());
    let keys = keys_over_shards("set", 2, 3);
    let [a, b, to] = &keys[..] else { unreachable!("three were asked for") };
    fill(&mut client, a, 0..MANY);
    fill(&mut client, b, 10..MANY);
    begin(&mut client, &mut other, &format!("SDIFFSTORE {to} {a} {b}"));
    assert_eq!(client.read().expect("a reply"), Value::Integer(10));
    let expected: BTreeSet<_> = (0..10).map(member).collect();
    assert_eq!(members(&client.words(&format!("SMEMBERS {to}"))), expected);
}

#[test]
fn requests_behind_it_are_answered_behind_it() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut client, mut other) = (server.client(), server.client());
    fill(&mut client, "a", 0..MANY);
    client.send(encode(&["GET", "missing"]));
    begin(&mut client, &mut other, "SINTERSTORE b a a");
    client.send(encode(&["SCARD", "b"]));
    client.send(encode(&["SUNION", "a", "string", "b"]));
    client.send(encode(&["ECHO", "end"]));
    assert!(client.read().expect("a reply").is_null());
    assert_eq!(client.read().expect("a reply"), Value::Integer(MANY as i64));
    assert_eq!(client.read().expect("a reply"), Value::Integer(MANY as i64));
    assert_eq!(members(&client.read().expect("a reply")).len(), MANY);
    assert_eq!(client.read().expect("a reply"), Value::bulk("end"));
    client.ok("SET string x");
    assert!(client.words("SUNION a string").error().starts_with("WRONGTYPE"));
}

#[test]
fn it_is_done_though_its_client_has_gone() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut client, mut other) = (server.client(), server.client());
    fill(&mut other, "a", 0..MANY);
    begin(&mut client, &mut other, "SUNIONSTORE b a a");
    drop(client);
    assert_eq!(other.words("SCARD b"), Value::Integer(MANY as i64));
}

#[test]
fn it_is_in_the_slow_log_once() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut client, mut other) = (server.client(), server.client());
    fill(&mut client, "a", 0..MANY);
    client.ok("CONFIG SET slowlog-log-slower-than 1000");
    begin(&mut client, &mut other, "SINTER a a");
    assert_eq!(members(&client.read().expect("a reply")).len(), MANY);
    let log = other.words("SLOWLOG GET -1");
    let name = |entry: &Value| entry.elements()[3].elements()[0].text();
    let of_it = log.elements().iter().filter(|entry| name(entry) == "SINTER");
    assert_eq!(of_it.count(), 1, "{log:?}");
}

#[test]
fn what_it_keeps_is_in_the_log() {
    if skip_on_other_server() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let launch = Launch::shards(1).durable("sync").dir(dir.path());
    let server = launch.start();
    let (mut client, mut other) = (server.client(), server.client());
    fill(&mut client, "a", 0..MANY);
    begin(&mut client, &mut other, "SUNIONSTORE b a a");
    assert_eq!(client.read().expect("a reply"), Value::Integer(MANY as i64));
    server.stop();
    let server = launch.start();
    assert_eq!(server.client().words("SINTERCARD 2 a b"), Value::Integer(MANY as i64));
}

#[test]
fn in_a_transaction_it_is_one_step_of_it() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let mut client = server.client();
    fill(&mut client, "a", 0..MANY);
    client.ok("MULTI");
    assert_eq!(client.words("SUNIONSTORE b a a"), Value::Simple("QUEUED".into()));
    assert_eq!(client.words("SCARD b"), Value::Simple("QUEUED".into()));
    let count = Value::Integer(MANY as i64);
    assert_eq!(client.words("EXEC"), Value::Array(vec![count.clone(), count]));
    assert_eq!(steps(&mut client), 0);
}

#[test]
fn a_reply_waits_for_the_disk_whichever_step_has_changed_something() {
    if skip_on_other_server() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let server = Launch::shards(2).durable("sync").dir(dir.path()).start();
    let (mut client, mut other) = (server.client(), server.client());
    let keys = keys_over_shards("set", 2, 2);
    let [a, b] = &keys[..] else { unreachable!("two were asked for") };
    let near = format!("near:{{{a}}}");
    fill(&mut client, a, 0..MANY);
    let syncs = |client: &mut Client| info_number(client, "persistence", "log_syncs");
    let lines = [
        format!("ZUNIONSTORE {near} 1 {a}"),
        format!("SORT {a} ALPHA STORE {near}"),
        format!("SUNIONSTORE {near} {a} {a}"),
        format!("COPY {a} {near} REPLACE"),
        format!("RENAME {a} {b}"),
        format!("RENAME {b} {a}"),
    ];
    for line in lines {
        let before = syncs(&mut other);
        let steps_before = steps(&mut other);
        let reply = client.words(&line);
        assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
        assert!(steps(&mut other) > steps_before, "{line} was not run in steps");
        // Both shards of what is renamed, which are in two logs.
        let least = if line.starts_with("RENAME") { 2 } else { 1 };
        assert!(syncs(&mut other) >= before + least, "{line} was answered before it was on disk");
    }
}
