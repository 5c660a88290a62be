//! Commands on the time a key has left.

use super::{Command, Error, Exec, Flags, Group, Handler, Keys, numbers};
use crate::cache::Access;
use crate::protocol::{Args, Reply};
use crate::types::UnixMs;

const fn writer(
    name: &'static str,
    handler: super::DataHandler,
    summary: &'static str,
    since: &'static str,
) -> Command {
    Command {
        name,
        arity: -3,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: Handler::Keyed(handler),
        group: Group::Generic,
        summary,
        since,
        steps: None,
        complexity: "O(1)",
    }
}

const fn reader(
    name: &'static str,
    handler: super::DataHandler,
    summary: &'static str,
    since: &'static str,
) -> Command {
    Command {
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        ..writer(name, handler, summary, since)
    }
}

/// The rows of this group.
pub const COMMANDS: &[Command] = &[
    writer("expire", expire, "Let a key expire after so many seconds", "1.0.0"),
    writer("pexpire", pexpire, "Let a key expire after so many milliseconds", "2.6.0"),
    writer("expireat", expireat, "Let a key expire at a Unix time in seconds", "1.2.0"),
    writer("pexpireat", pexpireat, "Let a key expire at a Unix time in milliseconds", "2.6.0"),
    reader("ttl", ttl, "Seconds a key has left", "1.0.0"),
    reader("pttl", pttl, "Milliseconds a key has left", "2.6.0"),
    reader("expiretime", expiretime, "Unix time in seconds at which a key expires", "7.0.0"),
    reader("pexpiretime", pexpiretime, "Unix time in milliseconds at which a key expires", "7.0.0"),
    Command {
        arity: 2,
        ..writer("persist", persist, "Take a key's expiry away, so that it stays", "2.2.0")
    },
];

/// The unit of a duration or time in an argument or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
}

/// What a time in an argument or reply counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Now,
    Epoch,
}

fn expire(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    set_expiry(exec, args, reply, (Unit::Seconds, From::Now))
}

fn pexpire(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    set_expiry(exec, args, reply, (Unit::Milliseconds, From::Now))
}

fn expireat(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    set_expiry(exec, args, reply, (Unit::Seconds, From::Epoch))
}

fn pexpireat(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    set_expiry(exec, args, reply, (Unit::Milliseconds, From::Epoch))
}

fn set_expiry(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    (unit, from): (Unit, From),
) -> Result<(), Error> {
    let conditions = Conditions::parse(args)?;
    let now = exec.now.unix;
    let when = absolute_ms(numbers::integer(args.at(2))?, unit, from, now).ok_or_else(|| {
        let name = match (unit, from) {
            (Unit::Seconds, From::Now) => "expire",
            (Unit::Milliseconds, From::Now) => "pexpire",
            (Unit::Seconds, From::Epoch) => "expireat",
            (Unit::Milliseconds, From::Epoch) => "pexpireat",
        };
        Error::Text(format!("ERR invalid expire time in '{name}' command"))
    })?;
    let (key, access) = (exec.key(args.at(1)), exec.write_access());
    let keyspace = exec.keyspace(key);
    let applies =
        keyspace.get(key, now, access).is_some_and(|entry| conditions.hold(entry.expires_at, when));
    if applies {
        // A time before the epoch is one that has passed.
        match u64::try_from(when) {
            Ok(when) if UnixMs(when) > now => {
                keyspace.set_expiry(key, Some(UnixMs(when)), now);
            }
            Ok(_) | Err(_) => {
                keyspace.remove(key, now);
            }
        }
        keyspace.count_change();
    }
    reply.integer(i64::from(applies));
    Ok(())
}

/// `value` as a Unix time in milliseconds; `None` if that is beyond 64 bits.
fn absolute_ms(value: i64, unit: Unit, from: From, now: UnixMs) -> Option<i64> {
    let ms = match unit {
        Unit::Seconds => value.checked_mul(1000)?,
        Unit::Milliseconds => value,
    };
    match from {
        From::Now => ms.checked_add(i64::try_from(now.0).ok()?),
        From::Epoch => Some(ms),
    }
}

