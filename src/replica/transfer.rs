//! Snapshots of a keyspace on their way from a leader to a replica that lacks entries which the leader has not in
//! memory any more, or whose keyspace is tainted.
//!
//! ```text
//! leader    begins │ part │ part │ … │ end: seen      entries behind `begins` follow
//! log    ──────────┼─────────────────┼──────────►
//! ```
//!
//! As a snapshot on disk it is not of one moment: a part has seen entries up to when it was made. So the leader keeps
//! all entries behind where the snapshot begins until the other has them, and the other leaves out the changes that a
//! part has seen (`overlap`), and serves nothing before it has come to `seen`. That need not be committed: it may be
//! that this replica is needed for it. A few pieces are under way at a time, so that neither end needs memory for more.

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType, Snapshot};
use raft::{ProgressState, SnapshotStatus};

use super::message::{SnapshotContent, SnapshotPiece};
use super::{Body, Replica, conf_state};
use crate::cache::{Keyspace, SaveCursor};
use crate::limits::{
    REPLICA_PINNED_BYTES_MAX, SNAPSHOT_BYTES_PER_SECOND, SNAPSHOT_PIECE_BYTES,
    SNAPSHOT_PIECES_AT_ONCE, SNAPSHOT_PIECES_IN_FLIGHT, SNAPSHOT_PIECES_PACED,
};
use crate::log::Configuration;
use crate::types::{LogIndex, MonoUs, NodeId, Term};

/// How long a piece may be on its way.
const PATIENCE_US: u64 = 5_000_000;

/// A snapshot that is being sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    to: NodeId,
    number: u64,
    begins: (LogIndex, Term),
    pub(crate) cursor: SaveCursor,
    /// What the keyspace's count of upheavals was: a snapshot can't be taken across one.
    pub(crate) upheavals: u64,
    pub(super) sent: u64,
    pub(super) taken: u64,
    entries: u64,
    bytes: u64,
    /// All parts have been made; they have seen entries up to this one.
    seen: Option<LogIndex>,
    is_ended: bool,
    moved_at: MonoUs,
    /// When all that has been sent has had its time.
    paid_at: MonoUs,
    /// As of when more may be sent.
    now: MonoUs,
    /// When enough others took entries as they come.
    quorum_at: MonoUs,
    /// It is sent as fast as the other takes it.
    is_urgent: bool,
}

impl Outgoing {
    pub(crate) fn to(&self) -> NodeId {
        self.to
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The entry it begins behind.
    pub(crate) fn begins(&self) -> LogIndex {
        self.begins.0
    }

    /// Whether it is complete, and has seen more than this entry.
    pub(super) fn has_seen_beyond(&self, index: LogIndex) -> bool {
        self.seen.is_some_and(|seen| seen > index)
    }

    pub(super) fn is(&self, to: NodeId, number: u64) -> bool {
        (self.to, self.number) == (to, number)
    }

    pub(super) fn taken(&mut self, pieces: u64, now: MonoUs) {
        if pieces > self.taken && pieces <= self.sent {
            (self.taken, self.moved_at) = (pieces, now);
        }
    }

    /// Whether another part is to be made now.
    pub(crate) fn wants_part(&self) -> bool {
        self.has_room_for_part() && !self.is_early()
    }

    /// Whether time keeps it from going on.
    fn is_early(&self) -> bool {
        !self.is_urgent && self.paid_at > self.now
    }

    fn has_room_for_part(&self) -> bool {
        let most = if self.is_urgent { SNAPSHOT_PIECES_IN_FLIGHT } else { SNAPSHOT_PIECES_PACED };
        self.seen.is_none() && self.sent - self.taken < most
    }

    /// When another part is to be made, if nothing but time keeps it from that.
    fn part_due(&self) -> Option<MonoUs> {
        (self.has_room_for_part() && self.is_early()).then_some(self.paid_at)
    }

    /// Bytes have been sent, which take their time; after a very long value no more of it than keeps the other from
    /// thinking that nothing follows.
    fn pay(&mut self, bytes: usize) {
        let us = (bytes as u64).saturating_mul(1_000_000) / SNAPSHOT_BYTES_PER_SECOND;
        self.paid_at.0 += us.min(PATIENCE_US / 5);
    }

    /// Lets as much be sent as is due as of `now`. Time that was not used counts, up to that of a burst.
    fn pace(&mut self, now: MonoUs, is_urgent: bool) {
        const BURST: u64 = SNAPSHOT_PIECES_AT_ONCE * SNAPSHOT_PIECE_BYTES as u64;
        const BURST_US: u64 = BURST * 1_000_000 / SNAPSHOT_BYTES_PER_SECOND;
        self.paid_at = self.paid_at.max(MonoUs(now.0.saturating_sub(BURST_US)));
        if is_urgent {
            // What is sent beyond its time is not owed afterwards.
            self.paid_at = self.paid_at.min(now);
        }
        (self.now, self.is_urgent) = (now, is_urgent);
    }
}

/// A snapshot that is being taken in.
#[derive(Debug)]
pub(crate) struct Staging {
    from: NodeId,
    term: Term,
    number: u64,
    next: u64,
    entries: u64,
    keyspace: Box<Keyspace>,
    /// The piece that was looked for, and when it was the first time.
    awaited_since: Option<(u64, MonoUs)>,
}

impl Staging {
    pub(crate) fn memory_bytes(&self) -> usize {
        self.keyspace.memory().total_bytes()
    }
}

impl Replica {
    // --- the leader's side -----------------------------------------------------------------------

