//! The shard as one of several replicas: joins the keyspace, the log and Raft.
//!
//! ```text
//! leads      commands ─► journal ─► proposal ─► entry ─┬─► log
//!                                                      └─► messages
//! follows    messages ─► entry ─► log
//!                          └─► committed ─► keyspace
//! ```
//!
//! A reign begins when the replica has been elected and its keyspace has seen all that is committed; only then does it
//! keep a journal and run commands, and only then does it expire and evict. Stepped by the shard's owner, like the log.

use std::collections::VecDeque;

use super::durable::Durable;
use super::{Error, Shard, payload};
use crate::cache::Saved;
use crate::limits::{
    LOG_SHORT_BYTES_MAX, LOG_WAITING_BYTES_MAX, REPLICA_APPLY_BYTES, REPLICA_COMMIT_EVERY_MS,
    SNAPSHOT_PIECE_BYTES,
};
use crate::log::{Effect, LogEntry, RecordStart, Stream, entry_bytes};
use crate::node::replica_stats::{Freshness, Published, Quorum, ReplicaRequest};
use crate::plant::{Fault, is_planted};
use crate::replica::{Body, LogOrder, Replica};
use crate::types::{LogIndex, MonoUs, NodeId, Now, Term};

/// A shard's replica, and what the shard keeps for it.
#[derive(Debug)]
pub(super) struct Replicated {
    pub(super) replica: Replica,
    /// Entries that are not records of the log yet.
    unwritten: VecDeque<LogEntry>,
    unwritten_bytes: usize,
    /// The log begins anew behind this entry, which has this term.
    restart: Option<(LogIndex, Term)>,
    is_restart_asked: bool,
    /// When it is to be noted next how far the log is committed, and how far it was the last time.
    commit_due: MonoUs,
    commit_noted: LogIndex,
    /// Whether the keyspace has more to see than one step does.
    is_applying: bool,
}

impl Replicated {
    /// All entries up to this one are on disk. Those of a log that another is about to take the place of don't count.
    fn durable(&self, log: &Durable) -> LogIndex {
        if self.restart.is_some() { LogIndex(0) } else { log.durable() }
    }
}

/// What a reply has to wait for on a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// A quorum must have this entry; 0 if nothing that was read or written is not committed.
    pub index: LogIndex,
    /// In this reign.
    pub reign: u64,
    /// Nobody else leads before then: the reply has to leave by then, or while a later lease lasts.
    pub lease_until: MonoUs,
}

impl Awaited {
    /// Whether the reply may be given as of `now`, looked at after the command has run, without waiting.
    #[inline]
    pub fn is_certain(&self, now: MonoUs) -> bool {
        let has_lease = now < self.lease_until || is_planted(Fault::LeaseWithoutClock);
        self.index.0 == 0 && has_lease
    }

    /// What the reply has to wait for; with `on_disk` as it was asked.
    pub fn quorum(&self, on_disk: bool) -> Quorum {
        let Self { index, reign, .. } = *self;
        Quorum { reign, index, on_disk: if on_disk { index } else { LogIndex(0) } }
    }
}

impl Shard {
    /// Makes the shard a replica. Its log goes on from where `starts` says what may have to give way yet.
    pub fn start_replica(&mut self, replica: Replica, starts: Vec<RecordStart>) {
        let committed = replica.committed();
        if let Some(log) = &mut self.log {
            log.stream.replicate(committed, starts);
        }
        self.keyspace.set_journal(false);
        self.keyspace.keep_expired(true);
        self.replicated = Some(Box::new(Replicated {
            replica,
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            restart: None,
            is_restart_asked: false,
            commit_due: MonoUs(0),
            commit_noted: committed,
            is_applying: false,
        }));
    }

    /// Whether the shard is a replica.
    #[inline]
    pub fn is_replicated(&self) -> bool {
        self.replicated.is_some()
    }

    /// Whether it runs commands: always, unless it is a replica that does not lead.
    #[inline]
    pub fn is_serving(&self) -> bool {
        self.replicated.as_ref().is_none_or(|it| it.replica.is_serving())
    }

    /// Whether commands may run here.
    ///
    /// # Errors
    /// If this replica does not lead.
    #[inline]
    pub(super) fn check_serving(&self) -> Result<(), Error> {
        if self.is_serving() { Ok(()) } else { Err(Error::SlotNotServed) }
    }

    /// Whether a read may run here though this replica does not lead. Whether its answer counts is seen afterwards:
    /// [`Shard::is_fresh`].
    #[inline]
    pub(super) fn check_readable(&self) -> Result<(), Error> {
        if self.fresh_as_of().0 > 0 { Ok(()) } else { Err(Error::SlotNotServed) }
    }

