//! The shards' logs on a core's ring: their effects become writes and syncs, completions go back to the
//! shard they came from, and replies that waited for the disk leave.
//!
//! A write or a sync is performed by the core that stepped the log, which is the shard's owner. What comes
//! of it is given to the shard as soon as its token is free, by the same core: if the shard has moved
//! meanwhile, that is no matter, since files are open for all cores.

use std::fs::File;
use std::sync::Arc;

use super::away::Away;
use super::connection::Block;
use super::core::Core;
use super::log_files::{LogFiles, descriptor, disk_error};
use super::log_life::Recovering;
use super::log_waits::Wait;
use super::mail::Message;
use super::rebuild::Rebuilding;
use super::ring::{Completion, Op, Token};
use crate::log::LogState;
use crate::log::{AlignedBuffer, BLOCK_BYTES, DiskError, Effect, Refusal, SegmentFile};
use crate::metrics::{Stage, Step};
use crate::node::LogStats;
use crate::types::{ByteOffset, ShardId};

/// What a core keeps for the logs of shards.
pub(super) struct Logs {
    pub(super) files: Arc<LogFiles>,
    /// Whether any shard has a log, or had one a moment ago.
    pub(super) is_on: bool,
    /// Clients that wait for what all logs come to.
    pub(super) waits: Vec<(Token, Wait)>,
    /// Operations under way, by the index of their token.
    pub(super) operations: Vec<Option<Operation>>,
    generation: u32,
    /// What came of operations, for shards whose token was not free.
    pub(super) answers: Vec<(ShardId, Answer)>,
    /// Scratch for what a step asks for.
    pub(super) effects: Vec<Effect>,
    /// Shards that are still being recovered.
    pub(super) recovering: Vec<Recovering>,
    /// Shards whose keyspaces are made again.
    pub(super) rebuilding: Vec<Rebuilding>,
    /// Connections with replies that wait for the disk.
    pub(super) gated: Vec<Token>,
    /// Whether some of them need not any more.
    pub(super) has_news: bool,
    /// Connections whose writes wait until the disk has caught up.
    pub(super) behind: Vec<Token>,
    /// Whether a shard of this core is behind.
    pub(super) is_behind: bool,
    /// Whether a step could not be done because a token was not free.
    pub(super) is_due: bool,
    /// Whether a log that is to begin or to end has not yet: it is looked at again every turn.
    pub(super) is_unsettled: bool,
}

/// An operation of the ring.
pub(super) struct Operation {
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
pub(super) enum Answer {
    Written(SegmentFile, AlignedBuffer, Result<(), DiskError>),
    Synced(SegmentFile, Result<(), DiskError>),
    Done(Result<(), DiskError>),
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
            rebuilding: Vec::new(),
            gated: Vec::new(),
            has_news: false,
            behind: Vec::new(),
            is_behind: false,
            is_due: false,
            is_unsettled: false,
        }
    }

    /// Whether something is to be done before the core may sleep.
    pub(super) fn is_busy(&self, away: &Away) -> bool {
        let may_answer = self.answers.iter().any(|(shard, _)| !away.is_told_of(*shard));
        let reads = !self.recovering.is_empty() || !self.rebuilding.is_empty();
        self.is_due || may_answer || reads
    }
}

impl Core<'_> {
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

    pub(super) fn step_log(&mut self, id: ShardId, even_if_idle: bool) {
        let now = self.engine.now;
        if !self.is_here(id) {
            self.logs.is_due |= !self.away.is_told_of(id);
            return;
        }
        let Some(shard) = self.shards.held(id).filter(|shard| shard.has_log()) else { return };
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
        self.after_step(id);
        self.engine.end_step_of(if is_saving { Step::Snapshot } else { Step::Log });
    }

    /// Lets others see what the log has come to, and tells the cores that wait for it.
    pub(super) fn publish_log(&mut self, id: ShardId, state: Option<LogState>) {
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
        let has_failed = matches!(state.refusal, Some(Refusal::Failed(_)));
        let bits = stats.publish(&state, has_failed);
        if let Some(before) = before {
            tell_operator(id, &before, &state);
        }
        self.tell_cores(bits);
    }

    /// Tells cores that replies may leave that waited for a log.
    pub(super) fn tell_cores(&mut self, bits: u64) {
        if bits == 0 {
            return;
        }
        let is_for_me = bits & 1 << (self.id.0 % 64) != 0;
        self.logs.has_news |= is_for_me;
        self.replicas.has_news |= is_for_me;
        for core in self.mail.others() {
            if bits & 1 << (core.0 % 64) != 0 {
                self.post(core, Message::Durable);
            }
        }
    }

    pub(super) fn perform_effects(&mut self, shard: ShardId, effects: &mut Vec<Effect>) {
        let mut is_for_disk = false;
        for effect in effects.drain(..) {
            if matches!(effect, Effect::Write { .. } | Effect::Sync(_) | Effect::Job(_)) {
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
                Effect::SaveHardState(state) => self.save_hard_state(shard, state),
                Effect::StartOver(index, term) => self.start_log_over(shard, index, term),
                Effect::ReadAgain(number) => self.start_rebuild(shard, number),
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
    pub(super) fn give_answers(&mut self) {
        let now = self.engine.now;
        for (id, answer) in std::mem::take(&mut self.logs.answers) {
            let Some(shard) = self.is_here(id).then(|| self.shards.held(id)).flatten() else {
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
            self.after_step(id);
            self.engine.end_step_of(Step::Log);
        }
    }
}

/// Says in the server's own log what an operator must know of a shard's.
fn tell_operator(id: ShardId, before: &LogState, state: &LogState) {
    // Where writes are refused until it succeeds, that is said below, once.
    if before.figures.snapshots_failed < state.figures.snapshots_failed
        && !matches!(state.refusal, Some(Refusal::NoSnapshot(_)))
        && let Some(error) = state.figures.snapshot_error
    {
        tracing::warn!(shard = id.0, "a snapshot was given up: {error}");
    }
    if before.refusal == state.refusal {
        return;
    }
    match state.refusal {
        Some(Refusal::Stopping) => {}
        Some(refusal) if refusal.is_for_good() => tracing::error!(shard = id.0, "{refusal}"),
        Some(refusal) => tracing::warn!(shard = id.0, "{refusal}"),
        None => tracing::info!(shard = id.0, "the log is written again: writes are taken"),
    }
}
