//! Links between nodes as a stranger, a broken node and an operator meet them: real servers, and a node that
//! the test plays itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ringmain::replica::link::{
    Announcement, ClusterSecret, Dialing, FrameReader, FrameWriter, HELLO_BYTES, Hello, Item,
    hello_nonce, welcome,
};
use ringmain::replica::{Body, ShardMessage};
use ringmain::types::{CoreId, LogIndex, NodeId, ShardId, Term};

mod harness;

use harness::nodes::{Nodes, SECRET};
use harness::server::Server;
use harness::{PATIENCE, wait_until};

const SHARDS: u16 = 3;

/// How many lines of `CLUSTER NODES` say that a node is not linked to, and how many there are.
fn disconnected(server: &Server) -> (usize, usize) {
    let text = server.client().words("CLUSTER NODES").text();
    (text.matches(" disconnected").count(), text.lines().count())
}

fn wait_until_linked(nodes: &mut Nodes, ids: &[usize]) {
    // Who was never heard of is not missed either.
    let ports: Vec<u16> = ids.iter().map(|id| nodes.port(*id)).collect();
    for id in ids {
        wait_until("a node is linked to all others", || {
            let text = nodes.server(*id).client().words("CLUSTER NODES").text();
            let knows =
                |port: &u16| (*port..port + 3).any(|port| text.contains(&format!(":{port}@")));
            ports.iter().all(knows) && !text.contains(" disconnected")
        });
    }
}

/// A node that the test plays: another's end of a link is talked to in bytes.
struct Played {
    secret: ClusterSecret,
    id: NodeId,
}

impl Played {
    fn node(id: u64) -> Self {
        Self { secret: ClusterSecret::new(SECRET), id: NodeId(id) }
    }

    fn hello(&self) -> Dialing {
        Dialing::new(&self.secret, (self.id, CoreId(0)), NodeId(1), hello_nonce(1, [7; 32]))
    }

    /// What it says of itself.
    fn announcement(shards: u16) -> Announcement {
        Announcement {
            incarnation: 1,
            port: 1,
            cluster_port: 1,
            cores: 1,
            core_ports: vec![2],
            owners: vec![CoreId(0); shards.into()],
        }
    }

    /// A link to node 1, before the first frame.
    fn dial(&self, address: SocketAddr) -> (TcpStream, FrameWriter) {
        let (mut stream, dialing) = (connect(address), self.hello());
        stream.write_all(&dialing.hello()).unwrap();
        let (mut answer, mut some) = (Vec::new(), [0; 1000]);
        loop {
            if let Some(welcomed) = dialing.read(&answer).unwrap() {
                assert_eq!(welcomed.announcement.shards(), usize::from(SHARDS));
                return (stream, welcomed.writer);
            }
            let count = stream.read(&mut some).unwrap();
            assert!(count > 0, "the link is closed after {} bytes", answer.len());
            answer.extend_from_slice(&some[..count]);
        }
    }

