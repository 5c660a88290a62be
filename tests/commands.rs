//! Every command against the case files in `tests/cases`, errors included.
//!
//! `RINGMAIN_TEST_CASES=strings` runs only the files whose name contains that.

mod harness;

use harness::cases::{Cases, Resp};
use harness::client::scan;
use harness::server::Launch;
use std::path::{Path, PathBuf};

fn case_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let wanted = std::env::var("RINGMAIN_TEST_CASES").unwrap_or_default();
    let entries = std::fs::read_dir(folder).expect("the case files");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a case file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .filter(|path| path.to_string_lossy().contains(&wanted))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no case file is called {wanted:?}");
    files
}

/// Runs all files in both protocols and shows all that failed.
fn check_with_shards(shards: u16) {
    let launch = Launch::shards(shards).debug();
    let mut failures = Vec::new();
    let mut held = 0;
    for file in case_files() {
        let cases = Cases::read(&file);
        for resp in [Resp::Two, Resp::Three] {
            let (failed, steps) = cases.run(&launch, resp);
            failures.extend(failed);
            held += steps;
        }
    }
    println!("{held} steps held with {shards} shards");
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_command_on_one_shard() {
    check_with_shards(1);
}

#[test]
fn every_command_on_two_shards() {
    check_with_shards(2);
}

#[test]
fn every_command_on_five_shards() {
    check_with_shards(5);
}

/// `SCAN` goes from shard to shard, and its options hold in each.
#[test]
fn scan_over_shards() {
    let server = Launch::shards(5).start();
    let mut client = server.client();
    let mut scan = |options: &str| {
        let mut found = scan(&mut client, options);
        found.sort();
        found
    };
    assert!(scan("").is_empty());
    let mut keys: Vec<String> = (0..500).map(|index| format!("key{index}")).collect();
    let mut writer = server.client();
    for key in &keys {
        writer.ok(&format!("SET {key} v"));
    }
    keys.sort();
    for options in ["", " COUNT 1", " COUNT 100000", " TYPE string", " MATCH key* COUNT 3"] {
        // Nothing changes meanwhile, so no key comes twice either.
        assert_eq!(scan(options), keys, "{options}");
    }
    for index in 0..10 {
        writer.words(&format!("RPUSH list{index} x"));
        writer.words(&format!("HSET hash{index} f v"));
    }
    for (kind, name) in [("list", "list"), ("HASH", "hash")] {
        let of_kind: Vec<String> = (0..10).map(|index| format!("{name}{index}")).collect();
        assert_eq!(scan(&format!(" TYPE {kind}")), of_kind);
        assert_eq!(scan(&format!(" TYPE {kind} MATCH *3 COUNT 7")), of_kind[3..4]);
    }
    assert_eq!(scan(" TYPE string COUNT 77"), keys);
    assert_eq!(scan(" MATCH key77"), ["key77"]);
    assert_eq!(scan(" MATCH key[12]"), ["key1", "key2"]);
    assert!(scan(" TYPE zset COUNT 50").is_empty());
    assert!(scan(" MATCH none*").is_empty());
}
