//! The `raft` crate, as it is set up here.

use raft::eraftpb::{ConfState, HardState, Message, MessageType};

use super::message::Body;
use super::tail::Tail;
use super::{ReplicaOptions, raw_node, sense};
use crate::types::{LogIndex, NodeId, Term};

/// Two answers of a follower that has lost its log, heard in one turn: it has nothing of what was probed, and it is
/// probed again.
#[test]
fn entries_follow_the_one_that_their_message_names() {
    let options = ReplicaOptions {
        node: NodeId(1),
        heartbeat_ms: 50,
        election_timeout_ms: 300,
        tail_bytes_max: 1 << 20,
    };
    let voters = ConfState::from((vec![1, 2, 3], Vec::new()));
    let tail = Tail::new((LogIndex(0), Term(0)), HardState::default(), voters);
    let mut leader = raw_node(&options, 12, LogIndex(0), tail).unwrap();
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
