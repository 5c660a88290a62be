//! The journal: every change of a keyspace as bytes, from which the same keyspace can be made again.
//!
//! A change is written down as its result, not as the command that made it: what is random, relative or
//! a matter of time was decided before. So a change can be made again without asking anything, and
//! whoever makes the same changes in the same order comes to the same keyspace.
//!
//! ```text
//! changes   sequence u64, time u64, then changes
//! change    kind u8, database u8, then by kind:
//!   set       [expiry u64]  key length, value length, key, value
//!   edit                    key length, value length, offset, bytes' length, key, bytes
//!   expire    [expiry u64]  key length, key
//!   remove                  key length, key
//!   flush
//!   swap                    the other database u8
//!   elements                tag u8, key length, key, operations' length u32, operations
//!   put                     key length, value length, key, value
//!   outcome                 client u64, sequence u64, floor u64, end u8, [body], [version u64]
//!   forget                  client u64, horizon u64
//!   floor                   client u64, floor u64
//! snapshot  entries
//! entry     kind u8, database u8, [expiry u64], version u64, access u32 s, key length, value length, key, value
//! ```
//!
//! The value that is put is a collection's block. That of a collection's entry is its block, or the tag of a structure (see
//! [`crate::collection::Tag`]) and operations that make elements of it; the rest of them follow as entries of
//! the kind `more` with the same key. Clients and the horizon (see `outcomes`) are entries too, of kinds of their own: a
//! client's key is its number. An outcome ends with the length of the reply's body, 0 or 8, and the body, or with 0x80 and the
//! status. It raises the sequence if nothing else has; then the reply's version follows.
//!
//! Fixed numbers are little-endian, lengths LEB128. The kind's upper bits: [`ADVANCES`] for a change that
//! raises the sequence (what expires or is evicted does not), [`HAS_EXPIRY`], [`MODIFIED`] for an entry and
//! [`CREATES`] for a change of elements. `sequence` is
//! what it was before the first change, `time` when that was, in milliseconds since the Unix epoch.

mod read;
mod saved;

use std::collections::VecDeque;

pub use read::{Change, Changed, Changes, Nonsense};
pub use saved::{Saved, SavedEntries, SavedEntry, SavedWhat};

use super::extent::SharedBytes;
use super::outcomes::{Outcome, write_end};
use crate::collection::Tag;
use crate::limits::{CHANGES_BYTES_MAX, CHANGES_BYTES_PARTS, CHANGES_PIECE_BYTES};
use crate::types::{DbIndex, UnixMs};

/// The change raises the keyspace's sequence.
const ADVANCES: u8 = 0x80;
/// There is an expiry.
const HAS_EXPIRY: u8 = 0x40;
/// The value was changed in place.
const MODIFIED: u8 = 0x20;
/// The collection was not there before.
const CREATES: u8 = 0x20;
const KIND_MASK: u8 = 0x1f;

const SET: u8 = 1;
const EDIT: u8 = 2;
const EXPIRE: u8 = 3;
const REMOVE: u8 = 4;
const FLUSH: u8 = 5;
const SWAP: u8 = 6;
const ENTRY: u8 = 7;
const ELEMENTS: u8 = 8;
const COLLECTION: u8 = 9;
const MORE: u8 = 10;
const PUT: u8 = 11;
const OUTCOME: u8 = 12;
const FORGET: u8 = 13;
const CLIENT: u8 = 14;
const HORIZON: u8 = 15;
const FLOOR: u8 = 16;

/// Sequences are below this: they begin with the time in nanoseconds and come to it in the year 2262, so
/// that there is a next one to any that was read.
const SEQUENCES_END: u64 = 1 << 63;

/// Bytes of the length of operations.
const LENGTH_BYTES: usize = 4;
/// Bytes before the first change.
const HEAD_BYTES: usize = 16;
/// The payload of a record without changes.
pub const NO_CHANGES: [u8; HEAD_BYTES] = [0; HEAD_BYTES];
/// Capacity that an empty journal keeps.
const KEPT_BYTES: usize = 1024 * 1024;

/// Changes that have not been written to the log yet.
///
/// ```text
/// whole                     pieces                    bytes
/// ├── record ──┼── record ──┼─────┬─────┬─────┬ ─ ─ ──┼──────── ─ ─
/// what was cut off          what was set aside        what was written last: never empty if there are pieces
/// ```
#[derive(Debug)]
pub(super) struct Journal {
    is_on: bool,
    whole: VecDeque<WholeRecord>,
    pieces: Vec<Written>,
    bytes: Vec<u8>,
    /// Long values, each with the place in `bytes` that it belongs to.
    long: Vec<(usize, SharedBytes)>,
    /// Bytes of whole records.
    whole_bytes: usize,
    /// The same, and those of pieces and long values.
    apart_bytes: usize,
    /// Most bytes that a command may bring a record to with what keys hold.
    bytes_max: usize,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            is_on: false,
            whole: VecDeque::new(),
            pieces: Vec::new(),
            bytes: Vec::new(),
            long: Vec::new(),
            whole_bytes: 0,
            apart_bytes: 0,
            bytes_max: CHANGES_BYTES_MAX,
        }
    }
}

