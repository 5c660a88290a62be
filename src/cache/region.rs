//! A range of addresses that is reserved whole and given memory from the front as it is needed.
//!
//! Everything in it is plain bytes, so the rest of the cache works on it through checked slices: a
//! wrong offset panics or reads another entry's bytes, and never touches memory that is not ours.
//! This file and `extent.rs` hold nearly all of the cache's `unsafe`. Owned by the keyspace it is in.

use std::io;
use std::ops::Range;
use std::ptr::NonNull;

/// Bytes of an operating-system page, as far as accounting is concerned.
pub(super) const OS_PAGE_BYTES: usize = 4096;
/// How much is made usable at a time.
const COMMIT_STEP_BYTES: usize = 2 * 1024 * 1024;

/// What a region may be viewed as.
///
/// # Safety
/// Every bit pattern is a value, there is no padding, and the alignment is at most a page.
pub(super) unsafe trait Plain: Copy {}
// SAFETY: integers have no invalid bit patterns and no padding.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}

/// `bytes` rounded up to whole operating-system pages.
pub(super) fn os_pages_up(bytes: usize) -> usize {
    bytes.next_multiple_of(OS_PAGE_BYTES)
}

/// A reserved range of addresses; its first `committed` bytes are usable and start out as zeros.
#[derive(Debug)]
pub(super) struct Region {
    base: NonNull<u8>,
    committed: usize,
    reserved: usize,
}

// SAFETY: the region owns its mapping alone; nothing in it is tied to a thread.
unsafe impl Send for Region {}

impl Region {
    /// Reserves `most` bytes of address space or, if the system refuses that, the largest halving
    /// of it that is granted, down to `least`.
    ///
    /// # Panics
    /// If not even `least` bytes of address space are to be had.
    pub(super) fn reserve(most: usize, least: usize) -> Self {
        let mut bytes = most;
        loop {
            match map(bytes, libc::PROT_NONE) {
                Ok(base) => {
                    advise(base, bytes, libc::MADV_NOHUGEPAGE);
                    return Self { base, committed: 0, reserved: bytes };
                }
                Err(_) if bytes / 2 >= least => bytes /= 2,
                Err(error) => panic!(
                    "can't reserve {bytes} bytes of address space ({error}): raise `ulimit -v`"
                ),
            }
        }
    }

    /// Bytes that are usable.
    #[cfg(test)]
    pub(super) fn committed(&self) -> usize {
        self.committed
    }

    /// Makes at least the first `bytes` usable; false if the reservation ends before, or if the
    /// system has no more memory to promise.
    pub(super) fn commit(&mut self, bytes: usize) -> bool {
        if bytes <= self.committed {
            return true;
        }
        let end = bytes.next_multiple_of(COMMIT_STEP_BYTES).min(self.reserved);
        if end < bytes {
            return false;
        }
        // SAFETY: the range lies inside our own mapping and nobody holds a slice into it yet.
        let failed = unsafe {
            libc::mprotect(
                self.base.as_ptr().add(self.committed).cast(),
                end - self.committed,
                libc::PROT_READ | libc::PROT_WRITE,
            )
        };
        if failed == 0 {
            self.committed = end;
        }
        failed == 0
    }

    /// Gives the memory behind `range` back to the system; the range then reads as zeros. Both ends
    /// are multiples of [`OS_PAGE_BYTES`].
    pub(super) fn discard(&mut self, range: Range<usize>) {
        assert!(
            range.start.is_multiple_of(OS_PAGE_BYTES) && range.end.is_multiple_of(OS_PAGE_BYTES)
        );
        if range.is_empty() {
            return;
        }
        let bytes = &mut self.slice_mut::<u8>()[range];
        // SAFETY: the slice is ours alone, and zeros are valid bytes.
        let failed =
            unsafe { libc::madvise(bytes.as_mut_ptr().cast(), bytes.len(), libc::MADV_DONTNEED) };
        if failed != 0 {
            // Larger pages than assumed: keep the promise of zeros, if not the memory.
            bytes.fill(0);
        }
    }

    /// The usable part, as items of `T`.
    #[inline]
    pub(super) fn slice<T: Plain>(&self) -> &[T] {
        // SAFETY: the first `committed` bytes are mapped, readable and initialised (the system
        // hands out zeros), aligned to a page, and borrowed with `self`; `T` is plain.
        unsafe {
            std::slice::from_raw_parts(
                self.base.as_ptr().cast::<T>(),
                self.committed / size_of::<T>(),
            )
        }
    }

