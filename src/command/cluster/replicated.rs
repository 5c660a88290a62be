//! What `CLUSTER` answers on a node of a cluster.

use super::map::{Health, Map, Place};
use super::{bare, slot_range};
use crate::command::SessionCx;
use crate::protocol::Reply;
use crate::types::{SLOT_COUNT, ShardId, UnixMs};

/// `CLUSTER MYID`
pub(super) fn myid(map: &Map, cx: &SessionCx<'_>, reply: &mut Reply<'_>) {
    let id = me(map, cx).map_or_else(|| cx.node.run_id.clone(), |place| map.id(place));
    reply.bulk(id.as_bytes());
}

/// Where a client is told that it is: at the node whose port it has come in by. At the common port that is the
/// replica, or, if this node follows nothing, the core that the client is on.
pub(super) fn me(map: &Map, cx: &SessionCx<'_>) -> Option<Place> {
    match cx.node.topology.core_of_port(cx.session.info.laddr.port()) {
        Some(core) => map.place_of(core),
        None => map.own_replica().or_else(|| map.place_of(cx.core)),
    }
}

/// `CLUSTER INFO`
pub(super) fn info(map: &Map, cx: &SessionCx<'_>, reply: &mut Reply<'_>) {
    let count = |is_one: &dyn Fn(ShardId) -> bool| -> usize {
        map.shards().filter(|shard| is_one(*shard)).map(|shard| map.slots_of(shard).len()).sum()
    };
    // What nobody leads has failed as well.
    let health = |shard| map.leader(shard).map_or(Health::Failed, |place| map.health(place));
    let [ok, pfail, fail] = [Health::Up, Health::Suspect, Health::Failed]
        .map(|wanted| count(&|shard| health(shard) == wanted));
    let state = if fail == 0 { "ok" } else { "fail" };
    let known = map.places().count();
    let size = map.places().filter(|place| map.led_by(*place).next().is_some()).count();
    let my_epoch = me(map, cx).map_or(0, |place| map.epoch(place).0);
    reply.verbatim(&format!(
        "cluster_state:{state}\r\n\
         cluster_slots_assigned:{SLOT_COUNT}\r\n\
         cluster_slots_ok:{ok}\r\n\
         cluster_slots_pfail:{pfail}\r\n\
         cluster_slots_fail:{fail}\r\n\
         cluster_known_nodes:{known}\r\n\
         cluster_size:{size}\r\n\
         cluster_current_epoch:{}\r\n\
         cluster_my_epoch:{my_epoch}\r\n\
         cluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\n\
         total_cluster_links_buffer_limit_exceeded:0\r\n",
        map.current_epoch().0,
    ));
}

/// `CLUSTER NODES`
pub(super) fn nodes(map: &Map, cx: &SessionCx<'_>, reply: &mut Reply<'_>) {
    let seen = (me(map, cx), cx.now.unix);
    let mut lines = String::new();
    for place in map.places() {
        lines.push_str(&line(map, place, map.master(place), seen));
        lines.push('\n');
    }
    reply.verbatim(&lines);
}

/// A node as `CLUSTER NODES` describes it to a client that is told it is at `me`.
pub(super) fn line(
    map: &Map,
    place: Place,
    master: Option<Place>,
    (me, now): (Option<Place>, UnixMs),
) -> String {
    let is_up = map.member(place).is_up;
    let role = if map.is_replica(place) { "slave" } else { "master" };
    let myself = if Some(place) == me { "myself," } else { "" };
    let failed = match map.health(place) {
        Health::Up => "",
        Health::Suspect => ",fail?",
        Health::Failed => ",fail",
    };
    let leader = master.unwrap_or(place);
    let master = master.map_or("-".to_owned(), |master| map.id(master));
    // Nobody is pinged at this level: a member is up as long as its links say so.
    let pong = if is_up && !map.is_own(place) { now.0 } else { 0 };
    let link = if is_up { "connected" } else { "disconnected" };
    let mut line = format!(
        "{} {}@{} {myself}{role}{failed} {master} 0 {pong} {} {link}",
        map.id(place),
        bare((map.ip(place), map.port(place)).into()),
        map.bus_port(place),
        map.epoch(leader).0,
    );
    for (slots, shards) in map.ranges() {
        if shards.iter().any(|shard| map.leader(*shard) == Some(place)) {
            line.push(' ');
            line.push_str(&slot_range(&slots));
        }
    }
    line
}

/// `CLUSTER SLOTS`: for each range the core that leads it, then the replicas that are up. What nobody leads is
/// left out.
pub(super) fn slots(map: &Map, reply: &mut Reply<'_>) {
    let mut ranges = map.ranges();
    ranges.retain(|(_, shards)| map.leader(shards[0]).is_some());
    reply.array(ranges.len());
    for (slots, shards) in ranges {
        let up = map.replicas_of(shards[0]).filter(|place| map.member(*place).is_up);
        let places: Vec<Place> = map.leader(shards[0]).into_iter().chain(up).collect();
        reply.array(2 + places.len());
        reply.integer(i64::from(slots.start));
        reply.integer(i64::from(slots.end - 1));
        for place in places {
            reply.array(4);
            reply.bulk(map.ip(place).to_string().as_bytes());
            reply.integer(i64::from(map.port(place)));
            reply.bulk(map.id(place).as_bytes());
            reply.map(0);
        }
    }
}

/// `CLUSTER SHARDS`: the ranges by the core that leads them, with who has replicas.
pub(super) fn shards(map: &Map, reply: &mut Reply<'_>) {
    let mut groups: Vec<Vec<ShardId>> = Vec::new();
    let is_alike = |a: ShardId, b: ShardId| {
        map.leader(a) == map.leader(b) && map.replicas_of(a).eq(map.replicas_of(b))
    };
    for shard in map.shards() {
        match groups.iter_mut().find(|group| is_alike(group[0], shard)) {
            Some(group) => group.push(shard),
            None => groups.push(vec![shard]),
        }
    }
    reply.array(groups.len());
    for group in groups {
        reply.map(2);
        reply.bulk(b"slots");
        let ranges = map.ranges();
        let of_group: Vec<_> =
            ranges.iter().filter(|(_, shards)| group.contains(&shards[0])).collect();
        reply.array(2 * of_group.len());
        for (slots, _) in of_group {
            reply.integer(i64::from(slots.start));
            reply.integer(i64::from(slots.end - 1));
        }
        reply.bulk(b"nodes");
        let places: Vec<Place> =
            map.leader(group[0]).into_iter().chain(map.replicas_of(group[0])).collect();
        reply.array(places.len());
        for place in places {
            node_of_shards(map, place, &group, reply);
        }
    }
}

fn node_of_shards(map: &Map, place: Place, shards: &[ShardId], reply: &mut Reply<'_>) {
    let ip = map.ip(place).to_string();
    let role = if map.is_replica(place) { "replica" } else { "master" };
    let health = if map.member(place).is_up { "online" } else { "failed" };
    reply.map(7);
    reply.bulk(b"id");
    reply.bulk(map.id(place).as_bytes());
    reply.bulk(b"port");
    reply.integer(i64::from(map.port(place)));
    for (name, value) in [("ip", &*ip), ("endpoint", &*ip), ("role", role)] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"replication-offset");
    reply.integer(i64::try_from(map.offset(place, shards)).unwrap_or(i64::MAX));
    reply.bulk(b"health");
    reply.bulk(health.as_bytes());
}
