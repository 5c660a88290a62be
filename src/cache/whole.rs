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
                let stub: [u8; STUB_BYTES] = self.store.heap.insert(object).stub(tag);
                self.place_collection(key, &stub, now);
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
            let sequence = self.sequence + 1;
            let what = (tag, from == 0);
            let noted = self.journal.begin_elements((key.db, key.bytes), what, sequence);
            if let (Some(noted), Some(out)) = (noted, self.journal.operations()) {
                from = object.save(from, CHANGE_BYTES, out);
                self.journal.end_elements(&noted);
            }
            self.sequence = sequence;
            if from == 0 {
                return;
            }
        }
    }
}
