//! What the slowest request of a bystander takes while the server has something large to do.
//!
//! One client asks for one key after another, one request at a time, and times each request. Another
//! client meanwhile makes the server work: keys expire by the million, huge values come and go, tables
//! grow and are flushed, the limit falls. The first rows say what the machine itself does to a client
//! when nothing happens. This project's server also tells its longest step: the longest time for which
//! one core did one thing.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::client::Client;
use crate::load::fill_with;
use crate::servers::{Installed, Running};
use crate::table::{Table, thousands};
use crate::{Setting, process, progress};

/// Values written before the bystander starts are this far from what follows.
const PAUSE: Duration = Duration::from_millis(300);
/// How long the server has to do what it was asked to.
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

type Act = Box<dyn Fn(&mut Client) -> io::Result<()> + Send + Sync>;

/// Something that a server is given to do, on the connection of a working client.
struct Work {
    title: String,
    /// What comes before, while nobody watches.
    prepare: Act,
    /// What the bystander lives through.
    act: Act,
    /// Whether this project's server writes a log meanwhile.
    has_log: bool,
}

/// A bystander's requests.
struct Seen {
    nanos: Histogram<u64>,
    elapsed: Duration,
}

/// The table of all kinds of work for all servers.
pub(crate) fn table(setting: &Setting, servers: &[Installed]) -> io::Result<Table> {
    let head = [
        "meanwhile",
        "server",
        "requests",
        "p50 us",
        "p99.99 us",
        "longest ms",
        "over 1 ms",
        "over 2 ms",
        "longest step ms",
    ];
    let title = "A bystander's GETs, one at a time, while the server works; one CPU";
    let mut table = Table::new(title, &head, setting.is_markdown);
    for work in all(setting) {
        for server in servers {
            progress(&format!("stalls: {}: {}", work.title, server.name));
            let running = if work.has_log && server.is_own() {
                server.start_with(&setting.one.server, &["--durability", "async"])?
            } else {
                server.start(&setting.one.server)?
            };
            let (seen, step) = process::pinned(&setting.one.clients, || watch(&running, &work))?;
            let over = |ms: u64| seen.nanos.len() - seen.nanos.count_between(0, ms * 1_000_000);
            let micros = |nanos: u64| format!("{:.0}", nanos as f64 / 1e3);
            table.row(vec![
                format!("{} ({:.1} s)", work.title, seen.elapsed.as_secs_f64()),
                server.title(),
                thousands(seen.nanos.len() as f64),
                micros(seen.nanos.value_at_quantile(0.5)),
                micros(seen.nanos.value_at_quantile(0.9999)),
                format!("{:.2}", seen.nanos.max() as f64 / 1e6),
                over(1).to_string(),
                over(2).to_string(),
                step.map_or_else(|| "-".to_owned(), |us| format!("{:.2}", us as f64 / 1e3)),
            ]);
        }
    }
    Ok(table)
}

/// What servers are put through, smaller in a smoke run.
fn all(setting: &Setting) -> Vec<Work> {
    let keys = setting.keys;
    let is_smoke = setting.is_smoke;
    let huge = move |mib: usize| if is_smoke { mib * MIB / 50 } else { mib * MIB };
    let still = if is_smoke { 100 } else { 5_000 };
    let many = usize::try_from(keys / 10).unwrap_or(usize::MAX);
    let mut all = vec![
        work("nothing", none(), move |_| {
            thread::sleep(Duration::from_millis(still));
            Ok(())
        }),
        work(
            format!("{} keys stay", thousands(keys as f64)),
            move |client| fill_with(client, keys, &[]),
            move |_| {
                thread::sleep(Duration::from_millis(still));
                Ok(())
            },
        ),
        expiring(keys, is_smoke),
        overwriting(huge(100), huge(100)),
        overwriting(huge(100), 1),
        deleting(huge(100)),
        deleting(huge(500)),
        work(
            format!("GET of {} MB", huge(100) / MIB),
            move |client| set(client, huge(100)),
            |client| client.call(&[b"GET", b"huge"]).map(drop),
        ),
        work(format!("insert {} keys", thousands(5.0 * keys as f64)), none(), move |client| {
            fill_with(client, 5 * keys, &[])
        }),
        work(
            format!("FLUSHALL of {} keys", thousands(5.0 * keys as f64)),
            move |client| fill_with(client, 5 * keys, &[]),
            |client| {
                client.call(&[b"FLUSHALL"])?;
                wait_until_used_memory_stands(client)
            },
        ),
        work(
            format!("DEL of {} keys", thousands(many as f64)),
            move |client| fill_with(client, many as u64, &[]),
            move |client| {
                let names: Vec<_> = (0..many as u64).map(crate::load::key).collect();
                let mut args: Vec<&[u8]> = vec![b"DEL"];
                args.extend(names.iter().map(<[u8; 16]>::as_slice));
                client.call(&args).map(drop)
            },
        ),
        shrinking(keys),
        snapshot(keys),
    ];
    let elements = 10 * keys;
    all.extend(KINDS.map(|kind| growing(kind, elements)));
    all.extend(KINDS.map(|kind| removing(kind, elements)));
    let [_, set, hash, sorted_set] = KINDS;
    all.extend([expiring_at_once(set, elements), evicting(hash, elements)]);
    all.push(flushing(sorted_set, elements));
    all
}

