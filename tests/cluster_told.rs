//! What a cluster's clients are told of its nodes: who is there, as all nodes see it.

mod harness;

use harness::client::{Client, info};
use harness::server::skip_on_other_server;
use harness::topology::connect;
use harness::trial::{Trial, Welcome, signal};
use harness::wait_until;

const SHARDS: u16 = 3;

fn start() -> (Trial, Welcome) {
    Trial::start(&["--nodes", "3", "--shards", &SHARDS.to_string()])
}

/// The port of a node's only core.
fn core_port(welcome: &Welcome, node: usize) -> u16 {
    welcome.nodes[node - 1].0 + 10_000
}

/// How the node that a client asks sees another's core: its flags, how many others miss it, and how many hear from it.
fn seen(client: &mut Client, welcome: &Welcome, node: usize) -> (String, i64, String) {
    let lines = client.words("CLUSTER NODES").text();
    let address = format!(" 127.0.0.1:{}@", core_port(welcome, node));
    let line = lines.lines().find(|line| line.contains(&address)).expect("a line for each core");
    let fields: Vec<&str> = line.split(' ').collect();
    let reports = client.words(&format!("CLUSTER COUNT-FAILURE-REPORTS {}", fields[0])).integer();
    let raft = info(client, "raft");
    let member = &raft[&format!("member{node}")];
    let heard_by = member.split(',').find_map(|field| field.strip_prefix("heard_by="));
    (fields[2].to_owned(), reports, heard_by.expect("it is told of each").to_owned())
}

#[test]
fn a_node_that_the_others_miss_has_failed_until_it_is_back() {
    if skip_on_other_server() {
        return;
    }
    let (trial, welcome) = start();
    let (_, process) = welcome.nodes[2];
    let is_seen_by_both = |flags: &str, reports, heard_by: &str| {
        let expected = (flags.to_owned(), reports, heard_by.to_owned());
        [1, 2].iter().all(|node| {
            let mut client = connect(core_port(&welcome, *node));
            seen(&mut client, &welcome, 3) == expected
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
            seen(&mut third, &welcome, *node) == ("master".to_owned(), 0, "2".to_owned())
        })
    });
}
