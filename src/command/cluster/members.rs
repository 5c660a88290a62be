//! The subcommands of `CLUSTER` by which an operator changes who is in the cluster, who has replicas of what, and who
//! leads. They ask and don't wait: whether it has come to be is seen in `INFO raft`.

use std::net::{IpAddr, SocketAddr};

use super::{Answer, Command, Flags, Group};
use crate::command::{Error, SessionCx, numbers};
use crate::config::value::cluster_port_beside;
use crate::limits::{DATABASES, NODES_MAX};
use crate::node::members::Found;
use crate::node::replica_stats::{ReplicaRequest, ReplicaState};
use crate::node::{Node, Role, Wish};
use crate::protocol::{Args, Reply};
use crate::types::{DbIndex, NodeId, ShardId};

/// `CLUSTER FAILOVER [FORCE | TAKEOVER]`
pub(super) const FAILOVER: Command = row("failover", -2, failover)
    .doc("3.0.0", "Has this node lead what it follows.")
    .cost("O(N) in the number of shards");
/// `CLUSTER FORGET node`
pub(super) const FORGET: Command = row("forget", 3, forget)
    .doc("3.0.0", "Removes a node that has no replicas from the cluster, for good.");
/// `CLUSTER FOUND node ...`
pub(super) const FOUND: Command = row("found", -3, found)
    .doc("0.1.0", "Begins a cluster of these nodes, of which this is one; all of them are told.")
    .cost("O(N) in the number of shards");
/// `CLUSTER MEET ip port [cluster-bus-port]`
pub(super) const MEET: Command =
    row("meet", -4, meet).doc("3.0.0", "Makes this node and another known to each other.");
/// `CLUSTER REPLICATE node`
pub(super) const REPLICATE: Command = row("replicate", 3, replicate)
    .doc("3.0.0", "Has this node take part in the shards that another leads.")
    .cost("O(N) in the number of shards");
/// `CLUSTER RESET [HARD | SOFT]`
pub(super) const RESET: Command = Command::session("reset", -2, Group::Cluster, reset)
    .with(Flags::ADMIN.union(Flags::STALE).union(Flags::NOSCRIPT))
    .doc("3.0.0", "Has a node without replicas forget the cluster.")
    .cost("O(N) in the number of shards");
/// `CLUSTER SHARD shard ADD | REMOVE | LEAD node`
pub(super) const SHARD: Command =
    row("shard", 5, shard).doc("0.1.0", "Changes who has replicas of a shard, or leads it.");

const fn row(name: &'static str, arity: i8, handler: crate::command::SessionHandler) -> Command {
    let flags = Flags::STALE.union(Flags::ADMIN).union(Flags::NO_ASYNC_LOADING);
    Command::session(name, arity, Group::Cluster, handler).with(flags)
}

const ALONE: Error =
    Error::Static("ERR This server is no node of a cluster: start it with --node-id");
const CROWDED: Error = Error::Static("ERR Too much is asked for at once: try again in a moment");

/// This node, of a cluster that it was not removed from.
fn own_id(cx: &SessionCx<'_>) -> Result<NodeId, Error> {
    let me = cx.node.id.ok_or(ALONE)?;
    if cx.node.members.is_removed(me) {
        return Err(Error::Static("ERR This node was removed from the cluster"));
    }
    Ok(me)
}

pub(super) fn unknown(arg: &[u8]) -> Error {
    Error::Text(format!("ERR Unknown node {}", arg.escape_ascii()))
}

/// The member that an argument names, by its number or its id.
fn member(node: &Node, arg: &[u8]) -> Result<NodeId, Error> {
    match node.members.find(arg) {
        Some(Found::Member(id)) => Ok(id),
        Some(Found::Removed(_)) | None => Err(unknown(arg)),
    }
}

fn is_up(node: &Node, id: NodeId) -> bool {
    node.id == Some(id) || node.members.get(id).is_some_and(|member| member.is_up)
}

fn is_part(state: &ReplicaState, id: NodeId) -> bool {
    state.voters.contains(&id) || state.learners.contains(&id)
}

