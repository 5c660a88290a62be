//! Who is in a cluster, as an operator changes it: nodes that belong to nobody, that meet, come, go, and don't come back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::client::info;
use harness::cluster_client::Client;
use harness::nodes::Nodes;
use harness::server::skip_on_other_server;
use harness::value::Value;
use harness::{PATIENCE, Raise, wait_until};

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

/// Kills nodes once they have written down what they know of these.
fn kill(nodes: &mut Nodes, killed: &[usize], known: &[&str]) {
    for id in killed {
        let file = nodes.server(*id).dir().join("nodes");
        wait_until(&format!("node {id} has written down {known:?}"), || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            known.iter().all(|word| text.lines().any(|line| line.starts_with(word)))
        });
    }
    killed.iter().for_each(|id| nodes.server(*id).kill());
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
    check_votes_of(nodes, ids, ids);
}

/// Of all nodes of a cluster these vote on every shard.
#[track_caller]
fn check_votes_of(nodes: &mut Nodes, all: &[usize], ids: &[usize]) {
    for shard in 0..SHARDS {
        wait_until(&format!("{ids:?} vote on shard {shard}"), || {
            voters(nodes, all, shard) == ids.iter().copied().collect()
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
        assert!(info(&mut client, "raft")["shard0"].contains("voters=,"));
        let text = client.words("CLUSTER INFO").text();
        assert!(text.contains("cluster_state:fail"), "{text}");
        // Longer than an election takes.
        std::thread::sleep(Duration::from_millis(400));
    }
    assert_eq!(client.words("CLUSTER SLOTS"), Value::Array(Vec::new()));
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
    let failure = cli_fails(&nodes, "transfer 0 1 --port #1", 1);
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
    kill(&mut nodes, &[1, 2, 3], &["node 1@", "node 2@", "node 3@"]);
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
    let status = cli(&nodes, "status --port #2");
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
    kill(&mut nodes, &[2], &["node 1@"]);
    nodes.move_ports(2);
    nodes.start(2);
    wait_until_known(&mut nodes, &[1, 2]);
    let fields = info(&mut nodes.server(1).client(), "raft");
    let port = nodes.port(2);
    assert!(fields["member2"].contains(&format!("port={port},")), "{fields:?}");
}

/// Writes keys and reads them back, until it is told to stop; how many. An error may come while leadership moves, but
/// not for long, and what was written stays.
fn write_until(port: u16, is_over: &AtomicBool) -> u32 {
    let mut client = Client::new(port);
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        let (key, value) = (format!("key-{count}"), format!("value-{count}"));
        let begun = Instant::now();
        while let Err(error) = client.set(&key, &value) {
            assert!(begun.elapsed() < PATIENCE, "{key}: {error}");
            std::thread::sleep(Duration::from_millis(10));
        }
        let found = loop {
            match client.get(&key) {
                Ok(found) => break found,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{key}: {error}"),
            }
        };
        assert_eq!(found, Some(value), "{key}");
        count += 1;
    }
    count
}

/// All keys that [`write_until`] has written are there.
fn check_keys(port: u16, count: u32) {
    let mut client = Client::new(port);
    for key in 0..count {
        let begun = Instant::now();
        let found = loop {
            match client.get(&format!("key-{key}")) {
                Ok(found) => break found,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "key-{key}: {error}"),
            }
        };
        assert_eq!(found, Some(format!("value-{key}")), "key-{key} of {count}");
    }
}

