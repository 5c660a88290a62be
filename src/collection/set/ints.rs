//! A set of integers: all in order, each as wide as the widest needs.
//!
//! ```text
//! block   tag u8, width u8 (2, 4 or 8), integers
//! ```
//!
//! The integers are little-endian and ascend. The width is that of Redis's intset: it grows when an integer needs
//! more, and stays when that one goes.

use std::cmp::Ordering;

const HEADER_BYTES: usize = 2;
const WIDTH_MIN: u8 = 2;

/// A block, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Ints<'a> {
    block: &'a [u8],
}

impl<'a> Ints<'a> {
    /// A block that `IntsBuf` made or [`Ints::check`] found good.
    #[inline]
    pub fn new(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// A block of unknown origin, if all of it makes sense.
    pub fn check(block: &'a [u8]) -> Option<Self> {
        let width = usize::from(*block.get(1)?);
        let whole =
            matches!(width, 2 | 4 | 8) && (block.len() - HEADER_BYTES).is_multiple_of(width);
        let ints = Self { block };
        (whole && ints.iter().is_sorted_by(|one, next| one < next)).then_some(ints)
    }

    /// Bytes of each.
    #[inline]
    pub fn width(self) -> usize {
        usize::from(self.block[1])
    }

    /// How many there are.
    #[inline]
    pub fn len(self) -> usize {
        (self.block.len() - HEADER_BYTES) >> self.block[1].trailing_zeros()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.block.len() == HEADER_BYTES
    }

    /// All of them as in Redis's intset: without a header.
    pub fn body(self) -> &'a [u8] {
        &self.block[HEADER_BYTES..]
    }

    /// The one at `index`, of the smallest on.
    #[inline]
    pub fn at(self, index: usize) -> i64 {
        decode(&self.body()[index * self.width()..], self.width())
    }

    /// All of them, ascending.
    #[inline]
    pub fn iter(self) -> impl DoubleEndedIterator<Item = i64> + use<'a> {
        let width = self.width();
        self.body().chunks_exact(width).map(move |bytes| decode(bytes, width))
    }

    /// Where `number` is, or where it would be.
    #[inline]
    fn search(self, number: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.at(middle).cmp(&number) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Whether `number` is among them.
    #[inline]
    pub fn contains(self, number: i64) -> bool {
        self.search(number).is_ok()
    }
}

#[inline]
fn decode(bytes: &[u8], width: usize) -> i64 {
    match *bytes {
        [a, b, ..] if width == 2 => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d, ..] if width == 4 => i64::from(i32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h, ..] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => unreachable!("checked when the block came in"),
    }
}

fn width_of(number: i64) -> u8 {
    if i16::try_from(number).is_ok() {
        2
    } else if i32::try_from(number).is_ok() {
        4
    } else {
        8
    }
}

/// A block, to be changed.
#[derive(Debug)]
pub(super) struct IntsBuf {
    block: Vec<u8>,
}

impl IntsBuf {
    /// An empty block with this tag, in memory that is used again.
    pub(super) fn new(tag: u8, mut memory: Vec<u8>) -> Self {
        memory.clear();
        memory.extend_from_slice(&[tag, WIDTH_MIN]);
        Self { block: memory }
    }

    /// A block as it was kept.
    pub(super) fn of(block: Vec<u8>) -> Self {
        Self { block }
    }

    /// The block's bytes.
    pub(super) fn into_block(self) -> Vec<u8> {
        self.block
    }

    /// The block, to be read.
    #[inline]
    pub(super) fn view(&self) -> Ints<'_> {
        Ints { block: &self.block }
    }

    /// Puts `number` in; tells whether it is new.
    pub(super) fn insert(&mut self, number: i64) -> bool {
        let Err(index) = self.view().search(number) else { return false };
        if width_of(number) > self.block[1] {
            self.widen(width_of(number));
        }
        let width = self.view().width();
        let (at, end) = (HEADER_BYTES + index * width, self.block.len());
        self.block.extend_from_slice(&[0; 8][..width]);
        self.block.copy_within(at..end, at + width);
        self.block[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        true
    }

    /// Takes `number` out; tells whether it was there.
    pub(super) fn remove(&mut self, number: i64) -> bool {
        let found = self.view().search(number);
        if let Ok(index) = found {
            self.remove_at(index);
        }
        found.is_ok()
    }

    /// Takes out the one at `index`.
    pub(super) fn remove_at(&mut self, index: usize) {
        let width = self.view().width();
        let at = HEADER_BYTES + index * width;
        self.block.drain(at..at + width);
    }

    /// Takes out those that `keep` is not for, which sees them ascend.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(i64) -> bool) {
        let (width, mut end) = (self.view().width(), HEADER_BYTES);
        for index in 0..self.view().len() {
            if keep(self.view().at(index)) {
                let at = HEADER_BYTES + index * width;
                self.block.copy_within(at..at + width, end);
                end += width;
            }
        }
        self.block.truncate(end);
    }

    #[cold]
    fn widen(&mut self, width: u8) {
        let numbers: Vec<i64> = self.view().iter().collect();
        self.block.truncate(HEADER_BYTES);
        self.block[1] = width;
        for number in numbers {
            self.block.extend_from_slice(&number.to_le_bytes()[..usize::from(width)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ints, IntsBuf};

    #[test]
    fn integers_ascend_as_wide_as_the_widest() {
        let mut ints = IntsBuf::new(9, Vec::new());
        for number in [5, -1, 300, 5] {
            ints.insert(number);
        }
        assert_eq!(ints.view().block, [9, 2, 0xff, 0xff, 5, 0, 0x2c, 1]);
        assert!(ints.insert(-40_000) && !ints.insert(300));
        assert_eq!(ints.view().block[..6], [9, 4, 0xc0, 0x63, 0xff, 0xff]);
        assert!(ints.insert(i64::MAX) && ints.insert(i64::MIN));
        let all = [i64::MIN, -40_000, -1, 5, 300, i64::MAX];
        assert_eq!((ints.view().width(), ints.view().len()), (8, 6));
        assert_eq!(ints.view().iter().collect::<Vec<_>>(), all);
        assert!(ints.remove(i64::MIN) && !ints.remove(i64::MIN) && ints.view().contains(300));
        assert_eq!((ints.view().width(), ints.view().at(0)), (8, -40_000));
        assert!(Ints::check(ints.view().block).is_some());
    }

    #[test]
    fn bytes_that_are_no_block_are_refused() {
        let refused: [&[u8]; 7] = [
            &[9],
            &[9, 0],
            &[9, 3, 1, 2, 3],
            &[9, 2, 1],
            &[9, 2, 1, 0, 1, 0],
            &[9, 2, 1, 0, 0xff, 0xff],
            &[9, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        ];
        for block in refused {
            assert!(Ints::check(block).is_none(), "{block:?}");
        }
    }
}
