//! What waits for what: replies in any order, deadlines, tokens, versions that one of many wins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::binary::{BinaryClient, Reply, Request};
use crate::harness::client::encode_words;
use crate::harness::server::Server;
use crate::harness::{PATIENCE, wait_until};
use crate::{client, greeting, key_of, start};
use ringmain::protocol::binary::body::read_values;
use ringmain::protocol::binary::{Opcode, Status, Token};
use ringmain::types::ShardId;

/// Clients of the first core and a key of each of two cores, unless there is but one.
fn two_cores(server: &Server) -> Option<(BinaryClient, [String; 2])> {
    let mut client = BinaryClient::connect(server.core_address(0));
    if greeting(&mut client).topology.cores.len() < 2 {
        crate::harness::skip("this takes two cores, and this machine has one");
        return None;
    }
    Some((client, [key_of(0, 2, "home"), key_of(1, 2, "away")]))
}

/// Puts the second core to sleep and waits until a request that only this core runs is under way;
/// answers the id of the request.
fn send_to_sleeper(server: &Server, client: &mut BinaryClient, keys: &[String; 2]) -> u32 {
    let mut sleeper = crate::harness::client::Client::connect(server.core_address(1));
    // A look at a long value takes long, and so is the owner's.
    let long = format!("{{{}}}:long", keys[1]);
    client.set(&long, &"x".repeat(100_000));
    sleeper.send(encode_words("DEBUG SLEEP 1"));
    let started = std::time::Instant::now();
    loop {
        assert!(started.elapsed() < PATIENCE, "the core does not sleep");
        // It waits there for its turn.
        let away = Request::command(&format!("BITCOUNT {long}"));
        let ids = client.send(&[away, Request::keyed(Opcode::Get, &keys[0], "")]);
        let first = client.next().expect("the server answers");
        if first.head.id == ids[0] {
            assert_eq!(client.next().expect("the server answers").head.id, ids[1]);
            continue;
        }
        // It may just have been busy for a moment.
        (0..50).for_each(|_| drop(client.get(&keys[0])));
        if !client.has_come(ids[0]) {
            return ids[0];
        }
        client.reply(ids[0]);
    }
}

#[test]
fn a_reply_does_not_wait_for_one_that_takes_longer() {
    let server = start(2);
    let Some((mut client, keys)) = two_cores(&server) else { return };
    for key in &keys {
        client.set(key, "before");
    }
    let late = send_to_sleeper(&server, &mut client, &keys);
    // For the shard that can't be had: in the order sent, behind one another. For the other: at once.
    let set = client.send(&[Request::keyed(Opcode::Set, &keys[1], "after")])[0];
    let get = client.send(&[Request::keyed(Opcode::Get, &keys[1], "")])[0];
    let hurried = Request::keyed(Opcode::Set, &keys[1], "too late").deadline(1000);
    let hurried = client.send(&[hurried])[0];
    assert_eq!(client.get(&keys[0]).text(), "before");
    assert_eq!(client.one(Request::plain(Opcode::Ping, "", "p")).text(), "p");
    let order: Vec<Reply> = (0..4).map(|_| client.next().unwrap()).collect();
    assert_eq!(
        order.iter().map(|reply| reply.head.id).collect::<Vec<_>>(),
        [late, set, get, hurried]
    );
    let statuses: Vec<_> = order.iter().map(Reply::status).collect();
    assert_eq!(statuses, [Status::Ok, Status::Ok, Status::Ok, Status::DeadlineExceeded]);
    assert_eq!((order[0].text().as_str(), order[2].text().as_str()), (":400000\r\n", "after"));
    assert_eq!(client.get(&keys[1]).text(), "after", "what came too late was not done");
}

#[test]
fn what_needs_all_shards_waits_for_what_was_sent_before() {
    let server = start(2);
    let Some((mut client, keys)) = two_cores(&server) else { return };
    let late = send_to_sleeper(&server, &mut client, &keys);
    let ids = client.send(&[
        Request::keyed(Opcode::Set, &keys[1], "1"),
        Request::many(Opcode::GetMany, &keys),
        Request::command(&format!("EXISTS {} {}", keys[0], keys[1])),
        Request::keyed(Opcode::Get, &keys[1], ""),
    ]);
    assert_eq!(client.next().unwrap().head.id, late);
    let values = client.reply(ids[1]).ok();
    let values = read_values(&values.body).unwrap();
    assert_eq!(values[1].map(|found| found.value), Some(&b"1"[..]));
    assert_eq!(client.reply(ids[2]).text(), ":1\r\n");
    assert_eq!(client.reply(ids[3]).text(), "1");
}

