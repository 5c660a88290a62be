//! What all clones of a client share: the topology it follows, the links that come of it, its counters.
//!
//! ```text
//! greeting, push, answer ─► topology (life, epoch) ─► Routes: slot ─► owner ─► its links
//! ```
//!
//! Routes are replaced as a whole. Whoever routes a request has them as of one moment; if they have
//! changed when it arrives, the server forwards it, or in cluster mode answers where to go.

use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::builder::Settings;
use super::call::{Answer, Call, Route};
use super::connection::{Address, Opened};
use super::error::Error;
use super::link::Link;
use super::writes::{Numbered, Writes};
use crate::protocol::binary::body::Features;
use crate::protocol::binary::{Extras, Greeting, Topology};
use crate::types::{CoreId, SLOT_COUNT, ShardId, Slot};

/// What a client's connections share with it.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) settings: Arc<Settings>,
    pub(super) activity: Arc<Counters>,
    pub(super) hub: Weak<Hub>,
}

/// A count that several threads add to.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the client has done so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: Count,
    pub(super) retries: Count,
    pub(super) requests_sent: Count,
    pub(super) frames_sent: Count,
    pub(super) connects: Count,
    pub(super) topologies: Count,
    pub(super) follower_reads: Count,
}

/// What all clones of a client share.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) settings: Arc<Settings>,
    pub(super) activity: Arc<Counters>,
    around: Surroundings,
    routes: watch::Sender<Arc<Routes>>,
    /// A node that reads may be answered by that does not lead.
    follower: Option<Arc<Link>>,
    writes: Writes,
}

impl Hub {
    /// Begins with the connection that was opened to one of `addresses`; or says what is wrong with its
    /// topology.
    pub(super) fn new(
        settings: Settings,
        (addresses, followers): (Vec<Address>, Vec<Address>),
        opened: Opened,
    ) -> Result<Arc<Self>, String> {
        let settings = Arc::new(settings);
        let activity = Arc::new(Counters::default());
        let owners = Owners::new(&opened.greeting.topology, &opened.host)?;
        Ok(Arc::new_cyclic(|hub| {
            let around = Surroundings {
                settings: settings.clone(),
                activity: activity.clone(),
                hub: hub.clone(),
            };
            let greeting = opened.greeting.clone();
            let front = Link::start(addresses, Some(opened), around.clone());
            activity.topologies.add(1);
            let routes = Routes::new(owners, Server::of(&greeting), front, &[], &around);
            let has_followers = !followers.is_empty();
            let follower = has_followers.then(|| Link::to_follower(followers, around.clone()));
            let routes = watch::Sender::new(Arc::new(routes));
            let writes = Writes::new();
            Self { settings, activity, around, routes, follower, writes }
        }))
    }

    /// The routes as of now.
    pub(super) fn routes(&self) -> Arc<Routes> {
        self.routes.borrow().clone()
    }