/// A kind of collection, the command that adds to it, and what an element is: its name, with something in front
/// or behind.
type Kind = (&'static str, &'static [u8], fn(Vec<u8>) -> Vec<Vec<u8>>);

const KINDS: [Kind; 4] = [
    ("list", b"RPUSH", |name| vec![name]),
    ("set", b"SADD", |name| vec![name]),
    ("hash", b"HSET", |name| vec![name, b"value".to_vec()]),
    ("sorted set", b"ZADD", |name| vec![name[10..].to_vec(), name]),
];

/// Gives a collection so many elements.
fn fill_collection(
    client: &mut Client,
    (_, command, element): Kind,
    elements: u64,
) -> io::Result<()> {
    const AT_ONCE: usize = 50;
    for first in (0..elements).step_by(AT_ONCE) {
        let names = (first..elements.min(first + AT_ONCE as u64)).map(crate::load::key);
        let elements: Vec<_> = names.flat_map(|name| element(name.to_vec())).collect();
        let mut args: Vec<&[u8]> = vec![command, b"huge"];
        args.extend(elements.iter().map(Vec::as_slice));
        client.add(&args);
        if first.is_multiple_of(10 * AT_ONCE as u64) {
            client.send()?;
            client.finish()?;
        }
    }
    client.send()?;
    client.finish()
}

fn growing(kind: Kind, elements: u64) -> Work {
    let title = format!("a {} grows to {}", kind.0, thousands(elements as f64));
    work(title, none(), move |client| fill_collection(client, kind, elements))
}

fn removing(kind: Kind, elements: u64) -> Work {
    work(
        format!("DEL of a {} of {}", kind.0, thousands(elements as f64)),
        move |client| fill_collection(client, kind, elements),
        |client| {
            client.call(&[b"DEL", b"huge"])?;
            wait_until_used_memory_stands(client)
        },
    )
}

fn expiring_at_once(kind: Kind, elements: u64) -> Work {
    work(
        format!("a {} of {} expires", kind.0, thousands(elements as f64)),
        move |client| fill_collection(client, kind, elements),
        |client| {
            client.call(&[b"PEXPIRE", b"huge", b"100"])?;
            wait_until(client, &[b"EXISTS", b"huge"], |reply| reply == b":0\r\n")?;
            wait_until_used_memory_stands(client)
        },
    )
}

