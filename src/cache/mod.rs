//! The data of one shard: its keys, in the order of their use, with their expiries.
//!
//! ```text
//!   Keyspace ── databases ── index ── directory    key -> entry, a small table for each slot
//!      │                       └───── chunk
//!      ├──────── ahead                             keys looked at before they are used
//!      ├──────── lru, expiry                       lists that run through the entries
//!      ├──────── evict, reclaim                    making room; giving memory back in small steps
//!      ├──────── journal, recall                   changes as bytes, and bytes as changes
//!      ├──────── outcomes                          what became of writes that may be asked for again
//!      ├──────── observe, track                    changes that somebody wants to be told of
//!      └──────── entry, form, reform ── slab       where entries lie; `large` for long values
//!                                       large ── extent, region
//! ```
//!
//! An entry is named by a 32-bit handle, everywhere: in the index, in the lists, in the wheel. So an
//! entry can be moved when these are told, and pages that have become sparse are emptied.
//!
//! Invariants: every entry stands in the index of its table once, in the LRU list once, and in the
//! wheel once if it has an expiry; memory is counted from when it is touched until the system has it
//! back; no call takes a step that grows with the data, `flush` and `swap_databases` included.
//! `unsafe` is in `region` and `extent`, and a block of vector instructions in `chunk`. One core at a
//! time owns a keyspace; nothing is shared.

mod ahead;
mod chunk;
mod class;
mod collections;
mod databases;
mod directory;
mod entry;
mod events;
mod evict;
mod expiry;
mod extent;
mod field_expiry;
mod form;
mod heap;
mod index;
mod journal;
mod large;
mod lru;
mod observe;
mod outcomes;
mod random;
mod recall;
mod reclaim;
mod reform;
mod region;
mod scan;
mod slab;
mod track;
#[cfg(any(test, debug_assertions))]
mod verify;
mod walk;
mod whole;
mod write;

#[cfg(test)]
mod tests;

use crate::collection::{Kind, Tag, Thresholds};
use crate::types::{Key, UnixMs};

use databases::Databases;
use entry::Store;
use events::{EXPIRED, Events};
use expiry::Wheel;
use field_expiry::FieldExpiries;
use index::Position;
use journal::Journal;
use lru::Lru;
use observe::Observations;
use outcomes::Outcomes;
use slab::Handle;

pub use ahead::{Place, WrongSlot};
pub use collections::Missing;
pub use events::{Event, EventClasses};
pub use extent::{Extent, SharedBytes};
pub use journal::{
    Change, Changed, Changes, NO_CHANGES, Nonsense, Saved, SavedEntries, SavedEntry, SavedWhat,
    Written,
};
pub use observe::{Observed, Observer};
#[cfg(test)]
pub(crate) use outcomes::OutcomeBounds;
pub use outcomes::{Attempt, Floors, Outcome, OutcomeBody, OutcomeFigures, Recalled, STATUS_MAX};
pub use random::Random;
pub use recall::SaveCursor;
pub use region::set_up_allocator;
pub use track::{Outdated, OutdatedKey, Tracker};
pub use whole::{Copying, Putting, TooMuch, Whole};

/// About what the index takes for an entry: a handle, a tag, and the share of what is free.
const INDEX_BYTES_PER_ENTRY: usize = 10;
/// Keys that are looked at ahead at once.
pub const PREFETCH_KEYS_MAX: usize = 64;
/// Free slab pages below which writers are asked to make room first.
const ROOM_PAGES: usize = 64;

/// What a keyspace is built with.
#[derive(Clone, Debug)]
pub struct KeyspaceOptions {
    /// The slots this shard owns.
    pub slots: std::ops::Range<u16>,
    /// Seed of the keyed hash and of random choices; from the operating system in a real server.
    pub seed: u64,
    /// Where the sequence of changes begins. In a real server the time in nanoseconds since the Unix
    /// epoch, so that no version comes twice, not even across restarts.
    pub sequence: u64,
}

