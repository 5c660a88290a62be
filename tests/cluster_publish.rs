//! `PUBLISH` in a cluster: who listens at any node hears what is published at any other, in order; and nobody who
//! publishes waits for a node that stands still.

mod harness;

use harness::client::{Client, encode, info_number};
use harness::nodes::Nodes;
use harness::server::skip_on_other_server;
use harness::slots::shard;
use harness::topology::{connect, leaders_of};
use harness::value::Value;
use harness::wait_until;

const SHARDS: u16 = 3;

/// Three nodes with leaders that stay, however busy the machine is.
fn start() -> Nodes {
    let mut nodes = Nodes::new(3, SHARDS, &["127.0.0.1"]).flag("--election-timeout-ms", "5000");
    nodes.start_all();
    let mut client = connect(nodes.port(1));
    // Until then leaders change.
    wait_until("leaders are spread", || {
        let leaders = leaders_of(SHARDS, &mut client);
        (1..=3).all(|node| leaders.contains(&node))
    });
    nodes
}

fn dropped(client: &mut Client) -> u64 {
    info_number(client, "cluster", "cluster_published_dropped")
}

/// A client of a node, by its common port, on a core that has links to both other nodes; only one at a time publishes.
fn publisher(nodes: &Nodes, node: usize) -> Client {
    let mut client = connect(nodes.port(node));
    wait_until("other nodes are told what is published", || {
        let before = dropped(&mut client);
        client.words("PUBLISH nowhere x");
        dropped(&mut client) == before
    });
    client
}

fn listener(nodes: &Nodes, node: usize, request: &str) -> Client {
    let mut client = connect(nodes.port(node));
    client.words(request);
    client
}

fn bulks(words: &[&str]) -> Vec<Value> {
    words.iter().map(Value::bulk).collect()
}

#[test]
fn who_listens_hears_what_is_published_at_any_node() {
    if skip_on_other_server() {
        return;
    }
    let nodes = start();
    let mut publishers: Vec<Client> = (1..=3).map(|node| publisher(&nodes, node)).collect();
    let mut plain = listener(&nodes, 2, "SUBSCRIBE news");
    let mut pattern = listener(&nodes, 2, "PSUBSCRIBE n?ws");
    let mut pushed = connect(nodes.port(2));
    pushed.words("HELLO 3");
    pushed.words("SUBSCRIBE news");
    let mut far = listener(&nodes, 3, "SUBSCRIBE news");
    // Only who listens at the node itself is counted.
    for (publisher, count) in publishers.iter_mut().zip([0, 3, 1]) {
        for number in 0..100 {
            let text = format!("{number}");
            assert_eq!(publisher.command(&["PUBLISH", "news", &text]), Value::Integer(count));
        }
        for number in 0..100 {
            let text = format!("{number}");
            let message = bulks(&["message", "news", &text]);
            let of_pattern = bulks(&["pmessage", "n?ws", "news", &text]);
            assert_eq!(plain.read(), Ok(Value::Array(message.clone())));
            assert_eq!(far.read(), Ok(Value::Array(message.clone())));
            assert_eq!(pushed.read(), Ok(Value::Push(message)));
            assert_eq!(pattern.read(), Ok(Value::Array(of_pattern)));
        }
    }
    // Also in a transaction, what is too long for one frame of a link, and what is empty.
    let long = "x".repeat(5_000_000);
    let publisher = &mut publishers[0];
    for text in [&long, ""] {
        publisher.ok("MULTI");
        assert_eq!(publisher.command(&["PUBLISH", "news", text]), Value::Simple("QUEUED".into()));
        assert_eq!(publisher.words("EXEC"), Value::Array(vec![Value::Integer(0)]));
        let message = Value::Array(bulks(&["message", "news", text]));
        assert!(plain.read() == Ok(message.clone()) && far.read() == Ok(message));
    }
    // Who has left hears nothing more, and nobody has heard anything twice.
    for client in [&mut plain, &mut far] {
        let left = client.words("UNSUBSCRIBE news");
        assert_eq!(left.elements()[0], Value::bulk("unsubscribe"));
    }
    publisher.words("PUBLISH news late");
    far.words("SUBSCRIBE other");
    wait_until("what comes behind it is heard", || {
        publisher.words("PUBLISH other end");
        far.is_readable_within(std::time::Duration::from_millis(10))
    });
    assert_eq!(far.read().map(|it| it.elements()[1].clone()), Ok(Value::bulk("other")));
    let sent = info_number(publisher, "cluster", "cluster_published_sent");
    assert!(sent >= 2 * 104, "{sent}");
    let received =
        info_number(&mut connect(nodes.port(2)), "cluster", "cluster_published_received");
    assert!(received >= 202, "{received}");
}

