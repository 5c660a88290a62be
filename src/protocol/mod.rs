//! Bytes to requests and replies to bytes. No I/O, no clock.

pub mod args;
pub mod binary;
pub mod client;
pub mod cutter;
mod inline;
pub mod reply;
pub mod resp;

pub use args::Args;
pub use reply::{Proto, Reply};
pub use resp::{Limits, Parsed, Parser, ProtocolError};
