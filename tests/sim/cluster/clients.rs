//! Clients: each has keys of one shard, sends one call after another to the part that it believes leads there, and notes
//! what it saw.

use std::collections::BTreeMap;

use super::linear::{Ask, Call, Fate, is_linearizable};
use crate::cache::{Access, Expiry};
use crate::shard::Shard;
use crate::sim::{Dice, KEYS, Outcome, values};
use crate::types::{DbIndex, Key, LogIndex, Now, UnixMs, key_slot};

/// Keys that clients look at.
pub(super) const REGISTERS: usize = 3;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Asks for, or changes, the value of a key that is looked at.
    Register { key: usize, ask: Ask },
    /// Asks a node, whether it leads or not, for the value of such a key.
    Follow { key: usize },
    /// Changes some other key, somehow.
    Other,
}

/// A call that has not been answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// Counts a client's calls.
    pub(super) number: u64,
    pub(super) work: Work,
    shard: usize,
    sent: u64,
    pub(super) part: usize,
    /// Whether the answer waits for a quorum of disks.
    pub(super) on_disk: bool,
}

#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) pending: Option<Pending>,
    calls: u64,
    pub(super) target: usize,
    /// The last entry that its writes depend on: its session's token.
    pub(super) token: LogIndex,
    /// The last value that it knows to have written, of each key.
    written: [Option<u64>; REGISTERS],
}

/// All clients, and what they saw.
#[derive(Debug)]
pub(super) struct Clients {
    shards: usize,
    pub(super) all: Vec<Client>,
    /// By shard and key.
    histories: BTreeMap<(usize, usize), Vec<Call>>,
    values: u64,
    /// The versions that keys got with values.
    versions: BTreeMap<u64, u64>,
    pub(super) answered: u64,
    /// Reads that followers answered.
    pub(super) followed: u64,
    pub(super) unknown: u64,
}

impl Clients {
    pub(super) fn new(shards: usize, count: usize) -> Self {
        Self {
            shards,
            all: (0..count).map(|_| Client::default()).collect(),
            histories: BTreeMap::new(),
            values: 0,
            versions: BTreeMap::new(),
            answered: 0,
            followed: 0,
            unknown: 0,
        }
    }

    /// The shard that a client's keys are in. The first clients are each of another.
    pub(super) fn shard_of(&self, client: usize) -> usize {
        client % self.shards
    }

    /// A client sends a call.
    pub(super) fn send(
        &mut self,
        client: usize,
        work: Work,
        (time, on_disk): (u64, bool),
    ) -> Pending {
        let shard = self.shard_of(client);
        let client = &mut self.all[client];
        client.calls += 1;
        let (number, part) = (client.calls, client.target);
        let pending = Pending { number, work, shard, sent: time, part, on_disk };
        client.pending = Some(pending);
        pending
    }

    /// What a client does next.
    pub(super) fn draw(&mut self, dice: &mut Dice, follows: bool) -> Work {
        if dice.one_in(3) {
            return Work::Other;
        }
        let key = dice.below(REGISTERS);
        if follows && dice.one_in(3) {
            return Work::Follow { key };
        }
        self.values += 1;
        let ask = match dice.below(5) {
            0 | 1 => Ask::Get,
            2 | 3 => Ask::Set(self.values),
            _ => Ask::Swap(self.values),
        };
        Work::Register { key, ask }
    }

    /// A call was answered; true if it is one that is still waited for.
    pub(super) fn answered(
        &mut self,
        (client, number): (usize, u64),
        saw: Option<u64>,
        time: u64,
    ) -> bool {
        let Some(pending) = self.take(client, number) else { return false };
        self.answered += 1;
        self.note(pending, Fate::Answered(time, saw));
        true
    }

    /// A call was refused: it has not been carried out.
    pub(super) fn refused(
        &mut self,
        (client, number): (usize, u64),
        leader: Option<usize>,
    ) -> bool {
        if self.take(client, number).is_none() {
            return false;
        }
        if let Some(leader) = leader {
            self.all[client].target = leader;
        }
        true
    }

    /// What became of a call will never be known to the client; true if it is one that is still waited for.
    pub(super) fn lost(&mut self, (client, number): (usize, u64)) -> bool {
        let Some(pending) = self.take(client, number) else { return false };
        self.unknown += 1;
        self.note(pending, Fate::Unknown);
        true
    }

    /// Whether the client still waits for a call.
    pub(super) fn is_waiting_for(&self, (client, number): (usize, u64)) -> bool {
        self.all[client].pending.is_some_and(|pending| pending.number == number)
    }

    fn take(&mut self, client: usize, number: u64) -> Option<Pending> {
        self.all[client].pending.take_if(|pending| pending.number == number)
    }

    fn note(&mut self, pending: Pending, fate: Fate) {
        let Pending { work, shard, sent, .. } = pending;
        if let Work::Register { key, ask } = work {
            self.histories.entry((shard, key)).or_default().push(Call { ask, sent, fate });
        }
    }

