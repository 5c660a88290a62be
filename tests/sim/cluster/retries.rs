//! Writes that are sent again: clients that have several under way, lose replies, and send again what they have none to,
//! while what they sent before may still arrive, at any time and anywhere.
//!
//! Each write puts its number at the end of its client's own list, some only if the list is of even length. So the list
//! shows what was done: nothing twice, all that was answered to be done, in the place that was answered, and nothing
//! that was answered not to be. What a client was told to be forgotten may have been done by an attempt before, and if
//! there was none that may have been, was not.

use std::collections::BTreeMap;

use super::{Cluster, Event, Kind, PATIENCE_US};
use crate::cache::{Access, Attempt, Expiry, Outcome as Came, OutcomeBounds, Recalled};
use crate::node::replica_stats::{Passage, Quorum};
use crate::shard::Shard;
use crate::sim::{Dice, Outcome};
use crate::types::{DbIndex, Key, Now, UnixMs, key_slot};

/// Writes that a client has under way at most.
const OPEN_MAX: usize = 5;
/// The status of a write whose condition did not hold.
const EXISTS: u8 = 2;
const NUMBER_BYTES: usize = 4;

/// One sending of a write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    client: usize,
    attempt: Attempt,
    /// Counts the sendings.
    number: u32,
    is_conditional: bool,
    on_disk: bool,
    pub(super) part: usize,
}

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It was done: its number has this place in the list.
    Done(u64),
    NotDone,
    Forgotten,
}

/// A reply that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    sent: Sent,
    reply: Reply,
    quorum: Quorum,
}

/// A write that has not been answered.
#[derive(Clone, Copy, Debug)]
struct Open {
    last: Sent,
    /// Whether an attempt before the last may have been done, or be on its way.
    is_in_doubt: bool,
}

/// What a client knows of a write at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done(u64),
    NotDone,
    Unknown,
}

#[derive(Debug, Default)]
struct Writer {
    open: BTreeMap<u64, Open>,
    fates: BTreeMap<u64, Fate>,
    last: u64,
    /// What it said last was answered.
    answered: u64,
}

/// How often what has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) done: u64,
    pub(super) not_done: u64,
    /// Answers to retries that nothing was done, kept for attempts before them.
    pub(super) kept: u64,
    /// Attempts that came when a later one had been answered.
    pub(super) late: u64,
    pub(super) forgotten: u64,
    pub(super) unknown: u64,
}

impl Figures {
    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            done: self.done + other.done,
            not_done: self.not_done + other.not_done,
            kept: self.kept + other.kept,
            late: self.late + other.late,
            forgotten: self.forgotten + other.forgotten,
            unknown: self.unknown + other.unknown,
        }
    }
}

/// All clients' writes.
#[derive(Debug, Default)]
pub(super) struct Retries {
    writers: Vec<Writer>,
    /// When the last attempt arrives that is on its way.
    last_arrival: u64,
    pub(super) figures: Figures,
}

impl Retries {
    pub(super) fn new(clients: usize) -> Self {
        let writers = (0..clients).map(|_| Writer::default()).collect();
        Self { writers, ..Self::default() }
    }

    /// Bounds that are soon reached, now and then.
    pub(super) fn bounds(dice: &mut Dice) -> OutcomeBounds {
        if dice.one_in(3) {
            return OutcomeBounds::default();
        }
        let (clients, per_client) = (1 + dice.below(4), 1 + dice.below(OPEN_MAX));
        OutcomeBounds { clients, per_client, all: 1 + dice.below(2 * OPEN_MAX) }
    }

    /// Whether nothing is under way any more.
    pub(super) fn are_over(&self, time: u64) -> bool {
        time > self.last_arrival && self.writers.iter().all(|writer| writer.open.is_empty())
    }

    /// Whether the client waits for the reply to this sending.
    fn is_waited_for(&self, sent: &Sent) -> bool {
        let open = self.writers[sent.client].open.get(&sent.attempt.sequence);
        open.is_some_and(|open| open.last.number == sent.number)
    }

    /// A reply has come.
    fn answered(&mut self, sent: &Sent, reply: Reply) {
        if !self.is_waited_for(sent) {
            return;
        }
        let sequence = sent.attempt.sequence;
        let writer = &mut self.writers[sent.client];
        let Some(Open { is_in_doubt, .. }) = writer.open.remove(&sequence) else { return };
        let fate = match reply {
            Reply::Done(place) => Fate::Done(place),
            Reply::NotDone => Fate::NotDone,
            Reply::Forgotten if is_in_doubt => Fate::Unknown,
            Reply::Forgotten => Fate::NotDone,
        };
        writer.fates.insert(sequence, fate);
        let figures = &mut self.figures;
        match reply {
            Reply::Done(_) => figures.done += 1,
            Reply::NotDone => figures.not_done += 1,
            Reply::Forgotten => figures.forgotten += 1,
        }
        figures.kept += u64::from(reply == Reply::NotDone && is_in_doubt);
        figures.unknown += u64::from(fate == Fate::Unknown);
    }

