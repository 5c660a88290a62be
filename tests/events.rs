//! Keyspace events, seen by those who subscribe to them.
//!
//! The table of what commands tell holds for Redis as well, where one is on the machine.

mod harness;

use harness::binary::{BinaryClient, Request};
use harness::client::{Client, info_number};
use harness::server::{Launch, Server, is_other_server, skip_on_other_server};
use harness::value::Value;
use harness::{Raise, wait_until};
use ringmain::protocol::binary::Opcode;
use std::collections::HashSet;
use std::thread;

/// Commands and the events of each, as `name key`; `@n` behind a key that is not of database 0.
const TABLE: &[(&str, &[&str])] = &[
    // Strings
    ("SET s 1", &["set s"]),
    ("SET s 2 EX 100", &["set s", "expire s"]),
    ("SET s 2 KEEPTTL", &["set s"]),
    ("SET s 3 NX", &[]),
    ("SET nothing 3 XX", &[]),
    ("SET s 3 XX GET", &["set s"]),
    ("GET s", &[]),
    ("SETNX s 1", &[]),
    ("SETNX t 1", &["set t"]),
    ("SETEX t 100 x", &["set t", "expire t"]),
    ("PSETEX t 100000 1", &["set t", "expire t"]),
    ("GETSET t 5", &["set t"]),
    ("INCR t", &["incrby t"]),
    ("DECR t", &["incrby t"]),
    ("INCRBY t 3", &["incrby t"]),
    ("DECRBY t 3", &["incrby t"]),
    ("INCRBYFLOAT t 0.5", &["incrbyfloat t"]),
    ("INCR t", &[]),
    ("APPEND t x", &["append t"]),
    ("APPEND new x", &["append new"]),
    ("SETRANGE t 2 abc", &["setrange t"]),
    ("GETEX t EX 100", &["expire t"]),
    ("GETEX t PERSIST", &["persist t"]),
    ("GETEX t PERSIST", &[]),
    ("GETEX t", &[]),
    ("GETEX t PXAT 1", &["del t"]),
    ("GETDEL new", &["del new"]),
    ("GETDEL new", &[]),
    ("MSET a 1 b 2", &["set a", "set b"]),
    ("MSETNX a 1 c 2", &[]),
    ("MSETNX c 1 d 2", &["set c", "set d"]),
    ("SETBIT bits 7 1", &["setbit bits"]),
    ("BITFIELD bits SET u8 0 255", &["setbit bits"]),
    ("BITFIELD bits GET u8 0", &[]),
    ("BITOP NOT other bits", &["set other"]),
    ("BITOP AND other missing", &["del other"]),
    ("BITOP AND other missing", &[]),
    // Keys
    ("EXPIRE a 100", &["expire a"]),
    ("EXPIRE a 100 NX", &[]),
    ("PEXPIRE a 100000", &["expire a"]),
    ("PERSIST a", &["persist a"]),
    ("PERSIST a", &[]),
    ("EXPIREAT a 1", &["del a"]),
    ("EXPIRE missing 100", &[]),
    ("DEL b b missing c", &["del b", "del c"]),
    ("UNLINK d", &["del d"]),
    ("RENAME s r", &["rename_from s", "rename_to r"]),
    ("RENAMENX r s", &["rename_from r", "rename_to s"]),
    ("COPY s copied", &["copy_to copied"]),
    ("COPY s copied", &[]),
    ("COPY s s DB 3", &["copy_to s@3"]),
    ("MOVE copied 3", &["move_from copied", "move_to copied@3"]),
    ("MOVE missing 3", &[]),
    ("TOUCH s", &[]),
    ("FLUSHALL", &[]),
    // Lists
    ("LPUSH l a b", &["lpush l"]),
    ("RPUSH l c", &["rpush l"]),
    ("LPUSHX l d", &["lpush l"]),
    ("RPUSHX l e", &["rpush l"]),
    ("RPUSHX missing e", &[]),
    ("LINSERT l BEFORE a x", &["linsert l"]),
    ("LINSERT l BEFORE zz x", &[]),
    ("LSET l 0 q", &["lset l"]),
    ("LREM l 0 x", &["lrem l"]),
    ("LREM l 0 x", &[]),
    ("LPOP l", &["lpop l"]),
    ("RPOP l 1", &["rpop l"]),
    ("LMOVE l m LEFT RIGHT", &["rpush m", "lpop l"]),
    ("RPOPLPUSH l l", &["lpush l", "rpop l"]),
    ("LTRIM l 0 0", &["ltrim l"]),
    ("LTRIM l 0 9", &["ltrim l"]),
    ("LTRIM missing 0 9", &[]),
    ("RPOPLPUSH l m", &["lpush m", "rpop l", "del l"]),
    ("LMPOP 2 l m LEFT COUNT 1", &["lpop m"]),
    ("LMPOP 2 l m RIGHT COUNT 9", &["rpop m", "del m"]),
    ("LMPOP 2 l m LEFT", &[]),
    ("RPUSH l 1 2 3 4 5", &["rpush l"]),
    ("BLPOP m l 1", &["lpop l"]),
    ("BRPOP m l 1", &["rpop l"]),
    ("BLMPOP 1 2 m l LEFT", &["lpop l"]),
    ("BLMOVE l m LEFT RIGHT 1", &["rpush m", "lpop l"]),
    ("BRPOPLPUSH l m 1", &["lpush m", "rpop l", "del l"]),
    ("DEL m", &["del m"]),
    ("RPUSH l 3 1 2", &["rpush l"]),
    ("SORT l STORE sorted", &["sortstore sorted"]),
    ("SORT missing STORE sorted", &["del sorted"]),
    ("SORT missing STORE sorted", &[]),
    ("LTRIM l 5 9", &["ltrim l", "del l"]),
    // Sets
    ("SADD x a b c", &["sadd x"]),
    ("SADD x a", &[]),
    ("SREM x a zz", &["srem x"]),
    ("SREM x zz", &[]),
    ("SMOVE x y b", &["srem x", "sadd y"]),
    ("SMOVE x y c", &["srem x", "del x", "sadd y"]),
    ("SMOVE x y c", &[]),
    ("SADD x c d", &["sadd x"]),
    ("SMOVE x y c", &["srem x"]),
    ("SMOVE x x d", &[]),
    ("SMOVE x none zz", &[]),
    ("SADD x c", &["sadd x"]),
    ("SINTERSTORE z x y", &["sinterstore z"]),
    ("SUNIONSTORE z x y", &["sunionstore z"]),
    ("SDIFFSTORE z x y", &["sdiffstore z"]),
    ("SDIFFSTORE z x x", &["del z"]),
    ("SDIFFSTORE z x x", &[]),
    ("SPOP y", &["spop y"]),
    ("SPOP y 5", &["spop y", "del y"]),
    ("SPOP y", &[]),
    ("DEL x", &["del x"]),
    // Hashes
    ("HSET h a 1 b 2 c 3", &["hset h"]),
    ("HMSET h d 4", &["hset h"]),
    ("HSETNX h a 1", &[]),
    ("HSETNX h e 1", &["hset h"]),
    ("HINCRBY h a 1", &["hincrby h"]),
    ("HINCRBYFLOAT h a 0.5", &["hincrbyfloat h"]),
    ("HDEL h zz", &[]),
    ("HDEL h a b", &["hdel h"]),
    ("HDEL h c d e", &["hdel h", "del h"]),
    // Sorted sets
    ("ZADD q 1 a 2 b 3 c", &["zadd q"]),
    ("ZADD q 1 a", &[]),
    ("ZADD q XX CH 5 a", &["zadd q"]),
    ("ZADD q INCR 1 a", &["zincr q"]),
    ("ZADD q NX INCR 1 a", &[]),
    ("ZINCRBY q 2 b", &["zincr q"]),
    ("ZREM q zz", &[]),
    ("ZREM q a", &["zrem q"]),
    ("ZADD q 1 a 2 b 3 c 4 d 5 e", &["zadd q"]),
    ("ZRANGESTORE w q 0 2", &["zrangestore w"]),
    ("ZUNIONSTORE w 2 q w", &["zunionstore w"]),
    ("ZINTERSTORE w 2 q w", &["zinterstore w"]),
    ("ZDIFFSTORE w 2 q missing", &["zdiffstore w"]),
    ("ZDIFFSTORE w 2 q q", &["del w"]),
    ("ZRANGESTORE w missing 0 2", &[]),
    ("ZREMRANGEBYRANK q 0 0", &["zremrangebyrank q"]),
    ("ZREMRANGEBYSCORE q 2 2", &["zremrangebyscore q"]),
    ("ZREMRANGEBYSCORE q 50 60", &[]),
    ("ZPOPMIN q", &["zpopmin q"]),
    ("ZPOPMAX q", &["zpopmax q"]),
    ("ZMPOP 2 w q MIN COUNT 5", &["zpopmin q", "del q"]),
    ("ZADD q 1 a 2 b 3 c 4 d", &["zadd q"]),
    ("BZPOPMIN w q 1", &["zpopmin q"]),
    ("BZPOPMAX w q 1", &["zpopmax q"]),
    ("BZMPOP 1 2 w q MIN COUNT 9", &["zpopmin q", "del q"]),
    ("ZADD q 0 a 0 b", &["zadd q"]),
    ("ZREMRANGEBYLEX q - +", &["zremrangebylex q", "del q"]),
    // Errors tell nothing.
    ("SET s 1", &["set s"]),
    ("LPUSH s 1", &[]),
    ("SADD s 1", &[]),
    ("RENAME missing s", &[]),
];

