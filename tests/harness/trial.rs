//! Clusters of real processes for tests: `ringmain cluster try`, on ports that are free.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::random::Random;

/// A cluster that is being tried.
pub(crate) struct Trial {
    pub(crate) child: Child,
    output: BufReader<ChildStdout>,
    pub(crate) port: u16,
}

/// What it said once it was up.
#[derive(Debug)]
pub(crate) struct Welcome {
    /// Port and process of each node.
    pub(crate) nodes: Vec<(u16, u32)>,
    pub(crate) files: PathBuf,
}

impl Trial {
    /// Starts one, on ports that are free.
    pub(crate) fn start(flags: &[&str]) -> (Self, Welcome) {
        static TRIES: AtomicU64 = AtomicU64::new(0);
        for _ in 0..20 {
            let seed = TRIES.fetch_add(1, Ordering::Relaxed);
            let mut random = Random::new(seed ^ u64::from(std::process::id()) << 8);
            // All that is derived stays below the ports that the system gives to clients.
            let port = 2000 + u16::try_from(random.below(9_000)).expect("below 9,000");
            let mut trial = Self::spawn(port, flags);
            if let Some(welcome) = trial.read_welcome() {
                return (trial, welcome);
            }
            let mut error = String::new();
            let said = trial.child.stderr.take().map(|mut said| said.read_to_string(&mut error));
            said.expect("it is taken once").expect("read what it says");
            assert!(error.contains("can't be used") || error.contains("listens on"), "{error}");
        }
        panic!("no ports are free");
    }

    fn spawn(port: u16, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringmain"))
            .args(["cluster", "try", "--port", &port.to_string()])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start it");
        let output = BufReader::new(child.stdout.take().expect("it is taken once"));
        Self { child, output, port }
    }

    /// Reads up to the last line of the welcome; `None` if the cluster has not come up.
    fn read_welcome(&mut self) -> Option<Welcome> {
        let mut welcome = Welcome { nodes: Vec::new(), files: PathBuf::new() };
        let mut line = String::new();
        while self.output.read_line(&mut line).expect("read what it says") > 0 {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [_, port, process] if port.parse::<u16>().is_ok() => {
                    let node = port.parse().ok().zip(process.parse().ok());
                    welcome.nodes.push(node.expect("a port and a process"));
                }
                ["files", "and", "logs", dir, ..] => welcome.files = dir.into(),
                ["stop", "it", "Ctrl-C"] => return Some(welcome),
                _ => {}
            }
            line.clear();
        }
        None
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("read what it says");
        line
    }

    /// As Ctrl-C does.
    pub(crate) fn interrupt(&mut self) {
        signal("INT", self.child.id());
    }

    pub(crate) fn status(&self, port: u16) -> String {
        self.cli(&["status", "--port", &port.to_string()])
    }

    /// Has a node lead a shard; the first one, which is asked, must run.
    pub(crate) fn transfer(&self, shard: u16, node: u64) {
        let (shard, node) = (shard.to_string(), node.to_string());
        self.cli(&["transfer", &shard, &node, "--port", &self.port.to_string()]);
    }

    /// Runs `ringmain cluster` with these words, which must succeed; what it says.
    fn cli(&self, words: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain"));
        command.arg("cluster").args(words);
        let output = super::output_of(&mut command).expect("run it");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }
}

impl Drop for Trial {
    /// Whatever a test has come to, its nodes end and its files go; a panic now would end all tests.
    fn drop(&mut self) {
        let begun = Instant::now();
        while self.child.try_wait().is_ok_and(|status| status.is_none())
            && begun.elapsed() < PATIENCE
        {
            // Again, should it not have been ready for the first.
            let _ =
                Command::new("sh").args(["-c", &format!("kill -INT {}", self.child.id())]).status();
            std::thread::sleep(Duration::from_millis(50));
        }
        // Its nodes end when it does.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(name: &str, process: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status();
    assert!(sent.expect("run kill").success());
}

pub(crate) fn is_there(process: u32) -> bool {
    // One that has ended and was not waited for yet is a zombie.
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = status.rsplit(')').next().unwrap_or_default().split_whitespace().next();
    state.is_some_and(|state| state != "Z")
}
