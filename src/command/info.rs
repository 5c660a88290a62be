//! `INFO`: what the server knows of itself, in sections of `name:value` lines.
//!
//! The names are Redis's, because dashboards read them. What this server has no equivalent of keeps
//! the value that a Redis without the feature shows.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::connection::REDIS_VERSION;
use super::latency::{command_stats, stage_latencies};
use super::memory::{Usage, ratio};
use super::persistence::last_save_s;
use super::replication::Standing;
use super::table::Table;
use super::{Command, Error, Flags, Group, SessionCx, cluster};
use crate::cache::{EvictionPolicy, KeyspaceCounts, OutcomeFigures};
use crate::config::Percentiles;
use crate::limits::DATABASES;
use crate::log::LogState;
use crate::metrics::{CommandStats, CoreMetrics, Counter, Gauge, Peak, Stage, Step};
use crate::node::channels::Kind;
use crate::node::{LogStats, Node, Owners, ShardStats};
use crate::protocol::{Args, Reply};
use crate::types::{CoreId, DbIndex};

/// The rows of this file.
pub const COMMANDS: &[Command] = &[Command::session("info", -1, Group::Server, info)
    .with(Flags::LOADING.union(Flags::STALE))
    .doc("1.0.0", "Tells what the server knows of itself.")];

/// Writes the lines of one section.
type Section = fn(&SessionCx<'_>, &mut Lines);

/// The section that only a node of a cluster has.
const RAFT: &str = "Raft";

/// All sections in order, with their titles and whether they are shown unasked.
const SECTIONS: &[(&str, bool, Section)] = &[
    ("Server", true, server),
    ("Clients", true, clients),
    ("Memory", true, memory),
    ("Persistence", true, persistence),
    ("Stats", true, stats),
    ("Replication", true, replication),
    (RAFT, true, raft),
    ("CPU", true, cpu),
    ("Modules", true, modules),
    ("Commandstats", false, commandstats),
    ("Errorstats", true, errorstats),
    ("Latencystats", false, latencystats),
    ("Cluster", true, cluster_section),
    ("Keyspace", true, keyspace),
    ("Ringmain", true, ringmain),
    ("Stages", false, stages),
];

fn info(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.verbatim(&text(cx, args.from(1)));
    Ok(())
}

/// The sections that `names` name, or those that are shown unasked.
pub(super) fn text<'a>(
    cx: &SessionCx<'_>,
    names: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
) -> String {
    let asked = |title: &str, by_default: bool| {
        let wants = |name: &[u8]| {
            name.eq_ignore_ascii_case(title.as_bytes())
                || name.eq_ignore_ascii_case(b"all")
                || name.eq_ignore_ascii_case(b"everything")
                || (by_default && name.eq_ignore_ascii_case(b"default"))
        };
        if names.len() == 0 { by_default } else { names.clone().any(wants) }
    };
    let mut lines = Lines::default();
    for (title, by_default, section) in SECTIONS {
        let is_there = *title != RAFT || cx.node.id.is_some();
        if is_there && asked(title, *by_default) {
            lines.title(title);
            section(cx, &mut lines);
        }
    }
    lines.0
}

/// The text of `INFO` as it grows. Writing to a string does not fail, so results are dropped.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn title(&mut self, title: &str) {
        if !self.0.is_empty() {
            self.0.push_str("\r\n");
        }
        let _ = write!(self.0, "# {title}\r\n");
    }

    fn add(&mut self, name: impl Display, value: impl Display) {
        let _ = write!(self.0, "{name}:{value}\r\n");
    }

    fn all<V: Display>(&mut self, rows: impl IntoIterator<Item = (&'static str, V)>) {
        for (name, value) in rows {
            self.add(name, value);
        }
    }

    /// A number of bytes, and the same for people.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.add(name, bytes);
        self.add(format_args!("{name}_human"), Human(bytes));
    }
}

/// Bytes as people read them: `1.50M`.
struct Human(u64);

impl Display for Human {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
        if self.0 < 1024 {
            return write!(f, "{}B", self.0);
        }
        let power = self.0.ilog2() / 10;
        let value = self.0 as f64 / (1_u64 << (power * 10)) as f64;
        write!(f, "{value:.2}{}", UNITS[power as usize - 1])
    }
}

