//! What clients are told, byte by byte: of a server on its own, and of a node of a cluster.

use crate::command::binary::topology_of;
use crate::command::scan::cursor_shard;
use crate::command::testing::{Client, node, node_with};
use crate::command::{Action, View};
use crate::node::replica_stats::{PeerProgress, Published, ReplicaState};
use crate::node::{Member, Node, Role};
use crate::types::{CoreId, LogIndex, NodeId, ShardId, Term, UnixMs};

const FIRST: &str = "0123456789abcdef0123456789abcdef01230000";
const SECOND: &str = "0123456789abcdef0123456789abcdef01230001";

#[test]
fn every_core_with_a_port_is_a_node() {
    let node = node();
    // Three shards on two cores: the first core runs two of them.
    let mut client = Client::new(&node, 16_380);
    let lines = format!(
        "{FIRST} 127.0.0.1:16379@26379 master - 0 1700000000000 1 connected 0-10922\n\
         {SECOND} 127.0.0.1:16380@26380 myself,master - 0 0 2 connected 10923-16383\n"
    );
    let slots =
        |first, last, port, id| format!("*3⏎:{first}⏎:{last}⏎*4⏎$9⏎127.0.0.1⏎:{port}⏎$40⏎{id}⏎*0");
    client.check(&[
        ("CLUSTER MYID", &format!("$40⏎{SECOND}")),
        ("CLUSTER NODES", &format!("${}⏎{lines}", lines.len())),
        (
            "CLUSTER SLOTS",
            &format!("*2⏎{}⏎{}", slots(0, 10922, 16379, FIRST), slots(10923, 16383, 16380, SECOND)),
        ),
        ("CLUSTER MYSHARDID", &format!("$40⏎{SECOND}")),
        (&format!("CLUSTER REPLICAS {FIRST}"), "*0"),
        (&format!("CLUSTER SLAVES {SECOND}"), "*0"),
        ("CLUSTER REPLICAS x", "-ERR Unknown node x"),
        (&format!("CLUSTER COUNT-FAILURE-REPORTS {FIRST}"), ":0"),
        ("CLUSTER COUNT-FAILURE-REPORTS x", "-ERR Unknown node x"),
        ("CLUSTER LINKS", "*0"),
        ("CLUSTER KEYSLOT foo", ":12182"),
        ("CLUSTER KEYSLOT", "-ERR wrong number of arguments for 'cluster|keyslot' command"),
        ("CLUSTER x", "-ERR unknown subcommand 'x'. Try CLUSTER HELP."),
        ("READONLY", "+OK"),
        ("READWRITE", "+OK"),
        ("ASKING", "+OK"),
    ]);
    let info = client.run("CLUSTER INFO");
    for line in ["cluster_state:ok⏎", "cluster_size:2⏎", "cluster_my_epoch:2⏎"] {
        assert!(info.contains(line), "{info}");
    }
}

