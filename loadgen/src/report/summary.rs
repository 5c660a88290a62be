//! The final table of a run on the terminal, and several runs side by side.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::outcome::{Outcome, per_second};
use super::table::{Table, clean};
use super::{QUANTILES, units, warnings};

/// All that is said at the end of a run.
pub(crate) fn render(outcome: &Outcome) -> String {
    let mut text = String::new();
    if !outcome.label.is_empty() {
        let _ = writeln!(text, "{}", clean(&outcome.label));
    }
    let _ = writeln!(text, "{}\n", headline(outcome));
    let _ = write!(text, "{}", commands(outcome));
    for line in details(outcome) {
        let _ = write!(text, "\n{}", clean(&line));
    }
    for warning in warnings::warnings(outcome) {
        let _ = write!(text, "\nwarning: {}", clean(&warning));
    }
    text.push('\n');
    text
}

/// Requests, time, rate and traffic in one line.
pub(crate) fn headline(outcome: &Outcome) -> String {
    let seconds = outcome.elapsed_s();
    format!(
        "{} requests in {}, {} requests/s, {} in, {} out{}",
        units::count(outcome.requests()),
        units::span(seconds),
        units::rate(outcome.rate()),
        units::bytes_per_s(per_second(outcome.bytes_in, seconds)),
        units::bytes_per_s(per_second(outcome.bytes_out, seconds)),
        if outcome.interrupted { " (interrupted)" } else { "" },
    )
}

/// A row a command and one for all of them.
pub(crate) fn commands(outcome: &Outcome) -> Table {
    let figures = ["latency", "count", "errors", "rate/s", "mean"].map(str::to_owned);
    let quantiles = QUANTILES.iter().map(|q| units::quantile_name(*q));
    let mut table = Table::new(figures.into_iter().chain(quantiles).chain(["max".to_owned()]));
    let seconds = outcome.elapsed_s();
    let mut row = |name: &str, errors: u64, latencies: &Histogram<u64>| {
        let count = latencies.len();
        let mut cells = vec![
            name.to_owned(),
            units::count(count),
            units::count(errors),
            units::rate(per_second(count, seconds)),
        ];
        cells.extend(latency_cells(latencies));
        table.row(cells);
    };
    let used = outcome.used_commands();
    for command in &used {
        row(&command.name, command.errors(), &command.latencies);
    }
    if used.len() != 1 {
        row("all", outcome.errors(), &outcome.total());
    }
    table
}

/// Mean, every percentile and the maximum.
fn latency_cells(latencies: &Histogram<u64>) -> Vec<String> {
    if latencies.is_empty() {
        return vec!["-".to_owned(); QUANTILES.len() + 2];
    }
    let quantiles = QUANTILES.iter().map(|q| latencies.value_at_quantile(*q) as f64);
    std::iter::once(latencies.mean())
        .chain(quantiles)
        .chain([latencies.max() as f64])
        .map(units::latency)
        .collect()
}

/// What is worth a line if it is there: hits, lateness, the tool's and the server's own time.
pub(crate) fn details(outcome: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(ratio) = outcome.hit_ratio() {
        let reads = outcome.hits + outcome.misses;
        let bytes = outcome.byte_hit_ratio();
        let bytes = bytes.map(|ratio| format!(", {} of their bytes", units::percent(ratio)));
        lines.push(format!(
            "hits: {} of {} reads{}",
            units::percent(ratio),
            units::count(reads),
            bytes.unwrap_or_default()
        ));
    }
    if !outcome.lateness.is_empty() {
        let late = |q| units::latency(outcome.lateness.value_at_quantile(q) as f64);
        lines.push(format!(
            "sent late by the tool itself: p50 {}, p99 {}, p99.9 {}, max {}",
            late(0.5),
            late(0.99),
            late(0.999),
            units::latency(outcome.lateness.max() as f64)
        ));
    }
    if !outcome.threads.is_empty() {
        let busy: Vec<_> =
            outcome.threads.iter().map(|thread| units::percent(thread.busy_fraction)).collect();
        let cpu_s: f64 = outcome.threads.iter().map(|thread| thread.cpu_s).sum();
        let each = per_request_us(cpu_s, outcome.requests());
        lines.push(format!(
            "load generator: threads busy {}, {each} of CPU a request",
            busy.join(", ")
        ));
    }
    if let Some(us) = outcome.server_cpu_us_per_request() {
        lines.push(format!("server: {} of CPU a request", units::latency(us * 1000.0)));
    }
    lines
}

fn per_request_us(cpu_s: f64, requests: u64) -> String {
    units::latency(if requests == 0 { 0.0 } else { cpu_s * 1e9 / requests as f64 })
}

