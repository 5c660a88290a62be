//! What is known of a shard's replica on this node without holding the shard: whether it leads, how far its
//! log is committed, until when it may answer reads. The shard's owner publishes it whenever it steps the
//! replica; a shard that is not replicated has none.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::inbox::Inbox;
use crate::limits::REPLICA_REQUESTS_MAX;
use crate::metrics::lock;
use crate::plant::{Fault, is_planted};
use crate::types::{CoreId, LogIndex, MonoUs, NodeId, Term};

/// What a replica is in its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The shard is not replicated.
    #[default]
    None,
    /// It follows a leader, or waits for one.
    Follower,
    /// It does not vote, and catches up.
    Learner,
    /// It asks for votes.
    Candidate,
    /// It leads, and is not ready to serve yet.
    Elected,
    /// It leads and serves.
    Leader,
}

/// How far one of a leader's other replicas is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// On which node.
    pub node: NodeId,
    /// It has all entries up to this one.
    pub matched: LogIndex,
    /// It has all up to this one on disk.
    pub synced: LogIndex,
    /// Bytes of the snapshot sent so far, while one is being sent.
    pub snapshot_bytes: Option<u64>,
}

/// What a replica has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaState {
    /// What it is.
    pub role: Role,
    /// The current term.
    pub term: Term,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// The last entry of its log.
    pub last: LogIndex,
    /// The last entry that is known to be committed.
    pub committed: LogIndex,
    /// The last one that its keyspace has seen.
    pub applied: LogIndex,
    /// How often it has become a leader since the start.
    pub elections_won: u64,
    /// It does not vote yet: it may have lost what it had told others to have.
    pub is_in_doubt: bool,
    /// Its log takes no writes for now, as a rule because its disk is full.
    pub is_short_of_room: bool,
    /// Nodes that vote on this shard.
    pub voters: Vec<NodeId>,
    /// Nodes that only learn.
    pub learners: Vec<NodeId>,
    /// How far the others are; of a leader only.
    pub peers: Vec<PeerProgress>,
}

/// What an operator asks of a shard's replica; whether it has come to be is seen in its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaRequest {
    /// Of a replica that belongs to nobody yet: it is one of these, with which the shard begins. All of them are told.
    Found(Vec<NodeId>),
    /// Of the leader: has this node learn, and vote once it has caught up.
    Add(NodeId),
    /// Of the leader: has this node take part no more.
    Remove(NodeId),
    /// Of the leader: has this node, which votes and keeps up, lead.
    Lead(NodeId),
    /// Of a replica that takes no part any more: forgets that it ever did, its term and its vote included.
    Reset,
}

/// One shard's replica on this node, as of the last step.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ReplicaStats {
    /// Odd while this node leads the shard and serves it; it rises by one when that begins or ends. What a
    /// reply waits for belongs to one reign: see `runtime::gate`.
    reign: AtomicU64,
    /// The last entry that a quorum has.
    committed: AtomicU64,
    /// The last entry that a quorum has on disk.
    synced: AtomicU64,
    /// Nobody else can lead the shard before then, by this node's monotonic clock.
    lease_until_us: AtomicU64,
    /// The leader as far as this node knows; 0 for none.
    leader: AtomicU64,
    /// The last entry that a follower's keyspace has seen, if it may be read from; else 0.
    readable: AtomicU64,
    /// As of when a follower's keyspace has all that had been committed, by this node's monotonic clock; 0 for never.
    fresh_as_of_us: AtomicU64,
    /// When somebody last wanted to read from a follower.
    read_at_us: AtomicU64,
    /// Somebody waits for the follower's keyspace to be as of a later moment than this.
    fresh_wanted_us: AtomicU64,
    /// Cores that want to hear of news, by bit: core modulo 64.
    waiting: AtomicU64,
    state: Mutex<ReplicaState>,
    requests: Inbox<ReplicaRequest, REPLICA_REQUESTS_MAX>,
}

impl ReplicaStats {
    /// Whether the shard is replicated.
    pub fn is_replicated(&self) -> bool {
        lock(&self.state).role != Role::None
    }

