//! One shard's files, looked through from the first to the last whatever is wrong with them.
//!
//! What the server would make of them is asked of the code that it recovers with, so the two can't come to
//! differ. What that does not reach, because it stops at damage, is looked through for records that can
//! still be read: that is what a repair would lose.

use std::io;
use std::path::PathBuf;

use crate::cache::{Changes, SavedEntries};
use crate::log::{
    Configuration, Cut, Directory as _, HardState, Item, MANIFEST_NAME, Manifest, OpenError, Place,
    RecordSeed, Recovery, Salvage, SegmentFile, SegmentHeader, SegmentKind, SnapshotEnd,
    Unbuildable, rebuild_manifest,
};
use crate::runtime::{Content, Folder, shard_folder};
use crate::server::data_dir::{DataDir, Layout};
use crate::types::{ByteOffset, DbIndex, Key, LogIndex, ShardId, SlotMap, Term};

/// What has become of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ManifestState {
    /// It is there.
    Whole(Manifest),
    /// One copy is damaged, the other tells.
    OneCopy(Manifest),
    /// One copy is damaged, and the other names files that are gone; this is what the files show.
    Outdated(Manifest),
    /// It is lost; this is what the files show it to have been.
    Rebuilt(Manifest),
    /// It is lost.
    Lost(Unbuildable),
    /// There is nothing at all: a directory is made with manifests, so all of the shard is lost.
    Nothing,
}

impl ManifestState {
    /// The state of the manifest in the folder of `shard`.
    pub(crate) fn of(folder: &mut Folder, shard: ShardId, layout: &Layout) -> io::Result<Self> {
        let content = match folder.read(MANIFEST_NAME) {
            Ok(content) => Some(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let bytes = content.as_deref().unwrap_or_default();
        match Manifest::decode(bytes) {
            Some(manifest) if Manifest::is_copy_damaged(bytes) => Ok(Self::OneCopy(manifest)),
            Some(manifest) => Ok(Self::Whole(manifest)),
            None if segments(folder)?.is_empty() => Ok(Self::Nothing),
            None => {
                let rebuilt = rebuild_manifest(folder, shard, layout.shards, layout.id)?;
                Ok(rebuilt.map_or_else(Self::Lost, Self::Rebuilt))
            }
        }
    }

    /// What it says, or said.
    pub(crate) fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Whole(manifest)
            | Self::OneCopy(manifest)
            | Self::Outdated(manifest)
            | Self::Rebuilt(manifest) => Some(manifest),
            Self::Lost(_) | Self::Nothing => None,
        }
    }
}

/// What a file is to its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It was read, to its end or to where it is damaged.
    Read,
    /// It comes after damage.
    Behind,
    /// It was made ready to be written and not begun.
    Ready,
    /// It is not needed any more, or was never finished.
    Leftover,
}

/// Records that can be read behind damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Salvaged {
    pub(crate) records: u64,
    pub(crate) changes: u64,
}

/// What was found in a file.
#[derive(Clone, Debug)]
pub(crate) struct FileSeen {
    pub(crate) file: SegmentFile,
    pub(crate) part: Part,
    pub(crate) file_bytes: u64,
    pub(crate) first_index: LogIndex,
    pub(crate) records: u64,
    /// Entries of a snapshot, changes of the log.
    pub(crate) items: u64,
    pub(crate) end: ByteOffset,
    /// What can be read behind that end.
    pub(crate) behind: Salvaged,
}

/// What was found of a replica's hard state.
#[derive(Debug)]
pub(crate) enum HardStateSeen {
    /// The shard is not replicated.
    None,
    /// It is whole.
    Whole(Box<HardState>),
    /// It can't be read.
    Damaged(String),
}

impl HardStateSeen {
    fn of(folder: &mut Folder) -> Self {
        match HardState::read(folder) {
            Ok(None) => Self::None,
            Ok(Some(state)) => Self::Whole(Box::new(state)),
            Err(error) => Self::Damaged(error.to_string()),
        }
    }
}

/// What was found in a shard's folder.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) shard: ShardId,
    pub(crate) seed: RecordSeed,
    pub(crate) folder: PathBuf,
    pub(crate) manifest: ManifestState,
    pub(crate) hard_state: HardStateSeen,
    /// In the order in which they are read, then those that are not.
    pub(crate) files: Vec<FileSeen>,
    /// What keeps a server from starting with this shard.
    pub(crate) fault: Option<OpenError>,
    /// Where the reading was when it met that; none if all files had been read.
    pub(crate) fault_in: Option<SegmentFile>,
    /// The torn tail.
    pub(crate) cut: Option<Cut>,
    pub(crate) last_index: LogIndex,
    /// Of a replica: the term of that record, and the last configuration in a record.
    pub(crate) last_term: Term,
    pub(crate) configuration: Option<Configuration>,
    pub(crate) snapshot_end: Option<SnapshotEnd>,
}