    /// Gives a call its number if it is a write that can be sent again with it; it has it until what is answered is
    /// dropped.
    pub(super) fn number(&self, call: &Call, extras: &mut Extras) -> Option<Numbered<'_>> {
        let is_wanted = self.settings.once && Writes::can_number(call);
        let shard = {
            let routes = self.routes.borrow();
            routes.server.once.then(|| routes.owner(call.slot).shard)
        };
        shard.filter(|_| is_wanted).map(|shard| self.writes.number(shard, extras))
    }

    /// Takes note of why a call's number was refused.
    pub(super) fn note_refusal(&self, call: &Call, answer: &Answer) {
        self.writes.note_refusal(&call.extras, answer);
    }

    /// Asks a follower for what `call` reads, if there is one, for no longer than until `deadline`. What it does not answer
    /// is asked of the leader.
    pub(super) async fn read_from_follower(
        &self,
        call: &Arc<Call>,
        deadline: Instant,
    ) -> Option<(Answer, Arc<Link>)> {
        let link = self.follower.clone()?;
        self.routes().check_length(call).ok()?;
        let answer = link.send(call, deadline, pending()).await.ok()?;
        if answer.status().is_error() {
            return None;
        }
        self.activity.requests.add(1);
        self.activity.follower_reads.add(1);
        Some((answer, link))
    }

    /// Takes over what a connection's handshake told. The server of another life counts as newer: its
    /// connection is.
    pub(super) fn greet(&self, greeting: &Greeting, host: &str) -> Result<(), String> {
        self.replace(&greeting.topology, host, |current| {
            let anew = greeting.life != current.server.life;
            let newer = greeting.topology.epoch > current.owners.epoch;
            let is_told_of = !current.is_outdated(greeting.life, greeting.topology.epoch);
            ((anew && is_told_of) || newer).then(|| Server::of(greeting))
        })
    }

    /// Takes over a topology that a server of this life has pushed or answered, if it is newer, or if it is
    /// another node's of a cluster: of two nodes that disagree the one that was asked last counts, and each knows
    /// better of what it leads. One that makes no sense is left alone: the old one still leads to every key.
    pub(super) fn follow(&self, life: u64, topology: &Topology, host: &str) {
        let _ = self.replace(topology, host, |current| {
            let newer = match life == current.server.life {
                true => topology.epoch > current.owners.epoch,
                false => current.server.has_nodes && !current.is_outdated(life, topology.epoch),
            };
            newer.then(|| Server { life, ..current.server.clone() })
        });
    }

    fn replace(
        &self,
        topology: &Topology,
        host: &str,
        judge: impl FnOnce(&Routes) -> Option<Server>,
    ) -> Result<(), String> {
        let owners = Owners::new(topology, host)?;
        let mut left = Vec::new();
        self.routes.send_if_modified(|routes| {
            let Some(server) = judge(routes) else { return false };
            let front = routes.front.clone();
            let mut next = Routes::new(owners, server, front, &routes.cores, &self.around);
            next.remember(routes);
            let stays = |core: &&Core| next.cores.iter().any(|new| new.address == core.address);
            left = routes.cores.iter().filter(|core| !stays(core)).cloned().collect();
            *routes = Arc::new(next);
            self.activity.topologies.add(1);
            true
        });
        left.iter().flat_map(|core| &core.links).for_each(|link| link.retire());
        Ok(())
    }

    /// Waits until requests of this route take another link than `link`, where nodes may fail: a link to one that does
    /// not come back would keep them for ever.
    pub(super) async fn moved_from(&self, link: &Arc<Link>, route: Route) {
        if !self.routes.borrow().server.has_nodes {
            return pending().await;
        }
        let mut routes = self.routes.subscribe();
        let is_other = |routes: &Arc<Routes>| !Arc::ptr_eq(routes.link(route), link);
        if routes.wait_for(is_other).await.is_err() {
            pending().await
        }
    }

    /// Waits until the topology is another than that of `epoch`, at most until `deadline`.
    pub(super) async fn wait_for_newer(&self, epoch: (u64, u64), deadline: Instant) {
        let mut routes = self.routes.subscribe();
        // Either it has come, or the time is up.
        let _ = timeout_at(deadline, routes.wait_for(|routes| routes.epoch() != epoch)).await;
    }
}

/// What a server said of itself.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) life: u64,
    pub(super) name: String,
    /// Whether a request may only name keys of one slot.
    pub(super) cluster: bool,
    /// Whether it is one of several nodes.
    pub(super) has_nodes: bool,
    /// Whether it does numbered writes once.
    pub(super) once: bool,
    value_bytes_max: usize,
    body_bytes_max: usize,
    key_bytes_max: usize,
}

impl Server {
    fn of(greeting: &Greeting) -> Self {
        Self {
            life: greeting.life,
            name: greeting.server.clone(),
            cluster: greeting.features.contains(Features::CLUSTER),
            has_nodes: greeting.features.contains(Features::NODES),
            once: greeting.features.contains(Features::ONCE),
            value_bytes_max: greeting.limits.value_bytes_max,
            body_bytes_max: greeting.limits.body_bytes_max,
            key_bytes_max: greeting.key_bytes_max as usize,
        }
    }
}

