//! What the allocator takes for an allocation.

/// What precedes each allocation.
pub const HEADER_BYTES: usize = size_of::<usize>();
const GRANULE_BYTES: usize = 2 * size_of::<usize>();

/// Bytes of memory that an allocation of `bytes` takes; nothing is allocated for none.
#[inline]
pub fn heap_bytes(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        _ => (bytes + HEADER_BYTES).next_multiple_of(GRANULE_BYTES).max(2 * GRANULE_BYTES),
    }
}

/// Bytes of memory that a vector's own allocation takes.
#[inline]
pub fn vec_bytes<T>(vec: &Vec<T>) -> usize {
    heap_bytes(vec.capacity() * size_of::<T>())
}
