//! Calls and latencies by command.

use std::sync::OnceLock;

use super::CommandId;
use super::counter::Counter;
use super::latencies::{Counts, Latencies};
use crate::limits::COMMANDS_MAX;

/// What one core counts of one command.
#[derive(Debug, Default)]
struct CommandCounters {
    calls: Counter,
    total_ns: Counter,
    rejected: Counter,
    failed: Counter,
    latencies: Latencies,
}

/// What one core counts of all commands, by [`CommandId`]. One thread records; anyone reads or resets.
#[derive(Debug)]
pub(super) struct Commands(Box<[OnceLock<Box<CommandCounters>>]>);

impl Default for Commands {
    fn default() -> Self {
        Self(std::iter::repeat_with(OnceLock::new).take(COMMANDS_MAX).collect())
    }
}

impl Commands {
    #[inline]
    fn of(&self, id: CommandId) -> &CommandCounters {
        self.0[usize::from(id.0)].get_or_init(Box::default)
    }

    /// Counts a call; into the histogram too if `tracked`.
    #[inline]
    pub(super) fn record(&self, id: CommandId, ns: u64, tracked: bool) {
        let command = self.of(id);
        command.calls.increment();
        command.total_ns.add(ns);
        if tracked {
            command.latencies.record(ns, 1);
        }
    }

    #[cold]
    pub(super) fn count_rejected(&self, id: CommandId) {
        self.of(id).rejected.increment();
    }

    #[cold]
    pub(super) fn count_failed(&self, id: CommandId) {
        self.of(id).failed.increment();
    }

    /// Adds the figures of each command to `sum`, which is indexed by [`CommandId`].
    pub(super) fn add_to(&self, sum: &mut Vec<CommandStats>) {
        for (index, command) in self.known() {
            if sum.len() <= index {
                sum.resize_with(index + 1, CommandStats::default);
            }
            sum[index].add(command);
        }
    }

    /// Adds the latencies of all commands to `sum`.
    pub(super) fn add_latencies_to(&self, sum: &mut Counts) {
        self.known().for_each(|(_, command)| command.latencies.add_to(sum));
    }

    pub(super) fn reset(&self) {
        for (_, command) in self.known() {
            for counter in [&command.calls, &command.total_ns, &command.rejected, &command.failed] {
                counter.reset();
            }
            command.latencies.reset();
        }
    }

    fn known(&self) -> impl Iterator<Item = (usize, &CommandCounters)> {
        let rows = self.0.iter().enumerate();
        rows.filter_map(|(index, command)| Some((index, command.get()?.as_ref())))
    }
}

/// What is known of one command: a sum over cores.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    /// Times it ran.
    pub calls: u64,
    /// Time it took in all.
    pub total_ns: u64,
    /// Times it was refused before it ran.
    pub rejected: u64,
    /// Times it ran and answered an error.
    pub failed: u64,
    latencies: Option<Counts>,
}

impl CommandStats {
    /// How long it took, if that was recorded at all since the last reset.
    pub fn latencies(&self) -> Option<&Counts> {
        self.latencies.as_ref().filter(|latencies| !latencies.is_empty())
    }

    /// Whether anything happened.
    pub fn is_empty(&self) -> bool {
        self.calls + self.rejected + self.failed == 0
    }

    fn add(&mut self, command: &CommandCounters) {
        self.calls += command.calls.get();
        self.total_ns = self.total_ns.saturating_add(command.total_ns.get());
        self.rejected += command.rejected.get();
        self.failed += command.failed.get();
        command.latencies.add_to(self.latencies.get_or_insert_default());
    }
}

#[cfg(test)]
mod tests {
    use super::super::CoreMetrics;
    use super::{CommandId, CommandStats};

    fn stats(cores: &[&CoreMetrics]) -> Vec<CommandStats> {
        let mut sum = Vec::new();
        cores.iter().for_each(|core| core.add_commands_to(&mut sum));
        sum
    }

    #[test]
    fn calls_on_two_cores_add_up() {
        let (a, b) = (CoreMetrics::default(), CoreMetrics::default());
        for _ in 0..10 {
            a.record_command(CommandId(3), 1_000, true);
        }
        a.count_failed(CommandId(3));
        b.record_command(CommandId(3), 1_000_000, true);
        b.count_rejected(CommandId(1));

        let sum = stats(&[&a, &b]);
        let command = &sum[3];
        assert_eq!((command.calls, command.total_ns), (11, 1_010_000));
        assert_eq!((command.failed, sum[1].rejected, sum[1].calls), (1, 1, 0));
        assert!(sum[1].latencies().is_none() && sum[0].is_empty());
        let latencies = command.latencies().unwrap().histogram();
        assert_eq!(latencies.len(), 11);
        assert!(latencies.value_at_quantile(0.5).abs_diff(1_000) <= 8);
        assert!(latencies.max().abs_diff(1_000_000) <= 8_000);
        a.reset();
        assert_eq!(stats(&[&a, &b])[3].calls, 1);
        b.reset();
        assert!(stats(&[&a, &b]).iter().all(CommandStats::is_empty));
    }

    #[test]
    fn what_is_not_tracked_is_counted_all_the_same() {
        let core = CoreMetrics::default();
        core.record_command(CommandId(2), 1_000, false);
        let sum = stats(&[&core]);
        assert_eq!((sum[2].calls, sum[2].total_ns), (1, 1_000));
        assert!(sum[2].latencies().is_none());
    }

    #[test]
    fn errors_are_counted_by_code() {
        let core = CoreMetrics::default();
        core.count_error("ERR no such key");
        core.count_error("ERR syntax error");
        core.count_error("WRONGTYPE Operation against a key");
        let mut sum = std::collections::BTreeMap::new();
        core.add_errors_to(&mut sum);
        let counts: Vec<_> = sum.iter().map(|(code, count)| (&**code, *count)).collect();
        assert_eq!(counts, [("ERR", 2), ("WRONGTYPE", 1)]);
        core.reset();
        sum.clear();
        core.add_errors_to(&mut sum);
        assert!(sum.is_empty());
    }
}
