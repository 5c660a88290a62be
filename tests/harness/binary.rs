//! A blocking client of the binary protocol for tests: one thread, one socket, every reply by its id.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use ringmain::protocol::binary::{
    Extras, FrameLimits, Frames, Next, Opcode, ReplyFrame, ReplyHead, RequestFlags, RequestFrame,
    RequestHead, Status, Token,
};
use ringmain::types::key_slot;

use super::PATIENCE;

/// A request that has not been sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: RequestHead,
    pub(crate) extras: Extras,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Request {
    /// A request about `key`, in its slot.
    pub(crate) fn keyed(opcode: Opcode, key: &str, value: impl AsRef<[u8]>) -> Self {
        let mut request = Self::plain(opcode, key, value);
        request.head.slot = key_slot(key.as_bytes());
        request
    }

    /// A request in slot 0.
    pub(crate) fn plain(opcode: Opcode, key: &str, value: impl AsRef<[u8]>) -> Self {
        Self {
            head: RequestHead::new(0, opcode),
            extras: Extras::default(),
            key: key.as_bytes().to_vec(),
            value: value.as_ref().to_vec(),
        }
    }

    /// A request for several keys, in the slot of the first.
    pub(crate) fn many(opcode: Opcode, strings: &[impl AsRef<[u8]>]) -> Self {
        let mut request = Self::plain(opcode, "", []);
        request.head.slot =
            strings.first().map_or(ringmain::types::Slot(0), |s| key_slot(s.as_ref()));
        ringmain::protocol::binary::body::write_list(&mut request.value, strings);
        request
    }

    /// A RESP command of words separated by spaces.
    pub(crate) fn command(words: &str) -> Self {
        let words: Vec<&str> = words.split(' ').collect();
        let mut request = Self::many(Opcode::Command, &words);
        request.head.slot = ringmain::types::Slot(0);
        request
    }

    pub(crate) fn id(mut self, id: u32) -> Self {
        self.head.id = id;
        self
    }

    pub(crate) fn flags(mut self, flags: RequestFlags) -> Self {
        self.head.flags |= flags;
        self
    }

    pub(crate) fn ttl(mut self, ms: u64) -> Self {
        self.extras.ttl_ms = Some(ms);
        self
    }

    pub(crate) fn version(mut self, version: u64) -> Self {
        self.extras.version = Some(version);
        self
    }

    pub(crate) fn deadline(mut self, us: u64) -> Self {
        self.extras.deadline_us = Some(us);
        self
    }

    pub(crate) fn token(mut self, token: Token) -> Self {
        self.extras.token = Some(token);
        self
    }

    pub(crate) fn durability(mut self, level: u8) -> Self {
        self.head.durability = level;
        self
    }
}

