//! One core: the loop that turns completions into commands and replies into sends.
//!
//! ```text
//! turn:  enter the kernel ─► take all tokens, if alone ─► yielded ─► completions ─► mail
//!                ▲                                                                    │
//!                └── send, count ◄── give tokens back, serving who waited ◄── maintenance
//! ```
//!
//! Everything here belongs to the core's thread. What other cores may touch is in the shard cells and
//! the mailboxes.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::away::Away;
use super::blocking::Blocked;
use super::connection::{Block, Connection, State};
use super::engine::Engine;
use super::forward::Forwards;
use super::input::SpareInput;
use super::links::{LinkOptions, Links};
use super::listener::Listener;
use super::log_files::LogFiles;
use super::log_life::Recovering;
use super::logger::Logs;
use super::mail::{Mail, Message, Peer};
use super::multi::Multi;
use super::pubsub::PubSub;
use super::replicas::Replicas;
use super::ring::{Completion, Op, Ring, Token};
use super::room::Budget;
use super::shards::{ShardCell, Shards};
use super::stages::Stages;
use super::steps::Stepping;
use super::table::Connections;
use super::tracking::Tracked;
use super::transaction::Queue;
use super::window::Scratch;
use crate::cache::{Extent, PREFETCH_KEYS_MAX};
use crate::command::table::Table;
use crate::config::Config;
use crate::limits::DISCARD_BYTES_MAX;
use crate::metrics::Step;
use crate::node::{ClientFlags, Node};
use crate::types::{ClientId, CoreId, ShardId};

/// What a core is started with.
pub(crate) struct CoreParts<'a> {
    /// Which core.
    pub(crate) id: CoreId,
    /// What all cores share.
    pub(crate) node: &'a Node,
    /// All mailboxes.
    pub(crate) peers: &'a Arc<Vec<Peer>>,
    /// The files of the shards' logs.
    pub(crate) log_files: Arc<LogFiles>,
    /// Shards of this core whose logs are to be read.
    pub(crate) recovering: Vec<Recovering>,
    /// All shards.
    pub(crate) cells: &'a [ShardCell],
    /// The sockets this core accepts on.
    pub(crate) listeners: Vec<Listener>,
    /// On a node of a cluster: what links are made with, and the sockets this core accepts them on.
    pub(crate) links: Option<(Arc<LinkOptions>, Vec<TcpListener>)>,
    /// Tells the server that a client asked it to stop.
    pub(crate) stop: flume::Sender<()>,
    /// The clock all cores read.
    pub(crate) clock: quanta::Clock,
    /// When the server started, in raw ticks of `clock`.
    pub(crate) started: u64,
}

/// The most that a client of this core had waiting, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peaks {
    /// Of requests.
    pub(super) input_bytes: usize,
    /// Of replies.
    pub(super) output_bytes: usize,
}

/// One core.
pub(crate) struct Core<'a> {
    pub(super) id: CoreId,
    pub(super) node: &'a Node,
    pub(super) table: &'static Table,
    pub(super) ring: Ring,
    pub(super) engine: Engine<'a>,
    pub(super) shards: Shards<'a>,
    pub(super) mail: Mail<'a>,
    pub(super) connections: Connections,
    pub(super) listeners: Vec<Listener>,
    pub(super) multis: Vec<Multi<'a>>,
    /// Commands that are run in steps.
    pub(super) stepping: Vec<Stepping<'a>>,
    pub(super) last_claim: u64,
    /// The configuration as of `config_generation`.
    pub(super) config: Arc<Config>,
    pub(super) config_generation: u64,
    /// Connections that have output to send.
    pub(super) dirty: Vec<Token>,
    /// Connections that go on at the next turn.
    pub(super) yielding: Vec<Token>,
    /// Listeners that could not accept: tried again at the next tick.
    pub(super) resting_listeners: Vec<usize>,
    /// Links with other nodes; none where there is no cluster.
    pub(super) links: Option<Box<Links>>,
    /// What carries commands of clients of this core to other nodes.
    pub(super) forwards: Forwards,
    /// Connections that `CLIENT PAUSE` holds back.
    pub(super) paused: Vec<Token>,
    /// Clients of this core that wait in blocking commands.
    pub(super) blocked: Blocked,
    /// Where the time of requests goes.
    pub(super) stages: Stages,
    /// The longest unfinished request, and the longest unsent output, since clients were last looked at.
    pub(super) peaks: Peaks,
    /// Clients of this core in `MONITOR` mode.
    pub(super) monitors: Vec<Token>,
    /// Clients of this core that listen to channels, and messages for them and others.
    pub(super) pubsub: PubSub,
    /// Clients of this core that are told of keys that change, and messages for them and others.
    pub(super) tracked: Tracked,
    pub(super) stop: flume::Sender<()>,
    pub(super) peers: &'a Arc<Vec<Peer>>,
    /// The shards' logs.
    pub(super) logs: Logs,
    /// Their replication.
    pub(super) replicas: Replicas,
    /// Whether data is being recovered, as of the beginning of this turn.
    pub(super) is_loading: bool,
    /// Batches being gathered for shards whose token was refused, one a shard.
    #[expect(clippy::vec_box, reason = "a batch travels from core to core in its box")]
    pub(super) leaving: Vec<Box<super::batch::Batch>>,
    /// What requests are parsed with; taken while they run.
    pub(super) scratch: Option<Box<Scratch>>,
    /// Own shards with maintenance to do now rather than at the next tick.
    pub(super) maintaining: Vec<ShardId>,
    /// Shards that this core has something to do for and whose tokens are not free.
    pub(super) away: Away,
    /// Memory for the next transaction.
    pub(super) spare_queue: Option<Box<Queue>>,
    /// What long requests are received into.
    pub(super) spare_input: SpareInput,
    /// Memory of long requests and replies, given back a piece a turn.
    discarded: Vec<Extent>,
    ticks: u64,
    stopping: bool,
}

