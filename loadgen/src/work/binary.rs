//! Commands in the binary protocol: by an operation of its own where it has one, and otherwise by name and
//! arguments (`command`). And what its replies say, in the terms that all replies are judged by.
//!
//! | RESP | operation |
//! |---|---|
//! | `GET` | get |
//! | `SET` with `EX`, `PX`, `EXAT`, `PXAT`, `KEEPTTL`, `NX`, `XX` | set |
//! | `DEL`, `UNLINK` of one key | delete |
//! | `INCR`, `DECR`, `INCRBY`, `DECRBY` | increment |
//! | `APPEND` | append |
//! | `TOUCH` of one key | touch |
//! | `EXPIRE`, `PEXPIRE`, `EXPIREAT`, `PEXPIREAT` | expire |
//! | `MGET`, `MSET` | get-many, set-many |
//! | `PING` | ping |

use ringmain::protocol::binary::body::{Cursor, Token};
use ringmain::protocol::binary::{Extras, Opcode, ReplyHead, RequestFlags, Status};
use ringmain::protocol::client::{Element, read_element, reply_bytes};

use super::mix::{Piece, Words};
use super::template::{Framing, Style, Template};
use super::{Coding, Op, Reply};

/// Bytes of a value in a reply to a get-many, the value's own apart.
const FOUND_BYTES_MIN: usize = 12;

/// What an error is called that comes without a text.
const NO_TEXT: &[u8] = b"(no-text)";

/// How a command is asked.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) opcode: Opcode,
    pub(super) flags: RequestFlags,
    ttl: Option<Lifetime>,
    /// The key, or the first of several, from which the slot follows.
    pub(super) key: Option<Template>,
    /// Whether the key is sent by itself, rather than in the value.
    pub(super) sends_key: bool,
    pub(super) value: Template,
}

/// Where a request's time to live comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime {
    /// So many milliseconds; or that time.
    Fixed(u64),
    /// `{ttl}`: whole seconds.
    Seconds,
    /// `{ttl_ms}`.
    Milliseconds,
}

/// A command as an operation, before it is rendered.
struct Shape {
    opcode: Opcode,
    flags: RequestFlags,
    ttl: Option<Lifetime>,
    /// Whether the first argument is a key and sent as such; as the first of several it is not.
    key: KeyPlace,
    /// The words of the value.
    value: Words,
    framing: Framing,
}

/// Where the key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyPlace {
    Nowhere,
    Head,
    Value,
}

impl Form {
    /// Renders a command.
    pub(super) fn new(words: &Words, style: Style<'_>) -> Result<Self, String> {
        let shape = native(words).unwrap_or_else(|| Shape {
            key: KeyPlace::Nowhere,
            framing: Framing::List,
            ..Shape::new(Opcode::Command, words.clone())
        });
        let Shape { opcode, flags, ttl, key, value, framing } = shape;
        let name = || Template::part(&words[1..2], style, Framing::Bare);
        Ok(Self {
            opcode,
            flags,
            ttl,
            key: if key == KeyPlace::Nowhere { None } else { Some(name()?) },
            sends_key: key == KeyPlace::Head,
            value: Template::part(&value, style, framing)?,
        })
    }

    /// What stands before the key.
    #[inline]
    pub(super) fn extras(&self, op: &Op) -> Extras {
        let ttl_ms = self.ttl.map(|ttl| match ttl {
            Lifetime::Fixed(ms) => ms,
            Lifetime::Seconds => u64::from(op.ttl_ms.div_ceil(1_000)) * 1_000,
            Lifetime::Milliseconds => u64::from(op.ttl_ms),
        });
        Extras { ttl_ms, ..Extras::default() }
    }