/// When a new expiry may replace the present one.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(args: &Args<'_>) -> Result<Self, Error> {
        let mut all = Self::default();
        for option in args.from(3) {
            let condition = match &option.to_ascii_lowercase()[..] {
                b"nx" => &mut all.nx,
                b"xx" => &mut all.xx,
                b"gt" => &mut all.gt,
                b"lt" => &mut all.lt,
                _ => {
                    let option = String::from_utf8_lossy(option);
                    return Err(Error::Text(format!("ERR Unsupported option {option}")));
                }
            };
            *condition = true;
        }
        if all.nx && (all.xx || all.gt || all.lt) {
            return Err(Error::Static(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if all.gt && all.lt {
            return Err(Error::Static("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(all)
    }

    /// Whether a key that expires at `present` may expire at `when` instead. No expiry is later than
    /// any.
    fn hold(self, present: Option<UnixMs>, when: i64) -> bool {
        let Some(present) = present else { return !self.xx && !self.gt };
        let (present, when) = (i128::from(present.0), i128::from(when));
        !self.nx && (!self.gt || when > present) && (!self.lt || when < present)
    }
}

fn ttl(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    read_expiry(exec, args, reply, (Unit::Seconds, From::Now));
    Ok(())
}

fn pttl(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    read_expiry(exec, args, reply, (Unit::Milliseconds, From::Now));
    Ok(())
}

fn expiretime(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    read_expiry(exec, args, reply, (Unit::Seconds, From::Epoch));
    Ok(())
}

fn pexpiretime(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    read_expiry(exec, args, reply, (Unit::Milliseconds, From::Epoch));
    Ok(())
}

/// Answers -2 for no key, -1 for no expiry.
fn read_expiry(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    (unit, from): (Unit, From),
) {
    let (key, now) = (exec.key(args.at(1)), exec.now.unix);
    let entry = exec.keyspace(key).get(key, now, Access::ReadNoTouch);
    reply.integer(match entry.map(|entry| entry.expires_at) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => {
            let ms = match from {
                From::Now => at.0.saturating_sub(now.0),
                From::Epoch => at.0,
            };
            let shown = match unit {
                // To the nearest second, as Redis does.
                Unit::Seconds => ms.saturating_add(500) / 1000,
                Unit::Milliseconds => ms,
            };
            i64::try_from(shown).unwrap_or(i64::MAX)
        }
    });
}

fn persist(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (key, now, access) = (exec.key(args.at(1)), exec.now.unix, exec.write_access());
    let keyspace = exec.keyspace(key);
    let has_expiry = keyspace.get(key, now, access).is_some_and(|entry| entry.expires_at.is_some());
    if has_expiry {
        keyspace.set_expiry(key, None, now);
        keyspace.count_change();
    }
    reply.integer(i64::from(has_expiry));
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::command::replay::check;

    pub(crate) const SCRIPT: &[(&str, &str)] = &[
        ("EXPIRE a", "-ERR wrong number of arguments for 'expire' command"),
        ("TTL", "-ERR wrong number of arguments for 'ttl' command"),
        ("PERSIST a b", "-ERR wrong number of arguments for 'persist' command"),
        ("TTL a", ":-2"),
        ("PTTL a", ":-2"),
        ("EXPIRETIME a", ":-2"),
        ("PEXPIRETIME a", ":-2"),
        ("PERSIST a", ":0"),
        ("EXPIRE a 10", ":0"),
        ("SET a 1", "+OK"),
        ("TTL a", ":-1"),
        ("PTTL a", ":-1"),
        ("EXPIRETIME a", ":-1"),
        ("PEXPIRETIME a", ":-1"),
        ("PERSIST a", ":0"),
        ("EXPIRE a 100", ":1"),
        ("TTL a", ":100"),
        ("PEXPIRE a 5600", ":1"),
        ("TTL a", ":6"),
        ("EXPIREAT a 33177117420", ":1"),
        ("EXPIRETIME a", ":33177117420"),
        ("PEXPIRETIME a", ":33177117420000"),
        ("PEXPIREAT a 33177117420499", ":1"),
        ("EXPIRETIME a", ":33177117420"),
        ("PEXPIREAT a 33177117420500", ":1"),
        ("EXPIRETIME a", ":33177117421"),
        ("PEXPIRETIME a", ":33177117420500"),
        ("PERSIST a", ":1"),
        ("TTL a", ":-1"),
        // Arguments are checked options first, then the number, then the key.
        ("EXPIRE a x", "-ERR value is not an integer or out of range"),
        ("EXPIRE a 1.5", "-ERR value is not an integer or out of range"),
        ("EXPIRE nokey x", "-ERR value is not an integer or out of range"),
        ("EXPIRE a x foo", "-ERR Unsupported option foo"),
        ("EXPIRE a x NX foo", "-ERR Unsupported option foo"),
        ("EXPIRE a 10 \"f\\x0a\\x0do\"", "-ERR Unsupported option f  o"),
        (
            "EXPIRE a x NX XX",
            "-ERR NX and XX, GT or LT options at the same time are not compatible",
        ),
        (
            "PEXPIRE a 1 nx gt",
            "-ERR NX and XX, GT or LT options at the same time are not compatible",
        ),
        (
            "EXPIREAT a 1 LT NX",
            "-ERR NX and XX, GT or LT options at the same time are not compatible",
        ),
        ("PEXPIREAT a 1 GT LT", "-ERR GT and LT options at the same time are not compatible"),
        ("PEXPIREAT a 1 XX LT GT", "-ERR GT and LT options at the same time are not compatible"),
        ("EXPIRE a 9223372036854775807", "-ERR invalid expire time in 'expire' command"),
        ("EXPIRE a -9223372036854775808", "-ERR invalid expire time in 'expire' command"),
        ("EXPIRE a 9223372036854776", "-ERR invalid expire time in 'expire' command"),
        ("EXPIRE a 9223372036854775", "-ERR invalid expire time in 'expire' command"),
        ("EXPIRE nokey 9223372036854775", "-ERR invalid expire time in 'expire' command"),
        ("EXPIREAT a 9223372036854776", "-ERR invalid expire time in 'expireat' command"),
        ("PEXPIRE a 9223372036854775807", "-ERR invalid expire time in 'pexpire' command"),
        ("PEXPIREAT a 9223372036854775808", "-ERR value is not an integer or out of range"),
        ("PEXPIREAT a 9223372036854775807", ":1"),
        ("PEXPIRETIME a", ":9223372036854775807"),
        ("EXPIRETIME a", ":9223372036854776"),
        ("EXPIREAT a 9223372036854775", ":1"),
        ("PEXPIRETIME a", ":9223372036854775000"),
        // Conditions on a key that has an expiry.
        ("EXPIRE a 1000 NX", ":0"),
        ("EXPIRE a 1000 XX", ":1"),
        ("EXPIRE a 1000 xx gt", ":0"),
        ("EXPIRE a 2000 GT", ":1"),
        ("EXPIRE a 1000 GT", ":0"),
        ("EXPIRE a 3000 LT", ":0"),
        ("EXPIRE a 1000 LT", ":1"),
        ("TTL a", ":1000"),
        ("PEXPIREAT a 33177117420000 GT", ":1"),
        ("PEXPIREAT a 33177117420000 GT", ":0"),
        ("PEXPIREAT a 33177117420000 LT", ":0"),
        ("PEXPIREAT a 33177117419999 XX LT", ":1"),
        // And on one that has none, which counts as later than any.
        ("PERSIST a", ":1"),
        ("EXPIRE a 1000 XX", ":0"),
        ("EXPIRE a 1000 GT", ":0"),
        ("EXPIRE a 1000 XX GT", ":0"),
        ("EXPIRE a 1000 XX LT", ":0"),
        ("EXPIRE a 1000 LT", ":1"),
        ("PERSIST a", ":1"),
        ("EXPIRE a 1000 NX NX", ":1"),
        // A time that has passed removes the key, if the condition holds.
        ("EXPIRE a -1 GT", ":0"),
        ("EXPIRE a -1 NX", ":0"),
        ("EXPIRE a 0", ":1"),
        ("EXISTS a", ":0"),
        ("SET a 1", "+OK"),
        ("EXPIRE a -1 LT", ":1"),
        ("EXISTS a", ":0"),
        ("SET a 1", "+OK"),
        ("PEXPIRE a -9223372036854775808 NX", ":1"),
        ("EXISTS a", ":0"),
        ("SET a 1", "+OK"),
        ("PEXPIREAT a -9223372036854775808", ":1"),
        ("EXISTS a", ":0"),
        ("SET a 1", "+OK"),
        ("EXPIREAT a 1", ":1"),
        ("EXPIREAT a 1", ":0"),
        ("EXPIRE a -1", ":0"),
        // Time passes.
        ("SET a 1", "+OK"),
        ("PEXPIRE a 40", ":1"),
        ("EXISTS a", ":1"),
        ("@sleep 60", ""),
        ("TTL a", ":-2"),
        ("EXPIRE a 10", ":0"),
        ("PERSIST a", ":0"),
    ];

    #[test]
    fn script() {
        check(SCRIPT);
    }
}
