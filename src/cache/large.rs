//! Buffers for what is too long for a page of the slab: 16 KiB and more.
//!
//! A buffer has an address range of a power of two and takes memory only for the pages that have
//! been touched, so it grows in place until the range is used up, and what it frees really goes back
//! to the system. Ranges up to 1 MiB are cut from one region: a mapping each would run into the
//! system's limit on mappings (65,530). Longer ones are mappings of their own, which grow by moving
//! page tables instead of bytes. Memory of large buffers is given back piece by piece, because
//! giving back 512 MB takes tens of milliseconds. Owned by one keyspace.

use std::collections::VecDeque;
use std::ptr::NonNull;

use super::region::{OS_PAGE_BYTES, Region, map, os_pages_up, unmap};

/// Address space for buffers of one keyspace that are cut from the region.
const RESERVED_BYTES: usize = 32 << 30;
const RESERVED_BYTES_MIN: usize = 16 << 20;
/// Shortest and longest range that is cut from the region.
const SLOT_BYTES_MIN: usize = 32 * 1024;
const SLOT_BYTES_MAX: usize = 1024 * 1024;
const ORDERS: usize = (SLOT_BYTES_MAX / SLOT_BYTES_MIN).ilog2() as usize + 1;
/// Memory that may be given back at once; more waits in `garbage`.
const RELEASE_BYTES_MAX: usize = 256 * 1024;

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
    /// A mapping of its own.
    Map { base: NonNull<u8>, bytes: usize },
}

