//! `LATENCY HISTOGRAM`, `STAGES` and `EXPORT`: how long commands take, and where the time of a request
//! goes (`metrics::stages`).
//!
//! `HISTOGRAM` is Redis's, and in Redis's coarse steps. `STAGES` and `EXPORT` are this server's own, so
//! that whoever reads `HISTOGRAM` finds commands in it and nothing else.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};

use super::super::numbers::parse_i64;
use super::super::row::subcommand_syntax;
use super::super::table::{Entry, Table};
use super::super::{Error, SessionCx};
use super::{Answer, integer};
use crate::metrics::{CommandStats, CoreMetrics, Counts, Stage};
use crate::protocol::{Args, Reply};

/// The upper end of a histogram's first bucket, in nanoseconds; each bucket is twice as wide as the
/// one before, as in Redis.
const FIRST_BUCKET_NS: u64 = 1024;

/// The figures of every command, summed over these cores and indexed by command id.
pub(in super::super) fn command_stats<'a>(
    cores: impl IntoIterator<Item = &'a CoreMetrics>,
) -> Vec<CommandStats> {
    let mut sum = Vec::new();
    cores.into_iter().for_each(|core| core.add_commands_to(&mut sum));
    sum
}

/// The latencies of a stage, summed over these cores.
pub(in super::super) fn stage_latencies<'a>(
    cores: impl IntoIterator<Item = &'a CoreMetrics>,
    stage: Stage,
) -> Histogram<u64> {
    let mut sum = Counts::default();
    cores.into_iter().for_each(|core| core.add_stage_to(stage, &mut sum));
    sum.histogram()
}

// --- HISTOGRAM -----------------------------------------------------------------------------------

pub(super) fn histogram(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let rows = commands(&cx.node.cores, args.from(2), args.len() == 2);
    reply.map(rows.len());
    for (name, latencies) in rows {
        reply.bulk(name.as_bytes());
        write_histogram(&latencies, reply);
    }
    Ok(())
}

/// The latencies of the commands named, each with its subcommands, or of `all`; nothing for those that
/// have none.
fn commands<'a>(
    cores: &[CoreMetrics],
    names: impl Iterator<Item = &'a [u8]>,
    all: bool,
) -> Vec<(&'static str, Histogram<u64>)> {
    let table = Table::get();
    let stats = command_stats(cores);
    let mut rows = Vec::new();
    let mut add = |entry: &Entry| {
        let own = stats.get(usize::from(entry.id.0)).and_then(CommandStats::latencies);
        rows.extend(own.map(|latencies| (entry.full_name, latencies.histogram())));
    };
    if all {
        table.entries().for_each(&mut add);
    }
    for name in names {
        // Some subcommands (`debug|sleep`) are not listed by their names, but counted by them.
        let is_it = |entry: &&Entry| entry.full_name.as_bytes().eq_ignore_ascii_case(name);
        if let Some(entry) = table.find_full_name(name).or_else(|| table.entries().find(is_it)) {
            add(entry);
            table.subcommands(entry).for_each(&mut add);
        }
    }
    rows
}

fn write_histogram(latencies: &Histogram<u64>, reply: &mut Reply<'_>) {
    let buckets = cumulative_buckets(latencies);
    reply.map(2);
    reply.bulk(b"calls");
    integer(latencies.len(), reply);
    reply.bulk(b"histogram_usec");
    reply.map(buckets.len());
    for (micros, calls) in buckets {
        integer(micros, reply);
        integer(calls, reply);
    }
}

/// Upper ends of buckets in microseconds, each with the number of calls up to it; buckets in which
/// there are no calls are left out.
fn cumulative_buckets(latencies: &Histogram<u64>) -> Vec<(u64, u64)> {
    let mut buckets: Vec<(u64, u64)> = Vec::new();
    let (mut end, mut calls) = (FIRST_BUCKET_NS, 0);
    for step in latencies.iter_recorded() {
        while step.value_iterated_to() > latencies.highest_equivalent(end) {
            end *= 2;
        }
        calls += step.count_at_value();
        let micros = latencies.highest_equivalent(end) / 1000;
        match buckets.last_mut() {
            Some(last) if last.0 == micros => last.1 = calls,
            _ => buckets.push((micros, calls)),
        }
    }
    buckets
}

// --- STAGES and EXPORT ---------------------------------------------------------------------------

/// What `STAGES` shows of a stage besides count and mean, by quantile.
const QUANTILES: [(&str, f64); 7] = [
    ("min_ns", 0.0),
    ("p50_ns", 0.5),
    ("p90_ns", 0.9),
    ("p99_ns", 0.99),
    ("p99.9_ns", 0.999),
    ("p99.99_ns", 0.9999),
    ("max_ns", 1.0),
];