    /// What the replica had come to at the last step.
    pub fn state(&self) -> ReplicaState {
        lock(&self.state).clone()
    }

    /// The nodes that take part in the shard, as of lately.
    pub fn nodes(&self) -> Vec<NodeId> {
        let state = lock(&self.state);
        state.voters.iter().chain(&state.learners).copied().collect()
    }

    /// Whether a node takes part in the shard, as of lately.
    pub fn takes_part(&self, node: NodeId) -> bool {
        let state = lock(&self.state);
        state.voters.contains(&node) || state.learners.contains(&node)
    }

    /// The node that leads the shard, as far as this one knows.
    pub fn leader(&self) -> Option<NodeId> {
        Some(NodeId(self.leader.load(Ordering::Acquire))).filter(|leader| leader.0 != 0)
    }

    /// The number of the current reign; odd if this node leads the shard and serves it.
    #[inline]
    pub fn reign(&self) -> u64 {
        self.reign.load(Ordering::SeqCst)
    }

    /// Whether this node leads the shard and serves it, as far as it knows.
    #[inline]
    pub fn is_serving(&self) -> bool {
        self.reign() % 2 == 1
    }

    /// Whether a quorum has this entry, on disk or not.
    #[inline]
    pub fn has_quorum(&self, index: LogIndex, on_disk: bool) -> bool {
        let reached = if on_disk { &self.synced } else { &self.committed };
        reached.load(Ordering::SeqCst) >= index.0 || is_planted(Fault::AcknowledgeBeforeQuorum)
    }

    /// Whether nobody else can lead the shard at `now`.
    #[inline]
    pub fn has_lease(&self, now: MonoUs) -> bool {
        let until = self.lease_until_us.load(Ordering::SeqCst);
        now.0 < until || until > 0 && is_planted(Fault::LeaseWithoutClock)
    }

    /// Whether a reply may leave that waits for a quorum.
    pub fn passage(&self, quorum: &Quorum, now: MonoUs) -> Passage {
        let has_quorum =
            self.has_quorum(quorum.index, false) && self.has_quorum(quorum.on_disk, true);
        // A lease counts if it has not run out by now, long after whatever was read was read. It takes one beside the
        // entry too: that may have reached a quorum before others elected a leader, who has answered since.
        let has_lease =
            self.has_lease(now) || quorum.index.0 > 0 && is_planted(Fault::EntryForLease);
        let is_open = has_quorum && has_lease;
        // Looked at last: what was found before belongs to this reign then, or to none.
        match self.reign() == quorum.reign {
            true if is_open => Passage::Open,
            true => Passage::Shut,
            false => Passage::Never,
        }
    }

    // --- reads on followers ----------------------------------------------------------------------

    /// Whether this node has a replica of the shard from which, once it is fresh enough, may be read.
    pub fn is_readable(&self) -> bool {
        self.readable.load(Ordering::SeqCst) > 0
    }

    /// Whether a follower's keyspace may be read from at `now`, as far as is known without holding the shard.
    pub fn is_fresh(&self, freshness: &Freshness, now: MonoUs) -> bool {
        freshness.is_met(MonoUs(self.fresh_as_of_us.load(Ordering::SeqCst)), now)
    }

    /// Whether all up to this entry is in the keyspace that reads are answered from.
    pub fn has_come_to(&self, index: LogIndex) -> bool {
        let reached = if self.is_serving() { &self.committed } else { &self.readable };
        let has_come = reached.load(Ordering::SeqCst) >= index.0;
        index.0 == 0 || has_come || is_planted(Fault::ForgetToken)
    }

    /// Somebody reads from this follower, or wants to.
    #[inline]
    pub fn note_read(&self, now: MonoUs) {
        self.read_at_us.fetch_max(now.0, Ordering::Relaxed);
    }

    /// Somebody waits for the follower's keyspace to be as of a later moment than this.
    pub fn want_fresh(&self, since: MonoUs) {
        self.fresh_wanted_us.fetch_max(since.0, Ordering::SeqCst);
    }

