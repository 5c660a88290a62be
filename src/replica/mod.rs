//! One shard's replica on this node: Raft (the `raft` crate) over the shard's log.
//!
//! ```text
//!  clients ─► keyspace ─► journal ─► entry ─► Raft ─┬─► log (disk)
//!  (leader)                                         └─► messages ─► links ─► replicas on other nodes
//!                                                                              │ committed
//!                                                                              ▼
//!                                                                      keyspace (followers)
//! ```
//!
//! What is replicated is what the journal writes down: results, never commands. The leader runs commands at
//! once, before their entry is committed; replies wait (`runtime::gate`). So its keyspace is ahead of what is
//! committed. A leader that is deposed with entries that others never got is *tainted*: its log is right, its
//! keyspace has seen what never happened, and it asks for a snapshot, or makes its keyspace again from its log
//! (`rebuild`). Followers make changes again when they are committed.
//!
//! An entry of Raft is a record of the log, with the same index. A quorum that has an entry in memory commits
//! it; how far a quorum is on disk is told beside (`Body::Synced`), for replies that wait for that. What a replica
//! must never forget, its term and its vote, is on disk before any message that relies on it leaves.
//!
//! | file | what it is |
//! |---|---|
//! | `mod` | ticks, proposals, messages: what a replica is and does |
//! | `ready` | what the `raft` crate wants done, in the order in which it may be |
//! | `tail` | the last entries, in memory |
//! | `guard` | messages that can't be true |
//! | `leadership` | reigns, and how leadership is handed over |
//! | `lease` | until when a leader may answer reads |
//! | `room` | a leader whose disk is full lets another lead |
//! | `fresh` | as of when a follower has all that was committed |
//! | `doubt` | after a crash: whether this replica may vote |
//! | `membership` | who takes part, and how that changes |
//! | `loss` | a quorum has lost what was committed: this replica begins anew |
//! | `transfer` | snapshots of the keyspace, piece by piece |
//! | `rebuild` | a keyspace that is made again from the log |
//! | `message` | what replicas tell each other, as bytes |
//!
//! No I/O, no clock and no randomness here: time comes in, entries to write and messages to send come out.

#[cfg(test)]
mod bounds;
mod codec;
mod doubt;
mod fields;
mod fresh;
mod guard;
mod leadership;
mod lease;
pub mod link;
mod loss;
mod membership;
pub mod message;
mod ready;
mod rebuild;
mod room;
mod sense;
mod tail;
#[cfg(test)]
pub(crate) mod tests;
mod transfer;

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::eraftpb::{self, ConfState, Entry, MessageType};
use raft::{RawNode, StateRole};

use crate::limits::{REPLICA_BATCH_BYTES_MAX, REPLICA_ENTRY_WINDOW, REPLICA_PINNED_BYTES_MAX};
use crate::log::{Configuration, HardState, LogEntry, RecordKind, RecordStart};
use crate::node::replica_stats::{PeerProgress, ReplicaState, Role};
use crate::types::{LogIndex, MonoUs, NodeId, ShardId, Term};
use doubt::Doubt;
use fresh::Fresh;
use lease::Lease;
use membership::{Membership, configuration_entry};
pub use message::{Body, Fault, ShardMessage, SnapshotContent, SnapshotPiece};
use ready::Held;
pub(crate) use ready::LogOrder;
use rebuild::Rebuild;
use room::Shortage;
use tail::Tail;
pub(crate) use transfer::{Outgoing, Staging};

/// What a replica is started with.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// This node.
    pub node: NodeId,
    /// How often a leader gives a sign, in milliseconds.
    pub heartbeat_ms: u64,
    /// How long others wait for one at least.
    pub election_timeout_ms: u64,
    /// How long a replica whose keyspace is of no use waits for a leader's snapshot before it makes it again from its log.
    pub snapshot_patience_ms: u64,
    /// Bytes of the last entries that are kept in memory for others, once they are committed.
    pub tail_bytes_max: usize,
}

/// What a replica found on disk.
#[derive(Debug)]
pub struct Restored {
    /// Its hard state, as read or made for a shard that begins.
    pub hard_state: HardState,
    /// The last entry that the keyspace has seen, and its term.
    pub applied: (LogIndex, Term),
    /// The entries behind it, and where they are in the log.
    pub entries: Vec<(RecordStart, LogEntry)>,
    /// Whether the process that wrote it may have told others of more than is here.
    pub is_doubtful: bool,
}

