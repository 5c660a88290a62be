//! When the bytes of one connection came, and which of its requests still owe their reply: what the
//! stages of a latency are computed from. Belongs to the connection; all times are ticks of the clock
//! that all cores share.

use std::collections::VecDeque;

/// Pieces of input, and batches of requests, that are told apart. What comes beyond them is counted
/// with the last, which is older: latencies come out too long then, never too short.
const PIECES_MAX: usize = 16;

/// Requests that were run together and whose replies have not been handed to the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// The earliest instant at which their bytes can have come.
    pub(super) arrived: u64,
    /// The end of their batch.
    pub(super) ended: u64,
    /// How many they are.
    pub(super) requests: u64,
    /// The connection's last ticket then: their replies are complete when no reply is waited for by
    /// this ticket or an older one.
    pub(super) ticket: u64,
}

/// Bytes of input that were kept because the connection could not go on when they came.
#[derive(Clone, Copy, Debug)]
struct Kept {
    bytes: usize,
    arrived: u64,
}

/// What is known of a connection's times.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    kept: VecDeque<Kept>,
    answered: VecDeque<Answered>,
    /// A request that gathers its tokens: answered later than the rest of its batch.
    gathering: Option<Answered>,
}

impl Timeline {
    /// Notes bytes that wait because the connection can't go on.
    pub(super) fn keep(&mut self, bytes: usize, arrived: u64) {
        let full = self.kept.len() == PIECES_MAX;
        match self.kept.back_mut() {
            Some(last) if full || last.arrived == arrived => last.bytes += bytes,
            _ => self.kept.push_back(Kept { bytes, arrived }),
        }
    }

    /// When the oldest bytes came that were kept, if any were.
    pub(super) fn kept_since(&self) -> Option<u64> {
        self.kept.front().map(|kept| kept.arrived)
    }

    /// When the first `bytes` of those that were kept had all come, if any were kept.
    pub(super) fn arrived_by(&self, bytes: usize) -> Option<u64> {
        let mut end = 0;
        let reaches = |kept: &&Kept| {
            end += kept.bytes;
            end >= bytes
        };
        self.kept.iter().find(reaches).or(self.kept.back()).map(|kept| kept.arrived)
    }

    /// Notes that the oldest `bytes` were run.
    pub(super) fn run(&mut self, mut bytes: usize) {
        while let Some(oldest) = self.kept.front_mut() {
            if bytes < oldest.bytes {
                oldest.bytes -= bytes;
                return;
            }
            bytes -= oldest.bytes;
            self.kept.pop_front();
        }
    }

    /// What is left of the input is the beginning of a request, which comes with its last byte.
    pub(super) fn nothing_kept(&mut self) {
        self.kept.clear();
    }

    /// Notes requests whose replies are ready or under way.
    pub(super) fn answered(&mut self, answered: Answered) {
        let full = self.answered.len() == PIECES_MAX;
        match self.answered.back_mut() {
            Some(last) if full => {
                last.requests += answered.requests;
                last.ticket = answered.ticket;
            }
            _ => self.answered.push_back(answered),
        }
    }

    /// Notes a request that will be answered later than its batch.
    pub(super) fn gathers(&mut self, request: Answered) {
        self.gathering = Some(request);
    }

    /// The request that gathered its tokens has its reply.
    pub(super) fn gathered(&mut self) {
        if let Some(request) = self.gathering.take() {
            self.answered(request);
        }
    }

    /// The oldest batch whose replies are complete, if there is one, and it is no longer waited for.
    /// `waiting` is the oldest ticket that a reply is waited for by.
    pub(super) fn hand_over(&mut self, waiting: Option<u64>) -> Option<Answered> {
        let oldest = self.answered.front()?;
        let complete = waiting.is_none_or(|waiting| oldest.ticket < waiting);
        if complete { self.answered.pop_front() } else { None }
    }

    /// Nothing is to be sent any more: what is left here wanted no reply.
    pub(super) fn nothing_to_send(&mut self) {
        self.answered.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Answered, PIECES_MAX, Timeline};

