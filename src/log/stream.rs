//! One shard's log while it serves: what is to be written where, and how far it has come.
//!
//! ```text
//!             durable ≤ written ≤ sealed            records of the log
//!  ─────────────┼──────────┼─────────┼──────────►
//!   on disk     │ the disk │ being   │ the journal: changes that are not a record yet
//!               │ has it   │ written │
//! ```
//!
//! While a write is under way, changes gather in the journal; the next write takes them all as one record.
//! Whoever waits for a sync waits for a record's index to be durable. Writes that are synced themselves may
//! be under way a few at a time, so that who comes while the disk is busy need not wait for it twice; they
//! count in order. Only the newest segment holds records that are not durable: before another is begun, all
//! are.
//!
//! A process that was killed leaves records that can be read and were never synced. So a log that goes on
//! begins with [`Job::Settle`]: until that is done what was found in the newest segment is not durable, no
//! segment is begun behind it and no manifest written.
//!
//! No I/O here: [`Stream::step`] and the completions append [`Effect`]s, which the runtime performs in
//! any order, and answers.

mod replicated;
mod segments;
mod snapshots;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::buffer::{ALIGN_BYTES, AlignedBuffer};
use super::directory::Job;
use super::hard_state::HardState;
use super::long::{LongRecord, Payload};
use super::manifest::Manifest;
use super::record::{RECORD_HEADER_BYTES, RecordHeader, RecordKind, RecordSeed, record_bytes};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentFile, SegmentHeader};
use super::snapshot::Snapshot;
use crate::cache::SharedBytes;
use crate::limits::{
    LOG_BUFFER_BYTES, LOG_LONG_STEP_BYTES, LOG_RETRY_MS, LOG_SYNC_EVERY_MS, LOG_WRITE_BYTES_MIN,
    LOG_WRITE_EVERY_US, LOG_WRITES_MAX,
};
use crate::plant::{Fault, is_planted};
use crate::types::{ByteOffset, LogIndex, MonoUs, Now, SegmentId, Term};
pub use replicated::{LogEntry, RecordStart, entry_bytes};
use segments::{Active, Closed, Spare};

/// Something for the runtime to do.
#[derive(Debug)]
pub enum Effect {
    /// Write a buffer to a file; the answer is [`Stream::written`].
    Write {
        /// The file.
        file: SegmentFile,
        /// Where.
        offset: ByteOffset,
        /// What. The kernel has it until the write is done; then it comes back.
        buffer: AlignedBuffer,
        /// Whether the write is done only when it is on disk, with all that is needed to read it.
        sync: bool,
    },
    /// Sync a file; the answer is [`Stream::synced`].
    Sync(SegmentFile),
    /// Do something with the folder; the answer is [`Stream::done`].
    Job(Job),
    /// A file is not written any more.
    Close(SegmentFile),
    /// Save a replica's hard state; the answer is [`Shard::hard_state_saved`](crate::shard::Shard::hard_state_saved).
    SaveHardState(Box<HardState>),
    /// Begin the log anew behind this entry, which has this term; the answer is
    /// [`Shard::restart_log`](crate::shard::Shard::restart_log).
    StartOver(LogIndex, Term),
    /// Open the log at once, as at a start, and read it for the keyspace of this number, with
    /// [`Shard::rebuild`](crate::shard::Shard::rebuild).
    ReadAgain(u64),
}

/// What the disk answered instead of doing as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// The system's number for it.
    pub errno: i32,
}

impl DiskError {
    /// Whether there is no room.
    pub fn is_full(self) -> bool {
        matches!(self.errno, libc::ENOSPC | libc::EDQUOT | libc::EFBIG)
    }
}

impl std::fmt::Display for DiskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::io::Error::from_raw_os_error(self.errno).fmt(f)
    }
}

/// What a log is told when it begins.
#[derive(Clone, Copy, Debug)]
pub struct StreamOptions {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Writes begin and end at multiples of this: what direct I/O to the file takes.
    pub align_bytes: usize,
    /// Whether new segments are written once ahead of use.
    pub fill: bool,
}

