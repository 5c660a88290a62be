//! A cluster, driven by one seed: three nodes, or five, with a replica each of every shard, of which there are up to
//! three. Those of a node are its parts: they share its clock, its process and its links, and come and go together.
//!
//! Nodes have disks of the kind of [`super::disk`], and clocks that go at different speeds. Links delay messages, hold
//! them back one way or both, and break; in some runs messages come twice, late, and out of order. Processes are killed,
//! lose power, stop and go on, end in good order and are started again. Disks stand still, run full, fail until an
//! operator has seen to them, and are lost. Clients go on meanwhile. Of what they are told and of all replicas must be true:
//!
//! * a term has one leader; an entry of an index and a term is the same everywhere; what is committed stays;
//! * replicas that have seen the same entries have the same keyspace, to the byte, versions included;
//! * what clients saw can have happened to a single copy (`linear`); so nothing that was acknowledged is lost;
//! * what clients send again until they are told its outcome is done once, or not at all if they were told so, in runs
//!   where they do;
//! * what followers answered was true no longer ago than the bound, never older than what the client had written, and
//!   never older than what the same process had answered before;
//! * once all is well again a replica of each shard leads, and all become the same.
//!
//! In some runs the members change: nodes join that belong to nobody, learn, vote, and are removed, whatever else goes
//! wrong.
//!
//! There are two kinds of runs. In most, fewer than half of the nodes are at any time without what they had in memory:
//! then nothing that a quorum had is lost, on disk or not. In the others any number crash, all at once too, and
//! clients wait for a quorum of disks before they believe anything.
//!
//! ```sh
//! cargo test --lib sim::cluster                                       # a few hundred seeds
//! RINGMAIN_SIM_FROM=1000 RINGMAIN_SIM_SEEDS=5000 cargo test --lib cluster_keeps
//! RINGMAIN_SIM_SEED=17 RINGMAIN_SIM_TALK=1 cargo test --lib cluster_keeps -- --nocapture
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `mod` | the course of events; what a node does in a turn, as the runtime does it |
//! | `part` | a node's part in a shard: its disk, its clock, its process |
//! | `network` | the links |
//! | `clients` | what clients ask for and see |
//! | `calls` | what becomes of it on the way |
//! | `retries` | writes that clients send again |
//! | `members` | who takes part |
//! | `faults` | what goes wrong |
//! | `rebuilds` | data that replicas make again from their own logs |
//! | `facts` | what must be true of all replicas |
//! | `linear` | what must be true of what clients saw |
//! | `calm` | the end of a run |
//! | `planted` | faults that must be caught |
//! | `scene` | clusters to which nothing happens but what a test has happen |
//! | `room` | ... disks that run full |
//! | `fresh` | ... word of a follower's freshness that is late |
//!
//! Not simulated: shards that move between cores, the engine's batches and the runtime's mailboxes, disks that damage
//! what they hold.

mod calls;
mod calm;
mod clients;
mod facts;
mod faults;
mod fresh;
mod linear;
mod members;
mod network;
mod part;
mod planted;
mod quorum;
mod rebuilds;
mod retries;
mod room;
mod scene;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Dice, Outcome, SHARD, UnderWay, number, values};
use crate::cache::OutcomeBounds;
use crate::limits::CHANGES_BYTES_MAX;
use crate::log::{Effect, Job, StreamOptions};
use crate::replica::{Body, ReplicaOptions, ShardMessage};
use crate::types::{MonoUs, NodeId, Now, ShardId};
use clients::{Clients, Pending, Work};
use facts::Facts;
use network::{Looseness, Network};
use part::{Clock, Part, Settings};
use retries::{Retries, Sent};

/// Seeds of every test run.
const SEEDS: u64 = 200;
/// How long it may take until all is well once the faults have stopped.
const CALM_US: u64 = 30_000_000;
/// Things that a node has under way on its disk at most: the log's writes, one of a snapshot or a sync of it, a sync, a
/// job, and a hard state.
const UNDER_WAY_MAX: usize = crate::limits::LOG_WRITES_MAX + 4;
/// How long a client waits, more or less.
const PATIENCE_US: usize = 900_000;
/// How far a follower may be behind and still answer, by its own clock.
const LAG_US: u64 = 200_000;
/// As much by the slowest clock there is.
const TRUE_LAG_US: u64 = LAG_US * 1000 / 950 + 1;

