//! `ringmain reshard`: rewrites a data directory into another number of shards, while no server has it open.
//!
//! ```text
//! shard ─► recovery ─► keyspace ─► entries by slot ─► snapshots of new shards, in DIR/reshard
//! └─ one at a time                                    └─ all whole: switched (`server::data_dir`)
//! ```
//!
//! The copy is thrown away if anything is wrong or the process ends before it is whole; once it is, the
//! switch is finished by whoever opens the directory next. Runs on the thread that called it.

mod copy;
mod writer;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{ArgMatches, Args, Command, FromArgMatches as _};

use crate::limits::SHARDS_MAX;
use crate::server::data_dir::{DataDir, DataDirError};
use copy::{Copied, copy};

/// Why the data is as it was. `Display` is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked for can't be done.
    #[error("{0}")]
    Nonsense(String),
    /// The directory can't be used.
    #[error("{0}")]
    Directory(#[from] DataDirError),
    /// A shard can't be read.
    #[error("{0}")]
    Unreadable(String),
    /// There is no room for a copy.
    #[error("There is no room for a second copy of the data in '{}': {needed} bytes are needed at least, and \
             {free} are free. Nothing was changed.", path.display())]
    Full {
        /// The directory.
        path: PathBuf,
        /// Bytes that a copy takes, about.
        needed: u64,
        /// Bytes that there are.
        free: u64,
    },
    /// There was, and then no more.
    #[error("There is no room for a second copy of the data in '{}': the disk is full. Nothing was changed.",
             path.display())]
    FullMeanwhile {
        /// The directory.
        path: PathBuf,
    },
    /// The copy can't be written.
    #[error("The copy of the data can't be written to '{}' ({error}). Nothing was changed.", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl Failure {
    /// The exit status of the process: 2 for what can't be done, 1 for what went wrong.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Nonsense(_) | Self::Directory(_) => 2,
            Self::Unreadable(_)
            | Self::Full { .. }
            | Self::FullMeanwhile { .. }
            | Self::Io { .. } => 1,
        }
    }
}

#[derive(Debug, Args)]
struct Flags {
    /// The data directory; no server may have it open
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Shards to rewrite it into
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=i64::from(SHARDS_MAX)))]
    shards: u16,
}

const AFTER_HELP: &str = "\
Needs room for a second copy of the data, and memory for one of the shards that there are. May be
interrupted at any point: until the copy is whole nothing is changed, and from then on whoever opens the
directory next, a server or this command, finishes the rest.";

/// `ringmain reshard` as clap knows it.
pub fn command() -> Command {
    let command = Command::new("reshard")
        .about("Rewrites a data directory into another number of shards")
        .after_help(AFTER_HELP);
    Flags::augment_args(command)
}

/// Does what the flags in `matches`, of [`command`], say.
///
/// # Errors
/// Why it could not.
pub fn run(matches: &ArgMatches) -> Result<(), Failure> {
    // The flags were taken by `command`, so they are there.
    let Flags { dir, shards } =
        Flags::from_arg_matches(matches).map_err(|error| Failure::Nonsense(error.to_string()))?;
    let mut data = DataDir::open_existing(&dir)?;
    let before = data.layout().shards;
    if before == shards {
        println!("'{}' holds {shards} shards already: there is nothing to do.", dir.display());
        return Ok(());
    }
    let mut display = Display::new(before);
    let (folder, layout) = data.begin_copy(shards)?;
    let copied = match copy(&data, &folder, layout, &mut |copied| display.show(&copied)) {
        Ok(copied) => copied,
        Err(failure) => {
            display.end();
            // What can't be thrown away now is when the directory is opened next.
            let _ = data.discard_copy();
            return Err(match failure {
                Failure::Io { error, .. } if error.kind() == io::ErrorKind::StorageFull => {
                    Failure::FullMeanwhile { path: dir }
                }
                other => other,
            });
        }
    };
    display.end();
    data.switch(layout)?;
    println!(
        "'{}' holds {} keys in {shards} shards, from {before}.",
        dir.display(),
        copied.entries
    );
    Ok(())
}

/// How far it has come, in a line on the standard error: drawn again and again on a terminal, else now and
/// then.
struct Display {
    shards: u16,
    is_terminal: bool,
    shown: Option<Instant>,
}

impl Display {
    fn new(shards: u16) -> Self {
        Self { shards, is_terminal: io::stderr().is_terminal(), shown: None }
    }

    fn show(&mut self, copied: &Copied) {
        let every = Duration::from_millis(if self.is_terminal { 100 } else { 2000 });
        if self.shown.is_some_and(|shown| shown.elapsed() < every) {
            return;
        }
        self.shown = Some(Instant::now());
        let Copied { shard, read_bytes, total_bytes, entries } = copied;
        let percent = read_bytes.saturating_mul(100).checked_div(*total_bytes).unwrap_or(100);
        let line = format!(
            "shard {} of {}: {} of {} MiB read ({percent} %), {entries} keys written",
            shard + 1,
            self.shards,
            read_bytes >> 20,
            total_bytes >> 20,
        );
        // The line is for a person; without one there is nobody to miss it.
        let _ = match self.is_terminal {
            true => write!(io::stderr(), "\r\x1b[K{line}"),
            false => writeln!(io::stderr(), "{line}"),
        };
    }

    fn end(&self) {
        if self.is_terminal && self.shown.is_some() {
            let _ = writeln!(io::stderr());
        }
    }
}
