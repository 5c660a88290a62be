//! Requests: heads, flags, extras, and the client's writer of frames.
//!
//! ```text
//! 0 id u32 │ 4 opcode u8 │ 5 durability u8 │ 6 flags u16 │ 8 slot u16 │ 10 key bytes u16 │ 12 value bytes u32
//! body: extras, in the order of their flags │ key │ value
//! ```

use super::frame::{HEADER_BYTES, Head, Header, u16_at, u32_at, u64_at};
use super::{REQUEST_MAGIC, Token, VERSION};
use crate::limits::BINARY_FRAME_ITEMS_MAX;
use crate::types::Slot;

/// What a request asks for. The numbers are part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// Learns versions, limits, features and the topology; may authenticate.
    Hello = 0x01,
    /// Answers its value.
    Ping = 0x02,
    /// Answers the topology.
    Topology = 0x03,
    /// Answers the topology, and has every later one pushed.
    SubscribeTopology = 0x04,
    /// Answers what `INFO` shows.
    Stats = 0x05,
    /// Runs any RESP command.
    Command = 0x06,
    /// Answers a value and its version.
    Get = 0x10,
    /// Sets a value.
    Set = 0x11,
    /// Removes a key.
    Delete = 0x12,
    /// Sets a value if its version is the one named.
    CompareAndSwap = 0x13,
    /// Adds to a number.
    Increment = 0x14,
    /// Adds bytes to the end of a value.
    Append = 0x15,
    /// Counts as a use of a key.
    Touch = 0x16,
    /// Sets or clears a key's expiry.
    Expire = 0x17,
    /// Answers several values and their versions, as they are at one moment.
    GetMany = 0x18,
    /// Sets several values at one moment.
    SetMany = 0x19,
    /// Walks over keys.
    Scan = 0x1a,
}

impl Opcode {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Hello,
        Self::Ping,
        Self::Topology,
        Self::SubscribeTopology,
        Self::Stats,
        Self::Command,
        Self::Get,
        Self::Set,
        Self::Delete,
        Self::CompareAndSwap,
        Self::Increment,
        Self::Append,
        Self::Touch,
        Self::Expire,
        Self::GetMany,
        Self::SetMany,
        Self::Scan,
    ];

    /// The opcode with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|opcode| *opcode as u8 == number)
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The bit that marks the opcode of a reply nobody asked for: a push.
    pub const PUSH: u8 = 0x80;
}

/// What a write must have survived before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Durability {
    /// Whatever the server is configured for.
    #[default]
    Default = 0,
    /// Nothing: it is in memory.
    Memory = 1,
    /// It will be on disk within a second.
    Async = 2,
    /// It is on disk, in a cluster on a quorum's.
    Sync = 3,
}

impl Durability {
    /// The level with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Default),
            1 => Some(Self::Memory),
            2 => Some(Self::Async),
            3 => Some(Self::Sync),
            _ => None,
        }
    }
}

bitflags::bitflags! {
    /// What a request carries and under which conditions it is done. The numbers are part of the protocol.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct RequestFlags: u16 {
        /// Extra: the time to live in milliseconds, u64; with [`Self::TTL_IS_TIME`] a Unix time.
        const TTL = 1 << 0;
        /// Extra: the version that the key must have, u64; 0 if it must not be there.
        const VERSION = 1 << 1;
        /// Extra: microseconds since the server received the request, after which it is not begun, u64.
        const DEADLINE = 1 << 2;
        /// Extra: a session token that the shard must have reached, 16 bytes.
        const TOKEN = 1 << 3;
        /// Extra: the client's number for itself, u64.
        const CLIENT = 1 << 4;
        /// Extra: the client's number for the write, the same in every attempt, u64.
        const SEQUENCE = 1 << 5;
        /// Extra: the client will not ask again for what is below this, u64.
        const ANSWERED = 1 << 6;
        /// Only if the key is not there.
        const IF_ABSENT = 1 << 8;
        /// Only if the key is there.
        const IF_PRESENT = 1 << 9;
        /// Leaves the expiry as it is.
        const KEEP_TTL = 1 << 10;
        /// The time to live is a point in time.
        const TTL_IS_TIME = 1 << 11;
        /// It was sent before, and may be on its way still.
        const AGAIN = 1 << 12;
        // Bits that nobody knows are kept, so that they can be refused.
        const _ = !0;
    }
}

impl RequestFlags {
    /// What tells one write from another, so that it can be asked for again and is done once.
    pub const ONCE: Self =
        Self::CLIENT.union(Self::SEQUENCE).union(Self::ANSWERED).union(Self::AGAIN);

