//! Commands on the server as a whole: time, role, monitoring, debugging, stopping.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::connection::REDIS_VERSION;
use super::numbers::parse_i64;
use super::object;
use super::replication::Standing;
use super::row::write_help;
use super::{Action, Command, Error, Flags, Group, SessionCx};
use crate::node::ClientFlags;
use crate::protocol::{Args, Reply};

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

/// The rows of this file.
pub const COMMANDS: &[Command] = &[
    Command::session("time", 1, Group::Server, time)
        .with(Flags::LOADING.union(Flags::STALE).union(Flags::FAST))
        .doc("2.6.0", "Answers the server's wall clock."),
    Command::session("role", 1, Group::Server, role)
        .with(Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE).union(Flags::FAST))
        .doc("2.8.12", "Answers the server's place in replication."),
    Command::session("lolwut", -1, Group::Server, lolwut)
        .with(Flags::READONLY.union(Flags::FAST))
        .doc("5.0.0", "Draws something, and tells the version."),
    Command::session("monitor", 1, Group::Server, monitor)
        .with(ADMIN)
        .doc("1.0.0", "Shows this client every command that the server runs from now on."),
    Command::session("shutdown", -1, Group::Server, shutdown)
        .with(ADMIN.union(Flags::NO_MULTI))
        .doc("1.0.0", "Stops the server."),
    Command::container("debug", Group::Server, DEBUG, "1.0.0", "Commands for tests of the server.")
        .with(ADMIN.union(Flags::PROTECTED)),
];

const DEBUG: &[Command] = &[
    debug_row("help", 2, debug_help).doc("1.0.0", "Tells what the subcommands do."),
    debug_row("sleep", 3, debug_sleep).doc("1.0.0", "Keeps this core from doing anything."),
    debug_row("set-active-expire", 3, debug_set_active_expire)
        .doc("1.0.0", "Whether expired keys are removed without being asked for."),
    object::DEBUG_OBJECT,
];

const fn debug_row(name: &'static str, arity: i8, handler: super::SessionHandler) -> Command {
    Command::session(name, arity, Group::Server, handler).with(ADMIN.union(Flags::PROTECTED))
}

/// Number `n` as a bulk string of its digits.
fn bulk_number(n: u64, reply: &mut Reply<'_>) {
    reply.bulk(n.to_string().as_bytes());
}

fn time(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let now_us = cx.now.unix_us;
    reply.array(2);
    bulk_number(now_us / 1_000_000, reply);
    bulk_number(now_us % 1_000_000, reply);
    Ok(())
}

fn role(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    if let Some(standing) = Standing::of(cx) {
        standing.write_role(reply);
        return Ok(());
    }
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(0);
    reply.array(0);
    Ok(())
}

fn monitor(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    if cx.session.transaction.is_running {
        return Err(Error::Static("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if !cx.session.monitor {
        cx.session.monitor = true;
        cx.session.info.set_flags(ClientFlags::MONITOR, true);
        cx.actions.push(Action::Monitor);
    }
    reply.ok();
    Ok(())
}

// --- LOLWUT --------------------------------------------------------------------------------------

/// Rows and columns of the drawing; a character is about twice as high as wide.
const DRAWING_ROWS: i32 = 11;
const DRAWING_COLUMNS: i32 = 23;

fn lolwut(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut text = ring(cx.node.slots.core_count());
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "\nOne ring, {} in it. Ringmain {}, Redis ver. {REDIS_VERSION}",
        match cx.node.slots.core_count() {
            1 => "1 core".to_owned(),
            cores => format!("{cores} cores"),
        },
        env!("CARGO_PKG_VERSION"),
    );
    reply.verbatim(&text);
    Ok(())
}

/// A ring of dots with one `O` for each core, evenly spread, as far as there is room.
fn ring(cores: u16) -> String {
    let (height, width) = (f64::from(DRAWING_ROWS - 1), f64::from(DRAWING_COLUMNS - 1));
    let beads = 72_u32;
    let mut rows = vec![vec![' '; DRAWING_COLUMNS as usize]; DRAWING_ROWS as usize];
    for bead in 0..beads {
        let angle = f64::from(bead) / f64::from(beads) * std::f64::consts::TAU;
        let place = |length: f64, part: f64| (length / 2.0 * (1.0 + part) + 1e-9).round().max(0.0);
        let is_core = bead * u32::from(cores) % beads < u32::from(cores);
        #[expect(clippy::cast_possible_truncation, reason = "within the drawing")]
        let (row, column) =
            (place(height, -angle.cos()) as usize, place(width, angle.sin()) as usize);
        if is_core || rows[row][column] == ' ' {
            rows[row][column] = if is_core { 'O' } else { '.' };
        }
    }
    let lines = rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned() + "\n");
    lines.collect()
}

// --- DEBUG ---------------------------------------------------------------------------------------

const DEBUG_HELP: &[&str] = &[
    "OBJECT <key>",
    "    How the value of a key is kept.",
    "SET-ACTIVE-EXPIRE (0|1)",
    "    Whether expired keys are removed without being asked for.",
    "SLEEP <seconds>",
    "    Let this core do nothing for so long; fractions are allowed.",
];

fn debug_help(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    write_help("DEBUG", DEBUG_HELP, reply);
    Ok(())
}

