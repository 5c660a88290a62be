//! What can't be done, and the one sentence that says so.

use std::path::Path;

use tempfile::TempDir;

use crate::feed::file;
use crate::harness::server::{Launch, skip_on_other_server};
use crate::harness::value::Value;
use crate::{import_file, run};

#[test]
fn nothing_of_a_bad_file_is_written() {
    let server = Launch::shards(1).start();
    let good = file(11, &[b"\x00\x01k\x05hello", b"\x00\x01l\x05hello"]);
    let mut wrong = good.clone();
    wrong[20] ^= 1;
    let dir = TempDir::with_prefix("ringmain-test-").expect("a temporary folder");
    let path = dir.path().join("dump.rdb");
    let shown = path.display().to_string();
    for (bytes, expect) in [
        (
            &b"SELECT 0\r\n"[..],
            "it is no RDB file, which starts with REDIS and four digits; name what SAVE",
        ),
        (b"", "it is no RDB file"),
        (&good[..20], "it ends at byte 20, before the data does; copy the file again"),
        (&wrong, "its bytes have the checksum "),
        (
            b"REDIS0099\xff",
            "it is in version 99 of the RDB format, and versions 1 to 12 are read; copy the running",
        ),
        (
            &[&good[..], b"*1\r\n"].concat(),
            "after its end, at byte 36, something follows; if it is an append-only",
        ),
        (b"REDIS0011\x63\x01k", "at byte 9 there is type 99 of value, which is not known; copy"),
    ] {
        std::fs::write(&path, bytes).expect("write a file");
        let sentence = import_file(&path, &server, &[]).refused(2);
        let expect = format!("The file '{shown}' after --from-rdb can't be imported: {expect}");
        assert!(sentence.starts_with(&expect), "{sentence}");
    }
    let sentence = import_file(&dir.path().join("none"), &server, &[]).refused(2);
    assert!(sentence.contains("can't be read (No such file or directory"), "{sentence}");
    let sentence = import_file(dir.path(), &server, &[]).refused(2);
    assert!(sentence.contains("Is a directory"), "{sentence}");
    assert_eq!(server.client().words("DBSIZE"), Value::Integer(0));
    std::fs::write(&path, good).expect("write a file");
    import_file(&path, &server, &[]).good();
}

#[test]
fn servers_that_are_not_there_are_named_with_their_flags() {
    // Bound and not listening: nobody else gets the port meanwhile.
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = closed.local_addr().expect("an address").port().to_string();
    let sentence = run(&["export", "--port", &port]).refused(2);
    assert!(
        sentence.starts_with(&format!("There is no server at 127.0.0.1:{port} (")),
        "{sentence}"
    );
    assert!(sentence.ends_with("start one, or name it with --host and --port."), "{sentence}");
    let server = Launch::shards(1).start();
    let (from, to) = (format!("127.0.0.1:{port}"), server.port().to_string());
    let sentence = run(&["import", "--from", &from, "--port", &to]).refused(2);
    assert!(sentence.ends_with("start one, or name it with --from."), "{sentence}");
    let sentence = run(&["import", "--from", "nonsense", "--port", &to]).refused(2);
    assert!(
        sentence.starts_with("--from can't be 'nonsense': it takes a host and a port"),
        "{sentence}"
    );
}

#[test]
fn a_target_that_is_full_ends_it() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(1)
        .flag("--maxmemory", "4mb")
        .flag("--maxmemory-policy", "noeviction")
        .start();
    let value = [&b"\x80\x00\x01\x00\x00"[..], &[b'x'; 65_536]].concat();
    let items: Vec<Vec<u8>> =
        (0..200).map(|number| [&[0, 1, number][..], &value].concat()).collect();
    let items: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
    let dir = TempDir::with_prefix("ringmain-test-").expect("a temporary folder");
    let path = dir.path().join("dump.rdb");
    std::fs::write(&path, file(11, &items)).expect("write a file");
    let sentence = import_file(&path, &server, &[]).refused(1);
    assert!(sentence.contains("takes no more keys (OOM"), "{sentence}");
    assert!(sentence.ends_with("raise its maxmemory, or let it evict."), "{sentence}");
}

#[test]
fn a_database_that_is_not_there_is_named() {
    let server = Launch::shards(1).start();
    let dir = TempDir::with_prefix("ringmain-test-").expect("a temporary folder");
    let path = dir.path().join("dump.rdb");
    std::fs::write(&path, file(11, &[b"\xfe\x41\x00\x00\x01k\x01v"])).expect("write a file");
    let sentence = import_file(&path, &server, &[]).refused(1);
    assert!(sentence.contains("has no database 256 (ERR DB index is out of range)"), "{sentence}");
    assert!(sentence.contains("--db"), "{sentence}");
    assert_eq!(server.client().words("DBSIZE"), Value::Integer(0));
}

#[test]
fn help_shows_examples() {
    for (name, about) in [
        ("import", "Copies the keys of an RDB file, or of another server, into a running server"),
        ("export", "Writes a running server's keys as commands for redis-cli --pipe"),
    ] {
        let said = run(&[name, "--help"]).good();
        assert!(
            said.starts_with(about) && said.contains(&format!("\n  ringmain {name} --")),
            "{said}"
        );
    }
    for flags in
        [&["import"][..], &["import", "--from-rdb", "a", "--from", "b:1"], &["export", "x"]]
    {
        let ran = run(flags);
        assert_eq!((ran.status, ran.said.as_str()), (Some(2), ""), "{ran:?}");
    }
    assert!(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/moving.md")).exists());
}
