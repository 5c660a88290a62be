//! Clients' calls on their way: made, carried out as the engine does it, refused, held back until the reply may leave.

use super::clients::{Pending, Work, carry_out};
use super::part::Waiting;
use super::{Cluster, Event, Kind, LAG_US, PATIENCE_US, TRUE_LAG_US};
use crate::node::replica_stats::{Freshness, Passage};
use crate::sim::Outcome;
use crate::types::{MonoUs, Now};

impl Cluster {
    pub(super) fn think(&mut self, client: usize) {
        if self.time >= self.busy_until || self.clients.all[client].pending.is_some() {
            return;
        }
        if self.dice.one_in(8) {
            // Somebody may believe anything.
            self.clients.all[client].target = self.any_part(client);
        }
        // What a quorum has in memory may be lost in the other kind of runs.
        let work = self.clients.draw(&mut self.dice, self.kind == Kind::Minority);
        self.call(client, work);
    }

    pub(super) fn call(&mut self, client: usize, work: Work) {
        let on_disk = self.kind == Kind::Any || self.dice.one_in(3);
        let mut pending = self.clients.send(client, work, (self.time, on_disk));
        if matches!(work, Work::Follow { .. }) {
            pending.part = self.any_part(client);
        }
        let call = pending.number;
        let time = self.soon(300);
        self.at(time, Event::Request { client, pending });
        let patience = if self.dice.one_in(4) { 2 * PATIENCE_US } else { PATIENCE_US };
        let time = self.soon(patience);
        self.at(time + 100_000, Event::GiveUp { client, call });
    }

    pub(super) fn think_later(&mut self, client: usize) {
        let us = if self.dice.one_in(20) { 300_000 } else { self.haste_us };
        let time = self.soon(us);
        self.at(time, Event::Client(client));
    }

    pub(super) fn refuse(&mut self, client: usize, call: u64, leader: Option<usize>) {
        let leader = leader.unwrap_or(self.any_part(client));
        if self.clients.refused((client, call), Some(leader)) {
            self.think_later(client);
        }
    }

    /// Whether a part carries out what clients ask for; if not, the part that it takes for the leader.
    pub(super) fn check_serving(&self, index: usize) -> Result<(), Option<usize>> {
        let process = self.parts[index].process.as_ref().ok_or(None)?;
        let shard = &process.shard;
        let is_refused = shard.log_state().is_none_or(|state| state.refusal.is_some());
        if shard.is_serving() && !process.is_stopping && !is_refused && !shard.is_behind() {
            return Ok(());
        }
        let leader = process.stats.leader();
        let mut parts = self.parts_in(self.shard_of(index));
        Err(parts.find(|part| Some(self.parts[*part].id) == leader))
    }

    /// Carries out a client's call, as the engine does; true if the shard is to be stepped.
    pub(super) fn serve(
        &mut self,
        index: usize,
        (client, pending): (usize, Pending),
        now: Now,
    ) -> bool {
        let of = (client, pending.number);
        if let Err(leader) = self.check_serving(index) {
            self.refuse(of.0, of.1, leader);
            return false;
        }
        let part = &mut self.parts[index];
        let Some(process) = &mut part.process else { return false };
        let saw = carry_out(&mut process.shard, pending.work, now, &mut self.dice);
        self.clients.note_version(pending.work, process.shard.keyspace().sequence());
        let Some(awaited) = process.shard.awaited(pending.on_disk) else { return false };
        // The clock is looked at again, as it is there.
        let clock = part.clock_now(self.time);
        let process = part.process.as_mut().expect("it runs");
        if awaited.is_certain(clock) {
            if self.clients.answered(of, saw, self.time) {
                self.think_later(of.0);
            }
        } else {
            let quorum = awaited.quorum(pending.on_disk);
            process.replies.push(Waiting { client: of.0, call: of.1, saw, quorum });
        }
        self.is_now_or_later(index)
    }

    /// Whether the shard is to be stepped at once; now and then more comes before that.
    pub(super) fn is_now_or_later(&mut self, index: usize) -> bool {
        let is_now = !self.dice.one_in(3);
        if !is_now {
            let (time, life) = (self.soon(3_000), self.parts[index].life);
            self.at(time, Event::Turn { part: index, life });
        }
        is_now
    }

    /// Carries out a read that any node may answer, as the engine does; true if the shard is to be stepped.
    pub(super) fn follow(
        &mut self,
        index: usize,
        (client, pending): (usize, Pending),
        now: Now,
    ) -> Outcome<bool> {
        let of = (client, pending.number);
        let part = &mut self.parts[index];
        let clock = part.clock_now(self.time);
        let Some(process) = &mut part.process else { return Ok(false) };
        if process.shard.is_serving() || process.is_stopping {
            // Who leads answers as ever.
            self.refuse(client, pending.number, None);
            return Ok(false);
        }
        let freshness = Freshness { since: MonoUs(0), lag_us: LAG_US };
        process.stats.note_read(clock);
        let token = self.clients.all[client].token;
        if !process.stats.is_fresh(&freshness, clock) || !process.stats.has_come_to(token) {
            process.stats.want_fresh(clock);
            process.readers.push((client, pending));
            return Ok(true);
        }
        let saw = carry_out(&mut process.shard, pending.work, now, &mut self.dice);
        // The clock is looked at again, as it is there.
        if !process.shard.is_fresh(&freshness, clock) {
            self.refuse(client, pending.number, None);
            return Ok(false);
        }
        let version = self.clients.version_of(saw);
        if let Work::Follow { key } = pending.work {
            let before = std::mem::replace(&mut process.read[key], version);
            if version < before {
                return Err(format!("node {index} reads r{key} as it was before it read it last"));
            }
        }
        if self.clients.followed(of, saw, (self.time, TRUE_LAG_US))? {
            self.think_later(client);
        }
        Ok(false)
    }

    /// Has reads that wait for a node try again.
    pub(super) fn follow_waiting(&mut self, index: usize, now: Now) -> Outcome {
        let Some(process) = &mut self.parts[index].process else { return Ok(()) };
        for (client, pending) in std::mem::take(&mut process.readers) {
            if self.clients.is_waiting_for((client, pending.number)) {
                self.follow(index, (client, pending), now)?;
            }
        }
        Ok(())
    }

    /// Lets replies go that need not wait any more.
    pub(super) fn release(&mut self, index: usize) {
        let part = &mut self.parts[index];
        let now = part.clock_now(self.time);
        let Some(process) = &mut part.process else { return };
        for reply in std::mem::take(&mut process.replies) {
            let Waiting { client, call, saw, quorum } = reply;
            let is_over = match process.stats.passage(&quorum, now) {
                Passage::Open => {
                    if self.clients.is_waiting_for((client, call)) {
                        self.clients.depends_on(client, quorum.index);
                    }
                    self.clients.answered((client, call), saw, self.time)
                }
                Passage::Never => self.clients.lost((client, call)),
                Passage::Shut => {
                    process.replies.push(reply);
                    false
                }
            };
            if is_over {
                let time = self.time + 1 + self.dice.below(20_000) as u64;
                self.count += 1;
                self.events.insert((time, self.count), Event::Client(client));
            }
        }
    }
}
