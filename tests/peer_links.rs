//! Links between nodes without their sockets: the bytes of `docs/peer-protocol.md`, and what becomes of bytes
//! that somebody has changed, repeated, left out or made up.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::BytesMut;
use ringmain::limits::{LINK_FIRST_FRAME_BYTES_MAX, LINK_FRAME_BYTES_MAX};
use ringmain::replica::link::{
    Announcement, ClusterSecret, Dialing, Farewell, FrameReader, FrameWriter, HELLO_BYTES, Hello,
    Item, LinkFault, News, NodeEntry, NodeList, NodePlace, Nonce, Purpose, farewell, hello_nonce,
    welcome,
};
use ringmain::replica::{Body, Fault, ShardMessage, SnapshotContent, SnapshotPiece};
use ringmain::types::{CoreId, LogIndex, NodeId, ShardId, Term};

mod harness;
#[path = "feed/peer.rs"]
mod peer;

use harness::random::Random;
use peer::{block, check_news, check_nodes};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

fn secret() -> ClusterSecret {
    ClusterSecret::new(b"0123456789abcdef0123456789abcdef")
}

fn nonce(first: u8) -> Nonce {
    std::array::from_fn(|at| first + u8::try_from(at).unwrap())
}

fn announcement() -> Announcement {
    Announcement {
        incarnation: 0x1122_3344_5566_7788,
        port: 6380,
        cluster_port: 26_380,
        cores: 2,
        core_ports: vec![16_380, 16_381],
        owners: [0, 0, 1].map(CoreId).to_vec(),
    }
}

fn dialing() -> Dialing {
    Dialing::new(&secret(), (ONE, CoreId(1)), TWO, nonce(0))
}

fn synced(index: u64) -> ShardMessage {
    let body = Body::Synced { term: Term(7), index: LogIndex(index) };
    ShardMessage { shard: ShardId(3), body }
}

/// A part of a snapshot.
fn part(length: usize) -> ShardMessage {
    let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let content = SnapshotContent::Part(bytes.into());
    let piece = SnapshotPiece { term: Term(7), number: 1, place: 0, content };
    ShardMessage { shard: ShardId(3), body: Body::Snapshot(piece) }
}

/// Both ends of a link from node 1 to node 2; the acceptor's nonce begins with `second`.
fn link(second: u8) -> (FrameWriter, FrameReader) {
    let dialing = dialing();
    let hello = Hello::read(&secret(), TWO, &dialing.hello()).unwrap().unwrap();
    let mut answer = Vec::new();
    let reader = welcome(&secret(), (TWO, &hello), nonce(second), &announcement(), &mut answer);
    let welcomed = dialing.read(&answer).unwrap().unwrap();
    assert_eq!(welcomed.length, answer.len());
    (welcomed.writer, reader)
}

fn frames(writer: &mut FrameWriter) -> Vec<u8> {
    let mut bytes = Vec::new();
    writer.take(&mut bytes);
    bytes
}

/// All items, however the bytes are cut.
fn items(reader: &mut FrameReader, bytes: &[u8], cut: usize) -> Result<Vec<Item>, LinkFault> {
    let (mut input, mut items) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(cut) {
        input.extend_from_slice(piece);
        while let Some(item) = reader.next(&mut input)? {
            items.push(item);
        }
    }
    assert!(input.is_empty());
    Ok(items)
}

#[test]
fn a_link_is_the_bytes_of_the_page() {
    let dialing = dialing();
    assert_eq!(dialing.hello()[..], block("hello"));
    let hello = Hello::read(&secret(), TWO, &block("hello")).unwrap().unwrap();
    assert_eq!((hello.from(), hello.core()), (ONE, CoreId(1)));
    let mut answer = Vec::new();
    let mut reader = welcome(&secret(), (TWO, &hello), nonce(32), &announcement(), &mut answer);
    assert_eq!(answer, block("welcome"));
    let mut welcomed = dialing.read(&answer).unwrap().unwrap();
    assert_eq!(welcomed.announcement, announcement());
    welcomed.writer.message(&synced(42));
    let mut sent = frames(&mut welcomed.writer);
    welcomed.writer.ping();
    sent.extend(frames(&mut welcomed.writer));
    assert_eq!(sent, block("frames"));
    assert_eq!(items(&mut reader, &sent, 1000), Ok(vec![Item::Message(synced(42))]));
    assert_eq!(secret().node_name(TWO), "ed653b1da07a1d6373273848d456ae2310e09e55");
}

