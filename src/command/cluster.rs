//! `CLUSTER`: the cores as nodes of a cluster, so that a cluster client reaches the core that owns a
//! key through that core's own port.
//!
//! Every core with a port of its own is a node, and owns the slots of the shards that it runs now; a
//! node may own none. If cores have no ports, the server is one node that owns all slots.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use super::cluster_keys;
use super::row::write_help;
use super::{Command, Error, Flags, Group, SessionCx};
use crate::node::{ClientInfo, Node, Owners};
use crate::protocol::{Args, Reply};
use crate::types::{CoreId, SLOT_COUNT, key_slot};

/// The rows of this file.
pub const COMMANDS: &[Command] = &[
    Command::container("cluster", Group::Cluster, ROWS, "3.0.0", "Commands on the cluster."),
    plain("readonly").doc("3.0.0", "Lets this connection read from replicas."),
    plain("readwrite").doc("3.0.0", "Ends what READONLY began."),
    Command::session("asking", 1, Group::Cluster, accepted)
        .with(Flags::FAST)
        .doc("3.0.0", "Announces that the next command follows a redirection."),
];

const fn plain(name: &'static str) -> Command {
    let flags = Flags::LOADING.union(Flags::STALE).union(Flags::FAST);
    Command::session(name, 1, Group::Cluster, accepted).with(flags)
}

const ROWS: &[Command] = &[
    cluster_keys::COUNTKEYSINSLOT,
    cluster_keys::GETKEYSINSLOT,
    row("help", 2, help)
        .with(Flags::LOADING.union(Flags::STALE))
        .doc("5.0.0", "Tells what the subcommands do."),
    row("info", 2, info).doc("3.0.0", "Tells how the cluster is."),
    row("keyslot", 3, keyslot)
        .doc("3.0.0", "Answers the slot of a key.")
        .cost("O(N) in the length of the key"),
    row("myid", 2, myid).doc("3.0.0", "Answers the id of this node."),
    row("nodes", 2, nodes).doc("3.0.0", "Lists the nodes.").cost("O(N) in the number of nodes"),
    row("shards", 2, shards)
        .doc("7.0.0", "Lists the nodes with their slots.")
        .cost("O(N) in the number of nodes"),
    row("slots", 2, slots)
        .doc("3.0.0", "Lists ranges of slots with their nodes.")
        .cost("O(N) in the number of nodes"),
];

const fn row(name: &'static str, arity: i8, handler: super::SessionHandler) -> Command {
    Command::session(name, arity, Group::Cluster, handler).with(Flags::STALE)
}

