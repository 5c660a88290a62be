//! Many clients at once: nothing is lost, nothing given twice.
//!
//! `BLOCKING_SECONDS=60` has them go on for that long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Player;
use super::harness::client::{Client, encode_words, info_number};
use super::harness::random::Random;
use super::harness::server::{Launch, Server, is_other_server, skip_on_other_server};
use super::harness::slots::keys_over_shards;
use super::harness::value::Value;
use super::harness::{number_from_env, wait_until};

/// What a client of the stress test has been given, and how it is treated.
#[derive(Debug, Default)]
struct Tally {
    /// What was popped, by key, in the order in which each client got it.
    popped: Mutex<Vec<(String, u64)>>,
    pushed: AtomicU64,
    is_over: AtomicBool,
}

/// Producers push numbers in order to lists over all shards; consumers wait for them in all ways, with timeouts, and
/// are unblocked and killed; every number is popped once or is still there.
#[test]
fn everything_pushed_is_popped_once_or_still_there() {
    const KEYS: usize = 6;
    let seconds = number_from_env("BLOCKING_SECONDS").unwrap_or(3);
    for shards in [1, 4] {
        let server = Launch::shards(shards).start();
        let keys = keys_over_shards("k", shards, KEYS);
        let tally = Tally::default();
        let ids: Mutex<BTreeMap<usize, i64>> = Mutex::default();
        let end = Instant::now() + Duration::from_secs(seconds);
        thread::scope(|scope| {
            let producers: Vec<_> = (0..2)
                .map(|number| {
                    let (server, keys, tally) = (&server, &keys, &tally);
                    scope.spawn(move || produce(server, keys, tally, number, end))
                })
                .collect();
            let (server, keys, tally, ids) = (&server, &keys, &tally, &ids);
            for number in 0..6 {
                scope.spawn(move || consume(server, keys, tally, (number, ids)));
            }
            scope.spawn(move || disturb(server, tally, ids));
            producers.into_iter().for_each(|producer| producer.join().expect("a producer"));
            tally.is_over.store(true, Ordering::Relaxed);
        });
        let mut client = server.client();
        let mut all: Vec<u64> =
            tally.popped.lock().expect("a lock").iter().map(|(_, item)| *item).collect();
        let popped = all.len();
        for key in &keys {
            let Value::Array(left) = client.words(&format!("LRANGE {key} 0 -1")) else {
                panic!("a list")
            };
            all.extend(left.iter().map(|item| item.text().parse::<u64>().unwrap()));
        }
        all.sort_unstable();
        let doubles = all.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let pushed = tally.pushed.load(Ordering::Relaxed);
        println!("{shards} shards: {pushed} pushed, {popped} popped");
        assert_eq!(doubles, 0, "given twice");
        assert_eq!(all.len() as u64, pushed, "lost");
        wait_until("nobody waits", || info_number(&mut client, "clients", "blocked_clients") == 0);
        if !is_other_server() {
            wait_until("no key is waited for", || {
                info_number(&mut client, "clients", "total_blocking_keys") == 0
            });
        }
    }
}

fn produce(server: &Server, keys: &[String], tally: &Tally, number: u64, end: Instant) {
    let (mut client, mut random) = (server.client(), Random::new(number));
    while Instant::now() < end {
        let key = &keys[random.index(keys.len() / 2)];
        let other = &keys[random.index(keys.len() / 2)];
        let first = tally.pushed.fetch_add(3, Ordering::Relaxed);
        match random.below(3) {
            0 => {
                let (second, third) = (first + 1, first + 2);
                client.words(&format!("RPUSH {key} {first} {second} {third}"));
            }
            1 => {
                let requests: Vec<u8> = (first..first + 3)
                    .flat_map(|item| encode_words(&format!("RPUSH {key} {item}")))
                    .collect();
                client.send(requests);
                (0..3).for_each(|_| drop(client.read().expect("a reply")));
            }
            _ => {
                client.ok("MULTI");
                for (key, item) in [(key, first), (other, first + 1), (key, first + 2)] {
                    client.words(&format!("RPUSH {key} {item}"));
                }
                client.words("EXEC");
            }
        }
    }
}

