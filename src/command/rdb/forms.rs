//! The forms in which Redis keeps small collections, and writes them into RDB files as one string: listpacks,
//! ziplists, zipmaps and intsets. Each is taken apart into its elements; bytes that make no sense are refused.
//!
//! The layouts are those of `listpack.c`, `ziplist.c`, `zipmap.c` and `intset.c` in Redis. Lengths that only serve
//! to walk backwards are passed over without a look: all of these forms are walked forwards.

use crate::collection::packed;

/// The elements of a listpack: bytes in all u32, how many u16, elements, ff.
pub(super) fn listpack(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    const HEADER_BYTES: usize = 6;
    const COUNT_UNKNOWN: u16 = u16::MAX;
    let total = u32::from_le_bytes(*bytes.first_chunk()?);
    let count = u16::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    let (end, body) = bytes.get(HEADER_BYTES..)?.split_last()?;
    if *end != 0xff || usize::try_from(total).ok()? != bytes.len() {
        return None;
    }
    let elements = packed::elements(body)?;
    let is_counted = count == COUNT_UNKNOWN || usize::from(count) == elements.len();
    is_counted.then(|| elements.into_iter().map(|element| element.to_vec()).collect())
}

/// The elements of a ziplist: bytes in all u32, offset of the last u32, how many u16, elements, ff. An element is
/// the length of the one before it (a byte, or fe and a u32), how it is written, and its bytes.
pub(super) fn ziplist(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    const HEADER_BYTES: usize = 10;
    let total = u32::from_le_bytes(*bytes.first_chunk()?);
    if usize::try_from(total).ok()? != bytes.len() {
        return None;
    }
    let mut rest = Bytes(bytes.get(HEADER_BYTES..)?);
    let mut elements = Vec::new();
    loop {
        match rest.byte()? {
            0xff => return rest.0.is_empty().then_some(elements),
            0xfe => drop(rest.take(4)?),
            _ => {}
        }
        elements.push(ziplist_element(&mut rest)?);
    }
}

fn ziplist_element(rest: &mut Bytes<'_>) -> Option<Vec<u8>> {
    let head = rest.byte()?;
    let length = match head >> 6 {
        0 => usize::from(head & 0x3f),
        1 => usize::from(head & 0x3f) << 8 | usize::from(rest.byte()?),
        2 => u32::from_be_bytes(*rest.take(4)?.first_chunk()?) as usize,
        _ => return ziplist_integer(head, rest).map(|number| number.to_string().into_bytes()),
    };
    rest.take(length).map(<[u8]>::to_vec)
}

fn ziplist_integer(head: u8, rest: &mut Bytes<'_>) -> Option<i64> {
    match head {
        0xc0 => rest.integer(2),
        0xd0 => rest.integer(4),
        0xe0 => rest.integer(8),
        0xf0 => rest.integer(3),
        0xfe => rest.integer(1),
        0xf1..=0xfd => Some(i64::from(head & 0xf) - 1),
        _ => None,
    }
}

/// The fields and values of a zipmap by turns: a byte, pairs, ff. Of a pair each has its length (a byte, or fe and
/// a u32) in front; behind the value's stands how many bytes after it are free.
pub(super) fn zipmap(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = Bytes(bytes);
    rest.byte()?;
    let mut elements = Vec::new();
    loop {
        let field = match rest.byte()? {
            0xff => return rest.0.is_empty().then_some(elements),
            first => rest.zipmap_length(first)?,
        };
        elements.push(rest.take(field)?.to_vec());
        let first = rest.byte()?;
        let value = rest.zipmap_length(first)?;
        let free = usize::from(rest.byte()?);
        elements.push(rest.take(value)?.to_vec());
        rest.take(free)?;
    }
}

/// The members of an intset: bytes of each u32, how many u32, the integers in order.
pub(super) fn intset(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let width = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    let count = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?) as usize;
    if !matches!(width, 2 | 4 | 8) || bytes.len() - 8 != count.checked_mul(width)? {
        return None;
    }
    let mut rest = Bytes(&bytes[8..]);
    (0..count).map(|_| rest.integer(width).map(|number| number.to_string().into_bytes())).collect()
}

/// Bytes that are taken from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A signed integer of so many bytes.
    fn integer(&mut self, width: usize) -> Option<i64> {
        let mut wide = [0; 8];
        wide[8 - width..].copy_from_slice(self.take(width)?);
        Some(i64::from_le_bytes(wide) >> (64 - 8 * width))
    }

    fn zipmap_length(&mut self, first: u8) -> Option<usize> {
        match first {
            0xff => None,
            0xfe => Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?) as usize),
            length => Some(usize::from(length)),
        }
    }
}