/// What happens next, on a node, or on a part of one: parts of the first shard have the numbers of their nodes, and
/// those of others follow.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A part counts time.
    Tick { part: usize, life: u64 },
    /// A part has more to do.
    Turn { part: usize, life: u64 },
    /// A message may have arrived from one node at another.
    Arrival { from: usize, to: usize },
    /// Something on a disk may be done.
    Disk { part: usize, life: u64, number: u64 },
    /// A client's call arrives, whether or not the client still waits for it.
    Request { client: usize, pending: Pending },
    /// A client gives a call up.
    GiveUp { client: usize, call: u64 },
    /// A client begins a write that it may send again.
    Write(usize),
    /// One sending of such a write arrives, whether or not the client still waits for its reply.
    Attempt(Sent),
    /// A client has waited long enough for the reply to one.
    Despair(Sent),
    /// A client sends again what was turned away.
    Retry(Sent),
    /// A client goes on.
    Client(usize),
    /// Something goes wrong.
    Fault,
    /// An operator sees to a node's disk.
    Mend(usize),
    /// An operator asks for another member, or for one less.
    Change,
    /// A process is started.
    Start(usize),
}

/// Which faults there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Fewer than half of the nodes are without what they had in memory.
    Minority,
    /// Any number crash.
    Any,
}

struct Cluster {
    dice: Dice,
    settings: Settings,
    kind: Kind,
    time: u64,
    /// By time and number.
    events: BTreeMap<(u64, u64), Event>,
    /// Events and operations so far.
    count: u64,
    nodes: usize,
    shards: usize,
    /// Shard by shard, the nodes' parts in it.
    parts: Vec<Part>,
    network: Network,
    clients: Clients,
    /// Of each shard.
    facts: Vec<Facts>,
    /// The voter of each shard that was last to be removed, and until when it may be yet.
    removing: Vec<Option<(NodeId, u64)>>,
    /// Until when clients think of something and things go wrong.
    busy_until: u64,
    /// How long clients think, more or less.
    haste_us: usize,
    /// Writes that are sent again; of nobody in most runs.
    retries: Retries,
    /// How many times a keyspace was made again from a log.
    rebuilds: u64,
    trace: u64,
    is_talkative: bool,
}

/// With this bound of a record, what many a call changes is one by itself.
const FEW_CHANGES: usize = 256 * 1024;

impl Cluster {
    fn new(seed: u64, founders: Option<usize>) -> Self {
        let mut dice = Dice(seed ^ 0x5eed);
        let nodes = if dice.one_in(4) || founders.is_some() { 5 } else { 3 };
        let founders = founders.unwrap_or(nodes);
        let kind = if dice.one_in(4) { Kind::Any } else { Kind::Minority };
        let replica = ReplicaOptions {
            node: NodeId(0),
            heartbeat_ms: 50,
            election_timeout_ms: 300,
            snapshot_patience_ms: rebuilds::patience_ms(seed),
            tail_bytes_max: if dice.one_in(2) { 2_000 } else { 100_000 },
        };
        let stream = StreamOptions {
            segment_bytes: 16_384 << dice.below(3),
            align_bytes: 512,
            fill: dice.one_in(2),
        };
        let thresholds = values::thresholds(&mut dice);
        let shards = [1, 1, 1, 2, 3][dice.below(5)];
        let clocks: Vec<Clock> = (0..nodes).map(|_| Clock::new(&mut dice)).collect();
        let all = (0..shards).flat_map(|shard| (0..nodes).map(move |node| (node, shard)));
        let part = |(node, shard)| Part::new(node, shard_id(shard), clocks[node]);
        let parts = all.map(part).collect();
        // More shards have as much happen in less time.
        let most_us = if shards == 1 { 3_000_000 } else { 1_000_000 };
        let busy_us = 1_500_000 + dice.below(most_us) as u64;
        let mut looseness = Looseness::default();
        if dice.one_in(4) {
            let one_in = [0, 5, 30];
            looseness.double_one_in = one_in[dice.below(3)];
            looseness.stray_one_in = one_in[dice.below(3)];
        }
        Self {
            settings: Settings {
                founders,
                replica,
                stream,
                thresholds,
                outcomes: OutcomeBounds::default(),
                changes_bytes_max: if seed % 4 == 3 { FEW_CHANGES } else { CHANGES_BYTES_MAX },
            },
            kind,
            time: 1_000,
            events: BTreeMap::new(),
            count: 0,
            nodes,
            shards,
            parts,
            network: Network::new(nodes, looseness),
            clients: Clients::new(shards, shards * (1 + dice.below(2)) + dice.below(3) + 1),
            facts: (0..shards).map(|_| Facts::default()).collect(),
            removing: vec![None; shards],
            busy_until: busy_us,
            retries: Retries::default(),
            rebuilds: 0,
            haste_us: [3_000, 30_000][dice.below(2)],
            trace: seed,
            is_talkative: number("RINGMAIN_SIM_TALK").is_some(),
            dice,
        }
    }

