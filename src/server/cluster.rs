//! A node of a cluster at the start: what links are made with, the nodes that are known, and what keeps their
//! directory: its file, and the addresses that hosts' names stand for.
//!
//! A host that is an address is one at once; names are resolved on a thread of their own, which may take as long as the
//! system likes, again and again as long as they can't be, or their node is not linked to: it may have come back at
//! another address. The same thread writes the file `nodes` when something has changed (`nodes_file`).

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::preflight::{self, StartError};
use super::{nodes_file, random};
use crate::config::{ClusterSeed, Config};
use crate::metrics::lock;
use crate::node::Node;
use crate::replica::link::ClusterSecret;
use crate::runtime::LinkOptions;
use crate::types::{NodeId, ShardId};

/// What links are made with; nothing where there is no cluster.
///
/// # Errors
/// If the secret can't be read.
pub(super) fn link_options(config: &Config) -> Result<Option<LinkOptions>, StartError> {
    let Some(file) = config.cluster_secret_file.as_ref().filter(|_| config.is_in_cluster()) else {
        return Ok(None);
    };
    let secret = preflight::read_secret(file).map_err(StartError::Cluster)?;
    Ok(Some(LinkOptions {
        me: NodeId(config.node_id),
        secret: ClusterSecret::new(&secret),
        incarnation: random()?.max(1),
    }))
}

/// Makes all nodes of the cluster known to this one, itself included: those that it knew of when it stopped, and
/// those that `cluster-peers` says.
///
/// # Errors
/// If the file can't be read, or the system allows no thread more.
pub(super) fn enter(node: &Arc<Node>, options: &LinkOptions) -> Result<Keeper, StartError> {
    let config = node.config.load();
    let mut directory = nodes_file::read(&config.dir).map_err(StartError::Cluster)?;
    directory.take_peers(&config.cluster_peers);
    let (wake, woken) = flume::bounded(1);
    node.members.enter(
        (options.me, options.secret.clone()),
        directory,
        (own_host(&config), node.topology.announced_port(), config.announced_cluster_port()),
        wake.clone(),
    );
    let owners = node.owners.load();
    let shards = (0..node.slots.shard_count()).map(ShardId);
    node.members.update(|members| {
        if let Some(own) = members.iter_mut().find(|member| member.id == options.me) {
            own.core_ports = node.topology.announced_core_ports().to_vec();
            own.owners = shards.map(|shard| owners.core_of(shard)).collect();
            own.is_up = true;
        }
    });
    Keeper::start(node.clone(), &config, (wake, woken))
}

/// Where others reach this node, as far as it was told.
fn own_host(config: &Config) -> Option<String> {
    let concrete = || {
        let is_outside = |ip: &IpAddr| !ip.is_loopback();
        let (outside, inside): (Vec<IpAddr>, Vec<IpAddr>) =
            config.bind.iter().map(|bind| bind.ip).partition(is_outside);
        let ips = if outside.is_empty() { inside } else { outside };
        // With several, others find out which of them they reach.
        let [ip] = ips[..] else { return None };
        (!ip.is_unspecified()).then(|| ip.to_string())
    };
    let announced = config.cluster_announce_ip.map(|ip| ip.to_string());
    announced.or_else(|| config.own_peer().map(|peer| peer.host.clone())).or_else(concrete)
}

/// Keeps the directory of nodes until it is dropped.
pub(super) struct Keeper {
    inner: Arc<Inner>,
    wake: flume::Sender<()>,
}

struct Inner {
    node: Arc<Node>,
    dir: PathBuf,
    seeds: Vec<ClusterSeed>,
    /// What the file says.
    saved: Mutex<String>,
    is_over: AtomicBool,
}

impl Keeper {
    /// Time between two looks.
    const EVERY: Duration = Duration::from_secs(5);
    /// The same while there is a name that stands for nothing yet, or nobody is known.
    const SOON: Duration = Duration::from_millis(500);

    fn start(
        node: Arc<Node>,
        config: &Config,
        (wake, woken): (flume::Sender<()>, flume::Receiver<()>),
    ) -> Result<Self, StartError> {
        let inner = Arc::new(Inner {
            node,
            dir: config.dir.clone(),
            seeds: config.cluster_seed.clone(),
            saved: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let of_thread = inner.clone();
        std::thread::Builder::new().name("nodes".to_owned()).spawn(move || {
            while !of_thread.is_over.load(Ordering::Acquire) {
                let wait = if of_thread.look_around() { Self::EVERY } else { Self::SOON };
                of_thread.save();
                // Woken or not, it looks.
                let _ = woken.recv_timeout(wait);
            }
        })?;
        Ok(Self { inner, wake })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.inner.is_over.store(true, Ordering::Release);
        // Full means that it is about to look.
        let _ = self.wake.try_send(());
        self.inner.save();
    }
}

impl Inner {
    /// Writes the file, if it says something else.
    fn save(&self) {
        let mut saved = lock(&self.saved);
        let text = self.node.members.directory().to_text();
        if *saved == text {
            return;
        }
        match nodes_file::write(&self.dir, &text) {
            Ok(()) => *saved = text,
            // It is tried again at the next look.
            Err(error) => tracing::error!(
                "the cluster's nodes can't be written to '{}': {error}",
                nodes_file::path(&self.dir).display()
            ),
        }
    }

    /// Resolves names; whether there is nothing that it should soon do again.
    fn look_around(&self) -> bool {
        let directory = self.node.members.directory();
        let named = directory.entries().filter_map(|entry| {
            let place = entry.place.as_ref()?;
            let is_name = place.host.parse::<IpAddr>().is_err();
            is_name.then(|| (entry.id, place.host.clone(), place.port))
        });
        let found = named.map(|(id, host, port)| resolve(&self.node, id, (&host, port)));
        // Each of them has its turn.
        let is_missing = found.filter(|found| !found).count() > 0;
        !is_missing && !self.seek()
    }

    /// Has the seeds be met as long as no other node is known; whether that is so.
    fn seek(&self) -> bool {
        let me = self.node.id.unwrap_or_default();
        let is_alone = self.node.members.load().iter().all(|member| member.id == me);
        if !is_alone || self.seeds.is_empty() || self.node.members.is_removed(me) {
            return false;
        }
        for seed in &self.seeds {
            match (seed.host.as_str(), seed.link_port).to_socket_addrs() {
                Ok(addresses) => addresses.for_each(|address: SocketAddr| {
                    self.node.members.meet(address);
                }),
                Err(error) => tracing::debug!("{} can't be resolved: {error}", seed.host),
            }
        }
        true
    }
}

/// Looks a node up that is not known to be where it was; whether it has an address.
fn resolve(node: &Node, id: NodeId, (host, port): (&str, u16)) -> bool {
    let Some(member) = node.members.get(id) else { return true };
    if member.ip.is_some() && member.is_up {
        return true;
    }
    let addresses: Vec<IpAddr> = match (host, port).to_socket_addrs() {
        Ok(addresses) => addresses.map(|address| address.ip()).collect(),
        Err(error) => {
            tracing::debug!("node {}: {host} can't be resolved: {error}", id.0);
            Vec::new()
        }
    };
    let ip = match member.ip {
        // A name with several addresses is tried at one after another.
        Some(ip) => {
            let after = addresses.iter().position(|address| *address == ip).map_or(0, |at| at + 1);
            addresses.get(after).or(addresses.first()).copied().or(Some(ip))
        }
        None => addresses.first().copied(),
    };
    node.members.update(|members| {
        if let Some(member) = members.iter_mut().find(|member| member.id == id) {
            member.ip = ip;
        }
    });
    ip.is_some()
}
