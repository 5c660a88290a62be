//! Numbers in arguments and values, read as strictly as Redis reads them.
//!
//! A value counts as an integer only if it is the one text that writing the integer would give, so
//! that `INCR` never changes the shape of what a client stored. Pure functions, owned by nobody.

use std::ops::RangeInclusive;

use super::Error;
use crate::types::UnixMs;

/// Longest text of an `i64`: a sign and 19 digits.
pub const I64_TEXT_MAX: usize = 20;

/// The integer that `text` spells, if it spells one as it would be written: no blanks, no `+`, no
/// leading zeros, no `-0`, within the range of `i64`.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        _ => (false, text),
    };
    match digits {
        [b'0'] => return (!negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() < I64_TEXT_MAX => {}
        _ => return None,
    }
    // At most 19 digits: no product leaves the range of `u64`.
    let mut magnitude = 0_u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// The integer in argument `text`, or Redis's usual complaint.
#[inline]
pub fn integer(text: &[u8]) -> Result<i64, Error> {
    parse_i64(text).ok_or(Error::NotAnInteger)
}

/// How the time in an `EX`, `PX`, `EXAT` or `PXAT` argument is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryUnit {
    /// `EX`: seconds from now.
    Seconds,
    /// `PX`: milliseconds from now.
    Milliseconds,
    /// `EXAT`: seconds since the Unix epoch.
    UnixSeconds,
    /// `PXAT`: milliseconds since the Unix epoch.
    UnixMilliseconds,
}

impl ExpiryUnit {
    /// The unit that option `word` names, in any case.
    pub fn named(word: &[u8]) -> Option<Self> {
        if word.eq_ignore_ascii_case(b"EX") {
            Some(Self::Seconds)
        } else if word.eq_ignore_ascii_case(b"PX") {
            Some(Self::Milliseconds)
        } else if word.eq_ignore_ascii_case(b"EXAT") {
            Some(Self::UnixSeconds)
        } else if word.eq_ignore_ascii_case(b"PXAT") {
            Some(Self::UnixMilliseconds)
        } else {
            None
        }
    }

    /// When a key expires that is given `text` in this unit at `now`. Zero, negative times and times
    /// beyond 63 bits of milliseconds are refused in the name of `command`; a past time is not.
    pub fn expires_at(self, text: &[u8], now: UnixMs, command: &str) -> Result<UnixMs, Error> {
        let count = integer(text)?;
        let invalid = || Error::Text(format!("ERR invalid expire time in '{command}' command"));
        let factor = match self {
            Self::Seconds | Self::UnixSeconds => 1000,
            Self::Milliseconds | Self::UnixMilliseconds => 1,
        };
        let since = match self {
            Self::Seconds | Self::Milliseconds => now.0,
            Self::UnixSeconds | Self::UnixMilliseconds => 0,
        };
        if count <= 0 {
            return Err(invalid());
        }
        count
            .checked_mul(factor)
            .and_then(|ms| ms.checked_add_unsigned(since))
            .and_then(|ms| u64::try_from(ms).ok())
            .map(UnixMs)
            .ok_or_else(invalid)
    }
}

/// The positions that the inclusive range `start..=end` covers among `length` items, `None` if it
/// covers none. Negative ends count from the end of the items; what lies outside is cut off.
pub fn clamp_range(start: i64, end: i64, length: usize) -> Option<RangeInclusive<usize>> {
    let length = i64::try_from(length).ok()?;
    let from_end = |index: i64| if index < 0 { (length + index).max(0) } else { index };
    let (start, end) = (from_end(start), from_end(end).min(length - 1));
    if start > end {
        return None;
    }
    Some(usize::try_from(start).ok()?..=usize::try_from(end).ok()?)
}

/// Whether a range counted from the end ends before it starts. It would cover the first item if both
/// ends were cut off there; `GETRANGE` and `BITCOUNT` answer nothing, `BITPOS` does look at the item.
pub fn is_backwards(start: i64, end: i64) -> bool {
    start < 0 && end < 0 && start > end
}

#[cfg(test)]
mod tests {
    use super::{ExpiryUnit, clamp_range, is_backwards, parse_i64};
    use crate::command::Error;
    use crate::types::UnixMs;

    #[test]
    fn integers_are_read_strictly() {
        for value in [0, 1, -1, 9, 10, -10, 1234567890123456789, i64::MAX, i64::MIN] {
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "+1",
            " 1",
            "1 ",
            "01",
            "-01",
            "-0",
            "00",
            "1.0",
            "1e3",
            "0x1",
            "1a",
            "a1",
            "--1",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999",
            "1\0",
        ] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn expiry_arguments_are_checked_for_range() {
        let at = |unit: ExpiryUnit, text: &str| unit.expires_at(text.as_bytes(), UnixMs(5), "set");
        assert_eq!(at(ExpiryUnit::Seconds, "2"), Ok(UnixMs(2005)));
        assert_eq!(at(ExpiryUnit::Milliseconds, "2"), Ok(UnixMs(7)));
        assert_eq!(at(ExpiryUnit::UnixSeconds, "2"), Ok(UnixMs(2000)));
        assert_eq!(at(ExpiryUnit::UnixMilliseconds, "2"), Ok(UnixMs(2)));
        assert_eq!(at(ExpiryUnit::Seconds, "x"), Err(Error::NotAnInteger));
        let largest = i64::MAX.to_string();
        assert!(at(ExpiryUnit::UnixMilliseconds, &largest).is_ok());
        for (unit, text) in [
            (ExpiryUnit::Seconds, "0"),
            (ExpiryUnit::UnixMilliseconds, "-1"),
            (ExpiryUnit::Seconds, "9223372036854776"),
            (ExpiryUnit::UnixSeconds, "9223372036854776"),
            (ExpiryUnit::Milliseconds, "9223372036854775803"),
        ] {
            let error = at(unit, text).map_err(|error| error.to_string());
            assert_eq!(error, Err("ERR invalid expire time in 'set' command".into()), "{text}");
        }
    }

    #[test]
    fn ranges_are_cut_to_the_length() {
        for (start, end, length, expect) in [
            (0, -1, 5, Some(0..=4)),
            (-3, -2, 5, Some(2..=3)),
            (-100, 100, 5, Some(0..=4)),
            (-100, -90, 5, Some(0..=0)),
            (-90, -100, 5, Some(0..=0)),
            (3, 2, 5, None),
            (5, 9, 5, None),
            (0, 0, 0, None),
            (0, -1, 0, None),
            (i64::MIN, i64::MAX, 1, Some(0..=0)),
        ] {
            assert_eq!(clamp_range(start, end, length), expect, "{start} {end} of {length}");
        }
        assert!(is_backwards(-90, -100) && !is_backwards(-2, -1) && !is_backwards(2, 1));
    }
}
