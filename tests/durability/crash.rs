//! `kill -9` at random moments under load, with each durability; then everything is looked at.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::client::{Client, info_number};
use crate::harness::random::{Random, seed};
use crate::harness::server::{Server, skip_on_other_server};
use crate::harness::value::Value;
use crate::harness::{Raise, number_from_env, wait_until};
use crate::load::Writer;
use crate::server::{data_dir, files, launch, start};

/// Crashes of all tests here together, unless more are asked for.
const CRASHES: u64 = 20;
/// What `async` may lose: what was acknowledged in so short a time before the crash. A second, and time
/// for a busy machine's disk.
const ASYNC_LOSS_MAX: Duration = Duration::from_secs(2);
/// A moment in which each core has turned, and written down what it had acknowledged.
const TURN: Duration = Duration::from_millis(300);

/// A server, what each connection asks of it, and how often it is killed.
struct Plan {
    durability: &'static str,
    /// What each connection asks for with `CLIENT DURABILITY`, if it does.
    levels: &'static [Option<&'static str>],
    shards: u16,
    crashes: u64,
}

const DEFAULT: &[Option<&str>] = &[None; 4];
const MIXED: &[Option<&str>] = &[Some("sync"), None, Some("memory"), Some("async"), Some("sync")];

#[test]
fn sync_loses_nothing() {
    for (shards, crashes) in [(1, 2), (2, 2), (3, 2)] {
        run(&Plan { durability: "sync", levels: DEFAULT, shards, crashes });
    }
}

#[test]
fn async_loses_what_was_acknowledged_last() {
    for (shards, crashes) in [(1, 2), (2, 2), (3, 2)] {
        run(&Plan { durability: "async", levels: DEFAULT, shards, crashes });
    }
}

#[test]
fn each_connection_gets_what_it_asked_for() {
    for (durability, shards, crashes) in [("async", 1, 2), ("sync", 2, 2), ("async", 3, 2)] {
        run(&Plan { durability, levels: MIXED, shards, crashes });
    }
}

#[test]
fn memory_starts_empty_and_leaves_the_directory_alone() {
    if skip_on_other_server() {
        return;
    }
    let mut random = Random::new(seed_here());
    let dir = data_dir();
    // First in an empty directory, then in one that holds data of an earlier server.
    for round in 0..rounds(2) {
        let before = files(dir.path());
        let mut server = launch(dir.path(), 2, "memory").start();
        assert_eq!(server.client().words("DBSIZE"), Value::Integer(0));
        let mut writers = writers(DEFAULT, &mut random);
        write_and_kill(&mut server, &mut writers, DEFAULT, &mut random);
        assert_eq!(files(dir.path()), before);
        if round == 0 {
            let server = start(&launch(dir.path(), 2, "async"));
            server.client().ok("SET kept by-an-earlier-server");
            crate::server::stop(server);
        }
    }
    let server = start(&launch(dir.path(), 2, "async"));
    assert_eq!(server.client().words("DBSIZE"), Value::Integer(1));
    assert_eq!(server.client().words("GET kept"), Value::bulk("by-an-earlier-server"));
}

fn seed_here() -> u64 {
    let seed = seed("RINGMAIN_CRASH_SEED");
    println!("RINGMAIN_CRASH_SEED={seed}");
    seed
}

/// A plan's share of the crashes that were asked for.
fn rounds(crashes: u64) -> u64 {
    let all = number_from_env("RINGMAIN_CRASHES").unwrap_or(CRASHES);
    (crashes * all).div_ceil(CRASHES)
}

fn writers(levels: &[Option<&str>], random: &mut Random) -> Vec<Writer> {
    (0..levels.len()).map(|index| Writer::new(&format!("c{index}"), random.fork())).collect()
}

fn run(plan: &Plan) {
    if skip_on_other_server() {
        return;
    }
    let Plan { durability, levels, shards, crashes } = *plan;
    let mut random = Random::new(seed_here());
    let dir = data_dir();
    let launch = launch(dir.path(), shards, durability);
    let mut writers = writers(levels, &mut random);
    for _ in 0..rounds(crashes) {
        let mut server = start(&launch);
        let promises = write_and_kill(&mut server, &mut writers, levels, &mut random);
        drop(server);
        while random.one_in(3) {
            // Killed again while it is coming back, or just after.
            let mut server = launch.start();
            std::thread::sleep(Duration::from_millis(random.below(30)));
            server.kill();
        }
        let server = start(&launch);
        look_at_all(&server, &mut writers, levels, (durability, shards), &promises);
        drop(server);
    }
    check_directory(dir.path(), shards);
}

