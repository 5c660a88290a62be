//! Which node should have replicas of which shard, and lead it: evenly, with as little to be moved as may be. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// The nodes that vote on each shard.
pub(super) type Voters = BTreeMap<u16, BTreeSet<u64>>;

/// Has `replicas` of `nodes` vote on each shard, none on two shards more than another.
///
/// Who votes stays where it can. Otherwise those nodes that have most give to those that have least; among equals the
/// one that rendezvous hashing names, so that two who plan come to the same.
pub(super) fn spread(now: &Voters, nodes: &BTreeSet<u64>, replicas: usize) -> Voters {
    let replicas = replicas.min(nodes.len());
    let mut next: Voters = now
        .iter()
        .map(|(shard, voters)| (*shard, voters.intersection(nodes).copied().collect()))
        .collect();
    let mut load: BTreeMap<u64, usize> = nodes.iter().map(|node| (*node, 0)).collect();
    for node in next.values().flatten() {
        *load.entry(*node).or_default() += 1;
    }
    for (shard, voters) in &mut next {
        while voters.len() > replicas {
            let Some(node) = most(&load, voters.iter().copied(), *shard) else { break };
            voters.remove(&node);
            *load.entry(node).or_default() -= 1;
        }
        while voters.len() < replicas {
            let Some(node) = least(&load, nodes.difference(voters).copied(), *shard) else { break };
            voters.insert(node);
            *load.entry(node).or_default() += 1;
        }
    }
    while let Some((shard, from, to)) = next_move(&next, &load) {
        if let Some(voters) = next.get_mut(&shard) {
            voters.remove(&from);
            voters.insert(to);
        }
        *load.entry(from).or_default() -= 1;
        *load.entry(to).or_default() += 1;
    }
    next
}

/// A replica that makes the load more even: its shard, where it is, where to.
fn next_move(now: &Voters, load: &BTreeMap<u64, usize>) -> Option<(u16, u64, u64)> {
    let mut best: Option<(usize, u64, u16, u64, u64)> = None;
    for (shard, voters) in now {
        for from in voters {
            for to in load.keys().filter(|to| !voters.contains(to)) {
                let gap = load.get(from)?.saturating_sub(*load.get(to)?);
                let one = (gap, weight(*to, *shard), *shard, *from, *to);
                if gap >= 2 && best.is_none_or(|best| one > best) {
                    best = Some(one);
                }
            }
        }
    }
    best.map(|(_, _, shard, from, to)| (shard, from, to))
}

/// Who is to lead each shard, of those that vote on it, so that each node leads about as many. Who leads goes on
/// where it can.
pub(super) fn spread_leaders(voters: &Voters, now: &BTreeMap<u16, u64>) -> BTreeMap<u16, u64> {
    let mut load: BTreeMap<u64, usize> = voters.values().flatten().map(|node| (*node, 0)).collect();
    let mut leaders = BTreeMap::new();
    for (shard, voters) in voters {
        let stays = now.get(shard).copied().filter(|leader| voters.contains(leader));
        if let Some(leader) = stays.or_else(|| least(&load, voters.iter().copied(), *shard)) {
            leaders.insert(*shard, leader);
            *load.entry(leader).or_default() += 1;
        }
    }
    while let Some(path) = relief(voters, &leaders, &load) {
        for (shard, to) in path {
            if let Some(from) = leaders.insert(shard, to) {
                *load.entry(from).or_default() -= 1;
            }
            *load.entry(to).or_default() += 1;
        }
    }
    leaders
}

/// Shards that, each led by another of their voters, take one from a node that leads most and give one to a node that
/// leads at least two fewer; those between lead as many as before.
fn relief(
    voters: &Voters,
    leaders: &BTreeMap<u16, u64>,
    load: &BTreeMap<u64, usize>,
) -> Option<Vec<(u16, u64)>> {
    let mut by_load: Vec<u64> = load.keys().copied().collect();
    by_load.sort_by_key(|node| std::cmp::Reverse(load.get(node)));
    for from in by_load {
        // Breadth first: the shortest way moves least.
        let mut ways: Vec<(u64, Vec<(u16, u64)>)> = vec![(from, Vec::new())];
        let mut seen = BTreeSet::from([from]);
        let mut at = 0;
        while let Some((node, way)) = ways.get(at).cloned() {
            at += 1;
            for (shard, _) in leaders.iter().filter(|(_, leader)| **leader == node) {
                for to in voters.get(shard).into_iter().flatten() {
                    if seen.insert(*to) {
                        ways.push((*to, [&way[..], &[(*shard, *to)]].concat()));
                    }
                }
            }
        }
        let load_of = |node: &u64| load.get(node).copied().unwrap_or_default();
        ways.retain(|(to, _)| load_of(to) + 2 <= load_of(&from));
        if let Some((_, way)) = ways.into_iter().min_by_key(|(to, _)| load_of(to)) {
            return Some(way);
        }
    }
    None
}

