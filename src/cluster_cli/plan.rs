//! What a cluster for a try is made of: ports, directories, one configuration file a node.
//!
//! ```text
//! DIR/secret          DIR/node-1.toml    DIR/node-1/ (data)    DIR/node-1.log
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Failure;
use super::options::Try;
use crate::config::available_cpus;
use crate::config::value::format_cpus;

/// The cores' own ports, and those for links, stand so far above the common ports.
const CORE_PORTS: u16 = 10_000;
const LINK_PORTS: u16 = 20_000;

/// Length of a segment of a log: all nodes have the same disk, which a try should not fill.
const SEGMENT_BYTES: u64 = 8 << 20;

/// One node to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodePlan {
    pub(super) id: u16,
    pub(super) port: u16,
    core_port: u16,
    link_port: u16,
    cpus: Vec<u16>,
}

/// The whole.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nodes: Vec<NodePlan>,
    pub(super) shards: u16,
    durability: String,
    cores: u16,
}

impl Plan {
    pub(super) fn new(options: &Try) -> Result<Self, Failure> {
        let (nodes, cores) = (options.nodes, options.cores_per_node);
        let cpus = available_cpus();
        if usize::from(cores) > cpus.len() {
            return Err(Failure::Nonsense(format!(
                "--cores-per-node is {cores}, and this process may use {} CPUs: make it {} or less.",
                cpus.len(),
                cpus.len()
            )));
        }
        let highest =
            u32::from(options.port) + u32::from(LINK_PORTS) + u32::from(nodes) * u32::from(cores);
        if highest > u32::from(u16::MAX) {
            return Err(Failure::Nonsense(format!(
                "--port {} leaves no room for ports {LINK_PORTS} above it: choose one below {}.",
                options.port,
                u32::from(u16::MAX - LINK_PORTS) - u32::from(nodes) * u32::from(cores)
            )));
        }
        let node = |index: u16| {
            let first = usize::from(index) * usize::from(cores);
            let mut own: Vec<u16> =
                (0..usize::from(cores)).map(|core| cpus[(first + core) % cpus.len()]).collect();
            own.sort_unstable();
            NodePlan {
                id: index + 1,
                port: options.port + index,
                core_port: options.port + CORE_PORTS + index * cores,
                link_port: options.port + LINK_PORTS + index * cores,
                cpus: own,
            }
        };
        Ok(Self {
            nodes: (0..nodes).map(node).collect(),
            shards: options.shards.unwrap_or(nodes * cores).max(cores),
            durability: options.durability.clone(),
            cores,
        })
    }

