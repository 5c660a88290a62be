//! Comparisons of tiny servers that are scripts.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use super::*;
use crate::report::outcome::CommandOutcome;

/// A server that answers every read with `+PONG`, writes its process id to a file when it starts,
/// and uses about as much time for each request as it is told loops.
fn fake_server(directory: &Path, name: &str, loops: u32) -> String {
    let script = directory.join(format!("{name}.py"));
    let pid = directory.join(format!("{name}.pids"));
    fs::write(
        &script,
        format!(
            "import os, socket, sys, threading\n\
             open({pid:?}, 'a').write(f'{{os.getpid()}}\\n')\n\
             print('a server called {name}', flush=True)\n\
             def serve(peer):\n\
             \x20   while peer.recv(100):\n\
             \x20       for _ in range({loops}): pass\n\
             \x20       peer.sendall(b'+PONG\\r\\n')\n\
             listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n\
             while True:\n\
             \x20   peer, _ = listener.accept()\n\
             \x20   threading.Thread(target=serve, args=(peer,), daemon=True).start()\n"
        ),
    )
    .unwrap();
    format!("{name}=python3 {} {{port}}", script.display())
}

fn options(servers: &[String], rounds: u32) -> CompareOptions {
    CompareOptions {
        servers: servers.iter().map(|text| text.parse().unwrap()).collect(),
        server_cpus: Some("0".parse().unwrap()),
        rounds,
        start_timeout: 20,
        markdown: None,
    }
}

/// A load of so many requests, one after the other.
fn load(requests: u32) -> impl FnMut(&Target<'_>, &mut dyn Watch) -> Result<Outcome, String> {
    move |target, watch| {
        let mut stream =
            TcpStream::connect((target.host, target.port)).map_err(|e| e.to_string())?;
        let mut ping = CommandOutcome::new("ping");
        watch.measure_begins();
        let start = Instant::now();
        for _ in 0..requests {
            let sent = Instant::now();
            stream.write_all(b"PING\r\n").map_err(|e| e.to_string())?;
            let mut reply = [0; 7];
            stream.read_exact(&mut reply).map_err(|e| e.to_string())?;
            assert_eq!(&reply, b"+PONG\r\n");
            ping.latencies.record(nanoseconds(sent)).unwrap();
        }
        watch.measure_ends();
        let elapsed_ns = nanoseconds(start);
        Ok(Outcome { commands: vec![ping], elapsed_ns, ..Outcome::default() })
    }
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap()
}

fn pids(directory: &Path, name: &str) -> Vec<i32> {
    let text = fs::read_to_string(directory.join(format!("{name}.pids"))).unwrap();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn has_python() -> bool {
    let found = std::process::Command::new("python3").arg("-c").arg("").status();
    let is_there = found.is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("skipped: there is no python3 for the servers");
    }
    is_there
}

#[test]
fn servers_are_measured_in_turn_and_none_is_left() {
    if !has_python() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let servers =
        [fake_server(directory.path(), "light", 0), fake_server(directory.path(), "heavy", 20_000)];
    let options = options(&servers, 2);
    let mut order = Vec::new();
    let mut load = load(200);
    let (document, result) = compare(&options, &AtomicBool::new(false), &mut |target, watch| {
        order.push(target.name.to_owned());
        load(target, watch)
    });
    result.unwrap();
    assert_eq!(order, ["light", "heavy", "heavy", "light"]);
    for name in ["light", "heavy"] {
        let pids = pids(directory.path(), name);
        assert_eq!(pids.len(), 2, "{name} was started once a round");
        assert!(pids.iter().all(|pid| !cpus::is_alive(*pid)), "{name} was stopped");
    }
    let comparison = document.comparison.as_ref().unwrap();
    assert_eq!(comparison.servers.iter().map(|s| s.rounds.len()).collect::<Vec<_>>(), [2, 2]);
    let cpu = |server: usize| {
        let rounds = comparison.servers[server].rounds.iter();
        rounds.map(|round| round.server_cpu_us_per_request.unwrap()).sum::<f64>()
    };
    assert!(cpu(1) > cpu(0), "{} and {}", cpu(0), cpu(1));
    // Both rounds are in the run of each server.
    assert_eq!(document.runs.iter().map(Outcome::requests).collect::<Vec<_>>(), [400, 400]);
    let text = comparison.render();
    assert!(text.contains("requests/s") && text.contains("server CPU a request"), "{text}");
    let markdown = comparison.markdown();
    assert!(
        markdown.starts_with("|  | light | heavy | ratio |\n|---|---:|---:|---:|\n"),
        "{markdown}"
    );
    let again = Document::from_json(&document.to_json()).unwrap();
    assert_eq!(again.comparison, document.comparison);
}

