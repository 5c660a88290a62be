//! The binary protocol over sockets: every operation and every status, however the bytes are cut and
//! wherever the keys are; and what a client that breaks the rules gets, while others notice nothing.

mod harness;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use harness::binary::{BinaryClient, Reply, Request, frame};
use harness::client::encode_words;
use harness::random::Random;
use harness::server::{Launch, Server};
use harness::{PATIENCE, wait_until};
use ringmain::protocol::binary::body::{Features, ScanStep, read_scanned, read_values};
use ringmain::protocol::binary::{
    Greeting, Hello, Opcode, ReplyHead, RequestFlags, RequestHead, Status, Token, Topology,
};
use ringmain::types::{CoreId, ShardId, Slot};

fn start(shards: u16) -> Server {
    Launch::shards(shards).core_ports().binary().debug().start()
}

fn client(server: &Server) -> BinaryClient {
    BinaryClient::connect(server.binary_address())
}

fn greeting(client: &mut BinaryClient) -> Greeting {
    let mut value = Vec::new();
    Hello::this_version().write(&mut value);
    Greeting::read(&client.one(Request::plain(Opcode::Hello, "", value)).ok().body)
        .expect("the server answers")
}

fn step(cursor: u64, count: u32) -> Vec<u8> {
    let mut value = Vec::new();
    ScanStep { cursor, count }.write(&mut value);
    value
}

/// A key of a shard, of which there are `shards`.
fn key_of(shard: u16, shards: u16, prefix: &str) -> String {
    let map = ringmain::types::SlotMap::new(shards, 1);
    let names = (0..).map(|number| format!("{prefix}{number}"));
    let mut names = names
        .filter(|name| map.shard_of(ringmain::types::key_slot(name.as_bytes())) == ShardId(shard));
    names.next().expect("the server answers")
}

/// Sends a request and compares status and body.
#[track_caller]
fn check(
    client: &mut BinaryClient,
    request: Request,
    status: Status,
    body: impl AsRef<[u8]>,
) -> Reply {
    let reply = client.one(request.clone());
    assert_eq!(reply.status(), status, "{request:?}: {}", reply.text());
    if !status.is_error() || !body.as_ref().is_empty() {
        let expected = String::from_utf8_lossy(body.as_ref());
        assert_eq!(reply.body, body.as_ref(), "{request:?}: {} {expected}", reply.text());
    }
    if status.is_error() {
        let code = reply.text().split(' ').next().expect("the server answers").to_owned();
        assert!(!code.is_empty() && code.chars().all(|c| c.is_ascii_uppercase()), "{code}");
        assert_eq!(reply.head.version, 0);
    }
    assert_eq!(reply.head.opcode, request.head.opcode);
    reply
}

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
    let has_ttl = |resp: &mut harness::client::Client| resp.words("PTTL k").integer();
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

// --- however it is cut, wherever it goes ---------------------------------------------------------

/// Requests of every kind, over all shards, with their outcomes.
fn mixed(shards: u16, round: u32) -> Vec<(Request, Status, Vec<u8>)> {
    let mut all = Vec::new();
    let prefix = format!("r{round}:");
    for shard in 0..shards {
        let key = &key_of(shard, shards, &prefix);
        let ok = Status::Ok;
        all.push((Request::keyed(Opcode::Get, key, ""), Status::NotFound, vec![]));
        all.push((Request::keyed(Opcode::Set, key, "5"), ok, vec![]));
        all.push((
            Request::keyed(Opcode::Increment, key, 2i64.to_le_bytes()),
            ok,
            7i64.to_le_bytes().to_vec(),
        ));
        let mut wrong = Request::keyed(Opcode::Set, key, "x");
        wrong.head.slot.0 ^= 1;
        all.push((wrong, Status::WrongSlot, vec![]));
        all.push((Request::plain(Opcode::Ping, "", ""), ok, vec![]));
        let mut unknown = Request::plain(Opcode::Ping, "key", "value");
        unknown.head.opcode = 0x1f;
        all.push((unknown, Status::UnknownOpcode, vec![]));
        all.push((
            Request::keyed(Opcode::Set, key, "x").durability(3),
            Status::DurabilityUnavailable,
            vec![],
        ));
        all.push((
            Request::keyed(Opcode::Set, key, "x").deadline(0),
            Status::DeadlineExceeded,
            vec![],
        ));
        all.push((Request::command(&format!("APPEND {key} 1")), ok, b":2\r\n".to_vec()));
        all.push((Request::keyed(Opcode::Get, key, ""), ok, b"71".to_vec()));
        all.push((Request::command("NOSUCH"), Status::Error, vec![]));
        all.push((Request::keyed(Opcode::Get, key, "value"), Status::BadRequest, vec![]));
    }
    let keys: Vec<String> = (0..shards).map(|shard| key_of(shard, shards, &prefix)).collect();
    all.push((Request::many(Opcode::GetMany, &keys), Status::Ok, vec![]));
    all.push((
        Request::command(&format!("DEL {}", keys.join(" "))),
        Status::Ok,
        format!(":{shards}\r\n").into_bytes(),
    ));
    all.push((Request::keyed(Opcode::Get, &keys[0], ""), Status::NotFound, vec![]));
    all
}

