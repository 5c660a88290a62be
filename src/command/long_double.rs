//! The floating-point numbers of `INCRBYFLOAT`: x87 extended precision (64-bit significand, 15-bit
//! exponent), which is the `long double` Redis computes with on x86-64.
//!
//! Redis reads with `strtold`, adds, and writes with `%.17Lf` less the trailing zeros. An `f64` gives
//! other digits than that (0.1 + 0.2 is 0.3 here), so the three steps are done here in integers: each
//! is exact and rounds once, to nearest, ties to even. Values in use take one or two words; the
//! `Big` numbers grow only for texts of thousands of digits, which [`TEXT_BYTES_MAX`] bounds.

use std::cmp::Ordering;

/// Longest text that is read as a number (Redis: below 5 KiB).
pub const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;

/// Exponent of the least significant bit: of the smallest subnormal and of the largest number.
const EXPONENT_MIN: i32 = -16_445;
const EXPONENT_MAX: i32 = 16_320;
/// Numbers of 10 to this power and more are infinite, below 10 to that power they are zero.
const DECIMAL_EXPONENT_MAX: i64 = 4_933;
const DECIMAL_EXPONENT_MIN: i64 = -4_951;
/// Exponents are cut off here while they are read: far outside any range a text can correct.
const EXPONENT_TEXT_MAX: i64 = 1_000_000;
/// Digits after the point in the text of a number.
const FRACTION_DIGITS: usize = 17;

/// A number as `strtold` reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongDouble {
    /// `significand` times two to the power of `exponent`.
    Finite {
        /// Below zero. A zero may be negative, but is never written so.
        negative: bool,
        /// Bit 63 is set unless the number is zero or subnormal.
        significand: u64,
        /// From -16445 to 16320.
        exponent: i32,
    },
    /// `inf` of either sign: can be read, but nothing can be computed with it.
    Infinite,
}

impl LongDouble {
    /// Zero.
    pub const ZERO: Self = Self::Finite { negative: false, significand: 0, exponent: EXPONENT_MIN };

    /// Reads decimal and hexadecimal numbers and `inf`, with or without a sign, all in C's notation.
    /// `None` for anything else, for `nan`, and for numbers too large or too close to zero.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (negative, number) = match text {
            [b'-', number @ ..] => (true, number),
            [b'+', number @ ..] => (false, number),
            _ => (false, text),
        };
        if number.eq_ignore_ascii_case(b"inf") || number.eq_ignore_ascii_case(b"infinity") {
            return Some(Self::Infinite);
        }
        let wide = match number {
            [b'0', b'x' | b'X', hex @ ..] => parse_hex(hex)?,
            _ => parse_decimal(number)?,
        };
        let nonzero = wide.significand != 0;
        let (significand, exponent) = wide.round()?;
        (nonzero == (significand != 0)).then_some(Self::Finite { negative, significand, exponent })
    }

    /// The sum; `None` if it is not a finite number.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let (
            Self::Finite { negative: negative_a, significand: a, exponent: exponent_a },
            Self::Finite { negative: negative_b, significand: b, exponent: exponent_b },
        ) = (self, other)
        else {
            return None;
        };
        if b == 0 {
            return Some(self);
        }
        if a == 0 {
            return Some(other);
        }
        if exponent_a < exponent_b {
            return other.checked_add(self);
        }
        // Two bits of room above and 62 below. Bits are lost only where the exponents are further
        // apart than that, and then the lowest bit stands for them all.
        const ROOM: i32 = 62;
        let high = u128::from(a) << ROOM;
        let low = shift_right_jam(u128::from(b) << ROOM, exponent_a.abs_diff(exponent_b));
        let (negative, significand) = if negative_a == negative_b {
            (negative_a, high + low)
        } else if high >= low {
            (negative_a, high - low)
        } else {
            (negative_b, low - high)
        };
        let wide = Wide { significand, exponent: exponent_a - ROOM, inexact: false };
        let (significand, exponent) = wide.round()?;
        Some(Self::Finite { negative, significand, exponent })
    }

    /// Appends the number with at most 17 digits after the point and none that is not needed.
    /// An infinite number, which [`checked_add`](Self::checked_add) never gives, is written as C does.
    pub fn write(self, out: &mut Vec<u8>) {
        let Self::Finite { negative, significand, exponent } = self else {
            out.extend_from_slice(b"inf");
            return;
        };
        let start = out.len();
        if negative {
            out.push(b'-');
        }
        if exponent >= 0 {
            let mut whole = Big::from_word(significand);
            whole.shift_left(exponent.unsigned_abs() as usize);
            whole.write_decimal(out);
            return;
        }
        // 64 bits times 10^17 take 121 bits: more of a shift than that leaves less than a half.
        const SCALE: u128 = 10_u128.pow(17);
        let shift = exponent.unsigned_abs();
        let scaled = round_shift_right(u128::from(significand) * SCALE, shift, false);
        if scaled == 0 {
            out.truncate(start);
            out.push(b'0');
            return;
        }
        out.extend_from_slice(itoa::Buffer::new().format(scaled / SCALE).as_bytes());
        write_fraction(scaled % SCALE, out);
    }
}

