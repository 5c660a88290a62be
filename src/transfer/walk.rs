//! All keys of one server, or of all primaries of a cluster, once.

use super::Failure;
use super::origin::{Database, Origin};
use super::progress::Progress;
use super::record::Sink;
use super::tally::Tally;

/// What is read: the databases of each server.
pub(super) struct Plan(Vec<Vec<Database>>);

impl Plan {
    /// Asks for the databases with keys; of those in `chosen`, unless that is empty.
    pub(super) fn make(origins: &mut [Origin], chosen: &[u64]) -> Result<Self, Failure> {
        origins
            .iter_mut()
            .map(|origin| origin.databases(chosen))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// How many keys there are; more or fewer may be found.
    pub(super) fn keys(&self) -> u64 {
        self.0.iter().flatten().map(|database| database.keys).sum()
    }

    /// Reads all of them into `sink`.
    pub(super) fn run(
        &self,
        origins: &mut [Origin],
        tally: &mut Tally,
        progress: &mut Progress,
        sink: &mut impl Sink,
    ) -> Result<(), Failure> {
        for (origin, databases) in origins.iter_mut().zip(&self.0) {
            for database in databases {
                origin.select(database.index)?;
                sink.select(database.index)?;
                let mut cursor = b"0".to_vec();
                loop {
                    let (keys, next) = origin.scan(&cursor)?;
                    origin.read(&keys, sink, tally)?;
                    progress.add(keys.len() as u64);
                    cursor = next;
                    if cursor == b"0" {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}
