//! A few requests of one connection, parsed together before the first of them runs.
//!
//! Looking ahead lets the processor load what the commands will touch (index lines, entries, their
//! neighbours in LRU order) while it works on others: a pipeline over many keys waits for memory once
//! a window instead of several times a command.

use super::buffers::Buffers;
use super::burst::Burst;
use super::connection::Connection;
use super::core::Core;
use super::ring::{Completion, Op};
use super::sorted::Sorted;
use crate::cache::PREFETCH_KEYS_MAX;
use crate::command::Handler;
use crate::command::binary::{Operations, Run};
use crate::command::table::{Entry, Table};
use crate::limits::WINDOW_ARGS_MAX;
use crate::protocol::Args;
use crate::protocol::args::ArgRange;
use crate::protocol::binary::{FrameError, FrameLimits, Frames, Item, Next, RequestHead};
use crate::protocol::resp::{self, Limits, Parsed, Parser, ProtocolError, likely_key};
use crate::types::{DbIndex, Key, ShardId, Slot, key_slot};

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
    /// Whether that is the first key of the request before it in the window as well.
    repeats_key: bool,
    /// Its head and its place in the frames, if it is one of the binary protocol. `entry` is then none
    /// for whatever is to be refused.
    pub(super) native: Option<(RequestHead, usize)>,
}

/// Why a window ends where it does.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is full; more may follow.
    Full,
    /// The next request is not whole yet. So many bytes of it are needed to go on, as far as known.
    Incomplete(usize),
    /// What follows is no request.
    Error(ProtocolError),
    /// What follows is no frame.
    Frame(FrameError),
}

/// What a core runs requests with, between two batches idle and empty.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) parser: Parser,
    pub(super) window: Window,
    pub(super) sorted: Sorted,
    pub(super) burst: Burst,
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
        let mut last_key = None;
        while self.requests.len() < most && self.ranges.len() < WINDOW_ARGS_MAX {
            let rest = &bytes[self.end..];
            let inline = rest.first().is_some_and(|first| *first != b'*');
            if inline && !self.requests.is_empty() {
                return Stop::Full;
            }
            let first_range = self.ranges.len();
            let usual = if parser.is_idle() {
                resp::usual_request(rest, limits, &mut self.ranges)
            } else {
                None
            };
            let parsed = match usual {
                Some(consumed) => Ok(Parsed::Request { consumed }),
                None => parser.parse(rest, limits),
            };
            match parsed {
                Ok(Parsed::Request { consumed }) => {
                    if usual.is_none() && !inline {
                        self.ranges.extend_from_slice(parser.ranges());
                    }
                    let ranges = &self.ranges[first_range..];
                    let args = if inline { parser.args(rest) } else { Args::new(rest, ranges) };
                    let entry = resolve(&args, self.recent);
                    // Of an inline request there is none: its arguments may lie elsewhere, and it ends the window.
                    let key = entry.and_then(|entry| ranges.get(routing_key(entry)?));
                    let key = key.map(|range| range.of(rest));
                    let repeats_key = key.is_some() && key == last_key;
                    let slot = match self.requests.last() {
                        Some(before) if repeats_key => before.slot,
                        _ => entry.map_or(Slot(0), |entry| slot_of(entry, &args)),
                    };
                    last_key = key;
                    self.recent = entry.or(self.recent);
                    self.requests.push(Request {
                        start: self.end,
                        end: self.end + consumed,
                        first_range,
                        range_count: args.len(),
                        inline,
                        entry,
                        slot,
                        repeats_key,
                        native: None,
                    });
                    self.end += consumed;
                    if inline {
                        return Stop::Full;
                    }
                }
                Ok(Parsed::Nothing { consumed }) => self.end += consumed,
                Ok(Parsed::Incomplete { total_hint }) => return Stop::Incomplete(total_hint),
                Err(error) => return Stop::Error(error),
            }
        }
        Stop::Full
    }

    /// Reads up to `most` requests of the binary protocol from `bytes`, from `start` on.
    pub(super) fn fill_native(
        &mut self,
        frames: &mut Frames<RequestHead>,
        bytes: &[u8],
        start: usize,
        limits: &FrameLimits,
        most: usize,
    ) -> Stop {
        self.requests.clear();
        self.ranges.clear();
        self.end = start;
        frames.forget();
        let operations = Operations::get();
        while self.requests.len() < most && self.ranges.len() < WINDOW_ARGS_MAX {
            match frames.next(bytes, self.end, limits) {
                Ok(Next::Item(item)) => {
                    self.push_native(operations, &item, bytes);
                    self.end = item.end;
                }
                Ok(Next::Incomplete { needed }) => return Stop::Incomplete(needed),
                Err(error) => return Stop::Frame(error),
            }
        }
        Stop::Full
    }

    #[inline]
    fn push_native(&mut self, operations: &Operations, item: &Item<RequestHead>, bytes: &[u8]) {
        let Item { head, start, end, index } = *item;
        let first_range = self.ranges.len();
        let body = &bytes[start..end];
        let run = operations.read(&head, body, &mut self.ranges);
        let args = Args::new(body, &self.ranges[first_range..]);
        let (entry, slot) = match run.map(|operation| (operation.run(), operation.entry)) {
            Ok((Run::Command, _)) => {
                let entry = resolve(&args, None);
                (entry, entry.map_or(Slot(0), |entry| slot_of(entry, &args)))
            }
            Ok((Run::Data(_), entry)) => {
                let slot = slot_of(entry, &args);
                (Some(entry).filter(|_| slot == head.slot), slot)
            }
            Ok((Run::Session(_), entry)) => (Some(entry), Slot(0)),
            Err(_) => (None, Slot(0)),
        };
        self.requests.push(Request {
            start,
            end,
            first_range,
            range_count: self.ranges.len() - first_range,
            inline: false,
            entry,
            slot,
            repeats_key: false,
            native: Some((head, index)),
        });
    }
}

