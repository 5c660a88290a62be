//! Clients that wait in blocking commands.
//!
//! ```text
//! request ─► tokens of all its shards ─► tried once ── found: answered
//!                                           └ nothing: in the queue of each key (shard::waiting)
//!
//! change of a key ─► attend ─► serve: whoever holds the shard runs the command for its client
//!                                 ├─► served: reply to the client's core ─► it goes on
//!                                 └─► called: its core gathers more tokens and runs it (`multi`)
//! ```
//!
//! Invariants:
//!
//! * A wait is ended once, by whoever ends it first (`node::waiting`); only then is anything popped for it. A
//!   connection that is shut down has its wait ended at once, so a client that is gone is given nothing.
//! * A client is served behind the command, or the transaction, that changed the key, before anybody else can touch
//!   the shard; in the order in which clients came to wait for the key.
//! * An element that moves to a key on another shard needs that shard's token too. Its client stays the first in its
//!   queue until it has been served, and nobody behind it is served meanwhile. Whoever comes anew, and asks for the
//!   element before the tokens are together, gets it first.
//! * A connection that waits stays on its core. It takes no requests meanwhile, so there is one wait a connection.

use std::collections::HashMap;
use std::sync::Arc;

use super::attend::{News, Ran};
use super::connection::{Block, Connection, Port, State};
use super::core::Core;
use super::deadlines::Deadlines;
use super::dispatch::Flow;
use super::engine::Engine;
use super::gate::Gate;
use super::mail::Message;
use super::ring::Token;
use super::shards::Queued;
use crate::protocol::{Args, Reply};
use crate::shard::{Call, Shard, Wait};
use crate::types::{ClientId, Key, MonoUs, ShardId};

/// What the client of a command is answered whose wait `CLIENT UNBLOCK` ends with an error.
const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
/// What Redis tells clients who wait at a primary that has become a replica.
pub(super) const DEPOSED: &str = "UNBLOCKED force unblock from blocking operation, instance state changed \
                       (master -> replica?)";

/// A connection's wait.
#[derive(Debug)]
pub(crate) struct Waiting {
    number: u64,
    /// When it ends by itself, if it does.
    deadline: Option<MonoUs>,
    /// The reply then.
    at_deadline: Vec<u8>,
    /// Whether the client gets no reply at all.
    is_muted: bool,
    /// The command and its keys, unless it waits for time to pass only; and how long it has run.
    keys: Option<(Arc<Wait>, u64)>,
}

impl Waiting {
    /// Bytes of memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let keys = self.keys.as_ref().map_or(0, |(wait, _)| wait.memory_bytes());
        size_of::<Self>() + self.at_deadline.capacity() + keys
    }

    /// The number of the wait among the client's.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

/// The clients of one core that wait.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    clients: HashMap<ClientId, Token>,
    pub(super) deadlines: Deadlines,
    /// Whether shards have changed owners since the clients were last looked at.
    pub(super) has_new_owners: bool,
}

impl Blocked {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }
}

// --- serving -------------------------------------------------------------------------------------

