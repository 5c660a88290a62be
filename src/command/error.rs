//! What a command can answer instead of a result, in Redis's words.

use std::net::IpAddr;

use crate::cache::{TooMuch, WrongType};
use crate::config::Durability;
use crate::log::Refusal;
use crate::types::Slot;

impl From<WrongType> for Error {
    fn from(WrongType: WrongType) -> Self {
        Self::WrongType
    }
}

impl From<TooMuch> for Error {
    fn from(TooMuch: TooMuch) -> Self {
        Self::TooMuch
    }
}

/// An error reply. `Display` gives the text after the `-`, code included.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Arguments that make no sense together.
    #[error("ERR syntax error")]
    Syntax,
    /// A number was expected.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// A floating-point number was expected.
    #[error("ERR value is not a valid float")]
    NotAFloat,
    /// A key of another type.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// `DB index is out of range`.
    #[error("ERR DB index is out of range")]
    DbIndex,
    /// A key that must be there is not.
    #[error("ERR no such key")]
    NoSuchKey,
    /// A string would grow beyond what is allowed.
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    StringTooLong,
    /// Wrong number of arguments; the command's name, `container|sub` for subcommands.
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(String),
    /// Memory is short and nothing can be evicted.
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    OutOfMemory,
    /// The shard's log can't be written.
    #[error("{0}")]
    LogRefused(Refusal),
    /// The client asked for its writes to be kept, and no log is.
    #[error("NODURABILITY there is no log yet: durability {} can't be given", .0.name())]
    NotDurable(Durability),
    /// A command would write down more than a record of the log takes.
    #[error("ERR the change is too large to be written to the log at once")]
    TooMuch,
    /// Data is being recovered.
    #[error("LOADING Redis is loading the dataset in memory")]
    Loading,
    /// Authentication is required.
    #[error("NOAUTH Authentication required.")]
    NoAuth,
    /// Another core, or another node of the cluster, serves the slot.
    #[error("MOVED {} {ip}:{port}", slot.0)]
    Moved {
        /// The slot.
        slot: Slot,
        /// Where to ask: the address, ...
        ip: IpAddr,
        /// ... and the port.
        port: u16,
    },
    /// No node of the cluster is known to lead the slot's shard.
    #[error("CLUSTERDOWN Hash slot not served")]
    SlotNotServed,
    /// Any other text that never changes, code included.
    #[error("{0}")]
    Static(&'static str),
    /// Any other text, code included.
    #[error("{0}")]
    Text(String),
}
