//! Any bytes as the content of a segment give the same records however much of it there is, and these are
//! written again as they were. Lengths and checksums are put right, so that what is behind them is reached.
//!
//! `cargo +nightly fuzz run log_records`; a run without nightly or libFuzzer is `tests/fuzz_log.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/feed/changes.rs"]
mod changes;
#[path = "../../tests/feed/log.rs"]
mod log;

fuzz_target!(|data: &[u8]| log::check_records(data));
