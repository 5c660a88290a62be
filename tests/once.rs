//! Writes of the binary protocol that are sent again: done once, and answered as the first time, whatever happens to the
//! server in between.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::binary::{BinaryClient, Reply, Request};
use harness::client::{info, info_number};
use harness::nodes::Nodes;
use harness::server::{Launch, Server, skip_on_other_server};
use harness::{PATIENCE, wait_until};
use ringmain::client::Client;
use ringmain::limits::OUTCOMES_PER_CLIENT_MAX;
use ringmain::protocol::binary::body::Features;
use ringmain::protocol::binary::{Greeting, Hello, Opcode, RequestFlags, Status};
use tempfile::TempDir;

const CLIENT: u64 = 0xc11e_4700;

fn now_us() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// The same request as a client's write with this number.
fn numbered(request: Request, client: u64, sequence: u64) -> Request {
    let mut request = request;
    (request.extras.client, request.extras.sequence) = (Some(client), Some(sequence));
    request
}

fn answered(request: Request, answered: u64) -> Request {
    let mut request = request;
    request.extras.answered = Some(answered);
    request
}

/// The same, as one that was sent before.
fn again(request: Request) -> Request {
    let mut request = request;
    request.head.flags.insert(RequestFlags::AGAIN);
    request
}

fn increment(key: &str, by: i64) -> Request {
    Request::keyed(Opcode::Increment, key, by.to_le_bytes())
}

fn start() -> Server {
    Launch::shards(2).binary().start()
}

fn connect(server: &Server) -> BinaryClient {
    BinaryClient::connect(server.binary_address())
}

/// What a reply tells, but for the request's id.
fn told(reply: &Reply) -> (Status, u16, u64, Vec<u8>) {
    (reply.status(), reply.head.shard.0, reply.head.version, reply.body.clone())
}

/// Sends a request twice, on two connections; both replies are the same.
fn twice(server: &Server, request: Request) -> Reply {
    let first = connect(server).one(request.clone());
    let second = connect(server).one(request);
    assert_eq!(told(&first), told(&second));
    first
}

#[test]
fn what_is_sent_again_is_done_once() {
    if skip_on_other_server() {
        return;
    }
    let server = start();
    let mut client = connect(&server);
    let mut hello = Vec::new();
    Hello::this_version().write(&mut hello);
    let greeting = client.one(Request::plain(Opcode::Hello, "", hello)).ok();
    assert!(Greeting::read(&greeting.body).unwrap().features.contains(Features::ONCE));

    let mut sequence = now_us();
    let mut next = |request| {
        sequence += 1;
        twice(&server, numbered(request, CLIENT, sequence)).ok()
    };
    assert_eq!(next(increment("n", 5)).body, 5i64.to_le_bytes());
    assert_eq!(next(increment("n", 2)).body, 7i64.to_le_bytes());
    assert_eq!(next(Request::keyed(Opcode::Append, "a", "xy")).body, 2u64.to_le_bytes());
    assert_eq!(next(Request::keyed(Opcode::Append, "a", "z")).body, 3u64.to_le_bytes());
    let set = next(Request::keyed(Opcode::Set, "s", "1").flags(RequestFlags::IF_ABSENT));
    let swapped = next(Request::keyed(Opcode::CompareAndSwap, "s", "2").version(set.head.version));
    assert!(swapped.head.version > set.head.version);
    next(Request::keyed(Opcode::Expire, "s", "").ttl(100_000));
    next(Request::keyed(Opcode::Delete, "s", ""));
    assert_eq!(client.get("n").ok().text(), "7");
    assert_eq!(client.get("a").ok().text(), "xyz");
    assert_eq!(client.get("s").status(), Status::NotFound);
    let mut resp = server.client();
    assert_eq!(info_number(&mut resp, "stats", "once_repeated"), 8);
    assert_eq!(info_number(&mut resp, "stats", "once_outcomes"), 8);
    assert!((1..=2).contains(&info_number(&mut resp, "stats", "once_clients")));
    // Emptying the databases does not make it new.
    resp.ok("FLUSHALL");
    let again = client.one(numbered(increment("n", 2), CLIENT, sequence - 6)).ok();
    assert_eq!(again.body, 7i64.to_le_bytes());
    assert_eq!(client.get("n").status(), Status::NotFound);
    // Another client's write with the same number is another.
    let other = client.one(numbered(increment("n", 2), CLIENT + 1, sequence - 6)).ok();
    assert_eq!(other.body, 2i64.to_le_bytes());
}

