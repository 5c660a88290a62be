//! A log's files in memory: composed and put right, so that what is behind checksums is reached, and read
//! under every condition. The tests and the fuzz targets share it.

#![allow(dead_code, reason = "each user of it takes a part")]

use ringmain::cache::{Expiry, KeyspaceOptions};
use ringmain::limits::DATABASES;
use ringmain::log::{
    BLOCK_BYTES, Directory, Effect, Item, MANIFEST_COPY_BYTES, MANIFEST_NAME, Manifest, Next,
    OpenError, RECORD_ALIGN, RECORD_HEADER_BYTES, Record, RecordFault, RecordHeader, RecordKind,
    RecordSeed, Recovery, SEGMENT_HEADER_BYTES, Salvage, Scan, SegmentFile, SegmentHeader, Stop,
    Stream, StreamOptions, rebuild_manifest, record_bytes, start_over,
};
use ringmain::shard::Shard;
use ringmain::types::{
    ByteOffset, DbIndex, Key, LogIndex, MonoUs, Now, SLOT_COUNT, SegmentId, ShardId, Term, UnixMs,
};

mod memory;

pub(crate) use memory::Memory;

use super::changes::{compose_changes, compose_entries, damage, faults};

pub(crate) const SHARD: ShardId = ShardId(1);
pub(crate) const SHARDS: u16 = 2;
pub(crate) const ID: [u8; 16] = [5; 16];
const SEGMENT: SegmentId = SegmentId(7);

pub(crate) fn header(
    kind: RecordKind,
    segment: SegmentId,
    index: u64,
    synced: u64,
) -> RecordHeader {
    RecordHeader {
        kind,
        shard: SHARD,
        segment,
        term: Term(0),
        index: LogIndex(index),
        synced: LogIndex(synced),
        seed: RecordSeed::of(&ID),
    }
}

fn kind(byte: u8) -> RecordKind {
    match byte % 4 {
        0 | 1 => RecordKind::Entry,
        2 => RecordKind::SnapshotPart,
        _ => RecordKind::SnapshotEnd,
    }
}

// --- records -------------------------------------------------------------------------------------

/// Makes records of bytes that are the content of a segment: what stands where a header might be is taken
/// for one, and what does not fit in it is put right.
fn seal_records(bytes: &mut [u8]) {
    let (mut at, mut index) = (SEGMENT_HEADER_BYTES, 1);
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| rest.len() > RECORD_HEADER_BYTES) {
        if rest[..8] == [0; 8] {
            at = (at + 1).next_multiple_of(BLOCK_BYTES);
            continue;
        }
        let word = u32::from_le_bytes([rest[4], rest[5], rest[6], rest[7]]) as usize;
        let length = 1 + word % 1024 % (rest.len() - RECORD_HEADER_BYTES);
        let header = header(kind(rest[8]), SEGMENT, index, u64::from(rest[40]));
        let head = header.encode(&rest[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length]);
        rest[..RECORD_HEADER_BYTES].copy_from_slice(&head);
        (at, index) = (at + record_bytes(length), index + 1);
    }
}

/// The places and indices of the records that a walk finds, why it ends, and how it stands then.
fn scan(bytes: &[u8]) -> (Vec<(usize, u64)>, Stop, Scan) {
    let mut scan = Scan::new(SHARD, SEGMENT, LogIndex(1), RecordSeed::of(&ID));
    let mut places = Vec::new();
    loop {
        let next = scan.next_index();
        match scan.next(bytes) {
            Next::Record(record) => {
                let end = usize::try_from(scan.at().0).expect("it is in memory");
                let at = end - record.bytes();
                assert_eq!((record.header.index, at % RECORD_ALIGN), (next, 0));
                check_record(&record, &bytes[at..]);
                places.push((at, end));
            }
            Next::Stop(stop) => {
                let places = places.into_iter().map(|(at, end)| (at, end as u64)).collect();
                return (places, stop, scan);
            }
        }
    }
}

/// A record that was read is written as it was.
fn check_record(record: &Record<'_>, bytes: &[u8]) {
    let head = record.header.encode(record.payload);
    assert_eq!(bytes[..RECORD_HEADER_BYTES], head);
    let payload = &bytes[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + record.payload.len()];
    assert!(!payload.is_empty() && payload == record.payload);
}

