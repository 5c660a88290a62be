//! A server that is killed again and again under `--verify`: what it acknowledged in `sync` is there whenever it
//! is back, and what it did not keep in `async` is reported.

mod harness;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::ringmain::Server;
use harness::tool::{Ran, Tool};

const KILLS: u32 = 20;

/// Runs a load and kills the server at moments of no particular kind.
fn run_under_kills(durability: &str) -> Ran {
    let flags = ["--durability", durability, "--segment-bytes", "1mb"];
    let mut server = Server::start(2, &flags);
    let args = ["-c", "6", "--verify", "--mix", "set=1,get=1", "--keys", "500", "--duration", "60"];
    let mut kills = 0;
    let ran = Tool::at(server.port(), &args).run_while(|tool| {
        while kills < KILLS {
            // A load generator that has not connected yet finds no server, and ends.
            wait_for_keys(server.port());
            std::thread::sleep(Duration::from_millis(u64::from(30 + kills * 37 % 90)));
            server.kill_and_restart();
            kills += 1;
        }
        std::thread::sleep(Duration::from_millis(200));
        harness::tool::kill(tool.id(), "INT");
    });
    let requests = ran.report["summary"]["requests"].as_u64();
    assert!(requests > Some(1_000), "{}\n{}", ran.stdout, ran.stderr);
    assert!(fault(&ran, "reconnects") >= u64::from(KILLS), "{}", ran.stdout);
    assert_eq!((fault(&ran, "wrong"), fault(&ran, "foreign")), (0, 0), "{}", ran.stdout);
    ran
}

/// Waits until a server holds keys.
fn wait_for_keys(port: u16) {
    let has_keys = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(b"DBSIZE\r\n").ok()?;
        let mut reply = String::new();
        BufReader::new(stream).read_line(&mut reply).ok()?;
        reply.strip_prefix(':')?.trim_end().parse::<u64>().ok().filter(|count| *count > 0)
    };
    let begun = Instant::now();
    while has_keys().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is written");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn fault(ran: &Ran, name: &str) -> u64 {
    ran.report["outcome"]["faults"][name].as_u64().expect("a number")
}

#[test]
fn what_was_acknowledged_in_sync_is_there_after_every_kill() {
    let ran = run_under_kills("sync");
    assert_eq!((fault(&ran, "lost"), fault(&ran, "stale")), (0, 0), "{}", ran.stdout);
}

/// It may be lost; it is never damaged, nor another key's.
#[test]
fn what_comes_back_in_async_was_written() {
    run_under_kills("async");
}

/// A server that keeps nothing is found out, or the checks above would say nothing.
#[test]
fn what_a_server_forgets_is_reported() {
    let ran = run_under_kills("memory");
    assert!(fault(&ran, "lost") > 0, "{}", ran.stdout);
}
