//! Commands over several shards happen at one moment: no client ever sees half of one, nobody waits for
//! ever, and nobody is passed over.
//!
//! Each test lets clients write the same keys in different shards at once while others look. That the
//! detectors detect is tested too, with the same changes made in separate commands.
//!
//! `RINGMAIN_ATOMIC_SECONDS=60` lets each test run longer than its two seconds.

mod harness;

use harness::client::{Client, encode};
use harness::random::Random;
use harness::server::{Launch, Server};
use harness::slots::keys_over_shards;
use harness::value::Value;
use harness::{Raise, number_from_env};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SHARDS: u16 = 4;

/// What one client does again and again; true if it saw something that must not be.
type Turn<'a> = Box<dyn FnMut(&mut Client, &mut Random) -> bool + Send + 'a>;

/// Lets all take turns at once, each on a connection of its own. Gives how often something was seen that
/// must not be.
///
/// # Panics
/// If a reply does not come in time, as in a deadlock, or if one client gets far fewer turns than others
/// that do the same.
fn run_at_once<'a>(server: &Server, groups: Vec<Vec<Turn<'a>>>) -> u64 {
    let seconds = number_from_env("RINGMAIN_ATOMIC_SECONDS").unwrap_or(2);
    let barrier = Barrier::new(groups.iter().map(Vec::len).sum());
    let wrong = AtomicU64::new(0);
    let counts: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let mut seed = 0;
        let mut start = |mut turn: Turn<'a>| {
            seed += 1;
            let mut random = Random::new(seed);
            let mut client = server.client();
            let (barrier, wrong) = (&barrier, &wrong);
            scope.spawn(move || {
                barrier.wait();
                let started = Instant::now();
                let mut turns = 0;
                while started.elapsed() < Duration::from_secs(seconds) {
                    wrong.fetch_add(u64::from(turn(&mut client, &mut random)), Ordering::Relaxed);
                    turns += 1;
                }
                turns
            })
        };
        let threads: Vec<Vec<_>> =
            groups.into_iter().map(|group| group.into_iter().map(&mut start).collect()).collect();
        let join = |group: Vec<std::thread::ScopedJoinHandle<'_, u64>>| {
            group.into_iter().map(|thread| thread.join().expect("a client")).collect()
        };
        threads.into_iter().map(join).collect()
    });
    for group in &counts {
        let mean = group.iter().sum::<u64>() / group.len() as u64;
        let least = *group.iter().min().expect("a group has clients");
        println!("turns {group:?}");
        assert!(least >= 5 && least >= mean / 20, "a client was passed over: {counts:?}");
    }
    wrong.into_inner()
}

/// `clients` times the same.
fn group<'a, F>(clients: usize, turn: impl Fn(usize) -> F) -> Vec<Turn<'a>>
where
    F: FnMut(&mut Client, &mut Random) -> bool + Send + 'a,
{
    (0..clients).map(|index| Box::new(turn(index)) as Turn<'a>).collect()
}

/// `keys` in a random order, so that clients meet one another's shards from all sides.
fn shuffled<'k>(keys: &'k [String], random: &mut Random) -> Vec<&'k str> {
    let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for index in (1..keys.len()).rev() {
        keys.swap(index, random.index(index + 1));
    }
    keys
}

fn request(name: &str, rest: &[&str]) -> Vec<u8> {
    encode(&[&[name], rest].concat())
}

/// `MSET` of the same new value to all of `keys`.
fn mset_all(keys: &[String], random: &mut Random) -> Vec<u8> {
    let value = format!("{:016x}", random.next());
    let pairs: Vec<&str> =
        shuffled(keys, random).into_iter().flat_map(|key| [key, value.as_str()]).collect();
    request("MSET", &pairs)
}

/// Whether the values in a reply to `MGET` are not all the same.
fn is_mixed(reply: &Value) -> bool {
    reply.elements().windows(2).any(|pair| pair[0] != pair[1])
}

fn read(client: &mut Client) -> Value {
    client.read().expect("a reply in time")
}

/// Sends `depth` requests in one write and applies `look` to the replies.
fn pipeline(
    client: &mut Client,
    depth: usize,
    mut make: impl FnMut() -> Vec<u8>,
    mut look: impl FnMut(&Value) -> bool,
) -> bool {
    let requests: Vec<u8> = (0..depth).flat_map(|_| make()).collect();
    client.send(requests);
    let mut wrong = false;
    for _ in 0..depth {
        wrong |= look(&read(client));
    }
    wrong
}

