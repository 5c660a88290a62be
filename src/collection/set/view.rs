//! What a set holds, for those who only read.

use super::{Draw, Ints, LargeSet};
use crate::collection::Large;
use crate::collection::element::{DIGITS_MAX, Digits, Element, canonical_integer};
use crate::collection::packed::Packed;
use std::collections::BTreeSet;

/// A sample of more than this part of a large set is drawn by walking all of it.
const SAMPLE_PART: usize = 3;

/// A set, to be read.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// All integers.
    Ints(Ints<'a>),
    /// A block of members.
    Packed(Packed<'a>),
    /// A structure in the heap.
    Large(&'a LargeSet),
}

impl<'a> View<'a> {
    /// How many members it has.
    #[inline]
    pub fn len(self) -> usize {
        match self {
            Self::Ints(ints) => ints.len(),
            Self::Packed(packed) => packed.count(),
            Self::Large(large) => large.members.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// No less than the bytes of all members' names together. At once.
    pub fn names_bytes_max(self) -> usize {
        match self {
            Self::Ints(ints) => ints.len() * DIGITS_MAX,
            Self::Packed(packed) => packed.texts_bytes_max(),
            Self::Large(large) => large.memory_bytes(),
        }
    }

    /// What `OBJECT ENCODING` answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::Ints(_) => "intset",
            Self::Packed(_) => "listpack",
            Self::Large(_) => "hashtable",
        }
    }

    /// Whether `member` is one of its members; an integer may come as its digits.
    #[inline]
    pub fn contains(self, member: Element<'_>) -> bool {
        match (self, member) {
            (Self::Ints(ints), Element::Int(number)) => ints.contains(number),
            (Self::Ints(ints), Element::Bytes(bytes)) => {
                canonical_integer(bytes).is_some_and(|number| ints.contains(number))
            }
            (Self::Packed(packed), Element::Bytes(bytes)) => {
                packed.find(Element::of(bytes), 1).is_some()
            }
            (Self::Packed(packed), Element::Int(_)) => packed.find(member, 1).is_some(),
            (Self::Large(large), member) => {
                large.members.contains(member.bytes(&mut Digits::new()))
            }
        }
    }

    /// All members. Those of a large set are bytes even where they are digits of an integer.
    pub fn iter(self) -> impl Iterator<Item = Element<'a>> {
        let (ints, packed, large) = match self {
            Self::Ints(ints) => (Some(ints), None, None),
            Self::Packed(packed) => (None, Some(packed), None),
            Self::Large(large) => (None, None, Some(large)),
        };
        let ints = ints.into_iter().flat_map(Ints::iter).map(Element::Int);
        let packed = packed.into_iter().flat_map(Packed::iter).map(|placed| placed.element);
        let large = large.into_iter().flat_map(|large| large.members.iter());
        ints.chain(packed).chain(large.map(|(member, ())| Element::Bytes(member)))
    }

    /// A member at random; none if there is none. `below` answers a random number below the one it is given.
    pub fn random(self, mut below: impl FnMut(usize) -> usize) -> Option<Element<'a>> {
        match self {
            _ if self.is_empty() => None,
            Self::Ints(ints) => Some(Element::Int(ints.at(below(ints.len())))),
            Self::Packed(packed) => packed.nth(below(packed.count())).map(|placed| placed.element),
            Self::Large(large) => {
                let spot = large.members.random(below)?;
                Some(Element::Bytes(large.members.entry(spot).0))
            }
        }
    }

    /// Visits `count` different members at random, or all if there are no more.
    pub fn sample(
        self,
        count: usize,
        mut below: impl FnMut(usize) -> usize,
        mut visit: impl FnMut(Element<'a>),
    ) {
        if let Self::Large(large) = self
            && count <= self.len() / SAMPLE_PART
        {
            let mut drawn = BTreeSet::new();
            while drawn.len() < count
                && let Some(spot) = large.members.random(&mut below)
            {
                if drawn.insert(spot) {
                    visit(Element::Bytes(large.members.entry(spot).0));
                }
            }
            return;
        }
        let mut draw = Draw::new(count, self.len());
        let mut members = self.iter();
        while draw.is_on()
            && let Some(member) = members.next()
        {
            if draw.takes(&mut below) {
                visit(member);
            }
        }
    }

    /// The same, from `at` on, of a set that is not changed meanwhile: see [`pass`](super::Table::pass).
    pub fn pass(self, at: usize, count: usize, mut visit: impl FnMut(Element<'a>)) -> usize {
        match self {
            Self::Large(large) => {
                large.members.pass(at, count, |member, ()| visit(Element::Bytes(member)))
            }
            Self::Ints(_) | Self::Packed(_) => {
                self.iter().for_each(visit);
                0
            }
        }
    }

    /// Visits about `count` members from `cursor` on, 0 for the first, or all if it is small; answers the cursor to
    /// go on from, 0 at the end.
    pub fn scan(self, cursor: u64, count: usize, mut visit: impl FnMut(Element<'a>)) -> u64 {
        match self {
            Self::Large(large) => {
                large.members.scan(cursor, count, |member, ()| visit(Element::Bytes(member)))
            }
            Self::Ints(_) | Self::Packed(_) => {
                self.iter().for_each(visit);
                0
            }
        }
    }
}