/// The sum of a counter over all cores.
fn sum(node: &Node, counter: fn(&CoreMetrics) -> &Counter) -> u64 {
    node.cores.iter().map(|core| counter(core).get()).sum()
}

fn gauge_max(node: &Node, gauge: fn(&CoreMetrics) -> &Gauge) -> u64 {
    node.cores.iter().map(|core| gauge(core).get()).max().unwrap_or(0)
}

/// The greatest of all cores' peaks, in microseconds.
fn peak_us(node: &Node, peak: fn(&CoreMetrics) -> &Peak) -> u64 {
    node.cores.iter().map(|core| peak(core).get()).max().unwrap_or(0) / 1000
}

fn counts(node: &Node) -> KeyspaceCounts {
    node.shards.iter().map(|shard| shard.counts()).fold(KeyspaceCounts::default(), |sum, shard| {
        KeyspaceCounts {
            expired: sum.expired + shard.expired,
            expired_fields: sum.expired_fields + shard.expired_fields,
            evicted: sum.evicted + shard.evicted,
            hits: sum.hits + shard.hits,
            misses: sum.misses + shard.misses,
            changes: sum.changes + shard.changes,
        }
    })
}

// --- sections ------------------------------------------------------------------------------------

fn server(cx: &SessionCx<'_>, lines: &mut Lines) {
    let node = cx.node;
    let is_cluster = node.config.load().cluster_enabled || node.id.is_some();
    let mode = if is_cluster { "cluster" } else { "standalone" };
    let uptime_s = cx.now.mono.0.saturating_sub(node.started_at.mono.0) / 1_000_000;
    lines.add("redis_version", REDIS_VERSION);
    lines.add("ringmain_version", env!("CARGO_PKG_VERSION"));
    lines.all([("redis_git_sha1", 0), ("redis_git_dirty", 0)]);
    lines.add("redis_build_id", 0);
    lines.add("redis_mode", mode);
    lines.add("os", &node.process.os);
    lines.add("arch_bits", usize::BITS);
    lines.add("monotonic_clock", "POSIX clock_gettime");
    lines.add("multiplexing_api", "io_uring");
    lines.add("process_id", node.process.id);
    lines.add("process_supervised", "no");
    lines.add("run_id", &node.run_id);
    lines.add("tcp_port", node.topology.common_port);
    lines.add("server_time_usec", cx.now.unix_us);
    lines.add("uptime_in_seconds", uptime_s);
    lines.add("uptime_in_days", uptime_s / 86_400);
    lines.all([("hz", 10), ("configured_hz", 10)]);
    // Redis's LRU clock: seconds, in 24 bits.
    lines.add("lru_clock", (cx.now.unix.0 / 1000) & 0xff_ffff);
    lines.add("executable", &node.process.executable);
    lines.add("config_file", node.process.config_file.as_deref().unwrap_or(""));
    lines.add("io_threads_active", 0);
}

fn clients(cx: &SessionCx<'_>, lines: &mut Lines) {
    let node = cx.node;
    let blocked: u64 = node.cores.iter().map(|core| core.clients_blocked.get()).sum();
    lines.add("connected_clients", node.clients.count());
    lines.add("cluster_connections", 0);
    lines.add("maxclients", node.config.load().maxclients);
    let input = gauge_max(node, |core| &core.input_bytes_max);
    let output = gauge_max(node, |core| &core.output_bytes_max);
    lines.add("client_recent_max_input_buffer", input);
    lines.add("client_recent_max_output_buffer", output);
    lines.add("blocked_clients", blocked);
    lines.add("tracking_clients", node.tracking.clients());
    lines.add("pubsub_clients", node.channels.subscribers());
    let timed: u64 = node.cores.iter().map(|core| core.clients_timed.get()).sum();
    lines.add("clients_in_timeout_table", timed);
    let waited_keys: u64 = node.shards.iter().map(ShardStats::waited_keys).sum();
    lines.add("total_blocking_keys", waited_keys);
    lines.all([("total_blocking_keys_on_nokey", 0)]);
}

