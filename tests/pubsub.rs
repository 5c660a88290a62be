//! Publish and subscribe, seen by clients: bytes in and bytes out in both protocols, subscribers and
//! publishers on several cores, order, what a slow subscriber does to others, and what is left when clients
//! are gone.
//!
//! Tables and the random comparison hold for Redis as well, where one is on the machine.

mod harness;

use harness::binary::{BinaryClient, Request};
use harness::client::{Client, encode, encode_words, info, info_number, wait_for_reply};
use harness::random::Random;
use harness::server::{Launch, Server, is_other_server, skip_on_other_server};
use harness::slots::keys_over_shards;
use harness::value::Value;
use harness::{number_from_env, skip, wait_until};
use redis::PushKind;
use std::collections::{BTreeSet, HashMap};
use std::process::Command;
use std::thread;

fn start() -> Server {
    Launch::shards(2).core_ports().start()
}

/// Which protocol a client of a table speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resp {
    Two,
    Three,
}

impl Resp {
    /// What is written in RESP3, with `⏎` for line breaks, as this protocol has it.
    fn bytes(self, text: &str) -> String {
        let lines = text.split_inclusive('⏎').map(|line| match (self, line) {
            (Self::Two, "_⏎") => "$-1⏎".to_owned(),
            (Self::Two, line) => line.replacen('>', "*", usize::from(line.starts_with('>'))),
            (Self::Three, line) => line.to_owned(),
        });
        lines.collect::<String>().replace('⏎', "\r\n")
    }
}

fn greet(client: &mut Client, resp: Resp) {
    if resp == Resp::Three {
        client.words("HELLO 3");
    }
}

/// Who asks for what, and what each client then has to read.
type Step<'s> = (usize, &'s str, &'s [(usize, &'s str)]);

