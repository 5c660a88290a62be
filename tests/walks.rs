//! Redis's guarantee for `SCAN`, `HSCAN`, `SSCAN` and `ZSCAN`: what is there from the first call of a walk to the last is
//! answered at least once, whatever else comes and goes, and however the values are kept meanwhile.
//!
//! A failure prints the seed: `RINGMAIN_WALKS_SEED=… cargo test --test walks` takes the same steps.

mod harness;

use harness::client::{Client, encode};
use harness::random::{Random, seed};
use harness::server::{Launch, is_other_server};
use harness::slots::keys_over_shards;
use harness::value::Value;
use std::collections::BTreeSet;

const SHARDS: u16 = 4;
/// How many calls a walk may take.
const CALLS_MAX: usize = 20_000;

/// What is walked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Keys,
    Hash,
    Set,
    SortedSet,
}

/// The name of an element: a number, a word, or so long a word that it makes its key a table.
fn name(number: usize) -> String {
    match number % 3 {
        0 => number.to_string(),
        1 => format!("element{number}"),
        _ if number % 30 == 29 => format!("{number}{}", "-".repeat(70)),
        _ => format!("{{tag}}{number}"),
    }
}

/// Where the elements of a walk are, and others that come and go.
struct Place {
    kind: Kind,
    client: Client,
    random: Random,
    key: String,
    /// Keys on other shards.
    aside: [String; 2],
    /// How many elements are there all the while; those behind them come and go.
    stay: usize,
    others: BTreeSet<usize>,
    encodings: BTreeSet<String>,
}

impl Place {
    /// Runs commands as one, so that none sees what is there between them.
    fn at_once(&mut self, requests: &[Vec<u8>]) {
        self.client.send([encode(&["MULTI"]), requests.concat(), encode(&["EXEC"])].concat());
        assert_eq!(self.client.read(), Ok(Value::ok()));
        for _ in requests {
            assert_eq!(self.client.read(), Ok(Value::Simple("QUEUED".into())));
        }
        let replies = self.client.read().expect("replies");
        let is_right = |reply: &Value| !matches!(reply, Value::Error(_));
        assert!(replies.elements().iter().all(is_right), "{replies:?}");
    }

    /// Puts elements in, or takes them out.
    fn change(&mut self, numbers: &[usize], is_put: bool) {
        for some in numbers.chunks(100) {
            let names = some.iter().map(|number| name(*number));
            let with = |value: &dyn Fn(usize) -> String| {
                some.iter().flat_map(|number| [name(*number), value(*number)]).collect()
            };
            let scores = || {
                let scored = some.iter().flat_map(|number| [number.to_string(), name(*number)]);
                scored.collect::<Vec<String>>()
            };
            let (command, elements): (_, Vec<String>) = match (self.kind, is_put) {
                (Kind::Keys, true) => ("MSET", with(&|number| number.to_string())),
                (Kind::Keys, false) => ("DEL", names.collect()),
                (Kind::Hash, true) => ("HSET", with(&|number| number.to_string())),
                (Kind::Hash, false) => ("HDEL", names.collect()),
                (Kind::Set, true) => ("SADD", names.collect()),
                (Kind::Set, false) => ("SREM", names.collect()),
                (Kind::SortedSet, true) => ("ZADD", scores()),
                (Kind::SortedSet, false) => ("ZREM", names.collect()),
            };
            let key = (self.kind != Kind::Keys).then(|| self.key.clone());
            let args: Vec<String> =
                [command.to_owned()].into_iter().chain(key).chain(elements).collect();
            let reply = self.client.command(&args);
            assert!(!matches!(reply, Value::Error(_)), "{reply:?}");
        }
    }

    /// Has up to `count` others come or go.
    fn come_or_go(&mut self, count: usize, is_put: bool) {
        let numbers: Vec<usize> = if is_put {
            let end = self.stay + 3 * count;
            (0..count).map(|_| self.stay + self.random.index(end)).collect()
        } else {
            let mut all: Vec<usize> = self.others.iter().copied().collect();
            (0..count.min(all.len()))
                .map(|_| all.swap_remove(self.random.index(all.len())))
                .collect()
        };
        self.change(&numbers, is_put);
        for number in numbers {
            if is_put {
                self.others.insert(number)
            } else {
                self.others.remove(&number)
            };
        }
    }

    /// Makes the value again of what it holds, from a dump: as small as it can be.
    fn restore(&mut self) {
        let Value::Bulk(dump) = self.client.command(&["DUMP", &self.key]) else { panic!("a dump") };
        let args = [b"RESTORE".as_slice(), self.key.as_bytes(), b"0", &dump, b"REPLACE"];
        assert_eq!(self.client.command(&args), Value::ok());
    }

    /// Puts the value aside and back, by copies or moves between shards.
    fn move_over_and_back(&mut self) {
        let (key, [aside, further]) = (self.key.clone(), self.aside.clone());
        let step = |name: &str, from: &str, to: &str| match name {
            "RENAME" => encode(&[name, from, to]),
            _ => encode(&["COPY", from, to, "REPLACE"]),
        };
        let mut steps = Vec::new();
        for (from, to) in [(&key, &aside), (&aside, &further), (&further, &key)] {
            steps.push(step(["RENAME", "COPY"][self.random.index(2)], from, to));
        }
        steps.push(encode(&["DEL", &aside, &further]));
        self.at_once(&steps);
    }

