//! Keyspace events: what has become of keys, for those who subscribe to it (`notify-keyspace-events`).
//!
//! Commands tell what they have done ([`Keyspace::tell`]); the keyspace itself tells of keys that come, expire,
//! are evicted or are looked for in vain. What nobody wants to know is not noted.

use super::Keyspace;
use super::slab::Handle;
use crate::types::{DbIndex, Key};

bitflags::bitflags! {
    /// Which events are wanted, and on which channels.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct EventClasses: u16 {
        /// `g`: commands on keys of any type.
        const GENERIC = 1 << 0;
        /// `$`
        const STRING = 1 << 1;
        /// `l`
        const LIST = 1 << 2;
        /// `s`
        const SET = 1 << 3;
        /// `h`
        const HASH = 1 << 4;
        /// `z`
        const SORTED_SET = 1 << 5;
        /// `x`: a key's time has come.
        const EXPIRED = 1 << 6;
        /// `e`: a key made room for others.
        const EVICTED = 1 << 7;
        /// `t`
        const STREAM = 1 << 8;
        /// `d`
        const MODULE = 1 << 9;
        /// `m`: a read found no key.
        const KEY_MISS = 1 << 10;
        /// `n`: a key has come.
        const NEW = 1 << 11;
        /// `K`: on `__keyspace@db__:key`.
        const KEYSPACE = 1 << 12;
        /// `E`: on `__keyevent@db__:event`.
        const KEYEVENT = 1 << 13;
        /// `A`: all that Redis takes together under this letter.
        const ALL = (1 << 10) - 1;
    }
}

impl EventClasses {
    const CHANNELS: Self = Self::KEYSPACE.union(Self::KEYEVENT);
    /// In the order in which Redis shows them.
    const LETTERS: [(char, Self); 14] = [
        ('g', Self::GENERIC),
        ('$', Self::STRING),
        ('l', Self::LIST),
        ('s', Self::SET),
        ('h', Self::HASH),
        ('z', Self::SORTED_SET),
        ('x', Self::EXPIRED),
        ('e', Self::EVICTED),
        ('t', Self::STREAM),
        ('d', Self::MODULE),
        ('n', Self::NEW),
        ('K', Self::KEYSPACE),
        ('E', Self::KEYEVENT),
        ('m', Self::KEY_MISS),
    ];

    /// What these letters name; nothing if one of them names nothing.
    pub fn parse(letters: &str) -> Option<Self> {
        let mut all = Self::empty();
        for letter in letters.chars() {
            all |= match Self::LETTERS.iter().find(|(name, _)| *name == letter) {
                Some((_, class)) => *class,
                None if letter == 'A' => Self::ALL,
                None => return None,
            };
        }
        Some(all)
    }

    /// The letters, as `CONFIG GET` shows them.
    pub fn letters(self) -> String {
        let is_all = self.contains(Self::ALL);
        // With all of them, new keys are not shown either.
        let hidden = if is_all { Self::ALL | Self::NEW } else { Self::empty() };
        let shown = Self::LETTERS.iter().filter(|(_, class)| (self - hidden).contains(*class));
        is_all.then_some('A').into_iter().chain(shown.map(|(letter, _)| *letter)).collect()
    }

    /// Whether anybody could be told of anything.
    pub fn are_wanted(self) -> bool {
        self.intersects(Self::CHANNELS) && self.intersects(Self::CHANNELS.complement())
    }
}

/// What has become of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The database.
    pub db: DbIndex,
    /// The key.
    pub key: Box<[u8]>,
    /// The event's name.
    pub name: &'static str,
    /// The channels that it is wanted on.
    pub channels: EventClasses,
}

/// The name of the event that a key's time has come.
pub(super) const EXPIRED: &str = "expired";

/// Why an entry goes that nobody asked to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Expired,
    Evicted,
}

/// What of a keyspace is wanted, and what has happened of that.
#[derive(Debug, Default)]
pub(super) struct Events {
    wanted: EventClasses,
    happened: Vec<Event>,
}

impl Keyspace {
    /// Notes the same events, and tracks as many keys, as another keyspace.
    pub(super) fn take_settings_of(&mut self, other: &Self) {
        self.events.wanted = other.events.wanted;
        self.set_tracked_keys_max(other.observations.tracking.keys_max);
    }
}

impl Events {
    #[inline]
    pub(super) fn are_any(&self) -> bool {
        !self.happened.is_empty()
    }

    fn add(&mut self, db: DbIndex, key: &[u8], name: &'static str) {
        let channels = self.wanted & EventClasses::CHANNELS;
        self.happened.push(Event { db, key: key.into(), name, channels });
    }
}

impl Keyspace {
    /// Has these events noted from now on.
    pub fn want_events(&mut self, wanted: EventClasses) {
        self.events.wanted = if wanted.are_wanted() { wanted } else { EventClasses::empty() };
    }

    /// Whether any event is noted.
    #[inline]
    pub fn wants_events(&self) -> bool {
        !self.events.wanted.is_empty()
    }

    /// Notes what has become of a key, if it is wanted.
    #[inline]
    pub fn tell(&mut self, class: EventClasses, name: &'static str, key: Key<'_>) {
        if self.events.wanted.intersects(class) {
            self.note_event(name, (key.db, key.bytes));
        }
    }

    #[cold]
    #[inline(never)]
    fn note_event(&mut self, name: &'static str, (db, key): (DbIndex, &[u8])) {
        self.events.add(db, key, name);
    }

    /// Notes that an entry is about to go unasked, unless its database was flushed.
    #[cold]
    #[inline(never)]
    pub(super) fn tell_of_entry(&mut self, entry: Handle, why: Why) {
        let (class, name) = match why {
            Why::Expired => (EventClasses::EXPIRED, EXPIRED),
            Why::Evicted => (EventClasses::EVICTED, "evicted"),
        };
        if self.events.wanted.intersects(class)
            && let Some(db) = self.databases.db_of(self.store.table(entry))
        {
            self.events.add(db, self.store.key(entry), name);
        }
    }

    /// What has happened, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events.happened)
    }
}
