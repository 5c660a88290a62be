//! The first connection of a run, before any load: is there a server, does it let us in, and in a cluster
//! who owns what.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ringmain::protocol::binary::{
    FrameLimits, Frames, Greeting as Answer, Next, ReplyHead, Status,
};
use ringmain::protocol::client::write_request;

use super::plan::{Plan, Protocol};
use super::worker::resolve;
use crate::wire::cluster::SlotMap;
use crate::wire::greeting::{Dialect, Greeting, HELLO_ID, refusal};
use crate::wire::resp::Framer;

/// How long the server may take to accept, and to answer each time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Greets the server and learns who owns which slot; and how it is to be greeted from then on.
///
/// # Errors
/// One sentence that says what stands against the run.
pub(super) fn probe(plan: &Plan) -> Result<(SlotMap, Greeting), String> {
    let (host, port) = (plan.host.as_str(), plan.port);
    let at = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("{host}:{port} does not answer within {} s", PATIENCE.as_secs())
        }
        _ => format!("no server at {host}:{port}: {error}"),
    };
    let mut connection = Connection::open(host, port).map_err(at)?;
    if plan.protocol == Protocol::Binary {
        return probe_binary(plan, &mut connection, at);
    }
    let greeting = Greeting::resp(plan.protocol, plan.auth.as_ref(), plan.db);
    let first = greeting.clone().and_ping();
    connection.stream.write_all(&first.bytes).map_err(at)?;
    for _ in 0..first.replies {
        let reply = connection.reply().map_err(at)?;
        if let Some(text) = refusal_in(&reply) {
            return Err(format!("{host}:{port} answers {text}"));
        }
    }
    if !plan.cluster {
        return Ok((SlotMap::single(host, port), greeting));
    }
    let mut request = Vec::new();
    write_request(&mut request, &[b"CLUSTER", b"SLOTS"]);
    connection.stream.write_all(&request).map_err(at)?;
    let reply = connection.reply().map_err(at)?;
    let slots = SlotMap::from_reply(&reply, host);
    Ok((slots.map_err(|error| format!("{host}:{port}: {error}"))?, greeting))
}

fn probe_binary(
    plan: &Plan,
    connection: &mut Connection,
    at: impl Fn(io::Error) -> String,
) -> Result<(SlotMap, Greeting), String> {
    let (host, port) = (plan.host.as_str(), plan.port);
    let said = |error: String| format!("{host}:{port}: {error}");
    let mut greeting = Greeting::binary(plan.auth.as_ref(), plan.db);
    connection.stream.write_all(&greeting.bytes).map_err(&at)?;
    let mut slots = SlotMap::single(host, port);
    for (head, body) in connection.frames(greeting.replies, at)? {
        if head.status() != Some(Status::Ok) {
            return Err(format!("{host}:{port} answers {}", body.escape_ascii()));
        }
        if head.id != HELLO_ID {
            continue;
        }
        let answer = Answer::read(&body).map_err(|error| said(format!("hello: {error}")))?;
        greeting.dialect = Dialect::Binary { items_max: answer.limits.items_max };
        if plan.cluster {
            slots = SlotMap::from_topology(answer.life, &answer.topology, host).map_err(said)?;
        }
    }
    Ok((slots, greeting))
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

    /// The next replies in the binary protocol, one of which may be the last that is said.
    fn frames(
        &mut self,
        count: usize,
        at: impl Fn(io::Error) -> String,
    ) -> Result<Vec<(ReplyHead, Vec<u8>)>, String> {
        let mut frames = Frames::default();
        let (mut chunk, mut taken, mut replies) = ([0; 4096], 0, Vec::new());
        while replies.len() < count {
            match frames.next(&self.input, taken, &FrameLimits::WIDEST) {
                Ok(Next::Item(item)) => {
                    let head: ReplyHead = item.head;
                    replies.push((head, self.input[item.start..item.end].to_vec()));
                    taken = item.end;
                    if head.status().is_none_or(Status::is_error) {
                        break;
                    }
                }
                Ok(Next::Incomplete { .. }) => match self.stream.read(&mut chunk).map_err(&at)? {
                    0 => return Err(at(io::Error::other("it closes the connection"))),
                    length => self.input.extend_from_slice(&chunk[..length]),
                },
                Err(error) => {
                    let what = format!("it does not speak the binary protocol ({error})");
                    return Err(at(io::Error::other(what)));
                }
            }
        }
        Ok(replies)
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