    /// A client waits no longer for any reply.
    fn given_up(&mut self, sent: &Sent) {
        let writer = &mut self.writers[sent.client];
        writer.open.remove(&sent.attempt.sequence);
        writer.fates.insert(sent.attempt.sequence, Fate::Unknown);
        self.figures.unknown += 1;
    }

    /// Whether a client's list, and what it was told, can both be true.
    fn check(&self, client: usize, list: &[u64]) -> Outcome {
        let writer = &self.writers[client];
        let mut places = BTreeMap::new();
        for (sequence, place) in list.iter().zip(1..) {
            if places.insert(*sequence, place).is_some() {
                return Err(format!(
                    "write {sequence} of client {client} was done twice: {list:?}"
                ));
            }
            if !writer.fates.contains_key(sequence) {
                return Err(format!("client {client} has never sent write {sequence}"));
            }
        }
        for (sequence, fate) in &writer.fates {
            let place = places.get(sequence).copied();
            let is_true = match *fate {
                Fate::Done(told) => place == Some(told),
                Fate::NotDone => place.is_none(),
                Fate::Unknown => true,
            };
            if !is_true {
                return Err(format!(
                    "client {client} was told {fate:?} of write {sequence}, which has place {place:?}"
                ));
            }
        }
        Ok(())
    }
}

impl Cluster {
    /// A client begins another write, if it has not too many under way.
    pub(super) fn write(&mut self, client: usize) {
        if self.time >= self.busy_until {
            return;
        }
        let time = self.soon(2 * self.haste_us);
        self.at(time, Event::Write(client));
        if self.retries.writers[client].open.len() == OPEN_MAX {
            return;
        }
        let (is_lagging, is_conditional) = (self.dice.one_in(3), self.dice.one_in(2));
        let on_disk = self.kind == Kind::Any || self.dice.one_in(3);
        let part = self.target(client);
        let writer = &mut self.retries.writers[client];
        let sequence = self.time.max(writer.last + 1);
        writer.last = sequence;
        if !is_lagging {
            writer.answered = writer.open.keys().next().copied().unwrap_or(sequence);
        }
        let answered = writer.answered;
        let attempt = Attempt { client: client as u64, sequence, answered, is_again: false };
        let last = Sent { client, attempt, number: 0, is_conditional, on_disk, part };
        writer.open.insert(sequence, Open { last, is_in_doubt: false });
        self.dispatch(last);
    }

    /// The part that a client believes leads, or another.
    fn target(&mut self, client: usize) -> usize {
        let other = self.any_part(client);
        if self.dice.one_in(8) { other } else { self.clients.all[client].target }
    }

    /// One sending goes out. It may take long to arrive, longer than the client waits.
    fn dispatch(&mut self, sent: Sent) {
        let us = if self.dice.one_in(5) { 2 * PATIENCE_US } else { 300 };
        let time = self.soon(us);
        self.retries.last_arrival = self.retries.last_arrival.max(time);
        self.at(time, Event::Attempt(sent));
        let patience = [20_000, PATIENCE_US][self.dice.below(2)];
        let time = self.soon(patience);
        self.at(time + 5_000, Event::Despair(sent));
    }

    /// A client has waited long enough for the reply to one sending.
    pub(super) fn despair(&mut self, sent: Sent) {
        if !self.retries.is_waited_for(&sent) {
            return;
        }
        if self.dice.one_in(20) {
            return self.retries.given_up(&sent);
        }
        self.send_again(sent, true);
    }

    /// A write goes out again: because it was refused, or because there is no reply, and then it is said that it does.
    fn send_again(&mut self, sent: Sent, is_lost: bool) {
        let part = if is_lost { self.any_part(sent.client) } else { self.target(sent.client) };
        let open = self.retries.writers[sent.client].open.get_mut(&sent.attempt.sequence);
        let Some(open) = open.filter(|open| open.last.number == sent.number) else { return };
        open.is_in_doubt |= is_lost;
        open.last.number += 1;
        open.last.part = part;
        open.last.attempt.is_again = open.is_in_doubt;
        let last = open.last;
        self.dispatch(last);
    }

    /// An attempt comes to where no process runs, or to one that can't carry it out.
    pub(super) fn turn_away(&mut self, sent: Sent, leader: Option<usize>) {
        let leader = leader.unwrap_or(self.any_part(sent.client));
        if self.retries.is_waited_for(&sent) {
            self.clients.all[sent.client].target = leader;
            let time = self.soon(self.haste_us);
            self.at(time, Event::Retry(sent));
        }
    }