/// Of Ringmain only, as Redis 7.4 does it.
const FIELD_EXPIRY: &[(&str, &[&str])] = &[
    ("HSET h a 1 b 2", &["hset h"]),
    ("HEXPIRE h 100 FIELDS 1 a", &["hexpire h"]),
    ("HEXPIRE h 100 FIELDS 1 zz", &[]),
    ("HPERSIST h FIELDS 1 a", &["hpersist h"]),
    ("HPERSIST h FIELDS 1 a", &[]),
    // What would have expired already is deleted.
    ("HEXPIRE h 0 FIELDS 2 a zz", &["hdel h"]),
    ("HEXPIRE h 0 FIELDS 1 zz", &[]),
    ("HPEXPIREAT h 1 XX FIELDS 1 b", &[]),
    ("HPEXPIREAT h 1 FIELDS 1 b", &["hdel h", "del h"]),
    ("HEXPIREAT h 1 FIELDS 1 b", &[]),
];

fn start(shards: u16) -> Server {
    Launch::shards(shards).start()
}

fn listener(server: &Server, pattern: &str) -> Client {
    let mut client = server.client();
    assert_eq!(client.command(&["PSUBSCRIBE", pattern]).elements().len(), 3);
    // What marks the end of what a command has told.
    assert_eq!(client.command(&["SUBSCRIBE", "end"]).elements().len(), 3);
    client
}

