//! A core's own io_uring: client sockets, wake-ups from other cores and the tick arrive here, and here
//! an idle core sleeps.
//!
//! One thread creates, submits to and drains the ring (`SINGLE_ISSUER`), and completions are produced
//! only while that thread is inside [`Ring::enter`] (`DEFER_TASKRUN`). The kernel owns every buffer of
//! an operation until the operation has completed: senders keep their bytes in place until then.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;

use io_uring::{IoUring, opcode, squeue, types};
use socket2::SockAddr;

use super::buffers::Buffers;
use crate::limits::{REGISTERED_SOCKETS_MAX, RING_COMPLETIONS, RING_SUBMISSIONS, TICK_MS};

/// What an operation was, as its completion tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    /// A listener accepted a connection.
    Accept = 1,
    /// Bytes from a client.
    Receive,
    /// Bytes to a client left.
    Send,
    /// A receive was asked to end.
    Cancel,
    /// A tenth of a second has passed.
    Tick,
    /// Another core rang.
    Rung,
    /// Our ringing of another core failed.
    Ring,
    /// A thread outside the cores wrote to our eventfd.
    Event,
    /// A write to a file or a sync of one is done.
    File,
    /// The time that was asked for has passed.
    Alarm,
    /// Replicas may have something to do.
    Pulse,
    /// Somebody has connected to a port for links between nodes.
    LinkAccept,
    /// A link has been connected to another node, or could not be.
    LinkConnect,
    /// Bytes from another node.
    LinkReceive,
    /// Bytes to another node left.
    LinkSend,
    /// What carries a client's commands to another node has been connected, or could not be.
    ForwardConnect,
    /// Replies to such commands.
    ForwardReceive,
    /// Such commands left.
    ForwardSend,
}

impl Op {
    fn of(code: u64) -> Option<Self> {
        const ALL: [Op; 18] = [
            Op::Accept,
            Op::Receive,
            Op::Send,
            Op::Cancel,
            Op::Tick,
            Op::Rung,
            Op::Ring,
            Op::Event,
            Op::File,
            Op::Alarm,
            Op::Pulse,
            Op::LinkAccept,
            Op::LinkConnect,
            Op::LinkReceive,
            Op::LinkSend,
            Op::ForwardConnect,
            Op::ForwardReceive,
            Op::ForwardSend,
        ];
        ALL.into_iter().find(|op| *op as u64 == code)
    }
}

/// Names an operation's target: an index and the generation that tells its successive owners apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    /// Index into the core's table of what the operation is for: connections, listeners, or operations on the
    /// files of logs.
    pub(crate) index: u32,
    /// How often the index was reused, modulo 2^24.
    pub(crate) generation: u32,
}

impl Token {
    const GENERATION_MASK: u32 = 0xff_ffff;

    /// The token of the next owner of the same index.
    pub(crate) fn next(self) -> Self {
        Self { index: self.index, generation: (self.generation + 1) & Self::GENERATION_MASK }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the fields of `user_data`, taken apart")]
    fn of(user_data: u64) -> Self {
        let generation = (user_data >> 32) as u32 & Self::GENERATION_MASK;
        Self { index: user_data as u32, generation }
    }

    fn user_data(self, op: Op) -> u64 {
        (op as u64) << 56 | u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

/// A client's socket as the ring knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Socket {
    /// By its descriptor.
    Descriptor(RawFd),
    /// Registered with the ring at this index, which spares the kernel looking the descriptor up and
    /// counting the reference, twice a request.
    Registered(u32),
}

/// One completion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    /// What completed.
    pub(crate) op: Op,
    /// For whom.
    pub(crate) token: Token,
    /// The system call's result, or a negated errno.
    pub(crate) result: i32,
    /// The buffer that a receive filled, if any.
    pub(crate) buffer: Option<u16>,
    /// Whether the operation goes on and will complete again.
    pub(crate) more: bool,
}

/// The ring.
pub(crate) struct Ring {
    ring: IoUring,
    tick: Box<types::Timespec>,
    alarm: Box<types::Timespec>,
    pulse: Box<types::Timespec>,
    /// Sockets that can be registered.
    registered_max: u32,
    /// Submissions queued and not handed to the kernel yet.
    waiting: usize,
    /// Completions that had to be taken while submitting.
    backlog: Vec<Completion>,
}

impl Ring {
    /// Bytes of the queues that the kernel shares with us: a submission takes 64 and an index of 4, a
    /// completion 16.
    pub(crate) const QUEUE_BYTES: usize =
        RING_SUBMISSIONS as usize * (64 + 4) + RING_COMPLETIONS as usize * 16;

