//! A connection's bytes in and out, and its end.
//!
//! Whoever has taken a connection out of the table hands it to [`Core::settle`] at last, which starts
//! what has to be started (a receive, a send, a move, the close) and puts it back or drops it.

use std::sync::Arc;

use super::connection::{Block, Connection, Port, Receive, State};
use super::core::{Core, Peaks};
use super::input::Input;
use super::mail::Message;
use super::ring::{Completion, Socket, is_passing};
use crate::cache::Extent;
use crate::limits::{
    IDLE_BUFFER_BYTES_MAX, PENDING_OUTPUT_BYTES_MAX, RECEIVE_BUFFER_BYTES,
    REQUEST_BYTES_PER_SECOND_MIN, STALLED_INPUT_BYTES_MAX,
};
use crate::node::ClientBuffers;
use crate::types::{CoreId, MonoUs};

impl Core<'_> {
    /// A receive brought bytes, or ended.
    pub(super) fn received(&mut self, completion: Completion, bytes: &[u8]) {
        let Some(mut connection) = self.connections.take(completion.token) else {
            self.engine.metrics.stale_completions.increment();
            return;
        };
        let direct = match usize::try_from(completion.result) {
            Ok(count) if completion.buffer.is_none() => count,
            _ => 0,
        };
        if !completion.more {
            connection.receive = Receive::Idle;
        }
        if direct + bytes.len() > 0 {
            self.engine.metrics.reads.increment();
            self.engine.metrics.input_bytes.add((direct + bytes.len()) as u64);
            connection.active_at = self.engine.now.mono;
            match direct {
                0 => self.feed(&mut connection, bytes),
                count => self.feed_direct(&mut connection, count),
            }
        } else if completion.result == 0 {
            connection.half_closed = true;
            self.close_if_waiting(&mut connection);
        } else if !is_passing(-completion.result) {
            connection.shut_down();
        }
        self.mark_dirty(&mut connection);
        self.connections.put(connection);
    }

    /// Closes a connection whose client has ended its side while it waits in a blocking command: it is gone.
    fn close_if_waiting(&mut self, connection: &mut Connection) {
        if connection.half_closed && connection.is_in_blocking_command() {
            connection.shut_down();
        }
    }

    /// The kernel has written new bytes of a client where they belong: runs the request once it is whole.
    fn feed_direct(&mut self, connection: &mut Connection, count: usize) {
        connection.input.fill(count);
        if matches!(connection.state, State::Running | State::Blocked(_)) {
            self.resume(connection);
            self.note_input(connection, 0);
        }
    }

    /// A receive was asked to end. Where there was none that could be, for it was just going on, it is
    /// asked once more; else it completes by itself.
    pub(super) fn asked_to_end(&mut self, completion: Completion) {
        let Some(connection) = self.connections.get_mut(completion.token) else { return };
        if completion.result < 0 && connection.receive == Receive::Cancelled {
            connection.receive = Receive::Armed;
            if !connection.dirty {
                connection.dirty = true;
                self.dirty.push(completion.token);
            }
        }
    }

    /// New bytes of a client: runs what is whole and keeps the rest.
    fn feed(&mut self, connection: &mut Connection, bytes: &[u8]) {
        if connection.input.is_empty() && connection.is_running() {
            let consumed = self.run_timed(connection, bytes);
            if consumed < bytes.len() {
                let wanted = connection.wanted_bytes;
                connection.input.append(&bytes[consumed..], wanted, &mut self.spare_input);
            }
            self.note_input(connection, consumed);
        } else if matches!(connection.state, State::Running | State::Blocked(_)) {
            let wanted = connection.wanted_bytes;
            connection.input.append(bytes, wanted, &mut self.spare_input);
            self.keep_time(connection, bytes);
            self.resume(connection);
            self.note_input(connection, 0);
        }
    }

    /// Runs what the connection has kept, if it may go on.
    pub(super) fn resume(&mut self, connection: &mut Connection) {
        let length = connection.input.len();
        if !connection.is_running() || !connection.has_input() || length < connection.wanted_bytes {
            return;
        }
        let consumed = match std::mem::take(&mut connection.input) {
            Input::Short(mut input) => {
                let consumed = self.run_timed(connection, &input);
                input.drain(..consumed);
                if input.is_empty() && input.capacity() > RECEIVE_BUFFER_BYTES {
                    input = Vec::new();
                }
                connection.input = Input::Short(input);
                consumed
            }
            Input::Long(extent) => self.run_long(connection, extent),
        };
        self.note_input(connection, consumed);
    }

    /// Runs a long request, and what follows it; a value may be kept where it lies.
    #[cold]
    fn run_long(&mut self, connection: &mut Connection, mut extent: Extent) -> usize {
        extent.clean();
        let request = Arc::new(extent);
        self.engine.handover.request = Some(request.clone());
        let consumed = self.run_timed(connection, request.written());
        self.engine.handover.request = None;
        let freed = self.engine.handover.freed.take();
        self.keep_freed(freed);
        let (rest, left) = Input::rest_of(request, consumed);
        connection.input = rest;
        let left = left.and_then(|extent| self.spare_input.keep(extent));
        self.discard(left);
        consumed
    }

    /// Remembers since when the request at the start of the input is unfinished, after `consumed` bytes
    /// before it were run; and closes a client that sends more than it may have waiting.
    fn note_input(&mut self, connection: &mut Connection, consumed: usize) {
        if !connection.has_input() {
            connection.request_since = None;
        } else if consumed > 0 || connection.request_since.is_none() {
            connection.request_since = Some(self.engine.now.mono);
        }
        self.peaks.input_bytes = self.peaks.input_bytes.max(connection.input.len());
        let kept = connection.input.len() + connection.transaction_bytes();
        if kept > self.config.client_query_buffer_limit_bytes {
            tracing::warn!(
                client = connection.session.id.0,
                "closing a client that reached the max query buffer length"
            );
            connection.shut_down();
        }
    }

    /// Bytes left for a client, or could not.
    pub(super) fn sent(&mut self, completion: Completion) {
        let Some(mut connection) = self.connections.take(completion.token) else {
            self.engine.metrics.stale_completions.increment();
            return;
        };
        match usize::try_from(completion.result) {
            Ok(count) => {
                self.engine.metrics.output_bytes.add(count as u64);
                let (socket, token) = (connection.ring_socket, connection.token);
                let more = connection.output.has_more();
                if let Some(rest) = connection.output.sent(count) {
                    self.ring.send(socket, token, rest, more);
                }
            }
            Err(_) => {
                connection.output.abandon();
                connection.shut_down();
            }
        }
        if let Some(value) = connection.output.take_sent_value() {
            self.discard(value.into_extent());
        }
        let unfinished = connection.unfinished_to_go_on();
        unfinished.into_iter().for_each(|batch| self.send_batch(batch));
        let pending = connection.output.pending_bytes();
        if connection.is_blocked_by(Block::Output) && pending < PENDING_OUTPUT_BYTES_MAX / 2 {
            connection.state = State::Running;
            self.resume(&mut connection);
        }
        self.mark_dirty(&mut connection);
        self.connections.put(connection);
    }

    /// Starts what the connection needs next and puts it back into the table, or lets it go.
    pub(super) fn settle(&mut self, mut connection: Box<Connection>) {
        self.give_missed(&mut connection);
        self.tell_topology(&mut connection);
        if connection.state != State::Closing {
            self.check_output(&mut connection);
        }
        if connection.half_closed && connection.is_running() {
            connection.state = State::Draining;
        }
        self.close_if_waiting(&mut connection);
        if matches!(connection.state, State::Draining | State::Closing) {
            self.end_subscriptions(&mut connection);
            self.abandon_wait(&mut connection);
            self.end_tracking(&mut connection);
        }
        if connection.state != State::Closing {
            if !connection.gate.is_empty() || connection.output.is_held() {
                self.hold_output(&mut connection);
            }
            let (socket, token) = (connection.ring_socket, connection.token);
            let more = connection.output.has_more();
            if let Some(bytes) = connection.output.start_send() {
                self.engine.metrics.writes.increment();
                self.ring.send(socket, token, bytes, more);
                self.note_handed_over(&mut connection);
            } else if connection.output.is_empty() {
                connection.timeline.nothing_to_send();
            }
            let is_done = connection.output.is_empty() && !connection.is_waiting();
            if connection.state == State::Draining && is_done {
                connection.shut_down();
            }
        }
        if connection.state == State::Closing {
            return self.let_go(connection);
        }
        self.pace_upstreams(&connection);
        if let State::Blocked(Block::Moving(core)) = connection.state
            && connection.is_at_rest()
            && connection.output.is_empty()
        {
            return self.move_to(core, connection);
        }
        self.arm_receive(&mut connection);
        self.connections.put(connection);
    }

    /// Receives as long as the connection can use what comes.
    fn arm_receive(&mut self, connection: &mut Connection) {
        let (fd, token) = (connection.fd(), connection.token);
        // Of one that waits in a blocking command it must be seen that it is gone.
        let full = connection.input.len() > STALLED_INPUT_BYTES_MAX
            && !connection.is_running()
            && !connection.is_in_blocking_command();
        let moving = matches!(connection.state, State::Blocked(Block::Moving(_)));
        // Nothing runs and nothing is appended until what is missing has come.
        let wanted = connection.wanted_bytes;
        let direct = connection.is_running() && connection.input.is_direct(wanted);
        match connection.receive {
            Receive::Idle if full || moving || connection.half_closed => {}
            Receive::Idle if direct => {
                let room = connection.input.room(wanted, &mut self.spare_input);
                self.ring.receive_into(connection.ring_socket, token, room);
                connection.receive = Receive::Direct;
            }
            Receive::Idle => {
                // Before it has found its core one receive at a time, so that it can leave at once.
                if connection.placed {
                    if connection.ring_socket == Socket::Descriptor(fd) {
                        connection.ring_socket = self.ring.attach(fd, token);
                    }
                    self.ring.receive(connection.ring_socket, token);
                } else {
                    self.ring.receive_once(fd, token);
                }
                connection.receive = Receive::Armed;
            }
            // What is under way would keep it here: it brings bytes or ends, then the move goes on. And so
            // does what is to be received directly.
            Receive::Armed if full || moving || direct => {
                self.ring.cancel_receive(token);
                connection.receive = Receive::Cancelled;
            }
            Receive::Armed | Receive::Direct | Receive::Cancelled => {}
        }
    }

    fn let_go(&mut self, mut connection: Box<Connection>) {
        self.end_upstreams(&mut connection);
        if !connection.is_at_rest() {
            // The kernel still has its buffers: the completions bring it here again.
            if matches!(connection.receive, Receive::Armed | Receive::Direct) {
                self.ring.cancel_receive(connection.token);
                connection.receive = Receive::Cancelled;
            }
            self.connections.put(connection);
            return;
        }
        self.ring.detach(connection.ring_socket);
        self.node.clients.remove(connection.session.id);
        if connection.port == Port::Guest {
            self.node.forwards.leave();
        }
        if connection.session.monitor {
            self.end_monitor(connection.token);
        }
        self.abandon_transaction(&mut connection);
        self.connections.release(connection.token);
        let Connection { input, output, .. } = *connection;
        self.discard(input.into_extent());
        self.discard(output.into_extents());
    }

    fn move_to(&mut self, core: CoreId, mut connection: Box<Connection>) {
        connection.is_gated = false;
        let old = connection.token;
        self.ring.detach(connection.ring_socket);
        connection.ring_socket = Socket::Descriptor(connection.fd());
        connection.placed = true;
        connection.dirty = false;
        connection.state = State::Running;
        connection.session.info.set_core(core);
        self.engine.metrics.connections_moved_out.increment();
        self.post(core, Message::Adopt(connection));
        self.connections.release(old);
    }

    /// Takes over a connection from another core, with what it has not run yet.
    pub(super) fn adopt(&mut self, mut connection: Box<Connection>) {
        self.engine.metrics.connections_moved_in.increment();
        connection.token = self.connections.reserve();
        self.read_published();
        self.read_told();
        self.resume(&mut connection);
        self.settle(connection);
    }

    // --- limits ----------------------------------------------------------------------------------

    /// Stops running requests of a client that does not read, and closes it at its limits.
    fn check_output(&mut self, connection: &mut Connection) {
        let pending = connection.output.pending_bytes();
        self.peaks.output_bytes = self.peaks.output_bytes.max(pending);
        if pending < RECEIVE_BUFFER_BYTES {
            connection.over_soft_limit_since = None;
            return;
        }
        let limits = &self.config.client_output_buffer_limits;
        let listens = connection.session.subscriptions.is_some();
        let limit = if listens { &limits.pubsub } else { &limits.normal };
        let over = |bytes: u64| bytes > 0 && pending as u64 > bytes;
        let now = self.engine.now.mono;
        let since = if over(limit.soft_bytes) {
            *connection.over_soft_limit_since.get_or_insert(now)
        } else {
            connection.over_soft_limit_since = None;
            now
        };
        let soft = over(limit.soft_bytes) && seconds_since(since, now) >= limit.soft_s;
        if over(limit.hard_bytes) || soft {
            connection.close_at_output_limit(pending, self.engine.metrics);
        }
    }

    /// Once a second: timeouts, buffers of idle clients, what all of them hold, and whether they are
    /// where they belong.
    pub(super) fn check_clients(&mut self) {
        self.forget_tracked();
        let now = self.engine.now.mono;
        let tokens: Vec<_> = self.connections.tokens().collect();
        let tokens_len = tokens.len() as u64;
        let mut bytes = (self.spare_input.memory_bytes() + self.forwards.memory_bytes()) as u64;
        for token in tokens {
            let Some(mut connection) = self.connections.take(token) else { continue };
            let idle_s = seconds_since(connection.active_at, now);
            let timeout = u64::from(self.config.timeout_s);
            let request_timeout = u64::from(self.config.request_timeout_s);
            let session = &connection.session;
            // A guest ends with the client that it stands for.
            let hears = session.monitor
                || session.subscriptions.is_some()
                || connection.is_in_blocking_command()
                || connection.is_blocked_by(Block::Shards)
                || connection.port == Port::Guest;
            let idle = timeout > 0 && idle_s >= timeout && !hears;
            let half = request_timeout > 0 && is_too_slow(&connection, request_timeout, now);
            if idle || half {
                self.engine.metrics.timeout_closes.increment();
                connection.shut_down();
            }
            if idle_s > 0 {
                connection.output.shrink(IDLE_BUFFER_BYTES_MAX);
                connection.input.shrink();
                if let Some(binary) = &mut connection.binary {
                    binary.shrink();
                }
            }
            self.release_if_home_moved(&mut connection);
            bytes += tell_buffers(&mut connection);
            self.settle(connection);
        }
        if let Some(scratch) = &mut self.scratch {
            scratch.parser.shrink();
        }
        self.count_paused();
        let metrics = self.engine.metrics;
        metrics.client_bytes.set(bytes);
        metrics.clients.set(tokens_len);
        metrics.input_bytes_max.set(self.peaks.input_bytes as u64);
        metrics.output_bytes_max.set(self.peaks.output_bytes as u64);
        self.peaks = Peaks::default();
    }
}

