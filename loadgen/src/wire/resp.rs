//! Cuts received bytes into replies: RESP2 and RESP3, nested to any depth, attributes skipped.
//!
//! A reply that came in pieces is gone on with where the last piece ended, not read again from its start,
//! however large it is.

use memchr::memchr;
use ringmain::protocol::client::{Element, NotAReply, read_element};

use crate::work::Reply;

/// Longest line taken from a server: a simple string, an error or a length.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Most elements that one reply may have.
const ELEMENTS_MAX: u64 = 1 << 32;

/// One reply and the bytes it took, which are more than its own if attributes precede it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Framed<'a> {
    pub(crate) reply: Reply<'a>,
    pub(crate) consumed: usize,
}

impl Framed<'_> {
    /// Whether the server sent it unasked.
    pub(crate) fn is_push(&self) -> bool {
        matches!(self.reply.first, Element::Aggregate { marker: b'>', .. })
    }
}

/// How far the reply at the start of the input has been read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Framer {
    /// Bytes read.
    at: usize,
    /// Where the reply itself starts, behind its attributes.
    start: usize,
    /// Elements that are still to come; 0 if nothing was read yet.
    left: u64,
    /// Whether the reply itself was reached.
    is_inside: bool,
    /// It makes no sense to look before the input is as long as this.
    needed: usize,
}

impl Framer {
    /// The reply at the start of `input`, once it is whole; then forgets it. Until then `input` has to
    /// stay, and grow.
    ///
    /// # Errors
    /// When no reply starts so: what follows can't be told apart any more.
    // Inlined, as is what it calls, so that the reply stays in registers: as a value returned through
    // memory it costs more than to read it.
    #[inline(always)]
    pub(crate) fn next<'a>(&mut self, input: &'a [u8]) -> Result<Option<Framed<'a>>, NotAReply> {
        if self.at == 0
            && let Some((first, consumed)) = usual(input)
        {
            self.needed = 0;
            let reply = Reply::resp(first, &input[..consumed]);
            return Ok(Some(Framed { reply, consumed }));
        }
        self.unusual(input)
    }

    #[inline(never)]
    fn unusual<'a>(&mut self, input: &'a [u8]) -> Result<Option<Framed<'a>>, NotAReply> {
        if input.len() < self.needed || input.is_empty() {
            return Ok(None);
        }
        self.left = self.left.max(1);
        while self.left > 0 {
            if self.left == 1 && !self.is_inside {
                self.start = self.at;
            }
            let rest = &input[self.at..];
            let Some((count, length)) = elements_and_bytes(rest)? else {
                self.needed = self.at + needed(rest)?;
                return Ok(None);
            };
            self.at += length;
            self.left = self
                .left
                .checked_add(count)
                .filter(|&left| left <= ELEMENTS_MAX)
                .ok_or(NotAReply { first: rest[0], line_bytes: length })?;
            if rest[0] != b'|' {
                self.is_inside |= self.left - count == 1;
                self.left -= 1;
            }
        }
        let (start, consumed) = (self.start, self.at);
        *self = Self::default();
        let bytes = &input[start..consumed];
        let Some((first, _)) = read_element(bytes)? else { return Ok(None) };
        Ok(Some(Framed { reply: Reply::resp(first, bytes), consumed }))
    }
}

/// What nearly every reply is, if it is whole: a value, no value, a short number or `+OK`. Anything else,
/// right or wrong, is left to [`read_element`].
#[inline(always)]
fn usual(input: &[u8]) -> Option<(Element<'_>, usize)> {
    /// Digits that fit any `usize` of 32 bits.
    const DIGITS_MAX: usize = 9;
    match *input {
        [b'+', b'O', b'K', b'\r', b'\n', ..] => Some((Element::Simple(&input[1..3]), 5)),
        [b'$', b'-', b'1', b'\r', b'\n', ..] | [b'_', b'\r', b'\n', ..] => {
            Some((Element::Null, if input[0] == b'_' { 3 } else { 5 }))
        }
        [marker @ (b'$' | b':'), ref rest @ ..] => {
            let mut number = 0_usize;
            let mut digits = 0;
            while let Some(digit) = rest.get(digits).map(|byte| byte.wrapping_sub(b'0'))
                && digit < 10
                && digits < DIGITS_MAX
            {
                number = number * 10 + usize::from(digit);
                digits += 1;
            }
            let start = digits + 3;
            if digits == 0 || rest.get(digits..digits + 2)? != b"\r\n" {
                return None;
            }
            if marker == b':' {
                return Some((Element::Integer(i64::try_from(number).ok()?), start));
            }
            let end = start + number;
            (input.get(end..end + 2)? == b"\r\n")
                .then(|| (Element::Bulk(&input[start..end]), end + 2))
        }
        _ => None,
    }
}

/// How many more elements the one at the start of `bytes` announces, and the bytes of its own.
fn elements_and_bytes(bytes: &[u8]) -> Result<Option<(u64, usize)>, NotAReply> {
    if bytes.first() == Some(&b'|') {
        let Some(end) = memchr(b'\n', bytes) else { return Ok(None) };
        let no_reply = NotAReply { first: b'|', line_bytes: end + 1 };
        let digits = bytes[1..=end].strip_suffix(b"\r\n").and_then(|d| str::from_utf8(d).ok());
        let pairs: u32 = digits.and_then(|digits| digits.parse().ok()).ok_or(no_reply)?;
        return Ok(Some((2 * u64::from(pairs), end + 1)));
    }
    Ok(read_element(bytes)?.map(|(element, length)| match element {
        Element::Aggregate { count, .. } => (count as u64, length),
        _ => (0, length),
    }))
}