    fn note(&mut self, what: std::fmt::Arguments<'_>) {
        let text = what.to_string();
        if self.is_talkative {
            eprintln!("{:>9} {text}", self.time);
        }
        for byte in text.bytes().chain(self.time.to_le_bytes()) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The parts of a node.
    fn parts_of(&self, node: usize) -> impl Iterator<Item = usize> + use<> {
        let nodes = self.nodes;
        (0..self.shards).map(move |shard| shard * nodes + node)
    }

    /// The parts in a shard.
    fn parts_in(&self, shard: usize) -> std::ops::Range<usize> {
        shard * self.nodes..(shard + 1) * self.nodes
    }

    /// The shard that a part is in.
    fn shard_of(&self, part: usize) -> usize {
        part / self.nodes
    }

    /// The node whose part it is.
    fn node_of(&self, part: usize) -> usize {
        part % self.nodes
    }

    /// Any part in the shard of a client's.
    fn any_part(&mut self, client: usize) -> usize {
        self.clients.shard_of(client) * self.nodes + self.dice.below(self.nodes)
    }

    fn at(&mut self, time: u64, event: Event) {
        self.count += 1;
        self.events.insert((time.max(self.time), self.count), event);
    }

    fn soon(&mut self, us: usize) -> u64 {
        self.time + 1 + self.dice.below(us) as u64
    }

    // --- the course of things ------------------------------------------------------------------------

    /// All nodes are to start, and clients to begin.
    fn begin(&mut self) {
        for node in 0..self.nodes {
            let time = self.soon(200_000);
            self.at(time, Event::Start(node));
        }
        for client in 0..self.clients.all.len() {
            self.clients.all[client].target = self.any_part(client);
            let time = self.soon(1_000_000);
            self.at(time, Event::Client(client));
        }
    }

    fn go(&mut self) -> Outcome<u64> {
        self.begin();
        self.at(400_000, Event::Fault);
        if self.are_members_changing() {
            self.at(300_000, Event::Change);
        }
        while self.time < self.busy_until {
            self.next()?;
        }
        self.calm_down();
        self.come_together()?;
        self.read_all()?;
        self.clients.check()?;
        self.check_lists()?;
        let (answered, followed) = (self.clients.answered, self.clients.followed);
        self.note(format_args!("{answered} calls answered, {followed} by followers"));
        Ok(self.trace)
    }

    fn next(&mut self) -> Outcome {
        let Some(((time, _), event)) = self.events.pop_first() else {
            return Err("nothing happens any more".to_owned());
        };
        self.time = time;
        match event {
            Event::Client(client) => self.think(client),
            Event::GiveUp { client, call } => {
                if self.clients.lost((client, call)) {
                    self.clients.all[client].target = self.any_part(client);
                    self.think_later(client);
                }
            }
            Event::Fault => self.go_wrong()?,
            Event::Mend(node) => self.mend(node),
            Event::Change => self.change_members(),
            Event::Start(node) => self.start(node)?,
            Event::Tick { part, .. }
            | Event::Turn { part, .. }
            | Event::Disk { part, .. }
            | Event::Arrival { to: part, .. } => self.happen(part, event)?,
            Event::Request { pending, .. } => self.happen(pending.part, event)?,
            Event::Write(client) => self.write(client),
            Event::Despair(sent) => self.despair(sent),
            Event::Retry(sent) => self.retry(sent),
            Event::Attempt(sent) => self.happen(sent.part, event)?,
        }
        Ok(())
    }

    /// Something happens on a part, or on a node, for which its first part stands.
    fn happen(&mut self, index: usize, event: Event) -> Outcome {
        let part = &mut self.parts[index];
        if part.process.is_none() {
            if let Event::Request { client, pending } = event {
                self.refuse(client, pending.number, None);
            }
            if let Event::Attempt(sent) = event {
                self.turn_away(sent, None);
            }
            return Ok(());
        }
        if let Event::Tick { life, .. } | Event::Turn { life, .. } | Event::Disk { life, .. } =
            event
            && life != part.life
        {
            return Ok(());
        }
        if self.time < part.paused_until {
            // In which order it finds what has come meanwhile is anybody's guess.
            let time = part.paused_until + self.dice.below(2_000) as u64;
            self.at(time, event);
            return Ok(());
        }
        if matches!(event, Event::Disk { .. }) && self.time < part.stalled_until {
            let time = part.stalled_until;
            self.at(time, event);
            return Ok(());
        }
        // Who was stopped right after a look at the clock goes on with what it showed.
        let mut now = part.now(self.time);
        for part in self.parts_of(self.node_of(index)) {
            now = self.parts[part].looked_at.take().unwrap_or(now);
        }
        let must_step = match event {
            Event::Tick { .. } => self.tick(index, now),
            Event::Turn { .. } => true,
            Event::Arrival { from, .. } => {
                return match self.arrive((from, index), now)? {
                    Some(part) => self.step(part, now),
                    None => Ok(()),
                };
            }
            Event::Disk { number, .. } => {
                let effects = self.parts[index].perform(number, now);
                let is_done = effects.is_some();
                self.take(index, effects.unwrap_or_default())?;
                is_done
            }
            Event::Request { client, pending } if matches!(pending.work, Work::Follow { .. }) => {
                self.follow(index, (client, pending), now)?
            }
            Event::Request { client, pending } => self.serve(index, (client, pending), now),
            Event::Attempt(sent) => self.attempt(index, sent, now),
            Event::GiveUp { .. }
            | Event::Write(_)
            | Event::Despair(_)
            | Event::Retry(_)
            | Event::Client(_)
            | Event::Fault
            | Event::Mend(_)
            | Event::Change
            | Event::Start(_) => false,
        };
        if must_step { self.step(index, now) } else { Ok(()) }
    }

    fn start(&mut self, node: usize) -> Outcome {
        if self.parts[node].process.is_some() {
            return Ok(());
        }
        for other in 0..self.nodes {
            self.network.cut((node, other), self.time);
        }
        self.network.forget(node);
        self.note(format_args!("start {node}"));
        let shown = 1 + self.dice.below(5_000_000) as u64;
        for index in self.parts_of(node) {
            let part = &mut self.parts[index];
            part.start(&self.settings, (shown, self.time), &mut self.dice)?;
            let (id, life) = (part.id, part.life);
            let shard = self.shard_of(index);
            self.facts[shard].forget(id);
            let time = self.soon(5_000);
            self.at(time, Event::Tick { part: index, life });
        }
        for index in self.parts_of(node) {
            let now = self.parts[index].now(self.time);
            self.step(index, now)?;
        }
        Ok(())
    }

    fn tick(&mut self, index: usize, now: Now) -> bool {
        let all = self.dice.one_in(4);
        let part = &mut self.parts[index];
        let Some(process) = &mut part.process else { return false };
        let mut next = MonoUs(now.mono.0 + 10_000);
        if !process.is_stopping {
            // Who takes no part any more does not say when he would.
            let due = process.shard.tick_replica(now).filter(|due| *due > now.mono);
            process.shard.pace_replica(now);
            next = due.unwrap_or(next);
            if all {
                process.shard.check_log_size();
                process.shard.maintain(now, true);
            }
        }
        let (time, life) = (part.time_of(next), part.life);
        // Ticks are late now and then.
        let late =
            if self.dice.one_in(10) { self.dice.below(30_000) } else { self.dice.below(1_000) };
        self.at(time + late as u64, Event::Tick { part: index, life });
        true
    }

    /// The next message from a node is taken in, if there is one; answers the part that is to be stepped.
    fn arrive(&mut self, (from, to): (usize, usize), now: Now) -> Outcome<Option<usize>> {
        let Some(bytes) = self.network.take((from, to), self.time) else {
            if let Some(time) = self.network.next((from, to))
                && time > self.time
            {
                self.at(time, Event::Arrival { from, to });
            }
            return Ok(None);
        };
        let from = self.parts[from].id;
        let message = ShardMessage::decode(&bytes);
        let message = message.map_err(|fault| format!("node {} sent rubbish: {fault}", from.0))?;
        let part = self.parts_of(to).find(|part| self.parts[*part].shard == message.shard);
        let part = part.ok_or("a message for no shard")?;
        let Some(process) = &mut self.parts[part].process else { return Ok(None) };
        if process.is_stopping {
            return Ok(None);
        }
        process.shard.receive(from, message.body, now);
        // Before it joins again, by what it hears next.
        Self::forget_if_left(&mut self.facts[part / self.nodes], &self.parts[part]);
        Ok(Some(part).filter(|part| self.is_now_or_later(*part)))
    }

    // --- a node's turn -------------------------------------------------------------------------------

    /// Steps a node's shard, does what it wants done, and lets replies go.
    fn step(&mut self, index: usize, now: Now) -> Outcome {
        self.hand_over(index, now);
        let part = &mut self.parts[index];
        if part.process.as_ref().is_some_and(|process| !process.is_stopping) {
            part.restart_log(self.settings.stream);
            self.rebuild_some(index)?;
        }
        let part = &mut self.parts[index];
        let Some(process) = &mut part.process else { return Ok(()) };
        let mut effects = Vec::new();
        if process.is_stopping {
            process.is_closed |= process.shard.close_log(now, &mut effects);
        } else {
            if let Some(since) = process.stats.fresh_wanted(now.mono, LAG_US) {
                process.shard.want_fresh(since, now);
            }
            process.shard.step_log(now, &mut effects);
        }
        let is_busy = process.shard.is_log_busy();
        let messages = process.shard.take_messages();
        let published = process.shard.replica_published(false).unwrap_or_default();
        process.stats.publish(published);
        let life = part.life;
        self.take(index, effects)?;
        for (to, body) in messages {
            self.send(index, to, body)?;
        }
        if is_busy {
            let time = self.soon(200);
            self.at(time, Event::Turn { part: index, life });
        }
        self.look(index)?;
        self.release(index);
        self.release_held(index);
        self.follow_waiting(index, now)?;
        self.end(index);
        Ok(())
    }

    /// Gives leadership away if the process is to end; once no part leads, or it takes too long, all of them close.
    fn hand_over(&mut self, index: usize, now: Now) {
        let Some(process) = &mut self.parts[index].process else { return };
        let Some(until) = process.hands_over_until else { return };
        process.is_leaving = process.shard.resign(now);
        let is_leaving = |part: usize| {
            self.parts[part].process.as_ref().is_some_and(|process| process.is_leaving)
        };
        if self.time >= until || !self.parts_of(self.node_of(index)).any(is_leaving) {
            for part in self.parts_of(self.node_of(index)) {
                if let Some(process) = &mut self.parts[part].process {
                    process.is_stopping = true;
                }
            }
        }
    }

    fn take(&mut self, index: usize, effects: Vec<Effect>) -> Outcome {
        for effect in effects {
            let what = match effect {
                Effect::Write { file, offset, buffer, sync } => {
                    UnderWay::Write { file, offset, buffer, sync }
                }
                Effect::Sync(file) => UnderWay::Sync(file),
                Effect::Job(job) => UnderWay::Job(job),
                Effect::SaveHardState(state) => UnderWay::Job(Job::SaveHardState(state)),
                Effect::Close(_) => continue,
                Effect::StartOver(last, term) => {
                    self.note(format_args!("{index} starts over behind {}", last.0));
                    self.parts[index].start_over(last, term);
                    let (time, life) = (self.soon(100), self.parts[index].life);
                    self.at(time, Event::Turn { part: index, life });
                    continue;
                }
                Effect::ReadAgain(number) => {
                    self.start_rebuild(index, number)?;
                    continue;
                }
            };
            let us = if self.dice.one_in(50) { 60_000 } else { 2_500 };
            let (time, number) = (self.soon(us), self.count);
            let part = &mut self.parts[index];
            let life = part.life;
            let Some(process) = &mut part.process else { continue };
            process.under_way.push((number, what));
            self.at(time, Event::Disk { part: index, life, number });
        }
        Ok(())
    }

    fn send(&mut self, part: usize, to: NodeId, body: Body) -> Outcome {
        let from = self.node_of(part);
        let to = self.parts_in(0).find(|node| self.parts[*node].id == to).ok_or("no such node")?;
        if self.is_talkative {
            self.note(format_args!("{part} to {to}: {}", in_short(&body)));
        }
        let mut bytes = Vec::new();
        ShardMessage { shard: self.parts[part].shard, body }.encode(&mut bytes);
        let (time, dice) = (self.time, &mut self.dice);
        for time in self.network.send((from, to), Bytes::from(bytes), time, dice) {
            self.at(time, Event::Arrival { from, to });
        }
        Ok(())
    }

    /// Who takes no part forgets everything.
    fn forget_if_left(facts: &mut Facts, part: &Part) {
        let replica = part.process.as_ref().and_then(|process| process.shard.replica());
        if replica.is_some_and(|replica| !replica.is_member()) {
            facts.forget(part.id);
        }
    }

    /// Holds a node against all that is known.
    fn look(&mut self, index: usize) -> Outcome {
        let is_kept = self.kind == Kind::Minority;
        let (is_outside, facts) = (self.is_outside(index), index / self.nodes);
        let facts = &mut self.facts[facts];
        Self::forget_if_left(facts, &self.parts[index]);
        let part = &mut self.parts[index];
        let Some(process) = &mut part.process else { return Ok(()) };
        facts.look(part.id, &process.shard, is_kept)?;
        if process.under_way.len() > UNDER_WAY_MAX {
            return Err(format!("{} has {} things under way", part.id.0, process.under_way.len()));
        }
        let state = process.shard.replica_published(true).and_then(|published| published.state);
        let is_in_doubt = process.shard.replica().is_some_and(|replica| replica.is_in_doubt());
        if part.is_bad && (is_outside || !is_in_doubt) {
            let durable = process.shard.log_state().map(|state| state.durable).unwrap_or_default();
            let owes = *part.owes.get_or_insert(facts.last_fixed());
            if self.kind == Kind::Minority || is_outside || durable >= owes {
                (part.is_bad, part.owes) = (false, None);
                self.note(format_args!("{index} is as good as before"));
            }
        }
        if let Some(state) = state {
            self.note(format_args!(
                "{index} {:?} {} {}/{}/{}",
                state.role, state.term.0, state.last.0, state.committed.0, state.applied.0
            ));
        }
        Ok(())
    }

    /// A node that was to end in good order does, once the logs of all its parts are closed.
    fn end(&mut self, index: usize) {
        let node = self.node_of(index);
        let is_done = |part: usize| {
            let process = self.parts[part].process.as_ref();
            process.is_some_and(|process| process.is_closed && process.under_way.is_empty())
        };
        if !self.parts_of(node).all(is_done) {
            return;
        }
        for part in self.parts_of(node) {
            let is_clean = self.parts[part].end(&mut self.dice);
            self.parts[part].is_bad |= self.kind == Kind::Minority && !is_clean;
        }
        self.note(format_args!("{node} has ended"));
        self.gone(node);
        let time = self.soon(1_000_000);
        self.at(time, Event::Start(node));
    }
}

/// A message in a few words.
fn in_short(body: &Body) -> String {
    match body {
        Body::Raft(it) => format!(
            "{:?} term {} index {} of {} commit {} entries {} reject {} hint {}",
            it.msg_type,
            it.term,
            it.index,
            it.log_term,
            it.commit,
            it.entries.len(),
            it.reject,
            it.reject_hint
        ),
        Body::Snapshot(piece) => format!("piece {} of {}", piece.place, piece.number),
        Body::Synced { .. }
        | Body::WantSync { .. }
        | Body::Restarted { .. }
        | Body::CatchUp { .. }
        | Body::SnapshotWanted { .. }
        | Body::SnapshotTaken { .. }
        | Body::LeadWanted { .. }
        | Body::JoinWanted { .. }
        | Body::Begun
        | Body::Configuration(_)
        | Body::FreshAsk { .. }
        | Body::FreshAnswer { .. }
        | Body::NoRoom { .. } => format!("{body:?}"),
    }
}

fn shard_id(shard: usize) -> ShardId {
    ShardId(SHARD.0 + u16::try_from(shard).expect("few shards"))
}

fn run(seed: u64) -> Outcome<u64> {
    Cluster::new(seed, None).go()
}

fn run_with_retries(seed: u64) -> Outcome<u64> {
    cluster_with_retries(seed).go()
}

fn cluster_with_retries(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, None);
    let clients = cluster.clients.all.len();
    cluster.retries = Retries::new(clients);
    cluster.settings.outcomes = Retries::bounds(&mut cluster.dice);
    for client in 0..clients {
        let time = cluster.soon(1_000_000);
        cluster.at(time, Event::Write(client));
    }
    cluster
}

