//! The life of a shard's log: read when the server starts, begun or ended while it runs
//! (`CONFIG SET durability`), closed when it stops.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::core::Core;
use super::replicas::RecoveringReplica;
use crate::config::Durability;
use crate::limits::RECOVERY_STEP_US;
use crate::log::{OpenError, Recovery, Stream};
use crate::metrics::Step;
use crate::shard::{Shard, SnapshotPolicy};
use crate::types::{LogIndex, ShardId, Term};

/// A shard whose log is being read.
pub(crate) struct Recovering {
    pub(crate) shard: ShardId,
    pub(crate) recovery: Recovery<super::log_files::Content>,
    pub(crate) options: crate::log::StreamOptions,
    pub(crate) since: std::time::Instant,
    /// Of a node of a cluster.
    pub(crate) replica: Option<RecoveringReplica>,
}

impl Recovering {
    /// Reads on: makes again what a record brings. Of a replica that is only done with what is known to be committed;
    /// the rest may have to give way yet.
    fn step(&mut self, shard: &mut Shard) -> Result<bool, OpenError> {
        let Some(replica) = &mut self.replica else {
            return self.recovery.step(|item| shard.recover(item));
        };
        self.recovery.step_in_place(|place, item| replica.take(place, item, shard))
    }
}

/// Tells that a shard's log can't be read, and what can be done.
pub(crate) fn unreadable_log(dir: &Path, shard: ShardId, error: &OpenError) -> String {
    let dir = dir.display();
    format!(
        "The log of shard {0} can't be read: in '{dir}/shard-{0:04}', {error}. Nothing was changed. \
         'ringmain log verify {dir}' shows what is there, and 'ringmain log repair {dir}' what can be \
         done.",
        shard.0,
    )
}

