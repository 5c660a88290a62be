//! One shard's replica on this node: Raft (the `raft` crate) over the shard's log.
//!
//! ```text
//!  clients ─► keyspace ─► journal ─► entry ─► Raft ─┬─► log (disk)
//!  (leader)                                         └─► messages ─► links ─► replicas on other nodes
//!                                                                              │ committed
//!                                                                              ▼
//!                                                                      keyspace (followers)
//! ```
//!
//! What is replicated is what the journal writes down: results, never commands. The leader runs commands at
//! once, before their entry is committed; replies wait (`runtime::gate`). So its keyspace is ahead of what is
//! committed, and a leader that is deposed with entries that others never got has to be given a snapshot.
//! Followers make changes again when they are committed.
//!
//! An entry of Raft is a record of the log, with the same index. No I/O, no clock and no randomness here.

mod codec;
mod fields;
pub mod link;
pub mod message;
mod sense;

pub use message::{Body, Fault, ShardMessage, SnapshotContent, SnapshotPiece};
