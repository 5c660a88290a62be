//! A binary server that does what its test says, request by request.
//!
//! It shakes hands and answers topology and ping by itself. Every other request is handed to the test as
//! an [`Asked`], which the test answers, in any order, or with bytes of its own, or by closing the
//! connection. Topologies are pushed when the test says so.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use ringmain::protocol::binary::body::{Address, Features, SlotRange};
use ringmain::protocol::binary::{
    Extras, FrameLimits, Frames, Greeting, Hello, Next, Opcode, ReplyFrame, ReplyHead, RequestHead,
    Status, Topology,
};
use ringmain::types::{CoreId, ShardId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::harness::PATIENCE;

/// What the fake's sequences start with.
pub(crate) const LIFE: u64 = 1_000;

/// How the fake greets.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) features: Features,
    pub(crate) password: Option<&'static str>,
    pub(crate) limits: FrameLimits,
    pub(crate) key_bytes_max: u32,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            features: Features::TOPOLOGY_PUSH,
            password: None,
            limits: FrameLimits::requests(1 << 30),
            key_bytes_max: 65_535,
        }
    }
}

/// The fake: a front port and a port for each core.
pub(crate) struct Fake {
    state: Arc<State>,
    asked: mpsc::UnboundedReceiver<Asked>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

struct State {
    manner: Manner,
    /// The front port, then the cores' own.
    ports: Vec<u16>,
    topology: Mutex<Topology>,
    lines: Mutex<Vec<Arc<Line>>>,
    asked: mpsc::UnboundedSender<Asked>,
    /// Connections that are open.
    open: AtomicUsize,
    /// Connections that were accepted.
    accepted: AtomicUsize,
    /// The life that greetings name.
    life: AtomicU64,
    /// Whether greetings are held back.
    is_mute: Mutex<bool>,
    changed: Notify,
    sequence: AtomicU64,
}

/// One connection.
pub(crate) struct Line {
    /// Which port it came to: 0 is the front, 1 core 0.
    port: usize,
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    subscribed: Mutex<bool>,
    close: Notify,
}

/// One request.
pub(crate) struct Asked {
    pub(crate) head: RequestHead,
    pub(crate) extras: Extras,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    /// The number of the frame it came in, on its connection.
    pub(crate) frame: usize,
    line: Arc<Line>,
    state: Arc<State>,
}

impl Fake {
    /// One with so many cores; core 0 owns the lower part of the slots, the last the upper.
    pub(crate) async fn start(cores: u16) -> Self {
        Self::with(cores, Manner::default()).await
    }

    pub(crate) async fn with(cores: u16, manner: Manner) -> Self {
        let (asked, receiver) = mpsc::unbounded_channel();
        let mut listeners = Vec::new();
        for _ in 0..=cores {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.expect("a free port"));
        }
        let ports: Vec<u16> = listeners
            .iter()
            .map(|listener| listener.local_addr().expect("an address").port())
            .collect();
        let state = Arc::new(State {
            manner,
            topology: Mutex::new(even_topology(1, &ports[1..])),
            ports,
            lines: Mutex::default(),
            asked,
            open: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            life: AtomicU64::new(LIFE),
            is_mute: Mutex::new(false),
            changed: Notify::new(),
            sequence: AtomicU64::new(LIFE),
        });
        let tasks = listeners
            .into_iter()
            .enumerate()
            .map(|(port, listener)| tokio::spawn(accept(state.clone(), port, listener)))
            .collect();
        Self { state, asked: receiver, tasks }
    }

    /// The front port's address.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.state.ports[0])
    }

    /// The next request of any connection.
    pub(crate) async fn next(&mut self) -> Asked {
        timeout(PATIENCE, self.asked.recv()).await.expect("a request comes").expect("the fake runs")
    }

    /// The next request, which is about `key`.
    pub(crate) async fn next_for(&mut self, key: &str) -> Asked {
        let asked = self.next().await;
        assert_eq!(asked.key.escape_ascii().to_string(), key);
        asked
    }

    /// Whether no request waits to be answered by the test.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.asked.is_empty()
    }

    /// Answers every request from now on with `answer`.
    pub(crate) fn answer_all(mut self, answer: impl Fn(Asked) + Send + 'static) -> Answering {
        let state = self.state.clone();
        let mut asked = std::mem::replace(&mut self.asked, mpsc::unbounded_channel().1);
        let task = tokio::spawn(async move {
            while let Some(asked) = asked.recv().await {
                answer(asked);
            }
        });
        self.tasks.push(task);
        Answering { state, _fake: self }
    }

    /// Waits until so many connections are open.
    pub(crate) async fn wait_for_connections(&self, count: usize) {
        self.state.wait("connections", |state| state.open.load(Ordering::SeqCst) == count).await;
    }

    /// Connections that were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    pub(crate) async fn wait_for_accepted(&self, count: usize) {
        self.state.wait("accepts", |state| state.accepted.load(Ordering::SeqCst) >= count).await;
    }

    /// Accepts connections from now on, or not, without a greeting.
    pub(crate) fn set_mute(&self, is_mute: bool) {
        *self.state.is_mute.lock().expect("no task has panicked") = is_mute;
    }

    /// Ends and starts anew, as far as clients can see: their connections are closed, the next are told
    /// of another life, and of `topology`.
    pub(crate) fn restart(&self, topology: Topology) {
        self.state.life.fetch_add(1, Ordering::SeqCst);
        self.set_topology(topology);
        self.close_all();
    }

    /// Closes all connections.
    pub(crate) fn close_all(&self) {
        self.state
            .lines
            .lock()
            .expect("no task has panicked")
            .iter()
            .for_each(|line| line.close.notify_one());
    }

    pub(crate) fn topology(&self) -> Topology {
        self.state.topology.lock().expect("no task has panicked").clone()
    }

    /// Makes `topology` the one that is answered, without telling anyone.
    pub(crate) fn set_topology(&self, topology: Topology) {
        *self.state.topology.lock().expect("no task has panicked") = topology;
    }

    /// A topology of the next epoch in which core `core` owns all slots.
    pub(crate) fn all_on(&self, core: u16) -> Topology {
        self.state.all_on(core)
    }

    /// Makes `topology` the one that is answered, and pushes it to who has subscribed.
    pub(crate) async fn push(&self, topology: Topology) {
        self.state.push(topology).await;
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        self.close_all();
    }
}

