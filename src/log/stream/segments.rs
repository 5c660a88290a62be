//! The part of a stream that sees to segments and to the folder: the next one is made ahead of use, one that is
//! full gives way to it, and jobs are done one after another.

use super::super::directory::Job;
use super::super::record::record_bytes;
use super::super::segment::{SEGMENT_HEADER_BYTES, SegmentFile};
use super::{DiskError, Effect, Stream};
use crate::limits::LOG_RETRY_MS;
use crate::types::{ByteOffset, LogIndex, MonoUs, Now, SegmentId};

/// The segment that is being written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Active {
    pub(super) id: SegmentId,
    pub(super) first_index: LogIndex,
    pub(super) bytes: u64,
    /// Where the next record goes.
    pub(super) end: ByteOffset,
    /// Whether its header is written.
    pub(super) begun: bool,
}

/// The segment that will be written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spare {
    /// There is none.
    None,
    /// It is being made.
    Coming { id: SegmentId, bytes: u64 },
    /// It is there.
    Ready { id: SegmentId, bytes: u64 },
    /// It could not be made; it is tried again, or is being tried again where there is no time for that, under
    /// the same number: the manifest may name it already as the first.
    Failed { id: SegmentId, bytes: u64, error: DiskError, retry_at: Option<MonoUs> },
}

/// A segment whose records are all durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    pub(super) id: SegmentId,
    pub(super) first_index: LogIndex,
    /// Up to the end of its records.
    pub(super) bytes: u64,
    /// Of the file.
    pub(super) file_bytes: u64,
}

impl Stream {
    /// Bytes of a segment for a record of so many bytes.
    pub(super) fn bytes_for(&self, length: usize) -> u64 {
        let padded = record_bytes(length).next_multiple_of(self.options.align_bytes);
        (SEGMENT_HEADER_BYTES + padded) as u64
    }

    /// Sees to it that the active segment has room for a record; false if that takes longer.
    pub(super) fn make_room(&mut self, length: usize, effects: &mut Vec<Effect>) -> bool {
        let needed = self.bytes_for(length);
        let padded = needed - SEGMENT_HEADER_BYTES as u64;
        let has_room = |active: Active| active.bytes - active.end.0 >= padded;
        if !self.is_cut && self.active.is_some_and(has_room) {
            return true;
        }
        if self.syncing.is_some() || !self.flights.is_empty() {
            return false;
        }
        if self.durable < self.written {
            self.start_sync(effects);
            return false;
        }
        let Spare::Ready { id, bytes } = self.spare else { return false };
        if bytes < needed {
            // A record longer than a segment has a segment of its own, in which it fits with what comes until
            // that is made.
            let bytes = needed + self.options.segment_bytes;
            self.spare = Spare::Coming { id, bytes };
            let file = SegmentFile::log(id);
            self.queue_job(Job::Prepare { file, bytes, recycled: None, fill: false }, effects);
            return false;
        }
        if let Some(Active { id, first_index, bytes: file_bytes, end, begun }) = self.active.take()
        {
            effects.push(Effect::Close(SegmentFile::log(id)));
            if begun {
                self.previous = Some((id, end));
                self.closed.push_back(Closed { id, first_index, bytes: end.0, file_bytes });
            }
        }
        self.is_cut = false;
        self.remove_given_up(effects);
        self.active = Some(Active {
            id,
            first_index: self.next_index(),
            bytes,
            end: ByteOffset(SEGMENT_HEADER_BYTES as u64),
            begun: false,
        });
        self.spare = Spare::None;
        true
    }