/// Who has said `READONLY` may listen to a shard channel at any node that has the shard, for as long as it has.
#[test]
fn shard_channels_are_heard_at_followers() {
    if skip_on_other_server() {
        return;
    }
    let nodes = start();
    let channel = "channel";
    let mut publisher = publisher(&nodes, 1);
    let leaders = leaders_of(SHARDS, &mut publisher);
    let shard = usize::from(shard(channel, SHARDS));
    let leader = usize::try_from(leaders[shard]).expect("few nodes");
    let mut listeners: Vec<(usize, Client)> =
        (1..=3).map(|node| (node, connect(nodes.port(node)))).collect();
    for (node, listener) in &mut listeners {
        if *node != leader {
            listener.ok("READONLY");
        }
        wait_until(&format!("node {node} knows that it serves, or who leads"), || {
            !matches!(listener.command(&["SSUBSCRIBE", channel]), Value::Error(_))
        });
    }
    // Wherever it is published it is the leader that tells, and counts.
    wait_until("links are there", || {
        let mut at_leader = connect(nodes.port(leader));
        let before = dropped(&mut at_leader);
        publisher.command(&["SPUBLISH", channel, "warm"]);
        dropped(&mut at_leader) == before
    });
    for number in 0..100 {
        let text = number.to_string();
        assert_eq!(publisher.command(&["SPUBLISH", channel, &text]), Value::Integer(1));
    }
    for (node, listener) in &mut listeners {
        let mut next = || listener.read().expect("a message").elements()[2].text();
        let mut text = next();
        while text == "warm" {
            text = next();
        }
        for number in 0..100 {
            assert_eq!(text, number.to_string(), "node {node}");
            if number < 99 {
                text = next();
            }
        }
    }
    // Without READONLY it is for the leader.
    let follower = leader % 3 + 1;
    let mut client = connect(nodes.port(follower));
    assert!(client.command(&["SSUBSCRIBE", channel]).error().starts_with("MOVED "));
    // A node that takes part no more says so.
    let mut at_leader = connect(nodes.port(leader));
    let remove = format!("CLUSTER SHARD {shard} REMOVE {follower}");
    wait_until("it is removed", || at_leader.words(&remove) == Value::ok());
    let (_, listener) = &mut listeners[follower - 1];
    let left = listener.read().expect("word of it");
    assert_eq!(left.elements()[0], Value::bulk("sunsubscribe"), "{left:?}");
    assert!(listener.command(&["SSUBSCRIBE", channel]).error().starts_with("MOVED "));
}

/// What a node's own keyspace tells concerns its own clients.
#[test]
fn keyspace_events_are_of_one_node() {
    if skip_on_other_server() {
        return;
    }
    let nodes = start();
    let mut clients: Vec<Client> = (1..=3).map(|node| connect(nodes.port(node))).collect();
    let sent = |clients: &mut [Client]| -> u64 {
        let sent = |client: &mut Client| {
            info_number(client, "cluster", "cluster_published_sent") + dropped(client)
        };
        clients.iter_mut().map(sent).sum()
    };
    clients.iter_mut().for_each(|client| client.ok("CONFIG SET notify-keyspace-events KEA"));
    let leaders = leaders_of(SHARDS, &mut clients[0]);
    let leader = usize::try_from(leaders[usize::from(shard("key", SHARDS))]).expect("few nodes");
    let mut listener = listener(&nodes, leader, "SUBSCRIBE __keyevent@0__:set");
    let before = sent(&mut clients);
    clients[leader - 1].ok("SET key value");
    assert_eq!(listener.read().map(|it| it.elements()[2].clone()), Ok(Value::bulk("key")));
    assert_eq!(sent(&mut clients), before);
}

#[test]
fn who_publishes_does_not_wait_for_a_node_that_stands_still() {
    if skip_on_other_server() {
        return;
    }
    const MESSAGES: usize = 2_000;
    const BYTES: usize = 50_000;
    let mut nodes = start();
    let mut publisher = publisher(&nodes, 1);
    let mut far = listener(&nodes, 3, "SUBSCRIBE news");
    publisher.words("PUBLISH news before");
    assert_eq!(far.read(), Ok(Value::Array(bulks(&["message", "news", "before"]))));
    let before = dropped(&mut publisher);

    nodes.server(3).signal("STOP");
    let text = vec![b'x'; BYTES];
    let request = encode(&[b"PUBLISH", &b"news"[..], &text]);
    let mut held = 0;
    for number in 0..MESSAGES {
        publisher.send(&request);
        assert_eq!(publisher.read(), Ok(Value::Integer(0)), "message {number}");
        if number % 100 == 0 {
            held = held.max(info_number(&mut publisher, "memory", "mem_cluster_links"));
        }
    }
    let lost = dropped(&mut publisher) - before;
    nodes.server(3).signal("CONT");
    // More than the kernel and a link take; the rest is nowhere.
    assert!(lost > 0, "nothing was dropped");
    assert!(held < 64 * 1024 * 1024, "{held} bytes were held");

    // What had left comes, or the link was given up; and what is published later comes.
    wait_until("node 3 hears again", || {
        publisher.words("PUBLISH news after");
        while far.is_readable_within(std::time::Duration::from_millis(10)) {
            if far.read().map(|it| it.elements()[2].clone()) == Ok(Value::bulk("after")) {
                return true;
            }
        }
        false
    });
}