/// Of three shards core 0 starts with 0 and 1, core 1 with 2.
#[test]
fn answers_follow_the_owners() {
    let node = node();
    let mut client = Client::new(&node, 16_379);
    let ranges = |client: &mut Client<'_>| {
        let reply = client.run("CLUSTER SLOTS");
        let words: Vec<&str> = reply.split('⏎').collect();
        // A range begins with its two slots; its port comes third after the last of them.
        let starts = (0..words.len()).filter(|&at| words[at] == "*3" && at > 0);
        starts.map(|at| [at + 1, at + 2, at + 6].map(|at| &words[at][1..]).join(" ")).collect()
    };
    let as_told: Vec<String> = ranges(&mut client);
    assert_eq!(as_told, ["0 10922 16379", "10923 16383 16380"]);
    assert!(node.owners.set_owner(ShardId(0), CoreId(1)));
    let as_told: Vec<String> = ranges(&mut client);
    assert_eq!(as_told, ["0 5461 16380", "5462 10922 16379", "10923 16383 16380"]);
    let nodes = client.run("CLUSTER NODES");
    let lines: Vec<&str> =
        nodes.lines().filter_map(|line| line.split_once(" - ")).map(|l| l.1).collect();
    assert_eq!(
        lines,
        ["0 0 1 connected 5462-10922", "0 1700000000000 3 connected 0-5461 10923-16383"]
    );
    let shards = client.run("CLUSTER SHARDS");
    assert!(shards.contains("*2⏎:5462⏎:10922⏎"), "{shards}");
    assert!(shards.contains("*4⏎:0⏎:5461⏎:10923⏎:16383⏎"), "{shards}");
    // A node may be left without slots: it is known, but does not count.
    assert!(node.owners.set_owner(ShardId(1), CoreId(1)));
    let as_told: Vec<String> = ranges(&mut client);
    assert_eq!(as_told, ["0 16383 16380"]);
    let nodes = client.run("CLUSTER NODES");
    assert!(nodes.contains("myself,master - 0 0 1 connected\n"), "{nodes}");
    assert!(client.run("CLUSTER SHARDS").contains("$5⏎slots⏎*0⏎"));
    let info = client.run("CLUSTER INFO");
    for line in [
        "cluster_known_nodes:2⏎",
        "cluster_size:1⏎",
        "cluster_current_epoch:4⏎",
        "cluster_my_epoch:1⏎",
    ] {
        assert!(info.contains(line), "{info}");
    }
}

#[test]
fn shards_are_maps_in_resp3() {
    let node = node();
    let mut client = Client::new(&node, 6379);
    client.run("HELLO 3");
    let shard = |first, last, id, port| {
        format!(
            "%2⏎$5⏎slots⏎*2⏎:{first}⏎:{last}⏎$5⏎nodes⏎*1⏎%7⏎$2⏎id⏎$40⏎{id}⏎$4⏎port⏎:{port}⏎\
             $2⏎ip⏎$9⏎127.0.0.1⏎$8⏎endpoint⏎$9⏎127.0.0.1⏎$4⏎role⏎$6⏎master⏎\
             $18⏎replication-offset⏎:0⏎$6⏎health⏎$6⏎online"
        )
    };
    client.check(&[
        (
            "CLUSTER SHARDS",
            &format!("*2⏎{}⏎{}", shard(0, 10922, FIRST, 16379), shard(10923, 16383, SECOND, 16380)),
        ),
        // On the common port a client is told of the core that it is on.
        ("CLUSTER MYID", &format!("$40⏎{FIRST}")),
    ]);
}

#[test]
fn without_core_ports_there_is_one_node_or_no_cluster() {
    let node = node_with(|config| config.cluster_enabled = true, Vec::new());
    let mut client = Client::new(&node, 6379);
    client.check(&[(
        "CLUSTER SLOTS",
        &format!("*1⏎*3⏎:0⏎:16383⏎*4⏎$9⏎127.0.0.1⏎:6379⏎$40⏎{FIRST}⏎*0"),
    )]);
    assert!(node.owners.set_owner(ShardId(2), CoreId(0)));
    let info = client.run("CLUSTER INFO");
    assert!(info.contains("cluster_current_epoch:3⏎cluster_my_epoch:3⏎"), "{info}");
    client.check(&[("CLUSTER MYID", &format!("$40⏎{FIRST}"))]);
    assert!(client.run("INFO cluster").contains("cluster_enabled:1"));
    assert!(client.run("INFO server").contains("redis_mode:cluster"));

    let node = node_with(|_| {}, Vec::new());
    let mut client = Client::new(&node, 6379);
    let disabled = "-ERR This instance has cluster support disabled";
    for request in ["SLOTS", "NODES", "SHARDS", "INFO", "MYID", "MYSHARDID", "LINKS", "REPLICAS x"]
    {
        client.check(&[(&format!("CLUSTER {request}"), disabled)]);
    }
    assert!(client.run("INFO cluster").contains("cluster_enabled:0"));
}

// --- a node of a cluster -------------------------------------------------------------------------

const NAMES: [&str; 3] = [
    "a000000000000000000000000000000000001111",
    "b000000000000000000000000000000000002222",
    "c000000000000000000000000000000000003333",
];

