//! Every operation and its outcomes.

use crate::harness::binary::{BinaryClient, Reply, Request};
use crate::harness::wait_until;
use crate::{check, client, greeting, start, step};
use ringmain::protocol::binary::body::{read_scanned, read_values};
use ringmain::protocol::binary::{Opcode, ReplyHead, RequestFlags, Status, Token};
use ringmain::types::ShardId;

#[test]
fn values_are_set_and_read_with_their_versions() {
    let server = start(1);
    let c = &mut client(&server);
    let (get, set) =
        (|| Request::keyed(Opcode::Get, "k", ""), |v: &str| Request::keyed(Opcode::Set, "k", v));
    let none = check(c, get(), Status::NotFound, "");
    assert_eq!((none.head.version, none.head.shard), (0, ShardId(0)));
    let first = check(c, set("one"), Status::Ok, "").head.version;
    assert!(first > greeting(c).life);
    assert_eq!(check(c, get(), Status::Ok, "one").head.version, first);
    // The same value is a change all the same.
    let second = check(c, set("one"), Status::Ok, "").head.version;
    assert!(second > first);
    // Conditions that do not hold change nothing and say what is there.
    for (request, status) in [
        (set("x").flags(RequestFlags::IF_ABSENT), Status::Exists),
        (set("x").version(0), Status::VersionMismatch),
        (set("x").version(first), Status::VersionMismatch),
    ] {
        assert_eq!(check(c, request, status, "").head.version, second);
    }
    for request in [
        Request::keyed(Opcode::Set, "n", "x").flags(RequestFlags::IF_PRESENT),
        Request::keyed(Opcode::Set, "n", "x").version(second),
        Request::keyed(Opcode::CompareAndSwap, "n", "x").version(second),
    ] {
        assert_eq!(check(c, request, Status::NotFound, "").head.version, 0);
    }
    assert_eq!(check(c, get(), Status::Ok, "one").head.version, second);
    // Those that hold.
    let third = check(c, set("two").flags(RequestFlags::IF_PRESENT), Status::Ok, "").head.version;
    let fourth = check(c, set("three").version(third), Status::Ok, "").head.version;
    let swap = Request::keyed(Opcode::CompareAndSwap, "k", "four");
    let fifth = check(c, swap.clone().version(fourth), Status::Ok, "").head.version;
    check(c, swap.version(fourth), Status::VersionMismatch, "");
    assert_eq!(check(c, get(), Status::Ok, "four").head.version, fifth);
    check(c, Request::keyed(Opcode::Set, "n", "new").version(0), Status::Ok, "");
    check(c, Request::keyed(Opcode::Get, "n", ""), Status::Ok, "new");
    // Empty keys and values, and bytes that are no text.
    check(c, Request::keyed(Opcode::Set, "", [0xff, 0, 0x0d]), Status::Ok, "");
    check(c, Request::keyed(Opcode::Get, "", ""), Status::Ok, [0xff, 0, 0x0d]);
    check(c, Request::keyed(Opcode::Set, "e", ""), Status::Ok, "");
    check(c, Request::keyed(Opcode::Get, "e", ""), Status::Ok, "");
    // RESP sees the same keys, and its changes are changes.
    let mut resp = server.client();
    assert_eq!(resp.words("GET k").text(), "four");
    for change in [
        "APPEND k x",
        "SETRANGE k 0 F",
        "EXPIRE k 100",
        "PERSIST k",
        "SETBIT k 7 1",
        "RENAME k j",
        "RENAME j k",
    ] {
        let before = c.get("k").head.version;
        resp.words(change);
        let after = c.get(if change == "RENAME k j" { "j" } else { "k" }).head.version;
        assert!(after > before, "{change}");
    }
    for other in ["TOUCH k", "GET k", "TTL k", "OBJECT ENCODING k"] {
        let before = c.get("k").head.version;
        resp.words(other);
        assert_eq!(c.get("k").head.version, before, "{other}");
    }
}

