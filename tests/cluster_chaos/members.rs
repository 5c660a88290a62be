//! Nodes that join and leave while others stand still now and then, and a load runs.

use std::time::Duration;

use crate::harness::nodes::Nodes;
use crate::harness::random::Random;
use crate::harness::server::skip_on_other_server;
use crate::harness::trial::signal;
use crate::harness::wait_until;
use crate::load::Load;
use crate::replicas::wait_until_caught_up;
use crate::{RECOVERY, alone, random};

const SHARDS: u16 = 2;

/// Has `ringmain cluster` do something, again until it is done, while a node is frozen and goes on, in turn.
fn change(nodes: &mut Nodes, words: &str, (frozen, random): (usize, &mut Random)) {
    let process = nodes.server(frozen).pid();
    let pauses = [random.below(300), 400 + random.below(1200), random.below(300), 800];
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for (name, ms) in ["CONT", "STOP", "CONT", "STOP"].into_iter().zip(pauses) {
                signal(name, process);
                std::thread::sleep(Duration::from_millis(ms));
            }
            signal("CONT", process);
        });
        wait_until(words, || nodes.cli(words).status.success());
    });
}

#[test]
fn nodes_join_and_leave_amid_trouble_and_clients_see_one_history() {
    if skip_on_other_server() {
        return;
    }
    let _alone = alone();
    let mut random = random();
    let mut nodes = Nodes::new(3, SHARDS, &["127.0.0.1"]);
    nodes.start_all();
    wait_until_caught_up(&nodes, RECOVERY);
    let new = nodes.add_blank(&[]);
    nodes.start(new);
    let mut load = Load::begin(&nodes, SHARDS, &mut random);
    change(&mut nodes, "add-node @4 --port #1", (2, &mut random));
    wait_until_caught_up(&nodes, RECOVERY);
    change(&mut nodes, "remove-node 1 --port #2", (3, &mut random));
    nodes.server(1).kill();
    let before = load.acknowledged();
    wait_until("writes are acknowledged", || load.acknowledged() > before + 100);
    load.end();
    load.read_all(RECOVERY);
    // The other two have it as well.
    nodes.server(2).kill();
    load.read_all(RECOVERY);
    load.check();
}
