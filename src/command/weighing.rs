//! Whether a record of the log has room for elements that are to be removed: their names are written down.
//!
//! Mostly all that the key holds is less than there is room for, which is known at once. Else the elements are looked at
//! before the first of them goes, in steps (`steps`); if they are too much, nothing is changed.

use super::{Error, Exec};
use crate::types::Key;

/// Bytes that are written down with each name: what is done with it, and its length.
const NAME_HEAD_BYTES: usize = 6;
/// Bytes that are written down with each step besides the key.
const STEP_HEAD_BYTES: usize = 32;

/// Bytes of names that there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room(usize);

/// Bytes that are written down with so many steps besides the names.
pub(super) fn step_bytes(key: Key<'_>, steps: usize) -> usize {
    steps.saturating_mul(key.bytes.len() + STEP_HEAD_BYTES)
}

impl Room {
    /// Room for names of elements of `key` that go in so many steps.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn of(exec: &mut Exec<'_>, key: Key<'_>, steps: usize) -> Result<Self, Error> {
        let heads = step_bytes(key, steps);
        let room = exec.keyspace(key).room_for_changes();
        if room == usize::MAX {
            // Nothing is written down.
            return Ok(Self(room));
        }
        room.checked_sub(heads).map(Self).ok_or(Error::TooMuch)
    }

    /// Whether there is room for so many names of so many bytes together.
    pub(super) fn takes(self, count: usize, bytes: usize) -> bool {
        self.0 == usize::MAX
            || bytes.saturating_add(count.saturating_mul(NAME_HEAD_BYTES)) <= self.0
    }

    /// The same as a result.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn check(self, count: usize, bytes: usize) -> Result<(), Error> {
        if self.takes(count, bytes) { Ok(()) } else { Err(Error::TooMuch) }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::replay::{Peer, Shards};

    const MEMBERS: usize = 9000;
    const NAME_BYTES: usize = 20;

    /// A set, a sorted set and a list, in one shard.
    fn large() -> Shards {
        let mut shards = Shards::new(1);
        for number in 0..MEMBERS {
            let name = format!("{number:0NAME_BYTES$}");
            for command in ["SADD set", "ZADD zset 1", "RPUSH list a", "RPUSH other"] {
                shards.line(&format!("{command} {name}"));
            }
        }
        shards.keyspaces[0].set_journal(true);
        shards
    }

    /// Lines that remove some of them, how many, and how much it takes at least to write one down.
    const LINES: [(&str, usize, usize); 7] = [
        ("SPOP set 4500", 4500, NAME_BYTES),
        ("ZREMRANGEBYRANK zset 1 4500", 4500, NAME_BYTES),
        ("ZREMRANGEBYLEX zset - (00000000000000004000", 4000, NAME_BYTES),
        ("ZPOPMIN zset 4000", 4000, NAME_BYTES),
        ("ZPOPMAX zset 4", 4, NAME_BYTES),
        ("ZMPOP 2 no zset MAX COUNT 4000", 4000, NAME_BYTES),
        ("LREM list -8000 a", 8000, 3),
    ];

    #[test]
    fn what_is_too_much_is_refused_and_what_is_not_is_removed() {
        for (line, count, bytes) in LINES {
            let least = count * bytes;
            let mut shards = large();
            let before = shards.keyspaces[0].sequence();
            let lengths = |shards: &mut Shards| {
                ["SCARD set", "ZCARD zset", "LLEN list"].map(|line| shards.line(line))
            };
            let there = lengths(&mut shards);
            shards.keyspaces[0].set_changes_bytes_max(least);
            let reply = shards.line(line);
            assert!(reply.starts_with("-ERR the change is too large"), "{line}: {reply}");
            let keyspace = &shards.keyspaces[0];
            assert_eq!((keyspace.changes_len(), keyspace.sequence()), (0, before), "{line}");
            assert_eq!(lengths(&mut shards), there, "{line}");
            // With what goes with each it is little enough.
            let bound = count * (bytes + 12) + 1000;
            shards.keyspaces[0].set_changes_bytes_max(bound);
            let reply = shards.line(line);
            assert!(!reply.starts_with('-'), "{line}: {reply}");
            let keyspace = &shards.keyspaces[0];
            let written = keyspace.changes_len();
            assert!((least..=bound).contains(&written), "{line}: {written} of {bound}");
            assert!(lengths(&mut shards) != there, "{line}");
            shards.keyspaces[0].check();
        }
    }

    /// What all of it goes with is short.
    #[test]
    fn all_of_it_may_be_removed_however_much_it_is() {
        let mut shards = large();
        shards.keyspaces[0].set_changes_bytes_max(1000);
        for line in ["SPOP set 9000", "ZPOPMAX zset 9000", "LPOP list 18000", "RPOP other 4000"] {
            let reply = shards.line(line);
            assert!(!reply.starts_with('-'), "{line}: {reply}");
        }
        assert_eq!(shards.line("EXISTS set zset list other"), ":1");
        assert!(shards.keyspaces[0].changes_len() < 1000);
    }

    /// A name that is long is written down with each step.
    #[test]
    fn a_long_name_of_a_key_counts_with_each_step() {
        let mut shards = large();
        let name = "k".repeat(10_000);
        shards.line(&format!("COPY set {name}"));
        shards.keyspaces[0].set_journal(true);
        shards.keyspaces[0].set_changes_bytes_max(150_000);
        let refused = shards.line(&format!("SPOP {name} 6000"));
        assert!(refused.starts_with("-ERR the change is too large"), "{refused}");
        let popped = shards.line(&format!("SPOP {name} 3000"));
        assert!(popped.starts_with("*3000"), "{popped}");
        assert!(shards.keyspaces[0].changes_len() < 150_000);
    }
}
