//! A load that notes what it saw: clients that read and write registers, and count. Checked at the end.
//!
//! Every value that is written is another, so that who reads one knows which call wrote it. A register is used for some
//! calls only, then another takes its place, so that histories stay short enough to be searched.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::{Follower, Outcome};
use crate::counters::{self, Increment};
use crate::harness::nodes::Nodes;
use crate::harness::random::Random;
use crate::harness::slots::{keys_over_shards, shard};
use crate::harness::value::Value;
use crate::linear::{Ask, Call, Fate, is_linearizable};
use crate::reader::{LAG, Reader};

/// Registers in use at a time.
const REGISTERS: usize = 12;
/// Calls on a register until another takes its place.
const CALLS: u64 = 600;
/// Clients at a time.
const CLIENTS: usize = 6;
/// And as many that only read, from any node.
const READERS: usize = 2;
/// Stack for the search, which goes as deep as a history is long.
const STACK: usize = 64 << 20;

/// What all clients share.
#[derive(Debug)]
struct Shared {
    begun: Instant,
    is_over: AtomicBool,
    shards: u16,
    /// Value, and place in time, of the next call.
    values: AtomicU64,
    registers: Vec<AtomicU64>,
    counters: Vec<String>,
    seen: Mutex<Seen>,
}

/// What has been seen.
#[derive(Debug, Default)]
struct Seen {
    registers: BTreeMap<String, Vec<Call>>,
    counters: BTreeMap<String, Vec<Increment>>,
    /// When writes were acknowledged, in microseconds, per shard.
    acknowledged: Vec<Vec<u64>>,
    unknown: u64,
    refused: u64,
    /// Reads that any node has answered.
    followed: u64,
}

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    ports: Vec<u16>,
    random: Random,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins, on nodes that need not all be up.
    pub(crate) fn begin(nodes: &Nodes, shards: u16, random: &mut Random) -> Self {
        let seen = Seen { acknowledged: vec![Vec::new(); usize::from(shards)], ..Seen::default() };
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            is_over: AtomicBool::new(false),
            shards,
            values: AtomicU64::new(1),
            registers: (0..REGISTERS).map(|_| AtomicU64::new(0)).collect(),
            counters: keys_over_shards("counter", shards, 2 * usize::from(shards)),
            seen: Mutex::new(seen),
        });
        let ports: Vec<u16> = (1..=nodes.count()).map(|id| nodes.port(id)).collect();
        let threads = (0..CLIENTS).map(|_| {
            let (shared, random) = (Arc::clone(&shared), random.fork());
            let follower = Follower::new(&ports, shards, random.clone());
            std::thread::spawn(move || shared.work(follower, random))
        });
        let mut threads: Vec<_> = threads.collect();
        threads.extend((0..READERS).map(|_| {
            let (shared, random) = (Arc::clone(&shared), random.fork());
            let reader = Reader::new(&ports, random.clone());
            std::thread::spawn(move || shared.read(reader, random))
        }));
        Self { shared, ports, random: random.fork(), threads }
    }

    /// Time since it began, in microseconds.
    pub(crate) fn now(&self) -> u64 {
        self.shared.now()
    }

    /// How many writes have been acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.shared.seen().acknowledged.iter().map(Vec::len).sum()
    }

    /// The longest time, within these, in which a shard acknowledged no write.
    pub(crate) fn longest_gap(&self, from: u64, to: u64) -> Duration {
        let seen = self.shared.seen();
        let gap = |all: &Vec<u64>| {
            let within = all.iter().copied().filter(|at| (from..to).contains(at));
            let mut times: Vec<u64> = within.chain([from, to]).collect();
            times.sort_unstable();
            times.windows(2).map(|pair| pair[1] - pair[0]).max()
        };
        Duration::from_micros(seen.acknowledged.iter().filter_map(gap).max().unwrap_or(0))
    }

    /// No more calls.
    ///
    /// # Panics
    /// If a client did, on a reply that makes no sense.
    pub(crate) fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let ends: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        assert!(ends.iter().all(Result::is_ok), "a client has panicked");
    }

    /// Reads all that was ever written.
    pub(crate) fn read_all(&mut self, patience: Duration) {
        let mut follower = Follower::new(&self.ports, self.shared.shards, self.random.fork());
        let keys: Vec<String> = self.shared.seen().registers.keys().cloned().collect();
        for key in keys {
            let sent = self.shared.now();
            let of = shard(&key, self.shared.shards);
            let saw = number(&follower.insist(of, &["GET", &key], patience));
            let fate = Fate::Answered(self.shared.now(), saw);
            self.shared.note(&key, Call { ask: Ask::Get, sent, fate });
        }
    }

    /// Checks what was seen, once the load has ended and everything was read.
    ///
    /// # Panics
    /// If it can't have happened.
    pub(crate) fn check(&self) {
        let mut follower = Follower::new(&self.ports, self.shared.shards, self.random.clone());
        let seen = std::mem::take(&mut *self.shared.seen());
        for (key, calls) in &seen.counters {
            let of = shard(key, self.shared.shards);
            let last = number(&follower.insist(of, &["GET", key], crate::RECOVERY));
            let last = i64::try_from(last.unwrap_or(0)).expect("a small number");
            if let Some(fault) = counters::fault(calls, last) {
                panic!("{key}: {fault}");
            }
        }
        let calls: usize = seen.registers.values().map(Vec::len).sum();
        println!(
            "{calls} calls on {} registers, {} of them reads of any node, {} unknown, {} refused",
            seen.registers.len(),
            seen.followed,
            seen.unknown,
            seen.refused
        );
        assert!(seen.followed > 0, "no follower has answered");
        let search = move || {
            let wrong = seen.registers.iter().filter(|(_, calls)| !is_linearizable(calls));
            wrong.map(|(key, calls)| explain(key, calls)).collect::<Vec<_>>()
        };
        let search = std::thread::Builder::new().stack_size(STACK).spawn(search).expect("a thread");
        let wrong = search.join().expect("a search that ends");
        assert!(wrong.is_empty(), "not linearizable:\n{}", wrong.join("\n"));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// The shortest beginning of a history that can't have happened: its last calls.
fn explain(key: &str, calls: &[Call]) -> String {
    let over = |call: &Call| match call.fate {
        Fate::Answered(at, _) => at,
        Fate::Unknown => u64::MAX,
    };
    let mut sorted = calls.to_vec();
    sorted.sort_by_key(over);
    // Those that nobody has answered may have happened early on.
    let (answered, unknown): (Vec<Call>, Vec<Call>) =
        sorted.into_iter().partition(|call| call.fate != Fate::Unknown);
    let can_be = |count: usize| is_linearizable(&[&answered[..count], &unknown[..]].concat());
    let count = (1..=answered.len()).find(|count| !can_be(*count)).unwrap_or(answered.len());
    let from = count.saturating_sub(25);
    let lines: Vec<String> = answered[from..count].iter().map(|it| format!("  {it:?}")).collect();
    let sent_by = answered[count - 1].sent;
    let unknown: Vec<String> = unknown
        .iter()
        .filter(|it| it.sent <= sent_by)
        .rev()
        .take(8)
        .map(|it| format!("  {it:?}"))
        .collect();
    format!("{key}:\n{}\n without answer:\n{}", lines.join("\n"), unknown.join("\n"))
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Bulk(text) => {
            let text = std::str::from_utf8(text).expect("a number");
            Some(text.parse().expect("a number"))
        }
        value if value.is_null() => None,
        value => panic!("no number: {value:?}"),
    }
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).expect("a short time")
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, key: &str, call: Call) {
        self.seen().registers.entry(key.to_owned()).or_default().push(call);
    }

    /// A client's work, until all is over.
    fn work(&self, mut follower: Follower, mut random: Random) {
        while !self.is_over.load(Ordering::Relaxed) {
            if random.one_in(8) {
                let counter = random.pick(&self.counters);
                self.count(&mut follower, counter);
            } else {
                self.use_register(&mut follower, &mut random);
            }
            // So that the servers have most of the machine.
            std::thread::sleep(Duration::from_micros(random.below(3000)));
        }
    }

    /// The work of one that only reads. An answer may be as old as the bound: it is as good as one to a call that was
    /// sent so long before.
    fn read(&self, mut reader: Reader, mut random: Random) {
        let lag = u64::try_from(LAG.as_micros()).expect("a short time");
        while !self.is_over.load(Ordering::Relaxed) {
            let place = random.index(self.registers.len());
            let number = self.registers[place].load(Ordering::Relaxed) / CALLS;
            let key = format!("register{place}-{number}");
            let sent = self.now();
            if let Some(value) = reader.get(&key) {
                let fate = Fate::Answered(self.now(), self::number(&value));
                let sent = sent.saturating_sub(lag);
                self.note(&key, Call { ask: Ask::Get, sent, fate });
                self.seen().followed += 1;
            }
            std::thread::sleep(Duration::from_micros(random.below(3000)));
        }
    }

    fn count(&self, follower: &mut Follower, key: &String) {
        let (of, sent) = (shard(key, self.shards), self.now());
        let outcome = follower.call(of, &["INCR", key.as_str()]);
        let now = self.now();
        let answer = match &outcome {
            Outcome::Answered(value) => Some((now, value.integer())),
            Outcome::Refused | Outcome::Unknown => None,
        };
        self.note_outcome(of, &outcome, now, true);
        if outcome != Outcome::Refused {
            let increment = Increment { sent, answer };
            self.seen().counters.entry(key.to_owned()).or_default().push(increment);
        }
    }

    fn use_register(&self, follower: &mut Follower, random: &mut Random) {
        let place = random.index(self.registers.len());
        let number = self.registers[place].fetch_add(1, Ordering::Relaxed) / CALLS;
        let key = format!("register{place}-{number}");
        let of = shard(&key, self.shards);
        let value = self.values.fetch_add(1, Ordering::Relaxed);
        let text = value.to_string();
        let (ask, request) = match random.below(5) {
            0 | 1 => (Ask::Get, vec!["GET", &key]),
            2 | 3 => (Ask::Set(value), vec!["SET", &key, &text]),
            _ => (Ask::Swap(value), vec!["GETSET", &key, &text]),
        };
        let sent = self.now();
        let outcome = follower.call(of, &request);
        let now = self.now();
        self.note_outcome(of, &outcome, now, ask != Ask::Get);
        let fate = match outcome {
            Outcome::Refused => return,
            Outcome::Unknown => Fate::Unknown,
            Outcome::Answered(reply) => match ask {
                Ask::Set(_) => {
                    assert_eq!(reply, Value::ok(), "{request:?}");
                    Fate::Answered(now, None)
                }
                Ask::Get | Ask::Swap(_) => Fate::Answered(now, self::number(&reply)),
            },
        };
        self.note(&key, Call { ask, sent, fate });
    }

    fn note_outcome(&self, shard: u16, outcome: &Outcome, now: u64, writes: bool) {
        let mut seen = self.seen();
        match outcome {
            Outcome::Answered(_) if writes => seen.acknowledged[usize::from(shard)].push(now),
            Outcome::Answered(_) => {}
            Outcome::Refused => seen.refused += 1,
            Outcome::Unknown => seen.unknown += 1,
        }
    }
}
