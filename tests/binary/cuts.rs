//! Requests however their bytes are cut, and wherever their keys are.

use std::time::Duration;

use crate::harness::binary::{BinaryClient, Request, frame};
use crate::harness::random::Random;
use crate::{client, key_of, start};
use ringmain::protocol::binary::{Opcode, Status};

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
