//! What durability costs: this project's server with a log beside Redis with an append-only file, at the two
//! levels that both have. `async` stands beside `appendfsync everysec`, `sync` beside `appendfsync always`.
//!
//! Three tables: SETs (requests, latency, CPU); GETs among them, with and without a sync in the
//! writers' way; and what reaches the disk for a byte of keys and values, by the device's own counters.

use std::io;
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use crate::load::{Cost, Load, Seen, Verb, warm_up};
use crate::servers::{BASE, Installed, Running};
use crate::table::{Rounds, Table, thousands};
use crate::{Setting, process, progress};

/// How much deeper pipelines are cheaper, roughly: more requests keep runs about as long.
const MORE_WHEN_PIPELINED: u64 = 8;
const SECTOR_BYTES: u64 = 512;

/// A level that both servers have.
#[derive(Clone, Copy)]
struct Level {
    title: &'static str,
    own: &'static [&'static str],
    others: &'static [&'static str],
}

const LEVELS: [Level; 2] = [
    Level {
        title: "async / everysec",
        own: &["--durability", "async"],
        others: &["--appendonly", "yes", "--appendfsync", "everysec"],
    },
    Level {
        title: "sync / always",
        own: &["--durability", "sync"],
        others: &["--appendonly", "yes", "--appendfsync", "always"],
    },
];

impl Level {
    fn start(self, server: &Installed, setting: &Setting) -> io::Result<Running> {
        let flags = if server.is_own() { self.own } else { self.others };
        server.start_with(&setting.one.server, flags)
    }
}

/// The servers that have an append-only file, or a log.
fn durable(servers: &[Installed]) -> Vec<&Installed> {
    let names = [crate::servers::OWN, BASE, "valkey-server"];
    servers.iter().filter(|server| names.contains(&server.name)).collect()
}

#[derive(Clone, Default)]
struct Figures {
    requests_per_second: Rounds,
    cpu_us: Rounds,
    p50_ms: Rounds,
    p99_ms: Rounds,
}

impl Figures {
    fn push(&mut self, (cost, seen): (Cost, Seen)) {
        self.push_seen(&seen);
        self.cpu_us.push(cost.cpu_us);
    }

    fn push_seen(&mut self, seen: &Seen) {
        self.requests_per_second.push(seen.requests_per_second);
        self.p50_ms.push(seen.p50_ms);
        self.p99_ms.push(seen.p99_ms);
    }
}

/// SETs of 64 bytes at each level.
pub(crate) fn writes(setting: &Setting, servers: &[Installed]) -> io::Result<Table> {
    let servers = durable(servers);
    let depths = [1, 16];
    let mut figures = vec![vec![Figures::default(); servers.len()]; LEVELS.len() * depths.len()];
    for round in 1..=setting.rounds {
        for (at, level) in LEVELS.into_iter().enumerate() {
            for (number, server) in servers.iter().enumerate() {
                progress(&format!("durable, round {round}: {}, {}", level.title, server.name));
                let running = level.start(server, setting)?;
                warm_up(&running)?;
                for (depth_at, depth) in depths.into_iter().enumerate() {
                    let load = load(Verb::Set, depth, setting);
                    let cost =
                        setting.fast_generator.run_timed(load, &running, &setting.one.clients)?;
                    figures[at * depths.len() + depth_at][number].push(cost);
                }
            }
        }
    }
    let base = servers.iter().position(|server| server.name == BASE).unwrap_or(0);
    let name = servers[base].name;
    let head = [
        "",
        "server",
        "requests/s",
        &format!("requests over {name}'s"),
        "p50 ms",
        "p99 ms",
        "CPU us/request",
        &format!("CPU over {name}'s"),
    ];
    let title =
        format!("SET with a log, one CPU; {}", setting.rounds_in_words(&setting.fast_generator));
    let mut table = Table::new(title, &head, setting.is_markdown);
    for (at, figures) in figures.iter().enumerate() {
        let (level, depth) = (LEVELS[at / depths.len()], depths[at % depths.len()]);
        for (server, of_server) in servers.iter().zip(figures) {
            let Figures { requests_per_second, cpu_us, p50_ms, p99_ms } = of_server;
            table.row(vec![
                format!("{}, depth {depth}", level.title),
                server.title(),
                requests_per_second.median_as(thousands),
                requests_per_second.over(&figures[base].requests_per_second).spread(),
                p50_ms.spread(),
                p99_ms.spread(),
                cpu_us.spread(),
                cpu_us.over(&figures[base].cpu_us).spread(),
            ]);
        }
    }
    Ok(table)
}

