//! Runs commands on shards for one core, and keeps count: how many, how long, how many failed.

use std::sync::Arc;

use quanta::Clock;

use super::attend::{News, Ran};
use super::gate::Gate;
use super::room::{Budget, MemoryLimit};
use crate::command::binary::{Answer, Failure, Native, TOO_LATE};
use crate::command::table::Entry;
use crate::command::{Error, Flags, Handover, redact};
use crate::config::{Config, Durability};
use crate::limits::{BINARY_REPLY_BODY_BYTES_MAX, BULK_BYTES_MAX, ROOM_US_MAX, SLICE_US};
use crate::metrics::{CommandId, CoreMetrics, Stage, Step};
use crate::node::{ClientInfo, Node, Owners, ShardLoad};
use crate::protocol::binary::{ReplyHead, Status};
use crate::protocol::{Args, Reply};
use crate::shard::{self, Around, Call, Shard};
use crate::types::{MonoUs, Now, ShardId};

/// What a core runs commands with.
pub(crate) struct Engine<'a> {
    /// What the cores share.
    pub(crate) node: &'a Node,
    /// This core's counters.
    pub(crate) metrics: &'a CoreMetrics,
    /// Which core runs which shard, as this core knows it.
    pub(crate) owners: Arc<Owners>,
    /// The time of this turn.
    pub(crate) now: Now,
    /// What this core has done for each shard, not yet added to the sums that others read.
    loads: Box<[ShardLoad]>,
    /// Long values on their way in and out of the command that runs.
    pub(crate) handover: Handover,
    /// What the replies of commands run for a connection have to wait for.
    pub(crate) gate: Gate,
    /// What others are to be told; nearly always empty.
    pub(crate) news: Vec<News>,
    /// The durability of whoever did not choose one.
    durability: Durability,
    /// `proto-max-bulk-len`.
    value_bytes_max: usize,
    /// `maxmemory` and what is evicted for it.
    memory_limit: MemoryLimit,
    /// When the rooms of shards that had used them up were last looked at.
    rooms_seen_at: Box<[MonoUs]>,
    /// Which commands are noted one by one.
    slow: Slow,
    clock: Clock,
    started: u64,
    /// The slice of the client that is being served.
    pub(super) slice: Slice,
    /// Whether latencies are kept by command (`latency-tracking`).
    tracking: bool,
    /// When the last step ended and the next began, in ticks of `clock`.
    mark: u64,
    /// When the turn began, in ticks of `clock`.
    turn: u64,
}

/// A reply that is longer than the binary protocol lets one be.
const REPLY_TOO_LONG: Failure =
    Failure::new(Status::TooLarge, "TOOLARGE the reply would be longer than a reply may be");

/// A client's share of a turn, so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    /// When it began, in ticks of the clock.
    since: u64,
    /// What commands have taken since.
    pub(super) ns: u64,
}

/// From when on a command is slow, in nanoseconds; `u64::MAX` where none ever is.
#[derive(Clone, Copy, Debug)]
struct Slow {
    /// The lesser of the other two: all that the usual command is compared with.
    least_ns: u64,
    /// For the slow log (`slowlog-log-slower-than`).
    log_ns: u64,
    /// For `LATENCY` (`latency-monitor-threshold`).
    spike_ns: u64,
    /// Most entries of the slow log.
    log_length: usize,
}

impl Default for Slow {
    fn default() -> Self {
        Self { least_ns: u64::MAX, log_ns: u64::MAX, spike_ns: u64::MAX, log_length: 0 }
    }
}

/// Whether a command was refused because its shard is led elsewhere.
pub(super) fn is_refused(result: &Result<(), Error>) -> bool {
    matches!(result, Err(Error::SlotNotServed))
}

/// The same for a request of the binary protocol.
fn is_refused_native(result: &Result<Answer, Failure>) -> bool {
    result.as_ref().is_err_and(|failure| failure.status == Status::NoLeader)
}

