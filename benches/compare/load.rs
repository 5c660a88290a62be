//! Load on a server, and what it costs the server: by `redis-benchmark` where the PATH has it, by a
//! closed loop over a few blocking connections where not. Where the server is faster than either can ask,
//! by this project's `loadgen`.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::client::Client;
use crate::process;
use crate::servers::{Running, on_path};

/// Connections at once.
pub(crate) const CONNECTIONS: usize = 50;
/// Keys are chosen at random from this many, named as `redis-benchmark` names them: 16 bytes.
pub(crate) const KEYS: u64 = 100_000;
/// `SET`s of one transaction.
const TRANSACTION_SETS: usize = 5;
pub(crate) const VALUE: [u8; 64] = [b'x'; 64];
/// A run that takes longer than this is given up.
pub(crate) const RUN_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Set,
    Get,
    /// `MULTI`, as many `SET`s as [`TRANSACTION_SETS`] says, `EXEC`: counted as one request.
    Transaction,
}

impl Verb {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Get => "GET",
            Self::Transaction => "MULTI, 5 SET, EXEC",
        }
    }

    fn command(self) -> String {
        self.name().to_lowercase()
    }
}

/// What is asked of a server in one run.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) verb: Verb,
    /// Requests that each connection has on the way.
    pub(crate) depth: usize,
    pub(crate) requests: u64,
    /// Whether clients ask the server for its slots and go to the port that owns a key.
    pub(crate) is_cluster: bool,
}

/// What a run came to.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) requests_per_second: f64,
    /// The server's user and system time over the requests, in microseconds.
    pub(crate) cpu_us: f64,
}

/// What a client saw of a run: latencies in milliseconds.
pub(crate) struct Seen {
    pub(crate) requests_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// What makes the load.
pub(crate) enum Generator {
    Loadgen(PathBuf),
    RedisBenchmark(PathBuf),
    BuiltIn,
}

impl Generator {
    pub(crate) fn find() -> Self {
        on_path("redis-benchmark").map_or(Self::BuiltIn, Self::RedisBenchmark)
    }

    /// The one that takes the least CPU itself: what is named, or stands beside this project's server.
    pub(crate) fn find_fast(named: Option<&Path>, server: &Path) -> io::Result<Self> {
        if let Some(named) = named {
            let program = named.canonicalize();
            let told = |error| io::Error::other(format!("{}: {error}", named.display()));
            return program.map(Self::Loadgen).map_err(told);
        }
        let beside = server.with_file_name("loadgen");
        Ok(if beside.is_file() { Self::Loadgen(beside) } else { Self::find() })
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Loadgen(_) => "loadgen",
            Self::RedisBenchmark(_) => "redis-benchmark",
            Self::BuiltIn => "a built-in client",
        }
    }

    /// Whether it can follow the slots of a cluster.
    pub(crate) fn follows_slots(&self) -> bool {
        matches!(self, Self::RedisBenchmark(_))
    }

    /// Puts GETs and as many SETs on `server` from `cpus`: what was seen of the GETs.
    pub(crate) fn run_mixed(
        &self,
        load: impl Fn(Verb) -> Load + Sync,
        server: &Running,
        cpus: &[usize],
    ) -> io::Result<Seen> {
        if let Self::Loadgen(program) = self {
            let load = load(Verb::Get);
            return process::pinned(cpus, || loadgen(program, "get=1,set=1", load, server.port));
        }
        // Two clients share the CPU, and feel one another.
        thread::scope(|scope| {
            let writing = scope.spawn(|| self.run_timed(load(Verb::Set), server, cpus));
            let reads = self.run_timed(load(Verb::Get), server, cpus);
            writing.join().map_err(|_| io::Error::other("the writer panicked"))??;
            reads.map(|(_, seen)| seen)
        })
    }

    fn loadgen(&self) -> io::Result<&Path> {
        let Self::Loadgen(program) = self else {
            return Err(io::Error::other("clusters are measured with loadgen: build it, too"));
        };
        Ok(program)
    }

    /// Puts `load` on the cluster that a port belongs to; only `loadgen` can.
    pub(crate) fn run_at(&self, load: Load, port: u16) -> io::Result<Seen> {
        let program = self.loadgen()?;
        loadgen(program, &format!("{}=1", load.verb.command()), load, port)
    }

    /// Puts GETs and as many SETs on a cluster, so many a second for so long, over so many keys.
    pub(crate) fn run_paced(
        &self,
        port: u16,
        (rate, time, keys): (f64, Duration, u64),
    ) -> io::Result<Seen> {
        let program = self.loadgen()?;
        let (rate, keys, time) =
            (rate.to_string(), keys.to_string(), format!("{}ms", time.as_millis()));
        let flags = ["--cluster", "--keys", &keys, "--rate", &rate, "--duration", &time];
        run_loadgen(program, port, "get=1,set=1", &flags, &["latency_us"])
    }