/// The owner of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// Index of its core.
    pub(super) core: u16,
    pub(super) shard: ShardId,
}

/// A checked topology.
#[derive(Debug)]
struct Owners {
    epoch: u64,
    addresses: Vec<(CoreId, Address)>,
    /// Indexed by slot.
    slots: Box<[Owner]>,
}

impl Owners {
    /// Every slot must have one owner, whose address is given. A host that is no address of its own
    /// (empty, 0.0.0.0, ::) is the one that was reached.
    fn new(topology: &Topology, host_reached: &str) -> Result<Self, String> {
        let mut addresses = Vec::with_capacity(topology.cores.len());
        for core in &topology.cores {
            let host = match core.host.as_str() {
                "" | "0.0.0.0" | "::" => host_reached,
                host => host,
            };
            if core.port == 0 {
                return Err(format!("core {} of the topology has no port", core.core.0));
            }
            addresses.push((core.core, Address { host: host.to_owned(), port: core.port }));
        }
        let mut slots = Vec::with_capacity(usize::from(SLOT_COUNT));
        for range in &topology.ranges {
            let known = addresses.iter().position(|(core, _)| *core == range.core);
            let core = known
                .and_then(|index| u16::try_from(index).ok())
                .ok_or_else(|| format!("core {} of the topology has no address", range.core.0))?;
            let in_order = usize::from(range.first) == slots.len() && range.first <= range.last;
            if !in_order || range.last >= SLOT_COUNT {
                return Err(format!(
                    "slots {} to {} of the topology overlap, or leave a gap",
                    range.first, range.last
                ));
            }
            slots.resize(usize::from(range.last) + 1, Owner { core, shard: range.shard });
        }
        if slots.len() != usize::from(SLOT_COUNT) {
            return Err(format!(
                "the topology names owners for {} slots of {SLOT_COUNT}",
                slots.len()
            ));
        }
        Ok(Self { epoch: topology.epoch, addresses, slots: slots.into() })
    }
}

/// A core and the links to it.
#[derive(Clone, Debug)]
struct Core {
    address: (CoreId, Address),
    links: Vec<Arc<Link>>,
}

/// Where requests go, as of one epoch.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) server: Server,
    owners: Owners,
    cores: Vec<Core>,
    front: Arc<Link>,
    /// The newest epoch of each life that was heard of before, of a cluster's nodes.
    earlier: Vec<(u64, u64)>,
}

/// Lives that are remembered: some for each node of a cluster.
const LIVES_MAX: usize = 64;

impl Routes {
    /// Whether a server of this life has told something newer than this epoch before.
    fn is_outdated(&self, life: u64, epoch: u64) -> bool {
        self.server.has_nodes && self.earlier.iter().any(|seen| seen.0 == life && seen.1 > epoch)
    }

    /// Takes over what earlier routes knew of lives, theirs among them.
    fn remember(&mut self, before: &Self) {
        if !self.server.has_nodes {
            return;
        }
        let (life, epoch) = before.epoch();
        let others = before.earlier.iter().filter(|seen| seen.0 != life);
        self.earlier = others.copied().chain(std::iter::once((life, epoch))).collect();
        let excess = self.earlier.len().saturating_sub(LIVES_MAX);
        self.earlier.drain(..excess);
    }

    /// Keeps the links to cores that were known, and begins those to new ones.
    fn new(
        owners: Owners,
        server: Server,
        front: Arc<Link>,
        known: &[Core],
        around: &Surroundings,
    ) -> Self {
        let core = |address: &(CoreId, Address)| {
            known.iter().find(|core| core.address == *address).cloned().unwrap_or_else(|| {
                let start = |_| Link::start(vec![address.1.clone()], None, around.clone());
                let links = (0..around.settings.connections_per_core).map(start).collect();
                Core { address: address.clone(), links }
            })
        };
        let cores = owners.addresses.iter().map(core).collect();
        Self { server, owners, cores, front, earlier: Vec::new() }
    }

    /// Which topology these routes are of: the server's life, and its epoch in it.
    pub(super) fn epoch(&self) -> (u64, u64) {
        (self.server.life, self.owners.epoch)
    }

