//! Pauses between attempts, longer each time, and scattered so that clients which lost the same server
//! do not come back all at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The pauses of one row of attempts: about `min`, then twice as long each time, at most `max`.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    random: RandomState,
    drawn: u64,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min, random: RandomState::new(), drawn: 0 }
    }

    /// The next pause: between half and all of what it has grown to.
    pub(super) fn next(&mut self) -> Duration {
        let full = self.next.min(self.max);
        self.next = full.saturating_mul(2);
        let scatter = self.random.hash_one(self.drawn) % 513;
        self.drawn += 1;
        full / 2 + full.mul_f64(f64::from(scatter as u16) / 1024.0)
    }

    /// Begins a new row.
    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn pauses_grow_to_their_bound_and_start_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(10), ms(50));
        for full in [10, 20, 40, 50, 50] {
            let pause = backoff.next();
            assert!(pause >= ms(full) / 2 && pause <= ms(full), "{pause:?} of {full} ms");
        }
        backoff.reset();
        assert!(backoff.next() <= ms(10));
    }
}
