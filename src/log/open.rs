//! Opening a shard's log: which files make it up, reading them in order, and where it goes on.
//!
//! ```text
//! manifest ─► snapshot-… ─► log-… ─► log-… ─► log-…
//!                                             └── may end in a torn tail
//! ```
//!
//! Every segment but the last was on disk, whole, before the next was begun, so a fault in it is damage.
//! In the last, a fault with nothing behind it that was promised is the torn tail of a crash: what is
//! before it is all that anybody could rely on. Anything else is an error that names the place.
//!
//! Which is found out in three steps:
//!
//! 1. `find`: the snapshot and the segments, each of which names the one before it. Where one is missing the
//!    chain is `broken`, which counts only when all before it has been read. Segments whose header can't be
//!    read were made ready and not begun, or are `headless`: their records may say that they were.
//! 2. [`Recovery::step`] reads file after file, each until something is no record. `end_file` then says whether
//!    that is the end of a sealed segment, a torn tail (`cut`), or damage.
//! 3. At the end of the last, `check_end` holds the last record against all that says how far the log once
//!    went: headless segments, a clean stop, the snapshot.

mod begin;
mod error;
mod find;

use super::manifest::{MANIFEST_NAME, Manifest};
use super::record::{Record, RecordFault, RecordHeader, RecordKind, RecordSeed};
use super::scan::{Next, Scan, Stop};
use super::segment::{HeaderFault, SEGMENT_HEADER_BYTES, SegmentFile, SegmentKind};
use super::snapshot::SnapshotEnd;
use super::stream::{Resume, ResumeSegment};
use crate::plant::{Fault, is_planted};
use crate::types::{ByteOffset, LogIndex, SegmentId, ShardId, Term};

pub use begin::{create, start_over};
pub use error::OpenError;

/// What a record brings.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// Entries of the keyspace, from a snapshot.
    Part(&'a [u8]),
    /// Changes: one entry of the log.
    Changes {
        /// As the journal wrote them.
        payload: &'a [u8],
        /// Whether entries of the snapshot may have seen them.
        overlaps_snapshot: bool,
    },
    /// Who takes part in the shard from here on: an entry of the log as well.
    Configuration {
        /// A [`Configuration`](super::Configuration).
        payload: &'a [u8],
        /// Whether the snapshot is of a later moment.
        overlaps_snapshot: bool,
    },
}

/// Bytes at the end of the log that were cut off because nobody could rely on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub file: String,
    /// Where it ends now.
    pub at: ByteOffset,
    /// What stands there.
    pub fault: RecordFault,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: SegmentFile,
    /// Where in it the record begins.
    pub at: ByteOffset,
    /// Its header.
    pub header: RecordHeader,
}

/// How far a file has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRead {
    /// The file.
    pub file: SegmentFile,
    /// The length of it.
    pub file_bytes: u64,
    /// The first record of a segment of the log; 1 in a snapshot.
    pub first_index: LogIndex,
    /// Records read, those that a snapshot made needless included.
    pub records: u64,
    /// Where the last of them ends.
    pub end: ByteOffset,
}

#[derive(Debug)]
struct File<C> {
    file: SegmentFile,
    content: C,
    first_index: LogIndex,
    /// Where its records end, as the segment after it tells.
    end: Option<ByteOffset>,
    records: u64,
    read_to: ByteOffset,
}

impl<C> File<C> {
    fn new(file: SegmentFile, content: C, first_index: LogIndex) -> Self {
        let read_to = ByteOffset(SEGMENT_HEADER_BYTES as u64);
        Self { file, content, first_index, end: None, records: 0, read_to }
    }
}

/// A log that is being read.
#[derive(Debug)]
pub struct Recovery<C> {
    shard: ShardId,
    manifest: Manifest,
    /// The snapshot and the segments, in the order in which they are read.
    files: Vec<File<C>>,
    current: usize,
    scan: Option<Scan>,
    snapshot_entries: u64,
    snapshot_end: Option<SnapshotEnd>,
    entries_read: u64,
    last_index: LogIndex,
    last_term: Term,
    segments: Vec<ResumeSegment>,
    last_id: SegmentId,
    leftovers: Vec<SegmentFile>,
    /// Segments without a header, and the last record that one of theirs says was on disk.
    headless: Vec<(SegmentFile, HeaderFault, LogIndex)>,
    /// Whether the log had been begun while the server ran and its first snapshot was not finished, so that
    /// nothing in it counts.
    base_was_missing: bool,
    /// The torn tail.
    cut: Option<Cut>,
    /// What is wrong behind the last of the files.
    broken: Option<OpenError>,
    bytes_read: u64,
    bytes_total: u64,
}

