//! From a key to its entry: one small hash table for each slot of each database.
//!
//! A table for each slot makes `CLUSTER COUNTKEYSINSLOT` and `GETKEYSINSLOT` direct and splits
//! growth into steps of a few dozen entries. A slot's table is one *segment* of 1 to 64 chunks that
//! doubles and halves; a slot with more entries than that has a directory of segments
//! (`directory.rs`). Segments are objects of the slab.
//!
//! ```text
//! hash   63 ........ 43   ...   13 .... 8   7   6 .... 0
//!        directory index        home chunk      tag
//! ```
//!
//! The low bits of the home chunk's number choose the chunk while a segment has fewer than 64.

use super::chunk::{Chunk, PLACES, tag_of};
use super::class::{SEGMENT_LOG2_MAX, segment_class};
use super::directory::Directory;
use super::entry::Store;
use super::slab::Handle;

/// Bits of a handle that are zero in a segment's: segments are as aligned as their chunks.
const SHAPE_MASK: u32 = 7;
/// The shape of a root that names a directory; any other is the logarithm of the chunk count.
const DIRECTORY: u32 = 7;
const HOME_SHIFT: u32 = 8;
const CHUNK_UNITS_LOG2: u32 = 3;
/// Slots whose entries are counted together, for finding the nth entry of a table.
pub(super) const SLOTS_PER_SUM: usize = 128;

const _: () = assert!(SEGMENT_LOG2_MAX < DIRECTORY);

/// The table of one slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SlotHead {
    root: u32,
    pub(super) len: u32,
}

/// What a slot's root names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Root {
    Empty,
    Segment(Segment),
    Directory(usize),
}

/// `1 << log2` chunks in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its first chunk, counted in cache lines of the slab.
    pub(super) line: usize,
    pub(super) log2: u32,
}

/// Where an entry stands in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) place: usize,
    pub(super) entry: Handle,
}

/// The keys of one database.
#[derive(Debug)]
pub(super) struct Table {
    /// The number that entries carry; below 255.
    pub(super) number: u8,
    /// By slot, from the shard's first on. Empty until there is a key.
    pub(super) heads: Vec<SlotHead>,
    /// Entries of each `SLOTS_PER_SUM` slots.
    pub(super) sums: Vec<u32>,
    directories: Vec<Option<Directory>>,
    free_directories: Vec<u32>,
    slots: usize,
    /// Entries.
    pub(super) len: usize,
    /// Entries with an expiry.
    pub(super) expiring: usize,
    /// Flushed: entries only leave it, segments are neither shrunk nor merged.
    pub(super) retired: bool,
}

impl Table {
    pub(super) fn new(number: u8, slots: usize) -> Self {
        Self {
            number,
            heads: Vec::new(),
            sums: Vec::new(),
            directories: Vec::new(),
            free_directories: Vec::new(),
            slots,
            len: 0,
            expiring: 0,
            retired: false,
        }
    }

    // --- entries -----------------------------------------------------------------------------

    /// The entry with this hash for which `is_it` holds.
    #[inline]
    pub(super) fn find(
        &self,
        store: &Store,
        slot: usize,
        hash: u64,
        is_it: impl Fn(Handle) -> bool,
    ) -> Option<Position> {
        let segment = self.segment(slot, hash)?;
        let home = segment.home(hash);
        let chunk = &segment.chunks(store)[home];
        for place in chunk.matches(tag_of(hash)) {
            let entry = chunk.handle(place);
            if is_it(entry) {
                return Some(Position { line: segment.line + home, place, entry });
            }
        }
        if chunk.has_overflowed() { segment.find_beyond(store, hash, is_it) } else { None }
    }

    /// Adds an entry that is not there.
    pub(super) fn insert(&mut self, store: &mut Store, slot: usize, hash: u64, entry: Handle) {
        debug_assert!(!self.retired);
        if self.heads.is_empty() {
            self.heads = vec![SlotHead::default(); self.slots];
            self.sums = vec![0; self.slots.div_ceil(SLOTS_PER_SUM)];
            store.tables_bytes += self.heads_bytes();
        }
        let segment = self.segment_with_room(store, slot, hash);
        segment.put(store, hash, entry);
        self.heads[slot].len += 1;
        self.sums[slot / SLOTS_PER_SUM] += 1;
        self.len += 1;
        if let Root::Directory(directory) = self.root(slot) {
            self.directory_mut(directory).count_in(store, segment);
        }
    }

