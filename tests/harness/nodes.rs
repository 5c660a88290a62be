//! Several servers that are the nodes of one cluster, on ports and folders that they keep when they are started
//! again.

use super::server::{FreePorts, Launch, Server};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use tempfile::TempDir;

/// What is in the file with the secret.
pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// The nodes of a cluster, counted from 1 as their ids are. Those that run are killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Nodes {
    shards: u16,
    ports: Vec<Arc<FreePorts>>,
    launches: Vec<Launch>,
    servers: Vec<Option<Server>>,
    folder: TempDir,
    secret: PathBuf,
}

impl Nodes {
    /// As many nodes, none of which runs yet. The others reach them by these names or addresses, in turn.
    pub(crate) fn new(count: u16, shards: u16, hosts: &[&str]) -> Self {
        Self::reached_by(count, shards, |_, to| hosts[(to - 1) % hosts.len()].to_owned())
    }

    /// As many nodes; `host` says by what name or address one reaches another.
    pub(crate) fn reached_by(
        count: u16,
        shards: u16,
        host: impl Fn(usize, usize) -> String,
    ) -> Self {
        let mut nodes = Self::none(shards);
        nodes.ports = (0..count).map(|_| Arc::new(FreePorts::find(ports_of(shards)))).collect();
        let launch = |(id, ports): (usize, &Arc<FreePorts>)| {
            let peers = peers(&nodes.ports, shards, |to| host(id, to));
            nodes.launch(id, ports).flag("--cluster-peers", &peers)
        };
        nodes.launches = (1..).zip(&nodes.ports).map(launch).collect();
        nodes.servers = nodes.launches.iter().map(|_| None).collect();
        nodes
    }

    /// As many nodes that belong to nobody yet, none of which runs.
    pub(crate) fn blank(count: u16, shards: u16) -> Self {
        let mut nodes = Self::none(shards);
        for _ in 0..count {
            nodes.add_blank(&[]);
        }
        nodes
    }

    /// One more node that belongs to nobody yet, with these flags; its number. It does not run.
    pub(crate) fn add_blank(&mut self, flags: &[(&str, &str)]) -> usize {
        let id = self.launches.len() + 1;
        let ports = Arc::new(FreePorts::find(ports_of(self.shards)));
        let port = link_port(&ports, self.shards).to_string();
        let launch = self.launch(id, &ports).flag("--cluster-port", &port);
        let launch = flags.iter().fold(launch, |launch, (name, value)| launch.flag(name, value));
        self.launches.push(launch);
        self.ports.push(ports);
        self.servers.push(None);
        id
    }

    /// Another server with the number of a node, on ports and in a folder of its own, which knows the others.
    pub(crate) fn double(&self, id: usize) -> Launch {
        let mut all = self.ports.clone();
        all[id - 1] = Arc::new(FreePorts::find(ports_of(self.shards)));
        let data = self.folder.path().join(format!("double-{id}"));
        std::fs::create_dir_all(&data).expect("a folder for data");
        let peers = peers(&all, self.shards, |_| "127.0.0.1".to_owned());
        self.launch(id, &all[id - 1]).dir(&data).flag("--cluster-peers", &peers)
    }

