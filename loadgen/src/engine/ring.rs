//! A thread's own io_uring: all its sockets, and where it sleeps.
//!
//! One thread creates, submits to and drains the ring (`SINGLE_ISSUER`), and completions are produced
//! only while that thread is inside [`Ring::enter`] (`DEFER_TASKRUN`). The kernel owns every buffer of
//! an operation until the operation has completed: senders keep their bytes in place until then.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use socket2::SockAddr;

use super::buffers::Buffers;

/// Submissions that fit in before the kernel has to be entered.
const SUBMISSIONS: u32 = 1024;
/// Completions that fit in before the kernel has to keep them aside.
const COMPLETIONS: u32 = 8192;
/// How often the ring wakes its thread even if nothing happens, in nanoseconds.
pub(super) const TICK_NS: u64 = 20_000_000;

/// What an operation was, as its completion tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// A connection was made, or could not be.
    Connect,
    /// Bytes from the server.
    Receive,
    /// Bytes to the server left.
    Send,
    /// [`TICK_NS`] has passed.
    Tick,
}

const OPS: [Op; 4] = [Op::Connect, Op::Receive, Op::Send, Op::Tick];

/// One completion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    /// What completed.
    pub(super) op: Op,
    /// For which link.
    pub(super) link: u32,
    /// The system call's result, or a negated errno.
    pub(super) result: i32,
    /// The buffer that a receive filled, if any.
    pub(super) buffer: Option<u16>,
    /// Whether the operation goes on and will complete again.
    pub(super) more: bool,
}

/// How long [`Ring::enter`] may stay in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Not at all.
    No,
    /// Until something completes; a tick does at the latest.
    Any,
    /// The same, but no longer than so many nanoseconds.
    Ns(u64),
}

/// The ring.
pub(super) struct Ring {
    ring: IoUring,
    tick: Box<types::Timespec>,
    /// Whether sockets can be registered, which spares the kernel looking descriptors up.
    registers: bool,
}

impl Ring {
    /// A ring for the calling thread and up to `links` sockets, and the buffers it receives into, which
    /// must be dropped after it.
    pub(super) fn new(links: u32) -> io::Result<(Self, Buffers)> {
        let ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let buffers = Buffers::register(&ring)?;
        // A process with fewer descriptors than that does without.
        let registers = ring.submitter().register_files_sparse(links).is_ok();
        let tick = Box::new(types::Timespec::from(Duration::from_nanos(TICK_NS)));
        let mut ring = Self { ring, tick, registers };
        let entry = opcode::Timeout::new(&raw const *ring.tick)
            .count(0)
            .flags(types::TimeoutFlags::MULTISHOT)
            .build();
        ring.push(entry, Op::Tick, 0);
        Ok((ring, buffers))
    }

    /// Submits what was queued, waits as told and appends what has completed to `completions`.
    pub(super) fn enter(
        &mut self,
        wait: Wait,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let wait = if self.ring.completion().is_empty() { wait } else { Wait::No };
        match self.submit(wait) {
            Ok(()) => {}
            // A signal, the end of a timed wait, or completions that have to be drained first.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ETIME)
                ) => {}
            Err(error) => return Err(error),
        }
        self.reap(completions);
        Ok(())
    }

    /// Whether entering the kernel, or just looking, would bring completions.
    pub(super) fn is_ready(&mut self) -> bool {
        self.ring.submission().taskrun() || !self.ring.completion().is_empty()
    }

    fn submit(&mut self, wait: Wait) -> io::Result<()> {
        const GETEVENTS: u32 = 1;
        match wait {
            Wait::No => {
                let queued = u32::try_from(self.ring.submission().len()).unwrap_or(SUBMISSIONS);
                // SAFETY: no signal mask is passed; queued entries point to memory that lives until
                // their completion (see the callers of `push`).
                unsafe {
                    self.ring.submitter().enter::<libc::sigset_t>(queued, 0, GETEVENTS, None)?
                };
            }
            Wait::Any => {
                self.ring.submitter().submit_and_wait(1)?;
            }
            Wait::Ns(ns) => {
                let limit = types::Timespec::from(Duration::from_nanos(ns));
                let args = types::SubmitArgs::new().timespec(&limit);
                self.ring.submitter().submit_with_args(1, &args)?;
            }
        }
        Ok(())
    }

    fn reap(&mut self, completions: &mut Vec<Completion>) {
        for entry in self.ring.completion() {
            let data = entry.user_data();
            completions.push(Completion {
                op: OPS[(data >> 32) as usize % OPS.len()],
                link: u32::try_from(data & u64::from(u32::MAX)).unwrap_or(0),
                result: entry.result(),
                buffer: cqueue::buffer_select(entry.flags()),
                more: cqueue::more(entry.flags()),
            });
        }
    }

    fn push(&mut self, entry: squeue::Entry, op: Op, link: u32) {
        let entry = entry.user_data((op as u64) << 32 | u64::from(link));
        // SAFETY: every buffer an entry names belongs to the ring or to a link, which keeps it until
        // its operations have completed.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            // Full: hand what is there to the kernel. An error shows again in `enter`.
            let _ = self.ring.submitter().submit();
        }
    }

    /// Registers the socket of `link`.
    pub(super) fn attach(&mut self, socket: RawFd, link: u32) -> Socket {
        if self.registers && self.ring.submitter().register_files_update(link, &[socket]).is_ok() {
            return Socket::Registered(link);
        }
        Socket::Descriptor(socket)
    }

    /// Lets go of a socket that was registered; until then it stays open.
    pub(super) fn detach(&mut self, socket: Socket) {
        const NONE: RawFd = -1;
        if let Socket::Registered(index) = socket {
            let result = self.ring.submitter().register_files_update(index, &[NONE]);
            debug_assert!(result.is_ok(), "the index was registered: {result:?}");
        }
    }

    /// Connects; `address` stays where it is until the completion.
    pub(super) fn connect(&mut self, socket: RawFd, address: &SockAddr, link: u32) {
        let entry = opcode::Connect::new(types::Fd(socket), address.as_ptr().cast(), address.len());
        self.push(entry.build(), Op::Connect, link);
    }

    /// Receives until the connection ends, into buffers of the kernel's choice.
    pub(super) fn receive(&mut self, socket: Socket, link: u32) {
        let entry = match socket {
            Socket::Descriptor(fd) => opcode::RecvMulti::new(types::Fd(fd), Buffers::GROUP),
            Socket::Registered(index) => {
                opcode::RecvMulti::new(types::Fixed(index), Buffers::GROUP)
            }
        };
        self.push(entry.build(), Op::Receive, link);
    }

    /// Sends all of `bytes`, which the caller leaves untouched until the completion.
    pub(super) fn send(&mut self, socket: Socket, bytes: &[u8], link: u32) {
        let (start, length) = (bytes.as_ptr(), u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let entry = match socket {
            Socket::Descriptor(fd) => opcode::Send::new(types::Fd(fd), start, length),
            Socket::Registered(index) => opcode::Send::new(types::Fixed(index), start, length),
        };
        let entry = entry.flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL).build();
        self.push(entry, Op::Send, link);
    }
}

/// A link's socket as the ring knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Socket {
    /// By its descriptor.
    Descriptor(RawFd),
    /// Registered with the ring at this index.
    Registered(u32),
}