/// The requests of a window, with what it was filled from.
#[derive(Clone, Copy, Debug)]
pub(super) struct InHand<'a> {
    pub(super) window: &'a Window,
    pub(super) parser: &'a Parser,
    pub(super) bytes: &'a [u8],
}

impl<'a> InHand<'a> {
    /// The arguments of a request.
    pub(super) fn args(&self, request: &Request) -> Args<'a> {
        let bytes = &self.bytes[request.start..request.end];
        if request.inline {
            return self.parser.args(bytes);
        }
        let end = request.first_range + request.range_count;
        Args::new(bytes, &self.window.ranges[request.first_range..end])
    }

    /// The keys that the requests will touch, for looking ahead; one that several in a row name but once.
    pub(super) fn keys_ahead(&self, db: DbIndex) -> impl Iterator<Item = Key<'a>> {
        let others = self.window.requests.iter().filter(|request| !request.repeats_key);
        others.filter_map(move |request| {
            Some(Key { db, slot: request.slot, bytes: self.first_key(request)? })
        })
    }

    /// The first key of a request, if it names one.
    pub(super) fn first_key(&self, request: &Request) -> Option<&'a [u8]> {
        let first = request.entry?.command.keys.first()?;
        self.args(request).get(first)
    }
}

/// The command of a request. `recent` may well be the one.
#[inline]
fn resolve(args: &Args<'_>, recent: Option<&'static Entry>) -> Option<&'static Entry> {
    match recent {
        Some(entry) if entry.is_called_by(args) => Some(entry),
        _ => Table::get().resolve(args).ok(),
    }
}

/// The slot of a request's first key, 0 if it names none.
#[inline]
fn slot_of(entry: &Entry, args: &Args<'_>) -> Slot {
    let key = routing_key(entry).and_then(|at| args.get(at));
    key.map_or(Slot(0), key_slot)
}

/// Which argument decides where a request runs, if one does.
#[inline]
fn routing_key(entry: &Entry) -> Option<usize> {
    match entry.command.handler {
        // Of those on the session, WATCH names keys.
        Handler::Keyed(_) | Handler::KeyedOrAll(..) | Handler::Session(_) => {
            entry.command.keys.first()
        }
        _ => None,
    }
}

impl Core<'_> {
    /// Has the processor load what the requests of the window will touch, where there is one shard;
    /// where there are several, `sorted` does it for each.
    pub(super) fn look_ahead(&mut self, connection: &Connection, requests: &InHand<'_>) {
        let window = requests.window;
        // Of a single key there is nothing to load while others are worked on.
        let names_several = window.requests.iter().skip(1).any(|request| !request.repeats_key);
        if !connection.placed || !names_several || self.node.slots.shard_count() > 1 {
            return;
        }
        let db = connection.session.db;
        if let Some(shard) = self.shards.held(ShardId(0)) {
            shard.keyspace().prefetch_all(requests.keys_ahead(db));
        }
    }

    /// The same for requests of several connections that have come together, the first of each: where
    /// clients wait for every reply, there is nothing else to look ahead to. Databases other than 0 are
    /// rare, and a key that is not there costs little.
    pub(super) fn look_ahead_over(&mut self, completions: &[Completion], buffers: &Buffers) {
        let received = |completion: &Completion| match (completion.op, completion.buffer) {
            (Op::Receive, Some(id)) => {
                let length = usize::try_from(completion.result).ok()?;
                let bytes = likely_key(buffers.filled(id, length))?;
                Some(Key { db: DbIndex(0), slot: key_slot(bytes), bytes })
            }
            _ => None,
        };
        // Once for all shards.
        let mut keys = [None; PREFETCH_KEYS_MAX];
        for (key, found) in keys.iter_mut().zip(completions.iter().filter_map(received)) {
            *key = Some(found);
        }
        let slots = &self.node.slots;
        for index in 0..self.shards.own().len() {
            let id = self.shards.own()[index];
            if let Some(shard) = self.shards.held(id) {
                let found = keys.iter().map_while(|key| *key);
                let of_shard = found.filter(|key| slots.shard_of(key.slot) == id);
                shard.keyspace().prefetch_all(of_shard);
            }
        }
    }
}
