//! Replies: heads, statuses, and the server's writer of frames.
//!
//! ```text
//! 0 id u32 │ 4 opcode u8 │ 5 status u8 │ 6 shard u16 │ 8 version u64 │ 16 body bytes u32
//! ```
//!
//! Shard and version are, in replies to writes, the session token: the shard's sequence after the write.

use super::frame::{HEADER_BYTES, Head, Header, u16_at, u32_at, u64_at};
use super::{REPLY_MAGIC, VERSION};
use crate::types::ShardId;

/// What became of a request. The numbers are part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// It was done.
    Ok = 0x00,
    /// There is no such key.
    NotFound = 0x01,
    /// The key is there, and must not be.
    Exists = 0x02,
    /// The key's version is another one; the reply carries it.
    VersionMismatch = 0x03,
    /// The command failed; the body says why, as a RESP error would.
    Error = 0x20,
    /// The value is no number.
    NotANumber = 0x21,
    /// The number would leave its range.
    Overflow = 0x22,
    /// The key holds another type.
    WrongType = 0x23,
    /// A value or a reply would be too long.
    TooLarge = 0x24,
    /// Memory is short and nothing can be evicted.
    OutOfMemory = 0x25,
    /// The request makes no sense.
    BadRequest = 0x30,
    /// No such opcode.
    UnknownOpcode = 0x31,
    /// The head names another slot than the key's.
    WrongSlot = 0x32,
    /// The deadline had passed before the work could begin.
    DeadlineExceeded = 0x33,
    /// The durability asked for can't be given.
    DurabilityUnavailable = 0x34,
    /// The session token is from an earlier life of the server.
    TokenExpired = 0x35,
    /// The shard has not reached the session token.
    TokenNotReached = 0x36,
    /// The client has not authenticated.
    AuthRequired = 0x37,
    /// Wrong user or password.
    AuthFailed = 0x38,
    /// The command would change the connection's protocol.
    NotAllowed = 0x39,
    /// Another core, or another node of the cluster, serves this slot.
    Moved = 0x3a,
    /// No node of the cluster is known to serve this slot now.
    NoLeader = 0x3b,
    /// Whether an earlier attempt of this write was done can't be told any more.
    Forgotten = 0x3c,
    /// What came is no frame. The connection is closed.
    BadFrame = 0x40,
    /// A version that is not spoken here. The connection is closed.
    BadVersion = 0x41,
    /// The header's checksum is wrong. The connection is closed.
    BadChecksum = 0x42,
    /// The frame holds more than may be sent. The connection is closed.
    FrameTooLarge = 0x43,
    /// There are too many clients. The connection is closed.
    TooManyClients = 0x44,
    /// Protected mode keeps the client out. The connection is closed.
    Denied = 0x45,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 29] = [
        Self::Ok,
        Self::NotFound,
        Self::Exists,
        Self::VersionMismatch,
        Self::Error,
        Self::NotANumber,
        Self::Overflow,
        Self::WrongType,
        Self::TooLarge,
        Self::OutOfMemory,
        Self::BadRequest,
        Self::UnknownOpcode,
        Self::WrongSlot,
        Self::DeadlineExceeded,
        Self::DurabilityUnavailable,
        Self::TokenExpired,
        Self::TokenNotReached,
        Self::AuthRequired,
        Self::AuthFailed,
        Self::NotAllowed,
        Self::Moved,
        Self::NoLeader,
        Self::Forgotten,
        Self::BadFrame,
        Self::BadVersion,
        Self::BadChecksum,
        Self::FrameTooLarge,
        Self::TooManyClients,
        Self::Denied,
    ];

    /// The status with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Ok),
            1 => Some(Self::NotFound),
            _ => Self::ALL.into_iter().find(|status| *status as u8 == number),
        }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether it is an error: the body then says what, in text. The others are ordinary outcomes.
    pub const fn is_error(self) -> bool {
        self.number() >= Self::Error.number()
    }

    /// Whether it says what has become of a write for good, all attempts of it: it was done, its condition did not hold, or
    /// its key holds what it can't be done on. Other errors say that it could not be done at that time, or there.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Ok
            | Self::NotFound
            | Self::Exists
            | Self::VersionMismatch
            | Self::NotANumber
            | Self::Overflow
            | Self::WrongType
            | Self::TooLarge => true,
            Self::Error
            | Self::OutOfMemory
            | Self::BadRequest
            | Self::UnknownOpcode
            | Self::WrongSlot
            | Self::DeadlineExceeded
            | Self::DurabilityUnavailable
            | Self::TokenExpired
            | Self::TokenNotReached
            | Self::AuthRequired
            | Self::AuthFailed
            | Self::NotAllowed
            | Self::Moved
            | Self::NoLeader
            | Self::Forgotten
            | Self::BadFrame
            | Self::BadVersion
            | Self::BadChecksum
            | Self::FrameTooLarge
            | Self::TooManyClients
            | Self::Denied => false,
        }
    }

    /// Whether the server closes the connection behind it.
    pub const fn is_fatal(self) -> bool {
        self.number() >= Self::BadFrame.number()
    }
}

/// What the text of a *bad request* begins with whose sequence is too far ahead of the server's clock; the time there
/// follows, in microseconds since the Unix epoch.
pub const CLOCK_AHEAD: &str = "CLOCKAHEAD";

/// The head of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// The request's id; 0 in a push and in an error about a frame.
    pub id: u32,
    /// The request's opcode; in a push, an opcode and [`super::Opcode::PUSH`]; 0 in an error about a
    /// frame.
    pub opcode: u8,
    /// A [`Status`]'s number.
    pub status: u8,
    /// The shard of the key; [`ReplyHead::NO_SHARD`] if there is none, or more than one.
    pub shard: ShardId,
    /// The key's version, or the shard's sequence after a write; 0 if there is none.
    pub version: u64,
    /// Bytes of the body.
    pub body_bytes: u32,
}

