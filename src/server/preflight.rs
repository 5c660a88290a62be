//! What is looked at before anything is started, so that whatever is missing is told in one sentence
//! and not halfway through: ports, CPUs, the directory, the limits of the process, io_uring.
//!
//! Runs once, on the main thread. [`Machine`] does the same for changes at run time.

mod cluster;
mod descriptors;
mod error;
mod io_uring;
mod memory;

pub use cluster::read_secret;
pub(super) use descriptors::forwards_possible;
pub use error::{StartError, bind_error, executor_error, ring_error};
pub use memory::{GLOMMIO_RING_DEPTH, glommio_io_memory_bytes};

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::data_dir::DataDir;
use super::log::Log;
use crate::config::rewrite::rewrite;
use crate::config::value::format_cpus;
use crate::config::{Config, Host, Refusal, ShardPorts, available_cpus};
use crate::metrics::lock;
use crate::runtime::LogFiles;

/// Checks that the server can start as `config` says, raises the limits of the process to what it
/// needs, and lowers in `config`, with a warning in the log, what can do with less: `maxclients`, and
/// the number of CPUs.
///
/// # Errors
/// The first thing that keeps the server from starting.
pub fn check(config: &mut Config) -> Result<(), StartError> {
    check_shard_ports(config)?;
    cluster::check(config)?;
    check_cpus(config, &available_cpus())?;
    make_default_directory(config)?;
    if config.keeps_logs() || config.dir.exists() || !is_default(&config.dir) {
        check_directory(&config.dir)?;
    }
    memory::raise_limit(config.core_count())?;
    io_uring::probe()?;
    memory::fit_cores(config)?;
    descriptors::fit_clients(config)?;
    warn_of_open_doors(config);
    Ok(())
}

fn check_shard_ports(config: &Config) -> Result<(), StartError> {
    let ShardPorts::From(base) = config.shard_ports else { return Ok(()) };
    let cores = config.core_count();
    let Some(last) = config.shard_ports.of_core(cores.saturating_sub(1)) else {
        return Err(StartError::ShardPortsTooHigh { base, cores });
    };
    if (base..=last).contains(&config.port) {
        return Err(StartError::ShardPortsCollide { port: config.port, base, last });
    }
    Ok(())
}

fn check_cpus(config: &Config, available: &[u16]) -> Result<(), StartError> {
    let missing: Vec<u16> =
        config.cpus.iter().copied().filter(|cpu| !available.contains(cpu)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(StartError::CpusMissing {
        missing: format_cpus(&missing),
        available: format_cpus(available),
    })
}

/// Whether nobody named the directory.
fn is_default(dir: &Path) -> bool {
    *dir == Config::default().dir
}

/// Makes the directory that nobody named, if something is to be kept there.
fn make_default_directory(config: &Config) -> Result<(), StartError> {
    let dir = &config.dir;
    if !config.keeps_logs() || !is_default(dir) || dir.exists() {
        return Ok(());
    }
    // On disk is a directory when the one that it is in is.
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let sync = || fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all();
    let made = fs::create_dir(dir).and_then(|()| sync());
    made.map_err(|error| StartError::DirClosed { path: dir.to_owned(), error })
}

/// A directory that is not there is always an error. One that can't be written to is none where the
/// server merely happens to have been started, as long as nothing is written.
fn check_directory(dir: &Path) -> Result<(), StartError> {
    let path = || dir.to_owned();
    match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => return Err(StartError::DirIsNone { path: path() }),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(StartError::DirMissing { path: path() });
        }
        Err(error) => return Err(StartError::DirClosed { path: path(), error }),
    }
    if std::env::current_dir().is_ok_and(|current| current == dir) {
        return Ok(());
    }
    let probe = dir.join(format!(".ringmain-{}.probe", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).open(&probe);
    written.map_err(|error| StartError::DirClosed { path: path(), error })?;
    fs::remove_file(&probe).map_err(|error| StartError::DirClosed { path: path(), error })
}

/// Says so if the server can be reached from other machines and asks for no password.
fn warn_of_open_doors(config: &Config) {
    if config.binds_loopback_only() || config.requirepass.is_some() {
        return;
    }
    if config.protected_mode {
        tracing::warn!(
            "protected-mode is on and there is no requirepass: only clients of this machine are \
             served, whatever bind says"
        );
    } else {
        tracing::warn!(
            "protected-mode is off and there is no requirepass: whoever reaches this machine can \
             read and change all data"
        );
    }
}

/// The machine under a running server: what a change of configuration does to it.
#[derive(Debug)]
pub struct Machine {
    log: Log,
    /// The data directory, once something has been kept there.
    data: Mutex<Option<DataDir>>,
    files: Arc<LogFiles>,
}

