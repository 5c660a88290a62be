//! `CLIENT TOPOLOGY`: clients that subscribed are told of the topology, once an epoch and in order, and
//! know from the message alone where their keys are.

mod harness;

use harness::client::{Client, encode_words, info_number, wait_for_reply};
use harness::random::Random;
use harness::server::{Launch, Server, skip_on_other_server};
use harness::slots::keys_over_shards;
use harness::topology::{Range, check_topology, connect, port_of, ranges_of_slots, read_slots};
use harness::value::Value;
use harness::{skip, wait_until};
use std::collections::HashMap;
use std::time::Duration;

const SHARDS: u16 = 4;

/// A server with cores to move shards between, if the machine has more than one.
fn start(launch: &Launch) -> Option<Server> {
    if skip_on_other_server() {
        return None;
    }
    let server = launch.start();
    if info_number(&mut server.client(), "ringmain", "cores") < 2 {
        skip("shards move between cores, and this machine has one");
        return None;
    }
    Some(server)
}

fn epoch(client: &mut Client) -> u64 {
    info_number(client, "ringmain", "topology_epoch")
}

/// What a push says: the epoch and the ranges.
fn read_push(value: &Value) -> (u64, Vec<Range>) {
    let Value::Push(parts) = value else { panic!("expected a push, got {value:?}") };
    let [kind, epoch, slots] = parts.as_slice() else { panic!("{value:?}") };
    assert_eq!(kind, &Value::bulk("topology"));
    (u64::try_from(epoch.integer()).expect("an epoch"), read_slots(slots))
}

fn next_push(client: &mut Client) -> (u64, Vec<Range>) {
    read_push(&client.read().expect("a push in time"))
}

/// Subscribes; gives what the first push says.
fn subscribe(client: &mut Client) -> (u64, Vec<Range>) {
    client.ok("CLIENT TOPOLOGY ON");
    next_push(client)
}

fn in_resp3(mut client: Client) -> Client {
    client.words("HELLO 3");
    client
}

fn subscribers(server: &Server) -> Vec<Client> {
    let ports = [server.port(), server.port() + 1, server.port() + 2, server.port()];
    ports.into_iter().map(|port| in_resp3(connect(port))).collect()
}

/// Nothing has been pushed that was not read: the next thing that comes is the reply.
fn expect_silence(client: &mut Client) {
    assert_eq!(client.words("PING"), Value::Simple("PONG".into()));
}

#[test]
fn every_change_is_told_once_and_in_order() {
    let Some(server) = start(&Launch::shards(SHARDS).core_ports()) else { return };
    let mut operator = server.client();
    let mut subscribers = subscribers(&server);
    let mut now = epoch(&mut operator);
    for client in &mut subscribers {
        assert_eq!(subscribe(client), (now, ranges_of_slots(&mut operator)));
        // Once is enough.
        client.ok("CLIENT TOPOLOGY ON");
        expect_silence(client);
    }
    for turn in 0..40_u16 {
        let (shard, core) = (turn % SHARDS, (turn / SHARDS + turn) % 2);
        operator.ok(&format!("SHARD MOVE {shard} {core}"));
        let changed = epoch(&mut operator) > now;
        let expected = ranges_of_slots(&mut operator);
        for client in &mut subscribers {
            if changed {
                assert_eq!(next_push(client), (now + 1, expected.clone()));
            }
            expect_silence(client);
        }
        now += u64::from(changed);
    }
    assert!(now > 10, "few of the moves were any: {now}");
}

#[test]
fn changes_of_one_moment_are_told_together() {
    let Some(server) = start(&Launch::shards(SHARDS).core_ports()) else { return };
    let mut operator = server.client();
    let mut subscribers = subscribers(&server);
    let before = subscribers.iter_mut().map(|client| subscribe(client).0).max().expect("some");
    let moves = 500;
    let requests = (0..moves).map(|turn| {
        let (shard, core) = (turn % 2, turn / 2 % 2);
        encode_words(&format!("SHARD MOVE {shard} {core}"))
    });
    operator.send(requests.collect::<Vec<_>>().concat());
    (0..moves).for_each(|_| assert_eq!(operator.read(), Ok(Value::ok())));
    let after = epoch(&mut operator);
    let expected = check_topology(&mut operator);
    assert!(after > before);
    for client in &mut subscribers {
        let (mut last, mut pushes) = (before, 0);
        while last < after {
            let (epoch, ranges) = next_push(client);
            assert!(epoch > last && epoch <= after, "epoch {epoch} after {last}");
            assert!(epoch < after || ranges == expected);
            (last, pushes) = (epoch, pushes + 1);
        }
        assert!(pushes < after - before, "{pushes} pushes for {} changes", after - before);
        expect_silence(client);
    }
}