/// The changes of an entry that brings none: a journal that is empty.
pub const NO_CHANGES: [u8; 16] = [0; 16];

/// One replica.
pub struct Replica {
    shard: ShardId,
    options: ReplicaOptions,
    raw: RawNode<Tail>,
    tick_us: u64,
    next_tick: MonoUs,
    ticks: u64,
    /// Odd while this replica leads and serves.
    reign: u64,
    elections_won: u64,
    was_leader: bool,
    /// The tick since which this replica leads, if it does, and those at which others have answered it last.
    leads_since: u64,
    answered: BTreeMap<NodeId, u64>,
    /// The last entry that the keyspace has seen: on a leader the last there is, on others a committed one.
    applied: LogIndex,
    /// Whether the keyspace has seen what never happened.
    is_tainted: bool,
    /// Entries up to this one are needed to make sense of the snapshot that the keyspace was made from.
    overlap: LogIndex,
    /// The term of the leader whose entries these are; none once they are in the log.
    overlap_of: Option<Term>,
    /// All entries up to this one are on this node's disk, and none that had to give way in their place.
    durable: LogIndex,
    doubt: Doubt,
    lease: Lease,
    fresh: Fresh,
    election_ticks: u64,
    hard_state: HardState,
    held: Held,
    outbox: Vec<(NodeId, Body)>,
    orders: Vec<LogOrder>,
    /// How far others are on disk with entries of this leader's.
    synced: BTreeMap<NodeId, LogIndex>,
    /// The last entry that others were asked to have on disk, and the last that they are to be.
    sync_asked: LogIndex,
    sync_wanted: LogIndex,
    /// Of a follower: the last entry that it has as this term's leader has it, and how far of that it has told
    /// the leader to be on disk.
    agreed: (Term, LogIndex),
    synced_told: (Term, LogIndex),
    /// Snapshots sent since the start.
    transfers: u64,
    outgoing: Option<Outgoing>,
    staging: Option<Staging>,
    /// The term and the number of the last snapshot that began to be taken in.
    staged: (Term, u64),
    rebuild: Rebuild,
    /// By when leadership, which is given away, should have been taken.
    leaving_until: Option<MonoUs>,
    /// Who is to have it, as long as he has not been told.
    successor: Option<NodeId>,
    /// Ticks for which this replica votes for nobody, because a leader counts on it.
    promised_ticks: u64,
    /// Since when the replica that should lead could, and when it was last found to answer.
    heir_ready: Option<(MonoUs, MonoUs)>,
    membership: Membership,
    shortage: Shortage,
    has_failed: bool,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl Replica {
    /// A replica that goes on from what was found.
    ///
    /// # Errors
    /// If what was found makes no sense.
    pub fn new(
        shard: ShardId,
        options: ReplicaOptions,
        restored: Restored,
    ) -> Result<Self, String> {
        let Restored { mut hard_state, applied, entries, is_doubtful } = restored;
        let mut tail = Tail::new(
            applied,
            raft_hard_state(&hard_state, applied.0),
            conf_state(&hard_state.configuration),
        );
        for (start, entry) in entries {
            tail.push(raft_entry(start.index, entry));
        }
        // An entry may be on disk before the term is in which it came; nothing was voted in that one.
        let of_last = tail.term_of(LogIndex(tail.last())).unwrap_or_default();
        if of_last > hard_state.term {
            (hard_state.term, hard_state.vote) = (of_last, None);
        }
        let commit = hard_state.commit.max(applied.0).0.min(tail.last());
        tail.set_hard_state(&eraftpb::HardState {
            commit,
            ..raft_hard_state(&hard_state, applied.0)
        });
        let tick_us = (options.heartbeat_ms * 1000 / TICKS_PER_HEARTBEAT).max(1);
        let election_ticks = (options.election_timeout_ms * 1000).div_ceil(tick_us).max(4);
        let raw = raw_node(&options, election_ticks, applied.0, tail)?;
        let is_first = !(hard_state.has_begun || hard_state.is_clean);
        let is_doubtful = is_doubtful || !hard_state.is_clean;
        hard_state.is_clean = false;
        hard_state.generation += 1;
        let mut replica = Self {
            shard,
            raw,
            tick_us,
            next_tick: MonoUs(0),
            ticks: 0,
            reign: 0,
            elections_won: 0,
            was_leader: false,
            leads_since: 0,
            answered: BTreeMap::new(),
            applied: applied.0,
            is_tainted: false,
            overlap: LogIndex(0),
            overlap_of: None,
            durable: LogIndex(0),
            doubt: Doubt::new((is_first, hard_state.term), is_doubtful, election_ticks),
            lease: Lease::new(tick_us, election_ticks),
            fresh: Fresh::default(),
            election_ticks,
            held: Held::new(&hard_state),
            hard_state,
            outbox: Vec::new(),
            orders: Vec::new(),
            synced: BTreeMap::new(),
            sync_asked: LogIndex(0),
            sync_wanted: LogIndex(0),
            agreed: (Term(0), LogIndex(0)),
            synced_told: (Term(0), LogIndex(0)),
            transfers: 0,
            outgoing: None,
            staging: None,
            staged: (Term(0), 0),
            rebuild: Rebuild::new(options.snapshot_patience_ms * 1000 / tick_us),
            leaving_until: None,
            successor: None,
            promised_ticks: 0,
            heir_ready: None,
            membership: Membership::default(),
            shortage: Shortage::default(),
            has_failed: false,
            options,
        };
        replica.resume_membership();
        replica.set_timeout();
        Ok(replica)
    }

    // --- what others see -----------------------------------------------------------------------

    /// The number of the reign; odd while this replica leads and serves.
    pub fn reign(&self) -> u64 {
        self.reign
    }

    /// Whether this replica leads and serves.
    #[inline]
    pub fn is_serving(&self) -> bool {
        self.reign % 2 == 1
    }

    /// The last entry that a quorum has.
    #[inline]
    pub fn committed(&self) -> LogIndex {
        LogIndex(self.raw.raft.raft_log.committed)
    }

    /// The last entry.
    #[inline]
    pub fn last(&self) -> LogIndex {
        LogIndex(self.raw.raft.raft_log.last_index())
    }

    /// The last entry that the keyspace has seen.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The node that leads, if it is known.
    pub fn leader(&self) -> Option<NodeId> {
        Some(NodeId(self.raw.raft.leader_id)).filter(|leader| leader.0 != 0 && !self.has_failed)
    }

    /// Takes no part any more: what this replica says might not be true after the next start.
    pub(crate) fn fail(&mut self) {
        self.has_failed = true;
    }

    /// The current term.
    pub fn term(&self) -> Term {
        Term(self.raw.raft.term)
    }

    /// Nobody else can lead before then.
    #[inline]
    pub fn lease_until(&self) -> MonoUs {
        self.lease.until()
    }

    /// Bytes of memory that entries and messages take.
    pub fn memory_bytes(&self) -> usize {
        self.raw.store().bytes() + self.staging.as_ref().map_or(0, Staging::memory_bytes)
    }

    /// The term of an entry that is in memory, or right before.
    pub fn term_of(&self, index: LogIndex) -> Option<Term> {
        self.raw.store().term_of(index)
    }

    /// The last entry that a quorum has on disk, of which this replica has all up to `durable`.
    pub fn synced(&self, durable: LogIndex) -> LogIndex {
        if !self.is_leader() {
            return LogIndex(0);
        }
        let voters = &self.configuration().voters;
        let mut synced: Vec<LogIndex> = voters
            .iter()
            .map(|node| match *node == self.options.node {
                true => durable,
                false => self.synced.get(node).copied().unwrap_or_default(),
            })
            .collect();
        synced.sort_unstable_by(|a, b| b.cmp(a));
        let quorum = voters.len() / 2;
        synced.get(quorum).copied().unwrap_or_default().min(self.committed())
    }

    /// What there is to tell of it.
    pub fn state(&self) -> ReplicaState {
        let raft = &self.raw.raft;
        let is_learner = raft.prs().conf().learners().contains(&self.options.node.0);
        let role = match raft.state {
            StateRole::Leader if self.is_serving() => Role::Leader,
            StateRole::Leader => Role::Elected,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Follower if is_learner => Role::Learner,
            StateRole::Follower => Role::Follower,
        };
        let others = |(node, progress): (&u64, &raft::Progress)| PeerProgress {
            node: NodeId(*node),
            matched: LogIndex(progress.matched),
            synced: self.synced.get(&NodeId(*node)).copied().unwrap_or_default(),
            snapshot_bytes: self
                .outgoing
                .as_ref()
                .filter(|outgoing| outgoing.to() == NodeId(*node))
                .map(Outgoing::bytes),
        };
        let progress = raft.prs().iter().filter(|(node, _)| **node != self.options.node.0);
        let mut peers: Vec<PeerProgress> =
            if self.is_leader() { progress.map(others).collect() } else { Vec::new() };
        peers.sort_unstable_by_key(|peer| peer.node);
        ReplicaState {
            role,
            term: self.term(),
            leader: self.leader(),
            last: self.last(),
            committed: self.committed(),
            applied: self.applied,
            elections_won: self.elections_won,
            is_in_doubt: self.is_in_doubt(),
            is_short_of_room: self.is_short(),
            voters: self.configuration().voters.clone(),
            learners: self.configuration().learners.clone(),
            peers,
        }
    }

    /// Whether it may not vote, because it may have lost what it had told others to have.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubt.is_doubtful()
    }

