//! The time as one thread of a run sees it: nanoseconds since the run's start, from the processor's time
//! stamp counter. All threads of a run share one calibration and one start.

/// Reads the time.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    counter: quanta::Clock,
    zero: u64,
}

impl Clock {
    /// A clock whose zero is now. The first one of a process takes some milliseconds, to calibrate.
    pub(crate) fn start() -> Self {
        let counter = quanta::Clock::new();
        let zero = counter.raw();
        Self { counter, zero }
    }

    /// The same clock, its zero `lead` nanoseconds from now.
    pub(crate) fn restarted(&self) -> Self {
        Self { counter: self.counter.clone(), zero: self.counter.raw() }
    }

    /// Nanoseconds since zero.
    pub(crate) fn now_ns(&self) -> u64 {
        self.counter.delta_as_nanos(self.zero, self.counter.raw())
    }
}
