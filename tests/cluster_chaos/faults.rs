//! Trouble of all kinds for one node after another, while a load runs.

use std::time::{Duration, Instant};

use crate::harness::nodes::Nodes;
use crate::harness::random::Random;
use crate::harness::server::skip_on_other_server;
use crate::harness::{number_from_env, wait_until};
use crate::load::Load;
use crate::network::{Network, Wire, host};
use crate::replicas::{leader, wait_until_caught_up, wait_until_equal};
use crate::{RECOVERY, UNAVAILABLE_MAX, alone, random};

const SHARDS: u16 = 2;
const NODES: usize = 3;

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// `kill -9`, and started again.
    Kill,
    /// `SIGSTOP`, and `SIGCONT`.
    Freeze,
    /// Stopped as an operator does, and started again.
    Stop,
    /// `kill -9` of all nodes, where that loses nothing; and all are started again.
    KillAll,
    /// `kill -9`, all its files are gone, and it is started again.
    Bereave,
    /// Its wires to some others don't carry what they should.
    Cut { says: bool, hears: bool, others: usize, wire: Wire },
}

impl Fault {
    fn any(random: &mut Random, durability: &str) -> Self {
        if durability == "sync" && random.one_in(8) {
            return Self::KillAll;
        }
        match random.below(9) {
            0 | 1 => Self::Kill,
            8 => Self::Bereave,
            2 | 3 => Self::Freeze,
            4 => Self::Stop,
            _ => {
                let direction = random.below(4);
                let wire = *random.pick(&[Wire::Stuck, Wire::Stuck, Wire::Closed]);
                // One way, or both as often.
                let (says, hears) = (direction != 0, direction != 1);
                Self::Cut { says, hears, others: 1 + random.index(NODES - 1), wire }
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillAll => "kill of all",
            Self::Freeze => "freeze",
            Self::Stop => "stop",
            Self::Bereave => "loss of files",
            Self::Cut { .. } => "cut",
        }
    }

    fn lasts_ms(self, random: &mut Random) -> u64 {
        match self {
            Self::Kill | Self::KillAll | Self::Bereave | Self::Stop => random.below(1500),
            Self::Freeze => 50 + random.below(2000),
            Self::Cut { .. } => 200 + random.below(3500),
        }
    }
}

/// A cluster in trouble.
struct Scene {
    nodes: Nodes,
    network: Network,
    load: Load,
    random: Random,
    /// The longest time without an acknowledged write on some shard, by the fault's name.
    gaps: Vec<(&'static str, Duration)>,
}

impl Scene {
    fn new(durability: &'static str, mut random: Random) -> Self {
        let count = u16::try_from(NODES).expect("few nodes");
        let mut nodes = Nodes::reached_by(count, SHARDS, host).durable(durability);
        let network = Network::between(&nodes, SHARDS);
        nodes.start_all();
        wait_until_caught_up(&nodes, RECOVERY);
        let load = Load::begin(&nodes, SHARDS, &mut random);
        Self { nodes, network, load, random, gaps: Vec::new() }
    }

    /// A node, more often than not one that leads a shard.
    fn victim(&mut self) -> usize {
        let any = 1 + self.random.index(NODES);
        let shard = self.random.index(usize::from(SHARDS));
        let leads = leader(&self.nodes, &[1, 2, 3], shard).filter(|_| !self.random.one_in(3));
        leads.unwrap_or(any)
    }

    /// Lets something happen to a node, and ends it.
    fn suffer(&mut self, fault: Fault, id: usize) {
        let ms = fault.lasts_ms(&mut self.random);
        let begun = self.load.now();
        println!("{:>9.3} s: {fault:?} of node {id} for {ms} ms", begun as f64 / 1e6);
        self.begin(fault, id);
        std::thread::sleep(Duration::from_millis(ms));
        self.end(fault, id);
    }

    fn begin(&mut self, fault: Fault, id: usize) {
        match fault {
            Fault::Kill => self.nodes.server(id).kill(),
            Fault::KillAll => {
                (1..=NODES).for_each(|id| self.nodes.server(id).signal("KILL"));
                (1..=NODES).for_each(|id| self.nodes.server(id).kill());
            }
            Fault::Bereave => self.nodes.lose_files(id),
            Fault::Freeze => self.nodes.server(id).signal("STOP"),
            Fault::Stop => drop(self.nodes.take(id).stop()),
            Fault::Cut { says, hears, others, wire } => {
                for other in (1..NODES).map(|step| (id - 1 + step) % NODES + 1).take(others) {
                    if says {
                        self.network.set(id, other, wire);
                    }
                    if hears {
                        self.network.set(other, id, wire);
                    }
                }
            }
        }
    }

