//! `ringmain cluster status`: the members and shards of a cluster that runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use super::Failure;
use super::options::Server;
use super::view::{Line, Picture};

/// Shows it once.
pub(super) fn run(server: &Server) -> Result<(), Failure> {
    let text = page(&Picture::take(server, true)?);
    // Nobody reads it if it can't be written.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

/// What is shown: members, then shards.
fn page(picture: &Picture) -> String {
    let Picture { seen, views, .. } = picture;
    let leaders: BTreeMap<u16, (u64, &Line)> =
        picture.shards().filter_map(|shard| Some((shard, picture.leader(shard)?))).collect();
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
    let mut rows =
        vec![["node", "address", "state", "cores", "replicas", "leads"].map(str::to_owned)];
    for (id, member) in &seen.members {
        let state = match (views.contains_key(id), member.get("up")) {
            (true, "1") => "up".to_owned(),
            (true, _) => "up, but not for all".to_owned(),
            // Others may see what keeps itself from answering here.
            (false, _) => match heard_by(picture, *id) {
                0 => "no answer, heard by nobody".to_owned(),
                1 => "no answer, heard by 1 node".to_owned(),
                count => format!("no answer, heard by {count} nodes"),
            },
        };
        let leads = leaders.values().filter(|(leader, _)| leader == id).count();
        let count = |kind| leaders.values().filter(|(_, it)| it.nodes(kind).contains(id)).count();
        let replicas = match (count("voters"), count("learners")) {
            (voters, 0) => voters.to_string(),
            (voters, learners) => format!("{voters} and {learners} catching up"),
        };
        let address = format!("{}:{}", member.get("ip"), member.get("port"));
        rows.push([
            id.to_string(),
            address,
            state,
            member.get("cores").to_owned(),
            replicas,
            leads.to_string(),
        ]);
    }
    write_table(&mut text, &rows);
    if !seen.removed.is_empty() {
        let removed: Vec<String> = seen.removed.iter().map(u64::to_string).collect();
        let _ = writeln!(text, "removed: {}", removed.join(", "));
    }
    text.push('\n');
    let mut rows = vec![
        ["shard", "slots", "leader", "term", "committed", "lag of the others"].map(str::to_owned),
    ];
    for (shard, line) in &seen.shards {
        let (leader, term, committed, lag) = match leaders.get(shard) {
            Some((leader, line)) => {
                let name = format!("{leader}{}", picture.complaints(*leader, *shard));
                (name, line.get("term"), line.get("commit"), lag(picture, *shard, line))
            }
            None => {
                let whose = picture.who_complains(*shard);
                ("none".to_owned(), line.get("term"), line.get("commit"), whose)
            }
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

/// How many entries each follower lacks, and how many it has not on disk: `2: 0 (3 not on disk)`.
fn lag(picture: &Picture, shard: u16, line: &Line) -> String {
    let (last, learners) = (line.number("last"), line.nodes("learners"));
    let peers = line.get("peers").split('/').filter(|peer| !peer.is_empty());
    let words = peers.map(|peer| {
        let mut parts = peer.split(':');
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
        let node = number().unwrap_or(0);
        let (matched, synced) = (number().unwrap_or(0), number().unwrap_or(0));
        let mut word = format!("node {node}: {}", last.saturating_sub(matched));
        if learners.contains(&node) {
            word.push_str(" (catching up)");
        }
        if synced < matched {
            let _ = write!(word, " ({} not on disk)", matched - synced);
        }
        if let Some(bytes) = number() {
            let _ = write!(word, " (a snapshot is sent, {} MiB so far)", bytes >> 20);
        }
        word.push_str(&picture.complaints(node, shard));
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

/// How many members hear from one, as those know that hear from most.
fn heard_by(picture: &Picture, id: u64) -> u64 {
    let members = picture.views.values().filter_map(|view| view.members.get(&id));
    members.map(|member| member.number("heard_by")).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, Picture, Server, page};
    use crate::cluster_cli::view::View;

    fn server() -> Server {
        Server { host: "10.0.0.1".to_owned(), port: 6379, password: None }
    }

    #[test]
    fn leaders_tell_how_far_followers_are() {
        const MEMBERS: &str = "member1:ip=10.0.0.1,port=6379,cores=2,up=1,heard_by=1\r\n\
                               member2:ip=10.0.0.2,port=6379,cores=1,up=1,heard_by=1\r\n\
                               member3:ip=10.0.0.3,port=6379,cores=1,up=0,heard_by=0\r\n";
        let first = format!(
            "# Raft\r\nnode_id:1\r\n{MEMBERS}removed:4/7\r\n\
             shard0:slots=0-8191,role=leader,term=3,leader=1,commit=9,last=10,voters=1/2,learners=3,peers=2:10:8/3:4:4:3145728\r\n\
             shard1:slots=8192-16383,role=leader,term=2,leader=1,commit=5,last=5,peers=\r\n"
        );
        // It has been elected since the other last heard of it.
        let second = format!(
            "# Raft\r\nnode_id:2\r\n{MEMBERS}\
             shard0:slots=0-8191,role=follower,term=3,leader=1,commit=9,last=10,in_doubt=1,peers=\r\n\
             shard1:slots=8192-16383,role=leader,term=4,leader=2,commit=6,last=6,in_doubt=0,no_room=1,voters=1/2/3,learners=,peers=1:6:6/3:0:0\r\n"
        );
        let seen = View::read(&first).unwrap();
        let views = BTreeMap::from([(1, seen.clone()), (2, View::read(&second).unwrap())]);
        assert_eq!(
            page(&Picture { server: server(), seen, views }),
            "3 members, 2 shards, all of them led\n\
             \n\
             node  address        state                       cores  replicas             leads\n\
             1     10.0.0.1:6379  up                          2      2                    1\n\
             2     10.0.0.2:6379  up                          1      2                    1\n\
             3     10.0.0.3:6379  no answer, heard by nobody  1      1 and 1 catching up  0\n\
             removed: 4, 7\n\
             \n\
             shard  slots       leader                       term  committed  lag of the others\n\
             0      0-8191      1                            3     9          node 2: 0 (2 not on disk) (may not vote yet), node 3: 6 (catching up) (a snapshot is sent, 3 MiB so far)\n\
             1      8192-16383  2 (its log takes no writes)  4     6          node 1: 0, node 3: 6\n"
        );
        for (count, words) in
            [("1", "no answer, heard by 1 node "), ("2", "no answer, heard by 2 nodes ")]
        {
            let told = first.replace("up=0,heard_by=0", &format!("up=0,heard_by={count}"));
            let seen = View::read(&told).unwrap();
            let views = BTreeMap::from([(1, seen.clone())]);
            let text = page(&Picture { server: server(), seen, views });
            assert!(text.contains(words), "{text}");
        }
        let follower = View::read(&first.replace("role=leader", "role=candidate")).unwrap();
        let doubtful = View::read(&second.replace("role=leader", "role=candidate")).unwrap();
        let views = BTreeMap::from([(1, follower.clone()), (2, doubtful)]);
        let text = page(&Picture { server: server(), seen: follower, views });
        assert!(text.starts_with("3 members, 2 shards, 2 of them without a leader\n"), "{text}");
        assert!(text.contains("node 2: (may not vote yet)\n"), "{text}");
        assert!(View::read("").is_none(), "a server on its own has no such section");
    }
}
