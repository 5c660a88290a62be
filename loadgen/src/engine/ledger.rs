//! The coordinator's side of counting: puts the threads' intervals together, second by second and in
//! total, and knows how far the run has come.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::book::Interval;
use super::plan::{Amount, Load, Plan};
use super::worker::Ended;
use crate::report::histogram;
use crate::report::outcome::{CommandOutcome, Outcome, Second};
use crate::report::progress::{Phase, Progress};
use crate::work::CommandSpec;

const NS_PER_S: u64 = 1_000_000_000;
/// Threads report within two intervals, so a second this long past has everything.
const SECONDS_OPEN: u64 = 2;

/// Everything counted so far.
pub(super) struct Ledger<'a> {
    plan: &'a Plan,
    phase: Phase,
    phase_started: Instant,
    requests: u64,
    errors: u64,
    recent: Histogram<u64>,
    /// Seconds that are still being counted, by number.
    open: BTreeMap<u64, Open>,
    outcome: Outcome,
}

struct Open {
    latencies: Histogram<u64>,
    errors: u64,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(plan: &'a Plan, commands: &[CommandSpec], phase: Phase) -> Self {
        let mut outcome = Outcome { label: plan.label.clone(), ..Outcome::default() };
        outcome.commands = commands.iter().map(|spec| CommandOutcome::new(&spec.name)).collect();
        Self {
            plan,
            phase,
            phase_started: Instant::now(),
            requests: 0,
            errors: 0,
            recent: histogram::new(),
            open: BTreeMap::new(),
            outcome,
        }
    }

    /// The threads start now.
    pub(super) fn start(&mut self) {
        self.phase_started = Instant::now();
    }

    /// Adds what a thread has counted.
    pub(super) fn add(&mut self, interval: &Interval) {
        if let (Phase::WarmUp, Some(_)) = (self.phase, interval.start_ns) {
            // What is measured began when the warm-up ended, not when the first of it is told.
            self.phase_started += self.plan.warmup;
            self.phase = Phase::Measure;
            (self.requests, self.errors) = (0, 0);
        }
        for counts in &interval.commands {
            counts.latencies.add_to(&mut self.recent);
            self.requests += counts.latencies.len();
            self.errors += counts.errors.iter().map(|(_, count)| count).sum::<u64>();
        }
        self.outcome.faults.merge(&interval.faults);
        if let Some(start_ns) = interval.start_ns {
            self.add_measured(start_ns / NS_PER_S, interval);
        }
    }

    fn add_measured(&mut self, second: u64, interval: &Interval) {
        let new = || Open { latencies: histogram::new(), errors: 0 };
        let open = self.open.entry(second).or_insert_with(new);
        for (counts, command) in interval.commands.iter().zip(&mut self.outcome.commands) {
            command.sent += counts.sent;
            counts.latencies.add_to(&mut command.latencies);
            counts.latencies.add_to(&mut open.latencies);
            for (kind, count) in &counts.errors {
                command.count_errors(kind, *count);
                open.errors += count;
            }
        }
        self.outcome.bytes_in += interval.bytes_in;
        self.outcome.bytes_out += interval.bytes_out;
        self.outcome.moved += interval.moved;
        self.outcome.asked += interval.asked;
        interval.lateness.add_to(&mut self.outcome.lateness);
        interval.overdue.add_to(&mut self.outcome.overdue);
        self.close_before(second.saturating_sub(SECONDS_OPEN));
    }

    /// Turns seconds that are over into what reports show.
    fn close_before(&mut self, second: u64) {
        while let Some(entry) = self.open.first_entry().filter(|entry| *entry.key() < second) {
            let (second, open) = entry.remove_entry();
            let mut shown = Second::new((second + 1) as f64, &open.latencies, open.errors);
            if let Load::Open { curve, .. } = &self.plan.load {
                let middle = Duration::from_millis(second * 1000 + 500);
                shown.intended_rate = Some(curve.rate_at(middle));
            }
            self.outcome.seconds.push(shown);
        }
    }

    /// A thread has ended.
    pub(super) fn end(&mut self, ended: Ended, from_ns: u64) {
        let outcome = &mut self.outcome;
        outcome.elapsed_ns = outcome.elapsed_ns.max(ended.end_ns.saturating_sub(from_ns));
        outcome.interrupted |= ended.is_interrupted;
        outcome.hits += ended.reads.hits;
        outcome.misses += ended.reads.misses;
        outcome.hit_bytes += ended.reads.hit_bytes;
        outcome.miss_bytes += ended.reads.miss_bytes;
        outcome.threads.push(ended.used);
    }

    /// How far the run has come; what it says of recent latencies is then forgotten.
    pub(super) fn progress(&mut self, show: &mut dyn FnMut(&Progress<'_>)) {
        let elapsed = self.phase_started.elapsed();
        let intended_rate = match (&self.plan.load, self.phase) {
            (Load::Open { curve, .. }, Phase::Measure) => Some(curve.rate_at(elapsed)),
            (Load::Open { curve, .. }, Phase::WarmUp) => Some(curve.rate_at(Duration::ZERO)),
            (Load::Open { .. }, Phase::Fill) | (Load::Closed | Load::Replay, _) => None,
        };
        show(&Progress {
            phase: self.phase,
            elapsed,
            fraction: self.fraction(elapsed),
            requests: self.requests,
            errors: self.errors,
            intended_rate,
            recent: &self.recent,
        });
        self.recent.reset();
    }

    fn fraction(&self, elapsed: Duration) -> Option<f64> {
        let of = |length: Duration| Some((elapsed.as_secs_f64() / length.as_secs_f64()).min(1.0));
        match (self.phase, self.plan.amount) {
            (Phase::WarmUp, _) => of(self.plan.warmup),
            (Phase::Measure, Amount::Time(length)) => of(length),
            (_, Amount::Requests(total)) => {
                Some(((self.requests + self.errors) as f64 / total as f64).min(1.0))
            }
            (Phase::Fill, Amount::Time(_)) | (_, Amount::Everything) => None,
        }
    }

    /// What the run came to.
    pub(super) fn finish(mut self) -> Outcome {
        self.close_before(u64::MAX);
        if let (Amount::Time(length), false) = (self.plan.amount, self.outcome.interrupted) {
            let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
            self.outcome.elapsed_ns = self.outcome.elapsed_ns.max(length_ns);
        }
        // The last second is rarely a whole one.
        if let Some(last) = self.outcome.seconds.last_mut() {
            last.at_s = last.at_s.min(self.outcome.elapsed_ns as f64 / NS_PER_S as f64);
        }
        // A trace may have only some of the operations there are, and not every run has keys to fill.
        self.outcome.commands.retain(|command| command.sent > 0);
        self.outcome
    }
}
