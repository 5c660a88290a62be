//! What a client that breaks the rules gets, while others notice nothing.

use crate::harness::binary::{BinaryClient, Request, frame};
use crate::harness::client::{encode_words, info_number};
use crate::harness::server::Launch;
use crate::harness::wait_until;
use crate::{check, client, greeting, key_of, start};
use ringmain::protocol::binary::body::Features;
use ringmain::protocol::binary::{Opcode, RequestFlags, RequestHead, Status};
use ringmain::types::Slot;

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
    // Left are two from before and who asks.
    wait_until("they are gone", || {
        info_number(&mut server.client(), "clients", "connected_clients") == 3
    });
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
        let mut resp = crate::harness::client::Client::connect(address);
        resp.ok("SET k resp");
        assert_eq!(BinaryClient::connect(address).get("k").text(), "resp");
        // What it began with it stays with.
        resp.send(frame(&[Request::plain(Opcode::Ping, "", "")]));
        let mut client = BinaryClient::connect(address);
        client.get("k");
        client.send_bytes(b"*1\r\n$4\r\nPING\r\n");
        assert_eq!(client.fatal().status(), Status::BadFrame);
    }
    let mut resp = crate::harness::client::Client::connect(server.binary_address());
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
        return crate::harness::skip("a redirection takes two cores, and this machine has one");
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

/// What would grow beyond the longest value.
#[test]
fn what_would_be_too_long_is_refused_and_changes_nothing() {
    let server = start(2);
    let mut client = client(&server);
    client.set("k", "v");
    let refused = client.one(Request::command("SETRANGE k 536870912 x"));
    assert_eq!(refused.status(), Status::TooLarge, "{}", refused.text());
    assert!(refused.text().contains("exceeds maximum allowed size"), "{}", refused.text());
    assert_eq!(client.get("k").text(), "v");
}
