//! Latencies and faults, and how they are shown.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::workload::{Verb, Verdict};

/// Latencies are kept in nanoseconds to three digits, up to this; what is longer counts as this.
const LATENCY_NS_MAX: u64 = 100_000_000_000;
const DIGITS: u8 = 3;

/// Most kinds of error told apart.
const CODES_MAX: usize = 16;

/// What a run came to.
pub(crate) struct Report {
    sets: Histogram<u64>,
    gets: Histogram<u64>,
    /// Error replies by their code.
    errors: BTreeMap<String, u64>,
    wrong: u64,
    elapsed: Duration,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            sets: histogram(),
            gets: histogram(),
            errors: BTreeMap::new(),
            wrong: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// Enters one reply.
    pub(crate) fn enter(&mut self, verb: Verb, latency: Duration, verdict: Verdict<'_>) {
        let histogram = match verb {
            Verb::Set => &mut self.sets,
            Verb::Get => &mut self.gets,
        };
        histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        match verdict {
            Verdict::Right => {}
            Verdict::Wrong => self.wrong += 1,
            Verdict::Error(code) => {
                let mut code = String::from_utf8_lossy(code).into_owned();
                if self.errors.len() >= CODES_MAX && !self.errors.contains_key(&code) {
                    code = "others".to_owned();
                }
                *self.errors.entry(code).or_default() += 1;
            }
        }
    }

    /// Tells how long it all took.
    pub(crate) fn finish(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
    }

    /// Replies entered.
    pub(crate) fn requests(&self) -> u64 {
        self.sets.len() + self.gets.len()
    }

    /// The longest latency.
    #[cfg(test)]
    pub(crate) fn latency_max(&self) -> Duration {
        Duration::from_nanos(self.sets.max().max(self.gets.max()))
    }

    /// Whether any reply was an error or wrong.
    pub(crate) fn has_faults(&self) -> bool {
        self.wrong > 0 || !self.errors.is_empty()
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_NS_MAX, DIGITS).expect("the bounds make sense")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = self.requests() as f64 / seconds.max(f64::MIN_POSITIVE);
        writeln!(f, "{} requests in {seconds:.2} s, {rate:.0} requests/s", self.requests())?;
        writeln!(f)?;
        let percentiles = [50.0, 90.0, 99.0, 99.9, 99.99];
        write!(f, "{:<12}{:>10}{:>10}", "latency, us", "count", "mean")?;
        percentiles
            .iter()
            .try_for_each(|percentile| write!(f, "{:>10}", format!("p{percentile}")))?;
        writeln!(f, "{:>10}", "max")?;
        for (name, histogram) in [("SET", &self.sets), ("GET", &self.gets)] {
            if !histogram.is_empty() {
                let quantiles = percentiles.map(|p| histogram.value_at_percentile(p) as f64);
                write!(f, "{name:<12}{:>10}{:>10.1}", histogram.len(), histogram.mean() / 1000.0)?;
                for ns in quantiles.into_iter().chain([histogram.max() as f64]) {
                    write!(f, "{:>10.1}", ns / 1000.0)?;
                }
                writeln!(f)?;
            }
        }
        writeln!(f)?;
        for (code, count) in &self.errors {
            writeln!(f, "{count} errors: {code}")?;
        }
        if self.wrong > 0 {
            writeln!(f, "{} wrong replies", self.wrong)?;
        }
        if !self.has_faults() {
            writeln!(f, "no errors, every reply right")?;
        }
        Ok(())
    }
}
