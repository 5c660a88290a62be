//! What replies give: values with their versions, outcomes of conditional writes, and the replies to
//! RESP commands.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::limits::CLIENT_REPLY_DEPTH_MAX;
use crate::protocol::client::{Element, read_element};

/// The version of a key: greater after every change of its value or expiry, and never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value and its version. Reads as the bytes it holds.
///
/// ```
/// # use ringmain::client::{Bytes, Value, Version};
/// let value = Value { bytes: Bytes::from("42"), version: Version(7) };
/// assert_eq!(value, "42");
/// assert_eq!(value.len(), 2);
/// assert_eq!(value.text(), Some("42"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    /// The value.
    pub bytes: Bytes,
    /// The version of the key when it was read.
    pub version: Version,
}

impl Value {
    /// The value as text, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        str::from_utf8(&self.bytes).ok()
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.bytes == other.as_bytes()
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl PartialEq<[u8]> for Value {
    fn eq(&self, other: &[u8]) -> bool {
        self.bytes == other
    }
}

/// What became of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a conditional write may not have been done"]
pub enum Outcome {
    /// It was done; the key has this version now. After a delete it is one that no key has.
    Done(Version),
    /// Not done: the key is there, in this version.
    Exists(Version),
    /// Not done: there is no such key.
    NotFound,
    /// Not done: the key has this version, not the one named.
    VersionMismatch(Version),
}

impl Outcome {
    /// Whether it was done.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Done(_))
    }
}

/// The number that an increment came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The number.
    pub value: i64,
    /// The key's new version.
    pub version: Version,
}

/// The length that an append came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Bytes of the value.
    pub bytes: u64,
    /// The key's new version.
    pub version: Version,
}

/// The reply to a RESP command, as RESP3 has it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Resp {
    /// Nothing there.
    Null,
    /// A short text, such as `OK`.
    Simple(String),
    /// A byte string.
    Bytes(Bytes),
    /// A text and its format, `txt` or `mkd`.
    Verbatim {
        /// Three letters.
        format: String,
        /// The text.
        text: String,
    },
    /// An integer.
    Integer(i64),
    /// A number with a fraction.
    Double(f64),
    /// True or false.
    Boolean(bool),
    /// An integer of any length, in decimal.
    BigNumber(String),
    /// A list.
    Array(Vec<Resp>),
    /// Keys and values.
    Map(Vec<(Resp, Resp)>),
    /// Values without an order.
    Set(Vec<Resp>),
    /// A message inside the reply.
    Push(Vec<Resp>),
    /// An error inside a list; one that is the whole reply is an [`Error`](super::Error).
    Error(String),
}

