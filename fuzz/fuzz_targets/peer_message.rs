//! Any bytes from another node are the one message, list of nodes, or news, that is written so, or none.
//!
//! `cargo +nightly fuzz run peer_message`; a run without nightly or libFuzzer is `tests/peer_protocol.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/feed/peer.rs"]
mod peer;

fuzz_target!(|data: &[u8]| {
    let _ = peer::check_message(data);
    let _ = peer::check_nodes(data);
    let _ = peer::check_news(data);
});
