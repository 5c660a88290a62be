//! The `raft` crate, as it is set up here.

use raft::eraftpb::{ConfState, Message, MessageType};

use super::message::Body;
use super::tail::Tail;
use super::{LogEntry, NO_CHANGES, Replica, ReplicaOptions, Restored, raw_node, sense};
use crate::log::{Configuration, HardState, RecordKind, RecordStart, Version};
use crate::types::{ByteOffset, LogIndex, MonoUs, NodeId, SegmentId, ShardId, Term};

/// What a replica of tests is started with.
pub(crate) const OPTIONS: ReplicaOptions = ReplicaOptions {
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

/// A leader that knows by its hard state who takes part, and does not see the entry that brought it.
fn leader_that_knows_of(version: Version) -> Replica {
    let mut hard_state = HardState::first((ShardId(0), [7; 16]), NodeId(1), vec![NodeId(1)]);
    hard_state.term = Term(1);
    hard_state.configuration =
        Configuration { version, learners: vec![NodeId(2)], ..hard_state.configuration };
    let applied = (LogIndex(3), Term(1));
    let restored = Restored { hard_state, applied, entries: Vec::new(), is_doubtful: false };
    let mut leader = Replica::new(ShardId(0), OPTIONS, restored).unwrap();
    for turn in 1..100 {
        leader.tick(MonoUs(turn * 25_000));
        leader.advance(leader.last());
        leader.begin_reign();
        if leader.wants_configuration() {
            leader.propose_configuration();
        }
        leader.advance(leader.last());
        leader.take_orders();
        while leader.next_to_apply().is_some() {
            leader.note_applied(true);
        }
        if leader.take_hard_state().is_some() {
            leader.hard_state_saved(true);
        }
        leader.take_messages();
    }
    leader
}

/// The power of all failed when some had come to know a configuration whose entry was on no disk yet. What stands at its
/// index, or would, is another entry: before the next change it becomes one again, once.
#[test]
fn a_configuration_whose_entry_is_not_at_hand_becomes_an_entry_again() {
    for lost in [9, 1] {
        let leader = leader_that_knows_of((Term(1), LogIndex(lost)));
        assert!(leader.is_serving(), "of {lost}");
        let Configuration { version, voters, learners, .. } = leader.configuration();
        assert_eq!((&voters[..], &learners[..]), (&[NodeId(1)][..], &[NodeId(2)][..]));
        // Behind the three before and the one that its term begins with.
        assert_eq!(*version, (leader.term(), LogIndex(5)), "of {lost}");
        assert_eq!(leader.last(), LogIndex(5), "of {lost}");
    }
}
