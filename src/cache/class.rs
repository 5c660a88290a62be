//! Sizes of objects: which sizes the slab cuts its pages into.
//!
//! Entries: steps of 8 bytes up to 256, then steps of about a sixteenth, each the largest that
//! still fits a page as often, up to a quarter of a page. Index segments: 1 to 64 chunks.

/// Bytes of a slab page.
pub(super) const PAGE_BYTES: usize = 64 * 1024;
/// Unit of sizes and handles.
pub(super) const UNIT_BYTES: usize = 8;
/// Units of a page.
pub(super) const PAGE_UNITS: usize = PAGE_BYTES / UNIT_BYTES;
/// Largest object that is an entry.
pub(super) const ENTRY_BYTES_MAX: usize = PAGE_BYTES / 4;
/// Largest segment of the index, in chunks, as a power of two.
pub(super) const SEGMENT_LOG2_MAX: u32 = 6;
/// The class of the smallest index segment; the others follow.
pub(super) const FIRST_INDEX_CLASS: usize = ENTRY_CLASSES;
/// All classes.
pub(super) const CLASSES: usize = ENTRY_CLASSES + SEGMENT_LOG2_MAX as usize + 1;

const ENTRY_BYTES_MIN: usize = 16;
const FINE_BYTES_MAX: usize = 256;
const CHUNK_BYTES: usize = 64;
const ENTRY_CLASSES: usize = ladder().1;

/// Bytes of an object of each class.
pub(super) static CLASS_BYTES: [u16; CLASSES] = class_bytes();
/// Objects that fit a page, by class.
pub(super) static CLASS_CAPACITY: [u16; CLASSES] = class_capacity();

/// The class for an entry of `bytes`.
#[inline]
pub(super) fn entry_class(bytes: usize) -> usize {
    usize::from(CLASS_OF_UNITS[bytes.div_ceil(UNIT_BYTES)])
}

/// Bytes that an entry of `bytes` takes.
#[inline]
pub(super) fn entry_bytes(bytes: usize) -> usize {
    if bytes <= FINE_BYTES_MAX {
        return bytes.next_multiple_of(UNIT_BYTES);
    }
    usize::from(CLASS_BYTES[entry_class(bytes)])
}

/// The class of an index segment of `1 << log2` chunks.
#[inline]
pub(super) fn segment_class(log2: u32) -> usize {
    debug_assert!(log2 <= SEGMENT_LOG2_MAX);
    FIRST_INDEX_CLASS + log2 as usize
}

static CLASS_OF_UNITS: [u8; ENTRY_BYTES_MAX / UNIT_BYTES + 1] = class_of_units();

const LADDER_MAX: usize = 160;

const fn ladder() -> ([usize; LADDER_MAX], usize) {
    let mut sizes = [0; LADDER_MAX];
    let mut count = 0;
    let mut size = ENTRY_BYTES_MIN;
    loop {
        sizes[count] = size;
        count += 1;
        if size == ENTRY_BYTES_MAX {
            return (sizes, count);
        }
        size = if size < FINE_BYTES_MAX {
            size + UNIT_BYTES
        } else {
            let most = PAGE_BYTES.div_ceil(size + size / 16);
            let next = page_part(most);
            if next > size { next } else { page_part(most - 1) }
        };
    }
}

/// The largest size that fits a page `count` times.
const fn page_part(count: usize) -> usize {
    PAGE_BYTES / count / UNIT_BYTES * UNIT_BYTES
}

#[expect(clippy::cast_possible_truncation, reason = "sizes are at most a quarter of a page")]
const fn class_bytes() -> [u16; CLASSES] {
    let (sizes, count) = ladder();
    let mut bytes = [0; CLASSES];
    let mut class = 0;
    while class < count {
        bytes[class] = sizes[class] as u16;
        class += 1;
    }
    while class < CLASSES {
        bytes[class] = (CHUNK_BYTES << (class - count)) as u16;
        class += 1;
    }
    bytes
}

#[expect(clippy::cast_possible_truncation, reason = "a page has at most 4,096 objects")]
const fn class_capacity() -> [u16; CLASSES] {
    let bytes = class_bytes();
    let mut capacity = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        capacity[class] = (PAGE_BYTES / bytes[class] as usize) as u16;
        class += 1;
    }
    capacity
}

#[expect(clippy::cast_possible_truncation, reason = "there are fewer than 256 classes")]
const fn class_of_units() -> [u8; ENTRY_BYTES_MAX / UNIT_BYTES + 1] {
    let (sizes, _) = ladder();
    let mut classes = [0; ENTRY_BYTES_MAX / UNIT_BYTES + 1];
    let mut class = 0;
    let mut units = 0;
    while units < classes.len() {
        if units * UNIT_BYTES > sizes[class] {
            class += 1;
        }
        classes[units] = class as u8;
        units += 1;
    }
    classes
}

const _: () = assert!(CLASSES < 256);
const _: () = assert!(PAGE_UNITS <= 1 << 13);

#[cfg(test)]
mod tests {
    use super::{
        CLASS_BYTES, CLASS_CAPACITY, CLASSES, ENTRY_BYTES_MAX, FIRST_INDEX_CLASS, PAGE_BYTES,
        UNIT_BYTES, entry_class, segment_class,
    };

    #[test]
    fn an_entry_gets_the_smallest_class_that_holds_it() {
        for bytes in 1..=ENTRY_BYTES_MAX {
            let class = entry_class(bytes);
            assert!(class < FIRST_INDEX_CLASS);
            assert!(usize::from(CLASS_BYTES[class]) >= bytes);
            assert!(class == 0 || usize::from(CLASS_BYTES[class - 1]) < bytes);
        }
    }

    #[test]
    fn little_of_a_page_is_wasted() {
        for class in 0..CLASSES {
            let bytes = usize::from(CLASS_BYTES[class]);
            assert_eq!(bytes % UNIT_BYTES, 0);
            let used = bytes * usize::from(CLASS_CAPACITY[class]);
            assert!(used <= PAGE_BYTES && PAGE_BYTES - used <= PAGE_BYTES / 100, "{bytes}");
        }
        for class in 1..FIRST_INDEX_CLASS {
            let (below, bytes) = (CLASS_BYTES[class - 1], CLASS_BYTES[class]);
            // Above 4 KiB the sizes are all that fit a page a different number of times.
            assert!(bytes > 4096 || bytes - below <= (below / 14).max(8), "{below} to {bytes}");
        }
        assert_eq!(CLASS_BYTES[segment_class(6)], 4096);
    }
}
