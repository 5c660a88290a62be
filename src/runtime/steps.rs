//! Commands that take very long, run in steps over many turns.
//!
//! What such a command reads must not change until it is done, so it keeps the tokens of its shards, as a command over
//! several shards does that gathers them (`multi`), and whatever comes for these shards queues up. All else goes on
//! between its steps: other shards, commands on the session, messages, links, timers.
//!
//! Whether a command is worth it is decided when its turn comes, for only who holds a shard can tell how much there is
//! to do: where it was asked for if its shards are at hand, else by whoever serves their queues (`queue`).

use super::attend::Ran;
use super::batch::Batch;
use super::connection::Connection;
use super::core::Core;
use super::engine::{Engine, is_refused};
use super::gate::Gate;
use super::multi::{Command, Gathered, held_by};
use super::ring::Token;
use super::shards::ShardHolder;
use crate::command::Error;
use crate::command::binary::{Failure, TOO_LATE};
use crate::command::steps::{Progress, Steps, worth_from_bytes};
use crate::protocol::Args;
use crate::protocol::binary::ReplyHead;
use crate::shard::{self, Call, Shard};
use crate::types::{Now, ShardId, SlotMap};

/// A command in between two of its steps.
pub(crate) struct Stepping<'a> {
    origin: Origin,
    rest: Rest,
    /// In shard order.
    holders: Vec<ShardHolder<'a>>,
    /// What there is of the reply.
    reply: Vec<u8>,
}

/// Where a command comes from.
enum Origin {
    /// From this connection.
    Connection(Token, Command),
    /// It is the next of these, which were left for whoever holds their shard.
    Batch(Box<Batch>),
}

impl Origin {
    /// Lets `run` run the command.
    fn with<R>(&self, run: impl FnOnce(Ran<'_>) -> R) -> R {
        match self {
            Self::Connection(_, command) => run(command.ran(&command.args())),
            Self::Batch(batch) => {
                let (call, args) = batch.next().expect("its command has not been run");
                run(Ran { client: &batch.client, call, args: &args })
            }
        }
    }
}

/// What is left of a command.
pub(super) struct Rest {
    steps: Box<dyn Steps>,
    /// When it began: nothing that it reads expires meanwhile.
    began: Now,
    /// How the shards' journals were then: its reply waits for what any of its steps has changed.
    changes: Vec<Option<usize>>,
    /// How long its steps have taken.
    ns: u64,
}

/// How far a command has come.
enum Stage {
    /// It has been answered; in the binary protocol with this head.
    Done(Option<ReplyHead>),
    /// This is left to be done.
    Begun(Rest),
}

impl Engine<'_> {
    /// Runs a command over one or more shards, all held, that may be left half done: then it has not been counted.
    fn begin_over(
        &mut self,
        shards: &mut [Option<&mut Shard>],
        ran: Ran<'_>,
        out: &mut Vec<u8>,
    ) -> Stage {
        let Ran { client, call, args } = ran;
        if let Some(native) = &call.native
            && let Err(failure) = self.admit_native_over(shards, call)
        {
            let head = self.finish_native((call, native), client, args, Err(failure), (0, out));
            return Stage::Done(Some(head));
        }
        let began = self.now;
        self.handover.may_pause = true;
        let (result, changes) = self.execute_over(shards, call, args, out);
        self.handover.may_pause = false;
        if let (Ok(()), Some(steps)) = (&result, self.handover.steps.take()) {
            return Stage::Begun(Rest { steps, began, changes, ns: self.end_part(call) });
        }
        self.gate_changes_over(shards, changes);
        Stage::Done(self.end_over(shards, ran, 0, result, out))
    }

    /// Whether a request of the binary protocol may be begun.
    fn admit_native_over(&self, shards: &[Option<&mut Shard>], call: &Call) -> Result<(), Failure> {
        match &call.native {
            Some(native) if self.is_late(native) => Err(TOO_LATE),
            Some(native) => shard::check_token_over(shards, native),
            None => Ok(()),
        }
    }

