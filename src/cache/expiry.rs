//! When entries expire: a hashed timing wheel.
//!
//! Scheme 6 of Varghese and Lauck, "Hashed and hierarchical timing wheels" (1987): an entry hangs in
//! the bucket of its tick modulo the number of buckets, whatever its round. When a bucket's time has
//! come its whole list becomes the pending list, which is worked through in pieces: what is due goes,
//! what belongs to a later round goes back. So an entry is looked at once a round (35 minutes), and
//! setting, clearing and passing an expiry take constant time.
//!
//! The first entry of a list names the list in place of its predecessor: list `n` by the handle
//! `n + 1`, which no entry ever has.

use super::entry::Store;
use super::form::WHEEL_LINK;
use super::slab::{HEAD_HANDLES, Handle};
use crate::types::UnixMs;

/// Milliseconds of a tick, as a power of two. A key is removed at most that long after its time.
const TICK_LOG2: u32 = 7;
pub(super) const BUCKETS: usize = 1 << 14;
/// Ticks by which the clock may go back without a look at everything: a second.
const BACKWARD_TICKS_MAX: u64 = 8;
/// The list of entries whose bucket's time has come.
const PENDING: usize = BUCKETS;
const WORD_BITS: usize = 64;

const _: () = assert!(PENDING as u64 + 1 < HEAD_HANDLES as u64);

