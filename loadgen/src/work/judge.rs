//! What a reply says: its type against what the command answers, and with `--verify` its content.

use ringmain::protocol::binary::body::{ABSENT, Cursor};
use ringmain::protocol::client::{Element, read_element};

use super::command::Expect;
use super::plan::{Command, Role};
use super::values::read;
use super::versions::Versions;
use super::{Coding, Kind, Op, Reply, Tally, Verdict};

/// What a reply is judged by.
pub(super) struct Judge<'a> {
    pub(super) command: &'a Command,
    /// With `--verify`.
    pub(super) versions: Option<&'a Versions>,
    /// Whether a key may be gone without anybody having lost it.
    pub(super) vanishes: bool,
}

/// What a key of a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A value of so many bytes.
    Value(u64),
    Nothing,
}

impl Judge<'_> {
    /// Judges the reply to `op`, whose keys are `keys`; `found` is told what became of each key of a read.
    pub(super) fn judge<'a>(
        &self,
        op: &Op,
        keys: &[u64],
        reply: &Reply<'a>,
        mut found: impl FnMut(usize, Found),
    ) -> Verdict<'a> {
        let done = |is_right: bool| if is_right { Verdict::Done } else { Verdict::Wrong };
        match (self.command.expect, reply.first) {
            (_, Element::Error(text)) => Verdict::Error(code(text)),
            (Expect::Any, _) => Verdict::Done,
            (Expect::Ok | Expect::OkOrNull, Element::Simple(b"OK")) => {
                if self.command.role == Role::Writes
                    && let Some(versions) = self.versions
                {
                    versions.acknowledge(op.key, op.version);
                }
                Verdict::Done
            }
            (Expect::OkOrNull, Element::Null) => Verdict::Done,
            (Expect::Simple, element) => done(matches!(element, Element::Simple(_))),
            (Expect::Integer, element) => done(matches!(element, Element::Integer(_))),
            (Expect::Bulk, element) => done(matches!(element, Element::Bulk(_))),
            (Expect::Aggregate, element) => {
                done(matches!(element, Element::Aggregate { marker: b'*' | b'~' | b'%', .. }))
            }
            // A score comes as a double in RESP3.
            (Expect::Value, Element::Double(_)) => Verdict::Done,
            (Expect::Value, element) => {
                let verdict = self.value(op, op.key, element);
                self.tell(0, element, verdict, &mut found);
                verdict
            }
            (Expect::Values(count), Element::Aggregate { marker: b'*', count: elements }) => {
                if count == elements {
                    self.values(op, keys, reply, &mut found)
                } else {
                    Verdict::Wrong
                }
            }
            (Expect::Ok | Expect::OkOrNull | Expect::Values(_), _) => Verdict::Wrong,
        }
    }

    /// Judges one value or its absence.
    fn value<'a>(&self, op: &Op, key: u64, element: Element<'a>) -> Verdict<'a> {
        let floor = if self.command.role == Role::Reads { op.version } else { 0 };
        match element {
            Element::Bulk(_) if self.command.kind != Kind::Read => Verdict::Done,
            Element::Null if self.command.kind != Kind::Read => Verdict::Done,
            Element::Bulk(value) => match (self.command.role, self.versions) {
                (Role::Reads | Role::ReadsMany, Some(versions)) => {
                    versions.judge(key, floor, read(value))
                }
                _ => Verdict::Hit,
            },
            Element::Null if floor > 0 && !self.vanishes => Verdict::Lost,
            Element::Null => Verdict::Miss,
            _ => Verdict::Wrong,
        }
    }

    /// Judges the elements of an array; the worst of them counts.
    fn values<'a>(
        &self,
        op: &Op,
        keys: &[u64],
        reply: &Reply<'a>,
        found: &mut impl FnMut(usize, Found),
    ) -> Verdict<'a> {
        let mut worst = Verdict::Hit;
        let Some(mut elements) = Elements::of(reply) else { return Verdict::Wrong };
        let Element::Aggregate { count, .. } = reply.first else { return Verdict::Wrong };
        for index in 0..count {
            let Some(element) = elements.next() else { return Verdict::Wrong };
            // Words of the command that are no placeholders are keys of the user's own.
            let verdict = match keys.get(index) {
                Some(key) => self.value(op, *key, element),
                None => Verdict::Hit,
            };
            self.tell(index, element, verdict, found);
            if weight(verdict) > weight(worst) {
                worst = verdict;
            }
        }
        if elements.is_end() { worst } else { Verdict::Wrong }
    }

    fn tell(
        &self,
        index: usize,
        element: Element<'_>,
        verdict: Verdict<'_>,
        found: &mut impl FnMut(usize, Found),
    ) {
        match (self.command.kind, verdict, element) {
            (Kind::Read, Verdict::Miss | Verdict::Lost, _) => found(index, Found::Nothing),
            (Kind::Read, _, Element::Bulk(value)) => found(index, Found::Value(value.len() as u64)),
            _ => {}
        }
    }
}

