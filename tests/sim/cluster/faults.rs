//! What goes wrong.

use super::{Cluster, Event, Kind};
use crate::log::HardState;
use crate::sim::Outcome;
use crate::sim::disk::Disk;

impl Cluster {
    /// Something goes wrong, and the next thing will.
    pub(super) fn go_wrong(&mut self) -> Outcome {
        if self.time >= self.busy_until {
            return Ok(());
        }
        let us = if self.dice.one_in(4) { 40_000 } else { 700_000 };
        let time = self.soon(us);
        self.at(time, Event::Fault);
        let node = self.dice.below(self.nodes.len());
        match self.dice.below(22) {
            0..5 => self.crash_if_allowed(node),
            5 if self.kind == Kind::Any => {
                for node in 0..self.nodes.len() {
                    self.crash_if_allowed(node);
                }
            }
            6 => self.lose_disk(node),
            7..10 => self.pause(node),
            10..13 => self.part(),
            13 | 14 => self.break_link(node),
            15 => self.slow_down(node),
            16 => self.stop(node),
            17 => {
                if let Some(process) = &mut self.nodes[node].process {
                    process.shard.ask_for_snapshot();
                }
            }
            18 => {
                let until = self.soon(1_500_000);
                self.nodes[node].stalled_until = until;
                self.note(format_args!("the disk of {node} stalls until {until}"));
            }
            _ => self.pause_leader(),
        }
        Ok(())
    }

    /// Whether one more node may lose what it has in memory.
    fn may_crash(&mut self, node: usize) -> bool {
        self.kind == Kind::Any || self.are_others_good(node)
    }

    /// Whether so many of the other nodes have all that they ever had that one more may lose it.
    fn are_others_good(&mut self, node: usize) -> bool {
        let founders = self.settings.founders;
        // Who never had anything can't tell, and is no better.
        let is_blank = |index, it: &mut super::Node| {
            let state = HardState::read(&mut it.disk).ok().flatten();
            index < founders && !state.is_some_and(|it| it.has_begun || it.is_clean)
        };
        let others = self.nodes.iter_mut().enumerate().filter(|(index, _)| *index != node);
        let bad = others.filter_map(|(index, it)| (it.is_bad || is_blank(index, it)).then_some(()));
        bad.count() < (founders - 1) / 2
    }

    fn crash_if_allowed(&mut self, node: usize) {
        if self.nodes[node].process.is_none() || !self.may_crash(node) {
            return;
        }
        let has_power = self.dice.one_in(2);
        self.crash(node, has_power);
    }

    fn crash(&mut self, node: usize, has_power: bool) {
        self.nodes[node].crash(has_power, &mut self.dice);
        if self.kind == Kind::Minority {
            self.nodes[node].is_bad = true;
        }
        self.note(format_args!("{node} crashes, power {has_power}"));
        self.gone(node);
        let us = if self.dice.one_in(3) { 1_500_000 } else { 150_000 };
        let time = self.soon(us);
        self.at(time, Event::Start(node));
    }

    /// A process has ended: its links are down, and its clients don't know what became of their calls.
    pub(super) fn gone(&mut self, node: usize) {
        for other in 0..self.nodes.len() {
            self.links_break((node, other));
        }
        for client in 0..self.clients.all.len() {
            let pending = self.clients.all[client].pending.filter(|it| it.node == node);
            if let Some(pending) = pending
                && self.clients.lost((client, pending.number))
            {
                self.clients.all[client].target = self.dice.below(self.nodes.len());
                self.think_later(client);
            }
        }
    }

    fn links_break(&mut self, (one, other): (usize, usize)) {
        if one == other {
            return;
        }
        let up_at = self.soon(40_000);
        self.network.cut((one, other), up_at);
        let ids = (self.nodes[one].id, self.nodes[other].id);
        for (node, id) in [(one, ids.1), (other, ids.0)] {
            if let Some(process) = &mut self.nodes[node].process {
                process.shard.node_is_down(id);
            }
        }
    }

    /// A disk is lost: what was promised to be on it is gone, so at most a minority has lost theirs.
    fn lose_disk(&mut self, node: usize) {
        let is_down = self.nodes[node].process.is_none();
        if is_down || self.nodes[node].is_bad || !self.are_others_good(node) {
            return;
        }
        self.crash(node, false);
        let manifest =
            crate::log::Manifest::new(crate::sim::SHARD, crate::sim::SHARDS, crate::sim::ID);
        let node_of = &mut self.nodes[node];
        node_of.disk = Disk::default();
        crate::log::create(&mut node_of.disk, &manifest).expect("a new log can be made");
        (node_of.is_bad, node_of.owes) = (true, None);
        self.note(format_args!("{node} loses its disk"));
    }

    fn pause(&mut self, node: usize) {
        // Long enough for others to elect a leader, or hardly, or not.
        let us = [400_000, 1_200_000, 2_500_000][self.dice.below(3)];
        let until = self.soon(us);
        let it = &mut self.nodes[node];
        if it.process.is_none() || self.time < it.paused_until {
            return;
        }
        it.paused_until = until;
        it.looked_at = self.dice.one_in(2).then_some(it.now(self.time));
        self.note(format_args!("{node} pauses until {until}"));
    }

    fn pause_leader(&mut self) {
        let is_serving = |node: &super::Node| {
            node.process.as_ref().is_some_and(|process| process.shard.is_serving())
        };
        if let Some(leader) = self.nodes.iter().position(is_serving) {
            self.pause(leader);
        }
    }

    /// Some nodes don't hear others for a while.
    fn part(&mut self) {
        let until = self.soon(1_500_000);
        let is_one_way = self.dice.one_in(3);
        let sides: Vec<bool> = self.nodes.iter().map(|_| self.dice.one_in(2)).collect();
        self.note(format_args!("parted until {until}: {sides:?}, one way {is_one_way}"));
        for from in 0..sides.len() {
            for to in 0..sides.len() {
                if sides[from] && !sides[to] || !is_one_way && !sides[from] && sides[to] {
                    self.network.block((from, to), until);
                }
            }
        }
    }

    fn break_link(&mut self, node: usize) {
        let other = self.dice.below(self.nodes.len());
        self.note(format_args!("the link of {node} and {other} breaks"));
        self.links_break((node, other));
    }

    fn slow_down(&mut self, node: usize) {
        let other = self.dice.below(self.nodes.len());
        let slowness = if self.dice.one_in(2) { 1 } else { 1 + self.dice.below(100) as u64 };
        self.network.slow_down((node, other), slowness);
    }

    /// A process ends in good order.
    fn stop(&mut self, node: usize) {
        let until = self.time + 2 * self.settings.replica.election_timeout_ms * 1000;
        let Some(process) = &mut self.nodes[node].process else { return };
        process.hands_over_until.get_or_insert(until);
        self.note(format_args!("{node} is to end"));
    }
}
