//! The shards as one core sees them: which tokens it holds, and how it comes by the others'.
//!
//! A core takes the tokens of its own shards when it comes back from the kernel and gives them back
//! before it goes there. A foreign token is borrowed for one batch of one connection.

use super::batch::Batch;
use super::token::{Holder, Lent};
use crate::shard::Shard;
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
}

/// The tokens of one core.
pub(crate) struct Shards<'a> {
    cells: &'a [ShardCell],
    held: Vec<Option<ShardHolder<'a>>>,
    own: Vec<ShardId>,
    borrowed: Vec<ShardId>,
    refused: Vec<ShardId>,
}

impl<'a> Shards<'a> {
    /// The view of a core that owns `own`.
    pub(crate) fn new(cells: &'a [ShardCell], own: Vec<ShardId>) -> Self {
        let held = cells.iter().map(|_| None).collect();
        Self { cells, held, own, borrowed: Vec::new(), refused: Vec::new() }
    }

    /// A shard's cell.
    pub(crate) fn cell(&self, shard: ShardId) -> &'a ShardCell {
        &self.cells[usize::from(shard.0)]
    }

    /// The shards this core owns.
    pub(crate) fn own(&self) -> &[ShardId] {
        &self.own
    }

    /// Whether this core owns `shard`.
    pub(crate) fn owns(&self, shard: ShardId) -> bool {
        self.own.contains(&shard)
    }

    /// Takes the tokens of the own shards that nobody else has.
    pub(crate) fn take_own(&mut self) {
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
            self.held[index] = self.cells[index].try_take();
            match self.held[index] {
                Some(_) => self.borrowed.push(shard),
                None => self.refused.push(shard),
            }
        }
        self.held[index].as_mut().map(Holder::value)
    }

    /// Asks no more for the shard's token within this batch: what comes for it is left to others.
    /// Answers the token if it was borrowed, to be given back.
    pub(crate) fn refuse(&mut self, shard: ShardId) -> Option<ShardHolder<'a>> {
        if !self.refused.contains(&shard) {
            self.refused.push(shard);
        }
        self.detach(shard)
    }

    /// Takes a held token out of this turn's hands.
    pub(crate) fn detach(&mut self, shard: ShardId) -> Option<ShardHolder<'a>> {
        self.held[usize::from(shard.0)].take()
    }

    /// Ends a batch: answers the next token borrowed for it, to be given back. Shards whose token was
    /// refused are asked again from now on.
    pub(crate) fn next_borrowed(&mut self) -> Option<(ShardId, ShardHolder<'a>)> {
        self.refused.clear();
        while let Some(shard) = self.borrowed.pop() {
            if let Some(holder) = self.detach(shard) {
                return Some((shard, holder));
            }
        }
        None
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
