//! The bytes in `docs/log-format.md` against the code: what each block means is written down here, and must
//! be written as the block's bytes and be read from them. The blocks were not made with the code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use ringmain::cache::{
    Access, Attempt, Change, Changed, Changes, Expiry, Keyspace, KeyspaceOptions, Missing, Outcome,
    Recalled, SaveCursor, Saved, SavedEntries, SavedEntry, SavedWhat,
};
use ringmain::collection::list::End;
use ringmain::collection::{Hash, List, Set, SortedSet};
use ringmain::log::{
    Configuration, HARD_STATE_COPY_BYTES, HardState, MANIFEST_COPY_BYTES, Manifest,
    RECORD_HEADER_BYTES, Record, RecordFault, RecordHeader, RecordKind, RecordSeed,
    SEGMENT_HEADER_BYTES, SegmentFile, SegmentHeader, SnapshotEnd,
};
use ringmain::types::{
    ByteOffset, DbIndex, Key, LogIndex, NodeId, SegmentId, ShardId, Term, UnixMs,
};

const PAGE: &str = include_str!("../docs/log-format.md");

/// The sequence and the time of the examples.
const SEQUENCE: u64 = 1_767_225_600_000_000_000;
const TIME: UnixMs = UnixMs(1_767_225_600_000);
const IN_A_MINUTE: UnixMs = UnixMs(TIME.0 + 60_000);
const SHARD: ShardId = ShardId(1);
const DIRECTORY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// The golden blocks of the page, by name.
fn block(name: &str) -> Vec<u8> {
    let mut blocks = BTreeMap::new();
    for block in PAGE.split("```golden ").skip(1) {
        let (name, rest) = block.split_once('\n').expect("a block has lines");
        let (lines, _) = rest.split_once("```").expect("a block ends");
        let digits: String =
            lines.lines().flat_map(|line| [line.split('#').next().unwrap_or(""), " "]).collect();
        let bytes = digits
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits"));
        let twice = blocks.insert(name, bytes.collect::<Vec<u8>>());
        assert_eq!(twice, None, "{name} stands twice");
    }
    blocks.remove(name).unwrap_or_else(|| panic!("no block {name}"))
}

/// A block that is the beginning of a page of zeros.
fn page(name: &str, bytes: usize) -> Vec<u8> {
    let mut page = block(name);
    page.resize(bytes, 0);
    page
}

fn header(kind: RecordKind, segment: u64, index: u64, synced: u64) -> RecordHeader {
    RecordHeader {
        kind,
        shard: SHARD,
        segment: SegmentId(segment),
        term: Term(0),
        index: LogIndex(index),
        synced: LogIndex(synced),
        seed: RecordSeed::of(&DIRECTORY),
    }
}

/// Checks that a block is a record with this header, which may be followed by another; answers its payload.
#[track_caller]
fn payload(name: &str, header: RecordHeader) -> Vec<u8> {
    let bytes = block(name);
    let record = Record::decode(&bytes, header.seed).unwrap();
    assert_eq!(record.header, header, "{name}");
    assert_eq!(record.bytes(), bytes.len(), "{name}");
    assert_eq!(header.encode(record.payload), bytes[..RECORD_HEADER_BYTES], "{name}");
    record.payload.to_vec()
}

fn keyspace() -> Keyspace {
    let mut keyspace =
        Keyspace::new(KeyspaceOptions { slots: 0..16_384, seed: 1, sequence: SEQUENCE });
    keyspace.set_journal(true);
    keyspace
}

fn key(db: u8, bytes: &[u8]) -> Key<'_> {
    Key::new(DbIndex(db), bytes)
}

