//! When a client may send: at once, at a rate, or when a trace says. Decides only; [`super::traffic`]
//! performs.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::schedule::Schedule;

/// Requests that a thread takes from the common budget at a time, at most.
const CHUNK_MAX: u64 = 1024;

/// How many requests may still be sent: all threads share what is left.
#[derive(Debug)]
pub(super) struct Budget {
    shared: Arc<AtomicU64>,
    chunk: u64,
    /// Taken by this thread and not used.
    local: u64,
}

impl Budget {
    /// This thread's access to a budget that `threads` share, and that started at `total`.
    pub(super) fn new(shared: Arc<AtomicU64>, total: u64, threads: usize) -> Self {
        // Small enough that at the end no thread sits on much of it.
        let chunk = (total / (threads as u64 * 64)).clamp(1, CHUNK_MAX);
        Self { shared, chunk, local: 0 }
    }

    /// Takes one.
    pub(super) fn take(&mut self) -> bool {
        if self.local == 0 {
            let take = |left: u64| Some(left - left.min(self.chunk));
            let before = self.shared.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            self.local = before.map_or(0, |left| left.min(self.chunk));
        }
        let is_left = self.local > 0;
        self.local -= u64::from(is_left);
        is_left
    }

    /// Gives one back that was not used after all.
    pub(super) fn give_back(&mut self) {
        self.local += 1;
    }

    /// Whether there is none left for this thread.
    pub(super) fn is_spent(&self) -> bool {
        self.local == 0 && self.shared.load(Ordering::Relaxed) == 0
    }
}

/// When a client may send.
pub(super) enum Pace {
    /// A client sends `depth` requests, and the next when all are answered.
    Closed,
    /// Requests are due when a schedule says, and go to whichever client has waited longest.
    Open(Open),
    /// Each client's requests are due when its trace says.
    Replay(Replay),
}

/// How late requests are sent by the tool's own doing, rather than for want of a free client.
///
/// A tool that stood still leaves a backlog, most of which is then sent when replies make clients free: late
/// all the same, and by the tool. So what it once was late by is held against every request until the
/// backlog is gone, but never more than that: what a stall of the server left is not the tool's. Where it
/// stood still while all its clients waited for replies, those may have been there all the time: that is
/// its own doing too.
#[derive(Default)]
pub(super) struct Lateness {
    owed_ns: u64,
}

/// A request due no longer ago than this is not of a backlog.
const BACKLOG_NS: u64 = 1_000_000;

impl Lateness {
    /// That of a request that is sent now, was due then, and had a client free for it since then.
    pub(super) fn of(&mut self, due_ns: u64, free_since_ns: u64, now_ns: u64) -> u64 {
        let own = now_ns.saturating_sub(due_ns.max(free_since_ns));
        let waited = now_ns.saturating_sub(due_ns);
        self.owed_ns = if waited < BACKLOG_NS { 0 } else { self.owed_ns.max(own) };
        own.max(waited.min(self.owed_ns))
    }

    /// The tool did nothing for so long, whatever it was waiting for.
    pub(super) fn stood_still(&mut self, ns: u64) {
        self.owed_ns = self.owed_ns.max(ns);
    }
}

/// The state of an open loop.
pub(super) struct Open {
    pub(super) schedule: Schedule,
    /// Clients that have fewer than `depth` requests on the way, in the order they came free.
    free: VecDeque<u32>,
    /// When the first of them came free after there was none.
    free_since_ns: u64,
    pub(super) lateness: Lateness,
}

impl Open {
    pub(super) fn new(schedule: Schedule) -> Self {
        Self { schedule, free: VecDeque::new(), free_since_ns: 0, lateness: Lateness::default() }
    }

    /// A client can take a request.
    pub(super) fn free(&mut self, lane: u32, now_ns: u64) {
        if self.free.is_empty() {
            self.free_since_ns = now_ns;
        }
        self.free.push_back(lane);
    }

    /// The client that is to send next.
    pub(super) fn take(&mut self) -> Option<u32> {
        self.free.pop_front()
    }

    /// How late a request is that is sent now, by the tool's own doing.
    pub(super) fn lateness_ns(&mut self, now_ns: u64) -> u64 {
        self.lateness.of(self.schedule.due_ns(), self.free_since_ns, now_ns)
    }

    /// When something is to be done, if a client is free to do it.
    pub(super) fn due_ns(&self) -> Option<u64> {
        (!self.free.is_empty()).then(|| self.schedule.due_ns())
    }
}

/// The state of a replay: clients that can take a request, by when theirs is due.
#[derive(Default)]
pub(super) struct Replay {
    due: BinaryHeap<Reverse<(u64, u32)>>,
    pub(super) lateness: Lateness,
}

impl Replay {
    /// A client can take a request, which is due then.
    pub(super) fn free(&mut self, lane: u32, due_ns: u64) {
        self.due.push(Reverse((due_ns, lane)));
    }

    /// The client whose request is due, and since when.
    pub(super) fn take(&mut self, now_ns: u64) -> Option<(u64, u32)> {
        let Reverse((due_ns, _)) = *self.due.peek()?;
        (due_ns <= now_ns).then(|| self.due.pop().map(|Reverse(first)| first)).flatten()
    }

    /// When something is to be done.
    pub(super) fn due_ns(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((due_ns, _))| *due_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::Lateness;

    const MS: u64 = 1_000_000;

    #[test]
    fn what_the_tool_was_late_by_is_held_against_the_whole_backlog() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.of(100 * MS, 90 * MS, 100 * MS + 5), 5);
        // The tool stands still for 400 ms; then a reply a millisecond makes its one client free.
        assert_eq!(lateness.of(101 * MS, 100 * MS, 501 * MS), 400 * MS);
        for step in 1..=3 {
            let now = (501 + step) * MS;
            assert_eq!(lateness.of((101 + step) * MS, now - 2, now), 400 * MS);
        }
        // It catches up, and nothing is left of it.
        assert_eq!(lateness.of(505 * MS, 505 * MS + 10, 505 * MS + 12), 2);
        assert_eq!(lateness.of(506 * MS, 600 * MS, 600 * MS + 7), 7);
    }

    #[test]
    fn a_tool_that_stood_still_while_all_its_clients_waited_is_late() {
        let mut lateness = Lateness::default();
        lateness.stood_still(400 * MS);
        assert_eq!(lateness.of(101 * MS, 500 * MS, 500 * MS + 3), 399 * MS + 3);
        assert_eq!(lateness.of(490 * MS, 501 * MS, 501 * MS + 3), 11 * MS + 3);
        assert_eq!(lateness.of(502 * MS, 502 * MS, 502 * MS + 3), 3);
        // It has caught up.
        assert_eq!(lateness.of(503 * MS, 700 * MS, 700 * MS + 3), 3);
    }

    #[test]
    fn a_stall_of_the_server_is_not_the_tools() {
        let mut lateness = Lateness::default();
        // No client is free for 400 ms, then the tool takes 3 us, and once 2 ms, to send.
        assert_eq!(lateness.of(100 * MS, 500 * MS, 500 * MS + 3_000), 3_000);
        assert_eq!(lateness.of(101 * MS, 501 * MS, 503 * MS), 2 * MS);
        assert_eq!(lateness.of(102 * MS, 503 * MS, 503 * MS + 1), 2 * MS);
    }
}
