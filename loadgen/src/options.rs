//! The command line, and what it comes to: a [`Plan`] and [`WorkOptions`]. What makes no sense is refused
//! here or where it is understood, in one sentence.

#![allow(rustdoc::broken_intra_doc_links, reason = "the page of --help has brackets")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand};

use crate::compare::{CompareOptions, Comparison};
use crate::engine::plan::{Amount, Auth, Cpus, Load, Plan, Protocol};
use crate::quantity;
use crate::report::Outputs;
use crate::report::overlay::ReportOptions;
use crate::schedule::{Arrivals, Curve};
use crate::search::Range;
use crate::work::{TraceOptions, WorkOptions};

/// Requests of a run that nothing else bounds; as many as redis-benchmark makes.
const REQUESTS: u64 = 100_000;
/// Length of values, as redis-benchmark's; and with room for what --verify writes into them.
const VALUE_BYTES: &str = "3";
const VALUE_BYTES_VERIFIED: &str = "64";
/// Length of one step of a search.
const SEARCH_STEP: Duration = Duration::from_secs(5);
/// Most threads, which is more than there are CPUs to pin them to.
const THREADS_MAX: i64 = 1024;

const EXAMPLES: &str = "\
Examples:
  loadgen                                       50 connections, 100,000 requests, 90 % GET, 10 % SET
  loadgen --connections 50 --depth 16 --mix set=1 --requests 1000000
  loadgen --fill --keys 1000000 --key-dist zipfian:0.99 --value-bytes lognormal:300:1.2 --duration 30s
  loadgen --rate 50000 --arrivals poisson --duration 60s --html run.html --json run.json
  loadgen --ramp 1k:200k:60s                    where do latencies begin to rise?
  loadgen --search-slo 'p99.9<1ms' --duration 10s --threads 2 --html search.html
  loadgen --mix 'get=80,set {key} {value} ex 60=15,incr counter:{key}=5' --keys 10000
  loadgen --verify --duration 60s               is every acknowledged write there, and no other?
  loadgen --cluster --port 7000 --protocol resp3
  loadgen --cluster --protocol binary --depth 64  Ringmain's own protocol, each key to the core that owns it
  loadgen --trace cluster52.csv.zst --trace-format twitter --fill-on-miss
  loadgen report before.json after.json --html both.html
  loadgen compare --server 'redis=redis-server --port {port} --save \"\"' \\
                  --server 'ringmain=ringmain --port {port}' --server-cpus 0 --cpus 1 --depth 16

Exit status: 0 if every reply was right, 1 if some were not or the run broke, 2 if what was asked makes no
sense or there is no server, 130 if interrupted.";

/// Put load on a server that speaks Redis's protocol or Ringmain's, and report what it answers and how fast.
#[derive(Parser, Clone, Debug)]
#[command(name = "loadgen", version, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(max_term_width = 110)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

/// What is done other than a run.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Command {
    Report(ReportOptions),
    Compare(Box<CompareRun>),
}

/// The same load against several servers.
#[derive(Args, Clone, Debug)]
#[command(about = "Run the same load against several servers, each started in turn")]
pub(crate) struct CompareRun {
    #[command(flatten)]
    pub(crate) compare: CompareOptions,
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    #[command(flatten)]
    pub(crate) outputs: Outputs,
}

/// One run, or a search.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    /// Find the highest rate that meets an objective, like 'p99.9<1ms'; each step takes --duration.
    #[arg(long, value_name = "OBJECTIVE", help_heading = "Load", conflicts_with_all = ["rate", "ramp", "steps", "requests"])]
    pub(crate) search_slo: Option<String>,
    /// The rate that a search starts with.
    #[arg(long, value_name = "RATE", help_heading = "Load", requires = "search_slo", value_parser = quantity::rate)]
    pub(crate) search_from: Option<f64>,
    /// The highest rate that a search tries.
    #[arg(long, value_name = "RATE", help_heading = "Load", requires = "search_slo", value_parser = quantity::rate)]
    pub(crate) search_to: Option<f64>,
    #[command(flatten)]
    pub(crate) outputs: Outputs,
    /// What reports call this run.
    #[arg(long, help_heading = "Reports")]
    pub(crate) label: Option<String>,
    /// No live line.
    #[arg(long, short, help_heading = "Reports")]
    pub(crate) quiet: bool,
}