/// A write that is under way, or that found the disk full.
#[derive(Debug)]
struct Flight {
    last_index: LogIndex,
    offset: ByteOffset,
    sync: bool,
    since: MonoUs,
    /// Whether the disk has it; it counts when those before it do.
    is_done: bool,
    /// Why the disk took none of it, if it was full; it is tried again until there is room.
    refused: Option<DiskError>,
    /// The buffer, until it is tried again.
    held: Option<(AlignedBuffer, MonoUs)>,
}

/// Why writes can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A write or a sync failed: what the disk has is not known any more. For good.
    Failed(DiskError),
    /// There is no room on the disk. Until there is.
    Full(DiskError),
    /// The next segment can't be made. Until it can.
    NoSegment(DiskError),
    /// The snapshot that a log begins with, when it is begun while the server runs, can't be taken. Until it can.
    NoSnapshot(DiskError),
    /// The server is stopping: what came now would not be on disk.
    Stopping,
}

impl Refusal {
    /// Whether nothing but a restart ends it.
    pub fn is_for_good(self) -> bool {
        matches!(self, Self::Failed(_) | Self::Stopping)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(error) => write!(
                f,
                "MISCONF Errors writing to the log: {error}. The shard takes no more writes: see to the \
                 disk, then restart the server."
            ),
            Self::Full(error) => write!(
                f,
                "MISCONF Errors writing to the log: {error}. Writes go on when there is room again."
            ),
            Self::NoSegment(error) => write!(
                f,
                "MISCONF Errors writing to the log: the next segment can't be made: {error}. Writes go on \
                 when it can: it is tried again all the time."
            ),
            Self::NoSnapshot(error) => write!(
                f,
                "MISCONF Errors writing to the log: the snapshot that it begins with can't be taken: {error}. \
                 Writes go on when it can: it is tried again all the time."
            ),
            Self::Stopping => write!(f, "ERR The server is shutting down."),
        }
    }
}

/// What an operator wants to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamFigures {
    /// Bytes of all segments since the snapshot, as far as they are filled.
    pub log_bytes: u64,
    /// Segments since the snapshot.
    pub segments: u64,
    /// Bytes handed to the disk since the start, padding and snapshots included.
    pub written_bytes: u64,
    /// Bytes of changes in them, snapshots not included.
    pub payload_bytes: u64,
    /// Syncs since the start, synced writes included.
    pub syncs: u64,
    /// Snapshots finished since the start.
    pub snapshots: u64,
    /// Snapshots given up since the start.
    pub snapshots_failed: u64,
    /// Why the last one was, if that was the disk.
    pub snapshot_error: Option<DiskError>,
    /// Bytes of the last one finished.
    pub snapshot_bytes: u64,
}

/// One shard's log.
#[derive(Debug)]
pub struct Stream {
    options: StreamOptions,
    manifest: Manifest,
    term: Term,
    active: Option<Active>,
    spare: Spare,
    closed: VecDeque<Closed>,
    /// Where the records before `active` end.
    previous: Option<(SegmentId, ByteOffset)>,
    recyclable: Vec<Closed>,
    /// Files of a log before, until this one counts.
    before: Vec<SegmentFile>,
    next_id: SegmentId,
    sealed: LogIndex,
    written: LogIndex,
    durable: LogIndex,
    flights: VecDeque<Flight>,
    /// The record that is too long to be written in one go, and its index.
    long: Option<(LongRecord, LogIndex)>,
    /// The last record that the sync under way makes durable.
    syncing: Option<LogIndex>,
    // When the oldest of these changes was made, by how far they have come:
    //
    //   unsynced_since    unsynced_beyond    sealed_since     waiting_since
    //   ├── the sync under way ─┤             ├─ last record ──┤
    //   ├── records that are not durable ──────────────────────┤── no record yet ──►
    /// What is in records and not durable; none if all is.
    unsynced_since: Option<MonoUs>,
    /// Of that, what the sync under way does not make durable.
    unsynced_beyond: Option<MonoUs>,
    /// What the last record is made of.
    sealed_since: MonoUs,
    /// What is no record yet.
    waiting_since: Option<MonoUs>,
    /// Long values that have been written.
    spent: Vec<SharedBytes>,
    last_write: MonoUs,
    buffers: Vec<AlignedBuffer>,
    /// Memory of the buffers that are being written.
    lent_bytes: usize,
    jobs: VecDeque<Job>,
    /// The job that is being done.
    job: Option<Job>,
    snapshot: Option<Snapshot>,
    /// Whether writes are refused until there is room for another segment.
    is_short: bool,
    failed: Option<DiskError>,
    figures: StreamFigures,
    /// Bytes of segments since the snapshot.
    log_bytes: u64,
    closed_cleanly: bool,
    // Of a replicated log.
    /// All records up to this one stay; in a log that is not replicated all do.
    committed: LogIndex,
    /// Where the records behind it begin.
    starts: VecDeque<RecordStart>,
    /// Whether nothing more goes to the active segment, which ends before what was written to it, or is being read: the
    /// next has to be begun.
    is_cut: bool,
    /// Segments that another will take the place of.
    given_up: Vec<SegmentFile>,
}