fn debug_sleep(
    cx: &mut SessionCx<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let seconds = str::from_utf8(args.at(2)).ok().and_then(|text| text.parse::<f64>().ok());
    // As in Redis, what is not a number is a sleep of no time.
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    cx.actions.push(Action::Sleep(duration.unwrap_or_default()));
    reply.ok();
    Ok(())
}

fn debug_set_active_expire(
    cx: &mut SessionCx<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let on = parse_i64(args.at(2)).is_some_and(|value| value != 0);
    cx.node.active_expire.store(on, Ordering::Relaxed);
    reply.ok();
    Ok(())
}

// --- SHUTDOWN ------------------------------------------------------------------------------------

bitflags::bitflags! {
    /// Options of `SHUTDOWN`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Stop: u8 {
        const NOSAVE = 1 << 0;
        const SAVE = 1 << 1;
        const NOW = 1 << 2;
        const FORCE = 1 << 3;
        const ABORT = 1 << 4;
    }
}

/// Nothing is saved, so a stop with `SAVE` fails unless it is forced; the others are the same.
/// There is no reply to a stop that succeeds: the connection ends.
fn shutdown(cx: &mut SessionCx<'_>, args: &Args<'_>, _: &mut Reply<'_>) -> Result<(), Error> {
    let mut options = Stop::empty();
    for word in args.from(1) {
        let name = str::from_utf8(word).ok().map(str::to_ascii_uppercase);
        options |= name.and_then(|name| Stop::from_name(&name)).ok_or(Error::Syntax)?;
    }
    if options.contains(Stop::ABORT) {
        return Err(if options == Stop::ABORT {
            Error::Static("ERR No shutdown in progress.")
        } else {
            Error::Syntax
        });
    }
    if options.contains(Stop::SAVE | Stop::NOSAVE) {
        return Err(Error::Syntax);
    }
    // With a log all is on disk when the server has stopped; without, nothing can be saved.
    let has_log = cx.node.logs.iter().any(|log| log.state().is_some());
    if options.contains(Stop::SAVE) && !options.contains(Stop::FORCE) && !has_log {
        return Err(Error::Static("ERR Errors trying to SHUTDOWN. Check logs."));
    }
    cx.actions.push(Action::Shutdown);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use crate::command::Action;
    use crate::command::testing::{Client, node};
    use crate::types::{MonoUs, Now};

    #[test]
    fn the_server_tells_its_time_and_role() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        client.now = Now::new(Duration::from_micros(1_700_000_000_123_456), MonoUs(0));
        client.check(&[
            ("TIME", "*2⏎$10⏎1700000000⏎$6⏎123456"),
            ("ROLE", "*3⏎$6⏎master⏎:0⏎*0"),
            ("ROLE x", "-ERR wrong number of arguments for 'role' command"),
        ]);
        assert!(client.run("LOLWUT VERSION 5 1").ends_with("Redis ver. 7.0.15\n⏎"));
    }

    #[test]
    fn monitoring_starts_once() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        client.check(&[("MONITOR", "+OK")]);
        assert_eq!((client.session.monitor, &client.actions[..]), (true, &[Action::Monitor][..]));
        client.check(&[("MONITOR", "+OK")]);
        assert_eq!(client.actions, []);
        client.check(&[("RESET", "+RESET")]);
        assert_eq!(
            (client.session.monitor, &client.actions[..]),
            (false, &[Action::EndMonitor][..])
        );
    }

    #[test]
    fn debug_sleeps_and_switches() {
        const WRONG: &str =
            "-ERR unknown subcommand or wrong number of arguments for 'X'. Try DEBUG HELP.";
        let node = node();
        let mut client = Client::new(&node, 6379);
        for (seconds, duration) in
            [("0.25", Duration::from_millis(250)), ("x", Duration::ZERO), ("-1", Duration::ZERO)]
        {
            assert_eq!(client.run(&format!("DEBUG SLEEP {seconds}")), "+OK⏎");
            assert_eq!(client.actions, [Action::Sleep(duration)]);
        }
        client.check(&[("DEBUG SET-ACTIVE-EXPIRE 0", "+OK")]);
        assert!(!node.active_expire.load(Ordering::Relaxed));
        client.check(&[
            ("DEBUG SET-ACTIVE-EXPIRE 1", "+OK"),
            ("DEBUG X", WRONG),
            ("DEBUG", "-ERR wrong number of arguments for 'debug' command"),
            ("DEBUG SLEEP", &WRONG.replace('X', "SLEEP")),
        ]);
        assert!(node.active_expire.load(Ordering::Relaxed));
    }

    #[test]
    fn a_shutdown_is_silent_unless_it_cannot_be() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        for request in ["SHUTDOWN", "SHUTDOWN NOSAVE", "shutdown now force", "SHUTDOWN SAVE FORCE"]
        {
            assert_eq!(client.run(request), "", "{request}");
            assert_eq!(client.actions, [Action::Shutdown], "{request}");
        }
        client.check(&[
            ("SHUTDOWN SAVE NOSAVE", "-ERR syntax error"),
            ("SHUTDOWN x", "-ERR syntax error"),
            ("SHUTDOWN ABORT NOW", "-ERR syntax error"),
            ("SHUTDOWN ABORT", "-ERR No shutdown in progress."),
            ("SHUTDOWN SAVE", "-ERR Errors trying to SHUTDOWN. Check logs."),
        ]);
        assert_eq!(client.actions, []);
    }
}
