//! Replies to bytes, in RESP2 or RESP3 as the connection chose with `HELLO`.
//!
//! Every reply is appended to the connection's output in one go: room for the whole of it is made
//! once, and a head is composed in a register-sized array and cut to its length, so that small
//! replies cost no call but the copy of their payload.

use crate::double::Text;

/// The protocol version a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Proto {
    /// RESP2, the default.
    #[default]
    Resp2,
    /// RESP3, after `HELLO 3`.
    Resp3,
}

/// Appends replies to a connection's output.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    proto: Proto,
}

const CRLF: &[u8; 2] = b"\r\n";

/// A marker, the digits of any 64-bit number, and a line break.
const HEAD_BYTES_MAX: usize = 24;

impl<'a> Reply<'a> {
    /// A writer that appends to `out` in the form `proto` asks for.
    pub fn new(out: &'a mut Vec<u8>, proto: Proto) -> Self {
        Self { out, proto }
    }

    /// The protocol version replies are written in.
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// Bytes of output so far, what was there before this writer included; for [`Reply::truncate`].
    #[expect(clippy::len_without_is_empty, reason = "a position in the output, not a container")]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Drops what was written after the output was `len` bytes long: an error replaces it.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// Whole replies that are bytes already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// `+text`; `text` holds no line break.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']), "a simple string is one line");
        self.line(b'+', text.as_bytes());
    }

    /// `-text`, where `text` starts with its code (`ERR …`); line breaks become spaces.
    pub fn error(&mut self, text: &str) {
        let start = self.out.len() + 1;
        self.line(b'-', text.as_bytes());
        for byte in &mut self.out[start..start + text.len()] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }

    /// `:value`.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        if let 0..=9 = value {
            self.head(b':', value.unsigned_abs());
        } else {
            self.line(b':', itoa::Buffer::new().format(value).as_bytes());
        }
    }

    /// `$length bytes`.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(HEAD_BYTES_MAX + bytes.len() + CRLF.len());
        self.head(b'$', bytes.len() as u64);
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(CRLF);
    }

    /// `$length`: the bytes, and a line break, follow by another way.
    pub fn bulk_head(&mut self, length: usize) {
        self.head(b'$', length as u64);
    }

    /// `_` in RESP3, `$-1` in RESP2.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.proto {
            Proto::Resp2 => b"$-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// `_` in RESP3, `*-1` in RESP2.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.proto {
            Proto::Resp2 => b"*-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// The head of an array of `count` elements, which the caller writes next.
    #[inline]
    pub fn array(&mut self, count: usize) {
        self.head(b'*', count as u64);
    }

    /// The head of a map of `pairs` keys and values: `%pairs` in RESP3, `*2·pairs` in RESP2.
    pub fn map(&mut self, pairs: usize) {
        match self.proto {
            Proto::Resp2 => self.head(b'*', 2 * pairs as u64),
            Proto::Resp3 => self.head(b'%', pairs as u64),
        }
    }

    /// The head of a set: `~count` in RESP3, `*count` in RESP2.
    pub fn set(&mut self, count: usize) {
        self.aggregate(b'~', count);
    }

    /// The head of a push message: `>count` in RESP3, `*count` in RESP2.
    pub fn push(&mut self, count: usize) {
        self.aggregate(b'>', count);
    }

    /// `#t` or `#f` in RESP3, `:1` or `:0` in RESP2.
    pub fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(match (self.proto, value) {
            (Proto::Resp2, true) => b":1\r\n",
            (Proto::Resp2, false) => b":0\r\n",
            (Proto::Resp3, true) => b"#t\r\n",
            (Proto::Resp3, false) => b"#f\r\n",
        });
    }

    /// `,value` in RESP3, the same digits as a bulk string in RESP2. The digits are those of C's
    /// `%.17g`, which Redis uses; `inf`, `-inf` and `nan` are spelled so.
    pub fn double(&mut self, value: f64) {
        let digits = Text::of(value);
        match self.proto {
            Proto::Resp2 => self.bulk(digits.as_bytes()),
            Proto::Resp3 => self.line(b',', digits.as_bytes()),
        }
    }

    /// `=length txt:text` in RESP3, a bulk string in RESP2.
    pub fn verbatim(&mut self, text: &str) {
        const FORMAT: &[u8] = b"txt:";
        match self.proto {
            Proto::Resp2 => self.bulk(text.as_bytes()),
            Proto::Resp3 => {
                self.head(b'=', (FORMAT.len() + text.len()) as u64);
                self.out.extend_from_slice(FORMAT);
                self.out.extend_from_slice(text.as_bytes());
                self.out.extend_from_slice(CRLF);
            }
        }
    }

    fn aggregate(&mut self, marker: u8, count: usize) {
        let marker = match self.proto {
            Proto::Resp2 => b'*',
            Proto::Resp3 => marker,
        };
        self.head(marker, count as u64);
    }

    /// `marker number` and a line break.
    #[inline]
    fn head(&mut self, marker: u8, number: u64) {
        // Appending an array of fixed size and cutting it is one store; a copy of variable length
        // would be a call.
        let (array, length) = match number {
            0..=9 => ([marker, digit(number), b'\r', b'\n', 0], 4),
            10..=99 => ([marker, digit(number / 10), digit(number % 10), b'\r', b'\n'], 5),
            _ => return self.line(marker, itoa::Buffer::new().format(number).as_bytes()),
        };
        let end = self.out.len() + length;
        self.out.extend_from_slice(&array);
        self.out.truncate(end);
    }

    /// `marker text` and a line break.
    fn line(&mut self, marker: u8, text: &[u8]) {
        self.out.reserve(1 + text.len() + CRLF.len());
        self.out.push(marker);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(CRLF);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "digits are below 10")]
