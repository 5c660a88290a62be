//! When such a command has its turn: behind others on its shard, in the binary protocol, around a pause, and while the
//! owner of its shard has nothing else to do.

use super::harness::binary::{BinaryClient, Request};
use super::harness::client::{Client, encode};
use super::harness::server::{Launch, skip_on_other_server};
use super::harness::slots::keys_over_shards;
use super::harness::value::Value;
use super::harness::{PATIENCE, wait_until};
use super::{MANY, begin, fill, members, start, steps};

/// What came of two commands, the second sent while the first was in its steps; and how many steps were taken when the
/// first was answered, and when the second was.
fn one_behind_another(
    [first, second, other]: [&mut Client; 3],
    line: &str,
) -> ([Value; 2], [u64; 2]) {
    begin(first, other, line);
    second.request(&line.split(' ').collect::<Vec<_>>());
    assert!(first.is_readable_within(PATIENCE), "a reply");
    let between = steps(other);
    let one = first.read().expect("a reply");
    let two = second.read().expect("a reply");
    ([one, two], [between, steps(other)])
}

#[test]
fn one_that_comes_behind_another_is_run_in_steps_as_well() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let [mut first, mut second, mut other] = [server.client(), server.client(), server.client()];
    fill(&mut first, "a", 0..MANY);
    wait_until("others are served between the steps of the second", || {
        let clients = [&mut first, &mut second, &mut other];
        let (replies, [between, end]) = one_behind_another(clients, "SINTERCARD 2 a a");
        assert_eq!(replies, [MANY, MANY].map(|count| Value::Integer(count as i64)));
        end > between
    });
}

#[test]
fn one_that_was_left_to_another_core_is_run_in_steps_there() {
    if skip_on_other_server() {
        return;
    }
    let server = start(2);
    let [mut first, mut second, mut other] = [server.client(), server.client(), server.client()];
    let keys = keys_over_shards("set", 2, 3);
    let [here, there, also_here] = &keys[..] else { unreachable!("three were asked for") };
    // Each moves to the core of the first key it names.
    first.words(&format!("GET {here}"));
    second.words(&format!("GET {there}"));
    other.words(&format!("GET {also_here}"));
    fill(&mut first, there, 0..MANY);
    wait_until("others are served between the steps of the second", || {
        let clients = [&mut first, &mut second, &mut other];
        let line = format!("SINTERCARD 2 {there} {there}");
        let (replies, [between, end]) = one_behind_another(clients, &line);
        assert_eq!(replies, [MANY, MANY].map(|count| Value::Integer(count as i64)));
        // What was sent behind it is answered behind it.
        assert_eq!(second.words(&format!("SCARD {there}")), Value::Integer(MANY as i64));
        end > between
    });
}

#[test]
fn what_is_pipelined_around_it_is_answered_in_order() {
    if skip_on_other_server() {
        return;
    }
    let server = start(1);
    let [mut first, mut second, mut other] = [server.client(), server.client(), server.client()];
    fill(&mut first, "a", 0..MANY);
    begin(&mut first, &mut other, "SUNION a a");
    for line in ["SET x 1", "SINTERCARD 1 a", "INCR x", "SDIFFSTORE b a none", "GET x", "SCARD b"] {
        second.send(encode(&line.split(' ').collect::<Vec<_>>()));
    }
    assert_eq!(members(&first.read().expect("a reply")).len(), MANY);
    let count = Value::Integer(MANY as i64);
    let x = Value::bulk("2");
    for expected in [Value::ok(), count.clone(), Value::Integer(2), count.clone(), x, count] {
        assert_eq!(second.read().expect("a reply"), expected);
    }
}

#[test]
fn in_the_binary_protocol_it_is_run_in_steps_too() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(1).binary().start();
    let (mut client, mut other) = (server.client(), server.client());
    let mut binary = BinaryClient::connect(server.binary_address());
    fill(&mut client, "a", 0..MANY);
    wait_until("others are served between the steps", || {
        let before = steps(&mut other);
        let ids = binary.send(&[
            Request::command("SET x 1"),
            Request::command("SUNIONSTORE b a a"),
            Request::command("SCARD b"),
        ]);
        let mut seen = before;
        wait_until("a step is taken", || {
            seen = steps(&mut other);
            seen > before
        });
        let replies: Vec<_> = ids.into_iter().map(|id| binary.reply(id)).collect();
        assert_eq!(replies[0].text(), "+OK\r\n");
        assert_eq!(replies[1].text(), format!(":{MANY}\r\n"));
        assert_eq!(replies[2].text(), format!(":{MANY}\r\n"));
        let [set, stored] = [&replies[0], &replies[1]].map(|reply| reply.token());
        assert_eq!(set.shard, stored.shard);
        assert!(stored.sequence > set.sequence, "it says how far the shard is: {stored:?}");
        steps(&mut other) > seen
    });
}

#[test]
fn a_pause_of_writes_is_answered_when_those_before_it_are_done() {
    if skip_on_other_server() {
        return;
    }
    let server = start(2);
    let (mut client, mut other) = (server.client(), server.client());
    fill(&mut client, "{a}", 0..MANY);
    for pause in ["CLIENT PAUSE 100000 WRITE", "MULTI,CLIENT PAUSE 100000 WRITE,EXEC"] {
        begin(&mut client, &mut other, "SDIFFSTORE {a}to {a} {a}none");
        let [mut pauser, mut watcher] = [server.client(), server.client()];
        for command in pause.split(',') {
            pauser.words(command);
        }
        let then = steps(&mut watcher);
        assert_eq!(client.read().expect("a reply"), Value::Integer(MANY as i64));
        assert_eq!(steps(&mut watcher), then, "a step was taken after {pause} had been answered");
        pauser.ok("CLIENT UNPAUSE");
    }
}

#[test]
fn the_owner_of_a_shard_that_is_held_elsewhere_sleeps() {
    if skip_on_other_server() {
        return;
    }
    let server = start(2);
    let [mut client, mut other] = [server.client(), server.client()];
    let keys = keys_over_shards("set", 2, 3);
    let [here, there, also_here] = &keys[..] else { unreachable!("three were asked for") };
    client.words(&format!("GET {here}"));
    other.words(&format!("GET {also_here}"));
    fill(&mut client, there, 0..MANY);
    let numbers = |other: &mut Client| [0, 1].map(|core| core_turns(other, core));
    // Long enough for several ticks, at which a core looks after its shards.
    let line = format!("SUNION{}", format!(" {there}").repeat(60));
    wait_until("the command takes long", || {
        begin(&mut client, &mut other, &line);
        let before = numbers(&mut other);
        let mut at = before;
        while !client.is_readable_within(std::time::Duration::from_millis(1)) {
            at = numbers(&mut other);
        }
        assert_eq!(members(&client.read().expect("a reply")).len(), MANY);
        let [busy, owner] = [at[0] - before[0], at[1] - before[1]];
        // It looks again for a moment before it sleeps.
        assert!(owner < busy, "its owner had {owner} turns, the core that runs it {busy}");
        busy > 20
    });
}

fn core_turns(client: &mut Client, core: usize) -> u64 {
    let info = client.words("INFO ringmain").text();
    let line = info.lines().find(|line| line.starts_with(&format!("core_{core}:")));
    let turns = line.and_then(|line| line.split(',').find_map(|part| part.strip_prefix("turns=")));
    turns.and_then(|turns| turns.parse().ok()).unwrap_or_else(|| panic!("no turns in {info}"))
}