impl<'a> Core<'a> {
    /// A core on the calling thread, with `ring`.
    pub(crate) fn new(parts: CoreParts<'a>, ring: Ring) -> Self {
        let CoreParts { id, node, peers, cells, listeners, stop, clock, started, .. } = parts;
        let CoreParts { log_files, recovering, links, .. } = parts;
        let metrics = &node.cores[usize::from(id.0)];
        let engine = Engine::new(node, metrics, started, clock);
        Self {
            id,
            node,
            table: Table::get(),
            shards: Shards::new(cells, engine.owners.shards_of(id).collect(), peers.len() == 1),
            engine,
            mail: Mail::new(id, peers, ring.fd()),
            ring,
            connections: Connections::default(),
            listeners,
            multis: Vec::new(),
            stepping: Vec::new(),
            last_claim: 0,
            config: node.config.load(),
            config_generation: 0,
            dirty: Vec::new(),
            yielding: Vec::new(),
            resting_listeners: Vec::new(),
            links: links.map(|(options, listeners)| Box::new(Links::new(options, listeners))),
            forwards: Forwards::default(),
            paused: Vec::new(),
            blocked: Blocked::default(),
            stages: Stages::default(),
            peaks: Peaks::default(),
            monitors: Vec::new(),
            pubsub: PubSub::new(),
            tracked: Tracked::default(),
            stop,
            peers,
            logs: Logs::new(log_files, recovering),
            replicas: Replicas::new(&node.config.load()),
            is_loading: true,
            leaving: Vec::new(),
            scratch: None,
            maintaining: Vec::new(),
            away: Away::default(),
            spare_queue: None,
            spare_input: SpareInput::default(),
            discarded: Vec::new(),
            ticks: 0,
            stopping: false,
        }
    }

    /// Arms what never ends: the tick, the listeners, the wake-up from outside.
    pub(crate) fn start(&mut self) {
        self.engine.start_turn();
        self.shards.take_own();
        self.refresh();
        self.step_logs(true);
        // Lets every shard know what time it is before the first key with an expiry comes.
        self.maintaining.extend_from_slice(self.shards.own());
        self.maintain();
        self.give_back_all();
        self.ring.tick();
        self.ring.watch(self.peers[usize::from(self.id.0)].event());
        for index in 0..self.listeners.len() {
            self.arm_listener(index);
        }
        self.start_links();
    }

    /// Whether the core may sleep: nothing to do and no mail.
    pub(crate) fn may_sleep(&mut self) -> bool {
        self.mail.fall_asleep()
            && self.maintaining.iter().all(|shard| self.away.is_told_of(*shard))
            && self.yielding.is_empty()
            && self.stepping.is_empty()
            && self.discarded.is_empty()
            && !self.logs.is_busy(&self.away)
            && !self.replicas.is_busy(&self.away)
            && !self.has_new_owners()
    }

    /// Waits in the kernel if `wait`, and gathers what completed.
    pub(crate) fn enter(
        &mut self,
        wait: bool,
        completions: &mut Vec<Completion>,
    ) -> std::io::Result<()> {
        self.stages.may_sleep = wait && !self.ring.has_work();
        let result = self.ring.enter(wait, completions);
        self.mail.wake_up();
        result
    }

