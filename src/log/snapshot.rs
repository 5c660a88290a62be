//! A snapshot on its way to disk: a file of its own with all entries of a keyspace, in parts.
//!
//! The keyspace goes on changing while its entries are written. So a snapshot is not of one moment: it
//! holds every entry as it was at some moment since the snapshot began, with its version, and the
//! log from that beginning on holds every change made since. Whoever reads both leaves out the changes
//! that an entry's version says it has seen. The snapshot counts only when the log is on disk up to the
//! last change that an entry may have seen.

use super::buffer::AlignedBuffer;
use super::long::{LongRecord, Payload};
use super::manifest::Manifest;
use super::record::{RecordHeader, RecordKind, RecordSeed};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentFile, SegmentHeader};
use super::stream::{DiskError, append_record};
use crate::cache::SharedBytes;
use crate::plant::{Fault, is_planted};
use crate::types::{ByteOffset, LogIndex, Now, SegmentId, ShardId, Term};

/// How far a snapshot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its file is being made.
    Preparing,
    /// The next part may come.
    Open,
    /// A part is being written.
    Writing,
    /// The last record is being written.
    Ending,
    /// All is written: the sync may begin.
    Written,
    /// It is being synced.
    Syncing,
    /// It is on disk: the manifest may name it as soon as the log is that belongs to it.
    Synced,
    /// The manifest is being written.
    Saving,
}

/// A snapshot that is being taken.
#[derive(Debug)]
pub struct Snapshot {
    shard: ShardId,
    id: SegmentId,
    first_index: LogIndex,
    /// The term of the record before.
    base_term: Term,
    /// The last record whose changes an entry may have seen; once all have been added.
    last_index: LogIndex,
    phase: Phase,
    end: ByteOffset,
    parts: u64,
    entries: u64,
    /// A part that is too long to be written in one go.
    long: Option<LongRecord>,
    failed: Option<DiskError>,
    abandoned: bool,
}

/// Bytes of the payload of a snapshot's last record.
pub const SNAPSHOT_END_BYTES: usize = 16;

/// What the last record of a snapshot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotEnd {
    /// Entries of all its parts.
    pub entries: u64,
    /// The last record whose changes an entry of the snapshot may have seen.
    pub last_index: LogIndex,
}

impl SnapshotEnd {
    fn encode(self) -> [u8; SNAPSHOT_END_BYTES] {
        let mut bytes = [0; SNAPSHOT_END_BYTES];
        bytes[..8].copy_from_slice(&self.entries.to_le_bytes());
        bytes[8..].copy_from_slice(&self.last_index.0.to_le_bytes());
        bytes
    }

    /// What the payload of a snapshot's last record says; none if it is no such payload.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let payload: &[u8; SNAPSHOT_END_BYTES] = payload.try_into().ok()?;
        let entries = u64::from_le_bytes(*payload.first_chunk()?);
        let last_index = LogIndex(u64::from_le_bytes(*payload.last_chunk()?));
        Some(Self { entries, last_index })
    }
}

impl Snapshot {
    pub(super) fn new(
        shard: ShardId,
        id: SegmentId,
        (first_index, base_term): (LogIndex, Term),
    ) -> Self {
        Self {
            shard,
            id,
            first_index,
            base_term,
            last_index: LogIndex(0),
            phase: Phase::Preparing,
            end: ByteOffset(0),
            parts: 0,
            entries: 0,
            long: None,
            failed: None,
            abandoned: false,
        }
    }

    /// Its file.
    pub fn file(&self) -> SegmentFile {
        SegmentFile::snapshot(self.id)
    }

    /// Entries that it has.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes that have been written.
    pub fn bytes(&self) -> u64 {
        self.end.0
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.long.as_ref().map_or(0, LongRecord::memory_bytes)
    }

    pub(super) fn first_index(&self) -> LogIndex {
        self.first_index
    }

    pub(super) fn base_term(&self) -> Term {
        self.base_term
    }

    pub(super) fn wants_part(&self) -> bool {
        self.phase == Phase::Open && self.long.is_none() && !self.abandoned
    }

    /// Whether a long part goes on.
    pub(super) fn wants_chunk(&self) -> bool {
        self.phase == Phase::Open && self.long.is_some() && !self.abandoned
    }

    pub(super) fn add_long_part(
        &mut self,
        payload: Payload,
        entries: u64,
        manifest: (&Manifest, Term),
    ) {
        self.entries += entries;
        let header = self.next_header(RecordKind::SnapshotPart, manifest);
        self.long = Some(LongRecord::new(header, payload));
    }

    /// Sums about `budget` bytes of the long part; true once all are summed.
    pub(super) fn sum_long_part(&mut self, budget: usize) -> bool {
        let Some(record) = self.long.as_mut().filter(|record| !record.is_summed()) else {
            return true;
        };
        record.sum_on(budget);
        false
    }