pub(super) fn stages(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    if args.len() == 3 && args.at(2).eq_ignore_ascii_case(b"reset") {
        cx.node.cores.iter().for_each(CoreMetrics::reset_stages);
        reply.ok();
        return Ok(());
    }
    let (cores, next) = chosen_cores(&cx.node.cores, args, 2)?;
    if next < args.len() {
        return Err(subcommand_syntax(args));
    }
    reply.map(Stage::ALL.len());
    for stage in Stage::ALL {
        reply.bulk(stage.name().as_bytes());
        write_summary(&stage_latencies(cores, stage), reply);
    }
    Ok(())
}

fn write_summary(latencies: &Histogram<u64>, reply: &mut Reply<'_>) {
    reply.map(2 + QUANTILES.len());
    reply.bulk(b"count");
    integer(latencies.len(), reply);
    reply.bulk(b"mean_ns");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an hour at most")]
    integer(latencies.mean().round() as u64, reply);
    for (name, quantile) in QUANTILES {
        reply.bulk(name.as_bytes());
        integer(latencies.value_at_quantile(quantile), reply);
    }
}

pub(super) fn export(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (cores, next) = chosen_cores(&cx.node.cores, args, 3)?;
    let names = args.from(next);
    let all = next == args.len();
    let rows = match args.at(2) {
        kind if kind.eq_ignore_ascii_case(b"commands") => commands(cores, names, all),
        kind if kind.eq_ignore_ascii_case(b"stages") => stage_rows(cores, names, all),
        _ => return Err(subcommand_syntax(args)),
    };
    reply.map(rows.len());
    for (name, latencies) in rows {
        reply.bulk(name.as_bytes());
        reply.bulk(encode(&latencies)?.as_bytes());
    }
    Ok(())
}

/// The latencies of the stages named, or of `all`.
fn stage_rows<'a>(
    cores: &[CoreMetrics],
    names: impl Iterator<Item = &'a [u8]>,
    all: bool,
) -> Vec<(&'static str, Histogram<u64>)> {
    let named: Vec<Stage> = names.filter_map(Stage::find).collect();
    let stages = Stage::ALL.into_iter().filter(|stage| all || named.contains(stage));
    stages.map(|stage| (stage.name(), stage_latencies(cores, stage))).collect()
}

/// The core that `CORE index` from argument `at` on chooses, or all, and the argument behind it.
fn chosen_cores<'a>(
    cores: &'a [CoreMetrics],
    args: &Args<'_>,
    at: usize,
) -> Result<(&'a [CoreMetrics], usize), Error> {
    if !args.get(at).is_some_and(|word| word.eq_ignore_ascii_case(b"core")) {
        return Ok((cores, at));
    }
    let index = args.get(at + 1).and_then(parse_i64).and_then(|index| usize::try_from(index).ok());
    let core = index.and_then(|index| cores.get(index..=index));
    let core = core.ok_or_else(|| {
        Error::Text(format!("ERR CORE takes the number of a core, from 0 to {}", cores.len() - 1))
    })?;
    Ok((core, at + 2))
}

