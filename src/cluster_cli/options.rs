//! The flags of `ringmain cluster`.

use std::path::PathBuf;

use clap::{ArgMatches, Args, Command};

use super::Failure;
use super::connection::Connection;
use crate::config::value::parse_cluster_peers;
use crate::limits::{NODES_MAX, SHARDS_MAX, TRY_CORES_MAX, TRY_NODES_MAX};

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
        read(matches)
    }
}

/// A node that is asked, and how.
#[derive(Clone, Debug, Args)]
pub(super) struct Server {
    /// Address or name of a node of the cluster
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) host: String,
    /// Its common port, or a core's own
    #[arg(long, default_value_t = 6379)]
    pub(super) port: u16,
    /// The password, if the nodes ask for one; the variable REDISCLI_AUTH does as well
    #[arg(long, value_name = "TEXT")]
    pub(super) password: Option<String>,
}

impl Server {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        let mut server: Self = read(matches)?;
        server.password = password(server.password.take());
        Ok(server)
    }

    /// Another node, asked in the same way.
    pub(super) fn at(&self, host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, password: self.password.clone() }
    }

    pub(super) fn connect(&self) -> Result<Connection, Failure> {
        Connection::open(&self.host, self.port, self.password.as_deref())
    }
}

/// What a flag or else the environment says.
fn password(given: Option<String>) -> Option<String> {
    let from_environment = || std::env::var("REDISCLI_AUTH").ok();
    given.or_else(from_environment).filter(|password| !password.is_empty())
}

/// The flags were taken by `command`, so they are there.
fn read<T: clap::FromArgMatches>(matches: &ArgMatches) -> Result<T, Failure> {
    T::from_arg_matches(matches).map_err(|error| Failure::Nonsense(error.to_string()))
}

/// Where a node is, and its number if that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeAddress {
    pub(super) id: Option<u64>,
    pub(super) host: String,
    pub(super) port: u16,
}

impl std::str::FromStr for NodeAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const NONE: &str = "a node is HOST:PORT, or ID@HOST:PORT";
        let has_id = text.contains('@');
        let whole = if has_id { text.to_owned() } else { format!("1@{text}") };
        let peers = parse_cluster_peers(&whole).ok_or(NONE)?;
        let [peer] = &peers[..] else { return Err(NONE) };
        let id = has_id.then_some(peer.id.0);
        Ok(Self { id, host: peer.host.clone(), port: peer.port })
    }
}

impl std::fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// `ringmain cluster init`
#[derive(Debug, Args)]
pub(super) struct Init {
    /// All nodes, by their common ports
    #[arg(required = true, value_name = "[ID@]HOST:PORT")]
    pub(super) nodes: Vec<NodeAddress>,
    /// The password, if the nodes ask for one; the variable REDISCLI_AUTH does as well
    #[arg(long, value_name = "TEXT")]
    pub(super) password: Option<String>,
}

impl Init {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        let mut init: Self = read(matches)?;
        init.password = password(init.password.take());
        Ok(init)
    }

    pub(super) fn server_at(&self, node: &NodeAddress) -> Server {
        Server { host: node.host.clone(), port: node.port, password: self.password.clone() }
    }
}

/// `ringmain cluster add-node`
#[derive(Debug, Args)]
pub(super) struct AddNode {
    /// The new node, by its common port
    #[arg(value_name = "[ID@]HOST:PORT")]
    pub(super) node: NodeAddress,
    /// Give it no replicas: 'ringmain cluster rebalance --replicas' does
    #[arg(long)]
    pub(super) empty: bool,
    #[command(flatten)]
    pub(super) server: Server,
}

/// `ringmain cluster remove-node`
#[derive(Debug, Args)]
pub(super) struct RemoveNode {
    /// The number of the node
    #[arg(value_name = "ID")]
    pub(super) node: u64,
    #[command(flatten)]
    pub(super) server: Server,
}

/// `ringmain cluster replace`
#[derive(Debug, Args)]
pub(super) struct Replace {
    /// The number of the node that goes
    #[arg(value_name = "ID")]
    pub(super) old: u64,
    /// The node that comes, by its common port
    #[arg(value_name = "[ID@]HOST:PORT")]
    pub(super) new: NodeAddress,
    #[command(flatten)]
    pub(super) server: Server,
}

/// `ringmain cluster transfer`
#[derive(Debug, Args)]
pub(super) struct Transfer {
    /// The number of the shard
    #[arg(value_name = "SHARD")]
    pub(super) shard: u16,
    /// The number of the node that is to lead it
    #[arg(value_name = "ID")]
    pub(super) to: u64,
    #[command(flatten)]
    pub(super) server: Server,
}

