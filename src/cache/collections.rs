//! Keys that hold collections: found, changed, saved and made again.
//!
//! The value of such a key is its block, or the number of its structure in the heap (see `heap`). A command
//! that changes a collection takes it out, changes it, and what is left of it is put back: nothing of it when
//! it is empty, for a key without elements is no key.

use super::form::COLLECTION;
use super::heap::HeapId;
use super::index::{Position, Table};
use super::journal::Elements;
use super::slab::Handle;
use super::{Access, Expiry, Keyspace, Nonsense, SavedWhat, Spot, WrongType};
use crate::collection::{Collection, Edit, Form, Kind, OpReader, Tag, Thresholds, Value};
use crate::collection::{KindVisitor, visit_kind};
use crate::types::{Key, UnixMs};

/// Memory of a block that is kept for the next.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// What a change of a collection does where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It begins with an empty one.
    Create,
    /// It does nothing.
    Skip,
}

/// Memory that is used again.
#[inline]
fn emptied(memory: &mut Vec<u8>) -> Vec<u8> {
    let mut memory = std::mem::take(memory);
    memory.clear();
    memory
}

impl Keyspace {
    /// Up to which size collections are blocks, from the next change of each on.
    pub fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// Up to which size collections are blocks.
    pub fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// Sets what hashes of elements are keyed with. Where it is the same in all keyspaces of a server, a walk over a key's
    /// elements may go on when another value has taken the place of the one that it began with, wherever that was made:
    /// elements that both have come at the same place of the walk.
    pub fn set_element_seed(&mut self, seed: u64) {
        self.element_seed = seed;
    }

    /// What hashes of elements are keyed with.
    pub fn element_seed(&self) -> u64 {
        self.element_seed
    }

