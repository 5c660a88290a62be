//! What goes wrong.

use super::{Cluster, Event, Kind};
use crate::sim::Outcome;

/// After how long an operator looks again whether a process that has given up may be stopped.
const MEND_AGAIN_US: u64 = 100_000;

impl Cluster {
    /// Something goes wrong, and the next thing will.
    pub(super) fn go_wrong(&mut self) -> Outcome {
        if self.time >= self.busy_until {
            return Ok(());
        }
        let us = if self.dice.one_in(4) { 40_000 } else { 700_000 };
        let time = self.soon(us);
        self.at(time, Event::Fault);
        let node = self.dice.below(self.nodes);
        match self.dice.below(26) {
            0..5 => self.crash_if_allowed(node),
            5 if self.kind == Kind::Any => {
                for node in 0..self.nodes {
                    self.crash_if_allowed(node);
                }
            }
            6 => self.lose_disk(node),
            7..10 => self.pause(node),
            10..13 => self.part(),
            13 | 14 => self.break_link(node),
            15 => self.slow_down(node),
            16 => {
                self.stop(node);
            }
            17 => {
                let part = self.dice.below(self.parts.len());
                if let Some(process) = &mut self.parts[part].process {
                    process.shard.ask_for_snapshot();
                }
            }
            18 => {
                let until = self.soon(1_500_000);
                for part in self.parts_of(node) {
                    self.parts[part].stalled_until = until;
                }
                self.note(format_args!("the disk of {node} stalls until {until}"));
            }
            19 | 20 => self.fill_disk(node),
            21 | 22 => self.fail_disk(node),
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
        let mut bad = 0;
        for other in (0..self.nodes).filter(|other| *other != node) {
            let mut is_bad = self.is_unsafe(other);
            for part in self.parts_of(other) {
                // Who never had anything can't tell, and is no better.
                is_bad |= other < founders && !self.parts[part].knows_the_shard();
            }
            bad += usize::from(is_bad);
        }
        bad < (founders - 1) / 2
    }

    fn is_unsafe(&self, node: usize) -> bool {
        self.parts_of(node).any(|part| self.parts[part].is_unsafe())
    }

    fn crash_if_allowed(&mut self, node: usize) {
        if self.parts[node].process.is_none() || !self.may_crash(node) {
            return;
        }
        let has_power = self.dice.one_in(2);
        self.crash(node, has_power);
    }

    fn crash(&mut self, node: usize, has_power: bool) {
        for part in self.parts_of(node) {
            self.parts[part].crash(has_power, &mut self.dice);
            self.parts[part].is_bad |= self.kind == Kind::Minority;
        }
        self.note(format_args!("{node} crashes, power {has_power}"));
        self.gone(node);
        let us = if self.dice.one_in(3) { 1_500_000 } else { 150_000 };
        let time = self.soon(us);
        self.at(time, Event::Start(node));
    }

    /// A process has ended: its links are down, and its clients don't know what became of their calls.
    pub(super) fn gone(&mut self, node: usize) {
        for other in 0..self.nodes {
            self.links_break((node, other));
        }
        self.network.forget(node);
        for client in 0..self.clients.all.len() {
            let pending =
                self.clients.all[client].pending.filter(|it| it.part % self.nodes == node);
            if let Some(pending) = pending
                && self.clients.lost((client, pending.number))
            {
                self.clients.all[client].target = self.any_part(client);
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
        let ids = (self.parts[one].id, self.parts[other].id);
        for (node, id) in [(one, ids.1), (other, ids.0)] {
            for part in self.parts_of(node) {
                if let Some(process) = &mut self.parts[part].process {
                    process.shard.node_is_down(id);
                }
            }
        }
    }

    /// A disk is lost: what was promised to be on it is gone, so at most a minority has lost theirs.
    fn lose_disk(&mut self, node: usize) {
        let is_down = self.parts[node].process.is_none();
        if is_down || self.is_unsafe(node) || !self.are_others_good(node) {
            return;
        }
        self.crash(node, false);
        for part in self.parts_of(node) {
            self.parts[part].lose_disk();
        }
        self.note(format_args!("{node} loses its disk"));
    }

    /// A disk has no room for a while.
    fn fill_disk(&mut self, node: usize) {
        // What is stopped then, or has not even noted that it has begun, is as good as killed.
        for part in self.parts_of(node) {
            let it = &mut self.parts[part];
            let process = it.process.as_ref();
            let is_running = process.is_some_and(|process| process.hands_over_until.is_none());
            if !is_running || !it.has_hard_state() {
                return;
            }
        }
        for part in self.parts_of(node) {
            self.parts[part].disk.is_full = true;
        }
        self.note(format_args!("the disk of {node} is full"));
        self.mend_later(node);
    }

    /// A disk fails to do something for a shard: what is in memory behind it is as good as lost.
    fn fail_disk(&mut self, node: usize) {
        if self.parts[node].process.is_none() || !self.may_crash(node) {
            return;
        }
        let fails_hard_states = self.dice.one_in(2);
        let part = self.dice.below(self.shards) * self.nodes + node;
        let it = &mut self.parts[part];
        it.is_risky = true;
        if fails_hard_states {
            it.disk.fails_hard_states = true;
        } else {
            it.disk.fail_next = true;
        }
        self.note(format_args!("the disk of {part} fails, for hard states {fails_hard_states}"));
        self.mend_later(node);
    }

    fn mend_later(&mut self, node: usize) {
        let time = self.soon(1_500_000);
        self.at(time, Event::Mend(node));
    }

    /// An operator sees to a disk, and starts a process anew that has given up.
    pub(super) fn mend(&mut self, node: usize) {
        let mut has_failed = false;
        for part in self.parts_of(node) {
            let it = &mut self.parts[part];
            it.disk.mend();
            it.is_risky &= it.has_failed();
            has_failed |= it.has_failed();
        }
        if has_failed {
            self.note(format_args!("{node} has given up"));
            if self.dice.one_in(2) {
                self.crash(node, true);
            } else if !self.stop(node) {
                self.at(self.time + MEND_AGAIN_US, Event::Mend(node));
            }
        }
    }

    fn pause(&mut self, node: usize) {
        // Long enough for others to elect a leader, or hardly, or not.
        let us = [400_000, 1_200_000, 2_500_000][self.dice.below(3)];
        let until = self.soon(us);
        let it = &self.parts[node];
        if it.process.is_none() || self.time < it.paused_until {
            return;
        }
        let looked_at = self.dice.one_in(2).then_some(it.now(self.time));
        for part in self.parts_of(node) {
            let it = &mut self.parts[part];
            (it.paused_until, it.looked_at) = (until, looked_at);
        }
        self.note(format_args!("{node} pauses until {until}"));
    }

    fn pause_leader(&mut self) {
        let is_serving = |node: &super::Part| {
            node.process.as_ref().is_some_and(|process| process.shard.is_serving())
        };
        if let Some(leader) = self.parts.iter().position(is_serving) {
            self.pause(self.node_of(leader));
        }
    }

    /// Some nodes don't hear others for a while.
    fn part(&mut self) {
        let until = self.soon(1_500_000);
        let is_one_way = self.dice.one_in(3);
        let sides: Vec<bool> = (0..self.nodes).map(|_| self.dice.one_in(2)).collect();
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
        let other = self.dice.below(self.nodes);
        self.note(format_args!("the link of {node} and {other} breaks"));
        self.links_break((node, other));
    }

    fn slow_down(&mut self, node: usize) {
        let other = self.dice.below(self.nodes);
        let slowness = if self.dice.one_in(2) { 1 } else { 1 + self.dice.below(100) as u64 };
        self.network.slow_down((node, other), slowness);
    }

    /// A process ends in good order; false if it is down, or would end like one that is killed while it may not.
    pub(super) fn stop(&mut self, node: usize) -> bool {
        let until = self.time + 2 * self.settings.replica.election_timeout_ms * 1000;
        let may_crash = self.may_crash(node);
        for part in self.parts_of(node) {
            let it = &mut self.parts[part];
            let Some(process) = &it.process else { return false };
            let state = process.shard.log_state();
            let takes_writes = state.is_some_and(|state| state.refusal.is_none());
            if !takes_writes || it.disk.is_full {
                // It does not wait for the disk then.
                if !may_crash {
                    return false;
                }
                it.is_risky = true;
            }
        }
        for part in self.parts_of(node) {
            if let Some(process) = &mut self.parts[part].process {
                process.hands_over_until.get_or_insert(until);
            }
        }
        self.note(format_args!("{node} is to end"));
        true
    }
}