    /// One turn over what completed. False once the core has been told to stop.
    pub(crate) fn turn(
        &mut self,
        buffers: &mut super::buffers::Buffers,
        completions: &mut Vec<Completion>,
    ) -> bool {
        self.engine.start_turn();
        self.is_loading = self.node.is_loading();
        self.note_return(completions);
        self.engine.metrics.turns.increment();
        self.read_published();
        self.read_told();
        // Whoever was told that a setting or an owner holds finds it so on every core.
        if self.has_new_owners() {
            self.follow_owners();
        }
        self.shards.take_own();
        if self.node.config.generation() != self.config_generation {
            self.refresh();
        } else if self.logs.is_unsettled {
            self.follow_durability();
        }
        let yielded = std::mem::take(&mut self.yielding);
        for completions in completions.chunks(PREFETCH_KEYS_MAX) {
            if completions.len() > 1 {
                self.look_ahead_over(completions, buffers);
            }
            completions.iter().for_each(|completion| self.complete(*completion, buffers));
        }
        completions.clear();
        for token in yielded {
            self.take_turn(token);
        }
        self.take_steps();
        self.read_mail();
        self.end_waits();
        self.look_for_leaders();
        self.maintain();
        let may_end = self.look_after_logs();
        self.give_back_all();
        // Whatever it brings, the logs have been looked at before it: they may have to be once more.
        self.logs.is_due |= self.read_mail() && self.logs.is_on;
        self.give_back_all();
        self.release_gated();
        self.spread_news();
        self.set_alarm();
        self.deliver_missed();
        self.send_published();
        self.send_links();
        self.send_forwards();
        self.send_dirty();
        self.note_end_of_turn();
        self.engine.end_turn();
        !may_end
    }

    /// What the logs need at the end of a turn. True once the core has been told to stop and all that is
    /// to be on disk is.
    fn look_after_logs(&mut self) -> bool {
        if self.stopping && !self.hands_over() {
            // What is half done is not to be found in any log.
            return self.close_logs() && self.stepping.is_empty();
        }
        self.recover_some();
        self.rebuild_some();
        self.attend_replicas();
        self.step_logs(false);
        self.tell_whole();
        self.look_at_readers();
        self.look_at_waits();
        false
    }

    /// Whether commands on data are refused. A turn that began while data was loading may meet clients who
    /// were told elsewhere that it is loaded.
    #[inline]
    pub(super) fn refuses_data(&self) -> bool {
        self.is_loading && self.node.is_loading()
    }

    fn complete(&mut self, completion: Completion, buffers: &mut super::buffers::Buffers) {
        match completion.op {
            Op::Receive => {
                let length = usize::try_from(completion.result).unwrap_or(0);
                match completion.buffer {
                    Some(id) => {
                        self.received(completion, buffers.filled(id, length));
                        buffers.recycle(id);
                    }
                    None => self.received(completion, &[]),
                }
            }
            Op::LinkReceive => {
                let length = usize::try_from(completion.result).unwrap_or(0);
                match completion.buffer {
                    Some(id) => {
                        self.link_received(completion, buffers.filled(id, length));
                        buffers.recycle(id);
                    }
                    None => self.link_received(completion, &[]),
                }
            }
            Op::LinkSend => self.link_sent(completion),
            Op::LinkConnect => self.link_connected(completion),
            Op::LinkAccept => self.link_accepted(completion),
            Op::ForwardReceive => {
                let length = usize::try_from(completion.result).unwrap_or(0);
                match completion.buffer {
                    Some(id) => {
                        self.forward_received(completion, buffers.filled(id, length));
                        buffers.recycle(id);
                    }
                    None => self.forward_received(completion, &[]),
                }
            }
            Op::ForwardSend => self.forward_sent(completion),
            Op::ForwardConnect => self.forward_connected(completion),
            Op::Send => self.sent(completion),
            Op::File => self.log_completed(completion),
            Op::Accept => self.accepted(completion),
            Op::Tick => {
                if !completion.more {
                    self.ring.tick();
                }
                self.tick();
            }
            Op::Event => {
                let peer = &self.peers[usize::from(self.id.0)];
                peer.drain_event();
                if !completion.more {
                    self.ring.watch(peer.event());
                }
            }
            Op::Cancel => self.asked_to_end(completion),
            // A core that could not be rung is gone, or on its way out; having been rung, the core reads
            // its mail anyway.
            Op::Rung | Op::Ring | Op::Pulse => {}
            // Whom it was set for is looked for every turn.
            Op::Alarm => self.blocked.deadlines.note_alarm(),
        }
    }

