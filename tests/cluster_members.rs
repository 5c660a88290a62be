//! Who is in a cluster, as an operator changes it: nodes that belong to nobody, that meet, come, go, and don't come back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::BTreeSet;
use std::time::Duration;

use harness::client::info;
use harness::nodes::Nodes;
use harness::server::skip_on_other_server;
use harness::value::Value;
use harness::wait_until;

const SHARDS: u16 = 3;

/// The members that a node knows, and whether it hears from all of them.
fn members(nodes: &mut Nodes, id: usize) -> (Vec<usize>, bool) {
    let fields = info(&mut nodes.server(id).client(), "raft");
    let lines = fields.iter().filter_map(|(name, line)| {
        Some((name.strip_prefix("member")?.parse().ok()?, line.contains("up=1")))
    });
    let mut lines: Vec<(usize, bool)> = lines.collect();
    lines.sort_unstable();
    let is_linked = lines.iter().all(|(_, is_up)| *is_up);
    (lines.into_iter().map(|(id, _)| id).collect(), is_linked)
}

fn wait_until_known(nodes: &mut Nodes, ids: &[usize]) {
    for id in ids {
        wait_until(&format!("node {id} is linked to {ids:?}, no more and no less"), || {
            members(nodes, *id) == (ids.to_vec(), true)
        });
    }
}

/// The nodes that a shard's leader names as voters; none if there is no leader.
fn voters(nodes: &mut Nodes, ids: &[usize], shard: u16) -> BTreeSet<usize> {
    for id in ids {
        let fields = info(&mut nodes.server(*id).client(), "raft");
        let line = fields.get(&format!("shard{shard}")).cloned().unwrap_or_default();
        if line.contains("role=leader") {
            let voters = line.split(',').find_map(|field| field.strip_prefix("voters="));
            return voters.unwrap().split('/').filter_map(|id| id.parse().ok()).collect();
        }
    }
    BTreeSet::new()
}

#[track_caller]
fn check_votes(nodes: &mut Nodes, ids: &[usize]) {
    for shard in 0..SHARDS {
        wait_until(&format!("{ids:?} vote on shard {shard}"), || {
            voters(nodes, ids, shard) == ids.iter().copied().collect()
        });
    }
}

#[track_caller]
fn check_error(nodes: &mut Nodes, id: usize, request: &str, error: &str) {
    let answer = nodes.server(id).client().words(request);
    assert_eq!(answer, Value::Error(error.into()), "{request}");
}

