//! `CLIENT`: what is known of connections, and how to treat them.

use std::fmt::Write as _;
use std::sync::Arc;

use super::connection::DEFAULT_USER;
use super::numbers::{integer, parse_i64};
use super::row::{subcommand_syntax, write_help};
use super::session::ReplyMode;
use super::session_token::SessionToken;
use super::table::Table;
use super::tracking::{self, caching, getredir, trackinginfo};
use super::{Action, Command, Error, Flags, Group, SessionCx};
use crate::config::Durability;
use crate::node::{ClientFlags, ClientInfo, PauseMode};
use crate::protocol::{Args, Proto, Reply};
use crate::types::{ClientId, MonoUs, UnixMs};

const PLAIN: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);
const ADMIN: Flags = PLAIN.union(Flags::ADMIN);
const HELP: Flags = Flags::LOADING.union(Flags::STALE);

/// The rows of this file.
pub const COMMANDS: &[Command] = &[Command::container(
    "client",
    Group::Connection,
    ROWS,
    "2.4.0",
    "Commands on client connections.",
)];

const fn row(name: &'static str, arity: i8, handler: super::SessionHandler) -> Command {
    Command::session(name, arity, Group::Connection, handler).with(PLAIN)
}

const ROWS: &[Command] = &[
    row("caching", 3, caching)
        .doc("6.0.0", "Whether this connection is told of changes of what its next command reads."),
    row("durability", -2, durability)
        .doc("7.0.0", "What writes of this connection survive before they are acknowledged."),
    row("getname", 2, getname).doc("2.6.9", "Answers the name of this connection."),
    row("getredir", 2, getredir)
        .doc("6.0.0", "Answers which client gets this one's invalidation messages."),
    row("help", 2, help).with(HELP).doc("5.0.0", "Tells what the subcommands do."),
    row("id", 2, id).doc("5.0.0", "Answers the id of this connection."),
    row("info", 2, info).doc("6.2.0", "Describes this connection."),
    row("kill", -3, kill)
        .with(ADMIN)
        .doc("2.4.0", "Closes connections.")
        .cost("O(N) in the number of clients"),
    row("list", -2, list)
        .with(ADMIN)
        .doc("2.4.0", "Describes all connections.")
        .cost("O(N) in the number of clients"),
    row("no-evict", 3, no_evict)
        .with(ADMIN)
        .doc("7.0.0", "Whether this connection may be closed when memory is short."),
    row("no-touch", 3, no_touch)
        .doc("7.2.0", "Whether commands of this connection count as use of their keys."),
    row("pause", -3, pause).with(ADMIN).doc("2.9.50", "Lets commands wait for a time."),
    row("reply", 3, reply_mode).doc("3.2.0", "Whether this connection gets replies."),
    row("setinfo", 4, setinfo).doc("7.2.0", "Names the client library of this connection."),
    row("setname", 3, setname).doc("2.6.9", "Names this connection."),
    row("token", 2, token).doc("7.0.0", "Answers a token of all that this connection has written."),
    row("topology", 3, topology)
        .doc("7.0.0", "Whether this connection is told when slots change their node."),
    row("tracking", -3, tracking::tracking)
        .doc("6.0.0", "Whether this connection is told of keys that change.")
        .cost("O(1). Some options may introduce additional complexity."),
    row("trackinginfo", 2, trackinginfo)
        .doc("6.2.0", "Tells what this connection is told of keys that change."),
    row("unblock", -3, unblock).with(ADMIN).doc("5.0.0", "Ends the wait of a blocked client."),
    row("unpause", 2, unpause).with(ADMIN).doc("6.2.0", "Ends what CLIENT PAUSE began."),
    row("waittoken", -3, wait_token)
        .doc("7.0.0", "Waits until this node has come as far as a token of CLIENT TOKEN says."),
];