fn check(steps: &[Step<'_>]) {
    for resp in [Resp::Two, Resp::Three] {
        let server = start();
        let mut clients: Vec<Client> = (0..4).map(|index| server.client_on_core(index)).collect();
        clients.iter_mut().for_each(|client| greet(client, resp));
        for (who, request, replies) in steps {
            println!("{resp:?}, client {who}: {request}");
            clients[*who].request(&request.split(' ').collect::<Vec<_>>());
            for (reader, text) in *replies {
                clients[*reader].expect_bytes(resp.bytes(text));
            }
        }
        // And nothing else has come.
        for (index, client) in clients.iter_mut().enumerate() {
            client.request(&["PING", "end"]);
            let end = client.read().expect("a reply");
            let is_end = end == Value::bulk("end")
                || end == Value::Array(vec![Value::bulk("pong"), Value::bulk("end")]);
            assert!(is_end, "client {index}: {end:?}");
        }
    }
}

#[test]
fn messages_reach_who_listens() {
    check(&[
        (0, "SUBSCRIBE a b", &[(0, ">3⏎$9⏎subscribe⏎$1⏎a⏎:1⏎>3⏎$9⏎subscribe⏎$1⏎b⏎:2⏎")]),
        (1, "SUBSCRIBE a", &[(1, ">3⏎$9⏎subscribe⏎$1⏎a⏎:1⏎")]),
        (1, "PSUBSCRIBE a* ?", &[(1, ">3⏎$10⏎psubscribe⏎$2⏎a*⏎:2⏎>3⏎$10⏎psubscribe⏎$1⏎?⏎:3⏎")]),
        (
            2,
            "PUBLISH b hello",
            &[
                (2, ":2⏎"),
                (0, ">3⏎$7⏎message⏎$1⏎b⏎$5⏎hello⏎"),
                (1, ">4⏎$8⏎pmessage⏎$1⏎?⏎$1⏎b⏎$5⏎hello⏎"),
            ],
        ),
        (3, "PUBLISH abc x", &[(3, ":1⏎"), (1, ">4⏎$8⏎pmessage⏎$2⏎a*⏎$3⏎abc⏎$1⏎x⏎")]),
        (3, "PUBLISH nobody x", &[(3, ":0⏎")]),
        (1, "PUNSUBSCRIBE ?", &[(1, ">3⏎$12⏎punsubscribe⏎$1⏎?⏎:2⏎")]),
        // Whoever listens to a channel and by a pattern gets it twice, the channel's first.
        (
            2,
            "PUBLISH a y",
            &[
                (2, ":3⏎"),
                (0, ">3⏎$7⏎message⏎$1⏎a⏎$1⏎y⏎"),
                (1, ">3⏎$7⏎message⏎$1⏎a⏎$1⏎y⏎>4⏎$8⏎pmessage⏎$2⏎a*⏎$1⏎a⏎$1⏎y⏎"),
            ],
        ),
        (2, "PUBSUB CHANNELS b*", &[(2, "*1⏎$1⏎b⏎")]),
        (2, "PUBSUB NUMSUB a b c", &[(2, "*6⏎$1⏎a⏎:2⏎$1⏎b⏎:1⏎$1⏎c⏎:0⏎")]),
        (2, "PUBSUB NUMPAT", &[(2, ":1⏎")]),
        (0, "UNSUBSCRIBE b a", &[(0, ">3⏎$11⏎unsubscribe⏎$1⏎b⏎:1⏎>3⏎$11⏎unsubscribe⏎$1⏎a⏎:0⏎")]),
        (
            2,
            "PUBLISH a z",
            &[(2, ":2⏎"), (1, ">3⏎$7⏎message⏎$1⏎a⏎$1⏎z⏎>4⏎$8⏎pmessage⏎$2⏎a*⏎$1⏎a⏎$1⏎z⏎")],
        ),
        (1, "UNSUBSCRIBE", &[(1, ">3⏎$11⏎unsubscribe⏎$1⏎a⏎:1⏎")]),
        (1, "PUNSUBSCRIBE", &[(1, ">3⏎$12⏎punsubscribe⏎$2⏎a*⏎:0⏎")]),
        (2, "PUBSUB CHANNELS", &[(2, "*0⏎")]),
        (2, "PUBLISH a z", &[(2, ":0⏎")]),
    ]);
}

#[test]
fn leaving_what_one_does_not_listen_to_is_confirmed() {
    check(&[
        (0, "UNSUBSCRIBE", &[(0, ">3⏎$11⏎unsubscribe⏎_⏎:0⏎")]),
        (0, "PUNSUBSCRIBE", &[(0, ">3⏎$12⏎punsubscribe⏎_⏎:0⏎")]),
        (0, "SUNSUBSCRIBE", &[(0, ">3⏎$12⏎sunsubscribe⏎_⏎:0⏎")]),
        (0, "UNSUBSCRIBE a b", &[(0, ">3⏎$11⏎unsubscribe⏎$1⏎a⏎:0⏎>3⏎$11⏎unsubscribe⏎$1⏎b⏎:0⏎")]),
        (0, "SUBSCRIBE a", &[(0, ">3⏎$9⏎subscribe⏎$1⏎a⏎:1⏎")]),
        (0, "SUBSCRIBE a", &[(0, ">3⏎$9⏎subscribe⏎$1⏎a⏎:1⏎")]),
        (0, "PUNSUBSCRIBE a", &[(0, ">3⏎$12⏎punsubscribe⏎$1⏎a⏎:1⏎")]),
        (0, "PUNSUBSCRIBE", &[(0, ">3⏎$12⏎punsubscribe⏎_⏎:1⏎")]),
        (1, "PUBLISH a x", &[(1, ":1⏎"), (0, ">3⏎$7⏎message⏎$1⏎a⏎$1⏎x⏎")]),
        (0, "RESET", &[(0, "+RESET⏎")]),
        (1, "PUBLISH a x", &[(1, ":0⏎")]),
    ]);
}

#[test]
fn shard_channels_are_apart_from_others() {
    check(&[
        (0, "SSUBSCRIBE a b", &[(0, ">3⏎$10⏎ssubscribe⏎$1⏎a⏎:1⏎>3⏎$10⏎ssubscribe⏎$1⏎b⏎:2⏎")]),
        (0, "SUBSCRIBE a", &[(0, ">3⏎$9⏎subscribe⏎$1⏎a⏎:1⏎")]),
        (1, "PSUBSCRIBE *", &[(1, ">3⏎$10⏎psubscribe⏎$1⏎*⏎:1⏎")]),
        (2, "SPUBLISH a x", &[(2, ":1⏎"), (0, ">3⏎$8⏎smessage⏎$1⏎a⏎$1⏎x⏎")]),
        (3, "PUBLISH b x", &[(3, ":1⏎"), (1, ">4⏎$8⏎pmessage⏎$1⏎*⏎$1⏎b⏎$1⏎x⏎")]),
        (2, "PUBSUB SHARDNUMSUB a b c", &[(2, "*6⏎$1⏎a⏎:1⏎$1⏎b⏎:1⏎$1⏎c⏎:0⏎")]),
        (2, "PUBSUB SHARDCHANNELS a", &[(2, "*1⏎$1⏎a⏎")]),
        (2, "PUBSUB CHANNELS", &[(2, "*1⏎$1⏎a⏎")]),
        (0, "SUNSUBSCRIBE a", &[(0, ">3⏎$12⏎sunsubscribe⏎$1⏎a⏎:1⏎")]),
        (0, "SUNSUBSCRIBE", &[(0, ">3⏎$12⏎sunsubscribe⏎$1⏎b⏎:0⏎")]),
        (2, "SPUBLISH a x", &[(2, ":0⏎")]),
    ]);
}

#[test]
fn a_subscriber_in_resp2_does_little_else() {
    let server = start();
    let mut client = server.client();
    client.words("SUBSCRIBE a");
    for (request, name) in [
        ("GET k", "get"),
        ("CLIENT LIST", "client|list"),
        ("HELLO 3", "hello"),
        ("PUBLISH a x", "publish"),
        ("PUBSUB NUMPAT", "pubsub|numpat"),
    ] {
        let text = format!(
            "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
             allowed in this context"
        );
        assert_eq!(client.words(request), Value::Error(text), "{request}");
    }
    // A pipeline is no way round it.
    client.send(encode_words("SET k v").repeat(3));
    (0..3).for_each(|_| assert!(matches!(client.read(), Ok(Value::Error(_)))));
    for (request, reply) in [
        ("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
        ("PING x", "*2\r\n$4\r\npong\r\n$1\r\nx\r\n"),
        ("PING x y", "-ERR wrong number of arguments for 'ping' command\r\n"),
        ("SUBSCRIBE", "-ERR wrong number of arguments for 'subscribe' command\r\n"),
        ("SSUBSCRIBE s", "*3\r\n$10\r\nssubscribe\r\n$1\r\ns\r\n:1\r\n"),
        ("UNSUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n"),
        ("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
        ("SUNSUBSCRIBE", "*3\r\n$12\r\nsunsubscribe\r\n$1\r\ns\r\n:0\r\n"),
        ("PING", "+PONG\r\n"),
        ("GET k", "$-1\r\n"),
        ("PSUBSCRIBE p", "*3\r\n$10\r\npsubscribe\r\n$1\r\np\r\n:1\r\n"),
        ("RESET", "+RESET\r\n"),
        ("GET k", "$-1\r\n"),
        ("SUBSCRIBE a", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"),
        ("QUIT", "+OK\r\n"),
    ] {
        client.send(encode_words(request));
        client.expect_bytes(reply);
    }
    client.expect_close();
}

/// In RESP3 a subscriber asks as it likes, and what it publishes to itself comes behind the reply, as in
/// Redis since 7.2.
#[test]
fn a_publisher_hears_itself_behind_the_reply() {
    if skip_on_other_server() {
        return;
    }
    let server = start();
    let mut client = server.client_on_core(1);
    client.words("HELLO 3");
    let requests = ["SUBSCRIBE a", "PSUBSCRIBE ?", "PUBLISH a 1", "SET k v", "PUBLISH a 2", "PING"];
    client.send(requests.map(encode_words).concat());
    let twice =
        |text: &str| format!(">3⏎$7⏎message⏎$1⏎a⏎$1⏎{text}⏎>4⏎$8⏎pmessage⏎$1⏎?⏎$1⏎a⏎$1⏎{text}⏎");
    let expected = format!(
        ">3⏎$9⏎subscribe⏎$1⏎a⏎:1⏎>3⏎$10⏎psubscribe⏎$1⏎?⏎:2⏎:2⏎{}+OK⏎:2⏎{}+PONG⏎",
        twice("1"),
        twice("2")
    );
    client.expect_bytes(Resp::Three.bytes(&expected));
    client.words("PUNSUBSCRIBE");
    let requests =
        ["MULTI", "PUBLISH a 1", "UNSUBSCRIBE b", "SET k v", "PUBLISH a 2", "EXEC", "PING"];
    client.send(requests.map(encode_words).concat());
    let left = ">3⏎$11⏎unsubscribe⏎$1⏎b⏎:1⏎";
    let message = |text| format!(">3⏎$7⏎message⏎$1⏎a⏎$1⏎{text}⏎");
    let queued = "+QUEUED⏎".repeat(4);
    let expected = format!("+OK⏎{queued}*4⏎:1⏎{left}+OK⏎:1⏎{}{}+PONG⏎", message("1"), message("2"));
    client.expect_bytes(Resp::Three.bytes(&expected));
}

/// What a client wants no replies to brings none, but messages are no replies, nor are confirmations.
#[test]
fn pushes_are_not_held_back() {
    let server = start();
    let mut publisher = server.client_on_core(0);
    let mut client = server.client_on_core(1);
    client.words("HELLO 3");
    client.send(encode_words("CLIENT REPLY OFF"));
    client.send(encode_words("SUBSCRIBE a"));
    client.expect_bytes(Resp::Three.bytes(">3⏎$9⏎subscribe⏎$1⏎a⏎:1⏎"));
    client.send(encode_words("PING"));
    assert_eq!(publisher.words("PUBLISH a x"), Value::Integer(1));
    client.expect_bytes(Resp::Three.bytes(">3⏎$7⏎message⏎$1⏎a⏎$1⏎x⏎"));
    client.ok("CLIENT REPLY ON");
    client.send(["CLIENT REPLY SKIP", "UNSUBSCRIBE a", "PING"].map(encode_words).concat());
    client.expect_bytes(Resp::Three.bytes(">3⏎$11⏎unsubscribe⏎$1⏎a⏎:0⏎+PONG⏎"));
}

#[test]
fn every_message_comes_once_and_in_the_order_of_its_publisher() {
    const MESSAGES: usize = 3_000;
    const PUBLISHERS: usize = 4;
    const CHANNELS: usize = 3;
    let server = start();
    let mut subscribers: Vec<Client> = (0..6).map(|index| server.client_on_core(index)).collect();
    for (index, client) in subscribers.iter_mut().enumerate() {
        greet(client, if index % 3 == 0 { Resp::Three } else { Resp::Two });
        for channel in 0..CHANNELS {
            client.words(&format!("SUBSCRIBE channel{channel}"));
        }
    }
    let count = i64::try_from(subscribers.len()).expect("few");
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let mut client = server.client_on_core(publisher);
            scope.spawn(move || {
                let mut random = Random::new(publisher as u64);
                let mut sent = 0;
                while sent < MESSAGES {
                    let batch = (1 + random.index(40)).min(MESSAGES - sent);
                    let requests = (sent..sent + batch).map(|number| {
                        let channel = random.index(CHANNELS);
                        encode_words(&format!("PUBLISH channel{channel} {publisher}:{number}"))
                    });
                    client.send(requests.collect::<Vec<_>>().concat());
                    (0..batch).for_each(|_| assert_eq!(client.read(), Ok(Value::Integer(count))));
                    sent += batch;
                }
            });
        }
        for client in &mut subscribers {
            scope.spawn(move || {
                let mut next = [0; PUBLISHERS];
                for _ in 0..PUBLISHERS * MESSAGES {
                    let message = client.read().expect("a message in time");
                    let text = message.elements()[2].text();
                    let (publisher, number) = text.split_once(':').expect("two numbers");
                    let publisher: usize = publisher.parse().expect("a publisher");
                    assert_eq!(number.parse(), Ok(next[publisher]), "publisher {publisher}");
                    next[publisher] += 1;
                }
            });
        }
    });
}

/// Whoever unsubscribes gets what was published before, and whoever subscribes does not.
#[test]
fn subscriptions_begin_and_end_between_messages() {
    let server = start();
    let mut publisher = server.client_on_core(0);
    let mut client = server.client_on_core(1);
    let mut bystander = server.client_on_core(1);
    bystander.words("SUBSCRIBE a");
    for turn in 0..300 {
        assert_eq!(publisher.words(&format!("PUBLISH a before{turn}")), Value::Integer(1));
        client.send(encode_words("SUBSCRIBE a"));
        client.expect_bytes(Resp::Two.bytes(">3⏎$9⏎subscribe⏎$1⏎a⏎:1⏎"));
        assert_eq!(publisher.words("PUBLISH a x"), Value::Integer(2));
        client.send(encode_words("UNSUBSCRIBE a"));
        let both = ">3⏎$7⏎message⏎$1⏎a⏎$1⏎x⏎>3⏎$11⏎unsubscribe⏎$1⏎a⏎:0⏎";
        client.expect_bytes(Resp::Two.bytes(both));
    }
}

/// A connection that listens stays where it is, whatever keys it names, and has its replies and messages.
#[test]
fn subscribers_ask_for_keys_of_all_cores() {
    let server = start();
    let keys = keys_over_shards("key", 2, 8);
    let mut clients: Vec<Client> = (0..4).map(|_| server.client_resp3()).collect();
    clients.iter_mut().for_each(|client| drop(client.words("SUBSCRIBE a")));
    let mut publisher = server.client();
    for turn in 0..50 {
        for client in &mut clients {
            let requests: Vec<_> =
                keys.iter().map(|key| encode_words(&format!("SET {key} v"))).collect();
            client.send(requests.concat());
        }
        assert_eq!(publisher.words(&format!("PUBLISH a {turn}")), Value::Integer(4));
        for client in &mut clients {
            let all = (0..keys.len() + 1).map(|_| client.read().expect("a reply or message"));
            let (pushes, replies): (Vec<_>, Vec<_>) =
                all.partition(|value| matches!(value, Value::Push(_)));
            assert_eq!(pushes[0].elements()[2], Value::bulk(turn.to_string()));
            assert!(replies.iter().all(|reply| *reply == Value::ok()), "{replies:?}");
        }
    }
}

fn listeners(client: &mut Client) -> i64 {
    client.words("PUBSUB NUMSUB a").elements()[1].integer()
}

/// Ends a client, the first, with the help of another.
type End = fn(&mut Client, &mut Client);

#[test]
fn who_is_gone_listens_to_nothing() {
    let server = start();
    let mut watcher = server.client();
    let ends: [(&str, End); 5] = [
        ("closed", |_, _| {}),
        ("QUIT", |client, _| client.send(encode_words("QUIT"))),
        ("half closed", |client, _| client.end_sending()),
        ("no request", |client, _| client.send("*x\r\n")),
        ("killed", |_, watcher| drop(watcher.words("CLIENT KILL TYPE pubsub"))),
    ];
    for (end, act) in ends {
        let mut clients: Vec<Client> = (0..4).map(|index| server.client_on_core(index)).collect();
        for client in &mut clients {
            client
                .send(["SUBSCRIBE a", "PSUBSCRIBE b*", "SSUBSCRIBE c"].map(encode_words).concat());
            (0..3).for_each(|_| drop(client.read().expect("a confirmation")));
        }
        assert_eq!(listeners(&mut watcher), 4, "{end}");
        clients.iter_mut().for_each(|client| act(client, &mut watcher));
        drop(clients);
        wait_until(end, || listeners(&mut watcher) == 0);
        let none = [("pubsub_channels", 0), ("pubsub_patterns", 0), ("pubsubshard_channels", 0)];
        wait_until(end, || {
            none.iter().all(|(name, count)| info_number(&mut watcher, "stats", name) == *count)
        });
    }
    if !is_other_server() {
        assert_eq!(info_number(&mut watcher, "clients", "pubsub_clients"), 0);
    }
}

#[test]
fn clients_and_info_tell_of_subscriptions() {
    let server = start();
    let mut client = server.client_resp3();
    let mut watcher = server.client();
    for request in
        ["CLIENT SETNAME me", "SUBSCRIBE a", "SUBSCRIBE b", "PSUBSCRIBE c*", "SSUBSCRIBE d"]
    {
        client.words(request);
    }
    let line = watcher.words("CLIENT LIST TYPE pubsub").text();
    assert_eq!(line.lines().count(), 1, "{line}");
    for part in ["name=me", "flags=P", "sub=2", "psub=1", "ssub=1", "resp=3"] {
        assert!(line.split_whitespace().any(|word| word == part), "{part}: {line}");
    }
    assert!(!watcher.words("CLIENT LIST TYPE normal").text().contains("name=me"));
    let stats = info(&mut watcher, "stats");
    for (name, count) in
        [("pubsub_channels", "2"), ("pubsub_patterns", "1"), ("pubsubshard_channels", "1")]
    {
        assert_eq!(stats[name], count, "{name}");
    }
    if !is_other_server() {
        assert_eq!(info_number(&mut watcher, "clients", "pubsub_clients"), 1);
    }
    client.words("RESET");
    let line = client.words("CLIENT INFO").text();
    for part in ["flags=N", "sub=0", "psub=0", "ssub=0"] {
        assert!(line.split_whitespace().any(|word| word == part), "{part}: {line}");
    }
}

/// Somebody who only listens is not idle.
#[test]
fn subscribers_are_not_timed_out() {
    let server = Launch::shards(2).core_ports().flag("--timeout", "1").start();
    let mut subscriber = server.client_on_core(1);
    subscriber.words("SUBSCRIBE a");
    let mut idle = server.client_on_core(1);
    idle.words("PING");
    idle.expect_close();
    assert_eq!(server.client().words("PUBLISH a x"), Value::Integer(1));
    subscriber.expect_bytes(Resp::Two.bytes(">3⏎$7⏎message⏎$1⏎a⏎$1⏎x⏎"));
}

// --- limits --------------------------------------------------------------------------------------

fn set_limit(client: &mut Client, limit: &str) {
    let set = client.command(&["CONFIG", "SET", "client-output-buffer-limit", limit]);
    assert_eq!(set, Value::ok());
}

#[test]
fn a_slow_subscriber_is_cut_and_nobody_else_is_hurt() {
    const PAYLOAD_BYTES: usize = 20_000;
    let server = start();
    let mut operator = server.client();
    set_limit(&mut operator, "pubsub 1mb 0 0");
    let mut slow = server.client_on_core(1);
    slow.words("SUBSCRIBE a");
    let mut readers: Vec<Client> = (0..3).map(|index| server.client_on_core(index)).collect();
    readers.iter_mut().for_each(|client| drop(client.words("SUBSCRIBE a")));
    let mut publisher = server.client_on_core(0);
    let payload = "x".repeat(PAYLOAD_BYTES);
    let mut published = 0;
    // The kernel's buffers take some megabytes before the server has to keep anything.
    while listeners(&mut operator) == 4 {
        publisher.request(&["PUBLISH", "a", &payload]);
        let receivers = publisher.read().expect("the publisher does not wait").integer();
        assert!((3..=4).contains(&receivers), "{receivers}");
        for reader in &mut readers {
            let message = reader.read().expect("a message in time");
            assert_eq!(message.elements()[2].text().len(), PAYLOAD_BYTES);
        }
        published += 1;
        assert!(published < 10_000, "the slow one is still there");
    }
    let left = slow.read_to_close();
    assert!(left.len() < published * PAYLOAD_BYTES, "{} bytes", left.len());
    assert_eq!(listeners(&mut operator), 3);
    if !is_other_server() {
        let closes =
            info_number(&mut operator, "stats", "client_output_buffer_limit_disconnections");
        assert_eq!(closes, 1);
        assert!(server.output().contains("reached its output buffer limit"), "{}", server.output());
    }
}

#[test]
fn the_soft_limit_holds_for_a_time() {
    let server = start();
    let mut operator = server.client();
    set_limit(&mut operator, "pubsub 0 64kb 1");
    let mut slow = server.client_on_core(1);
    slow.words("SUBSCRIBE a");
    let payload = "x".repeat(1 << 20);
    // More than the kernel's buffers take.
    for _ in 0..24 {
        operator.command(&["PUBLISH", "a", &payload]);
    }
    wait_until("the slow subscriber is cut", || listeners(&mut operator) == 0);
}

/// Without a limit, a message longer than anything else goes to everybody whole.
#[test]
fn long_messages_are_whole() {
    const LENGTH: usize = 5 << 20;
    let server = start();
    let mut clients: Vec<Client> = (0..4).map(|index| server.client_on_core(index)).collect();
    clients.iter_mut().for_each(|client| drop(client.words("SUBSCRIBE a")));
    let payload: Vec<u8> =
        (0..LENGTH).map(|at| b'a' + u8::try_from(at % 23).expect("small")).collect();
    let mut publisher = server.client();
    publisher.send(encode(&[b"PUBLISH".as_slice(), b"a", &payload]));
    for client in &mut clients {
        let message = client.read().expect("a message");
        assert!(message.elements()[2] == Value::bulk(&payload));
    }
    assert_eq!(publisher.read(), Ok(Value::Integer(4)));
}

/// A core that does not get to its messages makes publishers wait; it does not make memory grow.
#[test]
fn messages_between_cores_are_bounded() {
    const PAYLOAD_BYTES: usize = 100_000;
    const MESSAGES: usize = 5_000;
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(2).core_ports().debug().start();
    let mut operator = server.client();
    if info_number(&mut operator, "ringmain", "cores") < 2 {
        return skip("messages go between cores, and this machine has one");
    }
    let mut subscriber = server.client_on_core(1);
    subscriber.words("SUBSCRIBE a");
    let mut publisher = server.client_on_core(0);
    let mut sender = publisher.stream().try_clone().expect("a second handle");
    let before = server.resident_bytes();
    let mut sleeper = server.client_on_core(1);
    sleeper.send(encode_words("DEBUG SLEEP 1.5"));
    thread::scope(|scope| {
        scope.spawn(move || {
            let request = encode(&["PUBLISH", "a", &"x".repeat(PAYLOAD_BYTES)]);
            for _ in 0..MESSAGES {
                std::io::Write::write_all(&mut sender, &request).expect("the server reads on");
            }
        });
        // What has gathered is more than the subscriber may have waiting, so it is cut in the end.
        for _ in 0..MESSAGES {
            let receivers = publisher.read().expect("a reply in time").integer();
            assert!((0..=1).contains(&receivers), "{receivers}");
        }
    });
    let grown = server.peak_of_memory().saturating_sub(before);
    assert!(grown < PAYLOAD_BYTES as u64 * MESSAGES as u64 / 2, "memory grew by {grown} bytes");
}

// --- cluster -------------------------------------------------------------------------------------

#[test]
fn shard_channels_have_their_core() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(2).cluster().start();
    let mut operator = server.client();
    if info_number(&mut operator, "ringmain", "cores") < 2 {
        return skip("channels are elsewhere where there are two cores, and this machine has one");
    }
    let names = keys_over_shards("channel", 2, 2);
    let (here, there) = (&names[0], &names[1]);
    let mut client = Client::connect(server.core_address(0));
    client.words("HELLO 3");
    for request in ["SSUBSCRIBE", "SUNSUBSCRIBE"] {
        let across = client.words(&format!("{request} {here} {there}"));
        assert_eq!(across.error(), "CROSSSLOT Keys in request don't hash to the same slot");
    }
    for request in [format!("SSUBSCRIBE {there}"), format!("SPUBLISH {there} x")] {
        let moved = client.words(&request);
        assert!(moved.error().starts_with("MOVED "), "{moved:?}");
        assert!(moved.error().ends_with(&server.core_address(1).to_string()), "{moved:?}");
    }
    assert!(matches!(client.words(&format!("SSUBSCRIBE {here}")), Value::Push(_)));
    assert!(matches!(client.words(&format!("SUBSCRIBE {there}")), Value::Push(_)));
    let mut publisher = Client::connect(server.core_address(0));
    assert_eq!(publisher.words(&format!("SPUBLISH {here} x")), Value::Integer(1));
    assert_eq!(client.read().expect("a message").elements()[0], Value::bulk("smessage"));
    // The common port serves all of them, and hears no less.
    let mut common = server.client();
    common.words(&format!("SSUBSCRIBE {here}"));
    // The slot goes to the other core: whoever listens here is told to go there.
    operator.ok("SHARD MOVE 0 1");
    let ended = format!(">3⏎$12⏎sunsubscribe⏎${}⏎{here}⏎:0⏎", here.len());
    client.expect_bytes(Resp::Three.bytes(&ended));
    assert!(client.words(&format!("SSUBSCRIBE {here}")).error().starts_with("MOVED "));
    let mut publisher = Client::connect(server.core_address(1));
    assert_eq!(publisher.words(&format!("SPUBLISH {here} y")), Value::Integer(1));
    assert_eq!(common.read().expect("a message").elements()[2], Value::bulk("y"));
    // Other channels know no slots.
    assert_eq!(publisher.words(&format!("PUBLISH {there} z")), Value::Integer(1));
    assert_eq!(client.read().expect("a message").elements()[2], Value::bulk("z"));
}