#[test]
fn a_deadline_counts_what_a_pause_takes() {
    let server = start(1);
    let (mut client, mut admin) = (client(&server), server.client());
    client.set("k", "v");
    admin.ok("CLIENT PAUSE 60000 WRITE");
    let ids = client.send(&[
        Request::keyed(Opcode::Set, "k", "late").deadline(1),
        Request::keyed(Opcode::Set, "k", "in time").deadline(60_000_000),
        Request::keyed(Opcode::Get, "k", ""),
    ]);
    wait_until("the client is held", || {
        admin.words("INFO clients").text().contains("blocked_clients:1\r\n")
    });
    std::thread::sleep(Duration::from_millis(2));
    admin.ok("CLIENT UNPAUSE");
    assert_eq!(client.reply(ids[0]).status(), Status::DeadlineExceeded);
    assert_eq!(client.reply(ids[1]).status(), Status::Ok);
    assert_eq!(client.reply(ids[2]).text(), "in time");
}

#[test]
fn what_is_not_durable_enough_is_not_done() {
    let server = start(2);
    let mut client = client(&server);
    let set = |level| Request::keyed(Opcode::Set, "k", "v").durability(level);
    for level in [2, 3] {
        let reply = client.one(set(level));
        assert_eq!(reply.status(), Status::DurabilityUnavailable);
        assert!(
            reply.text().contains(["async", "sync"][usize::from(level) - 2]),
            "{}",
            reply.text()
        );
        let many = Request::many(Opcode::SetMany, &["k", "v"]).durability(level);
        assert_eq!(client.one(many).status(), Status::DurabilityUnavailable);
        let escape = Request::command("SET k v").durability(level);
        assert_eq!(client.one(escape).status(), Status::DurabilityUnavailable);
        // A read is as durable as it can be.
        let read = Request::keyed(Opcode::Get, "k", "").durability(level);
        assert_eq!(client.one(read).status(), Status::NotFound);
    }
    assert_eq!(client.one(set(4)).status(), Status::BadRequest);
    for level in [0, 1] {
        client.one(set(level)).ok();
    }
}

#[test]
fn a_session_token_is_reached_old_or_not_of_this_shard() {
    let server = start(4);
    let mut client = client(&server);
    let life = greeting(&mut client).life;
    let keys: Vec<String> = (0..4).map(|shard| key_of(shard, 4, "t")).collect();
    let token = client.set(&keys[2], "v").token();
    assert_eq!(token.shard, ShardId(2));
    assert!(token.sequence > life);
    let get = |key: &str, token| Request::keyed(Opcode::Get, key, "").token(token);
    let status = |client: &mut BinaryClient, request| client.one(request).status();
    assert_eq!(client.one(get(&keys[2], token)).text(), "v");
    let ahead = Token { sequence: token.sequence + 1, ..token };
    assert_eq!(status(&mut client, get(&keys[2], ahead)), Status::TokenNotReached);
    let old = Token { sequence: life, ..token };
    assert_eq!(status(&mut client, get(&keys[2], old)), Status::TokenExpired);
    // Of other shards nothing is said.
    assert_eq!(status(&mut client, get(&keys[1], ahead)), Status::NotFound);
    assert_eq!(
        status(&mut client, get(&keys[1], Token { shard: ShardId(999), sequence: 1 })),
        Status::NotFound
    );
    for request in [
        Request::many(Opcode::GetMany, &keys),
        Request::command(&format!("MGET {}", keys.join(" "))),
    ] {
        assert_eq!(status(&mut client, request.clone().token(token)), Status::Ok);
        assert_eq!(status(&mut client, request.clone().token(ahead)), Status::TokenNotReached);
        assert_eq!(status(&mut client, request.token(old)), Status::TokenExpired);
    }
    let escape = Request::command(&format!("SET {} w", keys[2]));
    let later = client.one(escape).ok().token();
    assert_eq!(later, ahead);
    assert_eq!(client.one(get(&keys[2], ahead)).text(), "w");
    // Across a restart.
    drop(server);
    let again = start(4);
    let mut client = BinaryClient::connect(again.binary_address());
    assert_eq!(status(&mut client, get(&keys[2], ahead)), Status::TokenExpired);
}

#[test]
fn exactly_one_wins_each_version() {
    const SWAPS: u64 = 200;
    let server = start(2);
    let won = AtomicU64::new(0);
    client(&server).set("counter", "0");
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (server, won) = (&server, &won);
            scope.spawn(move || {
                let address = [server.binary_address(), server.core_address(0)][number % 2];
                let mut client = BinaryClient::connect(address);
                let mut mine = 0;
                while mine < SWAPS {
                    let read = client.get("counter").ok();
                    let next = read.text().parse::<u64>().unwrap() + 1;
                    let swap = Request::keyed(Opcode::CompareAndSwap, "counter", next.to_string());
                    match client.one(swap.version(read.head.version)).status() {
                        Status::Ok => mine += 1,
                        status => assert_eq!(status, Status::VersionMismatch),
                    }
                }
                won.fetch_add(mine, Ordering::Relaxed);
            });
        }
    });
    let count = client(&server).get("counter").text();
    assert_eq!(count, won.load(Ordering::Relaxed).to_string(), "no swap was lost");
}
