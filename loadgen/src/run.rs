//! The closed loop over all connections, on one thread.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::connection::Connection;
use crate::report::Report;
use crate::workload::{Random, Workload};

/// A server that answers nobody for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);

const READ_BYTES: usize = 64 * 1024;

/// How much load.
pub(crate) struct Shape {
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    pub(crate) requests: u64,
    pub(crate) seed: u64,
}

/// Makes `shape.requests` requests of the server at `address` and reports how it answered.
pub(crate) fn run(address: SocketAddr, shape: &Shape, workload: &Workload) -> io::Result<Report> {
    let mut poll = Poll::new()?;
    let mut connections = connect(address, shape.connections, &poll)?;
    let mut random = Random::new(shape.seed);
    let mut report = Report::new();
    let mut scratch = vec![0; READ_BYTES];
    let mut left = shape.requests;
    let start = Instant::now();
    let mut open = 0_usize;
    for connection in &mut connections {
        open += usize::from(next_batch(connection, shape, workload, &mut random, &mut left)?);
    }
    let mut events = Events::with_capacity(1024);
    while open > 0 {
        poll.poll(&mut events, Some(SILENCE_MAX))?;
        if events.is_empty() {
            return Err(io::Error::other(format!("no reply for {} s", SILENCE_MAX.as_secs())));
        }
        for event in &events {
            let connection = &mut connections[event.token().0];
            if event.is_writable() {
                connection.send()?;
            }
            if event.is_readable() && !connection.is_done() {
                connection.receive(workload, &mut scratch, &mut report)?;
                if connection.is_done()
                    && !next_batch(connection, shape, workload, &mut random, &mut left)?
                {
                    open -= 1;
                }
            }
        }
    }
    report.finish(start.elapsed());
    Ok(report)
}

/// Sends a connection's next batch; `false` if there is none.
fn next_batch(
    connection: &mut Connection,
    shape: &Shape,
    workload: &Workload,
    random: &mut Random,
    left: &mut u64,
) -> io::Result<bool> {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(shape.depth);
    *left -= count as u64;
    connection.ask(count, workload, random)?;
    Ok(count > 0)
}

fn connect(address: SocketAddr, count: usize, poll: &Poll) -> io::Result<Vec<Connection>> {
    (0..count)
        .map(|number| {
            let mut connection = Connection::open(address).map_err(|error| {
                io::Error::other(format!("connection {number} of {count}: {error}"))
            })?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut connection.stream, Token(number), interest)?;
            Ok(connection)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use std::{io, thread};

    use ringmain::protocol::{Limits, Parsed, Parser, Proto, Reply};

    use super::{Shape, run};
    use crate::workload::Workload;

    type Store = Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>;
    /// Whether the server answers this request, counted from 0, as it should.
    type IsHonest = fn(usize) -> bool;

    /// A server of `SET` and `GET` that ends with its connections.
    fn serve(is_honest: IsHonest) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let store = Store::default();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let store = store.clone();
                thread::spawn(move || answer(stream, &store, is_honest));
            }
        });
        address
    }

    fn answer(mut stream: TcpStream, store: &Store, is_honest: IsHonest) -> io::Result<()> {
        let (mut parser, mut input, mut chunk) = (Parser::default(), Vec::new(), [0; 1000]);
        let mut count = 0;
        loop {
            let read = stream.read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            input.extend_from_slice(&chunk[..read]);
            let mut out = Vec::new();
            while let Ok(Parsed::Request { consumed }) =
                parser.parse(&input, &Limits::authenticated())
            {
                let args = parser.args(&input);
                let mut reply = Reply::new(&mut out, Proto::Resp2);
                let mut store = store.lock().expect("nobody panics with it");
                match (is_honest(count), &args[0]) {
                    (false, b"SET") => reply.error("OOM no room"),
                    (false, _) => reply.bulk(b"something else"),
                    (true, b"SET") => {
                        store.insert(args[1].to_vec(), args[2].to_vec());
                        reply.ok();
                    }
                    (true, _) => match store.get(&args[1]) {
                        Some(value) => reply.bulk(value),
                        None => reply.null(),
                    },
                }
                count += 1;
                input.drain(..consumed);
            }
            stream.write_all(&out)?;
        }
    }

    fn shape(connections: usize, depth: usize, requests: u64) -> Shape {
        Shape { connections, depth, requests, seed: 1 }
    }

    #[test]
    fn every_request_is_made_and_answered() {
        let address = serve(|_| true);
        for (connections, depth, requests) in
            [(1, 1, 0), (1, 1, 1), (3, 1, 1_000), (4, 16, 1_001), (2, 500, 3_000), (8, 2, 3)]
        {
            let workload = Workload::new(100, 64, 50);
            let shape = shape(connections, depth, requests);
            let report = run(address, &shape, &workload).expect("the server answers");
            assert_eq!(report.requests(), requests);
            assert!(!report.has_faults(), "{report}");
            assert_eq!(report.latency_max() > Duration::ZERO, requests > 0, "{report}");
        }
    }

    #[test]
    fn errors_and_wrong_values_are_counted() {
        let address = serve(|number| number % 10 != 0);
        let report = run(address, &shape(1, 4, 1_000), &Workload::new(100, 64, 0))
            .expect("the server answers");
        assert!(report.has_faults());
        assert!(report.to_string().contains("100 errors: OOM"), "{report}");
        let report = run(address, &shape(1, 4, 1_000), &Workload::new(100, 64, 100))
            .expect("the server answers");
        assert!(report.to_string().contains("100 wrong replies"), "{report}");
    }

    #[test]
    fn a_server_that_is_not_there_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        drop(listener);
        let error = run(address, &shape(1, 1, 1), &Workload::new(1, 1, 0)).err();
        let text = error.expect("nobody listens").to_string();
        assert!(text.starts_with("connection 0 of 1: "), "{text}");
    }
}
