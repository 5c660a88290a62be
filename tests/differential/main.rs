//! The same random requests to Ringmain and to a real Redis 7, where one is on the machine: every reply
//! must be the same, byte for byte, wrong requests included.
//!
//! A failure prints the seed and what was asked of the keys before. `RINGMAIN_DIFFERENTIAL_SEED` chooses
//! other requests and `RINGMAIN_DIFFERENTIAL_REQUESTS` more of them.
//!
//! Each type of collection has a stream of requests of its own, so that its keys live long enough to hold
//! something.

#[path = "../harness/mod.rs"]
mod harness;
mod hashes;
mod lists;
mod sets;
mod sorted_sets;

use harness::client::{Client, encode};
use harness::random::Random;
use harness::server::{Launch, is_other_server};
use harness::value::{Value, quoted};
use harness::{number_from_env, skip};
use std::process::Command;

const PIPELINE: usize = 40;

/// What requests look like: `k` is a key, `v` a value, `i` an integer, `o` an offset, `f` a decimal
/// number, `b` a bit, `t` a time far away in seconds, `m` the same in milliseconds, `d` a database,
/// `u` a bit field's type, `#` its place and `w` what is written there; `?` before a word says that it may be left out, a `/` that it
/// is one of several. The rest stands for itself.
const SHAPES: &[&str] = &[
    "SET k v ?NX/XX ?GET ?KEEPTTL",
    "SET k v ?EXAT t ?GET ?NX/XX",
    "SET k v PXAT m",
    "SET k v EX/PX/EXAT/PXAT i",
    "SET k i",
    "GET k",
    "GET k",
    "SETNX k v",
    "SETEX/PSETEX k i v",
    "GETSET k v",
    "GETDEL k",
    "GETEX k ?PERSIST",
    "GETEX k EXAT/PXAT t",
    "APPEND k v",
    "APPEND k i",
    "STRLEN k",
    "SETRANGE k o v",
    "GETRANGE/SUBSTR k i i",
    "GETRANGE k o o",
    "INCR/DECR k",
    "INCRBY/DECRBY k i",
    "INCRBYFLOAT k f",
    "MGET k k k",
    "MSET/MSETNX k v k i k v",
    "LCS k k ?LEN/IDX ?WITHMATCHLEN",
    "LCS k k IDX MINMATCHLEN o",
    "SETBIT k o b",
    "GETBIT k o",
    "BITCOUNT k",
    "BITCOUNT k i i ?BYTE/BIT",
    "BITCOUNT k o o ?BYTE/BIT",
    "BITPOS k b ?i",
    "BITPOS k b i i ?BYTE/BIT",
    "BITPOS k b o o ?BYTE/BIT",
    "BITOP AND/OR/XOR k k k ?k",
    "BITOP NOT k k",
    "BITFIELD k GET u # SET u # w INCRBY u # w",
    "BITFIELD k OVERFLOW WRAP/SAT/FAIL INCRBY u # w OVERFLOW SAT/FAIL SET u # w GET u #",
    "BITFIELD_RO k GET u # GET u #",
    "DEL/UNLINK/EXISTS/TOUCH k ?k ?k",
    "TYPE k",
    "EXPIRE/PEXPIRE k i ?NX/XX/GT/LT",
    "EXPIREAT k t ?NX/XX/GT/LT",
    "PEXPIREAT k m ?NX/XX/GT/LT",
    "EXPIRETIME/PEXPIRETIME k",
    "PERSIST k",
    "RENAME/RENAMENX k k",
    "COPY k k ?REPLACE",
    "COPY k k DB d ?REPLACE",
    "MOVE k d",
    "SELECT d",
    "SWAPDB 0/1 0/1",
    "KEYS k*",
    "KEYS *",
    "ECHO v",
    "PING ?v",
    "COMMAND GETKEYS SET/GET/MSET/BITOP k v k",
];

/// What the stream of a type of collection has besides its own requests: its keys come and go, some are strings
/// for a while.
const AROUND_COLLECTIONS: &[&str] = &[
    "DEL/UNLINK/EXISTS/TOUCH k ?k",
    "DEL k",
    "TYPE k",
    "EXPIREAT k t ?NX/XX/GT/LT",
    "EXPIRETIME/PERSIST k",
    "RENAME/RENAMENX k k",
    "COPY k k ?REPLACE",
    "SET k v",
    "GET k",
    "APPEND k v",
];

