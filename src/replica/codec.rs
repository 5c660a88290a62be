//! Messages between replicas as bytes, and back. Fixed widths, little-endian; `docs/peer-protocol.md` has the
//! layout. What comes out of [`ShardMessage::decode`] has passed `sense`.

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot};

use super::fields::Fields;
use super::message::{Body, Fault, ShardMessage, SnapshotContent, SnapshotPiece};
use super::sense;
use crate::limits::NODES_MAX;
use crate::log::Configuration;
use crate::types::{LogIndex, ShardId, Term};

const RAFT: u8 = 1;
const SYNCED: u8 = 2;
const WANT_SYNC: u8 = 3;
const RESTARTED: u8 = 4;
const SNAPSHOT_PART: u8 = 5;
const SNAPSHOT_END: u8 = 6;
const SNAPSHOT_TAKEN: u8 = 7;
const CATCH_UP: u8 = 8;
const SNAPSHOT_WANTED: u8 = 9;
const CONFIGURATION: u8 = 10;
const BEGUN: u8 = 11;
const FRESH_ASK: u8 = 12;
const FRESH_ANSWER: u8 = 13;
const NO_ROOM: u8 = 14;
// What an operator would have.
const LEAD_WANTED: u8 = 32;
const JOIN_WANTED: u8 = 33;

/// Bytes of an entry before its context and content.
const ENTRY_HEAD_BYTES: usize = 24;

impl ShardMessage {
    /// Appends the message to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        debug_assert_eq!(sense::check(&self.body), Ok(()), "{:?}", self.body);
        put(out, self.shard.0.to_le_bytes());
        match &self.body {
            Body::Raft(message) => {
                put(out, [RAFT, kind_code(message.msg_type)]);
                encode_raft(message, out);
            }
            Body::Synced { term, index } => {
                put(out, [SYNCED, 0]);
                put_numbers(out, &[term.0, index.0]);
            }
            Body::WantSync { term, index } => {
                put(out, [WANT_SYNC, 0]);
                put_numbers(out, &[term.0, index.0]);
            }
            Body::Restarted { term, last } => {
                put(out, [RESTARTED, 0]);
                put_numbers(out, &[term.0, last.0]);
            }
            Body::CatchUp { term, index } => {
                put(out, [CATCH_UP, 0]);
                put_numbers(out, &[term.0, index.0]);
            }
            Body::SnapshotWanted { term } => {
                put(out, [SNAPSHOT_WANTED, 0]);
                put_numbers(out, &[term.0]);
            }
            Body::LeadWanted { term } => {
                put(out, [LEAD_WANTED, 0]);
                put_numbers(out, &[term.0]);
            }
            Body::JoinWanted { term } => {
                put(out, [JOIN_WANTED, 0]);
                put_numbers(out, &[term.0]);
            }
            Body::Snapshot(piece) => encode_piece(piece, out),
            Body::SnapshotTaken { number, pieces } => {
                put(out, [SNAPSHOT_TAKEN, 0]);
                put_numbers(out, &[*number, *pieces]);
            }
            Body::Begun => put(out, [BEGUN, 0]),
            Body::Configuration(configuration) => {
                put(out, [CONFIGURATION, 0]);
                encode_configuration(configuration, out);
            }
            Body::FreshAsk { term, number } => {
                put(out, [FRESH_ASK, 0]);
                put_numbers(out, &[term.0, *number]);
            }
            Body::FreshAnswer { term, number, index } => {
                put(out, [FRESH_ANSWER, 0]);
                put_numbers(out, &[term.0, *number, index.0]);
            }
            Body::NoRoom { term } => {
                put(out, [NO_ROOM, 0]);
                put_numbers(out, &[term.0]);
            }
        }
    }

    /// The message that all of `bytes` are. Long contents of entries stay where they are and keep the memory
    /// of `bytes`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &Bytes) -> Result<Self, Fault> {
        let mut fields = Fields::new(bytes);
        let shard = ShardId(fields.u16()?);
        let (kind, detail) = (fields.u8()?, fields.u8()?);
        if kind != RAFT && detail != 0 {
            return Err(Fault::Field);
        }
        let body = match kind {
            RAFT => Body::Raft(Box::new(decode_raft(detail, &mut fields)?)),
            SYNCED => Body::Synced { term: Term(fields.u64()?), index: LogIndex(fields.u64()?) },
            WANT_SYNC => {
                Body::WantSync { term: Term(fields.u64()?), index: LogIndex(fields.u64()?) }
            }
            RESTARTED => {
                Body::Restarted { term: Term(fields.u64()?), last: LogIndex(fields.u64()?) }
            }
            CATCH_UP => Body::CatchUp { term: Term(fields.u64()?), index: LogIndex(fields.u64()?) },
            SNAPSHOT_WANTED => Body::SnapshotWanted { term: Term(fields.u64()?) },
            LEAD_WANTED => Body::LeadWanted { term: Term(fields.u64()?) },
            JOIN_WANTED => Body::JoinWanted { term: Term(fields.u64()?) },
            SNAPSHOT_PART | SNAPSHOT_END => Body::Snapshot(decode_piece(kind, &mut fields)?),
            BEGUN => Body::Begun,
            CONFIGURATION => Body::Configuration(decode_configuration(&mut fields)?),
            SNAPSHOT_TAKEN => Body::SnapshotTaken { number: fields.u64()?, pieces: fields.u64()? },
            FRESH_ASK => Body::FreshAsk { term: Term(fields.u64()?), number: fields.u64()? },
            FRESH_ANSWER => Body::FreshAnswer {
                term: Term(fields.u64()?),
                number: fields.u64()?,
                index: LogIndex(fields.u64()?),
            },
            NO_ROOM => Body::NoRoom { term: Term(fields.u64()?) },
            _ => return Err(Fault::Field),
        };
        fields.end()?;
        sense::check(&body)?;
        Ok(Self { shard, body })
    }
}

