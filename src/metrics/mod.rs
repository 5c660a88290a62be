//! What a core counts, and how others read it.
//!
//! Every counter has one writer, the core it belongs to, so it is written by a plain load and store;
//! readers see a value that may be a moment old. Latencies are counters too, one a cell of a histogram;
//! sums over cores are made when somebody asks. Only errors by code, which are rare, take a lock.

pub mod commands;
pub mod counter;
pub mod latencies;
pub mod rates;
pub mod stages;
pub mod step;

pub use commands::CommandStats;
pub use counter::{Counter, Gauge, Peak};
pub use latencies::{Counts, Latencies};
pub use rates::{Rates, Totals};
pub use stages::Stage;
pub use step::{Step, StepCell};

use commands::Commands;
use stages::Stages;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A command's place in the command table, by which its metrics are indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u16);

/// Most different error codes that are counted apart.
const ERROR_CODES_MAX: usize = 128;

/// What one core counts. Aligned so that no two cores write to one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CoreMetrics {
    /// Connections accepted.
    pub connections_received: Counter,
    /// Connections closed at once: `maxclients`, protected mode.
    pub connections_rejected: Counter,
    /// Connections that came from another core because their first key lives here.
    pub connections_moved_in: Counter,
    /// Connections that left for the core of their first key.
    pub connections_moved_out: Counter,
    /// Commands run, errors included.
    pub commands_processed: Counter,
    /// Commands whose keys lie on more than one shard.
    pub commands_multi_shard: Counter,
    /// Steps of commands that were run in steps.
    pub command_steps: Counter,
    /// Reads answered by a follower.
    pub follower_reads: Counter,
    /// Reads that a follower was to answer and was too far behind for, so that their clients were sent to the leader.
    pub follower_reads_redirected: Counter,
    /// Bytes received from clients.
    pub input_bytes: Counter,
    /// Bytes sent to clients.
    pub output_bytes: Counter,
    /// Receives that brought bytes.
    pub reads: Counter,
    /// Sends.
    pub writes: Counter,
    /// Batches run on shards of this core.
    pub batches_local: Counter,
    /// Batches run on shards borrowed from other cores.
    pub batches_borrowed: Counter,
    /// Batches left in the queue of a shard that was not free, or to its owner.
    pub batches_by_message: Counter,
    /// Times this core woke another one.
    pub wake_ups: Counter,
    /// Turns of the core's loop: each ends with one wait in the kernel.
    pub turns: Counter,
    /// Clients closed because they broke the protocol.
    pub protocol_errors: Counter,
    /// Clients closed because they did not read their replies.
    pub output_limit_closes: Counter,
    /// Clients closed because they were idle, or left a request half sent.
    pub timeout_closes: Counter,
    /// Completions that belonged to a connection that was gone.
    pub stale_completions: Counter,
    /// Bytes received from other nodes.
    pub link_input_bytes: Counter,
    /// Bytes sent to other nodes.
    pub link_output_bytes: Counter,
    /// Messages for other nodes that were dropped, because there was no link or too much waited on it.
    pub link_messages_dropped: Counter,
    /// What clients have published, each time it was told to another node.
    pub link_news_sent: Counter,
    /// What clients of other nodes have published and this node was told.
    pub link_news_received: Counter,
    /// Times that what was published was not told to another node, because there was no link or too much waited on
    /// it, or was not passed to who listens here, because some core had too much in its inbox.
    pub link_news_dropped: Counter,
    /// Links from other nodes, or who said to be one, that were cut off.
    pub links_cut: Counter,
    /// Commands of clients that were left to other nodes.
    pub commands_forwarded: Counter,
    /// Those of them that were answered with an error, because the other node was not reached or was lost.
    pub forwards_failed: Counter,
    /// Bytes held for what is sent to other nodes and received from them.
    pub link_bytes: Gauge,
    /// Bytes held for requests and replies of this core's connections.
    pub client_bytes: Gauge,
    /// Bytes held by rings, buffer pools and queues of this core.
    pub ring_bytes: Gauge,
    /// The longest request that was waiting for its end within the last second or so, in bytes.
    pub input_bytes_max: Gauge,
    /// The longest output of a client within the last second or so, in bytes.
    pub output_bytes_max: Gauge,
    /// Clients on this core.
    pub clients: Gauge,
    /// Clients that a pause holds back or that wait in a blocking command.
    pub clients_blocked: Gauge,
    /// Clients that wait in a blocking command with a timeout.
    pub clients_timed: Gauge,
    /// The longest step of the core's loop, in nanoseconds: one command, one piece of maintenance, or
    /// what lies between two of these. Nothing else runs on the core meanwhile.
    pub longest_step_ns: Peak,
    /// What that step was.
    pub longest_step: StepCell,
    /// The longest turn of the core's loop, in nanoseconds, from one wait in the kernel to the next.
    pub longest_turn_ns: Peak,
    commands: Commands,
    stages: Stages,
    errors: Mutex<BTreeMap<Box<str>, u64>>,
}

