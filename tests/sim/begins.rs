//! A log that is begun while the shard has data: what was changed before is in its first snapshot alone.

use std::collections::VecDeque;

use super::{Dice, ID, Outcome, SHARD, SHARDS, UnderWay, at, disk::Disk, new_shard, perform};
use crate::cache::Expiry;
use crate::log::{Effect, HardState, Manifest, Recovery, Stream, StreamOptions, start_over};
use crate::node::replica_stats::ReplicaRequest;
use crate::replica::{Replica, Restored, tests::OPTIONS as REPLICA};
use crate::shard::Shard;
use crate::types::{DbIndex, Key, LogIndex, NodeId, Now, Term};

const OPTIONS: StreamOptions =
    StreamOptions { segment_bytes: 16_384, align_bytes: 512, fill: true };

const NOTHING: (LogIndex, Term) = (LogIndex(0), Term(0));

fn key() -> Key<'static> {
    Key::new(DbIndex(0), b"{t}before")
}

/// A shard that has a key, and a log since then, which begins behind an entry.
fn begin(disk: &mut Disk, behind: (LogIndex, Term)) -> Shard {
    let mut shard = new_shard(SHARD, 7);
    shard.keyspace_mut().set(key(), b"v", Expiry::Clear, at(0).unix);
    let resume = start_over(disk, SHARD, SHARDS, ID).expect("an empty disk takes it");
    shard.start_log(Stream::new(resume.behind(behind.0, behind.1), OPTIONS), true);
    shard
}

/// Goes on until what was wanted is on disk, as far as the shard says.
fn wait(shard: &mut Shard, disk: &mut Disk, wanted: LogIndex) {
    assert!(step(shard, disk, 1_000, wanted), "what was wanted does not get to the disk");
}

/// The same for so many turns at most; whether it is there then.
fn step(shard: &mut Shard, disk: &mut Disk, turns: u64, wanted: LogIndex) -> bool {
    goes_on(shard, disk, turns, |shard, now, effects| {
        let is_there = shard.log_state().expect("it has a log").durable >= wanted;
        if !is_there {
            shard.step_log(now, effects);
        }
        is_there
    })
}

/// Does what a turn wants done, one thing at a time, until one says that it was the last, or for so many turns.
fn goes_on(
    shard: &mut Shard,
    disk: &mut Disk,
    turns: u64,
    mut turn: impl FnMut(&mut Shard, Now, &mut Vec<Effect>) -> bool,
) -> bool {
    let (mut under_way, mut effects) = (VecDeque::new(), Vec::new());
    (0..turns).map(|number| at(number * 10_000)).any(|now| {
        let is_last = turn(shard, now, &mut effects);
        under_way.extend(effects.drain(..).filter_map(what_is_under_way));
        if !is_last && let Some(it) = under_way.pop_front() {
            effects = perform(it, disk, shard, now).0;
        }
        is_last
    })
}

fn what_is_under_way(effect: Effect) -> Option<UnderWay> {
    match effect {
        Effect::Write { file, offset, buffer, sync } => {
            Some(UnderWay::Write { file, offset, buffer, sync })
        }
        Effect::Sync(file) => Some(UnderWay::Sync(file)),
        Effect::Job(job) => Some(UnderWay::Job(job)),
        Effect::Close(_)
        | Effect::SaveHardState(_)
        | Effect::StartOver(..)
        | Effect::ReadAgain(_) => None,
    }
}

/// What a start finds.
struct Found {
    has_key: bool,
    /// The entry that the log begins behind.
    behind: (LogIndex, Term),
    last: LogIndex,
}

/// What a start finds after the power has failed.
fn found_after_a_crash(disk: &mut Disk) -> Outcome<Found> {
    disk.crash(&mut Dice(3));
    let mut shard = new_shard(SHARD, 8);
    let mut recovery = Recovery::open(disk, SHARD, SHARDS, ID).map_err(|it| it.to_string())?;
    while recovery.step(|item| shard.recover(item)).map_err(|it| it.to_string())? {}
    let has_key = shard.keyspace().peek(key(), at(0).unix).is_some();
    let Manifest { first_index, base_term, .. } = *recovery.manifest();
    let behind = (LogIndex(first_index.0 - 1), base_term);
    Ok(Found { has_key, behind, last: recovery.last_index() })
}

/// A retry of a write from before the log is not acknowledged as durable by a log that means nothing yet.
#[test]
fn what_was_changed_before_is_on_disk_when_a_retry_of_it_was_told_so() {
    let mut disk = Disk::default();
    let mut shard = begin(&mut disk, NOTHING);
    let wanted = shard.want_sync_of_all().expect("it has a log");
    wait(&mut shard, &mut disk, wanted);
    assert!(found_after_a_crash(&mut disk).is_ok_and(|found| found.has_key));
}

/// So it is with a write that comes when the log has begun.
#[test]
fn what_was_changed_before_is_on_disk_when_a_write_is() {
    let mut disk = Disk::default();
    let mut shard = begin(&mut disk, NOTHING);
    let other = Key::new(DbIndex(0), b"{t}later");
    shard.keyspace_mut().set(other, b"v", Expiry::Clear, at(0).unix);
    let wanted = shard.want_sync().expect("it has a log");
    wait(&mut shard, &mut disk, wanted);
    assert!(found_after_a_crash(&mut disk).is_ok_and(|found| found.has_key));
}

/// A replica that has taken a snapshot in has seen nothing after a start that does not find it, whatever entry its log was
/// to begin behind.
#[test]
fn who_has_lost_its_snapshot_has_seen_nothing() {
    let behind = (LogIndex(27), Term(0));
    let (mut lost, mut kept) = (0, 0);
    for turns in 0..40 {
        let mut disk = Disk::default();
        let mut shard = begin(&mut disk, behind);
        step(&mut shard, &mut disk, turns, behind.0);
        let found = found_after_a_crash(&mut disk).expect("it can be opened");
        let seen = if found.has_key { behind } else { NOTHING };
        assert_eq!((found.behind, found.last), (seen, seen.0), "after {turns} turns");
        (lost, kept) = (lost + u32::from(!found.has_key), kept + u32::from(found.has_key));
    }
    assert!(lost > 3 && kept > 3, "{lost} {kept}");
}

/// A replica whose log means nothing without a snapshot, and that can't save any more who takes part, has none to wait for.
#[test]
fn who_can_save_nothing_more_ends_all_the_same() {
    for is_saved in [true, false] {
        let mut disk = Disk::default();
        let mut shard = begin(&mut disk, NOTHING);
        let restored = Restored {
            hard_state: HardState::first((SHARD, ID), NodeId(1), Vec::new()),
            applied: NOTHING,
            entries: Vec::new(),
            is_doubtful: false,
        };
        let replica = Replica::new(SHARD, REPLICA, restored).expect("a replica of nobody");
        shard.start_replica(replica, Vec::new());
        shard.request_of_replica(ReplicaRequest::Found(vec![NodeId(1)]));
        let has_ended = goes_on(&mut shard, &mut disk, 1_000, |shard, now, effects| {
            let is_closed = shard.close_log(now, effects);
            if effects.iter().any(|effect| matches!(effect, Effect::SaveHardState(_))) {
                shard.hard_state_saved(is_saved);
            }
            is_closed
        });
        assert!(has_ended, "saved: {is_saved}");
        let found = found_after_a_crash(&mut disk).expect("it can be opened");
        assert_eq!(found.has_key, is_saved);
    }
}
