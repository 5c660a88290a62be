//! One connection: a batch on its way and the replies to it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use ringmain::protocol::client::read_element;

use crate::report::Report;
use crate::workload::{Random, Request, Workload};

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// Requests without a reply yet, oldest first.
    asked: VecDeque<Request>,
    /// When the batch was handed to the kernel, or first offered to it.
    sent_at: Instant,
    unsent: Vec<u8>,
    /// Bytes received that are not a whole reply yet.
    received: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        // Connecting is not what is measured, so it may block.
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: TcpStream::from_std(stream),
            asked: VecDeque::new(),
            sent_at: Instant::now(),
            unsent: Vec::new(),
            received: Vec::new(),
        })
    }

    /// Whether every request has its reply.
    pub(crate) fn is_done(&self) -> bool {
        self.asked.is_empty()
    }

    /// Sends the next `count` requests.
    pub(crate) fn ask(
        &mut self,
        count: usize,
        workload: &Workload,
        random: &mut Random,
    ) -> io::Result<()> {
        for _ in 0..count {
            let request = workload.request(random);
            workload.write(request, &mut self.unsent);
            self.asked.push_back(request);
        }
        self.sent_at = Instant::now();
        self.send()
    }

    /// Sends what the socket takes of what is left to send.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes the replies that have come, by way of `scratch`, and enters them in `report`.
    pub(crate) fn receive(
        &mut self,
        workload: &Workload,
        scratch: &mut [u8],
        report: &mut Report,
    ) -> io::Result<()> {
        while self.fill(scratch)? {
            let latency = self.sent_at.elapsed();
            let mut taken = 0;
            while let Some((reply, length)) =
                read_element(&self.received[taken..]).map_err(io::Error::other)?
            {
                let Some(request) = self.asked.pop_front() else {
                    return Err(io::Error::other("the server sent more replies than requests"));
                };
                report.enter(request.verb, latency, workload.judge(request, reply));
                taken += length;
            }
            self.received.drain(..taken);
        }
        Ok(())
    }

    /// Reads once; whether anything came.
    fn fill(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Err(io::Error::other("the server closed a connection")),
                Ok(count) => {
                    self.received.extend_from_slice(&scratch[..count]);
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
