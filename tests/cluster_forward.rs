//! Clients that know nothing of clusters, on a node that does not lead what they ask for: the node leaves it to who
//! does, and what they see is one server.

mod harness;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::client::{Client, encode, encode_words, info, info_number, wait_for_reply};
use harness::nodes::{Nodes, SECRET};
use harness::server::skip_on_other_server;
use harness::slots::keys_over_shards;
use harness::topology::{connect, leaders_of};
use harness::trial::signal;
use harness::value::Value;
use harness::wait_until;
use ringmain::replica::link::{ClusterSecret, Dialing, Purpose};
use ringmain::types::{CoreId, NodeId};

const SHARDS: u16 = 6;
const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";

/// A cluster, a key in each of its shards, and who leads them.
struct Scene {
    _nodes: Nodes,
    ports: Vec<u16>,
    processes: Vec<u32>,
    keys: Vec<String>,
    leaders: Vec<u64>,
}

impl Scene {
    /// Leaders stay, however busy the machine is.
    fn steady() -> Self {
        Self::begin(Nodes::new(3, SHARDS, &["127.0.0.1"]).flag("--election-timeout-ms", "5000"))
    }

    /// Others lead soon where one does not.
    fn lively() -> Self {
        Self::begin(Nodes::new(3, SHARDS, &["127.0.0.1"]))
    }

    fn begin(mut nodes: Nodes) -> Self {
        nodes.start_all();
        let ports: Vec<u16> = (1..=3).map(|id| nodes.port(id)).collect();
        let processes = (1..=3).map(|id| nodes.server(id).pid()).collect();
        let mut client = connect(ports[0]);
        let are_spread = |leaders: &[u64]| {
            (1..=3).all(|node| leaders.iter().filter(|leader| **leader == node).count() == 2)
        };
        wait_until("leaders are spread", || are_spread(&leaders_of(SHARDS, &mut client)));
        let leaders = leaders_of(SHARDS, &mut client);
        let keys = keys_over_shards("key", SHARDS, usize::from(SHARDS));
        Self { _nodes: nodes, ports, processes, keys, leaders }
    }

    /// A client of a node, by its common port.
    fn client(&self, node: u64) -> Client {
        connect(self.ports[index(node)])
    }

    /// The same by its first core's own.
    fn client_of_core(&self, node: u64) -> Client {
        let core = &info(&mut self.client(node), "ringmain")["core_0"];
        let port = core.split(',').find_map(|field| field.strip_prefix("port="));
        connect(port.and_then(|port| port.parse().ok()).expect("a port"))
    }

    fn process(&self, node: u64) -> u32 {
        self.processes[index(node)]
    }

    /// Keys of the shards that a node leads.
    fn keys_of(&self, node: u64) -> Vec<&str> {
        let keys = self.keys.iter().zip(&self.leaders);
        keys.filter(|(_, leader)| **leader == node).map(|(key, _)| key.as_str()).collect()
    }

    /// One of them.
    fn key_of(&self, node: u64) -> &str {
        self.keys_of(node)[0]
    }
}

fn index(node: u64) -> usize {
    usize::try_from(node - 1).expect("few nodes")
}

fn error(text: &str) -> Value {
    Value::Error(text.into())
}

