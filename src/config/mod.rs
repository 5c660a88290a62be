//! What the server is told: flags and a TOML file in, one validated [`Config`] out.
//!
//! [`parameter::PARAMETERS`] (in `table`) holds one row per parameter; the flags, the file, `CONFIG GET`,
//! `CONFIG SET`, `CONFIG REWRITE` and `docs/configuration.md` all come from it. `load` reads flags and
//! file into a [`Config`], [`Live`] shares the current one between cores, `rewrite` writes it back.
//!
//! Invariant: whoever holds a [`Config`] holds values that are in range. What depends on the machine
//! (ports that are taken, limits of the process, CPUs that are not there) is `server::preflight`'s.

pub mod live;
pub mod load;
pub mod parameter;
pub mod percentiles;
pub mod rewrite;
pub mod set;
mod table;
pub mod value;

pub use live::{Host, Live, Refusal};
pub use load::{ConfigError, command_line, load, read};
pub use percentiles::{Percentile, Percentiles};
pub use value::{
    BinaryPort, Bind, ClusterPeer, ClusterSeed, DebugCommand, Durability, LogLevel, OutputLimit,
    OutputLimits, Secret, ShardPorts, available_cpus,
};

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::cache::{EventClasses, EvictionPolicy};
use crate::collection::Thresholds;
use crate::limits::{BULK_BYTES_MAX, SHARDS_MAX};

/// Everything the server is told. Plain data; every value is in its parameter's range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `--config`: the file these values were read from, absolute; what `CONFIG REWRITE` writes.
    pub file: Option<PathBuf>,

    /// `bind`: addresses of the common port and of the shard ports. Never empty.
    pub bind: Vec<Bind>,
    /// `port`: the common port; 0 lets the operating system choose, also the shard ports.
    pub port: u16,
    /// `shard-port-base`: where each core listens besides the common port.
    pub shard_ports: ShardPorts,
    /// `binary-port`: where the binary protocol is spoken besides the cores' own ports.
    pub binary_port: BinaryPort,
    /// `tcp-backlog`: connections that may wait to be accepted.
    pub tcp_backlog: u32,
    /// `tcp-keepalive`: seconds of silence before a peer is probed; 0 never.
    pub tcp_keepalive_s: u32,

    /// `shards`: number of shards, 1 to [`SHARDS_MAX`].
    pub shards: u16,
    /// Whether that number was asked for, rather than chosen for this machine.
    pub shards_given: bool,
    /// `cpus`: the CPUs that cores may be pinned to, ascending, without repeats, never empty.
    pub cpus: Vec<u16>,
    /// `cluster-enabled`: answer `MOVED` and `CROSSSLOT` instead of hopping.
    pub cluster_enabled: bool,

    /// `node-id`: which node of a cluster this is; 0 for a server on its own.
    pub node_id: u64,
    /// `cluster-peers`: the nodes that a new cluster begins with.
    pub cluster_peers: Vec<ClusterPeer>,
    /// `cluster-seed`: where a node is looked for that knows the cluster.
    pub cluster_seed: Vec<ClusterSeed>,
    /// `cluster-announce-ip`: the address by which others are to know this node.
    pub cluster_announce_ip: Option<IpAddr>,
    /// `cluster-announce-port`: the common port by which others are to know it; 0 for `port`.
    pub cluster_announce_port: u16,
    /// `cluster-announce-shard-port-base`: the port by which others are to know the first core, and so on; 0 for one as far
    /// from the announced common port as the core's own is from `port`.
    pub cluster_announce_shard_port_base: u16,
    /// `cluster-announce-bus-port`: where others are to link to the first core, and so on; 0 for `cluster-port`.
    pub cluster_announce_bus_port: u16,
    /// `cluster-secret-file`: where the secret is that the nodes share, absolute.
    pub cluster_secret_file: Option<PathBuf>,
    /// `cluster-port`: core `i` takes links on this port + `i`. Of a node of a cluster it is never 0: see
    /// [`ClusterPeer::cluster_port`].
    pub cluster_port: u16,
    /// `cluster-forward`: carry out a command on keys that another node leads there, for clients that do not speak
    /// cluster.
    pub cluster_forward: bool,
    /// `heartbeat-ms`: how often a leader is heard from.
    pub heartbeat_ms: u64,
    /// `election-timeout-ms`: silence after which another node may lead.
    pub election_timeout_ms: u64,
    /// `follower-read-max-lag-ms`: how far a follower may be behind and still answer reads.
    pub follower_read_max_lag_ms: u64,

    /// `dir`: the directory that data lives in.
    pub dir: PathBuf,
    /// `durability`: what an acknowledged write has survived.
    pub durability: Durability,
    /// `segment-bytes`: the length of one file of a shard's log.
    pub segment_bytes: u64,
    /// `log-bytes-max`: bytes of all shards' logs beyond which snapshots are taken.
    pub log_bytes_max: u64,
    /// `auto-aof-rewrite-percentage`: bytes of a log over bytes of data, in percent, beyond which a
    /// snapshot is taken; 0 for no such bound.
    pub auto_aof_rewrite_percentage: u64,
    /// `auto-aof-rewrite-min-size`: bytes of all shards' logs below which that does not hold.
    pub auto_aof_rewrite_min_size_bytes: u64,

    /// `maxmemory`: bytes held for data, tables and buffers; 0 is no limit.
    pub maxmemory_bytes: u64,
    /// `maxmemory-policy`: what is removed when memory is short.
    pub maxmemory_policy: EvictionPolicy,
    /// `hash-max-listpack-entries` and its like: up to which size collections are blocks.
    pub thresholds: Thresholds,
    /// Keyspace events that are published.
    pub notify_keyspace_events: EventClasses,
    /// `list-compress-depth`: what Redis leaves uncompressed at the ends of lists; nothing is compressed here.
    pub list_compress_depth: u32,

    /// `maxclients`: most connections at a time.
    pub maxclients: u32,
    /// `timeout`: seconds after which an idle client is closed; 0 never.
    pub timeout_s: u32,
    /// `request-timeout`: seconds that a request may stay half sent; 0 for ever.
    pub request_timeout_s: u32,
    /// `client-query-buffer-limit`: most bytes of unanswered input of one client.
    pub client_query_buffer_limit_bytes: usize,
    /// `client-output-buffer-limit`: most bytes of unread output, by class of client.
    pub client_output_buffer_limits: OutputLimits,
    /// `proto-max-bulk-len`: longest argument.
    pub proto_max_bulk_len_bytes: usize,

    /// `requirepass`: what `AUTH` must give; `None` asks nothing.
    pub requirepass: Option<Secret>,
    /// `protected-mode`: without a password, serve loopback clients only.
    pub protected_mode: bool,
    /// `enable-debug-command`: who may use `DEBUG`.
    pub debug_command: DebugCommand,

    /// `log-level`: what is logged.
    pub log_level: LogLevel,
    /// `slowlog-log-slower-than`: microseconds; 0 logs every command, -1 none.
    pub slowlog_log_slower_than_us: i64,
    /// `slowlog-max-len`: entries kept.
    pub slowlog_max_len: u64,
    /// `tracking-table-max-keys`: keys that clients are registered with; 0 for no limit.
    pub tracked_keys_max: u64,
    /// `latency-monitor-threshold`: milliseconds from which an event is kept; 0 keeps none.
    pub latency_monitor_threshold_ms: u64,
    /// `latency-tracking`: a histogram per command.
    pub latency_tracking: bool,
    /// `latency-tracking-info-percentiles`: what `INFO latencystats` shows of it.
    pub latency_percentiles: Percentiles,
}

