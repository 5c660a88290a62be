//! The shard token under loom: every interleaving of a few threads, none of which forgets queued work
//! or lets two threads touch the value at once.
//!
//! The very source of the token is compiled here over loom's types.

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicUsize, Ordering};
    pub(crate) use loom::sync::{Mutex, MutexGuard};

    /// loom's cell, asked for a pointer in the standard library's way.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::cell::UnsafeCell::new(value))
        }

        pub(crate) fn get(&self) -> *mut T {
            // The access is checked for exclusiveness at this point of the interleaving.
            self.0.with_mut(|pointer| pointer)
        }
    }
}

#[path = "../src/runtime/token.rs"]
mod token;

use loom::sync::Arc;
use token::{Holder, Lent};

/// The value counts what was served; work is a number to add.
type Counter = Lent<u32, u32>;

fn serve(mut holder: Holder<'_, u32, u32>) {
    loop {
        while let Some(item) = holder.next_waiting() {
            *holder.value() += item;
        }
        match holder.release() {
            Some(again) => holder = again,
            None => return,
        }
    }
}

fn add(lent: &Counter, amount: u32) {
    if let Some(mut holder) = lent.try_take() {
        *holder.value() += amount;
        serve(holder);
    } else if let Some(holder) = lent.enqueue(amount) {
        serve(holder);
    }
}

#[test]
fn nothing_queued_is_forgotten() {
    loom::model(|| {
        let lent = Arc::new(Counter::new(0));
        let other = {
            let lent = lent.clone();
            loom::thread::spawn(move || add(&lent, 1))
        };
        add(&lent, 2);
        other.join().expect("the other thread ends");
        let mut holder = lent.try_take().expect("everyone gave the token back");
        assert_eq!(holder.next_waiting(), None);
        assert_eq!(*holder.value(), 3);
    });
}

#[test]
fn three_threads_lose_nothing() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let lent = Arc::new(Counter::new(0));
        let others: Vec<_> = [1, 2]
            .into_iter()
            .map(|amount| {
                let lent = lent.clone();
                loom::thread::spawn(move || add(&lent, amount))
            })
            .collect();
        add(&lent, 4);
        for other in others {
            other.join().expect("the other thread ends");
        }
        let mut holder = lent.try_take().expect("everyone gave the token back");
        assert_eq!(holder.next_waiting(), None);
        assert_eq!(*holder.value(), 7);
    });
}

#[test]
fn a_token_handed_over_is_nobody_elses() {
    loom::model(|| {
        let lent = Arc::new(Counter::new(0));
        let grant = lent.try_take().expect("free").hand_over();
        let claimant = {
            let lent = lent.clone();
            loom::thread::spawn(move || {
                let mut holder = lent.accept(grant);
                *holder.value() += 1;
                serve(holder);
            })
        };
        add(&lent, 2);
        claimant.join().expect("the claimant ends");
        let mut holder = lent.try_take().expect("everyone gave the token back");
        assert_eq!(holder.next_waiting(), None);
        assert_eq!(*holder.value(), 3);
    });
}
