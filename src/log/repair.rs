//! Mending a log that can't be read any more: it is cut off where it is damaged, gets a manifest again, or
//! empty records for those that are missing.
//!
//! Nothing is lost in silence: what is cut away is copied to a file beside, and whole segments are given
//! another name. Whoever calls this was told to by a person, who saw first what will be missing. A crash on
//! the way leaves the log as unreadable as it was, to be repaired again, or repaired.

use std::io;

use super::buffer::ALIGN_BYTES;
use super::directory::{Directory, save_manifest};
use super::hard_state::{HARD_STATE_NAME, HardState};
use super::manifest::{MANIFEST_COPY_BYTES, MANIFEST_NAME, Manifest};
use super::record::{BLOCK_BYTES, RECORD_ALIGN, RecordHeader, RecordKind, RecordSeed};
use super::scan::{Next, Scan};
use super::segment::{DirectoryId, SegmentFile, SegmentHeader, SegmentKind};
use crate::types::{ByteOffset, LogIndex, SegmentId, ShardId, Term};

/// What is to be done with the folder of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// Segments that are not part of the log any more, in order: they get another name.
    pub set_aside: Vec<SegmentFile>,
    /// The segment that ends somewhere else than before, and where.
    pub cut: Option<(SegmentFile, ByteOffset)>,
    /// The manifest that is to hold: both copies are written.
    pub manifest: Option<Manifest>,
    /// Records that are in no file and are to be there, without content.
    pub fill: Option<Fill>,
}

/// A segment behind the log's end with a record for each that is missing there, so that no index is given to
/// another record than the one that had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// What is written before the records; its `previous` is synced first.
    pub header: SegmentHeader,
    /// The last record.
    pub last: LogIndex,
    /// What each of them holds.
    pub payload: &'static [u8],
}

impl Fill {
    fn encode(&self) -> Vec<u8> {
        let SegmentHeader { file, shard, first_index, previous_term: term, directory, .. } =
            self.header;
        let mut bytes = self.header.encode().to_vec();
        for index in first_index.0..=self.last.0 {
            let header = RecordHeader {
                kind: RecordKind::Entry,
                shard,
                segment: file.id,
                term,
                index: LogIndex(index),
                // Of this segment, nothing.
                synced: LogIndex(first_index.0 - 1),
                seed: RecordSeed::of(&directory),
            };
            bytes.extend_from_slice(&header.encode(self.payload));
            bytes.extend_from_slice(self.payload);
            bytes.resize(bytes.len().next_multiple_of(RECORD_ALIGN), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(ALIGN_BYTES), 0);
        bytes
    }

    fn perform(&self, directory: &mut impl Directory) -> io::Result<()> {
        if let Some((previous, _)) = self.header.previous {
            directory.sync(&SegmentFile::log(previous).name())?;
        }
        let (name, bytes) = (self.header.file.name(), self.encode());
        directory.create(&name, bytes.len() as u64, false)?;
        directory.write(&name, 0, &bytes)?;
        directory.sync(&name)?;
        directory.sync_directory()
    }
}

impl Repair {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Does it; answers the names of the files that hold what was cut away.
    ///
    /// # Errors
    /// The first error of the system's. The log is then what it was, or still to be repaired.
    pub fn perform(&self, directory: &mut impl Directory) -> io::Result<Vec<String>> {
        let mut kept = Vec::new();
        if let Some((file, at)) = self.cut {
            kept.push(copy_tail(directory, file, at)?);
        }
        // The last first: what is left is a log with one fault, whenever this ends.
        for file in self.set_aside.iter().rev() {
            let name = free_name(directory, &cut_name(*file, ByteOffset(0)))?;
            directory.rename(&file.name(), &name)?;
            kept.push(name);
        }
        directory.sync_directory()?;
        if let Some(manifest) = &self.manifest {
            write_both_copies(directory, manifest)?;
        }
        if let Some((file, at)) = self.cut {
            cut_tail(directory, file, at)?;
        }
        if let Some(fill) = &self.fill {
            fill.perform(directory)?;
        }
        Ok(kept)
    }
}

/// Gives up the log of a replica, which its leader then sends again. Its vote stays, and it votes no more before it has
/// been sent all; one that can't be read is given up too, as with a lost disk. `fresh` is the manifest of an empty
/// shard. Answers the names of the files that hold what was given up.
///
/// # Errors
/// The first error of the system's. It is then what it was, or still to be given up.
pub fn give_up_replica(
    directory: &mut impl Directory,
    fresh: &Manifest,
) -> io::Result<Vec<String>> {
    let mut kept = Vec::new();
    match HardState::read(directory) {
        Ok(Some(mut state)) => {
            (state.is_clean, state.commit) = (false, LogIndex(0));
            state.generation += 1;
            state.save(directory)?;
        }
        Ok(None) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let name = free_name(directory, &format!("{HARD_STATE_NAME}.damaged"))?;
            directory.rename(HARD_STATE_NAME, &name)?;
            kept.push(name);
        }
        Err(error) => return Err(error),
    }
    let all = directory.list()?;
    for file in all.iter().filter_map(|name| SegmentFile::parse(name)) {
        let name = free_name(directory, &cut_name(file, ByteOffset(0)))?;
        directory.rename(&file.name(), &name)?;
        kept.push(name);
    }
    directory.sync_directory()?;
    write_both_copies(directory, fresh)?;
    Ok(kept)
}

