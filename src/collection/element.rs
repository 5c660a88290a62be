//! One element of a collection: a string of bytes, or an integer that stands for its digits.

/// Most bytes that an integer prints as.
pub(super) const DIGITS_MAX: usize = 20;

/// An element as it is kept. Which of the two it is follows from its bytes: what an `i64` prints as is
/// kept as an integer, everything else as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// Bytes that no integer prints as.
    Bytes(&'a [u8]),
    /// An integer in place of its digits.
    Int(i64),
}

/// Room for the digits of an integer, see [`Element::bytes`].
pub type Digits = itoa::Buffer;

impl<'a> Element<'a> {
    /// How `bytes` are kept.
    #[inline]
    pub fn of(bytes: &'a [u8]) -> Self {
        canonical_integer(bytes).map_or(Self::Bytes(bytes), Self::Int)
    }

    /// The bytes that it stands for; those of an integer are written to `digits`.
    #[inline]
    pub fn bytes<'b>(&'b self, digits: &'b mut Digits) -> &'b [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Int(number) => digits.format(*number).as_bytes(),
        }
    }

    /// How many bytes it stands for.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Int(number) => Digits::new().format(*number).len(),
        }
    }

    /// Whether it stands for no bytes.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Bytes(bytes) if bytes.is_empty())
    }

    /// The bytes that it stands for, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        self.bytes(&mut Digits::new()).to_vec()
    }
}

/// The number whose digits `bytes` are, just as it would be printed.
#[inline]
pub fn canonical_integer(bytes: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    match digits {
        [] => return None,
        [b'0'] => return (!is_negative).then_some(0),
        [b'1'..=b'9', ..] if bytes.len() <= DIGITS_MAX => {}
        _ => return None,
    }
    let mut value: i64 = 0;
    for digit in digits {
        let digit = i64::from(digit.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        // Downwards: the least integer has no positive counterpart.
        value = value.checked_mul(10)?.checked_sub(digit)?;
    }
    if is_negative { Some(value) } else { value.checked_neg() }
}

#[cfg(test)]
mod tests {
    use super::{Digits, Element, canonical_integer};

    #[test]
    fn only_what_an_integer_prints_as_is_one() {
        for number in [0, 1, -1, 9, 10, 127, 128, -128, 4095, 1 << 40, i64::MAX, i64::MIN] {
            let text = number.to_string();
            assert_eq!(canonical_integer(text.as_bytes()), Some(number));
            let element = Element::of(text.as_bytes());
            assert_eq!(element.bytes(&mut Digits::new()), text.as_bytes());
            assert_eq!(element.len(), text.len());
        }
        let others: [&[u8]; 13] = [
            b"",
            b"-",
            b"-0",
            b"00",
            b"01",
            b"+1",
            b" 1",
            b"1 ",
            b"1a",
            b"a1",
            b"9223372036854775808",
            b"-9223372036854775809",
            b"99999999999999999999",
        ];
        for other in others {
            assert_eq!(canonical_integer(other), None, "{other:?}");
            assert_eq!(Element::of(other), Element::Bytes(other));
        }
    }
}
