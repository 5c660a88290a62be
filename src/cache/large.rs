//! Buffers for what is too long for a page of the slab: 16 KiB and more.
//!
//! A buffer has an address range of a power of two and takes memory only for the pages that have
//! been touched, so it grows in place until the range is used up, and what it frees really goes back
//! to the system. Ranges up to 1 MiB are cut from one region: a mapping each would run into the
//! system's limit on mappings (65,530). Longer ones are extents, which grow by moving page tables
//! instead of bytes, and which replies may hold as well: such a buffer is copied before it changes.
//! Memory of large buffers is given back piece by piece, because giving back 512 MB takes tens of
//! milliseconds. Owned by one keyspace.

use std::collections::VecDeque;
use std::sync::Arc;

use super::extent::{Extent, SharedBytes};
use super::region::{Region, os_pages_up};
use crate::limits::LONG_BYTES_MIN;

/// Address space for buffers of one keyspace that are cut from the region.
const RESERVED_BYTES: usize = 32 << 30;
const RESERVED_BYTES_MIN: usize = 16 << 20;
/// Shortest and longest range that is cut from the region.
const SLOT_BYTES_MIN: usize = 32 * 1024;
const SLOT_BYTES_MAX: usize = 1024 * 1024;
const ORDERS: usize = (SLOT_BYTES_MAX / SLOT_BYTES_MIN).ilog2() as usize + 1;
/// Memory that may be given back at once; more waits in `garbage`.
const RELEASE_BYTES_MAX: usize = 256 * 1024;
const _: () = assert!(LONG_BYTES_MIN >= SLOT_BYTES_MAX, "what is shared is an extent");

/// Memory of freed slots that is kept for the next buffers of their size: giving it back and asking
/// for it again would cost more than writing the value. It is not counted.
const SPARE_BYTES_MAX: usize = 1024 * 1024;

/// Names a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LargeId(pub(super) u32);

#[derive(Debug)]
enum Range {
    /// Nothing: the id is free.
    None,
    /// `SLOT_BYTES_MIN << order` bytes of the region.
    Slot { start: usize, order: usize },
    /// An extent, from byte `start` on.
    Extent { extent: Arc<Extent>, start: usize },
}

#[derive(Debug)]
struct Buffer {
    range: Range,
    /// Bytes from the start of the range that may have memory; a multiple of the system's page. The
    /// rest is zero.
    touched: usize,
}

/// Freed memory that is given back in pieces.
#[derive(Debug)]
enum Garbage {
    Slot(Spare),
    Extent(Extent),
}

/// All large buffers of a keyspace.
#[derive(Debug)]
pub(super) struct Large {
    region: Region,
    /// Bytes of the region that have been cut into slots.
    carved: usize,
    free_slots: [Vec<usize>; ORDERS],
    buffers: Vec<Buffer>,
    free_ids: Vec<u32>,
    /// Freed buffers whose memory has not all been given back.
    garbage: VecDeque<Garbage>,
    /// Freed slots that still have their memory, oldest first.
    spare: VecDeque<Spare>,
    spare_bytes: usize,
    /// Bytes of memory of all buffers and of the garbage.
    touched: usize,
}

#[derive(Debug)]
struct Spare {
    start: usize,
    order: usize,
    touched: usize,
}

impl Large {
    pub(super) fn new() -> Self {
        Self {
            region: Region::reserve(RESERVED_BYTES, RESERVED_BYTES_MIN),
            carved: 0,
            free_slots: Default::default(),
            buffers: Vec::new(),
            free_ids: Vec::new(),
            garbage: VecDeque::new(),
            spare: VecDeque::new(),
            spare_bytes: 0,
            touched: 0,
        }
    }

    /// A new buffer of `bytes` zeros.
    pub(super) fn alloc(&mut self, bytes: usize) -> LargeId {
        let buffer = self.new_buffer(bytes);
        if let Some(id) = self.free_ids.pop() {
            self.buffers[id as usize] = buffer;
            return LargeId(id);
        }
        self.buffers.push(buffer);
        LargeId(u32::try_from(self.buffers.len() - 1).expect("buffers of 16 KiB and more"))
    }

    /// Frees a buffer. Answers how many bytes of memory were given back on the spot.
    pub(super) fn free(&mut self, id: LargeId) -> usize {
        let none = Buffer { range: Range::None, touched: 0 };
        let buffer = std::mem::replace(&mut self.buffers[id.0 as usize], none);
        self.free_ids.push(id.0);
        self.dispose(buffer)
    }