// --- what is counted, and other clients ----------------------------------------------------------

/// A message is nobody's reply.
#[test]
fn latencies_know_nothing_of_messages() {
    if skip_on_other_server() {
        return;
    }
    let server = start();
    let mut subscribers: Vec<Client> = (0..10).map(|index| server.client_on_core(index)).collect();
    subscribers.iter_mut().for_each(|client| drop(client.words("SUBSCRIBE a")));
    let mut publisher = server.client_on_core(0);
    publisher.ok("LATENCY STAGES RESET");
    for _ in 0..20 {
        assert_eq!(publisher.words("PUBLISH a x"), Value::Integer(10));
        for client in &mut subscribers {
            client.read().expect("a message");
        }
    }
    let stages = publisher.words("LATENCY STAGES");
    for stage in ["reply", "send", "total"] {
        let count = stages.field(stage).field("count").integer();
        // The reset was answered after it was done.
        assert!(count <= 21, "{stage}: {count}");
    }
}

#[test]
fn the_binary_protocol_publishes_and_does_not_listen() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(2).core_ports().binary().start();
    let mut subscriber = server.client_on_core(1);
    subscriber.words("SUBSCRIBE a");
    let mut client = BinaryClient::connect(server.binary_address());
    assert_eq!(client.one(Request::command("PUBLISH a x")).ok().text(), ":1\r\n");
    subscriber.expect_bytes(Resp::Two.bytes(">3⏎$7⏎message⏎$1⏎a⏎$1⏎x⏎"));
    assert!(client.one(Request::command("SUBSCRIBE a")).text().starts_with("NOTALLOWED"));
}