/// Takes elements until all is over, and is replaced by another client when it is killed. A client that is killed
/// between its wait and the end of its connection is told nothing of what it was given: such a client asks for
/// elements to be moved to where they are seen rather than given to it.
fn consume(
    server: &Server,
    keys: &[String],
    tally: &Tally,
    (number, ids): (usize, &Mutex<BTreeMap<usize, i64>>),
) {
    let mut random = Random::new(100 + number as u64);
    let (from, to) = keys.split_at(keys.len() / 2);
    let moves = number % 2 == 0;
    while !tally.is_over.load(Ordering::Relaxed) {
        let mut player = Player::of(server.client());
        ids.lock().expect("a lock").insert(number, player.id);
        while !tally.is_over.load(Ordering::Relaxed) {
            let key = &from[random.index(from.len())];
            let timeout = ["0.005", "0.05", "0.2"][random.index(3)];
            let request = match (moves, random.below(3)) {
                (true, 0) => {
                    format!("BRPOPLPUSH {key} {} {timeout}", to[random.index(to.len())])
                }
                (true, _) => {
                    format!("BLMOVE {key} {} LEFT RIGHT {timeout}", to[random.index(to.len())])
                }
                (false, 0) => format!("BLPOP {} {timeout}", from.join(" ")),
                (false, 1) => format!("BRPOP {key} {timeout}"),
                (false, _) => {
                    format!("BLMPOP {timeout} {} {} LEFT COUNT 2", from.len(), from.join(" "))
                }
            };
            if player.client.try_send(encode_words(&request)).is_err() {
                break;
            }
            let Ok(reply) = player.client.read() else { break };
            if let (false, Value::Array(parts)) = (moves, reply) {
                let key = parts[0].text();
                let items = match &parts[1] {
                    Value::Array(items) => items.clone(),
                    item => vec![item.clone()],
                };
                let items = items.iter().map(|item| item.text().parse().expect("a number"));
                tally.popped.lock().expect("a lock").extend(items.map(|item| (key.clone(), item)));
            }
        }
    }
}

/// Unblocks clients, and kills those that move elements.
fn disturb(server: &Server, tally: &Tally, ids: &Mutex<BTreeMap<usize, i64>>) {
    let (mut client, mut random) = (server.client(), Random::new(1));
    while !tally.is_over.load(Ordering::Relaxed) {
        let all: Vec<(usize, i64)> = ids.lock().expect("a lock").clone().into_iter().collect();
        let Some((number, id)) = all.get(random.index(6)) else { continue };
        if number % 2 == 0 && random.one_in(4) {
            client.words(&format!("CLIENT KILL ID {id}"));
        } else {
            let how = if random.one_in(2) { "TIMEOUT" } else { "ERROR" };
            client.words(&format!("CLIENT UNBLOCK {id} {how}"));
        }
    }
}

/// With `sync`, what a client has been given is not there any more after a crash, and what has been pushed is, or has
/// been given to somebody: at most the last of each, whose reply did not get there.
#[test]
fn what_was_given_does_not_come_back_after_a_crash() {
    if skip_on_other_server() {
        return;
    }
    const CONSUMERS: usize = 4;
    for shards in [1, 4] {
        let dir = tempfile::TempDir::with_prefix("ringmain-test-").expect("a temporary folder");
        let launch = Launch::shards(shards).durable("sync").dir(dir.path());
        let mut server = launch.start();
        let keys = keys_over_shards("k", shards, 3);
        let (pushed, popped) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeSet::new()));
        let address = server.address();
        thread::scope(|scope| {
            let (keys, pushed, popped) = (&keys, &pushed, &popped);
            for _ in 0..CONSUMERS {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    let request = encode_words(&format!("BLPOP {} 0.5", keys.join(" ")));
                    while client.try_send(&request).is_ok() {
                        match client.read() {
                            Ok(Value::Array(parts)) => {
                                let item: u64 = parts[1].text().parse().expect("a number");
                                popped.lock().expect("a lock").insert(item);
                            }
                            Ok(_) => {}
                            Err(_) => break,
                        }
                    }
                });
            }
            for number in 0..2 {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    for item in (number..).step_by(2) {
                        let key = &keys[usize::try_from(item).expect("small") % keys.len()];
                        let request = encode_words(&format!("RPUSH {key} {item}"));
                        if client.try_send(&request).is_err() || client.read().is_err() {
                            break;
                        }
                        pushed.lock().expect("a lock").insert(item);
                    }
                });
            }
            wait_until("some are popped", || popped.lock().expect("a lock").len() >= 300);
            server.kill();
        });
        drop(server);
        let server = launch.start();
        let mut client = server.client();
        let (pushed, popped) =
            (pushed.into_inner().expect("a lock"), popped.into_inner().expect("a lock"));
        let mut there = BTreeSet::new();
        for key in &keys {
            let Value::Array(left) = client.words(&format!("LRANGE {key} 0 -1")) else {
                panic!("a list")
            };
            there.extend(left.iter().map(|item| item.text().parse::<u64>().expect("a number")));
        }
        assert!(there.is_disjoint(&popped), "given, and there again");
        let known: BTreeSet<u64> = there.union(&popped).copied().collect();
        let unknown = pushed.difference(&known).count();
        assert!(unknown <= CONSUMERS, "{unknown} of {} are lost", pushed.len());
    }
}
