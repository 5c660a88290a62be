//! Transactions: what is queued after `MULTI`, and how `EXEC` runs it in one go.
//!
//! ```text
//! MULTI ─► queue ─► queue ─► EXEC ── tokens of all shards of the queue and of the watched keys
//!            │ refused                 │
//!            └► EXECABORT              ├─ a watched key has changed: nothing is run
//!                                      └─ else one command after another, all tokens held
//! ```
//!
//! A request that needs several tokens and does not find them all stays in its connection's input while
//! they are gathered (`multi`), and is dispatched again with all of them at hand. So there is one way
//! to run it. Nothing that the queue holds is looked at before it runs but what a refusal depends on.

mod queue;
mod watch;

pub(crate) use queue::Queue;
pub(crate) use watch::Unwatched;

use super::attend::Ran;
use super::connection::{Connection, State};
use super::core::Core;
use super::dispatch::{CROSS_SLOT, Flow, Route, call};
use super::window::Request;
use crate::command::table::Entry;
use crate::command::transactions::{EXEC_ABORT, NOT_IN_TRANSACTION};
use crate::command::{Error, Flags, Group};
use crate::limits::{SPARE_QUEUE_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_COMMANDS_MAX};
use crate::protocol::{Args, Reply};
use crate::shard::{Admission, Call};
use crate::types::{ShardId, Slot};

/// The text of a transaction that is longer than it may be.
const TOO_LONG: Error = Error::Static("ERR the transaction is too long");

fn is_exec(entry: &Entry) -> bool {
    entry.command.group == Group::Transactions && entry.full_name == "exec"
}

/// Whether a command is run at once even in a transaction.
fn is_never_queued(entry: &Entry) -> bool {
    let (group, name) = (entry.command.group, entry.full_name);
    (group == Group::Transactions && name != "unwatch")
        || (group == Group::Connection && matches!(name, "quit" | "reset"))
}

// --- requests ------------------------------------------------------------------------------------