#[test]
fn nodes_come_and_go_while_clients_write() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::new(3, SHARDS, &["127.0.0.1"]);
    nodes.start_all();
    check_votes(&mut nodes, &[1, 2, 3]);
    let new = nodes.add_blank(&[]);
    nodes.start(new);
    let is_over = AtomicBool::new(false);
    let port = nodes.port(2);
    let count = std::thread::scope(|scope| {
        let _raise = Raise(&is_over);
        let writer = scope.spawn(|| write_until(port, &is_over));
        let said = cli(&nodes, "add-node @4 --port #1");
        assert!(said.ends_with("node 4 has a replica of all 3 shards\n"), "{said}");
        check_votes(&mut nodes, &[1, 2, 3, 4]);
        // It is all done already.
        cli(&nodes, "add-node @4 --port #3");
        let failure =
            cli_fails(&nodes, &format!("add-node 5@127.0.0.1:{} --port #3", nodes.port(4)), 2);
        assert!(failure.contains("is node 4: name that"), "{failure}");
        let failure = cli_fails(&nodes, "remove-node 1 --port #1", 2);
        assert!(failure.contains("is node 1 itself"), "{failure}");
        let said = cli(&nodes, "remove-node 1 --port #2");
        assert!(said.ends_with("node 1 was removed: it can be stopped\n"), "{said}");
        cli(&nodes, "remove-node 1 --port #3");
        check_votes(&mut nodes, &[2, 3, 4]);
        is_over.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert!(count > 10, "{count} keys");
    wait_until_known(&mut nodes, &[2, 3, 4]);
    // As long as it runs it sends clients to those whom it knew.
    let mut client = nodes.server(1).client();
    client.ok("READWRITE");
    let answer = client.words("GET key");
    assert!(matches!(&answer, Value::Error(text) if text.starts_with("MOVED ")), "{answer:?}");
    // Who speaks no cluster, too: nobody takes anything from it any more.
    wait_until("node 1 knows that it was removed", || members(&mut nodes, 1).0 == [1]);
    let mut client = nodes.server(1).client();
    for request in ["GET key", "SET key value"] {
        let answer = client.words(request);
        assert!(matches!(&answer, Value::Error(text) if text.starts_with("MOVED ")), "{answer:?}");
    }
    check_keys(port, count);
    // All of them are killed and started again: who was removed stays out.
    kill(&mut nodes, &[1, 2, 3, 4], &["removed 1 "]);
    nodes.start_all();
    check_votes(&mut nodes, &[2, 3, 4]);
    wait_until_known(&mut nodes, &[2, 3, 4]);
    check_keys(port, count);
    assert_eq!(members(&mut nodes, 1).0, [1]);
    check_error(&mut nodes, 1, "GET key", "CLUSTERDOWN Hash slot not served");
}

#[test]
fn nodes_that_belong_to_nobody_become_a_cluster() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::blank(3, SHARDS);
    nodes.start_all();
    let said = cli(&nodes, "init @1 @2 @3");
    assert!(said.ends_with("a cluster has begun: 3 nodes, 3 shards\n"), "{said}");
    cli(&nodes, "init @1 @2 @3");
    check_votes(&mut nodes, &[1, 2, 3]);
    let mut client = Client::new(nodes.port(1));
    for key in 0..20 {
        client.set(&format!("key-{key}"), &format!("value-{key}")).unwrap();
    }
    for (words, why) in [
        ("init @1 @2", "Node 1 is of a cluster already"),
        ("add-node @2 --port #1 --host nowhere.invalid", "There is no server at nowhere.invalid"),
        ("remove-node 9 --port #1", "There is no node 9 in the cluster"),
        ("transfer 9 1 --port #1", "There is no shard 9"),
        ("rebalance --replicas 4 --port #1", "--replicas is 4, and there are 3 nodes"),
    ] {
        let output = nodes.cli(words);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(why), "{words}: {text}");
    }
    check_error(
        &mut nodes,
        1,
        "CLUSTER FORGET 2",
        "ERR Node 2 has a replica of shard 0: remove that first (CLUSTER SHARD 0 REMOVE 2)",
    );
    // All of one node's, then evenly again.
    for shard in 0..SHARDS {
        let said = cli(&nodes, &format!("transfer {shard} 2 --port #1"));
        assert!(said.ends_with(&format!("node 2 leads shard {shard}\n")), "{said}");
    }
    let status = cli(&nodes, "status --port #1");
    assert!(status.lines().any(|line| line.starts_with("2 ") && line.ends_with(" 3")), "{status}");
    cli(&nodes, "rebalance --port #1");
    let status = cli(&nodes, "status --port #1");
    let leads = status.lines().filter(|line| line.contains("127.0.0.1") && line.ends_with(" 1"));
    assert_eq!(leads.count(), 3, "{status}");
    // A fourth takes the place of the third; a fifth comes, and each shard is on three of four.
    let new = nodes.add_blank(&[]);
    nodes.start(new);
    let said = cli(&nodes, "replace 3 @4 --port #1");
    assert!(said.ends_with("node 3 was removed: it can be stopped\n"), "{said}");
    check_votes(&mut nodes, &[1, 2, 4]);
    let new = nodes.add_blank(&[]);
    nodes.start(new);
    let said = cli(&nodes, "add-node @5 --empty --port #1");
    assert!(said.ends_with("node 5 is known to the others\n"), "{said}");
    check_votes_of(&mut nodes, &[1, 2, 4, 5], &[1, 2, 4]);
    cli(&nodes, "rebalance --replicas 3 --port #2");
    let all = [1, 2, 4, 5];
    let replicas: Vec<BTreeSet<usize>> =
        (0..SHARDS).map(|shard| voters(&mut nodes, &all, shard)).collect();
    assert!(replicas.iter().all(|voters| voters.len() == 3), "{replicas:?}");
    for id in all {
        let has = replicas.iter().filter(|voters| voters.contains(&id)).count();
        assert!((2..=3).contains(&has), "node {id}: {replicas:?}");
    }
    check_keys(nodes.port(5), 20);
}

