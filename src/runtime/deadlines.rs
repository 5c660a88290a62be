//! When clients of one core have waited long enough, and when the core has to wake up for the next of them.
//!
//! A core wakes up every [`TICK_MS`] anyway. For a deadline before the next tick it sets an alarm, and no more than one
//! for the same deadline: a core with nothing else to do ends a wait when its time is over, not at the tick after that.

use std::collections::BTreeSet;

use crate::limits::TICK_MS;
use crate::types::{ClientId, MonoUs};

/// The deadlines of one core.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    all: BTreeSet<(MonoUs, ClientId)>,
    /// When the core wakes up for the first of them, if that has been seen to.
    alarm: Option<MonoUs>,
}

impl Deadlines {
    /// A client waits for so long from now on; answers until when.
    pub(super) fn add(&mut self, client: ClientId, now: MonoUs, wait_ms: u64) -> MonoUs {
        let deadline = MonoUs(now.0.saturating_add(wait_ms.saturating_mul(1000)));
        self.all.insert((deadline, client));
        deadline
    }

    /// A client waits no longer.
    pub(super) fn remove(&mut self, client: ClientId, deadline: MonoUs) {
        self.all.remove(&(deadline, client));
    }

    /// How many clients have one.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Whether none has.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Takes out a client whose time is over, the one that has waited for that the longest.
    pub(super) fn take_due(&mut self, now: MonoUs) -> Option<ClientId> {
        let (deadline, client) = self.all.first().copied()?;
        if deadline > now {
            return None;
        }
        self.all.pop_first();
        Some(client)
    }

    /// In how many microseconds the core is to wake up for the first deadline; none if it does so anyway.
    #[inline]
    pub(super) fn take_alarm_us(&mut self, now: MonoUs) -> Option<u64> {
        let (deadline, _) = *self.all.first()?;
        let is_set = self.alarm.is_some_and(|alarm| alarm > now && alarm <= deadline);
        let left_us = deadline.0.saturating_sub(now.0);
        if is_set || left_us > u64::from(TICK_MS) * 1000 {
            return None;
        }
        self.alarm = Some(deadline);
        Some(left_us)
    }

    /// The alarm has rung; by the clock at hand, perhaps a moment too early: then there is to be another.
    pub(super) fn note_alarm(&mut self) {
        self.alarm = None;
    }
}

#[cfg(test)]
mod tests {
    use super::Deadlines;
    use crate::limits::TICK_MS;
    use crate::types::{ClientId, MonoUs};
    use std::collections::BTreeMap;

    const TICK_US: u64 = TICK_MS as u64 * 1000;
    /// How much later than its deadline a wait may end.
    const LATE_US_MAX: u64 = 10_000;
    /// How long a turn may take for that: what has come meanwhile is looked at in the next one.
    const TURN_US_MAX: u64 = LATE_US_MAX / 2;

    /// A core that does nothing else: it sleeps until the next tick or alarm, or until something else wakes it up.
    struct Core {
        deadlines: Deadlines,
        now: u64,
        next_tick: u64,
        alarms: Vec<u64>,
        seed: u64,
        /// Until when each client is to wait.
        waiting: BTreeMap<ClientId, u64>,
    }

    impl Core {
        fn below(&mut self, end: u64) -> u64 {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.seed >> 33) % end
        }

        /// Ends the waits whose time is over: each after its deadline, and soon.
        fn end_waits(&mut self) {
            while let Some(client) = self.deadlines.take_due(MonoUs(self.now)) {
                let deadline = self.waiting.remove(&client).expect("a client that waits");
                assert!(self.now >= deadline, "{client:?} is woken at {}", self.now);
                assert!(
                    self.now <= deadline + LATE_US_MAX,
                    "{client:?}: {} µs late",
                    self.now - deadline
                );
            }
            let overdue = self.waiting.values().filter(|deadline| **deadline <= self.now).count();
            assert_eq!(overdue, 0, "at {}", self.now);
        }

