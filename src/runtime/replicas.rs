//! The shards' replicas on a core: time and messages go in, messages go out, and what replicas have come to is told
//! to whoever waits for it.
//!
//! A replica is stepped with its shard's log, by the shard's owner (`logger`). What other nodes say comes to whichever
//! core their link is on (`links`), and goes by mail to the owner. Replies that wait for a quorum wait at a gate, like
//! those that wait for the disk (`gate`).

use super::attend::News;
use super::away::Away;
use super::core::Core;
use super::mail::Message;
use super::ring::Token;
use crate::config::Config;
use crate::limits::NODE_MESSAGES_WAITING_MAX;
use crate::limits::REPLICA_TAIL_BYTES_MAX;
use crate::log::{Configuration, HardState, Item, LogEntry, Place, RecordStart, Stream};
use crate::node::replica_stats::ReplicaRequest;
use crate::replica::{Body, Replica, ReplicaOptions, Restored, ShardMessage, TICKS_PER_HEARTBEAT};
use crate::shard::Shard;
use crate::types::{LogIndex, MonoUs, NodeId, ShardId, Term};

/// What a core keeps for the replicas of its shards.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    /// Whether this node is one of a cluster.
    pub(super) is_on: bool,
    /// What others have said to replicas whose shard's token was not free.
    waiting: Vec<(NodeId, ShardMessage)>,
    /// Shards whose hard state has been saved, or could not be, and whose token was not free.
    saved: Vec<(ShardId, bool)>,
    /// Shards whose log is to begin anew.
    restarts: Vec<(ShardId, LogIndex, Term)>,
    /// When that is tried again, if it has failed.
    restarts_due: Option<MonoUs>,
    /// When everything about replicas is told next.
    whole_due: MonoUs,
    beats: Beats,
    /// When the core will be woken for the next.
    beat_pulse: MonoUs,
    /// When it will be for what comes before that.
    early_pulse: MonoUs,
    /// When the server stops, whoever leads then.
    stops_at: Option<MonoUs>,
    /// Connections whose reads wait until a replica has come further.
    pub(super) readers: Vec<Token>,
    /// Whether one has since they looked.
    pub(super) has_news: bool,
    /// When they look again anyhow.
    pub(super) readers_due: MonoUs,
}

impl Replicas {
    pub(super) fn new(config: &Config) -> Self {
        Self { is_on: config.is_in_cluster(), ..Self::default() }
    }

    /// Whether something is to be done before the core may sleep.
    pub(super) fn is_busy(&self, away: &Away) -> bool {
        let may_read = self.has_news && !self.readers.is_empty();
        let may_hear = self.waiting.iter().any(|(_, message)| !away.is_told_of(message.shard));
        let may_note = self.saved.iter().any(|(shard, _)| !away.is_told_of(*shard));
        may_read || may_hear || may_note || !self.restarts.is_empty() && self.restarts_due.is_none()
    }
}

/// When the replicas of a core count time: all in one turn, so that what they say leaves together.
#[derive(Debug, Default)]
struct Beats {
    number: u64,
    next: MonoUs,
    /// Those that have not counted this one: mostly none but while it begins, else another core has, or had, their
    /// shard.
    awaited: Vec<ShardId>,
}

impl Beats {
    /// Begins another if it is time.
    fn begin(&mut self, now: MonoUs, heartbeat_ms: u64, all: &[ShardId]) {
        if now >= self.next {
            self.number += 1;
            self.next = MonoUs(now.0 + heartbeat_ms * 1000 / TICKS_PER_HEARTBEAT);
            self.awaited.clear();
            self.awaited.extend_from_slice(all);
        }
    }

    /// Whether a replica has still to count the present one.
    fn awaits(&self, id: ShardId) -> bool {
        self.awaited.contains(&id)
    }

    /// It has.
    fn counted_by(&mut self, id: ShardId) {
        self.awaited.retain(|awaited| *awaited != id);
    }
}

