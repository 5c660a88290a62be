//! Disks that run full, and who leads then. In the other runs they do so as well, by chance and for a moment.

use super::Cluster;
use crate::sim::Outcome;

/// Longer than it takes until leadership goes back to who should have it.
const LONG_US: u64 = 8_000_000;

impl Cluster {
    fn fill(&mut self, part: usize) {
        self.parts[part].disk.is_full = true;
        self.note(format_args!("the disk of {part} is full from now on"));
    }

    /// Whether a part's log takes no writes.
    fn is_short(&self, part: usize) -> bool {
        let state = self.shard(part).and_then(|shard| shard.log_state());
        state.is_some_and(|state| state.refusal.is_some())
    }

    /// Some more calls are answered.
    fn serves(&mut self) -> Outcome {
        let answered = self.clients.answered;
        self.until("clients are served", |it| it.clients.answered > answered + 50)
    }

    /// One part leads all the time.
    fn stays(&mut self, leader: usize) -> Outcome {
        self.while_for(LONG_US, &format!("{leader} leads"), |it| it.leads(leader))
    }
}

fn a_leader_without_room(nodes: usize) -> Outcome {
    let mut cluster = Cluster::quiet(nodes)?;
    cluster.be_busy();
    cluster.serves()?;
    let first = cluster.first();
    cluster.fill(first);
    cluster.until("another leads", |it| it.leading().is_some_and(|leader| leader != first))?;
    let second = cluster.leading().ok_or("somebody leads")?;
    if !cluster.is_short(first) {
        return Err("it had room".to_owned());
    }
    cluster.serves()?;
    // It is not given back as long as there is no room.
    cluster.stays(second)?;
    cluster.serves()?;
    cluster.mend(first);
    cluster.until("it leads again", |it| it.leads(first))?;
    cluster.serves()?;
    cluster.busy_until = cluster.time;
    cluster.calm_down();
    cluster.come_together()?;
    cluster.read_all()?;
    cluster.clients.check()
}

#[test]
fn a_leader_without_room_lets_another_lead_until_it_has_some() {
    for nodes in [3, 5] {
        a_leader_without_room(nodes).unwrap_or_else(|what| panic!("{nodes} nodes: {what}"));
    }
}

/// There it can be seen at once that writes are not taken.
#[test]
fn a_leader_without_room_stays_where_no_majority_has_any() {
    let scene = || {
        let mut cluster = Cluster::quiet(3)?;
        cluster.be_busy();
        let first = cluster.first();
        // The one that is left could serve with the others' memory alone.
        let other = (first + 1) % 3;
        cluster.fill(other);
        cluster.until("the follower is short", |it| it.is_short(other))?;
        cluster.fill(first);
        cluster.until("the leader is short", |it| it.is_short(first))?;
        cluster.stays(first)?;
        cluster.fill((first + 2) % 3);
        cluster.stays(first)?;
        for part in 0..3 {
            cluster.mend(part);
        }
        cluster.serves()
    };
    scene().unwrap_or_else(|what: String| panic!("{what}"));
}

/// Who has said that there is no room is passed over. When those that have some are no majority, nobody comes after the
/// last.
#[test]
fn leadership_goes_to_nodes_that_have_room_as_long_as_those_are_a_majority() {
    let scene = || {
        let others = |it: &Cluster| it.leading().filter(|leader| *leader != it.first());
        let mut cluster = Cluster::quiet(5)?;
        cluster.be_busy();
        cluster.fill(cluster.first());
        cluster.until("another leads", |it| others(it).is_some())?;
        let without = others(&cluster).ok_or("somebody leads")?;

        // Once more, but that one has no room either.
        let mut cluster = Cluster::quiet(5)?;
        cluster.be_busy();
        cluster.fill(without);
        cluster.until("the follower is short", |it| it.is_short(without))?;
        cluster.fill(cluster.first());
        cluster.until("another leads", |it| others(it).is_some())?;
        let second = others(&cluster).ok_or("somebody leads")?;
        if second == without {
            return Err(format!("{second} leads, which had said that it has no room"));
        }
        cluster.serves()?;
        cluster.fill(second);
        cluster.until("it is short", |it| it.is_short(second))?;
        cluster.stays(second)
    };
    scene().unwrap_or_else(|what: String| panic!("{what}"));
}

#[test]
fn who_stops_leaves_leadership_to_a_node_that_has_room() {
    let scene = |full| {
        let mut cluster = Cluster::quiet(3)?;
        cluster.be_busy();
        let first = cluster.first();
        let (full, other) = ((first + full) % 3, (first + 3 - full) % 3);
        cluster.fill(full);
        cluster.until("the follower is short", |it| it.is_short(full))?;
        cluster.while_for(1_000_000, "the first leads", |it| it.leads(first))?;
        assert!(cluster.stop(first), "nothing keeps it from that");
        cluster.until("another leads", |it| it.leading().is_some_and(|leader| leader != first))?;
        match cluster.leading() == Some(other) {
            true => Ok(()),
            false => Err(format!("{full} leads, which has no room")),
        }
    };
    for full in [1, 2] {
        scene(full).unwrap_or_else(|what: String| panic!("{what}"));
    }
}