fn memory(cx: &SessionCx<'_>, lines: &mut Lines) {
    let node = cx.node;
    let usage = Usage::of(node);
    let config = node.config.load();
    let percent = |part, whole| format!("{:.2}%", 100.0 * ratio(part, whole));
    lines.bytes("used_memory", usage.used);
    lines.bytes("used_memory_rss", usage.resident);
    lines.bytes("used_memory_peak", usage.peak);
    lines.add("used_memory_peak_perc", percent(usage.used, usage.peak));
    lines.add("used_memory_overhead", usage.overhead());
    lines.add("used_memory_startup", 0);
    lines.add("used_memory_dataset", usage.dataset);
    lines.add("used_memory_dataset_perc", percent(usage.dataset, usage.used));
    lines.add("allocator_allocated", usage.used);
    lines.add("allocator_active", usage.used);
    lines.add("allocator_resident", usage.resident);
    lines.bytes("total_system_memory", node.host.total_memory_bytes());
    for name in ["used_memory_lua", "used_memory_vm_eval"] {
        lines.add(name, 0);
    }
    lines.add("used_memory_lua_human", Human(0));
    lines.all(SCRIPT_ROWS.iter().map(|name| (*name, 0)));
    lines.add("used_memory_vm_total_human", Human(0));
    lines.bytes("used_memory_scripts", 0);
    lines.bytes("maxmemory", config.maxmemory_bytes);
    lines.add("maxmemory_policy", policy_name(config.maxmemory_policy));
    let fragmentation = format!("{:.2}", usage.fragmentation());
    lines.add("allocator_frag_ratio", "1.00");
    lines.add("allocator_frag_bytes", 0);
    lines.add("allocator_rss_ratio", &fragmentation);
    lines.add("allocator_rss_bytes", usage.fragmentation_bytes());
    lines.add("rss_overhead_ratio", "1.00");
    lines.add("rss_overhead_bytes", 0);
    lines.add("mem_fragmentation_ratio", &fragmentation);
    lines.add("mem_fragmentation_bytes", usage.fragmentation_bytes());
    lines.all([
        ("mem_not_counted_for_evict", usage.log_buffers),
        ("mem_replication_backlog", 0),
        ("mem_total_replication_buffers", 0),
        ("mem_clients_slaves", 0),
        ("mem_clients_normal", usage.clients),
        ("mem_cluster_links", node.link_bytes()),
        ("mem_aof_buffer", usage.log_buffers),
    ]);
    lines.add("mem_allocator", "libc");
    lines.all([
        ("active_defrag_running", 0),
        ("lazyfree_pending_objects", 0),
        ("lazyfreed_objects", 0),
    ]);
}

/// Fields on scripts, of which there are none.
const SCRIPT_ROWS: &[&str] = &[
    "used_memory_scripts_eval",
    "number_of_cached_scripts",
    "number_of_functions",
    "number_of_libraries",
    "used_memory_vm_functions",
    "used_memory_vm_total",
    "used_memory_functions",
];

fn policy_name(policy: EvictionPolicy) -> &'static str {
    match policy {
        EvictionPolicy::NoEviction => "noeviction",
        EvictionPolicy::AllKeysLru => "allkeys-lru",
        EvictionPolicy::VolatileLru => "volatile-lru",
        EvictionPolicy::AllKeysRandom => "allkeys-random",
        EvictionPolicy::VolatileRandom => "volatile-random",
        EvictionPolicy::VolatileTtl => "volatile-ttl",
    }
}

