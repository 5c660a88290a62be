//! A log that is damaged is not cut where others have counted on it: `ringmain log repair` gives it up, and the node is
//! sent all of it again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::client::{Client, info};
use harness::nodes::Nodes;
use harness::server::skip_on_other_server;
use harness::value::Value;
use harness::wait_until;
use ringmain::log::{SegmentFile, SegmentKind};

const KEYS: usize = 200;

/// Its exit status, and what it printed.
fn ringmain(flags: &[&str], dir: &Path) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain"));
    let output = command.args(flags).arg(dir).stdin(Stdio::null()).output().unwrap();
    let all = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&all).into_owned())
}

fn client(nodes: &Nodes, id: usize) -> Option<Client> {
    Client::try_connect(SocketAddr::from((Ipv4Addr::LOCALHOST, nodes.port(id)))).ok()
}

/// A field of the only shard in a node's `INFO raft`.
fn field(nodes: &Nodes, id: usize, name: &str) -> Option<String> {
    let line = info(&mut client(nodes, id)?, "raft").remove("shard0")?;
    let mut fields = line.split(',').filter_map(|field| field.split_once('='));
    fields.find_map(|(found, value)| (found == name).then(|| value.to_owned()))
}

fn number(nodes: &Nodes, id: usize, name: &str) -> u64 {
    field(nodes, id, name).map_or(0, |text| text.parse().unwrap())
}

/// A node that serves the shard, once there is one.
fn leader(nodes: &Nodes, ids: &[usize]) -> usize {
    let leads = |id: &&usize| field(nodes, **id, "role").as_deref() == Some("leader");
    wait_until("a leader", || ids.iter().any(|id| leads(&id)));
    *ids.iter().find(leads).unwrap()
}

/// The first segment of the log in a shard's folder.
fn segment(folder: &Path) -> PathBuf {
    let is_log = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        SegmentFile::parse(name).is_some_and(|file| file.kind == SegmentKind::Log)
    };
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = files.filter(is_log).collect();
    logs.sort();
    logs.first().cloned().unwrap_or_else(|| panic!("no segment in {}", folder.display()))
}

#[test]
fn a_damaged_log_is_sent_again() {
    if skip_on_other_server() {
        return;
    }
    let mut nodes = Nodes::new(3, 1, &["127.0.0.1"]).durable("async");
    nodes.start_all();
    let first = leader(&nodes, &[1, 2, 3]);
    let mut writer = client(&nodes, first).unwrap();
    for key in 0..KEYS {
        assert_eq!(writer.words(&format!("SET key:{key} value:{key}")), Value::ok());
    }
    // One that follows, so that nothing else changes.
    let broken = (1..=3).find(|id| *id != first).unwrap();
    let last = number(&nodes, first, "commit");
    wait_until("the follower has it all", || number(&nodes, broken, "applied") >= last);
    let server = nodes.take(broken);
    let dir = server.dir().to_owned();
    drop(server.stop());

    let path = segment(&dir.join("shard-0000"));
    let content = fs::read(&path).unwrap();
    let at = content.windows(9).position(|bytes| bytes == b"value:100").unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"VALUE", at as u64).unwrap();
    assert!(nodes.fail_to_start(broken).contains("ringmain log"));
    let (code, told) = ringmain(&["log", "verify"], &dir);
    assert!(code == 1 && told.contains("DAMAGED") && told.contains("term "), "{told}");
    let (code, told) = ringmain(&["log", "repair"], &dir);
    assert!(code == 1 && told.contains("sent all of it again"), "{told}");
    assert!(path.exists(), "nothing was to be changed");
    let (code, told) = ringmain(&["log", "repair", "--yes"], &dir);
    assert!(code == 0 && told.contains("given up"), "{told}");
    assert!(!path.exists(), "it was kept beside, under another name");
    let (code, told) = ringmain(&["log", "verify"], &dir);
    assert!(code == 0, "{told}");

    nodes.start(broken);
    wait_until("it has all again", || number(&nodes, broken, "applied") >= last);
    // It votes again, and has what the others had: it is needed for both.
    nodes.take(first).kill();
    let others: Vec<usize> = (1..=3).filter(|id| *id != first).collect();
    let mut reader = client(&nodes, leader(&nodes, &others)).unwrap();
    for key in 0..KEYS {
        let value = reader.words(&format!("GET key:{key}"));
        assert_eq!(value, Value::bulk(format!("value:{key}")), "key:{key}");
    }
}
