//! `CLIENT PAUSE`: until when which commands wait.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::types::UnixMs;

/// Which commands wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseMode {
    /// Those that write.
    Write,
    /// All but those that manage the pause.
    All,
}

/// The pause, in one word so that time and mode are always seen together: the time in milliseconds,
/// doubled, plus one for [`PauseMode::All`]. Zero: none.
#[derive(Debug, Default)]
pub struct Pause(AtomicU64);

impl Pause {
    /// Pauses until `end`. A pause that holds is only ever made longer and stricter, as in Redis.
    pub fn start(&self, now: UnixMs, end: UnixMs, mode: PauseMode) {
        let (end, mode) = match self.until(now) {
            Some((old_end, old_mode)) => (end.max(old_end), mode.max(old_mode)),
            None => (end, mode),
        };
        let word = end.0.saturating_mul(2) & !1 | u64::from(mode == PauseMode::All);
        self.0.store(word, Ordering::Release);
    }

    /// Ends the pause.
    pub fn stop(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// The pause that holds at `now`, if any.
    #[inline]
    pub fn until(&self, now: UnixMs) -> Option<(UnixMs, PauseMode)> {
        let word = self.0.load(Ordering::Acquire);
        let end = UnixMs(word / 2);
        let mode = if word % 2 == 1 { PauseMode::All } else { PauseMode::Write };
        (word != 0 && now < end).then_some((end, mode))
    }
}

#[cfg(test)]
mod tests {
    use super::{Pause, PauseMode, UnixMs};

    #[test]
    fn a_pause_is_only_made_longer_and_stricter_until_it_ends() {
        let pause = Pause::default();
        assert_eq!(pause.until(UnixMs(0)), None);
        pause.start(UnixMs(0), UnixMs(100), PauseMode::All);
        pause.start(UnixMs(0), UnixMs(50), PauseMode::Write);
        assert_eq!(pause.until(UnixMs(99)), Some((UnixMs(100), PauseMode::All)));
        assert_eq!(pause.until(UnixMs(100)), None);
        pause.start(UnixMs(100), UnixMs(150), PauseMode::Write);
        assert_eq!(pause.until(UnixMs(100)), Some((UnixMs(150), PauseMode::Write)));
        pause.stop();
        assert_eq!(pause.until(UnixMs(100)), None);
    }
}
