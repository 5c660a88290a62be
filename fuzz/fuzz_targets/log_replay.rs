//! Any bytes as the payload of a record are made again as a plain map makes them, or refused; so are the
//! changes that any bytes describe, with a few of their bytes changed.
//!
//! `cargo +nightly fuzz run log_replay`; a run without nightly or libFuzzer is `tests/fuzz_log.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/feed/changes.rs"]
mod feed;

fuzz_target!(|data: &[u8]| feed::check_invariants(data));
