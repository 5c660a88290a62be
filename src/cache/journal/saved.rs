//! Entries of a snapshot: written down, and read again.

use super::read::Reader;
use super::{
    ADVANCES, CLIENT, COLLECTION, ENTRY, HAS_EXPIRY, HORIZON, KIND_MASK, MODIFIED, MORE, Nonsense,
    Written, expiry_flag, interleave, memory_bytes, put_length,
};
use crate::cache::extent::SharedBytes;
use crate::types::{DbIndex, UnixMs};

/// Entries saved for a snapshot.
#[derive(Debug, Default)]
pub struct Saved {
    bytes: Vec<u8>,
    long: Vec<(usize, SharedBytes)>,
    long_bytes: usize,
    /// How many.
    pub entries: u64,
}

impl Saved {
    /// Bytes of them all.
    #[expect(clippy::len_without_is_empty, reason = "entries tells")]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.long_bytes
    }

    /// The entries, unless long values are among them.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.long.is_empty().then_some(&self.bytes)
    }

    /// Takes the entries: bytes and long values by turns.
    pub fn take(&mut self) -> Vec<Written> {
        self.long_bytes = 0;
        interleave(std::mem::take(&mut self.bytes), std::mem::take(&mut self.long))
    }

    /// Bytes of memory held, without long values that a key or somebody else holds as well.
    pub fn memory_bytes(&self) -> usize {
        memory_bytes(&self.bytes, &self.long)
    }

    /// Forgets the entries, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.long.clear();
        (self.long_bytes, self.entries) = (0, 0);
    }

    /// Adds an entry whose value, if it is long, is `long`.
    pub fn add(&mut self, entry: &SavedEntry<'_>, long: Option<SharedBytes>) {
        self.entries += u64::from(entry.what.is_key());
        entry.append_head_to(&mut self.bytes);
        match long {
            None => self.bytes.extend_from_slice(entry.value),
            Some(value) => {
                self.long_bytes += value.len();
                self.long.push((self.bytes.len(), value));
            }
        }
    }
}

/// What an entry of a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavedWhat {
    /// A string.
    String,
    /// A collection: its block, or a tag and operations.
    Collection,
    /// A tag, and operations that make more elements of a collection that has been saved before.
    More,
    /// What is known of a client's writes: the key is the client's number.
    Outcomes,
    /// The floor of clients that are not known. There is no key.
    Horizon,
}

impl SavedWhat {
    fn kind(self) -> u8 {
        match self {
            Self::String => ENTRY,
            Self::Collection => COLLECTION,
            Self::More => MORE,
            Self::Outcomes => CLIENT,
            Self::Horizon => HORIZON,
        }
    }

    /// Whether the entry is a key's, and no addition to one: what is counted.
    pub fn is_key(self) -> bool {
        matches!(self, Self::String | Self::Collection)
    }

    /// Whether the entry belongs to a slot.
    pub fn has_slot(self) -> bool {
        !matches!(self, Self::Outcomes | Self::Horizon)
    }
}

/// One entry of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedEntry<'a> {
    /// The database.
    pub db: DbIndex,
    /// The key.
    pub key: &'a [u8],
    /// Its value, as `what` says.
    pub value: &'a [u8],
    /// What it holds.
    pub what: SavedWhat,
    /// When it expires, if ever.
    pub expires_at: Option<UnixMs>,
    /// The keyspace's sequence at its last change.
    pub version: u64,
    /// When it was last used.
    pub accessed_at: UnixMs,
    /// Whether its value was changed in place.
    pub modified_in_place: bool,
}

impl SavedEntry<'_> {
    /// Appends all of it but the value.
    fn append_head_to(&self, out: &mut Vec<u8>) {
        let modified = if self.modified_in_place { MODIFIED } else { 0 };
        let kind = self.what.kind();
        out.extend_from_slice(&[kind | expiry_flag(self.expires_at) | modified, self.db.0]);
        if let Some(at) = self.expires_at {
            out.extend_from_slice(&at.0.to_le_bytes());
        }
        out.extend_from_slice(&self.version.to_le_bytes());
        let seconds = u32::try_from(self.accessed_at.0 / 1000).unwrap_or(u32::MAX);
        out.extend_from_slice(&seconds.to_le_bytes());
        put_length(out, self.key.len());
        put_length(out, self.value.len());
        out.extend_from_slice(self.key);
    }
}

/// The entries in the payload of a snapshot's part.
#[derive(Clone, Debug)]
pub struct SavedEntries<'a> {
    reader: Reader<'a>,
}

impl<'a> SavedEntries<'a> {
    /// The entries in `payload`.
    pub fn of(payload: &'a [u8]) -> Self {
        Self { reader: Reader { bytes: payload, at: 0 } }
    }

    /// Where in the payload the next one begins.
    pub(in crate::cache) fn at(&self) -> usize {
        self.reader.at
    }

    fn read(&mut self) -> Option<SavedEntry<'a>> {
        let reader = &mut self.reader;
        let (kind, db) = (reader.u8()?, reader.db()?);
        let what = match kind & KIND_MASK {
            ENTRY => SavedWhat::String,
            COLLECTION => SavedWhat::Collection,
            MORE => SavedWhat::More,
            CLIENT => SavedWhat::Outcomes,
            HORIZON => SavedWhat::Horizon,
            _ => return None,
        };
        if kind & ADVANCES != 0 {
            return None;
        }
        let expires_at = if kind & HAS_EXPIRY != 0 { Some(UnixMs(reader.u64()?)) } else { None };
        let version = reader.sequence()?;
        let accessed_at = UnixMs(u64::from(reader.u32()?) * 1000);
        let (key, value) = (reader.length()?, reader.length()?);
        let (key, value) = (reader.take(key)?, reader.take(value)?);
        let modified_in_place = kind & MODIFIED != 0;
        Some(SavedEntry {
            db,
            key,
            value,
            what,
            expires_at,
            version,
            accessed_at,
            modified_in_place,
        })
    }
}

impl<'a> Iterator for SavedEntries<'a> {
    type Item = Result<SavedEntry<'a>, Nonsense>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.reader.at;
        if at >= self.reader.bytes.len() {
            return None;
        }
        let entry = self.read();
        if entry.is_none() {
            self.reader.at = self.reader.bytes.len();
        }
        Some(entry.ok_or(Nonsense { at }))
    }
}
