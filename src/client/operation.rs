//! The operations: what each sends, and what its reply is read as.
//!
//! Each is a type, so that [`Request`] offers only what the operation has: a get has no time to live,
//! and a set that depends on something answers whether it was done.

use std::future::Future;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::call::{Answer, Call, Effect, Route};
use super::error::Error;
pub use super::many::{GetMany, SetMany};
use super::request::{Request, millis_rounded_up, send};
use super::value::{Length, Outcome, Resp, Sum, Value, Version};
use crate::protocol::binary::body::{list_bytes, write_list};
use crate::protocol::binary::{Durability, Extras, Opcode, RequestFlags, Status};
use crate::types::{Slot, key_slot};

/// What can be asked for with a [`Request`]: the types of this module, and no others.
pub trait Operation: sealed::Sealed + Sized + Send + 'static {
    /// What the reply gives.
    type Output: Send;
    /// What is sent.
    #[doc(hidden)]
    type Draft: Send;
    /// The call, or what all calls have in common.
    #[doc(hidden)]
    fn call(draft: &mut Self::Draft) -> &mut Call;
    #[doc(hidden)]
    fn run(request: Request<Self>) -> impl Future<Output = Result<Self::Output, Error>> + Send;
}

/// An operation that is one call.
#[doc(hidden)]
pub trait Single: sealed::Sealed + Sized + Send + 'static {
    type Reply: Send;
    fn read(answer: Answer) -> Result<Self::Reply, String>;
}

impl<O: Single> Operation for O {
    type Output = O::Reply;
    type Draft = Call;

    fn call(draft: &mut Call) -> &mut Call {
        draft
    }

    async fn run(request: Request<Self>) -> Result<Self::Output, Error> {
        send(&request.client, &request.terms, request.draft, Self::read).await
    }
}

/// An operation that may be a read, for which [a follower will do](Request::from_follower).
pub trait Reads: Operation {}
impl Reads for Get {}
impl Reads for Command {}

/// An operation that its caller may declare [repeatable](Request::repeatable).
pub trait Repeats: Operation {}
impl Repeats for Set {}
impl Repeats for SetMany {}
impl Repeats for Delete {}
impl Repeats for Expire {}
impl Repeats for Command {}

/// An operation that sets values, which may [expire](Request::ttl).
pub trait Stores: Operation {}
impl Stores for Set {}
impl Stores for SetIf {}
impl Stores for SetMany {}
impl Stores for CompareAndSwap {}

/// An operation that may [leave the expiry as it is](Request::keep_ttl).
pub trait KeepsExpiry: Operation {}
impl KeepsExpiry for Set {}
impl KeepsExpiry for SetIf {}
impl KeepsExpiry for CompareAndSwap {}

mod sealed {
    /// Keeps the operations to those of this crate.
    pub trait Sealed {}
    impl<O: super::Single> Sealed for O {}
    impl Sealed for super::GetMany {}
    impl Sealed for super::SetMany {}
}

/// Gives a value, or nothing if there is no such key.
#[derive(Debug)]
pub enum Get {}
/// Sets a value; gives its version.
#[derive(Debug)]
pub enum Set {}
/// Sets a value on a condition; gives whether it held.
#[derive(Debug)]
pub enum SetIf {}
/// Removes a key; gives a version above all it had, or nothing if there was no such key.
#[derive(Debug)]
pub enum Delete {}
/// Removes a key on a condition; gives whether it held.
#[derive(Debug)]
pub enum DeleteIf {}
/// Sets a value if the key has a version; gives whether it had.
#[derive(Debug)]
pub enum CompareAndSwap {}
/// Adds to a number; gives the sum.
#[derive(Debug)]
pub enum Increment {}
/// Adds bytes to the end of a value; gives its length.
#[derive(Debug)]
pub enum Append {}
/// Counts as a use of a key; gives its version, or nothing if there is no such key.
#[derive(Debug)]
pub enum Touch {}
/// Sets or removes a key's expiry; gives its new version, or nothing if there is no such key.
#[derive(Debug)]
pub enum Expire {}
/// Gives nothing but a sign of life.
#[derive(Debug)]
pub enum Ping {}
/// Gives what `INFO` shows.
#[derive(Debug)]
pub enum Stats {}
/// Runs a RESP command; gives its reply.
#[derive(Debug)]
pub enum Command {}

