//! Inline requests: words separated by spaces, as typed into a terminal, with quotes as in a shell.
//!
//! In double quotes, `\\n \\r \\t \\b \\a` and `\\xHH` name bytes and `\\` before any other byte stands for
//! that byte; in single quotes, only `\\'` means something else than it says. A quote may open inside a
//! word; what closes it must end the word.

use memchr::memchr2;

use crate::protocol::args::ArgRange;

/// Quotes that don't match.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unbalanced;

/// Whether [`split_quoted`] is needed.
pub(super) fn has_quotes(line: &[u8]) -> bool {
    memchr2(b'"', b'\'', line).is_some()
}

/// Appends where the words of `line`, which holds no quotes, lie.
pub(super) fn split_plain(line: &[u8], ranges: &mut Vec<ArgRange>) {
    let mut at = 0;
    while let Some(start) = next_word(line, at) {
        at = (start..line.len()).find(|&i| ends_word(line[i])).unwrap_or(line.len());
        ranges.push(range(start, at));
    }
}

/// Appends the words of `line` to `words`, emptied first, and where they lie in it to `ranges`.
pub(super) fn split_quoted(
    line: &[u8],
    ranges: &mut Vec<ArgRange>,
    words: &mut Vec<u8>,
) -> Result<(), Unbalanced> {
    words.clear();
    let mut at = 0;
    while let Some(start) = next_word(line, at) {
        let first = words.len();
        at = word(line, start, words)?;
        ranges.push(range(first, words.len()));
    }
    Ok(())
}

/// Appends the word that starts at `at` and returns where it ends.
fn word(line: &[u8], mut at: usize, words: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    while let Some(&byte) = line.get(at) {
        at = match byte {
            b'"' => return closed(line, double_quoted(line, at + 1, words)?),
            b'\'' => return closed(line, single_quoted(line, at + 1, words)?),
            _ if ends_word(byte) => break,
            _ => {
                words.push(byte);
                at + 1
            }
        };
    }
    Ok(at)
}

/// `at`, the offset after a closing quote, if the word may end there.
fn closed(line: &[u8], at: usize) -> Result<usize, Unbalanced> {
    if line.get(at).is_none_or(|&byte| is_space(byte)) { Ok(at) } else { Err(Unbalanced) }
}

fn double_quoted(line: &[u8], mut at: usize, words: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        let (byte, length) = match line.get(at..).unwrap_or(&[]) {
            [b'"', ..] => return Ok(at + 1),
            [b'\\', b'x', high, low, ..] if is_hex(*high) && is_hex(*low) => {
                (hex(*high) * 16 + hex(*low), 4)
            }
            [b'\\', escaped, ..] => (unescape(*escaped), 2),
            [byte, ..] => (*byte, 1),
            [] => return Err(Unbalanced),
        };
        words.push(byte);
        at += length;
    }
}

fn single_quoted(line: &[u8], mut at: usize, words: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        let (byte, length) = match line.get(at..).unwrap_or(&[]) {
            [b'\'', ..] => return Ok(at + 1),
            [b'\\', b'\'', ..] => (b'\'', 2),
            [byte, ..] => (*byte, 1),
            [] => return Err(Unbalanced),
        };
        words.push(byte);
        at += length;
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

/// The value of a hexadecimal digit.
fn hex(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

/// Where the next word starts at or after `at`.
fn next_word(line: &[u8], at: usize) -> Option<usize> {
    (at..line.len()).find(|&i| !is_space(line[i]))
}

/// What is skipped before a word: C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// What ends a word outside quotes. Vertical tab and form feed don't, as in Redis.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[expect(clippy::cast_possible_truncation, reason = "a line is shorter than LINE_BYTES_MAX")]
fn range(start: usize, end: usize) -> ArgRange {
    ArgRange { start: start as u32, length: (end - start) as u32 }
}
