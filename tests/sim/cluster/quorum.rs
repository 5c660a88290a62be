//! A leader that no quorum answers any more, and who waits for it.

use super::Cluster;
use super::clients::Work;
use super::linear::Ask;
use crate::sim::Outcome;

/// From when on it hears from nobody until nobody waits there any more.
fn silence(client: usize, later_us: u64) -> Outcome<u64> {
    let set = |value| Work::Register { key: 0, ask: Ask::Set(value) };
    let mut cluster = Cluster::quiet(3)?;
    let leader = cluster.first();
    cluster.ask(client, set(1))?;
    cluster.while_for(later_us, "it leads", |it| it.leads(leader))?;
    for other in (0..3).filter(|part| *part != leader) {
        cluster.network.block((leader, other), u64::MAX);
        cluster.network.block((other, leader), u64::MAX);
    }
    let since = cluster.time;
    let waits =
        |it: &Cluster| it.parts[leader].process.as_ref().is_some_and(|it| !it.replies.is_empty());
    cluster.call(client, set(2));
    cluster.until("somebody waits", |it| waits(it))?;
    cluster.until("nobody waits", |it| !waits(it))?;
    let us = cluster.time - since;
    if cluster.leads(leader) || cluster.clients.all[client].pending.is_some() {
        return Err(format!("the client has heard nothing: {}", cluster.survey()));
    }
    Ok(us)
}

#[test]
fn who_waits_for_a_leader_without_a_quorum_hears_so_within_an_election_timeout() {
    // The crate's own look comes once in 300 ms, and finds nobody at the second at the latest.
    const US_MAX: u64 = 400_000;
    for later in 0..30 {
        let us = silence(later % 3, later as u64 * 11_000)
            .unwrap_or_else(|what| panic!("{later}: {what}"));
        assert!((100_000..US_MAX).contains(&us), "{later}: {us}");
    }
}
