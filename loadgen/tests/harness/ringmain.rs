//! Ringmain as a process of its own, on ports that are free.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::wait_until;

/// The server's program, beside the tool's. `cargo test` of the whole workspace builds it; of `loadgen`
/// alone it does not, so then it is built here.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_BIN_EXE_loadgen")).with_file_name("ringmain");
        if !program.exists() {
            let profile = program.parent().and_then(Path::file_name).expect("target/PROFILE");
            let profile = match profile.to_str().expect("its name") {
                "debug" => "dev",
                other => other,
            };
            let status = Command::new(env!("CARGO"))
                .args(["build", "--package", "ringmain", "--bin", "ringmain"])
                .args(["--profile", profile])
                .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
                .status()
                .expect("run cargo");
            assert!(status.success(), "the server builds");
        }
        program
    })
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    port: u16,
    shards: u16,
    flags: Vec<String>,
    dir: TempDir,
}

impl Server {
    /// Starts one with `shards` shards; with `flags` besides.
    pub(crate) fn start(shards: u16, flags: &[&str]) -> Self {
        for _ in 0..10 {
            if let Some(server) = Self::try_start(shards, flags) {
                return server;
            }
        }
        panic!("no free ports in ten attempts");
    }

    /// Nothing if a port was taken meanwhile.
    fn try_start(shards: u16, flags: &[&str]) -> Option<Self> {
        let port = free_ports(1 + shards);
        let dir = TempDir::with_prefix("loadgen-test-").expect("a temporary folder");
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let child = spawn(port, shards, &flags, dir.path());
        let mut server = Self { child, port, shards, flags, dir };
        let has_ended = server.wait_until_it_serves();
        if has_ended {
            assert!(server.output().contains("Something else listens"), "{}", server.output());
            return None;
        }
        Some(server)
    }

    /// Kills it where it stands, and starts it again on its port and its data.
    pub(crate) fn kill_and_restart(&mut self) {
        self.child.kill().expect("kill the server");
        self.child.wait().expect("the server ends");
        self.child = spawn(self.port, self.shards, &self.flags, self.dir.path());
        assert!(!self.wait_until_it_serves(), "{}", self.output());
    }

    /// True if it has ended instead.
    fn wait_until_it_serves(&mut self) -> bool {
        let mut has_ended = false;
        wait_until("the server serves", || {
            has_ended = self.child.try_wait().expect("look at the server").is_some();
            let says_so = self.output().contains(" serves on ");
            has_ended || (says_so && TcpStream::connect(("127.0.0.1", self.port)).is_ok())
        });
        has_ended
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("output")).unwrap_or_default()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sends it a signal, by name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        super::tool::kill(self.child.id(), name);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killing a process that has ended fails, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, shards: u16, flags: &[String], dir: &Path) -> Child {
    let output = std::fs::File::create(dir.join("output")).expect("a log file");
    let mut command = Command::new(program());
    command.args(["--port", &port.to_string(), "--shards", &shards.to_string()]);
    if !flags.iter().any(|flag| flag == "--durability") {
        command.args(["--durability", "memory"]);
    }
    command
        .args(["--shard-port-base", &(port + 1).to_string(), "--dir"])
        .arg(dir)
        .args(flags)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a second handle"))
        .stderr(output)
        .spawn()
        .expect("start the server")
}

/// The first of `count` ports in a row that nobody listened on a moment ago.
fn free_ports(count: u16) -> u16 {
    const LOWEST: u16 = 11_000;
    loop {
        // Where the kernel finds one, folded below those it gives to connections that go out.
        let found = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let first = LOWEST + found.expect("loopback has a free port").port() % 20_000;
        if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
}
