//! The shards' logs on a core's ring: their effects become writes and syncs, completions go back to the
//! shard they came from, and replies that waited for the disk leave.
//!
//! A write or a sync is performed by the core that stepped the log, which is the shard's owner. What comes
//! of it is given to the shard as soon as its token is free, by the same core: if the shard has moved
//! meanwhile, that is no matter, since files are open for all cores.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::connection::{Block, Connection, State};
use super::core::Core;
use super::gate::{Gate, Passage};
use super::log_files::{LogFiles, descriptor, disk_error};
use super::log_waits::Wait;
use super::mail::Message;
use super::ring::{Completion, Op, Token};
use crate::config::Durability;
use crate::limits::RECOVERY_STEP_US;
use crate::log::{
    AlignedBuffer, BLOCK_BYTES, DiskError, Effect, OpenError, Recovery, SegmentFile, Stream,
};
use crate::metrics::{Stage, Step};
use crate::node::LogStats;
use crate::shard::{LogState, SnapshotPolicy};
use crate::types::{ByteOffset, LogIndex, ShardId};

/// What a core keeps for the logs of shards.
pub(super) struct Logs {
    files: Arc<LogFiles>,
    /// Whether any shard has a log, or had one a moment ago.
    is_on: bool,
    /// Clients that wait for what all logs come to.
    pub(super) waits: Vec<(Token, Wait)>,
    /// Operations under way, by the index of their token.
    operations: Vec<Option<Operation>>,
    generation: u32,
    /// What came of operations, for shards whose token was not free.
    answers: Vec<(ShardId, Answer)>,
    /// Scratch for what a step asks for.
    effects: Vec<Effect>,
    /// Shards that are still being recovered.
    recovering: Vec<Recovering>,
    /// Connections with replies that wait for the disk.
    gated: Vec<Token>,
    /// Whether some of them need not any more.
    pub(super) has_news: bool,
    /// Connections whose writes wait until the disk has caught up.
    behind: Vec<Token>,
    /// Whether a shard of this core is behind.
    pub(super) is_behind: bool,
    /// Whether a step could not be done because a token was not free.
    is_due: bool,
}

/// An operation of the ring.
struct Operation {
    shard: ShardId,
    segment: SegmentFile,
    file: Arc<File>,
    write: Option<Write>,
    /// When it was handed to the ring, in ticks of the core's clock.
    since: u64,
}

/// A write that the kernel has in hand.
struct Write {
    buffer: AlignedBuffer,
    offset: ByteOffset,
    done: usize,
    sync: bool,
}

/// What came of an operation.
enum Answer {
    Written(SegmentFile, AlignedBuffer, Result<(), DiskError>),
    Synced(SegmentFile, Result<(), DiskError>),
    Done(Result<(), DiskError>),
}

/// A shard whose log is being read.
pub(crate) struct Recovering {
    pub(crate) shard: ShardId,
    pub(crate) recovery: Recovery<super::log_files::Content>,
    pub(crate) options: crate::log::StreamOptions,
    pub(crate) since: std::time::Instant,
}

impl Logs {
    pub(super) fn new(files: Arc<LogFiles>, recovering: Vec<Recovering>) -> Self {
        Self {
            files,
            is_on: false,
            waits: Vec::new(),
            operations: Vec::new(),
            generation: 0,
            answers: Vec::new(),
            effects: Vec::new(),
            recovering,
            gated: Vec::new(),
            has_news: false,
            behind: Vec::new(),
            is_behind: false,
            is_due: false,
        }
    }

    /// Whether something is to be done before the core may sleep.
    pub(super) fn is_busy(&self) -> bool {
        self.is_due || !self.answers.is_empty() || !self.recovering.is_empty()
    }
}

/// Tells that a shard's log can't be read, and what can be done.
pub(crate) fn unreadable_log(dir: &Path, shard: ShardId, error: &OpenError) -> String {
    let dir = dir.display();
    format!(
        "The log of shard {0} can't be read: in '{dir}/shard-{0:04}', {error}. Nothing was changed. \
         'ringmain log verify {dir}' shows what is there, and 'ringmain log repair {dir}' what can be \
         done.",
        shard.0,
    )
}