/// HdrHistogram's encoding (version 2) in base64. Not the compressed one: empty cells take no room in
/// this one either, and a core has better things to do than to compress.
fn encode(latencies: &Histogram<u64>) -> Result<String, Error> {
    let mut bytes = Vec::new();
    V2Serializer::new()
        .serialize(latencies, &mut bytes)
        .map_err(|error| Error::Text(format!("ERR a histogram can't be encoded: {error}")))?;
    Ok(BASE64_STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::{BASE64_STANDARD, Histogram, cumulative_buckets};
    use crate::command::table::Table;
    use crate::command::testing::{Client, node};
    use crate::metrics::{CommandId, Stage};
    use base64::Engine as _;
    use hdrhistogram::serialization::Deserializer;

    fn id(name: &[u8]) -> CommandId {
        Table::get().find_full_name(name).unwrap().id
    }

    #[test]
    fn histograms_of_all_cores_are_one() {
        let node = node();
        node.cores[0].record_command(id(b"get"), 1_500, true);
        node.cores[1].record_command(id(b"get"), 3_000, true);
        node.cores[1].record_command(id(b"client|list"), 900, true);
        let get = "$3⏎get⏎%2⏎$5⏎calls⏎:2⏎$14⏎histogram_usec⏎%2⏎:2⏎:1⏎:4⏎:2";
        let list = "$11⏎client|list⏎%2⏎$5⏎calls⏎:1⏎$14⏎histogram_usec⏎%1⏎:1⏎:1";
        let mut client = Client::new(&node, 6379);
        client.run("HELLO 3");
        client.check(&[
            ("LATENCY HISTOGRAM", &format!("%2⏎{list}⏎{get}")),
            ("LATENCY HISTOGRAM nope get set", &format!("%1⏎{get}")),
            ("LATENCY HISTOGRAM client", &format!("%1⏎{list}")),
            ("LATENCY HISTOGRAM client|list", &format!("%1⏎{list}")),
        ]);
    }

    #[test]
    fn stages_are_shown_by_core_and_reset() {
        let node = node();
        node.cores[0].record_stage(Stage::Ring, 100, 3);
        node.cores[1].record_stage(Stage::Ring, 200, 1);
        let mut client = Client::new(&node, 6379);
        client.run("HELLO 3");
        let ring = |count, mean, min, p50, max| {
            let fields = [
                ("count", count),
                ("mean_ns", mean),
                ("min_ns", min),
                ("p50_ns", p50),
                ("p90_ns", max),
                ("p99_ns", max),
                ("p99.9_ns", max),
                ("p99.99_ns", max),
                ("max_ns", max),
            ];
            let fields = fields.map(|(name, value)| format!("${}⏎{name}⏎:{value}", name.len()));
            format!("%10⏎$4⏎ring⏎%9⏎{}⏎$4⏎held⏎%9⏎$5⏎count⏎:0⏎", fields.join("⏎"))
        };
        let none = ring(0, 0, 0, 0, 0);
        for (request, begins) in [
            ("LATENCY STAGES", ring(4, 125, 100, 100, 200)),
            ("LATENCY STAGES CORE 0", ring(3, 100, 100, 100, 100)),
            ("latency stages core 1", ring(1, 200, 200, 200, 200)),
            ("LATENCY STAGES RESET", "+OK".to_owned()),
            ("LATENCY STAGES", none),
        ] {
            let reply = client.run(request);
            assert!(reply.starts_with(&begins), "{request}: {reply}\nnot {begins}");
        }
        client.check(&[
            ("LATENCY STAGES CORE 2", "-ERR CORE takes the number of a core, from 0 to 1"),
            ("LATENCY STAGES CORE", "-ERR CORE takes the number of a core, from 0 to 1"),
            ("LATENCY STAGES CORE -1", "-ERR CORE takes the number of a core, from 0 to 1"),
            (
                "LATENCY STAGES x",
                "-ERR unknown subcommand or wrong number of arguments for 'STAGES'. Try LATENCY HELP.",
            ),
            (
                "LATENCY EXPORT x",
                "-ERR unknown subcommand or wrong number of arguments for 'EXPORT'. Try LATENCY HELP.",
            ),
            ("LATENCY EXPORT STAGES nope", "%0"),
            ("LATENCY EXPORT COMMANDS", "%0"),
        ]);
    }

    #[test]
    fn what_is_exported_loses_nothing() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        for ns in [300, 1_500, 1_501, 80_000_000] {
            node.cores[1].record_command(id(b"get"), ns, true);
        }
        let expected = super::commands(&node.cores, std::iter::empty(), true);
        for (request, name) in [
            ("LATENCY EXPORT COMMANDS get", "get"),
            ("LATENCY EXPORT COMMANDS CORE 1", "get"),
            ("LATENCY EXPORT STAGES CORE 1 execute", "execute"),
        ] {
            let reply = client.run(request);
            let words: Vec<&str> = reply.split('⏎').collect();
            assert_eq!((words[0], words[2]), ("*2", name), "{request}: {reply}");
            let bytes = BASE64_STANDARD.decode(words[4]).unwrap();
            let found: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            assert_eq!(found, expected[0].1, "{request}");
        }
        let reply = client.run("LATENCY EXPORT STAGES CORE 0 execute");
        assert!(!reply.is_empty() && reply.starts_with("*2⏎$7⏎execute⏎"), "{reply}");
    }

    #[test]
    fn buckets_double_and_add_up() {
        let mut latencies = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 2).unwrap();
        assert!(cumulative_buckets(&latencies).is_empty());
        for ns in [300, 900, 1_500, 3_000, 30_000, 30_000, 100_000, 500_000] {
            latencies.record(ns).unwrap();
        }
        // As Redis groups these durations.
        assert_eq!(
            cumulative_buckets(&latencies),
            [(1, 2), (2, 3), (4, 4), (33, 6), (132, 7), (528, 8)]
        );
    }
}