fn cut_name(file: SegmentFile, at: ByteOffset) -> String {
    format!("{}.cut-{}", file.name(), at.0)
}

/// A name that no file has: what was cut away before is not written over.
fn free_name(directory: &mut impl Directory, name: &str) -> io::Result<String> {
    let taken = directory.list()?;
    let is_free = |name: &String| !taken.contains(name);
    let mut names = (2..).map(|count: u32| format!("{name}.{count}"));
    Some(name.to_owned()).filter(is_free).map_or_else(
        || names.find(is_free).ok_or_else(|| io::Error::other("all names are taken")),
        Ok,
    )
}

/// Copies what stands from `at` on, up to the zeros at the end.
fn copy_tail(
    directory: &mut impl Directory,
    file: SegmentFile,
    at: ByteOffset,
) -> io::Result<String> {
    let name = free_name(directory, &cut_name(file, at))?;
    let content = directory.read(&file.name())?;
    let start = usize::try_from(at.0).unwrap_or(usize::MAX).min(content.len());
    let end = content.iter().rposition(|byte| *byte != 0).map_or(start, |last| last + 1);
    directory.create(&name, 0, false)?;
    directory.write(&name, 0, &content[start..end.max(start)])?;
    directory.sync(&name)?;
    directory.sync_directory()?;
    Ok(name)
}

fn cut_tail(directory: &mut impl Directory, file: SegmentFile, at: ByteOffset) -> io::Result<()> {
    let name = file.name();
    let end = at.0.next_multiple_of(BLOCK_BYTES as u64);
    let zeros = [0; BLOCK_BYTES];
    let rest = usize::try_from(end - at.0).unwrap_or(0);
    directory.create(&name, end, false)?;
    directory.write(&name, at.0, &zeros[..rest])?;
    directory.sync(&name)
}

fn write_both_copies(directory: &mut impl Directory, manifest: &Manifest) -> io::Result<()> {
    directory.create(MANIFEST_NAME, 2 * MANIFEST_COPY_BYTES as u64, false)?;
    for generation in [manifest.generation + 1, manifest.generation + 2] {
        save_manifest(directory, &Manifest { generation, ..*manifest })?;
    }
    directory.sync_directory()
}

/// Why a manifest can't be made from what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbuildable {
    /// No snapshot is whole, and the log does not begin at its first record.
    #[error("no snapshot is whole, and the log that is there does not begin at the first record")]
    NoStart,
    /// The log is a replica's: what it voted for stood in the manifest alone.
    #[error("the log is replicated, and what this replica has voted for is lost")]
    Replicated,
}

