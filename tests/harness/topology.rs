//! What `CLUSTER` tells of slots and ports, read by all its subcommands.

use super::client::{Client, info, info_number};
use super::server::{Server, is_other_server};
use super::slots::slot;
use super::value::Value;
use std::net::SocketAddr;

const SLOTS: i64 = 16_384;

/// A run of slots and the port that serves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) port: i64,
    pub(crate) id: String,
}

/// What `CLUSTER SLOTS` tells.
pub(crate) fn ranges_of_slots(client: &mut Client) -> Vec<Range> {
    read_slots(&client.words("CLUSTER SLOTS"))
}

/// The ranges in a reply to `CLUSTER SLOTS`.
pub(crate) fn read_slots(reply: &Value) -> Vec<Range> {
    let range = |entry: &Value| {
        let [first, last, node] = entry.elements() else { panic!("CLUSTER SLOTS: {entry:?}") };
        let [address, port, id, _] = node.elements() else { panic!("CLUSTER SLOTS: {node:?}") };
        assert_eq!(address.text(), "127.0.0.1");
        Range { first: first.integer(), last: last.integer(), port: port.integer(), id: id.text() }
    };
    let mut ranges: Vec<Range> = reply.elements().iter().map(range).collect();
    ranges.sort();
    ranges
}

/// What `CLUSTER SHARDS` tells.
pub(crate) fn ranges_of_shards(client: &mut Client) -> Vec<Range> {
    let reply = client.words("CLUSTER SHARDS");
    let mut ranges = Vec::new();
    for shard in reply.elements() {
        let slots = shard.field("slots");
        let nodes = shard.field("nodes");
        let [node] = nodes.elements() else { panic!("one node per shard, not {nodes:?}") };
        assert_eq!(node.field("role").text(), "master");
        assert_eq!(node.field("health").text(), "online");
        assert_eq!(node.field("ip").text(), "127.0.0.1");
        assert_eq!(node.field("endpoint").text(), "127.0.0.1");
        let (port, id) = (node.field("port").integer(), node.field("id").text());
        for pair in slots.elements().chunks(2) {
            let (first, last) = (pair[0].integer(), pair[1].integer());
            ranges.push(Range { first, last, port, id: id.clone() });
        }
    }
    ranges.sort();
    ranges
}

/// What `CLUSTER NODES` tells: `id ip:port@bus flags master ping pong epoch link slots…` per line.
pub(crate) fn ranges_of_nodes(client: &mut Client) -> Vec<Range> {
    let text = client.words("CLUSTER NODES").text();
    let mut ranges = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        assert!(fields.len() >= 8, "CLUSTER NODES: {line}");
        assert!(fields[2].split(',').any(|flag| flag == "master"), "{line}");
        assert_eq!((fields[3], fields[7]), ("-", "connected"), "{line}");
        let (address, rest) = fields[1].split_once(':').expect("an address");
        assert_eq!(address, "127.0.0.1");
        let (port, _) = rest.split_once('@').expect("a bus port");
        for slots in &fields[8..] {
            let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
            let number = |text: &str| text.parse::<i64>().expect("a number");
            let (first, last, port) = (number(first), number(last), number(port));
            ranges.push(Range { first, last, port, id: fields[0].to_owned() });
        }
    }
    ranges.sort();
    ranges
}

/// Checks that all answers agree and leave no slot out.
pub(crate) fn check_topology(client: &mut Client) -> Vec<Range> {
    let ranges = ranges_of_slots(client);
    assert_eq!(ranges_of_shards(client), ranges);
    assert_eq!(ranges_of_nodes(client), ranges);
    let mut next = 0;
    for range in &ranges {
        assert_eq!(range.first, next, "no slot is left out or served twice: {ranges:?}");
        assert!(range.last >= range.first);
        assert_eq!(range.id.len(), 40, "{range:?}");
        assert!(range.id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{range:?}");
        next = range.last + 1;
    }
    assert_eq!(next, SLOTS);
    ranges
}

/// The core's port that serves `key`.
pub(crate) fn port_of(ranges: &[Range], key: &str) -> u16 {
    let slot = i64::from(slot(key));
    let range = ranges.iter().find(|range| (range.first..=range.last).contains(&slot));
    u16::try_from(range.expect("each slot is served").port).expect("a port")
}

/// Connects to a port of this machine.
pub(crate) fn connect(port: u16) -> Client {
    Client::connect(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// What a client that knows the topology spares the server, as `INFO` counts it: batches for other cores,
/// connections that move, and `MOVED`.
pub(crate) fn hops(client: &mut Client) -> [(&'static str, u64); 4] {
    let ringmain = ["batches_borrowed", "batches_by_message", "moved_connections"];
    let [borrowed, by_message, moved] =
        ringmain.map(|name| (name, info_number(client, "ringmain", name)));
    let errors = info(client, "errorstats");
    let replies = errors.get("errorstat_MOVED").map_or(0, |text| {
        let count = text.strip_prefix("count=").and_then(|count| count.parse().ok());
        count.unwrap_or_else(|| panic!("errorstat_MOVED:{text}"))
    });
    [borrowed, by_message, moved, ("errorstat_MOVED", replies)]
}

/// Checks that whatever clients have asked `server` they asked the core that owns the key, in `batches` at least.
pub(crate) fn check_no_hops(server: &Server, batches: u64) {
    if is_other_server() {
        return;
    }
    let mut client = server.client();
    let hops = hops(&mut client);
    assert!(hops.iter().all(|(_, count)| *count == 0), "{hops:?}");
    let local = info_number(&mut client, "ringmain", "batches_local");
    assert!(local >= batches, "{local} batches of at least {batches}");
}

/// The node that leads each of so many shards, as a node tells; 0 where none does.
pub(crate) fn leaders_of(shards: u16, client: &mut Client) -> Vec<u64> {
    let fields = info(client, "raft");
    let leader = |shard| {
        let line: &String = &fields[&format!("shard{shard}")];
        let field = line.split(',').find_map(|field| field.strip_prefix("leader="));
        field.and_then(|leader| leader.parse().ok()).expect("the number of a node")
    };
    (0..shards).map(leader).collect()
}
