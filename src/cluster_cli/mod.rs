//! `ringmain cluster`: starts a cluster on this machine for a try (`try`), shows one that runs (`status`), and changes
//! one: who is in it, where replicas are, who leads (`init`, `add-node` and so on).
//!
//! All are clients of the nodes like any other, but for `recover`, which works on the directory of one that is stopped.
//! Runs on the thread that called it, beside no server.

mod change;
mod connection;
mod operate;
mod options;
mod placement;
mod plan;
mod process;
mod recover;
mod status;
mod trial;
mod view;

pub use options::command;

use std::io::Write as _;

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
        Some(("status", flags)) => status::run(&options::Server::read(flags)?),
        Some(("init", flags)) => operate::init(&options::Init::read(flags)?),
        Some(("add-node", flags)) => operate::add_node(&options::AddNode::read(flags)?),
        Some(("remove-node", flags)) => operate::remove_node(&options::RemoveNode::read(flags)?),
        Some(("replace", flags)) => operate::replace(&options::Replace::read(flags)?),
        Some(("transfer", flags)) => operate::transfer(&options::Transfer::read(flags)?),
        Some(("recover", flags)) => recover::run(&options::Recover::read(flags)?),
        Some(("rebalance", flags)) => operate::rebalance(&options::Rebalance::read(flags)?),
        Some(_) | None => {
            Err(Failure::Nonsense("Say what to do: see 'ringmain cluster --help'.".to_owned()))
        }
    }
}

/// Tells the user; whoever does not listen misses nothing that matters.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
