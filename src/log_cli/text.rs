//! Bytes, times and numbers as people and programs read them.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::types::UnixMs;

/// Bytes of a value that a line shows.
const SHOWN_BYTES_MAX: usize = 64;

/// Bytes in quotes, what can't be printed escaped as redis-cli does.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for byte in bytes {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x07 => text.push_str("\\a"),
            0x08 => text.push_str("\\b"),
            b' '..=b'~' => text.push(char::from(*byte)),
            // Writing to a string does not fail.
            _ => drop(write!(text, "\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

/// As [`quoted`], long ones cut short.
pub(super) fn shortened(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN_BYTES_MAX {
        return quoted(bytes);
    }
    format!("{}... ({} bytes)", quoted(&bytes[..SHOWN_BYTES_MAX]), bytes.len())
}

/// A member of a JSON object: the bytes as text, or in base64 under a name that says so.
pub(super) fn json_member(name: &str, bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("\"{name}\":{}", json_text(text)),
        Err(_) => format!("\"{name}_base64\":\"{}\"", STANDARD.encode(bytes)),
    }
}

fn json_text(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            control if control < ' ' => drop(write!(json, "\\u{:04x}", u32::from(control))),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

/// A time as `2026-01-31T23:59:59.999Z`.
pub(super) fn time(at: UnixMs) -> String {
    let (days, of_day) = (at.0 / 86_400_000, at.0 % 86_400_000);
    let (year, month, day) = date(days);
    let (seconds, ms) = (of_day / 1000, of_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of a number of days since the Unix epoch (Hinnant, "chrono-compatible low-level date
/// algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// A number of things: `1 record`, `1,234 records`.
pub(super) fn count(number: u64, singular: &str, plural: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { singular } else { plural })
}

/// A number with a comma after every thousand.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{count, json_member, quoted, shortened, time};
    use crate::types::UnixMs;

    #[test]
    fn bytes_are_escaped_as_redis_cli_does() {
        assert_eq!(
            quoted(b"a \"b\"\\\n\r\t\x07\x08\x00\xff~"),
            r#""a \"b\"\\\n\r\t\a\b\x00\xff~""#
        );
        assert_eq!(shortened(&[b'x'; 64]), format!("\"{}\"", "x".repeat(64)));
        assert_eq!(shortened(&[b'x'; 65]), format!("\"{}\"... (65 bytes)", "x".repeat(64)));
    }

    #[test]
    fn json_holds_any_bytes() {
        assert_eq!(json_member("key", "ä\"\u{1}\n".as_bytes()), r#""key":"ä\"\u0001\n""#);
        assert_eq!(json_member("key", b"\xff"), r#""key_base64":"/w==""#);
    }

    #[test]
    fn times_are_utc() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
            (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(UnixMs(ms)), text);
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(count(1, "record", "records"), "1 record");
        assert_eq!(count(0, "record", "records"), "0 records");
        assert_eq!(count(1_234_567, "record", "records"), "1,234,567 records");
    }
}