fn persistence(cx: &SessionCx<'_>, lines: &mut Lines) {
    let node = cx.node;
    lines.all([("loading", u64::from(node.is_loading())), ("async_loading", 0)]);
    lines.add("current_cow_peak", 0);
    if node.is_loading() {
        let (read, total) = node.loaded_bytes();
        let percent = 100.0 * read as f64 / total.max(1) as f64;
        lines.add("loading_start_time", node.started_at.unix.0 / 1000);
        lines.all([("loading_total_bytes", total), ("loading_loaded_bytes", read)]);
        lines.add("loading_loaded_perc", format!("{percent:.2}"));
    }
    let states: Vec<LogState> = node.logs.iter().filter_map(LogStats::state).collect();
    let sum = |count: fn(&LogState) -> u64| states.iter().map(count).sum::<u64>();
    let saving = states.iter().any(|state| state.snapshot.is_some());
    let saved = node.logs.iter().map(LogStats::changes_at_save).sum::<u64>();
    let saves = states.iter().map(|state| state.figures.snapshots).min().unwrap_or(0);
    let is_ok = states.iter().all(|state| state.figures.snapshot_error.is_none());
    let status = |ok: bool| if ok { "ok" } else { "err" };
    lines.all([("current_cow_size", 0), ("current_cow_size_age", 0)]);
    lines.add("current_fork_perc", "0.00");
    let keys_saved = sum(|state| state.snapshot.map_or(0, |(entries, _)| entries));
    lines.add("current_save_keys_processed", keys_saved);
    lines.add("current_save_keys_total", if saving { keys_in(node.shards.iter()) } else { 0 });
    lines.add("rdb_changes_since_last_save", counts(node).changes.saturating_sub(saved));
    lines.add("rdb_bgsave_in_progress", u64::from(saving));
    lines.add("rdb_last_save_time", last_save_s(node));
    lines.add("rdb_last_bgsave_status", status(is_ok));
    lines.all([("rdb_last_bgsave_time_sec", -1), ("rdb_current_bgsave_time_sec", -1)]);
    lines.all([("rdb_saves", saves), ("rdb_last_cow_size", 0)]);
    lines.all([("rdb_last_load_keys_expired", 0), ("rdb_last_load_keys_loaded", 0)]);
    lines.add("aof_enabled", u64::from(!states.is_empty()));
    lines.add("aof_rewrite_in_progress", u64::from(saving));
    let asked = node.logs.iter().any(LogStats::is_asked);
    lines.add("aof_rewrite_scheduled", u64::from(asked));
    lines.all([("aof_last_rewrite_time_sec", -1), ("aof_current_rewrite_time_sec", -1)]);
    lines.add("aof_last_bgrewrite_status", status(is_ok));
    lines.all([("aof_rewrites", saves), ("aof_rewrites_consecutive_failures", 0)]);
    lines.add("aof_last_write_status", status(states.iter().all(|it| it.refusal.is_none())));
    lines.all([("aof_last_cow_size", 0), ("module_fork_in_progress", 0)]);
    lines.add("module_fork_last_cow_size", 0);
    lines.add("durability", node.config.load().durability.name());
    if states.is_empty() {
        return;
    }
    let log_bytes = sum(|state| state.figures.log_bytes);
    lines.all([("aof_current_size", log_bytes)]);
    lines.add("aof_buffer_length", sum(|state| state.waiting_bytes as u64));
    lines.all([
        ("log_segments", sum(|state| state.figures.segments)),
        ("log_records", sum(|state| state.last.0)),
        ("log_records_not_durable", sum(|state| state.last.0 - state.durable.0)),
        ("log_syncs", sum(|state| state.figures.syncs)),
        ("log_written_bytes", sum(|state| state.figures.written_bytes)),
        ("log_payload_bytes", sum(|state| state.figures.payload_bytes)),
        ("snapshot_bytes", sum(|state| state.figures.snapshot_bytes)),
    ]);
    let oldest = states.iter().filter_map(|state| state.unsynced_since).min();
    let behind_us = oldest.map_or(0, |since| cx.now.mono.0.saturating_sub(since.0));
    lines.add("log_sync_behind_ms", behind_us / 1000);
    let refusal = states.iter().find_map(|state| state.refusal);
    lines.add("log_error", refusal.map_or("none".to_owned(), |refusal| refusal.to_string()));
}

/// Writes that clients of the binary protocol may ask for again.
fn once(node: &Node, lines: &mut Lines) {
    let kept = node.shards.iter().map(ShardStats::outcome_figures);
    let kept = kept.fold(OutcomeFigures::default(), OutcomeFigures::plus);
    lines.all([
        ("once_clients", kept.clients),
        ("once_outcomes", kept.outcomes),
        ("once_repeated", kept.repeated),
        ("once_forgotten", kept.forgotten),
    ]);
}

