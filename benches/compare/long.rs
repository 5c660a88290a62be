//! Long values: how fast they come and go over one connection, and what they cost the server.

use std::io;
use std::time::Instant;

use crate::client::Client;
use crate::servers::{BASE, Installed, Running};
use crate::table::{Rounds, Table, thousands};
use crate::{Setting, process, progress};

/// Different keys that a run writes and reads.
const KEYS: usize = 4;

#[derive(Clone, Copy)]
struct Case {
    verb: &'static str,
    bytes: usize,
}

#[derive(Clone, Default)]
struct Figures {
    megabytes_per_second: Rounds,
    cpu_us: Rounds,
}

/// `SET` and `GET` of values of 1 and 10 MB, one at a time.
pub(crate) fn table(setting: &Setting, servers: &[Installed]) -> io::Result<Table> {
    let sizes: &[usize] = if setting.is_smoke { &[100_000] } else { &[1_000_000, 10_000_000] };
    let verbs = |bytes: &usize| ["SET", "GET"].map(|verb| Case { verb, bytes: *bytes });
    let cases: Vec<Case> = sizes.iter().flat_map(verbs).collect();
    let mut figures = vec![vec![Figures::default(); cases.len()]; servers.len()];
    for round in 1..=setting.rounds {
        for (server, figures) in servers.iter().zip(&mut figures) {
            progress(&format!("long values, round {round}: {}", server.name));
            let running = server.start(&setting.one.server)?;
            for (case, figures) in cases.iter().zip(figures) {
                process::pinned(&setting.one.clients, || run(setting, &running, *case, figures))?;
            }
        }
    }
    let base = servers.iter().position(|server| server.name == BASE).unwrap_or(0);
    let ratio = format!("CPU over {}'s", servers[base].name);
    let head = ["", "server", "MB/s", "CPU us/request", &ratio];
    let title = format!("Long values, one connection, depth 1; {} round(s)", setting.rounds);
    let mut table = Table::new(title, &head, setting.is_markdown);
    for (at, case) in cases.iter().enumerate() {
        for (server, of_server) in servers.iter().zip(&figures) {
            let Figures { megabytes_per_second, cpu_us } = &of_server[at];
            table.row(vec![
                format!("{} of {} KB", case.verb, thousands(case.bytes as f64 / 1e3)),
                server.title(),
                megabytes_per_second.median_as(thousands),
                cpu_us.spread(),
                cpu_us.over(&figures[base][at].cpu_us).spread(),
            ]);
        }
    }
    Ok(table)
}

fn run(setting: &Setting, server: &Running, case: Case, figures: &mut Figures) -> io::Result<()> {
    let count = if setting.is_smoke { KEYS } else { 3_000_000_000 / case.bytes };
    let value = vec![b'x'; case.bytes];
    let names: Vec<String> = (0..KEYS).map(|number| format!("long{number}")).collect();
    let mut client = Client::connect(server.address())?;
    for name in &names {
        client.call(&[b"SET", name.as_bytes(), &value])?;
    }
    let (before, start) = (server.cpu_time()?, Instant::now());
    for name in names.iter().cycle().take(count) {
        match case.verb {
            "SET" => client.call(&[b"SET", name.as_bytes(), &value])?,
            _ => client.call(&[b"GET", name.as_bytes()])?,
        };
    }
    let elapsed = start.elapsed().as_secs_f64();
    let spent = server.cpu_time()?.saturating_sub(before).as_secs_f64();
    figures.megabytes_per_second.push((count * case.bytes) as f64 / 1e6 / elapsed);
    figures.cpu_us.push(spent * 1e6 / count as f64);
    Ok(())
}
