//! Exports, and what reads them.

use std::io::Read as _;
use std::process::{Command, Stdio};

use crate::harness::client::{Client, encode};
use crate::harness::server::{Launch, Server};
use crate::harness::value::Value;
use crate::harness::{output_of, skip, wait_until};
use crate::{Ran, assert_same, digest, fill, fill_all_types, program, redis, run};

fn export(from: &Server, flags: &[&str]) -> Ran {
    let port = from.port().to_string();
    run(&[&["export", "--port", &port], flags].concat())
}

fn export_bytes(from: &Server, flags: &[&str]) -> Vec<u8> {
    let port = from.port().to_string();
    let mut command = program(&[&["export", "--port", &port], flags].concat());
    let output = output_of(&mut command).expect("run ringmain");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn what_is_written_are_commands() {
    let server = Launch::shards(1).start();
    let mut client = server.client();
    client.ok("SET plain v");
    client.ok("SELECT 2");
    client.ok("SET expiring v PXAT 33177117420000");
    let expect = [
        encode(&["SELECT", "0"]),
        encode(&["SET", "plain", "v"]),
        encode(&["SELECT", "2"]),
        encode(&["SET", "expiring", "v", "PXAT", "33177117420000"]),
    ];
    assert_eq!(export_bytes(&server, &[]), expect.concat());
    assert_eq!(export_bytes(&server, &["--db", "2"]), expect[2..].concat());
    assert_eq!(export_bytes(&server, &["--db", "5"]), b"");
}

#[test]
fn what_was_exported_comes_back_through_a_socket() {
    let (from, to) = (Launch::shards(2).start(), Launch::shards(2).start());
    let keys = fill(&from);
    let commands = export_bytes(&from, &[]);
    let mut client = to.client();
    // Replies are short, so that sending does not have to wait for them to be read.
    client.send(&commands);
    for _ in 0..keys + 3 {
        assert_eq!(client.read(), Ok(Value::ok()));
    }
    assert_same(&from, &to);
}

/// Has redis-cli send `file` on; gives what it says.
fn pipe(file: &std::path::Path, to: &Server) -> Option<String> {
    let input = std::fs::File::open(file).expect("the file");
    let port = to.port().to_string();
    let mut command = Command::new("redis-cli");
    let Ok(output) = output_of(command.args(["-p", &port, "--pipe"]).stdin(input)) else {
        skip("redis-cli is not on this machine");
        return None;
    };
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn redis_cli_pipes_an_export_into_either() {
    let (from, to) = (Launch::shards(2).start(), Launch::shards(2).start());
    let keys = fill(&from);
    let file = from.dir().join("keys.resp");
    let path = file.to_str().expect("a name");
    let ran = export(&from, &["--output", path]);
    assert_eq!((ran.status, ran.said.as_str()), (Some(0), ""));
    let line = format!(" keys exported from 127.0.0.1:{} in ", from.port());
    assert!(ran.complained.contains(&line) && ran.complained.lines().count() == 1, "{ran:?}");
    let Some(said) = pipe(&file, &to) else { return };
    assert!(said.contains(&format!("errors: 0, replies: {}", keys + 3)), "{said}");
    assert_same(&from, &to);
    let Some(redis) = redis() else { return };
    let said = pipe(&file, &redis).expect("it was there before");
    assert!(said.contains("errors: 0"), "{said}");
    assert_same(&from, &redis);
}

#[test]
fn other_types_are_exported_too() {
    let (Some(from), Some(to)) = (redis(), redis()) else { return };
    fill_all_types(&mut from.client());
    let commands = export_bytes(&from, &[]);
    // Twice: what is there is replaced.
    for _ in 0..2 {
        let mut client = to.client();
        client.send(&commands);
        let (mut at, mut count) = (0, 0);
        while let Some((_, length)) = Value::parse(&commands[at..]) {
            (at, count) = (at + length, count + 1);
        }
        for _ in 0..count {
            assert_eq!(client.read(), Ok(Value::ok()));
        }
        assert_eq!(digest(&from), digest(&to));
    }
}

#[test]
fn a_file_has_its_name_once_it_is_whole() {
    let server = Launch::shards(1).start();
    server.client().ok("SET k v");
    let file = server.dir().join("keys.resp");
    let path = file.to_str().expect("a name");
    std::fs::write(&file, "of yesterday").expect("a file");
    export(&server, &["--output", path]);
    assert!(std::fs::read(&file).expect("the file").starts_with(b"*2\r\n$6\r\nSELECT\r\n"));
    // A server that goes away in the middle.
    let from = crate::fake::Fake::start(|args| match args[0].as_str() {
        "PING" => Some(b"+PONG\r\n".to_vec()),
        "COMMAND" => Some(b"*1\r\n*-1\r\n".to_vec()),
        "INFO" => Some(crate::fake::bulk("db0:keys=1,expires=0\r\n")),
        "SELECT" => Some(b"+OK\r\n".to_vec()),
        _ => None,
    });
    let port = from.port().to_string();
    let sentence = run(&["export", "--port", &port, "--output", path]).refused(1);
    assert!(sentence.contains("gave no answer"), "{sentence}");
    assert!(std::fs::read(&file).expect("the file").starts_with(b"*2\r\n$6\r\nSELECT\r\n"));
    let partial = server.dir().join("keys.resp.partial");
    assert!(!partial.exists());
}

#[test]
fn a_full_disk_and_a_wrong_name_are_told() {
    let server = Launch::shards(1).start();
    server.client().ok("SET k v");
    let sentence = export(&server, &["--output", "/dev/full"]).refused(1);
    assert_eq!(
        sentence,
        "The file '/dev/full' can't be written further, because the disk is full: make room, or name a \
         file elsewhere with --output."
    );
    let sentence = export(&server, &["--output", "/nowhere/keys.resp"]).refused(2);
    assert!(
        sentence.starts_with("The file '/nowhere/keys.resp' after --output can't be"),
        "{sentence}"
    );
}

#[test]
fn a_reader_that_has_enough_ends_it() {
    let server = Launch::shards(1).start();
    let mut client: Client = server.client();
    let long = vec![b'x'; 1024 * 1024];
    for key in ["a", "b", "c", "d"] {
        client.command(&[b"SET", key.as_bytes(), &long]);
    }
    let port = server.port().to_string();
    let mut child = program(&["export", "--port", &port])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run ringmain");
    let mut head = [0; 23];
    child.stdout.take().expect("its output").read_exact(&mut head).expect("some of it");
    assert_eq!(&head, b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n");
    let mut status = None;
    wait_until("it ends", || {
        status = child.try_wait().expect("look at it");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(1));
    let mut complaint = String::new();
    child.stderr.take().expect("its errors").read_to_string(&mut complaint).expect("text");
    assert_eq!(
        complaint,
        "ringmain: The export ended early, because nobody reads the standard output any more.\n"
    );
}
