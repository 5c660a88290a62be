//! A sorted set in one block: members and scores by turns, in order, as in Redis's listpack.
//!
//! A score that is a whole number is an integer in the block, any other the digits that `%.17g` prints. So a
//! minus zero becomes a zero here, as it does in Redis.

use crate::collection::element::{Digits, Element};
use crate::collection::packed::{HEADER_BYTES, Packed, PackedBuf, Placed, element_bytes_max};
use crate::collection::{Kind, Tag, Thresholds};
use crate::double;
use std::collections::HashSet;
use std::ops::Range;

/// The first byte of the block.
pub(super) const TAG: Tag = Tag::block(Kind::SortedSet, 0);
/// Bytes of the longest score.
const SCORE_BYTES_MAX: usize = 32;

/// A member that was found.
pub(super) struct Found {
    pub(super) score: f64,
    pub(super) rank: usize,
    /// Where member and score stand in the block.
    pub(super) range: Range<usize>,
}

/// Members and scores.
#[derive(Clone, Debug)]
pub(super) struct Pairs<'a> {
    elements: crate::collection::packed::Iter<'a>,
}

impl<'a> Pairs<'a> {
    pub(super) fn of(block: Packed<'a>) -> Self {
        Self { elements: block.iter() }
    }

    /// Leaves out so many at the start and at the end.
    pub(super) fn skip_ends(mut self, at_start: usize, at_end: usize) -> Self {
        if at_start > 0 {
            self.elements.nth(2 * at_start - 1);
        }
        if at_end > 0 {
            self.elements.nth_back(2 * at_end - 1);
        }
        self
    }
}

/// Member, score, and where they stand.
type Pair<'a> = (Element<'a>, f64, Range<usize>);

fn pair<'a>(member: Placed<'a>, score: Placed<'a>) -> Pair<'a> {
    (member.element, score_of(score.element).unwrap_or(0.0), member.start..score.end)
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    #[inline]
    fn next(&mut self) -> Option<Pair<'a>> {
        let member = self.elements.next()?;
        Some(pair(member, self.elements.next()?))
    }
}

impl DoubleEndedIterator for Pairs<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let score = self.elements.next_back()?;
        Some(pair(self.elements.next_back()?, score))
    }
}

/// The score that an element stands for.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "it was a double when it was written")]
pub(super) fn score_of(element: Element<'_>) -> Option<f64> {
    match element {
        Element::Int(number) => Some(number as f64),
        Element::Bytes(text) => double::parse(text),
    }
}

/// The integer that stands for a score.
#[expect(clippy::cast_possible_truncation, reason = "compared afterwards")]
#[expect(clippy::cast_precision_loss, reason = "compared with what it came from")]
fn whole(score: f64) -> Option<i64> {
    const MOST: f64 = (1_u64 << 62) as f64;
    let number = score as i64;
    (score.abs() <= MOST && number as f64 == score).then_some(number)
}

/// Looks for a member.
pub(super) fn find(block: Packed<'_>, member: &[u8]) -> Option<Found> {
    let wanted = Element::of(member);
    let mut elements = block.iter();
    let mut rank = 0;
    loop {
        let member = elements.next()?;
        if member.element == wanted {
            let (_, score, range) = pair(member, elements.next()?);
            return Some(Found { score, rank, range });
        }
        elements.next();
        rank += 1;
    }
}

/// Whether another member may be added.
pub(super) fn takes(block: &PackedBuf, member: &[u8], thresholds: Thresholds) -> bool {
    block.view().count() / 2 < thresholds.zset_entries
        && member.len() <= thresholds.zset_value_bytes
        && block.takes(2, element_bytes_max(Element::Bytes(member)) + SCORE_BYTES_MAX)
}

/// Gives a member its score; it was `found` with another one or not at all.
pub(super) fn put(block: &mut PackedBuf, found: Option<Found>, member: &[u8], score: f64) {
    if let Some(found) = found {
        block.remove(found.range, 2);
    }
    let edge = super::Edge::BeforeElement(score, member);
    let mut digits = Digits::new();
    let behind = Pairs::of(block.view())
        .find(|(member, score, _)| !edge.is_behind(*score, member.bytes(&mut digits)));
    let at = behind.map_or(block.len(), |(_, _, range)| range.start);
    let text = double::Text::of(score);
    let score = whole(score).map_or(Element::of(text.as_bytes()), Element::Int);
    block.insert(at, &[Element::of(member), score]);
}

/// Removes the elements of these ranks, which are there, after having shown each.
pub(super) fn remove_ranks(
    block: &mut PackedBuf,
    ranks: Range<usize>,
    mut visit: impl FnMut(Element<'_>, f64),
) {
    if ranks.is_empty() {
        return;
    }
    let view = block.view();
    let (start, end) = (ranks.start, view.count() / 2 - ranks.end);
    let mut place: Option<Range<usize>> = None;
    for (member, score, range) in Pairs::of(view).skip_ends(start, end) {
        visit(member, score);
        place = Some(place.map_or(range.start, |place| place.start)..range.end);
    }
    block.remove(place.unwrap_or(HEADER_BYTES..HEADER_BYTES), 2 * ranks.len());
}

/// Whether a block from outside is one of members and scores, no member twice, and all in order.
pub(super) fn check(block: &[u8]) -> bool {
    if block.first() != Some(&TAG.0) {
        return false;
    }
    let Some(packed) = Packed::check(block, 2) else { return false };
    let (mut seen, mut last) = (HashSet::new(), None);
    let mut elements = packed.iter();
    while let (Some(member), Some(score)) = (elements.next(), elements.next()) {
        let Some(score) = score_of(score.element) else { return false };
        let member = member.element.to_vec();
        let is_behind = last.as_ref().is_none_or(|(last_score, last_member): &(f64, Vec<u8>)| {
            super::Edge::BeforeElement(score, &member).is_behind(*last_score, last_member)
        });
        if !is_behind || !seen.insert(member.clone()) {
            return false;
        }
        last = Some((score, member));
    }
    true
}
