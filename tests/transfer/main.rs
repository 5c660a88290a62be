//! `ringmain import` and `ringmain export`: programs that users run, between servers that they have; and `DUMP` and
//! `RESTORE`, which other such programs use.
//!
//! redis-server and redis-cli are used where they are on the machine; without them their tests say so and
//! pass.

#[path = "../harness/mod.rs"]
mod harness;

#[path = "../feed/rdb.rs"]
mod feed;

mod dump;
mod export;
mod fake;
mod file;
mod live;
mod refusals;

use std::path::Path;
use std::process::{Command, Stdio};

use harness::client::Client;
use harness::server::{Launch, Server, is_other_server};
use harness::value::Value;
use harness::{output_of, skip};

/// What a run of the program came to.
#[derive(Debug)]
struct Ran {
    status: Option<i32>,
    said: String,
    complained: String,
}

impl Ran {
    /// What it said, if it succeeded and complained of nothing.
    fn good(self) -> String {
        assert_eq!((self.status, self.complained.as_str()), (Some(0), ""), "{}", self.said);
        self.said
    }

    /// What it complained of, in a sentence, and nothing else was said.
    fn refused(self, status: i32) -> String {
        assert_eq!((self.status, self.said.as_str()), (Some(status), ""), "{}", self.complained);
        let sentence = self.complained.trim_end();
        assert!(!sentence.contains('\n') && sentence.ends_with('.'), "{sentence}");
        sentence.strip_prefix("ringmain: ").expect("the program's name").to_owned()
    }
}

/// The program, with nothing in its environment that changes what it does.
fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain"));
    command.args(args).stdin(Stdio::null());
    command.env_remove("REDISCLI_AUTH").env_remove("RINGMAIN_FROM_AUTH");
    command
}

fn run(args: &[&str]) -> Ran {
    let output = output_of(&mut program(args)).expect("run ringmain");
    Ran {
        status: output.status.code(),
        said: String::from_utf8(output.stdout).expect("text"),
        complained: String::from_utf8(output.stderr).expect("text"),
    }
}

fn import_file(path: &Path, to: &Server, flags: &[&str]) -> Ran {
    let (path, port) = (path.to_str().expect("a name"), to.port().to_string());
    run(&[&["import", "--from-rdb", path, "--port", &port], flags].concat())
}

fn import_live(from: u16, to: &Server, flags: &[&str]) -> Ran {
    let (from, port) = (format!("127.0.0.1:{from}"), to.port().to_string());
    run(&[&["import", "--from", &from, "--port", &port], flags].concat())
}

/// A Redis server, if there is one on this machine.
fn redis() -> Option<Server> {
    let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        skip("redis-server is not on this machine");
        return None;
    }
    Some(Launch::of_other_server("redis-server").debug().start())
}

/// A server that knows all types but streams and those of modules; the test is skipped if another is under test.
fn without_streams() -> Option<Server> {
    if is_other_server() {
        skip("it may know streams");
        return None;
    }
    Some(Launch::shards(2).start())
}

/// All that Redis compares to call two data sets equal.
fn digest(server: &Server) -> String {
    server.client().words("DEBUG DIGEST").text()
}

