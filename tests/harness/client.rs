//! A connection that sends exactly the bytes it is told to and reads replies with a deadline.

use super::value::Value;
use super::{PATIENCE, wait_until};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Why no reply came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoReply {
    /// The server closed the connection.
    Closed,
    /// The deadline passed.
    Late,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    consumed: usize,
}

impl Client {
    /// Connects, waiting for the server to accept.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"))
    }

    /// Connects, or says why it could not.
    pub(crate) fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, received: Vec::new(), consumed: 0 })
    }

    /// The same on a connection that is there.
    pub(crate) fn from(stream: TcpStream) -> Self {
        Self { stream, received: Vec::new(), consumed: 0 }
    }

    /// The address this end has, as `CLIENT LIST` shows it.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    /// Sends `bytes` as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("send");
    }

    /// Sends `bytes`, or as much as the server takes before it closes.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends one request.
    pub(crate) fn request<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.send(encode(args));
    }

    /// Sends one request and reads its reply.
    pub(crate) fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.request(args);
        self.read().unwrap_or_else(|none| {
            let shown: Vec<_> = args.iter().map(|arg| super::value::quoted(arg.as_ref())).collect();
            panic!("no reply ({none:?}) to {}", shown.join(" "))
        })
    }

    /// Sends one request written as words with single spaces between them.
    pub(crate) fn words(&mut self, line: &str) -> Value {
        self.command(&line.split(' ').collect::<Vec<_>>())
    }

    /// As [`Self::words`], for a request that must be answered with `+OK`.
    pub(crate) fn ok(&mut self, line: &str) {
        assert_eq!(self.words(line), Value::ok(), "{line}");
    }

    /// Reads one reply.
    pub(crate) fn read(&mut self) -> Result<Value, NoReply> {
        self.read_within(PATIENCE)
    }

    /// Reads one reply that must come within `limit`.
    pub(crate) fn read_within(&mut self, limit: Duration) -> Result<Value, NoReply> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some((value, length)) = Value::parse(&self.received[self.consumed..]) {
                self.consumed += length;
                return Ok(value);
            }
            self.receive(deadline)?;
        }
    }

    /// Reads as many bytes as `expected` has and compares them with it.
    pub(crate) fn expect_bytes(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let deadline = Instant::now() + PATIENCE;
        let mut outcome = Ok(());
        while self.received.len() - self.consumed < expected.len() && outcome.is_ok() {
            outcome = self.receive(deadline);
        }
        let unread = &self.received[self.consumed..];
        let got = &unread[..unread.len().min(expected.len())];
        assert!(
            got == expected,
            "expected {}\n     got {} ({outcome:?})",
            super::value::quoted(expected),
            super::value::quoted(got)
        );
        self.consumed += expected.len();
    }

    /// Reads until the server closes the connection and gives what was left to read.
    pub(crate) fn read_to_close(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.receive(deadline) {
                Ok(()) => {}
                Err(NoReply::Closed) => return self.received.split_off(self.consumed),
                Err(NoReply::Late) => panic!("the server did not close the connection"),
            }
        }
    }

    /// Reads to the close, and checks that nothing comes before it.
    pub(crate) fn expect_close(&mut self) {
        let rest = self.read_to_close();
        assert!(rest.is_empty(), "before the close: {}", super::value::quoted(&rest));
    }

    /// Whether something has come, or comes within `limit`, without consuming it.
    pub(crate) fn is_readable_within(&mut self, limit: Duration) -> bool {
        self.consumed < self.received.len() || self.receive(Instant::now() + limit).is_ok()
    }

    /// Says that nothing more will be sent.
    pub(crate) fn end_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("shut down the sending side");
    }

    /// The size of the kernel's receive buffer plays a role in tests of slow readers only.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn receive(&mut self, deadline: Instant) -> Result<(), NoReply> {
        if self.consumed == self.received.len() {
            self.received.clear();
            self.consumed = 0;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NoReply::Late);
        }
        self.stream.set_read_timeout(Some(left)).expect("set a read timeout");
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(NoReply::Closed),
            Ok(length) => {
                self.received.extend_from_slice(&chunk[..length]);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(NoReply::Late),
                ErrorKind::Interrupted => Ok(()),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Err(NoReply::Closed),
                _ => panic!("read: {error}"),
            },
        }
    }
}

/// A request as an array of bulk strings.
pub(crate) fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A request written as words with single spaces between them.
pub(crate) fn encode_words(line: &str) -> Vec<u8> {
    encode(&line.split(' ').collect::<Vec<_>>())
}

/// The fields of `INFO`, or of one of its sections.
pub(crate) fn info(
    client: &mut Client,
    section: &str,
) -> std::collections::HashMap<String, String> {
    let text = client.words(&format!("INFO {section}")).text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// One number of `INFO`.
pub(crate) fn info_number(client: &mut Client, section: &str, field: &str) -> u64 {
    let fields = info(client, section);
    let text = fields.get(field).unwrap_or_else(|| panic!("no {field} in INFO {section}"));
    text.parse().unwrap_or_else(|_| panic!("{field}:{text} is not a number"))
}

/// Waits until `line` is answered with `expected`.
pub(crate) fn wait_for_reply(client: &mut Client, line: &str, expected: &Value) {
    wait_until(&format!("{line} => {expected:?}"), || client.words(line) == *expected);
}

/// All keys that a whole walk of `SCAN` answers, with these options in each call.
pub(crate) fn scan(client: &mut Client, options: &str) -> Vec<String> {
    const CALLS_MAX: usize = 100_000;
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    for _ in 0..CALLS_MAX {
        let words = ["SCAN", &cursor].into_iter().chain(options.split_whitespace());
        let reply = client.command(&words.collect::<Vec<_>>());
        let [next, keys] = reply.elements() else { panic!("SCAN answered {reply:?}") };
        found.extend(keys.elements().iter().map(Value::text));
        cursor = next.text();
        if cursor == "0" {
            return found;
        }
    }
    panic!("SCAN does not come to an end");
}
