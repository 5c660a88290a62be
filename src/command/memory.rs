//! `MEMORY`: what memory is used for.

use std::fmt::Write as _;

use super::object;
use super::row::write_help;
use super::{Command, Error, Flags, Group, SessionCx};
use crate::limits::DATABASES;
use crate::node::Node;
use crate::protocol::{Args, Reply};
use crate::types::DbIndex;

/// The rows of this file.
pub const COMMANDS: &[Command] =
    &[Command::container("memory", Group::Server, ROWS, "4.0.0", "Commands on the use of memory.")];

const ROWS: &[Command] = &[
    Command::session("doctor", 2, Group::Server, doctor)
        .doc("4.0.0", "Looks for trouble with memory and tells what it finds."),
    Command::session("help", 2, Group::Server, help)
        .with(Flags::LOADING.union(Flags::STALE))
        .doc("4.0.0", "Tells what the subcommands do."),
    Command::session("malloc-stats", 2, Group::Server, malloc_stats)
        .doc("4.0.0", "Tells what the allocator says of itself."),
    Command::session("purge", 2, Group::Server, purge)
        .doc("4.0.0", "Gives freed memory back to the system."),
    Command::session("stats", 2, Group::Server, stats)
        .doc("4.0.0", "Tells what memory is used for."),
    object::MEMORY_USAGE,
];

const HELP_LINES: &[&str] = &[
    "DOCTOR",
    "    What looks wrong with memory, in words.",
    "MALLOC-STATS",
    "    What the allocator says of itself.",
    "PURGE",
    "    Give freed memory back to the system.",
    "STATS",
    "    What memory is used for, in figures.",
    "USAGE <key> [SAMPLES <count>]",
    "    Bytes of memory that a key takes.",
];

fn help(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    write_help("MEMORY", HELP_LINES, reply);
    Ok(())
}

/// Freed memory is given back as it is freed: pages by the keyspaces, the rest by the allocator.
fn purge(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.ok();
    Ok(())
}

fn malloc_stats(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    // Redis's words for an allocator that keeps no statistics.
    reply.verbatim("Stats not supported for the current allocator");
    Ok(())
}

/// What memory is used for, in bytes: the figures that `INFO` and `MEMORY` share.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// All that is used, the logs' buffers included, which `maxmemory` is not held against.
    pub(super) used: u64,
    /// The highest `used` seen.
    pub(super) peak: u64,
    /// Resident memory of the process.
    pub(super) resident: u64,
    /// Keys and values.
    pub(super) dataset: u64,
    /// Index of the keys.
    pub(super) index: u64,
    /// Requests and replies of clients.
    pub(super) clients: u64,
    /// Changes, records and entries on their way to the disk.
    pub(super) log_buffers: u64,
    /// Number of keys.
    pub(super) keys: u64,
}

impl Usage {
    /// The figures now.
    pub(super) fn of(node: &Node) -> Self {
        // Read once: it changes while this is done.
        let log_buffers = node.log_buffer_bytes();
        let used = node.limited_memory_bytes() + log_buffers;
        let mut usage = Self {
            used,
            peak: node.memory_peak_bytes(used),
            resident: node.host.resident_bytes(),
            log_buffers,
            ..Self::default()
        };
        for shard in &node.shards {
            let memory = shard.memory();
            usage.dataset += (memory.entries_bytes + memory.large_bytes + memory.heap_bytes) as u64;
            usage.index += memory.index_bytes as u64;
            usage.keys += (0..DATABASES).map(|db| shard.keys(DbIndex(db)).0).sum::<u64>();
        }
        for core in &node.cores {
            usage.clients += core.client_bytes.get();
        }
        usage
    }

    /// Everything but keys and values.
    pub(super) fn overhead(&self) -> u64 {
        self.used.saturating_sub(self.dataset)
    }

    /// Resident memory over memory used.
    pub(super) fn fragmentation(&self) -> f64 {
        ratio(self.resident, self.used)
    }

    /// Resident memory that is not used.
    pub(super) fn fragmentation_bytes(&self) -> i64 {
        i64::try_from(self.resident).unwrap_or(i64::MAX)
            - i64::try_from(self.used).unwrap_or(i64::MAX)
    }
}

