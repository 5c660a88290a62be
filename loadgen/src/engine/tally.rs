//! A histogram for one thread and a tenth of a second: HdrHistogram's buckets with three digits, over the
//! whole of `u64`, so that no latency is clipped. Recording is an index and an addition; emptying it
//! costs as much as its values are apart.

use hdrhistogram::Histogram;

/// Values below this have a bucket each; above, so many share one that three digits stay exact.
const LINEAR_BITS: u32 = 11;
const HALF: usize = 1 << (LINEAR_BITS - 1);
const BUCKETS: usize = (u64::BITS - LINEAR_BITS) as usize * HALF + 2 * HALF;

/// Counts of values.
pub(crate) struct Tally {
    counts: Box<[u32]>,
    /// The buckets in use lie from here
    first: usize,
    /// up to here.
    last: usize,
    len: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), first: BUCKETS, last: 0, len: 0 }
    }
}

impl Tally {
    /// Counts `value`.
    pub(crate) fn record(&mut self, value: u64) {
        let bucket = bucket(value);
        self.counts[bucket] += 1;
        self.first = self.first.min(bucket);
        self.last = self.last.max(bucket);
        self.len += 1;
    }

    /// How many values were counted.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Adds all counts to a histogram.
    pub(crate) fn add_to(&self, histogram: &mut Histogram<u64>) {
        if self.len == 0 {
            return;
        }
        histogram.auto(true);
        for (bucket, &count) in (self.first..).zip(&self.counts[self.first..=self.last]) {
            if count > 0 {
                let recorded = histogram.record_n(lowest(bucket), u64::from(count));
                debug_assert!(recorded.is_ok(), "it resizes itself: {recorded:?}");
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        if self.len > 0 {
            self.counts[self.first..=self.last].fill(0);
        }
        (self.first, self.last, self.len) = (BUCKETS, 0, 0);
    }
}

fn bucket(value: u64) -> usize {
    let linear_max = (1 << LINEAR_BITS) - 1;
    let shift = u64::BITS - LINEAR_BITS - (value | linear_max).leading_zeros();
    // At most 2 * HALF after the shift, so it fits any usize.
    shift as usize * HALF + usize::try_from(value >> shift).unwrap_or(usize::MAX)
}

/// The lowest value of a bucket.
fn lowest(bucket: usize) -> u64 {
    let shift = (bucket / HALF).saturating_sub(1);
    ((bucket - shift * HALF) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Tally, bucket, lowest};
    use hdrhistogram::Histogram;

    /// Values around every power of two, and the ends.
    fn values() -> impl Iterator<Item = u64> {
        (0..64).flat_map(|bit| {
            let power = 1_u64 << bit;
            [power - 1, power, power + 1, power + power / 3]
        })
    }

    #[test]
    fn a_bucket_is_as_wide_as_three_digits_allow() {
        for value in values().chain([u64::MAX]) {
            let low = lowest(bucket(value));
            assert!(low <= value && (value - low) as f64 <= value as f64 / 1000.0, "{value} {low}");
            assert_eq!(bucket(low), bucket(value));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn buckets_are_those_of_the_histogram_they_end_in() {
        let reference: Histogram<u64> = Histogram::new(3).expect("three digits");
        for value in values() {
            assert_eq!(lowest(bucket(value)), reference.lowest_equivalent(value), "{value}");
        }
    }

    #[test]
    fn what_goes_in_comes_out_once() {
        let mut tally = Tally::default();
        let mut total: Histogram<u64> = Histogram::new(3).expect("three digits");
        let mut expected: Histogram<u64> = Histogram::new(3).expect("three digits");
        for round in 1..4 {
            // Four days are longer than any bound that a tool has been known to clip at.
            for value in [1, 70_000, 70_001, round * 1_000_000, 345_600_000_000_000] {
                tally.record(value);
                expected.record(value).expect("it resizes itself");
            }
            assert_eq!(tally.len(), 5);
            tally.add_to(&mut total);
            tally.clear();
            tally.add_to(&mut total);
        }
        assert_eq!(total, expected);
        assert!(total.max() >= 345_000_000_000_000);
    }
}