/// Waits until a node leads all shards.
fn wait_until_leads(nodes: &mut Nodes, id: usize) {
    wait_until(&format!("node {id} leads all shards"), || {
        let fields = info(&mut nodes.server(id).client(), "raft");
        (0..SHARDS).all(|shard| fields[&format!("shard{shard}")].contains("role=leader"))
    });
}

#[test]
fn a_node_leads_and_takes_part_when_its_operator_says_so() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::new(3, SHARDS, &["127.0.0.1"]);
    nodes.start_all();
    check_votes(&mut nodes, &[1, 2, 3]);
    check_error(&mut nodes, 2, "CLUSTER FAILOVER NOW", "ERR syntax error");
    nodes.server(2).client().ok("CLUSTER FAILOVER");
    wait_until_leads(&mut nodes, 2);
    check_error(
        &mut nodes,
        2,
        "CLUSTER FAILOVER FORCE",
        "ERR You should send CLUSTER FAILOVER to a replica",
    );
    check_error(
        &mut nodes,
        1,
        "CLUSTER SHARD 0 LEAD 1",
        "NOTLEADER Node 1 does not lead shard 0, node 2 does: ask that",
    );
    for (request, error) in [
        ("LEAD 2", "ERR Node 2 leads shard 0 already"),
        ("ADD 3", "ERR Node 3 votes on shard 0 already"),
        ("ADD 4", "ERR Unknown node 4"),
        ("REMOVE 4", "ERR Unknown node 4"),
        (
            "REMOVE 2",
            "ERR Node 2 leads shard 0: have another node lead it first (CLUSTER SHARD 0 LEAD node)",
        ),
    ] {
        check_error(&mut nodes, 2, &format!("CLUSTER SHARD 0 {request}"), error);
    }

    // Who has no replicas knows from others where they are.
    let new = nodes.add_blank(&[]);
    nodes.start(new);
    let link = nodes.link_address(4, 0).port();
    nodes.server(1).client().ok(&format!("CLUSTER MEET 127.0.0.1 {} {link}", nodes.port(4)));
    wait_until_known(&mut nodes, &[1, 2, 3, 4]);
    let moved = "MOVED 12539 127.0.0.1:";
    wait_until("node 4 sends clients to the leader", || {
        let mut client = nodes.server(4).client();
        client.ok("READWRITE");
        let answer = client.words("GET key");
        matches!(answer, Value::Error(text) if text.starts_with(moved))
    });
    let text = nodes.server(4).client().words("CLUSTER INFO").text();
    assert!(text.contains("cluster_state:ok"), "{text}");
    check_error(
        &mut nodes,
        4,
        "CLUSTER FOUND 4",
        "ERR Node 2 leads shard 0, and is not among them",
    );
    check_error(
        &mut nodes,
        4,
        "CLUSTER REPLICATE 3",
        "ERR I can only replicate a master, not a replica.",
    );
    let text = nodes.server(2).client().words("CLUSTER MYID").text();
    nodes.server(4).client().ok(&format!("CLUSTER REPLICATE {text}"));
    check_votes(&mut nodes, &[1, 2, 3, 4]);
    wait_until("node 4 knows that it votes", || {
        let fields = info(&mut nodes.server(4).client(), "raft");
        (0..SHARDS).all(|shard| fields[&format!("shard{shard}")].contains("voters=1/2/3/4"))
    });
    nodes.server(4).client().ok("CLUSTER FAILOVER TAKEOVER");
    wait_until_leads(&mut nodes, 4);
}