/// What becomes of a key's expiry when its value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The key has no expiry afterwards.
    Clear,
    /// The key keeps the expiry it has, if any.
    Keep,
    /// The key expires at this time.
    At(UnixMs),
}

/// Which keys are removed when memory is short. Redis's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EvictionPolicy {
    /// Writes that need memory fail.
    #[default]
    NoEviction,
    /// The least recently used key.
    AllKeysLru,
    /// The least recently used key among those with an expiry.
    VolatileLru,
    /// A random key.
    AllKeysRandom,
    /// A random key among those with an expiry.
    VolatileRandom,
    /// A key with little time left.
    VolatileTtl,
}

/// One key's entry as readers see it.
#[derive(Clone, Copy, Debug)]
pub struct EntryRef<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: Held<'a>,
    /// When it expires, if ever.
    pub expires_at: Option<UnixMs>,
    /// Time of the last access that counted for LRU, at a resolution of one second.
    pub accessed_at: UnixMs,
    /// True once the value was changed in place (`APPEND`, `SETRANGE`, `SETBIT`): `OBJECT ENCODING`
    /// then says `raw`, as Redis does.
    pub modified_in_place: bool,
    /// The sequence at the last change of the value or the expiry: see [`Keyspace::sequence`].
    pub version: u64,
    /// Bytes of memory this entry takes, allocation slack and index share included.
    pub memory_bytes: usize,
}

/// What a key holds, as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held<'a> {
    /// A string.
    String(&'a [u8]),
    /// A collection: its block, or what stands in place of a structure.
    Collection(&'a [u8]),
}

impl<'a> EntryRef<'a> {
    /// What `TYPE` answers.
    pub fn type_name(&self) -> &'static str {
        match self.value {
            Held::String(_) => "string",
            Held::Collection(value) => Tag(value[0]).kind().map_or("none", Kind::name),
        }
    }

    /// The string, if it holds one.
    ///
    /// # Errors
    /// If it holds a collection.
    #[inline]
    pub fn string(&self) -> Result<&'a [u8], WrongType> {
        match self.value {
            Held::String(value) => Ok(value),
            Held::Collection(_) => Err(WrongType),
        }
    }
}

/// The key holds a value of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// Memory that a keyspace holds, in bytes. The sum is what `maxmemory` is held against. At most
/// 2 MiB more is kept for the next writes; changes that have not been taken yet are not in it either, see
/// [`Keyspace::changes_memory_bytes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Pages that hold entries, as far as they have been touched.
    pub entries_bytes: usize,
    /// Values too long for a page.
    pub large_bytes: usize,
    /// Collections that have outgrown a block.
    pub heap_bytes: usize,
    /// The index: tables and directories.
    pub index_bytes: usize,
}

impl MemoryUse {
    /// All of it.
    pub fn total_bytes(&self) -> usize {
        self.entries_bytes + self.large_bytes + self.heap_bytes + self.index_bytes
    }
}

/// What happened in a keyspace since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceCounts {
    /// Keys removed because their time had come.
    pub expired: u64,
    /// Fields of hashes removed because their time had come.
    pub expired_fields: u64,
    /// Keys removed to make room.
    pub evicted: u64,
    /// Lookups by a read command that found the key.
    pub hits: u64,
    /// Lookups by a read command that did not.
    pub misses: u64,
    /// Changes to the data set.
    pub changes: u64,
}

/// How a lookup counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A read command: counts as hit or miss, and as use for LRU.
    Read,
    /// A read that must not count as use (`OBJECT`, `TTL` under `CLIENT NO-TOUCH`, …): hit or miss only.
    ReadNoTouch,
    /// The lookup of a write command: counts as use, not as hit or miss.
    Write,
    /// Neither.
    Peek,
}

