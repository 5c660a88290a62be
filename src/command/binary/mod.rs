//! The operations of the binary protocol: one row each, with its handler in this folder.
//!
//! An operation counts as the RESP command whose work it does, in `commandstats`, `MONITOR` and the slow
//! log, and has that command's flags and key positions: memory limits, pauses, long commands and routing
//! hold for both alike. Its arguments are ranges of the request's body: extras first, where the command's
//! name stands in RESP, then keys and values.

mod keys;
mod many;
mod server;
mod values;

use std::borrow::Cow;
use std::sync::OnceLock;

use super::table::{Entry, Table};
use super::{Error, Exec, SessionCx};
use crate::cache::WrongType;
use crate::protocol::Args;
use crate::protocol::args::ArgRange;
use crate::protocol::binary::body::{self, Malformed};
use crate::protocol::binary::{
    Extras, Opcode, ReplyHead, RequestFlags, RequestHead, Status, Token,
};
use crate::types::{Key, MonoUs, ShardId, key_slot};

pub use many::scan_shard;
pub(crate) use server::topology_of;

/// A request of the binary protocol that is being run.
#[derive(Clone, Copy, Debug)]
pub struct Native {
    /// Its head.
    pub head: RequestHead,
    /// When it is too late to begin.
    pub deadline: Option<MonoUs>,
    /// What its shard must have reached.
    pub token: Option<Token>,
}

impl Native {
    /// Whether it is an operation of its own, and no RESP command in disguise.
    pub fn is_operation(&self) -> bool {
        self.head.opcode != Opcode::Command.number()
    }

    /// Whether it is a write that may be sent again.
    pub fn is_numbered(&self) -> bool {
        self.head.flags.intersects(RequestFlags::ONCE)
    }
}

/// What became of a request; the body is written already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The outcome; no error.
    pub status: Status,
    /// The shard, if it is about one.
    pub shard: ShardId,
    /// The key's version or the shard's sequence; 0 if there is none.
    pub version: u64,
    /// Whether it is that of an earlier attempt, and nothing was done now.
    pub is_repeated: bool,
}

impl Answer {
    /// Done, without a key.
    pub const DONE: Self =
        Self { status: Status::Ok, shard: ReplyHead::NO_SHARD, version: 0, is_repeated: false };

    /// The outcome for `key`.
    #[inline]
    fn about(exec: &Exec<'_>, key: Key<'_>, status: Status, version: u64) -> Self {
        Self { status, shard: exec.owners.slots().shard_of(key.slot), version, ..Self::DONE }
    }

    /// `key` was written just now.
    #[inline]
    fn written(exec: &mut Exec<'_>, key: Key<'_>) -> Self {
        let version = exec.keyspace(key).sequence();
        Self::about(exec, key, Status::Ok, version)
    }
}

/// Why a request was not done, and the text that says so, code first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status; an error.
    pub status: Status,
    /// The body.
    pub text: Cow<'static, str>,
}

impl Failure {
    /// One whose text never changes.
    pub const fn new(status: Status, text: &'static str) -> Self {
        Self { status, text: Cow::Borrowed(text) }
    }

    /// A request that makes no sense.
    pub const fn bad(text: &'static str) -> Self {
        Self::new(Status::BadRequest, text)
    }

    /// Whether nothing was begun: counted as rejected, not as failed.
    pub fn is_rejection(&self) -> bool {
        self.status == Status::OutOfMemory || self.status.number() >= Status::BadRequest.number()
    }
}

