//! Whether transactions on strings can have run one after another, in an order that agrees with the clock.
//!
//! Every value is written once, and whoever writes a key reads it first. So it is known which value came
//! after which, and who must have run before whom: the writer of a value before its readers, those
//! before whoever replaced it, and whoever had his answer before those who asked later. The history is
//! serializable, strictly, exactly if these demands have no cycle (Adya, "Weak consistency", 1999).

use std::collections::HashMap;

/// What a key holds at first.
pub(crate) const NOTHING: u64 = 0;

/// A read or a write of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Read(usize, u64),
    Write(usize, u64),
}

/// A transaction that was run, with the times of its request and its reply.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// In order.
    pub(crate) ops: Vec<Op>,
}

/// What a transaction shows to others.
#[derive(Debug, Default)]
struct Outside {
    /// What it read of others, by key.
    read: HashMap<usize, u64>,
    /// What it left behind, by key.
    left: HashMap<usize, u64>,
}

impl Outside {
    fn of(transaction: &Transaction) -> Result<Self, String> {
        let mut outside = Self::default();
        for op in &transaction.ops {
            match *op {
                Op::Read(key, value) => {
                    let before = outside.left.get(&key).or_else(|| outside.read.get(&key));
                    if before.is_some_and(|before| *before != value) {
                        return Err(format!("within {transaction:?} key {key} changed"));
                    }
                    if !outside.left.contains_key(&key) {
                        outside.read.insert(key, value);
                    }
                }
                Op::Write(key, value) => {
                    if !outside.read.contains_key(&key) {
                        return Err(format!("{transaction:?} writes {key} unread"));
                    }
                    outside.left.insert(key, value);
                }
            }
        }
        Ok(outside)
    }
}

/// Who must have run before whom.
struct Demands {
    after: Vec<Vec<usize>>,
}

impl Demands {
    fn add(&mut self, first: usize, second: usize) {
        if first != second {
            self.after[first].push(second);
        }
    }

    /// Adds that who had ended before another began ran before it. Between the two stand the instants at
    /// which transactions ended, in order, so that it takes few demands.
    fn add_times(&mut self, history: &[Transaction]) {
        let mut ends: Vec<usize> = (0..history.len()).collect();
        ends.sort_by_key(|at| history[*at].ended);
        let instant = |rank: usize| history.len() + rank;
        for (rank, at) in ends.iter().enumerate() {
            self.add(*at, instant(rank));
            if rank > 0 {
                self.add(instant(rank - 1), instant(rank));
            }
        }
        for (at, transaction) in history.iter().enumerate() {
            let earlier = ends.partition_point(|end| history[*end].ended < transaction.began);
            if earlier > 0 {
                self.add(instant(earlier - 1), at);
            }
        }
    }

    /// Somebody of a cycle, or who waits for one.
    fn cycle(&self) -> Option<usize> {
        let mut before = vec![0; self.after.len()];
        self.after.iter().flatten().for_each(|at| before[*at] += 1);
        let mut free: Vec<usize> = (0..before.len()).filter(|at| before[*at] == 0).collect();
        while let Some(at) = free.pop() {
            for next in &self.after[at] {
                before[*next] -= 1;
                if before[*next] == 0 {
                    free.push(*next);
                }
            }
        }
        before.iter().position(|left| *left > 0)
    }
}

