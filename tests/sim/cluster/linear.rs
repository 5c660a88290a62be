//! Whether what clients saw of a key can have happened: whether there is an order of their calls, each between its
//! begin and its end, in which a single copy would have answered the same (linearizability, Herlihy and Wing 1990).
//!
//! The search is that of Wing and Gong (1993), with Lowe's memory (2017): a set of calls and a value that led nowhere
//! once are not tried again. All values that are written are different, so that a call whose fate is not known has
//! happened if somebody saw its value, before that one's end; and if nobody did, it is the same as if it never had.

use std::collections::{BTreeMap, HashSet};

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// The value.
    Get,
    /// Another value.
    Set(u64),
    /// Another value, and the one before.
    Swap(u64),
}

impl Ask {
    fn written(self) -> Option<u64> {
        match self {
            Self::Get => None,
            Self::Set(value) | Self::Swap(value) => Some(value),
        }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was answered at this time; with the value that was there, where that was asked for.
    Answered(u64, Option<u64>),
    /// Nobody knows.
    Unknown,
}

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) ask: Ask,
    /// When it was sent.
    pub(super) sent: u64,
    pub(super) fate: Fate,
}

/// A call that has happened, and when it was over at the latest.
#[derive(Clone, Copy, Debug)]
struct Happened {
    ask: Ask,
    sent: u64,
    over: u64,
    /// What was there, if somebody has seen that.
    saw: Option<Option<u64>>,
}

/// Whether these calls, all on one key that was not there at first, can have happened.
pub(super) fn is_linearizable(calls: &[Call]) -> bool {
    let mut search = Search { calls: happened(calls), failed: HashSet::new() };
    search.calls.sort_by_key(|call| (call.sent, call.over));
    let mut done = vec![0u64; search.calls.len().div_ceil(64)];
    search.goes_on(&mut done, None, 0)
}

/// The calls that have happened.
fn happened(calls: &[Call]) -> Vec<Happened> {
    // Who was the first to have seen a value.
    let mut seen = BTreeMap::<u64, u64>::new();
    for call in calls {
        if let Fate::Answered(at, Some(value)) = call.fate {
            let first = seen.entry(value).or_insert(at);
            *first = at.min(*first);
        }
    }
    let of = |call: &Call| {
        let (ask, sent) = (call.ask, call.sent);
        let seen_at = ask.written().and_then(|value| seen.get(&value)).copied();
        match (call.fate, ask) {
            (Fate::Answered(over, _), Ask::Set(_)) => Some(Happened { ask, sent, over, saw: None }),
            (Fate::Answered(over, saw), Ask::Get | Ask::Swap(_)) => {
                Some(Happened { ask, sent, over, saw: Some(saw) })
            }
            (Fate::Unknown, _) => seen_at.map(|over| Happened { ask, sent, over, saw: None }),
        }
    };
    calls.iter().filter_map(of).collect()
}

struct Search {
    /// By when they were sent.
    calls: Vec<Happened>,
    failed: HashSet<(Vec<u64>, Option<u64>)>,
}