impl From<WrongType> for Failure {
    fn from(WrongType: WrongType) -> Self {
        Error::WrongType.into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::NotAnInteger | Error::NotAFloat => Status::NotANumber,
            Error::WrongType => Status::WrongType,
            Error::StringTooLong => Status::TooLarge,
            Error::OutOfMemory => Status::OutOfMemory,
            Error::NoAuth => Status::AuthRequired,
            Error::NotDurable(_) => Status::DurabilityUnavailable,
            Error::Static(text) if text.starts_with("WRONGPASS") => Status::AuthFailed,
            Error::Static(text) if text.contains("would overflow") => Status::Overflow,
            Error::Moved { .. } => Status::Moved,
            Error::SlotNotServed => Status::NoLeader,
            Error::Syntax
            | Error::DbIndex
            | Error::NoSuchKey
            | Error::Arity(_)
            | Error::LogRefused(_)
            | Error::TooMuch
            | Error::Loading
            | Error::Static(_)
            | Error::Text(_) => Status::Error,
        };
        Self { status, text: Cow::Owned(error.to_string()) }
    }
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Self {
        Self { status: Status::BadRequest, text: Cow::Owned(error.to_string()) }
    }
}

/// The request as its handler sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its head.
    pub head: &'a RequestHead,
    /// Extras, keys and values.
    pub args: Args<'a>,
}

impl<'a> Request<'a> {
    fn extras(&self) -> Extras {
        Extras::read(self.head.flags, self.args.at(0))
    }

    fn has(&self, flag: RequestFlags) -> bool {
        self.head.flags.contains(flag)
    }

    /// The only key.
    #[inline]
    fn key(&self, exec: &Exec<'_>) -> Key<'a> {
        exec.key(self.args.at(1))
    }

    /// The only value.
    #[inline]
    fn value(&self) -> &'a [u8] {
        self.args.at(2)
    }
}

/// An operation on data.
pub type DataOperation = fn(&mut Exec<'_>, &Request<'_>, &mut Vec<u8>) -> Result<Answer, Failure>;

/// An operation on the connection or the server.
pub type SessionOperation =
    fn(&mut SessionCx<'_>, &Request<'_>, &mut Vec<u8>) -> Result<Answer, Failure>;

/// How an operation is run.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// On the shards of its keys, or where its cursor leads.
    Data(DataOperation),
    /// On the connection's core; needs nothing of what was sent before.
    Session(SessionOperation),
    /// As the RESP command that its list names.
    Command,
}

/// What a request's body holds beside extras.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Nothing.
    Empty,
    /// A key.
    Key,
    /// A key and a value, either of which may be empty.
    KeyValue,
    /// A value.
    Value,
    /// A list of at least one string, in the value.
    List,
    /// A list of pairs, at least one, in the value.
    Pairs,
}

/// One row.
#[derive(Debug)]
struct Row {
    opcode: Opcode,
    /// The RESP command that it counts as.
    command: &'static str,
    shape: Shape,
    flags: RequestFlags,
    run: Run,
}

/// Flags that every operation takes.
const ALWAYS: RequestFlags = RequestFlags::DEADLINE.union(RequestFlags::TOKEN);
const ONCE: RequestFlags = RequestFlags::ONCE;
const NONE: RequestFlags = RequestFlags::empty();
const EXPIRY: RequestFlags = RequestFlags::TTL.union(RequestFlags::TTL_IS_TIME);
const EXPIRY_OR_KEEP: RequestFlags = EXPIRY.union(RequestFlags::KEEP_TTL);
const CONDITIONS: RequestFlags =
    RequestFlags::VERSION.union(RequestFlags::IF_ABSENT).union(RequestFlags::IF_PRESENT);

const fn row(
    opcode: Opcode,
    command: &'static str,
    shape: Shape,
    flags: RequestFlags,
    run: Run,
) -> Row {
    Row { opcode, command, shape, flags, run }
}

