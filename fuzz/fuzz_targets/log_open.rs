//! A folder that any bytes describe is read and gone on with, or refused and left as it was.
//!
//! `cargo +nightly fuzz run log_open`; a run without nightly or libFuzzer is `tests/fuzz_log.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/feed/changes.rs"]
mod changes;
#[path = "../../tests/feed/log.rs"]
mod log;

fuzz_target!(|data: &[u8]| log::check_open(data));
