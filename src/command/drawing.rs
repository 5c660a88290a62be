//! Very many elements that are chosen at random (`SRANDMEMBER`, `HRANDFIELD`, `ZRANDMEMBER`), in steps (`steps`).

use super::Stepwise;
use super::numbers::parse_i64;
use super::steps::Progress;
use crate::cache::Random;
use crate::collection::table::{Nothing, Table};
use crate::collection::{Digits, Element, Garbage};
use crate::limits::STEP_ELEMENTS;

/// A sample of more than this part of the elements is drawn by walking over all of them.
const SAMPLE_PART: usize = 3;

/// Where elements are chosen from. It does not change from the first to the last.
pub(super) trait Source: Copy {
    /// One of them.
    type Item: Copy;

    /// Any of them; `below` answers a random number below the one it is given.
    fn any(self, below: impl FnMut(usize) -> usize) -> Option<Self::Item>;
    /// Visits about `count` of them from `cursor` on, 0 for the first; answers where to go on, 0 at the end.
    fn scan(self, cursor: u64, count: usize, visit: impl FnMut(Self::Item)) -> u64;
    /// By what it is known from others.
    fn name(item: &Self::Item) -> Element<'_>;
}

/// Elements that are being chosen.
#[derive(Debug)]
pub(super) struct Drawing {
    /// How many still are to be.
    wanted: usize,
    random: Random,
    how: How,
}

#[derive(Debug)]
enum How {
    /// One by one; any may come again.
    Repeating,
    /// One by one, those left out that have been chosen.
    Choosing(Table<Nothing>),
    /// Of so many that are still to come, as many are taken as are still wanted, each with the same chance.
    Walking { cursor: u64, left: usize },
}

/// If a request asks for many, of however few.
pub(super) const STEPS: Stepwise = Stepwise {
    from_bytes: 0,
    args_min: 3,
    asks_for_much: |args| {
        let count = args.get(2).and_then(parse_i64).unwrap_or_default();
        are_many(usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX))
    },
};

/// Whether so many are chosen in steps.
pub(super) fn are_many(count: usize) -> bool {
    count > STEP_ELEMENTS
}

impl Drawing {
    /// So many of those that are `there` are chosen; no more than there are, unless one `may_repeat`.
    pub(super) fn new(wanted: usize, there: usize, may_repeat: bool, mut random: Random) -> Self {
        let how = if may_repeat {
            How::Repeating
        } else if wanted > there / SAMPLE_PART {
            How::Walking { cursor: 0, left: there }
        } else {
            How::Choosing(Table::new(random.next()))
        };
        Self { wanted, random, how }
    }

    /// Chooses some, and shows them to `visit`.
    pub(super) fn step<S: Source>(
        &mut self,
        source: S,
        mut visit: impl FnMut(S::Item),
    ) -> Progress {
        let Self { wanted, random, how } = self;
        match how {
            How::Walking { cursor, left } => {
                *cursor = source.scan(*cursor, STEP_ELEMENTS, |item| {
                    if *left > 0 && random.below(*left) < *wanted {
                        visit(item);
                        *wanted -= 1;
                    }
                    *left = left.saturating_sub(1);
                });
                return Progress::done_if(*wanted == 0 || *cursor == 0);
            }
            How::Repeating => {
                for _ in 0..STEP_ELEMENTS.min(*wanted) {
                    source.any(|bound| random.below(bound)).into_iter().for_each(&mut visit);
                    *wanted -= 1;
                }
            }
            How::Choosing(chosen) => {
                for _ in 0..STEP_ELEMENTS.min(*wanted) {
                    let Some(item) = source.any(|bound| random.below(bound)) else {
                        return Progress::Done;
                    };
                    if chosen.insert_new(S::name(&item).bytes(&mut Digits::new()), ()) {
                        visit(item);
                        *wanted -= 1;
                    }
                }
            }
        }
        Progress::done_if(*wanted == 0)
    }

    /// What need not be known any more.
    pub(super) fn take_garbage(&mut self) -> Vec<Box<dyn Garbage>> {
        match &mut self.how {
            How::Choosing(chosen) => vec![Box::new(std::mem::replace(chosen, Table::new(0)))],
            How::Repeating | How::Walking { .. } => Vec::new(),
        }
    }
}