#[track_caller]
fn check_mixed(client: &mut BinaryClient, sent: &[(Request, Status, Vec<u8>)], first: u32) {
    for (index, (request, status, body)) in sent.iter().enumerate() {
        let reply = client.reply(first + u32::try_from(index).expect("the server answers"));
        assert_eq!(reply.status(), *status, "{request:?}: {}", reply.text());
        assert_eq!(reply.head.opcode, request.head.opcode);
        if !body.is_empty() {
            assert_eq!(reply.body, *body, "{request:?}");
        }
    }
}

fn mixed_frame(sent: &[(Request, Status, Vec<u8>)], first: u32) -> Vec<u8> {
    let numbered = sent.iter().zip(first..).map(|((request, ..), id)| request.clone().id(id));
    frame(&numbered.collect::<Vec<_>>())
}

#[test]
fn requests_are_the_same_wherever_their_bytes_are_cut() {
    let server = start(4);
    let addresses = [server.binary_address(), server.core_address(0), server.address()];
    let length = mixed_frame(&mixed(4, 0), 1).len();
    let mut random = Random::new(7);
    for (round, cut) in (0..).zip((1..length).step_by(3)) {
        let sent = mixed(4, round);
        let bytes = mixed_frame(&sent, 1);
        let mut client = BinaryClient::connect(addresses[round as usize % 3]);
        let (front, back) = bytes.split_at(cut.min(bytes.len() - 1));
        client.send_bytes(front);
        // Time for the front to be looked at by itself.
        std::thread::sleep(Duration::from_micros(random.below(500)));
        client.send_bytes(back);
        check_mixed(&mut client, &sent, 1);
    }
    let sent = mixed(4, u32::MAX);
    let mut client = client(&server);
    for byte in mixed_frame(&sent, 1) {
        client.send_bytes(&[byte]);
    }
    check_mixed(&mut client, &sent, 1);
}

#[test]
fn frames_may_be_long_short_and_many() {
    let server = start(4);
    let mut client = client(&server);
    // More requests than a window takes, some of them without any bytes of their own.
    let pings = vec![Request::plain(Opcode::Ping, "", ""); 1024];
    assert!(client.all(&pings).iter().all(|reply| reply.status() == Status::Ok));
    // Many frames of one request in one send.
    let (mut bytes, sent) = (Vec::new(), mixed(4, 1));
    for (index, (request, ..)) in sent.iter().enumerate() {
        let id = 5000 + u32::try_from(index).unwrap();
        bytes.extend(frame(&[request.clone().id(id)]));
    }
    client.send_bytes(&bytes);
    check_mixed(&mut client, &sent, 5000);
    // Values longer than any buffer, between others.
    let large = "x".repeat(3 << 20);
    let requests: Vec<Request> = (0..40)
        .map(|number| match number % 4 {
            0 => Request::keyed(Opcode::Set, &format!("large{number}"), &large),
            1 => Request::keyed(Opcode::Get, &format!("large{}", number - 1), ""),
            2 => Request::keyed(Opcode::Set, &format!("small{number}"), "y"),
            _ => Request::keyed(Opcode::Get, &format!("small{}", number - 1), ""),
        })
        .collect();
    client.send_while(&requests, |client, ids| {
        for (number, id) in ids.iter().enumerate() {
            let reply = client.reply(*id).ok();
            let length = [0, large.len(), 0, 1][number % 4];
            assert_eq!(reply.body.len(), length, "request {number}");
        }
    });
    // Who ends his side is answered in full.
    let ids = client
        .send(&[Request::plain(Opcode::Ping, "", "a"), Request::keyed(Opcode::Get, "large0", "")]);
    client.end();
    assert_eq!(client.reply(ids[0]).text(), "a");
    assert_eq!(client.reply(ids[1]).body.len(), large.len());
    assert_eq!(client.next(), None);
}

#[test]
fn batches_over_all_shards_from_many_connections() {
    let server = start(4);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let address = [server.binary_address(), server.core_address(0)][number % 2];
                let mut client = BinaryClient::connect(address);
                for round in 0..30u32 {
                    let round = round * 8 + u32::try_from(number).unwrap();
                    let sent = mixed(4, 1000 + round);
                    client.send_bytes(&mixed_frame(&sent, round * 1000));
                    check_mixed(&mut client, &sent, round * 1000);
                }
            });
        }
    });
}

