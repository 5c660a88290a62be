//! Connections that speak the binary protocol: from frames to requests, from replies to frames.
//!
//! Requests go the same ways as RESP's (`dispatch`); what differs is here: how bytes become a window,
//! what is checked before a request is routed, and that replies need no order, so that those of other
//! cores go out as they come.

use super::connection::{Connection, Port, State};
use super::core::Core;
use super::dispatch::{Flow, call};
use super::window::{InHand, Request, Scratch, Stop};
use crate::command::binary::{
    self, Failure, NO_AUTH, NOT_ALLOWED, Native, Operations, Run, SessionOperation,
};
use crate::command::table::Entry;
use crate::command::{Error, Flags, SessionCx};
use crate::limits::{BINARY_FRAME_ITEMS_MAX, BINARY_REPLY_FRAME_BYTES, WINDOW_REQUESTS_MAX};
use crate::protocol::binary::{
    Extras, FrameError, FrameLimits, Frames, Opcode, REQUEST_MAGIC, ReplyFrame, ReplyHead,
    RequestHead, Status,
};
use crate::protocol::{Args, Proto};
use crate::shard::Call;
use crate::types::{MonoUs, Slot};

/// What a connection has that speaks the binary protocol.
#[derive(Debug, Default)]
pub(crate) struct BinaryState {
    /// How far the frames that came in have been read.
    frames: Frames<RequestHead>,
    /// The replies to the window that is being run.
    open: Option<Replies>,
    /// Replies that other cores owe.
    pub(super) owed: usize,
}

impl BinaryState {
    /// Whether requests are left whose heads have been read.
    pub(super) fn has_unread(&self) -> bool {
        !self.frames.is_idle()
    }

    /// Gives back memory that is not needed while the connection is idle.
    pub(super) fn shrink(&mut self) {
        self.frames.shrink();
    }

    /// A reply to a request of the window is complete: its body was just appended to `out`.
    #[inline]
    pub(super) fn push(&mut self, out: &mut Vec<u8>, head: ReplyHead, epoch: u64) {
        match &mut self.open {
            Some(replies) => replies.push(out, head, epoch),
            None => unreachable!("replies that come later bring a frame of their own"),
        }
    }

    /// A reply that was written elsewhere. After its window it becomes a frame by itself.
    pub(super) fn deliver(&mut self, out: &mut Vec<u8>, head: ReplyHead, body: &[u8], epoch: u64) {
        match &mut self.open {
            Some(replies) => {
                out.extend_from_slice(body);
                replies.push(out, head, epoch);
            }
            None => ReplyFrame::single(out, head, body, low_half(epoch)),
        }
    }
}

/// Replies that are written one after another, in as many frames as they need.
#[derive(Debug)]
pub(crate) struct Replies {
    frame: ReplyFrame,
    to_come: usize,
}

impl Replies {
    /// Begins with room for `count` replies.
    pub(crate) fn begin(out: &mut Vec<u8>, count: usize) -> Self {
        let frame = ReplyFrame::begin(out, count.min(BINARY_FRAME_ITEMS_MAX));
        Self { frame, to_come: count }
    }

    /// The body that was appended since the last reply is this one's.
    #[inline]
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, head: ReplyHead, epoch: u64) {
        self.frame.push(out, head);
        self.to_come -= 1;
        let is_full = self.frame.room() == 0 || self.frame.body_bytes() > BINARY_REPLY_FRAME_BYTES;
        if is_full && self.to_come > 0 {
            self.frame.finish(out, low_half(epoch));
            *self = Self::begin(out, self.to_come);
        }
    }

    /// Closes the last frame.
    pub(crate) fn finish(self, out: &mut Vec<u8>, epoch: u64) {
        self.frame.finish(out, low_half(epoch));
    }
}

/// What a frame's header says of an epoch.
#[expect(clippy::cast_possible_truncation, reason = "the header has room for the low half")]
pub(super) fn low_half(epoch: u64) -> u32 {
    epoch as u32
}

