//! Brings a cluster's shards from what they are to what they should be: step by step, each seen to be done before the
//! next, from what the nodes tell at the moment. So it can be interrupted, and asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::options::Server;
use super::placement::Voters;
use super::view::{Line, Picture};
use super::{Failure, say};

/// Shards that are changed at a time: others are left in peace meanwhile.
const AT_ONCE: usize = 8;
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Time without any progress after which it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time after which a step that has not come to be is asked for again.
const AGAIN: Duration = Duration::from_secs(2);

/// What is to become of the shards; of those that are not named, nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Goal {
    /// Who votes.
    pub(super) voters: Voters,
    /// Who leads; any of them where nobody is named.
    pub(super) leaders: BTreeMap<u16, u64>,
}

/// What is to be done next for a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// It is as it should be.
    Done,
    /// Something is on its way.
    Wait(String),
    /// The leader is to be asked this.
    Ask(u64, &'static str, u64),
}

/// The next step of a shard, of which its leader tells `line`.
fn next_step(told: Option<(u64, &Line)>, voters: &BTreeSet<u64>, lead: Option<u64>) -> Step {
    let Some((leader, line)) = told else { return Step::Wait("it has no leader".to_owned()) };
    let (vote, learn) = (line.nodes("voters"), line.nodes("learners"));
    if let Some(node) = voters.difference(&vote).next() {
        return match learn.contains(node) {
            true => Step::Wait(format!("node {node} is catching up")),
            false => Step::Ask(leader, "ADD", *node),
        };
    }
    let is_extra = |node: &&u64| !voters.contains(node);
    let successor = lead.or_else(|| voters.iter().next().copied());
    if let Some(successor) =
        successor.filter(|to| *to != leader && (lead.is_some() || !voters.contains(&leader)))
    {
        return Step::Ask(leader, "LEAD", successor);
    }
    match vote.iter().chain(&learn).find(is_extra) {
        Some(node) => Step::Ask(leader, "REMOVE", *node),
        None => Step::Done,
    }
}

