//! Memory that is written to disk as it lies: it begins at a multiple of the page size, as direct I/O
//! wants it, and stays where it is while it is moved from owner to owner.

/// Direct I/O wants memory and file offsets at multiples of this, on any device.
pub const ALIGN_BYTES: usize = 4096;

/// A buffer of a fixed capacity, filled from its start.
#[derive(Debug)]
pub struct AlignedBuffer {
    /// Never grows, so that what is in it stays where it is.
    memory: Vec<u8>,
    /// Where the aligned part begins.
    start: usize,
    capacity: usize,
    /// Whose it is while the disk has it.
    pub(super) tag: u64,
}

impl AlignedBuffer {
    /// An empty buffer with room for `bytes` or a little more.
    pub fn with_capacity(bytes: usize) -> Self {
        let capacity = bytes.next_multiple_of(ALIGN_BYTES);
        let mut memory: Vec<u8> = Vec::with_capacity(capacity + ALIGN_BYTES);
        let start = memory.as_ptr().align_offset(ALIGN_BYTES);
        assert!(start < ALIGN_BYTES, "bytes can be aligned");
        memory.resize(start, 0);
        Self { memory, start, capacity, tag: 0 }
    }

    /// Bytes that it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of memory that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory.capacity()
    }

    /// What was put in.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    /// How many bytes that is.
    pub fn len(&self) -> usize {
        self.memory.len() - self.start
    }

    /// Whether nothing was put in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.capacity - self.len()
    }

    /// Appends `bytes`.
    ///
    /// # Panics
    /// If they don't fit.
    pub fn append(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room(), "the buffer is full");
        self.memory.extend_from_slice(bytes);
    }

    /// Replaces bytes that were put in.
    pub fn replace(&mut self, at: usize, bytes: &[u8]) {
        let at = self.start + at;
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Fills up with zeros to a multiple of `bytes`.
    ///
    /// # Panics
    /// If that is more than fits.
    pub fn pad_to_multiple_of(&mut self, bytes: usize) {
        let length = self.len().next_multiple_of(bytes);
        assert!(length <= self.capacity, "the buffer is full");
        self.memory.resize(self.start + length, 0);
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.memory.truncate(self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::{ALIGN_BYTES, AlignedBuffer};

    #[test]
    fn bytes_stay_aligned_and_where_they_are() {
        let mut buffer = AlignedBuffer::with_capacity(5000);
        assert_eq!(buffer.capacity(), 2 * ALIGN_BYTES);
        let at = buffer.bytes().as_ptr() as usize;
        assert_eq!(at % ALIGN_BYTES, 0);
        buffer.append(&[7; 5000]);
        buffer.pad_to_multiple_of(512);
        assert_eq!(buffer.len(), 5120);
        assert_eq!(buffer.bytes()[4999..5001], [7, 0]);
        buffer.append(&[1; 8192 - 5120]);
        assert_eq!((buffer.room(), buffer.bytes().as_ptr() as usize), (0, at));
        buffer.replace(1, &[9, 9]);
        assert_eq!(buffer.bytes()[..4], [7, 9, 9, 7]);
        buffer.clear();
        assert!(buffer.is_empty());
    }
}
