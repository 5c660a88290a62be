//! A server that is killed again and again under `--verify`: what it acknowledged in `sync` is there whenever it
//! is back, and what it did not keep in `async` is reported.

mod harness;

use std::time::Duration;

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
            std::thread::sleep(Duration::from_millis(u64::from(30 + kills * 37 % 90)));
            server.kill_and_restart();
            kills += 1;
        }
        std::thread::sleep(Duration::from_millis(200));
        harness::tool::kill(tool.id(), "INT");
    });
    assert!(
        ran.report["summary"]["requests"].as_u64().expect("a number") > 1_000,
        "{}",
        ran.stdout
    );
    assert!(fault(&ran, "reconnects") >= u64::from(KILLS), "{}", ran.stdout);
    assert_eq!((fault(&ran, "wrong"), fault(&ran, "foreign")), (0, 0), "{}", ran.stdout);
    ran
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
