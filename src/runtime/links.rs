//! Links between nodes: every core dials every other node once, for what its shards have to say, and takes
//! the links of other nodes' cores that it is dialed by.
//!
//! ```text
//! core 0 of node 1 ──► core 0 of node 2       a link carries messages from who dialed to who accepted
//! core 1 of node 1 ──► core 1 of node 2       core i dials core i, modulo the other's number of cores
//! core 0 of node 1 ◄── core 0 of node 2
//! ```
//!
//! What a turn has to say to a node leaves in one send at its end. While that is under way, more gathers, up to
//! a bound; then it is dropped, and Raft says again what matters. What clients publish is dropped sooner, and nobody says
//! it again. A link that breaks is made again. Whoever
//! does not speak as a node of the cluster would is cut off.
//!
//! Each core has its own links. Core 0 also tells the others of this node and of all that it knows, and keeps
//! [`Members`] as the other nodes' core 0 tell: only its links do, so that no old word comes after a new one. It dials
//! addresses at which a node is that is not known (`meetings`), too.
//!
//! [`Members`]: crate::node::Members

use std::net::TcpListener;
use std::sync::Arc;

use super::core::Core;
use super::link::{Link, LinkEnd, Phase};
use super::meetings::Meeting;
use super::ring::Token;
use crate::limits::{
    LINK_DOUBLE_MS, LINK_HANDSHAKE_MS, LINK_NEWS_BYTES_MAX, LINK_PING_MS, LINK_QUEUE_BYTES_MAX,
    LINK_RETRY_MS_MAX, LINK_RETRY_MS_MIN, LINK_SILENCE_MS, TICK_MS,
};
use crate::node::channels::{Kind, Message};
use crate::node::{Node, ReplicaStats, Wish};
use crate::replica::link::{Announcement, ClusterSecret, NodeList, NodePlace};
use crate::replica::{Body, ShardMessage};
use crate::types::{CoreId, MonoUs, NodeId, ShardId, Term, UnixMs, key_slot};

/// What links are made with, on all cores.
#[derive(Debug)]
pub(crate) struct LinkOptions {
    /// This node.
    pub(crate) me: NodeId,
    /// What it shares with the others.
    pub(crate) secret: ClusterSecret,
    /// Another number at every start.
    pub(crate) incarnation: u64,
}

/// One core's links.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) options: Arc<LinkOptions>,
    pub(super) listeners: Vec<TcpListener>,
    /// Listeners that could not accept: tried again at the next tick.
    pub(super) resting: Vec<usize>,
    /// The way to every other node.
    pub(super) routes: Vec<Route>,
    /// A few for each node.
    #[expect(clippy::vec_box, reason = "the kernel writes and reads where they are")]
    links: Vec<Box<Link>>,
    last_token: u32,
    /// Whether something waits that could be sent.
    pub(super) has_unsent: bool,
    /// The members' epoch that the routes follow.
    members_epoch: u64,
    /// The owners' epoch that the other nodes have been told of.
    owners_epoch: u64,
    /// What the other nodes have been told of all nodes, and the members' epoch as of which that was looked at.
    pub(super) told: NodeList,
    told_epoch: u64,
    /// Nodes that core 0 is to find out about.
    pub(super) meetings: Vec<Meeting>,
    ticked_at: MonoUs,
    /// Since when this node is told that another process has its number, and is welcome nowhere.
    double_since: Option<MonoUs>,
    pub(super) complaints: Complaints,
}

/// The way to another node.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) to: NodeId,
    /// The link that is being made or is open.
    pub(super) link: Option<Token>,
    /// Cores of that node; 0 while that is not known.
    pub(super) cores: u16,
    /// Tries since a link was last open.
    pub(super) tries: u32,
    /// When to try next.
    pub(super) retry_at: MonoUs,
}

impl Links {
    /// No links yet.
    pub(super) fn new(options: Arc<LinkOptions>, listeners: Vec<TcpListener>) -> Self {
        Self {
            options,
            listeners,
            resting: Vec::new(),
            routes: Vec::new(),
            links: Vec::new(),
            last_token: 0,
            has_unsent: false,
            members_epoch: u64::MAX,
            owners_epoch: u64::MAX,
            told: NodeList::default(),
            told_epoch: u64::MAX,
            meetings: Vec::new(),
            ticked_at: MonoUs(0),
            double_since: None,
            complaints: Complaints::default(),
        }
    }

