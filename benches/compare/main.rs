//! Ringmain beside the RESP servers on the PATH: requests per second and the server's CPU time per
//! request, one shard and two; memory per key and per idle connection; CPU time when idle; what a
//! bystander feels of large work.
//!
//! `cargo bench --bench compare -- [options]`; `--help` lists them. Every server runs on loopback, is
//! started by this program and ends with it. The figures of the README are those of the release
//! build: `cargo build --release && cargo bench --bench compare -- --ringmain target/release/ringmain`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

mod client;
mod cluster;
mod durable;
mod load;
mod long;
mod memory;
mod process;
mod protocols;
mod pubsub;
mod servers;
mod speed;
mod stalls;
mod table;
mod types;

use load::Generator;
use servers::Installed;
use table::Table;

/// Compare RESP servers: requests per second, CPU time, memory.
#[derive(Parser)]
#[command(name = "compare")]
struct Options {
    /// Rounds over all servers; figures are medians of them.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Requests of one run at depth 1; pipelined runs make eight times as many.
    #[arg(long, default_value_t = 200_000)]
    requests: u64,
    /// Depths of the pipelines that speed is measured at; 1, 16 and 64 if none is named.
    #[arg(long, value_delimiter = ',')]
    depths: Vec<usize>,
    /// Servers to compare, by name; all that are found if none is named.
    #[arg(long, value_delimiter = ',')]
    servers: Vec<String>,
    /// CPUs to use: servers run on the first, two shards on the first two, clients on the others.
    #[arg(long, value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Parts to run; all if none is named.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// This project's server.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_ringmain"))]
    ringmain: PathBuf,
    /// What makes load where `redis-benchmark` can't keep up; the `loadgen` beside the server if none is named.
    #[arg(long)]
    loadgen: Option<PathBuf>,
    /// Run everything once and briefly, to see that it works. The figures mean nothing.
    #[arg(long)]
    smoke: bool,
    /// Print tables in Markdown.
    #[arg(long)]
    markdown: bool,
    /// What `cargo bench` adds; without it (`cargo test --benches`) the run is a smoke run.
    #[arg(long, hide = true)]
    bench: bool,
    /// What criterion's benches take for a smoke run.
    #[arg(long, hide = true)]
    test: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One shard on one CPU beside the other servers.
    Speed,
    /// Transactions on one shard.
    Transactions,
    /// Lists, sets, hashes and sorted sets.
    Types,
    /// Two shards on two CPUs beside one on one.
    Shards,
    /// SETs with a log on disk.
    Durable,
    /// GETs among as many SETs with a log on disk.
    Mixed,
    /// Bytes on disk for a byte of keys and values.
    Amplification,
    /// RESP and the binary protocol beside one another.
    Protocols,
    /// Memory per key.
    Keys,
    /// Memory per element of collections.
    Elements,
    /// Memory per idle connection.
    Connections,
    /// CPU time when idle.
    Idle,
    /// Values of megabytes.
    Long,
    /// A message to many subscribers.
    Pubsub,
    /// What a bystander's slowest request takes while the server has something large to do.
    Stalls,
    /// Three nodes beside one.
    Cluster,
    /// What a lost leader costs.
    Failover,
    /// What clients feel while a node catches up.
    CatchUp,
    /// CPU time of idle nodes.
    ClusterIdle,
}

/// Which CPUs a server and its clients run on.
pub(crate) struct Placement {
    pub(crate) server: Vec<usize>,
    pub(crate) clients: Vec<usize>,
}

/// How much of everything.
pub(crate) struct Setting {
    pub(crate) rounds: u64,
    pub(crate) requests: u64,
    pub(crate) depths: Vec<usize>,
    pub(crate) keys: u64,
    pub(crate) connections: usize,
    pub(crate) idle: Duration,
    pub(crate) generator: Generator,
    /// For what `redis-benchmark` can't keep up with.
    pub(crate) fast_generator: Generator,
    /// One shard on one CPU.
    pub(crate) one: Placement,
    /// Two shards on two CPUs.
    pub(crate) two: Placement,
    /// One shard on one CPU with its clients where those of two shards are: where a client runs
    /// changes what waking it costs the server.
    pub(crate) one_of_two: Placement,
    pub(crate) is_smoke: bool,
    pub(crate) is_markdown: bool,
}

impl Setting {
    fn new(options: &Options) -> io::Result<Self> {
        let is_smoke = options.smoke || options.test || !options.bench;
        let choose = |full, brief| if is_smoke { brief } else { full };
        let cpus =
            if options.cpus.is_empty() { process::allowed_cpus()? } else { options.cpus.clone() };
        let [first, others @ ..] = &cpus[..] else {
            return Err(io::Error::other("no CPU to run on"));
        };
        let client = others.first().unwrap_or(first);
        let shards = &cpus[..cpus.len().min(2)];
        let clients = if cpus.len() > 2 { &cpus[2..] } else { &cpus[..] };
        Ok(Self {
            rounds: choose(options.rounds, 1),
            requests: choose(options.requests, 2_000),
            depths: match &options.depths[..] {
                [] if is_smoke => vec![1, 16],
                [] => vec![1, 16, 64],
                depths => depths.to_vec(),
            },
            keys: choose(1_000_000, 10_000),
            connections: if is_smoke { 100 } else { 10_000 },
            idle: Duration::from_millis(choose(5_000, 200)),
            generator: Generator::find(),
            fast_generator: Generator::find_fast(options.loadgen.as_deref(), &options.ringmain)?,
            one: Placement { server: vec![*first], clients: vec![*client] },
            two: Placement { server: shards.to_vec(), clients: clients.to_vec() },
            one_of_two: Placement { server: vec![*first], clients: clients.to_vec() },
            is_smoke,
            is_markdown: options.markdown,
        })
    }

