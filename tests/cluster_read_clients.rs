//! Clients that know Redis Cluster, and the library's own, read from followers.

mod harness;

use std::process::Command;
use std::time::{Duration, Instant};

use harness::client::info_number;
use harness::server::skip_on_other_server;
use harness::topology::connect;
use harness::trial::{Trial, Welcome, signal};
use harness::{skip, wait_until};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_read_routing::RandomReplicaStrategy;
use redis::{RedisResult, cmd};
use ringmain::client::{Client, Session};

/// Reads that followers have answered, on all nodes.
fn follower_reads(welcome: &Welcome) -> u64 {
    let reads = |port| info_number(&mut connect(port), "ringmain", "follower_reads");
    welcome.nodes.iter().map(|(port, _)| reads(*port)).sum()
}

fn start() -> (Trial, Welcome) {
    Trial::start(&["--nodes", "3", "--cores-per-node", "2", "--shards", "4"])
}

/// redis-py takes part where it is on the machine (`pip install redis`).
#[test]
fn redis_py_reads_from_replicas() {
    let there = harness::output_of(Command::new("python3").args(["-c", "import redis.cluster"]));
    if skip_on_other_server() || !there.is_ok_and(|output| output.status.success()) {
        return skip("it takes redis-py");
    }
    let (_trial, welcome) = start();
    let program = r#"
import sys, time
from redis.cluster import RedisCluster
client = RedisCluster(host="127.0.0.1", port=int(sys.argv[1]), read_from_replicas=True)
for n in range(60):
    assert client.set(f"key-{n}", n)
time.sleep(1.1)
# The bound is over: whoever answers has all of it.
for _ in range(3):
    assert [int(client.get(f"key-{n}")) for n in range(60)] == list(range(60))
assert client.incr("key-7") == 8
print("done")
"#;
    let mut command = Command::new("python3");
    let output = harness::output_of(command.args(["-c", program, &welcome.nodes[0].0.to_string()]));
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.ends_with("done\n"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(follower_reads(&welcome) > 30, "{}", follower_reads(&welcome));
}

#[test]
fn the_redis_crate_reads_from_replicas() -> RedisResult<()> {
    if skip_on_other_server() {
        return Ok(());
    }
    let (_trial, welcome) = start();
    let address = format!("redis://127.0.0.1:{}/", welcome.nodes[0].0);
    let client = ClusterClientBuilder::new([address])
        .read_routing_strategy(RandomReplicaStrategy)
        .build()?;
    let mut connection = client.get_connection()?;
    for n in 0..60 {
        let () = cmd("SET").arg(format!("key-{n}")).arg(n).query(&mut connection)?;
    }
    for n in 0..60 {
        let key = format!("key-{n}");
        wait_until("it is what was written", || {
            let value: RedisResult<Option<u32>> = cmd("GET").arg(&key).query(&mut connection);
            value.is_ok_and(|value| value == Some(n))
        });
    }
    assert!(follower_reads(&welcome) > 10, "{}", follower_reads(&welcome));
    Ok(())
}

/// The library's own, over the binary protocol, with sessions that carry tokens.
#[tokio::test]
async fn the_library_s_client_reads_its_own_writes_from_a_follower() {
    if skip_on_other_server() {
        return;
    }
    let (_trial, welcome) = start();
    let address = |node: usize| format!("127.0.0.1:{}", welcome.nodes[node].0 + 10_000);
    // Connected by one node, it reads from another.
    let builder = Client::builder().timeout(Duration::from_secs(10)).followers([address(2)]);
    let client = builder.connect(&address(0)).await.unwrap();
    let session = Session::new();
    for round in 0..300 {
        let key = format!("key-{}", round % 40);
        client.set(&key, round.to_string()).session(&session).await.unwrap();
        let read = client.get(&key).session(&session).from_follower().await.unwrap();
        assert_eq!(read.unwrap().text(), Some(round.to_string().as_str()));
    }
    let command = client.command(["STRLEN", "key-1"]).key("key-1").read_only().from_follower();
    assert_eq!(command.await.unwrap().integer(), Some(3));
    assert!(client.get("nothing").from_follower().await.unwrap().is_none());
    let activity = client.activity();
    assert!(activity.follower_reads >= 300, "{activity:?}");
    // Those that node 2 leads are no follower's.
    assert!(follower_reads(&welcome) > 100, "{}", follower_reads(&welcome));

    // Where the follower is gone, the leader answers.
    signal("KILL", welcome.nodes[2].1);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        client.set("key-1", "after").session(&session).await.unwrap();
        let read = client.get("key-1").session(&session).from_follower().await.unwrap();
        assert_eq!(read.unwrap().text(), Some("after"));
    }
}