    /// Whether it takes no part any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// An entry that is in memory: its term and what is in it.
    #[cfg(test)]
    pub(crate) fn entry(&self, index: LogIndex) -> Option<(Term, Bytes)> {
        let entry = self.raw.store().get(index)?;
        Some((Term(entry.term), entry.data.clone()))
    }

    /// The last entry that this replica has as the leader of a term has it; none of it is known of other terms.
    fn agreed_in(&self, term: Term) -> LogIndex {
        let (of, agreed) = self.agreed;
        if of == term { agreed } else { LogIndex(0) }
    }

    fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        let me = self.options.node;
        let nodes = self.configuration().nodes().filter(|node| *node != me);
        nodes.collect::<Vec<_>>().into_iter()
    }

    // --- time ----------------------------------------------------------------------------------

    /// When [`Replica::tick`] has something to do next.
    pub fn next_tick(&self) -> MonoUs {
        self.next_tick
    }

    /// Whether its next tick is one with a round just if those of others are that count this as their `beat`th. Replicas
    /// that tick together then say what they have to say together too.
    pub fn is_in_step(&self, beat: u64) -> bool {
        (self.ticks + 1) % TICKS_PER_HEARTBEAT == beat % TICKS_PER_HEARTBEAT
    }

    /// Counts time: at most one tick at once, however long ago the last was, since what a follower promises a
    /// leader must not run out sooner than the leader thinks.
    pub fn tick(&mut self, now: MonoUs) {
        if now < self.next_tick || self.has_failed {
            return;
        }
        self.next_tick = MonoUs(now.0 + self.tick_us);
        self.ticks += 1;
        self.doubt.tick();
        self.promised_ticks = self.promised_ticks.saturating_sub(1);
        // Who has no keyspace to serve with leads all the same if nobody else has as much of the log.
        if self.is_leader() || self.doubt.may_stand() && self.may_campaign() {
            self.raw.tick();
            self.step_down_unheard();
            self.set_timeout();
        } else {
            // What was promised to a leader runs out all the same.
            let raft = &mut self.raw.raft;
            raft.election_elapsed = (raft.election_elapsed + 1).min(raft.election_timeout());
        }
        if self.ticks.is_multiple_of(TICKS_PER_HEARTBEAT) {
            // What was said of the disk may have been lost with a link.
            if self.sync_wanted > self.synced(self.durable) {
                self.sync_asked = LogIndex(0);
            }
            self.send_round(now);
            self.tell_doubt();
            self.tell_configuration();
        }
        self.look_after_staging(now);
        self.look_after_rebuild();
        self.look_after_transfer(now);
        self.look_after_heir(now);
        self.look_after_room(now);
        self.look_after_requests(now);
    }

    /// The crate chooses election timeouts at random; here they follow from the node, the shard and the term, so
    /// that a run can be repeated.
    fn set_timeout(&mut self) {
        let least = self.raw.raft.election_timeout();
        let timeout = if self.raw.raft.term == 0 {
            // The first leaders are spread over the nodes.
            if self.heir() == self.options.node { least } else { 2 * least - 1 }
        } else {
            let dice =
                mix(self.options.node.0 ^ u64::from(self.shard.0) << 32 ^ self.raw.raft.term << 40);
            let more = usize::try_from(dice % least as u64).unwrap_or(0);
            // Others rather come first, if this one could not serve, or would have to refuse writes.
            let is_able = self.can_serve() && !self.is_short();
            least + if is_able { more } else { (least + more) / 2 }
        };
        self.raw.raft.set_randomized_election_timeout(timeout);
    }

    /// Whether its keyspace is one to serve with.
    fn can_serve(&self) -> bool {
        !self.is_tainted && self.staging.is_none()
    }

    /// Whether the crate can look at all that it takes for not applied, which it does before it campaigns.
    fn may_campaign(&self) -> bool {
        self.raw.raft.raft_log.applied >= self.raw.store().base().0
    }

    /// The replica that should lead, so that every node leads as many shards.
    fn heir(&self) -> NodeId {
        let Configuration { voters, heir, .. } = self.configuration();
        let by_rule = voters.get(usize::from(self.shard.0) % voters.len().max(1)).copied();
        heir.or(by_rule).unwrap_or_default()
    }

    /// Asks all others for a sign.
    fn send_round(&mut self, now: MonoUs) {
        if !self.is_leader() {
            return;
        }
        if self.raw.raft.commit_to_current_term() && self.leaving_until.is_none() {
            self.begin_round(now);
        } else {
            self.raw.ping();
        }
    }

    /// Begins a round of the lease; answers its number.
    fn begin_round(&mut self, now: MonoUs) -> u64 {
        let round = self.lease.send(now);
        self.raw.read_index(round.to_le_bytes().to_vec());
        round
    }

    // --- entries -------------------------------------------------------------------------------

    /// Whether another entry may be proposed now: this replica leads (who does not passes a proposal on), and there are not too many that are not committed. While there are,
    /// changes gather, and become one entry.
    pub(crate) fn may_propose(&self) -> bool {
        // After one that was refused nothing may follow: the keyspace has changes that no entry tells of.
        let is_leader = self.is_serving() && self.is_leader() && !self.is_tainted;
        let has_room = self.last().0 - self.committed().0 < REPLICA_ENTRY_WINDOW;
        // A snapshot that has seen more than there is an entry for ends when there is one, and nothing may be committed
        // before that.
        let is_awaited = self.outgoing.as_ref().is_some_and(|it| it.has_seen_beyond(self.last()));
        is_leader && (has_room || is_awaited || self.leaving_until.is_some())
    }

    /// Makes changes the next entry; false if this replica turns out not to lead any more.
    pub(crate) fn propose(&mut self, changes: Vec<u8>) -> bool {
        let before = self.last();
        let is_taken = self.raw.propose(Vec::new(), changes).is_ok() && self.last() > before;
        if is_taken {
            self.applied = self.last();
        } else {
            self.is_tainted = true;
        }
        is_taken
    }

    /// The next entry that the keyspace is to see, and whether a snapshot may have seen it; on who does not serve.
    pub(crate) fn next_to_apply(&self) -> Option<(Bytes, bool)> {
        let next = LogIndex(self.applied.0 + 1);
        if self.is_tainted || self.staging.is_some() || next > self.committed() {
            return None;
        }
        let entry = self.raw.store().get(next)?;
        let data = if entry.data.is_empty() {
            Bytes::from_static(&NO_CHANGES)
        } else {
            entry.data.clone()
        };
        Some((data, next <= self.overlap))
    }

    /// The keyspace has seen it; or it made no sense, so that the keyspace is of no use any more.
    pub(crate) fn note_applied(&mut self, made_sense: bool) {
        self.applied.0 += 1;
        self.is_tainted |= !made_sense;
    }

    /// How much the keyspace has seen, and the term of that; nothing where it can't be told.
    pub(crate) fn seen_by_keyspace(&self) -> Option<(LogIndex, Term)> {
        let is_whole = !self.is_tainted && self.applied >= self.overlap;
        let term = self.raw.store().term_of(self.applied)?;
        is_whole.then_some((self.applied, term))
    }

    /// Whether another part of a snapshot for another replica is to be made now.
    pub(crate) fn wants_part(&self) -> bool {
        self.outgoing.as_ref().is_some_and(Outgoing::wants_part)
    }

    /// Forgets entries that others need not be sent any more, or that are too many to keep.
    fn trim(&mut self) {
        // The crate looks through what it does not count as applied before it stands for election.
        let applied = LogIndex(self.raw.raft.raft_log.applied());
        let mut kept = self.applied.min(self.committed()).min(applied);
        // Who waits for a snapshot does not know yet which entry it begins behind.
        let waits = self.is_tainted || self.staging.is_some();
        let bytes_max = if waits { REPLICA_PINNED_BYTES_MAX } else { self.options.tail_bytes_max };
        if let Some(outgoing) = &self.outgoing {
            kept = kept.min(outgoing.begins());
        }
        self.raw.mut_store().trim(kept, bytes_max);
    }

    // --- what is on disk -----------------------------------------------------------------------

    /// Somebody waits for a quorum to have this entry on disk.
    pub(crate) fn want_sync(&mut self, index: LogIndex) {
        self.sync_wanted = self.sync_wanted.max(index);
    }

    /// This replica's log is on disk up to here: tells the leader, or asks others for the same.
    fn tell_synced(&mut self) {
        let term = self.term();
        if self.is_leader() {
            let wanted = self.sync_wanted.min(self.last());
            if wanted > self.sync_asked {
                self.sync_asked = wanted;
                for node in self.others() {
                    self.outbox.push((node, Body::WantSync { term, index: wanted }));
                }
            }
            return;
        }
        let leader = NodeId(self.raw.raft.leader_id);
        let (of, agreed) = self.agreed;
        let synced = agreed.min(self.durable);
        if leader.0 != 0 && of == term && self.synced_told != (term, synced) {
            self.synced_told = (term, synced);
            self.outbox.push((leader, Body::Synced { term, index: synced }));
        }
    }

    // --- messages ------------------------------------------------------------------------------

    /// Takes in what another replica says. Answers a record that somebody wants to be on disk, if that is it.
    pub(crate) fn receive(&mut self, from: NodeId, body: Body, now: MonoUs) -> Option<LogIndex> {
        if self.has_failed {
            return None;
        }
        match body {
            Body::Raft(message) => self.step(from, *message),
            Body::Synced { term, index } => {
                if term == self.term() && self.is_leader() {
                    self.synced.insert(from, index);
                }
            }
            Body::WantSync { term, index } => {
                let is_leader = from.0 == self.raw.raft.leader_id;
                self.synced_told.0 = Term(0);
                return Some(index).filter(|_| is_leader && term == self.term());
            }
            Body::Restarted { term, last } => self.note_restarted(from, (term, last), now),
            Body::Begun => self.note_begun(from),
            Body::CatchUp { term, index } => self.note_goal(from, term, index),
            Body::SnapshotWanted { term } => self.begin_transfer(from, term),
            Body::FreshAsk { term, number } => self.note_fresh_ask(from, term, number, now),
            Body::FreshAnswer { term, number, index } => {
                self.note_fresh_answer((term, number, index), now);
            }
            // The shard's, which has the keyspace: `take_piece`.
            Body::Snapshot(_) => {}
            // An operator's, which wait with others: `ReplicaRequest`.
            Body::LeadWanted { .. } | Body::JoinWanted { .. } => {}
            Body::Configuration(theirs) => self.compare_configurations(from, theirs),
            Body::NoRoom { term } => self.note_no_room(from, term),
            Body::SnapshotTaken { number, pieces } => {
                if let Some(outgoing) = self.outgoing.as_mut().filter(|it| it.is(from, number)) {
                    outgoing.taken(pieces, now);
                }
            }
        }
        None
    }

    fn step(&mut self, from: NodeId, mut message: eraftpb::Message) {
        let kind = message.get_msg_type();
        let asks_for_vote =
            matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        if matches!(kind, MessageType::MsgAppend | MessageType::MsgHeartbeat) {
            if self.is_deaf_to(from, Term(message.term)) {
                return;
            }
            self.tell_doubt_to(from, Term(message.term));
        }
        if asks_for_vote && !self.doubt.may_vote() {
            return;
        }
        let may_lead = || self.can_serve() && self.doubt.may_vote() && self.may_campaign();
        if kind == MessageType::MsgTimeoutNow && !may_lead() {
            return;
        }
        if kind == MessageType::MsgHeartbeat && self.doubt.was_doubtful {
            // It may count on what this replica had told it before, which is lost: here may be other entries.
            let agreed = self.agreed_in(Term(message.term));
            message.commit = message.commit.min(agreed.max(self.committed()).0);
        }
        if guard::denies_committed(&self.raw, &message) {
            return self.begin_afresh();
        }
        if guard::is_beyond(&self.raw, &message) {
            self.outbox.push((from, self.goal()));
            return;
        }
        if !guard::is_plausible(&self.raw, from, &message) {
            tracing::debug!(shard = self.shard.0, node = from.0, ?kind, "a message can't be true");
            return;
        }
        if asks_for_vote {
            // Who asks for votes is in doubt no more.
            self.doubt.believe(from);
        }
        let is_promised = asks_for_vote && self.promised_ticks > 0;
        if is_promised && message.context != raft::CAMPAIGN_TRANSFER {
            return;
        }
        let is_sign = matches!(kind, MessageType::MsgAppend | MessageType::MsgHeartbeat);
        let term = message.term;
        self.note_answer(from, kind, Term(term));
        // A message that is late changes nothing; what else it says is the crate's to judge.
        let _ = self.raw.step(message);
        if is_sign && term == self.raw.raft.term && self.raw.raft.leader_id == from.0 {
            // As long as the crate keeps a promise itself, where it has not forgotten whom it follows.
            self.promised_ticks = self.election_ticks - 1;
        }
        self.set_timeout();
    }

    /// The link to a node is down.
    pub(crate) fn note_unreachable(&mut self, node: NodeId) {
        if self.is_leader() && self.raw.raft.prs().get(node.0).is_some() {
            self.raw.report_unreachable(node.0);
        }
    }

    /// What is to be sent, in order.
    pub(crate) fn take_messages(&mut self) -> Vec<(NodeId, Body)> {
        std::mem::take(&mut self.outbox)
    }
}

