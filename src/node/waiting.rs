//! Whether a client waits in a blocking command, and who ends the wait.

use std::sync::atomic::{AtomicU64, Ordering};

/// A client's present wait. Its own core begins one; whoever ends it first answers the client or has it
/// answered: the holder of a shard with what the client waits for, its own core at the timeout, `CLIENT UNBLOCK`.
#[derive(Debug, Default)]
pub struct ClientWait {
    /// The number of the present wait, 0 for none.
    current: AtomicU64,
    /// That of the last.
    last: AtomicU64,
}

impl ClientWait {
    /// Begins a wait; answers its number, which no other wait of the client has.
    pub fn begin(&self) -> u64 {
        let number = self.last.load(Ordering::Relaxed) + 1;
        self.last.store(number, Ordering::Relaxed);
        self.current.store(number, Ordering::Release);
        number
    }

    /// Ends the wait with this number; false if it was over. To one caller it is true.
    pub fn end(&self, number: u64) -> bool {
        self.current.compare_exchange(number, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Ends the present wait, if there is one: its number.
    pub fn end_any(&self) -> Option<u64> {
        let number = self.current.swap(0, Ordering::AcqRel);
        (number != 0).then_some(number)
    }

    /// Whether the wait with this number goes on.
    pub fn goes_on(&self, number: u64) -> bool {
        self.current.load(Ordering::Acquire) == number
    }

    /// Whether the client waits.
    pub fn is_waiting(&self) -> bool {
        self.current.load(Ordering::Relaxed) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::ClientWait;

    #[test]
    fn a_wait_is_ended_once() {
        let wait = ClientWait::default();
        assert_eq!(wait.end_any(), None);
        let first = wait.begin();
        assert!(wait.goes_on(first) && wait.is_waiting());
        assert!(wait.end(first) && !wait.end(first));
        assert!(!wait.is_waiting() && wait.end_any().is_none());
        let second = wait.begin();
        assert!(!wait.end(first) && wait.goes_on(second) && !wait.goes_on(first));
        assert_eq!(wait.end_any(), Some(second));
        assert!(!wait.end(second));
    }
}
