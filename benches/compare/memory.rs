//! What a server holds when nobody asks anything of it: memory per key and per connection, and the CPU
//! time it uses regardless.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::load::{ENTRY_BYTES, fill};
use crate::servers::{Installed, Running};
use crate::table::{Table, thousands};
use crate::{Setting, process, progress};

/// Files that this process and a server need beside the connections.
const FILES_KEPT: u64 = 100;

/// Redis gives up an idle connection's buffers within two seconds.
const SETTLE: Duration = Duration::from_secs(3);

/// Resident memory before and after `setting.keys` keys of 16 bytes with values of 64 are written.
pub(crate) fn per_key(setting: &Setting, servers: &[Installed]) -> io::Result<Table> {
    let head =
        ["server", "resident MiB, empty", "resident MiB, full", "bytes/key beyond key and value"];
    let title = format!("{} keys of 16 bytes with values of 64", thousands(setting.keys as f64));
    let mut table = Table::new(title, &head, setting.is_markdown);
    for server in servers {
        progress(&format!("memory per key: {}", server.name));
        let running = server.start(&setting.one.server)?;
        let empty = settled(setting, &running)?;
        fill(&running, setting.keys)?;
        let full = settled(setting, &running)?;
        let per_key = full.saturating_sub(empty) as f64 / setting.keys as f64;
        table.row(vec![
            server.title(),
            mebibytes(empty),
            mebibytes(full),
            format!("{:.1}", per_key - ENTRY_BYTES as f64),
        ]);
    }
    Ok(table)
}

/// A shape of collections: what it is, the command that makes one, how many elements it has, how many elements there
/// are in all for each key of the setting, and an element.
struct Shape {
    name: &'static str,
    command: &'static [u8],
    elements: u64,
    thousandths: u64,
    element: fn(u64) -> Vec<Vec<u8>>,
}

const SHAPES: [Shape; 8] = [
    shape("hashes of 5 fields", b"HSET", 5, 1000, |n| {
        vec![format!("field:{}", n % 5).into(), format!("{n:010}").into()]
    }),
    shape("lists of 20", b"RPUSH", 20, 4000, |n| vec![format!("{n:010}").into()]),
    shape("sets of 100 integers", b"SADD", 100, 20_000, |n| {
        vec![(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44).to_string().into()]
    }),
    shape("sorted sets of 1,000", b"ZADD", 1000, 1000, |n| {
        vec![(n % 977).to_string().into(), crate::load::key(n).to_vec()]
    }),
    shape("one sorted set", b"ZADD", u64::MAX, 1000, |n| {
        vec![(n % 99_991).to_string().into(), crate::load::key(n).to_vec()]
    }),
    shape("one hash", b"HSET", u64::MAX, 1000, |n| {
        vec![crate::load::key(n).to_vec(), format!("{n:010}").into()]
    }),
    shape("one set", b"SADD", u64::MAX, 1000, |n| vec![crate::load::key(n).to_vec()]),
    shape("one list", b"RPUSH", u64::MAX, 10_000, |n| vec![crate::load::key(n).to_vec()]),
];

const fn shape(
    name: &'static str,
    command: &'static [u8],
    elements: u64,
    thousandths: u64,
    element: fn(u64) -> Vec<Vec<u8>>,
) -> Shape {
    Shape { name, command, elements, thousandths, element }
}

impl Shape {
    fn fill(&self, server: &Running, count: u64) -> io::Result<()> {
        const AT_ONCE: u64 = 100;
        let mut client = Client::connect(server.address())?;
        let step = AT_ONCE.min(self.elements);
        for first in (0..count).step_by(usize::try_from(step).map_err(io::Error::other)?) {
            let key = crate::load::key(first / self.elements);
            let elements: Vec<_> = (first..first + step).flat_map(self.element).collect();
            let mut args: Vec<&[u8]> = vec![self.command, &key];
            args.extend(elements.iter().map(Vec::as_slice));
            client.add(&args);
            if first % (AT_ONCE * step) == 0 {
                client.send()?;
                client.finish()?;
            }
        }
        client.send()?;
        client.finish()
    }
}

