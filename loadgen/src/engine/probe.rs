//! The first connection of a run, before any load: is there a server, does it let us in, and in a cluster
//! who owns what.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ringmain::protocol::client::write_request;

use super::plan::{Plan, Protocol};
use super::worker::resolve;
use crate::wire::cluster::SlotMap;
use crate::wire::greeting::{Greeting, refusal};
use crate::wire::resp::Framer;

/// How long the server may take to accept, and to answer each time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Greets the server and learns who owns which slot.
///
/// # Errors
/// One sentence that says what stands against the run.
pub(super) fn probe(plan: &Plan) -> Result<SlotMap, String> {
    let (host, port) = (plan.host.as_str(), plan.port);
    let at = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("{host}:{port} does not answer within {} s", PATIENCE.as_secs())
        }
        _ => format!("no server at {host}:{port}: {error}"),
    };
    let mut connection = Connection::open(host, port).map_err(at)?;
    if plan.protocol == Protocol::Binary {
        return Err("--protocol binary is not there yet: resp2 and resp3 are".to_owned());
    }
    let greeting = Greeting::resp(plan.protocol, plan.auth.as_ref(), plan.db).and_ping();
    connection.stream.write_all(&greeting.bytes).map_err(at)?;
    for _ in 0..greeting.replies {
        let reply = connection.reply().map_err(at)?;
        if let Some(text) = refusal_in(&reply) {
            return Err(format!("{host}:{port} answers {text}"));
        }
    }
    if !plan.cluster {
        return Ok(SlotMap::single(host, port));
    }
    let mut request = Vec::new();
    write_request(&mut request, &[b"CLUSTER", b"SLOTS"]);
    connection.stream.write_all(&request).map_err(at)?;
    let reply = connection.reply().map_err(at)?;
    SlotMap::from_reply(&reply, host).map_err(|error| format!("{host}:{port}: {error}"))
}

fn refusal_in(reply: &[u8]) -> Option<String> {
    let framed = Framer::default().next(reply).ok()??;
    refusal(framed.reply.first)
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Connection {
    fn open(host: &str, port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&resolve(host, port)?, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::new() })
    }

    /// The bytes of the next reply that is none of those sent unasked.
    fn reply(&mut self) -> io::Result<Vec<u8>> {
        let mut framer = Framer::default();
        let mut chunk = [0; 4096];
        loop {
            let framed = framer.next(&self.input).map_err(io::Error::other)?;
            if let Some(framed) = framed {
                let (is_push, bytes) = (framed.is_push(), framed.reply.bytes.to_vec());
                let consumed = framed.consumed;
                self.input.drain(..consumed);
                if !is_push {
                    return Ok(bytes);
                }
                continue;
            }
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::Error::other("it closes the connection")),
                length => self.input.extend_from_slice(&chunk[..length]),
            }
        }
    }
}
