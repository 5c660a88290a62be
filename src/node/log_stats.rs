//! What is known of a shard's log without holding the shard: how far it is on disk, for whoever waits
//! for that, and what `INFO persistence` shows. The shard's owner publishes it whenever it steps the log.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::log::LogState;
use crate::metrics::lock;
use crate::types::{CoreId, LogIndex, UnixMs};

/// One shard's log, as of the last step.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct LogStats {
    durable: AtomicU64,
    /// Whether the log has failed or ended: what is not durable now never will be.
    stopped: AtomicBool,
    /// Cores that want to hear of it when `durable` rises, by bit: core modulo 64.
    waiting: AtomicU64,
    /// Snapshots that somebody asked for, less those begun.
    asked: AtomicBool,
    state: Mutex<Option<LogState>>,
    /// How often a log has ended (`CONFIG SET durability memory`), and the last record of the last one.
    ended: AtomicU64,
    ended_at: AtomicU64,
    /// Why a log could not be begun, if the last try failed.
    not_begun: Mutex<Option<String>>,
    /// Operations and jobs that the shard has not been told the end of.
    under_way: AtomicU64,
    /// When the last snapshot was finished.
    saved_at_ms: AtomicU64,
    /// Changes when the snapshot that is being taken, or the last one, was begun.
    changes_at_save: AtomicU64,
    /// Whether the shard is still being recovered.
    loading: AtomicBool,
    /// Bytes read and bytes to be read while it is.
    loaded_bytes: AtomicU64,
    loading_bytes: AtomicU64,
}

impl LogStats {
    /// Publishes what the log has come to; answers the cores that wait to hear of it, as bits.
    pub fn publish(&self, state: &LogState, has_failed: bool) -> u64 {
        *lock(&self.state) = Some(*state);
        let rose = self.durable.swap(state.durable.0, Ordering::SeqCst) < state.durable.0;
        let stops = !self.stopped.swap(has_failed, Ordering::SeqCst) && has_failed;
        if rose || stops { self.waiting.swap(0, Ordering::SeqCst) } else { 0 }
    }

    /// Forgets the log, whose last record was `last`: the shard has none any more. Answers the cores that waited
    /// for it, as bits: what is not durable now never will be, as far as anybody can say who looks now. Whoever
    /// looks when there is another log waits for that, which holds what the shard did when it began.
    pub fn clear(&self, last: LogIndex) -> u64 {
        *lock(&self.state) = None;
        self.ended_at.store(last.0, Ordering::SeqCst);
        self.ended.fetch_add(1, Ordering::SeqCst);
        self.stopped.store(true, Ordering::SeqCst);
        self.waiting.swap(0, Ordering::SeqCst)
    }

    /// Notes whether a log could be begun, and why not.
    pub fn note_begun(&self, error: Option<String>) {
        *lock(&self.not_begun) = error;
    }

    /// Why a log could not be begun, if the last try failed.
    pub fn not_begun(&self) -> Option<String> {
        lock(&self.not_begun).clone()
    }

    /// How often a log has ended.
    pub fn times_ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// The last record of the last log that ended. The next goes on behind it: whoever has not seen yet
    /// that it need not wait any more does not wait for the wrong one.
    pub fn ended_at(&self) -> LogIndex {
        LogIndex(self.ended_at.load(Ordering::SeqCst))
    }

    /// An operation or a job begins.
    pub fn begin_operation(&self) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
    }

    /// The shard has been told what came of one.
    pub fn end_operation(&self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether any is under way.
    pub fn has_operations(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) > 0
    }

    /// What the log had come to at the last step.
    pub fn state(&self) -> Option<LogState> {
        *lock(&self.state)
    }

    /// Asks for word to `core` when more is on disk. Look again afterwards: it may have been meanwhile.
    pub fn wait(&self, core: CoreId) {
        let bit = 1u64 << (core.0 % 64);
        if self.waiting.load(Ordering::SeqCst) & bit == 0 {
            self.waiting.fetch_or(bit, Ordering::SeqCst);
        }
    }

    /// Whether the record of this index is on disk.
    #[inline]
    pub fn is_durable(&self, index: LogIndex) -> bool {
        self.durable.load(Ordering::SeqCst) >= index.0
    }

    /// Whether what is not on disk never will be.
    #[inline]
    pub fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    // --- snapshots ---------------------------------------------------------------------------

    /// Asks the owner to begin a snapshot.
    pub fn ask_for_snapshot(&self) {
        self.asked.store(true, Ordering::Release);
    }

    /// Whether one was asked for since this was last asked.
    pub fn take_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) && self.asked.swap(false, Ordering::AcqRel)
    }

    /// Whether one was asked for and has not begun.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// A snapshot begins.
    pub fn snapshot_begins(&self, changes: u64) {
        self.changes_at_save.store(changes, Ordering::Relaxed);
    }

    /// A snapshot is finished.
    pub fn snapshot_ends(&self, now: UnixMs) {
        self.saved_at_ms.store(now.0, Ordering::Release);
    }

    /// When the last one was finished; 0 if none was.
    pub fn saved_at(&self) -> UnixMs {
        UnixMs(self.saved_at_ms.load(Ordering::Acquire))
    }

    /// Changes up to the last one.
    pub fn changes_at_save(&self) -> u64 {
        self.changes_at_save.load(Ordering::Relaxed)
    }

    // --- loading -----------------------------------------------------------------------------

    /// Notes how much of the shard's log has been read, and how much there is.
    pub fn set_loaded(&self, (read, total): (u64, u64)) {
        self.loaded_bytes.store(read, Ordering::Relaxed);
        self.loading_bytes.store(total, Ordering::Relaxed);
    }

    /// Bytes read, and bytes there are to read.
    pub fn loaded(&self) -> (u64, u64) {
        (self.loaded_bytes.load(Ordering::Relaxed), self.loading_bytes.load(Ordering::Relaxed))
    }

    /// Whether the shard is being recovered.
    pub fn is_loading(&self) -> bool {
        self.loading.load(Ordering::Acquire)
    }

    /// Sets whether it is.
    pub fn set_loading(&self, loading: bool) {
        self.loading.store(loading, Ordering::Release);
    }
}
