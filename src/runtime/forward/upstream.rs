//! One connection to another node that carries the commands of one client there, and brings the replies back. The
//! kernel owns `address` and `sending` while it works on them: an upstream stays where it is until all of its
//! operations have completed.

use std::collections::VecDeque;
use std::net::Shutdown;

use bytes::BytesMut;
use socket2::{SockAddr, Socket};

use super::super::ring::Token;
use crate::command::Session;
use crate::config::Durability;
use crate::limits::FORWARD_SPARE_BYTES_MAX;
use crate::protocol::client::{write_head, write_request};
use crate::protocol::cutter::ReplyCutter;
use crate::protocol::{Args, Proto};
use crate::replica::link::Dialing;
use crate::types::{DbIndex, MonoUs, NodeId};

/// How far an upstream is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Others are being made first.
    Waiting,
    /// It is being connected, or is not welcome yet.
    Dialing(Box<Dialing>),
    /// Requests go, replies come.
    Open,
}

/// What a reply that comes next is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The client's, in the place that this ticket has.
    Reply(u64),
    /// A token of what the client has written by this way.
    Token,
    /// That to a request that the client has not made as such, whatever it is.
    Any,
    /// The same; if it is an error, what follows would not mean what the client meant.
    Success,
}

/// Why an upstream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nobody needs it any more.
    Unused,
    /// It could not be made.
    Unreachable,
    /// The other side is gone, or says what it can't mean.
    Lost,
    /// The other node leads no more what it was asked for, and has not said so.
    Deposed,
}

/// What the other side knows of the client's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    db: DbIndex,
    proto: Proto,
    durability: Option<Durability>,
    no_touch: bool,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Names it to the ring; never used again.
    pub(super) token: Token,
    /// Whose commands it carries.
    pub(super) client: Token,
    /// Where to.
    pub(super) to: NodeId,
    pub(super) socket: Socket,
    pub(super) address: SockAddr,
    pub(super) phase: Phase,
    pub(super) is_connecting: bool,
    pub(super) is_receiving: bool,
    pub(super) is_sending: bool,
    /// Whether nothing is received because the client has enough to read.
    pub(super) is_paused: bool,
    /// Whether it is gone but for operations that have not completed.
    pub(super) is_closing: bool,
    /// Received, and not a whole reply yet.
    pub(super) input: BytesMut,
    pub(super) cutter: ReplyCutter,
    /// Requests that wait to be sent.
    out: Vec<u8>,
    /// What is being sent, ...
    pub(super) sending: Vec<u8>,
    /// ... and how much of it has been.
    pub(super) sent: usize,
    /// Replies to come, in order.
    pub(super) expected: VecDeque<Expected>,
    /// How many of them, the last, are to requests that wait to be sent.
    unsent: usize,
    /// Replies to come that are the client's, or that it waits for.
    pub(super) owed: usize,
    /// Whether it has carried writes since it was last asked for a token.
    pub(super) has_untold: bool,
    /// The ticket of requests until it is next sent.
    pub(super) ticket: Option<u64>,
    known: Known,
    pub(super) begun_at: MonoUs,
    /// When the client last needed it.
    pub(super) used_at: MonoUs,
    /// Since when it seems that no reply will come.
    pub(super) doubted_since: Option<MonoUs>,
}

impl Upstream {
    /// One that is to be made.
    pub(super) fn new(
        token: Token,
        client: Token,
        to: NodeId,
        (socket, address): (Socket, SockAddr),
        now: MonoUs,
    ) -> Self {
        // What a guest begins with.
        let (db, proto, durability) = (DbIndex(0), Proto::Resp2, None);
        Self {
            token,
            client,
            to,
            socket,
            address,
            phase: Phase::Waiting,
            is_connecting: false,
            is_receiving: false,
            is_sending: false,
            is_paused: false,
            is_closing: false,
            input: BytesMut::new(),
            cutter: ReplyCutter::default(),
            out: Vec::new(),
            sending: Vec::new(),
            sent: 0,
            expected: VecDeque::new(),
            unsent: 0,
            owed: 0,
            has_untold: false,
            ticket: None,
            known: Known { db, proto, durability, no_touch: false },
            begun_at: now,
            used_at: now,
            doubted_since: None,
        }
    }