/// What must hold for any bytes as the content of a segment: records are found in order and do not overlap,
/// however much of the file there is, and what is said of the rest is so.
fn check_segment(bytes: &[u8]) {
    let (places, stop, walk) = scan(bytes);
    let mut before = SEGMENT_HEADER_BYTES as u64;
    for (at, end) in &places {
        let is_next = *at as u64 == before;
        assert!(is_next || *at as u64 > before && at.is_multiple_of(BLOCK_BYTES));
        before = *end;
    }
    assert!(stop.at.0 >= before);
    assert!(stop.fault == RecordFault::Nothing || stop.at.0 < bytes.len() as u64);
    for cut in [bytes.len() / 2, bytes.len().saturating_sub(1), bytes.len() / 7 * 6] {
        let (fewer, ..) = scan(&bytes[..cut]);
        assert_eq!(fewer, places[..fewer.len()]);
        let next = places.get(fewer.len());
        assert!(next.is_none_or(|(_, end)| *end + 8 > cut as u64), "{next:?} is before {cut}");
    }
    if let Some(at) = walk.later_promise(bytes) {
        let at = usize::try_from(at.0).expect("it is in memory");
        let record = Record::decode(&bytes[at..], RecordSeed::of(&ID)).expect("a record");
        assert!(at as u64 >= before && record.header.synced >= walk.next_index());
    }
    let _ = walk.promise_without_header(bytes);
    let mut end = 0;
    let from = ByteOffset(0);
    for (at, record) in Salvage::new(bytes, (SHARD, SEGMENT), RecordSeed::of(&ID), from) {
        let at = usize::try_from(at.0).expect("it is in memory");
        assert!(at >= end && at >= SEGMENT_HEADER_BYTES);
        check_record(&record, &bytes[at..]);
        end = at + record.bytes();
    }
}

fn check_segment_header(bytes: &[u8]) {
    for file in [SegmentFile::log(SEGMENT), SegmentFile::snapshot(SEGMENT)] {
        if let Ok(header) = SegmentHeader::decode(bytes, file, SHARD, &ID) {
            assert_eq!(header.encode(), bytes[..SEGMENT_HEADER_BYTES]);
        }
    }
}

/// What must hold for any bytes as records, as they are, put right, and put right with a few bytes changed.
pub(crate) fn check_records(input: &[u8]) {
    let seed = RecordSeed::of(&ID);
    if let Ok(record) = Record::decode(input, seed) {
        check_record(&record, input);
    }
    check_segment_header(input);
    check_segment(input);
    let (faults, rest) = faults(input);
    let first_index = 1 + rest.len() as u64 % 3;
    let mut page = segment_header(SegmentFile::log(SEGMENT), first_index, None).encode();
    if let Some(fault) = faults.first_chunk::<4>() {
        damage(&mut page[..96], fault);
        let crc = crc32c(&page[12..96]);
        page[8..12].copy_from_slice(&crc.to_le_bytes());
    }
    check_segment_header(&page);
    let mut segment = [&page[..], rest].concat();
    check_segment(&segment);
    seal_records(&mut segment);
    check_segment(&segment);
    damage(&mut segment[SEGMENT_HEADER_BYTES..], faults);
    check_segment(&segment);
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    })
}

// --- the manifest --------------------------------------------------------------------------------

/// Gives both copies a beginning and a checksum that are right.
fn seal_manifest(bytes: &mut [u8]) {
    for page in bytes.chunks_exact_mut(MANIFEST_COPY_BYTES) {
        page[..8].copy_from_slice(b"RINGMAN1");
        let crc = crc32c(&page[12..128]);
        page[8..12].copy_from_slice(&crc.to_le_bytes());
    }
}