    /// The first `bytes` of a buffer.
    pub(super) fn bytes(&self, id: LargeId, bytes: usize) -> &[u8] {
        match &self.buffers[id.0 as usize].range {
            Range::None => &[],
            Range::Slot { start, .. } => &self.region.slice()[*start..start + bytes],
            Range::Extent { extent, start } => extent.bytes(*start..start + bytes),
        }
    }

    /// The first `bytes` of a buffer, all that matter: where the buffer is shared, they are copied to
    /// one that is not. They must not be more than it was made or resized for.
    pub(super) fn bytes_mut(&mut self, id: LargeId, bytes: usize) -> &mut [u8] {
        if !self.buffers[id.0 as usize].is_own() {
            self.replace(id, bytes, bytes);
            self.set_touched(id, os_pages_up(bytes));
        }
        let buffer = &mut self.buffers[id.0 as usize];
        assert!(bytes <= buffer.touched);
        match &mut buffer.range {
            Range::None => &mut [],
            Range::Slot { start, .. } => &mut self.region.slice_mut()[*start..*start + bytes],
            Range::Extent { extent, start } => {
                let extent = Arc::get_mut(extent).expect("a shared buffer was just replaced");
                extent.bytes_mut(*start..*start + bytes)
            }
        }
    }

    /// Part of a buffer for others to hold, if it is an extent.
    pub(super) fn share(&self, id: LargeId, start: usize, length: usize) -> Option<SharedBytes> {
        match &self.buffers[id.0 as usize].range {
            Range::None | Range::Slot { .. } => None,
            Range::Extent { extent, start: first } => {
                Some(SharedBytes::new(extent.clone(), first + start, length))
            }
        }
    }

    /// Puts `bytes`, as they are, in the place of what a buffer holds.
    pub(super) fn adopt(&mut self, id: LargeId, bytes: SharedBytes) {
        let (extent, start) = bytes.into_parts();
        let touched = extent.memory_bytes();
        let buffer = Buffer { range: Range::Extent { extent, start }, touched };
        self.touched += touched;
        let old = std::mem::replace(&mut self.buffers[id.0 as usize], buffer);
        self.dispose(old);
    }

    /// The extent that was freed last, if it is no longer than `bytes_max`: for a value that comes next.
    pub(super) fn take_freed(&mut self, bytes_max: usize) -> Option<Extent> {
        let last = self.garbage.pop_back()?;
        match last {
            Garbage::Extent(extent) if extent.capacity() <= bytes_max => {
                self.touched -= extent.memory_bytes();
                Some(extent)
            }
            Garbage::Slot(_) | Garbage::Extent(_) => {
                self.garbage.push_back(last);
                None
            }
        }
    }

    /// Bytes of memory that a buffer takes.
    pub(super) fn memory_bytes(&self, id: LargeId) -> usize {
        self.buffers[id.0 as usize].touched
    }

    /// Makes a buffer hold `new` bytes. What is in the first `keep` stays, the rest is zero.
    pub(super) fn resize(&mut self, id: LargeId, keep: usize, new: usize) {
        let keep = keep.min(new);
        let buffer = &mut self.buffers[id.0 as usize];
        if !buffer.is_own() && keep == new {
            // Others hold it as well, but no byte changes yet.
            return;
        }
        let mut dirty = buffer.touched.min(new);
        if keep > SLOT_BYTES_MAX && buffer.grow(new) {
            dirty = keep;
        } else if !buffer.fits(new) {
            self.replace(id, keep, new);
            dirty = keep;
        }
        self.set_touched(id, os_pages_up(new));
        if let Range::Extent { extent, start } = &mut self.buffers[id.0 as usize].range
            && let Some(extent) = Arc::get_mut(extent)
        {
            extent.clear_from(*start + keep, *start + new);
        } else if keep < dirty {
            self.bytes_mut(id, dirty)[keep..].fill(0);
        }
    }

    /// Makes a buffer hold `new` bytes, of any content.
    pub(super) fn reuse(&mut self, id: LargeId, new: usize) {
        if !self.buffers[id.0 as usize].fits(new) {
            self.replace(id, 0, new);
        }
        self.set_touched(id, os_pages_up(new));
    }

