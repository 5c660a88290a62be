//! Operations on the connection and the server.

use super::{Answer, Failure, Request};
use crate::command::connection::{DEFAULT_USER, authenticate};
use crate::command::{SessionCx, client, cluster, info};
use crate::limits::BINARY_KEY_BYTES_MAX;
use crate::node::{ClientFlags, ClientInfo, Node, Owners};
use crate::protocol::binary::body::{Address, Features, SlotRange};
use crate::protocol::binary::{FrameLimits, Greeting, Hello, Status, Topology, VERSION};
use crate::types::{CoreId, ShardId};

const AUTH_REQUIRED: Failure = Failure::new(
    Status::AuthRequired,
    "NOAUTH hello must give a password, or come after one that did",
);

pub(super) fn hello(
    cx: &mut SessionCx<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    let hello = Hello::read(request.args.at(1))?;
    if !(hello.oldest..=hello.newest).contains(&VERSION) {
        let text = format!(
            "BADVERSION version {VERSION} of the binary protocol is spoken here, not {} to {}",
            hello.oldest, hello.newest
        );
        return Err(Failure { status: Status::BadVersion, text: text.into() });
    }
    if !hello.password.is_empty() {
        let user = if hello.user.is_empty() { DEFAULT_USER } else { &hello.user };
        authenticate(cx, user.as_bytes(), hello.password.as_bytes())?;
    }
    let config = cx.node.config.load();
    if !cx.session.authenticated && config.requirepass.is_some() {
        return Err(AUTH_REQUIRED);
    }
    if !hello.name.is_empty() {
        cx.session.info.names().name = client::client_name(hello.name.as_bytes())?;
    }
    let mut features = Features::TOPOLOGY_PUSH | Features::ONCE;
    features.set(Features::CLUSTER, config.cluster_enabled);
    features.set(Features::NODES, cx.node.id.is_some());
    let has_log = config.keeps_logs();
    features.set(Features::DURABILITY_ASYNC | Features::DURABILITY_SYNC, has_log);
    let greeting = Greeting {
        version: VERSION,
        features,
        client: cx.session.id.0,
        life: cx.node.started_at.first_sequence(),
        limits: FrameLimits::requests(config.proto_max_bulk_len_bytes),
        key_bytes_max: u32::try_from(BINARY_KEY_BYTES_MAX).unwrap_or(u32::MAX),
        server: concat!("ringmain ", env!("CARGO_PKG_VERSION")).to_owned(),
        topology: topology_of(cx.node, &cx.node.served_owners(), &cx.session.info),
    };
    greeting.write(out);
    Ok(Answer::DONE)
}

pub(super) fn ping(
    _: &mut SessionCx<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    out.extend_from_slice(request.args.at(1));
    Ok(Answer::DONE)
}

pub(super) fn topology(
    cx: &mut SessionCx<'_>,
    _: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    topology_of(cx.node, &cx.node.served_owners(), &cx.session.info).write(out);
    Ok(Answer::DONE)
}

pub(super) fn subscribe_topology(
    cx: &mut SessionCx<'_>,
    _: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    let owners = cx.node.served_owners();
    topology_of(cx.node, &owners, &cx.session.info).write(out);
    cx.session.topology_told = Some(owners.epoch());
    cx.session.info.set_flags(ClientFlags::TOPOLOGY, true);
    Ok(Answer::DONE)
}

pub(super) fn stats(
    cx: &mut SessionCx<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    if !request.args.at(2).is_empty() {
        return Err(Failure::bad("BADREQUEST the operation takes no value"));
    }
    let section = Some(request.args.at(1)).filter(|section| !section.is_empty());
    out.extend_from_slice(info::text(cx, section.into_iter()).as_bytes());
    Ok(Answer::DONE)
}

/// The topology as `client` is told of it.
pub(crate) fn topology_of(node: &Node, owners: &Owners, client: &ClientInfo) -> Topology {
    if let Some(map) = cluster::Map::of(node, client) {
        return map.topology(owners.epoch());
    }
    let host = cluster::ip(node, client).to_string();
    let cores = (0..node.slots.core_count()).map(CoreId);
    let shards = (0..node.slots.shard_count()).map(ShardId);
    Topology {
        epoch: owners.epoch(),
        shard_count: node.slots.shard_count(),
        cores: cores
            .map(|core| Address { core, port: node.topology.port_of(core), host: host.clone() })
            .collect(),
        ranges: shards
            .map(|shard| {
                let slots = node.slots.slots_of(shard);
                SlotRange {
                    first: slots.start,
                    last: slots.end - 1,
                    shard,
                    core: owners.core_of(shard),
                }
            })
            .collect(),
    }
}