fn shards(node: &Node) -> impl Iterator<Item = ShardId> + use<> {
    (0..node.slots.shard_count()).map(ShardId)
}

fn meet(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    own_id(cx)?;
    let text = |at: usize| String::from_utf8_lossy(args.at(at)).into_owned();
    if args.len() > 5 {
        return Err(Error::Arity("cluster|meet".to_owned()));
    }
    let number = |at: usize, name: &str| {
        numbers::parse_i64(args.at(at))
            .ok_or_else(|| Error::Text(format!("ERR Invalid {name} port specified: {}", text(at))))
    };
    let port = number(3, "base")?;
    let bus = if args.len() == 5 { Some(number(4, "bus")?) } else { None };
    let invalid =
        || Error::Text(format!("ERR Invalid node address specified: {}:{}", text(2), text(3)));
    let as_port =
        |port: i64| u16::try_from(port).ok().filter(|port| *port != 0).ok_or_else(invalid);
    let port = as_port(port)?;
    let bus = bus.map_or(Ok(cluster_port_beside(port)), as_port)?;
    let ip: IpAddr = text(2).parse().map_err(|_| invalid())?;
    if !cx.node.members.meet(SocketAddr::new(ip, bus)) {
        return Err(CROWDED);
    }
    reply.ok();
    Ok(())
}

fn forget(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let me = own_id(cx)?;
    let id = match cx.node.members.find(args.at(2)) {
        Some(Found::Member(id)) => id,
        // Another node has been told before, and has told this one.
        Some(Found::Removed(_)) => {
            reply.ok();
            return Ok(());
        }
        None => return Err(unknown(args.at(2))),
    };
    if id == me {
        return Err(Error::Static("ERR I tried hard but I can't forget myself..."));
    }
    if let Some(shard) = shards(cx.node).find(|it| is_part(&cx.node.replica(*it).state(), id)) {
        return Err(Error::Text(format!(
            "ERR Node {} has a replica of shard {}: remove that first (CLUSTER SHARD {1} REMOVE {0})",
            id.0, shard.0
        )));
    }
    cx.node.members.remove(id);
    reply.ok();
    Ok(())
}

fn found(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (me, node) = (own_id(cx)?, cx.node);
    let ids = (2..args.len()).map(|at| member(node, args.at(at)));
    let mut ids = ids.collect::<Result<Vec<NodeId>, Error>>()?;
    let given = ids.len();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() != given || given > NODES_MAX {
        return Err(Error::Text(format!("ERR Name each node once, and at most {NODES_MAX}")));
    }
    if !ids.contains(&me) {
        return Err(Error::Text(format!("ERR This is node {}, which is not among them", me.0)));
    }
    if let Some(down) = ids.iter().find(|id| !is_up(node, **id)) {
        return Err(Error::Text(format!(
            "ERR Node {} is not linked to: see whether it runs",
            down.0
        )));
    }
    let states: Vec<ReplicaState> = shards(node).map(|shard| node.replica(shard).state()).collect();
    for (shard, state) in shards(node).zip(&states) {
        if state.role == Role::None {
            return Err(Error::Text(format!("ERR Shard {} is not ready: try again", shard.0)));
        }
        if let Some(leader) = node.leader_of(shard).filter(|leader| !ids.contains(leader)) {
            return Err(Error::Text(format!(
                "ERR Node {} leads shard {}, and is not among them",
                leader.0, shard.0
            )));
        }
        if !state.voters.is_empty() && state.voters != ids {
            let voters: Vec<String> = state.voters.iter().map(|id| id.0.to_string()).collect();
            return Err(Error::Text(format!(
                "ERR Shard {} has begun already, with nodes {}",
                shard.0,
                voters.join(", ")
            )));
        }
    }
    for (shard, state) in shards(node).zip(&states) {
        let is_done = !state.voters.is_empty();
        if !is_done && !node.replica(shard).request(ReplicaRequest::Found(ids.clone())) {
            return Err(CROWDED);
        }
    }
    reply.ok();
    Ok(())
}

