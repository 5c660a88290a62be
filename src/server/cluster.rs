//! A node of a cluster at the start: what links are made with, the members that are known, and their addresses.
//!
//! Members are named by host and port. A host that is an address is one at once; names are resolved on a thread
//! of their own, which may take as long as the system likes, again and again as long as they can't be, or their
//! node is not linked to: it may have come back at another address.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use super::preflight::{self, StartError};
use super::random;
use crate::config::{ClusterPeer, Config};
use crate::node::{Member, Node};
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

/// Makes all nodes of the cluster known to this one, itself included.
///
/// # Errors
/// If the system allows no thread more.
pub(super) fn enter(
    node: &Arc<Node>,
    options: &LinkOptions,
    peers: &[ClusterPeer],
) -> Result<Resolver, StartError> {
    let owners = node.owners.load();
    let mut members: Vec<Member> = peers.iter().map(|peer| member(peer, &options.secret)).collect();
    members.sort_by_key(|member| member.id);
    if let Some(own) = members.iter_mut().find(|member| member.id == options.me) {
        let shards = (0..node.slots.shard_count()).map(ShardId);
        own.core_ports.clone_from(&node.topology.core_ports);
        own.owners = shards.map(|shard| owners.core_of(shard)).collect();
        own.is_up = true;
    }
    node.members.update(|list| *list = members);
    Resolver::start(node.clone(), peers)
}

fn member(peer: &ClusterPeer, secret: &ClusterSecret) -> Member {
    Member {
        id: peer.id,
        name: secret.node_name(peer.id),
        ip: peer.host.parse().ok(),
        port: peer.port,
        core_ports: Vec::new(),
        cluster_port: peer.cluster_port(),
        owners: Vec::new(),
        is_up: false,
    }
}

/// Looks up the addresses of nodes that are known by name, until it is dropped.
pub(super) struct Resolver {
    /// The thread ends when this is gone.
    _alive: flume::Sender<()>,
}

impl Resolver {
    /// Time between two looks.
    const EVERY: Duration = Duration::from_secs(5);
    /// The same while there is a name that stands for nothing yet.
    const SOON: Duration = Duration::from_millis(500);

    fn start(node: Arc<Node>, peers: &[ClusterPeer]) -> Result<Self, StartError> {
        let is_name = |peer: &&ClusterPeer| peer.host.parse::<IpAddr>().is_err();
        let named: Vec<ClusterPeer> = peers.iter().filter(is_name).cloned().collect();
        let (alive, ended) = flume::bounded::<()>(1);
        if !named.is_empty() {
            let thread = std::thread::Builder::new().name("resolver".to_owned());
            thread.spawn(move || {
                loop {
                    let found = named.iter().map(|peer| resolve(&node, peer));
                    // Each of them has its turn.
                    let is_missing = found.filter(|found| !found).count() > 0;
                    let wait = if is_missing { Self::SOON } else { Self::EVERY };
                    if ended.recv_timeout(wait) == Err(flume::RecvTimeoutError::Disconnected) {
                        return;
                    }
                }
            })?;
        }
        Ok(Self { _alive: alive })
    }
}

/// Looks a node up that is not known to be where it was; whether it has an address.
fn resolve(node: &Node, peer: &ClusterPeer) -> bool {
    let Some(member) = node.members.get(peer.id) else { return true };
    if member.ip.is_some() && member.is_up {
        return true;
    }
    let addresses: Vec<IpAddr> = match (peer.host.as_str(), peer.port).to_socket_addrs() {
        Ok(addresses) => addresses.map(|address| address.ip()).collect(),
        Err(error) => {
            tracing::debug!("node {}: {} can't be resolved: {error}", peer.id.0, peer.host);
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
        if let Some(member) = members.iter_mut().find(|member| member.id == peer.id) {
            member.ip = ip;
        }
    });
    ip.is_some()
}