    /// The owner of a slot.
    pub(super) fn owner(&self, slot: Slot) -> Owner {
        self.owners.slots[usize::from(slot.0)]
    }

    /// The link that a request takes. Requests for one key take one link, so that they keep their order.
    pub(super) fn link(&self, route: Route) -> &Arc<Link> {
        match route {
            Route::Front => &self.front,
            Route::Owner(slot) => {
                let links = &self.cores[usize::from(self.owner(slot).core)].links;
                &links[usize::from(slot.0) % links.len()]
            }
        }
    }

    /// Number of cores.
    pub(super) fn core_count(&self) -> usize {
        self.cores.len()
    }

    /// Requests under way on all links.
    pub(super) fn in_flight(&self, bound: usize) -> usize {
        let links = self.cores.iter().flat_map(|core| &core.links).chain([&self.front]);
        links.map(|link| link.in_flight(bound)).sum()
    }

    /// Refuses what the server would close the connection for, and others' requests with it.
    pub(super) fn check_length(&self, call: &Call) -> Result<(), Error> {
        let server = &self.server;
        // A deadline goes with every request.
        let extras = (call.flags | call.extras.flags()).extras_bytes() + size_of::<u64>();
        let body_bytes = extras + call.key.len() + call.value.len();
        for (what, bytes, bytes_max) in [
            ("key", call.key.len(), server.key_bytes_max),
            ("value", call.value.len(), server.value_bytes_max),
            ("request", body_bytes, server.body_bytes_max),
        ] {
            if bytes > bytes_max {
                return Err(Error::TooLong { what, bytes, bytes_max });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Owner, Owners};
    use crate::protocol::binary::Topology;
    use crate::protocol::binary::body::{Address, SlotRange};
    use crate::types::{CoreId, ShardId};

    fn topology(cores: &[(u16, &str, u16)], ranges: &[(u16, u16, u16, u16)]) -> Topology {
        let address = |&(core, host, port): &(u16, &str, u16)| Address {
            core: CoreId(core),
            port,
            host: host.to_owned(),
        };
        let range = |&(first, last, shard, core): &(u16, u16, u16, u16)| SlotRange {
            first,
            last,
            shard: ShardId(shard),
            core: CoreId(core),
        };
        Topology {
            epoch: 3,
            shard_count: 2,
            cores: cores.iter().map(address).collect(),
            ranges: ranges.iter().map(range).collect(),
        }
    }

    #[test]
    fn every_slot_has_an_owner() {
        let cores = [(5, "10.0.0.1", 7000), (2, "0.0.0.0", 7001)];
        let topology = topology(&cores, &[(0, 99, 0, 2), (100, 16_383, 1, 5)]);
        let owners = Owners::new(&topology, "reached").unwrap();
        assert_eq!(owners.slots[99], Owner { core: 1, shard: ShardId(0) });
        assert_eq!(owners.slots[100], Owner { core: 0, shard: ShardId(1) });
        assert_eq!(owners.addresses[0].1.to_string(), "10.0.0.1:7000");
        assert_eq!(owners.addresses[1].1.to_string(), "reached:7001");
    }

    #[test]
    fn nonsense_is_refused() {
        let core: &[_] = &[(0, "h", 1)];
        for (cores, ranges, problem) in [
            (core, &[][..], "0 slots"),
            (core, &[(0, 100, 0, 0)], "101 slots"),
            (core, &[(0, 100, 0, 0), (102, 16_383, 0, 0)], "gap"),
            (core, &[(0, 100, 0, 0), (100, 16_383, 0, 0)], "overlap"),
            (core, &[(0, 16_384, 0, 0)], "gap"),
            (core, &[(0, 16_383, 0, 0), (16_384, 65_535, 0, 0)], "gap"),
            (core, &[(0, 16_383, 0, 1)], "core 1 of the topology has no address"),
            (&[(0, "h", 0)], &[(0, 16_383, 0, 0)], "no port"),
        ] {
            let error = Owners::new(&topology(cores, ranges), "reached").unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}
