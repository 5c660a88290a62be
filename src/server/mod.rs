//! Start and stop: checks, sockets, one pinned executor per core, signals.

mod cluster;
pub mod data_dir;
mod host;
mod listen;
pub mod log;
pub(crate) mod nodes_file;
pub mod preflight;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use crate::cache::KeyspaceOptions;
use crate::config::{Config, Durability, Live};
use crate::log::{HardState, Manifest};
use crate::node::{Node, NodeOptions};
use crate::runtime::{
    self, CoreParts, LogFiles, Message, Peer, Recovering, RecoveringReplica, ShardCell,
};
use crate::shard::Shard;
use crate::types::{CoreId, LogIndex, MonoUs, NodeId, Now, ShardId, SlotMap};
use cluster::Keeper;
use data_dir::DataDir;
use listen::Sockets;
use log::Log;
pub use preflight::StartError;

/// Runs the server until SIGINT, SIGTERM or `SHUTDOWN`.
///
/// # Errors
/// Whatever keeps it from starting, as one sentence that names the mend.
pub fn run(mut config: Config) -> Result<(), StartError> {
    let log = Log::start(config.log_level);
    preflight::check(&mut config)?;
    let data = open_data(&mut config)?;
    crate::cache::set_up_allocator();
    let slots = SlotMap::new(config.shards, config.core_count());
    let sockets = Sockets::bind(&config, slots.core_count())?;
    let banner = banner(&config, &sockets, slots);
    let (stop, stopped) = flume::bounded(1);
    watch_signals(stop.clone())?;
    let cores = Cores::start(config, log, data, sockets, slots, stop)?;
    // The banner is for a person; without a terminal there is nobody to miss it.
    let _ = std::io::stdout().write_all(banner.as_bytes());
    let _ = std::io::stdout().flush();
    cores.show_loading(&stopped);
    // Nobody can ask for a stop any more only if all cores have ended.
    let _ = stopped.recv();
    tracing::info!("stopping");
    let node = cores.node.clone();
    cores.stop();
    node.failure().map_or(Ok(()), |reason| Err(StartError::Log(reason)))
}

/// Opens the data directory, unless nothing is kept: who names no number of shards gets as many as it
/// holds.
fn open_data(config: &mut Config) -> Result<Option<DataDir>, StartError> {
    if !config.keeps_logs() {
        return Ok(None);
    }
    let data = DataDir::open(&config.dir, config.shards)?;
    if !config.shards_given {
        config.shards = data.layout().shards;
    }
    data.check_shards(config.shards)?;
    Ok(Some(data))
}

/// The running cores.
struct Cores {
    node: Arc<Node>,
    peers: Arc<Vec<Peer>>,
    executors: Vec<ExecutorJoinHandle<()>>,
    /// Keeps the directory of a cluster's nodes as long as it is there.
    _keeper: Option<Keeper>,
}

