//! What an operator does to a cluster that runs: begins it, adds and removes nodes, moves replicas and leadership.
//!
//! Each command looks at how the cluster is, does what is missing, and waits until that has come to be. So whoever
//! was interrupted gives the same command again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::ToSocketAddrs as _;

use super::change::{Goal, reach, wait};
use super::options::{
    AddNode, Init, NodeAddress, Rebalance, RemoveNode, Replace, Server, Transfer,
};
use super::placement::{Voters, spread, spread_leaders};
use super::view::{Picture, View};
use super::{Failure, say};

/// `ringmain cluster init`: blank nodes become a cluster.
pub(super) fn init(options: &Init) -> Result<(), Failure> {
    let servers: Vec<Server> = options.nodes.iter().map(|node| options.server_at(node)).collect();
    let mut nodes: BTreeMap<u64, (&Server, View)> = BTreeMap::new();
    for (server, asked) in servers.iter().zip(&options.nodes) {
        let view = View::of(server)?;
        let id = view.node;
        if asked.id.is_some_and(|asked| asked != id) {
            return Err(Failure::Nonsense(format!("The node at {asked} is node {id}: name that.")));
        }
        if nodes.insert(id, (server, view)).is_some() {
            return Err(Failure::Nonsense(format!(
                "Node {id} is named twice: name each node once, and give each a --node-id of its own."
            )));
        }
    }
    let ids: BTreeSet<u64> = nodes.keys().copied().collect();
    check_alike(&nodes, &ids)?;
    let Some((first, _)) = nodes.values().next() else { return Ok(()) };
    for (id, (server, view)) in nodes.iter().skip(1) {
        say(&format!("node {id} is to be known to the others\n"));
        meet(first, server, view)?;
    }
    wait("not all nodes are linked to each other", || {
        let views = nodes.values().map(|(server, _)| View::of(server));
        let views = views.collect::<Result<Vec<View>, Failure>>()?;
        Ok(views.iter().all(|view| hears_from(view, &ids)).then_some(()))
    })?;
    let words: Vec<String> = ids.iter().map(u64::to_string).collect();
    let mut args = vec![&b"CLUSTER"[..], b"FOUND"];
    args.extend(words.iter().map(String::as_bytes));
    for (id, (server, _)) in &nodes {
        say(&format!("node {id} is to begin\n"));
        tell(server, &args)?;
    }
    let picture = wait("not all shards have a leader", || {
        let picture = Picture::take(first, false)?;
        let is_led =
            |shard: u16| picture.leader(shard).is_some_and(|(_, line)| line.nodes("voters") == ids);
        let is_ready = picture.views.len() == ids.len() && picture.shards().all(is_led);
        Ok(is_ready.then_some(picture))
    })?;
    let shards = picture.shards().count();
    say(&format!("a cluster has begun: {} nodes, {shards} shards\n", ids.len()));
    Ok(())
}

/// Whether nodes can begin together: they have as many shards, and none has begun with others.
fn check_alike(nodes: &BTreeMap<u64, (&Server, View)>, ids: &BTreeSet<u64>) -> Result<(), Failure> {
    let counts: BTreeSet<usize> = nodes.values().map(|(_, view)| view.shards.len()).collect();
    if counts.len() > 1 {
        return Err(Failure::Nonsense(
            "The nodes have different numbers of shards: start all of them with the same --shards."
                .to_owned(),
        ));
    }
    for (id, (_, view)) in nodes {
        let others = view.shards.values().map(|line| line.nodes("voters"));
        if others.into_iter().any(|voters| !voters.is_empty() && voters != *ids) {
            return Err(Failure::Nonsense(format!(
                "Node {id} is of a cluster already: see 'ringmain cluster status', and use 'ringmain cluster \
                 add-node' for one that has begun."
            )));
        }
    }
    Ok(())
}

/// Makes a node known to the cluster of another.
fn meet(known: &Server, new: &Server, view: &View) -> Result<(), Failure> {
    let port = new.port.to_string();
    let link_port = view.members.get(&view.node).map_or("", |own| own.get("cluster_port"));
    let addresses = (new.host.as_str(), new.port).to_socket_addrs();
    let address = addresses.ok().and_then(|mut addresses| addresses.next()).ok_or_else(|| {
        Failure::Nonsense(format!("'{}' has no address: name the node by another.", new.host))
    })?;
    let ip = address.ip().to_string();
    let args = [&b"CLUSTER"[..], b"MEET", ip.as_bytes(), port.as_bytes(), link_port.as_bytes()];
    tell(known, &args)
}