    /// All flags that mean something.
    pub const KNOWN: Self = Self::TTL
        .union(Self::VERSION)
        .union(Self::DEADLINE)
        .union(Self::TOKEN)
        .union(Self::ONCE)
        .union(Self::IF_ABSENT)
        .union(Self::IF_PRESENT)
        .union(Self::KEEP_TTL)
        .union(Self::TTL_IS_TIME);

    /// Flags that announce an extra of eight bytes, those without a meaning yet included: a receiver
    /// that doesn't know them still knows where the key begins.
    const EXTRAS: Self = Self::from_bits_retain(0xff);

    /// Bytes of the extras that these flags announce: eight for each of the low eight bits, and eight
    /// more for the token.
    #[inline]
    pub const fn extras_bytes(self) -> usize {
        let words =
            self.intersection(Self::EXTRAS).bits().count_ones() + self.contains(Self::TOKEN) as u32;
        words as usize * size_of::<u64>()
    }
}

/// The head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The client's number for it; the reply carries it too.
    pub id: u32,
    /// What it asks for: an [`Opcode`]'s number.
    pub opcode: u8,
    /// A [`Durability`]'s number.
    pub durability: u8,
    /// What it carries and under which conditions it is done.
    pub flags: RequestFlags,
    /// The slot of its key, or of its first; 0 where there is none.
    pub slot: Slot,
    /// Bytes of the key.
    pub key_bytes: u16,
    /// Bytes of the value.
    pub value_bytes: u32,
}

impl Head for RequestHead {
    const MAGIC: u8 = REQUEST_MAGIC;
    const BYTES: usize = 16;

    #[inline]
    fn read(bytes: &[u8]) -> Self {
        Self {
            id: u32_at(bytes, 0),
            opcode: bytes[4],
            durability: bytes[5],
            flags: RequestFlags::from_bits_retain(u16_at(bytes, 6)),
            slot: Slot(u16_at(bytes, 8)),
            key_bytes: u16_at(bytes, 10),
            value_bytes: u32_at(bytes, 12),
        }
    }

    #[inline]
    fn body_bytes(&self) -> u64 {
        let front = self.flags.extras_bytes() + usize::from(self.key_bytes);
        front as u64 + u64::from(self.value_bytes)
    }

    #[inline]
    fn value_bytes(&self) -> usize {
        self.value_bytes as usize
    }
}

impl RequestHead {
    /// The head of a request for `opcode` without anything else.
    pub const fn new(id: u32, opcode: Opcode) -> Self {
        Self {
            id,
            opcode: opcode.number(),
            durability: Durability::Default as u8,
            flags: RequestFlags::empty(),
            slot: Slot(0),
            key_bytes: 0,
            value_bytes: 0,
        }
    }

    /// The head as it stands in a frame.
    #[inline]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..4].copy_from_slice(&self.id.to_le_bytes());
        bytes[4] = self.opcode;
        bytes[5] = self.durability;
        bytes[6..8].copy_from_slice(&self.flags.bits().to_le_bytes());
        bytes[8..10].copy_from_slice(&self.slot.0.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.key_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.value_bytes.to_le_bytes());
        bytes
    }
}

/// What a request may carry before its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Extras {
    /// Time to live, or Unix time, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// The version that the key must have.
    pub version: Option<u64>,
    /// Microseconds since the server received the request.
    pub deadline_us: Option<u64>,
    /// What the shard must have reached.
    pub token: Option<Token>,
    /// The client's number for itself.
    pub client: Option<u64>,
    /// Its number for the write.
    pub sequence: Option<u64>,
    /// What is below it the client will not ask for again.
    pub answered: Option<u64>,
}

impl Extras {
    /// The flags that announce these extras.
    pub fn flags(&self) -> RequestFlags {
        let mut flags = RequestFlags::empty();
        flags.set(RequestFlags::TTL, self.ttl_ms.is_some());
        flags.set(RequestFlags::VERSION, self.version.is_some());
        flags.set(RequestFlags::DEADLINE, self.deadline_us.is_some());
        flags.set(RequestFlags::TOKEN, self.token.is_some());
        flags.set(RequestFlags::CLIENT, self.client.is_some());
        flags.set(RequestFlags::SEQUENCE, self.sequence.is_some());
        flags.set(RequestFlags::ANSWERED, self.answered.is_some());
        flags
    }

