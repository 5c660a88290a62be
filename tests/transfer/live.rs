//! Imports from running servers.

use std::time::Duration;

use crate::fake::{Fake, bulk, error};
use crate::harness::server::{Launch, skip_on_other_server};
use crate::harness::slots::keys_over_shards;
use crate::harness::value::Value;
use crate::{
    assert_same, contents, digest, fill, fill_all_types, import_live, program, redis,
    without_streams,
};

#[test]
fn one_server_is_copied_to_another() {
    let (from, to) = (Launch::shards(2).start(), Launch::shards(3).start());
    let keys = fill(&from);
    let said = import_live(from.port(), &to, &[]).good();
    let first =
        format!("keys imported from 127.0.0.1:{} into 127.0.0.1:{}", from.port(), to.port());
    assert!(said.starts_with(&format!("{keys} {first}")), "{said}");
    assert_same(&from, &to);
}

#[test]
fn only_the_databases_asked_for_are_copied() {
    let (from, to) = (Launch::shards(1).start(), Launch::shards(1).start());
    for database in 0..4 {
        let mut client = from.client();
        client.ok(&format!("SELECT {database}"));
        client.ok("SET k v");
    }
    let said = import_live(from.port(), &to, &["--db", "1", "3", "9"]).good();
    assert!(said.starts_with("2 keys imported"), "{said}");
    let info = to.client().words("INFO keyspace").text();
    let found: Vec<&str> =
        info.lines().filter_map(|line| Some(line.split_once(":keys=1,")?.0)).collect();
    assert_eq!(found, ["db1", "db3"]);
}

#[test]
fn keys_that_are_there_are_kept_or_replaced() {
    let (from, to) = (Launch::shards(1).start(), Launch::shards(1).start());
    from.client().ok("SET k theirs EX 1000");
    to.client().ok("SET k mine");
    let said = import_live(from.port(), &to, &[]).good();
    assert!(said.contains("1 key kept as they were in the target"), "{said}");
    assert_eq!(to.client().words("GET k"), Value::bulk("mine"));
    import_live(from.port(), &to, &["--replace"]).good();
    assert_eq!(to.client().words("GET k"), Value::bulk("theirs"));
    assert!(to.client().words("TTL k").integer() > 900);
}

#[test]
fn a_redis_is_copied_here_and_back() {
    let (Some(from), Some(back)) = (redis(), redis()) else { return };
    fill(&from);
    let here = Launch::shards(2).start();
    import_live(from.port(), &here, &[]).good();
    assert_same(&from, &here);
    import_live(here.port(), &back, &[]).good();
    assert_eq!(digest(&from), digest(&back));
}

#[test]
fn types_that_both_know_are_copied_and_others_named() {
    let (Some(from), Some(to)) = (redis(), redis()) else { return };
    fill_all_types(&mut from.client());
    import_live(from.port(), &to, &[]).good();
    assert_eq!(digest(&from), digest(&to));
    let Some(to) = without_streams() else { return };
    let ran = import_live(from.port(), &to, &[]);
    assert_eq!(ran.status, Some(3), "{ran:?}");
    assert!(ran.said.starts_with("13 keys imported"), "{ran:?}");
    assert!(ran.complained.contains("1 key left out for the type (1 stream)"), "{ran:?}");
    let mut known = contents(&from, 0);
    known.retain(|(key, _, _)| key != b"stream");
    assert_eq!(known.len(), 13);
    let found = contents(&to, 0);
    assert_eq!(found.len(), known.len());
    for (found, known) in found.into_iter().zip(known) {
        assert!(found == known, "{} is not what it was", known.0.escape_ascii());
    }
    import_live(from.port(), &to, &["--skip-unsupported"]).good();
}

#[test]
fn a_cluster_is_copied_node_by_node() {
    if skip_on_other_server() {
        return;
    }
    let from = Launch::shards(3).cluster().start();
    let mut client = from.client();
    let keys = keys_over_shards("key:", 3, 60);
    for key in &keys {
        client.ok(&format!("SET {key} v"));
    }
    let to = Launch::shards(1).start();
    let said = import_live(from.port(), &to, &[]).good();
    assert!(said.starts_with(&format!("{} keys imported", keys.len())), "{said}");
    assert_eq!(to.client().words("DBSIZE").integer(), i64::try_from(keys.len()).expect("few"));
}