/// All operations.
const ROWS: &[Row] = &[
    row(Opcode::Hello, "hello", Shape::Value, NONE, Run::Session(server::hello)),
    row(Opcode::Ping, "ping", Shape::Value, NONE, Run::Session(server::ping)),
    row(Opcode::Topology, "cluster|slots", Shape::Empty, NONE, Run::Session(server::topology)),
    row(
        Opcode::SubscribeTopology,
        "client|topology",
        Shape::Empty,
        NONE,
        Run::Session(server::subscribe_topology),
    ),
    row(Opcode::Stats, "info", Shape::KeyValue, NONE, Run::Session(server::stats)),
    row(Opcode::Command, "command", Shape::List, NONE, Run::Command),
    row(Opcode::Get, "get", Shape::Key, NONE, Run::Data(values::get)),
    row(
        Opcode::Set,
        "set",
        Shape::KeyValue,
        EXPIRY_OR_KEEP.union(CONDITIONS).union(ONCE),
        Run::Data(values::set),
    ),
    row(
        Opcode::Delete,
        "del",
        Shape::Key,
        RequestFlags::VERSION.union(ONCE),
        Run::Data(keys::delete),
    ),
    row(
        Opcode::CompareAndSwap,
        "set",
        Shape::KeyValue,
        EXPIRY_OR_KEEP.union(RequestFlags::VERSION).union(ONCE),
        Run::Data(values::compare_and_swap),
    ),
    row(Opcode::Increment, "incrby", Shape::KeyValue, ONCE, Run::Data(values::increment)),
    row(Opcode::Append, "append", Shape::KeyValue, ONCE, Run::Data(values::append)),
    row(Opcode::Touch, "touch", Shape::Key, NONE, Run::Data(keys::touch)),
    row(Opcode::Expire, "pexpire", Shape::Key, EXPIRY.union(ONCE), Run::Data(keys::expire)),
    row(Opcode::GetMany, "mget", Shape::List, NONE, Run::Data(many::get_many)),
    row(
        Opcode::SetMany,
        "mset",
        Shape::Pairs,
        EXPIRY.union(RequestFlags::IF_ABSENT),
        Run::Data(many::set_many),
    ),
    row(Opcode::Scan, "scan", Shape::KeyValue, NONE, Run::Data(many::scan)),
];

/// An operation and the command it counts as.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    row: &'static Row,
    /// The command.
    pub entry: &'static Entry,
}

impl Operation {
    /// How it is run.
    #[inline]
    pub fn run(&self) -> Run {
        self.row.run
    }
}

/// Opcodes are below this.
const OPCODES: usize = 0x20;

/// All operations, by opcode.
#[derive(Debug)]
pub struct Operations([Option<Operation>; OPCODES]);

impl Operations {
    /// The operations of this server; made at the first call.
    ///
    /// # Panics
    /// If a row names a command that is not there: a bug in the rows.
    pub fn get() -> &'static Self {
        static OPERATIONS: OnceLock<Operations> = OnceLock::new();
        OPERATIONS.get_or_init(|| {
            let mut all = [None; OPCODES];
            for row in ROWS {
                let entry = Table::get().find_full_name(row.command.as_bytes());
                let entry = entry.expect("every operation counts as a command");
                all[usize::from(row.opcode.number())] = Some(Operation { row, entry });
            }
            Self(all)
        })
    }

    /// The operation with this opcode.
    #[inline]
    pub fn find(&self, opcode: u8) -> Option<&Operation> {
        self.0.get(usize::from(opcode))?.as_ref()
    }

    /// The operation that a request asks for; appends where its arguments lie in its body.
    ///
    /// # Errors
    /// When there is none, or the request is not one for it.
    #[inline]
    pub fn read(
        &self,
        head: &RequestHead,
        body: &[u8],
        ranges: &mut Vec<ArgRange>,
    ) -> Result<&Operation, Failure> {
        let Some(operation) = self.find(head.opcode) else { return Err(unknown(head.opcode)) };
        let row = operation.row;
        let unknown = head.flags.difference(row.flags.union(ALWAYS));
        if !unknown.is_empty() || head.durability > 3 {
            return Err(wrong_head(head, unknown));
        }
        let extras_bytes = head.flags.extras_bytes();
        let key_at = extras_bytes;
        let value_at = key_at + usize::from(head.key_bytes);
        let (has_key, has_value) = (head.key_bytes > 0, head.value_bytes > 0);
        ranges.push(range(0, extras_bytes));
        match row.shape {
            Shape::Key if !has_value => ranges.push(range(key_at, value_at - key_at)),
            Shape::KeyValue => {
                ranges.push(range(key_at, value_at - key_at));
                ranges.push(range(value_at, head.value_bytes as usize));
            }
            Shape::Value if !has_key => ranges.push(range(value_at, head.value_bytes as usize)),
            Shape::Empty if !has_key && !has_value => {}
            Shape::List | Shape::Pairs if !has_key => {
                read_list(row, &body[value_at..], value_at, ranges)?;
            }
            Shape::Key | Shape::Value | Shape::Empty | Shape::List | Shape::Pairs => {
                return Err(Failure::bad("BADREQUEST the operation takes no such key or value"));
            }
        }
        Ok(operation)
    }
}

