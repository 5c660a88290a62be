//! What tells a client's writes apart, so that one that got no reply can be sent again and is done once.
//!
//! A write's number is the time, as far as the clock goes on and servers take it for theirs. If the clock is set back, or
//! a server says that it is ahead, the client takes another number for itself and begins anew from what is right: else
//! its writes would be refused until that time has come.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::call::{Answer, Call};
use crate::protocol::binary::{CLOCK_AHEAD, Extras, Opcode, Status};
use crate::types::ShardId;

/// Time by which the clock must have been set back to begin anew. If it was less, numbers go on by one until then.
const SET_BACK_US: u64 = 1_000_000;

/// The writes of a client and all its clones.
#[derive(Debug)]
pub(super) struct Writes {
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    /// The client's number for itself, drawn at random.
    client: u64,
    /// Microseconds by which the clock is ahead of a server's, as far as one has said so.
    ahead_us: u64,
    /// The latest time that the clock has shown.
    clock_us: u64,
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
    client: u64,
    shard: ShardId,
    sequence: u64,
}

impl Writes {
    /// Those of a new client, whose number is drawn here.
    pub(super) fn new() -> Self {
        Self { open: Mutex::new(Open::new(0)) }
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
        Numbered { writes: self, client: open.client, shard, sequence }
    }

    /// Takes note of what a server says of a write's number: if that is ahead of its clock, those to come begin anew from
    /// the time there.
    pub(super) fn note_refusal(&self, extras: &Extras, answer: &Answer) {
        self.note_refusal_at(now_us(), extras, answer);
    }

    fn note_refusal_at(&self, now_us: u64, extras: &Extras, answer: &Answer) {
        let Some(servers_us) = clock_of(answer) else { return };
        let mut open = self.lock();
        // Others that were under way have been refused as well.
        if extras.client == Some(open.client) {
            *open = Open::new(now_us.saturating_sub(servers_us));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// That of a client which nobody has heard of, whose clock is ahead by so much.
    fn new(ahead_us: u64) -> Self {
        let client = RandomState::new().hash_one(SystemTime::now());
        Self { client, ahead_us, clock_us: 0, last: 0, sequences: BTreeMap::new() }
    }

    /// The next number: the time, or one more than the last.
    fn next(&mut self, now_us: u64) -> u64 {
        if now_us.saturating_add(SET_BACK_US) < self.clock_us {
            *self = Self::new(0);
        }
        self.clock_us = self.clock_us.max(now_us);
        self.last = now_us.saturating_sub(self.ahead_us).max(self.last + 1);
        self.last
    }
}

impl Drop for Numbered<'_> {
    fn drop(&mut self) {
        let mut open = self.writes.lock();
        if open.client == self.client
            && let Some(sequences) = open.sequences.get_mut(&self.shard)
        {
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

/// The time that a server tells with its refusal of a number that is ahead of it.
fn clock_of(answer: &Answer) -> Option<u64> {
    let text = std::str::from_utf8(&answer.body).ok()?;
    let mut words = text.split(' ');
    let is_ahead = answer.status() == Status::BadRequest && words.next() == Some(CLOCK_AHEAD);
    words.next()?.parse().ok().filter(|_| is_ahead)
}

#[cfg(test)]
mod tests {
    use super::{Numbered, Writes};
    use crate::client::call::Answer;
    use crate::protocol::binary::{Extras, Opcode, ReplyHead, Status};
    use crate::types::ShardId;

    const MINUTE_US: u64 = 60_000_000;

    fn number(writes: &Writes, now_us: u64, shard: u16) -> (Numbered<'_>, Extras) {
        let mut extras = Extras::default();
        let numbered = writes.number_at(now_us, ShardId(shard), &mut extras);
        (numbered, extras)
    }

    fn refusal(text: &'static str) -> Answer {
        let head = ReplyHead::new(1, Opcode::Set.number(), Status::BadRequest);
        Answer::new(head, text.into())
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

    #[test]
    fn a_clock_that_is_set_back_begins_anew() {
        let writes = Writes::new();
        let (_old, before) = number(&writes, 10 * MINUTE_US, 0);
        // A little back changes nothing.
        let (_, extras) = number(&writes, 10 * MINUTE_US - 500_000, 0);
        assert_eq!(extras.client, before.client);
        assert_eq!(extras.sequence, Some(10 * MINUTE_US + 1));
        let (_new, extras) = number(&writes, 5 * MINUTE_US, 0);
        assert_ne!(extras.client, before.client);
        assert_eq!((extras.sequence, extras.answered), (Some(5 * MINUTE_US), extras.sequence));
    }

    #[test]
    fn a_clock_that_is_ahead_of_the_servers_is_only_once() {
        let writes = Writes::new();
        let (old, refused) = number(&writes, 10 * MINUTE_US, 0);
        let (_, refused_too) = number(&writes, 10 * MINUTE_US, 0);
        for other in ["BADREQUEST 1 the ttl", "CLOCKAHEAD", "CLOCKAHEAD x", "CLOCKAHEAD -1 it", ""]
        {
            writes.note_refusal_at(10 * MINUTE_US, &refused, &refusal(other));
            assert_eq!(number(&writes, 10 * MINUTE_US, 0).1.client, refused.client, "{other}");
        }
        let answer = refusal("CLOCKAHEAD 120000000 the sequence is a time that is far");
        writes.note_refusal_at(10 * MINUTE_US, &refused, &answer);
        let (_new, extras) = number(&writes, 10 * MINUTE_US + 5, 0);
        assert_ne!(extras.client, refused.client);
        assert_eq!((extras.sequence, extras.answered), (Some(2 * MINUTE_US + 5), extras.sequence));
        // What was under way then is not another reason.
        writes.note_refusal_at(10 * MINUTE_US, &refused_too, &answer);
        drop(old);
        let (_, next) = number(&writes, 10 * MINUTE_US + 9, 0);
        assert_eq!((next.client, next.answered), (extras.client, extras.sequence));
        assert_eq!(next.sequence, Some(2 * MINUTE_US + 9));
    }
}
