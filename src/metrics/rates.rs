//! Rates of the last moments, as `INFO`'s `instantaneous_*` fields show them.

use crate::types::MonoUs;

/// Samples that a rate is averaged over, as in Redis; at ten a second they span 1.6 seconds.
const SAMPLES: usize = 16;

/// Sums over all cores, taken at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Commands run.
    pub commands: u64,
    /// Bytes received.
    pub input_bytes: u64,
    /// Bytes sent.
    pub output_bytes: u64,
}

/// Keeps the latest totals with their times.
#[derive(Debug, Default)]
pub struct Rates {
    samples: [(MonoUs, Totals); SAMPLES],
    taken: usize,
}

impl Rates {
    /// Takes a sample.
    pub fn sample(&mut self, now: MonoUs, totals: Totals) {
        self.samples[self.taken % SAMPLES] = (now, totals);
        self.taken += 1;
    }

    /// What was added per second between the oldest and the newest sample at hand.
    pub fn per_second(&self) -> Totals {
        if self.taken < 2 {
            return Totals::default();
        }
        let (end, newest) = self.samples[(self.taken - 1) % SAMPLES];
        let (start, oldest) =
            if self.taken < SAMPLES { self.samples[0] } else { self.samples[self.taken % SAMPLES] };
        let span_us = end.0.saturating_sub(start.0).max(1);
        let rate = |newest: u64, oldest: u64| {
            let added = u128::from(newest.saturating_sub(oldest));
            u64::try_from(added * 1_000_000 / u128::from(span_us)).unwrap_or(u64::MAX)
        };
        Totals {
            commands: rate(newest.commands, oldest.commands),
            input_bytes: rate(newest.input_bytes, oldest.input_bytes),
            output_bytes: rate(newest.output_bytes, oldest.output_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MonoUs, Rates, Totals};

    #[test]
    fn rates_cover_the_samples_at_hand() {
        let mut rates = Rates::default();
        assert_eq!(rates.per_second(), Totals::default());
        for tick in 0..40u64 {
            let totals =
                Totals { commands: tick * 100, input_bytes: tick * 2000, output_bytes: tick };
            rates.sample(MonoUs(tick * 100_000), totals);
            if tick > 0 {
                let rate = rates.per_second();
                assert_eq!(
                    (rate.commands, rate.input_bytes, rate.output_bytes),
                    (1000, 20_000, 10),
                    "{tick}"
                );
            }
        }
    }
}
