//! `ringmain cluster recover`: after a majority was lost for good, a node that is stopped is made to go on alone with
//! what is in its directory.
//!
//! In this order, so that it can be interrupted and given again: the lost nodes are written down as removed, then shard
//! by shard this node becomes the only voter. Nothing of a log is changed.

use std::collections::BTreeSet;
use std::path::Path;

use super::options::Recover;
use super::{Failure, say};
use crate::log::{Configuration, HardState};
use crate::log_cli::survey::{HardStateSeen, Survey};
use crate::node::Directory;
use crate::runtime::Folder;
use crate::server::data_dir::DataDir;
use crate::server::nodes_file;
use crate::types::{LogIndex, NodeId, ShardId, Term};

type Ids = BTreeSet<NodeId>;

/// A shard as it was found.
#[derive(Debug)]
struct Found {
    shard: ShardId,
    state: HardState,
    /// The last entry that is here.
    last: (LogIndex, Term),
    /// The newest configuration that is here, committed or not.
    newest: Configuration,
}

/// What is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Plan {
    /// Nothing, for this reason.
    Leave(String),
    /// This node goes on alone; these have it too, and give it up.
    Alone(Ids),
}

/// Does it, or tells what would be done.
pub(super) fn run(options: &Recover) -> Result<(), Failure> {
    let data = DataDir::open_existing(&options.dir);
    let data = data.map_err(|error| Failure::Nonsense(error.to_string()))?;
    let found = look(&data, &options.dir)?;
    let mut nodes = nodes_file::read(&options.dir).map_err(Failure::Lost)?;
    let Some(me) = found.first().map(|it| it.state.node) else { return Ok(()) };
    if nodes.is_removed(me) {
        return Err(Failure::Nonsense(format!(
            "Node {} was removed from the cluster: what is here is old. Recover another.",
            me.0
        )));
    }
    let shards = shards(options.shard, found.len())?;
    let lost = lost(&options.lost, &nodes, &found, me)?;
    let new: Ids = lost.iter().copied().filter(|id| !nodes.is_removed(*id)).collect();
    let plans: Vec<(&Found, Plan)> = found
        .iter()
        .filter(|it| shards.contains(&it.shard.0))
        .map(|it| (it, it.plan(me, &lost)))
        .collect();
    plans.iter().for_each(|(it, plan)| say(&it.tell(me, plan)));
    if !plans.iter().any(|(_, plan)| matches!(plan, Plan::Alone(_))) {
        say("nothing to recover\n");
        return Ok(());
    }
    say(&warning(me, &lost, &new));
    if !options.yes {
        return Err(Failure::Lost("Nothing was changed: with --yes this is done.".to_owned()));
    }
    let failed = |error: std::io::Error| {
        Failure::Lost(format!(
            "'{}' can't be written ({error}): give the command again when that is mended.",
            options.dir.display()
        ))
    };
    for id in &new {
        nodes.remove(*id);
    }
    nodes_file::write(&options.dir, &nodes.to_text()).map_err(failed)?;
    for (it, _) in plans.iter().filter(|(_, plan)| matches!(plan, Plan::Alone(_))) {
        let mut folder = Folder::open(&options.dir, it.shard).map_err(failed)?;
        it.state.alone(it.last).save(&mut folder).map_err(failed)?;
    }
    say(&format!(
        "node {} goes on alone: start it, then take others in with 'ringmain cluster add-node'\n",
        me.0
    ));
    Ok(())
}

