//! What the cores of one server share and a command may look at: configuration, clients, counters,
//! subscriptions, topology, slow log. Everything is behind atomics or a lock that is never held while a command runs
//! on data. Shards are not here: they are reached through their tokens only; what a shard's owner
//! tells about it every turn is.

pub mod channels;
pub mod clients;
pub mod directory;
pub mod forwards;
pub mod host;
mod inbox;
pub mod latency;
pub mod log_stats;
pub mod members;
pub mod owners;
pub mod pause;
pub mod replica_stats;
mod reports;
pub mod shard_load;
pub mod shard_stats;
pub mod slow_log;
pub mod topology;
pub mod tracking;
pub mod transaction;
pub mod waiting;

pub use channels::Channels;
pub use clients::{ClientBuffers, ClientFlags, ClientInfo, ClientNames, ClientOptions, Clients};
pub use directory::Directory;
pub use forwards::Forwards;
pub use host::{CpuTimes, Host, Process};
pub use latency::LatencyEvents;
pub use log_stats::LogStats;
pub use members::{Member, Members, Wish};
pub use owners::{OwnerTable, Owners};
pub use pause::{Pause, PauseMode};
pub use replica_stats::{ReplicaStats, Role};
pub use reports::Reports;
pub use shard_load::{ShardLoad, ShardLoadSum};
pub use shard_stats::ShardStats;
pub use slow_log::SlowLog;
pub use topology::Topology;
pub use tracking::Tracking;
pub use transaction::ClientTransaction;
pub use waiting::ClientWait;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::config::Live;
use crate::metrics::{CoreMetrics, Rates, Totals, lock};
use crate::types::{CoreId, NodeId, Now, ShardId, SlotMap, UnixMs};

/// What a node is built with.
#[derive(Debug)]
pub struct NodeOptions {
    /// Slots to shards, and how many cores run them.
    pub slots: SlotMap,
    /// Addresses and ports.
    pub topology: Topology,
    /// 40 hexadecimal digits, random in a real server.
    pub run_id: String,
    /// As many, of which the cores' ids are derived; `None`: the run id.
    pub name: Option<String>,
    /// The time of the start.
    pub started_at: Now,
    /// Facts about the process that don't change.
    pub process: Process,
    /// Facts about the process that do.
    pub host: Box<dyn Host>,
    /// The configuration that all cores share.
    pub config: Live,
}

/// The server as its commands see it.
#[derive(Debug)]
pub struct Node {
    /// Which node of a cluster it is; `None` for a server on its own.
    pub id: Option<NodeId>,
    /// The current configuration.
    pub config: Live,
    /// Slots to shards.
    pub slots: SlotMap,
    /// Shards to cores.
    pub owners: OwnerTable,
    /// Connected clients.
    pub clients: Clients,
    /// Connections between nodes that carry their commands.
    pub forwards: Forwards,
    /// What they are subscribed to.
    pub channels: Channels,
    /// Who tracks keys.
    pub tracking: Tracking,
    /// Slow commands.
    pub slow_log: SlowLog,
    /// Latency spikes.
    pub latency_events: LatencyEvents,
    /// Addresses, ports and ids of the cores.
    pub topology: Topology,
    /// 40 hexadecimal digits, new at every start.
    pub run_id: String,
    /// One id for each core, 40 hexadecimal digits: what `CLUSTER` shows. Derived from `run_id` or, on a node
    /// of a cluster, from its name, and so the same after every start.
    pub core_ids: Vec<String>,
    /// The time of the start.
    pub started_at: Now,
    /// `CLIENT PAUSE`.
    pub pause: Pause,
    /// Counters, indexed by core.
    pub cores: Vec<CoreMetrics>,
    /// What owners tell about their shards, indexed by shard.
    pub shards: Vec<ShardStats>,
    /// What cores have done for shards, indexed by shard.
    pub loads: Vec<ShardLoadSum>,
    /// How far the logs are on disk, indexed by shard.
    pub logs: Vec<LogStats>,
    /// How replicas of this node do, indexed by shard.
    pub replicas: Vec<ReplicaStats>,
    /// The nodes of the cluster; none where there is no cluster.
    pub members: Members,
    /// Shards that are being recovered.
    pub loading: AtomicUsize,
    /// Why the server can't go on starting, if it can't.
    failure: Mutex<Option<String>>,
    /// Connections in `MONITOR` mode; while it is zero nothing need be formatted.
    pub monitors: AtomicUsize,
    /// Whether expired keys are removed unasked (`DEBUG SET-ACTIVE-EXPIRE`).
    pub active_expire: AtomicBool,
    /// Facts about the process that don't change.
    pub process: Process,
    /// Facts about the process that do.
    pub host: Box<dyn Host>,
    memory_peak_bytes: AtomicU64,
    rates: Mutex<Rates>,
}