    /// Takes a link, as who is there under this node's id.
    fn accept(&self, listener: &TcpListener) -> (TcpStream, FrameReader) {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = [0; HELLO_BYTES];
        stream.read_exact(&mut bytes).unwrap();
        let hello = Hello::read(&ClusterSecret::new(SECRET), self.id, &bytes).unwrap().unwrap();
        assert_eq!(hello.from(), NodeId(1));
        let mut answer = Vec::new();
        let own = Self::announcement(SHARDS);
        let reader = welcome(&self.secret, (self.id, &hello), [8; 32], &own, &mut answer);
        stream.write_all(&answer).unwrap();
        (stream, reader)
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Waits until the other side has closed.
fn wait_for_end(mut stream: TcpStream) {
    let mut some = [0; 1000];
    loop {
        match stream.read(&mut some) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the link is not closed: {error}"),
        }
    }
}

/// Frames with what `add` adds.
fn frames(writer: &mut FrameWriter, add: impl FnOnce(&mut FrameWriter)) -> Vec<u8> {
    let mut bytes = Vec::new();
    add(writer);
    writer.take(&mut bytes);
    bytes
}

fn synced(shard: u16) -> ShardMessage {
    ShardMessage { shard: ShardId(shard), body: Body::Synced { term: Term(0), index: LogIndex(0) } }
}

#[test]
fn nodes_find_each_other_however_they_come_and_go() {
    // A name may stand for an address at which nobody is: the next one is tried.
    let mut nodes = Nodes::new(3, SHARDS, &["127.0.0.1", "localhost"]);
    nodes.start_all();
    wait_until_linked(&mut nodes, &[1, 2, 3]);
    nodes.server(2).kill();
    for id in [1, 3] {
        wait_until("who is gone is missed", || disconnected(nodes.server(id)).0 > 0);
        let (missed, all) = disconnected(nodes.server(id));
        assert!(missed < all, "{missed} of {all}");
    }
    nodes.start(2);
    wait_until_linked(&mut nodes, &[1, 2, 3]);
    // One that is stopped keeps its connections, and says nothing.
    nodes.server(3).signal("STOP");
    for id in [1, 2] {
        wait_until("who is frozen is missed", || disconnected(nodes.server(id)).0 > 0);
    }
    nodes.server(3).signal("CONT");
    wait_until_linked(&mut nodes, &[1, 2, 3]);
}

#[test]
fn who_is_no_node_of_the_cluster_is_cut_off_and_nobody_else_notices() {
    let mut nodes = Nodes::new(2, SHARDS, &["127.0.0.1"]);
    nodes.start_all();
    wait_until_linked(&mut nodes, &[1, 2]);
    let address = nodes.link_address(1, 0);
    let send = |bytes: &[u8]| {
        let mut stream = connect(address);
        stream.write_all(bytes).unwrap();
        stream
    };
    let other = Played { secret: ClusterSecret::new(&[1; 32]), id: NodeId(2) };
    let hello = Played::node(2).hello().hello();
    let silent: Vec<TcpStream> = (0..100).map(|_| connect(address)).collect();
    for (what, stream) in [
        ("another protocol", send(b"GET / HTTP/1.1\r\n\r\n")),
        ("RESP", send(b"*1\r\n$4\r\nPING\r\n")),
        ("another secret", send(&other.hello().hello())),
        // A node that is not known is taken in only when it has shown that it is there.
        ("a node that is not known", send(&Played::node(9).hello().hello())),
        ("this node itself", send(&Played::node(1).hello().hello())),
        ("half a hello", send(&hello[..40])),
        ("a hello and nothing more", send(&hello)),
        ("nothing", send(b"")),
        // Who has recorded a hello can't know the key of the frames.
        ("a hello and a frame of no link", send(&[&hello[..], &[0; 20]].concat())),
        ("a hello and a long frame", send(&[&hello[..], &[0xff; 2000]].concat())),
    ] {
        let begun = Instant::now();
        wait_for_end(stream);
        assert!(begun.elapsed() < PATIENCE, "{what}");
    }
    silent.into_iter().for_each(wait_for_end);
    assert_eq!(disconnected(nodes.server(1)).0, 0);
    for reason in ["is not this protocol", "authentication code is wrong", "took too long"] {
        wait_until(reason, || nodes.server(1).output().contains(reason));
    }
}

/// Both who dials and who is dialed say so in their logs: an operator has forgotten a node.
#[test]
fn a_node_of_another_version_is_refused() {
    let mut nodes = Nodes::new(2, SHARDS, &["127.0.0.1"]);
    let listener = TcpListener::bind(nodes.link_address(2, 0)).unwrap();
    nodes.start(1);
    let mut hello = Played::node(2).hello().hello();
    hello[8..10].copy_from_slice(&1u16.to_le_bytes());
    let mut stream = connect(nodes.link_address(1, 0));
    stream.write_all(&hello).unwrap();
    wait_for_end(stream);
    let (mut stream, _) = listener.accept().unwrap();
    // A welcome begins as a hello does.
    stream.write_all(&hello).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    wait_for_end(stream);
    let words = "it speaks version 1 of the protocol, this node version 3: run the same version";
    for begins in ["a link from 127.0.0.1:", "node 2 can't be linked to at "] {
        wait_until(begins, || {
            let output = nodes.server(1).output();
            output.lines().any(|line| line.contains(begins) && line.contains(words))
        });
    }
}

#[test]
fn a_node_that_says_what_can_not_be_is_cut_off() {
    // Node 2 is played, so that nothing else speaks for it.
    let mut nodes = Nodes::new(2, SHARDS, &["127.0.0.1"]);
    nodes.start(1);
    let (node, address) = (Played::node(2), nodes.link_address(1, 0));
    let own = Played::announcement(SHARDS);
    type Add<'a> = Box<dyn FnOnce(&mut FrameWriter) + 'a>;
    let rows: [(&str, Add<'_>); 4] = [
        ("a message before it has told of itself", Box::new(|to| to.message(&synced(0)))),
        (
            "another number of shards",
            Box::new(|to| to.announcement(&Played::announcement(SHARDS + 1))),
        ),
        ("news before it has told of itself", Box::new(|to| to.news(b"channel", b"text"))),
        (
            "a shard that is not there",
            Box::new(|to| {
                to.announcement(&own);
                to.message(&synced(SHARDS));
            }),
        ),
    ];
    for (what, add) in rows {
        let (mut stream, mut writer) = node.dial(address);
        stream.write_all(&frames(&mut writer, add)).unwrap();
        wait_for_end(stream);
        println!("cut off: {what}");
    }
    for change in [4, 30] {
        let (mut stream, mut writer) = node.dial(address);
        stream.write_all(&frames(&mut writer, |to| to.announcement(&own))).unwrap();
        let mut bytes = frames(&mut writer, |to| to.message(&synced(0)));
        bytes[change] ^= 1;
        stream.write_all(&bytes).unwrap();
        wait_for_end(stream);
    }
    let reason = "node 2 has 4 shards and this one 3";
    wait_until(reason, || nodes.server(1).output().contains(reason));
    // One that says what can be stays, and is there as long as it is heard from.
    let (mut stream, mut writer) = node.dial(address);
    stream.write_all(&frames(&mut writer, |to| to.announcement(&own))).unwrap();
    wait_until("node 2 is up", || disconnected(nodes.server(1)).0 == 0);
    let (mut newer, mut newer_writer) = node.dial(address);
    newer.write_all(&frames(&mut newer_writer, |to| to.announcement(&own))).unwrap();
    // A second link from the same core takes the place of the first.
    wait_for_end(stream);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        newer.write_all(&frames(&mut newer_writer, FrameWriter::ping)).unwrap();
        assert_eq!(disconnected(nodes.server(1)).0, 0);
        std::thread::sleep(Duration::from_millis(200));
    }
    // Silence is the end of it.
    wait_for_end(newer);
    wait_until("node 2 is missed", || disconnected(nodes.server(1)).0 > 0);
}

#[test]
fn a_node_dials_until_the_right_one_answers() {
    let mut nodes = Nodes::new(2, 1, &["127.0.0.1"]);
    let listener = TcpListener::bind(nodes.link_address(2, 0)).unwrap();
    nodes.start(1);
    // Another with the same address gets nothing but a hello.
    let impostor = Played { secret: ClusterSecret::new(&[1; 32]), id: NodeId(2) };
    wait_for_end(impostor.accept(&listener).0);
    // Nor does one that has another number of shards than the cluster.
    let node = Played::node(2);
    wait_for_end(node.accept(&listener).0);
    for reason in ["authentication code is wrong", "node 2 has 3 shards and this one 1"] {
        wait_until(reason, || nodes.server(1).output().contains(reason));
    }

    let mut nodes = Nodes::new(2, SHARDS, &["127.0.0.1"]);
    let listener = TcpListener::bind(nodes.link_address(2, 0)).unwrap();
    nodes.start(1);
    for _ in 0..2 {
        let (mut stream, mut reader) = node.accept(&listener);
        let mut input = BytesMut::new();
        let mut next = || loop {
            if let Some(item) = reader.next(&mut input).unwrap() {
                return item;
            }
            let mut some = [0; 1000];
            let count = stream.read(&mut some).unwrap();
            assert!(count > 0, "the link is closed");
            input.extend_from_slice(&some[..count]);
        };
        let Item::Announcement(told) = next() else { panic!("it does not tell of itself") };
        assert_eq!((told.port, told.shards()), (nodes.server(1).port(), usize::from(SHARDS)));
        // It wants to lead, and so has something to say. Its first core tells of all nodes before.
        let message = loop {
            match next() {
                Item::Message(message) => break message,
                Item::Nodes(list) => {
                    let known: Vec<u64> = list.nodes.iter().map(|entry| entry.id.0).collect();
                    assert_eq!((known, list.leaders.len()), (vec![1, 2], usize::from(SHARDS)));
                }
                Item::Announcement(told) => panic!("{told:?}"),
                Item::News(news) | Item::ShardNews(news) => panic!("{news:?}"),
            }
        };
        assert!(message.is_between(NodeId(1), NodeId(2)), "{message:?}");
        // Nothing is said in this direction: it hangs up, and dials again.
        stream.write_all(b"?").unwrap();
        wait_for_end(stream);
    }
}
