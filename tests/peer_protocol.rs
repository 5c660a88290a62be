//! The messages of `docs/peer-protocol.md` against the code: what each block of bytes means is written down
//! here; messages come back as they went; bytes changed at random are refused or understood, never a panic.
//! `RINGMAIN_FUZZ_ITERATIONS` makes the last longer, `RINGMAIN_FUZZ_SEED` different.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use bytes::Bytes;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot};
use ringmain::log::Configuration;
use ringmain::replica::{Body, Fault, ShardMessage, SnapshotContent, SnapshotPiece};
use ringmain::types::{LogIndex, NodeId, ShardId, Term};

mod harness;
#[path = "feed/peer.rs"]
mod peer;

use harness::number_from_env;
use harness::random::Random;
use peer::{block, check_message};

/// A message of Raft's from node 1.
fn raft(kind: MessageType, to: u64, term: u64) -> Message {
    let mut message = Message::new();
    (message.msg_type, message.to, message.from, message.term) = (kind, to, 1, term);
    message
}

fn entry(index: u64, term: u64, data: &[u8]) -> Entry {
    let mut entry = Entry::new();
    (entry.index, entry.term, entry.data) = (index, term, Bytes::copy_from_slice(data));
    entry
}

fn of_shard(shard: u16, message: Message) -> ShardMessage {
    ShardMessage { shard: ShardId(shard), body: Body::Raft(Box::new(message)) }
}

fn golden() -> Vec<(&'static str, ShardMessage)> {
    let mut heartbeat = raft(MessageType::MsgHeartbeat, 2, 7);
    heartbeat.commit = 41;
    let mut append = raft(MessageType::MsgAppend, 3, 7);
    (append.log_term, append.index, append.commit, append.priority) = (6, 41, 40, -1);
    append.context = Bytes::from_static(b"cx");
    let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    let configuration = Configuration {
        version: (Term(4), LogIndex(9)),
        voters: nodes(&[1, 2]),
        learners: nodes(&[4]),
        heir: Some(NodeId(2)),
    };
    let mut change = entry(43, 7, b"");
    change.entry_type = EntryType::EntryConfChange;
    change.context = configuration.encode().into();
    append.entries = vec![entry(42, 7, b"hello"), change].into();
    let told = Body::Configuration(configuration.clone());
    let end = SnapshotContent::End {
        index: LogIndex(100),
        term: Term(4),
        seen: LogIndex(105),
        entries: 1_000_000,
        configuration,
    };
    let end = SnapshotPiece { term: Term(5), number: 9, place: 17, content: end };
    let synced = Body::Synced { term: Term(7), index: LogIndex(42) };
    let answer = Body::FreshAnswer { term: Term(7), number: 1 << 32 | 9, index: LogIndex(42) };
    vec![
        ("heartbeat", of_shard(3, heartbeat)),
        ("append", of_shard(256, append)),
        ("snapshot", of_shard(0, snapshot(vec![1, 2, 3], vec![4]))),
        ("snapshot-end", ShardMessage { shard: ShardId(1), body: Body::Snapshot(end) }),
        ("synced", ShardMessage { shard: ShardId(3), body: synced }),
        (
            "lead-wanted",
            ShardMessage { shard: ShardId(2), body: Body::LeadWanted { term: Term(6) } },
        ),
        (
            "join-wanted",
            ShardMessage { shard: ShardId(2), body: Body::JoinWanted { term: Term(0) } },
        ),
        ("configuration", ShardMessage { shard: ShardId(3), body: told }),
        ("fresh-answer", ShardMessage { shard: ShardId(3), body: answer }),
        ("no-room", ShardMessage { shard: ShardId(3), body: Body::NoRoom { term: Term(7) } }),
    ]
}

fn snapshot(voters: Vec<u64>, learners: Vec<u64>) -> Message {
    let mut message = raft(MessageType::MsgSnapshot, 4, 5);
    let (mut snapshot, mut state) = (Snapshot::new(), ConfState::new());
    (state.voters, state.learners) = (voters, learners);
    let metadata = snapshot.mut_metadata();
    (metadata.index, metadata.term) = (100, 4);
    metadata.set_conf_state(state);
    message.set_snapshot(snapshot);
    message
}

#[test]
fn messages_are_the_bytes_of_the_page() {
    for (name, message) in &golden() {
        let bytes = block(name);
        let mut written = Vec::new();
        message.encode(&mut written);
        assert_eq!(written, bytes, "{name}");
        assert_eq!(check_message(&bytes).as_ref(), Ok(message), "{name}");
    }
}

/// Changes one thing in a message.
type Change = fn(&mut Message);

