//! Bytes in a mapping of their own, for values too long to be copied in passing.
//!
//! A connection receives a long argument into an extent, the cache keeps the extent as it is, and a
//! reply is sent from where it lies: holders share it by counting, and only who holds it alone may
//! change it. Memory comes when bytes are touched, and goes back piece by piece, because giving back
//! 512 MB takes tens of milliseconds: whoever turns out to be the last holder gives it back so.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use super::region::{OS_PAGE_BYTES, map, os_pages_up, unmap};
use crate::limits::LONG_BYTES_MIN;

/// Bytes of a huge page.
const HUGE_PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Extents of at least this length are received into huge pages, where there are such, once so much has
/// come that one page more is not much: what is only announced costs nothing.
const HUGE_BYTES_MIN: usize = 8 * 1024 * 1024;

/// A range of memory that grows in place.
#[derive(Debug)]
pub struct Extent {
    base: NonNull<u8>,
    /// Bytes of address space.
    mapped: usize,
    /// Bytes from the start that hold what was written.
    written: usize,
    /// Bytes from the start that may have been written to, now or in an earlier use; the rest is zeros.
    touched: usize,
    /// Whether it may be made of huge pages.
    is_huge: bool,
}

// SAFETY: the mapping belongs to this value alone; it is read through `&self` and changed through
// `&mut self` only.
unsafe impl Send for Extent {}
// SAFETY: as above.
unsafe impl Sync for Extent {}

impl Extent {
    /// An extent with room for `bytes`, all zeros. As any allocation, it ends the process where the
    /// system has no address space left.
    pub fn with_capacity(bytes: usize) -> Self {
        for mapped in [bytes.next_power_of_two(), os_pages_up(bytes)] {
            if let Ok(base) = map(mapped, libc::PROT_READ | libc::PROT_WRITE) {
                return Self { base, mapped, written: 0, touched: 0, is_huge: false };
            }
        }
        out_of_memory(bytes)
    }

    /// Bytes that there is room for.
    pub fn capacity(&self) -> usize {
        self.mapped
    }

    /// All that has been written.
    pub fn written(&self) -> &[u8] {
        self.bytes(0..self.written)
    }

