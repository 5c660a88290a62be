//! What the `raft` crate wants done: entries for the log, messages, a hard state to be saved, in the order in
//! which it may be done.
//!
//! A leader's messages leave at once; a follower's when what they rely on is kept. Entries count as kept when
//! they are in memory (how far they are on disk is told beside, see `super`); a term or a vote only when it is on
//! disk. What comes behind one that is being saved waits for it, since they count in order.

use std::collections::VecDeque;

use raft::eraftpb::{Entry, EntryType, Message};

use super::{Body, LogEntry, NO_CHANGES, Replica};
use crate::log::{Configuration, HardState, RecordKind};
use crate::plant::{Fault, is_planted};
use crate::types::{LogIndex, NodeId, Term};

/// What is to be done with the log, in order.
#[derive(Debug)]
pub(crate) enum LogOrder {
    /// The entries from this one on give way; the one before has this term.
    Cut(LogIndex, Term),
    /// The next entry.
    Append(LogEntry),
    /// The log begins anew behind this entry, which has this term: a snapshot was taken in.
    Restart(LogIndex, Term),
}

/// What waits for a hard state to be saved.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) queue: VecDeque<HeldReady>,
    /// The hard state that is to be saved next.
    wanted: Option<HardState>,
    /// The generation that is being saved.
    saving: Option<u64>,
    /// The last that has been.
    saved: u64,
    /// The one that says that the replica has been started: nothing leaves before it is there.
    first: u64,
    /// Whether one could not be saved.
    has_failed: bool,
}

impl Held {
    /// What a start has to save before anything else.
    pub(super) fn new(first: &HardState) -> Self {
        let first_generation = first.generation;
        Self { wanted: Some(first.clone()), first: first_generation, ..Self::default() }
    }

    /// The last generation that is on disk.
    pub(super) fn saved(&self) -> u64 {
        self.saved
    }

    /// Whether nothing is to be saved, nor being saved.
    pub(super) fn is_idle(&self) -> bool {
        self.wanted.is_none() && self.saving.is_none()
    }
}

#[derive(Debug)]
pub(super) struct HeldReady {
    number: u64,
    /// The generation that must have been saved.
    needs: u64,
    messages: Vec<Message>,
}

impl Replica {
    /// Whether there is something to do.
    pub(crate) fn has_ready(&self) -> bool {
        !self.has_failed && (self.raw.has_ready() || !self.outbox.is_empty())
    }

    /// Does what is due, given how far the log is on disk.
    pub(crate) fn advance(&mut self, durable: LogIndex) {
        // What is ordered has not been done yet.
        self.durable = if self.orders.is_empty() { durable } else { durable.min(self.durable) };
        while !self.has_failed && self.raw.has_ready() {
            self.take_ready();
            self.release();
            self.leave_if_removed();
        }
        self.note_known();
        self.follow_role();
        self.follow_overlap();
        self.resolve_doubt();
        self.tell_synced();
        self.trim();
    }

    fn take_ready(&mut self) {
        let mut ready = self.raw.ready();
        let mut restored = None;
        if !ready.snapshot().get_metadata().get_conf_state().get_voters().is_empty() {
            let metadata = ready.snapshot().get_metadata();
            let (index, term) = (LogIndex(metadata.index), Term(metadata.term));
            self.raw.mut_store().restart(index, term);
            self.orders.push(LogOrder::Restart(index, term));
            self.durable = LogIndex(0);
            restored = Some(index);
        }
        let entries = ready.take_entries();
        if let Some(first) = entries.first().filter(|first| first.index <= self.raw.store().last())
        {
            let index = LogIndex(first.index);
            let before = self.raw.store().term_of(LogIndex(index.0 - 1)).unwrap_or_default();
            self.raw.mut_store().truncate(index.0);
            self.orders.push(LogOrder::Cut(index, before));
            self.durable = self.durable.min(LogIndex(index.0 - 1));
            self.agreed.1 = self.agreed.1.min(LogIndex(index.0 - 1));
            self.is_tainted |= index <= self.applied.max(self.overlap);
        }
        for entry in entries {
            self.orders.push(LogOrder::Append(log_entry(&entry)));
            self.raw.mut_store().push(entry);
        }
        let mut needs = self.note_hard_state(ready.hs());
        for entry in ready.take_committed_entries() {
            if entry.get_entry_type() == EntryType::EntryConfChange {
                self.follow_configuration(&entry);
                // What is said by a configuration waits until it is not forgotten.
                needs = needs.max(self.membership.generation);
            }
        }
        for state in ready.take_read_states() {
            if let Ok(round) = state.request_ctx.as_slice().try_into() {
                let round = u64::from_le_bytes(round);
                self.lease.answered(round);
                self.answer_fresh(round, LogIndex(state.index));
                self.tell_owed_goals(round);
            }
        }
        let number = ready.number();
        for message in ready.take_messages() {
            self.send(message);
        }
        let messages = ready.take_persisted_messages();
        self.held.queue.push_back(HeldReady { number, needs, messages });
        self.raw.advance_append_async(ready);
        // What is before a snapshot can't be looked through any more, as the crate does before it stands for election,
        // with all that it does not count as applied.
        if let Some(index) = restored {
            self.raw.raft.on_persist_snap(index.0);
            self.raw.advance_apply_to(index.0);
        }
    }