#[test]
fn commands_of_all_kinds_are_carried_out_where_their_keys_are_led() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::steady();
    let mut client = scene.client(1);
    for (key, leader) in scene.keys.iter().zip(&scene.leaders) {
        client.ok(&format!("SET {key} v{leader}"));
        assert_eq!(client.words(&format!("GET {key}")), Value::bulk(format!("v{leader}")));
        assert_eq!(client.words(&format!("RPUSH {{{key}}}list a b c")), Value::Integer(3));
        assert_eq!(
            client.words(&format!("LRANGE {{{key}}}list 0 -1")).elements().len(),
            3,
            "{key}"
        );
        assert_eq!(client.words(&format!("HSET {{{key}}}hash f 1")), Value::Integer(1));
        assert_eq!(client.words(&format!("ZADD {{{key}}}zset 1 m")), Value::Integer(1));
        assert_eq!(client.words(&format!("SADD {{{key}}}set m")), Value::Integer(1));
        assert_eq!(client.words(&format!("PFCOUNT_ {key}")).error().split(' ').next(), Some("ERR"));
        assert_eq!(client.words(&format!("SETBIT {{{key}}}bits 7 1")), Value::Integer(0));
        assert_eq!(client.words(&format!("TYPE {{{key}}}zset")), Value::Simple("zset".into()));
        assert_eq!(client.words(&format!("OBJECT ENCODING {key}")), Value::bulk("embstr"));
        assert_eq!(
            client.words(&format!("GET {{{key}}}set")),
            error("WRONGTYPE Operation against a key holding the wrong kind of value")
        );
        assert_eq!(client.words(&format!("SPUBLISH {key} x")), Value::Integer(0));
        assert_eq!(client.words(&format!("EXPIRE {key} 100")), Value::Integer(1));
        // And it is there that they have been carried out.
        let mut there = scene.client(*leader);
        there.ok("READWRITE");
        assert_eq!(there.words(&format!("GET {key}")), Value::bulk(format!("v{leader}")));
    }
    let away = scene.keys_of(2);
    client.ok(&format!("MSET {} a {} b", away[0], away[1]));
    let both = client.words(&format!("MGET {} {}", away[0], away[1]));
    assert_eq!(both, Value::Array(vec![Value::bulk("a"), Value::bulk("b")]));
    for others in [[scene.key_of(1), scene.key_of(2)], [scene.key_of(2), scene.key_of(3)]] {
        assert_eq!(client.words(&format!("MGET {} {}", others[0], others[1])), error(CROSS_SLOT));
    }
    // Messages come to who listens there.
    let channel = scene.key_of(2);
    let mut listener = scene.client(2);
    assert_eq!(listener.words(&format!("SSUBSCRIBE {channel}")).elements().len(), 3);
    assert_eq!(client.words(&format!("SPUBLISH {channel} x")), Value::Integer(1));
    let message = listener.read().expect("a message");
    assert_eq!(message.elements()[2], Value::bulk("x"), "{message:?}");
    // Who would listen is sent there.
    let moved = client.words(&format!("SSUBSCRIBE {}", scene.key_of(2)));
    assert!(moved.error().starts_with("MOVED "), "{moved:?}");
    // What is about all keys is about the node's.
    let keys: usize = (1..=3).map(|node| scene.client(node).words("KEYS *").elements().len()).sum();
    assert_eq!(keys, 6 * 6);
    assert!(info_number(&mut client, "cluster", "cluster_forwarded_commands") > 40);
    assert_eq!(info_number(&mut client, "cluster", "cluster_forwards_failed"), 0);
}

#[test]
fn a_session_is_the_same_wherever_its_commands_are_carried_out() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::steady();
    let (mut client, key) = (scene.client(1), scene.key_of(2));
    client.ok(&format!("SET {key} zero"));
    client.ok("SELECT 3");
    client.ok(&format!("SET {key} three"));
    client.ok("SELECT 0");
    assert_eq!(client.words(&format!("GET {key}")), Value::bulk("zero"));
    client.ok("SELECT 3");
    assert_eq!(client.words(&format!("GET {key}")), Value::bulk("three"));
    // RESP3, and back.
    assert_eq!(client.words(&format!("HSET {{{key}}}h f v")), Value::Integer(1));
    client.words("HELLO 3");
    let map = Value::Map(vec![(Value::bulk("f"), Value::bulk("v"))]);
    assert_eq!(client.words(&format!("HGETALL {{{key}}}h")), map);
    assert_eq!(client.words(&format!("GET {{{key}}}none")), Value::Null);
    client.words("HELLO 2");
    assert_eq!(client.words(&format!("HGETALL {{{key}}}h")).elements().len(), 2);
    assert_eq!(client.words(&format!("GET {{{key}}}none")), Value::NullBulk);
    for durability in ["sync", "memory", "default"] {
        client.ok(&format!("CLIENT DURABILITY {durability}"));
        client.ok(&format!("SET {key} {durability}"));
    }
    // Replies that nobody wants.
    client.request(&["CLIENT", "REPLY", "OFF"]);
    client.request(&["SET", key, "unseen"]);
    client.ok("CLIENT REPLY ON");
    client.request(&["CLIENT", "REPLY", "SKIP"]);
    client.request(&["APPEND", key, "!"]);
    assert_eq!(client.words(&format!("GET {key}")), Value::bulk("unseen!"));
    client.words("RESET");
    assert_eq!(client.words(&format!("GET {key}")), Value::bulk("zero"));
}

