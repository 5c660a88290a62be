//! Frames: a header, the heads of all items, then their bodies.
//!
//! ```text
//! 0 magic u8 │ 1 version u8 │ 2 count u16 │ 4 body bytes u32 │ 8 epoch u32 │ 12 checksum u32
//! ```
//!
//! The checksum is the CRC32C of the header's first twelve bytes and of all item heads, so that no
//! wrong length, slot or id is acted upon; bodies are left to TCP. Heads stand together before the
//! bodies: they are checked at once, and the items of a long frame are handed out as they come in.

use super::{REPLY_MAGIC, REQUEST_MAGIC, Status, VERSION};
use crate::limits::{BINARY_FRAME_BODY_BYTES_MAX, BINARY_FRAME_ITEMS_MAX};

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 16;
/// Bytes of the header that the checksum covers.
const CHECKED_BYTES: usize = 12;

/// The head of an item, as it stands in a frame.
pub trait Head: Copy {
    /// First byte of a frame of such items.
    const MAGIC: u8;
    /// Bytes of a head.
    const BYTES: usize;
    /// Reads a head from [`Self::BYTES`] bytes.
    fn read(bytes: &[u8]) -> Self;
    /// Bytes of the item's body.
    fn body_bytes(&self) -> u64;
    /// Bytes of the longest part of the body that [`FrameLimits::value_bytes_max`] bounds.
    fn value_bytes(&self) -> usize;
}

/// What a frame may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Most items.
    pub items_max: usize,
    /// Most bytes of all bodies.
    pub body_bytes_max: usize,
    /// Longest value (a request's) or body (a reply's), in bytes.
    pub value_bytes_max: usize,
}

impl FrameLimits {
    /// The most that any receiver takes.
    pub const WIDEST: Self = Self {
        items_max: BINARY_FRAME_ITEMS_MAX,
        body_bytes_max: u32::MAX as usize,
        value_bytes_max: u32::MAX as usize,
    };

    /// What a server takes from a client that has authenticated or need not, if values may have this
    /// length.
    pub const fn requests(value_bytes_max: usize) -> Self {
        Self {
            items_max: BINARY_FRAME_ITEMS_MAX,
            body_bytes_max: BINARY_FRAME_BODY_BYTES_MAX,
            value_bytes_max,
        }
    }

    /// What a server takes from a client that has yet to authenticate.
    pub const fn before_auth() -> Self {
        Self {
            items_max: crate::limits::BINARY_FRAME_ITEMS_MAX_BEFORE_AUTH,
            body_bytes_max: crate::limits::BULK_BYTES_MAX_BEFORE_AUTH,
            value_bytes_max: crate::limits::BULK_BYTES_MAX_BEFORE_AUTH,
        }
    }
}

/// Bytes that are no frame. What follows them can't be read either: the connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first byte is not a frame's.
    #[error("BADFRAME a frame starts with byte 0x{expected:02x}, not with 0x{found:02x}")]
    Magic {
        /// What a frame starts with.
        expected: u8,
        /// What was there.
        found: u8,
    },
    /// A version that is not spoken here.
    #[error(
        "BADVERSION version {0} of the binary protocol is not spoken here, version {VERSION} is"
    )]
    Version(u8),
    /// A field that must be zero is not.
    #[error("BADFRAME the reserved bytes of a frame's header are not zero")]
    Reserved,
    /// No item, or too many.
    #[error("BADFRAME a frame of {count} items: there must be 1 to {most}")]
    Count {
        /// Items announced.
        count: usize,
        /// Most items taken.
        most: usize,
    },
    /// The bodies are too long together.
    #[error("BADFRAME a frame with {bytes} bytes of bodies: {most} are taken")]
    TooLong {
        /// Bytes announced.
        bytes: usize,
        /// Most bytes taken.
        most: usize,
    },
    /// One value is too long.
    #[error("BADFRAME a value of {bytes} bytes: {most} are taken")]
    ValueTooLong {
        /// Bytes announced.
        bytes: usize,
        /// Most bytes taken.
        most: usize,
    },
    /// The lengths of the items don't add up to the frame's.
    #[error(
        "BADFRAME the bodies have {items} bytes by their heads and {frame} by the frame's header"
    )]
    Lengths {
        /// Bytes by the items' heads.
        items: u64,
        /// Bytes by the frame's header.
        frame: u64,
    },
    /// The checksum is wrong.
    #[error("BADCHECKSUM the header's checksum is 0x{found:08x} and should be 0x{expected:08x}")]
    Checksum {
        /// What the bytes give.
        expected: u32,
        /// What the header says.
        found: u32,
    },
}

