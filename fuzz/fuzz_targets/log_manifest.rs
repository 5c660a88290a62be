//! Any bytes as a manifest are the manifest that is written so, or none. Checksums are put right, so that
//! what is behind them is reached.
//!
//! `cargo +nightly fuzz run log_manifest`; a run without nightly or libFuzzer is `tests/fuzz_log.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/feed/changes.rs"]
mod changes;
#[path = "../../tests/feed/log.rs"]
mod log;

fuzz_target!(|data: &[u8]| log::check_manifest(data));
