//! Making entries, giving them another form, freeing them.

#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths fit 32 bits; a hash is written in two halves"
)]

use super::entry::Store;
use super::form::{
    ACCESS, EXPIRES, Form, Kind, LENGTHS, LONG_BUFFER, LONG_HASH, LONG_KEY_LEN, LONG_SLOT,
    LONG_VALUE_LEN, LONG_WORDS,
};
use super::slab::{Handle, TABLE_SHIFT};
use crate::types::Slot;

impl Store {
    /// Makes an entry with room for the value; links, expiry and value are the caller's to fill in.
    pub(super) fn create(
        &mut self,
        form: Form,
        key: &[u8],
        table: u8,
        slot: Slot,
        hash: u64,
    ) -> Handle {
        debug_assert_eq!(form.key_len, key.len());
        let entry = self.slab.alloc(form.class()).expect("room was made sure of");
        self.write_header(entry, &form, table);
        if form.kind != Kind::Short {
            self.set_slot_and_hash(entry, &form, slot, hash);
        }
        if form.is_large() {
            let buffer = self.large.alloc(form.buffer_prefix() + form.value_len);
            self.set_word(entry, form.long_word() + LONG_BUFFER, buffer.0);
        }
        if form.kind == Kind::LargeKey {
            let buffer = self.buffer(entry, &form);
            self.large.bytes_mut(buffer, key.len()).copy_from_slice(key);
        } else {
            let start = entry.byte() + form.key_byte();
            self.slab.bytes_mut()[start..start + key.len()].copy_from_slice(key);
        }
        entry
    }

    /// Makes the value of an entry that has just been made zeros.
    pub(super) fn zero_new_value(&mut self, entry: Handle) {
        // A new buffer is zeros, and its memory is better not touched before it is needed.
        if !self.form(entry).is_large() {
            self.value_mut(entry).fill(0);
        }
    }

    /// Gives an entry's value another length and the entry an expiry or none. The entry may move:
    /// the answer is where it is now; the old object is freed. The first `keep` bytes of the value
    /// stay; what lies beyond is zero if `keep` is given, and anything if not.
    ///
    /// Links are not carried over if the entry moves, and the expiry is the caller's to fill in.
    pub(super) fn reform(
        &mut self,
        entry: Handle,
        value_len: usize,
        expires: bool,
        keep: Option<usize>,
    ) -> Handle {
        let old = self.form(entry);
        let new = Form::new(old.key_len, value_len, expires);
        if new.expires == old.expires && self.fits(entry, &old, value_len) {
            self.resize_in_place(entry, &old, &new, keep);
            return entry;
        }
        let moved = self.slab.alloc(new.class()).expect("room was made sure of");
        self.write_header(moved, &new, self.table(entry));
        if new.kind != Kind::Short && old.kind != Kind::Short {
            for word in LONG_BUFFER..LONG_WORDS {
                let kept = self.word(entry, old.long_word() + word);
                self.set_word(moved, new.long_word() + word, kept);
            }
        } else if new.kind != Kind::Short {
            let (hash, slot) = (self.hash(entry), self.slot(entry));
            self.set_slot_and_hash(moved, &new, slot, hash);
        }
        self.move_content(entry, &old, moved, &new, keep);
        self.slab.free(entry);
        moved
    }

    /// Frees an entry that is linked nowhere. Answers how many bytes went back to the system.
    pub(super) fn free(&mut self, entry: Handle) -> usize {
        if self.is_collection(entry) {
            self.bury_structure(entry);
        }
        let form = self.form(entry);
        let given_back =
            if form.is_large() { self.large.free(self.buffer(entry, &form)) } else { 0 };
        given_back + self.slab.free(entry)
    }

    /// An entry's collection is going: so does its structure, if it has one.
    #[cold]
    pub(super) fn bury_structure(&mut self, entry: Handle) {
        if let Some(id) = self.heap_id(entry) {
            self.heap.bury(id);
        }
    }

    /// Copies an entry to another object of its class. The old object is the caller's to free.
    pub(super) fn copy(&mut self, from: Handle, to: Handle) {
        let bytes = self.slab.bytes_of(from);
        self.slab.bytes_mut().copy_within(from.byte()..from.byte() + bytes, to.byte());
    }

