//! The layout of an entry in memory.
//!
//! ```text
//! word 0  previous entry in LRU order: the next newer one
//! word 1  next entry in LRU order: the next older one
//! word 2  bits 0..29 access time in seconds, 29 collection, 30 modified in place, 31 has an expiry
//! word 3  bits 0..2 kind, 2..16 value length, 16..24 key length, 24..32 table
//! word 4  version u64: the keyspace's sequence at the last change
//! then, if there is an expiry:   expires_at u64, previous and next u32 (see `expiry`)
//! then, unless the kind is Short: key length, value length, buffer, slot, hash u64
//! then the key, then the value; what lies in a buffer is left out
//! ```
//!
//! These 24 bytes are all that a short entry costs beside key and value. The access time keeps 29
//! bits of the seconds and is read as the one of all times with these bits that is nearest to now.
//! The value of a collection is its block, or a number in place of a structure (see `heap`).

#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths are checked against the kind before they are packed"
)]

use super::class::{ENTRY_BYTES_MAX, entry_class};
use crate::types::UnixMs;

pub(super) const PREVIOUS: usize = 0;
pub(super) const NEXT: usize = 1;
pub(super) const ACCESS: usize = 2;
pub(super) const LENGTHS: usize = 3;
pub(super) const VERSION: usize = 4;
pub(super) const HEADER_WORDS: usize = 6;
pub(super) const EXPIRY_WORDS: usize = 4;
pub(super) const LONG_WORDS: usize = 6;
pub(super) const WORD_BYTES: usize = size_of::<u32>();

pub(super) const ACCESS_BITS: u32 = 29;
pub(super) const COLLECTION: u32 = 1 << 29;
pub(super) const MODIFIED: u32 = 1 << 30;
pub(super) const EXPIRES: u32 = 1 << 31;

pub(super) const KIND_MASK: u32 = 3;
pub(super) const VALUE_LEN_SHIFT: u32 = 2;
pub(super) const KEY_LEN_SHIFT: u32 = 16;

/// Longest key of a short entry.
pub(super) const SHORT_KEY_MAX: usize = 0xff;
/// Longest key that stays in the slab when the value does not.
pub(super) const INLINE_KEY_MAX: usize = 1024;

/// Words of a long entry, from `Form::long_word` on.
pub(super) const LONG_KEY_LEN: usize = 0;
pub(super) const LONG_VALUE_LEN: usize = 1;
pub(super) const LONG_BUFFER: usize = 2;
pub(super) const LONG_SLOT: usize = 3;
pub(super) const LONG_HASH: usize = 4;

/// Where key and value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Both in the entry, their lengths in the header.
    Short,
    /// Both in the entry, their lengths in words of their own.
    Long,
    /// The value in a buffer.
    LargeValue,
    /// The key and then the value in a buffer.
    LargeKey,
}

/// The form of an entry: all that decides its size and where things lie in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) kind: Kind,
    pub(super) expires: bool,
    pub(super) key_len: usize,
    pub(super) value_len: usize,
}

impl Form {
    /// The form of an entry with these lengths.
    #[inline]
    pub(super) fn new(key_len: usize, value_len: usize, expires: bool) -> Self {
        let mut form = Self { kind: Kind::Short, expires, key_len, value_len };
        if key_len > SHORT_KEY_MAX || form.bytes() > ENTRY_BYTES_MAX {
            form.kind = Kind::Long;
            if form.bytes() > ENTRY_BYTES_MAX {
                form.kind =
                    if key_len <= INLINE_KEY_MAX { Kind::LargeValue } else { Kind::LargeKey };
            }
        }
        form
    }

    /// Bytes that it takes in the slab.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        match self.kind {
            Kind::Short | Kind::Long => self.key_byte() + self.key_len + self.value_len,
            Kind::LargeValue => self.key_byte() + self.key_len,
            Kind::LargeKey => self.key_byte(),
        }
    }

    /// The class of objects that it needs.
    #[inline]
    pub(super) fn class(&self) -> usize {
        entry_class(self.bytes())
    }

    /// The word where the long lengths, if any, are.
    #[inline]
    pub(super) fn long_word(&self) -> usize {
        HEADER_WORDS + if self.expires { EXPIRY_WORDS } else { 0 }
    }

    #[inline]
    pub(super) fn key_byte(&self) -> usize {
        (self.long_word() + if self.kind == Kind::Short { 0 } else { LONG_WORDS }) * WORD_BYTES
    }

    /// Word 3, but for the table.
    pub(super) fn lengths_word(&self) -> u32 {
        match self.kind {
            Kind::Short => {
                (self.key_len as u32) << KEY_LEN_SHIFT | (self.value_len as u32) << VALUE_LEN_SHIFT
            }
            Kind::Long => 1,
            Kind::LargeValue => 2,
            Kind::LargeKey => 3,
        }
    }

    /// Bytes in the buffer before the value.
    pub(super) fn buffer_prefix(&self) -> usize {
        if self.kind == Kind::LargeKey { self.key_len } else { 0 }
    }

    pub(super) fn is_large(&self) -> bool {
        matches!(self.kind, Kind::LargeValue | Kind::LargeKey)
    }
}

/// The byte at which the key of a short entry starts.
#[inline]
pub(super) fn short_key_byte(access: u32) -> usize {
    (HEADER_WORDS + (access >> EXPIRES.trailing_zeros()) as usize * EXPIRY_WORDS) * WORD_BYTES
}

#[inline]
pub(super) fn short_key_len(lengths: u32) -> usize {
    (lengths >> KEY_LEN_SHIFT & 0xff) as usize
}

#[inline]
pub(super) fn short_value_len(lengths: u32) -> usize {
    (lengths >> VALUE_LEN_SHIFT & 0x3fff) as usize
}

/// The access time as an entry keeps it.
#[inline]
pub(super) fn access_seconds(now: UnixMs) -> u32 {
    (now.0 / 1000) as u32 & ((1 << ACCESS_BITS) - 1)
}

/// The time of the last access: of all seconds with these bits, the one nearest to now.
#[inline]
pub(super) fn accessed_at(access: u32, now: UnixMs) -> UnixMs {
    let now = now.0 / 1000;
    let behind = (now as u32).wrapping_sub(access) << (32 - ACCESS_BITS);
    let behind = i64::from(behind.cast_signed() >> (32 - ACCESS_BITS));
    UnixMs(now.saturating_add_signed(-behind) * 1000)
}

/// The words of an entry that link it into a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) previous: usize,
    pub(super) next: usize,
}

/// In LRU order; previous is newer.
pub(super) const LRU_LINK: Link = Link { previous: PREVIOUS, next: NEXT };
/// In a bucket of the expiry wheel.
pub(super) const WHEEL_LINK: Link = Link { previous: HEADER_WORDS + 2, next: HEADER_WORDS + 3 };
