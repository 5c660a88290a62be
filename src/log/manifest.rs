//! The manifest of a shard: which snapshot and which segments make up its data.
//!
//! Two copies of one page each, in one file; the one with the higher generation holds. A new one is
//! written over the older, so that there is a whole one at any moment.
//!
//! ```text
//!  0  magic          8 bytes  "RINGMAN1"
//!  8  crc            u32      CRC-32C of bytes 12..128
//! 12  shard          u16
//! 14  shard_count    u16      of the directory
//! 16  generation     u64      one more than the copy before
//! 24  snapshot       u64      the snapshot's segment, 0 if there is none
//! 32  first_index    u64      the first record that is not in the snapshot
//! 40  first_segment  u64      the segment of that record, or the one to be begun for it
//! 48  clean_index    u64      after a clean stop the last record, else 0
//! 56  base_term      u64      Raft's term of the record before the first; 0 if it is not replicated
//! 64                 16 bytes zero
//! 80  directory      16 bytes names the data directory
//! 96  base_missing   u8       1: the log was begun while the server ran, and its first snapshot, without
//!                             which it means nothing, was not finished
//! 97                 31 bytes zero
//! ```

use super::record::{u32_at, u64_at};
use super::segment::{DirectoryId, NUMBERS_END};
use crate::types::{LogIndex, SegmentId, ShardId, Term};

/// Name of the file in the shard's folder.
pub const MANIFEST_NAME: &str = "manifest";
/// Bytes of one copy.
pub const MANIFEST_COPY_BYTES: usize = 4096;
const USED_BYTES: usize = 128;
const MAGIC: &[u8; 8] = b"RINGMAN1";

/// What a manifest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Whose it is.
    pub shard: ShardId,
    /// Shards of the directory.
    pub shard_count: u16,
    /// One more than the copy before.
    pub generation: u64,
    /// The snapshot, if there is one.
    pub snapshot: Option<SegmentId>,
    /// The first record that is not in the snapshot.
    pub first_index: LogIndex,
    /// The segment of that record, or the one to be begun for it.
    pub first_segment: SegmentId,
    /// After a clean stop, the last record: then nothing may be missing.
    pub clean_index: Option<LogIndex>,
    /// Raft's term of the record before the first; 0 in a log that is not replicated.
    pub base_term: Term,
    /// The data directory.
    pub directory: DirectoryId,
    /// Whether the log means nothing before its first snapshot is finished.
    pub base_missing: bool,
}

impl Manifest {
    /// The manifest of an empty shard whose first segment will be 1.
    pub fn new(shard: ShardId, shard_count: u16, directory: DirectoryId) -> Self {
        Self {
            shard,
            shard_count,
            generation: 0,
            snapshot: None,
            first_index: LogIndex(1),
            first_segment: SegmentId(1),
            clean_index: None,
            base_term: Term(0),
            directory,
            base_missing: false,
        }
    }

    /// One copy, and where in the file it belongs.
    pub fn encode(&self) -> (u64, [u8; MANIFEST_COPY_BYTES]) {
        let mut page = [0; MANIFEST_COPY_BYTES];
        page[..8].copy_from_slice(MAGIC);
        page[12..14].copy_from_slice(&self.shard.0.to_le_bytes());
        page[14..16].copy_from_slice(&self.shard_count.to_le_bytes());
        let words = [
            self.generation,
            self.snapshot.map_or(0, |id| id.0),
            self.first_index.0,
            self.first_segment.0,
            self.clean_index.map_or(0, |index| index.0),
            self.base_term.0,
            0,
            0,
        ];
        for (bytes, word) in page[16..80].chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        page[80..96].copy_from_slice(&self.directory);
        page[96] = u8::from(self.base_missing);
        let crc = crc32c::crc32c(&page[12..USED_BYTES]);
        page[8..12].copy_from_slice(&crc.to_le_bytes());
        (self.generation % 2 * MANIFEST_COPY_BYTES as u64, page)
    }

    /// The newer of the whole copies in the bytes of a manifest file; none if there is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let copies = Self::copies(bytes).into_iter().flatten();
        copies.max_by_key(|manifest| manifest.generation)
    }

    /// Both copies in the bytes of a manifest file, as far as they are whole.
    pub fn copies(bytes: &[u8]) -> [Option<Self>; 2] {
        let mut copies = bytes.chunks_exact(MANIFEST_COPY_BYTES).map(Self::decode_copy);
        std::array::from_fn(|_| copies.next().flatten())
    }

    /// Whether a copy in the bytes of a manifest file is damaged: one that is not whole, though it was
    /// written once. Copies are shorter than what devices write or don't, so none is torn.
    pub fn is_copy_damaged(bytes: &[u8]) -> bool {
        let copies = Self::copies(bytes);
        // The second copy is written with the first change.
        let is_first = copies[0].is_some_and(|manifest| manifest.generation == 0);
        let second = bytes.get(MANIFEST_COPY_BYTES..).unwrap_or_default();
        let is_blank = second.iter().all(|byte| *byte == 0);
        copies[0].is_none() || copies[1].is_none() && !(is_first && is_blank)
    }

    /// Whether a server might have written it: all numbers can be counted on from, and no snapshot is named
    /// by who waits for the first.
    fn is_possible(&self) -> bool {
        let numbers = [
            self.generation,
            self.snapshot.map_or(0, |id| id.0),
            self.first_index.0,
            self.first_segment.0,
        ];
        numbers.iter().all(|number| *number < NUMBERS_END)
            && self.first_index.0 > 0
            && self.first_segment.0 > 0
            && !(self.base_missing && self.snapshot.is_some())
    }

    fn decode_copy(page: &[u8]) -> Option<Self> {
        if page[..8] != *MAGIC || crc32c::crc32c(&page[12..USED_BYTES]) != u32_at(page, 8) {
            return None;
        }
        let word = |index: usize| u64_at(page, 16 + index * 8);
        let manifest = Self {
            shard: ShardId(u16::from_le_bytes([page[12], page[13]])),
            shard_count: u16::from_le_bytes([page[14], page[15]]),
            generation: word(0),
            snapshot: Some(SegmentId(word(1))).filter(|id| id.0 > 0),
            first_index: LogIndex(word(2)),
            first_segment: SegmentId(word(3)),
            clean_index: Some(LogIndex(word(4))).filter(|index| index.0 > 0),
            base_term: Term(word(5)),
            directory: *page[80..].first_chunk()?,
            base_missing: page[96] == 1,
        };
        let is_exact = manifest.encode().1[..] == *page;
        (is_exact && manifest.is_possible()).then_some(manifest)
    }
}
