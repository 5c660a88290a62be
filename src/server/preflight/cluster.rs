//! What a node of a cluster must be told: who it is and who the others are, where links are taken, and the
//! secret that the nodes share.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::StartError;
use crate::config::{Config, ShardPorts};
use crate::limits::{
    CLUSTER_SECRET_BYTES_MAX, CLUSTER_SECRET_BYTES_MIN, ELECTION_HEARTBEATS_MIN, NODES_MAX,
};
use crate::replica::link::is_host;

/// Checks what a node of a cluster was told; other servers are told nothing of the kind.
pub(super) fn check(config: &Config) -> Result<(), StartError> {
    let told = if config.is_in_cluster() { check_node(config) } else { check_alone(config) };
    told.and_then(|()| check_announced(config))
        .and_then(|()| check_announced_apart(config))
        .map_err(StartError::Cluster)
}

/// Who names peers means a cluster, and would be surprised by a server on its own.
fn check_alone(config: &Config) -> Result<(), String> {
    if !config.cluster_seed.is_empty() {
        return Err(
            "There is a --cluster-seed but no --node-id: give this node a number that no other has or had."
                .to_owned(),
        );
    }
    if config.cluster_peers.is_empty() {
        return Ok(());
    }
    Err("There are --cluster-peers but no --node-id: say which of them this node is, or leave them out for \
         a server on its own."
        .to_owned())
}

fn check_node(config: &Config) -> Result<(), String> {
    check_peers(config)?;
    check_ports(config)?;
    if !config.shards_given {
        return Err("A node of a cluster needs --shards: give all nodes the same number, one for each core \
                    of the largest of them or more."
            .to_owned());
    }
    let least_ms = ELECTION_HEARTBEATS_MIN * config.heartbeat_ms;
    if config.election_timeout_ms < least_ms {
        return Err(format!(
            "--election-timeout-ms is {} with heartbeats every {} ms: make it {least_ms} or more, or \
             --heartbeat-ms less.",
            config.election_timeout_ms, config.heartbeat_ms
        ));
    }
    let Some(file) = &config.cluster_secret_file else {
        return Err("A node of a cluster needs --cluster-secret-file: name a file that all nodes have, made \
                    for example with `openssl rand -hex 32`."
            .to_owned());
    };
    read_secret(file).map(drop)
}

fn check_peers(config: &Config) -> Result<(), String> {
    let mut seen = HashSet::new();
    if let Some(twice) = config.cluster_peers.iter().find(|peer| !seen.insert(peer.id)) {
        return Err(format!(
            "--cluster-peers names node {} twice: give every node an id of its own.",
            twice.id.0
        ));
    }
    if config.cluster_peers.len() > NODES_MAX {
        return Err(format!(
            "--cluster-peers names {} nodes: a cluster has at most {NODES_MAX}.",
            config.cluster_peers.len()
        ));
    }
    if let Some(odd) = config.cluster_peers.iter().find(|peer| !is_host(&peer.host)) {
        return Err(format!(
            "--cluster-peers says that node {} is at '{}': give a name or an address.",
            odd.id.0, odd.host
        ));
    }
    if config.cluster_peers.is_empty() {
        return check_blank(config);
    }
    let Some(own) = config.own_peer() else {
        return Err(format!(
            "--node-id is {0}, and --cluster-peers names no such node: add {0}@HOST:PORT, with an address at \
             which the others reach this node.",
            config.node_id
        ));
    };
    if own.port != config.announced_port() {
        let name = if config.cluster_announce_port == 0 { "port" } else { "cluster-announce-port" };
        return Err(format!(
            "--cluster-peers says that node {} is at port {}, but --{name} is {}: make them the same.",
            config.node_id,
            own.port,
            config.announced_port()
        ));
    }
    let announced = config.announced_cluster_port();
    if own.cluster_port() != announced {
        let is_own = config.cluster_announce_bus_port == 0;
        let name = if is_own { "cluster-port" } else { "cluster-announce-bus-port" };
        return Err(format!(
            "--{name} is {0}, but the others look for links at port {1}: leave it out, or write \
             {2}@{3}:{4}@{0} among the --cluster-peers of all nodes.",
            announced,
            own.cluster_port(),
            config.node_id,
            own.host,
            own.port
        ));
    }
    Ok(())
}

