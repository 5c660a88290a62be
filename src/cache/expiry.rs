//! When entries expire: a hierarchical timing wheel.
//!
//! Scheme 7 of Varghese and Lauck, "Hashed and hierarchical timing wheels" (1987), with two levels. The
//! *near* wheel has a bucket for each tick of an eighth of a second, the *far* wheel one for each span
//! of 9 minutes:
//!
//! ```text
//! now          horizon (9 to 18 minutes ahead)                       25 days ahead
//!  |-- near: what is due before the horizon --|-- far: what is due later, round after round ...
//! ```
//!
//! When the horizon moves on, the far bucket it passes is poured out into the near wheel; when the time
//! of a near bucket has come, it is emptied. Either way its whole list becomes a pending list, which is
//! worked through in pieces, so that setting, clearing and passing an expiry take constant time, and an
//! entry is looked at once or twice in all, and once more every 25 days.
//!
//! The first entry of a list names the list in place of its predecessor: list `n` by the handle
//! `n + 1`, which no entry ever has.

use super::entry::Store;
use super::form::WHEEL_LINK;
use super::slab::{HEAD_HANDLES, Handle};
use crate::types::UnixMs;

/// Milliseconds of a near tick, as a power of two. A key is removed at most that long after its time.
const TICK_LOG2: u32 = 7;
/// Milliseconds of a far span, as a power of two.
const SPAN_LOG2: u32 = 19;
const NEAR_BUCKETS: usize = 1 << 14;
const FAR_BUCKETS: usize = 1 << 12;
/// All lists that wait for their time: near buckets, then far ones.
pub(super) const BUCKETS: usize = NEAR_BUCKETS + FAR_BUCKETS;
/// Spans that lie before the horizon, the present one included.
const SPANS_AHEAD: u64 = 2;
/// Ticks, and spans, by which the clock may go back without a look at everything.
const BACKWARD_TICKS_MAX: u64 = 8;
const BACKWARD_SPANS_MAX: u64 = 1;
/// The list of entries whose near bucket's time has come, and of those that the horizon has passed.
const DUE: usize = BUCKETS;
const POURED: usize = BUCKETS + 1;
const LISTS: usize = BUCKETS + 2;
const WORD_BITS: usize = 64;

const _: () = assert!(LISTS as u64 + 1 < HEAD_HANDLES as u64);
/// What lies before the horizon fits the near wheel, without two of its rounds meeting.
const _: () = assert!((SPANS_AHEAD + 1) << (SPAN_LOG2 - TICK_LOG2) <= NEAR_BUCKETS as u64);

/// All entries with an expiry.
#[derive(Debug)]
pub(super) struct Wheel {
    /// First entry of each list.
    heads: Vec<u32>,
    /// Bit `b`: bucket `b` is not empty.
    filled: Vec<u64>,
    /// Ticks before this one have been worked through or are pending.
    tick: u64,
    /// Spans before this one lie before the horizon: their far buckets have been poured out or are
    /// pending.
    span: u64,
}

impl Wheel {
    pub(super) fn new() -> Self {
        let filled = vec![0; BUCKETS / WORD_BITS];
        Self { heads: vec![0; LISTS], filled, tick: 0, span: 0 }
    }

    /// Adds an entry by the time it holds.
    pub(super) fn insert(&mut self, store: &mut Store, entry: Handle) {
        let Some(at) = store.expires_at(entry) else { return };
        let span = at.0 >> SPAN_LOG2;
        let list = if span < self.span {
            // What is due already must not wait for the next round.
            near_bucket((at.0 >> TICK_LOG2).max(self.tick))
        } else {
            far_bucket(span)
        };
        self.link(store, entry, list);
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
        self.follow_clock(now);
        loop {
            // Those that the horizon has passed first: they may be due by now.
            while let Some(entry) = self.first(POURED) {
                if *budget == 0 {
                    return None;
                }
                *budget -= 1;
                self.put_back(store, entry);
            }
            if self.pour_next(store, horizon(now)) {
                continue;
            }
            while let Some(entry) = self.first(DUE) {
                if *budget == 0 {
                    return None;
                }
                *budget -= 1;
                if store.is_expired(entry, now) {
                    return Some(entry);
                }
                self.put_back(store, entry);
            }
            if !self.detach_next(store, now.0 >> TICK_LOG2) {
                return None;
            }
        }
    }

    /// Whether `next_due` has nothing left to look at.
    pub(super) fn is_caught_up(&self, now: UnixMs) -> bool {
        self.first(DUE).is_none()
            && self.first(POURED).is_none()
            && self.tick >= now.0 >> TICK_LOG2
            && self.span >= horizon(now)
    }

    /// An entry that expires before nearly all others: the first to expire among at most `sample` of
    /// the bucket that comes next. In the near wheel that is right to an eighth of a second.
    pub(super) fn soonest(&self, store: &Store, sample: usize) -> Option<Handle> {
        let pending = |list: usize| (self.heads[list] != 0).then_some(list);
        let near = || self.next_filled(near_bucket(self.tick), 0..NEAR_BUCKETS);
        let far = || self.next_filled(far_bucket(self.span), NEAR_BUCKETS..BUCKETS);
        let list = pending(DUE).or_else(near).or_else(|| pending(POURED)).or_else(far)?;
        self.list(store, list).take(sample).min_by_key(|entry| store.expires_at(*entry))
    }

