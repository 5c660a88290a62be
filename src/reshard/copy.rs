//! All entries of the old shards into snapshots of the new ones. What the old ones know of writes that may be asked for
//! again is not taken along: the new ones refuse what may have been done.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Failure;
use super::writer::Writer;
use crate::cache::{Floors, Keyspace, KeyspaceOptions, SaveCursor, SavedEntry, SharedBytes};
use crate::log::{HardState, Item, OpenError, Recovery, SegmentKind};
use crate::runtime::{Content, Folder, free_bytes, shard_folder, unreadable_log};
use crate::server::data_dir::{DataDir, Layout};
use crate::types::{Key, MonoUs, Now, ShardId, SlotMap};

/// How far the copying has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Copied {
    /// The old shard that is being read.
    pub(super) shard: u16,
    /// Bytes of all old shards that were read, and that there are at most.
    pub(super) read_bytes: u64,
    pub(super) total_bytes: u64,
    /// Entries written.
    pub(super) entries: u64,
}

/// Writes the data of `data` into new shards in `folder`, as `layout` says; all of it is on disk then.
pub(super) fn copy(
    data: &DataDir,
    folder: &Path,
    layout: Layout,
    progress: &mut impl FnMut(Copied),
) -> Result<Copied, Failure> {
    let old = SlotMap::new(data.layout().shards, 1);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Now::new(unix, MonoUs(0));
    let mut copied = Copied { total_bytes: check_room(data)?, ..Copied::default() };
    let mut writers =
        Writers { folder, layout, now, open: BTreeMap::new(), next: 0, floors: Vec::new() };
    for shard in (0..old.shard_count()).map(ShardId) {
        copied.shard = shard.0;
        let before = copied.read_bytes;
        let mut recovery = open(data, shard)?;
        let mut keyspace = empty_keyspace(old, shard)?;
        loop {
            match recovery.step(|item| recover(&mut keyspace, &item)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(unreadable(data, shard, &error)),
            }
            keyspace.maintain();
            copied.read_bytes = before + recovery.progress().0;
            progress(copied);
        }
        // Past a torn tail, and what else was not read of it.
        copied.read_bytes = before + recovery.progress().1;
        drop(recovery);
        let slots = old.slots_of(shard);
        writers.open_for(slots.end)?;
        write_entries(&keyspace, &mut writers, &mut copied, progress)?;
        writers.floors.push((slots.clone(), Floors::of(&keyspace)));
        writers.finish_before(slots.end)?;
    }
    writers.finish_before(u16::MAX)?;
    Ok(copied)
}

fn write_entries(
    keyspace: &Keyspace,
    writers: &mut Writers<'_>,
    copied: &mut Copied,
    progress: &mut impl FnMut(Copied),
) -> Result<(), Failure> {
    let (mut cursor, now) = (SaveCursor::default(), writers.now.unix);
    while !cursor.is_done() {
        let mut written = Ok(());
        cursor = keyspace.visit_entries(cursor, now, |entry, long| {
            let is_live = entry.expires_at.is_none_or(|at| at >= now);
            if written.is_ok() && is_live && entry.what.has_slot() {
                copied.entries += u64::from(entry.what.is_key());
                written = writers.add(entry, long);
            }
        });
        written?;
        progress(*copied);
    }
    Ok(())
}

/// The new shards that are being written: few at a time, as both old and new shards own runs of slots.
struct Writers<'a> {
    folder: &'a Path,
    layout: Layout,
    now: Now,
    open: BTreeMap<u16, Writer>,
    /// The first that has not been begun.
    next: u16,
    /// What old shards know of clients' writes, and their slots: those that share slots with shards still to be
    /// finished.
    floors: Vec<(Range<u16>, Floors)>,
}