    /// Some of the bytes there is room for; what was not written is zeros.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.mapped);
        // SAFETY: the range is inside the mapping (asserted), which is ours, readable, initialised by the
        // system and borrowed with `self`; what is being received lies beyond what is asked for.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(range.start), range.len()) }
    }

    /// Some of the bytes there is room for, to be changed.
    pub fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        self.written = self.written.max(range.end.min(self.mapped));
        self.touched = self.touched.max(self.written);
        // SAFETY: as in `bytes`; `&mut self` makes the borrow the only one.
        let all = unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.mapped) };
        &mut all[range]
    }

    /// Number of bytes that have been written.
    pub fn len(&self) -> usize {
        self.written
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// The room behind what has been written, up to byte `end`, for somebody else to write to. Whoever
    /// does must be done before the extent is changed in another way, or dropped.
    pub fn room(&mut self, end: usize) -> (NonNull<u8>, usize) {
        let is_long = self.mapped >= HUGE_BYTES_MIN && self.written >= HUGE_PAGE_BYTES;
        if is_long && !self.is_huge {
            self.is_huge = true;
            advise_huge(self.base, self.mapped);
        }
        let room = end.min(self.mapped).saturating_sub(self.written);
        // SAFETY: what has been written ends inside the mapping.
        (unsafe { self.base.add(self.written) }, room)
    }

    /// Notes that `count` bytes of the [room](Self::room) have been written.
    pub fn fill(&mut self, count: usize) {
        assert!(count <= self.mapped - self.written);
        self.written += count;
        self.touched = self.touched.max(self.written);
    }

    /// Whether all memory that it has is written to again by whoever writes `bytes`, but for less than a page.
    pub fn is_for(&self, bytes: usize) -> bool {
        bytes <= self.mapped && self.touched < bytes + OS_PAGE_BYTES
    }

    /// Makes what an earlier use left behind what has been written zeros again, if it is less than a page: then
    /// the cache may keep it.
    pub fn clean(&mut self) {
        let (written, touched) = (self.written, self.touched);
        if written < touched && touched - written < OS_PAGE_BYTES {
            self.bytes_mut(written..touched).fill(0);
            (self.written, self.touched) = (written, written);
        }
    }

    /// Forgets what has been written, to be used again.
    pub fn empty(&mut self) {
        self.written = 0;
    }

    /// Appends `bytes` to what has been written.
    pub fn append(&mut self, bytes: &[u8]) {
        let start = self.written;
        self.reserve(start + bytes.len());
        self.bytes_mut(start..start + bytes.len()).copy_from_slice(bytes);
    }

    /// Makes room for `bytes` in all. What is there moves with its page tables.
    pub fn reserve(&mut self, bytes: usize) {
        if bytes <= self.mapped {
            return;
        }
        for wanted in [bytes.next_power_of_two(), os_pages_up(bytes)] {
            // SAFETY: the mapping is ours and not borrowed, as `&mut self` shows; its old address is
            // forgotten when the call succeeds.
            let moved = unsafe {
                libc::mremap(self.base.as_ptr().cast(), self.mapped, wanted, libc::MREMAP_MAYMOVE)
            };
            if moved != libc::MAP_FAILED
                && let Some(moved) = NonNull::new(moved.cast())
            {
                (self.base, self.mapped) = (moved, wanted);
                return;
            }
        }
        out_of_memory(bytes)
    }

    /// Makes everything from `keep` on zeros, and gives back the memory of what lies beyond `end`.
    pub(super) fn clear_from(&mut self, keep: usize, end: usize) {
        let kept = os_pages_up(end);
        if self.touched > kept {
            let bytes = os_pages_up(self.touched) - kept;
            // SAFETY: the range is the tail of our own mapping, which is not borrowed.
            let failed = unsafe {
                libc::madvise(self.base.as_ptr().add(kept).cast(), bytes, libc::MADV_DONTNEED)
            };
            assert_eq!(failed, 0, "pages of the system are {OS_PAGE_BYTES} bytes");
            (self.written, self.touched) = (self.written.min(kept), kept);
        }
        if keep < self.touched {
            let touched = self.touched;
            self.bytes_mut(keep..touched).fill(0);
        }
    }

    /// Bytes of memory that it takes, at most.
    pub fn memory_bytes(&self) -> usize {
        if self.is_huge {
            return self.touched.next_multiple_of(HUGE_PAGE_BYTES).min(self.mapped);
        }
        os_pages_up(self.touched)
    }

    /// Gives back at most `bytes` of memory from the end, or a page if that is more. What was there
    /// is lost, and there is no room for it any more.
    pub fn give_back(&mut self, bytes: usize) {
        let keep = self.memory_bytes().saturating_sub(os_pages_up(bytes.max(1)));
        if keep < self.mapped {
            // SAFETY: nothing is borrowed, as `&mut self` shows, and the part from `keep` on is
            // forgotten right after.
            unsafe { unmap(self.base.add(keep), self.mapped - keep) }
        }
        self.mapped = keep;
        (self.written, self.touched) = (self.written.min(keep), self.touched.min(keep));
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        if self.mapped > 0 {
            // SAFETY: the mapping is ours, and slices into it can't outlive `self`.
            unsafe { unmap(self.base, self.mapped) }
        }
    }
}

/// Part of an extent that others may hold as well.
#[derive(Clone, Debug)]
pub struct SharedBytes {
    extent: Arc<Extent>,
    start: usize,
    length: usize,
}

impl SharedBytes {
    pub(super) fn new(extent: Arc<Extent>, start: usize, length: usize) -> Self {
        Self { extent, start, length }
    }

    /// `part` as a part of `extent`: if it lies there, is long enough to be shared, and makes up
    /// nearly all of the extent, so that little is kept along with it.
    pub fn of(extent: &Arc<Extent>, part: &[u8]) -> Option<Self> {
        let start = (part.as_ptr() as usize).checked_sub(extent.base.as_ptr() as usize)?;
        let lies_there = start + part.len() <= extent.written;
        let is_most = part.len() >= extent.written / 8 * 7;
        // Behind what is written there may be what an earlier use left, where holders expect zeros.
        let is_clean = extent.touched == extent.written;
        (lies_there && is_most && is_clean && part.len() > LONG_BYTES_MIN)
            .then(|| Self::new(extent.clone(), start, part.len()))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.extent.bytes(self.start..self.start + self.length)
    }