/// Looks through all shards, of which none may be damaged.
fn look(data: &DataDir, dir: &Path) -> Result<Vec<Found>, Failure> {
    let mut found: Vec<Found> = Vec::new();
    for shard in (0..data.layout().shards).map(ShardId) {
        let unreadable = |error: std::io::Error| {
            Failure::Lost(format!("Shard {} can't be read ({error}).", shard.0))
        };
        let survey = Survey::of(data, shard).map_err(unreadable)?;
        let state = match &survey.hard_state {
            HardStateSeen::None => {
                return Err(Failure::Nonsense(format!(
                    "'{}' is not the directory of a node of a cluster.",
                    dir.display()
                )));
            }
            HardStateSeen::Whole(state) if survey.is_well() => HardState::clone(state),
            HardStateSeen::Whole(_) | HardStateSeen::Damaged(_) => {
                return Err(Failure::Lost(format!(
                    "Shard {} is damaged: see 'ringmain log verify {}'. Recover another node, if there is one.",
                    shard.0,
                    dir.display()
                )));
            }
        };
        if let Some(first) = found.first().filter(|first| first.state.node != state.node) {
            return Err(Failure::Lost(format!(
                "Shard {} is node {}'s, and shard {} node {}'s: put back what belongs here.",
                first.shard.0, first.state.node.0, shard.0, state.node.0
            )));
        }
        let logged = survey.configuration.clone();
        let logged = logged.filter(|it| it.version > state.configuration.version);
        found.push(Found {
            shard,
            last: (survey.last_index, survey.last_term),
            newest: logged.unwrap_or_else(|| state.configuration.clone()),
            state,
        });
    }
    Ok(found)
}

/// The shards that are meant, of so many.
fn shards(given: Option<u16>, count: usize) -> Result<BTreeSet<u16>, Failure> {
    let all = (0..u16::try_from(count).unwrap_or(u16::MAX)).collect::<BTreeSet<u16>>();
    match given {
        None => Ok(all),
        Some(shard) if all.contains(&shard) => Ok(BTreeSet::from([shard])),
        Some(shard) => Err(Failure::Nonsense(format!(
            "--shard can't be {shard}: there are the shards 0 to {}.",
            count.saturating_sub(1)
        ))),
    }
}

/// The nodes that are gone for good: those that are said to be, or all others; and those that were removed before.
fn lost(given: &[u64], nodes: &Directory, found: &[Found], me: NodeId) -> Result<Ids, Failure> {
    let known = nodes.entries().map(|entry| entry.id);
    let replicas =
        found.iter().flat_map(|it| it.newest.nodes().chain(it.state.configuration.nodes()));
    let mut others: Ids = known.chain(replicas).collect();
    others.remove(&me);
    if given.is_empty() {
        return Ok(others);
    }
    let given: Ids = given.iter().copied().map(NodeId).collect();
    if given.contains(&me) {
        return Err(Failure::Nonsense(format!("This is node {} itself: it is not lost.", me.0)));
    }
    if let Some(unknown) = given.difference(&others).next() {
        return Err(Failure::Nonsense(format!(
            "There is no node {} in the cluster: the others are {}.",
            unknown.0,
            text(&others)
        )));
    }
    Ok(others.into_iter().filter(|id| given.contains(id) || nodes.is_removed(*id)).collect())
}

impl Found {
    fn plan(&self, me: NodeId, lost: &Ids) -> Plan {
        if !self.newest.has(me) && !self.state.configuration.has(me) {
            return Plan::Leave("no replica of it is here".to_owned());
        }
        // Nobody here knows whether the newest was committed: only a majority in both goes on for certain.
        let known = [&self.newest, &self.state.configuration];
        let left = known.map(|it| it.voters.iter().copied().filter(|id| !lost.contains(id)));
        let left: [Ids; 2] = left.map(Iterator::collect);
        let goes_on = |(it, left): (&&Configuration, &Ids)| {
            it.voters.is_empty() || left.len() > it.voters.len() / 2
        };
        if known.iter().zip(&left).all(goes_on) {
            let (left, count) = (left[0].len(), self.newest.voters.len());
            return Plan::Leave(format!("{left} of its {count} voters are left, and go on"));
        }
        Plan::Alone(left.into_iter().flatten().filter(|id| *id != me).collect())
    }

    /// A line for a person.
    fn tell(&self, me: NodeId, plan: &Plan) -> String {
        let (last, of_last) = self.last;
        let voters = text(&self.newest.voters.iter().copied().collect());
        let has = match last {
            LogIndex(0) => "nothing of it is here".to_owned(),
            _ => format!("up to entry {} of term {}", last.0, of_last.0),
        };
        let what = match plan {
            Plan::Leave(why) => format!("{why}: nothing is done"),
            Plan::Alone(others) => {
                let learns =
                    if self.newest.has_voter(me) { "" } else { ", which was still learning," };
                let empty = if last == LogIndex(0) { ", EMPTY" } else { "" };
                let given_up = match others.is_empty() {
                    true => String::new(),
                    false => format!("; what nodes {} have of it is given up", text(others)),
                };
                format!("node {}{learns} goes on alone{empty}{given_up}", me.0)
            }
        };
        format!("shard {}: {has}, voters {voters}: {what}\n", self.shard.0)
    }
}