impl<C: std::ops::Deref<Target = [u8]>> Recovery<C> {
    fn seed(&self) -> RecordSeed {
        RecordSeed::of(&self.manifest.directory)
    }

    /// Reads the next record that brings something and gives it to `take`, which says whether it made
    /// sense. False at the end.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn step(
        &mut self,
        mut take: impl FnMut(Item<'_>) -> Option<u64>,
    ) -> Result<bool, OpenError> {
        self.step_in_place(|_, item| take(item))
    }

    /// As [`Self::step`], for whoever wants to know where the record stands.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn step_in_place(
        &mut self,
        mut take: impl FnMut(&Place, Item<'_>) -> Option<u64>,
    ) -> Result<bool, OpenError> {
        loop {
            let seed = self.seed();
            let Some(file) = self.files.get_mut(self.current) else {
                return self.broken.take().map_or_else(|| self.check_end(), Err).map(|()| false);
            };
            let (id, first) = (file.file.id, file.first_index);
            let scan = self.scan.get_or_insert_with(|| Scan::new(self.shard, id, first, seed));
            let length =
                file.end.map_or(usize::MAX, |end| usize::try_from(end.0).unwrap_or(usize::MAX));
            let bytes = &file.content[..length.min(file.content.len())];
            let record = match scan.next(bytes) {
                Next::Record(record) => record,
                Next::Stop(stop) => {
                    self.end_file(stop)?;
                    continue;
                }
            };
            let (length, end) = (record.bytes() as u64, scan.at());
            let Record { header, payload } = record;
            let place = Place { file: file.file, at: ByteOffset(end.0 - length), header };
            let nonsense = || OpenError::Content { file: place.file.name(), at: place.at };
            self.bytes_read += length;
            let brings_something = match (file.file.kind, header.kind) {
                (SegmentKind::Snapshot, RecordKind::SnapshotPart) => {
                    let entries = take(&place, Item::Part(payload)).ok_or_else(nonsense)?;
                    self.snapshot_entries += entries;
                    true
                }
                (SegmentKind::Snapshot, RecordKind::SnapshotEnd) => {
                    let end = SnapshotEnd::decode(payload).ok_or_else(nonsense)?;
                    if end.entries != self.snapshot_entries {
                        return Err(nonsense());
                    }
                    self.snapshot_end = Some(end);
                    false
                }
                (SegmentKind::Log, RecordKind::Entry | RecordKind::Configuration) => {
                    let is_needed = header.index >= self.manifest.first_index;
                    if is_needed {
                        let seen = self.snapshot_end.map_or(LogIndex(0), |end| end.last_index);
                        let overlaps_snapshot = header.index <= seen;
                        let item = match header.kind {
                            RecordKind::Configuration => {
                                Item::Configuration { payload, overlaps_snapshot }
                            }
                            _ => Item::Changes { payload, overlaps_snapshot },
                        };
                        self.entries_read += take(&place, item).ok_or_else(nonsense)?;
                    }
                    self.last_index = self.last_index.max(header.index);
                    self.last_term = header.term;
                    is_needed
                }
                (SegmentKind::Snapshot, RecordKind::Entry | RecordKind::Configuration)
                | (SegmentKind::Log, RecordKind::SnapshotPart | RecordKind::SnapshotEnd) => {
                    return Err(nonsense());
                }
            };
            (file.records, file.read_to) = (file.records + 1, end);
            if brings_something {
                return Ok(true);
            }
        }
    }

