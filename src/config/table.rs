//! The table of parameters itself: one row each, in the order of the manual, and how the fields that
//! are no plain numbers are read and shown.

use std::path::{Path, PathBuf};

use super::parameter::{Bounds, Change, Form, Parameter, SIZE_MAX};
use super::percentiles::Percentiles;
use super::value::{format_cpus, parse_bind, parse_cluster_peers, parse_cluster_seeds, parse_cpus};
use super::{BinaryPort, Config, DebugCommand, Durability, LogLevel, Secret, ShardPorts};
use crate::cache::{EventClasses, EvictionPolicy};
use crate::limits::{BULK_BYTES_MAX, NODE_ID_MAX, SHARDS_MAX};

/// All parameters, in the order of the manual.
pub const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "bind",
        alias: None,
        form: Form::List(
            "IP addresses separated by spaces, `*` or `::*` for all of them, with a `-` before those \
             that may be missing",
            get_bind,
            set_bind,
        ),
        change: Change::AtStart,
        doc: "Addresses to listen on",
    },
    Parameter {
        name: "port",
        alias: None,
        form: Form::Integer(Bounds(0, 65_535), |c| c.port.into(), |c, v| c.port = narrow(v)),
        change: Change::AtStart,
        doc: "The common port, which serves every key; 0 lets the operating system choose",
    },
    Parameter {
        name: "shard-port-base",
        alias: None,
        form: Form::Text(
            "a port from 1 to 65535, 0 for no such ports, or auto for ports that the operating \
             system chooses",
            get_shard_ports,
            set_shard_ports,
        ),
        change: Change::AtStart,
        doc: "Core i listens on this port + i as well, where cluster clients find it",
    },
    Parameter {
        name: "binary-port",
        alias: None,
        form: Form::Text(
            "a port from 1 to 65535, 0 for no such port, or auto for the port above the common one, \
             if nothing else listens there",
            get_binary_port,
            set_binary_port,
        ),
        change: Change::AtStart,
        doc: "Serves every key in the binary protocol, which every core's own port speaks as well",
    },
    Parameter {
        name: "tcp-backlog",
        alias: None,
        form: Form::Integer(
            Bounds(0, I32_MAX),
            |c| c.tcp_backlog.into(),
            |c, v| c.tcp_backlog = narrow(v),
        ),
        change: Change::AtStart,
        doc: "Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn",
    },
    Parameter {
        name: "tcp-keepalive",
        alias: None,
        form: Form::Integer(
            Bounds(0, I32_MAX),
            |c| c.tcp_keepalive_s.into(),
            |c, v| c.tcp_keepalive_s = narrow(v),
        ),
        change: Change::Live,
        doc: "Seconds of silence after which the kernel probes a client; 0 never. Holds for new \
              connections",
    },
    Parameter {
        name: "shards",
        alias: None,
        form: Form::Integer(
            Bounds(1, SHARDS_MAX as i64),
            |c| c.shards.into(),
            |c, v| c.shards = narrow(v),
        ),
        change: Change::AtStart,
        doc: "Number of shards; one core runs one or more",
    },
    Parameter {
        name: "cpus",
        alias: None,
        form: Form::List("a list of CPUs such as 0-3,6", |c| format_cpus(&c.cpus), set_cpus),
        change: Change::AtStart,
        doc: "CPUs to pin cores to; there are as many cores as CPUs, but no more than shards",
    },
    Parameter {
        name: "cluster-enabled",
        alias: None,
        form: Form::YesNo(|c| c.cluster_enabled, |c, v| c.cluster_enabled = v),
        change: Change::AtStart,
        doc: "Answer MOVED for a key of another core and CROSSSLOT for keys of several slots, as a \
              Redis Cluster does, instead of serving them",
    },
    Parameter {
        name: "node-id",
        alias: None,
        form: Form::Integer(
            Bounds(0, NODE_ID_MAX as i64),
            |c| narrow(c.node_id),
            |c, v| c.node_id = narrow(v),
        ),
        change: Change::AtStart,
        doc: "Which node of a cluster this is, a number that no other node has or had; 0 for a server on \
              its own",
    },
    Parameter {
        name: "cluster-peers",
        alias: None,
        form: Form::List(
            "nodes as ID@HOST:PORT or ID@HOST:PORT@CLUSTER-PORT, separated by spaces",
            get_cluster_peers,
            set_cluster_peers,
        ),
        change: Change::AtStart,
        doc: "The nodes that a new cluster begins with, this one among them, with their common ports: the \
              same on all nodes",
    },
    Parameter {
        name: "cluster-seed",
        alias: None,
        form: Form::List(
            "addresses as HOST:PORT or HOST:PORT@CLUSTER-PORT, separated by spaces",
            get_cluster_seed,
            set_cluster_seed,
        ),
        change: Change::AtStart,
        doc: "Nodes of a cluster, by their common ports, that a node without cluster-peers makes itself known to",
    },
    Parameter {
        name: "cluster-announce-ip",
        alias: None,
        form: Form::Text("an IP address", get_cluster_announce_ip, set_cluster_announce_ip),
        change: Change::AtStart,
        doc: "The address at which other nodes and clients reach this node, where that is not the one that \
              cluster-peers or bind says",
    },
    Parameter {
        name: "cluster-announce-port",
        alias: None,
        form: Form::Integer(
            Bounds(0, 65_535),
            |c| c.cluster_announce_port.into(),
            |c, v| c.cluster_announce_port = narrow(v),
        ),
        change: Change::AtStart,
        doc: "The common port by which other nodes and clients reach this node, where that is not port, as \
              behind NAT; 0 for port",
    },
    Parameter {
        name: "cluster-announce-shard-port-base",
        alias: None,
        form: Form::Integer(
            Bounds(0, 65_535),
            |c| c.cluster_announce_shard_port_base.into(),
            |c, v| c.cluster_announce_shard_port_base = narrow(v),
        ),
        change: Change::AtStart,
        doc: "Core i is reached on this port + i, where that is not the case on shard-port-base + i; 0 for as far from \
              cluster-announce-port as shard-port-base is from port",
    },
    Parameter {
        name: "cluster-announce-bus-port",
        alias: None,
        form: Form::Integer(
            Bounds(0, 65_535),
            |c| c.cluster_announce_bus_port.into(),
            |c, v| c.cluster_announce_bus_port = narrow(v),
        ),
        change: Change::AtStart,
        doc: "Other nodes link to core i on this port + i, where that is not the case on cluster-port + i; 0 for \
              cluster-port",
    },
    Parameter {
        name: "cluster-secret-file",
        alias: None,
        form: Form::Text("a file", get_cluster_secret_file, set_cluster_secret_file),
        change: Change::AtStart,
        doc: "The secret by which the nodes of a cluster know each other, 32 bytes or more: the same on all \
              nodes",
    },
    Parameter {
        name: "cluster-port",
        alias: None,
        form: Form::Integer(
            Bounds(0, 65_535),
            |c| c.cluster_port.into(),
            |c, v| c.cluster_port = narrow(v),
        ),
        change: Change::AtStart,
        doc: "Core i takes links from other nodes on this port + i; 0 for the one that cluster-peers says",
    },
    Parameter {
        name: "cluster-forward",
        alias: None,
        form: Form::YesNo(|c| c.cluster_forward, |c, v| c.cluster_forward = v),
        change: Change::Live,
        doc: "On the common port, leave a command on keys that another node leads to that node, if the \
              client has not shown that it speaks cluster; no for MOVED",
    },
    Parameter {
        name: "heartbeat-ms",
        alias: None,
        form: Form::Integer(
            Bounds(1, 60_000),
            |c| narrow(c.heartbeat_ms),
            |c, v| c.heartbeat_ms = narrow(v),
        ),
        change: Change::AtStart,
        doc: "Milliseconds after which a leader that has nothing to say lets its followers hear from it",
    },
    Parameter {
        name: "election-timeout-ms",
        alias: None,
        form: Form::Integer(
            Bounds(5, 600_000),
            |c| narrow(c.election_timeout_ms),
            |c, v| c.election_timeout_ms = narrow(v),
        ),
        change: Change::AtStart,
        doc: "Milliseconds of silence after which another node may lead, at least five heartbeats",
    },
    Parameter {
        name: "follower-read-max-lag-ms",
        alias: None,
        form: Form::Integer(
            Bounds(0, I32_MAX),
            |c| narrow(c.follower_read_max_lag_ms),
            |c, v| c.follower_read_max_lag_ms = narrow(v),
        ),
        change: Change::Live,
        doc: "Milliseconds that a follower may be behind and still answer the reads of clients that have said \
              READONLY",
    },
    Parameter {
        name: "dir",
        alias: None,
        form: Form::Text("a directory", |c| c.dir.display().to_string(), set_dir),
        change: Change::AtStart,
        doc: "The directory that data lives in",
    },
    Parameter {
        name: "durability",
        alias: None,
        form: Form::Choice(
            &Durability::NAMES,
            |c| c.durability as usize,
            |c, v| c.durability = Durability::ALL[v],
        ),
        change: Change::Live,
        doc: "What an acknowledged write survives: with sync, the loss of power; with async that too, but \
              for the last second; with memory, nothing: then there is no log. A node of a cluster always \
              has one, and waits until a majority has the write in memory, with sync on disk",
    },
    Parameter {
        name: "segment-bytes",
        alias: None,
        form: Form::Memory(
            Bounds(MIB, 1 << 34),
            |c| c.segment_bytes,
            |c, v| c.segment_bytes = v.next_multiple_of(4096),
        ),
        change: Change::AtStart,
        doc: "Length of one file of a shard's log; a longer record has a file of its own",
    },
    Parameter {
        name: "log-bytes-max",
        alias: None,
        form: Form::Memory(Bounds(MIB, SIZE_MAX), |c| c.log_bytes_max, |c, v| c.log_bytes_max = v),
        change: Change::Live,
        doc: "Bytes of all shards' logs beyond which snapshots are taken, so that they can be shortened",
    },
    Parameter {
        name: "auto-aof-rewrite-percentage",
        alias: None,
        form: Form::Integer(
            Bounds(0, I32_MAX),
            |c| i64::try_from(c.auto_aof_rewrite_percentage).unwrap_or(i64::MAX),
            |c, v| c.auto_aof_rewrite_percentage = narrow(v),
        ),
        change: Change::Live,
        doc: "Bytes of a log over bytes of data, in percent, beyond which a snapshot is taken; 0 for no \
              such bound",
    },
    Parameter {
        name: "auto-aof-rewrite-min-size",
        alias: None,
        form: Form::Memory(
            Bounds(0, SIZE_MAX),
            |c| c.auto_aof_rewrite_min_size_bytes,
            |c, v| c.auto_aof_rewrite_min_size_bytes = v,
        ),
        change: Change::Live,
        doc: "Bytes of all shards' logs below which auto-aof-rewrite-percentage does not hold",
    },
    Parameter {
        name: "maxmemory",
        alias: None,
        form: Form::Memory(
            Bounds(0, u64::MAX),
            |c| c.maxmemory_bytes,
            |c, v| c.maxmemory_bytes = v,
        ),
        change: Change::Live,
        doc: "Most memory held for data, tables and clients' buffers; 0 is no limit",
    },
    Parameter {
        name: "maxmemory-policy",
        alias: None,
        form: Form::Choice(
            &POLICY_NAMES,
            |c| index_of(&POLICIES, &c.maxmemory_policy),
            |c, v| c.maxmemory_policy = POLICIES[v],
        ),
        change: Change::Live,
        doc: "What is removed when maxmemory is reached; with noeviction writes are refused",
    },
    threshold(
        ("hash-max-listpack-entries", Some("hash-max-ziplist-entries")),
        |c| narrow(c.thresholds.hash_entries),
        |c, v| c.thresholds.hash_entries = narrow(v),
        "Fields of a hash beyond which it is a table rather than one block",
    ),
    threshold(
        ("hash-max-listpack-value", Some("hash-max-ziplist-value")),
        |c| narrow(c.thresholds.hash_value_bytes),
        |c, v| c.thresholds.hash_value_bytes = narrow(v),
        "Bytes of a field or value beyond which its hash is a table",
    ),
    Parameter {
        name: "list-max-listpack-size",
        alias: Some("list-max-ziplist-size"),
        form: Form::Integer(
            Bounds(-1 - I32_MAX, I32_MAX),
            |c| c.thresholds.list_size,
            |c, v| c.thresholds.list_size = v,
        ),
        change: Change::Live,
        doc: "Elements of one block of a list; -1 to -5 for 4, 8, 16, 32 and 64 KiB instead",
    },
    Parameter {
        name: "list-compress-depth",
        alias: None,
        form: Form::Integer(
            Bounds(0, I32_MAX),
            |c| c.list_compress_depth.into(),
            |c, v| c.list_compress_depth = narrow(v),
        ),
        change: Change::Live,
        doc: "Taken and shown for Redis's sake: blocks of lists are never compressed",
    },
    threshold(
        ("set-max-intset-entries", None),
        |c| narrow(c.thresholds.set_intset_entries),
        |c, v| c.thresholds.set_intset_entries = narrow(v),
        "Members of a set of integers beyond which it is no longer kept as integers",
    ),
    threshold(
        ("set-max-listpack-entries", None),
        |c| narrow(c.thresholds.set_entries),
        |c, v| c.thresholds.set_entries = narrow(v),
        "Members of a set beyond which it is a table rather than one block",
    ),
    threshold(
        ("set-max-listpack-value", None),
        |c| narrow(c.thresholds.set_value_bytes),
        |c, v| c.thresholds.set_value_bytes = narrow(v),
        "Bytes of a member beyond which its set is a table",
    ),
    threshold(
        ("zset-max-listpack-entries", Some("zset-max-ziplist-entries")),
        |c| narrow(c.thresholds.zset_entries),
        |c, v| c.thresholds.zset_entries = narrow(v),
        "Members of a sorted set beyond which it is a tree rather than one block",
    ),
    threshold(
        ("zset-max-listpack-value", Some("zset-max-ziplist-value")),
        |c| narrow(c.thresholds.zset_value_bytes),
        |c, v| c.thresholds.zset_value_bytes = narrow(v),
        "Bytes of a member beyond which its sorted set is a tree",
    ),
    Parameter {
        name: "maxclients",
        alias: None,
        form: Form::Integer(
            Bounds(1, U32_MAX),
            |c| c.maxclients.into(),
            |c, v| c.maxclients = narrow(v),
        ),
        change: Change::Live,
        doc: "Most connections at a time; lowered at start to what the limit of open files allows",
    },
    Parameter {
        name: "timeout",
        alias: None,
        form: Form::Integer(
            Bounds(0, I32_MAX),
            |c| c.timeout_s.into(),
            |c, v| {
                c.timeout_s = narrow(v);
            },
        ),
        change: Change::Live,
        doc: "Seconds after which an idle client is disconnected; 0 never",
    },
    Parameter {
        name: "request-timeout",
        alias: None,
        form: Form::Integer(
            Bounds(0, I32_MAX),
            |c| c.request_timeout_s.into(),
            |c, v| c.request_timeout_s = narrow(v),
        ),
        change: Change::Live,
        doc: "Seconds that a client may take from the first byte of a request to the last before it \
              is disconnected; 0 for ever",
    },
    Parameter {
        name: "client-query-buffer-limit",
        alias: None,
        form: Form::Memory(
            Bounds(MIB, SIZE_MAX),
            |c| c.client_query_buffer_limit_bytes as u64,
            |c, v| c.client_query_buffer_limit_bytes = narrow(v),
        ),
        change: Change::Live,
        doc: "Most input of one client that is not executed yet; beyond it the client is disconnected",
    },
    Parameter {
        name: "client-output-buffer-limit",
        alias: None,
        form: Form::List(
            "classes with three limits each, such as normal 256mb 64mb 60, where the classes are \
             normal, replica and pubsub",
            |c| c.client_output_buffer_limits.to_string(),
            |c, text| c.client_output_buffer_limits.update(text),
        ),
        change: Change::Live,
        doc: "Most output that a client of a class may leave unread: bytes at once, bytes for a time, \
              and that time in seconds; 0 is no limit",
    },
    Parameter {
        name: "proto-max-bulk-len",
        alias: None,
        form: Form::Memory(
            Bounds(MIB, BULK_BYTES_MAX as u64),
            |c| c.proto_max_bulk_len_bytes as u64,
            |c, v| c.proto_max_bulk_len_bytes = narrow(v),
        ),
        change: Change::Live,
        doc: "Longest argument and longest value",
    },
    Parameter {
        name: "requirepass",
        alias: None,
        form: Form::Text("a password", get_requirepass, set_requirepass),
        change: Change::Live,
        doc: "The password that clients must give with AUTH; empty asks for none",
    },
    Parameter {
        name: "protected-mode",
        alias: None,
        form: Form::YesNo(|c| c.protected_mode, |c, v| c.protected_mode = v),
        change: Change::Live,
        doc: "Without a password, serve clients of this machine only",
    },
    Parameter {
        name: "enable-debug-command",
        alias: None,
        form: Form::Choice(
            &DEBUG_COMMAND_NAMES,
            |c| index_of(&DEBUG_COMMANDS, &c.debug_command),
            |c, v| c.debug_command = DEBUG_COMMANDS[v],
        ),
        change: Change::AtStart,
        doc: "Whether clients may use DEBUG; with local, those of this machine only",
    },
    Parameter {
        name: "log-level",
        alias: Some("loglevel"),
        form: Form::Choice(
            &LOG_LEVEL_NAMES,
            |c| index_of(&LOG_LEVELS, &c.log_level),
            |c, v| c.log_level = LOG_LEVELS[v],
        ),
        change: Change::Live,
        doc: "What is logged: this level and the ones after it",
    },
    Parameter {
        name: "slowlog-log-slower-than",
        alias: None,
        form: Form::Integer(
            Bounds(-1, i64::MAX),
            |c| c.slowlog_log_slower_than_us,
            |c, v| c.slowlog_log_slower_than_us = v,
        ),
        change: Change::Live,
        doc: "Microseconds from which a command enters the slow log; 0 logs all, -1 none",
    },
    Parameter {
        name: "slowlog-max-len",
        alias: None,
        form: Form::Integer(
            Bounds(0, i64::MAX),
            |c| narrow(c.slowlog_max_len),
            |c, v| c.slowlog_max_len = narrow(v),
        ),
        change: Change::Live,
        doc: "Entries that the slow log keeps",
    },
    Parameter {
        name: "tracking-table-max-keys",
        alias: None,
        form: Form::Integer(
            Bounds(0, i64::MAX),
            |c| narrow(c.tracked_keys_max),
            |c, v| c.tracked_keys_max = narrow(v),
        ),
        change: Change::Live,
        doc: "Keys of which the server remembers who has read them, for CLIENT TRACKING; 0 sets no limit",
    },
    Parameter {
        name: "latency-monitor-threshold",
        alias: None,
        form: Form::Integer(
            Bounds(0, i64::MAX),
            |c| narrow(c.latency_monitor_threshold_ms),
            |c, v| c.latency_monitor_threshold_ms = narrow(v),
        ),
        change: Change::Live,
        doc: "Milliseconds from which LATENCY keeps an event; 0 keeps none",
    },
    Parameter {
        name: "latency-tracking",
        alias: None,
        form: Form::YesNo(|c| c.latency_tracking, |c, v| c.latency_tracking = v),
        change: Change::Live,
        doc: "Keep a histogram of latency for each command",
    },
    Parameter {
        name: "latency-tracking-info-percentiles",
        alias: None,
        form: Form::List(
            "numbers from 0 to 100 with single spaces between them",
            |c| c.latency_percentiles.to_string(),
            set_latency_percentiles,
        ),
        change: Change::Live,
        doc: "The percentiles of each command's histogram that INFO latencystats shows",
    },
    Parameter {
        name: "notify-keyspace-events",
        alias: None,
        form: Form::Text(
            "letters: K and E for the channels, A or any of g$lshzxetdmn for the events",
            |c| c.notify_keyspace_events.letters(),
            set_events,
        ),
        change: Change::Live,
        doc: "Keyspace events that are published: K on `__keyspace@db__:key`, E on `__keyevent@db__:event`",
    },
    fixed("databases", "16", "Logical databases"),
    fixed("hz", "10", "A core looks at its clients and shards this many times a second"),
    fixed("maxmemory-clients", "0", "Clients are not evicted; maxmemory counts their buffers"),
    fixed("save", "", "There are no RDB snapshots"),
    fixed("appendonly", "no", "There is no append-only file"),
    fixed("daemonize", "no", "The server stays in the foreground"),
    fixed("supervised", "no", "The server tells no supervisor that it is ready"),
    fixed("pidfile", "", "No file with the process id is written"),
    fixed("logfile", "", "The log goes to the standard error"),
    fixed("unixsocket", "", "There is no Unix socket"),
    fixed("tls-port", "0", "There is no TLS"),
    fixed("aclfile", "", "There are no ACL users beside the default one"),
    fixed("replicaof", "", "The server is nobody's replica"),
    fixed("activedefrag", "no", "There is no switch for defragmentation"),
    fixed("lua-time-limit", "0", "There are no scripts to limit"),
    fixed("busy-reply-threshold", "0", "There are no scripts to limit"),
];