#[test]
fn a_burst_of_the_same_write_is_one() {
    if skip_on_other_server() {
        return;
    }
    let server = start();
    let request = numbered(increment("n", 1), CLIENT, now_us());
    let first = connect(&server).one(request.clone());
    for reply in connect(&server).all(&vec![request; 300]) {
        assert_eq!(told(&reply), told(&first));
    }
}

/// Once a retry was told that nothing was done, the attempts before it are told the same, whatever has become of the key.
#[test]
fn what_a_retry_was_answered_is_final() {
    if skip_on_other_server() {
        return;
    }
    let server = start();
    let (mut client, mut sequence) = (connect(&server), now_us());
    let mut other = connect(&server);
    let mut check = |request: Request, status: Status, mend: Request| {
        sequence += 1;
        let request = numbered(request, CLIENT, sequence);
        let retried = other.one(again(request.clone()));
        assert_eq!(retried.status(), status, "{request:?}: {}", retried.text());
        other.one(mend).ok();
        let late = client.one(request.clone());
        assert_eq!(told(&late), told(&retried), "{request:?}");
        assert_eq!(told(&client.one(again(request))), told(&retried));
        client.get("k")
    };
    let set = |value: &str| Request::keyed(Opcode::Set, "k", value);
    let delete = || Request::keyed(Opcode::Delete, "k", "");
    let present = set("1").flags(RequestFlags::IF_PRESENT);
    assert_eq!(check(present, Status::NotFound, set("2")).ok().text(), "2");
    let absent = set("3").flags(RequestFlags::IF_ABSENT);
    assert_eq!(check(absent, Status::Exists, delete()).status(), Status::NotFound);
    assert_eq!(check(delete(), Status::NotFound, set("4")).ok().text(), "4");
    let swap = |value: &str| Request::keyed(Opcode::CompareAndSwap, "k", value).version(7);
    check(swap("5"), Status::VersionMismatch, delete());
    assert_eq!(check(swap("6"), Status::NotFound, set("word")).ok().text(), "word");
    let expire = || Request::keyed(Opcode::Expire, "k", "").ttl(100_000);
    assert_eq!(check(increment("k", 1), Status::NotANumber, set("7")).ok().text(), "7");
    let most = i64::MAX.to_string();
    check(delete(), Status::Ok, set(&most));
    assert_eq!(check(increment("k", 1), Status::Overflow, set("8")).ok().text(), "8");
    check(delete(), Status::Ok, Request::command("LPUSH k a"));
    check(increment("k", 1), Status::WrongType, delete());
    check(expire(), Status::NotFound, Request::command("LPUSH k a"));
    check(Request::keyed(Opcode::Append, "k", "x"), Status::WrongType, delete());
    // One that is done and changes nothing.
    check(set("9"), Status::Ok, set("9"));
    check(Request::keyed(Opcode::Expire, "k", ""), Status::Ok, expire());
    let ttl = connect(&server).one(Request::command("PTTL k")).ok().text();
    assert!(ttl.starts_with(':') && !ttl.contains('-'), "the expiry is still there: {ttl}");
}

#[test]
fn what_has_changed_nothing_is_tried_again() {
    if skip_on_other_server() {
        return;
    }
    let server = start();
    let (mut client, sequence) = (connect(&server), now_us());
    let set = Request::keyed(Opcode::Set, "k", "1").flags(RequestFlags::IF_PRESENT);
    let set = numbered(set, CLIENT, sequence);
    assert_eq!(client.one(set.clone()).status(), Status::NotFound);
    client.set("k", "0");
    client.one(set.clone()).ok();
    client.set("k", "2");
    client.one(set).ok();
    assert_eq!(client.get("k").ok().text(), "2");
    client.set("k", "word");
    let add = numbered(increment("k", 1), CLIENT, sequence + 1);
    assert_eq!(client.one(add.clone()).status(), Status::NotANumber);
    client.set("k", "1");
    assert_eq!(client.one(add).ok().body, 2i64.to_le_bytes());
}