    /// Has a command store the elements anew, and with them none or all of those that come and go.
    fn store(&mut self) {
        let (key, aside) = (self.key.clone(), self.aside[0].clone());
        let others: Vec<String> = self.others.iter().map(|number| name(*number)).collect();
        if others.is_empty() {
            return;
        }
        let add: Vec<String> = match self.kind {
            Kind::Set => others,
            _ => others.into_iter().flat_map(|name| ["1".to_owned(), name]).collect(),
        };
        let is_set = self.kind == Kind::Set;
        let add =
            [vec![["ZADD", "SADD"][usize::from(is_set)].to_owned(), aside.clone()], add].concat();
        let store = match (self.random.below(4), is_set) {
            (0, true) => vec!["SUNIONSTORE", &key, &key, &aside],
            (0, false) => vec!["ZUNIONSTORE", &key, "2", &key, &aside],
            (1, true) => vec!["SINTERSTORE", &key, &key, &key],
            (1, false) => vec!["ZINTERSTORE", &key, "1", &key],
            (2, false) => vec!["ZRANGESTORE", &key, &key, "0", "-1"],
            (_, true) => vec!["SDIFFSTORE", &key, &key, &aside],
            (_, false) => vec!["ZDIFFSTORE", &key, "2", &key, &aside],
        };
        if store[0].ends_with("DIFFSTORE") {
            self.others.clear();
        }
        self.at_once(&[encode(&add), encode(&store), encode(&["DEL", &aside])]);
    }

    /// Something that leaves what is there all the while where it is.
    fn disturb(&mut self, most: usize) {
        let count = 1 + self.random.index(most);
        // The first disturbance is one that is to have been seen.
        let choice = if self.encodings.is_empty() { 5 } else { self.random.below(9) };
        match choice {
            0..=2 => self.come_or_go(count, true),
            3 | 4 => self.come_or_go(count, false),
            5 if self.kind != Kind::Keys => {
                // Small, and large again.
                self.come_or_go(usize::MAX, false);
                self.restore();
                self.note_encoding();
                self.come_or_go(count, true);
            }
            6 if self.kind != Kind::Keys => self.move_over_and_back(),
            7 if self.kind != Kind::Keys => self.restore(),
            _ if matches!(self.kind, Kind::Set | Kind::SortedSet) => self.store(),
            _ => self.come_or_go(usize::MAX, false),
        }
        self.note_encoding();
    }

    fn note_encoding(&mut self) {
        if self.kind != Kind::Keys {
            self.encodings.insert(self.client.command(&["OBJECT", "ENCODING", &self.key]).text());
        }
    }

    /// The elements that a whole walk answers, with something between its calls once in so many.
    fn walk(&mut self, disturbed_once_in: u64, most: usize) -> BTreeSet<String> {
        let (mut seen, mut cursor) = (BTreeSet::new(), "0".to_owned());
        for _ in 0..CALLS_MAX {
            let count = (1 + self.random.index(30)).to_string();
            let args: &[&str] = match self.kind {
                Kind::Keys => &["SCAN", &cursor],
                Kind::Hash => &["HSCAN", &self.key, &cursor],
                Kind::Set => &["SSCAN", &self.key, &cursor],
                Kind::SortedSet => &["ZSCAN", &self.key, &cursor],
            };
            let reply = self.client.command(&[args, &["COUNT", &count]].concat());
            let [next, found] = reply.elements() else { panic!("{reply:?}") };
            let width = if matches!(self.kind, Kind::Hash | Kind::SortedSet) { 2 } else { 1 };
            seen.extend(found.elements().chunks(width).map(|element| element[0].text()));
            cursor = next.text();
            if cursor == "0" {
                return seen;
            }
            if self.random.one_in(disturbed_once_in) {
                self.disturb(most);
            }
        }
        panic!("the walk does not come to an end");
    }
}

fn check(kind: Kind) {
    let seed = seed("RINGMAIN_WALKS_SEED");
    println!("RINGMAIN_WALKS_SEED={seed}");
    let mut random = Random::new(seed);
    let server = Launch::shards(SHARDS).start();
    let keys = keys_over_shards("walked", SHARDS, 3);
    let mut encodings = BTreeSet::new();
    // Few, as many as fit a small value, and many; with as many others at most.
    for (stay, most, disturbed_once_in) in
        [(3, 300, 1), (100, 1_000, 1), (100, 50, 2), (500, 2_000, 2), (2_000, 500, 4)]
    {
        let mut client = server.client();
        client.ok("FLUSHALL");
        let [key, aside, further] = [0, 1, 2].map(|at: usize| keys[at].clone());
        let mut place = Place {
            kind,
            client,
            random: random.fork(),
            key,
            aside: [aside, further],
            stay,
            others: BTreeSet::new(),
            encodings: BTreeSet::new(),
        };
        place.change(&(0..stay).collect::<Vec<_>>(), true);
        for _ in 0..4 {
            // A value that is small is answered in one call.
            place.come_or_go(most, true);
            let seen = place.walk(disturbed_once_in, most);
            let missed: Vec<String> =
                (0..stay).map(name).filter(|name| !seen.contains(name)).collect();
            assert!(missed.is_empty(), "{kind:?}, {stay} stay: {missed:?} were missed");
        }
        encodings.extend(place.encodings);
    }
    let expected: &[&str] = match kind {
        Kind::Keys => &[],
        Kind::Hash | Kind::Set => &["hashtable", "listpack"],
        Kind::SortedSet => &["listpack", "skiplist"],
    };
    if !is_other_server() {
        assert_eq!(encodings.iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn keys_that_stay_are_found() {
    check(Kind::Keys);
}

#[test]
fn fields_that_stay_are_found() {
    check(Kind::Hash);
}

#[test]
fn members_that_stay_are_found() {
    check(Kind::Set);
}

#[test]
fn scored_members_that_stay_are_found() {
    check(Kind::SortedSet);
}
