//! A blocking client: one connection, requests in batches.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ringmain::protocol::client::{Element, read_element, reply_bytes, write_request};

const TIMEOUT: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 64 * 1024;

/// One connection. Requests are collected, sent together and then answered in order.
pub(crate) struct Client {
    stream: TcpStream,
    requests: Vec<u8>,
    /// Replies that are not taken yet start at `taken`.
    replies: Vec<u8>,
    taken: usize,
    pending: usize,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, requests: Vec::new(), replies: Vec::new(), taken: 0, pending: 0 })
    }

    /// Adds a request to the next batch.
    pub(crate) fn add(&mut self, args: &[&[u8]]) {
        write_request(&mut self.requests, args);
        self.pending += 1;
    }

    /// Sends the requests added.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.requests)?;
        self.requests.clear();
        Ok(())
    }

    /// Waits for the replies to everything sent. An error reply is an error.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        while self.pending > 0 {
            match reply_bytes(&self.replies[self.taken..]).map_err(io::Error::other)? {
                Some(length) => {
                    if let Some((Element::Error(text), _)) =
                        read_element(&self.replies[self.taken..]).map_err(io::Error::other)?
                    {
                        return Err(io::Error::other(String::from_utf8_lossy(text)));
                    }
                    self.taken += length;
                    self.pending -= 1;
                }
                None => self.read_more()?,
            }
        }
        Ok(())
    }

    /// Asks one thing, when nothing is pending, and returns the answer's bytes.
    pub(crate) fn call(&mut self, args: &[&[u8]]) -> io::Result<&[u8]> {
        self.replies.clear();
        self.taken = 0;
        self.add(args);
        self.send()?;
        self.finish()?;
        Ok(&self.replies[..self.taken])
    }

    pub(crate) fn ping(&mut self) -> io::Result<()> {
        match self.call(&[b"PING"])? {
            b"+PONG\r\n" => Ok(()),
            other => Err(io::Error::other(format!("PING: {}", other.escape_ascii()))),
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        self.replies.drain(..self.taken);
        self.taken = 0;
        let filled = self.replies.len();
        self.replies.resize(filled + READ_BYTES, 0);
        let read = self.stream.read(&mut self.replies[filled..])?;
        self.replies.truncate(filled + read);
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}
