//! Values in Redis's RDB format, and the payloads of `DUMP` and `RESTORE` that carry them.
//!
//! ```text
//! payload  =  type  value  version (2 bytes)  CRC-64 of all before (8 bytes)
//! string   =  length bytes
//!          |  11000000 i8  |  11000001 i16  |  11000010 i32        a canonical decimal
//!          |  11000011 compressed-length length LZF
//! length   =  00LLLLLL  |  01LLLLLL LLLLLLLL  |  10000000 u32 big  |  10000001 u64 big
//! ```
//!
//! Integers are little-endian but for the lengths. The version is the oldest that can read the payload; the newest
//! that we read is 12, Redis 7.4's. `values` has what values look like.

mod forms;
mod values;

use crc::{CRC_64_REDIS, Crc, Table};

use super::lzf;
use super::numbers::parse_i64;
use crate::collection::Value;
use crate::limits::BULK_BYTES_MAX;
pub(super) use values::Restored;

/// The newest RDB version that is read.
const VERSION_MAX: u16 = 12;
/// Bytes of version and checksum at a payload's end.
const FOOTER_BYTES: usize = 10;
/// Strings up to this length are not compressed (as Redis).
const COMPRESS_BYTES_MIN: usize = 21;
/// What compression must save (as Redis).
const COMPRESS_GAIN_MIN: usize = 4;

pub(crate) const INT8: u8 = 0xc0;
pub(crate) const INT16: u8 = 0xc1;
pub(crate) const INT32: u8 = 0xc2;
pub(crate) const LZF: u8 = 0xc3;
pub(crate) const LENGTH_14_BITS: u8 = 0x40;
pub(crate) const LENGTH_32_BITS: u8 = 0x80;
pub(crate) const LENGTH_64_BITS: u8 = 0x81;

/// The checksum of payloads and of RDB files.
pub(crate) static CRC64: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// Why a payload can't be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PayloadError {
    /// It was damaged, or a later version wrote it.
    #[error("ERR DUMP payload version or checksum are wrong")]
    Footer,
    /// What it holds is of no type that is known, or not well formed.
    #[error("ERR Bad data format")]
    Format,
}

/// The payload that `DUMP` answers for a value.
pub(super) fn dump(value: &Value<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    let version = values::put(&mut payload, value);
    seal(&mut payload, version);
    payload
}

/// Makes a payload of a type byte and a value: appends `version`, the oldest that can read it, and the
/// checksum.
pub(crate) fn seal(payload: &mut Vec<u8>, version: u16) {
    payload.extend(version.to_le_bytes());
    let checksum = CRC64.checksum(payload);
    payload.extend(checksum.to_le_bytes());
}

/// The value in a payload.
pub(super) fn restore(payload: &[u8]) -> Result<Restored, PayloadError> {
    let body_length = payload.len().checked_sub(FOOTER_BYTES).ok_or(PayloadError::Footer)?;
    let (checked, checksum) = payload.split_at(body_length + size_of::<u16>());
    let (body, version) = checked.split_at(body_length);
    if u16::from_le_bytes([version[0], version[1]]) > VERSION_MAX
        || CRC64.checksum(checked).to_le_bytes() != checksum
    {
        return Err(PayloadError::Footer);
    }
    values::get(body).ok_or(PayloadError::Format)
}

/// Bytes that the value takes in the RDB format, its type left out.
pub(super) fn value_length(value: &Value<'_>) -> usize {
    let mut encoded = Vec::new();
    values::put(&mut encoded, value);
    encoded.len().saturating_sub(1)
}

fn put_string(out: &mut Vec<u8>, value: &[u8]) {
    if let Some(integer) = parse_i64(value).and_then(|integer| i32::try_from(integer).ok()) {
        return put_integer(out, integer);
    }
    if value.len() >= COMPRESS_BYTES_MIN
        && let Some(packed) = lzf::compress(value, value.len() - COMPRESS_GAIN_MIN)
    {
        out.push(LZF);
        put_length(out, packed.len());
        put_length(out, value.len());
        out.extend(packed);
        return;
    }
    put_length(out, value.len());
    out.extend(value);
}