/// A node that no other is known to knows its ports itself.
fn check_blank(config: &Config) -> Result<(), String> {
    if config.cluster_port != 0 {
        return Ok(());
    }
    Err("A node of a cluster needs a --port that others know.".to_owned())
}

fn check_ports(config: &Config) -> Result<(), String> {
    let cores = config.core_count();
    let base = config.cluster_port;
    let Some(last) = base.checked_add(cores.saturating_sub(1)) else {
        return Err(format!(
            "{cores} cores that take links from port {base} on go beyond port 65535: choose a lower \
             --cluster-port, or fewer --cpus."
        ));
    };
    if (base..=last).contains(&config.port) {
        return Err(format!(
            "The ports {base} to {last} for links take in the common port {}: choose another --cluster-port.",
            config.port
        ));
    }
    match config.shard_ports {
        ShardPorts::Off => {
            Err("A node of a cluster needs ports for its cores, which clients are sent to: \
                                leave --shard-port-base out, or give it a port."
                .to_owned())
        }
        ShardPorts::From(first)
            if first <= last && base <= first.saturating_add(cores.saturating_sub(1)) =>
        {
            Err(format!(
                "The ports for links from {base} on and those of the cores from {first} on overlap: choose \
                 another --cluster-port or --shard-port-base."
            ))
        }
        ShardPorts::From(_) | ShardPorts::OsChosen => Ok(()),
    }
}

/// No port is announced for two things.
fn check_announced_apart(config: &Config) -> Result<(), String> {
    let last = i32::from(config.core_count().saturating_sub(1));
    let own = match config.shard_ports {
        ShardPorts::From(own) => Some(i32::from(own)),
        ShardPorts::Off | ShardPorts::OsChosen => None,
    };
    let port = i32::from(config.announced_port());
    let cores = config.announced_core_base().or(own);
    let links = i32::from(config.announced_cluster_port());
    // Port 0 is one that the operating system chooses.
    let announced = [
        ("port", Some(port).filter(|port| *port > 0), 0),
        ("shard-port-base", cores, last),
        ("bus-port", Some(links).filter(|port| *port > 0), last),
    ];
    for (at, (name, first, more)) in announced.iter().enumerate() {
        for (other_name, other_first, other_more) in &announced[..at] {
            let (Some(first), Some(other)) = (first, other_first) else { continue };
            if *first.max(other) <= (first + more).min(other + other_more) {
                return Err(format!(
                    "The ports from {first} on (--cluster-announce-{name}) and from {other} on \
                     (--cluster-announce-{other_name}) overlap as they are announced: {} cores need one each.",
                    config.core_count()
                ));
            }
        }
    }
    Ok(())
}

/// Every core has a port that can be announced.
fn check_announced(config: &Config) -> Result<(), String> {
    let last = i32::from(config.core_count().saturating_sub(1));
    let fits = |base: i32| (1..=i32::from(u16::MAX) - last).contains(&base);
    if !fits(config.announced_cluster_port().max(1).into()) {
        return Err(format!(
            "{} cores that others link to from port {} on go beyond port 65535: choose a lower \
             --cluster-announce-bus-port.",
            config.core_count(),
            config.announced_cluster_port()
        ));
    }
    match config.announced_core_base() {
        Some(base) if !fits(base) => Err(format!(
            "The ports of {} cores would be announced from {base} on, which can't be: say which they are with \
             --cluster-announce-shard-port-base.",
            config.core_count()
        )),
        None if config.cluster_announce_port != 0
            && config.shard_ports == ShardPorts::OsChosen =>
        {
            Err("There is a --cluster-announce-port, and the cores' ports are chosen by the operating system, so \
                 that others can't be told where they are: say --shard-port-base, or \
                 --cluster-announce-shard-port-base."
                .to_owned())
        }
        Some(_) | None => Ok(()),
    }
}

