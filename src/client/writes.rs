//! What tells a client's writes apart, so that one that got no reply can be sent again and is done once.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::call::Call;
use crate::protocol::binary::{Extras, Opcode};
use crate::types::ShardId;

/// The writes of a client and all its clones.
#[derive(Debug)]
pub(super) struct Writes {
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    /// The client's number for itself, drawn at random.
    client: u64,
    /// The last number of a write.
    last: u64,
    /// Of each shard those that have not been answered or given up.
    ///
    /// Each has its own, so that one without a leader does not have others keep what was answered long ago. Which shard a
    /// write goes to is what the topology said last, and may be wrong. That is harmless: the lowest of these is what a
    /// write's request says was answered below, which only raises the floor below which a shard refuses to do anything. A
    /// write that was counted with another shard may find its own's floor above it, and be told that it is forgotten; it
    /// is never done twice.
    sequences: BTreeMap<ShardId, BTreeSet<u64>>,
}

/// A write that has its number, until it is answered or given up.
#[derive(Debug)]
pub(super) struct Numbered<'a> {
    writes: &'a Writes,
    shard: ShardId,
    sequence: u64,
}

impl Writes {
    /// Those of a new client, whose number is drawn here.
    pub(super) fn new() -> Self {
        Self { open: Mutex::new(Open::new()) }
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

    /// Gives a write its number, which goes to this shard.
    pub(super) fn number(&self, shard: ShardId, extras: &mut Extras) -> Numbered<'_> {
        self.number_at(now_us(), shard, extras)
    }

    fn number_at(&self, now_us: u64, shard: ShardId, extras: &mut Extras) -> Numbered<'_> {
        let mut open = self.lock();
        let sequence = open.next(now_us);
        let sequences = open.sequences.entry(shard).or_default();
        sequences.insert(sequence);
        extras.answered = sequences.first().copied();
        extras.client = Some(open.client);
        extras.sequence = Some(sequence);
        Numbered { writes: self, shard, sequence }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// That of a client which nobody has heard of.
    fn new() -> Self {
        let client = RandomState::new().hash_one(SystemTime::now());
        Self { client, last: 0, sequences: BTreeMap::new() }
    }

    /// The next number: the time, or one more than the last.
    fn next(&mut self, now_us: u64) -> u64 {
        self.last = now_us.max(self.last + 1);
        self.last
    }
}

impl Drop for Numbered<'_> {
    fn drop(&mut self) {
        let mut open = self.writes.lock();
        if let Some(sequences) = open.sequences.get_mut(&self.shard) {
            sequences.remove(&self.sequence);
            if sequences.is_empty() {
                open.sequences.remove(&self.shard);
            }
        }
    }
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Numbered, Writes};
    use crate::protocol::binary::Extras;
    use crate::types::ShardId;

    fn number(writes: &Writes, now_us: u64, shard: u16) -> (Numbered<'_>, Extras) {
        let mut extras = Extras::default();
        let numbered = writes.number_at(now_us, ShardId(shard), &mut extras);
        (numbered, extras)
    }

    #[test]
    fn numbers_rise_and_the_lowest_that_is_open_is_told() {
        let writes = Writes::new();
        let (first, one) = number(&writes, 100, 0);
        assert_eq!((one.sequence, one.answered), (Some(100), Some(100)));
        let (_second, two) = number(&writes, 100, 0);
        assert_eq!((two.sequence, two.answered), (Some(101), Some(100)));
        drop(first);
        let (_third, three) = number(&writes, 200, 0);
        assert_eq!((three.sequence, three.answered), (Some(200), Some(101)));
        let (_, of_another) = number(&Writes::new(), 200, 0);
        assert_ne!(of_another.client, one.client);
        // By the clock they are times.
        let mut extras = Extras::default();
        writes.number(ShardId(0), &mut extras);
        assert!(extras.sequence > Some(1_700_000_000_000_000), "{extras:?}");
    }

    #[test]
    fn what_one_shard_owes_does_not_keep_what_others_have_answered() {
        let writes = Writes::new();
        let (_owed, first) = number(&writes, 100, 7);
        for now_us in 101..200 {
            let (_, extras) = number(&writes, now_us, 3);
            assert_eq!((extras.client, extras.answered), (first.client, Some(now_us)));
        }
        let (_, extras) = number(&writes, 200, 7);
        assert_eq!(extras.answered, Some(100));
        assert_eq!(writes.lock().sequences.len(), 1, "nothing is kept of shards that owe nothing");
    }
}