impl Core<'_> {
    /// Decides by its first byte what a connection speaks.
    #[cold]
    pub(super) fn choose_protocol(&mut self, connection: &mut Connection, first: u8) {
        connection.protocol_known = true;
        let own_port = connection.port == Port::Binary;
        if first == REQUEST_MAGIC || (own_port && first >= 0x80) {
            connection.binary = Some(Box::default());
            connection.session.proto = Proto::Resp3;
            connection.session.info.set_proto(Proto::Resp3);
        } else if own_port {
            // No client of the binary protocol: most likely one that speaks RESP.
            let port = self.node.topology.announced_port();
            let text = format!("ERR this port speaks the binary protocol, port {port} speaks RESP");
            self.engine.metrics.protocol_errors.increment();
            self.refuse(connection, None, &Error::Text(text));
            connection.state = State::Draining;
        }
    }

    /// Runs the requests in `bytes` as far as they are whole and the connection may go on, as
    /// [`run_requests`](Self::run_requests) does.
    pub(super) fn run_frames(&mut self, connection: &mut Connection, bytes: &[u8]) -> usize {
        let Some(state) = &mut connection.binary else { unreachable!("the caller has looked") };
        let mut frames = std::mem::take(&mut state.frames);
        let mut scratch = self.scratch.take().unwrap_or_default();
        let Scratch { parser, window, sorted, burst } = &mut *scratch;
        let mut consumed = 0;
        connection.wanted_bytes = 0;
        self.engine.start_slice();
        while consumed < bytes.len() || !frames.is_idle() {
            let limits = self.frame_limits(connection);
            let ran = self.run_burst(connection, &mut frames, (bytes, consumed), &limits, burst);
            if ran.count > 0 && connection.is_running() {
                consumed = ran.end;
                continue;
            }
            consumed = ran.end;
            // Limits change with authentication: until then, one request at a time.
            let most = if self.needs_auth(connection) { 1 } else { WINDOW_REQUESTS_MAX };
            let stop = window.fill_native(&mut frames, bytes, consumed, &limits, most);
            let requests = InHand { window, parser, bytes };
            self.look_ahead(connection, &requests);
            self.open_replies(connection, window.requests.len());
            let ran = self.run_window(connection, &requests, sorted);
            self.close_replies(connection);
            consumed = ran.end;
            if let Some(native) = ran.stopped_at.and_then(|request| window.requests[request].native)
            {
                frames.rewind(native.1);
            }
            if !connection.is_running() {
                break;
            }
            match stop {
                Stop::Incomplete(wanted_bytes) => {
                    connection.wanted_bytes = wanted_bytes;
                    break;
                }
                Stop::Frame(error) => {
                    self.refuse_frame(connection, &error);
                    consumed = bytes.len();
                    frames = Frames::default();
                }
                Stop::Full | Stop::Error(_) => {}
            }
        }
        if let Some(state) = &mut connection.binary {
            state.frames = frames;
        }
        self.scratch = Some(scratch);
        self.end_batch(connection);
        consumed
    }

    fn frame_limits(&self, connection: &Connection) -> FrameLimits {
        if self.needs_auth(connection) {
            return FrameLimits::before_auth();
        }
        FrameLimits::requests(self.config.proto_max_bulk_len_bytes)
    }

    fn open_replies(&self, connection: &mut Connection, count: usize) {
        if let Some(state) = &mut connection.binary {
            state.open = Some(Replies::begin(connection.output.tail(), count));
        }
    }

    fn close_replies(&self, connection: &mut Connection) {
        let replies = connection.binary.as_mut().and_then(|state| state.open.take());
        if let Some(replies) = replies {
            replies.finish(connection.output.tail(), self.engine.owners.epoch());
        }
    }

    /// Tells a client what is wrong with its frame, and lets it go: where the next one begins nobody
    /// knows.
    #[cold]
    fn refuse_frame(&mut self, connection: &mut Connection, error: &FrameError) {
        self.engine.metrics.protocol_errors.increment();
        let failure = Failure { status: error.status(), text: error.to_string().into() };
        let mut body = Vec::new();
        let head = self.engine.reject_native(None, (0, 0), &failure, &mut body);
        let epoch = low_half(self.engine.owners.epoch());
        ReplyFrame::single(connection.output.tail(), head, &body, epoch);
        connection.state = State::Draining;
    }

    // --- one request -----------------------------------------------------------------------------

    /// Runs a request, or sends it where it can be run.
    pub(super) fn dispatch_native(
        &mut self,
        connection: &mut Connection,
        request: &Request,
        head: &RequestHead,
        args: &Args<'_>,
    ) -> Flow {
        let (Some(entry), Some(operation)) = (request.entry, Operations::get().find(head.opcode))
        else {
            return self.refuse_unreadable(connection, head, args);
        };
        if let Err(failure) = self.admit(connection, entry, head) {
            return self.refuse_native(connection, Some(entry), head, &failure);
        }
        if self.hold_if_paused(connection, entry) == Flow::Left {
            return Flow::Left;
        }
        let native = self.native(connection, request, head, args);
        match operation.run() {
            Run::Session(operation) => {
                self.run_operation(connection, (entry, operation), &native, args)
            }
            Run::Data(_) | Run::Command => {
                let call = call(&connection.session, entry, request.slot).with_native(native);
                self.route_and_run(connection, &call, args)
            }
        }
    }

    /// Whether the client may ask for this, and the server can do it as asked.
    #[inline]
    pub(super) fn admit(
        &self,
        connection: &Connection,
        entry: &Entry,
        head: &RequestHead,
    ) -> Result<(), Failure> {
        let flags = entry.command.flags;
        if self.needs_auth(connection) && !flags.contains(Flags::NO_AUTH) {
            return Err(NO_AUTH);
        }
        if head.opcode == Opcode::Command.number() && !binary::may_be_escaped(entry) {
            return Err(NOT_ALLOWED);
        }
        if self.refuses_data() && !flags.contains(Flags::LOADING) {
            return Err(Failure::from(Error::Loading));
        }
        Ok(())
    }

    /// What is known of a request where it is run.
    #[inline]
    pub(super) fn native(
        &self,
        connection: &Connection,
        request: &Request,
        head: &RequestHead,
        args: &Args<'_>,
    ) -> Native {
        let mut native = Native { head: *head, deadline: None, token: None };
        if head.flags.extras_bytes() > 0 {
            let extras = Extras::read(head.flags, args.bytes());
            native.token = extras.token;
            native.deadline = extras.deadline_us.map(|deadline| {
                let arrived = connection.timeline.arrived_by(request.end);
                let arrived = arrived.unwrap_or_else(|| self.stages.earliest());
                MonoUs(self.engine.mono(arrived).0.saturating_add(deadline))
            });
        }
        native
    }

    /// Runs an operation on the connection or the server. But for a ping, it sees the effects of all
    /// that came before it.
    fn run_operation(
        &mut self,
        connection: &mut Connection,
        (entry, operation): (&'static Entry, SessionOperation),
        native: &Native,
        args: &Args<'_>,
    ) -> Flow {
        let is_ping = native.head.opcode == Opcode::Ping.number();
        if !is_ping && self.wait_for_replies(connection) == Flow::Left {
            return Flow::Left;
        }
        if entry.command.flags.contains(Flags::LOADING) {
            self.publish_held();
        }
        let call = Call { native: Some(*native), ..call(&connection.session, entry, Slot(0)) };
        self.show_to_monitors(connection, &call, args);
        let (mut actions, mut body) = (Vec::new(), Vec::new());
        let client = connection.session.info.clone();
        let session = &mut connection.session;
        let (now, core, node) = (self.engine.now, self.id, self.node);
        let mut cx = SessionCx { now, core, session, node, actions: &mut actions };
        let request = binary::Request { head: &native.head, args: *args };
        let result = if self.engine.is_late(native) {
            Err(binary::TOO_LATE)
        } else {
            operation(&mut cx, &request, &mut body).inspect_err(|_| body.clear())
        };
        let out = (0, &mut body);
        let head = self.engine.finish_native((&call, native), &client, args, result, out);
        if Status::from_number(head.status).is_some_and(Status::is_fatal) {
            connection.state = State::Draining;
        }
        debug_assert!(actions.is_empty(), "operations ask nothing of the runtime");
        self.deliver(connection, head, &body);
        Flow::Taken
    }

    /// Gives a connection the reply to one of its requests.
    pub(super) fn deliver(&self, connection: &mut Connection, head: ReplyHead, body: &[u8]) {
        if let Some(state) = &mut connection.binary {
            let epoch = self.engine.owners.epoch();
            state.deliver(connection.output.tail(), head, body, epoch);
        }
    }

    /// Refuses a request that is one, for `failure`.
    pub(super) fn refuse_native(
        &mut self,
        connection: &mut Connection,
        entry: Option<&Entry>,
        head: &RequestHead,
        failure: &Failure,
    ) -> Flow {
        let mut body = Vec::new();
        let head = self.engine.reject_native(entry, (head.id, head.opcode), failure, &mut body);
        self.deliver(connection, head, &body);
        Flow::Taken
    }

    /// Refuses a request that could not be read, or not as one for its opcode.
    #[cold]
    fn refuse_unreadable(
        &mut self,
        connection: &mut Connection,
        head: &RequestHead,
        args: &Args<'_>,
    ) -> Flow {
        let (entry, failure) = match Operations::get().read(head, args.bytes(), &mut Vec::new()) {
            Err(failure) => (None, failure),
            Ok(operation) => match operation.run() {
                Run::Command if self.needs_auth(connection) => (None, NO_AUTH),
                Run::Command => match self.table.resolve(args) {
                    Ok(entry) => unreachable!("{} was not found before", entry.full_name),
                    Err(error) => (self.table.lookup(&args[0]), Failure::from(error)),
                },
                Run::Data(_) | Run::Session(_) => {
                    (Some(operation.entry), binary::wrong_slot(args.at(1), head))
                }
            },
        };
        self.refuse_native(connection, entry, head, &failure)
    }
}
