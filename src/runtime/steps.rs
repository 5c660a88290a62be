//! Commands that take very long, run in steps over many turns.
//!
//! What such a command reads must not change until it is done, so it keeps the tokens of its shards, as a command over
//! several shards does that gathers them (`multi`), and whatever comes for these shards queues up. All else goes on
//! between its steps: other shards, commands on the session, messages, links, timers.

use super::attend::Ran;
use super::connection::Connection;
use super::core::Core;
use super::engine::{Engine, is_refused};
use super::multi::{Command, Gathered, held_by};
use super::ring::Token;
use super::shards::ShardHolder;
use crate::command::Error;
use crate::command::steps::{Progress, Steps, asks_for_much};
use crate::limits::STEPWISE_BYTES_MIN;
use crate::protocol::Args;
use crate::shard::{self, Call, Shard};
use crate::types::{Now, ShardId};

/// A command in between two of its steps.
pub(crate) struct Stepping<'a> {
    connection: Token,
    command: Command,
    rest: Rest,
    /// In shard order.
    holders: Vec<ShardHolder<'a>>,
    /// What there is of the reply.
    reply: Vec<u8>,
}

/// What is left of a command.
pub(super) struct Rest {
    steps: Box<dyn Steps>,
    /// When it began: nothing that it reads expires meanwhile.
    began: Now,
    /// How long its steps have taken.
    ns: u64,
}

impl Engine<'_> {
    /// Runs a command over one or more shards, all held, that may be left half done: then the rest of it is answered,
    /// and it has not been counted.
    pub(super) fn begin_over(
        &mut self,
        shards: &mut [Option<&mut Shard>],
        ran: Ran<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Rest> {
        let Ran { call, args, .. } = ran;
        let began = self.now;
        self.handover.may_pause = true;
        let (result, changes) = self.execute_over(shards, call, args, out);
        self.handover.may_pause = false;
        if let (Ok(()), Some(steps)) = (&result, self.handover.steps.take()) {
            return Some(Rest { steps, began, ns: self.end_part(call) });
        }
        self.gate_changes_over(shards, changes);
        self.end_over(shards, ran, 0, result, out);
        None
    }

    /// Takes the next step of such a command.
    fn step_over(
        &mut self,
        shards: &mut [Option<&mut Shard>],
        ran: Ran<'_>,
        rest: &mut Rest,
        out: &mut Vec<u8>,
    ) -> Progress {
        let Ran { call, args, .. } = ran;
        self.metrics.command_steps.increment();
        let changes = self.changes_before_over(call, shards);
        let around = self.around(rest.began);
        let progress = shard::step_over(shards, &mut *rest.steps, (call, args), around, out);
        if progress == Progress::Begun {
            rest.ns += self.end_part(call);
            return progress;
        }
        self.gate_changes_over(shards, changes);
        self.end_over(shards, ran, rest.ns, Ok(()), out);
        progress
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
    ) {
        let Ran { client, call, args } = ran;
        if let Some(error) = self.unfit_read_over(shards, call, is_refused(&result)) {
            out.clear();
            result = Err(error);
        }
        let before = self.slice.ns;
        self.finish_after(before_ns, (call, client, args), result, out);
        self.count_over(shards, before_ns + self.slice.ns - before);
        self.attend_to_all(shards, ran);
    }
}

impl<'a> Core<'a> {
    /// Whether a command is to be run in steps by itself: it can be, and there is much to do.
    pub(super) fn runs_in_steps(
        &mut self,
        connection: &Connection,
        call: &Call,
        args: &Args<'_>,
        shards: &[ShardId],
    ) -> bool {
        if !may_step(call, args) || connection.session.transaction.is_running {
            return false;
        }
        let (slots, now) = (self.node.slots, self.engine.now);
        let bytes_of = |shard: &ShardId| {
            let shard = self.shards.borrow(*shard);
            shard.map_or(0, |shard| shard.bytes_named(call, args, slots, now))
        };
        shards.iter().map(bytes_of).sum::<usize>() > STEPWISE_BYTES_MIN
    }

    /// Begins a command that holds all it needs and that can be run in steps. Answers what came of it if that is all,
    /// else it goes on in this turn and the next.
    pub(super) fn begin_steps(
        &mut self,
        connection: Token,
        command: Command,
        mut holders: Vec<ShardHolder<'a>>,
    ) -> Option<(Gathered, Vec<ShardHolder<'a>>)> {
        let mut reply = Vec::new();
        let gate = std::mem::take(&mut self.engine.gate);
        let args = command.args();
        let mut shards = held_by(self.node, &mut holders);
        let rest = self.engine.begin_over(&mut shards, command.ran(&args), &mut reply);
        let gate = std::mem::replace(&mut self.engine.gate, gate);
        let Some(rest) = rest else {
            return Some((command.answered(None, reply, gate), holders));
        };
        self.stepping.push(Stepping { connection, command, rest, holders, reply });
        None
    }

    /// Goes on with all commands that are run in steps, with each for no longer than a client's slice of a turn.
    pub(super) fn take_steps(&mut self) {
        for stepping in std::mem::take(&mut self.stepping) {
            self.engine.start_slice();
            self.go_on_stepping(stepping);
        }
    }

    fn go_on_stepping(&mut self, mut stepping: Stepping<'a>) {
        let gate = std::mem::take(&mut self.engine.gate);
        let progress = self.step_while_there_is_time(&mut stepping);
        let gate = std::mem::replace(&mut self.engine.gate, gate);
        if progress == Progress::Begun {
            return self.stepping.push(stepping);
        }
        let Stepping { connection, command, holders, reply, .. } = stepping;
        self.end_gathered(connection, command.answered(None, reply, gate), holders);
    }

    fn step_while_there_is_time(&mut self, stepping: &mut Stepping<'a>) -> Progress {
        let Stepping { command, rest, holders, reply, .. } = stepping;
        let args = command.args();
        let ran = command.ran(&args);
        let mut shards = held_by(self.node, holders);
        // A replica says nothing while it is held: before others elect another leader, the rest is done at once.
        let held_us = self.engine.now.mono.0.saturating_sub(rest.began.mono.0);
        let is_pressing = held_us > self.config.election_timeout_ms * 1000 / 3
            && shards.iter().flatten().any(|shard| shard.is_replicated());
        loop {
            let progress = self.engine.step_over(&mut shards, ran, rest, reply);
            if progress == Progress::Done || self.engine.slice_is_over() && !is_pressing {
                return progress;
            }
        }
    }
}

/// Whether a command can be run in steps.
pub(super) fn may_step(call: &Call, args: &Args<'_>) -> bool {
    call.native.is_none() && asks_for_much(call.entry, args)
}