const fn fixed(name: &'static str, value: &'static str, doc: &'static str) -> Parameter {
    Parameter { name, alias: None, form: Form::Fixed(value), change: Change::AtStart, doc }
}

/// Up to which size collections of a kind are blocks, in elements or bytes.
const fn threshold(
    (name, alias): (&'static str, Option<&'static str>),
    get: fn(&Config) -> i64,
    set: fn(&mut Config, i64),
    doc: &'static str,
) -> Parameter {
    let form = Form::Integer(Bounds(0, i64::MAX), get, set);
    Parameter { name, alias, form, change: Change::Live, doc }
}

/// A value within its row's bounds as the field's type.
///
/// # Panics
/// If the row's bounds are wider than the field, which the test of the table's bounds finds.
fn narrow<V, T: TryFrom<V>>(value: V) -> T {
    T::try_from(value).ok().expect("the row's bounds fit its field")
}

const MIB: u64 = 1 << 20;
const I32_MAX: i64 = i32::MAX as i64;
const U32_MAX: i64 = u32::MAX as i64;

const POLICIES: [EvictionPolicy; 6] = [
    EvictionPolicy::VolatileLru,
    EvictionPolicy::VolatileRandom,
    EvictionPolicy::VolatileTtl,
    EvictionPolicy::AllKeysLru,
    EvictionPolicy::AllKeysRandom,
    EvictionPolicy::NoEviction,
];
const POLICY_NAMES: [&str; 6] = [
    "volatile-lru",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-random",
    "noeviction",
];

