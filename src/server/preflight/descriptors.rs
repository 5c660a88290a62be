//! The limit of open files. Every client takes one descriptor; rings, listeners and the process
//! itself take some.

use rlimit::Resource;

use super::StartError;
use crate::config::Config;

/// Descriptors of the process: the standard streams, signals, the file being rewritten, libraries'.
const PROCESS_FILES: u64 = 32;
/// Descriptors of a core besides its listeners: four rings, the eventfds that wake it, glommio's
/// blocking thread.
const CORE_FILES: u64 = 16;
/// Links that a core has with one other node, old ones that are on their way out among them.
const LINK_FILES: u64 = 4;
/// A server that can't serve this many clients is not worth starting.
const CLIENTS_MIN: u64 = 32;

/// Raises the limit of open files to what `config` needs. If it can't be raised as far, `maxclients`
/// comes down to what is left; too few are an error.
pub(super) fn fit_clients(config: &mut Config) -> Result<(), StartError> {
    let possible = clients_possible(config);
    if config.maxclients <= possible {
        return Ok(());
    }
    if u64::from(possible) < CLIENTS_MIN {
        let limit = Resource::NOFILE.get().map_or(0, |(soft, _)| soft);
        return Err(StartError::TooFewFiles { limit, needed: reserved(config) + CLIENTS_MIN });
    }
    tracing::warn!(
        "maxclients is {possible} instead of {}, because the limit of open files can't be raised to \
         {}: raise it with `ulimit -n`, or with LimitNOFILE in a systemd unit",
        config.maxclients,
        reserved(config) + u64::from(config.maxclients),
    );
    config.maxclients = possible;
    Ok(())
}

/// How many clients the limit of open files allows, once it is raised as far as `config` asks for.
pub(super) fn clients_possible(config: &Config) -> u32 {
    let reserved = reserved(config);
    let limit = raise(reserved + u64::from(config.maxclients) + forwards_wanted(config));
    u32::try_from(limit.saturating_sub(reserved)).unwrap_or(u32::MAX)
}

/// How many connections the limit of open files allows, beside the clients', that carry commands of clients to and
/// from other nodes. What is short first is room for these.
pub(in crate::server) fn forwards_possible(config: &Config) -> usize {
    let (limit, _) = Resource::NOFILE.get().unwrap_or_default();
    let left = limit.saturating_sub(reserved(config) + u64::from(config.maxclients));
    usize::try_from(left.min(forwards_wanted(config))).unwrap_or(usize::MAX)
}

/// One to another node for each client, and one from another node.
fn forwards_wanted(config: &Config) -> u64 {
    if config.is_in_cluster() { 2 * u64::from(config.maxclients) } else { 0 }
}

/// Descriptors that are not for clients.
fn reserved(config: &Config) -> u64 {
    // A core listens twice on each address: on the common port and on its own. In a cluster it takes links
    // besides, and has one to each other node; theirs may all end at the same core.
    let (listeners, links) = match config.is_in_cluster() {
        false => (2 * config.bind.len() as u64, 0),
        true => (3 * config.bind.len() as u64, LINK_FILES * config.cluster_peers.len() as u64),
    };
    PROCESS_FILES + u64::from(config.core_count()) * (CORE_FILES + listeners + links)
}

/// Raises the limit towards `needed`, beyond the hard limit if the user may; what it is then.
fn raise(needed: u64) -> u64 {
    let Ok((soft, hard)) = Resource::NOFILE.get() else { return 0 };
    if soft >= needed {
        return soft;
    }
    let reachable = needed.min(hard);
    if Resource::NOFILE.set(needed, hard.max(needed)).is_ok() {
        needed
    } else if Resource::NOFILE.set(reachable, hard).is_ok() {
        reachable
    } else {
        soft
    }
}

#[cfg(test)]
mod tests {
    use super::{CLIENTS_MIN, clients_possible, fit_clients, reserved};
    use crate::config::Config;

    // The limit belongs to the whole process: these tests raise it and never lower it.

    #[test]
    fn the_clients_that_are_asked_for_are_made_possible() {
        let mut config = Config { maxclients: 100, ..Config::default() };
        fit_clients(&mut config).unwrap();
        assert_eq!(config.maxclients, 100);
        let (soft, _) = rlimit::Resource::NOFILE.get().unwrap();
        assert!(soft >= reserved(&config) + 100);
    }

    #[test]
    fn clients_come_down_to_what_the_kernel_allows() {
        // No kernel allows as many: fs.nr_open is 2^30 at most.
        let mut config = Config { maxclients: u32::MAX, ..Config::default() };
        let possible = clients_possible(&config);
        fit_clients(&mut config).unwrap();
        assert_eq!(config.maxclients, possible);
        assert!(u64::from(possible) >= CLIENTS_MIN && possible < u32::MAX);
    }
}
