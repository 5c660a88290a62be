//! This server's two protocols beside one another: the same requests in RESP and in frames.
//!
//! Requests are made before the clock starts and replies are told by their lengths, so that the client
//! takes little time and the server is what the figures are about.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringmain::protocol::binary::{Extras, Opcode, RequestFrame, RequestHead};
use ringmain::protocol::client::write_request;
use ringmain::types::key_slot;

use crate::load::{CONNECTIONS, Cost, KEYS, RUN_TIMEOUT, VALUE, Verb, key, next, warm_up};
use crate::servers::{Installed, Running};
use crate::table::{Rounds, Table, thousands};
use crate::{Setting, process, progress};

/// Requests that are made in advance, over and over sent.
const PREPARED: usize = 200_000;
/// How much cheaper pipelined requests are, at most: more of them keep runs about as long.
const MORE_WHEN_PIPELINED: u64 = 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Resp,
    Binary,
}

#[derive(Clone, Copy)]
struct Case {
    verb: Verb,
    depth: usize,
}

#[derive(Clone, Default)]
struct Figures {
    requests_per_second: Rounds,
    cpu_us: Rounds,
}

/// One shard on one CPU, both protocols in turn, started anew in each round.
pub(crate) fn table(setting: &Setting, server: &Installed) -> io::Result<Table> {
    let verbs = |&depth: &usize| [Verb::Set, Verb::Get].map(|verb| Case { verb, depth });
    let cases: Vec<Case> = setting.depths.iter().flat_map(verbs).collect();
    let protocols = [Protocol::Resp, Protocol::Binary];
    let mut figures = vec![[Figures::default(), Figures::default()]; cases.len()];
    for round in 1..=setting.rounds {
        progress(&format!("protocols, round {round}"));
        let running = server.start(&setting.one.server)?;
        warm_up(&running)?;
        for (case, figures) in cases.iter().zip(&mut figures) {
            for (protocol, figures) in protocols.into_iter().zip(figures) {
                let cost = run(setting, &running, *case, protocol)?;
                figures.requests_per_second.push(cost.requests_per_second);
                figures.cpu_us.push(cost.cpu_us);
            }
        }
    }
    let head =
        ["", "protocol", "requests/s", "CPU us/request", "requests a CPU second over RESP's"];
    let title = format!("Both protocols, one CPU; {} round(s), load by itself", setting.rounds);
    let mut table = Table::new(title, &head, setting.is_markdown);
    for (case, of_case) in cases.iter().zip(&figures) {
        for (name, figures) in ["RESP", "binary"].into_iter().zip(of_case) {
            table.row(vec![
                format!("{}, depth {}", case.verb.name(), case.depth),
                name.to_owned(),
                figures.requests_per_second.median_as(thousands),
                figures.cpu_us.spread(),
                of_case[0].cpu_us.over(&figures.cpu_us).spread(),
            ]);
        }
    }
    Ok(table)
}

fn run(setting: &Setting, server: &Running, case: Case, protocol: Protocol) -> io::Result<Cost> {
    let requests = setting.requests * (case.depth as u64).min(MORE_WHEN_PIPELINED);
    let batches = prepare(case, protocol);
    let (before, start) = (server.cpu_time()?, Instant::now());
    process::pinned(&setting.one.clients, || load(server, case, protocol, &batches, requests))?;
    let elapsed = start.elapsed().as_secs_f64();
    let spent = server.cpu_time()?.saturating_sub(before);
    Ok(Cost {
        requests_per_second: requests as f64 / elapsed,
        cpu_us: spent.as_secs_f64() * 1e6 / requests as f64,
    })
}

/// The bytes of batches of as many requests as a connection has on the way.
fn prepare(case: Case, protocol: Protocol) -> Vec<Vec<u8>> {
    let mut random = 1_u64;
    let mut number = || next(&mut random) % KEYS;
    let count = PREPARED / case.depth;
    (0..count).map(|_| batch(case, protocol, std::iter::repeat_with(&mut number))).collect()
}

