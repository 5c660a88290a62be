//! What a cluster's clients are told of its nodes: who is there, as all nodes see it, and who leads, without asking.

mod harness;
#[path = "cluster_chaos/network.rs"]
mod network;

use std::collections::BTreeSet;

use harness::binary::{BinaryClient, Request};
use harness::client::{Client, info};
use harness::nodes::Nodes;
use harness::server::skip_on_other_server;
use harness::topology::{connect, leaders_of};
use harness::trial::{Trial, Welcome, signal};
use harness::value::Value;
use harness::wait_until;
use network::{Network, Wire, host};
use ringmain::protocol::binary::{Opcode, Topology};

const SHARDS: u16 = 3;

fn start() -> (Trial, Welcome) {
    Trial::start(&["--nodes", "3", "--shards", &SHARDS.to_string()])
}

/// The port of a node's only core.
fn core_port(welcome: &Welcome, node: usize) -> u16 {
    welcome.nodes[node - 1].0 + 10_000
}

/// How the node that a client asks sees another by its core at a port: its flags, how many others miss it, and how many
/// hear from it; nothing as long as its cores are not known.
fn seen(client: &mut Client, (node, port): (usize, u16)) -> Option<(String, i64, String)> {
    let lines = client.words("CLUSTER NODES").text();
    let port = format!(":{port}@");
    let line = lines.lines().find(|line| line.contains(&port))?;
    let fields: Vec<&str> = line.split(' ').collect();
    let reports = client.words(&format!("CLUSTER COUNT-FAILURE-REPORTS {}", fields[0])).integer();
    let raft = info(client, "raft");
    let member = &raft[&format!("member{node}")];
    let heard_by = member.split(',').find_map(|field| field.strip_prefix("heard_by="));
    Some((fields[2].to_owned(), reports, heard_by.expect("it is told of each").to_owned()))
}

#[test]
fn a_node_that_the_others_miss_has_failed_until_it_is_back() {
    if skip_on_other_server() {
        return;
    }
    let (trial, welcome) = start();
    let (_, process) = welcome.nodes[2];
    let is_seen_by_both = |flags: &str, reports, heard_by: &str| {
        let expected = Some((flags.to_owned(), reports, heard_by.to_owned()));
        [1, 2].iter().all(|node| {
            let mut client = connect(core_port(&welcome, *node));
            seen(&mut client, (3, core_port(&welcome, 3))) == expected
        })
    };
    wait_until("both hear from node 3", || is_seen_by_both("master", 0, "2"));
    signal("STOP", process);
    wait_until("both miss node 3, and know of each other", || {
        is_seen_by_both("master,fail", 1, "0")
    });
    let status = trial.status(welcome.nodes[0].0);
    assert!(status.contains("no answer, heard by nobody"), "{status}");
    signal("CONT", process);
    wait_until("both hear from node 3 again", || is_seen_by_both("master", 0, "2"));
    let mut third = connect(core_port(&welcome, 3));
    wait_until("node 3 hears from both, and is told that they do from each other", || {
        [1, 2].iter().all(|node| {
            let port = core_port(&welcome, *node);
            seen(&mut third, (*node, port)) == Some(("master".to_owned(), 0, "2".to_owned()))
        })
    });
}

#[test]
fn a_node_that_one_of_the_others_misses_is_a_suspect_there_and_no_more() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::reached_by(3, 1, host);
    let network = Network::between(&nodes, 1);
    nodes.start_all();
    let third = (3, nodes.port(3) + 1);
    let sees = |node: usize, flags: &str, reports, heard_by: &str| {
        let mut client = connect(nodes.port(node));
        seen(&mut client, third) == Some((flags.to_owned(), reports, heard_by.to_owned()))
    };
    wait_until("all hear from all", || sees(1, "master", 0, "2") && sees(2, "master", 0, "2"));
    network.set(3, 1, Wire::Stuck);
    wait_until("node 1 misses node 3, and node 2 knows", || {
        sees(1, "master,fail?", 0, "1") && sees(2, "master", 1, "1")
    });
    // Nobody takes clients at the address by which node 1 knows it.
    let output = nodes.cli("status --port #1");
    let status = String::from_utf8_lossy(&output.stdout);
    assert!(status.contains("no answer, heard by 1 node "), "{status}");
    network.mend();
    wait_until("all hear from all again", || {
        sees(1, "master", 0, "2") && sees(2, "master", 0, "2")
    });
}