// --- order, time ---------------------------------------------------------------------------------

/// Clients of the first core and a key of each of two cores, unless there is but one.
fn two_cores(server: &Server) -> Option<(BinaryClient, [String; 2])> {
    let mut client = BinaryClient::connect(server.core_address(0));
    if greeting(&mut client).topology.cores.len() < 2 {
        harness::skip("this takes two cores, and this machine has one");
        return None;
    }
    Some((client, [key_of(0, 2, "home"), key_of(1, 2, "away")]))
}

/// Puts the second core to sleep and waits until a request that only this core runs is under way;
/// answers the id of the request.
fn send_to_sleeper(server: &Server, client: &mut BinaryClient, keys: &[String; 2]) -> u32 {
    let mut sleeper = harness::client::Client::connect(server.core_address(1));
    // A look at a long value takes long, and so is the owner's.
    let long = format!("{{{}}}:long", keys[1]);
    client.set(&long, &"x".repeat(100_000));
    sleeper.send(encode_words("DEBUG SLEEP 1"));
    let started = std::time::Instant::now();
    loop {
        assert!(started.elapsed() < PATIENCE, "the core does not sleep");
        // It waits there for its turn.
        let away = Request::command(&format!("BITCOUNT {long}"));
        let ids = client.send(&[away, Request::keyed(Opcode::Get, &keys[0], "")]);
        let first = client.next().expect("the server answers");
        if first.head.id == ids[0] {
            assert_eq!(client.next().expect("the server answers").head.id, ids[1]);
            continue;
        }
        // It may just have been busy for a moment.
        (0..50).for_each(|_| drop(client.get(&keys[0])));
        if !client.has_come(ids[0]) {
            return ids[0];
        }
        client.reply(ids[0]);
    }
}

#[test]
fn a_reply_does_not_wait_for_one_that_takes_longer() {
    let server = start(2);
    let Some((mut client, keys)) = two_cores(&server) else { return };
    for key in &keys {
        client.set(key, "before");
    }
    let late = send_to_sleeper(&server, &mut client, &keys);
    // For the shard that can't be had: in the order sent, behind one another. For the other: at once.
    let set = client.send(&[Request::keyed(Opcode::Set, &keys[1], "after")])[0];
    let get = client.send(&[Request::keyed(Opcode::Get, &keys[1], "")])[0];
    let hurried = Request::keyed(Opcode::Set, &keys[1], "too late").deadline(1000);
    let hurried = client.send(&[hurried])[0];
    assert_eq!(client.get(&keys[0]).text(), "before");
    assert_eq!(client.one(Request::plain(Opcode::Ping, "", "p")).text(), "p");
    let order: Vec<Reply> = (0..4).map(|_| client.next().unwrap()).collect();
    assert_eq!(
        order.iter().map(|reply| reply.head.id).collect::<Vec<_>>(),
        [late, set, get, hurried]
    );
    let statuses: Vec<_> = order.iter().map(Reply::status).collect();
    assert_eq!(statuses, [Status::Ok, Status::Ok, Status::Ok, Status::DeadlineExceeded]);
    assert_eq!((order[0].text().as_str(), order[2].text().as_str()), (":400000\r\n", "after"));
    assert_eq!(client.get(&keys[1]).text(), "after", "what came too late was not done");
}

#[test]
fn what_needs_all_shards_waits_for_what_was_sent_before() {
    let server = start(2);
    let Some((mut client, keys)) = two_cores(&server) else { return };
    let late = send_to_sleeper(&server, &mut client, &keys);
    let ids = client.send(&[
        Request::keyed(Opcode::Set, &keys[1], "1"),
        Request::many(Opcode::GetMany, &keys),
        Request::command(&format!("EXISTS {} {}", keys[0], keys[1])),
        Request::keyed(Opcode::Get, &keys[1], ""),
    ]);
    assert_eq!(client.next().unwrap().head.id, late);
    let values = client.reply(ids[1]).ok();
    let values = read_values(&values.body).unwrap();
    assert_eq!(values[1].map(|found| found.value), Some(&b"1"[..]));
    assert_eq!(client.reply(ids[2]).text(), ":1\r\n");
    assert_eq!(client.reply(ids[3]).text(), "1");
}

#[test]
fn a_deadline_counts_what_a_pause_takes() {
    let server = start(1);
    let (mut client, mut admin) = (client(&server), server.client());
    client.set("k", "v");
    admin.ok("CLIENT PAUSE 60000 WRITE");
    let ids = client.send(&[
        Request::keyed(Opcode::Set, "k", "late").deadline(1),
        Request::keyed(Opcode::Set, "k", "in time").deadline(60_000_000),
        Request::keyed(Opcode::Get, "k", ""),
    ]);
    wait_until("the client is held", || {
        admin.words("INFO clients").text().contains("blocked_clients:1\r\n")
    });
    std::thread::sleep(Duration::from_millis(2));
    admin.ok("CLIENT UNPAUSE");
    assert_eq!(client.reply(ids[0]).status(), Status::DeadlineExceeded);
    assert_eq!(client.reply(ids[1]).status(), Status::Ok);
    assert_eq!(client.reply(ids[2]).text(), "in time");
}