    fn fresh_as_of(&self) -> MonoUs {
        self.replicated.as_ref().map_or(MonoUs(0), |it| it.replica.fresh_as_of())
    }

    /// Whether what has just been read from this follower's keyspace is fresh enough, `now` being looked at after it was
    /// read.
    pub fn is_fresh(&self, freshness: &Freshness, now: MonoUs) -> bool {
        freshness.is_met(self.fresh_as_of(), now)
    }

    /// Somebody wants to read from this follower what is as of a later moment than `since`.
    pub fn want_fresh(&mut self, since: MonoUs, now: Now) {
        if let Some(replicated) = &mut self.replicated {
            replicated.replica.want_fresh(since, now.mono);
        }
    }

    /// What the reply of a command that has just run here has to wait for; nothing where there are no replicas.
    /// With `on_disk` a quorum has to have it there.
    #[inline]
    pub fn awaited(&mut self, on_disk: bool) -> Option<Awaited> {
        let replica = &mut self.replicated.as_mut()?.replica;
        let last = LogIndex(replica.last().0 + self.keyspace.changes_records());
        if on_disk {
            replica.want_sync(last);
            if let Some(log) = &mut self.log {
                log.wanted = log.wanted.max(last);
            }
        }
        let is_committed = last <= replica.committed() && !on_disk;
        let index = if is_committed { LogIndex(0) } else { last };
        Some(Awaited { index, reign: replica.reign(), lease_until: replica.lease_until() })
    }

    // --- what comes from outside ---------------------------------------------------------------------

    /// Counts time; answers when it wants to be called again.
    pub fn tick_replica(&mut self, now: Now) -> Option<MonoUs> {
        let replicated = self.replicated.as_mut()?;
        replicated.replica.tick(now.mono);
        Some(replicated.replica.next_tick())
    }

    /// Whether it may count time now, for a beat of its core.
    pub fn may_tick_replica(&self, now: Now, beat: u64) -> bool {
        let replica = self.replicated.as_ref().map(|it| &it.replica);
        replica.is_some_and(|it| now.mono >= it.next_tick() && it.is_in_step(beat))
    }

    /// Has the replica go on with what takes its time.
    pub fn pace_replica(&mut self, now: Now) {
        let Some(replicated) = &mut self.replicated else { return };
        replicated.replica.pace_transfer(now.mono);
        if now.mono >= replicated.commit_due {
            replicated.commit_due = MonoUs(now.mono.0 + REPLICA_COMMIT_EVERY_MS * 1000);
            let committed = replicated.replica.committed();
            if committed > replicated.commit_noted {
                replicated.commit_noted = committed;
                replicated.replica.save_commit();
            }
        }
    }

    /// When it has to be looked at for that again.
    pub fn replica_due(&self) -> Option<MonoUs> {
        self.replicated.as_ref().and_then(|it| it.replica.transfer_due())
    }

    /// Takes in what another replica says.
    pub fn receive(&mut self, from: NodeId, body: Body, now: Now) {
        let Some(replicated) = &mut self.replicated else { return };
        if let Body::Snapshot(piece) = body {
            let keyspace = &self.keyspace;
            let fresh = || keyspace.fresh();
            if let Some(mut new) = replicated.replica.take_piece(from, piece, fresh) {
                new.take_place_of(&mut self.keyspace);
                self.keyspace = *new;
            }
            return;
        }
        // A disk that is slower than the network: what it can't take is sent again.
        if replicated.unwritten_bytes > LOG_WAITING_BYTES_MAX
            && matches!(&body, Body::Raft(message) if !message.entries.is_empty())
        {
            return;
        }
        let wanted = replicated.replica.receive(from, body, now.mono);
        if let (Some(wanted), Some(log)) = (wanted, &mut self.log) {
            log.wanted = log.wanted.max(wanted.min(replicated.replica.last()));
        }
    }

    /// An operator asks something of the replica.
    pub fn request_of_replica(&mut self, request: ReplicaRequest) {
        if let Some(replicated) = &mut self.replicated {
            replicated.replica.request(request);
        }
    }

    /// The link to a node is down.
    pub fn node_is_down(&mut self, node: NodeId) {
        if let Some(replicated) = &mut self.replicated {
            replicated.replica.note_unreachable(node);
        }
    }

    /// Gives leadership away, if this replica leads and another could: the server is about to stop. True while it
    /// is on its way, or the log means nothing: after a stop the replica would lack what it has told others to have.
    pub fn resign(&mut self, now: Now) -> bool {
        let is_leaving = self.replicated.as_mut().is_some_and(|it| it.replica.resign(now.mono));
        is_leaving || self.is_log_hopeless()
    }