    /// Starts to put GETs and as many SETs on a cluster, so many a second, for longer than anybody measures. What it
    /// sees is not told: it is for whoever measures something else meanwhile.
    pub(crate) fn start_paced(&self, port: u16, rate: f64) -> io::Result<Child> {
        let mut command = loadgen_at(self.loadgen()?, port, "get=1,set=1");
        command.args(["--cluster", "--keys", &KEYS.to_string()]);
        command.args(["--rate", &rate.to_string(), "--duration", "1h"]);
        // It tells of errors while there is no leader.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    }

    /// Puts `load` on `server` from `cpus` and measures.
    pub(crate) fn run(&self, load: Load, server: &Running, cpus: &[usize]) -> io::Result<Cost> {
        self.run_timed(load, server, cpus).map(|(cost, _)| cost)
    }

    /// The same, with what the client saw.
    pub(crate) fn run_timed(
        &self,
        load: Load,
        server: &Running,
        cpus: &[usize],
    ) -> io::Result<(Cost, Seen)> {
        let before = server.cpu_time()?;
        let seen = process::pinned(cpus, || match self {
            Self::Loadgen(program) => {
                loadgen(program, &format!("{}=1", load.verb.command()), load, server.port)
            }
            Self::RedisBenchmark(program) => redis_benchmark(program.clone(), load, server),
            Self::BuiltIn => built_in(load, server),
        })?;
        let spent = server.cpu_time()?.saturating_sub(before);
        let cpu_us = spent.as_secs_f64() * 1e6 / load.requests as f64;
        Ok((Cost { requests_per_second: seen.requests_per_second, cpu_us }, seen))
    }
}

/// What was seen is of the load's verb, whatever else is in the mix.
fn loadgen(program: &Path, mix: &str, load: Load, port: u16) -> io::Result<Seen> {
    let (depth, requests) = (load.depth.to_string(), load.requests.to_string());
    let keys = KEYS.to_string();
    let mut flags = vec!["--keys", &keys, "--depth", &depth, "--requests", &requests];
    flags.extend(load.is_cluster.then_some("--cluster"));
    run_loadgen(program, port, mix, &flags, &["commands", &load.verb.command()])
}

/// `loadgen` with what all of its runs have in common.
fn loadgen_at(program: &Path, port: u16, mix: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--quiet", "--port", &port.to_string()])
        .args(["--connections", &CONNECTIONS.to_string()])
        .args(["--value-bytes", &VALUE.len().to_string()])
        .args(["--mix", mix]);
    command
}

/// Runs `loadgen`, and reads what its summary has under a name.
fn run_loadgen(
    program: &Path,
    port: u16,
    mix: &str,
    flags: &[&str],
    latencies: &[&str],
) -> io::Result<Seen> {
    let report = tempfile::NamedTempFile::new()?;
    let mut command = loadgen_at(program, port, mix);
    command.args(flags).arg("--json").arg(report.path());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let status = wait(&mut child)?;
    let report: serde_json::Value = serde_json::from_reader(report)?;
    let summary = &report["runs"][0]["summary"];
    let latency = latencies.iter().fold(summary, |at, name| &at[*name]);
    let figures = [&summary["requests_per_s"], &latency["p50"], &latency["p99"]];
    let (true, Some(0), [Some(requests_per_second), Some(p50_us), Some(p99_us)]) =
        (status, summary["errors"].as_u64(), figures.map(serde_json::Value::as_f64))
    else {
        return Err(io::Error::other("loadgen gave no figure, or counted errors"));
    };
    Ok(Seen { requests_per_second, p50_ms: p50_us / 1e3, p99_ms: p99_us / 1e3 })
}

fn redis_benchmark(program: PathBuf, load: Load, server: &Running) -> io::Result<Seen> {
    let mut command = Command::new(program);
    command
        .args(["-h", "127.0.0.1", "--csv"])
        .args(["-p", &server.port.to_string()])
        .args(["-c", &CONNECTIONS.to_string()])
        .args(["-r", &KEYS.to_string()])
        .args(["-d", &VALUE.len().to_string()])
        .args(["-P", &load.depth.to_string()])
        .args(["-n", &load.requests.to_string()])
        .args(["-t", &load.verb.command()]);
    if load.is_cluster {
        command.arg("--cluster");
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let status = wait(&mut child);
    let mut output = String::new();
    child.stdout.take().map_or(Ok(0), |mut out| out.read_to_string(&mut output))?;
    child.stderr.take().map_or(Ok(0), |mut err| err.read_to_string(&mut output))?;
    if let (true, Some(seen)) = (status?, seen(&output, load.verb)) {
        return Ok(seen);
    }
    let said = output.lines().last().unwrap_or("nothing");
    Err(io::Error::other(format!("redis-benchmark gave no figure; it said {said}")))
}

/// Waits for `child` and tells whether it succeeded; kills it when it takes too long.
fn wait(child: &mut Child) -> io::Result<bool> {
    let deadline = Instant::now() + RUN_TIMEOUT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other("redis-benchmark took too long"));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// What the row says that starts with the verb: `"SET","101010.10",…`, where the rate is followed by the
/// mean, the least, p50, p95, p99 and the greatest latency.
fn seen(csv: &str, verb: Verb) -> Option<Seen> {
    let start = format!("\"{}\",", verb.name());
    let row = csv.lines().find_map(|line| line.strip_prefix(&start))?;
    let numbers = row.split(',').map(|field| field.trim_matches('"').parse());
    let numbers: Vec<f64> = numbers.collect::<Result<_, _>>().ok()?;
    let [requests_per_second, _, _, p50_ms, _, p99_ms, ..] = numbers[..] else { return None };
    Some(Seen { requests_per_second, p50_ms, p99_ms })
}

fn built_in(load: Load, server: &Running) -> io::Result<Seen> {
    let mut random = 1_u64;
    closed_loop((load.requests, load.depth), server, |client| {
        add(client, load.verb, || next(&mut random) % KEYS);
    })
}

/// Each connection in turn gives up the replies to its last batch and sends the next one, so that
/// the others' batches are on the way meanwhile.
pub(crate) fn closed_loop(
    (requests, depth): (u64, usize),
    server: &Running,
    mut add: impl FnMut(&mut Client),
) -> io::Result<Seen> {
    let mut clients = (0..CONNECTIONS)
        .map(|_| Client::connect(server.address()))
        .collect::<io::Result<Vec<_>>>()?;
    let mut left = requests;
    let start = Instant::now();
    let mut rounds = Histogram::<u64>::new(3).map_err(io::Error::other)?;
    while left > 0 {
        let round = Instant::now();
        for client in &mut clients {
            client.finish()?;
            for _ in 0..left.min(depth as u64) {
                add(client);
                left -= 1;
            }
            client.send()?;
        }
        if start.elapsed() > RUN_TIMEOUT {
            return Err(io::Error::other("the load took too long"));
        }
        let nanos = u64::try_from(round.elapsed().as_nanos()).unwrap_or(u64::MAX);
        rounds.record(nanos).map_err(io::Error::other)?;
    }
    clients.iter_mut().try_for_each(Client::finish)?;
    let requests_per_second = requests as f64 / start.elapsed().as_secs_f64();
    let ms = |quantile| rounds.value_at_quantile(quantile) as f64 / 1e6;
    Ok(Seen { requests_per_second, p50_ms: ms(0.5), p99_ms: ms(0.99) })
}

fn add(client: &mut Client, verb: Verb, mut number: impl FnMut() -> u64) {
    match verb {
        Verb::Set => client.add(&[b"SET", &key(number()), &VALUE]),
        Verb::Get => client.add(&[b"GET", &key(number())]),
        Verb::Transaction => {
            client.add(&[b"MULTI"]);
            for _ in 0..TRANSACTION_SETS {
                client.add(&[b"SET", &key(number()), &VALUE]);
            }
            client.add(&[b"EXEC"]);
        }
    }
}

/// `key:` and twelve digits.
pub(crate) fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit += u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    key
}

/// Knuth's MMIX generator; its high bits are random enough to choose keys by.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Writes `count` keys of 16 bytes with values of 64, each once, with `options` of `SET`.
pub(crate) fn fill_with(client: &mut Client, count: u64, options: &[&[u8]]) -> io::Result<()> {
    const BATCH: usize = 256;
    for first in (0..count).step_by(BATCH) {
        for number in first..count.min(first + BATCH as u64) {
            let key = key(number);
            let set: [&[u8]; 3] = [b"SET", &key, &VALUE];
            client.add(&[&set, options].concat());
        }
        client.send()?;
        client.finish()?;
    }
    Ok(())
}

/// Writes `count` keys of 16 bytes with values of `bytes`, each once.
pub(crate) fn fill_values(server: &Running, count: u64, bytes: u64) -> io::Result<()> {
    const BATCH: usize = 64;
    let mut client = Client::connect(server.address())?;
    let value = vec![b'x'; usize::try_from(bytes).map_err(io::Error::other)?];
    for first in (0..count).step_by(BATCH) {
        for number in first..count.min(first + BATCH as u64) {
            client.add(&[b"SET", &key(number), &value]);
        }
        client.send()?;
        client.finish()?;
    }
    Ok(())
}

/// Fills a server that is empty.
pub(crate) fn fill(server: &Running, count: u64) -> io::Result<()> {
    let mut client = Client::connect(server.address())?;
    fill_with(&mut client, count, &[])?;
    let expected = format!(":{count}\r\n");
    match client.call(&[b"DBSIZE"])? {
        size if size == expected.as_bytes() => Ok(()),
        size => Err(io::Error::other(format!("DBSIZE is {}", size.escape_ascii()))),
    }
}

/// Bytes of one key and its value as [`fill`] writes them.
pub(crate) const ENTRY_BYTES: u64 = 16 + VALUE.len() as u64;

/// What every speed run starts from: most of the keys are there, and the server is warm.
pub(crate) fn warm_up(server: &Running) -> io::Result<()> {
    let load = Load { verb: Verb::Set, depth: 64, requests: 4 * KEYS, is_cluster: false };
    built_in(load, server).map(drop)
}