/// The frame of some requests.
pub(crate) fn frame(requests: &[Request]) -> Vec<u8> {
    let (mut frame, mut bytes) = (RequestFrame::default(), Vec::new());
    for Request { head, extras, key, value } in requests {
        frame.push(*head, extras, key, value).expect("tests send small frames");
    }
    frame.finish(&mut bytes);
    bytes
}

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) head: ReplyHead,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn status(&self) -> Status {
        self.head.status().expect("a status that is known")
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Asserts that it was done.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status(), Status::Ok, "{}", self.text());
        self
    }

    /// The session token of a write.
    pub(crate) fn token(&self) -> Token {
        Token { shard: self.head.shard, sequence: self.head.version }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct BinaryClient {
    socket: TcpStream,
    input: Vec<u8>,
    at: usize,
    frames: Frames<ReplyHead>,
    next_id: u32,
    /// Replies in the order in which they came, when one of them was waited for by id.
    early: HashMap<u32, Reply>,
}

impl BinaryClient {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("connect");
        socket.set_nodelay(true).expect("no delay");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            socket,
            input: Vec::new(),
            at: 0,
            frames: Frames::default(),
            next_id: 1,
            early: HashMap::new(),
        }
    }

    /// For who sends without reading.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.socket
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("send");
    }

    /// Says that nothing more will be sent.
    pub(crate) fn end(&mut self) {
        self.socket.shutdown(Shutdown::Write).expect("shut down");
    }

    /// Sends requests in one frame under new ids, which are answered.
    pub(crate) fn send(&mut self, requests: &[Request]) -> Vec<u32> {
        let first = self.next_id;
        let ids = first..first + u32::try_from(requests.len()).expect("few requests");
        self.next_id = ids.end;
        let numbered: Vec<Request> =
            requests.iter().zip(ids.clone()).map(|(request, id)| request.clone().id(id)).collect();
        self.send_bytes(&frame(&numbered));
        ids.collect()
    }

    /// The next reply, whichever it is; `None` once the server has closed.
    pub(crate) fn next(&mut self) -> Option<Reply> {
        loop {
            match self.frames.next(&self.input, self.at, &FrameLimits::WIDEST) {
                Ok(Next::Item(item)) => {
                    self.at = item.end;
                    let body = self.input[item.start..item.end].to_vec();
                    return Some(Reply { head: item.head, body });
                }
                Ok(Next::Incomplete { .. }) => {}
                Err(error) => panic!("no frame of replies: {error}"),
            }
            self.input.drain(..self.at);
            self.at = 0;
            let mut buffer = [0; 64 * 1024];
            let count = match self.socket.read(&mut buffer) {
                Ok(0) => return self.ended(),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return self.ended();
                }
                Err(error) => panic!("no reply: {error}"),
            };
            self.input.extend_from_slice(&buffer[..count]);
        }
    }

    fn ended(&self) -> Option<Reply> {
        assert!(self.input.is_empty(), "the server closed within a frame");
        None
    }

    /// The reply with this id; those that come before it are kept.
    pub(crate) fn reply(&mut self, id: u32) -> Reply {
        loop {
            if let Some(reply) = self.early.remove(&id) {
                return reply;
            }
            let reply = self.next().expect("the server closed");
            self.early.insert(reply.head.id, reply);
        }
    }

    /// Whether the reply with this id was read while another was waited for.
    pub(crate) fn has_come(&self, id: u32) -> bool {
        self.early.contains_key(&id)
    }

    /// Sends requests in one frame from another thread, for as long as `then` reads the replies.
    pub(crate) fn send_while(
        &mut self,
        requests: &[Request],
        then: impl FnOnce(&mut Self, &[u32]),
    ) {
        let ids: Vec<u32> = (self.next_id..).take(requests.len()).collect();
        self.next_id += u32::try_from(requests.len()).expect("few requests");
        let numbered: Vec<Request> =
            requests.iter().zip(&ids).map(|(request, id)| request.clone().id(*id)).collect();
        let mut socket = self.socket.try_clone().expect("a second handle");
        std::thread::scope(|scope| {
            scope.spawn(move || socket.write_all(&frame(&numbered)).expect("send"));
            then(self, &ids);
        });
    }

    /// Sends requests in one frame and waits for all replies; answers them in the order of the requests.
    pub(crate) fn all(&mut self, requests: &[Request]) -> Vec<Reply> {
        let ids = self.send(requests);
        ids.into_iter().map(|id| self.reply(id)).collect()
    }

    /// Sends one request and waits for its reply.
    pub(crate) fn one(&mut self, request: Request) -> Reply {
        self.all(&[request]).remove(0)
    }

    pub(crate) fn get(&mut self, key: &str) -> Reply {
        self.one(Request::keyed(Opcode::Get, key, ""))
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) -> Reply {
        self.one(Request::keyed(Opcode::Set, key, value)).ok()
    }

    /// All that the server sends until it closes, which must be an error about a frame and nothing else.
    pub(crate) fn fatal(&mut self) -> Reply {
        let reply = self.next().expect("an error before the close");
        assert_eq!((reply.head.id, reply.head.opcode), (0, 0), "{}", reply.text());
        assert!(reply.status().is_fatal(), "{}", reply.text());
        assert_eq!(self.next(), None);
        reply
    }
}

/// The bytes of some replies in one frame, as a server without other cores writes them.
pub(crate) fn reply_frame(replies: &[Reply], epoch: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut frame = ReplyFrame::begin(&mut bytes, replies.len());
    for Reply { head, body } in replies {
        bytes.extend_from_slice(body);
        frame.push(&mut bytes, *head);
    }
    frame.finish(&mut bytes, epoch);
    bytes
}