/// Where the server is and how to speak to it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerOptions {
    /// Name or address.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port.
    #[arg(long, short, default_value_t = 6379, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
}

/// What load is put on the server; the same for a run and a comparison.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadOptions {
    /// What is spoken.
    #[arg(long, value_enum, default_value = "resp2", help_heading = "Server")]
    pub(crate) protocol: Protocol,
    /// The server is a cluster: each key goes to the node that owns its slot.
    #[arg(long, help_heading = "Server")]
    pub(crate) cluster: bool,
    /// The password.
    #[arg(long, short, value_name = "PASSWORD", help_heading = "Server")]
    pub(crate) auth: Option<String>,
    /// The user it belongs to.
    #[arg(long, requires = "auth", help_heading = "Server")]
    pub(crate) user: Option<String>,
    /// The database to select.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, help_heading = "Server")]
    pub(crate) db: u32,

    #[command(flatten)]
    pub(crate) amount: AmountOptions,
    #[command(flatten)]
    pub(crate) work: RequestOptions,
}

/// How much, how fast, from where.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub(crate) struct AmountOptions {
    /// Connections; with --cluster, clients with one connection to each node.
    #[arg(long, short, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) connections: u32,
    /// Requests that each connection has on the way: sent together in a closed loop, at most so many in
    /// an open one.
    #[arg(long, short = 'P', value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) depth: u32,
    /// Threads that the connections are spread over, each pinned to a CPU.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    pub(crate) threads: u16,
    /// The threads' CPUs, like 2,3 or 4-7; 'any' leaves them to the kernel. By default the last ones.
    #[arg(long, value_name = "LIST", value_parser = quantity::cpus)]
    pub(crate) cpus: Option<Cpus>,
    /// End after so many requests; 100,000 if nothing else ends the run.
    #[arg(long, short = 'n', value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "duration")]
    pub(crate) requests: Option<u64>,
    /// End after that time, like 30s, 5m or 500ms.
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub(crate) duration: Option<Duration>,
    /// Time under load before anything counts.
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub(crate) warmup: Option<Duration>,
    /// Open loop: requests a second, like 50000 or 50k, sent when they are due, whatever the server
    /// does, and timed from when they were due. Without a rate the loop is closed: a connection waits
    /// for its replies before it sends again, and a server that stalls is asked less.
    #[arg(long, value_name = "RATE", value_parser = quantity::rate, conflicts_with_all = ["ramp", "steps"])]
    pub(crate) rate: Option<f64>,
    /// Open loop whose rate goes evenly from one to another, like 1k:100k:60s.
    #[arg(long, value_name = "FROM:TO:TIME", value_parser = quantity::ramp, conflicts_with = "steps")]
    pub(crate) ramp: Option<Curve>,
    /// Open loop with one rate after another, each for that time, like 10k,20k,40k:10s.
    #[arg(long, value_name = "RATE,RATE,..:TIME", value_parser = quantity::steps)]
    pub(crate) steps: Option<Curve>,
    /// Open loop: how requests are spread in time.
    #[arg(long, value_enum, default_value = "constant")]
    pub(crate) arrivals: Arrivals,
}

