//! What a connection has to send: bytes on their way, bytes ready to go, and, behind commands that
//! another core is still working on, replies that must wait for their turn.
//!
//! ```text
//! in_flight (the kernel's) │ queued │ held │ coming │ ready │ slots: [Waiting A][Ready …][Waiting A][Value]
//! ```
//!
//! Replies leave in the order of their requests: bytes move from the slots to `ready` only as far as
//! the first slot that still waits. A value too long to be copied is sent from where it lies; what is
//! ready before it goes into `coming`, and it behind. What must wait for the disk moves on to `held`, and
//! all that comes behind with it; from there, or past it where nothing is held, it gets to `queued`, where
//! nothing keeps it any more.

use std::collections::VecDeque;

use super::batch::BatchReplies;
use super::gate::Gate;
use crate::cache::{Extent, SharedBytes};
use crate::limits::{LONG_BYTES_MIN, SEND_BYTES_MAX};
use crate::node::replica_stats::Passage;
use crate::protocol::{Proto, Reply};

/// Replies of one connection, in the order of its requests.
#[derive(Debug, Default)]
pub(crate) struct Output {
    in_flight: Vec<u8>,
    /// The long value that is being sent, in place of `in_flight`.
    value_in_flight: Option<SharedBytes>,
    sent: usize,
    queued: VecDeque<Piece>,
    coming: VecDeque<Piece>,
    /// Bytes in `queued` and `coming`.
    queued_bytes: usize,
    ready: Vec<u8>,
    slots: VecDeque<Slot>,
    /// Bytes in all slots but the last, which may still grow.
    slot_bytes: usize,
    /// A long value that has been sent, until it is [taken](Self::take_sent_value).
    sent_value: Option<SharedBytes>,
    /// What must not be sent before something is on disk, in order; all that is ready comes behind it.
    held: VecDeque<Held>,
    /// Bytes in `held`.
    held_bytes: usize,
    /// The most bytes that waited at once, lately.
    peak: usize,
    /// Whether the last has been said: what comes now goes into the slots, and stays there.
    has_ended: bool,
}

/// What is ready to be sent in front of a long value, and the value.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Value(SharedBytes),
}

/// Pieces that wait for the disk.
#[derive(Debug)]
struct Held {
    gate: Gate,
    pieces: VecDeque<Piece>,
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Value(value) => value.len(),
        }
    }

    fn value(&self) -> Option<&SharedBytes> {
        match self {
            Self::Bytes(_) => None,
            Self::Value(value) => Some(value),
        }
    }
}

#[derive(Debug)]
enum Slot {
    Ready(Vec<u8>),
    /// A whole reply that is one long value.
    Value(SharedBytes),
    Waiting {
        ticket: u64,
        muted: bool,
    },
}

impl Slot {
    fn len(&self) -> usize {
        match self {
            Self::Ready(bytes) => bytes.len(),
            Self::Value(value) => value.len(),
            Self::Waiting { .. } => 0,
        }
    }
}

