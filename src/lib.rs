//! Ringmain: a thread-per-core cache engine that speaks Redis's protocol.

pub mod cache;
pub mod command;
pub mod config;
pub mod limits;
pub mod metrics;
pub mod node;
pub mod protocol;
pub mod runtime;
pub mod shard;
pub mod types;
