//! How many connections between nodes carry commands of clients, over all cores: those that this node has made, and
//! those that it has taken. They need descriptors, as clients do, and are bounded beside them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The connections.
#[derive(Debug, Default)]
pub struct Forwards {
    count: AtomicUsize,
    most: AtomicUsize,
}

impl Forwards {
    /// How many there may be; none before this is said.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Counts one more, unless there are as many as there may be.
    pub fn admit(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        let more = |count| (count < most).then_some(count + 1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// One is gone.
    pub fn leave(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::Forwards;

    #[test]
    fn no_more_than_there_may_be() {
        let forwards = Forwards::default();
        assert!(!forwards.admit());
        forwards.set_most(2);
        assert_eq!([(); 3].map(|()| forwards.admit()), [true, true, false]);
        forwards.leave();
        assert!(forwards.admit() && forwards.count() == 2);
    }
}
