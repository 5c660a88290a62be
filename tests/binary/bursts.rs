//! Many gets and sets in one frame, which the server runs in one go, among others, which it does not:
//! nobody can tell.

use std::collections::HashMap;

use crate::harness::binary::{BinaryClient, Request};
use crate::harness::client::{info, info_number};
use crate::harness::random::Random;
use crate::harness::server::Launch;
use crate::{client, key_of, start};
use ringmain::protocol::binary::{Opcode, RequestFlags, Status};
use ringmain::types::Slot;

/// What the tests know of a key: its value and its version.
type Model = HashMap<String, (Vec<u8>, u64)>;

/// A request that is to find what the ones before it have left, and may name a wrong slot.
fn any(random: &mut Random, plain_in: u64) -> Request {
    let key = format!("key{}", random.below(40));
    let lengths = [0, 1, 64, 300, 5_000, 20_000];
    let value = vec![b"abcdefgh"[random.index(8)]; lengths[random.index(lengths.len())]];
    let request = match random.below(plain_in + 1) {
        0 => Request::keyed(Opcode::Append, &key, "!"),
        1 => Request::keyed(Opcode::Delete, &key, ""),
        2 => Request::keyed(Opcode::Set, &key, value).flags(RequestFlags::IF_PRESENT),
        number if number % 2 == 1 => Request::keyed(Opcode::Get, &key, ""),
        _ => Request::keyed(Opcode::Set, &key, value),
    };
    if random.one_in(50) { wrong(random, request) } else { request }
}

fn wrong(random: &mut Random, mut request: Request) -> Request {
    let Slot(right) = request.head.slot;
    request.head.slot = match random.below(3) {
        0 => Slot(right ^ 1),
        1 => Slot((right + 8_192) % 16_384),
        _ => Slot(16_384 + right),
    };
    request
}

/// Sends `requests` in one frame and compares every reply with what the model says, in the order of the
/// requests.
fn check(client: &mut BinaryClient, requests: &[Request], model: &mut Model) {
    for (request, reply) in requests.iter().zip(client.all(requests)) {
        let key = String::from_utf8(request.key.clone()).expect("keys are text");
        let slot = ringmain::types::key_slot(key.as_bytes());
        let present = model.get(&key);
        let expected = match Opcode::from_number(request.head.opcode) {
            _ if request.head.slot != slot => Status::WrongSlot,
            Some(Opcode::Get | Opcode::Delete) if present.is_none() => Status::NotFound,
            _ if request.head.flags == RequestFlags::IF_PRESENT && present.is_none() => {
                Status::NotFound
            }
            _ => Status::Ok,
        };
        assert_eq!(reply.status(), expected, "{request:?}: {}", reply.text());
        if expected != Status::Ok {
            continue;
        }
        let version = reply.head.version;
        let after = match Opcode::from_number(request.head.opcode) {
            Some(Opcode::Get) => {
                let (value, written) = present.expect("it is there");
                assert!(reply.body == *value, "the value of {key}");
                assert_eq!(version, *written, "the version of {key}");
                continue;
            }
            Some(Opcode::Delete) => {
                model.remove(&key);
                continue;
            }
            Some(Opcode::Append) => {
                let mut value = present.map(|(value, _)| value.clone()).unwrap_or_default();
                value.push(b'!');
                assert_eq!(reply.body, (value.len() as u64).to_le_bytes());
                value
            }
            _ => request.value.clone(),
        };
        let before = present.map_or(0, |(_, version)| *version);
        assert!(version > before, "{key} had version {before} and has {version}");
        model.insert(key, (after, version));
    }
}

#[test]
fn a_burst_does_what_its_requests_would_do_one_by_one() {
    for shards in [1, 4] {
        let server = start(shards);
        let mut random = Random::new(u64::from(shards));
        let (mut client, mut model) = (client(&server), Model::new());
        for round in 0..300 {
            let plain_in = [5, 100, 10_000][round % 3];
            let count = 1 + random.index(150);
            let requests: Vec<Request> = (0..count).map(|_| any(&mut random, plain_in)).collect();
            check(&mut client, &requests, &mut model);
        }
    }
}