impl Survey {
    /// Looks through the folder of `shard`.
    pub(crate) fn of(data: &DataDir, shard: ShardId) -> io::Result<Self> {
        let layout = data.layout();
        let mut folder = Folder::at(shard_folder(data.path(), shard));
        let state = ManifestState::of(&mut folder, shard, &layout)?;
        let survey = Self::with_manifest(data, shard, state)?;
        if let (ManifestState::OneCopy(old), Some(_)) = (state, &survey.fault)
            && let Ok(rebuilt) = rebuild_manifest(&mut folder, shard, layout.shards, layout.id)?
        {
            let rebuilt = Manifest { generation: old.generation, ..rebuilt };
            let other = Self::with_manifest(data, shard, ManifestState::Outdated(rebuilt))?;
            if other.fault.is_none() {
                return Ok(other);
            }
        }
        Ok(survey)
    }

    /// Looks through it as `manifest` tells.
    fn with_manifest(data: &DataDir, shard: ShardId, manifest: ManifestState) -> io::Result<Self> {
        let (path, layout) = (shard_folder(data.path(), shard), data.layout());
        let mut folder = Folder::at(path.clone());
        let mut survey = Self {
            shard,
            seed: RecordSeed::of(&layout.id),
            folder: path,
            manifest,
            hard_state: HardStateSeen::of(&mut folder),
            files: Vec::new(),
            fault: None,
            fault_in: None,
            cut: None,
            last_index: LogIndex(0),
            last_term: Term(0),
            configuration: None,
            snapshot_end: None,
        };
        if let Some(manifest) = manifest.manifest() {
            match Recovery::inspect(&mut folder, *manifest, shard, layout.shards, layout.id) {
                Ok(recovery) => survey.read(recovery, &layout),
                Err(error) => survey.fault = Some(error),
            }
        }
        let all = segments(&mut folder)?;
        survey.look_at_the_rest(&mut folder, &all, &layout)?;
        Ok(survey)
    }

    /// Whether a server would start with this shard, and nothing of it is damaged.
    pub(crate) fn is_well(&self) -> bool {
        self.fault.is_none()
            && matches!(self.manifest, ManifestState::Whole(_))
            && !matches!(self.hard_state, HardStateSeen::Damaged(_))
    }

    /// Whether the shard is a replica, of which others have as much or more.
    pub(crate) fn is_replica(&self) -> bool {
        !matches!(self.hard_state, HardStateSeen::None)
    }

    /// What a cut before the damage would lose, as far as it can still be read.
    pub(crate) fn behind(&self) -> Salvaged {
        self.files.iter().fold(Salvaged::default(), |sum, file| Salvaged {
            records: sum.records + file.behind.records,
            changes: sum.changes + file.behind.changes,
        })
    }

    fn read(&mut self, mut recovery: Recovery<Content>, layout: &Layout) {
        let mut items: Vec<(SegmentFile, u64)> = Vec::new();
        let mut configuration = None;
        self.fault = loop {
            let step = recovery.step_in_place(|place, item| {
                let count = count_items(self.shard, layout.shards, &item)?;
                if let Item::Configuration { payload, .. } = item {
                    let version = (place.header.term, place.header.index);
                    configuration = Configuration::decode(version, payload);
                }
                match items.last_mut().filter(|(file, _)| *file == place.file) {
                    Some((_, sum)) => *sum += count,
                    None => items.push((place.file, count)),
                }
                Some(count)
            });
            match step {
                Ok(true) => {}
                Ok(false) => break None,
                Err(error) => break Some(error),
            }
        };
        self.fault_in = recovery.current().filter(|_| self.fault.is_some());
        self.cut = recovery.cut().cloned();
        self.last_index = recovery.last_index();
        self.snapshot_end = recovery.snapshot_end();
        self.configuration = configuration;
        for read in recovery.files() {
            let items = items.iter().find(|(file, _)| *file == read.file).map_or(0, |(_, it)| *it);
            self.files.push(FileSeen {
                file: read.file,
                part: Part::Read,
                file_bytes: read.file_bytes,
                first_index: read.first_index,
                records: read.records,
                items,
                end: read.end,
                behind: Salvaged::default(),
            });
            if self.fault_in == Some(read.file) {
                // What comes after it is not read: the rest is looked at as such.
                break;
            }
        }
        self.last_term = recovery.finish().last_term;
    }

