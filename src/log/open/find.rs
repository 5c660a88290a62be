//! The files that make up a log: the snapshot that the manifest names, and the segments, which name each other.

use std::io;

use super::super::directory::Directory;
use super::super::manifest::{MANIFEST_NAME, Manifest};
use super::super::scan::Scan;
use super::super::segment::{DirectoryId, HeaderFault, SegmentFile, SegmentHeader, SegmentKind};
use super::error::io_error;
use super::{File, OpenError, Recovery};
use crate::types::{LogIndex, SegmentId, ShardId, Term};

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
            last_term: manifest.base_term,
            segments: Vec::new(),
            last_id: all.last().map_or(SegmentId(0), |file| file.id),
            leftovers: Vec::new(),
            headless: Vec::new(),
            base_was_missing: false,
            cut: None,
            broken: None,
            bytes_read: 0,
            bytes_total: 0,
        };
        if manifest.base_missing {
            // Nobody was told that anything in it is on disk. What it was to begin behind is not here either.
            recovery.manifest.base_missing = false;
            recovery.manifest.first_index = LogIndex(1);
            recovery.manifest.base_term = Term(0);
            (recovery.last_index, recovery.last_term) = (LogIndex(0), Term(0));
            recovery.base_was_missing = true;
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

    /// Whether a segment of this number is among those found so far.
    fn follows(&self, begun_before: usize, id: SegmentId) -> bool {
        self.files[begun_before..].iter().any(|file| file.file.id == id)
    }

    /// Finds the segments of the log: from the first that is needed, which is the one that the manifest names or
    /// the next where that ends before the first record behind the snapshot; each the one that the next names as
    /// the one before it. Files without a header of their own were made ready and not begun.
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
            let is_there =
                !self.files.is_empty() || not_begun.iter().any(|(file, ..)| file.id == first);
            let follows = header.previous.is_some_and(|(id, _)| self.follows(begun_before, id));
            match (self.files[begun_before..].last(), header.previous) {
                (None, None)
                    if file.id == first && header.first_index <= self.manifest.first_index => {}
                // The begin of a log that was to take this one's place, and never counted: what this one has is
                // removed only when it does.
                (_, None) if file.id != first && is_there => {
                    self.base_was_missing = true;
                    break;
                }
                // What is before the manifest's first record is in the snapshot, whatever has become of it.
                (None, _) if header.first_index <= self.manifest.first_index => {}
                (Some(_), _) if header.first_index <= self.manifest.first_index => {
                    self.files.truncate(begun_before);
                }
                (Some(_), Some((id, end))) if follows => {
                    // What came between had to give way to it.
                    while self.files.last().is_some_and(|last| last.file.id != id) {
                        self.files.pop();
                    }
                    if let Some(last) = self.files.last_mut() {
                        last.end = Some(end);
                    }
                }
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
        let begin = self.files.get(begun_before).map_or(first, |begin| begin.file.id);
        for (file, content, fault) in not_begun.into_iter().filter(|(file, ..)| file.id >= begin) {
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
}
