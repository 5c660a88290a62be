//! Receive buffers that the kernel picks from: a provided buffer ring (`io_uring_register`,
//! `IORING_REGISTER_PBUF_RING`), one per core. A buffer is the kernel's from [`Buffers::publish`] until a
//! completion names it, then ours until [`Buffers::recycle`].

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::limits::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS};

/// The length of a buffer as the kernel takes it.
#[expect(clippy::cast_possible_truncation, reason = "bounded where it is defined")]
const LENGTH: u32 = RECEIVE_BUFFER_BYTES as u32;
const MASK: u16 = RECEIVE_BUFFERS - 1;
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());

/// The buffers and the ring by which the kernel is given them.
pub(crate) struct Buffers {
    bytes: Mapping,
    entries: Mapping,
    tail: u16,
}

impl Buffers {
    /// The buffer group that receives name.
    pub(crate) const GROUP: u16 = 0;
    /// Bytes of memory mapped for the buffers.
    const BYTES: usize = RECEIVE_BUFFERS as usize * RECEIVE_BUFFER_BYTES;
    /// Bytes of memory mapped for the ring that names them.
    const RING_BYTES: usize = RECEIVE_BUFFERS as usize * size_of::<BufRingEntry>();
    /// Bytes of both.
    pub(crate) const MAPPED_BYTES: usize = Self::BYTES + Self::RING_BYTES;

    /// Maps the buffers, registers them with `ring` and gives all to the kernel.
    pub(crate) fn register(ring: &IoUring) -> io::Result<Self> {
        let bytes = Mapping::new(Self::BYTES)?;
        let entries = Mapping::new(Self::RING_BYTES)?;
        // SAFETY: the mapping is page aligned, large enough, and outlives the ring: `serve`
        // drops the ring first.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                entries.start as u64,
                RECEIVE_BUFFERS,
                Self::GROUP,
                0,
            )?;
        }
        let mut buffers = Self { bytes, entries, tail: 0 };
        for id in 0..RECEIVE_BUFFERS {
            buffers.recycle(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The first `length` bytes of buffer `id`, which a completion has just named.
    pub(crate) fn filled(&self, id: u16, length: usize) -> &[u8] {
        assert!(id < RECEIVE_BUFFERS && length <= RECEIVE_BUFFER_BYTES);
        let start = usize::from(id) * RECEIVE_BUFFER_BYTES;
        // SAFETY: inside the mapping (asserted), and the kernel does not write to a buffer between
        // its completion and `publish`, which takes `self` exclusively.
        unsafe { std::slice::from_raw_parts(self.bytes.start.add(start), length) }
    }

    /// Gives buffer `id` back, with the next [`Buffers::publish`].
    pub(crate) fn recycle(&mut self, id: u16) {
        assert!(id < RECEIVE_BUFFERS);
        let entries = self.entries.start.cast::<BufRingEntry>();
        // SAFETY: both offsets are inside their mappings; the kernel reads an entry only after the
        // tail has passed it.
        unsafe {
            let entry = &mut *entries.add(usize::from(self.tail & MASK));
            entry.set_addr(self.bytes.start.add(usize::from(id) * RECEIVE_BUFFER_BYTES) as u64);
            entry.set_len(LENGTH);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see all that was recycled.
    pub(crate) fn publish(&mut self) {
        let entries = self.entries.start.cast::<BufRingEntry>();
        // SAFETY: the tail is an aligned u16 inside the first entry, which only the kernel reads.
        let tail = unsafe { &*BufRingEntry::tail(entries).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Anonymous memory of this process.
struct Mapping {
    start: *mut u8,
    length: usize,
}

impl Mapping {
    fn new(length: usize) -> io::Result<Self> {
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and nothing refers to it any more.
        unsafe {
            libc::munmap(self.start.cast(), self.length);
        }
    }
}