/// Whom others still know would learn of them again at once, so it is removed there first; its number is not let in
/// again then.
fn reset(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (me, node) = (cx.node.id.ok_or(ALONE)?, cx.node);
    let is = |word: &[u8]| args.at(2).eq_ignore_ascii_case(word);
    let is_hard = match args.len() {
        2 => false,
        3 if is(b"hard") => true,
        3 if is(b"soft") => false,
        _ => return Err(Error::Syntax),
    };
    for shard in shards(node) {
        let state = node.replica(shard).state();
        let has_keys = || (0..DATABASES).any(|db| node.shard(shard).keys(DbIndex(db)).0 > 0);
        match state.role {
            Role::None => {
                return Err(Error::Text(format!("ERR Shard {} is not ready: try again", shard.0)));
            }
            Role::Leader if has_keys() => {
                return Err(Error::Static(
                    "ERR CLUSTER RESET can't be called with master nodes containing keys",
                ));
            }
            _ if is_part(&state, me) => {
                return Err(Error::Text(format!(
                    "ERR This node has a replica of shard {}: remove the node from the cluster first",
                    shard.0
                )));
            }
            _ => {}
        }
    }
    let members = node.members.load();
    if let Some(other) = members.iter().find(|member| member.id != me && member.is_up) {
        return Err(Error::Text(format!(
            "ERR Node {} is linked to, and would be known again at once: have this node removed there first \
             (CLUSTER FORGET {})",
            other.id.0, me.0
        )));
    }
    if is_hard && !shards(node).all(|it| node.replica(it).request(ReplicaRequest::Reset)) {
        return Err(CROWDED);
    }
    node.members.reset();
    reply.ok();
    Ok(())
}

fn shard(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (me, node) = (own_id(cx)?, cx.node);
    let count = node.slots.shard_count();
    let number = numbers::parse_i64(args.at(2)).and_then(|number| u16::try_from(number).ok());
    let shard = ShardId(number.filter(|number| *number < count).ok_or_else(|| {
        let given = args.at(2).escape_ascii();
        Error::Text(format!("ERR There is no shard {given}: they are 0 to {}", count - 1))
    })?);
    let state = node.replica(shard).state();
    let (what, id) = (args.at(3).to_ascii_uppercase(), args.at(4));
    let request = match &what[..] {
        b"ADD" => ReplicaRequest::Add(member(node, id)?),
        b"REMOVE" => ReplicaRequest::Remove(part(node, &state, id)?),
        b"LEAD" => ReplicaRequest::Lead(member(node, id)?),
        _ => return Err(Error::Syntax),
    };
    if state.role != Role::Leader {
        let leader = node.leader_of(shard).filter(|leader| *leader != me);
        let who = leader.map_or("nobody is known to: try again in a moment".to_owned(), |leader| {
            format!("node {} does: ask that", leader.0)
        });
        return Err(Error::Text(format!(
            "NOTLEADER Node {} does not lead shard {}, {who}",
            me.0, shard.0
        )));
    }
    if let Some(refusal) = refusal(node, (me, shard), &state, &request) {
        return Err(Error::Text(format!("ERR {refusal}")));
    }
    if !node.replica(shard).request(request) {
        return Err(CROWDED);
    }
    reply.ok();
    Ok(())
}

/// Who takes part may be one that was removed from the directory before its time.
fn part(node: &Node, state: &ReplicaState, arg: &[u8]) -> Result<NodeId, Error> {
    match node.members.find(arg) {
        Some(Found::Member(id) | Found::Removed(id)) => Ok(id),
        None => {
            let number = numbers::parse_i64(arg).and_then(|number| u64::try_from(number).ok());
            number.map(NodeId).filter(|id| is_part(state, *id)).ok_or_else(|| unknown(arg))
        }
    }
}

