//! `CLUSTER`: the cores as nodes of a cluster, so that a cluster client reaches the core that owns a
//! key through that core's own port.
//!
//! Every core with a port of its own is a node, and owns the slots of its shards. If cores have no
//! ports, the server is one node that owns all slots.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::cluster_keys;
use super::row::write_help;
use super::{Command, Error, Flags, Group, SessionCx};
use crate::node::Node;
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

/// One core, or the whole server if cores have no ports, as a cluster client sees it.
struct Member<'a> {
    index: usize,
    id: &'a str,
    port: u16,
    slots: Range<u16>,
    is_self: bool,
}

/// Whether clients are told of a cluster: it was asked for, or there are ports that make use of it.
pub(super) fn is_enabled(node: &Node) -> bool {
    node.config.load().cluster_enabled || node.topology.has_core_ports()
}

fn members<'a>(cx: &SessionCx<'a>) -> Result<Vec<Member<'a>>, Error> {
    let node = cx.node;
    if !is_enabled(node) {
        return Err(Error::Static("ERR This instance has cluster support disabled"));
    }
    if !node.topology.has_core_ports() {
        let port = node.topology.common_port;
        let id = &node.core_ids[0];
        return Ok(vec![Member { index: 0, id, port, slots: 0..SLOT_COUNT, is_self: true }]);
    }
    let me = node.topology.core_of_port(cx.session.info.laddr.port()).unwrap_or(cx.core);
    let cores = (0..node.slots.core_count()).map(CoreId);
    Ok(cores
        .map(|core| Member {
            index: usize::from(core.0),
            id: &node.core_ids[usize::from(core.0)],
            port: node.topology.port_of(core),
            slots: node.slots.slots_of_core(core),
            is_self: core == me,
        })
        .collect())
}

/// The address that clients are told: the announced one, or the one they reached the server at.
fn ip(cx: &SessionCx<'_>) -> IpAddr {
    let reached = cx.session.info.laddr.ip().to_canonical();
    cx.node.topology.announce_ip.unwrap_or(reached)
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
    let members = members(cx)?;
    let me = members.iter().find(|member| member.is_self).map_or("", |member| member.id);
    reply.bulk(me.as_bytes());
    Ok(())
}

fn info(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let members = members(cx)?;
    let count = members.len();
    let me = members.iter().find(|member| member.is_self).map_or(0, |member| member.index);
    reply.verbatim(&format!(
        "cluster_state:ok\r\n\
         cluster_slots_assigned:{SLOT_COUNT}\r\n\
         cluster_slots_ok:{SLOT_COUNT}\r\n\
         cluster_slots_pfail:0\r\n\
         cluster_slots_fail:0\r\n\
         cluster_known_nodes:{count}\r\n\
         cluster_size:{count}\r\n\
         cluster_current_epoch:{}\r\n\
         cluster_my_epoch:{me}\r\n\
         cluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\n\
         total_cluster_links_buffer_limit_exceeded:0\r\n",
        count - 1,
    ));
    Ok(())
}

fn nodes(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (ip, now) = (ip(cx), cx.now.unix.0);
    let mut lines = String::new();
    for member in members(cx)? {
        let address = SocketAddr::new(ip, member.port);
        // Redis's nodes talk to each other on a port above their own; ours need none.
        let bus_port = member.port.checked_add(10_000).unwrap_or(0);
        let (flags, pong) = if member.is_self { ("myself,master", 0) } else { ("master", now) };
        // Writing to a string does not fail.
        let _ = writeln!(
            lines,
            "{} {}@{bus_port} {flags} - 0 {pong} {} connected {}",
            member.id,
            bare(address),
            member.index,
            slot_range(&member.slots),
        );
    }
    reply.verbatim(&lines);
    Ok(())
}

/// Redis writes IPv6 addresses without brackets here.
fn bare(address: SocketAddr) -> String {
    format!("{}:{}", address.ip(), address.port())
}

fn slot_range(slots: &Range<u16>) -> String {
    match (slots.start, slots.end - 1) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

fn slots(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (members, ip) = (members(cx)?, ip(cx).to_string());
    reply.array(members.len());
    for member in members {
        reply.array(3);
        reply.integer(i64::from(member.slots.start));
        reply.integer(i64::from(member.slots.end - 1));
        reply.array(4);
        reply.bulk(ip.as_bytes());
        reply.integer(i64::from(member.port));
        reply.bulk(member.id.as_bytes());
        reply.map(0);
    }
    Ok(())
}

fn shards(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (members, ip) = (members(cx)?, ip(cx).to_string());
    reply.array(members.len());
    for member in members {
        reply.map(2);
        reply.bulk(b"slots");
        reply.array(2);
        reply.integer(i64::from(member.slots.start));
        reply.integer(i64::from(member.slots.end - 1));
        reply.bulk(b"nodes");
        reply.array(1);
        reply.map(7);
        reply.bulk(b"id");
        reply.bulk(member.id.as_bytes());
        reply.bulk(b"port");
        reply.integer(i64::from(member.port));
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

    const FIRST: &str = "0123456789abcdef0123456789abcdef01230000";
    const SECOND: &str = "0123456789abcdef0123456789abcdef01230001";

    #[test]
    fn every_core_with_a_port_is_a_node() {
        let node = node();
        // Three shards on two cores: the first core runs two of them.
        let mut client = Client::new(&node, 16_380);
        let lines = format!(
            "{FIRST} 127.0.0.1:16379@26379 master - 0 1700000000000 0 connected 0-10922\n\
             {SECOND} 127.0.0.1:16380@26380 myself,master - 0 0 1 connected 10923-16383\n"
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
        for line in ["cluster_state:ok⏎", "cluster_size:2⏎", "cluster_my_epoch:1⏎"] {
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
