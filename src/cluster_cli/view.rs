//! A cluster as its nodes tell of it: one is asked who the members are, then each of them how its replicas do, since
//! how far followers are only their leader knows.

use std::collections::{BTreeMap, BTreeSet};

use super::Failure;
use super::connection::{Connection, fields};
use super::options::Server;

/// `name=value` pairs.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(BTreeMap<String, String>);

impl Line {
    fn read(text: &str) -> Self {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or(0)
    }

    /// Numbers with slashes between them.
    pub(super) fn nodes(&self, name: &str) -> BTreeSet<u64> {
        self.get(name).split('/').filter_map(|node| node.parse().ok()).collect()
    }

    /// Where a member is reached, if that is known.
    pub(super) fn address(&self) -> Option<(&str, u16)> {
        let port = self.get("port").parse().ok()?;
        Some((self.get("ip"), port)).filter(|(ip, _)| !ip.is_empty())
    }
}

/// What a node tells of the cluster.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) node: u64,
    pub(super) members: BTreeMap<u64, Line>,
    /// Nodes that were removed.
    pub(super) removed: BTreeSet<u64>,
    pub(super) shards: BTreeMap<u16, Line>,
}

impl View {
    /// What `INFO raft` answers; `None` of a server on its own.
    pub(super) fn read(info: &str) -> Option<Self> {
        let mut view = Self {
            node: 0,
            members: BTreeMap::new(),
            removed: BTreeSet::new(),
            shards: BTreeMap::new(),
        };
        for (name, value) in fields(info) {
            let value = value.trim();
            let numbered = |prefix: &str| name.strip_prefix(prefix)?.parse::<u64>().ok();
            if name == "node_id" {
                view.node = value.parse().ok()?;
            } else if name == "removed" {
                view.removed = value.split('/').filter_map(|node| node.parse().ok()).collect();
            } else if let Some(id) = numbered("member") {
                view.members.insert(id, Line::read(value));
            } else if let Some(shard) = numbered("shard").and_then(|id| u16::try_from(id).ok()) {
                view.shards.insert(shard, Line::read(value));
            }
        }
        (view.node != 0).then_some(view)
    }

    /// Asks a node.
    pub(super) fn of(server: &Server) -> Result<Self, Failure> {
        let mut connection = server.connect()?;
        let info = connection.call(&[b"INFO", b"raft"])?;
        Self::read(&info).ok_or_else(|| {
            Failure::Nonsense(format!(
                "The server at {}:{} is no node of a cluster: name one with --host and --port.",
                server.host, server.port
            ))
        })
    }

    /// Whether no shard has begun there.
    pub(super) fn is_blank(&self) -> bool {
        self.shards.values().all(|line| line.nodes("voters").is_empty())
    }
}

/// What all nodes tell that answer.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// Who was asked first.
    pub(super) server: Server,
    /// Of the node that was asked first.
    pub(super) seen: View,
    pub(super) views: BTreeMap<u64, View>,
}

impl Picture {
    /// Asks `server`, then the members. Those that it does not hear from are asked too if `all` are to be.
    pub(super) fn take(server: &Server, all: bool) -> Result<Self, Failure> {
        let seen = View::of(server)?;
        let mut views = BTreeMap::new();
        for (id, member) in &seen.members {
            if *id == seen.node || (!all && member.get("up") != "1") {
                continue;
            }
            let Some((host, port)) = member.address() else { continue };
            if let Ok(view) = View::of(&server.at(host, port))
                && view.node == *id
            {
                views.insert(*id, view);
            }
        }
        views.insert(seen.node, seen.clone());
        Ok(Self { server: server.clone(), seen, views })
    }

    /// The same, from the first of these that answers.
    pub(super) fn take_of_any(servers: &[Server]) -> Result<Self, Failure> {
        let mut outcome = Err(Failure::Lost("There is nobody to ask.".to_owned()));
        for server in servers {
            outcome = Self::take(server, false);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Whom to ask next time: the same, or a member if that does not answer.
    pub(super) fn servers(&self) -> Vec<Server> {
        let members = self.seen.members.values().filter_map(Line::address);
        let members = members.map(|(host, port)| self.server.at(host, port));
        std::iter::once(self.server.clone()).chain(members).collect()
    }

    /// The node that leads a shard by its own account, of several the one in the highest term, with what it tells.
    pub(super) fn leader(&self, shard: u16) -> Option<(u64, &Line)> {
        let views = self.views.iter();
        let lines = views.filter_map(|(id, view)| Some((*id, view.shards.get(&shard)?)));
        let leaders = lines.filter(|(_, line)| line.get("role") == "leader");
        leaders.max_by_key(|(_, line)| line.number("term"))
    }

    /// What keeps a node's replica of a shard from doing its part, by its own account: words in parentheses.
    pub(super) fn complaints(&self, node: u64, shard: u16) -> String {
        let line = self.views.get(&node).and_then(|view| view.shards.get(&shard));
        let says = |name| line.is_some_and(|line| line.get(name) == "1");
        let in_doubt = if says("in_doubt") { " (may not vote yet)" } else { "" };
        let no_room = if says("no_room") { " (its log takes no writes)" } else { "" };
        format!("{in_doubt}{no_room}")
    }

    /// The nodes whose replica of a shard is kept from doing its part, with what keeps them.
    pub(super) fn who_complains(&self, shard: u16) -> String {
        let all = self.views.keys().map(|node| (node, self.complaints(*node, shard)));
        let those = all.filter(|(_, complaints)| !complaints.is_empty());
        let words = those.map(|(node, complaints)| format!("node {node}:{complaints}"));
        words.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = u16> + '_ {
        self.seen.shards.keys().copied()
    }

    /// Opens a connection to a member.
    pub(super) fn connect(&self, node: u64) -> Result<Connection, Failure> {
        if node == self.seen.node {
            return self.server.connect();
        }
        let address = self.seen.members.get(&node).and_then(Line::address);
        let (host, port) = address.ok_or_else(|| {
            Failure::Lost(format!(
                "Nobody knows where node {node} is: see 'ringmain cluster status'."
            ))
        })?;
        self.server.at(host, port).connect()
    }
}