/// Node 1 of three, with two cores and three shards; of the others, node 2 has three cores and node 3 one.
fn node_of_cluster() -> Node {
    let node = node_with(|config| config.node_id = 1, vec![16_379, 16_380]);
    let cores = |owners: [u16; 3]| owners.map(CoreId).to_vec();
    let member = |id: u64, core_ports: &[u16], owners: [u16; 3]| Member {
        id: NodeId(id),
        name: NAMES[usize::try_from(id - 1).unwrap()].to_owned(),
        ip: Some(format!("10.0.0.{id}").parse().unwrap()),
        port: 6379,
        core_ports: core_ports.to_vec(),
        cluster_port: 26_379,
        owners: cores(owners),
        is_up: true,
        up_since: UnixMs(1_600_000_000_000),
        incarnation: 1,
    };
    node.members.update(|members| {
        members.push(member(1, &[], [0; 3]));
        members.push(member(2, &[17_001, 17_002, 17_003], [0, 1, 2]));
        members.push(member(3, &[18_001], [0, 0, 0]));
    });
    node
}

/// Has node 1 know who leads a shard, and lead it if it is itself.
fn lead(node: &Node, shard: u16, leader: Option<u64>, term: u64) {
    let leads = leader == Some(1);
    let peer = |id, matched| PeerProgress {
        node: NodeId(id),
        matched: LogIndex(matched),
        synced: LogIndex(matched - 1),
        snapshot_bytes: None,
    };
    let state = ReplicaState {
        role: if leads { Role::Leader } else { Role::Follower },
        term: Term(term),
        leader: leader.map(NodeId),
        last: LogIndex(10),
        committed: LogIndex(9),
        applied: LogIndex(8),
        elections_won: u64::from(leads),
        is_in_doubt: !leads,
        is_short_of_room: leads,
        voters: [1, 2, 3].map(NodeId).to_vec(),
        learners: Vec::new(),
        peers: if leads { vec![peer(2, 10), peer(3, 7)] } else { Vec::new() },
    };
    let reign = if leads { 1 } else { 2 };
    let (committed, leader) = (state.committed, state.leader);
    let published =
        Published { state: Some(state), reign, committed, leader, ..Published::default() };
    node.replica(ShardId(shard)).publish(published);
    node.members.touch();
}

fn core_id(member: usize, core: u16) -> String {
    format!("{}{core:04x}", &NAMES[member - 1][..36])
}

