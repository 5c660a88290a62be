//! Outcomes as entries of a snapshot, and how a journal and a snapshot write down what a write has come to.

use std::collections::BTreeMap;

use super::{Client, Outcome, OutcomeBody, Outcomes, STATUS_MAX};
use crate::cache::Keyspace;
use crate::cache::journal::{Nonsense, SavedEntry, SavedWhat};
use crate::limits::OUTCOME_CLIENTS_MAX;
use crate::types::{DbIndex, UnixMs};

/// How far outcomes have been saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cache) enum OutcomesCursor {
    #[default]
    Horizon,
    /// The client with this number comes next, or the first behind it.
    Client(u64),
    End,
}

impl Outcomes {
    /// Shows what comes next to `visit`; answers where to go on.
    pub(in crate::cache) fn visit(
        &self,
        from: OutcomesCursor,
        value: &mut Vec<u8>,
        visit: &mut impl FnMut(&SavedEntry<'_>),
    ) -> OutcomesCursor {
        value.clear();
        let next = match from {
            OutcomesCursor::End => return from,
            OutcomesCursor::Horizon => {
                if self.horizon > 0 {
                    visit(&saved_horizon(&self.horizon.to_le_bytes()));
                }
                0
            }
            OutcomesCursor::Client(next) => next,
        };
        let Some((id, client)) = self.clients.range(next..).next() else {
            return OutcomesCursor::End;
        };
        client.write(value);
        visit(&saved_client(&id.to_le_bytes(), client.version, value));
        id.checked_add(1).map_or(OutcomesCursor::End, OutcomesCursor::Client)
    }

    /// Puts back what was saved. Nothing if it makes no sense.
    fn restore(&mut self, saved: &SavedEntry<'_>) -> Option<()> {
        if saved.what == SavedWhat::Horizon {
            let horizon = saved.value.try_into().map(u64::from_le_bytes).ok()?;
            self.horizon = self.horizon.max(horizon);
            return saved.key.is_empty().then_some(());
        }
        let id = saved.key.try_into().map(u64::from_le_bytes).ok()?;
        let mut read = Client::read(saved.value)?;
        self.take_out(id);
        self.change(id, saved.version, |client| {
            client.floor = read.floor;
            client.outcomes = std::mem::take(&mut read.outcomes);
        });
        Some(())
    }
}

impl Keyspace {
    /// Puts back a client, or the horizon.
    pub(in crate::cache) fn restore_outcomes(
        &mut self,
        saved: &SavedEntry<'_>,
    ) -> Result<(), Nonsense> {
        self.outcomes.restore(saved).ok_or(Nonsense { at: 0 })?;
        self.sequence = self.sequence.max(saved.version);
        Ok(())
    }
}

/// The horizon as an entry of a snapshot.
fn saved_horizon(value: &[u8]) -> SavedEntry<'_> {
    SavedEntry { what: SavedWhat::Horizon, ..saved_client(&[], 0, value) }
}

/// A client as an entry of a snapshot.
fn saved_client<'a>(key: &'a [u8], version: u64, value: &'a [u8]) -> SavedEntry<'a> {
    SavedEntry {
        db: DbIndex(0),
        key,
        value,
        what: SavedWhat::Outcomes,
        expires_at: None,
        version,
        accessed_at: UnixMs(0),
        modified_in_place: false,
    }
}

impl Client {
    /// Appends the floor, and of each outcome its sequence, its version, how it ended, and its body.
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.floor.to_le_bytes());
        for (sequence, outcome) in &self.outcomes {
            out.extend_from_slice(&sequence.to_le_bytes());
            out.extend_from_slice(&outcome.version.to_le_bytes());
            write_end(out, outcome);
        }
    }

    /// Reads that; nothing if it makes no sense.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (floor, mut rest) = split_u64(bytes)?;
        let mut client = Self { floor, ..Self::default() };
        let mut next = floor;
        while !rest.is_empty() {
            let (sequence, after) = split_u64(rest)?;
            let (version, after) = split_u64(after)?;
            let (status, body, after) = split_end(after)?;
            if sequence < next {
                return None;
            }
            client.outcomes.push_back((sequence, Outcome { version, status, body }));
            (next, rest) = (sequence.checked_add(1)?, after);
        }
        Some(client)
    }
}

/// What stands in the place of a body's length where a write was not done: this and the status.
const NOT_DONE: u8 = 0x80;

/// Appends how a write has ended: the length of its body and the body, or its status.
pub(in crate::cache) fn write_end(out: &mut Vec<u8>, outcome: &Outcome) {
    debug_assert!(outcome.status <= STATUS_MAX, "status {:#x}", outcome.status);
    match (outcome.status, outcome.body) {
        (0, None) => out.push(0),
        (0, Some(body)) => {
            out.push(8);
            out.extend_from_slice(&body);
        }
        (status, _) => out.push(NOT_DONE | status),
    }
}

/// Status and body at the start of `bytes`, and what follows them.
pub(in crate::cache) fn split_end(bytes: &[u8]) -> Option<(u8, OutcomeBody, &[u8])> {
    match bytes.split_first()? {
        (0, rest) => Some((0, None, rest)),
        (8, rest) => rest.split_first_chunk().map(|(body, rest)| (0, Some(*body), rest)),
        (end, rest) => {
            let status = end.checked_sub(NOT_DONE)?;
            (1..=STATUS_MAX).contains(&status).then_some((status, None, rest))
        }
    }
}

fn split_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u64::from_le_bytes(*number), rest))
}

/// What shards know of attempts, when their keys are about to be spread over other shards.
#[derive(Debug, Default)]
pub struct Floors {
    clients: BTreeMap<u64, (u64, u64)>,
    horizon: u64,
}

impl Floors {
    /// What a shard knows: of each client what is above all of its sequences.
    pub fn of(keyspace: &Keyspace) -> Self {
        let Outcomes { clients, horizon, .. } = &keyspace.outcomes;
        let clients = clients.iter().map(|(id, client)| (*id, (client.end(), client.version)));
        Self { clients: clients.collect(), horizon: *horizon }
    }

    /// Adds what another one knows.
    pub fn merge(&mut self, other: &Self) {
        self.horizon = self.horizon.max(other.horizon);
        for (id, (end, written)) in &other.clients {
            let (floor, version) = self.clients.entry(*id).or_default();
            (*floor, *version) = ((*floor).max(*end), (*version).max(*written));
        }
    }

    /// Shows entries of a snapshot to `visit` with which any shard refuses what any of these may have done. Who is
    /// known to one of them may have been forgotten by another.
    pub fn visit<E>(
        &self,
        mut visit: impl FnMut(&SavedEntry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut clients: Vec<_> = self.clients.iter().collect();
        clients.sort_unstable_by_key(|(_, (_, version))| std::cmp::Reverse(*version));
        // As many as one shard may know: those that have written last.
        let rest = clients.split_off(clients.len().min(OUTCOME_CLIENTS_MAX));
        let of_rest = rest.iter().map(|(_, (floor, _))| *floor).max();
        let horizon = self.horizon.max(of_rest.unwrap_or(0));
        if horizon > 0 {
            visit(&saved_horizon(&horizon.to_le_bytes()))?;
        }
        for (id, (floor, version)) in clients {
            let floor = (*floor).max(self.horizon);
            visit(&saved_client(&id.to_le_bytes(), *version, &floor.to_le_bytes()))?;
        }
        Ok(())
    }
}
