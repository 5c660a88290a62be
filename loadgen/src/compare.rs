//! `loadgen compare`: the same load on several servers, round after round, side by side.
//!
//! Each server is started alone, on the CPUs given, measured, and stopped before the next one
//! starts. Rounds alternate the order, so that a machine that warms up or slows down favours nobody.
//! How a server is loaded is a closure's business.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::report::document::Document;
use crate::report::outcome::Outcome;
use crate::report::progress::{LiveLine, Progress, Watch};
use crate::report::table::{Table, clean};
use crate::report::{QUANTILES, units, warnings};

pub(crate) mod cpus;
mod server;

use cpus::CpuList;
use server::{ServerProcess, Spec};

/// Run the same load against several servers, each started in turn.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareOptions {
    /// A server: its name and its command with `{port}`, and `{port+1}` and the like for further
    /// ports of its own. Once for each; the first is what the others are compared with.
    #[arg(long = "server", required = true, value_name = "NAME=COMMAND")]
    servers: Vec<Spec>,
    /// CPUs for the servers, such as `0` or `0,2-3`; the client runs on the others.
    #[arg(long, value_name = "CPUS")]
    server_cpus: Option<CpuList>,
    /// How often each server is started and measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long a server may take until it answers, in seconds.
    #[arg(long, default_value_t = 30, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    start_timeout: u64,
    /// The table of the comparison in Markdown.
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
}

impl CompareOptions {
    /// Where the client may run: every CPU it is allowed that is not the servers', or all if that
    /// leaves none.
    pub(crate) fn client_cpus(&self) -> Vec<usize> {
        let allowed = cpus::allowed();
        let Some(servers) = &self.server_cpus else { return allowed };
        let others: Vec<usize> =
            allowed.iter().copied().filter(|cpu| !servers.contains(*cpu)).collect();
        if others.is_empty() { allowed } else { others }
    }

    /// Refuses what can't work before anything is started.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (i, spec) in self.servers.iter().enumerate() {
            if self.servers[..i].iter().any(|earlier| earlier.name == spec.name) {
                return Err(format!("two servers are called {}", spec.name));
            }
        }
        let Some(list) = &self.server_cpus else { return Ok(()) };
        let allowed = cpus::allowed();
        match list.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(cpu) => Err(format!("--server-cpus: there is no CPU {cpu} here")),
            None => Ok(()),
        }
    }
}

/// A server that runs and waits for its load.
pub(crate) struct Target<'a> {
    pub(crate) name: &'a str,
    pub(crate) host: &'static str,
    pub(crate) port: u16,
}

/// Every server with what it came to in each round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Comparison {
    pub(crate) servers: Vec<ServerRounds>,
}

/// One server's rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ServerRounds {
    pub(crate) name: String,
    pub(crate) command: String,
    pub(crate) rounds: Vec<Round>,
}

/// The figures of one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Round {
    pub(crate) requests_per_s: f64,
    /// By [`QUANTILES`].
    pub(crate) quantiles_ns: Vec<u64>,
    pub(crate) mean_ns: f64,
    pub(crate) max_ns: u64,
    pub(crate) errors: u64,
    pub(crate) server_cpu_us_per_request: Option<f64>,
    /// Of the reads, and of the bytes that were asked for, how many were found.
    pub(crate) hit_ratio: Option<f64>,
    pub(crate) byte_hit_ratio: Option<f64>,
    /// The tool itself may have set the pace.
    pub(crate) limited_by_tool: bool,
}

impl Round {
    fn of(outcome: &Outcome) -> Self {
        let total = outcome.total();
        Self {
            requests_per_s: outcome.rate(),
            quantiles_ns: QUANTILES.map(|q| total.value_at_quantile(q)).to_vec(),
            mean_ns: total.mean(),
            max_ns: total.max(),
            errors: outcome.errors() + outcome.faults.replies(),
            server_cpu_us_per_request: outcome.server_cpu_us_per_request(),
            hit_ratio: outcome.hit_ratio(),
            byte_hit_ratio: outcome.byte_hit_ratio(),
            limited_by_tool: warnings::is_limited_by_tool(outcome),
        }
    }

    pub(crate) fn quantile_ns(&self, quantile: f64) -> Option<f64> {
        let index = QUANTILES.iter().position(|q| *q == quantile)?;
        self.quantiles_ns.get(index).map(|ns| *ns as f64)
    }
}

