//! One thread of a run: moves bytes between its ring and its [`Traffic`], opens connections and opens
//! them again, and sleeps for exactly as long as nothing is due.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol as Transport, SockAddr, Socket as Descriptor, Type};

use super::buffers::Buffers;
use super::clock::Clock;
use super::cpu;
use super::ring::{Completion, Op, Ring, Socket, TICK_NS, Wait};
use super::traffic::Traffic;
use crate::report::outcome::ThreadUse;
use crate::work::Tally;

/// Connections that one thread opens at a time, so that the server's backlog holds them.
const OPENING_MAX: usize = 64;
/// How long all connections together may take at the start.
const OPENING_NS_MAX: u64 = 20_000_000_000;
/// Wait before a lost connection is opened again, doubled with every failure
const BACKOFF_NS_MIN: u64 = 10_000_000;
/// up to this.
const BACKOFF_NS_MAX: u64 = 1_000_000_000;
/// With no connection left for so long, the run is given up.
const GIVE_UP_NS: u64 = 60_000_000_000;
/// How long after the last request was due the replies are waited for.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// The last part of a wait is spent looking at the clock: a sleeper is woken later than it asked for.
const SPIN_NS: u64 = 60_000;
/// A thread that has not come round for so long was not waiting: the ring wakes it more often.
const STILL_NS: u64 = 2 * TICK_NS;

/// A link's socket.
struct Wire {
    socket: Option<(Descriptor, Socket)>,
    /// Where it is connected to; the kernel reads it while it connects, so it has a place of its own.
    address: Option<Box<SockAddr>>,
    /// Operations in the kernel's hands.
    operations: u8,
    is_closing: bool,
    failures: u32,
}

/// One thread.
pub(super) struct Worker {
    // Dropped in this order: the kernel lets go of buffers when the ring goes.
    ring: Ring,
    buffers: Buffers,
    pub(super) traffic: Traffic,
    wires: Vec<Wire>,
    /// Links that wait to be connected, and since or until when.
    waiting: Vec<(u64, u32)>,
    opening: usize,
    open: usize,
    /// Whether a connection that is lost is opened again, rather than the end of it.
    has_started: bool,
    clock: Clock,
    spun_ns: u64,
    turned_ns: u64,
    completions: Vec<Completion>,
    links: Vec<u32>,
}

impl Worker {
    pub(super) fn new(traffic: Traffic) -> io::Result<Self> {
        // Room for nodes that a cluster may name later; links beyond it do without registration.
        const SPARE: usize = 256;
        let links = u32::try_from(traffic.links() * 2 + SPARE).unwrap_or(u32::MAX);
        let (ring, buffers) = Ring::new(links)?;
        Ok(Self {
            ring,
            buffers,
            traffic,
            wires: Vec::new(),
            waiting: Vec::new(),
            opening: 0,
            open: 0,
            has_started: false,
            clock: Clock::start(),
            spun_ns: 0,
            turned_ns: 0,
            completions: Vec::new(),
            links: Vec::new(),
        })
    }

    /// Opens all connections.
    ///
    /// # Errors
    /// One sentence, if one can't be.
    pub(super) fn connect(&mut self, stop: &AtomicBool) -> Result<(), String> {
        let all = self.traffic.links();
        while self.open < all {
            self.turn()?;
            if stop.load(Ordering::Relaxed) {
                return Err("interrupted".to_owned());
            }
            if self.clock.now_ns() > OPENING_NS_MAX {
                let seconds = OPENING_NS_MAX / 1_000_000_000;
                return Err(format!("only {} of {all} connections within {seconds} s", self.open));
            }
        }
        Ok(())
    }

    /// Runs from the clock's zero until all is done or `stop` says so. What starts before `from_ns` is
    /// the warm-up; nothing starts after `until_ns`.
    pub(super) fn run(
        &mut self,
        clock: Clock,
        from_ns: u64,
        until_ns: u64,
        stop: &AtomicBool,
    ) -> Result<Ended, String> {
        let drain_ns = u64::try_from(DRAIN.as_nanos()).unwrap_or(u64::MAX);
        (self.clock, self.has_started) = (clock, true);
        let mut now = self.clock.now_ns();
        let mut mark = self.mark(now);
        let mut last_open_ns = now;
        self.turned_ns = now;
        self.traffic.begin(now);
        let is_interrupted = loop {
            if mark.at_ns < from_ns && now >= from_ns {
                mark = self.mark(now);
            }
            self.traffic.book.turn_page(now);
            if self.open > 0 {
                last_open_ns = now;
            }
            if stop.load(Ordering::Relaxed) || now - last_open_ns > GIVE_UP_NS {
                break true;
            }
            if now >= until_ns.saturating_add(drain_ns) || self.traffic.is_done(now) {
                break false;
            }
            self.turn()?;
            now = self.clock.now_ns();
        };
        self.traffic.close(now, is_interrupted);
        self.traffic.book.hand_over(now);
        Ok(self.ended(&mark, now, is_interrupted))
    }

