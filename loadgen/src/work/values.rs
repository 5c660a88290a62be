//! The bytes of values: random ones from a shared pool, or with `--verify` a header that says whose value it
//! is and the pool's bytes behind it.
//!
//! ```text
//! offset  0        8          16        20         24
//!         | key u64 | version u64 | length u32 | crc32c u32 | bytes of the pool …
//! ```
//!
//! All little-endian; the checksum is over everything but itself. Pool bytes don't compress. In the replay of
//! a trace, values of up to 18 bytes are decimal numbers, since they may be counters that are incremented.

use super::random::{Random, mix};

/// A verified value's header; no such value is shorter.
pub(super) const HEADER_BYTES: u32 = 24;

const CRC_AT: usize = 20;
const BODY_AT: usize = 24;

/// Bytes in the pool: small enough to stay in a core's second-level cache beside the connections.
const POOL_BYTES: usize = 64 * 1024;

/// Where values' bytes come from.
#[derive(Debug)]
pub(super) struct Values {
    pool: Box<[u8]>,
    content: Content,
}

/// What is in values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Random bytes.
    Plain,
    /// Numbers where they fit, otherwise random bytes.
    Numbers,
    /// A header, then random bytes.
    Verified,
}

/// Any number of so many digits is an integer to Redis, and stays one for a while.
const NUMBER_DIGITS_MAX: usize = 18;

/// What a verified value says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) key: u64,
    pub(super) version: u64,
}

impl Values {
    pub(super) fn new(seed: u64, content: Content) -> Self {
        let mut pool = vec![0; POOL_BYTES].into_boxed_slice();
        Random::new(seed, u64::MAX).fill(&mut pool);
        Self { pool, content }
    }

    /// Appends the value of `bytes` bytes for `key`: always the same for the same key, length and version.
    pub(super) fn append(&self, key: u64, version: u64, bytes: u32, out: &mut Vec<u8>) {
        let bytes = bytes as usize;
        match self.content {
            Content::Numbers if bytes <= NUMBER_DIGITS_MAX => append_number(key, bytes, out),
            Content::Plain | Content::Numbers => self.append_pool(key, bytes, out),
            Content::Verified => self.append_verified(key, version, bytes, out),
        }
    }

    /// Fills `out` with the value for `key` of its length, which consists of random bytes.
    #[inline]
    pub(super) fn fill(&self, key: u64, out: &mut [u8]) {
        let at = start(key);
        match self.pool.get(at..at + out.len()) {
            Some(bytes) => out.copy_from_slice(bytes),
            // The pool goes on at its start.
            None => out
                .iter_mut()
                .zip(self.pool[at..].iter().chain(&self.pool))
                .for_each(|(to, from)| *to = *from),
        }
    }

    fn append_verified(&self, key: u64, version: u64, bytes: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&key.to_le_bytes());
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        self.append_pool(key ^ version, bytes.saturating_sub(BODY_AT), out);
        let crc = checksum(&out[start..]);
        out[start + CRC_AT..start + BODY_AT].copy_from_slice(&crc.to_le_bytes());
    }

    fn append_pool(&self, salt: u64, mut bytes: usize, out: &mut Vec<u8>) {
        out.reserve(bytes);
        let mut at = start(salt);
        while bytes > 0 {
            let part = bytes.min(POOL_BYTES - at);
            out.extend_from_slice(&self.pool[at..at + part]);
            bytes -= part;
            at = 0;
        }
    }
}

/// Where in the pool a value begins.
fn start(salt: u64) -> usize {
    usize::try_from(mix(salt)).unwrap_or_default() % POOL_BYTES
}

/// Appends a number of so many digits, the first of which is not 0.
fn append_number(salt: u64, digits: usize, out: &mut Vec<u8>) {
    let mut number = mix(salt);
    for at in 0..digits {
        let least = u64::from(at == 0);
        let digit = least + number % (10 - least);
        out.push(b'0' + u8::try_from(digit).unwrap_or_default());
        number /= 10;
    }
}

