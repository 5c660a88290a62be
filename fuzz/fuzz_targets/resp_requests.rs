//! Any bytes, however cut, give the same requests, and these survive being encoded again.
//!
//! `cargo +nightly fuzz run resp_requests`; a run without nightly or libFuzzer is `tests/fuzz_resp.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/feed/mod.rs"]
mod feed;

fuzz_target!(|data: &[u8]| feed::check_invariants(data));
