//! Ringmain: a thread-per-core cache engine that speaks Redis's protocol.
//!
//! # Bird's-eye view
//!
//! Keys hash to 16,384 slots as in Redis Cluster, slots belong to shards, shards to cores. A core is one
//! pinned thread with an io_uring of its own; a shard is one [`cache::Keyspace`] behind a token. Clients
//! connect to the common port, where a connection moves to the core of the first key it names, or to a
//! core's own port, which cluster clients learn from `CLUSTER SLOTS`. Whoever holds a shard's token
//! touches the shard; nobody else does, and nobody waits for a core that sleeps. So an operator can give
//! a shard to another core at any time ([`node::Owners`]): no data moves, and clients are told.
//!
//! # The life of one `SET`
//!
//! 1. The kernel puts the client's bytes into one of the core's receive buffers and completes a
//!    multishot receive (`runtime::ring`, `runtime::buffers`); the core wakes up (`runtime::core`).
//! 2. `runtime::window` has [`protocol::resp`] cut the bytes into [`protocol::Args`], nothing copied,
//!    a few requests ahead, finds each command in [`command::table`] and the slot of its key in
//!    [`types`], and has the processor load what the keys will need. `runtime::dispatch` decides
//!    where each runs.
//! 3. If the shard's token is at hand or free (`runtime::shards`), `runtime::engine` runs the command
//!    there and then, the plain requests of a pipeline together (`runtime::plain`), and where there are
//!    several shards, shard by shard (`runtime::sorted`); if another core holds it, the command waits in
//!    the shard's queue for that core (`runtime::batch`). A command over several shards gathers all their
//!    tokens (`runtime::multi`), and so does a transaction (`runtime::transaction`), a command that may
//!    wait for its keys (`runtime::blocking`), or one with so much to do that it is run in steps
//!    (`runtime::steps`).
//! 4. [`shard`] makes room if memory is short, and calls the command's handler
//!    ([`command::strings`]), which decides with what [`command::Exec`] gives it: the time, the
//!    database, the keyspaces.
//! 5. [`cache`] finds the key, writes the value, moves the entry to the head of the LRU list, and notes
//!    the change in its journal.
//! 6. The handler answers through [`protocol::Reply`] into the connection's output
//!    (`runtime::output`), which keeps replies in the order of their requests.
//! 7. At the end of the turn [`shard`] makes the journal's changes a record if it is time, [`log`] says
//!    where it goes, and `runtime::logger` hands the write to the ring. A reply that must survive the loss
//!    of power waits for it (`runtime::gate`).
//! 8. On a node of a cluster the record is also an entry of the shard's Raft group ([`replica`], joined with the
//!    keyspace and the log in `shard::replicated`): `runtime::replicas` hands it to the links, and the reply waits at
//!    the same gate until a quorum has it. Who does not lead the shard sends the client to who does
//!    (`runtime::redirect`), unless it is a read for which a follower will do (`runtime::reads`); if the client does not
//!    speak cluster, it leaves the command to who leads and passes the reply on (`runtime::forward`).
//! 9. Everything else a connection has to say leaves in one send (`runtime::traffic`).
//!
//! # The modules, lowest first
//!
//! Each imports only what stands above it.
//!
//! | module | what it is |
//! |---|---|
//! | [`types`], [`limits`] | ids, slots, bounds |
//! | [`double`] | doubles as text, as C writes and reads them |
//! | `plant` | faults that the simulator plants, to see that it finds them; nothing outside tests |
//! | [`collection`] | values with elements: lists, sets, sorted sets, hashes; their changes as operations |
//! | [`cache`] | one shard's data: entries, index, LRU, expiry, memory; its changes as bytes |
//! | [`log`] | one shard's log: records, segments, snapshots, recovery; no I/O of its own |
//! | [`replica`] | one shard's replica on this node: Raft over the log, what replicas tell each other, links that can be trusted; no I/O of its own |
//! | [`config`] | flags and file, raw to validated; what `CONFIG SET` changes |
//! | [`protocol`] | bytes to requests, replies to bytes |
//! | [`metrics`] | per-core counters, one writer each |
//! | [`node`] | what the cores share and a command may look at |
//! | [`command`] | the command table: one row and one handler a command, by group |
//! | [`shard`] | a keyspace with its memory limit and its log: runs a command |
//! | [`runtime`] | one core: rings, connections, tokens, mailboxes, the logs' files, links to other nodes |
//! | [`server`] | start, stop, signals, the data directory |
//! | `hgrm` | latency distributions as HdrHistogram's tools write them; the load generator's too |
//! | [`latency_cli`] | `ringmain latency`: shows what a running server has recorded |
//! | [`transfer`] | `ringmain import` and `export`: keys from a file or a server into a server, and out of one |
//! | [`log_cli`] | `ringmain log`: shows and mends the logs in a directory that no server has open |
//! | [`cluster_cli`] | `ringmain cluster`: starts a cluster for a try, shows one that runs, changes who is in it, has one survivor go on |
//! | [`reshard`] | `ringmain reshard`: rewrites such a directory into another number of shards |
//! | `client` | for applications: the binary protocol, each key to its core; imports [`types`], [`limits`], [`protocol`] |
//!
//! # Features
//!
//! `server`, the default, is the engine and its binary. Without it [`types`], [`limits`], [`double`] and [`protocol`]
//! remain, with few dependencies and none on io_uring: all that the load generator needs. `client` adds
//! `ringmain::client`, and tokio.
//!
//! # Invariants
//!
//! * The core decides, the runtime performs: `protocol`, `cache`, `log`, `command` and `shard` do no I/O
//!   and read no clock; time and randomness are passed in, what is to be done comes out as effects.
//! * One holder per state at a time. Cores share the shard cells, the mailboxes and [`node::Node`], and
//!   nothing else. What is published goes through the mailboxes: `runtime::pubsub`.
//! * What comes from outside is never trusted: it is bounded before it is stored, and a wrong byte is an
//!   error reply, not a panic.
//!
//! # Deliberately absent
//!
//! No locks around data, no background threads that touch it, no copy of a request on the usual way.
//! Not there yet: streams, scripts.

#![cfg_attr(
    all(doc, not(feature = "server")),
    expect(rustdoc::broken_intra_doc_links, reason = "the page tells of the server too")
)]

#[cfg(feature = "server")]
pub mod cache;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod cluster_cli;
#[cfg(feature = "server")]
pub mod collection;
#[cfg(feature = "server")]
pub mod command;
#[cfg(feature = "server")]
pub mod config;
pub mod double;
#[cfg(feature = "hgrm")]
pub mod hgrm;
#[cfg(feature = "server")]
pub mod latency_cli;
pub mod limits;
#[cfg(feature = "server")]
pub mod log;
#[cfg(feature = "server")]
pub mod log_cli;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod node;
#[cfg(feature = "server")]
mod plant;
pub mod protocol;
#[cfg(feature = "server")]
pub mod replica;
#[cfg(feature = "server")]
pub mod reshard;
#[cfg(feature = "server")]
pub mod runtime;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod shard;
#[cfg(all(test, feature = "server"))]
#[path = "../tests/sim/mod.rs"]
mod sim;
#[cfg(feature = "server")]
pub mod transfer;
pub mod types;
