//! Small collections: their elements one after another in one block of bytes.
//!
//! ```text
//! block     tag u8, count u16, elements
//! element   how it is written and its length, its bytes or number, the length of all this backwards
//! ```
//!
//! Numbers are little-endian. The tag tells what the block holds and is the owner's (see
//! [`super::Tag`]). Elements are written as in Redis's listpack, so that a block is as small as Redis's and a
//! dump of it is a copy; the layout is that of `listpack.md` in Redis's documentation:
//!
//! ```text
//! 0xxxxxxx                     an integer of 0 to 127
//! 10xxxxxx bytes               up to 63 bytes
//! 110xxxxx x                   a signed integer of 13 bits, the first bits first
//! 1110xxxx x bytes             up to 4,095 bytes, the first bits of the length first
//! 11110000 u32 bytes           more bytes
//! 11110001 / 10 / 11 / 100     a signed integer of 16, 24, 32 or 64 bits
//! ```
//!
//! The length backwards takes 7 bits a byte, the last bits last, and all but the first of its bytes have their
//! highest bit set: so it is read from its end, and a block can be walked both ways.

use super::element::{DIGITS_MAX, Element, canonical_integer};
use std::ops::Range;

/// Bytes before the first element.
pub const HEADER_BYTES: usize = 3;
/// Most elements of a block.
pub const COUNT_MAX: usize = u16::MAX as usize;
/// Most bytes of a block's elements together, whatever the thresholds.
pub const BLOCK_BYTES_MAX: usize = 1 << 30;

const SIX_BITS: u8 = 0x80;
const INT13: u8 = 0xc0;
const TWELVE_BITS: u8 = 0xe0;
const LONG: u8 = 0xf0;
const INT16: u8 = 0xf1;
const INT24: u8 = 0xf2;
const INT32: u8 = 0xf3;
const INT64: u8 = 0xf4;

/// A block, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    block: &'a [u8],
}

/// An element and where in the block it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed<'a> {
    /// Offset of its first byte in the block.
    pub start: usize,
    /// Offset behind its last byte.
    pub end: usize,
    /// The element.
    pub element: Element<'a>,
}

impl<'a> Packed<'a> {
    /// A block that [`PackedBuf`] made or [`Packed::check`] found good.
    #[inline]
    pub fn new(block: &'a [u8]) -> Self {
        debug_assert!(block.len() >= HEADER_BYTES);
        Self { block }
    }

    /// A block of unknown origin, if all of it makes sense and its elements come in groups of `group`.
    pub fn check(block: &'a [u8], group: usize) -> Option<Self> {
        let count = usize::from(u16::from_le_bytes([*block.get(1)?, *block.get(2)?]));
        let mut at = HEADER_BYTES;
        for _ in 0..count {
            let (element, length) = decode(&block[at..])?;
            if let Element::Bytes(bytes) = element
                && canonical_integer(bytes).is_some()
            {
                return None;
            }
            at += length;
            let back = backward_bytes(length);
            let mut expected = [0; 5];
            put_backward(&mut expected[..back], length);
            if block.get(at..at + back)? != &expected[..back] {
                return None;
            }
            at += back;
        }
        (at == block.len() && count.is_multiple_of(group)).then_some(Self { block })
    }

    /// No less than the bytes of all elements as text together. At once.
    pub fn texts_bytes_max(self) -> usize {
        self.block().len() + self.count() * DIGITS_MAX
    }

    /// How many elements it holds.
    #[inline]
    pub fn count(self) -> usize {
        usize::from(u16::from_le_bytes([self.block[1], self.block[2]]))
    }

