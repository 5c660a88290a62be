//! Collections as a whole, on their way under a key: a command has made them, or they come from another key (`RENAME`,
//! `COPY`, `MOVE`).
//!
//! One that is put under a key has to be written down in the journal, all of it, which is done little by little where
//! it is much. Meanwhile the key holds what it held, and nobody but who puts it touches the keyspace; if it is more
//! than the journal takes, all is as it was.

use super::form::COLLECTION;
use super::heap::{HeapId, Object, STUB_BYTES};
use super::journal::Mark;
use super::{Access, Expiry, Held, Keyspace};
use crate::collection::{
    Collection, Edit, Form, Garbage, Kind, KindVisitor, OpReader, Tag, Thresholds, visit_kind,
};
use crate::types::{Key, UnixMs};

/// Bytes of operations that are written down as one change, or copied at once, or a little more.
const CHANGE_BYTES: usize = 1 << 20;

/// All that a collection holds.
#[derive(Debug)]
pub struct Whole(Content);

#[derive(Debug)]
enum Content {
    Block(Vec<u8>),
    Structure(Tag, Box<dyn Object>),
}

impl Whole {
    /// All that `collection` holds.
    pub fn of<C: Collection>(collection: C) -> Self {
        Self(match collection.into_form() {
            Form::Block(block) => Content::Block(block),
            Form::Large(large) => Content::Structure(Tag::large(C::KIND), large),
        })
    }

    /// Nothing yet, of this kind.
    fn empty(kind: Kind) -> Self {
        visit_kind(kind, Empty)
    }

    /// Adds a part of a structure of the same kind.
    fn add(&mut self, part: &Part, (thresholds, seed): (Thresholds, u64)) {
        let kind = part.tag.kind().expect("the tag of a structure");
        let content = std::mem::replace(&mut self.0, Content::Block(Vec::new()));
        let operations = &part.operations;
        self.0 = visit_kind(kind, Grow { content, operations, thresholds, seed });
    }

    /// What is too much to be freed at once, where nobody wants it any more.
    pub fn into_garbage(self) -> Option<Box<dyn Garbage>> {
        match self.0 {
            Content::Block(_) => None,
            Content::Structure(_, object) => Some(object),
        }
    }
}

/// A part of a structure on its way to another key.
#[derive(Debug)]
struct Part {
    tag: Tag,
    /// What makes the elements.
    operations: Vec<u8>,
}

/// A structure that is being copied.
#[derive(Debug)]
pub struct Copying {
    copy: Whole,
    /// Where to go on, 0 for the start.
    from: u64,
}

impl Copying {
    /// The copy, as far as it has come.
    pub fn into_whole(self) -> Whole {
        self.copy
    }
}

/// A collection that is being put under a key.
#[derive(Debug)]
pub struct Putting {
    whole: Whole,
    expires_at: Option<UnixMs>,
    /// Where to go on with writing it down, 0 for the start.
    from: u64,
    /// The journal and the sequence as they were, if it is written down little by little.
    before: Option<(Mark, u64)>,
}

impl Putting {
    /// What was to be put.
    pub fn into_whole(self) -> Whole {
        self.whole
    }
}

/// A collection can't be put under a key: it is more than can be written down at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the collection is more than can be written down at once")]
pub struct TooMuch;

impl Keyspace {
    // --- from a key ------------------------------------------------------------------------------

    /// The collection of `key` in another copy; nothing if the key is not there or holds a
    /// string. Takes time by its size. Does not count as use.
    pub fn copy_collection(&self, key: Key<'_>, now: UnixMs) -> Option<Whole> {
        let entry = self.store.view(self.find_live(key, now)?, now);
        let Held::Collection(value) = entry.value else { return None };
        let Some(mut copying) = self.begin_copy(key, now) else {
            return Some(Whole(Content::Block(value.to_vec())));
        };
        while !self.copy_some(key, now, &mut copying, CHANGE_BYTES) {}
        Some(copying.copy)
    }

    /// Begins to copy the structure of `key`, which may be too large to be copied at once; nothing if it holds none.
    pub fn begin_copy(&self, key: Key<'_>, now: UnixMs) -> Option<Copying> {
        let kind = self.structure_of(key, now)?.0.kind()?;
        Some(Copying { copy: Whole::empty(kind), from: 0 })
    }