        /// What the core does when it is awake; then it sleeps.
        fn turn(&mut self, number: u64) {
            self.end_waits();
            for client in (0..self.below(3)).map(|place| ClientId(10 * number + place)) {
                let most = match number % 3 {
                    0 => 3,
                    1 => 150,
                    _ => 2_000,
                };
                let wait_ms = 1 + self.below(most);
                let deadline = self.deadlines.add(client, MonoUs(self.now), wait_ms);
                assert_eq!(deadline.0, self.now + 1000 * wait_ms);
                self.waiting.insert(client, deadline.0);
            }
            // Some are served.
            if self.below(3) == 0
                && let Some((client, deadline)) = self.waiting.pop_first()
            {
                self.deadlines.remove(client, MonoUs(deadline));
            }
            let alarm = self.deadlines.take_alarm_us(MonoUs(self.now));
            // The time runs on, and the kernel counts from when the core goes to sleep, by a clock of its own.
            self.now += self.below(TURN_US_MAX);
            let early = self.below(TURN_US_MAX + 50);
            self.alarms.extend(alarm.map(|us| (self.now + us).saturating_sub(early)));
            let first = self.alarms.iter().copied().min().unwrap_or(u64::MAX);
            let wake_up = match self.below(4) {
                0 => self.now + self.below(30_000),
                _ => u64::MAX,
            };
            self.now = first.min(self.next_tick).min(wake_up).max(self.now);
            if first <= self.now {
                self.deadlines.note_alarm();
            }
            self.alarms.retain(|alarm| *alarm > self.now);
            if self.next_tick <= self.now {
                self.next_tick += TICK_US;
            }
        }
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_before() {
        for seed in 0..20 {
            let mut core = Core {
                deadlines: Deadlines::default(),
                now: 77,
                next_tick: TICK_US,
                alarms: Vec::new(),
                seed,
                waiting: BTreeMap::new(),
            };
            (0..3_000).for_each(|number| core.turn(number));
            assert_eq!(core.deadlines.count(), core.waiting.len());
            assert!(core.now > 10_000_000, "{}", core.now);
        }
    }

    #[test]
    fn the_alarm_is_for_the_first_deadline_and_set_once() {
        let mut deadlines = Deadlines::default();
        let at = |us: u64| MonoUs(1_000_000 + us);
        assert_eq!(deadlines.take_alarm_us(at(0)), None);
        deadlines.add(ClientId(1), at(0), 250);
        // A tick comes before.
        assert_eq!(deadlines.take_alarm_us(at(0)), None);
        assert_eq!(deadlines.take_alarm_us(at(149_999)), None);
        assert_eq!(deadlines.take_alarm_us(at(150_000)), Some(100_000));
        assert_eq!(deadlines.take_alarm_us(at(150_001)), None);
        // One that comes before is seen to, one that comes after is not yet.
        let sooner = deadlines.add(ClientId(2), at(160_000), 20);
        assert_eq!(deadlines.take_alarm_us(at(160_000)), Some(20_000));
        deadlines.add(ClientId(3), at(160_000), 50);
        assert_eq!(deadlines.take_alarm_us(at(160_000)), None);
        // It rings for nobody, and then the next is seen to.
        deadlines.remove(ClientId(2), sooner);
        assert_eq!(deadlines.take_alarm_us(at(170_000)), None);
        assert_eq!(deadlines.take_due(at(180_000)), None);
        assert_eq!(deadlines.take_alarm_us(at(180_000)), Some(30_000));
        assert_eq!(deadlines.take_due(at(209_999)), None);
        assert_eq!(deadlines.take_due(at(210_000)), Some(ClientId(3)));
        assert_eq!(deadlines.take_due(at(210_000)), None);
        assert_eq!(deadlines.take_alarm_us(at(210_000)), Some(40_000));
        assert_eq!(deadlines.take_due(at(999_000)), Some(ClientId(1)));
        assert!(deadlines.is_empty());
        // It rings too early.
        let sooner = deadlines.add(ClientId(5), at(0), 50);
        assert_eq!(deadlines.take_alarm_us(at(0)), Some(50_000));
        deadlines.note_alarm();
        assert_eq!(deadlines.take_due(at(49_995)), None);
        assert_eq!(deadlines.take_alarm_us(at(49_995)), Some(5));
        deadlines.remove(ClientId(5), sooner);
        // Nobody waits until the end of time.
        assert_eq!(deadlines.add(ClientId(4), at(0), u64::MAX), MonoUs(u64::MAX));
        assert_eq!(deadlines.take_alarm_us(at(0)), None);
    }

    #[test]
    fn who_has_waited_the_longest_goes_first() {
        let mut deadlines = Deadlines::default();
        for (client, wait_ms) in [(5, 9), (6, 3), (7, 9), (8, 1)] {
            deadlines.add(ClientId(client), MonoUs(0), wait_ms);
        }
        let order = std::iter::from_fn(|| deadlines.take_due(MonoUs(9_000)));
        assert_eq!(order.collect::<Vec<_>>(), [8, 6, 5, 7].map(ClientId));
    }
}
