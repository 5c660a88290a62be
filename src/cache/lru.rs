//! The order in which entries were last used, exact, over all databases of the shard.
//!
//! ```text
//! newest                      hand                     oldest
//!   e  <->  e  <->  e  <->  e  <->  e  <->  e  <->  e  <->  e
//!                            \______ none of these expires ___/
//! ```
//!
//! The hand makes "least recently used among those that expire" exact too without a list of its
//! own: what is older than the hand is known not to expire, so the search starts at the hand and
//! never looks at an entry twice. An entry gains an expiry only by being written, which makes it
//! the newest; so nothing behind the hand ever changes.

use super::entry::Store;
use super::form::LRU_LINK;
use super::slab::Handle;

/// The ends of the list, and the hand. No hand means that no entry at all expires.
#[derive(Debug, Default)]
pub(super) struct Lru {
    newest: Handle,
    oldest: Handle,
    hand: Handle,
}

impl Lru {
    /// The least recently used entry.
    pub(super) fn oldest(&self) -> Option<Handle> {
        (!self.oldest.is_none()).then_some(self.oldest)
    }

    /// Adds an entry as the newest. Its expiry flag is final.
    #[inline]
    pub(super) fn push(&mut self, store: &mut Store, entry: Handle) {
        let words = store.slab.words_mut();
        words[entry.word() + LRU_LINK.previous] = Handle::NONE.0;
        words[entry.word() + LRU_LINK.next] = self.newest.0;
        if self.newest.is_none() {
            self.oldest = entry;
        } else {
            words[self.newest.word() + LRU_LINK.previous] = entry.0;
        }
        self.newest = entry;
        if self.hand.is_none() && store.expires(entry) {
            self.hand = entry;
        }
    }

    /// Takes an entry out.
    #[inline]
    pub(super) fn remove(&mut self, store: &mut Store, entry: Handle) {
        let words = store.slab.words_mut();
        let newer = Handle(words[entry.word() + LRU_LINK.previous]);
        let older = Handle(words[entry.word() + LRU_LINK.next]);
        if newer.is_none() {
            self.newest = older;
        } else {
            words[newer.word() + LRU_LINK.next] = older.0;
        }
        if older.is_none() {
            self.oldest = newer;
        } else {
            words[older.word() + LRU_LINK.previous] = newer.0;
        }
        if self.hand == entry {
            self.hand = newer;
        }
    }

    /// Makes an entry the newest. Stores only beside the entry's own links, so nothing waits for the
    /// neighbours' lines to arrive.
    #[inline]
    pub(super) fn touch(&mut self, store: &mut Store, entry: Handle) {
        if self.newest == entry {
            return;
        }
        let words = store.slab.words_mut();
        let newer = Handle(words[entry.word() + LRU_LINK.previous]);
        let older = Handle(words[entry.word() + LRU_LINK.next]);
        words[newer.word() + LRU_LINK.next] = older.0;
        if older.is_none() {
            self.oldest = newer;
        } else {
            words[older.word() + LRU_LINK.previous] = newer.0;
        }
        words[entry.word() + LRU_LINK.previous] = Handle::NONE.0;
        words[entry.word() + LRU_LINK.next] = self.newest.0;
        words[self.newest.word() + LRU_LINK.previous] = entry.0;
        self.newest = entry;
        if self.hand == entry {
            self.hand = newer;
        }
    }

    /// Asks the processor to load what `touch` will store to.
    #[inline]
    pub(super) fn prefetch_neighbours(&self, store: &Store, entry: Handle) {
        let words = store.slab.words();
        for link in [LRU_LINK.previous, LRU_LINK.next] {
            store.slab.prefetch_to_write(Handle(words[entry.word() + link]).byte());
        }
    }

    /// Puts all entries into the order that `used` gives, the least first; where it gives none, they stay
    /// in theirs.
    pub(super) fn sort_by_key(&mut self, store: &mut Store, used: impl Fn(&Store, Handle) -> u64) {
        let entries = std::iter::successors(self.oldest(), |entry| {
            let newer = newer(store, *entry);
            (!newer.is_none()).then_some(newer)
        });
        let mut order: Vec<(u64, Handle)> =
            entries.map(|entry| (used(store, entry), entry)).collect();
        order.sort_by_key(|(used, _)| *used);
        *self = Self::default();
        order.into_iter().for_each(|(_, entry)| self.push(store, entry));
    }

    /// Makes an entry the oldest.
    pub(super) fn make_oldest(&mut self, store: &mut Store, entry: Handle) {
        if self.oldest == entry {
            return;
        }
        self.remove(store, entry);
        let words = store.slab.words_mut();
        words[entry.word() + LRU_LINK.previous] = self.oldest.0;
        words[entry.word() + LRU_LINK.next] = Handle::NONE.0;
        words[self.oldest.word() + LRU_LINK.next] = entry.0;
        self.oldest = entry;
        if store.expires(entry) {
            self.hand = entry;
        }
    }

    /// An entry has been copied, links included, from `old` to `new`.
    pub(super) fn moved(&mut self, store: &mut Store, old: Handle, new: Handle) {
        let words = store.slab.words_mut();
        let newer = Handle(words[new.word() + LRU_LINK.previous]);
        let older = Handle(words[new.word() + LRU_LINK.next]);
        if newer.is_none() {
            self.newest = new;
        } else {
            words[newer.word() + LRU_LINK.next] = new.0;
        }
        if older.is_none() {
            self.oldest = new;
        } else {
            words[older.word() + LRU_LINK.previous] = new.0;
        }
        if self.hand == old {
            self.hand = new;
        }
    }

    /// The least recently used entry that expires, if it is found within `steps`. What was looked
    /// at is not looked at again.
    pub(super) fn oldest_expiring(&mut self, store: &Store, steps: usize) -> Option<Handle> {
        for _ in 0..steps {
            if self.hand.is_none() {
                return None;
            }
            if store.expires(self.hand) {
                return Some(self.hand);
            }
            self.hand = newer(store, self.hand);
        }
        None
    }

    /// All entries, oldest first.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn iter<'a>(&self, store: &'a Store) -> impl Iterator<Item = Handle> + use<'a> {
        std::iter::successors(self.oldest(), move |entry| {
            let newer = newer(store, *entry);
            (!newer.is_none()).then_some(newer)
        })
    }

    /// Panics unless the links agree both ways and nothing older than the hand expires.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self, store: &Store) -> usize {
        let (mut count, mut older, mut passed_hand) = (0, Handle::NONE, false);
        for entry in self.iter(store) {
            assert_eq!(Handle(store.slab.words()[entry.word() + LRU_LINK.next]), older);
            passed_hand |= self.hand == entry;
            assert!(passed_hand || !store.expires(entry), "an expiring entry behind the hand");
            older = entry;
            count += 1;
        }
        assert_eq!(self.newest, older);
        assert!(passed_hand || self.hand.is_none(), "the hand is not in the list");
        count
    }
}

fn newer(store: &Store, entry: Handle) -> Handle {
    Handle(store.slab.words()[entry.word() + LRU_LINK.previous])
}
