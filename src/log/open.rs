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

use std::io;

use super::directory::{Directory, save_manifest};
use super::manifest::{MANIFEST_COPY_BYTES, MANIFEST_NAME, Manifest};
use super::record::{Record, RecordFault, RecordHeader, RecordKind, RecordSeed};
use super::scan::{Next, Scan, Stop};
use super::segment::{
    DirectoryId, HeaderFault, SEGMENT_HEADER_BYTES, SegmentFile, SegmentHeader, SegmentKind,
};
use super::snapshot::SnapshotEnd;
use super::stream::{Resume, ResumeSegment};
use crate::plant::{Fault, is_planted};
use crate::types::{ByteOffset, LogIndex, SegmentId, ShardId, Term};

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

/// What a record brings.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// Entries of the keyspace, from a snapshot.
    Part(&'a [u8]),
    /// Changes.
    Changes {
        /// As the journal wrote them.
        payload: &'a [u8],
        /// Whether entries of the snapshot may have seen them.
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
    cut: Option<Cut>,
    /// What is wrong behind the last of the files.
    broken: Option<OpenError>,
    bytes_read: u64,
    bytes_total: u64,
}

/// Makes the folder of an empty shard: a manifest and nothing else.
///
/// # Errors
/// The system's.
pub fn create(directory: &mut impl Directory, manifest: &Manifest) -> io::Result<()> {
    directory.create(MANIFEST_NAME, 2 * MANIFEST_COPY_BYTES as u64, false)?;
    save_manifest(directory, manifest)?;
    directory.sync_directory()
}

/// Makes a folder, whatever is in it, that of a log that begins anew: what it held is not needed any more.
///
/// # Errors
/// The system's.
pub fn start_over(
    directory: &mut impl Directory,
    shard: ShardId,
    shard_count: u16,
    id: DirectoryId,
) -> io::Result<Resume> {
    let names = directory.list()?;
    let leftovers: Vec<SegmentFile> =
        names.iter().filter_map(|name| SegmentFile::parse(name)).collect();
    let last_id = leftovers.iter().map(|file| file.id).max().unwrap_or(SegmentId(0));
    let mut manifest = Manifest::new(shard, shard_count, id);
    if let Ok(content) = directory.read(MANIFEST_NAME)
        && let Some(old) = Manifest::decode(&content)
    {
        manifest.generation = old.generation + 1;
    }
    manifest.first_segment = SegmentId(last_id.0 + 1);
    // What the keyspace holds already is in no record: until a snapshot has it, the log means nothing.
    manifest.base_missing = true;
    // From here on the files that are there belong to nothing.
    create(directory, &manifest)?;
    let (last_index, last_term, segments) = (LogIndex(0), Term(0), Vec::new());
    Ok(Resume { manifest, last_index, last_term, segments, last_id, leftovers })
}

/// The manifest of a folder.
///
/// # Errors
/// If there is none that can be read, or no folder.
fn read_manifest(directory: &mut impl Directory) -> Result<Manifest, OpenError> {
    let names = match directory.list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(|error| io_error(".", error))?,
    };
    let manifest = match directory.read(MANIFEST_NAME) {
        Ok(content) => Manifest::decode(&content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io_error(MANIFEST_NAME, error)),
    };
    let has_segments = names.iter().any(|name| SegmentFile::parse(name).is_some());
    manifest.ok_or(if has_segments { OpenError::NoManifest } else { OpenError::Gone })
}

fn io_error(file: &str, error: io::Error) -> OpenError {
    OpenError::Io { file: file.to_owned(), error }
}

impl<C: std::ops::Deref<Target = [u8]>> Recovery<C> {
    /// Looks through the folder of `shard` and finds out what has to be read.
    ///
    /// # Errors
    /// Whatever keeps the log from being what it was.
    pub fn open<D: Directory<Content = C>>(
        directory: &mut D,
        shard: ShardId,
        shard_count: u16,
        id: DirectoryId,
    ) -> Result<Self, OpenError> {
        let manifest = read_manifest(directory)?;
        let mut recovery = Self::inspect(directory, manifest, shard, shard_count, id)?;
        recovery.broken.take().map_or(Ok(recovery), Err)
    }

