//! Very many elements that are chosen at random.

use super::harness::server::skip_on_other_server;
use super::harness::value::Value;
use super::{MANY, begin, fill, interrupted, member, start, steps};
use std::collections::BTreeSet;

#[test]
fn many_elements_are_chosen_in_steps() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut client, mut other) = (server.client(), server.client());
    fill(&mut client, "a", 0..MANY);
    assert_eq!(client.words("ZUNIONSTORE z 1 a"), Value::Integer(MANY as i64));
    let names: Vec<String> = (0..MANY).map(member).collect();
    for names in names.chunks(1000) {
        let fields = names.iter().flat_map(|name| [&**name, &name[7..]]);
        client.command(&["HSET", "hash"].into_iter().chain(fields).collect::<Vec<_>>());
    }
    // Few among all, a good part of them, and some several times.
    for count in [MANY as i64 / 8, MANY as i64 / 2, -(MANY as i64) / 2] {
        for (line, words) in [
            ("SRANDMEMBER a #", 1),
            ("HRANDFIELD hash #", 1),
            ("HRANDFIELD hash # WITHVALUES", 2),
            ("ZRANDMEMBER z #", 1),
            ("ZRANDMEMBER z # WITHSCORES", 2),
        ] {
            let line = line.replace('#', &count.to_string());
            begin(&mut client, &mut other, &line);
            let reply = client.read().expect("a reply");
            let chosen: Vec<String> =
                reply.elements().iter().step_by(words).map(Value::text).collect();
            let there = |name: &String| names.binary_search(name).is_ok();
            assert!(chosen.iter().all(there), "{line}");
            let different = chosen.iter().collect::<BTreeSet<_>>().len();
            let expected = usize::try_from(count.unsigned_abs()).expect("few enough");
            // One of five has come before.
            let least = if count < 0 { MANY / 3 } else { expected };
            assert_eq!(chosen.len(), expected, "{line}");
            assert!((least..=expected).contains(&different), "{line}: {different} are different");
            if line.contains("WITHVALUES") {
                let pairs = reply.pairs();
                assert!(pairs.iter().all(|(name, value)| name.text()[7..] == value.text()));
            }
        }
    }
    assert_eq!(client.words("SRANDMEMBER a 1000000").elements().len(), MANY);
    let before = steps(&mut client);
    assert_eq!(client.words("SRANDMEMBER a 100").elements().len(), 100);
    assert_eq!(steps(&mut client), before, "few are chosen at once");
}

#[test]
fn one_may_be_chosen_very_often_however_few_there_are() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let (mut client, mut other) = (server.client(), server.client());
    client.words("SADD few x");
    let reply = interrupted(&mut client, &mut other, "SRANDMEMBER few -50000");
    assert_eq!(reply.elements().len(), 50_000);
    assert!(reply.elements().iter().all(|member| *member == Value::bulk("x")));
}