impl<'a> Engine<'a> {
    /// The engine of the core that counts in `metrics`.
    pub(crate) fn new(
        node: &'a Node,
        metrics: &'a CoreMetrics,
        started: u64,
        clock: Clock,
    ) -> Self {
        let mark = clock.raw();
        Self {
            node,
            metrics,
            owners: node.served_owners(),
            now: Now::default(),
            loads: vec![ShardLoad::default(); node.loads.len()].into(),
            handover: Handover::default(),
            gate: Gate::default(),
            news: Vec::new(),
            durability: Durability::Memory,
            value_bytes_max: BULK_BYTES_MAX,
            memory_limit: MemoryLimit::default(),
            rooms_seen_at: vec![MonoUs::default(); node.shards.len()].into(),
            slow: Slow::default(),
            clock,
            started,
            slice: Slice { since: mark, ns: 0 },
            tracking: true,
            mark,
            turn: mark,
        }
    }

    /// Reads the clocks for a new turn.
    pub(crate) fn start_turn(&mut self) {
        self.mark = self.clock.raw();
        self.turn = self.mark;
        let mono = MonoUs(self.clock.delta_as_nanos(self.started, self.mark) / 1000);
        let unix =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.now = Now::new(unix, mono);
    }

    /// Notes how long the turn took.
    pub(crate) fn end_turn(&mut self) {
        self.end_step();
        self.metrics.longest_turn_ns.raise(self.clock.delta_as_nanos(self.turn, self.mark));
    }

    /// Notes the end of a step, the beginning of the next, and how long the one took that ends.
    #[inline]
    pub(crate) fn end_step(&mut self) -> u64 {
        self.end_step_of(Step::Other)
    }

    /// The same for a step of a known kind.
    #[inline]
    pub(crate) fn end_step_of(&mut self, step: Step) -> u64 {
        let end = self.clock.raw();
        let ns = self.clock.delta_as_nanos(self.mark, end);
        self.mark = end;
        if self.metrics.longest_step_ns.raise(ns) {
            self.metrics.longest_step.set(step);
        }
        ns
    }

    /// Takes what comes next for the beginning of a command.
    pub(crate) fn start_command(&mut self) {
        self.end_step();
    }

    /// Takes what comes next for the beginning of a client's slice of the turn. Answers the slice that
    /// it interrupts, for `resume_slice`.
    pub(crate) fn start_slice(&mut self) -> Slice {
        self.start_command();
        std::mem::replace(&mut self.slice, Slice { since: self.mark, ns: 0 })
    }

    /// Goes on with a slice that was interrupted.
    pub(crate) fn resume_slice(&mut self, slice: Slice) {
        self.slice = slice;
        self.start_command();
    }

    /// When the slice began, in ticks of the clock that all cores share.
    pub(crate) fn slice(&self) -> u64 {
        self.slice.since
    }

    /// When the clock was last read: what came last ended then.
    pub(crate) fn mark(&self) -> u64 {
        self.mark
    }

    /// Counts `count` requests that were in `stage` from one instant, in ticks, to another.
    #[inline]
    pub(crate) fn record_stage(&self, stage: Stage, from: u64, to: u64, count: u64) {
        self.metrics.record_stage(stage, self.clock.delta_as_nanos(from, to), count);
    }

    /// Whether the client has had its slice.
    pub(crate) fn slice_is_over(&self) -> bool {
        self.slice.ns >= SLICE_US * 1000
    }

    /// Runs a command whose keys all lie on `shard`, and appends its reply.
    #[inline]
    pub(crate) fn run(
        &mut self,
        shard: &mut Shard,
        client: &ClientInfo,
        call: &Call,
        args: &Args<'_>,
        out: &mut Vec<u8>,
    ) {
        self.widen_room(call.entry.command.flags, shard);
        let changes = self.changes_before(call, shard);
        let around = self.around(self.now);
        let start = out.len();
        let mut result = shard.execute(call, args, around, out);
        self.gate_changes(shard, changes);
        if let Some(error) = self.unfit_read(shard, call, is_refused(&result)) {
            out.truncate(start);
            self.handover.reply = None;
            result = Err(error);
        }
        self.finish_on(shard.id(), (call, client, args), result, out);
    }