    /// The rounds and what stands in a cell, for a table's title.
    pub(crate) fn rounds_in_words(&self, generator: &Generator) -> String {
        let cells = "median (least-greatest)";
        format!("{} round(s), {cells}, load by {}", self.rounds, generator.name())
    }

    /// `time`, to wait before memory or CPU time is read; a smoke run does not wait.
    pub(crate) fn settle(&self, time: Duration) -> Duration {
        if self.is_smoke { Duration::ZERO } else { time }
    }
}

/// Says what is being done.
pub(crate) fn progress(what: &str) {
    eprintln!("{what}");
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let setting = Setting::new(options)?;
    // Servers run in folders of their own.
    let own = options
        .ringmain
        .canonicalize()
        .map_err(|error| io::Error::other(format!("{}: {error}", options.ringmain.display())))?;
    let servers = startable(&setting, servers::installed(&own, &options.servers))?;
    println!("{}\n", machine(&setting));
    let mut failed = Vec::new();
    for &part in Part::value_variants() {
        if options.only.is_empty() || options.only.contains(&part) {
            match table(part, &setting, &servers) {
                Ok(Some(table)) => println!("{table}"),
                Ok(None) => {}
                Err(error) => failed.push(error.to_string()),
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(io::Error::other(failed.join("; "))) }
}

/// The table of one part; none if this machine or choice of servers has nothing for it.
fn table(part: Part, setting: &Setting, servers: &[Installed]) -> io::Result<Option<Table>> {
    Ok(Some(match part {
        Part::Speed => speed::one_shard(setting, servers)?,
        Part::Transactions => speed::transactions(setting, servers)?,
        Part::Types => types::table(setting, servers)?,
        Part::Shards if setting.two.server.len() < 2 => {
            progress("shards: left out, there is only one CPU");
            return Ok(None);
        }
        Part::Shards => match servers.iter().find(|server| server.is_own()) {
            Some(own) => speed::two_shards(setting, own)?,
            None => return Ok(None),
        },
        Part::Durable => durable::writes(setting, servers)?,
        Part::Mixed => durable::mixed(setting, servers)?,
        Part::Amplification => durable::amplification(setting, servers)?,
        Part::Protocols => match servers.iter().find(|server| server.is_own()) {
            Some(own) => protocols::table(setting, own)?,
            None => return Ok(None),
        },
        Part::Keys => memory::per_key(setting, servers)?,
        Part::Elements => memory::per_element(setting, servers)?,
        Part::Connections => memory::per_connection(setting, servers)?,
        Part::Idle => memory::idle(setting, servers)?,
        Part::Long => long::table(setting, servers)?,
        Part::Pubsub => pubsub::table(setting, servers)?,
        Part::Stalls => stalls::table(setting, servers)?,
        Part::Cluster | Part::Failover | Part::CatchUp | Part::ClusterIdle
            if !matches!(setting.fast_generator, Generator::Loadgen(_)) =>
        {
            progress(
                "clusters: left out, there is no loadgen beside the server, and none is named",
            );
            return Ok(None);
        }
        Part::Cluster => return cluster::speed(setting, servers),
        Part::Failover => return cluster::failover(setting, servers),
        Part::CatchUp => return cluster::catch_up(setting, servers),
        Part::ClusterIdle => return cluster::idle(setting, servers),
    }))
}

/// The servers that do start. Another's failure is told and left out; this project's own is an error.
fn startable(setting: &Setting, installed: Vec<Installed>) -> io::Result<Vec<Installed>> {
    let mut servers = Vec::new();
    for server in installed {
        match server.start(&setting.one.server) {
            Ok(_) => servers.push(server),
            Err(error) if server.is_own() => return Err(error),
            Err(error) => progress(&format!("left out: {error}")),
        }
    }
    if servers.is_empty() {
        Err(io::Error::other("none of these servers is here"))
    } else {
        Ok(servers)
    }
}

/// Where the figures come from.
fn machine(setting: &Setting) -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    let kernel = read("/proc/sys/kernel/osrelease");
    let Placement { server, clients } = &setting.one;
    format!(
        "{}, Linux {}; server on CPU {server:?}, clients on {clients:?}; two shards on {:?}, their \
         clients on {:?}",
        model.map_or("an unnamed CPU", str::trim),
        kernel.trim(),
        setting.two.server,
        setting.two.clients,
    )
}
