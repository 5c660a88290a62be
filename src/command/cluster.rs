//! `CLUSTER`: the cores as nodes of a cluster, so that a cluster client reaches the core that owns a
//! key through that core's own port.
//!
//! Every core with a port of its own is a node, and owns the slots of the shards that it runs now; a
//! node may own none. If cores have no ports, the server is one node that owns all slots. On a node of a
//! cluster the members' cores are told of, with what they lead: `map`, `replicated`.

mod map;
mod members;
mod peers;
mod replicated;

pub(crate) use map::Map;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use super::cluster_keys;
use super::row::write_help;
use super::session_token::SessionToken;
use super::{Command, Error, Flags, Group, SessionCx};
use crate::node::{ClientInfo, Node, Owners};
use crate::protocol::{Args, Reply};
use crate::types::{CoreId, SLOT_COUNT, key_slot};

/// The rows of this file.
pub const COMMANDS: &[Command] = &[
    Command::container("cluster", Group::Cluster, ROWS, "3.0.0", "Commands on the cluster."),
    Command::session("readonly", -1, Group::Cluster, readonly)
        .with(Flags::FAST.union(Flags::LOADING).union(Flags::STALE))
        .doc("3.0.0", "Lets this connection read from replicas."),
    plain("readwrite", readwrite).doc("3.0.0", "Ends what READONLY began."),
    Command::session("asking", 1, Group::Cluster, accepted)
        .with(Flags::FAST)
        .doc("3.0.0", "Announces that the next command follows a redirection."),
];

const fn plain(name: &'static str, handler: super::SessionHandler) -> Command {
    let flags = Flags::LOADING.union(Flags::STALE).union(Flags::FAST);
    Command::session(name, 1, Group::Cluster, handler).with(flags)
}

const ROWS: &[Command] = &[
    peers::COUNT_FAILURE_REPORTS,
    cluster_keys::COUNTKEYSINSLOT,
    members::FAILOVER,
    members::FORGET,
    members::FOUND,
    cluster_keys::GETKEYSINSLOT,
    row("help", 2, help)
        .with(Flags::LOADING.union(Flags::STALE))
        .doc("5.0.0", "Tells what the subcommands do."),
    row("info", 2, info).doc("3.0.0", "Tells how the cluster is."),
    row("keyslot", 3, keyslot)
        .doc("3.0.0", "Answers the slot of a key.")
        .cost("O(N) in the length of the key"),
    peers::LINKS,
    members::MEET,
    row("myid", 2, myid).doc("3.0.0", "Answers the id of this node."),
    peers::MYSHARDID,
    row("nodes", 2, nodes).doc("3.0.0", "Lists the nodes.").cost("O(N) in the number of nodes"),
    peers::REPLICAS,
    members::REPLICATE,
    members::RESET,
    members::SHARD,
    row("shards", 2, shards)
        .doc("7.0.0", "Lists the nodes with their slots.")
        .cost("O(N) in the number of nodes"),
    peers::SLAVES,
    row("slots", 2, slots)
        .doc("3.0.0", "Lists ranges of slots with their nodes.")
        .cost("O(N) in the number of nodes"),
];

const fn row(name: &'static str, arity: i8, handler: super::SessionHandler) -> Command {
    Command::session(name, arity, Group::Cluster, handler).with(Flags::STALE)
}

const HELP_LINES: &[&str] = &[
    "COUNT-FAILURE-REPORTS <node-id>",
    "    Number of nodes that have reported a node to fail: 0.",
    "COUNTKEYSINSLOT <slot>",
    "    Number of keys in a slot.",
    "FAILOVER [FORCE|TAKEOVER]",
    "    Have this node lead what it follows.",
    "FORGET <node>",
    "    Remove a node that has no replicas, by its number or id, for good.",
    "FOUND <node> [<node> ...]",
    "    Begin a cluster of these nodes; say it to each of them.",
    "GETKEYSINSLOT <slot> <count>",
    "    Names of keys in a slot.",
    "INFO",
    "    How the cluster is.",
    "KEYSLOT <key>",
    "    The slot of a key.",
    "LINKS",
    "    The links to and from other nodes.",
    "MEET <ip> <port> [<bus-port>]",
    "    Make this node and another known to each other.",
    "MYID",
    "    The id of this node.",
    "MYSHARDID",
    "    The id that this node has in common with its replicas, or with its master.",
    "NODES",
    "    The nodes, a line each:",
    "    <id> <ip:port@bus-port> <flags> <master> <ping> <pong> <epoch> <link> <slots>",
    "REPLICAS <node-id>",
    "    The replicas of a node, a line each as of NODES.",
    "REPLICATE <node>",
    "    Have this node take part in the shards that another leads.",
    "RESET [HARD|SOFT]",
    "    Have this node, which has no replicas, forget the cluster that it was in.",
    "SHARD <shard> ADD|REMOVE|LEAD <node>",
    "    Of the leader: change who has replicas of a shard, or leads it.",
    "SHARDS",
    "    The nodes with their slots.",
    "SLAVES <node-id>",
    "    The same as REPLICAS.",
    "SLOTS",
    "    Ranges of slots with the address and the id of their node.",
];