impl Resp {
    /// The text of a simple string, byte string or verbatim text, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Simple(text) | Self::Verbatim { text, .. } | Self::BigNumber(text) => Some(text),
            Self::Bytes(bytes) => str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The items of a list, set or push.
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a map at the text `key`.
    pub fn field(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(pairs) => {
                pairs.iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// Reads a reply that is the whole of `bytes`; the error says what is wrong with it.
    pub(super) fn read(bytes: &Bytes) -> Result<Self, String> {
        let mut at = 0;
        let value = Self::read_at(bytes, &mut at, CLIENT_REPLY_DEPTH_MAX)?;
        if at == bytes.len() { Ok(value) } else { Err("bytes are left over".into()) }
    }

    fn read_at(bytes: &Bytes, at: &mut usize, depth: usize) -> Result<Self, String> {
        let rest = &bytes[*at..];
        let element = read_element(rest).map_err(|error| error.to_string())?;
        let (element, length) = element.ok_or("it ends too early")?;
        let start = *at;
        *at += length;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(match element {
            Element::Simple(line) => Self::Simple(text(line)),
            Element::Error(line) => Self::Error(text(line)),
            Element::Integer(number) => Self::Integer(number),
            Element::Bulk(all) if rest[0] == b'=' => verbatim(all)?,
            Element::Bulk(all) => Self::Bytes(bytes.slice(start + length - 2 - all.len()..*at - 2)),
            Element::Null => Self::Null,
            Element::Boolean(truth) => Self::Boolean(truth),
            Element::Double(number) => Self::Double(number),
            Element::BigNumber(digits) => Self::BigNumber(text(digits)),
            Element::Aggregate { marker, count } => {
                let depth = depth.checked_sub(1).ok_or("it is nested too deeply")?;
                Self::aggregate(bytes, at, depth, marker, count)?
            }
        })
    }

    fn aggregate(
        bytes: &Bytes,
        at: &mut usize,
        depth: usize,
        marker: u8,
        count: usize,
    ) -> Result<Self, String> {
        // Every item has three bytes at least: room is made for what can be there.
        let mut items = Vec::with_capacity(count.min((bytes.len() - *at) / 3));
        for _ in 0..count {
            items.push(Self::read_at(bytes, at, depth)?);
        }
        Ok(match marker {
            b'%' => Self::Map(pairs(items)),
            b'~' => Self::Set(items),
            b'>' => Self::Push(items),
            _ => Self::Array(items),
        })
    }
}

fn verbatim(bytes: &[u8]) -> Result<Resp, String> {
    let text = String::from_utf8_lossy(bytes);
    let (format, text) = text.split_once(':').ok_or("a verbatim text has no format")?;
    Ok(Resp::Verbatim { format: format.to_owned(), text: text.to_owned() })
}

fn pairs(items: Vec<Resp>) -> Vec<(Resp, Resp)> {
    let mut pairs = Vec::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        pairs.push((key, value));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::Resp;
    use bytes::Bytes;

    fn bytes(text: &'static str) -> Resp {
        Resp::Bytes(Bytes::from(text))
    }

    #[test]
    fn replies_of_every_kind() {
        for (input, expect) in [
            ("+OK\r\n", Resp::Simple("OK".into())),
            (":-3\r\n", Resp::Integer(-3)),
            ("$3\r\na\nb\r\n", bytes("a\nb")),
            ("$0\r\n\r\n", bytes("")),
            ("_\r\n", Resp::Null),
            ("#t\r\n", Resp::Boolean(true)),
            (",2.5\r\n", Resp::Double(2.5)),
            ("(12345678901234567890\r\n", Resp::BigNumber("12345678901234567890".into())),
            ("=6\r\ntxt:hi\r\n", Resp::Verbatim { format: "txt".into(), text: "hi".into() }),
            ("*0\r\n", Resp::Array(vec![])),
            (
                "*2\r\n:1\r\n-ERR no\r\n",
                Resp::Array(vec![Resp::Integer(1), Resp::Error("ERR no".into())]),
            ),
            ("~1\r\n$1\r\na\r\n", Resp::Set(vec![bytes("a")])),
            (
                "%1\r\n+k\r\n*1\r\n_\r\n",
                Resp::Map(vec![(Resp::Simple("k".into()), Resp::Array(vec![Resp::Null]))]),
            ),
        ] {
            assert_eq!(Resp::read(&Bytes::from(input)), Ok(expect), "{input:?}");
        }
    }

    #[test]
    fn what_is_no_reply() {
        let deep = "*1\r\n".repeat(100) + ":1\r\n";
        for (input, problem) in [
            ("", "too early"),
            ("$3\r\nab", "too early"),
            ("*2\r\n:1\r\n", "too early"),
            ("*4000000000\r\n:1\r\n", "too early"),
            ("+OK\r\n+OK\r\n", "left over"),
            ("=3\r\nabc\r\n", "format"),
            ("?\r\n", "no reply"),
            (deep.as_str(), "deeply"),
        ] {
            let error = Resp::read(&Bytes::copy_from_slice(input.as_bytes())).unwrap_err();
            assert!(error.contains(problem), "{input:?}: {error}");
        }
    }

    #[test]
    fn parts_of_replies() {
        let reply = Resp::read(&Bytes::from("%2\r\n+a\r\n:1\r\n$1\r\nb\r\n*1\r\n+x\r\n")).unwrap();
        assert_eq!(reply.field("a").and_then(Resp::integer), Some(1));
        let items = reply.field("b").and_then(Resp::items).unwrap();
        assert_eq!(items[0].text(), Some("x"));
        assert_eq!(reply.field("c"), None);
    }
}