fn mget_readers<'a>(clients: usize, keys: &'a [String]) -> Vec<Turn<'a>> {
    group(clients, |index| {
        // Half of them pipeline.
        let depth = if index % 2 == 0 { 1 } else { 16 };
        move |client: &mut Client, random: &mut Random| {
            let make = || request("MGET", &shuffled(keys, random));
            pipeline(client, depth, make, is_mixed)
        }
    })
}

#[test]
fn mset_is_seen_whole() {
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("k", SHARDS, 6);
    let writers = group(4, |index| {
        let depth = if index % 2 == 0 { 1 } else { 16 };
        let keys = &keys;
        move |client: &mut Client, random: &mut Random| {
            pipeline(client, depth, || mset_all(keys, random), |reply| *reply != Value::ok())
        }
    });
    assert_eq!(run_at_once(&server, vec![writers, mget_readers(4, &keys)]), 0);
}

/// The same readers do see halves when the writers set the keys one after another.
#[test]
fn separate_sets_are_seen_in_halves() {
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("k", SHARDS, 6);
    let writers = group(4, |_| {
        let keys = &keys;
        move |client: &mut Client, random: &mut Random| {
            let value = format!("{:016x}", random.next());
            shuffled(keys, random).into_iter().any(|key| {
                client.request(&["SET", key, &value]);
                read(client) != Value::ok()
            })
        }
    });
    assert_ne!(run_at_once(&server, vec![writers, mget_readers(4, &keys)]), 0);
}

/// Sees a key that is in none of two places, in both, or has another value.
fn place_readers<'a>(clients: usize, keys: &'a [String]) -> Vec<Turn<'a>> {
    group(clients, |index| {
        move |client: &mut Client, random: &mut Random| {
            if index % 2 == 0 {
                let make = || request("EXISTS", &shuffled(keys, random));
                return pipeline(client, 4, make, |reply| *reply != Value::Integer(1));
            }
            let make = || request("MGET", &shuffled(keys, random));
            pipeline(client, 4, make, |reply| {
                let found = reply.elements().iter().filter(|item| !item.is_null());
                found.collect::<Vec<_>>() != [&Value::bulk("traveller")]
            })
        }
    })
}

#[test]
fn a_renamed_key_is_always_in_one_place() {
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("place", SHARDS, 3);
    server.client().ok(&format!("SET {} traveller", keys[0]));
    let movers = group(4, |index| {
        let name = if index % 2 == 0 { "RENAME" } else { "RENAMENX" };
        let keys = &keys;
        move |client: &mut Client, random: &mut Random| {
            let make = || {
                let order = shuffled(keys, random);
                request(name, &order[..2])
            };
            pipeline(client, 4, make, |reply| match reply {
                Value::Error(text) => text != "ERR no such key",
                reply => ![Value::ok(), Value::Integer(1)].contains(reply),
            })
        }
    });
    assert_eq!(run_at_once(&server, vec![movers, place_readers(4, &keys)]), 0);
}

/// The same readers do see a key in two places or none when it is moved step by step.
#[test]
fn a_key_moved_step_by_step_is_seen_elsewhere() {
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("place", SHARDS, 3);
    server.client().ok(&format!("SET {} traveller", keys[0]));
    let movers = group(1, |_| {
        let keys = &keys;
        let mut at = 0;
        move |client: &mut Client, _: &mut Random| {
            let to = (at + 1) % keys.len();
            client.ok(&format!("SET {} traveller", keys[to]));
            client.words(&format!("DEL {}", keys[at]));
            at = to;
            false
        }
    });
    assert_ne!(run_at_once(&server, vec![movers, place_readers(4, &keys)]), 0);
}

/// All `keys` are always set to the same, all together, so that a copy of one over another changes nothing, unless
/// it brings an old value: counts how often readers see that one of the `copiers` did.
fn old_values_seen<'a>(server: &Server, keys: &'a [String], copiers: Vec<Turn<'a>>) -> u64 {
    let mut client = server.client();
    client.send(mset_all(keys, &mut Random::new(0)));
    assert_eq!(read(&mut client), Value::ok());
    let writers = group(2, |_| {
        move |client: &mut Client, random: &mut Random| {
            pipeline(client, 4, || mset_all(keys, random), |reply| *reply != Value::ok())
        }
    });
    run_at_once(server, vec![writers, copiers, mget_readers(3, keys)])
}

