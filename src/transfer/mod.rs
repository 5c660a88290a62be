//! `ringmain import` and `ringmain export`: keys into a running server and out of it, in bounded memory.
//!
//! Clients of servers like any other: what is read from a file ([`rdb`]) or from another server (`origin`)
//! becomes records, and records become requests to the target or commands in a file. They run on the thread
//! that called them, beside no server, and may take their time: what matters is that no key is lost in
//! silence.
//!
//! ```text
//! --from-rdb   rdb::Reader ─┐             ┌─► target   RESP requests, two batches under way
//!                           ├─► Record ───┤
//! --from, export   origin ──┘             └─► export   RESP commands
//! ```

mod connection;
mod endpoint;
mod export;
mod import;
mod kind;
mod options;
mod origin;
mod progress;
pub mod rdb;
mod record;
mod tally;
mod target;
mod walk;

pub use options::{export_command, import_command};

use std::io::Write as _;

use clap::ArgMatches;

/// Why not everything was copied. `Display` is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked for can't be had: nothing was written.
    #[error("{0}")]
    Nonsense(String),
    /// Something broke on the way.
    #[error("{0}")]
    Lost(String),
    /// All keys were seen, and some could not be copied.
    #[error("{0}")]
    Incomplete(String),
}

impl Failure {
    /// The exit status of the process: 2 if nothing was written, 1 if something may have been, 3 if all
    /// was but for some keys.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Lost(_) => 1,
            Self::Nonsense(_) => 2,
            Self::Incomplete(_) => 3,
        }
    }

    /// The same before anything was written.
    fn before(self) -> Self {
        match self {
            Self::Lost(sentence) => Self::Nonsense(sentence),
            failure => failure,
        }
    }
}

/// Does what the flags in `matches`, of [`import_command`], say.
pub fn run_import(matches: &ArgMatches) -> Result<(), Failure> {
    import::run(&options::ImportOptions::read(matches)?)
}

/// Does what the flags in `matches`, of [`export_command`], say.
pub fn run_export(matches: &ArgMatches) -> Result<(), Failure> {
    export::run(&options::ExportOptions::read(matches)?)
}

fn print(lines: &[String]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let text = lines.join("\n") + "\n";
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| {
        Failure::Lost(format!("The summary can't be written ({error}): nobody reads it."))
    })
}
