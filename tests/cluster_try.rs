//! `ringmain cluster try`: a cluster of real processes, a cluster client that knows nothing of it but a port, a node
//! that is killed under it.

mod harness;

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::cluster_client::Client;
use harness::server::skip_on_other_server;
use harness::trial::{Trial, Welcome, is_there, signal};
use harness::wait_until;
use tokio::runtime::Runtime;

/// How long writes may fail after a node has been killed: an election takes less than a second, a debug build on a
/// busy machine some more.
const FAILOVER: Duration = Duration::from_secs(20);

/// Keys enough for every shard to have some.
fn keys() -> impl Iterator<Item = String> {
    (0..60).map(|number| format!("key-{number}"))
}

#[test]
fn clients_go_on_when_a_node_is_killed() {
    if skip_on_other_server() {
        return;
    }
    let (mut trial, welcome) = Trial::start(&["--nodes", "3"]);
    assert_eq!(welcome.nodes.len(), 3);
    let mut client = Client::new(trial.port);
    for key in keys() {
        client.set(&key, "before").unwrap();
        assert_eq!(client.get(&key).unwrap().as_deref(), Some("before"));
    }
    let status = trial.status(welcome.nodes[1].0);
    assert!(status.starts_with("3 members, 3 shards, all of them led\n"), "{status}");

    let (_, process) = welcome.nodes[0];
    signal("KILL", process);
    let killed = Instant::now();
    assert!(trial.line().starts_with("node 1 was killed by signal 9; the others go on"));
    for key in keys() {
        while let Err(error) = client.set(&key, "after") {
            assert!(killed.elapsed() < FAILOVER, "{key}: {error}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    for key in keys() {
        assert_eq!(client.get(&key).unwrap().as_deref(), Some("after"), "{key}");
    }
    let status = trial.status(welcome.nodes[1].0);
    assert!(status.starts_with("3 members, 3 shards, all of them led\n"), "{status}");
    assert!(status.contains("no answer"), "{status}");

    trial.interrupt();
    end(&mut trial, &welcome);
}

/// A majority is there again once a node was brought back, though it is nobody's process here.
#[test]
fn a_node_that_was_brought_back_counts_when_the_next_ends() {
    if skip_on_other_server() {
        return;
    }
    let (mut trial, welcome) = Trial::start(&["--nodes", "3"]);
    signal("KILL", welcome.nodes[0].1);
    assert!(trial.line().starts_with("node 1 was killed by signal 9; the others go on."));
    let line = trial.line();
    let words: Vec<&str> = line.split_whitespace().collect();
    let [program, "--config", config, "&"] = words[..] else { panic!("{line}") };
    let back = Command::new(program).args(["--config", config]).stderr(Stdio::null()).spawn();
    let mut back = Killed(back.unwrap());
    let address = ("127.0.0.1", welcome.nodes[0].0);
    wait_until("node 1 answers", || TcpStream::connect(address).is_ok());
    wait_until("node 1 is back", || {
        welcome.nodes.iter().all(|(port, _)| {
            let status = trial.status(*port);
            status.contains("all of them led") && !status.contains("no answer")
        })
    });
    // Who leads a shard has all that it had promised, and votes: the other may go.
    for shard in 0..3 {
        trial.transfer(shard, 1);
    }
    signal("KILL", welcome.nodes[1].1);
    let killed = Instant::now();
    assert!(trial.line().starts_with("node 2 was killed by signal 9; the others go on."));
    trial.line();
    let mut client = Client::new(welcome.nodes[2].0);
    for key in keys() {
        while let Err(error) = client.set(&key, "after") {
            assert!(killed.elapsed() < FAILOVER, "{key}: {error}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    back.end();
    signal("KILL", welcome.nodes[2].1);
    let too_few = "node 3 was killed by signal 9; those that are left are too few to go on.";
    assert!(trial.line().starts_with(too_few));
    trial.interrupt();
    end(&mut trial, &welcome);
}

/// A process that is killed at the end, however that comes.
struct Killed(Child);

impl Killed {
    fn end(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("it can be killed");
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have been ended before.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// All is over: no process is left, nor a file.
fn end(trial: &mut Trial, welcome: &Welcome) {
    wait_until("it ends", || has_ended(trial));
    wait_until("its nodes end", || welcome.nodes.iter().all(|(_, process)| !is_there(*process)));
    assert!(!welcome.files.exists(), "{}", welcome.files.display());
}

/// The library's own client, over the binary protocol.
#[test]
fn the_rust_client_goes_on_when_a_node_is_killed() {
    if skip_on_other_server() {
        return;
    }
    let (mut trial, welcome) = Trial::start(&["--nodes", "3"]);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        // The cores' own ports speak it; one is enough to find the others.
        let address = format!("127.0.0.1:{}", trial.port + 10_001);
        let client = ringmain::client::Client::connect(&address).await.unwrap();
        for key in keys() {
            client.set(&key, "before").await.unwrap();
        }
        let (_, process) = welcome.nodes[0];
        signal("KILL", process);
        let killed = Instant::now();
        for key in keys() {
            while let Err(error) = client.set(&key, "after").await {
                assert!(killed.elapsed() < FAILOVER, "{key}: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let all = keys().collect::<Vec<_>>();
        let values = client.get_many(&all).await.unwrap();
        assert!(values.iter().flatten().count() == all.len());
        assert!(values.iter().flatten().all(|value| **value == *b"after"));
    });
    trial.interrupt();
    end(&mut trial, &welcome);
}

/// redis-py takes part where it is on the machine (`pip install redis`).
#[test]
fn redis_py_goes_on_when_a_node_is_killed() {
    let there = harness::output_of(Command::new("python3").args(["-c", "import redis.cluster"]));
    if skip_on_other_server() || !there.is_ok_and(|output| output.status.success()) {
        return harness::skip("it takes redis-py");
    }
    let (mut trial, welcome) = Trial::start(&["--nodes", "3", "--cores-per-node", "2"]);
    let program = r#"
import os, sys, time
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError
port, process, patience = map(int, sys.argv[1:])
client = RedisCluster(host="127.0.0.1", port=port)
everywhere = dict(target_nodes=RedisCluster.PRIMARIES)
for n in range(60):
    assert client.set(f"key-{n}", "before")
assert client.dbsize(**everywhere) == 60 == len(set(client.scan_iter(count=10)))
os.kill(process, 9)
killed = time.monotonic()
for n in range(60):
    while True:
        try:
            client.set(f"key-{n}", "after")
            break
        # The second is no kind of the first: it says that nodes do not agree yet on who leads.
        except (RedisError, RedisClusterException, ConnectionError):
            assert time.monotonic() - killed < patience
            time.sleep(0.02)
assert all(client.get(f"key-{n}") == b"after" for n in range(60))
assert client.dbsize(**everywhere) == 60 == len(set(client.scan_iter(count=10)))
print("done")
"#;
    let (port, process) = welcome.nodes[0];
    let mut command = Command::new("python3");
    command.args(["-c", program, &port.to_string(), &process.to_string()]);
    let output = harness::output_of(command.arg(FAILOVER.as_secs().to_string())).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.ends_with("done\n"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    trial.interrupt();
    end(&mut trial, &welcome);
}

#[test]
fn nodes_end_with_who_started_them() {
    if skip_on_other_server() {
        return;
    }
    let (mut trial, welcome) = Trial::start(&["--nodes", "1"]);
    trial.child.kill().unwrap();
    wait_until("its nodes end", || welcome.nodes.iter().all(|(_, process)| !is_there(*process)));
    // Nobody was left to remove it.
    std::fs::remove_dir_all(&welcome.files).unwrap();
}

#[test]
fn what_was_acknowledged_is_there_the_next_time() {
    if skip_on_other_server() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("cluster");
    // With `async` the last tenth of a second may be gone.
    let flags = ["--nodes", "3", "--durability", "sync", "--dir", path(&dir)];
    let (mut trial, welcome) = Trial::start(&flags);
    let mut client = Client::new(trial.port);
    keys().for_each(|key| client.set(&key, "kept").unwrap());
    // All at once, as at a loss of power.
    welcome.nodes.iter().for_each(|(_, process)| signal("KILL", *process));
    wait_until("its nodes end", || welcome.nodes.iter().all(|(_, process)| !is_there(*process)));
    trial.interrupt();
    wait_until("it ends", || has_ended(&mut trial));
    assert!(dir.exists());

    let (mut trial, _) = Trial::start(&flags);
    let mut client = Client::new(trial.port);
    for key in keys() {
        assert_eq!(client.get(&key).unwrap().as_deref(), Some("kept"), "{key}");
    }
    trial.interrupt();
    wait_until("it ends", || has_ended(&mut trial));
}

fn path(path: &Path) -> &str {
    path.to_str().expect("its name is text")
}

fn has_ended(trial: &mut Trial) -> bool {
    trial.child.try_wait().is_ok_and(|status| status.is_some())
}

#[test]
fn what_can_t_be_done_is_told_at_once() {
    if skip_on_other_server() {
        return;
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain"));
    command.args(["cluster", "status", "--port", "1"]);
    let output = harness::output_of(&mut command).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("ringmain: There is no server at 127.0.0.1:1 ("), "{error}");
    assert_eq!(output.status.code(), Some(1));
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain"));
    command.args(["cluster", "try", "--nodes", "1", "--port", &port.to_string()]);
    let output = harness::output_of(&mut command).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let too_high = error.contains("leaves no room");
    assert!(too_high || error.contains(&format!("Port {port} can't be used")), "{error}");
    assert_eq!(output.status.code(), Some(2));
}