    /// What there is to send, in order.
    pub fn take_messages(&mut self) -> Vec<(NodeId, Body)> {
        self.replicated.as_mut().map(|it| it.replica.take_messages()).unwrap_or_default()
    }

    /// What others are told of the replica; everything if `whole`.
    pub fn replica_published(&self, whole: bool) -> Option<Published> {
        let replicated = self.replicated.as_ref()?;
        let replica = &replicated.replica;
        let durable = self.log.as_ref().map_or(LogIndex(0), |log| replicated.durable(log));
        Some(Published {
            state: whole.then(|| replica.state()),
            reign: replica.reign(),
            committed: replica.committed(),
            leader: replica.leader(),
            synced: replica.synced(durable),
            lease_until: replica.lease_until(),
            readable: replica.readable(),
            fresh_as_of: replica.fresh_as_of(),
        })
    }

    /// A hard state has been saved, or could not be.
    pub fn hard_state_saved(&mut self, is_saved: bool) {
        if let Some(replicated) = &mut self.replicated {
            replicated.replica.hard_state_saved(is_saved);
        }
    }

    /// The log that was asked for with [`Effect::StartOver`].
    pub fn restart_log(&mut self, mut stream: Stream) {
        let (Some(replicated), Some(log)) = (&mut self.replicated, &mut self.log) else { return };
        let Some((index, term)) = replicated.restart.take() else { return };
        replicated.is_restart_asked = false;
        if stream.base() != (index, term) {
            // Another has been asked for meanwhile.
            replicated.restart = Some((index, term));
            return;
        }
        stream.replicate(index, Vec::new());
        log.stream = stream;
        log.wanted = LogIndex(0);
        log.wants_snapshot = true;
    }

    /// The replica, for who looks on.
    #[cfg(test)]
    pub(crate) fn replica(&self) -> Option<&Replica> {
        self.replicated.as_ref().map(|it| &it.replica)
    }

