//! Replies that wait for the disk: a gate names the records that must be on it first.

use crate::node::Node;
use crate::types::{CoreId, LogIndex, ShardId};

/// Records to wait for: the last of each shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gate(Vec<(ShardId, LogIndex)>);

/// Whether a gate is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// All is on disk.
    Open,
    /// Not yet.
    Shut,
    /// Something never will be.
    Never,
}

impl Gate {
    /// Whether there is nothing to wait for.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for a record too.
    pub(crate) fn add(&mut self, shard: ShardId, index: LogIndex) {
        match self.0.iter_mut().find(|(of, _)| *of == shard) {
            Some((_, last)) => *last = (*last).max(index),
            None => self.0.push((shard, index)),
        }
    }

    /// Waits for all that `other` waits for.
    pub(crate) fn merge(&mut self, other: Gate) {
        if self.0.is_empty() {
            *self = other;
        } else {
            other.0.into_iter().for_each(|(shard, index)| self.add(shard, index));
        }
    }

    /// The shards it waits for.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.0.iter().map(|(shard, _)| *shard)
    }

    /// Whether it is open; forgets what need not be waited for any more.
    pub(crate) fn passage(&mut self, node: &Node) -> Passage {
        self.0.retain(|(shard, index)| !node.log(*shard).is_durable(*index));
        if self.0.iter().any(|(shard, _)| node.log(*shard).has_failed()) {
            Passage::Never
        } else if self.0.is_empty() {
            Passage::Open
        } else {
            Passage::Shut
        }
    }

    /// Has `core` told when it may have opened.
    pub(crate) fn wait(&self, node: &Node, core: CoreId) {
        self.0.iter().for_each(|(shard, _)| node.log(*shard).wait(core));
    }
}