    /// Sees whether all ports are free, so that it is told here and not in a node's log.
    pub(super) fn check_ports(&self) -> Result<(), Failure> {
        for node in &self.nodes {
            let cores =
                (0..self.cores).flat_map(|core| [node.core_port + core, node.link_port + core]);
            for port in std::iter::once(node.port).chain(cores) {
                if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                    return Err(Failure::Nonsense(format!(
                        "Port {port} can't be used ({error}): stop what listens there (`ss -ltnp` shows what it \
                         is), or choose another --port."
                    )));
                }
            }
        }
        Ok(())
    }

    /// The peers as all nodes are told of them.
    fn peers(&self) -> String {
        let peers = self.nodes.iter();
        let words = peers.map(|node| {
            format!("{}@{}:{}@{}", node.id, Ipv4Addr::LOCALHOST, node.port, node.link_port)
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// The configuration of a node.
    fn config(&self, node: &NodePlan, dir: &Path) -> String {
        let quoted = |path: PathBuf| toml_edit::Value::from(path.display().to_string());
        format!(
            "# Written by 'ringmain cluster try'.\n\
             node-id = {}\n\
             bind = \"{}\"\n\
             port = {}\n\
             shard-port-base = {}\n\
             binary-port = 0\n\
             cpus = \"{}\"\n\
             shards = {}\n\
             durability = \"{}\"\n\
             segment-bytes = {SEGMENT_BYTES}\n\
             cluster-peers = \"{}\"\n\
             cluster-secret-file = {}\n\
             dir = {}\n",
            node.id,
            Ipv4Addr::LOCALHOST,
            node.port,
            node.core_port,
            format_cpus(&node.cpus),
            self.shards,
            self.durability,
            self.peers(),
            quoted(dir.join("secret")),
            quoted(data_of(dir, node)),
        )
    }

    /// Makes the directories and writes the files. What is there from the last time stays: the data, the secret.
    pub(super) fn write(&self, dir: &Path) -> Result<(), Failure> {
        let more = dir.join(format!("node-{}", self.nodes.len() + 1));
        if more.exists() {
            return Err(Failure::Nonsense(format!(
                "In '{}' there are more than {} nodes: give --nodes the number that it was made for, or name another \
                 --dir.",
                dir.display(),
                self.nodes.len()
            )));
        }
        self.try_write(dir).map_err(|error| {
            Failure::Nonsense(format!(
                "The directory '{}' can't be written to ({error}): name another one with --dir.",
                dir.display()
            ))
        })
    }

    fn try_write(&self, dir: &Path) -> io::Result<()> {
        let secret = dir.join("secret");
        if !secret.exists() {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            write_private(&secret, &text)?;
        }
        for node in &self.nodes {
            DirBuilder::new().recursive(true).mode(0o700).create(data_of(dir, node))?;
            write_private(&config_of(dir, node), &self.config(node, dir))?;
        }
        File::open(dir)?.sync_all()
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

pub(super) fn config_of(dir: &Path, node: &NodePlan) -> PathBuf {
    dir.join(format!("node-{}.toml", node.id))
}

pub(super) fn log_of(dir: &Path, node: &NodePlan) -> PathBuf {
    dir.join(format!("node-{}.log", node.id))
}

fn data_of(dir: &Path, node: &NodePlan) -> PathBuf {
    dir.join(format!("node-{}", node.id))
}

/// Where the files are: a directory that was named, or one that goes at the end.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    is_temporary: bool,
}

impl Place {
    pub(super) fn make(named: Option<&Path>) -> Result<Self, Failure> {
        let random = || {
            let number = getrandom::u64().unwrap_or(u64::from(std::process::id()));
            std::env::temp_dir().join(format!("ringmain-try-{number:016x}"))
        };
        let dir = named.map_or_else(random, Path::to_owned);
        let failed = |error: io::Error| {
            Failure::Nonsense(format!(
                "The directory '{}' can't be made ({error}): name another one with --dir.",
                dir.display()
            ))
        };
        let is_temporary = named.is_none();
        // Another user may have put a link where a name can be guessed; this one must be new.
        let made = DirBuilder::new().recursive(!is_temporary).mode(0o700).create(&dir);
        made.map_err(failed)?;
        let dir = fs::canonicalize(&dir).map_err(failed)?;
        Ok(Self { dir, is_temporary })
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.is_temporary
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_temporary {
            // What can't be removed is left to whoever cleans the directory of temporary files.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{Place, Plan, Try, config_of};
    use crate::config::load;

    fn options(nodes: u16, port: u16) -> Try {
        Try {
            nodes,
            port,
            cores_per_node: 1,
            shards: None,
            durability: "sync".to_owned(),
            dir: None,
        }
    }

    #[test]
    fn every_node_is_told_the_same_of_all() {
        let place = Place::make(None).unwrap();
        let dir = place.dir.clone();
        let plan = Plan::new(&options(3, 7001)).unwrap();
        plan.write(&dir).unwrap();
        for (node, id) in plan.nodes.iter().zip(1..) {
            let path = config_of(&dir, node);
            let config = load(["ringmain", "--config", path.to_str().unwrap()]).unwrap();
            assert_eq!((config.node_id, u64::from(config.port)), (id, 7000 + id));
            assert_eq!((config.shards, config.core_count()), (3, 1));
            assert_eq!(u64::from(config.cluster_port), 27_000 + id);
            assert_eq!(config.cluster_peers.len(), 3);
            assert_eq!(config.durability.name(), "sync");
            crate::server::preflight::read_secret(&config.cluster_secret_file.unwrap()).unwrap();
        }
        let secret = dir.join("secret");
        assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&secret).unwrap();
        plan.write(&dir).unwrap();
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), text, "it stays");
        let fewer = Plan::new(&options(2, 7001)).unwrap().write(&dir).unwrap_err();
        assert!(fewer.to_string().contains("there are more than 2 nodes"), "{fewer}");
        drop(place);
        assert!(!dir.exists());
    }

    #[test]
    fn ports_must_fit_and_be_free() {
        let error = Plan::new(&options(3, 45_533)).unwrap_err();
        assert!(error.to_string().starts_with("--port 45533 leaves no room"), "{error}");
        assert!(Plan::new(&options(3, 45_532)).is_ok());
    }
}