    /// What is acknowledged now depends on this entry, and all before it.
    pub(super) fn depends_on(&mut self, client: usize, index: LogIndex) {
        let client = &mut self.all[client];
        client.token = client.token.max(index);
        if let Some(Pending { work: Work::Register { key, ask }, .. }) = client.pending
            && let Ask::Set(value) | Ask::Swap(value) = ask
        {
            client.written[key] = Some(value);
        }
    }

    /// A key got this version with a value.
    pub(super) fn note_version(&mut self, work: Work, version: u64) {
        if let Work::Register { ask: Ask::Set(value) | Ask::Swap(value), .. } = work {
            self.versions.insert(value, version);
        }
    }

    /// The version that a key had when it held this.
    pub(super) fn version_of(&self, value: Option<u64>) -> u64 {
        value.map_or(0, |value| self.versions.get(&value).copied().unwrap_or_default())
    }

    /// A follower has answered a read, in which all must be that the client has written, and all that had happened
    /// `lag_us` before it was sent: so it is as good as one that was sent then.
    pub(super) fn followed(
        &mut self,
        (client, number): (usize, u64),
        saw: Option<u64>,
        (time, lag_us): (u64, u64),
    ) -> Outcome<bool> {
        let Some(pending) = self.take(client, number) else { return Ok(false) };
        let Work::Follow { key } = pending.work else { return Ok(false) };
        self.answered += 1;
        self.followed += 1;
        let written = self.all[client].written[key];
        if self.version_of(saw) < self.version_of(written) {
            return Err(format!(
                "client {client} reads {saw:?} of r{key} on part {}, though it has written {written:?}",
                pending.part
            ));
        }
        let (ask, sent) = (Ask::Get, pending.sent.saturating_sub(lag_us));
        let fate = Fate::Answered(time, saw);
        self.histories.entry((pending.shard, key)).or_default().push(Call { ask, sent, fate });
        Ok(true)
    }

    /// Whether all that was seen can have happened.
    pub(super) fn check(&self) -> Outcome {
        for ((shard, key), calls) in &self.histories {
            if !is_linearizable(calls) {
                return Err(format!(
                    "what clients saw of key r{key} of shard {shard} can't have happened: {calls:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Carries out what a client asks for, as a command would; answers what was seen.
pub(super) fn carry_out(shard: &mut Shard, work: Work, now: Now, dice: &mut Dice) -> Option<u64> {
    let (now, slot) = (now.unix, key_slot(b"{t}"));
    shard.keyspace_mut().cut_changes();
    let (key, ask) = match work {
        Work::Register { key, ask } => (key, ask),
        Work::Follow { key } => (key, Ask::Get),
        Work::Other => {
            change_other(shard, now, dice);
            return None;
        }
    };
    let name = format!("{{t}}r{key}");
    let key = Key { db: DbIndex(0), slot, bytes: name.as_bytes() };
    let keyspace = shard.keyspace_mut();
    let entry = keyspace.get(key, now, Access::Read);
    let text = entry.and_then(|entry| entry.string().ok().map(<[u8]>::to_vec));
    let was = text.map(|text| {
        let digits = std::str::from_utf8(&text).map(str::trim_end);
        digits.ok().and_then(|digits| digits.parse().ok()).expect("a number that was written")
    });
    match ask {
        Ask::Get => was,
        Ask::Set(value) | Ask::Swap(value) => {
            // Some are long, so that logs and tails grow.
            let width = if dice.one_in(8) { dice.below(6_000) } else { 0 };
            let text = format!("{value:<width$}");
            keyspace.set(key, text.as_bytes(), Expiry::Clear, now);
            was.filter(|_| matches!(ask, Ask::Swap(_)))
        }
    }
}

fn change_other(shard: &mut Shard, now: UnixMs, dice: &mut Dice) {
    let name = format!("{{t}}key{}", dice.below(KEYS));
    let db = DbIndex(u8::try_from(dice.below(2)).expect("small"));
    let key = Key { db, slot: key_slot(b"{t}"), bytes: name.as_bytes() };
    let keyspace = shard.keyspace_mut();
    match dice.below(12) {
        0..6 => values::change(keyspace, key, now, dice),
        6 => values::transfer(keyspace, key, now, dice),
        7 => {
            keyspace.remove(key, now);
        }
        8 => {
            let at = UnixMs(now.0 + 1 + dice.below(2_000) as u64);
            keyspace.set_expiry(key, Some(at), now);
        }
        9 => {
            keyspace.get(key, now, Access::Read);
        }
        10 if dice.one_in(8) => keyspace.flush(DbIndex(1)),
        _ => {
            let fill = u8::try_from(dice.below(256)).expect("a byte");
            keyspace.set(key, &vec![fill; dice.below(200)], Expiry::Clear, now);
        }
    }
}
