//! Who takes part in a replicated shard, as an entry of its log: each entry has all of it, so who joins needs none of
//! those before.
//!
//! ```text
//!  0  voters    u16      how many
//!  2  learners  u16      how many
//!  4            4 bytes  zero
//!  8  heir      u64      the voter that an operator wants to lead; 0 for none
//! 16  nodes     u64 each the voters, then the learners
//! ```
//!
//! Of two the one of the later term is newer: should a quorum lose the other, that one's entry has given way.

use super::record::u64_at;
use crate::limits::{NODE_ID_MAX, NODES_MAX};
use crate::types::{LogIndex, NodeId, Term};

const HEAD_BYTES: usize = 16;
/// Bytes of the longest there is.
pub const CONFIGURATION_BYTES_MAX: usize = HEAD_BYTES + 8 * NODES_MAX;

/// The term and the index of an entry that brought a configuration.
pub type Version = (Term, LogIndex);

/// The replicas of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The entry of the log that brought it, by term and index; 0 for the one that the shard began with. Not in the
    /// bytes.
    pub version: Version,
    /// Nodes that vote, in order; none on a replica that takes no part.
    pub voters: Vec<NodeId>,
    /// Nodes that only learn, in order.
    pub learners: Vec<NodeId>,
    /// The voter that an operator wants to lead.
    pub heir: Option<NodeId>,
}

impl Configuration {
    /// That of a shard that begins.
    pub fn first(mut voters: Vec<NodeId>) -> Self {
        voters.sort_unstable();
        voters.dedup();
        Self { voters, ..Self::default() }
    }

    /// That of a replica that takes no part, as of an entry.
    pub fn nobody(version: Version) -> Self {
        Self { version, ..Self::default() }
    }