    /// Notes the end of a command on `shard`, and writes its error if it failed.
    #[inline]
    pub(super) fn finish_on(
        &mut self,
        shard: ShardId,
        (call, client, args): (&Call, &ClientInfo, &Args<'_>),
        result: Result<(), Error>,
        out: &mut Vec<u8>,
    ) {
        let before = self.slice.ns;
        self.finish(call, client, args, result, out);
        self.loads[usize::from(shard.0)].count(self.slice.ns - before);
    }

    /// Runs a command over several shards, all held, and appends its reply.
    pub(crate) fn run_over(
        &mut self,
        shards: &mut [Option<&mut Shard>],
        client: &ClientInfo,
        call: &Call,
        args: &Args<'_>,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        let (mut result, changes) = self.execute_over(shards, call, args, out);
        self.gate_changes_over(shards, changes);
        if let Some(error) = self.unfit_read_over(shards, call, is_refused(&result)) {
            out.truncate(start);
            self.handover.reply = None;
            result = Err(error);
        }
        self.metrics.commands_multi_shard.increment();
        let before = self.slice.ns;
        self.finish(call, client, args, result, out);
        self.count_over(shards, self.slice.ns - before);
    }

    /// Runs a command over several shards, all held. Answers what came of it, and how the shards' journals were before:
    /// what is to be gated, unless the command goes on.
    pub(super) fn execute_over(
        &mut self,
        shards: &mut [Option<&mut Shard>],
        call: &Call,
        args: &Args<'_>,
        out: &mut Vec<u8>,
    ) -> (Result<(), Error>, Vec<Option<usize>>) {
        let flags = call.entry.command.flags;
        shards.iter_mut().flatten().for_each(|shard| self.widen_room(flags, shard));
        let changes = self.changes_before_over(call, shards);
        let around = self.around(self.now);
        (shard::execute_over(shards, call, args, around, out), changes)
    }

    /// What a command is run with, as of `now`.
    #[inline]
    pub(super) fn around(&mut self, now: Now) -> Around<'_> {
        let Self { owners, value_bytes_max, handover, .. } = self;
        Around { now, owners, value_bytes_max: *value_bytes_max, handover }
    }

    /// Notes the end of a part of a command; answers how many nanoseconds it took.
    pub(super) fn end_part(&mut self, call: &Call) -> u64 {
        let ns = self.end_step_of(Step::Command(call.entry.id));
        self.slice.ns += ns;
        ns
    }

    /// Runs a command that may block, over one or more shards, all held, and appends its reply. If it finds nothing it
    /// is not counted: answers how many milliseconds its client waits at most, 0 for ever, and how long it took, in
    /// nanoseconds.
    pub(crate) fn try_over(
        &mut self,
        shards: &mut [Option<&mut Shard>],
        client: &ClientInfo,
        call: &Call,
        args: &Args<'_>,
        out: &mut Vec<u8>,
    ) -> Option<(u64, u64)> {
        self.handover.wait_ms = None;
        let (result, changes) = self.execute_over(shards, call, args, out);
        if let (Ok(()), Some(wait_ms)) = (&result, self.handover.wait_ms.take()) {
            return Some((wait_ms, self.end_part(call)));
        }
        self.gate_changes_over(shards, changes);
        let before = self.slice.ns;
        self.finish(call, client, args, result, out);
        self.count_over(shards, self.slice.ns - before);
        None
    }

    /// Counts a command that has waited in vain after it had run for so long; with the error that ended its wait.
    pub(crate) fn count_unserved(&self, command: CommandId, ns: u64, error: Option<&str>) {
        if let Some(text) = error {
            self.metrics.count_error(text);
            self.metrics.count_failed(command);
        }
        self.metrics.record_command(command, ns, self.tracking);
    }

