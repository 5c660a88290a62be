//! Writes of the binary protocol that name their client and a sequence: one that is asked for again is done once, and
//! answered as it was the first time.
//!
//! Whoever leads the shard has all that was acknowledged, outcomes included: they are in the same record as what the
//! write has changed. Of a first attempt that has changed nothing none is kept: no other attempt can be on its way, unless
//! its client sends one before it has this one's reply, and then it believes that one's. What is answered to a retry is
//! kept whatever it is, and with it the answer to all attempts that come later. Only what says nothing of the write, but
//! that it can't be done now or here, is not.

use super::{Around, Call, Shard};
use crate::cache::{Attempt, Outcome, OutcomeBody, Recalled, STATUS_MAX};
use crate::command::Error;
use crate::command::binary::{Answer, DataOperation, Failure, Native};
use crate::command::counters::SUM_OVERFLOWS;
use crate::config::Durability;
use crate::limits::CLIENT_CLOCK_AHEAD_MS;
use crate::plant::{Fault, is_planted};
use crate::protocol::Args;
use crate::protocol::binary::{CLOCK_AHEAD, Extras, RequestFlags, Status};
use crate::types::{LogIndex, UnixMs};

const FORGOTTEN: Failure = Failure::new(
    Status::Forgotten,
    "FORGOTTEN whether an earlier attempt of this write was done can't be told any more: nothing was done now",
);

impl Shard {
    /// Runs a request, unless it has been done before.
    #[cold]
    pub(super) fn execute_once(
        &mut self,
        operation: DataOperation,
        (call, native): (&Call, &Native),
        args: &Args<'_>,
        around: Around<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Answer, Failure> {
        self.check_serving()?;
        let attempt = read_attempt(native.head.flags, args.at(0))?;
        match self.recall(&attempt) {
            Recalled::Done(outcome) => return self.repeat(outcome, call.durability, out),
            Recalled::Forgotten => return Err(FORGOTTEN),
            Recalled::New => check_clock(&attempt, around.now.unix)?,
        }
        let (before, start) = (self.keyspace.sequence(), out.len());
        let result = self.execute_operation(operation, (call, native), args, around, out);
        if let Some(outcome) = outcome_of(&result, &out[start..]) {
            self.keep_outcome(&attempt, before, outcome);
        }
        result
    }

    /// What is known of an attempt that is about to be run.
    pub(crate) fn recall(&mut self, attempt: &Attempt) -> Recalled {
        match self.keyspace.recall(attempt) {
            Recalled::Done(_) if is_planted(Fault::ApplyRetry) => Recalled::New,
            recalled => recalled,
        }
    }

    /// Keeps what became of an attempt that was run when the keyspace's sequence was `before`: if it has changed something,
    /// or if others may be on their way.
    pub(crate) fn keep_outcome(&mut self, attempt: &Attempt, before: u64, outcome: Outcome) {
        let is_done = outcome.status == Status::Ok.number();
        if is_done && self.keyspace.sequence() > before {
            self.keyspace.keep_outcome(attempt, outcome.body);
        } else if attempt.is_again && !is_planted(Fault::ForgetUnchanged) {
            self.keyspace.keep_unchanged(attempt, outcome);
        }
    }

    /// Answers as the first time.
    fn repeat(
        &mut self,
        outcome: Outcome,
        durability: Option<Durability>,
        out: &mut Vec<u8>,
    ) -> Result<Answer, Failure> {
        let refusal = self.log.as_ref().and_then(|log| log.refusal);
        if let Some(refusal) = refusal.filter(|refusal| refusal.is_for_good()) {
            return Err(Error::LogRefused(refusal).into());
        }
        self.check_durability(durability)?;
        let Outcome { version, status, body } = outcome;
        let status = Status::from_number(status).unwrap_or(Status::Error);
        if status.is_error() {
            return Err(failure_of(status));
        }
        out.extend(body.into_iter().flatten());
        Ok(Answer { status, shard: self.id, version, is_repeated: true })
    }

    /// Notes that somebody waits for all that has been changed so far to be on disk, by whomever: answers the record to
    /// wait for, if there is one. All that was changed before the log began is in its first snapshot, which no record
    /// before the first stands for: then one is written that holds nothing.
    pub fn want_sync_of_all(&mut self) -> Option<LogIndex> {
        let log = self.log.as_mut().filter(|log| !log.is_ending)?;
        let last = LogIndex(log.stream.next_index().0 - 1);
        if log.stream.is_base_missing() && last.0 == 0 {
            self.keyspace.ask_for_record();
        }
        if self.keyspace.changes_len() > 0 {
            return self.want_sync();
        }
        log.wanted = log.wanted.max(last);
        Some(last)
    }
}

/// What a reply says of all attempts of a write; nothing if it is only about this one.
fn outcome_of(result: &Result<Answer, Failure>, body: &[u8]) -> Option<Outcome> {
    let (status, version) = match result {
        Ok(answer) => (answer.status, answer.version),
        Err(failure) if failure.status.is_final() => (failure.status, 0),
        Err(_) => return None,
    };
    Some(Outcome { version, status: status.number(), body: body_of(body) })
}

/// The body of a reply, which is a number or nothing.
fn body_of(bytes: &[u8]) -> OutcomeBody {
    debug_assert!(bytes.is_empty() || bytes.len() == 8, "a write answers a number or nothing");
    bytes.try_into().ok()
}

/// What a write has failed with, whose status is all that was kept.
fn failure_of(status: Status) -> Failure {
    match status {
        Status::NotANumber => Error::NotAnInteger.into(),
        Status::Overflow => SUM_OVERFLOWS.into(),
        Status::WrongType => Error::WrongType.into(),
        Status::TooLarge => Error::StringTooLong.into(),
        status => Failure::new(status, "ERR an earlier attempt of this write has failed"),
    }
}

/// Who asks for what, if it makes sense.
fn read_attempt(flags: RequestFlags, extras: &[u8]) -> Result<Attempt, Failure> {
    let extras = Extras::read(flags, extras);
    let (Some(client), Some(sequence)) = (extras.client, extras.sequence) else {
        return Err(Failure::bad("BADREQUEST client and sequence are given together"));
    };
    let answered = extras.answered.unwrap_or(0);
    if answered > sequence {
        return Err(Failure::bad("BADREQUEST the sequence is one that the client won't ask for"));
    }
    let is_again = flags.contains(RequestFlags::AGAIN);
    Ok(Attempt { client, sequence, answered, is_again })
}

/// Whether the sequence of a write that is new is a time that has come; if not, the client is told the time.
fn check_clock(attempt: &Attempt, now: UnixMs) -> Result<(), Failure> {
    if attempt.sequence > now.0.saturating_add(CLIENT_CLOCK_AHEAD_MS).saturating_mul(1000) {
        let text = format!(
            "{CLOCK_AHEAD} {} the sequence is a time that is far from having come",
            now.0.saturating_mul(1000)
        );
        return Err(Failure { status: Status::BadRequest, text: text.into() });
    }
    Ok(())
}

/// What the cache keeps of statuses has room for all that are kept.
const _: () = assert!(Status::TooLarge.number() <= STATUS_MAX);
