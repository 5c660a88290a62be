//! What became of writes whose clients may send them again: a retry is answered from here, and nothing is done twice.
//!
//! A client numbers its writes; the numbers rise. Of each write that has changed something its outcome is kept until the
//! client says that it has the answer, or until room is short. Of one that has changed nothing it is kept if that was a
//! retry: an attempt before it may come yet, and must not be done when the client has been told that nothing was.
//!
//! ```text
//! client ──┬── floor       what is below it has been forgotten
//!          ├── version     of the last change
//!          └── outcomes    sequence -> version, status, body
//! horizon                  the floor of a client that is not known, or not any more
//! ```
//!
//! So an outcome goes only when the floor, or the horizon, has come above it, and below these nothing is done: once an
//! attempt has been answered whose outcome is kept, no other one of the same write does anything else.
//!
//! If there are too many clients, the one gives way that has not written for longest; if there are too many outcomes, the
//! oldest of the client that has most. Which, is decided where the write is run, and written into the journal; who makes
//! the changes again only follows. So all replicas have the same, whatever their bounds. A client is to a snapshot what
//! a key is: it is saved at some moment, and a change that is not above its version has been seen by it. A floor may be
//! raised to the same twice.

mod saved;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Keyspace;
use crate::limits::{OUTCOME_CLIENTS_MAX, OUTCOMES_MAX, OUTCOMES_PER_CLIENT_MAX};

pub use saved::Floors;
pub(super) use saved::{OutcomesCursor, split_end, write_end};

/// Capacity of a client's outcomes that is kept, however few there are.
const KEPT_CAPACITY: usize = 16;

/// Who asks for a write, and which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The client.
    pub client: u64,
    /// Its number for the write; the same in every attempt.
    pub sequence: u64,
    /// The client will not ask again for what is below this.
    pub answered: u64,
    /// Whether an attempt before it may be on its way still.
    pub is_again: bool,
}

/// The body of the reply to a write, if there is one.
pub type OutcomeBody = Option<[u8; 8]>;

/// What became of a write: its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The version in the reply: if the write has changed something, the keyspace's sequence after it.
    pub version: u64,
    /// The status, as the binary protocol numbers them: 0 for done, and at most [`STATUS_MAX`].
    pub status: u8,
    /// The body of the reply, if it was done.
    pub body: OutcomeBody,
}

impl Outcome {
    /// That of a write that was done.
    pub fn done(version: u64, body: OutcomeBody) -> Self {
        Self { version, status: 0, body }
    }
}

/// Statuses that are kept are not above this.
pub const STATUS_MAX: u8 = 0x3f;

/// What is known of an attempt before it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recalled {
    /// As far as is known it is the first, or those before it have changed nothing and were no retries.
    New,
    /// One before it was run, and came to this.
    Done(Outcome),
    /// That can't be told any more.
    Forgotten,
}

/// How much is kept, and how often it was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutcomeFigures {
    /// Clients that are known.
    pub clients: u64,
    /// Outcomes that are kept.
    pub outcomes: u64,
    /// Writes that were answered from here.
    pub repeated: u64,
    /// Writes that were refused because nobody knows whether they were done.
    pub forgotten: u64,
}

impl OutcomeFigures {
    /// Those of two shards together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            clients: self.clients + other.clients,
            outcomes: self.outcomes + other.outcomes,
            repeated: self.repeated + other.repeated,
            forgotten: self.forgotten + other.forgotten,
        }
    }
}

#[derive(Debug, Default)]
struct Client {
    /// The keyspace's sequence after its last write.
    version: u64,
    floor: u64,
    /// In the order of their sequences.
    outcomes: VecDeque<(u64, Outcome)>,
}

impl Client {
    /// Where an outcome stands, or would stand.
    fn place(&self, sequence: u64) -> Result<usize, usize> {
        self.outcomes.binary_search_by_key(&sequence, |(sequence, _)| *sequence)
    }

    /// A number that is above all of its sequences.
    fn end(&self) -> u64 {
        let last = self.outcomes.back().map_or(0, |(sequence, _)| sequence.saturating_add(1));
        last.max(self.floor)
    }

    fn raise_floor(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        let gone = self.outcomes.partition_point(|(sequence, _)| *sequence < self.floor);
        self.outcomes.drain(..gone);
        let (len, capacity) = (self.outcomes.len(), self.outcomes.capacity());
        if capacity > KEPT_CAPACITY && len < capacity / 4 {
            self.outcomes.shrink_to(len.max(KEPT_CAPACITY));
        }
    }
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutcomeBounds {
    /// Clients.
    pub(crate) clients: usize,
    /// Outcomes of one client.
    pub(crate) per_client: usize,
    /// Outcomes of all clients.
    pub(crate) all: usize,
}

impl Default for OutcomeBounds {
    fn default() -> Self {
        Self {
            clients: OUTCOME_CLIENTS_MAX,
            per_client: OUTCOMES_PER_CLIENT_MAX,
            all: OUTCOMES_MAX,
        }
    }
}

/// What gives way.
#[derive(Clone, Copy, Debug)]
enum Surplus {
    /// A client; unknown ones have this horizon then.
    Client(u64, u64),
    /// What is below this floor of a client's.
    Outcome(u64, u64),
}

/// All outcomes of a shard.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    clients: BTreeMap<u64, Client>,
    /// Versions and clients: who has not written for longest comes first.
    order: BTreeSet<(u64, u64)>,
    /// Numbers of outcomes and clients that have any: who has most comes last.
    crowds: BTreeSet<(usize, u64)>,
    bounds: OutcomeBounds,
    horizon: u64,
    /// Outcomes of all clients.
    count: usize,
    /// Those that there is memory for.
    capacity: usize,
    repeated: u64,
    forgotten: u64,
}