const DEBUG_COMMANDS: [DebugCommand; 3] =
    [DebugCommand::No, DebugCommand::Yes, DebugCommand::Local];
const DEBUG_COMMAND_NAMES: [&str; 3] = ["no", "yes", "local"];

const LOG_LEVELS: [LogLevel; 4] =
    [LogLevel::Debug, LogLevel::Verbose, LogLevel::Notice, LogLevel::Warning];
const LOG_LEVEL_NAMES: [&str; 4] = ["debug", "verbose", "notice", "warning"];

fn index_of<T: PartialEq>(all: &[T], one: &T) -> usize {
    all.iter().position(|item| item == one).expect("the list names every variant")
}

fn set_bind(config: &mut Config, text: &str) -> Result<(), &'static str> {
    config.bind = parse_bind(text).ok_or("Failed to bind to specified addresses.")?;
    Ok(())
}

fn get_bind(config: &Config) -> String {
    config.bind.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn set_cpus(config: &mut Config, text: &str) -> Result<(), &'static str> {
    config.cpus = parse_cpus(text).ok_or("argument must be a list of CPUs")?;
    Ok(())
}

fn set_events(config: &mut Config, text: &str) -> Result<(), &'static str> {
    config.notify_keyspace_events =
        EventClasses::parse(text).ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
    Ok(())
}