    fn answered(arrived: u64, requests: u64, ticket: u64) -> Answered {
        Answered { arrived, ended: arrived + 5, requests, ticket }
    }

    #[test]
    fn kept_bytes_are_as_old_as_their_piece() {
        let mut timeline = Timeline::default();
        assert_eq!(timeline.kept_since(), None);
        for (bytes, arrived) in [(10, 100), (5, 100), (20, 200), (30, 300)] {
            timeline.keep(bytes, arrived);
        }
        for (run, since) in [(14, Some(100)), (1, Some(200)), (25, Some(300)), (25, None)] {
            timeline.run(run);
            assert_eq!(timeline.kept_since(), since, "{run}");
        }
        assert_eq!(timeline.arrived_by(1), None);
        for (bytes, arrived) in [(10, 100), (20, 200)] {
            timeline.keep(bytes, arrived);
        }
        for (bytes, arrived) in [(1, 100), (10, 100), (11, 200), (30, 200), (31, 200)] {
            assert_eq!(timeline.arrived_by(bytes), Some(arrived), "{bytes}");
        }
        timeline.nothing_kept();
        timeline.keep(1, 400);
        timeline.nothing_kept();
        assert_eq!(timeline.kept_since(), None);
    }

    #[test]
    fn pieces_beyond_the_last_count_with_it() {
        let mut timeline = Timeline::default();
        for piece in 0..100 {
            timeline.keep(10, piece);
            timeline.answered(answered(piece, 2, piece));
        }
        timeline.run(10 * (PIECES_MAX - 1));
        let last = PIECES_MAX as u64 - 1;
        assert_eq!(timeline.kept_since(), Some(last));
        timeline.run(10 * (100 - PIECES_MAX));
        assert_eq!(timeline.kept_since(), Some(last));
        timeline.run(10);
        assert_eq!(timeline.kept_since(), None);
        let handed: Vec<Answered> = std::iter::from_fn(|| timeline.hand_over(None)).collect();
        assert_eq!(handed.iter().map(|batch| batch.requests).sum::<u64>(), 200);
        assert_eq!(handed.last(), Some(&answered(last, 2 * (101 - PIECES_MAX as u64), 99)));
    }

    #[test]
    fn a_batch_is_handed_over_when_all_its_replies_are_there() {
        let mut timeline = Timeline::default();
        timeline.answered(answered(100, 16, 0));
        timeline.answered(answered(200, 16, 2));
        timeline.answered(answered(300, 16, 2));
        timeline.answered(answered(400, 16, 3));
        assert_eq!(timeline.hand_over(Some(1)), Some(answered(100, 16, 0)));
        assert_eq!(timeline.hand_over(Some(1)), None);
        assert_eq!(timeline.hand_over(Some(2)), None);
        assert_eq!(timeline.hand_over(Some(3)), Some(answered(200, 16, 2)));
        assert_eq!(timeline.hand_over(Some(3)), Some(answered(300, 16, 2)));
        assert_eq!(timeline.hand_over(Some(3)), None);
        assert_eq!(timeline.hand_over(None), Some(answered(400, 16, 3)));
        assert_eq!(timeline.hand_over(None), None);
    }

    #[test]
    fn a_gathering_request_is_answered_by_itself() {
        let mut timeline = Timeline::default();
        timeline.answered(answered(100, 3, 0));
        timeline.gathers(answered(100, 1, 0));
        assert_eq!(timeline.hand_over(None), Some(answered(100, 3, 0)));
        assert_eq!(timeline.hand_over(None), None);
        timeline.gathered();
        timeline.gathered();
        assert_eq!(timeline.hand_over(None), Some(answered(100, 1, 0)));
        assert_eq!(timeline.hand_over(None), None);
        timeline.answered(answered(100, 3, 0));
        timeline.nothing_to_send();
        assert_eq!(timeline.hand_over(None), None);
    }
}
