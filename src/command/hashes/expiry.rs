//! Fields that expire: `HEXPIRE` and its like set the times, `HTTL` and its like tell them, `HPERSIST` takes
//! them away. Each answers with one number for each field named.

use crate::cache::Missing;
use crate::collection::{Collection, Edit, Hash, Value};
use crate::command::numbers::{integer, parse_i64};
use crate::command::{Error, Exec, events};
use crate::protocol::{Args, Reply};
use crate::types::UnixMs;

/// The latest time at which a field may expire, as in Redis: 2^46 - 1 milliseconds, in the year 4199.
const LATEST_MS: i64 = (1 << 46) - 1;

/// Answered for a field that is not there.
const NO_FIELD: i64 = -2;
/// Answered for a field that does not expire.
const NO_EXPIRY: i64 = -1;

/// How a time in an argument or a reply is meant.
#[derive(Clone, Copy, Debug)]
struct Meaning {
    /// Milliseconds of its unit.
    unit_ms: i64,
    /// Whether it counts from now, or from the Unix epoch.
    is_relative: bool,
}

const SECONDS: Meaning = Meaning { unit_ms: 1000, is_relative: true };
const MILLISECONDS: Meaning = Meaning { unit_ms: 1, is_relative: true };
const UNIX_SECONDS: Meaning = Meaning { unit_ms: 1000, is_relative: false };
const UNIX_MILLISECONDS: Meaning = Meaning { unit_ms: 1, is_relative: false };

impl Meaning {
    /// What it counts from.
    fn base_ms(self, now: UnixMs) -> i64 {
        if self.is_relative { i64::try_from(now.0).unwrap_or(i64::MAX) } else { 0 }
    }

    /// The time in `text`, which is an argument of `command`.
    fn parse(self, text: &[u8], now: UnixMs, command: &str) -> Result<UnixMs, Error> {
        let count = integer(text)?;
        if count < 0 {
            return Err(Error::Static("ERR invalid expire time, must be >= 0"));
        }
        let ms = count.checked_mul(self.unit_ms).and_then(|ms| ms.checked_add(self.base_ms(now)));
        ms.filter(|ms| *ms <= LATEST_MS)
            .and_then(|ms| u64::try_from(ms).ok())
            .map(UnixMs)
            .ok_or_else(|| Error::Text(format!("ERR invalid expire time in '{command}' command")))
    }

    /// A time as it is answered, up to the next whole unit.
    fn show(self, at: UnixMs, now: UnixMs) -> i64 {
        let ms = i64::try_from(at.0).unwrap_or(i64::MAX).saturating_sub(self.base_ms(now));
        ms.saturating_add(self.unit_ms - 1) / self.unit_ms
    }
}

pub(super) fn hexpire(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    set_expiry(exec, args, reply, ("hexpire", SECONDS))
}

pub(super) fn hpexpire(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    set_expiry(exec, args, reply, ("hpexpire", MILLISECONDS))
}

pub(super) fn hexpireat(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    set_expiry(exec, args, reply, ("hexpireat", UNIX_SECONDS))
}

pub(super) fn hpexpireat(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    set_expiry(exec, args, reply, ("hpexpireat", UNIX_MILLISECONDS))
}

pub(super) fn httl(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    read_expiry(exec, args, reply, SECONDS)
}

pub(super) fn hpttl(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    read_expiry(exec, args, reply, MILLISECONDS)
}

pub(super) fn hexpiretime(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    read_expiry(exec, args, reply, UNIX_SECONDS)
}

pub(super) fn hpexpiretime(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    read_expiry(exec, args, reply, UNIX_MILLISECONDS)
}

fn set_expiry(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    (command, meaning): (&str, Meaning),
) -> Result<(), Error> {
    let now = exec.now.unix;
    // The type is looked at before the arguments are.
    check_type(exec, args)?;
    let at = meaning.parse(args.at(2), now, command)?;
    let condition = Condition::named(args.at(3));
    let count_at = if condition.is_some() { 5 } else { 4 };
    const COUNT_REFUSED: &str = "ERR Parameter `numFields` should be greater than 0";
    let fields = named_fields(args, count_at, COUNT_REFUSED)?;
    let mut has_changed = false;
    answer_each(exec, args, reply, fields, |hash, edit, field| {
        let Some(entry) = hash.view().get(field, now) else { return NO_FIELD };
        if condition.is_some_and(|condition| !condition.holds(entry.expires_at, at)) {
            return 0;
        }
        has_changed = true;
        if at <= now {
            hash.remove(field, now, edit);
            return 2;
        }
        hash.set_expiry(field, Some(at), edit);
        1
    })?;
    if has_changed {
        // The time is the same for all fields: either each expires then, or each has gone.
        let event = if at <= now { events::HDEL } else { events::HEXPIRE };
        exec.tell(exec.key(args.at(1)), event);
    }
    Ok(())
}

