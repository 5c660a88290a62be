//! A server that is stopped for a second in the middle of a run: an open loop tells, a closed one can't.

mod harness;

use harness::ringmain::Server;
use harness::tool::{Ran, Tool};
use std::thread;
use std::time::Duration;

/// Runs the tool for ten seconds and stops the server for the fifth of them.
fn with_a_stop(args: &[&str]) -> Ran {
    let server = Server::start(1, &[]);
    let ran = Tool::at(server.port(), args).run_while(|_| {
        thread::sleep(Duration::from_secs(4));
        server.signal("STOP");
        thread::sleep(Duration::from_secs(1));
        server.signal("CONT");
    });
    assert_eq!(ran.status, Some(0), "{}{}", ran.stdout, ran.stderr);
    ran
}

fn latency_ms(ran: &Ran, quantile: &str) -> f64 {
    ran.report["summary"]["latency_us"][quantile].as_f64().expect("a number") / 1000.0
}

#[test]
fn an_open_loop_shows_a_second_without_a_server() {
    let ran = with_a_stop(&["--rate", "2000", "--duration", "10s"]);
    // A tenth of all requests was due in that second and waited up to all of it, evenly: one in a
    // hundred waited more than 0.9 s.
    let (p99, p95, max) =
        (latency_ms(&ran, "p99"), latency_ms(&ran, "p95"), latency_ms(&ran, "max"));
    assert!((850.0..1000.0).contains(&p99), "p99 is {p99} ms");
    assert!((450.0..700.0).contains(&p95), "p95 is {p95} ms");
    assert!((980.0..1500.0).contains(&max), "max is {max} ms");
    assert_eq!(ran.report["summary"]["requests"], 20_000);
    // And says when: there is a second with next to no replies, and one whose p99 is long.
    let seconds = ran.report["outcome"]["seconds"].as_array().expect("seconds").clone();
    let long = seconds.iter().filter(|s| s["p99_ns"].as_u64() > Some(400_000_000)).count();
    assert!((1..=2).contains(&long), "{seconds:?}");
}

#[test]
fn a_closed_loop_hardly_notices() {
    let ran = with_a_stop(&["--duration", "10s", "--connections", "5"]);
    // Five of all requests met the stop.
    let (p99, max) = (latency_ms(&ran, "p99"), latency_ms(&ran, "max"));
    assert!(p99 < 100.0, "p99 is {p99} ms");
    assert!(max >= 980.0, "max is {max} ms");
}
