//! Replies that wait for the disk, or for other replicas: a gate names what must be there first.

use super::connection::{Block, Connection, Port, State};
use super::core::Core;
use super::mail::Message;
use crate::node::Node;
use crate::node::replica_stats::{Passage, Quorum};
use crate::shard::Awaited;
use crate::types::{CoreId, LogIndex, MonoUs, ShardId};

/// What to wait for, of each shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gate {
    /// Records that must be on this node's disk: the last of each shard.
    disk: Vec<(ShardId, LogIndex)>,
    /// What replicas must have.
    quorum: Vec<(ShardId, Quorum)>,
}

impl Gate {
    /// Whether there is nothing to wait for.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.disk.is_empty() && self.quorum.is_empty()
    }

    /// Waits for a record too.
    pub(crate) fn add(&mut self, shard: ShardId, index: LogIndex) {
        match self.disk.iter_mut().find(|(of, _)| *of == shard) {
            Some((_, last)) => *last = (*last).max(index),
            None => self.disk.push((shard, index)),
        }
    }

    /// Waits for what a replica's reply needs too.
    pub(crate) fn await_quorum(&mut self, shard: ShardId, awaited: Awaited, on_disk: bool) {
        self.add_quorum(shard, awaited.quorum(on_disk));
    }

    fn add_quorum(&mut self, shard: ShardId, new: Quorum) {
        let mut all = self.quorum.iter_mut();
        match all.find(|(of, it)| (*of, it.reign) == (shard, new.reign)) {
            Some((_, it)) => {
                (it.index, it.on_disk) = (it.index.max(new.index), it.on_disk.max(new.on_disk));
            }
            None => self.quorum.push((shard, new)),
        }
    }

    /// Waits for all that `other` waits for.
    pub(crate) fn merge(&mut self, other: Gate) {
        if self.is_empty() {
            *self = other;
        } else {
            other.disk.into_iter().for_each(|(shard, index)| self.add(shard, index));
            other.quorum.into_iter().for_each(|(shard, quorum)| self.add_quorum(shard, quorum));
        }
    }

    /// The shards it waits for.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        let disk = self.disk.iter().map(|(shard, _)| *shard);
        disk.chain(self.quorum.iter().map(|(shard, _)| *shard))
    }

    /// Whether it is open; forgets what need not be waited for any more.
    pub(crate) fn passage(&mut self, node: &Node, now: MonoUs) -> Passage {
        let mut is_lost = false;
        self.disk.retain(|(shard, index)| {
            let log = node.log(*shard);
            // Asked first: a log that ends tells how far it has come before that.
            let has_stopped = log.has_stopped();
            let is_durable = log.is_durable(*index);
            is_lost |= has_stopped && !is_durable;
            !is_durable
        });
        self.quorum.retain(|(shard, quorum)| {
            let passage = node.replica(*shard).passage(quorum, now);
            is_lost |= passage == Passage::Never;
            passage != Passage::Open
        });
        if is_lost {
            Passage::Never
        } else if self.is_empty() {
            Passage::Open
        } else {
            Passage::Shut
        }
    }

    /// Has `core` told when it may have opened.
    pub(crate) fn wait(&self, node: &Node, core: CoreId) {
        self.disk.iter().for_each(|(shard, _)| node.log(*shard).wait(core));
        self.quorum.iter().for_each(|(shard, _)| node.replica(*shard).wait(core));
    }
}

const LOG_FAILED: &[u8] =
    b"-MISCONF Errors writing to the log: this write and those after it may be \
    lost. Closing the connection.\r\n";
const DEPOSED: &[u8] =
    b"-CLUSTERDOWN This node has ceased to lead the shard: whether this command and those after \
    it have been carried out is not known. Closing the connection.\r\n";
/// What a guest is told: only its way here ends, not its client's connection.
const DEPOSED_GUEST: &[u8] =
    b"-CLUSTERDOWN The node that led the shard has ceased to: whether this command and those after \
    it have been carried out is not known\r\n";

impl Core<'_> {
    /// Takes over what the requests of a connection that have just been run have to wait for.
    pub(super) fn gate_connection(&mut self, connection: &mut Connection, gate: Gate) {
        for shard in gate.shards() {
            if !self.shards.owns(shard) {
                let owner = self.engine.owners.core_of(shard);
                self.post(owner, Message::Flush);
            }
        }
        for (shard, quorum) in gate.quorum.iter().filter(|(_, quorum)| quorum.index.0 > 0) {
            connection.session.depends_on.get_or_insert_default().note(*shard, quorum.index);
        }
        connection.gate.merge(gate);
    }

    /// Takes over what the requests that have been run so far have to wait for: `CLIENT TOKEN` tells of them.
    pub(super) fn gate_so_far(&mut self, connection: &mut Connection) {
        let gate = std::mem::take(&mut self.engine.gate);
        self.gate_connection(connection, gate);
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
        let (node, core, engine) = (self.node, self.id, &self.engine);
        let has_failed =
            connection.output.release(|gate| match gate.passage(node, engine.mono_now()) {
                Passage::Shut => {
                    gate.wait(node, core);
                    // It may have opened before that was noted.
                    gate.passage(node, engine.mono_now())
                }
                passage => passage,
            });
        if has_failed {
            connection.fail_output(match (self.replicas.is_on, connection.port) {
                (true, Port::Guest) => DEPOSED_GUEST,
                (true, _) => DEPOSED,
                (false, _) => LOG_FAILED,
            });
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
