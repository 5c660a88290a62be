//! Reads on followers, as clients see them in bytes: how old an answer may be, session tokens, and what is refused.

mod harness;

use std::time::{Duration, Instant};

use harness::binary::{BinaryClient, Request};
use harness::client::{Client, info, info_number, wait_for_reply};
use harness::server::{Launch, skip_on_other_server};
use harness::slots::{keys_over_shards, slot};
use harness::topology::connect;
use harness::trial::{Trial, Welcome, signal};
use harness::value::Value;
use harness::wait_until;
use ringmain::protocol::binary::{Opcode, Status};

const SHARDS: u16 = 3;

/// Three nodes, a key in each shard, and who leads which. Nobody moves leadership meanwhile.
struct Scene {
    _trial: Trial,
    welcome: Welcome,
    keys: Vec<String>,
    /// Which node leads each shard, counted from 0.
    leaders: Vec<usize>,
}

impl Scene {
    fn new() -> Self {
        let (trial, welcome) = Trial::start(&["--nodes", "3", "--shards", "3"]);
        let keys = keys_over_shards("key", SHARDS, usize::from(SHARDS));
        let mut client = connect(welcome.nodes[0].0);
        let fields = info(&mut client, "raft");
        let leader = |shard| {
            let line: &String = &fields[&format!("shard{shard}")];
            let field = line.split(',').find_map(|field| field.strip_prefix("leader="));
            field.and_then(|leader| leader.parse::<usize>().ok()).expect("the number of a node") - 1
        };
        let leaders = (0..SHARDS).map(leader).collect();
        Self { _trial: trial, welcome, keys, leaders }
    }

    /// The same, whose followers serve however little CPU they get.
    fn patient() -> Self {
        let scene = Self::new();
        (0..3).for_each(|node| scene.node(node).ok("CONFIG SET follower-read-max-lag-ms 20000"));
        scene
    }

    /// A connection to a node.
    fn node(&self, index: usize) -> Client {
        connect(self.welcome.nodes[index].0)
    }

    /// One to the node that leads a shard.
    fn leader(&self, shard: usize) -> Client {
        self.node(self.leaders[shard])
    }

    /// One to a node that does not, which has said `READONLY`.
    fn follower(&self, shard: usize) -> Client {
        let mut client = self.node(self.follower_of(shard));
        client.ok("READONLY");
        client
    }

    fn follower_of(&self, shard: usize) -> usize {
        (self.leaders[shard] + 1) % 3
    }

    fn moved(&self, shard: usize) -> String {
        let port = self.welcome.nodes[self.leaders[shard]].0 + 10_000;
        format!("MOVED {} 127.0.0.1:{port}", slot(&self.keys[shard]))
    }

    fn signal(&self, name: &str, node: usize) {
        signal(name, self.welcome.nodes[node].1);
    }
}

