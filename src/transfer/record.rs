//! A key on its way, wherever it comes from.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Failure;
use super::kind::Kind;
use super::rdb::Value;

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) key: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) expiry: Expiry,
    pub(super) value: Value,
}

/// When a key expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    Never,
    /// At this time, in milliseconds since the Unix epoch.
    At(u64),
    /// In so many milliseconds, at least one.
    In(u64),
}

impl Expiry {
    /// Whether it has passed at `now_ms`.
    pub(super) fn has_passed(self, now_ms: u64) -> bool {
        match self {
            Self::Never | Self::In(_) => false,
            Self::At(at_ms) => at_ms <= now_ms,
        }
    }
}

/// Where records go.
pub(super) trait Sink {
    /// Whether values of this type are wanted.
    fn wants(&self, kind: Kind) -> bool;

    /// Further records belong to this database.
    fn select(&mut self, database: u64) -> Result<(), Failure>;

    /// Takes a record. Its value is skipped if it was not wanted.
    fn put(&mut self, record: Record) -> Result<(), Failure>;
}

/// This machine's clock, in milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