type Answer = Result<(), Error>;

/// Whether clients are told of a cluster: it was asked for, or there are ports that make use of it.
pub(super) fn is_enabled(node: &Node) -> bool {
    node.config.load().cluster_enabled || node.topology.has_core_ports()
}

/// The cores, or the whole server if cores have no ports, as cluster clients see them.
struct Cluster<'a> {
    node: &'a Node,
    owners: Arc<Owners>,
    /// The node that the client is connected to.
    me: CoreId,
}

impl<'a> Cluster<'a> {
    fn of(cx: &SessionCx<'a>) -> Result<Self, Error> {
        let node = cx.node;
        if !is_enabled(node) {
            return Err(Error::Static("ERR This instance has cluster support disabled"));
        }
        let me = match node.topology.core_of_port(cx.session.info.laddr.port()) {
            Some(core) => core,
            None if node.topology.has_core_ports() => cx.core,
            None => ALONE,
        };
        Ok(Self { node, owners: node.owners.load(), me })
    }

    /// All nodes, those without slots included.
    fn members(&self) -> impl ExactSizeIterator<Item = CoreId> + use<> {
        let has_ports = self.node.topology.has_core_ports();
        (0..if has_ports { self.node.slots.core_count() } else { 1 }).map(CoreId)
    }

    fn id(&self, core: CoreId) -> &'a str {
        &self.node.core_ids[usize::from(core.0)]
    }

    fn port(&self, core: CoreId) -> u16 {
        self.node.topology.port_of(core)
    }

    fn epoch(&self, core: CoreId) -> u64 {
        let has_ports = self.node.topology.has_core_ports();
        if has_ports { self.owners.epoch_of(core) } else { self.owners.epoch() }
    }

    /// The runs of slots that a node owns.
    fn ranges_of(&self, core: CoreId) -> Vec<Range<u16>> {
        let ranges = ranges(self.node, &self.owners).into_iter();
        ranges.filter(|(_, owner)| *owner == core).map(|(slots, _)| slots).collect()
    }
}

/// The node that the server is if cores have no ports.
const ALONE: CoreId = CoreId(0);

/// All slots in order, as runs with the node that owns them.
fn ranges(node: &Node, owners: &Owners) -> Vec<(Range<u16>, CoreId)> {
    if node.topology.has_core_ports() { owners.ranges() } else { vec![(0..SLOT_COUNT, ALONE)] }
}

/// The address that clients are told: the announced one, or the one they reached the server at.
pub(super) fn ip(node: &Node, client: &ClientInfo) -> IpAddr {
    node.topology.announce_ip.unwrap_or(client.laddr.ip().to_canonical())
}

/// The cluster as the client is told of it, if this is one.
fn map_of(cx: &SessionCx<'_>) -> Option<Map> {
    Map::of(cx.node, &cx.session.info)
}

fn help(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    write_help("CLUSTER", HELP_LINES, reply);
    Ok(())
}

/// With a token, reads wait until the node has come as far as that says.
fn readonly(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let token = match args.len() {
        1 => None,
        3 if args.at(1).eq_ignore_ascii_case(b"token") => {
            Some(SessionToken::parse(args.at(2), cx.node.slots.shard_count())?)
        }
        _ => return Err(Error::Syntax),
    };
    token.iter().for_each(|token| cx.session.depend_on(token));
    cx.session.reads_followers = true;
    reply.ok();
    Ok(())
}

fn readwrite(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    cx.session.reads_followers = false;
    reply.ok();
    Ok(())
}

/// No slot is ever on its way from one node to another, so there is nothing to remember.
fn accepted(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    reply.ok();
    Ok(())
}

fn keyslot(_: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    reply.integer(i64::from(key_slot(args.at(2)).0));
    Ok(())
}

fn myid(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    if let Some(map) = map_of(cx) {
        replicated::myid(&map, cx, reply);
        return Ok(());
    }
    let cluster = Cluster::of(cx)?;
    reply.bulk(cluster.id(cluster.me).as_bytes());
    Ok(())
}

