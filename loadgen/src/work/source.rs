//! One connection's stream of requests, and its judge.

use std::collections::VecDeque;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use ringmain::protocol::binary::request::FrameFull;
use ringmain::protocol::binary::{ReplyHead, RequestFrame, RequestHead};
use ringmain::protocol::client::Element;
use ringmain::types::{SLOT_COUNT, key_slot};

use super::binary::Form;
use super::command::Expect;
use super::judge::{Found, Judge};
use super::keys::Cursor;
use super::plan::{Command, Role};
use super::random::{Random, mix};
use super::template::{Ink, Template};
use super::trace::Record;
use super::{Kind, Op, Reply, Tally, Verdict, Work};

/// Most writes that wait because reads missed their keys. The engine takes them before anything else, so
/// there are never more than it has requests on the way, times the keys of a request.
const FOLLOW_UPS_MAX: usize = 1 << 20;

/// Set in the stream numbers of the fill phase, so that it draws other numbers than the run.
const FILL_STREAM: u64 = 1 << 63;

/// One connection's stream of requests.
pub(crate) struct Source {
    work: Arc<Work>,
    origin: Origin,
    connection: u64,
    connections: u64,
    random: Random,
    cursor: Cursor,
    /// A timed trace's next request, which says when it is due.
    ahead: Option<Record>,
    /// Writes of keys that reads missed.
    follow_ups: VecDeque<Op>,
    /// The keys of the request at hand, if it has several.
    many: Vec<u64>,
    /// The name of the key at hand.
    name: Vec<u8>,
    tally: Tally,
}

/// Where requests come from.
enum Origin {
    Mix,
    Trace,
    /// The next key to write.
    Fill(u64),
}

impl Source {
    pub(super) fn new(work: &Arc<Work>, connection: usize, connections: usize) -> Self {
        let is_trace = work.trace.is_some();
        let origin = if is_trace { Origin::Trace } else { Origin::Mix };
        let mut source = Self::with(work, origin, connection, connections, 0);
        source.look_ahead();
        source
    }

    pub(super) fn fill(work: &Arc<Work>, connection: usize, connections: usize) -> Self {
        let origin = Origin::Fill(connection as u64);
        Self::with(work, origin, connection, connections, FILL_STREAM)
    }

    fn with(
        work: &Arc<Work>,
        origin: Origin,
        connection: usize,
        connections: usize,
        stream: u64,
    ) -> Self {
        let (connection, connections) = (connection as u64, connections as u64);
        assert!(connection < connections, "connections count from 0");
        Self {
            work: work.clone(),
            origin,
            connection,
            connections,
            random: Random::new(work.seed, stream | connection),
            cursor: Cursor::new(&work.keys, connection, connections),
            ahead: None,
            follow_ups: VecDeque::new(),
            many: Vec::new(),
            name: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// The next request; `None` at the end of the fill phase or trace, or for now: a miss that is judged
    /// later may still be followed by a write (`--fill-on-miss`).
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Op> {
        if let Some(op) = self.follow_ups.pop_front() {
            return Some(op);
        }
        match self.origin {
            Origin::Mix => Some(self.draw()),
            Origin::Trace => self.replay(),
            Origin::Fill(key) if key < self.work.keys.count() => {
                self.origin = Origin::Fill(key + self.connections);
                let op = self.work.write_of(&Op::default(), key, &mut self.random);
                Some(self.stamp(op))
            }
            Origin::Fill(_) => None,
        }
    }

    /// When the next request is meant to be sent, since the start of the run; `None`: now, whenever that is.
    pub(crate) fn due(&self) -> Option<Duration> {
        if self.follow_ups.is_empty() { self.ahead.map(|record| record.due) } else { None }
    }

    /// The request to send in place of `op`, which has to be sent again (a redirect, a reconnect): the
    /// same, but with a version of now, so that versions on the server still only rise.
    pub(crate) fn again(&mut self, op: &Op) -> Op {
        self.stamp(*op)
    }

    /// The cluster slot of the request's (first) key; any slot, if it has none.
    pub(crate) fn slot(&mut self, op: &Op) -> u16 {
        let template = template(&self.work, op);
        if !template.has_key() {
            return u16::try_from(mix(op.key) % u64::from(SLOT_COUNT)).unwrap_or_default();
        }
        self.name.clear();
        template.write_key(op, &mut self.name);
        key_slot(&self.name).0
    }

    /// Appends the request as RESP.
    #[inline]
    pub(crate) fn write_resp(&mut self, op: &Op, out: &mut Vec<u8>) {
        let work = &*self.work;
        let template = template(work, op);
        let random_below = work.keys.count();
        let mut ink = Ink { values: &work.values, random: &mut self.random, random_below };
        if template.keys <= 1 {
            return template.write(op, slice::from_ref(&op.key), &mut ink, out);
        }
        gather(work, op, template.keys, &mut self.many);
        template.write(op, &self.many, &mut ink, out);
    }

    /// Adds the request to a frame of the binary protocol.
    ///
    /// # Errors
    /// When it does not fit; the frame is as it was. It fits an empty one.
    pub(crate) fn write_binary(
        &mut self,
        op: &Op,
        id: u32,
        frame: &mut RequestFrame,
    ) -> Result<(), FrameFull> {
        let Self { work, random, many, name, .. } = self;
        let work = &**work;
        let command = work.command(op);
        let form = form(command, op);
        let keys = if command.template.keys > 1 {
            gather(work, op, command.template.keys, many);
            &**many
        } else {
            slice::from_ref(&op.key)
        };
        let mut ink = Ink { values: &work.values, random, random_below: work.keys.count() };
        let mut head = RequestHead::new(id, form.opcode);
        head.flags = form.flags;
        name.clear();
        if let Some(key) = &form.key {
            key.write(op, keys, &mut ink, name);
            head.slot = key_slot(name);
        }
        let key = if form.sends_key { &**name } else { &[] };
        frame.push_with(head, &form.extras(op), key, form.value.bytes(op), |out| {
            form.value.write(op, keys, &mut ink, out);
        })
    }

    /// Judges the reply to `op`.
    #[inline]
    pub(crate) fn judge<'a>(&mut self, op: &Op, reply: &Reply<'a>) -> Verdict<'a> {
        let Self { work, many, tally, follow_ups, random, .. } = self;
        let work = &**work;
        let command = work.command(op);
        // The replies that most requests get, where there is nothing to verify.
        match (command.expect, command.role, reply.first) {
            (Expect::Value, Role::Apart, Element::Bulk(value)) if command.kind == Kind::Read => {
                tally.enter(Found::Value(value.len() as u64), 0);
                return Verdict::Hit;
            }
            (Expect::Ok, Role::Apart, Element::Simple(b"OK")) => return Verdict::Done,
            _ => {}
        }
        let keys = if command.template.keys > 1 {
            gather(work, op, command.template.keys, many);
            &**many
        } else {
            slice::from_ref(&op.key)
        };
        let judge = Judge { command, versions: work.versions.as_ref(), vanishes: work.vanishes };
        judge.judge(op, keys, reply, |index, found| {
            let key = keys.get(index).copied().unwrap_or(op.key);
            let missed = found == Found::Nothing;
            let bytes = if missed { work.size_of(op, key) } else { 0 };
            tally.enter(found, bytes);
            let fills = work.fill_on_miss && command.is_filled && index < keys.len();
            if missed && fills && follow_ups.len() < FOLLOW_UPS_MAX {
                follow_ups.push_back(work.write_of(op, key, random));
            }
        })
    }

