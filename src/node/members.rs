//! The nodes of the cluster as this one knows them: where clients and nodes reach each other, and which core
//! of each runs which shard. The links between nodes keep it up to date (`runtime::links`); where there is no
//! cluster it is empty.
//!
//! Who is a member stands in the [`Directory`], which is kept; what is known of members only as long as they are
//! there stands beside it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::directory::{Directory, Full};
use super::inbox::Inbox;
use super::reports::Reports;
use crate::limits::{MEETINGS_MAX, WISHES_MAX};
use crate::metrics::lock;
use crate::replica::link::{ClusterSecret, NodeEntry, NodePlace};
use crate::types::{CoreId, NodeId, ShardId, Term, UnixMs};

/// Digits of a node's name.
const NAME_DIGITS: usize = 40;

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
    /// Since when, by the wall clock; 0 before it was heard from.
    pub up_since: UnixMs,
    /// Another number at every start of it; 0 before it was heard from.
    pub incarnation: u64,
}

impl Member {
    /// The id of one of its cores, for `CLUSTER NODES`.
    pub fn core_id(&self, core: CoreId) -> String {
        super::core_id(&self.name, core)
    }

    /// Whether this is another process than the one with this number that is heard from.
    pub fn is_other(&self, incarnation: u64) -> bool {
        self.is_up && self.incarnation != 0 && self.incarnation != incarnation
    }

    /// The port that serves the keys of `shard` there.
    pub fn port_of(&self, shard: ShardId) -> u16 {
        let core = self.owners.get(usize::from(shard.0));
        let port = core.and_then(|core| self.core_ports.get(usize::from(core.0)));
        port.copied().unwrap_or(self.port)
    }
}

/// A node that a person has named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A member.
    Member(NodeId),
    /// One that was removed.
    Removed(NodeId),
}

/// What this node would have of a shard that another leads; the leader is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Lead it.
    Lead(ShardId),
    /// Have a replica of it.
    Join(ShardId),
}

/// What a node of a cluster knows of itself from the start.
#[derive(Debug)]
struct Own {
    id: NodeId,
    secret: ClusterSecret,
    /// Its address as others are to know it, if it was told.
    host: Option<String>,
    port: u16,
    link_port: u16,
    /// Who keeps the directory is woken up when it changes.
    keeper: flume::Sender<()>,
}

/// All nodes, this one included, in the order of their ids.
#[derive(Debug, Default)]
pub struct Members {
    own: OnceLock<Own>,
    list: Mutex<Arc<Vec<Member>>>,
    /// On a node that was removed, the others as it last knew them: its clients are sent to them.
    former: Mutex<Arc<Vec<Member>>>,
    epoch: AtomicU64,
    /// What the list is made from; locked before it.
    directory: Mutex<Directory>,
    /// Who leads which shard in which term as others have told, indexed by shard.
    heard: Mutex<Vec<(Term, NodeId)>>,
    /// Whom the others hear from as they have told; locked after the list.
    reports: Mutex<Arc<Reports>>,
    /// Addresses at which a node is that is to be met.
    meetings: Inbox<SocketAddr, MEETINGS_MAX>,
    wishes: Inbox<Wish, WISHES_MAX>,
}

impl Members {
    // --- the list --------------------------------------------------------------------------------

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

    /// A node to send clients to.
    pub fn find_server(&self, id: NodeId) -> Option<Member> {
        let former = || lock(&self.former).iter().find(|member| member.id == id).cloned();
        self.get(id).or_else(former)
    }

    /// Changes the list.
    pub fn update(&self, change: impl FnOnce(&mut Vec<Member>)) {
        let mut list = lock(&self.list);
        let mut new = Vec::clone(&list);
        change(&mut new);
        if new != **list {
            *list = Arc::new(new);
            // Who is not there any more, or not one of the cluster, has no say.
            let is_up = |id| list.iter().any(|member| member.id == id && member.is_up);
            Arc::make_mut(&mut lock(&self.reports)).retain(is_up);
            self.touch();
        }
    }

    // --- the directory ---------------------------------------------------------------------------

    /// This node, `id`, is one of a cluster whose nodes know each other by `secret`, and knows of those in
    /// `directory`. It is at `place`, where no host stands for one that is not known. `keeper` is told when the
    /// directory changes.
    pub fn enter(
        &self,
        (id, secret): (NodeId, ClusterSecret),
        directory: Directory,
        (host, port, link_port): (Option<String>, u16, u16),
        keeper: flume::Sender<()>,
    ) {
        let own = self.own.get_or_init(|| Own { id, secret, host, port, link_port, keeper });
        let before = Directory::default();
        self.update(|list| follow(list, own, &before, &before));
        self.change(|known| *known = directory);
    }

    /// The directory.
    pub fn directory(&self) -> Directory {
        lock(&self.directory).clone()
    }

