//! Doubles as text: written as C's `%.17g` writes them, read as C's `strtod` reads them, which is what Redis
//! does with scores.

use std::io::Write;

/// A double as text: 17 significant digits without trailing zeros, with an exponent of at least two digits
/// when it is below -4 or above 16; `inf`, `-inf` and `nan` are spelled so.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    bytes: [u8; Self::BYTES_MAX],
    length: usize,
}

impl Text {
    /// Sign, digits, point, exponent; or zeros after the point when the exponent is -4.
    const BYTES_MAX: usize = 32;
    const SIGNIFICANT: usize = 17;

    /// The text of `value`.
    pub fn of(value: f64) -> Self {
        let mut text = Self { bytes: [0; Self::BYTES_MAX], length: 0 };
        if let Some(whole) = short_integer(value) {
            text.push(itoa::Buffer::new().format(whole).as_bytes());
        } else if value.is_nan() {
            text.push(b"nan");
        } else if value.is_infinite() {
            text.push(if value > 0.0 { b"inf" } else { b"-inf" });
        } else {
            text.finite(value);
        }
        text
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn finite(&mut self, value: f64) {
        // Rust rounds `{:.16e}` exactly, as C does; what differs is where the point goes.
        let mut scientific = [0; Self::BYTES_MAX];
        let mut rest = &mut scientific[..];
        let fits = write!(rest, "{:.*e}", Self::SIGNIFICANT - 1, value.abs());
        debug_assert!(fits.is_ok(), "17 digits and an exponent fit");
        let written = Self::BYTES_MAX - rest.len();
        let (mantissa, exponent) = split_exponent(&scientific[..written]);

        let mut significant = [b'0'; Self::SIGNIFICANT];
        significant[0] = mantissa[0];
        significant[1..].copy_from_slice(&mantissa[2..]);
        let count = significant.iter().rposition(|&d| d != b'0').map_or(1, |last| last + 1);
        let significant = &significant[..count];

        if value.is_sign_negative() {
            self.push(b"-");
        }
        match exponent {
            -4..0 => {
                self.push(b"0.");
                self.zeros(usize::from(exponent.unsigned_abs()) - 1);
                self.push(significant);
            }
            0..17 => self.fixed(significant, usize::from(exponent.unsigned_abs()) + 1),
            _ => {
                self.fixed(significant, 1);
                self.exponent(exponent);
            }
        }
    }

    /// `significant` with the point after `whole` digits.
    fn fixed(&mut self, significant: &[u8], whole: usize) {
        let (before, after) = significant.split_at(whole.min(significant.len()));
        self.push(before);
        self.zeros(whole - before.len());
        if !after.is_empty() {
            self.push(b".");
            self.push(after);
        }
    }

    fn exponent(&mut self, exponent: i16) {
        self.push(if exponent < 0 { b"e-" } else { b"e+" });
        let magnitude = exponent.unsigned_abs();
        if magnitude < 10 {
            self.push(b"0");
        }
        self.push(itoa::Buffer::new().format(magnitude).as_bytes());
    }

    fn zeros(&mut self, count: usize) {
        for _ in 0..count {
            self.push(b"0");
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

/// The integer that `value` is, if its digits are the text: most scores are such.
#[expect(clippy::cast_possible_truncation, reason = "compared afterwards")]
fn short_integer(value: f64) -> Option<i64> {
    const BELOW: f64 = 1e15;
    let whole = value as i64;
    let same = whole as f64 == value && value.abs() < BELOW;
    (same && (whole != 0 || value.is_sign_positive())).then_some(whole)
}

/// `d.dddde-x` cut at the `e`.
fn split_exponent(scientific: &[u8]) -> (&[u8], i16) {
    let at = scientific.iter().position(|&byte| byte == b'e').unwrap_or(scientific.len());
    let exponent = scientific.get(at + 1..).and_then(|digits| str::from_utf8(digits).ok());
    (&scientific[..at], exponent.and_then(|digits| digits.parse().ok()).unwrap_or(0))
}

/// The number that all of `text` spells. `None` also for `nan`, and for numbers too large or too close to zero.
pub fn parse(text: &[u8]) -> Option<f64> {
    if let Some(whole) = short_digits(text) {
        return Some(whole);
    }
    let value = parse_rounding(text)?;
    let digits = text.split(|byte| matches!(byte, b'e' | b'E' | b'p' | b'P')).next()?;
    let is_word = digits.iter().any(|byte| byte.eq_ignore_ascii_case(&b'i'));
    let hex = usize::from(is_hexadecimal(text));
    let is_zero =
        || digits[hex..].iter().all(|byte| matches!(byte, b'+' | b'-' | b'.' | b'0' | b'x' | b'X'));
    let in_range = if value == 0.0 { is_zero() } else { value.is_finite() || is_word };
    in_range.then_some(value)
}

/// The number that `text` spells as the end of a range: what is too large is infinite and what is too close to
/// zero is zero, blanks may stand before it, a zero byte ends it, and no bytes at all are zero.
pub fn parse_bound(text: &[u8]) -> Option<f64> {
    let text = text.split(|&byte| byte == 0).next()?;
    if text.is_empty() {
        return Some(0.0);
    }
    let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'\x0b';
    let start = text.iter().position(|byte| !blank(byte))?;
    parse_rounding(&text[start..])
}

/// Up to 15 digits, with or without a minus.
fn short_digits(text: &[u8]) -> Option<f64> {
    const DIGITS_MAX: usize = 15;
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1.0, digits),
        _ => (1.0, text),
    };
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let mut value: u64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(sign * value as f64)
}

fn parse_rounding(text: &[u8]) -> Option<f64> {
    let (sign, number) = match text {
        [b'-', number @ ..] => (-1.0, number),
        [b'+', number @ ..] => (1.0, number),
        _ => (1.0, text),
    };
    let value = if is_hexadecimal(text) {
        parse_hexadecimal(&number[2..])?
    } else if matches!(number.first(), Some(b'+' | b'-')) {
        return None;
    } else {
        str::from_utf8(number).ok()?.parse::<f64>().ok()?
    };
    (!value.is_nan()).then_some(sign * value)
}

fn is_hexadecimal(text: &[u8]) -> bool {
    let number = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    matches!(number, [b'0', b'x' | b'X', ..])
}

/// What stands after `0x`: digits, perhaps with a point, perhaps with a power of two.
fn parse_hexadecimal(text: &[u8]) -> Option<f64> {
    const POWER_MAX: i64 = 1 << 40;
    let mark = text.iter().position(|byte| matches!(byte, b'p' | b'P'));
    let (digits, mut power) = match mark {
        Some(at) => (&text[..at], parse_power(&text[at + 1..], POWER_MAX)?),
        None => (text, 0),
    };
    let (mut significand, mut digit_seen, mut point_seen) = (0_u64, false, false);
    for &byte in digits {
        if byte == b'.' && !point_seen {
            point_seen = true;
            continue;
        }
        let digit = u64::from(char::from(byte).to_digit(16)?);
        digit_seen = true;
        let has_room = significand >> 60 == 0;
        if has_room {
            significand = significand << 4 | digit;
        } else {
            // What is beyond 60 bits matters only in whether it is more than nothing.
            significand |= u64::from(digit != 0);
        }
        power += 4 * (i64::from(!has_room) - i64::from(point_seen));
    }
    digit_seen.then(|| scale(significand, power))
}

fn parse_power(text: &[u8], most: i64) -> Option<i64> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        _ => (1, text),
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_i64, |power, byte| {
        let digit = i64::from(char::from(*byte).to_digit(10)?);
        Some((power.abs() * 10 + digit).min(most) * sign)
    })
}

