//! The flags of `ringmain cluster`.

use std::path::PathBuf;

use clap::{ArgMatches, Args, Command, FromArgMatches as _};

use super::Failure;
use crate::limits::{SHARDS_MAX, TRY_CORES_MAX, TRY_NODES_MAX};

/// `ringmain cluster try`
#[derive(Debug, Args)]
pub(super) struct Try {
    /// Nodes to start; three survive the loss of one, five the loss of two
    #[arg(long, value_name = "NUMBER", default_value_t = 3,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(TRY_NODES_MAX)))]
    pub(super) nodes: u16,
    /// The common port of the first node; those of the others follow it
    #[arg(long, default_value_t = 7001, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: u16,
    /// Cores of each node
    #[arg(long, value_name = "NUMBER", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(TRY_CORES_MAX)))]
    pub(super) cores_per_node: u16,
    /// Shards of the cluster [default: one for each core of all nodes]
    #[arg(long, value_name = "NUMBER",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(SHARDS_MAX)))]
    pub(super) shards: Option<u16>,
    /// What an acknowledged write survives besides the loss of a node: memory, async or sync
    #[arg(long, value_name = "NAME", default_value = "async")]
    pub(super) durability: String,
    /// Where the nodes keep their data, so that it is there the next time [default: a directory that is removed at
    /// the end]
    #[arg(long)]
    pub(super) dir: Option<PathBuf>,
}

impl Try {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        // The flags were taken by `command`, so they are there.
        Self::from_arg_matches(matches).map_err(|error| Failure::Nonsense(error.to_string()))
    }
}

/// `ringmain cluster status`
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Address or name of a node
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) host: String,
    /// Its common port, or a core's own
    #[arg(long, default_value_t = 6379)]
    pub(super) port: u16,
    /// The password, if the nodes ask for one; the variable REDISCLI_AUTH does as well
    #[arg(long, value_name = "TEXT")]
    pub(super) password: Option<String>,
}

impl Status {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        let mut status = Self::from_arg_matches(matches)
            .map_err(|error| Failure::Nonsense(error.to_string()))?;
        let from_environment = || std::env::var("REDISCLI_AUTH").ok();
        let password = status.password.take().or_else(from_environment);
        status.password = password.filter(|password| !password.is_empty());
        Ok(status)
    }
}

const TRY_HELP: &str = "\
Starts so many servers on this machine's loopback address, as one cluster, and stops them with Ctrl-C, or
when it ends itself. It tells how to talk to them, and how to kill one to see that clients go on.

Examples:
  ringmain cluster try
  ringmain cluster try --nodes 5 --port 7101
  ringmain cluster try --dir /tmp/cluster --durability sync";

/// `ringmain cluster` as clap knows it.
pub fn command() -> Command {
    let trial = Command::new("try")
        .about("Starts a cluster on this machine, for a try")
        .after_help(TRY_HELP);
    let status =
        Command::new("status").about("Shows the members and shards of a cluster that runs");
    Command::new("cluster")
        .about("Starts a cluster for a try, or shows one")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Try::augment_args(trial))
        .subcommand(Status::augment_args(status))
        .disable_help_subcommand(true)
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn nonsense_is_refused() {
        for flags in [
            "cluster",
            "cluster try --nodes 0",
            "cluster try --port 0",
            "cluster try --cores-per-node 0",
            "cluster try stray",
            "cluster status --port x",
        ] {
            assert!(command().try_get_matches_from(flags.split(' ')).is_err(), "{flags}");
        }
    }
}
