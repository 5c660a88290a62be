//! The histograms of a server at one moment, and which of them are shown.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

use super::Failure;
use super::connection::{Connection, Refusal};
use super::options::Options;
use crate::metrics::Stage;

/// The latencies of one stage or command, in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) latencies: Histogram<u64>,
}

/// All that the server answered.
#[derive(Clone, Debug)]
pub(super) struct Report {
    stages: Vec<Series>,
    /// The one called most often first.
    commands: Vec<Series>,
}

impl Report {
    /// Asks the server.
    pub(super) fn fetch(connection: &mut Connection, options: &Options) -> Result<Self, Failure> {
        let stages = fetch(connection, options, b"STAGES", None)?;
        let named = options.command.as_deref();
        let mut commands = fetch(connection, options, b"COMMANDS", named)?;
        if let Some(name) = named {
            // A container's name brings its subcommands too.
            commands.retain(|series| series.name == name);
        }
        commands.sort_by_key(|series| std::cmp::Reverse(series.latencies.len()));
        let report = Self { stages, commands };
        match (named, report.commands.is_empty()) {
            (Some(name), true) => Err(Failure::Nonsense(format!(
                "The server at {} has recorded no call of '{name}': name a command as its INFO \
                 latencystats does, such as 'get' or 'config|get'.",
                connection.server()
            ))),
            _ => Ok(report),
        }
    }

    /// What was recorded after `earlier`; all of it, where there was a reset in between.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let since = |now: &[Series], then: &[Series]| -> Vec<Series> {
            let mut series = now.to_vec();
            for Series { name, latencies } in &mut series {
                if let Some(earlier) = then.iter().find(|earlier| earlier.name == *name) {
                    let all = latencies.clone();
                    if latencies.subtract(&earlier.latencies).is_err() {
                        *latencies = all;
                    }
                }
            }
            series
        };
        Self {
            stages: since(&self.stages, &earlier.stages),
            commands: since(&self.commands, &earlier.commands),
        }
    }

    /// The rows of the table.
    pub(super) fn rows(&self, options: &Options) -> Vec<&Series> {
        let stages = self.stages.iter().filter(|_| options.command.is_none());
        stages.chain(&self.commands).collect()
    }

    /// The curves of the plot, the one drawn over the others last.
    pub(super) fn curves(&self, options: &Options) -> Vec<&Series> {
        let stages: Vec<Stage> = match (&options.command, options.stage) {
            (Some(_), _) => return self.commands.iter().collect(),
            (None, Some(stage)) => vec![stage],
            (None, None) => vec![Stage::Ring, Stage::Execute, Stage::Total],
        };
        stages.into_iter().filter_map(|stage| self.stage(stage)).collect()
    }

    /// The one series that is exported.
    pub(super) fn chosen(&self, options: &Options) -> Result<&Series, Failure> {
        let stage = options.stage.unwrap_or(Stage::Total);
        let series = match options.command {
            Some(_) => self.commands.first(),
            None => self.stage(stage),
        };
        series.ok_or_else(|| {
            Failure::Nonsense(format!(
                "The server at {} has no stage '{}': it is of another version.",
                options.server(),
                stage.name()
            ))
        })
    }

    fn stage(&self, stage: Stage) -> Option<&Series> {
        self.stages.iter().find(|series| series.name == stage.name())
    }
}

fn fetch(
    connection: &mut Connection,
    options: &Options,
    kind: &[u8],
    name: Option<&str>,
) -> Result<Vec<Series>, Failure> {
    let core = options.core.map(|core| core.to_string());
    let mut args: Vec<&[u8]> = vec![b"LATENCY", b"EXPORT", kind];
    if let Some(core) = &core {
        args.extend([&b"CORE"[..], core.as_bytes()]);
    }
    args.extend(name.map(str::as_bytes));
    let strings = match connection.call(&args) {
        Ok(strings) => strings,
        Err(Refusal::Gone(failure)) => return Err(failure),
        Err(Refusal::Error(error)) => return Err(refused(connection.server(), options, &error)),
    };
    strings.chunks(2).map(|pair| series(connection.server(), pair)).collect()
}