const HELP_LINES: &[&str] = &[
    "CACHING (YES|NO)",
    "    With OPTIN or OPTOUT: whether to be told of changes of what the next command reads.",
    "DURABILITY [MEMORY|ASYNC|SYNC|DEFAULT]",
    "    What writes of this connection survive before they are acknowledged.",
    "GETNAME",
    "    The name of this connection.",
    "GETREDIR",
    "    The client that gets invalidation messages for this one; 0: itself, -1: none.",
    "ID",
    "    The id of this connection.",
    "INFO",
    "    What is known of this connection.",
    "KILL <ip:port>",
    "    Close the connection from this address.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Close all connections that meet every condition:",
    "    * ID <id>, ADDR <ip:port>, LADDR <ip:port>, USER <name>",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "    * SKIPME (YES|NO): spare this connection (default: yes)",
    "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)|ID <id> [<id> ...]]",
    "    What is known of these connections.",
    "NO-EVICT (ON|OFF)",
    "    Keep this connection when memory is short.",
    "NO-TOUCH (ON|OFF)",
    "    Let commands of this connection leave the order of eviction as it is.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Let writes, or all commands, wait for so many milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Send replies, send none, or leave out the next one.",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "    Name the client library of this connection.",
    "SETNAME <name>",
    "    Name this connection.",
    "TOKEN",
    "    A token of all that this connection has written, and of the tokens that it was given.",
    "TOPOLOGY (ON|OFF)",
    "    Tell this connection, in RESP3, which node serves which slots: now, and at every change.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]] [OPTIN] [OPTOUT] [NOLOOP]",
    "    Tell this connection of keys that it has read, or that begin with a prefix, when they change.",
    "TRACKINGINFO",
    "    What this connection is told of keys that change.",
    "UNBLOCK <id> [TIMEOUT|ERROR]",
    "    End the wait of a client in a blocking command.",
    "UNPAUSE",
    "    Let commands go on that wait because of PAUSE.",
    "WAITTOKEN <token> [<timeout>]",
    "    Wait until this node has come as far as the token says, for so many milliseconds (default: 1000, 0: for ever).",
];

type Answer = Result<(), Error>;

fn help(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    write_help("CLIENT", HELP_LINES, reply);
    Ok(())
}

fn id(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    reply.integer(i64::try_from(cx.session.id.0).unwrap_or(i64::MAX));
    Ok(())
}

// --- names ---------------------------------------------------------------------------------------

fn getname(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let names = cx.session.info.names();
    if names.name.is_empty() {
        reply.null()
    } else {
        reply.bulk(names.name.as_bytes())
    }
    Ok(())
}

fn setname(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    cx.session.info.names().name = client_name(args.at(2))?;
    reply.ok();
    Ok(())
}

fn setinfo(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let attribute = args.at(2);
    let value = printable(args.at(3)).ok_or_else(|| {
        let attribute = String::from_utf8_lossy(attribute);
        Error::Text(format!(
            "ERR {attribute} cannot contain spaces, newlines or special characters."
        ))
    });
    let mut names = cx.session.info.names();
    if attribute.eq_ignore_ascii_case(b"lib-name") {
        names.lib_name = value?;
    } else if attribute.eq_ignore_ascii_case(b"lib-ver") {
        names.lib_ver = value?;
    } else {
        let attribute = String::from_utf8_lossy(attribute);
        return Err(Error::Text(format!("ERR Unrecognized option '{attribute}'")));
    }
    reply.ok();
    Ok(())
}

/// A name that `CLIENT SETNAME` accepts: it must not break the lines of `CLIENT LIST`.
pub(super) fn client_name(name: &[u8]) -> Result<String, Error> {
    printable(name).ok_or(Error::Static(
        "ERR Client names cannot contain spaces, newlines or special characters.",
    ))
}

fn printable(text: &[u8]) -> Option<String> {
    let printable = text.iter().all(|byte| (b'!'..=b'~').contains(byte));
    printable.then(|| text.iter().copied().map(char::from).collect())
}

// --- switches ------------------------------------------------------------------------------------

fn on_or_off(word: &[u8]) -> Result<bool, Error> {
    if word.eq_ignore_ascii_case(b"on") {
        Ok(true)
    } else if word.eq_ignore_ascii_case(b"off") {
        Ok(false)
    } else {
        Err(Error::Syntax)
    }
}

fn no_evict(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    cx.session.no_evict = on_or_off(args.at(2))?;
    cx.session.info.set_flags(ClientFlags::NO_EVICT, cx.session.no_evict);
    reply.ok();
    Ok(())
}

fn durability(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let config = cx.node.config.load();
    let of_server = config.durability;
    let Some(word) = args.get(2) else {
        reply.bulk(cx.session.durability.unwrap_or(of_server).name().as_bytes());
        return Ok(());
    };
    if args.len() > 3 {
        return Err(Error::Syntax);
    }
    cx.session.durability = if word.eq_ignore_ascii_case(b"default") {
        None
    } else {
        Some(Durability::from_name(word).ok_or(Error::Syntax)?)
    };
    // Where nothing is written down, nothing survives: that is said, not promised.
    if !config.keeps_logs() && cx.session.durability > Some(Durability::Memory) {
        cx.session.durability = None;
        return Err(Error::Static(
            "NODURABILITY there is no log: the server's durability is memory",
        ));
    }
    reply.ok();
    Ok(())
}