    /// What a reply says, as RESP would have it; nothing if it is none to such a request.
    pub(super) fn reply<'a>(&self, head: &ReplyHead, body: &'a [u8]) -> Option<Reply<'a>> {
        let status = head.status().filter(|_| head.opcode == self.opcode.number())?;
        if status.is_error() {
            let text = if body.is_empty() { NO_TEXT } else { body };
            return Some(Reply::resp(Element::Error(text), body));
        }
        match (self.opcode, status) {
            (Opcode::Command, Status::Ok) => resp3(body),
            (Opcode::GetMany, Status::Ok) => {
                let count = Cursor::new(body).count(FOUND_BYTES_MIN).ok()?;
                let first = Element::Aggregate { marker: b'*', count };
                Some(Reply { first, bytes: body, coding: Coding::Values })
            }
            _ => self.element(status, body).map(|first| Reply::resp(first, body)),
        }
    }

    /// The same of replies that are one element.
    fn element<'a>(&self, status: Status, body: &'a [u8]) -> Option<Element<'a>> {
        const OK: Element<'_> = Element::Simple(b"OK");
        let (element, has_body) = match (self.opcode, status) {
            (Opcode::Get, Status::Ok) => (Element::Bulk(body), true),
            (Opcode::Get, Status::NotFound) => (Element::Null, false),
            (Opcode::Set, Status::Ok) => (OK, false),
            (Opcode::Set, Status::Exists) if self.flags.contains(RequestFlags::IF_ABSENT) => {
                (Element::Null, false)
            }
            (Opcode::Set, Status::NotFound) if self.flags.contains(RequestFlags::IF_PRESENT) => {
                (Element::Null, false)
            }
            (Opcode::Delete | Opcode::Touch | Opcode::Expire, Status::Ok) => {
                (Element::Integer(1), false)
            }
            (Opcode::Delete | Opcode::Touch | Opcode::Expire, Status::NotFound) => {
                (Element::Integer(0), false)
            }
            (Opcode::Increment, Status::Ok) => {
                (Element::Integer(i64::from_le_bytes(body.try_into().ok()?)), true)
            }
            (Opcode::Append, Status::Ok) => {
                let length = u64::from_le_bytes(body.try_into().ok()?);
                (Element::Integer(i64::try_from(length).ok()?), true)
            }
            (Opcode::SetMany, Status::Ok) => {
                Token::read_all(body).ok()?;
                (OK, true)
            }
            (Opcode::Ping, Status::Ok) if self.value.is_empty() => {
                (Element::Simple(b"PONG"), false)
            }
            (Opcode::Ping, Status::Ok) => (Element::Bulk(body), true),
            _ => return None,
        };
        (has_body || body.is_empty()).then_some(element)
    }
}

/// The reply to a command that was asked by its name.
fn resp3(body: &[u8]) -> Option<Reply<'_>> {
    if reply_bytes(body) != Ok(Some(body.len())) {
        return None;
    }
    let (first, _) = read_element(body).ok()??;
    Some(Reply::resp(first, body))
}

impl Shape {
    fn new(opcode: Opcode, value: Words) -> Self {
        Self {
            opcode,
            flags: RequestFlags::empty(),
            ttl: None,
            key: KeyPlace::Head,
            value,
            framing: Framing::Bare,
        }
    }

    fn many(opcode: Opcode, value: Words) -> Self {
        Self { key: KeyPlace::Value, framing: Framing::List, ..Self::new(opcode, value) }
    }
}

/// The operation that does what a command does, if there is one.
fn native(words: &Words) -> Option<Shape> {
    let name = literal(&words[0])?.to_ascii_uppercase();
    let args = &words[1..];
    let key_only = |opcode| Some(Shape::new(opcode, Words::new()));
    match (name.as_str(), args) {
        ("GET", [_]) => key_only(Opcode::Get),
        ("DEL" | "UNLINK", [_]) => key_only(Opcode::Delete),
        ("TOUCH", [_]) => key_only(Opcode::Touch),
        ("SET", [_, value, options @ ..]) => set(value, options),
        ("INCR", [_]) => Some(increment(1)),
        ("DECR", [_]) => Some(increment(-1)),
        ("INCRBY", [_, by]) => literal(by)?.parse().ok().map(increment),
        ("DECRBY", [_, by]) => literal(by)?.parse::<i64>().ok()?.checked_neg().map(increment),
        ("APPEND", [_, value]) => Some(Shape::new(Opcode::Append, vec![value.clone()])),
        ("EXPIRE", [_, time]) => expire(lifetime(time, 1_000)?, RequestFlags::empty()),
        ("PEXPIRE", [_, time]) => expire(lifetime(time, 1)?, RequestFlags::empty()),
        ("EXPIREAT", [_, time]) => expire(moment(time, 1_000)?, RequestFlags::TTL_IS_TIME),
        ("PEXPIREAT", [_, time]) => expire(moment(time, 1)?, RequestFlags::TTL_IS_TIME),
        ("MGET", [_, ..]) => Some(Shape::many(Opcode::GetMany, args.to_vec())),
        ("MSET", [_, _, ..]) if args.len().is_multiple_of(2) => {
            Some(Shape::many(Opcode::SetMany, args.to_vec()))
        }
        ("PING", [] | [_]) => {
            Some(Shape { key: KeyPlace::Nowhere, ..Shape::new(Opcode::Ping, args.to_vec()) })
        }
        _ => None,
    }
}

