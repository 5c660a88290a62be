//! What the nodes tell of their replicas, and waiting until all is well.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::harness::client::{Client, encode};
use crate::harness::nodes::Nodes;

/// One shard's replica on a node, of `INFO raft`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) role: String,
    pub(crate) term: u64,
    /// 0 for none.
    pub(crate) leader: usize,
    pub(crate) commit: u64,
    pub(crate) applied: u64,
    pub(crate) last: u64,
}

/// The replicas on a node, by shard; nothing if it does not answer.
pub(crate) fn of_node(nodes: &Nodes, id: usize) -> Option<Vec<Replica>> {
    let mut client =
        Client::try_connect(SocketAddr::from((Ipv4Addr::LOCALHOST, nodes.port(id)))).ok()?;
    client.try_send(encode(&["INFO", "raft"])).ok()?;
    let text = client.read_within(Duration::from_secs(3)).ok()?.text();
    let shards = text.lines().filter(|line| line.starts_with("shard"));
    Some(shards.map(read).collect())
}

fn read(line: &str) -> Replica {
    let (_, fields) = line.split_once(':').expect("a shard and its fields");
    let fields: BTreeMap<&str, &str> =
        fields.split(',').filter_map(|field| field.split_once('=')).collect();
    let number = |name| fields.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    Replica {
        role: fields.get("role").copied().unwrap_or_default().to_owned(),
        term: number("term"),
        leader: usize::try_from(number("leader")).expect("few nodes"),
        commit: number("commit"),
        applied: number("applied"),
        last: number("last"),
    }
}

/// All nodes' replicas, while all of them answer.
pub(crate) fn of_all(nodes: &Nodes) -> Option<Vec<Vec<Replica>>> {
    (1..=nodes.count()).map(|id| of_node(nodes, id)).collect()
}

/// The node that serves a shard, if one of those that are asked says so of itself.
pub(crate) fn leader(nodes: &Nodes, ids: &[usize], shard: usize) -> Option<usize> {
    let leads = |id: &&usize| {
        of_node(nodes, **id).is_some_and(|all| all.get(shard).is_some_and(|it| it.role == "leader"))
    };
    ids.iter().find(leads).copied()
}

/// Waits until these nodes' replicas agree on who leads, and all have what the leader had a moment ago, though it may
/// have more by now; twice, since a node that has just been started may not have been heard yet.
pub(crate) fn wait_until_caught_up(nodes: &Nodes, patience: Duration) -> Duration {
    let begun = Instant::now();
    let mut wanted: Option<Vec<Vec<Replica>>> = None;
    let mut rounds = 0;
    while rounds < 3 {
        let now = of_all(nodes).filter(|now| is_led(now));
        let is_there = match (&wanted, &now) {
            (Some(wanted), Some(now)) => have_applied(now, wanted),
            _ => false,
        };
        if is_there {
            rounds += 1;
        }
        if is_there || wanted.is_none() {
            wanted.clone_from(&now);
        }
        assert!(begun.elapsed() < patience, "not caught up in {patience:?}: {now:#?}");
        std::thread::sleep(Duration::from_millis(60));
    }
    begun.elapsed()
}

/// Waits until all replicas have the same, while nobody writes.
pub(crate) fn wait_until_equal(nodes: &Nodes, patience: Duration) {
    let begun = Instant::now();
    loop {
        let now = of_all(nodes);
        let equal = |now: &Vec<Vec<Replica>>| {
            let place = |it: &Replica| (it.term, it.leader, it.last, it.last, it.last);
            let own = |it: &Replica| (it.term, it.leader, it.last, it.commit, it.applied);
            let first = now[0].iter().map(place).collect::<Vec<_>>();
            is_led(now) && now.iter().all(|all| all.iter().map(own).eq(first.iter().copied()))
        };
        if now.as_ref().is_some_and(equal) {
            return;
        }
        assert!(begun.elapsed() < patience, "not equal in {patience:?}: {now:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn is_led(now: &[Vec<Replica>]) -> bool {
    (0..now[0].len()).all(|shard| {
        let leader = now[0][shard].leader;
        let is_one = now.iter().all(|node| node[shard].leader == leader);
        is_one && leader > 0 && now[leader - 1][shard].role == "leader"
    })
}

fn have_applied(now: &[Vec<Replica>], wanted: &[Vec<Replica>]) -> bool {
    let last = |shard: usize| wanted.iter().map(|node| node[shard].applied).max();
    now.iter()
        .all(|node| node.iter().enumerate().all(|(shard, it)| Some(it.applied) >= last(shard)))
}