impl Engine<'_> {
    /// Serves the clients that wait for a key, first come, first served, as long as it holds something for them.
    pub(super) fn serve(&mut self, shard: &mut Shard, key: Key<'_>) {
        let (now, slots) = (self.now.unix, self.node.slots);
        while let Some(wait) = shard.first_to_serve(key, now) {
            if !wait.is_served_on(shard.id(), slots) {
                if wait.call_core() {
                    self.news.push(News::Called(wait));
                }
                break;
            }
            if wait.end() {
                let (call, bytes, ranges) = wait.narrowed(key.bytes);
                let args = Args::new(&bytes, &ranges);
                self.run_for(wait.clone(), |engine, out| {
                    engine.run(shard, &wait.client, &call, &args, out);
                });
            }
            shard.forget(&wait);
        }
        shard.observe_waited(key, now);
        self.tell_waited(shard);
    }

    /// Serves a client whose command moves an element from one shard to another, if it is its turn; then those
    /// behind it.
    fn serve_moving(&mut self, shards: &mut [Option<&mut Shard>], wait: &Arc<Wait>) {
        let (now, slots) = (self.now.unix, self.node.slots);
        let Some(key) = wait.keys().next().map(|name| Key::new(wait.call.db, name)) else { return };
        let source = usize::from(slots.shard_of(key.slot).0);
        wait.answer_call();
        let first = shards[source].as_mut().and_then(|shard| shard.first_to_serve(key, now));
        if first.is_some_and(|first| Arc::ptr_eq(&first, wait)) && wait.end() {
            self.run_for(wait.clone(), |engine, out| {
                engine.run_over(shards, &wait.client, &wait.call, &wait.args(), out);
            });
        }
        self.attend_all(shards);
        if let Some(shard) = &mut shards[source] {
            if !wait.goes_on() {
                shard.forget(wait);
            }
            self.serve(shard, key);
            self.attend(shard);
        }
    }

    /// Runs a command for a client that is not the one being served, and leaves its reply as news.
    fn run_for(&mut self, wait: Arc<Wait>, run: impl FnOnce(&mut Self, &mut Vec<u8>)) {
        let gate = std::mem::take(&mut self.gate);
        let handover = std::mem::take(&mut self.handover);
        let mut reply = Vec::new();
        self.start_command();
        run(self, &mut reply);
        self.handover = handover;
        let gate = std::mem::replace(&mut self.gate, gate);
        self.news.push(News::Served { wait, reply, gate });
    }

    /// Takes a client out of a shard's queues. If it was the first in one and had to be waited for, it is the next
    /// one's turn.
    pub(super) fn forget_wait(&mut self, shard: &mut Shard, wait: &Arc<Wait>) {
        for key in shard.forget(wait) {
            self.serve(shard, Key::new(wait.call.db, &key));
        }
        self.tell_waited(shard);
    }

    fn tell_waited(&self, shard: &Shard) {
        self.node.shard(shard.id()).set_waited_keys(shard.waited_keys());
    }
}

