//! The command table. A command is one row in its group's file: name, arity, flags, key positions,
//! documentation and handler; everything that `COMMAND` answers comes from the rows.

pub mod acl;
mod arguments;
pub mod binary;
pub mod bitmap;
pub mod blocking;
pub mod client;
pub mod cluster;
pub mod cluster_keys;
pub mod config;
pub mod connection;
pub mod counters;
pub mod databases;
pub mod details;
mod drawing;
pub mod dump;
mod elements;
pub mod error;
mod events;
pub mod exec;
pub mod expire;
pub mod glob;
pub mod hashes;
pub mod info;
pub mod introspect;
pub mod keys;
pub mod latency;
pub mod lcs;
pub mod lists;
pub mod long_double;
pub(crate) mod lzf;
pub mod memory;
pub mod numbers;
pub mod object;
pub mod persistence;
pub mod pubsub;
pub(crate) mod rdb;
pub mod redact;
#[cfg(test)]
mod replay;
pub mod replication;
mod row;
pub mod scan;
pub mod server;
pub mod session;
pub mod session_token;
pub mod sets;
pub mod shard;
pub mod slowlog;
pub mod sort;
pub mod sorted_sets;
mod sorter;
pub mod steps;
mod storing;
pub mod strings;
pub mod table;
#[cfg(test)]
mod testing;
pub mod tracking;
pub mod transactions;
mod weighing;

pub use error::Error;
pub use exec::{Exec, Handover, View};
pub use session::{Action, Session, SessionCx};

use crate::limits::{STEPWISE_BYTES_MIN, STEPWISE_SORT_BYTES_MIN};
use crate::protocol::{Args, Reply};

bitflags::bitflags! {
    /// What a command does, by Redis's names (`COMMAND INFO`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// May change data.
        const WRITE = 1 << 0;
        /// Reads data and does not change it.
        const READONLY = 1 << 1;
        /// May need memory: refused with `OOM` when there is none.
        const DENYOOM = 1 << 2;
        /// Administrative.
        const ADMIN = 1 << 3;
        /// Constant or logarithmic time.
        const FAST = 1 << 4;
        /// Not in scripts.
        const NOSCRIPT = 1 << 5;
        /// Answered while data is being loaded.
        const LOADING = 1 << 6;
        /// Answered on a stale replica.
        const STALE = 1 << 7;
        /// Not shown to `MONITOR`.
        const SKIP_MONITOR = 1 << 8;
        /// Not in the slow log.
        const SKIP_SLOWLOG = 1 << 9;
        /// Answered before authentication.
        const NO_AUTH = 1 << 10;
        /// May block the client.
        const BLOCKING = 1 << 11;
        /// Runs in time that grows with the data: if there is much, on the shard's owner, never on a
        /// borrower.
        const LONG = 1 << 12;
        /// Publish and subscribe.
        const PUBSUB = 1 << 13;
        /// Category `@dangerous`.
        const DANGEROUS = 1 << 14;
        /// Allowed while the client's replies are delayed by `CLIENT PAUSE WRITE`, though a write.
        const MAY_REPLICATE = 1 << 15;
        /// Not allowed inside a transaction.
        const NO_MULTI = 1 << 16;
        /// Not asynchronous while loading.
        const NO_ASYNC_LOADING = 1 << 17;
        /// Works across databases: key positions can't be told.
        const MOVABLE_KEYS = 1 << 18;
        /// Refused unless `enable-debug-command` allows it.
        const PROTECTED = 1 << 19;
        /// Answers with push messages, which `CLIENT REPLY` does not hold back and which a subscriber in RESP2
        /// may ask for.
        const PUSHES = 1 << 20;
        /// Can be run in steps, its shards held meanwhile, if there is much to do: see [`Command::steps`].
        const STEPWISE = 1 << 21;
    }
}

/// Where a command's keys stand among its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// No keys.
    None,
    /// From argument `first` to argument `last` (negative: counted from the end, -1 is the last),
    /// every `step`th.
    Range {
        /// First key.
        first: u8,
        /// Last key.
        last: i8,
        /// Distance between keys.
        step: u8,
    },
    /// As many as argument `count` says, from the one after it on (`SINTERCARD 2 a b`).
    Counted {
        /// Where the number of keys stands.
        count: u8,
    },
    /// The first argument, and as many as the second says after it (`ZUNIONSTORE to 2 a b`).
    StoreCounted,
    /// The first argument, and the one behind the last `STORE` (`SORT a BY b* STORE to`).
    FirstAndStore,
}

impl Keys {
    /// The first argument is the only key.
    pub const ONE: Self = Self::Range { first: 1, last: 1, step: 1 };
    /// The first two arguments are keys.
    pub const TWO: Self = Self::Range { first: 1, last: 2, step: 1 };
    /// All arguments but the last are keys.
    pub const BUT_LAST: Self = Self::Range { first: 1, last: -2, step: 1 };
    /// All arguments are keys.
    pub const ALL: Self = Self::Range { first: 1, last: -1, step: 1 };
    /// Keys and values by turns.
    pub const PAIRS: Self = Self::Range { first: 1, last: -1, step: 2 };
    /// The second argument is the only key (`OBJECT ENCODING key`).
    pub const SECOND: Self = Self::Range { first: 2, last: 2, step: 1 };

