//! RESP requests: multi-bulk and inline, split at any byte.
//!
//! A [`Parser`] belongs to one connection and holds no bytes: it remembers how far into the current
//! request it got and where the arguments lie. Its caller keeps the bytes, appends what arrives and
//! calls again. A length is checked against [`Limits`] as soon as its line is whole, before anyone
//! reserves memory for what it declares.
//!
//! What is accepted and how an error reads is Redis 7.0's, with two differences: a line that is too
//! long is refused however it was cut into reads, and a zero byte is a byte like any other (Redis
//! never finds the end of a line that holds one). As in Redis, the byte after a `\r` and the two
//! bytes after an argument are skipped without a look.
//!
//! Protocol: <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use memchr::memchr;

use crate::limits;
use crate::protocol::Args;
use crate::protocol::args::ArgRange;
use crate::protocol::inline;

/// Most bytes of one request. Redis closes a client whose query buffer outgrows
/// `client-query-buffer-limit`, 1 GiB by default.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// A parser that is shrunk keeps room for this many arguments.
const RANGES_KEPT: usize = 16;

const _: () = assert!(REQUEST_BYTES_MAX <= u32::MAX as usize, "ranges are 32 bits wide");
const _: () = assert!(limits::BULK_BYTES_MAX < REQUEST_BYTES_MAX);
// What a record of the log has room for.
const _: () = assert!(REQUEST_BYTES_MAX <= limits::TRANSACTION_BYTES_MAX);

/// What a connection may send in one request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most arguments.
    pub args_max: usize,
    /// Longest argument, in bytes.
    pub bulk_bytes_max: usize,
    /// Longest inline request or length line, in bytes.
    pub line_bytes_max: usize,
    /// Whether the client has authenticated: decides which error a length too great gets.
    pub authenticated: bool,
}

impl Limits {
    /// What a client may send that has authenticated or needs no password.
    pub const fn authenticated() -> Self {
        Self {
            args_max: limits::ARGS_MAX,
            bulk_bytes_max: limits::BULK_BYTES_MAX,
            line_bytes_max: limits::LINE_BYTES_MAX,
            authenticated: true,
        }
    }

    /// What a client may send that has yet to authenticate.
    pub const fn before_auth() -> Self {
        Self {
            args_max: limits::ARGS_MAX_BEFORE_AUTH,
            bulk_bytes_max: limits::BULK_BYTES_MAX_BEFORE_AUTH,
            line_bytes_max: limits::LINE_BYTES_MAX,
            authenticated: false,
        }
    }
}

/// What is likely the first key of the request that `input` begins with: its second argument, if that is
/// whole and the request is not an inline one. For who wants to look ahead; the parser decides.
#[inline]
pub fn likely_key(input: &[u8]) -> Option<&[u8]> {
    let mut at = short_line(b'*', input)?.end;
    // Six digits each: the sums are small.
    let name = short_line(b'$', &input[at..])?;
    at += name.end + name.value + CRLF_BYTES;
    let key = short_line(b'$', input.get(at..)?)?;
    at += key.end;
    input.get(at..at + key.value)
}

/// Appends to `ranges` where the arguments of the request that `input` begins with lie, if it is like most: few
/// arguments, all of it there, nothing about it to refuse. Answers how many bytes it takes. What `None` is for is not told:
/// [`Parser::parse`] knows.
#[inline]
pub fn usual_request(input: &[u8], limits: &Limits, ranges: &mut Vec<ArgRange>) -> Option<usize> {
    let Line { value: count, end: mut at } = short_line(b'*', input)?;
    if count == 0 || count > USUAL_ARGS_MAX.min(limits.args_max) {
        return None;
    }
    let before = ranges.len();
    for _ in 0..count {
        let Some((range, end)) = usual_argument(input, at, limits) else {
            ranges.truncate(before);
            return None;
        };
        ranges.push(range);
        at = end;
    }
    Some(at)
}

/// Where the argument lies whose length line is at offset `at`, and the offset behind it.
#[inline]
fn usual_argument(input: &[u8], at: usize, limits: &Limits) -> Option<(ArgRange, usize)> {
    let Line { value: length, end } = short_line(b'$', input.get(at..)?)?;
    let (start, end) = (at + end, at + end + length + CRLF_BYTES);
    (end <= input.len() && length <= limits.bulk_bytes_max).then(|| (range(start, length), end))
}

