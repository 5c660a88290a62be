//! A record too long to be written in one go: its checksum is summed and its bytes are written a piece at a
//! time, over many turns, from where its values lie.

use super::buffer::AlignedBuffer;
use super::record::{RECORD_HEADER_BYTES, RecordHeader, RecordSum};
use crate::cache::SharedBytes;

/// Part of a payload.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of its own.
    Bytes(Vec<u8>),
    /// A long value, where it lies. Whoever else holds it leaves it as it is.
    Shared(SharedBytes),
}

impl Piece {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Shared(value) => value.bytes(),
        }
    }

    /// Frees bytes of its own, which are not wanted any more: all pieces together may be too much to be freed at once.
    fn forget_bytes(&mut self) {
        if let Self::Bytes(bytes) = self {
            *bytes = Vec::new();
        }
    }
}

/// The payload of a long record.
#[derive(Debug, Default)]
pub struct Payload {
    /// Its parts, in order.
    pub pieces: Vec<Piece>,
}

impl Payload {
    /// Bytes of it all.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes().len()).sum()
    }

    /// Bytes of memory held, without long values that somebody else holds as well.
    pub fn memory_bytes(&self) -> usize {
        let own = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => bytes.capacity(),
            Piece::Shared(value) => value.own_memory_bytes(),
        };
        self.pieces.iter().map(own).sum()
    }

    /// All of it in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces.iter().map(Piece::bytes).collect::<Vec<_>>().concat()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A long record that is being written.
#[derive(Debug)]
pub(super) struct LongRecord {
    header: RecordHeader,
    payload: Payload,
    length: usize,
    sum: RecordSum,
    /// How far the payload has been summed, then how far it has been written: piece, and bytes of it.
    at: (usize, usize),
    is_summed: bool,
    has_begun: bool,
}

impl LongRecord {
    pub(super) fn new(header: RecordHeader, payload: Payload) -> Self {
        let length = payload.len();
        let sum = header.sum(length);
        Self { header, payload, length, sum, at: (0, 0), is_summed: false, has_begun: false }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.payload.memory_bytes()
    }

    /// Whether the checksum is known, so that writing may begin.
    pub(super) fn is_summed(&self) -> bool {
        self.is_summed
    }

    /// Sums about `budget` bytes more.
    pub(super) fn sum_on(&mut self, budget: usize) {
        let mut left = budget;
        while left > 0 {
            let (piece, from) = self.at;
            let Some(bytes) = self.payload.pieces.get(piece).map(Piece::bytes) else {
                (self.at, self.is_summed) = ((0, 0), true);
                return;
            };
            let count = left.min(bytes.len() - from);
            self.sum.append(&bytes[from..from + count]);
            left -= count.max(1).min(left);
            self.at =
                if from + count == bytes.len() { (piece + 1, 0) } else { (piece, from + count) };
        }
    }

    /// Fills a buffer with what comes next; true if that was the last of it.
    pub(super) fn fill(&mut self, buffer: &mut AlignedBuffer) -> bool {
        debug_assert!(self.is_summed && buffer.room() >= RECORD_HEADER_BYTES);
        if !self.has_begun {
            self.has_begun = true;
            buffer.append(&self.header.encode_summed(self.length, &self.sum));
        }
        loop {
            let (piece, from) = self.at;
            let Some(bytes) = self.payload.pieces.get(piece).map(Piece::bytes) else { return true };
            let count = buffer.room().min(bytes.len() - from);
            buffer.append(&bytes[from..from + count]);
            if from + count < bytes.len() {
                self.at = (piece, from + count);
                return false;
            }
            self.at = (piece + 1, 0);
            self.payload.pieces[piece].forget_bytes();
        }
    }

    /// The long values that it was written from.
    pub(super) fn into_values(self) -> impl Iterator<Item = SharedBytes> {
        self.payload.pieces.into_iter().filter_map(|piece| match piece {
            Piece::Bytes(_) => None,
            Piece::Shared(value) => Some(value),
        })
    }
}