    /// Takes out the entry at `position`.
    pub(super) fn remove(&mut self, store: &mut Store, slot: usize, hash: u64, position: Position) {
        let Some(segment) = self.segment(slot, hash) else { return };
        segment.take(store, hash, position);
        self.uncount(slot);
        if self.retired {
            return;
        }
        match self.root(slot) {
            Root::Directory(number) if self.heads[slot].len > 0 => {
                let directory = self.directory_mut(number);
                directory.count_out(store, segment);
                directory.merge(store, hash);
                if let Some(only) = directory.only_segment() {
                    self.take_directory(store, number);
                    self.set_root(slot, only);
                }
            }
            _ if self.heads[slot].len == 0 => self.clear_slot(store, slot),
            Root::Segment(_) if segment.log2 > 0 && self.heads[slot].len < 3 << segment.log2 => {
                self.rebuild(store, slot, segment, segment.log2 - 1);
            }
            Root::Empty | Root::Segment(_) | Root::Directory(_) => {}
        }
    }

    /// One entry of a slot fewer.
    pub(super) fn uncount(&mut self, slot: usize) {
        self.heads[slot].len -= 1;
        self.sums[slot / SLOTS_PER_SUM] -= 1;
        self.len -= 1;
    }

    /// Names another handle for the entry at `position`.
    #[inline]
    pub(super) fn replace(store: &mut Store, position: Position, entry: Handle) {
        store.slab.chunks_mut()[position.line].replace(position.place, entry);
    }

    /// Asks the processor to load the chunk where a key with this hash would be.
    #[inline]
    pub(super) fn prefetch(&self, store: &Store, slot: usize, hash: u64) {
        if let Some(segment) = self.segment(slot, hash) {
            store.slab.prefetch((segment.line + segment.home(hash)) * size_of::<Chunk>());
        }
    }

    /// The first entry in the home chunk with this hash's tag: nearly always the right one.
    #[inline]
    pub(super) fn likely(&self, store: &Store, slot: usize, hash: u64) -> Option<Handle> {
        let segment = self.segment(slot, hash)?;
        let chunk = &segment.chunks(store)[segment.home(hash)];
        chunk.matches(tag_of(hash)).next().map(|place| chunk.handle(place))
    }

    // --- segments ----------------------------------------------------------------------------

    /// The segment in which an entry with this hash would be.
    #[inline]
    pub(super) fn segment(&self, slot: usize, hash: u64) -> Option<Segment> {
        match self.root(slot) {
            Root::Empty => None,
            Root::Segment(segment) => Some(segment),
            Root::Directory(directory) => self.directory(directory).segment(hash),
        }
    }

    #[inline]
    pub(super) fn root(&self, slot: usize) -> Root {
        let Some(head) = self.heads.get(slot) else { return Root::Empty };
        match head.root & SHAPE_MASK {
            DIRECTORY => Root::Directory((head.root >> SHAPE_MASK.count_ones()) as usize),
            _ if head.root == 0 => Root::Empty,
            log2 => Root::Segment(Segment { line: (head.root >> CHUNK_UNITS_LOG2) as usize, log2 }),
        }
    }

    fn set_root(&mut self, slot: usize, segment: Segment) {
        self.heads[slot].root = segment.handle().0 | segment.log2;
    }

    #[expect(clippy::cast_possible_truncation, reason = "no more directories than slots")]
    fn set_directory(&mut self, store: &mut Store, slot: usize, directory: Directory) {
        store.tables_bytes += directory.bytes();
        let number = self.free_directories.pop().unwrap_or_else(|| {
            self.directories.push(None);
            self.directories.len() as u32 - 1
        });
        self.directories[number as usize] = Some(directory);
        self.heads[slot].root = number << SHAPE_MASK.count_ones() | DIRECTORY;
    }

