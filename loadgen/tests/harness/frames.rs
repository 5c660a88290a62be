//! A scripted server of the binary protocol. What it answers to one frame it answers in the reverse order, a
//! frame for each reply, so that nobody can rely on the order of replies.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ringmain::protocol::binary::body::{Address, SlotRange};
use ringmain::protocol::binary::{
    FrameLimits, Frames, Greeting, Next, Opcode, ReplyFrame, ReplyHead, RequestHead, Status,
    Topology, VERSION,
};
use ringmain::types::{CoreId, ShardId};

/// What is done about one request.
pub(crate) enum Say {
    /// A reply.
    Reply(Status, Vec<u8>),
    /// A reply to another operation, or under another id.
    As(ReplyHead, Vec<u8>),
    /// The same reply twice.
    Twice(Status, Vec<u8>),
    /// A reply after that time, in which nothing else on the connection is answered.
    Late(Duration, Status, Vec<u8>),
    /// These bytes, and then the connection is closed.
    Close(Vec<u8>),
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing, ever.
    Nothing,
}

/// One request.
pub(crate) struct Asked {
    /// Of all requests to this server but those of the handshake, from 0.
    pub(crate) number: usize,
    /// The port it came to.
    pub(crate) port: u16,
    pub(crate) head: RequestHead,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Asked {
    pub(crate) fn opcode(&self) -> Opcode {
        Opcode::from_number(self.head.opcode).expect("the tool knows opcodes")
    }
}

type Script = dyn Fn(&Asked) -> Say + Send + Sync;

/// A scripted server, of one core or of several that have a port each. Its threads end with the connections.
pub(crate) struct Fake {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    ports: Vec<u16>,
    /// Whether replies are sent byte by byte.
    drips: bool,
    /// Most requests of a frame that it says it takes.
    items_max: usize,
    epoch: AtomicU32,
    /// All slots are the core's with this number.
    owner: AtomicUsize,
    requests: AtomicUsize,
    frames: AtomicUsize,
    is_closed: AtomicBool,
}

/// How a server is set up.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) cores: usize,
    pub(crate) drips: bool,
    pub(crate) items_max: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self { cores: 1, drips: false, items_max: 1024 }
    }
}

