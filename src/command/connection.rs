//! Commands on the connection itself: greeting, authentication, protocol, database.

use subtle::{Choice, ConstantTimeEq};

use super::numbers::{integer, parse_i64};
use super::session::ReplyMode;
use super::{Action, Command, Error, Flags, Group, SessionCx};
use crate::limits::DATABASES;
use crate::node::ClientFlags;
use crate::protocol::{Args, Proto, Reply};
use crate::types::DbIndex;

/// The version of Redis whose behaviour clients may expect.
pub(super) const REDIS_VERSION: &str = "7.0.15";
/// The only user.
pub(super) const DEFAULT_USER: &str = "default";

const ANYTIME: Flags = Flags::LOADING.union(Flags::STALE).union(Flags::FAST);
const UNKNOWN_CLIENT: Flags = ANYTIME.union(Flags::NOSCRIPT).union(Flags::NO_AUTH);

/// The rows of this file.
pub const COMMANDS: &[Command] = &[
    Command::session("ping", -1, Group::Connection, ping)
        .with(Flags::FAST)
        .doc("1.0.0", "Answers PONG, or its argument."),
    Command::session("echo", 2, Group::Connection, echo)
        .with(ANYTIME)
        .doc("1.0.0", "Answers its argument."),
    Command::session("auth", -2, Group::Connection, auth)
        .with(UNKNOWN_CLIENT)
        .doc("1.0.0", "Proves who the client is.")
        .cost("O(N) in the length of the password"),
    Command::session("hello", -1, Group::Connection, hello).with(UNKNOWN_CLIENT).doc(
        "6.0.0",
        "Chooses the protocol version, and can authenticate and name the connection.",
    ),
    Command::session("quit", -1, Group::Connection, quit)
        .with(UNKNOWN_CLIENT)
        .doc("1.0.0", "Closes the connection after its replies are sent."),
    Command::session("reset", 1, Group::Connection, reset)
        .with(UNKNOWN_CLIENT)
        .doc("6.2.0", "Puts the connection back into the state it started in."),
    Command::session("select", 2, Group::Connection, select)
        .with(ANYTIME)
        .doc("1.0.0", "Chooses the database of this connection."),
];

fn ping(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    match (args.len(), args.get(1)) {
        (1 | 2, text) if cx.session.only_listens() => {
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(text.unwrap_or_default());
        }
        (1, _) => reply.simple("PONG"),
        (2, Some(text)) => reply.bulk(text),
        _ => return Err(Error::Arity("ping".to_owned())),
    }
    Ok(())
}

fn echo(_: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.bulk(args.at(1));
    Ok(())
}

/// What Redis says of a number that its `int` does not hold.
const NO_INT: &str = "ERR value is out of range, value must between -2147483648 and 2147483647";

fn select(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let index = i32::try_from(integer(args.at(1))?).map_err(|_| Error::Static(NO_INT))?;
    if cx.session.view.cluster && index != 0 {
        return Err(Error::Static("ERR SELECT is not allowed in cluster mode"));
    }
    let index = u8::try_from(index).ok().filter(|index| *index < DATABASES);
    set_db(cx, DbIndex(index.ok_or(Error::DbIndex)?));
    reply.ok();
    Ok(())
}

fn quit(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    cx.actions.push(Action::CloseAfterReply);
    reply.ok();
    Ok(())
}

fn reset(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    if cx.session.monitor {
        cx.session.monitor = false;
        cx.actions.push(Action::EndMonitor);
    }
    if cx.session.transaction.is_open || !cx.session.transaction.watches.is_empty() {
        cx.actions.push(Action::EndTransaction);
    }
    super::pubsub::leave_everything(cx);
    super::tracking::end_tracking(cx);
    cx.session.authenticated = cx.node.config.load().requirepass.is_none();
    cx.session.no_touch = false;
    cx.session.durability = None;
    cx.session.no_evict = false;
    cx.session.reads_followers = false;
    cx.session.depends_on = None;
    cx.session.reply_mode = ReplyMode::On;
    cx.session.info.set_flags(ClientFlags::all(), false);
    cx.session.info.names().name.clear();
    set_db(cx, DbIndex(0));
    set_proto(cx, Proto::Resp2);
    with_proto(Proto::Resp2, reply, |reply| reply.simple("RESET"));
    Ok(())
}

fn set_db(cx: &mut SessionCx<'_>, db: DbIndex) {
    cx.session.db = db;
    cx.session.info.set_db(db);
}

fn set_proto(cx: &mut SessionCx<'_>, proto: Proto) {
    cx.session.proto = proto;
    cx.session.info.set_proto(proto);
    match proto {
        // What RESP2 can't carry ends here.
        Proto::Resp2 => super::client::unsubscribe_from_topology(cx),
        Proto::Resp3 => {}
    }
}