#[test]
fn a_node_that_leads_nothing_flushes_nothing_and_tells_what_it_holds() {
    if skip_on_other_server() {
        return;
    }
    let nodes = Nodes::new(3, SHARDS, &["127.0.0.1"]);
    // Leaders stay, however busy the machine is.
    let mut nodes = nodes.flag("--election-timeout-ms", "5000");
    nodes.start_all();
    check_votes(&mut nodes, &[1, 2, 3]);
    nodes.server(2).client().ok("CLUSTER FAILOVER");
    wait_until_leads(&mut nodes, 2);
    let (mut leader, mut follower) = (nodes.server(2).client(), nodes.server(1).client());
    leader.ok("MSET {foo}1 v {foo}2 v");

    // Slot 12182 is of the last shard.
    wait_until("node 1 has the keys", || {
        follower.words("CLUSTER COUNTKEYSINSLOT 12182") == Value::Integer(2)
    });
    let names = follower.words("CLUSTER GETKEYSINSLOT 12182 9");
    let mut names: Vec<String> = names.elements().iter().map(Value::text).collect();
    names.sort_unstable();
    assert_eq!(names, ["{foo}1", "{foo}2"]);
    assert_eq!(follower.words("CLUSTER GETKEYSINSLOT 12182 1").elements().len(), 1);
    assert_eq!(follower.words("CLUSTER COUNTKEYSINSLOT 0"), Value::Integer(0));
    let read_only = "READONLY You can't write against a read only replica.";
    for (request, error) in [
        ("CLUSTER COUNTKEYSINSLOT 16384", "ERR Invalid slot"),
        ("CLUSTER COUNTKEYSINSLOT x", "ERR value is not an integer or out of range"),
        ("CLUSTER GETKEYSINSLOT 16384 1", "ERR Invalid slot or number of keys"),
        ("CLUSTER GETKEYSINSLOT 1 -1", "ERR Invalid slot or number of keys"),
        ("CLUSTER GETKEYSINSLOT 1 x", "ERR value is not an integer or out of range"),
        ("FLUSHALL", read_only),
        ("FLUSHDB ASYNC", read_only),
        ("SWAPDB 0 1", read_only),
    ] {
        check_error(&mut nodes, 1, request, error);
    }
    follower.ok("MULTI");
    assert_eq!(follower.words("FLUSHALL"), Value::Error(read_only.into()));
    let aborted = "EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(follower.words("EXEC"), Value::Error(aborted.into()));
    assert_eq!(leader.words("DBSIZE"), Value::Integer(2));

    // Who leads does it, and for all.
    check_error(&mut nodes, 2, "SWAPDB 0 1", "ERR SWAPDB is not allowed in cluster mode");
    leader.ok("FLUSHALL");
    wait_until("node 1 has the keys no more", || {
        follower.words("CLUSTER COUNTKEYSINSLOT 12182") == Value::Integer(0)
    });
}