#[test]
fn a_follower_answers_reads_of_who_has_said_readonly() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::new();
    let (key, moved) = (&scene.keys[0], scene.moved(0));
    let mut leader = scene.leader(0);
    leader.ok(&format!("SET {key} value"));
    leader.ok(&format!("SET {{{key}}}other 17"));
    let mut client = scene.node(scene.follower_of(0));
    client.ok("READWRITE");
    assert_eq!(client.words(&format!("GET {key}")).error(), moved);
    client.ok("READONLY");
    wait_for_reply(&mut client, &format!("GET {key}"), &Value::bulk("value"));
    wait_for_reply(&mut client, &format!("GET {{{key}}}other"), &Value::bulk("17"));
    for (request, expected) in [
        (format!("STRLEN {key}"), Value::Integer(5)),
        (format!("EXISTS {key} {{{key}}}none"), Value::Integer(1)),
        (format!("TYPE {key}"), Value::Simple("string".into())),
        (format!("OBJECT ENCODING {{{key}}}other"), Value::bulk("int")),
        (
            format!("MGET {key} {{{key}}}other"),
            Value::Array(vec![Value::bulk("value"), Value::bulk("17")]),
        ),
        (format!("TTL {key}"), Value::Integer(-1)),
        (format!("TOUCH {key}"), Value::Integer(1)),
    ] {
        assert_eq!(client.words(&request), expected, "{request}");
    }
    // An error of the command's own stays that.
    assert!(client.words(&format!("LLEN {key}")).error().starts_with("WRONGTYPE"));
    // What writes, waits or is a transaction is the leader's.
    for request in ["SET {} 1", "GETDEL {}", "GETEX {}", "INCR {}", "BLPOP {} 0", "WATCH {}"] {
        let request = request.replace("{}", key);
        assert_eq!(client.words(&request).error(), moved, "{request}");
    }
    client.ok("MULTI");
    assert_eq!(client.words(&format!("GET {key}")).error(), moved);
    assert!(client.words("EXEC").error().starts_with("EXECABORT"));
    // A pipeline keeps its order.
    let lines = [format!("STRLEN {key}"), format!("DEL {key}"), format!("GET {key}")];
    for line in &lines {
        client.request(&line.split(' ').collect::<Vec<_>>());
    }
    let replies: Vec<Value> = lines.iter().map(|_| client.read().unwrap()).collect();
    assert_eq!(replies[0], Value::Integer(5));
    assert_eq!(replies[1].error(), moved);
    assert_eq!(replies[2], Value::bulk("value"));
    // In the other protocol, and on a connection that reads what this node leads as well.
    let mut resp3 = scene.node(scene.follower_of(0));
    resp3.words("HELLO 3");
    resp3.ok("READONLY");
    assert_eq!(resp3.words(&format!("GET {key}")), Value::bulk("value"));
    let led = scene.leaders.iter().position(|leader| *leader == scene.follower_of(0));
    let led = &scene.keys[led.expect("each node leads one")];
    resp3.ok(&format!("SET {led} mine"));
    let both = resp3.words(&format!("MGET {key} {led}"));
    assert_eq!(both, Value::Array(vec![Value::bulk("value"), Value::bulk("mine")]));
    let reads = info_number(&mut client, "ringmain", "follower_reads");
    assert!(reads > 8, "{reads}");

    client.ok("READWRITE");
    assert_eq!(client.words(&format!("GET {key}")).error(), moved);
    client.ok("READONLY");
    client.ok("CONFIG SET follower-read-max-lag-ms 0");
    assert_eq!(client.words(&format!("GET {key}")).error(), moved);
    client.ok("CONFIG SET follower-read-max-lag-ms 1");
    // Only just possible, and never an old answer.
    wait_for_reply(&mut client, &format!("GET {key}"), &Value::bulk("value"));
}

#[test]
fn who_has_a_token_reads_his_own_writes() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::patient();
    let key = &scene.keys[0];
    let (mut writer, mut reader) = (scene.leader(0), scene.follower(0));
    let mut waiter = scene.follower(0);
    let mut late = 0;
    for round in 0..400 {
        let value = round.to_string();
        // The token is asked for in the same breath.
        writer.request(&["SET", key, &value]);
        let token = writer.words("CLIENT TOKEN");
        assert_eq!(token, Value::ok(), "the reply to SET");
        let token = writer.read().unwrap().text();
        assert!(token.starts_with("r1:0.") && token.is_ascii(), "{token}");
        late += u32::from(waiter.words(&format!("GET {key}")) != Value::bulk(&value));
        if round % 2 == 0 {
            reader.ok(&format!("READONLY TOKEN {token}"));
            assert_eq!(reader.words(&format!("GET {key}")), Value::bulk(&value));
        } else {
            waiter.ok(&format!("CLIENT WAITTOKEN {token} 10000"));
            assert_eq!(waiter.words(&format!("GET {key}")), Value::bulk(&value));
        }
    }
    println!("without a token {late} of 400 reads were old");
    // What a session was given it passes on.
    assert_eq!(reader.words("CLIENT TOKEN").text(), {
        let mut other = scene.node(2);
        let token = reader.words("CLIENT TOKEN").text();
        other.ok(&format!("CLIENT WAITTOKEN {token}"));
        other.words("CLIENT TOKEN").text()
    });
}

