//! Reading a segment's records one after another, and judging what stands where they end.

use super::buffer::ALIGN_BYTES;
use super::record::{BLOCK_BYTES, Record, RecordFault, RecordSeed, looks_like_one_of};
use super::segment::SEGMENT_HEADER_BYTES;
use crate::types::{ByteOffset, LogIndex, SegmentId, ShardId};

/// A walk through the records of one segment.
#[derive(Clone, Copy, Debug)]
pub struct Scan {
    shard: ShardId,
    segment: SegmentId,
    seed: RecordSeed,
    /// Where the next record is looked for.
    at: usize,
    /// The index that it must have.
    next: LogIndex,
    /// The most that any record said was synced.
    synced: LogIndex,
}

/// What can still be read of a segment, whatever stands between: records of it that are whole, in the
/// order in which they lie. For those who look at damage; what a shard is made of is read with [`Scan`].
#[derive(Clone, Copy, Debug)]
pub struct Salvage<'a> {
    bytes: &'a [u8],
    shard: ShardId,
    segment: SegmentId,
    seed: RecordSeed,
    at: usize,
}

impl<'a> Salvage<'a> {
    /// The records of `segment` in `bytes`, the file's content, from `from` on.
    pub fn new(
        bytes: &'a [u8],
        (shard, segment): (ShardId, SegmentId),
        seed: RecordSeed,
        from: ByteOffset,
    ) -> Self {
        let at = usize::try_from(from.0).unwrap_or(usize::MAX).max(SEGMENT_HEADER_BYTES);
        Self { bytes, shard, segment, seed, at }
    }
}

impl<'a> Iterator for Salvage<'a> {
    type Item = (ByteOffset, Record<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(rest) = self.bytes.get(self.at..).filter(|rest| !rest.is_empty()) {
            let at = self.at;
            if looks_like_one_of(rest, self.shard, self.segment)
                && let Ok(record) = Record::decode(rest, self.seed)
            {
                self.at += record.bytes();
                return Some((ByteOffset(at as u64), record));
            }
            self.at = (at + 1).next_multiple_of(BLOCK_BYTES);
        }
        None
    }
}

/// A place where no record is that belongs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Where.
    pub at: ByteOffset,
    /// Why what is there is not the next record.
    pub fault: RecordFault,
}

/// What comes next in a segment.
#[derive(Debug)]
pub enum Next<'a> {
    /// A record.
    Record(Record<'a>),
    /// No more records.
    Stop(Stop),
}

impl Scan {
    /// A walk through the records of `segment`, the first of which has the index `first`.
    pub fn new(shard: ShardId, segment: SegmentId, first: LogIndex, seed: RecordSeed) -> Self {
        let (at, synced) = (SEGMENT_HEADER_BYTES, LogIndex(0));
        Self { shard, segment, seed, at, next: first, synced }
    }

    /// Where the next record is looked for.
    pub fn at(&self) -> ByteOffset {
        ByteOffset(self.at as u64)
    }

    /// The index that the next record must have.
    pub fn next_index(&self) -> LogIndex {
        self.next
    }

    /// The most that a record so far said was synced.
    pub fn synced(&self) -> LogIndex {
        self.synced
    }

    /// The next record in `bytes`, the segment from its start to where it ends.
    #[inline]
    pub fn next<'a>(&mut self, bytes: &'a [u8]) -> Next<'a> {
        let mut at = self.at;
        let fault = loop {
            let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else {
                break RecordFault::Nothing;
            };
            match self.decode(rest) {
                Ok(record) => {
                    self.at = at + record.bytes();
                    self.next = LogIndex(record.header.index.0 + 1);
                    self.synced = self.synced.max(record.header.synced);
                    return Next::Record(record);
                }
                // What was written in one go was filled up to the end of a block, and on some devices
                // of a page.
                Err(RecordFault::Nothing) if !at.is_multiple_of(BLOCK_BYTES) => {
                    at = at.next_multiple_of(BLOCK_BYTES);
                }
                Err(RecordFault::Nothing) if !at.is_multiple_of(ALIGN_BYTES) => {
                    at = at.next_multiple_of(ALIGN_BYTES);
                }
                Err(fault) => break fault,
            }
        };
        // Behind what fills a block up, where there is something; else where the records end.
        let at = if fault == RecordFault::Nothing { self.at } else { at };
        Next::Stop(Stop { at: ByteOffset(at as u64), fault })
    }

    fn decode<'a>(&self, bytes: &'a [u8]) -> Result<Record<'a>, RecordFault> {
        let record = Record::decode(bytes, self.seed)?;
        if record.header.shard != self.shard || record.header.segment != self.segment {
            return Err(RecordFault::Foreign);
        }
        if record.header.index != self.next {
            return Err(RecordFault::OutOfOrder);
        }
        Ok(record)
    }

    /// A record somewhere behind the place where the walk has stopped that says that something from there
    /// on was once on disk: then what stands at that place is damaged, not torn.
    ///
    /// Whatever was written in one go begins at a block, so blocks are all that is looked at.
    pub fn later_promise(&self, bytes: &[u8]) -> Option<ByteOffset> {
        self.find_later(bytes, |record| record.header.synced >= self.next)
    }

    /// The first record in a segment that has no header, and the last one that any in it says was on disk.
    pub fn promise_without_header(&self, bytes: &[u8]) -> Option<(LogIndex, LogIndex)> {
        let mut found: Option<(LogIndex, LogIndex)> = None;
        self.find_later(bytes, |record| {
            let (index, synced) = (record.header.index, record.header.synced);
            let (first, promised) = found.unwrap_or((index, synced));
            found = Some((first, promised.max(synced)));
            false
        });
        found
    }

    fn find_later(
        &self,
        bytes: &[u8],
        mut is_it: impl FnMut(&Record<'_>) -> bool,
    ) -> Option<ByteOffset> {
        let mut at = self.at.next_multiple_of(BLOCK_BYTES);
        while at < bytes.len() {
            if looks_like_one_of(&bytes[at..], self.shard, self.segment)
                && let Ok(record) = Record::decode(&bytes[at..], self.seed)
                && is_it(&record)
            {
                return Some(ByteOffset(at as u64));
            }
            at += BLOCK_BYTES;
        }
        None
    }
}