    /// Memory of all buffers, freed ones included until it has been given back.
    #[inline]
    pub(super) fn touched_bytes(&self) -> usize {
        // For each buffer there ever was at a time, an id and perhaps a slot have been freed.
        let kept = size_of::<Buffer>() + size_of::<u32>() + size_of::<usize>();
        self.touched
            + self.buffers.capacity() * kept
            + self.garbage.capacity() * size_of::<Buffer>()
    }

    /// Whether freed buffers wait for their memory to be given back.
    pub(super) fn has_garbage(&self) -> bool {
        !self.garbage.is_empty()
    }

    /// Gives back at most `bytes` of freed memory, or a page if that is more.
    pub(super) fn release(&mut self, bytes: usize) {
        let left = match self.garbage.front_mut() {
            None => return,
            Some(Garbage::Slot(Spare { start, touched, .. })) => {
                let keep = touched.saturating_sub(os_pages_up(bytes));
                self.region.discard(*start + keep..*start + *touched);
                self.touched -= *touched - keep;
                *touched = keep;
                keep
            }
            Some(Garbage::Extent(extent)) => {
                let before = extent.memory_bytes();
                extent.give_back(bytes);
                self.touched -= before - extent.memory_bytes();
                extent.memory_bytes()
            }
        };
        if left == 0
            && let Some(Garbage::Slot(spare)) = self.garbage.pop_front()
        {
            self.free_slots[spare.order].push(spare.start);
        }
    }

    /// Bytes of its reservation that the system holds memory for, long mappings left out.
    #[cfg(test)]
    pub(super) fn resident_bytes(&self) -> usize {
        self.region.resident_bytes(0..os_pages_up(self.carved))
    }

    fn new_buffer(&mut self, bytes: usize) -> Buffer {
        let touched = os_pages_up(bytes);
        self.touched += touched;
        let range = if bytes <= SLOT_BYTES_MAX { self.slot(bytes) } else { None };
        let extent = || Arc::new(Extent::with_capacity(bytes));
        let range = range.unwrap_or_else(|| Range::Extent { extent: extent(), start: 0 });
        Buffer { range, touched }
    }

    /// A range of the region for `bytes`, all zeros; none if the region is used up.
    fn slot(&mut self, bytes: usize) -> Option<Range> {
        let range = bytes.next_power_of_two().max(SLOT_BYTES_MIN);
        let order = (range / SLOT_BYTES_MIN).ilog2() as usize;
        let start = if let Some(start) = self.spare_slot(order, os_pages_up(bytes)) {
            start
        } else if let Some(start) = self.free_slots[order].pop() {
            start
        } else if self.region.commit(self.carved + range) {
            self.carved += range;
            self.carved - range
        } else {
            return None;
        };
        Some(Range::Slot { start, order })
    }

    /// A spare slot, made zeros, its memory cut to `bytes`.
    fn spare_slot(&mut self, order: usize, bytes: usize) -> Option<usize> {
        let newest = self.spare.iter().rposition(|spare| spare.order == order)?;
        let Spare { start, touched, .. } = self.spare.remove(newest)?;
        self.spare_bytes -= touched;
        let kept = touched.min(bytes);
        self.region.slice_mut::<u8>()[start..start + kept].fill(0);
        self.region.discard(start + kept..start + touched);
        Some(start)
    }

    /// Keeps a freed slot's memory for a while, in exchange for the oldest so kept. Answers how many
    /// bytes were given back.
    fn keep_spare(&mut self, spare: Spare) -> usize {
        self.spare_bytes += spare.touched;
        self.spare.push_back(spare);
        let mut given_back = 0;
        while self.spare_bytes > SPARE_BYTES_MAX
            && let Some(Spare { start, order, touched }) = self.spare.pop_front()
        {
            self.spare_bytes -= touched;
            self.region.discard(start..start + touched);
            self.free_slots[order].push(start);
            given_back += touched;
        }
        given_back
    }

    /// Moves what is kept to a new buffer, of the right size, and drops the old.
    fn replace(&mut self, id: LargeId, keep: usize, new: usize) {
        let mut buffer = self.new_buffer(new);
        std::mem::swap(&mut buffer, &mut self.buffers[id.0 as usize]);
        // For the copy the old buffer gets an id for a moment.
        self.buffers.push(buffer);
        let old = LargeId(u32::try_from(self.buffers.len() - 1).expect("buffers are large"));
        for start in (0..keep).step_by(SLOT_BYTES_MIN) {
            let end = keep.min(start + SLOT_BYTES_MIN);
            let mut piece = [0; SLOT_BYTES_MIN];
            piece[..end - start].copy_from_slice(&self.bytes(old, end)[start..]);
            self.bytes_mut(id, end)[start..].copy_from_slice(&piece[..end - start]);
        }
        if let Some(old) = self.buffers.pop() {
            self.dispose(old);
        }
    }