    #[expect(clippy::cast_possible_truncation, reason = "no more directories than slots")]
    fn take_directory(&mut self, store: &mut Store, number: usize) -> Option<Directory> {
        let directory = self.directories[number].take()?;
        self.free_directories.push(number as u32);
        store.tables_bytes -= directory.bytes();
        Some(directory)
    }

    pub(super) fn directory(&self, number: usize) -> &Directory {
        self.directories[number].as_ref().expect("a root names it")
    }

    pub(super) fn directory_mut(&mut self, number: usize) -> &mut Directory {
        self.directories[number].as_mut().expect("a root names it")
    }

    /// The segment for an entry with this hash, grown or split as needed.
    fn segment_with_room(&mut self, store: &mut Store, slot: usize, hash: u64) -> Segment {
        loop {
            match self.root(slot) {
                Root::Empty => {
                    let segment = Segment::alloc(store, 0, owner(self.number, slot));
                    self.set_root(slot, segment);
                }
                Root::Segment(segment) => {
                    let len = self.heads[slot].len as usize;
                    if len < segment.len_max() {
                        return segment;
                    } else if segment.log2 < SEGMENT_LOG2_MAX {
                        self.rebuild(store, slot, segment, segment.log2 + 1);
                    } else {
                        let directory = Directory::new(store, segment, len);
                        self.set_directory(store, slot, directory);
                    }
                }
                Root::Directory(number) => {
                    return self.directory_mut(number).segment_with_room(store, hash);
                }
            }
        }
    }

    /// Replaces a slot's segment by one of another size. Left as it is if there is no memory, which
    /// is only ever the case when it is to shrink: room for growth is made sure of before.
    fn rebuild(&mut self, store: &mut Store, slot: usize, old: Segment, log2: u32) {
        if log2 < old.log2 && !store.slab.has_pages(1) {
            return;
        }
        let new = Segment::alloc(store, log2, owner(self.number, slot));
        old.each_hashed(store, |store, hash, entry| new.put(store, hash, entry));
        self.set_root(slot, new);
        store.slab.free(old.handle());
    }

    /// Frees all that a slot without entries has.
    pub(super) fn clear_slot(&mut self, store: &mut Store, slot: usize) {
        match self.root(slot) {
            Root::Empty => {}
            Root::Segment(segment) => {
                store.slab.free(segment.handle());
            }
            Root::Directory(number) => {
                if let Some(directory) = self.take_directory(store, number) {
                    directory.free(store);
                }
            }
        }
        self.heads[slot].root = 0;
    }

    /// Moves a segment to `new`, an object of the same class.
    pub(super) fn move_segment(
        &mut self,
        store: &mut Store,
        slot: usize,
        old: Handle,
        new: Handle,
    ) {
        let from = old.byte() / size_of::<Chunk>();
        let count = store.slab.bytes_of(old) / size_of::<Chunk>();
        let to = new.byte() / size_of::<Chunk>();
        store.slab.chunks_mut().copy_within(from..from + count, to);
        match self.root(slot) {
            Root::Empty => {}
            Root::Segment(segment) => self.set_root(slot, Segment { line: to, ..segment }),
            Root::Directory(number) => self.directory_mut(number).moved(store, to),
        }
    }

    /// Bytes of the table beside segments and directories.
    pub(super) fn heads_bytes(&self) -> usize {
        self.heads.capacity() * size_of::<SlotHead>() + self.sums.capacity() * size_of::<u32>()
    }

    /// Bytes of the directories beside their segments.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn directories_bytes(&self) -> usize {
        self.directories.iter().flatten().map(Directory::bytes).sum()
    }
}

