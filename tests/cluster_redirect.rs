//! Where a node of a cluster sends clients, as they see it in bytes: `MOVED`, `CROSSSLOT`, `CLUSTERDOWN`, `UNBLOCKED`.

mod harness;

use harness::client::{Client, encode_words, info, scan, wait_for_reply};
use harness::server::skip_on_other_server;
use harness::slots::{keys_over_shards, slot};
use harness::topology::{connect, leaders_of};
use harness::trial::{Trial, Welcome, signal};
use harness::value::Value;
use harness::wait_until;

const SHARDS: u16 = 6;

fn start() -> (Trial, Welcome) {
    Trial::start(&["--nodes", "3", "--shards", "6"])
}

/// A client that nodes know to speak cluster.
fn connect_to(port: u16) -> Client {
    let mut client = connect(port);
    client.ok("READWRITE");
    client
}

/// Where a node stands among the nodes.
fn index(node: u64) -> usize {
    usize::try_from(node - 1).expect("few nodes")
}

/// A key in each shard, the leader of each, and a client of the node that leads the first.
struct Scene {
    keys: Vec<String>,
    leaders: Vec<u64>,
    client: Client,
    /// Port of the core of each node.
    core_ports: Vec<u16>,
}

impl Scene {
    fn new(welcome: &Welcome) -> Self {
        let mut client = connect(welcome.nodes[0].0);
        // Where a node starts slowly others lead first, and hand over to those who should.
        let settled: Vec<u64> = (0..u64::from(SHARDS)).map(|shard| shard % 3 + 1).collect();
        wait_until("every node leads what it should", || {
            leaders_of(SHARDS, &mut client) == settled
        });
        let leaders = leaders_of(SHARDS, &mut client);
        let (first, _) = welcome.nodes[index(leaders[0])];
        let core_ports = welcome.nodes.iter().map(|(port, _)| port + 10_000).collect();
        let keys = keys_over_shards("key", SHARDS, usize::from(SHARDS));
        Self { keys, leaders, client: connect_to(first), core_ports }
    }

    /// Keys of shards that the client's node leads, or of those that it does not.
    fn keys(&self, are_here: bool) -> Vec<String> {
        let keys = self.keys.iter().zip(&self.leaders);
        let wanted = keys.filter(|(_, leader)| (**leader == self.leaders[0]) == are_here);
        wanted.map(|(key, _)| key.clone()).collect()
    }

    fn moved(&self, key: &str) -> String {
        let shard = self.keys.iter().position(|other| other == key).expect("a key of a shard");
        let port = self.core_ports[index(self.leaders[shard])];
        format!("MOVED {} 127.0.0.1:{port}", slot(key))
    }
}

#[track_caller]
fn check(client: &mut Client, request: &str, error: &str) {
    assert_eq!(client.words(request), Value::Error(error.into()), "{request}");
}

