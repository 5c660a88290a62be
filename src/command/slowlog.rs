//! `SLOWLOG`: the commands that took longer than `slowlog-log-slower-than`.

use super::numbers::parse_i64;
use super::row::{subcommand_syntax, write_help};
use super::{Command, Error, Flags, Group, SessionCx};
use crate::protocol::{Args, Reply};

const ADMIN: Flags = Flags::ADMIN.union(Flags::LOADING).union(Flags::STALE);
/// Entries that `SLOWLOG GET` answers when it is not told how many.
const COUNT_DEFAULT: usize = 10;

/// The rows of this file.
pub const COMMANDS: &[Command] = &[Command::container(
    "slowlog",
    Group::Server,
    ROWS,
    "2.2.12",
    "Commands on the log of slow commands.",
)];

const ROWS: &[Command] = &[
    Command::session("get", -2, Group::Server, get)
        .with(ADMIN)
        .doc("2.2.12", "Answers the newest entries.")
        .cost("O(N) in the number of entries"),
    Command::session("help", 2, Group::Server, help)
        .with(Flags::LOADING.union(Flags::STALE))
        .doc("6.2.0", "Tells what the subcommands do."),
    Command::session("len", 2, Group::Server, len)
        .with(ADMIN)
        .doc("2.2.12", "Answers the number of entries."),
    Command::session("reset", 2, Group::Server, reset)
        .with(ADMIN)
        .doc("2.2.12", "Drops all entries.")
        .cost("O(N) in the number of entries"),
];

const HELP_LINES: &[&str] = &[
    "GET [<count>]",
    "    The newest entries (10 unless told, -1 for all), each with its id, time, duration in",
    "    microseconds, arguments, and the client's address and name.",
    "LEN",
    "    Number of entries.",
    "RESET",
    "    Drop all entries.",
];

fn help(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    write_help("SLOWLOG", HELP_LINES, reply);
    Ok(())
}

fn len(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.integer(i64::try_from(cx.node.slow_log.length()).unwrap_or(i64::MAX));
    Ok(())
}

fn reset(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    cx.node.slow_log.reset();
    reply.ok();
    Ok(())
}

fn get(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let count = match args.get(2) {
        None => COUNT_DEFAULT,
        Some(_) if args.len() > 3 => return Err(subcommand_syntax(args)),
        Some(count) => parse_count(count)?,
    };
    let entries = cx.node.slow_log.newest(count);
    let integer = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        reply.integer(integer(entry.id));
        reply.integer(integer(entry.at.0 / 1000));
        reply.integer(integer(entry.duration_us));
        reply.array(entry.args.len());
        for argument in &entry.args {
            reply.bulk(argument);
        }
        reply.bulk(entry.client_addr.as_bytes());
        reply.bulk(entry.client_name.as_bytes());
    }
    Ok(())
}

/// A number of entries; -1 is all.
fn parse_count(argument: &[u8]) -> Result<usize, Error> {
    match parse_i64(argument) {
        Some(-1) => Ok(usize::MAX),
        Some(count @ 0..) => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
        _ => Err(Error::Static("ERR count should be greater than or equal to -1")),
    }
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Client, node};
    use crate::types::UnixMs;

    #[test]
    fn entries_are_told_newest_first() {
        let node = node();
        let add = |word: &[u8]| {
            let client = ("127.0.0.1:1".to_owned(), "me".to_owned());
            let at = UnixMs(1_700_000_000_999);
            node.slow_log.add([&b"get"[..], word].into_iter(), 12, at, client, 128);
        };
        add(b"a");
        add(b"b");
        let entry =
            |id, key| format!("*6⏎:{id}⏎:1700000000⏎:12⏎*2⏎$3⏎get⏎$1⏎{key}⏎$11⏎127.0.0.1:1⏎$2⏎me");
        let count = "-ERR count should be greater than or equal to -1";
        Client::new(&node, 6379).check(&[
            ("SLOWLOG LEN", ":2"),
            ("SLOWLOG GET", &format!("*2⏎{}⏎{}", entry(1, "b"), entry(0, "a"))),
            ("SLOWLOG GET -1", &format!("*2⏎{}⏎{}", entry(1, "b"), entry(0, "a"))),
            ("SLOWLOG GET 1", &format!("*1⏎{}", entry(1, "b"))),
            ("SLOWLOG GET 0", "*0"),
            ("SLOWLOG GET -2", count),
            ("SLOWLOG GET x", count),
            (
                "SLOWLOG GET 1 2",
                "-ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.",
            ),
            ("SLOWLOG RESET", "+OK"),
            ("SLOWLOG GET", "*0"),
        ]);
    }
}