    /// The bytes of all elements, as in the body of a listpack.
    pub fn body(self) -> &'a [u8] {
        &self.block[HEADER_BYTES..]
    }

    /// All of it, tag and count included.
    pub fn block(self) -> &'a [u8] {
        self.block
    }

    /// The elements in order, from both ends.
    #[inline]
    pub fn iter(self) -> Iter<'a> {
        Iter { block: self.block, start: HEADER_BYTES, end: self.block.len() }
    }

    /// The element that begins at an offset where one does.
    #[inline]
    pub fn at(self, start: usize) -> Placed<'a> {
        let (element, length) = decode(&self.block[start..]).expect("an element begins here");
        Placed { start, end: start + length + backward_bytes(length), element }
    }

    /// The element at a position counted from 0; walks from the nearer end.
    pub fn nth(self, index: usize) -> Option<Placed<'a>> {
        let count = self.count();
        if index >= count {
            None
        } else if index < count / 2 {
            self.iter().nth(index)
        } else {
            self.iter().nth_back(count - 1 - index)
        }
    }

    /// The first element that is `wanted`, among every `step`th from the first.
    #[inline]
    pub fn find(self, wanted: Element<'_>, step: usize) -> Option<Placed<'a>> {
        match wanted {
            Element::Bytes(bytes @ [_, ..]) if bytes.len() < usize::from(INT13 - SIX_BITS) => {
                self.find_short(bytes, step)
            }
            _ => self.iter().step_by(step).find(|placed| placed.element == wanted),
        }
    }

    /// The same for what is written as one byte and these. Bytes of the same length are told apart by their
    /// last one mostly, since many begin alike.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "less than 64")]
    fn find_short(self, wanted: &[u8], step: usize) -> Option<Placed<'a>> {
        let (head, last) = (SIX_BITS | wanted.len() as u8, wanted.last()?);
        let mut rest = self.iter();
        while rest.start < rest.end {
            let bytes = &self.block[rest.start..];
            if bytes[0] == head
                && bytes.get(wanted.len()) == Some(last)
                && bytes[1..].starts_with(wanted)
            {
                return rest.next();
            }
            rest.skip_some(step);
        }
        None
    }
}

/// The elements of a block.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    block: &'a [u8],
    start: usize,
    end: usize,
}

impl<'a> Iter<'a> {
    /// The elements that fill `bytes`, without tag and count.
    #[inline]
    pub(super) fn over(bytes: &'a [u8]) -> Self {
        Self { block: bytes, start: 0, end: bytes.len() }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Placed<'a>;

    #[inline]
    fn next(&mut self) -> Option<Placed<'a>> {
        if self.start >= self.end {
            return None;
        }
        let placed = Packed { block: self.block }.at(self.start);
        self.start = placed.end;
        Some(placed)
    }

    #[inline]
    fn nth(&mut self, count: usize) -> Option<Placed<'a>> {
        self.skip_some(count);
        self.next()
    }
}

impl Iter<'_> {
    /// Skips elements without looking at what they are.
    #[inline]
    fn skip_some(&mut self, count: usize) {
        for _ in 0..count {
            if self.start >= self.end {
                return;
            }
            let length = encoded_bytes(&self.block[self.start..]);
            self.start += length + backward_bytes(length);
        }
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.start >= self.end {
            return None;
        }
        let length = read_backward(&self.block[..self.end]);
        self.end -= length + backward_bytes(length);
        Some(Packed { block: self.block }.at(self.end))
    }

    #[inline]
    fn nth_back(&mut self, count: usize) -> Option<Self::Item> {
        for _ in 0..count {
            if self.start >= self.end {
                return None;
            }
            let length = read_backward(&self.block[..self.end]);
            self.end -= length + backward_bytes(length);
        }
        self.next_back()
    }
}

/// The elements in the body of a listpack of unknown origin, if all of it makes sense. The lengths backwards are
/// passed over.
pub fn elements(body: &[u8]) -> Option<Vec<Element<'_>>> {
    let (mut rest, mut elements) = (body, Vec::new());
    while !rest.is_empty() {
        let (element, length) = decode(rest)?;
        rest = rest.get(length + backward_bytes(length)..)?;
        elements.push(element);
    }
    Some(elements)
}

/// A block, to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedBuf {
    block: Vec<u8>,
}

impl PackedBuf {
    /// An empty block with this tag, in memory that is used again.
    pub fn new(tag: u8, mut memory: Vec<u8>) -> Self {
        memory.clear();
        memory.extend_from_slice(&[tag, 0, 0]);
        Self { block: memory }
    }