#[test]
fn a_node_serves_what_it_leads_and_sends_clients_elsewhere_for_the_rest() {
    if skip_on_other_server() {
        return;
    }
    let (_trial, welcome) = start();
    let mut scene = Scene::new(&welcome);
    let (here, there) = (scene.keys(true), scene.keys(false));
    assert_eq!((here.len(), there.len()), (2, 4), "leaders are spread: {:?}", scene.leaders);
    let moved: Vec<String> = there.iter().map(|key| scene.moved(key)).collect();
    let client = &mut scene.client;
    const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";

    for key in &here {
        client.ok(&format!("SET {key} 1"));
        assert_eq!(client.words(&format!("GET {key}")), Value::Bulk("1".into()));
    }
    for (key, moved) in there.iter().zip(&moved) {
        for request in ["GET", "TYPE", "DEL", "OBJECT ENCODING", "WATCH", "SSUBSCRIBE"] {
            check(client, &format!("{request} {key}"), moved);
        }
        check(client, &format!("SET {key} 1"), moved);
        check(client, &format!("BLPOP {key} 0"), moved);
    }
    // Several shards at once, if they are all here or all elsewhere.
    client.ok(&format!("MSET {} a {} b", here[0], here[1]));
    let away = &scene.leaders[1];
    let same: Vec<usize> = (0..6).filter(|shard| scene.leaders[*shard] == *away).collect();
    let (a, b) = (&scene.keys[same[0]], &scene.keys[same[1]]);
    let port = scene.core_ports[index(*away)];
    check(client, &format!("MGET {a} {b}"), &format!("MOVED {} 127.0.0.1:{port}", slot(a)));
    check(client, &format!("MSET {} a {} b", here[0], there[0]), CROSS_SLOT);
    check(client, &format!("MGET {} {}", there[0], here[0]), CROSS_SLOT);

    // A pipeline keeps its order, whatever becomes of each.
    let pipeline = [&here[0], &there[0], &here[1], &there[1]];
    pipeline.iter().for_each(|key| client.request(&["STRLEN", key]));
    let replies: Vec<Value> = pipeline.iter().map(|_| client.read().unwrap()).collect();
    let error = |text: &String| Value::Error(text.clone());
    assert_eq!(replies, [Value::Integer(1), error(&moved[0]), Value::Integer(1), error(&moved[1])]);

    // Transactions.
    client.ok("MULTI");
    check(client, &format!("GET {}", there[0]), &moved[0]);
    check(client, "EXEC", "EXECABORT Transaction discarded because of previous errors.");
    client.ok("MULTI");
    for key in &here {
        assert_eq!(client.words(&format!("INCR {{{key}}}x")), Value::Simple("QUEUED".into()));
    }
    assert_eq!(client.words("EXEC"), Value::Array(vec![Value::Integer(1); 2]));
    here.iter().for_each(|key| drop(client.words(&format!("DEL {{{key}}}x"))));

    // Commands over all keys are over those that the node leads.
    for (key, leader) in scene.keys.iter().zip(&scene.leaders) {
        let port = scene.core_ports[index(*leader)];
        connect(port).ok(&format!("SET {key} v"));
    }
    let client = &mut scene.client;
    let mut found = scan(client, "COUNT 10");
    found.sort_unstable();
    let mut expected = here.clone();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(client.words("DBSIZE"), Value::Integer(2));
    client.ok("FLUSHALL");
    assert_eq!(client.words("DBSIZE"), Value::Integer(0));
    let left = connect(scene.core_ports[index(scene.leaders[1])]).words("DBSIZE");
    assert_eq!(left, Value::Integer(2));
}

#[test]
fn a_leader_that_reaches_no_majority_lets_its_clients_know() {
    if skip_on_other_server() {
        return;
    }
    let (_trial, welcome) = start();
    let mut scene = Scene::new(&welcome);
    let key = scene.keys[0].clone();
    scene.client.ok(&format!("SET {key} 1"));
    let own = index(scene.leaders[0]);
    let mut waiting = connect(welcome.nodes[own].0);
    waiting.request(&["BLPOP", &format!("{{{key}}}list"), "0"]);
    let mut listening = connect(welcome.nodes[own].0);
    let channel = format!("{{{key}}}channel");
    assert_eq!(listening.words(&format!("SSUBSCRIBE {channel}")).elements().len(), 3);
    for (index, (_, process)) in welcome.nodes.iter().enumerate() {
        if index != own {
            signal("KILL", *process);
        }
    }
    assert_eq!(
        waiting.read().unwrap(),
        Value::Error(
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)".into()
        )
    );
    let left = listening.read().unwrap();
    assert_eq!(left.elements()[0], Value::Bulk("sunsubscribe".into()), "{left:?}");
    let down = Value::Error("CLUSTERDOWN Hash slot not served".into());
    wait_for_reply(&mut scene.client, &format!("GET {key}"), &down);
    assert_eq!(scene.client.words(&format!("SET {key} 2")), down);
    assert_eq!(scene.client.words("DBSIZE"), Value::Integer(0));
    let state = scene.client.words("CLUSTER INFO").text();
    assert!(state.contains("cluster_state:fail\r\n"), "{state}");
}

