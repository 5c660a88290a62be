//! LZF, the compression of strings in Redis's RDB format (Marc Lehmann's LibLZF).
//!
//! A stream is a row of items. The first byte of an item tells what it is:
//!
//! ```text
//! 000LLLLL                      L+1 literal bytes follow
//! LLLOOOOO OOOOOOOO             copy L+2 bytes from O+1 bytes back   (L = 1..=6)
//! 111OOOOO LLLLLLLL OOOOOOOO    copy L+9 bytes from O+1 bytes back
//! ```

/// Most bytes that one item can hold as literals.
const LITERALS_MAX: usize = 32;
/// Shortest run worth a back reference.
const MATCH_MIN: usize = 3;
/// Longest run that one back reference can stand for.
const MATCH_MAX: usize = 264;
/// Farthest back that a reference can point.
const DISTANCE_MAX: usize = 8192;
/// Most slots of the compressor's table of places where three bytes were last seen.
const TABLE_BITS_MAX: u32 = 14;

/// Most bytes that one byte of a stream can stand for: three bytes make 264.
const EXPANSION_MAX: usize = MATCH_MAX / 3;

/// Compresses `input` into at most `bytes_max` bytes; `None` if they are not enough.
pub(super) fn compress(input: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let table_bits = usize::BITS.saturating_sub(input.len().leading_zeros());
    let table_bits = table_bits.clamp(4, TABLE_BITS_MAX);
    // One past the place where three bytes with this hash were last seen.
    let mut seen = vec![0usize; 1 << table_bits];
    let mut out = Vec::new();
    let (mut at, mut literals_from) = (0, 0);
    while at + MATCH_MIN <= input.len() && out.len() <= bytes_max {
        let slot = hash(&input[at..at + MATCH_MIN], table_bits);
        let candidate = seen[slot];
        seen[slot] = at + 1;
        let length = match candidate.checked_sub(1) {
            Some(earlier) if at - earlier <= DISTANCE_MAX => common_length(input, earlier, at),
            Some(_) | None => 0,
        };
        if length < MATCH_MIN {
            at += 1;
            continue;
        }
        put_literals(&mut out, &input[literals_from..at]);
        put_reference(&mut out, at + 1 - candidate, length);
        at += length;
        literals_from = at;
    }
    put_literals(&mut out, &input[literals_from..]);
    (out.len() <= bytes_max).then_some(out)
}

/// Number of bytes from `at` on that are the same as those from `earlier` on, as far as one
/// reference reaches.
fn common_length(input: &[u8], earlier: usize, at: usize) -> usize {
    let (then, now) = (&input[earlier..], &input[at..]);
    now.iter().zip(then).take(MATCH_MAX).take_while(|(a, b)| a == b).count()
}

fn hash(bytes: &[u8], bits: u32) -> usize {
    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    (word.wrapping_mul(0x9e37_79b1) >> (u32::BITS - bits)) as usize
}

fn put_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push(low_byte(run.len() - 1));
        out.extend_from_slice(run);
    }
}

/// Appends a reference to `length` bytes, `distance` bytes back; the nearest distance is 1.
fn put_reference(out: &mut Vec<u8>, distance: usize, length: usize) {
    let (offset, code) = (distance - 1, length - 2);
    if code < 7 {
        out.push(low_byte(code << 5 | offset >> 8));
    } else {
        out.extend([low_byte(7 << 5 | offset >> 8), low_byte(code - 7)]);
    }
    out.push(low_byte(offset));
}

#[expect(clippy::cast_possible_truncation, reason = "the low byte is what is meant")]
fn low_byte(value: usize) -> u8 {
    value as u8
}

/// Undoes [`compress`]; `None` unless `stream` is well formed and stands for exactly `length` bytes.
pub(crate) fn decompress(stream: &[u8], length: usize) -> Option<Vec<u8>> {
    if length / EXPANSION_MAX > stream.len() {
        return None;
    }
    let mut out = Vec::with_capacity(length);
    let mut rest = stream.iter().as_slice();
    while let Some((&head, after)) = rest.split_first() {
        let (high, low) = (usize::from(head >> 5), usize::from(head & 0x1f));
        rest = if high == 0 {
            let (literals, after) = after.split_at_checked(low + 1)?;
            out.extend_from_slice(literals);
            after
        } else {
            let (more, after) = if high == 7 { after.split_first()? } else { (&0, after) };
            let (&offset, after) = after.split_first()?;
            let distance = (low << 8 | usize::from(offset)) + 1;
            copy_back(&mut out, distance, high + usize::from(*more) + 2)?;
            after
        };
        if out.len() > length {
            return None;
        }
    }
    (out.len() == length).then_some(out)
}

/// Appends `length` bytes that begin `distance` bytes back; the bytes may overlap their source.
fn copy_back(out: &mut Vec<u8>, distance: usize, length: usize) -> Option<()> {
    let mut from = out.len().checked_sub(distance)?;
    let end = out.len() + length;
    while out.len() < end {
        // What lies between `from` and the end repeats with a period of `distance`.
        let step = (out.len() - from).min(end - out.len());
        out.extend_from_within(from..from + step);
        from += step;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    use super::{compress, decompress};

    #[test]
    fn streams_written_by_hand_are_read() {
        // Four literals, then seven bytes from four back, then one literal.
        assert_eq!(decompress(b"\x03abcd\xa0\x03\x00!", 12).as_deref(), Some(&b"abcdabcdabc!"[..]));
        // One literal, then nine and more bytes from one back: as Redis 7.0 dumps a hundred `a`.
        assert_eq!(decompress(b"\x01aa\xe0\x57\x00\x01aa", 100).as_deref(), Some(&[b'a'; 100][..]));
        assert_eq!(decompress(b"", 0).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn damaged_streams_are_refused() {
        let streams: [(&[u8], usize); 8] = [
            (b"\x03abc", 4),
            (b"\x03abcd", 5),
            (b"\x03abcd", 3),
            (b"\x00a\x20", 4),
            (b"\x00a\x20\x01", 4),
            (b"\x00a\xe0", 10),
            (b"\x00a\xe0\x01", 11),
            (b"\x00a", usize::MAX),
        ];
        for (stream, length) in streams {
            assert_eq!(decompress(stream, length), None, "{stream:?} as {length}");
        }
    }

    #[test]
    fn what_does_not_shrink_is_left() {
        assert_eq!(compress(b"abcdefghijklmnopqrstuvwxyz", 22), None);
        let long = b"0123456789".repeat(1000);
        let packed = compress(&long, long.len() - 4).map(|packed| packed.len());
        assert!(packed.is_some_and(|length| length < 150), "{packed:?}");
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(
            words in proptest::collection::vec(
                proptest::collection::vec(any::<u8>().prop_map(|byte| byte & 3), 0..40),
                0..200,
            ),
            noise in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let input = [words.concat(), noise, words.concat()].concat();
            if let Some(packed) = compress(&input, input.len() * 2 + 2) {
                prop_assert_eq!(decompress(&packed, input.len()), Some(input));
            }
        }

        #[test]
        fn no_stream_breaks_the_reader(
            stream in proptest::collection::vec(any::<u8>(), 0..100),
            length in 0usize..2000,
        ) {
            let read = decompress(&stream, length);
            prop_assert_eq!(read.map_or(length, |out| out.len()), length);
        }
    }
}
