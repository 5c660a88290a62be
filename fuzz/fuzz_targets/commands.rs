//! Any sequence of commands on data is answered, each by one reply, and made again from what the shard writes
//! down of it.
//!
//! `cargo +nightly fuzz run commands`; a run without nightly or libFuzzer is `tests/fuzz_commands.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/feed/commands.rs"]
mod feed;

fuzz_target!(|data: &[u8]| feed::check_invariants(data));
