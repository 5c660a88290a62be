//! The reader of RDB files: what it makes of each form by hand, and a short run of its fuzz target on any
//! compiler. `RINGMAIN_FUZZ_ITERATIONS` makes that longer, `RINGMAIN_FUZZ_SEED` different.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use ringmain::transfer::rdb::{Entry, Kind, Value};

#[path = "feed/rdb.rs"]
mod feed;
mod harness;

use feed::{OTHER_TYPES, file, read};
use harness::number_from_env;
use harness::random::Random;

const ITERATIONS: u64 = 20_000;
const INPUT_BYTES_MAX: usize = 512;

/// Saved by Redis 7.0.15: strings plain, compressed and as integers, a time to live, two databases.
const SAVED: &[u8] = include_bytes!("files/redis-7.0.15.rdb");

fn all(input: &[u8]) -> Vec<Entry> {
    let (entries, error) = read(input, |_, _| true);
    assert_eq!(error, None);
    entries
}

/// The error of a file, which must have one.
fn fault(input: &[u8]) -> String {
    read(input, |_, _| true).1.expect("a fault")
}

#[test]
fn a_file_of_redis_is_read() {
    let entry = |database, key: &str, value: &[u8]| Entry {
        database,
        key: key.into(),
        expires_at_ms: (key == "ttl").then_some(33_177_117_420_000),
        kind: Kind::String,
        value: Value::String(value.to_vec()),
    };
    let mut entries = all(SAVED);
    entries.sort_by_key(|entry| (entry.database, entry.key.clone()));
    let mixed: Vec<u8> = (0..70).map(|i| u8::try_from(33 + i * 37 % 90).expect("a byte")).collect();
    let expect = [
        entry(0, "a", b"hello"),
        entry(0, "lzf", &b"ab".repeat(60)),
        entry(0, "mid", &mixed),
        entry(0, "n16", b"1000"),
        entry(0, "n32", b"100000"),
        entry(0, "n8", b"-7"),
        entry(0, "ttl", b"x"),
        entry(9, "nine", b"9"),
    ];
    assert_eq!(entries, expect);
}

#[test]
fn every_form_of_a_string_is_read() {
    let rows: [(&[u8], &[u8]); 18] = [
        (b"\x00", b""),
        (b"\x05hello", b"hello"),
        (b"\x40\x05hello", b"hello"),
        (b"\x80\x00\x00\x00\x05hello", b"hello"),
        (b"\x81\x00\x00\x00\x00\x00\x00\x00\x05hello", b"hello"),
        (b"\xc0\x00", b"0"),
        (b"\xc0\x7f", b"127"),
        (b"\xc0\x80", b"-128"),
        (b"\xc1\x80\x00", b"128"),
        (b"\xc1\xff\x7f", b"32767"),
        (b"\xc1\x00\x80", b"-32768"),
        (b"\xc2\x00\x80\x00\x00", b"32768"),
        (b"\xc2\xff\xff\xff\x7f", b"2147483647"),
        (b"\xc2\x00\x00\x00\x80", b"-2147483648"),
        // Four literals, then seven bytes from four back, then one literal.
        (b"\xc3\x09\x0c\x03abcd\xa0\x03\x00!", b"abcdabcdabc!"),
        (b"\xc3\x40\x09\x80\x00\x00\x00\x0c\x03abcd\xa0\x03\x00!", b"abcdabcdabc!"),
        (b"\xc3\x00\x00", b""),
        (b"\x02\r\n", b"\r\n"),
    ];
    for (form, value) in rows {
        // As a value, and as a key.
        let file = file(11, &[b"\x00\x01k", form, b"\x00", form, b"\x01v"]);
        let entries = all(&file);
        assert_eq!(entries[0].value, Value::String(value.to_vec()), "{form:?}");
        assert_eq!(entries[1].key, value, "{form:?}");
    }
}

