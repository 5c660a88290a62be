//! Counters with one writer and any number of readers.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only grows. One thread adds; anyone reads or resets.
///
/// Resetting moves the base that readers subtract, so that it can't race with the writer.
#[derive(Debug, Default)]
pub struct Counter {
    value: AtomicU64,
    base: AtomicU64,
}

impl Counter {
    /// Adds `count`. Only the counter's writer may call this: it is a load and a store.
    #[inline]
    pub fn add(&self, count: u64) {
        self.set_total(self.value.load(Ordering::Relaxed).wrapping_add(count));
    }

    /// Adds one; like [`add`](Self::add).
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Sets the count since the start, where the writer keeps it elsewhere.
    #[inline]
    pub fn set_total(&self, total: u64) {
        self.value.store(total, Ordering::Relaxed);
    }

    /// The count since the last reset.
    pub fn get(&self) -> u64 {
        self.total().wrapping_sub(self.base.load(Ordering::Relaxed))
    }

    /// The count since the start, resets or not.
    pub fn total(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// Starts from zero for readers.
    pub fn reset(&self) {
        self.base.store(self.total(), Ordering::Relaxed);
    }
}

/// A quantity that goes up and down. One thread sets; anyone reads.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the quantity.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The quantity.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The greatest of what one thread saw since the last reset; anyone reads or resets.
///
/// A reset at the very moment of a new peak may lose it or be lost: the next peak, or the next reset,
/// sets it right.
#[derive(Debug, Default)]
pub struct Peak(AtomicU64);

impl Peak {
    /// Takes `value` in; whether it is the new peak. Only the writer may call this: it is a load, and
    /// rarely a store.
    #[inline]
    pub fn raise(&self, value: u64) -> bool {
        let is_higher = value > self.0.load(Ordering::Relaxed);
        if is_higher {
            self.0.store(value, Ordering::Relaxed);
        }
        is_higher
    }

    /// The peak.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Starts from zero.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Counter, Peak};

    #[test]
    fn a_peak_stays_until_it_is_reset() {
        let peak = Peak::default();
        assert_eq!([3, 7, 5].map(|value| peak.raise(value)), [true, true, false]);
        assert_eq!(peak.get(), 7);
        peak.reset();
        peak.raise(2);
        assert_eq!(peak.get(), 2);
    }

    #[test]
    fn a_reset_does_not_touch_the_writers_value() {
        let counter = Counter::default();
        counter.add(5);
        counter.reset();
        assert_eq!((counter.get(), counter.total()), (0, 5));
        counter.increment();
        assert_eq!((counter.get(), counter.total()), (1, 6));
    }
}
