//! One connection as bytes: requests to frames, frames to replies. No I/O, no clock.
//!
//! ```text
//! attempts ─► frame being gathered ─► output ─────────► kernel
//!                                     ^base   ^sent      what is before `sent` counts as with the server
//! callers  ◄─ pending, by id ◄─ input ◄──────────────── kernel
//! ```
//!
//! Whatever requests are at hand when a frame is closed go into one frame; replies are matched by id, in
//! whichever order they come. When the connection is lost, every request without a reply is told whether
//! the server may have it.

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::Instant;

use super::call::{Answer, Attempt, Lost};
use super::error::Cause;
use super::pending::{Entry, Pending, Waiting};
use crate::limits::{
    BINARY_FRAME_ITEMS_MAX, CLIENT_COPIED_BYTES_MAX, CLIENT_INPUT_BYTES, CLIENT_OUTPUT_BYTES_MAX,
};
use crate::protocol::binary::body::{Features, write_list};
use crate::protocol::binary::frame::{HEADER_BYTES, Head};
use crate::protocol::binary::{
    Durability, Extras, FrameLimits, Frames, Greeting, Next, Opcode, ReplyHead, RequestFlags,
    RequestFrame, RequestHead, Status, Topology,
};
use crate::types::Slot;

/// The protocol's side of one connection.
#[derive(Debug)]
pub(super) struct Wire {
    /// What the server takes.
    limits: FrameLimits,
    /// What is taken from it.
    reply_limits: FrameLimits,
    frames: Frames<ReplyHead>,
    input: BytesMut,
    /// Bytes of input without which nothing can be read.
    needed: usize,
    frame: RequestFrame,
    /// The requests of `frame`, and where their bodies end among its bodies.
    framed: Vec<(u32, usize)>,
    output: Vec<u8>,
    sent: usize,
    base: u64,
    pending: Pending,
    topology: Option<Topology>,
    subscribed: bool,
    /// The epoch, as frames name it, that was learned or asked for last.
    epoch: u32,
    /// When the server last sent something, or began to owe something.
    silent_since: Instant,
    /// Frames closed so far.
    pub(super) frames_sent: u64,
    /// Requests of these frames.
    pub(super) requests_sent: u64,
}

impl Wire {
    /// Behind the handshake, which gave `greeting` and left `input`.
    pub(super) fn new(
        greeting: &Greeting,
        reply_body_bytes_max: usize,
        input: BytesMut,
        now: Instant,
    ) -> Self {
        let mut wire = Self {
            limits: greeting.limits,
            reply_limits: FrameLimits {
                value_bytes_max: reply_body_bytes_max,
                ..FrameLimits::WIDEST
            },
            frames: Frames::default(),
            input,
            needed: 0,
            frame: RequestFrame::default(),
            framed: Vec::new(),
            output: Vec::new(),
            sent: 0,
            base: 0,
            pending: Pending::default(),
            topology: None,
            subscribed: greeting.features.contains(Features::TOPOLOGY_PUSH),
            epoch: low_bits(greeting.topology.epoch),
            silent_since: now,
            frames_sent: 0,
            requests_sent: 0,
        };
        if wire.subscribed {
            wire.ask(Opcode::SubscribeTopology, Waiting::Topology, now);
        }
        wire
    }

    // --- requests --------------------------------------------------------------------------------

    /// Whether more requests may be added now.
    pub(super) fn has_room(&self) -> bool {
        self.output.len() - self.sent + self.frame.frame_bytes() < CLIENT_OUTPUT_BYTES_MAX
    }

    /// Adds a request, unless its caller has given it up or its time is up.
    pub(super) fn take(&mut self, attempt: Attempt, now: Instant) {
        let left = attempt.deadline.saturating_duration_since(now);
        if left.is_zero() {
            return attempt.not_sent(Cause::NoReply(left));
        }
        if attempt.reply.is_closed() || !attempt.stage.take() {
            return;
        }
        let call = attempt.call;
        let head = RequestHead {
            durability: call.durability as u8,
            flags: call.flags,
            slot: call.slot,
            ..RequestHead::new(0, call.opcode)
        };
        let deadline_us = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
        let extras = Extras { deadline_us: Some(deadline_us), ..call.extras };
        let waiting = Waiting::Caller(attempt.reply, attempt.permit);
        self.push(head, &extras, &call.key, &call.value, waiting, now);
    }

    /// Has the server show that it is alive.
    pub(super) fn ping(&mut self, now: Instant) {
        self.ask(Opcode::Ping, Waiting::Ping, now);
    }

    /// Asks for the topology.
    pub(super) fn ask_topology(&mut self, now: Instant) {
        self.ask(Opcode::Topology, Waiting::Topology, now);
    }