/// A set that is so large that it is read in steps, or would be: it has changed, and nobody else has heard of that.
#[test]
fn what_is_read_of_a_large_set_waits_for_a_majority_too() {
    if skip_on_other_server() {
        return;
    }
    let (_trial, welcome) = start();
    let mut scene = Scene::new(&welcome);
    let key = format!("{{{}}}set", scene.keys[0]);
    let own = index(scene.leaders[0]);
    let pad = "x".repeat(2_000);
    let members: Vec<String> = (0..1_000).map(|number| format!("{number}:{pad}")).collect();
    let fill = [&["SADD", &key][..], &members.iter().map(String::as_str).collect::<Vec<_>>()];
    let mut reader = connect(welcome.nodes[own].0);
    assert_eq!(reader.command(&fill.concat()), Value::Integer(1_000));
    assert_eq!(reader.command(&["SMEMBERS", &key]).elements().len(), 1_000);
    for (index, (_, process)) in welcome.nodes.iter().enumerate() {
        if index != own {
            signal("KILL", *process);
        }
    }
    scene.client.request(&["SADD", &key, "new"]);
    reader.request(&["SMEMBERS", &key]);
    // An error, or the connection's end; or all before the change, while nobody else can lead yet.
    if let Ok(Value::Array(read)) = reader.read() {
        assert!(
            !read.contains(&Value::Bulk("new".into())),
            "nobody but the reader will ever see it"
        );
    }
}

#[test]
fn wait_counts_the_nodes_that_have_what_was_written() {
    if skip_on_other_server() {
        return;
    }
    let (_trial, welcome) = start();
    let mut scene = Scene::new(&welcome);
    let (key, client) = (scene.keys[0].clone(), &mut scene.client);
    client.ok(&format!("SET {key} 1"));
    assert_eq!(client.words("WAIT 2 0"), Value::Integer(2));
    let other = (0..3).find(|other| *other != index(scene.leaders[0])).expect("three nodes");
    signal("KILL", welcome.nodes[other].1);
    client.ok(&format!("SET {key} 2"));
    assert_eq!(client.words("WAIT 1 0"), Value::Integer(1), "a majority has it");
    assert_eq!(client.words("WAIT 2 300"), Value::Integer(1));
    // Nothing waits inside a transaction.
    client.ok("MULTI");
    assert_eq!(client.words("WAIT 2 0"), Value::Simple("QUEUED".into()));
    assert_eq!(client.words("EXEC"), Value::Array(vec![Value::Integer(1)]));
}

#[test]
fn logs_are_kept_whatever_the_durability_is() {
    if skip_on_other_server() {
        return;
    }
    let (_trial, welcome) = Trial::start(&["--nodes", "1", "--durability", "memory"]);
    let mut client = connect(welcome.nodes[0].0);
    let is_logged = |client: &mut Client| info(client, "persistence")["aof_enabled"] == "1";
    assert!(is_logged(&mut client));
    for durability in ["sync", "memory", "async", "memory"] {
        client.ok(&format!("CONFIG SET durability {durability}"));
        client.ok("SET key value");
        assert!(is_logged(&mut client), "{durability}");
    }
    client.ok("CLIENT DURABILITY sync");
    client.ok("SET key value");
}

/// An entry carries what a turn has changed, so what a client sends at once is agreed upon at once.
#[test]
fn a_pipeline_is_few_entries_however_many_writes_it_has() {
    if skip_on_other_server() {
        return;
    }
    const WRITES: usize = 100;
    let (_trial, welcome) = start();
    let scene = Scene::new(&welcome);
    let mut client = connect(scene.core_ports[index(scene.leaders[0])]);
    // The last entry, and the last that is applied.
    let entries = |client: &mut Client| -> [u64; 2] {
        let line = info(client, "raft")["shard0"].clone();
        ["last=", "applied="].map(|name| {
            let number = line.split(',').find_map(|field| field.strip_prefix(name)?.parse().ok());
            number.expect("the number of an entry")
        })
    };
    let [before, _] = entries(&mut client);
    let set = |number| encode_words(&format!("SET {{{}}}{number} value", scene.keys[0]));
    client.send((0..WRITES).flat_map(set).collect::<Vec<u8>>());
    (0..WRITES).for_each(|_| assert_eq!(client.read(), Ok(Value::ok())));
    wait_until("all that was written is applied", || {
        let [last, applied] = entries(&mut client);
        last > before && last == applied
    });
    let [after, _] = entries(&mut client);
    assert!(after - before <= 10, "{} entries for {WRITES} writes", after - before);
    assert_eq!(client.words("DBSIZE"), Value::Integer(i64::try_from(WRITES).expect("few")));
}