fn no_touch(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    cx.session.no_touch = on_or_off(args.at(2))?;
    cx.session.info.set_flags(ClientFlags::NO_TOUCH, cx.session.no_touch);
    reply.ok();
    Ok(())
}

/// What it tells of has been acknowledged by the time that the reply leaves: that waits with all before it.
fn token(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let token = cx.session.depends_on.as_deref().cloned().unwrap_or_default();
    reply.bulk(token.to_string().as_bytes());
    Ok(())
}

/// The runtime has waited by now, if there was something to wait for.
fn wait_token(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    if args.len() > 4 {
        return Err(Error::Syntax);
    }
    let token = SessionToken::parse(args.at(2), cx.node.slots.shard_count())?;
    if let Some(timeout) = args.get(3) {
        let timeout = parse_i64(timeout).ok_or(Error::Static(BAD_TIMEOUT))?;
        u64::try_from(timeout).map_err(|_| Error::Static("ERR timeout is negative"))?;
    }
    // Where there is no cluster every write is there once it is acknowledged.
    let is_alone = cx.node.id.is_none();
    let has_come = |(shard, index)| cx.node.replica(shard).has_come_to(index);
    if !is_alone && !token.entries().all(has_come) {
        return Err(Error::Static(
            "TIMEOUT This node has not come as far as the session token says",
        ));
    }
    cx.session.depend_on(&token);
    reply.ok();
    Ok(())
}

const BAD_TIMEOUT: &str = "ERR timeout is not an integer or out of range";

/// The first push follows the reply, so a client needs nothing else to know where its keys are.
fn topology(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    match (on_or_off(args.at(2))?, cx.session.proto) {
        (false, _) => unsubscribe_from_topology(cx),
        (true, Proto::Resp2) => {
            return Err(Error::Static(
                "ERR CLIENT TOPOLOGY ON needs push messages, which RESP2 does not have. Switch to \
                 RESP3 with HELLO 3 first.",
            ));
        }
        (true, Proto::Resp3) => {
            cx.session.topology_told.get_or_insert(0);
            cx.session.info.set_flags(ClientFlags::TOPOLOGY, true);
        }
    }
    reply.ok();
    Ok(())
}

/// Ends what `CLIENT TOPOLOGY ON` began.
pub(super) fn unsubscribe_from_topology(cx: &mut SessionCx<'_>) {
    cx.session.topology_told = None;
    cx.session.info.set_flags(ClientFlags::TOPOLOGY, false);
}

fn reply_mode(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let word = args.at(2);
    if word.eq_ignore_ascii_case(b"skip") {
        if cx.session.reply_mode != ReplyMode::Off {
            cx.session.reply_mode = ReplyMode::SkipNext;
        }
    } else if on_or_off(word)? {
        cx.session.reply_mode = ReplyMode::On;
        reply.ok();
    } else {
        cx.session.reply_mode = ReplyMode::Off;
    }
    Ok(())
}