    /// Takes the next step of such a command.
    fn step_over(
        &mut self,
        shards: &mut [Option<&mut Shard>],
        ran: Ran<'_>,
        mut rest: Rest,
        out: &mut Vec<u8>,
    ) -> Stage {
        let Ran { call, args, .. } = ran;
        self.metrics.command_steps.increment();
        let around = self.around(rest.began);
        let progress = shard::step_over(shards, &mut *rest.steps, (call, args), around, out);
        if let Ok(Progress::Begun) = progress {
            rest.ns += self.end_part(call);
            return Stage::Begun(rest);
        }
        self.gate_changes_over(shards, rest.changes);
        Stage::Done(self.end_over(shards, ran, rest.ns, progress.map(|_| ()), out))
    }

    /// Notes the end of a command whose parts took so many nanoseconds before the last, and tells of what it has
    /// changed.
    fn end_over(
        &mut self,
        shards: &mut [Option<&mut Shard>],
        ran: Ran<'_>,
        before_ns: u64,
        mut result: Result<(), Error>,
        out: &mut Vec<u8>,
    ) -> Option<ReplyHead> {
        let Ran { client, call, args } = ran;
        if let Some(error) = self.unfit_read_over(shards, call, is_refused(&result)) {
            result = Err(error);
        }
        if result.is_err() {
            out.clear();
        }
        if shards.iter().flatten().count() > 1 {
            self.metrics.commands_multi_shard.increment();
        }
        let before = self.slice.ns;
        let head = match &call.native {
            None => {
                self.finish_after(before_ns, (call, client, args), result, out);
                None
            }
            Some(native) => {
                let result = result.map(|()| shard::answer_over(shards)).map_err(Failure::from);
                let (call, out) = ((call, native), (0, out));
                Some(self.finish_native_after(before_ns, call, (client, args), result, out))
            }
        };
        self.count_over(shards, before_ns + self.slice.ns - before);
        self.attend_to_all(shards, ran);
        head
    }
}

impl<'a> Core<'a> {
    /// Whether a command is to be run in steps by itself, as far as can be told here: shards that are not at hand are
    /// looked at when they are.
    pub(super) fn runs_in_steps(
        &mut self,
        connection: &Connection,
        call: &Call,
        args: &Args<'_>,
        shards: &[ShardId],
    ) -> bool {
        if connection.session.transaction.is_running {
            return false;
        }
        let (slots, now) = (self.node.slots, self.engine.now);
        let bytes_of = |shard: &ShardId| {
            let shard = self.shards.borrow(*shard);
            shard.map_or(0, |shard| shard.bytes_named(call, args, slots, now))
        };
        is_worth_steps(call, args, || shards.iter().map(bytes_of).sum())
    }

    /// Begins a command that holds all it needs and that can be run in steps. Answers what came of it if that is all,
    /// else it goes on in this turn and the next.
    pub(super) fn begin_steps(
        &mut self,
        connection: Token,
        command: Command,
        holders: Vec<ShardHolder<'a>>,
    ) -> Option<(Gathered, Vec<ShardHolder<'a>>)> {
        let finished = self.begin(Origin::Connection(connection, command), holders)?;
        let Finished { origin, holders, head, reply, gate } = finished;
        let Origin::Connection(_, command) = origin else { unreachable!("it has come from there") };
        Some((command.answered(head, reply, gate), holders))
    }

    /// Whether the first of commands that were left for whoever holds their shard is to be run in steps.
    pub(super) fn begins_with_much(&self, batch: &Batch, holder: &mut ShardHolder<'a>) -> bool {
        let with = (self.node.slots, self.engine.now);
        batch.next().is_some_and(|(call, args)| is_much(holder.value(), call, &args, with))
    }