#[test]
fn changes_are_written_and_read_as_the_page_says() {
    let payload = payload("record", header(RecordKind::Entry, 7, 42, 41));
    let mut keyspace = keyspace();
    keyspace.set(key(0, b"foo"), b"bar", Expiry::At(IN_A_MINUTE), TIME);
    keyspace.edit(key(0, b"foo"), 300, 299..300, TIME, |value| value[299] = b'!');
    keyspace.set_expiry(key(0, b"foo"), None, TIME);
    keyspace.remove(key(0, b"foo"), TIME);
    keyspace.set(key(1, b"k"), b"", Expiry::At(UnixMs(TIME.0 + 1)), TIME);
    assert!(keyspace.get(key(1, b"k"), UnixMs(TIME.0 + 2), Access::Read).is_none());
    keyspace.set(key(1, b"a"), b"1", Expiry::Clear, TIME);
    keyspace.flush(DbIndex(1));
    keyspace.swap_databases(DbIndex(0), DbIndex(1), TIME);
    assert_eq!(keyspace.changes(TIME), Some(&payload[..]));

    let changes = Changes::of(&payload).unwrap();
    assert_eq!(changes.time(), TIME);
    let changed =
        |raised: u64, db, change| Changed { db: DbIndex(db), sequence: SEQUENCE + raised, change };
    let expected = [
        changed(1, 0, Change::Set { key: b"foo", value: b"bar", expires_at: Some(IN_A_MINUTE) }),
        changed(2, 0, Change::Edit { key: b"foo", length: 300, offset: 299, bytes: b"!" }),
        changed(3, 0, Change::Expire { key: b"foo", expires_at: None }),
        changed(4, 0, Change::Remove { key: b"foo" }),
        changed(5, 1, Change::Set { key: b"k", value: b"", expires_at: Some(UnixMs(TIME.0 + 1)) }),
        changed(5, 1, Change::Remove { key: b"k" }),
        changed(6, 1, Change::Set { key: b"a", value: b"1", expires_at: None }),
        changed(7, 1, Change::Flush),
        changed(8, 0, Change::Swap { with: DbIndex(1) }),
    ];
    let found: Vec<Changed<'_>> = changes.map(Result::unwrap).collect();
    assert_eq!(found, expected);
}

const CLIENT: u64 = 0x0123_4567_89ab_cdef;
const WRITE: u64 = 1_700_000_000_000_001;

fn first_attempt() -> Attempt {
    Attempt { client: CLIENT, sequence: WRITE, answered: WRITE - 1, is_again: false }
}

#[test]
fn outcomes_are_written_and_read_as_the_page_says() {
    let payload = block("outcomes");
    let attempt = first_attempt();
    let outcome = Outcome::done(SEQUENCE + 1, Some(42i64.to_le_bytes()));
    let mut keyspace = keyspace();
    keyspace.set(key(0, b"n"), b"42", Expiry::Clear, TIME);
    keyspace.keep_outcome(&attempt, outcome.body);
    // Nobody is forgotten as long as there is room.
    const FORGET_BYTES: usize = 18;
    assert_eq!(keyspace.changes(TIME), Some(&payload[..payload.len() - FORGET_BYTES]));

    let changes: Vec<Change<'_>> =
        Changes::of(&payload).unwrap().map(|changed| changed.unwrap().change).collect();
    let floor = WRITE - 1;
    let expected = [
        Change::Set { key: b"n", value: b"42", expires_at: None },
        Change::Outcome { client: CLIENT, sequence: WRITE, floor, outcome },
        Change::Forget { client: 7, horizon: WRITE - 5 },
    ];
    assert_eq!(changes, expected);
    let mut other =
        Keyspace::new(KeyspaceOptions { slots: 0..16_384, seed: 2, sequence: SEQUENCE });
    assert_eq!(other.replay(&payload, false), Ok(3));

    // And so a snapshot has it.
    let saved_as = block("clients");
    let mut saved = Saved::default();
    assert!(other.save_entries(SaveCursor::default(), 1 << 20, TIME, &mut saved).is_done());
    assert_eq!((saved.bytes(), saved.entries), (Some(&saved_as[..]), 1));
    let mut restored =
        Keyspace::new(KeyspaceOptions { slots: 0..16_384, seed: 3, sequence: SEQUENCE });
    assert_eq!(restored.restore_entries(&saved_as), Ok(1));
    for keyspace in [&mut other, &mut restored] {
        assert_eq!(keyspace.recall(&attempt), Recalled::Done(outcome));
        let unknown = |sequence| Attempt { client: 8, sequence, answered: 0, is_again: false };
        assert_eq!(keyspace.recall(&unknown(WRITE - 6)), Recalled::Forgotten);
        assert_eq!(keyspace.recall(&unknown(WRITE - 5)), Recalled::New);
    }
}

