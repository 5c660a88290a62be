//! `INFO`: which sections, and whether the figures add up.

use super::Human;
use crate::cache::{KeyspaceCounts, MemoryUse};
use crate::command::table::Table;
use crate::command::testing::{Client, node};
use crate::metrics::Stage;

fn fields(info: &str) -> Vec<(&str, &str)> {
    info.split('⏎').filter_map(|line| line.split_once(':')).collect()
}

fn titles(info: &str) -> Vec<&str> {
    info.split('⏎').filter_map(|line| line.strip_prefix("# ")).collect()
}

#[test]
fn sections_are_chosen_as_in_redis() {
    let node = node();
    let mut client = Client::new(&node, 6379);
    let by_default = [
        "Server",
        "Clients",
        "Memory",
        "Persistence",
        "Stats",
        "Replication",
        "CPU",
        "Modules",
        "Errorstats",
        "Cluster",
        "Keyspace",
        "Ringmain",
    ];
    for request in ["INFO", "INFO default", "INFO DEFAULT server"] {
        assert_eq!(titles(&client.run(request)), by_default, "{request}");
    }
    for request in ["INFO all", "INFO everything"] {
        assert_eq!(titles(&client.run(request)).len(), by_default.len() + 3, "{request}");
    }
    assert_eq!(titles(&client.run("INFO keyspace CPU keyspace")), ["CPU", "Keyspace"]);
    client.check(&[
        ("INFO nope", "$0⏎"),
        ("INFO cluster", "$30⏎# Cluster⏎cluster_enabled:1⏎"),
        ("INFO cluster modules", "$43⏎# Modules⏎⏎# Cluster⏎cluster_enabled:1⏎"),
    ]);
}

#[test]
fn figures_are_summed_over_cores_and_shards() {
    let node = node();
    let get = Table::get().lookup(b"get").unwrap().id;
    for (index, core) in (1..).zip(&node.cores) {
        core.commands_processed.add(10 * index);
        core.batches_borrowed.add(index);
        core.count_error("ERR syntax error");
        core.record_command(get, 1_000 * index, true);
        core.record_stage(Stage::Total, 2_000 * index, index);
    }
    for (index, shard) in (1..).zip(&node.shards) {
        let counts = KeyspaceCounts { hits: index, misses: 2 * index, ..Default::default() };
        let memory =
            MemoryUse { entries_bytes: 1000, large_bytes: 100, heap_bytes: 0, index_bytes: 10 };
        shard.set_for_tests((5, 2), memory, counts);
    }
    let mut client = Client::new(&node, 6379);
    let info = client.run("INFO everything");
    let fields = fields(&info);
    for expected in [
        ("total_commands_processed", "30"),
        ("total_error_replies", "2"),
        ("errorstat_ERR", "count=2"),
        ("keyspace_hits", "6"),
        ("keyspace_misses", "12"),
        ("db0", "keys=15,expires=6,avg_ttl=0"),
        ("used_memory", "3330"),
        ("used_memory_dataset", "3300"),
        ("used_memory_overhead", "30"),
        ("batches_borrowed", "3"),
        ("connected_clients", "1"),
        ("latency_percentiles_usec_get", "p50=1.003,p99=2.007,p99.9=2.007"),
        ("stage_usec_execute", "count=2,p50=1.003,p99=2.007,p99.9=2.007,max=2.007"),
        ("stage_usec_gather", "count=0,p50=0.000,p99=0.000,p99.9=0.000,max=0.000"),
        ("stage_usec_total", "count=3,p50=4.015,p99=4.015,p99.9=4.015,max=4.015"),
        ("cmdstat_get", "calls=2,usec=3,usec_per_call=1.50,rejected_calls=0,failed_calls=0"),
    ] {
        assert!(fields.contains(&expected), "{expected:?} in {info}");
    }
    node.config.update(|config| {
        config.latency_percentiles = crate::config::Percentiles::parse("0 99.99").unwrap();
    });
    let line = "latency_percentiles_usec_get:p0=1.000,p99.99=2.007⏎";
    assert!(client.run("INFO latencystats").contains(line));
    node.config.update(|config| config.latency_tracking = false);
    assert_eq!(client.run("INFO latencystats"), "$16⏎# Latencystats⏎⏎");
    node.reset_stats();
    let info = client.run("INFO everything");
    assert!(!info.contains("cmdstat_") && !info.contains("errorstat_"));
    assert!(info.contains("⏎total_commands_processed:0⏎") && info.contains("⏎keyspace_hits:0⏎"));
    assert!(info.contains("⏎db0:keys=15,"));
}

#[test]
fn bytes_are_written_as_redis_does() {
    for (bytes, expected) in [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.00K"),
        (965_696, "943.06K"),
        (12_111_872, "11.55M"),
        (25_276_510_208, "23.54G"),
        (u64::MAX, "16.00E"),
    ] {
        assert_eq!(Human(bytes).to_string(), expected);
    }
}
