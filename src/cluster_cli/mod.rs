//! `ringmain cluster`: starts a cluster on this machine for a try (`try`), and shows one that runs (`status`).
//!
//! Both are clients of the nodes like any other. Runs on the thread that called it, beside no server.

mod connection;
mod options;
mod plan;
mod process;
mod status;
mod trial;

pub use options::command;

use clap::ArgMatches;

/// Why something was not done. `Display` is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked for can't be done.
    #[error("{0}")]
    Nonsense(String),
    /// A node does not start, or does not answer.
    #[error("{0}")]
    Lost(String),
}

impl Failure {
    /// The exit status of the process: 2 for what can't be done, 1 for what went wrong.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Nonsense(_) => 2,
            Self::Lost(_) => 1,
        }
    }
}

/// Does what the flags in `matches`, of [`command`], say.
///
/// # Errors
/// If it can't be done, as one sentence that says what to do.
pub fn run(matches: &ArgMatches) -> Result<(), Failure> {
    match matches.subcommand() {
        Some(("try", flags)) => trial::run(options::Try::read(flags)?),
        Some(("status", flags)) => status::run(&options::Status::read(flags)?),
        Some(_) | None => Err(Failure::Nonsense(
            "Say what to do: 'ringmain cluster try' or 'ringmain cluster status'.".to_owned(),
        )),
    }
}
