//! The binary protocol over sockets: every operation and every status, however the bytes are cut and
//! wherever the keys are; and what a client that breaks the rules gets, while others notice nothing.

#[path = "../harness/mod.rs"]
mod harness;

mod bursts;
mod clients;
mod cuts;
mod faults;
mod operations;
mod order;

use harness::binary::{BinaryClient, Reply, Request};
use harness::server::{Launch, Server};
use ringmain::protocol::binary::body::ScanStep;
use ringmain::protocol::binary::{Greeting, Hello, Opcode, Status};
use ringmain::types::ShardId;

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