/// How far a call of [`Parser::parse`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole request: its arguments are in [`Parser::args`].
    Request {
        /// Bytes it takes from the start of the input.
        consumed: usize,
    },
    /// An empty line, `*0` or `*-1`: nothing to do, nothing to answer.
    Nothing {
        /// Bytes to skip from the start of the input.
        consumed: usize,
    },
    /// More bytes are needed.
    Incomplete {
        /// Bytes, from the start of the request, that are needed before the parser can go on; 0 if
        /// that is not known yet.
        total_hint: usize,
    },
}

/// A client broke the protocol. `Display` is the text after `-ERR `; the connection is then closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// An inline request longer than a line may be.
    #[error("Protocol error: too big inline request")]
    InlineTooBig,
    /// A quote is not closed, or a closing quote is followed by something else than a space.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// A `*` line longer than a line may be.
    #[error("Protocol error: too big mbulk count string")]
    CountLineTooBig,
    /// The number of arguments is no number or too great.
    #[error("Protocol error: invalid multibulk length")]
    InvalidCount,
    /// The number of arguments is too great for a client that has not authenticated.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedCount,
    /// A `$` line longer than a line may be.
    #[error("Protocol error: too big bulk count string")]
    BulkLineTooBig,
    /// The line of an argument's length starts with another byte than `$`.
    #[error("Protocol error: expected '$', got '{}'", printable(.0))]
    ExpectedBulk(u8),
    /// The length of an argument is no number, negative or too great.
    #[error("Protocol error: invalid bulk length")]
    InvalidBulkLength,
    /// The length of an argument is too great for a client that has not authenticated.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// All arguments together are longer than [`REQUEST_BYTES_MAX`].
    #[error("Protocol error: too big request")]
    RequestTooBig,
}

/// A line break would end the error's own line: Redis shows a space for it.
fn printable(byte: &u8) -> char {
    match byte {
        b'\r' | b'\n' => ' ',
        &byte => char::from(byte),
    }
}

/// Resumable parser of one connection's requests. Holds no bytes, only how far it got.
///
/// ```text
/// request   *3\r\n $3\r\nSET\r\n $3\r\nkey\r\n $5\r\nva
///                                          ^position
///           |-- ranges: SET, key --------| remaining = 1
/// ```
#[derive(Debug, Default)]
pub struct Parser {
    /// Arguments found so far; in an inline request with quotes, relative to `unquoted`.
    ranges: Vec<ArgRange>,
    /// Arguments still to come; 0 while the first line of a request is not whole.
    remaining: usize,
    /// Offset of the first byte that is not part of an argument or line already taken.
    position: usize,
    /// Bytes after `position` that hold no end of line.
    searched: usize,
    /// Arguments of an inline request with quotes, quotes and escapes resolved.
    unquoted: Vec<u8>,
    /// Whether `ranges` are relative to `unquoted`.
    is_unquoted: bool,
}

impl Parser {
    /// Parses the request at the start of `input`.
    ///
    /// After [`Parsed::Incomplete`], call again with the same bytes and more behind them: the parser
    /// goes on where it stopped. After an error the connection is of no more use.
    ///
    /// # Errors
    /// When the bytes can't be a request, or not one within `limits`.
    #[inline]
    pub fn parse(&mut self, input: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        if self.remaining == 0 {
            self.ranges.clear();
            self.is_unquoted = false;
            match input.first() {
                None => return Ok(Parsed::Incomplete { total_hint: 0 }),
                Some(b'*') => match self.count_line(input, limits)? {
                    None => return Ok(Parsed::Incomplete { total_hint: 0 }),
                    Some(Line { value: 0, end }) => {
                        self.start_over();
                        return Ok(Parsed::Nothing { consumed: end });
                    }
                    Some(Line { value, end }) => {
                        self.remaining = value;
                        self.position = end;
                        self.searched = 0;
                    }
                },
                Some(_) => return self.inline_request(input, limits),
            }
        }
        self.bulks(input, limits)
    }