#[test]
fn a_token_stands_for_what_other_nodes_have_carried_out() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::steady();
    let mut client = scene.client(1);
    let nothing = client.words("CLIENT TOKEN").text();
    let mut last = nothing.clone();
    for node in [2, 1, 3, 2] {
        let key = scene.key_of(node);
        for value in 0..50 {
            client.ok(&format!("SET {key} {value}"));
        }
        let token = client.words("CLIENT TOKEN").text();
        assert_ne!(token, last, "node {node} has carried out more");
        for other in [1, 2, 3] {
            client_waits(&mut scene.client(other), &token);
        }
        // It was told, and nothing was written since.
        assert_eq!(client.words("CLIENT TOKEN").text(), token);
        last = token;
    }
    // It is as good as one of who leads.
    let key = scene.key_of(2);
    let mut leader = scene.client(2);
    leader.ok(&format!("SET {key} last"));
    let (by_leader, entries) = (leader.words("CLIENT TOKEN").text(), last.matches('.').count());
    assert_eq!((by_leader.matches('.').count(), entries), (1, 3), "{by_leader} {last}");
    // A follower that reads after that has it all.
    client.ok(&format!("SET {key} newest"));
    client.ok("READONLY");
    assert_eq!(client.words(&format!("GET {key}")), Value::bulk("newest"));
    // Who says nothing more is answered before the end.
    let mut ending = TcpStream::connect(("127.0.0.1", scene.ports[0])).unwrap();
    write!(ending, "SET {key} newer\r\nCLIENT TOKEN\r\n").unwrap();
    ending.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = String::new();
    ending.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("+OK\r\n$") && said.contains("r1:"), "{said:?}");
    // Inside a transaction nobody can be asked.
    let mut client = scene.client(1);
    client.ok(&format!("SET {key} more"));
    client.ok("MULTI");
    assert_eq!(client.words("CLIENT TOKEN"), Value::Simple("QUEUED".into()));
    let refused = client.words("EXEC").elements()[0].clone();
    assert!(refused.error().starts_with("ERR What other nodes have carried out "), "{refused:?}");
}

#[test]
fn what_a_lost_node_could_have_told_is_not_passed_over() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::lively();
    let mut client = scene.client(1);
    client.ok(&format!("SET {} 1", scene.key_of(2)));
    signal("KILL", scene.process(2));
    for command in ["CLIENT TOKEN", "READONLY"] {
        let refused = client.words(command);
        assert!(refused.error().starts_with("ERR There is no token any more "), "{refused:?}");
    }
    // What it writes and reads does not depend on it, wherever that is carried out.
    client.ok(&format!("SET {} 1", scene.key_of(1)));
    client.ok(&format!("SET {} 1", scene.key_of(3)));
    assert!(scene.client(1).words("CLIENT TOKEN").text().starts_with("r1:"));
}

fn client_waits(client: &mut Client, token: &str) {
    client.ok(&format!("CLIENT WAITTOKEN {token} 20000"));
}

#[test]
fn replies_come_in_the_order_of_their_requests() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::steady();
    let mut client = scene.client(1);
    let (rounds, keys) = (300, &scene.keys);
    let mut requests = Vec::new();
    for round in 0..rounds {
        for key in keys {
            requests.extend(encode_words(&format!("INCR {key}")));
            if round % 50 == 7 {
                requests.extend(encode_words(&format!("PING {round}")));
            }
        }
    }
    client.send(requests);
    for round in 0..rounds {
        for key in keys {
            assert_eq!(client.read().unwrap(), Value::Integer(round + 1), "{key}");
            if round % 50 == 7 {
                assert_eq!(client.read().unwrap(), Value::bulk(round.to_string()));
            }
        }
    }
}