fn stats(cx: &SessionCx<'_>, lines: &mut Lines) {
    let node = cx.node;
    let (rates, counts) = (node.rates(), counts(node));
    let kib = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    let errors: u64 = errors(node).values().sum();
    lines.all([
        ("total_connections_received", sum(node, |core| &core.connections_received)),
        ("total_commands_processed", sum(node, |core| &core.commands_processed)),
        ("instantaneous_ops_per_sec", rates.commands),
        ("total_net_input_bytes", sum(node, |core| &core.input_bytes)),
        ("total_net_output_bytes", sum(node, |core| &core.output_bytes)),
        ("total_net_repl_input_bytes", 0),
        ("total_net_repl_output_bytes", 0),
    ]);
    lines.add("instantaneous_input_kbps", kib(rates.input_bytes));
    lines.add("instantaneous_output_kbps", kib(rates.output_bytes));
    lines.all([("instantaneous_input_repl_kbps", "0.00")]);
    lines.all([("instantaneous_output_repl_kbps", "0.00")]);
    lines.add("rejected_connections", sum(node, |core| &core.connections_rejected));
    lines.all([("sync_full", 0), ("sync_partial_ok", 0), ("sync_partial_err", 0)]);
    lines.add("expired_subkeys", counts.expired_fields);
    lines.add("expired_keys", counts.expired);
    lines.add("expired_stale_perc", "0.00");
    lines.all([("expired_time_cap_reached_count", 0), ("expire_cycle_cpu_milliseconds", 0)]);
    lines.add("evicted_keys", counts.evicted);
    lines.all([("evicted_clients", 0), ("total_eviction_exceeded_time", 0)]);
    lines.add("current_eviction_exceeded_time", 0);
    lines.add("keyspace_hits", counts.hits);
    lines.add("keyspace_misses", counts.misses);
    for (name, kind) in [
        ("pubsub_channels", Kind::Channel),
        ("pubsub_patterns", Kind::Pattern),
        ("pubsubshard_channels", Kind::Shard),
    ] {
        lines.add(name, node.channels.count(kind));
    }
    let tracked = node.shards.iter().map(|shard| shard.tracked());
    let (keys, items) = tracked.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    lines.add("tracking_total_keys", keys);
    lines.add("tracking_total_items", items);
    lines.add("tracking_total_prefixes", node.tracking.prefixes());
    once(node, lines);
    lines.all(UNUSED_STATS.iter().map(|name| (*name, 0)));
    lines.all([
        ("unexpected_error_replies", 0),
        ("total_error_replies", errors),
        ("dump_payload_sanitizations", 0),
        ("total_reads_processed", sum(node, |core| &core.reads)),
        ("total_writes_processed", sum(node, |core| &core.writes)),
        ("io_threaded_reads_processed", 0),
        ("io_threaded_writes_processed", 0),
        ("client_output_buffer_limit_disconnections", sum(node, |core| &core.output_limit_closes)),
        ("reply_buffer_shrinks", 0),
        ("reply_buffer_expands", 0),
    ]);
}

/// Statistics of features that this server does not have.
const UNUSED_STATS: &[&str] = &[
    "latest_fork_usec",
    "total_forks",
    "migrate_cached_sockets",
    "slave_expires_tracked_keys",
    "active_defrag_hits",
    "active_defrag_misses",
    "active_defrag_key_hits",
    "active_defrag_key_misses",
    "total_active_defrag_time",
    "current_active_defrag_time",
];

fn raft(cx: &SessionCx<'_>, lines: &mut Lines) {
    if let Some(standing) = Standing::of(cx) {
        standing.write_raft(cx.node, |name, value| lines.add(name, value));
    }
}

fn replication(cx: &SessionCx<'_>, lines: &mut Lines) {
    if let Some(standing) = Standing::of(cx) {
        return standing.write_info(cx.node, |name, value| lines.add(name, value));
    }
    lines.add("role", "master");
    lines.add("connected_slaves", 0);
    lines.add("master_failover_state", "no-failover");
    lines.add("master_replid", &cx.node.run_id);
    lines.add("master_replid2", "0".repeat(40));
    lines.all([("master_repl_offset", 0), ("second_repl_offset", -1)]);
    lines.all([("repl_backlog_active", 0), ("repl_backlog_size", 1_048_576)]);
    lines.all([("repl_backlog_first_byte_offset", 0), ("repl_backlog_histlen", 0)]);
}

fn cpu(cx: &SessionCx<'_>, lines: &mut Lines) {
    let times = cx.node.host.cpu_times();
    let seconds = |time: Duration| format!("{}.{:06}", time.as_secs(), time.subsec_micros());
    lines.add("used_cpu_sys", seconds(times.system));
    lines.add("used_cpu_user", seconds(times.user));
    lines.add("used_cpu_sys_children", seconds(Duration::ZERO));
    lines.add("used_cpu_user_children", seconds(Duration::ZERO));
}