/// Has all shards come to the goal.
pub(super) fn reach(server: &Server, goal: &Goal) -> Result<(), Failure> {
    let mut open: Vec<u16> = goal.voters.keys().copied().collect();
    let mut asked: BTreeMap<u16, (Step, Instant)> = BTreeMap::new();
    let mut progress = Progress::new();
    let mut servers = vec![server.clone()];
    while !open.is_empty() {
        let picture = match Picture::take_of_any(&servers) {
            Ok(picture) => picture,
            Err(failure) => {
                progress.check(String::new(), &failure.to_string())?;
                std::thread::sleep(PAUSE);
                continue;
            }
        };
        servers = picture.servers();
        let mut done: BTreeSet<u16> = BTreeSet::new();
        let (mut seen, mut obstacle) = (String::new(), String::new());
        for shard in open.iter().copied().take(AT_ONCE) {
            let told = picture.leader(shard);
            let voters = goal.voters.get(&shard).cloned().unwrap_or_default();
            let step = next_step(told, &voters, goal.leaders.get(&shard).copied());
            // Entries that come show that it goes on.
            let peers = told.map_or("", |(_, line)| line.get("peers"));
            seen.push_str(&format!("{shard} {step:?} {peers}\n"));
            match &step {
                Step::Done => done.extend([shard]),
                Step::Wait(what) => obstacle = format!("shard {shard}: {what}"),
                Step::Ask(leader, what, node) => {
                    let last = asked.get(&shard).filter(|(last, _)| *last == step);
                    let is_new = last.is_none();
                    if last.is_some_and(|(_, at)| at.elapsed() < AGAIN) {
                        continue;
                    }
                    asked.insert(shard, (step.clone(), Instant::now()));
                    if is_new {
                        say(&told_of(shard, what, *node));
                    }
                    match ask(&picture, *leader, (shard, what, *node)) {
                        Ok(()) => obstacle = format!("shard {shard}: {what} of node {node}"),
                        Err(why) => obstacle = why,
                    }
                }
            }
        }
        open.retain(|shard| !done.contains(shard));
        progress.check(seen, &obstacle)?;
        if !open.is_empty() {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

fn told_of(shard: u16, what: &str, node: u64) -> String {
    match what {
        "ADD" => format!("shard {shard}: node {node} is to have a replica\n"),
        "REMOVE" => format!("shard {shard}: node {node} is to have none any more\n"),
        _ => format!("shard {shard}: node {node} is to lead\n"),
    }
}

/// Asks a leader; why it refuses, which may be over in a moment.
fn ask(
    picture: &Picture,
    leader: u64,
    (shard, what, node): (u16, &str, u64),
) -> Result<(), String> {
    let (shard, node) = (shard.to_string(), node.to_string());
    let args = [&b"CLUSTER"[..], b"SHARD", shard.as_bytes(), what.as_bytes(), node.as_bytes()];
    let mut connection = picture.connect(leader).map_err(|failure| failure.to_string())?;
    let answer = connection.ask(&args).map_err(|failure| failure.to_string())?;
    answer.map(drop)
}

/// Whether something goes on.
pub(super) struct Progress {
    seen: String,
    since: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { seen: String::new(), since: Instant::now() }
    }

    /// Fails if what is seen has been the same for too long.
    pub(super) fn check(&mut self, seen: String, obstacle: &str) -> Result<(), Failure> {
        if self.seen != seen {
            (self.seen, self.since) = (seen, Instant::now());
        }
        if self.since.elapsed() < PATIENCE {
            return Ok(());
        }
        Err(Failure::Lost(format!(
            "Nothing has come of it for {} s ({}): see 'ringmain cluster status', then give the same command \
             again; it goes on where it was.",
            PATIENCE.as_secs(),
            obstacle.trim_end_matches('.')
        )))
    }
}

/// Waits until `look` finds something.
pub(super) fn wait<T>(
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let mut progress = Progress::new();
    loop {
        let obstacle = match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => what.to_owned(),
            Err(failure @ Failure::Nonsense(_)) => return Err(failure),
            Err(Failure::Lost(why)) => why,
        };
        progress.check(String::new(), &obstacle)?;
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::{BTreeSet, Step, next_step};
    use crate::cluster_cli::view::View;

    #[test]
    fn one_step_comes_after_another() {
        let wait = |what: &str| Step::Wait(what.to_owned());
        for (leader, voters, learners, goal, lead, step) in [
            (1, "1/2/3", "", &[1, 2, 3][..], None, Step::Done),
            (1, "1/2/3", "", &[1, 2, 3, 4], None, Step::Ask(1, "ADD", 4)),
            (1, "1/2/3", "4", &[1, 2, 3, 4], None, wait("node 4 is catching up")),
            (1, "1/2/3/4", "", &[1, 2, 3, 4], None, Step::Done),
            (2, "1/2/3", "", &[1, 2, 3], Some(3), Step::Ask(2, "LEAD", 3)),
            // One is added before another goes, and who goes does not lead.
            (1, "1/2/3", "", &[2, 3, 4], None, Step::Ask(1, "ADD", 4)),
            (1, "1/2/3/4", "", &[2, 3, 4], None, Step::Ask(1, "LEAD", 2)),
            (1, "1/2/3/4", "", &[2, 3, 4], Some(4), Step::Ask(1, "LEAD", 4)),
            (2, "1/2/3/4", "", &[2, 3, 4], None, Step::Ask(2, "REMOVE", 1)),
            (2, "2/3/4", "5", &[2, 3, 4], None, Step::Ask(2, "REMOVE", 5)),
        ] {
            let info = format!(
                "node_id:{leader}\nshard0:role=leader,voters={voters},learners={learners},peers=\n"
            );
            let view = View::read(&info).unwrap();
            let goal: BTreeSet<u64> = goal.iter().copied().collect();
            let told = Some((leader, &view.shards[&0]));
            assert_eq!(next_step(told, &goal, lead), step, "{info} {goal:?} {lead:?}");
        }
        let goal = BTreeSet::from([1]);
        assert_eq!(next_step(None, &goal, None), wait("it has no leader"));
    }
}