fn increment(by: i64) -> Shape {
    Shape::new(Opcode::Increment, vec![vec![Piece::Text(by.to_le_bytes().to_vec())]])
}

#[expect(clippy::unnecessary_wraps, reason = "a row of `native` like the others")]
fn expire(ttl: Lifetime, flags: RequestFlags) -> Option<Shape> {
    Some(Shape { ttl: Some(ttl), flags, ..Shape::new(Opcode::Expire, Words::new()) })
}

fn set(value: &[Piece], options: &[Vec<Piece>]) -> Option<Shape> {
    let mut shape = Shape::new(Opcode::Set, vec![value.to_vec()]);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let (flags, ttl) = match literal(option)?.to_ascii_uppercase().as_str() {
            "NX" => (RequestFlags::IF_ABSENT, None),
            "XX" => (RequestFlags::IF_PRESENT, None),
            "KEEPTTL" => (RequestFlags::KEEP_TTL, None),
            "EX" => (RequestFlags::empty(), Some(lifetime(options.next()?, 1_000)?)),
            "PX" => (RequestFlags::empty(), Some(lifetime(options.next()?, 1)?)),
            "EXAT" => (RequestFlags::TTL_IS_TIME, Some(moment(options.next()?, 1_000)?)),
            "PXAT" => (RequestFlags::TTL_IS_TIME, Some(moment(options.next()?, 1)?)),
            _ => return None,
        };
        // What is said twice, or contradicts itself, is for the server's own parser to refuse.
        let is_new = !shape.flags.intersects(flags) && (ttl.is_none() || shape.ttl.is_none());
        shape.flags |= flags;
        shape.ttl = shape.ttl.or(ttl);
        let both = RequestFlags::IF_ABSENT.union(RequestFlags::IF_PRESENT);
        let keeps_and_sets = shape.flags.contains(RequestFlags::KEEP_TTL) && shape.ttl.is_some();
        if !is_new || shape.flags.contains(both) || keeps_and_sets {
            return None;
        }
    }
    Some(shape)
}

/// A time to live, given in units of so many milliseconds.
fn lifetime(word: &[Piece], unit_ms: u64) -> Option<Lifetime> {
    match (word, unit_ms) {
        ([Piece::TtlMs], 1) => Some(Lifetime::Milliseconds),
        ([Piece::TtlS], 1_000) => Some(Lifetime::Seconds),
        _ => moment(word, unit_ms),
    }
}

/// A number of units of so many milliseconds. Zero is left to the server to refuse.
fn moment(word: &[Piece], unit_ms: u64) -> Option<Lifetime> {
    let count: u64 = literal(word)?.parse().ok()?;
    count.checked_mul(unit_ms).filter(|&ms| ms > 0).map(Lifetime::Fixed)
}