#[test]
fn tokens_name_every_shard_that_was_written() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::new();
    let mut client = scene.leader(0);
    let none = client.words("CLIENT TOKEN").text();
    assert!(none.starts_with("r1::"), "{none}");
    client.ok(&format!("CLIENT WAITTOKEN {none}"));
    client.ok(&format!("SET {} 1", scene.keys[0]));
    let first = client.words("CLIENT TOKEN").text();
    let mut other = scene.leader(1);
    other.ok(&format!("CLIENT WAITTOKEN {first} 10000"));
    other.ok("MULTI");
    other.words(&format!("SET {} 1", scene.keys[1]));
    other.words("CLIENT TOKEN");
    let within = other.words("EXEC").elements()[1].text();
    let both = other.words("CLIENT TOKEN").text();
    assert_eq!(within, both, "what a transaction has written counts before it has ended");
    let shards: Vec<&str> = both.split(':').nth(1).expect("a list").split(',').collect();
    assert!(shards[0].starts_with("0.") && shards[1].starts_with("1."), "{both}");
    let mut third = scene.node(3 - scene.leaders[0] - scene.leaders[1]);
    third.ok(&format!("READONLY TOKEN {both}"));
    let read = third.words(&format!("MGET {} {}", scene.keys[0], scene.keys[1]));
    assert_eq!(read, Value::Array(vec![Value::bulk("1"), Value::bulk("1")]));

    const INVALID: &str = "ERR Invalid session token";
    let cut = &both[..both.len() - 1];
    let changed = both.replacen("1.", "1.9", 1);
    for wrong in ["x", "", "r1:", "r1:0.1", "r1:0.1:00000000", cut, &changed] {
        for request in [&["CLIENT", "WAITTOKEN", wrong][..], &["READONLY", "TOKEN", wrong]] {
            assert_eq!(client.command(request).error(), INVALID, "{request:?}");
        }
    }
    for (request, error) in [
        (format!("READONLY {both}"), "ERR syntax error"),
        (format!("READONLY TOKEN {both} x"), "ERR syntax error"),
        (format!("CLIENT WAITTOKEN {both} x"), "ERR timeout is not an integer or out of range"),
        (format!("CLIENT WAITTOKEN {both} -1"), "ERR timeout is negative"),
        (format!("CLIENT WAITTOKEN {both} 1 2"), "ERR syntax error"),
        (
            "CLIENT WAITTOKEN".to_owned(),
            "ERR wrong number of arguments for 'client|waittoken' command",
        ),
    ] {
        assert_eq!(client.words(&request).error(), error, "{request}");
    }
    // A token of what was never written: the wait ends, and reads go to the leader.
    let beyond = with_check("r1:0.999999");
    let begun = Instant::now();
    let mut client = scene.follower(0);
    assert!(client.words(&format!("CLIENT WAITTOKEN {beyond} 100")).error().starts_with("TIMEOUT"));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    client.ok(&format!("READONLY TOKEN {beyond}"));
    assert_eq!(client.words(&format!("GET {}", scene.keys[0])).error(), scene.moved(0));
    let redirected = info_number(&mut client, "ringmain", "follower_reads_redirected");
    assert!(redirected >= 1);
    client.words("RESET");
    client.ok("READONLY");
    assert_eq!(client.words("CLIENT TOKEN").text(), none);
    wait_for_reply(&mut client, &format!("GET {}", scene.keys[0]), &Value::bulk("1"));
    let other = with_check("r1:3.1");
    assert!(client.words(&format!("CLIENT WAITTOKEN {other}")).error().contains("other shards"));
}

