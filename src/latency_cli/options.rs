//! The flags of `ringmain latency`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};

use super::Failure;
use crate::metrics::Stage;

/// Longest and shortest time between two looks at the server, in seconds.
const WATCH_S: std::ops::RangeInclusive<f64> = 0.1..=86_400.0;
/// The same, if nothing is said and a terminal is watching.
const WATCH_DEFAULT: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
struct Flags {
    /// Address or name of the server
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The common port, or a core's own
    #[arg(long, default_value_t = 6379)]
    port: u16,
    /// The password, if the server asks for one; the variable REDISCLI_AUTH does as well
    #[arg(long, value_name = "TEXT")]
    password: Option<String>,
    /// Show one core alone
    #[arg(long, value_name = "NUMBER")]
    core: Option<u16>,
    /// Show one command alone: 'get', 'config|set'
    #[arg(long, value_name = "NAME", conflicts_with = "stage")]
    command: Option<String>,
    /// Plot or export this stage
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Look again after so many seconds, and again [default on a terminal: 1]
    #[arg(long, value_name = "SECONDS")]
    watch: Option<String>,
    /// Show all once, on a terminal too
    #[arg(long)]
    once: bool,
    /// Write the distribution of the stage (or command) in HdrHistogram's text form, in microseconds;
    /// '-' writes it to the standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["watch", "once"])]
    hgrm: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
A row of the table is a stage of a request's way through the server, or a command. The figures are
HdrHistograms of all requests since the last CONFIG RESETSTAT (or LATENCY STAGES RESET); on a terminal,
of the last moments, and 'a' shows all, 'i' the last moments again, 'q' ends. docs/latency.md tells what
each stage means and what it does not.

Examples:
  ringmain latency --port 6379
  ringmain latency --once --core 0
  ringmain latency --command get --hgrm get.hgrm
  ringmain latency --watch 10 > figures.txt";

/// `ringmain latency` as clap knows it.
pub fn command() -> Command {
    let command = Command::new("latency")
        .about("Shows where a running server's requests spend their time")
        .after_help(AFTER_HELP);
    Flags::augment_args(command)
}

/// What was asked for.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) password: Option<String>,
    pub(super) core: Option<u16>,
    pub(super) command: Option<String>,
    pub(super) stage: Option<Stage>,
    pub(super) watch: Option<Duration>,
    pub(super) once: bool,
    pub(super) hgrm: Option<PathBuf>,
}

impl Options {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        // The flags were taken by `command`, so they are there.
        let flags = Flags::from_arg_matches(matches)
            .map_err(|error| Failure::Nonsense(error.to_string()))?;
        let Flags { host, port, password, core, command, stage, watch, once, hgrm } = flags;
        let from_environment = || std::env::var("REDISCLI_AUTH").ok();
        Ok(Self {
            host,
            port,
            password: password.or_else(from_environment).filter(|password| !password.is_empty()),
            core,
            command: command.map(|name| name.to_ascii_lowercase()),
            stage: stage.as_deref().map(read_stage).transpose()?,
            watch: watch.as_deref().map(read_watch).transpose()?,
            once,
            hgrm,
        })
    }

    /// The server, as sentences name it.
    pub(super) fn server(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The time between two looks at the server.
    pub(super) fn interval(&self) -> Duration {
        self.watch.unwrap_or(WATCH_DEFAULT)
    }

    /// What the page shows, in a line.
    pub(super) fn heading(&self, interval: Option<Duration>) -> String {
        let cores = self.core.map_or("all cores".to_owned(), |core| format!("core {core}"));
        let time = match interval {
            Some(interval) => format!("the last {:.1} s", interval.as_secs_f64()),
            None => "since the last reset".to_owned(),
        };
        format!("{}, {cores}, {time}", self.server())
    }
}

fn read_stage(name: &str) -> Result<Stage, Failure> {
    Stage::find(name.as_bytes()).ok_or_else(|| {
        let names = Stage::ALL.map(Stage::name).join(", ");
        Failure::Nonsense(format!("--stage can't be '{name}': it takes one of {names}."))
    })
}

fn read_watch(text: &str) -> Result<Duration, Failure> {
    let seconds = text.parse().ok().filter(|seconds| WATCH_S.contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        let (least, most) = (WATCH_S.start(), WATCH_S.end());
        Failure::Nonsense(format!(
            "--watch can't be '{text}': it takes a number of seconds from {least} to {most}."
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::{Options, Stage, command};
    use std::time::Duration;

    fn read(flags: &[&str]) -> Result<Options, String> {
        let matches = command()
            .try_get_matches_from(std::iter::once("latency").chain(flags.iter().copied()))
            .map_err(|error| error.to_string())?;
        Options::read(&matches).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn flags_are_read() {
        let options = read(&[]).unwrap();
        assert_eq!(options.server(), "127.0.0.1:6379");
        assert_eq!(options.interval(), Duration::from_secs(1));
        assert_eq!(options.heading(None), "127.0.0.1:6379, all cores, since the last reset");
        let options =
            read(&["--host", "::1", "--core", "1", "--command", "GET", "--watch", "2.5"]).unwrap();
        assert_eq!(options.command.as_deref(), Some("get"));
        assert_eq!(options.heading(Some(options.interval())), "::1:6379, core 1, the last 2.5 s");
        assert_eq!(read(&["--stage", "HOP"]).unwrap().stage, Some(Stage::Hop));
    }

    #[test]
    fn nonsense_is_refused_in_a_sentence() {
        for (flags, sentence) in [
            (
                ["--watch", "0"],
                "--watch can't be '0': it takes a number of seconds from 0.1 to 86400.",
            ),
            (
                ["--watch", "nan"],
                "--watch can't be 'nan': it takes a number of seconds from 0.1 to 86400.",
            ),
            (
                ["--stage", "rings"],
                "--stage can't be 'rings': it takes one of ring, held, batch, execute, hop, gather, \
                 log, reply, send, total.",
            ),
        ] {
            assert_eq!(read(&flags).unwrap_err(), sentence);
        }
        for flags in [
            &["--port", "70000"][..],
            &["--core", "x"],
            &["--hgrm", "-", "--once"],
            &["--command", "get", "--stage", "ring"],
            &["stray"],
        ] {
            assert!(read(flags).is_err(), "{flags:?}");
        }
    }
}
