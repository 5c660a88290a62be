//! Starting a server on ports of its own and stopping it, whatever happens to the test.

use super::client::{Client, info_number};
use super::{PATIENCE, wait_until};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a server prints once it serves, and when it can't for its port: Ringmain, and Redis.
const READY: [&str; 2] = [" serves on ", "Ready to accept connections"];
const PORT_IS_TAKEN: [&str; 2] = ["Something else listens", "Address already in use"];

/// How to start a server.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    shards: u16,
    core_ports: bool,
    binary: bool,
    cluster: bool,
    debug: bool,
    bind: String,
    durability: &'static str,
    dir: Option<PathBuf>,
    names_shards: bool,
    wrapper: Vec<String>,
    flags: Vec<String>,
    other: Option<String>,
    ports: Option<Arc<FreePorts>>,
}

/// Other servers' flags are spelt as Redis's.
fn other_server() -> Option<String> {
    std::env::var("RINGMAIN_TEST_SERVER").ok().filter(|name| !name.is_empty())
}

/// Whether the server under test is not Ringmain.
pub(crate) fn is_other_server() -> bool {
    other_server().is_some()
}

/// As [`is_other_server`], for a test of Ringmain's own, which is then skipped.
pub(crate) fn skip_on_other_server() -> bool {
    if let Some(name) = other_server() {
        super::skip(&format!("{name} has no such thing"));
    }
    is_other_server()
}

impl Launch {
    /// A server with `shards` shards and no ports but the common one.
    pub(crate) fn shards(shards: u16) -> Self {
        Self {
            shards,
            core_ports: false,
            binary: false,
            cluster: false,
            debug: false,
            bind: "127.0.0.1".into(),
            durability: "memory",
            dir: None,
            names_shards: true,
            wrapper: Vec::new(),
            flags: Vec::new(),
            other: other_server(),
            ports: None,
        }
    }

    /// Another server, whichever is under test.
    pub(crate) fn of_other_server(program: &str) -> Self {
        Self { other: Some(program.to_owned()), ..Self::shards(1) }
    }

    /// The number of shards.
    pub(crate) fn shard_count(&self) -> u16 {
        self.shards
    }

    /// Adds a flag and its value.
    pub(crate) fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Listens on another address than loopback.
    pub(crate) fn bind(mut self, address: &str) -> Self {
        self.bind = address.to_owned();
        self
    }

    /// Writes a log, with this `--durability`; without, nothing is kept.
    pub(crate) fn durable(mut self, durability: &'static str) -> Self {
        self.durability = durability;
        self
    }

    /// Keeps its data in `dir`, which stays when the server is gone, so that another can go on there.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Does not say how many shards there are: the directory knows.
    pub(crate) fn shards_unnamed(mut self) -> Self {
        self.names_shards = false;
        self
    }

    /// Is started by another program: `words` come before the server's own command line.
    pub(crate) fn wrapped_in<W: Into<String>>(
        mut self,
        words: impl IntoIterator<Item = W>,
    ) -> Self {
        self.wrapper = words.into_iter().map(W::into).collect();
        self
    }

    /// Always starts on the first of `ports`, and uses as many as it needs.
    pub(crate) fn on(mut self, ports: Arc<FreePorts>) -> Self {
        self.ports = Some(ports);
        self
    }

    /// Each core listens on a port of its own as well.
    pub(crate) fn core_ports(mut self) -> Self {
        self.core_ports = true;
        self
    }

    /// Serves the binary protocol on a port of its own as well.
    pub(crate) fn binary(mut self) -> Self {
        self.binary = true;
        self
    }

    /// `--cluster-enabled yes`, with a port for each core.
    pub(crate) fn cluster(mut self) -> Self {
        self.cluster = true;
        self.core_ports()
    }

    /// `--enable-debug-command yes`.
    pub(crate) fn debug(mut self) -> Self {
        self.debug = true;
        self
    }

    /// Starts it and waits until it accepts connections, and has loaded the data in its [`Launch::dir`].
    pub(crate) fn start(&self) -> Server {
        self.try_start().unwrap_or_else(|output| panic!("the server did not start: {output}"))
    }

    /// Starts one that is expected to refuse, at once or while it loads; answers what it printed.
    pub(crate) fn fail_to_start(&self) -> String {
        self.try_start().expect_err("it refuses to start")
    }

    fn try_start(&self) -> Result<Server, String> {
        const ATTEMPTS: usize = 10;
        if let Some(ports) = &self.ports {
            return Server::try_start(self, ports.clone());
        }
        for _ in 0..ATTEMPTS {
            let ports = Arc::new(FreePorts::find(2 + self.shards));
            match Server::try_start(self, ports) {
                Err(output) if PORT_IS_TAKEN.iter().any(|words| output.contains(words)) => {}
                result => return result,
            }
        }
        panic!("no free port in {ATTEMPTS} attempts");
    }