    /// Says that reads of what others lead are to be answered too. If the server does not take that, it sends them
    /// elsewhere.
    pub(super) fn read_only(&mut self, now: Instant) {
        let head = RequestHead {
            durability: Durability::Default as u8,
            flags: RequestFlags::empty(),
            slot: Slot(0),
            ..RequestHead::new(0, Opcode::Command)
        };
        let mut command = Vec::new();
        write_list(&mut command, &["READONLY"]);
        self.push(head, &Extras::default(), b"", &command, Waiting::Ping, now);
    }

    fn ask(&mut self, opcode: Opcode, waiting: Waiting, now: Instant) {
        let head = RequestHead {
            durability: Durability::Default as u8,
            flags: RequestFlags::empty(),
            slot: Slot(0),
            ..RequestHead::new(0, opcode)
        };
        self.push(head, &Extras::default(), b"", b"", waiting, now);
    }

    fn push(
        &mut self,
        head: RequestHead,
        extras: &Extras,
        key: &[u8],
        value: &[u8],
        waiting: Waiting,
        now: Instant,
    ) {
        let bytes = (head.flags | extras.flags()).extras_bytes() + key.len() + value.len();
        let items_max = self.limits.items_max.min(BINARY_FRAME_ITEMS_MAX);
        if self.frame.len() >= items_max || self.bodies_bytes() + bytes > self.limits.body_bytes_max
        {
            self.close_frame();
        }
        if self.pending.is_empty() {
            self.silent_since = now;
        }
        let entry = Entry { opcode: head.opcode, waiting, whole_at: u64::MAX };
        let id = match self.pending.insert(entry) {
            Ok(id) => id,
            Err(entry) => return settle(entry, false, &too_many()),
        };
        match self.frame.push(RequestHead { id, ..head }, extras, key, value) {
            Ok(()) => self.framed.push((id, self.bodies_bytes())),
            Err(full) => {
                // Lengths were checked against the greeting; a server that now takes less is one anew.
                if let Some(entry) = self.pending.remove(id) {
                    settle(entry, false, &Cause::Protocol(full.to_string()));
                }
            }
        }
    }

    /// Bytes of bodies in the frame being gathered.
    fn bodies_bytes(&self) -> usize {
        let heads = self.frame.len() * RequestHead::BYTES;
        self.frame.frame_bytes() - HEADER_BYTES - heads
    }

    /// Lets the requests gathered so far go out.
    pub(super) fn close_frame(&mut self) {
        if self.frame.is_empty() {
            return;
        }
        let bodies = self.bodies_bytes();
        self.frames_sent += 1;
        self.requests_sent += self.framed.len() as u64;
        self.frame.finish(&mut self.output);
        if bodies > CLIENT_OUTPUT_BYTES_MAX {
            // Memory that a large value has needed is given back.
            self.frame = RequestFrame::default();
        }
        let bodies_at = self.base + (self.output.len() - bodies) as u64;
        for (id, body_end) in self.framed.drain(..) {
            if let Some(entry) = self.pending.get_mut(id) {
                entry.whole_at = bodies_at + body_end as u64;
            }
        }
    }

    /// What the kernel should take.
    pub(super) fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// The kernel has taken so many bytes.
    pub(super) fn wrote(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.output.len() {
            self.base += self.sent as u64;
            self.sent = 0;
            self.output.clear();
            self.output.shrink_to(2 * CLIENT_OUTPUT_BYTES_MAX);
        }
    }

    // --- replies ---------------------------------------------------------------------------------

    /// Where the kernel should put what has arrived.
    pub(super) fn input(&mut self) -> &mut BytesMut {
        let missing = self.needed.saturating_sub(self.input.len());
        self.input.reserve(missing.max(CLIENT_INPUT_BYTES));
        &mut self.input
    }

    /// Something has arrived: answers who waits for it.
    ///
    /// # Errors
    /// When it is no reply, or not to a request that was sent: the connection is of no more use.
    pub(super) fn received(&mut self, now: Instant) -> Result<(), Cause> {
        self.silent_since = now;
        let mut at = 0;
        let mut answered = false;
        loop {
            match self.frames.next(&self.input, at, &self.reply_limits) {
                Err(error) => return Err(Cause::Protocol(error.to_string())),
                Ok(Next::Incomplete { needed }) => {
                    self.needed = needed;
                    break;
                }
                Ok(Next::Item(item)) => {
                    answered = true;
                    let body = if item.end - item.start <= CLIENT_COPIED_BYTES_MAX {
                        at = item.end;
                        Bytes::copy_from_slice(&self.input[item.start..item.end])
                    } else {
                        at = 0;
                        self.input.advance(item.start);
                        self.input.split_to(item.end - item.start).freeze()
                    };
                    self.answer(item.head, body)?;
                }
            }
        }
        self.frames.forget();
        self.input.advance(at);
        if answered {
            self.look_at_epoch(now);
        }
        Ok(())
    }