fn evicting(kind: Kind, elements: u64) -> Work {
    work(
        format!("a {} of {} is evicted", kind.0, thousands(elements as f64)),
        move |client| {
            fill_collection(client, kind, elements)?;
            client.call(&[b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru"]).map(drop)
        },
        move |client| {
            let half = used_memory(client)? / 2;
            client.call(&[b"CONFIG", b"SET", b"maxmemory", half.to_string().as_bytes()])?;
            client.call(&[b"SET", b"probe", b"here"])?;
            wait_until(client, &[b"EXISTS", b"huge"], |reply| reply == b":0\r\n")?;
            wait_until_used_memory_stands(client)
        },
    )
}

fn flushing(kind: Kind, elements: u64) -> Work {
    work(
        format!("FLUSHALL of a {} of {}", kind.0, thousands(elements as f64)),
        move |client| fill_collection(client, kind, elements),
        |client| {
            client.call(&[b"FLUSHALL"])?;
            wait_until_used_memory_stands(client)
        },
    )
}

fn work(
    title: impl Into<String>,
    prepare: impl Fn(&mut Client) -> io::Result<()> + Send + Sync + 'static,
    act: impl Fn(&mut Client) -> io::Result<()> + Send + Sync + 'static,
) -> Work {
    let (prepare, act): (Act, Act) = (Box::new(prepare), Box::new(act));
    Work { title: title.into(), prepare, act, has_log: false }
}

fn none() -> impl Fn(&mut Client) -> io::Result<()> + Send + Sync {
    |_| Ok(())
}

/// All keys expire in the same second.
fn expiring(keys: u64, is_smoke: bool) -> Work {
    // Time enough to write them all before.
    let seconds = if is_smoke { 1 } else { 2 + keys / 100_000 };
    work(
        format!("{} keys expire at once", thousands(keys as f64)),
        move |client| {
            let at = unix_seconds() + seconds;
            fill_with(client, keys, &[b"EXAT", at.to_string().as_bytes()])?;
            let left = Duration::from_secs(at).saturating_sub(since_epoch());
            thread::sleep(left.saturating_sub(PAUSE));
            Ok(())
        },
        |client| wait_until(client, &[b"DBSIZE"], |reply| reply.len() <= b":9\r\n".len()),
    )
}

fn overwriting(old: usize, new: usize) -> Work {
    let size =
        |bytes| if bytes < MIB { "a byte".to_owned() } else { format!("{} MB", bytes / MIB) };
    work(
        format!("SET of {} over {}", size(new), size(old)),
        move |client| set(client, old),
        move |client| {
            set(client, new)?;
            wait_until_used_memory_stands(client)
        },
    )
}

fn deleting(bytes: usize) -> Work {
    work(
        format!("DEL of {} MB", bytes / MIB),
        move |client| set(client, bytes),
        |client| {
            client.call(&[b"DEL", b"huge"])?;
            wait_until_used_memory_stands(client)
        },
    )
}

/// The memory limit falls to half of what is held, and somebody writes.
fn shrinking(keys: u64) -> Work {
    work(
        "CONFIG SET maxmemory to half, and writes",
        move |client| {
            fill_with(client, keys, &[])?;
            client.call(&[b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru"]).map(drop)
        },
        move |client| {
            let half = used_memory(client)? / 2;
            client.call(&[b"CONFIG", b"SET", b"maxmemory", half.to_string().as_bytes()])?;
            for number in 0..keys / 10 {
                client.call(&[b"SET", &crate::load::key(keys + number), b"new"])?;
                if used_memory(client)? <= half {
                    return Ok(());
                }
            }
            Err(io::Error::other("the limit is not kept to"))
        },
    )
}

/// A snapshot is taken while keys are written.
fn snapshot(keys: u64) -> Work {
    let work = work(
        format!("snapshot of {} keys, and writes", thousands(keys as f64)),
        move |client| fill_with(client, keys, &[]),
        move |client| {
            client.call(&[b"BGSAVE"])?;
            fill_with(client, keys / 2, &[])?;
            wait_until(client, &[b"INFO", b"persistence"], |info| {
                String::from_utf8_lossy(info).contains("rdb_bgsave_in_progress:0")
            })
        },
    );
    Work { has_log: true, ..work }
}

/// Runs `work` on a server, and watches. Answers what the bystander saw, and the server's longest step
/// in microseconds where it tells.
fn watch(server: &Running, work: &Work) -> io::Result<(Seen, Option<u64>)> {
    let mut client = Client::connect(server.address())?;
    client.call(&[b"SET", b"probe", b"here"])?;
    (work.prepare)(&mut client)?;
    thread::sleep(PAUSE);
    client.call(&[b"CONFIG", b"RESETSTAT"])?;
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let watching = scope.spawn(|| ask_until(server.address(), &done));
        // The bystander goes first where both could run: what it waits for is to be the server.
        let working = scope.spawn(|| {
            let _ = rustix::process::nice(19);
            thread::sleep(PAUSE);
            let result = (work.act)(&mut client);
            done.store(true, Ordering::Relaxed);
            result
        });
        working.join().map_err(|_| io::Error::other("the working client panicked"))??;
        watching.join().map_err(|_| io::Error::other("the bystander panicked"))?
    })?;
    let mut client = Client::connect(server.address())?;
    let step = info_number(&mut client, b"ringmain", "longest_step_us")?;
    Ok((seen, step))
}

/// Asks for one key, again and again, until `done`.
fn ask_until(address: SocketAddr, done: &AtomicBool) -> io::Result<Seen> {
    let mut client = Client::connect(address)?;
    let mut nanos = Histogram::new(3).map_err(io::Error::other)?;
    let start = Instant::now();
    while !done.load(Ordering::Relaxed) {
        let asked = Instant::now();
        client.call(&[b"GET", b"probe"])?;
        let took = u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX);
        nanos.record(took).map_err(io::Error::other)?;
    }
    Ok(Seen { nanos, elapsed: start.elapsed() })
}

fn set(client: &mut Client, bytes: usize) -> io::Result<()> {
    client.call(&[b"SET", b"huge", &vec![b'x'; bytes]]).map(drop)
}

/// Waits until what the server has freed is back with the system.
fn wait_until_used_memory_stands(client: &mut Client) -> io::Result<()> {
    let mut before = used_memory(client)?;
    loop {
        thread::sleep(Duration::from_millis(100));
        let now = used_memory(client)?;
        if now == before {
            return Ok(());
        }
        before = now;
    }
}

fn used_memory(client: &mut Client) -> io::Result<u64> {
    info_number(client, b"memory", "used_memory")?
        .ok_or_else(|| io::Error::other("INFO memory says nothing of used_memory"))
}

/// A number of `INFO`, if the server tells it.
fn info_number(client: &mut Client, section: &[u8], name: &str) -> io::Result<Option<u64>> {
    let info = String::from_utf8_lossy(client.call(&[b"INFO", section])?).into_owned();
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.and_then(|value| value.trim().parse().ok()))
}

fn wait_until(
    client: &mut Client,
    question: &[&[u8]],
    is_answer: impl Fn(&[u8]) -> bool,
) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_answer(client.call(question)?) {
        if Instant::now() > deadline {
            return Err(io::Error::other("the server does not get it done"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn since_epoch() -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default()
}

fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}