fn modules(_: &SessionCx<'_>, _: &mut Lines) {}

fn commandstats(cx: &SessionCx<'_>, lines: &mut Lines) {
    for_each_command(cx.node, |name, stats| {
        let micros = stats.total_ns / 1000;
        let per_call = ratio(stats.total_ns, stats.calls) / 1000.0;
        lines.add(
            format_args!("cmdstat_{name}"),
            format_args!(
                "calls={},usec={micros},usec_per_call={per_call:.2},rejected_calls={},\
                 failed_calls={}",
                stats.calls, stats.rejected, stats.failed
            ),
        );
    });
}

fn latencystats(cx: &SessionCx<'_>, lines: &mut Lines) {
    let config = cx.node.config.load();
    if !config.latency_tracking {
        return;
    }
    for_each_command(cx.node, |name, stats| {
        let Some(latencies) = stats.latencies() else { return };
        let percentiles = shown(&config.latency_percentiles, &latencies.histogram()).join(",");
        lines.add(format_args!("latency_percentiles_usec_{name}"), percentiles);
    });
}

/// `p50=1.003`, in microseconds, for each of `percentiles`.
fn shown(percentiles: &Percentiles, latencies: &Histogram<u64>) -> Vec<String> {
    let micros = |ns: u64| ns as f64 / 1000.0;
    percentiles
        .iter()
        .map(|p| format!("p{p}={:.3}", micros(latencies.value_at_quantile(p.quantile()))))
        .collect()
}

/// Where the time of requests goes, over all cores: `LATENCY STAGES CORE` tells it of one.
fn stages(cx: &SessionCx<'_>, lines: &mut Lines) {
    let percentiles = &cx.node.config.load().latency_percentiles;
    for stage in Stage::ALL {
        let latencies = stage_latencies(&cx.node.cores, stage);
        let mut fields = vec![format!("count={}", latencies.len())];
        fields.extend(shown(percentiles, &latencies));
        fields.push(format!("max={:.3}", latencies.max() as f64 / 1000.0));
        lines.add(format_args!("stage_usec_{}", stage.name()), fields.join(","));
    }
}

fn for_each_command(node: &Node, mut visit: impl FnMut(&str, &CommandStats)) {
    for (entry, stats) in Table::get().entries().zip(command_stats(&node.cores)) {
        if !stats.is_empty() {
            visit(entry.full_name, &stats);
        }
    }
}

fn errors(node: &Node) -> BTreeMap<Box<str>, u64> {
    let mut errors = BTreeMap::new();
    node.cores.iter().for_each(|core| core.add_errors_to(&mut errors));
    errors
}

fn errorstats(cx: &SessionCx<'_>, lines: &mut Lines) {
    for (code, count) in errors(cx.node) {
        lines.add(format_args!("errorstat_{code}"), format_args!("count={count}"));
    }
}

/// Cluster clients look here before they ask for the slots, so it says yes as soon as there are
/// ports that they can make use of.
fn cluster_section(cx: &SessionCx<'_>, lines: &mut Lines) {
    lines.add("cluster_enabled", u8::from(cluster::is_enabled(cx.node)));
    if cx.node.id.is_some() {
        lines.all([
            ("cluster_forwarded_commands", sum(cx.node, |core| &core.commands_forwarded)),
            ("cluster_forwards_failed", sum(cx.node, |core| &core.forwards_failed)),
            ("cluster_forward_connections", cx.node.forwards.count() as u64),
            ("cluster_published_sent", sum(cx.node, |core| &core.link_news_sent)),
            ("cluster_published_received", sum(cx.node, |core| &core.link_news_received)),
            ("cluster_published_dropped", sum(cx.node, |core| &core.link_news_dropped)),
        ]);
    }
}

fn keyspace(cx: &SessionCx<'_>, lines: &mut Lines) {
    let owners = cx.node.owners.load();
    for db in (0..DATABASES).map(DbIndex) {
        let seen = cx.session.view.shards(&owners);
        let shards = seen.map(|shard| cx.node.shard(shard).keys(db));
        let (keys, expires) = shards.fold((0, 0), |sum, shard| (sum.0 + shard.0, sum.1 + shard.1));
        if keys > 0 {
            lines.add(
                format_args!("db{}", db.0),
                format_args!("keys={keys},expires={expires},avg_ttl=0"),
            );
        }
    }
}

fn ringmain(cx: &SessionCx<'_>, lines: &mut Lines) {
    let node = cx.node;
    lines.add("cores", node.slots.core_count());
    lines.add("shards", node.slots.shard_count());
    let owners = node.owners.load();
    lines.add("topology_epoch", node.topology_epoch());
    lines.all([
        ("moved_connections", sum(node, |core| &core.connections_moved_in)),
        ("batches_local", sum(node, |core| &core.batches_local)),
        ("batches_borrowed", sum(node, |core| &core.batches_borrowed)),
        ("batches_by_message", sum(node, |core| &core.batches_by_message)),
        ("wake_ups", sum(node, |core| &core.wake_ups)),
        ("turns", sum(node, |core| &core.turns)),
        ("multi_shard_commands", sum(node, |core| &core.commands_multi_shard)),
        ("command_steps", sum(node, |core| &core.command_steps)),
        ("follower_reads", sum(node, |core| &core.follower_reads)),
        ("follower_reads_redirected", sum(node, |core| &core.follower_reads_redirected)),
        ("protocol_errors", sum(node, |core| &core.protocol_errors)),
        ("output_limit_closes", sum(node, |core| &core.output_limit_closes)),
        ("timeout_closes", sum(node, |core| &core.timeout_closes)),
        ("fixed_memory_bytes", node.fixed_bytes()),
        ("stale_completions", sum(node, |core| &core.stale_completions)),
        ("longest_step_us", peak_us(node, |core| &core.longest_step_ns)),
        ("longest_turn_us", peak_us(node, |core| &core.longest_turn_ns)),
    ]);
    let longest = node.cores.iter().max_by_key(|core| core.longest_step_ns.get());
    lines.add("longest_step", longest.map_or("other", |core| step_name(core.longest_step.get())));
    for (index, core) in (0..node.slots.core_count()).zip(&node.cores) {
        core_line(node, &owners, (CoreId(index), core), lines);
    }
}

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Other => "other",
        Step::Maintenance => "maintenance",
        Step::Log => "log",
        Step::Snapshot => "snapshot",
        Step::Recovery => "recovery",
        Step::Command(id) => Table::get().entry(id).map_or("other", |entry| entry.full_name),
    }
}