#[test]
fn a_copy_is_taken_whole() {
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("k", SHARDS, 3);
    let copiers = group(3, |_| {
        let keys = &keys;
        move |client: &mut Client, random: &mut Random| {
            let make = || {
                let order = shuffled(keys, random);
                request("COPY", &[order[0], order[1], "REPLACE"])
            };
            pipeline(client, 4, make, |reply| *reply != Value::Integer(1))
        }
    });
    assert_eq!(old_values_seen(&server, &keys, copiers), 0);
}

/// The same readers do see old values when they are read first and written then.
#[test]
fn a_copy_in_two_steps_brings_old_values() {
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("k", SHARDS, 3);
    let copiers = group(3, |_| {
        let keys = &keys;
        move |client: &mut Client, random: &mut Random| {
            let order = shuffled(keys, random);
            let value = client.command(&["GET", order[0]]).text();
            client.command(&["SET", order[1], &value]) != Value::ok()
        }
    });
    assert_ne!(old_values_seen(&server, &keys, copiers), 0);
}

/// Runs requests in one transaction; gives their replies.
fn run_transaction(client: &mut Client, requests: &[Vec<u8>]) -> Vec<Value> {
    client.send([request("MULTI", &[]), requests.concat(), request("EXEC", &[])].concat());
    assert_eq!(read(client), Value::ok());
    requests.iter().for_each(|_| assert_eq!(read(client), Value::Simple("QUEUED".into())));
    read(client).elements().to_vec()
}

/// Sees elements that are not in exactly one of several collections, by one transaction that reads them all.
fn element_readers<'a>(
    clients: usize,
    keys: &'a [String],
    reading: &'a [&'a str],
    elements: usize,
) -> Vec<Turn<'a>> {
    group(clients, |_| {
        move |client: &mut Client, random: &mut Random| {
            let order = shuffled(keys, random);
            let requests: Vec<Vec<u8>> = order
                .iter()
                .map(|key| request(reading[0], &[&[*key], &reading[1..]].concat()))
                .collect();
            let replies = run_transaction(client, &requests);
            let mut found: Vec<String> =
                replies.iter().flat_map(Value::elements).map(Value::text).collect();
            found.sort();
            found != (0..elements).map(|number| format!("element{number}")).collect::<Vec<_>>()
        }
    })
}

const ELEMENTS: usize = 5;

/// The arguments that name all elements.
fn all_elements() -> Vec<String> {
    (0..ELEMENTS).map(|number| format!("element{number}")).collect()
}

fn put_all(server: &Server, name: &str, key: &str) {
    let elements = all_elements();
    let elements = elements.iter().map(String::as_str);
    let args: Vec<&str> = [name, key].into_iter().chain(elements).collect();
    let reply = server.client().command(&args);
    assert_eq!(reply, Value::Integer(ELEMENTS as i64));
}

#[test]
fn a_member_moved_between_sets_is_always_in_one() {
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("set", SHARDS, 3);
    put_all(&server, "SADD", &keys[0]);
    let movers = group(3, |_| {
        let keys = &keys;
        move |client: &mut Client, random: &mut Random| {
            let make = || {
                let member = format!("element{}", random.index(ELEMENTS));
                let order = shuffled(keys, random);
                request("SMOVE", &[order[0], order[1], &member])
            };
            pipeline(client, 4, make, |reply| !matches!(reply, Value::Integer(0 | 1)))
        }
    });
    let readers = element_readers(3, &keys, &["SMEMBERS"], ELEMENTS);
    // One command over all the sets sees the same.
    let counters = group(1, |_| {
        let keys = &keys;
        move |client: &mut Client, random: &mut Random| {
            let make = || request("SUNION", &shuffled(keys, random));
            pipeline(client, 4, make, |reply| reply.elements().len() != ELEMENTS)
        }
    });
    assert_eq!(run_at_once(&server, vec![movers, readers, counters]), 0);
}

#[test]
fn an_element_moved_between_lists_is_always_in_one() {
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("list", SHARDS, 3);
    put_all(&server, "RPUSH", &keys[0]);
    let movers = group(3, |index| {
        let keys = &keys;
        move |client: &mut Client, random: &mut Random| {
            let make = || {
                let order = shuffled(keys, random);
                match index {
                    0 => request("RPOPLPUSH", &order[..2]),
                    1 => request("BLMOVE", &[order[0], order[1], "RIGHT", "LEFT", "0.001"]),
                    _ => request("LMOVE", &[order[0], order[1], "LEFT", "RIGHT"]),
                }
            };
            pipeline(client, 4, make, |reply| matches!(reply, Value::Error(_)))
        }
    });
    let readers = element_readers(4, &keys, &["LRANGE", "0", "-1"], ELEMENTS);
    assert_eq!(run_at_once(&server, vec![movers, readers]), 0);
}

