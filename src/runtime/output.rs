//! What a connection has to send: bytes on their way, bytes ready to go, and, behind commands that
//! another core is still working on, replies that must wait for their turn.
//!
//! ```text
//! in_flight (the kernel's) │ ready │ slots: [Waiting A][Ready …][Waiting A][Waiting B][Ready …]
//! ```
//!
//! Replies leave in the order of their requests: bytes move from the slots to `ready` only as far as
//! the first slot that still waits.

use std::collections::VecDeque;

/// Replies of one connection, in the order of its requests.
#[derive(Debug, Default)]
pub(crate) struct Output {
    in_flight: Vec<u8>,
    sent: usize,
    ready: Vec<u8>,
    slots: VecDeque<Slot>,
    /// Bytes in all slots but the last, which may still grow.
    slot_bytes: usize,
}

#[derive(Debug)]
enum Slot {
    Ready(Vec<u8>),
    Waiting { ticket: u64, muted: bool },
}

impl Slot {
    fn len(&self) -> usize {
        match self {
            Self::Ready(bytes) => bytes.len(),
            Self::Waiting { .. } => 0,
        }
    }
}

impl Output {
    /// Where the next reply is to be appended.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        if self.slots.is_empty() {
            return &mut self.ready;
        }
        if !matches!(self.slots.back(), Some(Slot::Ready(_))) {
            self.slots.push_back(Slot::Ready(Vec::new()));
        }
        match self.slots.back_mut() {
            Some(Slot::Ready(bytes)) => bytes,
            _ => unreachable!("a ready slot was just put there"),
        }
    }

    /// Reserves the next place for a reply that batch `ticket` will bring; a `muted` one is dropped
    /// when it comes (`CLIENT REPLY`).
    pub(crate) fn wait_for(&mut self, ticket: u64, muted: bool) {
        self.slot_bytes += self.slots.back().map_or(0, Slot::len);
        self.slots.push_back(Slot::Waiting { ticket, muted });
    }

    /// Whether any reply is still waited for.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Puts the replies of batch `ticket` into their places. `lengths` cuts `replies` into one piece
    /// for every place reserved.
    pub(crate) fn fill(&mut self, ticket: u64, replies: &[u8], lengths: &[usize]) {
        let mut replies = replies;
        let mut lengths = lengths.iter();
        for slot in &mut self.slots {
            let Slot::Waiting { ticket: waiting, muted } = *slot else { continue };
            if waiting != ticket {
                continue;
            }
            let Some(length) = lengths.next() else { break };
            let (reply, rest) = replies.split_at(*length);
            replies = rest;
            *slot = Slot::Ready(if muted { Vec::new() } else { reply.to_vec() });
        }
        assert!(lengths.next().is_none(), "a reply without its place");
        while let Some(Slot::Ready(bytes)) = self.slots.front() {
            self.ready.extend_from_slice(bytes);
            self.slots.pop_front();
        }
        let but_the_last = self.slots.len().saturating_sub(1);
        self.slot_bytes = self.slots.iter().take(but_the_last).map(Slot::len).sum();
    }

    /// Places of replies that are waited for, and of those between them.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// Bytes that the client has not been sent yet.
    pub(crate) fn pending_bytes(&self) -> usize {
        let slots = self.slot_bytes + self.slots.back().map_or(0, Slot::len);
        self.in_flight.len() - self.sent + self.ready.len() + slots
    }

    /// Bytes of memory held.
    pub(crate) fn capacity_bytes(&self) -> usize {
        let slots = self.slot_bytes + self.slots.back().map_or(0, Slot::len);
        self.in_flight.capacity() + self.ready.capacity() + slots
    }

    /// Whether a send is under way.
    pub(crate) fn is_sending(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether nothing is left to send or wait for.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.ready.is_empty() && self.slots.is_empty()
    }

    /// The bytes to send next, if none are under way and some are ready. They stay where they are
    /// until [`Output::sent`] has been told of all of them.
    pub(crate) fn start_send(&mut self) -> Option<&[u8]> {
        if self.is_sending() || self.ready.is_empty() {
            return None;
        }
        std::mem::swap(&mut self.in_flight, &mut self.ready);
        Some(&self.in_flight)
    }

    /// Notes that `count` more bytes have left; answers what is left of this send, if anything.
    pub(crate) fn sent(&mut self, count: usize) -> Option<&[u8]> {
        self.sent += count;
        if self.sent < self.in_flight.len() {
            return Some(&self.in_flight[self.sent..]);
        }
        self.in_flight.clear();
        self.sent = 0;
        None
    }

    /// Gives up what can't be sent any more: the socket failed.
    pub(crate) fn abandon(&mut self) {
        self.in_flight.clear();
        self.sent = 0;
        self.ready.clear();
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
    }
}

#[cfg(test)]
mod tests {
    use super::Output;

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
        output.fill(8, b"4muted", &[1, 5]);
        assert_eq!(output.start_send(), None);
        output.tail().extend_from_slice(b"7");
        assert_eq!(output.pending_bytes(), 4);
        output.fill(7, b"22555", &[2, 3]);
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
}