    /// A block as it was kept: one that this type made, or that [`Packed::check`] found good.
    pub fn of(block: Vec<u8>) -> Self {
        debug_assert!(block.len() >= HEADER_BYTES);
        Self { block }
    }

    /// The block's bytes.
    pub fn into_block(self) -> Vec<u8> {
        self.block
    }

    /// The block, to be read.
    #[inline]
    pub fn view(&self) -> Packed<'_> {
        Packed { block: &self.block }
    }

    /// Bytes of the block.
    #[expect(clippy::len_without_is_empty, reason = "bytes; `count` tells whether it is empty")]
    pub fn len(&self) -> usize {
        self.block.len()
    }

    /// Bytes of memory that it holds.
    pub fn capacity(&self) -> usize {
        self.block.capacity()
    }

    /// Whether `count` elements more with `bytes` together may be added.
    pub fn takes(&self, count: usize, bytes: usize) -> bool {
        self.view().count() + count <= COUNT_MAX && self.block.len() + bytes < BLOCK_BYTES_MAX
    }

    /// Adds an element behind the last.
    #[inline]
    pub fn push(&mut self, element: Element<'_>) {
        self.block.reserve(element_bytes_max(element));
        append(&mut self.block, element);
        self.add_to_count(1);
    }

    /// Puts elements in before the one that begins at `at`, or at the end.
    pub fn insert(&mut self, at: usize, elements: &[Element<'_>]) {
        self.replace(at..at, 0, elements);
    }

    /// Puts `elements` in place of the `removed` elements that fill `range`.
    pub fn replace(&mut self, range: Range<usize>, removed: usize, elements: &[Element<'_>]) {
        let old_len = self.block.len();
        let added: usize = elements.iter().map(|element| Encoded::of(*element).len()).sum();
        let new_end = range.start + added;
        if added > range.len() {
            self.block.resize(old_len + added - range.len(), 0);
        }
        self.block.copy_within(range.end..old_len, new_end);
        self.block.truncate(new_end + old_len - range.end);
        let mut at = range.start;
        for element in elements {
            at += Encoded::of(*element).write(&mut self.block[at..]);
        }
        self.add_to_count(elements.len());
        self.set_count(self.view().count() - removed);
    }

    /// Removes the `count` elements that fill `range`.
    pub fn remove(&mut self, range: Range<usize>, count: usize) {
        self.block.drain(range);
        self.set_count(self.view().count() - count);
    }

    fn add_to_count(&mut self, added: usize) {
        self.set_count(self.view().count() + added);
    }

    fn set_count(&mut self, count: usize) {
        let count = u16::try_from(count).expect("asked before: see `takes`");
        self.block[1..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
    }
}

/// Most bytes that an element takes in a block.
pub fn element_bytes_max(element: Element<'_>) -> usize {
    const AROUND: usize = 5 + 5;
    match element {
        Element::Bytes(bytes) => bytes.len() + AROUND,
        Element::Int(_) => 9 + 1,
    }
}

#[inline]
fn append(out: &mut Vec<u8>, element: Element<'_>) {
    let encoded = Encoded::of(element);
    out.extend_from_slice(encoded.head());
    out.extend_from_slice(encoded.bytes);
    out.extend_from_slice(encoded.backward());
}

/// An element as it is written.
#[derive(Debug)]
pub(super) struct Encoded<'a> {
    /// How the bytes are written and their length; all of an integer.
    head: [u8; 9],
    head_len: usize,
    bytes: &'a [u8],
    backward: [u8; 5],
    backward_len: usize,
}

impl<'a> Encoded<'a> {
    #[inline]
    pub(super) fn of(element: Element<'a>) -> Self {
        let ((head, head_len), bytes) = match element {
            Element::Int(number) => (integer_head(number), &[][..]),
            Element::Bytes(bytes) => (length_head(bytes.len()), bytes),
        };
        let length = head_len + bytes.len();
        let (mut backward, backward_len) = ([0; 5], backward_bytes(length));
        put_backward(&mut backward[..backward_len], length);
        Self { head, head_len, bytes, backward, backward_len }
    }

    /// Bytes that it takes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.head_len + self.bytes.len() + self.backward_len
    }

    /// Writes it to the start of `out`; how many bytes that is.
    #[inline]
    pub(super) fn write(&self, out: &mut [u8]) -> usize {
        let bytes_end = self.head_len + self.bytes.len();
        if self.head_len == 1 && self.backward_len == 1 {
            // A short one, as most are: one copy.
            let out = &mut out[..=bytes_end];
            (out[0], out[bytes_end]) = (self.head[0], self.backward[0]);
            out[1..bytes_end].copy_from_slice(self.bytes);
            return self.len();
        }
        out[..self.head_len].copy_from_slice(self.head());
        out[self.head_len..bytes_end].copy_from_slice(self.bytes);
        out[bytes_end..self.len()].copy_from_slice(self.backward());
        self.len()
    }

    fn head(&self) -> &[u8] {
        &self.head[..self.head_len]
    }

    fn backward(&self) -> &[u8] {
        &self.backward[..self.backward_len]
    }
}