    /// Whether it takes no part any more before it is started again.
    #[cfg(test)]
    pub(crate) fn has_failed(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.stream.has_failed())
            || self.replica().is_some_and(Replica::has_failed)
    }

    // --- a step --------------------------------------------------------------------------------------

    /// Ends the replica, whose log is closed; true once it is.
    pub(super) fn close_replica(&mut self, is_clean: bool, effects: &mut Vec<Effect>) -> bool {
        let Some(replicated) = &mut self.replicated else { return true };
        let is_closed = replicated.replica.close(is_clean);
        let state = replicated.replica.take_hard_state();
        effects.extend(state.map(|state| Effect::SaveHardState(Box::new(state))));
        is_closed
    }

    /// Whether the replica has something to do now.
    #[inline]
    pub(super) fn wants_replica_step(&self) -> bool {
        self.replicated.as_ref().is_some_and(|it| {
            it.replica.has_ready()
                || it.is_applying
                || !it.unwritten.is_empty()
                || it.restart.is_some()
                || it.replica.wants_rebuild()
                || self.keyspace.changes_len() > 0 && it.replica.may_propose()
                || it.replica.wants_part()
                || it.replica.wants_configuration()
        })
    }

    /// Whether it has more to do at the next turn, though nothing comes that would bring one.
    pub(super) fn is_replica_busy(&self) -> bool {
        let has_changes = self.keyspace.changes_len() > 0;
        self.replicated.as_ref().is_some_and(|it| {
            it.is_applying || it.replica.has_ready() || has_changes && it.replica.may_propose()
        })
    }

    /// Whether all entries that the replica has taken are records of the log.
    pub(super) fn is_replica_at_rest(&self) -> bool {
        self.replicated.as_ref().is_none_or(|it| it.unwritten.is_empty() && it.restart.is_none())
    }

    /// Whether the log means nothing, and won't before other replicas have said more, or before the next start.
    pub(super) fn is_log_hopeless(&self) -> bool {
        let is_base_missing = self.log.as_ref().is_some_and(|log| log.stream.is_base_missing());
        self.replicated.as_ref().is_some_and(|it| {
            let (seen, committed) = (it.replica.seen_by_keyspace(), it.replica.committed());
            let is_snapshot_certain = seen.is_some_and(|(seen, _)| seen <= committed);
            let has_snapshot = is_snapshot_certain && !it.replica.has_failed();
            it.restart.is_some() || is_base_missing && !has_snapshot
        })
    }

    /// Whether it lacks what it had told others to have.
    pub(super) fn has_doubt(&self) -> bool {
        self.replicated.as_ref().is_some_and(|it| it.replica.has_doubt())
    }

    /// Bytes of entries that are not records yet.
    pub(super) fn unwritten_bytes(&self) -> usize {
        self.replicated.as_ref().map_or(0, |it| it.unwritten_bytes)
    }

    /// Bytes of memory for entries and messages.
    pub(super) fn replica_memory_bytes(&self) -> usize {
        self.replicated.as_ref().map_or(0, |it| it.replica.memory_bytes() + it.unwritten_bytes)
    }

    /// Does what is due.
    pub(super) fn step_replica(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let (Some(mut replicated), Some(mut log)) = (self.replicated.take(), self.log.take())
        else {
            return;
        };
        let it = &mut *replicated;
        if log.stream.has_failed() {
            // What it has in memory it would not have after the next start: others shall lead, and count on others.
            it.replica.fail();
        }
        it.replica.note_room(log.refusal.is_some_and(|refusal| !refusal.is_for_good()));
        self.propose(it, now);
        it.replica.advance(it.durable(&log));
        self.propose_configuration(it, &mut log);
        self.follow_reign(it, &mut log, now, effects);
        if it.replica.take_void() {
            self.keyspace = self.keyspace.fresh();
        }
        // What is proposed in a new reign, or has just become ready, need not wait for the next turn.
        self.propose(it, now);
        it.replica.advance(it.durable(&log));
        carry_out_orders(it, &mut log, effects);
        self.apply(it);
        self.send_parts(it, now);
        effects.extend(
            it.replica.take_hard_state().map(|state| Effect::SaveHardState(Box::new(state))),
        );
        if it.restart.is_none() {
            let committed = it.replica.committed().min(log.stream.last_index());
            log.stream.commit(committed, effects);
            if !self.ask_for_rebuild(it, &mut log, now, effects) {
                write_entries(it, &mut log, now, effects);
            }
        } else {
            ask_for_restart(it, &mut log, effects);
        }
        (self.replicated, self.log) = (Some(replicated), Some(log));
    }

    /// Makes the first of the changes the next entry.
    fn propose(&mut self, it: &mut Replicated, now: Now) {
        if self.keyspace.changes_len() == 0 || !it.replica.may_propose() {
            return;
        }
        let changes = self.keyspace.changes(now.unix).map(<[u8]>::to_vec);
        let changes = if let Some(changes) = changes {
            self.keyspace.clear_changes();
            changes
        } else {
            payload(self.keyspace.take_changes(now.unix)).to_vec()
        };
        it.replica.propose(changes);
    }

    /// Makes a change of who takes part the next entry. Changes of the keyspace come first: replies that wait for them
    /// count on that.
    fn propose_configuration(&mut self, it: &mut Replicated, log: &mut Durable) {
        if self.keyspace.changes_len() == 0
            && it.replica.wants_configuration()
            && let Some(index) = it.replica.propose_configuration()
        {
            log.wanted = log.wanted.max(index);
        }
    }

    /// Begins or ends a reign.
    fn follow_reign(
        &mut self,
        it: &mut Replicated,
        log: &mut Durable,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let is_lost = self.keyspace.changes_len() > 0;
        if it.replica.end_reign(is_lost) {
            self.keyspace.set_journal(false);
            self.keyspace.keep_expired(true);
            self.keyspace.outdate_all();
            if is_lost {
                log.stream.abandon_snapshot(effects);
            }
        }
        if it.replica.begin_reign() {
            self.keyspace.set_journal(true);
            self.keyspace.keep_expired(false);
            self.keyspace.raise_sequence(now.first_sequence());
        }
    }

    /// Shows the keyspace what has been committed, a bounded piece.
    fn apply(&mut self, it: &mut Replicated) {
        let mut left = REPLICA_APPLY_BYTES;
        it.is_applying = false;
        while let Some((changes, overlaps)) = it.replica.next_to_apply() {
            if left == 0 {
                it.is_applying = true;
                break;
            }
            left = left.saturating_sub(changes.len().max(64));
            let made_sense = self.keyspace.replay(&changes, overlaps).is_ok();
            if is_planted(Fault::ApplyTwice) {
                let _ = self.keyspace.replay(&changes, overlaps);
            }
            it.replica.note_applied(made_sense);
        }
        it.replica.follow_fresh();
    }

    /// Makes parts of a snapshot that another replica is sent.
    fn send_parts(&mut self, it: &mut Replicated, now: Now) {
        let upheavals = self.keyspace.upheavals();
        let seen = LogIndex(it.replica.applied().0 + self.keyspace.changes_records());
        let Some(outgoing) = it.replica.outgoing().filter(|outgoing| outgoing.wants_part()) else {
            return;
        };
        if outgoing.upheavals == u64::MAX {
            outgoing.upheavals = upheavals;
        }
        if outgoing.upheavals != upheavals {
            return it.replica.end_transfer(false);
        }
        let mut part = Saved::default();
        let from = std::mem::take(&mut outgoing.cursor);
        let cursor = self.keyspace.save_entries(from, SNAPSHOT_PIECE_BYTES, now.unix, &mut part);
        let seen = cursor.is_done().then_some(seen);
        outgoing.cursor = cursor;
        let entries = part.entries;
        let bytes = match part.bytes() {
            Some(bytes) => bytes.to_vec(),
            None => payload(part.take()).to_vec(),
        };
        it.replica.send_part(bytes, entries, seen);
    }

    /// Whether the log may forget what is before a snapshot that begins now: who takes part stands there too.
    pub(super) fn may_begin_snapshot(&self) -> bool {
        self.replicated.as_ref().is_none_or(|it| it.replica.is_configuration_saved())
    }

    /// What a snapshot on disk begins with: how much the keyspace has seen. Nothing while that can't be told.
    pub(super) fn seen_by_keyspace(&self) -> Option<(LogIndex, Term)> {
        match &self.replicated {
            None => self.log.as_ref().map(|log| (log.stream.last_index(), Term(0))),
            Some(it) => it.replica.seen_by_keyspace(),
        }
    }
}