/// Resident memory before and after collections of several shapes are written, a server for each.
pub(crate) fn per_element(setting: &Setting, servers: &[Installed]) -> io::Result<Table> {
    let head =
        ["", "server", "resident MiB, empty", "resident MiB, full", "bytes/element", "bytes/key"];
    let title = "Collections; elements of 10 bytes in hashes and lists, of 16 where there is one"
        .to_owned();
    let mut table = Table::new(title, &head, setting.is_markdown);
    for shape in &SHAPES {
        let count = setting.keys * shape.thousandths / 1000;
        for server in servers {
            progress(&format!("memory per element: {}: {}", shape.name, server.name));
            let running = server.start(&setting.one.server)?;
            touch_buffers(&running)?;
            let empty = settled(setting, &running)?;
            shape.fill(&running, count)?;
            let full = settled(setting, &running)?;
            let bytes = full.saturating_sub(empty) as f64;
            let keys = count.div_ceil(shape.elements) as f64;
            table.row(vec![
                format!("{} ({})", shape.name, thousands(count as f64)),
                server.title(),
                mebibytes(empty),
                mebibytes(full),
                format!("{:.1}", bytes / count as f64),
                format!("{:.0}", bytes / keys),
            ]);
        }
    }
    Ok(table)
}

/// Resident memory before and after `setting.connections` clients connect, ask once and fall silent.
pub(crate) fn per_connection(setting: &Setting, servers: &[Installed]) -> io::Result<Table> {
    let files_max = process::open_files_max()?;
    let room = usize::try_from(files_max.saturating_sub(FILES_KEPT)).unwrap_or(usize::MAX);
    let count = setting.connections.min(room);
    let mut title = format!("{} idle connections", thousands(count as f64));
    if count < setting.connections {
        title += &format!(" (no more: {files_max} open files are allowed; see `ulimit -n`)");
    }
    let head = ["server", "resident MiB, none", "resident MiB, all", "KiB/connection"];
    let mut table = Table::new(title, &head, setting.is_markdown);
    for server in servers {
        progress(&format!("memory per connection: {}", server.name));
        let running = server.start(&setting.one.server)?;
        let none = settled(setting, &running)?;
        let clients = connect(&running, count)?;
        let all = settled(setting, &running)?;
        let per_connection = all.saturating_sub(none) as f64 / 1024.0 / clients.len() as f64;
        table.row(vec![
            server.title(),
            mebibytes(none),
            mebibytes(all),
            format!("{per_connection:.2}"),
        ]);
    }
    Ok(table)
}

/// CPU time used while nobody is connected.
pub(crate) fn idle(setting: &Setting, servers: &[Installed]) -> io::Result<Table> {
    let title = format!("Idle for {} s, nobody connected", setting.idle.as_secs_f64());
    let mut table = Table::new(title, &["server", "CPU %"], setting.is_markdown);
    for server in servers {
        progress(&format!("idle: {}", server.name));
        let running = server.start(&setting.one.server)?;
        thread::sleep(setting.settle(SETTLE));
        let (start, before) = (Instant::now(), running.cpu_time()?);
        thread::sleep(setting.idle);
        let spent = running.cpu_time()?.saturating_sub(before).as_secs_f64();
        let percent = 100.0 * spent / start.elapsed().as_secs_f64();
        table.row(vec![server.title(), format!("{percent:.2}")]);
    }
    Ok(table)
}

/// Has a server use all memory that it receives requests in, which is not for what it keeps.
fn touch_buffers(server: &Running) -> io::Result<()> {
    const BYTES: usize = 16 << 20;
    let mut client = Client::connect(server.address())?;
    let text = [b'x'; 16 << 10];
    (0..BYTES / text.len()).try_for_each(|_| client.call(&[b"ECHO", &text]).map(drop))
}

fn settled(setting: &Setting, server: &Running) -> io::Result<u64> {
    thread::sleep(setting.settle(SETTLE));
    server.resident_bytes()
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// Opens `count` connections, each of which has been answered once.
fn connect(server: &Running, count: usize) -> io::Result<Vec<TcpStream>> {
    let mut answer = [0; 7];
    (0..count)
        .map(|number| {
            let mut connect = || {
                let mut stream = TcpStream::connect(server.address())?;
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                stream.write_all(b"PING\r\n")?;
                stream.read_exact(&mut answer)?;
                Ok(stream)
            };
            connect().map_err(|error: io::Error| {
                io::Error::other(format!("connection {number} of {count}: {error}"))
            })
        })
        .collect()
}
