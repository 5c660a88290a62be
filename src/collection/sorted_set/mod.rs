//! Sorted sets: members with scores, in order of the scores, those of one score in order of their bytes.
//!
//! While it is small, a sorted set is a block of members and scores by turns, in order (`small.rs`). A large one
//! is a tree of its elements in order and a table from member to score (`large.rs`). Whatever the form, readers
//! speak of *ranks*, positions counted from 0, and of *edges*, places between two elements such as the end
//! of a range of scores: every range is first made one of ranks.
//!
//! Operations:
//!
//! ```text
//! 1   member bytes, score f64     the member has this score
//! 2   member bytes                the member is not there
//! ```

mod large;
mod run;
mod small;
#[cfg(test)]
mod tests;
mod tree;
mod view;

pub use large::LargeSortedSet;
pub use view::{Elements, View};

use super::edit::{Edit, Op, OpReader};
use super::element::Element;
use super::packed::{Packed, PackedBuf};
use super::{Collection, Form, Kind, Nonsense};
use std::ops::Range;

const PUT: u8 = 1;
const REMOVE: u8 = 2;

/// A sorted set in the hands of a command that changes it. No score is NaN.
#[derive(Debug)]
pub enum SortedSet {
    /// A block.
    Small(PackedBuf),
    /// A structure in the heap.
    Large(Box<LargeSortedSet>),
}