#[test]
fn passwords_are_given_by_flag_or_environment() {
    let from = Launch::shards(1).flag("--requirepass", "source").start();
    let to = Launch::shards(1).flag("--requirepass", "target").start();
    from.client().send("AUTH source\r\nSET k v\r\n");
    crate::harness::wait_until("the key is there", || {
        let mut client = from.client();
        client.ok("AUTH source");
        client.words("EXISTS k") == Value::Integer(1)
    });
    let flags = ["--from-auth", "source", "--auth", "target"];
    import_live(from.port(), &to, &flags).good();
    let (address, port) = (format!("127.0.0.1:{}", from.port()), to.port().to_string());
    let mut command = program(&["import", "--from", &address, "--port", &port, "--replace"]);
    command.env("RINGMAIN_FROM_AUTH", "source").env("REDISCLI_AUTH", "target");
    let output = crate::harness::output_of(&mut command).expect("run ringmain");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let sentence = import_live(from.port(), &to, &["--auth", "target"]).refused(2);
    assert!(
        sentence.contains("asks for a password") && sentence.contains("--from-password"),
        "{sentence}"
    );
    let sentence =
        import_live(from.port(), &to, &["--from-auth", "source", "--auth", "x"]).refused(2);
    assert!(
        sentence.contains("refused the password") && sentence.contains("REDISCLI_AUTH"),
        "{sentence}"
    );
}

/// Answers as a server from before `PEXPIRETIME` with four keys: one stays, one expires, one is gone
/// before its type is asked for and one before its value is.
fn old_server(args: &[String]) -> Vec<u8> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["PING"] => b"+PONG\r\n".to_vec(),
        ["COMMAND", "INFO", _] => b"*1\r\n*-1\r\n".to_vec(),
        ["INFO", "keyspace"] => bulk("# Keyspace\r\ndb0:keys=4,expires=1,avg_ttl=0\r\n"),
        ["INFO", _] => bulk("# Cluster\r\ncluster_enabled:0\r\n"),
        ["SELECT", "0"] => b"+OK\r\n".to_vec(),
        ["SCAN", "0", ..] => b"*2\r\n$1\r\n7\r\n*2\r\n$4\r\nstay\r\n$4\r\ngone\r\n".to_vec(),
        ["SCAN", "7", ..] => b"*2\r\n$1\r\n0\r\n*2\r\n$6\r\nexpire\r\n$5\r\nquick\r\n".to_vec(),
        ["TYPE", "gone"] => b"+none\r\n".to_vec(),
        ["TYPE", _] => b"+string\r\n".to_vec(),
        ["PTTL", "expire"] => b":500000\r\n".to_vec(),
        ["PTTL", "quick"] => b":-2\r\n".to_vec(),
        ["PTTL", _] => b":-1\r\n".to_vec(),
        ["GET", "quick"] => b"$-1\r\n".to_vec(),
        ["GET", key] => bulk(key),
        _ => error("ERR unknown command"),
    }
}

#[test]
fn keys_that_vanish_meanwhile_are_fine_and_old_servers_too() {
    let from = Fake::start(|args| Some(old_server(args)));
    let to = Launch::shards(1).start();
    let said = import_live(from.port(), &to, &[]).good();
    assert!(said.starts_with("2 keys imported"), "{said}");
    assert!(said.contains("2 keys deleted or expired at the source meanwhile"), "{said}");
    let mut client = to.client();
    assert_eq!(client.words("GET stay"), Value::bulk("stay"));
    let ttl_ms = client.words("PTTL expire").integer();
    assert!((400_000..=500_000).contains(&ttl_ms), "{ttl_ms}");
    assert_eq!(client.words("DBSIZE"), Value::Integer(2));
}

#[test]
fn a_server_that_goes_away_ends_it_with_a_sentence() {
    let from = Fake::start(|args| match args[0].as_str() {
        "GET" => None,
        _ => Some(old_server(args)),
    });
    let to = Launch::shards(1).start();
    let sentence = import_live(from.port(), &to, &[]).refused(1);
    assert!(sentence.contains("gave no answer"), "{sentence}");
    // One that speaks another protocol.
    let from = Fake::start(|_| Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    let sentence = import_live(from.port(), &to, &[]).refused(2);
    assert!(sentence.contains("what it sent is no reply"), "{sentence}");
}

#[test]
fn keys_are_copied_while_they_change() {
    let (from, to) = (Launch::shards(2).start(), Launch::shards(2).start());
    let keys = fill(&from);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let ran = std::thread::scope(|scope| {
        let raise = crate::harness::Raise(&stop);
        scope.spawn(|| {
            let mut client = from.client();
            let mut number = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                client.ok(&format!("SET moving:{} v PX 1", number % 100));
                client.words(&format!("DEL moving:{}", (number + 50) % 100));
                number += 1;
                if number.is_multiple_of(100) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let ran = import_live(from.port(), &to, &["--replace"]);
        drop(raise);
        ran
    });
    let said = ran.good();
    let written = said.split(' ').next().expect("a number").replace(',', "");
    assert!(written.parse::<usize>().expect("a number") >= keys, "{said}");
}
