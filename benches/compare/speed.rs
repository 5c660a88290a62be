//! Requests per second and CPU per request: servers on one CPU beside one another, and this server's
//! shards on two.

use std::io;

use crate::load::{Cost, Generator, Load, Verb, warm_up};
use crate::servers::{BASE, Installed};
use crate::table::{Rounds, Table, thousands};
use crate::{Placement, Setting, progress};

/// How much deeper pipelines are cheaper, roughly: more requests keep runs about as long.
const MORE_WHEN_PIPELINED: u64 = 8;

#[derive(Clone, Copy)]
struct Case {
    verb: Verb,
    depth: usize,
}

impl Case {
    fn all(setting: &Setting, verbs: &[Verb]) -> Vec<Self> {
        let depths = setting.depths.iter();
        depths.flat_map(|&depth| verbs.iter().map(move |&verb| Self { verb, depth })).collect()
    }

    fn load(self, setting: &Setting, is_cluster: bool) -> Load {
        let more = if self.depth > 1 { MORE_WHEN_PIPELINED } else { 1 };
        let Self { verb, depth } = self;
        Load { verb, depth, requests: setting.requests * more, is_cluster }
    }

    fn title(self) -> String {
        format!("{}, depth {}", self.verb.name(), self.depth)
    }
}

#[derive(Clone, Default)]
struct Figures {
    requests_per_second: Rounds,
    cpu_us: Rounds,
}

impl Figures {
    fn push(&mut self, cost: Cost) {
        self.requests_per_second.push(cost.requests_per_second);
        self.cpu_us.push(cost.cpu_us);
    }
}

/// Every server in turn on one CPU and the clients on another, started anew in each round.
pub(crate) fn one_shard(setting: &Setting, servers: &[Installed]) -> io::Result<Table> {
    one_cpu(setting, servers, (&[Verb::Set, Verb::Get], &setting.generator))
}

/// The same with transactions, which the built-in client alone can ask for.
pub(crate) fn transactions(setting: &Setting, servers: &[Installed]) -> io::Result<Table> {
    one_cpu(setting, servers, (&[Verb::Transaction], &Generator::BuiltIn))
}

fn one_cpu(
    setting: &Setting,
    servers: &[Installed],
    (verbs, generator): (&[Verb], &Generator),
) -> io::Result<Table> {
    let cases = Case::all(setting, verbs);
    let mut figures = vec![vec![Figures::default(); cases.len()]; servers.len()];
    for round in 1..=setting.rounds {
        for (server, figures) in servers.iter().zip(&mut figures) {
            progress(&format!("speed, round {round}: {}", server.name));
            run((setting, generator), server, &setting.one, false, (&cases, figures))?;
        }
    }

    let base = servers.iter().position(|server| server.name == BASE).unwrap_or(0);
    let ratio = format!("CPU over {}'s", servers[base].name);
    let head = ["", "server", "requests/s", "CPU us/request", &ratio];
    let title = format!("One CPU; {}", setting.rounds_in_words(generator));
    let mut table = Table::new(title, &head, setting.is_markdown);
    for (at, case) in cases.iter().enumerate() {
        for (server, of_server) in servers.iter().zip(&figures) {
            let Figures { requests_per_second, cpu_us } = &of_server[at];
            table.row(vec![
                case.title(),
                server.title(),
                requests_per_second.median_as(thousands),
                cpu_us.spread(),
                cpu_us.over(&figures[base][at].cpu_us).spread(),
            ]);
        }
    }
    Ok(table)
}

/// This server with one shard on one CPU, and with two on two: over the common port, where half of the
/// keys belong to the other core, and over the cores' own ports.
pub(crate) fn two_shards(setting: &Setting, server: &Installed) -> io::Result<Table> {
    let cases = Case::all(setting, &[Verb::Set, Verb::Get]);
    let with = (setting, &setting.generator);
    let follows_slots = setting.generator.follows_slots();
    let [mut one, mut common, mut own] = [(); 3].map(|()| vec![Figures::default(); cases.len()]);
    for round in 1..=setting.rounds {
        progress(&format!("shards, round {round}"));
        run(with, server, &setting.one_of_two, false, (&cases, &mut one))?;
        run(with, server, &setting.two, false, (&cases, &mut common))?;
        if follows_slots {
            run(with, server, &setting.two, true, (&cases, &mut own))?;
        }
    }

    let head = ["", "shards", "requests/s", "CPU us/request", "CPU over one shard's"];
    let title = format!("Two shards on two CPUs; {}", setting.rounds_in_words(&setting.generator));
    let mut table = Table::new(title, &head, setting.is_markdown);
    for (at, case) in cases.iter().enumerate() {
        for (shards, figures) in
            [("one", &one), ("two, common port", &common), ("two, own ports", &own)]
        {
            let Figures { requests_per_second, cpu_us } = &figures[at];
            table.row(vec![
                case.title(),
                shards.to_owned(),
                requests_per_second.median_as(thousands),
                cpu_us.spread(),
                cpu_us.over(&one[at].cpu_us).spread(),
            ]);
        }
    }
    Ok(table)
}

/// Starts `server`, runs every case on it and adds what each cost.
fn run(
    (setting, generator): (&Setting, &Generator),
    server: &Installed,
    place: &Placement,
    is_cluster: bool,
    (cases, figures): (&[Case], &mut [Figures]),
) -> io::Result<()> {
    let running = server.start(&place.server)?;
    warm_up(&running)?;
    for (case, figures) in cases.iter().zip(figures) {
        let load = case.load(setting, is_cluster);
        figures.push(generator.run(load, &running, &place.clients)?);
    }
    Ok(())
}