/// `significand` times two to the power of `power`, rounded once, to nearest, ties to even.
#[expect(clippy::cast_possible_truncation, reason = "in range by the comparisons before")]
fn scale(significand: u64, power: i64) -> f64 {
    const BITS: i64 = 53;
    const POWER_MIN: i64 = -1074;
    const POWER_MAX: i64 = 971;
    if significand == 0 {
        return 0.0;
    }
    let bits = 64 - i64::from(significand.leading_zeros());
    // Downwards to 53 bits at most, and to the least power there is; upwards from above the greatest.
    let shift = (bits - BITS).max(POWER_MIN - power).min(65);
    if power + shift > POWER_MAX {
        return f64::INFINITY;
    }
    if shift == 65 {
        return 0.0;
    }
    if shift <= 0 {
        return significand as f64 * power_of_two(power);
    }
    let wide = u128::from(significand);
    let (kept, lost, half) = (wide >> shift, wide & ((1 << shift) - 1), 1_u128 << (shift - 1));
    let up = lost > half || (lost == half && kept & 1 == 1);
    (kept as u64 + u64::from(up)) as f64 * power_of_two(power + shift)
}

/// Two to a power from -1074 to 1023.
#[expect(clippy::cast_sign_loss, reason = "the exponent as it is stored is not negative")]
fn power_of_two(power: i64) -> f64 {
    match power {
        -1074..-1022 => f64::from_bits(1 << (power + 1074)),
        _ => f64::from_bits(((power + 1023) as u64) << 52),
    }
}