/// What is asked.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Requests")]
pub(crate) struct RequestOptions {
    /// Commands and their weights, like get=90,set=10. Any command will do, with {key} and {value}
    /// for what is drawn: 'lpush list:{key} {value}=1'.
    #[arg(long, value_name = "COMMAND=WEIGHT,..")]
    pub(crate) mix: Vec<String>,
    /// Keys to choose from.
    #[arg(long, short = 'r', value_name = "NUMBER", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keys: u64,
    /// How they are chosen: uniform, zipfian[:EXPONENT], hotspot:KEYS:REQUESTS (shares), sequential,
    /// latest.
    #[arg(long, value_name = "DISTRIBUTION", default_value = "uniform")]
    pub(crate) key_dist: String,
    /// What key names start with.
    #[arg(long, value_name = "TEXT")]
    pub(crate) key_prefix: Option<String>,
    /// Length of values: 64, uniform:10-100, lognormal:MEDIAN:SIGMA[:MAX], or a list 64=70,512=30; 3 if
    /// not given, and 64 with --verify, which needs 24.
    #[arg(long, short = 'd', value_name = "SIZE")]
    pub(crate) value_bytes: Option<String>,
    /// How long what is written lives: 60, 500ms, 10s-60s.
    #[arg(long, value_name = "TIME")]
    pub(crate) ttl: Option<String>,
    /// Where everything drawn starts from: the same seed asks the same.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write every key once before the run.
    #[arg(long)]
    pub(crate) fill: bool,
    /// Write values that say which key and version they are, and judge every one that is read.
    #[arg(long)]
    pub(crate) verify: bool,
    /// Write a key after a read that missed it, as an application does that uses a cache.
    #[arg(long)]
    pub(crate) fill_on_miss: bool,
    /// Replay a file of requests instead of a mix, and report the hit ratio.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mix", "verify"])]
    pub(crate) trace: Option<PathBuf>,
    /// Its columns: auto, ringmain, twitter, libcachesim, or their names.
    #[arg(long, value_name = "FORMAT", default_value = "auto", requires = "trace")]
    pub(crate) trace_format: String,
    /// Replay in the trace's own time, so many times as fast; without it as fast as the server answers.
    #[arg(long, value_name = "FACTOR", requires = "trace", value_parser = quantity::factor, conflicts_with_all = ["rate", "ramp", "steps"])]
    pub(crate) trace_speed: Option<f64>,
}

/// What stands against a command line, in one line.
pub(crate) fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    // Tips and usage follow after an empty line.
    let paragraph = text.split("\n\n").next().unwrap_or(&text);
    let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
    let line = lines.join(" ");
    format!("{}; try --help", line.strip_prefix("error: ").unwrap_or(&line))
}

impl RunOptions {
    /// What the engine is to do.
    pub(crate) fn plan(&self, stop: Arc<AtomicBool>) -> Plan {
        let mut plan = self.load.plan(&self.server.host, self.server.port, stop);
        if let Some(label) = &self.label {
            plan.label.clone_from(label);
        }
        if self.search_slo.is_some() {
            plan.amount = Amount::Time(self.load.amount.duration.unwrap_or(SEARCH_STEP));
        }
        plan
    }

    /// Where a search looks.
    pub(crate) fn search_range(&self) -> Range {
        let usual = Range::default();
        let to = self.search_to.unwrap_or(usual.to);
        Range { from: self.search_from.unwrap_or(usual.from).min(to), to, ..usual }
    }
}

