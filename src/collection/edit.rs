//! How a collection is changed: every change is noted as an operation on its elements.
//!
//! ```text
//! operations   operations one after another, to the end
//! operation    code u8, its operands; what they are goes by the code, which is the kind's own
//! operand      bytes: length, bytes          number: LEB128          score, time: 8 bytes
//! ```
//!
//! Fixed numbers are little-endian, lengths LEB128.

use super::{Garbage, Nonsense, Thresholds};

/// The surroundings of changes to one collection.
#[derive(Debug)]
pub struct Edit<'a> {
    /// Up to which size it stays a block.
    pub thresholds: Thresholds,
    /// What hashes of its elements are keyed with.
    pub seed: u64,
    /// Where operations are noted, if anybody wants to know.
    out: Option<&'a mut Vec<u8>>,
    has_changed: bool,
    garbage: Vec<Box<dyn Garbage>>,
}

impl<'a> Edit<'a> {
    /// Changes that are noted in `out`; hashes of elements are keyed with `seed`.
    pub fn new(thresholds: Thresholds, seed: u64, out: Option<&'a mut Vec<u8>>) -> Self {
        Self { thresholds, seed, out, has_changed: false, garbage: Vec::new() }
    }

    /// Leaves what is too much to be freed at once to be freed later.
    pub fn discard(&mut self, garbage: impl Garbage + 'static) {
        self.garbage.push(Box::new(garbage));
    }

    /// What is to be freed later, if there is anything.
    #[inline]
    pub fn take_garbage(&mut self) -> Option<Vec<Box<dyn Garbage>>> {
        (!self.garbage.is_empty()).then(|| std::mem::take(&mut self.garbage))
    }

    /// Whether anything was noted.
    pub fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// Notes an operation: answers where its operands go, if anybody wants them.
    #[inline]
    pub fn note(&mut self, code: u8) -> Option<Op<'_>> {
        self.has_changed = true;
        let out = self.out.as_deref_mut()?;
        out.push(code);
        Some(Op { out })
    }
}

/// An operation that is being written.
#[derive(Debug)]
pub struct Op<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Op<'a> {
    /// An operation that is appended to `out`.
    pub fn append_to(out: &'a mut Vec<u8>, code: u8) -> Self {
        out.push(code);
        Self { out }
    }

    /// An operand of bytes.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        put_number(self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
        self
    }

    /// A number, a small one mostly.
    #[inline]
    pub fn number(&mut self, number: u64) -> &mut Self {
        put_number(self.out, number);
        self
    }

    /// A score, a time: eight bytes.
    #[inline]
    pub fn fixed(&mut self, number: u64) -> &mut Self {
        self.out.extend_from_slice(&number.to_le_bytes());
        self
    }
}

/// Reads operations.
#[derive(Clone, Debug)]
pub struct OpReader<'a> {
    rest: &'a [u8],
}

impl<'a> OpReader<'a> {
    /// The operations in `bytes`, all of it.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The code of the next operation; none at the end.
    #[expect(clippy::should_implement_trait, reason = "its operands are read in between")]
    pub fn next(&mut self) -> Option<u8> {
        let (code, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*code)
    }

    /// An operand of bytes.
    ///
    /// # Errors
    /// If there is none.
    pub fn bytes(&mut self) -> Result<&'a [u8], Nonsense> {
        let length = usize::try_from(self.number()?).map_err(|_| Nonsense)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Nonsense)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A number.
    ///
    /// # Errors
    /// If there is none, or one that is written in more bytes than it takes.
    pub fn number(&mut self) -> Result<u64, Nonsense> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.next().ok_or(Nonsense)?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Nonsense);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 { Err(Nonsense) } else { Ok(value) };
            }
        }
        Err(Nonsense)
    }

    /// A score, a time.
    ///
    /// # Errors
    /// If there is none.
    pub fn fixed(&mut self) -> Result<u64, Nonsense> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Nonsense)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn put_number(out: &mut Vec<u8>, number: u64) {
    let mut rest = number;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::{Edit, Nonsense, OpReader, Thresholds};

    #[test]
    fn operations_are_read_as_they_were_noted() {
        let mut out = Vec::new();
        let mut edit = Edit::new(Thresholds::default(), 0, Some(&mut out));
        assert!(!edit.has_changed());
        edit.note(7).expect("wanted").bytes(b"abc").number(300).fixed(1 << 40);
        edit.note(8).expect("wanted").number(u64::MAX);
        assert!(edit.has_changed());
        assert_eq!(out[..7], [7, 3, b'a', b'b', b'c', 0xac, 2]);
        let mut reader = OpReader::of(&out);
        assert_eq!((reader.next(), reader.bytes()), (Some(7), Ok(&b"abc"[..])));
        assert_eq!((reader.number(), reader.fixed()), (Ok(300), Ok(1 << 40)));
        assert_eq!((reader.next(), reader.number()), (Some(8), Ok(u64::MAX)));
        assert_eq!(reader.next(), None);
    }

    #[test]
    fn a_change_is_known_even_if_nobody_wants_to_hear_of_it() {
        let mut edit = Edit::new(Thresholds::default(), 0, None);
        assert!(edit.note(1).is_none());
        assert!(edit.has_changed());
    }

    #[test]
    fn bytes_that_are_no_operands_are_refused() {
        assert_eq!(OpReader::of(&[3, b'a', b'b']).bytes(), Err(Nonsense));
        assert_eq!(OpReader::of(&[0x80, 0]).number(), Err(Nonsense));
        assert_eq!(OpReader::of(&[0xff; 10]).number(), Err(Nonsense));
        assert_eq!(OpReader::of(&[0x80]).number(), Err(Nonsense));
        assert_eq!(OpReader::of(&[0; 7]).fixed(), Err(Nonsense));
    }
}
