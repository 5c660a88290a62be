//! A leader that was frozen, and does not know that another leads by now, must not answer with what was true once.

use std::time::Duration;

use crate::client::Follower;
use crate::harness::client::{Client, encode};
use crate::harness::nodes::Nodes;
use crate::harness::server::skip_on_other_server;
use crate::harness::slots::keys_over_shards;
use crate::harness::value::Value;
use crate::harness::wait_until;
use crate::network::host;
use crate::replicas::{leader, wait_until_caught_up};
use crate::{RECOVERY, alone, random};

const ROUNDS: u32 = 4;

/// Whether a process stands still, all its threads.
fn is_frozen(process: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return false };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or_default().split_whitespace().next();
        state == Some("T")
    })
}

#[test]
fn a_leader_that_was_frozen_answers_nothing_that_is_not_true_any_more() {
    if skip_on_other_server() {
        return;
    }
    let _alone = alone();
    let mut random = random();
    let mut nodes = Nodes::reached_by(3, 1, |_, _| host(1, 1));
    nodes.start_all();
    let ports: Vec<u16> = (1..=3).map(|id| nodes.port(id)).collect();
    let key = &keys_over_shards("key", 1, 1)[0];
    for round in 0..ROUNDS {
        wait_until_caught_up(&nodes, RECOVERY);
        let old = leader(&nodes, &[1, 2, 3], 0).unwrap();
        let (before, after) = (format!("before-{round}"), format!("after-{round}"));
        // A client of each kind; all know who leads.
        let mut clients: Vec<Client> = (0..6).map(|_| nodes.server(old).client()).collect();
        clients[0].ok(&format!("SET {key} {before}"));
        for client in &mut clients {
            assert_eq!(client.command(&["GET", key]), Value::bulk(&before));
        }
        clients[3].ok("MULTI");
        assert_eq!(clients[3].words(&format!("GET {key}")), Value::Simple("QUEUED".into()));

        nodes.server(old).signal("STOP");
        let process = nodes.server(old).pid();
        wait_until("it is frozen", || is_frozen(process));
        clients[0].request(&["GET", key]);
        let others: Vec<usize> = (1..=3).filter(|id| *id != old).collect();
        wait_until("another leads", || leader(&nodes, &others, 0).is_some());
        let other_ports: Vec<u16> = others.iter().map(|id| ports[id - 1]).collect();
        let mut follower = Follower::new(&other_ports, 1, random.fork());
        follower.insist(0, &["SET", key, &after], RECOVERY);
        // All this waits in the sockets of who is frozen.
        clients[1].request(&["GET", key]);
        clients[2].send([&encode(&["MGET", key])[..], &encode(&["STRLEN", key])].concat());
        clients[3].request(&["EXEC"]);
        clients[4].request(&["GETRANGE", key, "0", "-1"]);
        clients[5].send([encode(&["SET", key, "lost"]), encode(&["GET", key])].concat());
        nodes.server(old).signal("CONT");

        let mut replies = Vec::new();
        for client in &mut clients {
            while let Ok(reply) = client.read_within(Duration::from_secs(2)) {
                let is_last = matches!(&reply, Value::Error(text) if text.ends_with("connection."));
                replies.push(format!("{reply:?}"));
                if is_last || !client.is_readable_within(Duration::from_millis(50)) {
                    break;
                }
            }
        }
        println!("round {round}: node {old} said {replies:?}");
        let is_stale = |reply: &&String| reply.contains("before-");
        assert_eq!(replies.iter().filter(is_stale).count(), 0, "{replies:?}");
        // Nor has it carried out what it was told meanwhile, unless it leads again.
        let now = follower.insist(0, &["GET", key], RECOVERY);
        let was_set = replies.iter().any(|reply| reply.contains("OK"));
        assert!(now == Value::bulk(&after) || was_set, "{now:?}: {replies:?}");
    }
}