fn info(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    if let Some(map) = map_of(cx) {
        replicated::info(&map, cx, reply);
        return Ok(());
    }
    let cluster = Cluster::of(cx)?;
    let known = cluster.members().len();
    let size = cluster.members().filter(|core| !cluster.ranges_of(*core).is_empty()).count();
    let (epoch, my_epoch) = (cluster.owners.epoch(), cluster.epoch(cluster.me));
    reply.verbatim(&format!(
        "cluster_state:ok\r\n\
         cluster_slots_assigned:{SLOT_COUNT}\r\n\
         cluster_slots_ok:{SLOT_COUNT}\r\n\
         cluster_slots_pfail:0\r\n\
         cluster_slots_fail:0\r\n\
         cluster_known_nodes:{known}\r\n\
         cluster_size:{size}\r\n\
         cluster_current_epoch:{epoch}\r\n\
         cluster_my_epoch:{my_epoch}\r\n\
         cluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\n\
         total_cluster_links_buffer_limit_exceeded:0\r\n",
    ));
    Ok(())
}

fn nodes(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    if let Some(map) = map_of(cx) {
        replicated::nodes(&map, cx, reply);
        return Ok(());
    }
    let (cluster, ip, now) = (Cluster::of(cx)?, ip(cx.node, &cx.session.info), cx.now.unix.0);
    let mut lines = String::new();
    for core in cluster.members() {
        let port = cluster.port(core);
        // Redis's nodes talk to each other on a port above their own; ours need none.
        let bus_port = match cx.node.config.load().cluster_announce_bus_port {
            0 => port.checked_add(10_000).unwrap_or(0),
            announced => announced.saturating_add(core.0),
        };
        let (flags, pong) = if core == cluster.me { ("myself,master", 0) } else { ("master", now) };
        // Writing to a string does not fail.
        let _ = write!(
            lines,
            "{} {}@{bus_port} {flags} - 0 {pong} {} connected",
            cluster.id(core),
            bare(SocketAddr::new(ip, port)),
            cluster.epoch(core),
        );
        for slots in cluster.ranges_of(core) {
            lines.push(' ');
            lines.push_str(&slot_range(&slots));
        }
        lines.push('\n');
    }
    reply.verbatim(&lines);
    Ok(())
}

/// Redis writes IPv6 addresses without brackets here.
fn bare(address: SocketAddr) -> String {
    format!("{}:{}", address.ip(), address.port())
}

/// A run of slots as `CLUSTER NODES` writes it.
pub(super) fn slot_range(slots: &Range<u16>) -> String {
    match (slots.start, slots.end - 1) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

fn slots(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let cluster = Cluster::of(cx)?;
    write_slots(cx.node, &cluster.owners, &cx.session.info, reply);
    Ok(())
}

/// What `CLUSTER SLOTS` answers.
fn write_slots(node: &Node, owners: &Owners, client: &ClientInfo, reply: &mut Reply<'_>) {
    if let Some(map) = Map::of(node, client) {
        return replicated::slots(&map, reply);
    }
    let (ranges, ip) = (ranges(node, owners), ip(node, client).to_string());
    reply.array(ranges.len());
    for (slots, core) in ranges {
        reply.array(3);
        reply.integer(i64::from(slots.start));
        reply.integer(i64::from(slots.end - 1));
        reply.array(4);
        reply.bulk(ip.as_bytes());
        reply.integer(i64::from(node.topology.port_of(core)));
        reply.bulk(node.core_ids[usize::from(core.0)].as_bytes());
        reply.map(0);
    }
}

/// Tells a client that subscribed (`CLIENT TOPOLOGY`) of the topology as of an epoch: the word
/// `topology`, the epoch, and what `CLUSTER SLOTS` answers.
pub(crate) fn push_topology(
    node: &Node,
    owners: &Owners,
    client: &ClientInfo,
    reply: &mut Reply<'_>,
) {
    reply.push(3);
    reply.bulk(b"topology");
    reply.integer(i64::try_from(owners.epoch()).unwrap_or(i64::MAX));
    write_slots(node, owners, client, reply);
}

fn shards(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    if let Some(map) = map_of(cx) {
        replicated::shards(&map, reply);
        return Ok(());
    }
    let (cluster, ip) = (Cluster::of(cx)?, ip(cx.node, &cx.session.info).to_string());
    reply.array(cluster.members().len());
    for core in cluster.members() {
        let ranges = cluster.ranges_of(core);
        reply.map(2);
        reply.bulk(b"slots");
        reply.array(2 * ranges.len());
        for slots in ranges {
            reply.integer(i64::from(slots.start));
            reply.integer(i64::from(slots.end - 1));
        }
        reply.bulk(b"nodes");
        reply.array(1);
        reply.map(7);
        reply.bulk(b"id");
        reply.bulk(cluster.id(core).as_bytes());
        reply.bulk(b"port");
        reply.integer(i64::from(cluster.port(core)));
        for (name, value) in [("ip", &*ip), ("endpoint", &*ip), ("role", "master")] {
            reply.bulk(name.as_bytes());
            reply.bulk(value.as_bytes());
        }
        reply.bulk(b"replication-offset");
        reply.integer(0);
        reply.bulk(b"health");
        reply.bulk(b"online");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
