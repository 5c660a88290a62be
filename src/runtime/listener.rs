//! Accepting connections: the limits that apply before a client has said anything.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::connection::{Connection, Port};
use super::core::Core;
use super::frames::low_half;
use super::ring::{Completion, Token};
use crate::command::session::ReplyMode;
use crate::command::{Session, View};
use crate::node::{ClientInfo, ClientOptions};
use crate::protocol::binary::{ReplyFrame, ReplyHead, Status};
use crate::protocol::{Proto, Reply};
use crate::types::DbIndex;

/// A listening socket of one core.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The socket.
    pub(crate) socket: TcpListener,
    /// The kind of port it listens on.
    pub(crate) port: Port,
}

impl Core<'_> {
    /// Starts to accept on a listener.
    pub(super) fn arm_listener(&mut self, index: usize) {
        let token = Token { index: u32::try_from(index).unwrap_or(u32::MAX), generation: 0 };
        self.ring.accept(self.listeners[index].socket.as_raw_fd(), token);
    }

    /// A connection came in, or accepting failed.
    pub(super) fn accepted(&mut self, completion: Completion) {
        let index = completion.token.index as usize;
        if completion.result >= 0 {
            // SAFETY: the completion hands us a new descriptor that nobody else knows.
            let socket = unsafe { OwnedFd::from_raw_fd(completion.result) };
            self.welcome(TcpStream::from(socket), self.listeners[index].port);
        } else {
            let error = std::io::Error::from_raw_os_error(-completion.result);
            tracing::warn!("could not accept a connection: {error}");
        }
        if completion.more {
            return;
        }
        if completion.result >= 0 {
            self.arm_listener(index);
        } else {
            // Whatever is short (descriptors, memory) is still short right now.
            self.resting_listeners.push(index);
        }
    }

    fn welcome(&mut self, socket: TcpStream, port: Port) {
        // A client that is gone already has no address any more.
        let (Ok(peer), Ok(local)) = (socket.peer_addr(), socket.local_addr()) else { return };
        self.engine.metrics.connections_received.increment();
        if self.is_foreign(peer) {
            return self.turn_away(&socket, port, Status::Denied, PROTECTED);
        }
        let Some(id) = self.node.clients.admit(self.config.maxclients as usize) else {
            let text = "ERR max number of clients reached";
            return self.turn_away(&socket, port, Status::TooManyClients, text);
        };
        let _ = socket.set_nodelay(true);
        self.set_keepalive(&socket);
        let token = self.connections.reserve();
        let fd = socket.as_raw_fd();
        let view = View {
            core: (port == Port::Core).then_some(self.id),
            cluster: self.config.cluster_enabled,
        };
        let options = ClientOptions {
            id,
            addr: peer,
            laddr: local,
            fd,
            core: self.id,
            now: self.engine.now.mono,
            is_guest: false,
        };
        let session = self.new_session(options, view);
        let now = self.engine.now.mono;
        let connection = Box::new(Connection::new(token, socket.into(), port, session, now));
        self.settle(connection);
    }

    /// Says why a client can't stay. What it speaks is known on the binary port only; elsewhere it is
    /// told in RESP.
    fn turn_away(&self, socket: &TcpStream, port: Port, status: Status, text: &str) {
        self.engine.metrics.connections_rejected.increment();
        let mut words = Vec::new();
        match port {
            Port::Common | Port::Core | Port::Guest => {
                Reply::new(&mut words, Proto::Resp2).error(text)
            }
            Port::Binary => {
                let (head, epoch) = (ReplyHead::new(0, 0, status), self.engine.owners.epoch());
                ReplyFrame::single(&mut words, head, text.as_bytes(), low_half(epoch));
            }
        }
        // The socket's buffer is empty, so this can't block; if it fails the client is gone.
        let _ = std::io::Write::write(&mut &*socket, &words);
    }

    /// Whether protected mode keeps a client at this address out.
    fn is_foreign(&self, peer: SocketAddr) -> bool {
        let protected = self.config.protected_mode && self.config.requirepass.is_none();
        let local = match peer.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.to_canonical().is_loopback(),
        };
        protected && !local
    }

    pub(super) fn new_session(&self, options: ClientOptions, view: View) -> Session {
        let info = std::sync::Arc::new(ClientInfo::new(options));
        self.node.clients.insert(info.clone());
        Session {
            id: options.id,
            view,
            db: DbIndex(0),
            proto: Proto::Resp2,
            authenticated: self.config.requirepass.is_none(),
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
            info,
        }
    }

    fn set_keepalive(&self, socket: &TcpStream) {
        let interval = self.config.tcp_keepalive_s;
        if interval == 0 {
            return;
        }
        let idle = Duration::from_secs(u64::from(interval));
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(idle)
            .with_interval((idle / 3).max(Duration::from_secs(1)))
            .with_retries(3);
        // A kernel that refuses leaves the connection without keepalive, which harms nobody else.
        let _ = socket2::SockRef::from(socket).set_tcp_keepalive(&keepalive);
    }
}

/// What a client from another machine is told while the server has no password.
const PROTECTED: &str = "DENIED Ringmain is running in protected mode because protected mode is \
enabled and no password is set for the default user. In this mode connections are only accepted from \
the loopback interface. If you want to connect from external computers, set a password with \
'requirepass', or disable protected mode with 'CONFIG SET protected-mode no' from the loopback \
interface, or start the server with '--protected-mode no'.";
