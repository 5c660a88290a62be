//! Hashes: values by field, each field with an expiry of its own if it was given one.
//!
//! Time is passed in. A field whose time has come is absent to whoever reads or changes the hash then, though
//! it still lies there, and counts in its length, until it is removed ([`Hash::remove_expired`]). Operations
//! know no time: they say what became of a field.
//!
//! ```text
//! SET           field, value                sets it, without an expiry
//! SET_UNTIL     field, value, time          sets it, with one
//! EXPIRE        field, time                 sets its expiry, or takes it away if the time is 0
//! REMOVE        field
//! ```

mod block;
mod large;
#[cfg(test)]
mod tests;

use super::edit::Op;
use super::packed::PackedBuf;
use super::{Collection, Edit, Element, Form, Kind, Nonsense, OpReader};
use crate::types::UnixMs;
use block::Block;

pub use large::LargeHash;

/// Bytes of names after which no more fields are removed at once because their time has come.
const EXPIRED_BYTES_MAX: usize = 1 << 20;

const SET: u8 = 1;
const SET_UNTIL: u8 = 2;
const EXPIRE: u8 = 3;
const REMOVE: u8 = 4;

/// A field with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name. In a large hash it is always bytes, as is its value.
    pub field: Element<'a>,
    /// What it is set to.
    pub value: Element<'a>,
    /// When it expires.
    pub expires_at: Option<UnixMs>,
}

impl Entry<'_> {
    /// Whether its time has not come yet.
    #[inline]
    pub fn is_live(&self, now: UnixMs) -> bool {
        is_live(self.expires_at, now)
    }
}

#[inline]
fn is_live(expires_at: Option<UnixMs>, now: UnixMs) -> bool {
    expires_at.is_none_or(|at| at > now)
}

/// What becomes of a field's expiry when it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime {
    Cleared,
    Kept,
}

/// A hash in the hands of a command that changes it.
#[derive(Debug)]
pub struct Hash {
    fields: Fields,
}

#[derive(Debug)]
enum Fields {
    Block(PackedBuf),
    Large(Box<LargeHash>),
}

impl Hash {
    /// Makes it large at once where so many fields are going to be set that it can't stay a block, as Redis does:
    /// else each would be looked for in the block.
    pub fn prepare(&mut self, fields: usize, edit: &Edit<'_>) {
        if fields > edit.thresholds.hash_entries {
            self.enlarge(edit);
        }
    }

