//! A request before it is sent: what it asks for, and on which terms.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Client;
use super::call::{Answer, Call, Effect, Route, execute};
use super::error::Error;
use super::operation::{
    Command, Delete, DeleteIf, KeepsExpiry, Operation, Reads, Repeats, Set, SetIf, Stores,
};
use super::session::Session;
use super::value::Version;
use crate::protocol::binary::{Durability, ReplyHead, RequestFlags, Status, Token};
use crate::types::key_slot;

/// A request. It is sent when it is awaited; until then its methods say how.
///
/// ```no_run
/// # async fn example(client: ringmain::client::Client) -> Result<(), ringmain::client::Error> {
/// use std::time::Duration;
///
/// client.set("greeting", "hello").ttl(Duration::from_secs(60)).await?;
/// let value = client.get("greeting").timeout(Duration::from_millis(20)).await?;
/// # Ok(())
/// # }
/// ```
///
/// It holds the client, not a borrow of it, so it can be made here and awaited in another task. Dropping
/// it, or the future it becomes, gives the request up: what was not sent yet is not sent, and a reply that
/// still comes is thrown away.
#[derive(Debug)]
#[must_use = "a request is sent when it is awaited"]
pub struct Request<O: Operation> {
    pub(super) client: Client,
    pub(super) terms: Terms,
    pub(super) draft: O::Draft,
}

/// What may be said about any request.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    limit: Limit,
    durability: Option<Durability>,
    session: Option<Session>,
    from_follower: bool,
}

/// When a request's time is up.
#[derive(Clone, Copy, Debug, Default)]
enum Limit {
    /// After the client's time-out.
    #[default]
    Usual,
    After(Duration),
    At(Instant),
}

impl Terms {
    fn timeout(&self, client: &Client) -> Duration {
        match self.limit {
            Limit::Usual => client.hub.settings.timeout,
            Limit::After(timeout) => timeout,
            Limit::At(deadline) => deadline.saturating_duration_since(Instant::now()),
        }
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.limit = Limit::After(timeout);
    }

    pub(super) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    pub(super) fn note(&self, token: Token) {
        if let Some(session) = &self.session {
            session.note(token);
        }
    }
}

impl<O: Operation> Request<O> {
    /// Gives it this much time from when it is awaited, instead of the client's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.terms.limit = Limit::After(timeout);
        self
    }

    /// Gives it until `deadline`. The server is told, and does not begin work whose time is up.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.terms.limit = Limit::At(deadline);
        self
    }

    /// Says what this write must have survived when it is acknowledged. A server that can't give that
    /// answers [`DurabilityUnavailable`](Status::DurabilityUnavailable) and does nothing. On a read it
    /// has no effect.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.terms.durability = Some(durability);
        self
    }

    /// Makes it part of a session: a write is remembered in it, a read sees what was written in it.
    pub fn session(mut self, session: &Session) -> Self {
        self.terms.session = Some(session.clone());
        self
    }
}

impl<O: Reads> Request<O> {
    /// Lets a follower answer it ([`Builder::followers`](super::Builder::followers)), which may be behind by as much as its
    /// `follower-read-max-lag-ms` allows, but not behind what was written in the request's
    /// [`session`](Self::session). What it does not answer soon is asked of the leader. A [`command`](Client::command)
    /// must be [`read_only`](Request::read_only), and say whose [`key`](Request::key) it is about.
    pub fn from_follower(mut self) -> Self {
        self.terms.from_follower = true;
        self
    }
}

impl<O: Repeats> Request<O> {
    /// Says that doing it twice is as good as doing it once, so that it is sent again when it is unknown
    /// whether it was done, instead of failing with [`Error::UnknownFate`], even by a server that can't do it
    /// once ([`Builder::once`](super::Builder::once)). The repetition may undo what
    /// another client has written in between; what a conditional operation answers is what the last
    /// repetition found.
    pub fn repeatable(mut self) -> Self {
        O::call(&mut self.draft).effect = Effect::Repeatable;
        self
    }
}

impl<O: Stores> Request<O> {
    /// Lets the key expire so long after it was set; in milliseconds, rounded up.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        let call = O::call(&mut self.draft);
        call.flags.remove(RequestFlags::TTL_IS_TIME | RequestFlags::KEEP_TTL);
        call.extras.ttl_ms = Some(millis_rounded_up(ttl));
        self
    }

    /// Lets the key expire at a time of the server's clock.
    pub fn expire_at(mut self, time: SystemTime) -> Self {
        let call = O::call(&mut self.draft);
        call.flags.remove(RequestFlags::KEEP_TTL);
        call.flags.insert(RequestFlags::TTL_IS_TIME);
        let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        call.extras.ttl_ms = Some(millis_rounded_up(since_1970));
        self
    }
}

