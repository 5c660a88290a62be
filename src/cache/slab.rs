//! Objects of a few bytes to 16 KiB in pages of one size each.
//!
//! A page is cut into objects of one class. Pages that are neither full nor empty hang in lists by
//! how full they are; new objects come from the fullest, so that sparse pages empty out by
//! themselves, and a page that empties serves any class again. Where that is not enough a page is
//! *drained*: its owner moves the objects that are left, one by one, and the page is free (the idea
//! is that of the kernel's zsmalloc). Memory counts from the moment it is touched until it is given
//! back to the system, so the count is what the process really holds. Owned by one keyspace.

#![expect(
    clippy::cast_possible_truncation,
    reason = "a handle holds every page number, and a page's field every unit and class, by construction"
)]

#[cfg(any(test, debug_assertions))]
mod check;
mod lists;

use super::chunk::Chunk;
use super::class::{
    CLASS_BYTES, CLASS_CAPACITY, CLASSES, FIRST_INDEX_CLASS, PAGE_BYTES, PAGE_UNITS, UNIT_BYTES,
};
use super::region::{OS_PAGE_BYTES, Region};

/// Address space for one keyspace's entries: all that a handle can name.
const RESERVED_BYTES: usize = PAGE_BYTES * (1 << 19);
/// The least with which a keyspace starts, where address space is limited.
const RESERVED_BYTES_MIN: usize = 16 * 1024 * 1024;
/// Pages at the front that never hold objects: their handles name list heads instead.
const HEAD_PAGES: usize = 3;
/// Handles below this never name an object. 0 is no object, the others are for list heads.
pub(super) const HEAD_HANDLES: u32 = (HEAD_PAGES * PAGE_UNITS) as u32;
/// Free pages that wait for their next use with their memory still attached: giving it back only to
/// ask for it again would cost more than anything else a write does. They are not counted.
const DIRTY_PAGES_MAX: usize = 16;

/// Lists of pages by how full they are, in equal parts; a full page has this number and no list.
const GROUPS: u8 = 8;
const DRAINING: u8 = GROUPS + 1;
const UNUSED: u8 = GROUPS + 2;
const NO_UNIT: u16 = u16::MAX;
const NO_PAGE: u32 = 0;

/// Word 3 of a free object. In a used one the top byte is a table's number, which is never 255.
const FREE_MARK: u32 = 0xff << 24;
/// Bits of word 3 below the table's number.
pub(super) const TABLE_SHIFT: u32 = 24;

/// Where an object is: its offset in units of 8 bytes. 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub(super) struct Handle(pub(super) u32);

impl Handle {
    pub(super) const NONE: Self = Self(0);

    #[inline]
    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The object's first word.
    #[inline]
    pub(super) fn word(self) -> usize {
        self.0 as usize * (UNIT_BYTES / size_of::<u32>())
    }

    /// The object's first byte.
    #[inline]
    pub(super) fn byte(self) -> usize {
        self.0 as usize * UNIT_BYTES
    }

    #[inline]
    fn page(self) -> usize {
        self.0 as usize / PAGE_UNITS
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a page has 8,192 units")]
    fn unit(self) -> u16 {
        (self.0 as usize % PAGE_UNITS) as u16
    }
}

#[derive(Clone, Copy, Debug)]
struct Page {
    class: u8,
    /// The list it is in, or `GROUPS` if it is full, or `DRAINING`, or `UNUSED`.
    group: u8,
    /// Operating-system pages of it that have memory.
    touched: u8,
    /// Objects in use.
    used: u16,
    /// Units that have been cut into objects; what lies beyond has never been used.
    carved: u16,
    /// First free object among the carved ones.
    free: u16,
    previous: u32,
    next: u32,
}

const UNUSED_PAGE: Page = Page {
    class: 0,
    group: UNUSED,
    touched: 0,
    used: 0,
    carved: 0,
    free: NO_UNIT,
    previous: NO_PAGE,
    next: NO_PAGE,
};

#[derive(Clone, Copy, Debug, Default)]
struct Class {
    heads: [u32; GROUPS as usize],
    /// Bit `g`: list `g` is not empty.
    filled: u8,
    pages: usize,
    /// Objects cut, in all its pages.
    carved: usize,
    /// Objects in use.
    used: usize,
}

/// How much of a class must be free before its sparsest page is worth draining. Since what is moved
/// goes to places that are free already, a page gained costs at most as many moves as there were
/// removals before; waiting for more only saves draining what would soon be filled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// There is time: as much as a page and a thirty-second of the class.
    Idle,
    /// A write waits for memory: as much as a page.
    Pressing,
}