    /// A ring for the calling thread, and the buffers it receives into, which must outlive it.
    pub(crate) fn new() -> io::Result<(Self, Buffers)> {
        let ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(RING_COMPLETIONS)
            .build(RING_SUBMISSIONS)?;
        let buffers = Buffers::register(&ring)?;
        let tick = Box::new(types::Timespec::new().nsec(TICK_MS * 1_000_000));
        let (alarm, pulse) = (Box::default(), Box::default());
        // A process with fewer descriptors than that does without.
        let registers = ring.submitter().register_files_sparse(REGISTERED_SOCKETS_MAX).is_ok();
        let registered_max = if registers { REGISTERED_SOCKETS_MAX } else { 0 };
        Ok((
            Self { ring, tick, alarm, pulse, registered_max, waiting: 0, backlog: Vec::new() },
            buffers,
        ))
    }

    /// The descriptor by which other cores ring this one.
    pub(crate) fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Submits what was queued and appends what has completed to `completions`; sleeps until there is
    /// something if `wait`.
    pub(crate) fn enter(
        &mut self,
        wait: bool,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let wait = wait && self.backlog.is_empty();
        self.submit(usize::from(wait))?;
        completions.append(&mut self.backlog);
        self.reap(completions);
        Ok(())
    }

    /// Whether something has come that the next [`enter`](Self::enter) will bring, so that it won't
    /// sleep.
    pub(crate) fn has_work(&mut self) -> bool {
        !self.backlog.is_empty() || self.ring.submission().taskrun()
    }

    fn reap(&mut self, completions: &mut Vec<Completion>) {
        for entry in self.ring.completion() {
            let data = entry.user_data();
            // Completions of operations that nobody waits for carry no code.
            let Some(op) = Op::of(data >> 56) else { continue };
            completions.push(Completion {
                op,
                token: Token::of(data),
                result: entry.result(),
                buffer: io_uring::cqueue::buffer_select(entry.flags()),
                more: io_uring::cqueue::more(entry.flags()),
            });
        }
    }

    /// Hands what is queued to the kernel now. A write that is queued before many sends would otherwise
    /// reach the disk after them: the kernel collects what is for one device until all that was submitted
    /// with it has been looked at.
    pub(crate) fn hand_over(&mut self) {
        // An error shows again in `enter`.
        let _ = self.submit_with(0, 0);
    }

    fn submit(&mut self, want: usize) -> io::Result<()> {
        const GETEVENTS: u32 = 1;
        self.submit_with(want, GETEVENTS)
    }

