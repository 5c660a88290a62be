//! Sorted sets that are read and combined, and what is put in order.

use super::harness::client::Client;
use super::harness::server::skip_on_other_server;
use super::harness::slots::keys_over_shards;
use super::harness::value::Value;
use super::{MANY, begin, interrupted, member, start, steps};

/// Adds what has these numbers to a sorted set; a score is half the number.
fn fill(client: &mut Client, key: &str, numbers: impl Iterator<Item = usize>) {
    let elements: Vec<[String; 2]> = numbers.map(element).collect();
    for elements in elements.chunks(500) {
        let words = elements.iter().flatten().map(String::as_str);
        client.command(&["ZADD", key].into_iter().chain(words).collect::<Vec<_>>());
    }
}

/// Score and member of a number.
fn element(number: usize) -> [String; 2] {
    let half = if number.is_multiple_of(2) { "" } else { ".5" };
    [format!("{}{half}", number / 2), member(number)]
}

/// Asserts that a reply is the members of these numbers in their order.
fn check(reply: &Value, numbers: impl ExactSizeIterator<Item = usize>, line: &str) {
    assert_eq!(reply.elements().len(), numbers.len(), "{line}");
    for (at, number) in numbers.enumerate() {
        assert_eq!(reply.elements()[at].text(), member(number), "{line}: at {at}");
    }
}

#[test]
fn long_ranges_of_sorted_sets_are_answered_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut client, mut other) = (server.client(), server.client());
    fill(&mut client, "z", 0..MANY);
    fill(&mut client, "lex", 0..1);
    let mut names = |line: &str, numbers: std::ops::Range<usize>, is_backwards: bool| {
        let reply = interrupted(&mut client, &mut other, line);
        match is_backwards {
            false => check(&reply, numbers, line),
            true => check(&reply, numbers.rev(), line),
        }
    };
    let (last, half) = (MANY - 1, MANY / 4);
    names("ZRANGE z 0 -1", 0..MANY, false);
    names("ZRANGE z 7 -9", 7..MANY - 8, false);
    names("ZREVRANGE z 0 -1", 0..MANY, true);
    names("ZRANGE z 3 -5 REV", 4..MANY - 3, true);
    names("ZRANGEBYSCORE z -inf +inf", 0..MANY, false);
    names(&format!("ZRANGEBYSCORE z (0 ({half}"), 1..MANY / 2, false);
    names(&format!("ZREVRANGEBYSCORE z +inf 1 LIMIT 5 {MANY}"), 2..last - 4, true);
    names("ZRANGE z -inf +inf BYSCORE LIMIT 10 -1", 10..MANY, false);
    names("ZRANGEBYLEX z - +", 0..MANY, false);
    names("ZREVRANGEBYLEX z + -", 0..MANY, true);
    names("ZRANGE z - + BYLEX LIMIT 0 50000", 0..50_000, false);
    let both = interrupted(&mut client, &mut other, "ZRANGE z 0 -1 WITHSCORES");
    assert_eq!(both.elements().len(), 2 * MANY);
    for (number, (name, score)) in both.pairs().into_iter().enumerate() {
        assert_eq!([score.text(), name.text()], element(number));
    }
}

#[test]
fn short_ranges_of_large_sorted_sets_are_answered_at_once() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let mut client = server.client();
    fill(&mut client, "z", 0..MANY);
    for line in [
        "ZRANGE z 5 9",
        "ZRANGEBYSCORE z 2.5 4.5",
        "ZRANGEBYSCORE z 2.5 +inf LIMIT 0 5",
        "ZRANGE z 2.5 4.5 BYSCORE",
    ] {
        check(&client.words(line), 5..10, line);
    }
    assert_eq!(client.words("ZRANGESTORE to z 5 9"), Value::Integer(5));
    assert!(steps(&mut client) < 10, "{} steps", steps(&mut client));
}

#[test]
fn sorted_sets_are_combined_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut client, mut other) = (server.client(), server.client());
    fill(&mut client, "a", 0..MANY);
    fill(&mut client, "b", MANY / 2..MANY * 3 / 2);
    let weighed = " WEIGHTS 1 1 AGGREGATE MAX";
    let (both, first) = (MANY / 2..MANY, 0..MANY / 2);
    for (name, options, numbers) in
        [("UNION", weighed, 0..MANY * 3 / 2), ("INTER", weighed, both.clone()), ("DIFF", "", first)]
    {
        let line = format!("Z{name} 2 a b{options}");
        check(&interrupted(&mut client, &mut other, &line), numbers.clone(), &line);
        let line = format!("Z{name}STORE to 2 a b{options}");
        let count = interrupted(&mut client, &mut other, &line);
        assert_eq!(count, Value::Integer(numbers.len() as i64), "{line}");
        check(&client.words("ZRANGE to 0 -1"), numbers, &line);
    }
    let line = "ZINTER 2 a b WEIGHTS 2 -1 WITHSCORES";
    let reply = interrupted(&mut client, &mut other, line);
    for (number, (name, score)) in both.clone().zip(reply.pairs()) {
        assert_eq!([score.text(), name.text()], element(number), "{line}");
    }
    let count = interrupted(&mut client, &mut other, "ZINTERCARD 2 a b");
    assert_eq!(count, Value::Integer(both.len() as i64));
    assert_eq!(client.words("ZINTERCARD 2 a b LIMIT 5000"), Value::Integer(5000));
    let stored = interrupted(&mut client, &mut other, "ZRANGESTORE a a 10 -1");
    assert_eq!(stored, Value::Integer(MANY as i64 - 10));
    check(&client.words("ZRANGE a 0 -1"), 10..MANY, "ZRANGESTORE a a");
    assert_eq!(client.words("ZSCORE a member:00000000000000000011"), Value::bulk("5.5"));
    assert!(client.words("ZUNION 2 a string WEIGHTS 1 x").error().contains("not a float"));
}