    /// Reads the extras that `flags` announce.
    ///
    /// # Panics
    /// If `bytes` is shorter than [`RequestFlags::extras_bytes`].
    pub fn read(flags: RequestFlags, bytes: &[u8]) -> Self {
        let mut at = 0;
        let mut next = |flag, length| {
            flags.contains(flag).then(|| {
                at += length;
                &bytes[at - length..at]
            })
        };
        let mut word = |flag| next(flag, size_of::<u64>()).map(|bytes| u64_at(bytes, 0));
        let ttl_ms = word(RequestFlags::TTL);
        let version = word(RequestFlags::VERSION);
        let deadline_us = word(RequestFlags::DEADLINE);
        let token = next(RequestFlags::TOKEN, Token::BYTES).map(Token::read);
        let mut word = |flag| next(flag, size_of::<u64>()).map(|bytes| u64_at(bytes, 0));
        let client = word(RequestFlags::CLIENT);
        let sequence = word(RequestFlags::SEQUENCE);
        let answered = word(RequestFlags::ANSWERED);
        Self { ttl_ms, version, deadline_us, token, client, sequence, answered }
    }

    /// Appends the extras in the order of their flags.
    pub fn write(&self, out: &mut Vec<u8>) {
        for word in [self.ttl_ms, self.version, self.deadline_us].into_iter().flatten() {
            out.extend_from_slice(&word.to_le_bytes());
        }
        if let Some(token) = self.token {
            token.write(out);
        }
        for word in [self.client, self.sequence, self.answered].into_iter().flatten() {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
}

/// Gathers requests and writes them as one frame. For clients; kept from frame to frame, it allocates
/// nothing.
#[derive(Clone, Debug, Default)]
pub struct RequestFrame {
    heads: Vec<u8>,
    bodies: Vec<u8>,
}

/// A request that does not fit into this frame any more: send the frame and begin another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFull {
    /// There are as many requests as a frame takes.
    #[error("a frame takes {BINARY_FRAME_ITEMS_MAX} requests")]
    Count,
    /// The bodies would be too long together.
    #[error("a frame takes {} bytes of bodies", crate::limits::BINARY_FRAME_BODY_BYTES_MAX)]
    Bytes,
    /// The key is longer than any frame takes.
    #[error("a key has at most {} bytes", crate::limits::BINARY_KEY_BYTES_MAX)]
    Key,
}

impl RequestFrame {
    /// Number of requests gathered.
    pub fn len(&self) -> usize {
        self.heads.len() / RequestHead::BYTES
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Bytes that the frame would have.
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.heads.len() + self.bodies.len()
    }

    /// Adds a request. `head` gives id, opcode, durability, slot and the flags that are no extras'; the
    /// rest follows from the other arguments.
    ///
    /// # Errors
    /// When it does not fit; the frame is as it was.
    #[inline]
    pub fn push(
        &mut self,
        head: RequestHead,
        extras: &Extras,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), FrameFull> {
        self.push_with(head, extras, key, value.len(), |out| out.extend_from_slice(value))
    }

    /// The same with a value of `value_bytes` bytes that `write` appends.
    ///
    /// # Errors
    /// When it does not fit; the frame is as it was.
    ///
    /// # Panics
    /// If `write` appends another number of bytes.
    #[inline]
    pub fn push_with(
        &mut self,
        head: RequestHead,
        extras: &Extras,
        key: &[u8],
        value_bytes: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), FrameFull> {
        let flags = head.flags.difference(RequestFlags::EXTRAS) | extras.flags();
        let front = flags.extras_bytes() + key.len();
        let end = (self.bodies.len() + front).saturating_add(value_bytes);
        if self.len() == BINARY_FRAME_ITEMS_MAX {
            return Err(FrameFull::Count);
        }
        if end > crate::limits::BINARY_FRAME_BODY_BYTES_MAX {
            return Err(FrameFull::Bytes);
        }
        let key_bytes = u16::try_from(key.len()).map_err(|_| FrameFull::Key)?;
        let value_bytes = u32::try_from(value_bytes).map_err(|_| FrameFull::Bytes)?;
        let head = RequestHead { flags, key_bytes, value_bytes, ..head };
        self.heads.extend_from_slice(&head.to_bytes());
        extras.write(&mut self.bodies);
        self.bodies.extend_from_slice(key);
        write(&mut self.bodies);
        assert_eq!(self.bodies.len(), end, "the value has the length it was announced with");
        Ok(())
    }

    /// Appends the frame to `out` and empties itself; nothing if there are no requests.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let Ok(count) = u16::try_from(self.len()) else { unreachable!("bounded when pushed") };
        let Ok(body_bytes) = u32::try_from(self.bodies.len()) else {
            unreachable!("bounded when pushed")
        };
        if count == 0 {
            return;
        }
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        out.extend_from_slice(&self.heads);
        Header { magic: REQUEST_MAGIC, version: VERSION, count, body_bytes, epoch: 0 }
            .seal(&mut out[start..]);
        out.extend_from_slice(&self.bodies);
        self.heads.clear();
        self.bodies.clear();
    }
}