    /// The collection of `key`, which counts as a lookup; nothing if the key is not there.
    ///
    /// # Errors
    /// If the key holds something else.
    #[inline]
    pub fn collection<C: Collection>(
        &mut self,
        key: Key<'_>,
        now: UnixMs,
        access: Access,
    ) -> Result<Option<C::View<'_>>, WrongType> {
        let Some(entry) = self.lookup(key, now, access) else { return Ok(None) };
        self.view_of::<C>(entry).ok_or(WrongType).map(Some)
    }

    /// What `key` holds; does not count, and what has expired stays.
    pub fn peek(&self, key: Key<'_>, now: UnixMs) -> Option<Value<'_>> {
        let entry = self.find_live(key, now)?;
        if !self.store.is_collection(entry) {
            return Some(Value::String(self.value_of(entry)));
        }
        match Tag(self.value_of(entry)[0]).kind()? {
            Kind::List => self.view_of::<crate::collection::List>(entry).map(Value::List),
            Kind::Set => self.view_of::<crate::collection::Set>(entry).map(Value::Set),
            Kind::SortedSet => {
                self.view_of::<crate::collection::SortedSet>(entry).map(Value::SortedSet)
            }
            Kind::Hash => self.view_of::<crate::collection::Hash>(entry).map(Value::Hash),
        }
    }

    /// The collection of `key`; nothing if the key is not there, or holds something else. Does not count, and
    /// what has expired stays.
    pub fn peek_at<C: Collection>(&self, key: Key<'_>, now: UnixMs) -> Option<C::View<'_>> {
        self.view_of::<C>(self.find_live(key, now)?)
    }

    /// Lets `change` change the collection of `key`; answers what it answers, nothing if the key is not there
    /// and is not to be made.
    ///
    /// # Errors
    /// If the key holds something else.
    #[inline]
    pub fn change<C: Collection, R>(
        &mut self,
        key: Key<'_>,
        missing: Missing,
        now: UnixMs,
        change: impl FnOnce(&mut C, &mut Edit<'_>) -> R,
    ) -> Result<Option<R>, WrongType> {
        self.make_room(now);
        let spot = self.spot(key);
        let position = self.live(spot, key.bytes, now);
        if position.is_none() && missing == Missing::Skip {
            return Ok(None);
        }
        let (mut collection, home) = self.take_collection::<C>(position)?;
        let noted = self.begin_elements::<C>(key, position.is_none());
        let mut edit = Edit::new(self.thresholds, self.element_seed, self.journal.operations());
        let answer = change(&mut collection, &mut edit);
        let has_changed = edit.has_changed();
        if let Some(garbage) = edit.take_garbage() {
            self.store.heap.bury_garbage(garbage);
        }
        let is_emptied = has_changed && collection.is_empty();
        if let Some(noted) = noted {
            if has_changed && !is_emptied {
                self.journal.end_elements(&noted);
            } else {
                self.journal.forget_elements(&noted);
            }
        }
        self.counts.changes += u64::from(has_changed);
        if is_emptied || !has_changed {
            self.put_back(collection, home);
            if is_emptied && let Some(position) = position {
                self.take_out(spot, position);
                self.note_removed(key);
            }
            return Ok(Some(answer));
        }
        let soonest = collection.soonest_expiry();
        let entry = self.keep_changed((spot, position), key, collection, home);
        self.advance(entry);
        self.store.set_kind_and_access(entry, COLLECTION, now);
        self.note_first_field(entry, C::KIND, soonest);
        Ok(Some(answer))
    }

    /// Whether `key` holds a collection, expired or not.
    pub(super) fn holds_collection(&self, key: Key<'_>) -> bool {
        let found = self.stored(self.spot(key), key.bytes);
        found.is_some_and(|position| self.store.is_collection(position.entry))
    }

    // --- how it is kept ----------------------------------------------------------------------

    #[inline]
    fn value_of(&self, entry: Handle) -> &[u8] {
        let form = self.store.form(entry);
        self.store.value_in(entry, &form)
    }

    /// An entry's collection, if it is of this kind.
    #[inline]
    pub(super) fn view_of<C: Collection>(&self, entry: Handle) -> Option<C::View<'_>> {
        if !self.store.is_collection(entry) {
            return None;
        }
        let value = self.value_of(entry);
        if Tag(value[0]).kind() != Some(C::KIND) {
            return None;
        }
        match HeapId::in_value(value) {
            None => Some(C::view_block(value)),
            Some(id) => self.store.heap.get(id).peek().downcast_ref().map(C::view_large),
        }
    }

    /// The entry of a key, unless there is none or its time has come.
    pub(super) fn find_live(&self, key: Key<'_>, now: UnixMs) -> Option<Handle> {
        let entry = self.stored(self.spot(key), key.bytes)?.entry;
        (!self.store.is_expired(entry, now)).then_some(entry)
    }

    /// Takes out the collection that is kept at a position, an empty one if there is none.
    #[inline(always)]
    fn take_collection<C: Collection>(
        &mut self,
        position: Option<Position>,
    ) -> Result<(C, Option<HeapId>), WrongType> {
        let Some(Position { entry, .. }) = position else {
            return Ok((C::empty(emptied(&mut self.scratch)), None));
        };
        let form = self.store.form(entry);
        let value = self.store.value_in(entry, &form);
        if !self.store.is_collection(entry) || Tag(value[0]).kind() != Some(C::KIND) {
            return Err(WrongType);
        }
        if let Some(id) = HeapId::in_value(value) {
            let large = self.store.heap.take(id).expect("it is of the kind that its tag says");
            return Ok((C::of(Form::Large(large)), Some(id)));
        }
        let mut memory = emptied(&mut self.scratch);
        memory.extend_from_slice(value);
        Ok((C::of(Form::Block(memory)), None))
    }

    /// Puts a collection back that has not changed, or is to go.
    fn put_back<C: Collection>(&mut self, collection: C, home: Option<HeapId>) {
        match (collection.into_form(), home) {
            (Form::Large(large), Some(home)) => self.store.heap.put_back(home, large),
            // What outgrew its block and was emptied again.
            (Form::Large(large), None) => {
                let id = self.store.heap.insert(large);
                self.store.heap.bury(id);
            }
            (Form::Block(block), _) => self.keep_scratch(block),
        }
    }

    fn keep_scratch(&mut self, block: Vec<u8>) {
        if block.capacity() <= SCRATCH_BYTES_MAX {
            self.scratch = block;
        }
    }

    /// Keeps a collection that has changed; answers its entry.
    #[inline(always)]
    fn keep_changed<C: Collection>(
        &mut self,
        (spot, position): (Spot, Option<Position>),
        key: Key<'_>,
        collection: C,
        home: Option<HeapId>,
    ) -> Handle {
        match (collection.into_form(), home, position) {
            (Form::Large(large), Some(home), Some(Position { entry, .. })) => {
                self.store.heap.put_back(home, large);
                self.lru.touch(&mut self.store, entry);
                entry
            }
            (Form::Large(large), _, _) => {
                let stub = self.store.heap.insert(large).stub(Tag::large(C::KIND));
                self.keep_value(spot, position, key, &stub)
            }
            (Form::Block(block), home, _) => {
                if let Some(home) = home {
                    // It has become small again: its number is free.
                    self.store.heap.bury(home);
                }
                let entry = self.keep_value(spot, position, key, &block);
                self.keep_scratch(block);
                entry
            }
        }
    }

    /// Writes the value of a collection's entry, which keeps its expiry.
    fn keep_value(
        &mut self,
        spot: Spot,
        position: Option<Position>,
        key: Key<'_>,
        value: &[u8],
    ) -> Handle {
        let entry = match position {
            None => self.insert(spot, key, value.len(), None),
            Some(position) => {
                let expires_at = self.store.expires_at(position.entry);
                let entry = self.rewrite(spot, position.entry, value.len(), expires_at, None);
                Table::replace(&mut self.store, position, entry);
                entry
            }
        };
        self.store.value_mut(entry).copy_from_slice(value);
        entry
    }

    #[inline]
    fn begin_elements<C: Collection>(&mut self, key: Key<'_>, creates: bool) -> Option<Elements> {
        let what = (Tag::large(C::KIND), creates);
        self.journal.begin_elements((key.db, key.bytes), what, self.sequence + 1)
    }

    // --- made again --------------------------------------------------------------------------

    /// Makes operations on the collection of `key` again; the key is made if it is not there, and stays if
    /// nothing is left in it: that it goes is a change of its own.
    pub(super) fn make_elements_again(
        &mut self,
        key: Key<'_>,
        kind: Kind,
        operations: &[u8],
        now: UnixMs,
    ) -> Result<(), Nonsense> {
        visit_kind(kind, Again { keyspace: self, key, operations, now })
    }

    fn make_again_of<C: Collection>(
        &mut self,
        key: Key<'_>,
        operations: &[u8],
        now: UnixMs,
    ) -> Result<(), Nonsense> {
        self.make_room(now);
        let spot = self.spot(key);
        let position = self.live(spot, key.bytes, now);
        let (mut collection, home) =
            self.take_collection::<C>(position).map_err(|WrongType| Nonsense { at: 0 })?;
        let mut noted = self.begin_elements::<C>(key, position.is_none());
        let mut edit = Edit::new(self.thresholds, self.element_seed, self.journal.operations());
        let result = collection.replay(&mut OpReader::of(operations), &mut edit);
        if let Some(garbage) = edit.take_garbage() {
            self.store.heap.bury_garbage(garbage);
        }
        if let Some(noted) = noted.take() {
            self.journal.end_elements(&noted);
        }
        let entry = self.keep_changed((spot, position), key, collection, home);
        self.advance(entry);
        self.store.set_kind_and_access(entry, COLLECTION, now);
        self.note_fields(entry, C::KIND);
        result.map_err(|_| Nonsense { at: 0 })
    }

    /// Puts a block in place of whatever `key` holds, again.
    pub(super) fn put_again(
        &mut self,
        key: Key<'_>,
        block: &[u8],
        now: UnixMs,
    ) -> Result<(), Nonsense> {
        let nonsense = Nonsense { at: 0 };
        let kind = block.first().and_then(|tag| Tag(*tag).kind()).ok_or(nonsense)?;
        if !visit_kind(kind, Check(block)) {
            return Err(nonsense);
        }
        self.place_collection(key, block, now);
        if self.journal.is_on() {
            self.journal.put((key.db, key.bytes), block, self.sequence);
        }
        Ok(())
    }

    /// Puts back a collection that was saved, or more of its elements.
    pub(super) fn restore_collection(
        &mut self,
        key: Key<'_>,
        what: SavedWhat,
        value: &[u8],
        expiry: Expiry,
    ) -> Result<Handle, Nonsense> {
        // Whether it has expired meanwhile is seen when it is looked up.
        const NEVER: UnixMs = UnixMs(0);
        let nonsense = Nonsense { at: 0 };
        let (tag, operations) = value.split_first().ok_or(nonsense)?;
        let kind = Tag(*tag).kind().ok_or(nonsense)?;
        let is_large = Tag(*tag).is_large();
        if what == SavedWhat::Collection {
            let empty = visit_kind(kind, EmptyBlock);
            let block = if is_large { &empty } else { value };
            if !is_large && !visit_kind(kind, Check(block)) {
                return Err(nonsense);
            }
            let entry = self.place(key, block.len(), expiry, NEVER);
            self.store.value_mut(entry).copy_from_slice(block);
            self.store.set_kind_and_access(entry, COLLECTION, NEVER);
            self.note_fields(entry, kind);
        }
        if is_large {
            self.make_elements_again(key, kind, operations, NEVER)?;
        }
        self.find_live(key, NEVER).ok_or(nonsense)
    }
}

/// Makes operations again on a collection of any kind.
struct Again<'a, 'k> {
    keyspace: &'a mut Keyspace,
    key: Key<'k>,
    operations: &'a [u8],
    now: UnixMs,
}

impl KindVisitor for Again<'_, '_> {
    type Answer = Result<(), Nonsense>;

    fn visit<C: Collection>(self) -> Self::Answer {
        self.keyspace.make_again_of::<C>(self.key, self.operations, self.now)
    }
}

/// Whether bytes are a good block of a kind.
struct Check<'a>(&'a [u8]);

impl KindVisitor for Check<'_> {
    type Answer = bool;

    fn visit<C: Collection>(self) -> bool {
        C::check(self.0)
    }
}

/// The block of an empty collection.
struct EmptyBlock;

impl KindVisitor for EmptyBlock {
    type Answer = Vec<u8>;

    fn visit<C: Collection>(self) -> Vec<u8> {
        match C::empty(Vec::new()).into_form() {
            Form::Block(block) => block,
            Form::Large(_) => unreachable!("what is empty is small"),
        }
    }
}
