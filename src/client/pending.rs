//! The requests of one connection that have no reply yet, by their ids.
//!
//! An id is a place in the table and that place's generation, so that a second reply to the same request
//! is not taken for the reply to a later one:
//!
//! ```text
//! 31        16 15       0
//! │ generation │  place  │      generation 0 is not used: no id is 0
//! ```

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::oneshot;

use super::call::{Answer, Lost};

/// Who waits for a reply.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A caller, and the room that its request takes.
    Caller(oneshot::Sender<Result<Answer, Lost>>, OwnedSemaphorePermit),
    /// The client, which asked for the topology.
    Topology,
    /// Nobody: the server was to show that it is alive.
    Ping,
}

/// A request that has no reply yet.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its opcode, which the reply must name too.
    pub(super) opcode: u8,
    /// Who waits for its reply.
    pub(super) waiting: Waiting,
    /// Bytes sent on the connection from which on the server has it whole.
    pub(super) whole_at: u64,
}

#[derive(Debug)]
struct Place {
    generation: u16,
    entry: Option<Entry>,
}

/// The table. Its size is the most requests that were ever under way at once.
#[derive(Debug, Default)]
pub(super) struct Pending {
    places: Vec<Place>,
    free: Vec<u16>,
}

impl Pending {
    /// Number of requests without a reply.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a request and gives it an id; gives it back if there are as many as ids.
    pub(super) fn insert(&mut self, entry: Entry) -> Result<u32, Entry> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let Ok(index) = u16::try_from(self.places.len()) else { return Err(entry) };
                self.places.push(Place { generation: 0, entry: None });
                index
            }
        };
        let place = &mut self.places[usize::from(index)];
        place.generation = place.generation.checked_add(1).unwrap_or(1);
        place.entry = Some(entry);
        Ok(u32::from(place.generation) << 16 | u32::from(index))
    }

    /// The request with this id.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Entry> {
        let (generation, index) = parts(id);
        let place = self.places.get_mut(usize::from(index))?;
        if place.generation == generation { place.entry.as_mut() } else { None }
    }

    /// Takes out the request with this id.
    pub(super) fn remove(&mut self, id: u32) -> Option<Entry> {
        self.get_mut(id)?;
        let (_, index) = parts(id);
        let entry = self.places[usize::from(index)].entry.take();
        self.free.push(index);
        entry
    }

    /// Takes out all requests.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Entry> {
        self.free.clear();
        std::mem::take(&mut self.places).into_iter().filter_map(|place| place.entry)
    }
}

fn parts(id: u32) -> (u16, u16) {
    let [a, b, c, d] = id.to_be_bytes();
    (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

#[cfg(test)]
mod tests {
    use super::{Entry, Pending, Waiting};

    fn entry(opcode: u8) -> Entry {
        Entry { opcode, waiting: Waiting::Ping, whole_at: 0 }
    }

    #[test]
    fn ids_are_taken_once() {
        let mut pending = Pending::default();
        let first = pending.insert(entry(1)).unwrap();
        let second = pending.insert(entry(2)).unwrap();
        assert!(first != 0 && first != second);
        assert_eq!(pending.remove(second).map(|entry| entry.opcode), Some(2));
        assert!(pending.remove(second).is_none(), "a second reply");
        let third = pending.insert(entry(3)).unwrap();
        assert_ne!(third, second, "the same place, another generation");
        assert!(pending.get_mut(second).is_none());
        for nonsense in [0, 1, u32::MAX, first ^ 1 << 31] {
            assert!(pending.remove(nonsense).is_none(), "{nonsense:#x}");
        }
        assert_eq!(pending.len(), 2);
        assert_eq!(pending.drain().count(), 2);
        assert!(pending.is_empty());
        assert!(pending.insert(entry(4)).is_ok());
    }

    #[test]
    fn generations_wrap_and_skip_zero() {
        let mut pending = Pending::default();
        for _ in 0..70_000 {
            let id = pending.insert(entry(1)).unwrap();
            assert_ne!(id >> 16, 0);
            pending.remove(id).unwrap();
        }
        assert_eq!(pending.places.len(), 1);
    }

    #[test]
    fn there_are_as_many_places_as_ids() {
        let mut pending = Pending::default();
        for _ in 0..=u16::MAX {
            pending.insert(entry(1)).unwrap();
        }
        assert!(pending.insert(entry(1)).is_err());
    }
}
