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
use super::sorted::Sorted;
use super::window::{InHand, Request, Scratch, Stop};
use crate::command::binary::{Failure, scan_shard};
use crate::command::cluster_keys::slot_argument;
use crate::command::pubsub;
use crate::command::scan::cursor_shard;
use crate::command::session::ReplyMode;
use crate::command::steps::worth_from_bytes;
use crate::command::table::Entry;
use crate::command::{Error, Flags, Handler, Keys, Session};
use crate::config::DebugCommand;
use crate::limits::{
    LEFT_BYTES_MAX, OWED_REPLIES_MAX, PENDING_OUTPUT_BYTES_MAX, WINDOW_REQUESTS_MAX,
};
use crate::node::{ClientFlags, PauseMode};
use crate::protocol::resp::Limits;
use crate::protocol::{Args, Reply};
use crate::shard::{Admission, Call};
use crate::types::{ShardId, Slot, key_slot};

const DEBUG_NOT_ALLOWED: Error = Error::Static(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can \
     run it from a local connection, otherwise you need to set this option in the configuration file, \
     and then restart the server.",
);
/// Keys that belong to different nodes, or may come to.
pub(super) const CROSS_SLOT: Error =
    Error::Static("CROSSSLOT Keys in request don't hash to the same slot");
/// What Redis's replicas answer to writes on no key; those on keys are redirected.
const READ_ONLY: Error = Error::Static("READONLY You can't write against a read only replica.");
/// What Redis, which keeps monitoring clients with its replicas, answers them.
const MONITOR_ONLY: Error = Error::Static("ERR Replica can't interact with the keyspace");

/// Whether a request was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It was run, or is under way.
    Taken,
    /// It stays in the input: the connection is blocked.
    Left,
}

/// How far a window was run.
pub(super) struct Ran {
    /// Offset behind what was taken.
    pub(super) end: usize,
    /// The first request that was not taken, if there is one.
    pub(super) stopped_at: Option<usize>,
}

/// The shards a command needs.
pub(super) enum Route {
    /// None: a command on the session.
    None,
    One(ShardId),
    /// In order.
    Many(Vec<ShardId>),
}

impl Route {
    /// The shards, in order.
    pub(super) fn shards(self) -> Vec<ShardId> {
        match self {
            Self::None => Vec::new(),
            Self::One(shard) => vec![shard],
            Self::Many(shards) => shards,
        }
    }

    /// The first of them.
    pub(super) fn first(&self) -> Option<ShardId> {
        match self {
            Self::None => None,
            Self::One(shard) => Some(*shard),
            Self::Many(shards) => shards.first().copied(),
        }
    }
}

fn route_over(shards: Vec<ShardId>) -> Route {
    if let [only] = shards[..] { Route::One(only) } else { Route::Many(shards) }
}

