//! Entries: where they are kept, and what is read from them. `form` has their layout, `reform` makes
//! and changes them.

#![expect(clippy::cast_possible_truncation, reason = "times and hashes are kept in halves")]

use ahash::RandomState;
use std::hash::{BuildHasher, Hasher};

use super::class::entry_bytes;
use super::extent::SharedBytes;
use super::form::{
    ACCESS, COLLECTION, EXPIRES, Form, HEADER_WORDS, KIND_MASK, Kind, LENGTHS, LONG_BUFFER,
    LONG_HASH, LONG_KEY_LEN, LONG_SLOT, LONG_VALUE_LEN, MODIFIED, VERSION, access_seconds,
    accessed_at, short_key_byte, short_key_len, short_value_len,
};
use super::heap::{Heap, HeapId};
use super::large::{Large, LargeId};
use super::slab::{Handle, Slab, TABLE_SHIFT};
use super::{EntryRef, Held, INDEX_BYTES_PER_ENTRY};
use crate::types::{Slot, UnixMs, key_slot};

const CACHE_LINE_BYTES: usize = 64;

/// Entries: the slab they are in, the buffers of long ones, and the hash of their keys.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) slab: Slab,
    pub(super) large: Large,
    pub(super) heap: Heap,
    /// Bytes of all tables beside their segments, kept here by `index`.
    pub(super) tables_bytes: usize,
    hasher: RandomState,
    /// While changes are made again: what had expired when one was made was removed by a change of its
    /// own.
    pub(super) spares_expired: bool,
}

impl Store {
    pub(super) fn new(seeds: [u64; 4]) -> Self {
        let [a, b, c, d] = seeds;
        let hasher = RandomState::with_seeds(a, b, c, d);
        let (slab, large, heap) = (Slab::new(), Large::new(), Heap::default());
        Self { slab, large, heap, tables_bytes: 0, hasher, spares_expired: false }
    }

    /// The hash of a key.
    #[inline]
    pub(super) fn hash_key(&self, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    /// Asks the processor to load the first two lines of an entry.
    #[inline]
    pub(super) fn prefetch(&self, entry: Handle) {
        self.slab.prefetch_to_write(entry.byte());
        self.slab.prefetch(entry.byte() + CACHE_LINE_BYTES);
    }

    // --- reading -----------------------------------------------------------------------------

    /// The form of an entry.
    #[inline]
    pub(super) fn form(&self, entry: Handle) -> Form {
        let [_, _, access, lengths, ..] = *self.header(entry);
        if lengths & KIND_MASK == 0 {
            return Form {
                kind: Kind::Short,
                expires: access & EXPIRES != 0,
                key_len: short_key_len(lengths),
                value_len: short_value_len(lengths),
            };
        }
        self.long_form(entry, access & EXPIRES != 0, lengths)
    }

    #[cold]
    fn long_form(&self, entry: Handle, expires: bool, lengths: u32) -> Form {
        let kind = match lengths & KIND_MASK {
            1 => Kind::Long,
            2 => Kind::LargeValue,
            _ => Kind::LargeKey,
        };
        let mut form = Form { kind, expires, key_len: 0, value_len: 0 };
        form.key_len = self.word(entry, form.long_word() + LONG_KEY_LEN) as usize;
        form.value_len = self.word(entry, form.long_word() + LONG_VALUE_LEN) as usize;
        form
    }

    /// Whether an entry is that of `key`.
    #[inline]
    pub(super) fn is_key(&self, entry: Handle, key: &[u8]) -> bool {
        let [_, _, access, lengths, ..] = *self.header(entry);
        if lengths & KIND_MASK != 0 {
            return self.is_long_key(entry, key);
        }
        let start = entry.byte() + short_key_byte(access);
        short_key_len(lengths) == key.len()
            && are_equal(&self.slab.bytes()[start..start + key.len()], key)
    }

    #[cold]
    #[inline(never)]
    fn is_long_key(&self, entry: Handle, key: &[u8]) -> bool {
        self.key(entry) == key
    }

    #[inline]
    fn header(&self, entry: Handle) -> &[u32; HEADER_WORDS] {
        let start = entry.word();
        let words = &self.slab.words()[start..start + HEADER_WORDS];
        words.first_chunk().expect("it has that length")
    }

    /// The key of an entry.
    #[inline]
    pub(super) fn key(&self, entry: Handle) -> &[u8] {
        let form = self.form(entry);
        self.key_in(entry, &form)
    }

    #[inline]
    fn key_in(&self, entry: Handle, form: &Form) -> &[u8] {
        if form.kind == Kind::LargeKey {
            return self.large.bytes(self.buffer(entry, form), form.key_len);
        }
        let start = entry.byte() + form.key_byte();
        &self.slab.bytes()[start..start + form.key_len]
    }

    #[inline]
    pub(super) fn value_in(&self, entry: Handle, form: &Form) -> &[u8] {
        if form.is_large() {
            let prefix = form.buffer_prefix();
            return &self.large.bytes(self.buffer(entry, form), prefix + form.value_len)[prefix..];
        }
        let start = entry.byte() + form.key_byte() + form.key_len;
        &self.slab.bytes()[start..start + form.value_len]
    }

    /// The value of an entry, to be changed.
    pub(super) fn value_mut(&mut self, entry: Handle) -> &mut [u8] {
        let form = self.form(entry);
        if form.is_large() {
            let (buffer, prefix) = (self.buffer(entry, &form), form.buffer_prefix());
            return &mut self.large.bytes_mut(buffer, prefix + form.value_len)[prefix..];
        }
        let start = entry.byte() + form.key_byte() + form.key_len;
        &mut self.slab.bytes_mut()[start..start + form.value_len]
    }

    /// The value of an entry, to be held by others as well, if it lies in an extent.
    pub(super) fn shared_value(&self, entry: Handle) -> Option<SharedBytes> {
        let form = self.form(entry);
        if !form.is_large() {
            return None;
        }
        self.large.share(self.buffer(entry, &form), form.buffer_prefix(), form.value_len)
    }

    /// When an entry was last used.
    pub(super) fn accessed_at(&self, entry: Handle, now: UnixMs) -> UnixMs {
        accessed_at(self.word(entry, ACCESS), now)
    }

    /// All that readers see of an entry.
    #[inline]
    pub(super) fn view(&self, entry: Handle, now: UnixMs) -> EntryRef<'_> {
        let [_, _, access, lengths, version_low, version_high] = *self.header(entry);
        if lengths & KIND_MASK != 0 {
            return self.view_long(entry, now);
        }
        let (key_len, value_len) = (short_key_len(lengths), short_value_len(lengths));
        let key_byte = short_key_byte(access);
        let start = entry.byte() + key_byte;
        let content = &self.slab.bytes()[start..start + key_len + value_len];
        let (key, value) = content.split_at(key_len);
        EntryRef {
            key,
            value: held(access, value),
            expires_at: self.expires_at(entry),
            accessed_at: accessed_at(access, now),
            modified_in_place: access & MODIFIED != 0,
            version: joined(version_low, version_high),
            memory_bytes: entry_bytes(key_byte + key_len + value_len)
                + INDEX_BYTES_PER_ENTRY
                + if access & COLLECTION == 0 { 0 } else { self.structure_bytes(entry) },
        }
    }

