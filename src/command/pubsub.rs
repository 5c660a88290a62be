//! Publish and subscribe. A handler knows what its own client listens to and, from the node, how many
//! others do; the runtime knows which connections those are and gives them their messages
//! (`runtime::pubsub`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::glob::{self, Case};
use super::row::{subcommand_syntax, write_help};
use super::table::Entry;
use super::{Action, Command, Error, Flags, Group, Keys, Session, SessionCx, SessionHandler};
use crate::node::channels::{Kind, Message, Name};
use crate::node::{ClientFlags, Node};
use crate::protocol::{Args, Proto, Reply};
use crate::types::CoreId;

const QUESTION: Flags = Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE);
const PUBLISH: Flags = QUESTION.union(Flags::FAST).union(Flags::MAY_REPLICATE);
const SUBSCRIBE: Flags = QUESTION.union(Flags::NOSCRIPT).union(Flags::PUSHES);

/// The rows of this file.
pub const COMMANDS: &[Command] = &[
    row("subscribe", -2, subscribe)
        .doc("2.0.0", "Listens to channels.")
        .cost("O(N) in the number of channels"),
    row("unsubscribe", -1, unsubscribe)
        .doc("2.0.0", "Ends listening to channels.")
        .cost("O(N) in the number of channels"),
    row("psubscribe", -2, psubscribe)
        .doc("2.0.0", "Listens to all channels that patterns match.")
        .cost("O(N) in the number of patterns"),
    row("punsubscribe", -1, punsubscribe)
        .doc("2.0.0", "Ends listening by patterns.")
        .cost("O(N) in the number of patterns"),
    over_slot(row("ssubscribe", -2, ssubscribe), -1)
        .doc("7.0.0", "Listens to shard channels.")
        .cost("O(N) in the number of channels"),
    over_slot(row("sunsubscribe", -1, sunsubscribe), -1)
        .doc("7.0.0", "Ends listening to shard channels.")
        .cost("O(N) in the number of channels"),
    row("publish", 3, publish)
        .with(PUBLISH)
        .doc("2.0.0", "Sends a message to all who listen to a channel.")
        .cost("O(N+M) in the number of receivers and that of all patterns"),
    over_slot(row("spublish", 3, spublish), 1)
        .with(PUBLISH)
        .doc("7.0.0", "Sends a message to all who listen to a shard channel.")
        .cost("O(N) in the number of receivers"),
    Command::container("pubsub", Group::PubSub, ROWS, "2.8.0", "Tells who listens to what."),
];

const ROWS: &[Command] = &[
    row("channels", -2, channels)
        .with(QUESTION)
        .doc("2.8.0", "Lists channels that anybody listens to.")
        .cost("O(N) in the number of channels"),
    row("help", 2, help)
        .with(Flags::LOADING.union(Flags::STALE))
        .doc("6.2.0", "Tells what the subcommands do."),
    row("numpat", 2, numpat).with(QUESTION).doc("2.8.0", "Counts the patterns that clients gave."),
    row("numsub", -2, numsub)
        .with(QUESTION)
        .doc("2.8.0", "Counts who listens to channels.")
        .cost("O(N) in the number of channels"),
    row("shardchannels", -2, shardchannels)
        .with(QUESTION)
        .doc("7.0.0", "Lists shard channels that anybody listens to.")
        .cost("O(N) in the number of channels"),
    row("shardnumsub", -2, shardnumsub)
        .with(QUESTION)
        .doc("7.0.0", "Counts who listens to shard channels.")
        .cost("O(N) in the number of channels"),
];

const fn row(name: &'static str, arity: i8, handler: SessionHandler) -> Command {
    Command::session(name, arity, Group::PubSub, handler).with(SUBSCRIBE)
}

/// The same for channels that have a slot, as keys do: arguments 1 to `last`.
const fn over_slot(command: Command, last: i8) -> Command {
    Command { keys: Keys::Range { first: 1, last, step: 1 }, ..command }
}