/// Pushes come between replies, never inside one, and change nothing about them.
#[test]
fn pushes_and_replies_share_a_connection() {
    let Some(server) = start(&Launch::shards(SHARDS).core_ports()) else { return };
    let keys = keys_over_shards("key", SHARDS, 40);
    let mut operator = server.client();
    let mut subscribers = subscribers(&server);
    let mut last: Vec<u64> = subscribers.iter_mut().map(|client| subscribe(client).0).collect();
    let mut random = Random::new(3);
    for turn in 0..50_i64 {
        for (index, client) in subscribers.iter_mut().enumerate() {
            let requests = keys.iter().flat_map(|key| {
                let tagged = format!("{{{key}}}{index}");
                let one = encode_words(&format!("INCR {tagged}"));
                [one, encode_words(&format!("MGET {tagged} {}", keys[0]))].concat()
            });
            client.send(requests.collect::<Vec<u8>>());
        }
        operator.ok(&format!("SHARD MOVE {} {}", random.below(4), random.below(2)));
        for (client, last) in subscribers.iter_mut().zip(&mut last) {
            let mut replies = Vec::new();
            while replies.len() < 2 * keys.len() {
                match client.read().expect("a reply in time") {
                    push @ Value::Push(_) => {
                        let (epoch, _) = read_push(&push);
                        assert!(epoch > *last, "epoch {epoch} after {last}");
                        *last = epoch;
                    }
                    reply => replies.push(reply),
                }
            }
            for pair in replies.chunks(2) {
                assert_eq!(pair[0], Value::Integer(turn + 1));
                assert_eq!(pair[1].elements()[0], Value::bulk((turn + 1).to_string()));
            }
        }
    }
    let after = epoch(&mut operator);
    for (client, last) in subscribers.iter_mut().zip(&mut last) {
        while *last < after {
            *last = next_push(client).0;
        }
        expect_silence(client);
    }
}

/// A client that keeps connections to every core's port and goes by what it is told, and nothing else.
#[test]
fn a_client_that_follows_the_pushes_needs_no_hop() {
    let Some(server) = start(&Launch::shards(SHARDS).cluster()) else { return };
    let keys = keys_over_shards("key", SHARDS, 20);
    let (mut told, mut operator) = (in_resp3(server.client()), server.client());
    let (mut now, mut ranges) = subscribe(&mut told);
    let mut ports: HashMap<u16, Client> = HashMap::new();
    for turn in 0..30_u16 {
        for key in &keys {
            let port = port_of(&ranges, key);
            let client = ports.entry(port).or_insert_with(|| connect(port));
            assert_eq!(client.words(&format!("INCR {key}")), Value::Integer(i64::from(turn) + 1));
        }
        operator.ok(&format!("SHARD MOVE {} {}", turn % SHARDS, turn / SHARDS % 2));
        if epoch(&mut operator) > now {
            (now, ranges) = next_push(&mut told);
        }
    }
    let hops = |name| info_number(&mut server.client(), "ringmain", name);
    assert_eq!((hops("batches_borrowed"), hops("batches_by_message")), (0, 0));
    assert_eq!(info_number(&mut operator, "stats", "total_error_replies"), 0);
}