#[test]
fn what_no_replica_says_is_refused() {
    let append = || {
        let mut message = raft(MessageType::MsgAppend, 2, 7);
        (message.index, message.log_term) = (41, 6);
        message.entries = vec![entry(42, 6, b"a"), entry(43, 7, b"b")].into();
        message
    };
    let of = |kind| raft(kind, 2, 7);
    let read = || {
        let mut message = raft(MessageType::MsgReadIndex, 2, 0);
        message.entries = vec![entry(0, 0, b"read")].into();
        message
    };
    let four = || snapshot(vec![1, 2, 3], vec![4]);
    let same: Change = |_| {};
    let rows: Vec<(Message, Change)> = vec![
        (append(), |message| message.from = 0),
        (append(), |message| message.to = 0),
        (append(), |message| message.to = 1),
        (append(), |message| message.to = (1 << 31) + 1),
        (append(), |message| message.term = 0),
        (append(), |message| message.term = 6),
        (append(), |message| message.log_term = 7),
        (append(), |message| message.index = 40),
        (append(), |message| message.index = u64::MAX),
        (append(), |message| message.commit = 1 << 63),
        (append(), |message| message.commit_term = 8),
        (append(), |message| message.entries[1].index = 42),
        (append(), |message| message.entries[1].index = 44),
        (append(), |message| message.entries[1].term = 5),
        (append(), |message| message.entries[1].term = 8),
        (append(), |message| message.entries[0].context = vec![0; 1].into()),
        (append(), |message| message.context = vec![0; 2049].into()),
        (append(), |message| message.msg_type = MessageType::MsgHeartbeat),
        (append(), |message| {
            (message.index, message.entries) = ((1 << 63) - 1, vec![entry(1 << 63, 7, b"")].into());
        }),
        (append(), |message| {
            (message.index, message.entries) = (0, vec![entry(1, 7, b"")].into());
        }),
        (append(), |message| {
            message.set_snapshot(Snapshot::new());
        }),
        (read(), |message| message.term = 1),
        (read(), |message| message.entries.clear()),
        (read(), |message| message.entries[0].index = 1),
        (four(), |message| {
            message.mut_snapshot().mut_metadata().index = 0;
        }),
        (four(), |message| {
            message.mut_snapshot().mut_metadata().term = 6;
        }),
        (snapshot(vec![], vec![4]), same),
        (snapshot(vec![1, 2, 1], vec![]), same),
        (snapshot(vec![1, 0], vec![]), same),
        (snapshot(vec![1, 2], vec![2]), same),
        (snapshot((1..130).collect(), vec![]), same),
        (four(), |message| {
            message.mut_snapshot().mut_metadata().mut_conf_state().auto_leave = true;
        }),
        (four(), |message| {
            message.mut_snapshot().mut_metadata().mut_conf_state().learners_next = vec![5];
        }),
        (of(MessageType::MsgHup), same),
        (of(MessageType::MsgBeat), same),
        (of(MessageType::MsgPropose), same),
        (of(MessageType::MsgUnreachable), same),
        (of(MessageType::MsgSnapStatus), same),
        (of(MessageType::MsgCheckQuorum), same),
        (of(MessageType::MsgTransferLeader), same),
    ];
    for (row, (mut message, change)) in rows.into_iter().enumerate() {
        change(&mut message);
        let bytes = encode_unchecked(&message);
        let decoded = ShardMessage::decode(&bytes.into());
        assert!(decoded.is_err(), "row {row}: {message:?}");
    }
    for message in [append(), read(), four()] {
        let message = of_shard(0, message);
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!(check_message(&bytes), Ok(message));
    }
}

/// A message as the page has it, whether it makes sense or not: the code asserts that it does.
fn encode_unchecked(message: &Message) -> Vec<u8> {
    let mut out = vec![0, 0, 1, u8::try_from(message.msg_type as i32).unwrap()];
    out.extend([u8::from(message.reject), 0]);
    out.extend(u16::try_from(message.context.len()).unwrap().to_le_bytes());
    out.extend(u32::try_from(message.entries.len()).unwrap().to_le_bytes());
    let numbers = [
        message.to,
        message.from,
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.request_snapshot,
        message.reject_hint,
    ];
    out.extend(numbers.into_iter().flat_map(u64::to_le_bytes));
    out.extend(message.priority.to_le_bytes());
    out.extend_from_slice(&message.context);
    if let Some(snapshot) = message.snapshot.as_ref() {
        let (metadata, state) = (snapshot.get_metadata(), snapshot.get_metadata().get_conf_state());
        out.extend([metadata.index, metadata.term].into_iter().flat_map(u64::to_le_bytes));
        out.extend([u8::from(state.auto_leave), 0]);
        let sets = [&state.voters, &state.learners, &state.voters_outgoing, &state.learners_next];
        for set in sets {
            out.extend(u16::try_from(set.len()).unwrap().to_le_bytes());
        }
        out.extend(sets.into_iter().flatten().flat_map(|id| id.to_le_bytes()));
    }
    for entry in message.entries.iter() {
        out.extend([0, 0]);
        out.extend(u16::try_from(entry.context.len()).unwrap().to_le_bytes());
        out.extend(u32::try_from(entry.data.len()).unwrap().to_le_bytes());
        out.extend([entry.term, entry.index].into_iter().flat_map(u64::to_le_bytes));
        out.extend_from_slice(&entry.context);
        out.extend_from_slice(&entry.data);
    }
    out
}

