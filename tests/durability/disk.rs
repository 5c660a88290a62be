//! Disks that are full, fail or stall for real.
//!
//! A file system of its own is mounted in a mount namespace of its own, which a process holds that ends
//! with the test, whatever happens: then the namespace and all that is mounted in it are gone. The server
//! is started inside. Where the test may not mount, it says so and is skipped.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::server::Launch;
use crate::server::{data_dir, launch};

/// A file system that only the server and this test see.
#[derive(Debug)]
pub(crate) struct Disk {
    holder: Child,
    dir: TempDir,
}

impl Disk {
    /// One in memory, of `mib` MiB.
    pub(crate) fn in_memory(mib: u32) -> Option<Self> {
        Self::mount(&format!("mount -t tmpfs -o size={mib}m none \"$0\""))
    }

    /// One on a loop device, of `mib` MiB, whose blocks are in a file in memory.
    pub(crate) fn on_a_loop_device(mib: u32) -> Option<Self> {
        let steps = [
            "mount -t tmpfs -o size=100m none \"$0\"",
            "mkdir \"$0/data\"",
            &format!("truncate -s {mib}m \"$0/image\""),
            "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 -J size=4 \"$0/image\"",
            "mount -o loop \"$0/image\" \"$0/data\"",
        ];
        Self::mount(&steps.join(" && "))
    }

    /// Holds a namespace in which `script` mounts something at `$0`.
    fn mount(script: &str) -> Option<Self> {
        let dir = data_dir();
        // A disk that the test stalled must not stay so, whatever ends the test.
        let script = format!(
            "trap '' TERM INT HUP; {{ {script}; }} >&2 && echo mounted && cat; fsfreeze -u \"$0/data\" 2>/dev/null; true"
        );
        let holder = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", &script])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut holder) = holder else {
            crate::harness::skip("there is no unshare");
            return None;
        };
        let mut line = String::new();
        let mut stdout = BufReader::new(holder.stdout.take().expect("a pipe"));
        let is_mounted = stdout.read_line(&mut line).is_ok() && line == "mounted\n";
        let disk = Self { holder, dir };
        if !is_mounted {
            crate::harness::skip("this test may not mount a file system");
            return None;
        }
        Some(disk)
    }

    /// Where the disk is for the server.
    fn path(&self) -> PathBuf {
        let data = self.dir.path().join("data");
        if self.seen_from_here(&data).is_dir() { data } else { self.dir.path().to_owned() }
    }

    /// A path of the server's as this process sees it.
    fn seen_from_here(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(path.strip_prefix("/").expect("an absolute path"))
    }

    /// Where the disk is for this process.
    pub(crate) fn folder(&self) -> PathBuf {
        self.seen_from_here(&self.path())
    }

    /// A server that keeps its data there.
    pub(crate) fn launch(&self, shards: u16, durability: &'static str) -> Launch {
        launch(&self.path(), shards, durability).wrapped_in([
            "nsenter",
            "-t",
            &self.holder.id().to_string(),
            "-m",
            "--",
        ])
    }

    /// Has every write wait until what this gives is dropped; nothing if that can't be done.
    pub(crate) fn stall(&self) -> Option<Stalled<'_>> {
        self.freeze("-f").then_some(Stalled(self))
    }

    /// Has reads and writes beyond the first few blocks of the loop device fail from now on, as the device is
    /// no longer than that.
    pub(crate) fn break_down(&self) {
        let script = "truncate -s 2m image && losetup -c $(losetup -n -O NAME -j image)";
        let script = format!("cd {} && {script}", self.dir.path().display());
        assert!(self.run_inside(&["sh", "-c", &script]), "{script}");
    }

    fn freeze(&self, how: &str) -> bool {
        self.run_inside(&["fsfreeze", how, &self.path().display().to_string()])
    }

    fn run_inside(&self, words: &[&str]) -> bool {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string(), "-m", "--"]).args(words);
        command.status().is_ok_and(|status| status.success())
    }
}

/// A disk on which every write waits.
#[derive(Debug)]
pub(crate) struct Stalled<'a>(&'a Disk);

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        self.0.freeze("-u");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // At the end of its input it ends, and everything with it.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// A file that takes all the room there is, all but `spare` bytes.
pub(crate) fn fill(folder: &Path, spare: usize) -> PathBuf {
    let path = folder.join("ballast");
    let mut file = std::fs::File::create(&path).expect("a file");
    for chunk in [1 << 20, 1 << 16, 1 << 12] {
        while std::io::Write::write_all(&mut file, &vec![7; chunk]).is_ok() {}
    }
    let length = file.metadata().expect("its length").len();
    file.set_len(length.saturating_sub(spare as u64)).expect("a shorter file");
    // Where blocks are given only when they are written, they are now; or it was full before.
    let _ = file.sync_all();
    path
}