const HELP_LINES: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    The channels that anybody listens to, or those of them that match.",
    "NUMPAT",
    "    Number of different patterns that clients listen by.",
    "NUMSUB [<channel> ...]",
    "    Number of clients that listen to these channels, not counting those with patterns.",
    "SHARDCHANNELS [<pattern>]",
    "    The shard channels that anybody listens to, or those of them that match.",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Number of clients that listen to these shard channels.",
];

type Answer = Result<(), Error>;

/// Bytes that a subscription takes beside its name: places in the sets and tables that know of it.
const SUBSCRIPTION_BYTES: usize = 64;

/// What one client listens to. There is none for a client that listens to nothing.
#[derive(Debug, Default)]
pub struct Subscriptions {
    channels: BTreeSet<Name>,
    patterns: BTreeSet<Name>,
    shard_channels: BTreeSet<Name>,
    name_bytes: usize,
}

impl Subscriptions {
    fn of(&self, kind: Kind) -> &BTreeSet<Name> {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shard_channels,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut BTreeSet<Name> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shard_channels,
        }
    }

    fn insert(&mut self, kind: Kind, name: Name) {
        self.name_bytes += name.len();
        self.of_mut(kind).insert(name);
    }

    fn take(&mut self, kind: Kind, name: &[u8]) -> Option<Name> {
        let name = self.of_mut(kind).take(name)?;
        self.name_bytes -= name.len();
        Some(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &Name)> {
        let all = [Kind::Channel, Kind::Pattern, Kind::Shard];
        all.into_iter().flat_map(|kind| self.of(kind).iter().map(move |name| (kind, name)))
    }

    /// How many there are of each kind: channels, patterns, shard channels.
    pub fn counts(&self) -> [usize; 3] {
        [self.channels.len(), self.patterns.len(), self.shard_channels.len()]
    }

    /// Bytes of memory they take.
    pub fn memory_bytes(&self) -> usize {
        self.name_bytes + self.counts().iter().sum::<usize>() * SUBSCRIPTION_BYTES
    }

    /// What a confirmation counts: shard channels by themselves, the others together.
    fn counted_with(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel | Kind::Pattern => self.channels.len() + self.patterns.len(),
            Kind::Shard => self.shard_channels.len(),
        }
    }
}

impl Session {
    /// Whether it may do little but listen: a subscriber that speaks RESP2 can't tell messages from other
    /// replies.
    #[inline]
    pub fn only_listens(&self) -> bool {
        self.subscriptions.is_some() && self.proto == Proto::Resp2
    }

    /// Begins to listen to `name`; none if the client does already.
    fn listen(&mut self, node: &Node, core: CoreId, kind: Kind, name: &[u8]) -> Option<Name> {
        if self.subscriptions.is_none() {
            node.channels.count_subscriber(true);
            self.info.set_flags(ClientFlags::PUBSUB, true);
        }
        let subscriptions = self.subscriptions.get_or_insert_default();
        if subscriptions.of(kind).contains(name) {
            return None;
        }
        let name = node.channels.add(kind, name, core);
        subscriptions.insert(kind, name.clone());
        self.info.set_subscriptions(subscriptions.counts());
        Some(name)
    }

    /// Ends listening to `name`; none if the client does not. Whoever calls it tells the core.
    pub fn leave(&mut self, node: &Node, core: CoreId, kind: Kind, name: &[u8]) -> Option<Name> {
        let subscriptions = self.subscriptions.as_mut()?;
        let name = subscriptions.take(kind, name)?;
        let counts = subscriptions.counts();
        node.channels.remove(kind, &name, core);
        self.info.set_subscriptions(counts);
        if counts == [0; 3] {
            self.subscriptions = None;
            node.channels.count_subscriber(false);
            self.info.set_flags(ClientFlags::PUBSUB, false);
        }
        Some(name)
    }

    fn counted_with(&self, kind: Kind) -> usize {
        self.subscriptions.as_ref().map_or(0, |all| all.counted_with(kind))
    }
}

// --- SUBSCRIBE and UNSUBSCRIBE -------------------------------------------------------------------

fn subscribe(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    listen_to_all(cx, args, reply, Kind::Channel)
}