    /// What was turned away goes out again.
    pub(super) fn retry(&mut self, sent: Sent) {
        self.send_again(sent, false);
    }

    /// Carries out an attempt, as the engine does; true if the shard is to be stepped.
    pub(super) fn attempt(&mut self, index: usize, sent: Sent, now: Now) -> bool {
        if let Err(leader) = self.check_serving(index) {
            self.turn_away(sent, leader);
            return false;
        }
        self.retries.figures.late += u64::from(!self.retries.is_waited_for(&sent));
        let part = &mut self.parts[index];
        let Some(process) = &mut part.process else { return false };
        let reply = carry_out(&mut process.shard, &sent, now.unix);
        let Some(awaited) = process.shard.awaited(sent.on_disk) else { return false };
        // The clock is looked at again, as it is there.
        if awaited.is_certain(part.clock_now(self.time)) {
            self.retries.answered(&sent, reply);
        } else if let Some(process) = &mut part.process {
            process.held.push(Held { sent, reply, quorum: awaited.quorum(sent.on_disk) });
        }
        self.is_now_or_later(index)
    }

    /// Lets replies go that need not wait any more. Those that never may are lost.
    pub(super) fn release_held(&mut self, index: usize) {
        let part = &mut self.parts[index];
        let now = part.clock_now(self.time);
        let Some(process) = &mut part.process else { return };
        for held in std::mem::take(&mut process.held) {
            match process.stats.passage(&held.quorum, now) {
                Passage::Open => self.retries.answered(&held.sent, held.reply),
                Passage::Never => {}
                Passage::Shut => process.held.push(held),
            }
        }
    }

    /// Holds all lists against what clients were told.
    pub(super) fn check_lists(&mut self) -> Outcome {
        for client in 0..self.retries.writers.len() {
            let shard = self.clients.shard_of(client);
            let mut parts = self.parts_in(shard);
            let list = parts.find_map(|part| {
                let process = self.parts[part].process.as_ref();
                let shard = process.map(|process| &process.shard)?;
                shard.is_serving().then(|| list_of(shard, client))
            });
            self.retries.check(client, &list.ok_or("nobody leads")?)?;
        }
        let figures = self.retries.figures;
        self.note(format_args!("{figures:?}"));
        Ok(())
    }
}

fn list_name(client: usize) -> String {
    format!("{{t}}list{client}")
}

fn list_of(shard: &Shard, client: usize) -> Vec<u64> {
    let name = list_name(client);
    let Some(held) = shard.keyspace().peek(Key::new(DbIndex(0), name.as_bytes()), UnixMs(0)) else {
        return Vec::new();
    };
    let bytes = held.canonical();
    let numbers = bytes.chunks_exact(NUMBER_BYTES).map(|number| number.try_into());
    numbers.map(|number| u32::from_le_bytes(number.expect("four bytes")).into()).collect()
}

/// Does a write, unless an attempt before it has been done, as `Shard::execute_once` does.
fn carry_out(shard: &mut Shard, sent: &Sent, now: UnixMs) -> Reply {
    match shard.recall(&sent.attempt) {
        Recalled::Done(outcome) => return reply_of(&outcome),
        Recalled::Forgotten => return Reply::Forgotten,
        Recalled::New => {}
    }
    shard.keyspace_mut().cut_changes();
    let name = list_name(sent.client);
    let key = Key { db: DbIndex(0), slot: key_slot(b"{t}"), bytes: name.as_bytes() };
    let number = u32::try_from(sent.attempt.sequence).expect("a run is short").to_le_bytes();
    let keyspace = shard.keyspace_mut();
    let before = keyspace.sequence();
    let found = keyspace.get(key, now, Access::Write);
    let found = found.map(|entry| (entry.string().map_or(0, <[u8]>::len), entry.version));
    let (bytes, version) = found.unwrap_or_default();
    let place = (bytes / NUMBER_BYTES) as u64 + 1;
    let outcome = if sent.is_conditional && place.is_multiple_of(2) {
        Came { version, status: EXISTS, body: None }
    } else {
        if found.is_none() {
            keyspace.set(key, &number, Expiry::Clear, now);
        } else {
            let end = bytes + NUMBER_BYTES;
            keyspace
                .edit(key, end, bytes..end, now, |value| value[bytes..].copy_from_slice(&number));
        }
        Came::done(keyspace.sequence(), Some(place.to_le_bytes()))
    };
    shard.keep_outcome(&sent.attempt, before, outcome);
    reply_of(&outcome)
}

fn reply_of(outcome: &Came) -> Reply {
    match (outcome.status, outcome.body) {
        (0, body) => Reply::Done(body.map_or(0, u64::from_le_bytes)),
        _ => Reply::NotDone,
    }
}
