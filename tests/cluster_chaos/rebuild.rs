//! Two of three nodes have run what was never committed, and the third loses its files while it sends one of them a
//! snapshot: nobody can send one any more. They make their data again from their own logs, without a restart.

use std::net::{Ipv4Addr, SocketAddr};

use crate::harness::client::{Client, info};
use crate::harness::nodes::Nodes;
use crate::harness::server::skip_on_other_server;
use crate::harness::value::Value;
use crate::harness::wait_until;
use crate::network::{Network, Wire, host};
use crate::replicas::{leader, of_node};
use crate::{RECOVERY, alone};

/// Together so much that a snapshot takes seconds, as fast as one is sent.
const VALUES: usize = 80;
const VALUE_BYTES: usize = 1 << 20;

fn client(nodes: &Nodes, id: usize) -> Client {
    Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, nodes.port(id))))
}

/// The last entry that a node has.
fn last(nodes: &Nodes, id: usize) -> u64 {
    of_node(nodes, id).map_or(0, |all| all[0].last)
}

fn lead(nodes: &Nodes, ids: &[usize]) -> usize {
    let mut found = None;
    wait_until("one leads", || {
        found = leader(nodes, ids, 0);
        found.is_some()
    });
    found.unwrap()
}

/// Nothing gets through between a node and the others.
fn cut_off(network: &Network, id: usize) {
    for other in (1..=3).filter(|other| *other != id) {
        network.set(id, other, Wire::Closed);
        network.set(other, id, Wire::Closed);
    }
}

/// The node that leads is cut off, runs a write that nobody else hears of, and leads no more.
fn write_in_vain(nodes: &Nodes, network: &Network, id: usize) {
    let mut writer = client(nodes, id);
    let begun = last(nodes, id);
    cut_off(network, id);
    writer.request(&["SET", "key", "in vain"]);
    wait_until("it has run the write", || last(nodes, id) > begun);
    wait_until("it leads no more", || leader(nodes, &[id], 0).is_none());
}

/// Whether a snapshot is on its way.
fn is_sending(nodes: &Nodes, from: usize, to: usize) -> bool {
    let line = info(&mut client(nodes, from), "raft").remove("shard0").unwrap_or_default();
    let peers = line.split(',').find_map(|field| field.strip_prefix("peers=")).unwrap_or_default();
    let mut peers = peers.split('/').map(|peer| peer.split(':').collect::<Vec<_>>());
    peers.any(|peer| peer[0] == to.to_string() && peer.len() > 3)
}

fn value(turn: usize) -> String {
    format!("{turn:08}").repeat(VALUE_BYTES / 8)
}

#[test]
fn data_that_nobody_can_send_is_made_again_from_the_log() {
    if skip_on_other_server() {
        return;
    }
    let _alone = alone();
    // No node keeps a log for the sake of durability.
    let mut nodes =
        Nodes::reached_by(3, 1, host).durable("memory").flag("--election-timeout-ms", "1000");
    let network = Network::between(&nodes, 1);
    nodes.start_all();
    // Which should lead, so that nobody takes it from it.
    wait_until("node 1 leads", || leader(&nodes, &[1], 0).is_some());
    let mut writer = client(&nodes, 1);
    writer.ok("SET key kept");
    for turn in 0..VALUES {
        let reply = writer.command(&["SET", &format!("long:{turn}"), &value(turn)]);
        assert_eq!(reply, Value::ok());
    }
    crate::replicas::wait_until_equal(&nodes, RECOVERY);

    write_in_vain(&nodes, &network, 1);
    let second = lead(&nodes, &[2, 3]);
    write_in_vain(&nodes, &network, second);
    // The third has an entry of the second's term, so the first follows it.
    let third = 5 - second;
    network.set(1, third, Wire::Whole);
    network.set(third, 1, Wire::Whole);
    wait_until("a snapshot is sent", || is_sending(&nodes, third, 1));
    nodes.lose_files(third);
    network.mend();
    nodes.start(third);

    let first = lead(&nodes, &[1, 2, 3]);
    assert_ne!(first, third);
    assert!(nodes.server(first).output().contains("the data is made again"));
    let mut reader = client(&nodes, first);
    assert_eq!(reader.words("GET key"), Value::bulk("kept"));
    assert_eq!(reader.words("DBSIZE"), Value::Integer(i64::try_from(VALUES).unwrap() + 1));
    for turn in 0..VALUES {
        let found = reader.command(&["GET", &format!("long:{turn}")]);
        assert!(found == Value::bulk(value(turn)), "long:{turn}");
    }
    crate::replicas::wait_until_equal(&nodes, 2 * RECOVERY);
}