impl Single for Get {
    type Reply = Option<Value>;

    fn read(answer: Answer) -> Result<Self::Reply, String> {
        let version = Version(answer.version);
        Ok(found(&answer)?.then_some(Value { bytes: answer.body, version }))
    }
}

impl Single for Set {
    type Reply = Version;

    fn read(answer: Answer) -> Result<Version, String> {
        done(&answer)
    }
}

impl Single for SetIf {
    type Reply = Outcome;

    fn read(answer: Answer) -> Result<Outcome, String> {
        outcome(&answer)
    }
}

impl Single for Delete {
    type Reply = Option<Version>;

    fn read(answer: Answer) -> Result<Self::Reply, String> {
        Ok(found(&answer)?.then_some(Version(answer.version)))
    }
}

impl Single for DeleteIf {
    type Reply = Outcome;

    fn read(answer: Answer) -> Result<Outcome, String> {
        outcome(&answer)
    }
}

impl Single for CompareAndSwap {
    type Reply = Outcome;

    fn read(answer: Answer) -> Result<Outcome, String> {
        outcome(&answer)
    }
}

impl Single for Increment {
    type Reply = Sum;

    fn read(answer: Answer) -> Result<Sum, String> {
        Ok(Sum { version: done(&answer)?, value: i64::from_le_bytes(word(&answer)?) })
    }
}

impl Single for Append {
    type Reply = Length;

    fn read(answer: Answer) -> Result<Length, String> {
        Ok(Length { version: done(&answer)?, bytes: u64::from_le_bytes(word(&answer)?) })
    }
}

impl Single for Touch {
    type Reply = Option<Version>;

    fn read(answer: Answer) -> Result<Self::Reply, String> {
        Ok(found(&answer)?.then_some(Version(answer.version)))
    }
}

impl Single for Expire {
    type Reply = Option<Version>;

    fn read(answer: Answer) -> Result<Self::Reply, String> {
        Ok(found(&answer)?.then_some(Version(answer.version)))
    }
}

impl Single for Ping {
    type Reply = ();

    fn read(answer: Answer) -> Result<(), String> {
        done(&answer).map(|_| ())
    }
}

impl Single for Stats {
    type Reply = String;

    fn read(answer: Answer) -> Result<String, String> {
        done(&answer)?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }
}

impl Single for Command {
    type Reply = Resp;

    fn read(answer: Answer) -> Result<Resp, String> {
        done(&answer)?;
        Resp::read(&answer.body)
    }
}

// --- what replies say ------------------------------------------------------------------------------

fn unexpected(status: Status) -> String {
    format!("status {status:?} is none of this operation's")
}

/// The version in the reply to what can only be done.
pub(super) fn done(answer: &Answer) -> Result<Version, String> {
    match answer.status() {
        Status::Ok => Ok(Version(answer.version)),
        status => Err(unexpected(status)),
    }
}

fn found(answer: &Answer) -> Result<bool, String> {
    match answer.status() {
        Status::Ok => Ok(true),
        Status::NotFound => Ok(false),
        status => Err(unexpected(status)),
    }
}

fn outcome(answer: &Answer) -> Result<Outcome, String> {
    let version = Version(answer.version);
    match answer.status() {
        Status::Ok => Ok(Outcome::Done(version)),
        Status::NotFound => Ok(Outcome::NotFound),
        Status::Exists => Ok(Outcome::Exists(version)),
        Status::VersionMismatch => Ok(Outcome::VersionMismatch(version)),
        status => Err(unexpected(status)),
    }
}

fn word(answer: &Answer) -> Result<[u8; 8], String> {
    answer
        .body
        .as_ref()
        .try_into()
        .map_err(|_| format!("{} bytes are no number", answer.body.len()))
}