/// What carries a client's commands begins as a link does, and says what it is for; behind one empty frame come
/// bytes that are no frames.
#[test]
fn what_is_no_link_says_so() {
    let dialing = || dialing().with_purpose(Purpose::Commands);
    assert_eq!(dialing().hello()[..], block("hello-commands"));
    let hello = Hello::read(&secret(), TWO, &block("hello-commands")).unwrap().unwrap();
    assert_eq!((hello.from(), hello.purpose()), (ONE, Purpose::Commands));
    let link = Hello::read(&secret(), TWO, &block("hello")).unwrap().unwrap();
    assert_eq!(link.purpose(), Purpose::Messages);
    // One can't be made the other.
    let mut changed = block("hello");
    changed[12] = 1;
    assert_eq!(Hello::read(&secret(), TWO, &changed), Err(LinkFault::Code));
    changed[12] = 2;
    assert_eq!(Hello::read(&secret(), TWO, &changed), Err(LinkFault::Magic));
    let mut answer = Vec::new();
    welcome(&secret(), (TWO, &link), nonce(32), &announcement(), &mut answer);
    assert_eq!(dialing().read(&answer).unwrap_err(), LinkFault::Magic);

    let begin = || {
        let mut answer = Vec::new();
        let reader = welcome(&secret(), (TWO, &hello), nonce(32), &announcement(), &mut answer);
        (dialing().read(&answer).unwrap().unwrap().writer, reader)
    };
    let (mut writer, mut reader) = begin();
    writer.ping();
    let frame = frames(&mut writer);
    let mut input = BytesMut::new();
    for byte in &frame {
        assert_eq!(reader.confirm(&mut input), Ok(false));
        input.extend_from_slice(&[*byte]);
    }
    input.extend_from_slice(b"PING\r\n");
    assert_eq!(reader.confirm(&mut input), Ok(true));
    assert_eq!(&input[..], b"PING\r\n");
    // A frame with something in it is none, nor is one that somebody else has made.
    let (mut writer, mut reader) = begin();
    writer.message(&synced(1));
    let mut input = BytesMut::from(&frames(&mut writer)[..]);
    assert!(matches!(reader.confirm(&mut input), Err(LinkFault::Length(_))));
    let (_, mut reader) = begin();
    let mut changed = BytesMut::from(&frame[..]);
    changed[4] ^= 1;
    assert_eq!(reader.confirm(&mut changed), Err(LinkFault::Code));
}

#[test]
fn what_was_said_comes_whole_and_in_order_however_it_is_cut() {
    const MOST: usize = LINK_FRAME_BYTES_MAX;
    let long = [1, 100_000, MOST - 60, MOST - 33, MOST - 32, MOST, 3 * MOST + 1].map(part);
    for cut in [997, 16_384, 5_000_000] {
        let (mut writer, mut reader) = link(32);
        writer.announcement(&announcement());
        let mut expected = vec![Item::Announcement(announcement())];
        for (index, long) in (1..).zip(&long) {
            for message in [synced(index), long.clone(), synced(index + 100)] {
                writer.message(&message);
                expected.push(Item::Message(message));
            }
        }
        assert!(!reader.is_confirmed());
        let mut sent = frames(&mut writer);
        writer.ping();
        writer.message(&synced(1000));
        writer.ping();
        sent.extend(frames(&mut writer));
        expected.push(Item::Message(synced(1000)));
        assert!(writer.is_empty());
        let read = items(&mut reader, &sent, cut).unwrap();
        assert!(read == expected, "cut every {cut} bytes");
        assert!(reader.is_confirmed());
        assert_eq!(reader.memory_bytes(), 0);
    }
}

#[test]
fn who_does_not_know_the_secret_gets_no_link() {
    let other = ClusterSecret::new(b"another secret of thirty-two byte");
    let stranger = Dialing::new(&other, (ONE, CoreId(1)), TWO, nonce(0));
    let heard = Hello::read(&secret(), TWO, &stranger.hello());
    assert_eq!(heard, Err(LinkFault::Code));
    // Nor does it learn more than that it is not known; and nobody can pretend to be the node that was dialed.
    let hello = Hello::read(&other, TWO, &stranger.hello()).unwrap().unwrap();
    let mut answer = Vec::new();
    welcome(&other, (TWO, &hello), nonce(32), &announcement(), &mut answer);
    assert_eq!(dialing().read(&answer).err(), Some(LinkFault::Code));
}