impl Core<'_> {
    /// Runs the requests in `bytes` as far as they are whole and the connection may go on. Answers how
    /// many bytes are done with; `bytes` starts where the parser started.
    pub(super) fn run_requests(&mut self, connection: &mut Connection, bytes: &[u8]) -> usize {
        if !connection.protocol_known
            && let Some(first) = bytes.first()
        {
            self.choose_protocol(connection, *first);
            if !connection.is_running() {
                return bytes.len();
            }
        }
        if connection.binary.is_some() {
            return self.run_frames(connection, bytes);
        }
        let mut scratch = self.scratch.take().unwrap_or_default();
        let Scratch { parser, window, sorted, .. } = &mut *scratch;
        if let Some(unfinished) = connection.parser.take() {
            *parser = *unfinished;
        }
        let mut consumed = 0;
        connection.wanted_bytes = 0;
        self.engine.start_slice();
        while consumed < bytes.len() {
            let limits = self.parse_limits(connection);
            // Limits change with authentication: until then, one request at a time.
            let most = if self.needs_auth(connection) { 1 } else { WINDOW_REQUESTS_MAX };
            let stop = window.fill(parser, bytes, consumed, &limits, most);
            let requests = InHand { window, parser, bytes };
            self.look_ahead(connection, &requests);
            consumed = self.run_window(connection, &requests, sorted).end;
            if !connection.is_running() {
                // What was parsed beyond is parsed again when the connection goes on.
                parser.start_over();
                break;
            }
            match stop {
                Stop::Full | Stop::Frame(_) => {}
                Stop::Incomplete(wanted_bytes) => {
                    connection.wanted_bytes = wanted_bytes;
                    break;
                }
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

    /// Runs the requests of a window as far as the connection may go on.
    pub(super) fn run_window(
        &mut self,
        connection: &mut Connection,
        requests: &InHand<'_>,
        sorted: &mut Sorted,
    ) -> Ran {
        let window = requests.window;
        let mut stopped_at = None;
        let done = self.run_plain(connection, requests, sorted);
        let mut count = done as u64;
        let mut last = window.requests[..done].last().and_then(|request| request.entry);
        for (index, request) in window.requests.iter().enumerate().skip(done) {
            if connection.is_running() {
                self.hold_if_greedy(connection);
            }
            let args = requests.args(request);
            if !connection.is_running() || self.dispatch(connection, request, &args) == Flow::Left {
                stopped_at = Some(index);
                break;
            }
            if let Some(tracking) = &mut connection.session.tracking {
                let is_kept = connection.session.transaction.is_open
                    || request.entry.is_some_and(|entry| entry.full_name.starts_with("client|"));
                if !is_kept {
                    tracking.end_caching();
                }
            }
            count += 1;
            last = request.entry.or(last);
        }
        if let Some(entry) = last {
            self.engine.metrics.commands_processed.add(count);
            connection.session.info.touch(self.engine.now.mono, entry.id, count);
        }
        let end = stopped_at.map_or(window.end, |index| window.requests[index].start);
        Ran { end, stopped_at }
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

    pub(super) fn needs_auth(&self, connection: &Connection) -> bool {
        !connection.session.authenticated && self.config.requirepass.is_some()
    }

    /// Runs a request, or has it wait. What is asked here is asked of plain requests in `may_run_plain`, for all of a
    /// window together.
    fn dispatch(
        &mut self,
        connection: &mut Connection,
        request: &Request,
        args: &Args<'_>,
    ) -> Flow {
        if let Some((head, _)) = &request.native {
            return self.dispatch_native(connection, request, head, args);
        }
        let Some(entry) = request.entry else { return self.unknown(connection, args) };
        if self.needs_auth(connection) && !entry.command.flags.contains(Flags::NO_AUTH) {
            return self.refuse(connection, Some(entry), &Error::NoAuth);
        }
        if entry.command.flags.contains(Flags::PROTECTED) && !self.may_debug(connection) {
            return self.refuse(connection, Some(entry), &DEBUG_NOT_ALLOWED);
        }
        if connection.session.monitor
            && entry.command.flags.intersects(Flags::READONLY | Flags::WRITE)
        {
            return self.refuse(connection, Some(entry), &MONITOR_ONLY);
        }
        if connection.session.only_listens() && !pubsub::is_for_listeners(entry) {
            return self.refuse(connection, Some(entry), &pubsub::not_while_listening(entry));
        }
        if self.refuses_data() && !entry.command.flags.contains(Flags::LOADING) {
            return self.refuse(connection, Some(entry), &Error::Loading);
        }
        if self.hold_if_paused(connection, entry) == Flow::Left {
            return Flow::Left;
        }
        if Self::is_transactional(connection, entry) {
            return self.dispatch_transaction(connection, (request, entry), args);
        }
        let call = call(&connection.session, entry, request.slot);
        if entry.command.flags.contains(Flags::BLOCKING) {
            return self.dispatch_blocking(connection, &call, args);
        }
        self.route_and_run(connection, &call, args)
    }

    /// Runs a command where its keys are, whichever protocol it came in.
    #[inline]
    pub(super) fn route_and_run(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
    ) -> Flow {
        let Some(call) = &self.follow(connection, call, args) else { return Flow::Left };
        let route = self.route(connection, call, args);
        connection.follows = false;
        match route {
            Ok(route) if self.hold_behind_forwarded(connection, &route) == Flow::Left => Flow::Left,
            Ok(Route::None) if call.entry.full_name == "client|tracking" => {
                self.run_tracking(connection, call, args)
            }
            // From its reply on every change is told of.
            Ok(Route::None)
                if call.entry.full_name == "config|set"
                    && args
                        .from(2)
                        .any(|word| word.eq_ignore_ascii_case(b"notify-keyspace-events"))
                    && self.hold_all_shards(connection) == Flow::Left =>
            {
                Flow::Left
            }
            // What it waits for is what the shards hold when its turn comes.
            Ok(Route::None)
                if self.is_in_cluster()
                    && call.entry.full_name == "wait"
                    && self.hold_all_shards(connection) == Flow::Left =>
            {
                Flow::Left
            }
            Ok(Route::None)
                if call.entry.full_name == "client|waittoken"
                    && self.hold_for_token(connection, args) == Flow::Left =>
            {
                Flow::Left
            }
            Ok(Route::None) => self.run_session(connection, call, args),
            Ok(Route::One(shard)) => self.run_on(connection, call, args, shard),
            Ok(Route::Many(shards)) => self.run_over(connection, call, args, shards),
            Err(error) => match &call.native {
                None => self.forward_or_refuse(connection, call, args, &error),
                Some(native) => {
                    let failure = Failure::from(error);
                    self.refuse_native(connection, Some(call.entry), &native.head, &failure)
                }
            },
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
        let known = self.table.lookup(&args[0]);
        if known.is_some_and(|entry| entry.command.flags.contains(Flags::PROTECTED))
            && args.len() > 1
            && !self.may_debug(connection)
        {
            return self.refuse(connection, known, &DEBUG_NOT_ALLOWED);
        }
        match self.table.resolve(args) {
            Ok(entry) => unreachable!("{} was not found before", entry.full_name),
            Err(error) => self.refuse(connection, known, &error),
        }
    }

    /// Whether a client may use `DEBUG` (`enable-debug-command`).
    fn may_debug(&self, connection: &Connection) -> bool {
        match self.config.debug_command {
            DebugCommand::No => false,
            DebugCommand::Yes => true,
            DebugCommand::Local => connection.session.info.addr.ip().to_canonical().is_loopback(),
        }
    }

    /// Refuses a request: it is not run.
    pub(super) fn refuse(
        &mut self,
        connection: &mut Connection,
        entry: Option<&Entry>,
        error: &Error,
    ) -> Flow {
        let other = self.note_refusal(connection, entry, error);
        self.reject(connection, entry, other.as_ref().unwrap_or(error))
    }

    /// Answers an error to a request that is not run.
    pub(super) fn reject(
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
    pub(super) fn is_muted(&self, connection: &mut Connection) -> bool {
        match connection.session.reply_mode {
            ReplyMode::On => false,
            ReplyMode::Off => true,
            ReplyMode::SkipNext | ReplyMode::Skip => {
                connection.session.reply_mode = ReplyMode::On;
                true
            }
        }
    }

    pub(super) fn hold_if_paused(&mut self, connection: &mut Connection, entry: &Entry) -> Flow {
        let Some((_, mode)) = self.node.pause_until(self.engine.now.unix) else {
            return Flow::Taken;
        };
        let flags = Self::flags_to_run(connection, entry);
        let held = match mode {
            // Whoever paused must be able to end it.
            PauseMode::All => !entry.full_name.starts_with("client|"),
            PauseMode::Write => flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE),
        };
        if !held {
            return Flow::Taken;
        }
        connection.state = State::Blocked(Block::Pause);
        connection.session.info.set_flags(ClientFlags::BLOCKED, true);
        self.paused.push(connection.token);
        self.count_blocked();
        Flow::Left
    }

    // --- which shards ----------------------------------------------------------------------------

    /// The shards of a command.
    pub(super) fn route(
        &self,
        connection: &Connection,
        call: &Call,
        args: &Args<'_>,
    ) -> Result<Route, Error> {
        let slots = self.node.slots;
        match call.entry.command.handler {
            Handler::Keyed(_) => self.route_keys(connection, call.entry, args, call.slot),
            Handler::Session(_) if call.entry.command.keys != Keys::None => {
                self.admit_channels(connection, call.entry, args).map(|()| Route::None)
            }
            Handler::Session(_) | Handler::Container(_) => Ok(Route::None),
            Handler::AllShards(_) => self.route_all(connection, call.entry),
            // In cluster mode all that a command looks at lies in one slot.
            Handler::KeyedOrAll(_, is_for_all)
                if !self.config.cluster_enabled && is_for_all(args) =>
            {
                let all = route_over((0..slots.shard_count()).map(ShardId).collect());
                self.admit_route(connection, call.slot, all)
            }
            Handler::KeyedOrAll(..) => self.route_keys(connection, call.entry, args, call.slot),
            Handler::Cursor(_, position) => {
                let (view, owners) = (connection.session.view, &self.engine.owners);
                let shard = match &call.native {
                    Some(native) if native.is_operation() => scan_shard(args.at(2), view, owners),
                    _ => cursor_shard(
                        args.get(usize::from(position)).unwrap_or_default(),
                        view,
                        owners,
                    ),
                };
                Ok(shard.map_or(Route::Many(Vec::new()), Route::One))
            }
            Handler::Slot(_, position) => {
                let slot = args.get(usize::from(position)).and_then(slot_argument);
                Ok(Route::One(slot.map_or(ShardId(0), |slot| slots.shard_of(slot))))
            }
        }
    }

    #[inline]
    pub(super) fn route_keys(
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
            for position in entry.command.keys.positions(args).skip(1) {
                let other = key_slot(args.at(position));
                if cluster && other != slot {
                    return Err(CROSS_SLOT);
                }
                let other = slots.shard_of(other);
                if other != shard {
                    others.push(other);
                }
            }
        }
        if cluster && connection.port == Port::Core && !self.is_owner(shard) {
            return Err(self.moved(connection, slot));
        }
        if others.is_empty() {
            return self.admit_route(connection, slot, Route::One(shard));
        }
        others.push(shard);
        others.sort_unstable();
        others.dedup();
        self.admit_route(connection, slot, Route::Many(others))
    }

    /// All shards that the client sees.
    ///
    /// # Errors
    /// A write on a node that leads nothing would do nothing, and must not say that it has done it.
    fn route_all(&self, connection: &Connection, entry: &Entry) -> Result<Route, Error> {
        let owners = &self.engine.owners;
        if entry.command.flags.contains(Flags::WRITE) && !owners.serve_any() {
            return Err(READ_ONLY);
        }
        Ok(route_over(connection.session.view.shards(owners).collect()))
    }

    /// Another core serves a slot; or another node, which then is the one to tell of.
    pub(super) fn moved(&self, connection: &Connection, slot: Slot) -> Error {
        let shard = self.node.slots.shard_of(slot);
        if !self.serves(shard) {
            return self.served_elsewhere(slot);
        }
        let core = self.engine.owners.core_of(shard);
        let topology = &self.node.topology;
        let ip = topology.announce_ip.unwrap_or(connection.session.info.laddr.ip());
        Error::Moved { slot, ip, port: topology.port_of(core) }
    }

    /// Sends a connection that has not found its core yet to the owner of `shard`.
    pub(super) fn place(&mut self, connection: &mut Connection, shard: ShardId) -> Flow {
        let owner = self.engine.owners.core_of(shard);
        connection.home = Some(shard);
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
        call: &Call,
        args: &Args<'_>,
        shard: ShardId,
    ) -> Flow {
        if !connection.placed && self.place(connection, shard) == Flow::Left {
            return Flow::Left;
        }
        if self.hold_teller(connection, call.entry.command.flags) == Flow::Left {
            return Flow::Left;
        }
        let mut call = *call;
        if self.logs.is_behind
            && call.entry.command.flags.contains(Flags::WRITE)
            && self.is_behind(connection, shard)
        {
            self.wait_for_log(connection);
            return Flow::Left;
        }
        if self.config.maxmemory_bytes > 0 && call.entry.command.flags.contains(Flags::DENYOOM) {
            let (flags, bytes) = (call.entry.command.flags, args.from(0).map(<[u8]>::len).sum());
            if self.must_wait(connection, (flags, bytes), shard) {
                return Flow::Left;
            }
            call.admission = Admission::Waited;
        }
        if worth_from_bytes(call.entry, args).is_some()
            && self.runs_in_steps(connection, &call, args, &[shard])
        {
            return self.run_over(connection, &call, args, vec![shard]);
        }
        self.show_to_monitors(connection, &call, args);
        let muted = self.is_muted(connection);
        if call.entry.command.flags.contains(Flags::LONG)
            && self.is_for_owner(connection, &call, args, shard)
        {
            self.leave_to_owner(connection, &call, args, shard, muted);
            return Flow::Taken;
        }
        if !connection.has_outstanding(shard)
            && let Some(shard) = self.shards.borrow(shard)
        {
            let Connection { output, session, binary, .. } = connection;
            let out = output.tail();
            let start = out.len();
            let head = self.engine.run_any(shard, &session.info, &call, args, out);
            if let (Some(head), Some(binary)) = (head, binary) {
                binary.push(out, head, self.engine.owners.epoch());
            }
            let value = self.engine.handover.reply.take();
            if muted {
                out.truncate(start);
            } else if let Some(value) = value {
                connection.output.push_value(value);
            }
            return Flow::Taken;
        }
        self.leave(connection, &call, args, shard, muted);
        Flow::Taken
    }

    /// Whether a write must wait until the disk has caught up with its shard.
    #[cold]
    pub(super) fn is_behind(&mut self, connection: &Connection, shard: ShardId) -> bool {
        !connection.has_outstanding(shard)
            && self.shards.borrow(shard).is_some_and(|shard| shard.is_behind())
    }

    /// Whether a write must wait for the next turn, because its shard has to make room first.
    #[cold]
    pub(super) fn must_wait(
        &mut self,
        connection: &mut Connection,
        (flags, bytes): (Flags, usize),
        shard: ShardId,
    ) -> bool {
        if connection.has_outstanding(shard) {
            return false;
        }
        let Some(shard) = self.shards.borrow(shard) else { return false };
        self.engine.widen_room(flags, shard);
        let waits = shard.must_wait(self.engine.now, bytes);
        if waits {
            connection.state = State::Blocked(Block::Turn);
            self.yielding.push(connection.token);
        }
        waits
    }

    /// Whether a command that may take long is left to the owner of its shard: if the shard is another
    /// core's and a look at it tells that the command does take long, or there is no looking now.
    fn is_for_owner(
        &mut self,
        connection: &Connection,
        call: &Call,
        args: &Args<'_>,
        shard: ShardId,
    ) -> bool {
        if self.shards.owns(shard) {
            return false;
        }
        if connection.has_outstanding(shard) {
            return true;
        }
        let now = self.engine.now;
        self.shards.borrow(shard).is_none_or(|shard| shard.takes_long(call, args, now))
    }

    /// Leaves a command for whoever holds the token of its shard.
    pub(super) fn leave(
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
        match &self.engine.handover.request {
            Some(request) if args.lie_in(request.written()) => {
                let start = args.bytes().as_ptr() as usize - request.written().as_ptr() as usize;
                batch.push_long(*call, args, request.clone(), start);
            }
            _ => connection.left_bytes += batch.push(*call, args),
        }
        let owed = match &mut connection.binary {
            None => {
                connection.output.wait_for(batch.ticket, muted);
                connection.output.slot_count()
            }
            Some(binary) => {
                binary.owed += 1;
                binary.owed
            }
        };
        if owed >= OWED_REPLIES_MAX || connection.left_bytes >= LEFT_BYTES_MAX {
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
            self.give_back(holder);
        }
        self.leave(connection, call, args, shard, muted);
        if let Some(batch) = self.leaving.iter_mut().find(|batch| batch.shard == shard) {
            batch.for_owner = true;
        }
    }

    /// Gives borrowed shards back and sends off what was left for others.
    pub(super) fn end_batch(&mut self, connection: &mut Connection) {
        self.give_back_borrowed();
        if !self.engine.gate.is_empty() {
            let gate = std::mem::take(&mut self.engine.gate);
            self.gate_connection(connection, gate);
        }
        self.spread_news();
        self.send_published();
        let borrowed = self.shards.foreign_borrows();
        let (metrics, leaving) = (self.engine.metrics, std::mem::take(&mut self.leaving));
        metrics.batches_borrowed.add(borrowed);
        metrics.batches_by_message.add(leaving.len() as u64);
        metrics.batches_local.add(u64::from(borrowed == 0 && leaving.is_empty()));
        for mut batch in leaving {
            batch.arrived = self.stages.arrived();
            batch.left_at = self.engine.mark();
            if let Some(batch) = connection.batch_leaves(batch) {
                self.send_batch(batch);
            }
        }
    }

    /// Sends a batch on its way: to the owner of its shard, or to whoever holds the shard.
    pub(super) fn send_batch(&mut self, batch: Box<Batch>) {
        if batch.for_owner {
            self.post(self.engine.owners.core_of(batch.shard), Message::Run(batch));
        } else {
            self.enqueue(batch);
        }
    }

    /// Leaves a batch in the queue of its shard, or runs it if nobody holds the shard.
    pub(super) fn enqueue(&mut self, batch: Box<Batch>) {
        self.leave_in_queue(batch.shard, Queued::Batch(batch));
    }

    /// The same for anything that whoever holds the shard sees to.
    pub(super) fn leave_in_queue(&mut self, shard: ShardId, queued: Queued) {
        if let Some(holder) = self.shards.cell(shard).enqueue(queued) {
            self.give_back(holder);
        }
    }

    /// The replies of a batch are here, or the first of them.
    pub(super) fn batch_done(&mut self, mut batch: Box<Batch>) {
        self.note_hop(&batch);
        let Some(mut connection) = self.connections.take(batch.connection) else { return };
        if connection.output.has_ended() {
            // Nor does what waits behind it leave.
            return self.connections.put(connection);
        }
        Self::note_return_of(&mut connection, &batch);
        let replies = std::mem::take(&mut batch.replies);
        if !batch.gate.is_empty() {
            let gate = std::mem::take(&mut batch.gate);
            self.gate_connection(&mut connection, gate);
        }
        match &mut connection.binary {
            None => connection.output.fill(batch.ticket, replies),
            Some(binary) => {
                binary.owed -= batch.ran;
                connection.output.tail().extend_from_slice(&replies.bytes);
            }
        }
        if !batch.is_done() {
            connection.keep_unfinished(batch);
            self.yielding.push(connection.token);
        } else if let Some(next) = connection.batch_came_back(batch.shard) {
            self.send_batch(next);
        }
        if !connection.is_waiting() {
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
        call: &Call,
        args: &Args<'_>,
        shards: Vec<ShardId>,
    ) -> Flow {
        if let Some(first) = shards.first()
            && !connection.placed
            && self.place(connection, *first) == Flow::Left
        {
            return Flow::Left;
        }
        if self.wait_for_replies(connection) == Flow::Left
            || self.hold_teller(connection, call.entry.command.flags) == Flow::Left
        {
            return Flow::Left;
        }
        self.show_to_monitors(connection, call, args);
        let muted = self.is_muted(connection);
        let at_hand = shards.iter().all(|shard| self.shards.borrow(*shard).is_some());
        if at_hand
            && !self.runs_in_steps(connection, call, args, &shards)
            && let Some(mut shards) = self.shards.all(&shards)
        {
            let Connection { output, session, binary, .. } = connection;
            let out = output.tail();
            let start = out.len();
            let head = self.engine.run_any_over(&mut shards, &session.info, call, args, out);
            if let (Some(head), Some(binary)) = (head, binary) {
                binary.push(out, head, self.engine.owners.epoch());
            }
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
        if !connection.is_waiting() {
            return Flow::Taken;
        }
        connection.state = State::Blocked(Block::Replies);
        Flow::Left
    }
}

pub(super) fn call(session: &Session, entry: &'static Entry, slot: Slot) -> Call {
    Call {
        entry,
        db: session.db,
        proto: session.proto,
        no_touch: session.no_touch,
        slot,
        view: session.view,
        native: None,
        durability: session.durability,
        tracker: session.tracking.map_or(0, |tracking| tracking.serial_for_reads()),
        admission: Admission::default(),
        follower: None,
    }
}