    fn submit_with(&mut self, want: usize, flags: u32) -> io::Result<()> {
        let queued = u32::try_from(self.waiting).unwrap_or(u32::MAX);
        let want = u32::try_from(want).unwrap_or(1);
        // SAFETY: no signal mask is passed; queued entries point to memory that lives until their
        // completion (see the callers of `push`).
        let result =
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, want, flags, None) };
        match result {
            Ok(submitted) => {
                self.waiting -= submitted.min(self.waiting);
                Ok(())
            }
            // A signal, or completions that have to be drained first: the next turn goes on.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ETIME)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn push(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: every buffer an entry names is owned by the ring, by a connection
            // or a link that stays until its operations have completed, by an operation on a log that the
            // core keeps until then, or is static.
            let pushed = unsafe { self.ring.submission().push(&entry) };
            if pushed.is_ok() {
                self.waiting += 1;
                return;
            }
            // Full: hand what is there to the kernel, which takes nothing while completions that
            // found no room wait for theirs. An error shows again in `enter`.
            let _ = self.submit(0);
            let mut backlog = std::mem::take(&mut self.backlog);
            self.reap(&mut backlog);
            self.backlog = backlog;
        }
    }

    /// Accepts from `listener` until told otherwise.
    pub(crate) fn accept(&mut self, listener: RawFd, token: Token) {
        let entry = opcode::AcceptMulti::new(types::Fd(listener)).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry.user_data(token.user_data(Op::Accept)));
    }

    /// Registers a socket under its connection's index, if there is room.
    pub(crate) fn attach(&mut self, socket: RawFd, token: Token) -> Socket {
        if token.index < self.registered_max
            && self.ring.submitter().register_files_update(token.index, &[socket]).is_ok()
        {
            return Socket::Registered(token.index);
        }
        Socket::Descriptor(socket)
    }

    /// Lets go of a socket that was registered; until then it stays open.
    pub(crate) fn detach(&mut self, socket: Socket) {
        const NONE: RawFd = -1;
        if let Socket::Registered(index) = socket {
            let result = self.ring.submitter().register_files_update(index, &[NONE]);
            debug_assert!(result.is_ok(), "the index was registered: {result:?}");
        }
    }

    /// Receives once, into a buffer of the kernel's choice.
    pub(crate) fn receive_once(&mut self, socket: RawFd, token: Token) {
        let entry = opcode::Recv::new(types::Fd(socket), std::ptr::null_mut(), 0)
            .buf_group(Buffers::GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.push(entry.user_data(token.user_data(Op::Receive)));
    }

    /// Receives until cancelled, into buffers of the kernel's choice.
    pub(crate) fn receive(&mut self, socket: Socket, token: Token) {
        let group = Buffers::GROUP;
        let entry = match socket {
            Socket::Descriptor(fd) => opcode::RecvMulti::new(types::Fd(fd), group).build(),
            Socket::Registered(index) => opcode::RecvMulti::new(types::Fixed(index), group).build(),
        };
        self.push(entry.user_data(token.user_data(Op::Receive)));
    }

    /// Receives once, up to `length` bytes to `room`, which the caller leaves untouched until the completion.
    pub(crate) fn receive_into(
        &mut self,
        socket: Socket,
        token: Token,
        (room, length): (NonNull<u8>, usize),
    ) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let entry = match socket {
            Socket::Descriptor(fd) => opcode::Recv::new(types::Fd(fd), room.as_ptr(), length),
            Socket::Registered(index) => {
                opcode::Recv::new(types::Fixed(index), room.as_ptr(), length)
            }
        };
        self.push(entry.build().user_data(token.user_data(Op::Receive)));
    }

    /// Ends the receive of `token`; it completes with `ECANCELED` unless it ends otherwise first.
    pub(crate) fn cancel_receive(&mut self, token: Token) {
        let entry = opcode::AsyncCancel::new(token.user_data(Op::Receive)).build();
        self.push(entry.user_data(token.user_data(Op::Cancel)));
    }

    /// Sends all of `bytes`, which the caller leaves untouched until the completion. If `more` follows
    /// at once, the kernel may wait for that.
    pub(crate) fn send(&mut self, socket: Socket, token: Token, bytes: &[u8], more: bool) {
        let (start, length) = (bytes.as_ptr(), u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let entry = match socket {
            Socket::Descriptor(fd) => opcode::Send::new(types::Fd(fd), start, length),
            Socket::Registered(index) => opcode::Send::new(types::Fixed(index), start, length),
        };
        let more = if more { libc::MSG_MORE } else { 0 };
        let entry = entry.flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL | more).build();
        self.push(entry.user_data(token.user_data(Op::Send)));
    }

    /// Writes `bytes`, which the caller leaves untouched until the completion, to a file at `offset`. With
    /// `sync` the write completes when it is on disk.
    pub(crate) fn write_file(
        &mut self,
        file: RawFd,
        token: Token,
        bytes: &[u8],
        offset: u64,
        sync: bool,
    ) {
        // The kernel writes no more than this at a time anyway; what is left is written next.
        const WRITE_BYTES_MAX: u32 = 1 << 30;
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(WRITE_BYTES_MAX);
        let flags = if sync { libc::RWF_DSYNC } else { 0 };
        let entry = opcode::Write::new(types::Fd(file), bytes.as_ptr(), length)
            .offset(offset)
            .rw_flags(flags)
            .build();
        self.push(entry.user_data(token.user_data(Op::File)));
    }

    /// Syncs a file's content.
    pub(crate) fn sync_file(&mut self, file: RawFd, token: Token) {
        let entry = opcode::Fsync::new(types::Fd(file)).flags(types::FsyncFlags::DATASYNC).build();
        self.push(entry.user_data(token.user_data(Op::File)));
    }

    /// Accepts links from `listener` until told otherwise.
    pub(crate) fn accept_links(&mut self, listener: RawFd, token: Token) {
        let entry = opcode::AcceptMulti::new(types::Fd(listener)).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry.user_data(token.user_data(Op::LinkAccept)));
    }

    /// Connects a link's socket to `address`, which the caller leaves untouched until the completion.
    pub(crate) fn connect_link(&mut self, socket: &impl AsRawFd, token: Token, address: &SockAddr) {
        self.connect(socket, token.user_data(Op::LinkConnect), address);
    }

    /// Receives from a link until cancelled, into buffers of the kernel's choice.
    pub(crate) fn receive_link(&mut self, socket: &impl AsRawFd, token: Token) {
        self.receive_many(socket, token.user_data(Op::LinkReceive));
    }

    /// Sends all of `bytes` over a link; the caller leaves them untouched until the completion.
    pub(crate) fn send_link(&mut self, socket: &impl AsRawFd, token: Token, bytes: &[u8]) {
        self.send_all(socket, token.user_data(Op::LinkSend), bytes);
    }

    /// Ends whatever is under way on a link; each of it completes.
    pub(crate) fn cancel_link(&mut self, token: Token) {
        self.cancel_all(token, [Op::LinkConnect, Op::LinkReceive, Op::LinkSend]);
    }

    /// Ends the receive of a link alone.
    pub(crate) fn cancel_link_receive(&mut self, token: Token) {
        self.cancel_all(token, [Op::LinkReceive]);
    }

    /// As [`connect_link`](Self::connect_link), for what carries a client's commands to another node.
    pub(crate) fn connect_forward(
        &mut self,
        socket: &impl AsRawFd,
        token: Token,
        address: &SockAddr,
    ) {
        self.connect(socket, token.user_data(Op::ForwardConnect), address);
    }

    /// As [`receive_link`](Self::receive_link).
    pub(crate) fn receive_forward(&mut self, socket: &impl AsRawFd, token: Token) {
        self.receive_many(socket, token.user_data(Op::ForwardReceive));
    }

    /// As [`send_link`](Self::send_link).
    pub(crate) fn send_forward(&mut self, socket: &impl AsRawFd, token: Token, bytes: &[u8]) {
        self.send_all(socket, token.user_data(Op::ForwardSend), bytes);
    }

    /// As [`cancel_link`](Self::cancel_link).
    pub(crate) fn cancel_forward(&mut self, token: Token) {
        self.cancel_all(token, [Op::ForwardConnect, Op::ForwardReceive, Op::ForwardSend]);
    }

    /// As [`cancel_link_receive`](Self::cancel_link_receive).
    pub(crate) fn cancel_forward_receive(&mut self, token: Token) {
        self.cancel_all(token, [Op::ForwardReceive]);
    }

    fn connect(&mut self, socket: &impl AsRawFd, user_data: u64, address: &SockAddr) {
        let fd = types::Fd(socket.as_raw_fd());
        let entry = opcode::Connect::new(fd, address.as_ptr().cast(), address.len()).build();
        self.push(entry.user_data(user_data));
    }

    fn receive_many(&mut self, socket: &impl AsRawFd, user_data: u64) {
        let fd = types::Fd(socket.as_raw_fd());
        let entry = opcode::RecvMulti::new(fd, Buffers::GROUP).build();
        self.push(entry.user_data(user_data));
    }

    fn send_all(&mut self, socket: &impl AsRawFd, user_data: u64, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let fd = types::Fd(socket.as_raw_fd());
        let entry = opcode::Send::new(fd, bytes.as_ptr(), length)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        self.push(entry.user_data(user_data));
    }

    fn cancel_all<const N: usize>(&mut self, token: Token, ops: [Op; N]) {
        for op in ops {
            // Nobody waits to hear whether there was any.
            self.push(opcode::AsyncCancel::new(token.user_data(op)).build().user_data(0));
        }
    }

    /// Ticks until the ring is gone.
    pub(crate) fn tick(&mut self) {
        let entry = opcode::Timeout::new(&raw const *self.tick)
            .count(0)
            .flags(types::TimeoutFlags::MULTISHOT)
            .build();
        self.push(entry.user_data(Token { index: 0, generation: 0 }.user_data(Op::Tick)));
    }

    /// Completes once, when so much time has passed, as [`alarm`](Self::alarm) does.
    pub(crate) fn pulse(&mut self, us: u64) {
        *self.pulse = timespec(us);
        let entry = once(&self.pulse, Op::Pulse);
        self.push(entry);
    }

    /// Completes once, when so much time has passed, or a second. Once a turn: the kernel reads the time when
    /// it is entered.
    pub(crate) fn alarm(&mut self, us: u64) {
        *self.alarm = timespec(us);
        let entry = once(&self.alarm, Op::Alarm);
        self.push(entry);
    }

    /// Wakes the core that sleeps on `ring`.
    pub(crate) fn ring(&mut self, ring: RawFd) {
        let none = Token { index: 0, generation: 0 };
        let entry = opcode::MsgRingData::new(types::Fd(ring), 0, none.user_data(Op::Rung), None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        self.push(entry.user_data(none.user_data(Op::Ring)));
    }

    /// Completes whenever `eventfd` is readable.
    pub(crate) fn watch(&mut self, eventfd: RawFd) {
        const POLLIN: u32 = libc::POLLIN as u32;
        let entry = opcode::PollAdd::new(types::Fd(eventfd), POLLIN).multi(true).build();
        self.push(entry.user_data(Token { index: 0, generation: 0 }.user_data(Op::Event)));
    }
}

/// Completes once, after so much time; the kernel reads it when it is entered.
fn once(time: &types::Timespec, op: Op) -> squeue::Entry {
    let entry = opcode::Timeout::new(&raw const *time).count(0).build();
    entry.user_data(Token { index: 0, generation: 0 }.user_data(op))
}

/// Errors of a receive after which it is simply started again.
pub(crate) fn is_passing(errno: i32) -> bool {
    matches!(errno, libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN)
}

fn timespec(us: u64) -> types::Timespec {
    let ns = u32::try_from(us.saturating_mul(1000)).unwrap_or(u32::MAX).min(999_999_999);
    types::Timespec::new().nsec(ns)
}