/// Where a log goes on after what was recovered.
#[derive(Clone, Debug)]
pub struct Resume {
    /// The manifest that was found or made.
    pub manifest: Manifest,
    /// The last record.
    pub last_index: LogIndex,
    /// Its term.
    pub last_term: Term,
    /// The segments that hold records, in order.
    pub segments: Vec<ResumeSegment>,
    /// The highest number that any file has had.
    pub last_id: SegmentId,
    /// Files that belong to nothing.
    pub leftovers: Vec<SegmentFile>,
    /// Files of a log before, which counts until this one's first snapshot does.
    pub before: Vec<SegmentFile>,
}

impl Resume {
    /// The same for a log without records that goes on behind one of this index and term.
    pub fn behind(mut self, last: LogIndex, term: Term) -> Self {
        (self.last_index, self.last_term) = (last, term);
        self.manifest.first_index = LogIndex(last.0 + 1);
        self.manifest.base_term = term;
        self
    }
}

/// A segment that was recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeSegment {
    /// Which.
    pub id: SegmentId,
    /// Its first record.
    pub first_index: LogIndex,
    /// Where its records end.
    pub end: ByteOffset,
    /// The length of its file.
    pub file_bytes: u64,
}

impl Stream {
    /// A log that goes on where it was left.
    pub fn new(resume: Resume, options: StreamOptions) -> Self {
        let Resume { manifest, last_index, last_term, segments, last_id, leftovers, before } =
            resume;
        let previous = segments.last().map(|last| (last.id, last.end));
        let closed: VecDeque<Closed> = segments
            .into_iter()
            .map(|ResumeSegment { id, first_index, end, file_bytes }| Closed {
                id,
                first_index,
                bytes: end.0,
                file_bytes,
            })
            .collect();
        let log_bytes = closed.iter().map(|segment| segment.bytes).sum();
        let mut manifest = Manifest { clean_index: None, ..manifest };
        // As long as the log before counts, so does its manifest.
        let is_saved = before.is_empty();
        manifest.generation += u64::from(is_saved);
        let next_id = SegmentId(last_id.0.max(manifest.first_segment.0 - 1) + 1);
        // Nothing before what is read is needed: where that is nothing, the log begins with the segment that comes.
        manifest.first_segment = closed.front().map_or(next_id, |first| first.id);
        // Before the newest segment was begun, all records before it were on disk.
        let settled = closed.back().map_or(last_index, |newest| LogIndex(newest.first_index.0 - 1));
        let settled = if is_planted(Fault::CountWhatWasFound) { last_index } else { settled };
        let newest = previous.map(|(id, _)| SegmentFile::log(id));
        let mut jobs = VecDeque::from([Job::Settle(newest)]);
        jobs.extend(is_saved.then_some(Job::SaveManifest(manifest)));
        if !leftovers.is_empty() {
            jobs.push_back(Job::Remove(leftovers));
        }
        Self {
            options,
            manifest,
            term: last_term,
            active: None,
            spare: Spare::None,
            closed,
            previous,
            recyclable: Vec::new(),
            before,
            next_id,
            sealed: last_index,
            written: last_index,
            durable: settled,
            flights: VecDeque::new(),
            long: None,
            syncing: None,
            waiting_since: None,
            sealed_since: MonoUs(0),
            unsynced_since: None,
            unsynced_beyond: None,
            spent: Vec::new(),
            last_write: MonoUs(0),
            buffers: Vec::new(),
            lent_bytes: 0,
            jobs,
            job: None,
            snapshot: None,
            is_short: false,
            failed: None,
            figures: StreamFigures::default(),
            log_bytes,
            closed_cleanly: false,
            committed: LogIndex(u64::MAX),
            starts: VecDeque::new(),
            is_cut: false,
            given_up: Vec::new(),
        }
    }