#[derive(Clone, Copy, Debug)]
struct Drain {
    page: usize,
    unit: u16,
}

/// The pages of one keyspace.
#[derive(Debug)]
pub(super) struct Slab {
    region: Region,
    pages: Vec<Page>,
    classes: [Class; CLASSES],
    /// Free pages that still have memory.
    dirty: Vec<u32>,
    /// Free pages that have none.
    clean: Vec<u32>,
    drain: Option<Drain>,
    /// Operating-system pages with memory: of entries and of the index.
    touched_entries: usize,
    touched_index: usize,
    /// Objects taken back so far.
    frees: u64,
}

impl Slab {
    pub(super) fn new() -> Self {
        Self::with_reservation(RESERVED_BYTES)
    }

    /// A slab that takes no more than `bytes` of address space.
    pub(super) fn with_reservation(bytes: usize) -> Self {
        Self {
            region: Region::reserve(bytes, RESERVED_BYTES_MIN.min(bytes)),
            pages: vec![UNUSED_PAGE; HEAD_PAGES],
            classes: [Class::default(); CLASSES],
            dirty: Vec::new(),
            clean: Vec::new(),
            drain: None,
            touched_entries: 0,
            touched_index: 0,
            frees: 0,
        }
    }

    // --- objects -----------------------------------------------------------------------------

    /// A new object of `class`, with whatever its memory held before; none if no page is to be had.
    pub(super) fn alloc(&mut self, class: usize) -> Option<Handle> {
        let number = match self.classes[class].fullest() {
            Some(number) => number,
            None => self.open_page(class)?,
        };
        let page = &mut self.pages[number as usize];
        let unit = if page.free == NO_UNIT {
            let unit = page.carved;
            page.carved += CLASS_BYTES[class] / UNIT_BYTES as u16;
            self.classes[class].carved += 1;
            self.touch(number);
            unit
        } else {
            let unit = page.free;
            page.free = low16(self.region.slice::<u32>()[handle_at(number, unit).word()]);
            unit
        };
        self.pages[number as usize].used += 1;
        self.classes[class].used += 1;
        self.regroup(number);
        Some(handle_at(number, unit))
    }

    /// Objects taken back so far: as long as this stays the same, no handle has become void.
    #[inline]
    pub(super) fn frees(&self) -> u64 {
        self.frees
    }

    /// Takes an object back. Answers how many bytes went back to the system with it.
    pub(super) fn free(&mut self, handle: Handle) -> usize {
        self.frees += 1;
        let number = handle.page() as u32;
        let page = &mut self.pages[number as usize];
        debug_assert!(page.group != UNUSED, "{handle:?} is in no page");
        let words = self.region.slice_mut::<u32>();
        words[handle.word()] = u32::from(page.free);
        words[handle.word() + 3] = FREE_MARK;
        page.free = handle.unit();
        page.used -= 1;
        self.classes[usize::from(page.class)].used -= 1;
        if page.used == 0 {
            return self.close_page(number);
        }
        if page.group != DRAINING {
            self.regroup(number);
        }
        0
    }

    /// The class of an object.
    #[inline]
    pub(super) fn class_of(&self, handle: Handle) -> usize {
        usize::from(self.pages[handle.page()].class)
    }

    /// Bytes that an object takes.
    #[inline]
    pub(super) fn bytes_of(&self, handle: Handle) -> usize {
        usize::from(CLASS_BYTES[self.class_of(handle)])
    }

    /// Whether `handle` names an index segment rather than an entry.
    pub(super) fn is_segment(&self, handle: Handle) -> bool {
        self.class_of(handle) >= FIRST_INDEX_CLASS
    }

    // --- their memory ------------------------------------------------------------------------

    #[inline]
    pub(super) fn words(&self) -> &[u32] {
        self.region.slice()
    }

    #[inline]
    pub(super) fn words_mut(&mut self) -> &mut [u32] {
        self.region.slice_mut()
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        self.region.slice()
    }