#[test]
fn transactions_and_watched_keys() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::steady();
    let mut client = scene.client(1);
    let queued = Value::Simple("QUEUED".into());
    let (a, b) = (scene.keys_of(2)[0], scene.keys_of(2)[1]);
    client.ok("MULTI");
    for request in [format!("SET {a} 1"), format!("INCR {a}"), "PING".into(), format!("INCR {b}")] {
        assert_eq!(client.words(&request), queued, "{request}");
    }
    let results =
        vec![Value::ok(), Value::Integer(2), Value::Simple("PONG".into()), Value::Integer(1)];
    assert_eq!(client.words("EXEC"), Value::Array(results));
    client.ok("MULTI");
    assert_eq!(client.words(&format!("INCR {a}")), queued);
    client.ok("DISCARD");
    assert_eq!(client.words(&format!("GET {a}")), Value::bulk("2"));
    // Keys of two nodes are not changed in one go.
    client.ok("MULTI");
    assert_eq!(client.words(&format!("INCR {a}")), queued);
    assert_eq!(client.words(&format!("INCR {}", scene.key_of(3))), queued);
    assert_eq!(client.words("EXEC"), error(CROSS_SLOT));
    client.ok("MULTI");
    assert_eq!(client.words(&format!("INCR {a}")), queued);
    assert_eq!(client.words("SELECT 1"), queued);
    let refused = client.words("EXEC");
    assert!(refused.error().starts_with("EXECABORT "), "{refused:?}");
    assert_eq!(client.words(&format!("GET {a}")), Value::bulk("2"));

    let mut other = scene.client(3);
    for is_changed in [false, true] {
        client.ok(&format!("WATCH {a}"));
        if is_changed {
            other.ok(&format!("SET {a} other"));
        }
        client.ok("MULTI");
        assert_eq!(client.words(&format!("SET {b} mine")), queued);
        let done = if is_changed { Value::NullArray } else { Value::Array(vec![Value::ok()]) };
        assert_eq!(client.words("EXEC"), done);
    }
    // What is watched no more does not matter.
    for end in ["UNWATCH", "DISCARD"] {
        client.ok(&format!("WATCH {a}"));
        other.ok(&format!("SET {a} other"));
        if end == "DISCARD" {
            client.ok("MULTI");
        }
        client.ok(end);
        client.ok("MULTI");
        assert_eq!(client.words(&format!("SET {a} mine")), queued);
        assert_eq!(client.words("EXEC"), Value::Array(vec![Value::ok()]));
    }
    // Nor can keys here be changed if one there has not been.
    client.ok(&format!("WATCH {a}"));
    client.ok("MULTI");
    assert_eq!(client.words(&format!("SET {} mine", scene.key_of(1))), queued);
    assert_eq!(client.words("EXEC"), error(CROSS_SLOT));
}

#[test]
fn clients_wait_where_their_keys_are_led() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::steady();
    let (mut client, mut other) = (scene.client(1), scene.client(3));
    let key = scene.key_of(2);
    // It is served by whoever pushes, wherever; what it has sent behind waits.
    client.request(&["BLPOP", key, "0"]);
    client.request(&["PING"]);
    let mut there = scene.client(2);
    wait_until("it waits there", || info_number(&mut there, "clients", "blocked_clients") == 1);
    assert!(!client.is_readable_within(Duration::from_millis(50)));
    assert_eq!(other.words(&format!("RPUSH {key} x")), Value::Integer(1));
    assert_eq!(client.read().unwrap(), Value::Array(vec![Value::bulk(key), Value::bulk("x")]));
    assert_eq!(client.read().unwrap(), Value::Simple("PONG".into()));
    // Its time ends.
    assert_eq!(client.words(&format!("BLPOP {key} 0.05")), Value::NullArray);
    // Who goes away is given nothing.
    for ends_politely in [true, false] {
        let mut leaving = scene.client(1);
        leaving.request(&["BLPOP", key, "0"]);
        wait_until("it waits there", || info_number(&mut there, "clients", "blocked_clients") == 1);
        if ends_politely {
            leaving.end_sending();
            leaving.expect_close();
        }
        drop(leaving);
        wait_until("it is gone", || info_number(&mut there, "clients", "blocked_clients") == 0);
    }
    assert_eq!(other.words(&format!("RPUSH {key} y")), Value::Integer(1));
    assert_eq!(client.words(&format!("LLEN {key}")), Value::Integer(1));
}