impl Node {
    /// A node without clients.
    pub fn new(options: NodeOptions) -> Self {
        let NodeOptions { slots, topology, run_id, name, started_at, process, host, config } =
            options;
        let name = name.as_ref().unwrap_or(&run_id);
        let id = Some(NodeId(config.load().node_id)).filter(|id| id.0 != 0);
        Self {
            id,
            config,
            slots,
            owners: OwnerTable::new(slots),
            clients: Clients::default(),
            forwards: Forwards::default(),
            channels: Channels::default(),
            tracking: Tracking::default(),
            slow_log: SlowLog::default(),
            latency_events: LatencyEvents::default(),
            topology,
            core_ids: (0..slots.core_count()).map(|core| core_id(name, CoreId(core))).collect(),
            run_id,
            started_at,
            pause: Pause::default(),
            cores: (0..slots.core_count()).map(|_| CoreMetrics::default()).collect(),
            shards: (0..slots.shard_count()).map(|_| ShardStats::default()).collect(),
            loads: (0..slots.shard_count()).map(|_| ShardLoadSum::default()).collect(),
            logs: (0..slots.shard_count()).map(|_| LogStats::default()).collect(),
            replicas: (0..slots.shard_count()).map(|_| ReplicaStats::default()).collect(),
            members: Members::default(),
            loading: AtomicUsize::new(0),
            failure: Mutex::default(),
            monitors: AtomicUsize::new(0),
            active_expire: AtomicBool::new(true),
            process,
            host,
            memory_peak_bytes: AtomicU64::new(0),
            rates: Mutex::default(),
        }
    }

    /// The counters of `core`.
    pub fn core(&self, core: CoreId) -> &CoreMetrics {
        &self.cores[usize::from(core.0)]
    }

    /// What the owner of `shard` tells about it.
    pub fn shard(&self, shard: ShardId) -> &ShardStats {
        &self.shards[usize::from(shard.0)]
    }

    /// How far the log of `shard` is.
    #[inline]
    pub fn log(&self, shard: ShardId) -> &LogStats {
        &self.logs[usize::from(shard.0)]
    }

    /// How this node's replica of `shard` does.
    #[inline]
    pub fn replica(&self, shard: ShardId) -> &ReplicaStats {
        &self.replicas[usize::from(shard.0)]
    }

    /// The node that leads a shard, as far as this one knows: from its replica or, where that knows none, from what
    /// other nodes have told.
    pub fn leader_of(&self, shard: ShardId) -> Option<NodeId> {
        let own = self.replica(shard).leader();
        own.or_else(|| self.members.heard_leader(shard).map(|(_, leader)| leader))
    }

    /// Rises with every change of what clients are told: owners of shards and, in a cluster, its members and
    /// the leaders of its shards. Comparable within one run of the server.
    #[inline]
    pub fn topology_epoch(&self) -> u64 {
        // Both only rise, and so does their sum. Without a cluster the second is 0 for good.
        self.owners.epoch() + self.members.epoch()
    }

    /// The owners of all shards and, in a cluster, which of them this node serves, as of
    /// [`topology_epoch`](Self::topology_epoch) or later.
    pub fn served_owners(&self) -> Arc<Owners> {
        // Read first, so that what is read then is as new.
        let members_epoch = self.members.epoch();
        let owners = self.owners.load();
        if self.id.is_none() {
            return owners;
        }
        let epoch = owners.epoch() + members_epoch;
        Arc::new(owners.in_cluster(epoch, |shard| self.replica(shard).is_serving()))
    }

