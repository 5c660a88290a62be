//! A log that is begun while the shard has data: what was changed before is in its first snapshot alone.

use std::collections::VecDeque;

use super::{Dice, ID, Outcome, SHARD, SHARDS, UnderWay, at, disk::Disk, new_shard, perform};
use crate::cache::Expiry;
use crate::log::{Effect, Recovery, Stream, StreamOptions, start_over};
use crate::shard::Shard;
use crate::types::{DbIndex, Key, LogIndex};

const OPTIONS: StreamOptions =
    StreamOptions { segment_bytes: 16_384, align_bytes: 512, fill: true };

fn key() -> Key<'static> {
    Key::new(DbIndex(0), b"{t}before")
}

/// A shard that has a key, and a log since then.
fn begin(disk: &mut Disk) -> Shard {
    let mut shard = new_shard(SHARD, 7);
    shard.keyspace_mut().set(key(), b"v", Expiry::Clear, at(0).unix);
    let resume = start_over(disk, SHARD, SHARDS, ID).expect("an empty disk takes it");
    shard.start_log(Stream::new(resume, OPTIONS), true);
    shard
}

/// Goes on until what was wanted is on disk, as far as the shard says.
fn wait(shard: &mut Shard, disk: &mut Disk, wanted: LogIndex) {
    let (mut under_way, mut effects) = (VecDeque::new(), Vec::new());
    for turn in 0..1_000 {
        if shard.log_state().expect("it has a log").durable >= wanted {
            return;
        }
        let now = at(turn * 10_000);
        shard.step_log(now, &mut effects);
        under_way.extend(effects.drain(..).filter_map(what_is_under_way));
        if let Some(it) = under_way.pop_front() {
            effects = perform(it, disk, shard, now).0;
        }
    }
    panic!("what was wanted does not get to the disk");
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

/// What a start finds after the power has failed.
fn found_after_a_crash(disk: &mut Disk) -> Outcome<Option<Vec<u8>>> {
    disk.crash(&mut Dice(3));
    let mut shard = new_shard(SHARD, 8);
    let mut recovery = Recovery::open(disk, SHARD, SHARDS, ID).map_err(|it| it.to_string())?;
    while recovery.step(|item| shard.recover(item)).map_err(|it| it.to_string())? {}
    let held = shard.keyspace().peek(key(), at(0).unix);
    Ok(held.map(|held| held.canonical()))
}

/// A retry of a write from before the log is not acknowledged as durable by a log that means nothing yet.
#[test]
fn what_was_changed_before_is_on_disk_when_a_retry_of_it_was_told_so() {
    let mut disk = Disk::default();
    let mut shard = begin(&mut disk);
    let wanted = shard.want_sync_of_all().expect("it has a log");
    wait(&mut shard, &mut disk, wanted);
    assert!(matches!(found_after_a_crash(&mut disk), Ok(Some(_))));
}

/// So it is with a write that comes when the log has begun.
#[test]
fn what_was_changed_before_is_on_disk_when_a_write_is() {
    let mut disk = Disk::default();
    let mut shard = begin(&mut disk);
    let other = Key::new(DbIndex(0), b"{t}later");
    shard.keyspace_mut().set(other, b"v", Expiry::Clear, at(0).unix);
    let wanted = shard.want_sync().expect("it has a log");
    wait(&mut shard, &mut disk, wanted);
    assert!(matches!(found_after_a_crash(&mut disk), Ok(Some(_))));
}