    /// Looks at the files that were not read, and at what stands behind the damage in the one that was
    /// not read to its end.
    fn look_at_the_rest(
        &mut self,
        folder: &mut Folder,
        all: &[SegmentFile],
        layout: &Layout,
    ) -> io::Result<()> {
        let first = self.manifest.manifest().map_or(0, |manifest| manifest.first_segment.0);
        let is_lost = self.fault.is_some() || matches!(self.manifest, ManifestState::Lost(_));
        if let Some(seen) = self.files.iter_mut().find(|seen| self.fault_in == Some(seen.file)) {
            let content = folder.read(&seen.file.name())?;
            seen.behind = salvage(&content, (self.shard, self.seed), seen.file, seen.end);
        }
        for file in all {
            if self.files.iter().any(|seen| seen.file == *file) {
                continue;
            }
            let content = folder.read(&file.name())?;
            let header = SegmentHeader::decode(&content, *file, self.shard, &layout.id);
            let is_of_log = file.kind == SegmentKind::Log && file.id.0 >= first;
            let behind = match is_lost && is_of_log {
                true => salvage(&content, (self.shard, self.seed), *file, ByteOffset(0)),
                false => Salvaged::default(),
            };
            let part = match (&header, file.kind) {
                _ if behind.records > 0 => Part::Behind,
                (Ok(_), SegmentKind::Log) if is_lost && is_of_log => Part::Behind,
                (Err(_), SegmentKind::Log) if is_of_log => Part::Ready,
                (Ok(_) | Err(_), SegmentKind::Log | SegmentKind::Snapshot) => Part::Leftover,
            };
            self.files.push(FileSeen {
                file: *file,
                part,
                file_bytes: content.len() as u64,
                first_index: header.map_or(LogIndex(0), |header| header.first_index),
                records: 0,
                items: 0,
                end: ByteOffset(0),
                behind,
            });
        }
        Ok(())
    }
}

/// The segments in a folder, in the order of their numbers; none if it is not there.
fn segments(folder: &mut Folder) -> io::Result<Vec<SegmentFile>> {
    let names = match folder.list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    let mut all: Vec<SegmentFile> =
        names.iter().filter_map(|name| SegmentFile::parse(name)).collect();
    all.sort_unstable_by_key(|file| file.id);
    Ok(all)
}

/// How many entries or changes a record brings; nothing if they make no sense in this shard.
pub(crate) fn count_items(shard: ShardId, shard_count: u16, item: &Item<'_>) -> Option<u64> {
    let slots = SlotMap::new(shard_count, 1);
    let belongs = |db: DbIndex, key: &[u8]| slots.shard_of(Key::new(db, key).slot) == shard;
    match item {
        Item::Part(payload) => SavedEntries::of(payload).try_fold(0, |count, entry| {
            let entry = entry.ok()?;
            let fits = !entry.what.has_slot() || belongs(entry.db, entry.key);
            fits.then_some(count + u64::from(entry.what.is_key()))
        }),
        Item::Changes { payload, .. } => {
            Changes::of(payload).ok()?.try_fold(0, |count, changed| {
                let changed = changed.ok()?;
                let fits = changed.change.key().is_none_or(|key| belongs(changed.db, key));
                fits.then_some(count + 1)
            })
        }
        Item::Configuration { payload, .. } => {
            Configuration::decode(Default::default(), payload).map(|_| 1)
        }
    }
}

/// The records of a file that can be read from `from` on.
pub(crate) fn salvaged(
    content: &[u8],
    (shard, seed): (ShardId, RecordSeed),
    file: SegmentFile,
    from: ByteOffset,
) -> impl Iterator<Item = (Place, &[u8])> {
    Salvage::new(content, (shard, file.id), seed, from)
        .map(move |(at, record)| (Place { file, at, header: record.header }, record.payload))
}

fn salvage(
    content: &[u8],
    of: (ShardId, RecordSeed),
    file: SegmentFile,
    from: ByteOffset,
) -> Salvaged {
    let mut sum = Salvaged::default();
    for (_, payload) in salvaged(content, of, file, from) {
        let changes = Changes::of(payload).and_then(|mut changes| {
            changes.try_fold(0, |count, changed| changed.map(|_| count + 1))
        });
        if let Ok(changes) = changes {
            sum.records += 1;
            sum.changes += changes;
        }
    }
    sum
}