impl Config {
    /// The cores that serve: as many as there are shards, but at most one per CPU.
    pub fn core_count(&self) -> u16 {
        let cpus = u16::try_from(self.cpus.len()).unwrap_or(u16::MAX);
        self.shards.min(cpus)
    }

    /// The CPU of each core, in core order.
    pub fn core_cpus(&self) -> &[u16] {
        &self.cpus[..usize::from(self.core_count())]
    }

    /// Whether this is a node of a cluster.
    pub fn is_in_cluster(&self) -> bool {
        self.node_id != 0
    }

    /// Whether there are logs: where writes are to survive something, and always on a node of a cluster,
    /// which must not forget how it has voted.
    pub fn keeps_logs(&self) -> bool {
        self.durability != Durability::Memory || self.is_in_cluster()
    }

    /// The common port as others are told it.
    pub fn announced_port(&self) -> u16 {
        if self.cluster_announce_port == 0 { self.port } else { self.cluster_announce_port }
    }

    /// Where others are told to link to the first core.
    pub fn announced_cluster_port(&self) -> u16 {
        let announced = self.cluster_announce_bus_port;
        if announced == 0 { self.cluster_port } else { announced }
    }

    /// The port of the first core as others are told it, where that is not its own; it may be none that can be.
    pub fn announced_core_base(&self) -> Option<i32> {
        let (announced, base) = (self.cluster_announce_port, self.cluster_announce_shard_port_base);
        match self.shard_ports {
            ShardPorts::Off => None,
            _ if base != 0 => Some(base.into()),
            ShardPorts::From(own) if announced != 0 => {
                Some(i32::from(announced) + i32::from(own) - i32::from(self.port))
            }
            ShardPorts::From(_) | ShardPorts::OsChosen => None,
        }
    }

