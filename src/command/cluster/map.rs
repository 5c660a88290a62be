//! A cluster as its clients see it, drawn up from what this node knows: members, leaders, cores.
//!
//! Every core of every member is a node in Redis's eyes, at its own port, and has the slots of the shards that
//! its member leads and that it runs. For what its member does not lead there is one more node a member, at the
//! common port: the replica. So no port is both, a primary for some slots and a replica for others, which
//! clients can't make sense of; they know nodes by their ports.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use crate::node::replica_stats::ReplicaState;
use crate::node::{ClientInfo, Member, Node, Reports};
use crate::protocol::binary::Topology;
use crate::protocol::binary::body::{Address, SlotRange};
use crate::types::{CoreId, NodeId, ShardId, SlotMap, Term, UnixMs};

/// What a replica's id ends with where a core's ends with its number: there are fewer cores.
const REPLICA: u16 = 0xffff;
const _: () = assert!(crate::limits::SHARDS_MAX < REPLICA);

/// One node in Redis's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::command) struct Place {
    /// Index of its member.
    member: usize,
    /// The core; `None` for the replica at the common port.
    core: Option<CoreId>,
}

/// Whether a member is there, as this node and the others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::command) enum Health {
    /// This node hears from it.
    Up,
    /// This node does not, and no majority of all members agrees.
    Suspect,
    /// A majority of all members does not, this node among them.
    Failed,
}

/// The cluster, as of when it was drawn up.
#[derive(Debug)]
pub(crate) struct Map {
    /// In the order of their ids, this node as it knows itself.
    members: Vec<Member>,
    own: NodeId,
    slots: SlotMap,
    /// What this node's replicas have come to, indexed by shard.
    states: Vec<ReplicaState>,
    /// Whom the others hear from.
    reports: Arc<Reports>,
    /// Who leads, indexed by shard; none also where clients could not be told an address.
    leaders: Vec<Option<Place>>,
}

impl Map {
    /// The cluster as `client` is told of it; `None` for a server on its own.
    pub(crate) fn of(node: &Node, client: &ClientInfo) -> Option<Self> {
        let own = node.id?;
        let mut members = Vec::clone(&node.members.load());
        match members.iter_mut().find(|member| member.id == own) {
            Some(member) => as_known_here(member, node, client),
            None => {
                let mut member = Member {
                    id: own,
                    name: node.run_id.clone(),
                    ip: None,
                    port: node.topology.announced_port(),
                    core_ports: Vec::new(),
                    cluster_port: node.config.load().announced_cluster_port(),
                    owners: Vec::new(),
                    is_up: true,
                    up_since: UnixMs(0),
                    incarnation: 0,
                };
                as_known_here(&mut member, node, client);
                members.push(member);
                members.sort_by_key(|member| member.id);
            }
        }
        let shards = || (0..node.slots.shard_count()).map(ShardId);
        let states = shards().map(|shard| state_of(node, shard)).collect();
        let reports = node.members.reports();
        let mut map =
            Self { members, own, slots: node.slots, states, reports, leaders: Vec::new() };
        // This node may have been elected, and not be ready.
        let leader = |shard: ShardId| {
            let is_ready = |leader: &NodeId| *leader != own || node.replica(shard).is_serving();
            node.leader_of(shard).filter(is_ready)
        };
        map.leaders = shards().map(|shard| map.leading_core(shard, leader(shard)?)).collect();
        Some(map)
    }

    fn leading_core(&self, shard: ShardId, leader: NodeId) -> Option<Place> {
        let index = self.members.iter().position(|member| member.id == leader)?;
        let member = &self.members[index];
        let core = *member.owners.get(usize::from(shard.0))?;
        member.ip?;
        member.core_ports.get(usize::from(core.0))?;
        Some(Place { member: index, core: Some(core) })
    }

    // --- places ----------------------------------------------------------------------------------

