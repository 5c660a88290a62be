//! Runs commands on shards for one core, and keeps count: how many, how long, how many failed.

use quanta::Clock;

use crate::command::table::Entry;
use crate::command::{Error, Flags, redact};
use crate::config::Config;
use crate::limits::SLICE_US;
use crate::metrics::{CommandSamples, CoreMetrics};
use crate::node::{ClientInfo, Node};
use crate::protocol::{Args, Reply};
use crate::shard::{self, Call, Shard};
use crate::types::{MonoUs, Now};

/// What a core runs commands with.
pub(crate) struct Engine<'a> {
    /// What the cores share.
    pub(crate) node: &'a Node,
    /// This core's counters.
    pub(crate) metrics: &'a CoreMetrics,
    /// The time of this turn.
    pub(crate) now: Now,
    /// What ran, not yet merged into the counters.
    pub(crate) samples: CommandSamples,
    /// Which commands are noted one by one.
    slow: Slow,
    clock: Clock,
    started: u64,
    /// What commands have taken since the slice began.
    slice_ns: u64,
    /// When the last command ended, and the next began, in ticks of `clock`.
    mark: u64,
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
            now: Now::default(),
            samples: CommandSamples::default(),
            slow: Slow::default(),
            clock,
            started,
            slice_ns: 0,
            mark,
        }
    }

    /// Reads the clocks for a new turn.
    pub(crate) fn start_turn(&mut self) {
        self.mark = self.clock.raw();
        let mono = MonoUs(self.clock.delta_as_nanos(self.started, self.mark) / 1000);
        let unix =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.now = Now::new(unix, mono);
    }

    /// Takes what comes next for the beginning of a command.
    pub(crate) fn start_command(&mut self) {
        self.mark = self.clock.raw();
    }

    /// Takes what comes next for the beginning of a client's slice of the turn.
    pub(crate) fn start_slice(&mut self) {
        self.slice_ns = 0;
        self.start_command();
    }

    /// Whether the client has had its slice.
    pub(crate) fn slice_is_over(&self) -> bool {
        self.slice_ns >= SLICE_US * 1000
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
        let result = shard.execute(call, args, self.now, self.node.slots, out);
        self.finish(call, client, args, result, out);
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
        let result = shard::execute_over(shards, call, args, self.now, self.node.slots, out);
        self.metrics.commands_multi_shard.increment();
        self.finish(call, client, args, result, out);
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
        let end = self.clock.raw();
        let ns = self.clock.delta_as_nanos(self.mark, end);
        self.mark = end;
        self.slice_ns += ns;
        if let Err(error) = result {
            self.write_error(&error, call, out);
            if error == Error::OutOfMemory {
                self.samples.push_rejected(call.entry.id);
                return;
            }
            self.samples.push_failed(call.entry.id);
        }
        self.samples.push(call.entry.id, ns);
        if ns >= self.slow.least_ns {
            self.note_slow(ns, call, client, args);
        }
        if self.samples.is_full() {
            self.flush();
        }
    }

    /// A command that was not run at all: wrong arguments, no permission.
    pub(crate) fn reject(&mut self, entry: Option<&Entry>, error: &Error, reply: &mut Reply<'_>) {
        let text = error.to_string();
        reply.error(&text);
        self.metrics.count_error(&text);
        if let Some(entry) = entry {
            self.samples.push_rejected(entry.id);
        }
    }

    /// Takes over from `config` which commands are slow.
    pub(crate) fn configure(&mut self, config: &Config) {
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
    fn note_slow(&self, ns: u64, call: &Call, client: &ClientInfo, args: &Args<'_>) {
        let flags = call.entry.command.flags;
        if ns >= self.slow.spike_ns {
            let event = if flags.contains(Flags::FAST) { "fast-command" } else { "command" };
            self.node.latency_events.record(event, ns / 1_000_000, self.now.unix);
        }
        if ns < self.slow.log_ns || flags.contains(Flags::SKIP_SLOWLOG) {
            return;
        }
        let names = (client.addr.to_string(), client.names().name.clone());
        let shown = redact::shown(call.entry, args);
        self.node.slow_log.add(shown, ns / 1000, self.now.unix, names, self.slow.log_length);
    }

    fn write_error(&mut self, error: &Error, call: &Call, out: &mut Vec<u8>) {
        let text = error.to_string();
        Reply::new(out, call.proto).error(&text);
        self.metrics.count_error(&text);
    }

    /// Merges what ran into the counters that others read.
    pub(crate) fn flush(&mut self) {
        if !self.samples.is_empty() {
            self.metrics.merge(&mut self.samples);
        }
    }
}
