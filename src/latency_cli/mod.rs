//! `ringmain latency`: shows what a running server has recorded of its latencies, as a table and a
//! plot that refresh, or once, or as an `.hgrm` file.
//!
//! A client of the server like any other: it asks for histograms with `LATENCY EXPORT`, and all it
//! shows is computed from those. Runs on the thread that called it, beside no server.

mod connection;
mod figures;
mod options;
mod plot;
mod report;
mod screen;
mod table;

pub use options::command;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use clap::ArgMatches;

use connection::Connection;
use options::Options;
use report::{Report, Series};

/// Why there is nothing to show. `Display` is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked for can't be had: nothing was shown.
    #[error("{0}")]
    Nonsense(String),
    /// The server, or whoever reads the output, went away meanwhile.
    #[error("{0}")]
    Lost(String),
}

impl Failure {
    /// The exit status of the process: 2 if nothing was shown, 1 if something was.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Nonsense(_) => 2,
            Self::Lost(_) => 1,
        }
    }
}

/// Does what the flags in `matches`, of [`command`], say.
pub fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let options = Options::read(matches)?;
    let mut connection = Connection::open(&options)?;
    let report = Report::fetch(&mut connection, &options)?;
    if let Some(path) = &options.hgrm {
        return write_hgrm(path, &options, &report);
    }
    let live = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if live && !options.once {
        return screen::run(&options, connection, report);
    }
    print(&page(&options, &report, None, PAGE_COLUMNS))?;
    while let Some(interval) = options.watch.filter(|_| !options.once) {
        std::thread::sleep(interval);
        let report = Report::fetch(&mut connection, &options).map_err(lost)?;
        print(&page(&options, &report, None, PAGE_COLUMNS))?;
    }
    Ok(())
}

/// Columns of a page that is not for a terminal.
const PAGE_COLUMNS: usize = 100;
/// Rows of the plot on such a page.
const PLOT_ROWS: usize = 16;

/// All that is shown: a heading, the table, the plot. `interval` is how long the report covers, if not
/// all since the last reset.
fn page(
    options: &Options,
    report: &Report,
    interval: Option<Duration>,
    columns: usize,
) -> Vec<String> {
    let mut lines = vec![options.heading(interval), String::new()];
    lines.extend(table::render(&report.rows(options), interval));
    lines.push(String::new());
    lines.extend(plot::render(&report.curves(options), columns, PLOT_ROWS));
    lines
}

fn print(lines: &[String]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let text = lines.join("\n") + "\n\n";
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| {
        Failure::Lost(format!("The report can't be written ({error}): nobody reads it."))
    })
}

/// The same after something was shown.
fn lost(failure: Failure) -> Failure {
    match failure {
        Failure::Nonsense(sentence) | Failure::Lost(sentence) => Failure::Lost(sentence),
    }
}

fn write_hgrm(path: &Path, options: &Options, report: &Report) -> Result<(), Failure> {
    let Series { name, latencies } = report.chosen(options)?;
    let text = crate::hgrm::render(latencies);
    if path.as_os_str() == "-" {
        return print(&[text.trim_end().to_owned()]);
    }
    std::fs::write(path, text).map_err(|error| {
        Failure::Nonsense(format!(
            "The file '{}' after --hgrm can't be written ({error}): name one that can, or - for the \
             standard output.",
            path.display()
        ))
    })?;
    let count = latencies.len();
    print(&[format!("{count} latencies of '{name}', in microseconds, are in {}.", path.display())])
}