/// Asks a node for something that it does.
fn tell(server: &Server, args: &[&[u8]]) -> Result<(), Failure> {
    server.connect()?.ask(args)?.map(drop).map_err(|why| {
        Failure::Lost(format!("The node at {}:{} refuses: {why}.", server.host, server.port))
    })
}

/// Whether a node hears from these.
fn hears_from(view: &View, ids: &BTreeSet<u64>) -> bool {
    let is_up = |id: &u64| view.members.get(id).is_some_and(|member| member.get("up") == "1");
    ids.iter().all(|id| *id == view.node || is_up(id))
}

/// `ringmain cluster add-node`: a node comes and gets a replica of every shard.
pub(super) fn add_node(options: &AddNode) -> Result<(), Failure> {
    let id = join(&options.server, &options.node)?;
    if options.empty {
        say(&format!("node {id} is known to the others\n"));
        return Ok(());
    }
    let picture = Picture::take(&options.server, true)?;
    let mut goal = Goal { voters: voters(&picture)?, leaders: BTreeMap::new() };
    goal.voters.values_mut().for_each(|voters| voters.extend([id]));
    reach(&options.server, &goal)?;
    say(&format!("node {id} has a replica of all {} shards\n", goal.voters.len()));
    Ok(())
}

/// Has a node known to all others; its number.
fn join(server: &Server, node: &NodeAddress) -> Result<u64, Failure> {
    let new = server.at(&node.host, node.port);
    let view = View::of(&new)?;
    let id = view.node;
    if node.id.is_some_and(|asked| asked != id) {
        return Err(Failure::Nonsense(format!("The node at {node} is node {id}: name that.")));
    }
    let picture = Picture::take(server, true)?;
    if picture.seen.removed.contains(&id) {
        return Err(Failure::Nonsense(format!(
            "Node {id} was removed from the cluster: give the new one an empty directory and another --node-id."
        )));
    }
    let is_member = picture.seen.members.contains_key(&id);
    if !is_member && !view.is_blank() {
        return Err(Failure::Nonsense(format!(
            "Node {id} is of another cluster: give it an empty directory, and no --cluster-peers."
        )));
    }
    if view.shards.len() != picture.seen.shards.len() {
        return Err(Failure::Nonsense(format!(
            "Node {id} has {} shards and the cluster {}: start it with --shards {1}.",
            view.shards.len(),
            picture.seen.shards.len()
        )));
    }
    if !is_member {
        say(&format!("node {id} is to be known to the others\n"));
        meet(server, &new, &view)?;
    }
    wait("the node is not linked to all others", || {
        let picture = Picture::take(server, true)?;
        let all: BTreeSet<u64> = picture.views.keys().copied().chain([id]).collect();
        let is_linked = picture.views.values().all(|view| hears_from(view, &all));
        Ok((is_linked && picture.views.contains_key(&id)).then_some(()))
    })?;
    Ok(id)
}

/// Who votes on which shard.
fn voters(picture: &Picture) -> Result<Voters, Failure> {
    let of_shard = |shard: u16| match picture.leader(shard) {
        Some((_, line)) => Ok((shard, line.nodes("voters"))),
        None => Err(Failure::Lost(format!(
            "Shard {shard} has no leader: see to that first ('ringmain cluster status')."
        ))),
    };
    picture.shards().map(of_shard).collect()
}

/// `ringmain cluster remove-node`: a node gives all replicas away and goes.
pub(super) fn remove_node(options: &RemoveNode) -> Result<(), Failure> {
    leave(&options.server, options.node, None)
}

/// `ringmain cluster replace`: a node comes and takes the place of another.
pub(super) fn replace(options: &Replace) -> Result<(), Failure> {
    let new = join(&options.server, &options.new)?;
    leave(&options.server, options.old, Some(new))
}

