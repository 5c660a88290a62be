//! The directory of a cluster's nodes: where each of them is, and which were removed. Nodes tell each other theirs and
//! keep it in a file; this is what becomes of it, without any of that.
//!
//! An entry is the newer of two if its version is higher; where versions are alike, each node stays with its own, since
//! nodes may see each other at different addresses. What `cluster-peers` says at the first start has version 0; what a
//! node has seen itself has at least 1; what a node says of itself is newer than what others say of it. That a node
//! was removed is never taken back: its number is not used again.
//!
//! ```text
//! # The nodes of the cluster as this one knows them. Written by the server.
//! format 1
//! peers 1@10.0.0.1:6379 2@10.0.0.2:6379        what cluster-peers said last
//! node 1@10.0.0.1:6379@26379 version 0
//! node 2@10.0.0.9:6379@26379 version 3
//! removed 3 version 2
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::config::{ClusterPeer, value::parse_cluster_peers};
use crate::limits::{NODE_ENTRIES_MAX, NODES_MAX};
use crate::replica::link::{NodeEntry, NodePlace};
use crate::types::NodeId;

/// The version of what a node has found out of another by itself.
const SEEN: u64 = 1;
/// The least version of what a node says of itself.
const OWN: u64 = 2;

/// What a node knows of all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    entries: BTreeMap<NodeId, NodeEntry>,
    /// What `cluster-peers` said when it was last taken in.
    peers: Vec<ClusterPeer>,
}

/// Why the file of a directory means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryFault {
    /// It was written by another version.
    #[error("its first line names no format that is known")]
    Format,
    /// A line means nothing.
    #[error("line {0} means nothing")]
    Line(usize),
    /// There are more nodes than a cluster may have.
    #[error("it names too many nodes")]
    Crowd,
}