impl FrameError {
    /// The status that a server answers with before it closes the connection.
    pub fn status(&self) -> Status {
        match self {
            Self::Magic { .. } | Self::Reserved | Self::Lengths { .. } => Status::BadFrame,
            Self::Version(_) => Status::BadVersion,
            Self::Count { .. } | Self::TooLong { .. } | Self::ValueTooLong { .. } => {
                Status::FrameTooLarge
            }
            Self::Checksum { .. } => Status::BadChecksum,
        }
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) magic: u8,
    pub(super) version: u8,
    pub(super) count: u16,
    pub(super) body_bytes: u32,
    pub(super) epoch: u32,
}

impl Header {
    /// Writes the header in front of the heads that follow it in `frame`, checksum included.
    ///
    /// # Panics
    /// If `frame` is shorter than a header.
    pub(super) fn seal(&self, frame: &mut [u8]) {
        let (header, heads) = frame.split_at_mut(HEADER_BYTES);
        header[0] = self.magic;
        header[1] = self.version;
        header[2..4].copy_from_slice(&self.count.to_le_bytes());
        header[4..8].copy_from_slice(&self.body_bytes.to_le_bytes());
        header[8..12].copy_from_slice(&self.epoch.to_le_bytes());
        let checksum = checksum(&header[..CHECKED_BYTES], heads);
        header[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads a header of which `bytes` may be only the start: `None` if it is, and right so far.
    fn read(bytes: &[u8], magic: u8) -> Result<Option<(Self, u32)>, FrameError> {
        match bytes.first() {
            Some(&found) if found != magic => {
                return Err(FrameError::Magic { expected: magic, found });
            }
            _ => {}
        }
        match bytes.get(1) {
            Some(&version) if version != VERSION => return Err(FrameError::Version(version)),
            _ => {}
        }
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let read = Self {
            magic,
            version: VERSION,
            count: u16::from_le_bytes([header[2], header[3]]),
            body_bytes: word(4),
            epoch: word(8),
        };
        if magic == REQUEST_MAGIC && read.epoch != 0 {
            return Err(FrameError::Reserved);
        }
        Ok(Some((read, word(CHECKED_BYTES))))
    }

    /// Checks what can be checked before the heads are there.
    fn check(&self, limits: &FrameLimits) -> Result<(), FrameError> {
        let (count, most) = (usize::from(self.count), limits.items_max);
        if count == 0 || count > most {
            return Err(FrameError::Count { count, most });
        }
        let (bytes, most) = (self.body_bytes as usize, limits.body_bytes_max);
        if bytes > most {
            return Err(FrameError::TooLong { bytes, most });
        }
        Ok(())
    }
}

const _: () = assert!(REPLY_MAGIC >= 0x80 && REQUEST_MAGIC >= 0x80, "no RESP request starts so");
const _: () = assert!(BINARY_FRAME_ITEMS_MAX <= u16::MAX as usize, "the count is 16 bits wide");
const _: () =
    assert!(BINARY_FRAME_BODY_BYTES_MAX <= u32::MAX as usize, "the length is 32 bits wide");

/// CRC32C (Castagnoli) over the first twelve bytes of a header and all item heads.
pub fn checksum(header: &[u8], heads: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), heads)
}

/// One item of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<H> {
    /// Its head.
    pub head: H,
    /// Offset of its body.
    pub start: usize,
    /// Offset behind its body.
    pub end: usize,
    /// Its place among those read since [`Frames::forget`], for [`Frames::rewind`].
    pub index: usize,
}

/// What [`Frames::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<H> {
    /// An item whose body is there.
    Item(Item<H>),
    /// More bytes are needed.
    Incomplete {
        /// Bytes from the offset that was asked for on, without which it can't go on.
        needed: usize,
    },
}

/// A head that waits for its body to be asked for.
#[derive(Clone, Copy, Debug)]
struct Pending<H> {
    head: H,
    /// Items of its frame from this one on.
    left: u16,
}

/// Cuts the bytes of one connection into items. Holds no bytes: its caller keeps them, appends what
/// arrives and calls again; what it remembers is the heads of frames whose bodies are not all read.
#[derive(Clone, Debug)]
pub struct Frames<H> {
    pending: Vec<Pending<H>>,
    next: usize,
    epoch: u32,
}

impl<H> Default for Frames<H> {
    fn default() -> Self {
        Self { pending: Vec::new(), next: 0, epoch: 0 }
    }
}

impl<H: Head> Frames<H> {
    /// Whether the next byte begins a frame.
    pub fn is_idle(&self) -> bool {
        self.next == self.pending.len()
    }