fn set_shard_ports(config: &mut Config, text: &str) -> Result<(), &'static str> {
    config.shard_ports = match (text, text.parse()) {
        ("auto", _) => ShardPorts::OsChosen,
        (_, Ok(0)) => ShardPorts::Off,
        (_, Ok(base)) => ShardPorts::From(base),
        (_, Err(_)) => return Err("argument must be a port, 0 or auto"),
    };
    Ok(())
}

fn get_shard_ports(config: &Config) -> String {
    match config.shard_ports {
        ShardPorts::Off => "0".to_owned(),
        ShardPorts::OsChosen => "auto".to_owned(),
        ShardPorts::From(base) => base.to_string(),
    }
}

fn set_binary_port(config: &mut Config, text: &str) -> Result<(), &'static str> {
    config.binary_port = match (text, text.parse()) {
        ("auto", _) => BinaryPort::Auto,
        (_, Ok(0)) => BinaryPort::Off,
        (_, Ok(port)) => BinaryPort::At(port),
        (_, Err(_)) => return Err("argument must be a port, 0 or auto"),
    };
    Ok(())
}

fn get_binary_port(config: &Config) -> String {
    match config.binary_port {
        BinaryPort::Off => "0".to_owned(),
        BinaryPort::Auto => "auto".to_owned(),
        BinaryPort::At(port) => port.to_string(),
    }
}

