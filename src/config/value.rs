//! The types of parameters that are more than a number, and how values are read from text and
//! written as text. Memory sizes, `bind`, CPU lists and output limits have Redis's syntax.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::{NODE_ID_MAX, SHARDS_MAX};
use crate::types::NodeId;

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The address.
    pub ip: IpAddr,
    /// Written with a leading `-`: it is no error if this machine does not have the address.
    pub optional: bool,
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dash = if self.optional { "-" } else { "" };
        match self.ip {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => write!(f, "{dash}*"),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => write!(f, "{dash}::*"),
            ip => write!(f, "{dash}{ip}"),
        }
    }
}

/// Addresses separated by spaces or commas; `*` is every IPv4 address, `::*` every IPv6 address.
/// `None` if there is none, or one that is not an address.
pub fn parse_bind(text: &str) -> Option<Vec<Bind>> {
    let words = text.split([' ', ',']).filter(|word| !word.is_empty());
    let binds: Vec<Bind> = words.map(parse_bind_word).collect::<Option<_>>()?;
    (!binds.is_empty()).then_some(binds)
}

fn parse_bind_word(word: &str) -> Option<Bind> {
    let (address, optional) = match word.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (word, false),
    };
    let ip = match address {
        "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "::*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        address => address.parse().ok()?,
    };
    Some(Bind { ip, optional })
}

/// Where cores listen besides the common port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardPorts {
    /// Nowhere.
    Off,
    /// On ports that the operating system chooses, as it does for the common port.
    OsChosen,
    /// Core `i` on this port + `i`.
    From(u16),
}

/// How far the shard ports stand from the common port when nothing else is said.
const SHARD_PORT_DISTANCE: u16 = 10_000;

impl ShardPorts {
    /// The default for `cores` cores beside the common port `port`: 10,000 above it or, where there
    /// is no room for as many, 10,000 below.
    pub fn beside(port: u16, cores: u16) -> Self {
        if port == 0 {
            return Self::OsChosen;
        }
        let above = port.checked_add(SHARD_PORT_DISTANCE);
        match above.filter(|base| base.checked_add(cores.saturating_sub(1)).is_some()) {
            Some(base) => Self::From(base),
            None => Self::From(port - SHARD_PORT_DISTANCE),
        }
    }

    /// The port of core `core`, if it is fixed.
    pub fn of_core(self, core: u16) -> Option<u16> {
        match self {
            Self::Off | Self::OsChosen => None,
            Self::From(base) => base.checked_add(core),
        }
    }
}

/// Where clients of the binary protocol find the server besides the cores' own ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryPort {
    /// Nowhere.
    Off,
    /// On the port above the common one, if nothing else is there; where the operating system chooses
    /// the common port, it chooses this one as well.
    Auto,
    /// On this port.
    At(u16),
}

/// A node that a new cluster begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPeer {
    /// Which.
    pub id: NodeId,
    /// Its name or address, without brackets.
    pub host: String,
    /// Its common port.
    pub port: u16,
    /// Where its first core takes links, if that is said.
    pub link_port: Option<u16>,
}

/// How far the ports for links stand from the common port when nothing else is said: as far from the core's
/// own ports as those from the common port, and as Redis's nodes have it.
const CLUSTER_PORT_DISTANCE: u16 = 20_000;

impl ClusterPeer {
    /// Where its first core takes links: unless it is said, 20,000 above the common port or, where not all
    /// cores that a node may have find room, 20,000 below. Never 0.
    pub fn cluster_port(&self) -> u16 {
        const HIGHEST: u16 = u16::MAX - CLUSTER_PORT_DISTANCE - SHARDS_MAX;
        self.link_port.unwrap_or(if self.port <= HIGHEST {
            self.port + CLUSTER_PORT_DISTANCE
        } else {
            self.port - CLUSTER_PORT_DISTANCE
        })
    }