#[test]
fn every_core_of_every_member_is_a_node_and_the_common_ports_are_replicas() {
    let node = node_of_cluster();
    for (shard, leader) in [(0, 1), (1, 1), (2, 2)] {
        lead(&node, shard, Some(leader), u64::from(shard) + 4);
    }
    let mut client = Client::new(&node, 16_379);
    let nodes = client.run("CLUSTER NODES");
    let lines: Vec<&str> = nodes.lines().filter(|line| line.contains(':')).collect();
    let now = 1_700_000_000_000_u64;
    let replica = |member| core_id(member, 0xffff);
    let expected = [
        format!("{} 10.0.0.1:16379@26379 myself,master - 0 0 5 connected 0-10922", core_id(1, 0)),
        format!("{} 10.0.0.1:16380@26380 master - 0 0 0 connected", core_id(1, 1)),
        format!("{} 10.0.0.1:6379@26379 slave {} 0 0 6 connected", replica(1), core_id(2, 2)),
        format!("{} 10.0.0.2:17001@26379 master - 0 {now} 0 connected", core_id(2, 0)),
        format!("{} 10.0.0.2:17002@26380 master - 0 {now} 0 connected", core_id(2, 1)),
        format!("{} 10.0.0.2:17003@26381 master - 0 {now} 6 connected 10923-16383", core_id(2, 2)),
        format!("{} 10.0.0.2:6379@26379 slave {} 0 {now} 5 connected", replica(2), core_id(1, 0)),
        format!("{} 10.0.0.3:18001@26379 master - 0 {now} 0 connected", core_id(3, 0)),
        format!("{} 10.0.0.3:6379@26379 slave {} 0 {now} 5 connected", replica(3), core_id(1, 0)),
    ];
    // The first follows the length of the reply.
    let found = nodes.split('⏎').nth(1).unwrap_or_default();
    assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{lines:?}");
    let address = |ip, port, id: String| format!("*4⏎$8⏎10.0.0.{ip}⏎:{port}⏎$40⏎{id}⏎*0");
    let slots = format!(
        "*2⏎*5⏎:0⏎:10922⏎{}⏎{}⏎{}⏎*5⏎:10923⏎:16383⏎{}⏎{}⏎{}",
        address(1, 16_379, core_id(1, 0)),
        address(2, 6379, replica(2)),
        address(3, 6379, replica(3)),
        address(2, 17_003, core_id(2, 2)),
        address(1, 6379, replica(1)),
        address(3, 6379, replica(3)),
    );
    client.check(&[
        ("CLUSTER SLOTS", &slots),
        ("CLUSTER MYID", &format!("$40⏎{}", core_id(1, 0))),
        ("READONLY", "+OK"),
    ]);
    assert!(client.session.reads_followers);
    client.check(&[("READWRITE", "+OK")]);
    assert!(!client.session.reads_followers);
    let shards = client.run("CLUSTER SHARDS");
    let part = "$4⏎role⏎$7⏎replica⏎$18⏎replication-offset⏎:14⏎$6⏎health⏎$6⏎online⏎";
    assert!(shards.starts_with("*2⏎*4⏎$5⏎slots⏎*2⏎:0⏎:10922⏎$5⏎nodes⏎*3⏎"), "{shards}");
    assert!(shards.contains(part), "two shards, 7 entries each: {shards}");
    let info = client.run("CLUSTER INFO");
    for line in [
        "cluster_state:ok⏎",
        "cluster_slots_ok:16384⏎",
        "cluster_known_nodes:9⏎",
        "cluster_size:2⏎",
        "cluster_current_epoch:6⏎",
        "cluster_my_epoch:5⏎",
    ] {
        assert!(info.contains(line), "{line} {info}");
    }
}

#[test]
fn replicas_and_links_are_told_of() {
    let node = node_of_cluster();
    for (shard, leader) in [(0, 1), (1, 1), (2, 2)] {
        lead(&node, shard, Some(leader), u64::from(shard) + 4);
    }
    let replica = |member| core_id(member, 0xffff);
    let (first, third) = (core_id(1, 0), core_id(2, 2));
    let of = |lines: [String; 2]| {
        let lines = lines.map(|line| format!("${}⏎{line}", line.len()));
        format!("*2⏎{}⏎{}", lines[0], lines[1])
    };
    let now = 1_700_000_000_000_u64;
    let of_first = of([2, 3].map(|member| {
        let id = replica(member);
        format!("{id} 10.0.0.{member}:6379@26379 slave {first} 0 {now} 5 connected")
    }));
    let of_third = of([
        format!("{} 10.0.0.1:6379@26379 slave {third} 0 0 6 connected", replica(1)),
        format!("{} 10.0.0.3:6379@26379 slave {third} 0 {now} 6 connected", replica(3)),
    ]);
    let mut client = Client::new(&node, 16_379);
    client.check(&[
        (&format!("CLUSTER REPLICAS {first}"), &of_first),
        (&format!("CLUSTER SLAVES {first}"), &of_first),
        (&format!("CLUSTER REPLICAS {third}"), &of_third),
        (&format!("CLUSTER REPLICAS {}", core_id(1, 1)), "*0"),
        (&format!("CLUSTER REPLICAS {}", replica(2)), "-ERR The specified node is not a master"),
        ("CLUSTER REPLICAS 1", "-ERR Unknown node 1"),
        ("CLUSTER SLAVES x", "-ERR Unknown node x"),
        ("CLUSTER REPLICAS", "-ERR wrong number of arguments for 'cluster|replicas' command"),
        (&format!("CLUSTER COUNT-FAILURE-REPORTS {third}"), ":0"),
        ("CLUSTER COUNT-FAILURE-REPORTS x", "-ERR Unknown node x"),
        ("CLUSTER MYSHARDID", &format!("$40⏎{first}")),
    ]);
    node.members.update(|members| members[2].is_up = false);
    client.run("HELLO 3");
    let link = |direction: &str, events| {
        format!(
            "%6⏎$9⏎direction⏎${}⏎{direction}⏎$4⏎node⏎$40⏎{}⏎$11⏎create-time⏎:1600000000000⏎\
             $6⏎events⏎$1⏎{events}⏎$21⏎send-buffer-allocated⏎:0⏎$16⏎send-buffer-used⏎:0",
            direction.len(),
            core_id(2, 0),
        )
    };
    client.check(&[("CLUSTER LINKS", &format!("*2⏎{}⏎{}", link("to", "w"), link("from", "r")))]);
}

