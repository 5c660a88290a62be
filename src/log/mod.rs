//! A shard's segmented log: what is written, in which order, and how it is read again.
//!
//! ```text
//! journal ─► stream ──► records in segments ──► scan ─► open ─► the keyspace again
//!              │          record, segment                ▲
//!              ├──► snapshot ────────────────────────────┤
//!              └──► manifest, directory ─────────────────┘
//! ```
//!
//! The log knows nothing of what its payloads mean, and does no I/O: `stream` says what is to be written
//! and synced and is told what came of it; `open` is given the content of files; `directory` is a
//! folder as a trait. The bytes are specified in `docs/log-format.md`. One holder of the shard's token
//! at a time owns a log.

mod buffer;
mod configuration;
mod directory;
mod hard_state;
mod long;
mod manifest;
mod open;
mod record;
mod repair;
mod scan;
mod segment;
mod snapshot;
mod state;
mod stream;

#[cfg(test)]
mod tests;

pub use buffer::{ALIGN_BYTES, AlignedBuffer};
pub use configuration::{CONFIGURATION_BYTES_MAX, Configuration, Version};
pub use directory::{Directory, Job, save_manifest};
pub use hard_state::{HARD_STATE_COPY_BYTES, HARD_STATE_NAME, HardState};
pub use long::{Payload, Piece};
pub use manifest::{MANIFEST_COPY_BYTES, MANIFEST_NAME, Manifest};
pub use open::{Cut, FileRead, Item, OpenError, Place, Recovery, create, start_over};
pub use record::{
    BLOCK_BYTES, PAYLOAD_BYTES_MAX, RECORD_ALIGN, RECORD_HEADER_BYTES, Record, RecordFault,
    RecordHeader, RecordKind, RecordSeed, RecordSum, record_bytes,
};
pub use repair::{Fill, Repair, Unbuildable, give_up_replica, rebuild_manifest};
pub use scan::{Next, Salvage, Scan, Stop};
pub use segment::{
    DirectoryId, HeaderFault, SEGMENT_HEADER_BYTES, SegmentFile, SegmentHeader, SegmentKind,
};
pub use snapshot::{SNAPSHOT_END_BYTES, Snapshot, SnapshotEnd};
pub use state::LogState;
pub use stream::{
    DiskError, Effect, LogEntry, RecordStart, Refusal, Resume, ResumeSegment, Stream,
    StreamFigures, StreamOptions, entry_bytes,
};