impl Fake {
    pub(crate) fn start(script: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> Self {
        Self::set_up(Setup::default(), script)
    }

    pub(crate) fn set_up(
        setup: Setup,
        script: impl Fn(&Asked) -> Say + Send + Sync + 'static,
    ) -> Self {
        let bind = |_| TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let listeners: Vec<TcpListener> = (0..setup.cores).map(bind).collect();
        let address = |listener: &TcpListener| listener.local_addr().expect("it is bound");
        let addresses: Vec<SocketAddr> = listeners.iter().map(address).collect();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            ports: addresses.iter().map(SocketAddr::port).collect(),
            drips: setup.drips,
            items_max: setup.items_max,
            epoch: AtomicU32::new(1),
            owner: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            frames: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
        });
        for listener in listeners {
            let accepting = shared.clone();
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if accepting.is_closed.load(Ordering::Relaxed) {
                        return;
                    }
                    let shared = accepting.clone();
                    // The tool closes connections whenever it likes.
                    thread::spawn(move || drop(shared.serve(stream)));
                }
            });
        }
        Self { addresses, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.addresses[0].port()
    }

    /// The port of a core.
    pub(crate) fn port_of(&self, core: usize) -> u16 {
        self.addresses[core].port()
    }

    /// Gives all slots to another core, in a new epoch.
    pub(crate) fn move_to(&self, core: usize) {
        self.shared.owner.store(core, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Requests of the workload so far.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Frames so far.
    pub(crate) fn frames(&self) -> usize {
        self.shared.frames.load(Ordering::Relaxed)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Relaxed);
        for address in &self.addresses {
            // Wakes the thread that accepts.
            let _ = TcpStream::connect(address);
        }
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let port = stream.local_addr()?.port();
        let (mut input, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            let read = stream.read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            input.extend_from_slice(&chunk[..read]);
            while let Some((requests, consumed)) = frame(&input) {
                input.drain(..consumed);
                self.frames.fetch_add(1, Ordering::Relaxed);
                assert!(requests.len() <= self.items_max, "{} in a frame", requests.len());
                let mut replies = Vec::new();
                for (head, key, value) in requests {
                    let (bytes, closes) = self.answer(port, head, key, value);
                    replies.push(bytes);
                    if closes {
                        return stream.write_all(&replies.concat());
                    }
                }
                replies.reverse();
                let replies = replies.concat();
                if self.drips {
                    replies.iter().try_for_each(|byte| stream.write_all(&[*byte]))?;
                } else {
                    stream.write_all(&replies)?;
                }
            }
        }
    }

    /// The bytes of the answer, and whether it is the last one.
    fn answer(
        &self,
        port: u16,
        head: RequestHead,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> (Vec<u8>, bool) {
        let reply = |status, body: &[u8]| self.reply(&head, status, body);
        let mut asked = Asked { number: 0, port, head, key, value };
        let mut body = Vec::new();
        match asked.opcode() {
            Opcode::Hello => {
                self.greeting().write(&mut body);
                return (reply(Status::Ok, &body), false);
            }
            Opcode::Topology => {
                self.topology().write(&mut body);
                return (reply(Status::Ok, &body), false);
            }
            _ => {}
        }
        asked.number = self.requests.fetch_add(1, Ordering::Relaxed);
        match (self.script)(&asked) {
            Say::Reply(status, body) => (reply(status, &body), false),
            Say::As(head, body) => (single(head, &body, self.epoch()), false),
            Say::Twice(status, body) => (reply(status, &body).repeat(2), false),
            Say::Late(time, status, body) => {
                thread::sleep(time);
                (reply(status, &body), false)
            }
            Say::Close(bytes) => (bytes, true),
            Say::Bytes(bytes) => (bytes, false),
            Say::Nothing => (Vec::new(), false),
        }
    }

    fn reply(&self, head: &RequestHead, status: Status, body: &[u8]) -> Vec<u8> {
        let mut reply = ReplyHead::new(head.id, head.opcode, status);
        (reply.shard, reply.version) = (ShardId(0), 1);
        single(reply, body, self.epoch())
    }

    fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::SeqCst)
    }

    fn greeting(&self) -> Greeting {
        let limits = FrameLimits { items_max: self.items_max, ..FrameLimits::WIDEST };
        Greeting {
            version: VERSION,
            features: Default::default(),
            client: 1,
            life: 1,
            limits,
            key_bytes_max: 65_535,
            server: "fake".to_owned(),
            topology: self.topology(),
        }
    }

    fn topology(&self) -> Topology {
        let core = |index: usize| CoreId(u16::try_from(index).expect("a few"));
        let cores = self.ports.iter().enumerate();
        let host = || "127.0.0.1".to_owned();
        let cores = cores.map(|(i, &port)| Address { core: core(i), port, host: host() });
        let owner = core(self.owner.load(Ordering::SeqCst));
        Topology {
            epoch: u64::from(self.epoch()),
            shard_count: 1,
            cores: cores.collect(),
            ranges: vec![SlotRange { first: 0, last: 16_383, shard: ShardId(0), core: owner }],
        }
    }
}

fn single(head: ReplyHead, body: &[u8], epoch: u32) -> Vec<u8> {
    let mut out = Vec::new();
    ReplyFrame::single(&mut out, head, body, epoch);
    out
}

/// Requests with their keys and values.
type Requests = Vec<(RequestHead, Vec<u8>, Vec<u8>)>;

/// The frame at the start of `input`, once it is whole, and its length.
fn frame(input: &[u8]) -> Option<(Requests, usize)> {
    let mut frames = Frames::<RequestHead>::default();
    let (mut at, mut requests) = (0, Vec::new());
    loop {
        match frames.next(input, at, &FrameLimits::WIDEST).expect("the tool sends frames") {
            Next::Incomplete { .. } => return None,
            Next::Item(item) => {
                let start = item.start + item.head.flags.extras_bytes();
                let body = &input[start..item.end];
                let (key, value) = body.split_at(usize::from(item.head.key_bytes));
                requests.push((item.head, key.to_vec(), value.to_vec()));
                at = item.end;
            }
        }
        if frames.is_idle() {
            return Some((requests, at));
        }
    }
}

/// A store that answers get and set as it should.
#[derive(Default)]
pub(crate) struct Store(Mutex<HashMap<Vec<u8>, Vec<u8>>>);

impl Store {
    pub(crate) fn answer(&self, asked: &Asked) -> Say {
        let mut map = self.0.lock().expect("nobody panics with it");
        match asked.opcode() {
            Opcode::Set => {
                map.insert(asked.key.clone(), asked.value.clone());
                Say::Reply(Status::Ok, Vec::new())
            }
            Opcode::Get => match map.get(&asked.key) {
                Some(value) => Say::Reply(Status::Ok, value.clone()),
                None => Say::Reply(Status::NotFound, Vec::new()),
            },
            other => panic!("the tool asked for {other:?}"),
        }
    }
}
