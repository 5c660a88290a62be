//! One connection without its socket: requests that wait for replies, bytes that wait to be sent, and
//! replies that are not whole yet.

use std::collections::VecDeque;

use super::dialogue::Dialogue;
use crate::wire::cluster::Node;
use crate::wire::greeting::{Dialect, Greeting};
use crate::wire::resp::Framer;
use crate::work::Op;

/// Buffers that a reply or request of unusual size has made larger than this are given back.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// What a reply is the reply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A request of the workload; how often it was sent on to another node.
    Asked { redirects: u8 },
    /// What is said first.
    Greeting,
    /// `ASKING`, before a redirected request.
    Asking,
    /// `CLUSTER SLOTS`.
    Slots,
}

/// A request without a reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) op: Op,
    /// Open loop: when it was due. Closed loop: when it was sent, or [`UNSENT`].
    pub(super) start_ns: u64,
    pub(super) role: Role,
    /// Whether it belongs to the measured part.
    pub(super) is_counted: bool,
}

/// Start of a request that counts from when it is sent, and was not.
pub(super) const UNSENT: u64 = u64::MAX;

impl Pending {
    /// A request that the workload knows nothing of.
    pub(super) fn own(role: Role) -> Self {
        Self { op: Op::default(), start_ns: 0, role, is_counted: false }
    }
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not there, or not yet.
    Closed,
    /// There; the greeting is to be sent.
    Connected,
    /// Replies to the greeting are awaited.
    Greeting,
    /// Requests may be sent.
    Open,
}

/// One connection.
pub(super) struct Link {
    /// Whose it is.
    pub(super) lane: u32,
    /// Where it leads.
    pub(super) node: Node,
    pub(super) state: State,
    /// In the order of their replies.
    pub(super) pending: VecDeque<Pending>,
    /// How many of them are not sent yet.
    unsent: usize,
    /// Written and not yet sent.
    pub(super) out: Vec<u8>,
    /// In the kernel's hands while `is_sending`.
    sending: Vec<u8>,
    pub(super) is_sending: bool,
    /// Whether it stands in the list of those with something to send.
    pub(super) is_dirty: bool,
    /// The start of a reply whose rest has not come.
    pub(super) input: Vec<u8>,
    pub(super) framer: Framer,
    /// In the binary protocol: takes the place of `pending` and `framer`, which RESP needs.
    pub(super) dialogue: Option<Box<Dialogue>>,
}

impl Link {
    pub(super) fn new(lane: u32, node: Node, depth: usize, dialect: Dialect) -> Self {
        let dialogue = match dialect {
            Dialect::Resp => None,
            Dialect::Binary { items_max } => Some(Box::new(Dialogue::new(items_max))),
        };
        Self {
            dialogue,
            lane,
            node,
            state: State::Closed,
            pending: VecDeque::with_capacity(depth + 2),
            unsent: 0,
            out: Vec::new(),
            sending: Vec::new(),
            is_sending: false,
            is_dirty: false,
            input: Vec::new(),
            framer: Framer::default(),
        }
    }

    /// The bytes to send now, if any; they stay in place until [`Link::sent`].
    pub(super) fn load(&mut self, greeting: &Greeting, now_ns: u64) -> Option<&[u8]> {
        if self.is_sending {
            return None;
        }
        match self.state {
            State::Connected => {
                self.sending.clone_from(&greeting.bytes);
                self.state = State::Greeting;
            }
            State::Open if self.has_output() => {
                if let Some(dialogue) = &mut self.dialogue {
                    dialogue.finish(&mut self.out, now_ns);
                }
                std::mem::swap(&mut self.out, &mut self.sending);
                self.stamp(now_ns);
            }
            State::Open | State::Closed | State::Greeting => return None,
        }
        self.is_sending = true;
        Some(&self.sending)
    }

    /// Whether something waits to be sent.
    pub(super) fn has_output(&self) -> bool {
        !self.out.is_empty() || self.dialogue.as_ref().is_some_and(|it| it.has_output())
    }

    /// All requests of the workload without a reply, and the tool's own.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Pending> {
        self.pending.iter().chain(self.dialogue.iter().flat_map(|dialogue| dialogue.pending()))
    }

    fn stamp(&mut self, now_ns: u64) {
        for pending in self.pending.iter_mut().rev().take(self.unsent) {
            if pending.start_ns == UNSENT {
                pending.start_ns = now_ns;
            }
        }
        self.unsent = 0;
    }

    /// Notes a request that was written to `out`.
    pub(super) fn push(&mut self, pending: Pending) {
        self.pending.push_back(pending);
        self.unsent += 1;
    }

    /// The kernel has let go of what was sent.
    pub(super) fn sent(&mut self) {
        self.is_sending = false;
        self.sending.clear();
        self.sending.shrink_to(KEPT_BYTES_MAX);
    }

    /// The connection is gone: what was sent on it will not be answered. What was written and never
    /// sent stays for the next one.
    pub(super) fn forget(&mut self) -> Vec<Pending> {
        let was_open = self.state == State::Open;
        self.state = State::Closed;
        self.input.clear();
        self.input.shrink_to(KEPT_BYTES_MAX);
        self.framer = Framer::default();
        if !was_open {
            self.pending.retain(|pending| pending.role != Role::Greeting);
        }
        if let Some(dialogue) = &mut self.dialogue {
            dialogue.cut();
        }
        if was_open { self.give_up() } else { Vec::new() }
    }

    /// Nothing that waits here, sent or not, will be answered.
    pub(super) fn give_up(&mut self) -> Vec<Pending> {
        self.out.clear();
        self.unsent = 0;
        let mut gone: Vec<Pending> = self.pending.drain(..).collect();
        gone.extend(self.dialogue.iter_mut().flat_map(|dialogue| dialogue.forget()));
        gone
    }
}
