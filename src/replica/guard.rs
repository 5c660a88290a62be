//! What a message of Raft's must fulfil before the `raft` crate sees it: that crate takes messages for those of
//! a correct program and panics where they can't be. A peer is authenticated, but may be broken, or may have been
//! started anew without its last entries.

use raft::eraftpb::{EntryType, Message, MessageType};
use raft::{RawNode, StateRole};

use super::tail::Tail;
use crate::types::{LogIndex, NodeId};

/// Whether a message from a node can be true, as far as this replica can tell.
pub(super) fn is_plausible(raw: &RawNode<Tail>, from: NodeId, message: &Message) -> bool {
    let raft = &raw.raft;
    if message.from != from.0 || message.to != raft.id || message.term == 0 {
        return false;
    }
    let is_ours = message.term == raft.term;
    let (last, committed) = (raft.raft_log.last_index(), raft.raft_log.committed);
    match message.get_msg_type() {
        MessageType::MsgAppend => {
            // There is one leader a term.
            let is_alone = !(is_ours && raft.state == StateRole::Leader);
            is_alone && is_consistent(raw, message)
        }
        MessageType::MsgHeartbeat => {
            let is_alone = !(is_ours && raft.state == StateRole::Leader);
            is_alone && (message.term < raft.term || message.commit <= last)
        }
        MessageType::MsgAppendResponse => {
            let is_known = raft.prs().get(from.0).is_some();
            is_known && message.index <= last.max(committed) && message.reject_hint <= last
                || !is_ours
        }
        MessageType::MsgRequestVote
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgRequestPreVoteResponse
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgTimeoutNow => true,
        // Snapshots come in pieces of their own, and nobody forwards proposals or asks for an index to read at.
        MessageType::MsgSnapshot
        | MessageType::MsgTransferLeader
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp
        | MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum => false,
    }
}

/// Whether a leader has other entries where some are committed here. Entries that a quorum had in memory were
/// committed; if a quorum has crashed, others may have been elected without them.
pub(super) fn denies_committed(raw: &RawNode<Tail>, message: &Message) -> bool {
    let log = &raw.raft.raft_log;
    if message.get_msg_type() != MessageType::MsgAppend
        || message.term < raw.raft.term
        || message.term == raw.raft.term && raw.raft.state == StateRole::Leader
    {
        return false;
    }
    let is_other = |index: u64, term: u64| {
        let here = if index <= log.committed { log.term(index) } else { Ok(0) };
        // The term of what is not in memory any more is told as 0.
        here.is_ok_and(|here| here != 0 && here != term)
    };
    let of_committed = raw.store().term_of(LogIndex(log.committed)).unwrap_or_default();
    is_other(message.index, message.log_term)
        || message.entries.iter().any(|entry| is_other(entry.index, entry.term))
        || message.index >= log.committed && message.log_term < of_committed.0
}

/// Whether a follower has more committed than this leader has at all, for the same reason.
pub(super) fn is_beyond(raw: &RawNode<Tail>, message: &Message) -> bool {
    message.get_msg_type() == MessageType::MsgAppendResponse
        && raw.raft.state == StateRole::Leader
        && message.term == raw.raft.term
        && !message.reject
        && message.index > raw.raft.raft_log.last_index()
}

/// Whether entries agree with what is committed here.
fn is_consistent(raw: &RawNode<Tail>, message: &Message) -> bool {
    let log = &raw.raft.raft_log;
    if message.term < raw.raft.term {
        return true;
    }
    let mut previous = message.index;
    for entry in &*message.entries {
        let follows = entry.index == previous + 1 && entry.term <= message.term;
        if !follows || entry.get_entry_type() == EntryType::EntryConfChangeV2 {
            return false;
        }
        // The term of what is not in memory any more is told as 0.
        let is_other = entry.index <= log.committed
            && log.term(entry.index).is_ok_and(|term| term != entry.term && term != 0);
        if is_other {
            return false;
        }
        previous = entry.index;
    }
    // Terms don't fall along a log.
    let of_committed = raw.store().term_of(LogIndex(log.committed)).unwrap_or_default();
    message.index < log.committed || message.log_term >= of_committed.0
}