    /// Starts what is expected to end by itself; answers how it ended and what it printed.
    pub(crate) fn refused(&self) -> (ExitStatus, String) {
        let output = TempDir::with_prefix("ringmain-test-").expect("a temporary folder");
        let others = || Arc::new(FreePorts::find(2 + self.shards));
        let ports = self.ports.clone().unwrap_or_else(others);
        let mut server = Server::spawn(self, ports, output);
        let status = server.wait_for_exit();
        (status, server.output())
    }

    /// Behind the common port and the cores' own.
    fn binary_port(&self, port: u16) -> u16 {
        port + 1 + self.shards
    }

    fn program(&self) -> PathBuf {
        let other = self.other.as_ref().map(PathBuf::from);
        other.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ringmain")))
    }

    /// The command line for `port` with files in `dir`.
    fn command(&self, port: u16, dir: &Path) -> Command {
        let mut command = match self.wrapper.split_first() {
            None => Command::new(self.program()),
            Some((program, args)) => {
                let mut command = Command::new(program);
                command.args(args).arg(self.program());
                command
            }
        };
        command.args(["--port", &port.to_string(), "--bind", &self.bind]);
        command.arg("--dir").arg(self.dir.as_deref().unwrap_or(dir));
        if self.other.is_some() {
            command.args(["--save", "", "--daemonize", "no"]);
            if self.cluster {
                let bus_port = port + 1;
                command.args(["--cluster-port", &bus_port.to_string()]);
                command.args(["--cluster-announce-ip", "127.0.0.1"]);
            }
        } else {
            let base = if self.core_ports { port + 1 } else { 0 };
            if self.names_shards {
                command.args(["--shards", &self.shards.to_string()]);
            }
            command.args(["--shard-port-base", &base.to_string()]);
            let binary_port = if self.binary { self.binary_port(port) } else { 0 };
            command.args(["--binary-port", &binary_port.to_string()]);
            command.args(["--durability", self.durability]);
        }
        if self.cluster {
            command.args(["--cluster-enabled", "yes"]);
        }
        if self.debug {
            command.args(["--enable-debug-command", "yes"]);
        }
        command.args(&self.flags);
        command
    }
}

/// A run of ports that nobody listened on a moment ago, below the range that the kernel hands out to
/// outgoing connections.
#[derive(Debug)]
pub(crate) struct FreePorts {
    pub(crate) first: u16,
    /// UDP sockets of the same numbers, which tell other tests, in this process or another, that the
    /// ports are taken from before the server listens until after it ends.
    _taken: Vec<UdpSocket>,
}

impl FreePorts {
    pub(crate) fn find(count: u16) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        const LOWEST: u32 = 11_000;
        const RANGE: u32 = 20_000;
        // Processes that test at the same time start from different places.
        let start = std::process::id().wrapping_mul(2_654_435_761) % RANGE;
        loop {
            let step = NEXT.fetch_add(u32::from(count), Ordering::Relaxed);
            let first = u16::try_from(LOWEST + (start + step) % RANGE).expect("below 31,000");
            let ports = first..first + count;
            let taken: std::io::Result<Vec<UdpSocket>> =
                ports.clone().map(|port| UdpSocket::bind(local(port))).collect();
            let mut free = ports.map(|port| TcpListener::bind(local(port)).is_ok());
            if let (Ok(taken), true) = (taken, free.all(|free| free)) {
                return Self { first, _taken: taken };
            }
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
    binary_port: u16,
    dir: TempDir,
    data: PathBuf,
    _ports: Arc<FreePorts>,
}

impl Server {
    /// Starts one on the first of `ports`, and does not wait for it.
    fn spawn(launch: &Launch, ports: Arc<FreePorts>, dir: TempDir) -> Self {
        let port = ports.first;
        let output = std::fs::File::create(dir.path().join("output")).expect("a log file");
        let child = launch
            .command(port, dir.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", launch.program().display()));
        let binary_port = launch.binary_port(port);
        let data = launch.dir.clone().unwrap_or_else(|| dir.path().to_owned());
        Self { child, port, binary_port, dir, data, _ports: ports }
    }

    /// Starts one on the first of `ports`; on failure gives what it printed.
    fn try_start(launch: &Launch, ports: Arc<FreePorts>) -> Result<Self, String> {
        let dir = TempDir::with_prefix("ringmain-test-").expect("a temporary folder");
        let mut server = Self::spawn(launch, ports, dir);
        let started = Instant::now();
        loop {
            if server.child.try_wait().expect("look at the server").is_some() {
                return Err(server.output());
            }
            // Its own word, as another program could answer on the port.
            let says_so = READY.iter().any(|words| server.output().contains(words));
            if says_so && server.has_loaded(launch) {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "it does not serve: {}", server.output());
            std::thread::sleep(Duration::from_millis(2));
        }
        if launch.cluster && launch.other.is_some() {
            server.own_all_slots();
        }
        Ok(server)
    }

    /// Whether it accepts connections and has read the data that it was started on.
    fn has_loaded(&self, launch: &Launch) -> bool {
        let Ok(mut client) = Client::try_connect(self.address()) else { return false };
        if launch.dir.is_none() {
            return true;
        }
        let asked = client.try_send("INFO persistence\r\n");
        let reply = asked.ok().and_then(|()| client.read().ok());
        reply.is_some_and(|reply| !format!("{reply:?}").contains("loading:1"))
    }

    /// Redis serves no slot until it is told to.
    fn own_all_slots(&self) {
        let mut client = self.client();
        client.ok("CLUSTER ADDSLOTSRANGE 0 16383");
        wait_until("the cluster is up", || {
            client.words("CLUSTER INFO").text().contains("cluster_state:ok")
        });
    }

    /// The common port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The address of the common port.
    pub(crate) fn address(&self) -> SocketAddr {
        local(self.port)
    }

    /// The address of the binary port.
    pub(crate) fn binary_address(&self) -> SocketAddr {
        local(self.binary_port)
    }

    /// The address of core `index`'s own port.
    pub(crate) fn core_address(&self, index: u16) -> SocketAddr {
        local(self.port + 1 + index)
    }

    /// A new connection to the common port.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// A new connection to core `index`, or to one that the machine has.
    pub(crate) fn client_on_core(&self, index: usize) -> Client {
        if is_other_server() {
            return self.client();
        }
        let cores = info_number(&mut self.client(), "ringmain", "cores");
        let core = u16::try_from(index as u64 % cores).expect("few cores");
        Client::connect(self.core_address(core))
    }

    /// A new connection that speaks RESP3.
    pub(crate) fn client_resp3(&self) -> Client {
        let mut client = self.client();
        assert_eq!(client.words("HELLO 3").field("proto").integer(), 3);
        client
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its data directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.data
    }

    /// All it has printed so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("output")).unwrap_or_default()
    }