/// `ringmain cluster rebalance`
#[derive(Debug, Args)]
pub(super) struct Rebalance {
    /// Nodes that each shard is to be on [default: those that it is on]
    #[arg(long, value_name = "NUMBER",
          value_parser = clap::value_parser!(u16).range(1..=NODES_MAX as i64))]
    pub(super) replicas: Option<u16>,
    #[command(flatten)]
    pub(super) server: Server,
}

/// `ringmain cluster recover`
#[derive(Debug, Args)]
pub(super) struct Recover {
    /// The data directory of the node that is to go on; no server may have it open
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// The number of a node that is lost for good; can be given several times [default: all others]
    #[arg(long, value_name = "ID")]
    pub(super) lost: Vec<u64>,
    /// This shard alone; needs --lost, for whoever is lost is removed from all
    #[arg(long, value_name = "NUMBER", requires = "lost")]
    pub(super) shard: Option<u16>,
    /// Do it; without, only what would be done is told
    #[arg(long)]
    pub(super) yes: bool,
}

impl Recover {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        read(matches)
    }
}

/// Flags with those of the node that is asked.
macro_rules! asks_a_server {
    ($($options:ty),+) => {$(
        impl $options {
            pub(super) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
                let mut options: Self = read(matches)?;
                options.server.password = password(options.server.password.take());
                Ok(options)
            }
        }
    )+};
}

asks_a_server!(AddNode, RemoveNode, Replace, Transfer, Rebalance);

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
    let command = |name: &'static str, about: &'static str| Command::new(name).about(about);
    Command::new("cluster")
        .about("Starts a cluster for a try, shows one, changes one, or saves what is left of one")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Try::augment_args(trial))
        .subcommand(Server::augment_args(command(
            "status",
            "Shows the members and shards of a cluster that runs",
        )))
        .subcommand(Init::augment_args(
            command("init", "Makes a cluster of nodes that were started without --cluster-peers")
                .after_help(INIT_HELP),
        ))
        .subcommand(AddNode::augment_args(
            command("add-node", "Takes a node in and gives it a replica of every shard")
                .after_help(ADD_HELP),
        ))
        .subcommand(RemoveNode::augment_args(command(
            "remove-node",
            "Takes a node's replicas away and removes it for good, whether it runs or not",
        )))
        .subcommand(Replace::augment_args(command(
            "replace",
            "Has a new node take the place of another, which is removed for good",
        )))
        .subcommand(Transfer::augment_args(command("transfer", "Has another node lead a shard")))
        .subcommand(Rebalance::augment_args(
            command("rebalance", "Spreads leadership, and replicas, evenly over the nodes")
                .after_help(REBALANCE_HELP),
        ))
        .subcommand(Recover::augment_args(
            command(
                "recover",
                "Has a stopped node go on alone after a majority was lost for good; dangerous",
            )
            .after_help(RECOVER_HELP),
        ))
        .disable_help_subcommand(true)
}

const INIT_HELP: &str = "\
Each node has been started with a --node-id of its own, the same --shards and --cluster-secret-file, and
without --cluster-peers. Interrupted, it can be given again.

Example:
  ringmain cluster init 10.0.0.1:6379 10.0.0.2:6379 10.0.0.3:6379";

const ADD_HELP: &str = "\
The node has been started like those of 'ringmain cluster init'. --host and --port name a node of the cluster.
It catches up while clients go on.

Example:
  ringmain cluster add-node 10.0.0.4:6379 --host 10.0.0.1";

const REBALANCE_HELP: &str = "\
With --replicas each shard is on so many nodes afterwards, and every node has as many replicas as another, or
one more. As little is moved as may be.

Example:
  ringmain cluster rebalance --replicas 3 --host 10.0.0.1";

const RECOVER_HELP: &str = "\
For when so many nodes are lost, with their disks, that those which are left are no majority and shards
wait for ever. Of each such shard that is in DIR the node becomes the only voter, with what it has there;
writes that only lost nodes had are lost, though they were acknowledged. Lost nodes are removed from the
cluster for good: make sure first that none of them runs any more.

Without --yes it changes nothing, and tells how far the node is: where several have survived, compare, and
recover the one with the highest term, and of those the last entry. One only: the others give up what they
have, and are taken in again with 'ringmain cluster add-node'.

Examples:
  ringmain cluster recover /var/lib/ringmain
  ringmain cluster recover /var/lib/ringmain --lost 1 --lost 2 --lost 3 --yes";

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
            "cluster init",
            "cluster init nowhere",
            "cluster add-node 10.0.0.1",
            "cluster remove-node x",
            "cluster replace 1",
            "cluster transfer 1",
            "cluster rebalance --replicas 0",
            "cluster recover",
            "cluster recover dir --lost one",
            "cluster recover dir --shard 1",
        ] {
            assert!(command().try_get_matches_from(flags.split(' ')).is_err(), "{flags}");
        }
    }
}
