//! What a core counts, and how others read it.
//!
//! Every counter has one writer, the core it belongs to, so it is written by a plain load and store;
//! readers see a value that may be a turn old. What is costlier than that (latencies by command,
//! errors by code) is gathered by the core in private and merged under a lock once a turn.

pub mod commands;
pub mod counter;
pub mod rates;

pub use commands::{CommandSamples, CommandStats};
pub use counter::{Counter, Gauge};
pub use rates::{Rates, Totals};

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
    /// Clients that a pause holds back.
    pub clients_blocked: Gauge,
    commands: Mutex<Vec<CommandStats>>,
    errors: Mutex<BTreeMap<Box<str>, u64>>,
}

impl CoreMetrics {
    /// Merges what the core gathered since the last call and empties `samples`.
    pub fn merge(&self, samples: &mut CommandSamples) {
        if !samples.is_empty() {
            samples.drain_into(&mut lock(&self.commands));
        }
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
        let commands = lock(&self.commands);
        if sum.len() < commands.len() {
            sum.resize_with(commands.len(), CommandStats::default);
        }
        for (sum, stats) in sum.iter_mut().zip(commands.iter()) {
            sum.add(stats);
        }
    }

    /// Adds this core's error counts to `sum`.
    pub fn add_errors_to(&self, sum: &mut BTreeMap<Box<str>, u64>) {
        for (code, count) in lock(&self.errors).iter() {
            *sum.entry(code.clone()).or_default() += count;
        }
    }

    /// Forgets the latencies of the commands that `chosen` accepts; answers how many had any.
    pub fn reset_latencies(&self, chosen: impl Fn(CommandId) -> bool) -> usize {
        let mut commands = lock(&self.commands);
        let ids = (0..).map(CommandId);
        let touched = commands.iter_mut().zip(ids).filter(|(_, id)| chosen(*id));
        touched.filter_map(|(stats, _)| stats.take_latencies()).count()
    }

    /// Sets all counts back to zero (`CONFIG RESETSTAT`).
    pub fn reset(&self) {
        lock(&self.commands).clear();
        lock(&self.errors).clear();
        for counter in self.counters() {
            counter.reset();
        }
    }

    fn counters(&self) -> [&Counter; 19] {
        [
            &self.connections_received,
            &self.connections_rejected,
            &self.connections_moved_in,
            &self.connections_moved_out,
            &self.commands_processed,
            &self.commands_multi_shard,
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
        ]
    }
}

/// Locks, whether or not a holder panicked: counters stay usable either way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
