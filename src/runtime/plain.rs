//! Plain requests: those that pipelines are made of. One key, short work, nothing about the session.
//!
//! Whatever else a request has to be asked is the same for all requests of a connection, and so is asked once for a
//! window of plain ones. Where there is one shard they run one after another, here; where there are several, shard
//! by shard (`sorted`). With the first request that is not plain, or that has to wait, the usual way goes on
//! (`dispatch`).

use super::connection::{Connection, Port};
use super::core::Core;
use super::dispatch::call;
use super::engine::Engine;
use super::output::Output;
use super::sorted::Sorted;
use super::window::{InHand, Request};
use crate::command::session::ReplyMode;
use crate::command::steps::worth_from_bytes;
use crate::command::table::Entry;
use crate::command::{Flags, Handler, Keys};
use crate::limits::PENDING_OUTPUT_BYTES_MAX;
use crate::protocol::Args;
use crate::shard::{Around, Call, Shard};
use crate::types::{ShardId, Slot};

/// The shard where there is only one.
const ONLY: ShardId = ShardId(0);

impl Core<'_> {
    /// Runs the plain requests that the window begins with. Answers how many there are.
    pub(super) fn run_plain(
        &mut self,
        connection: &mut Connection,
        requests: &InHand<'_>,
        sorted: &mut Sorted,
    ) -> usize {
        if requests.window.requests.len() < 2 || !self.may_run_plain(connection) {
            return 0;
        }
        if self.node.slots.shard_count() == 1 {
            self.run_in_order(connection, requests)
        } else {
            self.run_sorted(connection, requests, sorted)
        }
    }

    /// Whether requests of the connection need not be asked one by one, and may overtake one another: nothing that
    /// a plain request does or meets concerns the others.
    fn may_run_plain(&self, connection: &Connection) -> bool {
        connection.placed
            && connection.is_running()
            && !connection.session.transaction.is_open
            && connection.session.reply_mode == ReplyMode::On
            && !connection.session.only_listens()
            && !connection.session.tracking.is_some_and(|tracking| tracking.is_caching_given())
            && connection.output.pending_bytes() <= PENDING_OUTPUT_BYTES_MAX
            && !(self.config.cluster_enabled && connection.port == Port::Core)
            && !self.is_monitored()
            && !self.needs_auth(connection)
            && !self.is_loading
            && !self.logs.is_behind
            && !self.is_flooded()
            && self.node.pause_until(self.engine.now.unix).is_none()
    }

    /// What a request calls, if it is plain.
    #[inline]
    pub(super) fn plain_call(
        &self,
        connection: &Connection,
        request: &Request,
        requests: &InHand<'_>,
    ) -> Option<Call> {
        let entry = plain_entry(request, &requests.args(request))?;
        let call = call(&connection.session, entry, request.slot);
        let Some((head, _)) = &request.native else { return Some(call) };
        self.admit(connection, entry, head).ok()?;
        let native = self.native(connection, request, head, &requests.args(request));
        Some(call.with_native(native))
    }

    /// Runs plain requests of RESP where there is one shard, if its token is at hand and nothing is under way that they
    /// must not overtake.
    fn run_in_order(&mut self, connection: &mut Connection, requests: &InHand<'_>) -> usize {
        let first = requests.window.requests.first().and_then(|request| request.entry);
        let Some(first) = first.filter(|_| connection.binary.is_none()) else { return 0 };
        if !self.serves(ONLY) || connection.has_outstanding(ONLY) {
            return 0;
        }
        let Some(shard) = self.shards.borrow(ONLY) else { return 0 };
        let mut call = call(&connection.session, first, Slot(0));
        if let Some(done) = self.engine.run_in_turn(shard, connection, &mut call, requests) {
            return done;
        }
        let Connection { output, session, .. } = connection;
        run_each(requests, &mut call, |call, args| {
            // A write that needs room may have to wait for it.
            let waits = call.entry.command.flags.contains(Flags::DENYOOM) && shard.is_over_limit();
            if waits || !self.engine.may_go_on(output) {
                return false;
            }
            self.engine.run_any(shard, &session.info, call, args, output.tail());
            if let Some(value) = self.engine.handover.reply.take() {
                output.push_value(value);
            }
            true
        })
    }
}

impl Engine<'_> {
    /// Runs the plain requests that the window begins with on a shard that they have to themselves: what they have in
    /// common is put together once. Answers how many they are; nothing if each has to be run by itself.
    fn run_in_turn(
        &mut self,
        shard: &mut Shard,
        connection: &mut Connection,
        call: &mut Call,
        requests: &InHand<'_>,
    ) -> Option<usize> {
        if self.waits_unless_told(call.durability) || !shard.runs_in_turn(call) {
            return None;
        }
        let id = shard.id();
        let (owners, mut handover) = (self.owners.clone(), std::mem::take(&mut self.handover));
        let around = Around { owners: &owners, handover: &mut handover, ..self.around(self.now) };
        let Connection { output, session, .. } = connection;
        let mut shard = shard.in_turn(call, around);
        let done = run_each(requests, call, |call, args| {
            if shard.must_end_before(call.entry) || !self.may_go_on(output) {
                return false;
            }
            let out = output.tail();
            let result = shard.execute(call, args, out);
            self.finish_on(id, (call, &session.info, args), result, out);
            if let Some(value) = shard.take_reply() {
                output.push_value(value);
            }
            true
        });
        self.handover = handover;
        Some(done)
    }

    /// Whether a client's next request may run: it has not had its slice, and reads its replies.
    #[inline]
    fn may_go_on(&self, output: &Output) -> bool {
        !self.slice_is_over() && output.pending_bytes() <= PENDING_OUTPUT_BYTES_MAX
    }
}

/// Has `run` run the plain requests that a window begins with, which have all but the command and its slot in common with
/// `call`, until it says that the next can't be run. Answers how many were.
#[inline]
fn run_each<'a>(
    requests: &InHand<'a>,
    call: &mut Call,
    mut run: impl FnMut(&Call, &Args<'a>) -> bool,
) -> usize {
    let mut done = 0;
    for request in &requests.window.requests {
        let args = requests.args(request);
        let Some(entry) = plain_entry(request, &args) else { break };
        (call.entry, call.slot) = (entry, request.slot);
        if !run(call, &args) {
            break;
        }
        done += 1;
    }
    done
}

/// The command of a request, if it is a plain one.
#[inline]
fn plain_entry(request: &Request, args: &Args<'_>) -> Option<&'static Entry> {
    request.entry.filter(|entry| is_plain(entry, args))
}

/// Whether a request of a command is plain.
#[inline]
fn is_plain(entry: &Entry, args: &Args<'_>) -> bool {
    matches!(entry.command.handler, Handler::Keyed(_))
        && entry.command.keys == Keys::ONE
        && !entry.command.flags.intersects(Flags::LONG | Flags::BLOCKING)
        && worth_from_bytes(entry, args).is_none()
}
