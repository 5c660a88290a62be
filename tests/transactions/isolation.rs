//! Random transactions of many clients at once, recorded and checked for an order that explains them.

use super::harness::client::{Client, encode};
use super::harness::number_from_env;
use super::harness::random::{Random, seed};
use super::harness::server::{Launch, Server};
use super::harness::slots::keys_over_shards;
use super::harness::value::Value;
use super::history::{NOTHING, Op, Transaction, check};
use super::{SHARDS, number};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const CLIENTS: usize = 6;
/// Few, so that clients meet.
const KEYS: usize = 6;

/// What clients do several things with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Together {
    /// `MULTI` and `EXEC`.
    Transactions,
    /// Nothing: one command after another.
    Nothing,
}

/// One client and what it records.
struct Recorder<'a> {
    client: Client,
    random: Random,
    keys: &'a [String],
    /// The last value that was written by anybody.
    last_value: &'a AtomicU64,
    clock: Instant,
    together: Together,
    history: Vec<Transaction>,
    aborted: u64,
}

/// What a client asks for, and what that reads and writes.
#[derive(Clone, Debug)]
enum Step {
    Get(usize),
    /// `SET … GET`: reads, then writes.
    Swap(usize, u64),
    /// Of a key that is watched and has been read.
    Set(usize, u64),
    Mget(Vec<usize>),
}

impl Recorder<'_> {
    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).expect("a short test")
    }

    fn new_value(&self) -> u64 {
        self.last_value.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Different keys, in any order.
    fn some_keys(&mut self, most: usize) -> Vec<usize> {
        let mut keys: Vec<usize> = (0..self.keys.len()).collect();
        for at in (1..keys.len()).rev() {
            keys.swap(at, self.random.index(at + 1));
        }
        keys.truncate(1 + self.random.index(most));
        keys
    }

    fn request(&self, step: &Step) -> Vec<u8> {
        let key = |key: &usize| self.keys[*key].as_str();
        match step {
            Step::Get(of) => encode(&["GET", key(of)]),
            Step::Swap(of, value) => encode(&["SET", key(of), &value.to_string(), "GET"]),
            Step::Set(of, value) => encode(&["SET", key(of), &value.to_string()]),
            Step::Mget(of) => {
                encode(&["MGET"].into_iter().chain(of.iter().map(key)).collect::<Vec<_>>())
            }
        }
    }

    fn ops(step: &Step, reply: &Value) -> Vec<Op> {
        match step {
            Step::Get(key) => vec![Op::Read(*key, number(reply))],
            Step::Swap(key, value) => {
                vec![Op::Read(*key, number(reply)), Op::Write(*key, *value)]
            }
            Step::Set(key, value) => {
                assert_eq!(*reply, Value::ok());
                vec![Op::Write(*key, *value)]
            }
            Step::Mget(keys) => {
                let values = reply.elements().iter().map(number);
                keys.iter().zip(values).map(|(key, value)| Op::Read(*key, value)).collect()
            }
        }
    }

    fn read(&mut self) -> Value {
        self.client.read().expect("a reply in time")
    }

    /// Runs steps together; `before` was read under a watch and holds if they are run.
    fn run(&mut self, steps: &[Step], before: Vec<Op>) {
        let began = self.now();
        let requests: Vec<Vec<u8>> = steps.iter().map(|step| self.request(step)).collect();
        let replies = match self.together {
            Together::Nothing => requests
                .into_iter()
                .map(|request| {
                    self.client.send(request);
                    self.read()
                })
                .collect(),
            Together::Transactions => match self.exec(requests) {
                Some(replies) => replies,
                None => return self.aborted += 1,
            },
        };
        let ended = self.now();
        assert_eq!(replies.len(), steps.len());
        let ops = steps.iter().zip(&replies).flat_map(|(step, reply)| Self::ops(step, reply));
        let ops = before.into_iter().chain(ops).collect();
        self.history.push(Transaction { began, ended, ops });
    }

    /// The replies of a transaction, unless a watched key has changed.
    fn exec(&mut self, requests: Vec<Vec<u8>>) -> Option<Vec<Value>> {
        let queued = requests.len();
        let all = [encode(&["MULTI"])].into_iter().chain(requests).chain([encode(&["EXEC"])]);
        if self.random.one_in(2) {
            self.client.send(all.flatten().collect::<Vec<u8>>());
            assert_eq!(self.read(), Value::ok());
            for _ in 0..queued {
                assert_eq!(self.read(), Value::Simple("QUEUED".into()));
            }
        } else {
            for (at, request) in all.enumerate() {
                self.client.send(request);
                if at <= queued {
                    self.read();
                }
            }
        }
        let reply = self.read();
        if reply.is_null() { None } else { Some(reply.elements().to_vec()) }
    }

    fn turn(&mut self) {
        match self.random.below(8) {
            0 => {
                let step = Step::Mget(self.some_keys(KEYS));
                self.alone(&step);
            }
            1 => {
                let step = Step::Swap(self.random.index(KEYS), self.new_value());
                self.alone(&step);
            }
            2 | 3 => {
                let keys = self.some_keys(KEYS);
                self.run(&keys.into_iter().map(Step::Get).collect::<Vec<_>>(), Vec::new());
            }
            4 | 5 => {
                let mut steps = Vec::new();
                for key in self.some_keys(4) {
                    steps.push(match self.random.below(3) {
                        0 => Step::Get(key),
                        _ => Step::Swap(key, self.new_value()),
                    });
                    if self.random.one_in(3) {
                        steps.push(Step::Get(key));
                    }
                }
                self.run(&steps, Vec::new());
            }
            _ => self.guarded(),
        }
    }

    /// A command that is one by itself.
    fn alone(&mut self, step: &Step) {
        let began = self.now();
        let request = self.request(step);
        self.client.send(request);
        let reply = self.read();
        let (ended, ops) = (self.now(), Self::ops(step, &reply));
        self.history.push(Transaction { began, ended, ops });
    }

    /// Reads keys that are watched, and writes some of them and another.
    fn guarded(&mut self) {
        let keys = self.some_keys(3);
        if self.together == Together::Transactions {
            let names: Vec<&str> = keys.iter().map(|key| self.keys[*key].as_str()).collect();
            self.client.send(encode(&[&["WATCH"], &names[..]].concat()));
            assert_eq!(self.read(), Value::ok());
        }
        let mut before = Vec::new();
        for key in &keys {
            let step = Step::Get(*key);
            let request = self.request(&step);
            self.client.send(request);
            before.extend(Self::ops(&step, &self.read()));
        }
        let mut steps = Vec::new();
        for key in keys {
            if self.random.one_in(2) {
                steps.push(Step::Set(key, self.new_value()));
            }
        }
        let other = self.random.index(KEYS);
        steps.push(Step::Swap(other, self.new_value()));
        self.run(&steps, before);
    }
}