#[test]
fn long_values_go_both_ways() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::steady();
    let (mut client, key) = (scene.client(1), scene.key_of(2));
    let value: Vec<u8> = (0..20_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    assert_eq!(client.command(&[b"SET", key.as_bytes(), &value]), Value::ok());
    let found = client.command(&["GET", key]);
    assert!(found == Value::Bulk(value.clone()), "the value is another");
    // Many of them, for one who does not read: nothing piles up, and all come.
    (0..20).for_each(|_| client.request(&["GET", key]));
    client.request(&["PING"]);
    let mut here = scene.client(1);
    wait_until("some is under way", || {
        info_number(&mut here, "clients", "client_recent_max_output_buffer") > 0
    });
    let held = info_number(&mut here, "memory", "mem_clients_normal");
    assert!(held < 100_000_000, "{held} bytes are held");
    for _ in 0..20 {
        assert!(client.read().unwrap() == Value::Bulk(value.clone()), "the value is another");
    }
    assert_eq!(client.read().unwrap(), Value::Simple("PONG".into()));
}

#[test]
fn who_speaks_cluster_is_sent_where_the_keys_are() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::steady();
    let key = scene.key_of(2);
    let moved = scene.client_of_core(1).words(&format!("GET {key}")).error().to_owned();
    let words = format!("MOVED {} 127.0.0.1:", harness::slots::slot(key));
    assert!(moved.starts_with(&words), "{moved}");
    for said in ["CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER NODES", "READONLY", "ASKING"] {
        let mut client = scene.client(1);
        assert_eq!(client.words(&format!("GET {key}")), Value::NullBulk);
        client.words(said);
        assert_eq!(client.words(&format!("SET {key} 1")), error(&moved), "{said}");
    }
    let mut client = scene.client(1);
    client.ok("CONFIG SET cluster-forward no");
    assert_eq!(client.words(&format!("GET {key}")), error(&moved));
    client.ok("CONFIG SET cluster-forward yes");
    assert_eq!(client.words(&format!("GET {key}")), Value::NullBulk);
}

#[test]
fn a_password_counts_where_it_was_given() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::steady();
    for node in 1..=3 {
        scene.client(node).ok(&format!("CONFIG SET requirepass secret{node}"));
    }
    let (mut client, key) = (scene.client(1), scene.key_of(2));
    let no_auth = error("NOAUTH Authentication required.");
    assert_eq!(client.words(&format!("GET {key}")), no_auth);
    client.ok("AUTH secret1");
    client.ok(&format!("SET {key} 1"));
    assert_eq!(client.words(&format!("GET {key}")), Value::bulk("1"));
    // A guest takes no client's place.
    let mut there = scene.client(2);
    there.ok("AUTH secret2");
    wait_until("the client of before is gone", || {
        info_number(&mut there, "clients", "connected_clients") == 1
    });
    assert_eq!(there.words("CLIENT LIST").text().lines().count(), 2);
    there.ok("CONFIG SET maxclients 1");
    let mut another = scene.client(1);
    another.ok("AUTH secret1");
    assert_eq!(another.words(&format!("GET {key}")), Value::bulk("1"));
    there.ok("CONFIG SET maxclients 1000");
    drop((client, another));
    wait_until("the guest leaves with its client", || {
        there.words("CLIENT LIST").text().lines().count() == 1
    });
}