/// A client that is told of every change without asking, and says nothing more itself.
enum Watcher {
    Resp3(Client),
    Native(BinaryClient),
}

impl Watcher {
    fn resp3(port: u16) -> Self {
        let mut client = connect(port);
        client.words("HELLO 3");
        client.ok("CLIENT TOPOLOGY ON");
        Self::Resp3(client)
    }

    fn native(port: u16) -> Self {
        let mut client = BinaryClient::connect(([127, 0, 0, 1], port).into());
        client.one(Request::plain(Opcode::SubscribeTopology, "", "")).ok();
        Self::Native(client)
    }

    /// The ports of those who lead, by the next that it is told; none as long as nobody leads some shard. Natively a
    /// core of the node that tells stands in for who leads such a shard.
    fn next(&mut self) -> BTreeSet<u16> {
        match self {
            Self::Resp3(client) => {
                let push = client.read().expect("a push in time");
                let Value::Push(parts) = &push else { panic!("nothing was asked: {push:?}") };
                assert_eq!(parts[0], Value::bulk("topology"));
                leading_ports(&parts[2])
            }
            Self::Native(client) => {
                let push = client.next().expect("the node goes on").ok();
                assert_eq!(push.head.id, 0, "nothing was asked");
                let topology = Topology::read(&push.body).expect("a topology");
                let port =
                    |core| topology.cores.iter().find(|it| it.core == core).map(|it| it.port);
                topology.ranges.iter().map(|it| port(it.core).expect("a core's port")).collect()
            }
        }
    }

    /// Reads on until it is told what is wanted; it is, or the connection's time is up.
    fn wait_for(&mut self, is_wanted: impl Fn(&BTreeSet<u16>) -> bool) {
        while !is_wanted(&self.next()) {}
    }
}

/// The ports in an answer to `CLUSTER SLOTS`, unless it leaves out slots that nobody leads.
fn leading_ports(slots: &Value) -> BTreeSet<u16> {
    let (mut count, mut ports) = (0, BTreeSet::new());
    for range in slots.elements() {
        let range = range.elements();
        count += range[1].integer() - range[0].integer() + 1;
        ports.insert(u16::try_from(range[2].elements()[1].integer()).expect("a port"));
    }
    if count == 16_384 { ports } else { BTreeSet::new() }
}

#[test]
fn who_asked_to_be_told_is_told_who_leads_now() {
    if skip_on_other_server() {
        return;
    }
    let (_trial, welcome) = start();
    let mut operator = connect(welcome.nodes[1].0);
    wait_until("every node leads what it should", || {
        leaders_of(SHARDS, &mut operator) == [1, 2, 3]
    });
    // At a common port, where a node's replica is, and at cores' own.
    let mut watchers = [
        Watcher::resp3(welcome.nodes[0].0),
        Watcher::resp3(core_port(&welcome, 3)),
        Watcher::native(core_port(&welcome, 1)),
        Watcher::native(core_port(&welcome, 3)),
    ];
    let second = core_port(&welcome, 2);
    operator.ok("CLUSTER FAILOVER");
    for watcher in &mut watchers {
        watcher.wait_for(|ports| *ports == BTreeSet::from([second]));
    }
    signal("KILL", welcome.nodes[1].1);
    // Natively another core may stand in for the new leader before there is one.
    for watcher in &mut watchers[..2] {
        watcher.wait_for(|ports| !ports.is_empty() && !ports.contains(&second));
    }
}