/// Why the leader of a shard can't do what it is asked for.
fn refusal(
    node: &Node,
    (me, shard): (NodeId, ShardId),
    state: &ReplicaState,
    request: &ReplicaRequest,
) -> Option<String> {
    let shard = shard.0;
    let votes = |id: NodeId| state.voters.contains(&id);
    match *request {
        ReplicaRequest::Add(id) if votes(id) => {
            Some(format!("Node {} votes on shard {shard} already", id.0))
        }
        ReplicaRequest::Add(id) if is_part(state, id) => {
            Some(format!("Node {} is learning shard {shard} already", id.0))
        }
        ReplicaRequest::Add(_) if state.voters.len() + state.learners.len() >= NODES_MAX => {
            Some(format!("Shard {shard} has {NODES_MAX} replicas, which is the most"))
        }
        ReplicaRequest::Add(id) if !is_up(node, id) => {
            Some(format!("Node {} is not linked to: see whether it runs", id.0))
        }
        ReplicaRequest::Remove(id) if !is_part(state, id) => {
            Some(format!("Node {} has no replica of shard {shard}", id.0))
        }
        ReplicaRequest::Remove(id) if votes(id) && state.voters.len() == 1 => Some(format!(
            "Node {} is the last that votes on shard {shard}: add another first",
            id.0
        )),
        ReplicaRequest::Remove(id) if id == me => Some(format!(
            "Node {} leads shard {shard}: have another node lead it first (CLUSTER SHARD {shard} LEAD \
             node)",
            id.0
        )),
        ReplicaRequest::Lead(id) if id == me => {
            Some(format!("Node {} leads shard {shard} already", id.0))
        }
        ReplicaRequest::Lead(id) if !votes(id) => {
            Some(format!("Node {} does not vote on shard {shard}: add it first", id.0))
        }
        ReplicaRequest::Lead(id) if !is_up(node, id) => {
            Some(format!("Node {} is not linked to: see whether it runs", id.0))
        }
        ReplicaRequest::Found(_)
        | ReplicaRequest::Reset
        | ReplicaRequest::Add(_)
        | ReplicaRequest::Remove(_)
        | ReplicaRequest::Lead(_) => None,
    }
}

fn failover(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (me, node) = (own_id(cx)?, cx.node);
    let is_forced = match args.len() {
        2 => false,
        3 if [&b"force"[..], b"takeover"].iter().any(|it| args.at(2).eq_ignore_ascii_case(it)) => {
            true
        }
        _ => return Err(Error::Syntax),
    };
    let (owners, core) = (node.owners.load(), cx.session.view.core);
    let of_port = |shard: &ShardId| core.is_none_or(|core| owners.core_of(*shard) == core);
    let followed: Vec<ShardId> = shards(node)
        .filter(of_port)
        .filter(|shard| !node.replica(*shard).is_serving())
        .filter(|shard| node.replica(*shard).state().voters.contains(&me))
        .collect();
    if followed.is_empty() {
        return Err(Error::Static("ERR You should send CLUSTER FAILOVER to a replica"));
    }
    let led: Vec<(ShardId, NodeId)> =
        followed.iter().filter_map(|shard| Some((*shard, node.leader_of(*shard)?))).collect();
    if led.is_empty() {
        return Err(Error::Static("ERR I'm a replica but my master is unknown to me"));
    }
    // A leader that is gone is replaced without being asked.
    if !is_forced && !led.iter().any(|(_, leader)| is_up(node, *leader)) {
        return Err(Error::Static(
            "ERR Master is down or failed, please use CLUSTER FAILOVER FORCE",
        ));
    }
    wish_all(node, led.into_iter().map(|(shard, _)| Wish::Lead(shard)))?;
    reply.ok();
    Ok(())
}

fn replicate(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (me, node) = (own_id(cx)?, cx.node);
    let id = member(node, args.at(2))?;
    if id == me {
        return Err(Error::Static("ERR Can't replicate myself"));
    }
    let led: Vec<ShardId> =
        shards(node).filter(|shard| node.leader_of(*shard) == Some(id)).collect();
    if led.is_empty() {
        return Err(Error::Static("ERR I can only replicate a master, not a replica."));
    }
    let lacking = led.into_iter().filter(|shard| !is_part(&node.replica(*shard).state(), me));
    wish_all(node, lacking.map(Wish::Join))?;
    reply.ok();
    Ok(())
}

fn wish_all(node: &Node, mut wishes: impl Iterator<Item = Wish>) -> Answer {
    if wishes.all(|wish| node.members.wish(wish)) { Ok(()) } else { Err(CROWDED) }
}