    /// Hands one reply to who waits for it.
    fn answer(&mut self, head: ReplyHead, body: Bytes) -> Result<(), Cause> {
        if head.opcode & Opcode::PUSH != 0 {
            return self.pushed(head, &body);
        }
        if head.id == 0 {
            let message = String::from_utf8_lossy(&body).into_owned();
            let status = head.status().unwrap_or(Status::Error);
            return Err(Cause::Refused { status, message });
        }
        let strange = |what: &str| Cause::Protocol(format!("a reply with id {} {what}", head.id));
        let entry = self.pending.remove(head.id).ok_or_else(|| strange("to no request"))?;
        if entry.opcode != head.opcode {
            settle(entry, true, &strange("to another operation"));
            return Err(strange("to another operation"));
        }
        match entry.waiting {
            Waiting::Caller(reply, permit) => {
                // Who has given up is not told.
                let _ = reply.send(Ok(Answer::new(head, body)));
                drop(permit);
                Ok(())
            }
            Waiting::Topology if head.status() == Some(Status::Ok) => self.learn(&body),
            Waiting::Topology | Waiting::Ping => Ok(()),
        }
    }

    fn pushed(&mut self, head: ReplyHead, body: &[u8]) -> Result<(), Cause> {
        if head.opcode == Opcode::SubscribeTopology.number() | Opcode::PUSH {
            return self.learn(body);
        }
        // A later version's push, which an older client does without.
        Ok(())
    }

    fn learn(&mut self, body: &[u8]) -> Result<(), Cause> {
        let topology = Topology::read(body).map_err(|error| Cause::Protocol(error.to_string()))?;
        self.epoch = low_bits(topology.epoch);
        self.topology = Some(topology);
        Ok(())
    }

    /// Asks for a topology of which a frame has told, where it is not pushed; once.
    fn look_at_epoch(&mut self, now: Instant) {
        let epoch = self.frames.epoch();
        if !self.subscribed && epoch != self.epoch {
            self.epoch = epoch;
            self.ask_topology(now);
        }
    }

    /// The newest topology learned since the last call.
    pub(super) fn take_topology(&mut self) -> Option<Topology> {
        self.topology.take()
    }

    // --- the end ---------------------------------------------------------------------------------

    /// Whether the server owes nothing, and nothing waits to be sent.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Since when the server has sent nothing; while it owes nothing, since when it has not had to.
    pub(super) fn silent_since(&self) -> Instant {
        self.silent_since
    }

    /// Tells everyone who waits that no reply will come.
    pub(super) fn fail(&mut self, cause: &Cause) {
        let sent = self.base + self.sent as u64;
        for entry in self.pending.drain() {
            let whole = entry.whole_at <= sent;
            settle(entry, whole, cause);
        }
        self.framed.clear();
    }
}

/// Tells who waits that no reply will come.
fn settle(entry: Entry, sent: bool, cause: &Cause) {
    match entry.waiting {
        Waiting::Caller(reply, permit) => {
            // Who has given up is not told.
            let _ = reply.send(Err(Lost { sent, cause: cause.clone() }));
            drop(permit);
        }
        Waiting::Topology | Waiting::Ping => {}
    }
}

fn too_many() -> Cause {
    Cause::Protocol("more requests are under way than there are ids".into())
}

/// An epoch as frames name it.
#[expect(clippy::cast_possible_truncation, reason = "the lowest 32 bits are what frames carry")]
fn low_bits(epoch: u64) -> u32 {
    epoch as u32
}

#[cfg(test)]
mod tests {
    use super::Wire;
    use crate::client::call::{Answer, Attempt, Call, Lost};
    use crate::client::error::Cause;
    use crate::protocol::binary::body::Features;
    use crate::protocol::binary::{
        FrameLimits, Frames, Greeting, Next, Opcode, ReplyFrame, ReplyHead, RequestHead, Status,
        Topology,
    };
    use bytes::BytesMut;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::{Semaphore, oneshot};
    use tokio::time::Instant;

    type Reply = oneshot::Receiver<Result<Answer, Lost>>;

    fn wire() -> Wire {
        let greeting = Greeting {
            version: 1,
            features: Features::empty(),
            client: 1,
            life: 1,
            limits: FrameLimits::requests(1 << 20),
            key_bytes_max: 65_535,
            server: String::new(),
            topology: Topology { epoch: 1, ..Topology::default() },
        };
        Wire::new(&greeting, 1 << 20, BytesMut::new(), Instant::now())
    }

    fn take(wire: &mut Wire, call: Call) -> Reply {
        let (reply, replied) = oneshot::channel();
        let attempt = Attempt {
            call: Arc::new(call),
            deadline: Instant::now() + Duration::from_secs(60),
            stage: Arc::default(),
            reply,
            permit: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
        };
        wire.take(attempt, Instant::now());
        replied
    }