// --- what is sent ----------------------------------------------------------------------------------

impl Call {
    fn new(name: &'static str, opcode: Opcode, route: Route, effect: Effect) -> Self {
        Self {
            name,
            opcode,
            durability: Durability::Default,
            flags: RequestFlags::empty(),
            extras: Extras::default(),
            slot: Slot(0),
            key: Bytes::new(),
            value: Bytes::new(),
            route,
            effect,
        }
    }

    /// A call for one key.
    fn keyed(
        name: &'static str,
        opcode: Opcode,
        effect: Effect,
        key: &[u8],
        value: impl Into<Bytes>,
    ) -> Self {
        let slot = key_slot(key);
        Self {
            slot,
            key: Bytes::copy_from_slice(key),
            value: value.into(),
            ..Self::new(name, opcode, Route::Owner(slot), effect)
        }
    }

    pub(super) fn get(key: &[u8]) -> Self {
        Self::keyed("get", Opcode::Get, Effect::Read, key, "")
    }

    pub(super) fn set(key: &[u8], value: impl Into<Bytes>) -> Self {
        Self::keyed("set", Opcode::Set, Effect::Write, key, value)
    }

    pub(super) fn delete(key: &[u8]) -> Self {
        Self::keyed("delete", Opcode::Delete, Effect::Write, key, "")
    }

    pub(super) fn compare_and_swap(key: &[u8], value: impl Into<Bytes>) -> Self {
        let opcode = Opcode::CompareAndSwap;
        Self::keyed("compare-and-swap", opcode, Effect::Write, key, value)
    }

    pub(super) fn increment(key: &[u8], by: i64) -> Self {
        let value = Bytes::copy_from_slice(&by.to_le_bytes());
        Self::keyed("increment", Opcode::Increment, Effect::Write, key, value)
    }

    pub(super) fn append(key: &[u8], bytes: impl Into<Bytes>) -> Self {
        Self::keyed("append", Opcode::Append, Effect::Write, key, bytes)
    }

    pub(super) fn touch(key: &[u8]) -> Self {
        // Twice is once: it leaves value, version and expiry alone.
        Self::keyed("touch", Opcode::Touch, Effect::Read, key, "")
    }

    pub(super) fn expire(key: &[u8], after: Option<Duration>) -> Self {
        let mut call = Self::keyed("expire", Opcode::Expire, Effect::Write, key, "");
        call.extras.ttl_ms = after.map(millis_rounded_up);
        call
    }

    pub(super) fn expire_at(key: &[u8], time: SystemTime) -> Self {
        let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut call = Self::expire(key, Some(since_1970));
        call.flags.insert(RequestFlags::TTL_IS_TIME);
        call
    }

    pub(super) fn ping() -> Self {
        Self::new("ping", Opcode::Ping, Route::Front, Effect::Read)
    }

    pub(super) fn stats(section: &str) -> Self {
        let key = Bytes::copy_from_slice(section.as_bytes());
        Self { key, ..Self::new("stats", Opcode::Stats, Route::Front, Effect::Read) }
    }

    pub(super) fn command<T: AsRef<[u8]>>(args: &[T]) -> Self {
        let value = list(args);
        Self { value, ..Self::new("command", Opcode::Command, Route::Front, Effect::Write) }
    }

    pub(super) fn scan(pattern: Bytes, step: Vec<u8>) -> Self {
        let call = Self::new("scan", Opcode::Scan, Route::Front, Effect::Read);
        Self { key: pattern, value: step.into(), ..call }
    }

    /// A get-many or set-many, without its keys.
    pub(super) fn many(name: &'static str, opcode: Opcode, effect: Effect) -> Self {
        Self::new(name, opcode, Route::Front, effect)
    }
}

/// The bytes of a list.
pub(super) fn list<T: AsRef<[u8]>>(strings: &[T]) -> Bytes {
    let mut bytes = Vec::with_capacity(list_bytes(strings));
    write_list(&mut bytes, strings);
    bytes.into()
}