    #[inline]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.region.slice_mut()
    }

    #[inline]
    pub(super) fn chunks(&self) -> &[Chunk] {
        self.region.slice()
    }

    #[inline]
    pub(super) fn chunks_mut(&mut self) -> &mut [Chunk] {
        self.region.slice_mut()
    }

    /// Asks the processor to load the first line of an object.
    #[inline]
    pub(super) fn prefetch(&self, byte: usize) {
        self.region.prefetch(byte);
    }

    /// Asks the processor to load the first line of an object that is about to change.
    #[inline]
    pub(super) fn prefetch_to_write(&self, byte: usize) {
        self.region.prefetch_to_write(byte);
    }

    // --- pages -------------------------------------------------------------------------------

    /// Whether `count` more pages are to be had; makes them ready if so.
    #[inline]
    pub(super) fn has_pages(&mut self, count: usize) -> bool {
        let free = self.dirty.len() + self.clean.len();
        free >= count || self.region.commit((self.pages.len() + count - free) * PAGE_BYTES)
    }

    fn open_page(&mut self, class: usize) -> Option<u32> {
        let number = match self.dirty.pop().or_else(|| self.clean.pop()) {
            Some(number) => number,
            None if self.region.commit((self.pages.len() + 1) * PAGE_BYTES) => {
                self.pages.push(UNUSED_PAGE);
                self.pages.len() as u32 - 1
            }
            None => return None,
        };
        let page = &mut self.pages[number as usize];
        let touched = page.touched;
        *page = Page { class: class as u8, touched, ..UNUSED_PAGE };
        self.classes[class].pages += 1;
        *self.touched_by(class) += usize::from(touched);
        Some(number)
    }

    fn close_page(&mut self, number: u32) -> usize {
        let page = self.pages[number as usize];
        let class = usize::from(page.class);
        if page.group < GROUPS {
            self.unlink(number);
        } else if page.group == DRAINING {
            self.drain = None;
        }
        self.classes[class].pages -= 1;
        self.classes[class].carved -= usize::from(page.carved / (CLASS_BYTES[class] / 8));
        self.pages[number as usize] = Page { touched: page.touched, ..UNUSED_PAGE };
        *self.touched_by(class) -= usize::from(page.touched);
        self.dirty.push(number);
        if self.dirty.len() > DIRTY_PAGES_MAX { self.discard_spare() } else { 0 }
    }

    /// Gives the memory of a free page back to the system.
    fn discard_spare(&mut self) -> usize {
        let Some(number) = self.dirty.pop() else { return 0 };
        let start = number as usize * PAGE_BYTES;
        let touched = usize::from(std::mem::take(&mut self.pages[number as usize].touched));
        self.region.discard(start..start + touched * OS_PAGE_BYTES);
        self.clean.push(number);
        touched * OS_PAGE_BYTES
    }

    /// Bytes of memory that entries and index segments take.
    pub(super) fn touched_bytes(&self) -> (usize, usize) {
        (self.touched_entries * OS_PAGE_BYTES, self.touched_index * OS_PAGE_BYTES)
    }

    /// Bytes of what is kept about pages.
    pub(super) fn bookkeeping_bytes(&self) -> usize {
        self.pages.capacity() * size_of::<Page>()
            + (self.dirty.capacity() + self.clean.capacity()) * size_of::<u32>()
    }

    /// Counts the memory that page `number` newly uses.
    fn touch(&mut self, number: u32) {
        let page = &mut self.pages[number as usize];
        let touched = (usize::from(page.carved) * UNIT_BYTES).div_ceil(OS_PAGE_BYTES) as u8;
        if touched > page.touched {
            let more = usize::from(touched - page.touched);
            page.touched = touched;
            let class = usize::from(page.class);
            *self.touched_by(class) += more;
        }
    }

    fn touched_by(&mut self, class: usize) -> &mut usize {
        if class < FIRST_INDEX_CLASS { &mut self.touched_entries } else { &mut self.touched_index }
    }
}

#[inline]
fn handle_at(page: u32, unit: u16) -> Handle {
    Handle(page * PAGE_UNITS as u32 + u32::from(unit))
}

fn low16(word: u32) -> u16 {
    (word & 0xffff) as u16
}