impl Core<'_> {
    /// Whether a request is one of a transaction, or is about one.
    #[inline]
    pub(super) fn is_transactional(connection: &Connection, entry: &Entry) -> bool {
        connection.session.transaction.is_open || entry.command.group == Group::Transactions
    }

    /// Takes such a request.
    pub(super) fn dispatch_transaction(
        &mut self,
        connection: &mut Connection,
        (request, entry): (&Request, &'static Entry),
        args: &Args<'_>,
    ) -> Flow {
        let is_open = connection.session.transaction.is_open;
        if is_open && !is_never_queued(entry) {
            return self.queue(connection, (request, entry), args);
        }
        let call = call(&connection.session, entry, request.slot);
        match entry.full_name {
            "exec" if is_open => self.exec(connection, &call, args),
            "watch" if !is_open => self.watch(connection, &call, args),
            _ => self.run_session(connection, &call, args),
        }
    }

    /// What `EXEC` is besides what its row says: what the commands are that it runs.
    pub(super) fn flags_to_run(connection: &Connection, entry: &Entry) -> Flags {
        let queued = connection.queue.as_ref().filter(|_| is_exec(entry));
        entry.command.flags | queued.map_or(Flags::empty(), |queue| queue.flags)
    }

    /// A request is refused. In a transaction that ends in a refusal of `EXEC`, or is one: answers what
    /// takes the place of the error then.
    pub(super) fn note_refusal(
        &mut self,
        connection: &mut Connection,
        entry: Option<&Entry>,
        error: &Error,
    ) -> Option<Error> {
        if entry.is_some_and(is_exec) {
            self.end_transaction(connection);
            let text = error.to_string();
            let reason = text.strip_prefix("ERR ").unwrap_or(&text);
            return Some(Error::Text(format!(
                "EXECABORT Transaction discarded because of: {reason}"
            )));
        }
        let transaction = &mut connection.session.transaction;
        transaction.is_refused |= transaction.is_open;
        None
    }

    /// Queues a command, unless it is to be refused.
    fn queue(
        &mut self,
        connection: &mut Connection,
        (request, entry): (&Request, &'static Entry),
        args: &Args<'_>,
    ) -> Flow {
        let (slot, refused) = (request.slot, connection.session.transaction.is_refused);
        if entry.command.flags.contains(Flags::NO_MULTI) {
            return self.refuse(connection, Some(entry), &NOT_IN_TRANSACTION);
        }
        let is_to_route = self.config.cluster_enabled || self.is_in_cluster();
        if is_to_route || !connection.placed || self.config.maxmemory_bytes > 0 {
            let route = self.route(connection, &call(&connection.session, entry, slot), args);
            let (shard, is_elsewhere) = match route {
                Err(error) if self.would_forward(connection, (entry, slot), &error) => (None, true),
                Err(error) => return self.refuse(connection, Some(entry), &error),
                Ok(route) => (route.first(), false),
            };
            if let Some(shard) = shard
                && !connection.placed
                && self.place(connection, shard) == Flow::Left
            {
                return Flow::Left;
            }
            // Whoever leads its keys looks at his own memory.
            if !is_elsewhere && self.is_out_of_memory(connection, shard) {
                return self.refuse(connection, Some(entry), &Error::OutOfMemory);
            }
        }
        // What won't run need not be kept.
        if !refused && !connection.session.info.transaction.is_touched() {
            let spare = &mut self.spare_queue;
            let queue = connection.queue.get_or_insert_with(|| spare.take().unwrap_or_default());
            let bytes = queue.arguments_bytes() + args.from(0).map(<[u8]>::len).sum::<usize>();
            if queue.commands.len() == TRANSACTION_COMMANDS_MAX || bytes > TRANSACTION_BYTES_MAX {
                return self.refuse(connection, Some(entry), &TOO_LONG);
            }
            match &self.engine.handover.request {
                Some(request) if args.lie_in(request.written()) => {
                    let start =
                        args.bytes().as_ptr() as usize - request.written().as_ptr() as usize;
                    queue.push_long((entry, slot), args, (request.clone(), start));
                }
                _ => queue.push(entry, slot, args),
            }
            connection.session.info.transaction.set_queued(Some(queue.commands.len()));
        }
        if !self.is_muted(connection) {
            let proto = connection.session.proto;
            Reply::new(connection.output.tail(), proto).simple("QUEUED");
        }
        Flow::Taken
    }

    /// Whether a command can't be queued for lack of memory: its shard's, or, if it names no key, the first.
    fn is_out_of_memory(&mut self, connection: &Connection, shard: Option<ShardId>) -> bool {
        let shard = shard.unwrap_or(ShardId(0));
        if self.config.maxmemory_bytes == 0 || connection.has_outstanding(shard) {
            return false;
        }
        let Some(shard) = self.shards.borrow(shard) else { return false };
        self.engine.widen_room(Flags::DENYOOM, shard);
        shard.refuses_writes()
    }

    /// Ends a transaction, and the watch that it would have ended.
    pub(super) fn end_transaction(&mut self, connection: &mut Connection) {
        let transaction = &mut connection.session.transaction;
        (transaction.is_open, transaction.is_refused) = (false, false);
        connection.session.info.transaction.set_queued(None);
        if let Some(queue) = connection.queue.take() {
            self.keep_queue(queue);
        }
        self.unwatch(connection);
    }

    /// Keeps the memory of a queue for the next, unless it is much.
    fn keep_queue(&mut self, mut queue: Box<Queue>) {
        queue.clear();
        if queue.memory_bytes() <= SPARE_QUEUE_BYTES_MAX {
            self.spare_queue = Some(queue);
        }
    }

    // --- EXEC ------------------------------------------------------------------------------------

    /// Runs a transaction, once it has all that it needs.
    fn exec(&mut self, connection: &mut Connection, call: &Call, args: &Args<'_>) -> Flow {
        self.engine.start_command();
        let since = self.engine.mark();
        if connection.session.transaction.is_refused {
            return self.end_exec((connection, call), args, since, Err(EXEC_ABORT));
        }
        if self.is_in_cluster()
            && let Some(flow) = self.forward_exec(connection, call)
        {
            return flow;
        }
        let needed = match self.shards_of_transaction(connection) {
            Ok(needed) => needed,
            Err(error) => {
                self.end_transaction(connection);
                return self.reject(connection, Some(call.entry), &error);
            }
        };
        if self.is_to_wait(connection, &needed) {
            return Flow::Left;
        }
        // From here on no shard is served by another node without its token's holder knowing.
        if self.is_in_cluster()
            && let Err(error) = self.shards_of_transaction(connection)
        {
            self.end_transaction(connection);
            return self.reject(connection, Some(call.entry), &error);
        }
        if self.has_changed(connection) {
            if !self.is_muted(connection) {
                Reply::new(connection.output.tail(), call.proto).null_array();
            }
            return self.end_exec((connection, call), args, since, Ok(()));
        }
        if let Err(error) = self.admit_transaction(connection, &needed) {
            return self.refuse(connection, Some(call.entry), &error);
        }
        let muted = self.is_muted(connection);
        self.unwatch(connection);
        for shard in self.run_queue(connection, call, &needed, muted) {
            if let Some(shard) = self.shards.held(shard) {
                self.engine.attend(shard);
            }
        }
        self.end_exec((connection, call), args, since, Ok(()))
    }

    /// Notes the end of `EXEC`, and of the transaction.
    fn end_exec(
        &mut self,
        (connection, call): (&mut Connection, &Call),
        args: &Args<'_>,
        since: u64,
        result: Result<(), Error>,
    ) -> Flow {
        let muted = result.is_err() && self.is_muted(connection);
        self.end_transaction(connection);
        let Connection { output, session, .. } = connection;
        let out = output.tail();
        let start = out.len();
        self.engine.finish_exec(call, &session.info, args, result, (since, out));
        if muted {
            output.tail().truncate(start);
        }
        self.show_to_monitors(connection, call, args);
        Flow::Taken
    }

    /// The shards of all queued commands and of all watched keys, in order.
    ///
    /// # Errors
    /// When a command can't be run here, or, in a cluster, not together with the others.
    fn shards_of_transaction(&self, connection: &Connection) -> Result<Vec<ShardId>, Error> {
        let mut needed: Vec<ShardId> =
            connection.session.transaction.watches.keys().copied().collect();
        if let Some(shard) = needed.iter().find(|shard| !self.serves(**shard)) {
            return Err(self.served_elsewhere(Slot(self.node.slots.slots_of(*shard).start)));
        }
        let Some(queue) = &connection.queue else { return Ok(needed) };
        let is_for_all = |name| matches!(name, "client|tracking" | "client|pause");
        if queue.commands.iter().any(|command| is_for_all(command.entry.full_name)) {
            needed.extend(self.all_shards());
        }
        let mut slot = None;
        for command in &queue.commands {
            let call = call(&connection.session, command.entry, command.slot);
            let args = queue.args(command);
            let route = self.route(connection, &call, &args)?;
            if self.config.cluster_enabled
                && command.entry.names_key(&args)
                && *slot.get_or_insert(command.slot) != command.slot
            {
                return Err(CROSS_SLOT);
            }
            match route {
                Route::None => {}
                Route::One(shard) => needed.push(shard),
                Route::Many(shards) => needed.extend(shards),
            }
        }
        needed.sort_unstable();
        needed.dedup();
        Ok(needed)
    }

    /// Whether a transaction has to wait: for its tokens, for the disk, or for memory.
    fn is_to_wait(&mut self, connection: &mut Connection, needed: &[ShardId]) -> bool {
        let queue = connection.queue.as_ref();
        let flags = queue.map_or(Flags::empty(), |queue| queue.flags);
        let bytes = queue.map_or(0, |queue| queue.arguments_bytes());
        // A command on the session sees the effects of all that came before it.
        let has_session = queue.is_some_and(|queue| queue.has_session);
        if has_session && self.wait_for_replies(connection) == Flow::Left {
            return true;
        }
        if self.hold_teller(connection, flags) == Flow::Left
            || self.hold_shards(connection, needed) == Flow::Left
        {
            return true;
        }
        let writes = flags.contains(Flags::WRITE);
        if self.logs.is_behind
            && writes
            && needed.iter().any(|shard| self.is_behind(connection, *shard))
        {
            self.wait_for_log(connection);
            return true;
        }
        match needed {
            [shard] if self.config.maxmemory_bytes > 0 && flags.contains(Flags::DENYOOM) => {
                self.must_wait(connection, (flags, bytes), *shard)
            }
            _ => false,
        }
    }

    /// Whether all of a transaction may run: there is memory, and logs to write to. Once it has begun
    /// nothing of it is refused for these.
    fn admit_transaction(
        &mut self,
        connection: &Connection,
        needed: &[ShardId],
    ) -> Result<(), Error> {
        let Some(queue) = &connection.queue else { return Ok(()) };
        // One shard has been asked already whether it must wait.
        let bytes = if needed.len() < 2 { 0 } else { queue.arguments_bytes() / needed.len() };
        let (now, durability) = (self.engine.now, connection.session.durability);
        needed.iter().try_for_each(|shard| match self.shards.held(*shard) {
            Some(shard) => {
                self.engine.widen_room(queue.flags, shard);
                shard.admit_transaction(queue.flags, bytes, durability, now)
            }
            None => Ok(()),
        })
    }

    /// Runs the commands of a transaction. Answers the shards on which somebody is to be told of it, in the order in
    /// which they were changed: so it is the first of its keys that serves a client which waits for several.
    fn run_queue(
        &mut self,
        connection: &mut Connection,
        exec: &Call,
        needed: &[ShardId],
        muted: bool,
    ) -> Vec<ShardId> {
        let mut noted = Vec::new();
        let queue = connection.queue.take().unwrap_or_default();
        if !muted {
            Reply::new(connection.output.tail(), exec.proto).array(queue.commands.len());
        }
        let request = self.engine.handover.request.take();
        connection.session.transaction.is_open = false;
        connection.session.transaction.is_running = true;
        for command in &queue.commands {
            self.engine.handover.request = command.request.as_ref().map(|(of, _)| of.clone());
            self.run_queued(connection, (command.entry, command.slot), &queue.args(command), muted);
            for id in needed {
                let shard = self.shards.held(*id);
                let has_notes = shard.is_some_and(|shard| shard.keyspace().has_news());
                if has_notes && !noted.contains(id) {
                    noted.push(*id);
                }
            }
        }
        connection.session.transaction.is_running = false;
        self.engine.handover.request = request;
        self.keep_queue(queue);
        self.give_missed(connection);
        noted
    }

    /// Runs one command of a transaction; the tokens of its shards are at hand.
    fn run_queued(
        &mut self,
        connection: &mut Connection,
        (entry, slot): (&'static Entry, Slot),
        args: &Args<'_>,
        all_muted: bool,
    ) {
        let admission = Admission::Granted;
        let call = Call { admission, ..call(&connection.session, entry, slot) };
        let route = match self.route(connection, &call, args) {
            Ok(route) => route,
            Err(error) => {
                self.reject(connection, Some(entry), &error);
                return;
            }
        };
        let start = connection.output.tail().len();
        if matches!(route, Route::None) {
            self.run_session(connection, &call, args);
            if all_muted && !entry.command.flags.contains(Flags::PUSHES) {
                connection.output.tail().truncate(start);
            }
            return;
        }
        self.show_to_monitors(connection, &call, args);
        let muted = all_muted || self.is_muted(connection);
        let Connection { output, session, .. } = connection;
        let out = output.tail();
        let start = out.len();
        match route {
            Route::None => {}
            Route::One(id) => match self.shards.held(id) {
                Some(shard) => {
                    let ran = Ran { client: &session.info, call: &call, args };
                    self.engine.run(shard, &session.info, &call, args, out);
                    self.engine.note_within(shard, ran);
                }
                None => unreachable!("the token of {id:?} was taken before"),
            },
            Route::Many(needed) => match self.shards.all(&needed) {
                Some(mut shards) => {
                    let ran = Ran { client: &session.info, call: &call, args };
                    self.engine.run_over(&mut shards, &session.info, &call, args, out);
                    self.engine.note_within_all(&mut shards, ran);
                }
                None => unreachable!("the tokens of {needed:?} were taken before"),
            },
        }
        match self.engine.handover.reply.take() {
            _ if muted => out.truncate(start),
            Some(value) => output.push_value(value),
            None => {}
        }
    }

    /// Lets what a connection has begun and can't end any more be forgotten: it is about to go.
    pub(super) fn abandon_transaction(&mut self, connection: &mut Connection) {
        debug_assert_eq!(connection.state, State::Closing);
        self.end_transaction(connection);
    }
}
