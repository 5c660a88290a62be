//! The shards as one core sees them: which tokens it holds, and how it comes by the others'.
//!
//! A token is borrowed for one batch of one connection, or for the part of it that needs the shard; one
//! core alone holds all tokens while it is not in the kernel.

use std::sync::Arc;

use super::batch::Batch;
use super::token::{Holder, Lent};
use super::transaction::Unwatched;
use crate::cache::Tracker;
use crate::shard::{Shard, Wait};
use crate::types::{CoreId, ShardId};

/// A shard behind its token.
pub(crate) type ShardCell = Lent<Shard, Queued>;
/// The right to touch a shard.
pub(crate) type ShardHolder<'a> = Holder<'a, Shard, Queued>;

/// What waits for a shard.
#[derive(Debug)]
pub(crate) enum Queued {
    /// Commands; whoever holds the token runs them.
    Batch(Box<Batch>),
    /// A core that needs the token itself, for a command over several shards.
    Claim {
        /// The core.
        core: CoreId,
        /// The claim's number on that core.
        ticket: u64,
    },
    /// A core that has something to do here.
    Tell {
        /// The core.
        core: CoreId,
    },
    /// A client's keys here that it watches no longer.
    Unwatch(Unwatched),
    /// A client that waits for keys here no longer.
    Unwait(Arc<Wait>),
    /// A client that has no prefixes to be told of any longer.
    Untrack(Tracker),
}

/// The tokens of one core.
pub(crate) struct Shards<'a> {
    cells: &'a [ShardCell],
    held: Vec<Option<ShardHolder<'a>>>,
    own: Vec<ShardId>,
    /// Whether there is no other core.
    is_alone: bool,
    borrowed: Vec<ShardId>,
    refused: Vec<ShardId>,
    /// Other cores' shards that were borrowed and given back in this batch.
    foreign: u64,
}

impl<'a> Shards<'a> {
    /// The view of a core that owns `own`, and that is the only core or not.
    pub(crate) fn new(cells: &'a [ShardCell], own: Vec<ShardId>, is_alone: bool) -> Self {
        let held = cells.iter().map(|_| None).collect();
        Self { cells, held, own, is_alone, borrowed: Vec::new(), refused: Vec::new(), foreign: 0 }
    }

    /// A shard's cell.
    pub(crate) fn cell(&self, shard: ShardId) -> &'a ShardCell {
        &self.cells[usize::from(shard.0)]
    }

    /// Makes `own` the shards this core owns. Between turns only: no token is held then.
    pub(crate) fn set_own(&mut self, own: Vec<ShardId>) {
        debug_assert!(self.held.iter().all(Option::is_none), "a token is held between turns");
        self.own = own;
    }

    /// The shards this core owns.
    pub(crate) fn own(&self) -> &[ShardId] {
        &self.own
    }

    /// Whether this core owns `shard`.
    pub(crate) fn owns(&self, shard: ShardId) -> bool {
        self.own.contains(&shard)
    }

    /// Takes the tokens of all shards if there is no other core: they are held for the whole turn.
    /// Where there is, a core's own shards are borrowed for a batch like any other, so that it finds
    /// the other cores' shards, and they its own, free more often.
    pub(crate) fn take_own(&mut self) {
        if !self.is_alone {
            return;
        }
        for shard in &self.own {
            let index = usize::from(shard.0);
            if self.held[index].is_none() {
                self.held[index] = self.cells[index].try_take();
            }
        }
    }

    /// The shard, if its token is held already.
    pub(crate) fn held(&mut self, shard: ShardId) -> Option<&mut Shard> {
        self.held[usize::from(shard.0)].as_mut().map(Holder::value)
    }

    /// The shard, if its token is held or free. Within one batch a token is asked for once: commands
    /// behind one that was left to another core must not overtake it.
    pub(crate) fn borrow(&mut self, shard: ShardId) -> Option<&mut Shard> {
        let index = usize::from(shard.0);
        if self.held[index].is_none() {
            if self.refused.contains(&shard) {
                return None;
            }
            if self.borrow_again(shard).is_none() {
                self.refused.push(shard);
            }
        }
        self.held[index].as_mut().map(Holder::value)
    }

    /// Whether the shard's token is not asked for again in this batch.
    pub(crate) fn is_refused(&self, shard: ShardId) -> bool {
        self.refused.contains(&shard)
    }

    /// Asks no more for the shard's token within this batch: what comes for it is left to others.
    pub(crate) fn note_refused(&mut self, shard: ShardId) {
        if !self.is_refused(shard) {
            self.refused.push(shard);
        }
    }

    /// The shard, if its token is held or free; it may be asked for again until `note_refused`.
    pub(crate) fn borrow_again(&mut self, shard: ShardId) -> Option<&mut Shard> {
        let index = usize::from(shard.0);
        if self.held[index].is_none() {
            self.held[index] = self.cells[index].try_take();
            if self.held[index].is_some() {
                self.borrowed.push(shard);
            }
        }
        self.held[index].as_mut().map(Holder::value)
    }

    /// Takes a token that was gathered for this batch into its hands.
    pub(crate) fn attach(&mut self, shard: ShardId, holder: ShardHolder<'a>) {
        debug_assert!(self.held[usize::from(shard.0)].is_none(), "a token is held once");
        self.held[usize::from(shard.0)] = Some(holder);
        if !self.borrowed.contains(&shard) {
            self.borrowed.push(shard);
        }
    }

    /// Takes a borrowed token out of this batch's hands, to be given back before the batch ends.
    pub(crate) fn end_borrow(&mut self, shard: ShardId) -> Option<ShardHolder<'a>> {
        let at = self.borrowed.iter().position(|borrowed| *borrowed == shard)?;
        self.borrowed.swap_remove(at);
        self.foreign += u64::from(!self.owns(shard));
        self.detach(shard)
    }

    /// Asks no more for the shard's token within this batch, and answers it if it is held, to be given
    /// back.
    pub(crate) fn refuse(&mut self, shard: ShardId) -> Option<ShardHolder<'a>> {
        self.note_refused(shard);
        self.end_borrow(shard)
    }

    /// Takes a held token out of this turn's hands.
    pub(crate) fn detach(&mut self, shard: ShardId) -> Option<ShardHolder<'a>> {
        self.held[usize::from(shard.0)].take()
    }

    /// Ends a batch: answers the next token borrowed for it, to be given back. Shards whose token was
    /// refused are asked again from now on.
    pub(crate) fn next_borrowed(&mut self) -> Option<ShardHolder<'a>> {
        self.refused.clear();
        while let Some(shard) = self.borrowed.last().copied() {
            if let Some(holder) = self.end_borrow(shard) {
                return Some(holder);
            }
        }
        None
    }

    /// How many times a shard of another core was borrowed since this was last asked.
    pub(crate) fn foreign_borrows(&mut self) -> u64 {
        std::mem::take(&mut self.foreign)
    }

    /// All shards named in `needed`, for one command; `None` unless all their tokens are held.
    /// Indexed by shard.
    pub(crate) fn all(&mut self, needed: &[ShardId]) -> Option<Vec<Option<&mut Shard>>> {
        let mut shards: Vec<Option<&mut Shard>> =
            self.held.iter_mut().map(|holder| holder.as_mut().map(Holder::value)).collect();
        if needed.iter().any(|shard| shards[usize::from(shard.0)].is_none()) {
            return None;
        }
        for (index, shard) in shards.iter_mut().enumerate() {
            if !needed.iter().any(|needed| usize::from(needed.0) == index) {
                *shard = None;
            }
        }
        Some(shards)
    }
}