#[test]
fn a_link_is_between_the_nodes_it_was_meant_for() {
    let (hello, wrong) = (dialing().hello(), |from, to| Err(LinkFault::Node { from, to }));
    // To somebody else, and back to who sent it.
    assert_eq!(Hello::read(&secret(), NodeId(3), &hello), wrong(1, 2));
    assert_eq!(Hello::read(&secret(), ONE, &hello), wrong(1, 2));
    for (from, to) in [(0, 2), (2, 2)] {
        let odd = Dialing::new(&secret(), (NodeId(from), CoreId(0)), NodeId(to), nonce(0));
        assert_eq!(Hello::read(&secret(), TWO, &odd.hello()), wrong(from, to));
    }
    // Node 3 answers in place of node 2.
    let third = Dialing::new(&secret(), (ONE, CoreId(1)), NodeId(3), nonce(0));
    let hello = Hello::read(&secret(), NodeId(3), &third.hello()).unwrap().unwrap();
    let mut answer = Vec::new();
    welcome(&secret(), (NodeId(3), &hello), nonce(32), &announcement(), &mut answer);
    assert_eq!(dialing().read(&answer).err(), Some(LinkFault::Node { from: 3, to: 1 }));
}

#[test]
fn what_was_recorded_is_worth_nothing_on_another_link() {
    let (mut writer, _) = link(32);
    writer.message(&synced(1));
    let recorded = frames(&mut writer);
    // The same hello once more, answered with another nonce: the link is not confirmed.
    let (_, mut reader) = link(33);
    assert_eq!(items(&mut reader, &recorded, 1000), Err(LinkFault::Code));
    assert!(!reader.is_confirmed());
    // An answer that belongs to another hello.
    let again = Dialing::new(&secret(), (ONE, CoreId(1)), TWO, nonce(1));
    assert_eq!(again.read(&block("welcome")).err(), Some(LinkFault::Code));
}

#[test]
fn frames_can_not_be_changed_left_out_repeated_or_moved() {
    let sent: Vec<Vec<u8>> = {
        let (mut writer, _) = link(32);
        let one = |index| {
            writer.message(&synced(index));
            frames(&mut writer)
        };
        (1..4).map(one).collect()
    };
    let read = |bytes: Vec<u8>| items(&mut link(32).1, &bytes, 1000);
    let (one, two, three) = (&sent[0], &sent[1], &sent[2]);
    assert_eq!(read([&one[..], two, three].concat()).unwrap().len(), 3);
    for order in [[one, one, two], [one, three, two], [two, one, three], [one, two, two]] {
        assert_eq!(read(order.map(|frame| &frame[..]).concat()), Err(LinkFault::Code));
    }
    // The length is the first four bytes: with another one, more is waited for, or the code is elsewhere.
    for at in 4..one.len() {
        let mut changed = one.clone();
        changed[at] ^= 1;
        assert_eq!(read(changed), Err(LinkFault::Code), "byte {at}");
    }
    // Who has not shown that he is there can't have much kept for him; nobody can for ever.
    let (mut writer, mut reader) = link(32);
    let says = |length: usize| BytesMut::from(&u32::try_from(length).unwrap().to_le_bytes()[..]);
    let first = LINK_FIRST_FRAME_BYTES_MAX + 1;
    assert_eq!(reader.next(&mut says(first)), Err(LinkFault::Length(first as u64)));
    writer.ping();
    items(&mut reader, &frames(&mut writer), 1000).unwrap();
    assert_eq!(reader.next(&mut says(first)), Ok(None));
    let most = LINK_FRAME_BYTES_MAX + 1;
    assert_eq!(reader.next(&mut says(most)), Err(LinkFault::Length(most as u64)));
}

#[test]
fn every_byte_of_hello_and_welcome_counts() {
    let hello = block("hello");
    for at in 0..hello.len() {
        let mut changed = hello.clone();
        changed[at] ^= 0x40;
        assert!(Hello::read(&secret(), TWO, &changed).is_err(), "byte {at}");
        assert_eq!(Hello::read(&secret(), TWO, &hello[..at]), Ok(None), "{at} bytes");
    }
    let answer = block("welcome");
    for at in 0..answer.len() {
        let mut changed = answer.clone();
        changed[at] ^= 1;
        let result = dialing().read(&changed);
        // A greater length waits for bytes that never come.
        assert!(result.is_err() || matches!(result, Ok(None) if (10..12).contains(&at)), "{at}");
        assert!(dialing().read(&answer[..at]).unwrap().is_none(), "{at} bytes");
    }
}