#[test]
fn the_redis_crate_s_subscriber() -> redis::RedisResult<()> {
    let server = start();
    let client = redis::Client::open(("127.0.0.1", server.port()))?;
    let mut connection = client.get_connection()?;
    let mut publisher = client.get_connection()?;
    let mut subscriber = connection.as_pubsub();
    subscriber.set_read_timeout(Some(harness::PATIENCE))?;
    subscriber.subscribe(&["a", "b"])?;
    subscriber.psubscribe("c*")?;
    for (channel, text) in [("a", "1"), ("b", "2"), ("cc", "3")] {
        let receivers: i64 = redis::cmd("PUBLISH").arg(channel).arg(text).query(&mut publisher)?;
        assert_eq!(receivers, 1);
        let message = subscriber.get_message()?;
        assert_eq!(
            (message.get_channel_name(), message.get_payload::<String>()?),
            (channel, text.into())
        );
        assert_eq!(message.from_pattern(), channel == "cc");
    }
    // It unsubscribes when it is dropped, and the connection is an ordinary one again.
    drop(subscriber);
    let () = redis::cmd("SET").arg("k").arg("v").query(&mut connection)?;
    wait_for_reply(&mut server.client(), "PUBSUB NUMPAT", &Value::Integer(0));
    Ok(())
}

