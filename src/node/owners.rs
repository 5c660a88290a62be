//! Which core runs which shard, and since when: the part of the topology that changes while the server
//! runs.
//!
//! Slots belong to shards for good. A shard's owner is the core that takes its token first, expires and
//! evicts its keys, runs its long commands, and whose port is announced for its slots. Two cores that
//! disagree for a moment break nothing, because only the holder of a shard's token touches it. So a
//! change is one new table and a higher epoch; a core compares the epoch at the start of a turn, one
//! load, and reads the table when it is another.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::metrics::lock;
use crate::types::{CoreId, ShardId, SlotMap};

/// The owners of all shards as of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    slots: SlotMap,
    epoch: u64,
    /// Indexed by shard.
    cores: Box<[CoreId]>,
    /// The epoch that last gave a core a shard, indexed by core.
    core_epochs: Box<[u64]>,
    /// Whether this node serves the shard, indexed by shard; empty where it serves all of them.
    served: Box<[bool]>,
}

impl Owners {
    /// The owners at the start: equal, contiguous runs of shards. Core i came by its shards at epoch
    /// i + 1, as if a cluster had been put together one node after another.
    pub fn at_start(slots: SlotMap) -> Self {
        let cores = (0..slots.shard_count()).map(|shard| slots.first_core_of(ShardId(shard)));
        let core_epochs = (1..=u64::from(slots.core_count())).collect();
        let epoch = u64::from(slots.core_count());
        Self { slots, epoch, cores: cores.collect(), core_epochs, served: Box::default() }
    }

    /// Rises with every change. Comparable within one run of the server.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The same owners on a node of a cluster, whose topology has another epoch, with the shards that it
    /// serves.
    pub fn in_cluster(&self, epoch: u64, serves: impl FnMut(ShardId) -> bool) -> Self {
        let shards = (0..self.slots.shard_count()).map(ShardId);
        Self { epoch, served: shards.map(serves).collect(), ..self.clone() }
    }

    /// Whether this node serves `shard`: in a cluster another one may.
    #[inline]
    pub fn serves(&self, shard: ShardId) -> bool {
        self.served.get(usize::from(shard.0)).is_none_or(|serves| *serves)
    }

    /// Whether this node is one of a cluster, where others may serve shards.
    pub fn are_shared(&self) -> bool {
        !self.served.is_empty()
    }

    /// Whether this node serves any shard.
    pub fn serve_any(&self) -> bool {
        self.served.is_empty() || self.served.contains(&true)
    }

    /// Slots to shards.
    pub fn slots(&self) -> SlotMap {
        self.slots
    }

    /// The core that runs `shard`.
    #[inline]
    pub fn core_of(&self, shard: ShardId) -> CoreId {
        self.cores[usize::from(shard.0)]
    }

    /// The epoch that last gave `core` a shard.
    pub fn epoch_of(&self, core: CoreId) -> u64 {
        self.core_epochs[usize::from(core.0)]
    }

    /// The shards that `core` runs, in order; there may be none.
    pub fn shards_of(&self, core: CoreId) -> impl Iterator<Item = ShardId> + '_ {
        let owners = (0..).map(ShardId).zip(&self.cores);
        owners.filter(move |(_, owner)| **owner == core).map(|(shard, _)| shard)
    }

    /// All slots in order, as runs that one core serves; no two neighbours have the same core.
    pub fn ranges(&self) -> Vec<(Range<u16>, CoreId)> {
        let mut ranges: Vec<(Range<u16>, CoreId)> = Vec::new();
        for (shard, core) in (0..).map(ShardId).zip(&self.cores) {
            let slots = self.slots.slots_of(shard);
            match ranges.last_mut() {
                Some((last, owner)) if owner == core => last.end = slots.end,
                _ => ranges.push((slots, *core)),
            }
        }
        ranges
    }

    fn with_owner(&self, shard: ShardId, core: CoreId) -> Self {
        let mut new = self.clone();
        new.epoch += 1;
        new.cores[usize::from(shard.0)] = core;
        new.core_epochs[usize::from(core.0)] = new.epoch;
        new
    }
}

/// The owners of all shards, now.
#[derive(Debug)]
pub struct OwnerTable {
    current: Mutex<Arc<Owners>>,
    epoch: AtomicU64,
}

