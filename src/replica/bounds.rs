//! Whether what a replica keeps in memory stays within bounds, for tests that look at it all the time.

use super::{Replica, Staging, lease};
use crate::limits::{
    NODES_MAX, REPLICA_PINNED_BYTES_MAX, REPLICA_REQUESTS_MAX, SNAPSHOT_PIECES_IN_FLIGHT,
};

/// What waits for a hard state to be saved: only the time for which a disk stands still bounds it.
const HELD_MAX: usize = 2000;

impl Replica {
    /// What has outgrown its bound, if anything has; right after a step, when all that is to be taken has been.
    pub(crate) fn outgrown(&self) -> Option<String> {
        let pieces = self.outgoing.as_ref().map_or(0, |it| it.sent - it.taken);
        let pieces = usize::try_from(pieces).unwrap_or(usize::MAX);
        // The end is not one of those that are counted.
        let pieces_max = usize::try_from(SNAPSHOT_PIECES_IN_FLIGHT).unwrap_or(0) + 1;
        let staging = self.staging.as_ref().map_or(0, Staging::memory_bytes);
        let counts = [
            ("messages that were not taken", self.outbox.len(), 0),
            ("orders that were not carried out", self.orders.len(), 0),
            ("that wait for a hard state", self.held.queue.len(), HELD_MAX),
            ("requests", self.membership.asked.len(), REPLICA_REQUESTS_MAX),
            ("questions", self.fresh.asked.len(), NODES_MAX),
            ("goals that are owed", self.doubt.owed.len(), NODES_MAX),
            ("others that were in doubt", self.doubt.others.len(), NODES_MAX),
            ("others that were short of room", self.shortage.others.len(), NODES_MAX),
            ("rounds", self.lease.sent.len(), lease::ROUNDS_MAX),
            ("pieces of a snapshot under way", pieces, pieces_max),
            ("bytes of a snapshot that comes", staging, REPLICA_PINNED_BYTES_MAX),
        ];
        let over = counts.into_iter().find(|(_, count, most)| count > most);
        over.map(|(what, count, most)| format!("{count} {what}, of at most {most}"))
    }
}