#[test]
fn what_is_not_durable_enough_is_not_done() {
    let server = start(2);
    let mut client = client(&server);
    let set = |level| Request::keyed(Opcode::Set, "k", "v").durability(level);
    for level in [2, 3] {
        let reply = client.one(set(level));
        assert_eq!(reply.status(), Status::DurabilityUnavailable);
        assert!(
            reply.text().contains(["async", "sync"][usize::from(level) - 2]),
            "{}",
            reply.text()
        );
        let many = Request::many(Opcode::SetMany, &["k", "v"]).durability(level);
        assert_eq!(client.one(many).status(), Status::DurabilityUnavailable);
        let escape = Request::command("SET k v").durability(level);
        assert_eq!(client.one(escape).status(), Status::DurabilityUnavailable);
        // A read is as durable as it can be.
        let read = Request::keyed(Opcode::Get, "k", "").durability(level);
        assert_eq!(client.one(read).status(), Status::NotFound);
    }
    assert_eq!(client.one(set(4)).status(), Status::BadRequest);
    for level in [0, 1] {
        client.one(set(level)).ok();
    }
}

#[test]
fn a_session_token_is_reached_old_or_not_of_this_shard() {
    let server = start(4);
    let mut client = client(&server);
    let life = greeting(&mut client).life;
    let keys: Vec<String> = (0..4).map(|shard| key_of(shard, 4, "t")).collect();
    let token = client.set(&keys[2], "v").token();
    assert_eq!(token.shard, ShardId(2));
    assert!(token.sequence > life);
    let get = |key: &str, token| Request::keyed(Opcode::Get, key, "").token(token);
    let status = |client: &mut BinaryClient, request| client.one(request).status();
    assert_eq!(client.one(get(&keys[2], token)).text(), "v");
    let ahead = Token { sequence: token.sequence + 1, ..token };
    assert_eq!(status(&mut client, get(&keys[2], ahead)), Status::TokenNotReached);
    let old = Token { sequence: life, ..token };
    assert_eq!(status(&mut client, get(&keys[2], old)), Status::TokenExpired);
    // Of other shards nothing is said.
    assert_eq!(status(&mut client, get(&keys[1], ahead)), Status::NotFound);
    assert_eq!(
        status(&mut client, get(&keys[1], Token { shard: ShardId(999), sequence: 1 })),
        Status::NotFound
    );
    for request in [
        Request::many(Opcode::GetMany, &keys),
        Request::command(&format!("MGET {}", keys.join(" "))),
    ] {
        assert_eq!(status(&mut client, request.clone().token(token)), Status::Ok);
        assert_eq!(status(&mut client, request.clone().token(ahead)), Status::TokenNotReached);
        assert_eq!(status(&mut client, request.token(old)), Status::TokenExpired);
    }
    let escape = Request::command(&format!("SET {} w", keys[2]));
    let later = client.one(escape).ok().token();
    assert_eq!(later, ahead);
    assert_eq!(client.one(get(&keys[2], ahead)).text(), "w");
    // Across a restart.
    let port = server.port();
    drop(server);
    let again = start(4);
    assert!(again.port() != port || again.port() == port);
    let mut client = BinaryClient::connect(again.binary_address());
    assert_eq!(status(&mut client, get(&keys[2], ahead)), Status::TokenExpired);
}

#[test]
fn exactly_one_wins_each_version() {
    const SWAPS: u64 = 200;
    let server = start(2);
    let won = AtomicU64::new(0);
    client(&server).set("counter", "0");
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (server, won) = (&server, &won);
            scope.spawn(move || {
                let address = [server.binary_address(), server.core_address(0)][number % 2];
                let mut client = BinaryClient::connect(address);
                let mut mine = 0;
                while mine < SWAPS {
                    let read = client.get("counter").ok();
                    let next = read.text().parse::<u64>().unwrap() + 1;
                    let swap = Request::keyed(Opcode::CompareAndSwap, "counter", next.to_string());
                    match client.one(swap.version(read.head.version)).status() {
                        Status::Ok => mine += 1,
                        status => assert_eq!(status, Status::VersionMismatch),
                    }
                }
                won.fetch_add(mine, Ordering::Relaxed);
            });
        }
    });
    let count = client(&server).get("counter").text();
    assert_eq!(count, won.load(Ordering::Relaxed).to_string(), "no swap was lost");
}

