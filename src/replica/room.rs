//! Room on the disk: who leads without it lets another lead who has some.
//!
//! A replica whose log takes no writes, because its disk is full, follows as well as ever: it takes entries in memory
//! and votes. But while it leads, all writes of the shard are refused though a majority could keep them. So replicas
//! that are short of room tell the others, as long as they are, and a leader that is hands over to one of those that
//! keep up and have not said so. It stays where no majority has room: what it refuses at once would wait elsewhere, for
//! disks that don't take it. What is said of room is a hint and nothing more: whether it is true, or heard at all, no
//! promise depends on it.

use std::collections::BTreeMap;

use super::{Body, Replica};
use crate::types::{MonoUs, NodeId, Term};

/// Election timeouts from when one leader was short of room, and gave leadership away or tried to, until it does again:
/// where all run full in turn it does not go round and round.
const PATIENCE: u64 = 10;
/// Election timeouts for which others are believed to be short of room when they have said so.
const BELIEVED: u64 = 2;
/// Of an election timeout, so much passes until it is said again: some of it may be lost.
const SAID_PER_TIMEOUT: u64 = 2;

/// Who is short of room.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    /// Since which tick this replica is, if it is.
    since: Option<u64>,
    /// The tick at which others are told next.
    say_due: u64,
    /// The tick from which on leadership may be given away for it.
    leave_due: u64,
    /// Others that are, and the tick at which they last said so.
    pub(super) others: BTreeMap<NodeId, u64>,
}

impl Replica {
    /// Notes whether this replica's log takes no writes, and will again when there is room.
    pub(crate) fn note_room(&mut self, is_short: bool) {
        if !is_short {
            self.shortage.since = None;
        } else if self.shortage.since.is_none() {
            (self.shortage.since, self.shortage.say_due) = (Some(self.ticks), self.ticks);
        }
    }

    /// Whether this replica is short of room.
    pub(super) fn is_short(&self) -> bool {
        self.shortage.since.is_some()
    }

    /// Another says that it is short of room.
    pub(super) fn note_no_room(&mut self, from: NodeId, term: Term) {
        // Long on its way, it says nothing of now.
        if term < self.term() || !self.configuration().has(from) {
            return;
        }
        let (ticks, believed) = (self.ticks, self.believed_ticks());
        self.shortage.others.retain(|_, heard| *heard + believed >= ticks);
        self.shortage.others.insert(from, ticks);
    }

    /// Whether a node has room, as far as this replica has heard lately.
    pub(super) fn has_room(&self, node: NodeId) -> bool {
        let heard = self.shortage.others.get(&node);
        heard.is_none_or(|heard| heard + self.believed_ticks() < self.ticks)
    }

    fn believed_ticks(&self) -> u64 {
        BELIEVED * self.election_ticks
    }

    /// Tells others that there is no room, and gives leadership away if one of them has some; every tick.
    pub(super) fn look_after_room(&mut self, now: MonoUs) {
        let Some(since) = self.shortage.since else { return };
        if self.ticks >= self.shortage.say_due && self.is_member() {
            self.shortage.say_due = self.ticks + (self.election_ticks / SAID_PER_TIMEOUT).max(1);
            let term = self.term();
            let words = self.others().map(|node| (node, Body::NoRoom { term }));
            self.outbox.extend(words);
        }
        // It may be over in a moment, and others who run full as well have had time to say so.
        let due = self.shortage.leave_due.max(since + self.election_ticks);
        if self.ticks < due || !self.is_serving() || self.leaving_until.is_some() {
            return;
        }
        let Some(to) = self.next_with_room() else { return };
        self.shortage.leave_due = self.ticks + PATIENCE * self.election_ticks;
        tracing::warn!(
            shard = self.shard.0,
            node = to.0,
            "there is no room for the log: another node that has some is to lead the shard"
        );
        self.hand_over(to, now);
    }

    /// Who is to lead in place of this leader, if a majority has room.
    fn next_with_room(&self) -> Option<NodeId> {
        let voters = &self.configuration().voters;
        let is_able = |node: &NodeId| {
            self.keeps_up(*node) == Some(true)
                && self.has_room(*node)
                && !self.doubt.is_doubted(*node)
        };
        let able: Vec<NodeId> = voters.iter().copied().filter(is_able).collect();
        if able.len() <= voters.len() / 2 {
            return None;
        }
        // Who should lead anyway; else what one node gives away is spread over the others.
        let heir = self.heir();
        let by_shard = able.get(usize::from(self.shard.0) % able.len()).copied();
        if able.contains(&heir) { Some(heir) } else { by_shard }
    }
}
