//! Clients that know Redis Cluster, and the library's own, read from followers.

mod harness;

use std::process::Command;

use harness::client::info_number;
use harness::server::skip_on_other_server;
use harness::topology::connect;
use harness::trial::{Trial, Welcome};
use harness::{skip, wait_until};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_read_routing::RandomReplicaStrategy;
use redis::{RedisResult, cmd};

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