/// There is no room for another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Directory {
    /// All entries, in the order of their ids.
    pub fn entries(&self) -> impl Iterator<Item = &NodeEntry> {
        self.entries.values()
    }

    /// What is known of a node.
    pub fn get(&self, id: NodeId) -> Option<&NodeEntry> {
        self.entries.get(&id)
    }

    /// Where a node is that was not removed.
    pub fn place(&self, id: NodeId) -> Option<&NodePlace> {
        self.get(id)?.place.as_ref()
    }

    /// Whether a node was removed.
    pub fn is_removed(&self, id: NodeId) -> bool {
        self.get(id).is_some_and(|entry| entry.place.is_none())
    }

    /// Takes in what `cluster-peers` says. A node that it says to be elsewhere than at the last start is there now;
    /// of others, and of those that were removed, what is known stays.
    pub fn take_peers(&mut self, peers: &[ClusterPeer]) {
        for peer in peers {
            let before = self.peers.iter().find(|before| before.id == peer.id);
            let version = match self.get(peer.id) {
                None => 0,
                Some(entry) if before.is_some_and(|before| before != peer) => entry.version + 1,
                Some(_) => continue,
            };
            // No more nodes than a cluster may have: that is checked before.
            let _ = self.put(peer.id, place_of(peer), version);
        }
        self.peers = peers.to_vec();
    }

    /// This node is at `place`, and says so itself: whatever is known of it gives way. False if that was known.
    pub fn take_own(&mut self, me: NodeId, place: NodePlace) -> bool {
        let version = match self.get(me) {
            Some(entry) if entry.place.is_none() || entry.place.as_ref() == Some(&place) => {
                return false;
            }
            Some(entry) => (entry.version + 1).max(OWN),
            None => OWN,
        };
        self.put(me, place, version).is_ok()
    }

    /// This node has seen another at `place`.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn take_seen(&mut self, id: NodeId, place: NodePlace) -> Result<(), Full> {
        let version = match self.get(id) {
            Some(entry) if entry.place.as_ref() == Some(&place) => return Ok(()),
            Some(entry) => entry.version + 1,
            None => SEEN,
        };
        self.put(id, place, version)
    }

    /// Notes that a node was removed. False if that was known.
    pub fn remove(&mut self, id: NodeId) -> bool {
        let version = match self.get(id) {
            Some(entry) if entry.place.is_none() => return false,
            Some(entry) => entry.version + 1,
            None => SEEN,
        };
        self.entries.insert(id, NodeEntry { id, version, place: None });
        true
    }

    /// Takes in what another node knows. What there is no room for is left out.
    pub fn merge(&mut self, told: &[NodeEntry]) {
        for entry in told {
            let is_newer = match self.entries.get(&entry.id) {
                Some(known) if known.place.is_none() => false,
                Some(known) => entry.place.is_none() || entry.version > known.version,
                None => self.has_room(entry.place.is_some()),
            };
            if is_newer && entry.is_possible() {
                self.entries.insert(entry.id, entry.clone());
            }
        }
    }

    /// Notes where a node is, unless it was removed.
    fn put(&mut self, id: NodeId, place: NodePlace, version: u64) -> Result<(), Full> {
        if self.is_removed(id) {
            return Ok(());
        }
        let entry = NodeEntry { id, version, place: Some(place) };
        let is_known = self.get(id).is_some();
        // What can't be told others is not noted either.
        if !entry.is_possible() || (!is_known && !self.has_room(true)) {
            return Err(Full);
        }
        self.entries.insert(id, entry);
        Ok(())
    }

    /// Whether there is room for one node more.
    fn has_room(&self, is_live: bool) -> bool {
        let live = self.entries().filter(|entry| entry.place.is_some()).count();
        self.entries.len() < NODE_ENTRIES_MAX && (!is_live || live < NODES_MAX)
    }

    // --- the file --------------------------------------------------------------------------------

    /// The text of the file.
    pub fn to_text(&self) -> String {
        let mut text = String::from(
            "# The nodes of the cluster as this one knows them. Written by the server.\nformat 1\n",
        );
        let peers: Vec<String> = self.peers.iter().map(ToString::to_string).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "peers {}", peers.join(" "));
        for entry in self.entries() {
            let _ = match &entry.place {
                Some(NodePlace { host, port, link_port }) => {
                    let (host, link_port) = (host.clone(), Some(*link_port));
                    let peer = ClusterPeer { id: entry.id, host, port: *port, link_port };
                    writeln!(text, "node {peer} version {}", entry.version)
                }
                None => writeln!(text, "removed {} version {}", entry.id.0, entry.version),
            };
        }
        text
    }

    /// Reads such a text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, DirectoryFault> {
        let mut directory = Self::default();
        let lines = (1..).zip(text.lines().map(str::trim));
        let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        if lines.next().is_none_or(|(_, line)| line != "format 1") {
            return Err(DirectoryFault::Format);
        }
        for (number, line) in lines {
            let fault = DirectoryFault::Line(number);
            if let Some(peers) = line.strip_prefix("peers") {
                directory.peers = parse_cluster_peers(peers).ok_or(fault)?;
                continue;
            }
            let entry = parse_entry(line).filter(NodeEntry::is_possible).ok_or(fault.clone())?;
            if directory.get(entry.id).is_some() {
                return Err(fault);
            }
            if !directory.has_room(entry.place.is_some()) {
                return Err(DirectoryFault::Crowd);
            }
            directory.entries.insert(entry.id, entry);
        }
        Ok(directory)
    }
}

/// Where a peer is.
fn place_of(peer: &ClusterPeer) -> NodePlace {
    NodePlace { host: peer.host.clone(), port: peer.port, link_port: peer.cluster_port() }
}