#[test]
fn keys_expire_are_touched_and_deleted() {
    let server = start(1);
    let c = &mut client(&server);
    let mut resp = server.client();
    let expire = || Request::keyed(Opcode::Expire, "k", "");
    check(c, expire().ttl(1000), Status::NotFound, "");
    check(c, Request::keyed(Opcode::Touch, "k", ""), Status::NotFound, "");
    check(c, Request::keyed(Opcode::Delete, "k", ""), Status::NotFound, "");

    let set = || Request::keyed(Opcode::Set, "k", "v");
    let has_ttl = |resp: &mut crate::harness::client::Client| resp.words("PTTL k").integer();
    check(c, set().ttl(100_000), Status::Ok, "");
    assert!((90_000..=100_000).contains(&has_ttl(&mut resp)));
    check(c, set().flags(RequestFlags::KEEP_TTL), Status::Ok, "");
    assert!((90_000..=100_000).contains(&has_ttl(&mut resp)));
    check(c, set(), Status::Ok, "");
    assert_eq!(has_ttl(&mut resp), -1);
    let at = 4_000_000_000_000;
    check(c, set().ttl(at).flags(RequestFlags::TTL_IS_TIME), Status::Ok, "");
    assert_eq!(resp.words("PEXPIRETIME k").integer(), 4_000_000_000_000);
    // Never, then never again, which is no change.
    let before = c.get("k").head.version;
    let cleared = check(c, expire(), Status::Ok, "").head.version;
    assert!(cleared > before);
    assert_eq!(has_ttl(&mut resp), -1);
    assert_eq!(check(c, expire(), Status::Ok, "").head.version, cleared);
    assert!(check(c, expire().ttl(50_000), Status::Ok, "").head.version > cleared);
    assert!((40_000..=50_000).contains(&has_ttl(&mut resp)));
    let touched = check(c, Request::keyed(Opcode::Touch, "k", ""), Status::Ok, "");
    assert_eq!(touched.head.version, c.get("k").head.version);
    // A time that has passed removes.
    check(c, expire().ttl(1).flags(RequestFlags::TTL_IS_TIME), Status::Ok, "");
    check(c, Request::keyed(Opcode::Get, "k", ""), Status::NotFound, "");
    check(c, set().ttl(20), Status::Ok, "");
    wait_until("the key has expired", || c.get("k").status() == Status::NotFound);

    let version = check(c, set(), Status::Ok, "").head.version;
    let delete = || Request::keyed(Opcode::Delete, "k", "");
    assert_eq!(check(c, delete().version(1), Status::VersionMismatch, "").head.version, version);
    let removed = check(c, delete().version(version), Status::Ok, "").head.version;
    assert!(removed > version);
    check(c, delete().version(version), Status::NotFound, "");
    assert!(check(c, set(), Status::Ok, "").head.version > removed);
}

#[test]
fn numbers_and_bytes_are_added() {
    let server = start(1);
    let c = &mut client(&server);
    let add = |amount: i64| Request::keyed(Opcode::Increment, "n", amount.to_le_bytes());
    check(c, add(41), Status::Ok, 41i64.to_le_bytes());
    let sum = check(c, add(-100), Status::Ok, (-59i64).to_le_bytes());
    assert_eq!(
        check(c, Request::keyed(Opcode::Get, "n", ""), Status::Ok, "-59").head,
        ReplyHead { body_bytes: 3, opcode: Opcode::Get.number(), id: sum.head.id + 1, ..sum.head }
    );
    check(c, add(i64::MIN), Status::Overflow, "ERR increment or decrement would overflow");
    check(c, Request::keyed(Opcode::Increment, "n", [1; 7]), Status::BadRequest, "");
    c.set("n", "no number");
    check(c, add(1), Status::NotANumber, "ERR value is not an integer or out of range");
    let append = |tail: &str| Request::keyed(Opcode::Append, "a", tail);
    check(c, append("one"), Status::Ok, 3u64.to_le_bytes());
    check(c, append(" two"), Status::Ok, 7u64.to_le_bytes());
    check(c, Request::keyed(Opcode::Get, "a", ""), Status::Ok, "one two");
    // Counters and texts keep the time they have to live.
    check(c, Request::keyed(Opcode::Set, "n", "1").ttl(100_000), Status::Ok, "");
    check(c, add(1), Status::Ok, 2i64.to_le_bytes());
    assert!(server.client().words("PTTL n").integer() > 0);
}

