//! What commands on lists, sets, hashes and sorted sets cost beside other servers: on one large collection, as
//! `redis-benchmark` asks for them, and on many small ones, as applications do.

use std::io;

use crate::client::Client;
use crate::load::{KEYS, closed_loop, key, next};
use crate::servers::{BASE, Installed, Running};
use crate::table::{Rounds, Table, thousands};
use crate::{Setting, process, progress};

/// Requests that each connection has on the way.
const DEPTH: usize = 16;
/// The value that `redis-benchmark` gives list elements and fields if it is not told otherwise.
const VALUE: &[u8] = b"VXK";
/// The longest range that is asked for.
const RANGE_MAX: u64 = 600;

/// Adds a request: the `n`th, with a random number.
type Add = fn(client: &mut Client, n: u64, random: u64);

struct Case {
    name: &'static str,
    /// What is there before, as many as there will be requests: nothing, or these.
    before: Option<Add>,
    add: Add,
    /// How many times fewer requests are enough.
    fewer: u64,
}

const fn case(name: &'static str, add: Add) -> Case {
    Case { name, before: None, add, fewer: 1 }
}

const CASES: &[Case] = &[
    case("LPUSH, one list", |client, _, _| client.add(&[b"LPUSH", b"list", VALUE])),
    case("RPUSH, one list", |client, _, _| client.add(&[b"RPUSH", b"list", VALUE])),
    Case {
        before: Some(|client, _, _| client.add(&[b"RPUSH", b"list", VALUE])),
        ..case("LPOP, one list", |client, _, _| client.add(&[b"LPOP", b"list"]))
    },
    Case {
        before: Some(|client, _, _| client.add(&[b"RPUSH", b"list", VALUE])),
        ..case("RPOP, one list", |client, _, _| client.add(&[b"RPOP", b"list"]))
    },
    case("LPUSH, many lists", |client, _, random| {
        client.add(&[b"LPUSH", &key(random % KEYS), VALUE]);
    }),
    Case {
        before: Some(|client, n, _| client.add(&[b"LPUSH", &key(n % KEYS), VALUE])),
        ..case("RPOP, many lists", |client, n, _| client.add(&[b"RPOP", &key(n % KEYS)]))
    },
    range("LRANGE 100", |client, _, _| client.add(&[b"LRANGE", b"list", b"0", b"99"])),
    range("LRANGE 300", |client, _, _| client.add(&[b"LRANGE", b"list", b"0", b"299"])),
    range("LRANGE 600", |client, _, _| client.add(&[b"LRANGE", b"list", b"0", b"599"])),
    case("SADD, one set", |client, _, random| {
        client.add(&[b"SADD", b"set", &key(random % KEYS)]);
    }),
    case("SADD, one growing set", |client, n, _| client.add(&[b"SADD", b"set", &key(n)])),
    case("SADD, many sets", |client, n, random| {
        client.add(&[b"SADD", &key(random % KEYS), &key(n)[8..]]);
    }),
    Case {
        before: Some(|client, n, _| client.add(&[b"SADD", b"set", &key(n)])),
        ..case("SPOP, one set", |client, _, _| client.add(&[b"SPOP", b"set"]))
    },
    case("HSET, one hash", |client, _, random| {
        client.add(&[b"HSET", b"hash", &key(random % KEYS), VALUE]);
    }),
    case("HSET, many hashes", |client, n, random| {
        client.add(&[b"HSET", &key(random % KEYS), &key(n % 10)[8..], VALUE]);
    }),
    case("ZADD, one sorted set", |client, _, random| {
        let score = (random >> 16).to_string();
        client.add(&[b"ZADD", b"zset", score.as_bytes(), &key(random % KEYS)]);
    }),
    case("ZADD, many sorted sets", |client, n, random| {
        let score = (random >> 16).to_string();
        client.add(&[b"ZADD", &key(random % KEYS), score.as_bytes(), &key(n % 10)[8..]]);
    }),
    Case {
        before: Some(|client, n, random| {
            let score = (random >> 16).to_string();
            client.add(&[b"ZADD", b"zset", score.as_bytes(), &key(n)]);
        }),
        ..case("ZPOPMIN, one sorted set", |client, _, _| client.add(&[b"ZPOPMIN", b"zset"]))
    },
];

const fn range(name: &'static str, add: Add) -> Case {
    Case { before: Some(fill_list), fewer: 20, ..case(name, add) }
}

fn fill_list(client: &mut Client, n: u64, _: u64) {
    if n < RANGE_MAX {
        client.add(&[b"RPUSH", b"list", VALUE]);
    } else {
        client.add(&[b"PING"]);
    }
}

#[derive(Clone, Default)]
struct Figures {
    requests_per_second: Rounds,
    cpu_us: Rounds,
}

/// Every server in turn on one CPU and the client on another, started anew in each round.
pub(crate) fn table(setting: &Setting, servers: &[Installed]) -> io::Result<Table> {
    let mut figures = vec![vec![Figures::default(); CASES.len()]; servers.len()];
    for round in 1..=setting.rounds {
        for (server, figures) in servers.iter().zip(&mut figures) {
            progress(&format!("types, round {round}: {}", server.name));
            let running = server.start(&setting.one.server)?;
            for (case, figures) in CASES.iter().zip(figures) {
                process::pinned(&setting.one.clients, || run(case, setting, &running, figures))?;
            }
        }
    }

    let base = servers.iter().position(|server| server.name == BASE).unwrap_or(0);
    let ratio = format!("CPU over {}'s", servers[base].name);
    let head = ["", "server", "requests/s", "CPU us/request", &ratio];
    let rounds = setting.rounds;
    let title = format!(
        "One CPU; {rounds} round(s), median (least-greatest), depth {DEPTH}, load by a built-in client"
    );
    let mut table = Table::new(title, &head, setting.is_markdown);
    for (at, case) in CASES.iter().enumerate() {
        for (server, of_server) in servers.iter().zip(&figures) {
            let Figures { requests_per_second, cpu_us } = &of_server[at];
            table.row(vec![
                case.name.to_owned(),
                server.title(),
                requests_per_second.median_as(thousands),
                cpu_us.spread(),
                cpu_us.over(&figures[base][at].cpu_us).spread(),
            ]);
        }
    }
    Ok(table)
}

fn run(case: &Case, setting: &Setting, server: &Running, figures: &mut Figures) -> io::Result<()> {
    Client::connect(server.address())?.call(&[b"FLUSHALL", b"SYNC"])?;
    let requests = 2 * setting.requests / case.fewer;
    let run = |add: Add, requests| {
        let (mut n, mut random) = (0, 1);
        closed_loop((requests, DEPTH), server, |client| {
            add(client, n, next(&mut random));
            n += 1;
        })
    };
    if let Some(before) = case.before {
        run(before, requests.max(RANGE_MAX))?;
    }
    let spent = server.cpu_time()?;
    let seen = run(case.add, requests)?;
    let spent = server.cpu_time()?.saturating_sub(spent);
    figures.requests_per_second.push(seen.requests_per_second);
    figures.cpu_us.push(spent.as_secs_f64() * 1e6 / requests as f64);
    Ok(())
}
