//! What a run is to do, apart from the requests themselves: plain data.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::schedule::{Arrivals, Curve};

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What reports call the run.
    pub(crate) label: String,
    /// The server's name or address.
    pub(crate) host: String,
    /// The server's port.
    pub(crate) port: u16,
    /// Clients; each is one connection, or in a cluster one to every node.
    pub(crate) connections: usize,
    /// Requests that each client has on the way at most.
    pub(crate) depth: usize,
    /// Threads that the clients are spread over.
    pub(crate) threads: usize,
    /// Where these run.
    pub(crate) cpus: Cpus,
    /// When the run ends.
    pub(crate) amount: Amount,
    /// Time under load before anything counts.
    pub(crate) warmup: Duration,
    /// When requests are sent.
    pub(crate) load: Load,
    /// What is spoken.
    pub(crate) protocol: Protocol,
    /// Whether each key goes to the node that owns its slot.
    pub(crate) cluster: bool,
    /// What the server wants to hear first.
    pub(crate) auth: Option<Auth>,
    /// The database to select.
    pub(crate) db: u32,
    /// Where randomness starts from.
    pub(crate) seed: u64,
    /// Raised when the run is to end early, by a signal.
    pub(crate) stop: Arc<AtomicBool>,
}

/// The CPUs that threads are pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cpus {
    /// One each, from the last allowed CPU downwards.
    Last,
    /// One each, in this order, over again if there are more threads.
    List(Vec<usize>),
    /// Wherever the kernel likes.
    Any,
}

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Amount {
    /// So many requests.
    Requests(u64),
    /// As many as come about in that time.
    Time(Duration),
    /// What the work has to offer: a trace once.
    Everything,
}

/// When requests are sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Load {
    /// Each client sends `depth` requests, and the next when all are answered.
    Closed,
    /// At a rate of the tool's own, however fast the server answers.
    Open {
        /// The rate over time.
        curve: Curve,
        /// How single requests are spread in time.
        arrivals: Arrivals,
    },
    /// When the trace says.
    Replay,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Protocol {
    /// Redis's protocol as every server speaks it.
    Resp2,
    /// The same after `HELLO 3`.
    Resp3,
    /// Ringmain's own.
    Binary,
}

/// Who the clients say they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Auth {
    /// `default` unless given.
    pub(crate) user: Option<String>,
    /// The password.
    pub(crate) password: String,
}