fn psubscribe(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    listen_to_all(cx, args, reply, Kind::Pattern)
}

fn ssubscribe(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    listen_to_all(cx, args, reply, Kind::Shard)
}

fn listen_to_all(
    cx: &mut SessionCx<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    kind: Kind,
) -> Answer {
    for name in args.from(1) {
        if let Some(name) = cx.session.listen(cx.node, cx.core, kind, name) {
            cx.actions.push(Action::Listen(kind, name));
        }
        confirm(cx.session, (kind, true), Some(name), reply);
    }
    Ok(())
}

fn unsubscribe(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    leave_all(cx, args, reply, Kind::Channel)
}

fn punsubscribe(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    leave_all(cx, args, reply, Kind::Pattern)
}

fn sunsubscribe(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    leave_all(cx, args, reply, Kind::Shard)
}

/// Without names, all of them; where there are none, that is confirmed once.
fn leave_all(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>, kind: Kind) -> Answer {
    let mut leave = |cx: &mut SessionCx<'_>, name: &[u8]| {
        leave(cx, kind, name);
        confirm(cx.session, (kind, false), Some(name), reply);
    };
    if args.len() > 1 {
        args.from(1).for_each(|name| leave(cx, name));
        return Ok(());
    }
    let all = cx.session.subscriptions.as_ref().map(|all| all.of(kind).clone());
    let all = all.unwrap_or_default();
    all.iter().for_each(|name| leave(cx, name));
    if all.is_empty() {
        confirm(cx.session, (kind, false), None, reply);
    }
    Ok(())
}

fn leave(cx: &mut SessionCx<'_>, kind: Kind, name: &[u8]) {
    if let Some(name) = cx.session.leave(cx.node, cx.core, kind, name) {
        cx.actions.push(Action::Leave(kind, name));
    }
}

/// Ends all subscriptions without a word (`RESET`).
pub(super) fn leave_everything(cx: &mut SessionCx<'_>) {
    let all = cx.session.subscriptions.as_ref();
    let all: Vec<(Kind, Name)> = all
        .into_iter()
        .flat_map(|all| all.iter())
        .map(|(kind, name)| (kind, name.clone()))
        .collect();
    all.iter().for_each(|(kind, name)| leave(cx, *kind, name));
}

/// Tells a client of a subscription that began, or ended if the flag beside the kind is false.
pub fn confirm(
    session: &Session,
    (kind, begins): (Kind, bool),
    name: Option<&[u8]>,
    reply: &mut Reply<'_>,
) {
    let word: &[u8] = match (kind, begins) {
        (Kind::Channel, true) => b"subscribe",
        (Kind::Channel, false) => b"unsubscribe",
        (Kind::Pattern, true) => b"psubscribe",
        (Kind::Pattern, false) => b"punsubscribe",
        (Kind::Shard, true) => b"ssubscribe",
        (Kind::Shard, false) => b"sunsubscribe",
    };
    reply.push(3);
    reply.bulk(word);
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(number(session.counted_with(kind)));
}

/// Whether a client may ask for this while it [only listens](Session::only_listens).
pub fn is_for_listeners(entry: &Entry) -> bool {
    entry.command.flags.contains(Flags::PUSHES)
        || matches!(entry.full_name, "ping" | "quit" | "reset")
}

/// What it is told of all else.
pub fn not_while_listening(entry: &Entry) -> Error {
    Error::Text(format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
         this context",
        entry.full_name
    ))
}

// --- PUBLISH -------------------------------------------------------------------------------------

/// A message and the cores that it goes to.
#[derive(Debug, PartialEq, Eq)]
pub struct Published {
    /// The message.
    pub message: Arc<Message>,
    /// The cores whose clients are to have it.
    pub cores: Vec<CoreId>,
    /// Whether other nodes of the cluster are to have it too.
    pub is_for_other_nodes: bool,
}

/// What has to be sent for `payload` to reach everyone who listens to `channel` on this node now, and how many
/// they are. What other nodes' clients publish and the server's own messages go this way.
pub fn address(
    node: &Node,
    kind: Kind,
    channel: &[u8],
    payload: &[u8],
) -> (usize, Option<Published>) {
    address_to(node, (kind, false), channel, payload)
}

