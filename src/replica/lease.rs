//! Until when a leader may answer reads: a lease, by this node's monotonic clock.
//!
//! A leader asks all others for a sign every round. Whoever gives one promises by it not to vote for anybody
//! else for an election timeout, so once a quorum has answered a round there is no other leader before that much
//! time has passed since the round was *sent*, less what clocks may differ by. Who reads looks at the clock
//! after the read (`runtime::gate`), so a process that was stopped meanwhile finds the lease expired.
//!
//! The promise holds because ticks of an election timeout are never counted faster than real time, and because a
//! replica that has been started anew, which has forgotten what it promised, sits out the first timeout.

use std::collections::VecDeque;

use crate::types::MonoUs;

/// Of a lease, so much is not used: clocks of two nodes may run at speeds that differ by a tenth.
const DRIFT: u64 = 10;
/// Rounds that are waited for; the answers to older ones are of no use any more.
pub(super) const ROUNDS_MAX: usize = 64;

/// A leader's lease.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// The last round sent.
    round: u64,
    /// When rounds were sent that have not been answered.
    pub(super) sent: VecDeque<(u64, MonoUs)>,
    /// How long a round is good for.
    length_us: u64,
    until: MonoUs,
}

impl Lease {
    /// A lease of a replica whose ticks take `tick_us`, and which votes again after `ticks` of them.
    pub(super) fn new(tick_us: u64, ticks: u64) -> Self {
        // The first tick may come in the same turn as the sign, and the next right after.
        let promised_us = ticks.saturating_sub(2) * tick_us;
        Self { length_us: promised_us - promised_us / DRIFT, ..Self::default() }
    }

    /// A round is sent now; answers its number.
    pub(super) fn send(&mut self, now: MonoUs) -> u64 {
        self.round += 1;
        if self.sent.len() == ROUNDS_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((self.round, now));
        self.round
    }

    /// A quorum has answered a round, and so all before it.
    pub(super) fn answered(&mut self, round: u64) {
        while let Some((number, sent)) = self.sent.front().copied()
            && number <= round
        {
            self.sent.pop_front();
            self.until = self.until.max(MonoUs(sent.0 + self.length_us));
        }
    }

    /// Nothing that was sent before counts any more.
    pub(super) fn end(&mut self) {
        self.sent.clear();
        self.until = MonoUs(0);
    }

    /// Nobody else leads before then.
    pub(super) fn until(&self) -> MonoUs {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::Lease;
    use crate::types::MonoUs;

    #[test]
    fn a_lease_counts_from_when_its_round_was_sent() {
        let mut lease = Lease::new(25_000, 12);
        assert_eq!(lease.until(), MonoUs(0));
        let first = lease.send(MonoUs(1_000_000));
        let second = lease.send(MonoUs(1_050_000));
        lease.answered(first);
        // Ten ticks less a tenth.
        assert_eq!(lease.until(), MonoUs(1_225_000));
        lease.answered(second);
        lease.answered(first);
        assert_eq!(lease.until(), MonoUs(1_275_000));
        let third = lease.send(MonoUs(2_000_000));
        lease.end();
        lease.answered(third);
        assert_eq!(lease.until(), MonoUs(0));
    }
}
