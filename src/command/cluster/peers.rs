//! The subcommands of `CLUSTER` that tell of one node's replicas, and of what this node has to do with the others.
//!
//! On a server on its own the cores are nodes without replicas, and talk to each other without links.

use super::members::unknown;
use super::replicated::{line, me};
use super::{Answer, Cluster, Command, Flags, map_of, row};
use crate::command::{Error, SessionCx};
use crate::protocol::{Args, Reply};

/// `CLUSTER COUNT-FAILURE-REPORTS node-id`
pub(super) const COUNT_FAILURE_REPORTS: Command =
    row("count-failure-reports", 3, count_failure_reports)
        .with(Flags::STALE.union(Flags::ADMIN))
        .doc("3.0.0", "Counts the other nodes that do not hear from one.");
/// `CLUSTER LINKS`
pub(super) const LINKS: Command = row("links", 2, links)
    .doc("7.0.0", "Lists the links to and from other nodes.")
    .cost("O(N) in the number of nodes");
/// `CLUSTER MYSHARDID`
pub(super) const MYSHARDID: Command = row("myshardid", 2, myshardid).doc(
    "7.2.0",
    "Answers the id that this node has in common with its replicas, or with its master.",
);
/// `CLUSTER REPLICAS node-id`
pub(super) const REPLICAS: Command = row("replicas", 3, replicas)
    .with(Flags::STALE.union(Flags::ADMIN))
    .doc("5.0.0", "Lists the replicas of a node.")
    .cost("O(N) in the number of nodes");
/// `CLUSTER SLAVES node-id`
pub(super) const SLAVES: Command = Command { name: "slaves", since: "3.0.0", ..REPLICAS };

/// Checks that `id` is the id of a core.
fn check_core(cluster: &Cluster<'_>, id: &[u8]) -> Result<(), Error> {
    let is_known = cluster.members().any(|core| cluster.id(core).as_bytes() == id);
    if is_known { Ok(()) } else { Err(unknown(id)) }
}

/// A place is missed with its member. Nothing is decided by that: each node goes by its own links, and by what Raft's
/// majorities say. The cores of a server on its own do not miss each other.
fn count_failure_reports(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let Some(map) = map_of(cx) else {
        check_core(&Cluster::of(cx)?, args.at(2))?;
        reply.integer(0);
        return Ok(());
    };
    let place = map.find(args.at(2)).ok_or_else(|| unknown(args.at(2)))?;
    reply.integer(i64::try_from(map.missed_by(map.member(place))).unwrap_or(i64::MAX));
    Ok(())
}

/// Those who have a replica of anything that the node leads, each as a replica of that node: `CLUSTER NODES` has room
/// for one master only.
fn replicas(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let Some(map) = map_of(cx) else {
        check_core(&Cluster::of(cx)?, args.at(2))?;
        reply.array(0);
        return Ok(());
    };
    let master = map.find(args.at(2)).ok_or_else(|| unknown(args.at(2)))?;
    if map.is_replica(master) {
        return Err(Error::Static("ERR The specified node is not a master"));
    }
    let has_one = |place| map.led_by(master).any(|it| map.replicas_of(it).any(|of| of == place));
    let lines: Vec<String> = map
        .places()
        .filter(|place| has_one(*place))
        .map(|place| line(&map, place, Some(master), (me(&map, cx), cx.now.unix)))
        .collect();
    reply.array(lines.len());
    lines.iter().for_each(|line| reply.bulk(line.as_bytes()));
    Ok(())
}

fn myshardid(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let Some(map) = map_of(cx) else {
        let cluster = Cluster::of(cx)?;
        reply.bulk(cluster.id(cluster.me).as_bytes());
        return Ok(());
    };
    let place = me(&map, cx).map(|place| map.master(place).unwrap_or(place));
    let id = place.map_or_else(|| cx.node.run_id.clone(), |place| map.id(place));
    reply.bulk(id.as_bytes());
    Ok(())
}

/// Nodes are linked core to core, in both directions; what is told is that two nodes are, by their first cores. What
/// waits to be sent is each core's own affair, and is not told: 0.
fn links(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let Some(map) = map_of(cx) else {
        Cluster::of(cx)?;
        reply.array(0);
        return Ok(());
    };
    let linked: Vec<_> =
        map.first_cores().filter(|place| !map.is_own(*place) && map.member(*place).is_up).collect();
    reply.array(2 * linked.len());
    for place in linked {
        let since = i64::try_from(map.member(place).up_since.0).unwrap_or(i64::MAX);
        for (direction, events) in [("to", "w"), ("from", "r")] {
            reply.map(6);
            for (name, value) in [("direction", direction), ("node", &map.id(place))] {
                reply.bulk(name.as_bytes());
                reply.bulk(value.as_bytes());
            }
            reply.bulk(b"create-time");
            reply.integer(since);
            reply.bulk(b"events");
            reply.bulk(events.as_bytes());
            for name in ["send-buffer-allocated", "send-buffer-used"] {
                reply.bulk(name.as_bytes());
                reply.integer(0);
            }
        }
    }
    Ok(())
}
