//! Plain gets and sets that stand one after another in frames, run in one go.
//!
//! Nearly all requests of a busy client are of these two kinds, and nearly all that a request costs beside
//! its work is the same for each of them: who may ask, where it goes, what it is called, what time it is.
//! A burst looks at these once. Heads are read where they stand, a key is hashed once for looking ahead
//! and for finding it, its slot is computed only if it is not there, and a reply is written where it is
//! sent from. What is not plain ends the burst, and goes the usual way (`window`, `dispatch`).
//!
//! Requests for several shards are run shard by shard, as in `sorted`.

use super::connection::{Connection, Port};
use super::core::Core;
use super::dispatch::call;
use super::engine::Engine;
use crate::cache::{Access, Place, WrongSlot, WrongType};
use crate::command::Session;
use crate::command::binary::{Failure, Native, Operations, wrong_slot};
use crate::command::table::Entry;
use crate::limits::{
    BINARY_REPLY_FRAME_BYTES, BURST_REQUESTS_MIN, BURST_VALUE_BYTES_MAX, PENDING_OUTPUT_BYTES_MAX,
    TOKEN_TRIES, WINDOW_REQUESTS_MAX,
};
use crate::protocol::Args;
use crate::protocol::args::ArgRange;
use crate::protocol::binary::{
    Durability, FrameLimits, Frames, Item, Next, Opcode, ReplyFrame, ReplyHead, RequestHead, Status,
};
use crate::shard::{Call, Shard};
use crate::types::{DbIndex, Key, Now, SLOT_COUNT, ShardId, SlotMap, key_slot};

/// What a burst is gathered in; kept for its memory.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// In order.
    requests: Vec<Plain>,
    /// Where the keys of one shard's requests are to be looked for.
    places: Vec<Place>,
    /// The shards whose requests have not been run, each once.
    left: Vec<ShardId>,
    ranges: Vec<ArgRange>,
}

#[derive(Clone, Copy, Debug)]
struct Plain {
    head: RequestHead,
    /// Where its body begins.
    start: usize,
    /// Its place in the frames.
    index: usize,
    shard: ShardId,
    is_done: bool,
}

impl Plain {
    /// The request, if it is plain: one key, no flags, nothing to be refused but a wrong slot.
    #[inline]
    fn of(item: &Item<RequestHead>, slots: SlotMap) -> Option<Self> {
        let Item { head, start, index, .. } = *item;
        let has_shape = match head.opcode {
            GET => head.value_bytes == 0,
            SET => head.value_bytes as usize <= BURST_VALUE_BYTES_MAX,
            _ => false,
        };
        let is_plain = has_shape
            && head.flags.is_empty()
            && head.durability <= Durability::Memory as u8
            && head.slot.0 < SLOT_COUNT;
        is_plain.then(|| Self {
            head,
            start,
            index,
            shard: slots.shard_of(head.slot),
            is_done: false,
        })
    }

    #[inline]
    fn key<'a>(&self, db: DbIndex, bytes: &'a [u8]) -> Key<'a> {
        let end = self.start + usize::from(self.head.key_bytes);
        Key { db, slot: self.head.slot, bytes: &bytes[self.start..end] }
    }

    /// The request as the usual way takes it.
    fn call<'a>(
        &self,
        session: &Session,
        bytes: &'a [u8],
        ranges: &'a mut Vec<ArgRange>,
    ) -> Result<(Call, Args<'a>), Failure> {
        let key = self.key(session.db, bytes);
        if key_slot(key.bytes) != key.slot {
            return Err(wrong_slot(key.bytes, &self.head));
        }
        let body = &bytes[self.start..];
        let operation = Operations::get().read(&self.head, body, ranges)?;
        let native = Native { head: self.head, deadline: None, token: None };
        let call = call(session, operation.entry, key.slot).with_native(native);
        Ok((call, Args::new(body, ranges)))
    }

    #[inline]
    fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.start + usize::from(self.head.key_bytes);
        &bytes[start..start + self.head.value_bytes as usize]
    }
}

const GET: u8 = Opcode::Get.number();
const SET: u8 = Opcode::Set.number();

/// How far a burst came.
#[derive(Clone, Copy, Debug)]
pub(super) struct RanBurst {
    /// Offset behind what was run.
    pub(super) end: usize,
    /// Requests run, or left to other cores.
    pub(super) count: usize,
}

impl Burst {
    /// Takes in the plain requests from offset `at` on, up to the first that is not. Answers where that
    /// one begins.
    fn gather(
        &mut self,
        frames: &mut Frames<RequestHead>,
        (bytes, at): (&[u8], usize),
        limits: &FrameLimits,
        slots: SlotMap,
    ) -> usize {
        self.requests.clear();
        self.left.clear();
        frames.forget();
        let mut end = at;
        while self.requests.len() < WINDOW_REQUESTS_MAX {
            // Errors come again when the usual way asks.
            let Ok(Next::Item(item)) = frames.next(bytes, end, limits) else { break };
            let Some(request) = Plain::of(&item, slots) else {
                frames.rewind(item.index);
                return item.start;
            };
            if self.left.last() != Some(&request.shard) && !self.left.contains(&request.shard) {
                self.left.push(request.shard);
            }
            self.requests.push(request);
            end = item.end;
        }
        end
    }
}