#[derive(Debug)]
struct Buffer {
    range: Range,
    /// Bytes from the start that may have memory; a multiple of the system's page. The rest is zero.
    touched: usize,
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
    garbage: VecDeque<Buffer>,
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

// SAFETY: the mappings that `Range::Map` points to are owned by this value alone.
unsafe impl Send for Large {}

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
        match self.buffers[id.0 as usize].range {
            Range::None => &[],
            Range::Slot { start, .. } => &self.region.slice()[start..start + bytes],
            Range::Map { base, bytes: mapped } => {
                // SAFETY: the mapping is ours, readable, `mapped` bytes long, initialised by the
                // system and borrowed with `self`.
                let all = unsafe { std::slice::from_raw_parts(base.as_ptr(), mapped) };
                &all[..bytes]
            }
        }
    }

    /// The first `bytes` of a buffer, which must not be more than it was made or resized for.
    pub(super) fn bytes_mut(&mut self, id: LargeId, bytes: usize) -> &mut [u8] {
        let buffer = &mut self.buffers[id.0 as usize];
        assert!(bytes <= buffer.touched);
        match buffer.range {
            Range::None => &mut [],
            Range::Slot { start, .. } => &mut self.region.slice_mut()[start..start + bytes],
            Range::Map { base, bytes: mapped } => {
                // SAFETY: as in `bytes`; `&mut self` makes the borrow the only one.
                let all = unsafe { std::slice::from_raw_parts_mut(base.as_ptr(), mapped) };
                &mut all[..bytes]
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
        let buffer = &self.buffers[id.0 as usize];
        let mut dirty = buffer.touched.min(new);
        if new > buffer.capacity() && keep > SLOT_BYTES_MAX {
            self.grow_mapping(id, new);
        } else if !buffer.fits(new) {
            self.replace(id, keep, new);
            dirty = keep;
        }
        self.set_touched(id, os_pages_up(new));
        if keep < dirty {
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
        let Some(buffer) = self.garbage.front_mut() else { return };
        let keep = buffer.touched.saturating_sub(os_pages_up(bytes));
        let piece = buffer.touched - keep;
        match &mut buffer.range {
            Range::None => {}
            Range::Slot { start, .. } => {
                self.region.discard(*start + keep..*start + buffer.touched);
            }
            Range::Map { base, bytes: mapped } => {
                // SAFETY: the buffer has been freed, so nothing refers to its mapping; the part
                // from `keep` on is ours and is forgotten right after.
                unsafe { unmap(base.add(keep), *mapped - keep) }
                *mapped = keep;
            }
        }
        buffer.touched = keep;
        self.touched -= piece;
        if keep == 0
            && let Some(buffer) = self.garbage.pop_front()
        {
            self.dispose(buffer);
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
        Buffer { range: range.unwrap_or_else(|| own_mapping(bytes)), touched }
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

    /// Gives a mapping of its own a longer range. The content moves with its page tables.
    fn grow_mapping(&mut self, id: LargeId, new: usize) {
        let Range::Map { base, bytes } = &mut self.buffers[id.0 as usize].range else {
            unreachable!("only mappings hold more than {SLOT_BYTES_MAX} bytes")
        };
        for wanted in [new.next_power_of_two(), os_pages_up(new)] {
            // SAFETY: the mapping is ours and not borrowed, as `&mut self` shows; its old address
            // is forgotten when the call succeeds.
            let moved =
                unsafe { libc::mremap(base.as_ptr().cast(), *bytes, wanted, libc::MREMAP_MAYMOVE) };
            if moved != libc::MAP_FAILED
                && let Some(moved) = NonNull::new(moved.cast())
            {
                (*base, *bytes) = (moved, wanted);
                return;
            }
        }
        out_of_memory(new)
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
        let buffer = &self.buffers[id.0 as usize];
        match buffer.range {
            Range::None => {}
            Range::Slot { start, .. } => self.region.discard(start + keep..start + buffer.touched),
            Range::Map { base, .. } => {
                let bytes = buffer.touched - keep;
                // SAFETY: the range is the tail of our own mapping, which is not borrowed.
                let failed = unsafe {
                    libc::madvise(base.as_ptr().add(keep).cast(), bytes, libc::MADV_DONTNEED)
                };
                assert_eq!(failed, 0, "pages of the system are {OS_PAGE_BYTES} bytes");
            }
        }
    }

    /// Keeps a small buffer's memory for the next or gives it back; leaves a large one for `release`.
    /// Answers how many bytes were given back.
    fn dispose(&mut self, buffer: Buffer) -> usize {
        let touched = buffer.touched;
        if touched > RELEASE_BYTES_MAX {
            self.garbage.push_back(buffer);
            return 0;
        }
        self.touched -= touched;
        match buffer.range {
            Range::None => 0,
            Range::Slot { start, order } => self.keep_spare(Spare { start, order, touched }),
            Range::Map { bytes: 0, .. } => 0,
            Range::Map { base, bytes } => {
                // SAFETY: the buffer has been freed, so nothing refers to its mapping.
                unsafe { unmap(base, bytes) }
                touched
            }
        }
    }
}

impl Buffer {
    /// Whether `bytes` can be held without a new range, and without giving much back at once.
    fn fits(&self, bytes: usize) -> bool {
        bytes <= self.capacity() && self.touched <= os_pages_up(bytes) + RELEASE_BYTES_MAX
    }

    fn capacity(&self) -> usize {
        match self.range {
            Range::None => 0,
            Range::Slot { order, .. } => SLOT_BYTES_MIN << order,
            Range::Map { bytes, .. } => bytes,
        }
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        for buffer in self.buffers.iter().chain(&self.garbage) {
            if let Range::Map { base, bytes } = buffer.range
                && bytes > 0
            {
                // SAFETY: slices into the mapping can't outlive `self`.
                unsafe { unmap(base, bytes) }
            }
        }
    }
}

fn own_mapping(bytes: usize) -> Range {
    for wanted in [bytes.next_power_of_two(), os_pages_up(bytes)] {
        if let Ok(base) = map(wanted, libc::PROT_READ | libc::PROT_WRITE) {
            return Range::Map { base, bytes: wanted };
        }
    }
    out_of_memory(bytes)
}

/// As any allocation that fails.
fn out_of_memory(bytes: usize) -> ! {
    match std::alloc::Layout::array::<u8>(bytes) {
        Ok(layout) => std::alloc::handle_alloc_error(layout),
        Err(error) => panic!("a buffer of {bytes} bytes: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Large, OS_PAGE_BYTES, RELEASE_BYTES_MAX};

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
}