/// All entries with an expiry.
#[derive(Debug)]
pub(super) struct Wheel {
    /// First entry of each list.
    heads: Vec<u32>,
    /// Bit `b`: bucket `b` is not empty.
    filled: Vec<u64>,
    /// Ticks before this one have been worked through or are pending.
    tick: u64,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self { heads: vec![0; BUCKETS + 1], filled: vec![0; BUCKETS / WORD_BITS], tick: 0 }
    }

    /// Adds an entry by the time it holds.
    pub(super) fn insert(&mut self, store: &mut Store, entry: Handle) {
        let Some(at) = store.expires_at(entry) else { return };
        // What is due already must not wait for the next round.
        let tick = (at.0 >> TICK_LOG2).max(self.tick);
        self.link(store, entry, bucket_of(tick));
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, store: &mut Store, entry: Handle) {
        let words = store.slab.words_mut();
        let previous = words[entry.word() + WHEEL_LINK.previous];
        let next = Handle(words[entry.word() + WHEEL_LINK.next]);
        if !next.is_none() {
            words[next.word() + WHEEL_LINK.previous] = previous;
        }
        if previous >= HEAD_HANDLES {
            words[Handle(previous).word() + WHEEL_LINK.next] = next.0;
        } else {
            self.set_head(previous as usize - 1, next);
        }
    }

    /// An entry has been copied, links included, to `new`.
    pub(super) fn moved(&mut self, store: &mut Store, new: Handle) {
        let words = store.slab.words_mut();
        let previous = words[new.word() + WHEEL_LINK.previous];
        let next = Handle(words[new.word() + WHEEL_LINK.next]);
        if !next.is_none() {
            words[next.word() + WHEEL_LINK.previous] = new.0;
        }
        if previous >= HEAD_HANDLES {
            words[Handle(previous).word() + WHEEL_LINK.next] = new.0;
        } else {
            self.set_head(previous as usize - 1, new);
        }
    }

    /// The next entry whose time has come, still linked: the caller removes it. Each entry looked
    /// at takes one off `budget`; at 0 the search stops.
    pub(super) fn next_due(
        &mut self,
        store: &mut Store,
        now: UnixMs,
        budget: &mut usize,
    ) -> Option<Handle> {
        let end = now.0 >> TICK_LOG2;
        let round_ago = end.saturating_sub(BUCKETS as u64);
        if self.tick > end + BACKWARD_TICKS_MAX {
            // The clock was set back. What has been set since may wait in a bucket far ahead, so
            // everything is looked at anew.
            self.tick = round_ago;
        }
        // After a long pause one round sees everything.
        self.tick = self.tick.clamp(round_ago, end);
        loop {
            while let Some(entry) = self.first(PENDING) {
                if *budget == 0 {
                    return None;
                }
                *budget -= 1;
                if store.is_expired(entry, now) {
                    return Some(entry);
                }
                self.remove(store, entry);
                self.insert(store, entry);
            }
            if !self.detach_next(store, end) {
                return None;
            }
        }
    }

    /// Whether `next_due` has nothing left to look at.
    pub(super) fn is_caught_up(&self, now: UnixMs) -> bool {
        self.first(PENDING).is_none() && self.tick >= now.0 >> TICK_LOG2
    }

    /// The entry that expires first among at most `sample` of those whose buckets come next.
    pub(super) fn soonest(&self, store: &Store, sample: usize) -> Option<Handle> {
        let buckets = (0..BUCKETS as u64).map(|ahead| bucket_of(self.tick + ahead));
        std::iter::once(PENDING)
            .chain(buckets)
            .filter(|list| self.heads[*list] != 0)
            .flat_map(|list| self.list(store, list))
            .take(sample)
            .min_by_key(|entry| store.expires_at(*entry))
    }

    /// An entry from the first list that is not empty from bucket `start` on: the `nth`, or the
    /// last if there are fewer.
    pub(super) fn any(&self, store: &Store, start: usize, nth: usize) -> Option<Handle> {
        let list = (0..BUCKETS)
            .map(|ahead| (start + ahead) % BUCKETS)
            .chain([PENDING])
            .find(|list| self.heads[*list] != 0)?;
        self.list(store, list).take(nth + 1).last()
    }

    /// Bytes that the wheel itself takes.
    pub(super) fn bytes(&self) -> usize {
        self.heads.capacity() * size_of::<u32>() + self.filled.capacity() * size_of::<u64>()
    }

    /// Makes the next bucket that is not empty, of those before tick `end`, the pending list.
    fn detach_next(&mut self, store: &mut Store, end: u64) -> bool {
        while self.tick < end {
            let bucket = bucket_of(self.tick);
            let word = self.filled[bucket / WORD_BITS] >> (bucket % WORD_BITS);
            if word == 0 {
                let skipped = (WORD_BITS - bucket % WORD_BITS) as u64;
                self.tick = end.min(self.tick + skipped);
                continue;
            }
            self.tick += u64::from(word.trailing_zeros());
            if self.tick >= end {
                self.tick = end;
                return false;
            }
            let bucket = bucket_of(self.tick);
            self.tick += 1;
            let first = Handle(self.heads[bucket]);
            self.set_head(bucket, Handle::NONE);
            self.heads[PENDING] = first.0;
            store.slab.words_mut()[first.word() + WHEEL_LINK.previous] = list_name(PENDING);
            return true;
        }
        false
    }

    fn link(&mut self, store: &mut Store, entry: Handle, list: usize) {
        let words = store.slab.words_mut();
        let first = Handle(self.heads[list]);
        words[entry.word() + WHEEL_LINK.previous] = list_name(list);
        words[entry.word() + WHEEL_LINK.next] = first.0;
        if !first.is_none() {
            words[first.word() + WHEEL_LINK.previous] = entry.0;
        }
        self.set_head(list, entry);
    }

    fn set_head(&mut self, list: usize, entry: Handle) {
        self.heads[list] = entry.0;
        if list == PENDING {
            return;
        }
        let bit = 1 << (list % WORD_BITS);
        if entry.is_none() {
            self.filled[list / WORD_BITS] &= !bit;
        } else {
            self.filled[list / WORD_BITS] |= bit;
        }
    }

    fn first(&self, list: usize) -> Option<Handle> {
        let first = Handle(self.heads[list]);
        (!first.is_none()).then_some(first)
    }

    fn list<'a>(&self, store: &'a Store, list: usize) -> impl Iterator<Item = Handle> + use<'a> {
        std::iter::successors(self.first(list), move |entry| {
            let next = Handle(store.slab.words()[entry.word() + WHEEL_LINK.next]);
            (!next.is_none()).then_some(next)
        })
    }

    /// Panics unless the links agree both ways; answers the number of entries.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self, store: &Store) -> usize {
        let mut count = 0;
        for list in 0..=PENDING {
            let filled =
                list < PENDING && self.filled[list / WORD_BITS] >> (list % WORD_BITS) & 1 != 0;
            assert_eq!(filled, list < PENDING && self.heads[list] != 0, "list {list}");
            let mut previous = list_name(list);
            for entry in self.list(store, list) {
                assert!(store.expires(entry));
                assert_eq!(store.slab.words()[entry.word() + WHEEL_LINK.previous], previous);
                previous = entry.0;
                count += 1;
            }
        }
        count
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below BUCKETS")]
fn bucket_of(tick: u64) -> usize {
    (tick % BUCKETS as u64) as usize
}

#[expect(clippy::cast_possible_truncation, reason = "there are BUCKETS + 1 lists")]
fn list_name(list: usize) -> u32 {
    list as u32 + 1
}