#[test]
fn subscriptions_end() {
    let Some(server) = start(&Launch::shards(SHARDS).core_ports()) else { return };
    let mut operator = server.client();
    let flags = |client: &mut Client| {
        let info = client.words("CLIENT INFO").text();
        let flags = info.split(' ').find_map(|field| field.strip_prefix("flags="));
        flags.expect("a field").to_owned()
    };
    let mut turn = 0;
    let mut change = |operator: &mut Client| {
        turn += 1;
        let before = epoch(operator);
        operator.ok(&format!("SHARD MOVE 0 {}", turn % 2));
        assert_eq!(epoch(operator), before + 1);
    };
    for end in ["CLIENT TOPOLOGY OFF", "HELLO 2", "RESET"] {
        let mut client = in_resp3(server.client());
        subscribe(&mut client);
        change(&mut operator);
        next_push(&mut client);
        assert_eq!(flags(&mut client), "y");
        assert!(!matches!(client.words(end), Value::Error(_)), "{end}");
        assert_eq!(flags(&mut client), "N");
        change(&mut operator);
        expect_silence(&mut client);
        // Who comes back is told how it is now.
        client.words("HELLO 3");
        assert_eq!(subscribe(&mut client).0, epoch(&mut operator), "after {end}");
    }
    // RESP2 has nothing to push with, and says what to do.
    let mut client = server.client();
    let refused = client.words("CLIENT TOPOLOGY ON");
    assert!(
        refused.error().starts_with("ERR ") && refused.error().contains("HELLO 3"),
        "{refused:?}"
    );
    client.ok("CLIENT TOPOLOGY OFF");
    for nonsense in ["CLIENT TOPOLOGY", "CLIENT TOPOLOGY maybe", "CLIENT TOPOLOGY ON ON"] {
        assert!(matches!(client.words(nonsense), Value::Error(_)), "{nonsense}");
    }
    change(&mut operator);
    expect_silence(&mut client);
    // A push is no reply: it comes to a client that wants no replies as well.
    let mut client = in_resp3(server.client());
    client.send(encode_words("CLIENT REPLY OFF"));
    client.send(encode_words("CLIENT TOPOLOGY ON"));
    next_push(&mut client);
    change(&mut operator);
    next_push(&mut client);
    // A subscriber that goes away leaves nothing behind.
    drop(client);
    change(&mut operator);
    expect_silence(&mut operator);
}

/// Without ports of their own the cores are one node: the epoch rises, the ranges stay.
#[test]
fn without_core_ports_there_is_one_range() {
    let Some(server) = start(&Launch::shards(SHARDS)) else { return };
    let (mut client, mut operator) = (in_resp3(server.client()), server.client());
    let (before, ranges) = subscribe(&mut client);
    let whole = |ranges: &[Range]| {
        let [range] = ranges else { panic!("one range, not {ranges:?}") };
        (range.first, range.last, range.port) == (0, 16_383, server.port().into())
    };
    assert!(whole(&ranges));
    let shards = operator.words("SHARD LIST");
    let core = shards.elements()[0].field("core").integer();
    operator.ok(&format!("SHARD MOVE 0 {}", 1 - core));
    let (after, ranges) = next_push(&mut client);
    assert_eq!(after, before + 1);
    assert!(whole(&ranges));
}

/// What waits for a client that does not read is bounded, and in the end it knows the newest topology.
#[test]
fn a_client_that_does_not_read_is_told_the_newest_only() {
    const MANY: u16 = 256;
    const MOVES: u64 = 2_000;
    let Some(server) = start(&Launch::shards(MANY).core_ports()) else { return };
    let mut operator = server.client();
    // As many ranges as there are shards, so that a push is long.
    (0..MANY).for_each(|shard| operator.ok(&format!("SHARD MOVE {shard} {}", shard % 2)));
    let mut client = in_resp3(connect(server.port() + 1));
    let id = client.words("CLIENT ID").integer();
    let (before, ranges) = subscribe(&mut client);
    assert_eq!(ranges.len(), usize::from(MANY));
    let mut most = 0;
    for turn in 0..MOVES {
        operator.ok(&format!("SHARD MOVE 7 {}", turn % 2));
        if turn % 100 == 0 {
            let line = operator.words(&format!("CLIENT LIST ID {id}")).text();
            let waiting = line.split(' ').find_map(|field| field.strip_prefix("omem="));
            most = most.max(waiting.expect("a field").parse::<u64>().expect("a number"));
        }
    }
    assert!(most < 256 * 1024, "{most} bytes wait for a client that does not read");
    let after = epoch(&mut operator);
    assert!(after > before + MOVES / 2);
    let expected = ranges_of_slots(&mut operator);
    let (mut last, mut pushes) = (before, 0);
    while last < after {
        let (epoch, ranges) = next_push(&mut client);
        assert!(epoch > last);
        assert!(epoch < after || ranges == expected);
        (last, pushes) = (epoch, pushes + 1);
    }
    assert!(pushes < after - before, "{pushes} pushes, {} changes", after - before);
    expect_silence(&mut client);
    wait_for_reply(&mut client, "PING", &Value::Simple("PONG".into()));
    // Others were not held up by it.
    let mut other = in_resp3(server.client());
    assert_eq!(subscribe(&mut other).0, after);
    wait_until("the output is gone", || {
        let line = operator.words(&format!("CLIENT LIST ID {id}")).text();
        line.contains(" omem=0 ")
    });
    assert!(!client.is_readable_within(Duration::from_millis(1)));
}