/// Whether the request that a client has begun takes too long: so many seconds are granted from its first
/// byte on, and more for every byte that has come.
fn is_too_slow(connection: &Connection, granted_s: u64, now: MonoUs) -> bool {
    let Some(since) = connection.request_since.filter(|_| connection.is_running()) else {
        return false;
    };
    let earned_s = connection.input.len() as u64 / REQUEST_BYTES_PER_SECOND_MIN;
    seconds_since(since, now) >= granted_s + earned_s
}

/// Lets others see what is held for a client; answers how many bytes that is.
fn tell_buffers(connection: &mut Connection) -> u64 {
    let (reply, reply_peak) = connection.output.buffer_bytes();
    let held = connection.input.memory_bytes();
    let arguments = connection.parser.as_ref().map_or(0, |parser| parser.memory_bytes());
    let left = connection.left_bytes;
    let subscriptions = connection.session.subscriptions.as_ref();
    let subscriptions = subscriptions.map_or(0, |all| all.memory_bytes());
    let buffers = connection.buffer_bytes() + left + arguments;
    let total = buffers + subscriptions + size_of::<Connection>();
    connection.session.info.set_buffers(ClientBuffers {
        query: connection.input.len() as u64,
        query_free: held.saturating_sub(connection.input.len()) as u64,
        arguments: arguments as u64,
        reply: reply as u64,
        reply_peak: reply_peak as u64,
        output: connection.output.pending_bytes() as u64,
        transaction: connection.transaction_bytes() as u64,
        total: total as u64,
    });
    total as u64
}

fn seconds_since(since: MonoUs, now: MonoUs) -> u64 {
    now.0.saturating_sub(since.0) / 1_000_000
}