    /// The index that the journal's changes will have.
    #[inline]
    pub fn next_index(&self) -> LogIndex {
        LogIndex(self.sealed.0 + 1)
    }

    /// The last record.
    pub fn last_index(&self) -> LogIndex {
        self.sealed
    }

    /// The entry that it begins behind, and its term.
    pub fn base(&self) -> (LogIndex, Term) {
        (LogIndex(self.manifest.first_index.0 - 1), self.manifest.base_term)
    }

    /// All records up to this one are on disk.
    #[inline]
    pub fn durable(&self) -> LogIndex {
        self.durable
    }

    /// Notes that changes wait, as they do from now on if they did not before.
    #[inline]
    pub fn changes_wait(&mut self, now: MonoUs) {
        self.waiting_since.get_or_insert(now);
    }

    /// More changes wait than those that have just become a record, since as long as those did.
    pub fn others_wait(&mut self) {
        self.waiting_since = Some(self.sealed_since);
    }

    /// Since when there are changes that are not on disk, written or not; none if all are.
    pub fn unsynced_since(&self) -> Option<MonoUs> {
        self.unsynced_since.or(self.waiting_since)
    }

    /// Whether the log means nothing yet: it was begun while the server ran, and its first snapshot is not
    /// finished.
    pub fn is_base_missing(&self) -> bool {
        self.manifest.base_missing
    }

    /// What the log has come to.
    pub fn figures(&self) -> StreamFigures {
        let segments = self.closed.len() as u64 + u64::from(self.active.is_some());
        StreamFigures { log_bytes: self.log_bytes, segments, ..self.figures }
    }

    /// Bytes of memory that it holds: buffers, those that are being written included, and what is too long
    /// for them, without values that somebody else holds as well.
    pub fn memory_bytes(&self) -> usize {
        let held = self.flights.iter().filter_map(|flight| flight.held.as_ref());
        let buffers = self.buffers.iter().chain(held.map(|(buffer, _)| buffer));
        let spent = self.spent.iter().map(SharedBytes::own_memory_bytes);
        self.lent_bytes
            + buffers.map(AlignedBuffer::memory_bytes).sum::<usize>()
            + spent.sum::<usize>()
            + self.long.as_ref().map_or(0, |(record, _)| record.memory_bytes())
            + self.snapshot.as_ref().map_or(0, Snapshot::memory_bytes)
    }

    /// Bytes of segments since the snapshot.
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Why writes can't be taken, if they can't. `pending` bytes of changes wait in the journal already,
    /// one more write is to come.
    pub fn refusal(&mut self, pending: usize) -> Option<Refusal> {
        if let Some(error) = self.failed {
            return Some(Refusal::Failed(error));
        }
        if let Some(error) = self.flights.iter().find_map(|flight| flight.refused) {
            return Some(Refusal::Full(error));
        }
        let Spare::Failed { error, .. } = self.spare else {
            self.is_short = false;
            return self
                .figures
                .snapshot_error
                .filter(|_| self.is_base_missing())
                .map(Refusal::NoSnapshot);
        };
        let room = self.active.map_or(0, |active| active.bytes.saturating_sub(active.end.0));
        // Half of what is left is kept for what one write brings beyond its estimate. Once refused, writes are
        // until there is another segment, though what waits now be written to what is left.
        self.is_short |= (pending + LOG_BUFFER_BYTES) as u64 > room / 2;
        let refusal =
            if error.is_full() { Refusal::Full(error) } else { Refusal::NoSegment(error) };
        self.is_short.then_some(refusal)
    }

    /// Whether a write or a sync has failed, so that what is not durable now never will be.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Whether nothing is under way and all is durable.
    pub fn is_at_rest(&self) -> bool {
        self.flights.is_empty()
            && self.long.is_none()
            && self.syncing.is_none()
            && self.job.is_none()
            && self.jobs.is_empty()
            && self.snapshot.is_none()
            && self.durable == self.sealed
    }