    /// Whether each of the requests counts as sent after its connection was lost.
    fn fates(wire: &mut Wire, replies: Vec<Reply>) -> Vec<bool> {
        wire.fail(&Cause::Closed);
        let fate = |mut reply: Reply| match reply.try_recv().unwrap() {
            Err(Lost { sent, cause: Cause::Closed }) => sent,
            other => panic!("{other:?}"),
        };
        replies.into_iter().map(fate).collect()
    }

    /// The ids of the requests in `bytes`, and where the body of each ends.
    fn requests(bytes: &[u8]) -> Vec<(u32, usize)> {
        let mut frames = Frames::<RequestHead>::default();
        let (mut at, mut found) = (0, Vec::new());
        while let Next::Item(item) = frames.next(bytes, at, &FrameLimits::WIDEST).unwrap() {
            at = item.end;
            found.push((item.head.id, item.end));
        }
        found
    }

    #[test]
    fn a_request_counts_as_sent_when_the_kernel_has_all_of_it() {
        // Two frames of three; the kernel takes more and more of them.
        let written = {
            let (mut wire, _replies) = two_frames();
            let bytes = wire.output().to_vec();
            wire.wrote(bytes.len());
            bytes
        };
        let ends: Vec<usize> = requests(&written).into_iter().map(|(_, end)| end).collect();
        assert_eq!((ends.len(), ends[5]), (6, written.len()));
        for taken in 0..=written.len() {
            let (mut wire, replies) = two_frames();
            // In two steps, as it may come.
            wire.wrote(taken / 2);
            wire.wrote(taken - taken / 2);
            let expect: Vec<bool> = ends.iter().map(|end| *end <= taken).collect();
            assert_eq!(fates(&mut wire, replies), expect, "{taken} bytes taken");
        }
    }

    fn two_frames() -> (Wire, Vec<Reply>) {
        let mut wire = wire();
        let mut replies = Vec::new();
        for _ in 0..2 {
            for value in ["a", "", "a longer value"] {
                replies.push(take(&mut wire, Call::append(b"key", value)));
            }
            wire.close_frame();
        }
        (wire, replies)
    }

    #[test]
    fn what_was_sent_before_does_not_count_for_what_comes_later() {
        let mut wire = wire();
        let first = take(&mut wire, Call::increment(b"n", 1));
        wire.close_frame();
        wire.wrote(wire.output().len());
        let second = take(&mut wire, Call::increment(b"n", 1));
        wire.close_frame();
        let third = take(&mut wire, Call::increment(b"n", 1));
        assert_eq!(fates(&mut wire, vec![first, second, third]), [true, false, false]);
    }

    #[test]
    fn replies_are_read_however_they_are_cut() {
        let large = vec![b'x'; 10_000];
        let write = |wire: &Wire| {
            let ids = requests(wire.output());
            let mut out = Vec::new();
            let mut frame = ReplyFrame::begin(&mut out, 2);
            for (id, body) in [(ids[1].0, &large[..]), (ids[0].0, b"small")] {
                out.extend_from_slice(body);
                frame.push(&mut out, ReplyHead::new(id, Opcode::Get.number(), Status::Ok));
            }
            frame.finish(&mut out, 1);
            let last = ReplyHead::new(ids[2].0, Opcode::Get.number(), Status::NotFound);
            ReplyFrame::single(&mut out, last, b"", 1);
            out
        };
        for step in [1, 7, 100, 4_096, 20_000] {
            let mut wire = wire();
            let mut replies: Vec<Reply> =
                (0..3).map(|_| take(&mut wire, Call::get(b"key"))).collect();
            wire.close_frame();
            let bytes = write(&wire);
            for part in bytes.chunks(step) {
                wire.input().extend_from_slice(part);
                wire.received(Instant::now()).unwrap();
            }
            let mut body = |index: usize| replies[index].try_recv().unwrap().unwrap().body;
            assert_eq!(body(0), "small");
            assert_eq!(body(1), large);
            assert_eq!(body(2), "");
            assert!(wire.is_idle());
        }
    }

    #[test]
    fn another_epoch_is_asked_for_once() {
        let mut wire = wire();
        let reply = |epoch| {
            let mut out = Vec::new();
            let push = ReplyHead::new(0, Opcode::Touch.number() | Opcode::PUSH, Status::Ok);
            ReplyFrame::single(&mut out, push, b"of a later version", epoch);
            out
        };
        for (epoch, asked) in [(1, false), (5, true), (5, false), (6, true)] {
            wire.input().extend_from_slice(&reply(epoch));
            wire.received(Instant::now()).unwrap();
            wire.close_frame();
            assert_eq!(!wire.output().is_empty(), asked, "epoch {epoch}");
            wire.wrote(wire.output().len());
        }
    }
}
