//! Against Ringmain itself: every kind of load, to its end.

mod harness;

use harness::ringmain::Server;
use harness::tool::{Ran, Tool, kill};
use std::thread;
use std::time::{Duration, Instant};

fn requests(ran: &Ran) -> u64 {
    ran.report["summary"]["requests"].as_u64().expect("a number")
}

fn outcome<'a>(ran: &'a Ran, name: &str) -> &'a serde_json::Value {
    &ran.report["outcome"][name]
}

fn clean(server: &Server, args: &[&str]) -> Ran {
    let ran = Tool::at(server.port(), args).run();
    assert_eq!(ran.status, Some(0), "{args:?}: {}{}", ran.stdout, ran.stderr);
    ran
}

#[test]
fn every_request_is_made_and_answered() {
    let server = Server::start(2, &[]);
    for (args, expected) in [
        (&["-n", "1", "-c", "1"][..], 1),
        (&["-n", "7", "-c", "50"], 7),
        (&["-n", "10001", "-c", "50"], 10_001),
        (&["-n", "10001", "-c", "5", "-P", "16"], 10_001),
        (&["-n", "10000", "-c", "3", "-P", "500", "--protocol", "resp3"], 10_000),
        (&["-n", "20000", "-c", "9", "-P", "2", "--threads", "3"], 20_000),
        (&["-n", "3000", "-c", "2", "--value-bytes", "100000", "--mix", "set=1,get=1"], 3_000),
        (&["-n", "5000", "--rate", "20k", "--arrivals", "poisson", "--threads", "2"], 5_000),
    ] {
        let ran = clean(&server, args);
        assert_eq!(requests(&ran), expected, "{args:?}");
        let commands = outcome(&ran, "commands").as_array().expect("commands").iter();
        let sent = commands.map(|command| command["sent"].as_u64().expect("a number"));
        assert_eq!(sent.sum::<u64>(), expected, "{args:?}");
        assert!(ran.report["summary"]["latency_us"]["min"].as_f64() > Some(0.0), "{args:?}");
    }
}

#[test]
fn a_fill_phase_leaves_nothing_to_miss() {
    let server = Server::start(1, &[]);
    let ran = clean(&server, &["-n", "5000", "--keys", "3000", "--mix", "get=1"]);
    assert_eq!(ran.report["summary"]["hit_ratio"], 0.0);
    let ran = clean(&server, &["-n", "5000", "--keys", "3000", "--mix", "get=1", "--fill"]);
    assert_eq!(ran.report["summary"]["hit_ratio"], 1.0);
    assert_eq!(requests(&ran), 5000);
}

#[test]
fn a_rate_is_kept_for_as_long_as_asked() {
    let server = Server::start(1, &[]);
    let args = ["--rate", "2k", "--duration", "2s", "--warmup", "500ms", "--threads", "2"];
    let ran = clean(&server, &args);
    assert_eq!(requests(&ran), 4000);
    let elapsed = outcome(&ran, "elapsed_ns").as_u64().expect("a number");
    assert!((2_000_000_000..2_500_000_000).contains(&elapsed), "{elapsed}");
    let ran = clean(&server, &["--steps", "1k,3k:1s"]);
    assert_eq!(requests(&ran), 4000);
    let seconds = outcome(&ran, "seconds").as_array().expect("seconds");
    let rates: Vec<f64> = seconds.iter().filter_map(|s| s["intended_rate"].as_f64()).collect();
    assert_eq!(rates[..2], [1000.0, 3000.0]);
    let ran = clean(&server, &["--ramp", "0:4k:2s", "--connections", "5"]);
    assert!(requests(&ran).abs_diff(4000) <= 1, "{}", requests(&ran));
}

#[test]
fn a_closed_loop_ends_when_its_time_is_up() {
    let server = Server::start(1, &[]);
    let started = Instant::now();
    let ran = clean(&server, &["--duration", "1s", "--warmup", "300ms", "-c", "2"]);
    assert!(started.elapsed() >= Duration::from_millis(1300));
    assert!(requests(&ran) > 100);
    assert!(!outcome(&ran, "seconds").as_array().expect("seconds").is_empty());
    assert_eq!(outcome(&ran, "interrupted"), false);
}

