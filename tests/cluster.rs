//! Clients that know Redis Cluster find the core that owns a key, and the server proves it: `CLUSTER`
//! answers that agree with one another, a port per core, `MOVED` and `CROSSSLOT`, and counters that show
//! that no request was passed on.

mod harness;

use harness::client::{Client, info_number, scan};
use harness::server::{Launch, Server, is_other_server, skip_on_other_server};
use harness::slots::{keys_over_shards, slot};
use harness::topology::{check_no_hops, check_topology, connect, hops, port_of, ranges_of_slots};
use harness::value::Value;
use redis::cluster::ClusterClient;

const SHARDS: u16 = 4;

#[test]
fn all_answers_about_the_topology_agree() {
    let server = Launch::shards(SHARDS).cluster().start();
    let expected = check_topology(&mut server.client());
    let in_resp3 = check_topology(&mut server.client_resp3());
    assert_eq!(in_resp3, expected);
    for range in &expected {
        let port = u16::try_from(range.port).expect("a port");
        let mut client = connect(port);
        assert_eq!(check_topology(&mut client), expected, "as told on port {port}");
        // A core names itself.
        assert_eq!(client.words("CLUSTER MYID").text(), range.id);
        let nodes = client.words("CLUSTER NODES").text();
        let own = nodes.lines().find(|line| line.contains("myself")).expect("a line of its own");
        assert!(own.starts_with(&range.id), "{own}");
    }
    let info = server.client().words("CLUSTER INFO").text();
    for line in ["cluster_state:ok", "cluster_slots_assigned:16384", "cluster_slots_ok:16384"] {
        assert!(info.contains(line), "{info}");
    }
}

#[test]
fn slots_of_keys() {
    let server = Launch::shards(SHARDS).cluster().start();
    let mut client = server.client();
    for key in ["", "foo", "somekey", "foo{hash_tag}", "foo{}{bar}", "foo{{bar}}zap", "{a}{b}", "{"]
    {
        let reply = client.command(&["CLUSTER", "KEYSLOT", key]);
        assert_eq!(reply, Value::Integer(slot(key).into()), "{key}");
    }
    assert_eq!(client.words("CLUSTER KEYSLOT foo"), Value::Integer(12_182));
}

#[test]
fn keys_in_slots() {
    let launch = Launch::shards(SHARDS);
    // Redis has slots in cluster mode only, and nobody there to ask for another's.
    let server = if is_other_server() { launch.cluster() } else { launch.core_ports() }.start();
    let mut client = server.client();
    let keys = keys_over_shards("key", SHARDS, 40);
    for key in &keys {
        client.ok(&format!("SET {key} v"));
        client.ok(&format!("SET {key}{{{key}}} v"));
    }
    for key in &keys {
        let number = slot(key);
        let of_slot = keys.iter().filter(|key| slot(key) == number).count() * 2;
        let count = client.words(&format!("CLUSTER COUNTKEYSINSLOT {number}"));
        assert_eq!(count, Value::Integer(i64::try_from(of_slot).expect("few")));
        let listed = client.words(&format!("CLUSTER GETKEYSINSLOT {number} 100"));
        assert_eq!(listed.elements().len(), of_slot, "{listed:?}");
        assert!(listed.elements().contains(&Value::bulk(key)), "{listed:?}");
        let one = client.words(&format!("CLUSTER GETKEYSINSLOT {number} 1"));
        assert_eq!(one.elements().len(), 1);
        let none = client.words(&format!("CLUSTER GETKEYSINSLOT {number} 0"));
        assert_eq!(none.elements().len(), 0);
    }
    for (request, expected) in [
        ("COUNTKEYSINSLOT -1", "ERR Invalid slot"),
        ("COUNTKEYSINSLOT 16384", "ERR Invalid slot"),
        ("COUNTKEYSINSLOT x", "ERR value is not an integer or out of range"),
        ("GETKEYSINSLOT 16384 1", "ERR Invalid slot or number of keys"),
        ("GETKEYSINSLOT 1 -1", "ERR Invalid slot or number of keys"),
        ("GETKEYSINSLOT x 1", "ERR value is not an integer or out of range"),
        ("GETKEYSINSLOT 1 x", "ERR value is not an integer or out of range"),
        ("KEYSLOT", "ERR wrong number of arguments for 'cluster|keyslot' command"),
        ("MYID x", "ERR wrong number of arguments for 'cluster|myid' command"),
        ("FOO", "ERR unknown subcommand 'FOO'. Try CLUSTER HELP."),
    ] {
        assert_eq!(client.words(&format!("CLUSTER {request}")).error(), expected, "{request}");
    }
}