/// The manifest of a folder that has lost it, as the segments show it: the newest snapshot that is whole, and
/// the log from there on. Whether that log is whole is for whoever reads it to see.
///
/// # Errors
/// The system's, or why there can be none.
pub fn rebuild_manifest(
    directory: &mut impl Directory,
    shard: ShardId,
    shard_count: u16,
    id: DirectoryId,
) -> io::Result<Result<Manifest, Unbuildable>> {
    let names = directory.list()?;
    let mut files: Vec<SegmentFile> =
        names.iter().filter_map(|name| SegmentFile::parse(name)).collect();
    files.sort_unstable_by_key(|file| file.id);
    let (mut logs, mut snapshots) = (Vec::new(), Vec::new());
    for file in &files {
        let content = directory.read(&file.name())?;
        let Ok(header) = SegmentHeader::decode(&content, *file, shard, &id) else { continue };
        if header.previous_term != Term(0) {
            return Ok(Err(Unbuildable::Replicated));
        }
        match file.kind {
            SegmentKind::Log => logs.push(header),
            SegmentKind::Snapshot if is_whole(&content, &header, &id) => snapshots.push(header),
            SegmentKind::Snapshot => {}
        }
    }
    let next_id = SegmentId(files.last().map_or(0, |file| file.id.0) + 1);
    let blank = Manifest::new(shard, shard_count, id);
    Ok(start_of(&logs, &snapshots, next_id)
        .map(|(snapshot, first_index, first_segment)| Manifest {
            snapshot,
            first_index,
            first_segment,
            ..blank
        })
        .ok_or(Unbuildable::NoStart))
}

/// The snapshot, the first record that is not in it, and the segment that the log is read from.
fn start_of(
    logs: &[SegmentHeader],
    snapshots: &[SegmentHeader],
    next_id: SegmentId,
) -> Option<(Option<SegmentId>, LogIndex, SegmentId)> {
    // Where the log begins anew, it has nothing to do with what was before: but the first segment of a log
    // that goes on behind a snapshot alone looks the same.
    let begin = logs.iter().rposition(|header| header.previous.is_none());
    let fits = |snapshot: &&SegmentHeader| {
        let Some(begin) = begin else { return true };
        let (before, first) = (&logs[..begin], &logs[begin]);
        snapshot.file.id > first.file.id
            || snapshot.first_index == first.first_index
                && before.last().is_none_or(|last| last.file.id < snapshot.file.id)
    };
    let logs = &logs[begin.unwrap_or(0)..];
    let Some(snapshot) = snapshots.iter().rev().find(fits) else {
        let first = logs.first().filter(|_| begin.is_some())?;
        return (first.first_index == LogIndex(1)).then_some((None, LogIndex(1), first.file.id));
    };
    let first_index = snapshot.first_index;
    // Where a part of the log is there and not its beginning, a part is missing.
    let segment = match logs.iter().rev().find(|header| header.first_index <= first_index) {
        Some(holder) => holder.file.id,
        None if logs.is_empty() => next_id,
        None => return None,
    };
    Some((Some(snapshot.file.id), first_index, segment))
}

