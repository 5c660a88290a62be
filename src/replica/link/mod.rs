//! What makes a TCP connection between two nodes a link that can be trusted: both sides show that they know
//! the cluster's secret, and whatever comes later carries a code that only they can make. No I/O here; see
//! `runtime::links`.
//!
//! ```text
//! dialer                                             acceptor
//!   hello: who, to whom, a nonce, a code ─────────►    checks the code
//!   checks the code ◄──────── welcome: a nonce, what there is to know of the node, a code
//!   frames: announcement, messages, ... ──────────►    the first shows that the dialer is there now
//! ```
//!
//! Who does not know which node is at an address says hello to node 0, and is told in the welcome. A node that was
//! removed from the cluster, or whose number another process has, gets a farewell: a welcome without an announcement.
//!
//! A link carries messages from who dialed to who accepted only; answers come over a link of the other's own.
//! The keys are derived from the secret, both ids, both nonces and the direction, and frames are counted. So
//! bytes that were changed, left out, repeated, or taken from another link do not pass. Nothing is encrypted:
//! TLS could go around the whole, below the bytes that this module sees.

mod announcement;
mod frames;
mod handshake;
mod keys;
mod news;
mod node_list;

pub use announcement::Announcement;
pub use frames::{FrameReader, FrameWriter, Item};
pub use handshake::{
    Dialing, Farewell, HELLO_BYTES, Hello, NONCE_BYTES, Nonce, Purpose, Welcomed, farewell,
    hello_nonce, welcome,
};
pub use keys::{CODE_BYTES, ClusterSecret};
pub use news::News;
pub use node_list::{NodeEntry, NodeList, NodePlace, is_host};

/// Why a link can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// It does not begin as a link does.
    #[error("what it says is not this protocol")]
    Magic,
    /// It speaks a version of the protocol that is not spoken here.
    #[error(
        "it speaks version {0} of the protocol, this node version {VERSION}: run the same version of Ringmain on all nodes"
    )]
    Version(u16),
    /// Another node was meant, or another answered.
    #[error("it is for node {to} from node {from}, which is not what this link is for")]
    Node {
        /// Who spoke.
        from: u64,
        /// To whom.
        to: u64,
    },
    /// The code is not the one that a node of this cluster would have made.
    #[error(
        "its authentication code is wrong: it has another secret, or the bytes were changed on the way"
    )]
    Code,
    /// The other side says that this node was removed from the cluster.
    #[error("this node was removed from the cluster")]
    Removed,
    /// The other side says that another process has this node's number.
    #[error(
        "it hears from another process with this node's number: give every node a --node-id of its own"
    )]
    Double,
    /// Something is longer than may be.
    #[error("it says that {0} bytes follow, which is more than may be")]
    Length(u64),
    /// What was authenticated can't be understood.
    #[error("{0}")]
    Content(#[from] super::Fault),
}

/// The version of the protocol: another one whenever links, messages, or the entries in them change.
const VERSION: u16 = 3;