/// What a retry has come to that changed nothing.
#[test]
fn outcomes_of_retries_are_written_and_read_as_the_page_says() {
    let payload = block("outcomes of retries");
    let attempt = Attempt { is_again: true, ..first_attempt() };
    let other = Attempt { sequence: WRITE + 1, ..attempt };
    let exists = Outcome { version: SEQUENCE + 1, status: 2, body: None };
    let wrong_type = Outcome { version: 0, status: 0x23, body: None };
    let mut keyspace = keyspace();
    keyspace.set(key(0, b"n"), b"42", Expiry::Clear, TIME);
    keyspace.keep_unchanged(&attempt, exists);
    keyspace.keep_unchanged(&other, wrong_type);
    // No floor is raised as long as there is room.
    const FLOOR_BYTES: usize = 18;
    assert_eq!(keyspace.changes(TIME), Some(&payload[..payload.len() - FLOOR_BYTES]));

    let changed =
        |raised: u64, change| Changed { db: DbIndex(0), sequence: SEQUENCE + raised, change };
    let (client, floor) = (CLIENT, WRITE - 1);
    let expected = [
        changed(1, Change::Set { key: b"n", value: b"42", expires_at: None }),
        changed(2, Change::Outcome { client, sequence: WRITE, floor, outcome: exists }),
        changed(3, Change::Outcome { client, sequence: WRITE + 1, floor, outcome: wrong_type }),
        changed(3, Change::Floor { client, floor: WRITE + 1 }),
    ];
    let found: Vec<Changed<'_>> = Changes::of(&payload).unwrap().map(Result::unwrap).collect();
    assert_eq!(found, expected);
    let mut replayed =
        Keyspace::new(KeyspaceOptions { slots: 0..16_384, seed: 2, sequence: SEQUENCE });
    assert_eq!(replayed.replay(&payload, false), Ok(4));
    assert_eq!(replayed.sequence(), SEQUENCE + 3);

    // And so a snapshot has it.
    let saved_as = block("client with a retry");
    let mut saved = Saved::default();
    assert!(replayed.save_entries(SaveCursor::default(), 1 << 20, TIME, &mut saved).is_done());
    assert_eq!(saved.bytes(), Some(&saved_as[..]));
    let mut restored =
        Keyspace::new(KeyspaceOptions { slots: 0..16_384, seed: 3, sequence: SEQUENCE });
    assert_eq!(restored.restore_entries(&saved_as), Ok(1));
    for keyspace in [&mut replayed, &mut restored] {
        assert_eq!(keyspace.recall(&attempt), Recalled::Forgotten);
        assert_eq!(keyspace.recall(&other), Recalled::Done(wrong_type));
    }
}

#[test]
fn configurations_are_written_and_read_as_the_page_says() {
    let payload = block("configuration");
    let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    let version = (Term(3), LogIndex(43));
    let (voters, learners) = (nodes(&[1, 2, 3]), nodes(&[4]));
    let configuration = Configuration { version, voters, learners, heir: Some(NodeId(2)) };
    assert_eq!(configuration.encode(), payload);
    assert_eq!(Configuration::decode(version, &payload), Some(configuration));
}

