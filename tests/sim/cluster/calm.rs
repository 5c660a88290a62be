//! The end of a run: no more faults, and all must become the same.

use super::clients::{REGISTERS, Work};
use super::facts::hash_of;
use super::linear::Ask;
use super::part::Part;
use super::{CALM_US, Cluster, Event};
use crate::shard::Shard;
use crate::sim::{Outcome, content};

impl Cluster {
    /// No more faults.
    pub(super) fn calm_down(&mut self) {
        self.note(format_args!("calm"));
        self.network.heal(self.time);
        for index in 0..self.nodes {
            self.mend(index);
            for part in self.parts_of(index) {
                let part = &mut self.parts[part];
                part.paused_until = part.paused_until.min(self.time);
                part.stalled_until = part.stalled_until.min(self.time);
            }
            for other in 0..self.nodes {
                if let Some(time) = self.network.next((index, other)) {
                    self.at(time, Event::Arrival { from: index, to: other });
                }
            }
            self.at(self.time, Event::Start(index));
        }
    }

    /// Goes on until one replica leads and all are the same.
    pub(super) fn come_together(&mut self) -> Outcome {
        let deadline = self.time + CALM_US;
        loop {
            for _ in 0..200 {
                self.next()?;
            }
            if (0..self.shards).all(|shard| self.are_same(shard)) {
                return Ok(());
            }
            if self.time > deadline {
                return Err(format!(
                    "{:?}: all was well, and did not become so: {}",
                    self.kind,
                    self.survey()
                ));
            }
        }
    }

    fn are_same(&self, shard: usize) -> bool {
        let parts = &self.parts[self.parts_in(shard)];
        let processes: Vec<_> = parts.iter().filter_map(|part| part.process.as_ref()).collect();
        let all: Vec<_> = processes.iter().map(|it| &it.shard).collect();
        let leaders = all.iter().filter(|shard| shard.is_serving()).count();
        if all.len() < self.nodes
            || leaders != 1
            || processes.iter().any(|it| it.hands_over_until.is_some())
            || processes.iter().any(|it| !it.replies.is_empty() || !it.held.is_empty())
            || self.clients.all.iter().any(|client| client.pending.is_some())
            || !self.retries.are_over(self.time)
            || parts.iter().any(Part::is_unsafe)
            || all.iter().any(|shard| shard.keyspace().changes_len() > 0)
        {
            return false;
        }
        let seen = |shard: &Shard| {
            let replica = shard.replica()?;
            (replica.committed() == replica.last()).then_some(replica.seen_by_keyspace()?)
        };
        let is_member =
            |shard: &&&Shard| shard.replica().is_some_and(|replica| replica.is_member());
        let is_empty = |shard: &Shard| content(shard).is_empty();
        let (members, others): (Vec<&Shard>, Vec<&Shard>) =
            all.iter().partition(|shard| is_member(shard));
        let first = seen(members[0]);
        let is_one_apart = |shard: &&Shard| seen(shard) != first;
        if first.is_none()
            || members.iter().any(is_one_apart)
            || !self.is_settled(shard, members.len())
            || others.iter().any(|shard| !is_empty(shard))
        {
            return false;
        }
        let hash = hash_of(members[0]);
        members.iter().all(|shard| hash_of(shard) == hash)
    }

    pub(super) fn survey(&self) -> String {
        let of = |node: &Part| {
            let Some(process) = &node.process else { return format!("{}: down", node.id.0) };
            let state = process.shard.replica_published(true).and_then(|it| it.state);
            let state = state.unwrap_or_default();
            let replica = process.shard.replica();
            let doubt = replica.is_some_and(|it| it.is_in_doubt());
            let seen = replica.and_then(|it| it.seen_by_keyspace());
            let log = process.shard.log_state();
            format!(
                "{}: {:?} of {} under {:?}, {:?} {:?}, {} {} {}, doubt {doubt}, seen {seen:?}, conf saved {:?}, bad {}, stops {}, {:?} {:?}",
                node.id.0,
                state.role,
                state.term.0,
                state.leader,
                state.voters.iter().map(|node| node.0).collect::<Vec<_>>(),
                state.learners.iter().map(|node| node.0).collect::<Vec<_>>(),
                state.last.0,
                state.committed.0,
                state.applied.0,
                replica.map(|it| it.is_configuration_saved()),
                node.is_bad,
                process.is_stopping,
                log.map(|log| (log.durable, log.refusal, log.snapshot)),
                state
                    .peers
                    .iter()
                    .map(|peer| (peer.node.0, peer.matched.0, peer.snapshot_bytes))
                    .collect::<Vec<_>>(),
            )
        };
        self.parts.iter().map(of).collect::<Vec<_>>().join("\n  ")
    }

    /// A client asks for all that was written.
    pub(super) fn read_all(&mut self) -> Outcome {
        let all = (0..self.shards).flat_map(|shard| (0..REGISTERS).map(move |key| (shard, key)));
        for (client, key) in all {
            self.ask(client, Work::Register { key, ask: Ask::Get })?;
        }
        Ok(())
    }
}
