//! A large hash: a table of fields, and an order of those that expire.
//!
//! A field's expiry lies with it in the table. The order has the field's hash in place of its name: it is
//! enough to find the field again. Two fields of one hash that expire at one time share a place in the order,
//! which hashes of 64 bits with a secret seed make a matter of theory: one of them would be left lying,
//! expired, until it is set or removed.

use std::collections::BTreeSet;

use super::block::Block;
use super::{Entry, Lifetime, SET, SET_UNTIL, write_until};
use crate::collection::edit::Op;
use crate::collection::heap::heap_bytes;
use crate::collection::table::{Payload, Spot, Table};
use crate::collection::{Digits, Edit, Element, Large};
use crate::types::UnixMs;

/// Bytes that a place in the order takes: B-trees are filled to a half at least.
const ORDER_BYTES: usize = 32;

/// A hash as a structure in the heap.
#[derive(Debug)]
pub struct LargeHash {
    fields: Table<Field>,
    /// Times and hashes of the fields that expire.
    order: BTreeSet<(UnixMs, u64)>,
}

impl LargeHash {
    /// The fields of a block.
    pub(super) fn from_block(block: Block<'_>, edit: &Edit<'_>) -> Self {
        let mut large = Self { fields: Table::new(edit.seed), order: BTreeSet::new() };
        let (mut field_digits, mut value_digits) = (Digits::new(), Digits::new());
        for (entry, _) in block.iter() {
            let field = entry.field.bytes(&mut field_digits);
            large.set(field, entry.value.bytes(&mut value_digits), Lifetime::Cleared);
            if entry.expires_at.is_some() {
                large.set_expiry(field, entry.expires_at);
            }
        }
        large
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// A field, whether its time has come or not.
    #[inline]
    pub(super) fn get(&self, field: &[u8]) -> Option<Entry<'_>> {
        self.fields.seek(field).ok().map(|spot| self.entry(spot))
    }

    fn entry(&self, spot: Spot) -> Entry<'_> {
        let (field, kept) = self.fields.entry(spot);
        entry(field, kept)
    }

    /// Any field, each as likely as any other; `below` answers random numbers below the one it is given.
    pub(super) fn choose(&self, below: impl FnMut(usize) -> usize) -> Option<Entry<'_>> {
        self.fields.random(below).map(|spot| self.entry(spot))
    }

    /// All fields.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.fields.iter().map(|(field, kept)| entry(field, kept))
    }

    /// See [`super::View::scan`].
    pub(super) fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(Entry<'a>),
    ) -> u64 {
        self.fields.scan(cursor, count, |field, kept| visit(entry(field, kept)))
    }

    /// Sets a field; answers the expiry it had if it was there.
    #[inline]
    pub(super) fn set(
        &mut self,
        field: &[u8],
        value: &[u8],
        lifetime: Lifetime,
    ) -> Option<Option<UnixMs>> {
        match self.fields.seek(field) {
            Err(vacant) => {
                self.fields.add(vacant, field, Kept { value, expires_at: None });
                None
            }
            Ok(spot) => {
                // Nearly always no field expires at all.
                let expires = !self.order.is_empty();
                let before = if expires { self.fields.entry(spot).1.expires_at } else { None };
                let expires_at = match lifetime {
                    Lifetime::Kept => before,
                    Lifetime::Cleared => None,
                };
                self.fields.set(spot, field, Kept { value, expires_at });
                self.reorder(field, before, expires_at);
                Some(before)
            }
        }
    }

    /// Removes a field; answers the expiry it had if it was there.
    pub(super) fn remove(&mut self, field: &[u8]) -> Option<Option<UnixMs>> {
        let spot = self.fields.seek(field).ok()?;
        let before = self.fields.entry(spot).1.expires_at;
        self.fields.remove_at(spot);
        self.reorder(field, before, None);
        Some(before)
    }

    /// Gives a field another expiry, or none.
    pub(super) fn set_expiry(&mut self, field: &[u8], expires_at: Option<UnixMs>) {
        if let Ok(spot) = self.fields.seek(field) {
            let kept = self.fields.entry(spot).1;
            let (value, before) = (kept.value.to_vec(), kept.expires_at);
            self.fields.set(spot, field, Kept { value: &value, expires_at });
            self.reorder(field, before, expires_at);
        }
    }

    #[inline]
    fn reorder(&mut self, field: &[u8], before: Option<UnixMs>, after: Option<UnixMs>) {
        if before == after {
            return;
        }
        let hash = self.fields.hash_of(field);
        if let Some(before) = before {
            self.order.remove(&(before, hash));
        }
        if let Some(after) = after {
            self.order.insert((after, hash));
        }
    }

    #[inline]
    pub(super) fn soonest_expiry(&self) -> Option<UnixMs> {
        self.order.first().map(|(at, _)| *at)
    }

    /// How many fields are there whose time has come.
    pub(super) fn count_expired(&self, now: UnixMs) -> usize {
        self.order.range(..=(now, u64::MAX)).count()
    }

    /// Removes the field that expires next; answers its name.
    pub(super) fn remove_soonest(&mut self) -> Option<Vec<u8>> {
        loop {
            let (at, hash) = self.order.pop_first()?;
            let is_it = |_: &[u8], kept: Kept<'_>| kept.expires_at == Some(at);
            if let Some(spot) = self.fields.seek_hash(hash, is_it) {
                let field = self.fields.entry(spot).0.to_vec();
                self.fields.remove_at(spot);
                return Some(field);
            }
        }
    }
}