#[test]
fn nodes_with_different_numbers_of_cores_are_one_cluster() {
    let cpus = ringmain::config::Config::default().cpus;
    if skip_on_other_server() {
        return;
    }
    let [first, second, ..] = cpus[..] else { return harness::skip("it takes two CPUs") };
    let mut nodes = Nodes::blank(0, SHARDS);
    let (one, two) = (first.to_string(), format!("{first},{second}"));
    for cpus in [&one, &one, &two] {
        let id = nodes.add_blank(&[("--cpus", cpus), ("--election-timeout-ms", "5000")]);
        nodes.start(id);
    }
    cli(&nodes, "init @1 @2");
    check_votes_of(&mut nodes, &[1, 2], &[1, 2]);
    let is_over = AtomicBool::new(false);
    let port = nodes.port(1);
    let count = std::thread::scope(|scope| {
        let _raise = Raise(&is_over);
        let writer = scope.spawn(|| write_until(port, &is_over));
        cli(&nodes, "add-node @3 --port #1");
        check_votes(&mut nodes, &[1, 2, 3]);
        // All to the node with two cores, which both have some.
        for shard in 0..SHARDS {
            cli(&nodes, &format!("transfer {shard} 3 --port #1"));
        }
        let text = nodes.server(1).client().words("CLUSTER NODES").text();
        let cores = |led: bool| {
            let is_led = |line: &&str| line.split(' ').nth(8).is_some() == led;
            text.lines().filter(|line| line.contains("master ")).filter(is_led).count()
        };
        assert_eq!((cores(true), cores(false)), (2, 2), "{text}");
        // One back to a node with one core, and the other such goes.
        cli(&nodes, "transfer 0 1 --port #3");
        cli(&nodes, "remove-node 2 --port #3");
        check_votes(&mut nodes, &[1, 3]);
        is_over.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert!(count > 10, "{count} keys");
    check_keys(nodes.port(3), count);
}

#[test]
fn who_was_removed_forgets_the_cluster_and_joins_another() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::new(2, SHARDS, &["127.0.0.1"]);
    let (third, fourth) = (nodes.add_blank(&[]), nodes.add_blank(&[]));
    nodes.start_all();
    check_votes_of(&mut nodes, &[1, 2], &[1, 2]);
    cli(&nodes, &format!("add-node @{third} --port #1"));
    let mut client = Client::new(nodes.port(1));
    for key in 0..20 {
        client.set(&format!("key-{key}"), "value").unwrap();
    }
    check_error(&mut nodes, 1, "CLUSTER RESET NOW", "ERR syntax error");
    let has_keys = "ERR CLUSTER RESET can't be called with master nodes containing keys";
    wait_until("a node that leads refuses", || {
        (1..=2).any(|id| {
            nodes.server(id).client().words("CLUSTER RESET HARD") == Value::Error(has_keys.into())
        })
    });
    cli(&nodes, &format!("remove-node {third} --port #1"));
    wait_until("node 3 knows that it was removed", || members(&mut nodes, third).0 == [third]);
    let file = nodes.server(third).dir().join("nodes");
    let removed = || std::fs::read_to_string(&file).unwrap().contains("removed");
    wait_until("it is written down", removed);

    // Forgetting is not being forgotten.
    nodes.server(third).client().ok("CLUSTER RESET");
    wait_until("node 3 forgets", || !removed());
    let (port, link) = (nodes.port(1), nodes.link_address(1, 0).port());
    nodes.server(third).client().ok(&format!("CLUSTER MEET 127.0.0.1 {port} {link}"));
    wait_until("node 3 is told once more", removed);

    // It begins another cluster, and is of it from then on.
    nodes.server(third).client().ok("CLUSTER RESET HARD");
    wait_until("node 3 forgets its votes", || {
        let fields = info(&mut nodes.server(third).client(), "raft");
        (0..SHARDS).all(|shard| fields[&format!("shard{shard}")].contains(",term=0,"))
    });
    let said = cli(&nodes, &format!("init @{third} @{fourth}"));
    assert!(said.ends_with("a cluster has begun: 2 nodes, 3 shards\n"), "{said}");
    let mut client = Client::new(nodes.port(fourth));
    assert_eq!(client.get("key-1").unwrap(), None);
    check_error(
        &mut nodes,
        third,
        "CLUSTER RESET",
        "ERR This node has a replica of shard 0: remove the node from the cluster first",
    );
    client.set("key-1", "other").unwrap();
    kill(&mut nodes, &[third, fourth], &["node 3@", "node 4@"]);
    nodes.start(third);
    nodes.start(fourth);
    check_votes_of(&mut nodes, &[third, fourth], &[third, fourth]);
    assert_eq!(Client::new(nodes.port(third)).get("key-1").unwrap().as_deref(), Some("other"));
    assert_eq!(Client::new(nodes.port(1)).get("key-1").unwrap().as_deref(), Some("value"));
    // One that belongs to nobody, and knows another.
    let fifth = nodes.add_blank(&[]);
    nodes.start(fifth);
    nodes.server(fifth).client().ok(&format!("CLUSTER MEET 127.0.0.1 {port} {link}"));
    wait_until_known(&mut nodes, &[1, 2, fifth]);
    let answer = nodes.server(fifth).client().words("CLUSTER RESET");
    let is_linked = |text: &str| text.contains("is linked to, and would be known again at once");
    assert!(matches!(&answer, Value::Error(text) if is_linked(text)), "{answer:?}");
}

#[test]
fn of_two_processes_with_one_number_the_second_ends_and_the_first_goes_on() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::new(3, SHARDS, &["127.0.0.1"]);
    nodes.start_all();
    check_votes(&mut nodes, &[1, 2, 3]);
    wait_until_known(&mut nodes, &[1, 2, 3]);
    let is_over = AtomicBool::new(false);
    let port = nodes.port(1);
    let count = std::thread::scope(|scope| {
        let _raise = Raise(&is_over);
        let writer = scope.spawn(|| write_until(port, &is_over));
        let (status, said) = nodes.double(2).refused();
        assert!(!status.success() && said.contains("Another process is node 2"), "{status} {said}");
        is_over.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    check_keys(port, count);
    for id in [1, 3] {
        let fields = info(&mut nodes.server(id).client(), "raft");
        let expected = format!("port={},", nodes.port(2));
        assert!(fields["member2"].contains(&expected), "{fields:?}");
        let said = nodes.server(id).output();
        assert!(!said.contains("the link to node 2"), "{said}");
    }
    wait_until_known(&mut nodes, &[1, 2, 3]);
    // One that comes back is no other.
    nodes.server(2).kill();
    nodes.start(2);
    wait_until_known(&mut nodes, &[1, 2, 3]);
}

#[test]
fn a_directory_of_nodes_that_means_nothing_is_refused() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::blank(1, 1);
    nodes.start(1);
    let file = nodes.server(1).dir().join("nodes");
    wait_until("the nodes are written down", || file.exists());
    nodes.server(1).kill();
    std::fs::write(&file, "format 1\nnode 1 is here\n").unwrap();
    let error = nodes.fail_to_start(1);
    let why = "can't be read from '";
    assert!(error.contains(why) && error.contains("(line 2 means nothing): restore it"), "{error}");
}
