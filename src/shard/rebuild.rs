//! A replica's keyspace is made again from its own log, while the log goes on.
//!
//! ```text
//! wanted ─► the log comes to rest ─► its segments are set apart ─► read, record by record ─► the keyspace
//!                                        └─► entries go to the next segment
//! ```
//!
//! What is read is written no more: the next entry begins another segment. No snapshot is taken meanwhile, since the
//! keyspace is of no use, and so nothing that is read is removed.

use std::ops::Deref;

use super::Shard;
use super::durable::Durable;
use super::replicated::Replicated;
use crate::cache::Keyspace;
use crate::log::{Effect, Item, OpenError, Place, Recovery};
use crate::plant::{Fault, is_planted};
use crate::replica::Replica;
use crate::types::Now;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebuilt {
    /// There is more to be read.
    InPart,
    /// The keyspace is there.
    Whole,
    /// Another has come meanwhile, or is to be made later.
    Dropped,
}

impl Shard {
    /// Has the keyspace made again if that is wanted. True while nothing is to be written to the log, which is about to
    /// be read.
    pub(super) fn ask_for_rebuild(
        &mut self,
        it: &mut Replicated,
        log: &mut Durable,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> bool {
        // Before its first snapshot a log means nothing.
        if !it.replica.wants_rebuild() || log.stream.is_base_missing() {
            return false;
        }
        let (base, durable) = (it.replica.base(), log.durable());
        if durable < base {
            log.wanted = log.wanted.max(base);
            return false;
        }
        if !log.stream.set_apart() {
            log.stream.step(now, 0, true, effects);
            return true;
        }
        // What it held helps nobody: there need not be room for two.
        if !is_planted(Fault::RebuildOverTainted) {
            let mut empty = self.keyspace.fresh();
            empty.take_place_of(&mut self.keyspace);
            self.keyspace = empty;
        }
        let up_to = it.replica.committed().min(durable);
        effects.push(Effect::ReadAgain(it.replica.begin_rebuild(log.stream.base(), up_to)));
        true
    }

    /// Reads on in the log, to make the keyspace again: of this number, that of [`Effect::ReadAgain`].
    ///
    /// # Errors
    /// What is wrong with the log.
    pub fn rebuild<C: Deref<Target = [u8]>>(
        &mut self,
        number: u64,
        recovery: &mut Recovery<C>,
    ) -> Result<Rebuilt, OpenError> {
        let (replicated, keyspace) = (self.replicated.as_mut(), &mut self.keyspace);
        let Some(it) = replicated.filter(|it| it.replica.is_rebuilding(number)) else {
            return Ok(Rebuilt::Dropped);
        };
        let replica = &mut it.replica;
        let goes_on = recovery.step_in_place(|place, item| take(replica, keyspace, place, item))?;
        // It happened long ago, and was told then.
        keyspace.take_events();
        keyspace.take_outdated();
        if goes_on && !replica.is_read() {
            return Ok(Rebuilt::InPart);
        }
        Ok(if replica.end_rebuild() { Rebuilt::Whole } else { Rebuilt::Dropped })
    }

    /// The log can't be read.
    pub fn fail_rebuild(&mut self, number: u64) {
        if let Some(it) = &mut self.replicated
            && it.replica.is_rebuilding(number)
        {
            it.replica.fail_rebuild();
        }
    }
}

/// Makes again what a record brings; answers how many entries or changes that was, nothing if it makes no sense.
fn take(
    replica: &mut Replica,
    keyspace: &mut Keyspace,
    place: &Place,
    item: Item<'_>,
) -> Option<u64> {
    if let Item::Part(payload) = item {
        return keyspace.restore_entries(payload).ok();
    }
    let is_wanted = replica.note_read((place.header.index, place.header.term));
    match item {
        Item::Changes { payload, overlaps_snapshot } if is_wanted => {
            keyspace.replay(payload, overlaps_snapshot).ok()
        }
        // Who takes part is known.
        Item::Part(_) | Item::Changes { .. } | Item::Configuration { .. } => Some(0),
    }
}
