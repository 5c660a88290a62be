//! What replication costs, and how long clients wait when a leader is lost: three nodes on this machine, two
//! shards each, beside one node with its log on. Needs `loadgen`: beside the server's program, or named.
//!
//! All nodes and the client share the machine's CPUs, so that a cluster does its work three times over where one
//! node does it once: what is measured is the whole cost, not what clients of three machines would see.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::load::{self, Generator, Load, Seen, Verb};
use crate::servers::Installed;
use crate::table::{Rounds, Table, thousands};
use crate::{Setting, process, progress};

const NODES: u16 = 3;
const SHARDS: &str = "2";
/// The common port of the first node. Those that follow from it are below the ones that the system gives to clients.
const PORT: u16 = 7_501;
/// How long a cluster may take to come up, and clients to be served again.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one try of a client may take.
const TRY: Duration = Duration::from_millis(250);

/// Three nodes, or one that is none of a cluster.
struct Nodes {
    program: PathBuf,
    dir: tempfile::TempDir,
    trial: Child,
    /// Nodes that were started anew.
    again: Vec<Child>,
    pids: Vec<u32>,
}

impl Nodes {
    fn start(program: &Path, shards: &str, cores: &str, durability: &str) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut trial = Command::new(program)
            .args(["cluster", "try", "--nodes", &NODES.to_string(), "--port", &PORT.to_string()])
            .args(["--shards", shards, "--cores-per-node", cores, "--durability", durability])
            .arg("--dir")
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = trial.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        let mut pids = Vec::new();
        for line in BufReader::new(said).lines() {
            let line = line?;
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [node, port, pid] = words[..]
                && let (Ok(_), Ok(_), Ok(pid)) =
                    (node.parse::<u16>(), port.parse::<u16>(), pid.parse())
            {
                pids.push(pid);
            }
            if line.contains("stop it") {
                break;
            }
        }
        if pids.len() != usize::from(NODES) {
            return Err(io::Error::other("the cluster did not come up"));
        }
        Ok(Self { program: program.to_owned(), dir, trial, again: Vec::new(), pids })
    }

    fn start_again(&mut self, node: usize) -> io::Result<()> {
        let config = self.dir.path().join(format!("node-{}.toml", node + 1));
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.pids[node] = child.id();
        self.again.push(child);
        Ok(())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.again {
            let _ = child.kill();
            let _ = child.wait();
        }
        signal(self.trial.id(), Signal::INT);
        let _ = self.trial.wait();
    }
}

fn signal(pid: u32, signal: Signal) {
    // A process that is gone need not be told.
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Waits until no thread of a process runs any more that was killed or stopped: one may answer meanwhile.
fn wait_for_silence(pid: u32) -> io::Result<()> {
    let runs = |task: io::Result<fs::DirEntry>| {
        let stat = task.and_then(|task| fs::read_to_string(task.path().join("stat")));
        let state = stat.ok().and_then(|stat| stat.rsplit_once(") ")?.1.chars().next());
        !matches!(state, None | Some('T' | 'Z' | 'X'))
    };
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        // Where there is none, the process is gone.
        let Ok(mut tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Ok(()) };
        if !tasks.any(runs) {
            return Ok(());
        }
        thread::sleep(Duration::from_micros(100));
    }
    Err(io::Error::other("a node does not stop"))
}

// --- speed -----------------------------------------------------------------------------------------------

const LOADS: [(Verb, usize); 4] =
    [(Verb::Set, 1), (Verb::Get, 1), (Verb::Set, 16), (Verb::Get, 16)];

#[derive(Clone, Default)]
struct Figures {
    rate: Rounds,
    p50_ms: Rounds,
    p99_ms: Rounds,
}

impl Figures {
    fn push(&mut self, seen: &Seen) {
        self.rate.push(seen.requests_per_second);
        self.p50_ms.push(seen.p50_ms);
        self.p99_ms.push(seen.p99_ms);
    }
}