impl OwnerTable {
    /// The owners at the start.
    pub fn new(slots: SlotMap) -> Self {
        let owners = Owners::at_start(slots);
        Self { epoch: AtomicU64::new(owners.epoch), current: Mutex::new(Arc::new(owners)) }
    }

    /// The owners now. Takes a lock: keep the answer until the epoch changes.
    pub fn load(&self) -> Arc<Owners> {
        Arc::clone(&lock(&self.current))
    }

    /// The epoch now; [`OwnerTable::load`] after it answers owners at least as new.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Makes `core` the owner of `shard`; false if it is already, and the epoch stays as it is.
    ///
    /// # Panics
    /// If there is no such shard or core.
    pub fn set_owner(&self, shard: ShardId, core: CoreId) -> bool {
        let mut current = lock(&self.current);
        assert!(core.0 < current.slots.core_count(), "{core:?} is not there");
        if current.core_of(shard) == core {
            return false;
        }
        let new = current.with_owner(shard, core);
        self.epoch.store(new.epoch, Ordering::Release);
        *current = Arc::new(new);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{OwnerTable, Owners};
    use crate::types::{CoreId, SLOT_COUNT, ShardId, SlotMap};

    fn runs(owners: &Owners) -> Vec<(u16, u16, u16)> {
        let ranges = owners.ranges().into_iter();
        ranges.map(|(slots, core)| (slots.start, slots.end, core.0)).collect()
    }

    #[test]
    fn at_the_start_every_core_has_its_share() {
        for (shards, cores) in [(1, 1), (2, 2), (3, 2), (7, 3), (16, 5), (1000, 64)] {
            let owners = Owners::at_start(SlotMap::new(shards, cores));
            let shares = (0..cores).map(|core| owners.shards_of(CoreId(core)).count());
            let (least, most) = (shards / cores, shards.div_ceil(cores));
            assert!(shares.clone().all(|n| (least.into()..=most.into()).contains(&n)));
            assert_eq!(shares.sum::<usize>(), usize::from(shards));
            let runs = runs(&owners);
            assert_eq!(runs.len(), usize::from(cores));
            assert_eq!((runs[0].0, runs[runs.len() - 1].1), (0, SLOT_COUNT));
            assert_eq!(owners.epoch(), u64::from(cores));
        }
    }

    #[test]
    fn a_change_is_a_new_epoch_and_no_change_is_none() {
        let table = OwnerTable::new(SlotMap::new(4, 2));
        let before = table.load();
        assert_eq!(runs(&before), [(0, 8192, 0), (8192, 16384, 1)]);
        assert!(!table.set_owner(ShardId(0), CoreId(0)));
        assert_eq!((table.epoch(), table.load()), (2, before.clone()));
        assert!(table.set_owner(ShardId(0), CoreId(1)));
        let after = table.load();
        assert_eq!(runs(&after), [(0, 4096, 1), (4096, 8192, 0), (8192, 16384, 1)]);
        assert_eq!((table.epoch(), after.epoch()), (3, 3));
        assert_eq!((after.epoch_of(CoreId(0)), after.epoch_of(CoreId(1))), (1, 3));
        assert_eq!(after.shards_of(CoreId(1)).collect::<Vec<_>>(), [0, 2, 3].map(ShardId));
        // What was loaded before stays as it was.
        assert_eq!(before.core_of(ShardId(0)), CoreId(0));
        // Neighbours with one owner are one run, and a core may be left without any.
        assert!(table.set_owner(ShardId(1), CoreId(1)));
        assert_eq!(runs(&table.load()), [(0, SLOT_COUNT, 1)]);
        assert_eq!(table.load().shards_of(CoreId(0)).count(), 0);
    }

    #[test]
    fn changes_at_once_are_counted_one_by_one() {
        let table = OwnerTable::new(SlotMap::new(16, 4));
        std::thread::scope(|scope| {
            for core in (0..4).map(CoreId) {
                let table = &table;
                scope.spawn(move || {
                    for shard in (0..16).map(ShardId) {
                        let before = table.epoch();
                        if table.set_owner(shard, core) {
                            assert!(table.epoch() > before);
                        }
                    }
                });
            }
        });
        let owners = table.load();
        assert_eq!(table.epoch(), owners.epoch());
        let changes = owners.epoch() - 4;
        assert!((12..=64).contains(&changes), "{changes} changes");
    }
}