#[test]
fn what_can_t_be_told_any_more_is_not_done() {
    if skip_on_other_server() {
        return;
    }
    let server = start();
    let (mut client, first) = (connect(&server), now_us());
    let forgotten = |client: &mut BinaryClient, sequence| {
        let reply = client.one(numbered(increment("n", 1), CLIENT, sequence));
        assert_eq!(reply.status(), Status::Forgotten, "{}", reply.text());
        assert!(reply.text().starts_with("FORGOTTEN "), "{}", reply.text());
    };
    // The client has had its answers.
    client.one(numbered(increment("n", 1), CLIENT, first)).ok();
    client.one(answered(numbered(increment("n", 1), CLIENT, first + 1), first + 1)).ok();
    forgotten(&mut client, first);
    // It has more under way than are kept.
    let many = (0..OUTCOMES_PER_CLIENT_MAX as u64).map(|n| first + 2 + n);
    let many: Vec<Request> = many.map(|n| numbered(increment("n", 1), CLIENT, n)).collect();
    many.chunks(1000).for_each(|some| client.all(some).into_iter().for_each(|it| drop(it.ok())));
    forgotten(&mut client, first + 1);
    client.one(many[0].clone()).ok();
    assert_eq!(client.get("n").ok().text(), (OUTCOMES_PER_CLIENT_MAX + 2).to_string());
    assert_eq!(info_number(&mut server.client(), "stats", "once_forgotten"), 2);
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    if skip_on_other_server() {
        return;
    }
    let server = start();
    let (mut client, now) = (connect(&server), now_us());
    let mut only_client = increment("n", 1);
    only_client.extras.client = Some(CLIENT);
    let mut only_sequence = increment("n", 1);
    only_sequence.extras.sequence = Some(now);
    let minutes = 120_000_000;
    let of = |request| numbered(request, CLIENT, now);
    for request in [
        only_client,
        only_sequence,
        answered(increment("n", 1), now),
        answered(of(increment("n", 1)), now + 1),
        numbered(increment("n", 1), CLIENT, now + minutes),
        numbered(increment("n", 1), CLIENT, u64::MAX),
        of(Request::keyed(Opcode::Get, "n", "")),
        of(Request::keyed(Opcode::Touch, "n", "")),
        of(Request::many(Opcode::SetMany, &["n", "1"])),
        of(Request::command("INCR n")),
        again(increment("n", 1)),
        again(Request::keyed(Opcode::Get, "n", "")),
    ] {
        let reply = client.one(request.clone());
        assert_eq!(reply.status(), Status::BadRequest, "{request:?}: {}", reply.text());
    }
    let text = client.one(numbered(increment("n", 1), CLIENT, now + minutes)).text();
    let words: Vec<&str> = text.split(' ').collect();
    assert_eq!(words[0], "CLOCKAHEAD", "{text}");
    let time: u64 = words[1].parse().unwrap();
    assert!((now..now + minutes).contains(&(time + 1000)), "{time} is not {now}");
    assert_eq!(client.get("n").status(), Status::NotFound);
    client.one(numbered(increment("n", 1), CLIENT, now)).ok();
}

fn launch(dir: &Path) -> Launch {
    Launch::shards(2).binary().dir(dir).durable("sync").shards_unnamed()
}

fn start_in(dir: &Path) -> Server {
    let server = launch(dir).start();
    let mut client = server.client();
    wait_until("the data is loaded", || info_number(&mut client, "persistence", "loading") == 0);
    server
}

fn stop(mut server: Server) {
    server.signal("TERM");
    assert!(server.wait_for_exit().success(), "{}", server.output());
}

/// From the log, from a snapshot, and from both.
#[test]
fn a_server_that_is_started_again_still_knows() {
    if skip_on_other_server() {
        return;
    }
    let dir = TempDir::with_prefix("ringmain-once-").unwrap();
    let mut server = Launch::shards(2).binary().dir(dir.path()).durable("sync").start();
    let (first, mut requests) = (now_us(), Vec::new());
    let write = |server: &Server, requests: &mut Vec<(Request, Reply)>| {
        for key in ["a", "b", "c"] {
            let sequence = first + requests.len() as u64;
            let request = numbered(increment(key, 1), CLIENT + sequence / 2 % 2, sequence);
            requests.push((request.clone(), connect(server).one(request).ok()));
            // One that is not done, whose first attempt is still to come.
            let set = Request::keyed(Opcode::Set, key, "1").flags(RequestFlags::IF_ABSENT);
            let request = numbered(set, CLIENT + 2, sequence);
            let reply = connect(server).one(again(request.clone()));
            assert_eq!(reply.status(), Status::Exists);
            requests.push((request, reply));
        }
    };
    let check = |server: &Server, requests: &[(Request, Reply)]| {
        for (request, reply) in requests {
            assert_eq!(told(&connect(server).one(request.clone())), told(reply));
        }
        let count = (requests.len() / 6).to_string();
        assert_eq!(connect(server).get("a").ok().text(), count);
    };
    write(&server, &mut requests);
    server.kill();
    server = start_in(dir.path());
    check(&server, &requests);
    write(&server, &mut requests);
    server.client().ok("SAVE");
    stop(server);
    server = start_in(dir.path());
    check(&server, &requests);
    server.client().ok("SAVE");
    write(&server, &mut requests);
    server.kill();
    server = start_in(dir.path());
    check(&server, &requests);
    write(&server, &mut requests);
    check(&server, &requests);
}