    /// Reads `ID@HOST:PORT` and `ID@HOST:PORT@CLUSTER-PORT`; a host with colons has brackets.
    fn parse(word: &str) -> Option<Self> {
        let (id, address) = word.split_once('@')?;
        let (address, link_port) = match address.split_once('@') {
            Some((address, port)) => (address, Some(parse_port(port)?)),
            None => (address, None),
        };
        let (host, port) = address.rsplit_once(':')?;
        let bare = host.strip_prefix('[').map(|rest| rest.strip_suffix(']'));
        let host = match bare {
            Some(bare) => bare?,
            None if host.contains(':') => return None,
            None => host,
        };
        let id = NodeId(id.parse().ok().filter(|id| (1..=NODE_ID_MAX).contains(id))?);
        (!host.is_empty()).then_some(())?;
        Some(Self { id, host: host.to_owned(), port: parse_port(port)?, link_port })
    }
}

impl fmt::Display for ClusterPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, host, port, link_port } = self;
        if host.contains(':') {
            write!(f, "{}@[{host}]:{port}", id.0)?;
        } else {
            write!(f, "{}@{host}:{port}", id.0)?;
        }
        link_port.map_or(Ok(()), |port| write!(f, "@{port}"))
    }
}

fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// Nodes separated by spaces or commas; `None` if one of them is none.
pub fn parse_cluster_peers(text: &str) -> Option<Vec<ClusterPeer>> {
    let words = text.split([' ', ',']).filter(|word| !word.is_empty());
    words.map(ClusterPeer::parse).collect()
}

/// An address at which a node is that knows the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSeed {
    /// Its name or address, without brackets.
    pub host: String,
    /// Its common port.
    pub port: u16,
    /// Where its first core takes links.
    pub link_port: u16,
}

impl fmt::Display for ClusterSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, link_port } = self;
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{host}{close}:{port}@{link_port}")
    }
}

/// Reads `HOST:PORT` and `HOST:PORT@CLUSTER-PORT`, separated by spaces or commas; `None` if one of them is neither.
pub fn parse_cluster_seeds(text: &str) -> Option<Vec<ClusterSeed>> {
    let words = text.split([' ', ',']).filter(|word| !word.is_empty());
    let seed = |word: &str| {
        let peer = ClusterPeer::parse(&format!("1@{word}"))?;
        let link_port = peer.cluster_port();
        Some(ClusterSeed { host: peer.host, port: peer.port, link_port })
    };
    words.map(seed).collect()
}

/// Where the first core of a node takes links, of which nothing but its common port is known.
pub fn cluster_port_beside(port: u16) -> u16 {
    ClusterPeer { id: NodeId(0), host: String::new(), port, link_port: None }.cluster_port()
}

/// What an acknowledged write has survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing: it is in memory.
    Memory,
    /// Nothing yet: it is on its way to the log, and on disk within a second.
    Async,
    /// The loss of power: it is on disk.
    Sync,
}

impl Durability {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Async, Self::Sync];
    /// Their names, in that order.
    pub const NAMES: [&'static str; 3] = ["memory", "async", "sync"];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The one of that name, in any case.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let is_it = |durability: &Self| name.eq_ignore_ascii_case(durability.name().as_bytes());
        Self::ALL.into_iter().find(is_it)
    }
}

/// What is logged: this level and those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything, for developers.
    Debug,
    /// Connections coming and going, and the like.
    Verbose,
    /// What an operator wants to know.
    Notice,
    /// What an operator must know.
    Warning,
}

/// Who may use `DEBUG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugCommand {
    /// Nobody.
    No,
    /// Everybody.
    Yes,
    /// Clients of this machine.
    Local,
}

/// A password. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl Secret {
    /// The bytes to compare with; compare in constant time.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How much unread output a client may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// Closed at once beyond this many bytes; 0 is no limit.
    pub hard_bytes: u64,
    /// Closed after `soft_s` seconds without a break beyond this many bytes; 0 is no limit.
    pub soft_bytes: u64,
    /// How long `soft_bytes` may be exceeded, in seconds.
    pub soft_s: u64,
}

/// Output limits by class of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// Ordinary clients, those in `MONITOR` included.
    pub normal: OutputLimit,
    /// Replicas.
    pub replica: OutputLimit,
    /// Subscribers.
    pub pubsub: OutputLimit,
}

impl Default for OutputLimits {
    fn default() -> Self {
        let limit = |hard_bytes, soft_bytes, soft_s| OutputLimit { hard_bytes, soft_bytes, soft_s };
        Self {
            normal: limit(0, 0, 0),
            replica: limit(256 << 20, 64 << 20, 60),
            pubsub: limit(32 << 20, 8 << 20, 60),
        }
    }
}