    /// Whether data is being recovered.
    #[inline]
    pub fn is_loading(&self) -> bool {
        self.loading.load(Ordering::Acquire) > 0
    }

    /// Bytes read of all logs that are being recovered, and bytes there are to read.
    pub fn loaded_bytes(&self) -> (u64, u64) {
        let loaded = self.logs.iter().map(LogStats::loaded);
        loaded.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Notes why the server can't go on starting; the first reason stays.
    pub fn fail(&self, reason: String) {
        lock(&self.failure).get_or_insert(reason);
    }

    /// Why the server could not go on starting.
    pub fn failure(&self) -> Option<String> {
        lock(&self.failure).take()
    }

    /// The pause that holds at `now`, if any.
    pub fn pause_until(&self, now: UnixMs) -> Option<(UnixMs, PauseMode)> {
        self.pause.until(now)
    }

    /// Samples rates and the memory peak. Core 0 calls it about ten times a second.
    pub fn tick(&self, now: Now) {
        lock(&self.rates).sample(now.mono, self.totals());
        self.memory_peak_bytes(self.used_memory_bytes());
    }

    /// Rates per second over the last moments.
    pub fn rates(&self) -> Totals {
        lock(&self.rates).per_second()
    }

    /// Data, tables and buffers of all shards, clients and logs. What every core has from the start,
    /// whatever it serves, is not in it: see `fixed_bytes`.
    pub fn used_memory_bytes(&self) -> u64 {
        self.limited_memory_bytes() + self.log_buffer_bytes() + self.link_bytes()
    }

    /// What `maxmemory` is held against: all that is used but the logs' buffers, as in Redis. What is evicted
    /// is noted in them, so that evicting because of them would lead to more of it; they have a bound of
    /// their own, beyond which writes wait.
    pub fn limited_memory_bytes(&self) -> u64 {
        let data: u64 = self.shards.iter().map(|shard| shard.memory().total_bytes() as u64).sum();
        data + self.client_bytes()
    }

    /// Changes, records and entries on their way to the disk.
    pub fn log_buffer_bytes(&self) -> u64 {
        let states = self.logs.iter().filter_map(LogStats::state);
        states.map(|state| state.memory_bytes as u64).sum()
    }

    /// What is on its way to other nodes and from them. It has a bound of its own.
    pub fn link_bytes(&self) -> u64 {
        self.cores.iter().map(|core| core.link_bytes.get()).sum()
    }

    /// Requests and replies of all clients.
    pub fn client_bytes(&self) -> u64 {
        self.cores.iter().map(|core| core.client_bytes.get()).sum()
    }

    /// Rings and receive buffers of all cores.
    pub fn fixed_bytes(&self) -> u64 {
        self.cores.iter().map(|core| core.ring_bytes.get()).sum()
    }

    /// The highest `used_memory_bytes` seen, this one included.
    pub fn memory_peak_bytes(&self, used: u64) -> u64 {
        self.memory_peak_bytes.fetch_max(used, Ordering::Relaxed).max(used)
    }

    /// Sets all statistics back to zero (`CONFIG RESETSTAT`).
    pub fn reset_stats(&self) {
        self.cores.iter().for_each(CoreMetrics::reset);
        self.shards.iter().for_each(ShardStats::reset);
        self.loads.iter().for_each(ShardLoadSum::reset);
    }

    fn totals(&self) -> Totals {
        let sum = |count: fn(&CoreMetrics) -> u64| self.cores.iter().map(count).sum();
        Totals {
            commands: sum(|core| core.commands_processed.total()),
            input_bytes: sum(|core| core.input_bytes.total()),
            output_bytes: sum(|core| core.output_bytes.total()),
        }
    }
}

/// The id of one core: the name of its node with the last digits replaced by the core's number.
pub(crate) fn core_id(name: &str, core: CoreId) -> String {
    let kept = name.len().saturating_sub(4);
    format!("{}{:04x}", &name[..kept], core.0)
}