/// The same readers do see a member in two sets or none when it is moved step by step.
#[test]
fn a_member_moved_step_by_step_is_seen_elsewhere() {
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("set", SHARDS, 3);
    put_all(&server, "SADD", &keys[0]);
    let movers = group(1, |_| {
        let keys = &keys;
        let mut at = 0;
        move |client: &mut Client, _: &mut Random| {
            let to = (at + 1) % keys.len();
            for element in all_elements() {
                client.words(&format!("SREM {} {element}", keys[at]));
                client.words(&format!("SADD {} {element}", keys[to]));
            }
            at = to;
            false
        }
    });
    let readers = element_readers(4, &keys, &["SMEMBERS"], ELEMENTS);
    assert_ne!(run_at_once(&server, vec![movers, readers]), 0);
}

#[test]
fn a_renamed_collection_is_always_in_one_place() {
    let server = Launch::shards(SHARDS).start();
    for (put, reading) in [("RPUSH", &["LRANGE", "0", "-1"][..]), ("SADD", &["SMEMBERS"])] {
        let keys = keys_over_shards(put, SHARDS, 3);
        put_all(&server, put, &keys[0]);
        let movers = group(3, |index| {
            let name = if index % 2 == 0 { "RENAME" } else { "RENAMENX" };
            let keys = &keys;
            move |client: &mut Client, random: &mut Random| {
                let make = || request(name, &shuffled(keys, random)[..2]);
                pipeline(client, 4, make, |reply| match reply {
                    Value::Error(text) => text != "ERR no such key",
                    reply => ![Value::ok(), Value::Integer(1)].contains(reply),
                })
            }
        });
        let readers = element_readers(3, &keys, reading, ELEMENTS);
        assert_eq!(run_at_once(&server, vec![movers, readers]), 0, "{put}");
    }
}

/// The two sources of a store always have the same one member if they are changed together, and so has what is
/// stored of them. Counts how often that is not so, to who stores or to who reads it.
fn halves_stored(names: [&str; 2], put: &str, reading: &[&str], is_together: bool) -> u64 {
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("source", SHARDS, 3);
    let (sources, to) = (&keys[..2], keys[2].as_str());
    let is_sorted = put == "ZADD";
    let fill = |keys: &[String], random: &mut Random| -> Vec<Vec<u8>> {
        let member = format!("{:016x}", random.next());
        let rest: &[&str] = if is_sorted { &["1", &member] } else { &[&member] };
        let of_key = |key: &String| {
            [request("DEL", &[key]), request(put, &[&[key.as_str()], rest].concat())]
        };
        keys.iter().flat_map(of_key).collect()
    };
    run_transaction(&mut server.client(), &fill(&keys, &mut Random::new(0)));
    let writers = group(1, |_| {
        let fill = &fill;
        move |client: &mut Client, random: &mut Random| {
            let requests = fill(sources, random);
            if is_together {
                return run_transaction(client, &requests).len() != requests.len();
            }
            for request in requests {
                client.send(request);
                read(client);
            }
            false
        }
    });
    let storers = group(2, |index| {
        move |client: &mut Client, random: &mut Random| {
            let make = || {
                let count: &[&str] = if is_sorted { &["2"] } else { &[] };
                let order = shuffled(sources, random);
                request(names[index], &[&[to], count, &order].concat())
            };
            // A union of two that differ has more members than one, an intersection less.
            pipeline(client, 4, make, |reply| *reply != Value::Integer(1))
        }
    });
    let readers = group(3, |_| {
        move |client: &mut Client, _: &mut Random| {
            let make = || request(reading[0], &[&[to], &reading[1..]].concat());
            pipeline(client, 4, make, |reply| reply.elements().len() != 1)
        }
    });
    run_at_once(&server, vec![writers, storers, readers])
}

#[test]
fn sets_are_stored_of_one_moment() {
    assert_eq!(halves_stored(["SUNIONSTORE", "SINTERSTORE"], "SADD", &["SMEMBERS"], true), 0);
}

