//! Reads on followers: of clients that have said `READONLY`, whose keys are in shards that other nodes lead.
//!
//! ```text
//! READONLY GET ─► fresh enough, and as far as the session's token? ─► keyspace ─► still fresh, by the clock? ─► reply
//!                   no: the leader is asked, the client waits             no: MOVED
//! ```
//!
//! How fresh a keyspace is comes from its replica (`replica::fresh`), which asks the leader while such reads come
//! (`follower-read-max-lag-ms`). A read that finds it too old, or short of what the session depends on, waits for no
//! longer than an election timeout, and is sent to the leader then. What counts is what is known when the read has
//! been carried out, the clock being looked at once more: a process that was stopped in between answers nothing by
//! what it knew before. The check before it only tells who waits.

use super::connection::{Block, Connection, State};
use super::core::Core;
use super::dispatch::Flow;
use super::engine::Engine;
use super::mail::Message;
use super::redirect::led_elsewhere;
use crate::command::numbers::parse_i64;
use crate::command::session_token::SessionToken;
use crate::command::{Error, Flags, Handler};
use crate::limits::TOKEN_WAIT_MS;
use crate::node::replica_stats::Freshness;
use crate::protocol::Args;
use crate::shard::{Call, Shard};
use crate::types::{LogIndex, MonoUs, ShardId, key_slot};

/// What a request that waits for a follower began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadWait {
    /// When it was first looked at, if it must see all that was acknowledged by then; else 0.
    since: MonoUs,
    /// Until when it waits; none for ever.
    deadline: Option<MonoUs>,
}

impl Core<'_> {
    /// Has a read go to the keyspaces of this node though others lead them, if its client agrees; nothing while it
    /// waits for one. What is not such a read, or has waited in vain, goes the usual way.
    #[inline]
    pub(super) fn follow(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
    ) -> Option<Call> {
        let may_follow = connection.session.reads_followers && self.is_in_cluster();
        if may_follow { self.follow_shards(connection, call, args) } else { Some(*call) }
    }

    #[cold]
    fn follow_shards(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
    ) -> Option<Call> {
        let command = call.entry.command;
        let is_read = command.flags.contains(Flags::READONLY)
            && matches!(command.handler, Handler::Keyed(_))
            && !connection.session.transaction.is_open;
        let followed = self.followed_shards(call, args);
        let lag_us = self.config.follower_read_max_lag_ms.saturating_mul(1000);
        if !is_read || followed.is_empty() || lag_us == 0 {
            return Some(*call);
        }
        let now = self.engine.mono_now();
        let wait = *connection.read_wait.get_or_insert_with(|| {
            let has_token = call.native.is_some_and(|native| {
                native.token.is_some_and(|token| followed.contains(&token.shard))
            });
            let timeout_us = self.config.election_timeout_ms * 1000;
            ReadWait {
                since: if has_token { now } else { MonoUs(0) },
                deadline: Some(MonoUs(now.0 + timeout_us)),
            }
        });
        let freshness = Freshness { since: wait.since, lag_us };
        followed.iter().for_each(|shard| self.node.replica(*shard).note_read(now));
        if followed.iter().all(|shard| self.may_read(connection, *shard, &freshness, now)) {
            connection.read_wait = None;
            connection.follows = true;
            return Some(Call { follower: Some(freshness), ..*call });
        }
        // Who lacks what it needs, or takes no part, may do so for long.
        let can_wait = followed.iter().all(|shard| {
            let replica = self.node.replica(*shard);
            replica.is_readable() && replica.leader().is_some()
        });
        if !can_wait || wait.deadline.is_some_and(|deadline| now >= deadline) {
            connection.read_wait = None;
            self.engine.metrics.follower_reads_redirected.increment();
            return Some(*call);
        }
        self.await_news(&followed);
        if followed.iter().all(|shard| self.may_read(connection, *shard, &freshness, now)) {
            return self.follow_shards(connection, call, args);
        }
        for shard in &followed {
            if !self.may_read(connection, *shard, &freshness, now) {
                let is_far = self.node.replica(*shard).has_come_to(depends_on(connection, *shard));
                // 0 is no wish: a process may be younger than the lag that it allows.
                let least = MonoUs(now.0.saturating_sub(lag_us).max(1));
                // Who leads tells of commits with the answer.
                let since = if is_far { wait.since.max(least) } else { now };
                self.want_fresh(*shard, since);
            }
        }
        self.wait_for_replica(connection);
        None
    }

    /// The shards of a command's keys that others lead.
    fn followed_shards(&self, call: &Call, args: &Args<'_>) -> Vec<ShardId> {
        let positions = call.entry.command.keys.positions(args);
        let shards = positions.map(|at| self.node.slots.shard_of(key_slot(args.at(at))));
        let mut followed: Vec<ShardId> = shards.filter(|shard| !self.serves(*shard)).collect();
        followed.sort_unstable();
        followed.dedup();
        followed
    }

    fn may_read(
        &self,
        connection: &Connection,
        shard: ShardId,
        freshness: &Freshness,
        now: MonoUs,
    ) -> bool {
        let replica = self.node.replica(shard);
        replica.is_fresh(freshness, now) && replica.has_come_to(depends_on(connection, shard))
    }

    /// Has the owner of a shard ask its leader, if need be.
    fn want_fresh(&mut self, shard: ShardId, since: MonoUs) {
        self.node.replica(shard).want_fresh(since);
        if !self.shards.owns(shard) {
            self.post(self.engine.owners.core_of(shard), Message::Flush);
        }
    }

    // --- session tokens ------------------------------------------------------------------------------

    /// Blocks a client until the shards have come as far as the token that it names (`CLIENT WAITTOKEN`), for no longer
    /// than it says. What it names wrongly is the command's to say.
    #[cold]
    pub(super) fn hold_for_token(&mut self, connection: &mut Connection, args: &Args<'_>) -> Flow {
        let token = args.get(2).unwrap_or_default();
        let timeout_ms = match args.get(3) {
            None => Some(TOKEN_WAIT_MS),
            Some(text) => parse_i64(text).and_then(|timeout_ms| u64::try_from(timeout_ms).ok()),
        };
        let token = SessionToken::parse(token, self.node.slots.shard_count());
        let (Ok(token), Some(timeout_ms)) = (token, timeout_ms) else { return Flow::Taken };
        let now = self.engine.mono_now();
        let until = MonoUs(now.0.saturating_add(timeout_ms.saturating_mul(1000)));
        let deadline = (timeout_ms > 0).then_some(until);
        let wait = ReadWait { since: MonoUs(0), deadline };
        let wait = *connection.read_wait.get_or_insert(wait);
        let is_over = wait.deadline.is_some_and(|deadline| now >= deadline);
        let has_come = |(shard, index)| self.node.replica(shard).has_come_to(index);
        // Nothing waits inside a transaction.
        let may_wait = !connection.session.transaction.is_running && self.is_in_cluster();
        let is_done = || is_over || !may_wait || token.entries().all(has_come);
        let shards: Vec<ShardId> = token.entries().map(|(shard, _)| shard).collect();
        if is_done() || self.await_news(&shards) && is_done() {
            connection.read_wait = None;
            return Flow::Taken;
        }
        self.wait_for_replica(connection);
        Flow::Left
    }

    // --- waiting -------------------------------------------------------------------------------------

    /// Has this core told of news of these shards. There may have been some before: look again.
    fn await_news(&self, shards: &[ShardId]) -> bool {
        shards.iter().for_each(|shard| self.node.replica(*shard).wait(self.id));
        true
    }

    fn wait_for_replica(&mut self, connection: &mut Connection) {
        connection.state = State::Blocked(Block::Follower);
        self.replicas.readers.push(connection.token);
    }

    /// Lets reads that wait for followers look again, if there is news or one of them may have waited long enough.
    pub(super) fn look_at_readers(&mut self) {
        let now = self.engine.now.mono;
        let is_due = now >= self.replicas.readers_due;
        if self.replicas.readers.is_empty() || !self.replicas.has_news && !is_due {
            return;
        }
        self.replicas.has_news = false;
        self.replicas.readers_due = MonoUs(now.0 + self.config.heartbeat_ms * 1000);
        for token in std::mem::take(&mut self.replicas.readers) {
            self.unblock(token, Block::Follower);
        }
    }
}