    /// What `cluster-peers` says of this node.
    pub fn own_peer(&self) -> Option<&ClusterPeer> {
        self.cluster_peers.iter().find(|peer| peer.id.0 == self.node_id)
    }

    /// Whether every bound address is a loopback address.
    pub fn binds_loopback_only(&self) -> bool {
        self.bind.iter().all(|bind| bind.ip.is_loopback())
    }

    /// The defaults beside the values that `self` has: what `shards` is if it is left out follows
    /// from `cpus`, and what `shard-port-base` is from `port` and the number of cores.
    fn defaults_beside(&self) -> Self {
        let machine = available_cpus();
        let shards = if self.cpus == machine {
            default_shards(&machine)
        } else {
            u16::try_from(self.cpus.len()).map_or(SHARDS_MAX, |count| count.min(SHARDS_MAX))
        };
        let mut defaults = Self::defaults(PORT_DEFAULT, machine, shards);
        defaults.shard_ports = ShardPorts::beside(self.port, self.core_count());
        defaults.cluster_port = match self.own_peer() {
            Some(own) if self.cluster_announce_bus_port == 0 => own.cluster_port(),
            Some(_) if self.port != 0 => value::cluster_port_beside(self.port),
            // A node that belongs to nobody yet.
            None if self.is_in_cluster() && self.cluster_peers.is_empty() && self.port != 0 => {
                value::cluster_port_beside(self.port)
            }
            Some(_) | None => 0,
        };
        defaults
    }

    /// The defaults of a server of `shards` shards on `cpus`, on port `port`.
    fn defaults(port: u16, cpus: Vec<u16>, shards: u16) -> Self {
        let mut config = Self {
            file: None,
            bind: vec![Bind { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), optional: false }],
            port,
            shard_ports: ShardPorts::Off,
            binary_port: BinaryPort::Auto,
            tcp_backlog: 511,
            tcp_keepalive_s: 300,
            shards,
            shards_given: false,
            cpus,
            cluster_enabled: false,
            node_id: 0,
            cluster_peers: Vec::new(),
            cluster_seed: Vec::new(),
            cluster_announce_ip: None,
            cluster_announce_port: 0,
            cluster_announce_shard_port_base: 0,
            cluster_announce_bus_port: 0,
            cluster_secret_file: None,
            cluster_port: 0,
            cluster_forward: true,
            heartbeat_ms: 50,
            election_timeout_ms: 300,
            follower_read_max_lag_ms: 1000,
            dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")).join(DIR_DEFAULT),
            durability: Durability::Async,
            segment_bytes: 64 << 20,
            log_bytes_max: 4 << 30,
            auto_aof_rewrite_percentage: 100,
            auto_aof_rewrite_min_size_bytes: 64 << 20,
            maxmemory_bytes: 0,
            maxmemory_policy: EvictionPolicy::NoEviction,
            thresholds: Thresholds::default(),
            notify_keyspace_events: EventClasses::empty(),
            list_compress_depth: 0,
            maxclients: 10_000,
            timeout_s: 0,
            request_timeout_s: 60,
            client_query_buffer_limit_bytes: 1 << 30,
            client_output_buffer_limits: OutputLimits::default(),
            proto_max_bulk_len_bytes: BULK_BYTES_MAX,
            requirepass: None,
            protected_mode: true,
            debug_command: DebugCommand::No,
            log_level: LogLevel::Notice,
            slowlog_log_slower_than_us: 10_000,
            slowlog_max_len: 128,
            tracked_keys_max: 1_000_000,
            latency_monitor_threshold_ms: 0,
            latency_tracking: true,
            latency_percentiles: Percentiles::default(),
        };
        config.shard_ports = ShardPorts::beside(port, config.core_count());
        config
    }
}

/// The folder that data lives in when nothing else is said; it is made if it is not there. Not the current
/// directory itself, as Redis has it, since there are more files than one.
pub(crate) const DIR_DEFAULT: &str = "ringmain-data";
/// The port that is served when nothing else is said.
const PORT_DEFAULT: u16 = 6379;

impl Default for Config {
    /// What the server does when it is told nothing: one shard per CPU that the process may use.
    fn default() -> Self {
        let cpus = available_cpus();
        let shards = default_shards(&cpus);
        Self::defaults(PORT_DEFAULT, cpus, shards)
    }
}

/// One shard per CPU, though no more than the CPU time that the process's control group grants.
fn default_shards(cpus: &[u16]) -> u16 {
    let granted = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cpus.len().min(granted)).unwrap_or(u16::MAX).clamp(1, SHARDS_MAX)
}