    /// Whether a step now would do something with the changes that wait.
    #[inline]
    pub fn wants_step(&self, now: MonoUs, pending: usize, sync: bool) -> bool {
        if self.failed.is_some() || !self.may_write(sync) {
            return false;
        }
        if self.long.is_some() || sync && self.syncing.is_none() {
            return true;
        }
        pending >= LOG_WRITE_BYTES_MIN
            || pending > 0 && now.0.saturating_sub(self.last_write.0) >= LOG_WRITE_EVERY_US
    }

    /// Whether the next step has work to do that nothing else waits for, so that it should come soon.
    pub fn is_busy(&self) -> bool {
        let is_summing = self.long.is_some() && self.flights.is_empty();
        let has_chunk = self.snapshot.as_ref().is_some_and(Snapshot::wants_chunk);
        self.failed.is_none() && (is_summing || has_chunk)
    }

    /// Does what is due. `waiting` bytes of changes wait; true if they can be written now, with
    /// [`Stream::write`] or [`Stream::write_long`]. `sync` tells whether somebody waits for all of them to
    /// be on disk.
    pub fn step(
        &mut self,
        now: Now,
        waiting: usize,
        sync: bool,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if self.failed.is_some() {
            return false;
        }
        self.start_job(effects);
        self.prepare_spare(now.mono, waiting, effects);
        self.retry_write(now.mono, effects);
        if !self.may_write(sync) {
            return false;
        }
        let is_sync_due = self.durable < self.written && (sync || self.is_old(now.mono));
        if is_sync_due {
            self.start_sync(effects);
        }
        if self.long.is_some() {
            self.go_on_with_long(now, effects);
            return false;
        }
        // Where somebody waits, nothing is written before what is there is on disk: or else the sync would be
        // behind for as long as writes come, and the next write could not vouch for itself.
        if waiting == 0 || sync && is_sync_due {
            return false;
        }
        self.make_room(waiting, effects)
    }

    /// Whether another write may be under way now, one that is synced itself or not.
    #[inline]
    fn may_write(&self, sync: bool) -> bool {
        let all_vouch = || {
            self.flights.iter().all(|flight| flight.sync && flight.refused.is_none())
                && self.long.is_none()
                && self.syncing.is_none()
        };
        self.flights.is_empty() || sync && self.flights.len() < LOG_WRITES_MAX && all_vouch()
    }

    /// Whether something has not been on disk for as long as `async` allows.
    fn is_old(&self, now: MonoUs) -> bool {
        let age_us = |since: MonoUs| now.0.saturating_sub(since.0);
        self.unsynced_since.is_some_and(|since| age_us(since) >= LOG_SYNC_EVERY_MS * 1000)
    }

    /// Writes changes as the next record, right after a step that said so. They are few enough to be
    /// written in one go: at most [`LOG_SHORT_BYTES_MAX`](crate::limits::LOG_SHORT_BYTES_MAX).
    pub fn write(&mut self, now: Now, payload: &[u8], sync: bool, effects: &mut Vec<Effect>) {
        let header = self.seal(RecordKind::Entry, payload.len(), now.mono);
        let mut buffer = self.buffer(SEGMENT_HEADER_BYTES + record_bytes(payload.len()));
        let offset = self.begin_write(&mut buffer, now);
        append_record(&mut buffer, &header, payload);
        buffer.pad_to_multiple_of(self.options.align_bytes);
        // A synced write vouches for itself only; where others came before, a sync of the file follows.
        let sync = sync && self.durable == self.written && self.syncing.is_none();
        self.submit((buffer, offset), header.index, sync, now, effects);
    }

    /// The same for changes that are too many, or too long, to be written in one go.
    pub fn write_long(&mut self, now: Now, payload: Payload, effects: &mut Vec<Effect>) {
        self.write_long_record(now, RecordKind::Entry, payload, effects);
    }

    fn write_long_record(
        &mut self,
        now: Now,
        kind: RecordKind,
        payload: Payload,
        effects: &mut Vec<Effect>,
    ) {
        let header = self.seal(kind, payload.len(), now.mono);
        self.long = Some((LongRecord::new(header, payload), header.index));
        self.go_on_with_long(now, effects);
    }

