//! The servers that are compared: which are there, how each is started, and how it ends.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use crate::client::Client;
use crate::process;

const START_TIMEOUT: Duration = Duration::from_secs(15);

/// Clients that a server must take: the idle ones and those that measure.
pub(crate) const CLIENTS_MAX: usize = 10_100;

/// A kind of server: its name, which is its program's too, and its command line for one thread.
/// `{port}` and `{dir}` stand for what each start chooses.
struct Kind {
    name: &'static str,
    args: &'static [&'static str],
}

const REDIS_ARGS: &[&str] = &[
    "--port",
    "{port}",
    "--bind",
    "127.0.0.1",
    "--save",
    "",
    "--appendonly",
    "no",
    "--dir",
    "{dir}",
    "--maxclients",
    "10100",
];

const OTHERS: [Kind; 5] = [
    Kind { name: "redis-server", args: REDIS_ARGS },
    Kind { name: "valkey-server", args: REDIS_ARGS },
    Kind { name: "keydb-server", args: REDIS_ARGS },
    Kind {
        name: "dragonfly",
        args: &[
            "--port={port}",
            "--bind=127.0.0.1",
            "--dir={dir}",
            "--dbfilename=",
            "--proactor_threads=1",
        ],
    },
    Kind { name: "pogocache", args: &["-h", "127.0.0.1", "-p", "{port}", "--threads", "1"] },
];

/// This project's own server, which is not looked for on the PATH.
pub(crate) const OWN: &str = "ringmain";

/// What others are compared with.
pub(crate) const BASE: &str = "redis-server";

/// A server that can be started.
#[derive(Clone)]
pub(crate) struct Installed {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    program: PathBuf,
    args: &'static [&'static str],
}

/// The servers to compare, the base first: the project's own at `own` and what the PATH has, of these
/// only those in `wanted` if it names any.
pub(crate) fn installed(own: &Path, wanted: &[String]) -> Vec<Installed> {
    let others = OTHERS.iter().filter_map(|kind| {
        let program = on_path(kind.name)?;
        Some(Installed { name: kind.name, version: version(&program), program, args: kind.args })
    });
    let own = Installed { name: OWN, version: version(own), program: own.to_owned(), args: &[] };
    others
        .chain([own])
        .filter(|server| wanted.is_empty() || wanted.iter().any(|name| name == server.name))
        .collect()
}

/// The program `name` in a directory of the PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file())
}

/// The first word of what `--version` prints that holds a version number.
fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .split_ascii_whitespace()
        .map(|word| word.trim_start_matches(['v', '=']))
        .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or("?")
        .to_owned()
}

/// A server that runs; it is killed when this is dropped.
pub(crate) struct Running {
    pub(crate) port: u16,
    child: Child,
    /// The server's working directory, which goes with it.
    dir: tempfile::TempDir,
}

impl Installed {
    pub(crate) fn is_own(&self) -> bool {
        self.name == OWN
    }

    /// Its program.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Name and version.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Starts the server on `cpus`, one shard on each if it is the project's own, and waits until it
    /// answers.
    pub(crate) fn start(&self, cpus: &[usize]) -> io::Result<Running> {
        let flags: &[&str] = if self.is_own() { &["--durability", "memory"] } else { &[] };
        self.start_with(cpus, flags)
    }

    /// The same with more flags.
    pub(crate) fn start_with(&self, cpus: &[usize], flags: &[&str]) -> io::Result<Running> {
        let started = self.try_start(cpus, flags);
        started.map_err(|error| io::Error::other(format!("{}: {error}", self.name)))
    }

    fn try_start(&self, cpus: &[usize], flags: &[&str]) -> io::Result<Running> {
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("log");
        let port = free_ports(1 + cpus.len())?;
        let args = self.command_line(port, dir.path(), cpus);
        let child = process::pinned(cpus, || {
            let output = File::create(&log)?;
            Command::new(&self.program)
                .args(args)
                .args(flags)
                .current_dir(dir.path())
                .stdin(Stdio::null())
                .stderr(output.try_clone()?)
                .stdout(output)
                .spawn()
        })?;
        let mut running = Running { port, child, dir };
        let deadline = Instant::now() + START_TIMEOUT;
        while !running.answers() {
            if let Some(status) = running.child.try_wait()? {
                let log = fs::read_to_string(&log).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it said nothing");
                return Err(io::Error::other(format!("ended at its start with {status}: {last}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("does not answer PING"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    fn command_line(&self, port: u16, dir: &Path, cpus: &[usize]) -> Vec<String> {
        if self.is_own() {
            let list = cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            return [
                ("--port", port.to_string()),
                ("--bind", Ipv4Addr::LOCALHOST.to_string()),
                ("--shards", cpus.len().to_string()),
                ("--cpus", list),
                ("--shard-port-base", (port + 1).to_string()),
                ("--dir", dir.display().to_string()),
                ("--maxclients", CLIENTS_MAX.to_string()),
            ]
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect();
        }
        let fill = |arg: &&str| {
            arg.replace("{port}", &port.to_string()).replace("{dir}", &dir.display().to_string())
        };
        self.args.iter().map(fill).collect()
    }
}

/// The first of `count` ports in a row that nobody listens on.
fn free_ports(count: usize) -> io::Result<u16> {
    let listen = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    for _ in 0..100 {
        let first = listen(0)?;
        let port = first.local_addr()?.port();
        let others = (1..count).map(|i| u16::try_from(usize::from(port) + i));
        if others.into_iter().all(|port| port.is_ok_and(|port| listen(port).is_ok())) {
            return Ok(port);
        }
    }
    Err(io::Error::other(format!("no {count} free ports in a row on 127.0.0.1")))
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where its files are.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// CPU time since it started.
    pub(crate) fn cpu_time(&self) -> io::Result<Duration> {
        process::cpu_time(self.child.id())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        process::resident_bytes(self.child.id())
    }

    fn answers(&self) -> bool {
        Client::connect(self.address()).and_then(|mut client| client.ping()).is_ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