/// Raft over a tail, of which the keyspace has seen all up to `applied`.
fn raw_node(
    options: &ReplicaOptions,
    election_ticks: u64,
    applied: LogIndex,
    tail: Tail,
) -> Result<RawNode<Tail>, String> {
    let election_tick = usize::try_from(election_ticks).unwrap_or(usize::MAX / 4);
    let config = raft::Config {
        id: options.node.0,
        election_tick,
        // Rounds of the lease are the heartbeats; the crate's own come where there are none.
        heartbeat_tick: election_tick - 1,
        applied: applied.0,
        max_size_per_msg: REPLICA_BATCH_BYTES_MAX,
        max_inflight_msgs: MESSAGES_IN_FLIGHT,
        check_quorum: true,
        pre_vote: true,
        // A commit is told with the next entry, or the next heartbeat.
        skip_bcast_commit: true,
        // The crate would add entries to a message that names another entry before them.
        batch_append: false,
        ..raft::Config::default()
    };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    RawNode::new(&config, tail, &logger).map_err(|error| error.to_string())
}

/// Raft's ticks in a heartbeat.
pub const TICKS_PER_HEARTBEAT: u64 = 2;
/// Messages with entries that a follower is sent ahead of its answers.
const MESSAGES_IN_FLIGHT: usize = 256;
/// Entries by which a replica may be behind and still be given leadership.
const SLACK: u64 = 64;

fn raft_hard_state(state: &HardState, applied: LogIndex) -> eraftpb::HardState {
    eraftpb::HardState {
        term: state.term.0,
        vote: state.vote.map_or(0, |node| node.0),
        commit: state.commit.max(applied).0,
        ..eraftpb::HardState::default()
    }
}

fn conf_state(configuration: &Configuration) -> ConfState {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<u64>>();
    ConfState::from((ids(&configuration.voters), ids(&configuration.learners)))
}

fn raft_entry(index: LogIndex, entry: LogEntry) -> Entry {
    let LogEntry { term, kind, payload } = entry;
    let (index, term) = (index.0, term.0);
    match kind {
        RecordKind::Configuration => Entry { index, term, ..configuration_entry(payload) },
        _ => Entry { index, term, data: payload, ..Entry::default() },
    }
}

/// Spreads the bits of a number (SplitMix64, Steele et al. 2014).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