#[test]
fn sorted_sets_are_stored_of_one_moment() {
    let reading = ["ZRANGE", "0", "-1"];
    assert_eq!(halves_stored(["ZUNIONSTORE", "ZINTERSTORE"], "ZADD", &reading, true), 0);
}

/// The same clients do see halves when the sources change one after another.
#[test]
fn sources_that_change_one_by_one_are_stored_in_halves() {
    assert_ne!(halves_stored(["SUNIONSTORE", "SINTERSTORE"], "SADD", &["SMEMBERS"], false), 0);
}

/// What one client wants to set in a round, and what it has to say of it.
struct Attempt {
    keys: Vec<String>,
    value: String,
}

impl Attempt {
    /// `name` with the keys in a random order, each followed by the value.
    fn request(&self, name: &str, random: &mut Random) -> Vec<u8> {
        let order = shuffled(&self.keys, random);
        let pairs: Vec<&str> = order.into_iter().flat_map(|key| [key, &self.value]).collect();
        request(name, &pairs)
    }

    /// Whether not all of its keys are as they must be when it has won, or lost to `winner`: then the shared ones
    /// are the winner's, and nothing is left of it.
    fn is_seen_in_part(&self, client: &mut Client, winner: &str) -> bool {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        client.send(request("MGET", &keys));
        let reply = read(client);
        let (shared, own) = reply.elements().split_at(2);
        let has_won = self.value == winner;
        let is_right = |value: &Value| {
            if has_won { *value == Value::bulk(winner) } else { value.is_null() }
        };
        !shared.iter().all(|value| *value == Value::bulk(winner)) || !own.iter().all(is_right)
    }
}

/// Lets clients try for the same keys, round by round; `race` answers which of them were told that they have got
/// theirs. Counts the rounds in which it was not exactly one, or an attempt is seen in part.
fn rounds_without_one_winner(
    server: &Server,
    race: impl Fn(&mut [Client], &[Attempt], &mut Random) -> Vec<bool>,
) -> usize {
    const CLIENTS: usize = 6;
    const ROUNDS: usize = 300;
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
    let mut client = server.client();
    let mut random = Random::new(5);
    let is_wrong = |round: &usize| {
        let attempt =
            |index| Attempt { keys: contested_keys(*round, index), value: index.to_string() };
        let attempts: Vec<Attempt> = (0..CLIENTS).map(attempt).collect();
        // Another asks first.
        clients.rotate_left(random.index(CLIENTS));
        let won = race(&mut clients, &attempts, &mut random);
        let winners: Vec<&Attempt> =
            attempts.iter().zip(won).filter(|(_, won)| *won).map(|(attempt, _)| attempt).collect();
        let [winner] = winners[..] else { return true };
        attempts.iter().any(|attempt| attempt.is_seen_in_part(&mut client, &winner.value))
    };
    (0..ROUNDS).filter(is_wrong).count()
}

#[test]
fn msetnx_has_one_winner() {
    let server = Launch::shards(SHARDS).start();
    let wrong = rounds_without_one_winner(&server, |clients, attempts, random| {
        // All are asked before any is heard.
        for (client, attempt) in clients.iter_mut().zip(attempts) {
            client.send(attempt.request("MSETNX", random));
        }
        clients.iter_mut().map(|client| read(client) == Value::Integer(1)).collect()
    });
    assert_eq!(wrong, 0);
}

/// The same rounds do go wrong when each key is set, if it is not there, by a command of its own.
#[test]
fn separate_setnx_leave_halves() {
    let server = Launch::shards(SHARDS).start();
    let wrong = rounds_without_one_winner(&server, |clients, attempts, random| {
        for (client, attempt) in clients.iter_mut().zip(attempts) {
            for key in shuffled(&attempt.keys, random) {
                client.request(&["SETNX", key, &attempt.value]);
            }
        }
        let has_all = |(client, attempt): (&mut Client, &Attempt)| {
            attempt.keys.iter().filter(|_| read(client) == Value::Integer(1)).count()
                == attempt.keys.len()
        };
        clients.iter_mut().zip(attempts).map(has_all).collect()
    });
    assert_ne!(wrong, 0);
}

/// Two keys that all clients want in this round, and two that only this one does.
fn contested_keys(round: usize, index: usize) -> Vec<String> {
    let shared = keys_over_shards(&format!("r{round}:"), SHARDS, 2);
    let own = keys_over_shards(&format!("r{round}c{index}:"), SHARDS, 4);
    [shared, own[2..].to_vec()].concat()
}

