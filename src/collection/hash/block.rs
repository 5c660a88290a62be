//! A small hash: one block of fields and what stands under them.
//!
//! ```text
//! listpack      field, value; …
//! listpackex    field, value, time; …    the time in milliseconds since the Unix epoch, 0 for no expiry
//! ```
//!
//! In the second form, which a hash takes on when a field is first given an expiry, fields stand in the order
//! of their times, those without one last: the first field tells when one expires next. Both are what Redis
//! keeps in its listpacks.

use std::cmp::Ordering;
use std::ops::Range;

use super::{Entry, Lifetime};
use crate::collection::element::Element;
use crate::collection::packed::{
    BLOCK_BYTES_MAX, COUNT_MAX, HEADER_BYTES, Packed, PackedBuf, Placed, element_bytes_max,
};
use crate::collection::{Kind, Tag};
use crate::types::UnixMs;

/// Fields and values.
pub(super) const PAIRS: Tag = Tag::block(Kind::Hash, 0);
/// Fields, values and times.
pub(super) const TRIPLES: Tag = Tag::block(Kind::Hash, 1);

/// A block, to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    packed: Packed<'a>,
    is_timed: bool,
}

/// Where a field stands in a block with what belongs to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Offset of the field.
    start: usize,
    /// Offsets of its value.
    value: (usize, usize),
    /// Offset of the next field.
    end: usize,
    /// When it expires.
    pub(super) expires_at: Option<UnixMs>,
}

impl Place {
    fn all(self) -> Range<usize> {
        self.start..self.end
    }

    fn value(self) -> Range<usize> {
        self.value.0..self.value.1
    }
}

impl<'a> Block<'a> {
    /// A block of one of the two forms.
    #[inline]
    pub(super) fn of(block: &'a [u8]) -> Self {
        Self { packed: Packed::new(block), is_timed: block[0] == TRIPLES.0 }
    }

    /// Whether bytes from outside are such a block.
    pub(super) fn check(block: &[u8]) -> bool {
        let is_timed = match block.first() {
            Some(&tag) if tag == PAIRS.0 => false,
            Some(&tag) if tag == TRIPLES.0 => true,
            _ => return false,
        };
        Packed::check(block, group(is_timed)).is_some_and(|packed| {
            let checked = Block { packed, is_timed };
            (!is_timed || are_times(packed)) && !checked.has_duplicates()
        })
    }

    fn has_duplicates(self) -> bool {
        let mut fields: Vec<_> = self.iter().map(|(entry, _)| entry.field).collect();
        fields.sort_unstable_by(|a, b| order(*a, *b));
        fields.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// Whether its fields may have an expiry.
    #[inline]
    pub(super) fn is_timed(self) -> bool {
        self.is_timed
    }

    /// How many fields it has.
    #[inline]
    pub(super) fn len(self) -> usize {
        if self.is_timed { self.packed.count() / 3 } else { self.packed.count() / 2 }
    }

    /// A field by its name.
    #[inline]
    pub(super) fn find(self, field: &[u8]) -> Option<(Entry<'a>, Place)> {
        let placed = self.packed.find(Element::of(field), group(self.is_timed))?;
        Some(self.read(placed))
    }

    /// A field by its position.
    pub(super) fn nth(self, index: usize) -> Option<Entry<'a>> {
        let placed = self.packed.nth(index * group(self.is_timed))?;
        Some(self.read(placed).0)
    }

    /// The fields in their order.
    pub(super) fn iter(self) -> Fields<'a> {
        Fields { block: self, next: HEADER_BYTES }
    }

    /// When a field expires next.
    #[inline]
    pub(super) fn soonest_expiry(self) -> Option<UnixMs> {
        if self.is_timed { self.iter().next()?.0.expires_at } else { None }
    }

    #[inline]
    fn read(self, field: Placed<'a>) -> (Entry<'a>, Place) {
        let value = self.packed.at(field.end);
        let (expires_at, end) = if self.is_timed {
            let time = self.packed.at(value.end);
            (read_time(time.element), time.end)
        } else {
            (None, value.end)
        };
        let entry = Entry { field: field.element, value: value.element, expires_at };
        (entry, Place { start: field.start, value: (value.start, value.end), end, expires_at })
    }
}

/// The fields of a block in their order.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    block: Block<'a>,
    next: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Entry<'a>, Place);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.block.packed.block().len() {
            return None;
        }
        let read = self.block.read(self.block.packed.at(self.next));
        self.next = read.1.end;
        Some(read)
    }
}

/// Elements of a field.
fn group(is_timed: bool) -> usize {
    if is_timed { 3 } else { 2 }
}

#[expect(clippy::cast_sign_loss, reason = "times are not negative")]
fn read_time(element: Element<'_>) -> Option<UnixMs> {
    match element {
        Element::Int(ms @ 1..) => Some(UnixMs(ms as u64)),
        Element::Int(_) | Element::Bytes(_) => None,
    }
}