    /// Sums or writes the next piece of the long record.
    fn go_on_with_long(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some((mut record, index)) = self.long.take() else { return };
        if !record.is_summed() {
            record.sum_on(LOG_LONG_STEP_BYTES);
            self.long = Some((record, index));
            return;
        }
        let mut buffer = self.buffer(LOG_BUFFER_BYTES);
        let offset = self.begin_write(&mut buffer, now);
        let is_last = record.fill(&mut buffer);
        buffer.pad_to_multiple_of(self.options.align_bytes);
        let written = if is_last { index } else { self.written };
        if is_last {
            self.spent.extend(record.into_values());
        } else {
            self.long = Some((record, index));
        }
        self.submit((buffer, offset), written, false, now, effects);
    }

    /// The segment that is being written: a step has said that a record fits in.
    fn writing(&mut self) -> &mut Active {
        self.active.as_mut().expect("there is room for the record that is written")
    }

    /// Makes the changes that wait the next record.
    fn seal(&mut self, kind: RecordKind, length: usize, now: MonoUs) -> RecordHeader {
        let since = self.waiting_since.take().unwrap_or(now);
        self.sealed_since = since;
        self.unsynced_since.get_or_insert(since);
        if self.syncing.is_some() {
            self.unsynced_beyond.get_or_insert(since);
        }
        self.sealed = self.next_index();
        self.figures.payload_bytes += length as u64;
        // Before the log counts it promises nothing, or a start that finds the one before would miss what is behind it.
        let synced = if self.is_base_missing() { LogIndex(0) } else { self.durable };
        RecordHeader {
            kind,
            shard: self.manifest.shard,
            segment: self.writing().id,
            term: self.term,
            index: self.sealed,
            synced,
            seed: RecordSeed::of(&self.manifest.directory),
        }
    }

    /// Where the next write goes; the segment's header is put before its first.
    fn begin_write(&mut self, buffer: &mut AlignedBuffer, now: Now) -> ByteOffset {
        let active = self.writing();
        if std::mem::replace(&mut active.begun, true) {
            return active.end;
        }
        let active = *active;
        let header = SegmentHeader {
            file: SegmentFile::log(active.id),
            shard: self.manifest.shard,
            first_index: active.first_index,
            previous: self.previous,
            previous_term: self.term,
            created: now.unix,
            directory: self.manifest.directory,
        };
        buffer.append(&header.encode());
        ByteOffset(0)
    }

    /// Hands a buffer to the disk; when it has it, all records up to `last_index` are written.
    fn submit(
        &mut self,
        (mut buffer, offset): (AlignedBuffer, ByteOffset),
        last_index: LogIndex,
        sync: bool,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let length = buffer.len() as u64;
        let active = self.writing();
        active.end = ByteOffset(offset.0 + length);
        let file = SegmentFile::log(active.id);
        self.last_write = now.mono;
        self.log_bytes += length;
        self.figures.written_bytes += length;
        self.flights.push_back(Flight {
            last_index,
            offset,
            sync,
            since: self.sealed_since,
            is_done: false,
            refused: None,
            held: None,
        });
        buffer.tag = offset.0;
        self.lent_bytes += buffer.memory_bytes();
        effects.push(Effect::Write { file, offset, buffer, sync });
    }

    /// Long values that have been written: whoever holds one last gives its memory back.
    pub fn take_spent(&mut self) -> Vec<SharedBytes> {
        std::mem::take(&mut self.spent)
    }

    fn buffer(&mut self, bytes: usize) -> AlignedBuffer {
        let bytes = bytes.next_multiple_of(ALIGN_BYTES);
        match self.buffers.pop() {
            Some(buffer) if buffer.capacity() >= bytes => buffer,
            _ => AlignedBuffer::with_capacity(bytes.max(LOG_BUFFER_BYTES)),
        }
    }