/// The last entry of a shard that a session depends on.
fn depends_on(connection: &Connection, shard: ShardId) -> LogIndex {
    let depends_on = connection.session.depends_on.as_ref();
    depends_on.map_or(LogIndex(0), |token| token.index_of(shard))
}

impl Engine<'_> {
    /// Why what a command has read on `shard` does not count: a follower's answer does if it is fresh enough, by the clock
    /// as it is now; else the client is sent to the leader. Nothing for any other command.
    #[inline]
    pub(crate) fn unfit_read(&self, shard: &Shard, call: &Call, is_refused: bool) -> Option<Error> {
        let freshness = call.follower.as_ref().filter(|_| !shard.is_serving())?;
        self.judge_read(shard, call, freshness, is_refused)
    }

    #[cold]
    fn judge_read(
        &self,
        shard: &Shard,
        call: &Call,
        freshness: &Freshness,
        is_refused: bool,
    ) -> Option<Error> {
        if is_refused || !shard.is_fresh(freshness, self.mono_now()) {
            self.metrics.follower_reads_redirected.increment();
            return Some(led_elsewhere(self.node, call.slot));
        }
        self.metrics.follower_reads.increment();
        None
    }

    /// The same for a command over several shards: one that is unfit is enough.
    pub(crate) fn unfit_read_over(
        &self,
        shards: &[Option<&mut Shard>],
        call: &Call,
        is_refused: bool,
    ) -> Option<Error> {
        call.follower.as_ref()?;
        shards.iter().flatten().find_map(|shard| self.unfit_read(shard, call, is_refused))
    }
}
