//! Why a log can't be opened, in words that name the place.

use std::io;

use super::super::manifest::MANIFEST_NAME;
use super::super::record::RecordFault;
use super::super::segment::HeaderFault;
use crate::types::{ByteOffset, LogIndex};

/// Why a shard's log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system said no.
    #[error("{file}: {error}")]
    Io {
        /// The file.
        file: String,
        /// What it said.
        error: io::Error,
    },
    /// There is nothing of the shard.
    #[error(
        "the manifest is missing, and so is everything else of the shard: restore it from a copy"
    )]
    Gone,
    /// There are segments and no manifest.
    #[error(
        "there are segments and no manifest that can be read: both copies in '{MANIFEST_NAME}' are \
         damaged or missing"
    )]
    NoManifest,
    /// The files are those of another shard or directory.
    #[error("'{file}' belongs to another shard or data directory")]
    Foreign {
        /// The file.
        file: String,
    },
    /// A segment is not there, or begins as none does.
    #[error("'{file}' can't be read as a segment: {fault}")]
    Segment {
        /// The file.
        file: String,
        /// What is wrong with it.
        fault: HeaderFault,
    },
    /// What was on disk is damaged.
    #[error("'{file}' is damaged at byte {}: {fault}, though what follows shows that it was on disk once", at.0)]
    Damaged {
        /// The file.
        file: String,
        /// Where.
        at: ByteOffset,
        /// What is there.
        fault: RecordFault,
    },
    /// The log ends before where it was when the server stopped.
    #[error(
        "'{file}' ends at record {}, but the server stopped cleanly after record {}",
        found.0, expected.0
    )]
    Short {
        /// The file.
        file: String,
        /// The last record there is.
        found: LogIndex,
        /// The last record there was.
        expected: LogIndex,
    },
    /// The log ends before what entries of the snapshot have seen.
    #[error(
        "'{file}' ends at record {}, but the snapshot holds entries as they were after record {}",
        found.0, expected.0
    )]
    Behind {
        /// The file.
        file: String,
        /// The last record there is.
        found: LogIndex,
        /// The last record that the snapshot says there is.
        expected: LogIndex,
    },
    /// A snapshot does not have the entries that it says, or its content makes no sense.
    #[error("'{file}' does not hold what it says: its content makes no sense at byte {}", at.0)]
    Content {
        /// The file.
        file: String,
        /// Where.
        at: ByteOffset,
    },
}

pub(super) fn io_error(file: &str, error: io::Error) -> OpenError {
    OpenError::Io { file: file.to_owned(), error }
}