    /// Fills a buffer with what comes next of the long part; answers the values of it, after the last.
    pub(super) fn fill_chunk(
        &mut self,
        buffer: &mut AlignedBuffer,
        manifest: (&Manifest, Term),
        now: Now,
    ) -> Vec<SharedBytes> {
        self.begin_file(buffer, manifest, now);
        self.phase = Phase::Writing;
        let is_last = self.long.as_mut().is_some_and(|record| record.fill(buffer));
        if !is_last {
            return Vec::new();
        }
        self.long.take().into_iter().flat_map(LongRecord::into_values).collect()
    }

    pub(super) fn add_part(
        &mut self,
        buffer: &mut AlignedBuffer,
        payload: &[u8],
        entries: u64,
        manifest: (&Manifest, Term),
        now: Now,
    ) {
        self.entries += entries;
        self.append(buffer, RecordKind::SnapshotPart, payload, manifest, now);
        self.phase = Phase::Writing;
    }

    pub(super) fn end(
        &mut self,
        buffer: &mut AlignedBuffer,
        last_index: LogIndex,
        manifest: (&Manifest, Term),
        now: Now,
    ) {
        self.last_index = last_index;
        let end = SnapshotEnd { entries: self.entries, last_index };
        self.append(buffer, RecordKind::SnapshotEnd, &end.encode(), manifest, now);
        self.phase = Phase::Ending;
    }

    fn append(
        &mut self,
        buffer: &mut AlignedBuffer,
        kind: RecordKind,
        payload: &[u8],
        manifest: (&Manifest, Term),
        now: Now,
    ) {
        self.begin_file(buffer, manifest, now);
        let header = self.next_header(kind, manifest);
        append_record(buffer, &header, payload);
    }

    /// Puts the header of the file before its first bytes.
    fn begin_file(
        &self,
        buffer: &mut AlignedBuffer,
        (manifest, term): (&Manifest, Term),
        now: Now,
    ) {
        if self.end == ByteOffset(0) {
            let header = SegmentHeader {
                file: self.file(),
                shard: self.shard,
                first_index: self.first_index,
                previous: None,
                previous_term: term,
                created: now.unix,
                directory: manifest.directory,
            };
            buffer.append(&header.encode());
            debug_assert_eq!(buffer.len(), SEGMENT_HEADER_BYTES);
        }
    }

    fn next_header(
        &mut self,
        kind: RecordKind,
        (manifest, term): (&Manifest, Term),
    ) -> RecordHeader {
        self.parts += 1;
        RecordHeader {
            kind,
            shard: self.shard,
            segment: self.id,
            term,
            index: LogIndex(self.parts),
            synced: LogIndex(0),
            seed: RecordSeed::of(&manifest.directory),
        }
    }

    pub(super) fn start_write(&mut self, bytes: usize) -> ByteOffset {
        let offset = self.end;
        self.end = ByteOffset(offset.0 + bytes as u64);
        offset
    }

    pub(super) fn prepared(&mut self, result: Result<(), DiskError>) {
        self.go_on(result, Phase::Open);
    }

    pub(super) fn written(&mut self, result: Result<(), DiskError>) {
        let next = if self.phase == Phase::Ending { Phase::Written } else { Phase::Open };
        self.go_on(result, next);
    }

    pub(super) fn synced(&mut self, result: Result<(), DiskError>) {
        self.go_on(result, Phase::Synced);
    }

    fn go_on(&mut self, result: Result<(), DiskError>, next: Phase) {
        match result {
            Ok(()) => self.phase = next,
            Err(error) => self.failed = Some(error),
        }
    }

    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Whether it will not be finished, and nothing of it is under way.
    pub(super) fn is_given_up(&self) -> bool {
        let is_under_way = matches!(
            self.phase,
            Phase::Preparing | Phase::Writing | Phase::Ending | Phase::Syncing
        );
        self.failed.is_some() || self.abandoned && !is_under_way && self.phase != Phase::Saving
    }

    pub(super) fn error(&self) -> Option<DiskError> {
        self.failed
    }

    pub(super) fn take_wants_sync(&mut self) -> bool {
        let wants = self.phase == Phase::Written;
        if wants {
            self.phase = Phase::Syncing;
        }
        wants
    }

    /// Its entries are those of one moment only together with the log up to its end: without, some would
    /// be from the future.
    pub(super) fn take_wants_manifest(&mut self, durable: LogIndex) -> bool {
        let log_is_there = durable >= self.last_index || is_planted(Fault::SnapshotBeforeLog);
        let wants = self.phase == Phase::Synced && log_is_there;
        if wants {
            self.phase = Phase::Saving;
        }
        wants
    }
}