/// Keys of all databases in these shards.
fn keys_in<'a>(shards: impl Iterator<Item = &'a ShardStats>) -> u64 {
    shards.flat_map(|shard| (0..DATABASES).map(|db| shard.keys(DbIndex(db)).0)).sum()
}

fn core_line(node: &Node, owners: &Owners, core: (CoreId, &CoreMetrics), lines: &mut Lines) {
    let (id, core) = core;
    let ranges = owners.ranges().into_iter().filter(|(_, owner)| *owner == id);
    let slots: Vec<String> = ranges.map(|(slots, _)| cluster::slot_range(&slots)).collect();
    let shards: Vec<_> = owners.shards_of(id).map(|shard| node.shard(shard)).collect();
    let keys = keys_in(shards.iter().copied());
    let data: usize = shards.iter().map(|shard| shard.memory().total_bytes()).sum();
    lines.add(
        format_args!("core_{}", id.0),
        format_args!(
            "port={},shards={},slots={},clients={},keys={keys},data_bytes={data},commands={},\
             moved_in={},moved_out={},local={},borrowed={},by_message={},wake_ups={},turns={},\
             longest_step_us={},longest_step={},longest_turn_us={}",
            node.topology.core_ports.get(usize::from(id.0)).unwrap_or(&node.topology.common_port),
            shards.len(),
            slots.join(" "),
            core.clients.get(),
            core.commands_processed.get(),
            core.connections_moved_in.get(),
            core.connections_moved_out.get(),
            core.batches_local.get(),
            core.batches_borrowed.get(),
            core.batches_by_message.get(),
            core.wake_ups.get(),
            core.turns.get(),
            core.longest_step_ns.get() / 1000,
            step_name(core.longest_step.get()),
            core.longest_turn_ns.get() / 1000,
        ),
    );
}

#[cfg(test)]
mod tests;