impl Segment {
    /// A new, empty segment. The first chunk's note tells whose it is.
    ///
    /// # Panics
    /// If the slab has no page left; callers make sure of one.
    pub(super) fn alloc(store: &mut Store, log2: u32, owner: u32) -> Self {
        let handle = store.slab.alloc(segment_class(log2)).expect("room was made sure of");
        let segment = Self { line: handle.byte() / size_of::<Chunk>(), log2 };
        segment.chunks_mut(store).fill(Chunk::EMPTY);
        segment.chunks_mut(store)[0].set_note(owner);
        segment
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a line of the slab comes from a handle")]
    pub(super) fn handle(self) -> Handle {
        Handle((self.line << CHUNK_UNITS_LOG2) as u32)
    }

    /// Entries that it takes before it is to grow or split.
    pub(super) fn len_max(self) -> usize {
        if self.log2 == 0 { PLACES } else { 21 << (self.log2 - 1) }
    }

    #[inline]
    pub(super) fn chunks(self, store: &Store) -> &[Chunk] {
        &store.slab.chunks()[self.line..self.line + (1 << self.log2)]
    }

    #[inline]
    pub(super) fn chunks_mut(self, store: &mut Store) -> &mut [Chunk] {
        &mut store.slab.chunks_mut()[self.line..self.line + (1 << self.log2)]
    }

    /// The home chunk of a hash.
    #[inline]
    pub(super) fn home(self, hash: u64) -> usize {
        home_of(hash) & ((1 << self.log2) - 1)
    }

    /// Looks on from the home chunk's successor.
    #[cold]
    #[inline(never)]
    fn find_beyond(
        self,
        store: &Store,
        hash: u64,
        is_it: impl Fn(Handle) -> bool,
    ) -> Option<Position> {
        let chunks = self.chunks(store);
        let (tag, home, mask) = (tag_of(hash), self.home(hash), chunks.len() - 1);
        for at in (home + 1..home + chunks.len()).map(|at| at & mask) {
            let chunk = &chunks[at];
            for place in chunk.matches(tag) {
                let entry = chunk.handle(place);
                if is_it(entry) {
                    return Some(Position { line: self.line + at, place, entry });
                }
            }
            if !chunk.has_overflowed() {
                return None;
            }
        }
        None
    }

    /// Adds an entry. There is a free place: the caller sees to it.
    pub(super) fn put(self, store: &mut Store, hash: u64, entry: Handle) {
        let mut at = self.home(hash);
        let chunks = self.chunks_mut(store);
        let mask = chunks.len() - 1;
        let place = loop {
            match chunks[at].free_place() {
                Some(place) => break place,
                None => chunks[at].count_overflow(),
            }
            at = (at + 1) & mask;
        };
        chunks[at].put(place, tag_of(hash), entry);
    }

    /// Takes an entry out.
    pub(super) fn take(self, store: &mut Store, hash: u64, position: Position) {
        let mut at = self.home(hash);
        let chunks = self.chunks_mut(store);
        let (mask, target) = (chunks.len() - 1, position.line - self.line);
        while at != target {
            chunks[at].uncount_overflow();
            at = (at + 1) & mask;
        }
        chunks[target].clear(position.place);
    }

    /// Calls `each` with the hash of every entry. Loads the entries of a chunk ahead of their use,
    /// since hashing them is all that a rebuild waits for.
    pub(super) fn each_hashed(
        self,
        store: &mut Store,
        mut each: impl FnMut(&mut Store, u64, Handle),
    ) {
        for line in self.line..self.line + (1 << self.log2) {
            let chunk = store.slab.chunks()[line];
            for place in chunk.occupied() {
                store.slab.prefetch(chunk.handle(place).byte());
            }
            for place in chunk.occupied() {
                let entry = chunk.handle(place);
                each(store, store.hash(entry), entry);
            }
        }
    }
}

/// The home chunk's number of a hash, as far as the largest segment needs it.
#[inline]
pub(super) fn home_of(hash: u64) -> usize {
    (hash >> HOME_SHIFT & ((1 << SEGMENT_LOG2_MAX) - 1)) as usize
}

/// The note of a segment's first chunk. The table's number comes to stand where the slab looks for
/// it.
pub(super) fn owner(table: u8, slot: usize) -> u32 {
    let slot = u16::try_from(slot).expect("there are 16,384 slots");
    u32::from(table) << 16 | u32::from(slot)
}

/// Table and slot of a segment, from the note of its first chunk.
pub(super) fn owner_of(store: &Store, segment: Handle) -> (u8, usize) {
    let note = store.slab.chunks()[segment.byte() / size_of::<Chunk>()].note();
    let table = u8::try_from(note >> 16).expect("a note has 24 bits");
    (table, (note & 0xffff) as usize)
}