#[test]
fn what_cluster_mode_forbids() {
    let server = Launch::shards(SHARDS).cluster().start();
    let crossed = "CROSSSLOT Keys in request don't hash to the same slot";
    let mut client = server.client();
    let mut answers = |requests: &[(&str, &str)]| {
        for (request, expected) in requests {
            assert_eq!(client.words(request).error(), *expected, "{request}");
        }
    };
    answers(&[
        ("MGET a b", crossed),
        ("MSET a 1 b 2", crossed),
        ("MSETNX a 1 b 2", crossed),
        ("DEL a b c", crossed),
        ("UNLINK a b", crossed),
        ("EXISTS a b", crossed),
        ("TOUCH a b", crossed),
        ("RENAME a b", crossed),
        ("RENAMENX a b", crossed),
        ("COPY a b", crossed),
        ("BITOP AND a b c", crossed),
        ("LCS a b", crossed),
        ("SELECT 1", "ERR SELECT is not allowed in cluster mode"),
        ("SWAPDB 0 1", "ERR SWAPDB is not allowed in cluster mode"),
        ("MOVE a 1", "ERR MOVE is not allowed in cluster mode"),
        ("COPY a a DB 1", "ERR Copying to another database is not allowed in cluster mode"),
    ]);
    assert_eq!(client.words("MSET {a}1 x {a}2 y"), Value::ok());
    assert_eq!(client.words("EXISTS {a}1 {a}2 a"), Value::Integer(2));
    client.ok("SELECT 0");
    let info = client.words("INFO").text();
    assert!(info.contains("cluster_enabled:1") && info.contains("redis_mode:cluster"), "{info}");
}

#[test]
fn a_key_on_the_wrong_port_is_moved() {
    let server = Launch::shards(SHARDS).cluster().start();
    if skip_on_other_server() {
        return;
    }
    let ranges = ranges_of_slots(&mut server.client());
    let ports: Vec<u16> =
        ranges.iter().map(|range| u16::try_from(range.port).expect("a port")).collect();
    let keys = keys_over_shards("key", SHARDS, 20);
    for key in &keys {
        let home = port_of(&ranges, key);
        for &port in &ports {
            let mut client = connect(port);
            let reply = client.words(&format!("SET {key} {port}"));
            if port == home {
                assert_eq!(reply, Value::ok());
                continue;
            }
            let moved = format!("MOVED {} 127.0.0.1:{home}", slot(key));
            assert_eq!(reply.error(), moved);
            assert_eq!(client.words(&format!("GET {key}")).error(), moved);
            assert_eq!(client.words(&format!("MGET {key} {key}")).error(), moved);
            assert_eq!(client.words(&format!("OBJECT ENCODING {key}")).error(), moved);
            // What has no key is served everywhere.
            assert_eq!(client.words("PING"), Value::Simple("PONG".into()));
        }
    }
    // They are counted, each: four a key and wrong port.
    let [.., (name, moved)] = hops(&mut server.client());
    assert_eq!(moved, 4 * 20 * (ports.len() as u64 - 1), "{name}");
    // A tag brings keys together.
    let tag = &keys[0];
    let mut client = connect(port_of(&ranges, tag));
    client.ok(&format!("MSET {{{tag}}}a 1 {{{tag}}}b 2"));
    let both = client.words(&format!("MGET {{{tag}}}a {{{tag}}}b"));
    assert_eq!(both, Value::Array(vec![Value::bulk("1"), Value::bulk("2")]));
}

/// Without `--cluster-enabled` a core's port serves all keys, and so does the common one.
#[test]
fn every_port_serves_every_key_outside_of_cluster_mode() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(SHARDS).core_ports().start();
    let ranges = check_topology(&mut server.client());
    let keys = keys_over_shards("key", SHARDS, 20);
    for range in &ranges {
        let mut client = connect(u16::try_from(range.port).expect("a port"));
        for key in &keys {
            client.ok(&format!("SET {key} {}", range.port));
        }
        let mut other = server.client();
        for key in &keys {
            let value = other.words(&format!("GET {key}"));
            assert_eq!(value, Value::bulk(range.port.to_string()));
        }
        assert_eq!(client.words("MGET a b c").elements().len(), 3);
    }
    assert_eq!(server.client().words("DBSIZE"), Value::Integer(20));
}

/// Clients that ask every node and put the answers together get each key once.
#[test]
fn a_core_s_port_covers_the_core_s_keys_alone() {
    if skip_on_other_server() {
        return;
    }
    for launch in [Launch::shards(SHARDS).core_ports(), Launch::shards(SHARDS).cluster()] {
        let server = launch.start();
        let mut common = server.client();
        let ranges = ranges_of_slots(&mut common);
        let mut keys: Vec<String> = (0..300).map(|index| format!("key{index}")).collect();
        for key in &keys {
            common.ok(&format!("SET {key} v"));
        }
        keys.sort();
        let mut cores: Vec<Client> = ranges
            .iter()
            .map(|range| connect(u16::try_from(range.port).expect("a port")))
            .collect();
        let (mut counted, mut named, mut walked, mut told) = (0, Vec::new(), Vec::new(), 0);
        for (core, range) in cores.iter_mut().zip(&ranges) {
            counted += core.words("DBSIZE").integer();
            named.extend(core.words("KEYS *").elements().iter().map(Value::text));
            walked.extend(scan(core, "COUNT 7"));
            let random = core.words("RANDOMKEY").text();
            assert_eq!(port_of(&ranges, &random), u16::try_from(range.port).expect("a port"));
            told += keys_of_info(core);
        }
        named.sort();
        walked.sort();
        assert_eq!((counted, told), (300, 300));
        assert_eq!(named, keys);
        assert_eq!(walked, keys);
        // The common port covers all.
        assert_eq!(common.words("DBSIZE"), Value::Integer(300));
        assert_eq!(keys_of_info(&mut common), 300);
        assert_eq!(scan(&mut common, "COUNT 50").len(), 300);
        // One core is emptied, then all of them.
        let first = cores[0].words("DBSIZE").integer();
        cores[0].ok("FLUSHDB");
        assert_eq!(common.words("DBSIZE"), Value::Integer(300 - first));
        cores.iter_mut().for_each(|core| core.ok("FLUSHALL"));
        assert_eq!(common.words("DBSIZE"), Value::Integer(0));
    }
}