#[cfg(test)]
mod tests {
    use super::{Text, parse, parse_bound};

    #[test]
    fn doubles_print_as_c_prints_them() {
        // `'%.17g' % x` in C and Python.
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.10000000000000001"),
            (100.0, "100"),
            (-999_999_999_999_999.0, "-999999999999999"),
            (1e15, "1000000000000000"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (123_456_789_012_345.12, "123456789012345.12"),
            // A tie at the seventeenth digit goes to the even one.
            (123_456_789_012_345.0 + 0.125, "123456789012345.12"),
            (123_456_789_012_345.0 + 0.375, "123456789012345.38"),
            (0.0001, "0.0001"),
            (0.000_123_4, "0.00012339999999999999"),
            (0.00001, "1.0000000000000001e-05"),
            (-1e-7, "-9.9999999999999995e-08"),
            (1e300, "1.0000000000000001e+300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "4.9406564584124654e-324"),
            (-5e-324, "-4.9406564584124654e-324"),
            (f64::NAN, "nan"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(str::from_utf8(Text::of(value).as_bytes()), Ok(text));
        }
    }

    /// `strtod` of the GNU C library, less what Redis refuses.
    #[test]
    fn doubles_are_read_as_c_reads_them() {
        for (text, value) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("12", 12.0),
            ("-999999999999999", -999_999_999_999_999.0),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("+3", 3.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("-1.5E-3", -0.0015),
            ("000.00e5", 0.0),
            ("inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
            ("5e-324", 5e-324),
            ("1.7976931348623157e308", f64::MAX),
            ("0x1p3", 8.0),
            ("-0X.8", -0.5),
            ("0x10", 16.0),
            ("0x0p99999", 0.0),
            ("0x1.fffffffffffff8p0", 2.0),
            ("0x1.fffffffffffff7p0", 1.9999999999999998),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000000001p0", 1.0000000000000002),
            ("0x1p-1074", 5e-324),
            ("0x1.8p-1074", 1e-323),
            ("0x1.fffffffffffffp1023", f64::MAX),
        ] {
            assert_eq!(parse(text.as_bytes()).map(f64::to_bits), Some(value.to_bits()), "{text}");
        }
        for text in [
            "",
            "-",
            "+",
            ".",
            "e",
            "1e",
            "1e+",
            " 1",
            "1 ",
            "1\0",
            "--1",
            "+-1",
            "nan",
            "-nan",
            "nan(1)",
            "infinit",
            "1e400",
            "-1e400",
            "1e-400",
            "0x",
            "0x.",
            "0x1p",
            "0x1g",
            "0x1p1024",
            "0x1p-1076",
            "1_0",
            "0x-1",
            "1.5.",
            "é",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn bounds_are_read_less_strictly() {
        for (text, value) in [
            ("", 0.0),
            ("\0x", 0.0),
            (" \t1", 1.0),
            ("2\0x", 2.0),
            ("1e400", f64::INFINITY),
            ("-0x1p9999", f64::NEG_INFINITY),
            ("1e-400", 0.0),
            ("-inf", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse_bound(text.as_bytes()), Some(value), "{text}");
        }
        for text in [" ", "1 ", "nan", "x", "(", "1x"] {
            assert_eq!(parse_bound(text.as_bytes()), None, "{text}");
        }
    }
}