    /// Sets a field and takes its expiry away; answers whether it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], now: UnixMs, edit: &mut Edit<'_>) -> bool {
        let before = self.put(field, value, Lifetime::Cleared, edit);
        if let Some(mut op) = edit.note(SET) {
            op.bytes(field).bytes(value);
        }
        !before.is_some_and(|expires_at| is_live(expires_at, now))
    }

    /// Sets a field; one that is there keeps its expiry.
    pub fn update(&mut self, field: &[u8], value: &[u8], now: UnixMs, edit: &mut Edit<'_>) {
        let present = self.view().get(field, now);
        let Some(expires_at) = present.and_then(|entry| entry.expires_at) else {
            self.set(field, value, now, edit);
            return;
        };
        self.put(field, value, Lifetime::Kept, edit);
        if let Some(op) = edit.note(SET_UNTIL) {
            write_until(op, field, value, expires_at);
        }
    }

    /// Removes a field; answers whether it was there.
    pub fn remove(&mut self, field: &[u8], now: UnixMs, edit: &mut Edit<'_>) -> bool {
        let removed = match &mut self.fields {
            Fields::Block(buf) => {
                let place = block::view(buf).find(field).map(|(_, place)| place);
                place.map(|place| {
                    block::remove(buf, place);
                    place.expires_at
                })
            }
            Fields::Large(large) => large.remove(field),
        };
        if removed.is_some() {
            note_removal(field, edit);
        }
        removed.is_some_and(|expires_at| is_live(expires_at, now))
    }

    /// Gives a field that is there, its time come or not, another expiry or none.
    pub fn set_expiry(&mut self, field: &[u8], expires_at: Option<UnixMs>, edit: &mut Edit<'_>) {
        let is_there = match &self.fields {
            Fields::Block(buf) => block::view(buf).find(field).is_some(),
            Fields::Large(large) => large.get(field).is_some(),
        };
        if !is_there {
            return;
        }
        if let Fields::Block(buf) = &self.fields
            && !block::may_be_timed(buf)
        {
            self.enlarge(edit);
        }
        match &mut self.fields {
            Fields::Block(buf) => {
                block::make_timed(buf);
                block::set_expiry(buf, field, expires_at);
            }
            Fields::Large(large) => large.set_expiry(field, expires_at),
        }
        if let Some(mut op) = edit.note(EXPIRE) {
            op.bytes(field).fixed(expires_at.map_or(0, |at| at.0));
        }
    }

    /// Removes fields whose time has come, the earliest first and no more than `most`, fewer of long names; answers how
    /// many.
    pub fn remove_expired(&mut self, now: UnixMs, most: usize, edit: &mut Edit<'_>) -> usize {
        match &mut self.fields {
            Fields::Block(buf) => {
                let expired = block::view(buf).iter().map(|(entry, _)| entry);
                let (mut count, mut bytes) = (0, 0);
                for entry in expired.take_while(|entry| !entry.is_live(now)).take(most) {
                    if bytes > EXPIRED_BYTES_MAX {
                        break;
                    }
                    note_removal(&entry.field.to_vec(), edit);
                    (count, bytes) = (count + 1, bytes + entry.field.len());
                }
                block::remove_first(buf, count);
                count
            }
            Fields::Large(large) => {
                let (mut count, mut bytes) = (0, 0);
                while count < most
                    && bytes <= EXPIRED_BYTES_MAX
                    && large.soonest_expiry().is_some_and(|at| at <= now)
                    && let Some(field) = large.remove_soonest()
                {
                    note_removal(&field, edit);
                    (count, bytes) = (count + 1, bytes + field.len());
                }
                count
            }
        }
    }

    /// When a field expires next, or did.
    pub fn soonest_expiry(&self) -> Option<UnixMs> {
        self.view().soonest_expiry()
    }

    /// Sets a field; answers the expiry it had if it was there.
    #[inline]
    fn put(
        &mut self,
        field: &[u8],
        value: &[u8],
        lifetime: Lifetime,
        edit: &Edit<'_>,
    ) -> Option<Option<UnixMs>> {
        if let Fields::Block(buf) = &mut self.fields {
            let longest = field.len().max(value.len());
            if longest <= edit.thresholds.hash_value_bytes && block::takes(buf, field, value) {
                let place = block::view(buf).find(field).map(|(_, place)| place);
                block::set(buf, place, field, value, lifetime);
                if block::view(buf).len() > edit.thresholds.hash_entries {
                    self.enlarge(edit);
                }
                return place.map(|place| place.expires_at);
            }
            self.enlarge(edit);
        }
        match &mut self.fields {
            Fields::Large(large) => large.set(field, value, lifetime),
            Fields::Block(_) => unreachable!("it has just been enlarged"),
        }
    }

    /// Makes a block a structure.
    #[cold]
    fn enlarge(&mut self, edit: &Edit<'_>) {
        if let Fields::Block(buf) = &self.fields {
            self.fields = Fields::Large(Box::new(LargeHash::from_block(block::view(buf), edit)));
        }
    }

    fn replay_one(
        &mut self,
        code: u8,
        ops: &mut OpReader<'_>,
        edit: &mut Edit<'_>,
    ) -> Result<(), Nonsense> {
        const EVER: UnixMs = UnixMs(0);
        let field = ops.bytes()?;
        match code {
            SET => {
                self.set(field, ops.bytes()?, EVER, edit);
            }
            SET_UNTIL => {
                let (value, at) = (ops.bytes()?, ops.fixed()?);
                self.set(field, value, EVER, edit);
                self.set_expiry(field, read_time(at)?, edit);
            }
            EXPIRE => self.set_expiry(field, read_time(ops.fixed()?)?, edit),
            REMOVE => {
                self.remove(field, EVER, edit);
            }
            _ => return Err(Nonsense),
        }
        Ok(())
    }
}

/// A time in an operation.
fn read_time(ms: u64) -> Result<Option<UnixMs>, Nonsense> {
    match i64::try_from(ms) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(UnixMs(ms))),
        Err(_) => Err(Nonsense),
    }
}

fn write_until(mut op: Op<'_>, field: &[u8], value: &[u8], expires_at: UnixMs) {
    op.bytes(field).bytes(value).fixed(expires_at.0);
}

fn note_removal(field: &[u8], edit: &mut Edit<'_>) {
    if let Some(mut op) = edit.note(REMOVE) {
        op.bytes(field);
    }
}

impl Collection for Hash {
    const KIND: Kind = Kind::Hash;
    type Large = LargeHash;
    type View<'a> = View<'a>;

    #[inline]
    fn soonest_expiry(&self) -> Option<UnixMs> {
        Self::soonest_expiry(self)
    }

    fn empty(memory: Vec<u8>) -> Self {
        Self { fields: Fields::Block(block::empty(memory)) }
    }

