//! Receive buffers that the kernel picks from: a provided buffer ring (`IORING_REGISTER_PBUF_RING`), one
//! per thread. A buffer is the kernel's from [`Buffers::publish`] until a completion names it, then ours
//! until [`Buffers::recycle`] and the next `publish`.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// Buffers of one thread. Replies are short and are parsed at once, so a few are in use at a time; when
/// all are, the kernel ends the receives that find none and they are started again.
const COUNT: u16 = 256;
/// Bytes of one buffer: a value of the usual size is whole in one.
const BYTES: u32 = 16 * 1024;
const MASK: u16 = COUNT - 1;
const _: () = assert!(COUNT.is_power_of_two());

/// The buffers and the ring by which the kernel is given them.
pub(super) struct Buffers {
    bytes: Pages,
    entries: Pages,
    tail: u16,
}

impl Buffers {
    /// The buffer group that receives name.
    pub(super) const GROUP: u16 = 0;

    /// Allocates the buffers, registers them with `ring`, which must be dropped first, and gives all to
    /// the kernel.
    pub(super) fn register(ring: &IoUring) -> io::Result<Self> {
        let bytes = Pages::new(usize::from(COUNT) * BYTES as usize);
        let entries = Pages::new(usize::from(COUNT) * size_of::<BufRingEntry>());
        // SAFETY: the memory is page aligned, large enough for `COUNT` entries, and outlives the ring,
        // which whoever holds both drops first.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                entries.start.as_ptr() as u64,
                COUNT,
                Self::GROUP,
                0,
            )?;
        }
        let mut buffers = Self { bytes, entries, tail: 0 };
        for id in 0..COUNT {
            buffers.recycle(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The first `length` bytes of buffer `id`, which a completion has just named.
    pub(super) fn filled(&self, id: u16, length: usize) -> &[u8] {
        assert!(id < COUNT && length <= BYTES as usize);
        let start = usize::from(id) * BYTES as usize;
        // SAFETY: inside the allocation (asserted), which is initialised, and the kernel does not write
        // to a buffer between its completion and `publish`, which takes `self` exclusively.
        unsafe { std::slice::from_raw_parts(self.bytes.start.as_ptr().add(start), length) }
    }

    /// Gives buffer `id` back, with the next [`Buffers::publish`].
    pub(super) fn recycle(&mut self, id: u16) {
        assert!(id < COUNT);
        let entries = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: both offsets are inside their allocations; the kernel reads an entry only after the
        // tail has passed it.
        unsafe {
            let entry = &mut *entries.add(usize::from(self.tail & MASK));
            entry.set_addr(self.bytes.start.as_ptr().add(usize::from(id) * BYTES as usize) as u64);
            entry.set_len(BYTES);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see what was recycled.
    pub(super) fn publish(&mut self) {
        let entries = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the tail lies in the first entry of the ring, is aligned, and the kernel only reads it.
        unsafe {
            let tail = BufRingEntry::tail(entries).cast_mut().cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

/// Page-aligned, zeroed memory.
struct Pages {
    start: NonNull<u8>,
    layout: Layout,
}

impl Pages {
    fn new(bytes: usize) -> Self {
        const PAGE: usize = 4096;
        let layout = Layout::from_size_align(bytes, PAGE).expect("a few MiB");
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, layout }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout, and nothing refers to it any more.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}