/// What has come to a listener, as channel and message, until `end`.
fn heard(listener: &mut Client, teller: &mut Client) -> Vec<(String, String)> {
    teller.command(&["PUBLISH", "end", ""]);
    let mut all = Vec::new();
    loop {
        let message = listener.read().expect("a message");
        match message.elements() {
            [kind, _, channel, text] if kind.text() == "pmessage" => {
                all.push((channel.text(), text.text()));
            }
            [kind, channel, _] if kind.text() == "message" && channel.text() == "end" => {
                return all;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The events among what was heard, as the table has them.
fn events(heard: &[(String, String)]) -> Vec<String> {
    let event = |(channel, key): &(String, String)| {
        let (db, name) = channel.strip_prefix("__keyevent@")?.split_once("__:")?;
        let db = if db == "0" { String::new() } else { format!("@{db}") };
        Some(format!("{name} {key}{db}"))
    };
    heard.iter().filter_map(event).collect()
}

/// The same of the other channels.
fn events_of_keys(heard: &[(String, String)]) -> Vec<String> {
    let event = |(channel, name): &(String, String)| {
        let (db, key) = channel.strip_prefix("__keyspace@")?.split_once("__:")?;
        let db = if db == "0" { String::new() } else { format!("@{db}") };
        Some(format!("{name} {key}{db}"))
    };
    heard.iter().filter_map(event).collect()
}

fn check(server: &Server, table: &[(&str, &[&str])]) {
    let mut client = server.client();
    client.ok("CONFIG SET notify-keyspace-events KEA");
    let mut listener = listener(server, "__key*__:*");
    for (line, expected) in table {
        client.words(line);
        let heard = heard(&mut listener, &mut client);
        assert_eq!(events(&heard), *expected, "{line}");
        assert_eq!(events_of_keys(&heard), *expected, "{line}");
    }
}

#[test]
fn commands_tell_what_they_have_done() {
    for shards in [1, 4] {
        let server = start(shards);
        check(&server, TABLE);
        if !is_other_server() {
            check(&server, FIELD_EXPIRY);
        }
    }
}

#[test]
fn a_restored_key_is_told_of() {
    let server = start(1);
    let mut client = server.client();
    client.ok("CONFIG SET notify-keyspace-events KEA");
    client.ok("SET a 1");
    let dump = client.words("DUMP a");
    let Value::Bulk(dump) = dump else { panic!("{dump:?}") };
    let mut listener = listener(&server, "__keyevent*");
    client.command(&[b"RESTORE".as_slice(), b"b", b"0", &dump]);
    client.command(&[b"RESTORE".as_slice(), b"b", b"1", &dump, b"ABSTTL", b"REPLACE"]);
    assert_eq!(events(&heard(&mut listener, &mut client)), ["restore b", "del b"]);
}

#[test]
fn only_what_is_wanted_is_told() {
    let server = start(2);
    let mut client = server.client();
    let mut listener = listener(&server, "__key*__:*");
    let script = ["SET a 1", "LPUSH l x", "GET missing", "DEL a", "DEL l"];
    let mut told = |classes: &str| {
        client.command(&["CONFIG", "SET", "notify-keyspace-events", classes]);
        for line in script {
            client.words(line);
        }
        let heard = heard(&mut listener, &mut client);
        (events(&heard), events_of_keys(&heard))
    };
    let nothing = || (vec![], vec![]);
    let all = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(told(""), nothing());
    assert_eq!(told("A"), nothing());
    assert_eq!(told("KE"), nothing());
    assert_eq!(told("K$"), (vec![], all(&["set a"])));
    assert_eq!(told("El"), (all(&["lpush l"]), vec![]));
    assert_eq!(told("Eg"), (all(&["del a", "del l"]), vec![]));
    assert_eq!(told("Em"), (all(&["keymiss missing"]), vec![]));
    assert_eq!(told("En"), (all(&["new a", "new l"]), vec![]));
    assert_eq!(told("E$lnm").0, ["new a", "set a", "new l", "lpush l", "keymiss missing"]);
    assert_eq!(told(""), nothing());
}

#[test]
fn the_classes_are_shown_and_refused_as_by_redis() {
    let server = start(1);
    let mut client = server.client();
    for (given, shown) in [
        ("KEA", "AKE"),
        ("KEg$lshzxe", "g$lshzxeKE"),
        ("KEg$lshzxetdmn", "AKEm"),
        ("Kn", "nK"),
        ("Knx", "xnK"),
        ("E$", "$E"),
        ("", ""),
        ("mmm", "m"),
    ] {
        client.command(&["CONFIG", "SET", "notify-keyspace-events", given]);
        let value = client.words("CONFIG GET notify-keyspace-events");
        assert_eq!(value.elements()[1].text(), shown, "{given}");
    }
    let refused = client.words("CONFIG SET notify-keyspace-events q");
    assert!(refused.error().contains("Invalid event class character. Use 'Ag$lshzxeKEtmdn'."));
}

#[test]
fn keys_that_expire_are_told_of_looked_at_or_not() {
    let server = start(2);
    let mut client = server.client();
    client.ok("CONFIG SET notify-keyspace-events KEx");
    let mut listener = listener(&server, "__key*__:*");
    client.ok("SET looked-at 1 PX 1");
    wait_until("the key is gone", || client.words("EXISTS looked-at").integer() == 0);
    client.ok("SET unseen 1 PX 1");
    // Nobody asks for it.
    let mut told = Vec::new();
    wait_until("both have been told of", || {
        told.extend(heard(&mut listener, &mut client));
        told.len() == 4
    });
    assert_eq!(events(&told), ["expired looked-at", "expired unseen"]);
    assert_eq!(events_of_keys(&told), ["expired looked-at", "expired unseen"]);
}

#[test]
fn keys_that_are_evicted_are_told_of() {
    let server = start(1);
    let mut client = server.client();
    client.ok("CONFIG SET notify-keyspace-events Ee");
    client.ok("CONFIG SET maxmemory-policy allkeys-lru");
    let value = "x".repeat(10_000);
    for number in 0..400 {
        client.command(&["SET", &format!("key:{number}"), &value]);
    }
    let mut listener = listener(&server, "__keyevent@0__:evicted");
    let used = info_number(&mut client, "memory", "used_memory");
    client.command(&["CONFIG", "SET", "maxmemory", &(used - 1_000_000).to_string()]);
    client.command(&["SET", "one more", &value]);
    let mut told = Vec::new();
    wait_until("keys are evicted", || {
        told.extend(events(&heard(&mut listener, &mut client)));
        let evicted = info_number(&mut client, "stats", "evicted_keys");
        evicted > 10 && told.len() as u64 >= evicted
    });
    for event in &told {
        let key = event.strip_prefix("evicted ").expect("the event");
        assert_eq!(client.command(&["EXISTS", key]).integer(), 0, "{key}");
    }
}

#[test]
fn a_transaction_tells_after_its_reply_and_in_order() {
    let server = start(4);
    let mut client = server.client();
    client.ok("CONFIG SET notify-keyspace-events E$lg");
    let mut listener = listener(&server, "__keyevent*");
    client.ok("MULTI");
    for line in ["SET a 1", "RPUSH b 1", "LPOP b", "INCR c", "DEL a"] {
        client.words(line);
    }
    assert_eq!(client.words("EXEC").elements().len(), 5);
    let told = events(&heard(&mut listener, &mut client));
    assert_eq!(told, ["set a", "rpush b", "lpop b", "del b", "incrby c", "del a"]);
}

#[test]
fn what_is_published_comes_behind_the_events_before_it() {
    for shards in [1, 4] {
        let server = start(shards);
        let mut client = server.client();
        client.ok("CONFIG SET notify-keyspace-events E$");
        let mut listener = server.client();
        listener.command(&["PSUBSCRIBE", "*"]);
        let mut next = || listener.read().expect("a message").elements()[3].text();
        client.send("SET a 1\r\nPUBLISH channel first\r\n");
        assert_eq!([next(), next()], ["a", "first"]);
        client.send("MULTI\r\nSET b 1\r\nPUBLISH channel second\r\nSET c 1\r\nEXEC\r\n");
        assert_eq!([next(), next(), next()], ["b", "second", "c"]);
    }
}

#[test]
fn from_its_reply_on_config_set_holds_on_every_shard() {
    const ROUNDS: usize = 200;
    let server = start(4);
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let _stops = Raise(&done);
        // Readers that borrow shards all the time.
        for reader in 0..3 {
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                let mut client = server.client();
                let gets: String = (0..50).map(|n| format!("GET {reader}:{n}\r\n")).collect();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    client.send(&gets);
                    for _ in 0..50 {
                        client.read().expect("a reply");
                    }
                }
            });
        }
        let mut client = server.client();
        let mut listener = listener(&server, "__keyevent@0__:set");
        for round in 0..ROUNDS {
            client.ok("CONFIG SET notify-keyspace-events E$");
            let key = format!("key:{round}");
            client.command(&["SET", &key, "v"]);
            assert_eq!(events(&heard(&mut listener, &mut client)), [format!("set {key}")]);
            client.command(&["CONFIG", "SET", "notify-keyspace-events", ""]);
            client.command(&["SET", &key, "v"]);
            assert!(heard(&mut listener, &mut client).is_empty(), "{key}");
        }
    });
}

