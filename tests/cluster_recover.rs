//! A majority is lost for good: `ringmain cluster recover` has a node that is left go on, and who was lost stays out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::client::info;
use harness::cluster_client::Client;
use harness::nodes::Nodes;
use harness::server::skip_on_other_server;
use harness::value::Value;
use harness::{PATIENCE, output_of, wait_until};
use ringmain::log::{SegmentFile, SegmentKind};

const SHARDS: u16 = 2;
const KEYS: u32 = 100;

/// `ringmain cluster recover`; its exit status, and what it says.
fn recover(dir: &Path, flags: &str) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain"));
    command.args(["cluster", "recover"]).arg(dir).args(flags.split_whitespace());
    let output = output_of(&mut command).unwrap();
    let all = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&all).into_owned())
}

#[track_caller]
fn check_refused(dir: &Path, flags: &str, code: i32, why: &str) {
    let (found, said) = recover(dir, flags);
    assert!(found == code && said.contains(why), "{flags}: {found} {said}");
}

#[track_caller]
fn cli(nodes: &Nodes, words: &str) -> String {
    let output = nodes.cli(words);
    assert!(output.status.success(), "{words}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A field of what a node says of a shard.
fn field(nodes: &Nodes, id: usize, shard: u16, name: &str) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, nodes.port(id)));
    let mut client = harness::client::Client::try_connect(address).ok()?;
    let line = info(&mut client, "raft").remove(&format!("shard{shard}"))?;
    let mut fields = line.split(',').filter_map(|field| field.split_once('='));
    fields.find_map(|(found, value)| (found == name).then(|| value.to_owned()))
}

fn leads_all(nodes: &Nodes, id: usize) -> bool {
    (0..SHARDS).all(|shard| field(nodes, id, shard, "role").as_deref() == Some("leader"))
}

/// Sets a key, though leadership may move meanwhile.
#[track_caller]
fn set(client: &mut Client, key: &str, value: &str) {
    let begun = Instant::now();
    while let Err(error) = client.set(key, value) {
        assert!(begun.elapsed() < PATIENCE, "{key}: {error}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn check_keys(client: &mut Client) {
    for key in 0..KEYS {
        let begun = Instant::now();
        let found = loop {
            match client.get(&format!("key-{key}")) {
                Ok(found) => break found,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "key-{key}: {error}"),
            }
        };
        assert_eq!(found, Some(format!("value-{key}")), "key-{key}");
    }
}

/// All nodes have what was written.
fn wait_until_all_have_it(nodes: &Nodes, ids: &[usize]) {
    let number = |id, shard, name| field(nodes, id, shard, name)?.parse::<u64>().ok();
    for shard in 0..SHARDS {
        wait_until(&format!("{ids:?} have all of shard {shard}"), || {
            let last = ids.iter().map(|id| number(*id, shard, "last")).max().flatten();
            ids.iter().all(|id| number(*id, shard, "last") == last)
        });
    }
}

/// The first segment of the log of shard 0.
fn segment(dir: &Path) -> PathBuf {
    let is_log = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        SegmentFile::parse(name).is_some_and(|file| file.kind == SegmentKind::Log)
    };
    let files = std::fs::read_dir(dir.join("shard-0000")).unwrap();
    files.map(|entry| entry.unwrap().path()).filter(is_log).min().unwrap()
}