#[test]
fn sorted_sets_of_several_shards_are_combined_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let server = start(2);
    let (mut client, mut other) = (server.client(), server.client());
    let keys = keys_over_shards("z", 2, 3);
    let [a, b, to] = &keys[..] else { unreachable!("three were asked for") };
    fill(&mut client, a, 0..MANY);
    fill(&mut client, b, 10..MANY);
    let several =
        super::harness::client::info_number(&mut other, "ringmain", "multi_shard_commands");
    begin(&mut client, &mut other, &format!("ZDIFFSTORE {to} 2 {a} {b}"));
    assert_eq!(client.read().expect("a reply"), Value::Integer(10));
    check(&client.words(&format!("ZRANGE {to} 0 -1")), 0..10, "ZDIFFSTORE");
    let now = super::harness::client::info_number(&mut other, "ringmain", "multi_shard_commands");
    assert_eq!(now, several + 1, "it is counted as one of several shards");
}

#[test]
fn elements_are_sorted_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut client, mut other) = (server.client(), server.client());
    // Any order but theirs: 7 and the number have no common divisor.
    let shuffled: Vec<String> = (0..MANY).map(|at| (at * 7 % MANY).to_string()).collect();
    for numbers in shuffled.chunks(500) {
        for command in [["RPUSH", "list"], ["SADD", "set"]] {
            let words = numbers.iter().map(String::as_str);
            client.command(&command.into_iter().chain(words).collect::<Vec<_>>());
        }
    }
    let text = |number: usize| Value::bulk(number.to_string());
    let ascending: Vec<Value> = (0..MANY).map(text).collect();
    let mut by_text: Vec<String> = shuffled.clone();
    by_text.sort();
    let by_text: Vec<Value> = by_text.iter().map(Value::bulk).collect();
    let lying: Vec<Value> = shuffled.iter().map(Value::bulk).collect();
    let backwards = |values: &[Value]| values.iter().rev().cloned().collect::<Vec<_>>();
    for (line, expected) in [
        ("SORT list", ascending.clone()),
        ("SORT set DESC", backwards(&ascending)),
        ("SORT_RO list ALPHA", by_text.clone()),
        ("SORT list ALPHA DESC", backwards(&by_text)),
        ("SORT list LIMIT 10 40000", ascending[10..40_010].to_vec()),
        ("SORT list BY nothing", lying.clone()),
        ("SORT list BY nothing DESC LIMIT 1 50000", backwards(&lying)[1..50_001].to_vec()),
        // All weigh the same: ordered by their bytes.
        ("SORT set BY no*", by_text.clone()),
    ] {
        let reply = interrupted(&mut client, &mut other, line);
        assert!(reply.elements() == expected, "{line}");
    }
    let reply = interrupted(&mut client, &mut other, "SORT list GET # GET no*");
    let pairs = reply.elements().chunks(2).zip(&ascending);
    assert!(pairs.clone().all(|(pair, value)| pair[0] == *value && pair[1].is_null()));
    assert_eq!(pairs.len(), MANY);
    let stored = interrupted(&mut client, &mut other, "SORT set STORE to");
    assert_eq!(stored, Value::Integer(MANY as i64));
    assert!(client.words("LRANGE to 0 -1").elements() == ascending);
    client.words("RPUSH list x");
    begin(&mut client, &mut other, "SORT list STORE to");
    let error = client.read().expect("a reply");
    assert_eq!(error.error(), "ERR One or more scores can't be converted into double");
    assert_eq!(client.words("LLEN to"), Value::Integer(MANY as i64), "nothing was stored");
}

#[test]
fn keys_are_named_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let server = start(2);
    let (mut client, mut other) = (server.client(), server.client());
    let names: Vec<String> = (0..MANY).map(|number| format!("key:{number}")).collect();
    for names in names.chunks(1000) {
        let pairs = names.iter().flat_map(|name| [name, "x"]);
        client.command(&["MSET"].into_iter().chain(pairs).collect::<Vec<_>>());
    }
    let all = interrupted(&mut client, &mut other, "KEYS *");
    assert_eq!(super::members(&all), names.into_iter().collect());
    let some = interrupted(&mut client, &mut other, "KEYS key:?9");
    assert_eq!(some.elements().len(), 9);
}