/// In another number of shards nobody knows what was done, so that it is not done again.
#[test]
fn in_other_shards_it_is_forgotten() {
    if skip_on_other_server() {
        return;
    }
    let dir = TempDir::with_prefix("ringmain-once-").unwrap();
    let server = Launch::shards(2).binary().dir(dir.path()).durable("sync").start();
    let first = now_us();
    let names: Vec<String> = (0..40).map(|number| format!("key{number}")).collect();
    let request = |at: usize| numbered(increment(&names[at], 1), CLIENT, first + at as u64);
    let mut client = connect(&server);
    (0..40).for_each(|at| drop(client.one(request(at)).ok()));
    stop(server);
    for shards in ["5", "1", "3"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain"));
        command.arg("reshard").arg(dir.path()).args(["--shards", shards]);
        let output = harness::output_of(&mut command).unwrap();
        assert!(output.status.success(), "{output:?}");
        let server = start_in(dir.path());
        let mut client = connect(&server);
        for (at, name) in names.iter().enumerate() {
            assert_eq!(client.one(request(at)).status(), Status::Forgotten, "{name}");
            assert_eq!(client.get(name).ok().text(), "1");
        }
        stop(server);
    }
    let server = start_in(dir.path());
    connect(&server).one(numbered(increment("n", 1), CLIENT, now_us())).ok();
}

/// The last entry of a shard that a node's replica has applied.
fn applied_by(nodes: &mut Nodes, id: usize, shard: u16) -> u64 {
    let fields = info(&mut nodes.server(id).client(), "raft");
    let line = fields.get(&format!("shard{shard}")).cloned().unwrap_or_default();
    let applied = line.split(',').find_map(|field| field.strip_prefix("applied="));
    applied.and_then(|applied| applied.parse().ok()).unwrap_or(0)
}

/// That of any node.
fn applied(nodes: &mut Nodes, shard: u16) -> u64 {
    (1..=3).map(|id| applied_by(nodes, id, shard)).max().unwrap_or(0)
}

/// Nodes are killed one after another while many count: the client sends again whatever it got no reply to, and at the
/// end every increment that was asked for has been done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_of_a_cluster_whose_leaders_die_are_done_once() {
    if skip_on_other_server() {
        return;
    }
    const SHARDS: u16 = 2;
    let mut nodes = Nodes::new(3, SHARDS, &["127.0.0.1"]).durable("sync");
    nodes.start_all();
    let addresses: Vec<String> =
        (1..=3).map(|id| format!("127.0.0.1:{}", nodes.port(id))).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let ms = Duration::from_millis;
    let builder = Client::builder().timeout(4 * PATIENCE).silence_max(ms(1000));
    let client = builder.backoff(ms(10), ms(300)).connect_any(&addresses).await.unwrap();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let task = |number: usize| {
        let (client, stop, done) = (client.clone(), stop.clone(), done.clone());
        tokio::spawn(async move {
            let mut sums = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let key = format!("counter{}", number % 4);
                sums.push(client.increment(key, 1).await.unwrap());
                done.fetch_add(1, Ordering::Relaxed);
            }
            (number % 4, sums)
        })
    };
    let tasks: Vec<_> = (0..16).map(task).collect();
    let wait_for_more = || {
        let before = done.load(Ordering::Relaxed);
        wait_until("counting goes on", || done.load(Ordering::Relaxed) > before + 200);
    };
    wait_for_more();
    for id in [1, 2, 3, 1] {
        nodes.server(id).kill();
        wait_for_more();
        nodes.start(id);
        // Until it has what the others had promised it has no vote, and the next must not die: twice, as it may not
        // have been heard yet.
        for _ in 0..2 {
            wait_for_more();
            let wanted: Vec<u64> = (0..SHARDS).map(|shard| applied(&mut nodes, shard)).collect();
            wait_until("it has caught up", || {
                let mut all = (0..SHARDS).zip(&wanted);
                all.all(|(shard, wanted)| applied_by(&mut nodes, id, shard) >= *wanted)
            });
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut seen: [BTreeSet<i64>; 4] = Default::default();
    for task in tasks {
        let (counter, sums) = task.await.unwrap();
        for sum in sums {
            assert!(seen[counter].insert(sum.value), "{sum:?} was answered twice");
        }
    }
    for (counter, seen) in seen.iter().enumerate() {
        let value = client.get(format!("counter{counter}")).await.unwrap().unwrap();
        assert_eq!(value.text().unwrap(), seen.len().to_string());
        assert_eq!(seen.last().copied(), i64::try_from(seen.len()).ok());
    }
    assert!(client.activity().retries > 0);
}