    // --- requests --------------------------------------------------------------------------------

    /// Adds a request of the client; answers how many bytes it takes.
    pub(super) fn request(&mut self, args: &Args<'_>, ticket: u64) -> usize {
        self.owed += 1;
        self.push(args, Expected::Reply(ticket))
    }

    /// Adds a request.
    pub(super) fn push(&mut self, args: &Args<'_>, expected: Expected) -> usize {
        let before = self.out.len();
        write_head(&mut self.out, b'*', args.len());
        for arg in args.from(0) {
            write_head(&mut self.out, b'$', arg.len());
            self.out.extend_from_slice(arg);
            self.out.extend_from_slice(b"\r\n");
        }
        self.expect(expected);
        self.out.len() - before
    }

    /// Adds a request that the client has not made as such.
    pub(super) fn say(&mut self, words: &[&[u8]], expected: Expected) {
        write_request(&mut self.out, words);
        self.expect(expected);
    }

    /// Asks for a token of all that was requested before.
    pub(super) fn ask_token(&mut self) {
        self.has_untold = false;
        self.owed += 1;
        self.say(&[b"CLIENT", b"TOKEN"], Expected::Token);
    }

    /// Whether it was asked for a token that has not come.
    pub(super) fn owes_token(&self) -> bool {
        self.expected.contains(&Expected::Token)
    }

    fn expect(&mut self, expected: Expected) {
        self.expected.push_back(expected);
        self.unsent += 1;
    }

    /// Has the other side know of the session what requests from now on mean by it.
    pub(super) fn follow(&mut self, session: &Session) {
        let Session { db, proto, durability, no_touch, .. } = *session;
        let new = Known { db, proto, durability, no_touch };
        let old = std::mem::replace(&mut self.known, new);
        if old == new {
            return;
        }
        if old.proto != proto {
            let version = match proto {
                Proto::Resp2 => b"2",
                Proto::Resp3 => b"3",
            };
            self.say(&[b"HELLO", version], Expected::Success);
        }
        if old.db != db {
            let index = itoa::Buffer::new().format(db.0).to_owned();
            self.say(&[b"SELECT", index.as_bytes()], Expected::Success);
        }
        if old.durability != durability {
            let level = durability.map_or("default", Durability::name);
            self.say(&[b"CLIENT", b"DURABILITY", level.as_bytes()], Expected::Success);
        }
        if old.no_touch != no_touch {
            let switch: &[u8] = if no_touch { b"on" } else { b"off" };
            self.say(&[b"CLIENT", b"NO-TOUCH", switch], Expected::Success);
        }
    }

    /// Makes `frame` and all requests that wait what is being sent, once the other side has welcomed it.
    pub(super) fn open(&mut self, mut frame: Vec<u8>) {
        frame.append(&mut self.out);
        self.out = frame;
        self.phase = Phase::Open;
    }

    /// Takes what waits to be sent for what is being sent. False if there is nothing, or it can't be sent now.
    pub(super) fn start_send(&mut self) -> bool {
        self.ticket = None;
        let may_send = matches!(self.phase, Phase::Open) && !self.is_sending && !self.is_closing;
        if !may_send || self.out.is_empty() {
            return false;
        }
        std::mem::swap(&mut self.out, &mut self.sending);
        (self.unsent, self.is_sending) = (0, true);
        true
    }

    /// Bytes have left. True if all of them have.
    pub(super) fn note_sent(&mut self, count: usize) -> bool {
        self.sent += count;
        let is_all = self.sent >= self.sending.len();
        if is_all {
            (self.is_sending, self.sent) = (false, 0);
            self.sending.clear();
            self.sending.shrink_to(FORWARD_SPARE_BYTES_MAX);
        }
        is_all
    }

    // --- replies ---------------------------------------------------------------------------------

    /// Whether the reply to the client's first request that has none comes by this way.
    pub(super) fn brings(&self, ticket: Option<u64>) -> bool {
        let is_reply = |expected: &&Expected| matches!(expected, Expected::Reply(_));
        let first = self.expected.iter().find(is_reply);
        ticket.is_some_and(|ticket| first == Some(&Expected::Reply(ticket)))
    }