    /// A token for a new link.
    pub(super) fn next_token(&mut self) -> Token {
        self.last_token = self.last_token.wrapping_add(1);
        Token { index: self.last_token, generation: 0 }
    }

    /// A node has welcomed this one.
    pub(super) fn note_welcome(&mut self) {
        self.double_since = None;
    }

    /// A node hears from another process with this one's number. True if that has been so for long, and nobody has welcomed
    /// this one: right after a start it may be the one before, whose end is not known there yet.
    pub(super) fn note_double(&mut self, now: MonoUs) -> bool {
        if self.iter().any(|link| matches!(link.phase, Phase::Open { .. })) {
            return false;
        }
        let since = *self.double_since.get_or_insert(now);
        now.0.saturating_sub(since.0) >= LINK_DOUBLE_MS * 1000
    }

    /// Takes a link out, to be put back or dropped.
    pub(super) fn take(&mut self, token: Token) -> Option<Box<Link>> {
        let index = self.links.iter().position(|link| link.token == token)?;
        Some(self.links.swap_remove(index))
    }

    pub(super) fn put(&mut self, link: Box<Link>) {
        self.links.push(link);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().map(|link| &**link)
    }

    pub(super) fn route_mut(&mut self, to: NodeId) -> Option<&mut Route> {
        self.routes.iter_mut().find(|route| route.to == to)
    }

    /// The link on which messages go to a node.
    fn open_mut(&mut self, to: NodeId) -> Option<&mut Link> {
        let token = self.routes.iter().find(|route| route.to == to)?.link?;
        let link = self.links.iter_mut().find(|link| link.token == token)?;
        matches!(link.phase, Phase::Open { .. }).then_some(&mut **link)
    }

    /// Has routes to all members but this node. Answers links with nodes that are none any more.
    fn follow(&mut self, node: &Node) -> Vec<Token> {
        let epoch = node.members.epoch();
        if self.members_epoch == epoch {
            return Vec::new();
        }
        self.members_epoch = epoch;
        let (members, directory) = (node.members.load(), node.members.directory());
        let is_member = |id: NodeId| members.iter().any(|member| member.id == id);
        let is_out = directory.is_removed(self.options.me);
        // Who comes by links that are not known to be a node's is looked at when he says who he is.
        let is_over = |link: &&Link| match link.phase {
            Phase::Dialing { to: NodeId(0), .. } => is_out,
            Phase::Dialing { to, .. } | Phase::Open { to, .. } => !is_member(to),
            Phase::Heard { from, .. } | Phase::Greeted { from, .. } | Phase::Guest { from } => {
                is_out || directory.is_removed(from)
            }
            Phase::Accepted => false,
        };
        let left = self.iter().filter(is_over).map(|link| link.token).collect();
        self.routes.retain(|route| is_member(route.to));
        for to in members.iter().map(|member| member.id) {
            if to != self.options.me && self.route_mut(to).is_none() {
                let retry_at = MonoUs(0);
                self.routes.push(Route { to, link: None, cores: 0, tries: 0, retry_at });
            }
        }
        left
    }
}

impl Route {
    /// Which core of the other node is to be dialed by core `core` of this one.
    pub(super) fn core(&self, core: CoreId) -> CoreId {
        CoreId(core.0.checked_rem(self.cores).unwrap_or(0))
    }

    /// Waits before the next try: longer each time, and not as long as others do, lest all come at once.
    pub(super) fn back_off(&mut self, me: (NodeId, CoreId), now: MonoUs) {
        let doubled = LINK_RETRY_MS_MIN << self.tries.min(10);
        let most = doubled.min(LINK_RETRY_MS_MAX);
        let who = [me.0.0, u64::from(me.1.0), self.to.0, u64::from(self.tries)];
        let spread = who.into_iter().fold(0, |hash: u64, number| {
            (hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        });
        let wait_ms = most - spread % (most / 2);
        self.tries = self.tries.saturating_add(1);
        self.retry_at = MonoUs(now.0 + wait_ms * 1000);
    }
}

/// Keeps a peer that is refused again and again from filling the log.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    since: MonoUs,
    count: u64,
}

