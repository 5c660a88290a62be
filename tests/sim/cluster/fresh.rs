//! What a follower answers while word of how fresh it is is long on its way.

use super::clients::{Work, carry_out};
use super::linear::Ask;
use super::{Cluster, LAG_US, TRUE_LAG_US};
use crate::node::replica_stats::Freshness;
use crate::plant::{Fault, plant};
use crate::sim::Outcome;
use crate::types::MonoUs;

/// For how long nothing of what the leader says arrives at the follower.
const HELD_US: u64 = 2 * LAG_US;

/// What a follower would answer now to who wants what is no older than the bound; nothing if it would not.
fn read(cluster: &mut Cluster, follower: usize) -> Option<u64> {
    let part = &mut cluster.parts[follower];
    let (now, clock) = (part.now(cluster.time), part.clock_now(cluster.time));
    let shard = &mut part.process.as_mut()?.shard;
    let freshness = Freshness { since: MonoUs(0), lag_us: LAG_US };
    if !shard.is_fresh(&freshness, clock) {
        return None;
    }
    carry_out(shard, Work::Follow { key: 0 }, now, &mut cluster.dice)
}

/// The follower asks its leader how far it must have come.
fn want_fresh(cluster: &mut Cluster, follower: usize) -> Outcome {
    let now = cluster.parts[follower].now(cluster.time);
    if let Some(process) = &mut cluster.parts[follower].process {
        process.shard.want_fresh(now.mono, now);
    }
    cluster.step(follower, now)
}

/// A leader answers a follower's question, and what it says is held back; meanwhile a value is written. When all of it
/// arrives, the answer comes before the value.
fn a_late_answer() -> Outcome {
    let set = |value| Work::Register { key: 0, ask: Ask::Set(value) };
    let mut cluster = Cluster::quiet(3)?;
    let leader = cluster.first();
    let follower = (leader + 1) % 3;
    cluster.ask(0, set(1))?;
    want_fresh(&mut cluster, follower)?;
    cluster.until("it answers 1", |it| read(it, follower) == Some(1))?;
    want_fresh(&mut cluster, follower)?;
    let until = cluster.time + HELD_US;
    cluster.network.block((leader, follower), until);
    cluster.ask(0, set(2))?;
    let acknowledged = cluster.time;
    while cluster.time < until + LAG_US {
        cluster.next()?;
        let is_long_ago = cluster.time > acknowledged + TRUE_LAG_US;
        let seen = read(&mut cluster, follower).filter(|_| is_long_ago);
        if seen.is_some_and(|seen| seen != 2) {
            let ago = cluster.time - acknowledged;
            return Err(format!("it answers {seen:?}, {ago} us after 2 was acknowledged"));
        }
    }
    want_fresh(&mut cluster, follower)?;
    cluster.until("it answers 2", |it| read(it, follower) == Some(2))
}

#[test]
fn an_answer_that_is_long_on_its_way_makes_nothing_look_newer() {
    assert_eq!(a_late_answer(), Ok(()));
}

#[test]
fn freshness_as_of_the_answer_is_caught() {
    plant(Some(Fault::FreshAsOfAnswer));
    let caught = a_late_answer();
    plant(None);
    assert!(caught.is_err_and(|what| what.starts_with("it answers Some(1)")));
}