impl Core<'_> {
    /// Runs the plain requests from offset `at` of `bytes` on, if there are a few in a row.
    pub(super) fn run_burst(
        &mut self,
        connection: &mut Connection,
        frames: &mut Frames<RequestHead>,
        (bytes, at): (&[u8], usize),
        limits: &FrameLimits,
        burst: &mut Burst,
    ) -> RanBurst {
        let nothing = RanBurst { end: at, count: 0 };
        if frames.to_come(bytes, at) < BURST_REQUESTS_MIN || !self.may_burst(connection) {
            return nothing;
        }
        let mut end = burst.gather(frames, (bytes, at), limits, self.node.slots);
        let Some(first) = burst.requests.first() else { return RanBurst { end, count: 0 } };
        let is_elsewhere = burst.left.iter().any(|shard| !self.serves(*shard));
        if burst.requests.len() < BURST_REQUESTS_MIN || is_elsewhere {
            frames.rewind(first.index);
            return RanBurst { end: first.start, count: 0 };
        }
        let mut replies = ReplyFrame::begin(connection.output.tail(), burst.requests.len());
        let only = if let [only] = burst.left[..] { Some(only) } else { None };
        self.run_shards(connection, bytes, burst, &mut replies);
        let epoch = super::frames::low_half(self.engine.owners.epoch());
        replies.finish(connection.output.tail(), epoch);
        let done = match burst.requests.iter().position(|request| !request.is_done) {
            // What was too much for one go is read again.
            Some(first) if only.is_some_and(|shard| self.shards.held(shard).is_some()) => {
                let Plain { index, start, .. } = burst.requests[first];
                frames.rewind(index);
                end = start;
                first
            }
            Some(_) => self.leave_rest(connection, bytes, burst),
            None => burst.requests.len(),
        };
        self.count_burst(connection, &burst.requests[..done]);
        RanBurst { end, count: done }
    }

    /// Whether nothing but the requests themselves decides what becomes of them.
    fn may_burst(&self, connection: &Connection) -> bool {
        connection.placed
            && connection.is_running()
            && connection.output.pending_bytes() <= PENDING_OUTPUT_BYTES_MAX
            && !self.engine.slice_is_over()
            && !(self.config.cluster_enabled && connection.port == Port::Core)
            && !self.is_loading
            && self.config.notify_keyspace_events.is_empty()
            && !self.logs.is_behind
            && !self.is_flooded()
            && !self.is_monitored()
            && !self.needs_auth(connection)
            && self.node.pause_until(self.engine.now.unix).is_none()
    }

    fn run_shards(
        &mut self,
        connection: &mut Connection,
        bytes: &[u8],
        burst: &mut Burst,
        replies: &mut ReplyFrame,
    ) {
        let mut left = std::mem::take(&mut burst.left);
        // What follows commands that were left to others goes their way.
        left.retain(|shard| !self.shards.is_refused(*shard) && !connection.has_outstanding(*shard));
        for _ in 0..TOKEN_TRIES {
            left.retain(|shard| !self.burst_on_shard(connection, bytes, burst, replies, *shard));
            if left.is_empty() {
                break;
            }
            std::hint::spin_loop();
        }
        left.clear();
        burst.left = left;
    }

    /// Runs the requests for one shard if its token is free; what exceeds the bound on replies stays
    /// undone.
    fn burst_on_shard(
        &mut self,
        connection: &mut Connection,
        bytes: &[u8],
        burst: &mut Burst,
        replies: &mut ReplyFrame,
        id: ShardId,
    ) -> bool {
        let Some(shard) = self.shards.borrow_again(id) else { return false };
        if !shard.is_serving() {
            return false;
        }
        shard.keyspace_mut().cut_changes();
        let Burst { requests, places, ranges, .. } = burst;
        let Connection { output, session, .. } = connection;
        let (out, db, now) = (output.tail(), session.db, self.engine.now);
        let access = if session.no_touch { Access::ReadNoTouch } else { Access::Read };
        let of_shard = requests.iter().filter(|request| request.shard == id);
        places.clear();
        shard.keyspace().look_ahead(of_shard.map(|request| request.key(db, bytes)), places);
        self.engine.start_command();
        let waits = self.engine.waits_unless_told(session.durability);
        let mut has_to_wait = false;
        let (start, commands) = (out.len(), [GET, SET].map(|opcode| entry_of(opcode).id));
        let of_shard = requests.iter_mut().filter(|request| request.shard == id);
        for (request, place) in of_shard.zip(places) {
            if out.len() - start > BINARY_REPLY_FRAME_BYTES {
                break;
            }
            let RequestHead { id: number, opcode, .. } = request.head;
            let key = request.key(db, bytes);
            let ran = match opcode {
                SET if shard.has_room(session.durability) => {
                    set(shard, *place, (key, request.value(bytes)), now)
                }
                SET => Err(NotPlain),
                _ => get(shard, *place, key, now, access, out),
            };
            request.is_done = true;
            has_to_wait |= opcode == SET && request.head.durability == Durability::Default as u8;
            let Ok((status, version)) = ran else {
                let alone = (&*request, bytes, &mut *ranges);
                let head = run_alone(&mut self.engine, shard, session, alone, out);
                replies.push(out, head);
                continue;
            };
            if let Some(ns) = self.engine.finish_plain(id, commands[usize::from(opcode == SET)]) {
                note_slow(&self.engine, ns, session, (request, bytes, ranges));
            }
            replies.push_fields(out, (number, opcode, status), id, version);
        }
        if shard.is_replicated() {
            // Gets wait as well: what they have read may not be committed.
            self.engine.gate_replica(shard, waits && has_to_wait);
        } else if waits && has_to_wait {
            self.engine.gate_all(shard);
        }
        if let Some(holder) = self.shards.end_borrow(id) {
            self.give_back(holder);
        }
        true
    }

    /// Leaves what was not run to whoever holds its shard. Answers how many requests that makes in all.
    #[cold]
    fn leave_rest(
        &mut self,
        connection: &mut Connection,
        bytes: &[u8],
        burst: &mut Burst,
    ) -> usize {
        let Burst { requests, ranges, .. } = burst;
        for request in requests.iter().filter(|request| !request.is_done) {
            ranges.clear();
            match request.call(&connection.session, bytes, ranges) {
                Ok((call, args)) => {
                    self.shards.note_refused(request.shard);
                    self.leave(connection, &call, &args, request.shard, false);
                }
                Err(failure) => {
                    let entry = entry_of(request.head.opcode);
                    self.refuse_native(connection, Some(entry), &request.head, &failure);
                }
            }
        }
        requests.len()
    }

    fn count_burst(&mut self, connection: &mut Connection, done: &[Plain]) {
        if let Some(last) = done.last() {
            let count = done.len() as u64;
            self.engine.metrics.commands_processed.add(count);
            let command = entry_of(last.head.opcode).id;
            connection.session.info.touch(self.engine.now.mono, command, count);
        }
    }
}