/// The elements of an array, one by one.
enum Elements<'a> {
    Resp(&'a [u8]),
    Values(Cursor<'a>),
}

impl<'a> Elements<'a> {
    fn of(reply: &Reply<'a>) -> Option<Self> {
        match reply.coding {
            Coding::Resp => {
                let (_, head_bytes) = read_element(reply.bytes).ok()??;
                Some(Self::Resp(&reply.bytes[head_bytes..]))
            }
            Coding::Values => {
                let mut cursor = Cursor::new(reply.bytes);
                cursor.u32().ok()?;
                Some(Self::Values(cursor))
            }
        }
    }

    fn next(&mut self) -> Option<Element<'a>> {
        match self {
            Self::Resp(rest) => {
                let (element, bytes) = read_element(rest).ok()??;
                *rest = &rest[bytes..];
                Some(element)
            }
            Self::Values(cursor) => {
                cursor.u64().ok()?;
                match cursor.u32().ok()? {
                    ABSENT => Some(Element::Null),
                    bytes => cursor.bytes(bytes as usize).ok().map(Element::Bulk),
                }
            }
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Resp(rest) => rest.is_empty(),
            Self::Values(cursor) => cursor.finish().is_ok(),
        }
    }
}

/// The first word of an error.
fn code(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b' ').next().unwrap_or(text)
}

fn weight(verdict: Verdict<'_>) -> u8 {
    match verdict {
        Verdict::Hit | Verdict::Done => 0,
        Verdict::Miss => 1,
        Verdict::Error(_) => 2,
        Verdict::Lost => 3,
        Verdict::Stale => 4,
        Verdict::Foreign => 5,
        Verdict::Wrong => 6,
    }
}

