//! A histogram of latencies with one writer and any number of readers.
//!
//! The cells are those of an HdrHistogram with two significant digits: nanoseconds below 256 each have
//! their own, and every power of two above is cut into 128. So a latency is known to within 1/128 of
//! itself (0.8 %), whatever its size, and what the cells hold becomes an HdrHistogram without loss.
//! Recording is a load and a store of one cell, with no lock and no merging later; readers sum the
//! cells of all cores when somebody asks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use hdrhistogram::Histogram;

use super::lock;

/// Longest latency that is told apart, in nanoseconds: an hour. Longer ones count as this.
pub const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Significant decimal digits of an HdrHistogram with the same cells.
const DIGITS: u8 = 2;
/// Values below this have a cell each.
const EXACT: u64 = 256;
/// Cells of one power of two.
const CELLS_AN_OCTAVE: usize = 128;
/// Cells in all.
const CELLS: usize = cell_of(LATENCY_NS_MAX) + 1;

const _: () = assert!(EXACT == 2 * CELLS_AN_OCTAVE as u64);

/// Latencies in nanoseconds, counted. One thread records; anyone reads or resets.
///
/// As with [`Counter`](super::Counter), resetting moves the base that readers subtract, so that it
/// can't race with the writer.
#[derive(Debug, Default)]
pub struct Latencies {
    /// Allocated with the first record.
    cells: OnceLock<Box<[AtomicU64]>>,
    base: Mutex<Option<Counts>>,
}

impl Latencies {
    /// Counts `count` latencies of `ns` nanoseconds. Only the writer may call this.
    #[inline]
    pub fn record(&self, ns: u64, count: u64) {
        let cells = self.cells.get_or_init(zeroed);
        let cell = &cells[cell_of(ns.min(LATENCY_NS_MAX))];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Adds what was recorded since the last reset to `sum`.
    pub fn add_to(&self, sum: &mut Counts) {
        let Some(cells) = self.cells.get() else { return };
        let base = lock(&self.base);
        let forgotten = |index: usize| base.as_ref().map_or(0, |base| base.0[index]);
        for (index, (sum, cell)) in sum.0.iter_mut().zip(cells).enumerate() {
            *sum += cell.load(Ordering::Relaxed).wrapping_sub(forgotten(index));
        }
    }

    /// Starts from nothing for readers.
    pub fn reset(&self) {
        let Some(cells) = self.cells.get() else { return };
        let mut base = lock(&self.base);
        let now = cells.iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
        *base = Some(Counts(now));
    }
}

#[cold]
fn zeroed() -> Box<[AtomicU64]> {
    std::iter::repeat_with(AtomicU64::default).take(CELLS).collect()
}

/// How many latencies fell into each cell: a sum over any number of [`Latencies`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts(Box<[u64]>);

impl Default for Counts {
    fn default() -> Self {
        Self(vec![0; CELLS].into())
    }
}

impl Counts {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    /// Adds what `other` counted.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, count)| *sum += count);
    }

    /// Takes away what `earlier`, a sum over the same, had counted then.
    pub fn subtract(&mut self, earlier: &Self) {
        let cells = self.0.iter_mut().zip(&earlier.0);
        cells.for_each(|(count, earlier)| *count = count.saturating_sub(*earlier));
    }

    /// The same as an HdrHistogram, in nanoseconds.
    pub fn histogram(&self) -> Histogram<u64> {
        let mut histogram = empty_histogram();
        for (index, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            histogram.saturating_record_n(lowest_of(index), *count);
        }
        histogram
    }
}

/// An HdrHistogram with the cells of [`Latencies`].
pub fn empty_histogram() -> Histogram<u64> {
    let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS);
    histogram.expect("the bounds are constants that the crate takes")
}

/// The cell of a latency.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "at most 64 octaves of cells")]
const fn cell_of(ns: u64) -> usize {
    // `EXACT - 1` keeps small values in octave 0, in which cells are one wide.
    let octave = (ns | (EXACT - 1)).ilog2() - (EXACT - 1).ilog2();
    octave as usize * CELLS_AN_OCTAVE + (ns >> octave) as usize
}

/// The least latency of a cell.
const fn lowest_of(cell: usize) -> u64 {
    if (cell as u64) < EXACT {
        return cell as u64;
    }
    let octave = cell / CELLS_AN_OCTAVE - 1;
    ((cell - octave * CELLS_AN_OCTAVE) as u64) << octave
}

#[cfg(test)]
mod tests {
    use super::{Counts, LATENCY_NS_MAX, Latencies, cell_of, empty_histogram, lowest_of};

    fn counts(latencies: &Latencies) -> Counts {
        let mut counts = Counts::default();
        latencies.add_to(&mut counts);
        counts
    }

    /// Values around every boundary between cells, and some between.
    fn values() -> impl Iterator<Item = u64> {
        let powers = (0..42).map(|power| 1_u64 << power);
        let around = powers.flat_map(|power| [power - 1, power, power + 1, power + power / 3]);
        around.chain([200, 255, 256, 257, 999, 12_345_678, LATENCY_NS_MAX])
    }

    #[test]
    fn cells_are_those_of_an_hdr_histogram() {
        let reference = empty_histogram();
        for value in values().filter(|value| *value <= LATENCY_NS_MAX) {
            let lowest = lowest_of(cell_of(value));
            assert_eq!(lowest, reference.lowest_equivalent(value), "{value}");
            assert_eq!(cell_of(lowest), cell_of(value), "{value}");
            // No cell is wider than a 128th of what it holds.
            assert!((value - lowest) * 128 <= value, "{value}");
        }
    }

    #[test]
    fn what_is_recorded_is_read() {
        let latencies = Latencies::default();
        let mut reference = empty_histogram();
        assert!(counts(&latencies).is_empty());
        for (value, count) in values().zip(1..) {
            latencies.record(value, count);
            reference.saturating_record_n(value, count);
        }
        assert_eq!(counts(&latencies).histogram(), reference);
    }

    #[test]
    fn longer_than_the_longest_counts_as_the_longest() {
        let latencies = Latencies::default();
        latencies.record(u64::MAX, 1);
        let histogram = counts(&latencies).histogram();
        assert_eq!(histogram.len(), 1);
        assert_eq!(histogram.max(), histogram.highest_equivalent(LATENCY_NS_MAX));
    }

    #[test]
    fn a_reset_forgets_for_readers_only() {
        let latencies = Latencies::default();
        latencies.record(5, 2);
        latencies.reset();
        assert!(counts(&latencies).is_empty());
        latencies.record(5, 1);
        latencies.record(1_000_000, 1);
        let mut later = counts(&latencies);
        assert_eq!(later.histogram().len(), 2);
        let earlier = later.clone();
        latencies.record(70, 4);
        later.add(&counts(&latencies));
        later.subtract(&earlier);
        assert_eq!(later.histogram().len(), 6);
        later.subtract(&later.clone());
        assert!(later.is_empty());
    }
}