    fn none(shards: u16) -> Self {
        let folder = TempDir::with_prefix("ringmain-test-").expect("a temporary folder");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, SECRET).expect("a file with the secret");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("rights");
        let (ports, launches, servers) = (Vec::new(), Vec::new(), Vec::new());
        Self { shards, ports, launches, servers, folder, secret }
    }

    fn launch(&self, id: usize, ports: &Arc<FreePorts>) -> Launch {
        let data = self.folder.path().join(format!("node-{id}"));
        std::fs::create_dir_all(&data).expect("a folder for data");
        Launch::shards(self.shards)
            .core_ports()
            .dir(&data)
            .on(ports.clone())
            .flag("--node-id", &id.to_string())
            .flag("--cluster-secret-file", self.secret.to_str().expect("a path that is text"))
    }

    /// One that was added, and does not run, is started on other ports from now on.
    pub(crate) fn move_ports(&mut self, id: usize) {
        let ports = Arc::new(FreePorts::find(ports_of(self.shards)));
        let port = link_port(&ports, self.shards).to_string();
        self.launches[id - 1] = self.launch(id, &ports).flag("--cluster-port", &port);
        self.ports[id - 1] = ports;
    }

    /// `ringmain cluster` with these words, where `@N` stands for the address of node N, and `#N` for its port.
    pub(crate) fn cli(&self, words: &str) -> Output {
        let port = |id: &str| self.port(id.parse().expect("the number of a node"));
        let address = |word: &str| match (word.strip_prefix('@'), word.strip_prefix('#')) {
            (Some(id), _) => format!("127.0.0.1:{}", port(id)),
            (None, Some(id)) => port(id).to_string(),
            (None, None) => word.to_owned(),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain"));
        command.arg("cluster").args(words.split(' ').map(address));
        super::output_of(&mut command).expect("run it")
    }

    /// All write their logs with this `--durability`, from the next start on.
    pub(crate) fn durable(mut self, durability: &'static str) -> Self {
        self.launches = self.launches.into_iter().map(|it| it.durable(durability)).collect();
        self
    }

    /// All have this flag, from the next start on.
    pub(crate) fn flag(mut self, name: &str, value: &str) -> Self {
        self.launches = self.launches.into_iter().map(|it| it.flag(name, value)).collect();
        self
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.launches.len()
    }

    /// The common port of one, whether it runs or not.
    pub(crate) fn port(&self, id: usize) -> u16 {
        self.ports[id - 1].first
    }

    /// Takes the server of a node out, to end it in another way than by [`Server::kill`].
    pub(crate) fn take(&mut self, id: usize) -> Server {
        self.servers[id - 1].take().expect("it has been started")
    }

    /// Kills one, and removes all its files.
    pub(crate) fn lose_files(&mut self, id: usize) {
        let mut server = self.take(id);
        server.kill();
        std::fs::remove_dir_all(server.dir()).expect("remove its files");
        std::fs::create_dir(server.dir()).expect("an empty folder");
    }

    /// Starts one, and waits until it accepts clients.
    pub(crate) fn start(&mut self, id: usize) -> &mut Server {
        self.servers[id - 1].insert(self.launches[id - 1].start())
    }

    /// What one that does not start says.
    pub(crate) fn fail_to_start(&self, id: usize) -> String {
        self.launches[id - 1].fail_to_start()
    }

    /// Starts all, one after another.
    pub(crate) fn start_all(&mut self) {
        for id in 1..=self.launches.len() {
            self.start(id);
        }
    }

    /// One that has been started.
    pub(crate) fn server(&mut self, id: usize) -> &mut Server {
        self.servers[id - 1].as_mut().expect("it has been started")
    }

    /// Where a core of a node takes links.
    pub(crate) fn link_address(&self, id: usize, core: u16) -> SocketAddr {
        let port = link_port(&self.ports[id - 1], self.shards) + core;
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }
}

/// `--cluster-peers` of nodes on these ports, which are reached by what `host` says.
fn peers(ports: &[Arc<FreePorts>], shards: u16, host: impl Fn(usize) -> String) -> String {
    let peer = |(to, ports): (usize, &Arc<FreePorts>)| {
        format!("{to}@{}:{}@{}", host(to), ports.first, link_port(ports, shards))
    };
    (1..).zip(ports).map(peer).collect::<Vec<_>>().join(" ")
}

/// The common port, the cores' own, the binary port, and the cores' for links.
fn ports_of(shards: u16) -> u16 {
    2 + 2 * shards
}

fn link_port(ports: &FreePorts, shards: u16) -> u16 {
    ports.first + 2 + shards
}