    /// No more records in the current file: goes on to the next, if all that must be there is.
    fn end_file(&mut self, stop: Stop) -> Result<(), OpenError> {
        let (Some(file), Some(scan)) = (self.files.get(self.current), self.scan.take()) else {
            return Ok(());
        };
        let name = file.file.name();
        let damaged = OpenError::Damaged { file: name.clone(), at: stop.at, fault: stop.fault };
        if file.file.kind == SegmentKind::Snapshot {
            if self.snapshot_end.is_none() {
                return Err(damaged);
            }
            self.current += 1;
            return Ok(());
        }
        let is_whole = match (file.end, self.files.get(self.current + 1)) {
            (Some(end), Some(next)) => {
                let rest = file.content.get(..usize::try_from(end.0).unwrap_or(usize::MAX));
                rest.is_some() && next.first_index == scan.next_index()
            }
            _ => {
                // The manifest names a snapshot only when all before it is on disk.
                let is_promised = scan.later_promise(&file.content).is_some()
                    || scan.synced() >= scan.next_index()
                    || scan.next_index() < self.manifest.first_index;
                if is_promised && !is_planted(Fault::CutDamage) {
                    return Err(damaged);
                }
                if stop.fault != RecordFault::Nothing {
                    self.cut = Some(Cut { file: name, at: stop.at, fault: stop.fault });
                }
                true
            }
        };
        if !is_whole {
            return Err(damaged);
        }
        let file_bytes = file.content.len() as u64;
        // A file that was cut short may end within a block.
        let block_end = stop.at.0.next_multiple_of(super::record::BLOCK_BYTES as u64);
        self.segments.push(ResumeSegment {
            id: file.file.id,
            first_index: file.first_index,
            end: file.end.unwrap_or(ByteOffset(block_end.min(file_bytes))),
            file_bytes,
        });
        self.last_index = self.last_index.max(LogIndex(scan.next_index().0 - 1));
        self.current += 1;
        Ok(())
    }

    fn check_end(&self) -> Result<(), OpenError> {
        let file = || self.files.last().map_or(MANIFEST_NAME.to_owned(), |file| file.file.name());
        let found = self.last_index;
        let missed = self.headless.iter().find(|(_, _, promised)| *promised > found);
        if let Some((file, fault, _)) = missed {
            return Err(OpenError::Segment { file: file.name(), fault: *fault });
        }
        let expected = self.manifest.clean_index.unwrap_or(LogIndex(0));
        if found < expected {
            return Err(OpenError::Short { file: file(), found, expected });
        }
        let expected = self.snapshot_end.map_or(LogIndex(0), |end| end.last_index);
        if found < expected {
            return Err(OpenError::Behind { file: file(), found, expected });
        }
        Ok(())
    }

    /// Bytes read, and bytes there are to read at most.
    pub fn progress(&self) -> (u64, u64) {
        (self.bytes_read, self.bytes_total)
    }

    /// Entries of the snapshot and changes of the log that were read.
    pub fn counts(&self) -> (u64, u64) {
        (self.snapshot_entries, self.entries_read)
    }

    /// The manifest that was found or made.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How far each file has been read, in the order in which they are.
    pub fn files(&self) -> impl Iterator<Item = FileRead> {
        self.files.iter().map(|file| FileRead {
            file: file.file,
            file_bytes: file.content.len() as u64,
            first_index: file.first_index,
            records: file.records,
            end: file.read_to,
        })
    }

    /// The file that is being read, or was when something was found to be wrong with it; none at the end.
    pub fn current(&self) -> Option<SegmentFile> {
        self.files.get(self.current).map(|file| file.file)
    }

    /// What the snapshot's end says, once that was read.
    pub fn snapshot_end(&self) -> Option<SnapshotEnd> {
        self.snapshot_end
    }

    /// The last record read so far, or else the last one that is in the snapshot.
    pub fn last_index(&self) -> LogIndex {
        self.last_index
    }

    /// Files that belong to nothing: made ready and not begun, or not needed any more.
    pub fn leftovers(&self) -> &[SegmentFile] {
        &self.leftovers
    }

    /// What was cut off the end, if anything.
    pub fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }

    /// Whether nothing in the log counts, because the snapshot that it begins with was not finished.
    pub fn base_was_missing(&self) -> bool {
        self.base_was_missing
    }

    /// Where the log goes on; once all is read.
    pub fn finish(self) -> Resume {
        Resume {
            manifest: self.manifest,
            last_index: self.last_index,
            last_term: self.last_term,
            segments: self.segments,
            last_id: self.last_id,
            leftovers: self.leftovers,
            before: Vec::new(),
        }
    }
}
