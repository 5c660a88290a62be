//! A node of a cluster whose disk runs full: another leads what it led until there is room again, and clients hardly
//! notice. Which node that is, and when nobody takes over, is tried in simulation (`tests/sim/cluster/room.rs`).

mod harness;

use std::net::{Ipv4Addr, SocketAddr};

use harness::client::{Client, encode};
use harness::nodes::Nodes;
use harness::server::skip_on_other_server;
use harness::topology::leaders_of;
use harness::value::Value;
use harness::wait_until;

/// Bytes of a file that can be written while a disk is full: more than any file but a log takes.
const ROOM_BYTES: u64 = 16 * 1024;

/// The answer of a node, if it gives one. Whose replies wait while leadership moves are disconnected.
fn ask(nodes: &Nodes, id: usize, words: &[&str]) -> Option<Value> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, nodes.port(id)));
    let mut client = Client::try_connect(address).ok()?;
    client.try_send(encode(words)).ok()?;
    client.read().ok()
}

/// Whether all nodes have it that this one leads.
fn leads(nodes: &mut Nodes, leader: u64) -> bool {
    (1..=nodes.count()).all(|id| leaders_of(1, &mut nodes.server(id).client()) == [leader])
}

/// Whether `INFO raft` of a node says this of room.
fn says(nodes: &Nodes, id: usize, what: &str) -> bool {
    let Some(Value::Bulk(info)) = ask(nodes, id, &["INFO", "raft"]) else { return false };
    String::from_utf8_lossy(&info).contains(what)
}

/// Writes a key by way of a node until that is acknowledged.
fn write(nodes: &Nodes, id: usize, key: usize) {
    let (key, value) = (format!("key{key}"), format!("value {key}"));
    wait_until("a write is acknowledged", || {
        ask(nodes, id, &["SET", &key, &value]) == Some(Value::ok())
    });
}

/// A node answers what was written, unless it is not known who leads; then it is asked again.
fn check(nodes: &Nodes, id: usize, key: usize) {
    let mut value = None;
    wait_until("a read is answered", || {
        value = ask(nodes, id, &["GET", &format!("key{key}")]);
        value.as_ref().is_some_and(|value| !matches!(value, Value::Error(_)))
    });
    assert_eq!(value, Some(Value::bulk(format!("value {key}"))), "of node {id}");
}

fn a_full_disk(durability: &'static str) {
    let mut nodes =
        Nodes::new(3, 1, &["127.0.0.1"]).durable(durability).flag("--election-timeout-ms", "1000");
    nodes.start_all();
    // The first should lead the first shard.
    wait_until("the first node leads", || leads(&mut nodes, 1));
    (0..20).for_each(|key| write(&nodes, 1, key));

    nodes.server(1).limit_files(Some(ROOM_BYTES));
    // What it does not lead any more the first node leaves to who does.
    let mut keys = 20;
    wait_until("another leads", || {
        write(&nodes, 1, keys);
        keys += 1;
        leads(&mut nodes, 2) || leads(&mut nodes, 3)
    });
    let said = nodes.server(1).output();
    assert!(said.contains("MISCONF Errors writing to the log: "), "{said}");
    assert!(said.contains("there is no room for the log: another node"), "{said}");
    wait_until("it tells that it has no room", || says(&nodes, 1, ",no_room=1,"));
    for id in [2, 3] {
        wait_until("the others tell that they have", || says(&nodes, id, ",no_room=0,"));
    }
    for id in 1..=3 {
        keys += 1;
        write(&nodes, id, keys - 1);
        for key in 0..keys {
            check(&nodes, id, key);
        }
    }

    nodes.server(1).limit_files(None);
    wait_until("the first node leads again", || {
        write(&nodes, 2, keys);
        keys += 1;
        leads(&mut nodes, 1)
    });
    for key in 0..keys {
        check(&nodes, 1, key);
    }
    wait_until("it tells that it has room", || says(&nodes, 1, ",no_room=0,"));
}

#[test]
fn a_node_whose_disk_is_full_lets_others_lead_until_it_has_room() {
    if skip_on_other_server() {
        return;
    }
    for durability in ["async", "sync"] {
        a_full_disk(durability);
    }
}