/// Runs `ringmain cluster`, which must succeed; what it says.
#[track_caller]
fn cli(nodes: &Nodes, words: &str) -> String {
    let output = nodes.cli(words);
    assert!(output.status.success(), "{words}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs it where it must not; why.
#[track_caller]
fn cli_fails(nodes: &Nodes, words: &str, code: i32) -> String {
    let output = nodes.cli(words);
    assert_eq!(output.status.code(), Some(code), "{words}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_node_that_belongs_to_nobody_serves_nothing() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::blank(1, SHARDS);
    nodes.start(1);
    let mut client = nodes.server(1).client();
    let down = Value::Error("CLUSTERDOWN Hash slot not served".into());
    for _ in 0..3 {
        for request in ["GET key", "SET key value"] {
            assert_eq!(client.words(request), down, "{request}");
        }
        assert_eq!(info(&mut client, "raft")["shard0"].contains("voters=,"), true);
        let text = client.words("CLUSTER INFO").text();
        assert!(text.contains("cluster_state:fail"), "{text}");
        // Longer than an election takes.
        std::thread::sleep(Duration::from_millis(400));
    }
    assert_eq!(client.words("CLUSTER SLOTS"), Value::Array(Vec::new()));
    let port = nodes.port(1);
    for (request, error) in [
        ("CLUSTER MEET nowhere 7000", "ERR Invalid node address specified: nowhere:7000"),
        ("CLUSTER MEET 127.0.0.1 0", "ERR Invalid node address specified: 127.0.0.1:0"),
        ("CLUSTER MEET 127.0.0.1 x", "ERR Invalid base port specified: x"),
        ("CLUSTER MEET 127.0.0.1 7000 x", "ERR Invalid bus port specified: x"),
        ("CLUSTER FORGET 9", "ERR Unknown node 9"),
        ("CLUSTER FORGET 1", "ERR I tried hard but I can't forget myself..."),
        ("CLUSTER FOUND 1 2", "ERR Unknown node 2"),
        ("CLUSTER FOUND 1 1", "ERR Name each node once, and at most 128"),
        ("CLUSTER SHARD 3 ADD 1", "ERR There is no shard 3: they are 0 to 2"),
        ("CLUSTER SHARD 0 KEEP 1", "ERR syntax error"),
        (
            "CLUSTER SHARD 0 ADD 1",
            "NOTLEADER Node 1 does not lead shard 0, nobody is known to: try again in a moment",
        ),
        ("CLUSTER FAILOVER", "ERR You should send CLUSTER FAILOVER to a replica"),
        ("CLUSTER REPLICATE 1", "ERR Can't replicate myself"),
    ] {
        check_error(&mut nodes, 1, request, error);
    }
    let failure = cli_fails(&nodes, &format!("transfer 0 1 --port {port}"), 1);
    assert!(failure.contains("Shard 0 has no leader"), "{failure}");
}

#[test]
fn nodes_that_have_met_know_each_other_from_then_on() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::blank(2, SHARDS);
    // The third looks for the first by itself.
    let seed = format!("127.0.0.1:{}@{}", nodes.port(1), nodes.link_address(1, 0).port());
    nodes.add_blank(&[("--cluster-seed", &seed)]);
    nodes.start_all();
    let (port, link) = (nodes.port(2), nodes.link_address(2, 0).port());
    // One that does not answer is tried for a while, beside others.
    nodes.server(1).client().ok("CLUSTER MEET 127.0.0.1 1 1");
    nodes.server(1).client().ok(&format!("CLUSTER MEET 127.0.0.1 {port} {link}"));
    wait_until_known(&mut nodes, &[1, 2, 3]);
    // They belong together, and have no replicas yet.
    check_error(&mut nodes, 1, "GET key", "CLUSTERDOWN Hash slot not served");
    // All at once, so that nobody can be told.
    (1..=3).for_each(|id| nodes.server(id).kill());
    nodes.start_all();
    wait_until_known(&mut nodes, &[1, 2, 3]);

    // One is removed while it is away: it is told when it comes back, and stays out.
    nodes.server(3).kill();
    nodes.server(1).client().ok("CLUSTER FORGET 3");
    nodes.server(1).client().ok("CLUSTER FORGET 3");
    wait_until_known(&mut nodes, &[1, 2]);
    for _ in 0..2 {
        nodes.start(3);
        wait_until("node 3 knows that it was removed", || {
            nodes.server(3).output().contains("was removed from the cluster: it takes no more part")
                || members(&mut nodes, 3).0 == [3]
        });
        check_error(&mut nodes, 3, "GET key", "CLUSTERDOWN Hash slot not served");
        check_error(
            &mut nodes,
            3,
            "CLUSTER MEET 127.0.0.1 7000",
            "ERR This node was removed from the cluster",
        );
        nodes.server(1).client().ok(&format!(
            "CLUSTER MEET 127.0.0.1 {} {}",
            nodes.port(3),
            nodes.link_address(3, 0).port()
        ));
        nodes.server(3).kill();
    }
    wait_until_known(&mut nodes, &[1, 2]);
    let status = cli(&nodes, &format!("status --port {}", nodes.port(2)));
    assert!(status.contains("removed: 3\n"), "{status}");
}

#[test]
fn a_node_that_has_moved_is_found() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::blank(2, 1);
    nodes.start_all();
    let link = nodes.link_address(2, 0).port();
    nodes.server(1).client().ok(&format!("CLUSTER MEET 127.0.0.1 {} {link}", nodes.port(2)));
    wait_until_known(&mut nodes, &[1, 2]);
    nodes.server(2).kill();
    nodes.move_ports(2);
    nodes.start(2);
    wait_until_known(&mut nodes, &[1, 2]);
    let fields = info(&mut nodes.server(1).client(), "raft");
    let port = nodes.port(2);
    assert!(fields["member2"].contains(&format!("port={port},")), "{fields:?}");
}