/// It is known by its first bytes, whatever follows has come to mean.
#[test]
fn another_version_is_none_of_ours() {
    for version in [0u16, 1, 2, 4, u16::MAX] {
        let of_version = |name| {
            let mut bytes = block(name);
            bytes[8..10].copy_from_slice(&version.to_le_bytes());
            bytes
        };
        let refused = LinkFault::Version(version);
        assert_eq!(Hello::read(&secret(), TWO, &of_version("hello")), Err(refused));
        assert_eq!(dialing().read(&of_version("welcome")).err(), Some(refused));
    }
    let words = LinkFault::Version(1).to_string();
    assert!(
        words.starts_with("it speaks version 1 of the protocol, this node version 3"),
        "{words}"
    );
}

#[test]
fn announcements_come_as_they_went() {
    let without_ports = Announcement { core_ports: Vec::new(), ..announcement() };
    let large =
        Announcement { cores: 1024, owners: vec![CoreId(1023); 1024], ..without_ports.clone() };
    for announcement in [announcement(), without_ports, large] {
        let (mut writer, mut reader) = link(32);
        writer.announcement(&announcement);
        let read = items(&mut reader, &frames(&mut writer), 1000);
        assert_eq!(read, Ok(vec![Item::Announcement(announcement)]));
    }
}

/// Node 2 is known, node 7 was removed, node 2 leads the only shard, and is heard from.
fn node_list() -> NodeList {
    let place = NodePlace { host: "10.0.0.2".to_owned(), port: 6380, link_port: 26_380 };
    let entry = |id, version, place| NodeEntry { id: NodeId(id), version, place };
    let nodes = vec![entry(2, 5, Some(place)), entry(7, 3, None)];
    NodeList { nodes, leaders: vec![(Term(4), TWO)], heard: vec![TWO] }
}

#[test]
fn lists_of_nodes_come_as_they_went() {
    assert_eq!(check_nodes(&block("nodes")), Ok(node_list()));
    let (mut writer, mut reader) = link(32);
    let long = NodeList {
        nodes: (1..=1024)
            .map(|id| NodeEntry { id: NodeId(id), version: id, place: None })
            .collect(),
        leaders: vec![(Term(1), NodeId(0)); 1024],
        heard: (1..=128).map(NodeId).collect(),
    };
    let lists = [node_list(), NodeList::default(), long];
    writer.announcement(&announcement());
    lists.iter().for_each(|list| writer.nodes(list));
    let read = items(&mut reader, &frames(&mut writer), 1000).unwrap();
    assert_eq!(read[1..], lists.map(Item::Nodes));
}

#[test]
fn lists_that_can_not_be_are_refused() {
    let good = block("nodes");
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = good.clone();
        change(&mut changed);
        assert_eq!(check_nodes(&changed), Err(Fault::Field), "{changed:?}");
    };
    for at in 0..good.len() {
        assert!(check_nodes(&good[..at]).is_err(), "{at} bytes");
    }
    let host = 6 + 22;
    let second = host + 8;
    for (at, byte) in [
        (6, 0),                  // node 0
        (6, 7),                  // the same node twice
        (6, 9),                  // not in order
        (14 + 7, 0x80),          // a version beyond all
        (host, b' '),            // no name of a host
        (host, 0xff),            // no text
        (second + 16, 1),        // a port of a node that was removed
        (good.len() - 17, 0x80), // a term beyond all
        (good.len() - 9, 1),     // a leader beyond all
        (good.len() - 8, 0),     // node 0 is heard from
        (good.len() - 1, 1),     // a node beyond all is
    ] {
        refused(&|changed| changed[at] = byte);
    }
    for (also, count) in [(2, 2), (1, 2)] {
        refused(&|changed| {
            changed[4] = count;
            changed.extend(u64::to_le_bytes(also));
        });
    }
    // More than there can be, one behind the other.
    refused(&|changed| {
        changed[4] = 129;
        changed.extend((3..=130).flat_map(u64::to_le_bytes));
    });
    let mut random = Random::new(2);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=random.index(4) {
            let (at, byte) = (random.index(bytes.len()), random.bytes(1)[0]);
            bytes[at] = byte;
        }
        let _ = check_nodes(&bytes);
    }
}

