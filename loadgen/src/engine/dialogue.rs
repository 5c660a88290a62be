//! One connection's requests in the binary protocol: gathered into frames, and found again by the ids that
//! their replies carry, whatever order those come in.
//!
//! An id is a place among those that wait and how often that place has been used, so that a reply that comes
//! twice, or that nothing asked for, is told from one that is awaited:
//!
//! ```text
//! 31           17 16            0
//! | generation   | place        |      generations from 1; the last one is the tool's own requests'
//! ```

use ringmain::protocol::binary::request::FrameFull;
use ringmain::protocol::binary::{Frames, ReplyHead, RequestFrame};

use super::link::{Pending, UNSENT};

const PLACE_BITS: u32 = 17;
const PLACES_MAX: u32 = 1 << PLACE_BITS;
const GENERATION_OWN: u32 = (1 << (u32::BITS - PLACE_BITS)) - 1;
/// The least id that the tool gives to a request of its own, rather than of the workload.
pub(crate) const OWN_ID: u32 = GENERATION_OWN << PLACE_BITS;

/// The state of one connection.
#[derive(Default)]
pub(super) struct Dialogue {
    /// What goes out with the next send.
    frame: RequestFrame,
    /// Most requests that the server takes in a frame.
    items_max: usize,
    places: Vec<Place>,
    /// Places that nothing waits at.
    free: Vec<u32>,
    /// Ids of requests that were written and not sent.
    unsent: Vec<u32>,
    /// Replies to the greeting that are still to come.
    pub(super) greetings: usize,
    /// What is known of the frame that is being received.
    pub(super) frames: Frames<ReplyHead>,
    /// It makes no sense to look at what was received before it is as long as this.
    pub(super) needed: usize,
}

struct Place {
    generation: u32,
    pending: Option<Pending>,
}

impl Dialogue {
    pub(super) fn new(items_max: usize) -> Self {
        Self { items_max: items_max.max(1), ..Self::default() }
    }

    /// Whether there are requests that no frame was closed over.
    pub(super) fn has_output(&self) -> bool {
        !self.frame.is_empty()
    }

    /// Has `write` add a request to the frame under the id it is given; full frames go to `out`.
    ///
    /// # Panics
    /// If a request does not fit an empty frame, or more wait than `--depth` allows.
    pub(super) fn push(
        &mut self,
        pending: Pending,
        out: &mut Vec<u8>,
        mut write: impl FnMut(u32, &mut RequestFrame) -> Result<(), FrameFull>,
    ) {
        let id = self.keep(pending);
        if self.frame.len() >= self.items_max {
            self.frame.finish(out);
        }
        if write(id, &mut self.frame).is_err() {
            self.frame.finish(out);
            write(id, &mut self.frame).expect("checked when the workload was made");
        }
        self.unsent.push(id);
    }

    /// Finds a place for a request; its id.
    fn keep(&mut self, pending: Pending) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, pending: None });
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        assert!(place < PLACES_MAX, "--depth is bounded");
        let at = &mut self.places[place as usize];
        at.generation = at.generation % (GENERATION_OWN - 1) + 1;
        at.pending = Some(pending);
        at.generation << PLACE_BITS | place
    }

    /// The request that a reply with this id is the reply to; it no longer waits.
    pub(super) fn take(&mut self, id: u32) -> Option<Pending> {
        let place = id & (PLACES_MAX - 1);
        let at = self.places.get_mut(place as usize)?;
        if at.generation != id >> PLACE_BITS {
            return None;
        }
        let pending = at.pending.take()?;
        self.free.push(place);
        Some(pending)
    }

    /// Closes the frame; what it holds is sent now.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, now_ns: u64) {
        self.frame.finish(out);
        for id in self.unsent.drain(..) {
            let place = id & (PLACES_MAX - 1);
            if let Some(pending) = &mut self.places[place as usize].pending
                && pending.start_ns == UNSENT
            {
                pending.start_ns = now_ns;
            }
        }
    }

    /// Requests that wait for a reply.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Pending> {
        self.places.iter().filter_map(|place| place.pending.as_ref())
    }

    /// The connection is gone: what half of a frame was received is void.
    pub(super) fn cut(&mut self) {
        (self.frames, self.needed, self.greetings) = (Frames::default(), 0, 0);
    }

    /// Forgets all requests, those included that were not sent yet.
    pub(super) fn forget(&mut self) -> Vec<Pending> {
        self.frame = RequestFrame::default();
        self.unsent.clear();
        let mut gone = Vec::new();
        for (place, at) in (0..).zip(&mut self.places) {
            if let Some(pending) = at.pending.take() {
                gone.push(pending);
                self.free.push(place);
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::super::link::{Pending, Role};
    use super::{Dialogue, FrameFull, OWN_ID};
    use ringmain::protocol::binary::{Extras, Opcode, RequestFrame, RequestHead};

    fn ask(dialogue: &mut Dialogue, out: &mut Vec<u8>) -> u32 {
        let mut given = 0;
        let pending = Pending::own(Role::Asked { redirects: 0 });
        let write = |id: u32, frame: &mut RequestFrame| -> Result<(), FrameFull> {
            given = id;
            frame.push(RequestHead::new(id, Opcode::Ping), &Extras::default(), b"", b"")
        };
        dialogue.push(pending, out, write);
        given
    }

    #[test]
    fn every_request_is_answered_once_in_any_order() {
        let (mut dialogue, mut out) = (Dialogue::new(1024), Vec::new());
        let ids: Vec<u32> = (0..100).map(|_| ask(&mut dialogue, &mut out)).collect();
        assert!(ids.iter().all(|id| *id > 0 && *id < OWN_ID), "0 is a push's");
        for id in ids.iter().rev() {
            assert!(dialogue.take(*id).is_some());
            assert!(dialogue.take(*id).is_none(), "a second reply");
        }
        let next = ask(&mut dialogue, &mut out);
        assert!(!ids.contains(&next), "a late reply is not taken for that of a later request");
        assert!(dialogue.take(OWN_ID).is_none() && dialogue.take(0).is_none());
    }

    #[test]
    fn generations_start_over_before_the_tools_own() {
        let (mut dialogue, mut out) = (Dialogue::new(1024), Vec::new());
        for _ in 0..70_000 {
            let id = ask(&mut dialogue, &mut out);
            assert!(id > 0 && id < OWN_ID);
            assert!(dialogue.take(id).is_some());
            dialogue.forget();
        }
    }

    #[test]
    fn a_frame_holds_no_more_than_the_server_takes() {
        let (mut dialogue, mut out) = (Dialogue::new(3), Vec::new());
        for _ in 0..7 {
            ask(&mut dialogue, &mut out);
        }
        assert_eq!(out.len(), 2 * (16 + 3 * 16), "two full frames");
        assert!(dialogue.has_output());
        dialogue.finish(&mut out, 5);
        assert_eq!(out.len(), 3 * 16 + 7 * 16);
        assert!(!dialogue.has_output());
        assert_eq!(dialogue.forget().len(), 7);
    }
}