    /// Resident memory now, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.memory_bytes("smaps_rollup", "Rss:")
    }

    /// Has [`Self::peak_of_memory`] speak of what comes.
    pub(crate) fn forget_peak_of_memory(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").expect("reset the peak");
    }

    /// The most memory that was resident, in bytes.
    pub(crate) fn peak_of_memory(&self) -> u64 {
        self.memory_bytes("status", "VmHWM:")
    }

    /// What a line of a file in the server's folder of `/proc` says, which is in KiB.
    fn memory_bytes(&self, file: &str, name: &str) -> u64 {
        let path = format!("/proc/{}/{file}", self.pid());
        let text = std::fs::read_to_string(&path).expect("memory of the server");
        let line = text.lines().find(|line| line.starts_with(name)).expect("a line of that name");
        let kib = line.split_whitespace().nth(1).expect("a number of KiB");
        kib.parse::<u64>().expect("a number") * 1024
    }

    /// How often its threads have gone to sleep, and so have been woken up.
    pub(crate) fn wake_ups(&self) -> u64 {
        let tasks = format!("/proc/{}/task", self.pid());
        let threads = std::fs::read_dir(&tasks).expect("threads of the server");
        let of_thread = |thread: std::io::Result<std::fs::DirEntry>| {
            let status = thread.expect("a thread").path().join("status");
            // A thread may have ended meanwhile.
            let status = std::fs::read_to_string(status).unwrap_or_default();
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
            line.and_then(|line| line.split_whitespace().last()?.parse::<u64>().ok()).unwrap_or(0)
        };
        threads.map(of_thread).sum()
    }

    /// User and system time used so far, in clock ticks of 10 ms.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.pid());
        let text = std::fs::read_to_string(&path).expect("times of the server");
        let (_, after_name) = text.rsplit_once(')').expect("a name in brackets");
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<u64>().expect("a number of ticks");
        // utime and stime are fields 14 and 15 of the line, and the name was field 2.
        ticks(14 - 3) + ticks(15 - 3)
    }

    /// Limits the length of the files that it writes, which it meets like a full disk, or takes that back.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(pid, Resource::Fsize, limit).expect("change the limit");
    }

    /// Sends it a signal, by name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.pid())])
            .status()
            .expect("run kill");
        assert!(status.success(), "kill -{name}");
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the server ends", || {
            status = self.child.try_wait().expect("look at the server");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// `kill -9`: it ends where it stands.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kill the server");
        self.child.wait().expect("the end of the server");
    }

    /// Stops it as an operator does; what [`Launch::dir`] named stays. Answers what it printed.
    pub(crate) fn stop(mut self) -> String {
        self.signal("TERM");
        let status = self.wait_for_exit();
        assert!(status.success(), "a clean stop: {status}");
        self.output()
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("look at the server").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killing a process that has ended fails, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let tail = output.len().saturating_sub(4_000);
            let tail = (tail..output.len()).find(|&at| output.is_char_boundary(at)).unwrap_or(0);
            eprintln!("--- what the server printed ---\n{}", &output[tail..]);
        }
    }
}
