//! A few requests of one connection, parsed together before the first of them runs.
//!
//! Looking ahead lets the processor load what the commands will touch (index lines, entries, their
//! neighbours in LRU order) while it works on others: a pipeline over many keys waits for memory once
//! a window instead of several times a command.

use super::connection::Connection;
use super::core::Core;
use crate::command::Handler;
use crate::command::table::{Entry, Table};
use crate::limits::WINDOW_ARGS_MAX;
use crate::protocol::Args;
use crate::protocol::args::ArgRange;
use crate::protocol::resp::{Limits, Parsed, Parser, ProtocolError};
use crate::types::{Key, ShardId, Slot, key_slot};

/// One request, as far as it is known before it runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Offset of its first byte.
    pub(super) start: usize,
    /// Offset behind its last byte.
    pub(super) end: usize,
    /// Its arguments among the window's ranges.
    first_range: usize,
    range_count: usize,
    /// Its arguments lie in the parser: an inline request, always alone in its window.
    inline: bool,
    /// The command; `None` if there is none, or not with such arguments.
    pub(super) entry: Option<&'static Entry>,
    /// The slot of its first key, if it names one.
    pub(super) slot: Slot,
}

/// Why a window ends where it does.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is full; more may follow.
    Full,
    /// The next request is not whole yet.
    Incomplete,
    /// What follows is no request.
    Error(ProtocolError),
}

/// What a core runs requests with, between two batches idle and empty.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) parser: Parser,
    pub(super) window: Window,
}

/// The requests at hand.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// In order.
    pub(super) requests: Vec<Request>,
    ranges: Vec<ArgRange>,
    /// Offset behind everything that was parsed.
    pub(super) end: usize,
    /// The command that was asked for last, by whomever.
    recent: Option<&'static Entry>,
}

impl Window {
    /// Parses up to `most` requests from `bytes`, from `start` on.
    pub(super) fn fill(
        &mut self,
        parser: &mut Parser,
        bytes: &[u8],
        start: usize,
        limits: &Limits,
        most: usize,
    ) -> Stop {
        self.requests.clear();
        self.ranges.clear();
        self.end = start;
        while self.requests.len() < most && self.ranges.len() < WINDOW_ARGS_MAX {
            let rest = &bytes[self.end..];
            let inline = rest.first().is_some_and(|first| *first != b'*');
            if inline && !self.requests.is_empty() {
                return Stop::Full;
            }
            match parser.parse(rest, limits) {
                Ok(Parsed::Request { consumed }) => {
                    let args = parser.args(rest);
                    let entry = resolve(&args, self.recent);
                    let slot = slot_of(entry, &args);
                    self.recent = entry.or(self.recent);
                    self.requests.push(Request {
                        start: self.end,
                        end: self.end + consumed,
                        first_range: self.ranges.len(),
                        range_count: parser.ranges().len(),
                        inline,
                        entry,
                        slot,
                    });
                    self.end += consumed;
                    if inline {
                        return Stop::Full;
                    }
                    self.ranges.extend_from_slice(parser.ranges());
                }
                Ok(Parsed::Nothing { consumed }) => self.end += consumed,
                Ok(Parsed::Incomplete { .. }) => return Stop::Incomplete,
                Err(error) => return Stop::Error(error),
            }
        }
        Stop::Full
    }

    /// The arguments of a request; `bytes` and `parser` are what the window was filled from.
    pub(super) fn args<'a>(
        &'a self,
        request: &Request,
        parser: &'a Parser,
        bytes: &'a [u8],
    ) -> Args<'a> {
        let bytes = &bytes[request.start..];
        if request.inline {
            return parser.args(bytes);
        }
        let end = request.first_range + request.range_count;
        Args::new(bytes, &self.ranges[request.first_range..end])
    }
}

/// The command of a request. `recent` may well be the one.
#[inline]
fn resolve(args: &Args<'_>, recent: Option<&'static Entry>) -> Option<&'static Entry> {
    match recent {
        Some(entry) if is_call_of(entry, args) => Some(entry),
        _ => Table::get().resolve(args).ok(),
    }
}

/// Whether a request names this command, which is no container's, with as many arguments as it takes.
#[inline]
fn is_call_of(entry: &Entry, args: &Args<'_>) -> bool {
    entry.parent.is_none()
        && entry.full_name.as_bytes().eq_ignore_ascii_case(args.at(0))
        && entry.command.takes(args.len())
}

/// The slot of a request's first key, 0 if it names none.
#[inline]
fn slot_of(entry: Option<&Entry>, args: &Args<'_>) -> Slot {
    let Some(entry) = entry else { return Slot(0) };
    match entry.command.handler {
        Handler::Keyed(_) => {
            let key = entry.command.keys.first().and_then(|first| args.get(first));
            key.map_or(Slot(0), key_slot)
        }
        _ => Slot(0),
    }
}

impl Core<'_> {
    /// Has the processor load what the requests of the window will touch on shards that are at hand or
    /// free.
    pub(super) fn look_ahead(
        &mut self,
        connection: &Connection,
        window: &Window,
        parser: &Parser,
        bytes: &[u8],
    ) {
        if !connection.placed || window.requests.len() < 2 {
            return;
        }
        let (slots, db) = (self.node.slots, connection.session.db);
        let keys = window.requests.iter().filter_map(|request| {
            let first = request.entry?.command.keys.first()?;
            let key = window.args(request, parser, bytes).get(first)?;
            Some(Key { db, slot: request.slot, bytes: key })
        });
        if slots.shard_count() == 1 {
            if let Some(shard) = self.shards.held(ShardId(0)) {
                shard.keyspace().prefetch_all(keys);
            }
            return;
        }
        // Shards of other cores are borrowed for the batch that is about to run on them anyway.
        let mut shards: Vec<ShardId> = keys.clone().map(|key| slots.shard_of(key.slot)).collect();
        shards.sort_unstable();
        shards.dedup();
        for id in shards {
            let keys = keys.clone().filter(|key| slots.shard_of(key.slot) == id);
            if let Some(shard) = self.shards.borrow(id) {
                shard.keyspace().prefetch_all(keys);
            }
        }
    }
}