fn pause(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let mode = match args.get(3) {
        None => PauseMode::All,
        Some(_) if args.len() > 4 => return Err(subcommand_syntax(args)),
        Some(word) if word.eq_ignore_ascii_case(b"all") => PauseMode::All,
        Some(word) if word.eq_ignore_ascii_case(b"write") => PauseMode::Write,
        Some(_) => return Err(Error::Static("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let timeout_ms = parse_i64(args.at(2))
        .ok_or(Error::Static("ERR timeout is not an integer or out of range"))?;
    let timeout_ms =
        u64::try_from(timeout_ms).map_err(|_| Error::Static("ERR timeout is negative"))?;
    let now = cx.now.unix;
    let end = now.0.checked_add(timeout_ms).filter(|end| i64::try_from(*end).is_ok());
    let end = end.ok_or(Error::Static("ERR timeout is out of range"))?;
    cx.node.pause.start(now, UnixMs(end), mode);
    cx.actions.push(Action::PauseChanged);
    reply.ok();
    Ok(())
}

fn unpause(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    cx.node.pause.stop();
    cx.actions.push(Action::PauseChanged);
    reply.ok();
    Ok(())
}

/// Who ends the wait answers for it: a client that has just been served is not unblocked.
fn unblock(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    if args.len() > 4 {
        return Err(subcommand_syntax(args));
    }
    let known =
        |word: &[u8]| word.eq_ignore_ascii_case(b"timeout") || word.eq_ignore_ascii_case(b"error");
    if args.get(3).is_some_and(|word| !known(word)) {
        return Err(Error::Static("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
    }
    let id = integer(args.at(2))?;
    let with_error = args.get(3).is_some_and(|word| word.eq_ignore_ascii_case(b"error"));
    let client = u64::try_from(id).ok().and_then(|id| cx.node.clients.get(ClientId(id)));
    let ended = client.and_then(|client| Some((client.id, client.wait.end_any()?)));
    reply.integer(i64::from(ended.is_some()));
    if let Some((client, number)) = ended {
        cx.actions.push(Action::Unblock(client, number, with_error));
    }
    Ok(())
}

// --- LIST and INFO -------------------------------------------------------------------------------

fn info(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let mut line = String::new();
    describe(cx, &cx.session.info, "client|info", &mut line);
    reply.verbatim(&line);
    Ok(())
}

fn list(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let is =
        |word: &str| args.get(2).is_some_and(|option| option.eq_ignore_ascii_case(word.as_bytes()));
    let clients = match args.len() {
        2 => cx.node.clients.all(),
        4 if is("type") => of_type(cx, ClientType::parse(args.at(3))?),
        4.. if is("id") => of_ids(cx, args)?,
        _ => return Err(Error::Syntax),
    };
    let mut lines = String::new();
    for client in clients {
        describe(cx, &client, "client|list", &mut lines);
    }
    reply.verbatim(&lines);
    Ok(())
}

fn of_ids(cx: &SessionCx<'_>, args: &Args<'_>) -> Result<Vec<Arc<ClientInfo>>, Error> {
    let mut found = Vec::new();
    for argument in args.from(3) {
        let id = parse_i64(argument).ok_or(Error::Static("ERR Invalid client ID"))?;
        found.extend(u64::try_from(id).ok().and_then(|id| cx.node.clients.get(ClientId(id))));
    }
    Ok(found)
}

fn of_type(cx: &SessionCx<'_>, kind: ClientType) -> Vec<Arc<ClientInfo>> {
    let mut clients = cx.node.clients.all();
    clients.retain(|client| ClientType::of(client) == kind);
    clients
}

/// The classes of clients that Redis tells apart. All of ours are normal or subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientType {
    Normal,
    Replica,
    PubSub,
    Master,
}

impl ClientType {
    fn parse(name: &[u8]) -> Result<Self, Error> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(Self::Normal),
            b"slave" | b"replica" => Ok(Self::Replica),
            b"pubsub" => Ok(Self::PubSub),
            b"master" => Ok(Self::Master),
            _ => {
                let name = String::from_utf8_lossy(name);
                Err(Error::Text(format!("ERR Unknown client type '{name}'")))
            }
        }
    }

    fn of(client: &ClientInfo) -> Self {
        if client.flags().contains(ClientFlags::PUBSUB) { Self::PubSub } else { Self::Normal }
    }
}

/// Appends one client's line. `command` is what this connection itself is running.
fn describe(cx: &SessionCx<'_>, client: &ClientInfo, command: &str, out: &mut String) {
    let is_self = client.id == cx.session.id;
    let command = match client.last_command().and_then(|id| Table::get().entry(id)) {
        _ if is_self => command,
        Some(entry) => entry.full_name,
        None => "NULL",
    };
    let held = client.buffers();
    let omem = held.output;
    let [channels, patterns, shard_channels] = client.subscriptions();
    let seconds_since = |since: MonoUs| cx.now.mono.0.saturating_sub(since.0) / 1_000_000;
    let names = client.names();
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={channels} psub={patterns} \
         ssub={shard_channels} multi={} watch={} qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={omem} oll=0 \
         omem={omem} tot-mem={} events={} cmd={command} user={DEFAULT_USER} redir={} resp={} \
         lib-name={} lib-ver={}",
        client.id.0,
        client.addr,
        client.laddr,
        client.fd,
        names.name,
        seconds_since(client.created),
        if is_self { 0 } else { seconds_since(client.last_interaction()) },
        letters(client.flags()),
        client.db().0,
        client.transaction.queued(),
        client.transaction.watched(),
        held.query,
        held.query_free,
        held.arguments,
        held.transaction,
        held.reply,
        held.reply_peak,
        held.total,
        if omem > 0 { "rw" } else { "r" },
        tracking::redirect(client.tracking.get().as_ref()),
        client.resp(),
        names.lib_name,
        names.lib_ver,
    );
}

/// A client's states as letters, in Redis's order.
fn letters(flags: ClientFlags) -> String {
    let table = [
        (ClientFlags::MONITOR, 'O'),
        (ClientFlags::MULTI, 'x'),
        (ClientFlags::PUBSUB, 'P'),
        (ClientFlags::BLOCKED, 'b'),
        (ClientFlags::TRACKING, 't'),
        (ClientFlags::TRACKING_BROKEN, 'R'),
        (ClientFlags::BROADCAST, 'B'),
        (ClientFlags::DIRTY, 'd'),
        (ClientFlags::CLOSE_AFTER_REPLY, 'c'),
        (ClientFlags::CLOSE_ASAP, 'A'),
        (ClientFlags::NO_EVICT, 'e'),
        (ClientFlags::NO_TOUCH, 'T'),
        (ClientFlags::TOPOLOGY, 'y'),
    ];
    let letters: String =
        table.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, letter)| *letter).collect();
    if letters.is_empty() { "N".to_owned() } else { letters }
}

