//! The client library: an application's way to a Ringmain server, over the binary protocol.
//!
//! ```no_run
//! use ringmain::client::{Client, Outcome};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), ringmain::client::Error> {
//! let client = Client::connect("127.0.0.1:6380").await?;
//!
//! client.set("user:7", "Ada").await?;
//! if let Some(name) = client.get("user:7").await? {
//!     println!("{:?} in version {}", name.text(), name.version);
//!     // Only if nobody has changed it since:
//!     match client.compare_and_swap("user:7", "Ada L.", name.version).await? {
//!         Outcome::Done(version) => println!("now in version {version}"),
//!         other => println!("somebody was faster: {other:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it does by itself
//!
//! * It learns which core owns which slots, keeps connections to each core's own port and sends each
//!   request to the owner of its key, so that the server has nothing to forward. When shards move, the
//!   server says so and the client follows.
//! * Requests of all callers share these connections. What several callers ask for at the same moment
//!   leaves in one frame, and replies come in any order: to have many requests under way, join their
//!   futures or await them in many tasks. There is no other pipeline.
//! * A lost connection is opened again, with pauses that grow. Requests wait for it as long as their time
//!   allows.
//! * What is safe to send again is sent again: reads, writes that surely were not done, and writes to single
//!   keys, which are numbered so that the server, or in a cluster whoever leads by then, does them once
//!   ([`Builder::once`]). Another write that was sent and not answered, and one whose time is up, fails with
//!   [`Error::UnknownFate`]; no increment is ever done twice, and none is reported lost that was done.
//! * The server is told how much time a request has left, and does not begin work that nobody waits for.
//!
//! # What it bounds
//!
//! Requests under way per connection ([`Builder::in_flight`]): further ones wait. The time of each
//! ([`Builder::timeout`]). A server that owes replies and is silent ([`Builder::silence_max`]).
//!
//! # Dropping futures
//!
//! A request's future may be dropped at any time, as `select!` and `timeout` do. A request that has not
//! been sent then never is; one that has may be done, and its reply is thrown away.
//!
//! # Order
//!
//! Requests for one key reach the server in the order in which they were first polled, as long as
//! nothing has to be sent again.
//!
//! # Runtime
//!
//! It runs on tokio, on one thread or several: a task for each connection, started where
//! [`Builder::connect`] is awaited. They end when the last clone of the client is dropped.
//!
//! | file | what it is |
//! |---|---|
//! | `builder` | settings, and the first connection |
//! | `operation`, `request`, `many`, `scan`, `value`, `session` | what is asked for and answered |
//! | `call` | one request on its way: attempts, fate, errors |
//! | `writes` | numbers that tell writes apart, so that each is done once |
//! | `hub` | topology and routes, shared by all clones |
//! | `link`, `backoff` | a lasting connection and its task |
//! | `connection` | one connection's I/O |
//! | `wire`, `pending` | frames out, replies in, matched by id; no I/O |

mod backoff;
mod builder;
mod call;
mod connection;
mod error;
mod hub;
mod link;
mod many;
pub mod operation;
mod pending;
mod request;
mod scan;
mod session;
mod value;
mod wire;
mod writes;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use builder::Builder;
pub use bytes::Bytes;
pub use error::{Cause, Error};
pub use request::Request;
pub use scan::Scan;
pub use session::Session;
pub use value::{Length, Outcome, Resp, Sum, Value, Version};

use call::Call;
use hub::Hub;
use many::{GetManyDraft, SetManyDraft};
use operation::{
    Append, Command, CompareAndSwap, Delete, Expire, Get, GetMany, Increment, Operation, Ping, Set,
    SetMany, Stats, Touch,
};
use request::Terms;

pub use crate::protocol::binary::{Durability, Status};

/// A client of one server. Cheap to clone; clones share its connections.
///
/// Keys are anything that is bytes. Values are what turns into [`Bytes`] without a copy: `Vec<u8>`,
/// `String`, `&'static str`, `Bytes`; of a borrowed slice make one with [`Bytes::copy_from_slice`].
#[derive(Clone, Debug)]
pub struct Client {
    hub: Arc<Hub>,
}