// --- who may, and what is seen -------------------------------------------------------------------

fn hello(user: &str, password: &str, name: &str) -> Request {
    let hello = Hello {
        user: user.to_owned(),
        password: password.to_owned(),
        name: name.to_owned(),
        ..Hello::this_version()
    };
    let mut value = Vec::new();
    hello.write(&mut value);
    Request::plain(Opcode::Hello, "", value)
}

#[test]
fn a_password_comes_first() {
    let server = Launch::shards(1).core_ports().binary().flag("--requirepass", "hush").start();
    let mut client = client(&server);
    let get = || Request::keyed(Opcode::Get, "k", "");
    for request in [
        get(),
        Request::plain(Opcode::Ping, "", ""),
        Request::plain(Opcode::Topology, "", ""),
        Request::plain(Opcode::Stats, "", ""),
        Request::command("GET k"),
        Request::command("NOSUCH"),
        hello("", "", ""),
    ] {
        let reply = client.one(request.clone());
        assert_eq!(reply.status(), Status::AuthRequired, "{request:?}");
        assert!(reply.text().starts_with("NOAUTH "), "{}", reply.text());
    }
    for (user, password) in [("", "wrong"), ("me", "hush"), ("default", "hushh")] {
        assert_eq!(client.one(hello(user, password, "")).status(), Status::AuthFailed);
    }
    assert_eq!(client.one(Request::command("AUTH wrong")).status(), Status::AuthFailed);
    // In one frame: what stands before the password is refused, what stands behind is not.
    let statuses: Vec<_> =
        client.all(&[get(), hello("", "hush", ""), get()]).iter().map(Reply::status).collect();
    assert_eq!(statuses, [Status::AuthRequired, Status::Ok, Status::NotFound]);
    let mut other = BinaryClient::connect(server.core_address(0));
    other.one(Request::command("AUTH hush")).ok();
    assert_eq!(other.one(get()).status(), Status::NotFound);
}

#[test]
fn little_is_taken_before_the_password() {
    let server = Launch::shards(1).binary().flag("--requirepass", "hush").start();
    let ping = Request::plain(Opcode::Ping, "", "");
    let long = Request::plain(Opcode::Ping, "", vec![b'x'; 16 * 1024 + 1]);
    for frame in [frame(&vec![ping.clone(); 11]), frame(std::slice::from_ref(&long))] {
        let mut client = client(&server);
        client.send_bytes(&frame);
        assert_eq!(client.fatal().status(), Status::FrameTooLarge);
    }
    // The same is fine afterwards.
    let mut client = client(&server);
    assert!(client.all(&vec![ping.clone(); 10]).iter().all(|r| r.status() == Status::AuthRequired));
    client.one(hello("default", "hush", "")).ok();
    assert_eq!(client.all(&vec![ping; 11]).len(), 11);
    assert_eq!(client.one(long).body.len(), 16 * 1024 + 1);
}