/// Appends the point and `fraction`, as of 10^17, without its trailing zeros; nothing if it is zero.
fn write_fraction(fraction: u128, out: &mut Vec<u8>) {
    if fraction == 0 {
        return;
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(fraction);
    out.push(b'.');
    out.resize(out.len() + FRACTION_DIGITS - digits.len(), b'0');
    out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
}

/// A number before rounding: `significand` times two to the power of `exponent`, and a little more
/// if `inexact`. An inexact one has more than 64 bits.
struct Wide {
    significand: u128,
    exponent: i32,
    inexact: bool,
}

impl Wide {
    const ZERO: Self = Self { significand: 0, exponent: EXPONENT_MIN, inexact: false };

    /// Significand and exponent as [`LongDouble`] holds them; `None` if the number is too large.
    fn round(self) -> Option<(u64, i32)> {
        if self.significand == 0 {
            return Some((0, EXPONENT_MIN));
        }
        let bits = 128 - self.significand.leading_zeros().cast_signed();
        let shift = (bits - 64).max(EXPONENT_MIN - self.exponent);
        let exponent = self.exponent + shift;
        let (significand, exponent) = if shift <= 0 {
            (self.significand << shift.unsigned_abs(), exponent)
        } else {
            let rounded = round_shift_right(self.significand, shift.unsigned_abs(), self.inexact);
            let carry = i32::from(rounded >> 64 != 0);
            (rounded >> carry, exponent + carry)
        };
        Some((u64::try_from(significand).ok()?, exponent)).filter(|_| exponent <= EXPONENT_MAX)
    }
}

/// `value / 2^shift`, to the nearest integer, ties to the even one; `inexact` tells of bits below.
fn round_shift_right(value: u128, shift: u32, inexact: bool) -> u128 {
    if shift == 0 || shift > 128 {
        return if shift == 0 { value } else { 0 };
    }
    let quotient = value.checked_shr(shift).unwrap_or(0);
    let half = 1 << (shift - 1);
    let up = match (value & (half | (half - 1))).cmp(&half) {
        Ordering::Less => false,
        Ordering::Equal => inexact || quotient & 1 == 1,
        Ordering::Greater => true,
    };
    quotient + u128::from(up)
}

/// `value / 2^shift`, rounded down, with the lowest bit set if anything was lost.
fn shift_right_jam(value: u128, shift: u32) -> u128 {
    match shift {
        0 => value,
        1..128 => (value >> shift) | u128::from(value << (128 - shift) != 0),
        _ => u128::from(value != 0),
    }
}

/// What stands after `0x`: digits, perhaps with a point, perhaps with a power of two.
fn parse_hex(text: &[u8]) -> Option<Wide> {
    let (digits, power) = split_exponent(text, b'p')?;
    let mut wide = Wide { significand: 0, exponent: 0, inexact: false };
    let (mut digit_seen, mut point_seen) = (false, false);
    for &byte in digits {
        if byte == b'.' && !point_seen {
            point_seen = true;
            continue;
        }
        let digit = char::from(byte).to_digit(16)?;
        digit_seen = true;
        let room = wide.significand >> 124 == 0;
        if room {
            wide.significand = wide.significand * 16 + u128::from(digit);
        } else {
            wide.inexact |= digit != 0;
        }
        wide.exponent += 4 * (i32::from(!room) - i32::from(point_seen));
    }
    if !digit_seen {
        return None;
    }
    // The power is bounded by `EXPONENT_TEXT_MAX`, the digits by `TEXT_BYTES_MAX`.
    wide.exponent += i32::try_from(power).ok()?;
    Some(wide)
}

/// Digits, perhaps with a point, perhaps with a power of ten.
fn parse_decimal(text: &[u8]) -> Option<Wide> {
    let (digits, power) = split_exponent(text, b'e')?;
    let point = memchr::memchr(b'.', digits);
    let (whole, fraction) = match point {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &[][..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = whole.iter().chain(fraction).copied();
    if !digits.clone().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let mut significant = digits.clone().skip_while(|&digit| digit == b'0');
    let length = i64::try_from(significant.clone().count()).ok()?;
    if length == 0 {
        return Some(Wide::ZERO);
    }
    let power = power - i64::try_from(fraction.len()).ok()?;
    if !(DECIMAL_EXPONENT_MIN + 1..=DECIMAL_EXPONENT_MAX).contains(&(length + power)) {
        return None;
    }
    let mut number = Big::from_word(0);
    number.append_digits(&mut significant);
    // 10^n = 5^n * 2^n: the power of two goes into the exponent.
    let exponent = i32::try_from(power).ok()?;
    let five = exponent.unsigned_abs();
    Some(if exponent >= 0 {
        number.multiply_by_power_of_five(five);
        number.into_wide(exponent)
    } else {
        let mut divisor = Big::from_word(1);
        divisor.multiply_by_power_of_five(five);
        number.divide_to_wide(divisor, exponent)
    })
}

/// Digits and exponent of a number; the exponent follows `mark` and is 0 without it.
fn split_exponent(text: &[u8], mark: u8) -> Option<(&[u8], i64)> {
    let Some(at) = text.iter().position(|byte| byte.to_ascii_lowercase() == mark) else {
        return Some((text, 0));
    };
    let (negative, digits) = match &text[at + 1..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0;
    for byte in digits {
        let digit = char::from(*byte).to_digit(10)?;
        value = (value * 10 + i64::from(digit)).min(EXPONENT_TEXT_MAX);
    }
    Some((&text[..at], if negative { -value } else { value }))
}

/// A natural number of any size: 64-bit words, lowest first, the last one not zero.
struct Big {
    words: Vec<u64>,
}

impl Big {
    const WORD_BITS: usize = 64;

    fn from_word(word: u64) -> Self {
        let mut big = Self { words: vec![word] };
        big.trim();
        big
    }

    fn trim(&mut self) {
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    fn bit_length(&self) -> usize {
        let unused = self.words.last().map_or(0, |last| last.leading_zeros() as usize);
        self.words.len() * Self::WORD_BITS - unused
    }

    /// `self * factor + addend`.
    fn multiply_add(&mut self, factor: u64, addend: u64) {
        let mut carry = addend;
        for word in &mut self.words {
            let product = u128::from(*word) * u128::from(factor) + u128::from(carry);
            (*word, carry) = (low_word(product), low_word(product >> 64));
        }
        if carry != 0 {
            self.words.push(carry);
        }
    }

    /// Divides by `divisor` in place; the remainder.
    fn divide(&mut self, divisor: u64) -> u64 {
        let mut remainder = 0;
        for word in self.words.iter_mut().rev() {
            let dividend = u128::from(remainder) << 64 | u128::from(*word);
            *word = low_word(dividend / u128::from(divisor));
            remainder = low_word(dividend % u128::from(divisor));
        }
        self.trim();
        remainder
    }

    /// Appends decimal digits to the number.
    fn append_digits(&mut self, digits: &mut dyn Iterator<Item = u8>) {
        // As many as fit a word at a time.
        let (mut scale, mut value) = (1, 0);
        for digit in digits {
            (scale, value) = (scale * 10, value * 10 + u64::from(digit - b'0'));
            if scale == 10_u64.pow(19) {
                self.multiply_add(scale, value);
                (scale, value) = (1, 0);
            }
        }
        self.multiply_add(scale, value);
    }

    fn multiply_by_power_of_five(&mut self, power: u32) {
        // 5^27 is the largest that fits a word.
        for _ in 0..power / 27 {
            self.multiply_add(5_u64.pow(27), 0);
        }
        self.multiply_add(5_u64.pow(power % 27), 0);
    }

    fn shift_left(&mut self, bits: usize) {
        self.multiply_add(1 << (bits % Self::WORD_BITS), 0);
        if !self.words.is_empty() {
            let zeros = std::iter::repeat_n(0, bits / Self::WORD_BITS);
            self.words.splice(0..0, zeros);
        }
    }

    /// Divides by two to the power of `bits`; whether that lost a bit.
    fn shift_right(&mut self, bits: usize) -> bool {
        let gone = self.words.drain(..(bits / Self::WORD_BITS).min(self.words.len()));
        let lost = gone.fold(false, |lost, word| lost | (word != 0));
        let odd = bits % Self::WORD_BITS;
        lost | (odd != 0 && self.divide(1 << odd) != 0)
    }

    /// Subtracts `other` if that is not more than `self`; whether it did.
    fn subtract_if_not_less(&mut self, other: &Self) -> bool {
        let order = self.words.len().cmp(&other.words.len());
        if order.then_with(|| self.words.iter().rev().cmp(other.words.iter().rev())).is_lt() {
            return false;
        }
        let mut borrow = false;
        for (index, word) in self.words.iter_mut().enumerate() {
            let subtrahend = other.words.get(index).copied().unwrap_or(0);
            let (difference, below) = word.overflowing_sub(subtrahend);
            let (difference, again) = difference.overflowing_sub(u64::from(borrow));
            (*word, borrow) = (difference, below | again);
        }
        self.trim();
        true
    }

    /// The number times two to the power of `exponent`, less the bits below the 128 highest.
    fn into_wide(mut self, exponent: i32) -> Wide {
        let excess = self.bit_length().saturating_sub(128);
        let inexact = self.shift_right(excess);
        let word = |index| u128::from(self.words.get(index).copied().unwrap_or(0));
        let significand = word(1) << 64 | word(0);
        Wide { significand, exponent: exponent + bits_i32(excess), inexact }
    }

    /// `self / divisor` times two to the power of `exponent`, to at least 66 bits. Neither is zero.
    fn divide_to_wide(mut self, mut divisor: Self, exponent: i32) -> Wide {
        const QUOTIENT_BITS: usize = 66;
        // First move the dividend so that the quotient has 66 bits or 67, then divide bit by bit.
        let (length, target) = (self.bit_length(), divisor.bit_length() + QUOTIENT_BITS);
        let mut inexact = false;
        if length < target {
            self.shift_left(target - length);
        } else {
            inexact = self.shift_right(length - target);
        }
        divisor.shift_left(QUOTIENT_BITS);
        let mut significand = 0_u128;
        for _ in 0..=QUOTIENT_BITS {
            significand = significand << 1 | u128::from(self.subtract_if_not_less(&divisor));
            self.shift_left(1);
        }
        inexact |= !self.words.is_empty();
        Wide { significand, exponent: exponent + bits_i32(length) - bits_i32(target), inexact }
    }

    fn write_decimal(mut self, out: &mut Vec<u8>) {
        const CHUNK_DIGITS: usize = 19;
        let mut chunks = Vec::new();
        while !self.words.is_empty() {
            chunks.push(self.divide(10_u64.pow(19)));
        }
        let mut buffer = itoa::Buffer::new();
        out.extend_from_slice(buffer.format(chunks.pop().unwrap_or(0)).as_bytes());
        for chunk in chunks.into_iter().rev() {
            let digits = buffer.format(chunk);
            out.resize(out.len() + CHUNK_DIGITS - digits.len(), b'0');
            out.extend_from_slice(digits.as_bytes());
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low word is what is asked for")]
fn low_word(value: u128) -> u64 {
    value as u64
}

/// A number of bits as part of an exponent. Texts are too short for it to be out of range.
fn bits_i32(bits: usize) -> i32 {
    i32::try_from(bits).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::LongDouble;

    fn written(number: LongDouble) -> String {
        let mut text = Vec::new();
        number.write(&mut text);
        String::from_utf8(text).expect("digits")
    }

    fn sum(a: &str, b: &str) -> Option<String> {
        let a = LongDouble::parse(a.as_bytes()).expect(a);
        let b = LongDouble::parse(b.as_bytes()).expect(b);
        a.checked_add(b).map(written)
    }

    #[test]
    fn sums_are_those_of_redis() {
        for (a, b, expect) in [
            ("0", "0", "0"),
            ("-0", "-0", "0"),
            ("0.1", "0.2", "0.3"),
            ("10.5", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("0x10", "0x1.8p1", "19"),
            ("3.0000000000000000000000", "-3", "0"),
            ("1e-20", "0", "0"),
            ("-1e-20", "0", "0"),
            ("1e17", "0.1", "100000000000000000.1015625"),
            ("123456789012345678901234567890", "0", "123456789012345678899921813504"),
        ] {
            assert_eq!(sum(a, b).as_deref(), Some(expect), "{a} + {b}");
        }
        assert_eq!(sum("1e4932", "9e4931"), None);
        assert_eq!(sum("inf", "-inf"), None);
        assert_eq!(sum("inf", "1"), None);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", " 1", "1 ", "+", "-", ".", "e1", "1e", "1e+", "0x", "0x.", "0x1p", "nan", "-nan",
            "abc", "1.2.3", "--1", "1e4933", "1e-5000", "infinit", "1\0", "1,5", "1_000", "0x1e+1",
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(LongDouble::parse(&[b'1'; 5120]), None);
        for (text, expect) in [
            ("5.", "5"),
            (".5", "0.5"),
            ("+1", "1"),
            ("1E2", "100"),
            ("0e9999999999", "0"),
            ("-INFINITY", "inf"),
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()).map(written).as_deref(), Some(expect));
        }
    }

    #[test]
    fn halves_go_to_the_even_neighbour() {
        // 2^64 + 1 and 2^64 + 3 lie between two numbers each.
        assert_eq!(sum("18446744073709551617", "0").as_deref(), Some("18446744073709551616"));
        assert_eq!(sum("18446744073709551619", "0").as_deref(), Some("18446744073709551620"));
        assert_eq!(sum("18446744073709551616", "1").as_deref(), Some("18446744073709551616"));
        assert_eq!(sum("18446744073709551618", "1").as_deref(), Some("18446744073709551620"));
        // 2^-18 has 18 digits after the point, the last a 5.
        assert_eq!(sum("0x1p-18", "0").as_deref(), Some("0.00000381469726562"));
        assert_eq!(sum("0x3p-18", "0").as_deref(), Some("0.00001144409179688"));
    }

    #[test]
    fn long_texts_are_read_exactly() {
        let nines = "9".repeat(4933);
        let tenth = format!("{}1e-4999", "0".repeat(10));
        assert!(LongDouble::parse(nines.as_bytes()).is_none());
        assert!(LongDouble::parse(tenth.as_bytes()).is_none());
        let one = format!("0.{}1e5000", "0".repeat(4999));
        assert_eq!(LongDouble::parse(one.as_bytes()).map(written).as_deref(), Some("1"));
        let more = format!("18446744073709551617.{}1", "0".repeat(5000));
        assert_eq!(
            LongDouble::parse(more.as_bytes()).map(written).as_deref(),
            Some("18446744073709551618")
        );
    }
}
