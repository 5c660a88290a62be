//! Collections that have outgrown a block: structures of their own, each with a number by which its key's
//! entry knows it.
//!
//! What no key has any more is buried, and freed a little at a time. Bytes are counted until they are freed.

use std::any::Any;
use std::collections::VecDeque;

use crate::collection::{Garbage, Large, SaveElements, Tag};

/// A structure of any kind.
pub(super) trait Object: Any + Garbage {
    fn save(&self, from: u64, bytes: usize, out: &mut Vec<u8>) -> u64;
    fn copy_to_save(&self) -> Option<Box<dyn SaveElements>>;
    fn peek(&self) -> &dyn Any;
    fn take(self: Box<Self>) -> Box<dyn Any>;
}

impl<L: Large> Object for L {
    fn save(&self, from: u64, bytes: usize, out: &mut Vec<u8>) -> u64 {
        Large::save(self, from, bytes, out)
    }

    fn copy_to_save(&self) -> Option<Box<dyn SaveElements>> {
        Large::copy_to_save(self)
    }

    fn peek(&self) -> &dyn Any {
        self
    }

    fn take(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// What is freed a little at a time, and takes no memory that counts.
#[derive(Debug)]
struct Uncounted(Box<dyn Garbage>);

impl Garbage for Uncounted {
    fn memory_bytes(&self) -> usize {
        0
    }

    fn free_some(&mut self, elements: usize) -> bool {
        self.0.free_some(elements)
    }
}

/// The number of a structure. A number is given again, with another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeapId(u32);

/// Bytes that an entry keeps in place of a structure.
pub(super) const STUB_BYTES: usize = 5;

impl HeapId {
    /// What an entry keeps in place of a structure.
    pub(super) fn stub(self, tag: Tag) -> [u8; STUB_BYTES] {
        let [a, b, c, d] = self.0.to_le_bytes();
        [tag.0, a, b, c, d]
    }

    /// The number in an entry's value, if it is one in place of a structure.
    #[inline]
    pub(super) fn in_value(value: &[u8]) -> Option<Self> {
        let (tag, number) = value.split_first()?;
        Tag(*tag).is_large().then_some(())?;
        number.first_chunk().map(|bytes| Self(u32::from_le_bytes(*bytes)))
    }
}

/// All structures of a shard.
#[derive(Debug, Default)]
pub(super) struct Heap {
    slots: Vec<Slot>,
    free: Vec<u32>,
    buried: VecDeque<Box<dyn Garbage>>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Slot {
    object: Option<Box<dyn Object>>,
    /// Counts the structures that have had this number.
    generation: u32,
}

impl Heap {
    /// Gives a structure a number.
    pub(super) fn insert(&mut self, object: Box<dyn Object>) -> HeapId {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("fewer structures than entries")
        });
        self.put_back_any(HeapId(number), object);
        HeapId(number)
    }

    /// Takes a structure out that is going to be [put back](Self::put_back).
    #[inline]
    pub(super) fn take<L: Large>(&mut self, id: HeapId) -> Option<Box<L>> {
        let object = self.slots[id.0 as usize].object.take()?;
        let object: Box<L> = object.take().downcast().ok()?;
        self.bytes -= Large::memory_bytes(&*object);
        Some(object)
    }

    /// Takes a structure of any kind out; what is left of its number goes with its key.
    pub(super) fn take_any(&mut self, id: HeapId) -> Option<Box<dyn Object>> {
        let object = self.slots[id.0 as usize].object.take()?;
        self.bytes -= object.memory_bytes();
        Some(object)
    }

    /// Puts a structure where one was taken out.
    #[inline]
    pub(super) fn put_back<L: Large>(&mut self, id: HeapId, object: Box<L>) {
        self.bytes += Large::memory_bytes(&*object);
        self.slots[id.0 as usize].object = Some(object);
    }

    /// The same for a structure of any kind.
    pub(super) fn put_back_any(&mut self, id: HeapId, object: Box<dyn Object>) {
        self.bytes += object.memory_bytes();
        self.slots[id.0 as usize].object = Some(object);
    }

    #[inline]
    pub(super) fn get(&self, id: HeapId) -> &dyn Object {
        self.slots[id.0 as usize].object.as_deref().expect("an entry's structure is there")
    }

    /// Of which structure a number is; see [`Heap::find`].
    pub(super) fn generation(&self, id: HeapId) -> u32 {
        self.slots[id.0 as usize].generation
    }

    /// The structure of a number, if it is the same still.
    pub(super) fn find(&self, id: HeapId, generation: u32) -> Option<&dyn Object> {
        let slot = &self.slots[id.0 as usize];
        slot.object.as_deref().filter(|_| slot.generation == generation)
    }

    /// A structure that no key has any more is to be freed.
    pub(super) fn bury(&mut self, id: HeapId) {
        let slot = &mut self.slots[id.0 as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.buried.extend(slot.object.take().map(|object| object as Box<dyn Garbage>));
        self.free.push(id.0);
    }

    /// Parts of structures that are still there are to be freed.
    #[cold]
    pub(super) fn bury_garbage(&mut self, garbage: Vec<Box<dyn Garbage>>) {
        self.bytes += garbage.iter().map(|part| part.memory_bytes()).sum::<usize>();
        self.buried.extend(garbage);
    }

    /// The same for what commands have gathered on the way, which does not count: nothing need give way to it.
    pub(super) fn bury_uncounted(&mut self, garbage: impl Iterator<Item = Box<dyn Garbage>>) {
        self.buried.extend(garbage.map(|garbage| Box::new(Uncounted(garbage)) as Box<dyn Garbage>));
    }

    /// Whether something waits to be freed.
    pub(super) fn has_garbage(&self) -> bool {
        !self.buried.is_empty()
    }

    /// Frees about so many elements of what is buried.
    pub(super) fn release(&mut self, elements: usize) {
        let Some(object) = self.buried.front_mut() else { return };
        let before = object.memory_bytes();
        let is_done = object.free_some(elements);
        let after = if is_done { 0 } else { object.memory_bytes() };
        self.bytes -= before - after;
        if is_done {
            self.buried.pop_front();
        }
    }

    /// Bytes of all structures, buried ones included.
    #[inline]
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes + self.slots.capacity() * (size_of::<Slot>() + size_of::<u32>())
    }

    /// Bytes of one.
    pub(super) fn memory_bytes_of(&self, id: HeapId) -> usize {
        self.get(id).memory_bytes()
    }

    /// Checks what is counted.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self) -> usize {
        let live = self.slots.iter().filter_map(|slot| slot.object.as_ref());
        let buried: usize = self.buried.iter().map(|object| object.memory_bytes()).sum();
        let bytes = live.clone().map(|object| object.memory_bytes()).sum::<usize>() + buried;
        assert_eq!(self.bytes, bytes, "bytes of structures");
        assert_eq!(
            self.slots.len() - self.free.len(),
            live.clone().count(),
            "numbers of structures"
        );
        live.count()
    }
}