    /// The job is done, or failed.
    pub fn done(&mut self, result: Result<(), DiskError>, now: Now, effects: &mut Vec<Effect>) {
        let Some(job) = self.job.take() else { return };
        match (job, result) {
            (Job::Prepare { file, .. }, result)
                if self.snapshot.as_ref().is_some_and(|snapshot| snapshot.file() == file) =>
            {
                if let Some(snapshot) = &mut self.snapshot {
                    snapshot.prepared(result);
                }
                self.go_on_with_snapshot(effects);
            }
            (Job::Prepare { file, bytes, .. }, Ok(())) => {
                self.spare = Spare::Ready { id: file.id, bytes };
            }
            (Job::Prepare { file, bytes, .. }, Err(error)) => {
                let retry_at = Some(MonoUs(now.mono.0 + LOG_RETRY_MS * 1000));
                let usual = self.options.segment_bytes;
                let bytes = match self.spare {
                    Spare::Failed { bytes, .. } => bytes,
                    // The next try is without the room for what comes: nothing does until it has succeeded.
                    Spare::None | Spare::Coming { .. } | Spare::Ready { .. } if bytes > usual => {
                        bytes - usual
                    }
                    Spare::None | Spare::Coming { .. } | Spare::Ready { .. } => bytes,
                };
                self.spare = Spare::Failed { id: file.id, bytes, error, retry_at };
                self.jobs.push_back(Job::Remove(vec![file]));
            }
            (Job::SaveManifest(manifest), result) => {
                if self.snapshot.as_ref().is_some_and(|it| Some(it.file().id) == manifest.snapshot)
                {
                    self.snapshot_saved(&manifest, result);
                } else if let Err(error) = result {
                    self.failed = Some(error);
                }
            }
            (Job::Settle(_), Ok(())) => self.durable = self.written,
            (Job::Settle(_), Err(error)) => self.failed = Some(error),
            // What could not be removed is removed at the next start. The hard state is the replica's business.
            (Job::Remove(_) | Job::SaveHardState(_), _) => {}
        }
        self.start_job(effects);
    }

    pub(super) fn queue_job(&mut self, job: Job, effects: &mut Vec<Effect>) {
        self.jobs.push_back(job);
        self.start_job(effects);
    }

    /// Begins the next job. After a failure there is none: what it relies on may not be on the disk.
    pub(super) fn start_job(&mut self, effects: &mut Vec<Effect>) {
        if self.job.is_none()
            && self.failed.is_none()
            && let Some(job) = self.jobs.pop_front()
        {
            self.job = Some(job.clone());
            effects.push(Effect::Job(job));
        }
    }

    pub(super) fn take_id(&mut self) -> SegmentId {
        let id = self.next_id;
        self.next_id = SegmentId(id.0 + 1);
        id
    }

    /// Has the next segment made ready, if none is; after a failure, one in which what waits fits.
    pub(super) fn prepare_spare(&mut self, now: MonoUs, waiting: usize, effects: &mut Vec<Effect>) {
        let usual = self.options.segment_bytes;
        let (id, bytes) = match self.spare {
            Spare::None => {
                let id = self.take_id();
                self.spare = Spare::Coming { id, bytes: usual };
                (id, usual)
            }
            // A failure shows until the next try has succeeded.
            Spare::Failed { id, bytes, error, retry_at }
                if retry_at.is_some_and(|at| now >= at) =>
            {
                let bytes = bytes.max(self.bytes_for(waiting));
                self.spare = Spare::Failed { id, bytes, error, retry_at: None };
                (id, bytes)
            }
            Spare::Failed { .. } | Spare::Coming { .. } | Spare::Ready { .. } => return,
        };
        let mut recycled = None;
        if bytes == usual {
            recycled = self.recyclable.pop().map(|old| SegmentFile::log(old.id));
        } else if !self.recyclable.is_empty() {
            // They are too short, and take room that it could have.
            let old = self.recyclable.drain(..).map(|old| SegmentFile::log(old.id));
            self.jobs.push_back(Job::Remove(old.collect()));
        }
        let (file, fill) = (SegmentFile::log(id), self.options.fill && bytes == usual);
        self.queue_job(Job::Prepare { file, bytes, recycled, fill }, effects);
    }
}
