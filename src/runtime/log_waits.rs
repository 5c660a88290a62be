//! Clients that wait until the logs of all shards have come to something: `SAVE`, `CONFIG SET durability`, and `WAIT` on a
//! node of a cluster.

use std::collections::BTreeMap;

use super::blocking::DEPOSED;
use super::connection::{Block, Connection, State};
use super::core::Core;
use crate::command::session::ReplyMode;
use crate::config::Durability;
use crate::log::DiskError;
use crate::node::LogStats;
use crate::types::{LogIndex, MonoUs, ShardId};

/// What a client waits for.
pub(super) enum Wait {
    /// A snapshot of each shard: what its count must come to, and how often its log had ended before.
    Snapshots(Vec<(u64, u64)>),
    /// Logs that have begun or ended as this durability, which was set, has it.
    Durability(Durability),
    /// Other replicas that have all these entries: so many of them, or as many as there are by then.
    Replicas { wanted: usize, deadline: Option<MonoUs>, entries: Vec<(ShardId, LogIndex)> },
}

/// Snapshots that a shard has finished or given up, and why the last was given up.
fn snapshots_done(log: &LogStats) -> (u64, Option<DiskError>) {
    let figures = log.state().map(|state| state.figures).unwrap_or_default();
    (figures.snapshots + figures.snapshots_failed, figures.snapshot_error)
}

impl Core<'_> {
    /// Blocks a client until all shards have finished the snapshot that it asked for.
    pub(super) fn wait_for_snapshots(&mut self, connection: &mut Connection) {
        let wanted = |log: &LogStats| (snapshots_done(log).0 + 1, log.times_ended());
        let wait = Wait::Snapshots(self.node.logs.iter().map(wanted).collect());
        connection.state = State::Blocked(Block::Logs);
        self.logs.waits.push((connection.token, wait));
    }

    /// Answers a client that has set the durability once every shard is as it said: what it writes then is
    /// kept as it wants it.
    pub(super) fn wait_for_durability(&mut self, connection: &mut Connection, asked: Durability) {
        connection.state = State::Blocked(Block::Logs);
        self.logs.waits.push((connection.token, Wait::Durability(asked)));
    }

    /// Has a client wait for other replicas; the tokens of all shards are at hand.
    pub(super) fn wait_for_replicas(
        &mut self,
        connection: &mut Connection,
        wanted: usize,
        wait_ms: u64,
    ) {
        let mut entries = Vec::new();
        for id in (0..self.node.slots.shard_count()).map(ShardId) {
            let Some(shard) = self.shards.held(id).filter(|shard| shard.is_serving()) else {
                continue;
            };
            // Changes that are no entry yet are the next ones.
            let more = shard.keyspace().changes_records();
            let state = shard.replica_published(true).and_then(|published| published.state);
            entries.extend(state.map(|state| (id, LogIndex(state.last.0 + more))));
        }
        let now = self.engine.now.mono.0;
        let until = MonoUs(now.saturating_add(wait_ms.saturating_mul(1000)));
        let deadline = (wait_ms > 0).then_some(until);
        connection.state = State::Blocked(Block::Logs);
        self.logs.waits.push((connection.token, Wait::Replicas { wanted, deadline, entries }));
    }

    /// Answers clients that need not wait any more; every turn, and there is one at every tick at least.
    pub(super) fn look_at_waits(&mut self) {
        if self.logs.waits.is_empty() {
            return;
        }
        for (token, wait) in std::mem::take(&mut self.logs.waits) {
            let line = match &wait {
                Wait::Snapshots(wanted) => self.snapshots_line(wanted),
                Wait::Durability(asked) => self.durability_line(*asked),
                Wait::Replicas { wanted, deadline, entries } => {
                    self.replicas_line(*wanted, *deadline, entries)
                }
            };
            let Some(line) = line else {
                self.logs.waits.push((token, wait));
                continue;
            };
            let Some(connection) = self.connections.get_mut(token) else { continue };
            if connection.session.reply_mode == ReplyMode::On {
                connection.output.tail().extend_from_slice(line.as_bytes());
            }
            self.unblock(token, Block::Logs);
        }
    }

    /// What to answer who waits for snapshots; nothing yet if they are not finished.
    fn snapshots_line(&self, wanted: &[(u64, u64)]) -> Option<String> {
        let logs = &self.node.logs;
        let has_ended =
            logs.iter().zip(wanted).any(|(log, (_, ended))| log.times_ended() != *ended);
        let has_failed = logs.iter().any(LogStats::has_stopped);
        let done: Vec<_> = logs.iter().map(snapshots_done).collect();
        let mut counts = done.iter().zip(wanted);
        if has_ended {
            Some("-ERR the snapshot was given up: durability is memory now\r\n".to_owned())
        } else if !has_failed && counts.any(|((count, _), (wanted, _))| count < wanted) {
            None
        } else if let Some(error) = done.iter().find_map(|(_, error)| *error) {
            Some(format!("-ERR the snapshot failed: {error}\r\n"))
        } else if has_failed {
            Some("-MISCONF Errors writing to the log: the snapshot was given up\r\n".to_owned())
        } else {
            Some("+OK\r\n".to_owned())
        }
    }

    /// The same for who waits for replicas: how many of them have all of these entries.
    fn replicas_line(
        &self,
        wanted: usize,
        deadline: Option<MonoUs>,
        entries: &[(ShardId, LogIndex)],
    ) -> Option<String> {
        if entries.is_empty() || entries.iter().any(|(shard, _)| !self.serves(*shard)) {
            return Some(format!("-{DEPOSED}\r\n"));
        }
        let mut by_node = BTreeMap::new();
        for (shard, index) in entries {
            let state = self.node.replica(*shard).state();
            let has = state.peers.iter().filter(|peer| peer.matched >= *index);
            has.for_each(|peer| *by_node.entry(peer.node).or_insert(0) += 1);
        }
        let count = by_node.values().filter(|shards| **shards == entries.len()).count();
        let is_over = deadline.is_some_and(|deadline| self.engine.now.mono >= deadline);
        (count >= wanted || is_over).then(|| format!(":{count}\r\n"))
    }

    /// The same for who waits for the durability that was set.
    fn durability_line(&self, asked: Durability) -> Option<String> {
        let config = self.node.config.load();
        let durability = config.durability;
        if durability != asked {
            let name = durability.name();
            let not_begun = self.node.logs.iter().find_map(LogStats::not_begun);
            return Some(not_begun.map_or_else(
                || format!("-ERR durability has been set to {name} meanwhile\r\n"),
                |error| {
                    format!("-ERR the log can't be begun: {error}; durability is {name} now\r\n")
                },
            ));
        }
        // A shard that is still loading will have looked before it takes a write.
        let mut logs = self.node.logs.iter().filter(|log| !log.is_loading());
        let wants_log = config.keeps_logs();
        logs.all(|log| log.state().is_some() == wants_log).then(|| "+OK\r\n".to_owned())
    }
}