/// A replica that is being recovered: what its log brings that may not be committed.
#[derive(Debug)]
pub(crate) struct RecoveringReplica {
    /// As it was found, or that of a shard that begins.
    pub(crate) hard_state: HardState,
    /// The last entry that the keyspace has seen.
    pub(crate) applied: (LogIndex, Term),
    /// Those behind it.
    pub(crate) entries: Vec<(RecordStart, LogEntry)>,
}

impl RecoveringReplica {
    /// Takes in what a record brings: makes again what is known to be committed; the rest may have to give way yet.
    pub(crate) fn take(&mut self, place: &Place, item: Item<'_>, shard: &mut Shard) -> Option<u64> {
        let (index, term) = (place.header.index, place.header.term);
        let (Item::Changes { payload, overlaps_snapshot }
        | Item::Configuration { payload, overlaps_snapshot }) = item
        else {
            return shard.recover(item);
        };
        if index > self.hard_state.commit && !overlaps_snapshot {
            let start = RecordStart { index, segment: place.file.id, at: place.at };
            let (kind, payload) = (place.header.kind, bytes::Bytes::copy_from_slice(payload));
            self.entries.push((start, LogEntry { term, kind, payload }));
            return Some(0);
        }
        if let Item::Configuration { payload, .. } = item {
            let configuration = Configuration::decode((term, index), payload)?;
            if configuration.version > self.hard_state.configuration.version {
                self.hard_state.configuration = configuration;
            }
        }
        self.applied = (index, term);
        shard.recover(item)
    }
}

/// The longest pulse, in microseconds: what the ring can wait.
const PULSE_US_MAX: u64 = 900_000;
/// How often everything about replicas is told, in microseconds.
const WHOLE_EVERY_US: u64 = 100_000;
/// After how long a log that could not be begun anew is tried again, in microseconds; its disk may be full.
const RESTART_AGAIN_US: u64 = 1_000_000;
/// Election timeouts that a server that stops gives others to take leadership.
const HAND_OVERS: u64 = 2;
/// Election timeouts that a replica whose keyspace is of no use waits for a leader's snapshot: there may be no leader yet.
const SNAPSHOT_PATIENCE: u64 = 3;