impl Search {
    /// Whether the calls that are not `done` can follow on those that are, which left `value`. All before `first` are.
    fn goes_on(&mut self, done: &mut Vec<u64>, value: Option<u64>, first: usize) -> bool {
        let is_done = |done: &[u64], at: usize| done[at / 64] >> (at % 64) & 1 == 1;
        let first = (first..self.calls.len()).find(|at| !is_done(done, *at));
        let Some(first) = first else { return true };
        if !self.failed.insert((done.clone(), value)) {
            return false;
        }
        // None may follow that was sent after another was over.
        let mut bound = u64::MAX;
        for at in first..self.calls.len() {
            let call = self.calls[at];
            if call.sent > bound {
                break;
            }
            if !is_done(done, at) {
                bound = bound.min(call.over);
            }
        }
        for at in first..self.calls.len() {
            let call = self.calls[at];
            if call.sent > bound {
                break;
            }
            if is_done(done, at) || call.saw.is_some_and(|saw| saw != value) {
                continue;
            }
            done[at / 64] |= 1 << (at % 64);
            if self.goes_on(done, call.ask.written().or(value), first) {
                return true;
            }
            done[at / 64] &= !(1 << (at % 64));
            if call.ask == Ask::Get {
                // It changes nothing: if it may come now, nothing is won by having it come later.
                return false;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{Ask, Call, Fate, is_linearizable};

    fn call(ask: Ask, sent: u64, fate: Fate) -> Call {
        Call { ask, sent, fate }
    }

    fn set(value: u64, sent: u64, over: u64) -> Call {
        call(Ask::Set(value), sent, Fate::Answered(over, None))
    }

    fn get(saw: Option<u64>, sent: u64, over: u64) -> Call {
        call(Ask::Get, sent, Fate::Answered(over, saw))
    }

    fn swap(value: u64, saw: Option<u64>, sent: u64, over: u64) -> Call {
        call(Ask::Swap(value), sent, Fate::Answered(over, saw))
    }

    #[test]
    fn one_after_another_only_what_is_there_is_seen() {
        assert!(is_linearizable(&[]));
        assert!(is_linearizable(&[get(None, 1, 2), set(7, 3, 4), get(Some(7), 5, 6)]));
        assert!(!is_linearizable(&[set(7, 3, 4), get(None, 5, 6)]));
        assert!(!is_linearizable(&[set(7, 1, 2), set(8, 3, 4), get(Some(7), 5, 6)]));
        assert!(!is_linearizable(&[get(Some(7), 1, 2), set(7, 3, 4)]));
        assert!(is_linearizable(&[swap(1, None, 1, 2), swap(2, Some(1), 3, 4)]));
        assert!(!is_linearizable(&[swap(1, None, 1, 2), swap(2, None, 3, 4)]));
    }

    #[test]
    fn at_the_same_time_either_may_be_first_for_all() {
        let both = [set(7, 1, 10), set(8, 1, 10)];
        let with = |more: &[Call]| [&both[..], more].concat();
        assert!(is_linearizable(&with(&[get(Some(7), 11, 12)])));
        assert!(is_linearizable(&with(&[get(Some(8), 11, 12)])));
        assert!(!is_linearizable(&with(&[get(Some(8), 11, 12), get(Some(7), 13, 14)])));
        assert!(is_linearizable(&with(&[get(Some(8), 2, 3), get(Some(7), 4, 5)])));
        assert!(!is_linearizable(&with(&[get(Some(7), 2, 3), get(None, 4, 5)])));
    }

    #[test]
    fn of_what_is_not_known_all_is_possible_but_to_be_undone() {
        let lost = call(Ask::Set(7), 5, Fate::Unknown);
        assert!(is_linearizable(&[lost, get(None, 10, 11)]));
        assert!(is_linearizable(&[lost, get(None, 10, 11), get(Some(7), 900, 901)]));
        assert!(!is_linearizable(&[lost, get(Some(7), 10, 11), get(None, 12, 13)]));
        assert!(!is_linearizable(&[lost, get(Some(7), 1, 2)]));
        assert!(is_linearizable(&[set(6, 1, 2), lost, set(8, 10, 11), get(Some(7), 12, 13)]));
    }

    #[test]
    fn long_histories_are_searched_soon() {
        let mut calls = Vec::new();
        for round in 0..400 {
            let at = round * 10;
            calls.push(set(round * 3 + 1, at, at + 25));
            calls.push(set(round * 3 + 2, at + 1, at + 26));
            calls.push(call(Ask::Set(round * 3 + 3), at + 2, Fate::Unknown));
        }
        assert!(is_linearizable(&calls));
        calls.push(get(Some(1), 5000, 5001));
        assert!(!is_linearizable(&calls));
    }
}