fn address_to(
    node: &Node,
    (kind, is_for_other_nodes): (Kind, bool),
    channel: &[u8],
    payload: &[u8],
) -> (usize, Option<Published>) {
    let matches = |pattern: &[u8]| glob::matches(pattern, channel, Case::Sensitive);
    let audience = node.channels.audience(kind, channel, matches);
    let published = (audience.receivers > 0 || is_for_other_nodes).then(|| Published {
        message: Arc::new(Message::new(kind, channel, payload, audience.patterns)),
        cores: audience.cores,
        is_for_other_nodes,
    });
    (audience.receivers, published)
}

fn publish(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    publish_to(cx, args, reply, Kind::Channel)
}

fn spublish(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    publish_to(cx, args, reply, Kind::Shard)
}

fn publish_to(
    cx: &mut SessionCx<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    kind: Kind,
) -> Answer {
    let to = (kind, cx.node.id.is_some());
    let (receivers, published) = address_to(cx.node, to, args.at(1), args.at(2));
    cx.actions.extend(published.map(Action::Publish));
    reply.integer(number(receivers));
    Ok(())
}

// --- PUBSUB --------------------------------------------------------------------------------------

fn help(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    write_help("PUBSUB", HELP_LINES, reply);
    Ok(())
}

fn channels(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    list(cx, args, reply, Kind::Channel)
}

fn shardchannels(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    list(cx, args, reply, Kind::Shard)
}

fn list(cx: &SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>, kind: Kind) -> Answer {
    if args.len() > 3 {
        return Err(subcommand_syntax(args));
    }
    let pattern = args.get(2);
    let accepts =
        |name: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, name, Case::Sensitive));
    let names = cx.node.channels.names(kind, accepts);
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

fn numpat(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    reply.integer(number(cx.node.channels.count(Kind::Pattern)));
    Ok(())
}

fn numsub(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    count_listeners(cx, args, reply, Kind::Channel)
}

fn shardnumsub(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    count_listeners(cx, args, reply, Kind::Shard)
}