/// All that a key holds, as the command for its type answers it, in an order of its own where it has none.
fn whole(client: &mut Client, key: &[u8]) -> Value {
    let kind = client.command(&[b"TYPE", key]).text();
    let request: &[&[u8]] = match kind.as_str() {
        "list" => &[b"LRANGE", key, b"0", b"-1"],
        "set" => &[b"SMEMBERS", key],
        "zset" => &[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
        "hash" => &[b"HGETALL", key],
        "stream" => &[b"XRANGE", key, b"-", b"+"],
        _ => &[b"GET", key],
    };
    let found = client.command(request);
    assert!(!matches!(found, Value::Error(_)), "{}: {found:?}", key.escape_ascii());
    let each = match kind.as_str() {
        "set" => 1,
        "hash" => 2,
        _ => return found,
    };
    let mut elements: Vec<&[Value]> = found.elements().chunks(each).collect();
    elements.sort_by_cached_key(|element| format!("{element:?}"));
    Value::Array(elements.concat())
}

/// Each key of a database with its value and the time at which it expires, in order.
fn contents(server: &Server, database: u64) -> Vec<(Vec<u8>, Value, i64)> {
    let mut client = server.client();
    client.ok(&format!("SELECT {database}"));
    let keys = client.words("KEYS *");
    let mut contents: Vec<_> = keys
        .elements()
        .iter()
        .map(|key| {
            let Value::Bulk(key) = key else { panic!("a key is a string: {key:?}") };
            let value = whole(&mut client, key);
            let time = client.command(&[b"PEXPIRETIME", &key[..]]).integer();
            (key.clone(), value, time)
        })
        .collect();
    contents.sort_by(|a, b| a.0.cmp(&b.0));
    contents
}

/// Fills a server with strings of all kinds in three databases; a third of them expire one day.
fn fill(server: &Server) -> usize {
    const KEYS: u64 = 600;
    const FAR_MS: u64 = 33_177_117_420_000;
    let mut random = harness::random::Random::new(7);
    let mut client = server.client();
    for (database, keys) in [(0, KEYS), (3, KEYS / 2), (15, 1)] {
        client.ok(&format!("SELECT {database}"));
        for number in 0..keys {
            let mut key = format!("key:{number}:").into_bytes();
            let more = random.index(20);
            key.extend(random.bytes(more));
            let value = match number % 5 {
                0 => random.next().cast_signed().to_string().into_bytes(),
                1 => b"abc".repeat(random.index(300)),
                2 => random.between(-300, 300).to_string().into_bytes(),
                3 => {
                    let length = random.index(2000);
                    random.bytes(length)
                }
                _ => Vec::new(),
            };
            assert_eq!(client.command(&[b"SET", &key[..], &value]), Value::ok());
            if number % 3 == 0 {
                let time = (FAR_MS + number).to_string();
                let set = client.command(&[b"PEXPIREAT", &key[..], time.as_bytes()]);
                assert_eq!(set, Value::Integer(1));
            }
        }
    }
    let long = vec![b'x'; 3 * 1024 * 1024];
    assert_eq!(client.command(&[b"SET", &b"long"[..], &long]), Value::ok());
    usize::try_from(KEYS + KEYS / 2 + 2).expect("a small number")
}

fn assert_same(a: &Server, b: &Server) {
    for database in [0, 3, 15] {
        let (a, b) = (contents(a, database), contents(b, database));
        assert_eq!(a.len(), b.len(), "database {database}");
        for (a, b) in a.into_iter().zip(b) {
            assert_eq!(a, b, "database {database}");
        }
    }
}

/// Gives a Redis server a key of every type that 7.0 has, small and large.
fn fill_all_types(client: &mut Client) {
    for line in [
        "SET string v",
        "SET expiring v PXAT 33177117420000",
        "RPUSH list 1 two 3",
        "SADD intset 1 2 3",
        "SADD set a b c",
        "ZADD zset 1 a 2.5 b inf c",
        "HSET hash f v g 2",
        "XADD stream 5-0 f v",
        "XADD stream 6-0 f v g w",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group consumer COUNT 1 STREAMS stream >",
        "PEXPIREAT list 33177117420000",
        "PFADD loglog a b c",
        "SETBIT bits 5000 1",
    ] {
        let reply = client.words(line);
        assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
    }
    let numbers: Vec<String> = (0..2000).map(|number| format!("number:{number}")).collect();
    let numbers = numbers.iter().map(String::as_str);
    for head in ["RPUSH biglist", "SADD bigset"] {
        let args: Vec<_> = head.split(' ').chain(numbers.clone()).collect();
        client.command(&args);
    }
    for head in ["ZADD bigzset", "HSET bighash"] {
        let pairs = numbers.clone().enumerate().flat_map(|(index, name)| {
            let score = format!("{}.5", index);
            if head.starts_with('Z') { [score, name.to_owned()] } else { [name.to_owned(), score] }
        });
        let args: Vec<String> = head.split(' ').map(str::to_owned).chain(pairs).collect();
        client.command(&args);
    }
}
