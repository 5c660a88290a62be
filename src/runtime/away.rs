//! Shards that another core, or a command in steps, holds while this core has something to do for them unasked: keys to
//! expire, a log to step, what another node has said.
//!
//! A token is mostly away for a moment, so the core looks again at its next turn, and does not sleep. If that goes on
//! for too long it leaves word in the shard's queue, and may sleep until it hears that its turn has come.

use super::core::Core;
use super::shards::Queued;
use crate::limits::TOKEN_PATIENCE_US;
use crate::types::{MonoUs, ShardId};

/// The shards of one core that are away.
#[derive(Debug, Default)]
pub(super) struct Away(Vec<Absence>);

#[derive(Debug)]
struct Absence {
    shard: ShardId,
    /// When it was first missed.
    since: MonoUs,
    /// Whether the core is told when its turn has come.
    is_told: bool,
}

impl Away {
    /// Whether there is no need to look for a shard: the core is told.
    pub(super) fn is_told_of(&self, shard: ShardId) -> bool {
        self.0.iter().any(|absence| absence.shard == shard && absence.is_told)
    }

    /// A shard is missed; whether it is for too long.
    fn note_missed(&mut self, shard: ShardId, now: MonoUs) -> bool {
        let known = self.0.iter().position(|absence| absence.shard == shard);
        let Some(known) = known else {
            self.0.push(Absence { shard, since: now, is_told: false });
            return false;
        };
        let absence = &mut self.0[known];
        let is_long = now.0.saturating_sub(absence.since.0) > TOKEN_PATIENCE_US;
        is_long && !std::mem::replace(&mut absence.is_told, is_long)
    }

    /// A shard is here. Who was to be told of it still is.
    fn note_found(&mut self, shard: ShardId) {
        self.0.retain(|absence| absence.shard != shard || absence.is_told);
    }

    /// The core has been told.
    pub(super) fn note_back(&mut self, shard: ShardId) {
        self.0.retain(|absence| absence.shard != shard);
    }
}

impl Core<'_> {
    /// Whether a shard is at hand for what this core has to do for it unasked. If not, the core is to ask again.
    pub(super) fn is_here(&mut self, shard: ShardId) -> bool {
        if self.shards.borrow_again(shard).is_some() {
            self.away.note_found(shard);
            return true;
        }
        if self.away.note_missed(shard, self.engine.now.mono) {
            self.leave_in_queue(shard, Queued::Tell { core: self.id });
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{Away, MonoUs, ShardId, TOKEN_PATIENCE_US};

    const A: ShardId = ShardId(3);
    const B: ShardId = ShardId(4);

    #[test]
    fn who_misses_a_shard_for_long_is_told_once() {
        let mut away = Away::default();
        assert!(!away.note_missed(A, MonoUs(5)));
        assert!(!away.note_missed(A, MonoUs(5 + TOKEN_PATIENCE_US)) && !away.is_told_of(A));
        assert!(away.note_missed(A, MonoUs(6 + TOKEN_PATIENCE_US)) && away.is_told_of(A));
        assert!(!away.note_missed(A, MonoUs(7 + TOKEN_PATIENCE_US)) && !away.is_told_of(B));
        // Found by chance before word has come.
        away.note_found(A);
        assert!(away.is_told_of(A));
        away.note_back(A);
        assert!(!away.is_told_of(A) && !away.note_missed(A, MonoUs(8 + TOKEN_PATIENCE_US)));
    }

    #[test]
    fn many_short_absences_are_no_long_one() {
        let mut away = Away::default();
        for turn in 0..10 {
            let now = MonoUs(turn * (TOKEN_PATIENCE_US - 1));
            assert!(!away.note_missed(A, now) && !away.note_missed(B, now));
            away.note_found(A);
            away.note_back(B);
        }
    }
}