#[test]
fn a_burst_of_long_replies_is_answered_in_full() {
    for shards in [1, 2] {
        let server = start(shards);
        let mut client = client(&server);
        let value = "x".repeat(200_000);
        let names: Vec<String> = (0..4).map(|number| format!("long{number}")).collect();
        for name in &names {
            client.set(name, &value);
        }
        let gets: Vec<Request> = names
            .iter()
            .cycle()
            .take(64)
            .map(|name| Request::keyed(Opcode::Get, name, ""))
            .collect();
        client.send_while(&gets, |client, ids| {
            for id in ids {
                assert!(client.reply(*id).ok().body == value.as_bytes());
            }
        });
    }
}

#[test]
fn a_burst_is_counted_and_seen_as_its_commands_are() {
    let server = start(1);
    let mut client = client(&server);
    let mut resp = server.client();
    let plain: Vec<Request> = (0..20)
        .map(|number| match number % 4 {
            0 => Request::keyed(Opcode::Set, &format!("k{number}"), "v"),
            1 => Request::keyed(Opcode::Get, &format!("k{}", number - 1), ""),
            2 => Request::keyed(Opcode::Get, "nothing", ""),
            _ => wrong(&mut Random::new(number), Request::keyed(Opcode::Get, "elsewhere", "")),
        })
        .collect();
    // The first names its connection's core.
    client.get("nothing");
    resp.words("CONFIG RESETSTAT");
    client.all(&plain);
    let stats = info(&mut resp, "commandstats");
    let of = |name: &str| stats[&format!("cmdstat_{name}")].clone();
    assert!(of("get").starts_with("calls=10,"), "{}", of("get"));
    assert!(of("get").contains("rejected_calls=5"), "{}", of("get"));
    assert!(of("set").starts_with("calls=5,"), "{}", of("set"));
    let stats = info(&mut resp, "stats");
    assert_eq!((&*stats["keyspace_hits"], &*stats["keyspace_misses"]), ("5", "5"));
    // Where every command is to be told from slow ones, each is timed.
    resp.words("CONFIG SET slowlog-log-slower-than 0");
    resp.words("SLOWLOG RESET");
    client.all(&plain[..8]);
    assert!(resp.words("SLOWLOG LEN").integer() >= 6);
}

#[test]
fn a_burst_makes_room_or_is_refused_where_memory_is_short() {
    for policy in ["noeviction", "allkeys-lru"] {
        let server = Launch::shards(1)
            .binary()
            .flag("--maxmemory", "40mb")
            .flag("--maxmemory-policy", policy)
            .start();
        let mut client = client(&server);
        let value = "x".repeat(10_000);
        let mut refused = 0;
        for round in 0..100 {
            let sets: Vec<Request> = (0..64)
                .map(|number| Request::keyed(Opcode::Set, &format!("{round}:{number}"), &value))
                .collect();
            for reply in client.all(&sets) {
                match reply.status() {
                    Status::Ok => {}
                    Status::OutOfMemory => refused += 1,
                    status => panic!("{status:?}: {}", reply.text()),
                }
            }
        }
        assert_eq!(refused > 0, policy == "noeviction", "{refused} refused with {policy}");
        let used = info_number(&mut server.client(), "memory", "used_memory");
        assert!(used < 42 << 20, "{used} bytes with {policy}");
    }
}

#[test]
fn keys_expire_within_bursts() {
    let server = start(1);
    let mut client = client(&server);
    let key = key_of(0, 1, "brief");
    client.one(Request::keyed(Opcode::Set, &key, "v").ttl(1)).ok();
    std::thread::sleep(std::time::Duration::from_millis(5));
    let gets = vec![Request::keyed(Opcode::Get, &key, ""); 8];
    assert!(client.all(&gets).iter().all(|reply| reply.status() == Status::NotFound));
    // A plain set ends an expiry.
    client.one(Request::keyed(Opcode::Set, &key, "v").ttl(50)).ok();
    let sets = vec![Request::keyed(Opcode::Set, &key, "w"); 8];
    assert!(client.all(&sets).iter().all(|reply| reply.status() == Status::Ok));
    assert_eq!(server.client().words(&format!("PTTL {key}")).integer(), -1);
}