/// The keys that `INFO keyspace` tells of.
fn keys_of_info(client: &mut Client) -> i64 {
    let text = client.words("INFO keyspace").text();
    let number = text.lines().find_map(|line| line.strip_prefix("db0:keys=")?.split(',').next());
    number.map_or(0, |number| number.parse().expect("a number"))
}

fn cluster_connection(server: &Server) -> redis::cluster::ClusterConnection {
    let nodes = vec![format!("redis://127.0.0.1:{}/", server.port())];
    let client = ClusterClient::new(nodes).expect("a cluster client");
    client.get_connection().expect("a connection to the cluster")
}

/// A cluster client asks the core that owns a key, so that no batch is run for another core.
#[test]
fn a_cluster_client_needs_no_hop() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(SHARDS).core_ports().start();
    let mut connection = cluster_connection(&server);
    for index in 0..2_000 {
        let key = format!("key{index}");
        let () = redis::cmd("SET").arg(&key).arg(index).query(&mut connection).expect("SET");
        let got: i64 = redis::cmd("GET").arg(&key).query(&mut connection).expect("GET");
        assert_eq!(got, index);
    }
    check_no_hops(&server, 4_000);
    // The same through the common port does take hops, which shows that they are counted.
    let mut common = server.client();
    for index in 0..200 {
        common.ok(&format!("SET key{index} v"));
    }
    let [borrowed, by_message, ..] = hops(&mut common);
    if info_number(&mut common, "ringmain", "cores") > 1 {
        assert!(borrowed.1 + by_message.1 > 0, "{borrowed:?} {by_message:?}");
    }
}

/// Each way to another core's shard is counted by its name: it is borrowed where it is free, and asked of its
/// owner, who is woken up, where a command takes long.
#[test]
fn every_way_to_another_core_is_counted() {
    const VALUE_BYTES: usize = 200_000;
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(SHARDS).core_ports().start();
    let mut watcher = server.client();
    let cores = info_number(&mut watcher, "ringmain", "cores");
    if cores < 2 {
        return harness::skip("there is one core");
    }
    let mut client = Client::connect(server.core_address(0));
    let mut counts =
        |names: [&str; 3]| names.map(|name| info_number(&mut watcher, "ringmain", name));
    let names = ["batches_borrowed", "batches_by_message", "wake_ups"];
    // The last slot's shard is the last core's.
    let far = (0..).map(|n| format!("key{n}")).find(|key| slot(key) > 16_000).expect("a key");
    let before = counts(names);
    for _ in 0..20 {
        assert_eq!(client.words(&format!("GET {far}")), Value::NullBulk);
    }
    let borrowed = counts(names);
    assert!(borrowed[0] > before[0], "{before:?} {borrowed:?}");
    assert_eq!(client.command(&["SET", &far, &"v".repeat(VALUE_BYTES)]), Value::ok());
    let before = counts(names);
    for _ in 0..20 {
        let bits = i64::from(b'v'.count_ones()) * i64::try_from(VALUE_BYTES).expect("short");
        assert_eq!(client.words(&format!("BITCOUNT {far}")), Value::Integer(bits));
    }
    let asked = counts(names);
    assert!(asked[1] >= before[1] + 20 && asked[2] > before[2], "{before:?} {asked:?}");
}

#[test]
fn the_redis_crate_s_cluster_client() {
    let server = Launch::shards(SHARDS).cluster().start();
    let mut connection = cluster_connection(&server);
    for index in 0..500 {
        let key = format!("key{index}");
        let () = redis::cmd("SET").arg(&key).arg(index).query(&mut connection).expect("SET");
    }
    for index in 0..500 {
        let got: i64 =
            redis::cmd("GET").arg(format!("key{index}")).query(&mut connection).expect("GET");
        assert_eq!(got, index);
    }
    let both: Vec<i64> = redis::cmd("MGET")
        .arg("{key1}")
        .arg("key1")
        .query::<Vec<Option<i64>>>(&mut connection)
        .expect("MGET in one slot")
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(both, [1]);
    let mut pipe = redis::cluster::cluster_pipe();
    for index in 0..100 {
        pipe.cmd("INCR").arg(format!("key{index}"));
    }
    let counted: Vec<i64> = pipe.query(&mut connection).expect("a pipeline over the cluster");
    assert_eq!(counted, (1..=100).collect::<Vec<i64>>());
    check_no_hops(&server, 1_000);
}