/// `part / whole`, and 0 of nothing.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn stats(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let usage = Usage::of(cx.node);
    let figures = [
        ("peak.allocated", usage.peak),
        ("total.allocated", usage.used),
        ("startup.allocated", 0),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", usage.clients),
        ("cluster.links", 0),
        ("aof.buffer", usage.log_buffers),
        ("lua.caches", 0),
        ("functions.caches", 0),
    ];
    let databases = databases(cx.node, usage.index);
    let totals = [
        ("overhead.total", usage.overhead()),
        ("keys.count", usage.keys),
        ("keys.bytes-per-key", usage.used.checked_div(usage.keys).unwrap_or(0)),
        ("dataset.bytes", usage.dataset),
    ];
    let shares = [
        ("dataset.percentage", 100.0 * ratio(usage.dataset, usage.used)),
        ("peak.percentage", 100.0 * ratio(usage.used, usage.peak)),
    ];
    let allocator = [
        ("allocator.allocated", usage.used),
        ("allocator.active", usage.used),
        ("allocator.resident", usage.resident),
    ];
    let pairs = figures.len() + databases.len() + totals.len() + shares.len() + allocator.len() + 8;
    reply.map(pairs);
    figures.iter().for_each(|figure| write_figure(*figure, reply));
    for (db, main, expires) in databases {
        reply.bulk(format!("db.{}", db.0).as_bytes());
        reply.map(3);
        write_figure(("overhead.hashtable.main", main), reply);
        write_figure(("overhead.hashtable.expires", expires), reply);
        write_figure(("overhead.hashtable.slot-to-keys", 0), reply);
    }
    totals.iter().for_each(|figure| write_figure(*figure, reply));
    shares.iter().for_each(|share| write_share(*share, reply));
    allocator.iter().for_each(|figure| write_figure(*figure, reply));
    write_fragmentation(&usage, reply);
    Ok(())
}

/// Databases that hold keys, each with its share of the index by number of keys, and 0: expiries
/// are kept in the entries.
fn databases(node: &Node, index_bytes: u64) -> Vec<(DbIndex, u64, u64)> {
    let counts = (0..DATABASES)
        .map(DbIndex)
        .map(|db| (db, node.shards.iter().map(|shard| shard.keys(db).0).sum::<u64>()));
    let counts: Vec<(DbIndex, u64)> = counts.filter(|(_, keys)| *keys > 0).collect();
    let all: u64 = counts.iter().map(|(_, keys)| keys).sum();
    let share = |keys: u64| u128::from(index_bytes) * u128::from(keys) / u128::from(all.max(1));
    counts
        .iter()
        .map(|(db, keys)| (*db, u64::try_from(share(*keys)).unwrap_or(u64::MAX), 0))
        .collect()
}

fn write_fragmentation(usage: &Usage, reply: &mut Reply<'_>) {
    let bytes = usage.fragmentation_bytes();
    for (name, ratio, bytes) in [
        ("allocator-fragmentation", 1.0, 0),
        ("allocator-rss", usage.fragmentation(), bytes),
        ("rss-overhead", 1.0, 0),
    ] {
        write_share((&format!("{name}.ratio"), ratio), reply);
        reply.bulk(format!("{name}.bytes").as_bytes());
        reply.integer(bytes);
    }
    write_share(("fragmentation", usage.fragmentation()), reply);
    reply.bulk(b"fragmentation.bytes");
    reply.integer(bytes);
}

fn write_figure((name, value): (&str, u64), reply: &mut Reply<'_>) {
    reply.bulk(name.as_bytes());
    reply.integer(i64::try_from(value).unwrap_or(i64::MAX));
}

fn write_share((name, value): (&str, f64), reply: &mut Reply<'_>) {
    reply.bulk(name.as_bytes());
    reply.double(value);
}

// --- DOCTOR --------------------------------------------------------------------------------------

/// Below this much there is nothing to judge.
const DOCTOR_BYTES_MIN: u64 = 5 * 1024 * 1024;

fn doctor(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let usage = Usage::of(cx.node);
    if usage.used < DOCTOR_BYTES_MIN {
        reply.verbatim(
            "There is next to nothing in memory, so nothing can be wrong with it. Ask again once \
             there is some data.\n",
        );
        return Ok(());
    }
    let findings = findings(&usage, cx.node.clients.count() as u64, cx.node);
    let mut text = if findings.is_empty() {
        "Memory looks fine.\n".to_owned()
    } else {
        "What stands out:\n".to_owned()
    };
    for finding in findings {
        // Writing to a string does not fail.
        let _ = writeln!(text, "* {finding}");
    }
    reply.verbatim(&text);
    Ok(())
}

fn findings(usage: &Usage, clients: u64, node: &Node) -> Vec<String> {
    let mut findings = Vec::new();
    if ratio(usage.peak, usage.used) > 1.5 {
        findings.push(
            "Peak: much more memory was in use earlier. What the allocator kept from then makes the \
             resident set look larger than the data."
                .to_owned(),
        );
    }
    if usage.fragmentation() > 1.4 && usage.fragmentation_bytes() > 10 << 20 {
        findings.push(format!(
            "Fragmentation: the resident set is {:.2} times the memory in use. It shrinks as sparse \
             pages are emptied; if it does not, restart when it suits.",
            usage.fragmentation()
        ));
    }
    if usage.clients / clients.max(1) > 200 * 1024 {
        findings.push(
            "Clients: connections hold more than 200 KiB each. Some don't read their replies, or send \
             very long requests; CLIENT LIST shows which (omem, qbuf)."
                .to_owned(),
        );
    }
    let limit = node.config.load().maxmemory_bytes;
    if limit > 0 && usage.used > limit / 100 * 95 {
        findings.push(
            "Limit: more than 95 % of maxmemory is in use. Keys are evicted, or with noeviction writes \
             are refused."
                .to_owned(),
        );
    }
    findings
}
