//! The part of a stream that a replicated log needs beyond others: entries come with a term of their own,
//! several at a time, and the last of them may have to give way to others before they are committed.
//!
//! ```text
//! before   ├── segment 7: 1 2 3 4 5 6 ──┤├── segment 8: 7 8 9 ─ ─
//! cut at 5 ├── segment 7: 1 2 3 4 ┤        (segment 8 is given up)
//!                                 ├── segment 9: 5 6 ─ ─          its header says where 7 ends
//! ```
//!
//! No byte is overwritten: the next segment's header tells where the records before it end. As any segment it is
//! begun only when all that is before it is on disk.

use bytes::Bytes;

use super::super::directory::Job;
use super::super::long::{Payload, Piece};
use super::super::record::{RecordKind, record_bytes};
use super::super::segment::{SEGMENT_HEADER_BYTES, SegmentFile};
use super::{Effect, Stream, append_record};
use crate::types::{ByteOffset, LogIndex, Now, SegmentId, Term};

/// An entry of Raft as the log takes it: its index is the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its term.
    pub term: Term,
    /// What is in it: changes, or a configuration.
    pub kind: RecordKind,
    /// What is in it; never empty.
    pub payload: Bytes,
}

/// Where a record that is not known to be committed begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordStart {
    /// The record.
    pub index: LogIndex,
    /// In which segment.
    pub segment: SegmentId,
    /// Where in it.
    pub at: ByteOffset,
}

impl Stream {
    /// Makes this the log of a replica: `starts` tells where the records found in it begin that may have to
    /// give way yet, in order, up to the last.
    pub fn replicate(&mut self, committed: LogIndex, starts: Vec<RecordStart>) {
        self.starts = starts.into();
        self.committed = committed;
    }

    /// All records up to this one stay.
    pub fn commit(&mut self, index: LogIndex, effects: &mut Vec<Effect>) {
        if index <= self.committed {
            return;
        }
        self.committed = index;
        while self.starts.front().is_some_and(|start| start.index <= index) {
            self.starts.pop_front();
        }
        self.go_on_with_snapshot(effects);
    }

    /// Writes entries as the next records, right after a step that said so for the sum of their
    /// [`entry_bytes`]. Together they are few enough to be written in one go.
    pub fn write_entries(
        &mut self,
        now: Now,
        entries: &[LogEntry],
        sync: bool,
        effects: &mut Vec<Effect>,
    ) {
        let bytes: usize = entries.iter().map(|entry| record_bytes(entry.payload.len())).sum();
        let mut buffer = self.buffer(SEGMENT_HEADER_BYTES + bytes);
        let Some(first) = entries.first() else { return self.keep_buffer(buffer) };
        // The header of a new segment tells the term of the record before.
        let offset = self.begin_write(&mut buffer, now);
        self.term = first.term;
        for entry in entries {
            self.term = entry.term;
            let header = self.seal(entry.kind, entry.payload.len(), now.mono);
            let at = ByteOffset(offset.0 + buffer.len() as u64);
            self.starts.push_back(RecordStart { index: header.index, segment: header.segment, at });
            append_record(&mut buffer, &header, &entry.payload);
        }
        buffer.pad_to_multiple_of(self.options.align_bytes);
        let sync = sync && self.durable == self.written && self.syncing.is_none();
        let last = self.sealed;
        self.submit((buffer, offset), last, sync, now, effects);
    }

    /// The same for one that is too long to be written in one go.
    pub fn write_long_entry(&mut self, now: Now, entry: &LogEntry, effects: &mut Vec<Effect>) {
        let active = self.writing();
        let (segment, at) = (active.id, active.end);
        self.term = entry.term;
        self.starts.push_back(RecordStart { index: self.next_index(), segment, at });
        let payload = Payload { pieces: vec![Piece::Bytes(entry.payload.to_vec())] };
        self.write_long_record(now, entry.kind, payload, effects);
    }

    /// Gives up the records from this one on: others come in their place. They are not committed. The record
    /// before has the term `term_before`.
    ///
    /// # Panics
    /// If they are.
    pub fn cut(&mut self, index: LogIndex, term_before: Term, effects: &mut Vec<Effect>) {
        assert!(index > self.committed, "what is committed stays");
        if index > self.sealed {
            return;
        }
        let last = LogIndex(index.0 - 1);
        let Some(start) = self.starts.iter().find(|start| start.index == index).copied() else {
            debug_assert!(false, "the begin of every record that is not committed is known");
            return;
        };
        self.abandon_snapshot(effects);
        self.starts.retain(|start| start.index < index);
        (self.sealed, self.durable) = (last, self.durable.min(last));
        self.term = term_before;
        self.written = self.written.min(last);
        self.syncing = self.syncing.map(|reached| reached.min(last));
        self.flights.iter_mut().for_each(|flight| flight.last_index = flight.last_index.min(last));
        if self.long.as_ref().is_some_and(|(_, of)| *of >= index)
            && let Some((record, _)) = self.long.take()
        {
            self.spent.extend(record.into_values());
        }
        self.cut_segments(start, effects);
    }

    fn cut_segments(&mut self, start: RecordStart, effects: &mut Vec<Effect>) {
        let mut given_up = Vec::new();
        if let Some(active) = &mut self.active {
            if active.id == start.segment {
                // What is under way to it goes behind the cut, or is what stays.
                active.end = start.at;
                self.is_cut = true;
                return;
            }
            given_up.push(SegmentFile::log(active.id));
            effects.push(Effect::Close(SegmentFile::log(active.id)));
            self.log_bytes = self.log_bytes.saturating_sub(active.end.0);
            self.active = None;
        }
        while self.closed.back().is_some_and(|closed| closed.id > start.segment) {
            let Some(closed) = self.closed.pop_back() else { break };
            self.log_bytes = self.log_bytes.saturating_sub(closed.bytes);
            given_up.push(SegmentFile::log(closed.id));
        }
        if let Some(closed) = self.closed.back_mut() {
            closed.bytes = start.at.0;
        }
        self.previous = Some((start.segment, start.at));
        // They are named by nothing any more once the next segment is begun; until then, and after a crash before
        // that, they are a log as good as any.
        self.given_up.append(&mut given_up);
    }

    /// Has what there is of the log written no more, so that it can be read: the next record begins another segment.
    /// False while something is under way, or about to be.
    pub fn set_apart(&mut self) -> bool {
        let is_still = self.flights.is_empty()
            && self.long.is_none()
            && self.syncing.is_none()
            && self.job.is_none()
            && self.jobs.is_empty()
            && self.snapshot.is_none();
        self.is_cut |= is_still && self.active.is_some_and(|active| active.begun);
        is_still
    }

    /// Gives up what has not begun; true once nothing is under way any more.
    pub fn come_to_rest(&mut self, effects: &mut Vec<Effect>) -> bool {
        self.abandon_snapshot(effects);
        self.jobs.clear();
        self.flights.is_empty()
            && self.syncing.is_none()
            && self.job.is_none()
            && self.snapshot.is_none()
    }

    /// The segment that replaces others has been begun: removes those.
    pub(super) fn remove_given_up(&mut self, effects: &mut Vec<Effect>) {
        if !self.given_up.is_empty() {
            let files = std::mem::take(&mut self.given_up);
            self.queue_job(Job::Remove(files), effects);
        }
    }
}

/// Bytes that an entry takes in the log.
pub fn entry_bytes(entry: &LogEntry) -> usize {
    record_bytes(entry.payload.len())
}
