//! Numbers and bytes out of what a peer has sent: nothing is read behind the end, and nothing is set aside for
//! what is not there.

use bytes::Bytes;

use super::message::Fault;
use crate::limits::REPLICA_COPIED_BYTES_MAX;

/// What has not been read yet.
pub(in crate::replica) struct Fields<'a> {
    source: &'a Bytes,
    at: usize,
}

impl<'a> Fields<'a> {
    /// All of `source`.
    pub(in crate::replica) fn new(source: &'a Bytes) -> Self {
        Self { source, at: 0 }
    }

    /// Bytes that are left.
    pub(in crate::replica) fn left(&self) -> usize {
        self.source.len() - self.at
    }

    pub(in crate::replica) fn u8(&mut self) -> Result<u8, Fault> {
        self.array().map(u8::from_le_bytes)
    }

    pub(in crate::replica) fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_le_bytes)
    }

    pub(in crate::replica) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    pub(in crate::replica) fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    /// A byte that stands for yes or no.
    pub(in crate::replica) fn flag(&mut self) -> Result<bool, Fault> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Fault::Field),
        }
    }

    /// So many bytes that are there for nothing but order.
    pub(in crate::replica) fn zeros<const N: usize>(&mut self) -> Result<(), Fault> {
        if self.array::<N>()? == [0; N] { Ok(()) } else { Err(Fault::Field) }
    }

    pub(in crate::replica) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let array = self.source[self.at..].first_chunk().copied().ok_or(Fault::Length)?;
        self.at += N;
        Ok(array)
    }

    /// The next `length` bytes: in memory of their own if they are few, so that they don't keep all that came
    /// with them.
    pub(in crate::replica) fn bytes(&mut self, length: usize) -> Result<Bytes, Fault> {
        if length > self.left() {
            return Err(Fault::Length);
        }
        let range = self.at..self.at + length;
        self.at += length;
        Ok(match length {
            0 => Bytes::new(),
            1..=REPLICA_COPIED_BYTES_MAX => Bytes::copy_from_slice(&self.source[range]),
            _ => self.source.slice(range),
        })
    }

    /// The next `count` numbers.
    pub(in crate::replica) fn numbers(&mut self, count: usize) -> Result<Vec<u64>, Fault> {
        if count > self.left() / size_of::<u64>() {
            return Err(Fault::Length);
        }
        (0..count).map(|_| self.u64()).collect()
    }

    /// That was all.
    pub(in crate::replica) fn end(self) -> Result<(), Fault> {
        if self.left() == 0 { Ok(()) } else { Err(Fault::Length) }
    }
}
