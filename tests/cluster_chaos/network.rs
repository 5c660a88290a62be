//! What is between the nodes: every node reaches every other through a proxy of its own, which can be cut.
//!
//! A link carries what the node says that has dialed it, so that a cut in one direction is a matter of one proxy.
//! Node i knows node j by the address 127.i.j.1, where the proxy listens on the ports on which node j takes links at
//! 127.0.0.1. So the nodes need not know of it, and ports are the same everywhere.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::harness::nodes::Nodes;

/// By what address a node reaches another.
pub(crate) fn host(from: usize, to: usize) -> String {
    if from == to { "127.0.0.1".to_owned() } else { proxy_ip(from, to).to_string() }
}

fn proxy_ip(from: usize, to: usize) -> Ipv4Addr {
    let part = |id: usize| u8::try_from(id).expect("few nodes");
    Ipv4Addr::new(127, part(from), part(to), 1)
}

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// It arrives.
    Whole,
    /// It gets stuck, as where a cable is pulled: it arrives when the wire is whole again.
    Stuck,
    /// Connections are closed, and new ones too.
    Closed,
}

/// All proxies of a cluster. They end when it is dropped.
#[derive(Debug)]
pub(crate) struct Network {
    proxies: Vec<(usize, usize, Arc<Proxy>)>,
    threads: Vec<JoinHandle<()>>,
}

impl Network {
    /// Between these nodes, on `cores` cores each.
    pub(crate) fn between(nodes: &Nodes, cores: u16) -> Self {
        let mut network = Self { proxies: Vec::new(), threads: Vec::new() };
        let ids = || 1..=nodes.count();
        for (from, to) in ids().flat_map(|from| ids().map(move |to| (from, to))) {
            for core in (0..cores).filter(|_| from != to) {
                let target = nodes.link_address(to, core);
                let own = SocketAddr::from((proxy_ip(from, to), target.port()));
                let listener = TcpListener::bind(own).expect("a loopback address");
                let proxy =
                    Arc::new(Proxy { own, target, inner: Mutex::default(), news: Condvar::new() });
                network.proxies.push((from, to, Arc::clone(&proxy)));
                network.threads.push(std::thread::spawn(move || accept(&proxy, &listener)));
            }
        }
        network
    }

    /// What one node says to another gets this way from now on.
    pub(crate) fn set(&self, from: usize, to: usize, wire: Wire) {
        for (_, _, proxy) in self.proxies.iter().filter(|(a, b, _)| (*a, *b) == (from, to)) {
            proxy.set(wire);
        }
    }

    /// All is whole again.
    pub(crate) fn mend(&self) {
        self.proxies.iter().for_each(|(_, _, proxy)| proxy.set(Wire::Whole));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for (_, _, proxy) in &self.proxies {
            proxy.lock().is_over = true;
            proxy.set(Wire::Closed);
            // It waits for connections.
            drop(TcpStream::connect(proxy.own));
        }
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

#[derive(Debug)]
struct Proxy {
    own: SocketAddr,
    target: SocketAddr,
    inner: Mutex<Inner>,
    /// The wire has changed.
    news: Condvar,
}

#[derive(Debug)]
struct Inner {
    wire: Wire,
    is_over: bool,
    /// Both ends of all connections.
    streams: Vec<TcpStream>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { wire: Wire::Whole, is_over: false, streams: Vec::new() }
    }
}

impl Proxy {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, wire: Wire) {
        let mut inner = self.lock();
        inner.wire = wire;
        if wire == Wire::Closed {
            // One that is closed already can't be shut down.
            inner.streams.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        }
        self.news.notify_all();
    }

    /// Whether something may go on, once it is known.
    fn lets_through(&self) -> bool {
        let mut inner = self.lock();
        while inner.wire == Wire::Stuck {
            inner = self.news.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.wire == Wire::Whole
    }

    /// Both ends of a connection, which end when the wire is closed.
    fn connect(&self, near: TcpStream) -> std::io::Result<[(TcpStream, TcpStream); 2]> {
        let far = TcpStream::connect(self.target)?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let mut inner = self.lock();
        if inner.wire == Wire::Closed {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        inner.streams.retain(|stream| stream.peer_addr().is_ok());
        inner.streams.extend([near.try_clone()?, far.try_clone()?]);
        Ok([(near.try_clone()?, far.try_clone()?), (far, near)])
    }
}

fn accept(proxy: &Arc<Proxy>, listener: &TcpListener) {
    let mut pumps = Vec::new();
    while let Ok((near, _)) = listener.accept() {
        if proxy.lock().is_over {
            break;
        }
        pumps.retain(|pump: &JoinHandle<()>| !pump.is_finished());
        // Who dials somebody that is not there finds the connection closed.
        let Ok(both) = proxy.connect(near) else { continue };
        pumps.extend(both.map(|(from, to)| {
            let proxy = Arc::clone(proxy);
            std::thread::spawn(move || pump(&proxy, from, to))
        }));
    }
    pumps.into_iter().for_each(|pump| drop(pump.join()));
}

/// Carries bytes in one direction, until there are no more.
fn pump(proxy: &Proxy, mut from: TcpStream, mut to: TcpStream) {
    let mut some = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut some) {
        if !proxy.lets_through() || to.write_all(&some[..count]).is_err() {
            break;
        }
    }
    // Either may be closed already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