#[test]
fn what_stands_before_a_key_is_read() {
    let key: &[u8] = b"\x00\x01k\x01v";
    for (before, database, expires_at_ms) in [
        (&b""[..], 0, None),
        (b"\xfe\x0f", 15, None),
        (b"\xfe\x41\x00", 256, None),
        (b"\xfb\x01\x80\x00\x00\x00\x01", 0, None),
        (b"\xfc\x2c\x01\x00\x00\x00\x00\x00\x00", 0, Some(300)),
        (b"\xfd\x2c\x01\x00\x00", 0, Some(300_000)),
        // Before 1970: it has passed, that is all.
        (b"\xfc\xff\xff\xff\xff\xff\xff\xff\xff", 0, Some(0)),
        (b"\xfd\xff\xff\xff\xff", 0, Some(0)),
        (b"\xfc\x2c\x01\x00\x00\x00\x00\x00\x00\xf8\x40\xff", 0, Some(300)),
        (b"\xf9\xff\xfc\x2c\x01\x00\x00\x00\x00\x00\x00", 0, Some(300)),
        (b"\xfa\x09redis-ver\x055.0.1\xfa\x05ctime\xc2\x00\x00\x00\x60", 0, None),
        (b"\xf5\x05#!lua\xf5\x02#!", 0, None),
        (b"\xf7\x81\x48\x1c\xa5\x0f\x43\x50\x94\x00\x02\x02\x02\x01\x05\x01x\x00", 0, None),
        (b"\xf4\x01\x02\x03", 0, None),
    ] {
        // The second key has no time of its own.
        let entries = all(&file(12, &[before, key, key]));
        let found: Vec<_> = entries.iter().map(|e| (e.database, e.expires_at_ms)).collect();
        assert_eq!(found, [(database, expires_at_ms), (database, None)], "{before:?}");
    }
}

#[test]
fn every_version_has_its_end() {
    for version in 1..=12 {
        assert_eq!(all(&file(version, &[b"\x00\x01k\x01v"])).len(), 1, "version {version}");
    }
    // Without a checksum, as `rdbchecksum no` leaves it.
    let mut bare = file(11, &[b"\x00\x01k\x01v"]);
    let body = bare.len() - 8;
    bare[body..].fill(0);
    assert_eq!(all(&bare).len(), 1);
}

#[test]
fn other_types_are_passed_over_or_kept_whole() {
    let after: &[u8] = b"\x00\x05after\x02ok";
    for (name, item) in OTHER_TYPES {
        let kind = match name {
            "module" => Some(Kind::Module),
            name => Kind::from_type_name(name.as_bytes()),
        };
        let file = file(12, &[item, after]);
        for wanted in [true, false] {
            let take: fn(u64, Kind) -> bool = if wanted { |_, _| true } else { |_, _| false };
            let (entries, error) = read(&file[..], take);
            assert_eq!(error, None, "{name}: {item:?}");
            assert_eq!((Some(entries[0].kind), entries.len()), (kind, 2), "{name}: {item:?}");
            assert_eq!(entries[1].key, b"after", "{name}: {item:?}");
            if let Value::Payload(payload) = &entries[0].value {
                // The type, the value without the key, the oldest version that has the type.
                let (body, footer) = payload.split_at(payload.len() - 10);
                assert_eq!((body[0], &body[1..]), (item[0], &item[3..]));
                let version = u16::from_le_bytes([footer[0], footer[1]]);
                assert!((1..=12).contains(&version));
                let checksum = feed::crc64(&payload[..payload.len() - 8]);
                assert_eq!(footer[2..], checksum.to_le_bytes());
            } else {
                assert_eq!((wanted, &entries[0].value), (false, &Value::Skipped));
            }
        }
    }
}

#[test]
fn faults_are_named_with_their_place() {
    let bare = |items: &[u8]| [b"REDIS0011", items].concat();
    for (input, expect) in [
        (b"".to_vec(), "it is no RDB file"),
        (b"REDIS001".to_vec(), "it is no RDB file"),
        (b"REDIS00x1\xff".to_vec(), "it is no RDB file"),
        (b"VALKEY080".to_vec(), "it is no RDB file"),
        (
            b"REDIS0000\xff".to_vec(),
            "it is in version 0 of the RDB format, and versions 1 to 12 are read",
        ),
        (b"REDIS0013\xff".to_vec(), "it is in version 13 of the RDB format"),
        (bare(b""), "it ends at byte 9, before the data does"),
        (bare(b"\x00\x01k\x05hell"), "it ends at byte 17, before the data does"),
        // Lengths that the file only declares.
        (bare(b"\x00\x01k\x80\x1f\xff\xff\xffx"), "it ends at byte 18, before"),
        (bare(b"\x00\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xffx"), "it ends at byte 22, before"),
        (
            bare(b"\x00\x01k\xc3\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00"),
            "it ends at byte 24, before",
        ),
        (bare(b"\x01\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a"), "it ends at byte 23, before"),
        (bare(b"\xff1234567"), "it ends at byte 17, before"),
        (bare(b"\x00\x01k\xc4"), "at byte 12 there is a string in an unknown form"),
        (bare(b"\x00\x01k\x82"), "at byte 12 there is a byte that starts no length"),
        (bare(b"\xfe\xc0\x01"), "at byte 10 there is a string where a length belongs"),
        (bare(b"\x00\x01k\xc3\x05\x05\x01aa"), "it ends at byte 18"),
        (
            bare(b"\x00\x01k\xc3\x02\x05\x00a\xff"),
            "at byte 12 there is a compressed string that does not",
        ),
        (bare(b"\x08\x01k"), "at byte 9 there is type 8 of value, which is not known"),
        (bare(b"\x1a\x01k"), "at byte 9 there is type 26 of value"),
        (bare(b"\x06\x01k"), "at byte 9 there is a module's value as only release candidates"),
        (bare(b"\xf6\x01x"), "at byte 9 there is a function as only release candidates"),
        (bare(b"\x07\x01k\x05\x06"), "at byte 13 there is a module's value of an unknown type"),
        (bare(b"\xff12345678"), "its bytes have the checksum "),
        (
            [file(11, &[]), b"*2\r\n".to_vec()].concat(),
            "after its end, at byte 18, something follows",
        ),
        ([file(4, &[]), b"x".to_vec()].concat(), "after its end, at byte 10, something follows"),
    ] {
        let error = fault(&input);
        assert!(error.starts_with(expect), "{:?}: {error}", input.escape_ascii().to_string());
    }
}