pub(crate) fn check_manifest_file(bytes: &[u8]) {
    let copies = Manifest::copies(bytes);
    for (page, copy) in bytes.chunks(MANIFEST_COPY_BYTES).zip(copies) {
        let Some(manifest) = copy else { continue };
        assert_eq!(manifest.encode().1, page);
        // Both of them stand for what they say wherever they are.
        assert_eq!(Manifest::decode(&manifest.encode().1), Some(manifest));
    }
    let newest = Manifest::decode(bytes);
    assert_eq!(newest.is_some(), copies.iter().any(Option::is_some));
    for copy in copies.into_iter().flatten() {
        assert!(newest.is_some_and(|newest| newest.generation >= copy.generation));
    }
    if copies == [None; 2] {
        assert!(Manifest::is_copy_damaged(bytes));
    }
}

/// What must hold for any bytes as a manifest: as they are, as the beginnings of both copies with the rest
/// put right, and as what a manifest says.
pub(crate) fn check_manifest(input: &[u8]) {
    check_manifest_file(input);
    let mut file = vec![0; 2 * MANIFEST_COPY_BYTES];
    let (first, second) = input.split_at(input.len().min(128 - 12));
    file[12..12 + first.len()].copy_from_slice(first);
    let second = &second[..second.len().min(MANIFEST_COPY_BYTES)];
    file[MANIFEST_COPY_BYTES..MANIFEST_COPY_BYTES + second.len()].copy_from_slice(second);
    check_manifest_file(&file);
    seal_manifest(&mut file);
    check_manifest_file(&file);
    let manifest = manifest(&mut Script(input));
    let mut file = [manifest.encode().1; 2].concat();
    assert_eq!(Manifest::decode(&file), Some(manifest));
    let (faults, _) = faults(input);
    damage(&mut file, faults);
    check_manifest_file(&file);
}

// --- whole folders -------------------------------------------------------------------------------

/// What the rest of an input tells to compose; zeros behind its end.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn u8(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A small number, or any.
    fn number(&mut self, below: u8) -> u64 {
        match self.u8() {
            255 => u64::MAX - u64::from(self.u8() % 4),
            254 => u64::from_le_bytes(*self.take(8).first_chunk().unwrap_or(&[0x80; 8])),
            small => u64::from(small % below),
        }
    }
}

/// A manifest that may be in a file.
fn manifest(script: &mut Script<'_>) -> Manifest {
    let optional = |number: u64| Some(number).filter(|number| *number > 0);
    // Numbers that a server has come to are far below what it reads.
    let end = 1 << 62;
    let base_missing = script.u8() > 240;
    Manifest {
        generation: script.number(4) % end,
        snapshot: optional(script.number(5) % end).filter(|_| !base_missing).map(SegmentId),
        first_index: LogIndex((script.number(6) % end).max(1)),
        first_segment: SegmentId((script.number(5) % end).max(1)),
        clean_index: optional(script.number(8)).map(LogIndex),
        base_term: Term(script.number(2)),
        base_missing,
        ..Manifest::new(SHARD, SHARDS, ID)
    }
}

pub(crate) fn segment_header(
    file: SegmentFile,
    first_index: u64,
    previous: Option<(SegmentId, ByteOffset)>,
) -> SegmentHeader {
    SegmentHeader {
        file,
        shard: SHARD,
        first_index: LogIndex(first_index),
        previous,
        previous_term: Term(0),
        created: UnixMs(1_700_000_000_000),
        directory: ID,
    }
}

/// What a folder has come to while it is composed.
struct Composed {
    memory: Memory,
    /// The last segment of the log, where its records end, and its last record.
    last: Option<(SegmentId, u64)>,
    index: u64,
}

impl Composed {
    /// Adds a segment of the log that goes on where the last one ended, or does not.
    fn add_segment(&mut self, script: &mut Script<'_>, id: u64) {
        let file = SegmentFile::log(SegmentId(id));
        let strange = script.u8();
        let mut previous = self.last.map(|(id, end)| (id, ByteOffset(end)));
        let mut first_index = self.index.wrapping_add(1);
        match strange {
            255 => first_index = script.number(8),
            254 => previous = Some((SegmentId(script.number(6)), ByteOffset(script.number(9)))),
            253 => previous = previous.map(|(id, _)| (id, ByteOffset(script.number(9)))),
            252 => previous = None,
            _ => {}
        }
        let mut bytes = segment_header(file, first_index, previous).encode().to_vec();
        self.index = first_index.wrapping_sub(1);
        for _ in 0..script.u8() % 4 {
            let how = script.u8();
            let payload = match how & 3 {
                0 => script.take(usize::from(how >> 4)).to_vec(),
                _ => compose_changes(script.take(8)),
            };
            self.index = self.index.wrapping_add(1 + u64::from(how == 0xfc));
            let kind = if how == 0xfd { kind(script.u8()) } else { RecordKind::Entry };
            let synced = if how & 8 > 0 { self.index.wrapping_sub(1) } else { script.number(8) };
            let of = header(kind, file.id, self.index, synced);
            append(&mut bytes, &of, &payload, how & 4 > 0);
        }
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        self.last = Some((file.id, bytes.len() as u64));
        // It was allocated ahead.
        bytes.resize(bytes.len() + usize::from(script.u8() % 3) * BLOCK_BYTES, 0);
        self.memory.files.insert(file.name(), bytes);
    }

