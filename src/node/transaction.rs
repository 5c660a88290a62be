//! What others may see of a client's transaction, and the one thing they may do to it: tell it that a
//! key that it watches has changed.
//!
//! A client's watch goes from its first `WATCH` until `EXEC`, `DISCARD` or `UNWATCH`, and has a serial
//! number. Whoever finds a watched key changed has the number from whom it was registered by; so what
//! was found late concerns a watch that is over, and not the next.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The state of one client's transaction. But for [`touch`](Self::touch), its own core writes.
#[derive(Debug)]
pub struct ClientTransaction {
    queued: AtomicI64,
    watched: AtomicU64,
    serial: AtomicU64,
    touched: AtomicU64,
}

impl Default for ClientTransaction {
    fn default() -> Self {
        let [watched, touched] = Default::default();
        Self { queued: AtomicI64::new(-1), watched, serial: AtomicU64::new(1), touched }
    }
}

impl ClientTransaction {
    /// Commands in the queue (`multi` in `CLIENT LIST`); -1 outside a transaction.
    pub fn queued(&self) -> i64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// The number of commands changed; none: there is no transaction any more.
    pub fn set_queued(&self, count: Option<usize>) {
        let count = count.map_or(-1, |count| i64::try_from(count).unwrap_or(i64::MAX));
        self.queued.store(count, Ordering::Relaxed);
    }

    /// Keys that are watched and of which none has changed (`watch` in `CLIENT LIST`).
    pub fn watched(&self) -> u64 {
        if self.is_touched() { 0 } else { self.watched.load(Ordering::Relaxed) }
    }

    /// The number of watched keys changed.
    pub fn set_watched(&self, count: usize) {
        self.watched.store(count as u64, Ordering::Relaxed);
    }

    /// The number of the present watch.
    pub fn serial(&self) -> u64 {
        self.serial.load(Ordering::Relaxed)
    }

    /// Whether a key of the present watch has changed.
    pub fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Relaxed) == self.serial()
    }

    /// Ends the present watch.
    pub fn end_watch(&self) {
        self.set_watched(0);
        self.serial.store(self.serial() + 1, Ordering::Relaxed);
    }

    /// A key of the watch with this number has changed. Called by whoever holds the key's shard; whoever
    /// holds it later sees it.
    pub fn touch(&self, serial: u64) {
        self.touched.fetch_max(serial, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::ClientTransaction;

    #[test]
    fn what_comes_late_concerns_a_watch_that_is_over() {
        let client = ClientTransaction::default();
        assert_eq!((client.queued(), client.watched(), client.is_touched()), (-1, 0, false));
        let first = client.serial();
        client.set_watched(2);
        client.end_watch();
        client.touch(first);
        assert!(!client.is_touched());
        client.set_watched(3);
        assert_eq!(client.watched(), 3);
        client.touch(client.serial());
        client.touch(first);
        assert_eq!((client.is_touched(), client.watched()), (true, 0));
        client.end_watch();
        assert!(!client.is_touched());
    }
}