impl Tally {
    /// Both together.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            hit_bytes: self.hit_bytes + other.hit_bytes,
            miss_bytes: self.miss_bytes + other.miss_bytes,
        }
    }

    /// What came after `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            hits: self.hits - earlier.hits,
            misses: self.misses - earlier.misses,
            hit_bytes: self.hit_bytes - earlier.hit_bytes,
            miss_bytes: self.miss_bytes - earlier.miss_bytes,
        }
    }

    /// Enters what became of a key; `bytes` is how long the value is that was not found.
    pub(super) fn enter(&mut self, found: Found, bytes: u32) {
        match found {
            Found::Value(bytes) => {
                self.hits += 1;
                self.hit_bytes += bytes;
            }
            Found::Nothing => {
                self.misses += 1;
                self.miss_bytes += u64::from(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ringmain::protocol::client::read_element;

    use super::{Found, Judge, Op, Reply, Role, Verdict, Versions};
    use crate::work::plan::{Command, Plan};
    use crate::work::values::{Content, Values};
    use crate::work::{Kind, WorkOptions};

    fn command(mix: &str, verify: bool) -> Command {
        let mix = vec![mix.to_owned()];
        let options = WorkOptions { mix, verify, ..WorkOptions::default() };
        Plan::new(&options, "key:", None).unwrap().commands.swap_remove(0)
    }

    fn check(mix: &str, cases: &[(&[u8], Verdict<'_>)]) {
        let command = command(mix, false);
        let judge = Judge { command: &command, versions: None, vanishes: false };
        for (bytes, expected) in cases {
            let (first, _) = read_element(bytes).unwrap().unwrap();
            let verdict =
                judge.judge(&Op::default(), &[0, 1], &Reply::resp(first, bytes), |_, _| {});
            assert_eq!(verdict, *expected, "{mix}: {}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn replies_of_another_type_are_wrong_and_errors_are_errors() {
        use Verdict::{Done, Error, Hit, Miss, Wrong};
        check(
            "get",
            &[
                (b"$2\r\nab\r\n", Hit),
                (b"$0\r\n\r\n", Hit),
                (b"$-1\r\n", Miss),
                (b"_\r\n", Miss),
                (b"+OK\r\n", Wrong),
                (b":5\r\n", Wrong),
                (b"*0\r\n", Wrong),
                (b"-ERR no\r\n", Error(b"ERR")),
                (b"-WRONGTYPE Operation against\r\n", Error(b"WRONGTYPE")),
                (b"-\r\n", Error(b"")),
                (b"!8\r\nOOM over\r\n", Error(b"OOM")),
            ],
        );
        check(
            "set",
            &[
                (b"+OK\r\n", Done),
                (b"+QUEUED\r\n", Wrong),
                (b"$-1\r\n", Wrong),
                (b"$2\r\nOK\r\n", Wrong),
                (b"-OOM command not allowed\r\n", Error(b"OOM")),
            ],
        );
        check(
            "setnx",
            &[(b"+OK\r\n", Done), (b"$-1\r\n", Done), (b"_\r\n", Done), (b":1\r\n", Wrong)],
        );
        check("incr", &[(b":-5\r\n", Done), (b"$1\r\n5\r\n", Wrong), (b"+OK\r\n", Wrong)]);
        check("ping", &[(b"+PONG\r\n", Done), (b"$4\r\nPONG\r\n", Wrong)]);
        check("echo {n}", &[(b"$2\r\nab\r\n", Done), (b"$-1\r\n", Wrong)]);
        check(
            "lrange",
            &[(b"*1\r\n$1\r\na\r\n", Done), (b"*0\r\n", Done), (b"$1\r\na\r\n", Wrong)],
        );
        check("lpop", &[(b"$1\r\na\r\n", Done), (b"$-1\r\n", Done), (b":1\r\n", Wrong)]);
        check(
            "mget {key} {key}",
            &[
                (b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", Hit),
                (b"*2\r\n$1\r\na\r\n$-1\r\n", Miss),
                (b"*2\r\n_\r\n$1\r\na\r\n", Miss),
                (b"*1\r\n$1\r\na\r\n", Wrong),
                (b"*2\r\n$1\r\na\r\n:5\r\n", Wrong),
                (b"*2\r\n:5\r\n$-1\r\n", Wrong),
                (b"*-1\r\n", Wrong),
                (b"%1\r\n$1\r\na\r\n$1\r\nb\r\n", Wrong),
                (b"$1\r\na\r\n", Wrong),
            ],
        );
        check(
            "whatever {key}",
            &[
                (b"+x\r\n", Done),
                (b"*0\r\n", Done),
                (b"_\r\n", Done),
                (b"-ERR x\r\n", Error(b"ERR")),
            ],
        );
    }

    #[test]
    fn every_key_of_a_read_is_told() {
        let told = |mix: &str, bytes: &[u8]| {
            let command = command(mix, false);
            let judge = Judge { command: &command, versions: None, vanishes: false };
            let (first, _) = read_element(bytes).unwrap().unwrap();
            let mut all = Vec::new();
            judge.judge(&Op::default(), &[0, 1], &Reply::resp(first, bytes), |index, found| {
                all.push((index, found));
            });
            all
        };
        assert_eq!(told("get", b"$2\r\nab\r\n"), [(0, Found::Value(2))]);
        assert_eq!(told("get", b"$-1\r\n"), [(0, Found::Nothing)]);
        assert_eq!(told("get", b"-ERR\r\n"), []);
        assert_eq!(told("set", b"+OK\r\n"), []);
        assert_eq!(told("lpop", b"$1\r\na\r\n"), []);
        assert_eq!(
            told("mget {key} {key}", b"*2\r\n$-1\r\n$3\r\nabc\r\n"),
            [(0, Found::Nothing), (1, Found::Value(3))]
        );
    }

    #[test]
    fn each_fault_that_verification_finds_is_told_apart() {
        let versions = Versions::new(10, 1).unwrap();
        let values = Values::new(1, Content::Verified);
        let (get, set) = (command("get", true), command("set", true));
        assert_eq!((get.role, get.kind), (Role::Reads, Kind::Read));
        let reply = |key, version| {
            let mut value = Vec::new();
            values.append(key, version, 100, &mut value);
            [b"$100\r\n", &value[..], b"\r\n"].concat()
        };
        let judge = |command: &Command, op: &Op, bytes: &[u8], vanishes| {
            let (first, _) = read_element(bytes).unwrap().unwrap();
            let reply = Reply::resp(first, bytes);
            match (Judge { command, versions: Some(&versions), vanishes }).judge(
                op,
                &[op.key],
                &reply,
                |_, _| {},
            ) {
                Verdict::Error(_) => Verdict::Error(b"some"),
                Verdict::Hit => Verdict::Hit,
                Verdict::Miss => Verdict::Miss,
                Verdict::Done => Verdict::Done,
                Verdict::Wrong => Verdict::Wrong,
                Verdict::Lost => Verdict::Lost,
                Verdict::Stale => Verdict::Stale,
                Verdict::Foreign => Verdict::Foreign,
            }
        };
        let read_now = || Op { key: 3, version: versions.floor(3), ..Op::default() };
        let early = read_now();
        assert_eq!(judge(&get, &early, b"$-1\r\n", false), Verdict::Miss, "nothing was written");
        let (first, second) = (versions.issue(3), versions.issue(3));
        let write = |version| Op { key: 3, version, ..Op::default() };
        assert_eq!(judge(&set, &write(first), b"+OK\r\n", false), Verdict::Done);
        assert_eq!(judge(&set, &write(second), b"-ERR\r\n", false), Verdict::Error(b"some"));
        let late = read_now();
        assert_eq!(late.version, first, "an error acknowledges nothing");
        for (op, bytes, vanishes, expected) in [
            (&late, reply(3, first), false, Verdict::Hit),
            (&late, reply(3, second), false, Verdict::Hit),
            (&late, reply(3, first - 1), false, Verdict::Stale),
            (&early, reply(3, first - 1), false, Verdict::Hit),
            (&late, reply(4, first), false, Verdict::Foreign),
            (&late, reply(3, second + 1), false, Verdict::Foreign),
            (&late, b"$-1\r\n".to_vec(), false, Verdict::Lost),
            (&late, b"$-1\r\n".to_vec(), true, Verdict::Miss),
            (&early, b"$-1\r\n".to_vec(), false, Verdict::Miss),
            (&late, b"$3\r\nabc\r\n".to_vec(), false, Verdict::Wrong),
            (&late, b"+OK\r\n".to_vec(), false, Verdict::Wrong),
        ] {
            assert_eq!(judge(&get, op, &bytes, vanishes), expected, "{op:?} {bytes:?}");
        }
        let mut damaged = reply(3, first);
        damaged[60] ^= 1;
        assert_eq!(judge(&get, &late, &damaged, false), Verdict::Wrong);
    }
}