/// Starts, loads and stops every server in every round. What was measured before something failed
/// is returned beside the failure.
pub(crate) fn compare(
    options: &CompareOptions,
    stop: &AtomicBool,
    run: &mut dyn FnMut(&Target<'_>, &mut dyn Watch) -> Result<Outcome, String>,
) -> (Document, Result<(), String>) {
    let mut rounds = Rounds::new(options);
    let result = rounds.run(options, stop, run);
    (rounds.document, result)
}

struct Rounds {
    document: Document,
    comparison: Comparison,
}

impl Rounds {
    fn new(options: &CompareOptions) -> Self {
        let servers = options.servers.iter().map(|spec| ServerRounds {
            name: spec.name.clone(),
            command: spec.command.clone(),
            rounds: Vec::new(),
        });
        let comparison = Comparison { servers: servers.collect() };
        Self { document: Document::default(), comparison }
    }

    fn run(
        &mut self,
        options: &CompareOptions,
        stop: &AtomicBool,
        run: &mut dyn FnMut(&Target<'_>, &mut dyn Watch) -> Result<Outcome, String>,
    ) -> Result<(), String> {
        options.check()?;
        for round in 0..options.rounds {
            let mut order: Vec<usize> = (0..options.servers.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let spec = &options.servers[index];
                let timeout = Duration::from_secs(options.start_timeout);
                let cpus = options.server_cpus.as_ref();
                let server = ServerProcess::start(spec, cpus, timeout, stop)?;
                let prefix = format!("{} {}/{}  ", clean(&spec.name), round + 1, options.rounds);
                let outcome = measure(&server, spec, &prefix, run)
                    .map_err(|error| format!("{}: {error}", server.described(spec)))?;
                drop(server);
                eprintln!("{prefix}{}", told(&outcome));
                let is_interrupted = outcome.interrupted || stop.load(Ordering::Relaxed);
                self.enter(index, outcome);
                if is_interrupted {
                    return Err("interrupted".to_owned());
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, index: usize, mut outcome: Outcome) {
        let server = &mut self.comparison.servers[index];
        server.rounds.push(Round::of(&outcome));
        outcome.label.clone_from(&server.name);
        let runs = &mut self.document.runs;
        match runs.iter_mut().find(|run| run.label == server.name) {
            Some(run) => run.follow(outcome),
            None => runs.push(outcome),
        }
        self.document.comparison = Some(self.comparison.clone());
    }
}

fn measure(
    server: &ServerProcess,
    spec: &Spec,
    prefix: &str,
    run: &mut dyn FnMut(&Target<'_>, &mut dyn Watch) -> Result<Outcome, String>,
) -> Result<Outcome, String> {
    let mut watch = Metered { line: LiveLine::stderr(prefix), server, begun_s: None, used_s: None };
    let target = Target { name: &spec.name, host: server::HOST, port: server.port() };
    let mut outcome = run(&target, &mut watch)?;
    if let Some(used_s) = watch.used_s {
        outcome.server_cpu_s = Some(used_s);
    }
    Ok(outcome)
}

/// One round in a line.
fn told(outcome: &Outcome) -> String {
    let total = outcome.total();
    let mut line = format!("{}/s", units::rate(outcome.rate()));
    for quantile in [0.5, 0.99, 0.999] {
        let ns = total.value_at_quantile(quantile) as f64;
        line.push_str(&format!("  {} {}", units::quantile_name(quantile), units::latency(ns)));
    }
    if let Some(us) = outcome.server_cpu_us_per_request() {
        line.push_str(&format!("  server CPU a request {}", units::latency(us * 1000.0)));
    }
    line.push_str(&format!("  errors {}", units::count(outcome.errors())));
    line
}

/// Reads the server's processor time where the measured part begins and ends.
struct Metered<'a, W: Watch> {
    line: W,
    server: &'a ServerProcess,
    begun_s: Option<f64>,
    used_s: Option<f64>,
}

impl<W: Watch> Watch for Metered<'_, W> {
    fn second(&mut self, progress: &Progress<'_>) {
        self.line.second(progress);
    }

    fn measure_begins(&mut self) {
        self.begun_s = self.server.cpu_s();
    }

    fn measure_ends(&mut self) {
        let ended_s = self.server.cpu_s();
        self.used_s = self.begun_s.zip(ended_s).map(|(begun, ended)| ended - begun);
    }
}

impl Comparison {
    /// Servers that had at least one round.
    pub(crate) fn measured(&self) -> Vec<&ServerRounds> {
        self.servers.iter().filter(|server| !server.rounds.is_empty()).collect()
    }

    /// Median and spread of each figure for each server, and its ratio to the first.
    pub(crate) fn table(&self) -> Table {
        let measured = self.measured();
        let names = measured.iter().enumerate().flat_map(|(i, server)| {
            let ratio = (i > 0).then(|| "ratio".to_owned());
            std::iter::once(server.name.clone()).chain(ratio)
        });
        let mut table = Table::new(std::iter::once(String::new()).chain(names));
        let mut row = |name: &str, of: &dyn Fn(&Round) -> Option<f64>, show: fn(f64) -> String| {
            let spreads: Vec<Option<Spread>> = measured
                .iter()
                .map(|server| Spread::of(server.rounds.iter().filter_map(of)))
                .collect();
            if spreads.iter().any(Option::is_some) {
                table.row(spread_row(name, &spreads, show));
            }
        };
        row("requests/s", &|round| Some(round.requests_per_s), units::rate);
        row("mean", &|round| Some(round.mean_ns), units::latency);
        for quantile in [0.5, 0.99, 0.999] {
            let name = units::quantile_name(quantile);
            row(&name, &|round| round.quantile_ns(quantile), units::latency);
        }
        row("max", &|round| Some(round.max_ns as f64), units::latency);
        let cpu_ns = |round: &Round| round.server_cpu_us_per_request.map(|us| us * 1000.0);
        row("server CPU a request", &cpu_ns, units::latency);
        row("hits", &|round| round.hit_ratio, units::percent);
        row("hits by bytes", &|round| round.byte_hit_ratio, units::percent);
        if measured.iter().any(|server| server.rounds.iter().any(|round| round.errors > 0)) {
            row("errors", &|round| Some(round.errors as f64), |n| format!("{n:.0}"));
        }
        table
    }

    /// What the terminal shows.
    pub(crate) fn render(&self) -> String {
        let rounds = self.servers.iter().map(|server| server.rounds.len()).max().unwrap_or(0);
        let mut text = format!("median (least to greatest) of {rounds} rounds\n\n{}", self.table());
        for server in &self.servers {
            let limited = server.rounds.iter().filter(|round| round.limited_by_tool).count();
            if limited > 0 {
                text.push_str(&format!(
                    "warning: {}: the load generator was itself the bottleneck in {limited} of {} \
                     rounds; throughput and latencies may not be the server's, CPU per request is.\n",
                    clean(&server.name),
                    server.rounds.len()
                ));
            }
        }
        text
    }

    /// The table as Markdown, with what was compared below it.
    pub(crate) fn markdown(&self) -> String {
        let commands = self.servers.iter().map(|server| {
            format!("* {}: `{}`\n", clean(&server.name), clean(&server.command).replace('`', "'"))
        });
        let commands: String = commands.collect();
        format!(
            "{}\nMedian (least to greatest) of the rounds.\n\n{commands}",
            self.table().markdown()
        )
    }
}

/// Median, least and greatest of a figure over rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
    count: usize,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, least, greatest, count: values.len() })
    }

    fn show(&self, show: fn(f64) -> String) -> String {
        if self.count == 1 {
            return show(self.median);
        }
        format!("{} ({} to {})", show(self.median), show(self.least), show(self.greatest))
    }
}

fn spread_row(name: &str, spreads: &[Option<Spread>], show: fn(f64) -> String) -> Vec<String> {
    let first = spreads.first().copied().flatten();
    let mut cells = vec![name.to_owned()];
    for (i, spread) in spreads.iter().enumerate() {
        cells.push(spread.map_or_else(|| "-".to_owned(), |spread| spread.show(show)));
        if i > 0 {
            let ratio =
                spread.zip(first).map(|(s, f)| crate::report::summary::ratio(s.median, f.median));
            cells.push(ratio.unwrap_or_else(|| "-".to_owned()));
        }
    }
    cells
}

#[cfg(test)]
mod tests;