/// Lets clients take turns at once; what all of them have seen, and how many transactions were not run.
fn record(server: &Server, together: Together, random: &mut Random) -> (Vec<Transaction>, u64) {
    let turns = number_from_env("RINGMAIN_TRANSACTIONS").unwrap_or(250);
    let keys = keys_over_shards("k", SHARDS, KEYS);
    let mut setup = server.client();
    setup.ok("FLUSHALL");
    let (barrier, last_value) = (Barrier::new(CLIENTS), AtomicU64::new(NOTHING));
    let clock = Instant::now();
    let (mut history, mut aborted) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut recorder = Recorder {
                    client: server.client(),
                    random: random.fork(),
                    keys: &keys,
                    last_value: &last_value,
                    clock,
                    together,
                    history: Vec::new(),
                    aborted: 0,
                };
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    (0..turns).for_each(|_| recorder.turn());
                    (recorder.history, recorder.aborted)
                })
            })
            .collect();
        for client in clients {
            let (seen, not_run) = client.join().expect("a client");
            history.extend(seen);
            aborted += not_run;
        }
    });
    (history, aborted)
}

#[test]
fn transactions_are_strictly_serializable() {
    let seed = seed("RINGMAIN_TRANSACTIONS_SEED");
    let mut random = Random::new(seed);
    let server = Launch::shards(SHARDS).start();
    let (history, aborted) = record(&server, Together::Transactions, &mut random);
    println!("{} transactions, {aborted} not run, seed {seed}", history.len());
    if let Err(problem) = check(&history) {
        panic!("RINGMAIN_TRANSACTIONS_SEED={seed}: {problem}");
    }
    assert!(aborted > 0, "clients did not meet");
}

/// The same requests, one after another, are found not to be: the check does see what it looks for.
#[test]
fn separate_commands_are_found_not_to_be() {
    let mut random = Random::new(seed("RINGMAIN_TRANSACTIONS_SEED"));
    let server = Launch::shards(SHARDS).start();
    let mut rounds = 0..20;
    assert!(rounds.any(|_| check(&record(&server, Together::Nothing, &mut random).0).is_err()));
}
