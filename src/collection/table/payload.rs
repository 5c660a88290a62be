//! What a table keeps with each of its keys, and how both are written as one entry.

/// How a key and what is kept with it are written.
pub trait Payload {
    /// What is kept with a key.
    type Value<'a>: Copy;

    /// Bytes of an entry.
    fn entry_bytes(key: &[u8], value: Self::Value<'_>) -> usize;
    /// Writes an entry; `into` is as long as it takes.
    fn write(into: &mut [u8], key: &[u8], value: Self::Value<'_>);
    /// Key and value of an entry.
    fn read(entry: &[u8]) -> (&[u8], Self::Value<'_>);
}

/// Nothing but the key.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Payload for Nothing {
    type Value<'a> = ();

    #[inline]
    fn entry_bytes(key: &[u8], (): ()) -> usize {
        key.len()
    }

    #[inline]
    fn write(into: &mut [u8], key: &[u8], (): ()) {
        into.copy_from_slice(key);
    }

    #[inline]
    fn read(entry: &[u8]) -> (&[u8], ()) {
        (entry, ())
    }
}

/// Eight bytes before the key: a score, a time.
#[derive(Clone, Copy, Debug)]
pub struct Word;

impl Payload for Word {
    type Value<'a> = u64;

    #[inline]
    fn entry_bytes(key: &[u8], _: u64) -> usize {
        size_of::<u64>() + key.len()
    }

    #[inline]
    fn write(into: &mut [u8], key: &[u8], value: u64) {
        let (word, rest) = into.split_at_mut(size_of::<u64>());
        word.copy_from_slice(&value.to_le_bytes());
        rest.copy_from_slice(key);
    }

    #[inline]
    fn read(entry: &[u8]) -> (&[u8], u64) {
        let (word, key) = entry.split_first_chunk().expect("written by `write`");
        (key, u64::from_le_bytes(*word))
    }
}

/// Bytes behind the key, whose length is written before it: in one byte below 128, else in four, the highest
/// bit set.
#[derive(Clone, Copy, Debug)]
pub struct Bytes;

const LENGTH_IS_LONG: u32 = 1 << 31;

impl Payload for Bytes {
    type Value<'a> = &'a [u8];

    #[inline]
    fn entry_bytes(key: &[u8], value: &[u8]) -> usize {
        length_bytes(key) + key.len() + value.len()
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "keys are shorter than 2 GiB")]
    fn write(into: &mut [u8], key: &[u8], value: &[u8]) {
        let (length, rest) = into.split_at_mut(length_bytes(key));
        match length {
            [short] => *short = key.len() as u8,
            long => long.copy_from_slice(&(key.len() as u32 | LENGTH_IS_LONG).to_be_bytes()),
        }
        let (key_into, value_into) = rest.split_at_mut(key.len());
        key_into.copy_from_slice(key);
        value_into.copy_from_slice(value);
    }

    #[inline]
    fn read(entry: &[u8]) -> (&[u8], &[u8]) {
        match entry[0] {
            short @ 0..0x80 => entry[1..].split_at(usize::from(short)),
            _ => {
                let (length, rest) = entry.split_first_chunk().expect("written by `write`");
                rest.split_at((u32::from_be_bytes(*length) & !LENGTH_IS_LONG) as usize)
            }
        }
    }
}

#[inline]
fn length_bytes(key: &[u8]) -> usize {
    if key.len() < 0x80 { 1 } else { size_of::<u32>() }
}