    fn mark(&self, now: u64) -> Mark {
        let (cpu_ns, spun_ns) = (cpu::used_ns(), self.spun_ns);
        Mark { at_ns: now, cpu_ns, spun_ns, tally: self.traffic.tally() }
    }

    fn ended(&self, from: &Mark, now: u64, is_interrupted: bool) -> Ended {
        let to = self.mark(now);
        let used_ns = to.cpu_ns - from.cpu_ns;
        // Looking at the clock is no work: it stops as soon as there is some.
        let busy_ns = used_ns.saturating_sub(to.spun_ns - from.spun_ns);
        let elapsed_ns = now.saturating_sub(from.at_ns).max(1);
        let last_reply_ns = self.traffic.last_reply_ns();
        Ended {
            is_interrupted,
            end_ns: if is_interrupted { now } else { last_reply_ns },
            reads: to.tally.since(&from.tally),
            used: ThreadUse {
                busy_fraction: busy_ns as f64 / elapsed_ns as f64,
                cpu_s: used_ns as f64 / 1e9,
            },
        }
    }

    /// Does what is due, waits for something to happen, and takes note of it.
    fn turn(&mut self) -> Result<(), String> {
        let now = self.clock.now_ns();
        // A tick ends every wait.
        let slept_ns = now.saturating_sub(std::mem::replace(&mut self.turned_ns, now));
        if slept_ns > STILL_NS {
            self.traffic.stood_still(slept_ns - TICK_NS);
        }
        self.traffic.advance(now);
        self.open_links(now)?;
        self.flush();
        let wait = self.wait()?;
        self.enter(wait)
    }

    fn enter(&mut self, wait: Wait) -> Result<(), String> {
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.enter(wait, &mut completions).map_err(|error| format!("io_uring: {error}"))?;
        let now = self.clock.now_ns();
        for completion in completions.drain(..) {
            self.completed(completion, now)?;
        }
        self.completions = completions;
        self.buffers.publish();
        Ok(())
    }

    /// How long to stay in the kernel. The last microseconds before something is due pass here.
    fn wait(&mut self) -> Result<Wait, String> {
        let may_open = self.opening < OPENING_MAX;
        let retry = self.waiting.iter().map(|(at, _)| *at).min().filter(|_| may_open);
        let due = match (self.traffic.due_ns(), retry) {
            (None, None) => return Ok(Wait::Any),
            (Some(at), None) | (None, Some(at)) => at,
            (Some(a), Some(b)) => a.min(b),
        };
        let now = self.clock.now_ns();
        let left = due.saturating_sub(now);
        if left == 0 {
            return Ok(Wait::No);
        }
        if left > SPIN_NS {
            return Ok(Wait::Ns(left - SPIN_NS));
        }
        self.enter(Wait::No)?;
        let mut until = self.clock.now_ns();
        let from = until;
        while until < due && !self.ring.is_ready() {
            std::hint::spin_loop();
            until = self.clock.now_ns();
        }
        self.spun_ns += until - from;
        Ok(Wait::No)
    }

    fn flush(&mut self) {
        let now = self.clock.now_ns();
        let mut links = std::mem::take(&mut self.links);
        self.traffic.dirty(&mut links);
        for link in links.drain(..) {
            // Nothing to send while there is no connection.
            let Some(bytes) = self.traffic.load(link, now) else { continue };
            let wire = &mut self.wires[link as usize];
            let Some((_, socket)) = &wire.socket else { continue };
            self.ring.send(*socket, bytes, link);
            wire.operations += 1;
        }
        self.links = links;
    }

    fn completed(&mut self, completion: Completion, now: u64) -> Result<(), String> {
        let Completion { op, link, result, buffer, more } = completion;
        match op {
            Op::Tick => return Ok(()),
            Op::Receive => {
                let broken = self.receive(link, result, buffer, now);
                if let Some(id) = buffer {
                    self.buffers.recycle(id);
                }
                if !more {
                    self.wires[link as usize].operations -= 1;
                    self.receive_again(link, broken.is_none());
                }
                if let Some(why) = broken {
                    self.close(link, &why, now)?;
                }
            }
            Op::Send => {
                self.wires[link as usize].operations -= 1;
                self.traffic.sent(link);
                if result < 0 {
                    self.close(link, &io::Error::from_raw_os_error(-result).to_string(), now)?;
                }
            }
            Op::Connect => {
                self.wires[link as usize].operations -= 1;
                if result < 0 {
                    self.close(link, &io::Error::from_raw_os_error(-result).to_string(), now)?;
                } else {
                    self.traffic.connected(link);
                    self.receive_again(link, true);
                    self.note_open(link);
                }
            }
        }
        self.finish_closing(link, now);
        Ok(())
    }