/// A token with this content.
fn with_check(content: &str) -> String {
    let crc = content.bytes().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    });
    format!("{content}:{:08x}", !crc)
}

#[test]
fn a_server_on_its_own_has_tokens_too() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(2).start();
    let mut client = server.client();
    client.ok("SET key value");
    let token = client.words("CLIENT TOKEN").text();
    client.ok(&format!("CLIENT WAITTOKEN {token} 1"));
    client.ok(&format!("READONLY TOKEN {token}"));
    assert_eq!(client.words("GET key"), Value::bulk("value"));
}

/// A reply to a write is a token, natively: a read that names it sees the write.
#[test]
fn a_token_of_the_binary_protocol_is_met_by_followers() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::patient();
    let key = &scene.keys[0];
    let connect_to = |node: usize| {
        let port = scene.welcome.nodes[node].0 + 10_000;
        BinaryClient::connect(([127, 0, 0, 1], port).into())
    };
    let (mut writer, mut reader) = (connect_to(scene.leaders[0]), connect_to(scene.follower_of(0)));
    let get = Request::keyed(Opcode::Get, key, "");
    let token = writer.set(key, "first").token();
    let moved = reader.one(get.clone().token(token));
    assert_eq!(moved.status(), Status::Moved, "it has not said READONLY");
    reader.one(Request::command("READONLY")).ok();
    for round in 0..300 {
        let value = round.to_string();
        let token = writer.set(key, &value).token();
        assert_eq!(token.shard.0, 0);
        let reply = reader.one(get.clone().token(token)).ok();
        assert_eq!(reply.text(), value);
        // Several at once, with and without it.
        let replies = reader.all(&[get.clone(), get.clone().token(token), get.clone()]);
        assert!(replies.iter().all(|reply| reply.text() == value), "{replies:?}");
    }
    let text = reader.one(Request::command("CLIENT TOKEN")).ok().text();
    assert!(text.contains("r1:"), "{text}");
    let error = reader.one(Request::command("CLIENT WAITTOKEN r1:0.1:0"));
    assert_eq!(error.text(), "ERR Invalid session token");
    // It writes nowhere but where the shard is led.
    let write = reader.one(Request::keyed(Opcode::Set, key, "x").token(token));
    assert_eq!(write.status(), Status::Moved);
}

/// Reads until `until`; answers the last time that an answer began to be asked for, and how often one came.
fn read_on(
    client: &mut Client,
    key: &str,
    old: &Value,
    until: impl Fn() -> bool,
) -> (Instant, u32) {
    let (mut last, mut answers) = (Instant::now(), 0);
    while !until() {
        let begun = Instant::now();
        match client.words(&format!("GET {key}")) {
            Value::Error(text) => {
                assert!(text.starts_with("CLUSTERDOWN") || text.starts_with("MOVED"), "{text}");
            }
            value => {
                assert_eq!(value, *old);
                (last, answers) = (begun, answers + 1);
            }
        }
    }
    (last, answers)
}

#[test]
fn a_follower_that_is_cut_off_answers_no_longer_than_the_bound() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::new();
    let key = &scene.keys[0];
    scene.leader(0).ok(&format!("SET {key} before"));
    let own = scene.follower_of(0);
    let mut client = scene.follower(0);
    let before = Value::bulk("before");
    client.ok("CONFIG SET follower-read-max-lag-ms 800");
    wait_for_reply(&mut client, &format!("GET {key}"), &before);
    let others: Vec<usize> = (0..3).filter(|node| *node != own).collect();
    let frozen_at = Instant::now();
    others.iter().for_each(|node| scene.signal("STOP", *node));
    let stopped_at = Instant::now();
    let over = || frozen_at.elapsed() > Duration::from_millis(2500);
    let (last, answers) = read_on(&mut client, key, &before, over);
    let age = last.duration_since(stopped_at.min(last));
    println!("{answers} answers, the last {age:?} after the others stood still");
    assert!(answers > 0, "it answers at first");
    assert!(age <= Duration::from_millis(810), "{age:?}");
    others.iter().for_each(|node| scene.signal("CONT", *node));
    wait_for_reply(&mut client, &format!("GET {key}"), &before);
}

