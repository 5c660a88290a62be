//! One record of a segment: a header of 48 bytes and a payload that the log does not look into.
//!
//! ```text
//!  0  crc     u32   CRC-32C of the data directory's id, then bytes 4..48, then the payload
//!  4  length  u32   bytes of the payload
//!  8  kind    u8    see `RecordKind`
//!  9          u8    zero
//! 10  shard   u16   the shard whose log this is
//! 12          u32   zero
//! 16  segment u64   the segment that the record was written to
//! 24  term    u64   Raft's; 0 in a log that is not replicated
//! 32  index   u64   one more than the record before
//! 40  synced  u64   all records up to this index were on disk when this one was written
//! 48  payload
//! ```
//!
//! Little-endian. A record begins at a multiple of 8 bytes; what is written in one go begins at a
//! multiple of [`BLOCK_BYTES`] and is filled up with zeros, eight bytes of which tell that no record
//! follows in that block; so a payload is never empty. Shard, segment and index are in the header so
//! that a record that is out of place (an old block of a segment that was recycled, a write that went
//! to another file) is not one of this log, however good its checksum. The directory's id is in the
//! checksum, and nobody outside knows it: so no value that a client stores can pass for a record. `synced` is what tells a torn
//! tail from damage: where a later record says that a bad one was once on disk, it was.

use super::segment::DirectoryId;
use crate::limits::{CHANGES_BYTES_MAX, LINK_MESSAGE_BYTES_MAX, TRANSACTION_BYTES_MAX};
use crate::plant::{Fault, is_planted};
use crate::types::{LogIndex, SegmentId, ShardId, Term};

/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 48;
/// What is written in one go begins at a multiple of this; devices write so many bytes or none.
pub const BLOCK_BYTES: usize = 512;
/// Records begin at multiples of this.
pub const RECORD_ALIGN: usize = 8;
/// Longest payload: what a command may write down of what keys hold and of a request of the greatest length, with what
/// goes with each change.
pub const PAYLOAD_BYTES_MAX: usize = 3 << 30;
const _: () = assert!(CHANGES_BYTES_MAX + TRANSACTION_BYTES_MAX < PAYLOAD_BYTES_MAX);
const _: () = assert!(PAYLOAD_BYTES_MAX < LINK_MESSAGE_BYTES_MAX);

const CRC_BYTES: usize = 4;

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// Changes, as the cache's journal writes them: one entry of the log.
    Entry = 1,
    /// Some entries of the keyspace, in a snapshot.
    SnapshotPart = 2,
    /// The end of a snapshot: how many entries it has.
    SnapshotEnd = 3,
    /// Who takes part in a replicated shard from here on: an entry of the log as well.
    Configuration = 4,
}

impl RecordKind {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Entry),
            2 => Some(Self::SnapshotPart),
            3 => Some(Self::SnapshotEnd),
            4 => Some(Self::Configuration),
            _ => None,
        }
    }
}

/// A record's header, without what follows from the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the payload is.
    pub kind: RecordKind,
    /// Whose log it is.
    pub shard: ShardId,
    /// The segment that it is in.
    pub segment: SegmentId,
    /// Raft's term.
    pub term: Term,
    /// Its place in the log; in a snapshot, its place in the snapshot.
    pub index: LogIndex,
    /// All records up to this one were on disk when it was written.
    pub synced: LogIndex,
    /// The directory's seed; not in the bytes.
    pub seed: RecordSeed,
}

/// A record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its header.
    pub header: RecordHeader,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Zeros: nothing was written here.
    #[error("nothing was written here")]
    Nothing,
    /// The segment ends within the record.
    #[error("the record would be longer than the segment")]
    TooLong,
    /// The checksum does not fit.
    #[error("the checksum is wrong")]
    Checksum,
    /// The kind is unknown, or bytes that are zero are not.
    #[error("the kind of the record is unknown")]
    Kind,
    /// It is a record of another shard or segment.
    #[error("the record belongs to another segment")]
    Foreign,
    /// It is a record of this segment, but not the next.
    #[error("the record is not the next one")]
    OutOfOrder,
}

/// What the checksums of a data directory's records begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSeed(u32);

impl RecordSeed {
    /// That of the directory with this id.
    pub fn of(directory: &DirectoryId) -> Self {
        Self(crc32c::crc32c(directory))
    }
}