    /// All nodes, those without slots included: the cores of each member, then its replica.
    pub(in crate::command) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let known = self.members.iter().enumerate().filter(|(_, member)| member.ip.is_some());
        known.flat_map(|(index, member)| {
            let cores = u16::try_from(member.core_ports.len()).unwrap_or(u16::MAX);
            let replica = self.master_of(index).map(|_| None);
            let cores = (0..cores).map(|core| Some(CoreId(core))).chain(replica);
            cores.map(move |core| Place { member: index, core })
        })
    }

    /// The place at which a client is: the core that it is on.
    pub(in crate::command) fn place_of(&self, core: CoreId) -> Option<Place> {
        let member = self.members.iter().position(|member| member.id == self.own)?;
        Some(Place { member, core: Some(core) })
    }

    /// This node's replica, at its common port; none if it follows nothing.
    pub(in crate::command) fn own_replica(&self) -> Option<Place> {
        let member = self.members.iter().position(|member| member.id == self.own)?;
        self.master_of(member).map(|_| Place { member, core: None })
    }

    /// The place with an id.
    pub(in crate::command) fn find(&self, id: &[u8]) -> Option<Place> {
        self.places().find(|place| self.id(*place).as_bytes() == id)
    }

    /// The first core of each member.
    pub(in crate::command) fn first_cores(&self) -> impl Iterator<Item = Place> + '_ {
        self.places().filter(|place| place.core == Some(CoreId(0)))
    }

    /// All members, in the order of their ids.
    pub(in crate::command) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(in crate::command) fn member(&self, place: Place) -> &Member {
        &self.members[place.member]
    }

    /// Whether a place's member is there. In the eyes of nodes that are cut off, and are no majority, all others are suspects.
    pub(in crate::command) fn health(&self, place: Place) -> Health {
        let member = self.member(place);
        if member.is_up {
            Health::Up
        } else if 2 * (1 + self.missed_by(member)) > self.members.len() {
            Health::Failed
        } else {
            Health::Suspect
        }
    }

    /// How many other members miss one, by what they have told.
    pub(in crate::command) fn missed_by(&self, member: &Member) -> usize {
        self.reports.missed_by(member.id)
    }

    /// How many members hear from one, this node among them, itself not.
    pub(in crate::command) fn heard_by(&self, member: &Member) -> usize {
        let is_heard_here = member.is_up && member.id != self.own;
        self.reports.heard_by(member.id) + usize::from(is_heard_here)
    }

    pub(in crate::command) fn is_replica(&self, place: Place) -> bool {
        place.core.is_none()
    }

    pub(in crate::command) fn is_own(&self, place: Place) -> bool {
        self.member(place).id == self.own
    }

    /// 40 hexadecimal digits.
    pub(in crate::command) fn id(&self, place: Place) -> String {
        let name = &self.member(place).name;
        let number = place.core.map_or(REPLICA, |core| core.0);
        let kept = name.get(..name.len().saturating_sub(4)).unwrap_or_default();
        format!("{kept}{number:04x}")
    }

    /// The address; there is one for every place that is told of.
    pub(in crate::command) fn ip(&self, place: Place) -> IpAddr {
        self.member(place).ip.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
    }

    pub(in crate::command) fn port(&self, place: Place) -> u16 {
        let member = self.member(place);
        let own = place.core.and_then(|core| member.core_ports.get(usize::from(core.0)));
        own.copied().unwrap_or(member.port)
    }

    /// Where it takes links.
    pub(in crate::command) fn bus_port(&self, place: Place) -> u16 {
        self.member(place).cluster_port.saturating_add(place.core.map_or(0, |core| core.0))
    }

    // --- shards ----------------------------------------------------------------------------------

    pub(in crate::command) fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.slots.shard_count()).map(ShardId)
    }

    pub(in crate::command) fn leader(&self, shard: ShardId) -> Option<Place> {
        self.leaders[usize::from(shard.0)]
    }

    pub(in crate::command) fn state(&self, shard: ShardId) -> &ReplicaState {
        &self.states[usize::from(shard.0)]
    }

    pub(in crate::command) fn slots_of(&self, shard: ShardId) -> Range<u16> {
        self.slots.slots_of(shard)
    }

    /// The shards that a core leads.
    pub(in crate::command) fn led_by(&self, place: Place) -> impl Iterator<Item = ShardId> + '_ {
        self.shards().filter(move |shard| self.leader(*shard) == Some(place))
    }

    /// Who has a replica of the shard and does not lead it.
    pub(in crate::command) fn replicas_of(
        &self,
        shard: ShardId,
    ) -> impl Iterator<Item = Place> + '_ {
        let leader = self.leader(shard).map(|place| place.member);
        let state = self.state(shard);
        let members = self.members.iter().enumerate();
        let followers = members.filter(move |(index, member)| {
            let has_one = state.voters.contains(&member.id) || state.learners.contains(&member.id);
            has_one && member.ip.is_some() && Some(*index) != leader
        });
        followers.map(|(index, _)| Place { member: index, core: None })
    }

    /// Neighbouring shards that the same core leads, or nobody, as one range of slots each.
    pub(in crate::command) fn ranges(&self) -> Vec<(Range<u16>, Vec<ShardId>)> {
        let mut ranges: Vec<(Range<u16>, Vec<ShardId>)> = Vec::new();
        for shard in self.shards() {
            let slots = self.slots_of(shard);
            let is_alike = |other: &ShardId| {
                self.leader(*other) == self.leader(shard)
                    && self.replicas_of(*other).eq(self.replicas_of(shard))
            };
            match ranges.last_mut() {
                Some((range, shards)) if shards.last().is_some_and(is_alike) => {
                    range.end = slots.end;
                    shards.push(shard);
                }
                _ => ranges.push((slots, vec![shard])),
            }
        }
        ranges
    }

    /// The core that leads the first shard which a member has and does not lead: whose replica it is said to be
    /// where only one can be named.
    fn master_of(&self, member: usize) -> Option<Place> {
        let replica = Place { member, core: None };
        let followed = |shard: &ShardId| self.replicas_of(*shard).any(|place| place == replica);
        self.shards().filter(followed).find_map(|shard| self.leader(shard))
    }

    /// The same of a place; none for a core.
    pub(in crate::command) fn master(&self, place: Place) -> Option<Place> {
        if self.is_replica(place) { self.master_of(place.member) } else { None }
    }

    /// The cluster as clients of the binary protocol are told of it. Where nobody is known to lead they are told
    /// the core of this node that runs the shard: its answer is that there is no leader.
    pub(crate) fn topology(&self, epoch: u64) -> Topology {
        let places: Vec<Place> = self.places().filter(|place| !self.is_replica(*place)).collect();
        let number = |place: Place| {
            let index = places.iter().position(|other| *other == place);
            CoreId(index.and_then(|index| u16::try_from(index).ok()).unwrap_or_default())
        };
        let stand_in = |shard: ShardId| {
            let own = self.members.iter().find(|member| member.id == self.own)?;
            self.place_of(*own.owners.get(usize::from(shard.0))?)
        };
        let range = |shard: ShardId| {
            let slots = self.slots_of(shard);
            let core = self.leader(shard).or(stand_in(shard)).map_or(CoreId(0), number);
            SlotRange { first: slots.start, last: slots.end - 1, shard, core }
        };
        let address = |place: &Place| Address {
            core: number(*place),
            port: self.port(*place),
            host: self.ip(*place).to_string(),
        };
        Topology {
            epoch,
            shard_count: self.slots.shard_count(),
            cores: places.iter().map(address).collect(),
            ranges: self.shards().map(range).collect(),
        }
    }

    /// How recent the leadership of a core is; 0 if it leads nothing.
    pub(in crate::command) fn epoch(&self, place: Place) -> Term {
        let place = self.master(place).unwrap_or(place);
        self.led_by(place).map(|shard| self.state(shard).term).max().unwrap_or_default()
    }

    /// The highest of all shards' terms.
    pub(in crate::command) fn current_epoch(&self) -> Term {
        self.states.iter().map(|state| state.term).max().unwrap_or_default()
    }

    /// The last entry that a place is known to have, over these shards together: committed ones of a leader,
    /// written down ones of a replica.
    pub(in crate::command) fn offset(&self, place: Place, shards: &[ShardId]) -> u64 {
        let known = |shard: &ShardId| {
            let state = self.state(*shard);
            let member = self.member(place).id;
            if !self.is_replica(place) || member == self.own {
                return state.committed.0;
            }
            let peer = state.peers.iter().find(|peer| peer.node == member);
            peer.map_or(0, |peer| peer.matched.0)
        };
        shards.iter().map(known).sum()
    }
}

/// What this node's replica of a shard has come to; the term as others have told it, where there is no replica that
/// knows of a leader.
fn state_of(node: &Node, shard: ShardId) -> ReplicaState {
    let mut state = node.replica(shard).state();
    if state.leader.is_none()
        && let Some((term, leader)) = node.members.heard_leader(shard)
    {
        (state.term, state.leader) = (term.max(state.term), Some(leader));
    }
    state
}

/// This node knows of itself what links have yet to tell the others.
fn as_known_here(member: &mut Member, node: &Node, client: &ClientInfo) {
    let owners = node.owners.load();
    let shards = (0..node.slots.shard_count()).map(ShardId);
    member.owners = shards.map(|shard| owners.core_of(shard)).collect();
    member.core_ports = node.topology.announced_core_ports().to_vec();
    member.ip = Some(member.ip.unwrap_or(super::ip(node, client)));
    member.is_up = true;
}