fn set_cluster_peers(config: &mut Config, text: &str) -> Result<(), &'static str> {
    config.cluster_peers =
        parse_cluster_peers(text).ok_or("argument must be nodes as ID@HOST:PORT")?;
    Ok(())
}

fn get_cluster_peers(config: &Config) -> String {
    config.cluster_peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn set_cluster_seed(config: &mut Config, text: &str) -> Result<(), &'static str> {
    config.cluster_seed = parse_cluster_seeds(text).ok_or("argument must be nodes as HOST:PORT")?;
    Ok(())
}

fn get_cluster_seed(config: &Config) -> String {
    config.cluster_seed.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn set_cluster_announce_ip(config: &mut Config, text: &str) -> Result<(), &'static str> {
    config.cluster_announce_ip = match text {
        "" => None,
        text => Some(text.parse().map_err(|_| "argument must be an IP address")?),
    };
    Ok(())
}

fn get_cluster_announce_ip(config: &Config) -> String {
    config.cluster_announce_ip.map(|ip| ip.to_string()).unwrap_or_default()
}

fn set_cluster_secret_file(config: &mut Config, text: &str) -> Result<(), &'static str> {
    config.cluster_secret_file = match text {
        "" => None,
        text => Some(absolute(Path::new(text)).ok_or("argument must be a file")?),
    };
    Ok(())
}

fn get_cluster_secret_file(config: &Config) -> String {
    config.cluster_secret_file.as_ref().map(|file| file.display().to_string()).unwrap_or_default()
}

fn set_dir(config: &mut Config, text: &str) -> Result<(), &'static str> {
    config.dir = absolute(Path::new(text)).ok_or("argument must be a directory")?;
    Ok(())
}

/// `path` from the root, so that it means the same wherever the process goes. `None` if it is empty.
pub(super) fn absolute(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    Some(path.components().collect())
}

fn set_latency_percentiles(config: &mut Config, text: &str) -> Result<(), &'static str> {
    config.latency_percentiles = Percentiles::parse(text)?;
    Ok(())
}

fn set_requirepass(config: &mut Config, text: &str) -> Result<(), &'static str> {
    config.requirepass = (!text.is_empty()).then(|| Secret(text.to_owned()));
    Ok(())
}

fn get_requirepass(config: &Config) -> String {
    config.requirepass.as_ref().map(|secret| secret.0.clone()).unwrap_or_default()
}