    /// Argument index of the first key.
    pub fn first(self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Range { first, .. } => Some(usize::from(first)),
            Self::Counted { count } => Some(usize::from(count) + 1),
            Self::StoreCounted | Self::FirstAndStore => Some(1),
        }
    }

    /// Argument indexes of the keys of a request, as far as there are as many. Where their number is none
    /// there are none.
    pub fn positions(self, args: &Args<'_>) -> impl Iterator<Item = usize> + Clone + use<> {
        let end = args.len();
        let (single, keys, step) = match self {
            Self::None => (None, 0..0, 1),
            Self::Range { first, last, step } => {
                let last = if last < 0 {
                    end.saturating_sub(usize::from(last.unsigned_abs()))
                } else {
                    usize::from(last.unsigned_abs()).min(end.saturating_sub(1))
                };
                (None, usize::from(first)..last + 1, usize::from(step))
            }
            Self::Counted { count } => (None, counted(args, usize::from(count)), 1),
            Self::StoreCounted => (Some(1), counted(args, 2), 1),
            Self::FirstAndStore => {
                (Some(1), sort::store_position(args).map_or(0..0, |at| at..at + 1), 1)
            }
        };
        single.into_iter().chain(keys.step_by(step))
    }

    /// First key, last key and distance as `COMMAND INFO` has them, which does not know of counts.
    pub fn range(self) -> (u8, i8, u8) {
        match self {
            Self::None | Self::Counted { .. } => (0, 0, 0),
            Self::Range { first, last, step } => (first, last, step),
            Self::StoreCounted | Self::FirstAndStore => (1, 1, 1),
        }
    }
}

/// The arguments after the one that says how many there are.
fn counted(args: &Args<'_>, at: usize) -> std::ops::Range<usize> {
    let count = args.get(at).and_then(numbers::parse_i64);
    let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    at + 1..(at + 1).saturating_add(count).min(args.len())
}

/// A command on data: decides with what `Exec` gives it, answers through `Reply`. An error replaces
/// whatever was written to the reply.
pub type DataHandler = fn(&mut Exec<'_>, &Args<'_>, &mut Reply<'_>) -> Result<(), Error>;

/// A command on the connection or the server.
pub type SessionHandler = fn(&mut SessionCx<'_>, &Args<'_>, &mut Reply<'_>) -> Result<(), Error>;

/// How a command is run, and on which shards.
#[derive(Clone, Copy, Debug)]
pub enum Handler {
    /// On the connection's core, without any shard.
    Session(SessionHandler),
    /// On the shards of the command's keys, all held at once.
    Keyed(DataHandler),
    /// On the shard that owns the slot named by this argument.
    Slot(DataHandler, u8),
    /// On the shard that the `SCAN` cursor in this argument points into.
    Cursor(DataHandler, u8),
    /// On all shards, held at once.
    AllShards(DataHandler),
    /// On the shards of the command's keys; on all, held at once, if this tells of the arguments that more keys
    /// are looked at than they name.
    KeyedOrAll(DataHandler, fn(&Args<'_>) -> bool),
    /// By the name in argument 1, one of these.
    Container(&'static [Command]),
}

/// The group of a command, as `COMMAND DOCS` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `string`
    String,
    /// `bitmap`
    Bitmap,
    /// `list`
    List,
    /// `set`
    Set,
    /// `sorted-set`
    SortedSet,
    /// `hash`
    Hash,
    /// `generic`
    Generic,
    /// `connection`
    Connection,
    /// `server`
    Server,
    /// `cluster`
    Cluster,
    /// `transactions`
    Transactions,
    /// `pubsub`
    PubSub,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Name in lower case; a subcommand's own name only.
    pub name: &'static str,
    /// Number of arguments, the name included; negative: at least as many.
    pub arity: i8,
    /// What it does.
    pub flags: Flags,
    /// Where its keys stand.
    pub keys: Keys,
    /// How it is run.
    pub handler: Handler,
    /// Its group.
    pub group: Group,
    /// One sentence for `COMMAND DOCS`.
    pub summary: &'static str,
    /// The version of Redis that introduced it.
    pub since: &'static str,
    /// When it is run in steps, if it can be.
    pub steps: Option<Stepwise>,
    /// Cost in the length of its input.
    pub complexity: &'static str,
}

/// When a command is run in steps.
#[derive(Clone, Copy, Debug)]
pub struct Stepwise {
    /// Where its keys hold more bytes than this.
    pub from_bytes: usize,
    /// And a request has as many arguments: one with fewer asks for little.
    pub args_min: usize,
    /// And a request asks for much of it, if there is much.
    pub asks_for_much: fn(&Args<'_>) -> bool,
}

impl Stepwise {
    /// Whatever a request asks for.
    pub const ALWAYS: Self = Self::if_asked(|_| true);
    /// The same for what puts in order what its keys hold.
    pub const SORTING: Self = Self { from_bytes: STEPWISE_SORT_BYTES_MIN, ..Self::ALWAYS };

    /// If a request asks for much.
    pub const fn if_asked(asks_for_much: fn(&Args<'_>) -> bool) -> Self {
        Self { from_bytes: STEPWISE_BYTES_MIN, args_min: 0, asks_for_much }
    }

    /// If a request has so many arguments, the last of which is a number above `MOST`.
    pub const fn if_asked_for_more_than<const MOST: i64>(args_min: usize) -> Self {
        let last_exceeds = |args: &Args<'_>| {
            numbers::parse_i64(args.at(args.len() - 1)).is_some_and(|number| number > MOST)
        };
        Self { args_min, ..Self::if_asked(last_exceeds) }
    }
}

impl Command {
    /// Whether `count` arguments, the name included, are a number this command takes.
    pub fn takes(&self, count: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { count >= arity } else { count == arity }
    }
}
