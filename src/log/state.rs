//! What others see of a log, as of its last step.

use super::stream::{Refusal, StreamFigures};
use crate::types::{LogIndex, MonoUs};

/// What a shard's log has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// All records up to this one are on disk.
    pub durable: LogIndex,
    /// The last record, changes included that are none yet.
    pub last: LogIndex,
    /// Since when changes are not on disk, if any are not.
    pub unsynced_since: Option<MonoUs>,
    /// Bytes of changes that are no record yet.
    pub waiting_bytes: usize,
    /// Bytes of memory that the log holds, and the changes that are no record yet.
    pub memory_bytes: usize,
    /// What the log has done.
    pub figures: StreamFigures,
    /// Entries and bytes of the snapshot that is being taken.
    pub snapshot: Option<(u64, u64)>,
    /// Why writes are refused, if they are.
    pub refusal: Option<Refusal>,
}