/// Writes in another protocol version than the one `reply` was made for, because the command that
/// is being answered changed it.
fn with_proto(proto: Proto, reply: &mut Reply<'_>, write: impl FnOnce(&mut Reply<'_>)) {
    let mut bytes = Vec::new();
    write(&mut Reply::new(&mut bytes, proto));
    reply.raw(&bytes);
}

// --- authentication ------------------------------------------------------------------------------

const WRONG_PASS: Error =
    Error::Static("WRONGPASS invalid username-password pair or user is disabled.");
const NO_PASSWORD_SET: Error = Error::Static(
    "ERR AUTH <password> called without any password configured for the default user. Are you sure \
     your configuration is correct?",
);
const HELLO_NEEDS_AUTH: Error = Error::Static(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> \
     AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol \
     version at the same time",
);

fn auth(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (user, password) = match (args.get(1), args.get(2), args.len()) {
        (Some(password), None, _) => {
            if cx.node.config.load().requirepass.is_none() {
                return Err(NO_PASSWORD_SET);
            }
            (DEFAULT_USER.as_bytes(), password)
        }
        (Some(user), Some(password), 3) => (user, password),
        _ => return Err(Error::Syntax),
    };
    authenticate(cx, user, password)?;
    reply.ok();
    Ok(())
}

pub(super) fn authenticate(
    cx: &mut SessionCx<'_>,
    user: &[u8],
    password: &[u8],
) -> Result<(), Error> {
    let config = cx.node.config.load();
    let known = user == DEFAULT_USER.as_bytes();
    let right = match &config.requirepass {
        Some(secret) => same_secret(secret.0.as_bytes(), password),
        None => true,
    };
    if !(known && right) {
        return Err(WRONG_PASS);
    }
    cx.session.authenticated = true;
    Ok(())
}

/// Compares in a time that depends on the length of `secret` alone, so that how long a refusal takes
/// tells nothing about how much of the attempt was right.
fn same_secret(secret: &[u8], attempt: &[u8]) -> bool {
    let mut same = secret.len().ct_eq(&attempt.len());
    for (index, byte) in secret.iter().enumerate() {
        let tried = attempt.get(index).copied().unwrap_or(0);
        same &= byte.ct_eq(&tried);
    }
    Choice::into(same)
}

fn hello(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let proto = args.get(1).map(parse_proto).transpose()?;
    let options = HelloOptions::parse(args)?;
    if let Some((user, password)) = options.auth {
        authenticate(cx, user, password)?;
    }
    let config = cx.node.config.load();
    if !cx.session.authenticated && config.requirepass.is_some() {
        return Err(HELLO_NEEDS_AUTH);
    }
    if let Some(name) = options.name {
        cx.session.info.names().name = name;
    }
    if let Some(proto) = proto {
        set_proto(cx, proto);
    }
    let mode = if config.cluster_enabled { "cluster" } else { "standalone" };
    with_proto(cx.session.proto, reply, |reply| greet(cx, mode, reply));
    Ok(())
}

fn greet(cx: &SessionCx<'_>, mode: &str, reply: &mut Reply<'_>) {
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(i64::from(cx.session.info.resp()));
    reply.bulk(b"id");
    reply.integer(i64::try_from(cx.session.id.0).unwrap_or(i64::MAX));
    reply.bulk(b"mode");
    reply.bulk(mode.as_bytes());
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
}

fn parse_proto(argument: &[u8]) -> Result<Proto, Error> {
    match parse_i64(argument) {
        Some(2) => Ok(Proto::Resp2),
        Some(3) => Ok(Proto::Resp3),
        Some(_) => Err(Error::Static("NOPROTO unsupported protocol version")),
        None => Err(Error::Static("ERR Protocol version is not an integer or out of range")),
    }
}

/// What follows the version in `HELLO`.
#[derive(Default)]
struct HelloOptions<'a> {
    auth: Option<(&'a [u8], &'a [u8])>,
    name: Option<String>,
}