    /// The tickets of all replies that won't come, and whether the request had left already. Forgets them.
    pub(super) fn take_owed(&mut self) -> impl Iterator<Item = (u64, bool)> + use<> {
        let sent = self.expected.len() - self.unsent;
        (self.owed, self.unsent) = (0, 0);
        let owed = std::mem::take(&mut self.expected).into_iter().enumerate();
        owed.filter_map(move |(index, expected)| match expected {
            Expected::Reply(ticket) => Some((ticket, index < sent)),
            Expected::Any | Expected::Success | Expected::Token => None,
        })
    }

    // --- its end ---------------------------------------------------------------------------------

    /// Ends whatever the kernel does with the socket, but for a connection that is being made.
    pub(super) fn shut_down(&mut self) {
        self.is_closing = true;
        // One that is not connected needs none.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Whether the kernel has nothing of it in hand any more.
    pub(super) fn is_at_rest(&self) -> bool {
        !(self.is_connecting || self.is_receiving || self.is_sending)
    }

    /// Whether it is being made.
    pub(super) fn is_dialing(&self) -> bool {
        matches!(self.phase, Phase::Dialing(_))
    }

    /// Bytes of memory held for what is sent and received.
    pub(super) fn memory_bytes(&self) -> usize {
        self.out.capacity() + self.sending.capacity() + self.input.capacity() + size_of::<Self>()
    }

    /// Gives back memory that was needed for something long.
    pub(super) fn shrink(&mut self) {
        if self.out.is_empty() {
            self.out.shrink_to(FORWARD_SPARE_BYTES_MAX);
        }
        if self.input.is_empty() && self.input.capacity() > FORWARD_SPARE_BYTES_MAX {
            self.input = BytesMut::new();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Args, Expected, Phase, SockAddr, Socket, Token, Upstream};
    use crate::protocol::args::ArgRange;
    use crate::types::{MonoUs, NodeId};
    use std::net::SocketAddr;

    /// One that has not been begun.
    pub(in super::super) fn upstream() -> Upstream {
        let (token, client) =
            (Token { index: 1, generation: 0 }, Token { index: 2, generation: 0 });
        let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let address = SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 1)));
        Upstream::new(token, client, NodeId(2), (socket, address), MonoUs(0))
    }

    fn ask(upstream: &mut Upstream, ticket: u64) {
        let ranges = [ArgRange { start: 0, length: 3 }, ArgRange { start: 3, length: 1 }];
        assert_eq!(upstream.request(&Args::new(b"GETk", &ranges), ticket), 20);
    }

    #[test]
    fn nothing_leaves_before_it_is_welcome() {
        let mut upstream = upstream();
        upstream.say(&[b"SELECT", b"1"], Expected::Success);
        ask(&mut upstream, 7);
        assert!(!upstream.start_send());
        upstream.open(b"frame".to_vec());
        assert!(matches!(upstream.phase, Phase::Open) && upstream.start_send());
        let said = b"frame*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        assert_eq!(upstream.sending, said);
        // What comes meanwhile waits.
        ask(&mut upstream, 8);
        assert!(!upstream.start_send() && !upstream.note_sent(5));
        assert!(upstream.note_sent(said.len() - 5) && upstream.start_send());
        assert_eq!(upstream.sending, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }

    /// Of a request that has left nobody knows what became of it.
    #[test]
    fn what_has_not_left_is_told_from_what_has() {
        let mut upstream = upstream();
        upstream.open(Vec::new());
        ask(&mut upstream, 7);
        upstream.say(&[b"UNWATCH"], Expected::Any);
        ask(&mut upstream, 7);
        assert!(upstream.start_send());
        ask(&mut upstream, 8);
        assert_eq!(upstream.owed, 3);
        assert!(upstream.brings(Some(7)) && !upstream.brings(Some(8)) && !upstream.brings(None));
        let owed: Vec<_> = upstream.take_owed().collect();
        assert_eq!(owed, [(7, true), (7, true), (8, false)]);
        assert!(upstream.owed == 0 && upstream.take_owed().next().is_none());
    }
}