    /// As [`Self::open`], for whoever wants to see what can be read whatever the rest is like: nothing is
    /// written, and where a segment is missing [`Self::step`] says so only after all that comes before it.
    ///
    /// # Errors
    /// What is wrong with the manifest or the snapshot's file.
    pub fn inspect<D: Directory<Content = C>>(
        directory: &mut D,
        manifest: Manifest,
        shard: ShardId,
        shard_count: u16,
        id: DirectoryId,
    ) -> Result<Self, OpenError> {
        let owner = (manifest.shard, manifest.shard_count, manifest.directory);
        if owner != (shard, shard_count, id) {
            return Err(OpenError::Foreign { file: MANIFEST_NAME.to_owned() });
        }
        let names = directory.list().map_err(|error| io_error(".", error))?;
        let mut all: Vec<SegmentFile> =
            names.iter().filter_map(|name| SegmentFile::parse(name)).collect();
        all.sort_unstable_by_key(|file| file.id);
        let mut recovery = Self {
            shard,
            manifest,
            files: Vec::new(),
            current: 0,
            scan: None,
            snapshot_entries: 0,
            snapshot_end: None,
            entries_read: 0,
            last_index: LogIndex(manifest.first_index.0 - 1),
            last_term: Term(0),
            segments: Vec::new(),
            last_id: all.last().map_or(SegmentId(0), |file| file.id),
            leftovers: Vec::new(),
            headless: Vec::new(),
            cut: None,
            broken: None,
            bytes_read: 0,
            bytes_total: 0,
        };
        if manifest.base_missing {
            // Nobody was told that anything in it is on disk.
            recovery.manifest.base_missing = false;
        } else {
            recovery.find_snapshot(directory)?;
            recovery.find_segments(directory, &all)?;
        }
        let kept: Vec<SegmentFile> = recovery.files.iter().map(|file| file.file).collect();
        recovery.leftovers = all.into_iter().filter(|file| !kept.contains(file)).collect();
        let lengths = recovery.files.iter().map(|file| match file.end {
            // Not believed before all is read.
            Some(end) => end.0.min(file.content.len() as u64),
            None => file.content.len() as u64,
        });
        recovery.bytes_total = lengths.sum();
        Ok(recovery)
    }

    fn seed(&self) -> RecordSeed {
        RecordSeed::of(&self.manifest.directory)
    }

    fn read<D: Directory<Content = C>>(
        &self,
        directory: &mut D,
        file: SegmentFile,
    ) -> Result<(C, Result<SegmentHeader, HeaderFault>), OpenError> {
        let name = file.name();
        let content = directory.read(&name).map_err(|error| io_error(&name, error))?;
        let header = SegmentHeader::decode(&content, file, self.shard, &self.manifest.directory);
        Ok((content, header))
    }

    fn find_snapshot<D: Directory<Content = C>>(
        &mut self,
        directory: &mut D,
    ) -> Result<(), OpenError> {
        let Some(id) = self.manifest.snapshot else { return Ok(()) };
        let file = SegmentFile::snapshot(id);
        let (content, header) = self.read(directory, file)?;
        header.map_err(|fault| OpenError::Segment { file: file.name(), fault })?;
        self.files.push(File::new(file, content, LogIndex(1)));
        Ok(())
    }

    /// Finds the segments of the log: from the first that the manifest names, each the one that the next
    /// names as the one before it. Files without a header of their own were made ready and not begun.
    fn find_segments<D: Directory<Content = C>>(
        &mut self,
        directory: &mut D,
        all: &[SegmentFile],
    ) -> Result<(), OpenError> {
        let first = self.manifest.first_segment;
        let mut not_begun = Vec::new();
        let begun_before = self.files.len();
        for file in all.iter().filter(|file| file.kind == SegmentKind::Log && file.id >= first) {
            let (content, header) = self.read(directory, *file)?;
            let header = match header {
                Ok(header) => header,
                Err(fault) => {
                    not_begun.push((*file, content, fault));
                    continue;
                }
            };
            match (self.files[begun_before..].last_mut(), header.previous) {
                (None, _)
                    if file.id == first && header.first_index <= self.manifest.first_index => {}
                (Some(last), Some((id, end))) if last.file.id == id => last.end = Some(end),
                (last, previous) => {
                    // The segment between the two is missing.
                    let id = previous.map_or(first, |(id, _)| id);
                    let id = if last.is_none() { first } else { id };
                    let name = SegmentFile::log(id).name();
                    let fault = not_begun.iter().find(|(file, ..)| file.id == id);
                    let fault = fault.map_or(HeaderFault::Missing, |(_, _, fault)| *fault);
                    self.broken = Some(OpenError::Segment { file: name, fault });
                    return Ok(());
                }
            }
            self.files.push(File::new(*file, content, header.first_index));
        }
        // A header that got lost with all behind it was never promised. Had it been, a record would say so:
        // one of this segment that says that another of it was on disk, or that one was that is in no file.
        for (file, content, fault) in not_begun {
            let scan = Scan::new(self.shard, file.id, LogIndex(0), self.seed());
            let Some((first, promised)) = scan.promise_without_header(&content) else { continue };
            self.headless.push((file, fault, promised));
            if promised >= first {
                self.broken = Some(OpenError::Segment { file: file.name(), fault });
                return Ok(());
            }
        }
        Ok(())
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
                (SegmentKind::Log, RecordKind::Entry) => {
                    let is_needed = header.index >= self.manifest.first_index;
                    if is_needed {
                        let seen = self.snapshot_end.map_or(LogIndex(0), |end| end.last_index);
                        let overlaps_snapshot = header.index <= seen;
                        let item = Item::Changes { payload, overlaps_snapshot };
                        self.entries_read += take(&place, item).ok_or_else(nonsense)?;
                    }
                    self.last_index = self.last_index.max(header.index);
                    self.last_term = header.term;
                    is_needed
                }
                (SegmentKind::Snapshot, RecordKind::Entry)
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

    /// Where the log goes on; once all is read.
    pub fn finish(self) -> Resume {
        Resume {
            manifest: self.manifest,
            last_index: self.last_index,
            last_term: self.last_term,
            segments: self.segments,
            last_id: self.last_id,
            leftovers: self.leftovers,
        }
    }
}
