//! Links between nodes, as TCP has them: what goes into one comes out in order, unless it breaks; then what was in it
//! is lost, and a new link follows.
//!
//! In some runs they are worse than `replica::link` lets them be. Messages come twice, soon after or much later, or out
//! of order; and those of a link that broke, or of a process that has ended, come after some of the next. But nothing
//! ever comes to a process that was sent to the one before: keys of a link are made with what each side has thought of
//! for that link alone.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::sim::Dice;

/// Messages that wait in a link; those beyond are lost.
const QUEUE_MAX: usize = 200;

/// How long a message that comes twice, or out of order, may be on its way beyond others.
const ASTRAY_US: [usize; 3] = [3_000, 60_000, 2_000_000];

/// How much worse than TCP links are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Looseness {
    /// Of so many messages one comes twice; 0 for none.
    pub(super) double_one_in: usize,
    /// Of so many one comes out of order; 0 for none.
    pub(super) stray_one_in: usize,
}

/// The way from one node to another.
#[derive(Debug, Default)]
struct Link {
    /// What is on its way, and when it arrives; the first is first.
    queue: VecDeque<(u64, Bytes)>,
    /// When the last that keeps its place arrives.
    last: u64,
    /// Until when nothing arrives.
    blocked_until: u64,
    /// From when on something can be sent.
    up_at: u64,
    /// How many times slower than others it is.
    slowness: u64,
}

/// All links.
#[derive(Debug)]
pub(super) struct Network {
    nodes: usize,
    looseness: Looseness,
    links: Vec<Link>,
}

impl Network {
    pub(super) fn new(nodes: usize, looseness: Looseness) -> Self {
        let links = (0..nodes * nodes).map(|_| Link { slowness: 1, ..Link::default() }).collect();
        Self { nodes, looseness, links }
    }

    fn link(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from * self.nodes + to]
    }

    /// Sends a message; answers when it arrives, if it does, and when again.
    pub(super) fn send(
        &mut self,
        way: (usize, usize),
        message: Bytes,
        time: u64,
        dice: &mut Dice,
    ) -> Vec<u64> {
        let usual = if dice.one_in(40) { dice.below(60_000) } else { 50 + dice.below(900) };
        let (double, stray) = (self.looseness.double_one_in, self.looseness.stray_one_in);
        let comes_twice = double > 0 && dice.one_in(double);
        let is_astray = stray > 0 && dice.one_in(stray);
        let link = self.link(way.0, way.1);
        if time < link.up_at || link.queue.len() >= QUEUE_MAX {
            return Vec::new();
        }
        let usual = time + usual as u64 * link.slowness;
        let mut astray = || {
            let most = ASTRAY_US[dice.below(ASTRAY_US.len())];
            usual + dice.below(most) as u64
        };
        let mut arrivals = Vec::new();
        if is_astray {
            arrivals.push(astray());
        } else {
            link.last = link.last.max(link.blocked_until).max(usual);
            arrivals.push(link.last);
        }
        if comes_twice {
            arrivals.push(astray());
        }
        for arrives in &arrivals {
            let at = link.queue.partition_point(|(at, _)| at <= arrives);
            link.queue.insert(at, (*arrives, message.clone()));
        }
        arrivals
    }

    /// The next message of a link, if it has arrived.
    pub(super) fn take(&mut self, (from, to): (usize, usize), time: u64) -> Option<Bytes> {
        let link = self.link(from, to);
        let has_arrived = link.queue.front().is_some_and(|(at, _)| *at <= time);
        if !has_arrived || time < link.blocked_until {
            return None;
        }
        link.queue.pop_front().map(|(_, message)| message)
    }

    /// When the next message of a link arrives.
    pub(super) fn next(&self, (from, to): (usize, usize)) -> Option<u64> {
        let link = &self.links[from * self.nodes + to];
        link.queue.front().map(|(at, _)| (*at).max(link.blocked_until))
    }

    /// Nothing arrives over this link for a while; it is late then.
    pub(super) fn block(&mut self, (from, to): (usize, usize), until: u64) {
        let link = self.link(from, to);
        link.blocked_until = link.blocked_until.max(until);
    }

    /// Breaks the link of two nodes, both ways; there is a new one from `up_at` on. What was in it is lost, or may come
    /// late where links are worse than TCP.
    pub(super) fn cut(&mut self, (one, other): (usize, usize), up_at: u64) {
        let is_lost = self.looseness == Looseness::default();
        for (from, to) in [(one, other), (other, one)] {
            let link = self.link(from, to);
            if is_lost {
                link.queue.clear();
            }
            (link.last, link.up_at) = (0, link.up_at.max(up_at));
        }
    }

    /// A process has ended: nothing comes to it any more.
    pub(super) fn forget(&mut self, to: usize) {
        for from in 0..self.nodes {
            self.link(from, to).queue.clear();
        }
    }

    /// A link becomes slower, or as fast as others.
    pub(super) fn slow_down(&mut self, (from, to): (usize, usize), slowness: u64) {
        self.link(from, to).slowness = slowness;
    }

    /// All links are good again.
    pub(super) fn heal(&mut self, time: u64) {
        self.looseness = Looseness::default();
        for link in &mut self.links {
            link.blocked_until = link.blocked_until.min(time);
            (link.up_at, link.slowness) = (link.up_at.min(time), 1);
        }
    }
}
