//! What tells a client's writes apart, so that one that got no reply can be sent again and is done once.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::call::Call;
use crate::protocol::binary::{Extras, Opcode};

/// The writes of a client and all its clones.
#[derive(Debug)]
pub(super) struct Writes {
    client: u64,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    /// Those that have not been answered or given up.
    sequences: BTreeSet<u64>,
}

/// A write that has its number, until it is answered or given up.
#[derive(Debug)]
pub(super) struct Numbered<'a> {
    writes: &'a Writes,
    sequence: u64,
}

impl Writes {
    /// Those of a new client, whose number is drawn here.
    pub(super) fn new() -> Self {
        let client = RandomState::new().hash_one(SystemTime::now());
        Self { client, open: Mutex::default() }
    }

    /// Whether a server that can do writes once can do this one so.
    pub(super) fn can_number(call: &Call) -> bool {
        match call.opcode {
            Opcode::Set
            | Opcode::Delete
            | Opcode::CompareAndSwap
            | Opcode::Increment
            | Opcode::Append
            | Opcode::Expire => true,
            Opcode::Hello
            | Opcode::Ping
            | Opcode::Topology
            | Opcode::SubscribeTopology
            | Opcode::Stats
            | Opcode::Command
            | Opcode::Get
            | Opcode::Touch
            | Opcode::GetMany
            | Opcode::SetMany
            | Opcode::Scan => false,
        }
    }

    /// Gives a write its number: the time, or one more than the last.
    pub(super) fn number(&self, extras: &mut Extras) -> Numbered<'_> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let mut open = self.lock();
        let sequence = now.max(open.last + 1);
        open.last = sequence;
        open.sequences.insert(sequence);
        extras.client = Some(self.client);
        extras.sequence = Some(sequence);
        extras.answered = open.sequences.first().copied();
        Numbered { writes: self, sequence }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Numbered<'_> {
    fn drop(&mut self) {
        self.writes.lock().sequences.remove(&self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::Writes;
    use crate::protocol::binary::Extras;

    #[test]
    fn numbers_rise_and_the_lowest_that_is_open_is_told() {
        let writes = Writes::new();
        let number = || {
            let mut extras = Extras::default();
            let numbered = writes.number(&mut extras);
            (numbered, extras.sequence.unwrap(), extras.answered.unwrap())
        };
        let (first, one, answered) = number();
        assert_eq!(answered, one);
        let (_second, two, answered) = number();
        assert!(two > one && answered == one);
        drop(first);
        let (_third, three, answered) = number();
        assert!(three > two && answered == two);
        assert_ne!(writes.client, Writes::new().client);
    }
}
