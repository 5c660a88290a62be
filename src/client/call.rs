//! A request on its way: what is sent, how often, and what is known when no reply comes.
//!
//! ```text
//!            queued ──────► taken ──────► whole with the kernel ──────► reply
//! lost here:   not sent: again      │ not sent: again │ sent: reads again, writes are of unknown fate
//! ```
//!
//! What was not sent whole was not done, and is sent again, wherever its key lives by then. What was
//! sent is sent again only if doing it twice is the same as doing it once, or if it has a number by which the
//! server sees to that (`writes`). Then it is said that it is sent again, so that the server keeps the answer whatever it is:
//! what was sent first may arrive last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::error::{Cause, Error};
use super::hub::Hub;
use super::link::{Failure, Link};
use crate::limits::CLIENT_ATTEMPTS_MAX;
use crate::protocol::binary::{Durability, Extras, Opcode, ReplyHead, RequestFlags, Status};
use crate::types::{ShardId, Slot};

/// Which connection a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To the core that owns the slot.
    Owner(Slot),
    /// To the address that the client was given, which shows all keys of the server.
    Front,
}

/// What doing a request twice would mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it changes nothing.
    Read,
    /// Nothing, because the caller says so.
    Repeatable,
    /// It is not done twice, because it names a version, and no version comes back.
    Versioned,
    /// Something else than doing it once.
    Write,
}

/// A request as it is sent, once or several times.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) name: &'static str,
    pub(super) opcode: Opcode,
    pub(super) durability: Durability,
    /// The flags that are no extras'.
    pub(super) flags: RequestFlags,
    /// All but the deadline, which is known when the request is sent.
    pub(super) extras: Extras,
    pub(super) slot: Slot,
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) route: Route,
    pub(super) effect: Effect,
}

impl Call {
    /// Whether it is a write that the server does once, however often it is sent.
    fn is_numbered(&self) -> bool {
        self.extras.sequence.is_some()
    }
}

/// A reply.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) status: u8,
    pub(super) shard: ShardId,
    pub(super) version: u64,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn new(head: ReplyHead, body: Bytes) -> Self {
        Self { status: head.status, shard: head.shard, version: head.version, body }
    }

    /// Whether the same server may well do it in a moment.
    fn is_for_later(&self) -> bool {
        matches!(self.status(), Status::TokenNotReached | Status::NoLeader)
            || self.status() == Status::Error && self.body.starts_with(b"LOADING ")
    }

    /// Its status; a number from a later version of the protocol is an error.
    pub(super) fn status(&self) -> Status {
        Status::from_number(self.status).unwrap_or(Status::Error)
    }
}

/// A request that gets no reply, because the connection was lost.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    /// Whether the server may have it whole, and so may have done it.
    pub(super) sent: bool,
    pub(super) cause: Cause,
}

/// Whose turn it is to say what becomes of a request that waits for its connection.
#[derive(Debug, Default)]
pub(super) struct Stage(AtomicU8);

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const ABANDONED: u8 = 2;