    /// The crate finds that a replica lacks what is not in memory any more.
    pub(super) fn begin_raft_transfer(&mut self, to: NodeId, message: &Message) {
        let metadata = message.get_snapshot().get_metadata();
        let begins = (LogIndex(metadata.index), Term(metadata.term));
        if !self.may_send_snapshot_behind(begins.0) {
            self.fail_transfer_to(to);
            return;
        }
        self.start_outgoing(to, begins);
    }

    /// A replica asks for a snapshot, because its keyspace is tainted.
    pub(super) fn begin_transfer(&mut self, to: NodeId, term: Term) {
        let committed = self.committed();
        let of_committed = self.raw.store().term_of(committed);
        if let Some(of_committed) = of_committed
            && term == self.term()
            && self.may_send_snapshot_behind(committed)
        {
            self.start_outgoing(to, (committed, of_committed));
        }
    }

    /// Whether the keyspace can be sent as a snapshot behind an entry: who leads may do so before it serves, since it may
    /// have to before anything of its own can be committed.
    fn may_send_snapshot_behind(&self, index: LogIndex) -> bool {
        let has_seen = self.seen_by_keyspace().is_some_and(|(seen, _)| seen >= index);
        self.is_leader() && has_seen && self.outgoing.is_none()
    }

    fn start_outgoing(&mut self, to: NodeId, begins: (LogIndex, Term)) {
        self.transfers += 1;
        self.raw.mut_store().may_send_snapshot = false;
        self.outgoing = Some(Outgoing {
            to,
            number: self.transfers,
            begins,
            cursor: SaveCursor::default(),
            upheavals: u64::MAX,
            sent: 0,
            taken: 0,
            entries: 0,
            bytes: 0,
            seen: None,
            is_ended: false,
            moved_at: MonoUs(0),
            paid_at: MonoUs(0),
            now: MonoUs(0),
            quorum_at: MonoUs(0),
            is_urgent: false,
        });
    }

    /// Lets the snapshot that is being sent go on; every turn.
    pub(crate) fn pace_transfer(&mut self, now: MonoUs) {
        if self.outgoing.is_none() {
            return;
        }
        let timeout_us = self.options.election_timeout_ms * 1000;
        let has_quorum = self.has_quorum_at_hand();
        let pins_much = self.raw.store().bytes() > REPLICA_PINNED_BYTES_MAX / 4;
        if let Some(outgoing) = &mut self.outgoing {
            if has_quorum {
                outgoing.quorum_at = now;
            }
            // For a moment every election timeout the crate has not heard from anybody yet.
            let has_none = now.0.saturating_sub(outgoing.quorum_at.0) > timeout_us;
            outgoing.pace(now, pins_much || has_none);
        }
    }

    /// When the snapshot that is being sent may go on, if nothing but time keeps it from that.
    pub(crate) fn transfer_due(&self) -> Option<MonoUs> {
        self.outgoing.as_ref().and_then(Outgoing::part_due)
    }