    fn set_touched(&mut self, id: LargeId, wanted: usize) {
        let touched = self.buffers[id.0 as usize].touched;
        if touched > wanted {
            self.discard(id, wanted);
        }
        self.buffers[id.0 as usize].touched = wanted;
        self.touched = self.touched - touched + wanted;
    }

    /// Gives back the memory of a buffer from `keep` on.
    fn discard(&mut self, id: LargeId, keep: usize) {
        let buffer = &mut self.buffers[id.0 as usize];
        match &mut buffer.range {
            Range::None => {}
            Range::Slot { start, .. } => {
                self.region.discard(*start + keep..*start + buffer.touched);
            }
            Range::Extent { extent, start } => {
                if let Some(extent) = Arc::get_mut(extent) {
                    extent.clear_from(usize::MAX, *start + keep);
                }
            }
        }
    }

    /// Keeps a small buffer's memory for the next or gives it back; leaves a large one for `release`.
    /// Answers how many bytes were given back.
    fn dispose(&mut self, buffer: Buffer) -> usize {
        let touched = buffer.touched;
        self.touched -= touched;
        match buffer.range {
            Range::None => 0,
            Range::Slot { start, order } if touched > RELEASE_BYTES_MAX => {
                self.touched += touched;
                self.garbage.push_back(Garbage::Slot(Spare { start, order, touched }));
                0
            }
            Range::Slot { start, order } => self.keep_spare(Spare { start, order, touched }),
            // Who else holds the extent gives it back.
            Range::Extent { extent, .. } => match Arc::into_inner(extent) {
                Some(extent) if extent.memory_bytes() > RELEASE_BYTES_MAX => {
                    self.touched += extent.memory_bytes();
                    self.garbage.push_back(Garbage::Extent(extent));
                    0
                }
                _ => touched,
            },
        }
    }
}

impl Buffer {
    /// Whether `bytes` can be held without a new range, and without giving much back at once.
    fn fits(&self, bytes: usize) -> bool {
        self.is_own()
            && bytes <= self.capacity()
            && self.touched <= os_pages_up(bytes) + RELEASE_BYTES_MAX
    }

    /// Whether nobody else holds the memory.
    fn is_own(&self) -> bool {
        match &self.range {
            Range::None | Range::Slot { .. } => true,
            Range::Extent { extent, .. } => Arc::strong_count(extent) == 1,
        }
    }

    fn capacity(&self) -> usize {
        match &self.range {
            Range::None => 0,
            Range::Slot { order, .. } => SLOT_BYTES_MIN << order,
            Range::Extent { extent, start } => extent.capacity() - start,
        }
    }