    /// Hands received bytes on; why the connection is of no use any more, if so.
    fn receive(&mut self, link: u32, result: i32, buffer: Option<u16>, now: u64) -> Option<String> {
        if self.wires[link as usize].is_closing {
            return None;
        }
        match (usize::try_from(result), buffer) {
            (Ok(0), _) => Some("the server closed the connection".to_owned()),
            (Ok(length), Some(id)) => {
                let was_open = self.traffic.is_open(link);
                let bytes = self.buffers.filled(id, length);
                let result = self.traffic.received(link, bytes, now);
                self.wires[link as usize].failures = 0;
                if !was_open {
                    self.note_open(link);
                }
                result.err()
            }
            (Ok(_), None) => Some("a receive without a buffer".to_owned()),
            // All buffers were in use; they are back by the time the receive starts again.
            (Err(_), _) if result == -libc::ENOBUFS => None,
            (Err(_), _) => Some(io::Error::from_raw_os_error(-result).to_string()),
        }
    }

    fn receive_again(&mut self, link: u32, is_wanted: bool) {
        let wire = &mut self.wires[link as usize];
        if let Some((_, socket)) = &wire.socket
            && is_wanted
            && !wire.is_closing
        {
            self.ring.receive(*socket, link);
            wire.operations += 1;
        }
    }

    // Opening and closing.

    /// Starts connecting links whose time has come, a few at a time.
    fn open_links(&mut self, now: u64) -> Result<(), String> {
        let mut wanted = std::mem::take(&mut self.links);
        self.traffic.wanted(&mut wanted);
        self.waiting.extend(wanted.drain(..).map(|link| (now, link)));
        self.links = wanted;
        let mut index = 0;
        while index < self.waiting.len() && self.opening < OPENING_MAX {
            let (at, link) = self.waiting[index];
            if at > now {
                index += 1;
                continue;
            }
            self.waiting.swap_remove(index);
            self.opening += 1;
            if let Err(error) = self.open_link(link) {
                self.close(link, &error.to_string(), now)?;
                self.finish_closing(link, now);
            }
        }
        Ok(())
    }

    fn open_link(&mut self, link: u32) -> io::Result<()> {
        let index = link as usize;
        while self.wires.len() <= index {
            let (socket, address) = (None, None);
            let (operations, is_closing, failures) = (0, false, 0);
            self.wires.push(Wire { socket, address, operations, is_closing, failures });
        }
        let (host, port) = self.traffic.address(link);
        let address = SockAddr::from(resolve(host, port)?);
        let socket = Descriptor::new(
            Domain::from(i32::from(address.family())),
            Type::STREAM.nonblocking(),
            Some(Transport::TCP),
        )?;
        socket.set_tcp_nodelay(true)?;
        let descriptor = socket.as_raw_fd();
        let registered = self.ring.attach(descriptor, link);
        let wire = &mut self.wires[index];
        wire.socket = Some((socket, registered));
        let address = wire.address.insert(Box::new(address));
        self.ring.connect(descriptor, address, link);
        wire.operations += 1;
        Ok(())
    }

    fn note_open(&mut self, link: u32) {
        if self.traffic.is_open(link) {
            self.opening -= 1;
            self.open += 1;
        }
    }

    /// Gives a connection up; it is opened again later, unless this is the start of the run, when `why`
    /// is the end of it.
    fn close(&mut self, link: u32, why: &str, now: u64) -> Result<(), String> {
        let wire = &mut self.wires[link as usize];
        if wire.is_closing {
            return Ok(());
        }
        wire.is_closing = true;
        if let Some((socket, _)) = &wire.socket {
            // Ends the operations that are under way; there may be nothing to shut down.
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
        if self.traffic.is_open(link) {
            self.open -= 1;
        } else {
            self.opening -= 1;
        }
        self.traffic.broken(link, now);
        if !self.has_started {
            let (host, port) = self.traffic.address(link);
            return Err(format!("{host}:{port}: {why}"));
        }
        Ok(())
    }

    /// Lets go of a socket when the kernel has, and sets the time for the next attempt.
    fn finish_closing(&mut self, link: u32, now: u64) {
        let wire = &mut self.wires[link as usize];
        if !wire.is_closing || wire.operations > 0 {
            return;
        }
        if let Some((_, socket)) = wire.socket.take() {
            self.ring.detach(socket);
        }
        wire.is_closing = false;
        let backoff = BACKOFF_NS_MIN << wire.failures.min(10);
        wire.failures += 1;
        self.waiting.push((now + backoff.min(BACKOFF_NS_MAX), link));
    }
}

/// What a thread had used and found at some moment.
struct Mark {
    at_ns: u64,
    cpu_ns: u64,
    spun_ns: u64,
    tally: Tally,
}

/// How a thread's run ended.
pub(super) struct Ended {
    pub(super) is_interrupted: bool,
    /// When its last reply came.
    pub(super) end_ns: u64,
    /// What its reads found in the measured part.
    pub(super) reads: Tally,
    pub(super) used: ThreadUse,
}

/// The first address of a name.
pub(super) fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let mut addresses = (host, port).to_socket_addrs()?;
    addresses.next().ok_or_else(|| io::Error::other("the name has no address"))
}
