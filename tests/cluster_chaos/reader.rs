//! A client that has said `READONLY`, and reads from any node, whether that leads or not.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::harness::client::{Client, encode};
use crate::harness::random::Random;
use crate::harness::value::Value;

/// How long a node may be behind that answers: the default of `follower-read-max-lag-ms`.
pub(crate) const LAG: Duration = Duration::from_secs(1);
/// How long it waits for a reply: so long that it hears what a node says that was frozen.
const REPLY: Duration = Duration::from_secs(3);

/// What is said by who does not answer.
const REFUSALS: [&str; 3] = ["MOVED ", "CLUSTERDOWN ", "LOADING "];

/// A client of its own connections.
pub(crate) struct Reader {
    /// The nodes' common ports, and connections to them.
    nodes: Vec<(u16, Option<Client>)>,
    random: Random,
}

impl Reader {
    pub(crate) fn new(ports: &[u16], random: Random) -> Self {
        Self { nodes: ports.iter().map(|port| (*port, None)).collect(), random }
    }

    /// What some node has under a key, if it answers.
    pub(crate) fn get(&mut self, key: &str) -> Option<Value> {
        let node = self.random.index(self.nodes.len());
        let (port, connection) = &mut self.nodes[node];
        let mut client = connection.take().or_else(|| begin(*port))?;
        let reply = ask(&mut client, &["GET", key])?;
        let Value::Error(error) = &reply else {
            *connection = Some(client);
            return Some(reply);
        };
        assert!(REFUSALS.iter().any(|words| error.starts_with(words)), "{error}");
        if !error.ends_with("Closing the connection.") {
            *connection = Some(client);
        }
        None
    }
}

fn begin(port: u16) -> Option<Client> {
    let mut client = Client::try_connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).ok()?;
    (ask(&mut client, &["READONLY"])? == Value::ok()).then_some(client)
}

fn ask(client: &mut Client, request: &[&str]) -> Option<Value> {
    client.try_send(encode(request)).ok()?;
    client.read_within(REPLY).ok()
}
