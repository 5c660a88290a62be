//! `ringmain log`: looks at the logs in a data directory that no server has open, and mends them.
//!
//! ```text
//! options ─► survey, one shard after another ─► verify: a line a file, a summary
//!                                            └► repair: a plan, and with --yes its steps
//!         └► dump: records as text
//! ```
//!
//! What is judged and done is [`crate::log`]'s; here it is put into words. Runs on the thread that called
//! it, with the directory locked.

mod dump;
mod options;
mod repair;
pub(crate) mod survey;
mod text;
mod verify;

pub use options::command;

use std::io::{self, ErrorKind, Write};

use clap::ArgMatches;

use crate::server::data_dir::{DataDir, DataDirError};
use options::Task;

/// Why the answer is not "all is well". `Display` is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something is damaged.
    #[error("{0}")]
    Damaged(String),
    /// What was asked for can't be done.
    #[error("{0}")]
    Nonsense(String),
    /// The directory can't be used.
    #[error("{0}")]
    Directory(#[from] DataDirError),
    /// The system said no.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Failure {
    /// The exit status of the process: 1 for damage, 2 if nothing could be looked at.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Damaged(_) | Self::Directory(DataDirError::Layout { .. }) => 1,
            Self::Nonsense(_) | Self::Directory(_) | Self::Io(_) => 2,
        }
    }
}

/// Does what the flags in `matches`, of [`command`], say.
///
/// # Errors
/// If something is damaged, or nothing can be done.
pub fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = match Task::read(matches)? {
        Task::Verify(which) => {
            let data = DataDir::open_existing(&which.dir)?;
            verify::run(&data, &which.shards(data.layout().shards)?, &mut out)
        }
        Task::Dump(shown) => {
            let data = DataDir::open_existing(&shown.which.dir)?;
            let shards = shown.which.shards(data.layout().shards)?;
            dump::run(&data, &shards, &shown, &mut out)
        }
        Task::Repair(mended) => {
            repair::layout(&mended.which.dir, mended.yes, &mut out)?;
            let data = DataDir::open_existing(&mended.which.dir)?;
            let shards = mended.which.shards(data.layout().shards)?;
            repair::run(&data, &shards, mended.yes, &mut out)
        }
    };
    match result.and_then(|()| Ok(out.flush()?)) {
        // Whoever read the output has seen enough.
        Err(Failure::Io(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(failure) => {
            // What there is to see comes before the last word.
            let _ = out.flush();
            Err(failure)
        }
        Ok(()) => Ok(()),
    }
}