#[test]
fn any_changed_byte_is_found() {
    for index in 0..SAVED.len() {
        let mut bad = SAVED.to_vec();
        bad[index] ^= 0x04;
        assert!(read(&bad[..], |_, _| true).1.is_some(), "byte {index}");
    }
    for length in 0..SAVED.len() {
        assert!(read(&SAVED[..length], |_, _| true).1.is_some(), "cut at {length}");
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let items = OTHER_TYPES.map(|(_, item)| item.to_vec());
    let strings: [&[u8]; 4] = [
        b"\x00\x01k\xc3\x09\x0c\x03abcd\xa0\x03\x00!",
        b"\xfc\x2c\x01\x00\x00\x00\x00\x00\x00\xf8\x40\xff\x00\x01k\xc1\xff\x7f",
        b"\xfe\x0f\xfb\x01\x01\xfa\x09redis-ver\x055.0.1\xf9\x01\x00\x01k\x01v",
        b"\xf7\x81\x48\x1c\xa5\x0f\x43\x50\x94\x00\x02\x02\x02\x01\x05\x01x\x00\xf4\x01\x02\x03\xf5\x01#",
    ];
    let items = items.into_iter().chain(strings.map(<[u8]>::to_vec));
    items.map(|item| file(12, &[&item])).chain([SAVED.to_vec(), Vec::new()]).collect()
}

/// Pieces that a random byte would seldom come to.
const TOKENS: [&[u8]; 9] = [
    b"\x80\x00\x00\x00\x01",
    b"\x80\xff\xff\xff\xff",
    b"\x81\x00\x00\x00\x00\x00\x00\x00\x01",
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x81\x10\x00\x00\x00\x00\x00\x00\x00",
    b"\xc3\x02",
    b"\x00\x01k\x01v",
    b"\xff\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x7f\xff",
];

/// Changes `input` in one place.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.index(input.len() + 1);
    let end = (at + random.index(16)).min(input.len());
    let byte = random.bytes(1)[0];
    match random.index(7) {
        0 => input.insert(at, byte),
        1 => drop(input.drain(at..end)),
        2 => input.truncate(at),
        3 => drop(input.splice(at..at, random.pick(&TOKENS).iter().copied())),
        4 => {
            let other = random.pick(corpus);
            drop(input.splice(at..end, other.iter().skip(9).copied()));
        }
        5 => {
            if let Some(changed) = input.get_mut(at) {
                *changed = changed.wrapping_add(1);
            }
        }
        _ => {
            if let Some(changed) = input.get_mut(at) {
                *changed = byte;
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
}

#[test]
fn files_that_changed_at_random_keep_the_invariants() {
    let iterations = number_from_env("RINGMAIN_FUZZ_ITERATIONS").unwrap_or(ITERATIONS);
    let seed = number_from_env("RINGMAIN_FUZZ_SEED").unwrap_or(0);
    let (corpus, mut random) = (corpus(), Random::new(seed));
    for _ in 0..iterations {
        let mut input = random.pick(&corpus).clone();
        for _ in 0..random.index(6) {
            mutate(&mut input, &corpus, &mut random);
        }
        if random.one_in(2) {
            feed::seal(&mut input);
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| feed::check_invariants(&input))) {
            eprintln!("seed {seed}; an input for the corpus: b\"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
    }
}
