//! `ringmain cluster try`: a cluster of processes on this machine.
//!
//! Nothing is restarted: who kills a node wants to see how the others go on.

use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::connection::{Connection, fields};
use super::options::Try;
use super::plan::{NodePlan, Place, Plan, config_of, log_of};
use super::process::Process;
use super::{Failure, say};

/// How long the nodes may take until there is a leader for every slot.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long they may take to stop before they are killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How often they are looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs a cluster until Ctrl-C.
pub(super) fn run(options: Try) -> Result<(), Failure> {
    let plan = Plan::new(&options)?;
    plan.check_ports()?;
    let place = Place::make(options.dir.as_deref())?;
    plan.write(&place.dir)?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| {
        Failure::Lost(format!("Signals can't be waited for ({error}): try again."))
    })?;
    let mut nodes = Nodes::start(&plan, &place)?;
    let begun = Instant::now();
    loop {
        if signals.pending().next().is_some() {
            return Ok(());
        }
        nodes.check_start()?;
        if nodes.all_lead() {
            break;
        }
        if begun.elapsed() > START_PATIENCE {
            return Err(Failure::Lost(format!(
                "After {} s some slots have no leader yet. {}",
                START_PATIENCE.as_secs(),
                nodes.logs()
            )));
        }
        std::thread::sleep(PAUSE);
    }
    say(&nodes.welcome(&options));
    while signals.pending().next().is_none() {
        nodes.tell_ended();
        std::thread::sleep(PAUSE);
    }
    say("stopping\n");
    Ok(())
}

/// A node and its process.
#[derive(Debug)]
struct Node<'a> {
    plan: &'a NodePlan,
    process: Process,
    /// How it ended, once that has been told.
    ended: Option<ExitStatus>,
}

impl Node<'_> {
    /// Whether it runs, or runs again: one that was brought back is nobody's process here, but answers.
    fn is_there(&self) -> bool {
        let answers = || {
            let connection = Connection::open("127.0.0.1", self.plan.port, None);
            connection.and_then(|mut connection| connection.call(&[b"PING"])).is_ok()
        };
        self.ended.is_none() || answers()
    }
}

/// All nodes. They are stopped when this goes out of scope.
#[derive(Debug)]
struct Nodes<'a> {
    all: Vec<Node<'a>>,
    place: &'a Place,
    shards: u16,
    /// What they run: this very program.
    program: PathBuf,
}

impl<'a> Nodes<'a> {
    fn start(plan: &'a Plan, place: &'a Place) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::Lost(format!(
                "A node can't be started ({error}): look at the limits of processes."
            ))
        };
        let program = std::env::current_exe().map_err(failed)?;
        let mut nodes = Self { all: Vec::new(), place, shards: plan.shards, program };
        for plan in &plan.nodes {
            let (config, log) = (config_of(&place.dir, plan), log_of(&place.dir, plan));
            let process = Process::start(&nodes.program, &config, &log).map_err(failed)?;
            nodes.all.push(Node { plan, process, ended: None });
        }
        Ok(nodes)
    }

    /// A node that ends while the cluster starts has said why.
    fn check_start(&mut self) -> Result<(), Failure> {
        for node in &mut self.all {
            let Some(status) = node.process.ended() else { continue };
            let log =
                std::fs::read_to_string(log_of(&self.place.dir, node.plan)).unwrap_or_default();
            let last = log.lines().rev().find(|line| !line.trim().is_empty());
            let last = last.unwrap_or("it said nothing").trim_start_matches("ringmain: ");
            let (id, how) = (node.plan.id, how_ended(status));
            return Err(Failure::Lost(format!("Node {id} {how} while it started: {last}")));
        }
        Ok(())
    }

    /// Whether every node knows a leader for every slot, and one that is there.
    fn all_lead(&self) -> bool {
        self.all.iter().all(|node| {
            let info = Connection::open("127.0.0.1", node.plan.port, None)
                .and_then(|mut connection| connection.call(&[b"CLUSTER", b"INFO"]));
            let has = |info: &str, wanted| fields(info).any(|field| field == wanted);
            info.is_ok_and(|info| {
                has(&info, ("cluster_state", "ok")) && has(&info, ("cluster_slots_ok", "16384"))
            })
        })
    }

    /// Tells of nodes that have ended since this was last called.
    fn tell_ended(&mut self) {
        for index in 0..self.all.len() {
            let node = &mut self.all[index];
            if node.ended.is_some() {
                continue;
            }
            let Some(status) = node.process.ended() else { continue };
            node.ended = Some(status);
            let (id, how) = (node.plan.id, how_ended(status));
            let left = self.all.iter().filter(|node| node.is_there()).count();
            let goes_on = if left > self.all.len() / 2 {
                "the others go on"
            } else {
                "those that are left are too few to go on"
            };
            say(&format!(
                "node {id} {how}; {goes_on}. To have it back:\n  {} --config {} &\n",
                self.program.display(),
                config_of(&self.place.dir, self.all[index].plan).display()
            ));
        }
    }

    fn logs(&self) -> String {
        let logs = self.all.iter().map(|node| {
            let log =
                std::fs::read_to_string(log_of(&self.place.dir, node.plan)).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(3).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            format!("Node {} said at last: {}", node.plan.id, last.join(" | "))
        });
        logs.collect::<Vec<_>>().join("\n")
    }

    /// How to go on.
    fn welcome(&self, options: &Try) -> String {
        let mut text = format!(
            "a cluster is up: {} nodes, {} shards\n\n  node  port   process\n",
            self.all.len(),
            self.shards
        );
        for node in &self.all {
            // Writing to a string does not fail.
            let _ =
                writeln!(text, "  {:<5} {:<6} {}", node.plan.id, node.plan.port, node.process.id());
        }
        let files = self.place.dir.display();
        let stays = if self.place.is_temporary() { "removed at the end" } else { "kept" };
        let (port, first) = (options.port, self.all.first().map_or(0, |node| node.process.id()));
        let _ = write!(
            text,
            "\n  talk to it      redis-cli -c -p {port} set hello world\n  \
               see how it is   ringmain cluster status --port {}\n  \
               kill a node     kill -9 {first}\n  \
               files and logs  {files} ({stays})\n  \
               stop it         Ctrl-C\n",
            self.all.last().map_or(port, |node| node.plan.port),
        );
        text
    }

    /// Nodes that the user has brought back are stopped too: what they live on may go.
    fn stop_brought_back(&mut self) {
        for node in &mut self.all {
            if node.process.ended().is_some()
                && let Ok(mut connection) = Connection::open("127.0.0.1", node.plan.port, None)
            {
                // It closes the connection, which is no answer.
                let _ = connection.call(&[b"SHUTDOWN"]);
            }
        }
    }
}

impl Drop for Nodes<'_> {
    fn drop(&mut self) {
        self.stop_brought_back();
        self.all.iter_mut().for_each(|node| node.process.stop());
        let begun = Instant::now();
        while begun.elapsed() < STOP_PATIENCE
            && self.all.iter_mut().any(|node| node.process.ended().is_none())
        {
            std::thread::sleep(PAUSE);
        }
        self.all.iter_mut().for_each(|node| node.process.kill());
    }
}

fn how_ended(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(0)) => "has stopped".to_owned(),
        (None, code) => format!("has ended with status {}", code.unwrap_or(-1)),
    }
}
