//! Changes read again, from bytes that somebody else may have written.

use super::{
    ADVANCES, CREATES, EDIT, ELEMENTS, EXPIRE, FLOOR, FLUSH, FORGET, HAS_EXPIRY, HEAD_BYTES,
    KIND_MASK, OUTCOME, PUT, REMOVE, SEQUENCES_END, SET, SWAP,
};
use crate::cache::outcomes::{Outcome, OutcomeBody, split_end};
use crate::collection::{Kind, Tag};
use crate::limits::{BULK_BYTES_MAX, DATABASES};
use crate::types::{DbIndex, UnixMs};

/// One change, as it was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A key has this value and expiry.
    Set {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
        /// When it expires.
        expires_at: Option<UnixMs>,
    },
    /// A value has this length, and these bytes at this place.
    Edit {
        /// The key.
        key: &'a [u8],
        /// The length of its value.
        length: usize,
        /// Where the bytes go.
        offset: usize,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// A key has another expiry, or none.
    Expire {
        /// The key.
        key: &'a [u8],
        /// When it expires.
        expires_at: Option<UnixMs>,
    },
    /// A key is gone.
    Remove {
        /// The key.
        key: &'a [u8],
    },
    /// A key holds this collection, and has no expiry.
    Put {
        /// The key.
        key: &'a [u8],
        /// The collection's block.
        block: &'a [u8],
    },
    /// A collection's elements have changed.
    Elements {
        /// The key.
        key: &'a [u8],
        /// What it holds.
        kind: Kind,
        /// Whether it was not there before.
        creates: bool,
        /// The operations, as [`crate::collection::OpReader`] reads them.
        operations: &'a [u8],
    },
    /// A database is empty.
    Flush,
    /// Two databases have changed places.
    Swap {
        /// The other one.
        with: DbIndex,
    },
    /// A client's write has come to this: what it changed, if anything, stands before it.
    Outcome {
        /// The client.
        client: u64,
        /// Its number for the write.
        sequence: u64,
        /// The client's floor, at least.
        floor: u64,
        /// The reply.
        outcome: Outcome,
    },
    /// A client is not known any more.
    Forget {
        /// The client.
        client: u64,
        /// The horizon, at least.
        horizon: u64,
    },
    /// What is known of a client's first writes has been forgotten.
    Floor {
        /// The client.
        client: u64,
        /// The client's floor, at least.
        floor: u64,
    },
}

impl<'a> Change<'a> {
    /// The key that it is about, if it is about one.
    pub fn key(&self) -> Option<&'a [u8]> {
        match self {
            Self::Set { key, .. }
            | Self::Edit { key, .. }
            | Self::Expire { key, .. }
            | Self::Put { key, .. }
            | Self::Elements { key, .. }
            | Self::Remove { key } => Some(key),
            Self::Flush
            | Self::Swap { .. }
            | Self::Outcome { .. }
            | Self::Forget { .. }
            | Self::Floor { .. } => None,
        }
    }
}

/// A change with what stands around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed<'a> {
    /// The database.
    pub db: DbIndex,
    /// The keyspace's sequence after the change.
    pub sequence: u64,
    /// The change.
    pub change: Change<'a>,
}

/// The bytes make no sense as changes or entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the changes make no sense at byte {at}")]
pub struct Nonsense {
    /// Where in the payload.
    pub at: usize,
}

/// The changes in a record's payload, in order.
#[derive(Clone, Debug)]
pub struct Changes<'a> {
    reader: Reader<'a>,
    sequence: u64,
    time: UnixMs,
}

impl<'a> Changes<'a> {
    /// The changes in `payload`.
    ///
    /// # Errors
    /// If it is too short to hold any.
    pub fn of(payload: &'a [u8]) -> Result<Self, Nonsense> {
        let mut reader = Reader { bytes: payload, at: 0 };
        let sequence = reader.sequence().ok_or(Nonsense { at: 0 })?;
        let time = UnixMs(reader.u64().ok_or(Nonsense { at: 8 })?);
        debug_assert_eq!(reader.at, HEAD_BYTES);
        Ok(Self { reader, sequence, time })
    }

    /// When the first of them was made.
    pub fn time(&self) -> UnixMs {
        self.time
    }

    /// Where in the payload the next one begins.
    pub(in crate::cache) fn at(&self) -> usize {
        self.reader.at
    }