    /// Runs a command of either protocol on `shard`, and tells of what it has changed: see [`Engine::run`] and
    /// [`Engine::run_native`].
    #[inline]
    pub(crate) fn run_any(
        &mut self,
        shard: &mut Shard,
        client: &ClientInfo,
        call: &Call,
        args: &Args<'_>,
        out: &mut Vec<u8>,
    ) -> Option<ReplyHead> {
        let head = match &call.native {
            Some(native) => Some(self.run_native(shard, client, (call, native), args, out)),
            None => {
                self.run(shard, client, call, args, out);
                None
            }
        };
        self.attend_to(shard, Ran { client, call, args });
        head
    }

    /// Runs a command of either protocol over several shards, and tells of what it has changed: see
    /// [`Engine::run_over`] and [`Engine::run_native_over`].
    pub(crate) fn run_any_over(
        &mut self,
        shards: &mut [Option<&mut Shard>],
        client: &ClientInfo,
        call: &Call,
        args: &Args<'_>,
        out: &mut Vec<u8>,
    ) -> Option<ReplyHead> {
        let head = match &call.native {
            Some(native) => Some(self.run_native_over(shards, client, (call, native), args, out)),
            None => {
                self.run_over(shards, client, call, args, out);
                None
            }
        };
        self.attend_to_all(shards, Ran { client, call, args });
        head
    }

    /// Runs a request of the binary protocol whose keys all lie on `shard`: appends the body of its
    /// reply and answers the head.
    #[inline]
    pub(crate) fn run_native(
        &mut self,
        shard: &mut Shard,
        client: &ClientInfo,
        (call, native): (&Call, &Native),
        args: &Args<'_>,
        out: &mut Vec<u8>,
    ) -> ReplyHead {
        let start = out.len();
        self.widen_room(call.entry.command.flags, shard);
        let changes = self.changes_before(call, shard);
        let mut result = if self.is_late(native) {
            Err(TOO_LATE)
        } else {
            let around = self.around(self.now);
            shard.execute_native(call, native, args, around, out)
        };
        match &result {
            Ok(answer) if answer.is_repeated => self.gate_repeated(shard, changes.is_some()),
            // It may have been kept now, or before.
            Err(failure) if failure.status.is_final() && native.is_numbered() => {
                self.gate_repeated(shard, changes.is_some());
            }
            _ => self.gate_changes(shard, changes),
        }
        if let Some(error) = self.unfit_read(shard, call, is_refused_native(&result)) {
            out.truncate(start);
            self.handover.reply = None;
            result = Err(Failure::from(error));
        }
        let before = self.slice.ns;
        let head = self.finish_native((call, native), client, args, result, (start, out));
        self.loads[usize::from(shard.id().0)].count(self.slice.ns - before);
        head
    }

    /// The same over several shards, all held.
    pub(crate) fn run_native_over(
        &mut self,
        shards: &mut [Option<&mut Shard>],
        client: &ClientInfo,
        (call, native): (&Call, &Native),
        args: &Args<'_>,
        out: &mut Vec<u8>,
    ) -> ReplyHead {
        let start = out.len();
        shards
            .iter_mut()
            .flatten()
            .for_each(|shard| self.widen_room(call.entry.command.flags, shard));
        let changes = self.changes_before_over(call, shards);
        let mut result = if self.is_late(native) {
            Err(TOO_LATE)
        } else {
            let around = self.around(self.now);
            shard::execute_native_over(shards, call, native, args, around, out)
        };
        self.gate_changes_over(shards, changes);
        if let Some(error) = self.unfit_read_over(shards, call, is_refused_native(&result)) {
            out.truncate(start);
            self.handover.reply = None;
            result = Err(Failure::from(error));
        }
        self.metrics.commands_multi_shard.increment();
        let before = self.slice.ns;
        let head = self.finish_native((call, native), client, args, result, (start, out));
        self.count_over(shards, self.slice.ns - before);
        head
    }

    /// What there is of memory to share out among the shards.
    pub(crate) fn budget(&self) -> Budget {
        Budget::of(self.node, self.memory_limit)
    }

    /// Looks at the room of a shard that has used it up again, before keys are evicted for a write or the write is
    /// refused: there may be more by now.
    #[inline]
    pub(crate) fn widen_room(&mut self, flags: Flags, shard: &mut Shard) {
        if flags.contains(Flags::DENYOOM) && shard.is_over_limit() {
            self.look_at_room(shard);
        }
    }