fn put<const N: usize>(out: &mut Vec<u8>, bytes: [u8; N]) {
    out.extend_from_slice(&bytes);
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|number| put(out, number.to_le_bytes()));
}

/// A length that is known to fit.
fn put_u16(out: &mut Vec<u8>, length: usize) {
    put(out, u16::try_from(length).expect("a length below 2^16").to_le_bytes());
}

/// A length that is known to fit.
fn put_u32(out: &mut Vec<u8>, length: usize) {
    put(out, u32::try_from(length).expect("a length below 2^32").to_le_bytes());
}

// --- Raft's messages ---------------------------------------------------------------------------------

fn encode_raft(message: &Message, out: &mut Vec<u8>) {
    put(out, [u8::from(message.reject), 0]);
    put_u16(out, message.context.len());
    put_u32(out, message.entries.len());
    put_numbers(
        out,
        &[
            message.to,
            message.from,
            message.term,
            message.log_term,
            message.index,
            message.commit,
            message.commit_term,
            message.request_snapshot,
            message.reject_hint,
        ],
    );
    put(out, message.priority.to_le_bytes());
    out.extend_from_slice(&message.context);
    if let Some(snapshot) = message.snapshot.as_ref() {
        encode_snapshot(snapshot, out);
    }
    message.entries.iter().for_each(|entry| encode_entry(entry, out));
}

fn decode_raft(kind: u8, fields: &mut Fields<'_>) -> Result<Message, Fault> {
    let mut message = Message::new();
    message.msg_type = kind_of(kind)?;
    message.reject = fields.flag()?;
    fields.zeros::<1>()?;
    let context_bytes = usize::from(fields.u16()?);
    let entries = fields.u32()? as usize;
    for number in [
        &mut message.to,
        &mut message.from,
        &mut message.term,
        &mut message.log_term,
        &mut message.index,
        &mut message.commit,
        &mut message.commit_term,
        &mut message.request_snapshot,
        &mut message.reject_hint,
    ] {
        *number = fields.u64()?;
    }
    message.priority = i64::from_le_bytes(fields.array()?);
    message.context = fields.bytes(context_bytes)?;
    if message.msg_type == MessageType::MsgSnapshot {
        message.set_snapshot(decode_snapshot(fields)?);
    }
    if entries > fields.left() / ENTRY_HEAD_BYTES {
        return Err(Fault::Length);
    }
    let entries: Vec<Entry> =
        (0..entries).map(|_| decode_entry(fields)).collect::<Result<_, _>>()?;
    message.entries = entries.into();
    Ok(message)
}

fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    let kind = match entry.entry_type {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    };
    put(out, [kind, 0]);
    put_u16(out, entry.context.len());
    put_u32(out, entry.data.len());
    put_numbers(out, &[entry.term, entry.index]);
    out.extend_from_slice(&entry.context);
    out.extend_from_slice(&entry.data);
}

fn decode_entry(fields: &mut Fields<'_>) -> Result<Entry, Fault> {
    let mut entry = Entry::new();
    entry.entry_type = match fields.u8()? {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => return Err(Fault::Field),
    };
    fields.zeros::<1>()?;
    let (context_bytes, data_bytes) = (usize::from(fields.u16()?), fields.u32()? as usize);
    (entry.term, entry.index) = (fields.u64()?, fields.u64()?);
    entry.context = fields.bytes(context_bytes)?;
    entry.data = fields.bytes(data_bytes)?;
    Ok(entry)
}

fn encode_snapshot(snapshot: &Snapshot, out: &mut Vec<u8>) {
    let metadata = snapshot.get_metadata();
    let state = metadata.get_conf_state();
    let sets = [&state.voters, &state.learners, &state.voters_outgoing, &state.learners_next];
    put_numbers(out, &[metadata.index, metadata.term]);
    put(out, [u8::from(state.auto_leave), 0]);
    sets.iter().for_each(|set| put_u16(out, set.len()));
    sets.iter().for_each(|set| put_numbers(out, set));
}

