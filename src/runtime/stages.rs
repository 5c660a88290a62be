//! Records where the time of requests goes (`metrics::stages` draws the axis).
//!
//! Nothing here costs more than a few instructions a batch, and one more look at the clock a turn: the
//! instants are those at which the engine looked at the clock anyway. Where that is not the exact
//! instant, the one is taken that makes the latency longer.

use super::batch::Batch;
use super::connection::{Block, Connection};
use super::core::Core;
use super::ring::{Completion, Op};
use super::timeline::Answered;
use super::turn::{Arrival, Return};
use crate::metrics::Stage;

/// What one core knows of the times of its turn.
#[derive(Debug, Default)]
pub(super) struct Stages {
    /// Whether the core may fall asleep in the kernel: it asked to, and nothing had come.
    pub(super) may_sleep: bool,
    arrival: Arrival,
    /// The earliest instant at which the requests that are being run can have come.
    arrived: u64,
    /// Replies handed to the ring in this turn.
    handed_over: Vec<Answered>,
    /// Replies handed to the ring in the turn before, and when.
    sending: Sending,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sending {
    replies: u64,
    since: u64,
}

impl Stages {
    /// The earliest instant at which what this turn received can have come, in ticks.
    pub(super) fn earliest(&self) -> u64 {
        self.arrival.earliest()
    }

    /// The same for the requests that are being run, which may have been kept for a while.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived
    }
}

impl Core<'_> {
    /// The core is back from the kernel, with `completions`.
    pub(super) fn note_return(&mut self, completions: &[Completion]) {
        let at = self.engine.mark();
        let (mut sent, mut receives, mut heard, mut last) = (false, 0, 0, None);
        for Completion { op, token, .. } in completions {
            // A send completes while it is submitted, and then there is something not to sleep over.
            sent |= *op == Op::Send;
            if *op == Op::Receive {
                receives += 1;
                // Several receives of one connection complete one after another.
                heard += usize::from(last.replace(*token) != Some(*token));
            }
        }
        let sending = std::mem::take(&mut self.stages.sending);
        if sent && sending.replies > 0 {
            self.engine.record_stage(Stage::Send, sending.since, at, sending.replies);
        }
        self.stages.arrival.look(Return {
            at,
            slept: self.stages.may_sleep && !sent,
            receives,
            more: self.ring.has_work(),
            silent: self.connections.len().saturating_sub(heard),
        });
    }

    /// Runs the requests in `bytes`, as [`run_requests`](Self::run_requests) does, and records how long
    /// they had waited and how long they took together.
    pub(super) fn run_timed(&mut self, connection: &mut Connection, bytes: &[u8]) -> usize {
        let kept = connection.timeline.kept_since();
        let arrived = kept.unwrap_or(self.stages.arrival.earliest());
        let stage = if kept.is_some() { Stage::Held } else { Stage::Ring };
        let processed = &self.engine.metrics.commands_processed;
        let (before, owed) = (processed.total(), connection.owed());
        self.stages.arrived = arrived;
        let consumed = self.run_requests(connection, bytes);
        let requests = processed.total() - before;
        if requests > 0 {
            let left = connection.owed().saturating_sub(owed) as u64;
            self.note_batch(connection, stage, (requests, left));
        }
        if connection.is_running() {
            connection.timeline.nothing_kept();
        } else if kept.is_some() {
            connection.timeline.run(consumed);
        } else if consumed < bytes.len() {
            connection.timeline.keep(bytes.len() - consumed, arrived);
        }
        consumed
    }

    fn note_batch(
        &mut self,
        connection: &mut Connection,
        stage: Stage,
        (requests, left): (u64, u64),
    ) {
        let (arrived, started, ended) =
            (self.stages.arrived, self.engine.slice(), self.engine.mark());
        self.engine.record_stage(stage, arrived, started, requests);
        self.engine.record_stage(Stage::Batch, started, ended, requests);
        let ticket = connection.last_ticket();
        // What was left to other cores and is answered in any order has its own way back.
        let requests = requests.saturating_sub(left);
        let mut answered = Answered { arrived, ended, requests, ticket };
        if connection.is_blocked_by(Block::Shards) {
            connection.timeline.gathers(Answered { requests: 1, ..answered });
            answered.requests = answered.requests.saturating_sub(1);
        }
        if connection.is_blocked_by(Block::Waiting) {
            // The last is not answered, and how long it waits tells nothing of the server.
            answered.requests = answered.requests.saturating_sub(1);
        }
        if answered.requests > 0 {
            connection.timeline.answered(answered);
        }
    }

    /// Remembers when bytes came that can't be run now, if that is so.
    pub(super) fn keep_time(&mut self, connection: &mut Connection, bytes: &[u8]) {
        if !connection.is_running() {
            connection.timeline.keep(bytes.len(), self.stages.arrival.earliest());
        }
    }

    /// The replies of a batch that was left to another core are here.
    pub(super) fn note_hop(&mut self, batch: &Batch) {
        self.engine.start_command();
        let replies = batch.ran as u64;
        self.engine.record_stage(Stage::Hop, batch.left_at, self.engine.mark(), replies);
    }

    /// The same for its connection: replies that keep no order are answered by themselves, those that do
    /// with the batch that they were sent in.
    pub(super) fn note_return_of(connection: &mut Connection, batch: &Batch) {
        if connection.binary.is_some() {
            let (arrived, ended) = (batch.arrived, batch.left_at);
            let (requests, ticket) = (batch.ran as u64, batch.ticket);
            connection.timeline.answered(Answered { arrived, ended, requests, ticket });
        }
    }

    /// A send with all replies that are ready was handed to the ring.
    pub(super) fn note_handed_over(&mut self, connection: &mut Connection) {
        let waiting = connection.output.oldest_ticket();
        while let Some(answered) = connection.timeline.hand_over(waiting) {
            self.stages.handed_over.push(answered);
        }
    }

    /// The turn is over: what was handed to the ring goes to the kernel.
    pub(super) fn note_end_of_turn(&mut self) {
        self.engine.start_command();
        let now = self.engine.mark();
        let mut replies = 0;
        for answered in self.stages.handed_over.drain(..) {
            let Answered { arrived, ended, requests, .. } = answered;
            self.engine.record_stage(Stage::Reply, ended, now, requests);
            self.engine.record_stage(Stage::Total, arrived, now, requests);
            replies += requests;
        }
        self.stages.sending = Sending { replies, since: now };
    }
}
