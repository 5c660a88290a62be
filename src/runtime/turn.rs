//! Since when the bytes that a turn finds can have been there.
//!
//! The kernel does not say when bytes came, only that they are here. What is known is when the core last
//! looked: while it runs, nothing is received (`DEFER_TASKRUN`), so what one look brings came after the
//! look before it.
//!
//! ```text
//!            turn 1            turn 2                      turn 3
//! kernel ├──────────┤ kernel ├──────────┤ kernel, asleep ├──────────┤
//!        ▲ what turn 2 finds came after here             ▲ what turn 3 finds came now:
//!                                                          there was nothing before it slept
//! ```
//!
//! So a wait is counted from an instant at which the bytes can't have been there yet, or at which the
//! core woke up for them. Owned by one core; all times are ticks of its clock.

/// How the core came back from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Return {
    /// When.
    pub(super) at: u64,
    /// Whether it slept until something came.
    pub(super) slept: bool,
    /// Receives that completed.
    pub(super) receives: usize,
    /// Whether more waits already to be received.
    pub(super) more: bool,
    /// The connections that nothing was received from: as many receives, at most, can be waiting that
    /// are older than this return.
    pub(super) silent: usize,
}

/// Fewer receives than this, and the kernel has received all there was: it leaves something for the next
/// look only after so many (Linux since 6.13: `IO_LOCAL_TW_DEFAULT_MAX`; before, never).
const RECEIVES_AT_ONCE: usize = 20;

/// Since when the bytes at hand can have been there.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    /// What the next look brings came after this.
    after: u64,
    /// A later instant that takes the place of `after` once everything older has been received.
    next: Option<Pending>,
    /// What the last look brought came after this.
    now: u64,
}

/// An instant before which things may have come that are still to be received.
#[derive(Clone, Copy, Debug)]
struct Pending {
    at: u64,
    /// Receives, of those to come, that may be older.
    older: usize,
}

impl Arrival {
    /// The core is back from the kernel.
    pub(super) fn look(&mut self, back: Return) {
        let Return { at, slept, receives, more, silent } = back;
        self.now = if slept { at } else { self.after };
        if !more || receives < RECEIVES_AT_ONCE {
            self.after = at;
            self.next = None;
            return;
        }
        // What waits is received in the order in which it came, so after as many receives as can be
        // waiting now, everything is newer than now.
        if let Some(next) = &mut self.next {
            next.older = next.older.saturating_sub(receives);
            if next.older == 0 {
                self.after = next.at;
                self.next = None;
            }
        }
        self.next.get_or_insert(Pending { at, older: silent });
    }

    /// The earliest instant at which what the last look brought can have come.
    pub(super) fn earliest(&self) -> u64 {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrival, RECEIVES_AT_ONCE, Return};

    const BACK: Return = Return { at: 0, slept: false, receives: 1, more: false, silent: 50 };

    fn earliest(arrival: &mut Arrival, back: Return) -> u64 {
        arrival.look(back);
        arrival.earliest()
    }

    #[test]
    fn after_a_sleep_it_came_just_now() {
        let mut arrival = Arrival::default();
        assert_eq!(earliest(&mut arrival, Return { at: 1_000, slept: true, ..BACK }), 1_000);
        assert_eq!(earliest(&mut arrival, Return { at: 9_000, slept: true, ..BACK }), 9_000);
    }

    #[test]
    fn awake_it_came_after_the_look_before() {
        let mut arrival = Arrival::default();
        earliest(&mut arrival, Return { at: 1_000, slept: true, ..BACK });
        assert_eq!(earliest(&mut arrival, Return { at: 1_300, ..BACK }), 1_000);
        // Something waits again at once: it is newer than this look, which took all there was.
        assert_eq!(earliest(&mut arrival, Return { at: 1_700, more: true, ..BACK }), 1_300);
        assert_eq!(earliest(&mut arrival, Return { at: 2_000, ..BACK }), 1_700);
    }

    #[test]
    fn what_the_kernel_left_behind_is_older_than_the_look_before() {
        let mut arrival = Arrival::default();
        earliest(&mut arrival, Return { at: 1_000, slept: true, ..BACK });
        let full = Return { receives: RECEIVES_AT_ONCE, more: true, ..BACK };
        // At 2,000 up to 50 receives may be waiting that came before; they are through with the third
        // look after it.
        for (at, came_after) in [
            (2_000, 1_000),
            (3_000, 1_000),
            (4_000, 1_000),
            (5_000, 1_000),
            (6_000, 2_000),
            (7_000, 2_000),
            (8_000, 2_000),
            (9_000, 5_000),
        ] {
            assert_eq!(earliest(&mut arrival, Return { at, ..full }), came_after, "{at}");
        }
        // A look that leaves nothing behind ends all doubt.
        assert_eq!(earliest(&mut arrival, Return { at: 10_000, ..BACK }), 5_000);
        assert_eq!(earliest(&mut arrival, Return { at: 11_000, ..BACK }), 10_000);
    }
}