/// The least length at which the element that `bytes` starts can be whole.
fn needed(bytes: &[u8]) -> Result<usize, NotAReply> {
    let no_reply = |line_bytes| NotAReply { first: bytes[0], line_bytes };
    let Some(end) = memchr(b'\n', bytes) else {
        return if bytes.len() > LINE_BYTES_MAX { Err(no_reply(bytes.len())) } else { Ok(0) };
    };
    // A line that ends otherwise than in CRLF would be waited on for ever.
    let line = bytes[..end].strip_suffix(b"\r").ok_or(no_reply(end + 1))?;
    let digits = line.get(1..).and_then(|digits| str::from_utf8(digits).ok()).unwrap_or_default();
    let length: usize = digits.parse().map_err(|_| no_reply(end + 1))?;
    Ok((end + 3).saturating_add(length))
}

#[cfg(test)]
mod tests {
    use super::{Framer, LINE_BYTES_MAX, usual};
    use ringmain::protocol::client::{Element, read_element};

    /// Replies as servers write them: bytes, bytes of attributes at the start, the first element.
    const REPLIES: [(&[u8], usize, Element<'_>); 14] = [
        (b"+OK\r\n", 0, Element::Simple(b"OK")),
        (b"-ERR no\r\n", 0, Element::Error(b"ERR no")),
        (b":-7\r\n", 0, Element::Integer(-7)),
        (b"$-1\r\n", 0, Element::Null),
        (b"$0\r\n\r\n", 0, Element::Bulk(b"")),
        (b"$4\r\na\r\nb\r\n", 0, Element::Bulk(b"a\r\nb")),
        (b"*0\r\n", 0, Element::Aggregate { marker: b'*', count: 0 }),
        (b"*2\r\n*2\r\n:1\r\n$1\r\nx\r\n*0\r\n", 0, Element::Aggregate { marker: b'*', count: 2 }),
        (
            b"%2\r\n+a\r\n~1\r\n_\r\n+b\r\n,1.5\r\n",
            0,
            Element::Aggregate { marker: b'%', count: 4 },
        ),
        (
            b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n",
            0,
            Element::Aggregate { marker: b'>', count: 2 },
        ),
        (b"=7\r\ntxt:abc\r\n", 0, Element::Bulk(b"txt:abc")),
        (b"!5\r\nERR x\r\n", 0, Element::Error(b"ERR x")),
        (b"|1\r\n+ttl\r\n*2\r\n:1\r\n:2\r\n#t\r\n", 22, Element::Boolean(true)),
        (
            b"|1\r\n+a\r\n|1\r\n+x\r\n+y\r\n+b\r\n|1\r\n:1\r\n:2\r\n*1\r\n|1\r\n+c\r\n+d\r\n(9\r\n",
            36,
            Element::Aggregate { marker: b'*', count: 1 },
        ),
    ];

    #[test]
    fn replies_arrive_whole_and_in_any_two_pieces() {
        for (bytes, attributes, first) in REPLIES {
            let more = [bytes, b"+next"].concat();
            for cut in 0..=bytes.len() {
                let mut framer = Framer::default();
                if cut < bytes.len() {
                    assert!(matches!(framer.next(&more[..cut]), Ok(None)), "{bytes:?} at {cut}");
                }
                let framed = framer.next(&more).expect("a reply").expect("whole");
                assert_eq!(framed.consumed, bytes.len());
                assert_eq!(framed.reply.first, first);
                assert_eq!(framed.reply.bytes, &bytes[attributes..]);
            }
        }
    }

    #[test]
    fn the_short_way_reads_as_the_long_one_does() {
        let mut seen = 0;
        for text in [
            "+OK\r\n",
            "+OK!\r\n",
            "$-1\r\n",
            "$-2\r\n",
            "_\r\n",
            "_x\r\n",
            ":0\r\n",
            ":999999999\r\n",
            ":9999999999\r\n",
            ":-1\r\n",
            ":\r\n",
            "$0\r\n\r\n",
            "$3\r\nabc\r\n",
            "$3\r\nabcd\r\n",
            "$3\r\nab\r\n",
            "$03\r\nabc\r\n",
            "$\r\n\r\n",
            "$3\rabc\r\n",
            "#t\r\n",
            "*0\r\n",
            "",
        ] {
            for cut in 0..=text.len() {
                let input = &text.as_bytes()[..cut];
                if let Some(short) = usual(input) {
                    assert_eq!(read_element(input), Ok(Some(short)), "{text:?} at {cut}");
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, 8);
    }

    #[test]
    fn replies_arrive_byte_by_byte_one_after_another() {
        let stream: Vec<u8> =
            REPLIES.iter().flat_map(|(bytes, ..)| bytes.iter().copied()).collect();
        let (mut framer, mut start, mut seen) = (Framer::default(), 0, 0);
        for end in 1..=stream.len() {
            if let Some(framed) = framer.next(&stream[start..end]).expect("replies") {
                assert_eq!(framed.reply.first, REPLIES[seen].2);
                assert_eq!(framed.is_push(), seen == 9);
                start += framed.consumed;
                seen += 1;
            }
        }
        assert_eq!((start, seen), (stream.len(), REPLIES.len()));
    }

    #[test]
    fn what_is_no_reply_is_refused_and_not_waited_for() {
        let endless = [b"+", &b"x".repeat(LINE_BYTES_MAX)[..]].concat();
        for bytes in [
            &b"hello\r\n"[..],
            b"HTTP/1.1 400 Bad Request\r\n",
            b"+OK\n",
            b"\r\n",
            b"*1\r\n+a\n",
            b"$x\r\n",
            b"|x\r\n",
            b"*4294967297\r\n",
            &endless,
        ] {
            assert!(
                Framer::default().next(bytes).is_err(),
                "{:?}",
                bytes.escape_ascii().to_string()
            );
        }
    }
}