impl Core<'_> {
    // --- stepping ----------------------------------------------------------------------------

    /// Steps the logs of this core's shards: those that want it, or all of them.
    pub(super) fn step_logs(&mut self, all: bool) {
        if !self.logs.is_on {
            return;
        }
        self.logs.is_due = false;
        self.logs.is_behind = false;
        self.give_answers();
        for index in 0..self.shards.own().len() {
            self.step_log(self.shards.own()[index], all);
        }
        if !self.logs.is_behind && !self.logs.behind.is_empty() {
            for token in std::mem::take(&mut self.logs.behind) {
                self.unblock(token, Block::Log);
            }
        }
    }

    fn step_log(&mut self, id: ShardId, even_if_idle: bool) {
        let now = self.engine.now;
        let Some(shard) = self.shards.borrow_again(id) else {
            self.logs.is_due = true;
            return;
        };
        if !shard.has_log() {
            return;
        }
        if even_if_idle {
            if self.node.log(id).take_asked() {
                shard.ask_for_snapshot();
            }
            shard.check_log_size();
        }
        if !even_if_idle && !shard.wants_log_step(now) {
            self.logs.is_behind |= shard.is_behind();
            return;
        }
        let mut effects = std::mem::take(&mut self.logs.effects);
        let is_saving = shard.is_saving();
        shard.step_log(now, &mut effects);
        self.logs.is_behind |= shard.is_behind();
        self.logs.is_due |= shard.is_log_busy();
        let spent = shard.take_spent_values();
        let state = shard.log_state();
        self.discard(spent);
        self.publish_log(id, state);
        self.perform_effects(id, &mut effects);
        self.logs.effects = effects;
        self.engine.end_step_of(if is_saving { Step::Snapshot } else { Step::Log });
    }

    /// Lets others see what the log has come to, and tells the cores that wait for it.
    fn publish_log(&mut self, id: ShardId, state: Option<LogState>) {
        let Some(state) = state else { return };
        let stats: &LogStats = self.node.log(id);
        let before = stats.state();
        let begun = state.snapshot.is_some() && before.is_none_or(|it| it.snapshot.is_none());
        if begun {
            stats.snapshot_begins(self.node.shard(id).counts().changes);
        }
        if before.is_some_and(|before| before.figures.snapshots < state.figures.snapshots) {
            stats.snapshot_ends(self.engine.now.unix);
        }
        let has_failed = matches!(state.refusal, Some(crate::log::Refusal::Failed(_)));
        let bits = stats.publish(&state, has_failed);
        if has_failed && before.is_some_and(|before| before.refusal != state.refusal) {
            tracing::error!(
                shard = id.0,
                "the log can't be written any more, the shard takes no writes: {:?}",
                state.refusal
            );
        }
        self.tell_cores(bits);
    }

    /// Tells cores that replies may leave that waited for a log.
    fn tell_cores(&mut self, bits: u64) {
        if bits == 0 {
            return;
        }
        self.logs.has_news |= bits & 1 << (self.id.0 % 64) != 0;
        for core in self.mail.others() {
            if bits & 1 << (core.0 % 64) != 0 {
                self.post(core, Message::Durable);
            }
        }
    }

    fn perform_effects(&mut self, shard: ShardId, effects: &mut Vec<Effect>) {
        let mut is_for_disk = false;
        for effect in effects.drain(..) {
            if !matches!(effect, Effect::Close(_)) {
                self.node.log(shard).begin_operation();
            }
            match effect {
                Effect::Write { file, offset, buffer, sync } => {
                    is_for_disk |= sync;
                    let write = Write { buffer, offset, done: 0, sync };
                    self.start_operation(shard, file, Some(write));
                }
                Effect::Sync(file) => self.start_operation(shard, file, None),
                Effect::Job(job) => {
                    let (peers, core) = (self.peers.clone(), self.id);
                    self.logs.files.ask(shard, job, move |shard, result| {
                        let message = Message::LogJobDone { shard, result };
                        peers[usize::from(core.0)].post_from_outside(message);
                    });
                }
                Effect::Close(file) => self.logs.files.close(shard, file),
            }
        }
        if is_for_disk {
            self.ring.hand_over();
        }
    }

    fn start_operation(&mut self, shard: ShardId, segment: SegmentFile, write: Option<Write>) {
        match self.logs.files.open(shard, segment) {
            Ok(file) => {
                let since = self.engine.mark();
                let operation = Operation { shard, segment, file, write, since };
                self.submit_operation(operation);
            }
            Err(error) => {
                let error = Err(disk_error(&error));
                let answer = match write {
                    Some(write) => Answer::Written(segment, write.buffer, error),
                    None => Answer::Synced(segment, error),
                };
                self.logs.answers.push((shard, answer));
            }
        }
    }

    fn submit_operation(&mut self, operation: Operation) {
        let logs = &mut self.logs;
        let free = logs.operations.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            logs.operations.push(None);
            logs.operations.len() - 1
        });
        logs.generation = logs.generation.wrapping_add(1) & 0xff_ffff;
        let index32 = u32::try_from(index).expect("few operations are under way");
        let token = Token { index: index32, generation: logs.generation };
        let fd = descriptor(&operation.file);
        match &operation.write {
            Some(write) => {
                let rest = &write.buffer.bytes()[write.done..];
                let offset = write.offset.0 + write.done as u64;
                self.ring.write_file(fd, token, rest, offset, write.sync);
            }
            None => self.ring.sync_file(fd, token),
        }
        logs.operations[index] = Some(operation);
    }

    /// An operation on a file has completed.
    pub(super) fn log_completed(&mut self, completion: Completion) {
        let slot = self.logs.operations.get_mut(completion.token.index as usize);
        let Some(mut operation) = slot.and_then(Option::take) else {
            self.engine.metrics.stale_completions.increment();
            return;
        };
        debug_assert!(matches!(completion.op, Op::File));
        let result = match completion.result {
            count if count >= 0 => Ok(usize::try_from(count).unwrap_or(0)),
            errno => Err(DiskError { errno: -errno }),
        };
        let (shard, segment) = (operation.shard, operation.segment);
        self.engine.record_stage(Stage::Log, operation.since, self.engine.mark(), 1);
        let answer = match operation.write.take() {
            None => Answer::Synced(segment, result.map(|_| ())),
            Some(mut write) => {
                let result = match result {
                    Ok(count) => {
                        write.done += count;
                        let is_whole = write.done >= write.buffer.len();
                        if !is_whole && count > 0 && write.done.is_multiple_of(BLOCK_BYTES) {
                            operation.write = Some(write);
                            return self.submit_operation(operation);
                        }
                        if is_whole { Ok(()) } else { Err(DiskError { errno: libc::EIO }) }
                    }
                    Err(error) => Err(error),
                };
                Answer::Written(segment, write.buffer, result)
            }
        };
        self.logs.answers.push((shard, answer));
    }

    /// A job on a shard's folder is done.
    pub(super) fn log_job_done(&mut self, shard: ShardId, result: Result<(), DiskError>) {
        self.logs.answers.push((shard, Answer::Done(result)));
    }

    /// Gives shards what came of their operations, as far as their tokens are free.
    fn give_answers(&mut self) {
        let now = self.engine.now;
        for (id, answer) in std::mem::take(&mut self.logs.answers) {
            let Some(shard) = self.shards.borrow_again(id) else {
                self.logs.answers.push((id, answer));
                continue;
            };
            self.node.log(id).end_operation();
            let mut effects = std::mem::take(&mut self.logs.effects);
            match answer {
                Answer::Written(file, buffer, result) => {
                    shard.log_written(file, buffer, result, now, &mut effects);
                }
                Answer::Synced(file, result) => shard.log_synced(file, result, &mut effects),
                Answer::Done(result) => shard.log_job_done(result, now, &mut effects),
            }
            // At once: whoever waits may go on, and the next write leaves.
            shard.step_log(now, &mut effects);
            let state = shard.log_state();
            self.publish_log(id, state);
            self.perform_effects(id, &mut effects);
            self.logs.effects = effects;
            self.engine.end_step_of(Step::Log);
        }
    }

    /// Takes over when snapshots are taken unasked.
    pub(super) fn update_snapshot_policy(&mut self) {
        let shards = u64::from(self.node.slots.shard_count());
        let config = &self.config;
        let policy = SnapshotPolicy {
            log_bytes_max: (config.log_bytes_max / shards).max(2 * config.segment_bytes),
            growth_percent: config.auto_aof_rewrite_percentage,
            growth_bytes_min: config.auto_aof_rewrite_min_size_bytes / shards,
        };
        for index in 0..self.shards.own().len() {
            let id = self.shards.own()[index];
            if let Some(shard) = self.shards.borrow_again(id) {
                shard.set_snapshot_policy(policy);
            }
        }
    }

    // --- replies that wait -------------------------------------------------------------------

    /// Takes over what the requests of a connection that have just been run have to wait for.
    pub(super) fn gate_connection(&mut self, connection: &mut Connection, gate: Gate) {
        for shard in gate.shards() {
            if !self.shards.owns(shard) {
                let owner = self.engine.owners.core_of(shard);
                self.post(owner, Message::Flush);
            }
        }
        connection.gate.merge(gate);
    }

    /// Holds back what the connection has to send if it must wait for the disk.
    #[cold]
    pub(super) fn hold_output(&mut self, connection: &mut Connection) {
        let gate = std::mem::take(&mut connection.gate);
        connection.output.hold(gate);
        self.release_output(connection);
        if connection.output.is_held() && !std::mem::replace(&mut connection.is_gated, true) {
            self.logs.gated.push(connection.token);
        }
    }

    /// Lets go what need not wait any more.
    fn release_output(&mut self, connection: &mut Connection) {
        let (node, core) = (self.node, self.id);
        let has_failed = connection.output.release(|gate| match gate.passage(node) {
            Passage::Shut => {
                gate.wait(node, core);
                // It may have opened before that was noted.
                gate.passage(node)
            }
            passage => passage,
        });
        if has_failed {
            connection.fail_output();
        }
    }

    /// Lets all connections of this core go on whose replies need not wait any more.
    pub(super) fn release_gated(&mut self) {
        if !std::mem::take(&mut self.logs.has_news) {
            return;
        }
        for token in std::mem::take(&mut self.logs.gated) {
            let Some(mut connection) = self.connections.take(token) else { continue };
            self.release_output(&mut connection);
            connection.is_gated = connection.output.is_held();
            if connection.is_gated {
                self.logs.gated.push(token);
            }
            if connection.output.can_send() || connection.state != State::Running {
                self.mark_dirty(&mut connection);
            }
            self.connections.put(connection);
        }
    }

    /// Blocks a connection whose write has to wait until the disk has caught up.
    pub(super) fn wait_for_log(&mut self, connection: &mut Connection) {
        connection.state = State::Blocked(Block::Log);
        self.logs.behind.push(connection.token);
    }

    // --- recovery ----------------------------------------------------------------------------

    /// Reads on in the logs of shards that are being recovered, for a bounded time.
    pub(super) fn recover_some(&mut self) {
        let Some(mut recovering) = self.logs.recovering.pop() else { return };
        let id = recovering.shard;
        let started = std::time::Instant::now();
        let Some(shard) = self.shards.borrow_again(id) else {
            self.logs.recovering.push(recovering);
            return;
        };
        let result = loop {
            match recovering.recovery.step(|item| shard.recover(item)) {
                Ok(true) => {}
                other => break other,
            }
            if started.elapsed().as_micros() >= u128::from(RECOVERY_STEP_US) {
                break Ok(true);
            }
        };
        let stats = self.node.log(id);
        stats.set_loaded(recovering.recovery.progress());
        match result {
            Ok(true) => {
                // In turns, so that all shards come up about together.
                self.logs.recovering.insert(0, recovering);
            }
            Ok(false) => self.recovered(recovering),
            Err(error) => {
                tracing::error!(shard = id.0, "{error}");
                self.node.fail_start(unreadable_log(&self.config.dir, id, &error));
                self.logs.recovering.clear();
                self.ask_to_stop();
            }
        }
        self.engine.end_step_of(Step::Recovery);
    }

    fn recovered(&mut self, recovering: Recovering) {
        let Recovering { shard: id, recovery, options, since } = recovering;
        if let Some(cut) = recovery.cut() {
            tracing::warn!(
                shard = id.0,
                file = cut.file,
                at = cut.at.0,
                "the log ended in a torn record, which nobody was promised ({}): it was cut off",
                cut.fault
            );
        }
        let (entries, changes) = recovery.counts();
        if entries + changes > 0 {
            tracing::info!(
                shard = id.0,
                entries,
                changes,
                seconds = since.elapsed().as_secs_f64(),
                "recovered"
            );
        }
        let stream = Stream::new(recovery.finish(), options);
        let sequence = self.engine.now.first_sequence();
        if let Some(shard) = self.shards.borrow_again(id) {
            shard.keyspace_mut().raise_sequence(sequence);
            shard.end_recovery(self.engine.now);
            shard.start_log(stream, false);
            self.logs.is_on = true;
        }
        self.node.log(id).set_loading(false);
        self.node.loading.fetch_sub(1, Ordering::AcqRel);
        // It may have been changed meanwhile.
        self.follow_durability();
        self.update_snapshot_policy();
        self.step_log(id, true);
    }

    // --- a durability that changes while the server runs -------------------------------------

    /// Begins or ends the logs of this core's shards as the configuration says.
    pub(super) fn follow_durability(&mut self) {
        let wants_log = self.config.durability != Durability::Memory;
        for index in 0..self.shards.own().len() {
            let id = self.shards.own()[index];
            if self.node.log(id).is_loading() {
                continue;
            }
            let Some(shard) = self.shards.borrow_again(id) else {
                // Whoever holds it gives it back within a moment.
                self.config_generation = u64::MAX;
                continue;
            };
            if wants_log == shard.has_log() {
                continue;
            }
            let stats = self.node.log(id);
            if !wants_log {
                let last = shard.log_state().map_or(LogIndex(0), |state| state.last);
                shard.end_log();
                let bits = stats.clear(last);
                self.tell_cores(bits);
                continue;
            }
            if stats.has_operations() {
                // What the log before still does to the folder comes first.
                self.config_generation = u64::MAX;
                continue;
            }
            match self.logs.files.start_over(id, self.node.slots.shard_count(), stats.ended_at()) {
                Ok(resume) => {
                    stats.note_begun(None);
                    let stream = Stream::new(resume, self.logs.files.options(&self.config));
                    shard.start_log(stream, true);
                    // Before anybody else has the shard, and waits for a record of it.
                    let state = shard.log_state();
                    self.publish_log(id, state);
                    self.logs.is_on = true;
                }
                Err(error) => {
                    tracing::error!(shard = id.0, "the log can't be begun: {error}");
                    stats.note_begun(Some(error.to_string()));
                    // What would not be kept is not promised either.
                    self.node.config.update(|config| config.durability = Durability::Memory);
                }
            }
        }
    }

    // --- the end -----------------------------------------------------------------------------

    /// Whether the logs of this core's shards are closed, so that the core may end.
    pub(super) fn close_logs(&mut self) -> bool {
        if !self.logs.is_on {
            return true;
        }
        self.logs.recovering.clear();
        self.give_answers();
        let now = self.engine.now;
        let mut is_closed = self.logs.answers.is_empty();
        for index in 0..self.shards.own().len() {
            let id = self.shards.own()[index];
            let Some(shard) = self.shards.borrow_again(id) else {
                is_closed = false;
                continue;
            };
            let mut effects = std::mem::take(&mut self.logs.effects);
            is_closed &= shard.close_log(now, &mut effects);
            let state = shard.log_state();
            self.publish_log(id, state);
            self.perform_effects(id, &mut effects);
            self.logs.effects = effects;
        }
        is_closed && self.logs.operations.iter().all(Option::is_none)
    }
}