#[test]
fn counts_and_lengths_that_lie_are_refused_before_memory_is_set_aside() {
    let bytes = block("append");
    let with = |at: usize, number: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + number.len()].copy_from_slice(number);
        ShardMessage::decode(&bytes.into())
    };
    // Entries, bytes of context, bytes of the entry's content.
    assert_eq!(with(8, &u32::MAX.to_le_bytes()), Err(Fault::Length));
    assert_eq!(with(6, &u16::MAX.to_le_bytes()), Err(Fault::Length));
    assert_eq!(with(98, &u32::MAX.to_le_bytes()), Err(Fault::Length));
    for length in 0..bytes.len() {
        let part = Bytes::copy_from_slice(&bytes[..length]);
        assert!(ShardMessage::decode(&part).is_err(), "{length} bytes");
    }
}

#[test]
fn long_contents_are_not_copied_and_short_ones_do_not_keep_what_came_with_them() {
    for (length, is_shared) in [(100, false), (4096, false), (4097, true), (300_000, true)] {
        let mut message = raft(MessageType::MsgAppend, 2, 7);
        message.entries = vec![entry(1, 7, &vec![9; length])].into();
        let mut bytes = Vec::new();
        of_shard(0, message).encode(&mut bytes);
        let bytes = Bytes::from(bytes);
        let Body::Raft(decoded) = ShardMessage::decode(&bytes).unwrap().body else { panic!() };
        let data = &decoded.entries[0].data;
        assert_eq!(data.len(), length);
        let inside = bytes.as_ptr_range().contains(&data.as_ptr());
        assert_eq!(inside, is_shared, "{length} bytes");
    }
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..100u64, any::<u64>().prop_map(|number| number >> 1)]
}

fn any_bytes(length: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..length).prop_map(Bytes::from)
}

/// Entries behind `index`, with terms from `term` on; and the term of the last.
fn entries(index: u64, term: u64) -> impl Strategy<Value = (Vec<Entry>, u64)> {
    let one = (prop_oneof![Just(0), 0..6u64], 0..2u64, any_bytes(5000));
    prop::collection::vec(one, 0..6).prop_map(move |entries| {
        let mut last = (index, term);
        let entries = entries.into_iter().map(|(voters, rise, data)| {
            last = (last.0 + 1, last.1 + rise);
            if voters == 0 {
                return entry(last.0, last.1, &data);
            }
            let configuration = Configuration::first((1..=voters).map(NodeId).collect());
            let mut entry = entry(last.0, last.1, b"");
            entry.entry_type = EntryType::EntryConfChange;
            entry.context = configuration.encode().into();
            entry
        });
        (entries.collect(), last.1)
    })
}

fn append() -> impl Strategy<Value = Message> {
    let place = (1..1u64 << 62, 1..1u64 << 62);
    let place =
        place.prop_flat_map(|(index, term)| (Just(index), Just(term), entries(index, term)));
    (place, number(), any_bytes(20), any::<i64>()).prop_map(
        |((index, log_term, (entries, term)), commit, context, priority)| {
            let mut message = raft(MessageType::MsgAppend, 2, term);
            (message.index, message.log_term) = (index, log_term);
            (message.commit, message.context, message.priority) = (commit, context, priority);
            message.entries = entries.into();
            message
        },
    )
}

fn without_entries() -> impl Strategy<Value = Message> {
    let kinds = [
        MessageType::MsgAppendResponse,
        MessageType::MsgRequestVote,
        MessageType::MsgRequestVoteResponse,
        MessageType::MsgHeartbeat,
        MessageType::MsgHeartbeatResponse,
        MessageType::MsgTimeoutNow,
        MessageType::MsgRequestPreVote,
        MessageType::MsgRequestPreVoteResponse,
    ];
    let numbers = prop::array::uniform5(number());
    let terms = (number(), number(), number());
    let kind = prop::sample::select(kinds.to_vec());
    (kind, numbers, terms, any::<bool>(), any_bytes(1024)).prop_map(
        |(kind, numbers, (term, log_term, commit_term), reject, context)| {
            let term = term.max(1);
            let mut message = raft(kind, 2 + numbers[0] % ((1 << 31) - 1), term);
            (message.log_term, message.commit_term) = (log_term.min(term), commit_term.min(term));
            [_, message.index, message.commit, message.request_snapshot, message.reject_hint] =
                numbers;
            (message.reject, message.context) = (reject, context);
            message
        },
    )
}