    /// Makes an extent that nobody else holds longer; false if it is not such a one, or long enough.
    fn grow(&mut self, bytes: usize) -> bool {
        if bytes <= self.capacity() {
            return false;
        }
        match &mut self.range {
            Range::None | Range::Slot { .. } => false,
            Range::Extent { extent, start } => match Arc::get_mut(extent) {
                Some(extent) => {
                    extent.reserve(*start + bytes);
                    true
                }
                None => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::extent::{Extent, SharedBytes};
    use super::super::region::OS_PAGE_BYTES;
    use super::{Arc, Large, RELEASE_BYTES_MAX};

    fn fill(large: &mut Large, bytes: usize, byte: u8) -> super::LargeId {
        let id = large.alloc(bytes);
        large.bytes_mut(id, bytes).fill(byte);
        id
    }

    #[test]
    fn a_buffer_keeps_its_content_through_all_sizes() {
        let sizes = [
            20_000, 30_000, 40_000, 33_000, 900_000, 1_000_000, 3_000_000, 2_100_000, 5_000_000,
            9_000_000, 1_500_000, 700_000, 20_000,
        ];
        let mut large = Large::new();
        let id = fill(&mut large, 17_000, 1);
        let mut model = vec![1; 17_000];
        for (byte, &size) in (2..).zip(&sizes) {
            large.resize(id, model.len(), size);
            model.resize(size, 0);
            assert!(large.bytes(id, size) == model, "{size}");
            large.bytes_mut(id, size).fill(byte);
            model.fill(byte);
        }
        large.resize(id, 5, 18_000);
        assert_eq!(large.bytes(id, 18_000)[..7], [14, 14, 14, 14, 14, 0, 0]);
        while large.has_garbage() {
            large.release(1 << 20);
        }
        assert_eq!(large.touched, 5 * OS_PAGE_BYTES);
        large.free(id);
        assert_eq!(large.touched, 0);
    }

    #[test]
    fn freed_memory_goes_back_and_slots_are_used_again() {
        let mut large = Large::new();
        for round in 0..50 {
            let ids: Vec<_> = (0..20).map(|n| fill(&mut large, 17_000 + n * 50_000, 9)).collect();
            for id in ids {
                large.free(id);
            }
            while large.has_garbage() {
                large.release(RELEASE_BYTES_MAX);
            }
            assert_eq!(large.touched, 0, "round {round}");
        }
        assert!(large.carved <= 32 << 20, "{}", large.carved);
        let id = large.alloc(1_000_000);
        assert!(large.bytes(id, 1_000_000).iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_huge_buffer_is_given_back_in_pieces() {
        let mut large = Large::new();
        let id = fill(&mut large, 40 << 20, 3);
        large.free(id);
        let mut steps = 0;
        while large.has_garbage() {
            let before = large.touched;
            large.release(2 << 20);
            assert!(before - large.touched <= 2 << 20);
            steps += 1;
        }
        assert_eq!((steps, large.touched), (20, 0));
    }

    #[test]
    fn what_others_hold_is_not_changed_under_them() {
        const BYTES: usize = 3 << 20;
        let mut extent = Extent::with_capacity(1);
        extent.append(b"header");
        extent.append(&vec![1; BYTES]);
        extent.append(b"and what follows");
        let extent = Arc::new(extent);
        let mut large = Large::new();
        let id = large.alloc(BYTES);
        let adopted = SharedBytes::of(&extent, &extent.written()[6..6 + BYTES]);
        large.adopt(id, adopted.expect("most of the extent"));
        drop(extent);
        assert!(large.bytes(id, BYTES).iter().all(|byte| *byte == 1));
        let reply = large.share(id, 10, BYTES - 10).expect("an extent");
        // The same length again changes nothing, and nothing is copied for it.
        large.resize(id, BYTES, BYTES);
        assert!(std::ptr::eq(&reply.bytes()[0], &large.bytes(id, BYTES)[10]));
        large.bytes_mut(id, BYTES)[10] = 2;
        assert_eq!((reply.bytes()[0], large.bytes(id, BYTES)[10]), (1, 2));
        // A longer value starts with the old one and goes on with zeros.
        let again = large.share(id, 0, BYTES).expect("an extent");
        large.resize(id, BYTES, BYTES + 9);
        assert_eq!(large.bytes(id, BYTES + 9)[BYTES - 1..], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        large.free(id);
        while large.has_garbage() {
            large.release(1 << 20);
        }
        assert_eq!(large.touched, 0);
        assert!(reply.is_only_holder() && again.is_only_holder());
        assert_eq!(again.bytes()[10], 2);
    }

    #[test]
    fn an_adopted_value_grows_in_place_with_zeros_behind_it() {
        const BYTES: usize = 2 << 20;
        let mut extent = Extent::with_capacity(1);
        extent.append(&vec![1; BYTES]);
        extent.append(b"not zero");
        let extent = Arc::new(extent);
        let mut large = Large::new();
        let id = large.alloc(BYTES);
        large.adopt(id, SharedBytes::of(&extent, &extent.written()[..BYTES]).expect("most of it"));
        drop(extent);
        large.resize(id, BYTES, BYTES + 20);
        assert!(large.bytes(id, BYTES).iter().all(|byte| *byte == 1));
        assert_eq!(large.bytes(id, BYTES + 20)[BYTES..], [0; 20]);
        large.resize(id, 3, 20_000);
        assert_eq!(large.bytes(id, 20_000)[..5], [1, 1, 1, 0, 0]);
        while large.has_garbage() {
            large.release(1 << 20);
        }
        assert_eq!(large.touched, 5 * OS_PAGE_BYTES);
    }
}