impl Complaints {
    const EVERY_US: u64 = 10_000_000;
    const MOST: u64 = 10;

    /// Whether this one may be heard; with how many before it were not.
    pub(super) fn next(&mut self, now: MonoUs) -> Option<u64> {
        let mut unheard = 0;
        if self.count == 0 || now.0 >= self.since.0 + Self::EVERY_US {
            unheard = self.count.saturating_sub(Self::MOST);
            (self.since, self.count) = (now, 0);
        }
        self.count += 1;
        (self.count <= Self::MOST).then_some(unheard)
    }
}

impl Core<'_> {
    /// Starts to accept links, and to make them.
    pub(super) fn start_links(&mut self) {
        let Some(links) = &self.links else { return };
        (0..links.listeners.len()).for_each(|index| self.arm_link_listener(index));
        self.tick_links();
    }

    /// Has a message sent to another node at the end of the turn. False if it is dropped: there is no link, or
    /// too much waits on it.
    pub(super) fn send_to_node(&mut self, to: NodeId, message: &ShardMessage) -> bool {
        let Some(links) = self.links.as_deref_mut() else { return false };
        let open = links.open_mut(to).filter(|link| link.queued_bytes() < LINK_QUEUE_BYTES_MAX);
        let Some(Link { phase: Phase::Open { writer, .. }, .. }) = open else {
            self.engine.metrics.link_messages_dropped.increment();
            return false;
        };
        writer.message(message);
        links.has_unsent = true;
        true
    }

    /// Has what was published sent to the other nodes at the end of the turn: all, or on a shard channel those of the
    /// shard. It is dropped for those to which there is no link, or on whose link too much waits: nobody who publishes
    /// waits for them.
    pub(super) fn tell_nodes_of(&mut self, message: &Message) {
        let Some(links) = self.links.as_deref_mut() else { return };
        let (channel, text) = (message.channel(), message.payload());
        let of_shard = (message.kind() == Kind::Shard).then(|| {
            let shard = self.node.slots.shard_of(key_slot(channel));
            self.node.replica(shard).nodes()
        });
        let is_meant = |to: NodeId| of_shard.as_ref().is_none_or(|nodes| nodes.contains(&to));
        let mut told = 0;
        for link in links.links.iter_mut().filter(|link| !link.is_closing) {
            let fits = link.queued_bytes() + channel.len() + text.len() <= LINK_NEWS_BYTES_MAX;
            if let Phase::Open { to, writer } = &mut link.phase
                && is_meant(*to)
                && fits
            {
                match of_shard {
                    None => writer.news(channel, text),
                    Some(_) => writer.shard_news(channel, text),
                }
                told += 1;
            }
        }
        links.has_unsent |= told > 0;
        let meant = links.routes.iter().filter(|route| is_meant(route.to)).count() as u64;
        let metrics = self.engine.metrics;
        metrics.link_news_sent.add(told);
        metrics.link_news_dropped.add(meant.saturating_sub(told));
    }

    /// Lets everything leave that waits for it.
    #[inline]
    pub(super) fn send_links(&mut self) {
        if self.links.as_deref().is_some_and(|links| links.has_unsent) {
            self.send_unsent();
        }
    }

    fn send_unsent(&mut self) {
        let Some(links) = self.links.as_deref_mut() else { return };
        links.has_unsent = false;
        for link in &mut links.links {
            let Phase::Open { writer, .. } = &mut link.phase else { continue };
            if link.is_sending || link.is_closing || writer.is_empty() {
                continue;
            }
            writer.take(&mut link.sending);
            link.peak_bytes = link.peak_bytes.max(link.sending.len());
            (link.is_sending, link.said_at) = (true, self.engine.now.mono);
            self.ring.send_link(&link.socket, link.token, &link.sending);
        }
    }

    /// Ten times a second: what has taken too long ends, what has nothing to say says so, what broke is
    /// tried again.
    pub(super) fn tick_links(&mut self) {
        if self.links.is_none() {
            return;
        }
        self.tell_of_this_node();
        self.tell_of_all_nodes();
        self.tell_wishes();
        self.end_stale_links();
        let Some(links) = self.links.as_deref_mut() else { return };
        for token in links.follow(self.node) {
            self.end_link_of(token, LinkEnd::Left);
        }
        self.dial_missing();
        self.attend_meetings();
        let Some(links) = self.links.as_deref_mut() else { return };
        let bytes: usize = links.iter().map(Link::memory_bytes).sum();
        self.engine.metrics.link_bytes.set(bytes as u64);
        for index in std::mem::take(&mut links.resting) {
            self.arm_link_listener(index);
        }
    }

    fn dial_missing(&mut self) {
        let now = self.engine.now.mono;
        let Some(links) = &self.links else { return };
        let is_due = |route: &&Route| route.link.is_none() && route.retry_at <= now;
        let due: Vec<NodeId> = links.routes.iter().filter(is_due).map(|route| route.to).collect();
        due.into_iter().for_each(|to| self.dial(to));
    }

    fn end_stale_links(&mut self) {
        let now = self.engine.now.mono;
        let Some(links) = self.links.as_deref_mut() else { return };
        let (late_us, ping_us) = (LINK_HANDSHAKE_MS * 1000, LINK_PING_MS * 1000);
        let since = |then: MonoUs| now.0.saturating_sub(then.0);
        // A process that was stopped has heard nothing, but has not looked either.
        if since(links.ticked_at) > u64::from(5 * TICK_MS) * 1000 {
            links.links.iter_mut().for_each(|link| (link.heard_at, link.begun_at) = (now, now));
        }
        links.ticked_at = now;
        let mut stale = Vec::new();
        for link in links.links.iter_mut().filter(|link| !link.is_closing) {
            let is_known = link.is_known();
            link.shrink();
            match &mut link.phase {
                _ if !is_known && since(link.begun_at) >= late_us => {
                    stale.push((link.token, LinkEnd::Handshake));
                }
                Phase::Heard { .. } if since(link.heard_at) >= LINK_SILENCE_MS * 1000 => {
                    stale.push((link.token, LinkEnd::Silence));
                }
                Phase::Open { writer, .. } if since(link.said_at) >= ping_us => {
                    writer.ping();
                    links.has_unsent = true;
                }
                Phase::Open { .. }
                | Phase::Heard { .. }
                | Phase::Dialing { .. }
                | Phase::Accepted
                | Phase::Greeted { .. }
                | Phase::Guest { .. } => {}
            }
        }
        stale.into_iter().for_each(|(token, end)| self.end_link_of(token, end));
    }

    /// Whatever has changed of what this node knows is told the others, by core 0.
    fn tell_of_all_nodes(&mut self) {
        let epoch = self.node.members.epoch();
        let Some(links) = self.links.as_deref_mut() else { return };
        if self.id != CoreId(0) || links.told_epoch == epoch {
            return;
        }
        links.told_epoch = epoch;
        let list = node_list(self.node);
        if list == links.told {
            return;
        }
        links.told = list;
        for link in &mut links.links {
            if let Phase::Open { writer, .. } = &mut link.phase {
                writer.nodes(&links.told);
                links.has_unsent = true;
            }
        }
    }

    /// Tells leaders what this node would have, by core 0.
    fn tell_wishes(&mut self) {
        if self.id != CoreId(0) {
            return;
        }
        for wish in self.node.members.take_wishes() {
            let (Wish::Lead(shard) | Wish::Join(shard)) = wish;
            let Some(leader) = self.node.leader_of(shard) else { continue };
            let term = self.node.replica(shard).state().term;
            let body = match wish {
                Wish::Lead(_) => Body::LeadWanted { term },
                Wish::Join(_) => Body::JoinWanted { term },
            };
            self.send_to_node(leader, &ShardMessage { shard, body });
        }
    }

    /// Whatever has changed of this node since the others were told is told them, by core 0.
    fn tell_of_this_node(&mut self) {
        let epoch = self.node.owners.epoch();
        let Some(links) = self.links.as_deref_mut() else { return };
        if self.id != CoreId(0) || links.owners_epoch == epoch {
            return;
        }
        links.owners_epoch = epoch;
        let own = announcement(self.node, &links.options);
        note_member(self.node, links.options.me, &own, self.engine.now.unix);
        for link in &mut links.links {
            if let Phase::Open { writer, .. } = &mut link.phase {
                writer.announcement(&own);
                links.has_unsent = true;
            }
        }
    }
}

