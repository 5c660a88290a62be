//! A short run of the fuzz targets of the log's readers on any compiler, and what they have found.
//! `RINGMAIN_FUZZ_ITERATIONS` makes the run longer, `RINGMAIN_FUZZ_SEED` different.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use ringmain::log::{
    MANIFEST_NAME, Manifest, OpenError, RecordKind, SEGMENT_HEADER_BYTES, SegmentFile,
};
use ringmain::types::{ByteOffset, LogIndex, SegmentId};

#[path = "feed/changes.rs"]
mod changes;
mod harness;
#[path = "feed/log.rs"]
mod log;

use harness::number_from_env;
use harness::random::Random;

/// The manifest of a log without a snapshot.
fn manifest(first_index: u64) -> Manifest {
    let first_index = LogIndex(first_index);
    Manifest { first_index, ..Manifest::new(log::SHARD, log::SHARDS, log::ID) }
}

/// A folder with this manifest and segments: for each its first record and how many there are. All say that
/// the one before ends at `ends_at`, or where it does.
fn folder(manifest: Manifest, segments: &[(u64, u64)], ends_at: Option<u64>) -> log::Memory {
    let mut memory = log::Memory::default();
    let (at, page) = manifest.encode();
    let mut file = vec![0; 2 * page.len()];
    let at = usize::try_from(at).expect("a copy");
    file[at..at + page.len()].copy_from_slice(&page);
    memory.files.insert(MANIFEST_NAME.to_owned(), file);
    let mut previous = None;
    for (id, (first, records)) in (1..).map(SegmentId).zip(segments) {
        let file = SegmentFile::log(id);
        let mut bytes = log::segment_header(file, *first, previous).encode().to_vec();
        for index in *first..first + records {
            let payload = changes::compose_changes(&[0, 1, 2, 3]);
            let header = log::header(RecordKind::Entry, id, index, index - 1);
            log::append(&mut bytes, &header, &payload, false);
        }
        let end = ends_at.unwrap_or((bytes.len() as u64).next_multiple_of(512));
        previous = Some((id, ByteOffset(end)));
        memory.files.insert(file.name(), bytes);
    }
    memory
}

/// The last record, where the folder can be read.
fn last_record(memory: &log::Memory) -> Result<LogIndex, OpenError> {
    log::check_folder(memory);
    log::recover(&mut memory.clone()).map(|(_, recovery)| recovery.last_index())
}

#[test]
fn a_segment_that_ends_within_a_block_is_gone_on_with() {
    let memory = folder(manifest(1), &[(1, 2)], None);
    let bytes = &memory.files[&SegmentFile::log(SegmentId(1)).name()];
    assert!(!bytes.len().is_multiple_of(512) && bytes.len() > SEGMENT_HEADER_BYTES);
    assert_eq!(last_record(&memory).expect("a log"), LogIndex(2));
}

#[test]
fn a_log_that_ends_before_it_begins_is_damaged() {
    // A snapshot holds all before record 3, so that they were on disk when it was named.
    for (records, is_well) in [(0, false), (1, false), (2, true), (3, true)] {
        let read = last_record(&folder(manifest(3), &[(1, records)], None));
        match read {
            Ok(last) => assert!(is_well && last.0 == records, "{last:?} of {records}"),
            Err(error) => {
                assert!(!is_well && matches!(error, OpenError::Damaged { .. }), "{error}");
            }
        }
    }
}

#[test]
fn a_log_without_its_first_records_is_refused() {
    for (first, is_well) in [(1, true), (2, true), (3, false), (u64::MAX >> 1, false)] {
        let read = last_record(&folder(manifest(2), &[(first, 2)], None));
        assert_eq!(read.is_ok(), is_well, "from {first}");
    }
}

#[test]
fn numbers_that_could_not_be_counted_on_from_are_refused() {
    let whole = manifest(1);
    let snapshot = Some(SegmentId(1));
    for (strange, is_one) in [
        (whole, true),
        (Manifest { generation: 1 << 62, ..whole }, true),
        (Manifest { generation: u64::MAX, ..whole }, false),
        (Manifest { first_index: LogIndex(0), ..whole }, false),
        (Manifest { first_index: LogIndex(u64::MAX), ..whole }, false),
        (Manifest { first_segment: SegmentId(0), ..whole }, false),
        (Manifest { first_segment: SegmentId(u64::MAX), ..whole }, false),
        (Manifest { snapshot: Some(SegmentId(u64::MAX)), ..whole }, false),
        (Manifest { snapshot, ..whole }, true),
        (Manifest { base_missing: true, ..whole }, true),
        // Who waits for the first snapshot names none.
        (Manifest { snapshot, base_missing: true, ..whole }, false),
    ] {
        let (_, page) = strange.encode();
        assert_eq!(Manifest::decode(&page), Some(strange).filter(|_| is_one));
        log::check_folder(&folder(strange, &[(1, 1)], None));
    }
    for first in [0, u64::MAX - 1, u64::MAX] {
        let read = last_record(&folder(whole, &[(first, 0)], None));
        assert!(matches!(read, Err(OpenError::Segment { .. }) | Ok(LogIndex(0))), "{read:?}");
    }
    assert_eq!(SegmentFile::parse("log-ffffffffffffffff.seg"), None);
    // Where records end, as the next segment has it, is not believed either.
    for end in [0, 4095, 1 << 40, u64::MAX] {
        let read = last_record(&folder(whole, &[(1, 1), (2, 1), (3, 1)], Some(end)));
        assert!(matches!(read, Err(OpenError::Damaged { .. })), "{read:?}");
    }
}

/// Runs `check` on `count` inputs that `make` makes.
fn run(count: u64, make: impl Fn(&mut Random) -> Vec<u8>, check: fn(&[u8])) {
    let iterations = number_from_env("RINGMAIN_FUZZ_ITERATIONS").unwrap_or(count);
    let seed = number_from_env("RINGMAIN_FUZZ_SEED").unwrap_or(0);
    let mut random = Random::new(seed);
    for _ in 0..iterations {
        let input = make(&mut random);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&input))) {
            eprintln!("seed {seed}; the input: b\"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
    }
}

fn any_bytes(random: &mut Random) -> Vec<u8> {
    let length = random.index(200);
    let mut bytes = random.bytes(length);
    // None, one, two or three places are damaged.
    if random.one_in(2)
        && let Some(first) = bytes.first_mut()
    {
        *first = 0;
    }
    bytes
}

#[test]
fn changes_that_changed_at_random_keep_the_invariants() {
    run(100, any_bytes, changes::check_invariants);
}

#[test]
fn any_records_keep_the_invariants() {
    run(2000, any_bytes, log::check_records);
}

#[test]
fn any_manifest_keeps_the_invariants() {
    run(2000, any_bytes, log::check_manifest);
}

#[test]
fn any_folder_keeps_the_invariants() {
    run(500, any_bytes, log::check_open);
}