impl Head for ReplyHead {
    const MAGIC: u8 = REPLY_MAGIC;
    const BYTES: usize = 20;

    #[inline]
    fn read(bytes: &[u8]) -> Self {
        Self {
            id: u32_at(bytes, 0),
            opcode: bytes[4],
            status: bytes[5],
            shard: ShardId(u16_at(bytes, 6)),
            version: u64_at(bytes, 8),
            body_bytes: u32_at(bytes, 16),
        }
    }

    #[inline]
    fn body_bytes(&self) -> u64 {
        u64::from(self.body_bytes)
    }

    #[inline]
    fn value_bytes(&self) -> usize {
        self.body_bytes as usize
    }
}

impl ReplyHead {
    /// What stands for a shard where there is none.
    pub const NO_SHARD: ShardId = ShardId(u16::MAX);

    /// The head of a reply without shard, version or body.
    pub const fn new(id: u32, opcode: u8, status: Status) -> Self {
        Self {
            id,
            opcode,
            status: status.number(),
            shard: Self::NO_SHARD,
            version: 0,
            body_bytes: 0,
        }
    }

    /// Its status, if it is one that this version of the protocol knows.
    pub fn status(&self) -> Option<Status> {
        Status::from_number(self.status)
    }
}

/// A frame of replies that is being written to the end of a buffer: room for a number of heads first,
/// then the bodies as they come.
///
/// ```text
/// out …│ header │ head │ head │ room for more │ body │ body │ (the next body)
///      ^start                                              ^body_at
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ReplyFrame {
    start: usize,
    room: usize,
    count: usize,
    body_at: usize,
}

impl ReplyFrame {
    /// Begins a frame of at most `room` replies at the end of `out`.
    ///
    /// # Panics
    /// If `room` is beyond what a frame's count can say.
    pub fn begin(out: &mut Vec<u8>, room: usize) -> Self {
        assert!(room <= usize::from(u16::MAX), "the count is 16 bits wide");
        let start = out.len();
        let body_at = start + HEADER_BYTES + room * ReplyHead::BYTES;
        out.resize(body_at, 0);
        Self { start, room, count: 0, body_at }
    }

    /// Replies that still fit.
    pub fn room(&self) -> usize {
        self.room - self.count
    }

    /// Where the body of the next reply begins in `out`.
    pub fn body_at(&self) -> usize {
        self.body_at
    }

    /// Bytes of all bodies so far.
    pub fn body_bytes(&self) -> usize {
        self.body_at - self.start - HEADER_BYTES - self.room * ReplyHead::BYTES
    }

    /// Adds a reply; what was appended to `out` since the last one is its body, whose length is filled
    /// in here.
    ///
    /// # Panics
    /// If there is no room, or the body is 4 GiB or longer.
    #[inline]
    pub fn push(&mut self, out: &mut [u8], head: ReplyHead) {
        let ReplyHead { id, opcode, status, shard, version, .. } = head;
        self.push_fields(out, (id, opcode, status), shard, version);
    }

    /// The same, of a head's fields: id, opcode and status, shard, version. Written one by one where they
    /// are to stand, they need not be put together first, for which the processor would wait.
    ///
    /// # Panics
    /// As [`push`](Self::push).
    #[inline(always)]
    pub fn push_fields(
        &mut self,
        out: &mut [u8],
        (id, opcode, status): (u32, u8, u8),
        shard: ShardId,
        version: u64,
    ) {
        assert!(self.count < self.room, "room was made for every reply");
        let body_bytes = u32::try_from(out.len() - self.body_at).expect("bodies are bounded");
        let at = self.start + HEADER_BYTES + self.count * ReplyHead::BYTES;
        self.count += 1;
        self.body_at = out.len();
        let head = &mut out[at..at + ReplyHead::BYTES];
        head[0..4].copy_from_slice(&id.to_le_bytes());
        let kind = u32::from(opcode) | u32::from(status) << 8 | u32::from(shard.0) << 16;
        head[4..8].copy_from_slice(&kind.to_le_bytes());
        head[8..16].copy_from_slice(&version.to_le_bytes());
        head[16..20].copy_from_slice(&body_bytes.to_le_bytes());
    }

    /// Closes the frame: room that was not used is taken out; without replies nothing is left of it.
    ///
    /// # Panics
    /// If the bodies are 4 GiB or longer together.
    pub fn finish(self, out: &mut Vec<u8>, epoch: u32) {
        debug_assert_eq!(out.len(), self.body_at, "a body without its reply");
        if self.count == 0 {
            out.truncate(self.start);
            return;
        }
        let heads_end = self.start + HEADER_BYTES + self.count * ReplyHead::BYTES;
        let bodies = self.start + HEADER_BYTES + self.room * ReplyHead::BYTES;
        if heads_end < bodies {
            out.copy_within(bodies.., heads_end);
            out.truncate(heads_end + self.body_bytes());
        }
        let header = Header {
            magic: REPLY_MAGIC,
            version: VERSION,
            count: u16::try_from(self.count).expect("bounded by the room"),
            body_bytes: u32::try_from(self.body_bytes()).expect("bodies are bounded"),
            epoch,
        };
        header.seal(&mut out[self.start..heads_end]);
    }

    /// Appends a frame of one reply.
    pub fn single(out: &mut Vec<u8>, head: ReplyHead, body: &[u8], epoch: u32) {
        let mut frame = Self::begin(out, 1);
        out.extend_from_slice(body);
        frame.push(out, head);
        frame.finish(out, epoch);
    }
}