#[test]
fn hard_states_are_written_and_read_as_the_page_says() {
    let bytes = page("hard-state", HARD_STATE_COPY_BYTES);
    let state = HardState::decode(&bytes).unwrap();
    assert_eq!((state.shard, state.directory, state.generation), (SHARD, DIRECTORY, 9));
    assert_eq!((state.node, state.term, state.vote), (NodeId(1), Term(3), Some(NodeId(2))));
    assert_eq!((state.commit, state.is_clean, state.has_begun), (LogIndex(41), false, true));
    let (version, voters) = ((Term(3), LogIndex(40)), vec![NodeId(1), NodeId(2), NodeId(3)]);
    let configuration = Configuration { version, voters, learners: Vec::new(), heir: None };
    assert_eq!(state.configuration, configuration);
    assert_eq!(state.encode()[..], bytes);
}

#[test]
fn elements_are_written_and_read_as_the_page_says() {
    let payload = block("elements");
    let mut keyspace = keyspace();
    let create = Missing::Create;
    keyspace
        .change::<List, _>(key(0, b"l"), create, TIME, |list, edit| {
            list.push(End::Right, [&b"a"[..], b"7"].into_iter(), edit);
        })
        .unwrap();
    keyspace
        .change::<List, _>(key(0, b"l"), create, TIME, |list, edit| list.pop(End::Left, 1, edit))
        .unwrap();
    keyspace.change::<Set, _>(key(0, b"s"), create, TIME, |set, edit| set.add(b"m", edit)).unwrap();
    keyspace
        .change::<Hash, _>(key(0, b"h"), create, TIME, |hash, edit| {
            hash.set(b"f", b"v", TIME, edit);
            hash.set_expiry(b"f", Some(IN_A_MINUTE), edit);
        })
        .unwrap();
    keyspace
        .change::<SortedSet, _>(key(0, b"z"), create, TIME, |set, edit| set.put(b"m", 1.5, edit))
        .unwrap();
    let copy = keyspace.copy_collection(key(0, b"l"), TIME).unwrap();
    keyspace.put_collection(key(0, b"c"), copy, None, TIME).expect("little enough");
    keyspace
        .change::<Set, _>(key(0, b"s"), create, TIME, |set, edit| set.remove(b"m", edit))
        .unwrap();
    assert_eq!(keyspace.changes(TIME), Some(&payload[..]));

    let mut other =
        Keyspace::new(KeyspaceOptions { slots: 0..16_384, seed: 2, sequence: SEQUENCE });
    assert_eq!(other.replay(&payload, false), Ok(7));
    for name in [&b"l"[..], b"c"] {
        let list = other.peek_at::<List>(key(0, name), TIME).unwrap();
        assert_eq!(list.iter().map(|element| element.to_vec()).collect::<Vec<_>>(), [b"7"]);
    }
    let hash = other.peek_at::<Hash>(key(0, b"h"), TIME).unwrap();
    assert_eq!(hash.soonest_expiry(), Some(IN_A_MINUTE));
    assert_eq!(hash.get(b"f", TIME).unwrap().value.to_vec(), b"v");
    let set = other.peek_at::<SortedSet>(key(0, b"z"), TIME).unwrap();
    assert_eq!(set.score(b"m"), Some(1.5));
    assert!(other.peek(key(0, b"s"), TIME).is_none());
}