pub(super) fn millis_rounded_up(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

impl<O: KeepsExpiry> Request<O> {
    /// Leaves the key's expiry as it is, instead of removing it.
    pub fn keep_ttl(mut self) -> Self {
        let call = O::call(&mut self.draft);
        call.flags.remove(RequestFlags::TTL_IS_TIME);
        call.flags.insert(RequestFlags::KEEP_TTL);
        call.extras.ttl_ms = None;
        self
    }
}

impl Request<Set> {
    /// Only if the key is not there.
    pub fn if_absent(self) -> Request<SetIf> {
        self.on_condition(|call| call.flags.insert(RequestFlags::IF_ABSENT))
    }

    /// Only if the key is there.
    pub fn if_present(self) -> Request<SetIf> {
        self.on_condition(|call| call.flags.insert(RequestFlags::IF_PRESENT))
    }

    /// Only if the key has this version. It is sent again when it is unknown whether it was done,
    /// because it can't be done twice.
    pub fn if_version(self, version: Version) -> Request<SetIf> {
        self.on_condition(|call| require(call, version))
    }

    fn on_condition(self, condition: impl FnOnce(&mut Call)) -> Request<SetIf> {
        let Self { client, terms, mut draft } = self;
        // Twice is not once: the key may have been removed in between.
        draft.effect = Effect::Write;
        condition(&mut draft);
        Request { client, terms, draft }
    }
}

impl Request<Delete> {
    /// Only if the key has this version.
    pub fn if_version(self, version: Version) -> Request<DeleteIf> {
        let Self { client, terms, mut draft } = self;
        require(&mut draft, version);
        Request { client, terms, draft }
    }
}

/// Makes a write depend on a version. A version above 0 is there once, so the write is done once.
pub(super) fn require(call: &mut Call, version: Version) {
    call.extras.version = Some(version.0);
    call.effect = if version.0 > 0 { Effect::Versioned } else { Effect::Write };
}

impl Request<Command> {
    /// Sends it to the owner of `key` and not to the address that the client was given: one hop less.
    /// A command without a key must not be sent so, because it would be about one core.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.draft.route = Route::Owner(key_slot(key.as_ref()));
        self
    }

    /// Says that the command changes nothing, so that it is sent again until there is a reply.
    pub fn read_only(mut self) -> Self {
        self.draft.effect = Effect::Read;
        self
    }
}

impl<O: Operation> IntoFuture for Request<O> {
    type Output = Result<O::Output, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(O::run(self))
    }
}

/// How long a follower has at most to answer: it waits no longer than an election takes.
const FOLLOWER_PATIENCE: Duration = Duration::from_secs(1);

/// Sends one call on these terms; `read` makes what it asked for of the reply.
pub(super) async fn send<T>(
    client: &Client,
    terms: &Terms,
    mut call: Call,
    read: impl FnOnce(Answer) -> Result<T, String>,
) -> Result<T, Error> {
    let is_read = call.effect == Effect::Read;
    let name = call.name;
    if !is_read {
        call.durability = terms.durability.unwrap_or(client.hub.settings.durability);
    } else if let (Some(session), Route::Owner(slot)) = (&terms.session, call.route) {
        call.extras.token = session.token(client.hub.routes().owner(slot).shard);
    }
    let mut extras = call.extras;
    let _numbered = client.hub.number(&call, &mut extras);
    call.extras = extras;
    let call = Arc::new(call);
    let may_follow = is_read && terms.from_follower && matches!(call.route, Route::Owner(_));
    let mut timeout = terms.timeout(client);
    let mut followed = None;
    if may_follow {
        let begun = Instant::now();
        let deadline = begun + (timeout / 2).min(FOLLOWER_PATIENCE);
        followed = client.hub.read_from_follower(&call, deadline.into()).await;
        timeout = timeout.saturating_sub(begun.elapsed());
    }
    let (answer, link) = match followed {
        Some(answered) => answered,
        None => execute(&client.hub, call, timeout).await?,
    };
    if !is_read && answer.status() == Status::Ok && answer.shard != ReplyHead::NO_SHARD {
        terms.note(Token { shard: answer.shard, sequence: answer.version });
    }
    read(answer).map_err(|problem| Error::BadReply {
        operation: name,
        address: link.address(),
        problem,
    })
}
