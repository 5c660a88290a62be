//! The bytes in `docs/protocol.md` against the codec: what each block means is written down here, and
//! must encode to the block's bytes and be decoded from them. The blocks were not made with the codec.

mod harness;

use std::collections::BTreeMap;

use harness::binary::{BinaryClient, Reply as Received, reply_frame};
use harness::server::Launch;

use ringmain::protocol::binary::body::{
    Features, Found, ScanStep, list_bytes, read_scanned, read_values, write_list, write_value,
};
use ringmain::protocol::binary::{
    Durability, Extras, FrameError, FrameLimits, Frames, Greeting, Hello, Next, Opcode, ReplyFrame,
    ReplyHead, RequestFlags, RequestFrame, RequestHead, Status, Token, Topology,
    body::{Address, SlotRange},
};
use ringmain::types::{CoreId, ShardId, Slot, key_slot};

const PAGE: &str = include_str!("../docs/protocol.md");

/// The sequence that the examples' shard starts with.
const LIFE: u64 = 1_767_225_600_000_000_000;
const SHARD: ShardId = ShardId(0);
const EPOCH: u32 = 1;

/// The golden blocks of the page, in its order.
fn blocks_in_order() -> Vec<(&'static str, Vec<u8>)> {
    let mut blocks = Vec::new();
    for block in PAGE.split("```golden ").skip(1) {
        let (name, rest) = block.split_once('\n').expect("a block has lines");
        let (lines, _) = rest.split_once("```").expect("a block ends");
        let digits: String = lines.lines().filter_map(|line| line.split('#').next()).collect();
        let bytes = digits
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits"));
        blocks.push((name, bytes.collect()));
    }
    blocks
}

/// The golden blocks of the page, by name.
fn blocks() -> BTreeMap<&'static str, Vec<u8>> {
    let in_order = blocks_in_order();
    let blocks: BTreeMap<_, _> = in_order.iter().cloned().collect();
    assert_eq!(blocks.len(), in_order.len(), "a block stands twice");
    blocks
}

