//! What the integration tests share: starting a server, talking to it in raw bytes, telling time.
//!
//! The server under test is `ringmain` as Cargo built it. With `RINGMAIN_TEST_SERVER` set to the name
//! or path of another server (`redis-server`), the same cases run against that one instead, which is
//! how their expectations were checked: `RINGMAIN_TEST_SERVER=redis-server cargo test --test commands`.
//! Tests of what only Ringmain has are skipped then, with a line that says so.

#![allow(dead_code, reason = "each test file uses a part of this")]

pub(crate) mod binary;
pub(crate) mod cases;
pub(crate) mod client;
pub(crate) mod cluster_client;
pub(crate) mod nodes;
pub(crate) mod random;
pub(crate) mod server;
pub(crate) mod slots;
pub(crate) mod topology;
pub(crate) mod trial;
pub(crate) mod value;

use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: long enough for a loaded machine and a debug
/// build, so that it is only met when something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Calls `condition` until it holds.
///
/// # Panics
/// With `what` if it does not hold within [`PATIENCE`].
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a program to its end, as [`Command::output`] does.
pub(crate) fn output_of(command: &mut Command) -> std::io::Result<Output> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    Ok(end_of(child))
}

/// What a program says by the time it ends.
///
/// # Panics
/// If it does not end within twice [`PATIENCE`], as when it waits for a reply that never comes; it is killed then.
pub(crate) fn end_of(child: Child) -> Output {
    let id = child.id();
    let (ended, end) = mpsc::channel();
    let waiting = std::thread::spawn(move || {
        // Nobody hears it who has given up.
        let _ = ended.send(child.wait_with_output());
    });
    let output = end.recv_timeout(2 * PATIENCE);
    if output.is_err() {
        let _ = Command::new("sh").args(["-c", &format!("kill -KILL {id}")]).status();
    }
    waiting.join().expect("waiting for it");
    output.expect("it is still running").expect("its output")
}

/// Raises a flag when it goes out of scope, so that threads which run until then end when a test fails.
pub(crate) struct Raise<'a>(pub(crate) &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A number from the environment, to make a run longer or to repeat it.
pub(crate) fn number_from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Says why a test did nothing.
pub(crate) fn skip(reason: &str) {
    println!("skipped: {reason}");
    eprintln!("skipped: {reason}");
}
