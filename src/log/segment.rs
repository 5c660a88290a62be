//! A segment: a file of records, behind a header of one page.
//!
//! ```text
//!  0  magic          8 bytes  "RINGSEG1"
//!  8  crc            u32      CRC-32C of bytes 12..96
//! 12  kind           u8       1 log, 2 snapshot
//! 13                 u8       zero
//! 14  shard          u16
//! 16  segment        u64      its number: a shard never uses one twice
//! 24  first_index    u64      of the first record in it; of a snapshot: the first record not in it
//! 32  previous       u64      the segment before, 0 if there is none
//! 40  previous_bytes u64      where the records of the segment before end
//! 48  previous_term  u64      the term of the last record before
//! 56  created        u64      milliseconds since the Unix epoch
//! 64  directory      16 bytes names the data directory
//! 80                 16 bytes zero
//! 4096 records
//! ```
//!
//! The file is preallocated, or one that is not needed any more, renamed: the records that it holds from
//! before name another segment, and so does the header until the first records are written, in one go
//! with their header. So a segment counts from the moment on when its header names it; and the header
//! tells where the records of the segment before end, whatever may follow them there.

use super::record::{u32_at, u64_at};
use crate::types::{ByteOffset, LogIndex, SegmentId, ShardId, Term, UnixMs};

/// Bytes before the first record.
pub const SEGMENT_HEADER_BYTES: usize = 4096;
/// Bytes of the header that mean something.
const USED_BYTES: usize = 96;
const MAGIC: &[u8; 8] = b"RINGSEG1";

/// Files, records and generations have numbers below this: far more than are ever used, so that there is
/// a next one to any that was read.
pub(super) const NUMBERS_END: u64 = 1 << 63;

/// Names a data directory, so that a file of another one is not taken for one of its own.
pub type DirectoryId = [u8; 16];

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SegmentKind {
    /// A part of the log.
    Log = 1,
    /// A snapshot, whole.
    Snapshot = 2,
}

impl SegmentKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Log => "log-",
            Self::Snapshot => "snapshot-",
        }
    }
}

/// A file of records: its kind and number, which make its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentFile {
    /// What it holds.
    pub kind: SegmentKind,
    /// Its number.
    pub id: SegmentId,
}

const SUFFIX: &str = ".seg";

impl SegmentFile {
    /// A part of the log.
    pub fn log(id: SegmentId) -> Self {
        Self { kind: SegmentKind::Log, id }
    }

    /// A snapshot.
    pub fn snapshot(id: SegmentId) -> Self {
        Self { kind: SegmentKind::Snapshot, id }
    }

    /// The file's name in the shard's folder, as `log-0000000000000007.seg`.
    pub fn name(self) -> String {
        format!("{}{:016x}{SUFFIX}", self.kind.prefix(), self.id.0)
    }

    /// The segment of that name.
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(SUFFIX)?;
        [SegmentKind::Log, SegmentKind::Snapshot].into_iter().find_map(|kind| {
            let digits = stem.strip_prefix(kind.prefix())?;
            let is_number =
                digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let id = SegmentId(u64::from_str_radix(digits, 16).ok().filter(|_| is_number)?);
            (id.0 < NUMBERS_END && Self { kind, id }.name() == name).then_some(Self { kind, id })
        })
    }
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Which segment.
    pub file: SegmentFile,
    /// Whose.
    pub shard: ShardId,
    /// The first record in it; of a snapshot: the first one that is not in it.
    pub first_index: LogIndex,
    /// The segment before and where its records end, unless this is the first.
    pub previous: Option<(SegmentId, ByteOffset)>,
    /// The term of the last record before.
    pub previous_term: Term,
    /// When it was begun.
    pub created: UnixMs,
    /// The data directory.
    pub directory: DirectoryId,
}

/// Why a file does not begin with a header that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// There is no such file.
    #[error("it is missing")]
    Missing,
    /// It is too short, or something else.
    #[error("it does not begin as a segment does")]
    Magic,
    /// The checksum does not fit.
    #[error("the checksum of its header is wrong")]
    Checksum,
    /// It is the header of another segment: the file was not written to under its name.
    #[error("its header is another segment's")]
    Foreign,
}

impl SegmentHeader {
    /// The first page of the segment.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut page = [0; SEGMENT_HEADER_BYTES];
        page[..8].copy_from_slice(MAGIC);
        page[12] = self.file.kind as u8;
        page[14..16].copy_from_slice(&self.shard.0.to_le_bytes());
        let (previous, previous_bytes) = self.previous.unwrap_or((SegmentId(0), ByteOffset(0)));
        let words = [
            self.file.id.0,
            self.first_index.0,
            previous.0,
            previous_bytes.0,
            self.previous_term.0,
            self.created.0,
        ];
        for (bytes, word) in page[16..64].chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        page[64..80].copy_from_slice(&self.directory);
        let crc = crc32c::crc32c(&page[12..USED_BYTES]);
        page[8..12].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// The header of `file`, a segment of `shard`.
    ///
    /// # Errors
    /// Why the file does not begin with one.
    pub fn decode(
        bytes: &[u8],
        file: SegmentFile,
        shard: ShardId,
        directory: &DirectoryId,
    ) -> Result<Self, HeaderFault> {
        let Some(page) = bytes.first_chunk::<SEGMENT_HEADER_BYTES>() else {
            return Err(HeaderFault::Magic);
        };
        if page[..8] != *MAGIC {
            return Err(HeaderFault::Magic);
        }
        if crc32c::crc32c(&page[12..USED_BYTES]) != u32_at(page, 8) {
            return Err(HeaderFault::Checksum);
        }
        let previous = SegmentId(u64_at(page, 32));
        let header = Self {
            file,
            shard,
            first_index: LogIndex(u64_at(page, 24)),
            previous: (previous.0 > 0).then(|| (previous, ByteOffset(u64_at(page, 40)))),
            previous_term: Term(u64_at(page, 48)),
            created: UnixMs(u64_at(page, 56)),
            directory: *directory,
        };
        // What does not stand in `header` must be what the file's name and place say.
        if header.encode() != *page {
            return Err(HeaderFault::Foreign);
        }
        let is_possible = (1..NUMBERS_END).contains(&header.first_index.0);
        if is_possible { Ok(header) } else { Err(HeaderFault::Magic) }
    }
}
