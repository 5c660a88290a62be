//! A node's part in one shard: a disk, a clock, and the replica while its process runs. What `runtime::replicas`,
//! `runtime::logger` and `runtime::log_life` do with a shard is done here in the same order.

use super::clients::{Pending, REGISTERS};
use super::retries::Held;
use crate::cache::OutcomeBounds;
use crate::collection::Thresholds;
use crate::log::{
    Effect, HardState, Manifest, Recovery, Refusal, Stream, StreamOptions, create, start_over,
};
use crate::node::replica_stats::{Quorum, ReplicaStats};
use crate::replica::{Replica, ReplicaOptions, Restored};
use crate::runtime::RecoveringReplica;
use crate::shard::{Rebuilt, Shard};
use crate::sim::disk::Disk;
use crate::sim::{Dice, ID, Outcome, SHARDS, UnderWay, leave_half_done, new_shard, perform};
use crate::types::{LogIndex, MonoUs, NodeId, Now, ShardId, Term};

/// What all nodes are started with.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Nodes that the shard begins with; the others belong to nobody.
    pub(super) founders: usize,
    pub(super) replica: ReplicaOptions,
    pub(super) stream: StreamOptions,
    pub(super) thresholds: Thresholds,
    pub(super) outcomes: OutcomeBounds,
    pub(super) changes_bytes_max: usize,
}

/// How a node's clocks go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Thousandths of the true speed.
    speed: u64,
    /// What the monotonic clock showed when the process was started, and when that was.
    base: (u64, u64),
    /// By how much the wall clock is ahead of the true time.
    ahead_us: u64,
}

impl Clock {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let (speed, ahead_us) = (950 + dice.below(101) as u64, dice.below(400_000) as u64);
        Self { speed, base: (0, 0), ahead_us }
    }

    fn mono(&self, time: u64) -> MonoUs {
        let (shown, at) = self.base;
        MonoUs(shown + (time - at) * self.speed / 1000)
    }

    fn now(&self, time: u64) -> Now {
        let unix = 1_700_000_000_000_000 + self.ahead_us + time;
        Now::new(std::time::Duration::from_micros(unix), self.mono(time))
    }

    /// When the monotonic clock will show this.
    fn time_of(&self, mono: MonoUs) -> u64 {
        let (shown, at) = self.base;
        at + mono.0.saturating_sub(shown).div_ceil(self.speed) * 1000
    }
}

/// A reply that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) client: usize,
    /// The number of the client's call.
    pub(super) call: u64,
    pub(super) saw: Option<u64>,
    pub(super) quorum: Quorum,
}

/// A running process.
pub(super) struct Process {
    pub(super) shard: Shard,
    pub(super) stats: ReplicaStats,
    /// What is under way on the disk, by number.
    pub(super) under_way: Vec<(u64, UnderWay)>,
    pub(super) replies: Vec<Waiting>,
    /// Replies to writes that may be sent again.
    pub(super) held: Vec<Held>,
    /// Reads that wait for this node to come further, of clients.
    pub(super) readers: Vec<(usize, Pending)>,
    /// The latest versions that were read here while it did not lead, by key.
    pub(super) read: [u64; REGISTERS],
    restart: Option<(LogIndex, Term)>,
    /// The log that is read to make the keyspace of this number again.
    rebuild: Option<(u64, Recovery<Vec<u8>>)>,
    /// By when it is to have handed leadership over, if it is to end.
    pub(super) hands_over_until: Option<u64>,
    /// Whether leadership is on its way to another then.
    pub(super) is_leaving: bool,
    pub(super) is_stopping: bool,
    /// Whether its log is closed, so that it may end.
    pub(super) is_closed: bool,
}

/// A node's part in a shard.
pub(super) struct Part {
    /// The node.
    pub(super) id: NodeId,
    pub(super) shard: ShardId,
    pub(super) disk: Disk,
    clock: Clock,
    pub(super) process: Option<Process>,
    /// Counts processes.
    pub(super) life: u64,
    /// Until when the process does nothing.
    pub(super) paused_until: u64,
    /// What the clock showed when it stopped, if it had just looked.
    pub(super) looked_at: Option<Now>,
    /// Until when the disk does nothing.
    pub(super) stalled_until: u64,
    /// Whether it may have lost what it had told others to have, and has not made up for it.
    pub(super) is_bad: bool,
    /// Whether its disk is to fail, or has: what its process has in memory won't outlast it.
    pub(super) is_risky: bool,
    /// It lost its disk, and has not got this entry on disk again.
    pub(super) owes: Option<LogIndex>,
}