impl fmt::Display for OutputLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes = [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)];
        for (index, (class, limit)) in classes.into_iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            let OutputLimit { hard_bytes, soft_bytes, soft_s } = limit;
            write!(f, "{space}{class} {hard_bytes} {soft_bytes} {soft_s}")?;
        }
        Ok(())
    }
}

impl OutputLimits {
    /// Changes the classes that `text` names: `<class> <hard> <soft> <seconds>`, once or more. On an
    /// error, in Redis's words, nothing is changed.
    pub fn update(&mut self, text: &str) -> Result<(), &'static str> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() || !words.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.");
        }
        let mut limits = *self;
        for class in words.chunks_exact(4) {
            let limit = match class[0].to_ascii_lowercase().as_str() {
                "normal" => &mut limits.normal,
                "slave" | "replica" => &mut limits.replica,
                "pubsub" => &mut limits.pubsub,
                _ => return Err("Invalid client class specified in buffer limit configuration."),
            };
            *limit = parse_output_limit(&class[1..]).ok_or(
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
            )?;
        }
        *self = limits;
        Ok(())
    }
}

fn parse_output_limit(words: &[&str]) -> Option<OutputLimit> {
    Some(OutputLimit {
        hard_bytes: parse_memory(words[0])?,
        soft_bytes: parse_memory(words[1])?,
        soft_s: words[2].parse().ok()?,
    })
}

/// Bytes as Redis writes them: digits and a unit, of which `k`, `m` and `g` count in thousands and
/// `kb`, `mb` and `gb` in powers of 1024.
pub fn parse_memory(text: &str) -> Option<u64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// A list of CPUs in the kernel's form, `0-3,6`, or with spaces: ascending and without repeats in the answer.
/// `None` if it is empty or not such a list.
pub fn parse_cpus(text: &str) -> Option<Vec<u16>> {
    let mut cpus = Vec::new();
    for part in text.split([' ', ',']).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > CPU_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    (!cpus.is_empty()).then_some(cpus)
}

/// The highest CPU number that a list may name; the kernel's own bound is 8,192 CPUs.
pub const CPU_MAX: u16 = 8_191;

/// `0-3,6` for CPUs in ascending order.
pub fn format_cpus(cpus: &[u16]) -> String {
    cpus.chunk_by(|a, b| a + 1 == *b)
        .map(|run| match run {
            [one] => one.to_string(),
            [first, .., last] => format!("{first}-{last}"),
            [] => String::new(),
        })
        .collect::<Vec<_>>()
        .join(",")
}

/// The CPUs that this process may run on (its affinity, as `/proc/self/status` tells it, which a
/// control group's CPU set narrows). Never empty.
pub fn available_cpus() -> Vec<u16> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .and_then(|list| parse_cpus(list.trim()))
        .unwrap_or_else(cpus_by_count)
}