    /// Whether a node votes.
    pub fn has_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node)
    }

    /// Whether a node takes part.
    pub fn has(&self, node: NodeId) -> bool {
        self.has_voter(node) || self.learners.contains(&node)
    }

    /// All that take part.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.voters.iter().chain(&self.learners).copied()
    }

    /// The same, and this node learns; nothing if it takes part already, or there are too many.
    pub fn with_learner(&self, node: NodeId) -> Option<Self> {
        let has_room = self.nodes().count() < NODES_MAX;
        if self.has(node) || !has_room {
            return None;
        }
        let mut new = self.clone();
        new.learners.push(node);
        new.learners.sort_unstable();
        Some(new)
    }

    /// The same, but this learner votes; nothing if it does not learn.
    pub fn with_voter(&self, node: NodeId) -> Option<Self> {
        let mut new = self.clone();
        new.learners.retain(|learner| *learner != node);
        if new.learners.len() == self.learners.len() {
            return None;
        }
        new.voters.push(node);
        new.voters.sort_unstable();
        Some(new)
    }

    /// The same without this node; nothing if it takes no part, or is the last that votes.
    pub fn without(&self, node: NodeId) -> Option<Self> {
        let mut new = self.clone();
        new.voters.retain(|voter| *voter != node);
        new.learners.retain(|learner| *learner != node);
        new.heir = new.heir.filter(|heir| *heir != node);
        (self.has(node) && !new.voters.is_empty()).then_some(new)
    }

    /// The same, led by this voter if it can; nothing if it does not vote.
    pub fn with_heir(&self, node: NodeId) -> Option<Self> {
        self.has_voter(node).then(|| Self { heir: Some(node), ..self.clone() })
    }

    /// Whether it can be.
    pub(crate) fn is_possible(&self) -> bool {
        let is_ordered = |nodes: &[NodeId]| {
            nodes.is_sorted_by(|a, b| a < b)
                && nodes.iter().all(|node| (1..=NODE_ID_MAX).contains(&node.0))
        };
        self.nodes().count() <= NODES_MAX
            && is_ordered(&self.voters)
            && is_ordered(&self.learners)
            && !self.learners.iter().any(|node| self.has_voter(*node))
            && (!self.voters.is_empty() || self.learners.is_empty())
            && self.heir.is_none_or(|heir| self.has_voter(heir))
    }

    /// The bytes, as in an entry.
    pub fn encode(&self) -> Vec<u8> {
        let count = |nodes: &[NodeId]| u16::try_from(nodes.len()).unwrap_or(u16::MAX).to_le_bytes();
        let mut bytes = Vec::with_capacity(HEAD_BYTES + 8 * self.nodes().count());
        bytes.extend(count(&self.voters));
        bytes.extend(count(&self.learners));
        bytes.extend([0; 4]);
        bytes.extend(self.heir.map_or(0, |heir| heir.0).to_le_bytes());
        bytes.extend(self.nodes().flat_map(|node| node.0.to_le_bytes()));
        bytes
    }

    /// The one that an entry brings; nothing if the bytes are none.
    pub fn decode(version: Version, bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<HEAD_BYTES>()?;
        let count = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
        let (voters, learners) = (count(0), count(2));
        if head[4..8] != [0; 4] || bytes.len() != HEAD_BYTES + 8 * (voters + learners) {
            return None;
        }
        let nodes = bytes[HEAD_BYTES..].chunks_exact(8).map(|node| NodeId(u64_at(node, 0)));
        let nodes: Vec<NodeId> = nodes.collect();
        let (voters, learners) = nodes.split_at(voters);
        let heir = Some(NodeId(u64_at(head, 8))).filter(|heir| heir.0 != 0);
        let new = Self { version, voters: voters.to_vec(), learners: learners.to_vec(), heir };
        new.is_possible().then_some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::{CONFIGURATION_BYTES_MAX, Configuration};
    use crate::limits::NODES_MAX;
    use crate::types::{LogIndex, NodeId, Term};

    const VERSION: super::Version = (Term(3), LogIndex(7));

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn a_node_learns_then_votes_then_leaves() {
        let first = Configuration::first(nodes(&[3, 1, 2, 3]));
        assert_eq!(first.voters, nodes(&[1, 2, 3]));
        let more = first.with_learner(NodeId(4)).expect("it is new");
        assert_eq!((&more.learners, more.with_learner(NodeId(4))), (&nodes(&[4]), None));
        let more = more.with_voter(NodeId(4)).expect("it learns");
        assert_eq!((&more.voters, more.with_voter(NodeId(4))), (&nodes(&[1, 2, 3, 4]), None));
        let led = more.with_heir(NodeId(4)).expect("it votes");
        assert_eq!((led.heir, led.with_heir(NodeId(5))), (Some(NodeId(4)), None));
        let less = led.without(NodeId(4)).expect("it takes part");
        assert_eq!((&less.voters, less.heir, less.without(NodeId(4))), (&first.voters, None, None));
        assert_eq!(Configuration::first(nodes(&[1])).without(NodeId(1)), None);
    }

    #[test]
    fn bytes_are_the_same_again_or_none() {
        let all = (1..=NODES_MAX as u64).map(NodeId).collect();
        for (voters, learners, heir) in [
            (nodes(&[1]), vec![], None),
            (nodes(&[1, 2, 9]), nodes(&[3, 4]), Some(NodeId(9))),
            (all, vec![], None),
        ] {
            let some = Configuration { version: VERSION, voters, learners, heir };
            let bytes = some.encode();
            assert!(bytes.len() <= CONFIGURATION_BYTES_MAX);
            assert_eq!(Configuration::decode(VERSION, &bytes), Some(some));
            assert_eq!(Configuration::decode(VERSION, &bytes[..bytes.len() - 1]), None);
        }
        let wrong = [
            (nodes(&[]), nodes(&[1]), None),
            (nodes(&[2, 1]), nodes(&[]), None),
            (nodes(&[0]), nodes(&[]), None),
            (nodes(&[1, 2]), nodes(&[2]), None),
            (nodes(&[1, 2]), nodes(&[3]), Some(NodeId(3))),
        ];
        for (voters, learners, heir) in wrong {
            let some = Configuration { version: VERSION, voters, learners, heir };
            assert_eq!(Configuration::decode(VERSION, &some.encode()), None, "{some:?}");
        }
    }
}