    fn add_snapshot(&mut self, script: &mut Script<'_>, id: u64) {
        let file = SegmentFile::snapshot(SegmentId(id));
        let mut bytes = segment_header(file, 1 + script.number(6) % 7, None).encode().to_vec();
        let (mut entries, parts) = (0, u64::from(script.u8() % 3));
        for part in 0..parts {
            let payload = compose_entries(script.take(8));
            entries += (payload.len() as u64).min(2);
            append(
                &mut bytes,
                &header(RecordKind::SnapshotPart, file.id, part + 1, 0),
                &payload,
                true,
            );
        }
        let strange = script.u8();
        if strange < 250 {
            let entries = if strange == 249 { script.number(4) } else { entries };
            let end = [entries.to_le_bytes(), script.number(6).to_le_bytes()].concat();
            append(&mut bytes, &header(RecordKind::SnapshotEnd, file.id, parts + 1, 0), &end, true);
        }
        self.memory.files.insert(file.name(), bytes);
    }
}

pub(crate) fn append(bytes: &mut Vec<u8>, header: &RecordHeader, payload: &[u8], at_block: bool) {
    if payload.is_empty() {
        return;
    }
    let align = if at_block { BLOCK_BYTES } else { RECORD_ALIGN };
    bytes.resize(bytes.len().next_multiple_of(align), 0);
    bytes.extend(header.encode(payload));
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(RECORD_ALIGN), 0);
}

/// A folder with a manifest, segments and snapshots that belong together, more or less.
fn compose(script: &mut Script<'_>) -> Memory {
    let mut composed = Composed { memory: Memory::default(), last: None, index: 0 };
    let (faults, rest) = faults(script.0);
    script.0 = rest;
    let manifest = manifest(script);
    let mut file = vec![0; 2 * MANIFEST_COPY_BYTES];
    for generation in [manifest.generation, manifest.generation.saturating_sub(1)] {
        let (at, page) = Manifest { generation, ..manifest }.encode();
        let at = usize::try_from(at).expect("a copy");
        file[at..at + page.len()].copy_from_slice(&page);
    }
    if script.u8() < 250 {
        composed.memory.files.insert(MANIFEST_NAME.to_owned(), file);
    }
    let mut id = 0;
    for _ in 0..script.u8() % 5 {
        let how = script.u8();
        id = if how == 255 { script.number(8) } else { id.wrapping_add(1) };
        if how.is_multiple_of(4) {
            composed.add_snapshot(script, id);
        } else {
            composed.add_segment(script, id);
        }
        if id > 1 << 32 {
            break;
        }
    }
    for fault in faults.chunks_exact(4) {
        let count = composed.memory.files.len();
        let number = usize::from(fault[3]) % count.max(1);
        if let Some(bytes) = composed.memory.files.values_mut().nth(number) {
            match fault[3] {
                0xf0.. => bytes.truncate(bytes.len() / 256 * usize::from(fault[0])),
                _ => damage(bytes, fault),
            }
        }
    }
    composed.memory
}

fn shard() -> Shard {
    let slots = 0..SLOT_COUNT;
    Shard::new(SHARD, KeyspaceOptions { slots, seed: 1, sequence: 0 })
}