    /// The arguments of the request that the last call of [`Parser::parse`] completed; `input` is what
    /// it was given.
    #[inline]
    pub fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        Args::new(if self.is_unquoted { &self.unquoted } else { input }, &self.ranges)
    }

    /// Where the arguments of the completed request lie. Use [`Parser::args`] unless the request is
    /// known to hold no quotes.
    pub fn ranges(&self) -> &[ArgRange] {
        &self.ranges
    }

    /// Whether nothing of a request has been seen yet.
    pub fn is_idle(&self) -> bool {
        self.remaining == 0 && self.searched == 0
    }

    /// Bytes of memory that it holds for the arguments found.
    pub fn memory_bytes(&self) -> usize {
        self.ranges.capacity() * size_of::<ArgRange>() + self.unquoted.capacity()
    }

    /// Gives back memory that a large request left behind. The arguments of the last request are
    /// gone if the parser is idle.
    pub fn shrink(&mut self) {
        if self.is_idle() {
            self.ranges.clear();
            self.ranges.shrink_to(RANGES_KEPT);
            self.unquoted = Vec::new();
            self.is_unquoted = false;
        }
    }

    /// The arguments after the count, as many as are there.
    fn bulks(&mut self, input: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        while self.remaining > 0 {
            let Some(Line { value: length, end: start }) = self.bulk_line(input, limits)? else {
                return Ok(Parsed::Incomplete { total_hint: 0 });
            };
            let end = start + length + CRLF_BYTES;
            if end > REQUEST_BYTES_MAX {
                return Err(ProtocolError::RequestTooBig);
            }
            if end > input.len() {
                // `position` stays before the length line, which is short: it is read again.
                return Ok(Parsed::Incomplete { total_hint: end });
            }
            self.ranges.push(range(start, length));
            self.remaining -= 1;
            self.position = end;
            self.searched = 0;
        }
        let consumed = self.position;
        self.start_over();
        Ok(Parsed::Request { consumed })
    }

    /// The `*count` line at the start of `input`; a negative count reads as 0.
    #[inline]
    fn count_line(&mut self, input: &[u8], limits: &Limits) -> Result<Option<Line>, ProtocolError> {
        let line = match short_line(b'*', input) {
            Some(line) => line,
            None => {
                let too_big = ProtocolError::CountLineTooBig;
                let Some(end) = self.find(b'\r', input, limits, too_big)? else { return Ok(None) };
                let count = decimal(&input[1..end]).ok_or(ProtocolError::InvalidCount)?;
                let value = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
                Line { value, end: end + CRLF_BYTES }
            }
        };
        if line.value > limits.args_max {
            return Err(if limits.authenticated || line.value > limits::ARGS_MAX {
                ProtocolError::InvalidCount
            } else {
                ProtocolError::UnauthenticatedCount
            });
        }
        Ok(Some(line))
    }

    /// The `$length` line at `position`.
    #[inline]
    fn bulk_line(&mut self, input: &[u8], limits: &Limits) -> Result<Option<Line>, ProtocolError> {
        let start = self.position;
        let line = match short_line(b'$', &input[start..]) {
            Some(Line { value, end }) => Line { value, end: start + end },
            None => {
                let too_big = ProtocolError::BulkLineTooBig;
                let Some(end) = self.find(b'\r', input, limits, too_big)? else { return Ok(None) };
                if input[start] != b'$' {
                    return Err(ProtocolError::ExpectedBulk(input[start]));
                }
                let value = decimal(&input[start + 1..end])
                    .and_then(|length| usize::try_from(length).ok())
                    .ok_or(ProtocolError::InvalidBulkLength)?;
                Line { value, end: end + CRLF_BYTES }
            }
        };
        if line.value > limits.bulk_bytes_max {
            return Err(if limits.authenticated || line.value > limits::BULK_BYTES_MAX {
                ProtocolError::InvalidBulkLength
            } else {
                ProtocolError::UnauthenticatedBulkLength
            });
        }
        Ok(Some(line))
    }

    /// A request in words, as typed into a terminal.
    #[cold]
    fn inline_request(&mut self, input: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        let too_big = ProtocolError::InlineTooBig;
        let Some(end) = self.find(b'\n', input, limits, too_big)? else {
            return Ok(Parsed::Incomplete { total_hint: 0 });
        };
        self.start_over();
        let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
        self.is_unquoted = inline::has_quotes(line);
        if self.is_unquoted {
            inline::split_quoted(line, &mut self.ranges, &mut self.unquoted)
                .map_err(|inline::Unbalanced| ProtocolError::UnbalancedQuotes)?;
        } else {
            inline::split_plain(line, &mut self.ranges);
        }
        let consumed = end + 1;
        Ok(match self.ranges.is_empty() {
            true => Parsed::Nothing { consumed },
            false => Parsed::Request { consumed },
        })
    }

    /// The offset of the byte `wanted` that ends the line at `position`, once it is there; for a `\r`,
    /// once the byte behind it is there too.
    fn find(
        &mut self,
        wanted: u8,
        input: &[u8],
        limits: &Limits,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let from = self.position + self.searched;
        let to = input.len().min(self.position + limits.line_bytes_max + 1);
        let found = memchr(wanted, &input[from..to]).map(|offset| from + offset);
        self.searched = found.unwrap_or(to) - self.position;
        match found {
            Some(end) if wanted == b'\r' && end + 1 == input.len() => Ok(None),
            Some(end) => Ok(Some(end)),
            None if self.searched > limits.line_bytes_max => Err(too_big),
            None => Ok(None),
        }
    }

    /// Forgets how far it got, but not the arguments: the next request starts at offset 0.
    pub fn start_over(&mut self) {
        self.remaining = 0;
        self.position = 0;
        self.searched = 0;
    }
}