fn parse_entry(line: &str) -> Option<NodeEntry> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [kind, what, "version", version] = words[..] else { return None };
    let version = version.parse().ok()?;
    match kind {
        "node" => {
            let peers = parse_cluster_peers(what)?;
            let [peer] = &peers[..] else { return None };
            Some(NodeEntry { id: peer.id, version, place: Some(place_of(peer)) })
        }
        "removed" => Some(NodeEntry { id: NodeId(what.parse().ok()?), version, place: None }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Directory, DirectoryFault, Full, NodeEntry, NodeId, NodePlace};
    use crate::config::value::parse_cluster_peers;
    use crate::limits::NODES_MAX;

    const PEERS: &str = "1@10.0.0.1:6379 2@ten.example:6379@9000";

    fn directory(peers: &str) -> Directory {
        let mut directory = Directory::default();
        directory.take_peers(&parse_cluster_peers(peers).unwrap());
        directory
    }

    fn place(host: &str, port: u16) -> NodePlace {
        NodePlace { host: host.to_owned(), port, link_port: port + 20_000 }
    }

    fn told(id: u64, version: u64, place: Option<NodePlace>) -> [NodeEntry; 1] {
        [NodeEntry { id: NodeId(id), version, place }]
    }

    /// Where a node is, and the version of that.
    fn known(directory: &Directory, id: u64) -> String {
        let entry = directory.get(NodeId(id)).unwrap();
        let host = entry.place.as_ref().map_or("removed", |place| &place.host);
        format!("{host} {}", entry.version)
    }

    #[test]
    fn the_newer_counts_and_removal_sticks() {
        let mut it = directory(PEERS);
        assert_eq!((known(&it, 1), known(&it, 2)), ("10.0.0.1 0".into(), "ten.example 0".into()));
        it.merge(&told(2, 0, Some(place("other", 1))));
        assert_eq!(known(&it, 2), "ten.example 0", "each stays with its own");
        it.merge(&told(2, 3, Some(place("other", 1))));
        it.merge(&told(2, 2, Some(place("older", 1))));
        assert_eq!(known(&it, 2), "other 3");
        assert!(it.take_own(NodeId(1), place("me", 6379)));
        assert!(!it.take_own(NodeId(1), place("me", 6379)));
        assert_eq!(known(&it, 1), "me 2");
        it.take_seen(NodeId(3), place("10.0.0.3", 1)).unwrap();
        assert_eq!(known(&it, 3), "10.0.0.3 1");
        assert!(it.remove(NodeId(3)) && !it.remove(NodeId(3)));
        it.merge(&told(3, 99, Some(place("10.0.0.3", 1))));
        it.take_seen(NodeId(3), place("10.0.0.4", 1)).unwrap();
        assert_eq!(known(&it, 3), "removed 2");
        it.merge(&told(2, 0, None));
        assert_eq!(known(&it, 2), "removed 0");
        assert!(it.is_removed(NodeId(2)) && !it.is_removed(NodeId(4)));
    }

    #[test]
    fn peers_count_where_they_say_something_new() {
        let mut it = directory(PEERS);
        it.merge(&told(2, 5, Some(place("moved", 1))));
        it.take_peers(&parse_cluster_peers(PEERS).unwrap());
        assert_eq!(known(&it, 2), "moved 5");
        let again = "1@10.0.0.1:6379 2@11.example:6379@9000 3@10.0.0.3:6379";
        it.take_peers(&parse_cluster_peers(again).unwrap());
        assert_eq!((known(&it, 2), known(&it, 3)), ("11.example 6".into(), "10.0.0.3 0".into()));
        it.remove(NodeId(3));
        it.take_peers(&parse_cluster_peers("3@10.0.0.4:6379").unwrap());
        assert_eq!(known(&it, 3), "removed 1");
    }

    #[test]
    fn the_file_keeps_all() {
        let mut it = directory(PEERS);
        it.take_seen(NodeId(9), place("::1", 7000)).unwrap();
        it.remove(NodeId(2));
        let text = it.to_text();
        assert_eq!(
            text,
            "# The nodes of the cluster as this one knows them. Written by the server.\n\
             format 1\n\
             peers 1@10.0.0.1:6379 2@ten.example:6379@9000\n\
             node 1@10.0.0.1:6379@26379 version 0\n\
             removed 2 version 1\n\
             node 9@[::1]:7000@27000 version 1\n"
        );
        assert_eq!(Directory::parse(&text), Ok(it));
        for (text, fault) in [
            ("", DirectoryFault::Format),
            ("format 2\n", DirectoryFault::Format),
            ("format 1\nnode 1@a:1@2 version x\n", DirectoryFault::Line(2)),
            ("format 1\n\nnode 0@a:1@2 version 1\n", DirectoryFault::Line(3)),
            ("format 1\nremoved 1 version 1\nremoved 1 version 1\n", DirectoryFault::Line(3)),
            ("format 1\nnode 1@a/b:1@2 version 1\n", DirectoryFault::Line(2)),
        ] {
            assert_eq!(Directory::parse(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn there_is_a_bound() {
        let mut it = Directory::default();
        for id in 1..=NODES_MAX as u64 {
            it.take_seen(NodeId(id), place("a", 1)).unwrap();
        }
        assert_eq!(it.take_seen(NodeId(1000), place("a", 1)), Err(Full));
        it.merge(&told(1000, 1, Some(place("a", 1))));
        assert!(it.get(NodeId(1000)).is_none());
        it.remove(NodeId(1));
        assert_eq!(it.take_seen(NodeId(1000), place("a", 1)), Ok(()));
        assert_eq!(Directory::parse(&it.to_text()), Ok(it));
    }
}