    /// Items that are left of the frame that is being read, or that the one at offset `at` announces.
    #[inline]
    pub fn to_come(&self, bytes: &[u8], at: usize) -> usize {
        let left = match self.pending.get(self.next) {
            Some(pending) => pending.left,
            None => bytes.get(at + 2..at + 4).map_or(0, |count| u16_at(count, 0)),
        };
        usize::from(left)
    }

    /// What the header of the frame read last says of the topology's epoch; 0 in requests.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The item at offset `at` of `bytes`. The next one is to be asked for at its end.
    ///
    /// # Errors
    /// When there is no frame, or none within `limits`.
    #[inline]
    pub fn next(
        &mut self,
        bytes: &[u8],
        at: usize,
        limits: &FrameLimits,
    ) -> Result<Next<H>, FrameError> {
        let mut start = at;
        if self.next == self.pending.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            match self.open(rest, limits)? {
                Opened::Frame { heads_end } => start += heads_end,
                Opened::Incomplete { needed } => return Ok(Next::Incomplete { needed }),
            }
        }
        let Pending { head, .. } = self.pending[self.next];
        let body_bytes = usize::try_from(head.body_bytes()).unwrap_or(usize::MAX);
        let end = start.saturating_add(body_bytes);
        if end > bytes.len() {
            if start > at {
                // The heads are consumed with the first body.
                self.pending.truncate(self.next);
            }
            return Ok(Next::Incomplete { needed: end - at });
        }
        let index = self.next;
        self.next += 1;
        Ok(Next::Item(Item { head, start, end, index }))
    }

    /// Reads the header and the heads at the start of `bytes`.
    fn open(&mut self, bytes: &[u8], limits: &FrameLimits) -> Result<Opened, FrameError> {
        let Some((header, found)) = Header::read(bytes, H::MAGIC)? else {
            return Ok(Opened::Incomplete { needed: HEADER_BYTES });
        };
        header.check(limits)?;
        let heads_end = HEADER_BYTES + usize::from(header.count) * H::BYTES;
        let Some(heads) = bytes.get(HEADER_BYTES..heads_end) else {
            return Ok(Opened::Incomplete { needed: heads_end });
        };
        let expected = checksum(&bytes[..CHECKED_BYTES], heads);
        if found != expected {
            return Err(FrameError::Checksum { expected, found });
        }
        let first = self.pending.len();
        self.take_heads(&header, heads, limits).inspect_err(|_| self.pending.truncate(first))?;
        self.epoch = header.epoch;
        Ok(Opened::Frame { heads_end })
    }

    fn take_heads(
        &mut self,
        header: &Header,
        heads: &[u8],
        limits: &FrameLimits,
    ) -> Result<(), FrameError> {
        let mut items = 0;
        let mut left = header.count;
        self.pending.reserve(usize::from(header.count));
        for bytes in heads.chunks_exact(H::BYTES) {
            let head = H::read(bytes);
            let (bytes, most) = (head.value_bytes(), limits.value_bytes_max);
            if bytes > most {
                return Err(FrameError::ValueTooLong { bytes, most });
            }
            items += head.body_bytes();
            self.pending.push(Pending { head, left });
            left -= 1;
        }
        let frame = u64::from(header.body_bytes);
        if items == frame { Ok(()) } else { Err(FrameError::Lengths { items, frame }) }
    }

    /// Goes back before the item at `index`, which is then read again at the offset of its body: items
    /// behind it were not used, and what came of later frames is read again from its bytes.
    ///
    /// # Panics
    /// If no such item was read since [`Frames::forget`].
    pub fn rewind(&mut self, index: usize) {
        let left = usize::from(self.pending[index].left);
        self.pending.truncate(index + left);
        self.next = index;
    }

    /// Forgets the heads of items that have been read: their indexes are void from now on.
    pub fn forget(&mut self) {
        self.pending.drain(..self.next);
        self.next = 0;
    }

    /// Gives back memory that a large frame left behind.
    pub fn shrink(&mut self) {
        self.forget();
        if self.is_idle() {
            self.pending = Vec::new();
        }
    }
}

/// What [`Frames::open`] came to.
enum Opened {
    Frame { heads_end: usize },
    Incomplete { needed: usize },
}

/// Reads a `u16` at `at`, which is inside `bytes`.
#[inline]
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

/// Reads a `u32` at `at`, which is inside `bytes`.
#[inline]
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// Reads a `u64` at `at`, which is inside `bytes`.
#[inline]
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

#[inline]
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the caller has looked")
}