impl Cores {
    fn start(
        config: Config,
        log: Log,
        data: Option<DataDir>,
        sockets: Sockets,
        slots: SlotMap,
        stop: flume::Sender<()>,
    ) -> Result<Self, StartError> {
        let log_files = Arc::new(LogFiles::start(config.dir.clone())?);
        let mut recovering = recoveries(&config, data.as_ref(), &log_files, slots)?;
        let loading = recovering.iter().map(Vec::len).sum();
        let machine = preflight::Machine::new(log, data, log_files.clone());
        let clock = quanta::Clock::new();
        let started = clock.raw();
        let cpus = config.core_cpus().to_vec();
        let io_memory_bytes = preflight::glommio_io_memory_bytes(slots.core_count());
        let peers: Vec<Peer> =
            (0..slots.core_count()).map(|_| Peer::new()).collect::<Result<_, _>>()?;
        let unix =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let started_at = Now::new(unix, MonoUs(0));
        let element_seed = random()?;
        let cells: Vec<ShardCell> = (0..slots.shard_count())
            .map(|id| new_shard(&config, slots, ShardId(id), started_at, element_seed))
            .collect::<Result<_, _>>()?;
        let (peers, cells) = (Arc::new(peers), Arc::new(cells));
        let links = cluster::link_options(&config)?.map(Arc::new);
        let forwards_max = preflight::forwards_possible(&config);
        let mut options = node_options(config, machine, &sockets, slots, started_at)?;
        options.name = links.as_ref().map(|links| links.secret.node_name(links.me));
        let node = Arc::new(Node::new(options));
        node.forwards.set_most(forwards_max);
        let keeper = links.as_ref().map(|links| cluster::enter(&node, links));
        // Before the first client can ask for it.
        node.loading.store(loading, Ordering::Release);
        for of_core in &recovering {
            of_core.iter().for_each(|it| node.log(it.shard).set_loading(true));
        }
        node.cores.iter().for_each(|core| core.ring_bytes.set(runtime::RING_BYTES as u64));
        let (ready, readiness) = flume::unbounded();
        let mut cores = Self {
            node: node.clone(),
            peers: peers.clone(),
            executors: Vec::new(),
            _keeper: keeper.transpose()?,
        };
        let listeners = sockets.by_core.into_iter().zip(sockets.links);
        for (index, (listeners, link_listeners)) in listeners.enumerate() {
            let id = CoreId(u16::try_from(index).unwrap_or(u16::MAX));
            let (node, peers, cells) = (node.clone(), peers.clone(), cells.clone());
            let (stop, ready, clock) = (stop.clone(), ready.clone(), clock.clone());
            let (log_files, recovering) =
                (log_files.clone(), std::mem::take(&mut recovering[index]));
            let links = links.clone().map(|links| (links, link_listeners));
            let executor = LocalExecutorBuilder::new(Placement::Fixed(usize::from(cpus[index])))
                .name(&format!("core-{index}"))
                .io_memory(io_memory_bytes)
                .ring_depth(preflight::GLOMMIO_RING_DEPTH)
                .spawn(move || async move {
                    let (node, peers, cells) = (&*node, &peers, &cells[..]);
                    let parts = CoreParts {
                        id,
                        node,
                        peers,
                        log_files,
                        recovering,
                        cells,
                        listeners,
                        links,
                        stop,
                        clock,
                        started,
                    };
                    runtime::serve(parts, ready).await;
                });
            match executor {
                Ok(executor) => cores.executors.push(executor),
                Err(error) => {
                    cores.stop();
                    return Err(preflight::executor_error(&error));
                }
            }
        }
        drop(ready);
        for _ in 0..cores.executors.len() {
            match readiness.recv() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    cores.stop();
                    return Err(preflight::ring_error(error));
                }
                // An executor that can't be built ends its thread before the core can say anything.
                Err(flume::RecvError::Disconnected) => {
                    let silent = || StartError::Core("its thread ended".to_owned());
                    return Err(cores.stop().unwrap_or_else(silent));
                }
            }
        }
        Ok(cores)
    }

    /// Tells how far data has been recovered, once a second, until it is or the server is to stop.
    fn show_loading(&self, stopped: &flume::Receiver<()>) {
        const EVERY: Duration = Duration::from_secs(1);
        let begun = Instant::now();
        let mut told = begun;
        while self.node.is_loading() && stopped.is_empty() {
            std::thread::sleep(Duration::from_millis(10));
            if told.elapsed() >= EVERY {
                told = Instant::now();
                let (read, total) = self.node.loaded_bytes();
                tracing::info!("loading: {} of {} MiB", read >> 20, total >> 20);
            }
        }
        if begun.elapsed() >= EVERY && stopped.is_empty() {
            tracing::info!("loaded in {:.1} s", begun.elapsed().as_secs_f64());
        }
    }

    /// Tells all cores to stop and waits for them; why the first of those that ended badly did.
    fn stop(self) -> Option<StartError> {
        for peer in self.peers.iter() {
            peer.post_from_outside(Message::Stop);
        }
        let mut first = None;
        for executor in self.executors {
            if let Err(error) = executor.join() {
                tracing::error!("a core ended badly: {error}");
                first.get_or_insert_with(|| preflight::executor_error(&error));
            }
        }
        first
    }
}

/// What each core has to recover; nothing where nothing is kept.
fn recoveries(
    config: &Config,
    data: Option<&DataDir>,
    files: &Arc<LogFiles>,
    slots: SlotMap,
) -> Result<Vec<Vec<Recovering>>, StartError> {
    let mut by_core: Vec<Vec<Recovering>> = Vec::new();
    by_core.resize_with(usize::from(slots.core_count()), Vec::new);
    let Some(data) = data else { return Ok(by_core) };
    files.set_id(data.layout().id);
    let (options, since) = (files.options(config), Instant::now());
    for shard in (0..slots.shard_count()).map(ShardId) {
        let recovery = files.recover(shard, slots.shard_count()).map_err(|error| {
            StartError::Log(runtime::unreadable_log(&config.dir, shard, &error))
        })?;
        let replica = if config.is_in_cluster() {
            Some(recovering_replica(config, data, files, (shard, recovery.manifest()))?)
        } else {
            None
        };
        let recovering = Recovering { shard, recovery, options, since, replica };
        by_core[usize::from(slots.first_core_of(shard).0)].push(recovering);
    }
    Ok(by_core)
}