fn digit(number: u64) -> u8 {
    b'0' + number as u8
}

#[cfg(test)]
mod tests {
    use super::{Proto, Reply};

    fn written(proto: Proto, write: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut out = b"before".to_vec();
        write(&mut Reply::new(&mut out, proto));
        let text = String::from_utf8(out).expect("what is written here is text");
        text.strip_prefix("before").expect("earlier output stays").to_owned()
    }

    #[track_caller]
    fn check(write: impl Fn(&mut Reply<'_>), resp2: &str, resp3: &str) {
        assert_eq!(written(Proto::Resp2, &write), resp2);
        assert_eq!(written(Proto::Resp3, &write), resp3);
    }

    #[track_caller]
    fn same(write: impl Fn(&mut Reply<'_>), both: &str) {
        check(write, both, both);
    }

    #[test]
    fn forms_that_both_versions_share() {
        same(|r| r.ok(), "+OK\r\n");
        same(|r| r.simple("PONG"), "+PONG\r\n");
        same(|r| r.error("ERR no such key"), "-ERR no such key\r\n");
        same(|r| r.error("ERR a\r\nb\n"), "-ERR a  b \r\n");
        same(|r| r.error(""), "-\r\n");
        for value in [0, 1, 9, 10, 99, 100, -1, 12_345, i64::MAX, i64::MIN] {
            same(|r| r.integer(value), &format!(":{value}\r\n"));
        }
        same(|r| r.bulk(b""), "$0\r\n\r\n");
        same(|r| r.bulk(b"\r\n"), "$2\r\n\r\n\r\n");
        for length in [1, 9, 10, 64, 99, 100, 101, 1000, 70_000] {
            let text = "x".repeat(length);
            same(|r| r.bulk(text.as_bytes()), &format!("${length}\r\n{text}\r\n"));
        }
        for count in [0, 1, 9, 10, 99, 100, 1_000_000] {
            same(|r| r.array(count), &format!("*{count}\r\n"));
        }
        same(|r| r.raw(b"+A\r\n:1\r\n"), "+A\r\n:1\r\n");
    }

    #[test]
    fn forms_that_differ() {
        // As `DEBUG PROTOCOL <type>` of Redis 7.0.15 answers after `HELLO 2` and `HELLO 3`.
        check(|r| r.null(), "$-1\r\n", "_\r\n");
        check(|r| r.null_array(), "*-1\r\n", "_\r\n");
        check(|r| r.map(3), "*6\r\n", "%3\r\n");
        check(|r| r.map(50), "*100\r\n", "%50\r\n");
        check(|r| r.set(3), "*3\r\n", "~3\r\n");
        check(|r| r.push(2), "*2\r\n", ">2\r\n");
        check(|r| r.boolean(true), ":1\r\n", "#t\r\n");
        check(|r| r.boolean(false), ":0\r\n", "#f\r\n");
        check(|r| r.double(3.25), "$4\r\n3.25\r\n", ",3.25\r\n");
        check(|r| r.double(f64::INFINITY), "$3\r\ninf\r\n", ",inf\r\n");
        check(|r| r.double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n");
        check(
            |r| r.verbatim("This is a verbatim\nstring"),
            "$25\r\nThis is a verbatim\nstring\r\n",
            "=29\r\ntxt:This is a verbatim\nstring\r\n",
        );
    }

    #[test]
    fn an_error_can_replace_what_was_written() {
        same(
            |r| {
                r.ok();
                let len = r.len();
                r.array(2);
                r.bulk(b"half");
                r.truncate(len);
                r.error("ERR no");
            },
            "+OK\r\n-ERR no\r\n",
        );
    }
}