#[test]
fn a_handshake_tells_versions_limits_and_topology() {
    let server = start(4);
    let mut client = BinaryClient::connect(server.core_address(0));
    let greeting = Greeting::read(&client.one(hello("", "", "app")).ok().body).unwrap();
    assert_eq!((greeting.version, greeting.features), (1, Features::TOPOLOGY_PUSH));
    assert_eq!(greeting.server, format!("ringmain {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(greeting.limits.items_max, 1024);
    assert_eq!((greeting.limits.value_bytes_max, greeting.key_bytes_max), (512 << 20, 65_535));
    let topology = &greeting.topology;
    assert_eq!(topology.shard_count, 4);
    for core in &topology.cores {
        assert_eq!(core.port, server.core_address(core.core.0).port());
        assert_eq!(core.host, "127.0.0.1");
    }
    let mut next = 0;
    for (range, shard) in topology.ranges.iter().zip(0..) {
        assert_eq!((range.first, range.shard), (next, ShardId(shard)));
        assert!(topology.cores.iter().any(|core| core.core == range.core));
        next = range.last.wrapping_add(1);
    }
    assert_eq!(next, 16_384);
    let again = client.one(Request::plain(Opcode::Topology, "", "")).ok();
    assert_eq!(Topology::read(&again.body).as_ref(), Ok(topology));
    let list = server.client().words("CLIENT LIST").text();
    let line = list.lines().find(|line| line.contains(" name=app ")).unwrap();
    assert!(line.starts_with(&format!("id={} ", greeting.client)), "{line}");
    // No common version: told so, and closed.
    let mut value = Vec::new();
    Hello { oldest: 2, newest: 9, ..Hello::default() }.write(&mut value);
    let id = client.send(&[Request::plain(Opcode::Hello, "", value)])[0];
    let reply = client.reply(id);
    assert_eq!(reply.status(), Status::BadVersion);
    assert_eq!(client.next(), None);
    for name in ["two words", "line\n"] {
        let mut other = BinaryClient::connect(server.binary_address());
        assert_eq!(other.one(hello("", "", name)).status(), Status::Error);
    }
}

#[test]
fn a_new_topology_is_pushed() {
    let server = start(2);
    let mut client = BinaryClient::connect(server.core_address(0));
    let first = client.one(Request::plain(Opcode::SubscribeTopology, "", "")).ok();
    let first = Topology::read(&first.body).unwrap();
    if first.cores.len() < 2 {
        return harness::skip("shards move between cores, and this machine has one");
    }
    server.client().ok("SHARD MOVE 0 1");
    let push = client.next().unwrap();
    assert_eq!((push.head.id, push.head.opcode), (0, 0x84));
    let pushed = Topology::read(&push.ok().body).unwrap();
    assert!(pushed.epoch > first.epoch);
    assert_eq!(pushed.ranges[0].core, CoreId(1));
    // The key is served all the same, and asking gives the same answer.
    client.set(&key_of(0, 2, "k"), "v");
    let asked = client.one(Request::plain(Opcode::Topology, "", "")).ok();
    assert_eq!(Topology::read(&asked.body), Ok(pushed));
}

#[test]
fn operations_are_seen_as_the_commands_they_are() {
    let server = Launch::shards(1).binary().flag("--slowlog-log-slower-than", "0").start();
    let (mut client, mut admin, mut monitor) = (client(&server), server.client(), server.client());
    monitor.ok("MONITOR");
    client.one(hello("default", "x", "")).ok();
    client.set("k", "v");
    client.get("k");
    client.one(Request::keyed(Opcode::Increment, "k", 1i64.to_le_bytes()));
    client.one(Request::many(Opcode::SetMany, &["a", "1", "b", "2"])).ok();
    client.one(Request::command("STRLEN k")).ok();
    let lines: Vec<String> = (0..6).map(|_| monitor.read().unwrap().text()).collect();
    for (line, shown) in lines.iter().zip([
        r#""hello" "(redacted)""#,
        r#""set" "k" "v""#,
        r#""get" "k""#,
        r#""incrby" "k" "\x01\x00\x00\x00\x00\x00\x00\x00""#,
        r#""mset" "a" "1" "b" "2""#,
        r#""STRLEN" "k""#,
    ]) {
        assert!(line.ends_with(shown), "{line} should show {shown}");
    }
    let stats = admin.words("INFO commandstats").text();
    for (name, rest) in
        [("set", "rejected_calls=0,failed_calls=0"), ("get", ""), ("mset", ""), ("strlen", "")]
    {
        let line =
            stats.lines().find(|line| line.starts_with(&format!("cmdstat_{name}:"))).unwrap();
        assert!(line.contains("calls=1,") && line.ends_with(rest), "{line}");
    }
    let line = stats.lines().find(|line| line.starts_with("cmdstat_incrby:")).unwrap();
    assert!(line.ends_with("failed_calls=1"), "{line}");
    assert!(admin.words("INFO errorstats").text().contains("errorstat_ERR:count=1"));
    let slow = format!("{:?}", admin.words("SLOWLOG GET 20"));
    for shown in ["mset", "incrby", "STRLEN"] {
        assert!(slow.contains(shown), "{shown} in {slow}");
    }
    assert!(!slow.contains("default"), "{slow}");
    // It is a client like any other.
    let id = greeting(&mut client).client;
    let line = admin.words("CLIENT LIST").text();
    let line = line.lines().find(|line| line.starts_with(&format!("id={id} "))).unwrap();
    assert!(line.contains(" cmd=hello ") && line.contains(" resp=3 "), "{line}");
    assert_eq!(admin.words(&format!("CLIENT KILL ID {id}")).integer(), 1);
    assert_eq!(client.next(), None);
}

#[test]
fn memory_clients_and_time_are_limited_as_for_resp() {
    let flags = [("--maxmemory", "2mb"), ("--maxclients", "3"), ("--request-timeout", "1")];
    let mut launch = Launch::shards(1).core_ports().binary();
    for (name, value) in flags {
        launch = launch.flag(name, value);
    }
    let server = launch.start();
    let mut client = client(&server);
    let value = "x".repeat(10_000);
    let mut refused = None;
    for number in 0..1000 {
        let reply = client.one(Request::keyed(Opcode::Set, &format!("k{number}"), &value));
        if reply.status() != Status::Ok {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("memory is short");
    assert_eq!(refused.status(), Status::OutOfMemory);
    assert!(refused.text().starts_with("OOM "), "{}", refused.text());
    assert_eq!(client.get("k0").body.len(), value.len());
    client.one(Request::keyed(Opcode::Delete, "k0", "")).ok();

    let mut half = BinaryClient::connect(server.binary_address());
    let bytes = frame(&[Request::keyed(Opcode::Set, "half", "sent")]);
    half.send_bytes(&bytes[..bytes.len() - 1]);
    let mut third = BinaryClient::connect(server.binary_address());
    third.one(Request::plain(Opcode::Ping, "", "")).ok();
    assert_eq!(
        BinaryClient::connect(server.binary_address()).fatal().status(),
        Status::TooManyClients
    );
    assert_eq!(half.next(), None, "a request that stays half sent");
    assert_eq!(client.get("half").status(), Status::NotFound);
}

// --- what is wrong -------------------------------------------------------------------------------

#[test]
fn a_frame_that_is_none_ends_its_connection_and_harms_nobody() {
    let server = start(2);
    let mut other = client(&server);
    other.set("k", "v");
    let good = frame(&[Request::keyed(Opcode::Get, "k", "").id(1)]);
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let sealed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = broken(change);
        let checksum = crc32c(&[&bytes[..12], &bytes[16..32]].concat());
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    };
    let long = u32::MAX.to_le_bytes();
    for (what, bytes, status) in [
        ("another magic", broken(&|b| b[0] = 0xb2), Status::BadFrame),
        ("another version", broken(&|b| b[1] = 2), Status::BadVersion),
        ("no requests", broken(&|b| b[2..4].fill(0)), Status::FrameTooLarge),
        ("too many requests", broken(&|b| b[2..4].fill(0xff)), Status::FrameTooLarge),
        ("too long", broken(&|b| b[4..8].copy_from_slice(&long)), Status::FrameTooLarge),
        ("a reserved byte", broken(&|b| b[9] = 1), Status::BadFrame),
        ("a wrong checksum", broken(&|b| b[12] ^= 1), Status::BadChecksum),
        ("a changed head", broken(&|b| b[16] ^= 1), Status::BadChecksum),
        ("lengths that don't add up", sealed(&|b| b[4] += 1), Status::BadFrame),
        ("a value too long", sealed(&|b| b[28..32].copy_from_slice(&long)), Status::FrameTooLarge),
    ] {
        for (port, address) in
            [("binary", server.binary_address()), ("core", server.core_address(0))]
        {
            if bytes[0] != 0xb1 && port == "core" {
                continue;
            }
            let mut client = BinaryClient::connect(address);
            // What came in whole before it is done and answered.
            client.send_bytes(&[&good[..], &bytes, &good].concat());
            let first = client.next().unwrap();
            assert_eq!((first.head.id, first.text().as_str()), (1, "v"), "{what}");
            let error = client.fatal();
            assert_eq!(error.status(), status, "{what} at the {port} port: {}", error.text());
        }
        assert_eq!(other.get("k").text(), "v", "{what}");
    }
    // A body that is no frame is still a body.
    let mut odd = client(&server);
    assert_eq!(odd.one(Request::keyed(Opcode::Set, "odd", &good)).status(), Status::Ok);
    assert_eq!(odd.get("odd").body, good);
    // Who leaves in the middle leaves nothing behind.
    for cut in [1, 15, 16, 31, good.len() - 1] {
        let mut client = client(&server);
        client.send_bytes(&good[..cut]);
        client.end();
        assert_eq!(client.next(), None);
    }
    let info = server.client().words("INFO stats").text();
    assert!(info.contains("errorstat") || info.contains("total_commands_processed"), "{info}");
}

/// A frame of any heads with any bodies.
fn raw_frame(heads: &[RequestHead], bodies: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xb1, 1];
    bytes.extend_from_slice(&u16::try_from(heads.len()).expect("the server answers").to_le_bytes());
    bytes
        .extend_from_slice(&u32::try_from(bodies.len()).expect("the server answers").to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let heads: Vec<u8> = heads.iter().flat_map(RequestHead::to_bytes).collect();
    let checksum = crc32c(&[&bytes[..], &heads].concat());
    [&bytes[..], &checksum.to_le_bytes(), &heads, bodies].concat()
}

/// CRC32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}

#[test]
fn a_request_that_makes_no_sense_is_refused_by_itself() {
    let server = start(1);
    let c = &mut client(&server);
    let bad = Status::BadRequest;
    let set = || Request::keyed(Opcode::Set, "k", "v");
    let get = || Request::keyed(Opcode::Get, "k", "");
    let unknown = RequestFlags::from_bits_retain(0x8000);
    for request in [
        set().flags(unknown),
        get().flags(RequestFlags::IF_ABSENT),
        get().ttl(5),
        set().ttl(0),
        set().ttl(u64::MAX),
        set().ttl(1 << 63).flags(RequestFlags::TTL_IS_TIME),
        set().flags(RequestFlags::TTL_IS_TIME),
        set().ttl(5).flags(RequestFlags::KEEP_TTL),
        set().flags(RequestFlags::IF_ABSENT | RequestFlags::IF_PRESENT),
        set().flags(RequestFlags::IF_ABSENT).version(1),
        Request::keyed(Opcode::CompareAndSwap, "k", "v"),
        Request::keyed(Opcode::Get, "k", "v"),
        Request::plain(Opcode::Ping, "k", ""),
        Request::plain(Opcode::Topology, "", "v"),
        Request::plain(Opcode::Stats, "server", "v"),
        Request::plain(Opcode::Hello, "", "v"),
        Request::plain(Opcode::Command, "", ""),
        Request::plain(Opcode::Command, "", 0u32.to_le_bytes()),
        Request::plain(Opcode::Command, "", [255; 8]),
        Request::keyed(Opcode::Expire, "k", "").flags(RequestFlags::TTL_IS_TIME),
        set().durability(9),
    ] {
        check(c, request, bad, "");
    }
    // Extras that nobody knows: refused, and the next request is found.
    let strange = RequestHead {
        flags: RequestFlags::from_bits_retain(0x80),
        key_bytes: 1,
        ..RequestHead::new(1, Opcode::Get)
    };
    let ping = RequestHead { value_bytes: 4, ..RequestHead::new(2, Opcode::Ping) };
    c.send_bytes(&raw_frame(&[strange, ping], b"8 bytes.kpong"));
    assert_eq!(c.reply(1).status(), bad);
    assert_eq!(c.reply(2).text(), "pong");
    for slot in [0, 1, 16_383, 16_384, 65_535] {
        let mut wrong = set();
        wrong.head.slot = Slot(slot);
        let reply = check(c, wrong, Status::WrongSlot, "");
        assert!(reply.text().ends_with(&format!("the head says {slot}")), "{}", reply.text());
    }
    let mut many = Request::many(Opcode::GetMany, &["k", "j"]);
    many.head.slot.0 ^= 1;
    check(c, many, Status::WrongSlot, "");
    for opcode in [0, 0x07, 0x0f, 0x1b, 0x20, 0x7f, 0x84, 0xff] {
        let mut request = set();
        request.head.opcode = opcode;
        check(
            c,
            request,
            Status::UnknownOpcode,
            format!("UNKNOWNOPCODE no operation has opcode 0x{opcode:02x}"),
        );
    }
    assert_eq!(c.get("k").status(), Status::NotFound, "nothing of all that was done");
}

#[test]
fn the_first_byte_tells_what_a_connection_speaks() {
    let server = start(1);
    for address in [server.address(), server.core_address(0)] {
        let mut resp = harness::client::Client::connect(address);
        resp.ok("SET k resp");
        assert_eq!(BinaryClient::connect(address).get("k").text(), "resp");
        // What it began with it stays with.
        resp.send(frame(&[Request::plain(Opcode::Ping, "", "")]));
        let mut client = BinaryClient::connect(address);
        client.get("k");
        client.send_bytes(b"*1\r\n$4\r\nPING\r\n");
        assert_eq!(client.fatal().status(), Status::BadFrame);
    }
    let mut resp = harness::client::Client::connect(server.binary_address());
    let _ = resp.try_send(encode_words("PING"));
    let text = String::from_utf8(resp.read_to_close()).unwrap();
    let port = server.port();
    assert_eq!(
        text,
        format!("-ERR this port speaks the binary protocol, port {port} speaks RESP\r\n")
    );
}

#[test]
fn cluster_mode_redirects_and_keeps_slots_apart() {
    let server = Launch::shards(2).cluster().binary().start();
    let mut client = BinaryClient::connect(server.core_address(0));
    let greeting = greeting(&mut client);
    assert!(greeting.features.contains(Features::CLUSTER));
    let many = Request::many(Opcode::SetMany, &["a", "1", "b", "2"]);
    let reply = check(&mut client, many, Status::Error, "");
    assert!(reply.text().starts_with("CROSSSLOT "), "{}", reply.text());
    if greeting.topology.cores.len() < 2 {
        return harness::skip("a redirection takes two cores, and this machine has one");
    }
    let (home, away) = (key_of(0, 2, "k"), key_of(1, 2, "k"));
    client.set(&home, "v");
    let slot = ringmain::types::key_slot(away.as_bytes()).0;
    let text = format!("MOVED {slot} {}", server.core_address(1));
    check(&mut client, Request::keyed(Opcode::Set, &away, "v"), Status::Moved, text);
    BinaryClient::connect(server.core_address(1)).set(&away, "v");
    // The binary port serves every key.
    let mut client = BinaryClient::connect(server.binary_address());
    assert_eq!(
        (client.get(&home).text(), client.get(&away).text()),
        ("v".to_owned(), "v".to_owned())
    );
}