const HELP_LINES: &[&str] = &[
    "COUNTKEYSINSLOT <slot>",
    "    Number of keys in a slot.",
    "GETKEYSINSLOT <slot> <count>",
    "    Names of keys in a slot.",
    "INFO",
    "    How the cluster is.",
    "KEYSLOT <key>",
    "    The slot of a key.",
    "MYID",
    "    The id of this node.",
    "NODES",
    "    The nodes, a line each:",
    "    <id> <ip:port@bus-port> <flags> <master> <ping> <pong> <epoch> <link> <slots>",
    "SHARDS",
    "    The nodes with their slots.",
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

fn help(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    write_help("CLUSTER", HELP_LINES, reply);
    Ok(())
}

/// Without replicas and redirections in progress there is nothing to remember.
fn accepted(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    reply.ok();
    Ok(())
}

fn keyslot(_: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    reply.integer(i64::from(key_slot(args.at(2)).0));
    Ok(())
}

fn myid(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let cluster = Cluster::of(cx)?;
    reply.bulk(cluster.id(cluster.me).as_bytes());
    Ok(())
}

fn info(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
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
    let (cluster, ip, now) = (Cluster::of(cx)?, ip(cx.node, &cx.session.info), cx.now.unix.0);
    let mut lines = String::new();
    for core in cluster.members() {
        let port = cluster.port(core);
        // Redis's nodes talk to each other on a port above their own; ours need none.
        let bus_port = port.checked_add(10_000).unwrap_or(0);
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
mod tests {
    use crate::command::testing::{Client, node, node_with};
    use crate::types::{CoreId, ShardId};

    const FIRST: &str = "0123456789abcdef0123456789abcdef01230000";
    const SECOND: &str = "0123456789abcdef0123456789abcdef01230001";

    #[test]
    fn every_core_with_a_port_is_a_node() {
        let node = node();
        // Three shards on two cores: the first core runs two of them.
        let mut client = Client::new(&node, 16_380);
        let lines = format!(
            "{FIRST} 127.0.0.1:16379@26379 master - 0 1700000000000 1 connected 0-10922\n\
             {SECOND} 127.0.0.1:16380@26380 myself,master - 0 0 2 connected 10923-16383\n"
        );
        let slots = |first, last, port, id| {
            format!("*3⏎:{first}⏎:{last}⏎*4⏎$9⏎127.0.0.1⏎:{port}⏎$40⏎{id}⏎*0")
        };
        client.check(&[
            ("CLUSTER MYID", &format!("$40⏎{SECOND}")),
            ("CLUSTER NODES", &format!("${}⏎{lines}", lines.len())),
            (
                "CLUSTER SLOTS",
                &format!(
                    "*2⏎{}⏎{}",
                    slots(0, 10922, 16379, FIRST),
                    slots(10923, 16383, 16380, SECOND)
                ),
            ),
            ("CLUSTER KEYSLOT foo", ":12182"),
            ("CLUSTER KEYSLOT", "-ERR wrong number of arguments for 'cluster|keyslot' command"),
            ("CLUSTER x", "-ERR unknown subcommand 'x'. Try CLUSTER HELP."),
            ("READONLY", "+OK"),
            ("READWRITE", "+OK"),
            ("ASKING", "+OK"),
        ]);
        let info = client.run("CLUSTER INFO");
        for line in ["cluster_state:ok⏎", "cluster_size:2⏎", "cluster_my_epoch:2⏎"] {
            assert!(info.contains(line), "{info}");
        }
    }

    /// Of three shards core 0 starts with 0 and 1, core 1 with 2.
    #[test]
    fn answers_follow_the_owners() {
        let node = node();
        let mut client = Client::new(&node, 16_379);
        let ranges = |client: &mut Client<'_>| {
            let reply = client.run("CLUSTER SLOTS");
            let words: Vec<&str> = reply.split('⏎').collect();
            // A range begins with its two slots; its port comes third after the last of them.
            let starts = (0..words.len()).filter(|&at| words[at] == "*3" && at > 0);
            starts.map(|at| [at + 1, at + 2, at + 6].map(|at| &words[at][1..]).join(" ")).collect()
        };
        let as_told: Vec<String> = ranges(&mut client);
        assert_eq!(as_told, ["0 10922 16379", "10923 16383 16380"]);
        assert!(node.owners.set_owner(ShardId(0), CoreId(1)));
        let as_told: Vec<String> = ranges(&mut client);
        assert_eq!(as_told, ["0 5461 16380", "5462 10922 16379", "10923 16383 16380"]);
        let nodes = client.run("CLUSTER NODES");
        let lines: Vec<&str> =
            nodes.lines().filter_map(|line| line.split_once(" - ")).map(|l| l.1).collect();
        assert_eq!(
            lines,
            ["0 0 1 connected 5462-10922", "0 1700000000000 3 connected 0-5461 10923-16383"]
        );
        let shards = client.run("CLUSTER SHARDS");
        assert!(shards.contains("*2⏎:5462⏎:10922⏎"), "{shards}");
        assert!(shards.contains("*4⏎:0⏎:5461⏎:10923⏎:16383⏎"), "{shards}");
        // A node may be left without slots: it is known, but does not count.
        assert!(node.owners.set_owner(ShardId(1), CoreId(1)));
        let as_told: Vec<String> = ranges(&mut client);
        assert_eq!(as_told, ["0 16383 16380"]);
        let nodes = client.run("CLUSTER NODES");
        assert!(nodes.contains("myself,master - 0 0 1 connected\n"), "{nodes}");
        assert!(client.run("CLUSTER SHARDS").contains("$5⏎slots⏎*0⏎"));
        let info = client.run("CLUSTER INFO");
        for line in [
            "cluster_known_nodes:2⏎",
            "cluster_size:1⏎",
            "cluster_current_epoch:4⏎",
            "cluster_my_epoch:1⏎",
        ] {
            assert!(info.contains(line), "{info}");
        }
    }

    #[test]
    fn shards_are_maps_in_resp3() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        client.run("HELLO 3");
        let shard = |first, last, id, port| {
            format!(
                "%2⏎$5⏎slots⏎*2⏎:{first}⏎:{last}⏎$5⏎nodes⏎*1⏎%7⏎$2⏎id⏎$40⏎{id}⏎$4⏎port⏎:{port}⏎\
                 $2⏎ip⏎$9⏎127.0.0.1⏎$8⏎endpoint⏎$9⏎127.0.0.1⏎$4⏎role⏎$6⏎master⏎\
                 $18⏎replication-offset⏎:0⏎$6⏎health⏎$6⏎online"
            )
        };
        client.check(&[
            (
                "CLUSTER SHARDS",
                &format!(
                    "*2⏎{}⏎{}",
                    shard(0, 10922, FIRST, 16379),
                    shard(10923, 16383, SECOND, 16380)
                ),
            ),
            // On the common port a client is told of the core that it is on.
            ("CLUSTER MYID", &format!("$40⏎{FIRST}")),
        ]);
    }

    #[test]
    fn without_core_ports_there_is_one_node_or_no_cluster() {
        let node = node_with(|config| config.cluster_enabled = true, Vec::new());
        let mut client = Client::new(&node, 6379);
        client.check(&[(
            "CLUSTER SLOTS",
            &format!("*1⏎*3⏎:0⏎:16383⏎*4⏎$9⏎127.0.0.1⏎:6379⏎$40⏎{FIRST}⏎*0"),
        )]);
        assert!(node.owners.set_owner(ShardId(2), CoreId(0)));
        let info = client.run("CLUSTER INFO");
        assert!(info.contains("cluster_current_epoch:3⏎cluster_my_epoch:3⏎"), "{info}");
        client.check(&[("CLUSTER MYID", &format!("$40⏎{FIRST}"))]);
        assert!(client.run("INFO cluster").contains("cluster_enabled:1"));
        assert!(client.run("INFO server").contains("redis_mode:cluster"));

        let node = node_with(|_| {}, Vec::new());
        let mut client = Client::new(&node, 6379);
        let disabled = "-ERR This instance has cluster support disabled";
        for request in ["SLOTS", "NODES", "SHARDS", "INFO", "MYID"] {
            client.check(&[(&format!("CLUSTER {request}"), disabled)]);
        }
        assert!(client.run("INFO cluster").contains("cluster_enabled:0"));
    }
}