impl Outcomes {
    fn recall(&self, attempt: &Attempt) -> Recalled {
        let Attempt { client, sequence, .. } = *attempt;
        let known = self.clients.get(&client);
        if let Some(client) = known
            && let Ok(at) = client.place(sequence)
        {
            return Recalled::Done(client.outcomes[at].1);
        }
        let floor = known.map_or(self.horizon, |client| client.floor);
        if sequence < floor { Recalled::Forgotten } else { Recalled::New }
    }

    /// The client's floor once this attempt has been run: the oldest outcome gives way if there are too many.
    fn floor_after(&self, attempt: &Attempt) -> u64 {
        let Some(client) = self.clients.get(&attempt.client) else {
            return self.horizon.max(attempt.answered);
        };
        let floor = client.floor.max(attempt.answered);
        let first = client.outcomes.partition_point(|(sequence, _)| *sequence < floor);
        match client.outcomes.get(first) {
            Some((oldest, _)) if client.outcomes.len() - first >= self.bounds.per_client => {
                oldest.saturating_add(1)
            }
            _ => floor,
        }
    }

    /// Changes a client to what `change` makes of it at `version`, unless that has been seen.
    fn change(&mut self, id: u64, version: u64, change: impl FnOnce(&mut Client)) {
        let known = self.clients.get(&id).map(|client| client.version);
        if known.is_some_and(|known| known >= version) {
            return;
        }
        self.alter(id, |client| {
            client.version = version;
            change(client);
        });
        self.order.remove(&(known.unwrap_or_default(), id));
        self.order.insert((version, id));
    }

    /// Changes a client's outcomes, and counts them.
    fn alter(&mut self, id: u64, change: impl FnOnce(&mut Client)) {
        let client = self.clients.entry(id).or_default();
        let before = (client.outcomes.len(), client.outcomes.capacity());
        change(client);
        let after = (client.outcomes.len(), client.outcomes.capacity());
        self.count = self.count + after.0 - before.0;
        self.capacity = self.capacity + after.1 - before.1;
        if after.0 != before.0 {
            self.crowds.remove(&(before.0, id));
            self.crowds.extend((after.0 > 0).then_some((after.0, id)));
        }
    }

    fn keep(&mut self, id: u64, (sequence, floor): (u64, u64), outcome: Outcome, version: u64) {
        self.change(id, version, |client| {
            client.raise_floor(floor);
            match client.place(sequence) {
                _ if sequence < client.floor => {}
                Ok(at) => client.outcomes[at].1 = outcome,
                Err(at) => client.outcomes.insert(at, (sequence, outcome)),
            }
        });
    }

    /// Forgets what is below `floor` of a client, if it is known. Who has seen that may see it again: the floor of a client
    /// never falls, and where it is forgotten the horizon is above it.
    fn raise_floor(&mut self, id: u64, floor: u64) {
        if self.clients.contains_key(&id) {
            self.alter(id, |client| client.raise_floor(floor));
        }
    }

    /// Forgets a client, unless it has written since `version`.
    fn forget(&mut self, id: u64, version: u64, horizon: u64) {
        self.horizon = self.horizon.max(horizon);
        if self.clients.get(&id).is_some_and(|client| client.version <= version) {
            self.take_out(id);
        }
    }

    fn take_out(&mut self, id: u64) {
        if let Some(client) = self.clients.remove(&id) {
            self.order.remove(&(client.version, id));
            self.crowds.remove(&(client.outcomes.len(), id));
            self.count -= client.outcomes.len();
            self.capacity -= client.outcomes.capacity();
        }
    }

    /// What gives way next; nothing as long as there is room.
    fn surplus(&self) -> Option<Surplus> {
        if self.clients.len() > self.bounds.clients {
            let (_, id) = self.order.first()?;
            return Some(Surplus::Client(*id, self.clients.get(id)?.end()));
        }
        if self.count <= self.bounds.all {
            return None;
        }
        let (_, id) = self.crowds.last()?;
        let (oldest, _) = self.clients.get(id)?.outcomes.front()?;
        Some(Surplus::Outcome(*id, oldest.checked_add(1)?))
    }

    /// Goes on counting where another one has come to, within the same bounds.
    pub(super) fn take_counts_of(&mut self, other: &Self) {
        (self.repeated, self.forgotten) = (other.repeated, other.forgotten);
        self.bounds = other.bounds;
    }

