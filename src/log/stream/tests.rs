//! One log, a disk that does what it is told, and time by hand.

use super::super::record::{Record, RecordSeed};
use super::super::segment::SEGMENT_HEADER_BYTES;
use super::{
    DiskError, Effect, Job, LOG_RETRY_MS, LOG_SYNC_EVERY_MS, Manifest, Now, Refusal, Resume,
    ResumeSegment, SegmentFile, Stream, StreamOptions,
};
use crate::types::{ByteOffset, LogIndex, MonoUs, SegmentId, ShardId, Term, UnixMs};

const OPTIONS: StreamOptions =
    StreamOptions { segment_bytes: 1 << 26, align_bytes: 4096, fill: false };

fn now(us: u64) -> Now {
    Now { mono: MonoUs(us), unix: UnixMs(us / 1000), ..Now::default() }
}

fn empty() -> Resume {
    Resume {
        before: Vec::new(),
        manifest: Manifest::new(ShardId(0), 1, [7; 16]),
        last_index: LogIndex(0),
        last_term: Term(0),
        segments: Vec::new(),
        last_id: SegmentId(0),
        leftovers: Vec::new(),
    }
}

fn stream() -> Stream {
    let mut stream = Stream::new(empty(), OPTIONS);
    let mut effects = Vec::new();
    stream.step(now(0), 0, false, &mut effects);
    perform(&mut stream, now(0), effects);
    stream
}

/// A disk that does at once what it is told.
fn perform(stream: &mut Stream, now: Now, mut effects: Vec<Effect>) {
    while !effects.is_empty() {
        for effect in std::mem::take(&mut effects) {
            match effect {
                Effect::Write { file, buffer, .. } => {
                    stream.written(file, buffer, Ok(()), now, &mut effects);
                }
                Effect::Sync(file) => stream.synced(file, Ok(()), &mut effects),
                Effect::Job(_) => stream.done(Ok(()), now, &mut effects),
                Effect::Close(_)
                | Effect::SaveHardState(_)
                | Effect::StartOver(..)
                | Effect::ReadAgain(_) => {}
            }
        }
    }
}

/// Changes wait at every step, as they do under load.
fn turn(stream: &mut Stream, us: u64, sync: bool) {
    let mut effects = Vec::new();
    stream.changes_wait(now(us).mono);
    if stream.step(now(us), 1000, sync, &mut effects) {
        stream.write(now(us), &[1; 1000], sync, &mut effects);
    }
    perform(stream, now(us), effects);
}

#[test]
fn what_is_written_is_synced_in_time_though_writes_never_end() {
    let mut stream = stream();
    let mut longest_us = 0;
    for us in (0..5_000_000).step_by(1000) {
        turn(&mut stream, us, false);
        let since = stream.unsynced_since().map_or(us, |since| since.0);
        longest_us = longest_us.max(us - since);
    }
    assert!(stream.durable() > LogIndex(4000) && stream.figures().syncs < 10);
    assert!(longest_us <= (LOG_SYNC_EVERY_MS + 2) * 1000, "{longest_us}");
}

#[test]
fn who_waits_for_a_sync_gets_one_though_writes_never_end() {
    let mut stream = stream();
    (0..100).for_each(|us| turn(&mut stream, us, false));
    let wanted = stream.next_index();
    for us in 100..103 {
        let sync = stream.durable() < wanted;
        turn(&mut stream, us, sync);
    }
    assert!(stream.durable() >= wanted);
}