/// What is known of the moment of a crash.
struct Promises {
    killed_at: Instant,
    /// Commands of each connection that the server said were on disk.
    synced: Vec<usize>,
}

/// Has all connections write, and kills the server at some moment.
fn write_and_kill(
    server: &mut Server,
    writers: &mut [Writer],
    levels: &[Option<&str>],
    random: &mut Random,
) -> Promises {
    let counts: Vec<AtomicUsize> = writers.iter().map(|_| AtomicUsize::new(0)).collect();
    let mut clients: Vec<Client> = levels.iter().map(|_| server.client()).collect();
    let is_kept = server.client().words("CLIENT DURABILITY") != Value::bulk("memory");
    for (client, level) in clients.iter_mut().zip(levels) {
        if let Some(level) = level.filter(|_| is_kept) {
            client.ok(&format!("CLIENT DURABILITY {level}"));
        }
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _raise = Raise(&is_over);
        let mut threads = Vec::new();
        for ((writer, client), count) in writers.iter_mut().zip(&mut clients).zip(&counts) {
            threads.push(scope.spawn(move || writer.write(client, count)));
        }
        wait_until("all connections are served", || {
            counts.iter().all(|count| count.load(Ordering::Acquire) > 0)
                || threads.iter().any(std::thread::ScopedJoinHandle::is_finished)
        });
        let mut control = server.client();
        let begin = Duration::from_millis(random.below(300));
        std::thread::sleep(begin);
        let synced = if is_kept && random.one_in(2) {
            what_is_synced(&mut control, &counts)
        } else {
            vec![0; counts.len()]
        };
        if is_kept {
            // So that the crash often meets a snapshot.
            control.words("BGSAVE");
        }
        std::thread::sleep(Duration::from_millis(random.below(400)));
        server.kill();
        let killed_at = Instant::now();
        Promises { killed_at, synced }
    })
}

/// Waits until the server says that all that has been acknowledged by now is on disk; how many commands of
/// each connection that was.
fn what_is_synced(control: &mut Client, counts: &[AtomicUsize]) -> Vec<usize> {
    let load = || counts.iter().map(|count| count.load(Ordering::Acquire)).collect::<Vec<_>>();
    let acknowledged = load();
    let since = Instant::now();
    wait_until("what was written is synced", || {
        let now = Instant::now();
        let behind_ms = info_number(control, "persistence", "log_sync_behind_ms");
        let synced_at = now.checked_sub(Duration::from_millis(behind_ms)).unwrap_or(since);
        let went_on = load().iter().zip(&acknowledged).all(|(now, then)| now > then);
        went_on && synced_at.saturating_duration_since(since) > TURN
    });
    acknowledged
}

fn look_at_all(
    server: &Server,
    writers: &mut [Writer],
    levels: &[Option<&str>],
    (durability, shards): (&str, u16),
    promises: &Promises,
) {
    let mut client = server.client();
    let mut there = 0;
    for (index, writer) in writers.iter_mut().enumerate() {
        let found = writer.look(&mut client);
        there += found.iter().flatten().count();
        let promised = match levels[index].unwrap_or(durability) {
            "sync" => writer.acknowledged(),
            "async" => {
                let in_time = writer.acknowledged_before(promises.killed_at, ASYNC_LOSS_MAX);
                in_time.max(promises.synced[index])
            }
            _ => 0,
        };
        writer.check(found, shards, promised);
    }
    let all = usize::try_from(client.words("DBSIZE").integer()).expect("a count");
    assert_eq!(all, there, "keys that nobody has written");
}

/// Whatever happened: each shard's folder holds its manifest and segments, and nothing else piles up.
fn check_directory(dir: &Path, shards: u16) {
    for shard in 0..shards {
        let folder = dir.join(format!("shard-{shard:04}"));
        let names = files(&folder);
        let is_known = |name: &str| {
            name == "manifest" || name.starts_with("log-") || name.starts_with("snapshot-")
        };
        for (path, _, _) in &names {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            assert!(is_known(name), "{}", path.display());
        }
    }
}