pub(super) fn hpersist(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let now = exec.now.unix;
    check_type(exec, args)?;
    let fields = named_fields(args, 3, NOT_POSITIVE)?;
    answer_each(exec, args, reply, fields, |hash, edit, field| {
        match hash.view().get(field, now).map(|entry| entry.expires_at) {
            None => NO_FIELD,
            Some(None) => NO_EXPIRY,
            Some(Some(_)) => {
                hash.set_expiry(field, None, edit);
                1
            }
        }
    })
}

fn read_expiry(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    meaning: Meaning,
) -> Result<(), Error> {
    let (key, now) = (exec.key(args.at(1)), exec.now.unix);
    let hash = exec.read::<Hash>(key)?;
    let fields = named_fields(args, 3, NOT_POSITIVE)?;
    reply.array(fields.len());
    for field in fields {
        let entry = hash.and_then(|hash| hash.get(field, now));
        reply.integer(match entry.map(|entry| entry.expires_at) {
            None => NO_FIELD,
            Some(None) => NO_EXPIRY,
            Some(Some(at)) => meaning.show(at, now),
        });
    }
    Ok(())
}

/// Refuses a key that holds something else than a hash.
fn check_type(exec: &Exec<'_>, args: &Args<'_>) -> Result<(), Error> {
    match exec.peek_value(exec.key(args.at(1))) {
        None | Some(Value::Hash(_)) => Ok(()),
        Some(_) => Err(Error::WrongType),
    }
}

const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

/// The fields behind the word `FIELDS` and their number, which is argument `count_at`; `refused` is
/// answered where it is none.
fn named_fields<'a>(
    args: &Args<'a>,
    count_at: usize,
    refused: &'static str,
) -> Result<impl ExactSizeIterator<Item = &'a [u8]> + use<'a>, Error> {
    if !args.at(count_at - 1).eq_ignore_ascii_case(b"fields") {
        return Err(Error::Static(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let count = parse_i64(args.at(count_at)).filter(|count| *count > 0);
    let count = count.ok_or(Error::Static(refused))?;
    let fields = args.from(count_at + 1);
    if usize::try_from(count) != Ok(fields.len()) {
        return Err(Error::Static(
            "ERR The `numfields` parameter must match the number of arguments",
        ));
    }
    Ok(fields)
}

/// Answers with what `change` answers for each field; if there is no hash, that there is no such field.
fn answer_each<'a>(
    exec: &mut Exec<'_>,
    args: &Args<'a>,
    reply: &mut Reply<'_>,
    fields: impl ExactSizeIterator<Item = &'a [u8]>,
    mut change: impl FnMut(&mut Hash, &mut Edit<'_>, &[u8]) -> i64,
) -> Result<(), Error> {
    let (key, count) = (exec.key(args.at(1)), fields.len());
    reply.array(count);
    let changed = exec.change::<Hash, _>(key, Missing::Skip, |hash, edit| {
        fields.for_each(|field| reply.integer(change(hash, edit, field)));
    })?;
    if changed.is_none() {
        (0..count).for_each(|_| reply.integer(NO_FIELD));
    }
    Ok(())
}

/// When a new expiry may replace the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    NoneYet,
    SomeAlready,
    Later,
    Sooner,
}

impl Condition {
    fn named(word: &[u8]) -> Option<Self> {
        match &word.to_ascii_lowercase()[..] {
            b"nx" => Some(Self::NoneYet),
            b"xx" => Some(Self::SomeAlready),
            b"gt" => Some(Self::Later),
            b"lt" => Some(Self::Sooner),
            _ => None,
        }
    }

    /// Whether a field that expires at `present` may expire at `at` instead. No expiry is later than any.
    fn holds(self, present: Option<UnixMs>, at: UnixMs) -> bool {
        match self {
            Self::NoneYet => present.is_none(),
            Self::SomeAlready => present.is_some(),
            Self::Later => present.is_some_and(|present| at > present),
            Self::Sooner => present.is_none_or(|present| at < present),
        }
    }
}