#[test]
fn what_is_set_apart_is_written_no_more() {
    let mut stream = stream();
    (0..10).for_each(|us| turn(&mut stream, us, false));
    let mut effects = Vec::new();
    stream.changes_wait(now(10).mono);
    assert!(stream.step(now(10), 1000, false, &mut effects));
    stream.write(now(10), &[1; 1000], false, &mut effects);
    assert!(!stream.set_apart(), "a write is under way");
    perform(&mut stream, now(10), effects);
    assert!(stream.set_apart());
    let (last, mut written) = (stream.last_index(), Vec::new());
    for us in 11..20 {
        let mut effects = Vec::new();
        stream.changes_wait(now(us).mono);
        if stream.step(now(us), 1000, false, &mut effects) {
            stream.write(now(us), &[1; 1000], false, &mut effects);
        }
        written.extend(effects.iter().filter_map(|effect| match effect {
            Effect::Write { file, .. } => Some(*file),
            Effect::Sync(_)
            | Effect::Job(_)
            | Effect::Close(_)
            | Effect::SaveHardState(_)
            | Effect::StartOver(..)
            | Effect::ReadAgain(_) => None,
        }));
        perform(&mut stream, now(us), effects);
    }
    assert!(stream.last_index() > last);
    assert!(written.iter().all(|file| *file == SegmentFile::log(SegmentId(2))), "{written:?}");
}

/// The segments that are asked for, with their lengths.
fn prepared(effects: &[Effect]) -> Vec<(SegmentId, u64)> {
    let prepared = effects.iter().filter_map(|effect| match effect {
        Effect::Job(Job::Prepare { file, bytes, .. }) => Some((file.id, *bytes)),
        Effect::Write { .. }
        | Effect::Sync(_)
        | Effect::Job(_)
        | Effect::Close(_)
        | Effect::SaveHardState(_)
        | Effect::StartOver(..)
        | Effect::ReadAgain(_) => None,
    });
    prepared.collect()
}

#[test]
fn a_segment_that_could_not_be_made_is_tried_again_under_its_number() {
    let mut stream = Stream::new(empty(), OPTIONS);
    let first = stream.manifest.first_segment;
    let full = DiskError { errno: libc::ENOSPC };
    for us in [0, LOG_RETRY_MS * 1000, LOG_RETRY_MS * 2000] {
        let (mut effects, mut asked) = (Vec::new(), Vec::new());
        stream.step(now(us), 0, false, &mut effects);
        while let Some(Effect::Job(job)) = effects.pop() {
            let is_prepare = matches!(job, Job::Prepare { .. });
            asked.extend(prepared(&[Effect::Job(job)]));
            let result = if is_prepare && us < LOG_RETRY_MS * 2000 { Err(full) } else { Ok(()) };
            stream.done(result, now(us), &mut effects);
        }
        assert_eq!(asked, [(first, OPTIONS.segment_bytes)], "at {us}");
    }
    assert_eq!(stream.refusal(0), None);
    turn(&mut stream, LOG_RETRY_MS * 3000, true);
    assert_eq!(stream.segment_of(LogIndex(1)), first);
}

#[test]
fn a_long_records_segment_has_room_for_what_comes_while_it_is_made() {
    let mut stream = stream();
    let mut waiting = usize::try_from(OPTIONS.segment_bytes).unwrap();
    let mut effects = Vec::new();
    assert!(!stream.step(now(1), waiting, false, &mut effects));
    assert_eq!(prepared(&effects).len(), 1);
    waiting += 1 << 20;
    perform(&mut stream, now(2), effects);
    let mut effects = Vec::new();
    assert!(stream.step(now(2), waiting, false, &mut effects));
    assert_eq!(prepared(&effects), []);
}