/// The CPUs that the tool's threads under load may run on, each by itself.
fn cpus_of_threads(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let read = |task: &std::fs::DirEntry, name: &str| {
        std::fs::read_to_string(task.path().join(name)).unwrap_or_default()
    };
    let mut cpus: Vec<String> = tasks
        .filter(|task| read(task, "comm").starts_with("load-"))
        .filter_map(|task| {
            let status = read(&task, "status");
            let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            line.map(|list| list.trim().to_owned())
        })
        .collect();
    cpus.sort();
    cpus
}

#[test]
fn each_thread_has_a_cpu_of_its_own() {
    let own = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let allowed = own.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    if !allowed.expect("a list").trim().starts_with("0-") {
        eprintln!("skipped: needs CPUs 0 and 1");
        return;
    }
    let server = Server::start(1, &[]);
    let port = server.port().to_string();
    for (args, expected) in [(&["--cpus", "0,1"][..], ["0", "1"]), (&["--cpus", "1"], ["1", "1"])] {
        let common = ["--port", &port, "-q", "--threads", "2", "--rate", "100", "--duration", "1h"];
        let ran = Tool::with(&[&common[..], args].concat()).run_while(|child| {
            let is_settled = || cpus_of_threads(child.id()) == expected;
            harness::wait_until("both threads are pinned", is_settled);
            kill(child.id(), "INT");
        });
        assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    }
}

#[test]
fn an_interrupted_run_shows_what_it_has() {
    let server = Server::start(1, &[]);
    for (signal, args) in
        [("INT", &["--duration", "1h"][..]), ("TERM", &["--rate", "500", "--duration", "1h"])]
    {
        let ran = Tool::at(server.port(), args).run_while(|child| {
            thread::sleep(Duration::from_millis(700));
            kill(child.id(), signal);
        });
        assert_eq!(ran.status, Some(130), "{}", ran.stderr);
        assert!(requests(&ran) > 0, "{}", ran.stdout);
        assert_eq!(outcome(&ran, "interrupted"), true);
        assert!(
            ran.stdout.contains("interrupted") && ran.stdout.contains("p99.9"),
            "{}",
            ran.stdout
        );
    }
}

#[test]
fn a_cluster_client_goes_straight_to_each_owner() {
    let server = Server::start(2, &["--cluster-enabled", "yes"]);
    for args in [
        &["--cluster", "-n", "5000", "-c", "4"][..],
        &["--cluster", "-n", "5000", "-c", "4", "-P", "8", "--protocol", "resp3", "--threads", "2"],
        &["--cluster", "--rate", "5k", "--duration", "1s"],
    ] {
        let ran = clean(&server, args);
        assert_eq!(requests(&ran), 5000);
        assert_eq!(
            (outcome(&ran, "moved").as_u64(), outcome(&ran, "asked").as_u64()),
            (Some(0), Some(0))
        );
    }
    // One connection to one core's port, without knowing of clusters: half of the keys are elsewhere.
    let port = (server.port() + 1).to_string();
    let ran = Tool::with(&["--port", &port, "-n", "1000", "--quiet"]).run();
    assert_eq!(ran.status, Some(1));
    assert!(ran.stdout.contains("MOVED"), "{}", ran.stdout);
}

#[test]
fn a_password_opens_a_server_that_wants_one() {
    let server = Server::start(1, &["--requirepass", "pass word"]);
    let ran = Tool::at(server.port(), &[]).run();
    assert_eq!((ran.status, ran.stderr.contains("NOAUTH")), (Some(2), true), "{}", ran.stderr);
    for protocol in ["resp2", "resp3"] {
        let args = ["-n", "500", "--protocol", protocol, "--auth", "pass word", "--db", "3"];
        assert_eq!(requests(&clean(&server, &args)), 500);
    }
}

#[test]
fn every_acknowledged_write_is_there() {
    let server = Server::start(2, &[]);
    let args = ["--verify", "-n", "20000", "-c", "8", "-P", "4", "--keys", "200", "--threads", "2"];
    let ran = clean(&server, &[&args[..], &["--mix", "get=1,set=1"]].concat());
    assert_eq!(requests(&ran), 20_000);
    let faults = outcome(&ran, "faults");
    for name in ["lost", "stale", "foreign", "wrong"] {
        assert_eq!(faults[name], 0, "{name}");
    }
}
