//! Publish and subscribe: one publisher, many subscribers of one channel, and what a message costs the
//! server for each who gets it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringmain::protocol::client::write_request;

use crate::load::RUN_TIMEOUT;
use crate::servers::{BASE, Installed, Running};
use crate::table::{Rounds, Table, thousands};
use crate::{Setting, process, progress};

const SUBSCRIBERS: usize = 100;
const CHANNEL: &[u8] = b"channel";
const PAYLOAD: [u8; 64] = [b'x'; 64];
/// Deliveries take less than requests do: more of them keep runs about as long.
const MORE_DELIVERIES: u64 = 5;

#[derive(Clone, Default)]
struct Figures {
    delivered_per_second: Rounds,
    cpu_us: Rounds,
}

/// One shard on one CPU beside the other servers; messages one at a time and in pipelines.
pub(crate) fn table(setting: &Setting, servers: &[Installed]) -> io::Result<Table> {
    let depths = &setting.depths;
    let mut figures = vec![vec![Figures::default(); depths.len()]; servers.len()];
    for round in 1..=setting.rounds {
        for (server, figures) in servers.iter().zip(&mut figures) {
            progress(&format!("publish and subscribe, round {round}: {}", server.name));
            let running = server.start(&setting.one.server)?;
            for (depth, figures) in depths.iter().zip(figures) {
                process::pinned(&setting.one.clients, || run(setting, &running, *depth, figures))?;
            }
        }
    }
    let base = servers.iter().position(|server| server.name == BASE).unwrap_or(0);
    let ratio = format!("CPU over {}'s", servers[base].name);
    let head = ["", "server", "deliveries/s", "CPU us/delivery", &ratio];
    let rounds = setting.rounds;
    let title = format!(
        "A message to {SUBSCRIBERS} subscribers, one CPU; {rounds} round(s), load by itself"
    );
    let mut table = Table::new(title, &head, setting.is_markdown);
    for (at, depth) in depths.iter().enumerate() {
        for (server, of_server) in servers.iter().zip(&figures) {
            let Figures { delivered_per_second, cpu_us } = &of_server[at];
            table.row(vec![
                format!("PUBLISH, depth {depth}"),
                server.title(),
                delivered_per_second.median_as(thousands),
                cpu_us.spread(),
                cpu_us.over(&figures[base][at].cpu_us).spread(),
            ]);
        }
    }
    Ok(table)
}

fn run(setting: &Setting, server: &Running, depth: usize, figures: &mut Figures) -> io::Result<()> {
    let per_batch = (depth * SUBSCRIBERS) as u64;
    let batches = (setting.requests * MORE_DELIVERIES).div_ceil(per_batch);
    let mut publisher = connect(server)?;
    let mut subscribers =
        (0..SUBSCRIBERS).map(|_| subscribe(server)).collect::<io::Result<Vec<_>>>()?;
    let mut batch = Vec::new();
    (0..depth).for_each(|_| write_request(&mut batch, &[b"PUBLISH", CHANNEL, &PAYLOAD]));
    let replies = format!(":{SUBSCRIBERS}\r\n").repeat(depth);
    let messages = message().repeat(depth);
    let mut buffer = vec![0; messages.len().max(replies.len())];
    let (before, start) = (server.cpu_time()?, Instant::now());
    for _ in 0..batches {
        publisher.write_all(&batch)?;
        expect(&mut publisher, replies.as_bytes(), &mut buffer)?;
        for subscriber in &mut subscribers {
            expect(subscriber, &messages, &mut buffer)?;
        }
        if start.elapsed() > RUN_TIMEOUT {
            return Err(io::Error::other("the load took too long"));
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    let spent = server.cpu_time()?.saturating_sub(before).as_secs_f64();
    let deliveries = (batches * per_batch) as f64;
    figures.delivered_per_second.push(deliveries / elapsed);
    figures.cpu_us.push(spent * 1e6 / deliveries);
    Ok(())
}

fn connect(server: &Running) -> io::Result<TcpStream> {
    const TIMEOUT: Duration = Duration::from_secs(30);
    let stream = TcpStream::connect_timeout(&server.address(), TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn subscribe(server: &Running) -> io::Result<TcpStream> {
    let mut stream = connect(server)?;
    let mut request = Vec::new();
    write_request(&mut request, &[b"SUBSCRIBE", CHANNEL]);
    stream.write_all(&request)?;
    let mut confirmed = b"*3\r\n".to_vec();
    confirmed.extend_from_slice(&bulk(b"subscribe"));
    confirmed.extend_from_slice(&bulk(CHANNEL));
    confirmed.extend_from_slice(b":1\r\n");
    let mut buffer = vec![0; confirmed.len()];
    expect(&mut stream, &confirmed, &mut buffer)?;
    Ok(stream)
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    let mut text = format!("${}\r\n", bytes.len()).into_bytes();
    text.extend_from_slice(bytes);
    text.extend_from_slice(b"\r\n");
    text
}

fn message() -> Vec<u8> {
    let mut bytes = Vec::new();
    write_request(&mut bytes, &[b"message", CHANNEL, &PAYLOAD]);
    bytes
}

/// Reads as many bytes as `expected` has; they must be those.
fn expect(stream: &mut TcpStream, expected: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    let read = &mut buffer[..expected.len()];
    stream.read_exact(read)?;
    if read == expected { Ok(()) } else { Err(io::Error::other("not what should have come")) }
}