/// The command that a get or a set counts as.
fn entry_of(opcode: u8) -> &'static Entry {
    Operations::get().find(opcode).expect("get and set are operations").entry
}

/// The request is to be run the usual way.
struct NotPlain;

impl From<WrongType> for NotPlain {
    fn from(WrongType: WrongType) -> Self {
        Self
    }
}

impl From<WrongSlot> for NotPlain {
    fn from(WrongSlot: WrongSlot) -> Self {
        Self
    }
}

#[inline]
fn get(
    shard: &mut Shard,
    place: Place,
    key: Key<'_>,
    now: Now,
    access: Access,
    out: &mut Vec<u8>,
) -> Result<(u8, u64), NotPlain> {
    Ok(match shard.get_plain(place, key, now, access)? {
        Some(entry) => {
            out.extend_from_slice(entry.string()?);
            (Status::Ok.number(), entry.version)
        }
        None => (Status::NotFound.number(), 0),
    })
}

#[inline]
fn set(
    shard: &mut Shard,
    place: Place,
    (key, value): (Key<'_>, &[u8]),
    now: Now,
) -> Result<(u8, u64), NotPlain> {
    Ok((Status::Ok.number(), shard.set_plain(place, key, value, now)?))
}

/// Runs a request the usual way: one that names a wrong slot, or a write that needs room made for it.
#[cold]
#[inline(never)]
fn run_alone(
    engine: &mut Engine<'_>,
    shard: &mut Shard,
    session: &Session,
    (request, bytes, ranges): (&Plain, &[u8], &mut Vec<ArgRange>),
    out: &mut Vec<u8>,
) -> ReplyHead {
    ranges.clear();
    match request.call(session, bytes, ranges) {
        Ok((call, args)) => match &call.native {
            Some(native) => engine.run_native(shard, &session.info, (&call, native), &args, out),
            None => unreachable!("the call is of the binary protocol"),
        },
        Err(failure) => {
            let RequestHead { id, opcode, .. } = request.head;
            engine.reject_native(Some(entry_of(opcode)), (id, opcode), &failure, out)
        }
    }
}

/// Notes a get or a set that took long.
#[cold]
#[inline(never)]
fn note_slow(
    engine: &Engine<'_>,
    ns: u64,
    session: &Session,
    (request, bytes, ranges): (&Plain, &[u8], &mut Vec<ArgRange>),
) {
    ranges.clear();
    if let Ok((call, args)) = request.call(session, bytes, ranges) {
        engine.note_slow(ns, &call, &session.info, &args);
    }
}
