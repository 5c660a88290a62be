//! Keyspaces of replicas that are made again from their own logs ([`crate::replica`], `rebuild`): the logs are read in
//! pieces, between what the core does for its clients.

use std::time::Instant;

use super::core::Core;
use super::log_files::Content;
use crate::limits::REBUILD_STEP_US;
use crate::log::{OpenError, Recovery};
use crate::metrics::Step;
use crate::shard::Rebuilt;
use crate::types::ShardId;

/// A keyspace that is being made again.
pub(super) struct Rebuilding {
    shard: ShardId,
    /// Which one of that shard.
    number: u64,
    recovery: Recovery<Content>,
    since: Instant,
}

impl Core<'_> {
    /// Opens a shard's log, to be read for the keyspace of this number. At once: what is read is written no more.
    pub(super) fn start_rebuild(&mut self, shard: ShardId, number: u64) {
        tracing::warn!(
            shard = shard.0,
            "the data of this replica is of no use, and no leader sends it: it is made again from the log"
        );
        match self.logs.files.recover(shard, self.node.slots.shard_count()) {
            Ok(recovery) => {
                let since = Instant::now();
                self.logs.rebuilding.push(Rebuilding { shard, number, recovery, since });
            }
            Err(error) => self.fail_rebuild(shard, number, &error),
        }
    }

    fn fail_rebuild(&mut self, id: ShardId, number: u64, error: &OpenError) {
        tracing::error!(
            shard = id.0,
            "the data can't be made again from the log, only sent by a leader: {error}"
        );
        if let Some(shard) = self.shards.borrow_again(id) {
            shard.fail_rebuild(number);
        }
    }

    /// Reads on in the logs from which keyspaces are made, for a bounded time.
    pub(super) fn rebuild_some(&mut self) {
        let Some(mut rebuilding) = self.logs.rebuilding.pop() else { return };
        let Rebuilding { shard: id, number, ref mut recovery, since } = rebuilding;
        let started = Instant::now();
        let Some(shard) = self.shards.borrow_again(id) else {
            self.logs.rebuilding.insert(0, rebuilding);
            return;
        };
        let result = loop {
            let result = shard.rebuild(number, recovery);
            let is_long = started.elapsed().as_micros() >= u128::from(REBUILD_STEP_US);
            if is_long || !matches!(result, Ok(Rebuilt::InPart)) {
                break result;
            }
        };
        match result {
            // In turns.
            Ok(Rebuilt::InPart) => self.logs.rebuilding.insert(0, rebuilding),
            Ok(Rebuilt::Whole) => {
                let (entries, changes) = recovery.counts();
                let seconds = since.elapsed().as_secs_f64();
                tracing::info!(shard = id.0, entries, changes, seconds, "the data is made again");
                self.step_log(id, true);
            }
            Ok(Rebuilt::Dropped) => {
                tracing::info!(
                    shard = id.0,
                    "the data is not made again: a leader sends it, or too many entries have come meanwhile"
                );
            }
            Err(error) => self.fail_rebuild(id, number, &error),
        }
        self.engine.end_step_of(Step::Recovery);
    }
}