/// A word without placeholders.
fn literal(word: &[Piece]) -> Option<&str> {
    match word {
        [Piece::Text(text)] => str::from_utf8(text).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ringmain::protocol::binary::body::{Found, write_value};
    use ringmain::protocol::binary::{Opcode, ReplyHead, RequestFlags, Status, Token};
    use ringmain::types::ShardId;

    use super::{Form, Op, Style};
    use crate::work::judge::Judge;
    use crate::work::mix::words;
    use crate::work::plan::{Command, Plan};
    use crate::work::{Verdict, WorkOptions};

    fn form(command: &str) -> Form {
        Form::new(&words(command).unwrap(), Style { prefix: "key:", ..Style::default() }).unwrap()
    }

    #[test]
    fn commands_are_operations_where_there_is_one() {
        const NONE: RequestFlags = RequestFlags::empty();
        for (command, opcode, flags, ttl_ms) in [
            ("get {key}", Opcode::Get, NONE, None),
            ("GET {=one}", Opcode::Get, NONE, None),
            ("set {key} {value}", Opcode::Set, NONE, None),
            ("set {key} {value} ex {ttl}", Opcode::Set, NONE, Some(2_000)),
            ("set {key} {value} px {ttl_ms}", Opcode::Set, NONE, Some(1_500)),
            ("set {key} {value} EX 60 nx", Opcode::Set, RequestFlags::IF_ABSENT, Some(60_000)),
            (
                "set {key} {value} xx keepttl",
                Opcode::Set,
                RequestFlags::IF_PRESENT | RequestFlags::KEEP_TTL,
                None,
            ),
            ("set {key} {value} exat 5", Opcode::Set, RequestFlags::TTL_IS_TIME, Some(5_000)),
            ("set {key} {value} pxat 5", Opcode::Set, RequestFlags::TTL_IS_TIME, Some(5)),
            ("del {key}", Opcode::Delete, NONE, None),
            ("unlink {key}", Opcode::Delete, NONE, None),
            ("incr {key}", Opcode::Increment, NONE, None),
            ("decrby {key} 7", Opcode::Increment, NONE, None),
            ("append {key} {value}", Opcode::Append, NONE, None),
            ("touch {key}", Opcode::Touch, NONE, None),
            ("expire {key} {ttl}", Opcode::Expire, NONE, Some(2_000)),
            ("pexpire {key} {ttl_ms}", Opcode::Expire, NONE, Some(1_500)),
            ("expireat {key} 9", Opcode::Expire, RequestFlags::TTL_IS_TIME, Some(9_000)),
            ("mget {key} {key}", Opcode::GetMany, NONE, None),
            ("mset {key} {value} {key} {value}", Opcode::SetMany, NONE, None),
            ("ping", Opcode::Ping, NONE, None),
            ("ping hello", Opcode::Ping, NONE, None),
            // What has no operation, or none that does just the same.
            ("strlen {key}", Opcode::Command, NONE, None),
            ("del {key} {key}", Opcode::Command, NONE, None),
            ("set {key} {value} get", Opcode::Command, NONE, None),
            ("set {key} {value} nx xx", Opcode::Command, NONE, None),
            ("set {key} {value} ex 0", Opcode::Command, NONE, None),
            ("set {key} {value} ex 5 px 6", Opcode::Command, NONE, None),
            ("set {key} {value} keepttl ex 5", Opcode::Command, NONE, None),
            ("expire {key} 5 nx", Opcode::Command, NONE, None),
            ("expire {key} -1", Opcode::Command, NONE, None),
            ("incrby {key} x", Opcode::Command, NONE, None),
            ("mset {key} {value} {key}", Opcode::Command, NONE, None),
        ] {
            let form = form(command);
            let op = Op { ttl_ms: 1_500, ..Op::default() };
            let seen = (form.opcode, form.flags, form.extras(&op).ttl_ms);
            assert_eq!(seen, (opcode, flags, ttl_ms), "{command}");
        }
    }

    /// What a reply is judged to be; `E` and the code for an error.
    fn judged(command: &str, opcode: Opcode, status: u8, body: &[u8]) -> String {
        let mix = vec![command.to_owned()];
        let options =
            WorkOptions { mix, binary: true, ttl: Some("5".to_owned()), ..WorkOptions::default() };
        let command: Command = Plan::new(&options, "key:", None).unwrap().commands.swap_remove(0);
        let mut head = ReplyHead::new(1, opcode.number(), Status::Ok);
        head.status = status;
        let form = command.binary.as_ref().unwrap();
        let Some(reply) = form.reply(&head, body) else { return "wrong".to_owned() };
        let judge = Judge { command: &command, versions: None, vanishes: false };
        match judge.judge(&Op::default(), &[0, 1], &reply, |_, _| {}) {
            Verdict::Error(code) => format!("E {}", code.escape_ascii()),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    #[test]
    fn replies_are_judged_by_status_and_body() {
        let number = 7_i64.to_le_bytes();
        let mut tokens = 1_u32.to_le_bytes().to_vec();
        Token { shard: ShardId(0), sequence: 1 }.write(&mut tokens);
        let values = |found: &[Option<&'static [u8]>]| {
            let mut body = u32::try_from(found.len()).unwrap().to_le_bytes().to_vec();
            for value in found {
                write_value(&mut body, value.map(|value| Found { version: 1, value }));
            }
            body
        };
        let (both, one) = (values(&[Some(b"a"), Some(b"b")]), values(&[Some(b"a"), None]));
        let cut = &both[..both.len() - 1];
        let more = [&both[..], b"x"].concat();
        use Opcode::{Append, Command, Delete, Get, GetMany, Increment, Ping, Set, SetMany, Touch};
        let (mget, mset) = ("mget {key} {key}", "mset {key} {value} {key} {value}");
        let cases: &[(&str, Opcode, Status, &[u8], &str)] = &[
            ("get", Get, Status::Ok, b"value", "hit"),
            ("get", Get, Status::Ok, b"", "hit"),
            ("get", Get, Status::NotFound, b"", "miss"),
            ("get", Get, Status::NotFound, b"x", "wrong"),
            ("get", Get, Status::Exists, b"", "wrong"),
            ("get", Set, Status::Ok, b"", "wrong"),
            ("get", Get, Status::WrongType, b"WRONGTYPE no", "E WRONGTYPE"),
            ("get", Get, Status::Error, b"", "E (no-text)"),
            ("set", Set, Status::Ok, b"", "done"),
            ("set", Set, Status::Ok, b"x", "wrong"),
            ("set", Set, Status::Exists, b"", "wrong"),
            ("set", Set, Status::NotFound, b"", "wrong"),
            ("set", Set, Status::VersionMismatch, b"", "wrong"),
            ("set", Set, Status::OutOfMemory, b"OOM used memory", "E OOM"),
            ("setnx", Set, Status::Exists, b"", "done"),
            ("setnx", Set, Status::NotFound, b"", "wrong"),
            ("set {key} {value} xx", Set, Status::NotFound, b"", "done"),
            ("del", Delete, Status::Ok, b"", "done"),
            ("del", Delete, Status::NotFound, b"", "done"),
            ("del", Delete, Status::Ok, b"1", "wrong"),
            ("touch", Touch, Status::NotFound, b"", "done"),
            ("incr", Increment, Status::Ok, &number, "done"),
            ("incr", Increment, Status::Ok, b"7", "wrong"),
            ("incr", Increment, Status::NotANumber, b"ERR no number", "E ERR"),
            ("append", Append, Status::Ok, &number, "done"),
            ("append", Append, Status::Ok, &[0xff; 8], "wrong"),
            (mget, GetMany, Status::Ok, &both, "hit"),
            (mget, GetMany, Status::Ok, &one, "miss"),
            (mget, GetMany, Status::Ok, cut, "wrong"),
            (mget, GetMany, Status::Ok, &more, "wrong"),
            (mget, GetMany, Status::Ok, b"", "wrong"),
            ("mget {key}", GetMany, Status::Ok, &both, "wrong"),
            (mset, SetMany, Status::Ok, &tokens, "done"),
            (mset, SetMany, Status::Ok, b"", "wrong"),
            ("ping", Ping, Status::Ok, b"", "done"),
            ("ping", Ping, Status::Ok, b"x", "wrong"),
            ("ping hi", Ping, Status::Ok, b"hi", "done"),
            ("strlen", Command, Status::Ok, b":5\r\n", "done"),
            ("strlen", Command, Status::Ok, b"+OK\r\n", "wrong"),
            ("strlen", Command, Status::Ok, b":5\r\n:6\r\n", "wrong"),
            ("strlen", Command, Status::Ok, b":5", "wrong"),
            ("strlen", Command, Status::Error, b"ERR no", "E ERR"),
            ("lrange", Command, Status::Ok, b"*1\r\n$1\r\na\r\n", "done"),
        ];
        for (command, opcode, status, body, expected) in cases {
            let seen = judged(command, *opcode, status.number(), body);
            assert_eq!(seen, *expected, "{command} {status:?} {}", body.escape_ascii());
        }
        assert_eq!(judged("get", Get, 0x77, b""), "wrong", "nobody knows such a status");
    }
}
