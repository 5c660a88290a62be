//! Any bytes, however cut, give the same requests of the binary protocol, and these survive being encoded
//! again. Checksums are put right, so that what is behind them is reached.
//!
//! `cargo +nightly fuzz run binary`; a run without nightly or libFuzzer is `tests/fuzz_binary.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/feed/binary.rs"]
mod feed;

fuzz_target!(|data: &[u8]| {
    feed::check_invariants(data);
    let mut sealed = data.to_vec();
    feed::seal(&mut sealed);
    feed::check_invariants(&sealed);
});