/// Says what node `from` says to have `to` carry out commands of a client, with this secret; answers the connection.
fn be_a_node(nodes: &Nodes, (from, to): (u64, u64), secret: &[u8]) -> Option<Client> {
    let secret = ClusterSecret::new(secret);
    let (me, nonce) = ((NodeId(from), CoreId(0)), [7; 32]);
    let dialing = Dialing::new(&secret, me, NodeId(to), nonce).with_purpose(Purpose::Commands);
    let mut stream = TcpStream::connect(nodes.link_address(index(to) + 1, 0)).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream.write_all(&dialing.hello()).expect("say hello");
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    let mut welcomed = loop {
        match dialing.read(&answer).expect("a welcome") {
            Some(welcomed) => break welcomed,
            None => match stream.read(&mut piece).unwrap_or(0) {
                0 => return None,
                count => answer.extend_from_slice(&piece[..count]),
            },
        }
    };
    let mut frame = Vec::new();
    welcomed.writer.ping();
    welcomed.writer.take(&mut frame);
    // What comes right behind it is not lost.
    frame.extend_from_slice(b"PING\r\n");
    stream.write_all(&frame).expect("be there");
    let mut client = Client::from(stream);
    assert_eq!(client.read().expect("a reply"), Value::Simple("PONG".into()));
    Some(client)
}

/// Who leads the first shard, among nodes that all run.
fn leader_of(nodes: &mut Nodes) -> usize {
    let leads = |nodes: &mut Nodes, id: usize| {
        let fields = info(&mut nodes.server(id).client(), "raft");
        fields["shard0"].contains("role=leader")
    };
    wait_until("there is a leader", || (1..=3).any(|id| leads(nodes, id)));
    (1..=3).find(|id| leads(nodes, *id)).expect("it was there")
}

#[test]
fn only_nodes_bring_commands_and_none_goes_farther_than_one() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::new(3, 1, &["127.0.0.1"]);
    nodes.start_all();
    let leader = leader_of(&mut nodes);
    let other = leader % 3 + 1;
    // One that has come later: who has the number of one that is there is not heard.
    let (from, to) = (9, other as u64);
    nodes.server(other).client().ok("CONFIG SET requirepass secret");
    let mut guest = be_a_node(&nodes, (from, to), SECRET).expect("it is a node");
    let reply = guest.words("SET key 1");
    assert!(reply.error().starts_with("MOVED "), "{reply:?}");
    // The password is not asked for; and the guest is a client like others.
    let listed = guest.words("CLIENT LIST").text();
    assert!(listed.contains("name=node-9 "), "{listed}");
    assert!(be_a_node(&nodes, (from, to), b"another secret of thirty-two bytes").is_none());
    guest.send("*1\r\nx\r\n");
    assert!(guest.read().unwrap().error().starts_with("ERR Protocol error"));
    guest.expect_close();
}

#[test]
fn a_client_goes_on_through_a_failover() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::lively();
    let (mut client, key) = (scene.client(1), scene.key_of(2));
    client.ok(&format!("SET {key} 1"));
    let mut waiting = scene.client(1);
    waiting.request(&["BLPOP", &format!("{{{key}}}list"), "0"]);
    let mut there = scene.client(2);
    wait_until("it waits there", || info_number(&mut there, "clients", "blocked_clients") == 1);
    let mut watching = scene.client(1);
    watching.ok(&format!("WATCH {key}"));
    signal("KILL", scene.process(2));
    // Who waits is told, and at once.
    let told = waiting.read_within(Duration::from_secs(10)).expect("an answer");
    assert!(told.error().contains("is not known"), "{told:?}");
    wait_for_reply(&mut client, &format!("GET {key}"), &Value::bulk("1"));
    wait_for_reply(&mut client, &format!("SET {key} 2"), &Value::ok());
    assert_eq!(waiting.words(&format!("GET {key}")), Value::bulk("2"));
    // Nobody can say any more whether what was watched has changed.
    for reply in [Value::NullArray, Value::Array(vec![Value::ok()])] {
        watching.ok("MULTI");
        assert_eq!(watching.words(&format!("SET {key} 3")), Value::Simple("QUEUED".into()));
        assert_eq!(watching.words("EXEC"), reply);
    }
}

