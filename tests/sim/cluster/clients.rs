//! Clients: each sends one call after another to the node that it believes leads, and notes what it saw.

use std::collections::BTreeMap;

use super::linear::{Ask, Call, Fate, is_linearizable};
use crate::cache::{Access, Expiry};
use crate::shard::Shard;
use crate::sim::{Dice, KEYS, Outcome, values};
use crate::types::{DbIndex, Key, Now, UnixMs, key_slot};

/// Keys that clients look at.
pub(super) const REGISTERS: usize = 4;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Asks for, or changes, the value of a key that is looked at.
    Register { key: usize, ask: Ask },
    /// Changes some other key, somehow.
    Other,
}

/// A call that has not been answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// Counts a client's calls.
    pub(super) number: u64,
    pub(super) work: Work,
    sent: u64,
    pub(super) node: usize,
    /// Whether the answer waits for a quorum of disks.
    pub(super) on_disk: bool,
}

#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) pending: Option<Pending>,
    calls: u64,
    pub(super) target: usize,
}

/// All clients, and what they saw.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) all: Vec<Client>,
    histories: BTreeMap<usize, Vec<Call>>,
    values: u64,
    pub(super) answered: u64,
    pub(super) unknown: u64,
}

impl Clients {
    pub(super) fn new(count: usize) -> Self {
        Self {
            all: (0..count).map(|_| Client::default()).collect(),
            histories: BTreeMap::new(),
            values: 0,
            answered: 0,
            unknown: 0,
        }
    }

    /// A client sends a call.
    pub(super) fn send(
        &mut self,
        client: usize,
        work: Work,
        (time, on_disk): (u64, bool),
    ) -> Pending {
        let client = &mut self.all[client];
        client.calls += 1;
        let (number, node) = (client.calls, client.target);
        let pending = Pending { number, work, sent: time, node, on_disk };
        client.pending = Some(pending);
        pending
    }

    /// What a client does next.
    pub(super) fn draw(&mut self, dice: &mut Dice) -> Work {
        if dice.one_in(3) {
            return Work::Other;
        }
        let key = dice.below(REGISTERS);
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

    fn take(&mut self, client: usize, number: u64) -> Option<Pending> {
        self.all[client].pending.take_if(|pending| pending.number == number)
    }

    fn note(&mut self, pending: Pending, fate: Fate) {
        let Pending { work, sent, .. } = pending;
        if let Work::Register { key, ask } = work {
            self.histories.entry(key).or_default().push(Call { ask, sent, fate });
        }
    }

    /// Whether all that was seen can have happened.
    pub(super) fn check(&self) -> Outcome {
        for (key, calls) in &self.histories {
            if !is_linearizable(calls) {
                return Err(format!(
                    "what clients saw of key r{key} can't have happened: {calls:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Carries out what a client asks for, as a command would; answers what was seen.
pub(super) fn carry_out(shard: &mut Shard, work: Work, now: Now, dice: &mut Dice) -> Option<u64> {
    let (now, slot) = (now.unix, key_slot(b"{t}"));
    let Work::Register { key, ask } = work else {
        change_other(shard, now, dice);
        return None;
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