impl Output {
    /// Where the next reply is to be appended.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        if self.slots.is_empty() && !self.has_ended {
            return &mut self.ready;
        }
        if !matches!(self.slots.back(), Some(Slot::Ready(_))) {
            self.push_slot(Slot::Ready(Vec::new()));
        }
        match self.slots.back_mut() {
            Some(Slot::Ready(bytes)) => bytes,
            _ => unreachable!("a ready slot was just put there"),
        }
    }

    /// Appends replies, which may be very long.
    pub(crate) fn append(&mut self, replies: Vec<u8>) {
        let tail = self.tail();
        if tail.is_empty() {
            *tail = replies;
        } else {
            tail.extend_from_slice(&replies);
        }
    }

    /// Appends a reply that is one long value.
    pub(crate) fn push_value(&mut self, value: SharedBytes) {
        if self.slots.is_empty() && !self.has_ended {
            self.queue_value(value);
        } else {
            self.push_slot(Slot::Value(value));
        }
    }

    /// Reserves the next place for a reply that batch `ticket` will bring; a `muted` one is dropped
    /// when it comes (`CLIENT REPLY`).
    pub(crate) fn wait_for(&mut self, ticket: u64, muted: bool) {
        self.push_slot(Slot::Waiting { ticket, muted });
    }

    fn push_slot(&mut self, slot: Slot) {
        self.slot_bytes += self.slots.back().map_or(0, Slot::len);
        self.slots.push_back(slot);
    }

    /// Puts a long value, as a bulk string, behind what is ready.
    fn queue_value(&mut self, value: SharedBytes) {
        // A head is the same in both protocols.
        Reply::new(&mut self.ready, Proto::Resp2).bulk_head(value.len());
        let head = std::mem::take(&mut self.ready);
        self.queued_bytes += head.len() + value.len();
        self.coming.extend([Piece::Bytes(head), Piece::Value(value)]);
        self.ready.extend_from_slice(b"\r\n");
    }

    /// Holds back, until `gate` opens, all that is ready and has not been let go.
    pub(crate) fn hold(&mut self, gate: Gate) {
        if self.has_ended {
            return;
        }
        let mut pieces = std::mem::take(&mut self.coming);
        self.queued_bytes -= pieces.iter().map(Piece::len).sum::<usize>();
        if !self.ready.is_empty() {
            pieces.push_back(Piece::Bytes(std::mem::take(&mut self.ready)));
        }
        self.held_bytes += pieces.iter().map(Piece::len).sum::<usize>();
        if !pieces.is_empty() || !gate.is_empty() {
            self.held.push_back(Held { gate, pieces });
        }
    }

    /// Whether something is held back.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Lets go what was held back, as far as `look` finds gates open; true if one never opens.
    pub(crate) fn release(&mut self, mut look: impl FnMut(&mut Gate) -> Passage) -> bool {
        while let Some(held) = self.held.front_mut() {
            match look(&mut held.gate) {
                Passage::Open => {}
                Passage::Shut => return false,
                Passage::Never => return true,
            }
            let pieces = self.held.pop_front().map(|held| held.pieces).unwrap_or_default();
            let bytes = pieces.iter().map(Piece::len).sum::<usize>();
            self.held_bytes -= bytes;
            self.queued_bytes += bytes;
            self.queued.extend(pieces);
        }
        false
    }

    /// Replaces all that has not been sent by `last`. Nothing comes behind it: replies that other cores still
    /// owe would be taken for those that it replaces.
    pub(crate) fn end_with(&mut self, last: &[u8]) {
        self.held.clear();
        self.held_bytes = 0;
        let coming = self.coming.drain(..).map(|piece| piece.len()).sum::<usize>();
        self.queued_bytes -= coming;
        self.slots.clear();
        self.slot_bytes = 0;
        self.ready.clear();
        self.queued_bytes += last.len();
        self.queued.push_back(Piece::Bytes(last.to_vec()));
        self.has_ended = true;
    }

    /// Whether the last has been said.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether any reply is still waited for.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.slots.is_empty() && !self.has_ended
    }

    /// Puts the replies of batch `ticket` into their places; there must be some.
    pub(crate) fn fill(&mut self, ticket: u64, mut replies: BatchReplies) {
        // A reply by itself is not copied.
        let is_one = replies.lengths.len() == 1 && replies.values.is_empty();
        let mut one = if is_one { std::mem::take(&mut replies.bytes) } else { Vec::new() };
        let mut bytes = &replies.bytes[..];
        let mut lengths = replies.lengths.iter();
        let mut values = replies.values.into_iter().peekable();
        let mut index = 0;
        for slot in &mut self.slots {
            let Slot::Waiting { ticket: waiting, muted } = *slot else { continue };
            if waiting != ticket {
                continue;
            }
            let Some(length) = lengths.next() else { break };
            if is_one {
                *slot = Slot::Ready(if muted { Vec::new() } else { std::mem::take(&mut one) });
                break;
            }
            let (reply, rest) = bytes.split_at(*length);
            bytes = rest;
            let value = values.next_if(|(of, _)| *of == index);
            index += 1;
            *slot = match value {
                _ if muted => Slot::Ready(Vec::new()),
                Some((_, value)) => Slot::Value(value),
                None => Slot::Ready(reply.to_vec()),
            };
        }
        assert!(lengths.next().is_none(), "a reply without its place");
        self.move_ready_slots();
        let but_the_last = self.slots.len().saturating_sub(1);
        self.slot_bytes = self.slots.iter().take(but_the_last).map(Slot::len).sum();
    }

    /// The ticket of the first reply that is waited for.
    pub(crate) fn oldest_ticket(&self) -> Option<u64> {
        if self.has_ended {
            return None;
        }
        match self.slots.front()? {
            Slot::Waiting { ticket, .. } => Some(*ticket),
            Slot::Ready(_) | Slot::Value(_) => {
                unreachable!("what is ready leaves the front of the slots")
            }
        }
    }

    /// Moves what no reply before it is waited for to where it is sent from.
    fn move_ready_slots(&mut self) {
        while let Some(slot) = self.slots.pop_front() {
            match slot {
                Slot::Ready(bytes) if bytes.len() >= LONG_BYTES_MIN && self.ready.is_empty() => {
                    self.ready = bytes;
                }
                Slot::Ready(bytes) => self.ready.extend_from_slice(&bytes),
                Slot::Value(value) => self.queue_value(value),
                Slot::Waiting { .. } => {
                    self.slots.push_front(slot);
                    return;
                }
            }
        }
    }

    /// Places of replies that are waited for, and of those between them.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    fn in_flight_len(&self) -> usize {
        self.value_in_flight.as_ref().map_or(self.in_flight.len(), SharedBytes::len)
    }

    /// Bytes that the client has not been sent yet.
    pub(crate) fn pending_bytes(&self) -> usize {
        let slots = self.slot_bytes + self.slots.back().map_or(0, Slot::len);
        self.in_flight_len() - self.sent
            + self.queued_bytes
            + self.held_bytes
            + self.ready.len()
            + slots
    }

    /// Bytes of memory held. A long value that somebody else holds too is somebody else's.
    pub(crate) fn capacity_bytes(&self) -> usize {
        let mut bytes = self.in_flight.capacity() + self.ready.capacity();
        let held = self.held.iter().flat_map(|held| &held.pieces);
        for piece in self.queued.iter().chain(&self.coming).chain(held) {
            if let Piece::Bytes(head) = piece {
                bytes += head.capacity();
            }
        }
        for slot in &self.slots {
            if let Slot::Ready(ready) = slot {
                bytes += ready.capacity();
            }
        }
        let own = self.values().filter(|value| value.is_only_holder());
        bytes + own.map(SharedBytes::len).sum::<usize>()
    }

    fn values(&self) -> impl Iterator<Item = &SharedBytes> {
        let held = self.held.iter().flat_map(|held| &held.pieces);
        let queued = self.queued.iter().chain(&self.coming).chain(held).filter_map(Piece::value);
        let waiting = self.slots.iter().filter_map(|slot| match slot {
            Slot::Ready(_) | Slot::Waiting { .. } => None,
            Slot::Value(value) => Some(value),
        });
        self.value_in_flight.iter().chain(queued).chain(waiting)
    }

    /// Whether a send is under way.
    pub(crate) fn is_sending(&self) -> bool {
        !self.in_flight.is_empty() || self.value_in_flight.is_some()
    }

    /// Whether bytes are on their way or ready to go.
    pub(crate) fn can_send(&self) -> bool {
        let has_more = !self.coming.is_empty() || !self.ready.is_empty();
        self.is_sending() || !self.queued.is_empty() || has_more && !self.is_held()
    }

    /// Whether nothing is left to send or wait for.
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_sending()
            && self.queued.is_empty()
            && self.held.is_empty()
            && self.coming.is_empty()
            && self.ready.is_empty()
            && !self.is_waiting()
    }

    /// The bytes to send next, if none are under way and some are ready. They stay where they are
    /// until [`Output::sent`] has been told of all of them.
    pub(crate) fn start_send(&mut self) -> Option<&[u8]> {
        if self.is_sending() {
            return None;
        }
        self.peak = self.peak.max(self.ready.len());
        if !self.is_held() {
            self.queued.append(&mut self.coming);
        }
        if !self.queued.is_empty() {
            return self.start_queued();
        }
        if self.ready.is_empty() || self.is_held() {
            return None;
        }
        std::mem::swap(&mut self.in_flight, &mut self.ready);
        Some(&self.in_flight)
    }

    #[cold]
    fn start_queued(&mut self) -> Option<&[u8]> {
        match self.queued.pop_front()? {
            Piece::Bytes(bytes) => {
                self.queued_bytes -= bytes.len();
                self.in_flight = bytes;
            }
            Piece::Value(value) => {
                self.queued_bytes -= value.len();
                self.value_in_flight = Some(value);
            }
        }
        Some(self.unsent())
    }

    /// Whether more follows at once behind what is sent next, or is being sent.
    pub(crate) fn has_more(&self) -> bool {
        let coming = if self.is_held() { 0 } else { self.coming.len() };
        let pieces = self.queued.len() + coming;
        let is_last = pieces == 1 && (self.ready.is_empty() || self.is_held());
        pieces > 0 && !is_last || self.value_in_flight.is_some()
    }

    /// What is left of what is being sent, as much of it as is sent at a time.
    fn unsent(&self) -> &[u8] {
        let Some(value) = &self.value_in_flight else { return &self.in_flight[self.sent..] };
        let end = value.len().min(self.sent + SEND_BYTES_MAX);
        &value.bytes()[self.sent..end]
    }

    /// Notes that `count` more bytes have left; answers what is left of this send, if anything.
    pub(crate) fn sent(&mut self, count: usize) -> Option<&[u8]> {
        self.sent += count;
        if self.sent < self.in_flight_len() {
            return Some(self.unsent());
        }
        self.sent = 0;
        match self.value_in_flight.take() {
            None => self.in_flight.clear(),
            value => self.sent_value = value,
        }
        None
    }

    /// The long value that has just been sent: whoever holds it last gives its memory back.
    pub(crate) fn take_sent_value(&mut self) -> Option<SharedBytes> {
        self.sent_value.take()
    }

    /// Gives up what can't be sent any more: the socket failed.
    pub(crate) fn abandon(&mut self) {
        self.in_flight.clear();
        self.sent = 0;
        self.ready.clear();
        self.held.clear();
        self.held_bytes = 0;
        self.sent_value = self.value_in_flight.take();
    }

    /// The memory of long values that nobody else holds, when the connection ends.
    pub(crate) fn into_extents(mut self) -> Vec<Extent> {
        let held = self.held.drain(..).flat_map(|held| held.pieces);
        let queued = self.queued.drain(..).chain(held).chain(self.coming.drain(..));
        let queued = queued.filter_map(|piece| match piece {
            Piece::Bytes(_) => None,
            Piece::Value(value) => Some(value),
        });
        let waiting = self.slots.drain(..).filter_map(|slot| match slot {
            Slot::Ready(_) | Slot::Waiting { .. } => None,
            Slot::Value(value) => Some(value),
        });
        let values = self.value_in_flight.take().into_iter().chain(self.sent_value.take());
        values.chain(queued).chain(waiting).filter_map(SharedBytes::into_extent).collect()
    }

    /// Capacity of the buffer for replies, and the most bytes that it held at a time since the last
    /// call.
    pub(crate) fn buffer_bytes(&mut self) -> (usize, usize) {
        let peak = std::mem::replace(&mut self.peak, self.ready.len());
        (self.in_flight.capacity().max(self.ready.capacity()), peak)
    }

    /// Gives back memory beyond `keep` bytes of each empty buffer.
    pub(crate) fn shrink(&mut self, keep: usize) {
        for buffer in [&mut self.in_flight, &mut self.ready] {
            if buffer.is_empty() && buffer.capacity() > keep {
                *buffer = Vec::new();
            }
        }
        if self.slots.is_empty() {
            self.slots.shrink_to_fit();
        }
        if self.queued.is_empty() {
            self.queued.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchReplies, Gate, Output, Passage, SEND_BYTES_MAX};
    use crate::cache::{Extent, SharedBytes};
    use crate::limits::LONG_BYTES_MIN;
    use crate::types::{LogIndex, ShardId};
    use std::sync::Arc;

    fn replies(bytes: &[u8], lengths: &[usize]) -> BatchReplies {
        let (bytes, lengths) = (bytes.to_vec(), lengths.to_vec());
        BatchReplies { bytes, lengths, values: Vec::new() }
    }

    fn long_value(byte: u8) -> SharedBytes {
        let mut extent = Extent::with_capacity(1);
        extent.append(&vec![byte; LONG_BYTES_MIN + 1]);
        let extent = Arc::new(extent);
        SharedBytes::of(&extent, extent.written()).expect("it is long")
    }

    /// Sends all there is, in the pieces that it is sent in.
    fn send_all(output: &mut Output) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(first) = output.start_send() {
            let mut piece = first.to_vec();
            loop {
                assert!(piece.len() <= SEND_BYTES_MAX);
                all.extend_from_slice(&piece);
                match output.sent(piece.len()) {
                    Some(rest) => piece = rest.to_vec(),
                    None => break,
                }
            }
        }
        all
    }

    #[test]
    fn replies_keep_their_order() {
        let mut output = Output::default();
        output.tail().extend_from_slice(b"1");
        output.wait_for(7, false);
        output.tail().extend_from_slice(b"3");
        output.wait_for(8, false);
        output.wait_for(7, false);
        output.tail().extend_from_slice(b"6");
        output.wait_for(8, true);
        // What is behind a place that waits counts as well.
        assert_eq!(output.pending_bytes(), 3);
        assert_eq!(output.start_send(), Some(&b"1"[..]));
        assert_eq!(output.sent(1), None);
        assert_eq!(output.start_send(), None);
        output.fill(8, replies(b"4muted", &[1, 5]));
        assert_eq!(output.start_send(), None);
        output.tail().extend_from_slice(b"7");
        assert_eq!(output.pending_bytes(), 4);
        output.fill(7, replies(b"22555", &[2, 3]));
        assert_eq!(output.start_send(), Some(&b"223455567"[..]));
        assert!(!output.is_waiting());
    }

    #[test]
    fn a_short_send_goes_on() {
        let mut output = Output::default();
        output.tail().extend_from_slice(b"hello");
        assert_eq!(output.start_send(), Some(&b"hello"[..]));
        output.tail().extend_from_slice(b"!");
        assert_eq!(output.sent(2), Some(&b"llo"[..]));
        assert_eq!(output.start_send(), None);
        assert_eq!(output.sent(3), None);
        assert_eq!(output.start_send(), Some(&b"!"[..]));
    }

    #[test]
    fn long_values_leave_in_order_and_are_not_copied() {
        let mut output = Output::default();
        let (first, second) = (long_value(b'1'), long_value(b'2'));
        output.tail().extend_from_slice(b"before");
        output.push_value(first.clone());
        output.tail().extend_from_slice(b"between");
        output.wait_for(7, false);
        output.push_value(second.clone());
        output.wait_for(7, false);
        output.tail().extend_from_slice(b"after");
        let head = format!("${}\r\n", LONG_BYTES_MIN + 1);
        let mut expected = format!("before{head}").into_bytes();
        expected.extend_from_slice(first.bytes());
        expected.extend_from_slice(b"\r\nbetween");
        assert_eq!(output.pending_bytes(), expected.len() + second.len() + b"after".len());
        assert!(send_all(&mut output) == expected);
        assert!(output.take_sent_value().is_some_and(|value| value.into_extent().is_none()));
        // What other cores answer may be a long value too.
        let values = vec![(1, first.clone())];
        output.fill(7, BatchReplies { bytes: b"x".to_vec(), lengths: vec![1, 0], values });
        let mut expected = format!("x{head}").into_bytes();
        expected.extend_from_slice(second.bytes());
        expected.extend_from_slice(format!("\r\n{head}").as_bytes());
        expected.extend_from_slice(first.bytes());
        expected.extend_from_slice(b"\r\nafter");
        assert_eq!(output.pending_bytes(), expected.len());
        assert!(send_all(&mut output) == expected);
        assert!(output.is_empty());
    }

    /// What has been let go while a send was under way stays before what is still held, and long values
    /// that come meanwhile behind it.
    #[test]
    fn what_waits_for_the_disk_keeps_its_place() {
        let gate = |index| {
            let mut gate = Gate::default();
            gate.add(ShardId(0), LogIndex(index));
            gate
        };
        let open_to = |output: &mut Output, last| {
            output.release(|held| {
                let is_open = held.is_empty() || (1..=last).any(|index| *held == gate(index));
                if is_open { Passage::Open } else { Passage::Shut }
            });
        };
        let mut output = Output::default();
        output.tail().extend_from_slice(b"0");
        assert_eq!(output.start_send(), Some(&b"0"[..]));
        for index in 1..=3 {
            output.tail().extend_from_slice(index.to_string().as_bytes());
            output.hold(gate(index));
        }
        open_to(&mut output, 1);
        // A long value and a short reply come, and wait behind the others.
        output.push_value(long_value(b'v'));
        open_to(&mut output, 2);
        output.tail().extend_from_slice(b"4");
        output.hold(gate(4));
        assert_eq!(output.sent(1), None);
        assert_eq!(send_all(&mut output), b"12");
        open_to(&mut output, 3);
        assert_eq!(send_all(&mut output), b"3");
        open_to(&mut output, 4);
        let head = format!("${}\r\n", LONG_BYTES_MIN + 1).into_bytes();
        let value = vec![b'v'; LONG_BYTES_MIN + 1];
        assert_eq!(send_all(&mut output), [&head[..], &value, b"\r\n4"].concat());
        assert!(output.is_empty() && output.pending_bytes() == 0);
    }

    /// Replies that are owed when the last is said do not come behind it.
    #[test]
    fn nothing_comes_behind_the_last_reply() {
        let mut gate = Gate::default();
        gate.add(ShardId(0), LogIndex(1));
        let mut output = Output::default();
        output.tail().extend_from_slice(b"0");
        assert_eq!(output.start_send(), Some(&b"0"[..]));
        output.push_value(long_value(b'v'));
        output.tail().extend_from_slice(b"1");
        output.hold(gate.clone());
        output.wait_for(7, false);
        output.tail().extend_from_slice(b"3");
        output.wait_for(8, false);
        output.end_with(b"-ERR the last");
        assert!(output.has_ended() && !output.is_waiting() && output.oldest_ticket().is_none());
        output.tail().extend_from_slice(b"later");
        output.push_value(long_value(b'w'));
        output.wait_for(9, false);
        output.hold(gate);
        assert!(output.can_send() && !output.is_empty());
        assert_eq!(output.sent(1), None);
        assert_eq!(send_all(&mut output), b"-ERR the last");
        assert!(output.is_empty() && !output.is_waiting());
    }

    #[test]
    fn whoever_holds_a_long_value_last_gives_it_back() {
        let mut output = Output::default();
        let value = long_value(b'v');
        output.push_value(value.clone());
        output.push_value(long_value(b'w'));
        let bytes = output.capacity_bytes();
        assert!(bytes > LONG_BYTES_MIN && bytes < 2 * LONG_BYTES_MIN, "{bytes}");
        assert_eq!(output.into_extents().len(), 1);
        assert!(value.is_only_holder());
    }
}
