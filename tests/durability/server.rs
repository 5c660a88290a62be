//! Servers that keep their data in a directory which outlives them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::TempDir;

use crate::harness::client::{Client, info, info_number};
use crate::harness::server::{Launch, Server};
use crate::harness::wait_until;

/// A new data directory, removed at the end of the test.
pub(crate) fn data_dir() -> TempDir {
    TempDir::with_prefix("ringmain-data-").expect("a temporary folder")
}

/// A server with small segments that takes snapshots often.
pub(crate) fn launch(dir: &Path, shards: u16, durability: &'static str) -> Launch {
    launch_plain(dir, shards, durability)
        .flag("--segment-bytes", "1mb")
        .flag("--auto-aof-rewrite-min-size", "2mb")
}

/// A server as it is by itself.
pub(crate) fn launch_plain(dir: &Path, shards: u16, durability: &'static str) -> Launch {
    Launch::shards(shards).dir(dir).durable(durability)
}

/// Starts it, and waits until it has its data.
pub(crate) fn start(launch: &Launch) -> Server {
    let server = launch.start();
    wait_until_loaded(&mut server.client());
    server
}

/// Waits until all data has been recovered.
pub(crate) fn wait_until_loaded(client: &mut Client) {
    wait_until("the data is loaded", || info_number(client, "persistence", "loading") == 0);
}

/// Ends it in order: all that it holds is on disk.
pub(crate) fn stop(mut server: Server) {
    server.signal("TERM");
    let status = server.wait_for_exit();
    assert!(status.success(), "{status}: {}", server.output());
}

/// One field of `INFO persistence`.
pub(crate) fn persistence(client: &mut Client, field: &str) -> String {
    let mut fields = info(client, "persistence");
    fields.remove(field).unwrap_or_else(|| panic!("no {field} in INFO persistence"))
}

/// Takes a snapshot, and waits for it.
pub(crate) fn save(client: &mut Client) {
    wait_until("the snapshot is taken", || match client.words("SAVE") {
        crate::harness::value::Value::Error(text) => {
            assert!(text.contains("already in progress"), "{text}");
            false
        }
        reply => reply == crate::harness::value::Value::ok(),
    });
}

/// All files below `dir` with their lengths and when they were changed, in order.
pub(crate) fn files(dir: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        // A folder or a file may be removed while it is looked at.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(data) if data.is_dir() => folders.push(entry.path()),
                Ok(data) => {
                    found.push((entry.path(), data.len(), data.modified().expect("a time")));
                }
                Err(_) => {}
            }
        }
    }
    found.sort();
    found
}

/// Bytes of all files below `dir`.
pub(crate) fn bytes_in(dir: &Path) -> u64 {
    files(dir).iter().map(|(_, bytes, _)| bytes).sum()
}