    /// Whether a node was removed from the cluster.
    pub fn is_removed(&self, id: NodeId) -> bool {
        lock(&self.directory).is_removed(id)
    }

    /// The node that a text names: by its number, or by the id of one of its cores or of its replica.
    pub fn find(&self, text: &[u8]) -> Option<Found> {
        let text = std::str::from_utf8(text).ok()?;
        let stem = |name: &str| name.get(..name.len().saturating_sub(4)).map(str::to_owned);
        if text.len() < NAME_DIGITS {
            let id = NodeId(text.parse().ok()?);
            let removed = self.is_removed(id).then_some(Found::Removed(id));
            return self.get(id).map(|member| Found::Member(member.id)).or(removed);
        }
        let given = stem(&text.to_ascii_lowercase()).filter(|_| text.len() == NAME_DIGITS)?;
        let is_named = |name: &str| stem(name).as_deref() == Some(&given);
        if let Some(member) = self.load().iter().find(|member| is_named(&member.name)) {
            return Some(Found::Member(member.id));
        }
        let own = self.own.get()?;
        let directory = lock(&self.directory);
        let mut removed = directory.entries().filter(|entry| entry.place.is_none());
        let entry = removed.find(|entry| is_named(&own.secret.node_name(entry.id)))?;
        Some(Found::Removed(entry.id))
    }

    /// A node has been seen at `place`.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn take_seen(&self, id: NodeId, place: NodePlace) -> Result<(), Full> {
        self.change(|directory| directory.take_seen(id, place))
    }

    /// A node is to take no part any more. False if that was known.
    pub fn remove(&self, id: NodeId) -> bool {
        self.change(|directory| directory.remove(id))
    }

    /// Forgets all nodes but this one, those that were removed too.
    pub fn reset(&self) {
        lock(&self.heard).clear();
        self.change(|directory| *directory = Directory::default());
        *lock(&self.former) = Arc::default();
    }

    /// Another node has told of all that it knows of.
    pub fn merge(&self, told: &[NodeEntry]) {
        self.change(|directory| directory.merge(told));
    }

    /// Changes the directory, and has the list follow.
    fn change<T>(&self, change: impl FnOnce(&mut Directory) -> T) -> T {
        let mut directory = lock(&self.directory);
        let before = directory.clone();
        let result = change(&mut directory);
        let Some(own) = self.own.get() else { return result };
        own.correct(&mut directory);
        if *directory == before {
            return result;
        }
        own.tell_of_removal(&before, &directory);
        if directory.is_removed(own.id) && !before.is_removed(own.id) {
            *lock(&self.former) = self.load();
        }
        self.update(|list| follow(list, own, &before, &directory));
        // Something in it may have changed that the list does not show.
        self.touch();
        // Full means that it will look anyway.
        let _ = own.keeper.try_send(());
        result
    }

    // --- leaders ---------------------------------------------------------------------------------

    /// The leader of a shard as other nodes have told, if it is there, or was when this node was removed.
    pub fn heard_leader(&self, shard: ShardId) -> Option<(Term, NodeId)> {
        let me = self.own.get().map(|own| own.id);
        let heard = lock(&self.heard).get(usize::from(shard.0)).copied();
        let (term, leader) = heard.filter(|(_, leader)| Some(*leader) != me)?;
        let is_there = match self.get(leader) {
            Some(member) => member.is_up,
            None => self.find_server(leader).is_some(),
        };
        is_there.then_some((term, leader))
    }

    /// Another node has told of the leaders that it knows.
    pub fn hear_leaders(&self, told: &[(Term, NodeId)]) {
        let mut heard = lock(&self.heard);
        let before = heard.clone();
        heard.resize(told.len(), (Term(0), NodeId(0)));
        for (known, told) in heard.iter_mut().zip(told) {
            if told.1 != NodeId(0) && told.0 >= known.0 {
                *known = *told;
            }
        }
        if *heard != before {
            self.touch();
        }
    }

    // --- who hears from whom ---------------------------------------------------------------------

    /// The nodes that are up, this one included, in the order of their ids.
    pub fn heard(&self) -> Vec<NodeId> {
        self.load().iter().filter(|member| member.is_up).map(|member| member.id).collect()
    }

    /// Another node has told whom it hears from. Clients aren't told of that until they ask, so it is no news to
    /// them.
    pub fn take_report(&self, reporter: NodeId, heard: Vec<NodeId>) {
        let list = lock(&self.list);
        if list.iter().any(|member| member.id == reporter && member.is_up) {
            Arc::make_mut(&mut lock(&self.reports)).take(reporter, heard);
        }
    }

    /// What those that are up have told.
    pub fn reports(&self) -> Arc<Reports> {
        Arc::clone(&lock(&self.reports))
    }

    // --- what is asked of core 0 -----------------------------------------------------------------

    /// Has the node at an address, where its first core takes links, be met. False if too many are to be.
    pub fn meet(&self, address: SocketAddr) -> bool {
        self.meetings.ask(address)
    }

    /// Nodes to be met since the last look.
    pub(crate) fn take_meetings(&self) -> Vec<SocketAddr> {
        self.meetings.take()
    }

    /// Has a shard's leader told of a wish. False if there are too many.
    pub fn wish(&self, wish: Wish) -> bool {
        self.wishes.ask(wish)
    }

    /// Wishes since the last look.
    pub(crate) fn take_wishes(&self) -> Vec<Wish> {
        self.wishes.take()
    }
}

