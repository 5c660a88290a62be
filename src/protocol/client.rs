//! The client's side of RESP: requests to bytes, bytes to replies. For the load generator, the benches
//! and the tests; the server itself only answers.

use memchr::memchr;

/// One piece of a reply: a value, or the head of an aggregate whose elements follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element<'a> {
    /// `+text`.
    Simple(&'a [u8]),
    /// `-text`, or RESP3's `!length text`.
    Error(&'a [u8]),
    /// `:value`.
    Integer(i64),
    /// `$length bytes`, or RESP3's `=length txt:text` (its format included).
    Bulk(&'a [u8]),
    /// `$-1`, `*-1` or RESP3's `_`.
    Null,
    /// RESP3's `#t` and `#f`.
    Boolean(bool),
    /// RESP3's `,value`.
    Double(f64),
    /// RESP3's `(digits`.
    BigNumber(&'a [u8]),
    /// An array, map, set or push message.
    Aggregate {
        /// `*`, `%`, `~` or `>`.
        marker: u8,
        /// Elements that follow: twice the pairs of a map.
        count: usize,
    },
}

/// Bytes that are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent {line_bytes} bytes that are no reply, starting with byte {first:#04x}")]
pub struct NotAReply {
    /// The byte that should name a type.
    pub first: u8,
    /// Bytes of the line that it starts.
    pub line_bytes: usize,
}

/// Longest bulk string taken from a server, in bytes.
const BULK_BYTES_MAX: usize = crate::limits::BULK_BYTES_MAX;

/// Appends a request as any client library writes it.
pub fn write_request(out: &mut Vec<u8>, args: &[&[u8]]) {
    write_head(out, b'*', args.len());
    for arg in args {
        write_head(out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the head of an array (`*`) or of a bulk string (`$`).
pub fn write_head(out: &mut Vec<u8>, marker: u8, number: usize) {
    out.push(marker);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The element at the start of `bytes` and how many bytes it takes, once it is whole.
///
/// # Errors
/// When no RESP2 or RESP3 reply starts so. Attributes and streamed aggregates, which Redis never
/// sends unasked, are not known here.
pub fn read_element(bytes: &[u8]) -> Result<Option<(Element<'_>, usize)>, NotAReply> {
    let Some(end) = memchr(b'\n', bytes).filter(|&end| end > 1 && bytes[end - 1] == b'\r') else {
        return Ok(None);
    };
    let no_reply = NotAReply { first: bytes[0], line_bytes: end + 1 };
    let line = &bytes[1..end - 1];
    let element = match bytes[0] {
        b'+' => Some(Element::Simple(line)),
        b'-' => Some(Element::Error(line)),
        b'(' => Some(Element::BigNumber(line)),
        b':' => number(line).map(Element::Integer),
        b',' => number(line).map(Element::Double),
        b'#' => match line {
            b"t" => Some(Element::Boolean(true)),
            b"f" => Some(Element::Boolean(false)),
            _ => None,
        },
        b'_' => line.is_empty().then_some(Element::Null),
        b'$' | b'*' if line == b"-1" => Some(Element::Null),
        b'$' | b'=' | b'!' => return bulk(bytes, end + 1, number(line)).ok_or(no_reply),
        marker @ (b'*' | b'~' | b'>') => {
            number(line).map(|count| Element::Aggregate { marker, count })
        }
        marker @ b'%' => number::<usize>(line)
            .and_then(|pairs| pairs.checked_mul(2))
            .map(|count| Element::Aggregate { marker, count }),
        _ => None,
    };
    element.map(|element| Some((element, end + 1))).ok_or(no_reply)
}

/// How many bytes the whole reply at the start of `bytes` takes, elements of aggregates included, once
/// it is whole.
///
/// # Errors
/// As [`read_element`].
pub fn reply_bytes(bytes: &[u8]) -> Result<Option<usize>, NotAReply> {
    let mut at = 0;
    let mut pending = 1_usize;
    while pending > 0 {
        let Some((element, length)) = read_element(&bytes[at..])? else { return Ok(None) };
        at += length;
        pending -= 1;
        if let Element::Aggregate { count, .. } = element {
            pending = pending.saturating_add(count);
        }
    }
    Ok(Some(at))
}

/// The bulk string or bulk error of `length` bytes that follow offset `start`; the outer `None` is a
/// length that can't be.
#[expect(clippy::option_option, reason = "wrong, not whole and whole are three outcomes")]
fn bulk(bytes: &[u8], start: usize, length: Option<usize>) -> Option<Option<(Element<'_>, usize)>> {
    let end = start + length.filter(|&length| length <= BULK_BYTES_MAX)?;
    let Some(after) = bytes.get(end..end + 2) else { return Some(None) };
    let text = &bytes[start..end];
    let element = if bytes[0] == b'!' { Element::Error(text) } else { Element::Bulk(text) };
    (after == b"\r\n").then_some(Some((element, end + 2)))
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Element, NotAReply, read_element, reply_bytes, write_request};

    #[test]
    fn requests_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        write_request(&mut out, &[b"SET", b"k", b""]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
    }

    #[test]
    fn elements() {
        for (bytes, element) in [
            (&b"+OK\r\n"[..], Element::Simple(b"OK")),
            (b"+\r\n", Element::Simple(b"")),
            (b"-ERR no\r\n", Element::Error(b"ERR no")),
            (b"!3\r\nERR\r\n", Element::Error(b"ERR")),
            (b":-12\r\n", Element::Integer(-12)),
            (b"$0\r\n\r\n", Element::Bulk(b"")),
            (b"$4\r\na\r\nb\r\n", Element::Bulk(b"a\r\nb")),
            (b"=5\r\ntxt:a\r\n", Element::Bulk(b"txt:a")),
            (b"$-1\r\n", Element::Null),
            (b"*-1\r\n", Element::Null),
            (b"_\r\n", Element::Null),
            (b"#t\r\n", Element::Boolean(true)),
            (b",0.5\r\n", Element::Double(0.5)),
            (b",-inf\r\n", Element::Double(f64::NEG_INFINITY)),
            (b"(123\r\n", Element::BigNumber(b"123")),
            (b"*3\r\n", Element::Aggregate { marker: b'*', count: 3 }),
            (b"~3\r\n", Element::Aggregate { marker: b'~', count: 3 }),
            (b">3\r\n", Element::Aggregate { marker: b'>', count: 3 }),
            (b"%3\r\n", Element::Aggregate { marker: b'%', count: 6 }),
        ] {
            let more = [bytes, b"+more"].concat();
            assert_eq!(read_element(&more), Ok(Some((element, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(read_element(&bytes[..cut]), Ok(None), "{bytes:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn whole_replies() {
        let reply = b"*2\r\n%1\r\n+a\r\n*0\r\n$3\r\nxyz\r\n";
        assert_eq!(reply_bytes(&[&reply[..], b"+next\r\n"].concat()), Ok(Some(reply.len())));
        for cut in 0..reply.len() {
            assert_eq!(reply_bytes(&reply[..cut]), Ok(None));
        }
    }

    #[test]
    fn what_is_no_reply() {
        for bytes in
            [&b"x\r\n"[..], b":x\r\n", b":\r\n", b"$-2\r\n", b"*-2\r\n", b"#x\r\n", b"_x\r\n"]
        {
            let error = NotAReply { first: bytes[0], line_bytes: bytes.len() };
            assert_eq!(read_element(bytes), Err(error));
        }
        assert!(read_element(b"$3\r\nabcxx").is_err());
        assert!(read_element(b"$99999999999999999999\r\n").is_err());
        assert!(read_element(b"%18446744073709551615\r\n").is_err());
    }
}