/// Why the server did not answer with histograms, and what to do.
fn refused(server: &str, options: &Options, error: &str) -> Failure {
    let sentence = match options.core {
        _ if error.starts_with("NOAUTH") => format!(
            "The server at {server} asks for a password: give it with --password or in REDISCLI_AUTH."
        ),
        Some(core) if error.starts_with("ERR CORE") => format!(
            "--core can't be '{core}': {}.",
            error.replace("ERR CORE takes", "it takes").trim_end_matches('.')
        ),
        _ if error.starts_with("ERR unknown subcommand") => {
            format!("The server at {server} is no Ringmain: it does not know LATENCY EXPORT.")
        }
        _ => format!("The server at {server} refused LATENCY EXPORT ({error})."),
    };
    Failure::Nonsense(sentence)
}

/// One name and its histogram, as the server wrote it.
fn series(server: &str, pair: &[Vec<u8>]) -> Result<Series, Failure> {
    let decoded = pair.get(1).and_then(|text| BASE64_STANDARD.decode(text).ok());
    let latencies =
        decoded.and_then(|bytes| Deserializer::new().deserialize(&mut bytes.as_slice()).ok());
    let name = String::from_utf8_lossy(&pair[0]).into_owned();
    latencies.map(|latencies| Series { name, latencies }).ok_or_else(|| {
        Failure::Nonsense(format!(
            "The server at {server} answered LATENCY EXPORT with something that is no histogram: it is \
             of another version."
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::{Options, Report, Series, refused};
    use crate::latency_cli::command;
    use crate::metrics::{Counts, Latencies};

    fn options(flags: &[&str]) -> Options {
        let flags = std::iter::once("latency").chain(flags.iter().copied());
        Options::read(&command().try_get_matches_from(flags).unwrap()).unwrap()
    }

    fn series(name: &str, values: &[u64]) -> Series {
        let latencies = Latencies::default();
        values.iter().for_each(|ns| latencies.record(*ns, 1));
        let mut counts = Counts::default();
        latencies.add_to(&mut counts);
        Series { name: name.to_owned(), latencies: counts.histogram() }
    }

    fn report(ring: &[u64], get: &[u64]) -> Report {
        let stages = vec![series("ring", ring), series("total", ring)];
        Report { stages, commands: vec![series("get", get)] }
    }

    fn counts(report: &Report) -> Vec<(&str, u64)> {
        let all = report.stages.iter().chain(&report.commands);
        all.map(|series| (series.name.as_str(), series.latencies.len())).collect()
    }

    #[test]
    fn what_came_since_is_told_apart() {
        let earlier = report(&[100, 200], &[]);
        let now = report(&[100, 200, 5_000], &[70]);
        let since = now.since(&earlier);
        assert_eq!(counts(&since), [("ring", 1), ("total", 1), ("get", 1)]);
        assert_eq!(
            since.stages[0].latencies.min(),
            now.stages[0].latencies.lowest_equivalent(5_000)
        );
        // After a reset there is less than before: then it all came since.
        let reset = report(&[300], &[70]);
        assert_eq!(counts(&reset.since(&now)), [("ring", 1), ("total", 1), ("get", 0)]);
    }

    #[test]
    fn flags_choose_what_is_shown() {
        let report = report(&[100], &[70]);
        let names = |rows: Vec<&Series>| -> Vec<String> {
            rows.into_iter().map(|series| series.name.clone()).collect()
        };
        let none = options(&[]);
        assert_eq!(names(report.rows(&none)), ["ring", "total", "get"]);
        assert_eq!(names(report.curves(&none)), ["ring", "total"]);
        assert_eq!(report.chosen(&none).unwrap().name, "total");
        let get = options(&["--command", "get"]);
        assert_eq!(names(report.rows(&get)), ["get"]);
        assert_eq!(report.chosen(&get).unwrap().name, "get");
        let ring = options(&["--stage", "ring"]);
        assert_eq!(names(report.curves(&ring)), ["ring"]);
        assert!(report.chosen(&options(&["--stage", "hop"])).is_err());
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let core = options(&["--core", "9"]);
        for (error, sentence) in [
            (
                "NOAUTH Authentication required.",
                "The server at s asks for a password: give it with --password or in REDISCLI_AUTH.",
            ),
            (
                "ERR CORE takes the number of a core, from 0 to 1",
                "--core can't be '9': it takes the number of a core, from 0 to 1.",
            ),
            (
                "ERR unknown subcommand 'EXPORT'. Try LATENCY HELP.",
                "The server at s is no Ringmain: it does not know LATENCY EXPORT.",
            ),
            ("LOADING", "The server at s refused LATENCY EXPORT (LOADING)."),
        ] {
            assert_eq!(refused("s", &core, error).to_string(), sentence);
        }
    }
}