#[test]
fn who_waits_is_served_behind_what_serves_it() {
    for shards in [1, 4] {
        let server = start(shards);
        let mut client = server.client();
        client.ok("CONFIG SET notify-keyspace-events Elzg");
        let mut listener = listener(&server, "__keyevent*");
        let (mut waiting, mut moving) = (server.client(), server.client());
        waiting.send("BLPOP a b 0\r\n");
        moving.send("BLMOVE c d LEFT RIGHT 0\r\n");
        wait_until("both wait", || info_number(&mut client, "clients", "blocked_clients") == 2);
        client.words("RPUSH b x");
        client.words("RPUSH c y");
        assert_eq!(waiting.read().expect("a reply").elements()[1], Value::bulk("x"));
        assert_eq!(moving.read().expect("a reply"), Value::bulk("y"));
        let told = events(&heard(&mut listener, &mut client));
        assert_eq!(told[..3], ["rpush b", "lpop b", "del b"]);
        assert_eq!(told[3..], ["rpush c", "rpush d", "lpop c", "del c"]);
    }
}

#[test]
fn a_subscriber_hears_of_its_own_commands_behind_their_replies() {
    let server = start(2);
    let mut client = server.client_resp3();
    client.ok("CONFIG SET notify-keyspace-events E$");
    client.words("SUBSCRIBE __keyevent@0__:set");
    client.send("SET a 1\r\nGET a\r\n");
    let read: Vec<Value> = (0..3).map(|_| client.read().expect("a reply")).collect();
    let is_push = |value: &Value| matches!(value, Value::Push(_));
    assert_eq!(read.iter().filter(|value| is_push(value)).count(), 1, "{read:?}");
    let replies: Vec<&Value> = read.iter().filter(|value| !is_push(value)).collect();
    assert_eq!(replies, [&Value::ok(), &Value::bulk("1")]);
}

