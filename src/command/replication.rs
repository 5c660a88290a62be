//! What a node of a cluster tells of its replicas in Redis's words (`INFO replication`, `ROLE`, `WAIT`) and in
//! Raft's (`INFO raft`).
//!
//! In Redis's words a node has one role. Here it has one for each shard: it is a master if it leads any of
//! them, and a slave of the leader of its first otherwise.

use std::fmt::{Display, Write as _};

use super::cluster::{Map, slot_range};
use super::{Error, SessionCx};
use crate::node::replica_stats::ReplicaState;
use crate::node::{Member, Node, Role};
use crate::protocol::Reply;
use crate::types::{NodeId, ShardId};

/// The node's place in replication.
pub(super) struct Standing {
    own: NodeId,
    map: Map,
    /// The shards that it serves.
    led: Vec<ShardId>,
}

impl Standing {
    /// That of a node of a cluster; a server on its own has none.
    pub(super) fn of(cx: &SessionCx<'_>) -> Option<Self> {
        let map = Map::of(cx.node, &cx.session.info)?;
        let shards = (0..cx.node.slots.shard_count()).map(ShardId);
        let led = shards.filter(|shard| cx.node.replica(*shard).is_serving()).collect();
        Some(Self { own: cx.node.id?, map, led })
    }

    fn is_master(&self) -> bool {
        !self.led.is_empty()
    }

    /// Sum over shards.
    fn sum(&self, shards: impl Iterator<Item = ShardId>, of: fn(&ReplicaState) -> u64) -> u64 {
        shards.map(|shard| of(self.map.state(shard))).sum()
    }

    /// Entries that are committed, of the shards that it leads; of all that it has applied, if it leads none.
    fn offset(&self) -> u64 {
        if self.is_master() {
            self.sum(self.led.iter().copied(), |state| state.committed.0)
        } else {
            self.sum(self.map.shards(), |state| state.applied.0)
        }
    }

    /// The other members with their offsets: entries that they are known to have, of the shards that this node
    /// leads.
    fn slaves(&self) -> impl Iterator<Item = (&Member, u64)> {
        let others = self.map.members().iter().filter(|member| member.id != self.own);
        others.map(|member| {
            let states = self.led.iter().map(|shard| self.map.state(*shard));
            let peers = states.flat_map(|state| &state.peers);
            (member, peers.filter(|peer| peer.node == member.id).map(|peer| peer.matched.0).sum())
        })
    }

    /// Address of the leader of the first shard whose leader is known.
    fn master(&self) -> Option<(String, u16, bool)> {
        let place = self.map.shards().find_map(|shard| self.map.leader(shard))?;
        Some((self.map.ip(place).to_string(), self.map.port(place), self.map.member(place).is_up))
    }

    /// `INFO replication`
    pub(super) fn write_info(&self, node: &Node, mut add: impl FnMut(&str, &dyn Display)) {
        add("role", &if self.is_master() { "master" } else { "slave" });
        if !self.is_master() {
            let (host, port, is_up) = self.master().unwrap_or_default();
            add("master_host", &host);
            add("master_port", &port);
            add("master_link_status", &if is_up { "up" } else { "down" });
            add("master_last_io_seconds_ago", &if is_up { 0 } else { -1 });
            add("master_sync_in_progress", &0);
            add("slave_read_repl_offset", &self.offset());
            add("slave_repl_offset", &self.offset());
            add("slave_priority", &100);
            add("slave_read_only", &1);
            add("replica_announced", &1);
        }
        let slaves: Vec<_> =
            self.slaves().filter(|(member, _)| self.is_master() && member.is_up).collect();
        add("connected_slaves", &slaves.len());
        for (index, (member, offset)) in slaves.iter().enumerate() {
            let ip = member.ip.map_or_else(String::new, |ip| ip.to_string());
            let line = format!("ip={ip},port={},state=online,offset={offset},lag=0", member.port);
            add(&format!("slave{index}"), &line);
        }
        add("master_failover_state", &"no-failover");
        add("master_replid", &node.run_id);
        add("master_replid2", &"0".repeat(40));
        add("master_repl_offset", &self.offset());
        add("second_repl_offset", &-1);
        add("repl_backlog_active", &0);
        add("repl_backlog_size", &1_048_576);
        add("repl_backlog_first_byte_offset", &0);
        add("repl_backlog_histlen", &0);
    }