    /// Sees to what other cores have sent; whether there was anything.
    fn read_mail(&mut self) -> bool {
        let mut is_any = false;
        while let Some(message) = self.mail.take() {
            is_any = true;
            match message {
                Message::Run(batch) => self.enqueue(batch),
                Message::Done(batch) => self.batch_done(batch),
                Message::Granted { shard, ticket, grant } => self.granted(shard, ticket, grant),
                Message::Back { shard } => self.away.note_back(shard),
                Message::Adopt(connection) => self.adopt(connection),
                Message::Served { wait, reply, gate } => self.served(&wait, &reply, gate),
                Message::Called(wait) => self.called(wait),
                Message::Unblocked { client, number, with_error } => {
                    self.unblocked(client, number, with_error);
                }
                Message::Kill(clients) => self.kill(&clients),
                Message::Monitored(line) => self.show_monitors(&line),
                Message::Durable => {
                    self.logs.has_news = true;
                    self.replicas.has_news = true;
                }
                // The logs are stepped at the end of every turn, or at the next.
                Message::Flush => {}
                Message::LogJobDone { shard, result } => self.log_job_done(shard, result),
                Message::FromNode { from, message } => self.peer_message(from, *message),
                Message::HardStateSaved { shard, is_saved } => {
                    self.hard_state_saved(shard, is_saved);
                }
                Message::Refresh => self.refresh(),
                Message::Stop => self.stopping = true,
            }
        }
        is_any
    }

    /// Sends `message`, waking its core if need be.
    pub(super) fn post(&mut self, to: CoreId, message: Message) {
        if let Some(ring) = self.mail.post(to, message) {
            self.engine.metrics.wake_ups.increment();
            self.ring.ring(ring);
        }
    }

    /// Sends what `message` makes to every other core.
    pub(super) fn broadcast(&mut self, message: impl Fn() -> Message) {
        for core in self.mail.others() {
            self.post(core, message());
        }
    }

    /// Lets others see what the shard holds now. Whoever holds the token writes.
    pub(super) fn publish(&self, shard: &crate::shard::Shard) {
        self.node.shards[usize::from(shard.id().0)].publish(shard.keyspace());
    }

    /// Publishes the shards at hand, for a command that is about to read what is published.
    pub(super) fn publish_held(&mut self) {
        for index in 0..self.shards.own().len() {
            let id = self.shards.own()[index];
            let stats = &self.node.shards[usize::from(id.0)];
            if let Some(shard) = self.shards.borrow_again(id) {
                stats.publish(shard.keyspace());
            }
        }
    }

