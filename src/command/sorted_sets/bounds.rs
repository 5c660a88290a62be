//! The ends of ranges in arguments, as edges between elements.

use crate::collection::sorted_set::Edge;
use crate::command::Error;
use crate::double;
use std::ops::Range;

/// The edges of a range of scores: numbers, `-inf`, `+inf`; behind a `(` what is not in the range itself.
pub(super) fn scores(min: &[u8], max: &[u8]) -> Result<(Edge<'static>, Edge<'static>), Error> {
    let (Some(min), Some(max)) = (score(min), score(max)) else {
        return Err(Error::Static("ERR min or max is not a float"));
    };
    let from = match min {
        (score, false) => Edge::BeforeScore(score),
        (score, true) => Edge::AfterScore(score),
    };
    let to = match max {
        (score, false) => Edge::AfterScore(score),
        (score, true) => Edge::BeforeScore(score),
    };
    Ok((from, to))
}

/// A score, and whether it is excluded.
fn score(text: &[u8]) -> Option<(f64, bool)> {
    match text {
        [b'(', number @ ..] => Some((double::parse_bound(number)?, true)),
        number => Some((double::parse_bound(number)?, false)),
    }
}

/// The edges of a range of members: behind a `[` one that is in the range, behind a `(` one that is not; `-` and `+`
/// for the ends of the set.
pub(super) fn members<'a>(min: &'a [u8], max: &'a [u8]) -> Result<(Edge<'a>, Edge<'a>), Error> {
    let from = match min {
        [b'[', member @ ..] => Some(Edge::BeforeMember(member)),
        [b'(', member @ ..] => Some(Edge::AfterMember(member)),
        other => end_of_all(other),
    };
    let to = match max {
        [b'[', member @ ..] => Some(Edge::AfterMember(member)),
        [b'(', member @ ..] => Some(Edge::BeforeMember(member)),
        other => end_of_all(other),
    };
    from.zip(to).ok_or(Error::Static("ERR min or max not valid string range item"))
}

fn end_of_all(text: &[u8]) -> Option<Edge<'static>> {
    // What stands behind a zero byte is not looked at, as in Redis.
    match text {
        [b'-'] | [b'-', 0, ..] => Some(Edge::Start),
        [b'+'] | [b'+', 0, ..] => Some(Edge::End),
        _ => None,
    }
}

/// The ranks from `start` to `stop`, both counted from the end if they are negative, among `count`.
pub(super) fn ranks(start: i64, stop: i64, count: usize) -> Range<usize> {
    let length = i64::try_from(count).unwrap_or(i64::MAX);
    let from_end = |rank: i64| if rank < 0 { rank + length } else { rank };
    let (start, end) = (from_end(start).max(0), from_end(stop).min(length - 1) + 1);
    if start >= end {
        return 0..0;
    }
    let rank = |rank: i64| usize::try_from(rank).unwrap_or(count);
    rank(start)..rank(end)
}

/// Of these ranks those that a `LIMIT` with this offset and count leaves, in order or in reverse. All behind the
/// offset if the count is negative; none if the offset is.
pub(super) fn limited(
    ranks: Range<usize>,
    (offset, count): (i64, i64),
    reverse: bool,
) -> Range<usize> {
    let Ok(offset) = usize::try_from(offset) else { return 0..0 };
    let skipped = offset.min(ranks.len());
    let kept = usize::try_from(count).unwrap_or(usize::MAX).min(ranks.len() - skipped);
    if reverse {
        ranks.end - skipped - kept..ranks.end - skipped
    } else {
        ranks.start + skipped..ranks.start + skipped + kept
    }
}