fn load(verb: Verb, depth: usize, setting: &Setting) -> Load {
    let more = if depth > 1 { MORE_WHEN_PIPELINED } else { 1 };
    Load { verb, depth, requests: setting.requests * more, is_cluster: false }
}

/// GETs at depth 1 among as many SETs, at each level: what readers feel of the writers' syncs.
pub(crate) fn mixed(setting: &Setting, servers: &[Installed]) -> io::Result<Table> {
    let servers = durable(servers);
    let mut figures = vec![vec![Figures::default(); servers.len()]; LEVELS.len()];
    for round in 1..=setting.rounds {
        for (at, level) in LEVELS.into_iter().enumerate() {
            for (number, server) in servers.iter().enumerate() {
                progress(&format!("mixed, round {round}: {}, {}", level.title, server.name));
                let running = level.start(server, setting)?;
                warm_up(&running)?;
                let reads = setting.fast_generator.run_mixed(
                    |verb| load(verb, 1, setting),
                    &running,
                    &setting.one.clients,
                )?;
                figures[at][number].push_seen(&reads);
            }
        }
    }
    let head = ["", "server", "requests/s", "p50 ms", "p99 ms", "p99 over the first's"];
    let title = format!(
        "GETs among as many SETs, one CPU; {}",
        setting.rounds_in_words(&setting.fast_generator)
    );
    let mut table = Table::new(title, &head, setting.is_markdown);
    for (level, of_level) in LEVELS.iter().zip(&figures) {
        for (number, server) in servers.iter().enumerate() {
            let Figures { requests_per_second, p50_ms, p99_ms, .. } = &of_level[number];
            table.row(vec![
                level.title.to_owned(),
                server.title(),
                requests_per_second.median_as(thousands),
                p50_ms.spread(),
                p99_ms.spread(),
                p99_ms.over(&figures[0][number].p99_ms).spread(),
            ]);
        }
    }
    Ok(table)
}

/// Bytes written to the disk for a byte of keys and values. New keys, so that no snapshot is due.
pub(crate) fn amplification(setting: &Setting, servers: &[Installed]) -> io::Result<Table> {
    let head = ["", "server", "MB of keys and values", "MB written to the disk", "ratio"];
    let title = "Write amplification of one connection that writes 64 keys at a time, by the block device's counters";
    let mut table = Table::new(title, &head, setting.is_markdown);
    for level in LEVELS {
        for value_bytes in [64, 4096] {
            for server in durable(servers) {
                progress(&format!("amplification: {}, {}", level.title, server.name));
                let running = level.start(server, setting)?;
                let keys = setting.keys.min(64_000_000 / value_bytes);
                settle(setting);
                let before = device_bytes(running.dir());
                process::pinned(&setting.one.clients, || {
                    crate::load::fill_values(&running, keys, value_bytes)
                })?;
                // What is still to be synced or written back.
                settle(setting);
                let after = device_bytes(running.dir());
                let bytes = (keys * (16 + value_bytes)) as f64;
                let written = after.zip(before).map(|(after, before)| (after - before) as f64);
                table.row(vec![
                    format!("{}, {value_bytes} bytes", level.title),
                    server.title(),
                    format!("{:.1}", bytes / 1e6),
                    written.map_or("-".to_owned(), |written| format!("{:.1}", written / 1e6)),
                    written.map_or("-".to_owned(), |written| format!("{:.2}", written / bytes)),
                ]);
            }
        }
    }
    Ok(table)
}

fn settle(setting: &Setting) {
    if !setting.is_smoke {
        rustix::fs::sync();
        thread::sleep(Duration::from_secs(2));
        rustix::fs::sync();
    }
}

/// Bytes written to the device that a folder is on, since the system was started; nothing where there is no
/// such device.
fn device_bytes(folder: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let device = fs::metadata(folder).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    let sectors: u64 = stat.split_ascii_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * SECTOR_BYTES)
}
