//! A blocking connection to the server: a request, then all strings of its reply.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::Failure;
use super::options::Options;
use crate::protocol::client::{Element, read_element, reply_bytes, write_request};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server may take to answer: a core that runs something long answers late.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest reply that is taken, in bytes. All histograms together are a few hundred kilobytes at most.
const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a request brought no strings.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The server answered with this error.
    Error(String),
    /// The server did not answer, or not as a server does.
    Gone(Failure),
}

/// The connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    server: String,
}

impl Connection {
    /// Connects, and authenticates if there is a password.
    pub(super) fn open(options: &Options) -> Result<Self, Failure> {
        let server = options.server();
        let stream = connect(options).map_err(|error| {
            Failure::Nonsense(format!(
                "There is no server at {server} ({error}): start one, or name it with --host and \
                 --port."
            ))
        })?;
        let mut connection = Self { stream, server };
        if let Some(password) = &options.password {
            match connection.call(&[b"AUTH", password.as_bytes()]) {
                Ok(_) => {}
                Err(Refusal::Error(error)) => {
                    let server = &connection.server;
                    return Err(Failure::Nonsense(format!(
                        "The server at {server} refused the password ({error}): give the right one \
                         with --password or in REDISCLI_AUTH."
                    )));
                }
                Err(Refusal::Gone(failure)) => return Err(failure),
            }
        }
        Ok(connection)
    }

    /// The server, as sentences name it.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Sends a request; answers the strings of its reply in order.
    pub(super) fn call(&mut self, args: &[&[u8]]) -> Result<Vec<Vec<u8>>, Refusal> {
        let mut request = Vec::new();
        write_request(&mut request, args);
        let reply = match self.stream.write_all(&request) {
            Ok(()) => self.read_reply(),
            Err(error) => Err(self.gone(&error.to_string())),
        };
        strings(&reply.map_err(Refusal::Gone)?)
    }

    fn read_reply(&mut self) -> Result<Vec<u8>, Failure> {
        let mut reply = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(self.gone("it closed the connection")),
                Ok(count) => reply.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.gone(&error.to_string())),
            }
            match reply_bytes(&reply) {
                Ok(Some(_)) => return Ok(reply),
                Ok(None) if reply.len() <= REPLY_BYTES_MAX => {}
                Ok(None) => return Err(self.gone("its reply is too long")),
                Err(error) => return Err(self.gone(&error.to_string())),
            }
        }
    }

    fn gone(&self, reason: &str) -> Failure {
        let server = &self.server;
        Failure::Nonsense(format!(
            "The server at {server} gave no answer ({reason}): see whether it runs, and whether it is \
             a Ringmain or Redis server."
        ))
    }
}

fn connect(options: &Options) -> std::io::Result<TcpStream> {
    let addresses = (options.host.as_str(), options.port).to_socket_addrs()?;
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
    Ok(stream)
}

/// The strings of a whole reply. Whatever else it holds is left out.
fn strings(reply: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
    let mut found = Vec::new();
    let mut rest = reply;
    while let Ok(Some((element, length))) = read_element(rest) {
        match element {
            Element::Error(text) => {
                return Err(Refusal::Error(String::from_utf8_lossy(text).into_owned()));
            }
            Element::Simple(text) | Element::Bulk(text) => found.push(text.to_vec()),
            Element::Integer(_)
            | Element::Null
            | Element::Boolean(_)
            | Element::Double(_)
            | Element::BigNumber(_)
            | Element::Aggregate { .. } => {}
        }
        rest = &rest[length..];
    }
    Ok(found)
}