impl<'a> HelloOptions<'a> {
    fn parse(args: &Args<'a>) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut index = 2;
        while let Some(option) = args.get(index) {
            match (args.get(index + 1), args.get(index + 2)) {
                (Some(user), Some(password)) if option.eq_ignore_ascii_case(b"auth") => {
                    options.auth = Some((user, password));
                    index += 3;
                }
                (Some(name), _) if option.eq_ignore_ascii_case(b"setname") => {
                    options.name = Some(super::client::client_name(name)?);
                    index += 2;
                }
                _ => {
                    let option = String::from_utf8_lossy(option);
                    return Err(Error::Text(format!(
                        "ERR Syntax error in HELLO option '{option}'"
                    )));
                }
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::same_secret;
    use crate::command::Action;
    use crate::command::session::ReplyMode;
    use crate::command::testing::{Client, node, node_with};
    use crate::config::Secret;
    use crate::protocol::Proto;
    use crate::types::DbIndex;

    const WRONG_PASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.";

    #[test]
    fn greetings() {
        let node = node();
        Client::new(&node, 6379).check(&[
            ("PING", "+PONG"),
            ("ping x", "$1⏎x"),
            ("PING ''", "$0⏎"),
            ("PING a b", "-ERR wrong number of arguments for 'ping' command"),
            ("ECHO x", "$1⏎x"),
            ("ECHO", "-ERR wrong number of arguments for 'echo' command"),
            ("SELECT 15", "+OK"),
            ("SELECT 16", "-ERR DB index is out of range"),
            ("SELECT -1", "-ERR DB index is out of range"),
            ("SELECT 01", "-ERR value is not an integer or out of range"),
            ("SELECT x", "-ERR value is not an integer or out of range"),
            ("QUIT x", "+OK"),
        ]);
    }

    #[test]
    fn passwords_without_a_password_set() {
        let node = node();
        Client::new(&node, 6379).check(&[
            (
                "AUTH x",
                "-ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ),
            ("AUTH default x", "+OK"),
            ("AUTH me x", WRONG_PASS),
            ("AUTH a b c", "-ERR syntax error"),
        ]);
    }

    #[test]
    fn passwords_with_a_password_set() {
        let node =
            node_with(|config| config.requirepass = Some(Secret("hush".to_owned())), Vec::new());
        let mut client = Client::new(&node, 6379);
        for wrong in ["''", "hus", "hushh", "HUSH", "xxxx"] {
            client.check(&[(&format!("AUTH {wrong}"), WRONG_PASS)]);
            assert!(!client.session.authenticated);
        }
        client.check(&[
            ("AUTH me hush", WRONG_PASS),
            (
                "HELLO 3",
                "-NOAUTH HELLO must be called with the client already authenticated, otherwise the \
                 HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
                 select the RESP protocol version at the same time",
            ),
            ("HELLO 3 AUTH default x", WRONG_PASS),
        ]);
        assert_eq!(client.session.proto, Proto::Resp2);
        client.check(&[("AUTH hush", "+OK")]);
        assert!(client.session.authenticated);
        client.check(&[("RESET", "+RESET")]);
        assert!(!client.session.authenticated);
        assert!(client.run("HELLO 3 AUTH default hush SETNAME me").starts_with("%7⏎"));
        assert!(client.session.authenticated);
        assert_eq!(client.session.info.names().name, "me");
    }

    #[test]
    fn secrets_are_compared_whole() {
        assert!(same_secret(b"abc", b"abc") && same_secret(b"", b""));
        for attempt in [&b""[..], b"ab", b"abd", b"abc\0", b"xabc"] {
            assert!(!same_secret(b"abc", attempt));
        }
    }

    #[test]
    fn hello_answers_in_the_protocol_it_chose() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        let id = client.session.id.0;
        let rest = |proto| {
            format!(
                "$6⏎server⏎$5⏎redis⏎$7⏎version⏎$6⏎7.0.15⏎$5⏎proto⏎:{proto}⏎$2⏎id⏎:{id}⏎$4⏎mode⏎\
                 $10⏎standalone⏎$4⏎role⏎$6⏎master⏎$7⏎modules⏎*0"
            )
        };
        client.check(&[
            ("HELLO", &format!("*14⏎{}", rest(2))),
            ("HELLO 3", &format!("%7⏎{}", rest(3))),
            ("HELLO", &format!("%7⏎{}", rest(3))),
            ("HELLO 2", &format!("*14⏎{}", rest(2))),
            ("HELLO 4", "-NOPROTO unsupported protocol version"),
            ("HELLO x", "-ERR Protocol version is not an integer or out of range"),
            ("HELLO 3 foo", "-ERR Syntax error in HELLO option 'foo'"),
            ("HELLO 3 AUTH a", "-ERR Syntax error in HELLO option 'AUTH'"),
            (
                "HELLO 3 SETNAME \n",
                "-ERR Client names cannot contain spaces, newlines or special characters.",
            ),
        ]);
        assert_eq!(client.session.proto, Proto::Resp2);
    }

    #[test]
    fn reset_forgets_what_the_client_chose() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        for request in ["HELLO 3 SETNAME me", "SELECT 3", "CLIENT NO-TOUCH on", "CLIENT REPLY off"]
        {
            client.run(request);
        }
        assert_eq!(client.run("RESET"), "+RESET⏎");
        let session = &client.session;
        assert_eq!((session.proto, session.db), (Proto::Resp2, DbIndex(0)));
        assert_eq!((session.no_touch, session.reply_mode), (false, ReplyMode::On));
        assert!(session.info.names().name.is_empty() && session.info.flags().is_empty());
    }

    #[test]
    fn quit_closes_after_its_reply() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        assert_eq!(client.run("QUIT"), "+OK⏎");
        assert_eq!(client.actions, [Action::CloseAfterReply]);
    }
}
