//! The token of a shard: who holds it may touch the shard, and serves whoever waited.
//!
//! ```text
//! try_take ──► Holder ──► next_waiting*, work ──► release ──► free
//!                 ▲                                  │ someone queued meanwhile, token still free
//!                 └──────────────────────────────────┘
//! ```
//!
//! A core that finds the token taken leaves its work in the queue. The holder serves the queue before
//! it gives the token back, and the very instruction that gives it back tells whether more was queued
//! meanwhile; the one who queues tries the token once more after. Token and queue length share one
//! word, so one of the two always sees the other and nothing queued is forgotten (flat combining,
//! Hendler et al. 2010). Nobody spins and nobody waits for a core that sleeps.
//!
//! This is the one piece of memory that cores share with write access on both sides. Checked with
//! loom in `tests/token.rs`, which compiles this file over loom's types.

use std::collections::VecDeque;

use super::sync::{AtomicUsize, Mutex, MutexGuard, Ordering, UnsafeCell};

/// The bit of [`Lent::state`] that says the token is taken.
const TAKEN: usize = 1;
/// What one piece of queued work adds to [`Lent::state`].
const ONE_WAITING: usize = 2;

/// A value that one thread at a time may touch, and a queue of work for whoever does.
#[derive(Debug)]
pub(crate) struct Lent<T, Q> {
    /// Whether the token is taken, and how much work is queued.
    state: AtomicUsize,
    queue: Mutex<VecDeque<Q>>,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is reached through `Holder` only, and `TAKEN` lets one `Holder` exist at a time.
unsafe impl<T: Send, Q: Send> Sync for Lent<T, Q> {}

impl<T, Q> Lent<T, Q> {
    /// A free token around `value`, nobody waiting.
    pub(crate) fn new(value: T) -> Self {
        Self {
            state: AtomicUsize::new(0),
            queue: Mutex::new(VecDeque::new()),
            value: UnsafeCell::new(value),
        }
    }

    /// Takes the token if it is free.
    pub(crate) fn try_take(&self) -> Option<Holder<'_, T, Q>> {
        // The plain load keeps cores that find the token taken from pulling its line to themselves.
        let free = self.state.load(Ordering::Relaxed) & TAKEN == 0;
        if free { self.take() } else { None }
    }

    fn take(&self) -> Option<Holder<'_, T, Q>> {
        let before = self.state.fetch_or(TAKEN, Ordering::AcqRel);
        if before & TAKEN == 0 { Some(Holder { lent: self }) } else { None }
    }

    /// Leaves `item` for whoever holds the token. If nobody does, the caller now holds it and must
    /// serve the queue.
    pub(crate) fn enqueue(&self, item: Q) -> Option<Holder<'_, T, Q>> {
        {
            let mut queue = lock(&self.queue);
            queue.push_back(item);
            self.state.fetch_add(ONE_WAITING, Ordering::AcqRel);
        }
        self.take()
    }

    /// Turns a token that another thread handed over into a holder again.
    pub(crate) fn accept(&self, grant: Grant) -> Holder<'_, T, Q> {
        let Grant(()) = grant;
        Holder { lent: self }
    }
}

/// A token on its way to the core that claimed it; nobody else can take it meanwhile.
#[derive(Debug)]
pub(crate) struct Grant(());

/// The right to touch the value. Dropping it frees the token without serving the queue, so it is
/// given back with [`Holder::release`] or [`Holder::hand_over`].
#[derive(Debug)]
#[must_use = "whoever holds a token serves its queue and releases it"]
pub(crate) struct Holder<'a, T, Q> {
    lent: &'a Lent<T, Q>,
}

impl<'a, T, Q> Holder<'a, T, Q> {
    /// The value.
    pub(crate) fn value(&mut self) -> &mut T {
        // SAFETY: there is one holder at a time (`taken`), and it is borrowed exclusively here.
        unsafe { &mut *self.lent.value.get() }
    }

    /// The longest waiting piece of work, if any.
    pub(crate) fn next_waiting(&mut self) -> Option<Q> {
        if self.lent.state.load(Ordering::Relaxed) < ONE_WAITING {
            return None;
        }
        let mut queue = lock(&self.lent.queue);
        let item = queue.pop_front();
        if item.is_some() {
            self.lent.state.fetch_sub(ONE_WAITING, Ordering::AcqRel);
        }
        item
    }

    /// Gives the token back. If work was queued meanwhile and nobody took the token to serve it, the
    /// caller holds it again and must serve.
    pub(crate) fn release(self) -> Option<Self> {
        let lent = self.lent;
        if self.free() < ONE_WAITING { None } else { lent.take() }
    }

    fn free(self) -> usize {
        let lent = self.lent;
        std::mem::forget(self);
        lent.state.fetch_and(!TAKEN, Ordering::AcqRel)
    }

    /// Keeps the token taken on behalf of another thread, which accepts the grant.
    pub(crate) fn hand_over(self) -> Grant {
        std::mem::forget(self);
        Grant(())
    }
}

impl<T, Q> Drop for Holder<'_, T, Q> {
    fn drop(&mut self) {
        self.lent.state.fetch_and(!TAKEN, Ordering::AcqRel);
    }
}

/// A panic elsewhere while the queue was locked leaves the queue itself whole: go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