/// A fake that answers by itself.
pub(crate) struct Answering {
    state: Arc<State>,
    _fake: Fake,
}

impl Answering {
    pub(crate) async fn push_all_on(&self, core: u16) {
        self.state.push(self.state.all_on(core)).await;
    }

    pub(crate) fn close_all(&self) {
        self.state
            .lines
            .lock()
            .expect("no task has panicked")
            .iter()
            .for_each(|line| line.close.notify_one());
    }
}

impl State {
    async fn wait(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let waited = timeout(PATIENCE, async {
            loop {
                let changed = self.changed.notified();
                if condition(self) {
                    return;
                }
                changed.await;
            }
        });
        waited.await.unwrap_or_else(|_| {
            panic!(
                "waited in vain for {what}: {} accepted, {} open",
                self.accepted.load(Ordering::SeqCst),
                self.open.load(Ordering::SeqCst)
            )
        });
    }

    fn all_on(&self, core: u16) -> Topology {
        let mut topology = self.topology.lock().expect("no task has panicked").clone();
        topology.epoch += 1;
        topology.ranges.iter_mut().for_each(|range| range.core = CoreId(core));
        topology
    }

    async fn push(&self, topology: Topology) {
        let epoch = epoch_of(&topology);
        let mut body = Vec::new();
        topology.write(&mut body);
        *self.topology.lock().expect("no task has panicked") = topology;
        let lines = self.lines.lock().expect("no task has panicked").clone();
        let opcode = Opcode::SubscribeTopology.number() | Opcode::PUSH;
        for line in lines {
            if *line.subscribed.lock().expect("no task has panicked") {
                let mut out = Vec::new();
                ReplyFrame::single(&mut out, ReplyHead::new(0, opcode, Status::Ok), &body, epoch);
                // A connection that is closing is told nothing.
                let _ = line.writer.lock().await.write_all(&out).await;
            }
        }
    }

    fn epoch(&self) -> u32 {
        epoch_of(&self.topology.lock().expect("no task has panicked"))
    }

    fn greeting(&self) -> Greeting {
        Greeting {
            version: 1,
            features: self.manner.features,
            client: 7,
            life: self.life.load(Ordering::SeqCst),
            limits: self.manner.limits,
            key_bytes_max: self.manner.key_bytes_max,
            server: "fake 1".into(),
            topology: self.topology.lock().expect("no task has panicked").clone(),
        }
    }
}

fn epoch_of(topology: &Topology) -> u32 {
    u32::try_from(topology.epoch).expect("a small epoch")
}

/// Equal, contiguous runs of slots, a shard for each core.
pub(crate) fn even_topology(epoch: u64, ports: &[u16]) -> Topology {
    let cores = u16::try_from(ports.len()).expect("few ports");
    let bound = |core: u32| u16::try_from(16_384 * core / u32::from(cores)).expect("a slot");
    Topology {
        epoch,
        shard_count: cores,
        cores: (0..cores)
            .zip(ports)
            .map(|(core, &port)| Address { core: CoreId(core), port, host: "127.0.0.1".into() })
            .collect(),
        ranges: (0..cores)
            .map(|core| SlotRange {
                first: bound(core.into()),
                last: bound(u32::from(core) + 1) - 1,
                shard: ShardId(core),
                core: CoreId(core),
            })
            .collect(),
    }
}

async fn accept(state: Arc<State>, port: usize, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        state.accepted.fetch_add(1, Ordering::SeqCst);
        state.open.fetch_add(1, Ordering::SeqCst);
        state.changed.notify_waiters();
        let state = state.clone();
        tokio::spawn(async move {
            serve(&state, port, stream).await;
            state.open.fetch_sub(1, Ordering::SeqCst);
            state.changed.notify_waiters();
        });
    }
}

