//! `PUBLISH` in a cluster: who listens at any node hears what is published at any other, in order; and nobody who
//! publishes waits for a node that stands still.

mod harness;

use harness::client::{Client, encode, info_number};
use harness::nodes::Nodes;
use harness::server::skip_on_other_server;
use harness::topology::{connect, leaders_of};
use harness::value::Value;
use harness::wait_until;

const SHARDS: u16 = 3;

/// Three nodes with leaders that stay, however busy the machine is.
fn start() -> Nodes {
    let mut nodes = Nodes::new(3, SHARDS, &["127.0.0.1"]).flag("--election-timeout-ms", "5000");
    nodes.start_all();
    let mut client = connect(nodes.port(1));
    wait_until("all shards are led", || leaders_of(SHARDS, &mut client).iter().all(|it| *it > 0));
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

/// Shard channels are listened to where their shard is led, and what is said there concerns no other node; nor do
/// keyspace events.
#[test]
fn shard_channels_and_keyspace_events_are_of_one_node() {
    if skip_on_other_server() {
        return;
    }
    let nodes = start();
    let mut publisher = publisher(&nodes, 1);
    let sent = info_number(&mut publisher, "cluster", "cluster_published_sent");
    publisher.ok("CONFIG SET notify-keyspace-events KEA");
    // It may be led elsewhere, and is left to who leads.
    assert!(matches!(publisher.words("SPUBLISH channel x"), Value::Integer(0)));
    publisher.ok("SET key value");
    assert_eq!(info_number(&mut publisher, "cluster", "cluster_published_sent"), sent);
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
