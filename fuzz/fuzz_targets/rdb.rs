//! Any bytes as an RDB file give the same keys however they come, and these survive being written again.
//! Headers and checksums are put right, so that what is behind them is reached.
//!
//! `cargo +nightly fuzz run rdb`; a run without nightly or libFuzzer is `tests/fuzz_rdb.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/feed/rdb.rs"]
mod feed;

fuzz_target!(|data: &[u8]| {
    feed::check_invariants(data);
    let mut sealed = data.to_vec();
    feed::seal(&mut sealed);
    feed::check_invariants(&sealed);
});
