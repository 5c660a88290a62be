//! The shard's log: changes become records, entries become snapshots, and both become entries again.
//!
//! The log is stepped by the shard's owner, once a turn; whoever else holds the token only leaves changes
//! in the keyspace's journal. Nothing here does I/O: see [`crate::log::Effect`].

use super::Shard;
use crate::cache::{Extent, SaveCursor, Saved, SharedBytes, Written};
use crate::command::Error;
use crate::config::Durability;
use crate::limits::{LOG_SHORT_BYTES_MAX, LOG_WAITING_BYTES_MAX, SNAPSHOT_PART_BYTES};
use crate::log::{
    AlignedBuffer, DiskError, Effect, Item, LogState, Payload, Piece, Refusal, SegmentFile, Stream,
};
use crate::types::{LogIndex, Now};

/// When a snapshot is taken unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// Most bytes of segments (the shard's share of `log-bytes-max`).
    pub log_bytes_max: u64,
    /// Most bytes of segments over bytes of data, in percent; 0 for no such bound
    /// (`auto-aof-rewrite-percentage`).
    pub growth_percent: u64,
    /// Bytes of segments below which that bound does not hold (`auto-aof-rewrite-min-size`).
    pub growth_bytes_min: u64,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self { log_bytes_max: u64::MAX, growth_percent: 0, growth_bytes_min: 0 }
    }
}

/// A shard's log and what the shard keeps for it.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) stream: Stream,
    policy: SnapshotPolicy,
    /// The last record that somebody waits for to be on disk.
    pub(super) wanted: LogIndex,
    /// Whether writes are refused, as of the last step.
    pub(super) refusal: Option<Refusal>,
    /// Whether a snapshot is to be begun.
    pub(super) wants_snapshot: bool,
    /// Whether the log is about to be taken away: nothing more is promised.
    pub(super) is_ending: bool,
    saving: Saving,
}

impl Durable {
    /// All records up to this one are on disk, with all that it takes to read them: without its first
    /// snapshot the log means nothing.
    pub(super) fn durable(&self) -> LogIndex {
        if self.stream.is_base_missing() { LogIndex(0) } else { self.stream.durable() }
    }
}

/// How far the snapshot that is being taken has come.
#[derive(Debug, Default)]
struct Saving {
    cursor: SaveCursor,
    upheavals: u64,
    part: Saved,
}

/// What the keyspace wrote down as the log takes it.
pub(crate) fn payload(parts: Vec<Written>) -> Payload {
    let piece = |part| match part {
        Written::Bytes(bytes) => Piece::Bytes(bytes),
        Written::Value(value) => Piece::Shared(value),
    };
    Payload { pieces: parts.into_iter().map(piece).collect() }
}

impl Shard {
    /// Gives the shard a log that goes on where `stream` says. With `from_scratch` the log does not hold
    /// what the shard does, so a snapshot is taken first.
    pub fn start_log(&mut self, stream: Stream, from_scratch: bool) {
        self.keyspace.set_journal(true);
        self.log = Some(Box::new(Durable {
            stream,
            policy: SnapshotPolicy::default(),
            wanted: LogIndex(0),
            refusal: None,
            wants_snapshot: from_scratch,
            is_ending: false,
            saving: Saving::default(),
        }));
    }

    /// Takes the log away, so that changes are no longer written down, as soon as nobody waits for it any more
    /// or in vain; true once that is done. Until then no more wait, and the log
    /// [may be kept](Self::keep_log) after all.
    pub fn end_log(&mut self) -> bool {
        let Some(log) = &mut self.log else { return true };
        log.is_ending = true;
        if log.wanted > log.durable() && log.refusal.is_none() {
            return false;
        }
        self.keyspace.set_journal(false);
        self.log = None;
        true
    }

