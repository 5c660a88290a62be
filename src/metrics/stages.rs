//! Where the time of a request goes, from its bytes' arrival to its reply's departure.
//!
//! ```text
//! bytes came ──ring──► batch starts ──batch──► batch ends ──reply──► handed to the ring ──send──► kernel done
//!            ──held──►              execute               ├── hop ──┤
//!                                                         ├─ gather ┤
//!            ──────────────────────── total ────────────────────────►
//! ```
//!
//! For every request `total` is `ring` (or `held`) plus `batch` plus `reply`. What each stage measures,
//! and what it does not, is in `docs/latency.md`; `runtime::timeline` and `runtime::turn` do the
//! arithmetic. A stage that comes later (the quorum) is one more row here.

use std::sync::Mutex;

use super::commands::Commands;
use super::latencies::{Counts, Latencies};
use super::lock;

/// A stretch of a request's way through the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From when its bytes can have come, at the earliest, to the start of the batch it came in.
    Ring,
    /// The same, for requests whose connection could not go on when they came.
    Held,
    /// The batch it came in: itself and the requests of the same client around it.
    Batch,
    /// The command itself.
    Execute,
    /// A batch left for another core until its replies were back.
    Hop,
    /// A command over several shards until it had all their tokens.
    Gather,
    /// A write of records to a log, or a sync of one, from when it was handed to the ring until the disk had
    /// it. One for each, not for each request; replies that wait for it are in `reply`.
    Log,
    /// From the end of its batch until its reply was handed to the ring.
    Reply,
    /// From when its reply was handed to the ring until the kernel had done all that it was given then.
    Send,
    /// From when its bytes can have come, at the earliest, until its reply was handed to the ring.
    Total,
}

/// Number of stages.
const STAGES: usize = Stage::ALL.len();

impl Stage {
    /// All stages in the order of a request's way.
    pub const ALL: [Self; 10] = [
        Self::Ring,
        Self::Held,
        Self::Batch,
        Self::Execute,
        Self::Hop,
        Self::Gather,
        Self::Log,
        Self::Reply,
        Self::Send,
        Self::Total,
    ];

    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Held => "held",
            Self::Batch => "batch",
            Self::Execute => "execute",
            Self::Hop => "hop",
            Self::Gather => "gather",
            Self::Log => "log",
            Self::Reply => "reply",
            Self::Send => "send",
            Self::Total => "total",
        }
    }

    /// The stage of a name, in any case.
    pub fn find(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// What one core records of the stages. One thread records; anyone reads or resets.
///
/// What is executed is recorded by command; this stage is the sum of those, and of what ran while
/// commands were not tracked.
#[derive(Debug, Default)]
pub(super) struct Stages {
    stages: [Latencies; STAGES],
    /// What [`Stage::Execute`] summed up to when the stages, but not the commands, were last reset.
    executed_before: Mutex<Counts>,
}

impl Stages {
    #[inline]
    pub(super) fn record(&self, stage: Stage, ns: u64, count: u64) {
        self.stages[stage as usize].record(ns, count);
    }

    /// Adds the latencies of `stage` to `sum`.
    pub(super) fn add_to(&self, stage: Stage, commands: &Commands, sum: &mut Counts) {
        if stage != Stage::Execute {
            return self.stages[stage as usize].add_to(sum);
        }
        let before = lock(&self.executed_before);
        let mut executed = self.executed(commands);
        executed.subtract(&before);
        sum.add(&executed);
    }

    fn executed(&self, commands: &Commands) -> Counts {
        let mut sum = Counts::default();
        self.stages[Stage::Execute as usize].add_to(&mut sum);
        commands.add_latencies_to(&mut sum);
        sum
    }

    /// Forgets the stages; the commands keep their own.
    pub(super) fn reset(&self, commands: &Commands) {
        let mut before = lock(&self.executed_before);
        self.stages.iter().for_each(Latencies::reset);
        *before = self.executed(commands);
    }

    /// Forgets the stages and the commands.
    pub(super) fn reset_with(&self, commands: &Commands) {
        let mut before = lock(&self.executed_before);
        self.stages.iter().for_each(Latencies::reset);
        commands.reset();
        *before = Counts::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CommandId, CoreMetrics};
    use super::{Counts, Stage};

    fn len(core: &CoreMetrics, stage: Stage) -> u64 {
        let mut sum = Counts::default();
        core.add_stage_to(stage, &mut sum);
        sum.histogram().len()
    }

    #[test]
    fn names_find_their_stages() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(
                (stage as usize, Stage::find(stage.name().as_bytes())),
                (index, Some(stage))
            );
        }
        assert_eq!(Stage::find(b"RING"), Some(Stage::Ring));
        assert_eq!(Stage::find(b"rings"), None);
    }

    #[test]
    fn what_commands_took_is_a_stage() {
        let core = CoreMetrics::default();
        core.record_command(CommandId(1), 100, true);
        core.record_command(CommandId(2), 200, true);
        core.record_command(CommandId(2), 300, false);
        core.record_stage(Stage::Hop, 1_000, 16);
        assert_eq!((len(&core, Stage::Execute), len(&core, Stage::Hop)), (3, 16));
        assert_eq!(len(&core, Stage::Ring), 0);
    }

    #[test]
    fn stages_are_reset_alone_or_with_the_commands() {
        let core = CoreMetrics::default();
        let record = || {
            core.record_command(CommandId(1), 100, true);
            core.record_stage(Stage::Total, 200, 1);
        };
        let calls = || {
            let mut sum = Vec::new();
            core.add_commands_to(&mut sum);
            sum[1].calls
        };
        let seen = || (len(&core, Stage::Execute), len(&core, Stage::Total), calls());
        record();
        record();
        core.reset_stages();
        assert_eq!(seen(), (0, 0, 2));
        record();
        assert_eq!(seen(), (1, 1, 3));
        core.reset();
        assert_eq!(seen(), (0, 0, 0));
        record();
        assert_eq!(seen(), (1, 1, 1));
    }
}
