//! Giving memory back in small steps: freed large values, flushed databases, sparse pages.

use super::directory::DEPTH_MAX;
use super::index::{Root, Segment, owner_of};
use super::slab::{Effort, Handle};
use super::{Keyspace, Spot};
use crate::collection::Garbage;

/// Bytes of a large value that are given back in one step: about 50 microseconds.
const RELEASE_STEP_BYTES: usize = 1024 * 1024;
/// Elements of a collection that are freed in one step.
const RELEASE_STEP_ELEMENTS: usize = 1024;
/// Entries of a flushed database that go in one step.
const SWEEP_STEP: usize = 256;
/// Empty slots that are passed for the price of one entry.
const SLOTS_PER_ENTRY_OF_WORK: usize = 16;
/// Bytes given back to the system that count as much work as one entry.
pub(super) const BYTES_PER_ENTRY_OF_WORK: usize = 4096;
/// Entries that one step moves to empty a page.
const DRAIN_STEP: usize = 128;

impl Keyspace {
    /// One bounded step (well below a millisecond) of what is not urgent: flushed databases, large
    /// freed values, sparse pages. True while there is more to do.
    pub fn maintain(&mut self) -> bool {
        if self.give_back_piece() {
            return true;
        }
        self.store.slab.start_any_drain(Effort::Idle) && self.drain(DRAIN_STEP).is_some()
    }

    /// Takes over what a command has gathered and nobody wants any more, to be freed a little at a time.
    pub fn discard(&mut self, garbage: Vec<Box<dyn Garbage>>) {
        self.store.heap.bury_uncounted(garbage.into_iter());
    }

    /// Frees about so many elements of what waits for it.
    pub fn free_discarded(&mut self, elements: usize) {
        if self.store.heap.has_garbage() {
            self.store.heap.release(elements);
        }
    }

    /// Gives back a piece of what no key uses any more; false if there is nothing.
    pub(super) fn give_back_piece(&mut self) -> bool {
        if self.store.large.has_garbage() {
            self.store.large.release(RELEASE_STEP_BYTES);
            return true;
        }
        if self.store.heap.has_garbage() {
            self.store.heap.release(RELEASE_STEP_ELEMENTS);
            return true;
        }
        self.sweep(SWEEP_STEP)
    }

    /// Whether `give_back_piece` would find something.
    pub(super) fn has_something_to_give_back(&self) -> bool {
        self.store.large.has_garbage()
            || self.store.heap.has_garbage()
            || !self.databases.retired.is_empty()
    }

    // --- flushed databases -------------------------------------------------------------------

    /// Takes about `budget` entries out of the first retired table; false if there is none.
    pub(super) fn sweep(&mut self, budget: usize) -> bool {
        let Some(mut at) = self.databases.retired.front().copied() else { return false };
        let mut left = budget * SLOTS_PER_ENTRY_OF_WORK;
        while left > 0 {
            let table = self.databases.table(at.table);
            if table.heads.len() == at.slot {
                self.databases.drop_retired(&mut self.store);
                return true;
            }
            let segment = match table.root(at.slot) {
                Root::Empty => {
                    (at.slot, left) = (at.slot + 1, left - 1);
                    continue;
                }
                Root::Segment(segment) => Some(segment),
                Root::Directory(number) => {
                    let leaf = table.directory(number).leaf_at(&self.store, at.prefix);
                    leaf.map(|leaf| leaf.segment)
                }
            };
            if let Some(segment) = segment.filter(|segment| at.chunk < 1 << segment.log2) {
                let work = self.clear_chunk(at.table, at.slot, segment, at.chunk);
                left = left.saturating_sub(work * SLOTS_PER_ENTRY_OF_WORK);
                at.chunk += 1;
                continue;
            }
            at.chunk = 0;
            at.prefix = self.free_cleared(at.table, at.slot, at.prefix);
            if at.prefix == 1 << DEPTH_MAX {
                (at.slot, at.prefix) = (at.slot + 1, 0);
            }
        }
        if let Some(front) = self.databases.retired.front_mut() {
            *front = at;
        }
        true
    }

    /// Takes the entries of one chunk of a retired table out of everything; answers the work done,
    /// in entries. Overflow counters stay: too high they cost a look, never an answer.
    fn clear_chunk(&mut self, table: u8, slot: usize, segment: Segment, chunk: usize) -> usize {
        let line = segment.line + chunk;
        let entries = self.store.slab.chunks()[line];
        for place in entries.occupied() {
            self.store.slab.prefetch(entries.handle(place).byte());
        }
        let mut work = 1;
        for place in entries.occupied() {
            let entry = entries.handle(place);
            self.forget_fields(entry);
            self.lru.remove(&mut self.store, entry);
            if self.store.expires(entry) {
                self.wheel.remove(&mut self.store, entry);
                self.databases.table_mut(table).expiring -= 1;
            }
            self.store.slab.chunks_mut()[line].clear(place);
            self.databases.table_mut(table).uncount(slot);
            work += 1 + self.store.free(entry) / BYTES_PER_ENTRY_OF_WORK;
        }
        work
    }

    /// Frees the segment of a retired table that has been cleared; answers the prefix after it.
    fn free_cleared(&mut self, table: u8, slot: usize, prefix: u32) -> u32 {
        let table = self.databases.table_mut(table);
        if let Root::Directory(number) = table.root(slot)
            && let Some(leaf) = table.directory(number).leaf_at(&self.store, prefix)
            && leaf.prefix_end() < 1 << DEPTH_MAX
        {
            table.directory_mut(number).free_leaf(&mut self.store, leaf);
            return leaf.prefix_end();
        }
        table.clear_slot(&mut self.store, slot);
        1 << DEPTH_MAX
    }

    // --- sparse pages ------------------------------------------------------------------------

    /// Moves up to `moves` objects out of the page being drained; answers how many, nothing if there is
    /// no such page.
    pub(super) fn drain(&mut self, moves: usize) -> Option<usize> {
        if !self.store.slab.is_draining() {
            return None;
        }
        let mut moved = 0;
        while moved < moves {
            let Some(object) = self.store.slab.next_to_drain() else { break };
            let class = self.store.slab.class_of(object);
            let Some(new) = self.store.slab.alloc(class) else {
                self.store.slab.stop_drain();
                break;
            };
            if self.store.slab.is_segment(object) {
                let (table, slot) = owner_of(&self.store, object);
                let table = self.databases.table_mut(table);
                table.move_segment(&mut self.store, slot, object, new);
            } else {
                self.move_entry(object, new);
            }
            self.store.slab.free(object);
            moved += 1;
        }
        Some(moved)
    }

    fn move_entry(&mut self, old: Handle, new: Handle) {
        let spot: Spot = self.spot_of(old);
        let Some(position) = self.position_of(spot, old) else {
            unreachable!("every entry stands in the index")
        };
        self.store.copy(old, new);
        super::index::Table::replace(&mut self.store, position, new);
        self.lru.moved(&mut self.store, old, new);
        if self.store.expires(new) {
            self.wheel.moved(&mut self.store, new);
        }
    }
}