/// Without `/proc` only the number of CPUs is known.
fn cpus_by_count() -> Vec<u16> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    (0..=CPU_MAX).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        OutputLimits, ShardPorts, available_cpus, format_cpus, parse_bind, parse_cluster_peers,
        parse_cpus, parse_memory,
    };

    #[test]
    fn memory_sizes_are_redis_s() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("100", Some(100)),
            ("100b", Some(100)),
            ("1k", Some(1_000)),
            ("1kb", Some(1_024)),
            ("2M", Some(2_000_000)),
            ("100mb", Some(104_857_600)),
            ("1g", Some(1_000_000_000)),
            ("1Gb", Some(1_073_741_824)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("17179869184gb", None),
            ("", None),
            ("mb", None),
            ("-1", None),
            ("+1", None),
            ("1 mb", None),
            ("5%", None),
            ("1.5gb", None),
        ] {
            assert_eq!(parse_memory(text), bytes, "{text}");
        }
    }

    #[test]
    fn cpu_lists_are_the_kernel_s() {
        for (text, cpus, shown) in [
            ("0", vec![0], "0"),
            ("0-3,6", vec![0, 1, 2, 3, 6], "0-3,6"),
            ("6,0-1,1", vec![0, 1, 6], "0-1,6"),
            ("1, 3", vec![1, 3], "1,3"),
        ] {
            assert_eq!(parse_cpus(text).as_ref(), Some(&cpus), "{text}");
            assert_eq!(format_cpus(&cpus), shown);
        }
        for text in ["", ",", "a", "3-1", "0-", "-1", "0-99999", "0-65535", "1-2-3"] {
            assert_eq!(parse_cpus(text), None, "{text}");
        }
    }

    #[test]
    fn bind_lists_are_redis_s() {
        for (text, shown) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("127.0.0.1 -::1", Some("127.0.0.1 -::1")),
            ("* -::*", Some("* -::*")),
            ("0.0.0.0,::", Some("* ::*")),
            ("localhost", Some("127.0.0.1")),
            ("", None),
            ("127.0.0.1 nowhere", None),
            ("127.0.0.1:6379", None),
        ] {
            let binds = parse_bind(text);
            let words = binds.map(|b| b.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(words.map(|w| w.join(" ")).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn output_limits_change_the_classes_they_name() {
        let default = OutputLimits::default();
        assert_eq!(
            default.to_string(),
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"
        );
        let mut limits = default;
        assert_eq!(limits.update("normal 1mb 2mb 60 replica 1 2 3"), Ok(()));
        assert_eq!(
            limits.to_string(),
            "normal 1048576 2097152 60 slave 1 2 3 pubsub 33554432 8388608 60"
        );
        for (text, error) in [
            ("", "Wrong number of arguments in buffer limit configuration."),
            ("normal 1 2", "Wrong number of arguments in buffer limit configuration."),
            ("foo 1 2 3", "Invalid client class specified in buffer limit configuration."),
            (
                "normal 5 5 5 pubsub 1 2 -3",
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
            ),
        ] {
            let before = limits;
            assert_eq!(limits.update(text), Err(error), "{text}");
            assert_eq!(limits, before, "{text}");
        }
    }

    #[test]
    fn shard_ports_stand_beside_the_common_port() {
        assert_eq!(ShardPorts::beside(6379, 64), ShardPorts::From(16379));
        assert_eq!(ShardPorts::beside(55_535, 1), ShardPorts::From(65_535));
        assert_eq!(ShardPorts::beside(55_535, 2), ShardPorts::From(45_535));
        assert_eq!(ShardPorts::beside(60_000, 1), ShardPorts::From(50_000));
        assert_eq!(ShardPorts::beside(0, 1), ShardPorts::OsChosen);
        assert_eq!(ShardPorts::From(16379).of_core(3), Some(16382));
        assert_eq!(ShardPorts::From(65535).of_core(1), None);
    }

    #[test]
    fn peers_are_read_as_they_are_shown() {
        for (text, shown) in [
            ("", Some("")),
            ("1@10.0.0.1:6379,2@cache-2:6379", Some("1@10.0.0.1:6379 2@cache-2:6379")),
            ("1@[::1]:6379@7000", Some("1@[::1]:6379@7000")),
            ("1@::1:6379", None),
            ("1@[::1:6379", None),
            ("1@:6379", None),
            ("1@host", None),
            ("1@host:0", None),
            ("1@host:1@0", None),
            ("0@host:1", None),
            ("2147483649@host:1", None),
            ("host:1", None),
        ] {
            let peers = parse_cluster_peers(text);
            let words = peers.map(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(words.map(|w| w.join(" ")).as_deref(), shown, "{text}");
        }
        let seeds = super::parse_cluster_seeds("a:7000 [::1]:7000@9,b:60000").unwrap();
        let shown: Vec<String> = seeds.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a:7000@27000", "[::1]:7000@9", "b:60000@40000"]);
        assert!(super::parse_cluster_seeds("1@a:7000@9@1").is_none());
        for (port, cluster_port) in [(6379, 26_379), (44_511, 64_511), (44_512, 24_512)] {
            let peers = parse_cluster_peers(&format!("1@host:{port}")).unwrap();
            assert_eq!(peers[0].cluster_port(), cluster_port);
        }
    }

    #[test]
    fn the_process_may_run_somewhere() {
        assert!(!available_cpus().is_empty());
    }
}