    #[inline]
    fn of(form: Form<LargeHash>) -> Self {
        let fields = match form {
            Form::Block(block) => Fields::Block(PackedBuf::of(block)),
            Form::Large(large) => Fields::Large(large),
        };
        Self { fields }
    }

    #[inline]
    fn into_form(self) -> Form<LargeHash> {
        match self.fields {
            Fields::Block(buf) => Form::Block(buf.into_block()),
            Fields::Large(large) => Form::Large(large),
        }
    }

    fn check(block: &[u8]) -> bool {
        Block::check(block)
    }

    #[inline]
    fn len(&self) -> usize {
        self.view().len()
    }

    #[inline]
    fn view_block(block: &[u8]) -> View<'_> {
        View { fields: Shown::Block(Block::of(block)) }
    }

    #[inline]
    fn view_large(large: &LargeHash) -> View<'_> {
        View { fields: Shown::Large(large) }
    }

    #[inline]
    fn view(&self) -> View<'_> {
        match &self.fields {
            Fields::Block(buf) => View { fields: Shown::Block(block::view(buf)) },
            Fields::Large(large) => Self::view_large(large),
        }
    }

    fn replay(&mut self, ops: &mut OpReader<'_>, edit: &mut Edit<'_>) -> Result<(), Nonsense> {
        while let Some(code) = ops.next() {
            self.replay_one(code, ops, edit)?;
        }
        Ok(())
    }
}

/// A hash to be read.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    fields: Shown<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Shown<'a> {
    Block(Block<'a>),
    Large(&'a LargeHash),
}

impl<'a> View<'a> {
    /// What `OBJECT ENCODING` answers.
    pub fn encoding(self) -> &'static str {
        match self.fields {
            Shown::Block(block) if block.is_timed() => "listpackex",
            Shown::Block(_) => "listpack",
            Shown::Large(_) => "hashtable",
        }
    }

    /// How many fields there are, those included whose time has come and that have not been removed yet.
    #[inline]
    pub fn len(self) -> usize {
        match self.fields {
            Shown::Block(block) => block.len(),
            Shown::Large(large) => large.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// A field that is there at `now`.
    #[inline]
    pub fn get(self, field: &[u8], now: UnixMs) -> Option<Entry<'a>> {
        let entry = match self.fields {
            Shown::Block(block) => block.find(field)?.0,
            Shown::Large(large) => large.get(field)?,
        };
        entry.is_live(now).then_some(entry)
    }

    /// When a field expires next, or did.
    #[inline]
    pub fn soonest_expiry(self) -> Option<UnixMs> {
        match self.fields {
            Shown::Block(block) => block.soonest_expiry(),
            Shown::Large(large) => large.soonest_expiry(),
        }
    }

    /// How many fields are there at `now`.
    pub fn live_len(self, now: UnixMs) -> usize {
        if is_live(self.soonest_expiry(), now) {
            return self.len();
        }
        match self.fields {
            Shown::Block(_) => self.live(now).count(),
            Shown::Large(large) => large.len() - large.count_expired(now),
        }
    }

    /// The fields that are there at `now`.
    pub fn live(self, now: UnixMs) -> impl Iterator<Item = Entry<'a>> {
        let (block, large) = match self.fields {
            Shown::Block(block) => (Some(block.iter().map(|(entry, _)| entry)), None),
            Shown::Large(large) => (None, Some(large.iter())),
        };
        let all = block.into_iter().flatten().chain(large.into_iter().flatten());
        all.filter(move |entry| entry.is_live(now))
    }

    /// A field that is there at `now`, any as likely as any other; `below` answers random numbers below the one
    /// it is given.
    pub fn choose(self, now: UnixMs, mut below: impl FnMut(usize) -> usize) -> Option<Entry<'a>> {
        const TRIES: usize = 100;
        let tries = if self.is_empty() { 0 } else { TRIES };
        for _ in 0..tries {
            let entry = match self.fields {
                Shown::Block(block) => block.nth(below(block.len())),
                Shown::Large(large) => large.choose(&mut below),
            };
            if entry.is_some_and(|entry| entry.is_live(now)) {
                return entry;
            }
        }
        // Hardly any is left.
        let count = self.live_len(now);
        if count == 0 { None } else { self.live(now).nth(below(count)) }
    }

    /// Calls `visit` with some fields from a place in the hash on, 0 for the first, and answers where to go on,
    /// 0 at the end. What is there from the first call to the last is visited, perhaps more than once.
    pub fn scan(self, cursor: u64, count: usize, mut visit: impl FnMut(Entry<'a>)) -> u64 {
        match self.fields {
            Shown::Block(block) => {
                block.iter().for_each(|(entry, _)| visit(entry));
                0
            }
            Shown::Large(large) => large.scan(cursor, count, visit),
        }
    }
}