/// What `value` says about itself; `None` if it is damaged.
pub(super) fn read(value: &[u8]) -> Option<Claim> {
    let key = u64::from_le_bytes(value.get(..8)?.try_into().ok()?);
    let version = u64::from_le_bytes(value.get(8..16)?.try_into().ok()?);
    let bytes = u32::from_le_bytes(value.get(16..CRC_AT)?.try_into().ok()?);
    let crc = u32::from_le_bytes(value.get(CRC_AT..BODY_AT)?.try_into().ok()?);
    let is_whole = bytes as usize == value.len() && crc == checksum(value);
    is_whole.then_some(Claim { key, version })
}

fn checksum(value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&value[..CRC_AT]), &value[BODY_AT..])
}

#[cfg(test)]
mod tests {
    use super::{Claim, Content, HEADER_BYTES, POOL_BYTES, Values, read};

    fn value(values: &Values, key: u64, version: u64, bytes: u32) -> Vec<u8> {
        let mut out = b"before".to_vec();
        values.append(key, version, bytes, &mut out);
        assert!(out.starts_with(b"before"));
        out.split_off(6)
    }

    #[test]
    fn a_verified_value_says_whose_it_is() {
        let values = Values::new(1, Content::Verified);
        for bytes in [HEADER_BYTES, 25, 64, 4_096, 200_000] {
            let value = value(&values, 77, 123_456_789_012, bytes);
            assert_eq!(value.len(), bytes as usize);
            assert_eq!(read(&value), Some(Claim { key: 77, version: 123_456_789_012 }));
        }
    }

    #[test]
    fn the_header_is_laid_out_as_documented() {
        let value = value(&Values::new(1, Content::Verified), 0x0102_0304, 0x0506, 24);
        assert_eq!(&value[..20], b"\x04\x03\x02\x01\0\0\0\0\x06\x05\0\0\0\0\0\0\x18\0\0\0");
        let crc = u32::from_le_bytes(value[20..].try_into().unwrap());
        // CRC-32C bit by bit, as its definition says.
        let mut expected = u32::MAX;
        for byte in &value[..20] {
            expected ^= u32::from(*byte);
            for _ in 0..8 {
                expected = (expected >> 1) ^ (0x82f6_3b78 * (expected & 1));
            }
        }
        assert_eq!(crc, !expected);
    }

    #[test]
    fn any_damage_shows() {
        let values = Values::new(1, Content::Verified);
        let whole = value(&values, 5, 9, 40);
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert_eq!(read(&damaged), None, "byte {at}");
            assert_eq!(read(&whole[..at]), None, "cut at {at}");
        }
        assert_eq!(read(&[&whole[..], b"x"].concat()), None);
    }

    #[test]
    fn short_values_of_a_trace_are_numbers() {
        let values = Values::new(1, Content::Numbers);
        for bytes in 1..=18 {
            let value = String::from_utf8(value(&values, u64::from(bytes) * 77, 0, bytes)).unwrap();
            let number: i64 = value.parse().unwrap();
            assert_eq!(number.to_string(), value);
            assert_eq!(value.len(), bytes as usize);
        }
        assert_eq!(value(&values, 5, 0, 0), b"");
        assert!(!value(&values, 5, 0, 19).iter().all(u8::is_ascii_digit));
    }

    #[test]
    fn plain_values_are_random_and_repeatable() {
        let values = Values::new(1, Content::Plain);
        assert_eq!(value(&values, 5, 0, 100), value(&Values::new(1, Content::Plain), 5, 0, 100));
        assert_ne!(value(&values, 5, 0, 100), value(&values, 6, 0, 100));
        assert_ne!(value(&values, 5, 0, 100), value(&Values::new(2, Content::Plain), 5, 0, 100));
        assert_eq!(value(&values, 5, 0, 0), b"");
        let long = value(&values, 5, 0, 300_000);
        assert_eq!(long.len(), 300_000);
        let mut counts = [0_u32; 256];
        long[..POOL_BYTES].iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        assert!(counts.iter().all(|count| (150..400).contains(count)), "{counts:?}");
    }
}