#[test]
fn the_redis_crate_s_pushes() -> redis::RedisResult<()> {
    let server = start();
    let url = format!("redis://127.0.0.1:{}/?protocol=resp3", server.port());
    let client = redis::Client::open(url)?;
    let mut connection = client.get_connection()?;
    let (sender, pushes) = std::sync::mpsc::channel();
    connection.set_push_sender(sender);
    connection.subscribe_resp3("a")?;
    // It does not wait for the confirmation.
    wait_until("it listens", || listeners(&mut server.client()) == 1);
    let mut publisher = client.get_connection()?;
    let receivers: i64 = redis::cmd("PUBLISH").arg("a").arg("x").query(&mut publisher)?;
    assert_eq!(receivers, 1);
    // The message is read on the way to the next reply.
    let () = redis::cmd("SET").arg("k").arg("v").query(&mut connection)?;
    let kinds: Vec<PushKind> = pushes.try_iter().map(|push| push.kind).collect();
    assert_eq!(kinds, [PushKind::Subscribe, PushKind::Message]);
    Ok(())
}

// --- beside Redis --------------------------------------------------------------------------------

fn redis_7() -> bool {
    let output = Command::new("redis-server").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let is_there = text.is_ok_and(|text| text.contains("v=7."));
    if !is_there {
        skip("there is no redis-server 7 on this machine");
    }
    is_there
}