impl Core<'_> {
    // --- waiting -----------------------------------------------------------------------------------

    /// Takes a request of a command that may block. If it finds nothing its connection waits.
    pub(super) fn dispatch_blocking(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
    ) -> Flow {
        let needed = match self.route_keys(connection, call.entry, args, call.slot) {
            Ok(route) => route.shards(),
            Err(error) => return self.forward_or_refuse(connection, call, args, &error),
        };
        if let Some(first) = needed.first()
            && !connection.placed
            && self.place(connection, *first) == Flow::Left
        {
            return Flow::Left;
        }
        if self.wait_for_replies(connection) == Flow::Left
            || self.hold_shards(connection, &needed) == Flow::Left
        {
            return Flow::Left;
        }
        if self.logs.is_behind && needed.iter().any(|shard| self.is_behind(connection, *shard)) {
            self.wait_for_log(connection);
            return Flow::Left;
        }
        self.show_to_monitors(connection, call, args);
        self.run_blocking(connection, call, args, &needed);
        Flow::Taken
    }

    /// Runs such a command once; all tokens are at hand.
    fn run_blocking(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
        needed: &[ShardId],
    ) {
        let is_muted = self.is_muted(connection);
        let Some(mut shards) = self.shards.all(needed) else {
            unreachable!("the tokens of {needed:?} were taken before")
        };
        let Connection { output, session, .. } = connection;
        let out = output.tail();
        let start = out.len();
        self.engine.start_command();
        let tried = self.engine.try_over(&mut shards, &session.info, call, args, out);
        self.engine.attend_to_all(&mut shards, Ran { client: &session.info, call, args });
        if tried.is_some() || is_muted {
            out.truncate(start);
        }
        let Some((wait_ms, ns)) = tried else { return };
        let number = session.info.wait.begin();
        let wait = Arc::new(Wait::new(session.info.clone(), number, call, args));
        for shard in shards.iter_mut().flatten() {
            shard.wait_for(&wait, self.node.slots, self.engine.now.unix);
            self.engine.tell_waited(shard);
        }
        let mut at_deadline = Vec::new();
        Reply::new(&mut at_deadline, call.proto).null_array();
        let keys = Some((wait, ns));
        let waiting = Waiting { number, deadline: None, at_deadline, is_muted, keys };
        self.block(connection, waiting, wait_ms);
    }

    /// Has a connection wait for time to pass before it gets the reply that is the last of its output from
    /// `start` on.
    pub(super) fn wait_for_time(
        &mut self,
        connection: &mut Connection,
        wait_ms: u64,
        start: usize,
    ) {
        let at_deadline = connection.output.tail().split_off(start);
        let number = connection.session.info.wait.begin();
        // Who is to get no reply has none here.
        let is_muted = at_deadline.is_empty();
        let waiting = Waiting { number, deadline: None, at_deadline, is_muted, keys: None };
        self.block(connection, waiting, wait_ms);
    }

    fn block(&mut self, connection: &mut Connection, mut waiting: Waiting, wait_ms: u64) {
        let id = connection.session.id;
        if wait_ms > 0 {
            let now = self.engine.now.mono;
            waiting.deadline = Some(self.blocked.deadlines.add(id, now, wait_ms));
        }
        self.blocked.clients.insert(id, connection.token);
        connection.waiting = Some(Box::new(waiting));
        connection.state = State::Blocked(Block::Waiting);
        self.count_waits();
    }

    fn count_waits(&self) {
        self.engine.metrics.clients_timed.set(self.blocked.deadlines.count() as u64);
        self.count_blocked();
    }

    // --- the end of a wait -------------------------------------------------------------------------

    /// Takes the connection of a client out of the table if it is still in the wait of this number.
    fn take_waiting(&mut self, client: ClientId, number: u64) -> Option<Box<Connection>> {
        let token = *self.blocked.clients.get(&client)?;
        let connection = self.connections.take(token)?;
        if connection.waiting.as_ref().is_some_and(|waiting| waiting.number == number) {
            return Some(connection);
        }
        self.connections.put(connection);
        None
    }

    /// A client of this core has been served. It may be gone.
    pub(super) fn served(&mut self, wait: &Wait, reply: &[u8], gate: Gate) {
        if let Some(mut connection) = self.take_waiting(wait.client.id, wait.number) {
            self.gate_connection(&mut connection, gate);
            self.go_on(connection, reply);
        }
    }

    /// A client of this core could be served if its core held all shards that it needs.
    pub(super) fn called(&mut self, wait: Arc<Wait>) {
        if let Some(token) = self.blocked.clients.get(&wait.client.id) {
            self.claim_for_wait(*token, wait);
        }
    }

    /// Serves it: all tokens are at hand.
    pub(super) fn serve_called(&mut self, wait: &Arc<Wait>, needed: &[ShardId]) {
        if let Some(mut shards) = self.shards.all(needed) {
            self.engine.serve_moving(&mut shards, wait);
        }
        self.give_back_borrowed();
        self.spread_news();
    }

    /// `CLIENT UNBLOCK` has ended the wait of a client of this core.
    pub(super) fn unblocked(&mut self, client: ClientId, number: u64, with_error: bool) {
        let Some(connection) = self.take_waiting(client, number) else { return };
        let reply = self.reply_unserved(&connection, with_error);
        self.go_on(connection, &reply);
    }

    /// Has a client's core told that its wait has been ended.
    pub(super) fn tell_unblocked(&mut self, client: ClientId, number: u64, with_error: bool) {
        if let Some(info) = self.node.clients.get(client) {
            self.post(info.core(), Message::Unblocked { client, number, with_error });
        }
    }

    /// What a client is answered that has waited in vain.
    fn reply_unserved(&mut self, connection: &Connection, with_error: bool) -> Vec<u8> {
        let Some(waiting) = &connection.waiting else { return Vec::new() };
        if let Some((wait, ns)) = &waiting.keys {
            self.engine.count_unserved(wait.call.entry.id, *ns, with_error.then_some(UNBLOCKED));
        }
        if !with_error {
            return waiting.at_deadline.clone();
        }
        let mut reply = Vec::new();
        Reply::new(&mut reply, connection.session.proto).error(UNBLOCKED);
        reply
    }

    /// Ends the waits whose time is over, and those whose keys are served elsewhere now.
    #[inline]
    pub(super) fn end_waits(&mut self) {
        if std::mem::take(&mut self.blocked.has_new_owners) {
            self.redirect_waits();
        }
        if !self.blocked.deadlines.is_empty() {
            self.end_due_waits();
        }
    }

    #[cold]
    fn end_due_waits(&mut self) {
        while let Some(client) = self.blocked.deadlines.take_due(self.engine.now.mono) {
            let token = self.blocked.clients.get(&client);
            let Some(connection) = token.and_then(|token| self.connections.take(*token)) else {
                continue;
            };
            let number = connection.waiting.as_ref().map(|waiting| waiting.number);
            // Whoever has ended it before will tell.
            if !number.is_some_and(|number| connection.session.info.wait.end(number)) {
                self.connections.put(connection);
                continue;
            }
            let reply = self.reply_unserved(&connection, false);
            self.go_on(connection, &reply);
        }
    }

    /// As in Redis Cluster, who waits on a core's own port for keys that the core serves no longer is told where they
    /// are. Elsewhere it goes on waiting: it is served wherever the shard is, unless that is on another node.
    #[cold]
    fn redirect_waits(&mut self) {
        if !self.config.cluster_enabled && !self.is_in_cluster() {
            return;
        }
        let tokens: Vec<Token> = self.blocked.clients.values().copied().collect();
        for token in tokens {
            let Some(connection) = self.connections.take(token) else { continue };
            match self.redirection(&connection) {
                None => self.connections.put(connection),
                Some(reply) => self.go_on(connection, &reply),
            }
        }
    }

    /// What a connection is answered whose wait ends because its keys have moved; none if it goes on.
    fn redirection(&self, connection: &Connection) -> Option<Vec<u8>> {
        let (wait, ns) = connection.waiting.as_ref()?.keys.as_ref()?;
        let shards = wait.all_shards(self.node.slots);
        let is_deposed = shards.iter().any(|shard| !self.serves(*shard));
        let has_moved = self.config.cluster_enabled
            && connection.port == Port::Core
            && shards.iter().any(|shard| !self.is_owner(*shard));
        if !(is_deposed || has_moved) || !wait.end() {
            return None;
        }
        let error = match is_deposed {
            true => DEPOSED.to_owned(),
            false => self.moved(connection, wait.call.slot).to_string(),
        };
        self.engine.count_unserved(wait.call.entry.id, *ns, Some(&error));
        let mut reply = Vec::new();
        Reply::new(&mut reply, wait.call.proto).error(&error);
        Some(reply)
    }

    /// Has the core wake up for the next deadline if it comes before the next tick.
    #[inline]
    pub(super) fn set_alarm(&mut self) {
        if let Some(us) = self.blocked.deadlines.take_alarm_us(self.engine.now.mono) {
            self.ring.alarm(us);
        }
    }

    /// Lets a connection go on whose wait is over, with its reply.
    fn go_on(&mut self, mut connection: Box<Connection>, reply: &[u8]) {
        let is_muted = connection.waiting.as_ref().is_some_and(|waiting| waiting.is_muted);
        self.leave_queues(&mut connection);
        if connection.is_blocked_by(Block::Waiting) {
            if !is_muted {
                connection.output.tail().extend_from_slice(reply);
            }
            connection.state = State::Running;
            // The client may take its time with a request that it began meanwhile.
            connection.request_since =
                connection.request_since.is_some().then_some(self.engine.now.mono);
            self.resume(&mut connection);
        }
        self.settle(connection);
    }

    /// Ends the wait of a connection that takes no more requests.
    #[inline]
    pub(super) fn abandon_wait(&mut self, connection: &mut Connection) {
        if connection.waiting.is_some() {
            connection.end_wait();
            self.leave_queues(connection);
        }
    }

    /// Forgets a connection's wait, which is over. Shards whose tokens are not at hand are told by whoever holds them.
    fn leave_queues(&mut self, connection: &mut Connection) {
        let Some(waiting) = connection.waiting.take() else { return };
        let id = connection.session.id;
        self.blocked.clients.remove(&id);
        if let Some(deadline) = waiting.deadline {
            self.blocked.deadlines.remove(id, deadline);
        }
        self.count_waits();
        let Some((wait, _)) = waiting.keys else { return };
        for id in wait.waited_shards(self.node.slots) {
            if let Some(shard) = self.shards.held(id) {
                self.engine.forget_wait(shard, &wait);
            } else {
                self.leave_in_queue(id, Queued::Unwait(wait.clone()));
            }
        }
        self.spread_news();
    }
}
