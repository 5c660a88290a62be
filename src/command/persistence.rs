//! Commands on snapshots: take one now, or tell when the last one was taken.
//!
//! Every shard takes its own. `SAVE` and `BGSAVE` differ in who waits: nothing else does, in either case.

use super::{Action, Command, Error, Flags, Group, SessionCx};
use crate::node::{LogStats, Node};
use crate::protocol::{Args, Reply};

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT);
const NO_LOG: Error =
    Error::Static("ERR there is no log to take snapshots for: durability is memory");

/// The rows of this file.
pub const COMMANDS: &[Command] = &[
    Command::session("save", 1, Group::Server, save)
        .with(ADMIN.union(Flags::NO_ASYNC_LOADING).union(Flags::NO_MULTI))
        .doc("1.0.0", "Takes a snapshot of all data, and answers when it is on disk."),
    Command::session("bgsave", -1, Group::Server, bgsave)
        .with(ADMIN.union(Flags::NO_ASYNC_LOADING))
        .doc("1.0.0", "Begins a snapshot of all data."),
    Command::session("bgrewriteaof", 1, Group::Server, bgrewriteaof)
        .with(ADMIN.union(Flags::NO_ASYNC_LOADING))
        .doc("1.0.0", "Begins a snapshot of all data, so that the log can be shortened."),
    Command::session("lastsave", 1, Group::Server, lastsave)
        .with(Flags::LOADING.union(Flags::STALE).union(Flags::FAST))
        .doc("1.0.0", "Tells when the last snapshot was finished."),
];

/// Whether a shard is taking a snapshot, or is about to.
fn is_saving(node: &Node) -> bool {
    node.logs
        .iter()
        .any(|log| log.is_asked() || log.state().is_some_and(|state| state.snapshot.is_some()))
}

/// Asks all shards for a snapshot, unless one is being taken.
fn ask(cx: &SessionCx<'_>, under_way: &'static str) -> Result<(), Error> {
    if cx.node.logs.iter().all(|log| log.state().is_none()) {
        return Err(NO_LOG);
    }
    let mut states = cx.node.logs.iter().filter_map(LogStats::state);
    if let Some(failed) = states.find_map(|state| state.refusal.filter(|it| it.is_for_good())) {
        return Err(Error::LogRefused(failed));
    }
    if is_saving(cx.node) {
        return Err(Error::Static(under_way));
    }
    cx.node.logs.iter().for_each(|log| log.ask_for_snapshot());
    Ok(())
}

fn save(cx: &mut SessionCx<'_>, _: &Args<'_>, _: &mut Reply<'_>) -> Result<(), Error> {
    // The runtime answers when all shards have finished.
    cx.actions.push(Action::AwaitSnapshots);
    ask(cx, "ERR Background save already in progress").inspect_err(|_| cx.actions.clear())
}

fn bgsave(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let is_scheduled = match args.get(1) {
        None => false,
        Some(word) if args.len() == 2 && word.eq_ignore_ascii_case(b"schedule") => true,
        Some(_) => return Err(Error::Syntax),
    };
    match ask(cx, "ERR Background save already in progress") {
        // What is under way brings what the client asked for.
        Err(Error::Static(text)) if is_scheduled && text.contains("already in progress") => {
            reply.simple("Background saving scheduled");
        }
        result => {
            result?;
            reply.simple("Background saving started");
        }
    }
    Ok(())
}

fn bgrewriteaof(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    ask(cx, "ERR Background append only file rewriting already in progress")?;
    reply.simple("Background append only file rewriting started");
    Ok(())
}

fn lastsave(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.integer(i64::try_from(last_save_s(cx.node)).unwrap_or(i64::MAX));
    Ok(())
}

/// When all shards had last finished a snapshot, or else the server was started, in seconds since the Unix
/// epoch.
pub(super) fn last_save_s(node: &Node) -> u64 {
    let saved = node.logs.iter().map(|log| log.saved_at()).min().unwrap_or_default();
    saved.max(node.started_at.unix).0 / 1000
}
