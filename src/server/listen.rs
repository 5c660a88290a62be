//! The listening sockets: every core listens on the common port, and on a port of its own.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::preflight::{self, StartError};
use crate::config::{BinaryPort, Bind, Config, ShardPorts};
use crate::node::Topology;
use crate::runtime::{Listener, Port};

/// All listening sockets, and where they ended up.
pub(super) struct Sockets {
    /// Indexed by core.
    pub(super) by_core: Vec<Vec<Listener>>,
    /// Of a node of a cluster: where each core takes links, indexed by core.
    pub(super) links: Vec<Vec<TcpListener>>,
    common_port: u16,
    core_ports: Vec<u16>,
    binary_port: Option<u16>,
}

impl Sockets {
    /// Binds everything.
    ///
    /// # Errors
    /// An address that can't be bound, unless the configuration marks it optional.
    pub(super) fn bind(config: &Config, cores: u16) -> Result<Self, StartError> {
        let mut sockets = Self {
            by_core: (0..cores).map(|_| Vec::new()).collect(),
            links: (0..cores).map(|_| Vec::new()).collect(),
            common_port: 0,
            core_ports: Vec::new(),
            binary_port: None,
        };
        let backlog = i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX);
        sockets.common_port = config.port;
        for bind in &config.bind {
            sockets.common_port =
                sockets.bind_shared(*bind, sockets.common_port, backlog, Port::Common)?;
        }
        for core in 0..cores {
            let wanted = match config.shard_ports {
                ShardPorts::Off => continue,
                ShardPorts::OsChosen => 0,
                ShardPorts::From(base) => base.saturating_add(core),
            };
            sockets.bind_own(&config.bind, core, wanted, backlog)?;
        }
        if config.is_in_cluster() {
            for core in 0..cores {
                sockets.bind_links(config, core, backlog)?;
            }
        }
        sockets.bind_binary(config, backlog)?;
        Ok(sockets)
    }

    /// Where clients reach the server, and where they are told to.
    pub(super) fn topology(&self, config: &Config) -> Topology {
        let cores = u16::try_from(self.core_ports.len()).unwrap_or(u16::MAX);
        // That there are as many ports has been checked.
        let announced = config.announced_core_base().and_then(|base| u16::try_from(base).ok());
        let announced = announced.map(|base| (0..cores).map(move |core| base.saturating_add(core)));
        Topology {
            common_port: self.common_port,
            core_ports: self.core_ports.clone(),
            binary_port: self.binary_port,
            announce_ip: config.cluster_announce_ip,
            announce_port: Some(config.cluster_announce_port).filter(|port| *port != 0),
            announce_core_ports: announced.map(Iterator::collect).unwrap_or_default(),
        }
    }

    /// The binary port. Who did not ask for one does without where it is taken: a second server may
    /// stand right beside the first, as Redis servers often do.
    fn bind_binary(&mut self, config: &Config, backlog: i32) -> Result<(), StartError> {
        let wanted = match config.binary_port {
            BinaryPort::Off => return Ok(()),
            BinaryPort::At(port) => Some(port),
            BinaryPort::Auto if config.port == 0 => Some(0),
            BinaryPort::Auto => {
                self.common_port.checked_add(1).filter(|port| !self.core_ports.contains(port))
            }
        };
        let Some(mut port) = wanted else { return Ok(()) };
        for bind in &config.bind {
            match self.bind_shared(*bind, port, backlog, Port::Binary) {
                Ok(bound) => port = bound,
                Err(error) if config.binary_port == BinaryPort::Auto => {
                    tracing::warn!("there is no binary port: {error}");
                    for listeners in &mut self.by_core {
                        listeners.retain(|listener| listener.port != Port::Binary);
                    }
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.binary_port = (port != 0).then_some(port);
        Ok(())
    }

    /// A port that every core listens on: the kernel spreads connections over them. Answers the port,
    /// which the operating system may have chosen.
    fn bind_shared(
        &mut self,
        bind: Bind,
        port: u16,
        backlog: i32,
        kind: Port,
    ) -> Result<u16, StartError> {
        let Some(probe) = bind_one(bind, port, false)? else { return Ok(port) };
        let address = local_address(&probe, bind.ip, port)?;
        // Another server's socket would let ours share the port without a word, so the port was first
        // bound without sharing. Shared sockets can't join one that is not: it goes.
        drop(probe);
        for listeners in &mut self.by_core {
            let Some(socket) = bind_one(bind, address.port(), true)? else { continue };
            listeners.push(listen(socket, address, backlog, kind)?);
        }
        Ok(address.port())
    }

    fn bind_links(&mut self, config: &Config, core: u16, backlog: i32) -> Result<(), StartError> {
        // That there are as many ports has been checked.
        let port = config.cluster_port.saturating_add(core);
        for bind in &config.bind {
            let Some(socket) = bind_one(*bind, port, false)? else { continue };
            let address = local_address(&socket, bind.ip, port)?;
            socket.listen(backlog).map_err(|error| preflight::bind_error(address, error))?;
            self.links[usize::from(core)].push(TcpListener::from(socket));
        }
        Ok(())
    }

    fn bind_own(
        &mut self,
        binds: &[Bind],
        core: u16,
        port: u16,
        backlog: i32,
    ) -> Result<(), StartError> {
        let mut port = port;
        for bind in binds {
            let Some(socket) = bind_one(*bind, port, false)? else { continue };
            let address = local_address(&socket, bind.ip, port)?;
            port = address.port();
            let listener = listen(socket, address, backlog, Port::Core)?;
            self.by_core[usize::from(core)].push(listener);
        }
        self.core_ports.push(port);
        Ok(())
    }
}

/// A bound socket; `None` if the address is optional and not there.
fn bind_one(bind: Bind, port: u16, shared: bool) -> Result<Option<Socket>, StartError> {
    let address = SocketAddr::new(bind.ip, port);
    match bind_patiently(address, shared) {
        Ok(socket) => Ok(Some(socket)),
        Err(error)
            if bind.optional
                && matches!(
                    error.raw_os_error(),
                    Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT)
                ) =>
        {
            Ok(None)
        }
        Err(error) => Err(preflight::bind_error(address, error)),
    }
}

/// Waits a moment for an address that is taken: the kernel takes a server's ring apart after the process
/// has been killed, and keeps its sockets until then. One that answers is another server's.
fn bind_patiently(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    const PATIENCE: Duration = Duration::from_secs(1);
    const PAUSE: Duration = Duration::from_millis(10);
    let begun = Instant::now();
    loop {
        match try_bind(address, shared) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && begun.elapsed() < PATIENCE
                    && !is_served(address) =>
            {
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// Whether somebody accepts connections at an address and keeps them.
fn is_served(address: SocketAddr) -> bool {
    const TIMEOUT: Duration = Duration::from_millis(200);
    let Ok(stream) = TcpStream::connect_timeout(&address, TIMEOUT) else { return false };
    // A socket that nobody looks after any more is reset within a moment.
    let answer = stream.set_read_timeout(Some(TIMEOUT)).and_then(|()| (&stream).read(&mut [0]));
    match answer {
        Ok(count) => count > 0,
        Err(error) => {
            matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
        }
    }
}

fn try_bind(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local_address(socket: &Socket, ip: IpAddr, port: u16) -> Result<SocketAddr, StartError> {
    let local = socket.local_addr().map_err(|e| preflight::bind_error((ip, port).into(), e))?;
    Ok(local.as_socket().unwrap_or(SocketAddr::new(ip, port)))
}

fn listen(
    socket: Socket,
    address: SocketAddr,
    backlog: i32,
    port: Port,
) -> Result<Listener, StartError> {
    socket.listen(backlog).map_err(|error| preflight::bind_error(address, error))?;
    Ok(Listener { socket: TcpListener::from(socket), port })
}