impl CoreMetrics {
    /// Counts a call that took `ns` nanoseconds; into the command's histogram only if `tracked`
    /// (`latency-tracking`).
    #[inline]
    pub fn record_command(&self, id: CommandId, ns: u64, tracked: bool) {
        self.commands.record(id, ns, tracked);
        if !tracked {
            self.stages.record(Stage::Execute, ns, 1);
        }
    }

    /// Counts a command that was refused before it ran.
    pub fn count_rejected(&self, id: CommandId) {
        self.commands.count_rejected(id);
    }

    /// Counts a command that ran (and was recorded) and answered an error.
    pub fn count_failed(&self, id: CommandId) {
        self.commands.count_failed(id);
    }

    /// Counts `count` requests that spent `ns` nanoseconds each in `stage`. What is executed is
    /// recorded by command.
    #[inline]
    pub fn record_stage(&self, stage: Stage, ns: u64, count: u64) {
        self.stages.record(stage, ns, count);
    }

    /// Adds this core's latencies of `stage` to `sum`.
    pub fn add_stage_to(&self, stage: Stage, sum: &mut Counts) {
        self.stages.add_to(stage, &self.commands, sum);
    }

    /// Forgets the latencies of the stages, and nothing else.
    pub fn reset_stages(&self) {
        self.stages.reset(&self.commands);
    }

    /// Counts an error reply by its code: the first word of `text`, as `Error`'s `Display` gives it.
    pub fn count_error(&self, text: &str) {
        let code = text.split(' ').next().unwrap_or(text);
        let mut errors = lock(&self.errors);
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < ERROR_CODES_MAX {
            errors.insert(code.into(), 1);
        }
    }

    /// Adds this core's figures by command to `sum`, which is indexed by [`CommandId`].
    pub fn add_commands_to(&self, sum: &mut Vec<CommandStats>) {
        self.commands.add_to(sum);
    }

    /// Adds this core's error counts to `sum`.
    pub fn add_errors_to(&self, sum: &mut BTreeMap<Box<str>, u64>) {
        for (code, count) in lock(&self.errors).iter() {
            *sum.entry(code.clone()).or_default() += count;
        }
    }

    /// Sets all counts back to zero (`CONFIG RESETSTAT`).
    pub fn reset(&self) {
        self.stages.reset_with(&self.commands);
        lock(&self.errors).clear();
        for counter in self.counters() {
            counter.reset();
        }
        self.longest_step_ns.reset();
        self.longest_step.set(Step::Other);
        self.longest_turn_ns.reset();
    }

    fn counters(&self) -> [&Counter; 31] {
        [
            &self.connections_received,
            &self.connections_rejected,
            &self.connections_moved_in,
            &self.connections_moved_out,
            &self.commands_processed,
            &self.commands_multi_shard,
            &self.command_steps,
            &self.follower_reads,
            &self.follower_reads_redirected,
            &self.input_bytes,
            &self.output_bytes,
            &self.reads,
            &self.writes,
            &self.batches_local,
            &self.batches_borrowed,
            &self.batches_by_message,
            &self.wake_ups,
            &self.turns,
            &self.protocol_errors,
            &self.output_limit_closes,
            &self.timeout_closes,
            &self.stale_completions,
            &self.link_input_bytes,
            &self.link_output_bytes,
            &self.link_messages_dropped,
            &self.link_news_sent,
            &self.link_news_received,
            &self.link_news_dropped,
            &self.links_cut,
            &self.commands_forwarded,
            &self.forwards_failed,
        ]
    }
}

/// Locks, whether or not a holder panicked: counters stay usable either way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