impl Stage {
    /// The connection takes the request to send it; false if its caller has given up.
    pub(super) fn take(&self) -> bool {
        self.0.compare_exchange(QUEUED, TAKEN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The caller takes it back; false if it may have been sent by now.
    pub(super) fn withdraw(&self) -> bool {
        self.0.compare_exchange(QUEUED, ABANDONED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The caller gives up; true if the request may have been sent by now.
    pub(super) fn abandon(&self) -> bool {
        self.0.swap(ABANDONED, Ordering::AcqRel) == TAKEN
    }
}

/// One sending of a request.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) call: Arc<Call>,
    pub(super) deadline: Instant,
    pub(super) stage: Arc<Stage>,
    pub(super) reply: oneshot::Sender<Result<Answer, Lost>>,
    /// The request's share of the connection's bound, held until the server owes nothing for it.
    pub(super) permit: OwnedSemaphorePermit,
}

impl Attempt {
    /// Tells the caller that it was not sent.
    pub(super) fn not_sent(self, cause: Cause) {
        // Who has given up is not told.
        let _ = self.reply.send(Err(Lost { sent: false, cause }));
    }
}

/// The time of a request whose time is beyond what clocks can say.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// Sends `call` until there is a reply, its time is up, or sending it again could do it twice. The link
/// that it took last comes with the reply.
pub(super) async fn execute(
    hub: &Hub,
    call: Arc<Call>,
    timeout: Duration,
) -> Result<(Answer, Arc<Link>), Error> {
    let now = Instant::now();
    let deadline = now.checked_add(timeout).unwrap_or(now + FOR_EVER);
    let routes = hub.routes();
    routes.check_length(&call)?;
    hub.activity.requests.add(1);
    let link = routes.link(call.route).clone();
    drop(routes);
    let mut sending = Sending { hub, call, deadline, timeout, link, doubt: None, trouble: None };
    let mut backoff = None;
    for attempt in 0..CLIENT_ATTEMPTS_MAX {
        if attempt > 0 {
            hub.activity.retries.add(1);
            sending.link = hub.routes().link(sending.call.route).clone();
        }
        match sending.attempt().await? {
            Next::Answer(answer) => return sending.judge(answer),
            Next::Again => {}
            Next::AgainLater { epoch } => {
                let (min, max) = (hub.settings.backoff_min, hub.settings.backoff_max);
                let pause = backoff.get_or_insert_with(|| Backoff::new(min, max)).next();
                hub.wait_for_newer(epoch, deadline.min(Instant::now() + pause)).await;
            }
        }
    }
    Err(sending.given_up())
}

/// What to do after one attempt.
enum Next {
    Answer(Answer),
    Again,
    /// When the topology has another epoch than this, or after a pause.
    AgainLater {
        epoch: (u64, u64),
    },
}

struct Sending<'a> {
    hub: &'a Hub,
    call: Arc<Call>,
    deadline: Instant,
    timeout: Duration,
    /// Where the last attempt was made, or the next is.
    link: Arc<Link>,
    /// Why it is not known whether an earlier attempt was done.
    doubt: Option<Cause>,
    /// What went wrong last.
    trouble: Option<Cause>,
}

impl Sending<'_> {
    async fn attempt(&mut self) -> Result<Next, Error> {
        let moved = self.hub.moved_from(&self.link, self.call.route);
        match self.link.send(&self.call, self.deadline, moved).await {
            Ok(answer) if answer.status() == Status::Moved => {
                self.link.refresh();
                Ok(self.later(&answer))
            }
            Ok(answer) if answer.is_for_later() => Ok(self.later(&answer)),
            Ok(answer) if self.is_number_refused(&answer) => {
                self.hub.note_refusal(&self.call, &answer);
                self.forget_number();
                Ok(Next::Again)
            }
            Ok(answer) => Ok(Next::Answer(answer)),
            Err(Failure::Lost(lost)) => self.lost(lost),
            Err(Failure::TimedOut { sent, trouble }) => Err(self.late(sent, trouble)),
        }
    }

    /// The server can't do it yet, or not there.
    fn later(&mut self, answer: &Answer) -> Next {
        let message = String::from_utf8_lossy(&answer.body).into_owned();
        self.trouble = Some(Cause::Refused { status: answer.status(), message });
        Next::AgainLater { epoch: self.hub.routes().epoch() }
    }

    /// Whether the server can't do a write once that certainly has not been done: it has forgotten too much, or the
    /// clocks don't agree.
    fn is_number_refused(&self, answer: &Answer) -> bool {
        let is_refused = matches!(answer.status(), Status::Forgotten | Status::BadRequest);
        is_refused && self.call.is_numbered() && self.doubt.is_none()
    }

    /// From now on it is sent as to a server that does not know of numbers.
    fn forget_number(&mut self) {
        let call = Arc::make_mut(&mut self.call);
        let Extras { client, sequence, answered, .. } = &mut call.extras;
        (*client, *sequence, *answered) = (None, None, None);
    }

    /// Whether to go on without a reply.
    fn lost(&mut self, Lost { sent, cause }: Lost) -> Result<Next, Error> {
        if matches!(cause, Cause::NoReply(_)) {
            return Err(self.late(sent, None));
        }
        if sent {
            match self.call.effect {
                Effect::Read => {}
                _ if self.call.is_numbered() => {
                    Arc::make_mut(&mut self.call).flags.insert(RequestFlags::AGAIN);
                    self.doubt = Some(cause.clone());
                }
                Effect::Repeatable | Effect::Versioned => self.doubt = Some(cause.clone()),
                Effect::Write => return Err(self.unknown(cause)),
            }
        }
        let is_final = cause.is_final();
        self.trouble = Some(cause);
        if is_final { Err(self.given_up()) } else { Ok(Next::Again) }
    }

    /// The time is up.
    fn late(&mut self, sent: bool, trouble: Option<Cause>) -> Error {
        if sent && self.call.effect != Effect::Read {
            return self.unknown(Cause::NoReply(self.timeout));
        }
        if sent {
            self.trouble = None;
        } else if trouble.is_some() {
            self.trouble = trouble;
        }
        self.given_up()
    }

    /// What a reply means.
    fn judge(self, answer: Answer) -> Result<(Answer, Arc<Link>), Error> {
        let status = answer.status();
        if let Some(doubt) = self.doubt.clone() {
            // The condition may have been broken by this write itself.
            let changed = matches!(status, Status::VersionMismatch | Status::NotFound);
            if self.call.effect == Effect::Versioned && changed && !self.call.is_numbered() {
                return Err(self.unknown(Cause::Changed));
            }
            // What is final of a numbered write holds for all that was sent of it.
            if status.is_error() && !(self.call.is_numbered() && status.is_final()) {
                return Err(self.unknown(doubt));
            }
        }
        match status {
            Status::DeadlineExceeded => Err(self.timed_out()),
            status if status.is_error() => {
                Err(self.rejected(status, String::from_utf8_lossy(&answer.body).into_owned()))
            }
            _ => Ok((answer, self.link)),
        }
    }

    /// The error when time or attempts are used up.
    fn given_up(&self) -> Error {
        match (&self.doubt, &self.trouble) {
            (Some(doubt), _) => self.unknown(doubt.clone()),
            (None, Some(Cause::Refused { status, message })) => {
                self.rejected(*status, message.clone())
            }
            (None, Some(cause)) => Error::Unavailable {
                operation: self.call.name,
                address: self.link.address(),
                waited: self.waited(),
                cause: cause.clone(),
            },
            (None, None) => self.timed_out(),
        }
    }

    fn waited(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.timeout.saturating_sub(left)
    }

    fn timed_out(&self) -> Error {
        let (operation, address) = (self.call.name, self.link.address());
        Error::TimedOut { operation, address, waited: self.timeout }
    }

    fn unknown(&self, cause: Cause) -> Error {
        Error::UnknownFate { operation: self.call.name, address: self.link.address(), cause }
    }

    fn rejected(&self, status: Status, message: String) -> Error {
        let (operation, address) = (self.call.name, self.link.address());
        Error::Rejected { operation, address, status, message }
    }
}

#[cfg(test)]
mod tests {
    use super::Stage;

    #[test]
    fn either_the_connection_takes_a_request_or_its_caller_gives_it_up() {
        let stage = Stage::default();
        assert!(stage.take());
        assert!(stage.abandon(), "it may have been sent");
        let stage = Stage::default();
        assert!(!stage.abandon(), "it was not");
        assert!(!stage.take());
        let stage = Stage::default();
        assert!(stage.withdraw() && !stage.take(), "it is not sent");
        let stage = Stage::default();
        assert!(stage.take() && !stage.withdraw() && stage.abandon(), "it may have been sent");
    }
}