/// A place between two elements, or before the first, or behind the last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Edge<'a> {
    /// Before all elements.
    Start,
    /// Behind all elements.
    End,
    /// Before those with this score, if there are any.
    BeforeScore(f64),
    /// Behind those with this score.
    AfterScore(f64),
    /// Before this member, if all members have one score.
    BeforeMember(&'a [u8]),
    /// Behind this member, if all members have one score.
    AfterMember(&'a [u8]),
    /// Before the element with this score and this member.
    BeforeElement(f64, &'a [u8]),
    /// Behind it.
    AfterElement(f64, &'a [u8]),
}

impl Edge<'_> {
    /// Whether it is behind this element.
    #[inline]
    fn is_behind(self, score: f64, member: &[u8]) -> bool {
        match self {
            Self::Start => false,
            Self::End => true,
            Self::BeforeScore(other) => score < other,
            Self::AfterScore(other) => score <= other,
            Self::BeforeMember(other) => member < other,
            Self::AfterMember(other) => member <= other,
            Self::BeforeElement(other, name) => score < other || (score == other && member < name),
            Self::AfterElement(other, name) => score < other || (score == other && member <= name),
        }
    }
}

/// What became of a member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Its score before, if it was there.
    pub before: Option<f64>,
    /// Its score now, if it is there.
    pub after: Option<f64>,
}

impl Update {
    /// Whether the member is new.
    pub fn is_added(self) -> bool {
        self.before.is_none() && self.after.is_some()
    }

    /// Whether it was there and has another score now.
    pub fn is_moved(self) -> bool {
        self.before.is_some() && self.before != self.after
    }
}

impl SortedSet {
    /// Gives a member the score that `decide` answers when it is told the one it has, if it is there; leaves all
    /// as it is if that answers none.
    #[inline]
    pub fn update(
        &mut self,
        member: &[u8],
        edit: &mut Edit<'_>,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Update {
        let large = match self {
            Self::Large(large) => large,
            Self::Small(block) => {
                let found = small::find(block.view(), member);
                let before = found.as_ref().map(|found| found.score);
                let Some(score) = decide(before).filter(|score| before != Some(*score)) else {
                    return Update { before, after: before };
                };
                if found.is_some() || small::takes(block, member, edit.thresholds) {
                    note_put(edit, member, score);
                    small::put(block, found, member, score);
                    return Update { before, after: Some(score) };
                }
                return self.enlarge(edit.seed).update(member, edit, |_| Some(score));
            }
        };
        large.update(member, edit, decide)
    }

    /// Gives a member a score.
    pub fn put(&mut self, member: &[u8], score: f64, edit: &mut Edit<'_>) -> Update {
        self.update(member, edit, |_| Some(score))
    }

    /// Removes a member; whether it was there.
    pub fn remove(&mut self, member: &[u8], edit: &mut Edit<'_>) -> bool {
        let is_there = match self {
            Self::Large(large) => large.remove(member),
            Self::Small(block) => {
                let found = small::find(block.view(), member);
                if let Some(found) = &found {
                    block.remove(found.range.clone(), 2);
                }
                found.is_some()
            }
        };
        if is_there {
            note_remove(edit, member);
        }
        is_there
    }

    /// Removes the elements of these ranks, which are there, after having shown each in order.
    pub fn remove_ranks(
        &mut self,
        ranks: Range<usize>,
        edit: &mut Edit<'_>,
        mut visit: impl FnMut(Element<'_>, f64),
    ) {
        debug_assert!(ranks.end <= self.len());
        match self {
            Self::Large(large) => large.remove_ranks(ranks, |member, score| {
                visit(Element::Bytes(member), score);
                note_remove(edit, member);
            }),
            Self::Small(block) => {
                small::remove_ranks(block, ranks, |member, score| {
                    visit(member, score);
                    note_remove(edit, member.bytes(&mut super::Digits::new()));
                });
            }
        }
    }

    /// Becomes large, with the elements of its block.
    fn enlarge(&mut self, seed: u64) -> &mut LargeSortedSet {
        let mut large = Box::new(LargeSortedSet::new(seed));
        for (member, score) in self.view().elements(0..self.len()) {
            large.put(member.bytes(&mut super::Digits::new()), score);
        }
        *self = Self::Large(large);
        match self {
            Self::Large(large) => large,
            Self::Small(_) => unreachable!("it is large now"),
        }
    }
}

impl Collection for SortedSet {
    const KIND: Kind = Kind::SortedSet;
    type Large = LargeSortedSet;
    type View<'a> = View<'a>;

    fn empty(memory: Vec<u8>) -> Self {
        Self::Small(PackedBuf::new(small::TAG.0, memory))
    }

    fn of(form: Form<LargeSortedSet>) -> Self {
        match form {
            Form::Block(block) => Self::Small(PackedBuf::of(block)),
            Form::Large(large) => Self::Large(large),
        }
    }

    fn into_form(self) -> Form<LargeSortedSet> {
        match self {
            Self::Small(block) => Form::Block(block.into_block()),
            Self::Large(large) => Form::Large(large),
        }
    }

    fn check(block: &[u8]) -> bool {
        small::check(block)
    }

    fn len(&self) -> usize {
        self.view().len()
    }

    fn view_block(block: &[u8]) -> View<'_> {
        View::Small(Packed::new(block))
    }

    fn view_large(large: &LargeSortedSet) -> View<'_> {
        View::Large(large)
    }

    fn view(&self) -> View<'_> {
        match self {
            Self::Small(block) => View::Small(block.view()),
            Self::Large(large) => View::Large(large),
        }
    }

    fn replay(&mut self, ops: &mut OpReader<'_>, edit: &mut Edit<'_>) -> Result<(), Nonsense> {
        while let Some(code) = ops.next() {
            let member = ops.bytes()?;
            match code {
                PUT => {
                    let score = f64::from_bits(ops.fixed()?);
                    if score.is_nan() {
                        return Err(Nonsense);
                    }
                    self.put(member, score, edit);
                }
                REMOVE => drop(self.remove(member, edit)),
                _ => return Err(Nonsense),
            }
        }
        Ok(())
    }
}

#[inline]
fn note_put(edit: &mut Edit<'_>, member: &[u8], score: f64) {
    debug_assert!(!score.is_nan());
    if let Some(mut op) = edit.note(PUT) {
        op.bytes(member).fixed(score.to_bits());
    }
}

#[inline]
fn note_remove(edit: &mut Edit<'_>, member: &[u8]) {
    if let Some(mut op) = edit.note(REMOVE) {
        op.bytes(member);
    }
}

/// Appends the operation that makes an element.
fn save_put(out: &mut Vec<u8>, member: &[u8], score: f64) {
    Op::append_to(out, PUT).bytes(member).fixed(score.to_bits());
}
