//! What a report file holds, and the file itself as JSON.
//!
//! `"format": 1`. A newer `loadgen` may add fields, which an older one passes over; a change that an
//! older one would misread gets a new number, and is refused by it. `summary` is for people and
//! scripts that read the file without `loadgen`; it is worked out anew when the file is read.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use super::{QUANTILES, units};
use crate::compare::Comparison;
use crate::search::Search;

/// The layout of the file.
const FORMAT: u32 = 1;
/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// One run, or several with what joins them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    pub(crate) runs: Vec<Outcome>,
    /// The curve of a search; `runs` then holds its best step.
    pub(crate) search: Option<Search>,
    /// Rounds of a comparison; `runs` then holds each server's rounds in one.
    pub(crate) comparison: Option<Comparison>,
}

impl Document {
    /// The report of one run.
    pub(crate) fn of(run: Outcome) -> Self {
        Self { runs: vec![run], ..Self::default() }
    }

    pub(crate) fn to_json(&self) -> String {
        let file = FileOut {
            format: FORMAT,
            tool: concat!("loadgen ", env!("CARGO_PKG_VERSION")),
            runs: self.runs.iter().map(RunOut::of).collect(),
            search: self.search.as_ref(),
            comparison: self.comparison.as_ref(),
        };
        let mut json = serde_json::to_string_pretty(&file).expect("plain data has a JSON form");
        json.push('\n');
        json
    }

    /// Reads what `to_json` wrote. The error says what is wrong in one clause.
    pub(crate) fn from_json(json: &str) -> Result<Self, String> {
        let Head { format } = serde_json::from_str(json)
            .map_err(|error| format!("it is not a report of loadgen ({error})"))?;
        if format != FORMAT {
            return Err(format!("its format is {format}, and this loadgen reads format {FORMAT}"));
        }
        let file: FileIn =
            serde_json::from_str(json).map_err(|error| format!("it is damaged ({error})"))?;
        if file.runs.is_empty() && file.search.is_none() {
            return Err("it holds no run".to_owned());
        }
        let runs = file.runs.into_iter().map(|run| run.outcome).collect();
        Ok(Self { runs, search: file.search, comparison: file.comparison })
    }

    /// Reads a file; the error names it.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let length = fs::metadata(path).map_err(|error| format!("{name}: {error}"))?.len();
        if length > FILE_BYTES_MAX {
            return Err(format!("{name}: a report is never {length} bytes long"));
        }
        let json = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        Self::from_json(&json).map_err(|why| format!("{name}: {why}"))
    }
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Deserialize)]
struct FileIn {
    #[serde(default)]
    runs: Vec<RunIn>,
    #[serde(default)]
    search: Option<Search>,
    #[serde(default)]
    comparison: Option<Comparison>,
}

#[derive(Deserialize)]
struct RunIn {
    outcome: Outcome,
}

#[derive(Serialize)]
struct FileOut<'a> {
    format: u32,
    tool: &'static str,
    runs: Vec<RunOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search: Option<&'a Search>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<&'a Comparison>,
}

#[derive(Serialize)]
struct RunOut<'a> {
    summary: Summary,
    outcome: &'a Outcome,
}

/// The figures that most readers want, ready to use.
#[derive(Serialize)]
struct Summary {
    requests: u64,
    errors: u64,
    requests_per_s: f64,
    hit_ratio: Option<f64>,
    byte_hit_ratio: Option<f64>,
    server_cpu_us_per_request: Option<f64>,
    latency_us: BTreeMap<String, f64>,
    commands: BTreeMap<String, BTreeMap<String, f64>>,
    warnings: Vec<String>,
}

impl<'a> RunOut<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let commands = outcome.used_commands().into_iter();
        let summary = Summary {
            requests: outcome.requests(),
            errors: outcome.errors(),
            requests_per_s: outcome.rate(),
            hit_ratio: outcome.hit_ratio(),
            byte_hit_ratio: outcome.byte_hit_ratio(),
            server_cpu_us_per_request: outcome.server_cpu_us_per_request(),
            latency_us: latency_us(&outcome.total()),
            commands: commands.map(|c| (c.name.clone(), latency_us(&c.latencies))).collect(),
            warnings: super::warnings::warnings(outcome),
        };
        Self { summary, outcome }
    }
}