fn warning(me: NodeId, lost: &Ids, new: &Ids) -> String {
    let removed = match new.is_empty() {
        true => String::new(),
        false => format!("Nodes {} are removed from the cluster for good.\n", text(new)),
    };
    format!(
        "{removed}Acknowledged writes that only others than node {} had are lost. Make sure that none of the nodes \
         {} runs any more: where they make up a majority and don't reach node {0}, they go on as another cluster.\n",
        me.0,
        text(lost)
    )
}

fn text(ids: &Ids) -> String {
    match ids.is_empty() {
        true => "none".to_owned(),
        false => ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::{Configuration, Found, HardState, Ids, LogIndex, NodeId, Plan, ShardId, Term};

    fn ids(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn only_what_has_lost_its_majority_goes_on_alone() {
        let me = NodeId(4);
        let alone = |others: &[u64]| Plan::Alone(ids(others).into_iter().collect());
        let leave = |why: &str| Plan::Leave(why.to_owned());
        for (voters, learners, lost, plan) in [
            (&[1, 2, 4][..], &[][..], &[1, 2][..], alone(&[])),
            (&[1, 2, 4, 5], &[], &[1, 2], alone(&[5])),
            (&[1, 2, 3], &[4], &[1, 2], alone(&[3])),
            (&[1, 4, 5], &[], &[1, 2], leave("2 of its 3 voters are left, and go on")),
            (&[1, 2, 3], &[], &[1, 2, 3], leave("no replica of it is here")),
            (&[4], &[], &[1, 2, 3], leave("1 of its 1 voters are left, and go on")),
            (&[], &[], &[1, 2], leave("no replica of it is here")),
        ] {
            let mut newest = Configuration::first(ids(voters));
            newest.learners = ids(learners);
            let state = HardState::first((ShardId(0), [7; 16]), me, Vec::new());
            let last = (LogIndex(9), Term(3));
            let found = Found { shard: ShardId(0), state, last, newest };
            let lost: Ids = ids(lost).into_iter().collect();
            assert_eq!(found.plan(me, &lost), plan, "{voters:?} {learners:?}");
        }
    }

    #[test]
    fn a_change_of_voters_that_may_not_have_been_committed_is_not_relied_on() {
        let me = NodeId(4);
        let plan = |committed: &[u64], newest: &[u64], lost: &[u64]| {
            let state = HardState::first((ShardId(0), [7; 16]), me, ids(committed));
            let newest = Configuration::first(ids(newest));
            let found = Found { shard: ShardId(0), state, last: (LogIndex(9), Term(3)), newest };
            found.plan(me, &ids(lost).into_iter().collect())
        };
        let alone = |others: &[u64]| Plan::Alone(ids(others).into_iter().collect());
        // Node 1 was to be removed, or 5 taken in, when 1 and 2 were lost.
        assert_eq!(plan(&[1, 2, 4], &[2, 4, 5], &[1, 2]), alone(&[5]));
        assert_eq!(plan(&[1, 4, 5], &[1, 2, 4, 5], &[1, 2]), alone(&[5]));
        let goes_on = Plan::Leave("3 of its 4 voters are left, and go on".to_owned());
        assert_eq!(plan(&[2, 4, 5], &[1, 2, 4, 5], &[1]), goes_on);
    }

    #[test]
    fn who_goes_on_alone_is_ahead_of_all_others() {
        let mut state = HardState::first((ShardId(0), [7; 16]), NodeId(4), ids(&[1, 2, 4]));
        state.vote = Some(NodeId(1));
        let last = (LogIndex(9), Term(3));
        let alone = state.alone(last);
        assert_eq!(alone.configuration.voters, ids(&[4]));
        assert!(alone.term > last.1 && alone.configuration.version > (Term(3), LogIndex(100)));
        assert_eq!((alone.vote, alone.generation), (None, 1));
        assert_eq!(HardState::decode(&alone.encode()), Some(alone));
    }
}