/// Requests of 64 bytes against one node with its log on, and against three.
pub(crate) fn speed(setting: &Setting, servers: &[Installed]) -> io::Result<Option<Table>> {
    let Some(own) = servers.iter().find(|server| server.is_own()) else { return Ok(None) };
    let kinds = ["one node, async", "three nodes, async", "three nodes, sync"];
    let mut figures = vec![vec![Figures::default(); LOADS.len()]; kinds.len()];
    let cpus = process::allowed_cpus()?;
    for round in 1..=setting.rounds {
        for (kind, of_kind) in kinds.iter().zip(&mut figures) {
            progress(&format!("cluster, round {round}: {kind}"));
            let durability = if kind.ends_with(", sync") { "sync" } else { "async" };
            let mut run = |port| measure(setting, port, &cpus, of_kind);
            if kind.starts_with("one") {
                let cpus = &cpus[..cpus.len().min(2)];
                let running = own.start_with(cpus, &["--durability", durability])?;
                run(running.address().port())?;
            } else {
                let _nodes = Nodes::start(own.program(), SHARDS, "2", durability)?;
                run(PORT)?;
            }
        }
    }
    let title = format!(
        "Three nodes beside one, {SHARDS} shards, on the same {} CPUs as their client; {}",
        cpus.len(),
        setting.rounds_in_words(&setting.fast_generator)
    );
    let head = ["", "load", "requests/s", "over one node's", "p50 ms", "p99 ms"];
    let mut table = Table::new(title, &head, setting.is_markdown);
    for (kind, of_kind) in kinds.iter().zip(&figures) {
        for (at, (verb, depth)) in LOADS.iter().enumerate() {
            let Figures { rate, p50_ms, p99_ms } = &of_kind[at];
            table.row(vec![
                (*kind).to_owned(),
                format!("{}, depth {depth}", verb.name()),
                rate.median_as(thousands),
                rate.over(&figures[0][at].rate).spread(),
                p50_ms.spread(),
                p99_ms.spread(),
            ]);
        }
    }
    Ok(Some(table))
}

fn measure(
    setting: &Setting,
    port: u16,
    cpus: &[usize],
    figures: &mut [Figures],
) -> io::Result<()> {
    for ((verb, depth), figures) in LOADS.into_iter().zip(figures) {
        let more = if depth > 1 { 4 } else { 1 };
        let load = Load { verb, depth, requests: setting.requests * more, is_cluster: true };
        let seen = process::pinned(cpus, || setting.fast_generator.run_at(load, port))?;
        figures.push(&seen);
    }
    Ok(())
}

// --- what a lost leader costs ------------------------------------------------------------------------------

/// What other clients ask for meanwhile: one request for so many SETs that the three can do. There are two CPUs for all
/// of them, and the client that waits is not to wait for those.
const CROWD_SHARE: f64 = 4.0;

/// How long a client waits for the next acknowledged write when the leader of its key is killed, or stands still, under
/// load.
pub(crate) fn failover(setting: &Setting, servers: &[Installed]) -> io::Result<Option<Table>> {
    let Some(own) = servers.iter().find(|server| server.is_own()) else { return Ok(None) };
    let times = if setting.is_smoke { 1 } else { 20 };
    let title = format!(
        "A client's wait for its next acknowledged SET, {times} times each, in seconds, among GETs and SETs of {} others, as \
         many as a quarter of the SETs that the nodes can do; load by {}",
        load::CONNECTIONS,
        setting.fast_generator.name()
    );
    let head = ["the leader", "median", "worst", "requests/s of the others"];
    let mut table = Table::new(title, &head, setting.is_markdown);
    for (what, number) in [("is killed", Signal::KILL), ("stands still", Signal::STOP)] {
        progress(&format!("failover: {what}"));
        let mut nodes = Nodes::start(own.program(), SHARDS, "2", "async")?;
        let mut client = Follower::default();
        client.wait_for_all()?;
        let rate = (most_sets(setting)? / CROWD_SHARE).ceil();
        let mut crowd = Crowd::start(&setting.fast_generator, rate)?;
        let mut waits = Vec::new();
        for time in 0..times {
            crowd.go_on()?;
            let key = if time % 2 == 0 { "foo" } else { "bar" };
            let leader = client.set(key)?;
            // Not always at the same point between two heartbeats.
            thread::sleep(Duration::from_millis(500 + 37 * (time % 7)));
            let leader = client.set(key).unwrap_or(leader);
            let begun = Instant::now();
            signal(nodes.pids[leader], number);
            wait_for_silence(nodes.pids[leader])?;
            client.set(key)?;
            waits.push(begun.elapsed().as_secs_f64());
            if number == Signal::KILL {
                nodes.start_again(leader)?;
            } else {
                signal(nodes.pids[leader], Signal::CONT);
            }
            client.wait_for_all()?;
        }
        waits.sort_by(f64::total_cmp);
        let show = |wait: Option<&f64>| wait.map_or(String::new(), |wait| format!("{wait:.2}"));
        let (median, worst) = (show(waits.get(waits.len() / 2)), show(waits.last()));
        table.row(vec![what.to_owned(), median, worst, thousands(rate)]);
    }
    Ok(Some(table))
}