/// Requests that are compared together.
struct Stream {
    /// What they look like, see [`SHAPES`].
    shapes: &'static [&'static str],
    /// What one in four of them looks like, if there are any.
    around: &'static [&'static str],
    /// Makes up what stands for a word of this stream only; none if the word is not one of them.
    word: fn(&mut Generator, &str) -> Option<Vec<u8>>,
    /// Whether a reply is a matter of chance or not part of the contract.
    is_beyond_comparison: fn(&[Vec<u8>]) -> bool,
    /// Commands whose reply's elements have no order.
    unordered: &'static [&'static str],
}

static STRINGS: Stream = Stream {
    shapes: SHAPES,
    around: &[],
    word: |_, _| None,
    is_beyond_comparison: |_| false,
    unordered: &["KEYS"],
};

/// Makes up requests.
struct Generator {
    random: Random,
    stream: &'static Stream,
}

impl Generator {
    fn request(&mut self) -> Vec<Vec<u8>> {
        let around = self.stream.around;
        let is_around = !around.is_empty() && self.random.one_in(4);
        let shape = *self.random.pick(if is_around { around } else { self.stream.shapes });
        let mut args = Vec::new();
        for word in shape.split(' ') {
            let word = match word.strip_prefix('?') {
                Some(_) if self.random.one_in(2) => continue,
                Some(word) => word,
                None => word,
            };
            let choices: Vec<&str> = word.split('/').collect();
            let word = *self.random.pick(&choices);
            args.push(self.word(word));
        }
        if self.random.one_in(15) {
            self.spoil(&mut args);
        }
        args
    }