/// The keys of one shard: all its databases, its LRU order, its expiries, its memory.
///
/// Nothing here reads a clock: every method that judges expiry is given the time. A key whose time
/// has come is not there for any method that takes `now`.
///
/// The methods are spread over files by what they do: reading here, `write`, `walk` (many keys),
/// `evict`, `reclaim`.
#[derive(Debug)]
pub struct Keyspace {
    store: Store,
    databases: Databases,
    lru: Lru,
    wheel: Wheel,
    slots: std::ops::Range<u16>,
    random: Random,
    counts: KeyspaceCounts,
    journal: Journal,
    observations: Observations,
    events: Events,
    field_expiries: FieldExpiries,
    outcomes: Outcomes,
    upheavals: u64,
    sequence: u64,
    /// Where the sequence began.
    first_sequence: u64,
    /// Whether what has expired stays where it is, unseen, until a change takes it away that is made again here.
    keeps_expired: bool,
    thresholds: Thresholds,
    /// What hashes of elements are keyed with.
    element_seed: u64,
    /// Memory for the next block that is changed.
    scratch: Vec<u8>,
}

/// Where a key is to be looked for.
#[derive(Clone, Copy, Debug)]
struct Spot {
    table: u8,
    /// Counted from the shard's first.
    slot: usize,
    hash: u64,
}

impl Keyspace {
    /// An empty keyspace.
    ///
    /// # Panics
    /// If the process may not reserve 32 MiB of address space.
    pub fn new(options: KeyspaceOptions) -> Self {
        let mut random = Random::new(options.seed);
        let store = Store::new(std::array::from_fn(|_| random.next()));
        let element_seed = random.next();
        Self {
            store,
            databases: Databases::new(options.slots.len()),
            lru: Lru::default(),
            wheel: Wheel::new(),
            slots: options.slots,
            random,
            counts: KeyspaceCounts::default(),
            journal: Journal::default(),
            observations: Observations::default(),
            events: Events::default(),
            field_expiries: FieldExpiries::default(),
            outcomes: Outcomes::default(),
            upheavals: 0,
            sequence: options.sequence,
            first_sequence: options.sequence,
            keeps_expired: false,
            thresholds: Thresholds::default(),
            element_seed,
            scratch: Vec::new(),
        }
    }

    /// An empty keyspace for the same slots, with the same settings, which begins with the same random numbers as this
    /// one goes on with.
    pub fn fresh(&self) -> Self {
        let seed = self.random.clone().next();
        let options = KeyspaceOptions { slots: self.slots.clone(), seed, sequence: 0 };
        let mut fresh = Self::new(options);
        fresh.thresholds = self.thresholds;
        fresh.element_seed = self.element_seed;
        fresh.keeps_expired = self.keeps_expired;
        fresh.journal = self.journal.fresh();
        // Whoever goes through this one's entries must not go on with the other's.
        fresh.upheavals = self.upheavals + 1;
        fresh.take_settings_of(self);
        fresh.outcomes.take_counts_of(&self.outcomes);
        fresh
    }

    /// Sets whether what has expired stays where it is, unseen: whether it goes is said elsewhere, and no read may take
    /// it away.
    pub fn keep_expired(&mut self, keeps: bool) {
        self.keeps_expired = keeps;
    }

