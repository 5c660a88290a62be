//! `ringmain cluster status`: the members and shards of a cluster that runs.
//!
//! One node is asked who the members are; then each of them how its replicas do, since how far followers are only
//! their leader knows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use super::Failure;
use super::connection::{Connection, fields};
use super::options::Status;

/// Shows it once.
pub(super) fn run(options: &Status) -> Result<(), Failure> {
    let password = options.password.as_deref();
    let mut connection = Connection::open(&options.host, options.port, password)?;
    let seen = View::read(&connection.call(&[b"INFO", b"raft"])?).ok_or_else(|| {
        Failure::Nonsense(format!(
            "The server at {}:{} is no node of a cluster: name one with --host and --port.",
            options.host, options.port
        ))
    })?;
    let mut views = BTreeMap::new();
    for (id, member) in &seen.members {
        let Some((host, port)) = member.address() else { continue };
        let asked = Connection::open(host, port, password)
            .and_then(|mut connection| connection.call(&[b"INFO", b"raft"]));
        if let Some(view) = asked.ok().as_deref().and_then(View::read) {
            views.insert(*id, view);
        }
    }
    views.entry(seen.node).or_insert_with(|| seen.clone());
    let text = page(&seen, &views);
    // Nobody reads it if it can't be written.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

/// `name=value` pairs.
#[derive(Clone, Debug, Default)]
struct Line(BTreeMap<String, String>);

impl Line {
    fn read(text: &str) -> Self {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or(0)
    }

    /// Where a member is reached, if that is known.
    fn address(&self) -> Option<(&str, u16)> {
        let port = self.get("port").parse().ok()?;
        Some((self.get("ip"), port)).filter(|(ip, _)| !ip.is_empty())
    }
}

/// What a node tells of the cluster.
#[derive(Clone, Debug)]
struct View {
    node: u64,
    members: BTreeMap<u64, Line>,
    shards: BTreeMap<u16, Line>,
}

impl View {
    /// What `INFO raft` answers; `None` of a server on its own.
    fn read(info: &str) -> Option<Self> {
        let mut view = Self { node: 0, members: BTreeMap::new(), shards: BTreeMap::new() };
        for (name, value) in fields(info) {
            let numbered = |prefix: &str| name.strip_prefix(prefix)?.parse::<u64>().ok();
            if name == "node_id" {
                view.node = value.trim().parse().ok()?;
            } else if let Some(id) = numbered("member") {
                view.members.insert(id, Line::read(value.trim()));
            } else if let Some(shard) = numbered("shard").and_then(|id| u16::try_from(id).ok()) {
                view.shards.insert(shard, Line::read(value.trim()));
            }
        }
        (view.node != 0).then_some(view)
    }
}

/// What is shown: members, then shards.
fn page(seen: &View, views: &BTreeMap<u64, View>) -> String {
    let leaders: BTreeMap<u16, (u64, &Line)> =
        seen.shards.keys().filter_map(|shard| Some((*shard, leader(*shard, views)?))).collect();
    let mut text = String::new();
    let led = leaders.len();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{} members, {} shards, {}\n",
        seen.members.len(),
        seen.shards.len(),
        if led == seen.shards.len() {
            "all of them led".to_owned()
        } else {
            format!("{} of them without a leader", seen.shards.len() - led)
        }
    );
    let mut rows = vec![["node", "address", "state", "cores", "leads"].map(str::to_owned)];
    for (id, member) in &seen.members {
        let state = match (views.contains_key(id), member.get("up")) {
            (true, "1") => "up",
            (true, _) => "up, but not for all",
            (false, _) => "no answer",
        };
        let leads = leaders.values().filter(|(leader, _)| leader == id).count();
        let address = format!("{}:{}", member.get("ip"), member.get("port"));
        rows.push([
            id.to_string(),
            address,
            state.to_owned(),
            member.get("cores").to_owned(),
            leads.to_string(),
        ]);
    }
    write_table(&mut text, &rows);
    text.push('\n');
    let mut rows = vec![
        ["shard", "slots", "leader", "term", "committed", "lag of the others"].map(str::to_owned),
    ];
    for (shard, line) in &seen.shards {
        let (leader, term, committed, lag) = match leaders.get(shard) {
            Some((leader, line)) => {
                (leader.to_string(), line.get("term"), line.get("commit"), lag(line))
            }
            None => ("none".to_owned(), line.get("term"), line.get("commit"), String::new()),
        };
        rows.push([
            shard.to_string(),
            line.get("slots").to_owned(),
            leader,
            term.to_owned(),
            committed.to_owned(),
            lag,
        ]);
    }
    write_table(&mut text, &rows);
    text
}