/// A length line: its number and the offset of what follows it.
#[derive(Clone, Copy)]
struct Line {
    value: usize,
    end: usize,
}

const CRLF_BYTES: usize = 2;

/// Most arguments of a [usual request](usual_request), whose lengths have [`SHORT_DIGITS`] at most.
const USUAL_ARGS_MAX: usize = 8;
const _: () = assert!(USUAL_ARGS_MAX * 10_000_000 < REQUEST_BYTES_MAX);

/// Nearly every length has fewer digits than this; [`decimal`] reads the others.
const SHORT_DIGITS: usize = 6;

/// The line at the start of `bytes` if it is whole and plain: `marker`, up to [`SHORT_DIGITS`] digits, a
/// `\r` and a byte. Anything else gives `None` and is looked at again by those who know the errors.
#[inline]
fn short_line(marker: u8, bytes: &[u8]) -> Option<Line> {
    // Nearly every number has one digit or two.
    if let Some(line) = digit_line(marker, bytes) {
        return Some(line);
    }
    match *bytes {
        [first, tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', _, ..] if first == marker => {
            let value = 10 * usize::from(tens - b'0') + usize::from(ones - b'0');
            Some(Line { value, end: 3 + CRLF_BYTES })
        }
        _ => longer_line(marker, bytes),
    }
}

/// The same for a line of one digit and a whole line break: most lines by far, recognised at a glance.
#[inline]
fn digit_line(marker: u8, bytes: &[u8]) -> Option<Line> {
    const DIGIT: u32 = 0xff00;
    let word = u32::from_le_bytes(*bytes.first_chunk()?);
    let value = (word >> 8 & 0xff).wrapping_sub(u32::from(b'0'));
    let is_one = word & !DIGIT == u32::from_le_bytes([marker, 0, b'\r', b'\n']) && value < 10;
    is_one.then_some(Line { value: value as usize, end: 2 + CRLF_BYTES })
}

/// The same for a line with more digits.
#[inline(never)]
fn longer_line(marker: u8, bytes: &[u8]) -> Option<Line> {
    if *bytes.first()? != marker {
        return None;
    }
    let mut value = digit(*bytes.get(1)?)?;
    for at in 2..2 + SHORT_DIGITS {
        let byte = *bytes.get(at)?;
        if byte == b'\r' {
            return (at + 1 < bytes.len()).then_some(Line { value, end: at + CRLF_BYTES });
        }
        if value == 0 {
            return None;
        }
        value = value * 10 + digit(byte)?;
    }
    None
}

#[inline]
fn digit(byte: u8) -> Option<usize> {
    let digit = byte.wrapping_sub(b'0');
    (digit < 10).then_some(usize::from(digit))
}

/// A number as Redis reads one: no sign but `-`, no leading zero, no `-0`, no space.
fn decimal(digits: &[u8]) -> Option<i64> {
    let magnitude = digits.strip_prefix(b"-").unwrap_or(digits);
    let is_canonical = match magnitude {
        b"0" => magnitude.len() == digits.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    // Canonical digits are ASCII; what is left to fail is the range.
    is_canonical.then(|| str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[expect(clippy::cast_possible_truncation, reason = "both are below REQUEST_BYTES_MAX")]
fn range(start: usize, length: usize) -> ArgRange {
    ArgRange { start: start as u32, length: length as u32 }
}