#[test]
fn a_survivor_goes_on_and_becomes_a_cluster_again() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::new(3, SHARDS, &["127.0.0.1"]).durable("sync");
    nodes.start_all();
    let mut client = Client::new(nodes.port(1));
    for key in 0..KEYS {
        set(&mut client, &format!("key-{key}"), &format!("value-{key}"));
    }
    wait_until_all_have_it(&nodes, &[1, 2, 3]);
    let dir = nodes.server(3).dir().to_owned();
    check_refused(&dir, "--yes", 2, "is in use by another server");
    // One is lost with its files; the other will be found again.
    nodes.lose_files(1);
    nodes.take(2).kill();
    nodes.take(3).kill();

    check_refused(&dir, "", 1, "Nothing was changed: with --yes this is done.");
    check_refused(&dir, "--lost 3", 2, "This is node 3 itself");
    check_refused(
        &dir,
        "--lost 9 --yes",
        2,
        "There is no node 9 in the cluster: the others are 1, 2.",
    );
    check_refused(
        &dir,
        "--lost 1 --shard 2 --yes",
        2,
        "--shard can't be 2: there are the shards 0 to 1.",
    );
    // Two of three are enough.
    let (code, said) = recover(&dir, "--lost 1 --yes");
    assert!(code == 0 && said.contains("2 of its 3 voters are left, and go on"), "{said}");
    check_damage_is_refused(&dir);

    let (code, said) = recover(&dir, "--yes");
    assert!(
        code == 0 && said.contains("Nodes 1, 2 are removed from the cluster for good"),
        "{said}"
    );
    assert!(said.contains("voters 1, 2, 3: node 3 goes on alone\n"), "{said}");
    let (code, said) = recover(&dir, "--yes");
    assert!(code == 0 && said.ends_with("nothing to recover\n"), "{said}");
    nodes.start(3);
    wait_until("node 3 leads all shards", || leads_all(&nodes, 3));
    check_keys(&mut Client::new(nodes.port(3)));

    // Who comes back is not let in, and does not go on with what it has.
    nodes.start(2);
    wait_until("node 2 knows that it was removed", || {
        nodes.server(2).output().contains("was removed from the cluster")
    });
    wait_until("node 2 serves nothing", || {
        let answer = nodes.server(2).client().words("GET key-1");
        answer != Value::bulk("value-1")
    });

    for _ in 0..2 {
        let new = nodes.add_blank(&[]);
        nodes.start(new);
        cli(&nodes, &format!("add-node @{new} --port #3"));
    }
    let status = cli(&nodes, "status --port #3");
    assert!(status.contains("removed: 1, 2\n"), "{status}");
    let mut client = Client::new(nodes.port(4));
    check_keys(&mut client);
    nodes.take(3).kill();
    set(&mut client, "key-0", "value-0");
    check_keys(&mut client);
}

/// A damaged log is nothing to go on with.
fn check_damage_is_refused(dir: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(segment(dir)).unwrap();
    let content = std::fs::read(segment(dir)).unwrap();
    let at = content.windows(6).position(|bytes| bytes == b"value-").unwrap() as u64;
    file.write_all_at(b"VALUE-", at).unwrap();
    check_refused(dir, "--yes", 1, "Shard 0 is damaged: see 'ringmain log verify");
    file.write_all_at(b"value-", at).unwrap();
}

#[test]
fn of_two_survivors_one_gives_its_copies_up_and_comes_back() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::new(4, SHARDS, &["127.0.0.1"]).durable("sync");
    nodes.start_all();
    let mut client = Client::new(nodes.port(1));
    for key in 0..KEYS {
        set(&mut client, &format!("key-{key}"), &format!("value-{key}"));
    }
    wait_until_all_have_it(&nodes, &[1, 2, 3, 4]);
    let dir = nodes.server(3).dir().to_owned();
    nodes.lose_files(1);
    nodes.lose_files(2);
    nodes.take(3).kill();
    let (code, said) = recover(&dir, "--lost 1 --lost 2 --yes");
    assert!(code == 0 && said.contains("what nodes 4 have of it is given up"), "{said}");
    nodes.start(3);
    wait_until("node 3 leads all shards", || leads_all(&nodes, 3));
    for shard in 0..SHARDS {
        wait_until("node 4 gives its copy up", || {
            field(&nodes, 4, shard, "voters").as_deref() == Some("")
        });
    }
    let said = cli(&nodes, "add-node @4 --port #3");
    assert!(said.ends_with("node 4 has a replica of all 2 shards\n"), "{said}");
    let mut client = Client::new(nodes.port(4));
    check_keys(&mut client);
    assert_eq!(field(&nodes, 3, 0, "voters").as_deref(), Some("3/4"));
}
