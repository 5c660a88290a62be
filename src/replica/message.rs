//! What replicas of a shard tell each other, as bytes.

use bytes::Bytes;
use raft::eraftpb;

use crate::log::Configuration;
use crate::types::{LogIndex, NodeId, ShardId, Term};

/// A message between two replicas of a shard.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardMessage {
    /// The shard.
    pub shard: ShardId,
    /// What is said.
    pub body: Body,
}

impl ShardMessage {
    /// Whether what is in it names no other sender and receiver than those whom it was sent by and to.
    pub fn is_between(&self, from: NodeId, to: NodeId) -> bool {
        match &self.body {
            Body::Raft(message) => (message.from, message.to) == (from.0, to.0),
            Body::Synced { .. }
            | Body::WantSync { .. }
            | Body::Restarted { .. }
            | Body::Begun
            | Body::CatchUp { .. }
            | Body::SnapshotWanted { .. }
            | Body::Snapshot(_)
            | Body::SnapshotTaken { .. }
            | Body::Configuration(_)
            | Body::LeadWanted { .. }
            | Body::JoinWanted { .. }
            | Body::FreshAsk { .. }
            | Body::FreshAnswer { .. }
            | Body::NoRoom { .. } => true,
        }
    }
}

/// What a replica tells another.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A message of Raft's.
    Raft(Box<eraftpb::Message>),
    /// How far the sender is on disk with entries that it has from the leader of this term.
    Synced {
        /// The term.
        term: Term,
        /// The last entry that is on disk, as is all before it.
        index: LogIndex,
    },
    /// Somebody waits for all entries up to this one to be on disk.
    WantSync {
        /// The term.
        term: Term,
        /// The entry.
        index: LogIndex,
    },
    /// The sender has been started anew: of what it had told this term's leader to have, only entries up to this
    /// one are sure to be here.
    Restarted {
        /// Its term.
        term: Term,
        /// Its last entry.
        last: LogIndex,
    },
    /// The sender found nothing when it was started, and so did all others: the shard is new.
    Begun,
    /// The answer to `Restarted`: the leader of this term had entries up to this one when it heard of it.
    CatchUp {
        /// The term.
        term: Term,
        /// The entry.
        index: LogIndex,
    },
    /// The sender needs a snapshot: its keyspace has seen what never happened.
    SnapshotWanted {
        /// Its term.
        term: Term,
    },
    /// A piece of a snapshot of the shard.
    Snapshot(SnapshotPiece),
    /// How many pieces of a snapshot have been taken in.
    SnapshotTaken {
        /// The snapshot's number.
        number: u64,
        /// Pieces.
        pieces: u64,
    },
    /// The operator of the sender's node would have it lead, in place of the leader of this term.
    LeadWanted {
        /// The term.
        term: Term,
    },
    /// He would have it take part.
    JoinWanted {
        /// The term, as far as it is known.
        term: Term,
    },
    /// Who takes part, as far as the sender knows for sure: it hears of no leader, or the receiver knew less.
    Configuration(Configuration),
    /// Which entries are committed as of now? The sender wants to answer reads.
    FreshAsk {
        /// The term of the leader that is asked.
        term: Term,
        /// The question's number.
        number: u64,
    },
    /// The answer: all that had been committed when the leader was asked are entries up to this one.
    FreshAnswer {
        /// The leader's term.
        term: Term,
        /// The question's number.
        number: u64,
        /// The entry.
        index: LogIndex,
    },
    /// The sender's log takes no writes now, for want of room: it had better not lead.
    NoRoom {
        /// Its term.
        term: Term,
    },
}

/// A piece of a snapshot that a leader sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPiece {
    /// The leader's term.
    pub term: Term,
    /// Tells the snapshots of a term apart.
    pub number: u64,
    /// Its place in the snapshot, from 0 on.
    pub place: u64,
    /// What is in it.
    pub content: SnapshotContent,
}

/// What is in a piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotContent {
    /// Entries of the keyspace, as in a snapshot on disk.
    Part(Bytes),
    /// The end.
    End {
        /// The snapshot is of the log up to this entry, ...
        index: LogIndex,
        /// ... which has this term, ...
        term: Term,
        /// ... but some of it has seen entries up to this one.
        seen: LogIndex,
        /// Entries of the keyspace that were sent.
        entries: u64,
        /// Who takes part, as of `index` or later.
        configuration: Configuration,
    },
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// They end too early, or go on behind the end.
    #[error("the message has another length than it says")]
    Length,
    /// A number stands for nothing.
    #[error("the message has a field that makes no sense")]
    Field,
}