/// A command that meets an election waits for its end, and is carried out.
#[test]
fn an_election_is_waited_for_but_not_for_long() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::new(3, 1, &["127.0.0.1"]).flag("--election-timeout-ms", "1500");
    nodes.start_all();
    let leader = leader_of(&mut nodes);
    let other = leader % 3 + 1;
    let last = other % 3 + 1;
    let mut clients: Vec<Client> = (0..3).map(|_| nodes.server(other).client()).collect();
    for client in &mut clients {
        client.ok("SET key 0");
    }
    nodes.take(leader).kill();
    // What goes to it before its end is seen is lost.
    let mut here = nodes.server(other).client();
    wait_until("its end is seen", || {
        info_number(&mut here, "cluster", "cluster_forward_connections") == 0
            && info(&mut here, "raft")[&format!("member{leader}")].contains("up=0")
    });
    clients[0].request(&["INCR", "key"]);
    clients[0].request(&["PING"]);
    clients[1]
        .send([encode_words("MULTI"), encode_words("GET other"), encode_words("EXEC")].concat());
    clients[2].request(&["WATCH", "key"]);
    assert_eq!(clients[0].read().expect("a reply"), Value::Integer(1));
    assert_eq!(clients[0].read().expect("a reply"), Value::Simple("PONG".into()));
    for reply in [Value::ok(), Value::Simple("QUEUED".into()), Value::Array(vec![Value::NullBulk])]
    {
        assert_eq!(clients[1].read().expect("a reply"), reply);
    }
    assert_eq!(clients[2].read().expect("a reply"), Value::ok());
    // Where there can be no leader that is said in the end, and then at once.
    nodes.take(last).kill();
    let down = error("CLUSTERDOWN Hash slot not served");
    wait_until("it sees that nobody leads", || {
        info(&mut here, "raft")["shard0"].contains(",leader=0,")
    });
    let mut client = nodes.server(other).client();
    assert_eq!(client.words("GET key"), down);
    let begun = Instant::now();
    assert_eq!(client.words("GET key"), down);
    assert!(begun.elapsed() < Duration::from_secs(1));
    client.ok("MULTI");
    assert_eq!(client.words("GET key"), Value::Simple("QUEUED".into()));
    assert_eq!(client.words("EXEC"), down);
}

#[test]
fn a_leader_that_stands_still_is_waited_for_no_longer_than_it_leads() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::lively();
    let (mut client, key) = (scene.client(1), scene.key_of(2).to_owned());
    client.ok(&format!("SET {key} 1"));
    signal("STOP", scene.process(2));
    client.request(&["SET", &key, "2"]);
    let begun = Instant::now();
    let told = client.read().expect("an answer");
    signal("CONT", scene.process(2));
    assert!(told.error().starts_with("CLUSTERDOWN "), "{told:?} after {:?}", begun.elapsed());
    // Two election timeouts at most until another leads, and one until it is taken for lost: on a busy machine more.
    assert!(begun.elapsed() < Duration::from_secs(10));
    wait_until("it is led anew", || client.words(&format!("SET {key} 3")) == Value::ok());
    assert_eq!(client.words(&format!("GET {key}")), Value::bulk("3"));
}