impl CompareRun {
    /// Writes the table as Markdown, if that is asked for.
    pub(crate) fn write_markdown(&self, comparison: &Comparison) -> Result<(), String> {
        let Some(path) = &self.compare.markdown else { return Ok(()) };
        let written = std::fs::write(path, comparison.markdown());
        written.map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl LoadOptions {
    /// What the engine is to do with the server at this address.
    pub(crate) fn plan(&self, host: &str, port: u16, stop: Arc<AtomicBool>) -> Plan {
        let amount = &self.amount;
        Plan {
            label: format!("{host}:{port}"),
            host: host.to_owned(),
            port,
            connections: amount.connections as usize,
            depth: amount.depth as usize,
            threads: usize::from(amount.threads),
            cpus: amount.cpus.clone().unwrap_or(Cpus::Last),
            amount: self.amount(),
            warmup: amount.warmup.unwrap_or_default(),
            load: self.load(),
            protocol: self.protocol,
            cluster: self.cluster,
            auth: self
                .auth
                .as_ref()
                .map(|password| Auth { user: self.user.clone(), password: password.clone() }),
            db: self.db,
            seed: self.work.seed,
            stop,
        }
    }

    fn curve(&self) -> Option<Curve> {
        let AmountOptions { rate, ramp, steps, .. } = &self.amount;
        rate.map(Curve::constant).or_else(|| ramp.clone()).or_else(|| steps.clone())
    }

    fn load(&self) -> Load {
        match self.curve() {
            Some(curve) => Load::Open { curve, arrivals: self.amount.arrivals },
            None if self.work.trace_speed.is_some() => Load::Replay,
            None => Load::Closed,
        }
    }

    fn amount(&self) -> Amount {
        let amount = &self.amount;
        let time = amount.duration.or_else(|| self.curve()?.length());
        match (amount.requests, time) {
            (Some(count), _) => Amount::Requests(count),
            (None, Some(time)) => Amount::Time(time),
            (None, None) if self.work.trace.is_some() => Amount::Everything,
            (None, None) => Amount::Requests(REQUESTS),
        }
    }

    /// What the workload is to be.
    pub(crate) fn work(&self) -> WorkOptions {
        let work = &self.work;
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        WorkOptions {
            mix: work.mix.clone(),
            keys: work.keys,
            key_dist: work.key_dist.clone(),
            key_prefix: work.key_prefix.clone(),
            value_bytes: work.value_bytes.clone().unwrap_or_else(|| {
                if work.verify { VALUE_BYTES_VERIFIED } else { VALUE_BYTES }.to_owned()
            }),
            ttl: work.ttl.clone(),
            seed: work.seed,
            verify: work.verify,
            fill_on_miss: work.fill_on_miss,
            cluster: self.cluster,
            binary: self.protocol == Protocol::Binary,
            connections: u64::from(self.amount.connections),
            started_at_unix_s: since_epoch.unwrap_or_default().as_secs(),
            trace: work.trace.as_ref().map(|path| TraceOptions {
                path: path.clone(),
                format: work.trace_format.clone(),
                speed: work.trace_speed,
            }),
        }
    }
}

impl Plan {
    /// What a reader of the report should know of it, by name.
    pub(crate) fn settings(&self, work: &WorkOptions) -> Vec<(String, String)> {
        let mut settings = vec![("server", format!("{}:{}", self.host, self.port))];
        let loop_kind = match &self.load {
            Load::Closed => "closed loop".to_owned(),
            Load::Open { curve, arrivals } => format!("open loop, {curve}, {arrivals}"),
            Load::Replay => "replay in the trace's time".to_owned(),
        };
        settings.push(("load", loop_kind));
        let cluster = if self.cluster { ", each to every node" } else { "" };
        settings.push(("connections", format!("{}{cluster}", self.connections)));
        settings.push(("depth", self.depth.to_string()));
        settings.push(("protocol", format!("{:?}", self.protocol).to_lowercase()));
        settings.push(("threads", self.threads.to_string()));
        if !self.warmup.is_zero() {
            settings.push(("warm-up", format!("{:?}", self.warmup)));
        }
        settings.extend(work_settings(work));
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn work_settings(work: &WorkOptions) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    if let Some(trace) = &work.trace {
        settings.push(("trace", trace.path.display().to_string()));
    } else {
        if !work.mix.is_empty() {
            settings.push(("mix", work.mix.join(",")));
        }
        settings.push(("keys", format!("{}, {}", work.keys, work.key_dist)));
        settings.push(("value bytes", work.value_bytes.clone()));
    }
    if let Some(ttl) = &work.ttl {
        settings.push(("ttl", ttl.clone()));
    }
    settings.push(("seed", work.seed.to_string()));
    if work.verify {
        settings.push(("verify", "every value read".to_owned()));
    }
    settings
}