    /// Whether enough voters take entries as they come: otherwise nothing is committed before the snapshot is there.
    fn has_quorum_at_hand(&self) -> bool {
        self.is_majority(&self.configuration().voters, |progress| {
            progress.recent_active && progress.state == ProgressState::Replicate
        })
    }

    /// The snapshot that is being sent.
    pub(crate) fn outgoing(&mut self) -> Option<&mut Outgoing> {
        self.outgoing.as_mut()
    }

    /// Sends a part with so many entries; after the last the keyspace has seen entries up to `seen`.
    pub(crate) fn send_part(&mut self, part: Vec<u8>, entries: u64, seen: Option<LogIndex>) {
        let Some(outgoing) = &mut self.outgoing else { return };
        outgoing.seen = seen;
        if part.is_empty() {
            return;
        }
        outgoing.entries += entries;
        outgoing.bytes += part.len() as u64;
        outgoing.pay(part.len());
        self.send_piece(SnapshotContent::Part(Bytes::from(part)));
    }

    fn send_piece(&mut self, content: SnapshotContent) {
        let term = self.term();
        let Some(outgoing) = &mut self.outgoing else { return };
        let piece = SnapshotPiece { term, number: outgoing.number, place: outgoing.sent, content };
        outgoing.sent += 1;
        self.outbox.push((outgoing.to, Body::Snapshot(piece)));
    }

    /// Ends, gives up or goes on with the snapshot that is being sent; every tick.
    pub(super) fn look_after_transfer(&mut self, now: MonoUs) {
        self.ask_for_snapshot();
        let pinned = self.raw.store().bytes();
        let (last, configuration) = (self.last(), self.configuration().clone());
        let Some(outgoing) = &mut self.outgoing else { return };
        if outgoing.moved_at == MonoUs(0) {
            outgoing.moved_at = now;
        }
        let is_stuck = now.0.saturating_sub(outgoing.moved_at.0) > PATIENCE_US;
        if is_stuck || pinned > REPLICA_PINNED_BYTES_MAX || self.is_tainted {
            return self.end_transfer(false);
        }
        let Some(outgoing) = &mut self.outgoing else { return };
        let ((index, term), entries, to) = (outgoing.begins, outgoing.entries, outgoing.to);
        if let Some(seen) = outgoing.seen.filter(|seen| *seen <= last && !outgoing.is_ended) {
            outgoing.is_ended = true;
            let end = SnapshotContent::End { index, term, seen, entries, configuration };
            return self.send_piece(end);
        }
        if !outgoing.is_ended || outgoing.taken < outgoing.sent {
            return;
        }
        // It has been taken in. Until the other has what came meanwhile, that is kept for it.
        let seen = outgoing.seen.unwrap_or_default();
        let progress = self.raw.raft.prs().get(to.0);
        let is_waiting = progress.is_some_and(|it| it.state == ProgressState::Snapshot);
        let has_caught_up = progress.is_none_or(|it| it.matched >= seen.0);
        if is_waiting {
            self.raw.report_snapshot(to.0, SnapshotStatus::Finish);
        } else if has_caught_up {
            self.end_transfer(true);
        }
    }

    pub(crate) fn end_transfer(&mut self, is_done: bool) {
        self.raw.mut_store().may_send_snapshot = true;
        if let Some(outgoing) = self.outgoing.take()
            && !is_done
        {
            self.fail_transfer_to(outgoing.to);
        }
    }

    fn fail_transfer_to(&mut self, node: NodeId) {
        if self.is_leader() && self.raw.raft.prs().get(node.0).is_some() {
            self.raw.report_snapshot(node.0, SnapshotStatus::Failure);
        }
    }

    // --- the other side ---------------------------------------------------------------------------

    /// Gives up a snapshot whose leader is gone, or has given it up: entries may come instead, or another.
    pub(super) fn look_after_staging(&mut self, now: MonoUs) {
        let term = self.term();
        let is_over = self.staging.as_mut().is_some_and(|staging| {
            let (next, since) = *staging.awaited_since.get_or_insert((staging.next, now));
            if next != staging.next {
                staging.awaited_since = Some((staging.next, now));
            }
            let is_stuck = next == staging.next && now.0.saturating_sub(since.0) > PATIENCE_US;
            staging.term != term || is_stuck
        });
        if is_over {
            self.staging = None;
        }
    }