fn put_integer(out: &mut Vec<u8>, integer: i32) {
    if let Ok(integer) = i8::try_from(integer) {
        out.push(INT8);
        out.extend(integer.to_le_bytes());
    } else if let Ok(integer) = i16::try_from(integer) {
        out.push(INT16);
        out.extend(integer.to_le_bytes());
    } else {
        out.push(INT32);
        out.extend(integer.to_le_bytes());
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    if let Ok(length) = u16::try_from(length)
        && length < 1 << 14
    {
        let [high, low] = length.to_be_bytes();
        if length < 1 << 6 {
            out.push(low);
        } else {
            out.extend([LENGTH_14_BITS | high, low]);
        }
    } else if let Ok(length) = u32::try_from(length) {
        out.push(LENGTH_32_BITS);
        out.extend(length.to_be_bytes());
    } else {
        out.push(LENGTH_64_BITS);
        out.extend((length as u64).to_be_bytes());
    }
}

/// Bytes in the RDB format that are read from the front.
struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    /// A string in any of its forms.
    fn string(&mut self) -> Option<Vec<u8>> {
        match *self.rest.first()? {
            INT8 => self.skip_head().array().map(|of| digits(i8::from_le_bytes(of).into())),
            INT16 => self.skip_head().array().map(|of| digits(i16::from_le_bytes(of).into())),
            INT32 => self.skip_head().array().map(|of| digits(i32::from_le_bytes(of).into())),
            LZF => {
                let (packed, length) = (self.skip_head().length()?, self.length()?);
                lzf::decompress(self.take(packed)?, length)
            }
            _ => {
                let length = self.length()?;
                self.take(length).map(<[u8]>::to_vec)
            }
        }
    }

    fn skip_head(&mut self) -> &mut Self {
        self.rest = &self.rest[1..];
        self
    }

    /// A length. Nothing is longer than [`BULK_BYTES_MAX`], nor are there more of anything.
    fn length(&mut self) -> Option<usize> {
        let length = usize::try_from(self.number()?).ok();
        length.filter(|&length| length <= BULK_BYTES_MAX)
    }

    /// A number that is written as a length.
    fn number(&mut self) -> Option<u64> {
        let [head] = self.array()?;
        Some(match head {
            0..LENGTH_14_BITS => u64::from(head),
            LENGTH_14_BITS..LENGTH_32_BITS => {
                let [low] = self.array()?;
                u64::from(head & 0x3f) << 8 | u64::from(low)
            }
            LENGTH_32_BITS => u64::from(u32::from_be_bytes(self.array()?)),
            LENGTH_64_BITS => u64::from_be_bytes(self.array()?),
            _ => return None,
        })
    }

    /// Eight bytes.
    fn fixed(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A score as text: a byte tells its length, or that it is infinite or no number.
    fn score(&mut self) -> Option<f64> {
        let [length] = self.array()?;
        match length {
            253 => Some(f64::NAN),
            254 => Some(f64::INFINITY),
            255 => Some(f64::NEG_INFINITY),
            length => std::str::from_utf8(self.take(length.into())?).ok()?.parse().ok(),
        }
    }

    /// A count, and as many strings.
    fn strings(&mut self) -> Option<Vec<Vec<u8>>> {
        self.strings_of(1)
    }

    /// A count, and so many times as many strings.
    fn strings_of(&mut self, times: usize) -> Option<Vec<Vec<u8>>> {
        let count = self.length()? * times;
        (0..count).map(|_| self.string()).collect()
    }
}

fn digits(number: i64) -> Vec<u8> {
    number.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{PayloadError, Restored, dump, restore};
    use crate::collection::Value;

    /// What Redis 7.0.15 dumps.
    #[test]
    fn payloads_match_redis() {
        let rows: [(&str, &[u8]); 19] = [
            ("", b"\x00\x00\x0a\x00]\x9b\x5c@\x0f\x7f\xa2\xda"),
            ("0", b"\x00\xc0\x00\x0a\x00\x98@\xa7x\xf8P\x03\x08"),
            ("-1", b"\x00\xc0\xff\x0a\x00\x0c\x93~$\x85\x08\x9d\xc5"),
            ("127", b"\x00\xc0\x7f\x0a\x00\x0d\xb5\xeb1RT\xc5\x14"),
            ("128", b"\x00\xc1\x80\x00\x0a\x00\xebz\xb3\xb5\x10\xcfKe"),
            ("-128", b"\x00\xc0\x80\x0a\x00\x99f2m/\x0c[\xd9"),
            ("-129", b"\x00\xc1\x7f\xff\x0a\x00\x17`\x82(T\x80\x84\x80"),
            ("32767", b"\x00\xc1\xff\x7f\x0a\x00IZ7\xda\x17\xf4\xd5+"),
            ("-32768", b"\x00\xc1\x00\x80\x0a\x00\xb5@\x06GS\xbb\x1a\xce"),
            ("32768", b"\x00\xc2\x00\x80\x00\x00\x0a\x00E\xd8.\xed\xd5\xbd\xa9\x10"),
            ("2147483647", b"\x00\xc2\xff\xff\xff\x7f\x0a\x00,t\xe5\x9e\xe0.\xad\xa1"),
            ("-2147483648", b"\x00\xc2\x00\x00\x00\x80\x0a\x00\xc7O\x87>3U\x81\x87"),
            ("2147483648", b"\x00\x0a2147483648\x0a\x00\xe7\xb1)\xa3L\x1dv\xee"),
            ("-9223372036854775808", b"\x00\x14-9223372036854775808\x0a\x00\xed\xe2\xb9V\xebp\x9e\x81"),
            ("0001", b"\x00\x040001\x0a\x00d\x8e\xd8\x8d\x81\xac\x86\xe6"),
            ("-0", b"\x00\x02-0\x0a\x00\xd5A\x1f\xd9\xd6\xd0P\xcc"),
            ("hello", b"\x00\x05hello\x0a\x00cr\xdfve4 \x0a"),
            ("aaaaaaaaaaaaaaaaaaaa", b"\x00\x14aaaaaaaaaaaaaaaaaaaa\x0a\x00\x83\xb4k^\x1b\x11\xac\xf1"),
            ("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_+", b"\x00@Aabcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_+\x0a\x00\xd8\xabJc\xab\xbe\x8dx"),
        ];
        for (value, payload) in rows {
            assert_eq!(
                dump(&Value::String(value.as_bytes())).escape_ascii().to_string(),
                payload.escape_ascii().to_string(),
                "{value}"
            );
            assert_eq!(restore(payload), Ok(Restored::String(value.as_bytes().to_vec())));
        }
    }

    /// Compressed by Redis 7.0.15, which may compress otherwise than we do.
    #[test]
    fn compressed_payloads_of_redis_are_read() {
        let rows: [(&[u8], usize, &[u8]); 2] = [
            (b"a", 100, b"\x00\xc3\x09@d\x01aa\xe0W\x00\x01aa\x0a\x00\xe8\xa3\xb5\x07\xb0m\xf2q"),
            (b"0123456789", 30, b"\x00\xc3\x15A,\x0a01234567890\xe0\xff\x09\xe1\x0e\x0d\x0189\x0a\x00\xf1\xe9\x82|\x1eU\xe4\x9a"),
        ];
        for (word, times, payload) in rows {
            assert_eq!(restore(payload), Ok(Restored::String(word.repeat(times))));
        }
    }

    #[test]
    fn damage_is_found() {
        let good = dump(&Value::String(b"hello"));
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 0x10;
            assert_eq!(restore(&bad), Err(PayloadError::Footer), "byte {index}");
        }
        for length in 0..good.len() {
            assert_eq!(restore(&good[..length]), Err(PayloadError::Footer), "cut at {length}");
        }
    }

    #[test]
    fn other_types_and_later_versions_are_refused() {
        for (body, version, expect) in [
            (&b"\x00\x01a"[..], 10, Ok(Restored::String(b"a".to_vec()))),
            (b"\x00\x01a", 9, Ok(Restored::String(b"a".to_vec()))),
            (b"\x00\x01a", 13, Err(PayloadError::Footer)),
            (b"\x01\x01a", 10, Err(PayloadError::Format)),
            (b"\x00\x02a", 10, Err(PayloadError::Format)),
            (b"\x00\x40\x01a", 10, Ok(Restored::String(b"a".to_vec()))),
            (b"\x00\x80\x00\x00\x00\x01a", 10, Ok(Restored::String(b"a".to_vec()))),
            (b"\x00\x81\x00\x00\x00\x00\x00\x00\x00\x01a", 10, Ok(Restored::String(b"a".to_vec()))),
            (b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xffa", 10, Err(PayloadError::Format)),
            (b"\x00\x82\x00\x00\x00\x01a", 10, Err(PayloadError::Format)),
            (b"\x00\xc1\x01", 10, Err(PayloadError::Format)),
            (b"\x00\xc4\x01", 10, Err(PayloadError::Format)),
            (
                b"\x00\xc3\x02\x81\x7f\xff\xff\xff\xff\xff\xff\xff\x00a",
                10,
                Err(PayloadError::Format),
            ),
            (b"\x00", 10, Err(PayloadError::Format)),
            (b"", 10, Err(PayloadError::Format)),
        ] {
            let mut payload = [body, &u16::to_le_bytes(version)].concat();
            let checksum = super::CRC64.checksum(&payload);
            payload.extend(checksum.to_le_bytes());
            assert_eq!(restore(&payload), expect, "{body:?}, version {version}");
        }
    }

    proptest! {
        #[test]
        fn what_was_dumped_comes_back(
            word in proptest::collection::vec(any::<u8>(), 0..100),
            times in 1usize..400,
            integer in any::<i64>(),
        ) {
            let value = word.repeat(times);
            prop_assert_eq!(restore(&dump(&Value::String(&value))), Ok(Restored::String(value)));
            let value = integer.to_string().into_bytes();
            prop_assert_eq!(restore(&dump(&Value::String(&value))), Ok(Restored::String(value)));
        }
    }
}
