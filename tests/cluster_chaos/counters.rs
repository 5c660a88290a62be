//! Whether what clients saw of a counter can have happened: every `INCR` that was answered counted once, every one
//! whose fate is not known at most once, and none before one that was over when it was sent.

use std::collections::BTreeSet;

/// An `INCR`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Increment {
    pub(crate) sent: u64,
    /// When it was answered, and with what.
    pub(crate) answer: Option<(u64, i64)>,
}

/// What is wrong with these, all of a counter that was 0 at first, and stood at `last` when all were over.
pub(crate) fn fault(calls: &[Increment], last: i64) -> Option<String> {
    let mut answered: Vec<(u64, u64, i64)> = calls
        .iter()
        .filter_map(|it| it.answer.map(|(over, value)| (it.sent, over, value)))
        .collect();
    let mut values = BTreeSet::new();
    if let Some((.., twice)) = answered.iter().find(|(.., value)| !values.insert(*value)) {
        return Some(format!("{twice} was answered twice"));
    }
    let bounds = answered.len()..=calls.len();
    let is_last = values.last().is_none_or(|highest| *highest <= last);
    if !usize::try_from(last).is_ok_and(|last| bounds.contains(&last)) || !is_last {
        return Some(format!(
            "it is {last} after {bounds:?} calls, the highest {:?}",
            values.last()
        ));
    }
    answered.sort_unstable_by_key(|(.., value)| *value);
    let mut latest_sent = 0;
    for (sent, over, value) in answered {
        if over < latest_sent {
            return Some(format!("{value} was answered before one that is less was asked for"));
        }
        latest_sent = latest_sent.max(sent);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Increment, fault};

    fn done(sent: u64, over: u64, value: i64) -> Increment {
        Increment { sent, answer: Some((over, value)) }
    }

    #[test]
    fn each_counts_once_and_in_order() {
        let lost = Increment { sent: 1, answer: None };
        assert_eq!(fault(&[], 0), None);
        assert_eq!(fault(&[done(1, 2, 1), done(3, 4, 2)], 2), None);
        assert_eq!(fault(&[done(1, 5, 2), done(2, 4, 1)], 2), None);
        assert_eq!(fault(&[done(1, 2, 1), lost, done(3, 4, 3)], 3), None);
        assert_eq!(fault(&[done(1, 2, 1), lost, done(3, 4, 2)], 3), None);
        for (calls, last) in [
            (&[done(1, 2, 1), done(3, 4, 1)][..], 1),
            (&[done(1, 2, 2), done(3, 4, 1)], 2),
            (&[done(1, 2, 1), done(3, 4, 2)], 1),
            (&[done(1, 2, 1), done(3, 4, 2)], 3),
            (&[done(1, 2, 1), done(3, 4, 3)], 3),
            (&[lost], 2),
            (&[], 1),
        ] {
            assert!(fault(calls, last).is_some(), "{calls:?} {last}");
        }
    }
}