    /// Begins the first of such commands. Answers the token if that was all of it.
    pub(super) fn begin_batch_steps(
        &mut self,
        batch: Box<Batch>,
        holder: ShardHolder<'a>,
    ) -> Option<ShardHolder<'a>> {
        let slice = self.engine.start_slice();
        let finished = self.begin(Origin::Batch(batch), vec![holder]);
        self.engine.resume_slice(slice);
        let Finished { origin, mut holders, head, reply, gate } = finished?;
        if let Origin::Batch(batch) = origin {
            self.answer_next(batch, head, reply, gate);
        }
        holders.pop()
    }

    fn answer_next(
        &mut self,
        mut batch: Box<Batch>,
        head: Option<ReplyHead>,
        reply: Vec<u8>,
        gate: Gate,
    ) {
        batch.answer_next(self.engine.owners.epoch(), head, reply);
        batch.gate = gate;
        self.send_back(batch);
    }

    fn begin(&mut self, origin: Origin, mut holders: Vec<ShardHolder<'a>>) -> Option<Finished<'a>> {
        let (mut reply, gate) = (Vec::new(), std::mem::take(&mut self.engine.gate));
        let handover = std::mem::take(&mut self.engine.handover);
        let mut shards = held_by(self.node, &mut holders);
        let stage = origin.with(|ran| self.engine.begin_over(&mut shards, ran, &mut reply));
        self.engine.handover = handover;
        let gate = std::mem::replace(&mut self.engine.gate, gate);
        match stage {
            Stage::Done(head) => Some(Finished { origin, holders, head, reply, gate }),
            Stage::Begun(rest) => {
                self.stepping.push(Stepping { origin, rest, holders, reply });
                None
            }
        }
    }

    /// Goes on with all commands that are run in steps, with each for no longer than a client's slice of a turn.
    pub(super) fn take_steps(&mut self) {
        for stepping in std::mem::take(&mut self.stepping) {
            self.engine.start_slice();
            self.go_on_stepping(stepping);
        }
    }

    fn go_on_stepping(&mut self, stepping: Stepping<'a>) {
        let gate = std::mem::take(&mut self.engine.gate);
        let Stepping { origin, rest, mut holders, mut reply } = stepping;
        let mut shards = held_by(self.node, &mut holders);
        let stage =
            origin.with(|ran| self.step_while_there_is_time(&mut shards, ran, rest, &mut reply));
        let gate = std::mem::replace(&mut self.engine.gate, gate);
        let head = match stage {
            Stage::Begun(rest) => {
                return self.stepping.push(Stepping { origin, rest, holders, reply });
            }
            Stage::Done(head) => head,
        };
        match origin {
            Origin::Connection(token, command) => {
                self.end_gathered(token, command.answered(head, reply, gate), holders);
            }
            Origin::Batch(batch) => {
                self.answer_next(batch, head, reply, gate);
                holders.into_iter().for_each(|holder| self.give_back(holder));
            }
        }
    }

    fn step_while_there_is_time(
        &mut self,
        shards: &mut [Option<&mut Shard>],
        ran: Ran<'_>,
        mut rest: Rest,
        reply: &mut Vec<u8>,
    ) -> Stage {
        // A replica says nothing while it is held: before others elect another leader, the rest is done at once.
        let held_us = self.engine.now.mono.0.saturating_sub(rest.began.mono.0);
        let is_pressing = held_us > self.config.election_timeout_ms * 1000 / 3
            && shards.iter().flatten().any(|shard| shard.is_replicated());
        loop {
            match self.engine.step_over(shards, ran, rest, reply) {
                Stage::Begun(left) if !self.engine.slice_is_over() || is_pressing => rest = left,
                stage => return stage,
            }
        }
    }
}

/// A command that has been answered.
struct Finished<'a> {
    origin: Origin,
    holders: Vec<ShardHolder<'a>>,
    head: Option<ReplyHead>,
    reply: Vec<u8>,
    /// What the reply has to wait for.
    gate: Gate,
}

/// Whether a command whose keys hold so many bytes is to be run in steps. The binary protocol's own operations are all
/// short.
fn is_worth_steps(call: &Call, args: &Args<'_>, bytes: impl FnOnce() -> usize) -> bool {
    !call.is_operation() && worth_from_bytes(call.entry, args).is_some_and(|least| bytes() > least)
}

/// Whether a command on one shard, which is held, is to be run in steps.
pub(super) fn is_much(
    shard: &mut Shard,
    call: &Call,
    args: &Args<'_>,
    with: (SlotMap, Now),
) -> bool {
    is_much_over(&mut [Some(shard)], call, args, with)
}

/// The same for one over several.
pub(super) fn is_much_over(
    shards: &mut [Option<&mut Shard>],
    call: &Call,
    args: &Args<'_>,
    (slots, now): (SlotMap, Now),
) -> bool {
    let bytes_of = |shard: &mut &mut Shard| shard.bytes_named(call, args, slots, now);
    is_worth_steps(call, args, || shards.iter_mut().flatten().map(bytes_of).sum())
}
