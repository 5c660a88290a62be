//! A server that does what its script says: answers rightly, wrongly, late, in pieces or not at all.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What is done about one request.
pub(crate) enum Say {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, each in a packet of its own.
    Drip(Vec<u8>),
    /// These bytes, after that time, in which nothing else on the connection is read or answered.
    Late(Duration, Vec<u8>),
    /// These bytes, and then the connection is closed.
    Close(Vec<u8>),
    /// Nothing, ever.
    Nothing,
}

/// Which request it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Which {
    /// Of all requests to this server, from 0.
    pub(crate) number: usize,
    /// The connection it came on, from 0.
    pub(crate) connection: usize,
    /// Of those on its connection, from 0.
    pub(crate) on_connection: usize,
}

type Script = dyn Fn(Which, &[Vec<u8>]) -> Say + Send + Sync;

/// A scripted server. Its threads end with the connections.
pub(crate) struct Fake {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    requests: AtomicUsize,
    connections: AtomicUsize,
    is_closed: AtomicBool,
}

impl Fake {
    /// Starts one on a free loopback port.
    pub(crate) fn start(script: impl Fn(Which, &[Vec<u8>]) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.is_closed.load(Ordering::Relaxed) {
                    return;
                }
                let shared = accepting.clone();
                let connection = shared.connections.fetch_add(1, Ordering::Relaxed);
                // The tool closes connections whenever it likes.
                thread::spawn(move || drop(shared.serve(stream, connection)));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream, connection: usize) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut input, mut chunk) = (Vec::new(), [0; 4096]);
        let mut on_connection = 0;
        loop {
            let read = stream.read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            input.extend_from_slice(&chunk[..read]);
            let mut out = Vec::new();
            while let Some((args, consumed)) = parse(&input) {
                input.drain(..consumed);
                let number = self.requests.fetch_add(1, Ordering::Relaxed);
                let which = Which { number, connection, on_connection };
                on_connection += 1;
                match (self.script)(which, &args) {
                    Say::Bytes(bytes) => out.extend(bytes),
                    Say::Nothing => {}
                    Say::Drip(bytes) => {
                        stream.write_all(&std::mem::take(&mut out))?;
                        bytes.iter().try_for_each(|byte| stream.write_all(&[*byte]))?;
                    }
                    Say::Late(time, bytes) => {
                        stream.write_all(&std::mem::take(&mut out))?;
                        thread::sleep(time);
                        out.extend(bytes);
                    }
                    Say::Close(bytes) => {
                        out.extend(bytes);
                        return stream.write_all(&out);
                    }
                }
            }
            stream.write_all(&out)?;
        }
    }
}

/// A request as clients write it: an array of bulk strings.
fn parse(input: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut at = 0;
    let number = |marker: u8, at: &mut usize| -> Option<usize> {
        let end = input[*at..].windows(2).position(|pair| pair == b"\r\n")? + *at;
        assert_eq!(input[*at], marker, "a request: {}", input.escape_ascii());
        let digits = str::from_utf8(&input[*at + 1..end]).expect("digits");
        *at = end + 2;
        Some(digits.parse().expect("a number"))
    };
    let mut args = Vec::new();
    if input.is_empty() {
        return None;
    }
    for _ in 0..number(b'*', &mut at)? {
        input.get(at)?;
        let length = number(b'$', &mut at)?;
        args.push(input.get(at..at + length)?.to_vec());
        at += length + 2;
    }
    (at <= input.len()).then_some((args, at))
}

/// A store that answers `GET`, `SET`, `PING` and `HELLO` as it should.
#[derive(Default)]
pub(crate) struct Store(Mutex<HashMap<Vec<u8>, Vec<u8>>>);

impl Store {
    pub(crate) fn answer(&self, args: &[Vec<u8>]) -> Vec<u8> {
        let mut map = self.0.lock().expect("nobody panics with it");
        match args[0].to_ascii_uppercase().as_slice() {
            b"PING" => b"+PONG\r\n".to_vec(),
            b"HELLO" => b"%1\r\n$5\r\nproto\r\n:3\r\n".to_vec(),
            b"SET" => {
                map.insert(args[1].clone(), args[2].clone());
                b"+OK\r\n".to_vec()
            }
            b"GET" => map.get(&args[1]).map_or(b"$-1\r\n".to_vec(), |value| bulk(value)),
            other => panic!("the tool asked for {}", other.escape_ascii()),
        }
    }

    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.0.lock().expect("nobody panics with it").contains_key(key)
    }
}

/// A bulk string.
pub(crate) fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

/// Whether a request is one of the workload, rather than of a connection's opening.
pub(crate) fn is_work(args: &[Vec<u8>]) -> bool {
    matches!(args[0].to_ascii_uppercase().as_slice(), b"GET" | b"SET")
}