impl Client {
    /// Connects with the default settings to the server at `address`, `host:port`: its binary port, or
    /// its common port.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn connect(address: &str) -> Result<Self, Error> {
        Self::builder().connect(address).await
    }

    /// Other settings than the default ones.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn request<O: Operation>(&self, draft: O::Draft) -> Request<O> {
        Request { client: self.clone(), terms: Terms::default(), draft }
    }

    /// Gives the value of a key with its version, or `None` if there is no such key.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Request<Get> {
        self.request(Call::get(key.as_ref()))
    }

    /// Sets the value of a key; gives its version. Without [`ttl`](Request::ttl) or
    /// [`keep_ttl`](Request::keep_ttl) the key does not expire afterwards.
    ///
    /// ```no_run
    /// # async fn example(client: ringmain::client::Client) -> Result<(), ringmain::client::Error> {
    /// use std::time::Duration;
    ///
    /// let day = Duration::from_secs(86_400);
    /// let first = client.set("visited", "yes").if_absent().ttl(day).await?.is_done();
    /// # Ok(())
    /// # }
    /// ```
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Request<Set> {
        self.request(Call::set(key.as_ref(), value))
    }

    /// Removes a key; gives a version above all that it had, or `None` if there was no such key.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Request<Delete> {
        self.request(Call::delete(key.as_ref()))
    }

    /// Sets the value of a key if it has this version still; with version 0, if there is no such key.
    ///
    /// ```no_run
    /// # async fn example(client: ringmain::client::Client) -> Result<(), ringmain::client::Error> {
    /// use ringmain::client::Outcome;
    ///
    /// // Doubles a number that others change too.
    /// loop {
    ///     let Some(value) = client.get("stock").await? else { break };
    ///     let number: u64 = value.text().and_then(|text| text.parse().ok()).unwrap_or(0);
    ///     let doubled = (number * 2).to_string();
    ///     match client.compare_and_swap("stock", doubled, value.version).await? {
    ///         Outcome::VersionMismatch(_) => continue,
    ///         _ => break,
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn compare_and_swap(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        version: Version,
    ) -> Request<CompareAndSwap> {
        let mut call = Call::compare_and_swap(key.as_ref(), value);
        request::require(&mut call, version);
        self.request(call)
    }

    /// Adds to the number that the value spells in decimal, 0 if there is no such key; gives the sum.
    pub fn increment(&self, key: impl AsRef<[u8]>, by: i64) -> Request<Increment> {
        self.request(Call::increment(key.as_ref(), by))
    }

    /// Adds bytes to the end of the value; gives its length.
    pub fn append(&self, key: impl AsRef<[u8]>, bytes: impl Into<Bytes>) -> Request<Append> {
        self.request(Call::append(key.as_ref(), bytes))
    }

    /// Counts as a use of the key, so that it is evicted later; gives its version, or `None` if there
    /// is no such key.
    pub fn touch(&self, key: impl AsRef<[u8]>) -> Request<Touch> {
        self.request(Call::touch(key.as_ref()))
    }

    /// Lets the key expire after `ttl`; gives its new version, or `None` if there is no such key.
    pub fn expire(&self, key: impl AsRef<[u8]>, ttl: Duration) -> Request<Expire> {
        self.request(Call::expire(key.as_ref(), Some(ttl)))
    }

    /// Lets the key expire at a time of the server's clock, at once if it has passed.
    pub fn expire_at(&self, key: impl AsRef<[u8]>, time: SystemTime) -> Request<Expire> {
        self.request(Call::expire_at(key.as_ref(), time))
    }

    /// Lets the key live until it is removed.
    pub fn persist(&self, key: impl AsRef<[u8]>) -> Request<Expire> {
        self.request(Call::expire(key.as_ref(), None))
    }

    /// Gives the values of several keys, in the order of the keys, `None` where there is no such key.
    /// Each core is asked for its own, up to 1,024 in one request, all cores at the same time: what one
    /// request gives is as of one moment, the whole is not.
    ///
    /// ```no_run
    /// # async fn example(client: ringmain::client::Client) -> Result<(), ringmain::client::Error> {
    /// let values = client.get_many(["a", "b", "c"]).await?;
    /// assert_eq!(values.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Request<GetMany> {
        let copied = keys.into_iter().map(|key| Bytes::copy_from_slice(key.as_ref()));
        self.request(GetManyDraft::new(copied.collect()))
    }

    /// Sets several values, divided among the cores as [`get_many`](Self::get_many) does it. If it
    /// fails, some of them may have been set, whatever the error says of the part it is about.
    ///
    /// ```no_run
    /// # async fn example(client: ringmain::client::Client) -> Result<(), ringmain::client::Error> {
    /// use std::time::Duration;
    ///
    /// let minute = Duration::from_secs(60);
    /// client.set_many([("a", "1"), ("b", "2")]).ttl(minute).repeatable().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_many<K: AsRef<[u8]>, V: Into<Bytes>>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Request<SetMany> {
        let copied = pairs
            .into_iter()
            .map(|(key, value)| (Bytes::copy_from_slice(key.as_ref()), value.into()));
        self.request(SetManyDraft::new(copied.collect()))
    }

    /// Walks over all keys of the server.
    pub fn scan(&self) -> Scan {
        Scan::new(self.clone())
    }

    /// Asks the server for a sign of life.
    pub fn ping(&self) -> Request<Ping> {
        self.request(Call::ping())
    }

    /// Gives a section of what `INFO` shows, or with an empty name the usual ones.
    pub fn stats(&self, section: &str) -> Request<Stats> {
        self.request(Call::stats(section))
    }

    /// Runs any RESP command that does not change how a connection speaks; gives its reply as RESP3 has
    /// it. It goes to the address that the client was given; a command about a key saves the server a
    /// hop with [`key`](Request::key). It is taken for a write unless it is said to be
    /// [`read_only`](Request::read_only).
    ///
    /// ```no_run
    /// # async fn example(client: ringmain::client::Client) -> Result<(), ringmain::client::Error> {
    /// client.command(["SETBIT", "seen", "42", "1"]).key("seen").await?;
    /// let count = client.command(["BITCOUNT", "seen"]).key("seen").read_only().await?;
    /// assert_eq!(count.integer(), Some(1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn command<T: AsRef<[u8]>>(&self, args: impl IntoIterator<Item = T>) -> Request<Command> {
        let args: Vec<T> = args.into_iter().collect();
        self.request(Call::command(&args))
    }

    /// What the client knows of its server, and has done so far.
    pub fn activity(&self) -> Activity {
        let (counters, routes) = (&self.hub.activity, self.hub.routes());
        Activity {
            server: routes.server.name.clone(),
            epoch: routes.epoch().1,
            cores: routes.core_count(),
            in_flight: routes.in_flight(self.hub.settings.in_flight),
            requests: counters.requests.get(),
            retries: counters.retries.get(),
            requests_sent: counters.requests_sent.get(),
            frames_sent: counters.frames_sent.get(),
            connects: counters.connects.get(),
            topologies: counters.topologies.get(),
            follower_reads: counters.follower_reads.get(),
        }
    }
}

/// What a client knows of its server, and has done so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity {
    /// Name and version of the server.
    pub server: String,
    /// The epoch of the topology that requests are routed by.
    pub epoch: u64,
    /// Cores that this topology names.
    pub cores: usize,
    /// Requests that wait for a connection or for a reply.
    pub in_flight: usize,
    /// Requests that were made.
    pub requests: u64,
    /// Times that one was tried again.
    pub retries: u64,
    /// Requests that connections have sent, the client's own included.
    pub requests_sent: u64,
    /// Frames that they were sent in.
    pub frames_sent: u64,
    /// Connections that were opened.
    pub connects: u64,
    /// Topologies that were taken over, the first included.
    pub topologies: u64,
    /// Reads that a follower has answered.
    pub follower_reads: u64,
}
