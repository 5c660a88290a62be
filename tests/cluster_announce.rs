//! A node that is reached by other ports than its own: clients and nodes are told what it announces.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::cluster_client::Client;
use harness::nodes::Nodes;
use harness::server::{FreePorts, Launch, skip_on_other_server};
use harness::value::Value;
use harness::wait_until;

const SHARDS: u16 = 2;

/// Passes on what comes at one port to another, from now on; how many connections have come.
fn forward(from: u16, to: u16) -> Arc<AtomicU32> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, from)).unwrap();
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            counted.fetch_add(1, Ordering::Relaxed);
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { continue };
            pass_on(client.try_clone().unwrap(), server.try_clone().unwrap());
            pass_on(server, client);
        }
    });
    count
}

/// Passes on what comes on one connection to another, and its end.
fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        // Whichever side has gone, the other is told.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}

/// The ports in the lines of `CLUSTER NODES`, and those for links.
fn ports_of_nodes(nodes: &mut Nodes, id: usize) -> BTreeSet<(u16, u16)> {
    let text = nodes.server(id).client().words("CLUSTER NODES").text();
    let ports = text.lines().map(|line| {
        let address = line.split(' ').nth(1).unwrap().strip_prefix("127.0.0.1:").unwrap();
        let (port, bus) = address.split_once('@').unwrap();
        (port.parse().unwrap(), bus.parse().unwrap())
    });
    ports.collect()
}

/// All ports in `CLUSTER SLOTS` and `CLUSTER SHARDS`.
fn ports_of_slots(nodes: &mut Nodes, id: usize) -> BTreeSet<u16> {
    let mut client = nodes.server(id).client();
    let mut ports = BTreeSet::new();
    for range in client.words("CLUSTER SLOTS").elements() {
        let nodes = range.elements().iter().skip(2);
        ports.extend(nodes.map(|node| u16::try_from(node.elements()[1].integer()).unwrap()));
    }
    for shard in client.words("CLUSTER SHARDS").elements() {
        let nodes = shard.field("nodes");
        let port = |node: &Value| u16::try_from(node.field("port").integer()).unwrap();
        ports.extend(nodes.elements().iter().map(port));
    }
    ports
}

#[test]
fn what_is_announced_is_what_clients_and_nodes_use() {
    if skip_on_other_server() {
        return;
    }
    let outside = FreePorts::find(1 + 2 * SHARDS);
    let (port, bus) = (outside.first, outside.first + 1 + SHARDS);
    let mut nodes = Nodes::blank(1, SHARDS);
    nodes.add_blank(&[
        ("--cluster-announce-port", &port.to_string()),
        ("--cluster-announce-bus-port", &bus.to_string()),
    ]);
    let inside = nodes.port(2);
    forward(port, inside);
    // As far from the common port as the cores' own are.
    let cores: Vec<_> = (1..=SHARDS).map(|at| forward(port + at, inside + at)).collect();
    let link = |core| nodes.link_address(2, core).port();
    let links: Vec<_> = (0..SHARDS).map(|core| forward(bus + core, link(core))).collect();
    nodes.start_all();

    let output = nodes.cli(&format!("init @1 127.0.0.1:{port}"));
    assert!(output.status.success(), "{output:?}");
    let came = |counts: &[Arc<AtomicU32>]| counts[0].load(Ordering::Relaxed) > 0;
    assert!(came(&links), "node 1 links to node 2 where that is announced");
    for id in [1, 2] {
        wait_until("every node knows the other by what is announced", || {
            let all = ports_of_nodes(&mut nodes, id);
            all.contains(&(port, bus)) && all.contains(&(port + 1, bus))
        });
        let own = inside..=inside + 1 + SHARDS;
        let told = ports_of_nodes(&mut nodes, id);
        assert!(told.iter().all(|(port, _)| !own.contains(port)), "{told:?}");
        wait_until("node 2 leads something", || {
            let told = ports_of_slots(&mut nodes, id);
            told.contains(&(port + 1)) || told.contains(&(port + 2))
        });
        let told = ports_of_slots(&mut nodes, id);
        assert!(told.iter().all(|port| !own.contains(port)), "{told:?}");
    }
    // Each leads a shard, so that a client is sent to both.
    let mut client = Client::new(nodes.port(1));
    for key in 0..20 {
        client.set(&format!("key-{key}"), "value").unwrap();
    }
    assert!(cores.iter().any(|count| count.load(Ordering::Relaxed) > 0));
    let mut raw = nodes.server(1).client();
    raw.ok("READWRITE");
    let moved = (0..20).find_map(|key| match raw.words(&format!("GET key-{key}")) {
        Value::Error(text) => text.strip_prefix("MOVED ").map(str::to_owned),
        _ => None,
    });
    let moved = moved.expect("node 2 leads something");
    let target: u16 = moved.rsplit_once(':').unwrap().1.parse().unwrap();
    assert!((port + 1..=port + SHARDS).contains(&target), "{moved}");
}

#[test]
fn a_server_on_its_own_announces_ports_too() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(SHARDS)
        .cluster()
        .flag("--cluster-announce-ip", "10.0.0.9")
        .flag("--cluster-announce-port", "7000")
        .flag("--cluster-announce-shard-port-base", "7100")
        .flag("--cluster-announce-bus-port", "7200")
        .start();
    let mut client = server.client();
    let text = client.words("CLUSTER NODES").text();
    assert!(text.lines().next().unwrap().contains(" 10.0.0.9:7100@7200 "), "{text}");
    let slots = client.words("CLUSTER SLOTS");
    let first = &slots.elements()[0].elements()[2];
    assert_eq!(
        (first.elements()[0].text(), first.elements()[1].integer()),
        ("10.0.0.9".into(), 7100)
    );
    // It still knows its own ports.
    let mut on_core = server.client_on_core(0);
    assert_eq!(on_core.words("CLUSTER MYID"), Value::bulk(text.split(' ').next().unwrap()));
}