fn run_with_changing_members(seed: u64) -> Outcome<u64> {
    Cluster::new(seed, Some(3)).go()
}

#[test]
fn a_cluster_keeps_what_it_acknowledged() {
    run_all(SEEDS, run);
}

#[test]
fn a_cluster_whose_members_change_keeps_what_it_acknowledged() {
    run_all(SEEDS, run_with_changing_members);
}

#[test]
fn a_cluster_does_once_what_is_sent_again() {
    run_all(SEEDS, run_with_retries);
}

/// What the runs with retries are for does happen in them.
#[test]
fn what_is_sent_again_comes_to_everything() {
    let mut sum = retries::Figures::default();
    for seed in 0..20 {
        let mut cluster = cluster_with_retries(seed);
        cluster.go().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        sum = sum.plus(cluster.retries.figures);
    }
    let retries::Figures { done, not_done, kept, late, forgotten, unknown } = sum;
    for count in [done, not_done, kept, late, forgotten, unknown] {
        assert!(count > 20, "{sum:?}");
    }
    assert!(unknown < done / 2, "{sum:?}");
}

fn run_all(seeds: u64, run: fn(u64) -> Outcome<u64>) {
    if let Some(seed) = number("RINGMAIN_SIM_SEED") {
        run(seed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        return;
    }
    let from = number("RINGMAIN_SIM_FROM").unwrap_or(0);
    let seeds = number("RINGMAIN_SIM_SEEDS").unwrap_or(seeds);
    let mut failed = Vec::new();
    for seed in from..from + seeds {
        let result = std::panic::catch_unwind(|| run(seed));
        match result {
            Ok(Ok(_)) => {}
            Ok(Err(what)) => failed.push(format!("RINGMAIN_SIM_SEED={seed}: {what}")),
            Err(_) => failed.push(format!("RINGMAIN_SIM_SEED={seed}: it panicked")),
        }
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn a_seed_tells_all_of_a_cluster() {
    for seed in 1000..1004 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