/// The secret that the nodes of a cluster share; a line end behind it does not count.
///
/// # Errors
/// If it can't be read, is too short or too long, or is anybody's to read; one sentence that names the mend.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let unreadable = |error: io::Error| {
        format!(
            "The file '{shown}' after --cluster-secret-file can't be read ({error}): name a file that is there \
             and that this user may read."
        )
    };
    let file = File::open(path).map_err(unreadable)?;
    // The rights are those of the file that was opened, whatever the name stands for by now.
    let rights = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if rights & 0o007 != 0 {
        return Err(format!(
            "Everybody on this machine may use the cluster's secret in '{shown}' (its rights are {rights:03o}): \
             run `chmod 600 '{shown}'`."
        ));
    }
    let mut secret = Vec::new();
    file.take(CLUSTER_SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut secret).map_err(unreadable)?;
    // Editors and `openssl rand -hex` end a line that printf does not: the secret is the same.
    if secret.len() > CLUSTER_SECRET_BYTES_MIN && secret.last() == Some(&b'\n') {
        secret.pop();
    }
    if !(CLUSTER_SECRET_BYTES_MIN..=CLUSTER_SECRET_BYTES_MAX).contains(&secret.len()) {
        return Err(format!(
            "The cluster's secret in '{shown}' has {} bytes and must have {CLUSTER_SECRET_BYTES_MIN} to \
             {CLUSTER_SECRET_BYTES_MAX}: make one with `openssl rand -hex 32`, the same for all nodes.",
            secret.len()
        ));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{check, read_secret};
    use crate::config::load;

    /// Why a node with these flags does not start, besides those that it needs.
    fn refusal(flags: &str, secret: &[u8], rights: u32) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, secret).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(rights)).unwrap();
        let path = path.to_str().unwrap();
        let flags = flags.replace("SECRET", path);
        let config = load(std::iter::once("ringmain").chain(flags.split(' '))).unwrap();
        let error = check(&config).err()?;
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string().replace(path, "SECRET");
        assert!(text.ends_with('.') && !text.contains("  "), "{text}");
        Some(text)
    }

    #[test]
    fn a_node_is_told_what_it_lacks() {
        const PEERS: &str =
            "--cpus 0-1 --cluster-peers 1@127.0.0.1:7001 --cluster-peers 2@127.0.0.1:7002";
        const ALL: &str = "--node-id 1 --port 7001 --shards 2 --cluster-secret-file SECRET";
        for (flags, start) in [
            (ALL, None),
            ("--cluster-seed a:1", Some("There is a --cluster-seed but no --node-id: give")),
            ("", Some("There are --cluster-peers but no --node-id: say")),
            (
                "--node-id 3",
                Some("--node-id is 3, and --cluster-peers names no such node: add 3@HOST:PORT"),
            ),
            (
                "--node-id 1",
                Some("--cluster-peers says that node 1 is at port 7001, but --port is 6379: make"),
            ),
            (
                "--node-id 1 --port 7001 --cluster-peers 1@10.0.0.1:1",
                Some("--cluster-peers names node 1 twice: give"),
            ),
            (
                "--node-id 1 --port 7001 --cluster-port 9000",
                Some("--cluster-port is 9000, but the others look for links at port 27001: leave"),
            ),
            ("--node-id 1 --port 7001", Some("A node of a cluster needs --shards: give all")),
            (
                "--node-id 1 --port 7001 --shards 2",
                Some("A node of a cluster needs --cluster-secret-file: name"),
            ),
            (
                "--node-id 1 --port 7001 --shards 2 --shard-port-base 0",
                Some("A node of a cluster needs ports for its cores"),
            ),
            (
                "--node-id 1 --port 7001 --shards 2 --shard-port-base 27002",
                Some(
                    "The ports for links from 27001 on and those of the cores from 27002 on overlap",
                ),
            ),
            (
                "--node-id 1 --port 7001 --shards 2 --heartbeat-ms 100",
                Some(
                    "--election-timeout-ms is 300 with heartbeats every 100 ms: make it 500 or more",
                ),
            ),
        ] {
            let flags = format!("{PEERS} {flags}");
            let text = refusal(flags.trim(), &[7; 32], 0o600);
            let begins = text.as_deref().zip(start).is_some_and(|(text, s)| text.starts_with(s));
            assert!(begins || (text.is_none() && start.is_none()), "{flags}: {text:?}");
        }
        const BLANK: &str = "--cpus 0-1 --node-id 9 --shards 2 --cluster-secret-file SECRET";
        for (flags, start) in [
            ("--port 7001", None),
            ("--port 7001 --cluster-seed a:7000 --cluster-announce-ip 10.0.0.9", None),
            ("--port 0", Some("A node of a cluster needs a --port that others know.")),
            ("--port 7001 --cluster-announce-port 9001", None),
            (
                "--port 7001 --cluster-announce-port 60000",
                Some("The ports of 2 cores would be announced from 70000 on, which can't be"),
            ),
            (
                "--port 7001 --cluster-announce-port 60000 --cluster-announce-shard-port-base 9",
                None,
            ),
            (
                "--port 7001 --cluster-announce-port 9001 --cluster-announce-shard-port-base 9000",
                Some(
                    "The ports from 9000 on (--cluster-announce-shard-port-base) and from 9001 on",
                ),
            ),
            (
                "--port 7001 --cluster-announce-port 9001 --cluster-announce-bus-port 19002",
                Some("The ports from 19002 on (--cluster-announce-bus-port) and from 19001 on"),
            ),
            ("--port 7001 --cluster-announce-port 9001 --cluster-announce-bus-port 19003", None),
            (
                "--port 7001 --cluster-announce-bus-port 65535",
                Some("2 cores that others link to from port 65535 on go beyond port 65535"),
            ),
            (
                "--port 7001 --cluster-announce-port 9001 --shard-port-base auto",
                Some("There is a --cluster-announce-port, and the cores' ports are chosen by"),
            ),
            (
                "--port 7001 --cluster-announce-port 9001 --cluster-peers 9@10.0.0.1:7001",
                Some(
                    "--cluster-peers says that node 9 is at port 7001, but --cluster-announce-port is",
                ),
            ),
            ("--port 7001 --cluster-announce-port 9001 --cluster-peers 9@10.0.0.1:9001", None),
            (
                "--port 7001 --cluster-announce-bus-port 9 --cluster-peers 9@10.0.0.1:7001@8",
                Some("--cluster-announce-bus-port is 9, but the others look for links at port 8"),
            ),
            ("--port 7001 --cluster-announce-bus-port 9 --cluster-peers 9@10.0.0.1:7001@9", None),
            ("--port 7001 --cluster-peers 9@a/b:7001", Some("--cluster-peers says that node 9 is")),
        ] {
            let text = refusal(&format!("{BLANK} {flags}"), &[7; 32], 0o600);
            let begins = text.as_deref().zip(start).is_some_and(|(text, s)| text.starts_with(s));
            assert!(begins || (text.is_none() && start.is_none()), "{flags}: {text:?}");
        }
        for (peer, start) in [
            ("1@127.0.0.1:7001@65535", "2 cores that take links from port 65535 on go beyond"),
            (
                "1@127.0.0.1:7001@7000",
                "The ports 7000 to 7001 for links take in the common port 7001",
            ),
        ] {
            let flags = format!("--cpus 0-1 {ALL} --cluster-peers {peer}");
            let text = refusal(&flags, &[7; 32], 0o600).unwrap();
            assert!(text.starts_with(start), "{text}");
        }
    }

    #[test]
    fn a_secret_is_long_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for (secret, rights, message) in [
            (&[7; 32][..], 0o600, None),
            (&[b'\n'; 32], 0o640, None),
            (&[7; 31], 0o400, Some("has 31 bytes and must have 32 to 65536: make one")),
            (&[7; 65_537], 0o600, Some("has 65537 bytes and must have 32")),
            (&[7; 32], 0o604, Some("(its rights are 604): run `chmod 600 '")),
        ] {
            let _ = fs::remove_file(&path);
            fs::write(&path, secret).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(rights)).unwrap();
            match (read_secret(&path), message) {
                (Ok(read), None) => assert_eq!(read, secret),
                (Err(text), Some(part)) => assert!(text.contains(part), "{text}"),
                (result, _) => panic!("{result:?}"),
            }
        }
        fs::write(&path, [&[b'x'; 64][..], b"\n"].concat()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_secret(&path).unwrap(), [b'x'; 64]);
        let missing = read_secret(&directory.path().join("missing")).unwrap_err();
        assert!(missing.contains("can't be read"), "{missing}");
    }
}