fn decode_snapshot(fields: &mut Fields<'_>) -> Result<Snapshot, Fault> {
    let mut snapshot = Snapshot::new();
    let metadata = snapshot.mut_metadata();
    (metadata.index, metadata.term) = (fields.u64()?, fields.u64()?);
    let mut state = ConfState::new();
    state.auto_leave = fields.flag()?;
    fields.zeros::<1>()?;
    let mut counts = [0; 4];
    for count in &mut counts {
        *count = node_count(fields)?;
    }
    let [voters, learners, outgoing, next] = counts;
    state.voters = fields.numbers(voters)?;
    state.learners = fields.numbers(learners)?;
    state.voters_outgoing = fields.numbers(outgoing)?;
    state.learners_next = fields.numbers(next)?;
    metadata.set_conf_state(state);
    Ok(snapshot)
}

fn node_count(fields: &mut Fields<'_>) -> Result<usize, Fault> {
    let count = usize::from(fields.u16()?);
    if count <= NODES_MAX { Ok(count) } else { Err(Fault::Field) }
}

/// The numbers of Raft's own definition, written down here so that they can't change.
fn kind_code(kind: MessageType) -> u8 {
    match kind {
        MessageType::MsgHup => 0,
        MessageType::MsgBeat => 1,
        MessageType::MsgPropose => 2,
        MessageType::MsgAppend => 3,
        MessageType::MsgAppendResponse => 4,
        MessageType::MsgRequestVote => 5,
        MessageType::MsgRequestVoteResponse => 6,
        MessageType::MsgSnapshot => 7,
        MessageType::MsgHeartbeat => 8,
        MessageType::MsgHeartbeatResponse => 9,
        MessageType::MsgUnreachable => 10,
        MessageType::MsgSnapStatus => 11,
        MessageType::MsgCheckQuorum => 12,
        MessageType::MsgTransferLeader => 13,
        MessageType::MsgTimeoutNow => 14,
        MessageType::MsgReadIndex => 15,
        MessageType::MsgReadIndexResp => 16,
        MessageType::MsgRequestPreVote => 17,
        MessageType::MsgRequestPreVoteResponse => 18,
    }
}

/// The kind of a message that another node may send.
fn kind_of(code: u8) -> Result<MessageType, Fault> {
    const SENT: [MessageType; 12] = [
        MessageType::MsgAppend,
        MessageType::MsgAppendResponse,
        MessageType::MsgRequestVote,
        MessageType::MsgRequestVoteResponse,
        MessageType::MsgSnapshot,
        MessageType::MsgHeartbeat,
        MessageType::MsgHeartbeatResponse,
        MessageType::MsgTimeoutNow,
        MessageType::MsgReadIndex,
        MessageType::MsgReadIndexResp,
        MessageType::MsgRequestPreVote,
        MessageType::MsgRequestPreVoteResponse,
    ];
    SENT.into_iter().find(|kind| kind_code(*kind) == code).ok_or(Fault::Field)
}

/// To the end of the message.
fn encode_configuration(configuration: &Configuration, out: &mut Vec<u8>) {
    let (term, index) = configuration.version;
    put_numbers(out, &[term.0, index.0]);
    out.extend(configuration.encode());
}

fn decode_configuration(fields: &mut Fields<'_>) -> Result<Configuration, Fault> {
    let version = (Term(fields.u64()?), LogIndex(fields.u64()?));
    let bytes = fields.bytes(fields.left())?;
    Configuration::decode(version, &bytes).ok_or(Fault::Field)
}

// --- snapshots ---------------------------------------------------------------------------------------

fn encode_piece(piece: &SnapshotPiece, out: &mut Vec<u8>) {
    let kind = match &piece.content {
        SnapshotContent::Part(_) => SNAPSHOT_PART,
        SnapshotContent::End { .. } => SNAPSHOT_END,
    };
    put(out, [kind, 0]);
    put_numbers(out, &[piece.term.0, piece.number, piece.place]);
    match &piece.content {
        SnapshotContent::Part(bytes) => out.extend_from_slice(bytes),
        SnapshotContent::End { index, term, seen, entries, configuration } => {
            put_numbers(out, &[index.0, term.0, seen.0, *entries]);
            encode_configuration(configuration, out);
        }
    }
}

fn decode_piece(kind: u8, fields: &mut Fields<'_>) -> Result<SnapshotPiece, Fault> {
    let (term, number, place) = (Term(fields.u64()?), fields.u64()?, fields.u64()?);
    let content = if kind == SNAPSHOT_PART {
        SnapshotContent::Part(fields.bytes(fields.left())?)
    } else {
        let (index, end_term) = (LogIndex(fields.u64()?), Term(fields.u64()?));
        let (seen, entries) = (LogIndex(fields.u64()?), fields.u64()?);
        let configuration = decode_configuration(fields)?;
        SnapshotContent::End { index, term: end_term, seen, entries, configuration }
    };
    Ok(SnapshotPiece { term, number, place, content })
}
