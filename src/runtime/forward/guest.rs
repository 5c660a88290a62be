//! Guests: clients of other nodes, whose commands those nodes bring here. A guest comes to a port for links, and
//! its node has shown there that it is one; from then on it is a connection as any other, but that it needs no
//! password, takes no client's place, and is told `MOVED` whatever it asks for that is not served here.

use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};

use super::super::connection::{Connection, Port};
use super::super::core::Core;
use super::super::input::Input;
use super::super::link::{Link, watch_over};
use crate::command::View;
use crate::node::ClientOptions;
use crate::types::NodeId;

impl Core<'_> {
    /// Makes what came as a link from a node a client; the kernel has nothing of it in hand.
    pub(in crate::runtime) fn take_guest(&mut self, link: Link, from: NodeId) {
        let Link { socket, input, .. } = link;
        watch_over(&socket);
        let socket = TcpStream::from(OwnedFd::from(socket));
        let (Ok(addr), Ok(laddr)) = (socket.peer_addr(), socket.local_addr()) else { return };
        if !self.node.forwards.admit() {
            tracing::warn!("a node of the cluster can't bring commands of a client: too many do");
            return;
        }
        let token = self.connections.reserve();
        let now = self.engine.now.mono;
        let options = ClientOptions {
            id: self.node.clients.admit_guest(),
            addr,
            laddr,
            fd: socket.as_raw_fd(),
            core: self.id,
            now,
            is_guest: true,
        };
        let view = View { core: None, cluster: self.config.cluster_enabled };
        let mut session = self.new_session(options, view);
        session.info.names().name = format!("node-{}", from.0);
        // Its node has let it in.
        session.authenticated = true;
        let mut guest = Box::new(Connection::new(token, socket.into(), Port::Guest, session, now));
        (guest.placed, guest.protocol_known) = (true, true);
        guest.input = Input::Short(input.to_vec());
        self.resume(&mut guest);
        self.settle(guest);
    }
}