impl Core<'_> {
    // --- when the server starts --------------------------------------------------------------

    /// Reads on in the logs of shards that are being recovered, for a bounded time.
    pub(super) fn recover_some(&mut self) {
        let Some(mut recovering) = self.logs.recovering.pop() else { return };
        let id = recovering.shard;
        let started = std::time::Instant::now();
        let Some(shard) = self.shards.borrow_again(id) else {
            self.logs.recovering.push(recovering);
            return;
        };
        let result = loop {
            match recovering.step(shard) {
                Ok(true) => {}
                other => break other,
            }
            if started.elapsed().as_micros() >= u128::from(RECOVERY_STEP_US) {
                break Ok(true);
            }
        };
        let stats = self.node.log(id);
        stats.set_loaded(recovering.recovery.progress());
        match result {
            Ok(true) => {
                // In turns, so that all shards come up about together.
                self.logs.recovering.insert(0, recovering);
            }
            Ok(false) => self.recovered(recovering),
            Err(error) => {
                tracing::error!(shard = id.0, "{error}");
                self.node.fail(unreadable_log(&self.config.dir, id, &error));
                self.logs.recovering.clear();
                self.ask_to_stop();
            }
        }
        self.engine.end_step_of(Step::Recovery);
    }

    fn recovered(&mut self, recovering: Recovering) {
        let Recovering { shard: id, recovery, options, since, replica } = recovering;
        if let Some(cut) = recovery.cut() {
            tracing::warn!(
                shard = id.0,
                file = cut.file,
                at = cut.at.0,
                "the log ended in a torn record, which nobody was promised ({}): it was cut off",
                cut.fault
            );
        }
        if recovery.base_was_missing() {
            tracing::warn!(
                shard = id.0,
                "the log was begun while the server ran (CONFIG SET durability), and the snapshot that it begins \
                 with was not finished: nothing in it counts, the shard is as the log before left it, if there was one"
            );
        }
        let (entries, changes) = recovery.counts();
        if entries + changes > 0 {
            tracing::info!(
                shard = id.0,
                entries,
                changes,
                seconds = since.elapsed().as_secs_f64(),
                "recovered"
            );
        }
        // Whoever stopped cleanly has kept all that he had told others.
        let is_doubtful = recovery.base_was_missing() || recovery.manifest().clean_index.is_none();
        let stream = Stream::new(recovery.finish(), options);
        let sequence = self.engine.now.first_sequence();
        if let Some(shard) = self.shards.borrow_again(id) {
            if replica.is_none() {
                shard.keyspace_mut().raise_sequence(sequence);
            }
            shard.end_recovery(self.engine.now);
            shard.start_log(stream, false);
            self.logs.is_on = true;
        }
        if let Some(replica) = replica
            && let Err(error) = self.start_replica(id, replica, is_doubtful)
        {
            self.node.fail(format!("The replica of shard {} can't be started: {error}.", id.0));
            self.ask_to_stop();
        }
        self.node.log(id).set_loading(false);
        self.node.loading.fetch_sub(1, Ordering::AcqRel);
        // It may have been changed meanwhile.
        self.follow_durability();
        self.update_snapshot_policy();
        self.step_log(id, true);
    }

    // --- a durability that changes while the server runs -------------------------------------

    /// Begins or ends the logs of this core's shards as the configuration says.
    pub(super) fn follow_durability(&mut self) {
        let wants_log = self.config.keeps_logs();
        self.logs.is_unsettled = false;
        for index in 0..self.shards.own().len() {
            let id = self.shards.own()[index];
            if self.node.log(id).is_loading() {
                continue;
            }
            let Some(shard) = self.shards.borrow_again(id) else {
                // Whoever holds it gives it back within a moment.
                self.logs.is_unsettled = true;
                continue;
            };
            if wants_log == shard.has_log() {
                shard.keep_log();
                continue;
            }
            let stats = self.node.log(id);
            if !wants_log {
                let last = shard.log_state().map_or(LogIndex(0), |state| state.last);
                if !shard.end_log() {
                    self.logs.is_unsettled = true;
                    continue;
                }
                let bits = stats.clear(last);
                self.tell_cores(bits);
                continue;
            }
            if stats.has_operations() {
                // What the log before still does to the folder comes first.
                self.logs.is_unsettled = true;
                continue;
            }
            match self.logs.files.start_over(
                id,
                self.node.slots.shard_count(),
                (stats.ended_at(), Term(0)),
            ) {
                Ok(resume) => {
                    stats.note_begun(None);
                    let stream = Stream::new(resume, self.logs.files.options(&self.config));
                    shard.start_log(stream, true);
                    // Before anybody else has the shard, and waits for a record of it.
                    let state = shard.log_state();
                    self.publish_log(id, state);
                    self.logs.is_on = true;
                }
                Err(error) => {
                    tracing::error!(shard = id.0, "the log can't be begun: {error}");
                    stats.note_begun(Some(error.to_string()));
                    // What would not be kept is not promised either.
                    self.node.config.update(|config| config.durability = Durability::Memory);
                }
            }
        }
    }

    /// Takes over when snapshots are taken unasked.
    pub(super) fn update_snapshot_policy(&mut self) {
        let shards = u64::from(self.node.slots.shard_count());
        let config = &self.config;
        let policy = SnapshotPolicy {
            log_bytes_max: (config.log_bytes_max / shards).max(2 * config.segment_bytes),
            growth_percent: config.auto_aof_rewrite_percentage,
            growth_bytes_min: config.auto_aof_rewrite_min_size_bytes / shards,
        };
        for index in 0..self.shards.own().len() {
            let id = self.shards.own()[index];
            if let Some(shard) = self.shards.borrow_again(id) {
                shard.set_snapshot_policy(policy);
            }
        }
    }

    // --- the end -----------------------------------------------------------------------------

    /// Whether the logs of this core's shards are closed, so that the core may end.
    pub(super) fn close_logs(&mut self) -> bool {
        if !self.logs.is_on {
            return true;
        }
        self.logs.recovering.clear();
        self.logs.rebuilding.clear();
        self.note_saved();
        self.give_answers();
        let now = self.engine.now;
        let mut is_closed = self.logs.answers.is_empty();
        for index in 0..self.shards.own().len() {
            let id = self.shards.own()[index];
            let Some(shard) = self.shards.borrow_again(id) else {
                is_closed = false;
                continue;
            };
            let mut effects = std::mem::take(&mut self.logs.effects);
            is_closed &= shard.close_log(now, &mut effects);
            let state = shard.log_state();
            self.publish_log(id, state);
            self.perform_effects(id, &mut effects);
            self.logs.effects = effects;
        }
        is_closed && self.logs.operations.iter().all(Option::is_none)
    }
}