fn most(load: &BTreeMap<u64, usize>, nodes: impl Iterator<Item = u64>, shard: u16) -> Option<u64> {
    nodes.max_by_key(|node| (load.get(node).copied(), std::cmp::Reverse(weight(*node, shard))))
}

fn least(load: &BTreeMap<u64, usize>, nodes: impl Iterator<Item = u64>, shard: u16) -> Option<u64> {
    nodes.min_by_key(|node| (load.get(node).copied(), std::cmp::Reverse(weight(*node, shard))))
}

/// The weight of a node for a shard, as in rendezvous hashing: the greater, the rather it has it.
fn weight(node: u64, shard: u16) -> u64 {
    // SplitMix64.
    let mut hash = (node << 16 | u64::from(shard)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, BTreeSet, Voters, spread, spread_leaders};

    fn nodes(ids: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
        ids.into_iter().collect()
    }

    fn moved(before: &Voters, after: &Voters) -> usize {
        before.iter().map(|(shard, voters)| after[shard].difference(voters).count()).sum()
    }

    fn range(loads: &BTreeMap<u64, usize>) -> usize {
        let least = loads.values().min().copied().unwrap_or_default();
        loads.values().max().map_or(0, |most| most - least)
    }

    fn load(voters: &Voters, of: &BTreeSet<u64>) -> BTreeMap<u64, usize> {
        let count = |node: &u64| voters.values().filter(|voters| voters.contains(node)).count();
        of.iter().map(|node| (*node, count(node))).collect()
    }

    #[test]
    fn replicas_are_spread_and_few_move() {
        let three = nodes(1..=3);
        let begin: Voters = (0..16).map(|shard| (shard, three.clone())).collect();
        assert_eq!(spread(&begin, &three, 3), begin, "nothing is to be done");
        for count in 4..=9 {
            let all = nodes(1..=count);
            let after = spread(&begin, &all, 3);
            assert!(after.values().all(|voters| voters.len() == 3));
            assert!(range(&load(&after, &all)) <= 1, "{count} nodes: {after:?}");
            // What the new ones have is all that moves.
            let new = 48 - load(&after, &three).values().sum::<usize>();
            assert_eq!(moved(&begin, &after), new, "{count} nodes");
            assert_eq!(spread(&after, &all, 3), after, "it is at rest");
            // One leaves: no more than it had moves.
            let fewer = nodes(2..=count);
            let left = spread(&after, &fewer, 3);
            assert!(range(&load(&left, &fewer)) <= 1 && left.values().all(|it| it.len() == 3));
            assert!(moved(&after, &left) <= load(&after, &all)[&1] + 1, "{count} nodes");
        }
        assert!(spread(&begin, &three, 5).values().all(|voters| voters.len() == 3));
        assert!(spread(&begin, &three, 1).values().all(|voters| voters.len() == 1));
    }

    #[test]
    fn leaders_are_spread_and_few_move() {
        let three = nodes(1..=3);
        let voters: Voters = (0..16).map(|shard| (shard, three.clone())).collect();
        let all_at_one: BTreeMap<u16, u64> = (0..16).map(|shard| (shard, 1)).collect();
        let count = |leaders: &BTreeMap<u16, u64>| {
            let of = |node: &u64| leaders.values().filter(|leader| *leader == node).count();
            three.iter().map(|node| (*node, of(node))).collect()
        };
        let after = spread_leaders(&voters, &all_at_one);
        assert_eq!(range(&count(&after)), 1);
        assert_eq!(count(&after)[&1], 6, "it keeps what it may: {after:?}");
        assert_eq!(spread_leaders(&voters, &after), after);
        // Nobody votes on all: one gives to another by way of a third.
        let of = |shard: u16| if shard < 4 { nodes([1, 2]) } else { nodes([2, 3]) };
        let voters: Voters = (0..6).map(|shard| (shard, of(shard))).collect();
        let now = (0..6).map(|shard| (shard, if shard < 4 { 1 } else { 2 })).collect();
        let after = spread_leaders(&voters, &now);
        assert_eq!(range(&count(&after)), 0, "{after:?}");
    }
}