/// A node goes; another takes its place, if one is named.
fn leave(server: &Server, id: u64, heir: Option<u64>) -> Result<(), Failure> {
    let picture = Picture::take(server, true)?;
    let is_removed = picture.seen.removed.contains(&id);
    // Who was removed by `recover` may still be counted on in shards that had no need of that.
    let counts =
        |shard| picture.leader(shard).is_some_and(|(_, it)| it.nodes("voters").contains(&id));
    if is_removed && !picture.shards().any(counts) {
        say(&format!("node {id} was removed before\n"));
        return Ok(());
    }
    if !is_removed && !picture.seen.members.contains_key(&id) {
        return Err(Failure::Nonsense(format!("There is no node {id} in the cluster.")));
    }
    if picture.seen.node == id {
        return Err(Failure::Nonsense(format!(
            "The server at {}:{} is node {id} itself: name one that stays with --host and --port.",
            server.host, server.port
        )));
    }
    if heir == Some(id) {
        return Err(Failure::Nonsense(format!("Node {id} can't take its own place.")));
    }
    let mut goal = Goal { voters: voters(&picture)?, leaders: BTreeMap::new() };
    for (shard, voters) in &mut goal.voters {
        if voters.remove(&id) {
            voters.extend(heir);
        }
        if voters.is_empty() {
            return Err(Failure::Nonsense(format!(
                "Node {id} is the only one with shard {shard}: add another node first."
            )));
        }
    }
    // Who leads goes on, where it stays; else those that lead fewest take over.
    let now: BTreeMap<u16, u64> =
        picture.shards().filter_map(|shard| Some((shard, picture.leader(shard)?.0))).collect();
    let led: Vec<u16> =
        now.iter().filter(|(_, leader)| **leader == id).map(|(it, _)| *it).collect();
    let next = spread_leaders(&goal.voters, &now);
    goal.leaders = next.into_iter().filter(|(shard, _)| led.contains(shard)).collect();
    reach(server, &goal)?;
    say(&format!("node {id} is to be removed\n"));
    tell(server, &[b"CLUSTER", b"FORGET", id.to_string().as_bytes()])?;
    wait("not all nodes know that it was removed", || {
        let picture = Picture::take(server, false)?;
        let knows = |view: &View| view.removed.contains(&id) && !view.members.contains_key(&id);
        let mut others = picture.views.iter().filter(|(node, _)| **node != id);
        Ok(others.all(|(_, view)| knows(view)).then_some(()))
    })?;
    say(&format!("node {id} was removed: it can be stopped\n"));
    Ok(())
}

/// `ringmain cluster transfer`: another node leads a shard.
pub(super) fn transfer(options: &Transfer) -> Result<(), Failure> {
    let Transfer { shard, to, .. } = *options;
    let picture = Picture::take(&options.server, true)?;
    let voters = voters(&picture)?;
    let Some(voters) = voters.get(&shard) else {
        return Err(Failure::Nonsense(format!("There is no shard {shard}.")));
    };
    if !voters.contains(&to) {
        return Err(Failure::Nonsense(format!(
            "Node {to} has no vote on shard {shard}: name one of {voters:?}."
        )));
    }
    let goal = Goal {
        voters: BTreeMap::from([(shard, voters.clone())]),
        leaders: BTreeMap::from([(shard, to)]),
    };
    reach(&options.server, &goal)?;
    say(&format!("node {to} leads shard {shard}\n"));
    Ok(())
}

/// `ringmain cluster rebalance`: replicas and leaders, evenly.
pub(super) fn rebalance(options: &Rebalance) -> Result<(), Failure> {
    let picture = Picture::take(&options.server, true)?;
    let members: BTreeSet<u64> = picture.seen.members.keys().copied().collect();
    if let Some(silent) = members.iter().find(|id| !picture.views.contains_key(id)) {
        return Err(Failure::Lost(format!(
            "Node {silent} does not answer: start it, or remove it with 'ringmain cluster remove-node', first."
        )));
    }
    let now = voters(&picture)?;
    let voters = match options.replicas {
        Some(replicas) if usize::from(replicas) > members.len() => {
            return Err(Failure::Nonsense(format!(
                "--replicas is {replicas}, and there are {} nodes: add some, or make it less.",
                members.len()
            )));
        }
        Some(replicas) => spread(&now, &members, replicas.into()),
        None => now.clone(),
    };
    let leaders =
        picture.shards().filter_map(|shard| Some((shard, picture.leader(shard)?.0))).collect();
    let next = spread_leaders(&voters, &leaders);
    let moved: usize = voters.iter().map(|(shard, new)| new.difference(&now[shard]).count()).sum();
    let given = next.iter().filter(|(shard, leader)| leaders.get(shard) != Some(leader)).count();
    say(&format!("{moved} replicas and the leadership of {given} shards are to move\n"));
    reach(&options.server, &Goal { voters, leaders: next })?;
    say("the cluster is balanced\n");
    Ok(())
}