    /// Looks `key` up. An expired key is removed (counted as expired) and answers `None`.
    #[inline]
    pub fn get(&mut self, key: Key<'_>, now: UnixMs, access: Access) -> Option<EntryRef<'_>> {
        let entry = self.lookup(key, now, access)?;
        Some(self.store.view(entry, now))
    }

    /// Whether `key` is there; counts like `get`.
    pub fn contains(&mut self, key: Key<'_>, now: UnixMs, access: Access) -> bool {
        self.lookup(key, now, access).is_some()
    }

    /// The value of `key` for a reply to hold, if it lies in an extent. Does not count as use.
    pub fn shared_value(&mut self, key: Key<'_>, now: UnixMs) -> Option<SharedBytes> {
        let entry = self.lookup(key, now, Access::Peek)?;
        self.store.shared_value(entry)
    }

    /// Asks the processor to load the line of the index that `key` would be in. Worth it a few
    /// keys ahead of their use.
    #[inline]
    pub fn prefetch(&self, key: Key<'_>) {
        self.prefetch_spot(key);
    }

    /// Has the processor load all that commands on `keys` will touch: the lines of the index, then
    /// the entries, then their neighbours in LRU order, each for all keys at once, so that the waits
    /// overlap. Looks at the first [`PREFETCH_KEYS_MAX`] keys. With a million keys that makes a
    /// batch of reads about three times faster.
    pub fn prefetch_all<'k>(&self, keys: impl IntoIterator<Item = Key<'k>>) {
        let mut spots = [Spot { table: 0, slot: 0, hash: 0 }; PREFETCH_KEYS_MAX];
        let mut count = 0;
        for (spot, key) in spots.iter_mut().zip(keys) {
            *spot = self.prefetch_spot(key);
            count += 1;
        }
        self.prefetch_entries(spots[..count].iter().copied());
    }

    /// Where `key` is to be looked for, the line of the index being loaded.
    #[inline]
    fn prefetch_spot(&self, key: Key<'_>) -> Spot {
        let spot = self.spot(key);
        self.databases.table(spot.table).prefetch(&self.store, spot.slot, spot.hash);
        spot
    }

    /// Has the processor load entries and their neighbours; of the first [`PREFETCH_KEYS_MAX`] spots.
    #[inline]
    fn prefetch_entries(&self, spots: impl Iterator<Item = Spot>) {
        let mut entries = [Handle::NONE; PREFETCH_KEYS_MAX];
        let mut count = 0;
        for (entry, spot) in entries.iter_mut().zip(spots) {
            let table = self.databases.table(spot.table);
            *entry = table.likely(&self.store, spot.slot, spot.hash).unwrap_or_default();
            self.store.prefetch(*entry);
            count += 1;
        }
        for entry in entries[..count].iter().copied().filter(|entry| !entry.is_none()) {
            self.lru.prefetch_neighbours(&self.store, entry);
        }
    }

    /// Rises with every change of a value or an expiry and with every removal that was asked for; what
    /// it is after a change is the version of the entry that was changed. So a key that was removed and
    /// set again has a greater version than before. Not counted are reads, touches, and what the
    /// keyspace removes by itself when it expires or memory is short.
    ///
    /// A change of the expiry is one of the key, as `WATCH` of Redis sees it.
    #[inline]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What the sequence was before the first change.
    pub fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// Gives an entry that is being changed its new version. Every change of a value or an expiry comes by
    /// here, and so gets to who observes the key.
    #[inline]
    fn advance(&mut self, entry: Handle) {
        self.sequence += 1;
        self.store.set_version(entry, self.sequence);
        if self.observations.are_any() {
            self.note_entry(entry);
        }
    }

    // --- memory and counts -------------------------------------------------------------------

    /// Memory held now. A few additions: cheap enough to ask after every write.
    #[inline]
    pub fn memory(&self) -> MemoryUse {
        let (entries_bytes, segments_bytes) = self.store.slab.touched_bytes();
        MemoryUse {
            entries_bytes,
            large_bytes: self.store.large.touched_bytes(),
            heap_bytes: self.store.heap.memory_bytes(),
            index_bytes: self.field_expiries.memory_bytes()
                + self.outcomes.memory_bytes()
                + segments_bytes
                + self.store.tables_bytes
                + self.wheel.bytes()
                + self.observations.tracking.memory_bytes()
                + self.store.slab.bookkeeping_bytes(),
        }
    }

    /// Whether there is room for writes. False when the address space for entries, 32 GiB unless the
    /// process is limited to less, is nearly used up: writers should then evict or refuse, as when
    /// `maxmemory` is reached. A write that comes nevertheless evicts by LRU when it must.
    pub fn has_room(&mut self) -> bool {
        self.store.slab.has_pages(ROOM_PAGES)
    }