impl Part {
    pub(super) fn new(number: usize, shard: ShardId, clock: Clock) -> Self {
        Self {
            id: NodeId(number as u64 + 1),
            shard,
            disk: new_disk(shard),
            clock,
            process: None,
            life: 0,
            paused_until: 0,
            looked_at: None,
            stalled_until: 0,
            is_bad: false,
            is_risky: false,
            owes: None,
        }
    }

    pub(super) fn now(&self, time: u64) -> Now {
        self.clock.now(time)
    }

    /// What the monotonic clock shows.
    pub(super) fn clock_now(&self, time: u64) -> MonoUs {
        self.now(time).mono
    }

    pub(super) fn time_of(&self, mono: MonoUs) -> u64 {
        self.clock.time_of(mono)
    }

    /// Starts a process: reads what the disk has, and goes on from there.
    pub(super) fn start(
        &mut self,
        settings: &Settings,
        (shown, time): (u64, u64),
        dice: &mut Dice,
    ) -> Outcome {
        self.life += 1;
        self.clock.base = (shown, time);
        let id = self.shard;
        let mut shard = new_shard(id, dice.next());
        shard.keyspace_mut().set_thresholds(settings.thresholds);
        shard.keyspace_mut().set_outcome_bounds(settings.outcomes);
        shard.keyspace_mut().set_changes_bytes_max(settings.changes_bytes_max);
        let refused = |why: String| format!("node {} can't be started: {why}", self.id.0);
        let mut recovery = Recovery::open(&mut self.disk, id, SHARDS, ID)
            .map_err(|error| refused(error.to_string()))?;
        let found = HardState::read(&mut self.disk).map_err(|error| refused(error.to_string()))?;
        let hard_state =
            found.unwrap_or_else(|| first_hard_state((self.id, id), settings.founders));
        let manifest = recovery.manifest();
        let applied = (LogIndex(manifest.first_index.0 - 1), manifest.base_term);
        let mut replica = RecoveringReplica { hard_state, applied, entries: Vec::new() };
        while recovery
            .step_in_place(|place, item| replica.take(place, item, &mut shard))
            .map_err(|error| refused(error.to_string()))?
        {}
        let is_doubtful = recovery.base_was_missing() || recovery.manifest().clean_index.is_none();
        shard.end_recovery(self.clock.now(time));
        shard.start_log(Stream::new(recovery.finish(), settings.stream), false);
        let RecoveringReplica { hard_state, applied, entries } = replica;
        let starts = entries.iter().map(|(start, _)| *start).collect();
        let restored = Restored { hard_state, applied, entries, is_doubtful };
        let options = ReplicaOptions { node: self.id, ..settings.replica.clone() };
        let replica = Replica::new(id, options, restored).map_err(refused)?;
        shard.start_replica(replica, starts);
        self.process = Some(Process {
            shard,
            stats: ReplicaStats::default(),
            under_way: Vec::new(),
            replies: Vec::new(),
            held: Vec::new(),
            readers: Vec::new(),
            read: [0; REGISTERS],
            restart: None,
            rebuild: None,
            hands_over_until: None,
            is_leaving: false,
            is_stopping: false,
            is_closed: false,
        });
        (self.paused_until, self.looked_at) = (0, None);
        Ok(())
    }

    /// The process ends at once, and perhaps the power fails.
    pub(super) fn crash(&mut self, has_power: bool, dice: &mut Dice) {
        let Some(process) = self.process.take() else { return };
        let under_way = process.under_way.into_iter().map(|(_, it)| it).collect();
        leave_half_done(under_way, &mut self.disk, dice);
        if has_power {
            self.disk.kill(dice)
        } else {
            self.disk.crash(dice)
        }
        (self.life, self.stalled_until, self.is_risky) = (self.life + 1, 0, false);
    }