/// Runs side by side: a column each, figures downward, each beside its ratio to the first.
pub(crate) fn side_by_side(runs: &[Outcome]) -> Table {
    let names = runs.iter().enumerate().flat_map(|(i, run)| {
        let ratio = (i > 0).then(|| "ratio".to_owned());
        std::iter::once(run.label.clone()).chain(ratio)
    });
    let mut table = Table::new(std::iter::once(String::new()).chain(names));
    let totals: Vec<Histogram<u64>> = runs.iter().map(Outcome::total).collect();
    let rates: Vec<f64> = runs.iter().map(Outcome::rate).collect();
    table.row(figure_row("requests/s", &rates, units::rate));
    let means: Vec<f64> = totals.iter().map(Histogram::mean).collect();
    table.row(figure_row("mean", &means, units::latency));
    for quantile in QUANTILES {
        let values: Vec<f64> =
            totals.iter().map(|total| total.value_at_quantile(quantile) as f64).collect();
        table.row(figure_row(&units::quantile_name(quantile), &values, units::latency));
    }
    let maxima: Vec<f64> = totals.iter().map(|total| total.max() as f64).collect();
    table.row(figure_row("max", &maxima, units::latency));
    let cpu: Vec<f64> =
        runs.iter().map(|run| run.server_cpu_us_per_request().unwrap_or(0.0) * 1000.0).collect();
    if cpu.iter().any(|ns| *ns > 0.0) {
        table.row(figure_row("server CPU a request", &cpu, units::latency));
    }
    let hits: Vec<f64> = runs.iter().map(|run| run.hit_ratio().unwrap_or(0.0)).collect();
    if runs.iter().any(|run| run.hit_ratio().is_some()) {
        table.row(figure_row("hits", &hits, units::percent));
        let bytes: Vec<f64> = runs.iter().map(|run| run.byte_hit_ratio().unwrap_or(0.0)).collect();
        table.row(figure_row("hits by bytes", &bytes, units::percent));
    }
    let errors: Vec<f64> = runs.iter().map(|run| run.errors() as f64).collect();
    table.row(figure_row("errors", &errors, |n| format!("{n:.0}")));
    table
}

fn figure_row(name: &str, values: &[f64], show: impl Fn(f64) -> String) -> Vec<String> {
    let mut cells = vec![name.to_owned()];
    for (i, value) in values.iter().enumerate() {
        cells.push(show(*value));
        if i > 0 {
            cells.push(ratio(*value, values[0]));
        }
    }
    cells
}

/// One figure over another; a dash where that says nothing.
pub(crate) fn ratio(value: f64, base: f64) -> String {
    if base <= 0.0 || value <= 0.0 {
        return "-".to_owned();
    }
    match value / base {
        ratio if ratio >= 0.1 => format!("{ratio:.2}"),
        ratio if ratio >= 0.0005 => format!("{ratio:.3}"),
        _ => "<0.001".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::outcome::{CommandOutcome, ThreadUse};

    fn outcome() -> Outcome {
        let mut get = CommandOutcome::new("get");
        get.latencies.record_n(50_000, 150_000).unwrap();
        let mut set = CommandOutcome::new("set");
        set.latencies.record_n(100_000, 50_000).unwrap();
        set.count_errors(b"OOM", 1);
        Outcome {
            label: "first".to_owned(),
            elapsed_ns: 2_000_000_000,
            commands: vec![get, set],
            hits: 90_000,
            misses: 10_000,
            hit_bytes: 3_000_000,
            miss_bytes: 1_000_000,
            bytes_in: 4_000_000,
            bytes_out: 8_000_000,
            threads: vec![ThreadUse { busy_fraction: 0.5, cpu_s: 1.0 }],
            server_cpu_s: Some(0.8),
            ..Outcome::default()
        }
    }

    #[test]
    fn the_final_table_has_every_command_and_all_of_them() {
        let expected = "\
first
200,000 requests in 2.0 s, 100,000 requests/s, 2.00 MB/s in, 4.00 MB/s out

latency    count  errors   rate/s     mean      p50      p90      p95      p99    p99.9   p99.99  p99.999      max
get      150,000       0   75,000  50.0 us  50.0 us  50.0 us  50.0 us  50.0 us  50.0 us  50.0 us  50.0 us  50.0 us
set       50,000       1   25,000   100 us   100 us   100 us   100 us   100 us   100 us   100 us   100 us   100 us
all      200,000       1  100,000  62.5 us  50.0 us   100 us   100 us   100 us   100 us   100 us   100 us   100 us

hits: 90 % of 100,000 reads, 75 % of their bytes
load generator: threads busy 50 %, 5.00 us of CPU a request
server: 4.00 us of CPU a request
warning: Error replies, not counted as requests: 1 OOM.
";
        assert_eq!(render(&outcome()), expected);
    }

    #[test]
    fn runs_stand_side_by_side_with_their_ratios() {
        let mut second = outcome();
        second.label = "second".to_owned();
        second.elapsed_ns = 1_000_000_000;
        let text = side_by_side(&[outcome(), second]).to_string();
        let line = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            text.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(),
            ["first", "second", "ratio"]
        );
        assert_eq!(line("requests/s"), ["requests/s", "100,000", "200,000", "2.00"]);
        assert_eq!(line("p99 "), ["p99", "100", "us", "100", "us", "1.00"]);
        assert_eq!(ratio(1.0, 40.0), "0.025");
        assert_eq!(ratio(1.0, 1e6), "<0.001");
        assert_eq!(ratio(1.0, 0.0), "-");
        assert_eq!(line("hits by"), ["hits", "by", "bytes", "75", "%", "75", "%", "1.00"]);
        assert_eq!(line("hits "), ["hits", "90", "%", "90", "%", "1.00"]);
    }
}