/// What this node tells of all nodes.
fn node_list(node: &Node) -> NodeList {
    let nodes = node.members.directory().entries().cloned().collect();
    let leader = |replica: &ReplicaStats| {
        let state = replica.state();
        state.leader.map_or((Term(0), NodeId(0)), |leader| (state.term, leader))
    };
    let heard = node.members.heard().into_iter().filter(|id| Some(*id) != node.id).collect();
    NodeList { nodes, leaders: node.replicas.iter().map(leader).collect(), heard }
}

/// What this node tells of itself.
pub(super) fn announcement(node: &Node, options: &LinkOptions) -> Announcement {
    let (config, owners) = (node.config.load(), node.owners.load());
    let shards = (0..node.slots.shard_count()).map(ShardId);
    Announcement {
        incarnation: options.incarnation,
        port: node.topology.announced_port(),
        cluster_port: config.announced_cluster_port(),
        cores: node.slots.core_count(),
        core_ports: node.topology.announced_core_ports().to_vec(),
        owners: shards.map(|shard| owners.core_of(shard)).collect(),
    }
}

/// A node has told of itself.
pub(super) fn note_member(node: &Node, id: NodeId, told: &Announcement, now: UnixMs) {
    // It knows its ports best.
    let place = node.members.directory().place(id).cloned();
    if let Some(place) = place {
        let place = NodePlace { port: told.port, link_port: told.cluster_port, ..place };
        // There is room for what is there.
        let _ = node.members.take_seen(id, place);
    }
    node.members.update(|members| {
        if let Some(member) = members.iter_mut().find(|member| member.id == id) {
            member.port = told.port;
            member.cluster_port = told.cluster_port;
            member.core_ports.clone_from(&told.core_ports);
            member.owners.clone_from(&told.owners);
            if !member.is_up || member.incarnation != told.incarnation {
                member.up_since = now;
            }
            (member.is_up, member.incarnation) = (true, told.incarnation);
        }
    });
}