    /// The process ends of its own will; false if that is as if it had been killed.
    pub(super) fn end(&mut self, dice: &mut Dice) -> bool {
        (self.life, self.is_risky) = (self.life + 1, false);
        let Some(process) = self.process.take() else { return true };
        let refusal = process.shard.log_state().and_then(|state| state.refusal);
        let is_clean = refusal == Some(Refusal::Stopping) && !process.shard.has_failed();
        if !is_clean {
            self.disk.kill(dice);
        }
        is_clean
    }

    /// The disk is another one.
    pub(super) fn lose_disk(&mut self) {
        self.disk = new_disk(self.shard);
        (self.is_bad, self.owes) = (true, None);
    }

    /// Does what is under way under this number; answers what the shard wants done then.
    pub(super) fn perform(&mut self, number: u64, now: Now) -> Option<Vec<Effect>> {
        let process = self.process.as_mut()?;
        let at = process.under_way.iter().position(|(of, _)| *of == number)?;
        let (_, it) = process.under_way.swap_remove(at);
        Some(perform(it, &mut self.disk, &mut process.shard, now).0)
    }

    /// The log is to begin anew.
    pub(super) fn start_over(&mut self, index: LogIndex, term: Term) {
        if let Some(process) = &mut self.process {
            process.restart = Some((index, term));
        }
    }

    /// Begins the log anew if that is due and nothing is under way in the one before.
    pub(super) fn restart_log(&mut self, options: StreamOptions) {
        let Some(process) = &mut self.process else { return };
        let is_busy = process
            .under_way
            .iter()
            .any(|(_, it)| !matches!(it, UnderWay::Job(crate::log::Job::SaveHardState(_))));
        let Some((last, term)) = process.restart.filter(|_| !is_busy) else { return };
        // Where the disk does not take it, it is tried again.
        if let Ok(resume) = start_over(&mut self.disk, self.shard, SHARDS, ID) {
            process.restart = None;
            process.shard.restart_log(Stream::new(resume.behind(last, term), options));
        }
    }

    /// The log is to be read again.
    pub(super) fn start_rebuild(&mut self, number: u64) -> Outcome {
        let Some(process) = &mut self.process else { return Ok(()) };
        let recovery = Recovery::open(&mut self.disk, self.shard, SHARDS, ID);
        let recovery = recovery.map_err(|error| format!("it can't be read again: {error}"))?;
        process.rebuild = Some((number, recovery));
        Ok(())
    }

    /// Reads on in it, for a while; answers what has come of it, if anything is read.
    pub(super) fn rebuild(&mut self, dice: &mut Dice) -> Outcome<Option<Rebuilt>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let Some((number, recovery)) = &mut process.rebuild else { return Ok(None) };
        let mut rebuilt = Rebuilt::InPart;
        for _ in 0..1 + dice.below(30) {
            let result = process.shard.rebuild(*number, recovery);
            rebuilt = result.map_err(|error| format!("it can't be made again: {error}"))?;
            if rebuilt != Rebuilt::InPart {
                process.rebuild = None;
                break;
            }
        }
        Ok(Some(rebuilt))
    }

    /// Whether it has noted that it has begun.
    pub(super) fn has_hard_state(&mut self) -> bool {
        HardState::read(&mut self.disk).ok().flatten().is_some()
    }

    /// Whether it knows that the shard has begun, or had stopped in good order before that.
    pub(super) fn knows_the_shard(&mut self) -> bool {
        let state = HardState::read(&mut self.disk).ok().flatten();
        state.is_some_and(|it| it.has_begun || it.is_clean)
    }

    /// Whether its process takes no part any more before it is started again.
    pub(super) fn has_failed(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.shard.has_failed())
    }

    /// Whether what its process has in memory is about to be lost, or has been.
    pub(super) fn is_unsafe(&self) -> bool {
        self.is_bad || self.is_risky
    }
}

fn new_disk(shard: ShardId) -> Disk {
    let mut disk = Disk::default();
    create(&mut disk, &Manifest::new(shard, SHARDS, ID)).expect("a new log can be made");
    disk
}

fn first_hard_state((node, shard): (NodeId, ShardId), founders: usize) -> HardState {
    let voters: Vec<NodeId> = (1..=founders as u64).map(NodeId).collect();
    let is_founder = voters.contains(&node);
    HardState::first((shard, ID), node, if is_founder { voters } else { Vec::new() })
}