impl Core<'_> {
    // --- what comes from other nodes ------------------------------------------------------------------

    /// A node has said something to a replica of this one.
    pub(super) fn peer_message(&mut self, from: NodeId, message: ShardMessage) {
        let Some(stats) = self.node.replicas.get(usize::from(message.shard.0)) else { return };
        let is_late = |term: Term| term < stats.state().term;
        let request = match message.body {
            Body::LeadWanted { term } if !is_late(term) => ReplicaRequest::Lead(from),
            Body::JoinWanted { .. } => ReplicaRequest::Add(from),
            Body::LeadWanted { .. } => return,
            Body::Raft(_)
            | Body::Synced { .. }
            | Body::WantSync { .. }
            | Body::Restarted { .. }
            | Body::CatchUp { .. }
            | Body::SnapshotWanted { .. }
            | Body::Snapshot(_)
            | Body::SnapshotTaken { .. }
            | Body::Begun
            | Body::Configuration(_)
            | Body::FreshAsk { .. }
            | Body::FreshAnswer { .. }
            | Body::NoRoom { .. } => return self.replica_message(from, message),
        };
        // If there are too many, who asked will see that nothing comes of it.
        stats.request(request);
    }

    fn replica_message(&mut self, from: NodeId, message: ShardMessage) {
        let owner = self.engine.owners.core_of(message.shard);
        if owner == self.id {
            // A token is not free for a moment only. Who asks for it all that time in vain has others repeat
            // themselves.
            if self.replicas.waiting.len() < NODE_MESSAGES_WAITING_MAX {
                self.replicas.waiting.push((from, message));
            }
        } else {
            self.post(owner, Message::FromNode { from, message: Box::new(message) });
        }
    }

    /// This core's link to a node is there; `incarnation` is another one after every start of that node.
    pub(super) fn node_is_up(&mut self, node: NodeId, incarnation: u64) {
        tracing::debug!(node = node.0, incarnation, "linked");
    }

    /// The link to a node is down.
    pub(super) fn node_is_down(&mut self, node: NodeId) {
        for index in 0..self.shards.own().len() {
            let id = self.shards.own()[index];
            if let Some(shard) = self.shards.borrow_again(id) {
                shard.node_is_down(node);
            }
        }
    }

    /// Lets replicas hear what others have said, as far as their shards' tokens are free.
    fn hear(&mut self) {
        let now = self.engine.now;
        for (from, message) in std::mem::take(&mut self.replicas.waiting) {
            let ShardMessage { shard: id, body } = message;
            // What comes behind a message that has to wait waits as well.
            let waits = self.replicas.waiting.iter().any(|(_, message)| message.shard == id);
            let is_here = !waits && self.is_here(id);
            match self.shards.held(id).filter(|_| is_here) {
                Some(shard) => shard.receive(from, body, now),
                None => self.replicas.waiting.push((from, ShardMessage { shard: id, body })),
            }
        }
    }

    // --- every turn -----------------------------------------------------------------------------------

    /// Counts time, and lets replicas hear what has been said; before the logs are stepped.
    pub(super) fn attend_replicas(&mut self) {
        if !self.replicas.is_on {
            return;
        }
        self.note_saved();
        self.hear();
        let now = self.engine.now;
        self.replicas.beats.begin(now.mono, self.config.heartbeat_ms, self.shards.own());
        let lag_us = self.config.follower_read_max_lag_ms.saturating_mul(1000);
        let mut due = self.replicas.beats.next;
        for index in 0..self.shards.own().len() {
            let id = self.shards.own()[index];
            if let Some(shard) = self.shards.borrow_again(id) {
                let beats = &mut self.replicas.beats;
                // One that has counted the last one late counts this one as much later.
                if beats.awaits(id) && shard.may_tick_replica(now, beats.number) {
                    shard.tick_replica(now);
                    beats.counted_by(id);
                }
                shard.pace_replica(now);
                due = shard.replica_due().map_or(due, |at| due.min(at));
                if let Some(since) = self.node.replica(id).fresh_wanted(now.mono, lag_us) {
                    shard.want_fresh(since, now);
                }
            }
        }
        self.set_pulse(due);
        self.restart_logs();
    }

    /// Has the core wake up by then, if it is not to be anyhow. A pulse a turn: whoever wakes it before the next beat lets
    /// it set that one.
    fn set_pulse(&mut self, due: MonoUs) {
        let now = self.engine.now.mono;
        let is_early = due < self.replicas.beats.next;
        let due = due.min(MonoUs(now.0 + PULSE_US_MAX));
        let Replicas { early_pulse, beat_pulse, .. } = &mut self.replicas;
        let set = if is_early { early_pulse } else { beat_pulse };
        if *set <= now || *set > due {
            *set = due;
            self.ring.pulse(due.0.saturating_sub(now.0));
        }
    }

    /// Everything about all replicas of this core is told, every now and then.
    pub(super) fn tell_whole(&mut self) {
        if !self.replicas.is_on || self.engine.now.mono < self.replicas.whole_due {
            return;
        }
        self.replicas.whole_due = MonoUs(self.engine.now.mono.0 + WHOLE_EVERY_US);
        for index in 0..self.shards.own().len() {
            let id = self.shards.own()[index];
            self.pass_requests(id);
            self.tell_of_replica(id, true);
        }
    }

    /// Lets a replica hear what operators ask of it.
    fn pass_requests(&mut self, id: ShardId) {
        if let Some(shard) = self.shards.borrow_again(id) {
            let requests = self.node.replica(id).take_requests();
            requests.into_iter().for_each(|request| shard.request_of_replica(request));
        }
    }

    /// A replica has been stepped: sends what it has to say, and tells what it has come to.
    pub(super) fn after_step(&mut self, id: ShardId) {
        if !self.replicas.is_on {
            return;
        }
        // First: a message may have another replica lead at once, and by then nobody here may count on this one's lease.
        self.tell_of_replica(id, false);
        let Some(shard) = self.shards.borrow_again(id) else { return };
        for (to, body) in shard.take_messages() {
            let has_entries = matches!(&body, Body::Raft(message) if !message.entries.is_empty());
            let is_sent = self.send_to_node(to, &ShardMessage { shard: id, body });
            if !is_sent
                && has_entries
                && let Some(shard) = self.shards.borrow_again(id)
            {
                // Or it would take them for being on their way.
                shard.node_is_down(to);
            }
        }
        if let Some(shard) = self.shards.borrow_again(id) {
            // Made again, changes are as good as new to who watches keys.
            self.engine.attend(shard);
        }
    }

    fn tell_of_replica(&mut self, id: ShardId, whole: bool) {
        let stats = self.node.replica(id);
        let (reign, leader) = (stats.reign(), stats.leader());
        let took_part = whole && self.takes_part(id);
        let Some(shard) = self.shards.borrow_again(id) else { return };
        let Some(published) = shard.replica_published(false) else { return };
        let has_news = (reign, leader) != (published.reign, published.leader);
        let published =
            if whole || has_news { shard.replica_published(true) } else { Some(published) };
        let bits = published.map_or(0, |published| stats.publish(published));
        self.tell_cores(bits);
        if has_news {
            self.node.members.touch();
            // Cores that sleep have clients to redirect, to tell of it, or to let go.
            self.broadcast(|| Message::Refresh);
            self.note_reign(id, reign, leader);
        } else if whole && self.takes_part(id) != took_part {
            // Who listens here to the shard's channels is not told any more what is published there.
            self.node.members.touch();
            self.broadcast(|| Message::Refresh);
        }
    }

    fn takes_part(&self, id: ShardId) -> bool {
        self.node.id.is_some_and(|me| self.node.replica(id).takes_part(me))
    }

    /// Another replica leads a shard, or this one begins or ends.
    fn note_reign(&mut self, id: ShardId, before: u64, leader_before: Option<NodeId>) {
        let stats = self.node.replica(id);
        let (reign, leader) = (stats.reign(), stats.leader());
        if reign != before && reign % 2 == 1 {
            tracing::info!(shard = id.0, term = stats.state().term.0, "this node leads the shard");
        }
        if reign != before && before % 2 == 1 {
            tracing::info!(shard = id.0, "this node does not lead the shard any more");
            // What clients keep copies of is changed by others from now on.
            self.engine.news.push(News::Flushed);
        }
        if let Some(leader) = leader.filter(|_| leader != leader_before) {
            tracing::debug!(shard = id.0, leader = leader.0, "the shard has a leader");
        }
    }

    // --- what the disk has to do ------------------------------------------------------------------------

    /// Has a hard state saved, by a thread that has nothing else to do.
    pub(super) fn save_hard_state(&mut self, shard: ShardId, state: Box<HardState>) {
        let (peers, core) = (self.peers.clone(), self.id);
        self.logs.files.save_hard_state(shard, state, move |is_saved| {
            let message = Message::HardStateSaved { shard, is_saved };
            peers[usize::from(core.0)].post_from_outside(message);
        });
    }

    /// Hard states of shards whose token was not free then.
    pub(super) fn note_saved(&mut self) {
        for (id, is_saved) in std::mem::take(&mut self.replicas.saved) {
            self.hard_state_saved(id, is_saved);
        }
    }

    /// A hard state has been saved, or could not be.
    pub(super) fn hard_state_saved(&mut self, id: ShardId, is_saved: bool) {
        let is_here = self.is_here(id);
        match self.shards.held(id).filter(|_| is_here) {
            Some(shard) => shard.hard_state_saved(is_saved),
            None => return self.replicas.saved.push((id, is_saved)),
        }
        if !is_saved {
            tracing::error!(
                shard = id.0,
                "the hard state can't be saved: this replica takes no more part. See to the disk, then restart the server."
            );
        }
    }

    /// Has a log begin anew. One that was to and has not yet need not any more: if it did later, it would do so under
    /// the one that is asked for now.
    pub(super) fn start_log_over(&mut self, shard: ShardId, index: LogIndex, term: Term) {
        self.replicas.restarts.retain(|(id, ..)| *id != shard);
        self.replicas.restarts.push((shard, index, term));
    }

    fn restart_logs(&mut self) {
        let now = self.engine.now.mono;
        if self.replicas.restarts_due.is_some_and(|due| now < due) {
            return;
        }
        self.replicas.restarts_due = None;
        for (id, index, term) in std::mem::take(&mut self.replicas.restarts) {
            // What the log before still does to the folder comes first.
            if self.node.log(id).has_operations() || self.shards.borrow_again(id).is_none() {
                self.replicas.restarts.push((id, index, term));
                continue;
            }
            match self.logs.files.start_over(id, self.node.slots.shard_count(), (index, term)) {
                Ok(resume) => {
                    let stream = Stream::new(resume, self.logs.files.options(&self.config));
                    if let Some(shard) = self.shards.borrow_again(id) {
                        shard.restart_log(stream);
                    }
                }
                Err(error) => {
                    tracing::error!(shard = id.0, "the log can't be begun anew: {error}");
                    self.replicas.restarts_due = Some(MonoUs(now.0 + RESTART_AGAIN_US));
                    self.replicas.restarts.push((id, index, term));
                }
            }
        }
    }

    // --- the start --------------------------------------------------------------------------------------

    /// Makes a shard whose log has been read a replica.
    pub(super) fn start_replica(
        &mut self,
        id: ShardId,
        recovering: RecoveringReplica,
        is_doubtful: bool,
    ) -> Result<(), String> {
        let RecoveringReplica { hard_state, applied, entries } = recovering;
        let options = ReplicaOptions {
            node: NodeId(self.config.node_id),
            heartbeat_ms: self.config.heartbeat_ms,
            election_timeout_ms: self.config.election_timeout_ms,
            snapshot_patience_ms: SNAPSHOT_PATIENCE * self.config.election_timeout_ms,
            tail_bytes_max: REPLICA_TAIL_BYTES_MAX,
        };
        let starts = entries.iter().map(|(start, _)| *start).collect();
        let restored = Restored { hard_state, applied, entries, is_doubtful };
        let replica = Replica::new(id, options, restored)?;
        if let Some(shard) = self.shards.borrow_again(id) {
            shard.start_replica(replica, starts);
        }
        Ok(())
    }

    // --- the end ----------------------------------------------------------------------------------------

    /// Gives leadership away before the server stops; true while that is on its way, for a bounded time.
    pub(super) fn hands_over(&mut self) -> bool {
        if !self.replicas.is_on {
            return false;
        }
        let now = self.engine.now;
        let patience_us = HAND_OVERS * self.config.election_timeout_ms * 1000;
        let until = *self.replicas.stops_at.get_or_insert(MonoUs(now.mono.0 + patience_us));
        let mut is_on_its_way = false;
        for index in 0..self.shards.own().len() {
            let id = self.shards.own()[index];
            is_on_its_way |= self.shards.borrow_again(id).is_some_and(|shard| shard.resign(now));
        }
        is_on_its_way && now.mono < until
    }
}

#[cfg(test)]
mod tests {
    use super::{Beats, MonoUs, ShardId};

    #[test]
    fn every_replica_counts_a_beat_once_and_never_before_it_is_time() {
        let all = [ShardId(0), ShardId(2), ShardId(5)];
        let mut beats = Beats::default();
        beats.begin(MonoUs(1_000), 50, &all);
        assert_eq!((beats.number, beats.next), (1, MonoUs(26_000)));
        beats.counted_by(ShardId(0));
        // One whose shard another core has is awaited, until the next.
        beats.begin(MonoUs(25_999), 50, &all);
        assert!(beats.awaits(ShardId(5)) && !beats.awaits(ShardId(0)));
        beats.begin(MonoUs(26_010), 50, &all);
        assert_eq!((beats.number, beats.next), (2, MonoUs(51_010)));
        assert!(all.iter().all(|id| beats.awaits(*id)) && !beats.awaits(ShardId(1)));
    }
}