    /// Copies about so many bytes of it; true once that was all, or the rest of it is not there any more. In between it
    /// may not change.
    pub fn copy_some(
        &self,
        key: Key<'_>,
        now: UnixMs,
        copying: &mut Copying,
        bytes: usize,
    ) -> bool {
        let Some((tag, object)) = self.structure_of(key, now) else { return true };
        let mut operations = Vec::new();
        copying.from = object.save(copying.from, bytes, &mut operations);
        copying.copy.add(&Part { tag, operations }, (self.thresholds, self.element_seed));
        copying.from == 0
    }

    fn structure_of(&self, key: Key<'_>, now: UnixMs) -> Option<(Tag, &dyn Object)> {
        let (tag, id) = self.structure_number(key, now)?;
        Some((tag, self.store.heap.get(id)))
    }

    /// Takes the collection of `key`, and removes the key; nothing if the key is not there or
    /// holds a string.
    pub fn take_collection_of(&mut self, key: Key<'_>, now: UnixMs) -> Option<Whole> {
        let entry = self.store.view(self.find_live(key, now)?, now);
        let Held::Collection(value) = entry.value else { return None };
        let (tag, id) = (Tag(value[0]), HeapId::in_value(value));
        let content = match id {
            None => Content::Block(value.to_vec()),
            Some(id) => Content::Structure(tag, self.store.heap.take_any(id)?),
        };
        self.remove(key, now);
        Some(Whole(content))
    }

    /// Takes out the structure of `key`, which is then [put back](Self::put_back_structure), or its key removed, before
    /// anything else is done with the key; nothing if it holds none.
    pub fn lift_structure(&mut self, key: Key<'_>, now: UnixMs) -> Option<Whole> {
        let (tag, id) = self.structure_number(key, now)?;
        Some(Whole(Content::Structure(tag, self.store.heap.take_any(id)?)))
    }

    /// Puts back what was lifted out of `key`.
    pub fn put_back_structure(&mut self, key: Key<'_>, lifted: Whole, now: UnixMs) {
        if let Content::Structure(_, object) = lifted.0
            && let Some((_, id)) = self.structure_number(key, now)
        {
            self.store.heap.put_back_any(id, object);
        }
    }

    /// The number of the structure of `key`, if it holds one.
    fn structure_number(&self, key: Key<'_>, now: UnixMs) -> Option<(Tag, HeapId)> {
        let entry = self.find_live(key, now)?;
        let value = self.store.value_in(entry, &self.store.form(entry));
        let id = HeapId::in_value(value).filter(|_| self.store.is_collection(entry))?;
        Some((Tag(value[0]), id))
    }

    // --- under a key -----------------------------------------------------------------------------

    /// Puts a collection in place of whatever `key` holds.
    ///
    /// # Errors
    /// If it can't be written down; nothing has changed then, and it is gone.
    pub fn put_collection(
        &mut self,
        key: Key<'_>,
        whole: Whole,
        expires_at: Option<UnixMs>,
        now: UnixMs,
    ) -> Result<(), TooMuch> {
        let mut putting = self.begin_put(key, whole, expires_at, now);
        while !self.write_down_some(key, &mut putting, CHANGE_BYTES)? {}
        self.end_put(key, putting, now);
        Ok(())
    }

    /// Begins to put a collection in place of whatever `key` holds. Until that has [ended](Self::end_put) nothing else is
    /// done with the keyspace.
    pub fn begin_put(
        &mut self,
        key: Key<'_>,
        whole: Whole,
        expires_at: Option<UnixMs>,
        now: UnixMs,
    ) -> Putting {
        let is_there = self.contains(key, now, Access::Peek);
        let is_written = self.journal.is_on() && matches!(whole.0, Content::Structure(..));
        let before = is_written.then(|| (self.journal.mark(), self.sequence));
        if is_written && is_there {
            self.sequence += 1;
            self.journal.remove((key.db, key.bytes), true, self.sequence);
        }
        Putting { whole, expires_at, from: 0, before }
    }