    fn keep_buffer(&mut self, mut buffer: AlignedBuffer) {
        const KEPT: usize = LOG_WRITES_MAX;
        if buffer.capacity() <= 4 * LOG_BUFFER_BYTES && self.buffers.len() < KEPT {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    fn start_sync(&mut self, effects: &mut Vec<Effect>) {
        let may_begin = self.syncing.is_none() && self.flights.is_empty();
        if let Some(active) = self.active.filter(|_| may_begin) {
            self.syncing = Some(self.written);
            self.unsynced_beyond = self.unsynced_since.filter(|_| self.written < self.sealed);
            effects.push(Effect::Sync(SegmentFile::log(active.id)));
        }
    }

    fn retry_write(&mut self, now: MonoUs, effects: &mut Vec<Effect>) {
        let Some(active) = self.active else { return };
        for flight in &mut self.flights {
            if let Some((buffer, _)) = flight.held.take_if(|(_, retry_at)| now >= *retry_at) {
                let (file, offset) = (SegmentFile::log(active.id), flight.offset);
                self.lent_bytes += buffer.memory_bytes();
                effects.push(Effect::Write { file, offset, buffer, sync: flight.sync });
            }
        }
    }

    // --- what the runtime answers ------------------------------------------------------------

    /// A write is done, or failed.
    pub fn written(
        &mut self,
        file: SegmentFile,
        buffer: AlignedBuffer,
        result: Result<(), DiskError>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.lent_bytes = self.lent_bytes.saturating_sub(buffer.memory_bytes());
        if let Some(snapshot) = self.snapshot.as_mut().filter(|snapshot| snapshot.file() == file) {
            snapshot.written(result);
            self.keep_buffer(buffer);
            return self.go_on_with_snapshot(effects);
        }
        let mut flights = self.flights.iter_mut();
        let Some(flight) = flights.find(|flight| flight.offset.0 == buffer.tag) else { return };
        match result {
            Ok(()) => {
                flight.is_done = true;
                flight.refused = None;
                self.keep_buffer(buffer);
                self.count_done();
                self.go_on_with_snapshot(effects);
            }
            Err(error) if error.is_full() => {
                let retry_at = MonoUs(now.mono.0 + LOG_RETRY_MS * 1000);
                flight.refused = Some(error);
                flight.held = Some((buffer, retry_at));
            }
            Err(error) => self.failed = Some(error),
        }
    }

    /// Takes in the writes that the disk has, as far as it has all before them.
    fn count_done(&mut self) {
        while self.flights.front().is_some_and(|flight| flight.is_done) {
            let Some(flight) = self.flights.pop_front() else { return };
            self.written = flight.last_index;
            if flight.sync || is_planted(Fault::AcknowledgeBeforeSync) {
                self.figures.syncs += 1;
                self.durable = self.written;
                // A long record may have been begun that is not under way yet.
                let long_since = self.long.as_ref().map(|_| self.sealed_since);
                self.unsynced_since = self.flights.front().map(|next| next.since).or(long_since);
            }
        }
    }

    /// A sync is done, or failed.
    pub fn synced(
        &mut self,
        file: SegmentFile,
        result: Result<(), DiskError>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(snapshot) = self.snapshot.as_mut().filter(|snapshot| snapshot.file() == file) {
            self.figures.syncs += u64::from(result.is_ok());
            snapshot.synced(result);
            return self.go_on_with_snapshot(effects);
        }
        let Some(reached) = self.syncing.take() else { return };
        match result {
            Ok(()) => {
                self.figures.syncs += 1;
                self.durable = reached;
                // What was written while the sync was under way may not have been part of it.
                self.unsynced_since = self.unsynced_beyond.take();
                self.go_on_with_snapshot(effects);
            }
            Err(error) => self.failed = Some(error),
        }
    }

    // --- the end -----------------------------------------------------------------------------

    /// Notes in the manifest that all records up to the last are on disk; once all is at rest.
    ///
    /// True once the manifest says so.
    pub fn close_cleanly(&mut self, effects: &mut Vec<Effect>) -> bool {
        debug_assert!(self.durable == self.sealed);
        if self.closed_cleanly {
            return true;
        }
        self.closed_cleanly = true;
        self.manifest.generation += 1;
        self.manifest.clean_index = Some(self.sealed).filter(|index| index.0 > 0);
        self.queue_job(Job::SaveManifest(self.manifest), effects);
        false
    }
}

/// Appends a record to a buffer that has room for it.
pub(super) fn append_record(buffer: &mut AlignedBuffer, header: &RecordHeader, payload: &[u8]) {
    buffer.append(&header.encode(payload));
    buffer.append(payload);
    let rest = record_bytes(payload.len()) - RECORD_HEADER_BYTES - payload.len();
    buffer.append(&[0; 8][..rest]);
}