fn carry_out_orders(it: &mut Replicated, log: &mut Durable, effects: &mut Vec<Effect>) {
    for order in it.replica.take_orders() {
        match order {
            LogOrder::Append(entry) => {
                it.unwritten_bytes += entry_bytes(&entry);
                it.unwritten.push_back(entry);
            }
            LogOrder::Cut(index, before) => cut(it, log, (index, before), effects),
            LogOrder::Restart(index, term) => {
                (it.unwritten_bytes, it.restart) = (0, Some((index, term)));
                it.is_restart_asked = false;
                it.unwritten.clear();
                log.wants_snapshot = false;
                log.stream.abandon_snapshot(effects);
            }
        }
    }
}

fn cut(
    it: &mut Replicated,
    log: &mut Durable,
    (index, before): (LogIndex, Term),
    effects: &mut Vec<Effect>,
) {
    log.stream.abandon_snapshot(effects);
    let written = it.restart.map_or(log.stream.last_index(), |(index, _)| index);
    while written.0 + it.unwritten.len() as u64 >= index.0
        && let Some(entry) = it.unwritten.pop_back()
    {
        it.unwritten_bytes -= entry_bytes(&entry);
    }
    log.wanted = log.wanted.min(LogIndex(index.0 - 1));
    if it.restart.is_none() && index <= written && !is_planted(Fault::ForgetCut) {
        log.stream.cut(index, before, effects);
    }
}

/// Writes entries to the log if it is time.
fn write_entries(it: &mut Replicated, log: &mut Durable, now: Now, effects: &mut Vec<Effect>) {
    let stream = &mut log.stream;
    let sync = log.wanted > stream.durable();
    if it.unwritten_bytes > 0 {
        stream.changes_wait(now.mono);
    }
    let is_due = sync || stream.wants_step(now.mono, it.unwritten_bytes, sync);
    let (count, bytes) = next_batch(&it.unwritten);
    if !stream.step(now, if is_due { bytes } else { 0 }, sync, effects) {
        return;
    }
    let entries: Vec<LogEntry> = it.unwritten.drain(..count).collect();
    it.unwritten_bytes -= entries.iter().map(entry_bytes).sum::<usize>();
    match &entries[..] {
        [entry] if bytes > LOG_SHORT_BYTES_MAX => stream.write_long_entry(now, entry, effects),
        entries => stream.write_entries(now, entries, sync, effects),
    }
}

/// How many entries are written next, and the bytes that they take: one, or as many as are short together.
fn next_batch(unwritten: &VecDeque<LogEntry>) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for entry in unwritten {
        let more = entry_bytes(entry);
        if count > 0 && bytes + more > LOG_SHORT_BYTES_MAX {
            break;
        }
        (count, bytes) = (count + 1, bytes + more);
    }
    (count, bytes)
}

/// Has the log begun anew as soon as nothing is under way in the one before.
fn ask_for_restart(it: &mut Replicated, log: &mut Durable, effects: &mut Vec<Effect>) {
    if let Some((index, term)) = it.restart
        && !it.is_restart_asked
        && it.replica.is_configuration_saved()
        && log.stream.come_to_rest(effects)
    {
        it.is_restart_asked = true;
        effects.push(Effect::StartOver(index, term));
    }
}