    fn write_header(&mut self, entry: Handle, form: &Form, table: u8) {
        self.set_word(entry, ACCESS, if form.expires { EXPIRES } else { 0 });
        self.set_word(entry, LENGTHS, form.lengths_word() | u32::from(table) << TABLE_SHIFT);
        if form.kind != Kind::Short {
            self.set_word(entry, form.long_word() + LONG_KEY_LEN, form.key_len as u32);
            self.set_word(entry, form.long_word() + LONG_VALUE_LEN, form.value_len as u32);
        }
    }

    pub(super) fn resize_in_place(
        &mut self,
        entry: Handle,
        old: &Form,
        new: &Form,
        keep: Option<usize>,
    ) {
        if new.is_large() {
            let (buffer, prefix) = (self.buffer(entry, old), old.buffer_prefix());
            match keep {
                None if prefix == 0 => self.large.reuse(buffer, new.value_len),
                None => self.large.resize(buffer, prefix, prefix + new.value_len),
                Some(keep) => self.large.resize(buffer, prefix + keep, prefix + new.value_len),
            }
        } else if let Some(keep) = keep
            && keep < new.value_len
        {
            let start = entry.byte() + new.key_byte() + new.key_len;
            self.slab.bytes_mut()[start + keep..start + new.value_len].fill(0);
        }
        let access = self.word(entry, ACCESS);
        self.write_header(entry, new, self.table(entry));
        self.set_word(entry, ACCESS, access);
    }

    /// Brings key and value of `entry` into `moved`.
    fn move_content(
        &mut self,
        entry: Handle,
        old: &Form,
        moved: Handle,
        new: &Form,
        keep: Option<usize>,
    ) {
        let from = entry.byte() + old.key_byte();
        let to = moved.byte() + new.key_byte();
        let kept = keep.unwrap_or(0).min(old.value_len).min(new.value_len);
        if new.is_large() && new.kind == old.kind {
            // The buffer changes hands with its word.
            self.resize_in_place(moved, &Form { value_len: old.value_len, ..*new }, new, keep);
        } else if new.is_large() {
            let prefix = new.buffer_prefix();
            let buffer = self.large.alloc(prefix + new.value_len);
            self.set_word(moved, new.long_word() + LONG_BUFFER, buffer.0);
            let content = &self.slab.bytes()[from..from + old.key_len + kept];
            let (key, value) = content.split_at(old.key_len);
            let bytes = self.large.bytes_mut(buffer, prefix + kept);
            bytes[..prefix].copy_from_slice(&key[..prefix]);
            bytes[prefix..].copy_from_slice(value);
        } else if old.is_large() {
            let prefix = old.buffer_prefix();
            let buffer = self.buffer(entry, old);
            let value_at = to + new.key_len;
            let bytes = self.large.bytes(buffer, prefix + kept);
            let target = self.slab.bytes_mut();
            target[to..to + prefix].copy_from_slice(&bytes[..prefix]);
            target[value_at..value_at + kept].copy_from_slice(&bytes[prefix..]);
            target[value_at + kept..value_at + new.value_len].fill(0);
            self.large.free(buffer);
        }
        if old.kind != Kind::LargeKey && new.kind != Kind::LargeKey {
            self.slab.bytes_mut().copy_within(from..from + old.key_len, to);
        }
        if !old.is_large() && !new.is_large() {
            let (from, to) = (from + old.key_len, to + new.key_len);
            self.slab.bytes_mut().copy_within(from..from + kept, to);
            self.slab.bytes_mut()[to + kept..to + new.value_len].fill(0);
        }
    }

    fn set_slot_and_hash(&mut self, entry: Handle, form: &Form, slot: Slot, hash: u64) {
        let word = form.long_word();
        self.set_word(entry, word + LONG_SLOT, u32::from(slot.0));
        self.set_word(entry, word + LONG_HASH, hash as u32);
        self.set_word(entry, word + LONG_HASH + 1, (hash >> 32) as u32);
    }
}