/// The checksum of a record whose payload comes in parts.
#[derive(Clone, Copy, Debug)]
pub struct RecordSum(u32);

impl RecordSum {
    /// Takes in the next part of the payload.
    pub fn append(&mut self, payload: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, payload);
    }
}

impl RecordHeader {
    /// The header's bytes for a payload, checksum and all.
    pub fn encode(&self, payload: &[u8]) -> [u8; RECORD_HEADER_BYTES] {
        let mut sum = self.sum(payload.len());
        sum.append(payload);
        self.encode_summed(payload.len(), &sum)
    }

    /// The checksum for a payload of `length` bytes, before any of them.
    pub fn sum(&self, length: usize) -> RecordSum {
        let bytes = self.encode_without_crc(length);
        RecordSum(crc32c::crc32c_append(self.seed.0, &bytes[CRC_BYTES..]))
    }

    /// The header's bytes for a payload of `length` bytes whose checksum is `sum`.
    pub fn encode_summed(&self, length: usize, sum: &RecordSum) -> [u8; RECORD_HEADER_BYTES] {
        debug_assert!((1..=PAYLOAD_BYTES_MAX).contains(&length));
        let mut bytes = self.encode_without_crc(length);
        bytes[..CRC_BYTES].copy_from_slice(&sum.0.to_le_bytes());
        bytes
    }

    fn encode_without_crc(&self, length: usize) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        let length = u32::try_from(length).expect("payloads are bounded");
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        bytes[8] = self.kind as u8;
        bytes[10..12].copy_from_slice(&self.shard.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.segment.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.term.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.index.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.synced.0.to_le_bytes());
        bytes
    }
}

impl<'a> Record<'a> {
    /// The record of a directory at the start of `bytes`, which end where the segment does.
    ///
    /// # Errors
    /// Why there is none.
    pub fn decode(bytes: &'a [u8], seed: RecordSeed) -> Result<Self, RecordFault> {
        let Some(header) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else {
            let is_zero = bytes.iter().all(|byte| *byte == 0);
            return Err(if is_zero { RecordFault::Nothing } else { RecordFault::TooLong });
        };
        // A record has a payload, so its length is not zero. Between a record and the end of its block there
        // may be eight bytes only.
        if header[..8] == [0; 8] {
            return Err(RecordFault::Nothing);
        }
        let length = u32_at(header, 4) as usize;
        let Some(payload) = bytes[RECORD_HEADER_BYTES..].get(..length) else {
            return Err(RecordFault::TooLong);
        };
        let crc = crc32c::crc32c_append(seed.0, &header[CRC_BYTES..]);
        let is_believed = is_planted(Fault::SkipChecksum);
        if crc32c::crc32c_append(crc, payload) != u32_at(header, 0) && !is_believed {
            return Err(RecordFault::Checksum);
        }
        let kind = RecordKind::of(header[8]).ok_or(RecordFault::Kind)?;
        if header[9] != 0 || header[12..16] != [0; 4] {
            return Err(RecordFault::Kind);
        }
        let header = RecordHeader {
            kind,
            shard: ShardId(u16::from_le_bytes([header[10], header[11]])),
            segment: SegmentId(u64_at(header, 16)),
            term: Term(u64_at(header, 24)),
            index: LogIndex(u64_at(header, 32)),
            synced: LogIndex(u64_at(header, 40)),
            seed,
        };
        Ok(Self { header, payload })
    }

    /// Bytes from its start to where the next one begins, if that follows at once.
    pub fn bytes(&self) -> usize {
        record_bytes(self.payload.len())
    }
}

/// Bytes that a record with a payload of `length` takes, up to where the next one may begin.
pub fn record_bytes(length: usize) -> usize {
    (RECORD_HEADER_BYTES + length).next_multiple_of(RECORD_ALIGN)
}

/// Whether bytes might be the start of a record of this segment: a cheap look before the checksum.
pub(super) fn looks_like_one_of(bytes: &[u8], shard: ShardId, segment: SegmentId) -> bool {
    bytes.len() >= RECORD_HEADER_BYTES
        && RecordKind::of(bytes[8]).is_some()
        && bytes[10..12] == shard.0.to_le_bytes()
        && bytes[16..24] == segment.0.to_le_bytes()
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the header is that long"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the header is that long"))
}