/// SETs a second that the three nodes can do.
fn most_sets(setting: &Setting) -> io::Result<f64> {
    let all_out = Load { verb: Verb::Set, depth: 1, requests: setting.requests, is_cluster: true };
    Ok(setting.fast_generator.run_at(all_out, PORT)?.requests_per_second)
}

/// Clients beside the one that waits. When a leader is killed they lose their connections, learn from the other nodes
/// who leads, and go on; those that wait for a leader that stands still wait until it goes on.
struct Crowd<'a> {
    generator: &'a Generator,
    rate: f64,
    child: Child,
}

impl<'a> Crowd<'a> {
    fn start(generator: &'a Generator, rate: f64) -> io::Result<Self> {
        Ok(Self { generator, rate, child: generator.start_paced(PORT, rate)? })
    }

    /// Has others take their place should they have given up.
    fn go_on(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            progress("failover: the load has ended, and is begun anew");
            self.child = self.generator.start_paced(PORT, self.rate)?;
        }
        Ok(())
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// --- what a node costs that catches up ----------------------------------------------------------------------

/// Keys that a node is sent.
const LOST_KEYS: u64 = 1_000_000;
/// Requests meanwhile: one for so many that the three can do.
const PACE_SHARE: f64 = 10.0;
/// How long they are looked at: not as long as a node takes to have the keys.
const WINDOW: Duration = Duration::from_secs(3);

/// What clients feel while a node that has lost its disk is sent everything.
pub(crate) fn catch_up(setting: &Setting, servers: &[Installed]) -> io::Result<Option<Table>> {
    let Some(own) = servers.iter().find(|server| server.is_own()) else { return Ok(None) };
    let keys = if setting.is_smoke { LOST_KEYS / 100 } else { LOST_KEYS };
    let mut nodes = Nodes::start(own.program(), SHARDS, "2", "async")?;
    let mut client = Follower::default();
    client.wait_for_all()?;
    let any = SocketAddr::from(([127, 0, 0, 1], PORT));
    load::fill_with(&mut Client::connect(any)?, keys, &[])?;
    let (mut before, mut meanwhile, mut took) =
        (Rounds::default(), Rounds::default(), Rounds::default());
    let pace = (most_sets(setting)? / PACE_SHARE).ceil();
    let paced = || setting.fast_generator.run_paced(PORT, (pace, WINDOW, keys));
    for round in 1..=setting.rounds {
        progress(&format!("cluster, catching up, round {round}"));
        before.push(paced()?.p99_ms);
        let lost = usize::from(NODES) - 1;
        signal(nodes.pids[lost], Signal::KILL);
        // Others lead by then what it led.
        for key in ["foo", "bar"] {
            client.set(key)?;
        }
        let dir = nodes.dir.path().join(format!("node-{NODES}"));
        fs::remove_dir_all(&dir)?;
        fs::create_dir(&dir)?;
        let goal = applied(PORT).ok_or(io::ErrorKind::NotConnected)?;
        let begun = Instant::now();
        nodes.start_again(lost)?;
        wait_for_applied(PORT + NODES - 1, 0, begun)?;
        let watch = thread::spawn(move || wait_for_applied(PORT + NODES - 1, goal, begun));
        meanwhile.push(paced()?.p99_ms);
        let waited = watch.join().map_err(|_| io::Error::other("the watch panicked"))??;
        took.push(waited.as_secs_f64());
        client.wait_for_all()?;
    }
    let title = format!(
        "GETs and SETs, {} a second, a tenth of the SETs that the nodes can do, while one of them is sent {} keys of 80 \
         bytes; {}",
        thousands(pace),
        thousands(keys as f64),
        setting.rounds_in_words(&setting.fast_generator)
    );
    let head = ["all are up: p99 ms", "one catches up: p99 ms", "ratio", "it takes s"];
    let mut table = Table::new(title, &head, setting.is_markdown);
    let ratio = meanwhile.over(&before).spread();
    table.row(vec![before.spread(), meanwhile.spread(), ratio, took.spread()]);
    Ok(Some(table))
}

/// How many entries a node has taken in, of all shards together, once it is up.
fn applied(port: u16) -> Option<u64> {
    let told = Follower { port, stream: None }.ask("INFO raft\r\n").ok()?;
    let counts = told.split(',').filter_map(|field| field.strip_prefix("applied="));
    Some(counts.filter_map(|count| count.parse::<u64>().ok()).sum())
}

fn wait_for_applied(port: u16, goal: u64, begun: Instant) -> io::Result<Duration> {
    while begun.elapsed() < PATIENCE {
        if applied(port).is_some_and(|applied| applied >= goal) {
            return Ok(begun.elapsed());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(io::Error::other("a node does not catch up"))
}

/// CPU time of three idle nodes with sixteen shards each.
pub(crate) fn idle(setting: &Setting, servers: &[Installed]) -> io::Result<Option<Table>> {
    let Some(own) = servers.iter().find(|server| server.is_own()) else { return Ok(None) };
    progress("cluster: idle");
    let nodes = Nodes::start(own.program(), "16", "2", "async")?;
    thread::sleep(setting.settle(Duration::from_secs(2)));
    let before: Vec<Duration> =
        nodes.pids.iter().map(|pid| process::cpu_time(*pid)).collect::<io::Result<_>>()?;
    thread::sleep(setting.idle);
    let title = "Three idle nodes, 16 shards each";
    let mut table = Table::new(title, &["node", "% of one CPU"], setting.is_markdown);
    for (at, (pid, before)) in nodes.pids.iter().zip(before).enumerate() {
        let spent = process::cpu_time(*pid)?.saturating_sub(before);
        let share = spent.as_secs_f64() / setting.idle.as_secs_f64() * 100.0;
        table.row(vec![(at + 1).to_string(), format!("{share:.1}")]);
    }
    Ok(Some(table))
}

/// A client that goes where it is sent, and asks others when nobody answers.
#[derive(Default)]
struct Follower {
    port: u16,
    stream: Option<TcpStream>,
}

impl Follower {
    /// Sets a key; answers which node has acknowledged that.
    fn set(&mut self, key: &str) -> io::Result<usize> {
        let begun = Instant::now();
        let mut others = (PORT..PORT + NODES).cycle();
        if self.port == 0 {
            self.port = PORT;
        }
        while begun.elapsed() < PATIENCE {
            match self.ask(&format!("SET {key} value\r\n")) {
                Ok(reply) if reply.starts_with("+OK") => match self.node() {
                    Ok(node) => return Ok(node),
                    // It is gone since.
                    Err(_) => self.stream = None,
                },
                Ok(reply) if reply.starts_with("-MOVED") => {
                    let port =
                        reply.trim_end().rsplit(':').next().and_then(|port| port.parse().ok());
                    self.go_to(port.unwrap_or(PORT));
                    continue;
                }
                Ok(_) => {}
                Err(_) => self.stream = None,
            }
            thread::sleep(Duration::from_millis(1));
            self.go_to(others.next().unwrap_or(PORT));
        }
        Err(io::Error::other("nobody serves the key"))
    }

    fn go_to(&mut self, port: u16) {
        if port != self.port {
            (self.port, self.stream) = (port, None);
        }
    }

    fn ask(&mut self, request: &str) -> io::Result<String> {
        if self.stream.is_none() {
            let address = SocketAddr::from(([127, 0, 0, 1], self.port));
            let stream = TcpStream::connect_timeout(&address, TRY)?;
            stream.set_read_timeout(Some(TRY))?;
            self.stream = Some(stream);
            // Who has shown that it speaks cluster is told who leads a key: to others the node that they have asked passes
            // on what that has answered.
            self.ask("READWRITE\r\n")?;
        }
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
        stream.write_all(request.as_bytes())?;
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n") {
            let mut piece = [0; 16 * 1024];
            match stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => reply.extend_from_slice(&piece[..count]),
            }
        }
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }

    /// The number of the node that the last answer came from, from 0 on.
    fn node(&mut self) -> io::Result<usize> {
        let told = self.ask("INFO raft\r\n")?;
        let id = told.lines().find_map(|line| line.strip_prefix("node_id:")?.parse::<usize>().ok());
        id.map(|id| id - 1).ok_or_else(|| io::Error::other("a node does not say which it is"))
    }

    /// Waits until all nodes follow, and vote, so that the next loss is the only one.
    fn wait_for_all(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let all = (PORT..PORT + NODES).all(|port| {
                let mut asked = Self { port, stream: None };
                let told = asked.ask("INFO raft\r\n").unwrap_or_default();
                let is_served = |line: &&str| line.contains("role=") && !line.contains("leader=0,");
                told.lines().filter(is_served).count() == 2
                    && !told.contains("up=0")
                    && !told.contains("in_doubt=1")
            });
            if all {
                thread::sleep(Duration::from_millis(500));
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(io::Error::other("a node does not come back"))
    }
}