/// What a shard's replica begins with: what is found, or all nodes as voters where nothing is.
fn recovering_replica(
    config: &Config,
    data: &DataDir,
    files: &LogFiles,
    (shard, manifest): (ShardId, &Manifest),
) -> Result<RecoveringReplica, StartError> {
    let unreadable = |why: String| {
        let folder = runtime::shard_folder(&config.dir, shard);
        StartError::Log(format!("The hard state in '{}' can't be read: {why}.", folder.display()))
    };
    let found = files.read_hard_state(shard).map_err(|error| unreadable(error.to_string()))?;
    let node = NodeId(config.node_id);
    if let Some(other) = found.as_ref().map(|state| state.node).filter(|other| *other != node) {
        return Err(unreadable(format!(
            "it is that of node {}, and this is node {}",
            other.0, node.0
        )));
    }
    let mut voters: Vec<NodeId> = config.cluster_peers.iter().map(|peer| peer.id).collect();
    voters.sort_unstable();
    let hard_state =
        found.unwrap_or_else(|| HardState::first((shard, data.layout().id), node, voters));
    let applied = (LogIndex(manifest.first_index.0 - 1), manifest.base_term);
    Ok(RecoveringReplica { hard_state, applied, entries: Vec::new() })
}

fn new_shard(
    config: &Config,
    slots: SlotMap,
    id: ShardId,
    started_at: Now,
    element_seed: u64,
) -> Result<ShardCell, StartError> {
    // Replicas count alike: the sequence of a shard in a cluster is its leader's.
    let sequence = if config.is_in_cluster() { 0 } else { started_at.first_sequence() };
    let options = KeyspaceOptions { slots: slots.slots_of(id), seed: random()?, sequence };
    let mut shard = Shard::new(id, options);
    shard.keyspace_mut().set_thresholds(config.thresholds);
    shard.keyspace_mut().set_element_seed(element_seed);
    Ok(ShardCell::new(shard))
}

fn random() -> Result<u64, StartError> {
    getrandom::u64().map_err(|error| StartError::from(std::io::Error::other(error.to_string())))
}

fn node_options(
    config: Config,
    machine: preflight::Machine,
    sockets: &Sockets,
    slots: SlotMap,
    started_at: Now,
) -> Result<NodeOptions, StartError> {
    let run_id = format!("{:016x}{:016x}{:08x}", random()?, random()?, random()? >> 32);
    Ok(NodeOptions {
        slots,
        topology: sockets.topology(&config),
        run_id,
        name: None,
        started_at,
        process: host::process(&config),
        host: Box::new(host::ProcFs),
        config: Live::with_host(config, Box::new(machine)),
    })
}

/// Asks for a stop at the first SIGINT or SIGTERM; at the second the process ends at once.
fn watch_signals(stop: flume::Sender<()>) -> Result<(), StartError> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    // A limit on the length of files is an error of a write, to be dealt with there, and no reason to end.
    signal_hook::flag::register(libc::SIGXFSZ, Arc::default())?;
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 {
                std::process::exit(128 + signal);
            }
            // Full means that a stop was asked for already.
            let _ = stop.try_send(());
        }
    })?;
    Ok(())
}

/// What the server says once it serves.
fn banner(config: &Config, sockets: &Sockets, slots: SlotMap) -> String {
    let topology = sockets.topology(config);
    let port = topology.common_port;
    let addresses: Vec<String> = config
        .bind
        .iter()
        .map(|bind| std::net::SocketAddr::new(bind.ip, port).to_string())
        .collect();
    let cpus: Vec<String> = config.core_cpus().iter().map(u16::to_string).collect();
    let core_ports = match (topology.core_ports.first(), topology.core_ports.last()) {
        (Some(first), Some(last)) if first != last => {
            let ports: Vec<String> = topology.core_ports.iter().map(u16::to_string).collect();
            if usize::from(last.wrapping_sub(*first)) + 1 == ports.len() {
                format!("{first} to {last}")
            } else {
                ports.join(", ")
            }
        }
        (Some(only), _) => only.to_string(),
        (None, _) => "none".to_owned(),
    };
    let binary_port = topology.binary_port.map_or("none".to_owned(), |port| port.to_string());
    let maxmemory = match config.maxmemory_bytes {
        0 => "no limit".to_owned(),
        bytes => format!("{bytes} bytes"),
    };
    let durability = match config.durability {
        Durability::Memory if !config.keeps_logs() => {
            "memory: data does not survive a restart".to_owned()
        }
        level => format!("{}, in {}", level.name(), config.dir.display()),
    };
    let cluster = match config.node_id {
        0 => String::new(),
        id => format!("  cluster     node {id}, links from port {} on\n", config.cluster_port),
    };
    format!(
        "ringmain {} serves on {}\n  \
         cores       {} on CPU {}, {} shards\n  \
         core ports  {core_ports}\n  \
         binary port {binary_port}\n  \
         memory      {maxmemory}\n  \
         durability  {durability}\n\
         {cluster}  \
         try         redis-cli -p {port} set hello world\n",
        env!("CARGO_PKG_VERSION"),
        addresses.join(", "),
        slots.core_count(),
        cpus.join(", "),
        slots.shard_count(),
    )
}
