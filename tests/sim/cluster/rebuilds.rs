//! Data that replicas make again from their own logs, because nobody sends it.

use super::{Cluster, Dice, Event, cluster_with_retries};
use crate::shard::Rebuilt;
use crate::sim::Outcome;

/// How long a replica waits for a snapshot before it makes its data again: hardly, in some runs, so that the one often
/// comes while it is at the other.
pub(super) fn patience_ms(seed: u64) -> u64 {
    // Not by the dice of the run: those without this go as they went before there was this.
    if Dice(seed ^ 0xa9a2).one_in(4) { 0 } else { 900 }
}

impl Cluster {
    pub(super) fn start_rebuild(&mut self, index: usize, number: u64) -> Outcome {
        self.note(format_args!("{index} makes its data again"));
        self.parts[index].start_rebuild(number)?;
        self.rebuild_soon(index);
        Ok(())
    }

    /// Reads on in a part's log, if that is to be read again.
    pub(super) fn rebuild_some(&mut self, index: usize) -> Outcome {
        let rebuilt = self.parts[index].rebuild(&mut self.dice)?;
        match rebuilt {
            None => {}
            Some(Rebuilt::InPart) => self.rebuild_soon(index),
            Some(Rebuilt::Whole) => {
                self.rebuilds += 1;
                self.note(format_args!("{index} has made its data again"));
            }
            Some(Rebuilt::Dropped) => self.note(format_args!("{index} needs it no more")),
        }
        Ok(())
    }

    fn rebuild_soon(&mut self, index: usize) {
        let (time, life) = (self.soon(2_000), self.parts[index].life);
        self.at(time, Event::Turn { part: index, life });
    }
}

/// Of three replicas two have run what was never committed, say, and the third loses its disk before it has sent them a
/// snapshot: nobody can send one.
#[test]
fn data_that_nobody_can_send_is_made_again() {
    for seed in [1568, 1585, 1944] {
        let mut cluster = cluster_with_retries(seed);
        cluster.go().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        assert!(cluster.rebuilds > 0, "seed {seed}");
    }
}