    /// `INFO raft`: a line for each member, and one for each shard.
    pub(super) fn write_raft(&self, node: &Node, mut add: impl FnMut(&str, &dyn Display)) {
        add("node_id", &self.own.0);
        for member in self.map.members() {
            let ip = member.ip.map_or_else(String::new, |ip| ip.to_string());
            let line = format!(
                "ip={ip},port={},cores={},up={},heard_by={},cluster_port={}",
                member.port,
                member.core_ports.len(),
                u8::from(member.is_up),
                self.map.heard_by(member),
                member.cluster_port
            );
            add(&format!("member{}", member.id.0), &line);
        }
        add("removed", &ids(&removed(node)));
        for shard in self.map.shards() {
            let slots = slot_range(&self.map.slots_of(shard));
            let line = format!("slots={slots},{}", raft_line(self.map.state(shard)));
            add(&format!("shard{}", shard.0), &line);
        }
    }

    /// `ROLE`
    pub(super) fn write_role(&self, reply: &mut Reply<'_>) {
        let offset = i64::try_from(self.offset()).unwrap_or(i64::MAX);
        if !self.is_master() {
            let (host, port, is_up) = self.master().unwrap_or_default();
            reply.array(5);
            reply.bulk(b"slave");
            reply.bulk(host.as_bytes());
            reply.integer(i64::from(port));
            reply.bulk(if is_up { b"connected" } else { b"connect" });
            return reply.integer(offset);
        }
        let slaves: Vec<_> = self.slaves().filter(|(member, _)| member.is_up).collect();
        reply.array(3);
        reply.bulk(b"master");
        reply.integer(offset);
        reply.array(slaves.len());
        for (member, offset) in slaves {
            reply.array(3);
            reply.bulk(member.ip.map_or_else(String::new, |ip| ip.to_string()).as_bytes());
            reply.bulk(member.port.to_string().as_bytes());
            reply.bulk(offset.to_string().as_bytes());
        }
    }

    /// How many other replicas have all writes whose replies the client has, or will have before the reply that
    /// tells it, for certain: as many as make a quorum with this one.
    pub(super) fn acknowledged(&self) -> Result<usize, Error> {
        if !self.is_master() {
            return Err(Error::Static("ERR WAIT cannot be used with replica instances."));
        }
        let of_shard = |shard: &ShardId| self.map.state(*shard).voters.len() / 2;
        Ok(self.led.iter().map(of_shard).min().unwrap_or_default())
    }
}

fn ids(nodes: &[NodeId]) -> String {
    nodes.iter().map(|node| node.0.to_string()).collect::<Vec<_>>().join("/")
}

/// The nodes that were removed from the cluster.
fn removed(node: &Node) -> Vec<NodeId> {
    let directory = node.members.directory();
    directory.entries().filter(|entry| entry.place.is_none()).map(|entry| entry.id).collect()
}

/// What a replica has come to, on one line: of a leader's peers, the node, the last entry that it has, the last
/// that it has on disk, and the bytes of a snapshot that is on its way to it.
fn raft_line(state: &ReplicaState) -> String {
    let mut line = format!(
        "role={},term={},leader={},commit={},applied={},last={},elections_won={},in_doubt={},no_room={},voters={},learners={}",
        role_name(state.role),
        state.term.0,
        state.leader.map_or(0, |leader| leader.0),
        state.committed.0,
        state.applied.0,
        state.last.0,
        state.elections_won,
        u8::from(state.is_in_doubt),
        u8::from(state.is_short_of_room),
        ids(&state.voters),
        ids(&state.learners),
    );
    line.push_str(",peers=");
    for (index, peer) in state.peers.iter().enumerate() {
        let separator = if index == 0 { "" } else { "/" };
        // Writing to a string does not fail.
        let _ = write!(line, "{separator}{}:{}:{}", peer.node.0, peer.matched.0, peer.synced.0);
        if let Some(bytes) = peer.snapshot_bytes {
            let _ = write!(line, ":{bytes}");
        }
    }
    line
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::None => "none",
        Role::Follower => "follower",
        Role::Learner => "learner",
        Role::Candidate => "candidate",
        Role::Elected => "elected",
        Role::Leader => "leader",
    }
}