    /// As of when the follower's keyspace is to be at least, if anybody reads from it: now and then while reads come
    /// that may be behind by `lag_us`, and later where somebody waits.
    pub fn fresh_wanted(&self, now: MonoUs, lag_us: u64) -> Option<MonoUs> {
        let read_at = self.read_at_us.load(Ordering::Relaxed);
        if read_at == 0 {
            return None;
        }
        let comes_lately = now.0 < read_at.saturating_add(lag_us);
        let lately = if comes_lately { now.0.saturating_sub(lag_us / 2).max(1) } else { 0 };
        let wanted = self.fresh_wanted_us.load(Ordering::SeqCst).max(lately);
        (wanted > 0 && wanted >= self.fresh_as_of_us.load(Ordering::SeqCst))
            .then_some(MonoUs(wanted))
    }

    /// Asks something of the replica, which looks at it at its next tick. False if it has too much to look at.
    pub fn request(&self, request: ReplicaRequest) -> bool {
        self.requests.ask(request)
    }

    /// What has been asked since the last look.
    pub(crate) fn take_requests(&self) -> Vec<ReplicaRequest> {
        self.requests.take()
    }

    /// Asks for word to `core` when there is news. Look again afterwards: it may have been meanwhile.
    pub fn wait(&self, core: CoreId) {
        self.waiting.fetch_or(1u64 << (core.0 % 64), Ordering::SeqCst);
    }

    /// Publishes what the replica has come to; answers the cores that wait to hear of it, as bits.
    pub fn publish(&self, published: Published) -> u64 {
        let Published {
            state,
            reign,
            committed,
            synced,
            lease_until,
            leader,
            readable,
            fresh_as_of,
        } = published;
        let mut is_news = self.reign.swap(reign, Ordering::SeqCst) != reign;
        is_news |= self.committed.swap(committed.0, Ordering::SeqCst) != committed.0;
        is_news |= self.synced.swap(synced.0, Ordering::SeqCst) != synced.0;
        is_news |= self.lease_until_us.swap(lease_until.0, Ordering::SeqCst) != lease_until.0;
        is_news |= self.readable.swap(readable.0, Ordering::SeqCst) != readable.0;
        is_news |= self.fresh_as_of_us.swap(fresh_as_of.0, Ordering::SeqCst) != fresh_as_of.0;
        self.leader.store(leader.map_or(0, |leader| leader.0), Ordering::Release);
        if let Some(state) = state {
            *lock(&self.state) = state;
        }
        if is_news { self.waiting.swap(0, Ordering::SeqCst) } else { 0 }
    }
}

/// What a reply waits for that a replica gave which led its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// The reign in which it was given: when that has ended, nothing it said is certain that a quorum does not have.
    pub reign: u64,
    /// The entry that a quorum must have, beside that nobody else leads; or 0.
    pub index: LogIndex,
    /// The entry that a quorum must have on disk, or 0.
    pub on_disk: LogIndex,
}

/// Whether a reply that waits may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// All that it waits for is there.
    Open,
    /// Not yet.
    Shut,
    /// Something never will be.
    Never,
}

/// What is published of a replica.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// For who wants to know it all; not every time.
    pub state: Option<ReplicaState>,
    /// Odd while it leads and serves.
    pub reign: u64,
    /// The last entry that a quorum has.
    pub committed: LogIndex,
    /// The last entry that a quorum has on disk.
    pub synced: LogIndex,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// Nobody else can lead before then.
    pub lease_until: MonoUs,
    /// The last entry that a follower's keyspace has seen, if it may be read from; else 0.
    pub readable: LogIndex,
    /// As of when a follower's keyspace has all that had been committed, or 0.
    pub fresh_as_of: MonoUs,
}

/// How fresh a follower's keyspace must be for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// It has all that had been committed at some moment later than this, ...
    pub since: MonoUs,
    /// ... and no longer ago than this, when it has been read.
    pub lag_us: u64,
}

impl Freshness {
    /// Whether a keyspace that has all that had been committed at `as_of` is fresh enough, at `now`.
    #[inline]
    pub fn is_met(&self, as_of: MonoUs, now: MonoUs) -> bool {
        as_of > self.since && now.0 <= as_of.0.saturating_add(self.lag_us)
    }
}