    /// An entry from the first list that is not empty from bucket `start` on: the `nth`, or the
    /// last if there are fewer.
    pub(super) fn any(&self, store: &Store, start: usize, nth: usize) -> Option<Handle> {
        let bucket = self.next_filled(start, 0..BUCKETS);
        let pending = || [DUE, POURED].into_iter().find(|list| self.heads[*list] != 0);
        self.list(store, bucket.or_else(pending)?).take(nth + 1).last()
    }

    /// Bytes that the wheel itself takes.
    pub(super) fn bytes(&self) -> usize {
        self.heads.capacity() * size_of::<u32>() + self.filled.capacity() * size_of::<u64>()
    }

    /// Sees to it that the time is neither so far behind the clock that a round would be gone through
    /// twice, nor ahead of it.
    fn follow_clock(&mut self, now: UnixMs) {
        let tick = now.0 >> TICK_LOG2;
        let round_ago = tick.saturating_sub(NEAR_BUCKETS as u64);
        let span = horizon(now);
        let far_round_ago = span.saturating_sub(FAR_BUCKETS as u64);
        if self.tick > tick + BACKWARD_TICKS_MAX {
            // The clock was set back. What has been set since may wait in a bucket far ahead, so
            // everything is looked at anew.
            self.tick = round_ago;
        }
        if self.span > span + BACKWARD_SPANS_MAX {
            self.span = far_round_ago;
        }
        // After a long pause one round sees everything.
        self.tick = self.tick.clamp(round_ago, tick.max(round_ago));
        self.span = self.span.max(far_round_ago);
    }

    fn put_back(&mut self, store: &mut Store, entry: Handle) {
        self.remove(store, entry);
        self.insert(store, entry);
    }

    /// Makes the next near bucket that is not empty, of those before tick `end`, the list of what is
    /// due.
    fn detach_next(&mut self, store: &mut Store, end: u64) -> bool {
        let Some(ticks) = end.checked_sub(self.tick).filter(|ticks| *ticks > 0) else {
            return false;
        };
        let start = near_bucket(self.tick);
        let found = self.next_filled(start, 0..NEAR_BUCKETS);
        let ahead = found.map(|bucket| (bucket + NEAR_BUCKETS - start) % NEAR_BUCKETS);
        match (found, ahead) {
            (Some(bucket), Some(ahead)) if (ahead as u64) < ticks => {
                self.tick += ahead as u64 + 1;
                self.detach(store, bucket, DUE);
                true
            }
            _ => {
                self.tick = end;
                false
            }
        }
    }

    /// Makes the next far bucket that is not empty, of those before span `end`, the list of what goes
    /// to the near wheel.
    fn pour_next(&mut self, store: &mut Store, end: u64) -> bool {
        let Some(spans) = end.checked_sub(self.span).filter(|spans| *spans > 0) else {
            return false;
        };
        let start = far_bucket(self.span);
        let found = self.next_filled(start, NEAR_BUCKETS..BUCKETS);
        let ahead = found.map(|bucket| (bucket + FAR_BUCKETS - start) % FAR_BUCKETS);
        match (found, ahead) {
            (Some(bucket), Some(ahead)) if (ahead as u64) < spans => {
                self.span += ahead as u64 + 1;
                self.detach(store, bucket, POURED);
                true
            }
            _ => {
                self.span = end;
                false
            }
        }
    }

    /// The whole of list `from` becomes list `to`, which is empty.
    fn detach(&mut self, store: &mut Store, from: usize, to: usize) {
        let first = Handle(self.heads[from]);
        self.set_head(from, Handle::NONE);
        self.heads[to] = first.0;
        store.slab.words_mut()[first.word() + WHEEL_LINK.previous] = list_name(to);
    }

    /// The first bucket that is not empty, of those in `range` from `start` on and round to it.
    fn next_filled(&self, start: usize, range: std::ops::Range<usize>) -> Option<usize> {
        self.filled_in(start..range.end).or_else(|| self.filled_in(range.start..start))
    }

    fn filled_in(&self, range: std::ops::Range<usize>) -> Option<usize> {
        let mut bucket = range.start;
        while bucket < range.end {
            let word = self.filled[bucket / WORD_BITS] >> (bucket % WORD_BITS);
            if word != 0 {
                let found = bucket + word.trailing_zeros() as usize;
                return (found < range.end).then_some(found);
            }
            bucket += WORD_BITS - bucket % WORD_BITS;
        }
        None
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
        if list >= BUCKETS {
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

    /// Panics unless the links agree both ways and every entry waits on the right side of the horizon;
    /// answers the number of entries.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self, store: &Store) -> usize {
        let mut count = 0;
        for list in 0..LISTS {
            let is_bucket = list < BUCKETS;
            let filled = is_bucket && self.filled[list / WORD_BITS] >> (list % WORD_BITS) & 1 != 0;
            assert_eq!(filled, is_bucket && self.heads[list] != 0, "list {list}");
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

/// The first span beyond the horizon.
fn horizon(now: UnixMs) -> u64 {
    (now.0 >> SPAN_LOG2) + SPANS_AHEAD
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below NEAR_BUCKETS")]
fn near_bucket(tick: u64) -> usize {
    (tick % NEAR_BUCKETS as u64) as usize
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below FAR_BUCKETS")]
fn far_bucket(span: u64) -> usize {
    NEAR_BUCKETS + (span % FAR_BUCKETS as u64) as usize
}

#[expect(clippy::cast_possible_truncation, reason = "there are few lists")]
fn list_name(list: usize) -> u32 {
    list as u32 + 1
}