/// A string that needs one byte before and one behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short<'a>(&'a [u8]);

impl<'a> Short<'a> {
    const BYTES_MAX: usize = (INT13 - SIX_BITS) as usize - 1;

    #[inline]
    pub(super) fn of(element: Element<'a>) -> Option<Self> {
        match element {
            Element::Bytes(bytes) if bytes.len() <= Self::BYTES_MAX => Some(Self(bytes)),
            _ => None,
        }
    }

    /// Bytes that it takes.
    #[inline]
    pub(super) fn len(self) -> usize {
        self.0.len() + 2
    }

    /// Writes it to `out`, which is as long as it.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a short one's length")]
    pub(super) fn write(self, out: &mut [u8]) {
        if let [head, bytes @ .., backward] = out {
            *head = SIX_BITS | self.0.len() as u8;
            bytes.copy_from_slice(self.0);
            *backward = self.0.len() as u8 + 1;
        }
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "numbers are cut into bytes")]
fn length_head(length: usize) -> ([u8; 9], usize) {
    let mut head = [0; 9];
    let head_len = match length {
        0..=0x3f => {
            head[0] = SIX_BITS | length as u8;
            1
        }
        0x40..=0xfff => {
            head[..2].copy_from_slice(&[TWELVE_BITS | (length >> 8) as u8, length as u8]);
            2
        }
        _ => {
            head[0] = LONG;
            head[1..5].copy_from_slice(&(length as u32).to_le_bytes());
            5
        }
    };
    (head, head_len)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "numbers are cut into bytes")]
#[expect(clippy::cast_sign_loss, reason = "two's complement is what is written")]
fn integer_head(number: i64) -> ([u8; 9], usize) {
    let mut head = [0; 9];
    head[1..].copy_from_slice(&number.to_le_bytes());
    let (first, head_len) = match number {
        0..=127 => (number as u8, 1),
        -4096..=4095 => {
            head[1] = number as u8;
            (INT13 | (number >> 8) as u8 & 0x1f, 2)
        }
        -0x8000..=0x7fff => (INT16, 3),
        -0x80_0000..=0x7f_ffff => (INT24, 4),
        -0x8000_0000..=0x7fff_ffff => (INT32, 5),
        _ => (INT64, 9),
    };
    head[0] = first;
    (head, head_len)
}

/// The element at the start of `bytes` and how many bytes it takes without the length backwards.
#[inline]
fn decode(bytes: &[u8]) -> Option<(Element<'_>, usize)> {
    let first = *bytes.first()?;
    if first < SIX_BITS {
        return Some((Element::Int(i64::from(first)), 1));
    }
    if first < INT13 {
        let length = usize::from(first & 0x3f);
        return Some((Element::Bytes(bytes.get(1..1 + length)?), 1 + length));
    }
    decode_rare(first, bytes)
}

