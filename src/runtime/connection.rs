//! One client connection: its socket, what it has sent that has not been run, what it has yet to be
//! sent. Lives on one core at a time, and moves as a whole.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::batch::Batch;
use super::blocking::Waiting;
use super::forward::Forwarding;
use super::frames::BinaryState;
use super::gate::Gate;
use super::input::Input;
use super::output::Output;
use super::reads::ReadWait;
use super::ring::{Socket, Token};
use super::timeline::Timeline;
use super::transaction::Queue;
use crate::command::Session;
use crate::limits::PENDING_OUTPUT_BYTES_MAX;
use crate::metrics::CoreMetrics;
use crate::protocol::resp::Parser;
use crate::types::{CoreId, MonoUs, ShardId};

/// Which kind of port a connection came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// The common port: the connection moves to the core of the first key it names.
    Common,
    /// A core's own port: the connection stays.
    Core,
    /// The port of the binary protocol; else like the common port.
    Binary,
    /// Where another node of the cluster brings the commands of a client of its own.
    Guest,
}

/// The receive operation of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receive {
    /// None.
    Idle,
    /// Under way, into the core's buffers, until it is asked to end.
    Armed,
    /// Under way, once, into the connection's input.
    Direct,
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
    /// The next request is dispatched again when the tokens that it needs are here.
    Tokens,
    /// `CLIENT PAUSE`.
    Pause,
    /// The client does not read its replies.
    Output,
    /// Its requests have taken their share of the core's turn.
    Turn,
    /// The disk has to catch up with the changes of a shard.
    Log,
    /// The logs of all shards have to come to something.
    Logs,
    /// A blocking command waits for its keys.
    Waiting,
    /// A command that may block is with another node.
    Forwarding,
    /// No node that can be reached is known to lead what the next request is for.
    Leader,
    /// A read waits until this node, which follows, has come far enough.
    Follower,
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

/// A shard for which a batch is under way, and what may leave only when that one is back, so as not to
/// overtake it.
#[derive(Debug)]
struct Outstanding {
    shard: ShardId,
    next: VecDeque<Box<Batch>>,
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
    /// Whether its first byte has come, by which it is known what it speaks.
    pub(crate) protocol_known: bool,
    /// What it needs to speak the binary protocol, if it does.
    pub(crate) binary: Option<Box<BinaryState>>,
    /// The shard that it has found its core by.
    pub(crate) home: Option<ShardId>,
    /// What commands see and change.
    pub(crate) session: Session,
    /// The commands of its transaction, if there are any.
    pub(crate) queue: Option<Box<Queue>>,
    /// Its ways to other nodes, if it has had any.
    pub(crate) forward: Option<Box<Forwarding>>,
    /// Whether the client has shown that it speaks cluster: it is sent where its keys are.
    pub(crate) speaks_cluster: bool,
    /// What it waits for in a blocking command, if it does.
    pub(crate) waiting: Option<Box<Waiting>>,
    /// Since when its next request waits for a shard that this node follows, and until when, if it does.
    pub(super) read_wait: Option<ReadWait>,
    /// Whether the request at hand is a read that this node answers as a follower.
    pub(crate) follows: bool,
    /// How far the current request is parsed, if it has begun and is not whole.
    pub(crate) parser: Option<Box<Parser>>,
    /// Bytes that have not been run: the start of a request, or whatever came while blocked.
    pub(crate) input: Input,
    /// Bytes of input that are needed before the parser can go on, as far as it knows.
    pub(crate) wanted_bytes: usize,
    /// Replies.
    pub(crate) output: Output,
    /// What replies in the output, those not held back yet, have to wait for.
    pub(crate) gate: Gate,
    /// Whether the core knows that its output is held back.
    pub(crate) is_gated: bool,
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
    /// When its bytes came and which of its requests owe their replies.
    pub(super) timeline: Timeline,
    /// Batches under way, by shard.
    outstanding: Vec<Outstanding>,
    /// Batches that came back before they were done.
    #[expect(clippy::vec_box, reason = "a batch travels from core to core in its box")]
    unfinished: Vec<Box<Batch>>,
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
            protocol_known: false,
            binary: None,
            home: None,
            session,
            queue: None,
            forward: None,
            speaks_cluster: false,
            waiting: None,
            read_wait: None,
            follows: false,
            parser: None,
            input: Input::default(),
            wanted_bytes: 0,
            output: Output::default(),
            gate: Gate::default(),
            is_gated: false,
            state: State::Running,
            receive: Receive::Idle,
            half_closed: false,
            dirty: false,
            active_at: now,
            request_since: None,
            over_soft_limit_since: None,
            timeline: Timeline::default(),
            outstanding: Vec::new(),
            unfinished: Vec::new(),
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

