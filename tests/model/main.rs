//! The same random commands, on keys of all types, against the server and a simple model.
//!
//! Several connections run at once, each over keys of its own, so that each can tell what every reply
//! must be. Their commands travel in pipelines that mix keys of all shards, commands over several keys
//! and failing ones, waits for what does not come and transactions, and the order of the replies is
//! checked with them. At the end of each round a connection looks at all its keys, and at the end of
//! the run all connections together count them. Meanwhile shards move from core to core, where there is more than one.
//!
//! A failure prints the seed: `RINGMAIN_MODEL_SEED=… cargo test --test model` repeats the commands.
//! `RINGMAIN_MODEL_ROUNDS=1000` runs longer.

mod collections;
#[path = "../harness/mod.rs"]
mod harness;
mod hashes;
mod model;
mod transactions;
mod waits;

use collections::Collections;
use harness::client::{Client, encode, info_number, wait_for_reply};
use harness::random::{Random, seed};
use harness::server::{Launch, Server, is_other_server};
use harness::value::{Value, quoted};
use harness::{Raise, number_from_env, wait_until};
use model::{DATABASES, Model, Step};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CONNECTIONS: u64 = 4;

#[test]
fn one_shard() {
    run(1);
}

#[test]
fn two_shards() {
    run(2);
}

#[test]
fn five_shards() {
    run(5);
}

fn run(shards: u16) {
    let seed = seed("RINGMAIN_MODEL_SEED");
    let rounds = number_from_env("RINGMAIN_MODEL_ROUNDS").unwrap_or(40);
    println!("RINGMAIN_MODEL_SEED={seed}");
    let server = Launch::shards(shards).start();
    let done = AtomicBool::new(false);
    let models = std::thread::scope(|scope| {
        scope.spawn(|| move_shards(&server, shards, Random::new(seed), &done));
        let _stops = Raise(&done);
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let client = server.client();
                let random = Random::new(seed.wrapping_add(connection.wrapping_mul(0x9e37_79b9)));
                scope.spawn(move || Player::new(client, connection, random).play(rounds))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a connection")).collect::<Vec<_>>()
    });
    check_all_keys(&server, &models);
}

/// Gives random shards to random cores until the others are done; another server has none.
fn move_shards(server: &Server, shards: u16, mut random: Random, done: &AtomicBool) {
    if is_other_server() {
        return;
    }
    let mut client = server.client();
    let cores = info_number(&mut client, "ringmain", "cores");
    while !done.load(Ordering::Relaxed) {
        let (shard, core) = (random.below(shards.into()), random.below(cores));
        client.ok(&format!("SHARD MOVE {shard} {core}"));
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// When all connections rest: `DBSIZE`, `SCAN` and `KEYS` over all shards say what all models hold.
fn check_all_keys(server: &Server, models: &[(Model, Collections)]) {
    let mut client = server.client();
    for database in 0..DATABASES {
        client.ok(&format!("SELECT {database}"));
        let strings = models.iter().flat_map(|(model, _)| model.keys(database));
        let others = models.iter().flat_map(|(_, others)| others.all(database));
        let expected: HashSet<Vec<u8>> =
            strings.chain(others.map(|(key, _)| key.clone())).collect();
        // A key that was written with a time in the past counts until it is removed.
        let count = i64::try_from(expected.len()).expect("few");
        wait_for_reply(&mut client, "DBSIZE", &Value::Integer(count));
        assert_eq!(scan(&mut client, "*", 7), expected);
        let listed = client.words("KEYS *");
        assert_eq!(listed.elements().len(), expected.len());
        assert_eq!(texts(&listed).collect::<HashSet<_>>(), expected);
    }
}

/// All keys of a pattern that a whole walk answers.
fn scan(client: &mut Client, pattern: &str, count: u64) -> HashSet<Vec<u8>> {
    let keys = harness::client::scan(client, &format!("MATCH {pattern} COUNT {count}"));
    keys.into_iter().map(String::into_bytes).collect()
}

fn texts(reply: &Value) -> impl Iterator<Item = Vec<u8>> {
    reply.elements().iter().map(|item| match item {
        Value::Bulk(bytes) => bytes.clone(),
        other => panic!("a key is a bulk string, not {other:?}"),
    })
}

/// One connection and what it believes.
struct Player {
    client: Client,
    model: Model,
    collections: Collections,
    random: Random,
}

impl Player {
    fn new(client: Client, connection: u64, mut random: Random) -> Self {
        let model = Model::new(&format!("c{connection}:"), random.fork());
        let collections = Collections::new(&format!("t{connection}:"), random.fork());
        Self { client, model, collections, random }
    }

    fn play(mut self, rounds: u64) -> (Model, Collections) {
        for _ in 0..rounds {
            self.pipeline();
            if self.random.one_in(4) {
                self.look_at_all_keys();
            }
        }
        self.look_at_all_keys();
        (self.model, self.collections)
    }

    fn step(&mut self) -> Step {
        if self.random.one_in(2) {
            self.model.step()
        } else {
            self.collections.step(self.model.database())
        }
    }

    /// A few requests, or many, in one write.
    fn pipeline(&mut self) {
        let length = *self.random.pick(&[1, 1, 2, 5, 20, 100, 400]);
        let mut steps = Vec::new();
        while steps.len() < length {
            if self.random.one_in(15) {
                steps.extend(self.transaction(10));
            } else {
                steps.push(self.step());
            }
        }
        let input: Vec<u8> = steps.iter().flat_map(|step| encode(&step.args)).collect();
        self.client.send(input);
        for (index, step) in steps.iter().enumerate() {
            let reply = self.client.read();
            let right = reply.as_ref().is_ok_and(|value| step.expect.holds_for(value));
            assert!(
                right,
                "request {index} of {length}: {}\n  expected {:?}\n  got      {reply:?}",
                step.args.iter().map(|arg| quoted(arg)).collect::<Vec<_>>().join(" "),
                step.expect
            );
        }
    }

    /// Waits for the keys and fields with a short time to live, then compares all values.
    fn look_at_all_keys(&mut self) {
        let Self { client, model, collections, .. } = self;
        for (database, key) in model.take_fading() {
            client.ok(&format!("SELECT {database}"));
            let request = [b"EXISTS".as_slice(), &key];
            wait_until("a key expires", || client.command(&request) == Value::Integer(0));
        }
        for ((database, key), left) in collections.take_fading() {
            client.ok(&format!("SELECT {database}"));
            let (request, left) = ([b"HLEN".as_slice(), &key], i64::try_from(left).expect("few"));
            wait_until("fields expire", || client.command(&request) == Value::Integer(left));
        }
        for database in 0..DATABASES {
            client.ok(&format!("SELECT {database}"));
            let expected: HashSet<Vec<u8>> = model.keys(database).collect();
            let pattern = format!("{}*", model.prefix());
            let listed = client.words(&format!("KEYS {pattern}"));
            assert_eq!(texts(&listed).collect::<HashSet<_>>(), expected, "KEYS in {database}");
            // Others write all the time, and keys of theirs may make the tables grow and shrink.
            assert_eq!(scan(client, &pattern, 10), expected, "SCAN in {database}");
            for key in &expected {
                let got = client.command(&[b"GET".as_slice(), key]);
                assert_eq!(got, Value::bulk(model.value(database, key)), "{}", quoted(key));
            }
            for (key, held) in collections.all(database) {
                let Step { args, expect } = held.shown(key);
                let got = client.command(&args);
                assert!(expect.holds_for(&got), "{}: {got:?}, not {expect:?}", quoted(key));
            }
        }
        client.ok(&format!("SELECT {}", model.database()));
    }
}
