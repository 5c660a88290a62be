//! What one thread has counted since it last reported, and the reporting: ten times a second an
//! [`Interval`] goes to the coordinator and an empty one comes back, so that nothing is allocated or
//! merged by the thread that measures.

use std::sync::mpsc::{Receiver, Sender};

use super::Message;
use super::tally::Tally;
use crate::report::outcome::Faults;
use crate::work::Verdict;

/// Length of an interval.
pub(super) const INTERVAL_NS: u64 = 100_000_000;
/// Kinds of error that one command tells apart in one interval; the rest share [`OTHER_ERRORS`].
const ERROR_KINDS_MAX: usize = 32;
const OTHER_ERRORS: &[u8] = b"others";

/// One thread's counts of one tenth of a second.
#[derive(Default)]
pub(super) struct Interval {
    /// Its start, in nanoseconds since the start of the measured part; none in the warm-up.
    pub(super) start_ns: Option<u64>,
    /// In the order of the mix.
    pub(super) commands: Vec<Counts>,
    pub(super) faults: Faults,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// Redirects for good, and for one request.
    pub(super) moved: u64,
    pub(super) asked: u64,
    /// Open loop: from when a request was due and a client free to when it was sent.
    pub(super) lateness: Tally,
    /// How long requests have waited that had no answer when the run ended.
    pub(super) overdue: Tally,
}

/// One command's counts.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    /// Of right replies.
    pub(super) latencies: Tally,
    pub(super) errors: Vec<(Box<[u8]>, u64)>,
}

impl Interval {
    fn clear(&mut self) {
        for counts in &mut self.commands {
            counts.sent = 0;
            counts.latencies.clear();
            counts.errors.clear();
        }
        self.faults = Faults::default();
        (self.bytes_in, self.bytes_out, self.moved, self.asked) = (0, 0, 0, 0);
        self.lateness.clear();
        self.overdue.clear();
    }
}

/// A thread's current interval.
pub(super) struct Book {
    thread: usize,
    interval: Box<Interval>,
    /// When the measured part starts.
    from_ns: u64,
    started_ns: u64,
    next_ns: u64,
    is_measured: bool,
    to: Sender<Message>,
    spare: Receiver<Box<Interval>>,
}

impl Book {
    /// A book for so many commands; what is before `from_ns` is the warm-up.
    pub(super) fn new(
        thread: usize,
        commands: usize,
        from_ns: u64,
        to: Sender<Message>,
        spare: Receiver<Box<Interval>>,
    ) -> Self {
        let mut book = Self {
            thread,
            interval: Box::default(),
            from_ns,
            started_ns: 0,
            next_ns: if from_ns == 0 { INTERVAL_NS } else { INTERVAL_NS.min(from_ns) },
            is_measured: from_ns == 0,
            to,
            spare,
        };
        book.interval.commands.resize_with(commands, Counts::default);
        book
    }

    /// Hands the interval over if its time is up.
    pub(super) fn turn_page(&mut self, now_ns: u64) {
        if now_ns >= self.next_ns {
            self.hand_over(now_ns);
        }
    }

    /// Hands over what there is.
    pub(super) fn hand_over(&mut self, now_ns: u64) {
        let commands = self.interval.commands.len();
        let mut empty = self.spare.try_recv().unwrap_or_default();
        empty.commands.resize_with(commands, Counts::default);
        let mut full = std::mem::replace(&mut self.interval, empty);
        full.start_ns = self.is_measured.then(|| self.started_ns.saturating_sub(self.from_ns));
        self.started_ns = now_ns;
        // Nobody listens any more when the run is being given up.
        let _ = self.to.send(Message::Interval(self.thread, full));
        self.is_measured = now_ns >= self.from_ns;
        // Intervals end at round times, so that ten of them are a second.
        let (origin, end) =
            if self.is_measured { (self.from_ns, u64::MAX) } else { (0, self.from_ns) };
        let passed = (now_ns - origin) / INTERVAL_NS;
        self.next_ns = (origin + (passed + 1) * INTERVAL_NS).min(end);
    }

    /// A request was handed to a connection.
    pub(super) fn sent(&mut self, command: u16, is_counted: bool) {
        if is_counted == self.is_measured {
            self.interval.commands[usize::from(command)].sent += 1;
        }
    }

    /// A reply came after `latency_ns`.
    pub(super) fn judged(
        &mut self,
        command: u16,
        latency_ns: u64,
        verdict: Verdict<'_>,
        is_counted: bool,
    ) {
        let interval = &mut *self.interval;
        let counts = &mut interval.commands[usize::from(command)];
        match verdict {
            // Data that is not what it must be is told of whenever it is seen.
            Verdict::Wrong => interval.faults.wrong += 1,
            Verdict::Lost => interval.faults.lost += 1,
            Verdict::Stale => interval.faults.stale += 1,
            Verdict::Foreign => interval.faults.foreign += 1,
            _ if is_counted != self.is_measured => {}
            Verdict::Hit | Verdict::Miss | Verdict::Done => counts.latencies.record(latency_ns),
            Verdict::Error(kind) => counts.error(kind),
        }
    }

    /// A reply that can't be one, or that nothing asked for.
    pub(super) fn wrong(&mut self) {
        self.interval.faults.wrong += 1;
    }

    /// A request will have no reply.
    pub(super) fn unanswered(&mut self, is_counted: bool) {
        self.interval.faults.unanswered += u64::from(is_counted && self.is_measured);
    }

    /// A connection has to be opened again.
    pub(super) fn reconnects(&mut self) {
        self.interval.faults.reconnects += 1;
    }

    /// A request that was due has no reply at the end of the run.
    pub(super) fn overdue(&mut self, age_ns: u64) {
        self.interval.overdue.record(age_ns);
    }

    /// A request of an open loop is sent so long after it could have been.
    pub(super) fn late(&mut self, ns: u64) {
        if self.is_measured {
            self.interval.lateness.record(ns);
        }
    }

    pub(super) fn redirected(&mut self, is_ask: bool) {
        self.interval.moved += u64::from(!is_ask);
        self.interval.asked += u64::from(is_ask);
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.interval.bytes_in += bytes as u64;
    }

    pub(super) fn wrote(&mut self, bytes: usize) {
        self.interval.bytes_out += bytes as u64;
    }

    /// Makes `interval` one that can be handed out again.
    pub(super) fn recycle(interval: &mut Interval) {
        interval.clear();
    }
}

impl Counts {
    fn error(&mut self, kind: &[u8]) {
        let is_full = self.errors.len() >= ERROR_KINDS_MAX;
        match self.errors.iter_mut().find(|(known, _)| **known == *kind) {
            Some((_, count)) => *count += 1,
            None if is_full && kind != OTHER_ERRORS => self.error(OTHER_ERRORS),
            None => self.errors.push((kind.into(), 1)),
        }
    }
}