    /// Does not have the log end that was about to.
    pub fn keep_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.is_ending = false;
        }
    }

    /// Whether the shard has a log.
    #[inline]
    pub fn has_log(&self) -> bool {
        self.log.is_some()
    }

    /// All records have been read: puts keys into the order of their use, where that decides who is
    /// evicted.
    pub fn end_recovery(&mut self, now: Now) {
        if self.room.limit_bytes != usize::MAX {
            self.keyspace.order_by_use(now.unix);
        }
    }

    /// Makes again what a recovered record brings; answers how many entries or changes that was, nothing
    /// if its bytes make no sense.
    pub fn recover(&mut self, item: Item<'_>) -> Option<u64> {
        match item {
            Item::Part(payload) => self.keyspace.restore_entries(payload).ok(),
            Item::Changes { payload, overlaps_snapshot } => {
                self.keyspace.replay(payload, overlaps_snapshot).ok()
            }
            // The replica's, if the shard is to be one.
            Item::Configuration { .. } => Some(0),
        }
    }

    /// When snapshots are taken unasked from now on.
    pub fn set_snapshot_policy(&mut self, policy: SnapshotPolicy) {
        if let Some(log) = &mut self.log {
            log.policy = policy;
        }
    }

    /// Has a snapshot begun soon, unless one is being taken.
    pub fn ask_for_snapshot(&mut self) {
        if let Some(log) = &mut self.log {
            log.wants_snapshot |= log.stream.snapshot().is_none();
        }
    }

    /// Whether a write may be taken whose client has asked for `durability`, or for none in particular.
    ///
    /// # Errors
    /// When the log takes no writes, or there is none that keeps what the client asked to have kept.
    #[inline]
    pub(super) fn check_log(&self, durability: Option<Durability>) -> Result<(), Error> {
        let refusal = self.log.as_ref().and_then(|log| log.refusal);
        if let Some(refusal) = refusal {
            return Err(Error::LogRefused(refusal));
        }
        self.check_durability(durability)
    }

    /// Whether what a client asks to have kept is kept.
    ///
    /// # Errors
    /// When there is no log that would.
    #[inline]
    pub(super) fn check_durability(&self, durability: Option<Durability>) -> Result<(), Error> {
        match durability {
            Some(level) if level > Durability::Memory && !self.keeps_log() => {
                Err(Error::NotDurable(level))
            }
            _ => Ok(()),
        }
    }

    /// Whether the shard has a log, and goes on having it.
    #[inline]
    fn keeps_log(&self) -> bool {
        self.log.as_ref().is_some_and(|log| !log.is_ending)
    }

    /// Whether so many changes wait for the disk that more should wait.
    #[inline]
    pub fn is_behind(&self) -> bool {
        let waiting = self.keyspace.changes_len() + self.unwritten_bytes();
        self.log.is_some() && waiting > LOG_WAITING_BYTES_MAX
    }

    /// Notes that somebody waits for all changes so far, of which there are some, to be on disk; answers the record to wait for. None
    /// where no log is kept, which can only be who asked for nothing in particular: see `check_log`.
    pub fn want_sync(&mut self) -> Option<LogIndex> {
        let log = self.log.as_mut().filter(|log| !log.is_ending)?;
        log.wanted = LogIndex(log.stream.last_index().0 + self.keyspace.changes_records());
        Some(log.wanted)
    }

    /// What the log has come to.
    pub fn log_state(&self) -> Option<LogState> {
        let log = self.log.as_ref()?;
        let waiting_bytes = self.keyspace.changes_len();
        let next = log.stream.next_index();
        Some(LogState {
            durable: log.durable(),
            last: LogIndex(next.0 - 1 + self.keyspace.changes_records()),
            unsynced_since: log.stream.unsynced_since(),
            waiting_bytes,
            memory_bytes: self.keyspace.changes_memory_bytes()
                + log.stream.memory_bytes()
                + log.saving.part.memory_bytes()
                + self.replica_memory_bytes(),
            figures: log.stream.figures(),
            snapshot: log.stream.snapshot().map(|snapshot| (snapshot.entries(), snapshot.bytes())),
            refusal: log.refusal,
        })
    }

    /// Whether the log has something to do now, rather than at the next tick.
    #[inline]
    pub fn wants_log_step(&mut self, now: Now) -> bool {
        if self.wants_replica_step() {
            return true;
        }
        let Some(log) = &mut self.log else { return false };
        if self.keyspace.changes_len() > 0 {
            log.stream.changes_wait(now.mono);
        }
        let sync = log.wanted > log.stream.durable();
        log.stream.wants_step(now.mono, self.keyspace.changes_len(), sync)
            || log.stream.wants_part()
            || log.stream.is_busy()
            || log.wants_snapshot
    }

    /// Whether a snapshot is being taken.
    pub fn is_saving(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.stream.snapshot().is_some())
    }

    /// Whether the log has more to do at the next turn, though nothing comes that would bring one.
    pub fn is_log_busy(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.stream.is_busy()) || self.is_replica_busy()
    }

    /// Memory of long values that have been written and that nobody else holds any more.
    pub fn take_spent_values(&mut self) -> Vec<Extent> {
        let spent = self.log.as_mut().map(|log| log.stream.take_spent()).unwrap_or_default();
        spent.into_iter().filter_map(SharedBytes::into_extent).collect()
    }

    /// Does what is due: a write, a sync, a piece of a snapshot.
    pub fn step_log(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.is_replicated() {
            self.step_replica(now, effects);
        } else {
            self.write_changes(now, effects);
        }
        let waiting = self.keyspace.changes_len();
        if let Some(log) = &mut self.log
            && log.refusal != Some(Refusal::Stopping)
        {
            log.refusal = log.stream.refusal(waiting);
        }
        self.step_snapshot(now, effects);
    }

    /// Makes changes the next record if it is time.
    fn write_changes(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(log) = &mut self.log else { return };
        let sync = log.wanted > log.stream.durable();
        let waiting = self.keyspace.changes_len();
        if waiting > 0 {
            log.stream.changes_wait(now.mono);
        }
        let is_due = sync || log.stream.wants_step(now.mono, waiting, sync);
        let waiting = if is_due { self.keyspace.next_changes_len() } else { 0 };
        if log.stream.step(now, waiting, sync, effects) {
            let short = self.keyspace.changes(now.unix).filter(|_| waiting <= LOG_SHORT_BYTES_MAX);
            if let Some(changes) = short {
                log.stream.write(now, changes, sync, effects);
                self.keyspace.clear_changes();
            } else {
                let payload = payload(self.keyspace.take_changes(now.unix));
                log.stream.write_long(now, payload, effects);
            }
            if self.keyspace.changes_len() > 0 {
                log.stream.others_wait();
            }
        }
    }

    /// Looks whether a snapshot is due; at every tick.
    pub fn check_log_size(&mut self) {
        let data = self.keyspace.memory().total_bytes() as u64;
        let Some(log) = &mut self.log else { return };
        // One that the log needs to mean anything is tried until it succeeds.
        log.wants_snapshot |= log.stream.is_base_missing() && log.stream.snapshot().is_none();
        let (bytes, policy) = (log.stream.log_bytes(), log.policy);
        let grown = policy.growth_percent > 0
            && bytes >= policy.growth_bytes_min
            && bytes > (data / 100).saturating_mul(policy.growth_percent);
        if bytes > policy.log_bytes_max || grown {
            self.ask_for_snapshot();
        }
    }

    fn step_snapshot(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let (seen, may_begin) = (self.seen_by_keyspace(), self.may_begin_snapshot());
        let Some(log) = &mut self.log else { return };
        if seen.is_none() && log.stream.snapshot().is_some() {
            // The keyspace has seen what never happened.
            return log.stream.abandon_snapshot(effects);
        }
        // The snapshot's first record is the next: all changes before are in the keyspace and in records.
        if log.wants_snapshot
            && may_begin
            && self.keyspace.changes_len() == 0
            && seen.is_some_and(|seen| log.stream.start_snapshot(seen, effects))
        {
            log.wants_snapshot = false;
            let upheavals = self.keyspace.upheavals();
            log.saving = Saving { upheavals, ..Saving::default() };
        }
        log.stream.go_on_with_long_part(now, effects);
        if !log.stream.wants_part() {
            return;
        }
        if log.saving.upheavals != self.keyspace.upheavals() {
            log.stream.abandon_snapshot(effects);
            log.wants_snapshot = true;
            return;
        }
        let Saving { cursor, part, .. } = &mut log.saving;
        if !cursor.is_done() {
            part.clear();
            let from = std::mem::take(cursor);
            *cursor = self.keyspace.save_entries(from, SNAPSHOT_PART_BYTES, now.unix, part);
            let entries = part.entries;
            match part.bytes().filter(|bytes| bytes.len() <= LOG_SHORT_BYTES_MAX) {
                _ if part.len() == 0 => {}
                Some(bytes) => return log.stream.add_part(bytes, entries, now, effects),
                None => {
                    let payload = payload(part.take());
                    return log.stream.add_long_part(payload, entries, effects);
                }
            }
        }
        if cursor.is_done() {
            *part = Saved::default();
            let seen = seen.map_or(log.stream.last_index(), |(index, _)| index);
            let last_index = LogIndex(seen.0 + self.keyspace.changes_records());
            log.stream.end_snapshot(now, last_index, effects);
            log.wanted = log.wanted.max(last_index);
        }
    }

    // --- what the runtime answers ------------------------------------------------------------

    /// A write is done, or failed.
    pub fn log_written(
        &mut self,
        file: SegmentFile,
        buffer: AlignedBuffer,
        result: Result<(), DiskError>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(log) = &mut self.log {
            log.stream.written(file, buffer, result, now, effects);
        }
    }

    /// A sync is done, or failed.
    pub fn log_synced(
        &mut self,
        file: SegmentFile,
        result: Result<(), DiskError>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(log) = &mut self.log {
            log.stream.synced(file, result, effects);
        }
    }

    /// A job on the folder is done, or failed.
    pub fn log_job_done(
        &mut self,
        result: Result<(), DiskError>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(log) = &mut self.log {
            log.stream.done(result, now, effects);
        }
    }

    // --- the end -----------------------------------------------------------------------------

    /// Does what is left to do before the server may stop; true once all changes are on disk and the
    /// manifest says that none are missing, or that can't be any more.
    pub fn close_log(&mut self, now: Now, effects: &mut Vec<Effect>) -> bool {
        self.step_for_close(now, effects);
        let (is_replica_at_rest, has_doubt) = (self.is_replica_at_rest(), self.has_doubt());
        let is_hopeless = self.is_log_hopeless();
        let Some(log) = &mut self.log else { return true };
        if log.refusal.is_some_and(|refusal| refusal != Refusal::Stopping) || is_hopeless {
            return true;
        }
        let is_at_rest =
            log.stream.is_at_rest() && !log.stream.is_base_missing() && is_replica_at_rest;
        if self.keyspace.changes_len() > 0 || !is_at_rest {
            return false;
        }
        log.refusal = Some(Refusal::Stopping);
        // A stop that calls itself clean would end the doubt.
        if !has_doubt && !log.stream.close_cleanly(effects) {
            return false;
        }
        self.close_replica(!has_doubt, effects)
    }

    fn step_for_close(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(log) = &mut self.log else { return };
        if !log.stream.is_base_missing() {
            log.wants_snapshot = false;
            log.stream.abandon_snapshot(effects);
        }
        log.wanted = LogIndex(u64::MAX);
        self.step_log(now, effects);
    }
}