/// Everything that takes several shards, at once, in every order.
#[test]
fn all_at_once_nobody_waits_for_ever() {
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("k", SHARDS, 12);
    let over_several = group(6, |_| {
        let keys = &keys;
        move |client: &mut Client, random: &mut Random| {
            let make = || {
                let order = shuffled(keys, random);
                let some = &order[..1 + random.index(order.len())];
                match random.below(12) {
                    0 | 1 => mset_all(keys, random),
                    2 => request("MGET", some),
                    3 => request("DEL", some),
                    4 => request("EXISTS", some),
                    5 => request("RENAME", &order[..2]),
                    6 => request("COPY", &[order[0], order[1], "REPLACE"]),
                    7 => request("MSETNX", &[order[0], "v", order[1], "w"]),
                    8 => request("BITOP", &["XOR", order[0], order[1], order[2]]),
                    9 => request("KEYS", &["*"]),
                    10 => request("DBSIZE", &[]),
                    _ => request("FLUSHALL", &[]),
                }
            };
            pipeline(client, 8, make, |_| false)
        }
    });
    let over_one = group(4, |_| {
        let keys = &keys;
        move |client: &mut Client, random: &mut Random| {
            let make = || {
                let key = random.pick(keys).clone();
                match random.below(3) {
                    0 => request("GET", &[&key]),
                    1 => request("SET", &[&key, "v"]),
                    _ => request("SETBIT", &[&key, "7", "1"]),
                }
            };
            pipeline(client, 8, make, |_| false)
        }
    });
    run_at_once(&server, vec![over_several, over_one]);
    assert_eq!(server.client().words("PING"), Value::Simple("PONG".into()));
}

/// Clients that hold all shards again and again do not shut out one that wants a single key.
#[test]
fn single_keys_are_served_between_commands_over_all_shards() {
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("k", SHARDS, 40);
    let finished = AtomicBool::new(false);
    let slowest = std::thread::scope(|scope| {
        let finish = Raise(&finished);
        for seed in 0..3 {
            let (server, keys, finished) = (&server, &keys, &finished);
            scope.spawn(move || {
                let mut client = server.client();
                let mut random = Random::new(seed);
                while !finished.load(Ordering::Relaxed) {
                    pipeline(&mut client, 32, || mset_all(keys, &mut random), |_| false);
                }
            });
        }
        let mut client = server.client();
        let mut slowest = Duration::ZERO;
        for round in 0..500 {
            let started = Instant::now();
            client.words(&format!("GET {}", keys[round % keys.len()]));
            slowest = slowest.max(started.elapsed());
        }
        drop(finish);
        slowest
    });
    println!("slowest of 500: {slowest:?}");
    // Generous: a loaded machine, two processors, a debug build.
    assert!(slowest < Duration::from_secs(5), "a GET took {slowest:?}");
}

/// A command that may take long goes another way to its shard than a short one; neither overtakes the
/// other, in one pipeline or from one to the next.
#[test]
fn long_and_short_commands_of_a_client_keep_their_order() {
    const BITS: usize = 40;
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("bits", SHARDS, 8);
    let turn = |keys: Vec<String>| -> Turn<'_> {
        Box::new(move |client, random| {
            let mut requests = Vec::new();
            let mut expected = Vec::new();
            for key in &keys {
                requests.extend(encode(&["DEL", key]));
                expected.push(None);
            }
            for bit in 0..BITS {
                for key in &keys {
                    let at = bit.to_string();
                    requests.extend(encode(&["SETBIT", key, &at, "1"]));
                    expected.push(Some(0));
                    requests.extend(encode(&["BITCOUNT", key]));
                    expected.push(Some(bit + 1));
                    requests.extend(encode(&["GETBIT", key, &at]));
                    expected.push(Some(1));
                }
            }
            // In two pieces: the second comes while the first may still be under way.
            let (first, second) = requests.split_at(random.index(requests.len()));
            client.send(first);
            client.send(second);
            let mut wrong = false;
            for expected in expected {
                let got = client.read().expect("a reply").integer();
                wrong |= expected.is_some_and(|expected| i64::try_from(expected) != Ok(got));
            }
            wrong
        })
    };
    let clients =
        (0..4).map(|client| turn(keys.iter().map(|key| format!("{{{key}}}{client}")).collect()));
    assert_eq!(run_at_once(&server, vec![clients.collect()]), 0);
}