fn joint_snapshot() -> impl Strategy<Value = Message> {
    (1..6u64, 0..4u64, 0..4u64, any::<bool>()).prop_map(|(voters, learners, outgoing, leaves)| {
        let mut message = snapshot((1..=voters).collect(), (20..20 + learners).collect());
        let state = message.mut_snapshot().mut_metadata().mut_conf_state();
        state.voters_outgoing = (3..3 + outgoing).collect();
        let next = |id: &u64| *id > voters;
        state.learners_next = state.voters_outgoing.iter().copied().filter(next).collect();
        state.auto_leave = leaves && outgoing > 0;
        message
    })
}

fn body() -> impl Strategy<Value = Body> {
    let raft = prop_oneof![append(), without_entries(), joint_snapshot()];
    let part = ([number(), number(), number()], any_bytes(9000)).prop_map(|(numbers, bytes)| {
        let [term, number, place] = numbers;
        let content = SnapshotContent::Part(bytes);
        Body::Snapshot(SnapshotPiece { term: Term(term), number, place, content })
    });
    let two = || (number().prop_map(Term), number().prop_map(LogIndex));
    prop_oneof![
        raft.prop_map(|message| Body::Raft(Box::new(message))),
        two().prop_map(|(term, index)| Body::Synced { term, index }),
        two().prop_map(|(term, index)| Body::WantSync { term, index }),
        two().prop_map(|(term, last)| Body::Restarted { term, last }),
        two().prop_map(|(term, index)| Body::CatchUp { term, index }),
        two().prop_map(|(term, _)| Body::SnapshotWanted { term }),
        (number(), number()).prop_map(|(number, pieces)| Body::SnapshotTaken { number, pieces }),
        (number(), number()).prop_map(|(term, number)| Body::FreshAsk { term: Term(term), number }),
        (number(), two()).prop_map(|(number, (term, index))| Body::FreshAnswer {
            term,
            number,
            index
        }),
        number().prop_map(|term| Body::SnapshotWanted { term: Term(term) }),
        number().prop_map(|term| Body::LeadWanted { term: Term(term) }),
        number().prop_map(|term| Body::JoinWanted { term: Term(term) }),
        number().prop_map(|term| Body::NoRoom { term: Term(term) }),
        part,
    ]
}

proptest! {
    #[test]
    fn messages_come_back_as_they_went(shard in any::<u16>(), body in body()) {
        let message = ShardMessage { shard: ShardId(shard), body };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!(check_message(&bytes), Ok(message));
    }
}

/// Changes `input` in one place.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.index(input.len() + 1);
    let end = (at + random.index(16)).min(input.len());
    match random.index(6) {
        0 => input.extend_from_slice(&corpus[random.index(corpus.len())]),
        1 => drop(input.drain(at..end)),
        2 => input.truncate(at),
        3 => drop(input.splice(at..at, random.bytes(1))),
        // A bit, or one of the numbers that things begin and end with.
        4 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.index(8);
            }
        }
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte = *random.pick(&[0, 1, 2, 0x7f, 0x80, 0xff]);
            }
        }
    }
}

#[test]
fn changed_bytes_are_refused_or_understood() {
    let iterations = number_from_env("RINGMAIN_FUZZ_ITERATIONS").unwrap_or(50_000);
    let seed = number_from_env("RINGMAIN_FUZZ_SEED").unwrap_or(1);
    let corpus: Vec<_> = golden().into_iter().map(|(name, _)| block(name)).collect();
    let mut random = Random::new(seed);
    let mut understood = 0;
    for iteration in 0..iterations {
        let mut input = random.pick(&corpus).clone();
        if random.one_in(20) {
            let length = random.index(200);
            input = random.bytes(length);
        }
        (0..=random.index(4)).for_each(|_| mutate(&mut input, &corpus, &mut random));
        match catch_unwind(AssertUnwindSafe(|| check_message(&input))) {
            Ok(result) => understood += u64::from(result.is_ok()),
            Err(panic) => {
                eprintln!("seed {seed}, iteration {iteration}: {input:02x?}");
                resume_unwind(panic);
            }
        }
    }
    // Bits of numbers that may be anything.
    assert!(understood > iterations / 100, "{understood} of {iterations}");
}
