//! Reports: what a run came to, on the terminal and in files.
//!
//! [`outcome`] is the data; [`document`] a file of it; everything else is a way to show it, and
//! takes the data as it is: terminal ([`progress`], [`summary`]), percentile text (`hgrm`), rows
//! ([`csv`]), pictures ([`charts`], [`svg`]) and the page that holds them all ([`html`]).

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use clap::Args;

mod chart;
mod charts;
mod csv;
pub(crate) mod document;
mod element;
pub(crate) mod histogram;
mod html;
pub(crate) mod outcome;
pub(crate) mod overlay;
pub(crate) mod progress;
pub(crate) mod summary;
mod svg;
pub(crate) mod table;
pub(crate) mod units;
pub(crate) mod warnings;

use document::Document;

/// The percentiles every report shows, as quantiles.
pub(crate) const QUANTILES: [f64; 7] = [0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999];

/// Files to write a report to.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Reports")]
pub(crate) struct Outputs {
    /// Everything, without loss, for `loadgen report` and for scripts.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// One page with tables and curves; opens without a network.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// The percentile curve as a picture.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// The percentile distribution in HdrHistogram's text format, values in microseconds.
    #[arg(long, value_name = "FILE")]
    pub(crate) hgrm: Option<PathBuf>,
    /// A row a second.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
}

impl Outputs {
    /// Makes sure, before a long run, that its report can be written; changes no file.
    pub(crate) fn check(&self) -> Result<(), String> {
        let files = [&self.json, &self.html, &self.svg, &self.hgrm, &self.csv];
        files.into_iter().flatten().try_for_each(|path| {
            let is_new = !path.exists();
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            if is_new {
                // An empty file left by a run that never came to its report would mislead.
                let _ = fs::remove_file(path);
            }
            Ok(())
        })
    }

    /// Writes every file asked for. `hgrm` and `csv` hold one run: the first.
    pub(crate) fn write(&self, document: &Document) -> Result<(), String> {
        let first = document.runs.first();
        write(self.json.as_deref(), || document.to_json())?;
        write(self.html.as_deref(), || html::render(document))?;
        write(self.svg.as_deref(), || svg::standalone(&charts::percentiles(&document.runs)))?;
        write(self.hgrm.as_deref().filter(|_| first.is_some()), || {
            first.map(|run| ringmain::hgrm::render(&run.total())).unwrap_or_default()
        })?;
        write(self.csv.as_deref().filter(|_| first.is_some()), || {
            first.map(csv::render).unwrap_or_default()
        })
    }
}

fn write(path: Option<&Path>, content: impl FnOnce() -> String) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, content()).map_err(|error| format!("{}: {error}", path.display()))
}
