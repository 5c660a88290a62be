//! Ringmain: a thread-per-core cache engine that speaks Redis's protocol.

pub mod cache;
pub mod config;
pub mod limits;
pub mod protocol;
pub mod types;