fn decode_rare(first: u8, bytes: &[u8]) -> Option<(Element<'_>, usize)> {
    let integer = |length: usize| {
        let mut wide = [0; 8];
        wide[8 - length..].copy_from_slice(bytes.get(1..1 + length)?);
        Some((Element::Int(i64::from_le_bytes(wide) >> (64 - 8 * length)), 1 + length))
    };
    match first {
        INT13..TWELVE_BITS => {
            let bits = i64::from(first & 0x1f) << 8 | i64::from(*bytes.get(1)?);
            Some((Element::Int(bits << 51 >> 51), 2))
        }
        TWELVE_BITS..LONG => {
            let length = usize::from(first & 0xf) << 8 | usize::from(*bytes.get(1)?);
            Some((Element::Bytes(bytes.get(2..2 + length)?), 2 + length))
        }
        LONG => {
            let length = u32::from_le_bytes(*bytes.get(1..)?.first_chunk()?) as usize;
            Some((Element::Bytes(bytes.get(5..5 + length)?), 5 + length))
        }
        INT16 => integer(2),
        INT24 => integer(3),
        INT32 => integer(4),
        INT64 => integer(8),
        _ => None,
    }
}

/// Bytes that the element at the start of `bytes` takes without the length backwards.
#[inline]
fn encoded_bytes(bytes: &[u8]) -> usize {
    match bytes[0] {
        0..SIX_BITS => 1,
        first @ SIX_BITS..INT13 => 1 + usize::from(first & 0x3f),
        INT13..TWELVE_BITS => 2,
        first @ TWELVE_BITS..LONG => 2 + (usize::from(first & 0xf) << 8 | usize::from(bytes[1])),
        LONG => 5 + u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize,
        INT16 => 3,
        INT24 => 4,
        INT32 => 5,
        _ => 9,
    }
}

