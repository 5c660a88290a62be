//! The part of a stream that sees to snapshots: entries come in parts, the file is written and synced, and
//! when the log that belongs to it is on disk too, the manifest names it and what was before it goes.

use super::super::buffer::AlignedBuffer;
use super::super::directory::Job;
use super::super::long::Payload;
use super::super::manifest::Manifest;
use super::super::record::record_bytes;
use super::super::segment::{SEGMENT_HEADER_BYTES, SegmentFile};
use super::super::snapshot::Snapshot;
use super::{DiskError, Effect, Stream};
use crate::limits::{LOG_BUFFER_BYTES, LOG_LONG_STEP_BYTES, LOG_RECYCLED_SEGMENTS_MAX};
use crate::types::{LogIndex, Now, SegmentId, Term};

impl Stream {
    /// Begins a snapshot, unless one is under way, of a keyspace that has seen all records up to `seen`, which has
    /// the term `term`. Its entries are then asked for with [`Stream::wants_part`].
    pub fn start_snapshot(
        &mut self,
        (seen, term): (LogIndex, Term),
        effects: &mut Vec<Effect>,
    ) -> bool {
        if self.snapshot.is_some() || self.failed.is_some() {
            return false;
        }
        let id = self.take_id();
        let first_index = LogIndex(seen.0 + 1);
        let snapshot = Snapshot::new(self.manifest.shard, id, (first_index, term));
        let file = snapshot.file();
        self.snapshot = Some(snapshot);
        self.queue_job(Job::Prepare { file, bytes: 0, recycled: None, fill: false }, effects);
        true
    }

    /// The snapshot that is being taken.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// Whether some entries of the keyspace are wanted for the snapshot.
    pub fn wants_part(&self) -> bool {
        self.failed.is_none() && self.snapshot.as_ref().is_some_and(Snapshot::wants_part)
    }

    /// Some `entries` entries of the keyspace, as the cache's journal writes them.
    pub fn add_part(&mut self, payload: &[u8], entries: u64, now: Now, effects: &mut Vec<Effect>) {
        let head = SEGMENT_HEADER_BYTES + record_bytes(payload.len());
        let mut buffer = self.buffer(head);
        let Some(snapshot) = &mut self.snapshot else { return };
        let manifest = (&self.manifest, self.term);
        snapshot.add_part(&mut buffer, payload, entries, manifest, now);
        self.write_snapshot(buffer, effects);
    }

    /// The same for entries that are too long to be written in one go.
    pub fn add_long_part(&mut self, payload: Payload, entries: u64, effects: &mut Vec<Effect>) {
        let Some(snapshot) = &mut self.snapshot else { return };
        snapshot.add_long_part(payload, entries, (&self.manifest, self.term));
        self.go_on_with_long_part(Now::default(), effects);
    }

    /// Sums or writes the next piece of a long part.
    pub fn go_on_with_long_part(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(mut snapshot) = self.snapshot.take_if(|snapshot| snapshot.wants_chunk()) else {
            return;
        };
        if !snapshot.sum_long_part(LOG_LONG_STEP_BYTES) {
            self.snapshot = Some(snapshot);
            return;
        }
        let mut buffer = self.buffer(LOG_BUFFER_BYTES);
        self.spent.extend(snapshot.fill_chunk(&mut buffer, (&self.manifest, self.term), now));
        self.snapshot = Some(snapshot);
        self.write_snapshot(buffer, effects);
    }

    /// All entries have been added; none has seen more than the records up to `last_index`, the next one among
    /// them perhaps. The log must be on disk, and committed, up to there before the snapshot counts.
    pub fn end_snapshot(&mut self, now: Now, last_index: LogIndex, effects: &mut Vec<Effect>) {
        let mut buffer = self.buffer(2 * SEGMENT_HEADER_BYTES);
        let Some(snapshot) = &mut self.snapshot else { return };
        snapshot.end(&mut buffer, last_index, (&self.manifest, self.term), now);
        self.write_snapshot(buffer, effects);
    }