    /// Their number.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nobody else holds the extent.
    pub fn is_only_holder(&self) -> bool {
        Arc::strong_count(&self.extent) == 1
    }

    /// Bytes of memory that nobody else answers for: those of the extent, if nobody else holds it. Where
    /// several hold what its keyspace has let go of, none of them counts it.
    pub fn own_memory_bytes(&self) -> usize {
        if self.is_only_holder() { self.extent.memory_bytes() } else { 0 }
    }

    /// Ends the holding; answers the extent if nobody else holds it, to be given back in pieces.
    pub fn into_extent(self) -> Option<Extent> {
        Arc::into_inner(self.extent)
    }

    /// The extent and where the bytes start in it.
    pub(super) fn into_parts(self) -> (Arc<Extent>, usize) {
        (self.extent, self.start)
    }
}

/// Asks for memory in pages of megabytes: a thousand small ones cost more time than receiving a value into
/// them. Where the system has none to give, it gives small ones.
fn advise_huge(base: NonNull<u8>, bytes: usize) {
    // SAFETY: the range is a mapping of ours; the advice changes nothing that can be read from it.
    unsafe {
        libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
    }
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
    use super::{Arc, Extent, LONG_BYTES_MIN, OS_PAGE_BYTES, SharedBytes};

    #[test]
    fn what_is_appended_stays_while_the_extent_grows() {
        let mut extent = Extent::with_capacity(10);
        let piece: Vec<u8> = (0..=255).cycle().take(40_000).collect();
        for _ in 0..100 {
            extent.append(&piece);
        }
        assert_eq!(extent.written().len(), 4_000_000);
        assert!(extent.written().chunks(piece.len()).all(|chunk| chunk == piece));
        extent.clear_from(5, 10_000);
        assert_eq!(extent.memory_bytes(), 3 * OS_PAGE_BYTES);
        assert_eq!(extent.bytes(0..7), [0, 1, 2, 3, 4, 0, 0]);
        assert!(extent.bytes(5..1_000_000).iter().all(|byte| *byte == 0));
    }

    #[test]
    fn memory_goes_back_in_pieces() {
        let mut extent = Extent::with_capacity(100_000);
        extent.append(&[7; 100_000]);
        let mut steps = 0;
        while extent.memory_bytes() > 0 {
            extent.give_back(3 * OS_PAGE_BYTES);
            assert!(extent.written().iter().all(|byte| *byte == 7));
            steps += 1;
        }
        assert_eq!((steps, extent.capacity()), (9, 0));
    }

    #[test]
    fn memory_of_one_value_serves_the_next() {
        const BYTES: usize = LONG_BYTES_MIN + 100;
        let mut extent = Extent::with_capacity(2 * BYTES);
        extent.append(&[7; BYTES]);
        extent.empty();
        assert!(extent.is_for(BYTES + 10_000) && extent.is_for(BYTES - OS_PAGE_BYTES + 1));
        assert!(!extent.is_for(BYTES - OS_PAGE_BYTES) && !extent.is_for(4 * BYTES));
        extent.append(&[8; BYTES - 50]);
        extent.clean();
        assert_eq!(extent.bytes(BYTES - 51..BYTES + 1)[..2], [8, 0]);
        assert!(extent.bytes(BYTES - 50..2 * BYTES).iter().all(|byte| *byte == 0));
        let extent = Arc::new(extent);
        assert!(SharedBytes::of(&extent, extent.written()).is_some());
    }

    #[test]
    fn only_what_makes_up_most_of_an_extent_is_shared() {
        let mut extent = Extent::with_capacity(1);
        extent.append(&vec![1; LONG_BYTES_MIN + 100]);
        let extent = Arc::new(extent);
        let whole = SharedBytes::of(&extent, &extent.written()[50..]).expect("it is long enough");
        assert_eq!((whole.len(), whole.is_only_holder()), (LONG_BYTES_MIN + 50, false));
        assert!(SharedBytes::of(&extent, &extent.written()[200..]).is_none());
        assert!(SharedBytes::of(&extent, &vec![1; LONG_BYTES_MIN + 50]).is_none());
        drop(extent);
        assert!(whole.is_only_holder());
        assert_eq!(whole.bytes()[..3], [1, 1, 1]);
        assert!(whole.into_extent().is_some());
    }
}