#[test]
fn a_server_that_does_not_start_is_named_with_its_last_words() {
    let server =
        "broken=sh -c 'echo listening on {port}; echo no such disk >&2; exit 3'".to_owned();
    let options = options(&[server], 1);
    let (document, result) =
        compare(&options, &AtomicBool::new(false), &mut |_, _| panic!("there is no server"));
    let error = result.unwrap_err();
    assert!(error.starts_with("broken does not start: it ended with exit status: 3"), "{error}");
    assert!(error.ends_with("\n    no such disk"), "{error}");
    assert!(document.runs.is_empty());

    let options = self::options(&["none=/no/such/server {port}".to_owned()], 1);
    let (_, result) = compare(&options, &AtomicBool::new(false), &mut |_, _| panic!("no server"));
    let error = result.unwrap_err();
    assert!(error.starts_with("none does not start: /no/such/server: No such file"), "{error}");
}

#[test]
fn a_server_that_never_answers_is_given_up_and_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("deaf.pids");
    let server = format!("deaf=sh -c 'echo $$ > {}; sleep 60; : {{port}}'", pids.display());
    let mut options = options(&[server], 1);
    options.start_timeout = 1;
    let (_, result) = compare(&options, &AtomicBool::new(false), &mut |_, _| panic!("no server"));
    let error = result.unwrap_err();
    assert!(error.contains("deaf does not start: no answer on port"), "{error}");
    assert!(!cpus::is_alive(self::pids(directory.path(), "deaf")[0]));
}

#[test]
fn an_error_in_a_later_round_keeps_what_there_is_and_stops_the_server() {
    if !has_python() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let servers = [fake_server(directory.path(), "only", 0)];
    let mut load = load(10);
    let mut rounds = 0;
    let (document, result) =
        compare(&options(&servers, 3), &AtomicBool::new(false), &mut |target, watch| {
            rounds += 1;
            if rounds == 2 { Err("connection refused".to_owned()) } else { load(target, watch) }
        });
    assert_eq!(result.unwrap_err(), "only: connection refused");
    assert_eq!(document.comparison.unwrap().servers[0].rounds.len(), 1);
    assert!(pids(directory.path(), "only").iter().all(|pid| !cpus::is_alive(*pid)));
}

#[test]
fn an_interrupt_ends_the_rounds() {
    if !has_python() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let servers = [fake_server(directory.path(), "only", 0)];
    let stop = AtomicBool::new(false);
    let mut load = load(10);
    let (document, result) = compare(&options(&servers, 3), &stop, &mut |target, watch| {
        stop.store(true, Ordering::Relaxed);
        load(target, watch)
    });
    assert_eq!(result.unwrap_err(), "interrupted");
    assert_eq!(document.runs.len(), 1);
    assert!(pids(directory.path(), "only").iter().all(|pid| !cpus::is_alive(*pid)));
}

#[test]
fn what_can_not_work_is_refused_first() {
    let twice = options(&["a=x {port}".to_owned(), "a=y {port}".to_owned()], 1);
    assert_eq!(twice.check().unwrap_err(), "two servers are called a");
    let mut far = options(&["a=x {port}".to_owned()], 1);
    far.server_cpus = Some("1000".parse().unwrap());
    assert_eq!(far.check().unwrap_err(), "--server-cpus: there is no CPU 1000 here");
}

#[test]
fn the_client_leaves_the_servers_cpus_alone() {
    let mut options = options(&["a=x {port}".to_owned()], 1);
    let all = cpus::allowed();
    let client = options.client_cpus();
    assert!(client == all || !client.contains(&0), "{client:?}");
    options.server_cpus = None;
    assert_eq!(options.client_cpus(), all);
}

#[test]
fn the_table_has_median_spread_and_ratio() {
    let round = |requests_per_s: f64, cpu: f64| Round {
        requests_per_s,
        quantiles_ns: vec![50_000; QUANTILES.len()],
        server_cpu_us_per_request: Some(cpu),
        ..Round::default()
    };
    let server = |name: &str, rounds: Vec<Round>| ServerRounds {
        name: name.to_owned(),
        command: "x".to_owned(),
        rounds,
    };
    let mut slow = round(90.0, 8.0);
    slow.limited_by_tool = true;
    let comparison = Comparison {
        servers: vec![
            server("a", vec![slow, round(110.0, 10.0), round(100.0, 9.0)]),
            server("b", vec![round(200.0, 3.0), round(300.0, 6.0)]),
        ],
    };
    let rows: Vec<Vec<String>> = comparison.table().rows().to_vec();
    assert_eq!(rows[0], ["requests/s", "100 (90.0 to 110)", "250 (200 to 300)", "2.50"]);
    let cpu = rows.last().unwrap();
    assert_eq!(
        cpu,
        &[
            "server CPU a request",
            "9.00 us (8.00 us to 10.0 us)",
            "4.50 us (3.00 us to 6.00 us)",
            "0.50"
        ]
    );
    assert!(
        comparison
            .render()
            .contains("warning: a: the load generator was itself the bottleneck in 1 of 3")
    );
}