    /// The number of the last batch.
    pub(crate) fn last_ticket(&self) -> u64 {
        self.last_ticket
    }

    /// Whether commands for `shard` are under way, so that later ones must not overtake them.
    pub(crate) fn has_outstanding(&self, shard: ShardId) -> bool {
        self.has_outstanding_here(shard) || self.is_forwarding(shard)
    }

    /// The same of those that are on this node.
    pub(crate) fn has_outstanding_here(&self, shard: ShardId) -> bool {
        self.outstanding.iter().any(|outstanding| outstanding.shard == shard)
    }

    /// Whether it waits in a command that may block.
    pub(crate) fn is_in_blocking_command(&self) -> bool {
        self.is_blocked_by(Block::Waiting) || self.is_blocked_by(Block::Forwarding)
    }

    /// Notes a batch on its way. Answers it unless it has to wait for one that is under way for the
    /// same shard.
    pub(crate) fn batch_leaves(&mut self, batch: Box<Batch>) -> Option<Box<Batch>> {
        let shard = batch.shard;
        match self.outstanding.iter_mut().find(|outstanding| outstanding.shard == shard) {
            Some(outstanding) => outstanding.next.push_back(batch),
            None => {
                self.outstanding.push(Outstanding { shard, next: VecDeque::new() });
                return Some(batch);
            }
        }
        None
    }

    /// Notes a batch for `shard` back, done. Answers the one that leaves next.
    pub(crate) fn batch_came_back(&mut self, shard: ShardId) -> Option<Box<Batch>> {
        let index = self.outstanding.iter().position(|outstanding| outstanding.shard == shard);
        let index = index.expect("a batch comes back once");
        let next = self.outstanding[index].next.pop_front();
        if next.is_none() {
            self.outstanding.swap_remove(index);
        }
        next
    }

    /// Keeps a batch that came back before it was done.
    pub(crate) fn keep_unfinished(&mut self, batch: Box<Batch>) {
        self.unfinished.push(batch);
    }

    /// The batches that are to go on: none as long as the client has too much to read already, or for good if it
    /// has been told that this is the end.
    #[expect(clippy::vec_box, reason = "a batch travels from core to core in its box")]
    pub(crate) fn unfinished_to_go_on(&mut self) -> Vec<Box<Batch>> {
        let pending = self.output.pending_bytes();
        let has_much_to_read = pending > PENDING_OUTPUT_BYTES_MAX / 2 && self.output.can_send();
        if has_much_to_read || self.output.has_ended() {
            return Vec::new();
        }
        std::mem::take(&mut self.unfinished)
    }

    /// Whether other cores owe it replies.
    pub(crate) fn is_waiting(&self) -> bool {
        self.output.is_waiting() || self.owed() > 0
    }

    /// Replies without an order that other cores owe it.
    pub(crate) fn owed(&self) -> usize {
        self.binary.as_ref().map_or(0, |binary| binary.owed)
    }

    /// Whether requests wait to be run, or the rest of one to come.
    pub(crate) fn has_input(&self) -> bool {
        !self.input.is_empty() || self.binary.as_ref().is_some_and(|binary| binary.has_unread())
    }

    /// Bytes of memory held for this connection, beyond its own size.
    pub(crate) fn buffer_bytes(&self) -> usize {
        let waiting = self.waiting.as_ref().map_or(0, |waiting| waiting.memory_bytes());
        self.input.memory_bytes()
            + self.output.capacity_bytes()
            + self.transaction_bytes()
            + waiting
    }

    /// Bytes of memory of its transaction, watched keys and what their shards keep of them included.
    pub(crate) fn transaction_bytes(&self) -> usize {
        let queue = self.queue.as_ref().map_or(0, |queue| queue.memory_bytes());
        queue + 2 * self.session.transaction.watched_bytes
    }

