//! Who may ask, and what others see of it: passwords, the handshake, topologies, statistics, limits.

use crate::harness::binary::{BinaryClient, Reply, Request, frame};
use crate::harness::server::Launch;
use crate::harness::wait_until;
use crate::{client, greeting, key_of, start};
use ringmain::protocol::binary::body::Features;
use ringmain::protocol::binary::{Greeting, Hello, Opcode, Status, Topology};
use ringmain::types::{CoreId, ShardId};

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
    let features = Features::TOPOLOGY_PUSH | Features::ONCE;
    assert_eq!((greeting.version, greeting.features), (1, features));
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
        return crate::harness::skip("shards move between cores, and this machine has one");
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

/// A client that asks and does not read costs no more than its limit, and is let go.
#[test]
fn a_client_that_does_not_read_is_disconnected() {
    const VALUE_BYTES: usize = 100_000;
    let server = start(2);
    let mut other = server.client();
    // Below what a client may leave unread before its requests wait: 512 KiB.
    let limit = ["CONFIG", "SET", "client-output-buffer-limit", "normal 256kb 0 0"];
    other.command(&limit);
    let mut slow = client(&server);
    slow.set("big", &"x".repeat(VALUE_BYTES));
    assert_eq!(slow.one(hello("", "", "slow")).status(), Status::Ok);
    assert!(other.words("CLIENT LIST").text().contains("name=slow"));
    let before = server.resident_bytes();
    let get = Request::keyed(Opcode::Get, "big", "");
    let requests = frame(&vec![get; 100]);
    let mut sender = slow.stream().try_clone().expect("a second handle");
    let sending = std::thread::spawn(move || {
        // A gigabyte of replies, of which the kernel's buffers hold a few megabytes.
        (0..100).any(|_| std::io::Write::write_all(&mut sender, &requests).is_err())
    });
    wait_until("the slow reader is disconnected", || {
        let grown = server.resident_bytes().saturating_sub(before);
        assert!(grown < 64 << 20, "the replies nobody reads took {grown} bytes");
        !other.words("CLIENT LIST").text().contains("name=slow")
    });
    drop(slow);
    sending.join().expect("sending");
    assert_eq!(other.words("STRLEN big").integer(), i64::try_from(VALUE_BYTES).expect("short"));
}