#[test]
fn the_binary_protocol_tells_the_same() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(2).binary().start();
    let mut client = server.client();
    client.ok("CONFIG SET notify-keyspace-events E$g");
    let mut listener = listener(&server, "__keyevent*");
    let mut binary = BinaryClient::connect(server.binary_address());
    binary.all(&[
        Request::keyed(Opcode::Set, "a", "1"),
        Request::keyed(Opcode::Increment, "a", 1_i64.to_le_bytes()),
        Request::keyed(Opcode::Append, "a", "x"),
        Request::keyed(Opcode::Delete, "a", ""),
    ]);
    // Enough of them to be run in one go.
    let many: Vec<Request> =
        (0..100).map(|number| Request::keyed(Opcode::Set, &format!("key:{number}"), "v")).collect();
    binary.all(&many);
    let told = events(&heard(&mut listener, &mut client));
    assert_eq!(told[..4], ["set a", "incrby a", "append a", "del a"]);
    assert_eq!(told.len(), 104);
}

#[test]
fn writers_on_all_cores_tell_every_listener_all_of_it() {
    const EACH: usize = 2000;
    let server = Launch::shards(4).start();
    let mut client = server.client();
    client.ok("CONFIG SET notify-keyspace-events E$");
    let mut listeners: Vec<Client> =
        (0..3).map(|_| listener(&server, "__keyevent@0__:set")).collect();
    thread::scope(|scope| {
        for writer in 0..3 {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                for first in (0..EACH).step_by(50) {
                    let lines: String =
                        (first..first + 50).map(|n| format!("SET {writer}:{n} v\r\n")).collect();
                    client.send(lines);
                    for _ in 0..50 {
                        assert_eq!(client.read().expect("a reply"), Value::ok());
                    }
                }
            });
        }
        for listener in &mut listeners {
            scope.spawn(move || {
                let mut keys = HashSet::new();
                for _ in 0..3 * EACH {
                    let message = listener.read().expect("an event");
                    let key = message.elements()[3].text();
                    assert!(keys.insert(key.clone()), "{key} twice");
                }
            });
        }
    });
}

#[test]
fn fields_that_expire_go_and_are_told_of_with_nobody_looking() {
    if skip_on_other_server() {
        return;
    }
    let server = start(2);
    let mut client = server.client();
    client.ok("CONFIG SET notify-keyspace-events Ehg");
    let mut listener = listener(&server, "__keyevent*");
    client.words("HSET stays a 1 b 2");
    client.words("HSET goes a 1");
    client.words("HPEXPIRE stays 1 FIELDS 1 a");
    client.words("HPEXPIRE goes 1 FIELDS 1 a");
    wait_until("the fields have gone", || {
        info_number(&mut client, "stats", "expired_subkeys") == 2
    });
    assert_eq!(client.words("DBSIZE").integer(), 1);
    assert_eq!(client.words("HLEN stays").integer(), 1);
    let mut told = events(&heard(&mut listener, &mut client));
    assert_eq!(told[..4], ["hset stays", "hset goes", "hexpire stays", "hexpire goes"]);
    told[4..].sort();
    assert_eq!(told[4..], ["del goes", "hexpired goes", "hexpired stays"]);
}