#[test]
fn several_keys_at_one_moment_on_any_shards() {
    for shards in [1, 4] {
        let server = start(shards);
        let c = &mut client(&server);
        let names: Vec<String> = (0..20).map(|number| format!("key{number}")).collect();
        let pairs: Vec<&str> = names.iter().flat_map(|name| [&name[..], &name[3..]]).collect();
        let set = check_many(c, Request::many(Opcode::SetMany, &pairs), Status::Ok);
        let tokens = Token::read_all(&set.body).unwrap();
        assert_eq!(tokens.len(), usize::from(shards), "one for each shard written");
        assert!(tokens.contains(&set.token()), "the last key's is in the head");
        let mut wanted: Vec<&str> = names.iter().map(|name| &name[..]).collect();
        wanted.insert(7, "missing");
        let got = check_many(c, Request::many(Opcode::GetMany, &wanted), Status::Ok);
        assert_eq!((got.head.shard, got.head.version), (ReplyHead::NO_SHARD, 0));
        let values = read_values(&got.body).unwrap();
        assert_eq!(values.len(), wanted.len());
        for (name, found) in wanted.iter().zip(values) {
            assert_eq!(found.is_none(), *name == "missing");
            let Some(found) = found else { continue };
            assert_eq!(found.value, &name.as_bytes()[3..]);
            assert_eq!(found.version, c.get(name).head.version, "{name}");
        }
        // All or none.
        let absent = RequestFlags::IF_ABSENT;
        let refused = Request::many(Opcode::SetMany, &["new1", "x", "key3", "x"]).flags(absent);
        let refused = check_many(c, refused, Status::Exists);
        assert_eq!(refused.head.version, c.get("key3").head.version);
        assert_eq!(c.get("new1").status(), Status::NotFound);
        let request = Request::many(Opcode::SetMany, &["new1", "x", "new2", "y"]).flags(absent);
        check_many(c, request.ttl(50_000), Status::Ok);
        assert!(server.client().words("PTTL new2").integer() > 0);
        // The walk shows each key once it is stable.
        let mut seen = Vec::new();
        let mut cursor = 0;
        loop {
            let request = Request::plain(Opcode::Scan, "key*", step(cursor, 3));
            let reply = c.one(request).ok();
            let (next, keys) = read_scanned(&reply.body).unwrap();
            seen.extend(keys.into_iter().map(|key| String::from_utf8_lossy(key).into_owned()));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        seen.sort_unstable();
        seen.dedup();
        let mut all = names.clone();
        all.sort_unstable();
        assert_eq!(seen, all);
        let (_, keys) = {
            let reply = c.one(Request::plain(Opcode::Scan, "", step(0, 0))).ok();
            let (next, keys) = read_scanned(&reply.body).unwrap();
            (next, keys.len())
        };
        assert!(keys <= 22);
        for bad in
            [Request::many(Opcode::GetMany, &[""; 0]), Request::many(Opcode::SetMany, &["a"])]
        {
            check(c, bad, Status::BadRequest, "");
        }
        check(c, Request::plain(Opcode::Scan, "", [1; 11]), Status::BadRequest, "");
        check(c, Request::plain(Opcode::GetMany, "", [9, 0, 0, 0, 1]), Status::BadRequest, "");
    }
}

/// As [`check`], for bodies that are looked at elsewhere.
#[track_caller]
fn check_many(client: &mut BinaryClient, request: Request, status: Status) -> Reply {
    let reply = client.one(request);
    assert_eq!(reply.status(), status, "{}", reply.text());
    reply
}

#[test]
fn any_resp_command_by_name() {
    let server = start(4);
    let c = &mut client(&server);
    let command = Request::command;
    check(c, command("SET k v"), Status::Ok, "+OK\r\n");
    let got = check(c, command("get k"), Status::Ok, "$1\r\nv\r\n");
    assert_eq!(got.token(), c.get("k").token());
    check(c, command("GET none"), Status::Ok, "_\r\n");
    check(c, command("MSET a 1 b 2 c 3 d 4"), Status::Ok, "+OK\r\n");
    check(
        c,
        command("MGET a b c d e"),
        Status::Ok,
        "*5\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n_\r\n",
    );
    check(c, command("DBSIZE"), Status::Ok, ":5\r\n");
    check(c, command("PING"), Status::Ok, "+PONG\r\n");
    check(c, command("CONFIG GET timeout"), Status::Ok, "%1\r\n$7\r\ntimeout\r\n$1\r\n0\r\n");
    check(c, command("CLIENT SETNAME me"), Status::Ok, "+OK\r\n");
    // What fails, fails in RESP's words.
    check(c, command("INCR k"), Status::NotANumber, "ERR value is not an integer or out of range");
    check(
        c,
        command("NOSUCH"),
        Status::Error,
        "ERR unknown command 'NOSUCH', with args beginning with: ",
    );
    check(c, command("GET"), Status::Error, "ERR wrong number of arguments for 'get' command");
    check(
        c,
        command("CLIENT NOSUCH"),
        Status::Error,
        "ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.",
    );
    check(c, command("RENAME none j"), Status::Error, "ERR no such key");
    for speaking in
        ["HELLO 2", "MONITOR", "QUIT", "RESET", "CLIENT REPLY OFF", "CLIENT TOPOLOGY ON"]
    {
        check(c, command(speaking), Status::NotAllowed, "");
    }
    // The database belongs to the connection, whatever asked for it.
    check(c, command("SELECT 3"), Status::Ok, "+OK\r\n");
    check(c, Request::keyed(Opcode::Get, "k", ""), Status::NotFound, "");
    c.set("k", "other");
    assert_eq!(client(&server).get("k").text(), "v");
    let text = c.one(Request::plain(Opcode::Stats, "keyspace", "")).ok().text();
    assert!(
        text.starts_with("# Keyspace\r\ndb0:keys=5") && text.contains("\r\ndb3:keys=1"),
        "{text}"
    );
    assert!(c.one(Request::plain(Opcode::Stats, "", "")).ok().text().contains("# Server"));
    check(c, Request::plain(Opcode::Ping, "", "hello"), Status::Ok, "hello");
}
