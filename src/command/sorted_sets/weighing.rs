//! What it takes to write down that the elements of a range are removed.

use crate::collection::SortedSet;
use crate::command::weighing::Room;
use crate::command::{Error, Exec};
use crate::limits::{STEP_ELEMENTS, STEP_LONG_ELEMENTS};
use crate::types::Key;
use std::ops::Range;

/// Elements of a range that are looked at before they are removed.
#[derive(Debug)]
pub(super) struct Weighing {
    room: Room,
    /// Of those that are to be looked at yet.
    ranks: Range<usize>,
    count: usize,
    /// Bytes of the names of the others.
    bytes: usize,
}

impl Weighing {
    /// Of elements that are to be removed in steps of [`STEP_LONG_ELEMENTS`] from a set whose names are no longer than
    /// `bytes_max` together; nothing if there is room whatever they are.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn begin(
        exec: &mut Exec<'_>,
        key: Key<'_>,
        ranks: Range<usize>,
        bytes_max: usize,
    ) -> Result<Option<Self>, Error> {
        let count = ranks.len();
        let room = Room::of(exec, key, count.div_ceil(STEP_LONG_ELEMENTS))?;
        let has_room = room.takes(count, bytes_max);
        Ok((!has_room).then_some(Self { room, ranks, count, bytes: 0 }))
    }

    /// Looks at some, if any are to be looked at; whether there are others.
    ///
    /// # Errors
    /// If they are too much.
    pub(super) fn goes_on(
        weighing: &mut Option<Self>,
        exec: &Exec<'_>,
        key: Key<'_>,
    ) -> Result<bool, Error> {
        let Some(Self { room, ranks, count, bytes }) = weighing else { return Ok(false) };
        let end = ranks.end.min(ranks.start + STEP_ELEMENTS);
        let set = exec.peek::<SortedSet>(key);
        let members = set.into_iter().flat_map(|set| set.elements(ranks.start..end));
        *bytes += members.map(|(member, _)| member.len()).sum::<usize>();
        ranks.start = end;
        room.check(*count, *bytes)?;
        if ranks.start == ranks.end {
            *weighing = None;
        }
        Ok(true)
    }
}