    fn end(&mut self, fault: Fault, id: usize) {
        match fault {
            Fault::Kill | Fault::Bereave | Fault::Stop => drop(self.nodes.start(id)),
            Fault::KillAll => self.nodes.start_all(),
            Fault::Freeze => self.nodes.server(id).signal("CONT"),
            Fault::Cut { .. } => self.network.mend(),
        }
    }

    /// Waits until all replicas have what the others have, and notes how long no write was acknowledged.
    fn recover(&mut self, fault: Fault, begun: u64) {
        let took = wait_until_caught_up(&self.nodes, RECOVERY);
        let before = self.load.acknowledged();
        wait_until("writes are acknowledged again", || self.load.acknowledged() > before + 20);
        let gap = self.load.longest_gap(begun, self.load.now());
        println!("            {} s without a write, caught up {took:?} after", gap.as_secs_f64());
        self.gaps.push((fault.name(), gap));
    }

    /// Reads all that was written from each of two nodes at least.
    fn read_everywhere(&mut self) {
        for id in 1..=NODES {
            self.nodes.server(id).kill();
            self.load.read_all(RECOVERY);
            self.nodes.start(id);
            wait_until_caught_up(&self.nodes, RECOVERY);
        }
    }

    fn check(&mut self) {
        self.load.end();
        wait_until_equal(&self.nodes, RECOVERY);
        self.load.read_all(RECOVERY);
        self.read_everywhere();
        wait_until_equal(&self.nodes, RECOVERY);
        self.load.check();
        for name in ["kill", "kill of all", "loss of files", "freeze", "stop", "cut"] {
            let gaps = self.gaps.iter().filter(|(of, _)| *of == name).map(|(_, gap)| *gap);
            let (count, longest) = (gaps.clone().count(), gaps.max().unwrap_or_default());
            if count > 0 {
                println!("longest time without a write in {count} × {name}: {longest:?}");
            }
        }
    }
}

#[test]
fn whatever_happens_to_one_node_clients_see_one_history() {
    if skip_on_other_server() {
        return;
    }
    let _alone = alone();
    let mut random = random();
    let seconds = number_from_env("RINGMAIN_CHAOS_SECONDS").unwrap_or(60);
    let durabilities = ["async", "sync", "memory"];
    for durability in durabilities {
        let time = Duration::from_secs(seconds).div_f64(durabilities.len() as f64);
        make_trouble(durability, time, random.fork());
    }
}

fn make_trouble(durability: &'static str, time: Duration, random: Random) {
    println!("durability {durability}");
    let mut scene = Scene::new(durability, random);
    let begun = Instant::now();
    let mut is_well = true;
    while begun.elapsed() < time {
        let fault = Fault::any(&mut scene.random, durability);
        if fault == Fault::Bereave && !is_well {
            // Only one at a time may have lost what it once had.
            wait_until_caught_up(&scene.nodes, RECOVERY);
        }
        let (id, began) = (scene.victim(), scene.load.now());
        scene.suffer(fault, id);
        // Where a write counts once it is on disk at a majority, the next may die before this one has come back.
        is_well = durability != "sync" || fault == Fault::Bereave || !scene.random.one_in(3);
        if is_well {
            scene.recover(fault, began);
        }
    }
    scene.check();
}

#[test]
fn nodes_are_restarted_one_after_another_and_nothing_is_lost() {
    if skip_on_other_server() {
        return;
    }
    let _alone = alone();
    let mut scene = Scene::new("async", random());
    let began = scene.load.now();
    for id in 1..=NODES {
        let begun = scene.load.now();
        scene.begin(Fault::Stop, id);
        scene.end(Fault::Stop, id);
        scene.recover(Fault::Stop, begun);
    }
    let longest = scene.load.longest_gap(began, scene.load.now());
    println!("longest time without a write in a rolling restart: {longest:?}");
    assert!(longest < UNAVAILABLE_MAX, "{longest:?}");
    scene.check();
}