#[test]
fn a_snapshot_is_written_and_read_as_the_page_says() {
    let payload_of_part = payload("snapshot part", header(RecordKind::SnapshotPart, 5, 1, 0));
    let entries = [
        SavedEntry {
            db: DbIndex(0),
            key: b"foo",
            value: b"bar!",
            expires_at: Some(IN_A_MINUTE),
            version: SEQUENCE + 2,
            accessed_at: TIME,
            what: SavedWhat::String,
            modified_in_place: true,
        },
        SavedEntry {
            db: DbIndex(15),
            key: b"k",
            value: b"",
            expires_at: None,
            version: SEQUENCE + 1,
            accessed_at: UnixMs(TIME.0 - 5_000),
            what: SavedWhat::String,
            modified_in_place: false,
        },
    ];
    let found: Vec<SavedEntry<'_>> =
        SavedEntries::of(&payload_of_part).map(Result::unwrap).collect();
    assert_eq!(found, entries);
    let mut saved = Saved::default();
    entries.iter().for_each(|entry| saved.add(entry, None));
    assert_eq!(saved.bytes(), Some(&payload_of_part[..]));
    // A keyspace that holds these entries says the same.
    let mut keyspace = keyspace();
    assert_eq!(keyspace.restore_entries(&payload_of_part), Ok(2));
    let mut saved = Saved::default();
    let end = keyspace.save_entries(SaveCursor::default(), 1 << 20, TIME, &mut saved);
    assert!(end.is_done());
    assert_eq!(saved.bytes(), Some(&payload_of_part[..]));

    let end = payload("snapshot end", header(RecordKind::SnapshotEnd, 5, 2, 0));
    let said = SnapshotEnd { entries: 2, last_index: LogIndex(42) };
    assert_eq!(SnapshotEnd::decode(&end), Some(said));
}

#[test]
fn a_segment_begins_as_the_page_says() {
    let bytes = page("segment", SEGMENT_HEADER_BYTES);
    let file = SegmentFile::log(SegmentId(7));
    let header = SegmentHeader {
        file,
        shard: SHARD,
        first_index: LogIndex(42),
        previous: Some((SegmentId(6), ByteOffset(8192))),
        previous_term: Term(0),
        created: TIME,
        directory: DIRECTORY,
    };
    assert_eq!(header.encode()[..], bytes);
    assert_eq!(SegmentHeader::decode(&bytes, file, SHARD, &DIRECTORY), Ok(header));
    assert!(PAGE.contains(&file.name()));
    assert!(PAGE.contains(&SegmentFile::snapshot(SegmentId(5)).name()));
}

#[test]
fn a_manifest_is_as_the_page_says() {
    let bytes = page("manifest", MANIFEST_COPY_BYTES);
    let manifest = Manifest {
        shard: SHARD,
        shard_count: 2,
        generation: 4,
        snapshot: Some(SegmentId(5)),
        first_index: LogIndex(42),
        first_segment: SegmentId(7),
        clean_index: Some(LogIndex(43)),
        base_term: Term(0),
        directory: DIRECTORY,
        base_missing: false,
    };
    let (offset, page) = manifest.encode();
    assert_eq!((offset, &page[..]), (0, &bytes[..]));
    assert_eq!(Manifest::decode(&bytes), Some(manifest));
}

#[test]
fn a_bit_that_is_another_is_seen() {
    let bytes = block("record");
    // What fills the record up to a multiple of 8 is nobody's.
    for bit in 0..(bytes.len() - 2) * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let fault = Record::decode(&bytes, RecordSeed::of(&DIRECTORY)).unwrap_err();
        assert!(matches!(fault, RecordFault::Checksum | RecordFault::TooLong), "{bit}: {fault}");
    }
    let fault = Record::decode(&bytes, RecordSeed::of(&[0; 16])).unwrap_err();
    assert_eq!(fault, RecordFault::Checksum, "it is another directory's");
    let (segment, manifest) =
        (page("segment", SEGMENT_HEADER_BYTES), page("manifest", MANIFEST_COPY_BYTES));
    for bit in 0..SEGMENT_HEADER_BYTES * 8 {
        let (mut segment, mut manifest) = (segment.clone(), manifest.clone());
        segment[bit / 8] ^= 1 << (bit % 8);
        manifest[bit / 8] ^= 1 << (bit % 8);
        let file = SegmentFile::log(SegmentId(7));
        assert!(SegmentHeader::decode(&segment, file, SHARD, &DIRECTORY).is_err(), "{bit}");
        assert_eq!(Manifest::decode(&manifest), None, "{bit}");
    }
}
