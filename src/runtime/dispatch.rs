//! From a connection's bytes to commands on shards.
//!
//! A request goes one of four ways: it runs here at once (a session command, or a shard whose token is
//! held or free), it is left for whoever holds its shard (its reply has a place reserved), it starts a
//! command over several shards, or it stays where it is, unread, until the connection may go on.

use super::batch::Batch;
use super::connection::{Block, Connection, Port, State};
use super::core::Core;
use super::mail::Message;
use super::shards::Queued;
use super::window::{Request, Scratch, Stop, Window};
use crate::command::cluster_keys::slot_argument;
use crate::command::scan::cursor_shard;
use crate::command::session::ReplyMode;
use crate::command::table::Entry;
use crate::command::{Error, Flags, Handler, Keys};
use crate::limits::{
    LEFT_BYTES_MAX, OWED_REPLIES_MAX, PENDING_OUTPUT_BYTES_MAX, WINDOW_REQUESTS_MAX,
};
use crate::node::PauseMode;
use crate::protocol::resp::{Limits, Parser};
use crate::protocol::{Args, Reply};
use crate::shard::Call;
use crate::types::{ShardId, Slot, key_slot};

/// Whether a request was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It was run, or is under way.
    Taken,
    /// It stays in the input: the connection is blocked.
    Left,
}

/// The shards a command needs.
enum Route {
    /// None: a command on the session.
    None,
    One(ShardId),
    /// In order.
    Many(Vec<ShardId>),
}

