//! Collections as a whole, on their way from one key to another (`RENAME`, `COPY`, `MOVE`).

use super::form::COLLECTION;
use super::heap::{HeapId, Object, STUB_BYTES};
use super::{Expiry, Held, Keyspace};
use crate::collection::Tag;
use crate::types::{Key, UnixMs};

/// Bytes of operations that are written down as one change, or a little more.
const CHANGE_BYTES: usize = 1 << 20;

/// All that a key's collection holds.
#[derive(Debug)]
pub struct Whole(Content);

#[derive(Debug)]
enum Content {
    Block(Vec<u8>),
    Structure(Tag, Box<dyn Object>),
    /// What makes another structure like it.
    Operations(Tag, Vec<u8>),
}

impl Keyspace {
    /// The collection of `key` in another copy; nothing if the key is not there or holds a
    /// string. Takes time by its size. Does not count as use.
    pub fn copy_collection(&self, key: Key<'_>, now: UnixMs) -> Option<Whole> {
        let entry = self.store.view(self.find_live(key, now)?, now);
        let Held::Collection(value) = entry.value else { return None };
        let content = match HeapId::in_value(value) {
            None => Content::Block(value.to_vec()),
            Some(id) => {
                let (object, mut operations, mut from) = (self.store.heap.get(id), Vec::new(), 0);
                loop {
                    from = object.save(from, usize::MAX, &mut operations);
                    if from == 0 {
                        break;
                    }
                }
                Content::Operations(Tag(value[0]), operations)
            }
        };
        Some(Whole(content))
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

    /// Puts a collection in place of whatever `key` holds.
    pub fn put_collection(
        &mut self,
        key: Key<'_>,
        whole: Whole,
        expires_at: Option<UnixMs>,
        now: UnixMs,
    ) {
        self.remove(key, now);
        match whole.0 {
            Content::Block(block) => {
                self.place_collection(key, &block, now);
                if self.journal.is_on() {
                    self.journal.put((key.db, key.bytes), &block, self.sequence);
                }
            }
            Content::Structure(tag, object) => {
                if self.journal.is_on() {
                    self.note_structure(key, tag, &*object);
                    // The last of these changes is the one that is made now.
                    self.sequence -= 1;
                }
                self.place_structure(key, tag, object, now);
            }
            Content::Operations(tag, operations) => {
                let kind = tag.kind().expect("the tag of a structure");
                let made = self.make_elements_again(key, kind, &operations, now);
                debug_assert!(made.is_ok(), "they were made from a structure");
            }
        }
        if expires_at.is_some() {
            self.set_expiry(key, expires_at, now);
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

    /// Writes down what makes a structure.
    fn note_structure(&mut self, key: Key<'_>, tag: Tag, object: &dyn Object) {
        let mut from = 0;
        loop {
            from = self.note_some(key, (tag, object), (from, CHANGE_BYTES));
            if from == 0 {
                return;
            }
        }
    }

    /// Writes some of it down, `from` a place on; answers where to go on, 0 at the end.
    fn note_some(
        &mut self,
        key: Key<'_>,
        (tag, object): (Tag, &dyn Object),
        (from, bytes): (u64, usize),
    ) -> u64 {
        let sequence = self.sequence + 1;
        let what = (tag, from == 0);
        let noted = self.journal.begin_elements((key.db, key.bytes), what, sequence);
        let mut next = 0;
        if let (Some(noted), Some(out)) = (noted, self.journal.operations()) {
            next = object.save(from, bytes, out);
            self.journal.end_elements(&noted);
        }
        self.sequence = sequence;
        next
    }

    // --- little by little ------------------------------------------------------------------------

    /// Whether `key` holds a structure, which may be too large to be copied at once.
    pub fn holds_structure(&self, key: Key<'_>, now: UnixMs) -> bool {
        self.structure_of(key, now).is_some()
    }

    fn structure_of(&self, key: Key<'_>, now: UnixMs) -> Option<(Tag, &dyn Object)> {
        let entry = self.store.view(self.find_live(key, now)?, now);
        let Held::Collection(value) = entry.value else { return None };
        HeapId::in_value(value).map(|id| (Tag(value[0]), self.store.heap.get(id)))
    }

    /// Copies about so many bytes of the structure of `key`, `from` a place on, 0 for the start; answers where to go on,
    /// 0 at the end. In between it may not change. Nothing if there is no structure.
    pub fn copy_some(
        &self,
        key: Key<'_>,
        now: UnixMs,
        (from, bytes): (u64, usize),
    ) -> Option<(Part, u64)> {
        let (tag, object) = self.structure_of(key, now)?;
        let mut operations = Vec::new();
        let next = object.save(from, bytes, &mut operations);
        Some((Part { tag, operations }, next))
    }

    /// Adds a part of a copy to the collection of `key`, which is there from the first part on.
    pub fn add_copied(&mut self, key: Key<'_>, part: &Part, now: UnixMs) {
        let kind = part.tag.kind().expect("the tag of a structure");
        let made = self.make_elements_again(key, kind, &part.operations, now);
        debug_assert!(made.is_ok(), "they were made from a structure");
    }

    /// Whether all elements of a collection are written down when it is put into a key.
    pub fn writes_down(&self, whole: &Whole) -> bool {
        self.journal.is_on() && matches!(whole.0, Content::Structure(..))
    }

    /// Writes down about so many bytes of what is to be put into `key`, `from` a place on, 0 for the start; answers where
    /// to go on, 0 at the end.
    pub fn write_down_some(
        &mut self,
        key: Key<'_>,
        whole: &Whole,
        (from, bytes): (u64, usize),
    ) -> u64 {
        match &whole.0 {
            Content::Structure(tag, object) => {
                self.note_some(key, (*tag, &**object), (from, bytes))
            }
            Content::Block(_) | Content::Operations(..) => 0,
        }
    }

    /// Puts a collection, all of which is [written down](Self::write_down_some), into a key that is not there.
    pub fn put_written_down(
        &mut self,
        key: Key<'_>,
        whole: Whole,
        expires_at: Option<UnixMs>,
        now: UnixMs,
    ) {
        if let Content::Structure(tag, object) = whole.0 {
            // The last of these changes is the one that is made now.
            self.sequence -= 1;
            self.place_structure(key, tag, object, now);
        }
        if expires_at.is_some() {
            self.set_expiry(key, expires_at, now);
        }
    }

    fn place_structure(&mut self, key: Key<'_>, tag: Tag, object: Box<dyn Object>, now: UnixMs) {
        let stub: [u8; STUB_BYTES] = self.store.heap.insert(object).stub(tag);
        self.place_collection(key, &stub, now);
    }
}

/// A part of a structure on its way to another key.
#[derive(Debug)]
pub struct Part {
    tag: Tag,
    /// What makes the elements.
    operations: Vec<u8>,
}