/// How a time is kept. Times beyond 63 bits, which no command gives, are cut.
fn time(expires_at: Option<UnixMs>) -> Element<'static> {
    Element::Int(expires_at.map_or(0, |at| i64::try_from(at.0).unwrap_or(i64::MAX)))
}

/// Whether every third element is a time, in order and zeros last.
fn are_times(packed: Packed<'_>) -> bool {
    let mut least = Some(1);
    packed.iter().skip(2).step_by(3).all(|placed| match placed.element {
        Element::Int(0) => {
            least = None;
            true
        }
        Element::Int(ms) => least.replace(ms).is_some_and(|least| ms >= least),
        Element::Bytes(_) => false,
    })
}

/// Any order of elements.
fn order(a: Element<'_>, b: Element<'_>) -> Ordering {
    match (a, b) {
        (Element::Int(a), Element::Int(b)) => a.cmp(&b),
        (Element::Bytes(a), Element::Bytes(b)) => a.cmp(b),
        (Element::Int(_), Element::Bytes(_)) => Ordering::Less,
        (Element::Bytes(_), Element::Int(_)) => Ordering::Greater,
    }
}

/// An empty block, in memory that is used again.
pub(super) fn empty(memory: Vec<u8>) -> PackedBuf {
    PackedBuf::new(PAIRS.0, memory)
}

/// Reads a block that is being changed.
#[inline]
pub(super) fn view(buf: &PackedBuf) -> Block<'_> {
    Block::of(buf.view().block())
}

/// Whether another field with this value may be added, however many there may be.
pub(super) fn takes(buf: &PackedBuf, field: &[u8], value: &[u8]) -> bool {
    let bytes = [field, value].map(|bytes| element_bytes_max(Element::Bytes(bytes)));
    buf.takes(group(true), bytes[0] + bytes[1] + element_bytes_max(Element::Int(0)))
}

/// Sets a field that stands at `place`, or nowhere yet.
#[inline]
pub(super) fn set(
    buf: &mut PackedBuf,
    place: Option<Place>,
    field: &[u8],
    value: &[u8],
    lifetime: Lifetime,
) {
    match place {
        Some(place) if place.expires_at.is_none() || lifetime == Lifetime::Kept => {
            buf.replace(place.value(), 1, &[Element::of(value)]);
        }
        Some(place) => move_to(buf, place, field, value, None),
        None => {
            let is_timed = view(buf).is_timed();
            buf.push(Element::of(field));
            buf.push(Element::of(value));
            if is_timed {
                buf.push(time(None));
            }
        }
    }
}

/// Removes the field that stands at `place`.
pub(super) fn remove(buf: &mut PackedBuf, place: Place) {
    let group = group(view(buf).is_timed());
    buf.remove(place.all(), group);
}

/// Removes the first `count` fields.
pub(super) fn remove_first(buf: &mut PackedBuf, count: usize) {
    if count > 0 {
        let block = view(buf);
        let end = block.iter().nth(count - 1).map_or(buf.len(), |(_, place)| place.end);
        let elements = count * group(block.is_timed());
        buf.remove(HEADER_BYTES..end, elements);
    }
}

/// Gives a field of a block of triples another expiry, or none.
pub(super) fn set_expiry(buf: &mut PackedBuf, field: &[u8], expires_at: Option<UnixMs>) {
    debug_assert!(view(buf).is_timed());
    if let Some((entry, place)) = view(buf).find(field) {
        let value = entry.value.to_vec();
        move_to(buf, place, field, &value, expires_at);
    }
}

/// Moves a field to where it belongs by its new expiry, with a new value.
fn move_to(
    buf: &mut PackedBuf,
    place: Place,
    field: &[u8],
    value: &[u8],
    expires_at: Option<UnixMs>,
) {
    buf.remove(place.all(), group(true));
    let is_later = |other: Option<UnixMs>| match (other, expires_at) {
        (Some(other), Some(own)) => other > own,
        (None, Some(_)) => true,
        (_, None) => false,
    };
    let at = view(buf).iter().find(|(_, place)| is_later(place.expires_at));
    let at = at.map_or(buf.len(), |(_, place)| place.start);
    buf.insert(at, &[Element::of(field), Element::of(value), time(expires_at)]);
}

/// Whether the fields may become triples: a block of pairs may have too many.
pub(super) fn may_be_timed(buf: &PackedBuf) -> bool {
    let block = view(buf);
    let time_bytes = element_bytes_max(time(None));
    block.is_timed()
        || block.len() * group(true) <= COUNT_MAX
            && buf.len() + block.len() * time_bytes < BLOCK_BYTES_MAX
}

/// The same fields as triples.
pub(super) fn make_timed(buf: &mut PackedBuf) {
    if view(buf).is_timed() {
        return;
    }
    let mut triples = PackedBuf::new(TRIPLES.0, Vec::with_capacity(buf.len() * 3 / 2));
    for (entry, _) in view(buf).iter() {
        triples.push(entry.field);
        triples.push(entry.value);
        triples.push(time(None));
    }
    *buf = triples;
}