/// Bytes that a length takes backwards. The greatest length of two, three and four bytes is written in one byte
/// more, as Redis does.
#[inline]
fn backward_bytes(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x3fff => 2,
        0x3fff..0x1f_ffff => 3,
        0x1f_ffff..0x0fff_ffff => 4,
        _ => 5,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn put_backward(out: &mut [u8], length: usize) {
    let last = out.len() - 1;
    for (index, byte) in out.iter_mut().enumerate() {
        let bits = (length >> (7 * (last - index))) as u8 & 0x7f;
        *byte = if index == 0 { bits } else { bits | 0x80 };
    }
}

/// The length that is written backwards at the end of `bytes`.
#[inline]
fn read_backward(bytes: &[u8]) -> usize {
    let mut length = 0;
    for (index, byte) in bytes.iter().rev().enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            break;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::{Element, HEADER_BYTES, Packed, PackedBuf};

    fn texts(packed: Packed<'_>) -> Vec<Vec<u8>> {
        packed.iter().map(|placed| placed.element.to_vec()).collect()
    }

    fn samples() -> Vec<Vec<u8>> {
        let mut samples: Vec<Vec<u8>> =
            [0, 1, 127, 128, -1, 4095, 4096, -4096, -4097, 32767, 32768]
                .into_iter()
                .chain([-32768, -32769, 8_388_607, 8_388_608, -8_388_608, -8_388_609, 1 << 31])
                .chain([(1 << 31) - 1, -(1 << 31), -(1 << 31) - 1, i64::MAX, i64::MIN])
                .map(|number: i64| number.to_string().into_bytes())
                .collect();
        samples.extend(
            [0, 1, 63, 64, 126, 127, 128, 4095, 4096, 16_378, 16_379, 20_000]
                .map(|n| vec![b'x'; n]),
        );
        samples
    }

    /// Written by hand after the layout.
    #[test]
    fn elements_are_written_as_the_layout_says() {
        let cases: [(&[u8], &[u8]); 9] = [
            (b"5", &[0x05, 1]),
            (b"127", &[0x7f, 1]),
            (b"128", &[0xc0, 0x80, 2]),
            (b"-1", &[0xdf, 0xff, 2]),
            (b"-4096", &[0xd0, 0x00, 2]),
            (b"4096", &[0xf1, 0x00, 0x10, 3]),
            (b"-8388608", &[0xf2, 0x00, 0x00, 0x80, 4]),
            (b"abc", &[0x83, b'a', b'b', b'c', 4]),
            (b"", &[0x80, 1]),
        ];
        for (text, bytes) in cases {
            let mut buf = PackedBuf::new(9, Vec::new());
            buf.push(Element::of(text));
            assert_eq!(buf.view().block(), [&[9, 1, 0], bytes].concat());
        }
        let mut buf = PackedBuf::new(9, Vec::new());
        buf.push(Element::of(&[b'x'; 200]));
        let body = [&[0xe0, 200][..], &[b'x'; 200], &[0x01, 0xca]].concat();
        assert_eq!(buf.view().body(), body);
    }

    #[test]
    fn a_block_gives_back_what_was_put_in_from_both_ends() {
        let samples = samples();
        let mut buf = PackedBuf::new(1, Vec::new());
        samples.iter().for_each(|sample| buf.push(Element::of(sample)));
        let packed = buf.view();
        assert_eq!((packed.count(), texts(packed)), (samples.len(), samples.clone()));
        let mut backwards: Vec<_> = packed.iter().rev().map(|p| p.element.to_vec()).collect();
        backwards.reverse();
        assert_eq!(backwards, samples);
        for (index, sample) in samples.iter().enumerate() {
            assert_eq!(&packed.nth(index).expect("there").element.to_vec(), sample);
            assert_eq!(
                packed.find(Element::of(sample), 1).map(|p| p.start),
                packed.nth(index).map(|p| p.start)
            );
        }
        assert!(packed.nth(samples.len()).is_none());
        assert!(Packed::check(packed.block(), 1).is_some());
    }

    #[test]
    fn replacing_is_what_it_is_in_a_list() {
        let samples = samples();
        let mut state: usize = 1;
        let mut next = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below.max(1)
        };
        let mut model: Vec<Vec<u8>> = Vec::new();
        let mut buf = PackedBuf::new(1, Vec::new());
        for _ in 0..3000 {
            let from = next(model.len() + 1);
            let removed = next(model.len() - from + 1).min(3);
            let added: Vec<_> =
                (0..next(4)).map(|_| samples[next(samples.len())].clone()).collect();
            let start = buf.view().nth(from).map_or(buf.len(), |placed| placed.start);
            let end = buf.view().nth(from + removed).map_or(buf.len(), |placed| placed.start);
            let elements: Vec<_> = added.iter().map(|bytes| Element::of(bytes)).collect();
            buf.replace(start..end, removed, &elements);
            model.splice(from..from + removed, added);
            if model.len() > 20 {
                let end = buf.view().nth(15).expect("there").start;
                buf.remove(HEADER_BYTES..end, 15);
                model.drain(..15);
            }
            assert_eq!(texts(buf.view()), model);
        }
        assert!(Packed::check(buf.view().block(), 1).is_some());
    }

    #[test]
    fn bytes_that_are_no_block_are_refused() {
        let mut buf = PackedBuf::new(1, Vec::new());
        samples().iter().take(30).for_each(|sample| buf.push(Element::of(sample)));
        let good = buf.into_block();
        for cut in 0..good.len() {
            assert!(Packed::check(&good[..cut], 1).is_none(), "{cut}");
        }
        let refused: [&[u8]; 6] = [
            &[1, 1, 0, 0x81, b'5', 2],
            &[1, 1, 0, 5, 2],
            &[1, 2, 0, 5, 1],
            &[1, 0, 0, 5, 1],
            &[1, 1, 0, 0xff, 1],
            &[1, 1, 0, 0xf0, 0xff, 0xff, 0xff, 0xff],
        ];
        for block in refused {
            assert!(Packed::check(block, 1).is_none(), "{block:?}");
        }
        assert!(Packed::check(&[1, 1, 0, 5, 1], 2).is_none());
    }
}
