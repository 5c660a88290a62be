//! Replies as values, parsed strictly: a byte that RESP does not allow fails the test.

use std::fmt;

/// One reply, with its exact wire type.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// `+`
    Simple(String),
    /// `-`, the code included.
    Error(String),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    /// `*-1`
    NullArray,
    /// `_`
    Null,
    /// `*`
    Array(Vec<Value>),
    /// `%`
    Map(Vec<(Value, Value)>),
    /// `~`
    Set(Vec<Value>),
    /// `>`
    Push(Vec<Value>),
    /// `#`
    Boolean(bool),
    /// `,`, as written.
    Double(String),
    /// `=`, with its three-letter format in front: `txt:`.
    Verbatim(String),
}

impl Value {
    /// Parses one reply; `None` if `bytes` ends before it does. Also gives its length.
    ///
    /// # Panics
    /// If `bytes` is not RESP.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut at = 0;
        let value = parse_at(bytes, &mut at)?;
        Some((value, at))
    }

    /// A bulk string.
    pub(crate) fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    /// `+OK`.
    pub(crate) fn ok() -> Self {
        Self::Simple("OK".into())
    }

    /// Whether this is some null.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null | Self::NullBulk | Self::NullArray)
    }

    /// The integer.
    pub(crate) fn integer(&self) -> i64 {
        match self {
            Self::Integer(value) => *value,
            other => panic!("expected an integer, got {other:?}"),
        }
    }

    /// The text of a bulk, simple or verbatim string.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Simple(text) => text.clone(),
            Self::Verbatim(text) => text[4..].to_owned(),
            other => panic!("expected text, got {other:?}"),
        }
    }

    /// The elements of an array, set or push.
    pub(crate) fn elements(&self) -> &[Self] {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => items,
            other => panic!("expected an array, got {other:?}"),
        }
    }

    /// The pairs of a map, or of an array that stands for one in RESP2.
    pub(crate) fn pairs(&self) -> Vec<(Self, Self)> {
        match self {
            Self::Map(pairs) => pairs.clone(),
            Self::Array(items) if items.len().is_multiple_of(2) => {
                items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
            }
            other => panic!("expected a map, got {other:?}"),
        }
    }

    /// What a map holds under `name`.
    pub(crate) fn field(&self, name: &str) -> Self {
        let found = self.pairs().into_iter().find(|(key, _)| key.text() == name);
        found.unwrap_or_else(|| panic!("no {name} in {self:?}")).1
    }

    /// The text of an error, code included.
    pub(crate) fn error(&self) -> &str {
        match self {
            Self::Error(text) => text,
            other => panic!("expected an error, got {other:?}"),
        }
    }
}

fn parse_at(bytes: &[u8], at: &mut usize) -> Option<Value> {
    let line = line_at(bytes, at)?;
    let kind = *line.first().expect("a reply starts with its type");
    // An error may repeat bytes of the client's that are no text.
    let text = String::from_utf8_lossy(&line[1..]);
    let rest = text.as_ref();
    Some(match kind {
        b'+' => Value::Simple(rest.to_owned()),
        b'-' => Value::Error(rest.to_owned()),
        b':' => Value::Integer(rest.parse().expect("an integer")),
        b'$' if rest == "-1" => Value::NullBulk,
        b'$' => Value::Bulk(body_at(bytes, at, count(rest))?.to_vec()),
        b'=' => {
            let text = body_at(bytes, at, count(rest))?;
            assert_eq!(text.get(3), Some(&b':'), "a verbatim string names its format");
            Value::Verbatim(String::from_utf8(text.to_vec()).expect("verbatim text"))
        }
        b'*' if rest == "-1" => Value::NullArray,
        b'*' => Value::Array(many_at(bytes, at, count(rest))?),
        b'~' => Value::Set(many_at(bytes, at, count(rest))?),
        b'>' => Value::Push(many_at(bytes, at, count(rest))?),
        b'%' => {
            let flat = many_at(bytes, at, 2 * count(rest))?;
            let pairs = flat.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
            Value::Map(pairs.collect())
        }
        b'_' => {
            assert_eq!(rest, "", "a null carries nothing");
            Value::Null
        }
        b'#' => match rest {
            "t" => Value::Boolean(true),
            "f" => Value::Boolean(false),
            _ => panic!("#{rest} is not a boolean"),
        },
        b',' => Value::Double(rest.to_owned()),
        other => panic!("{:?} starts no reply: {rest:?}", char::from(other)),
    })
}

fn count(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a length"))
}

fn many_at(bytes: &[u8], at: &mut usize, count: usize) -> Option<Vec<Value>> {
    (0..count).map(|_| parse_at(bytes, at)).collect()
}

/// The bytes up to the next line break, which must be `\r\n`.
fn line_at<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = &bytes[*at..];
    let length = rest.iter().position(|&byte| byte == b'\n')?;
    assert!(length > 0 && rest[length - 1] == b'\r', "a line ends in \\r\\n: {rest:?}");
    *at += length + 1;
    Some(&rest[..length - 1])
}

fn body_at<'a>(bytes: &'a [u8], at: &mut usize, length: usize) -> Option<&'a [u8]> {
    let end = *at + length;
    let tail = bytes.get(end..end + 2)?;
    assert_eq!(tail, b"\r\n", "a bulk string ends in \\r\\n");
    let body = &bytes[*at..end];
    *at = end + 2;
    Some(body)
}

/// As the case files write it.
impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(text) => write!(out, "+{text}"),
            Self::Error(text) => write!(out, "-{text}"),
            Self::Integer(value) => write!(out, "{value}"),
            Self::Bulk(bytes) => write!(out, "{}", quoted(bytes)),
            Self::NullBulk => write!(out, "nil($-1)"),
            Self::NullArray => write!(out, "nil-array(*-1)"),
            Self::Null => write!(out, "nil(_)"),
            Self::Array(items) => out.debug_list().entries(items).finish(),
            Self::Set(items) => {
                write!(out, "~")?;
                out.debug_list().entries(items).finish()
            }
            Self::Push(items) => {
                write!(out, ">")?;
                out.debug_list().entries(items).finish()
            }
            Self::Map(pairs) => {
                out.debug_map().entries(pairs.iter().map(|(key, value)| (key, value))).finish()
            }
            Self::Boolean(value) => write!(out, "#{}", if *value { 't' } else { 'f' }),
            Self::Double(text) => write!(out, ",{text}"),
            Self::Verbatim(text) => write!(out, "={}", quoted(text.as_bytes())),
        }
    }
}

/// `bytes` in double quotes with escapes, cut if very long.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 400;
    let shown = &bytes[..bytes.len().min(SHOWN_MAX)];
    let mut text = format!("\"{}\"", shown.escape_ascii());
    if bytes.len() > SHOWN_MAX {
        text.push_str(&format!(" and so on, {} bytes", bytes.len()));
    }
    text
}
