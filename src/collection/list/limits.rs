//! How large the parts of a list may be.

use super::super::LIST_BYTES;

/// Most of one chunk, or of a list that is one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes. An element that is larger has a chunk of its own.
    pub(super) bytes: usize,
    /// Elements.
    pub(super) count: usize,
}

impl Limits {
    /// Bytes by which Redis counts a block as larger than its elements.
    const AROUND: usize = 7;
    /// Bytes if it is elements that are limited.
    const SAFE_BYTES: usize = 8 << 10;

    /// Those of a `list-max-listpack-size`.
    #[inline]
    pub(super) fn of(size: i64) -> Self {
        match usize::try_from(size) {
            Ok(count) => Self { bytes: Self::SAFE_BYTES, count: count.max(1) },
            Err(_) => {
                let which = usize::try_from(-1 - size.max(-5)).unwrap_or_default();
                Self { bytes: LIST_BYTES[which], count: usize::MAX }
            }
        }
    }

    /// Whether there may be so many bytes and elements.
    #[inline]
    pub(super) fn allow(self, bytes: usize, count: usize) -> bool {
        bytes <= self.bytes && count <= self.count
    }

    /// Whether a list may be one block.
    #[inline]
    pub(super) fn allow_block(self, bytes: usize, count: usize) -> bool {
        self.allow(bytes + Self::AROUND, count)
    }

    /// Half of it: how small something has become before it is put together with something else.
    pub(super) fn halved(self) -> Self {
        Self { bytes: self.bytes / 2, count: self.count / 2 }
    }
}