    /// Notes a hard state; answers the generation that must be on disk before anything that relies on it.
    fn note_hard_state(&mut self, new: Option<&raft::eraftpb::HardState>) -> u64 {
        if let Some(new) = new {
            self.raw.mut_store().set_hard_state(new);
            let vote = Some(NodeId(new.vote)).filter(|node| node.0 != 0);
            let state = &mut self.hard_state;
            let must_save = (state.term, state.vote) != (Term(new.term), vote);
            (state.term, state.vote) = (Term(new.term), vote);
            state.commit = LogIndex(new.commit).min(self.durable);
            if must_save && !is_planted(Fault::ForgetVote) {
                return self.save_hard_state();
            }
        }
        // Behind one that is being saved.
        let start = self.held.saved.max(self.held.first);
        self.held.queue.back().map_or(start, |last| last.needs)
    }

    /// Lets go what need not wait any more.
    fn release(&mut self) {
        let may_go =
            |ready: &HeldReady, saved| ready.needs <= saved || is_planted(Fault::VoteBeforeSaved);
        while self.held.queue.front().is_some_and(|ready| may_go(ready, self.held.saved))
            && let Some(ready) = self.held.queue.pop_front()
        {
            self.raw.on_persist_ready(ready.number);
            for message in ready.messages {
                self.send(message);
            }
        }
    }

    /// All that is committed and kept counts as applied with the crate, once it has been looked at for configurations.
    fn note_known(&mut self) {
        let log = &self.raw.raft.raft_log;
        let known = log.committed.min(log.persisted);
        if known > log.applied() {
            self.raw.advance_apply_to(known);
        }
    }

    fn send(&mut self, message: Message) {
        use raft::eraftpb::MessageType;
        let to = NodeId(message.to);
        match message.get_msg_type() {
            // The crate has only the head of it.
            MessageType::MsgSnapshot => return self.begin_raft_transfer(to, &message),
            MessageType::MsgAppendResponse if !message.reject => {
                // It may have been held back until long after.
                let (term, index) = (Term(message.term), LogIndex(message.index));
                if term > self.agreed.0 {
                    self.agreed = (term, index);
                } else if term == self.agreed.0 {
                    self.agreed.1 = self.agreed.1.max(index);
                }
            }
            _ => {}
        }
        self.outbox.push((to, Body::Raft(Box::new(message))));
    }

    /// What is to be done with the log, in order.
    pub(crate) fn take_orders(&mut self) -> Vec<LogOrder> {
        std::mem::take(&mut self.orders)
    }

    /// A hard state to be saved, if there is one and none is being saved; [`Replica::hard_state_saved`] is told.
    pub(crate) fn take_hard_state(&mut self) -> Option<HardState> {
        if self.held.has_failed {
            // What has failed looks as if it were there, and another would take the place of the last that is.
            self.held.wanted = None;
        }
        if self.held.saving.is_some() {
            return None;
        }
        let mut state = self.held.wanted.take()?;
        if is_planted(Fault::ForgetConfiguration) {
            state.configuration = Configuration::default();
        }
        self.held.saving = Some(state.generation);
        Some(state)
    }

    /// Whether the start has been noted on disk: nothing that tells this life from others leaves before.
    pub(super) fn has_begun(&self) -> bool {
        self.held.saved >= self.held.first
    }

    /// A hard state has been saved, or could not be: then this replica takes no more part.
    pub(crate) fn hard_state_saved(&mut self, is_saved: bool) {
        let Some(generation) = self.held.saving.take() else { return };
        if !is_saved {
            (self.has_failed, self.held.has_failed) = (true, true);
            return;
        }
        self.held.saved = generation;
        self.release();
    }

    /// The `raft` crate begins anew: what waited with it does not count any more, but what comes waits for the same
    /// hard state.
    pub(super) fn forget_held(&mut self) {
        self.held.queue.clear();
        if self.held.wanted.is_some() || self.held.saving.is_some() {
            let needs = self.hard_state.generation;
            self.held.queue.push_back(HeldReady { number: 0, needs, messages: Vec::new() });
        }
    }

    /// Takes no part any more, and notes that what is on disk is all that others were told of, if it is; true once that
    /// is done.
    pub(crate) fn close(&mut self, is_clean: bool) -> bool {
        self.fail();
        if is_clean && !self.hard_state.is_clean {
            self.hard_state.is_clean = true;
            self.save_hard_state();
        }
        self.held.is_idle()
    }

    /// Has the hard state saved as it is; answers the generation that is to be waited for.
    pub(super) fn save_hard_state(&mut self) -> u64 {
        self.hard_state.generation += 1;
        self.held.wanted = Some(self.hard_state.clone());
        self.hard_state.generation
    }

    /// Notes, for a start after a crash, how far the log is committed: no further than it is on disk, since it may hold
    /// other entries behind that, which have given way in memory only.
    pub(crate) fn save_commit(&mut self) {
        if self.held.is_idle() {
            self.hard_state.commit = self.committed().min(self.durable);
            self.save_hard_state();
        }
    }
}

/// An entry as the log has it.
fn log_entry(entry: &Entry) -> LogEntry {
    let term = Term(entry.term);
    let (kind, payload) = if entry.get_entry_type() == EntryType::EntryConfChange {
        (RecordKind::Configuration, entry.context.clone())
    } else if entry.data.is_empty() {
        (RecordKind::Entry, bytes::Bytes::from_static(&NO_CHANGES))
    } else {
        (RecordKind::Entry, entry.data.clone())
    };
    LogEntry { term, kind, payload }
}
