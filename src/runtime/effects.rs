//! Session commands, and what they make the core do: kill clients, pause, monitor, publish, stop.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::connection::{Connection, State};
use super::core::Core;
use super::dispatch::Flow;
use super::mail::Message;
use super::multi::Gathered;
use super::ring::Token;
use crate::command::binary::{Answer, Failure};
use crate::command::session::ReplyMode;
use crate::command::{Action, Flags, Group, Handler, SessionCx, redact};
use crate::limits::MONITOR_OUTPUT_BYTES_MAX;
use crate::protocol::{Args, Reply};
use crate::shard::Call;
use crate::types::ClientId;

impl Core<'_> {
    /// Runs a command on the session or the server. It sees the effects of all that came before it.
    pub(super) fn run_session(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
    ) -> Flow {
        let entry = call.entry;
        if self.wait_for_replies(connection) == Flow::Left {
            return Flow::Left;
        }
        // Both say, or rely on, how far the connection's writes have come.
        if matches!(entry.full_name, "client|token" | "readonly") {
            match self.gather_tokens(connection) {
                Ok(Flow::Left) => return Flow::Left,
                Ok(Flow::Taken) => {}
                Err(error) => return self.reject(connection, Some(entry), &error),
            }
        }
        if self.is_in_cluster() {
            self.note_session_command(connection, entry);
        }
        if entry.full_name == "client|token" {
            self.gate_so_far(connection);
        }
        // Nothing waits inside a transaction.
        if !connection.session.transaction.is_running
            && self.hold_publisher(connection, entry) == Flow::Left
        {
            return Flow::Left;
        }
        if entry.command.flags.contains(Flags::LOADING)
            && entry.command.group != Group::Transactions
        {
            self.publish_held();
        }
        let Handler::Session(handler) = entry.command.handler else {
            unreachable!("a container is resolved to its subcommand: {}", entry.full_name)
        };
        if connection.session.reply_mode == ReplyMode::SkipNext {
            connection.session.reply_mode = ReplyMode::Skip;
        }
        let mut actions = Vec::new();
        let session = &mut connection.session;
        let client = session.info.clone();
        let out = connection.output.tail();
        let start = out.len();
        let mut cx = SessionCx {
            now: self.engine.now,
            core: self.id,
            session,
            node: self.node,
            actions: &mut actions,
        };
        let result = handler(&mut cx, args, &mut Reply::new(out, call.proto));
        if result.is_err() {
            out.truncate(start);
        }
        let token = connection.token;
        actions.iter().for_each(|action| self.perform_within(token, action));
        // Whoever pauses counts on it that what was begun before is done. Nothing waits inside a transaction, which holds
        // all shards instead.
        let is_late = entry.full_name == "client|pause"
            && result.is_ok()
            && !connection.session.transaction.is_running;
        let out = connection.output.tail();
        let head = match &call.native {
            None => {
                self.engine.finish(call, &client, args, result, out);
                None
            }
            Some(native) => {
                let result = result.map(|()| Answer::DONE).map_err(Failure::from);
                let (call, out) = ((call, native), (start, out));
                Some(self.engine.finish_native(call, &client, args, result, out))
            }
        };
        if let Some(head) = head.filter(|_| !is_late)
            && let Some(binary) = &mut connection.binary
        {
            binary.push(connection.output.tail(), head, self.engine.owners.epoch());
        }
        let reply_mode = connection.session.reply_mode;
        if reply_mode != ReplyMode::On && !entry.command.flags.contains(Flags::PUSHES) {
            connection.output.tail().truncate(start);
        }
        if reply_mode == ReplyMode::Skip {
            connection.session.reply_mode = ReplyMode::On;
        }
        for action in actions {
            match action {
                // Nothing waits inside a transaction.
                Action::Wait(_) if connection.session.transaction.is_running => {}
                Action::AwaitReplicas(..) if connection.session.transaction.is_running => {}
                Action::AwaitReplicas(..) if call.native.is_some() => {}
                Action::AwaitReplicas(wanted, wait_ms) => {
                    // It is answered later.
                    connection.output.tail().truncate(start);
                    self.wait_for_replicas(connection, wanted, wait_ms);
                }
                Action::Wait(_) if call.native.is_some() => {}
                Action::Wait(wait_ms) => self.wait_for_time(connection, wait_ms, start),
                action => self.perform(connection, action),
            }
        }
        self.show_to_monitors(connection, call, args);
        if is_late {
            let reply = connection.output.tail().split_off(start);
            self.answer_behind_all(connection, Gathered::answer(head, reply));
        }
        Flow::Taken
    }

    /// Performs what belongs to the command itself: the time it takes counts as the command's, and by
    /// the configuration that it sets it is judged.
    fn perform_within(&mut self, token: Token, action: &Action) {
        match action {
            Action::Sleep(duration) => std::thread::sleep(*duration),
            Action::ConfigChanged => {
                self.load_config();
                self.update_foreign_room();
            }
            Action::Listen(kind, name) => self.pubsub.add(*kind, name.clone(), token),
            Action::Leave(kind, name) => self.pubsub.remove(*kind, name, token),
            Action::Publish(published) => {
                // What came before is heard of before.
                self.spread_news();
                self.publish_message(published);
                if published.is_for_other_nodes {
                    self.tell_nodes_of(&published.message);
                }
            }
            Action::CloseAfterReply
            | Action::Kill(_)
            | Action::Shutdown
            | Action::AwaitSnapshots
            | Action::AwaitDurability(_)
            | Action::AwaitReplicas(..)
            | Action::Wait(_)
            | Action::Unblock(..)
            | Action::Monitor
            | Action::EndMonitor
            | Action::Watch
            | Action::Unwatch
            | Action::EndTransaction
            | Action::OwnersChanged
            | Action::Track(_)
            | Action::EndTracking(_)
            | Action::PauseChanged => {}
        }
    }

    fn perform(&mut self, connection: &mut Connection, action: Action) {
        match action {
            Action::CloseAfterReply => connection.state = State::Draining,
            Action::Kill(clients) => self.kill_everywhere(&clients),
            Action::Sleep(_) | Action::Leave(..) => {}
            Action::Listen(..) => connection.placed = true,
            Action::Publish(published) => {
                // Each core has its own links, and only what goes by one link keeps its order: it stays for good.
                if published.is_for_other_nodes {
                    (connection.placed, connection.home) = (true, None);
                }
                // In a transaction, behind the reply to all of it.
                if !connection.session.transaction.is_running {
                    self.give_missed(connection);
                }
            }
            Action::Shutdown => self.ask_to_stop(),
            // Nothing waits inside a transaction.
            Action::AwaitSnapshots | Action::AwaitDurability(_)
                if connection.session.transaction.is_running =>
            {
                let proto = connection.session.proto;
                Reply::new(connection.output.tail(), proto).ok();
            }
            Action::Wait(_) => {}
            Action::Unblock(client, number, with_error) => {
                self.tell_unblocked(client, number, with_error);
            }
            Action::AwaitSnapshots => self.wait_for_snapshots(connection),
            Action::AwaitReplicas(..) => {}
            Action::AwaitDurability(asked) => self.wait_for_durability(connection, asked),
            Action::Watch => self.register_watches(connection),
            Action::Unwatch => self.unwatch(connection),
            Action::EndTransaction => self.end_transaction(connection),
            Action::Track(prefixes) => self.begin_tracking(connection, &prefixes),
            Action::EndTracking(observer) => self.forget_prefixes(observer),
            Action::Monitor => {
                connection.placed = true;
                connection.session.monitor = true;
                if !self.monitors.contains(&connection.token) {
                    self.monitors.push(connection.token);
                    self.node.monitors.fetch_add(1, Ordering::Relaxed);
                }
            }
            Action::EndMonitor => {
                connection.session.monitor = false;
                self.end_monitor(connection.token);
            }
            Action::ConfigChanged | Action::OwnersChanged => {
                self.broadcast(|| Message::Refresh);
            }
            Action::PauseChanged => {
                self.refresh();
                self.broadcast(|| Message::Refresh);
            }
        }
    }

    /// Asks the server to stop all cores.
    pub(crate) fn ask_to_stop(&self) {
        // The server waits for the first word only.
        let _ = self.stop.try_send(());
    }

    fn kill_everywhere(&mut self, clients: &[ClientId]) {
        self.kill(clients);
        let clients: Arc<[ClientId]> = clients.into();
        self.broadcast(|| Message::Kill(clients.clone()));
    }

    // --- MONITOR ---------------------------------------------------------------------------------

    /// A client of this core no longer monitors.
    pub(super) fn end_monitor(&mut self, token: Token) {
        let before = self.monitors.len();
        self.monitors.retain(|monitor| *monitor != token);
        if self.monitors.len() < before {
            self.node.monitors.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Shows a command to every client that monitors, wherever it is.
    #[inline]
    pub(super) fn show_to_monitors(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
    ) {
        if self.is_monitored() {
            self.tell_monitors(connection, call, args);
        }
    }

    /// Whether any client monitors.
    pub(super) fn is_monitored(&self) -> bool {
        self.node.monitors.load(Ordering::Relaxed) > 0
    }

    #[cold]
    fn tell_monitors(&mut self, connection: &mut Connection, call: &Call, args: &Args<'_>) {
        if call.entry.command.flags.intersects(Flags::SKIP_MONITOR | Flags::ADMIN) {
            return;
        }
        let line: Arc<[u8]> = self.monitor_line(connection, call, args).into_bytes().into();
        self.show_monitors(&line);
        if connection.session.monitor {
            // It is not among the others while its own command runs.
            connection.output.tail().extend_from_slice(&line);
            self.bound_monitor(connection);
        }
        self.broadcast(|| Message::Monitored(line.clone()));
    }

    /// Appends a line to the output of this core's monitoring clients.
    pub(super) fn show_monitors(&mut self, line: &[u8]) {
        for index in 0..self.monitors.len() {
            let token = self.monitors[index];
            if let Some(mut connection) = self.connections.take(token) {
                if connection.state != State::Closing {
                    connection.output.tail().extend_from_slice(line);
                    self.bound_monitor(&mut connection);
                    self.mark_dirty(&mut connection);
                }
                self.connections.put(connection);
            }
        }
    }

    /// Closes a monitoring client that does not read: the server can't wait for it.
    fn bound_monitor(&self, connection: &mut Connection) {
        let pending = connection.output.pending_bytes();
        if pending <= MONITOR_OUTPUT_BYTES_MAX {
            return;
        }
        self.engine.metrics.output_limit_closes.increment();
        tracing::warn!(
            client = connection.session.id.0,
            pending,
            "closing a client in MONITOR mode that does not read"
        );
        connection.shut_down();
    }

    fn monitor_line(&self, connection: &Connection, call: &Call, args: &Args<'_>) -> String {
        let now_us = self.engine.now.unix_us;
        let (seconds, micros) = (now_us / 1_000_000, now_us % 1_000_000);
        let (db, addr) = (connection.session.db.0, connection.session.info.addr);
        let mut line = format!("+{seconds}.{micros:06} [{db} {addr}]");
        for arg in redact::shown(call.entry, args, call.is_operation()) {
            line.push_str(" \"");
            for &byte in arg {
                match byte {
                    b'"' | b'\\' => {
                        line.push('\\');
                        line.push(char::from(byte));
                    }
                    b'\n' => line.push_str("\\n"),
                    b'\r' => line.push_str("\\r"),
                    b'\t' => line.push_str("\\t"),
                    0x07 => line.push_str("\\a"),
                    0x08 => line.push_str("\\b"),
                    b' '..=b'~' => line.push(char::from(byte)),
                    // Writing to a string does not fail.
                    _ => drop(write!(line, "\\x{byte:02x}")),
                }
            }
            line.push('"');
        }
        line.push_str("\r\n");
        line
    }
}