    /// Asks the leader for a snapshot while the keyspace is tainted, and not about to be made again.
    fn ask_for_snapshot(&mut self) {
        let leader = NodeId(self.raw.raft.leader_id);
        let is_coming = self.staging.is_some() || self.rebuild.is_under_way();
        let needs_one = self.is_tainted && !is_coming;
        if needs_one && leader.0 != 0 && leader != self.options.node {
            self.outbox.push((leader, Body::SnapshotWanted { term: self.term() }));
        }
    }

    /// Takes in a piece of a snapshot; `fresh` makes an empty keyspace. Answers the new keyspace when all of it is
    /// here.
    pub(crate) fn take_piece(
        &mut self,
        from: NodeId,
        piece: SnapshotPiece,
        fresh: impl FnOnce() -> Keyspace,
    ) -> Option<Box<Keyspace>> {
        let SnapshotPiece { term, number, place, content } = piece;
        if term != self.term() || from.0 != self.raw.raft.leader_id || self.is_leader() {
            return None;
        }
        // The first piece may come twice, or late: it begins nothing anew then.
        if place == 0 && (term, number) > self.staged {
            self.staged = (term, number);
            self.rebuild.cancel();
            let keyspace = Box::new(fresh());
            self.staging = Some(Staging {
                from,
                term,
                number,
                next: 0,
                entries: 0,
                keyspace,
                awaited_since: None,
            });
        }
        let staging = self.staging.as_mut()?;
        if (staging.from, staging.term, staging.number, staging.next) != (from, term, number, place)
        {
            return None;
        }
        staging.next += 1;
        let done = match content {
            SnapshotContent::Part(part) => {
                let Ok(entries) = staging.keyspace.restore_entries(&part) else {
                    self.staging = None;
                    return None;
                };
                staging.entries += entries;
                None
            }
            SnapshotContent::End { index, term: of_index, seen, entries, configuration } => {
                let staging = self.staging.take().filter(|staging| staging.entries == entries)?;
                if !self.restore(from, (index, of_index, seen), configuration) {
                    return None;
                }
                Some(staging.keyspace)
            }
        };
        self.outbox.push((from, Body::SnapshotTaken { number, pieces: place + 1 }));
        done
    }

    /// Lets the crate know of a snapshot whose content is here; false if what follows it is not.
    fn restore(
        &mut self,
        from: NodeId,
        (index, of_index, seen): (LogIndex, Term, LogIndex),
        configuration: Configuration,
    ) -> bool {
        // Who takes no part by a later one is in one later still, or that one was lost.
        let is_news = configuration.version >= self.configuration().version || !self.is_member();
        let configuration = if is_news { configuration } else { self.configuration().clone() };
        let mut message = Message { from: from.0, to: self.options.node.0, ..Message::default() };
        message.set_msg_type(MessageType::MsgSnapshot);
        message.term = self.raw.raft.term;
        message.set_snapshot(head_of((index, of_index), &configuration));
        let _ = self.raw.step(message);
        self.set_timeout();
        // Where the log has the entry, nothing of it is given up: what follows is made again from it.
        let is_restored = self.raw.raft.snap().is_some();
        if !is_restored && (self.raw.store().base() > index || self.committed() < index) {
            return false;
        }
        if is_restored {
            self.adopt(configuration);
        }
        (self.applied, self.overlap, self.is_tainted) = (index, seen, false);
        // It may be older than what was read here before.
        self.fresh.forget();
        self.overlap_of = Some(self.term()).filter(|_| seen > index);
        true
    }

    /// What the keyspace was made from may have seen entries that are not committed: if another leader comes before
    /// they are here, its own may be others.
    pub(super) fn follow_overlap(&mut self) {
        let Some(term) = self.overlap_of else { return };
        if self.agreed.0 == term && self.agreed.1 >= self.overlap {
            self.overlap_of = None;
        } else if self.term() != term {
            (self.overlap_of, self.is_tainted) = (None, true);
        }
    }
}

fn head_of((index, term): (LogIndex, Term), configuration: &Configuration) -> Snapshot {
    let mut head = Snapshot::default();
    let metadata = head.mut_metadata();
    (metadata.index, metadata.term) = (index.0, term.0);
    metadata.set_conf_state(conf_state(configuration));
    head
}