/// What a folder holds, as a server reads it.
pub(crate) fn recover(memory: &mut Memory) -> Result<(Shard, Recovery<Vec<u8>>), OpenError> {
    let mut recovery = Recovery::open(memory, SHARD, SHARDS, ID)?;
    let mut shard = shard();
    loop {
        let (read, total) = recovery.progress();
        assert!(read <= total, "{read} of {total} bytes");
        if !recovery.step(|item| shard.recover(item))? {
            return Ok((shard, recovery));
        }
    }
}

fn now(step: u64) -> Now {
    let mono = MonoUs(step * 100_000);
    Now::new(std::time::Duration::from_secs(1_800_000_000 + step), mono)
}

/// A server that begins with the log `stream`, makes one change, and stops without a word.
fn write_one(memory: &mut Memory, mut shard: Shard, stream: Stream, from_scratch: bool) -> Shard {
    shard.keyspace_mut().raise_sequence(now(0).first_sequence());
    shard.start_log(stream, from_scratch);
    let key = Key::new(DbIndex(0), b"written");
    shard.keyspace_mut().set(key, b"after", Expiry::Clear, now(0).unix);
    let wanted = shard.want_sync();
    let mut effects = Vec::new();
    for step in 0..20 {
        shard.step_log(now(step), &mut effects);
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Write { file, offset, buffer, .. } => {
                        memory.write(&file.name(), offset.0, buffer.bytes()).expect("it is there");
                        shard.log_written(file, buffer, Ok(()), now(step), &mut effects);
                    }
                    Effect::Sync(file) => shard.log_synced(file, Ok(()), &mut effects),
                    Effect::Job(job) => {
                        job.perform(memory).expect("files are there");
                        shard.log_job_done(Ok(()), now(step), &mut effects);
                    }
                    Effect::Close(_)
                    | Effect::SaveHardState(_)
                    | Effect::StartOver(..)
                    | Effect::ReadAgain(_) => {}
                }
            }
        }
    }
    let state = shard.log_state().expect("a log");
    assert!(
        wanted.is_some_and(|wanted| state.durable >= wanted) && state.refusal.is_none(),
        "{state:?}"
    );
    shard
}

const OPTIONS: StreamOptions =
    StreamOptions { segment_bytes: 64 << 10, align_bytes: 512, fill: false };

/// What must hold for any folder: it is read, and a server can go on with it, or it is left as it was. A
/// repair's looks at it come to an end as well.
pub(crate) fn check_folder(memory: &Memory) {
    let mut folder = memory.clone();
    match recover(&mut folder) {
        Ok((shard, recovery)) => {
            let last = recovery.last_index();
            let stream = Stream::new(recovery.finish(), OPTIONS);
            let shard = write_one(&mut folder, shard, stream, false);
            let (again, recovery) = recover(&mut folder).expect("a server has gone on with it");
            assert_eq!(recovery.last_index(), LogIndex(last.0 + 1));
            for db in (0..DATABASES).map(DbIndex) {
                assert_eq!(again.keyspace().len(db), shard.keyspace().len(db));
            }
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert_eq!(&folder, memory, "after {error}");
        }
    }
    let mut folder = memory.clone();
    let rebuilt = rebuild_manifest(&mut folder, SHARD, SHARDS, ID).expect("memory");
    assert_eq!(&folder, memory);
    if let Ok(manifest) = rebuilt {
        let opened = Recovery::inspect(&mut folder, manifest, SHARD, SHARDS, ID);
        if let Ok(mut recovery) = opened {
            let take = |item: Item<'_>| match item {
                Item::Part(payload)
                | Item::Changes { payload, .. }
                | Item::Configuration { payload, .. } => Some(payload.len() as u64),
            };
            while recovery.step(take).is_ok_and(|more| more) {}
        }
    }
    let resume = start_over(&mut folder, SHARD, SHARDS, ID).expect("memory");
    let shard = write_one(&mut folder, shard(), Stream::new(resume, OPTIONS), true);
    let (again, _) = recover(&mut folder).expect("a server has begun it");
    let len = |shard: &Shard| shard.keyspace().len(DbIndex(0));
    assert_eq!((len(&again), len(&shard)), (1, 1));
}

/// What must hold for any folder, as `input` tells to compose one.
pub(crate) fn check_open(input: &[u8]) {
    check_folder(&compose(&mut Script(input)));
}