#[test]
fn a_follower_that_was_frozen_answers_nothing_old() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::new();
    let key = &scene.keys[0];
    let mut leader = scene.leader(0);
    let own = scene.follower_of(0);
    let mut clients: Vec<Client> = (0..3).map(|_| scene.follower(0)).collect();
    clients[0].ok("CONFIG SET follower-read-max-lag-ms 300");
    for round in 0..5 {
        let (before, after) = (format!("before-{round}"), format!("after-{round}"));
        leader.ok(&format!("SET {key} {before}"));
        for client in &mut clients {
            wait_for_reply(client, &format!("GET {key}"), &Value::bulk(&before));
        }
        scene.signal("STOP", own);
        leader.ok(&format!("SET {key} {after}"));
        let written = Instant::now();
        wait_until("the bound is over", || written.elapsed() > Duration::from_millis(320));
        // They are in its socket when it goes on.
        clients[0].request(&["GET", key]);
        clients[1].request(&["MGET", key]);
        clients[2].request(&["GETRANGE", key, "0", "-1"]);
        scene.signal("CONT", own);
        for client in &mut clients {
            let reply = format!("{:?}", client.read().unwrap());
            assert!(!reply.contains("before"), "round {round}: {reply}");
        }
    }
}

#[test]
fn what_has_expired_is_gone_on_followers_too() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::new();
    let key = &scene.keys[0];
    let (mut leader, mut reader) = (scene.leader(0), scene.follower(0));
    leader.ok(&format!("SET {key} value PX 400"));
    leader.words(&format!("RPUSH {{{key}}}list a b c"));
    leader.words(&format!("PEXPIRE {{{key}}}list 400"));
    let token = leader.words("CLIENT TOKEN").text();
    reader.ok(&format!("READONLY TOKEN {token}"));
    assert_eq!(reader.words(&format!("GET {key}")), Value::bulk("value"));
    assert_eq!(reader.words(&format!("LLEN {{{key}}}list")), Value::Integer(3));
    wait_for_reply(&mut reader, &format!("EXISTS {key} {{{key}}}list"), &Value::Integer(0));
    assert!(reader.words(&format!("GET {key}")).is_null());
    assert_eq!(reader.words(&format!("TTL {key}")), Value::Integer(-2));
    leader.ok(&format!("SET {key} again"));
    leader.words(&format!("RPUSH {{{key}}}list z"));
    let token = leader.words("CLIENT TOKEN").text();
    reader.ok(&format!("READONLY TOKEN {token}"));
    assert_eq!(reader.words(&format!("GET {key}")), Value::bulk("again"));
    assert_eq!(reader.words(&format!("LLEN {{{key}}}list")), Value::Integer(1));
}

#[test]
fn clients_that_keep_copies_of_what_followers_said_are_told_of_changes() {
    if skip_on_other_server() {
        return;
    }
    let scene = Scene::new();
    let key = &scene.keys[0];
    let (mut leader, mut reader) = (scene.leader(0), scene.node(scene.follower_of(0)));
    leader.ok(&format!("SET {key} 0"));
    reader.words("HELLO 3");
    reader.ok("CLIENT TRACKING ON");
    for round in 1..20 {
        let token = leader.words("CLIENT TOKEN").text();
        reader.ok(&format!("READONLY TOKEN {token}"));
        assert_eq!(reader.words(&format!("GET {key}")), Value::bulk((round - 1).to_string()));
        leader.ok(&format!("SET {key} {round}"));
        let told = format!("{:?}", reader.read().unwrap());
        assert!(told.contains("invalidate") && told.contains(key), "{told}");
    }
}