impl Machine {
    /// A machine whose messages go to `log` and whose shards' logs are `files`.
    pub(crate) fn new(log: Log, data: Option<DataDir>, files: Arc<LogFiles>) -> Self {
        Self { log, data: Mutex::new(data), files }
    }

    /// Opens the data directory for a server that has kept nothing so far.
    fn open_data(&self, config: &Config) -> Result<(), String> {
        let mut data = lock(&self.data);
        if data.is_none() {
            make_default_directory(config).map_err(|error| error.to_string())?;
            let opened =
                DataDir::open(&config.dir, config.shards).map_err(|error| error.to_string())?;
            opened.check_shards(config.shards).map_err(|error| error.to_string())?;
            self.files.set_id(opened.layout().id);
            *data = Some(opened);
        }
        Ok(())
    }
}

impl Host for Machine {
    fn apply(&self, old: &Config, new: &Config) -> Result<(), Refusal> {
        if new.maxclients > old.maxclients {
            make_room_for_clients(new)?;
        }
        if new.keeps_logs() {
            let reason = self.open_data(new);
            reason.map_err(|reason| Refusal { parameter: "durability", reason })?;
        }
        if new.log_level != old.log_level {
            self.log.set_level(new.log_level);
        }
        Ok(())
    }

    fn rewrite(&self, config: &Config) -> Result<(), String> {
        let written = rewrite(config);
        if let Err(error) = &written {
            tracing::warn!("CONFIG REWRITE failed: {error}");
        }
        written.map_err(|error| error.to_string())
    }
}

fn make_room_for_clients(config: &Config) -> Result<(), Refusal> {
    let possible = descriptors::clients_possible(config);
    if config.maxclients <= possible {
        return Ok(());
    }
    Err(Refusal {
        parameter: "maxclients",
        reason: format!(
            "The operating system is not able to handle the specified number of clients, try with \
             {possible}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{
        Config, ShardPorts, StartError, check_cpus, check_directory, check_shard_ports,
        make_room_for_clients,
    };

    fn config(port: u16, shard_ports: ShardPorts, cpus: Vec<u16>) -> Config {
        Config { port, shard_ports, shards: 1024, cpus, ..Config::default() }
    }

    #[test]
    fn shard_ports_keep_off_the_common_port_and_below_the_highest() {
        for (port, base, cores, message) in [
            (6379, 6380, 4, None),
            (6379, 6375, 4, None),
            (6379, 65532, 4, None),
            (
                6379,
                6376,
                4,
                Some(
                    "The shard ports 6376 to 6379 take in the common port 6379: choose another \
                     --shard-port-base, or 0 for none.",
                ),
            ),
            (
                6379,
                65533,
                4,
                Some(
                    "4 cores from port 65533 on go beyond port 65535: choose a lower \
                     --shard-port-base, or 0 for none.",
                ),
            ),
        ] {
            let config = config(port, ShardPorts::From(base), (0..cores).collect());
            let error = check_shard_ports(&config).err();
            assert_eq!(error.as_ref().map(ToString::to_string).as_deref(), message);
            assert!(error.is_none_or(|error| error.exit_code() == 2));
        }
        assert!(check_shard_ports(&config(6379, ShardPorts::Off, vec![0])).is_ok());
    }

    #[test]
    fn cpus_must_be_there() {
        let config = config(6379, ShardPorts::Off, vec![0, 1, 6, 7]);
        assert!(check_cpus(&config, &[0, 1, 5, 6, 7]).is_ok());
        assert_eq!(
            check_cpus(&config, &[0, 1, 2]).unwrap_err().to_string(),
            "This process may not use CPU 6-7 that --cpus names, only 0-2: name some of these, or \
             widen the process's CPU set (taskset, cpuset)."
        );
    }

    #[test]
    fn the_directory_must_be_one() {
        let directory = tempfile::tempdir().unwrap();
        assert!(check_directory(directory.path()).is_ok());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(check_directory(&file), Err(StartError::DirIsNone { .. })));
        let missing = directory.path().join("missing");
        assert!(matches!(check_directory(&missing), Err(StartError::DirMissing { .. })));
        assert!(matches!(check_directory(Path::new("/proc")), Err(StartError::DirClosed { .. })));
    }

    #[test]
    fn more_clients_than_descriptors_are_refused_in_redis_s_words() {
        let few = Config { maxclients: 10, ..Config::default() };
        assert_eq!(make_room_for_clients(&few), Ok(()));
        let many = Config { maxclients: u32::MAX, ..few };
        let refusal = make_room_for_clients(&many).unwrap_err();
        assert_eq!(refusal.parameter, "maxclients");
        let (words, number) = refusal.reason.rsplit_once(' ').unwrap();
        assert_eq!(
            words,
            "The operating system is not able to handle the specified number of clients, try with"
        );
        assert!(number.parse::<u32>().unwrap() > 10);
    }
}