    /// What happened so far.
    pub fn counts(&self) -> KeyspaceCounts {
        self.counts
    }

    /// A number that nobody can foresee who does not know the seed, for choices over several keyspaces.
    pub fn random(&mut self) -> u64 {
        self.random.next()
    }

    /// Sets the counts back to zero (`CONFIG RESETSTAT`).
    pub fn reset_counts(&mut self) {
        self.counts = KeyspaceCounts::default();
    }

    /// Counts a change made to the data set by a command, for `rdb_changes_since_last_save`.
    pub fn count_change(&mut self) {
        self.counts.changes += 1;
    }

    // --- finding entries ---------------------------------------------------------------------

    fn lookup(&mut self, key: Key<'_>, now: UnixMs, access: Access) -> Option<Handle> {
        let spot = self.spot(key);
        let entry = self.live(spot, key.bytes, now).map(|position| position.entry);
        self.count_lookup(entry, now, access);
        if entry.is_none() && matches!(access, Access::Read | Access::ReadNoTouch) {
            self.tell(EventClasses::KEY_MISS, "keymiss", key);
        }
        entry
    }

    /// Counts a lookup as `access` says, and as use of what it found.
    #[inline]
    fn count_lookup(&mut self, entry: Option<Handle>, now: UnixMs, access: Access) {
        if matches!(access, Access::Read | Access::ReadNoTouch) {
            let hit = u64::from(entry.is_some());
            self.counts.hits += hit;
            self.counts.misses += 1 - hit;
        }
        if let Some(entry) = entry
            && matches!(access, Access::Read | Access::Write)
        {
            self.lru.touch(&mut self.store, entry);
            self.store.set_accessed(entry, now);
        }
    }

    /// Where a key is to be looked for.
    #[inline]
    fn spot(&self, key: Key<'_>) -> Spot {
        Spot {
            table: self.databases.number(key.db),
            slot: usize::from(key.slot.0) - usize::from(self.slots.start),
            hash: self.store.hash_key(key.bytes),
        }
    }

    /// Where an entry is to be looked for.
    fn spot_of(&self, entry: Handle) -> Spot {
        Spot {
            table: self.store.table(entry),
            slot: usize::from(self.store.slot(entry).0) - usize::from(self.slots.start),
            hash: self.store.hash(entry),
        }
    }

    /// The entry of a key, whether its time has come or not.
    #[inline(always)]
    fn stored(&self, spot: Spot, key: &[u8]) -> Option<Position> {
        let is_it = |entry| self.store.is_key(entry, key);
        self.databases.table(spot.table).find(&self.store, spot.slot, spot.hash, is_it)
    }

    /// The entry of a key, unless there is none or its time has come: then it is removed, if this keyspace is the one
    /// to say so.
    #[inline(always)]
    fn live(&mut self, spot: Spot, key: &[u8], now: UnixMs) -> Option<Position> {
        let position = self.stored(spot, key)?;
        if self.store.is_expired(position.entry, now) {
            if !self.keeps_expired {
                self.take_out_expired(spot, position, key);
            }
            return None;
        }
        Some(position)
    }

    #[cold]
    #[inline(never)]
    fn take_out_expired(&mut self, spot: Spot, position: Position, key: &[u8]) {
        self.take_out(spot, position);
        self.counts.expired += 1;
        let db = self.databases.db_of(spot.table).expect("a key is looked up in a database");
        if self.observations.are_any() {
            self.note_key(db, key);
        }
        self.tell(EventClasses::EXPIRED, EXPIRED, Key::new(db, key));
        if self.journal.is_on() {
            self.journal.remove((db, key), false, self.sequence);
        }
    }

    fn position_of(&self, spot: Spot, entry: Handle) -> Option<Position> {
        let table = self.databases.table(spot.table);
        table.find(&self.store, spot.slot, spot.hash, |found| found == entry)
    }
}