    fn look_at_room(&mut self, shard: &mut Shard) {
        let id = shard.id();
        let seen_at = &mut self.rooms_seen_at[usize::from(id.0)];
        let is_fresh = self.now.mono.0 - seen_at.0 < ROOM_US_MAX;
        // A refusal is a client's to see: it is never for want of a look.
        if is_fresh && !shard.refuses_writes() {
            return;
        }
        *seen_at = self.now.mono;
        shard.set_room(self.budget().room_of(shard, self.node.shard(id)));
    }

    /// Changes that wait in the shard's journal before a command whose reply must wait for its own; nothing
    /// for any other command.
    #[inline]
    fn changes_before(&self, call: &Call, shard: &Shard) -> Option<usize> {
        self.waits_for_disk(call).then(|| shard.keyspace().changes_len())
    }

    #[inline]
    fn waits_for_disk(&self, call: &Call) -> bool {
        self.waits_unless_told(call.durability) && call.entry.command.flags.contains(Flags::WRITE)
    }

    /// Has the reply wait for the command's changes, if it has made any.
    #[inline]
    fn gate_changes(&mut self, shard: &mut Shard, before: Option<usize>) {
        if shard.is_replicated() {
            let on_disk = before.is_some_and(|before| shard.keyspace().changes_len() > before);
            return self.gate_replica(shard, on_disk);
        }
        if before.is_some_and(|before| shard.keyspace().changes_len() > before) {
            self.gate_all(shard);
        }
    }

    /// Has the reply to a write that was done before wait for what the first reply had to wait for, or still has: which
    /// change it was is not known, so for all so far.
    #[cold]
    fn gate_repeated(&mut self, shard: &mut Shard, on_disk: bool) {
        if shard.is_replicated() {
            self.gate_replica(shard, on_disk);
        } else if on_disk && let Some(index) = shard.want_sync_of_all() {
            self.gate.add(shard.id(), index);
        }
    }

    /// Has the reply of a command wait until what it has read and written is certain.
    pub(crate) fn gate_replica(&mut self, shard: &mut Shard, on_disk: bool) {
        let Some(awaited) = shard.awaited(on_disk) else { return };
        // What was refused because this replica does not lead says nothing that could be wrong.
        let is_certain = !shard.is_serving() || awaited.is_certain(self.mono_now());
        if !is_certain {
            self.gate.await_quorum(shard.id(), awaited, on_disk);
        }
    }

    /// The time now, by the clock.
    pub(crate) fn mono_now(&self) -> MonoUs {
        self.mono(self.clock.raw())
    }

    /// Whether writes wait for the disk that name no durability themselves, of a client that chose
    /// `durability` or none.
    #[inline]
    pub(crate) fn waits_unless_told(&self, durability: Option<Durability>) -> bool {
        durability.unwrap_or(self.durability) == Durability::Sync
    }

    /// Has the replies wait for all changes of a shard so far.
    pub(crate) fn gate_all(&mut self, shard: &mut Shard) {
        if shard.keyspace().changes_len() > 0
            && let Some(index) = shard.want_sync()
        {
            self.gate.add(shard.id(), index);
        }
    }

    pub(super) fn changes_before_over(
        &self,
        call: &Call,
        shards: &[Option<&mut Shard>],
    ) -> Vec<Option<usize>> {
        let before = |shard: &Option<&mut Shard>| self.changes_before(call, shard.as_ref()?);
        shards.iter().map(before).collect()
    }

    pub(super) fn gate_changes_over(
        &mut self,
        shards: &mut [Option<&mut Shard>],
        before: Vec<Option<usize>>,
    ) {
        for (shard, before) in shards.iter_mut().zip(before) {
            if let Some(shard) = shard {
                self.gate_changes(shard, before);
            }
        }
    }

    pub(super) fn count_over(&mut self, shards: &[Option<&mut Shard>], ns: u64) {
        let held = self.loads.iter_mut().zip(shards).filter(|(_, shard)| shard.is_some());
        held.for_each(|(load, _)| load.count(ns));
    }