fn batch(case: Case, protocol: Protocol, numbers: impl Iterator<Item = u64>) -> Vec<u8> {
    let (mut bytes, mut frame) = (Vec::new(), RequestFrame::default());
    for (id, number) in (0..).zip(numbers.take(case.depth)) {
        let key = key(number);
        match (protocol, case.verb) {
            (_, Verb::Transaction) => unreachable!("one protocol alone has transactions"),
            (Protocol::Resp, Verb::Set) => write_request(&mut bytes, &[b"SET", &key, &VALUE]),
            (Protocol::Resp, Verb::Get) => write_request(&mut bytes, &[b"GET", &key]),
            (Protocol::Binary, verb @ (Verb::Set | Verb::Get)) => {
                let is_set = verb == Verb::Set;
                let opcode = if is_set { Opcode::Set } else { Opcode::Get };
                let value: &[u8] = if is_set { &VALUE } else { &[] };
                let head = RequestHead { slot: key_slot(&key), ..RequestHead::new(id, opcode) };
                let pushed = frame.push(head, &Extras::default(), &key, value);
                pushed.expect("a batch is shorter than a frame may be");
            }
        }
    }
    frame.finish(&mut bytes);
    bytes
}

/// A connection, and how many requests of it are on the way.
struct Link {
    stream: TcpStream,
    on_the_way: usize,
}

/// Each connection in turn gives up the replies to its last batch and sends the next one.
fn load(
    server: &Running,
    case: Case,
    protocol: Protocol,
    batches: &[Vec<u8>],
    requests: u64,
) -> io::Result<()> {
    const TIMEOUT: Duration = Duration::from_secs(30);
    let mut links = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect_timeout(&server.address(), TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        links.push(Link { stream, on_the_way: 0 });
    }
    let mut buffer = vec![0; 64 * 1024];
    let (mut sent, start, mut turn) = (0, Instant::now(), batches.iter().cycle());
    while sent < requests {
        for link in &mut links {
            link.finish(case, protocol, &mut buffer)?;
            if let Some(batch) = turn.next() {
                link.stream.write_all(batch)?;
                link.on_the_way = case.depth;
                sent += case.depth as u64;
            }
        }
        if start.elapsed() > RUN_TIMEOUT {
            return Err(io::Error::other("the load took too long"));
        }
    }
    links.iter_mut().try_for_each(|link| link.finish(case, protocol, &mut buffer))
}

impl Link {
    /// Reads the replies to all that is on the way. Every one must be what success looks like.
    fn finish(&mut self, case: Case, protocol: Protocol, buffer: &mut [u8]) -> io::Result<()> {
        let count = std::mem::take(&mut self.on_the_way);
        let body = if case.verb == Verb::Get { VALUE.len() } else { 0 };
        let of_resp = if case.verb == Verb::Get { b"$64\r\n".len() + body + 2 } else { 5 };
        let (mut filled, mut read, mut seen) = (0, 0, 0);
        while seen < count {
            let length = self.stream.read(&mut buffer[filled..])?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += length;
            match protocol {
                Protocol::Resp if filled >= count * of_resp => {
                    (read, seen) = (count * of_resp, count)
                }
                Protocol::Resp => {}
                Protocol::Binary => {
                    while let Some((items, bytes)) = frame(&buffer[read..filled]) {
                        if bytes != 16 + items * (20 + body) {
                            return Err(io::Error::other("a request failed"));
                        }
                        (read, seen) = (read + bytes, seen + items);
                    }
                }
            }
        }
        let is_error = protocol == Protocol::Resp && count > 0 && buffer[0] == b'-';
        if read != filled || is_error {
            return Err(io::Error::other("a reply is not what it should be"));
        }
        Ok(())
    }
}

/// The number of replies and the length of the frame at the start of `bytes`, if it is all there.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let header = bytes.first_chunk::<16>()?;
    let items = usize::from(u16::from_le_bytes([header[2], header[3]]));
    let body = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    let length = 16 + items * 20 + body;
    (bytes.len() >= length).then_some((items, length))
}