#[test]
fn a_long_record_on_a_full_disk_asks_for_what_it_needs_and_no_more() {
    let mut stream = stream();
    let waiting = usize::try_from(OPTIONS.segment_bytes).unwrap();
    let (mut us, mut effects) = (1, Vec::new());
    assert!(!stream.step(now(us), waiting, false, &mut effects));
    for more in [0, 1 << 20] {
        while let Some(Effect::Job(job)) = effects.pop() {
            let is_prepare = matches!(job, Job::Prepare { .. });
            let full = DiskError { errno: libc::ENOSPC };
            let result = if is_prepare { Err(full) } else { Ok(()) };
            stream.done(result, now(us), &mut effects);
        }
        assert!(matches!(stream.refusal(waiting), Some(Refusal::Full(_))));
        us += LOG_RETRY_MS * 1000;
        assert!(!stream.step(now(us), waiting + more, false, &mut effects));
        let needed = stream.bytes_for(waiting + more);
        assert_eq!(prepared(&effects), [(SegmentId(1), needed)]);
    }
    perform(&mut stream, now(us), effects);
    assert!(stream.step(now(us), waiting, false, &mut Vec::new()));
    assert_eq!(stream.refusal(0), None);
}

#[test]
fn nothing_is_built_on_what_was_found_before_it_is_synced() {
    let segment = |id, first| ResumeSegment {
        id: SegmentId(id),
        first_index: LogIndex(first),
        end: ByteOffset(8192),
        file_bytes: 1 << 26,
    };
    let segments = vec![segment(1, 1), segment(2, 10)];
    let found = Resume { segments, last_index: LogIndex(15), ..empty() };
    for result in [Ok(()), Err(DiskError { errno: libc::EIO })] {
        let mut stream = Stream::new(found.clone(), OPTIONS);
        let mut effects = Vec::new();
        assert!(!stream.step(now(0), 1000, true, &mut effects));
        let [Effect::Job(Job::Settle(Some(newest)))] = effects[..] else {
            panic!("{effects:?}");
        };
        // The first segment was on disk before the second was begun.
        assert_eq!((newest, stream.durable()), (SegmentFile::log(SegmentId(2)), LogIndex(9)));
        effects.clear();
        stream.done(result, now(1), &mut effects);
        let goes_on = matches!(effects[..], [Effect::Job(Job::SaveManifest(_))]);
        assert_eq!((goes_on, effects.is_empty()), (result.is_ok(), result.is_err()));
        assert_eq!(stream.durable(), LogIndex(if result.is_ok() { 15 } else { 9 }));
    }
}

#[test]
fn changes_that_wait_are_not_on_disk() {
    let mut stream = stream();
    assert_eq!(stream.unsynced_since(), None);
    stream.changes_wait(MonoUs(5));
    stream.changes_wait(MonoUs(8));
    assert_eq!(stream.unsynced_since(), Some(MonoUs(5)));
    turn(&mut stream, 10, false);
    assert_eq!(stream.unsynced_since(), Some(MonoUs(5)));
    let mut effects = Vec::new();
    stream.step(now(11), 0, true, &mut effects);
    perform(&mut stream, now(11), effects);
    assert_eq!(stream.unsynced_since(), None);
}

/// Its first segment may lose its header with the power, while the log before it is the one that counts.
#[test]
fn a_log_that_does_not_count_yet_promises_nothing() {
    let mut resume = empty().behind(LogIndex(21), Term(3));
    resume.manifest.base_missing = true;
    let seed = RecordSeed::of(&resume.manifest.directory);
    let mut stream = Stream::new(resume, OPTIONS);
    let mut promised = Vec::new();
    for us in 0..3 {
        let mut effects = Vec::new();
        stream.changes_wait(now(us).mono);
        if stream.step(now(us), 1000, true, &mut effects) {
            stream.write(now(us), &[1; 1000], true, &mut effects);
        }
        for effect in &effects {
            if let Effect::Write { offset, buffer, .. } = effect {
                let header = if offset.0 == 0 { SEGMENT_HEADER_BYTES } else { 0 };
                let record = Record::decode(&buffer.bytes()[header..], seed).unwrap();
                promised.push((record.header.index, record.header.synced));
            }
        }
        perform(&mut stream, now(us), effects);
    }
    let records = [22, 23].map(|index| (LogIndex(index), LogIndex(0)));
    assert_eq!(promised, records);
    assert_eq!(stream.durable(), LogIndex(23));
}