/// The strings of a list; those of `command` are its arguments, name included.
fn read_list(
    row: &Row,
    value: &[u8],
    value_at: usize,
    ranges: &mut Vec<ArgRange>,
) -> Result<(), Failure> {
    let extras = ranges.len() - 1;
    body::list_ranges(value, value_at, ranges)?;
    let count = ranges.len() - extras - 1;
    if count == 0 {
        return Err(Failure::bad("BADREQUEST the list is empty"));
    }
    if row.shape == Shape::Pairs && !count.is_multiple_of(2) {
        return Err(Failure::bad("BADREQUEST a key has no value"));
    }
    if row.opcode == Opcode::Command {
        ranges.remove(extras);
    }
    Ok(())
}

#[cold]
fn unknown(opcode: u8) -> Failure {
    let text = format!("UNKNOWNOPCODE no operation has opcode 0x{opcode:02x}");
    Failure { status: Status::UnknownOpcode, text: Cow::Owned(text) }
}

#[cold]
fn wrong_head(head: &RequestHead, unknown: RequestFlags) -> Failure {
    let text = if unknown.is_empty() {
        format!("BADREQUEST there is no durability {}", head.durability)
    } else {
        format!("BADREQUEST the operation takes no flags 0x{:04x}", unknown.bits())
    };
    Failure { status: Status::BadRequest, text: Cow::Owned(text) }
}

/// The slot in the head is not the key's.
#[cold]
pub fn wrong_slot(key: &[u8], head: &RequestHead) -> Failure {
    let text =
        format!("WRONGSLOT the key is in slot {}, the head says {}", key_slot(key).0, head.slot.0);
    Failure { status: Status::WrongSlot, text: Cow::Owned(text) }
}

/// The deadline passed before the work could begin.
pub const TOO_LATE: Failure = Failure::new(
    Status::DeadlineExceeded,
    "DEADLINE the deadline passed before the work could begin",
);

/// The client has yet to authenticate.
pub const NO_AUTH: Failure = Failure::new(Status::AuthRequired, "NOAUTH Authentication required.");

/// `command` may not name this one.
pub const NOT_ALLOWED: Failure = Failure::new(
    Status::NotAllowed,
    "NOTALLOWED the command would change how the connection speaks",
);

/// Commands of RESP that change how their connection speaks.
const SPEAKING: &[&str] = &[
    "hello",
    "monitor",
    "quit",
    "reset",
    "multi",
    "exec",
    "discard",
    "watch",
    "unwatch",
    "client|reply",
    "client|topology",
    "client|tracking",
    "client|caching",
    "subscribe",
    "psubscribe",
    "ssubscribe",
    "unsubscribe",
    "punsubscribe",
    "sunsubscribe",
    "sync",
    "psync",
];

/// Whether `command` may run this one.
pub fn may_be_escaped(entry: &Entry) -> bool {
    !SPEAKING.contains(&entry.full_name)
}

#[expect(clippy::cast_possible_truncation, reason = "what is parsed at once is below 4 GiB")]
fn range(start: usize, length: usize) -> ArgRange {
    ArgRange { start: start as u32, length: length as u32 }
}