impl Writers<'_> {
    fn slots(&self) -> SlotMap {
        SlotMap::new(self.layout.shards, 1)
    }

    /// Begins the shards with slots below `end`.
    fn open_for(&mut self, end: u16) -> Result<(), Failure> {
        let slots = self.slots();
        while self.next < self.layout.shards && slots.slots_of(ShardId(self.next)).start < end {
            let writer = Writer::begin(self.folder, ShardId(self.next), &self.layout, self.now)?;
            self.open.insert(self.next, writer);
            self.next += 1;
        }
        Ok(())
    }

    fn add(&mut self, entry: &SavedEntry<'_>, long: Option<SharedBytes>) -> Result<(), Failure> {
        let shard = self.slots().shard_of(Key::new(entry.db, entry.key).slot);
        let writer = self.open.get_mut(&shard.0).expect("an old shard's slots are open");
        writer.add(entry, long)
    }

    /// Finishes the shards whose slots all are below `end`.
    fn finish_before(&mut self, end: u16) -> Result<(), Failure> {
        let slots = self.slots();
        while let Some(first) = self.open.first_entry()
            && slots.slots_of(ShardId(*first.key())).end <= end
        {
            let slots = slots.slots_of(ShardId(*first.key()));
            let writer = first.remove();
            writer.finish(&self.floors_of(slots))?;
        }
        let first = self.open.keys().next();
        let start = first.map_or(end, |shard| slots.slots_of(ShardId(*shard)).start);
        self.floors.retain(|(slots, _)| slots.end > start);
        Ok(())
    }

    /// What is known of writes to these slots.
    fn floors_of(&self, slots: Range<u16>) -> Floors {
        let mut all = Floors::default();
        let shared = |of: &Range<u16>| of.start < slots.end && slots.start < of.end;
        self.floors.iter().filter(|(of, _)| shared(of)).for_each(|(_, floors)| all.merge(floors));
        all
    }
}

/// Bytes of all old shards; an error if a copy can't fit.
fn check_room(data: &DataDir) -> Result<u64, Failure> {
    let (mut total, mut needed) = (0, 0);
    for shard in (0..data.layout().shards).map(ShardId) {
        let recovery = open(data, shard)?;
        let (_, bytes) = recovery.progress();
        // How much of the last segment is used is not known yet.
        let last = recovery.files().last().filter(|last| last.file.kind == SegmentKind::Log);
        total += bytes;
        needed += bytes - last.map_or(0, |last| last.file_bytes);
    }
    let path = data.path().to_owned();
    match free_bytes(&path) {
        Ok(free) if free < needed => Err(Failure::Full { path, needed, free }),
        Ok(_) => Ok(total),
        Err(error) => Err(Failure::Io { path, error }),
    }
}

fn open(data: &DataDir, shard: ShardId) -> Result<Recovery<Content>, Failure> {
    let layout = data.layout();
    let mut folder = Folder::at(shard_folder(data.path(), shard));
    let recovery = Recovery::open(&mut folder, shard, layout.shards, layout.id)
        .map_err(|error| unreadable(data, shard, &error))?;
    let hard_state = HardState::read(&mut folder)
        .map_err(|error| Failure::Io { path: shard_folder(data.path(), shard), error })?;
    if hard_state.is_some() {
        return Err(Failure::Unreadable(format!(
            "Shard {} is replicated: the number of its shards is not this node's to change.",
            shard.0
        )));
    }
    Ok(recovery)
}

fn unreadable(data: &DataDir, shard: ShardId, error: &OpenError) -> Failure {
    Failure::Unreadable(unreadable_log(data.path(), shard, error))
}

fn empty_keyspace(slots: SlotMap, shard: ShardId) -> Result<Keyspace, Failure> {
    let seed = getrandom::u64().map_err(|error| Failure::Io {
        path: "/dev/urandom".into(),
        error: io::Error::other(error.to_string()),
    })?;
    // It rises to that of the last change that is read.
    let options = KeyspaceOptions { slots: slots.slots_of(shard), seed, sequence: 0 };
    Ok(Keyspace::new(options))
}

fn recover(keyspace: &mut Keyspace, item: &Item<'_>) -> Option<u64> {
    match item {
        Item::Part(payload) => keyspace.restore_entries(payload).ok(),
        Item::Changes { payload, overlaps_snapshot } => {
            keyspace.replay(payload, *overlaps_snapshot).ok()
        }
        // A directory that is written anew is that of a server on its own.
        Item::Configuration { .. } => Some(0),
    }
}