    #[cold]
    #[inline(never)]
    fn view_long(&self, entry: Handle, now: UnixMs) -> EntryRef<'_> {
        let form = self.form(entry);
        let mut memory_bytes = entry_bytes(form.bytes()) + INDEX_BYTES_PER_ENTRY;
        if form.is_large() {
            memory_bytes += self.large.memory_bytes(self.buffer(entry, &form));
        }
        EntryRef {
            key: self.key_in(entry, &form),
            value: held(self.word(entry, ACCESS), self.value_in(entry, &form)),
            expires_at: self.expires_at(entry),
            accessed_at: accessed_at(self.word(entry, ACCESS), now),
            modified_in_place: self.is_modified(entry),
            version: self.version(entry),
            memory_bytes,
        }
    }

    /// The hash of an entry's key.
    #[inline]
    pub(super) fn hash(&self, entry: Handle) -> u64 {
        let form = self.form(entry);
        if form.kind == Kind::Short {
            return self.hash_key(self.key_in(entry, &form));
        }
        let word = form.long_word() + LONG_HASH;
        u64::from(self.word(entry, word)) | u64::from(self.word(entry, word + 1)) << 32
    }

    /// The slot of an entry's key.
    pub(super) fn slot(&self, entry: Handle) -> Slot {
        let form = self.form(entry);
        if form.kind == Kind::Short {
            return key_slot(self.key_in(entry, &form));
        }
        Slot((self.word(entry, form.long_word() + LONG_SLOT) & 0xffff) as u16)
    }

    /// The table that an entry is in.
    #[inline]
    pub(super) fn table(&self, entry: Handle) -> u8 {
        (self.word(entry, LENGTHS) >> TABLE_SHIFT) as u8
    }

    /// When an entry expires, if ever.
    #[inline]
    pub(super) fn expires_at(&self, entry: Handle) -> Option<UnixMs> {
        let words = &self.slab.words()[entry.word()..];
        if words[ACCESS] & EXPIRES == 0 {
            return None;
        }
        Some(UnixMs(joined(words[HEADER_WORDS], words[HEADER_WORDS + 1])))
    }

    /// The sequence at the entry's last change.
    #[inline]
    pub(super) fn version(&self, entry: Handle) -> u64 {
        joined(self.word(entry, VERSION), self.word(entry, VERSION + 1))
    }

    /// Whether an entry has an expiry.
    #[inline]
    pub(super) fn expires(&self, entry: Handle) -> bool {
        self.word(entry, ACCESS) & EXPIRES != 0
    }

    /// Whether the value was changed in place.
    pub(super) fn is_modified(&self, entry: Handle) -> bool {
        self.word(entry, ACCESS) & MODIFIED != 0
    }

    /// Whether the value is a collection.
    #[inline]
    pub(super) fn is_collection(&self, entry: Handle) -> bool {
        self.word(entry, ACCESS) & COLLECTION != 0
    }

    /// The number of the structure that an entry has in place of a value, if it has one.
    pub(super) fn heap_id(&self, entry: Handle) -> Option<HeapId> {
        let form = self.form(entry);
        HeapId::in_value(self.value_in(entry, &form)).filter(|_| self.is_collection(entry))
    }

    /// Bytes of the structure that an entry has in place of a value.
    #[cold]
    fn structure_bytes(&self, entry: Handle) -> usize {
        self.heap_id(entry).map_or(0, |id| self.heap.memory_bytes_of(id))
    }

    /// Whether the value of an entry may become `value_len` bytes long without the entry moving.
    pub(super) fn fits(&self, entry: Handle, form: &Form, value_len: usize) -> bool {
        let new = Form::new(form.key_len, value_len, form.expires);
        new.kind == form.kind && new.class() == self.slab.class_of(entry)
    }

    /// Whether an entry's time has come: as in Redis, once it is past.
    #[inline]
    pub(super) fn is_expired(&self, entry: Handle, now: UnixMs) -> bool {
        self.expires_at(entry).is_some_and(|at| now > at && !self.spares_expired)
    }

    // --- changing ----------------------------------------------------------------------------

    /// Sets the time of the last access.
    #[inline]
    pub(super) fn set_accessed(&mut self, entry: Handle, now: UnixMs) {
        let word = &mut self.slab.words_mut()[entry.word() + ACCESS];
        *word = *word & (MODIFIED | COLLECTION | EXPIRES) | access_seconds(now);
    }

    /// Sets the time of the last access, and what the value is: [`MODIFIED`], [`COLLECTION`] or neither.
    #[inline]
    pub(super) fn set_kind_and_access(&mut self, entry: Handle, kind: u32, now: UnixMs) {
        let word = &mut self.slab.words_mut()[entry.word() + ACCESS];
        *word = *word & EXPIRES | kind | access_seconds(now);
    }

    /// What the value is: [`MODIFIED`], [`COLLECTION`] or neither.
    pub(super) fn kind(&self, entry: Handle) -> u32 {
        self.word(entry, ACCESS) & (MODIFIED | COLLECTION)
    }

    /// Sets the sequence at the entry's last change.
    #[inline]
    pub(super) fn set_version(&mut self, entry: Handle, version: u64) {
        let start = entry.word() + VERSION;
        let words = &mut self.slab.words_mut()[start..start + 2];
        words.copy_from_slice(&[version as u32, (version >> 32) as u32]);
    }

    /// Sets the time at which an entry that has an expiry expires.
    pub(super) fn set_expires_at(&mut self, entry: Handle, at: UnixMs) {
        debug_assert!(self.expires(entry));
        self.set_word(entry, HEADER_WORDS, at.0 as u32);
        self.set_word(entry, HEADER_WORDS + 1, (at.0 >> 32) as u32);
    }

    pub(super) fn buffer(&self, entry: Handle, form: &Form) -> LargeId {
        LargeId(self.word(entry, form.long_word() + LONG_BUFFER))
    }

    #[inline]
    pub(super) fn word(&self, entry: Handle, word: usize) -> u32 {
        self.slab.words()[entry.word() + word]
    }

    #[inline]
    pub(super) fn set_word(&mut self, entry: Handle, word: usize, value: u32) {
        self.slab.words_mut()[entry.word() + word] = value;
    }
}

/// A value and what it is.
#[inline]
fn held(access: u32, value: &[u8]) -> Held<'_> {
    if access & COLLECTION == 0 { Held::String(value) } else { Held::Collection(value) }
}

/// A number that is kept in two words.
#[inline]
fn joined(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// Whether two keys of the same length are equal. Most keys are short: a call to the C library's
/// comparison would cost more than comparing.
#[inline]
fn are_equal(a: &[u8], b: &[u8]) -> bool {
    match a.len() {
        4..8 => have_equal_ends::<4>(a, b),
        8..=16 => have_equal_ends::<8>(a, b),
        0..4 => a == b,
        _ => have_equal_ends::<8>(a, b) && a == b,
    }
}

/// Whether the first `N` bytes are equal, and the last.
#[inline]
fn have_equal_ends<const N: usize>(a: &[u8], b: &[u8]) -> bool {
    a.first_chunk::<N>() == b.first_chunk() && a.last_chunk::<N>() == b.last_chunk()
}