#[test]
fn a_client_of_the_common_port_is_at_the_replica() {
    let node = node_of_cluster();
    for (shard, leader) in [(0, 1), (1, 1), (2, 2)] {
        lead(&node, shard, Some(leader), u64::from(shard) + 4);
    }
    let mut client = Client::new(&node, 6379);
    let replica = core_id(1, 0xffff);
    let myself = |client: &mut Client<'_>| {
        let nodes = client.run("CLUSTER NODES");
        let lines: Vec<&str> = nodes.lines().filter(|line| line.contains("myself")).collect();
        assert_eq!(lines.len(), 1, "{nodes}");
        lines[0].rsplit('⏎').next().unwrap_or_default().to_owned()
    };
    client.check(&[
        ("CLUSTER MYID", &format!("$40⏎{replica}")),
        ("CLUSTER MYSHARDID", &format!("$40⏎{}", core_id(2, 2))),
    ]);
    let master = core_id(2, 2);
    let expected = format!("{replica} 10.0.0.1:6379@26379 myself,slave {master} 0 0 6 connected");
    assert_eq!(myself(&mut client), expected);
    assert!(client.run("CLUSTER INFO").contains("cluster_my_epoch:6⏎"));
    // Where nothing is followed there is no replica: the client is at the core that it is on.
    lead(&node, 2, Some(1), 7);
    client.check(&[("CLUSTER MYID", &format!("$40⏎{}", core_id(1, 0)))]);
    assert!(myself(&mut client).contains(" 10.0.0.1:16379@26379 myself,master "));
}

#[test]
fn what_nobody_leads_and_who_is_down_is_told() {
    let node = node_of_cluster();
    let mut client = Client::new(&node, 16_379);
    assert!(client.run("CLUSTER INFO").contains("cluster_state:fail⏎"));
    client.check(&[("CLUSTER SLOTS", "*0")]);
    for (shard, leader) in [(0, Some(3)), (1, None), (2, Some(2))] {
        lead(&node, shard, leader, 1);
    }
    let epoch = node.topology_epoch();
    node.members.update(|members| members[2].is_up = false);
    assert!(node.topology_epoch() > epoch, "it is news");
    let info = client.run("CLUSTER INFO");
    for line in [
        "cluster_state:fail⏎",
        "cluster_slots_ok:5461⏎",
        "cluster_slots_pfail:5462⏎",
        "cluster_slots_fail:5461⏎",
    ] {
        assert!(info.contains(line), "{line} {info}");
    }
    let nodes = client.run("CLUSTER NODES");
    assert!(
        nodes.contains("10.0.0.3:18001@26379 master,fail? - 0 0 1 disconnected 0-5461\n"),
        "{nodes}"
    );
    let slots = client.run("CLUSTER SLOTS");
    assert!(slots.starts_with("*2⏎*5⏎:0⏎:5461⏎*4⏎$8⏎10.0.0.3⏎:18001⏎"), "{slots}");
    assert_eq!(slots.matches("10.0.0.3").count(), 1, "it is no replica while it is down: {slots}");
    let shards = client.run("CLUSTER SHARDS");
    assert!(shards.contains("$6⏎health⏎$6⏎failed⏎"), "{shards}");
    // The range that nobody leads has its replicas, and no master.
    assert!(shards.contains("*2⏎:5462⏎:10922⏎$5⏎nodes⏎*3⏎"), "{shards}");
}

