//! Imports from files.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::feed::{OTHER_TYPES, file};
use crate::harness::server::{Launch, Server};
use crate::harness::value::Value;
use crate::{assert_same, digest, fill, fill_all_types, import_file, redis, without_streams};

/// A file with these bytes, in a folder that goes when it is dropped.
fn written(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = TempDir::with_prefix("ringmain-test-").expect("a temporary folder");
    let path = dir.path().join("dump.rdb");
    std::fs::write(&path, bytes).expect("write a file");
    (dir, path)
}

/// What follows the first line, without the time that it took.
fn told(said: &str) -> (&str, Vec<&str>) {
    let mut lines = said.lines();
    let first = lines.next().expect("a line");
    (first.rsplit_once(" in ").expect("a time").0, lines.map(str::trim).collect())
}

#[test]
fn strings_keep_their_values_times_and_databases() {
    let server = Launch::shards(2).start();
    let saved = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/redis-7.0.15.rdb"));
    let said = import_file(saved, &server, &[]).good();
    let first = format!(
        "8 keys imported from {} (RDB version 10, written by redis 7.0.15) into 127.0.0.1:{}",
        saved.display(),
        server.port()
    );
    assert_eq!(told(&said), (first.as_str(), Vec::new()));
    let mut client = server.client();
    for (key, value) in
        [("a", "hello"), ("n8", "-7"), ("n16", "1000"), ("n32", "100000"), ("ttl", "x")]
    {
        assert_eq!(client.words(&format!("GET {key}")), Value::bulk(value), "{key}");
    }
    assert_eq!(client.words("GET lzf"), Value::bulk("ab".repeat(60)));
    assert_eq!(client.words("PEXPIRETIME ttl"), Value::Integer(33_177_117_420_000));
    assert_eq!(client.words("TTL a"), Value::Integer(-1));
    client.ok("SELECT 9");
    assert_eq!(client.words("GET nine"), Value::bulk("9"));
    assert_eq!(client.words("DBSIZE"), Value::Integer(1));
}

#[test]
fn all_sixteen_databases_or_those_asked_for() {
    let items: Vec<Vec<u8>> =
        (0..16).map(|db| vec![0xfe, db, 0x00, 0x01, b'k', 0xc0, db]).collect();
    let items: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
    let (_dir, path) = written(&file(9, &items));
    let found = |server: &Server| -> Vec<u8> {
        let mut client = server.client();
        let all = (0..16).filter(|db| {
            client.ok(&format!("SELECT {db}"));
            let value = client.words("GET k");
            assert!(value.is_null() || value == Value::bulk(db.to_string()));
            !value.is_null()
        });
        all.collect()
    };
    let server = Launch::shards(1).start();
    import_file(&path, &server, &["--db", "0", "7,15"]).good();
    assert_eq!(found(&server), [0, 7, 15]);
    let said = import_file(&path, &server, &[]).good();
    assert!(said.starts_with("13 keys imported"), "{said}");
    assert_eq!(found(&server), (0..16).collect::<Vec<_>>());
}

#[test]
fn keys_that_are_there_are_kept_or_replaced() {
    let server = Launch::shards(2).start();
    let mut client = server.client();
    client.ok("SET a mine EX 100");
    let items: [&[u8]; 3] = [
        b"\x00\x01a\x05their",
        b"\x00\x01b\x05their",
        // Its time passed in 1970.
        b"\xfc\x2c\x01\x00\x00\x00\x00\x00\x00\x00\x01c\x05their",
    ];
    let (_dir, path) = written(&file(11, &items));
    let said = import_file(&path, &server, &[]).good();
    let (first, others) = told(&said);
    assert!(first.starts_with("1 key imported"), "{said}");
    let lines = [
        "1 key kept as they were in the target: --replace overwrites them",
        "1 key left out, because their time had passed",
    ];
    assert_eq!(others, lines);
    assert_eq!(client.words("GET a"), Value::bulk("mine"));
    assert_eq!(client.words("TTL b"), Value::Integer(-1));
    let said = import_file(&path, &server, &["--replace"]).good();
    assert!(said.starts_with("2 keys imported"), "{said}");
    assert_eq!(client.words("GET a"), Value::bulk("their"));
    assert_eq!(client.words("TTL a"), Value::Integer(-1));
    assert_eq!(client.words("EXISTS c"), Value::Integer(0));
}

#[test]
fn types_that_the_target_does_not_know_are_counted_and_named() {
    let Some(server) = without_streams() else { return };
    let unknown = OTHER_TYPES.iter().filter(|(kind, _)| matches!(*kind, "stream" | "module"));
    let mut items: Vec<&[u8]> = unknown.map(|(_, item)| *item).collect();
    items.extend([&b"\xf5\x05#!lua"[..], b"\x00\x05after\x02ok"]);
    let (_dir, path) = written(&file(12, &items));
    let left_out = "3 streams and 1 value of a module's type";
    let ran = import_file(&path, &server, &[]);
    assert_eq!(ran.status, Some(3));
    let (first, lines) = told(&ran.said);
    assert!(first.starts_with("1 key imported"), "{first}");
    let to = format!("127.0.0.1:{}", server.port());
    let line = format!("4 keys left out, because {to} does not take their type: {left_out}");
    assert_eq!(lines, ["1 library of functions left out", &line]);
    let sentence = format!(
        "ringmain: The copy is not complete: 4 keys left out for the type ({left_out}): give \
         --skip-unsupported if that is what you want.\n"
    );
    assert_eq!(ran.complained, sentence);
    let said = import_file(&path, &server, &["--skip-unsupported", "--replace"]).good();
    assert!(said.contains(&line), "{said}");
    assert_eq!(server.client().words("GET after"), Value::bulk("ok"));
    assert_eq!(server.client().words("DBSIZE"), Value::Integer(1));
}

#[test]
fn a_redis_that_saved_is_imported() {
    let Some(redis) = redis() else { return };
    let keys = fill(&redis);
    redis.client().ok("SAVE");
    let server = Launch::shards(2).start();
    let said = import_file(&redis.dir().join("dump.rdb"), &server, &[]).good();
    assert!(said.replace(',', "").starts_with(&format!("{keys} keys imported")), "{said}");
    assert_same(&redis, &server);
}

#[test]
fn a_target_that_knows_other_types_takes_them() {
    let (Some(from), Some(to)) = (redis(), redis()) else { return };
    fill(&from);
    fill_all_types(&mut from.client());
    from.client().ok("SAVE");
    let path = from.dir().join("dump.rdb");
    import_file(&path, &to, &[]).good();
    assert_eq!(digest(&from), digest(&to));
    let said = import_file(&path, &to, &[]).good();
    assert!(said.starts_with("0 keys imported"), "{said}");
    import_file(&path, &to, &["--replace"]).good();
    assert_eq!(digest(&from), digest(&to));
}