// --- KILL ----------------------------------------------------------------------------------------

/// Conditions that a client must meet to be closed.
#[derive(Default)]
struct KillFilter<'a> {
    id: Option<ClientId>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    kind: Option<ClientType>,
    skip_me: bool,
}

impl<'a> KillFilter<'a> {
    fn parse(args: &Args<'a>) -> Result<Self, Error> {
        let mut filter = Self { skip_me: true, ..Self::default() };
        let mut index = 2;
        while let Some(option) = args.get(index) {
            let value = args.get(index + 1).ok_or(Error::Syntax)?;
            filter.add(option, value)?;
            index += 2;
        }
        Ok(filter)
    }

    fn add(&mut self, option: &[u8], value: &'a [u8]) -> Result<(), Error> {
        match option.to_ascii_lowercase().as_slice() {
            b"id" => {
                let id = parse_i64(value).and_then(|id| u64::try_from(id).ok());
                let id = id.filter(|id| *id > 0);
                let id = id.ok_or(Error::Static("ERR client-id should be greater than 0"))?;
                self.id = Some(ClientId(id));
            }
            b"type" => self.kind = Some(ClientType::parse(value)?),
            b"addr" => self.addr = Some(value),
            b"laddr" => self.laddr = Some(value),
            b"user" if value == DEFAULT_USER.as_bytes() => {}
            b"user" => {
                let user = String::from_utf8_lossy(value);
                return Err(Error::Text(format!("ERR No such user '{user}'")));
            }
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => self.skip_me = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => self.skip_me = false,
            _ => return Err(Error::Syntax),
        }
        Ok(())
    }

    fn accepts(&self, client: &ClientInfo, me: ClientId) -> bool {
        let is = |wanted: Option<&[u8]>, addr: std::net::SocketAddr| {
            wanted.is_none_or(|wanted| wanted == addr.to_string().as_bytes())
        };
        self.id.is_none_or(|id| id == client.id)
            && self.kind.is_none_or(|kind| kind == ClientType::of(client))
            && is(self.addr, client.addr)
            && is(self.laddr, client.laddr)
            && !(self.skip_me && client.id == me)
    }
}

fn kill(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let old_form = args.len() == 3;
    let filter = if old_form {
        KillFilter { addr: args.get(2), ..KillFilter::default() }
    } else {
        KillFilter::parse(args)?
    };
    let me = cx.session.id;
    let mut killed: Vec<ClientId> = cx
        .node
        .clients
        .all()
        .iter()
        .filter(|client| filter.accepts(client, me))
        .map(|client| {
            // It is given nothing from now on.
            client.wait.end_any();
            client.id
        })
        .collect();
    match (old_form, killed.len()) {
        (true, 0) => return Err(Error::Static("ERR No such client")),
        (true, _) => reply.ok(),
        (false, count) => reply.integer(i64::try_from(count).unwrap_or(i64::MAX)),
    }
    if killed.contains(&me) {
        killed.retain(|id| *id != me);
        cx.session.info.set_flags(ClientFlags::CLOSE_AFTER_REPLY, true);
        cx.actions.push(Action::CloseAfterReply);
    }
    if !killed.is_empty() {
        cx.actions.push(Action::Kill(killed));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
