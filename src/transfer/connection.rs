//! A blocking connection to a server: requests in, replies out, any number under way.
//!
//! Whoever sends many requests before reading bounds them: a server that can't send its replies stops
//! reading, and then both would wait.

use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::Failure;
use super::endpoint::Endpoint;
use crate::limits::{BULK_BYTES_MAX, LINE_BYTES_MAX};
use crate::protocol::client::write_head;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server may take to answer: one that saves or runs something long answers late.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that are gathered before they are sent, and room for those that come.
const BUFFER_BYTES: usize = 64 * 1024;
/// Arrays inside one another; what `COMMAND INFO` answers has seven.
const DEPTH_MAX: usize = 16;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Simple(Vec<u8>),
    /// Its text, the code included.
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    /// A string longer than any value may be; it was passed over.
    TooLong,
    Null,
    Array(Vec<Reply>),
}

/// The connection.
pub(super) struct Connection {
    name: String,
    input: BufReader<TcpStream>,
    output: BufWriter<TcpStream>,
}

impl Connection {
    /// Connects, authenticates if there is a password, and sees whether the server answers.
    pub(super) fn open(endpoint: &Endpoint) -> Result<Self, Failure> {
        let (name, flags) = (endpoint.name(), endpoint.flags);
        let (input, output) = connect(endpoint).map_err(|error| {
            Failure::Nonsense(format!(
                "There is no server at {name} ({error}): start one, or name it with {}.",
                flags.address
            ))
        })?;
        let mut connection = Self { name, input, output };
        if let Some(password) = &endpoint.password {
            let auth: &[&[u8]] = match &endpoint.user {
                Some(user) => &[b"AUTH", user.as_bytes(), password.as_bytes()],
                None => &[b"AUTH", password.as_bytes()],
            };
            if let Reply::Error(error) = connection.call(auth).map_err(Failure::before)? {
                return Err(Failure::Nonsense(format!(
                    "The server at {} refused the password ({error}): give the right one {}.",
                    connection.name, flags.password
                )));
            }
        }
        match connection.call(&[b"PING"]).map_err(Failure::before)? {
            Reply::Error(error) if error.starts_with("NOAUTH") => Err(Failure::Nonsense(format!(
                "The server at {} asks for a password ({error}): give it {}.",
                connection.name, flags.password
            ))),
            Reply::Error(error) => Err(Failure::Nonsense(format!(
                "The server at {} does not serve this client ({error}): mend that, or wait until it \
                 does.",
                connection.name
            ))),
            _ => Ok(connection),
        }
    }

    /// The server, as sentences name it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Adds a request to those that [`Self::flush`] sends.
    pub(super) fn queue(&mut self, args: &[&[u8]]) -> Result<(), Failure> {
        write_args(&mut self.output, args).map_err(|error| self.gone(&error.to_string()))
    }

    /// Sends all queued requests.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.output.flush().map_err(|error| self.gone(&error.to_string()))
    }

    /// Sends a request and reads its reply, when none other is owed.
    pub(super) fn call(&mut self, args: &[&[u8]]) -> Result<Reply, Failure> {
        self.queue(args)?;
        self.flush()?;
        self.read()
    }

    /// Reads one reply.
    pub(super) fn read(&mut self) -> Result<Reply, Failure> {
        self.read_at(0)
    }

    fn read_at(&mut self, depth: usize) -> Result<Reply, Failure> {
        let line = self.line()?;
        let (&marker, text) = line.split_first().ok_or_else(|| self.no_reply())?;
        let number = || std::str::from_utf8(text).ok()?.parse::<i64>().ok();
        match (marker, number()) {
            (b'+', _) => Ok(Reply::Simple(text.to_vec())),
            (b'-', _) => Ok(Reply::Error(String::from_utf8_lossy(text).into_owned())),
            (b':', Some(number)) => Ok(Reply::Integer(number)),
            (b'$' | b'*', Some(-1)) => Ok(Reply::Null),
            (b'$', Some(length)) if length >= 0 => self.bulk(length.unsigned_abs()),
            (b'*', Some(count)) if count >= 0 && depth < DEPTH_MAX => (0..count)
                .map(|_| self.read_at(depth + 1))
                .collect::<Result<_, _>>()
                .map(Reply::Array),
            _ => Err(self.no_reply()),
        }
    }

    /// A line without its end.
    fn line(&mut self) -> Result<Vec<u8>, Failure> {
        let mut line = Vec::new();
        let mut input = self.input.by_ref().take(LINE_BYTES_MAX as u64);
        if let Err(error) = input.read_until(b'\n', &mut line) {
            return Err(self.gone(&error.to_string()));
        }
        match line.strip_suffix(b"\r\n") {
            Some(text) => Ok(text.to_vec()),
            None if line.len() < LINE_BYTES_MAX => Err(self.gone("it closed the connection")),
            None => Err(self.no_reply()),
        }
    }

    fn bulk(&mut self, length: u64) -> Result<Reply, Failure> {
        let mut text = Vec::new();
        let mut end = [0; 2];
        let mut input = self.input.by_ref().take(length);
        let read = if length <= BULK_BYTES_MAX as u64 {
            input.read_to_end(&mut text).map(|read| read as u64)
        } else {
            std::io::copy(&mut input, &mut std::io::sink())
        };
        match read.and_then(|read| self.input.read_exact(&mut end).map(|()| read)) {
            Ok(read) if read == length && end == *b"\r\n" => {
                let fits = length <= BULK_BYTES_MAX as u64;
                Ok(if fits { Reply::Bulk(text) } else { Reply::TooLong })
            }
            Ok(_) => Err(self.no_reply()),
            Err(error) => Err(self.gone(&error.to_string())),
        }
    }

    fn no_reply(&self) -> Failure {
        self.gone("what it sent is no reply")
    }

    fn gone(&self, reason: &str) -> Failure {
        Failure::Lost(format!(
            "The server at {} gave no answer ({reason}): see whether it runs, and whether it is a \
             Ringmain or Redis server.",
            self.name
        ))
    }
}

/// Writes a request. Long arguments are not copied if `out` is a `BufWriter`.
pub(super) fn write_args(out: &mut impl Write, args: &[&[u8]]) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(32);
    write_head(&mut head, b'*', args.len());
    for arg in args {
        write_head(&mut head, b'$', arg.len());
        out.write_all(&head)?;
        out.write_all(arg)?;
        head.clear();
        head.extend_from_slice(b"\r\n");
    }
    out.write_all(&head)
}

fn connect(endpoint: &Endpoint) -> std::io::Result<(BufReader<TcpStream>, BufWriter<TcpStream>)> {
    let addresses = (endpoint.host.as_str(), endpoint.port).to_socket_addrs()?;
    let mut outcome = Err(std::io::Error::other("the name has no address"));
    for address in addresses {
        outcome = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT);
        if outcome.is_ok() {
            break;
        }
    }
    let stream = outcome?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let input = BufReader::with_capacity(BUFFER_BYTES, stream.try_clone()?);
    Ok((input, BufWriter::with_capacity(BUFFER_BYTES, stream)))
}