#[test]
fn a_node_has_failed_once_a_majority_misses_it() {
    let node = node_of_cluster();
    for (shard, leader) in [(0, 3), (1, 1), (2, 2)] {
        lead(&node, shard, Some(leader), 1);
    }
    let third = core_id(3, 0);
    let seen = |client: &mut Client<'_>| {
        let nodes = client.run("CLUSTER NODES");
        let line = nodes.lines().find(|line| line.starts_with(&third)).unwrap_or_default();
        let flags = line.split(' ').nth(2).unwrap_or_default().to_owned();
        let reports = client.run(&format!("CLUSTER COUNT-FAILURE-REPORTS {third}"));
        let info = client.run("CLUSTER INFO");
        let slots = ["ok", "pfail", "fail"].map(|state| {
            let name = format!("cluster_slots_{state}:");
            let line = info.split('⏎').find_map(|line| line.strip_prefix(&name));
            line.unwrap_or_default().to_owned()
        });
        let raft = client.run("INFO raft");
        let heard_by = raft.split("member3:").nth(1).and_then(|it| it.split("heard_by=").nth(1));
        let heard_by = heard_by.and_then(|it| it.split(',').next()).unwrap_or_default().to_owned();
        (flags, reports, slots.join(" "), heard_by)
    };
    let is = |flags: &str, reports: usize, slots: &str, heard_by: usize| {
        (flags.to_owned(), format!(":{reports}⏎"), slots.to_owned(), heard_by.to_string())
    };
    let mut client = Client::new(&node, 16_379);
    let says = |id, heard: &[u64]| {
        node.members.take_report(NodeId(id), heard.iter().copied().map(NodeId).collect());
    };
    assert_eq!(seen(&mut client), is("master", 0, "16384 0 0", 1), "nobody else has told");
    says(2, &[1, 3]);
    says(3, &[1, 2]);
    assert_eq!(seen(&mut client), is("master", 0, "16384 0 0", 2), "itself does not count");
    says(2, &[1]);
    assert_eq!(seen(&mut client), is("master", 1, "16384 0 0", 1), "this node hears from it");
    node.members.update(|members| members[2].is_up = false);
    assert_eq!(seen(&mut client), is("master,fail", 1, "10922 0 5462", 0));
    assert!(client.run("CLUSTER INFO").contains("cluster_state:fail⏎"));
    says(2, &[1, 3]);
    assert_eq!(
        seen(&mut client),
        is("master,fail?", 0, "10922 5462 0", 1),
        "only this one does not"
    );
    assert!(client.run("CLUSTER INFO").contains("cluster_state:ok⏎"));
    // A node that is cut off has nobody who agrees.
    says(2, &[1]);
    node.members.update(|members| members[1].is_up = false);
    assert_eq!(seen(&mut client), is("master,fail?", 0, "5461 10923 0", 0));
    // Who is back says anew whom it hears from.
    node.members.update(|members| members[1].is_up = true);
    assert_eq!(seen(&mut client), is("master,fail?", 0, "10922 5462 0", 0));
    // Two of five are no majority, whoever is up.
    node.members.update(|members| {
        for id in [4, 5] {
            members.push(Member { id: NodeId(id), ..members[1].clone() });
        }
    });
    says(2, &[1, 4, 5]);
    assert_eq!(seen(&mut client).0, "master,fail?");
    node.members.update(|members| members[4].is_up = false);
    assert_eq!(seen(&mut client).0, "master,fail?");
    says(4, &[1, 2]);
    assert_eq!(seen(&mut client).0, "master,fail");
}

