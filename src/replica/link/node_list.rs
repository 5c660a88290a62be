//! What a node tells others of all nodes that it knows of, of who leads what, and of whom it hears from.

use bytes::Bytes;

use crate::limits::{
    HOST_BYTES_MAX, NODE_ENTRIES_MAX, NODE_ID_MAX, NODES_MAX, REPLICA_NUMBERS_END, SHARDS_MAX,
};
use crate::replica::Fault;
use crate::replica::fields::Fields;
use crate::types::{NodeId, Term};

/// What is known of where a node is, or that it was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// Which node.
    pub id: NodeId,
    /// What has a higher one is newer.
    pub version: u64,
    /// Where it is; none of a node that was removed.
    pub place: Option<NodePlace>,
}

/// Where nodes and clients reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlace {
    /// Its name or address, without brackets.
    pub host: String,
    /// The common port.
    pub port: u16,
    /// Core i takes links on this port + i.
    pub link_port: u16,
}

impl NodeEntry {
    /// Whether a node could be known so.
    pub fn is_possible(&self) -> bool {
        (1..=NODE_ID_MAX).contains(&self.id.0)
            && self.version < REPLICA_NUMBERS_END
            && self.place.as_ref().is_none_or(NodePlace::is_possible)
    }
}

impl NodePlace {
    fn is_possible(&self) -> bool {
        is_host(&self.host) && self.port != 0 && self.link_port != 0
    }
}

/// Whether a text can be the name or the address of a host.
pub fn is_host(text: &str) -> bool {
    let is_of_one = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
    (1..=HOST_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_of_one)
}

/// All nodes that a node knows of, the leaders that its replicas know of, and the nodes that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeList {
    /// In the order of their ids.
    pub nodes: Vec<NodeEntry>,
    /// Indexed by shard: the term, and who leads in it; node 0 where that is not known.
    pub leaders: Vec<(Term, NodeId)>,
    /// The other nodes that it hears from now, in the order of their ids.
    pub heard: Vec<NodeId>,
}

impl NodeList {
    /// Appends the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        debug_assert!(self.is_possible(), "{self:?}");
        let count = |length: usize| u16::try_from(length).expect("a count below 2^16");
        out.extend(count(self.nodes.len()).to_le_bytes());
        out.extend(count(self.leaders.len()).to_le_bytes());
        out.extend(count(self.heard.len()).to_le_bytes());
        for NodeEntry { id, version, place } in &self.nodes {
            out.extend(id.0.to_le_bytes());
            out.extend(version.to_le_bytes());
            let (host, ports) = match place {
                Some(place) => (&*place.host, [place.port, place.link_port]),
                None => ("", [0, 0]),
            };
            out.extend(ports.into_iter().chain([count(host.len())]).flat_map(u16::to_le_bytes));
            out.extend(host.bytes());
        }
        for (term, leader) in &self.leaders {
            out.extend(term.0.to_le_bytes());
            out.extend(leader.0.to_le_bytes());
        }
        out.extend(self.heard.iter().flat_map(|heard| heard.0.to_le_bytes()));
    }

    /// Reads all of `bytes`.
    ///
    /// # Errors
    /// If no node would say that.
    pub fn decode(bytes: &Bytes) -> Result<Self, Fault> {
        let mut fields = Fields::new(bytes);
        let mut count = || fields.u16().map(usize::from);
        let (nodes, leaders, heard) = (count()?, count()?, count()?);
        if nodes > NODE_ENTRIES_MAX || leaders > usize::from(SHARDS_MAX) || heard > NODES_MAX {
            return Err(Fault::Field);
        }
        let nodes = (0..nodes).map(|_| decode_entry(&mut fields)).collect::<Result<_, _>>()?;
        let mut leader = || Ok((Term(fields.u64()?), NodeId(fields.u64()?)));
        let leaders = (0..leaders).map(|_| leader()).collect::<Result<_, _>>()?;
        let heard = (0..heard).map(|_| fields.u64().map(NodeId)).collect::<Result<_, _>>()?;
        fields.end()?;
        let list = Self { nodes, leaders, heard };
        if list.is_possible() { Ok(list) } else { Err(Fault::Field) }
    }

    /// Whether a node could know of these.
    fn is_possible(&self) -> bool {
        let live = self.nodes.iter().filter(|entry| entry.place.is_some());
        let is_leader = |(term, leader): &(Term, NodeId)| {
            term.0 < REPLICA_NUMBERS_END && leader.0 <= NODE_ID_MAX
        };
        self.nodes.len() <= NODE_ENTRIES_MAX
            && live.count() <= NODES_MAX
            && self.nodes.iter().all(NodeEntry::is_possible)
            && self.nodes.is_sorted_by(|one, next| one.id < next.id)
            && self.leaders.len() <= usize::from(SHARDS_MAX)
            && self.leaders.iter().all(is_leader)
            && self.heard.len() <= NODES_MAX
            && self.heard.iter().all(|heard| (1..=NODE_ID_MAX).contains(&heard.0))
            && self.heard.is_sorted_by(|one, next| one < next)
    }
}

fn decode_entry(fields: &mut Fields<'_>) -> Result<NodeEntry, Fault> {
    let (id, version) = (NodeId(fields.u64()?), fields.u64()?);
    let (port, link_port) = (fields.u16()?, fields.u16()?);
    let length = usize::from(fields.u16()?);
    let host = fields.bytes(length)?;
    let host = std::str::from_utf8(&host).map_err(|_| Fault::Field)?.to_owned();
    let is_removed = host.is_empty() && (port, link_port) == (0, 0);
    let place = (!is_removed).then_some(NodePlace { host, port, link_port });
    Ok(NodeEntry { id, version, place })
}