    fn read(&mut self) -> Option<Changed<'a>> {
        let reader = &mut self.reader;
        let (kind, db) = (reader.u8()?, reader.db()?);
        let allowed = match kind & KIND_MASK {
            SET | EXPIRE => ADVANCES | HAS_EXPIRY,
            ELEMENTS => ADVANCES | CREATES,
            EDIT | REMOVE | FLUSH | SWAP | PUT | OUTCOME => ADVANCES,
            FORGET | FLOOR => 0,
            _ => return None,
        };
        if kind & !KIND_MASK & !allowed != 0 {
            return None;
        }
        self.sequence += u64::from(kind & ADVANCES != 0);
        let expires_at = if kind & HAS_EXPIRY != 0 { Some(UnixMs(reader.u64()?)) } else { None };
        let change = match kind & KIND_MASK {
            SET => {
                let (key, value) = (reader.length()?, reader.length()?);
                let (key, value) = (reader.take(key)?, reader.take(value)?);
                Change::Set { key, value, expires_at }
            }
            EDIT => {
                let (key, length) = (reader.length()?, reader.length()?);
                let (offset, bytes) = (reader.length()?, reader.length()?);
                if offset.checked_add(bytes)? > length || length > BULK_BYTES_MAX {
                    return None;
                }
                let (key, bytes) = (reader.take(key)?, reader.take(bytes)?);
                Change::Edit { key, length, offset, bytes }
            }
            EXPIRE => {
                let key = reader.length()?;
                Change::Expire { key: reader.take(key)?, expires_at }
            }
            REMOVE => {
                let key = reader.length()?;
                Change::Remove { key: reader.take(key)? }
            }
            ELEMENTS => {
                let creates = kind & CREATES != 0;
                let kind = Tag(reader.u8()?).kind()?;
                let key = reader.length()?;
                let key = reader.take(key)?;
                let operations = reader.u32()? as usize;
                Change::Elements { key, kind, creates, operations: reader.take(operations)? }
            }
            PUT => {
                let (key, block) = (reader.length()?, reader.length()?);
                let (key, block) = (reader.take(key)?, reader.take(block)?);
                Change::Put { key, block }
            }
            FLUSH => Change::Flush,
            OUTCOME => {
                let (client, sequence, floor) = (reader.u64()?, reader.u64()?, reader.u64()?);
                let (status, body) = reader.end()?;
                let is_unchanged = kind & ADVANCES != 0;
                let version = if is_unchanged { reader.u64()? } else { self.sequence };
                let outcome = Outcome { version, status, body };
                Change::Outcome { client, sequence, floor, outcome }
            }
            FORGET => Change::Forget { client: reader.u64()?, horizon: reader.u64()? },
            FLOOR => Change::Floor { client: reader.u64()?, floor: reader.u64()? },
            _ => Change::Swap { with: reader.db()? },
        };
        Some(Changed { db, sequence: self.sequence, change })
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<Changed<'a>, Nonsense>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.reader.at;
        if at >= self.reader.bytes.len() {
            return None;
        }
        let change = self.read();
        if change.is_none() {
            self.reader.at = self.reader.bytes.len();
        }
        Some(change.ok_or(Nonsense { at }))
    }
}

/// Reads what was written down; nothing where the bytes end too early or make no sense.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes.get(self.at..)?.get(..count)?;
        self.at += count;
        Some(bytes)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take(8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    pub(super) fn sequence(&mut self) -> Option<u64> {
        self.u64().filter(|sequence| *sequence < SEQUENCES_END)
    }

    pub(super) fn end(&mut self) -> Option<(u8, OutcomeBody)> {
        let (status, body, rest) = split_end(self.bytes.get(self.at..)?)?;
        self.at = self.bytes.len() - rest.len();
        Some((status, body))
    }

    pub(super) fn db(&mut self) -> Option<DbIndex> {
        self.u8().filter(|db| *db < DATABASES).map(DbIndex)
    }

    /// The length of a key or of a value, written in as few bytes as it takes. Longer ones than clients may
    /// have are refused: what is only announced takes memory as well.
    #[inline]
    pub(super) fn length(&mut self) -> Option<usize> {
        self.number().filter(|length| *length <= BULK_BYTES_MAX)
    }

    #[inline]
    pub(super) fn number(&mut self) -> Option<usize> {
        let first = self.u8()?;
        if first < 0x80 {
            return Some(usize::from(first));
        }
        let mut value = usize::from(first & 0x7f);
        for shift in [7, 14, 21, 28] {
            let byte = self.u8()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return (byte > 0).then_some(value);
            }
        }
        None
    }
}