    /// The usable part, as items of `T`.
    #[inline]
    pub(super) fn slice_mut<T: Plain>(&mut self) -> &mut [T] {
        // SAFETY: as in `slice`; `&mut self` makes the borrow the only one.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.base.as_ptr().cast::<T>(),
                self.committed / size_of::<T>(),
            )
        }
    }

    /// Asks the processor to load the cache line at `offset`.
    #[inline]
    pub(super) fn prefetch(&self, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        if offset < self.committed {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: the address lies inside the mapping; a prefetch does not access it anyway.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.base.as_ptr().add(offset).cast()) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    /// Asks the processor to load the cache line at `offset` for a store: it comes from another core's
    /// cache as this core's own, where a load would leave a share of it there, to be taken away later.
    #[inline]
    pub(super) fn prefetch_to_write(&self, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        if offset < self.committed {
            // SAFETY: the address lies inside the mapping; a prefetch does not access it anyway.
            unsafe {
                std::arch::asm!(
                    "prefetchw [{}]",
                    in(reg) self.base.as_ptr().add(offset),
                    options(nostack, preserves_flags, readonly)
                );
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    /// Bytes of `range` that the system holds memory for. Both ends are page multiples.
    #[cfg(test)]
    pub(super) fn resident_bytes(&self, range: Range<usize>) -> usize {
        let mut pages = vec![0u8; range.len() / OS_PAGE_BYTES];
        // SAFETY: the range lies inside our mapping and the vector has a byte for each page.
        let failed = unsafe {
            libc::mincore(
                self.base.as_ptr().add(range.start).cast(),
                range.len(),
                pages.as_mut_ptr(),
            )
        };
        assert_eq!(failed, 0, "{}", io::Error::last_os_error());
        pages.iter().filter(|page| **page & 1 != 0).count() * OS_PAGE_BYTES
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and slices into it can't outlive `self`.
        unsafe { unmap(self.base, self.reserved) }
    }
}

/// Maps fresh private memory. It counts against the system's promises only where those are strict.
pub(super) fn map(bytes: usize, protection: libc::c_int) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the system's choice disturbs nothing.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    match NonNull::new(address.cast::<u8>()) {
        Some(base) if address != libc::MAP_FAILED => Ok(base),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives a mapping, or a part of it, back to the system.
///
/// # Safety
/// The caller owns the mapping and nothing refers to it any more.
pub(super) unsafe fn unmap(base: NonNull<u8>, bytes: usize) {
    // SAFETY: as promised by the caller.
    let failed = unsafe { libc::munmap(base.as_ptr().cast(), bytes) };
    debug_assert_eq!(failed, 0, "{}", io::Error::last_os_error());
}

/// Advice is never needed for correctness, so a refusal is ignored.
pub(super) fn advise(base: NonNull<u8>, bytes: usize, advice: libc::c_int) {
    debug_assert!(advice == libc::MADV_NOHUGEPAGE || advice == libc::MADV_HUGEPAGE);
    // SAFETY: huge-page advice changes nothing about the content of the caller's own mapping.
    let _ = unsafe { libc::madvise(base.as_ptr().cast(), bytes, advice) };
}

/// Makes the allocator give memory back when it is freed, and keep no work for later. To be called once,
/// before threads are started.
///
/// Buffers of 64 KiB and more go back to the system at once: without it glibc raises that threshold by
/// itself, up to 32 MiB, as large buffers come and go. Pieces of up to 128 bytes are joined with what is
/// free beside them at once: without it glibc lists them as they are, and joins all of them in one go at
/// some later call. Freeing a sorted set of ten million leaves 41,000, for which one `free` takes 7 ms.
pub fn set_up_allocator() {
    #[cfg(target_env = "gnu")]
    {
        const THRESHOLD_BYTES: libc::c_int = 64 * 1024;
        // SAFETY: `mallopt` sets a number inside the allocator.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD_BYTES);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 4 * THRESHOLD_BYTES);
            libc::mallopt(libc::M_MXFAST, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{OS_PAGE_BYTES, Region};

    #[test]
    fn memory_comes_when_touched_and_goes_when_discarded() {
        let mut region = Region::reserve(64 << 20, 1 << 20);
        assert!(region.commit(1));
        let range = 0..region.committed();
        assert_eq!(region.resident_bytes(range.clone()), 0);
        region.slice_mut::<u8>()[..3 * OS_PAGE_BYTES].fill(7);
        assert_eq!(region.resident_bytes(range.clone()), 3 * OS_PAGE_BYTES);
        region.discard(OS_PAGE_BYTES..2 * OS_PAGE_BYTES);
        assert_eq!(region.resident_bytes(range), 2 * OS_PAGE_BYTES);
        assert_eq!(region.slice::<u8>()[OS_PAGE_BYTES], 0);
        assert_eq!(region.slice::<u8>()[0], 7);
    }

    #[test]
    fn a_region_ends_at_its_reservation() {
        let mut region = Region::reserve(3 << 20, 3 << 20);
        assert!(region.commit(3 << 20));
        assert!(!region.commit((3 << 20) + 1));
    }
}
