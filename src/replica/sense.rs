//! What messages can say at all, whatever the state of who hears them. The `raft` crate trusts its peers: it
//! panics on entries with gaps, on a message without a term that belongs to one, on impossible sets of voters.
//! So what no replica would say ends the link instead (`runtime::links`). What is wrong only beside the state
//! of the replica, such as a commit index beyond its log, is the replica's to judge.

use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType};

use super::message::{Body, Fault, SnapshotContent, SnapshotPiece};
use crate::limits::{NODE_ID_MAX, NODES_MAX, REPLICA_CONTEXT_BYTES_MAX, REPLICA_NUMBERS_END};
use crate::log::{Configuration, Version};

/// Whether a replica could say this to another.
pub(super) fn check(body: &Body) -> Result<(), Fault> {
    let is_possible = match body {
        Body::Raft(message) => is_possible_message(message),
        Body::Synced { term, index }
        | Body::WantSync { term, index }
        | Body::Restarted { term, last: index }
        | Body::CatchUp { term, index } => are_numbers(&[term.0, index.0]),
        Body::Begun => true,
        Body::SnapshotWanted { term }
        | Body::LeadWanted { term }
        | Body::JoinWanted { term }
        | Body::NoRoom { term } => are_numbers(&[term.0]),
        Body::Snapshot(piece) => is_possible_piece(piece),
        Body::SnapshotTaken { number, pieces } => are_numbers(&[*number, *pieces]),
        Body::Configuration(configuration) => is_possible_configuration(configuration),
        Body::FreshAsk { term, number } => are_numbers(&[term.0, *number]),
        Body::FreshAnswer { term, number, index } => are_numbers(&[term.0, *number, index.0]),
    };
    if is_possible { Ok(()) } else { Err(Fault::Field) }
}

fn are_numbers(numbers: &[u64]) -> bool {
    numbers.iter().all(|number| *number < REPLICA_NUMBERS_END)
}

fn is_possible_message(message: &Message) -> bool {
    let numbers = [
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.request_snapshot,
        message.reject_hint,
    ];
    let (from, to, kind) = (message.from, message.to, message.msg_type);
    are_numbers(&numbers)
        && is_node(from)
        && is_node(to)
        && from != to
        && message.context.len() <= REPLICA_CONTEXT_BYTES_MAX
        && has_its_term(message)
        && message.snapshot.is_some() == (kind == MessageType::MsgSnapshot)
        && match kind {
            MessageType::MsgAppend => is_possible_append(message),
            MessageType::MsgSnapshot => is_possible_snapshot(message),
            MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => {
                message.entries.len() == 1 && message.entries.iter().all(is_read)
            }
            MessageType::MsgAppendResponse
            | MessageType::MsgRequestVote
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgHeartbeat
            | MessageType::MsgHeartbeatResponse
            | MessageType::MsgTimeoutNow
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestPreVoteResponse => message.entries.is_empty(),
            // A replica says these to itself. One that does not lead would panic on being asked to hand its
            // lead over, and a proposal has passed no check of ours.
            MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgPropose
            | MessageType::MsgUnreachable
            | MessageType::MsgSnapStatus
            | MessageType::MsgCheckQuorum
            | MessageType::MsgTransferLeader => false,
        }
}

/// A message without a term counts as the replica's own, whatever it asks for; only a read has none, and one
/// with a term can't be passed on to the leader. Nobody's log has entries of terms that he has not heard of.
fn has_its_term(message: &Message) -> bool {
    if message.msg_type == MessageType::MsgReadIndex {
        return message.term == 0;
    }
    message.term > 0 && message.log_term <= message.term && message.commit_term <= message.term
}

/// Entries follow the one that the message names, and one another.
fn is_possible_append(message: &Message) -> bool {
    let mut last = (message.index, message.log_term);
    let is_anchored = message.index > 0 || message.log_term == 0;
    let follow = message.entries.iter().all(|entry| {
        let (index, term) = last;
        last = (entry.index, entry.term);
        entry.index == index + 1
            && entry.index < REPLICA_NUMBERS_END
            && entry.term >= term
            && is_possible_entry(entry)
    });
    is_anchored && follow && last.1 <= message.term
}

/// Changes, or a configuration.
fn is_possible_entry(entry: &Entry) -> bool {
    match entry.entry_type {
        EntryType::EntryNormal => entry.context.is_empty(),
        EntryType::EntryConfChange => {
            entry.data.is_empty()
                && Configuration::decode(Version::default(), &entry.context)
                    .is_some_and(|it| !it.voters.is_empty())
        }
        EntryType::EntryConfChangeV2 => false,
    }
}

/// The entry by which a read is told from others.
fn is_read(entry: &Entry) -> bool {
    entry.entry_type == EntryType::EntryNormal
        && (entry.index, entry.term) == (0, 0)
        && entry.context.is_empty()
        && entry.data.len() <= REPLICA_CONTEXT_BYTES_MAX
}

fn is_possible_snapshot(message: &Message) -> bool {
    let snapshot = message.get_snapshot();
    let metadata = snapshot.get_metadata();
    message.entries.is_empty()
        && snapshot.data.is_empty()
        && (1..REPLICA_NUMBERS_END).contains(&metadata.index)
        && metadata.term <= message.term
        && is_possible_state(metadata.get_conf_state())
}

/// Whether these sets can be those of a group: none twice, voters that don't learn, and who is to learn next
/// among those that still vote.
fn is_possible_state(state: &ConfState) -> bool {
    let voters = &state.voters[..];
    let (outgoing, learners, next) =
        (&state.voters_outgoing[..], &state.learners[..], &state.learners_next[..]);
    let votes = |id: &u64| voters.contains(id) || outgoing.contains(id);
    let is_joint = !outgoing.is_empty();
    !voters.is_empty()
        && [voters, outgoing, learners, next].into_iter().all(are_nodes)
        && !learners.iter().any(votes)
        && next.iter().all(|id| outgoing.contains(id) && !voters.contains(id))
        && (is_joint || !state.auto_leave)
}

/// Nodes, none of them twice.
fn are_nodes(ids: &[u64]) -> bool {
    let is_new = |(at, id): (usize, &u64)| is_node(*id) && !ids[..at].contains(id);
    ids.len() <= NODES_MAX && ids.iter().enumerate().all(is_new)
}

fn is_node(id: u64) -> bool {
    (1..=NODE_ID_MAX).contains(&id)
}

fn is_possible_configuration(configuration: &Configuration) -> bool {
    let (term, index) = configuration.version;
    are_numbers(&[term.0, index.0]) && configuration.is_possible()
}

fn is_possible_piece(piece: &SnapshotPiece) -> bool {
    let is_possible = match &piece.content {
        SnapshotContent::Part(_) => true,
        SnapshotContent::End { index, term, seen, entries, configuration } => {
            are_numbers(&[index.0, term.0, seen.0, *entries])
                && term.0 <= piece.term.0
                && !configuration.voters.is_empty()
                && is_possible_configuration(configuration)
        }
    };
    is_possible && are_numbers(&[piece.term.0, piece.number, piece.place])
}