    /// Gives the snapshot up that is under way.
    pub fn abandon_snapshot(&mut self, effects: &mut Vec<Effect>) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.abandon();
            self.go_on_with_snapshot(effects);
        }
    }

    fn write_snapshot(&mut self, mut buffer: AlignedBuffer, effects: &mut Vec<Effect>) {
        let Some(snapshot) = &mut self.snapshot else { return };
        buffer.pad_to_multiple_of(self.options.align_bytes);
        self.figures.written_bytes += buffer.len() as u64;
        self.lent_bytes += buffer.memory_bytes();
        let offset = snapshot.start_write(buffer.len());
        effects.push(Effect::Write { file: snapshot.file(), offset, buffer, sync: false });
    }

    pub(super) fn go_on_with_snapshot(&mut self, effects: &mut Vec<Effect>) {
        let Some(first_index) = self.snapshot.as_ref().map(Snapshot::first_index) else { return };
        let first_segment = self.segment_of(first_index);
        let Some(snapshot) = &mut self.snapshot else { return };
        if snapshot.is_given_up() {
            let (file, error) = (snapshot.file(), snapshot.error());
            self.snapshot = None;
            self.figures.snapshots_failed += 1;
            self.figures.snapshot_error = error;
            effects.push(Effect::Close(file));
            self.queue_job(Job::Remove(vec![file]), effects);
        } else if snapshot.take_wants_sync() {
            effects.push(Effect::Sync(snapshot.file()));
        } else if snapshot.take_wants_manifest(self.durable.min(self.committed)) {
            effects.push(Effect::Close(snapshot.file()));
            let mut manifest = self.manifest;
            manifest.base_term = snapshot.base_term();
            manifest.generation += 1;
            manifest.snapshot = Some(snapshot.file().id);
            (manifest.first_index, manifest.first_segment) = (first_index, first_segment);
            manifest.base_missing = false;
            self.queue_job(Job::SaveManifest(manifest), effects);
        }
    }

    /// The segment that holds the record of this index, or will.
    pub(super) fn segment_of(&self, index: LogIndex) -> SegmentId {
        let active = self.active.filter(|active| active.begun);
        let known = self.closed.iter().map(|closed| (closed.id, closed.first_index));
        let all = known.chain(active.map(|active| (active.id, active.first_index)));
        let holder = all.rev().find(|(_, first)| *first <= index);
        holder.map_or(self.manifest.first_segment, |(id, _)| id)
    }

    /// The manifest on disk names the new snapshot: what was before it is not needed any more.
    pub(super) fn snapshot_saved(&mut self, saved: &Manifest, result: Result<(), DiskError>) {
        let Some(snapshot) = self.snapshot.take() else { return };
        if let Err(error) = result {
            // Which of the two manifests holds is not known.
            self.failed = Some(error);
            return;
        }
        self.figures.snapshots += 1;
        self.figures.snapshot_error = None;
        self.figures.snapshot_bytes = snapshot.bytes();
        let old = self.manifest.snapshot.map(SegmentFile::snapshot);
        self.manifest.generation += 1;
        self.manifest.base_missing = false;
        self.manifest.snapshot = saved.snapshot;
        self.manifest.first_index = saved.first_index;
        self.manifest.base_term = saved.base_term;
        // Not where the first record is now: it may have gone to the next segment since.
        self.manifest.first_segment = saved.first_segment;
        let first = self.manifest.first_segment;
        let mut removed: Vec<SegmentFile> = old.into_iter().collect();
        removed.append(&mut self.before);
        while self.closed.front().is_some_and(|segment| segment.id < first) {
            let Some(segment) = self.closed.pop_front() else { break };
            self.log_bytes -= segment.bytes;
            let fits = segment.file_bytes == self.options.segment_bytes;
            if fits && self.recyclable.len() < LOG_RECYCLED_SEGMENTS_MAX {
                self.recyclable.push(segment);
            } else {
                removed.push(SegmentFile::log(segment.id));
            }
        }
        if !removed.is_empty() {
            self.jobs.push_back(Job::Remove(removed));
        }
    }
}
