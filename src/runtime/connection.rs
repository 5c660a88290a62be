//! One client connection: its socket, what it has sent that has not been run, what it has yet to be
//! sent. Lives on one core at a time, and moves as a whole.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::output::Output;
use super::ring::{Socket, Token};
use crate::command::Session;
use crate::protocol::resp::Parser;
use crate::types::{CoreId, MonoUs, ShardId};

/// Which kind of port a connection came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// The common port: the connection moves to the core of the first key it names.
    Common,
    /// A core's own port: the connection stays.
    Core,
}

/// The receive operation of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receive {
    /// None.
    Idle,
    /// Under way.
    Armed,
    /// Under way, and asked to end.
    Cancelled,
}

/// Why a connection's requests are not run at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// The next request needs all earlier replies first.
    Replies,
    /// A command over several shards waits for their tokens.
    Shards,
    /// `CLIENT PAUSE`.
    Pause,
    /// The client does not read its replies.
    Output,
    /// Its requests have taken their share of the core's turn.
    Turn,
    /// It is about to move to this core.
    Moving(CoreId),
}

/// Whether and how a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Requests are run as they come.
    Running,
    /// Requests wait.
    Blocked(Block),
    /// No more requests; closes when the output is sent.
    Draining,
    /// The socket is shut down; gone when the kernel has ended its operations.
    Closing,
}

/// Batches under way for one shard.
#[derive(Debug)]
struct Outstanding {
    shard: ShardId,
    batches: u32,
    /// Whether any of them went to the shard's owner rather than into the shard's queue.
    for_owner: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its place in the core's table.
    pub(crate) token: Token,
    socket: OwnedFd,
    /// The socket as the core's ring knows it.
    pub(crate) ring_socket: Socket,
    /// Where it came in.
    pub(crate) port: Port,
    /// Whether it has found its core.
    pub(crate) placed: bool,
    /// What commands see and change.
    pub(crate) session: Session,
    /// How far the current request is parsed, if it has begun and is not whole.
    pub(crate) parser: Option<Box<Parser>>,
    /// Bytes that have not been run: the start of a request, or whatever came while blocked.
    pub(crate) input: Vec<u8>,
    /// Replies.
    pub(crate) output: Output,
    /// Whether it goes on.
    pub(crate) state: State,
    /// The receive operation.
    pub(crate) receive: Receive,
    /// Whether the client has ended its side: what it has sent is answered, then the connection closes.
    pub(crate) half_closed: bool,
    /// Whether it is on the core's list of connections with output.
    pub(crate) dirty: bool,
    /// When the client last sent something.
    pub(crate) active_at: MonoUs,
    /// When the first byte of the unfinished request came, if there is one.
    pub(crate) request_since: Option<MonoUs>,
    /// When the output first exceeded the soft limit, if it does.
    pub(crate) over_soft_limit_since: Option<MonoUs>,
    /// Batches under way, by shard.
    outstanding: Vec<Outstanding>,
    /// Bytes of requests left to other cores since it last had all its replies.
    pub(crate) left_bytes: usize,
    /// The number of the last batch.
    last_ticket: u64,
}

impl Connection {
    /// A connection that has just been accepted.
    pub(crate) fn new(
        token: Token,
        socket: OwnedFd,
        port: Port,
        session: Session,
        now: MonoUs,
    ) -> Self {
        Self {
            token,
            ring_socket: Socket::Descriptor(socket.as_raw_fd()),
            socket,
            port,
            placed: port == Port::Core,
            session,
            parser: None,
            input: Vec::new(),
            output: Output::default(),
            state: State::Running,
            receive: Receive::Idle,
            half_closed: false,
            dirty: false,
            active_at: now,
            request_since: None,
            over_soft_limit_since: None,
            outstanding: Vec::new(),
            left_bytes: 0,
            last_ticket: 0,
        }
    }

    /// The socket.
    pub(crate) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Whether requests are run as they come.
    pub(crate) fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// Whether the connection waits for `block`.
    pub(crate) fn is_blocked_by(&self, block: Block) -> bool {
        self.state == State::Blocked(block)
    }

    /// A number for a new batch.
    pub(crate) fn next_ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Whether commands for `shard` are under way, so that later ones must not overtake them.
    pub(crate) fn has_outstanding(&self, shard: ShardId) -> bool {
        self.outstanding.iter().any(|outstanding| outstanding.shard == shard)
    }

    /// Notes a batch for `shard` on its way, to the shard's owner if `for_owner`. Answers whether it
    /// must go there: behind one that did, on the same way, so as not to overtake it.
    pub(crate) fn batch_left(&mut self, shard: ShardId, for_owner: bool) -> bool {
        let known = self.outstanding.iter().position(|outstanding| outstanding.shard == shard);
        let index = known.unwrap_or_else(|| {
            self.outstanding.push(Outstanding { shard, batches: 0, for_owner });
            self.outstanding.len() - 1
        });
        let outstanding = &mut self.outstanding[index];
        outstanding.batches += 1;
        outstanding.for_owner |= for_owner;
        outstanding.for_owner
    }

    /// Notes a batch for `shard` back.
    pub(crate) fn batch_came_back(&mut self, shard: ShardId) {
        let index = self.outstanding.iter().position(|outstanding| outstanding.shard == shard);
        let index = index.expect("a batch comes back once");
        self.outstanding[index].batches -= 1;
        if self.outstanding[index].batches == 0 {
            self.outstanding.swap_remove(index);
        }
    }

    /// Bytes of memory held for this connection, beyond its own size.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.input.capacity() + self.output.capacity_bytes()
    }

    /// Shuts the socket down, which ends whatever the kernel does with it.
    pub(crate) fn shut_down(&mut self) {
        self.state = State::Closing;
        // SAFETY: a plain system call on a socket that is ours; its failure changes nothing.
        unsafe {
            libc::shutdown(self.fd(), libc::SHUT_RDWR);
        }
    }

    /// Whether the kernel has nothing of this connection in hand any more.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.receive == Receive::Idle && !self.output.is_sending()
    }
}
