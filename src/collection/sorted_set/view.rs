//! A sorted set as readers see it, whatever its form.

use super::Edge;
use super::large::LargeSortedSet;
use super::run::Run;
use super::small::{self, Pairs};
use super::tree::Tree;
use crate::collection::Large;
use crate::collection::element::{Digits, Element};
use crate::collection::packed::Packed;
use std::ops::Range;

/// What a sorted set holds.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// In a block.
    Small(Packed<'a>),
    /// In the heap.
    Large(&'a LargeSortedSet),
}

impl<'a> View<'a> {
    /// How many members.
    pub fn len(self) -> usize {
        match self {
            Self::Small(block) => block.count() / 2,
            Self::Large(large) => large.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// No less than the bytes of all members' names together. At once.
    pub fn names_bytes_max(self) -> usize {
        match self {
            Self::Small(block) => block.texts_bytes_max(),
            Self::Large(large) => large.memory_bytes(),
        }
    }

    /// What `OBJECT ENCODING` answers.
    pub fn encoding(self) -> &'static str {
        match self {
            Self::Small(_) => "listpack",
            Self::Large(_) => "skiplist",
        }
    }

    /// The score of a member.
    pub fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Small(block) => small::find(block, member).map(|found| found.score),
            Self::Large(large) => large.score(member),
        }
    }

    /// Rank and score of a member.
    pub fn find(self, member: &[u8]) -> Option<(usize, f64)> {
        match self {
            Self::Small(block) => small::find(block, member).map(|found| (found.rank, found.score)),
            Self::Large(large) => {
                let score = large.score(member)?;
                Some((large.tree.rank(Edge::BeforeElement(score, member)), score))
            }
        }
    }

    /// How many elements come before an edge: the rank of the first behind it.
    pub fn rank(self, edge: Edge<'_>) -> usize {
        match self {
            Self::Small(block) => {
                let mut digits = Digits::new();
                let is_before = |(member, score, _): &(Element<'_>, f64, _)| {
                    edge.is_behind(*score, member.bytes(&mut digits))
                };
                Pairs::of(block).take_while(is_before).count()
            }
            Self::Large(large) => large.tree.rank(edge),
        }
    }

    /// The ranks of the elements between two edges.
    pub fn between(self, from: Edge<'_>, to: Edge<'_>) -> Range<usize> {
        let start = self.rank(from);
        start..self.rank(to).max(start)
    }

    /// The elements of these ranks, as far as there are any, in order, from both ends.
    pub fn elements(self, ranks: Range<usize>) -> Elements<'a> {
        let end = ranks.end.min(self.len());
        let ranks = ranks.start.min(end)..end;
        let source = match self {
            Self::Small(block) => {
                let skipped = (ranks.start, self.len() - ranks.end);
                Source::Block(Pairs::of(block).skip_ends(skipped.0, skipped.1))
            }
            Self::Large(large) => Source::Tree { tree: &large.tree, front: None, back: None },
        };
        Elements { ranks, source }
    }

    /// Visits about `count` elements from `cursor` on, 0 for the first; answers where to go on, 0 at the end.
    /// Elements that are there all the while are visited, whatever is changed in between.
    pub fn scan(self, cursor: u64, count: usize, mut visit: impl FnMut(Element<'a>, f64)) -> u64 {
        match self {
            Self::Small(block) => {
                Pairs::of(block).for_each(|(member, score, _)| visit(member, score));
                0
            }
            Self::Large(large) => large.table.scan(cursor, count, |member, score| {
                visit(Element::Bytes(member), f64::from_bits(score));
            }),
        }
    }
}

/// Elements in order: members with their scores.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    /// Of those that are still to come.
    ranks: Range<usize>,
    source: Source<'a>,
}

#[derive(Clone, Debug)]
enum Source<'a> {
    Block(Pairs<'a>),
    Tree {
        tree: &'a Tree,
        /// The leaf of the first element to come, and its position there.
        front: Option<(&'a Run, usize)>,
        /// The leaf of the last element to come, and its position there.
        back: Option<(&'a Run, usize)>,
    },
}

impl<'a> Iterator for Elements<'a> {
    type Item = (Element<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rank = self.ranks.next()?;
        match &mut self.source {
            Source::Block(pairs) => pairs.next().map(|(member, score, _)| (member, score)),
            Source::Tree { tree, front, .. } => {
                let (leaf, at) = front.take().or_else(|| tree.leaf(rank))?;
                *front = Some((leaf, at + 1)).filter(|(_, next)| *next < leaf.count());
                let (score, member) = leaf.get(at);
                Some((Element::Bytes(member), score))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ranks.size_hint()
    }
}

impl DoubleEndedIterator for Elements<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let rank = self.ranks.next_back()?;
        match &mut self.source {
            Source::Block(pairs) => pairs.next_back().map(|(member, score, _)| (member, score)),
            Source::Tree { tree, back, .. } => {
                let (leaf, at) = back.take().or_else(|| tree.leaf(rank))?;
                *back = at.checked_sub(1).map(|before| (leaf, before));
                let (score, member) = leaf.get(at);
                Some((Element::Bytes(member), score))
            }
        }
    }
}

impl ExactSizeIterator for Elements<'_> {}