    /// Bytes of memory, about.
    #[inline]
    pub(super) fn memory_bytes(&self) -> usize {
        // Nodes of B-trees are two thirds full.
        const CLIENT_BYTES: usize = (size_of::<u64>()
            + size_of::<Client>()
            + size_of::<(u64, u64)>()
            + size_of::<(usize, u64)>())
            * 3
            / 2;
        self.clients.len() * CLIENT_BYTES + self.capacity * size_of::<(u64, Outcome)>()
    }
}

#[cfg(any(test, debug_assertions))]
impl Outcomes {
    /// Checks that all that is counted and ordered is what there is.
    ///
    /// # Panics
    /// If not.
    pub(super) fn check(&self) {
        let order = self.clients.iter().map(|(id, client)| (client.version, *id));
        assert_eq!(order.collect::<BTreeSet<_>>(), self.order, "the order of clients");
        let crowds = self.clients.iter().map(|(id, client)| (client.outcomes.len(), *id));
        let crowds = crowds.filter(|(count, _)| *count > 0);
        assert_eq!(crowds.collect::<BTreeSet<_>>(), self.crowds, "who has most outcomes");
        let all = || self.clients.values().map(|client| &client.outcomes);
        assert_eq!(all().map(VecDeque::len).sum::<usize>(), self.count, "outcomes");
        assert_eq!(all().map(VecDeque::capacity).sum::<usize>(), self.capacity, "their capacity");
        for client in self.clients.values() {
            let mut sequences = client.outcomes.iter().map(|(sequence, _)| *sequence);
            assert!(sequences.clone().is_sorted_by(|one, next| one < next), "a client's sequences");
            assert!(sequences.all(|sequence| sequence >= client.floor), "a client's floor");
        }
    }
}

impl Keyspace {
    /// What is known of an attempt that is about to be run.
    pub fn recall(&mut self, attempt: &Attempt) -> Recalled {
        let recalled = self.outcomes.recall(attempt);
        match recalled {
            Recalled::New => {}
            Recalled::Done(_) => self.outcomes.repeated += 1,
            Recalled::Forgotten => self.outcomes.forgotten += 1,
        }
        recalled
    }

    /// Keeps what became of an attempt that has been run just now, and has changed something.
    pub fn keep_outcome(&mut self, attempt: &Attempt, body: OutcomeBody) {
        self.keep(attempt, Outcome::done(self.sequence, body));
    }

    /// Keeps what became of an attempt that has been run just now, and has changed nothing. That is a change of its own: it
    /// raises the sequence.
    pub fn keep_unchanged(&mut self, attempt: &Attempt, outcome: Outcome) {
        debug_assert!(outcome.version <= self.sequence, "a version that was there");
        self.sequence += 1;
        self.keep(attempt, outcome);
    }

    fn keep(&mut self, attempt: &Attempt, outcome: Outcome) {
        let Attempt { client, sequence, .. } = *attempt;
        let (numbers, version) = ((sequence, self.outcomes.floor_after(attempt)), self.sequence);
        self.outcomes.keep(client, numbers, outcome, version);
        if self.journal.is_on() {
            self.journal.outcome(client, numbers, &outcome, version);
        }
        while let Some(surplus) = self.outcomes.surplus() {
            self.give_way(surplus);
        }
    }

    fn give_way(&mut self, surplus: Surplus) {
        let version = self.sequence;
        match surplus {
            Surplus::Client(client, horizon) => {
                self.outcomes.forget(client, version, horizon);
                if self.journal.is_on() {
                    self.journal.forget(client, horizon, version);
                }
            }
            Surplus::Outcome(client, floor) => {
                self.outcomes.raise_floor(client, floor);
                if self.journal.is_on() {
                    self.journal.raise_floor(client, floor, version);
                }
            }
        }
    }

    /// Keeps an outcome that was kept elsewhere at `version`.
    pub(super) fn keep_outcome_again(
        &mut self,
        client: u64,
        numbers: (u64, u64),
        outcome: Outcome,
        version: u64,
    ) {
        self.outcomes.keep(client, numbers, outcome, version);
    }

    /// Forgets outcomes that were forgotten elsewhere.
    pub(super) fn raise_floor_again(&mut self, client: u64, floor: u64) {
        self.outcomes.raise_floor(client, floor);
    }

    /// Sets how much is kept from now on.
    #[cfg(test)]
    pub(crate) fn set_outcome_bounds(&mut self, bounds: OutcomeBounds) {
        self.outcomes.bounds = bounds;
    }

    /// Forgets a client that was forgotten elsewhere at `version`.
    pub(super) fn forget_client_again(&mut self, client: u64, horizon: u64, version: u64) {
        self.outcomes.forget(client, version, horizon);
    }

    /// How much is kept, and how often it was asked for.
    pub fn outcome_figures(&self) -> OutcomeFigures {
        let Outcomes { repeated, forgotten, .. } = self.outcomes;
        OutcomeFigures {
            clients: self.outcomes.clients.len() as u64,
            outcomes: self.outcomes.count as u64,
            repeated,
            forgotten,
        }
    }
}
