//! Links between nodes, as TCP has them: what goes into one comes out in order, unless it breaks; then what was in it
//! is lost, and a new link follows. Messages of the old link never come after some of the new.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::sim::Dice;

/// Messages that wait in a link; those beyond are lost.
const QUEUE_MAX: usize = 200;

/// The way from one node to another.
#[derive(Debug, Default)]
struct Link {
    /// What is on its way, and when it arrives.
    queue: VecDeque<(u64, Bytes)>,
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
    links: Vec<Link>,
}

impl Network {
    pub(super) fn new(nodes: usize) -> Self {
        let links = (0..nodes * nodes).map(|_| Link { slowness: 1, ..Link::default() }).collect();
        Self { nodes, links }
    }

    fn link(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from * self.nodes + to]
    }

    /// Sends a message; answers when it arrives, if it does.
    pub(super) fn send(
        &mut self,
        (from, to): (usize, usize),
        message: Bytes,
        time: u64,
        dice: &mut Dice,
    ) -> Option<u64> {
        let usual = if dice.one_in(40) { dice.below(60_000) } else { 50 + dice.below(900) };
        let link = self.link(from, to);
        if time < link.up_at || link.queue.len() >= QUEUE_MAX {
            return None;
        }
        let last = link.queue.back().map_or(0, |(at, _)| *at);
        let arrives = last.max(link.blocked_until).max(time + usual as u64 * link.slowness);
        link.queue.push_back((arrives, message));
        Some(arrives)
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

    /// Breaks the link of two nodes, both ways; there is a new one from `up_at` on.
    pub(super) fn cut(&mut self, (one, other): (usize, usize), up_at: u64) {
        for (from, to) in [(one, other), (other, one)] {
            let link = self.link(from, to);
            link.queue.clear();
            link.up_at = link.up_at.max(up_at);
        }
    }

    /// A link becomes slower, or as fast as others.
    pub(super) fn slow_down(&mut self, (from, to): (usize, usize), slowness: u64) {
        self.link(from, to).slowness = slowness;
    }

    /// All links are good again.
    pub(super) fn heal(&mut self, time: u64) {
        for link in &mut self.links {
            link.blocked_until = link.blocked_until.min(time);
            (link.up_at, link.slowness) = (link.up_at.min(time), 1);
        }
    }
}