/// A node is not heard from any more.
pub(super) fn note_silence(node: &Node, id: NodeId) {
    node.members.update(|members| {
        if let Some(member) = members.iter_mut().find(|member| member.id == id) {
            member.is_up = false;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::{Complaints, Route};
    use crate::types::{CoreId, MonoUs, NodeId};

    #[test]
    fn tries_become_rarer_and_are_not_at_once() {
        let route =
            |to| Route { to: NodeId(to), link: None, cores: 0, tries: 0, retry_at: MonoUs(0) };
        let waits = |to, me| -> Vec<u64> {
            let mut route = route(to);
            let wait = |_| {
                route.back_off((NodeId(me), CoreId(0)), MonoUs(7000));
                (route.retry_at.0 - 7000) / 1000
            };
            (0..100).map(wait).collect()
        };
        let (one, two) = (waits(1, 3), waits(1, 2));
        for waits in [&one, &two] {
            assert!((26..=50).contains(&waits[0]) && (51..=100).contains(&waits[1]), "{waits:?}");
            assert!(waits[5..].iter().all(|wait| (501..=1000).contains(wait)), "{waits:?}");
        }
        assert_ne!(one, two);
        assert_eq!(one, waits(1, 3));
    }

    #[test]
    fn a_core_dials_its_like() {
        let mut route =
            Route { to: NodeId(2), link: None, cores: 0, tries: 0, retry_at: MonoUs(0) };
        assert_eq!(route.core(CoreId(5)), CoreId(0));
        route.cores = 4;
        assert_eq!([0, 3, 5].map(|core| route.core(CoreId(core)).0), [0, 3, 1]);
    }

    #[test]
    fn complaints_are_heard_until_they_are_too_many() {
        let mut complaints = Complaints::default();
        let heard = (0..25).filter(|_| complaints.next(MonoUs(5)).is_some()).count();
        assert_eq!(heard, 10);
        assert_eq!(complaints.next(MonoUs(10_000_004)), None);
        assert_eq!(complaints.next(MonoUs(10_000_005)), Some(16));
        assert_eq!(complaints.next(MonoUs(10_000_006)), Some(0));
    }
}