struct Request {
    head: RequestHead,
    extras: Extras,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// A request about `key`.
fn keyed(id: u32, opcode: Opcode, key: &str, value: impl AsRef<[u8]>) -> Request {
    let head = RequestHead { slot: key_slot(key.as_bytes()), ..RequestHead::new(id, opcode) };
    let (key, value) = (key.as_bytes().to_vec(), value.as_ref().to_vec());
    Request { head, extras: Extras::default(), key, value }
}

/// The same increment, whatever the request's id.
fn retried(id: u32) -> Request {
    let sequence = Some(1_700_000_000_000_001);
    let client = Some(0x0123_4567_89ab_cdef);
    let extras = Extras { client, sequence, answered: sequence, ..Extras::default() };
    keyed(id, Opcode::Increment, "user:{7}:n", 1i64.to_le_bytes()).extras(extras)
}

/// A request without a slot.
fn plain(id: u32, opcode: Opcode, key: &str, value: impl AsRef<[u8]>) -> Request {
    let head = RequestHead::new(id, opcode);
    Request { head, ..keyed(id, opcode, key, value) }
}

fn list(strings: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_list(&mut bytes, strings);
    assert_eq!(bytes.len(), list_bytes(strings));
    bytes
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

impl Request {
    fn extras(mut self, extras: Extras) -> Self {
        self.extras = extras;
        self
    }

    fn head(mut self, change: impl FnOnce(&mut RequestHead)) -> Self {
        change(&mut self.head);
        self
    }
}

fn requests(name: &str) -> Vec<Request> {
    let ttl = |ttl_ms| Extras { ttl_ms: Some(ttl_ms), ..Extras::default() };
    match name {
        "ping" => vec![plain(1, Opcode::Ping, "", "hello")],
        "get missing" => vec![keyed(2, Opcode::Get, "foo", "")],
        "set" => vec![keyed(3, Opcode::Set, "foo", "bar")],
        "batch" => vec![
            keyed(4, Opcode::Get, "foo", ""),
            keyed(5, Opcode::Set, "user:{7}:n", "1")
                .extras(ttl(60_000))
                .head(|head| head.flags = RequestFlags::IF_ABSENT),
            keyed(6, Opcode::Get, "foo", "").head(|head| head.slot = Slot(1)),
        ],
        "compare-and-swap" => vec![
            keyed(7, Opcode::CompareAndSwap, "foo", "baz")
                .extras(Extras { version: Some(LIFE + 9), ..Extras::default() }),
        ],
        "increment" => {
            vec![keyed(8, Opcode::Increment, "user:{7}:n", 41i64.to_le_bytes())]
        }
        "append" => vec![keyed(9, Opcode::Append, "foo", "!")],
        "get-many" => vec![
            plain(10, Opcode::GetMany, "", list(&["foo", "nokey"]))
                .head(|head| head.slot = key_slot(b"foo")),
        ],
        "set-many" => vec![
            plain(11, Opcode::SetMany, "", list(&["a", "1", "b", "2"]))
                .head(|head| head.slot = key_slot(b"a")),
        ],
        "touch and expire" => vec![
            keyed(12, Opcode::Touch, "a", ""),
            keyed(13, Opcode::Expire, "a", "").extras(ttl(60_000)),
            keyed(14, Opcode::Expire, "nokey", "").extras(ttl(60_000)),
        ],
        "delete" => vec![keyed(15, Opcode::Delete, "b", "")],
        "scan" => {
            let step = ScanStep { cursor: 0, count: 1000 };
            vec![plain(16, Opcode::Scan, "fo*", written(|out| step.write(out)))]
        }
        "command" => vec![plain(17, Opcode::Command, "", list(&["STRLEN", "foo"]))],
        "retry" => {
            vec![retried(27), retried(28).head(|head| head.flags = RequestFlags::AGAIN)]
        }
        "command failing" => vec![plain(18, Opcode::Command, "", list(&["NOSUCH"]))],
        "refused" => vec![
            keyed(19, Opcode::Set, "foo", "x")
                .head(|head| head.durability = Durability::Sync as u8),
            keyed(20, Opcode::Get, "foo", "")
                .extras(Extras { deadline_us: Some(0), ..Extras::default() }),
            keyed(21, Opcode::Get, "foo", "").extras(Extras {
                token: Some(Token { shard: SHARD, sequence: 1 }),
                ..Extras::default()
            }),
            plain(22, Opcode::Get, "", "").head(|head| head.opcode = 0x7f),
        ],
        "hello" => {
            let hello = Hello { name: "app".to_owned(), ..Hello::this_version() };
            vec![plain(23, Opcode::Hello, "", written(|out| hello.write(out)))]
        }
        "topology" => vec![plain(24, Opcode::Topology, "", "")],
        "subscribe-topology" => vec![plain(25, Opcode::SubscribeTopology, "", "")],
        "stats" => vec![plain(26, Opcode::Stats, "cluster", "")],
        other => panic!("what \"request {other}\" means is not written down"),
    }
}

type Reply = (ReplyHead, Vec<u8>);

/// A reply about a key; `after` counts changes of the shard.
fn about(id: u32, opcode: Opcode, status: Status, after: u64, body: impl AsRef<[u8]>) -> Reply {
    let version = if after == 0 { 0 } else { LIFE + after };
    let head = ReplyHead { shard: SHARD, version, ..ReplyHead::new(id, opcode.number(), status) };
    (head, body.as_ref().to_vec())
}

fn other(id: u32, opcode: u8, status: Status, body: impl AsRef<[u8]>) -> Reply {
    (ReplyHead::new(id, opcode, status), body.as_ref().to_vec())
}

fn topology() -> Topology {
    Topology {
        epoch: u64::from(EPOCH),
        shard_count: 1,
        cores: vec![Address { core: CoreId(0), port: 16379, host: "127.0.0.1".to_owned() }],
        ranges: vec![SlotRange { first: 0, last: 16383, shard: SHARD, core: CoreId(0) }],
    }
}

fn greeting() -> Greeting {
    Greeting {
        version: 1,
        features: Features::TOPOLOGY_PUSH | Features::ONCE,
        client: 3,
        life: LIFE,
        limits: FrameLimits::requests(512 << 20),
        key_bytes_max: 65_535,
        server: "ringmain 0.1.0".to_owned(),
        topology: topology(),
    }
}

fn replies(name: &str) -> Vec<Reply> {
    let ok = Status::Ok;
    match name {
        "ping" => vec![other(1, 2, ok, "hello")],
        "get missing" => vec![about(2, Opcode::Get, Status::NotFound, 0, "")],
        "set" => vec![about(3, Opcode::Set, ok, 1, "")],
        "batch" => vec![
            about(4, Opcode::Get, ok, 1, "bar"),
            about(5, Opcode::Set, ok, 2, ""),
            other(
                6,
                Opcode::Get.number(),
                Status::WrongSlot,
                "WRONGSLOT the key is in slot 12182, the head says 1",
            ),
        ],
        "compare-and-swap" => {
            vec![about(7, Opcode::CompareAndSwap, Status::VersionMismatch, 1, "")]
        }
        "increment" => vec![about(8, Opcode::Increment, ok, 3, 42i64.to_le_bytes())],
        "retry" => {
            [27, 28].map(|id| about(id, Opcode::Increment, ok, 9, 43i64.to_le_bytes())).to_vec()
        }
        "append" => vec![about(9, Opcode::Append, ok, 4, 4u64.to_le_bytes())],
        "get-many" => vec![other(10, Opcode::GetMany.number(), ok, values_body())],
        "set-many" => vec![about(11, Opcode::SetMany, ok, 6, tokens_body())],
        "touch and expire" => vec![
            about(12, Opcode::Touch, ok, 5, ""),
            about(13, Opcode::Expire, ok, 7, ""),
            about(14, Opcode::Expire, Status::NotFound, 0, ""),
        ],
        "delete" => vec![about(15, Opcode::Delete, ok, 8, "")],
        "scan" => {
            let body = [&0u64.to_le_bytes()[..], &list(&["foo"])].concat();
            vec![other(16, Opcode::Scan.number(), ok, body)]
        }
        "command" => vec![about(17, Opcode::Command, ok, 8, ":4\r\n")],
        "command failing" => vec![other(
            18,
            Opcode::Command.number(),
            Status::Error,
            "ERR unknown command 'NOSUCH', with args beginning with: ",
        )],
        "refused" => vec![
            other(
                19,
                Opcode::Set.number(),
                Status::DurabilityUnavailable,
                "NODURABILITY there is no log yet: durability sync can't be given",
            ),
            other(
                20,
                Opcode::Get.number(),
                Status::DeadlineExceeded,
                "DEADLINE the deadline passed before the work could begin",
            ),
            other(
                21,
                Opcode::Get.number(),
                Status::TokenExpired,
                "TOKENEXPIRED the session token is from an earlier life of the server",
            ),
            other(22, 0x7f, Status::UnknownOpcode, "UNKNOWNOPCODE no operation has opcode 0x7f"),
        ],
        "hello" => vec![other(23, 1, ok, written(|out| greeting().write(out)))],
        "topology" => vec![other(24, 3, ok, written(|out| topology().write(out)))],
        "subscribe-topology" => vec![other(25, 4, ok, written(|out| topology().write(out)))],
        "stats" => vec![other(26, 5, ok, "# Cluster\r\ncluster_enabled:1\r\n")],
        "bad checksum" => vec![other(
            0,
            0,
            Status::BadChecksum,
            "BADCHECKSUM the header's checksum is 0x695733a2 and should be 0x6957335d",
        )],
        other => panic!("what \"reply {other}\" means is not written down"),
    }
}

fn values_body() -> Vec<u8> {
    let mut body = 2u32.to_le_bytes().to_vec();
    write_value(&mut body, Some(Found { version: LIFE + 4, value: b"bar!" }));
    write_value(&mut body, None);
    body
}

fn tokens_body() -> Vec<u8> {
    let mut body = 1u32.to_le_bytes().to_vec();
    Token { shard: SHARD, sequence: LIFE + 6 }.write(&mut body);
    body
}

#[test]
fn requests_encode_to_the_pages_bytes_and_are_decoded_from_them() {
    let mut count = 0;
    for (name, golden) in blocks() {
        let Some(name) = name.strip_prefix("request ") else { continue };
        if name == "bad checksum" {
            continue;
        }
        let requests = requests(name);
        let (mut frame, mut encoded) = (RequestFrame::default(), Vec::new());
        for Request { head, extras, key, value } in &requests {
            frame.push(*head, extras, key, value).unwrap();
        }
        let frame_bytes = frame.frame_bytes();
        frame.finish(&mut encoded);
        assert_eq!(encoded, golden, "request {name}");
        assert_eq!(frame_bytes, golden.len());

        let (mut frames, mut at) = (Frames::<RequestHead>::default(), 0);
        for Request { head, extras, key, value } in &requests {
            let Ok(Next::Item(item)) = frames.next(&golden, at, &FrameLimits::WIDEST) else {
                panic!("request {name} is not whole")
            };
            at = item.end;
            let body = &golden[item.start..item.end];
            let extras_bytes = item.head.flags.extras_bytes();
            assert_eq!(Extras::read(item.head.flags, body), *extras, "request {name}");
            assert_eq!(body[extras_bytes..], [&key[..], value].concat(), "request {name}");
            let expected = RequestHead {
                flags: head.flags | extras.flags(),
                key_bytes: u16::try_from(key.len()).unwrap(),
                value_bytes: u32::try_from(value.len()).unwrap(),
                ..*head
            };
            assert_eq!(item.head, expected, "request {name}");
        }
        assert!(frames.is_idle() && at == golden.len(), "request {name}");
        count += 1;
    }
    assert_eq!(count, 20);
}

#[test]
fn replies_encode_to_the_pages_bytes_and_are_decoded_from_them() {
    let mut count = 0;
    for (name, golden) in blocks() {
        let Some(name) = name.strip_prefix("reply ") else { continue };
        let replies = replies(name);
        // Room that is not used leaves no trace.
        for spare in [0, 3] {
            let mut encoded = b"before".to_vec();
            let mut frame = ReplyFrame::begin(&mut encoded, replies.len() + spare);
            for (head, body) in &replies {
                encoded.extend_from_slice(body);
                frame.push(&mut encoded, *head);
            }
            assert_eq!(frame.room(), spare);
            frame.finish(&mut encoded, EPOCH);
            assert_eq!(encoded[6..], golden, "reply {name}");
        }

        let (mut frames, mut at) = (Frames::<ReplyHead>::default(), 0);
        for (head, body) in &replies {
            let Ok(Next::Item(item)) = frames.next(&golden, at, &FrameLimits::WIDEST) else {
                panic!("reply {name} is not whole")
            };
            at = item.end;
            assert_eq!(golden[item.start..item.end], *body, "reply {name}");
            let body_bytes = u32::try_from(body.len()).unwrap();
            assert_eq!(item.head, ReplyHead { body_bytes, ..*head }, "reply {name}");
            assert_eq!(item.head.status().map(Status::number), Some(head.status));
        }
        assert!(frames.is_idle() && at == golden.len(), "reply {name}");
        assert_eq!(frames.epoch(), EPOCH);
        count += 1;
    }
    assert_eq!(count, 21);
}

#[test]
fn bodies_are_read_back() {
    let blocks = blocks();
    let body = |name: &str| {
        let golden = &blocks[name];
        let mut frames = Frames::<ReplyHead>::default();
        match frames.next(golden, 0, &FrameLimits::WIDEST) {
            Ok(Next::Item(item)) => golden[item.start..item.end].to_vec(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(Greeting::read(&body("reply hello")), Ok(greeting()));
    assert_eq!(Topology::read(&body("reply topology")), Ok(topology()));
    let found = Some(Found { version: LIFE + 4, value: &b"bar!"[..] });
    assert_eq!(read_values(&body("reply get-many")), Ok(vec![found, None]));
    let token = Token { shard: SHARD, sequence: LIFE + 6 };
    assert_eq!(Token::read_all(&body("reply set-many")), Ok(vec![token]));
    assert_eq!(read_scanned(&body("reply scan")), Ok((0, vec![&b"foo"[..]])));
    let hello = Hello { name: "app".to_owned(), ..Hello::this_version() };
    assert_eq!(Hello::read(&requests("hello")[0].value), Ok(hello));
}

/// A push is a reply frame as well, of an id that no request has.
#[test]
fn a_new_topology_is_pushed_as_the_page_has_it() {
    let golden = &blocks()["push topology"];
    let moved = Topology { epoch: 2, ..topology() };
    let (head, body) = other(
        0,
        Opcode::SubscribeTopology.number() | 0x80,
        Status::Ok,
        written(|out| moved.write(out)),
    );
    let mut encoded = Vec::new();
    ReplyFrame::single(&mut encoded, head, &body, 2);
    assert_eq!(encoded, *golden);
    let mut frames = Frames::<ReplyHead>::default();
    let Ok(Next::Item(item)) = frames.next(golden, 0, &FrameLimits::WIDEST) else {
        panic!("it is not whole")
    };
    assert_eq!((item.head.id, item.head.opcode, frames.epoch()), (0, 0x84, 2));
    assert_eq!(Topology::read(&golden[item.start..item.end]), Ok(moved));
}

#[test]
fn a_wrong_checksum_is_told_from_a_right_one() {
    let mut frames = Frames::<RequestHead>::default();
    let read = frames.next(&blocks()["request bad checksum"], 0, &FrameLimits::WIDEST);
    let error = FrameError::Checksum { expected: 0x6957_335d, found: 0x6957_33a2 };
    assert_eq!(read, Err(error));
    let (_, body) = &replies("bad checksum")[0];
    assert_eq!(error.to_string().as_bytes(), body);
    assert_eq!(error.status(), Status::BadChecksum);
}

#[test]
fn the_page_names_every_opcode_and_status() {
    let (_, operations) = PAGE.split_once("## Operations").unwrap();
    let (operations, _) = operations.split_once("\n## ").unwrap();
    for opcode in Opcode::ALL {
        let row = format!("\n| 0x{:02x} | ", opcode.number());
        assert_eq!(operations.matches(&row).count(), 1, "{opcode:?}");
    }
    let (_, statuses) = PAGE.split_once("## Statuses").unwrap();
    for status in Status::ALL {
        let row = format!("\n| 0x{:02x} | ", status.number());
        assert_eq!(statuses.matches(&row).count(), 1, "{status:?}");
    }
}

/// Moves every sequence in a reply of a server to where it would be if the server had started at
/// [`LIFE`].
fn as_on_the_page(reply: Received, life: u64) -> Received {
    let moved = |sequence: u64| if sequence == 0 { 0 } else { sequence - life + LIFE };
    let Received { mut head, mut body } = reply;
    head.version = moved(head.version);
    match Opcode::from_number(head.opcode) {
        Some(Opcode::GetMany) => {
            let values = read_values(&body).expect("values");
            let mut written = u32::try_from(values.len()).expect("a few").to_le_bytes().to_vec();
            for found in values {
                let found = found.map(|found| Found { version: moved(found.version), ..found });
                write_value(&mut written, found);
            }
            body = written;
        }
        Some(Opcode::SetMany) => {
            let tokens = Token::read_all(&body).expect("tokens");
            body.truncate(4);
            for token in tokens {
                Token { sequence: moved(token.sequence), ..token }.write(&mut body);
            }
        }
        Some(Opcode::Hello) => {
            let mut greeting = Greeting::read(&body).expect("the page is well-formed");
            assert_eq!(greeting.life, life);
            greeting.life = LIFE;
            greeting.client = 3;
            greeting.topology.cores[0].port = 16379;
            body = written(|out| greeting.write(out));
        }
        Some(Opcode::Topology | Opcode::SubscribeTopology) => {
            let mut topology = Topology::read(&body).expect("the page is well-formed");
            topology.cores[0].port = 16379;
            body = written(|out| topology.write(out));
        }
        _ => {}
    }
    head.body_bytes = u32::try_from(body.len()).expect("the page is well-formed");
    Received { head, body }
}

/// A fresh server of one shard, and the page's requests in the page's order. What can't be the same from
/// run to run, the ports, the client's id and where sequences begin, is moved to where the page has it;
/// all else must be the page's bytes.
#[test]
fn a_server_answers_the_pages_requests_with_the_pages_replies() {
    let server = Launch::shards(1).core_ports().binary().start();
    let mut client = BinaryClient::connect(server.binary_address());
    let mut hello = Vec::new();
    Hello::this_version().write(&mut hello);
    let greeting = client.one(harness::binary::Request::plain(Opcode::Hello, "", hello)).ok();
    let life = Greeting::read(&greeting.body).unwrap().life;
    let mut blocks = blocks_in_order();
    // Of what nobody asks for there is no request.
    blocks.retain(|(name, _)| !name.starts_with("push "));
    let mut count = 0;
    for pair in blocks.chunks(2) {
        let [(request, sent), (reply, expected)] = pair else { panic!("a request has a reply") };
        assert_eq!(request.strip_prefix("request "), reply.strip_prefix("reply "));
        client.send_bytes(sent);
        let replies = usize::from(u16::from_le_bytes([expected[2], expected[3]]));
        let got: Vec<Received> =
            (0..replies).map(|_| as_on_the_page(client.next().expect("a reply"), life)).collect();
        assert_eq!(reply_frame(&got, EPOCH), *expected, "{reply}");
        count += 1;
    }
    assert_eq!(count, 21);
    assert_eq!(client.next(), None, "the last one was no frame");
}