/// Whether the transactions can have run one after another.
///
/// # Errors
/// Why not.
pub(crate) fn check(history: &[Transaction]) -> Result<(), String> {
    let outside = history.iter().map(Outside::of).collect::<Result<Vec<_>, _>>()?;
    let mut writers = HashMap::new();
    let mut followers = HashMap::new();
    for (at, Outside { read, left }) in outside.iter().enumerate() {
        for (key, value) in left {
            if writers.insert((*key, *value), at).is_some() {
                return Err(format!("{value} was written to {key} twice"));
            }
            let read = read[key];
            if let Some(other) = followers.insert((*key, read), at) {
                let (first, second) = (&history[other], &history[at]);
                return Err(format!("both replaced {read} of {key}: {first:?} and {second:?}"));
            }
        }
    }
    let mut demands = Demands { after: vec![Vec::new(); 2 * history.len()] };
    for (at, Outside { read, .. }) in outside.iter().enumerate() {
        for (key, value) in read {
            match writers.get(&(*key, *value)) {
                Some(writer) => demands.add(*writer, at),
                None if *value == NOTHING => {}
                None => return Err(format!("{:?} read what nobody left", history[at])),
            }
            if let Some(follower) = followers.get(&(*key, *value)) {
                demands.add(at, *follower);
            }
        }
    }
    demands.add_times(history);
    match demands.cycle() {
        None => Ok(()),
        Some(at) => Err(match history.get(at) {
            Some(transaction) => format!("no order has a place for {transaction:?}"),
            None => "no order agrees with the clock".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{NOTHING, Op, Transaction, check};
    use Op::{Read, Write};

    const A: usize = 0;
    const B: usize = 1;

    fn at(began: u64, ended: u64, ops: &[Op]) -> Transaction {
        Transaction { began, ended, ops: ops.to_vec() }
    }

    /// Writes both keys, of which nothing was there.
    fn first() -> Transaction {
        at(0, 10, &[Read(A, NOTHING), Write(A, 1), Read(B, NOTHING), Write(B, 2)])
    }

    #[test]
    fn what_can_have_been_is_accepted() {
        let histories = [
            vec![],
            vec![first()],
            // Who was under way at the same time may have been before or after.
            vec![first(), at(5, 15, &[Read(A, NOTHING), Read(B, NOTHING)])],
            vec![first(), at(5, 15, &[Read(A, 1), Read(B, 2)])],
            vec![first(), at(11, 20, &[Read(A, 1), Write(A, 3), Read(A, 3), Write(A, 4)])],
            vec![
                first(),
                at(11, 20, &[Read(A, 1), Write(A, 3)]),
                at(12, 13, &[Read(A, 3), Write(A, 4), Read(B, 2)]),
                at(14, 21, &[Read(B, 2), Write(B, 5), Read(A, 4)]),
            ],
        ];
        for history in histories {
            assert_eq!(check(&history), Ok(()), "{history:?}");
        }
    }

    #[test]
    fn what_can_not_have_been_is_rejected() {
        let histories = [
            (
                "a lost update",
                vec![
                    first(),
                    at(11, 20, &[Read(A, 1), Write(A, 3)]),
                    at(12, 21, &[Read(A, 1), Write(A, 4)]),
                ],
            ),
            ("half of a transaction", vec![first(), at(5, 15, &[Read(A, 1), Read(B, NOTHING)])]),
            (
                "a write skew",
                vec![
                    first(),
                    at(11, 20, &[Read(A, 1), Read(B, 2), Write(A, 3)]),
                    at(12, 21, &[Read(A, 1), Read(B, 2), Write(B, 4)]),
                ],
            ),
            (
                "a value of a transaction that was not run",
                vec![first(), at(11, 20, &[Read(A, 99)])],
            ),
            (
                "a value on the way",
                vec![
                    at(0, 10, &[Read(A, NOTHING), Write(A, 1), Write(A, 2)]),
                    at(5, 15, &[Read(A, 1)]),
                ],
            ),
            (
                "a key that changes meanwhile",
                vec![first(), at(5, 15, &[Read(A, NOTHING), Read(A, 1)])],
            ),
            (
                "a write that its writer does not see",
                vec![at(0, 10, &[Read(A, NOTHING), Write(A, 1), Read(A, NOTHING)])],
            ),
            ("a reader that is behind the clock", vec![first(), at(11, 20, &[Read(A, NOTHING)])]),
            (
                "two readers in different orders",
                vec![
                    at(0, 100, &[Read(A, NOTHING), Write(A, 1)]),
                    at(0, 100, &[Read(B, NOTHING), Write(B, 2)]),
                    at(0, 100, &[Read(A, 1), Read(B, NOTHING)]),
                    at(0, 100, &[Read(A, NOTHING), Read(B, 2)]),
                ],
            ),
            (
                "a reader that goes back",
                vec![
                    at(0, 100, &[Read(A, NOTHING), Write(A, 1)]),
                    at(10, 20, &[Read(A, 1)]),
                    at(21, 30, &[Read(A, NOTHING)]),
                ],
            ),
        ];
        for (name, history) in histories {
            assert!(check(&history).is_err(), "{name}");
        }
    }
}