    /// Whether a request may not be begun any more.
    #[inline]
    pub(crate) fn is_late(&self, native: &Native) -> bool {
        native.deadline.is_some_and(|deadline| self.mono(self.clock.raw()) >= deadline)
    }

    /// An instant in ticks of the clock as a time.
    pub(crate) fn mono(&self, ticks: u64) -> MonoUs {
        MonoUs(self.clock.delta_as_nanos(self.started, ticks) / 1000)
    }

    /// Notes the end of a request of the binary protocol whose body begins at `start`; answers the head
    /// of its reply. What it failed with is the body then.
    #[inline]
    pub(crate) fn finish_native(
        &mut self,
        call: (&Call, &Native),
        client: &ClientInfo,
        args: &Args<'_>,
        result: Result<Answer, Failure>,
        out: (usize, &mut Vec<u8>),
    ) -> ReplyHead {
        self.finish_native_after(0, call, (client, args), result, out)
    }

    /// The same for one that has taken so many nanoseconds before its last step.
    #[inline]
    pub(super) fn finish_native_after(
        &mut self,
        before_ns: u64,
        (call, native): (&Call, &Native),
        (client, args): (&ClientInfo, &Args<'_>),
        result: Result<Answer, Failure>,
        (start, out): (usize, &mut Vec<u8>),
    ) -> ReplyHead {
        let ns = before_ns + self.end_part(call);
        let (id, opcode) = (native.head.id, native.head.opcode);
        let result = match result {
            Ok(_) if out.len() - start > BINARY_REPLY_BODY_BYTES_MAX => {
                out.truncate(start);
                Err(REPLY_TOO_LONG)
            }
            result => result,
        };
        let head = match result {
            Ok(Answer { status, shard, version, .. }) => {
                ReplyHead { shard, version, ..ReplyHead::new(id, opcode, status) }
            }
            Err(failure) => {
                out.extend_from_slice(failure.text.as_bytes());
                self.metrics.count_error(&failure.text);
                let head = ReplyHead::new(id, opcode, failure.status);
                if failure.is_rejection() {
                    self.metrics.count_rejected(call.entry.id);
                    return head;
                }
                self.metrics.count_failed(call.entry.id);
                head
            }
        };
        self.metrics.record_command(call.entry.id, ns, self.tracking);
        if ns >= self.slow.least_ns {
            self.note_slow(ns, call, client, args);
        }
        head
    }

    /// A request of the binary protocol that was not run at all: the body of its reply is appended, the
    /// head answered.
    pub(crate) fn reject_native(
        &mut self,
        entry: Option<&Entry>,
        (id, opcode): (u32, u8),
        failure: &Failure,
        out: &mut Vec<u8>,
    ) -> ReplyHead {
        out.extend_from_slice(failure.text.as_bytes());
        self.metrics.count_error(&failure.text);
        if let Some(entry) = entry {
            self.metrics.count_rejected(entry.id);
        }
        ReplyHead::new(id, opcode, failure.status)
    }

    /// Notes the end of a command, and writes its error if it failed.
    #[inline]
    pub(crate) fn finish(
        &mut self,
        call: &Call,
        client: &ClientInfo,
        args: &Args<'_>,
        result: Result<(), Error>,
        out: &mut Vec<u8>,
    ) {
        self.finish_after(0, (call, client, args), result, out);
    }

    /// The same for one that has taken so many nanoseconds before its last step.
    #[inline]
    pub(super) fn finish_after(
        &mut self,
        before_ns: u64,
        (call, client, args): (&Call, &ClientInfo, &Args<'_>),
        result: Result<(), Error>,
        out: &mut Vec<u8>,
    ) {
        let ns = before_ns + self.end_part(call);
        if let Err(error) = result {
            self.write_error(&error, call, out);
            if matches!(error, Error::OutOfMemory | Error::LogRefused(_) | Error::NotDurable(_)) {
                self.metrics.count_rejected(call.entry.id);
                return;
            }
            self.metrics.count_failed(call.entry.id);
        }
        self.metrics.record_command(call.entry.id, ns, self.tracking);
        if ns >= self.slow.least_ns {
            self.note_slow(ns, call, client, args);
        }
    }

    /// Notes the end of `EXEC`, which began at `since`, and writes its error if it failed. What it ran was
    /// noted by itself, and is in its time.
    pub(crate) fn finish_exec(
        &mut self,
        call: &Call,
        client: &ClientInfo,
        args: &Args<'_>,
        result: Result<(), Error>,
        (since, out): (u64, &mut Vec<u8>),
    ) {
        self.slice.ns += self.end_step_of(Step::Command(call.entry.id));
        if let Err(error) = result {
            self.write_error(&error, call, out);
            self.metrics.count_failed(call.entry.id);
        }
        let ns = self.clock.delta_as_nanos(since, self.mark);
        self.metrics.record_command(call.entry.id, ns, self.tracking);
        if ns >= self.slow.least_ns {
            self.note_slow(ns, call, client, args);
        }
    }

    /// Notes the end of a command on `shard` that has succeeded. Answers how long it took, if that was
    /// long: [`note_slow`](Self::note_slow) is to be told.
    #[inline]
    pub(crate) fn finish_plain(&mut self, shard: ShardId, command: CommandId) -> Option<u64> {
        let ns = self.end_step();
        self.slice.ns += ns;
        self.metrics.record_command(command, ns, self.tracking);
        self.loads[usize::from(shard.0)].count(ns);
        (ns >= self.slow.least_ns).then_some(ns)
    }

    /// A command that was not run at all: wrong arguments, no permission.
    pub(crate) fn reject(&mut self, entry: Option<&Entry>, error: &Error, reply: &mut Reply<'_>) {
        let text = error.to_string();
        reply.error(&text);
        self.metrics.count_error(&text);
        if let Some(entry) = entry {
            self.metrics.count_rejected(entry.id);
        }
    }

    /// Takes over from `config` which commands are slow, and whether their latencies are kept.
    pub(crate) fn configure(&mut self, config: &Config) {
        self.tracking = config.latency_tracking;
        self.durability = config.durability;
        self.value_bytes_max = config.proto_max_bulk_len_bytes;
        self.memory_limit = MemoryLimit::of(config);
        let log_ns = u64::try_from(config.slowlog_log_slower_than_us)
            .map_or(u64::MAX, |us| us.saturating_mul(1000));
        let spike_ns = match config.latency_monitor_threshold_ms {
            0 => u64::MAX,
            ms => ms.saturating_mul(1_000_000),
        };
        let log_length = usize::try_from(config.slowlog_max_len).unwrap_or(usize::MAX);
        self.slow = Slow { least_ns: log_ns.min(spike_ns), log_ns, spike_ns, log_length };
    }

    /// A command that took long, by either of the two measures.
    #[cold]
    pub(crate) fn note_slow(&self, ns: u64, call: &Call, client: &ClientInfo, args: &Args<'_>) {
        let flags = call.entry.command.flags;
        if ns >= self.slow.spike_ns {
            let event = if flags.contains(Flags::FAST) { "fast-command" } else { "command" };
            self.node.latency_events.record(event, ns / 1_000_000, self.now.unix);
        }
        if ns < self.slow.log_ns || flags.contains(Flags::SKIP_SLOWLOG) {
            return;
        }
        let names = (client.addr.to_string(), client.names().name.clone());
        let shown = redact::shown(call.entry, args, call.is_operation());
        self.node.slow_log.add(shown, ns / 1000, self.now.unix, names, self.slow.log_length);
    }

    fn write_error(&mut self, error: &Error, call: &Call, out: &mut Vec<u8>) {
        let text = error.to_string();
        Reply::new(out, call.proto).error(&text);
        self.metrics.count_error(&text);
    }

    /// Adds what this core has done for shards to the sums that others read.
    pub(crate) fn flush_loads(&mut self) {
        for (load, sum) in self.loads.iter_mut().zip(&self.node.loads) {
            if load.commands > 0 {
                sum.add(std::mem::take(load));
            }
        }
    }
}