#[test]
fn what_is_published_comes_as_it_went() {
    let bytes = |bytes: &'static [u8]| bytes::Bytes::from_static(bytes);
    let news = News { channel: bytes(b"news"), text: bytes(b"hello\r\n") };
    assert_eq!(check_news(&block("news")), Ok(news.clone()));
    let long = News {
        channel: vec![b'c'; LINK_FRAME_BYTES_MAX].into(),
        text: vec![b't'; 2 * LINK_FRAME_BYTES_MAX].into(),
    };
    let all = [news, News { channel: bytes(b""), text: bytes(b"") }, long];
    let (mut writer, mut reader) = link(32);
    writer.announcement(&announcement());
    for News { channel, text } in &all {
        writer.news(channel, text);
        writer.shard_news(channel, text);
    }
    let read = items(&mut reader, &frames(&mut writer), 100_000).unwrap();
    let both = |news: News| [Item::News(news.clone()), Item::ShardNews(news)];
    assert!(read[1..] == all.map(both).concat());
    // A channel that is longer than all of it, and one without a length.
    for bad in [&[1, 0, 0, 0][..], &[5, 0, 0, 0, 1, 2, 3, 4], &[255; 9], &[0; 3], &[]] {
        assert_eq!(check_news(bad), Err(Fault::Length), "{bad:?}");
    }
}

#[test]
fn who_is_there_can_be_found_out() {
    let dialing = Dialing::new(&secret(), (ONE, CoreId(0)), NodeId(0), nonce(0));
    let hello = Hello::read(&secret(), TWO, &dialing.hello()).unwrap().unwrap();
    assert!(hello.is_to_anyone());
    let mut answer = Vec::new();
    welcome(&secret(), (TWO, &hello), nonce(32), &announcement(), &mut answer);
    let welcomed = dialing.read(&answer).unwrap().unwrap();
    assert_eq!((welcomed.from, welcomed.announcement), (TWO, announcement()));
    // Not by who has another secret, nor by who says that he is this node, or none.
    let other = ClusterSecret::new(b"another secret of thirty-two byte");
    let hello = Hello::read(&secret(), TWO, &dialing.hello()).unwrap().unwrap();
    let mut answer = Vec::new();
    welcome(&other, (TWO, &hello), nonce(32), &announcement(), &mut answer);
    assert_eq!(dialing.read(&answer).err(), Some(LinkFault::Code));
    for from in [0, 1] {
        let mut answer = Vec::new();
        welcome(&secret(), (NodeId(from), &hello), nonce(32), &announcement(), &mut answer);
        assert_eq!(dialing.read(&answer).err(), Some(LinkFault::Node { from, to: 1 }));
    }
    assert_eq!(
        Hello::read(&secret(), ONE, &dialing.hello()),
        Err(LinkFault::Node { from: 1, to: 0 })
    );
}

#[test]
fn who_is_not_let_in_is_told_why_by_who_knows_the_secret() {
    let dialing = dialing();
    let hello = Hello::read(&secret(), TWO, &dialing.hello()).unwrap().unwrap();
    for (why, name, fault) in [
        (Farewell::Removed, "farewell", LinkFault::Removed),
        (Farewell::Double, "farewell-double", LinkFault::Double),
    ] {
        let mut answer = Vec::new();
        farewell(&secret(), (TWO, &hello), nonce(32), why, &mut answer);
        assert_eq!(answer, block(name));
        assert_eq!(dialing.read(&answer).err(), Some(fault));
        for at in 10..answer.len() {
            let mut changed = answer.clone();
            changed[at] ^= 1;
            assert_ne!(dialing.read(&changed).err(), Some(fault), "byte {at}");
        }
    }
}

#[test]
fn a_hello_says_which_start_of_the_node_it_is() {
    let said = hello_nonce(0x0706_0504_0302_0100, [9; 32]);
    let dialing = Dialing::new(&secret(), (ONE, CoreId(1)), TWO, said);
    let hello = Hello::read(&secret(), TWO, &dialing.hello()).unwrap().unwrap();
    assert_eq!(hello.incarnation(), 0x0706_0504_0302_0100);
    let hello = Hello::read(&secret(), TWO, &block("hello")).unwrap().unwrap();
    assert_eq!(hello.incarnation(), 0x0706_0504_0302_0100);
    assert_eq!(said[8..], [9; 24]);
}

#[test]
fn any_bytes_are_refused_without_a_panic() {
    let mut random = Random::new(1);
    for _ in 0..20_000 {
        let mut bytes = match random.index(3) {
            0 => block("hello"),
            1 => block("welcome"),
            _ => block("frames"),
        };
        for _ in 0..random.index(4) {
            let (at, byte) = (random.index(bytes.len()), random.bytes(1)[0]);
            bytes[at] = byte;
        }
        bytes.truncate(random.index(bytes.len()) + 1);
        let _ = Hello::read(&secret(), TWO, &bytes);
        let _ = dialing().read(&bytes);
        let mut input = BytesMut::from(&bytes[..]);
        let mut reader = link(32).1;
        while let Ok(Some(_)) = reader.next(&mut input) {}
    }
    assert_eq!(HELLO_BYTES, block("hello").len());
}
