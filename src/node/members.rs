//! The nodes of the cluster as this one knows them: where clients and nodes reach each other, and which core
//! of each runs which shard. The links between nodes keep it up to date (`runtime::links`); where there is no
//! cluster it is empty.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::metrics::lock;
use crate::types::{CoreId, NodeId, ShardId};

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub id: NodeId,
    /// 40 hexadecimal digits, for `CLUSTER NODES`; the cores' ids are derived from it.
    pub name: String,
    /// Where clients and nodes reach it; none before it was heard from and its address was resolved.
    pub ip: Option<IpAddr>,
    /// Its common port.
    pub port: u16,
    /// The ports of its cores; empty before it was heard from, or where they have none.
    pub core_ports: Vec<u16>,
    /// Core i takes links from other nodes on this port + i.
    pub cluster_port: u16,
    /// Which of its cores runs which shard, indexed by shard; empty before it was heard from.
    pub owners: Vec<CoreId>,
    /// Whether it was heard from lately.
    pub is_up: bool,
}

impl Member {
    /// The id of one of its cores, for `CLUSTER NODES`.
    pub fn core_id(&self, core: CoreId) -> String {
        super::core_id(&self.name, core)
    }

    /// The port that serves the keys of `shard` there.
    pub fn port_of(&self, shard: ShardId) -> u16 {
        let core = self.owners.get(usize::from(shard.0));
        let port = core.and_then(|core| self.core_ports.get(usize::from(core.0)));
        port.copied().unwrap_or(self.port)
    }
}

/// All nodes, this one included, in the order of their ids.
#[derive(Debug, Default)]
pub struct Members {
    list: Mutex<Arc<Vec<Member>>>,
    epoch: AtomicU64,
}

impl Members {
    /// The nodes now.
    pub fn load(&self) -> Arc<Vec<Member>> {
        Arc::clone(&lock(&self.list))
    }

    /// Rises whenever something that clients are told changes: addresses, owners, who is up, leaders.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Notes that something has changed that is not in the list, as who leads a shard.
    pub fn touch(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// One node.
    pub fn get(&self, id: NodeId) -> Option<Member> {
        self.load().iter().find(|member| member.id == id).cloned()
    }

    /// Changes the list.
    pub fn update(&self, change: impl FnOnce(&mut Vec<Member>)) {
        let mut list = lock(&self.list);
        let mut new = Vec::clone(&list);
        change(&mut new);
        if new != **list {
            *list = Arc::new(new);
            self.touch();
        }
    }
}
