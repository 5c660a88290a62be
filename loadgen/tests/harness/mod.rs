//! What the end-to-end tests share: scripted servers, Ringmain itself, and running the tool.

#![allow(dead_code, reason = "each test file uses a part of this")]

pub(crate) mod fake;
pub(crate) mod frames;
pub(crate) mod ringmain;
pub(crate) mod tool;

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: met only when something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Calls `condition` until it holds.
///
/// # Panics
/// With `what` if it does not hold within [`PATIENCE`].
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
