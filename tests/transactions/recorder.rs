//! Many clients at once, each of which writes down what it asked for, when, and what it was answered.

use super::SHARDS;
use super::harness::client::{Client, encode};
use super::harness::number_from_env;
use super::harness::random::Random;
use super::harness::server::{Launch, Server};
use super::harness::value::Value;
use super::search::UNDECIDED;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const CLIENTS: usize = 6;

/// The words of a command.
pub(crate) type Command = Vec<String>;

/// A command from its words.
pub(crate) fn command<T: ToString>(words: impl IntoIterator<Item = T>) -> Command {
    words.into_iter().map(|word| word.to_string()).collect()
}

/// A command and its reply.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) command: Command,
    pub(crate) reply: Value,
}

/// Commands that were run as one, with the times of the request and the reply.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// In order.
    pub(crate) calls: Vec<Call>,
}

/// What clients do several things with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Together {
    /// `MULTI` and `EXEC`.
    Transactions,
    /// Nothing: one command after another.
    Nothing,
}

/// What clients have seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) history: Vec<Transaction>,
    /// How many transactions were not run, as a watched key had changed.
    pub(crate) aborted: u64,
}

/// One client and what it records.
pub(crate) struct Recorder<'a> {
    client: Client,
    pub(crate) random: Random,
    /// The last value that was written by anybody.
    last_value: &'a AtomicU64,
    clock: Instant,
    together: Together,
    seen: Seen,
}

impl Recorder<'_> {
    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).expect("a short test")
    }

    /// A value that nobody else writes.
    pub(crate) fn new_value(&self) -> u64 {
        self.last_value.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// All of `keys`, in any order.
    pub(crate) fn shuffled<'k>(&mut self, keys: &'k [String]) -> Vec<&'k str> {
        let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        for at in (1..keys.len()).rev() {
            keys.swap(at, self.random.index(at + 1));
        }
        keys
    }

    /// One to `most` of `keys`, in any order.
    pub(crate) fn some<'k>(&mut self, keys: &'k [String], most: usize) -> Vec<&'k str> {
        let mut keys = self.shuffled(keys);
        keys.truncate(1 + self.random.index(most));
        keys
    }

    fn read(&mut self) -> Value {
        self.client.read().expect("a reply in time")
    }

    fn ask(&mut self, command: &Command) -> Value {
        self.client.request(command);
        self.read()
    }

    /// A command that is one by itself.
    pub(crate) fn alone(&mut self, command: Command) -> Call {
        let began = self.now();
        let reply = self.ask(&command);
        let ended = self.now();
        let call = Call { command, reply };
        self.seen.history.push(Transaction { began, ended, calls: vec![call.clone()] });
        call
    }

    /// Runs commands together; `before` was read under a watch and holds if they are run.
    pub(crate) fn run(&mut self, commands: Vec<Command>, before: Vec<Call>) {
        let began = self.now();
        let replies = match self.together {
            Together::Nothing => commands.iter().map(|command| self.ask(command)).collect(),
            Together::Transactions => match self.exec(&commands) {
                Some(replies) => replies,
                None => return self.seen.aborted += 1,
            },
        };
        let ended = self.now();
        assert_eq!(replies.len(), commands.len());
        let calls = commands.into_iter().zip(replies);
        let calls = calls.map(|(command, reply)| Call { command, reply });
        let calls = before.into_iter().chain(calls).collect();
        self.seen.history.push(Transaction { began, ended, calls });
    }

    /// The replies of a transaction, unless a watched key has changed.
    fn exec(&mut self, commands: &[Command]) -> Option<Vec<Value>> {
        let requests = commands.iter().map(|command| encode(command));
        let all = [encode(&["MULTI"])].into_iter().chain(requests).chain([encode(&["EXEC"])]);
        if self.random.one_in(2) {
            self.client.send(all.flatten().collect::<Vec<u8>>());
            assert_eq!(self.read(), Value::ok());
            for _ in commands {
                assert_eq!(self.read(), Value::Simple("QUEUED".into()));
            }
        } else {
            for (at, request) in all.enumerate() {
                self.client.send(request);
                if at <= commands.len() {
                    self.read();
                }
            }
        }
        let reply = self.read();
        if reply.is_null() { None } else { Some(reply.elements().to_vec()) }
    }

    /// Has what is run next be run only if none of `keys` changes meanwhile, and reads; what was read.
    pub(crate) fn watch(&mut self, keys: &[&str], reads: Vec<Command>) -> Vec<Call> {
        if self.together == Together::Transactions {
            assert_eq!(self.ask(&command([&["WATCH"], keys].concat())), Value::ok());
        }
        reads.into_iter().map(|read| self.alone(read)).collect()
    }
}

/// Lets clients take turns at once on an empty server.
pub(crate) fn record(
    server: &Server,
    together: Together,
    random: &mut Random,
    turn: impl Fn(&mut Recorder<'_>) + Sync,
) -> Seen {
    let turns = number_from_env("RINGMAIN_TRANSACTIONS").unwrap_or(250);
    server.client().ok("FLUSHALL");
    let (barrier, last_value) = (Barrier::new(CLIENTS), AtomicU64::new(0));
    let clock = Instant::now();
    let mut all = Seen::default();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut recorder = Recorder {
                    client: server.client(),
                    random: random.fork(),
                    last_value: &last_value,
                    clock,
                    together,
                    seen: Seen::default(),
                };
                let (barrier, turn) = (&barrier, &turn);
                scope.spawn(move || {
                    barrier.wait();
                    (0..turns).for_each(|_| turn(&mut recorder));
                    recorder.seen
                })
            })
            .collect();
        for client in clients {
            let seen = client.join().expect("a client");
            all.history.extend(seen.history);
            all.aborted += seen.aborted;
        }
    });
    all
}

/// Whether what clients see of transactions passes `check`, and what they see of the same commands one by one does
/// not: that shows that the check sees what it looks for.
pub(crate) fn check_both(
    seed: u64,
    turn: impl Fn(&mut Recorder<'_>) + Sync,
    check: impl Fn(&[Transaction]) -> Result<(), String>,
) {
    let mut random = Random::new(seed);
    let server = Launch::shards(SHARDS).start();
    let Seen { history, aborted } = record(&server, Together::Transactions, &mut random, &turn);
    println!("{} transactions, {aborted} not run, seed {seed}", history.len());
    if let Err(problem) = check(&history) {
        panic!("RINGMAIN_TRANSACTIONS_SEED={seed}: {problem}");
    }
    assert!(aborted > 0, "clients did not meet");
    let mut rounds = 0..20;
    assert!(rounds.any(|_| {
        let seen = record(&server, Together::Nothing, &mut random, &turn);
        check(&seen.history).is_err_and(|problem| problem != UNDECIDED)
    }));
}
