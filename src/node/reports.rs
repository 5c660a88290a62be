//! Whom the other nodes hear from, as they tell: for people and clients to look at. Nothing is decided by it; who
//! leads and whom a node sends clients to follow from its own links, and from Raft.

use std::collections::BTreeMap;

use crate::types::NodeId;

/// The last word of each node that is up.
#[derive(Clone, Debug, Default)]
pub struct Reports(BTreeMap<NodeId, Vec<NodeId>>);

impl Reports {
    /// How many of them hear from a node, itself not counted.
    pub fn heard_by(&self, id: NodeId) -> usize {
        self.others(id).filter(|heard| heard.contains(&id)).count()
    }

    /// How many of them miss it, itself not counted.
    pub fn missed_by(&self, id: NodeId) -> usize {
        self.others(id).filter(|heard| !heard.contains(&id)).count()
    }

    fn others(&self, id: NodeId) -> impl Iterator<Item = &Vec<NodeId>> {
        self.0.iter().filter(move |(reporter, _)| **reporter != id).map(|(_, heard)| heard)
    }

    pub(super) fn take(&mut self, reporter: NodeId, heard: Vec<NodeId>) {
        self.0.insert(reporter, heard);
    }

    pub(super) fn retain(&mut self, is_up: impl Fn(NodeId) -> bool) {
        self.0.retain(|reporter, _| is_up(*reporter));
    }
}
