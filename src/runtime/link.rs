//! One connection between this node and another, made or accepted by a core, and what is under way on it. The
//! kernel owns `address` and `sending` while it works on them: a link stays where it is until all of its
//! operations have completed.

use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::ring::Token;
use crate::limits::{LINK_SILENCE_MS, LINK_SPARE_BYTES_MAX};
use crate::replica::link::{Dialing, FrameReader, FrameWriter, LinkFault};
use crate::types::{CoreId, MonoUs, NodeId, ShardId};

/// How far a link is.
#[derive(Debug)]
pub(super) enum Phase {
    /// This node has dialed core `core` of another and is not connected, or not welcome yet.
    Dialing {
        /// Whom; 0 where that is to be found out.
        to: NodeId,
        /// Which of its cores.
        core: CoreId,
        /// What to say, and how to tell that it is them.
        dialing: Box<Dialing>,
    },
    /// Messages go to another node.
    Open {
        /// Which.
        to: NodeId,
        /// What waits to be sent.
        writer: Box<FrameWriter>,
    },
    /// Somebody has connected and not said who he is.
    Accepted,
    /// Another node sends messages; whether it is there now is known from the first frame on.
    Heard {
        /// Which.
        from: NodeId,
        /// Which of its cores.
        core: CoreId,
        /// Reads the frames.
        reader: Box<FrameReader>,
        /// Whether it has told of itself.
        is_announced: bool,
    },
    /// Another node would bring the commands of a client; whether it is there now is known from its first frame on.
    Greeted {
        /// Which.
        from: NodeId,
        /// Reads that frame.
        reader: Box<FrameReader>,
    },
    /// It is there: this is no link, but becomes a client (`forward::guest`).
    Guest {
        /// Which.
        from: NodeId,
    },
}

/// Why a link ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkEnd {
    /// What came can't be part of a link.
    #[error(transparent)]
    Fault(#[from] LinkFault),
    /// The node, or this one, was removed from the cluster.
    #[error("node {} was removed from the cluster", .0.0)]
    Removed(NodeId),
    /// There are as many nodes as can be.
    #[error("there is no room for node {}: the cluster has as many nodes as it can", .0.0)]
    Full(NodeId),
    /// Another process has the same number.
    #[error(
        "it says that it is node {}, and another process that is heard from is: give every node an id of its own",
        .0.0
    )]
    Double(NodeId),
    /// It was found out who is there.
    #[error("node {} is met", .0.0)]
    Met(NodeId),
    /// The node has another number of shards.
    #[error("node {} has {theirs} shards and this one {ours}: give all nodes the same --shards", .node.0)]
    Shards {
        /// Which node.
        node: NodeId,
        /// Its number.
        theirs: usize,
        /// This node's.
        ours: usize,
    },
    /// A message for a shard that is not there, or from or to another node.
    #[error("a message for shard {} is not between these nodes, or there is no such shard", .0.0)]
    Stray(ShardId),
    /// The other side has closed it.
    #[error("the other side has closed it")]
    Closed,
    /// The system says so.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Nothing was heard for too long.
    #[error("nothing is heard from it")]
    Silence,
    /// It took too long to be made.
    #[error("it took too long to be made")]
    Handshake,
    /// Another core of that node is the one to dial.
    #[error("another core is to be dialed")]
    Elsewhere,
    /// A newer link has taken its place.
    #[error("a newer link takes its place")]
    Replaced,
    /// The node is no member any more.
    #[error("the node is no member any more")]
    Left,
    /// There are too many connections that have not said who they are.
    #[error("there are too many connections that have not said who they are")]
    Crowd,
}

/// One link.
#[derive(Debug)]
pub(super) struct Link {
    /// Names it to the ring; never used again.
    pub(super) token: Token,
    pub(super) socket: Socket,
    /// Where the other side is.
    pub(super) address: SockAddr,
    pub(super) phase: Phase,
    pub(super) is_connecting: bool,
    pub(super) is_receiving: bool,
    pub(super) is_sending: bool,
    /// Whether it is gone but for operations that have not completed.
    pub(super) is_closing: bool,
    /// Received, and not a whole frame yet.
    pub(super) input: BytesMut,
    /// What is being sent, ...
    pub(super) sending: Vec<u8>,
    /// ... and how much of it has been.
    pub(super) sent: usize,
    /// The most that was sent in one go lately.
    pub(super) peak_bytes: usize,
    /// The other node's incarnation, once messages can go there and nobody has been told yet that they can.
    pub(super) opened: Option<u64>,
    /// When it was begun.
    pub(super) begun_at: MonoUs,
    /// When something was last received.
    pub(super) heard_at: MonoUs,
    /// When something was last sent.
    pub(super) said_at: MonoUs,
}