#[test]
fn a_node_is_a_master_if_it_leads_anything() {
    let node = node_of_cluster();
    for shard in 0..3 {
        lead(&node, shard, Some(2), 3);
    }
    let mut client = Client::new(&node, 16_379);
    let info = client.run("INFO replication");
    for line in [
        "role:slave⏎master_host:10.0.0.2⏎master_port:17001⏎master_link_status:up⏎",
        "slave_repl_offset:24⏎",
        "connected_slaves:0⏎",
    ] {
        assert!(info.contains(line), "{line} {info}");
    }
    client.check(&[
        ("ROLE", "*5⏎$5⏎slave⏎$8⏎10.0.0.2⏎:17001⏎$9⏎connected⏎:24"),
        ("WAIT 1 0", "-ERR WAIT cannot be used with replica instances."),
    ]);
    lead(&node, 1, Some(1), 4);
    node.members.update(|members| members[2].is_up = false);
    let info = client.run("INFO replication");
    for line in [
        "role:master⏎connected_slaves:1⏎slave0:ip=10.0.0.2,port=6379,state=online,offset=10,lag=0⏎",
        "master_repl_offset:9⏎",
    ] {
        assert!(info.contains(line), "{line} {info}");
    }
    client.check(&[("ROLE", "*3⏎$6⏎master⏎:9⏎*1⏎*3⏎$8⏎10.0.0.2⏎$4⏎6379⏎$2⏎10")]);
    // Acknowledged writes are on a quorum; whether on more, the runtime has a look.
    client.check(&[("WAIT 2 70", ":1")]);
    assert_eq!(client.actions, [Action::AwaitReplicas(2, 70)]);
    client.check(&[("WAIT 1 0", ":1")]);
    assert!(client.actions.is_empty());
    let raft = client.run("INFO raft");
    for line in [
        "# Raft⏎node_id:1⏎member1:ip=10.0.0.1,port=6379,cores=2,up=1,heard_by=0,cluster_port=26379⏎member2:ip=10.0.0.2,port=6379,cores=3,up=1,heard_by=1,cluster_port=26379⏎member3:ip=10.0.0.3,port=6379,cores=1,up=0,heard_by=0,cluster_port=26379⏎removed:⏎",
        "⏎shard0:slots=0-5461,role=follower,term=3,leader=2,commit=9,applied=8,last=10,elections_won=0,in_doubt=1,no_room=0,voters=1/2/3,learners=,peers=⏎",
        "⏎shard1:slots=5462-10922,role=leader,term=4,leader=1,commit=9,applied=8,last=10,elections_won=1,in_doubt=0,no_room=1,voters=1/2/3,learners=,peers=2:10:9/3:7:6⏎",
    ] {
        assert!(raft.contains(line), "{line} {raft}");
    }
    let default = client.run("INFO");
    assert!(default.contains("# Raft⏎") && default.contains("redis_mode:cluster⏎"));
}

#[test]
fn commands_over_all_keys_are_over_the_shards_that_the_node_serves() {
    let node = node_of_cluster();
    lead(&node, 1, Some(1), 1);
    let owners = node.served_owners();
    assert_eq!(owners.epoch(), node.topology_epoch());
    let seen: Vec<ShardId> = View::default().shards(&owners).collect();
    assert_eq!(seen, [ShardId(1)]);
    assert!(!node.members.load().is_empty());
    // A walk that was in a shard which another node leads now goes on in the next.
    assert_eq!(cursor_shard(b"0", View::default(), &owners), Some(ShardId(1)));
    let within = |shard: u64| (1_u64 << 16 | shard).to_string();
    let next = |cursor: String| cursor_shard(cursor.as_bytes(), View::default(), &owners);
    assert_eq!(next(within(0)), Some(ShardId(1)));
    assert_eq!(next(within(1)), Some(ShardId(1)));
    assert_eq!(next(within(2)), None);
}

#[test]
fn clients_of_the_binary_protocol_find_the_leaders_cores() {
    let node = node_of_cluster();
    lead(&node, 0, Some(3), 1);
    lead(&node, 2, Some(2), 1);
    let client = Client::new(&node, 16_379);
    let topology = topology_of(&node, &node.served_owners(), &client.session.info);
    assert_eq!(topology.epoch, node.topology_epoch());
    let ports: Vec<u16> = topology.cores.iter().map(|core| core.port).collect();
    assert_eq!(ports, [16_379, 16_380, 17_001, 17_002, 17_003, 18_001]);
    let core_of = |shard: usize| usize::from(topology.ranges[shard].core.0);
    // Nobody leads shard 1: this node's core says so when it is asked.
    assert_eq!([0, 1, 2].map(|shard| ports[core_of(shard)]), [18_001, 16_379, 17_003]);
}
