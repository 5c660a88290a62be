//! All nodes die at once; a node loses all its files.

use std::time::{Duration, Instant};

use crate::RECOVERY;
use crate::alone;
use crate::client::{Follower, Outcome};
use crate::harness::nodes::Nodes;
use crate::harness::random::Random;
use crate::harness::server::skip_on_other_server;
use crate::harness::slots::{keys_over_shards, shard};
use crate::harness::value::Value;
use crate::harness::wait_until;
use crate::network::host;
use crate::random;
use crate::replicas::{leader, wait_until_caught_up, wait_until_equal};
use std::sync::atomic::{AtomicBool, Ordering};

const SHARDS: u16 = 2;

/// Writes that were acknowledged, and when.
type Written = Vec<(String, Instant)>;

/// Writes one key after another until it is told to stop, or nobody answers.
fn write(ports: &[u16], name: usize, random: Random, is_over: &AtomicBool) -> Written {
    let mut follower = Follower::new(ports, SHARDS, random);
    let mut written = Written::new();
    while !is_over.load(Ordering::Relaxed) {
        let key = format!("{name}-{}", written.len());
        match follower.call(shard(&key, SHARDS), &["SET", &key, "kept"]) {
            Outcome::Answered(reply) => {
                assert_eq!(reply, Value::ok());
                written.push((key, Instant::now()));
            }
            Outcome::Refused | Outcome::Unknown => break,
        }
    }
    written
}

/// Kills all nodes under load and starts them again; answers what had been acknowledged and is not there.
fn lost_with_power(durability: &'static str, random: &mut Random) -> Vec<Duration> {
    let mut nodes = Nodes::new(3, SHARDS, &["127.0.0.1"]).durable(durability);
    nodes.start_all();
    wait_until_caught_up(&nodes, RECOVERY);
    let ports: Vec<u16> = (1..=3).map(|id| nodes.port(id)).collect();
    let is_over = AtomicBool::new(false);
    let runs = 2500 + random.below(1000);
    let (written, killed) = std::thread::scope(|scope| {
        let randoms: Vec<Random> = (0..4).map(|_| random.fork()).collect();
        let (ports, is_over) = (&ports, &is_over);
        let writers: Vec<_> = (0..4)
            .zip(randoms)
            .map(|(name, random)| scope.spawn(move || write(ports, name, random, is_over)))
            .collect();
        std::thread::sleep(Duration::from_millis(runs));
        let killed = Instant::now();
        (1..=3).for_each(|id| nodes.server(id).signal("KILL"));
        (1..=3).for_each(|id| nodes.server(id).kill());
        is_over.store(true, Ordering::Relaxed);
        let written: Vec<_> = writers.into_iter().flat_map(|it| it.join().unwrap()).collect();
        (written, killed)
    });
    nodes.start_all();
    wait_until_equal(&nodes, RECOVERY);
    println!("{durability}: {} writes acknowledged before all died", written.len());
    assert!(written.len() > 100);
    let mut follower = Follower::new(&ports, SHARDS, random.fork());
    let lost = written.iter().filter(|(key, _)| {
        let value = follower.insist(shard(key, SHARDS), &["GET", key], RECOVERY);
        value != Value::bulk("kept")
    });
    lost.map(|(_, at)| killed.saturating_duration_since(*at)).collect()
}

#[test]
fn all_nodes_die_at_once_and_what_was_to_be_on_disk_is_there() {
    if skip_on_other_server() {
        return;
    }
    let _alone = alone();
    let mut random = random();
    assert_eq!(lost_with_power("sync", &mut random), []);
    // What is not a second old may be on its way.
    let lost = lost_with_power("async", &mut random);
    println!("async: {} writes lost, the oldest {:?} old", lost.len(), lost.iter().max());
    assert!(lost.iter().all(|age| *age < Duration::from_millis(1200)), "{:?}", lost.iter().max());
}

/// More than a replica keeps in memory for others.
const VALUES: usize = 80;
const VALUE_BYTES: usize = 256 * 1024;

#[test]
fn a_node_that_lost_its_files_gets_all_from_the_others() {
    if skip_on_other_server() {
        return;
    }
    let _alone = alone();
    let mut random = random();
    // A shard for each node: each leads the one of its number, once it can.
    let shards = 3;
    let mut nodes = Nodes::reached_by(3, shards, |_, _| host(1, 1));
    nodes.start_all();
    wait_until_caught_up(&nodes, RECOVERY);
    wait_until("node 3 leads a shard", || leader(&nodes, &[3], 2) == Some(3));
    let keys: Vec<String> = keys_over_shards("key", shards, 3 * VALUES);
    let keys: Vec<&String> = keys.iter().filter(|key| shard(key, shards) == 2).collect();
    let ports: Vec<u16> = (1..=3).map(|id| nodes.port(id)).collect();
    let mut follower = Follower::new(&ports, shards, random.fork());
    let value = |turn: usize| format!("{turn:08}").repeat(VALUE_BYTES / 8);
    for (turn, key) in keys.iter().enumerate() {
        // In part before it goes, in part while it is not there.
        if turn == VALUES / 4 {
            nodes.lose_files(3);
        }
        let reply = follower.insist(2, &["SET", key, &value(turn)], RECOVERY);
        assert_eq!(reply, Value::ok());
    }
    nodes.start(3);
    // It leads again once it has kept up for some time.
    let took = wait_until_caught_up(&nodes, RECOVERY);
    println!("caught up {took:?} after");
    wait_until("node 3 leads its shard again", || leader(&nodes, &[3], 2) == Some(3));
    let mut client = nodes.server(3).client();
    assert_eq!(client.words("DBSIZE"), Value::Integer(i64::try_from(VALUES).unwrap()));
    for (turn, key) in keys.iter().enumerate() {
        let found = client.command(&["GET", key]);
        assert!(found == Value::bulk(value(turn)), "{key} is another");
    }
}