fn entry<'a>(field: &'a [u8], kept: Kept<'a>) -> Entry<'a> {
    Entry {
        field: Element::Bytes(field),
        value: Element::Bytes(kept.value),
        expires_at: kept.expires_at,
    }
}

impl Large for LargeHash {
    fn memory_bytes(&self) -> usize {
        let order = self.order.len() * ORDER_BYTES;
        heap_bytes(size_of::<Self>()) + self.fields.memory_bytes() + order
    }

    fn free_some(&mut self, elements: usize) -> bool {
        for _ in 0..elements {
            if self.order.pop_first().is_none() {
                break;
            }
        }
        self.fields.free_some(elements) && self.order.is_empty()
    }

    fn save(&self, from: u64, bytes: usize, out: &mut Vec<u8>) -> u64 {
        let (mut at, start) = (from, out.len());
        loop {
            at = self.fields.scan(at, 1, |field, kept| match kept.expires_at {
                None => {
                    Op::append_to(out, SET).bytes(field).bytes(kept.value);
                }
                Some(at) => write_until(Op::append_to(out, SET_UNTIL), field, kept.value, at),
            });
            if at == 0 || out.len() - start >= bytes {
                return at;
            }
        }
    }
}

/// How a field, its value and its expiry lie in the table.
///
/// ```text
/// entry    head, time u64 if it expires, field, value
/// head     0 to 0x3f    length of the field
///          0x40         set if there is a time
///          0x80         set if the length takes 30 bits, the first byte's lowest bits first
/// ```
#[derive(Clone, Copy, Debug)]
struct Field;

/// What is kept with a field.
#[derive(Clone, Copy, Debug)]
struct Kept<'a> {
    value: &'a [u8],
    expires_at: Option<UnixMs>,
}

const HAS_TIME: u8 = 0x40;
const IS_LONG: u8 = 0x80;
const LENGTH: u8 = 0x3f;
const TIME_BYTES: usize = size_of::<u64>();

impl Payload for Field {
    type Value<'a> = Kept<'a>;

    #[inline]
    fn entry_bytes(field: &[u8], kept: Kept<'_>) -> usize {
        let time = if kept.expires_at.is_some() { TIME_BYTES } else { 0 };
        head_bytes(field) + time + field.len() + kept.value.len()
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "fields are shorter than 1 GiB")]
    fn write(into: &mut [u8], field: &[u8], kept: Kept<'_>) {
        let (head, mut rest) = into.split_at_mut(head_bytes(field));
        let mark = if kept.expires_at.is_some() { HAS_TIME } else { 0 };
        match head {
            [short] => *short = field.len() as u8 | mark,
            long => {
                long.copy_from_slice(&(field.len() as u32).to_be_bytes());
                long[0] |= IS_LONG | mark;
            }
        }
        if let Some(at) = kept.expires_at {
            let (time, behind) = rest.split_at_mut(TIME_BYTES);
            time.copy_from_slice(&at.0.to_le_bytes());
            rest = behind;
        }
        let (field_into, value_into) = rest.split_at_mut(field.len());
        field_into.copy_from_slice(field);
        value_into.copy_from_slice(kept.value);
    }

    #[inline]
    fn read(entry: &[u8]) -> (&[u8], Kept<'_>) {
        let head = entry[0];
        let (length, mut rest) = if head & IS_LONG == 0 {
            (usize::from(head & LENGTH), &entry[1..])
        } else {
            let (long, rest) = entry.split_first_chunk::<4>().expect("written by `write`");
            let [_, b, c, d] = *long;
            (u32::from_be_bytes([head & LENGTH, b, c, d]) as usize, rest)
        };
        let mut expires_at = None;
        if head & HAS_TIME != 0 {
            let (time, behind) = rest.split_first_chunk().expect("written by `write`");
            expires_at = Some(UnixMs(u64::from_le_bytes(*time)));
            rest = behind;
        }
        let (field, value) = rest.split_at(length);
        (field, Kept { value, expires_at })
    }
}

#[inline]
fn head_bytes(field: &[u8]) -> usize {
    if field.len() <= usize::from(LENGTH) { 1 } else { size_of::<u32>() }
}
