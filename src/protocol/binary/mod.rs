//! The binary protocol, specified in `docs/protocol.md`: frames of requests and replies to bytes and
//! back. No I/O, no clock; server, client library and load generator share it.
//!
//! ```text
//! frame   [header 16][item head][item head]…[body of item 1][body of item 2]…
//!          magic, version, count, length, checksum over the header and all item heads
//! request [id][opcode][durability][flags][slot][key length][value length]    16 bytes
//!         body: extras that the flags name, key, value
//! reply   [id][opcode][status][shard][version][body length]                 20 bytes
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `frame` | headers, checksums, the reader that cuts bytes into items |
//! | `request` | heads, flags and extras of requests; the client's writer |
//! | `reply` | heads and statuses of replies; the server's writer |
//! | `body` | what is inside a body: lists, greetings, topology, many values |
//!
//! Everything is little-endian. A receiver knows every length from checked heads before it looks at a
//! body, and bounds it before it makes room.

pub mod body;
pub mod frame;
pub mod reply;
pub mod request;

pub use body::{Greeting, Hello, Malformed, Token, Topology};
pub use frame::{FrameError, FrameLimits, Frames, Item, Next};
pub use reply::{CLOCK_AHEAD, ReplyFrame, ReplyHead, Status};
pub use request::{Durability, Extras, Opcode, RequestFlags, RequestFrame, RequestHead};

/// The version of the protocol that this is.
pub const VERSION: u8 = 1;

/// First byte of a frame of requests. No RESP request, inline ones included, is written with it.
pub const REQUEST_MAGIC: u8 = 0xb1;
/// First byte of a frame of replies.
pub const REPLY_MAGIC: u8 = 0xb2;