    /// Judges the reply to `op` in the binary protocol.
    pub(crate) fn judge_binary<'a>(
        &mut self,
        op: &Op,
        head: &ReplyHead,
        body: &'a [u8],
    ) -> Verdict<'a> {
        let form = form(self.work.command(op), op);
        match form.reply(head, body) {
            Some(reply) => self.judge(op, &reply),
            None => Verdict::Wrong,
        }
    }

    /// What this source's reads have found since it was made.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    #[inline]
    fn draw(&mut self) -> Op {
        let work = &*self.work;
        let random = &mut self.random;
        let index = work.choice.draw(random);
        let command = &work.commands[index];
        let key = work.keys.draw(random, &mut self.cursor, command.kind == Kind::Write);
        let value_bytes = if command.template.has_value { work.sizes.draw(random) } else { 0 };
        let ttl_ms = match work.ttl {
            Some(ttl) if command.draws_ttl => ttl.draw_ms(random),
            _ => 0,
        };
        // Several keys: what the others are drawn from.
        let version = if command.template.keys > 1 { random.next() } else { 0 };
        #[expect(clippy::cast_possible_truncation, reason = "below COMMANDS_MAX")]
        let command = index as u16;
        let op = Op { command, key_bytes: 0, value_bytes, key, version, ttl_ms };
        if work.versions.is_some() { self.stamp(op) } else { op }
    }

    /// With `--verify`: gives a write a key of this connection's own and its version, and a read the
    /// version that it must find at least.
    fn stamp(&mut self, op: Op) -> Op {
        let Some(versions) = &self.work.versions else { return op };
        match self.work.command(&op).role {
            Role::Writes => {
                let key = self.work.keys.own(op.key, self.connection, self.connections);
                Op { key, version: versions.issue(key), ..op }
            }
            Role::Reads => Op { version: versions.floor(op.key), ..op },
            Role::ReadsMany | Role::Apart => op,
        }
    }

    fn replay(&mut self) -> Option<Op> {
        let trace = self.work.trace.as_ref()?;
        let record = if trace.is_timed() { self.ahead.take() } else { trace.next() };
        self.look_ahead();
        record.map(|record| record.op)
    }

    /// Takes a timed trace's next request, to know when it is due.
    fn look_ahead(&mut self) {
        if let Some(trace) = self.work.trace.as_ref().filter(|trace| trace.is_timed()) {
            self.ahead = trace.next();
        }
    }
}

/// Draws the keys of a request that has `count` of them, the same each time.
fn gather(work: &Work, op: &Op, count: usize, keys: &mut Vec<u64>) {
    let mut random = Random::new(op.version, op.key);
    let more = (1..count as u64).map(|index| work.keys.draw_more(op.key, index, &mut random));
    keys.clear();
    keys.push(op.key);
    keys.extend(more);
}

/// How `op` is asked in the binary protocol, which the workload was made for.
fn form<'a>(command: &'a Command, op: &Op) -> &'a Form {
    let with_ttl = command.binary_with_ttl.as_ref().filter(|_| op.ttl_ms > 0);
    with_ttl.or(command.binary.as_ref()).expect("rendered for the binary protocol")
}

/// What `op` is written by.
fn template<'a>(work: &'a Work, op: &Op) -> &'a Template {
    let command = work.command(op);
    match &command.with_ttl {
        Some(with_ttl) if op.ttl_ms > 0 => with_ttl,
        _ => &command.template,
    }
}
