//! Replies that wait for the disk: a gate names the records that must be on it first.

use super::connection::{Block, Connection, State};
use super::core::Core;
use super::mail::Message;
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
        if self.0.iter().any(|(shard, _)| node.log(*shard).has_stopped()) {
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

impl Core<'_> {
    /// Takes over what the requests of a connection that have just been run have to wait for.
    pub(super) fn gate_connection(&mut self, connection: &mut Connection, gate: Gate) {
        for shard in gate.shards() {
            if !self.shards.owns(shard) {
                let owner = self.engine.owners.core_of(shard);
                self.post(owner, Message::Flush);
            }
        }
        connection.gate.merge(gate);
    }

    /// Holds back what the connection has to send if it must wait for the disk.
    #[cold]
    pub(super) fn hold_output(&mut self, connection: &mut Connection) {
        let gate = std::mem::take(&mut connection.gate);
        connection.output.hold(gate);
        self.release_output(connection);
        if connection.output.is_held() && !std::mem::replace(&mut connection.is_gated, true) {
            self.logs.gated.push(connection.token);
        }
    }

    /// Lets go what need not wait any more.
    fn release_output(&mut self, connection: &mut Connection) {
        let (node, core) = (self.node, self.id);
        let has_failed = connection.output.release(|gate| match gate.passage(node) {
            Passage::Shut => {
                gate.wait(node, core);
                // It may have opened before that was noted.
                gate.passage(node)
            }
            passage => passage,
        });
        if has_failed {
            connection.fail_output();
        }
    }

    /// Lets all connections of this core go on whose replies need not wait any more.
    pub(super) fn release_gated(&mut self) {
        if !std::mem::take(&mut self.logs.has_news) {
            return;
        }
        for token in std::mem::take(&mut self.logs.gated) {
            let Some(mut connection) = self.connections.take(token) else { continue };
            self.release_output(&mut connection);
            connection.is_gated = connection.output.is_held();
            if connection.is_gated {
                self.logs.gated.push(token);
            }
            if connection.output.can_send() || connection.state != State::Running {
                self.mark_dirty(&mut connection);
            }
            self.connections.put(connection);
        }
    }

    /// Blocks a connection whose write has to wait until the disk has caught up.
    pub(super) fn wait_for_log(&mut self, connection: &mut Connection) {
        connection.state = State::Blocked(Block::Log);
        self.logs.behind.push(connection.token);
    }
}
