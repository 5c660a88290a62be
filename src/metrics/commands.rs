//! Calls and latencies by command.

use hdrhistogram::Histogram;

use super::CommandId;

/// Longest latency that is told apart, in nanoseconds; longer ones count as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Significant decimal digits that latencies keep.
const LATENCY_DIGITS: u8 = 2;
/// Places for runs; as many as fit a few pages and are cheap to go through once a turn.
const PLACES: usize = 128;
/// Displaced runs, and refusals, that a core gathers before it should merge them.
const SAMPLES_MAX: usize = 1024;

/// What is known of one command.
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
    latencies: Option<Box<Histogram<u64>>>,
}

impl CommandStats {
    /// Counts `calls` calls, at least one, that took about the same time each, `total_ns` together.
    pub fn record(&mut self, total_ns: u64, calls: u64) {
        self.calls += calls;
        self.total_ns = self.total_ns.saturating_add(total_ns);
        let each_ns = (total_ns / calls.max(1)).clamp(1, LATENCY_NS_MAX);
        self.latencies_mut().saturating_record_n(each_ns, calls);
    }

    /// Latencies in nanoseconds, if any were recorded since the last reset.
    pub fn latencies(&self) -> Option<&Histogram<u64>> {
        self.latencies.as_deref()
    }

    /// Forgets the latencies.
    pub fn take_latencies(&mut self) -> Option<Box<Histogram<u64>>> {
        self.latencies.take()
    }

    /// Adds what `other` counted.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
        self.rejected += other.rejected;
        self.failed += other.failed;
        if let Some(latencies) = &other.latencies {
            // Both have the same bounds and digits, so nothing can fall outside.
            let added = self.latencies_mut().add(latencies.as_ref());
            debug_assert!(added.is_ok());
        }
    }

    /// Whether anything happened.
    pub fn is_empty(&self) -> bool {
        self.calls + self.rejected + self.failed == 0
    }

    fn latencies_mut(&mut self) -> &mut Histogram<u64> {
        self.latencies.get_or_insert_with(|| {
            let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS);
            Box::new(histogram.expect("the bounds are constants that the crate takes"))
        })
    }
}

/// What a core gathered about commands since it last merged. Private to the core.
///
/// Calls of one command that took about the same time (within 3 %) share a [`Run`], so that merging
/// costs per run, not per call. A run has its place by command and time; one that finds its place
/// taken by another moves that one to a list.
#[derive(Debug)]
pub struct CommandSamples {
    places: Box<[Run; PLACES]>,
    used: Vec<u8>,
    displaced: Vec<Run>,
    refusals: Vec<(CommandId, Refusal)>,
}

/// Calls of one command that took about the same time each.
#[derive(Clone, Copy, Debug)]
struct Run {
    id: CommandId,
    /// The time's exponent and its five highest bits below the leading one.
    bucket: u16,
    /// 0: a free place.
    calls: u32,
    total_ns: u64,
}

const FREE: Run = Run { id: CommandId(0), bucket: 0, calls: 0, total_ns: 0 };

#[derive(Clone, Copy, Debug)]
enum Refusal {
    Rejected,
    Failed,
}

impl Default for CommandSamples {
    fn default() -> Self {
        Self {
            places: Box::new([FREE; PLACES]),
            used: Vec::with_capacity(PLACES),
            displaced: Vec::new(),
            refusals: Vec::new(),
        }
    }
}

impl CommandSamples {
    /// Notes one call of `ns` nanoseconds.
    #[inline]
    pub fn push(&mut self, id: CommandId, ns: u64) {
        let bucket = bucket_of(ns);
        let place = usize::from(bucket ^ id.0.wrapping_mul(29)) % PLACES;
        let run = &mut self.places[place];
        if run.id == id && run.bucket == bucket && run.calls != 0 {
            run.calls += 1;
            run.total_ns += ns;
        } else {
            let new = Run { id, bucket, calls: 1, total_ns: ns };
            self.place(place, new);
        }
    }

    fn place(&mut self, place: usize, new: Run) {
        let old = std::mem::replace(&mut self.places[place], new);
        match old.calls {
            0 => self.used.push(u8::try_from(place).unwrap_or(u8::MAX)),
            _ => self.displaced.push(old),
        }
    }

    /// Notes that a command was refused before it ran.
    #[cold]
    pub fn push_rejected(&mut self, id: CommandId) {
        self.refusals.push((id, Refusal::Rejected));
    }

    /// Notes that a command that ran (and was noted with [`push`](Self::push)) answered an error.
    #[cold]
    pub fn push_failed(&mut self, id: CommandId) {
        self.refusals.push((id, Refusal::Failed));
    }

    /// Whether nothing is noted.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.used.is_empty() && self.refusals.is_empty()
    }

    /// Whether it is time to merge.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.displaced.len() >= SAMPLES_MAX || self.refusals.len() >= SAMPLES_MAX
    }

    pub(super) fn drain_into(&mut self, commands: &mut Vec<CommandStats>) {
        for place in self.used.drain(..) {
            let run = std::mem::replace(&mut self.places[usize::from(place)], FREE);
            stats_of(commands, run.id).record(run.total_ns, u64::from(run.calls));
        }
        for run in self.displaced.drain(..) {
            stats_of(commands, run.id).record(run.total_ns, u64::from(run.calls));
        }
        for (id, refusal) in self.refusals.drain(..) {
            let stats = stats_of(commands, id);
            match refusal {
                Refusal::Rejected => stats.rejected += 1,
                Refusal::Failed => stats.failed += 1,
            }
        }
    }
}

/// The exponent of `ns` and the five bits below its leading one.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the shift leaves six bits")]
fn bucket_of(ns: u64) -> u16 {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(6);
    (shift << 6) as u16 | (ns >> shift) as u16
}

fn stats_of(commands: &mut Vec<CommandStats>, id: CommandId) -> &mut CommandStats {
    let index = usize::from(id.0);
    if commands.len() <= index {
        commands.resize_with(index + 1, CommandStats::default);
    }
    &mut commands[index]
}

#[cfg(test)]
mod tests {
    use super::super::CoreMetrics;
    use super::{CommandId, CommandSamples};

    #[test]
    fn samples_of_two_cores_add_up() {
        let (a, b) = (CoreMetrics::default(), CoreMetrics::default());
        let mut samples = CommandSamples::default();
        for _ in 0..10 {
            samples.push(CommandId(3), 1_000);
        }
        samples.push_failed(CommandId(3));
        a.merge(&mut samples);
        assert!(samples.is_empty());
        samples.push(CommandId(3), 1_000_000);
        samples.push_rejected(CommandId(1));
        b.merge(&mut samples);

        let mut sum = Vec::new();
        a.add_commands_to(&mut sum);
        b.add_commands_to(&mut sum);
        let stats = &sum[3];
        assert_eq!((stats.calls, stats.total_ns), (11, 1_010_000));
        assert_eq!((stats.failed, sum[1].rejected, sum[1].calls), (1, 1, 0));
        let latencies = stats.latencies().unwrap();
        assert_eq!(latencies.len(), 11);
        assert!(latencies.value_at_quantile(0.5).abs_diff(1_000) <= 10);
        assert!(latencies.max().abs_diff(1_000_000) <= 10_000);
        assert_eq!(a.reset_latencies(|id| id.0 == 3), 1);
        assert_eq!(a.reset_latencies(|_| true), 0);
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