    /// Shuts the socket down, which ends whatever the kernel does with it.
    pub(crate) fn shut_down(&mut self) {
        self.state = State::Closing;
        self.end_wait();
        // SAFETY: a plain system call on a socket that is ours; its failure changes nothing.
        unsafe {
            libc::shutdown(self.fd(), libc::SHUT_RDWR);
        }
    }

    /// Ends its wait in a blocking command, if it is in one: from now on it is given nothing.
    pub(crate) fn end_wait(&self) {
        if let Some(waiting) = &self.waiting {
            self.session.info.wait.end(waiting.number());
        }
    }

    /// Closes the connection of a client that does not read, with `pending` bytes waiting for it.
    pub(crate) fn close_at_output_limit(&mut self, pending: usize, metrics: &CoreMetrics) {
        metrics.output_limit_closes.increment();
        tracing::warn!(
            client = self.session.id.0,
            pending,
            "closing a client that reached its output buffer limit"
        );
        self.shut_down();
    }

    /// Ends the connection: what its client waits for can't be said to have happened. An error takes the
    /// place of the replies.
    pub(crate) fn fail_output(&mut self, text: &[u8]) {
        self.gate = Gate::default();
        if self.binary.is_some() {
            // Which of its requests are concerned can't be told any more.
            return self.shut_down();
        }
        self.end_wait();
        self.output.end_with(text);
        self.state = State::Draining;
    }

    /// Whether the kernel has nothing of this connection in hand any more.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.receive == Receive::Idle && !self.output.is_sending()
    }
}

#[cfg(test)]
mod tests {
    use super::Batch;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::{Connection, Port, Token};
    use crate::command::session::ReplyMode;
    use crate::command::{Session, View};
    use crate::node::{ClientInfo, ClientOptions};
    use crate::protocol::Proto;
    use crate::types::{ClientId, CoreId, DbIndex, MonoUs, ShardId};

    fn connection() -> Connection {
        let (socket, _) = UnixStream::pair().unwrap();
        let (id, now) = (ClientId(1), MonoUs(0));
        let addr = ([127, 0, 0, 1], 1000).into();
        let options =
            ClientOptions { id, addr, laddr: addr, fd: 0, core: CoreId(0), now, is_guest: false };
        let session = Session {
            id,
            view: View::default(),
            db: DbIndex(0),
            proto: Proto::Resp2,
            authenticated: true,
            no_touch: false,
            no_evict: false,
            reads_followers: false,
            depends_on: None,
            reply_mode: ReplyMode::On,
            monitor: false,
            topology_told: None,
            subscriptions: None,
            durability: None,
            transaction: Default::default(),
            tracking: None,
            info: Arc::new(ClientInfo::new(options)),
        };
        let token = Token { index: 0, generation: 0 };
        Connection::new(token, socket.into(), Port::Common, session, now)
    }

    #[test]
    fn one_batch_a_shard_is_under_way_and_the_next_follow_in_order() {
        let mut connection = connection();
        let (shard, other) = (ShardId(3), ShardId(4));
        let client = connection.session.info.clone();
        let token = connection.token;
        let batch =
            |ticket, shard| Box::new(Batch::new(CoreId(0), token, ticket, shard, client.clone()));
        let ticket = |batch: Option<Box<Batch>>| batch.map(|batch| batch.ticket);
        assert_eq!(ticket(connection.batch_leaves(batch(1, shard))), Some(1));
        assert_eq!(ticket(connection.batch_leaves(batch(2, shard))), None);
        assert_eq!(ticket(connection.batch_leaves(batch(3, other))), Some(3));
        assert_eq!(ticket(connection.batch_leaves(batch(4, shard))), None);
        assert_eq!(ticket(connection.batch_came_back(shard)), Some(2));
        assert_eq!(ticket(connection.batch_came_back(other)), None);
        assert!(connection.has_outstanding(shard) && !connection.has_outstanding(other));
        assert_eq!(ticket(connection.batch_came_back(shard)), Some(4));
        assert_eq!(ticket(connection.batch_came_back(shard)), None);
        assert!(!connection.has_outstanding(shard));
    }
}
