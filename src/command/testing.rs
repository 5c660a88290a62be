//! A node without cores, and a client of it, for tests of session commands: requests in, bytes out.

use std::sync::Arc;
use std::time::Duration;

use super::session::ReplyMode;
use super::table::Table;
use super::{Action, Handler, Session, SessionCx, View};
use crate::config::{Config, Live};
use crate::node::{
    ClientInfo, ClientOptions, CpuTimes, Host, Node, NodeOptions, Process, Topology,
};
use crate::protocol::args::ArgRange;
use crate::protocol::{Args, Proto, Reply};
use crate::types::{CoreId, DbIndex, MonoUs, Now, SlotMap};

/// Calls `then` with the words of `request` as arguments; `''` is an empty one.
pub(super) fn with_args<R>(request: &str, then: impl FnOnce(&Args<'_>) -> R) -> R {
    let mut bytes = Vec::new();
    let mut ranges = Vec::new();
    for word in request.split(' ') {
        let word = if word == "''" { "" } else { word };
        let start = u32::try_from(bytes.len()).unwrap();
        ranges.push(ArgRange { start, length: u32::try_from(word.len()).unwrap() });
        bytes.extend_from_slice(word.as_bytes());
    }
    then(&Args::new(&bytes, &ranges))
}

#[derive(Debug)]
struct FakeHost;

impl Host for FakeHost {
    fn resident_bytes(&self) -> u64 {
        8 << 20
    }

    fn cpu_times(&self) -> CpuTimes {
        CpuTimes::default()
    }

    fn total_memory_bytes(&self) -> u64 {
        1 << 30
    }
}

/// A node of two cores and three shards, at 1700000000 seconds.
pub(super) fn node() -> Node {
    node_with(|_| {}, vec![16_379, 16_380])
}

/// The same with another configuration and other core ports.
pub(super) fn node_with(change: impl FnOnce(&mut Config), core_ports: Vec<u16>) -> Node {
    let mut config = Config::default();
    change(&mut config);
    Node::new(NodeOptions {
        slots: SlotMap::new(3, 2),
        topology: Topology { common_port: 6379, core_ports, ..Topology::default() },
        run_id: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        name: None,
        started_at: Now::new(Duration::from_secs(1_700_000_000), MonoUs(0)),
        process: Process::default(),
        host: Box::new(FakeHost),
        config: Live::new(config),
    })
}

/// A client of a node.
pub(super) struct Client<'a> {
    pub(super) node: &'a Node,
    pub(super) session: Session,
    /// What the last request asked the runtime to do.
    pub(super) actions: Vec<Action>,
    /// The time, which only tests move.
    pub(super) now: Now,
}

impl<'a> Client<'a> {
    /// A client that came in on `port`.
    pub(super) fn new(node: &'a Node, port: u16) -> Self {
        let id = node.clients.admit(100).unwrap();
        let client_port = 40_000 + u16::try_from(id.0).unwrap();
        let info = Arc::new(ClientInfo::new(ClientOptions {
            id,
            addr: ([127, 0, 0, 1], client_port).into(),
            laddr: ([127, 0, 0, 1], port).into(),
            fd: 8,
            core: CoreId(0),
            now: MonoUs(0),
            is_guest: false,
        }));
        node.clients.insert(info.clone());
        let session = Session {
            id,
            view: View {
                core: node.topology.core_of_port(port),
                cluster: node.config.load().cluster_enabled,
            },
            db: DbIndex(0),
            proto: Proto::Resp2,
            authenticated: node.config.load().requirepass.is_none(),
            no_touch: false,
            no_evict: false,
            reads_followers: false,
            depends_on: None,
            reply_mode: ReplyMode::On,
            monitor: false,
            topology_told: None,
            subscriptions: None,
            durability: None,
            transaction: Default::default(),
            tracking: None,
            info,
        };
        Self { node, session, actions: Vec::new(), now: node.started_at }
    }

    /// Runs one request as a core would and answers the reply's bytes, line breaks as `⏎`.
    pub(super) fn run(&mut self, request: &str) -> String {
        let mut out = Vec::new();
        let proto = self.session.proto;
        self.actions.clear();
        let result = with_args(request, |args| {
            let entry = Table::get().resolve(args)?;
            let Handler::Session(handler) = entry.command.handler else {
                panic!("{request} works on data")
            };
            let mut cx = SessionCx {
                now: self.now,
                core: CoreId(0),
                session: &mut self.session,
                node: self.node,
                actions: &mut self.actions,
            };
            handler(&mut cx, args, &mut Reply::new(&mut out, proto))
        });
        if let Err(error) = result {
            out.clear();
            Reply::new(&mut out, proto).error(&error.to_string());
        }
        String::from_utf8_lossy(&out).replace("\r\n", "⏎")
    }

    /// Runs requests in turn and compares each reply, without its last line break.
    pub(super) fn check(&mut self, cases: &[(&str, &str)]) {
        for (request, expected) in cases {
            let reply = self.run(request);
            assert_eq!(reply.strip_suffix('⏎').unwrap_or(&reply), *expected, "{request}");
        }
    }
}