fn is_whole(content: &[u8], header: &SegmentHeader, id: &DirectoryId) -> bool {
    let (shard, segment, seed) = (header.shard, header.file.id, RecordSeed::of(id));
    let mut scan = Scan::new(shard, segment, LogIndex(1), seed);
    let mut has_end = false;
    while let Next::Record(record) = scan.next(content) {
        has_end = record.header.kind == RecordKind::SnapshotEnd;
    }
    has_end
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;

    use super::{Fill, Manifest, Repair, SegmentFile, Unbuildable, rebuild_manifest};
    use crate::log::{
        Directory, MANIFEST_NAME, OpenError, RECORD_HEADER_BYTES, RecordHeader, RecordKind,
        RecordSeed, Recovery, SegmentHeader, create,
    };
    use crate::types::{ByteOffset, LogIndex, SegmentId, ShardId, Term, UnixMs};

    const SHARD: ShardId = ShardId(0);
    const ID: [u8; 16] = [7; 16];

    /// A folder in memory that fails after a number of changes.
    #[derive(Clone, Default)]
    struct Memory {
        files: BTreeMap<String, Vec<u8>>,
        changes_left: Option<usize>,
    }

    impl Memory {
        fn change(&mut self) -> io::Result<&mut BTreeMap<String, Vec<u8>>> {
            match &mut self.changes_left {
                Some(0) => return Err(io::Error::other("the end")),
                Some(left) => *left -= 1,
                None => {}
            }
            Ok(&mut self.files)
        }
    }

    impl Directory for Memory {
        type Content = Vec<u8>;

        fn list(&mut self) -> io::Result<Vec<String>> {
            Ok(self.files.keys().cloned().collect())
        }

        fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
            self.files.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn create(&mut self, name: &str, bytes: u64, _: bool) -> io::Result<()> {
            let bytes = usize::try_from(bytes).unwrap();
            self.change()?.entry(name.to_owned()).or_default().resize(bytes, 0);
            Ok(())
        }

        fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let (start, end) = (usize::try_from(offset).unwrap(), bytes.len());
            let file = self.change()?.get_mut(name).unwrap();
            file.resize(file.len().max(start + end), 0);
            file[start..start + end].copy_from_slice(bytes);
            Ok(())
        }

        fn sync(&mut self, _: &str) -> io::Result<()> {
            self.change().map(|_| ())
        }

        fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
            let files = self.change()?;
            let content = files.remove(from).unwrap();
            files.insert(to.to_owned(), content);
            Ok(())
        }

        fn remove(&mut self, name: &str) -> io::Result<()> {
            self.change()?.remove(name).unwrap();
            Ok(())
        }

        fn sync_directory(&mut self) -> io::Result<()> {
            self.change().map(|_| ())
        }
    }

    /// A segment with three records of a block each.
    fn segment(id: u64, first_index: u64, previous: Option<(u64, u64)>) -> Vec<u8> {
        let header = SegmentHeader {
            file: SegmentFile::log(SegmentId(id)),
            shard: SHARD,
            first_index: LogIndex(first_index),
            previous: previous.map(|(id, end)| (SegmentId(id), ByteOffset(end))),
            previous_term: Term(0),
            created: UnixMs(1),
            directory: ID,
        };
        let mut bytes = header.encode().to_vec();
        for index in first_index..first_index + 3 {
            let payload = [1; 512 - RECORD_HEADER_BYTES];
            let header = RecordHeader {
                kind: RecordKind::Entry,
                shard: SHARD,
                segment: SegmentId(id),
                term: Term(0),
                index: LogIndex(index),
                synced: LogIndex(index - 1),
                seed: RecordSeed::of(&ID),
            };
            bytes.extend_from_slice(&header.encode(&payload));
            bytes.extend_from_slice(&payload);
        }
        bytes.resize(8192, 0);
        bytes
    }

    const END: u64 = 4096 + 3 * 512;

    fn log_of_three_segments() -> Memory {
        let mut memory = Memory::default();
        let manifest = Manifest { clean_index: Some(LogIndex(9)), ..Manifest::new(SHARD, 1, ID) };
        create(&mut memory, &manifest).unwrap();
        for (id, previous) in [(1, None), (2, Some((1, END))), (3, Some((2, END)))] {
            let name = SegmentFile::log(SegmentId(id)).name();
            memory.files.insert(name, segment(id, 3 * id - 2, previous));
        }
        memory
    }

    fn last_index(memory: &mut Memory) -> Result<LogIndex, OpenError> {
        let mut recovery = Recovery::open(memory, SHARD, 1, ID)?;
        while recovery.step(|_| Some(1))? {}
        Ok(recovery.last_index())
    }

    #[test]
    fn a_repair_that_is_interrupted_is_done_again() {
        let second = SegmentFile::log(SegmentId(2));
        let mut damaged = log_of_three_segments();
        damaged.files.get_mut(&second.name()).unwrap()[4096 + 512 + 100] ^= 1;
        let whole = damaged.files.clone();
        let manifest = Manifest { generation: 0, ..Manifest::new(SHARD, 1, ID) };
        let repair = Repair {
            set_aside: vec![SegmentFile::log(SegmentId(3))],
            cut: Some((second, ByteOffset(4096 + 512))),
            manifest: Some(manifest),
            fill: None,
        };
        let mut steps = 0;
        loop {
            let mut memory = Memory { changes_left: Some(steps), ..damaged.clone() };
            let is_done = repair.perform(&mut memory).is_ok();
            memory.changes_left = None;
            match last_index(&mut memory) {
                Ok(last) => assert_eq!(last, LogIndex(4), "after {steps} changes"),
                Err(error) => {
                    assert!(!is_done);
                    let is_it =
                        matches!(&error, OpenError::Damaged { file, .. } if *file == second.name());
                    assert!(is_it, "after {steps} changes: {error}");
                    let set_aside = repair.set_aside.iter().copied();
                    let set_aside = set_aside.filter(|it| memory.files.contains_key(&it.name()));
                    let again = Repair { set_aside: set_aside.collect(), ..repair.clone() };
                    again.perform(&mut memory).unwrap();
                    assert_eq!(last_index(&mut memory).unwrap(), LogIndex(4));
                }
            }
            // What was cut away is there, whole.
            let tail = &whole[&second.name()][4096 + 512..4096 + 3 * 512];
            let tail = &tail[..=tail.iter().rposition(|byte| *byte != 0).unwrap()];
            assert!(memory.files.values().any(|content| content == tail), "{steps}");
            let third = &whole[&SegmentFile::log(SegmentId(3)).name()];
            assert!(memory.files.values().any(|content| content == third), "{steps}");
            if is_done {
                assert!(steps > 8, "{steps}");
                return;
            }
            steps += 1;
        }
    }

    #[test]
    fn a_segment_is_missed_though_its_header_and_first_record_are_damaged() {
        let third = SegmentFile::log(SegmentId(3));
        let mut memory = log_of_three_segments();
        create(&mut memory, &Manifest::new(SHARD, 1, ID)).unwrap();
        // Two records are left, of which the second says that the first was on disk.
        let content = memory.files.get_mut(&third.name()).unwrap();
        content[4096 + 2 * 512..].fill(0);
        content[100..4096 + 100].fill(0xff);
        content[..100].fill(0);
        let error = last_index(&mut memory).unwrap_err();
        let is_it = matches!(&error, OpenError::Segment { file, .. } if *file == third.name());
        assert!(is_it, "{error}");
        // It can be set aside.
        let repair = Repair { set_aside: vec![third], ..Repair::default() };
        repair.perform(&mut memory).unwrap();
        assert_eq!(last_index(&mut memory).unwrap(), LogIndex(6));
    }

    /// The log ends at record 9, and should at 12.
    #[test]
    fn records_that_are_missing_are_made_up_for_wherever_that_is_interrupted() {
        let mut damaged = log_of_three_segments();
        create(&mut damaged, &Manifest::new(SHARD, 1, ID)).unwrap();
        let header = SegmentHeader {
            file: SegmentFile::log(SegmentId(4)),
            shard: SHARD,
            first_index: LogIndex(10),
            previous: Some((SegmentId(3), ByteOffset(END))),
            previous_term: Term(0),
            created: UnixMs(2),
            directory: ID,
        };
        let fill = Fill { header, last: LogIndex(12), payload: &[0; 16] };
        let repair = Repair { fill: Some(fill), ..Repair::default() };
        let mut steps = 0;
        loop {
            let mut memory = Memory { changes_left: Some(steps), ..damaged.clone() };
            let is_done = repair.perform(&mut memory).is_ok();
            memory.changes_left = None;
            let last = last_index(&mut memory).unwrap();
            assert!(last == LogIndex(12) || last == LogIndex(9) && !is_done, "{steps}");
            if is_done {
                assert!(last == LogIndex(12) && steps > 4);
                return;
            }
            steps += 1;
        }
    }

    #[test]
    fn a_manifest_is_made_from_what_begins_a_log() {
        let built = |memory: &mut Memory| {
            memory.files.remove(MANIFEST_NAME);
            rebuild_manifest(memory, SHARD, 1, ID).unwrap()
        };
        let mut memory = log_of_three_segments();
        let manifest = built(&mut memory).unwrap();
        assert_eq!(manifest, Manifest::new(SHARD, 1, ID));
        // A log that begins anew is not the one before.
        let mut memory = log_of_three_segments();
        memory.files.insert(SegmentFile::log(SegmentId(7)).name(), segment(7, 1, None));
        assert_eq!(built(&mut memory).unwrap().first_segment, SegmentId(7));
        let mut memory = log_of_three_segments();
        memory.files.remove(&SegmentFile::log(SegmentId(1)).name());
        assert_eq!(built(&mut memory), Err(Unbuildable::NoStart));
    }
}