/// Changes to which no others come.
#[derive(Debug)]
struct WholeRecord {
    parts: Vec<Written>,
    bytes: usize,
}

/// How far a journal had come; see [`Journal::take_back`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    len: usize,
}

impl Journal {
    /// Another, which is off, with the same bound.
    pub(super) fn fresh(&self) -> Self {
        Self { bytes_max: self.bytes_max, ..Self::default() }
    }

    pub(super) fn turn(&mut self, on: bool) {
        *self = Self { is_on: on, ..self.fresh() };
    }

    /// Changes the bound of what [there is room for](Self::room_bytes).
    #[cfg(test)]
    pub(super) fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Whether changes are written down.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.apart_bytes
    }

    /// Whether there are so many changes since the last cut that the next is due. The bound goes by that of a record.
    #[inline]
    pub(super) fn is_long(&self) -> bool {
        self.record_bytes() > self.bytes_max / CHANGES_BYTES_PARTS
    }

    /// Makes all changes since the last cut a record by themselves. Nobody is in the middle of a command.
    #[cold]
    pub(super) fn cut(&mut self) {
        let bytes = self.record_bytes();
        let parts = self.take_parts();
        self.whole.push_back(WholeRecord { parts, bytes });
        self.whole_bytes += bytes;
        self.apart_bytes = self.whole_bytes;
    }

    /// Bytes of changes since the last cut: those that are one record with what comes.
    #[inline]
    pub(super) fn record_bytes(&self) -> usize {
        self.len() - self.whole_bytes
    }

    /// How many records the changes are.
    #[inline]
    pub(super) fn records(&self) -> usize {
        self.whole.len() + usize::from(!self.bytes.is_empty())
    }

    /// Bytes of the first of them.
    pub(super) fn next_bytes(&self) -> usize {
        self.whole.front().map_or(self.len(), |record| record.bytes)
    }

    /// Bytes that a command may still write down of what keys hold.
    pub(super) fn room_bytes(&self) -> usize {
        if self.is_on { self.bytes_max.saturating_sub(self.record_bytes()) } else { usize::MAX }
    }

    /// Whether there are more changes than one record takes, with some that may still come.
    pub(super) fn is_full(&self) -> bool {
        self.record_bytes() > self.bytes_max
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { len: self.len() }
    }

    /// Forgets all that was written since `mark`, no long value among it.
    pub(super) fn take_back(&mut self, mark: Mark) {
        let mut rest = self.len() - mark.len;
        loop {
            let kept = self.bytes.len().saturating_sub(rest);
            rest -= self.bytes.len() - kept;
            self.bytes.truncate(kept);
            if !self.bytes.is_empty() {
                return;
            }
            self.long.clear();
            // Behind long values the bytes before them are the last.
            while let Some(piece) = self.pieces.pop() {
                match piece {
                    Written::Bytes(bytes) => {
                        self.apart_bytes -= bytes.len();
                        self.bytes = bytes;
                        break;
                    }
                    Written::Value(value) => self.long.push((0, value)),
                }
            }
            let end = self.bytes.len();
            self.long.reverse();
            self.long.iter_mut().for_each(|(at, _)| *at = end);
            if end == 0 {
                return;
            }
        }
    }

    /// Sets what has been written aside if it is much, so that it need not be moved as more is written, nor be freed
    /// at once. The last change is one of elements, and has ended.
    pub(super) fn set_aside(&mut self) {
        if self.bytes.len() < CHANGES_PIECE_BYTES {
            return;
        }
        // A journal without bytes would begin anew.
        let Some(last) = self.bytes.pop() else { return };
        self.apart_bytes += self.bytes.len();
        let (bytes, long) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.long));
        self.pieces.extend(interleave(bytes, long));
        self.bytes.push(last);
    }

    /// Begins a change of a collection's elements, if anybody wants to know: answers where.
    #[inline]
    pub(super) fn begin_elements(
        &mut self,
        key: (DbIndex, &[u8]),
        what: (Tag, bool),
        sequence: u64,
    ) -> Option<Elements> {
        self.is_on.then(|| self.write_elements(key, what, sequence))
    }

    #[inline(never)]
    fn write_elements(
        &mut self,
        (db, key): (DbIndex, &[u8]),
        (tag, creates): (Tag, bool),
        sequence: u64,
    ) -> Elements {
        let start = self.bytes.len();
        let creates = if creates { CREATES } else { 0 };
        self.begin(ELEMENTS | ADVANCES | creates, db, sequence);
        self.bytes.push(tag.0);
        put_length(&mut self.bytes, key.len());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        Elements { start, operations: self.bytes.len() }
    }

    /// Where the operations of a change that has been begun go.
    #[inline]
    pub(super) fn operations(&mut self) -> Option<&mut Vec<u8>> {
        self.is_on.then_some(&mut self.bytes)
    }

    /// Ends a change of elements.
    pub(super) fn end_elements(&mut self, elements: &Elements) {
        let length = self.bytes.len() - elements.operations;
        let length = u32::try_from(length).expect("a command's operations are bounded");
        let at = elements.operations - LENGTH_BYTES;
        self.bytes[at..elements.operations].copy_from_slice(&length.to_le_bytes());
    }

    /// Forgets a change of elements that has been begun.
    pub(super) fn forget_elements(&mut self, elements: &Elements) {
        self.bytes.truncate(elements.start);
    }

    /// The changes, stamped with the time, unless long values are among them, or they are several records.
    pub(super) fn stamped(&mut self, now: UnixMs) -> Option<&[u8]> {
        if !(self.whole.is_empty() && self.pieces.is_empty() && self.long.is_empty()) {
            return None;
        }
        stamp(&mut self.bytes, now);
        Some(&self.bytes)
    }

    /// Takes the changes of the next record, stamped with the time: bytes and long values by turns.
    pub(super) fn take(&mut self, now: UnixMs) -> Vec<Written> {
        let mut parts = match self.whole.pop_front() {
            None => self.take_parts(),
            Some(WholeRecord { parts, bytes }) => {
                self.whole_bytes -= bytes;
                self.apart_bytes -= bytes;
                parts
            }
        };
        if let Some(Written::Bytes(first)) = parts.first_mut() {
            stamp(first, now);
        }
        parts
    }

    /// Takes all changes since the last cut.
    fn take_parts(&mut self) -> Vec<Written> {
        let (bytes, long) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.long));
        self.apart_bytes = self.whole_bytes;
        let mut parts = std::mem::take(&mut self.pieces);
        parts.extend(interleave(bytes, long));
        parts
    }

    pub(super) fn clear(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
    }

    /// Bytes of memory held, without long values that a key or somebody else holds as well.
    pub(super) fn memory_bytes(&self) -> usize {
        let of_piece = |piece: &Written| match piece {
            Written::Bytes(bytes) => bytes.capacity(),
            Written::Value(value) => value.own_memory_bytes(),
        };
        let whole = self.whole.iter().flat_map(|record| &record.parts);
        let pieces: usize = whole.chain(&self.pieces).map(of_piece).sum();
        pieces + memory_bytes(&self.bytes, &self.long)
    }

    /// Begins a change. `sequence` is the keyspace's, after the change.
    #[inline]
    fn begin(&mut self, kind: u8, db: DbIndex, sequence: u64) {
        self.open(sequence - u64::from(kind & ADVANCES != 0));
        self.bytes.extend_from_slice(&[kind, db.0]);
    }

    /// Begins with what stands before the first change, unless that has begun: without any change behind it is a record
    /// all the same. `sequence` is the keyspace's.
    #[inline]
    pub(super) fn open(&mut self, sequence: u64) {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(&sequence.to_le_bytes());
            self.bytes.extend_from_slice(&[0; HEAD_BYTES - 8]);
        }
    }

    fn expiry(&mut self, at: Option<UnixMs>) {
        if let Some(at) = at {
            self.bytes.extend_from_slice(&at.0.to_le_bytes());
        }
    }

    #[inline]
    pub(super) fn set(
        &mut self,
        (db, key): (DbIndex, &[u8]),
        value: &[u8],
        at: Option<UnixMs>,
        sequence: u64,
    ) {
        self.begin(SET | ADVANCES | expiry_flag(at), db, sequence);
        self.expiry(at);
        put_length(&mut self.bytes, key.len());
        put_length(&mut self.bytes, value.len());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    /// A key holds this block of a collection, and has no expiry.
    pub(super) fn put(&mut self, (db, key): (DbIndex, &[u8]), block: &[u8], sequence: u64) {
        self.begin(PUT | ADVANCES, db, sequence);
        put_length(&mut self.bytes, key.len());
        put_length(&mut self.bytes, block.len());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(block);
    }

    /// The same with a value that is kept where it lies.
    pub(super) fn set_long(
        &mut self,
        (db, key): (DbIndex, &[u8]),
        value: SharedBytes,
        at: Option<UnixMs>,
        sequence: u64,
    ) {
        self.begin(SET | ADVANCES | expiry_flag(at), db, sequence);
        self.expiry(at);
        put_length(&mut self.bytes, key.len());
        put_length(&mut self.bytes, value.len());
        self.bytes.extend_from_slice(key);
        self.apart_bytes += value.len();
        self.long.push((self.bytes.len(), value));
    }

    /// The value is now `length` bytes long, with `bytes` at `offset`.
    pub(super) fn edit(
        &mut self,
        (db, key): (DbIndex, &[u8]),
        length: usize,
        (offset, bytes): (usize, &[u8]),
        sequence: u64,
    ) {
        self.begin(EDIT | ADVANCES, db, sequence);
        for number in [key.len(), length, offset, bytes.len()] {
            put_length(&mut self.bytes, number);
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn expire(
        &mut self,
        (db, key): (DbIndex, &[u8]),
        at: Option<UnixMs>,
        sequence: u64,
    ) {
        self.begin(EXPIRE | ADVANCES | expiry_flag(at), db, sequence);
        self.expiry(at);
        put_length(&mut self.bytes, key.len());
        self.bytes.extend_from_slice(key);
    }

    /// A key is gone: because it was asked for, or by itself.
    pub(super) fn remove(&mut self, (db, key): (DbIndex, &[u8]), asked: bool, sequence: u64) {
        self.begin(REMOVE | if asked { ADVANCES } else { 0 }, db, sequence);
        put_length(&mut self.bytes, key.len());
        self.bytes.extend_from_slice(key);
    }

    pub(super) fn flush(&mut self, db: DbIndex, sequence: u64) {
        self.begin(FLUSH | ADVANCES, db, sequence);
    }

    pub(super) fn swap(&mut self, a: DbIndex, b: DbIndex, sequence: u64) {
        self.begin(SWAP | ADVANCES, a, sequence);
        self.bytes.push(b.0);
    }

    /// A client's write has come to this, and its floor is at least `floor`. `version` is the keyspace's sequence: if the
    /// reply's is another, nothing but this has raised it.
    pub(super) fn outcome(
        &mut self,
        client: u64,
        (sequence, floor): (u64, u64),
        outcome: &Outcome,
        version: u64,
    ) {
        let is_unchanged = outcome.version != version;
        self.begin(OUTCOME | if is_unchanged { ADVANCES } else { 0 }, DbIndex(0), version);
        for number in [client, sequence, floor] {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        write_end(&mut self.bytes, outcome);
        if is_unchanged {
            self.bytes.extend_from_slice(&outcome.version.to_le_bytes());
        }
    }

    /// A client's floor is at least `floor`.
    pub(super) fn raise_floor(&mut self, client: u64, floor: u64, sequence: u64) {
        self.begin(FLOOR, DbIndex(0), sequence);
        self.bytes.extend_from_slice(&client.to_le_bytes());
        self.bytes.extend_from_slice(&floor.to_le_bytes());
    }

    /// A client is not known any more, and the horizon is at least `horizon`.
    pub(super) fn forget(&mut self, client: u64, horizon: u64, sequence: u64) {
        self.begin(FORGET, DbIndex(0), sequence);
        self.bytes.extend_from_slice(&client.to_le_bytes());
        self.bytes.extend_from_slice(&horizon.to_le_bytes());
    }
}

/// Where a change of elements stands that is being written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements {
    start: usize,
    operations: usize,
}

/// A part of what was written down.
#[derive(Debug)]
pub enum Written {
    /// Bytes.
    Bytes(Vec<u8>),
    /// A long value, where it lies.
    Value(SharedBytes),
}

/// Stamps the changes that begin with these bytes, if there are any.
fn stamp(bytes: &mut [u8], now: UnixMs) {
    if let Some(time) = bytes.get_mut(8..HEAD_BYTES) {
        time.copy_from_slice(&now.0.to_le_bytes());
    }
}

fn memory_bytes(bytes: &Vec<u8>, long: &[(usize, SharedBytes)]) -> usize {
    bytes.capacity() + long.iter().map(|(_, value)| value.own_memory_bytes()).sum::<usize>()
}

/// Bytes with long values at their places among them.
fn interleave(bytes: Vec<u8>, long: Vec<(usize, SharedBytes)>) -> Vec<Written> {
    let mut parts = Vec::with_capacity(2 * long.len() + 1);
    let mut done = 0;
    for (at, value) in long {
        if at > done {
            parts.push(Written::Bytes(bytes[done..at].to_vec()));
        }
        parts.push(Written::Value(value));
        done = at;
    }
    match done {
        0 => parts.push(Written::Bytes(bytes)),
        done if done < bytes.len() => parts.push(Written::Bytes(bytes[done..].to_vec())),
        _ => {}
    }
    parts
}

fn expiry_flag(at: Option<UnixMs>) -> u8 {
    if at.is_some() { HAS_EXPIRY } else { 0 }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn put_length(out: &mut Vec<u8>, length: usize) {
    debug_assert!(length < 1 << 35);
    let mut rest = length;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
