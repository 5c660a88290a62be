//! The `raft` crate, as it is set up here.

use raft::eraftpb::{ConfState, Message, MessageType};

use super::message::Body;
use super::tail::Tail;
use super::{LogEntry, NO_CHANGES, Replica, ReplicaOptions, Restored, raw_node, sense};
use crate::log::{HardState, RecordKind, RecordStart};
use crate::types::{ByteOffset, LogIndex, NodeId, SegmentId, ShardId, Term};

const OPTIONS: ReplicaOptions = ReplicaOptions {
    node: NodeId(1),
    heartbeat_ms: 50,
    election_timeout_ms: 300,
    snapshot_patience_ms: 600,
    tail_bytes_max: 1 << 20,
};

/// The power failed when an entry was on disk, and the term was not in which it came.
#[test]
fn no_replica_is_in_an_earlier_term_than_its_log() {
    let voters = vec![NodeId(1), NodeId(2), NodeId(3)];
    let start = RecordStart { index: LogIndex(1), segment: SegmentId(1), at: ByteOffset(64) };
    let payload = bytes::Bytes::from_static(&NO_CHANGES);
    let entry = LogEntry { term: Term(4), kind: RecordKind::Entry, payload };
    let restored = Restored {
        hard_state: HardState::first((ShardId(0), [7; 16]), NodeId(1), voters),
        applied: (LogIndex(0), Term(0)),
        entries: vec![(start, entry)],
        is_doubtful: true,
    };
    let replica = Replica::new(ShardId(0), OPTIONS, restored).unwrap();
    assert_eq!((replica.term(), replica.last()), (Term(4), LogIndex(1)));
}

/// Two answers of a follower that has lost its log, heard in one turn: it has nothing of what was probed, and it is
/// probed again.
#[test]
fn entries_follow_the_one_that_their_message_names() {
    let voters = ConfState::from((vec![1, 2, 3], Vec::new()));
    let nothing = raft::eraftpb::HardState::default();
    let tail = Tail::new((LogIndex(0), Term(0)), nothing, voters);
    let mut leader = raw_node(&OPTIONS, 12, LogIndex(0), tail).unwrap();
    let mut messages = Vec::new();
    let mut turn = |leader: &mut raft::RawNode<Tail>, heard: &[Message]| {
        heard.iter().for_each(|message| leader.step(message.clone()).unwrap());
        while leader.has_ready() {
            let mut ready = leader.ready();
            for entry in ready.take_entries() {
                leader.mut_store().push(entry);
            }
            if let Some(state) = ready.hs() {
                let state = state.clone();
                leader.mut_store().set_hard_state(&state);
            }
            messages.extend(ready.take_messages());
            messages.extend(ready.take_persisted_messages());
            leader.advance(ready);
        }
    };
    let answer = |msg_type, from, term, index| Message {
        msg_type,
        from,
        to: 1,
        term,
        index,
        ..Message::default()
    };
    leader.campaign().unwrap();
    turn(&mut leader, &[]);
    turn(&mut leader, &[answer(MessageType::MsgRequestPreVoteResponse, 3, 1, 0)]);
    turn(&mut leader, &[answer(MessageType::MsgRequestVoteResponse, 3, 1, 0)]);
    assert_eq!(leader.raft.state, raft::StateRole::Leader);
    for _ in 0..9 {
        leader.propose(Vec::new(), vec![0; 10]).unwrap();
        turn(&mut leader, &[]);
    }
    turn(&mut leader, &[answer(MessageType::MsgAppendResponse, 2, 1, 10)]);
    leader.report_unreachable(2);
    let probe = answer(MessageType::MsgHeartbeatResponse, 2, 1, 0);
    let rejected = Message {
        reject: true,
        reject_hint: 0,
        ..answer(MessageType::MsgAppendResponse, 2, 1, 10)
    };
    if let Some(progress) = leader.raft.mut_prs().get_mut(2) {
        progress.matched = 0;
    }
    turn(&mut leader, &[probe, rejected]);
    for message in messages {
        let body = Body::Raft(Box::new(message));
        assert_eq!(sense::check(&body), Ok(()), "{body:?}");
    }
}