async fn serve(state: &Arc<State>, port: usize, stream: TcpStream) {
    stream.set_nodelay(true).expect("a socket");
    let (reader, writer) = stream.into_split();
    let line = Arc::new(Line {
        port,
        writer: tokio::sync::Mutex::new(writer),
        subscribed: Mutex::new(false),
        close: Notify::new(),
    });
    state.lines.lock().expect("no task has panicked").push(line.clone());
    tokio::select! {
        () = read(state, &line, reader) => {}
        () = line.close.notified() => {}
    }
    state.lines.lock().expect("no task has panicked").retain(|other| !Arc::ptr_eq(other, &line));
    // Requests that the test still holds keep the line: the socket is closed all the same.
    let _ = line.writer.lock().await.shutdown().await;
}

async fn read(state: &Arc<State>, line: &Arc<Line>, mut reader: OwnedReadHalf) {
    let mut frames = Frames::<RequestHead>::default();
    let mut input = BytesMut::new();
    let mut frame = 0;
    loop {
        match reader.read_buf(&mut input).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let mut at = 0;
        loop {
            if frames.is_idle() {
                frame += 1;
            }
            match frames.next(&input, at, &FrameLimits::WIDEST).expect("a client sends frames") {
                Next::Incomplete { .. } => {
                    if frames.is_idle() {
                        frame -= 1;
                    }
                    break;
                }
                Next::Item(item) => {
                    let asked =
                        Asked::read(item.head, &input[item.start..item.end], frame, line, state);
                    at = item.end;
                    handle(state, line, asked).await;
                }
            }
        }
        frames.forget();
        let _ = input.split_to(at);
    }
}

async fn handle(state: &Arc<State>, line: &Arc<Line>, asked: Asked) {
    let topology = || {
        let mut body = Vec::new();
        state.topology.lock().expect("no task has panicked").write(&mut body);
        body
    };
    match Opcode::from_number(asked.head.opcode) {
        Some(Opcode::Hello) if *state.is_mute.lock().expect("no task has panicked") => {}
        Some(Opcode::Hello) => {
            let hello = Hello::read(&asked.value).expect("a hello");
            if let Some(password) = state.manner.password
                && hello.password != password
            {
                return asked.reply(Status::AuthFailed, 0, b"WRONGPASS no").await;
            }
            let mut body = Vec::new();
            state.greeting().write(&mut body);
            asked.reply(Status::Ok, 0, &body).await;
        }
        Some(Opcode::SubscribeTopology) => {
            *line.subscribed.lock().expect("no task has panicked") = true;
            asked.reply(Status::Ok, 0, &topology()).await;
        }
        Some(Opcode::Topology) => asked.reply(Status::Ok, 0, &topology()).await,
        Some(Opcode::Ping) if asked.value.is_empty() => asked.reply(Status::Ok, 0, b"").await,
        _ => {
            let _ = state.asked.send(asked);
        }
    }
}

impl Asked {
    fn read(
        head: RequestHead,
        body: &[u8],
        frame: usize,
        line: &Arc<Line>,
        state: &Arc<State>,
    ) -> Self {
        let (extras, rest) = body.split_at(head.flags.extras_bytes());
        let (key, value) = rest.split_at(usize::from(head.key_bytes));
        Self {
            head,
            extras: Extras::read(head.flags, extras),
            key: key.to_vec(),
            value: value.to_vec(),
            frame,
            line: line.clone(),
            state: state.clone(),
        }
    }

    /// Which port it came to: 0 is the front, 1 core 0.
    pub(crate) fn port(&self) -> usize {
        self.line.port
    }

    pub(crate) fn opcode(&self) -> Opcode {
        Opcode::from_number(self.head.opcode).expect("an opcode")
    }

    /// The frame of a reply.
    pub(crate) fn reply_bytes(&self, status: Status, version: u64, body: &[u8]) -> Vec<u8> {
        let head = ReplyHead {
            version,
            shard: ShardId(0),
            ..ReplyHead::new(self.head.id, self.head.opcode, status)
        };
        let mut out = Vec::new();
        ReplyFrame::single(&mut out, head, body, self.state.epoch());
        out
    }

    pub(crate) async fn reply(&self, status: Status, version: u64, body: &[u8]) {
        self.raw(&self.reply_bytes(status, version, body)).await;
    }

    /// Answers `Ok`.
    pub(crate) async fn ok(&self, body: impl AsRef<[u8]>) {
        let version = self.state.sequence.fetch_add(1, Ordering::SeqCst) + 1;
        self.reply(Status::Ok, version, body.as_ref()).await;
    }

    /// Sends any bytes.
    pub(crate) async fn raw(&self, bytes: &[u8]) {
        // The client may have closed the connection, which is its right.
        let _ = self.line.writer.lock().await.write_all(bytes).await;
    }

    /// Closes its connection, after what was sent.
    pub(crate) fn close(&self) {
        self.line.close.notify_one();
    }
}