/// The node that leads a shard by its own account, of several the one in the highest term, with what it tells.
fn leader(shard: u16, views: &BTreeMap<u64, View>) -> Option<(u64, &Line)> {
    let lines = views.iter().filter_map(|(id, view)| Some((*id, view.shards.get(&shard)?)));
    let leaders = lines.filter(|(_, line)| line.get("role") == "leader");
    leaders.max_by_key(|(_, line)| line.number("term"))
}

/// How many entries each follower lacks, and how many it has not on disk: `2: 0 (3 not on disk)`.
fn lag(line: &Line) -> String {
    let last = line.number("last");
    let peers = line.get("peers").split('/').filter(|peer| !peer.is_empty());
    let words = peers.map(|peer| {
        let mut parts = peer.split(':');
        let node = parts.next().unwrap_or_default();
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
        let (matched, synced) = (number().unwrap_or(0), number().unwrap_or(0));
        let mut word = format!("node {node}: {}", last.saturating_sub(matched));
        if synced < matched {
            let _ = write!(word, " ({} not on disk)", matched - synced);
        }
        if let Some(bytes) = number() {
            let _ = write!(word, " (a snapshot is sent, {} MiB so far)", bytes >> 20);
        }
        word
    });
    words.collect::<Vec<_>>().join(", ")
}

fn write_table<const N: usize>(text: &mut String, rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, View, page};

    #[test]
    fn leaders_tell_how_far_followers_are() {
        const MEMBERS: &str = "member1:ip=10.0.0.1,port=6379,cores=2,up=1\r\n\
                               member2:ip=10.0.0.2,port=6379,cores=1,up=1\r\n\
                               member3:ip=10.0.0.3,port=6379,cores=1,up=0\r\n";
        let first = format!(
            "# Raft\r\nnode_id:1\r\n{MEMBERS}\
             shard0:slots=0-8191,role=leader,term=3,leader=1,commit=9,last=10,peers=2:10:8/3:4:4:3145728\r\n\
             shard1:slots=8192-16383,role=leader,term=2,leader=1,commit=5,last=5,peers=\r\n"
        );
        // It has been elected since the other last heard of it.
        let second = format!(
            "# Raft\r\nnode_id:2\r\n{MEMBERS}\
             shard0:slots=0-8191,role=follower,term=3,leader=1,commit=9,last=10,peers=\r\n\
             shard1:slots=8192-16383,role=leader,term=4,leader=2,commit=6,last=6,peers=1:6:6/3:0:0\r\n"
        );
        let seen = View::read(&first).unwrap();
        let views = BTreeMap::from([(1, seen.clone()), (2, View::read(&second).unwrap())]);
        assert_eq!(
            page(&seen, &views),
            "3 members, 2 shards, all of them led\n\
             \n\
             node  address        state      cores  leads\n\
             1     10.0.0.1:6379  up         2      1\n\
             2     10.0.0.2:6379  up         1      1\n\
             3     10.0.0.3:6379  no answer  1      0\n\
             \n\
             shard  slots       leader  term  committed  lag of the others\n\
             0      0-8191      1       3     9          node 2: 0 (2 not on disk), node 3: 6 (a snapshot is sent, 3 MiB so far)\n\
             1      8192-16383  2       4     6          node 1: 0, node 3: 6\n"
        );
        let follower = View::read(&first.replace("role=leader", "role=candidate")).unwrap();
        let text = page(&follower, &BTreeMap::from([(1, follower.clone())]));
        assert!(text.starts_with("3 members, 2 shards, 2 of them without a leader\n"), "{text}");
        assert!(View::read("").is_none(), "a server on its own has no such section");
    }
}