/// Clients of one server, of which all but the first subscribe.
struct Side {
    clients: Vec<Client>,
}

impl Side {
    /// Asks, and reads all that has come to everybody by then.
    fn ask(&mut self, who: usize, request: &[String], turn: usize) -> Vec<Vec<Value>> {
        self.clients[who].request(request);
        if who == 0 {
            // Everything is under way when the publisher has its reply.
            let reply = self.clients[0].read().expect("a reply");
            let mut all = vec![vec![reply]];
            all.extend(self.read_all(turn));
            return all;
        }
        self.read_all(turn)
    }

    fn read_all(&mut self, turn: usize) -> Vec<Vec<Value>> {
        let end = format!("end{turn}");
        let read = |client: &mut Client| {
            client.request(&["PING", &end]);
            let mut values = Vec::new();
            while !values.last().is_some_and(|last: &Value| format!("{last:?}").contains(&end)) {
                values.push(client.read().expect("a reply"));
            }
            values
        };
        self.clients.iter_mut().skip(1).map(read).collect()
    }
}

/// A request of a random client. No channel matches two patterns, whose order Redis does not tell; and
/// nobody leaves all of several.
fn request(
    random: &mut Random,
    who: usize,
    held: &mut HashMap<(usize, String), BTreeSet<String>>,
) -> Vec<String> {
    let letter = *random.pick(&["a", "b", "c"]);
    let channel = format!("{letter}{}", random.below(2));
    if who == 0 {
        let verb = *random.pick(&["PUBLISH", "PUBLISH", "PUBLISH", "SPUBLISH"]);
        return match random.below(8) {
            0 => vec!["PUBSUB".into(), "NUMPAT".into()],
            1 => vec!["PUBSUB".into(), "NUMSUB".into(), channel, "a0".into()],
            2 => vec!["PUBSUB".into(), "SHARDNUMSUB".into(), channel, "a0".into()],
            _ => vec![verb.into(), channel, random.below(1_000_000).to_string()],
        };
    }
    let kind = *random.pick(&["", "P", "S"]);
    let name = if kind == "P" { format!("{letter}?") } else { channel };
    let held = held.entry((who, kind.to_owned())).or_default();
    match random.below(8) {
        0..=3 => {
            held.insert(name.clone());
            vec![format!("{kind}SUBSCRIBE"), name]
        }
        4 if held.len() < 2 => {
            held.clear();
            vec![format!("{kind}UNSUBSCRIBE")]
        }
        5 => vec!["PING".into(), name],
        6 => vec!["GET".into(), name],
        _ => {
            held.remove(&name);
            vec![format!("{kind}UNSUBSCRIBE"), name]
        }
    }
}

#[test]
fn everything_is_as_redis_has_it() {
    if is_other_server() || !redis_7() {
        return;
    }
    let seed = number_from_env("RINGMAIN_DIFFERENTIAL_SEED").unwrap_or(1);
    println!("RINGMAIN_DIFFERENTIAL_SEED={seed}");
    let (own, redis) = (start(), Launch::of_other_server("redis-server").start());
    for resp in [Resp::Two, Resp::Three] {
        let mut random = Random::new(seed);
        let mut held = HashMap::new();
        let mut sides = [
            Side { clients: (0..4).map(|index| own.client_on_core(index)).collect() },
            Side { clients: (0..4).map(|_| redis.client()).collect() },
        ];
        let clients = sides.iter_mut().flat_map(|side| &mut side.clients);
        clients.for_each(|client| greet(client, resp));
        for turn in 0..1_500 {
            let who = random.index(4);
            let request = request(&mut random, who, &mut held);
            let [own, redis] = sides.each_mut().map(|side| side.ask(who, &request, turn));
            assert_eq!(own, redis, "{resp:?}, turn {turn}, client {who}: {}", request.join(" "));
        }
    }
}