/// A flat list in both protocols, as Redis answers it.
fn count_listeners(
    cx: &SessionCx<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    kind: Kind,
) -> Answer {
    let names = args.from(2);
    reply.array(2 * names.len());
    for name in names {
        reply.bulk(name);
        reply.integer(number(cx.node.channels.listeners(kind, name)));
    }
    Ok(())
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Kind;
    use crate::command::Action;
    use crate::command::testing::{Client, node, node_with};
    use crate::node::ClientFlags;

    #[test]
    fn subscriptions_are_confirmed_one_by_one() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        client.check(&[
            ("SUBSCRIBE a", "*3⏎$9⏎subscribe⏎$1⏎a⏎:1"),
            ("SUBSCRIBE a b", "*3⏎$9⏎subscribe⏎$1⏎a⏎:1⏎*3⏎$9⏎subscribe⏎$1⏎b⏎:2"),
            ("PSUBSCRIBE a*", "*3⏎$10⏎psubscribe⏎$2⏎a*⏎:3"),
            ("SSUBSCRIBE a", "*3⏎$10⏎ssubscribe⏎$1⏎a⏎:1"),
            ("PING", "*2⏎$4⏎pong⏎$0⏎"),
            ("PING x", "*2⏎$4⏎pong⏎$1⏎x"),
            ("UNSUBSCRIBE x b", "*3⏎$11⏎unsubscribe⏎$1⏎x⏎:3⏎*3⏎$11⏎unsubscribe⏎$1⏎b⏎:2"),
            ("UNSUBSCRIBE", "*3⏎$11⏎unsubscribe⏎$1⏎a⏎:1"),
            ("UNSUBSCRIBE", "*3⏎$11⏎unsubscribe⏎$-1⏎:1"),
            ("PUNSUBSCRIBE", "*3⏎$12⏎punsubscribe⏎$2⏎a*⏎:0"),
            ("PUNSUBSCRIBE", "*3⏎$12⏎punsubscribe⏎$-1⏎:0"),
            ("SUNSUBSCRIBE a", "*3⏎$12⏎sunsubscribe⏎$1⏎a⏎:0"),
            ("SUNSUBSCRIBE", "*3⏎$12⏎sunsubscribe⏎$-1⏎:0"),
            ("PING", "+PONG"),
        ]);
        client.run("HELLO 3");
        client.check(&[
            ("SUBSCRIBE a", ">3⏎$9⏎subscribe⏎$1⏎a⏎:1"),
            ("PING", "+PONG"),
            ("PUNSUBSCRIBE", ">3⏎$12⏎punsubscribe⏎_⏎:1"),
        ]);
    }

    #[test]
    fn the_node_knows_who_listens() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        let mut other = Client::new(&node, 6379);
        client.run("SUBSCRIBE a");
        client.run("PSUBSCRIBE a* b*");
        client.run("SSUBSCRIBE s");
        assert_eq!(client.session.info.subscriptions(), [1, 2, 1]);
        assert!(client.session.info.flags().contains(ClientFlags::PUBSUB));
        assert_eq!(node.channels.subscribers(), 1);
        other.check(&[
            ("PUBSUB CHANNELS", "*1⏎$1⏎a"),
            ("PUBSUB CHANNELS b*", "*0"),
            ("PUBSUB SHARDCHANNELS s*", "*1⏎$1⏎s"),
            ("PUBSUB NUMPAT", ":2"),
            ("PUBSUB NUMSUB", "*0"),
            ("PUBSUB NUMSUB a s", "*4⏎$1⏎a⏎:1⏎$1⏎s⏎:0"),
            ("PUBSUB SHARDNUMSUB a s", "*4⏎$1⏎a⏎:0⏎$1⏎s⏎:1"),
            ("PUBLISH s x", ":0"),
            ("SPUBLISH a x", ":0"),
        ]);
        assert!(other.actions.is_empty());
        other.check(&[("PUBLISH a x", ":2")]);
        let [Action::Publish(published)] = &other.actions[..] else {
            panic!("{:?}", other.actions)
        };
        assert_eq!(published.message.patterns().len(), 1);
        client.check(&[("RESET", "+RESET")]);
        let kinds = |action: &Action| matches!(action, Action::Leave(..));
        assert_eq!(client.actions.iter().filter(|action| kinds(action)).count(), 4);
        assert_eq!(client.session.info.subscriptions(), [0, 0, 0]);
        assert_eq!((node.channels.subscribers(), node.channels.count(Kind::Pattern)), (0, 0));
        other.check(&[("PUBLISH a x", ":0"), ("PUBSUB CHANNELS", "*0")]);
    }

    /// Who listens at other nodes is known there alone.
    #[test]
    fn other_nodes_of_a_cluster_are_told_what_is_published() {
        let node = node_with(|config| config.node_id = 1, vec![16_379, 16_380]);
        let mut client = Client::new(&node, 6379);
        for (request, kind) in [("PUBLISH a x", Kind::Channel), ("SPUBLISH a x", Kind::Shard)] {
            client.check(&[(request, ":0")]);
            let [Action::Publish(published)] = &client.actions[..] else {
                panic!("{:?}", client.actions)
            };
            assert!(published.is_for_other_nodes && published.cores.is_empty());
            assert_eq!((published.message.kind(), published.message.payload()), (kind, &b"x"[..]));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let node = node();
        Client::new(&node, 6379).check(&[
            ("SUBSCRIBE", "-ERR wrong number of arguments for 'subscribe' command"),
            ("PUBLISH a", "-ERR wrong number of arguments for 'publish' command"),
            ("PUBSUB", "-ERR wrong number of arguments for 'pubsub' command"),
            ("PUBSUB x", "-ERR unknown subcommand 'x'. Try PUBSUB HELP."),
            ("PUBSUB NUMPAT x", "-ERR wrong number of arguments for 'pubsub|numpat' command"),
            (
                "PUBSUB CHANNELS a b",
                "-ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.",
            ),
        ]);
    }
}