/// Who sends more than can be carried out waits, and what waits for him stays small.
#[test]
fn nothing_piles_up_before_a_slow_leader() {
    if skip_on_other_server() {
        return;
    }
    const REQUESTS: usize = 4000;
    let scene = Scene::lively();
    let (mut client, key) = (scene.client(1), scene.key_of(2).to_owned());
    let mut sender = Client::from(client.stream().try_clone().expect("another handle"));
    signal("STOP", scene.process(2));
    let sending = std::thread::spawn(move || {
        let value = [b'v'; 10_000];
        let request = encode(&[b"SET", key.as_bytes(), &value]);
        // It may be disconnected.
        (0..REQUESTS).all(|_| sender.try_send(&request).is_ok())
    });
    let mut here = scene.client(1);
    let mut held = 0;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) {
        held = held.max(info_number(&mut here, "memory", "mem_clients_normal"));
        std::thread::sleep(Duration::from_millis(20));
    }
    signal("CONT", scene.process(2));
    for _ in 0..REQUESTS {
        match client.read().expect("every command is answered") {
            Value::Error(text) => {
                assert!(text.starts_with("CLUSTERDOWN ") || text.starts_with("MOVED "), "{text}");
                if text.ends_with("Closing the connection.") {
                    break;
                }
            }
            reply => assert_eq!(reply, Value::ok()),
        }
    }
    drop(client);
    sending.join().expect("all is sent, or it can't be");
    assert!(held < 8_000_000, "{held} bytes were held");
}

/// Every command of a pipeline is answered once, whatever happens to the leaders meanwhile; and those for one key are
/// carried out in order, each once at most.
#[test]
fn pipelines_keep_their_order_while_leaders_change() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::lively();
    let mut client = scene.client(1);
    let stopped = scene.process(2);
    let stopper = std::thread::spawn(move || {
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(700));
            signal("STOP", stopped);
            std::thread::sleep(Duration::from_millis(1200));
            signal("CONT", stopped);
        }
    });
    let mut last = vec![0; scene.keys.len()];
    let mut answered = 0;
    while !stopper.is_finished() {
        const DEPTH: usize = 20;
        for _ in 0..DEPTH {
            scene.keys.iter().for_each(|key| client.request(&["INCR", key]));
        }
        'replies: for _ in 0..DEPTH {
            for (key, last) in scene.keys.iter().zip(&mut last) {
                match client.read().expect("every command is answered") {
                    Value::Integer(count) => {
                        assert!(count > *last, "{key}: {count} behind {last}");
                        *last = count;
                        answered += 1;
                    }
                    // It may have been carried out, and those behind it.
                    Value::Error(text) if text.ends_with("Closing the connection.") => {
                        client = scene.client(1);
                        break 'replies;
                    }
                    // It may have been carried out.
                    Value::Error(text) => assert!(
                        text.starts_with("CLUSTERDOWN ") || text.starts_with("MOVED "),
                        "{text}"
                    ),
                    other => panic!("{key}: {other:?}"),
                }
            }
        }
    }
    stopper.join().expect("it ends");
    assert!(answered > 1000, "only {answered} commands were answered");
}

#[test]
fn redis_benchmark_runs_through() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::steady();
    let port = scene.ports[2].to_string();
    // Without random keys MSET names one key ten times; with them, keys of several nodes.
    for tests in [["-t", "set,get,lpush,incr", "-r", "1000"], ["-t", "mset,sadd", "-P", "16"]] {
        let shape = ["-p", &port, "-n", "20000", "-P", "16", "-q"];
        let output = Command::new("redis-benchmark").args(shape).args(tests).output();
        let Ok(output) = output else { return eprintln!("redis-benchmark is not installed") };
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !said.contains("rror"), "{said}");
        assert!(said.contains("requests per second"), "{said}");
    }
}

#[test]
fn an_ordinary_client_library_needs_no_more() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::steady();
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/", scene.ports[0]));
    let mut connection = client.and_then(|client| client.get_connection()).expect("connect");
    for key in &scene.keys {
        let mut pipe = redis::pipe();
        pipe.atomic().set(key, 1).incr(key, 4).get(key);
        let (ok, five, got): (String, i64, i64) = pipe.query(&mut connection).expect("a result");
        assert_eq!((ok.as_str(), five, got), ("OK", 5, 5));
    }
    let mut pipe = redis::pipe();
    for key in &scene.keys {
        pipe.get(key);
    }
    let found: Vec<i64> = pipe.query(&mut connection).expect("results");
    assert_eq!(found, vec![5; scene.keys.len()]);
}