impl Core<'_> {
    /// Runs the requests in `bytes` as far as they are whole and the connection may go on. Answers how
    /// many bytes are done with; `bytes` starts where the parser started.
    pub(super) fn run_requests(&mut self, connection: &mut Connection, bytes: &[u8]) -> usize {
        let mut scratch = self.scratch.take().unwrap_or_default();
        let Scratch { parser, window } = &mut *scratch;
        if let Some(unfinished) = connection.parser.take() {
            *parser = *unfinished;
        }
        let mut consumed = 0;
        self.engine.start_slice();
        while consumed < bytes.len() {
            let limits = self.parse_limits(connection);
            // Limits change with authentication: until then, one request at a time.
            let most = if self.needs_auth(connection) { 1 } else { WINDOW_REQUESTS_MAX };
            let stop = window.fill(parser, bytes, consumed, &limits, most);
            self.look_ahead(connection, window, parser, bytes);
            consumed = self.run_window(connection, window, parser, bytes);
            if !connection.is_running() {
                // What was parsed beyond is parsed again when the connection goes on.
                parser.start_over();
                break;
            }
            match stop {
                Stop::Full => {}
                Stop::Incomplete => break,
                Stop::Error(error) => {
                    self.engine.metrics.protocol_errors.increment();
                    self.refuse(connection, None, &Error::Text(format!("ERR {error}")));
                    connection.state = State::Draining;
                    consumed = bytes.len();
                }
            }
        }
        if !parser.is_idle() {
            connection.parser = Some(Box::new(std::mem::take(parser)));
        }
        self.scratch = Some(scratch);
        self.end_batch(connection);
        consumed
    }

    /// Runs the requests of a window as far as the connection may go on; answers the offset behind the
    /// last one taken.
    fn run_window(
        &mut self,
        connection: &mut Connection,
        window: &Window,
        parser: &Parser,
        bytes: &[u8],
    ) -> usize {
        let mut last = None;
        let mut count = 0;
        let mut stopped_at = None;
        let mut before = window.requests.first().map_or(window.end, |request| request.start);
        for request in &window.requests {
            if connection.is_running() {
                self.hold_if_greedy(connection);
            }
            let args = window.args(request, parser, bytes);
            if !connection.is_running() || self.dispatch(connection, request, &args) == Flow::Left {
                stopped_at = Some(before);
                break;
            }
            before = request.end;
            count += 1;
            last = request.entry.or(last);
        }
        if let Some(entry) = last {
            self.engine.metrics.commands_processed.add(count);
            connection.session.info.touch(self.engine.now.mono, entry.id, count);
        }
        stopped_at.unwrap_or(window.end)
    }

    /// Blocks a client that does not read its replies, or that has had its share of the turn.
    #[inline]
    fn hold_if_greedy(&mut self, connection: &mut Connection) {
        if connection.output.pending_bytes() > PENDING_OUTPUT_BYTES_MAX {
            connection.state = State::Blocked(Block::Output);
        } else if self.engine.slice_is_over() {
            connection.state = State::Blocked(Block::Turn);
            self.yielding.push(connection.token);
        }
    }

    fn parse_limits(&self, connection: &Connection) -> Limits {
        if self.needs_auth(connection) {
            return Limits::before_auth();
        }
        Limits { bulk_bytes_max: self.config.proto_max_bulk_len_bytes, ..Limits::authenticated() }
    }

    fn needs_auth(&self, connection: &Connection) -> bool {
        !connection.session.authenticated && self.config.requirepass.is_some()
    }

    fn dispatch(
        &mut self,
        connection: &mut Connection,
        request: &Request,
        args: &Args<'_>,
    ) -> Flow {
        let Some(entry) = request.entry else { return self.unknown(connection, args) };
        if self.needs_auth(connection) && !entry.command.flags.contains(Flags::NO_AUTH) {
            return self.refuse(connection, Some(entry), &Error::NoAuth);
        }
        if self.hold_if_paused(connection, entry) == Flow::Left {
            return Flow::Left;
        }
        let slot = request.slot;
        match self.route(connection, entry, args, slot) {
            Ok(Route::None) => self.run_session(connection, entry, args),
            Ok(Route::One(shard)) => self.run_on(connection, entry, args, slot, shard),
            Ok(Route::Many(shards)) => self.run_over(connection, entry, args, slot, shards),
            Err(error) => self.refuse(connection, Some(entry), &error),
        }
    }

    /// Names neither a command nor a known subcommand, or has the wrong number of arguments.
    #[cold]
    fn unknown(&mut self, connection: &mut Connection, args: &Args<'_>) -> Flow {
        let name = &args[0];
        if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
            tracing::warn!(
                client = %connection.session.info.addr,
                "possible security attack: a client sent POST or Host: commands, as a web page that \
                 tries to reach this server would. Closing the connection."
            );
            connection.shut_down();
            return Flow::Taken;
        }
        match self.table.resolve(args) {
            Ok(entry) => unreachable!("{} was not found before", entry.full_name),
            Err(error) => self.refuse(connection, self.table.lookup(&args[0]), &error),
        }
    }

    fn refuse(
        &mut self,
        connection: &mut Connection,
        entry: Option<&Entry>,
        error: &Error,
    ) -> Flow {
        let (proto, muted) = (connection.session.proto, self.is_muted(connection));
        let out = connection.output.tail();
        let start = out.len();
        self.engine.reject(entry, error, &mut Reply::new(out, proto));
        if muted {
            out.truncate(start);
        }
        Flow::Taken
    }

    /// Whether this request's reply is to be dropped; uses up a `CLIENT REPLY SKIP`.
    fn is_muted(&self, connection: &mut Connection) -> bool {
        match connection.session.reply_mode {
            ReplyMode::On => false,
            ReplyMode::Off => true,
            ReplyMode::SkipNext | ReplyMode::Skip => {
                connection.session.reply_mode = ReplyMode::On;
                true
            }
        }
    }

    fn hold_if_paused(&mut self, connection: &mut Connection, entry: &Entry) -> Flow {
        let Some((_, mode)) = self.node.pause_until(self.engine.now.unix) else {
            return Flow::Taken;
        };
        let flags = entry.command.flags;
        let held = match mode {
            // Whoever paused must be able to end it.
            PauseMode::All => !entry.full_name.starts_with("client|"),
            PauseMode::Write => flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE),
        };
        if !held {
            return Flow::Taken;
        }
        connection.state = State::Blocked(Block::Pause);
        self.paused.push(connection.token);
        self.engine.metrics.clients_blocked.set(self.paused.len() as u64);
        Flow::Left
    }

    // --- which shards ----------------------------------------------------------------------------

    /// The shards of a command; `slot` is that of its first key.
    fn route(
        &self,
        connection: &Connection,
        entry: &Entry,
        args: &Args<'_>,
        slot: Slot,
    ) -> Result<Route, Error> {
        let slots = self.node.slots;
        match entry.command.handler {
            Handler::Keyed(_) => self.route_keys(connection, entry, args, slot),
            Handler::Session(_) | Handler::Container(_) => Ok(Route::None),
            Handler::AllShards(_) => Ok(self.route_all(connection)),
            Handler::Cursor(_, position) => {
                let cursor = args.get(usize::from(position)).unwrap_or_default();
                let seen = connection.session.view.shards(slots);
                // A cursor that is none goes anywhere: the handler answers the error.
                Ok(Route::One(cursor_shard(cursor, &seen).unwrap_or(ShardId(seen.start))))
            }
            Handler::Slot(_, position) => {
                let slot = args.get(usize::from(position)).and_then(slot_argument);
                Ok(Route::One(slot.map_or(ShardId(0), |slot| slots.shard_of(slot))))
            }
        }
    }

    #[inline]
    fn route_keys(
        &self,
        connection: &Connection,
        entry: &Entry,
        args: &Args<'_>,
        slot: Slot,
    ) -> Result<Route, Error> {
        let (slots, cluster) = (self.node.slots, self.config.cluster_enabled);
        let shard = slots.shard_of(slot);
        let mut others = Vec::new();
        if entry.command.keys != Keys::ONE && (cluster || slots.shard_count() > 1) {
            for position in entry.command.keys.positions(args.len()).skip(1) {
                let other = key_slot(args.at(position));
                if cluster && other != slot {
                    return Err(Error::Static(
                        "CROSSSLOT Keys in request don't hash to the same slot",
                    ));
                }
                let other = slots.shard_of(other);
                if other != shard {
                    others.push(other);
                }
            }
        }
        if cluster && connection.port == Port::Core && slots.core_of(shard) != self.id {
            return Err(self.moved(connection, slot));
        }
        if others.is_empty() {
            return Ok(Route::One(shard));
        }
        others.push(shard);
        others.sort_unstable();
        others.dedup();
        Ok(Route::Many(others))
    }

    /// All shards that the client sees.
    fn route_all(&self, connection: &Connection) -> Route {
        let seen = connection.session.view.shards(self.node.slots);
        if seen.len() == 1 {
            return Route::One(ShardId(seen.start));
        }
        Route::Many(seen.map(ShardId).collect())
    }

    fn moved(&self, connection: &Connection, slot: Slot) -> Error {
        let core = self.node.slots.core_of(self.node.slots.shard_of(slot));
        let topology = &self.node.topology;
        let ip = topology.announce_ip.unwrap_or(connection.session.info.laddr.ip());
        Error::Text(format!("MOVED {} {ip}:{}", slot.0, topology.port_of(core)))
    }

    /// Sends a connection that has not found its core yet to the owner of `shard`.
    fn place(&mut self, connection: &mut Connection, shard: ShardId) -> Flow {
        let owner = self.node.slots.core_of(shard);
        if owner == self.id {
            connection.placed = true;
            return Flow::Taken;
        }
        connection.state = State::Blocked(Block::Moving(owner));
        Flow::Left
    }

    // --- running ---------------------------------------------------------------------------------

    fn run_on(
        &mut self,
        connection: &mut Connection,
        entry: &'static Entry,
        args: &Args<'_>,
        slot: Slot,
        shard: ShardId,
    ) -> Flow {
        if !connection.placed && self.place(connection, shard) == Flow::Left {
            return Flow::Left;
        }
        self.show_to_monitors(connection, entry, args);
        let call = call(connection, entry, slot);
        let muted = self.is_muted(connection);
        let for_owner = entry.command.flags.contains(Flags::LONG) && !self.shards.owns(shard);
        if for_owner {
            self.leave_to_owner(connection, &call, args, shard, muted);
            return Flow::Taken;
        }
        if !connection.has_outstanding(shard)
            && let Some(shard) = self.shards.borrow(shard)
        {
            let out = connection.output.tail();
            let start = out.len();
            self.engine.run(shard, &connection.session.info, &call, args, out);
            if muted {
                out.truncate(start);
            }
            return Flow::Taken;
        }
        self.leave(connection, &call, args, shard, muted);
        Flow::Taken
    }

    /// Leaves a command for whoever holds the token of its shard.
    fn leave(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
        shard: ShardId,
        muted: bool,
    ) {
        let index = match self.leaving.iter().position(|batch| batch.shard == shard) {
            Some(index) => index,
            None => {
                let ticket = connection.next_ticket();
                let client = connection.session.info.clone();
                let batch = Batch::new(self.id, connection.token, ticket, shard, client);
                self.leaving.push(Box::new(batch));
                self.leaving.len() - 1
            }
        };
        let batch = &mut self.leaving[index];
        connection.left_bytes += batch.push(*call, args);
        connection.output.wait_for(batch.ticket, muted);
        if connection.output.slot_count() >= OWED_REPLIES_MAX
            || connection.left_bytes >= LEFT_BYTES_MAX
        {
            connection.state = State::Blocked(Block::Replies);
        }
    }

    /// Leaves a command that may take long to the owner of its shard, and with it all that this batch
    /// still brings for the shard: a borrower holds a shard for short work only.
    #[cold]
    fn leave_to_owner(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
        shard: ShardId,
        muted: bool,
    ) {
        if let Some(holder) = self.shards.refuse(shard) {
            self.engine.metrics.batches_borrowed.increment();
            self.give_back(holder);
        }
        self.leave(connection, call, args, shard, muted);
        if let Some(batch) = self.leaving.iter_mut().find(|batch| batch.shard == shard) {
            batch.for_owner = true;
        }
    }

    /// Gives borrowed shards back and sends off what was left for others.
    fn end_batch(&mut self, connection: &mut Connection) {
        let mut local = true;
        while let Some((shard, holder)) = self.shards.next_borrowed() {
            if !self.shards.owns(shard) {
                local = false;
                self.engine.metrics.batches_borrowed.increment();
            }
            self.give_back(holder);
        }
        for batch in std::mem::take(&mut self.leaving) {
            local = false;
            self.engine.metrics.batches_by_message.increment();
            if connection.batch_left(batch.shard, batch.for_owner) {
                self.post(self.node.slots.core_of(batch.shard), Message::Run(batch));
            } else {
                self.enqueue(batch);
            }
        }
        if local {
            self.engine.metrics.batches_local.increment();
        }
    }

    /// Leaves a batch in the queue of its shard, or runs it if nobody holds the shard.
    pub(super) fn enqueue(&mut self, batch: Box<Batch>) {
        let cell = self.shards.cell(batch.shard);
        if let Some(holder) = cell.enqueue(Queued::Batch(batch)) {
            self.give_back(holder);
        }
    }

    /// The replies of a batch are here.
    pub(super) fn batch_done(&mut self, batch: &Batch) {
        let Some(mut connection) = self.connections.take(batch.connection) else { return };
        connection.batch_came_back(batch.shard);
        connection.output.fill(batch.ticket, &batch.replies, &batch.lengths);
        if !connection.output.is_waiting() {
            connection.left_bytes = 0;
            if connection.is_blocked_by(Block::Replies) {
                connection.state = State::Running;
                self.resume(&mut connection);
            }
        }
        self.mark_dirty(&mut connection);
        self.connections.put(connection);
    }

    fn run_over(
        &mut self,
        connection: &mut Connection,
        entry: &'static Entry,
        args: &Args<'_>,
        slot: Slot,
        shards: Vec<ShardId>,
    ) -> Flow {
        if !connection.placed && self.place(connection, shards[0]) == Flow::Left {
            return Flow::Left;
        }
        if self.wait_for_replies(connection) == Flow::Left {
            return Flow::Left;
        }
        self.show_to_monitors(connection, entry, args);
        let call = call(connection, entry, slot);
        let muted = self.is_muted(connection);
        let at_hand = shards.iter().all(|shard| self.shards.borrow(*shard).is_some());
        if at_hand && let Some(mut shards) = self.shards.all(&shards) {
            let out = connection.output.tail();
            let start = out.len();
            self.engine.run_over(&mut shards, &connection.session.info, &call, args, out);
            if muted {
                out.truncate(start);
            }
            return Flow::Taken;
        }
        self.claim(connection, call, args, shards, muted);
        Flow::Taken
    }

    /// Blocks a connection that has replies under way: the next command is not for one shard alone.
    pub(super) fn wait_for_replies(&mut self, connection: &mut Connection) -> Flow {
        if !connection.output.is_waiting() {
            return Flow::Taken;
        }
        connection.state = State::Blocked(Block::Replies);
        Flow::Left
    }
}

pub(super) fn call(connection: &Connection, entry: &'static Entry, slot: Slot) -> Call {
    let session = &connection.session;
    Call {
        entry,
        db: session.db,
        proto: session.proto,
        no_touch: session.no_touch,
        slot,
        view: session.view,
    }
}
