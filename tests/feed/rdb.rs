//! RDB files in memory: written piece by piece for tests, and read back under every condition. The tests
//! and the fuzz target share it.

#![allow(dead_code, reason = "each user of it takes a part")]

use std::io::{BufRead, BufReader};

use ringmain::transfer::rdb::{Entry, Kind, Reader, Value};

/// The file's keys, and the error that ended it.
type Outcome = (Vec<Entry>, Option<String>);

/// Reads a file to its end or its first fault.
pub(crate) fn read(input: impl BufRead, wanted: fn(u64, Kind) -> bool) -> Outcome {
    let mut entries = Vec::new();
    let mut reader = match Reader::new(input) {
        Ok(reader) => reader,
        Err(error) => return (entries, Some(format!("{error}; {}", error.mend()))),
    };
    loop {
        let before = reader.position();
        match reader.next(wanted) {
            Ok(Some(entry)) => {
                assert!(reader.position() > before, "an entry takes bytes");
                entries.push(entry);
            }
            Ok(None) => return (entries, None),
            Err(error) => return (entries, Some(format!("{error}; {}", error.mend()))),
        }
    }
}

/// Most bytes that a byte of a file can stand for: three of a compressed string make 264.
const EXPANSION_MAX: usize = 88;

/// What must hold for any bytes: nothing panics, the same keys and error are found however the bytes
/// come and whether the values are wanted or not, nothing is larger than the bytes that it came from
/// allow, and what was found survives being written again.
pub(crate) fn check_invariants(data: &[u8]) {
    let (entries, error) = read(data, |_, _| true);
    for capacity in [1, 7] {
        let cut = read(BufReader::with_capacity(capacity, data), |_, _| true);
        assert_eq!(cut, (entries.clone(), error.clone()), "in pieces of {capacity} bytes");
    }
    for entry in &entries {
        let most = data.len() * EXPANSION_MAX + 16;
        assert!(entry.key.len() <= most);
        match &entry.value {
            Value::String(value) | Value::Payload(value) => assert!(value.len() <= most),
            Value::TooLong => {}
            Value::Skipped => panic!("all were wanted"),
        }
    }
    // What is not wanted is not decoded: a fault inside of it may go unseen, but no other.
    let (skipped, skipped_error) = read(data, |_, _| false);
    assert!(skipped.len() >= entries.len());
    assert!(error.is_some() || (skipped.len() == entries.len() && skipped_error.is_none()));
    for (entry, skipped) in entries.iter().zip(skipped) {
        assert_eq!(skipped, Entry { value: Value::Skipped, ..entry.clone() });
    }
    let written: Vec<_> =
        entries.into_iter().filter(|entry| entry.value != Value::TooLong).collect();
    assert_eq!(read(&write(&written)[..], |_, _| true), (written, None));
}

/// Makes the header and the checksum right, so that what lies between is reached.
pub(crate) fn seal(data: &mut Vec<u8>) {
    if !data.starts_with(b"REDIS00") {
        data.splice(0..0, *b"REDIS0012");
    }
    if let Some(body) = data.len().checked_sub(8) {
        let checksum = crc64(&data[..body]);
        data[body..].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// A file of version `version` with `items` between its header and its end.
pub(crate) fn file(version: u16, items: &[&[u8]]) -> Vec<u8> {
    let mut file = format!("REDIS{version:04}").into_bytes();
    file.extend(items.concat());
    file.push(0xff);
    if version >= 5 {
        file.extend(crc64(&file).to_le_bytes());
    }
    file
}

fn write(entries: &[Entry]) -> Vec<u8> {
    let string = |text: &[u8]| {
        let length = u32::try_from(text.len()).expect("a short string");
        [&[0x80][..], &length.to_be_bytes(), text].concat()
    };
    let mut items = Vec::new();
    for entry in entries {
        items.extend([&[0xfe, 0x81][..], &entry.database.to_be_bytes()].concat());
        if let Some(ms) = entry.expires_at_ms {
            items.push(0xfc);
            items.extend(ms.to_le_bytes());
        }
        match &entry.value {
            Value::String(value) => {
                items.extend([&[0][..], &string(&entry.key), &string(value)].concat())
            }
            Value::Payload(payload) => {
                let (head, rest) = payload.split_at(1);
                let value = &rest[..rest.len() - 10];
                items.extend([head, &string(&entry.key), value].concat());
            }
            Value::Skipped | Value::TooLong => panic!("it has no value"),
        }
    }
    file(12, &[&items])
}

/// Redis's CRC-64 ("Jones"), bit by bit.
pub(crate) fn crc64(bytes: &[u8]) -> u64 {
    const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u64::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 }
        })
    })
}

/// A key of every type: its type byte, its name, its value.
pub(crate) const OTHER_TYPES: [(&str, &[u8]); 23] = [
    ("list", b"\x01\x01k\x02\x01a\x01b"),
    ("set", b"\x02\x01k\x01\x01a"),
    ("zset", b"\x03\x01k\x03\x01a\x031.5\x01b\xfe\x01c\xfd"),
    ("hash", b"\x04\x01k\x01\x01f\xc0\x05"),
    ("zset", b"\x05\x01k\x01\x01a\0\0\0\0\0\0\xf0\x3f"),
    // A module's number; a signed and an unsigned number, a float, a double, a string; the end.
    (
        "module",
        b"\x07\x01k\x81\x48\x1c\xa5\x0f\x43\x50\x94\x00\x01\x05\x02\x40\x80\x03\0\0\0\0\x04\0\0\0\0\0\0\0\0\x05\x02ab\0",
    ),
    ("hash", b"\x09\x01k\x08zipmap.."),
    ("list", b"\x0a\x01k\x07ziplist"),
    ("set", b"\x0b\x01k\x06intset"),
    ("zset", b"\x0c\x01k\x07ziplist"),
    ("hash", b"\x0d\x01k\x07ziplist"),
    ("list", b"\x0e\x01k\x02\x07ziplist\x07ziplist"),
    // One node; length 1, last id 5-0; one group: last id, one pending entry, one consumer with it.
    (
        "stream",
        b"\x0f\x01k\x01\x10................\x08listpack\x01\x05\0\x01\x01g\x05\0\x01................timetime\x01\x01\x01ctimetime\x01................",
    ),
    ("hash", b"\x10\x01k\x08listpack"),
    ("zset", b"\x11\x01k\x08listpack"),
    ("list", b"\x12\x01k\x02\x02\x08listpack\x01\x03one"),
    // The same with first and greatest deleted id, entries added, entries read by the group.
    (
        "stream",
        b"\x13\x01k\x01\x10................\x08listpack\x01\x05\0\x05\0\0\0\x01\x01\x01g\x05\0\x01\x01................timetime\x01\x01\x01ctimetime\x01................",
    ),
    ("set", b"\x14\x01k\x08listpack"),
    // The same with the time at which the consumer was active.
    (
        "stream",
        b"\x15\x01k\x01\x10................\x08listpack\x01\x05\0\x05\0\0\0\x01\x01\x01g\x05\0\x01\x01................timetime\x01\x01\x01ctimetimetimetime\x01................",
    ),
    ("hash", b"\x16\x01k\x01\x00\x01f\x01v"),
    ("hash", b"\x17\x01k\x08listpack"),
    ("hash", b"\x18\x01ktimetime\x01\x05\x01f\x01v"),
    ("hash", b"\x19\x01ktimetime\x08listpack"),
];
