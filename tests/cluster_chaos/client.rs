//! A client that follows the leaders of a cluster, and says of every call whether it may have been carried out.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::harness::client::{Client, encode};
use crate::harness::random::Random;
use crate::harness::value::Value;

/// How long it waits for a reply mostly: not so long that little is seen of what happens while a node is frozen.
const REPLY: Duration = Duration::from_millis(300);
/// How long it waits sometimes: so long that it hears what a node says that was frozen.
const LATE_REPLY: Duration = Duration::from_secs(3);
/// How long it looks for a node that takes a call.
const SEARCH: Duration = Duration::from_secs(2);

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered.
    Answered(Value),
    /// It was not carried out.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// What is said by who has not carried out a command.
const REFUSALS: [&str; 2] = ["CLUSTERDOWN Hash slot not served", "LOADING "];

/// A client of its own connections.
pub(crate) struct Follower {
    /// The nodes' common ports.
    ports: Vec<u16>,
    /// Where keys of each shard were served last.
    guesses: Vec<u16>,
    connections: Vec<(u16, Client)>,
    /// Whether nodes know that it can be sent elsewhere; else they leave what it asks for to one another.
    speaks_cluster: bool,
    random: Random,
}

impl Follower {
    pub(crate) fn new(ports: &[u16], shards: u16, mut random: Random) -> Self {
        let guesses = (0..shards).map(|_| ports[0]).collect();
        let (connections, speaks_cluster) = (Vec::new(), random.one_in(2));
        Self { ports: ports.to_vec(), guesses, connections, speaks_cluster, random }
    }

    /// Has whoever leads `shard` carry out a command.
    pub(crate) fn call(&mut self, shard: u16, request: &[&str]) -> Outcome {
        let begun = Instant::now();
        while begun.elapsed() < SEARCH {
            let port = self.guesses[usize::from(shard)];
            match self.ask(port, request) {
                Outcome::Answered(Value::Error(error)) => {
                    if let Some((_, port)) = moved(&error) {
                        self.guesses[usize::from(shard)] = port;
                        continue;
                    }
                    if !REFUSALS.iter().any(|words| error.starts_with(words)) {
                        let is_deposed = error.starts_with("CLUSTERDOWN ");
                        assert!(is_deposed, "{request:?}: {error}");
                        return self.lose(shard, Outcome::Unknown);
                    }
                    self.lose(shard, Outcome::Refused);
                    std::thread::sleep(Duration::from_millis(5));
                }
                Outcome::Refused => {
                    self.lose(shard, Outcome::Refused);
                    std::thread::sleep(Duration::from_millis(5));
                }
                Outcome::Unknown => return self.lose(shard, Outcome::Unknown),
                answered @ Outcome::Answered(_) => return answered,
            }
        }
        Outcome::Refused
    }

    /// As [`Self::call`], for what does no harm if it is carried out again.
    pub(crate) fn insist(&mut self, shard: u16, request: &[&str], patience: Duration) -> Value {
        let begun = Instant::now();
        loop {
            if let Outcome::Answered(value) = self.call(shard, request) {
                return value;
            }
            assert!(begun.elapsed() < patience, "{request:?} was not answered in {patience:?}");
        }
    }

    /// The node that it asked last is not asked first the next time.
    fn lose(&mut self, shard: u16, outcome: Outcome) -> Outcome {
        let guess = &mut self.guesses[usize::from(shard)];
        let others: Vec<u16> = self.ports.iter().copied().filter(|port| port != guess).collect();
        *guess = *self.random.pick(&others);
        outcome
    }

    fn ask(&mut self, port: u16, request: &[&str]) -> Outcome {
        let place = self.connections.iter().position(|(of, _)| *of == port);
        let mut client = match place {
            Some(place) => self.connections.swap_remove(place).1,
            None => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let Ok(mut client) = Client::try_connect(address) else { return Outcome::Refused };
                if self.speaks_cluster
                    && (client.try_send(encode(&["READWRITE"])).is_err()
                        || client.read_within(REPLY).is_err())
                {
                    return Outcome::Refused;
                }
                client
            }
        };
        if client.try_send(encode(request)).is_err() {
            // It has sent part of it at most, or so much that somebody may have read it.
            return Outcome::Unknown;
        }
        let limit = if self.random.one_in(8) { LATE_REPLY } else { REPLY };
        let Ok(reply) = client.read_within(limit) else { return Outcome::Unknown };
        let closes =
            matches!(&reply, Value::Error(error) if error.ends_with("Closing the connection."));
        if !closes {
            self.connections.push((port, client));
        }
        Outcome::Answered(reply)
    }
}

/// Slot and port of a `MOVED`.
fn moved(error: &str) -> Option<(u16, u16)> {
    let (slot, address) = error.strip_prefix("MOVED ")?.split_once(' ')?;
    let (_, port) = address.rsplit_once(':')?;
    slot.parse().ok().zip(port.parse().ok())
}