impl Link {
    /// A link on `socket` that is about to be made, or has been accepted.
    pub(super) fn new(
        token: Token,
        (socket, address): (Socket, SockAddr),
        phase: Phase,
        now: MonoUs,
    ) -> Self {
        Self {
            token,
            socket,
            address,
            phase,
            is_connecting: false,
            is_receiving: false,
            is_sending: false,
            is_closing: false,
            input: BytesMut::new(),
            sending: Vec::new(),
            sent: 0,
            peak_bytes: 0,
            opened: None,
            begun_at: now,
            heard_at: now,
            said_at: now,
        }
    }

    /// Whether it has shown that the other side is a node of the cluster.
    pub(super) fn is_known(&self) -> bool {
        match &self.phase {
            Phase::Dialing { .. } | Phase::Accepted | Phase::Greeted { .. } => false,
            Phase::Open { .. } | Phase::Guest { .. } => true,
            Phase::Heard { reader, .. } => reader.is_confirmed(),
        }
    }

    /// Whether the other side has dialed.
    pub(super) fn is_incoming(&self) -> bool {
        match self.phase {
            Phase::Dialing { .. } | Phase::Open { .. } => false,
            Phase::Accepted | Phase::Heard { .. } | Phase::Greeted { .. } | Phase::Guest { .. } => {
                true
            }
        }
    }

    /// Bytes that wait to be sent, or are being sent.
    pub(super) fn queued_bytes(&self) -> usize {
        let waiting = match &self.phase {
            Phase::Open { writer, .. } => writer.len(),
            Phase::Dialing { .. }
            | Phase::Accepted
            | Phase::Heard { .. }
            | Phase::Greeted { .. }
            | Phase::Guest { .. } => 0,
        };
        waiting + self.sending.len() - self.sent
    }

    /// Bytes of memory held for what is sent and received.
    pub(super) fn memory_bytes(&self) -> usize {
        let kept = match &self.phase {
            Phase::Open { writer, .. } => writer.memory_bytes(),
            Phase::Heard { reader, .. } | Phase::Greeted { reader, .. } => reader.memory_bytes(),
            Phase::Dialing { .. } | Phase::Accepted | Phase::Guest { .. } => 0,
        };
        kept + self.sending.capacity() + self.input.capacity()
    }

    /// Bytes have left. True if all of them have.
    pub(super) fn note_sent(&mut self, count: usize) -> bool {
        self.sent += count;
        let is_all = self.sent >= self.sending.len();
        if is_all {
            (self.is_sending, self.sent) = (false, 0);
            self.sending.clear();
        }
        is_all
    }

    /// Gives back memory that was not needed since this was called before.
    pub(super) fn shrink(&mut self) {
        let kept = std::mem::take(&mut self.peak_bytes).max(LINK_SPARE_BYTES_MAX);
        if !self.is_sending {
            self.sending.shrink_to(kept);
        }
        if let Phase::Open { writer, .. } = &mut self.phase {
            writer.shrink_to(kept);
        }
        if self.input.is_empty() && self.input.capacity() > LINK_SPARE_BYTES_MAX {
            self.input = BytesMut::new();
        }
    }

    /// Ends whatever the kernel does with the socket, but for a connection that is being made.
    pub(super) fn shut_down(&mut self) {
        self.is_closing = true;
        // One that is not connected needs none.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Whether the kernel has nothing of it in hand any more.
    pub(super) fn is_at_rest(&self) -> bool {
        !(self.is_connecting || self.is_receiving || self.is_sending)
    }

    /// Where the other side is, for a person.
    pub(super) fn peer(&self) -> String {
        self.address.as_socket().map_or_else(|| "?".to_owned(), |address| address.to_string())
    }
}

/// A socket for a link to `address`.
pub(super) fn new_socket(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    prepare(&socket);
    Ok(socket)
}

/// Has a socket that carries a client's commands, on either side, end soon after the other node has lost power, even
/// where nothing is being said: a client may wait for long.
pub(super) fn watch_over(socket: &Socket) {
    let second = Duration::from_secs(1);
    let keepalive =
        socket2::TcpKeepalive::new().with_time(2 * second).with_interval(second).with_retries(3);
    // A kernel that refuses leaves it to the links to notice.
    let _ = socket.set_tcp_keepalive(&keepalive);
}

/// Has a link's socket send at once, and give up when the other side takes nothing.
pub(super) fn prepare(socket: &Socket) {
    // A kernel that refuses leaves a link that is slower, or noticed later to be dead.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_user_timeout(Some(Duration::from_millis(LINK_SILENCE_MS)));
}
