//! One new shard: its entries as a snapshot with nothing behind it, written as a server writes its own.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::cache::{Floors, Saved, SavedEntry, SharedBytes};
use crate::limits::{LOG_SHORT_BYTES_MAX, SNAPSHOT_PART_BYTES};
use crate::log::{Directory as _, Effect, Stream, StreamOptions, start_over};
use crate::runtime::{Folder, direct_align_bytes, disk_error, shard_folder};
use crate::server::data_dir::Layout;
use crate::shard::payload;
use crate::types::{Now, ShardId, Term};

/// The log of a shard that is being made: what it asks for is done at once.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    folder: Folder,
    stream: Stream,
    now: Now,
    part: Saved,
}

impl Writer {
    /// Begins the snapshot of `shard` in a folder of its own.
    pub(super) fn begin(
        parent: &Path,
        shard: ShardId,
        layout: &Layout,
        now: Now,
    ) -> Result<Self, Failure> {
        let path = shard_folder(parent, shard);
        let begun = Folder::open(parent, shard).and_then(|mut folder| {
            let resume = start_over(&mut folder, shard, layout.shards, layout.id)?;
            Ok((folder, resume))
        });
        let (folder, resume) = begun.map_err(|error| Failure::Io { path: path.clone(), error })?;
        // No segment is made for the log: the first server does.
        let align_bytes = direct_align_bytes(parent);
        let options = StreamOptions { segment_bytes: 0, align_bytes, fill: false };
        let stream = Stream::new(resume, options);
        let mut writer = Self { path, folder, stream, now, part: Saved::default() };
        let mut effects = Vec::new();
        let seen = writer.stream.last_index();
        writer.stream.start_snapshot((seen, Term(0)), &mut effects);
        writer.perform(effects)?;
        Ok(writer)
    }

    /// Adds an entry whose value, if it is long, is `long`.
    pub(super) fn add(
        &mut self,
        entry: &SavedEntry<'_>,
        long: Option<SharedBytes>,
    ) -> Result<(), Failure> {
        self.part.add(entry, long);
        if self.part.len() >= SNAPSHOT_PART_BYTES { self.write_part() } else { Ok(()) }
    }

    fn write_part(&mut self) -> Result<(), Failure> {
        let mut effects = Vec::new();
        let entries = self.part.entries;
        match self.part.bytes().filter(|bytes| bytes.len() <= LOG_SHORT_BYTES_MAX) {
            Some(bytes) => self.stream.add_part(bytes, entries, self.now, &mut effects),
            None => {
                let payload = payload(self.part.take());
                self.stream.add_long_part(payload, entries, &mut effects);
            }
        }
        self.part.clear();
        self.perform(effects)?;
        while !self.stream.wants_part() {
            let mut effects = Vec::new();
            self.stream.go_on_with_long_part(self.now, &mut effects);
            self.perform(effects)?;
        }
        // The values are the old shard's, which goes soon.
        drop(self.stream.take_spent());
        Ok(())
    }

    /// Ends the snapshot, which is on disk then with all that is needed to find it. What `floors` rules out is refused
    /// from then on.
    pub(super) fn finish(mut self, floors: &Floors) -> Result<(), Failure> {
        floors.visit(|entry| self.add(entry, None))?;
        if self.part.len() > 0 {
            self.write_part()?;
        }
        let mut effects = Vec::new();
        let last = self.stream.last_index();
        self.stream.end_snapshot(self.now, last, &mut effects);
        self.perform(effects)?;
        assert_eq!(self.stream.figures().snapshots, 1, "a snapshot that was written is named");
        Ok(())
    }

    /// Does what the log asks for, and what it asks for then.
    fn perform(&mut self, effects: Vec<Effect>) -> Result<(), Failure> {
        let mut waiting = VecDeque::from(effects);
        let mut more = Vec::new();
        while let Some(effect) = waiting.pop_front() {
            let result = self.perform_one(effect, &mut more);
            result.map_err(|error| Failure::Io { path: self.path.clone(), error })?;
            waiting.extend(more.drain(..));
        }
        Ok(())
    }

    fn perform_one(&mut self, effect: Effect, more: &mut Vec<Effect>) -> io::Result<()> {
        let told = |result: &io::Result<()>| match result {
            Ok(()) => Ok(()),
            Err(error) => Err(disk_error(error)),
        };
        match effect {
            Effect::Write { file, offset, buffer, sync } => {
                let name = file.name();
                let mut result = self.folder.write(&name, offset.0, buffer.bytes());
                if sync && result.is_ok() {
                    result = self.folder.sync(&name);
                }
                self.stream.written(file, buffer, told(&result), self.now, more);
                result
            }
            Effect::Sync(file) => {
                let result = self.folder.sync(&file.name());
                self.stream.synced(file, told(&result), more);
                result
            }
            Effect::Job(job) => {
                let result = job.perform(&mut self.folder);
                self.stream.done(told(&result), self.now, more);
                result
            }
            // The last three are a replica's.
            Effect::Close(_)
            | Effect::SaveHardState(_)
            | Effect::StartOver(..)
            | Effect::ReadAgain(_) => Ok(()),
        }
    }
}