impl Own {
    /// A node of which nothing more is known.
    fn member(&self, id: NodeId, port: u16, cluster_port: u16) -> Member {
        Member {
            id,
            name: self.secret.node_name(id),
            ip: None,
            port,
            core_ports: Vec::new(),
            cluster_port,
            owners: Vec::new(),
            is_up: false,
            up_since: UnixMs(0),
            incarnation: 0,
        }
    }

    /// Where this node is, it knows best.
    fn correct(&self, directory: &mut Directory) {
        let seen = directory.place(self.id).map(|place| place.host.clone());
        // What others see it at will do where nothing else is known.
        let Some(host) = self.host.clone().or(seen) else { return };
        let place = NodePlace { host, port: self.port, link_port: self.link_port };
        directory.take_own(self.id, place);
    }

    fn tell_of_removal(&self, before: &Directory, now: &Directory) {
        let removed = now.entries().filter(|it| now.is_removed(it.id) && !before.is_removed(it.id));
        for entry in removed {
            if entry.id == self.id {
                tracing::error!(
                    "this node, {}, was removed from the cluster: it takes no more part. Stop it; to use the \
                     machine again, give it an empty directory and another --node-id.",
                    self.id.0
                );
            } else if before.get(entry.id).is_some() {
                tracing::info!("node {} was removed from the cluster", entry.id.0);
            }
        }
    }
}

/// Has the list be of the nodes in the directory; on a node that was removed, of itself.
fn follow(list: &mut Vec<Member>, own: &Own, before: &Directory, directory: &Directory) {
    let is_out = directory.is_removed(own.id);
    list.retain(|it| it.id == own.id || (!is_out && directory.place(it.id).is_some()));
    if list.is_empty() {
        let member = Member { is_up: true, ..own.member(own.id, own.port, own.link_port) };
        list.push(member);
    }
    for entry in directory.entries().filter(|_| !is_out) {
        let Some(place) = &entry.place else { continue };
        let is_elsewhere = before.place(entry.id).is_none_or(|it| it.host != place.host);
        if !list.iter().any(|member| member.id == entry.id) {
            list.push(own.member(entry.id, place.port, place.link_port));
        }
        if let Some(member) = list.iter_mut().find(|member| member.id == entry.id) {
            if is_elsewhere {
                member.ip = place.host.parse().ok();
            }
            (member.port, member.cluster_port) = (place.port, place.link_port);
        }
    }
    list.sort_by_key(|member| member.id);
}

#[cfg(test)]
mod tests {
    use super::{Found, Members, NodeId, NodePlace, ShardId, Term};
    use crate::node::Directory;
    use crate::replica::link::{ClusterSecret, NodeEntry};

    const ME: NodeId = NodeId(1);

    fn members() -> (Members, flume::Receiver<()>) {
        let (keeper, woken) = flume::bounded(1);
        let members = Members::default();
        let secret = ClusterSecret::new(b"0123456789abcdef0123456789abcdef");
        members.enter((ME, secret), Directory::default(), (None, 6379, 26_379), keeper);
        (members, woken)
    }

    fn place(host: &str, port: u16) -> NodePlace {
        NodePlace { host: host.to_owned(), port, link_port: port + 20_000 }
    }

    fn ids(members: &Members) -> Vec<u64> {
        members.load().iter().map(|member| member.id.0).collect()
    }

    fn up(members: &Members, id: u64) {
        members.update(|list| {
            list.iter_mut().filter(|it| it.id == NodeId(id)).for_each(|it| it.is_up = true);
        });
    }

    #[test]
    fn a_reset_leaves_this_node_alone() {
        let (members, woken) = members();
        members.take_seen(NodeId(2), place("10.0.0.2", 1)).unwrap();
        members.hear_leaders(&[(Term(3), NodeId(2))]);
        up(&members, 2);
        members.remove(ME);
        assert_eq!(members.heard_leader(ShardId(0)), Some((Term(3), NodeId(2))));
        assert!(members.is_removed(ME) && woken.try_recv().is_ok());
        members.reset();
        assert!(!members.is_removed(ME) && woken.try_recv().is_ok(), "it is to be written down");
        assert_eq!((ids(&members), members.heard_leader(ShardId(0))), (vec![1], None));
        assert!(members.find_server(NodeId(2)).is_none());
        members.take_seen(NodeId(3), place("10.0.0.3", 1)).unwrap();
        assert_eq!(ids(&members), [1, 3]);
    }

