//! What a message between nodes costs without its socket: encoded, put into a frame with its code, checked, cut
//! out and decoded again.
//!
//! `cargo bench --bench links`

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use raft::eraftpb::{Entry, Message, MessageType};
use ringmain::replica::link::{
    Announcement, ClusterSecret, Dialing, FrameReader, FrameWriter, Hello, Item, welcome,
};
use ringmain::replica::{Body, ShardMessage};
use ringmain::types::{CoreId, NodeId, ShardId};

/// Both ends of a link.
fn link() -> (FrameWriter, FrameReader) {
    let secret = ClusterSecret::new(&[1; 32]);
    let (one, two) = (NodeId(1), NodeId(2));
    let dialing = Dialing::new(&secret, (one, CoreId(0)), two, [2; 32]);
    let hello = Hello::read(&secret, two, &dialing.hello()).expect("a hello").expect("all of it");
    let own = Announcement {
        incarnation: 1,
        port: 1,
        cluster_port: 2,
        cores: 1,
        core_ports: Vec::new(),
        owners: vec![CoreId(0)],
    };
    let mut answer = Vec::new();
    let mut reader = welcome(&secret, (two, &hello), [3; 32], &own, &mut answer);
    let mut writer = dialing.read(&answer).expect("a welcome").expect("all of it").writer;
    let mut sent = Vec::new();
    // The first frame may not be long.
    writer.announcement(&own);
    writer.take(&mut sent);
    let told = reader.next(&mut BytesMut::from(&sent[..]));
    assert_eq!(told, Ok(Some(Item::Announcement(own))));
    (writer, reader)
}

fn message(kind: MessageType, data: Option<usize>) -> ShardMessage {
    let mut message = Message::new();
    (message.msg_type, message.from, message.to, message.term) = (kind, 1, 2, 7);
    let entries = data.map(|length| {
        let mut entry = Entry::new();
        (entry.index, entry.term, entry.data) = (1, 7, Bytes::from(vec![9; length]));
        entry
    });
    message.entries = entries.into_iter().collect::<Vec<_>>().into();
    ShardMessage { shard: ShardId(0), body: Body::Raft(Box::new(message)) }
}

fn links(c: &mut Criterion) {
    let mut group = c.benchmark_group("links");
    for (name, messages, length) in [
        ("one heartbeat", vec![message(MessageType::MsgHeartbeat, None)], 0),
        ("16 heartbeats", vec![message(MessageType::MsgHeartbeat, None); 16], 0),
        ("an entry of 6 KiB", vec![message(MessageType::MsgAppend, Some(6 << 10))], 6 << 10),
        ("an entry of 128 KiB", vec![message(MessageType::MsgAppend, Some(1 << 17))], 1 << 17),
        ("an entry of 1 MiB", vec![message(MessageType::MsgAppend, Some(1 << 20))], 1 << 20),
    ] {
        if length > 0 {
            group.throughput(Throughput::Bytes(length));
        }
        let (mut writer, mut reader) = link();
        let (mut sent, mut input) = (Vec::new(), BytesMut::new());
        let id = |what: &str| format!("{name}, {what}");
        group.bench_function(id("sent and received"), |bencher| {
            bencher.iter(|| {
                messages.iter().for_each(|message| writer.message(message));
                writer.take(&mut sent);
                input.extend_from_slice(&sent);
                while let Some(item) = reader.next(&mut input).expect("a frame") {
                    assert!(matches!(black_box(item), Item::Message(_)));
                }
            });
        });
        let (mut writer, _) = link();
        group.bench_function(id("sent"), |bencher| {
            bencher.iter(|| {
                messages.iter().for_each(|message| writer.message(message));
                writer.take(&mut sent);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, links);
criterion_main!(benches);