    fn word(&mut self, word: &str) -> Vec<u8> {
        if let Some(own) = (self.stream.word)(self, word) {
            return own;
        }
        match word {
            "k" | "k*" => word.replace('k', &format!("key{}", self.random.below(16))).into_bytes(),
            "v" => self.value(),
            "i" => self.integer().into_bytes(),
            "o" => {
                let most = *self.random.pick(&[3, 40, 40, 40, 1_000]);
                self.random.below(most).to_string().into_bytes()
            }
            // Redis adds without a check for overflow of 64 bits where it looks for that of the field.
            "w" => {
                let bits = self.random.below(60);
                self.random.between(-(1 << bits), 1 << bits).to_string().into_bytes()
            }
            "f" => self.decimal().into_bytes(),
            "b" => self.random.below(2).to_string().into_bytes(),
            "t" => (4_102_444_800 + self.random.below(9) * 1_000).to_string().into_bytes(),
            "m" => (4_102_444_800_000 + self.random.below(9_000_000)).to_string().into_bytes(),
            "d" => self.random.below(2).to_string().into_bytes(),
            "u" => {
                let sign = *self.random.pick(&["i", "u"]);
                format!("{sign}{}", 1 + self.random.below(63)).into_bytes()
            }
            "#" => {
                let mark = *self.random.pick(&["", "#"]);
                format!("{mark}{}", self.random.below(70)).into_bytes()
            }
            _ if self.random.one_in(8) => word.to_lowercase().into_bytes(),
            _ => word.as_bytes().to_vec(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        match self.random.below(8) {
            0 | 1 => self.integer().into_bytes(),
            2 => self.decimal().into_bytes(),
            3 => Vec::new(),
            4 => b"abcabcabcabc"[..self.random.index(13)].to_vec(),
            5 => {
                let length = 40 + self.random.index(10);
                self.random.bytes(length)
            }
            6 => {
                let length = self.random.index(3_000);
                self.random.bytes(length)
            }
            _ => {
                let length = self.random.index(12);
                self.random.bytes(length)
            }
        }
    }

    fn integer(&mut self) -> String {
        match self.random.below(12) {
            0 => i64::MAX.to_string(),
            1 => i64::MIN.to_string(),
            2 => (self.random.next() as i64).to_string(),
            3 => {
                self.random.pick(&["", "-0", "+1", "01", " 1", "1 ", "1.0", "x", "0x1"]).to_string()
            }
            4 => "9223372036854775808".into(),
            5..=8 => self.random.between(-20, 20).to_string(),
            _ => self.random.between(-100_000, 100_000).to_string(),
        }
    }

    fn decimal(&mut self) -> String {
        let whole = self.random.between(-1_000, 1_000);
        match self.random.below(8) {
            0 => self
                .random
                .pick(&["nan", "inf", "-inf", "", "1e5", "1e-5", ".5", "1e400"])
                .to_string(),
            1 => format!("{whole}.{}", self.random.below(10)),
            2 => format!("{whole}.{:03}", self.random.below(1_000)),
            3 => format!("{whole}.{}", self.random.below(1_000_000_000_000)),
            4 => format!("{whole}e{}", self.random.between(-12, 12)),
            _ => whole.to_string(),
        }
    }

    /// Makes a request that is probably wrong.
    fn spoil(&mut self, args: &mut Vec<Vec<u8>>) {
        let at = self.random.index(args.len());
        match self.random.below(4) {
            0 if args.len() > 1 => drop(args.remove(at)),
            1 => args.push(args[at].clone()),
            2 => args.insert(at, args[at].clone()),
            _ => {
                // Redis's errors end at a zero byte, as C's strings do.
                args[at] = self.value();
                args[at].retain(|&byte| byte != 0);
                args[at].truncate(100);
            }
        }
    }
}

/// Whether a request's reply depends on the moment, on chance or on what is not part of the contract.
fn is_beyond_comparison(stream: &Stream, args: &[Vec<u8>]) -> bool {
    let name = String::from_utf8_lossy(&args[0]).to_uppercase();
    // A spoilt request may name another command.
    let known = stream.shapes.iter().chain(stream.around).any(|shape| {
        let first = shape.split(' ').next().unwrap_or_default();
        first.split('/').any(|known| known == name)
    });
    let from_now = |arg: &Vec<u8>| {
        let number = std::str::from_utf8(arg).ok().and_then(|text| text.parse::<i64>().ok());
        number.is_some_and(|number| number >= 0)
    };
    let expires = ["SET", "SETEX", "PSETEX", "GETEX", "EXPIRE", "PEXPIRE"].contains(&name.as_str());
    let expires_then = match name.as_str() {
        "SET" | "GETEX" => {
            let relative = |arg: &Vec<u8>| {
                ["EX", "PX"].iter().any(|word| arg.eq_ignore_ascii_case(word.as_bytes()))
            };
            args.windows(2).any(|pair| relative(&pair[0]) && from_now(&pair[1]))
        }
        "SETEX" | "PSETEX" | "EXPIRE" | "PEXPIRE" => args.iter().any(from_now),
        _ => false,
    };
    // Redis has more commands to describe.
    let describes = name == "COMMAND" && args.len() < 3;
    !known || describes || (expires && expires_then) || (stream.is_beyond_comparison)(args)
}

/// Replies whose elements have no order, in one.
fn in_order(stream: &Stream, args: &[Vec<u8>], mut reply: Value) -> Value {
    let is_it = |name: &&str| args[0].eq_ignore_ascii_case(name.as_bytes());
    if stream.unordered.iter().any(is_it) {
        sort(&mut reply);
    }
    reply
}

fn sort(reply: &mut Value) {
    match reply {
        Value::Array(items) | Value::Set(items) => {
            items.iter_mut().for_each(sort);
            items.sort_by_key(|item| format!("{item:?}"));
        }
        Value::Map(pairs) => pairs.sort_by_key(|pair| format!("{pair:?}")),
        _ => {}
    }
}

fn shown(args: &[Vec<u8>]) -> String {
    args.iter().map(|arg| quoted(arg)).collect::<Vec<_>>().join(" ")
}

/// Whether `redis-server` is here and of the version whose behaviour is promised.
fn redis_7() -> bool {
    let version = Command::new("redis-server").arg("--version").output();
    let found =
        version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("v=7.0."));
    if !found {
        skip("there is no redis-server 7.0 on this machine");
    }
    found
}

fn compare(stream: &'static Stream, shards: u16, resp3: bool) {
    if is_other_server() || !redis_7() {
        return;
    }
    let seed = number_from_env("RINGMAIN_DIFFERENTIAL_SEED").unwrap_or(1);
    let requests = number_from_env("RINGMAIN_DIFFERENTIAL_REQUESTS").unwrap_or(20_000);
    println!("RINGMAIN_DIFFERENTIAL_SEED={seed}");
    let servers = [Launch::shards(shards).start(), Launch::of_other_server("redis-server").start()];
    let mut clients: Vec<Client> = servers
        .iter()
        .map(|server| if resp3 { server.client_resp3() } else { server.client() })
        .collect();
    let mut generator = Generator { random: Random::new(seed), stream };
    let mut asked: Vec<Vec<Vec<u8>>> = Vec::new();
    while asked.len() < usize::try_from(requests).expect("a number of requests") {
        let batch: Vec<_> = std::iter::repeat_with(|| generator.request())
            .filter(|args| !is_beyond_comparison(stream, args))
            .take(PIPELINE)
            .collect();
        for client in &mut clients {
            let mut bytes = Vec::new();
            for args in &batch {
                bytes.extend_from_slice(&encode(args));
            }
            client.send(bytes);
        }
        for args in batch {
            let replies: Vec<Value> = clients
                .iter_mut()
                .map(|client| in_order(stream, &args, client.read().expect("a reply in time")))
                .collect();
            assert!(
                replies[0] == replies[1],
                "{}\n  Ringmain {:?}\n  Redis    {:?}\nafter\n{}",
                shown(&args),
                replies[0],
                replies[1],
                history(&asked, &args)
            );
            asked.push(args);
        }
    }
}

/// The last requests that name one of the keys that `args` names, or the database.
fn history(asked: &[Vec<Vec<u8>>], args: &[Vec<u8>]) -> String {
    const SHOWN: usize = 12;
    let names_one = |earlier: &&Vec<Vec<u8>>| {
        earlier[1..].iter().any(|arg| arg.starts_with(b"key") && args.contains(arg))
            || earlier[0].eq_ignore_ascii_case(b"SELECT")
    };
    let mut lines: Vec<String> =
        asked.iter().rev().filter(names_one).take(SHOWN).map(|args| shown(args)).collect();
    lines.reverse();
    lines.join("\n")
}

/// What `COMMAND DOCS` tells of arguments is what clients know from Redis.
#[test]
fn arguments_are_documented_as_redis_documents_them() {
    if is_other_server() || !redis_7() {
        return;
    }
    let servers = [Launch::shards(1).start(), Launch::of_other_server("redis-server").start()];
    for resp3 in [false, true] {
        let mut clients = servers.each_ref().map(|server| match resp3 {
            false => server.client(),
            true => server.client_resp3(),
        });
        let names = clients[0].words("COMMAND LIST");
        let mut compared = 0;
        for name in names.elements().iter().map(Value::text) {
            let [own, redis] = clients.each_mut().map(|client| {
                let docs = client.words(&format!("COMMAND DOCS {name}"));
                let of_command = field(&docs, &name)?;
                Some(field(&of_command, "arguments"))
            });
            // What came after Redis 7.0 is unknown there.
            let Some(redis) = redis else { continue };
            // It takes a session token here.
            if name == "readonly" {
                assert_ne!(own, Some(redis), "{name}");
                continue;
            }
            assert_eq!(own, Some(redis), "{name}");
            compared += 1;
        }
        assert!(compared > 100, "{compared}");
    }
}

/// The value behind `name` in a map, or in an array that stands for one.
fn field(map: &Value, name: &str) -> Option<Value> {
    match map {
        Value::Map(pairs) => {
            pairs.iter().find(|(key, _)| key.text() == name).map(|(_, value)| value.clone())
        }
        Value::Array(items) => {
            let found = items.chunks(2).find(|pair| pair[0].text() == name);
            found.map(|pair| pair[1].clone())
        }
        other => panic!("no map: {other:?}"),
    }
}

#[test]
fn replies_are_redis_s_in_resp2() {
    compare(&STRINGS, 3, false);
}

#[test]
fn replies_are_redis_s_in_resp3() {
    compare(&STRINGS, 2, true);
}