    #[test]
    fn the_list_follows_the_directory() {
        let (members, woken) = members();
        assert_eq!(ids(&members), [1], "itself, wherever that is");
        assert!(woken.is_empty() && members.get(ME).unwrap().ip.is_none());
        members.take_seen(NodeId(2), place("10.0.0.2", 1)).unwrap();
        assert!(woken.try_recv().is_ok(), "it is to be written down");
        // Others say where this node is, with ports that it had once.
        let told = |id, place| NodeEntry { id: NodeId(id), version: 9, place };
        members.merge(&[told(1, Some(place("10.0.0.1", 7))), told(3, Some(place("three", 1)))]);
        let known = members.directory();
        assert_eq!(known.place(ME), Some(&place("10.0.0.1", 6379)));
        assert_eq!(known.get(ME).map(|entry| entry.version), Some(10));
        assert_eq!(ids(&members), [1, 2, 3]);
        assert_eq!(members.get(NodeId(3)).unwrap().ip, None, "a name is looked up by others");
        let name = members.get(NodeId(2)).unwrap().name.to_uppercase();
        let core = format!("{}0003", &name[..36]);
        for (text, found) in [
            ("2", Some(Found::Member(NodeId(2)))),
            (&core, Some(Found::Member(NodeId(2)))),
            ("9", None),
            ("", None),
            (&core[1..], None),
        ] {
            assert_eq!(members.find(text.as_bytes()), found, "{text}");
        }
        assert!(members.remove(NodeId(2)) && !members.remove(NodeId(2)));
        assert_eq!(ids(&members), [1, 3]);
        for text in ["2", &core] {
            assert_eq!(members.find(text.as_bytes()), Some(Found::Removed(NodeId(2))), "{text}");
        }
    }

    #[test]
    fn who_is_not_there_has_no_say_in_who_is() {
        let (members, _woken) = members();
        let counts = |id| {
            let reports = members.reports();
            (reports.heard_by(NodeId(id)), reports.missed_by(NodeId(id)))
        };
        for id in [2, 3, 4] {
            members.take_seen(NodeId(id), place("10.0.0.2", 1)).unwrap();
        }
        members.take_report(NodeId(2), vec![ME, NodeId(4)]);
        assert_eq!(counts(4), (0, 0), "it is not up itself");
        up(&members, 2);
        up(&members, 3);
        let epoch = members.epoch();
        members.take_report(NodeId(2), vec![ME, NodeId(4)]);
        members.take_report(NodeId(3), vec![ME, NodeId(2)]);
        members.take_report(NodeId(9), vec![NodeId(4)]);
        assert_eq!([1, 2, 3, 4].map(counts), [(2, 0), (1, 0), (0, 1), (1, 1)]);
        assert_eq!(members.epoch(), epoch, "it is no news to clients");
        members.take_report(NodeId(2), vec![ME]);
        assert_eq!(counts(4), (0, 2), "the last word counts");
        members.update(|list| list[2].is_up = false);
        assert_eq!(counts(4), (0, 1));
        members.remove(NodeId(2));
        assert_eq!(counts(4), (0, 0));
        up(&members, 3);
        members.take_report(NodeId(3), vec![NodeId(4)]);
        assert_eq!(counts(4), (1, 0));
        members.reset();
        assert_eq!(counts(4), (0, 0));
    }

    #[test]
    fn the_newest_leader_counts_that_is_there() {
        let (members, _woken) = members();
        for id in [2, 3] {
            members.take_seen(NodeId(id), place("10.0.0.2", 1)).unwrap();
        }
        let leader = |members: &Members| members.heard_leader(ShardId(0)).map(|it| it.1.0);
        let hear = |term, id| members.hear_leaders(&[(Term(term), NodeId(id))]);
        assert_eq!(leader(&members), None);
        hear(5, 2);
        assert_eq!(leader(&members), None, "it is not up");
        up(&members, 2);
        up(&members, 3);
        hear(4, 3);
        hear(9, 0);
        assert_eq!(leader(&members), Some(2));
        hear(6, 3);
        assert_eq!(leader(&members), Some(3));
        hear(7, 1);
        assert_eq!(leader(&members), None, "this node would know of itself");
        // Who was removed knows nobody any more, but for its clients.
        hear(8, 2);
        members.remove(ME);
        assert_eq!(ids(&members), [1]);
        assert_eq!(leader(&members), Some(2));
        assert!(members.find_server(NodeId(2)).is_some() && members.get(NodeId(2)).is_none());
    }
}