    /// Writes down about so many bytes of it; true once that was all, and it can be [put](Self::end_put).
    ///
    /// # Errors
    /// If that is more than can be written down at once; all is as it was.
    pub fn write_down_some(
        &mut self,
        key: Key<'_>,
        putting: &mut Putting,
        bytes: usize,
    ) -> Result<bool, TooMuch> {
        let (Some((mark, sequence)), Content::Structure(tag, object)) =
            (putting.before, &putting.whole.0)
        else {
            return Ok(true);
        };
        putting.from = self.note_some(key, (*tag, &**object), (putting.from, bytes));
        if self.journal.is_full() {
            self.journal.take_back(mark);
            self.sequence = sequence;
            return Err(TooMuch);
        }
        Ok(putting.from == 0)
    }

    /// Writes some of a structure down, `from` a place on; answers where to go on, 0 at the end.
    fn note_some(
        &mut self,
        key: Key<'_>,
        (tag, object): (Tag, &dyn Object),
        (from, bytes): (u64, usize),
    ) -> u64 {
        self.sequence += 1;
        let what = (tag, from == 0);
        let noted = self.journal.begin_elements((key.db, key.bytes), what, self.sequence);
        let mut next = 0;
        if let (Some(noted), Some(out)) = (noted, self.journal.operations()) {
            next = object.save(from, bytes, out);
            self.journal.end_elements(&noted);
            self.journal.set_aside();
        }
        next
    }

    /// Puts a collection, all of which is [written down](Self::write_down_some), in place of whatever `key` holds.
    pub fn end_put(&mut self, key: Key<'_>, putting: Putting, now: UnixMs) {
        if putting.before.is_none() {
            self.remove(key, now);
        } else {
            // That it goes is written down, and so is what comes: the last of these changes is the one that is made now.
            self.remove_unnoted(key, now);
            self.sequence -= 1;
        }
        match putting.whole.0 {
            Content::Block(block) => {
                self.place_collection(key, &block, now);
                if self.journal.is_on() {
                    self.journal.put((key.db, key.bytes), &block, self.sequence);
                }
            }
            Content::Structure(tag, object) => {
                let stub: [u8; STUB_BYTES] = self.store.heap.insert(object).stub(tag);
                self.place_collection(key, &stub, now);
            }
        }
        if putting.expires_at.is_some() {
            self.set_expiry(key, putting.expires_at, now);
        }
    }

    fn remove_unnoted(&mut self, key: Key<'_>, now: UnixMs) {
        let spot = self.spot(key);
        if let Some(position) = self.live(spot, key.bytes, now) {
            self.take_out(spot, position);
        }
    }

    /// Makes an entry of a collection with this value.
    pub(super) fn place_collection(&mut self, key: Key<'_>, value: &[u8], now: UnixMs) {
        let entry = self.place(key, value.len(), Expiry::Clear, now);
        self.store.value_mut(entry).copy_from_slice(value);
        self.store.set_kind_and_access(entry, COLLECTION, now);
        if let Some(kind) = Tag(value[0]).kind() {
            self.note_fields(entry, kind);
        }
    }
}

/// Nothing of a kind.
struct Empty;

impl KindVisitor for Empty {
    type Answer = Whole;

    fn visit<C: Collection>(self) -> Whole {
        Whole::of(C::empty(Vec::new()))
    }
}

/// Makes operations on what a collection holds.
struct Grow<'a> {
    content: Content,
    operations: &'a [u8],
    thresholds: Thresholds,
    seed: u64,
}

impl KindVisitor for Grow<'_> {
    type Answer = Content;

    fn visit<C: Collection>(self) -> Content {
        let form = match self.content {
            Content::Block(block) => Form::Block(block),
            Content::Structure(_, object) => {
                Form::Large(object.take().downcast().expect("parts of one structure"))
            }
        };
        let mut collection = C::of(form);
        let mut edit = Edit::new(self.thresholds, self.seed, None);
        let made = collection.replay(&mut OpReader::of(self.operations), &mut edit);
        debug_assert!(made.is_ok(), "they were made from a structure");
        Whole::of(collection).0
    }
}