    /// Marks a connection that has output, or may have to be closed or moved, for the end of the turn.
    pub(super) fn mark_dirty(&mut self, connection: &mut Connection) {
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(connection.token);
        }
    }

    fn send_dirty(&mut self) {
        let mut index = 0;
        while index < self.dirty.len() {
            let token = self.dirty[index];
            index += 1;
            if let Some(mut connection) = self.connections.take(token) {
                connection.dirty = false;
                self.settle(connection);
            }
        }
        self.dirty.clear();
    }

    // --- time ------------------------------------------------------------------------------------

    fn tick(&mut self) {
        self.ticks += 1;
        if self.id == CoreId(0) {
            self.node.tick(self.engine.now);
        }
        self.resume_paused();
        for index in std::mem::take(&mut self.resting_listeners) {
            self.arm_listener(index);
        }
        self.maintaining.clear();
        self.maintaining.extend_from_slice(self.shards.own());
        self.update_room();
        self.step_logs(true);
        self.tick_links();
        self.tick_forwards();
        self.engine.flush_loads();
        if self.ticks.is_multiple_of(crate::limits::TICKS_PER_SECOND) {
            self.check_clients();
        }
    }

    fn maintain(&mut self) {
        let (now, expire) = (self.engine.now, self.node.active_expire.load(Ordering::Relaxed));
        let mut maintaining = std::mem::take(&mut self.maintaining);
        maintaining.retain(|id| {
            // A shard that somebody borrowed is looked after when it is back.
            let more = !self.is_here(*id)
                || self.shards.held(*id).is_some_and(|shard| shard.maintain(now, expire));
            self.engine.end_step_of(Step::Maintenance);
            more
        });
        self.maintaining = maintaining;
        if let Some(extent) = self.discarded.last_mut() {
            extent.give_back(DISCARD_BYTES_MAX);
            if extent.memory_bytes() == 0 {
                self.discarded.pop();
            }
            self.engine.end_step_of(Step::Maintenance);
        }
    }

    /// Takes over memory of a value that another took the place of.
    pub(super) fn keep_freed(&mut self, freed: Option<Extent>) {
        let unwanted = freed.and_then(|extent| self.spare_input.keep_freed(extent));
        self.discard(unwanted);
    }

    /// Takes over memory that nobody holds any more.
    pub(super) fn discard(&mut self, extents: impl IntoIterator<Item = Extent>) {
        self.discarded.extend(extents);
    }

    /// Looks at the configuration and the pause again; at the owners every turn does.
    pub(super) fn refresh(&mut self) {
        self.load_config();
        self.resume_paused();
    }

    /// Reads the configuration again.
    pub(super) fn load_config(&mut self) {
        self.config_generation = self.node.config.generation();
        self.config = self.node.config.load();
        self.engine.configure(&self.config);
        self.update_room();
        self.follow_durability();
        self.update_snapshot_policy();
    }

    /// Gives the own shards their share of the memory limit, and the thresholds of their collections.
    pub(super) fn update_room(&mut self) {
        let budget = self.engine.budget();
        for index in 0..self.shards.own().len() {
            self.update_room_of(self.shards.own()[index], &budget);
        }
    }

    /// Gives other cores' shards theirs too, as far as they are free: the client that has just changed
    /// the configuration expects it to hold. The others' owners do it when they hear of it.
    pub(super) fn update_foreign_room(&mut self) {
        let budget = self.engine.budget();
        for shard in (0..self.node.slots.shard_count()).map(ShardId) {
            self.shards.borrow(shard);
            self.update_room_of(shard, &budget);
        }
    }

    fn update_room_of(&mut self, shard: ShardId, budget: &Budget) {
        let Some(shard) = self.shards.borrow_again(shard) else { return };
        shard.set_room(budget.room_of(shard, self.node.shard(shard.id())));
        shard.keyspace_mut().set_thresholds(self.config.thresholds);
        shard.keyspace_mut().want_events(self.config.notify_keyspace_events);
        let shards = u64::from(self.node.slots.shard_count());
        let tracked = self.config.tracked_keys_max;
        // Zero is no limit, so that none becomes zero.
        let tracked = if tracked == 0 { 0 } else { (tracked / shards).max(1) };
        shard.keyspace_mut().set_tracked_keys_max(usize::try_from(tracked).unwrap_or(usize::MAX));
    }

    // --- connections by name ---------------------------------------------------------------------

    /// Closes the clients of this core among `clients`.
    pub(super) fn kill(&mut self, clients: &[ClientId]) {
        let tokens: Vec<Token> = self
            .connections
            .iter()
            .filter(|connection| clients.contains(&connection.session.id))
            .map(|connection| connection.token)
            .collect();
        for token in tokens {
            if let Some(mut connection) = self.connections.take(token) {
                connection.shut_down();
                // The rest at the end of the turn: the tokens of a transaction may be held now.
                self.mark_dirty(&mut connection);
                self.connections.put(connection);
            }
        }
    }

    fn resume_paused(&mut self) {
        if self.node.pause_until(self.engine.now.unix).is_some() {
            return;
        }
        for token in std::mem::take(&mut self.paused) {
            if let Some(connection) = self.connections.get_mut(token) {
                connection.session.info.set_flags(ClientFlags::BLOCKED, false);
            }
            self.unblock(token, Block::Pause);
        }
        self.count_paused();
    }

    /// Counts the clients that a pause holds back, and forgets those that have left.
    pub(super) fn count_paused(&mut self) {
        let connections = &mut self.connections;
        self.paused.retain(|token| {
            connections
                .get_mut(*token)
                .is_some_and(|connection| connection.is_blocked_by(Block::Pause))
        });
        self.count_blocked();
    }

    /// Counts all clients that are held back: by a pause, or in a blocking command.
    pub(super) fn count_blocked(&self) {
        let count = self.paused.len() + self.blocked.count();
        self.engine.metrics.clients_blocked.set(count as u64);
    }

    /// Lets a connection go on that has had its share of the last turn.
    fn take_turn(&mut self, token: Token) {
        if let Some(connection) = self.connections.get_mut(token) {
            let unfinished = connection.unfinished_to_go_on();
            unfinished.into_iter().for_each(|batch| self.send_batch(batch));
        }
        self.unblock(token, Block::Turn);
    }

    /// Lets a connection that waited for `block` go on.
    pub(super) fn unblock(&mut self, token: Token, block: Block) {
        let Some(mut connection) = self.connections.take(token) else { return };
        if connection.is_blocked_by(block) {
            connection.state = State::Running;
            self.resume(&mut connection);
        }
        self.settle(connection);
    }
}
