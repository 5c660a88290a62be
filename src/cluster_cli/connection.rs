//! A blocking connection to a node: a request, then the text of its reply.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::Failure;
use crate::protocol::client::{Element, read_element, write_request};

/// How long connecting may take, and the node to answer: one that does not is as good as down.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Longest reply that is taken, in bytes: what is asked for grows with members and shards.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    node: String,
}

impl Connection {
    /// Connects, and authenticates if there is a password.
    pub(super) fn open(host: &str, port: u16, password: Option<&str>) -> Result<Self, Failure> {
        let node = format!("{host}:{port}");
        let stream = connect(host, port).map_err(|error| {
            Failure::Lost(format!(
                "There is no server at {node} ({error}): start one, or name it with --host and --port."
            ))
        })?;
        let mut connection = Self { stream, node };
        if let Some(password) = password {
            connection.call(&[b"AUTH", password.as_bytes()])?;
        }
        Ok(connection)
    }

    /// Sends a request; answers the text of its reply, empty if it has none.
    pub(super) fn call(&mut self, args: &[&[u8]]) -> Result<String, Failure> {
        self.ask(args)?.map_err(|text| {
            Failure::Lost(format!(
                "The server at {} refuses to tell ({text}): mend that, as with --password.",
                self.node
            ))
        })
    }

    /// The same, with an error that it answers as it says it.
    pub(super) fn ask(&mut self, args: &[&[u8]]) -> Result<Result<String, String>, Failure> {
        let mut request = Vec::new();
        write_request(&mut request, args);
        self.stream.write_all(&request).map_err(|error| self.gone(&error.to_string()))?;
        let mut reply = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match read_element(&reply) {
                Ok(Some((Element::Error(text), _))) => {
                    return Ok(Err(String::from_utf8_lossy(text).into_owned()));
                }
                Ok(Some((Element::Simple(text) | Element::Bulk(text), _))) => {
                    return Ok(Ok(String::from_utf8_lossy(text).into_owned()));
                }
                Ok(Some(_)) => return Ok(Ok(String::new())),
                Ok(None) if reply.len() > REPLY_BYTES_MAX => {
                    return Err(self.gone("its reply is too long"));
                }
                Ok(None) => {}
                Err(error) => return Err(self.gone(&error.to_string())),
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(self.gone("it closed the connection")),
                Ok(count) => reply.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.gone(&error.to_string())),
            }
        }
    }

    fn gone(&self, reason: &str) -> Failure {
        Failure::Lost(format!(
            "The server at {} gave no answer ({reason}): see whether it runs, and whether it is a Ringmain \
             server.",
            self.node
        ))
    }
}

fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut outcome = Err(std::io::Error::other("the name has no address"));
    for address in (host, port).to_socket_addrs()? {
        outcome = TcpStream::connect_timeout(&address, TIMEOUT);
        if outcome.is_ok() {
            break;
        }
    }
    let stream = outcome?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// The fields of what `INFO` answers, in order.
pub(super) fn fields(info: &str) -> impl Iterator<Item = (&str, &str)> {
    info.lines().filter_map(|line| line.split_once(':'))
}