fn latency_us(latencies: &Histogram<u64>) -> BTreeMap<String, f64> {
    let us = |ns: u64| ns as f64 / 1000.0;
    let quantiles =
        QUANTILES.map(|q| (units::quantile_name(q), us(latencies.value_at_quantile(q))));
    let ends = [
        ("min", us(latencies.min())),
        ("mean", latencies.mean() / 1000.0),
        ("max", us(latencies.max())),
    ];
    quantiles.into_iter().chain(ends.map(|(name, value)| (name.to_owned(), value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::outcome::{CommandOutcome, Faults, Second, ThreadUse};

    fn outcome() -> Outcome {
        let mut get = CommandOutcome::new("get");
        (1..=10_000_u64).for_each(|i| get.latencies.record(i * i * 17).unwrap());
        get.sent = 10_003;
        get.count_errors(b"WRONGTYPE", 1);
        Outcome {
            label: "a \"label\" <b>".to_owned(),
            started_at_unix_ms: 1_763_655_000_123,
            elapsed_ns: 1_500_000_000,
            settings: vec![("connections".to_owned(), "50".to_owned())],
            commands: vec![get],
            // A number that comes back only if floats are read to the last bit.
            seconds: vec![Second {
                at_s: 16_373.619_806_185_465,
                requests: 7000,
                ..Second::default()
            }],
            faults: Faults { stale: 3, ..Faults::default() },
            hits: 5,
            misses: 6,
            bytes_in: 7,
            bytes_out: 8,
            threads: vec![ThreadUse { busy_fraction: 0.25, cpu_s: 0.375 }],
            interrupted: true,
            server_cpu_s: Some(0.5),
            ..Outcome::default()
        }
    }

    #[test]
    fn a_run_comes_back_from_json_as_it_was() {
        let before = outcome();
        let json = Document::of(before.clone()).to_json();
        let after = Document::from_json(&json).unwrap().runs.remove(0);
        assert_eq!(after.label, before.label);
        assert_eq!(after.settings, before.settings);
        assert_eq!(after.seconds, before.seconds);
        assert_eq!(after.faults, before.faults);
        assert_eq!(after.threads, before.threads);
        assert_eq!(after.commands[0].errors, before.commands[0].errors);
        assert_eq!(after.commands[0].sent, before.commands[0].sent);
        // The histogram has the same counts in the same places: nothing was lost.
        assert_eq!(after.commands[0].latencies, before.commands[0].latencies);
        assert_eq!(after.total().max(), before.total().max());
        assert_eq!(
            (after.hits, after.misses, after.bytes_in, after.bytes_out, after.elapsed_ns),
            (5, 6, 7, 8, 1_500_000_000)
        );
        assert!(after.interrupted);
        assert_eq!(after.server_cpu_s, Some(0.5));
    }

    #[test]
    fn the_file_can_be_read_without_loadgen() {
        let json = Document::of(outcome()).to_json();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["format"], 1);
        let summary = &value["runs"][0]["summary"];
        assert_eq!(summary["requests"], 10_000);
        assert_eq!(
            summary["latency_us"]["p50"],
            outcome().total().value_at_quantile(0.5) as f64 / 1e3
        );
        assert!(summary["commands"]["get"]["p99.999"].is_number());
        let base64 = value["runs"][0]["outcome"]["commands"][0]["latencies"].as_str().unwrap();
        assert!(base64.starts_with("HISTFAAA"), "HdrHistogram's own text form: {base64}");
    }

    #[test]
    fn what_is_no_report_is_refused_with_a_reason() {
        let newer = Document::of(outcome()).to_json().replace("\"format\": 1", "\"format\": 2");
        let damaged = Document::of(outcome()).to_json().replace("HISTF", "HISTG");
        let cases = [
            ("", "not a report of loadgen"),
            ("[1]", "damaged"),
            ("{\"runs\":[]}", "not a report of loadgen"),
            ("{\"format\":1,\"runs\":[]}", "holds no run"),
            (newer.as_str(), "format is 2, and this loadgen reads format 1"),
            (damaged.as_str(), "damaged"),
        ];
        for (json, why) in cases {
            let error = Document::from_json(json).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let error = Document::read(Path::new("/no/such/file.json")).unwrap_err();
        assert!(error.starts_with("/no/such/file.json: "), "{error}");
    }
}
